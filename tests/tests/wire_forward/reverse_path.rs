//! Which sources a router believes (RFC 3704).

use std::net::Ipv4Addr;

use libnet::DropReason;
use libnet::route::Route;
use libnet::world::LinkConfig;
use libnetinet::ReversePath;
use rumpnet_tests::router::{RIGHT, ROUTER_LEFT, RouterRig, THERE};
use rumpnet_tests::wire::Ip;

use super::{datagram, net};

fn filtering(mode: ReversePath) -> RouterRig {
    RouterRig::with(|config| config.forwarding.reverse_path = mode, LinkConfig::default())
}

#[test]
fn the_strict_reverse_path_believes_sources_by_their_own_interface_alone() {
    let rig = filtering(ReversePath::Strict);
    rig.say(&datagram(8));
    assert_eq!(rig.passed().len(), 1);
    let elsewhere = Ip { src: Ipv4Addr::new(10, 0, 1, 9), ..datagram(8) }.summed(6);
    rig.say(&elsewhere);
    let nowhere = Ip { src: Ipv4Addr::new(203, 0, 113, 1), ..datagram(8) }.summed(6);
    rig.say(&nowhere);
    let to_us = Ip { dst: ROUTER_LEFT, ..elsewhere }.summed(6);
    rig.say(&to_us);
    assert_eq!((rig.passed(), rig.left.hear()), (vec![], vec![]));
    assert_eq!(rig.dropped(DropReason::ReversePath), 3);
}

#[test]
fn the_loose_reverse_path_believes_sources_that_there_is_a_route_to() {
    let rig = filtering(ReversePath::Loose);
    rig.say(&Ip { src: Ipv4Addr::new(10, 0, 1, 9), ..datagram(8) }.summed(6));
    assert_eq!(rig.passed().len(), 1);
    let nowhere = Ip { src: Ipv4Addr::new(203, 0, 113, 1), ..datagram(8) }.summed(6);
    rig.say(&nowhere);
    assert_eq!(rig.passed(), []);
    rig.inet.add_route(Route::via(net("0.0.0.0/0"), RIGHT, THERE.into())).expect("it fits");
    rig.say(&nowhere);
    assert_eq!(rig.passed().len(), 1, "a default route is a route");
}

#[test]
fn unless_it_is_asked_for_every_source_is_believed() {
    let rig = RouterRig::new();
    rig.say(&Ip { src: Ipv4Addr::new(10, 0, 1, 9), ..datagram(8) }.summed(6));
    assert_eq!(rig.passed().len(), 1, "RFC 1812 §5.3.8: off by default");
}
