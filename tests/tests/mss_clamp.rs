//! A router that lowers the MSS of connections of others, so that they fit a link on which "too
//! big" gets lost.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libnet::IfIndex;
use libnet::iface::ClampMss;
use libnet::route::Route;
use libnet::socket::Family;
use libnet::world::LinkConfig;
use rumpnet::InetConfig;
use rumpnet_tests::black_hole::{BlackHole, TO_HOLE};
use rumpnet_tests::router::{HERE, HERE6, LEFT, RIGHT, RouterRig, THERE, THERE6};
use rumpnet_tests::wire::six::{
    DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, fragment, options, routing,
};
use rumpnet_tests::wire::tcp::{ACK, SYN, mss_option};
use rumpnet_tests::wire::{Ip, Ip6, MORE_FRAGMENTS, Tcp};

fn announcing(flags: u8, mss: u16) -> Tcp {
    let options = [&mss_option(mss)[..], &[1, 3, 3, 7]].concat();
    Tcp { src: 1_000, dst: 2_000, seq: 9, flags, window: 1_000, options, ..Tcp::default() }
}

/// What a SYN from the left announces on the right, by either family, its checksum right.
fn passed(rig: &RouterRig, tcp: &Tcp) -> [Option<u16>; 2] {
    rig.say(&tcp.packet(HERE, THERE));
    let four = rig.passed().pop().and_then(|ip| ip.tcp());
    rig.say6(&tcp.packet6(HERE6, THERE6));
    let six = rig.passed6().pop().and_then(|ip| ip.tcp());
    [four, six].map(|tcp| tcp.expect("it is passed on").mss())
}

fn answered(rig: &RouterRig, mss: u16) -> Option<u16> {
    rig.answer(&announcing(SYN | ACK, mss).packet(THERE, HERE));
    rig.left.hear_ip().pop().and_then(|ip| ip.tcp()).expect("it is passed on").mss()
}

fn clamp(rig: &RouterRig, iface: IfIndex, clamp: ClampMss) {
    rig.inet.set_clamp_mss(iface, clamp).expect("it is there");
}

fn counted(rig: &RouterRig) -> [u64; 2] {
    let counters = rig.inet.counters();
    [&counters.mss_clamped, &counters.mss_clamp_signed].map(|count| count.load(Ordering::Relaxed))
}

#[test]
fn a_number_bounds_syns_and_their_answers_whichever_of_the_interfaces_has_it() {
    let rig = RouterRig::six();
    assert_eq!(passed(&rig, &announcing(SYN, 1_460)), [Some(1_460); 2], "as they are");
    for iface in [LEFT, RIGHT] {
        clamp(&rig, iface, ClampMss::Bytes(1_000));
        assert_eq!(passed(&rig, &announcing(SYN, 1_460)), [Some(1_000); 2]);
        assert_eq!(passed(&rig, &announcing(SYN, 900)), [Some(900); 2], "never raised");
        assert_eq!(answered(&rig, 1_460), Some(1_000));
        clamp(&rig, iface, ClampMss::Off);
    }
    clamp(&rig, LEFT, ClampMss::Bytes(1_300));
    clamp(&rig, RIGHT, ClampMss::Bytes(1_200));
    assert_eq!(passed(&rig, &announcing(SYN, 1_460)), [Some(1_200); 2], "the smaller one");
    clamp(&rig, RIGHT, ClampMss::Bytes(1));
    assert_eq!(passed(&rig, &announcing(SYN, 1_460)), [Some(48); 2], "no sender goes below");
    assert_eq!(counted(&rig), [2 * 3 + 2 + 2, 0]);
}

#[test]
fn the_links_and_the_routes_of_both_ways_bound_what_is_announced() {
    let rig = RouterRig::six_with(|_| {}, LinkConfig::default().mtu(1_400));
    clamp(&rig, LEFT, ClampMss::Mtu);
    let big = announcing(SYN, 9_000);
    assert_eq!(passed(&rig, &big), [Some(1_360), Some(1_340)], "the link that it leaves by");
    assert_eq!(answered(&rig, 9_000), Some(1_360), "the link that it came by");
    rig.inet.set_mtu(LEFT, 1_300).expect("it carries as much");
    assert_eq!(passed(&rig, &big), [Some(1_260), Some(1_240)], "the link that it came by");
    let mut narrow = Route::connected("10.0.0.2/32".parse().expect("a network"), LEFT);
    narrow.mtu = Some(1_290);
    rig.inet.add_route(narrow).expect("it fits");
    assert_eq!(passed(&rig, &big)[0], Some(1_250), "the route back");
    assert_eq!(answered(&rig, 9_000), Some(1_250), "the route there");
}

#[test]
fn what_the_router_itself_announces_is_not_its_business() {
    let rig = RouterRig::new();
    clamp(&rig, RIGHT, ClampMss::Bytes(1_000));
    let to = SocketAddr::from((THERE, 9));
    let stack = rig.stack.clone();
    let caller = rig.world.spawn("caller", move || stack.tcp_connect(to).is_ok());
    rig.run(Duration::from_millis(10));
    let syn = rig.passed().pop().and_then(|ip| ip.tcp()).expect("a SYN of ours");
    assert_eq!(syn.mss(), Some(1_460));
    drop(caller);
}

