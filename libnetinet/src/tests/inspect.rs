//! What tools see of a stack: events, drops with their packets, paths, frames of their own.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use libnet::iface::{Advertise, AdvertisedPrefix, IfIndex, InterfaceSpec};
use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::route::Route;
use libnet::socket::{Domain, Family, Protocol, SockType};
use libnet::stats::{DropReason, DropTap, Dropped};
use libnet::world::LinkConfig;

use crate::arp::packet::{ArpPacket, Operation};
use crate::config::InetConfig;
use crate::events::InetEvent;
use crate::inet::{AdminState, Inet};
use crate::ipv6::header::Ipv6Header;
use crate::snapshot::{AddressOrigin, AddressState, NeighbourState, PathKind};
use crate::testing::{Net, Node, STRANGER, at, errno, ip, ip_packet, mac};

const SECOND: IfIndex = IfIndex(2);

/// Events in short.
fn told(events: &crate::events::Subscription) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(event) = events.try_next() {
        all.push(match event {
            InetEvent::Link { iface, up, running, mtu } => {
                format!("link {} up {up} running {running} mtu {mtu}", iface.0)
            }
            InetEvent::Address { iface, cidr, change } => {
                format!("address {cidr} on {} {change:?}", iface.0)
            }
            InetEvent::Route { route, change } => format!("route {} {change:?}", route.dst),
            InetEvent::Neighbour { entry, change } => {
                format!("neighbour {} {:?} {change:?}", entry.addr, entry.state)
            }
        });
    }
    all
}

#[test]
fn changes_are_told_to_who_subscribed_in_order() {
    let net = Net::new();
    let a = net.node(1);
    let events = a.inet.subscribe(100).unwrap();
    a.inet.add_address(SECOND, "10.9.0.1/24".parse().unwrap()).unwrap();
    assert_eq!(
        told(&events),
        [
            "route 10.9.0.1/32 Set",
            "route 10.9.0.0/24 Set",
            "route 10.9.0.255/32 Set",
            "address 10.9.0.1/24 on 2 Set",
        ]
    );
    a.inet.set_mtu(SECOND, 1400).unwrap();
    a.inet.set_up(SECOND, AdminState::Down).unwrap();
    assert_eq!(
        told(&events),
        ["link 2 up true running true mtu 1400", "link 2 up false running true mtu 1400"]
    );
    let route = Route::via("10.8.0.0/16".parse().unwrap(), SECOND, ip(254).into());
    a.inet.replace_route(route.clone()).unwrap();
    a.inet.replace_route(route).unwrap();
    assert_eq!(
        told(&events),
        ["route 10.8.0.0/16 Set", "route 10.8.0.0/16 Gone", "route 10.8.0.0/16 Set"]
    );
    drop(events);
    assert!(!a.inet.wide().events().are_wanted());
}

/// What was told of addresses in a prefix, and nothing else.
fn told_of(events: &crate::events::Subscription, prefix: &str) -> Vec<String> {
    let start = format!("address {prefix}");
    told(events).into_iter().filter(|event| event.starts_with(&start)).collect()
}

#[test]
fn an_address_that_is_another_stations_is_told_and_so_is_its_end() {
    for optimistic in [false, true] {
        let net = Net::new();
        let (a, b) = (net.node(1), net.node_with(2, |config| config.nd.optimistic = optimistic));
        a.inet.add_address(SECOND, "fd00::1/64".parse().unwrap()).unwrap();
        net.run_ms(5_000);
        let events = b.inet.subscribe(100).unwrap();
        b.inet.add_address(SECOND, "fd00::1/64".parse().unwrap()).unwrap();
        let used_at_once = if optimistic { vec!["address fd00::1/64 on 2 Set"] } else { vec![] };
        assert_eq!(told_of(&events, "fd00::1/"), used_at_once);
        net.run_ms(5_000);
        assert_eq!(told_of(&events, "fd00::1/"), ["address fd00::1/64 on 2 Set"], "dadfailed");
        b.inet.remove_address(SECOND, "fd00::1".parse().unwrap()).unwrap();
        assert_eq!(told_of(&events, "fd00::1/"), ["address fd00::1/64 on 2 Gone"]);
    }
}

