//! IPv4 forwarding as stations on both sides of a router see it (RFC 1812, RFC 2644, RFC 3704).

use std::net::Ipv4Addr;
use std::time::Duration;

use libnet::route::{Route, RouteKind};
use libnet::socket::{Family, Protocol, SockType};
use libnet::world::LinkConfig;
use libnet::{DropReason, IpCidr, MacAddr};
use libnetinet::Forwarding;
use rumpnet_tests::router::{
    HERE, HERE_TOO, LEFT, RIGHT, ROUTER_LEFT, ROUTER_RIGHT, ROUTERS, RouterRig, STATIONS, THERE,
};
use rumpnet_tests::wire::{DONT_FRAGMENT, ICMP, IPV4, Icmp, Ip, UDP, Udp, checksum, frame};

mod cut;
mod redirects;
mod reverse_path;

/// A datagram from the left to the right.
fn datagram(len: usize) -> Ip {
    let data: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
    Udp::new(1_000, 2_000, &data).packet(HERE, THERE)
}

/// What a router that changes nothing else makes of a packet.
fn one_hop(ip: &Ip) -> Ip {
    Ip { ttl: ip.ttl - 1, ..ip.clone() }
}

fn net(text: &str) -> IpCidr {
    text.parse().expect("a network")
}

#[test]
fn a_packet_is_passed_on_with_its_time_to_live_lowered_and_nothing_else_changed() {
    let rig = RouterRig::new();
    for protocol in [1, 6, 17, 89, 253] {
        let ip = Ip { tos: 0xb9, ident: 77, fragment: DONT_FRAGMENT, ..datagram(100) };
        let mut ip = Ip { protocol, ..ip };
        if protocol == ICMP {
            ip.data = Icmp::echo(1, 2, b"through").bytes();
        } else if protocol != UDP {
            // No transport that is checked on the way: routers do not look.
            ip = Ip { protocol: 253, ..ip };
        }
        rig.say(&ip);
        assert_eq!(rig.passed(), [one_hop(&ip)], "protocol {protocol}");
    }
    assert_eq!(rig.left.hear(), [], "and nobody is told");
}

#[test]
fn frames_carry_the_router_s_address_to_the_next_hop_s() {
    let rig = RouterRig::new();
    rig.say(&datagram(10));
    let said = rig.right.hear();
    assert_eq!((said[0].dst, said[0].src), (STATIONS[1], ROUTERS[1]));
}

#[test]
fn a_host_does_not_forward_and_forwarding_is_turned_on_and_off_while_it_runs() {
    let rig = RouterRig::with(|config| config.forwarding.ipv4 = false, LinkConfig::default());
    rig.say(&datagram(10));
    assert_eq!(rig.passed(), []);
    assert_eq!(rig.dropped(DropReason::IpNotOurs), 1);
    rig.inet.set_forwarding(Family::Inet, Forwarding::On);
    rig.say(&datagram(10));
    assert_eq!(rig.passed().len(), 1);
    rig.inet.set_interface_forwarding(LEFT, Family::Inet, Forwarding::Off).expect("it is there");
    rig.say(&datagram(10));
    assert_eq!(rig.passed(), [], "what comes by the left is not passed on");
    rig.answer(&Udp::new(1, 2, b"back").packet(THERE, HERE));
    assert_eq!(rig.left.hear_ip(), [], "and nothing by the left");
    rig.inet.set_interface_forwarding(LEFT, Family::Inet, Forwarding::On).expect("it is there");
    rig.answer(&Udp::new(1, 2, b"back").packet(THERE, HERE));
    assert_eq!(rig.left.hear_ip().len(), 1);
}

