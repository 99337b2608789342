//! One link-local address on two links is two hosts (RFC 4007): connections, datagrams and errors
//! are told apart by the link that they came by.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use libnet::iface::{IfIndex, InterfaceSpec};
use libnet::route::RouteKind;
use libnet::socket::{Domain, Family, Protocol, SockType, SocketId, SocketOption};
use libnet::stats::DropReason;
use libnet::world::{HostDriver, LinkConfig, World};

use crate::config::InetConfig;
use crate::inet::Inet;
use crate::snapshot::PathKind;
use crate::testing::{Node, errno, mac};

const LINKS: [u32; 2] = [2, 3];
const EINPROGRESS: i32 = 115;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

/// A node in the middle, `fe80::1` on both of its links, and a peer `fe80::2` on each.
struct Net {
    world: World,
    middle: Node,
    peers: [Node; 2],
}

impl Net {
    fn new(shards: usize) -> Net {
        let world = World::new(5);
        let segments = [world.segment(LinkConfig::default()), world.segment(LinkConfig::default())];
        let start = |name: &str| {
            let driver = world.host(name);
            let mut config = InetConfig::default();
            config.nd.dad_transmits = 0;
            let inet = Inet::new(config, driver.seed(), driver.clone(), shards).unwrap();
            (inet, driver)
        };
        let done = |(inet, driver): (Inet, Arc<HostDriver>)| {
            driver.attach(inet.engine()).unwrap();
            Node { inet, driver, mac: mac(0) }
        };
        let join = |inet: &Inet, link: usize, n: u8, addr: &str| {
            let spec = InterfaceSpec::new(segments[link].link(mac(n))).addr(addr);
            inet.add_interface(spec).unwrap();
        };
        let middle = start("middle");
        join(&middle.0, 0, 1, "fe80::1/64");
        join(&middle.0, 1, 2, "fe80::1/64");
        let peers = [(0, "left"), (1, "right")].map(|(link, name)| {
            let peer = start(name);
            join(&peer.0, link, 10 + link as u8, "fe80::2/64");
            done(peer)
        });
        Net { middle: done(middle), peers, world }
    }

    fn run_ms(&self, ms: u64) {
        self.world.run_for(Duration::from_millis(ms));
    }
}

/// [fe80::n%zone]:port
fn at(n: u16, zone: u32, port: u16) -> SocketAddr {
    SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n), port, 0, zone).into()
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
}

fn socket(node: &Node, ty: SockType, addr: SocketAddr) -> SocketId {
    let socket = node.inet.socket(Family::Inet6, ty, Protocol::DEFAULT).unwrap();
    node.inet.bind(socket, addr).unwrap();
    socket
}

fn listener(node: &Node, addr: SocketAddr) -> SocketId {
    let listener = socket(node, SockType::Stream, addr);
    node.inet.listen(listener, 8).unwrap();
    listener
}

#[test]
fn two_connections_with_the_same_ends_on_two_links_are_two() {
    for shards in [1, 3] {
        let net = Net::new(shards);
        let listeners = net.peers.each_ref().map(|peer| listener(peer, any(80)));
        let clients = LINKS.map(|zone| {
            let client = socket(&net.middle, SockType::Stream, at(1, zone, 5000));
            assert_eq!(errno(net.middle.inet.connect(client, at(2, zone, 80))), EINPROGRESS);
            client
        });
        net.run_ms(50);
        for (at_link, client) in clients.into_iter().enumerate() {
            assert_eq!(net.middle.inet.peer_addr(client).unwrap(), at(2, LINKS[at_link], 80));
            let (peer, listener) = (&net.peers[at_link], listeners[at_link]);
            let (accepted, from) = peer.inet.accept(listener).expect("a connection");
            assert_eq!(from, at(1, 2, 5000), "a peer has one link, its second interface");
            let word = [b"left" as &[u8], b"right"][at_link];
            net.middle.send(client, word).unwrap();
            peer.send(accepted, b"heard ").unwrap();
            peer.send(accepted, word).unwrap();
            net.run_ms(20);
            assert_eq!(peer.got(accepted), word);
            assert_eq!(net.middle.got(client), [b"heard ", word].concat());
        }
    }
}

