//! What routers owe to headers that they do not understand, to point-to-point links, and to their
//! own datagrams (RFC 1812, RFC 4443).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libnet::capture::{CaptureTap, Direction};
use libnet::route::Route;
use libnet::socket::{Family, Protocol, SockType};
use libnet::world::{LinkConfig, World};
use libnet::{InterfaceSpec, IpCidr, Packet};
use libnetinet::{AdminState, InetConfig};
use rumpnet::Stack;
use rumpnet_tests::router::{
    HERE, HERE_TOO, LEFT, RIGHT, ROUTER_LEFT, ROUTERS, RouterRig, STATIONS, THERE,
};
use rumpnet_tests::wire::six::Ip6;
use rumpnet_tests::wire::{ICMP, Ip, UDP, Udp};

/// Packets on a segment as they stand, whether or not a stack should send such.
#[derive(Default)]
struct Seen(Mutex<Vec<Vec<u8>>>);

impl CaptureTap for Seen {
    fn frame(&self, _: libnet::Instant, _: Direction, packet: &Packet) {
        let bytes = packet.to_bytes().to_vec();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

impl Seen {
    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn net(text: &str) -> IpCidr {
    text.parse().expect("a network")
}

fn datagram(len: usize) -> Ip {
    Udp::new(1_000, 2_000, &vec![7; len]).packet(HERE, THERE)
}

/// The IPv4 headers that the router sent to the right.
fn headers_passed(seen: &Seen) -> Vec<Vec<u8>> {
    let frames = seen.take().into_iter().filter(|frame| frame[6..12] == ROUTERS[1].0);
    frames.filter(|frame| frame[12..14] == [8, 0]).map(|frame| frame[14..34].to_vec()).collect()
}

#[test]
fn reserved_bits_pass_unchanged_and_are_in_every_fragment() {
    const RESERVED: u16 = 0x8000;
    let rig = RouterRig::with(|_| {}, LinkConfig::default().mtu(576));
    let seen = Arc::new(Seen::default());
    rig.right.segment.tap(seen.clone());
    rig.say(&Ip { tos: 1, fragment: RESERVED, ..datagram(8) });
    let whole = headers_passed(&seen);
    assert_eq!((whole.len(), whole[0][1], whole[0][6]), (1, 1, 0x80), "RFC 1812 §5.2.5");
    rig.say(&Ip { tos: 1, fragment: RESERVED, ..datagram(1_400) });
    let pieces = headers_passed(&seen);
    assert!(pieces.len() >= 3);
    for piece in pieces {
        assert_eq!((piece[1], piece[6] & 0x80), (1, 0x80), "RFC 1812 §5.2.5");
        assert_eq!(libnet::checksum::checksum(&piece), 0);
    }
}

#[test]
fn what_is_for_the_router_reaches_it_with_its_header_as_it_came() {
    let rig = RouterRig::new();
    let raw = rig.stack.socket(Family::Inet, SockType::Raw, Protocol(253)).expect("a socket");
    raw.set_nonblocking(true);
    for options in [vec![], vec![200, 4, 1, 2], vec![7, 7, 4, 0, 0, 0, 0, 0]] {
        let ip =
            Ip { tos: 0xb9, ident: 77, ttl: 9, options, ..Ip::new(HERE, ROUTER_LEFT, 253, vec![]) };
        let ip = Ip { data: b"for us".to_vec(), ..ip };
        rig.say(&ip);
        let mut buf = [0; 100];
        let (n, _) = raw.recv_from(&mut buf).expect("a datagram");
        assert_eq!(buf[..n], ip.bytes(), "RFC 1812 §5.2.1 (4): not even its time to live");
    }
}

#[test]
fn a_stream_identifier_for_the_router_itself_is_ignored() {
    let rig = RouterRig::new();
    let socket = rig.stack.udp_bind("0.0.0.0:2000").expect("a free port");
    socket.set_nonblocking(true).expect("a socket");
    let ip = Ip { dst: ROUTER_LEFT, options: vec![136, 4, 0, 9], ..datagram(8) };
    rig.say(&ip.summed(6));
    assert_eq!(socket.recv_from(&mut [0; 100]).expect("it is received").0, 8);
    assert!(rig.errors().is_empty(), "RFC 1812 §4.2.2.1(b)");
}

#[test]
fn errors_have_no_type_of_service_and_the_precedence_of_control() {
    let rig = RouterRig::new();
    for tos in [0, 0x1e, 0xb8] {
        rig.say(&Ip { tos, ttl: 1, ..datagram(8) });
        let said = rig.left.hear_ip();
        let error = said.iter().find(|ip| ip.protocol == ICMP).expect("time exceeded");
        assert_eq!((error.tos, error.src), (0xc0, ROUTER_LEFT), "RFC 1812 §4.3.2.5");
    }
}

#[test]
fn when_an_interface_fails_the_best_of_the_other_routes_is_taken() {
    let rig = RouterRig::new();
    let far = net("192.0.2.0/24");
    for (iface, gateway, metric) in [(RIGHT, THERE, 1), (LEFT, HERE_TOO, 20), (LEFT, HERE, 10)] {
        let route = Route::via(far, iface, gateway.into()).with_metric(metric);
        rig.inet.add_route(route).expect("it fits");
    }
    let ip = Ip { dst: Ipv4Addr::new(192, 0, 2, 9), src: HERE_TOO, ..datagram(8) }.summed(6);
    let goes = || {
        rig.say(&ip);
        let is_it = |heard: Vec<Ip>| heard.iter().any(|ip| ip.protocol == UDP);
        (is_it(rig.left.hear_ip()), is_it(rig.passed()))
    };
    assert_eq!(goes(), (false, true), "by the better one");
    rig.inet.set_up(RIGHT, AdminState::Down).expect("it is there");
    assert_eq!(goes(), (true, false), "RFC 1812 §5.3.12.3: by the best that is left");
    rig.inet.set_up(RIGHT, AdminState::Up).expect("it is there");
    assert_eq!(goes(), (false, true), "RFC 1812 §5.3.12.4");
}

#[test]
fn networks_of_every_length_are_connected_and_routed() {
    let rig = RouterRig::new();
    for bits in 2..=30 {
        let host = Ipv4Addr::from_bits(0x6400_0001);
        let cidr = IpCidr::new(IpAddr::V4(host), bits).expect("a prefix");
        rig.inet.add_address(RIGHT, cidr).expect("it fits");
        let to = Ipv4Addr::from_bits(0x6400_0002);
        rig.inet.add_neighbour(RIGHT, to.into(), STATIONS[1]).expect("it fits");
        rig.say(&Ip { dst: to, ..datagram(8) }.summed(6));
        assert_eq!(rig.passed().iter().filter(|ip| ip.dst == to).count(), 1, "connected /{bits}");
        rig.inet.remove_address(RIGHT, cidr.addr()).expect("it is there");
        let far =
            IpCidr::new(IpAddr::V4(Ipv4Addr::from_bits(0xc000_0000)), bits).expect("a prefix");
        rig.inet.add_route(Route::via(far, RIGHT, THERE.into())).expect("it fits");
        let far_host = Ipv4Addr::from_bits(0xc000_0001);
        rig.say(&Ip { dst: far_host, ..datagram(8) }.summed(6));
        let passed = rig.passed();
        assert_eq!(passed.iter().filter(|ip| ip.dst == far_host).count(), 1, "routed /{bits}");
        rig.inet.remove_route(&far, libnet::route::RouteSelector::ANY);
    }
    assert!(rig.errors().is_empty(), "RFC 1812 §4.2.3.4");
}

#[test]
fn what_comes_by_a_point_to_point_link_is_not_given_back_to_it() {
    let world = World::new(1);
    let wire = world.segment(LinkConfig::default().bare_ip());
    let seen = Arc::new(Seen::default());
    wire.tap(seen.clone());
    let mut config = InetConfig::default();
    config.forwarding.ipv6 = true;
    let link = InterfaceSpec::new(wire.next_link()).addr("fd00:7::1/64");
    let router = Stack::builder().config(config).interface(link);
    let router = router.start_in(&world.host("router")).expect("it starts");
    world.run_for(Duration::from_secs(5));
    let peer: Ipv6Addr = "fd00:7::2".parse().expect("an address");
    let says = |dst: &str| {
        seen.take();
        let ip = Udp::new(1, 2, b"x").packet6(peer, dst.parse().expect("an address"));
        wire.send_raw(Packet::from_payload(ip.bytes().into()));
        world.run_for(Duration::from_millis(5));
        let sent = seen.take().into_iter().map(|bytes| Ip6::read(&bytes));
        sent.filter(|sent| *sent != ip).collect::<Vec<Ip6>>()
    };
    let told = says("fd00:7::9");
    let icmp = told[0].icmp().expect("an error");
    assert_eq!((told.len(), icmp.ty, icmp.code, told[0].dst), (1, 1, 3, peer), "RFC 4443 §3.1");
    let far = net("fd00:9::/64");
    let inet = router.inet().expect("it has one");
    let index = inet.interfaces()[1].index;
    inet.add_route(Route::via(far, index, peer.into())).expect("it fits");
    assert!(says("fd00:9::9").iter().any(|ip| ip.next == UDP), "another network may lie there");
}
