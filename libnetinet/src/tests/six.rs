//! IPv6 between stacks: the same sockets over the other family, and both families at one socket.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use libnet::iface::{Advertise, AdvertisedPrefix, IfIndex, InterfaceSpec};
use libnet::packet::Packet;
use libnet::route::Route;
use libnet::socket::{
    Domain, Family, OptionKey, Protocol, SendControl, SendMsg, SockType, SocketId, SocketOption,
};
use libnet::stats::DropReason;
use libnet::world::{LinkConfig, World};

use crate::config::InetConfig;
use crate::forward::Forwarding;
use crate::inet::Inet;
use crate::ipv6::fragment::fragment;
use crate::testing::{Net, Node, at, errno, ip};

/// fd00::n
fn six(n: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into()
}

/// [fd00::n]:port
fn at6(n: u8, port: u16) -> SocketAddr {
    SocketAddr::new(six(n), port)
}

fn any6(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
}

/// 10.0.0.n:port as a socket of both families is told it.
fn mapped(n: u8, port: u16) -> SocketAddr {
    SocketAddr::new(ip(n).to_ipv6_mapped().into(), port)
}

/// A node with both families.
fn node(net: &Net, n: u8) -> Node {
    let node = net.node(n);
    let cidr = format!("{}/64", six(n)).parse().unwrap();
    node.inet.add_address(IfIndex(2), cidr).unwrap();
    node
}

fn socket(node: &Node, ty: SockType) -> SocketId {
    node.inet.socket(Family::Inet6, ty, Protocol::DEFAULT).unwrap()
}

fn udp(node: &Node, addr: SocketAddr) -> SocketId {
    let socket = socket(node, SockType::Datagram);
    node.inet.bind(socket, addr).unwrap();
    socket
}

fn listener(node: &Node, addr: SocketAddr) -> SocketId {
    let socket = socket(node, SockType::Stream);
    node.inet.bind(socket, addr).unwrap();
    node.inet.listen(socket, 8).unwrap();
    socket
}

/// Connects, waits, and gives what was accepted with the peer's address as it was told.
fn connect(
    net: &Net,
    from: &Node,
    to: SocketAddr,
    (node, listener): (&Node, SocketId),
) -> (SocketId, SocketId, SocketAddr) {
    let family = if to.is_ipv4() { Family::Inet } else { Family::Inet6 };
    let socket = from.inet.socket(family, SockType::Stream, Protocol::DEFAULT).unwrap();
    assert_eq!(errno(from.inet.connect(socket, to)), 115);
    net.run_ms(50);
    let (accepted, peer) = node.inet.accept(listener).expect("a connection");
    (socket, accepted, peer)
}

#[test]
fn datagrams_pass_and_tell_all_about_themselves() {
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    let (client, server) = (socket(&a, SockType::Datagram), udp(&b, any6(7)));
    a.inet.set_option(client, SocketOption::Ttl(9)).unwrap();
    a.inet.set_option(client, SocketOption::Tos(0x28)).unwrap();
    a.send_to(client, b"hello", at6(2, 7)).unwrap();
    net.run_ms(10);
    let (data, got) = b.recv(server).unwrap();
    assert_eq!(data, b"hello");
    assert_eq!(got.from, Some(at6(1, a.inet.local_addr(client).unwrap().port())));
    assert_eq!((got.to, got.ttl, got.tos, got.interface), (Some(six(2)), 9, Some(0x28), Some(2)));
    b.send_to(server, b"yes", got.from.unwrap()).unwrap();
    net.run_ms(10);
    assert_eq!(a.got(client), b"yes");
}

#[test]
fn datagrams_as_long_as_there_are_pass_in_fragments() {
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    let (client, server) = (socket(&a, SockType::Datagram), udp(&b, any6(7)));
    for len in [0, 1_452, 1_453, 65_507, 65_527] {
        let data: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
        a.send_to(client, &data, at6(2, 7)).unwrap();
        net.run_ms(50);
        assert_eq!(b.got(server), data, "{len} bytes");
    }
    assert_eq!(errno(a.send_to(client, &vec![0; 65_528], at6(2, 7))), 90);
}

