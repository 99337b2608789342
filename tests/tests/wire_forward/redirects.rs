//! Redirects that a router sends, and those it gets.

use std::net::Ipv4Addr;

use libnet::MacAddr;
use libnet::route::Route;
use libnet::world::LinkConfig;
use rumpnet_tests::router::{HERE, HERE_TOO, LEFT, ROUTER_LEFT, RouterRig};
use rumpnet_tests::wire::{ICMP, Icmp, Ip, Udp};

use super::{by_detour, datagram, net, one_hop};

/// A network behind another gateway on the left.
fn detour() -> RouterRig {
    let rig = RouterRig::new();
    rig.inet.add_route(Route::via(net("192.0.2.0/24"), LEFT, HERE_TOO.into())).expect("it fits");
    rig
}

#[test]
fn a_sender_whose_neighbour_is_the_next_hop_is_told_so_and_its_packet_passed_on() {
    let rig = detour();
    let ip = by_detour(HERE);
    rig.say(&ip);
    let said = rig.left.hear_ip();
    assert_eq!(said.len(), 2, "the redirect and the packet");
    let redirect = said.iter().find_map(Ip::icmp).expect("a redirect");
    assert_eq!((redirect.ty, redirect.code), (5, 1), "for the host, never for a network");
    assert_eq!(redirect.rest, HERE_TOO.octets());
    assert_eq!(redirect.data[..20], ip.bytes()[..20]);
    let from = said.iter().find(|ip| ip.protocol == ICMP).expect("it was there");
    assert_eq!((from.src, from.dst), (ROUTER_LEFT, HERE));
    assert!(said.contains(&one_hop(&ip)));
}

#[test]
fn redirects_go_only_to_senders_on_the_next_hop_s_network() {
    let rig = detour();
    rig.say(&by_detour(Ipv4Addr::new(10, 0, 7, 7)));
    assert_eq!(rig.errors(), [], "no neighbour of it");
    rig.say(&datagram(8));
    assert_eq!((rig.passed().len(), rig.errors()), (1, vec![]), "another interface");
}

#[test]
fn redirects_are_limited_and_can_be_turned_off() {
    let rig = detour();
    for _ in 0..50 {
        rig.say(&by_detour(HERE));
    }
    let said = rig.left.hear_ip();
    let redirects = said.iter().filter(|ip| ip.protocol == ICMP).count();
    assert_eq!((redirects, said.len()), (3, 53), "every packet is passed on");
    let rig = RouterRig::with(|config| config.forwarding.redirects = false, LinkConfig::default());
    rig.inet.add_route(Route::via(net("192.0.2.0/24"), LEFT, HERE_TOO.into())).expect("it fits");
    rig.say(&by_detour(HERE));
    assert_eq!(rig.left.hear_ip().len(), 1);
}

#[test]
fn a_router_follows_no_redirects() {
    let rig = RouterRig::new();
    let (gateway, far) = (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(192, 0, 2, 5));
    let gateway_mac = MacAddr([2, 0, 0, 0, 0, 9]);
    rig.inet.add_neighbour(LEFT, gateway.into(), gateway_mac).expect("it fits");
    rig.inet.add_route(Route::via(net("192.0.2.0/24"), LEFT, gateway.into())).expect("it fits");
    let ours = Udp::new(1, 2, b"of the router's own").packet(ROUTER_LEFT, far);
    let redirect = Icmp::error(5, 1, HERE.octets(), &ours);
    rig.say(&Ip::new(gateway, ROUTER_LEFT, ICMP, redirect.bytes()));
    rig.say(&Ip { dst: far, ..datagram(8) }.summed(6));
    let said = rig.left.hear();
    let passed = said.iter().find(|frame| frame.ip().is_some_and(|ip| ip.dst == far));
    assert_eq!(passed.map(|frame| frame.dst), Some(gateway_mac), "RFC 1812 §5.2.7.2");
}
