//! IPv6 forwarding as stations on both sides of a router see it (RFC 8200, RFC 4443, RFC 4291).

use std::net::Ipv6Addr;

use libnet::route::{Route, RouteKind};
use libnet::socket::{Family, Protocol, SockType};
use libnet::world::LinkConfig;
use libnet::{DropReason, IpCidr, MacAddr};
use libnetinet::Forwarding;
use rumpnet_tests::router::{
    HERE6, LEFT, RIGHT, ROUTER_LEFT6, ROUTER_RIGHT6, ROUTERS, RouterRig, STATIONS, THERE6,
};
use rumpnet_tests::wire::six::{
    DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, IPV6, Ip6, NO_NEXT_HEADER, ROUTING, options,
};
use rumpnet_tests::wire::{Icmp, Udp, frame};

/// A datagram from the left to the right.
fn datagram(len: usize) -> Ip6 {
    let data: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
    Udp::new(1_000, 2_000, &data).packet6(HERE6, THERE6)
}

/// The same between other ends.
fn between(src: Ipv6Addr, dst: Ipv6Addr) -> Ip6 {
    Udp::new(1_000, 2_000, b"to be passed on").packet6(src, dst)
}

/// What a router that changes nothing else makes of a packet.
fn one_hop(ip: &Ip6) -> Ip6 {
    Ip6 { hops: ip.hops - 1, ..ip.clone() }
}

fn net(text: &str) -> IpCidr {
    text.parse().expect("a network")
}