#[test]
fn an_address_that_becomes_sure_or_deprecated_is_told() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let events = b.inet.subscribe(100).unwrap();
    a.inet.add_address(SECOND, "2001:db8::1/64".parse().unwrap()).unwrap();
    b.inet.autoconfigure(SECOND).unwrap();
    let mut prefix = AdvertisedPrefix::new("2001:db8::/64".parse().unwrap());
    prefix.preferred = Some(Duration::from_secs(20));
    let mut says = Advertise::default();
    says.prefixes.push(prefix);
    a.inet.advertise(SECOND, Some(says)).unwrap();
    let addr = || {
        b.inet
            .interfaces()
            .remove(1)
            .addresses
            .into_iter()
            .find(|a| matches!(a.origin, AddressOrigin::Autonomous))
    };
    net.run_ms(15_000);
    let first = addr().expect("made of the prefix");
    assert_eq!(first.state, AddressState::Preferred);
    let set = format!("address {} on 2 Set", first.cidr);
    let of_it = || told_of(&events, &first.cidr.to_string());
    assert_eq!(of_it(), [set.clone(), set.clone()], "optimistic, then sure");
    a.inet.set_up(SECOND, AdminState::Down).unwrap();
    net.run_ms(30_000);
    assert_eq!(addr().unwrap().state, AddressState::Deprecated);
    assert_eq!(of_it(), [set], "deprecated");
}

#[test]
fn a_neighbours_life_is_told() {
    let net = Net::new();
    let (a, _b) = (net.node(1), net.node(2));
    let events = a.inet.subscribe(100).unwrap();
    a.send_to(a.udp(), b"x", at(2, 9)).unwrap();
    net.run_ms(10);
    a.send_to(a.udp(), b"x", at(77, 9)).unwrap();
    net.run_ms(5_000);
    a.inet.remove_neighbour(SECOND, ip(2).into());
    assert_eq!(
        told(&events),
        [
            format!("neighbour {} Incomplete Set", ip(2)),
            format!("neighbour {} Reachable Set", ip(2)),
            format!("neighbour {} Incomplete Set", ip(77)),
            format!("neighbour {} Failed Set", ip(77)),
            format!("neighbour {} Reachable Gone", ip(2)),
        ]
    );
}

#[test]
fn what_is_not_taken_in_time_is_counted() {
    let net = Net::new();
    let a = net.node(1);
    let events = a.inet.subscribe(2).unwrap();
    a.inet.add_address(SECOND, "10.9.0.1/24".parse().unwrap()).unwrap();
    assert_eq!((told(&events).len(), events.take_missed(), events.take_missed()), (2, 2, 0));
    let all: Vec<_> = std::iter::from_fn(|| a.inet.subscribe(1).ok()).collect();
    assert_eq!(all.len(), crate::events::MAX_SUBSCRIPTIONS - 1);
    assert_eq!(errno(a.inet.subscribe(1)), errno::<()>(Err(libnet::errno::no_buffers())));
}

/// What was dropped: the reasons, the interface, whether a link header is in front, the length.
type One = (Vec<DropReason>, IfIndex, Medium, usize);

/// What was dropped so far.
#[derive(Default)]
struct Seen(Mutex<Vec<One>>);

impl DropTap for Seen {
    fn dropped(&self, reasons: &[DropReason], dropped: Dropped<'_>) {
        let one = (reasons.to_vec(), dropped.iface, dropped.medium, dropped.packet.len());
        self.0.lock().unwrap().push(one);
    }
}

