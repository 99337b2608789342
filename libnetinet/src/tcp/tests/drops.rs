//! Every reason of TCP's for dropping a segment has a scene that meets it.

use bytes::Bytes;
use libnet::{DropReason, Packet};

use super::net::*;
use crate::tcp::*;

/// Lets a scene happen and gives back B's drops.
fn drops_of(config: TcpConfig, scene: impl FnOnce(&mut Net, ConnId)) -> Net {
    let mut net = Net::with(TcpConfig::default(), config);
    let (_, b) = net.established();
    scene(&mut net, b);
    net
}

fn scene_of(reason: DropReason) -> Option<Net> {
    let config = TcpConfig::default();
    let forged = |change: fn(&mut Forged)| {
        Some(drops_of(TcpConfig::default(), |net, b| net.forge(Side::A, b, change)))
    };
    let raw = |bytes: &'static [u8]| {
        Some(drops_of(TcpConfig::default(), |net, b| {
            let tuple = net.info(Side::B, b).tuple;
            let packet = Packet::received(Bytes::from_static(bytes), net.now);
            net.arrive(Side::B, tuple.remote, tuple.local, 0, packet);
        }))
    };
    match reason {
        DropReason::TcpMalformed => raw(b""),
        DropReason::TcpChecksum => raw(b"certainly no segment of TCP"),
        DropReason::TcpNoConnection => Some(drops_of(config, |net, b| {
            let tuple = net.info(Side::B, b).tuple;
            let from = ConnectFrom::default();
            let nobody = (tuple.local, 81).into();
            let now = net.now;
            let begun = net.a.table.connect(now, &mut net.a.path, from, nobody, &|_| true);
            assert!(begun.is_ok());
            net.run_for(ms(10));
        })),
        DropReason::TcpOutOfWindow => forged(|f| {
            f.header.seq += 1 << 30;
            f.data = vec![0; 10];
        }),
        DropReason::TcpPaws => forged(|f| f.header.options.timestamps = None),
        DropReason::TcpBadAck => forged(|f| f.header.ack += 1),
        DropReason::TcpNoAck => forged(|f| f.header.flags = Flags::NONE),
        DropReason::TcpChallenged => forged(|f| f.header.flags = Flags::SYN),
        DropReason::TcpChallengeLimited => {
            let config = TcpConfig { challenge_acks_per_second: 0, ..config };
            Some(drops_of(config, |net, b| {
                net.forge(Side::A, b, |f| f.header.flags = Flags::SYN);
            }))
        }
        DropReason::TcpListenOverflow => Some(drops_of(config, |net, _| {
            let listener = net.listen(0);
            net.b.table.remove_listener(&listener);
            for _ in 0..20 {
                net.connect();
            }
            net.run_for(ms(10));
        })),
        DropReason::TcpReassemblyFull => {
            let config = TcpConfig { reassembly_runs: 0, ..config };
            Some(drops_of(config, |net, b| {
                net.forge(Side::A, b, |f| {
                    f.header.seq += 1;
                    f.data = vec![0; 10];
                });
            }))
        }
        DropReason::TcpDataAfterClose => Some(drops_of(config, |net, b| {
            net.close(Side::B, b);
            net.run_for(ms(10));
            let id = net.a.table.iter().next().expect("A lives").0;
            assert_eq!(net.send(Side::A, id, b"x"), Ok(1));
            net.run_for(ms(10));
        })),
        DropReason::TcpBadSignature => Some(drops_of(config, |net, b| {
            let mut keys = AuthKeys::default();
            let _ = keys.set_md5(libnet::socket::Md5Key::new(net.a.path.addr, b"secret"));
            let auth = Some(std::sync::Arc::new(keys));
            let now = net.now;
            net.b.table.set_options(now, b, ConnOptions { auth, ..ConnOptions::new() });
            net.forge(Side::A, b, |forged| forged.data = b"not signed".to_vec());
        })),
        DropReason::TcpTableFull => {
            let config = TcpConfig { connections_max: 1, ..config };
            Some(drops_of(config, |net, _| {
                net.connect();
                net.run_for(ms(10));
            }))
        }
        DropReason::TcpMemory => {
            let config = TcpConfig { memory: MemoryLimits::of(1_000), ..config };
            Some(drops_of(config, |net, b| {
                let id = net.a.table.iter().next().expect("A lives").0;
                assert_eq!(net.send(Side::A, id, &[0; 2_000]), Ok(2_000));
                net.run_for(ms(300));
                assert_eq!(net.info(Side::B, b).receive_queue_bytes, 0);
            }))
        }
        DropReason::TcpZeroWindow => Some(drops_of(config, |net, b| {
            let id = net.a.table.iter().next().expect("A lives").0;
            while net.info(Side::B, b).rcv_wnd_bytes > 0 {
                let _ = net.send(Side::A, id, &[0; 100_000]);
                net.run_for(ms(300));
            }
            let _ = net.send(Side::A, id, &[0; 100_000]);
            // The probes have become rare by now.
            net.run_for(secs(200));
        })),
        _ => None,
    }
}

#[test]
fn every_drop_reason_of_tcp_is_met() {
    let reasons = DropReason::ALL.iter().filter(|reason| reason.name().starts_with("tcp_"));
    for &reason in reasons {
        let net = scene_of(reason).unwrap_or_else(|| panic!("no scene for {}", reason.name()));
        assert!(net.dropped(Side::B, reason) > 0, "{} was not met", reason.name());
    }
}
