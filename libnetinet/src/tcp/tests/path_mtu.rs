//! ICMP: path MTU, soft and hard errors, and forgeries.

use super::net::*;
use crate::tcp::*;

fn quote(net: &Net, id: ConnId, kind: IcmpErrorKind) -> IcmpError {
    let conn = net.a.table.get(id).expect("it lives");
    IcmpError { kind, tuple: conn.tuple, seq: conn.snd_una, ip_bytes: 1500 }
}

/// A with segments in flight that do not arrive.
fn sending() -> (Net, ConnId, ConnId) {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.judge(|sent, _| if sent.seg.data_len > 1188 { Fate::Drop } else { Fate::Pass });
    assert_eq!(net.send(Side::A, a, &[1; 20_000]), Ok(20_000));
    net.run_for(ms(5));
    (net, a, b)
}

#[test]
fn a_smaller_path_is_learned_and_lost_segments_go_out_again_at_once() {
    // RFC 1191 §6.
    let (mut net, a, b) = sending();
    let now = net.now;
    let error = quote(&net, a, IcmpErrorKind::TooBig { mtu: 1240 });
    assert!(net.a.table.on_icmp(now, &error));
    net.run_for(ms(60));
    let info = net.info(Side::A, a);
    assert_eq!((info.path_mtu_bytes, info.snd_mss_bytes), (1240, 1188));
    assert_eq!(net.a.table.counters().timeouts, 0);
    net.run_for(ms(500));
    assert_eq!(net.recv(Side::B, b).map(|got| got.len()), Ok(20_000));
}

#[test]
fn an_old_router_that_names_no_mtu_means_the_next_plateau() {
    let (mut net, a, _) = sending();
    let now = net.now;
    let error = quote(&net, a, IcmpErrorKind::TooBig { mtu: 0 });
    assert!(net.a.table.on_icmp(now, &error));
    assert_eq!(net.info(Side::A, a).path_mtu_bytes, 1492);
}

#[test]
fn a_path_never_grows_by_icmp_and_never_shrinks_to_nothing() {
    let (mut net, a, _) = sending();
    let now = net.now;
    for mtu in [1500, 9000, u32::MAX] {
        net.a.table.on_icmp(now, &quote(&net, a, IcmpErrorKind::TooBig { mtu }));
        assert_eq!(net.info(Side::A, a).path_mtu_bytes, 1500);
    }
    net.a.table.on_icmp(now, &quote(&net, a, IcmpErrorKind::TooBig { mtu: 68 }));
    assert_eq!(net.info(Side::A, a).path_mtu_bytes, 552);
}

#[test]
fn errors_that_quote_nothing_under_way_are_not_believed() {
    // RFC 5927 §4.1.
    let (mut net, a, _) = sending();
    let now = net.now;
    let good = quote(&net, a, IcmpErrorKind::TooBig { mtu: 600 });
    let end = net.a.table.get(a).expect("it lives").snd_max;
    for seq in [good.seq - 1, end, good.seq + (1 << 30)] {
        assert!(!net.a.table.on_icmp(now, &IcmpError { seq, ..good }));
    }
    let tuple = FourTuple { remote_port: 81, ..good.tuple };
    assert!(!net.a.table.on_icmp(now, &IcmpError { tuple, ..good }));
    assert_eq!(net.info(Side::A, a).path_mtu_bytes, 1500);
}

#[test]
fn unreachable_ends_a_connect_and_not_a_connection() {
    let kinds = [
        (IcmpErrorKind::NetUnreachable, ConnError::NetUnreachable),
        (IcmpErrorKind::HostUnreachable, ConnError::HostUnreachable),
        (IcmpErrorKind::ProtocolUnreachable, ConnError::ProtocolUnreachable),
        (IcmpErrorKind::PortUnreachable, ConnError::Refused),
    ];
    for (kind, want) in kinds {
        let mut net = Net::new();
        let a = net.connect();
        net.pump(Side::A);
        let now = net.now;
        assert!(net.a.table.on_icmp(now, &quote(&net, a, IcmpErrorKind::Transient)));
        assert_eq!(net.state(Side::A, a), State::SynSent);
        assert!(net.a.table.on_icmp(now, &quote(&net, a, kind)));
        assert_eq!(net.a.table.take_error(a), Some(want));

        let (mut net, a, _) = sending();
        let now = net.now;
        assert!(net.a.table.on_icmp(now, &quote(&net, a, kind)));
        assert_eq!(net.state(Side::A, a), State::Established);
        // It is the reason that is given if the connection times out.
        net.judge(|_, _| Fate::Drop);
        net.run_for(secs(2_000));
        assert_eq!(net.a.table.take_error(a), Some(want));
    }
}

#[test]
fn a_route_that_changes_is_followed() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.a.path.mtu = 1280;
    net.a.path.gso_max_bytes = 0;
    net.a.path.generation += 1;
    net.transfer(Side::A, a, b, &[1; 50_000], secs(2));
    assert_eq!(net.info(Side::A, a).path_mtu_bytes, 1280);
    assert!(net.log.iter().skip(3).all(|sent| sent.seg.data_len <= 1228 && !sent.super_segment));
}

#[test]
fn a_route_that_is_gone_for_a_while_is_waited_for() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.a.path.broken = Some(PathError::NetUnreachable);
    net.a.path.generation += 1;
    assert_eq!(net.send(Side::A, a, b"patience"), Ok(8));
    net.run_for(secs(2));
    assert_eq!(net.state(Side::A, a), State::Established);
    assert_eq!(net.info(Side::A, a).soft_error, Some(ConnError::NetUnreachable));
    net.a.path.broken = None;
    net.a.path.generation += 1;
    net.run_for(secs(5));
    assert_eq!(net.recv(Side::B, b), Ok(b"patience".to_vec()));
}

#[test]
fn a_segment_size_that_is_asked_for_bounds_both_ways() {
    let mut options = ConnOptions::new();
    options.max_segment_bytes = 500;
    let mut net = Net::new();
    let (a, b) = net.established_with(options, ConnOptions::new());
    net.transfer(Side::A, a, b, &[1; 10_000], secs(2));
    net.transfer(Side::B, b, a, &[1; 10_000], secs(2));
    assert!(net.log.iter().all(|sent| sent.seg.data_len <= 500));
}