fn watch(node: &Node) -> (Arc<Seen>, Arc<dyn DropTap>) {
    let seen = Arc::new(Seen::default());
    let tap: Arc<dyn DropTap> = seen.clone();
    node.inet.drops().watch(Arc::clone(&tap));
    (seen, tap)
}

#[test]
fn a_dropped_packet_is_seen_whole_with_every_reason() {
    let net = Net::new();
    let a = net.node(1);
    let (seen, tap) = watch(&a);
    let datagram = ip_packet(ip(9), ip(1), Protocol::UDP, &[0, 9, 0, 9, 0, 8, 0, 0]);
    net.inject_ip(&a, datagram);
    let segment = [0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0x12, 0x34, 0, 0];
    net.inject_ip(&a, ip_packet(ip(9), ip(1), Protocol::TCP, &segment));
    net.run_ms(10);
    assert_eq!(
        *seen.0.lock().unwrap(),
        [
            (vec![DropReason::UdpNoPort], SECOND, Medium::Ethernet, 14 + 20 + 8),
            (vec![DropReason::TcpChecksum], SECOND, Medium::Ethernet, 14 + 20 + 20),
        ]
    );
    // Nobody answers for the neighbour that the port's ICMP error goes to.
    net.run_ms(5_000);
    let last = seen.0.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.0, last.2), (vec![DropReason::NeighbourUnreachable], Medium::Ip));
    a.inet.drops().unwatch(&tap);
    let count = seen.0.lock().unwrap().len();
    net.inject_ip(&a, ip_packet(ip(9), ip(1), Protocol::UDP, &[0, 9, 0, 9, 0, 8, 0, 0]));
    net.run_ms(10);
    assert_eq!((seen.0.lock().unwrap().len(), a.dropped(DropReason::UdpNoPort)), (count, 2));
}

#[test]
fn what_is_passed_on_and_dropped_on_its_way_out_is_seen_as_it_would_have_left() {
    let net = Net::new();
    let far = net.world.segment(LinkConfig::default());
    let driver = net.world.host("router");
    let mut config = InetConfig::default();
    config.forwarding.ipv4 = true;
    config.forwarding.queue_packets = 1;
    let inet = Inet::new(config, driver.seed(), driver.clone(), 1).unwrap();
    let near = InterfaceSpec::new(net.segment.link(mac(1))).addr("10.0.0.1/24");
    inet.add_interface(near).unwrap();
    let spec = InterfaceSpec::new(far.link(mac(101))).addr("10.0.1.1/24");
    let out = inet.add_interface(spec).unwrap();
    driver.attach(inet.engine()).unwrap();
    let router = Node { inet, driver, mac: mac(1) };
    let (seen, _tap) = watch(&router);
    let there: Ipv4Addr = "10.0.1.9".parse().unwrap();
    for _ in 0..3 {
        net.inject_ip(&router, ip_packet(ip(9), there, Protocol::UDP, &[0; 8]));
    }
    // All three waited for the neighbour, and leave together.
    let reply = ArpPacket {
        operation: Operation::Reply,
        sender_mac: STRANGER,
        sender: there,
        target_mac: mac(101),
        target: "10.0.1.1".parse().unwrap(),
    };
    far.send_raw(reply.to_frame(mac(101)));
    net.run_ms(10);
    let one = (vec![DropReason::ForwardQueueFull], out, Medium::Ethernet, 14 + 20 + 8);
    assert_eq!(*seen.0.lock().unwrap(), [one.clone(), one]);
}

#[test]
fn drops_of_ipv6_are_counted_apart_too() {
    let net = Net::new();
    let a = net.node(1);
    net.inject_ip(&a, ip_packet(ip(9), ip(1), Protocol(253), &[1]));
    let mut six = Packet::from_payload(Bytes::from_static(&[1]));
    let nobody = "fd00::9".parse().unwrap();
    Ipv6Header::new(nobody, nobody, Protocol::UDP).prepend_to(&mut six);
    net.inject_six(&a, six);
    let both = |reason| (a.dropped(reason), a.inet.drops6().get(reason));
    assert_eq!(both(DropReason::IpUnknownProtocol), (1, 0));
    assert_eq!(both(DropReason::IpNotOurs), (1, 1));
    let counters = a.inet.counters().all();
    let count = |name: &str| counters.iter().find(|(other, _)| *other == name).unwrap().1;
    assert_eq!((count("ip_in"), count("ip6_in")), (1, 0));
}

