//! Connections whose segments are signed: TCP-MD5 (RFC 2385) and TCP-AO (RFC 5925).

use std::net::IpAddr;
use std::sync::Arc;

use libnet::DropReason;
use libnet::socket::{AoAlgorithm, AoKey, Md5Key};

use super::net::*;
use crate::tcp::*;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

fn options(keys: AuthKeys) -> ConnOptions {
    ConnOptions { auth: Some(Arc::new(keys)), ..ConnOptions::new() }
}

fn md5(peer: impl Into<IpAddr>, key: &[u8]) -> ConnOptions {
    let mut keys = AuthKeys::default();
    keys.set_md5(Md5Key::new(peer.into(), key)).expect("a key");
    options(keys)
}

fn ao(peer: impl Into<IpAddr>, ids: &[u8], algorithm: AoAlgorithm) -> ConnOptions {
    let (mut keys, peer) = (AuthKeys::default(), peer.into());
    for &id in ids {
        let key = AoKey { algorithm, ..AoKey::new(peer, id, &[id; 9]) };
        keys.add_ao(key).expect("a key");
    }
    options(keys)
}

/// Both ends' options, for each way to sign.
fn ways() -> [(ConnOptions, ConnOptions); 3] {
    let both = |algorithm| (ao(B, &[7], algorithm), ao(A, &[7], algorithm));
    let md5 = (md5(B, b"secret"), md5(A, b"secret"));
    [md5, both(AoAlgorithm::HmacSha1), both(AoAlgorithm::AesCmac)]
}

#[test]
fn signed_connections_carry_data_through_losses_and_close() {
    for (ours, theirs) in ways() {
        let mut net = Net::new();
        let (a, b) = net.established_with(ours, theirs);
        net.judge(|_, n| if n % 23 == 0 { Fate::Drop } else { Fate::Pass });
        net.transfer(Side::A, a, b, &[1; 200_000], secs(60));
        net.transfer(Side::B, b, a, &[2; 200_000], secs(60));
        net.clean();
        assert!(net.log.iter().all(|sent| sent.seg.options.signature.is_some()), "all are signed");
        assert!(net.log.iter().all(|sent| !sent.super_segment), "each has a signature of its own");
        net.close(Side::A, a);
        net.run_for(ms(50));
        // A's last acknowledgement, from TIME-WAIT, is lost and signed when it comes again.
        net.drop_next(1, |sent| sent.by == Side::A && sent.seg.flags == Flags::ACK);
        net.close(Side::B, b);
        net.run_for(secs(2));
        assert_eq!((net.b.table.len(), net.a.table.time_waits()), (0, 1));
        let ignored = |side| net.dropped(side, DropReason::TcpBadSignature);
        assert_eq!((ignored(Side::A), ignored(Side::B)), (0, 0));
    }
}

#[test]
fn another_key_or_none_meets_silence() {
    // RFC 2385 §2.0 (MUST): no answer that could tell anything.
    for (ours, theirs) in [
        (md5(B, b"wrong"), md5(A, b"secret")),
        (ConnOptions::new(), md5(A, b"secret")),
        (md5(B, b"secret"), ConnOptions::new()),
        (ao(B, &[8], AoAlgorithm::HmacSha1), ao(A, &[7], AoAlgorithm::HmacSha1)),
        (ao(B, &[7], AoAlgorithm::AesCmac), ao(A, &[7], AoAlgorithm::HmacSha1)),
        (ConnOptions::new(), ao(A, &[7], AoAlgorithm::HmacSha1)),
        (md5(B, b"secret"), ao(A, &[7], AoAlgorithm::HmacSha1)),
    ] {
        let mut net = Net::new();
        net.listen_with(8, theirs);
        let a = net.connect_with(ours);
        net.run_for(secs(2));
        assert_eq!(net.state(Side::A, a), State::SynSent);
        assert_eq!((net.sent_by(Side::B).len(), net.b.table.requests()), (0, 0));
        assert_eq!(net.dropped(Side::B, DropReason::TcpBadSignature), 2);
    }
    let mut net = Net::new();
    net.listen_with(8, md5(A, b"secret"));
    net.connect_with(md5(B, b"wrong"));
    net.connect();
    net.run_for(ms(10));
    let counters = net.b.table.counters();
    assert_eq!((counters.md5_failures, counters.md5_not_found), (1, 1));
}

