//! The search for a path's MTU, and black holes: RFC 4821, RFC 8899.

use std::net::IpAddr;

use super::net::*;
use crate::tcp::*;

fn config(mtu_probing: MtuProbing) -> TcpConfig {
    TcpConfig { mtu_probing, ..TcpConfig::default() }
}

/// The IP packet of a segment, bytes.
fn ip_bytes(sent: &Sent, v6: bool) -> u32 {
    let fixed = if v6 { 60 } else { 40 };
    sent.seg.data_len + fixed + sent.seg.options.len() as u32
}

/// A router swallows what is longer, without a word.
fn black_hole(net: &mut Net, mtu: u32, v6: bool) {
    net.judge(move |sent, _| if ip_bytes(sent, v6) > mtu { Fate::Drop } else { Fate::Pass });
}

fn at(v6: bool, config: TcpConfig) -> Net {
    let (a, b): (IpAddr, IpAddr) = match v6 {
        false => ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
        true => ("fd00::1".parse().expect("an address"), "fd00::2".parse().expect("an address")),
    };
    let mut net = Net::at(a, b, config, TcpConfig::default());
    net.delay = ms(10);
    net
}

fn searched(net: &Net, id: ConnId) -> u32 {
    let info = net.info(Side::A, id);
    u32::from(info.snd_mss_bytes) + 52 + if info.tuple.local.is_ipv6() { 20 } else { 0 }
}

#[test]
fn a_search_begins_small_and_finds_what_the_path_carries() {
    // RFC 4821 §7.2, §7.3, in both families.
    for v6 in [false, true] {
        for mtu in [1_500, 1_492, 1_400, 1_300] {
            let mut net = at(v6, config(MtuProbing::Always));
            black_hole(&mut net, mtu, v6);
            let (a, b) = net.established();
            let first = if v6 { 1_280 } else { 1_076 };
            assert_eq!(
                searched(&net, a),
                first,
                "tcp_base_mss, but what every link of IPv6 carries"
            );
            net.transfer(Side::A, a, b, &vec![7; 4 << 20], secs(60));
            let found = searched(&net, a);
            assert!((mtu - 8..=mtu).contains(&found), "{found} of {mtu}, v6 {v6}");
            let counters = net.a.table.counters();
            assert!(counters.mtu_probes_out >= 1 && counters.timeouts == 0, "{counters:?}");
            assert_eq!(
                counters.mtu_probes_out,
                counters.mtu_probe_successes + counters.mtu_probe_failures
            );
        }
    }
}

#[test]
fn a_probe_that_is_lost_costs_no_window_and_its_data_come_again_in_smaller_segments() {
    // RFC 4821 §7.6.2, RFC 8899 §3.
    let mut net = at(false, config(MtuProbing::Always));
    black_hole(&mut net, 1_400, false);
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![7; 2 << 20], secs(60));
    let counters = net.a.table.counters();
    assert!(counters.mtu_probe_failures >= 1, "{counters:?}");
    assert_eq!((counters.sack_recoveries, counters.timeouts), (0, 0));
    let info = net.info(Side::A, a);
    assert_eq!(info.ssthresh_bytes, u32::MAX, "still in slow start: {info:?}");
    assert!(net.log.iter().any(|sent| ip_bytes(sent, false) == 1_500), "the most was tried");
}

#[test]
fn a_path_that_is_no_black_hole_is_not_searched_unless_asked() {
    for probing in [MtuProbing::Off, MtuProbing::OnBlackHole] {
        let mut net = at(false, config(probing));
        let (a, b) = net.established();
        assert_eq!(searched(&net, a), 1_500);
        net.transfer(Side::A, a, b, &vec![7; 1 << 20], secs(60));
        assert_eq!(net.a.table.counters().mtu_probes_out, 0);
    }
}

#[test]
fn a_black_hole_is_noticed_after_time_outs_and_got_around() {
    // RFC 4821 §7.7; as Linux does it with tcp_mtu_probing 1.
    for v6 in [false, true] {
        let mut net = at(v6, config(MtuProbing::OnBlackHole));
        let (a, b) = net.established();
        black_hole(&mut net, 1_400, v6);
        let start = net.now;
        net.transfer(Side::A, a, b, &vec![7; 4 << 20], secs(60));
        let took = net.now.since(start);
        assert!(took < secs(12), "{took:?}");
        let (found, counters) = (searched(&net, a), net.a.table.counters().clone());
        assert_eq!(counters.black_holes, 1);
        assert!((1_392..=1_400).contains(&found), "and searched from there: {found}, v6 {v6}");
    }
}