#[test]
fn what_is_dropped_on_its_way_out_is_counted_in_its_own_family() {
    let net = Net::new();
    let a = net.node_with(1, |config| config.arp.queue_packets = 1);
    a.inet.add_address(SECOND, "fd00::1/64".parse().unwrap()).unwrap();
    net.run_ms(5_000);
    let six = a.inet.socket(Family::Inet6, SockType::Datagram, Protocol::UDP).unwrap();
    let counts = |reason| (a.dropped(reason), a.inet.drops6().get(reason));
    let full = || counts(DropReason::NeighbourQueueFull);
    for _ in 0..3 {
        a.send_to(six, b"x", "[fd00::9]:7".parse().unwrap()).unwrap();
    }
    assert_eq!(full(), (2, 2));
    let four = a.udp();
    for _ in 0..2 {
        a.send_to(four, b"x", at(9, 7)).unwrap();
    }
    assert_eq!(full(), (3, 2));
    net.run_ms(10_000);
    assert_eq!(counts(DropReason::NeighbourUnreachable), (2, 1));
}

#[test]
fn a_path_is_told_as_a_sender_would_take_it() {
    let net = Net::new();
    let a = net.node(1);
    let path = a.inet.path_to(ip(2).into(), None, None).unwrap();
    assert_eq!((path.kind, path.iface, path.gateway), (PathKind::Unicast, SECOND, None));
    assert_eq!((path.src, path.mtu), (ip(1).into(), 1500));
    let path = a.inet.path_to(ip(1).into(), None, None).unwrap();
    assert_eq!((path.kind, path.iface), (PathKind::Local, IfIndex::LOOPBACK));
    let none = a.inet.path_to("192.0.2.1".parse().unwrap(), None, None);
    assert_eq!(errno(none), errno::<()>(Err(libnet::errno::net_unreachable())));
}

#[test]
fn a_frame_of_ones_own_is_sent_as_it_is() {
    let net = Net::new();
    let a = net.node(1);
    let frame = vec![0x5a; 60];
    a.inet.transmit(SECOND, Packet::from_payload(frame.clone().into())).unwrap();
    net.run_ms(10);
    assert_eq!(net.frames().last().unwrap()[..], frame);
    let long = Packet::from_payload(vec![0; 1515].into());
    assert_eq!(
        errno(a.inet.transmit(SECOND, long)),
        errno::<()>(Err(libnet::errno::message_too_long()))
    );
    a.inet.set_up(SECOND, AdminState::Down).unwrap();
    let sent = a.inet.transmit(SECOND, Packet::from_payload(frame.into()));
    assert_eq!(sent.unwrap_err().kind(), std::io::ErrorKind::NetworkDown);
}

#[test]
fn an_aborted_connection_is_reset_for_both() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let listener = b.listener(7);
    let client = a.tcp();
    let _ = a.inet.connect(client, at(2, 7));
    net.run_ms(10);
    let (server, _) = b.inet.accept(listener).unwrap();
    assert!(a.inet.abort(client), "it is connected");
    assert!(!a.inet.abort(client), "it is no more");
    assert!(!b.inet.abort(listener), "it has no connection");
    net.run_ms(10);
    assert_eq!(errno(b.recv(server)), errno::<()>(Err(libnet::errno::reset())));
    a.inet.close(client);
    let state = a.inet.neighbours()[0].state;
    assert_eq!(state, NeighbourState::Reachable);
}