#[test]
fn streams_pass_data_both_ways() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let (a, b) = (node(&net, 1), node(&net, 2));
        let l = listener(&b, any6(80));
        let (client, server, peer) = connect(&net, &a, at6(2, 80), (&b, l));
        assert_eq!(peer, a.inet.local_addr(client).unwrap());
        assert_eq!(a.inet.peer_addr(client).unwrap(), at6(2, 80));
        assert_eq!(b.inet.local_addr(server).unwrap(), at6(2, 80));
        let data: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
        let (mut sent, mut got) = (0, Vec::new());
        while got.len() < data.len() {
            sent += a.send(client, &data[sent..]).unwrap_or(0);
            net.run_ms(5);
            got.extend(b.recv(server).map(|(bytes, _)| bytes).unwrap_or_default());
        }
        assert_eq!(got, data);
        b.send(server, b"thanks").unwrap();
        net.run_ms(50);
        assert_eq!(a.got(client), b"thanks");
    }
}

#[test]
fn a_stack_speaks_to_itself_by_the_loopback_address() {
    let net = Net::new();
    let a = net.node(1);
    let lo = |port| SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
    let server = udp(&a, lo(7));
    let client = socket(&a, SockType::Datagram);
    a.send_to(client, b"me", lo(7)).unwrap();
    // As on Linux, the wildcard is this host too.
    a.send_to(client, b"me too", any6(7)).unwrap();
    net.run_ms(10);
    let (data, got) = a.recv(server).unwrap();
    assert_eq!((data, got.from.map(|from| from.ip())), (b"me".to_vec(), Some(lo(0).ip())));
    assert_eq!(a.got(server), b"me too");
    let l = listener(&a, lo(80));
    let (_, _, peer) = connect(&net, &a, any6(80), (&a, l));
    assert_eq!(peer.ip(), lo(0).ip());
}

#[test]
fn a_socket_at_the_wildcard_hears_both_families() {
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    let server = udp(&b, any6(7));
    let four = a.udp();
    a.send_to(four, b"four", at(2, 7)).unwrap();
    net.run_ms(10);
    let (data, got) = b.recv(server).unwrap();
    let port = a.inet.local_addr(four).unwrap().port();
    assert_eq!(
        (data, got.from, got.to),
        (b"four".to_vec(), Some(mapped(1, port)), Some(mapped(2, 0).ip()))
    );
    // Both forms of the address lead back.
    b.send_to(server, b"mapped", mapped(1, port)).unwrap();
    b.send_to(server, b"plain", at(1, port)).unwrap();
    net.run_ms(10);
    assert_eq!((a.got(four), a.got(four)), (b"mapped".to_vec(), b"plain".to_vec()));
    let l = listener(&b, any6(80));
    for to in [at(2, 80), at6(2, 80)] {
        let (client, server, peer) = connect(&net, &a, to, (&b, l));
        let local = a.inet.local_addr(client).unwrap();
        let told = if to.is_ipv4() { mapped(1, local.port()) } else { local };
        assert_eq!((peer, b.inet.peer_addr(server).unwrap()), (told, told));
    }
}

#[test]
fn a_socket_of_ipv6_connects_to_a_mapped_address() {
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    let l = b.listener(80);
    let (client, _, peer) = connect(&net, &a, mapped(2, 80), (&b, l));
    assert_eq!(peer.ip(), IpAddr::from(ip(1)));
    assert_eq!(a.inet.peer_addr(client).unwrap(), mapped(2, 80));
    assert_eq!(a.inet.local_addr(client).unwrap().ip(), mapped(1, 0).ip());
    let u = socket(&a, SockType::Datagram);
    a.inet.connect(u, mapped(2, 7)).unwrap();
    assert_eq!(a.inet.peer_addr(u).unwrap(), mapped(2, 7));
    assert_eq!(a.inet.local_addr(u).unwrap().ip(), mapped(1, 0).ip());
}

#[test]
fn who_speaks_ipv6_only_leaves_ipv4_to_others() {
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    for ty in [SockType::Datagram, SockType::Stream] {
        let six = socket(&b, ty);
        b.inet.set_option(six, SocketOption::V6Only(true)).unwrap();
        assert_eq!(b.inet.get_option(six, OptionKey::V6Only).unwrap(), SocketOption::V6Only(true));
        assert_eq!(errno(b.inet.bind(six, mapped(2, 9))), 22);
        b.inet.bind(six, any6(9)).unwrap();
        assert_eq!(errno(b.inet.set_option(six, SocketOption::V6Only(false))), 22);
        let four = b.inet.socket(Family::Inet, ty, Protocol::DEFAULT).unwrap();
        b.inet.bind(four, SocketAddr::from(([0, 0, 0, 0], 9))).unwrap();
        assert_eq!(errno(b.inet.connect(six, mapped(1, 9))), 101);
        assert_eq!(errno(b.inet.set_option(four, SocketOption::V6Only(true))), 92);
    }
    let four = a.udp();
    a.send_to(four, b"x", at(2, 9)).unwrap();
    net.run_ms(10);
    assert_eq!(b.dropped(DropReason::UdpNoPort), 0);
}