#[test]
fn a_listener_tells_its_peers_apart_by_their_links() {
    for shards in [1, 3] {
        let net = Net::new(shards);
        let server = listener(&net.middle, any(80));
        let clients = net.peers.each_ref().map(|peer| {
            let client = socket(peer, SockType::Stream, at(2, 2, 6000));
            assert_eq!(errno(peer.inet.connect(client, at(1, 2, 80))), EINPROGRESS);
            client
        });
        net.run_ms(50);
        for (peer, client) in net.peers.iter().zip(clients) {
            peer.send(client, peer.driver.name().as_bytes()).unwrap();
        }
        net.run_ms(50);
        let mut seen = Vec::new();
        while let Ok((accepted, from)) = net.middle.inet.accept(server) {
            assert_eq!(net.middle.inet.peer_addr(accepted).unwrap(), from);
            let word = String::from_utf8(net.middle.got(accepted)).unwrap();
            net.middle.send(accepted, word.as_bytes()).unwrap();
            seen.push((from, word));
        }
        seen.sort();
        let expected = [(at(2, 2, 6000), "left".to_owned()), (at(2, 3, 6000), "right".to_owned())];
        assert_eq!(seen, expected);
        net.run_ms(50);
        for (peer, client) in net.peers.iter().zip(clients) {
            assert_eq!(peer.got(client), peer.driver.name().as_bytes());
        }
    }
}

#[test]
fn a_connection_that_waits_on_one_link_is_not_in_the_way_on_another() {
    let net = Net::new(1);
    let listeners = net.peers.each_ref().map(|peer| listener(peer, any(80)));
    for _ in 0..2 {
        for (at_link, zone) in LINKS.into_iter().enumerate() {
            let client = socket(&net.middle, SockType::Stream, at(1, zone, 5000));
            net.middle.inet.set_option(client, SocketOption::ReuseAddr(true)).unwrap();
            assert_eq!(errno(net.middle.inet.connect(client, at(2, zone, 80))), EINPROGRESS);
            net.run_ms(20);
            let (accepted, _) = net.peers[at_link].inet.accept(listeners[at_link]).unwrap();
            // Our end closes first, and so waits.
            net.middle.inet.close(client);
            net.run_ms(20);
            net.peers[at_link].inet.close(accepted);
            net.run_ms(20);
        }
        let mut waiting = net.middle.inet.ownerless();
        waiting.sort_by_key(|entry| entry.remote);
        let peers: Vec<_> = waiting.iter().map(|entry| entry.remote.unwrap()).collect();
        assert_eq!(peers, LINKS.map(|zone| at(2, zone, 80)));
        assert!(waiting.iter().all(|entry| entry.state == "TIME-WAIT"));
        net.run_ms(61_000);
    }
}

#[test]
fn a_refusal_is_of_the_link_that_it_came_by() {
    let net = Net::new(1);
    let _left = listener(&net.peers[0], any(80));
    let clients = LINKS.map(|zone| {
        let client = socket(&net.middle, SockType::Stream, at(1, zone, 5000));
        assert_eq!(errno(net.middle.inet.connect(client, at(2, zone, 80))), EINPROGRESS);
        client
    });
    net.run_ms(50);
    assert!(net.middle.inet.take_error(clients[0]).unwrap().is_none());
    let refused = net.middle.inet.take_error(clients[1]).unwrap().expect("nobody listens");
    assert_eq!(refused.raw_os_error(), Some(ECONNREFUSED));
}

#[test]
fn a_neighbour_that_is_silent_on_one_link_is_no_news_of_the_other() {
    let net = Net::new(1);
    let Net { world, middle, peers: [left, right] } = net;
    let _listener = listener(&left, any(80));
    drop(right);
    let clients = LINKS.map(|zone| {
        let client = socket(&middle, SockType::Stream, at(1, zone, 5000));
        assert_eq!(errno(middle.inet.connect(client, at(2, zone, 80))), EINPROGRESS);
        client
    });
    world.run_for(Duration::from_secs(5));
    assert!(middle.inet.take_error(clients[0]).unwrap().is_none());
    let silent = middle.inet.take_error(clients[1]).unwrap().expect("nobody is there");
    assert_eq!(silent.raw_os_error(), Some(EHOSTUNREACH));
}

