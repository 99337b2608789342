//! Link-local IPv4 addresses: chosen, contested, defended, and kept on their link (RFC 3927).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use libnet::ethernet::MacAddr;
use libnet::iface::{IfIndex, InterfaceSpec};
use libnet::socket::{Domain, Protocol};
use libnet::stats::DropReason;
use libnet::time::Instant;

use crate::arp::link_local::Seeker;
use crate::arp::packet::{ArpPacket, Operation};
use crate::config::InetConfig;
use crate::inet::{AdminState, Inet};
use crate::snapshot::{AddressOrigin, AddressState};
use crate::testing::{Net, Node, STRANGER, at, errno, ip, is_arp, is_ip, mac};

const ETH: IfIndex = IfIndex(2);
const EAGAIN: i32 = 11;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;

/// A node that chooses an address for itself, beside those that it is given.
fn seeker_with(net: &Net, mac: MacAddr, spec: impl Fn(InterfaceSpec) -> InterfaceSpec) -> Node {
    let driver = net.world.host(mac.to_string());
    let config = InetConfig::default();
    let inet = Inet::new(config, driver.seed(), driver.clone(), net.shards).unwrap();
    let interface = InterfaceSpec::new(net.segment.link(mac)).addr("link-local");
    assert_eq!(inet.add_interface(spec(interface)).unwrap(), ETH);
    driver.attach(inet.engine()).unwrap();
    Node { inet, driver, mac }
}

fn seeker(net: &Net, mac: MacAddr) -> Node {
    seeker_with(net, mac, |spec| spec)
}