#[test]
fn ports_conflict_between_the_families_as_on_linux() {
    let net = Net::new();
    let a = node(&net, 1);
    for ty in [SockType::Datagram, SockType::Stream] {
        let bind = |family, addr| {
            let socket = a.inet.socket(family, ty, Protocol::DEFAULT).unwrap();
            a.inet.bind(socket, addr).map(|()| socket)
        };
        let any4 = |port| SocketAddr::from(([0, 0, 0, 0], port));
        bind(Family::Inet6, any6(1)).unwrap();
        assert_eq!(errno(bind(Family::Inet, any4(1))), 98);
        assert_eq!(errno(bind(Family::Inet, at(1, 1))), 98);
        bind(Family::Inet, at(1, 2)).unwrap();
        assert_eq!(errno(bind(Family::Inet6, any6(2))), 98);
        bind(Family::Inet6, at6(1, 2)).unwrap();
        bind(Family::Inet6, mapped(1, 3)).unwrap();
        assert_eq!(errno(bind(Family::Inet, any4(3))), 98);
        bind(Family::Inet, any4(4)).unwrap();
        assert_eq!(errno(bind(Family::Inet6, mapped(1, 4))), 98);
        bind(Family::Inet6, at6(1, 4)).unwrap();
    }
}

#[test]
fn ends_of_two_families_do_not_meet() {
    let net = Net::new();
    let a = node(&net, 1);
    for ty in [SockType::Datagram, SockType::Stream] {
        let six = socket(&a, ty);
        a.inet.bind(six, at6(1, 0)).unwrap();
        assert_eq!(errno(a.inet.connect(six, mapped(2, 9))), 101);
        let four = socket(&a, ty);
        a.inet.bind(four, mapped(1, 0)).unwrap();
        assert_eq!(errno(a.inet.connect(four, at6(2, 9))), 97);
        let of_four = a.inet.socket(Family::Inet, ty, Protocol::DEFAULT).unwrap();
        assert_eq!(errno(a.inet.connect(of_four, at6(2, 9))), 97);
        assert_eq!(errno(a.inet.bind(of_four, at6(1, 9))), 97);
    }
}

#[test]
fn the_socket_of_one_family_goes_before_that_of_both() {
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    let (both, four) = (socket(&b, SockType::Datagram), b.udp());
    for socket in [both, four] {
        b.inet.set_option(socket, SocketOption::ReuseAddr(true)).unwrap();
    }
    b.inet.bind(four, SocketAddr::from(([0, 0, 0, 0], 7))).unwrap();
    b.inet.bind(both, any6(7)).unwrap();
    let client = a.udp();
    a.send_to(client, b"four", at(2, 7)).unwrap();
    a.send_to(socket(&a, SockType::Datagram), b"six", at6(2, 7)).unwrap();
    net.run_ms(10);
    assert_eq!((b.got(four), b.got(both)), (b"four".to_vec(), b"six".to_vec()));
}

#[test]
fn a_message_may_name_its_source_and_interface() {
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    a.inet.add_address(IfIndex(2), "fd00::77/64".parse().unwrap()).unwrap();
    let (client, server) = (socket(&a, SockType::Datagram), udp(&b, any6(7)));
    let mut control = SendControl::to(Some(at6(2, 7)));
    control.from = Some(six(0x77));
    control.interface = Some(2);
    let slices = [std::io::IoSlice::new(b"x")];
    a.inet.send(client, SendMsg::With(&slices, control)).unwrap();
    net.run_ms(10);
    let (_, got) = b.recv(server).unwrap();
    assert_eq!(got.from.map(|from| from.ip()), Some(six(0x77)));
    control.from = Some(six(0x78));
    assert_eq!(errno(a.inet.send(client, SendMsg::With(&slices, control))), 22);
}