#[test]
fn what_announces_nothing_and_what_is_no_syn_passes_as_it_is() {
    let rig = RouterRig::six();
    clamp(&rig, LEFT, ClampMss::Bytes(500));
    // RFC 9293 §3.7.1: 536 or 1,220 count then, and nothing is added.
    let silent = Tcp { options: Vec::new(), ..announcing(SYN, 0) };
    assert_eq!(passed(&rig, &silent), [None; 2]);
    let ip = Ip { protocol: 253, ..announcing(SYN, 1_460).packet(HERE, THERE) };
    rig.say(&ip);
    assert_eq!(rig.passed().pop().map(|ip| ip.data), Some(ip.data), "another protocol");
    // Bytes in the place of a header, in a later fragment.
    let tcp = announcing(SYN, 1_460).packet(HERE, THERE);
    let later = Ip { fragment: 10 | MORE_FRAGMENTS, ..tcp };
    rig.say(&later);
    assert_eq!(rig.passed().pop().map(|ip| ip.data), Some(later.data));
    let tcp = announcing(SYN, 1_460).packet6(HERE6, THERE6);
    let later = tcp.behind(FRAGMENT, fragment(80, true, 7));
    rig.say6(&later);
    assert_eq!(rig.passed6().pop().map(|ip| ip.data), Some(later.data));
    assert_eq!(counted(&rig), [0, 0]);
}

#[test]
fn a_header_is_found_behind_extensions_and_in_the_first_fragment() {
    let rig = RouterRig::six();
    clamp(&rig, RIGHT, ClampMss::Bytes(1_000));
    let behind = |mss: u16, long: usize| {
        let tcp = announcing(SYN, mss).packet6(HERE6, THERE6);
        let tcp = tcp.behind(DESTINATION_OPTIONS, options(&vec![0; long]));
        tcp.behind(60 - 17, routing(4, 0)).behind(HOP_BY_HOP, options(&[5, 2, 0, 0]))
    };
    // The longer ones are more than a packet's head room has place for.
    for long in [4, 30, 100, 400] {
        rig.say6(&behind(1_460, long));
        let said = rig.passed6().pop().expect("it is passed on");
        assert_eq!(said.data, behind(1_000, long).data, "{long} bytes");
    }
    let first = |mss: u16, rest: usize| {
        let tcp = Tcp { data: vec![3; 16], ..announcing(SYN, mss) };
        let mut six = tcp.packet6(HERE6, THERE6);
        six.data.truncate(28 + rest);
        let six = six.behind(FRAGMENT, fragment(0, true, 7));
        let mut four = Ip { fragment: MORE_FRAGMENTS, ..tcp.packet(HERE, THERE) };
        four.data.truncate(28 + rest);
        (four, six)
    };
    let (whole, lowered) = (first(1_460, 4), first(1_000, 4));
    rig.say(&whole.0);
    assert_eq!(rig.passed().pop().map(|ip| ip.data), Some(lowered.0.data));
    rig.say6(&whole.1);
    assert_eq!(rig.passed6().pop().map(|ip: Ip6| ip.data), Some(lowered.1.data));
    assert_eq!(counted(&rig), [6, 0]);
}

#[test]
fn segments_whose_options_are_signed_pass_as_they_are_and_are_counted() {
    let rig = RouterRig::six();
    clamp(&rig, RIGHT, ClampMss::Bytes(1_000));
    // TCP-MD5 covers no options, TCP-AO all.
    for (kind, len, announced) in [(19, 18, 1_000), (29, 16, 1_460)] {
        let mut options = mss_option(1_460);
        options.extend([kind, len]);
        options.resize(options.len() + usize::from(len) - 2, 0xa5);
        options.resize(options.len().next_multiple_of(4), 1);
        let signed = Tcp { options, ..announcing(SYN, 0) };
        assert_eq!(passed(&rig, &signed), [Some(announced); 2]);
    }
    assert_eq!(counted(&rig), [2, 2]);
}

#[test]
fn a_transfer_through_a_hole_that_nobody_tells_of_needs_the_clamp() {
    for family in [Family::Inet, Family::Inet6] {
        let headers = if family == Family::Inet { 40 } else { 60 };
        let path = BlackHole::new(family, 1_400, &InetConfig::default(), |interface| interface);
        let (there, back) = (path.send(1 << 20), path.fetch(1 << 20));
        path.world.run_for(Duration::from_secs(60));
        assert_eq!((there.bytes(), back.bytes()), (0, 0), "{family:?}: both stall without");
        // Of connections that are there nothing changes.
        let clamp = ClampMss::Bytes(1_400 - headers);
        path.routers().set_clamp_mss(TO_HOLE, clamp).expect("it is there");
        let (there, back) = (path.send(1 << 20), path.fetch(1 << 20));
        path.world.run_for(Duration::from_secs(3));
        assert_eq!((there.bytes(), back.bytes()), (1 << 20, 1 << 20), "{family:?}");
        assert_eq!(path.routers().counters().mss_clamped.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn a_clamp_from_the_start_loses_nothing_in_the_hole() {
    for family in [Family::Inet, Family::Inet6] {
        let path = BlackHole::new(family, 1_400, &InetConfig::default(), |interface| {
            interface.mtu(1_400).clamp_mss(ClampMss::Mtu)
        });
        let (there, back) = (path.send(1 << 20), path.fetch(1 << 20));
        path.world.run_for(Duration::from_secs(3));
        assert_eq!((there.bytes(), back.bytes()), (1 << 20, 1 << 20), "{family:?}");
        assert_eq!(path.swallowed.get(), 0);
        let counters = path.routers().counters().all();
        let too_big = |name: &str| counters.iter().any(|&(other, n)| other == name && n > 0);
        assert!(!too_big("ip_fragment_fails") && !too_big("ip6_too_big"), "and none is refused");
    }
}
