//! Paths on which what is too long gets lost, and nobody is told: RFC 4821, RFC 8899 in a world.

use std::time::Duration;

use libnet::socket::Family;
use libnetinet::tcp::{MtuProbing, TcpCounters};
use rumpnet::InetConfig;
use rumpnet_tests::black_hole::BlackHole;
use rumpnet_tests::goodput::Goodput;

/// More than any of these tests moves.
const PLENTY: usize = 1 << 30;
/// The link's 20 Mbit/s in bytes a second.
const LINK: u64 = 2_500_000;

fn path(family: Family, mtu: usize, probing: MtuProbing) -> BlackHole {
    let mut config = InetConfig::default();
    config.tcp.mtu_probing = probing;
    BlackHole::new(family, mtu, &config, |interface| interface)
}

fn counters(path: &BlackHole) -> TcpCounters {
    path.here.inet().expect("a stack of its own").tcp_counters().remove(0)
}

/// Bytes of the longest packet that the sender makes.
fn longest(path: &BlackHole) -> usize {
    let inet = path.here.inet().expect("a stack of its own");
    let ids = inet.sockets().into_iter().filter_map(|socket| socket.id);
    let info = ids.filter_map(|id| inet.tcp_info(id)).next().expect("a connection");
    let headers = if info.tuple.local.is_ipv4() { 52 } else { 72 };
    usize::from(info.snd_mss_bytes) + headers
}

/// Bytes that arrive in the next two seconds.
fn two_seconds(path: &BlackHole, goodput: &Goodput) -> u64 {
    let before = goodput.bytes();
    path.world.run_for(Duration::from_secs(2));
    goodput.bytes() - before
}

fn assert_fills_the_link(path: &BlackHole, goodput: &Goodput, mtu: usize) {
    let found = longest(path);
    assert!((mtu - 8..=mtu).contains(&found), "{found} of {mtu} bytes");
    let swallowed = path.swallowed.get();
    let bytes = two_seconds(path, goodput);
    assert!(bytes > 2 * LINK * 4 / 5, "{bytes} bytes in two seconds");
    assert_eq!(path.swallowed.get(), swallowed, "nothing more is lost");
}

#[test]
fn without_a_search_a_connection_hangs() {
    for family in [Family::Inet, Family::Inet6] {
        let path = path(family, 1_400, MtuProbing::Off);
        let goodput = path.send(PLENTY);
        path.world.run_for(Duration::from_secs(120));
        assert_eq!(goodput.bytes(), 0, "{family:?}");
        assert!(path.swallowed.get() > 5 && longest(&path) == 1_500);
    }
}

#[test]
fn a_hole_is_noticed_by_time_outs_and_got_around_and_then_the_link_is_filled() {
    for family in [Family::Inet, Family::Inet6] {
        for mtu in [1_300, 1_492] {
            let path = path(family, mtu, MtuProbing::OnBlackHole);
            let goodput = path.send(PLENTY);
            path.world.run_for(Duration::from_secs(4));
            assert!(goodput.bytes() > 0, "{family:?}, {mtu} bytes");
            assert_eq!(counters(&path).black_holes, 1);
            assert_fills_the_link(&path, &goodput, mtu);
        }
    }
}

#[test]
fn a_hole_that_opens_under_a_transfer_is_got_around() {
    for family in [Family::Inet, Family::Inet6] {
        let path = path(family, 1_500, MtuProbing::OnBlackHole);
        let goodput = path.send(PLENTY);
        path.world.run_for(Duration::from_secs(1));
        assert_fills_the_link(&path, &goodput, 1_500);
        path.becomes(1_400);
        path.world.run_for(Duration::from_secs(5));
        assert_eq!(counters(&path).black_holes, 1, "{family:?}");
        assert_fills_the_link(&path, &goodput, 1_400);
    }
}

#[test]
fn a_search_from_the_start_finds_the_size_without_a_time_out() {
    for family in [Family::Inet, Family::Inet6] {
        for mtu in [1_300, 1_492] {
            let path = path(family, mtu, MtuProbing::Always);
            let goodput = path.send(PLENTY);
            path.world.run_for(Duration::from_secs(2));
            let counters = counters(&path);
            assert_eq!((counters.timeouts, counters.black_holes), (0, 0), "{family:?}, {mtu}");
            assert!(counters.mtu_probe_successes > 0);
            assert_eq!(path.swallowed.get(), counters.mtu_probe_failures, "probes alone are lost");
            assert_fills_the_link(&path, &goodput, mtu);
        }
    }
}