#[test]
fn a_link_local_address_takes_its_zone() {
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    let local = |n: u8, zone: u32| {
        let ip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xaa, n.into());
        SocketAddr::V6(SocketAddrV6::new(ip, 7, 0, zone))
    };
    for (node, n) in [(&a, 1), (&b, 2)] {
        let cidr = format!("{}/64", local(n, 0).ip()).parse().unwrap();
        node.inet.add_address(IfIndex(2), cidr).unwrap();
    }
    net.run_ms(2_000);
    for ty in [SockType::Datagram, SockType::Stream] {
        let bind = |zone| a.inet.bind(socket(&a, ty), local(1, zone));
        assert_eq!(errno(bind(0)), 22, "no zone");
        assert_eq!(errno(bind(9)), 19, "no such interface");
        assert_eq!(errno(bind(1)), 99, "not of this interface");
        assert!(bind(2).is_ok());
    }
    let server = udp(&b, local(2, 2));
    assert_eq!(b.inet.local_addr(server).unwrap(), local(2, 2));
    let client = socket(&a, SockType::Datagram);
    a.send_to(client, b"x", local(2, 2)).unwrap();
    net.run_ms(10);
    let (_, got) = b.recv(server).unwrap();
    let from = got.from.unwrap();
    assert!(
        matches!(from, SocketAddr::V6(v6) if v6.scope_id() == 2 && v6.ip().is_unicast_link_local())
    );
    let l = listener(&b, SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 80, 0, 0)));
    let mut to = local(2, 2);
    to.set_port(80);
    let (client, server, peer) = connect(&net, &a, to, (&b, l));
    assert_eq!(a.inet.peer_addr(client).unwrap(), to);
    assert_eq!(
        (peer, peer),
        (b.inet.peer_addr(server).unwrap(), a.inet.local_addr(client).unwrap())
    );
}

#[test]
fn a_neighbour_that_is_not_there_is_told_to_who_sends() {
    let net = Net::new();
    let a = node(&net, 1);
    let client = socket(&a, SockType::Stream);
    assert_eq!(errno(a.inet.connect(client, at6(99, 80))), 115);
    net.run_ms(10_000);
    let error = a.inet.take_error(client).unwrap().expect("it failed");
    assert_eq!(error.raw_os_error(), Some(113));
}

#[test]
fn a_segment_put_together_from_fragments_reaches_its_shard() {
    let net = Net::with_shards(3);
    let (a, b) = (node(&net, 1), node(&net, 2));
    let l = listener(&b, any6(80));
    let is_data = |frame: &Bytes| frame.len() > 500 && frame[20] == Protocol::TCP.0;
    for round in 0..9u8 {
        let (client, server, _) = connect(&net, &a, at6(2, 80), (&b, l));
        // What is lost is given again, in pieces.
        let lost = net.segment.drop_nth(1, |frame| frame.len() > 500);
        net.frames();
        a.send(client, &[round; 600]).unwrap();
        net.run_ms(5);
        drop(lost);
        net.segment.clear_injected();
        let mut sent = net.frames().into_iter().find(is_data);
        if sent.is_none() {
            net.run_ms(400);
            sent = net.frames().into_iter().find(is_data);
        }
        let whole = Packet::from_payload(sent.expect("a segment").slice(14..));
        fragment(&whole, 400, u32::from(round), |piece| net.inject_six(&b, piece));
        net.run_ms(5);
        assert_eq!(b.got(server), [round; 600]);
    }
    let reassembled = b.inet.counters().reassembled6.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(reassembled, 9);
}

#[test]
fn an_interface_that_is_too_small_gets_no_address_of_ipv6() {
    let world = World::new(1);
    let segment = world.segment(LinkConfig::default());
    let driver = world.host("small");
    let inet = Inet::new(InetConfig::default(), driver.seed(), driver.clone(), 1).unwrap();
    let spec = InterfaceSpec::new(segment.next_link()).mtu(1_279).addr("10.0.0.1/24");
    let index = inet.add_interface(spec).unwrap();
    let cidr = "fd00::1/64".parse().unwrap();
    let error = inet.add_address(index, cidr).expect_err("IPv6 takes 1280");
    assert!(error.to_string().contains("1280"), "{error}");
    inet.set_mtu(index, 1_280).unwrap();
    inet.add_address(index, cidr).unwrap();
    assert_eq!(errno(inet.set_mtu(index, 1_279)), 22);
}