#[test]
fn nothing_unsigned_moves_a_signed_connection() {
    for (ours, theirs) in ways() {
        let mut net = Net::new();
        let (a, b) = net.established_with(ours, theirs);
        for flags in [Flags::RST, Flags::SYN, Flags::ACK | Flags::FIN] {
            net.forge(Side::A, b, |forged| {
                forged.header.flags = flags;
                forged.data = b"forged".to_vec();
            });
        }
        net.pump(Side::B);
        assert_eq!(net.state(Side::B, b), State::Established);
        assert_eq!(net.dropped(Side::B, DropReason::TcpBadSignature), 3);
        assert_eq!(net.recv(Side::B, b), Err(RecvError::WouldBlock));
        net.transfer(Side::A, a, b, &[1; 5_000], secs(1));
    }
}

#[test]
fn a_signature_nobody_asked_for_is_refused_or_ignored_by_its_kind() {
    // RFC 5925 §7.3 (SHOULD): TCP-AO without a key for its sender is taken as if it were unsigned.
    let mut net = Net::new();
    let listener = net.listen(8);
    net.connect_with(ao(B, &[7], AoAlgorithm::HmacSha1));
    net.run_for(ms(1));
    assert_eq!((listener.embryos(), net.b.table.counters().ao_keys_not_found), (1, 0));
    let config = TcpConfig { ao_accept_unmatched: false, ..TcpConfig::default() };
    let mut net = Net::with(TcpConfig::default(), config);
    let listener = net.listen(8);
    net.connect_with(ao(B, &[7], AoAlgorithm::HmacSha1));
    net.run_for(ms(1));
    assert_eq!((listener.embryos(), net.b.table.counters().ao_keys_not_found), (0, 1));
    // RFC 2385: an MD5 signature without a key is never taken.
    let mut net = Net::new();
    let listener = net.listen(8);
    net.connect_with(md5(B, b"secret"));
    net.run_for(ms(1));
    assert_eq!((listener.embryos(), net.b.table.counters().md5_unexpected), (0, 1));
}

#[test]
fn a_listener_can_ask_everybody_for_tcp_ao() {
    let mut keys = AuthKeys::default();
    keys.add_ao(AoKey::new([10, 9, 9, 9].into(), 1, b"another's")).expect("a key");
    keys.require_ao(true);
    let mut net = Net::new();
    let listener = net.listen_with(8, options(keys));
    net.connect();
    net.run_for(ms(5));
    assert_eq!((listener.embryos(), net.b.table.counters().ao_required), (0, 1));
}

#[test]
fn hard_errors_do_not_disturb_a_connection_signed_by_tcp_ao() {
    // RFC 5925 §7.8.
    let mut net = Net::new();
    let algorithm = AoAlgorithm::HmacSha1;
    let (a, _) = net.established_with(ao(B, &[1], algorithm), ao(A, &[1], algorithm));
    assert_eq!(net.send(Side::A, a, b"under way"), Ok(9));
    net.pump(Side::A);
    let conn = net.a.table.get(a).expect("it lives");
    let (tuple, seq, now) = (*conn.tuple(), conn.snd_una, net.now);
    let kinds = [
        IcmpErrorKind::PortUnreachable,
        IcmpErrorKind::ProtocolUnreachable,
        IcmpErrorKind::TooBig { mtu: 600 },
    ];
    for kind in kinds {
        assert!(net.a.table.on_icmp(now, &IcmpError { kind, tuple, seq, ip_bytes: 1500 }));
    }
    assert_eq!(net.a.table.counters().ao_icmps_dropped, 3);
    let info = net.info(Side::A, a);
    assert_eq!((info.path_mtu_bytes, info.soft_error), (1500, None));
}