fn addr(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

#[test]
fn a_packet_is_passed_on_with_its_hop_limit_lowered_and_nothing_else_changed() {
    let rig = RouterRig::six();
    let ip = Ip6 { class: 0xb9, label: 0xabcde, ..datagram(100) };
    rig.say6(&ip);
    let said = rig.right.hear();
    assert_eq!((said[0].dst, said[0].src), (STATIONS[1], ROUTERS[1]));
    assert_eq!(said[0].ip6(), Some(&one_hop(&ip)));
    let echo = Icmp::echo6(1, 2, b"through").packet6(HERE6, THERE6);
    rig.say6(&echo);
    assert_eq!(rig.passed6(), [one_hop(&echo)]);
    assert_eq!(rig.errors6(), []);
}

#[test]
fn a_host_does_not_forward_and_forwarding_is_turned_on_while_it_runs() {
    let rig = RouterRig::six_with(|config| config.forwarding.ipv6 = false, LinkConfig::default());
    rig.say6(&datagram(10));
    assert_eq!(rig.passed6(), []);
    assert_eq!(rig.dropped(DropReason::IpNotOurs), 1);
    rig.inet.set_forwarding(Family::Inet6, Forwarding::On);
    rig.say6(&datagram(10));
    assert_eq!(rig.passed6().len(), 1);
}

#[test]
fn no_socket_of_the_router_sees_what_it_passes_on() {
    let rig = RouterRig::six();
    let any = rig.stack.udp_bind("[::]:2000").expect("a free port");
    any.set_nonblocking(true).expect("a socket");
    let raw = rig.stack.socket(Family::Inet6, SockType::Raw, Protocol::UDP).expect("a socket");
    raw.set_nonblocking(true);
    rig.say6(&datagram(10));
    assert_eq!(rig.passed6().len(), 1);
    let mut buffer = [0; 100];
    assert!(any.recv_from(&mut buffer).is_err());
    assert!(raw.recv_from(&mut buffer).is_err());
}

#[test]
fn a_used_up_hop_limit_ends_the_packet_and_its_source_is_told() {
    let rig = RouterRig::six();
    for hops in [0, 1] {
        let ip = Ip6 { hops, ..datagram(1_400) };
        rig.say6(&ip);
        assert_eq!(rig.passed6(), []);
        let said = rig.left.hear_ip6();
        let error = said[0].icmp().expect("an ICMPv6 message");
        assert_eq!((error.ty, error.code), (3, 0), "hop limit {hops}");
        assert_eq!((said[0].src, said[0].dst), (ROUTER_LEFT6, HERE6));
        // RFC 4443 §2.4(c): as much as fits into 1,280 bytes.
        assert_eq!(error.data, ip.bytes()[..1_232]);
    }
    rig.say6(&Ip6 { hops: 2, ..datagram(1) });
    assert_eq!(rig.passed6()[0].hops, 1);
    assert_eq!(rig.dropped(DropReason::HopLimit), 2);
}

#[test]
fn a_packet_for_the_router_itself_needs_no_hop_limit() {
    let rig = RouterRig::six();
    for dst in [ROUTER_LEFT6, ROUTER_RIGHT6] {
        rig.say6(&Ip6 { hops: 1, ..Icmp::echo6(1, 1, b"you").packet6(HERE6, dst) });
        assert_eq!(rig.errors6()[0].ty, 129, "an answer from {dst}");
    }
}

#[test]
fn a_packet_too_big_is_refused_with_the_next_link_s_mtu_and_never_cut() {
    let rig = RouterRig::six_with(|_| {}, LinkConfig::default().mtu(1_300));
    let ip = datagram(1_400);
    rig.say6(&ip);
    assert_eq!(rig.passed6(), []);
    let errors = rig.errors6();
    assert_eq!((errors[0].ty, errors[0].code, errors[0].number()), (2, 0, 1_300));
    assert_eq!(errors[0].data, ip.bytes()[..1_232]);
    let fits = datagram(1_300 - 48);
    rig.say6(&fits);
    assert_eq!(rig.passed6(), [one_hop(&fits)]);
    assert_eq!(rig.dropped(DropReason::TooBig), 1);
}

#[test]
fn fragments_are_passed_on_as_they_come() {
    let rig = RouterRig::six();
    let fragment = vec![0, 0, 0, 1, 0, 0, 0, 9];
    let first = datagram(992).behind(FRAGMENT, fragment);
    let last = Ip6 { data: vec![17, 0, 3, 0xe8, 0, 0, 0, 9, 1, 2, 3], ..first.clone() };
    for piece in [last, first] {
        rig.say6(&piece);
        assert_eq!(rig.passed6(), [one_hop(&piece)]);
    }
}

#[test]
fn no_route_and_no_neighbour_are_told_to_the_source() {
    let rig = RouterRig::six();
    rig.say6(&between(HERE6, addr("2001:db8::9")));
    let errors = rig.errors6();
    assert_eq!((errors[0].ty, errors[0].code), (1, 0));
    assert_eq!(rig.dropped(DropReason::NoRoute), 1);
    rig.say6(&between(HERE6, addr("fd00:0:0:2::77")));
    assert_eq!(rig.errors6(), [], "not before it was asked for");
    rig.run(std::time::Duration::from_secs(6));
    let errors = rig.errors6();
    assert_eq!((errors[0].ty, errors[0].code), (1, 3));
}

#[test]
fn routes_that_refuse_say_so_and_black_holes_say_nothing() {
    let rig = RouterRig::six();
    let reject = Route::connected(net("2001:db8:1::/48"), RIGHT).with_kind(RouteKind::Reject);
    let swallow = Route::connected(net("2001:db8:2::/48"), RIGHT).with_kind(RouteKind::Blackhole);
    rig.inet.add_route(reject).expect("it fits");
    rig.inet.add_route(swallow).expect("it fits");
    rig.say6(&between(HERE6, addr("2001:db8:1::9")));
    let errors = rig.errors6();
    assert_eq!((errors[0].ty, errors[0].code), (1, 6));
    rig.say6(&between(HERE6, addr("2001:db8:2::9")));
    assert_eq!(rig.errors6(), []);
    assert_eq!(rig.dropped(DropReason::RouteRefused), 2);
}

#[test]
fn packets_to_a_gateway_go_by_it() {
    let rig = RouterRig::six();
    rig.inet.add_route(Route::via(net("2001:db8::/32"), RIGHT, THERE6.into())).expect("it fits");
    let ip = between(HERE6, addr("2001:db8::9"));
    rig.say6(&ip);
    let said = rig.right.hear();
    assert_eq!(said[0].dst, STATIONS[1]);
    assert_eq!(said[0].ip6(), Some(&one_hop(&ip)));
}

#[test]
fn what_is_of_one_link_stays_there() {
    let rig = RouterRig::six();
    rig.inet.add_route(Route::via(net("::/0"), RIGHT, THERE6.into())).expect("it fits");
    rig.say6(&between(addr("fe80::2"), THERE6));
    assert_eq!(rig.passed6(), []);
    rig.say6(&between(HERE6, addr("fe80::77")));
    assert_eq!(rig.passed6(), []);
    assert_eq!(rig.dropped(DropReason::NotForwardable), 2);
    for dst in ["ff02::1:2", "ff05::1:3", "ff0e::101"] {
        rig.say6(&between(HERE6, addr(dst)));
        assert_eq!((rig.passed6(), rig.errors6()), (vec![], vec![]), "{dst}");
    }
}

#[test]
fn a_link_local_source_is_told_that_it_is_beyond_its_scope() {
    let rig = RouterRig::six();
    let here = addr("fe80::2");
    rig.inet.add_address(LEFT, net("fe80::1/64")).expect("it fits");
    rig.inet.add_neighbour(LEFT, here.into(), STATIONS[0]).expect("it fits");
    rig.run(std::time::Duration::from_secs(5));
    let _ = rig.left.hear();
    rig.say6(&between(here, THERE6));
    let errors = rig.errors6();
    assert_eq!((errors[0].ty, errors[0].code), (1, 2));
}

#[test]
fn wrong_sources_and_destinations_are_not_passed_on() {
    let rig = RouterRig::six();
    rig.inet.add_route(Route::via(net("::/0"), RIGHT, THERE6.into())).expect("it fits");
    for src in ["::", "::1", "ff0e::1", "::ffff:10.0.0.1", "fd00:0:0:1::1"] {
        rig.say6(&between(addr(src), THERE6));
        assert_eq!((rig.passed6(), rig.errors6()), (vec![], vec![]), "{src}");
    }
    for dst in ["::", "::1", "::ffff:10.0.0.1"] {
        rig.say6(&between(HERE6, addr(dst)));
        assert_eq!((rig.passed6(), rig.errors6()), (vec![], vec![]), "{dst}");
    }
    rig.say6(&between(HERE6, addr("2001:db8::1")));
    assert_eq!(rig.passed6().len(), 1, "others are");
}

#[test]
fn frames_to_all_are_not_passed_on() {
    let rig = RouterRig::six();
    rig.say_frame(&frame(MacAddr::BROADCAST, STATIONS[0], IPV6, &datagram(8).bytes()));
    assert_eq!((rig.passed6(), rig.errors6()), (vec![], vec![]));
    assert_eq!(rig.dropped(DropReason::IpLinkBroadcast), 1);
}

#[test]
fn of_the_extension_headers_hop_by_hop_options_alone_are_looked_at() {
    let rig = RouterRig::six();
    // An option that says: discard, and tell the sender.
    let strange = options(&[0x9e, 2, 0, 0]);
    let ip = datagram(8).behind(DESTINATION_OPTIONS, strange.clone());
    rig.say6(&ip);
    assert_eq!(rig.passed6(), [one_hop(&ip)], "not ours to look at");
    let routed = datagram(8).behind(ROUTING, vec![0, 0, 0, 1, 0, 0, 0, 0]);
    rig.say6(&routed);
    assert_eq!(rig.passed6(), [one_hop(&routed)], "nor is a route that others follow");
    rig.say6(&datagram(8).behind(HOP_BY_HOP, strange));
    assert_eq!(rig.passed6(), []);
    let errors = rig.errors6();
    assert_eq!((errors[0].ty, errors[0].code, errors[0].number()), (4, 2, 42));
    let alert = datagram(8).behind(HOP_BY_HOP, options(&[5, 2, 0, 0]));
    rig.say6(&alert);
    assert_eq!(rig.passed6(), [one_hop(&alert)], "to be skipped where it is not understood");
}

#[test]
fn routing_headers_to_the_router_itself_are_refused() {
    let rig = RouterRig::six();
    for kind in [0, 2, 253] {
        let ip = between(HERE6, ROUTER_LEFT6).behind(ROUTING, vec![0, 0, kind, 1, 0, 0, 0, 0]);
        rig.say6(&ip);
        let errors = rig.errors6();
        assert_eq!((errors[0].ty, errors[0].code, errors[0].number()), (4, 0, 42), "type {kind}");
        assert_eq!(rig.passed6(), []);
        rig.run(std::time::Duration::from_secs(2));
    }
}

/// A router whose way to 2001:db8::/32 leads by another router on the left.
fn detour() -> RouterRig {
    let rig = RouterRig::six();
    rig.inet.add_address(LEFT, net("fe80::1/64")).expect("it fits");
    let other = addr("fe80::3").into();
    rig.inet.add_neighbour(LEFT, other, STATIONS[0]).expect("it fits");
    rig.inet.add_route(Route::via(net("2001:db8::/32"), LEFT, other)).expect("it fits");
    rig.run(std::time::Duration::from_secs(5));
    let _ = rig.left.hear();
    rig
}

#[test]
fn a_sender_whose_neighbour_is_the_next_hop_is_told_so_and_its_packet_passed_on() {
    let rig = detour();
    let ip = between(HERE6, addr("2001:db8::9"));
    rig.say6(&ip);
    rig.say6(&ip);
    let said = rig.left.hear_ip6();
    assert!(said.contains(&one_hop(&ip)));
    let is_redirect = |ip: &&Ip6| ip.icmp().is_some_and(|icmp| icmp.ty == 137);
    let redirect = said.iter().rfind(is_redirect).expect("a redirect");
    assert!(redirect.src.is_unicast_link_local(), "RFC 4861 §4.5");
    assert_eq!((redirect.dst, redirect.hops), (HERE6, 255));
    let icmp = redirect.icmp().expect("an ICMPv6 message");
    assert_eq!(icmp.code, 0);
    assert_eq!(icmp.data[..16], addr("fe80::3").octets(), "the target");
    assert_eq!(icmp.data[16..32], addr("2001:db8::9").octets(), "the destination");
    assert_eq!(icmp.data[32..40], [2, 1, 2, 0, 0, 0, 0, 2], "the target's address on the link");
    let quoted = ip.bytes();
    assert_eq!(icmp.data[40..42], [4, (1 + quoted.len().div_ceil(8)) as u8]);
    assert_eq!(icmp.data[48..48 + quoted.len()], quoted);
    assert!(40 + 8 + icmp.data.len() <= 1_280);
}

#[test]
fn redirects_of_long_packets_fit_into_the_least_mtu() {
    let rig = detour();
    let long = Udp::new(1, 2, &[7; 1_400]).packet6(HERE6, addr("2001:db8::9"));
    rig.say6(&long);
    let said = rig.left.hear_ip6();
    let redirect = said.iter().find(|ip| ip.icmp().is_some_and(|icmp| icmp.ty == 137));
    let bytes = redirect.expect("a redirect").bytes();
    assert!((1_200..=1_280).contains(&bytes.len()), "{} bytes", bytes.len());
}

#[test]
fn redirects_go_to_neighbours_alone_and_are_limited() {
    let rig = detour();
    rig.say6(&between(addr("fd00:0:0:7::7"), addr("2001:db8::9")));
    assert_eq!(rig.errors6(), [], "it is no neighbour");
    for _ in 0..50 {
        rig.say6(&between(HERE6, addr("2001:db8::9")));
    }
    assert_eq!(rig.errors6().len(), 3);
}

#[test]
fn errors_are_limited_and_not_sent_about_errors() {
    let rig = RouterRig::six();
    let error = Icmp::error6(1, 4, 0, &datagram(8)).packet6(HERE6, THERE6);
    rig.say6(&Ip6 { hops: 1, ..error });
    assert_eq!(rig.errors6(), []);
    for _ in 0..100 {
        rig.say6(&Ip6 { hops: 1, ..datagram(8) });
    }
    let said = rig.errors6().len();
    assert!((1..10).contains(&said), "{said} errors");
}

#[test]
fn what_follows_no_next_header_is_passed_on_unchanged() {
    let rig = RouterRig::six();
    for len in [0, 1, 7, 100] {
        let ip = Ip6::new(HERE6, THERE6, NO_NEXT_HEADER, vec![0xa5; len]);
        rig.say6(&ip);
        assert_eq!(rig.passed6(), [one_hop(&ip)], "RFC 8200 §4.7");
    }
    assert_eq!(rig.errors6(), []);
}

/// Is a packet passed on to the left, and who is told of a better way?
fn passed_back(rig: &RouterRig, ip: &Ip6) -> (bool, usize) {
    rig.say6(ip);
    let said = rig.left.hear_ip6();
    let redirects = said.iter().filter(|ip| ip.icmp().is_some_and(|icmp| icmp.ty == 137)).count();
    (said.contains(&one_hop(ip)), redirects)
}

#[test]
fn a_gateway_that_is_not_known_by_its_link_local_address_is_not_told_of() {
    let rig = detour();
    let (global, far) = (addr("fd00:0:0:1::3"), "2001:db9::/32");
    rig.inet.add_neighbour(LEFT, global.into(), STATIONS[0]).expect("it fits");
    rig.inet.add_route(Route::via(net(far), LEFT, global.into())).expect("it fits");
    assert_eq!(passed_back(&rig, &between(HERE6, addr("2001:db9::9"))), (true, 0), "RFC 4861 §8.2");
    assert_eq!(passed_back(&rig, &between(HERE6, addr("2001:db8::9"))), (true, 1));
    // Who is a neighbour itself is told of by its own address.
    assert_eq!(passed_back(&rig, &between(HERE6, global)), (true, 1));
}

#[test]
fn a_host_sends_no_redirects() {
    let rig = detour();
    rig.inet.set_forwarding(Family::Inet6, Forwarding::Off);
    assert_eq!(passed_back(&rig, &between(HERE6, addr("2001:db8::9"))), (false, 0));
}