#[test]
fn addresses_that_no_host_has_are_refused() {
    let net = Net::new();
    let a = net.node(1);
    for cidr in ["::/64", "ff02::1/64", "::ffff:10.0.0.1/128"] {
        assert_eq!(errno(a.inet.add_address(IfIndex(2), cidr.parse().unwrap())), 22, "{cidr}");
    }
}

#[test]
fn what_is_dropped_for_want_of_room_is_told_nobody() {
    let net = Net::new();
    let b = net.node_with(2, |config| {
        config.output_queue_packets = 1;
        config.reply_queue_packets = 0;
    });
    b.inet.add_address(IfIndex(2), "fd00::2/64".parse().unwrap()).unwrap();
    let server = udp(&b, any6(7));
    b.inet.set_option(server, SocketOption::ReceiveBufferBytes(2_304)).unwrap();
    let a = node(&net, 1);
    let client = socket(&a, SockType::Datagram);
    a.inet.connect(client, at6(2, 7)).unwrap();
    for _ in 0..8 {
        a.send(client, &[0; 1_000]).unwrap();
        net.run_ms(10);
    }
    assert!(b.dropped(DropReason::SocketBufferFull) > 0);
    assert_eq!(errno(a.recv(client)), 11, "no error came");
}

#[test]
fn payload_is_left_as_it_is_by_a_packet_of_many_pieces() {
    // Headers longer than a packet's head room, in pieces, as fragments leave them.
    let net = Net::new();
    let (a, b) = (node(&net, 1), node(&net, 2));
    let server = udp(&b, any6(7));
    let client = socket(&a, SockType::Datagram);
    a.send_to(client, b"learn", at6(2, 7)).unwrap();
    net.run_ms(10);
    b.got(server);
    let mut options = vec![17, 20];
    options.extend([1, 164]);
    options.resize(168, 0);
    let data = [b'd'; 300];
    let mut datagram = [&[0, 9, 0, 7, 1, 52, 0, 0], &data[..]].concat();
    let whole = Packet::from_payload(Bytes::copy_from_slice(&datagram));
    let sum = {
        let mut sum = crate::datagram::build::pseudo_header(six(1), six(2), Protocol::UDP, 308);
        sum.add_u16(whole.sum_from(0).folded());
        sum.finish()
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (six(1), six(2)) else { unreachable!() };
    let mut packet = Packet::from_payload(Bytes::from([options, datagram].concat()));
    crate::ipv6::header::Ipv6Header::new(src, dst, Protocol(60)).prepend_to(&mut packet);
    fragment(&packet, 240, 5, |piece| net.inject_six(&b, piece));
    net.run_ms(1);
    assert_eq!(b.got(server), data);
}

#[test]
fn a_source_of_another_link_is_refused_where_the_link_matters() {
    let world = World::new(4);
    let [one, two] = [world.segment(LinkConfig::default()), world.segment(LinkConfig::default())];
    let host = world.host("a");
    let inet = Inet::new(InetConfig::default(), host.seed(), host.clone(), 1).unwrap();
    for (segment, n) in [(&one, 1), (&two, 2)] {
        let spec = InterfaceSpec::new(segment.next_link()).addr(&format!("fd00:0:0:{n}::1/64"));
        inet.add_interface(spec.addr(&format!("fe80::{n}/64"))).unwrap();
    }
    let inet = std::sync::Arc::new(inet);
    host.attach(inet.engine()).unwrap();
    world.run_for(std::time::Duration::from_secs(5));
    let socket = inet.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).unwrap();
    let sends = |from: &str, to: &str, interface: u32| {
        let to: Ipv6Addr = to.parse().unwrap();
        let mut control = SendControl::to(Some(SocketAddrV6::new(to, 7, 0, interface).into()));
        control.from = Some(from.parse().unwrap());
        control.interface = Some(interface);
        inet.send(socket, SendMsg::With(&[std::io::IoSlice::new(b"x")], control))
    };
    // RFC 6724 §4: whoever names a source that is no candidate made an error.
    for (from, to) in [
        ("fe80::1", "fe80::99"),
        ("fe80::1", "ff02::99"),
        ("fd00:0:0:1::1", "ff02::99"),
        ("fd00:0:0:1::1", "ff05::99"),
        ("fe80::1", "fd00:0:0:2::99"),
    ] {
        assert_eq!(errno(sends(from, to, 3)), 22, "{from} to {to} by the other link");
        let own = if to.starts_with("fd00") { "fd00:0:0:1::99" } else { to };
        assert!(sends(from, own, 2).is_ok(), "{from} to {own} by its own");
    }
    for to in ["fd00:0:0:2::99", "fe80::99"] {
        assert!(sends("fd00:0:0:1::1", to, 3).is_ok(), "a global one may leave by any, to {to}");
    }
}