/// The link-local address of a node, once it is its own.
fn chosen(node: &Node) -> Option<Ipv4Addr> {
    let all = node.inet.interfaces().swap_remove(1).addresses;
    let mut ours = all.iter().filter(|entry| entry.state == AddressState::Preferred);
    let ours = ours.find(|entry| entry.origin == AddressOrigin::LinkLocal)?;
    assert_eq!(ours.cidr.prefix_bits(), 16);
    match ours.cidr.addr() {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}

/// Which address a station tries first.
fn first_choice(mac: MacAddr) -> Ipv4Addr {
    Seeker::new(Instant::ZERO, ETH, mac).addr
}

/// Two stations that try the same address first.
fn rivals() -> (MacAddr, MacAddr) {
    let mut seen = HashMap::new();
    for n in 0..=u16::MAX {
        let [a, b] = n.to_be_bytes();
        let mac = MacAddr([2, 0, 0, 1, a, b]);
        if let Some(other) = seen.insert(first_choice(mac), mac) {
            return (other, mac);
        }
    }
    unreachable!("65,536 stations share 65,024 addresses")
}

/// ARP packets among frames, with when they were sent.
fn arps(frames: &[(Instant, Bytes)]) -> Vec<(Instant, ArpPacket)> {
    let arps = frames.iter().filter(|(_, frame)| is_arp(frame));
    arps.filter_map(|(at, frame)| Some((*at, ArpPacket::parse(&frame[14..])?))).collect()
}

#[test]
fn an_address_is_probed_three_times_then_taken_and_announced_twice() {
    let net = Net::new();
    let a = seeker(&net, mac(1));
    net.run_ms(20_000);
    let frames = net.take();
    assert!(frames.iter().all(|(_, frame)| frame[..6] == MacAddr::BROADCAST.0));
    let said = arps(&frames);
    let addr = chosen(&a).expect("it has one");
    assert_eq!(addr, first_choice(mac(1)), "the same as ever");
    let kinds: Vec<bool> = said.iter().map(|(_, arp)| arp.sender.is_unspecified()).collect();
    assert_eq!(kinds, [true, true, true, false, false], "probes, then announcements");
    for (_, arp) in &said {
        let expected = (Operation::Request, a.mac, MacAddr::ZERO, addr);
        assert_eq!((arp.operation, arp.sender_mac, arp.target_mac, arp.target), expected);
    }
    let gap = |n: usize| said[n + 1].0.since(said[n].0).as_millis();
    assert!(said[0].0.as_millis() <= 1_000, "PROBE_WAIT");
    assert!((1_000..=2_000).contains(&gap(0)) && (1_000..=2_000).contains(&gap(1)));
    assert_eq!(gap(2), 2_000, "ANNOUNCE_WAIT");
    assert_eq!(gap(3), 2_000, "ANNOUNCE_INTERVAL");
    net.run_ms(3_600_000);
    assert_eq!(net.frames(), [] as [Bytes; 0], "it is not probed again");
}

#[test]
fn while_it_is_probed_the_address_is_not_ours() {
    let net = Net::new();
    let a = seeker(&net, mac(1));
    net.run_ms(1_000);
    net.frames();
    let addr = first_choice(mac(1));
    let shown = a.inet.interfaces().swap_remove(1).addresses;
    assert_eq!((shown[0].cidr.addr(), shown[0].state), (addr.into(), AddressState::Tentative));
    assert!(a.inet.bind(a.udp(), SocketAddr::new(addr.into(), 7)).is_err());
    net.inject(ArpPacket::request(STRANGER, ip(9), addr).to_frame(MacAddr::BROADCAST));
    let answers = arps(&net.take()).into_iter().filter(|(_, arp)| arp.sender_mac == a.mac);
    assert_eq!(answers.filter(|(_, arp)| arp.operation == Operation::Reply).count(), 0);
}

#[test]
fn two_that_choose_the_same_address_end_with_two() {
    for shards in [1, 3] {
        for late_ms in [0, 2_500, 60_000] {
            let net = Net::with_shards(shards);
            let (first, second) = rivals();
            let a = seeker(&net, first);
            net.run_ms(late_ms);
            let b = seeker(&net, second);
            net.run_ms(30_000);
            let (mine, yours) = (chosen(&a).unwrap(), chosen(&b).unwrap());
            assert_ne!(mine, yours, "{late_ms} ms apart");
            if late_ms == 60_000 {
                assert_eq!(mine, first_choice(first), "who had it keeps it");
            }
            let server = b.udp_at(SocketAddr::new(yours.into(), 7));
            a.send_to(a.udp(), b"neighbour", SocketAddr::new(yours.into(), 7)).unwrap();
            net.run_ms(10);
            assert_eq!(b.got(server), b"neighbour");
        }
    }
}

#[test]
fn a_probe_or_a_claim_of_another_for_the_probed_address_is_a_conflict() {
    let addr = first_choice(mac(1));
    let claim = ArpPacket {
        operation: Operation::Reply,
        sender_mac: STRANGER,
        sender: addr,
        target_mac: mac(9),
        target: ip(9),
    };
    for rival in [ArpPacket::probe(STRANGER, addr), claim] {
        let net = Net::new();
        let a = seeker(&net, mac(1));
        net.run_ms(1_500);
        net.inject(rival.to_frame(MacAddr::BROADCAST));
        net.frames();
        net.run_ms(20_000);
        assert_ne!(chosen(&a).unwrap(), addr);
        let again = arps(&net.take()).into_iter().filter(|(_, arp)| arp.target == addr);
        assert_eq!(again.count(), 0, "nothing more is said of it");
    }
}

#[test]
fn a_request_for_the_probed_address_by_who_has_another_is_no_conflict() {
    let net = Net::new();
    let a = seeker(&net, mac(1));
    net.run_ms(1_500);
    let addr = first_choice(mac(1));
    net.inject(ArpPacket::request(STRANGER, ip(9), addr).to_frame(MacAddr::BROADCAST));
    net.run_ms(20_000);
    assert_eq!(chosen(&a), Some(addr));
}

#[test]
fn an_address_is_defended_once_and_given_up_the_second_time() {
    let net = Net::new();
    let a = seeker(&net, mac(1));
    net.run_ms(20_000);
    let addr = chosen(&a).unwrap();
    let rival = || net.inject(ArpPacket::announcement(STRANGER, addr).to_frame(MacAddr::BROADCAST));
    let defences = || {
        let said = arps(&net.take()).into_iter();
        said.filter(|(_, arp)| (arp.sender_mac, arp.sender) == (a.mac, addr)).count()
    };
    net.frames();
    rival();
    assert_eq!(defences(), 1);
    net.run_ms(10_000);
    rival();
    assert_eq!(defences(), 1, "ten seconds later it is a new quarrel");
    rival();
    assert_eq!(chosen(&a), None, "a second conflict within ten seconds");
    assert!(!a.inet.routes().iter().any(|route| route.dst.contains(addr.into())));
    net.run_ms(20_000);
    assert_ne!(chosen(&a).expect("another"), addr);
    assert_eq!(defences(), 0);
}

#[test]
fn what_speaks_from_an_address_that_is_given_up_is_reset() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let (a, b) = (seeker(&net, mac(1)), seeker(&net, mac(2)));
        net.run_ms(20_000);
        let (ours, theirs) = (chosen(&a).unwrap(), chosen(&b).unwrap());
        let server = SocketAddr::new(theirs.into(), 80);
        let listener = b.listener(80);
        let connect = || {
            let client = a.tcp();
            let _ = a.inet.connect(client, server);
            net.run_ms(10);
            (client, b.inet.accept(listener).expect("a connection").0)
        };
        // More than one shard has some.
        let connections: Vec<_> = (0..8).map(|_| connect()).collect();
        let bound = a.udp_at(SocketAddr::new(ours.into(), 7));
        let connected = a.udp();
        a.inet.connect(connected, server).unwrap();
        let elsewhere = a.udp_at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 8));
        let rival = || {
            net.inject(ArpPacket::announcement(STRANGER, ours).to_frame(MacAddr::BROADCAST));
            net.run_ms(10);
        };
        rival();
        assert!(
            connections.iter().all(|(client, _)| a.inet.take_error(*client).unwrap().is_none())
        );
        rival();
        assert_eq!(chosen(&a), None, "a second conflict within ten seconds");
        for (client, accepted) in connections {
            assert_eq!(errno(a.recv(client)), ECONNABORTED);
            assert_eq!(errno(b.recv(accepted)), ECONNRESET, "its peer was told");
        }
        for socket in [bound, connected] {
            assert_eq!(errno(a.recv(socket)), EADDRNOTAVAIL);
        }
        assert_eq!(errno(a.recv(elsewhere)), EAGAIN);
    }
}