#[test]
fn no_socket_of_the_router_sees_what_it_passes_on() {
    let rig = RouterRig::new();
    let any = rig.stack.udp_bind("0.0.0.0:2000").expect("a free port");
    any.set_nonblocking(true).expect("a socket");
    let raw = rig.stack.socket(Family::Inet, SockType::Raw, Protocol::UDP).expect("a socket");
    raw.set_nonblocking(true);
    rig.say(&datagram(10));
    assert_eq!(rig.passed().len(), 1);
    let mut buffer = [0; 100];
    assert!(any.recv_from(&mut buffer).is_err());
    assert!(raw.recv_from(&mut buffer).is_err());
}

#[test]
fn a_used_up_time_to_live_ends_the_packet_and_its_source_is_told() {
    let rig = RouterRig::new();
    for ttl in [0, 1] {
        let ip = Ip { ttl, ..datagram(600) };
        rig.say(&ip);
        assert_eq!(rig.passed(), []);
        let said = rig.left.hear_ip();
        assert_eq!(said.len(), 1, "time to live {ttl}");
        let error = said[0].icmp().expect("an ICMP message");
        assert_eq!((error.ty, error.code), (11, 0));
        // RFC 1812 §4.3.2.4: from an address of the interface that it leaves by.
        assert_eq!((said[0].src, said[0].dst), (ROUTER_LEFT, HERE));
        // RFC 1812 §4.3.2.3: as much as fits, unchanged, in 576 bytes.
        assert_eq!(error.data, ip.bytes()[..548]);
        assert_eq!(said[0].tos, 0xc0, "RFC 1812 §4.3.2.5");
    }
    rig.say(&Ip { ttl: 2, ..datagram(1) });
    assert_eq!(rig.passed()[0].ttl, 1, "the next one decides");
    assert_eq!(rig.dropped(DropReason::HopLimit), 2);
}

#[test]
fn a_packet_for_the_router_itself_needs_no_time_to_live() {
    let rig = RouterRig::new();
    for dst in [ROUTER_LEFT, ROUTER_RIGHT] {
        let echo = Icmp::echo(1, 1, b"you").bytes();
        rig.say(&Ip { ttl: 1, tos: 0xa0, ..Ip::new(HERE, dst, ICMP, echo) });
        let said = rig.left.hear_ip();
        assert_eq!(said[0].icmp().map(|icmp| icmp.ty), Some(0), "an answer from {dst}");
        assert_eq!((said[0].src, said[0].tos), (dst, 0xa0), "RFC 1812 §4.3.2.5");
    }
}

#[test]
fn no_route_is_net_unreachable() {
    let rig = RouterRig::new();
    let ip = Ip { dst: Ipv4Addr::new(192, 0, 2, 9), ..datagram(8) };
    rig.say(&ip.summed(6));
    let errors = rig.errors();
    assert_eq!((errors[0].ty, errors[0].code), (3, 0));
    assert_eq!(rig.dropped(DropReason::NoRoute), 1);
}

#[test]
fn routes_that_refuse_say_host_unreachable_and_black_holes_say_nothing() {
    let rig = RouterRig::new();
    let reject = Route::connected(net("192.0.2.0/24"), RIGHT).with_kind(RouteKind::Reject);
    let swallow = Route::connected(net("198.51.100.0/24"), RIGHT).with_kind(RouteKind::Blackhole);
    rig.inet.add_route(reject).expect("it fits");
    rig.inet.add_route(swallow).expect("it fits");
    rig.say(&Ip { dst: Ipv4Addr::new(192, 0, 2, 9), ..datagram(8) }.summed(6));
    let errors = rig.errors();
    assert_eq!((errors[0].ty, errors[0].code), (3, 1));
    rig.say(&Ip { dst: Ipv4Addr::new(198, 51, 100, 9), ..datagram(8) }.summed(6));
    assert_eq!(rig.errors(), []);
    assert_eq!(rig.dropped(DropReason::RouteRefused), 2);
}