#[test]
fn a_black_hole_is_not_looked_for_where_that_is_switched_off() {
    let mut net = at(false, config(MtuProbing::Off));
    let (a, _) = net.established();
    black_hole(&mut net, 1_400, false);
    assert!(net.send(Side::A, a, &[7; 50_000]).is_ok());
    net.run_for(secs(60));
    assert_eq!(net.info(Side::A, a).snd_mss_bytes, 1_448);
    assert!(net.info(Side::A, a).in_flight_bytes > 0);
}

#[test]
fn each_further_time_out_halves_the_size_down_to_a_floor() {
    let mut net = at(false, config(MtuProbing::OnBlackHole));
    let (a, b) = net.established();
    black_hole(&mut net, 400, false);
    net.transfer(Side::A, a, b, &[7; 20_000], secs(120));
    let mss = net.info(Side::A, a).snd_mss_bytes;
    assert!((200..=348).contains(&mss), "{mss}");

    let mut net = at(true, config(MtuProbing::OnBlackHole));
    let (a, _) = net.established();
    net.judge(|_, _| Fate::Drop);
    assert!(net.send(Side::A, a, &[7; 20_000]).is_ok());
    net.run_for(secs(300));
    assert_eq!(searched(&net, a), 1_280, "RFC 8201: every link of IPv6 carries as much");
}

#[test]
fn an_outage_of_small_segments_is_no_black_hole() {
    let mut options = ConnOptions::new();
    options.max_segment_bytes = 500;
    let mut net = at(false, config(MtuProbing::OnBlackHole));
    let (a, _) = net.established_with(options, ConnOptions::new());
    net.judge(|_, _| Fate::Drop);
    assert!(net.send(Side::A, a, &[7; 20_000]).is_ok());
    net.run_for(secs(30));
    assert_eq!(net.a.table.counters().black_holes, 0);
    assert_eq!(net.info(Side::A, a).snd_mss_bytes, 488);
}

#[test]
fn a_path_that_grows_is_found_out_in_time() {
    let mut net = at(false, config(MtuProbing::Always));
    black_hole(&mut net, 1_300, false);
    let (a, b) = net.established();
    for _ in 0..4 {
        net.transfer(Side::A, a, b, &vec![7; 2 << 20], secs(60));
    }
    assert!((1_293..=1_300).contains(&searched(&net, a)), "the search has ended");
    net.clean();
    net.run_for(secs(599));
    net.transfer(Side::A, a, b, &vec![7; 1 << 19], secs(60));
    net.transfer(Side::A, a, b, &vec![7; 1 << 20], secs(60));
    net.run_for(secs(10));
    net.transfer(Side::A, a, b, &vec![7; 1 << 20], secs(60));
    net.transfer(Side::A, a, b, &vec![7; 1 << 20], secs(60));
    assert_eq!(searched(&net, a), 1_500, "tcp_probe_interval");
}

#[test]
fn what_a_router_says_bounds_the_search() {
    let mut net = at(false, config(MtuProbing::Always));
    black_hole(&mut net, 1_400, false);
    let (a, b) = net.established();
    assert!(net.send(Side::A, a, &[7; 10_000]).is_ok());
    net.pump(Side::A);
    let (now, conn) = (net.now, net.a.table.get(a).expect("it lives"));
    let kind = IcmpErrorKind::TooBig { mtu: 1_350 };
    let error = IcmpError { kind, tuple: conn.tuple, seq: conn.snd_una, ip_bytes: 1_500 };
    assert!(net.a.table.on_icmp(now, &error));
    net.run_for(secs(1));
    let _ = net.recv(Side::B, b);
    net.log.clear();
    net.transfer(Side::A, a, b, &vec![7; 2 << 20], secs(60));
    assert!((1_342..=1_350).contains(&searched(&net, a)));
    assert!(net.log.iter().all(|sent| ip_bytes(sent, false) <= 1_350));
}