#[test]
fn what_is_said_from_a_link_local_address_all_hear() {
    let net = Net::new();
    let a = seeker(&net, mac(1));
    net.run_ms(20_000);
    net.frames();
    let addr = chosen(&a).unwrap();
    net.inject(ArpPacket::request(STRANGER, ip(9), addr).to_frame(MacAddr::BROADCAST));
    let reply = net.frames().into_iter().find(|frame| is_arp(frame) && frame[6..12] == a.mac.0);
    assert_eq!(reply.expect("an answer")[..6], MacAddr::BROADCAST.0, "RFC 3927 §2.5");
    // A neighbour that is asked whether it is still there is asked in everybody's hearing.
    let there = SocketAddr::new(ip(9).into(), 7);
    let socket = a.udp();
    a.send_to(socket, b"x", there).unwrap();
    net.run_ms(40_000);
    net.frames();
    a.send_to(socket, b"y", there).unwrap();
    net.run_ms(7_000);
    let asked: Vec<Bytes> = net.frames().into_iter().filter(is_arp).collect();
    assert!(!asked.is_empty() && asked.iter().all(|frame| frame[..6] == MacAddr::BROADCAST.0));
}

#[test]
fn who_has_nothing_else_looks_for_everybody_on_the_link() {
    let net = Net::new();
    let (a, b) = (seeker(&net, mac(1)), net.node(2));
    net.run_ms(20_000);
    let server = b.udp_at(at(2, 7));
    a.send_to(a.udp(), b"hello", at(2, 7)).unwrap();
    net.run_ms(10);
    let (data, from) = b.recv(server).unwrap();
    assert_eq!(data, b"hello");
    let from = from.from.expect("a sender");
    assert_eq!(from.ip(), IpAddr::from(chosen(&a).unwrap()));
    // And who has a routable address answers straight, though no route of its own leads there.
    b.send_to(server, b"there", from).unwrap();
    net.run_ms(10);
    assert_eq!(b.dropped(DropReason::NeighbourUnreachable), 0);
    let path = b.inet.path_to(from.ip(), None, None).unwrap();
    assert_eq!((path.gateway, path.src), (None, ip(2).into()));
}

#[test]
fn nothing_link_local_is_given_to_a_router() {
    let net = Net::new();
    let a = seeker_with(&net, mac(1), |spec| spec.addr("10.0.0.1/24").gateway("10.0.0.254"));
    net.run_ms(20_000);
    let ours: IpAddr = chosen(&a).unwrap().into();
    let far: IpAddr = "192.0.2.1".parse().unwrap();
    let routed = a.inet.path_to(far, None, None).unwrap();
    assert_eq!((routed.src, routed.gateway), (ip(1).into(), Some(ip(254).into())));
    let from_ours = a.inet.path_to(far, Some(ours), None).unwrap();
    assert_eq!((from_ours.src, from_ours.gateway), (ours, None), "straight, or not at all");
    let other: IpAddr = "169.254.77.7".parse().unwrap();
    let to_other = a.inet.path_to(other, None, None).unwrap();
    assert_eq!((to_other.src, to_other.gateway), (ip(1).into(), None), "from a routable one");
    net.frames();
    a.send_to(a.udp(), b"x", SocketAddr::new(other, 7)).unwrap();
    net.run_ms(10);
    let frames = net.frames();
    let asked = arps(&frames.into_iter().map(|f| (Instant::ZERO, f)).collect::<Vec<_>>());
    assert_eq!(IpAddr::V4(asked[0].1.target), other);
}