#[test]
fn a_router_that_says_the_same_again_makes_nobody_look_for_paths_anew() {
    let net = Net::new();
    let (router, host) = (node(&net, 1), net.node(2));
    let mut says = Advertise::default();
    says.interval = Duration::from_secs(4);
    router.inet.set_forwarding(Family::Inet6, Forwarding::On);
    router.inet.advertise(IfIndex(2), Some(says)).unwrap();
    host.inet.autoconfigure(IfIndex(2)).unwrap();
    net.run_ms(20_000);
    let heard = || host.inet.counters().router_advertisements_in.load(Ordering::Relaxed);
    let (before, generation) = (heard(), host.inet.wide().generation());
    assert_eq!(host.inet.routers().len(), 1);
    net.run_ms(20_000);
    assert!(heard() >= before + 4, "{} advertisements", heard() - before);
    assert_eq!(host.inet.wide().generation(), generation);
    // What is new is taken in.
    router.inet.advertise(IfIndex(2), None).unwrap();
    net.run_ms(10);
    assert_ne!(host.inet.wide().generation(), generation);
    assert_eq!(host.inet.routers(), []);
}

#[test]
fn an_ipv4_address_that_goes_leaves_the_routes_of_ipv6_alone() {
    let net = Net::new();
    let (router, host) = (node(&net, 1), net.node(2));
    let mut prefix = AdvertisedPrefix::new("2001:db8:1::/64".parse().unwrap());
    // Addresses may be made of it, but its hosts are not neighbours (RFC 5942 §4).
    prefix.on_link = false;
    let mut says = Advertise::default();
    says.prefixes = vec![prefix];
    router.inet.set_forwarding(Family::Inet6, Forwarding::On);
    router.inet.advertise(IfIndex(2), Some(says)).unwrap();
    host.inet.autoconfigure(IfIndex(2)).unwrap();
    net.run_ms(20_000);
    let made = |addr: &IpAddr| addr.to_string().starts_with("2001:db8:1:");
    let addrs: Vec<IpAddr> = host.inet.interfaces()[1].addrs.iter().map(|a| a.0.addr()).collect();
    assert_eq!(addrs.iter().filter(|addr| made(addr)).count(), 1);
    let before = host.inet.routes();
    host.inet.add_address(IfIndex(2), "10.9.0.1/24".parse().unwrap()).unwrap();
    assert_ne!(host.inet.routes(), before);
    host.inet.remove_address(IfIndex(2), "10.9.0.1".parse().unwrap()).unwrap();
    assert_eq!(host.inet.routes(), before);
}

#[test]
fn a_route_that_was_set_by_hand_outlives_the_router_that_said_the_same() {
    let net = Net::new();
    let (router, host) = (node(&net, 1), net.node(2));
    router.inet.set_forwarding(Family::Inet6, Forwarding::On);
    net.run_ms(5_000);
    let entry = router.inet.interfaces().swap_remove(1);
    let mut addrs = entry.addrs.iter().map(|(cidr, _)| cidr.addr());
    let local = addrs.find(|addr| addr.to_string().starts_with("fe80")).unwrap();
    let by_hand = Route::via("::/0".parse().unwrap(), IfIndex(2), local).with_metric(1_024);
    host.inet.add_route(by_hand.clone()).unwrap();
    host.inet.autoconfigure(IfIndex(2)).unwrap();
    router.inet.advertise(IfIndex(2), Some(Advertise::default())).unwrap();
    net.run_ms(20_000);
    assert_eq!(host.inet.routers().len(), 1);
    router.inet.advertise(IfIndex(2), None).unwrap();
    net.run_ms(10);
    assert_eq!(host.inet.routers(), []);
    assert_eq!(host.inet.routes_to(&by_hand.dst), [by_hand]);
}