#[test]
fn a_connection_changes_its_key_while_data_flow() {
    // RFC 5925 §7.5, §8.1: B asks for the new key, A follows, and then B does.
    let mut net = Net::new();
    let algorithm = AoAlgorithm::HmacSha1;
    let (a, b) = net.established_with(ao(B, &[1, 2], algorithm), ao(A, &[1, 2], algorithm));
    net.transfer(Side::A, a, b, &[1; 5_000], secs(1));
    assert_eq!(net.a.table.keys_in_use(a), Some((1, 1)));
    assert!(net.b.table.ask_for_key(b, 2));
    net.transfer(Side::B, b, a, &[1; 5_000], secs(1));
    assert_eq!(net.a.table.keys_in_use(a), Some((2, 1)), "A signs as B asks");
    assert!(net.a.table.ask_for_key(a, 2));
    net.transfer(Side::A, a, b, &[1; 5_000], secs(1));
    assert_eq!(net.b.table.keys_in_use(b), Some((2, 2)));
    // The old key goes; the connection does not notice.
    let now = net.now;
    net.a.table.set_options(now, a, ao(B, &[2], algorithm));
    net.b.table.set_options(now, b, ao(A, &[2], algorithm));
    net.transfer(Side::A, a, b, &[1; 50_000], secs(1));
    net.transfer(Side::B, b, a, &[1; 50_000], secs(1));
    assert!(!net.a.table.sign_with(a, 1), "it is gone");
    assert_eq!(net.dropped(Side::A, DropReason::TcpBadSignature), 0);
}

#[test]
fn an_established_connection_can_begin_and_cease_to_sign_with_md5() {
    let mut net = Net::new();
    let (a, b) = net.established();
    let now = net.now;
    net.a.table.set_options(now, a, md5(B, b"secret"));
    net.b.table.set_options(now, b, md5(A, b"secret"));
    net.transfer(Side::A, a, b, &[1; 50_000], secs(1));
    let signed = net.log.iter().filter(|sent| sent.seg.options.signature.is_some()).count();
    assert!(signed > 30, "{signed}");
    net.a.table.set_options(now, a, ConnOptions::new());
    net.b.table.set_options(now, b, ConnOptions::new());
    net.log.clear();
    net.transfer(Side::A, a, b, &[1; 50_000], secs(1));
    assert!(net.log.iter().all(|sent| !sent.seg.options.signature.is_some()));
    // RFC 5925 §7.3: with TCP-AO it cannot.
    net.a.table.set_options(now, a, ao(B, &[1], AoAlgorithm::HmacSha1));
    net.log.clear();
    net.transfer(Side::A, a, b, &[1; 5_000], secs(1));
    assert!(net.log.iter().all(|sent| !sent.seg.options.signature.is_some()));
}

#[test]
fn handshakes_by_cookie_are_signed_too() {
    for (ours, theirs) in ways() {
        let config = TcpConfig { syn_cookies: SynCookies::Always, ..TcpConfig::default() };
        let mut net = Net::with(TcpConfig::default(), config);
        let (a, b) = net.established_with(ours, theirs);
        assert_eq!(net.b.table.counters().syn_cookies_received, 1);
        net.transfer(Side::A, a, b, &[1; 50_000], secs(5));
        net.transfer(Side::B, b, a, &[2; 50_000], secs(5));
    }
}

#[test]
fn connects_that_cross_are_signed_too() {
    let mut net = Net::new();
    let a = net.connect_from(5000, md5(B, b"secret")).expect("the port is free");
    let remote = std::net::SocketAddr::new(net.a.path.addr, 5000);
    let from = ConnectFrom { port: 80, options: md5(A, b"secret"), ..ConnectFrom::default() };
    let b = net.b.table.connect(net.now, &mut net.b.path, from, remote, &|_| true);
    let b = b.expect("the port is free");
    net.run_for(ms(10));
    assert_eq!(net.state(Side::A, a), State::Established);
    net.transfer(Side::A, a, b, &[1; 5_000], secs(1));
}

#[test]
fn a_signed_segment_leaves_room_for_its_signature_and_for_blocks() {
    for (at, (ours, theirs)) in ways().into_iter().enumerate() {
        let mut net = Net::new();
        let (a, b) = net.established_with(ours, theirs);
        let mss = net.info(Side::A, a).snd_mss_bytes;
        assert_eq!(mss, if at == 0 { 1460 - 20 } else { 1460 - 12 - 16 });
        net.judge(|sent, n| if sent.by == Side::A && n % 3 == 0 { Fate::Drop } else { Fate::Pass });
        net.transfer(Side::A, a, b, &[1; 100_000], secs(200));
        let blocks =
            net.sent_by(Side::B).iter().map(|sent| sent.seg.options.sack.iter().count()).max();
        assert_eq!(blocks, Some(if at == 0 { 2 } else { 1 }));
    }
}