#[test]
fn a_host_with_a_routable_address_alone_reaches_link_local_ones_past_its_router() {
    let net = Net::new();
    let a = net.node(1);
    a.inet.add_static_route(&"0.0.0.0/0@10.0.0.254".parse().unwrap()).unwrap();
    let other: IpAddr = "169.254.77.7".parse().unwrap();
    assert_eq!(a.inet.path_to(other, None, None).unwrap().gateway, None);
    let none = a.inet.path_to("192.0.2.1".parse().unwrap(), None, None).unwrap();
    assert_eq!(none.gateway, Some(ip(254).into()));
    let b = net.node(2);
    assert_eq!(b.inet.path_to(other, None, None).unwrap().gateway, None, "without any route");
    let no_way = b.inet.path_to("192.0.2.1".parse().unwrap(), None, None);
    assert_eq!(errno(no_way), ENETUNREACH);
}

#[test]
fn groups_and_all_on_the_link_are_reached_from_a_link_local_address() {
    let net = Net::new();
    let a = seeker(&net, mac(1));
    net.run_ms(20_000);
    net.frames();
    a.send_to(a.udp(), b"x", "224.0.0.251:5353".parse().unwrap()).unwrap();
    net.run_ms(10);
    let frame = net.frames().into_iter().find(|frame| is_ip(frame, Protocol::UDP)).unwrap();
    assert_eq!(frame[26..30], chosen(&a).unwrap().octets());
}

#[test]
fn an_interface_that_goes_down_loses_its_address_and_probes_it_again() {
    let net = Net::new();
    let a = seeker(&net, mac(1));
    net.run_ms(20_000);
    let addr = chosen(&a);
    a.inet.set_up(ETH, AdminState::Down).unwrap();
    assert_eq!(chosen(&a), None);
    net.run_ms(60_000);
    net.frames();
    a.inet.set_up(ETH, AdminState::Up).unwrap();
    net.run_ms(20_000);
    assert_eq!(chosen(&a), addr);
    let probes = arps(&net.take()).into_iter().filter(|(_, arp)| arp.sender.is_unspecified());
    assert_eq!(probes.count(), 3);
}

#[test]
fn an_address_that_is_taken_away_is_not_replaced() {
    let net = Net::new();
    let a = seeker(&net, mac(1));
    net.run_ms(20_000);
    a.inet.remove_address(ETH, chosen(&a).unwrap().into()).unwrap();
    net.frames();
    net.run_ms(600_000);
    assert_eq!((chosen(&a), net.frames().len()), (None, 0));
    a.inet.seek_link_local(ETH).unwrap();
    net.run_ms(20_000);
    assert!(chosen(&a).is_some());
    assert!(a.inet.seek_link_local(IfIndex::LOOPBACK).is_err());
    assert!(a.inet.seek_link_local(IfIndex(9)).is_err());
}

#[test]
fn a_router_passes_nothing_link_local_on() {
    let net = Net::new();
    let far = net.world.segment(libnet::world::LinkConfig::default());
    let router = net.node_with(1, |config| config.forwarding.ipv4 = true);
    let spec = InterfaceSpec::new(far.link(mac(101))).addr("10.0.1.1/24");
    router.inet.add_interface(spec).unwrap();
    let link_local: Ipv4Addr = "169.254.77.7".parse().unwrap();
    let (near, there): (Ipv4Addr, Ipv4Addr) = (ip(9), "10.0.1.9".parse().unwrap());
    for (src, dst) in [(link_local, there), (near, link_local)] {
        let packet = crate::testing::ip_packet(src, dst, Protocol::UDP, &[0; 8]);
        net.inject_ip(&router, packet);
    }
    net.world.run_for(Duration::from_secs(5));
    assert_eq!(router.dropped(DropReason::NotForwardable), 2);
}
