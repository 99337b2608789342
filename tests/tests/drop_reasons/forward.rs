//! Packets that a router does not pass on.

use std::net::Ipv4Addr;
use std::time::Duration;

use libnet::DropReason;
use libnet::impair::Impairments;
use libnet::route::{Route, RouteKind};
use libnet::world::LinkConfig;
use libnetinet::ReversePath;
use rumpnet_tests::router::{HERE, RIGHT, RouterRig, THERE};
use rumpnet_tests::wire::{Ip, Udp};

fn datagram() -> Ip {
    Udp::new(1, 2, &[0; 1_000]).packet(HERE, THERE)
}

pub(crate) fn not_forwardable() -> u64 {
    let rig = RouterRig::new();
    rig.say(&Ip { dst: Ipv4Addr::new(169, 254, 1, 1), ..datagram() }.summed(6));
    rig.dropped(DropReason::NotForwardable)
}

pub(crate) fn hop_limit() -> u64 {
    let rig = RouterRig::new();
    rig.say(&Ip { ttl: 1, ..datagram() });
    rig.dropped(DropReason::HopLimit)
}

pub(crate) fn reverse_path() -> u64 {
    let strict = |config: &mut libnetinet::InetConfig| {
        config.forwarding.reverse_path = ReversePath::Strict;
    };
    let rig = RouterRig::with(strict, LinkConfig::default());
    rig.say(&Ip { src: Ipv4Addr::new(10, 0, 1, 7), ..datagram() }.summed(6));
    rig.dropped(DropReason::ReversePath)
}

pub(crate) fn route_refused() -> u64 {
    let rig = RouterRig::new();
    let dst = "192.0.2.0/24".parse().unwrap();
    let route = Route::connected(dst, RIGHT).with_kind(RouteKind::Blackhole);
    rig.inet.add_route(route).unwrap();
    rig.say(&Ip { dst: Ipv4Addr::new(192, 0, 2, 1), ..datagram() }.summed(6));
    rig.dropped(DropReason::RouteRefused)
}

pub(crate) fn queue_full() -> u64 {
    let slow = LinkConfig::default().impairments(Impairments::none().rate(10_000));
    let rig = RouterRig::with(|config| config.forwarding.queue_packets = 1, slow);
    for _ in 0..600 {
        rig.say(&datagram());
    }
    rig.run(Duration::from_millis(1));
    rig.dropped(DropReason::ForwardQueueFull)
}