#[test]
fn datagrams_and_errors_go_to_the_socket_of_their_link() {
    let net = Net::new(1);
    let sockets = LINKS.map(|zone| {
        let socket = socket(&net.middle, SockType::Datagram, at(1, zone, 7));
        net.middle.inet.connect(socket, at(2, zone, 7)).unwrap();
        socket
    });
    let right = socket(&net.peers[1], SockType::Datagram, any(7));
    for socket in sockets {
        net.middle.send(socket, b"anybody?").unwrap();
    }
    net.run_ms(50);
    let (data, from) = net.peers[1].recv(right).unwrap();
    assert_eq!((&data[..], from.from), (&b"anybody?"[..], Some(at(1, 2, 7))));
    net.peers[1].send_to(right, b"here", at(1, 2, 7)).unwrap();
    net.run_ms(50);
    assert_eq!(net.middle.got(sockets[1]), b"here");
    assert_eq!(errno(net.middle.recv(sockets[0])), ECONNREFUSED, "of the left alone");
}

#[test]
fn one_socket_at_all_addresses_hears_both_and_answers_each() {
    let net = Net::new(1);
    let server = socket(&net.middle, SockType::Datagram, any(7));
    for peer in &net.peers {
        let client = socket(peer, SockType::Datagram, any(9));
        peer.send_to(client, peer.driver.name().as_bytes(), at(1, 2, 7)).unwrap();
        net.run_ms(20);
        let (word, got) = net.middle.recv(server).unwrap();
        net.middle.send_to(server, &word, got.from.unwrap()).unwrap();
        net.run_ms(20);
        assert_eq!(peer.got(client), peer.driver.name().as_bytes());
    }
    assert_eq!(net.middle.dropped(DropReason::IpBadSource), 0);
}

#[test]
fn our_address_on_one_link_may_be_a_neighbour_s_on_another() {
    let net = Net::new(1);
    net.middle.inet.remove_address(IfIndex(3), "fe80::1".parse().unwrap()).unwrap();
    net.middle.inet.add_address(IfIndex(3), "fe80::3/64".parse().unwrap()).unwrap();
    net.peers[1].inet.add_address(IfIndex(2), "fe80::1/64".parse().unwrap()).unwrap();
    net.run_ms(10);
    let server = socket(&net.peers[1], SockType::Datagram, at(1, 2, 7));
    let client = socket(&net.middle, SockType::Datagram, any(9));
    net.middle.send_to(client, b"there", at(1, 3, 7)).unwrap();
    net.run_ms(20);
    let (data, got) = net.peers[1].recv(server).unwrap();
    assert_eq!((&data[..], got.from), (&b"there"[..], Some(at(3, 2, 9))));
    net.peers[1].send_to(server, b"back", got.from.unwrap()).unwrap();
    net.run_ms(20);
    assert_eq!(net.middle.recv(client).unwrap().1.from, Some(at(1, 3, 7)));
    // On the first link it is ours: what we send there comes to ourselves.
    let own = socket(&net.middle, SockType::Datagram, at(1, 2, 7));
    net.middle.send_to(client, b"self", at(1, 2, 7)).unwrap();
    net.run_ms(20);
    assert_eq!(net.middle.recv(own).unwrap().1.from, Some(at(1, 2, 9)));
}

#[test]
fn a_node_connects_to_its_own_link_local_address() {
    let net = Net::new(1);
    let server = listener(&net.peers[0], at(2, 2, 80));
    let client = socket(&net.peers[0], SockType::Stream, any(0));
    assert_eq!(errno(net.peers[0].inet.connect(client, at(2, 2, 80))), EINPROGRESS);
    net.run_ms(20);
    let (accepted, from) = net.peers[0].inet.accept(server).unwrap();
    assert_eq!(from, net.peers[0].inet.local_addr(client).unwrap());
    net.peers[0].send(accepted, b"me").unwrap();
    net.run_ms(20);
    assert_eq!(net.peers[0].got(client), b"me");
}