#[test]
fn a_neighbour_that_does_not_answer_is_host_unreachable_to_the_source() {
    let rig = RouterRig::new();
    let ip = Ip { dst: Ipv4Addr::new(10, 0, 1, 77), ..datagram(8) }.summed(6);
    rig.say(&ip);
    assert_eq!(rig.errors(), [], "not before it was asked for");
    assert!(rig.right.hear().iter().any(|frame| frame.arp().is_some()));
    rig.run(Duration::from_secs(5));
    let said = rig.left.hear_ip();
    let error = said[0].icmp().expect("an ICMP message");
    assert_eq!((error.ty, error.code), (3, 1));
    assert_eq!((said[0].src, said[0].dst), (ROUTER_LEFT, HERE));
    assert_eq!(error.data[12..20], ip.bytes()[12..20], "about that packet");
}

#[test]
fn packets_to_a_gateway_go_by_it() {
    let rig = RouterRig::new();
    rig.inet.add_route(Route::via(net("192.0.2.0/24"), RIGHT, THERE.into())).expect("it fits");
    let ip = Ip { dst: Ipv4Addr::new(192, 0, 2, 9), ..datagram(8) }.summed(6);
    rig.say(&ip);
    let said = rig.right.hear();
    assert_eq!(said[0].dst, STATIONS[1]);
    assert_eq!(said[0].ip(), Some(&one_hop(&ip)));
}

#[test]
fn frames_to_all_are_not_passed_on() {
    let rig = RouterRig::new();
    for to in [MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 9])] {
        rig.say_frame(&frame(to, STATIONS[0], IPV4, &datagram(8).bytes()));
        assert_eq!((rig.passed(), rig.left.hear()), (vec![], vec![]), "{to}");
    }
    assert_eq!(rig.dropped(DropReason::IpLinkBroadcast), 1, "the group was not even received");
}

#[test]
fn martian_sources_are_not_passed_on() {
    let rig = RouterRig::new();
    let martians = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"];
    let broadcasts = ["10.0.0.255", "10.0.1.255"];
    let ours = ["10.0.0.1", "10.0.1.1"];
    for src in martians.into_iter().chain(broadcasts).chain(ours).chain(["169.254.3.4"]) {
        let src: Ipv4Addr = src.parse().expect("an address");
        rig.say(&Ip { src, ..datagram(8) }.summed(6));
        assert_eq!((rig.passed(), rig.left.hear()), (vec![], vec![]), "{src}");
    }
}

#[test]
fn martian_destinations_are_not_passed_on() {
    let rig = RouterRig::new();
    rig.inet.add_route(Route::via(net("0.0.0.0/0"), RIGHT, THERE.into())).expect("it fits");
    let reserved = ["0.0.0.1", "127.0.0.1", "240.0.0.1", "255.255.255.254", "169.254.1.1"];
    let networks = ["10.0.1.0"];
    let groups = ["224.0.0.5", "239.1.2.3"];
    for dst in reserved.into_iter().chain(networks).chain(groups) {
        let dst: Ipv4Addr = dst.parse().expect("an address");
        rig.say(&Ip { dst, ..datagram(8) }.summed(6));
        assert_eq!((rig.passed(), rig.left.hear()), (vec![], vec![]), "{dst}");
    }
    rig.say(&Ip { dst: Ipv4Addr::new(192, 0, 2, 1), ..datagram(8) }.summed(6));
    assert_eq!(rig.passed().len(), 1, "others are");
}

#[test]
fn directed_broadcasts_are_neither_received_nor_passed_on() {
    let rig = RouterRig::new();
    let socket = rig.stack.udp_bind("0.0.0.0:2000").expect("a free port");
    socket.set_nonblocking(true).expect("a socket");
    rig.say(&Ip { dst: Ipv4Addr::new(10, 0, 1, 255), ..datagram(8) }.summed(6));
    assert_eq!(rig.passed(), []);
    assert!(socket.recv_from(&mut [0; 100]).is_err());
    rig.say(&Ip { dst: Ipv4Addr::BROADCAST, ..datagram(8) }.summed(6));
    assert_eq!(rig.passed(), []);
    assert_eq!(socket.recv_from(&mut [0; 100]).expect("a limited one is received").0, 8);
}