#[test]
fn our_address_on_two_links_is_two_addresses_to_ourselves_too() {
    let net = Net::new(1);
    let middle = &net.middle;
    // Datagrams, their answers and their errors.
    let [left, right] = LINKS.map(|zone| socket(middle, SockType::Datagram, at(1, zone, 7)));
    let client = socket(middle, SockType::Datagram, any(9));
    middle.send_to(client, b"right", at(1, 3, 7)).unwrap();
    net.run_ms(5);
    let (data, got) = middle.recv(right).unwrap();
    assert_eq!((&data[..], got.from), (&b"right"[..], Some(at(1, 3, 9))));
    middle.send_to(right, b"back", at(1, 3, 9)).unwrap();
    net.run_ms(5);
    assert_eq!(middle.recv(client).unwrap().1.from, Some(at(1, 3, 7)));
    assert!(middle.recv(left).is_err(), "the left one got nothing");
    // More than a packet of `lo0` holds is put together again.
    let long = vec![7; 60_000];
    middle.inet.set_mtu(IfIndex::LOOPBACK, 1280).unwrap();
    middle.send_to(client, &long, at(1, 3, 7)).unwrap();
    net.run_ms(5);
    assert_eq!(middle.recv(right).unwrap().0.len(), long.len());
    middle.inet.close(right);
    middle.inet.connect(client, at(1, 3, 7)).unwrap();
    middle.send(client, b"anybody?").unwrap();
    net.run_ms(5);
    assert_eq!(errno(middle.recv(client)), ECONNREFUSED);
    // Connections.
    for shards in [1, 3] {
        let net = Net::new(shards);
        let listeners = LINKS.map(|zone| listener(&net.middle, at(1, zone, 80)));
        for (zone, listener) in LINKS.into_iter().zip(listeners) {
            let client = socket(&net.middle, SockType::Stream, any(0));
            assert_eq!(errno(net.middle.inet.connect(client, at(1, zone, 80))), EINPROGRESS);
            net.run_ms(5);
            let (accepted, from) = net.middle.inet.accept(listener).expect("a connection");
            assert_eq!(Some(from), net.middle.inet.local_addr(client).ok());
            net.middle.send(accepted, b"me").unwrap();
            net.run_ms(5);
            assert_eq!(net.middle.got(client), b"me");
        }
    }
}

#[test]
fn an_address_that_two_links_have_is_ours_until_both_gave_it_up() {
    let net = Net::new(1);
    let addr = "10.9.0.1".parse().unwrap();
    for link in LINKS {
        net.middle.inet.add_address(IfIndex(link), "10.9.0.1/24".parse().unwrap()).unwrap();
    }
    let is_ours =
        || net.middle.inet.path_to(addr, None, None).is_ok_and(|path| path.kind == PathKind::Local);
    for link in LINKS {
        assert!(is_ours());
        net.middle.inet.remove_address(IfIndex(link), addr).unwrap();
    }
    assert!(!is_ours());
}

#[test]
fn the_route_to_ourselves_names_the_link_of_the_address() {
    let net = Net::new(1);
    net.middle.inet.add_address(IfIndex(3), "10.9.0.1/24".parse().unwrap()).unwrap();
    let route_to = |dst: &str| {
        let [route] = &net.middle.inet.routes_to(&dst.parse().unwrap())[..] else {
            panic!("{dst}")
        };
        (route.kind, route.iface, route.preferred_source)
    };
    let ours: IpAddr = "10.9.0.1".parse().unwrap();
    assert_eq!(route_to("10.9.0.1/32"), (RouteKind::Local, IfIndex(3), Some(ours)));
    net.middle.inet.add_address(IfIndex(3), "fd00::1/64".parse().unwrap()).unwrap();
    assert_eq!(route_to("fd00::1/128"), (RouteKind::Local, IfIndex(3), None));
}