#[test]
fn damaged_headers_are_not_passed_on() {
    let rig = RouterRig::new();
    let good = datagram(8).bytes();
    for at in 0..20 {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        rig.say_bytes(&bytes);
        assert_eq!((rig.passed(), rig.errors()), (vec![], vec![]), "byte {at}");
    }
    let mut bytes = good.clone();
    bytes[3] += 1;
    bytes[10..12].fill(0);
    let sum = checksum(&[&bytes[..20]]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    rig.say_bytes(&bytes);
    assert_eq!(rig.passed(), [], "longer than its frame");
}

#[test]
fn padding_is_not_passed_on() {
    let rig = RouterRig::new();
    let mut bytes = datagram(4).bytes();
    bytes.extend([0xee; 14]);
    rig.say_bytes(&bytes);
    assert_eq!(rig.passed(), [one_hop(&datagram(4))]);
}

#[test]
fn packets_of_every_precedence_are_passed_on_as_they_are() {
    let rig = RouterRig::new();
    for precedence in 0..8 {
        let ip = Ip { tos: precedence << 5, ..datagram(8) };
        rig.say(&ip);
        assert_eq!(rig.passed(), [one_hop(&ip)]);
    }
}

#[test]
fn errors_are_not_sent_about_errors_pieces_or_packets_to_many() {
    let rig = RouterRig::new();
    let about = datagram(8);
    let error = Icmp::error(3, 3, [0; 4], &about).bytes();
    rig.say(&Ip { ttl: 1, ..Ip::new(HERE, THERE, ICMP, error) });
    rig.say(&Ip { ttl: 1, fragment: 100, ..datagram(8) });
    rig.say(&Ip { ttl: 1, dst: Ipv4Addr::new(224, 1, 1, 1), ..datagram(8) }.summed(6));
    assert_eq!((rig.passed(), rig.errors()), (vec![], vec![]));
    rig.say(&Ip { ttl: 1, ..datagram(8) });
    assert_eq!(rig.errors().len(), 1);
}

#[test]
fn errors_are_limited_and_packets_are_not() {
    let rig = RouterRig::new();
    for _ in 0..100 {
        rig.say(&Ip { ttl: 1, ..datagram(8) });
    }
    let said = rig.errors().len();
    assert!((1..10).contains(&said), "{said} errors");
    for _ in 0..100 {
        rig.say(&datagram(8));
    }
    assert_eq!(rig.passed().len(), 100);
}

#[test]
fn record_route_and_timestamps_are_filled_in_where_the_packet_leaves() {
    let rig = RouterRig::new();
    let [a, b, c, d] = ROUTER_RIGHT.octets();
    rig.say(&Ip { options: vec![7, 7, 4, 0, 0, 0, 0, 0], ..datagram(8) });
    assert_eq!(rig.passed()[0].options, [7, 7, 8, a, b, c, d, 0]);
    rig.say(&Ip { options: vec![68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0], ..datagram(8) });
    let stamped = &rig.passed()[0].options;
    assert_eq!(stamped[..8], [68, 12, 13, 1, a, b, c, d]);
    assert!(stamped[8] & 0x80 != 0, "RFC 791 §3.1: not since midnight, and it says so");
    let [a, b, c, d] = ROUTER_LEFT.octets();
    rig.say(&Ip { options: vec![68, 12, 5, 3, a, b, c, d, 0, 0, 0, 0], ..datagram(8) });
    assert_eq!(rig.passed()[0].options[2], 13, "any address of ours was asked for");
}

#[test]
fn options_that_are_not_understood_pass_unchanged() {
    let rig = RouterRig::new();
    let alert = vec![148, 4, 0, 0];
    let security = vec![130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let unknown = vec![1, 200, 5, 1, 2, 3, 1, 0];
    for options in [alert, security, unknown] {
        let ip = Ip { options, ..datagram(8) };
        rig.say(&ip);
        assert_eq!(rig.passed(), [one_hop(&ip)]);
    }
}

#[test]
fn options_in_error_are_refused_and_explained() {
    let rig = RouterRig::new();
    for (options, at) in [
        (vec![200, 0, 0, 0], 20),
        (vec![1, 200, 4, 0], 21),
        (vec![7, 7, 6, 0, 0, 0, 0, 0], 22),
        (vec![1, 68, 4, 5, 0xf0, 0, 0, 0], 24),
    ] {
        rig.say(&Ip { options: options.clone(), ..datagram(8) });
        assert_eq!(rig.passed(), [], "{options:?}");
        let errors = rig.errors();
        assert_eq!((errors[0].ty, errors[0].rest[0]), (12, at), "{options:?}");
    }
}

#[test]
fn reserved_bits_are_not_looked_at() {
    let rig = RouterRig::new();
    let ip = Ip { tos: 0xff, ..datagram(8) };
    rig.say(&ip);
    assert_eq!(rig.passed(), [one_hop(&ip)]);
    rig.say(&Ip { fragment: 0x8000 | DONT_FRAGMENT, ..datagram(8) });
    let counters = rig.inet.counters();
    assert_eq!(counters.ip_forwarded.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn routes_by_an_interface_that_is_down_are_not_used_until_it_is_up() {
    let rig = RouterRig::new();
    let far = net("192.0.2.0/24");
    rig.inet.add_route(Route::via(far, LEFT, HERE_TOO.into())).expect("it fits");
    rig.inet.add_route(Route::via(far, RIGHT, THERE.into()).with_metric(10)).expect("it fits");
    rig.inet.set_up(RIGHT, libnetinet::AdminState::Down).expect("it is there");
    rig.say(&datagram(8));
    assert_eq!((rig.passed().len(), rig.errors()[0].code), (0, 0), "net unreachable");
    rig.inet.set_up(RIGHT, libnetinet::AdminState::Up).expect("it is there");
    rig.say(&datagram(8));
    assert_eq!(rig.passed().len(), 1);
    rig.inet.remove_route(&far, libnet::route::RouteSelector::ANY);
    rig.say(&by_detour(HERE));
    assert_eq!(rig.passed().len(), 1, "the static route by it works again");
}

#[test]
fn source_routes_are_not_obeyed() {
    let rig = RouterRig::new();
    for kind in [131, 137] {
        let options = vec![kind, 7, 4, 10, 0, 0, 9, 0];
        rig.say(&Ip { options: options.clone(), ..datagram(8) });
        rig.say(&Ip { options, dst: ROUTER_LEFT, ..datagram(8) }.summed(6));
        assert_eq!((rig.passed(), rig.left.hear()), (vec![], vec![]));
    }
    assert_eq!(rig.dropped(DropReason::IpSourceRoute), 4);
}

/// To a network that a gateway on the left may be the way to.
fn by_detour(src: Ipv4Addr) -> Ip {
    Ip { src, dst: Ipv4Addr::new(192, 0, 2, 9), ..datagram(8) }.summed(6)
}

#[test]
fn a_route_that_changes_is_followed_at_once() {
    let rig = RouterRig::new();
    let far = net("192.0.2.0/24");
    let ip = by_detour(HERE);
    rig.inet.add_route(Route::via(far, RIGHT, THERE.into()).with_metric(10)).expect("it fits");
    rig.say(&ip);
    assert_eq!(rig.passed().len(), 1);
    rig.inet.add_route(Route::via(far, LEFT, HERE_TOO.into())).expect("it fits");
    rig.say(&ip);
    assert_eq!((rig.passed().len(), rig.left.hear_ip().contains(&one_hop(&ip))), (0, true));
    assert!(rig.inet.remove_route(&far, libnet::route::RouteSelector::ANY));
    rig.say(&ip);
    assert_eq!(rig.passed().len(), 1);
}

#[test]
fn a_full_queue_drops_and_counts_and_the_router_goes_on() {
    let slow = libnet::impair::Impairments::none().rate(1_000_000);
    let rig = RouterRig::with(
        |config| config.forwarding.queue_packets = 8,
        LinkConfig::default().impairments(slow),
    );
    for _ in 0..2_000 {
        let bytes = frame(ROUTERS[0], STATIONS[0], IPV4, &datagram(1_400).bytes());
        rig.left.segment.send_raw(libnet::Packet::from_payload(bytes.into()));
    }
    rig.run(Duration::from_millis(5));
    assert!(rig.dropped(DropReason::ForwardQueueFull) > 1_000);
    let echo = Icmp::echo(1, 1, b"alive?").bytes();
    rig.say(&Ip::new(HERE, ROUTER_LEFT, ICMP, echo));
    assert_eq!(rig.errors()[0].ty, 0, "receiving never depends on sending");
    rig.run(Duration::from_secs(60));
    let passed = rig.passed().len() as u64;
    assert_eq!(passed + rig.dropped(DropReason::ForwardQueueFull), 2_000);
    let counters = rig.inet.counters();
    let forwarded = counters.ip_forwarded.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(forwarded, 2_000, "dropped behind the forwarder, as Linux counts it");
}

#[test]
fn a_router_hears_broadcasts_and_its_groups() {
    let rig = RouterRig::new();
    let socket = rig.stack.udp_bind("0.0.0.0:2000").expect("a free port");
    socket.set_nonblocking(true).expect("a socket");
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let to_group = MacAddr([1, 0, 0x5e, 1, 2, 3]);
    let says = |mac: MacAddr, dst: Ipv4Addr| {
        let ip = Ip { dst, ..datagram(8) }.summed(6);
        rig.say_frame(&frame(mac, STATIONS[0], IPV4, &ip.bytes()));
        let heard = socket.recv_from(&mut [0; 100]).is_ok();
        (heard, rig.passed().len())
    };
    assert_eq!(says(MacAddr::BROADCAST, Ipv4Addr::BROADCAST), (true, 0), "RFC 1812 §5.3.5.1");
    assert_eq!(says(MacAddr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)), (true, 0), "of its link");
    assert_eq!(says(to_group, group), (false, 0), "nobody here is in it");
    socket.join_multicast_v4(&group, &ROUTER_LEFT).expect("there is room");
    assert_eq!(says(to_group, group), (true, 0), "RFC 1812 §4.2.2.11");
}

#[test]
fn what_looks_like_a_broadcast_of_a_far_network_is_passed_on() {
    let rig = RouterRig::new();
    rig.inet.add_route(Route::via(net("192.0.2.0/24"), RIGHT, THERE.into())).expect("it fits");
    for last in [255, 0, 7] {
        let ip = Ip { dst: Ipv4Addr::new(192, 0, 2, last), ..datagram(8) }.summed(6);
        rig.say(&ip);
        assert_eq!(rig.passed(), [one_hop(&ip)], "RFC 1812 §5.3.5.2: it may be a host of theirs");
    }
}

#[test]
fn parts_of_one_network_may_lie_on_either_side() {
    let rig = RouterRig::new();
    let via = |to: &str, iface, gateway: Ipv4Addr| Route::via(net(to), iface, gateway.into());
    rig.inet.add_route(via("172.16.0.0/16", LEFT, HERE_TOO)).expect("it fits");
    rig.inet.add_route(via("172.16.9.0/24", RIGHT, THERE)).expect("it fits");
    for (third, passed) in [(8, 0), (9, 1)] {
        rig.say(&Ip { dst: Ipv4Addr::new(172, 16, third, 1), ..datagram(8) }.summed(6));
        assert_eq!(rig.passed().len(), passed, "RFC 1812 §4.2.3.4: 172.16.{third}.1");
    }
}
