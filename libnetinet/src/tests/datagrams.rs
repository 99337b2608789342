//! UDP, ping and raw sockets: errors as on Linux, bounds, options.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use bytes::Bytes;
use libnet::iface::InterfaceSpec;
use libnet::packet::Packet;
use libnet::route::{Route, RouteKind};
use libnet::socket::{
    Domain, Family, MtuDiscovery, OptionKey, Protocol, RecvMsg, SendMsg, SockType, SocketOption,
};
use libnet::stats::DropReason;
use libnet::wake::Ready;
use libnet::world::LinkConfig;

use crate::AdminState;
use crate::ipv4::header::Ipv4Header;
use crate::testing::{Net, STRANGER, at, errno, ip, ip_packet, is_ip, room_for};

const EAGAIN: i32 = 11;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const EPIPE: i32 = 32;
const EDESTADDRREQ: i32 = 89;
const EMSGSIZE: i32 = 90;
const EPROTONOSUPPORT: i32 = 93;
const EOPNOTSUPP: i32 = 95;
const EAFNOSUPPORT: i32 = 97;
const EADDRINUSE: i32 = 98;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;
const ENOTCONN: i32 = 107;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;
const EBADF: i32 = 9;
const ENOPROTOOPT: i32 = 92;
const EMFILE: i32 = 24;

#[test]
fn calls_fail_with_the_numbers_of_linux() {
    let net = Net::new();
    let a = net.node_with(1, |config| config.max_sockets = 3);
    let inet = &a.inet;
    let socket = a.udp();
    let six: SocketAddr = "[::1]:7".parse().unwrap();
    assert_eq!(errno(a.send(socket, b"x")), EDESTADDRREQ);
    assert_eq!(errno(a.send_to(socket, b"x", at(2, 0))), EINVAL);
    assert_eq!(errno(a.send_to(socket, b"x", six)), EAFNOSUPPORT);
    assert_eq!(errno(inet.connect(socket, six)), EAFNOSUPPORT);
    assert_eq!(errno(a.send_to(socket, b"x", "192.0.2.1:7".parse().unwrap())), ENETUNREACH);
    assert_eq!(errno(inet.connect(socket, "192.0.2.1:7".parse().unwrap())), ENETUNREACH);
    assert_eq!(errno(a.send_to(socket, &[0; 65_508], at(2, 7))), EMSGSIZE);
    assert_eq!(errno(a.send_to(socket, &[0; 70_000], at(2, 7))), EMSGSIZE);
    assert_eq!(errno(a.send_to(socket, b"x", at(255, 7))), EACCES);
    assert_eq!(errno(inet.connect(socket, at(255, 7))), EACCES);
    assert_eq!(errno(inet.bind(socket, at(9, 7))), EADDRNOTAVAIL);
    assert_eq!(errno(inet.bind(socket, six)), EAFNOSUPPORT);
    assert_eq!(errno(inet.peer_addr(socket)), ENOTCONN);
    assert_eq!(errno(inet.shutdown(socket, Shutdown::Both)), ENOTCONN);
    assert_eq!(errno(inet.listen(socket, 1)), EOPNOTSUPP);
    assert_eq!(errno(inet.accept(socket)), EOPNOTSUPP);
    assert_eq!(errno(a.recv(socket)), EAGAIN);
    assert_eq!(errno(inet.bind(socket, at(1, 7))), EINVAL, "a send has bound it, as on Linux");
    inet.close(socket);
    let socket = a.udp();
    inet.bind(socket, at(1, 7)).unwrap();
    assert_eq!(errno(inet.bind(socket, at(1, 8))), EINVAL);
    let second = a.udp();
    assert_eq!(errno(inet.bind(second, at(1, 7))), EADDRINUSE);
    assert_eq!(errno(inet.bind(second, "0.0.0.0:7".parse().unwrap())), EADDRINUSE);
    inet.bind(second, "127.0.0.1:7".parse().unwrap()).unwrap();
    assert_eq!(errno(inet.set_option(socket, SocketOption::Ttl(0))), EINVAL);
    assert_eq!(errno(inet.set_option(socket, SocketOption::NoDelay(true))), ENOPROTOOPT);
    assert_eq!(errno(inet.get_option(socket, OptionKey::NoDelay)), EOPNOTSUPP);
    let raw = |protocol| inet.socket(Family::Inet, SockType::Raw, protocol);
    assert_eq!(errno(raw(Protocol::DEFAULT)), EPROTONOSUPPORT);
    let wrong = inet.socket(Family::Inet, SockType::Datagram, Protocol::TCP);
    assert_eq!(errno(wrong), EPROTONOSUPPORT);
    let mixed = inet.socket(Family::Inet6, SockType::Datagram, Protocol::ICMP);
    assert_eq!(errno(mixed), EPROTONOSUPPORT);
    a.udp();
    assert_eq!(errno(inet.socket(Family::Inet, SockType::Datagram, Protocol::UDP)), EMFILE);
    inet.close(second);
    assert_eq!(errno(inet.local_addr(second)), EBADF);
    assert_eq!(errno(a.recv(second)), EBADF);
}

#[test]
fn refusal_reaches_a_connected_socket_once_and_no_other() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    for to in [at(2, 9), at(1, 9)] {
        let connected = a.udp();
        a.inet.connect(connected, to).unwrap();
        let loose = a.udp();
        a.send(connected, b"x").unwrap();
        a.send_to(loose, b"x", to).unwrap();
        net.run_ms(10);
        assert!(a.inet.ready(connected).unwrap().contains(Ready::ERROR));
        assert_eq!(errno(a.recv(connected)), ECONNREFUSED);
        assert_eq!(errno(a.recv(connected)), EAGAIN, "taken once");
        assert_eq!(errno(a.recv(loose)), EAGAIN);
        a.send(connected, b"x").unwrap();
        net.run_ms(10);
        assert_eq!(errno(a.send(connected, b"x")), ECONNREFUSED, "a send takes it too");
        assert!(a.inet.take_error(connected).unwrap().is_none());
    }
    assert!(b.dropped(DropReason::UdpNoPort) >= 3);
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    let net = Net::new();
    let (a, b, c) = (net.node(1), net.node(2), net.node(3));
    let socket = a.udp_at(at(1, 7));
    a.inet.connect(socket, at(2, 7)).unwrap();
    let peer = b.udp_at(at(2, 7));
    let wrong_port = b.udp_at(at(2, 8));
    let wrong_host = c.udp_at(at(3, 7));
    b.send_to(wrong_port, b"no", at(1, 7)).unwrap();
    c.send_to(wrong_host, b"no", at(1, 7)).unwrap();
    b.send_to(peer, b"yes", at(1, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(a.got(socket), b"yes");
    assert_eq!(errno(a.recv(socket)), EAGAIN);
    a.inet.shutdown(socket, Shutdown::Write).unwrap();
    assert_eq!(errno(a.send(socket, b"x")), EPIPE);
    a.inet.shutdown(socket, Shutdown::Read).unwrap();
    assert_eq!(a.got(socket), b"");
}

#[test]
fn empty_datagrams_peeks_and_short_buffers() {
    let net = Net::new();
    let a = net.node(1);
    let server = a.udp_at(at(1, 7));
    let client = a.udp();
    for data in [&b""[..], b"0123456789", b"whole"] {
        a.send_to(client, data, at(1, 7)).unwrap();
    }
    let (data, received) = a.recv(server).unwrap();
    assert_eq!((data.len(), received.message_bytes), (0, 0));
    let mut buf = [0; 4];
    let peeked = a.inet.recv(server, RecvMsg::Peek(&mut [IoSliceMut::new(&mut buf)])).unwrap();
    assert_eq!((peeked.bytes, peeked.message_bytes, &buf), (4, 10, b"0123"));
    let short = a.inet.recv(server, RecvMsg::Copy(&mut [IoSliceMut::new(&mut buf)])).unwrap();
    assert_eq!((short.bytes, short.message_bytes), (4, 10));
    let mut out = std::collections::VecDeque::new();
    let zero = RecvMsg::Zero { max_bytes: 100, out: &mut out };
    assert_eq!(a.inet.recv(server, zero).unwrap().bytes, 5);
    assert_eq!(out, [Bytes::from_static(b"whole")]);
}

#[test]
fn a_full_receive_buffer_drops_and_counts() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let server = b.udp_at(at(2, 7));
    b.inet.set_option(server, SocketOption::ReceiveBufferBytes(5_000)).unwrap();
    let client = a.udp();
    for n in 0..10u8 {
        a.send_to(client, &[n; 1_000], at(2, 7)).unwrap();
        net.run_ms(1);
    }
    let mut got = Vec::new();
    while let Ok((data, _)) = b.recv(server) {
        got.push(data[0]);
    }
    assert_eq!(got, [0, 1, 2]);
    assert_eq!(b.dropped(DropReason::SocketBufferFull), 7);
    assert_eq!(b.inet.sockets()[0].overflows, 7);
}

#[test]
fn the_memory_of_all_udp_sockets_has_a_bound_and_who_holds_little_gets_some() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let (greedy, modest) = (b.udp_at(at(2, 7)), b.udp_at(at(2, 8)));
    let set = |name: &str, value: &str| b.inet.set_sysctl(name, value).unwrap();
    set("net.ipv4.udp_mem", "2 2 4");
    let client = a.udp();
    let send = |port: u16, times: u8| {
        for n in 0..times {
            a.send_to(client, &[n; 1_000], at(2, port)).unwrap();
            net.run_ms(1);
        }
    };
    // Two pages hold six datagrams and what keeping them costs.
    send(7, 10);
    assert_eq!(b.dropped(DropReason::UdpMemory), 4);
    assert_eq!(b.inet.udp_memory_bytes(), 8_192);
    // The other one holds nothing yet: it gets up to `udp_rmem_min`, as long as there is any.
    send(8, 10);
    assert_eq!(b.dropped(DropReason::UdpMemory), 4 + 4);
    assert_eq!(b.inet.udp_memory_bytes(), 16_384);
    let last = b.udp_at(at(2, 9));
    send(9, 1);
    assert_eq!(b.dropped(DropReason::UdpMemory), 9, "the last number is for nobody to pass");
    assert!(b.recv(last).is_err());
    // What was received is there for others, and what is closed gives all back.
    while b.recv(greedy).is_ok() {}
    send(9, 1);
    assert!(b.recv(last).is_ok());
    b.inet.close(modest);
    b.inet.close(last);
    b.inet.close(greedy);
    assert_eq!(b.inet.udp_memory_bytes(), 0);
}

#[test]
fn ports_are_shared_when_both_agree() {
    let net = Net::new();
    let a = net.node(1);
    let shared = |option: SocketOption| {
        let socket = a.udp();
        a.inet.set_option(socket, option).unwrap();
        a.inet.bind(socket, at(1, 7)).unwrap();
        socket
    };
    let old = shared(SocketOption::ReuseAddr(true));
    let new = shared(SocketOption::ReuseAddr(true));
    a.send_to(a.udp(), b"x", at(1, 7)).unwrap();
    assert_eq!(a.got(new), b"x", "the newest takes it");
    a.inet.close(old);
    a.inet.close(new);
    let group: Vec<_> = (0..4).map(|_| shared(SocketOption::ReusePort(true))).collect();
    for _ in 0..64 {
        a.send_to(a.udp(), b"x", at(1, 7)).unwrap();
    }
    let shares: Vec<usize> =
        group.iter().map(|s| std::iter::from_fn(|| a.recv(*s).ok()).count()).collect();
    assert_eq!(shares.iter().sum::<usize>(), 64);
    assert!(shares.iter().all(|&n| n > 0), "spread: {shares:?}");
}

#[test]
fn broadcasts_reach_all_and_ourselves() {
    let net = Net::new();
    let (a, b, c) = (net.node(1), net.node(2), net.node(3));
    let sockets = [(&a, a.udp_at("0.0.0.0:7".parse().unwrap())), (&b, b.udp_at(at(2, 7)))];
    let any = c.udp_at("0.0.0.0:7".parse().unwrap());
    let sender = a.udp();
    a.inet.set_option(sender, SocketOption::Broadcast(true)).unwrap();
    a.send_to(sender, b"all", at(255, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(sockets[0].0.got(sockets[0].1), b"all");
    assert_eq!(errno(b.recv(sockets[1].1)), EAGAIN, "bound to one address");
    assert_eq!(c.got(any), b"all");
    assert_eq!(c.dropped(DropReason::UdpNoPort), 0);
    let limited = a.udp_at(at(1, 5_000));
    a.inet.set_option(limited, SocketOption::Broadcast(true)).unwrap();
    a.send_to(limited, b"limited", "255.255.255.255:7".parse().unwrap()).unwrap();
    net.run_ms(10);
    assert_eq!(c.got(any), b"limited");
}

#[test]
fn a_full_interface_pushes_back_and_wakes() {
    let net = Net::new();
    let a = net.node_with(1, |config| {
        config.engine.queue_frames = 4;
        config.output_queue_packets = 4;
    });
    let b = net.node(2);
    let server = b.udp_at(at(2, 7));
    let client = a.udp();
    a.send_to(client, b"first", at(2, 7)).unwrap();
    net.run_ms(5);
    b.got(server);
    // A slow link: a millisecond for each frame, and room for few.
    let slow = libnet::impair::Impairments::none().rate(1_000_000);
    let slow = slow.queue(room_for(2));
    net.segment.impair_all(&slow);
    let mut sent = 1;
    let blocked = loop {
        match a.send_to(client, &[0; 1_000], at(2, 7)) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1_000, "it must push back");
    };
    assert_eq!(blocked.raw_os_error(), Some(EAGAIN));
    assert!(!a.inet.ready(client).unwrap().contains(Ready::WRITABLE));
    net.run_ms(2_000);
    assert!(a.inet.ready(client).unwrap().contains(Ready::WRITABLE), "there is room again");
    let mut got = 1;
    while b.recv(server).is_ok() {
        got += 1;
    }
    assert_eq!(got, sent, "nothing was lost");
}

#[test]
fn a_socket_refused_by_two_interfaces_is_woken_by_the_second_alone() {
    let net = Net::new();
    let a = net.node_with(1, |config| {
        config.engine.queue_frames = 4;
        config.output_queue_packets = 4;
    });
    let other = net.world.segment(LinkConfig::default());
    let spec = InterfaceSpec::new(other.next_link()).addr("10.9.0.1/24").name("other");
    a.inet.add_interface(spec).unwrap();
    a.driver.attach(a.inet.engine()).unwrap();
    let limited = |rate| libnet::impair::Impairments::none().rate(rate).queue(room_for(2));
    net.segment.impair_all(limited(1));
    other.impair_all(limited(1_000_000));
    let client = a.udp();
    a.inet.set_option(client, SocketOption::Broadcast(true)).unwrap();
    for to in [at(255, 7), "10.9.0.255:7".parse().unwrap()] {
        let refused = (0..1_000).find_map(|_| a.send_to(client, &[0; 1_000], to).err());
        assert_eq!(refused.expect("it pushes back").raw_os_error(), Some(EAGAIN));
    }
    assert!(!a.inet.ready(client).unwrap().contains(Ready::WRITABLE));
    net.run_ms(2_000);
    assert!(a.inet.ready(client).unwrap().contains(Ready::WRITABLE), "the second has room");
    assert_eq!(errno(a.send_to(client, &[0; 1_000], at(255, 7))), EAGAIN, "the first has none");
}

#[test]
fn routes_reject_swallow_and_lead_through_gateways() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let to = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let route = |dst: &str| Route::via(dst.parse().unwrap(), libnet::IfIndex(2), ip(2).into());
    a.inet.add_route(route("0.0.0.0/0")).unwrap();
    a.inet.add_route(route("192.0.2.0/24").with_kind(RouteKind::Reject)).unwrap();
    a.inet.add_route(route("198.51.100.0/24").with_kind(RouteKind::Blackhole)).unwrap();
    let socket = a.udp();
    assert_eq!(errno(a.send_to(socket, b"x", to("192.0.2.1:7"))), EHOSTUNREACH);
    assert_eq!(errno(a.send_to(socket, b"x", to("198.51.100.1:7"))), EINVAL);
    a.send_to(socket, b"x", to("203.0.113.1:7")).unwrap();
    net.run_ms(10);
    assert_eq!(b.dropped(DropReason::IpNotOurs), 1, "the gateway got it");
}

#[test]
fn a_smaller_path_is_learned_and_forgotten() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let server = b.udp_at(at(2, 7));
    let socket = a.udp();
    a.inet.connect(socket, at(2, 7)).unwrap();
    a.send(socket, &[7; 1_400]).unwrap();
    net.run_ms(10);
    net.say_too_big(&a, 1_000);
    assert_eq!(errno(a.send(socket, b"x")), EMSGSIZE, "told once, as on Linux");
    net.frames();
    a.send(socket, &[7; 1_400]).unwrap();
    net.run_ms(10);
    let fragments = net.frames().iter().filter(|f| is_ip(f, Protocol::UDP)).count();
    assert_eq!(fragments, 2);
    a.inet.set_option(socket, SocketOption::MtuDiscovery(MtuDiscovery::Always)).unwrap();
    assert_eq!(errno(a.send(socket, &[7; 1_400])), EMSGSIZE);
    net.run_ms(700_000);
    a.send(socket, &[7; 1_400]).unwrap();
    net.run_ms(10);
    let last = std::iter::from_fn(|| b.recv(server).ok()).last().unwrap();
    assert_eq!(last.0.len(), 1_400);
}

#[test]
fn ping_sockets_send_echoes_and_nothing_else() {
    let net = Net::new();
    let a = net.node(1);
    let ping = a.ping();
    for bad in [&[8u8, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0, 0], &[8, 1, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(errno(a.send_to(ping, bad, at(1, 0))), EINVAL);
    }
    let other = a.ping();
    let ident = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 77);
    a.inet.bind(other, ident).unwrap();
    assert_eq!(errno(a.inet.bind(a.ping(), ident)), EADDRINUSE);
    a.send_to(other, &[8, 0, 0, 0, 9, 9, 0, 5], at(1, 0)).unwrap();
    assert_eq!(a.got(other)[4..8], [0, 77, 0, 5], "the identifier is the socket's");
    assert_eq!(errno(a.recv(ping)), EAGAIN, "and not another's");
}

#[test]
fn raw_sockets_see_whole_packets_and_may_write_headers() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let odd = Protocol(200);
    let receiver = b.raw(odd);
    let sender = a.raw(odd);
    a.send_to(sender, b"data", at(2, 0)).unwrap();
    net.run_ms(10);
    let packet = b.got(receiver);
    assert_eq!((packet.len(), packet[9], &packet[20..]), (24, 200, &b"data"[..]));
    a.inet.set_option(sender, SocketOption::HeaderIncluded(true)).unwrap();
    let mut header = Ipv4Header::new(std::net::Ipv4Addr::UNSPECIFIED, ip(2), odd);
    header.ttl = 3;
    let mut own = header.to_bytes(0).to_vec();
    own.extend_from_slice(b"mine");
    a.send_to(sender, &own, at(2, 0)).unwrap();
    net.run_ms(10);
    let packet = b.got(receiver);
    let read = Ipv4Header::parse(&mut Packet::from_payload(Bytes::from(packet))).unwrap();
    assert_eq!((read.src, read.ttl, read.total_bytes), (ip(1), 3, 24), "the rest is filled in");
    assert_eq!(errno(a.send_to(sender, &own[..10], at(2, 0))), EINVAL);
    b.inet.close(receiver);
    a.inet.set_option(sender, SocketOption::HeaderIncluded(false)).unwrap();
    a.inet.connect(sender, at(2, 0)).unwrap();
    a.send(sender, b"data").unwrap();
    net.run_ms(10);
    assert_eq!(b.dropped(DropReason::IpUnknownProtocol), 1);
    assert_eq!(errno(a.recv(sender)), ENOPROTOOPT, "protocol unreachable");
}

#[test]
fn owned_buffers_are_sent_without_a_copy() {
    let net = Net::new();
    let a = net.node(1);
    let server = a.udp_at(at(1, 7));
    let data = Bytes::from(vec![7; 1_000]);
    a.inet.send(a.udp(), SendMsg::OwnedTo(data.clone(), at(1, 7))).unwrap();
    let mut out = std::collections::VecDeque::new();
    a.inet.recv(server, RecvMsg::Zero { max_bytes: 2_000, out: &mut out }).unwrap();
    assert_eq!(out[0].as_ptr(), data.as_ptr());
}

#[test]
fn a_socket_bound_to_an_interface_uses_that_one() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let other = net.world.segment(LinkConfig::default());
    let spec = InterfaceSpec::new(other.next_link()).addr("10.9.0.1/24").name("other");
    a.inet.add_interface(spec).unwrap();
    let socket = a.udp();
    assert_eq!(errno(a.inet.set_option(socket, SocketOption::BindToDevice("no".into()))), 19);
    a.inet.set_option(socket, SocketOption::BindToDevice("other".into())).unwrap();
    a.inet.bind(socket, "0.0.0.0:7".parse().unwrap()).unwrap();
    assert_eq!(errno(a.send_to(socket, b"x", at(2, 7))), ENETUNREACH);
    b.send_to(b.udp(), b"x", at(1, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(errno(a.recv(socket)), EAGAIN);
    a.inet.set_option(socket, SocketOption::BindToDevice(String::new())).unwrap();
    b.send_to(b.udp(), b"x", at(1, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(a.got(socket), b"x", "bound to none again");
}

#[test]
fn an_interface_goes_down_and_comes_up_again() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let eth = libnet::IfIndex(2);
    let (server, client) = (a.udp_at(at(1, 7)), a.udp());
    let exchange = || {
        a.send_to(client, b"x", at(2, 7))?;
        net.run_ms(10);
        a.recv(client)
    };
    assert_eq!(errno(exchange()), EAGAIN);
    a.inet.set_up(eth, AdminState::Down).unwrap();
    assert_eq!(errno(exchange()), ENETUNREACH);
    let before = a.dropped(DropReason::IfaceDown);
    b.send_to(b.udp(), b"x", at(1, 7)).unwrap();
    net.run_ms(10);
    assert!(a.dropped(DropReason::IfaceDown) > before);
    a.inet.set_up(eth, AdminState::Up).unwrap();
    b.send_to(b.udp(), b"y", at(1, 7)).unwrap();
    net.run_ms(2_000);
    assert!(a.recv(server).is_ok());
    assert_eq!(errno(exchange()), EAGAIN);
    assert_eq!(errno(a.inet.set_mtu(eth, 1_501)), EINVAL);
    assert_eq!(errno(a.inet.set_mtu(eth, 67)), EINVAL);
    a.inet.set_mtu(eth, 600).unwrap();
    net.frames();
    a.send_to(client, &[0; 1_000], at(2, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(net.frames().iter().filter(|f| is_ip(f, Protocol::UDP)).count(), 2);
}

#[test]
fn addresses_come_and_go_while_running() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let second = "10.0.0.50/24".parse().unwrap();
    a.inet.add_address(libnet::IfIndex(2), second).unwrap();
    assert!(a.inet.add_address(libnet::IfIndex(2), second).is_err());
    for bad in ["0.0.0.0/8", "224.0.0.1/4", "10.0.0.255/24", "10.0.0.0/24", "255.255.255.255/32"] {
        assert_eq!(errno(a.inet.add_address(libnet::IfIndex(2), bad.parse().unwrap())), EINVAL);
    }
    let server = a.udp_at(at(50, 7));
    let client = b.udp();
    b.send_to(client, b"x", at(50, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(a.got(server), b"x");
    a.inet.remove_address(libnet::IfIndex(2), ip(50).into()).unwrap();
    b.send_to(client, b"x", at(50, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(errno(a.recv(server)), EAGAIN);
    let again = a.udp();
    a.send_to(again, b"x", at(2, 7)).unwrap();
    assert_eq!(a.inet.routes().len(), net.node(3).inet.routes().len());
    a.inet.remove_address(libnet::IfIndex(2), ip(1).into()).unwrap();
    assert_eq!(errno(a.send_to(again, b"x", at(2, 7))), ENETUNREACH);
}

/// An ICMP error: a packet from our port 7 to `dst` was longer than 1,400 bytes.
fn too_big(dst: Ipv4Addr) -> Vec<u8> {
    let mut quoted = Packet::from_payload(Bytes::from_static(&[0, 7, 0, 9, 5, 200, 0, 0]));
    let mut header = Ipv4Header::new(ip(1), dst, Protocol::UDP);
    header.dont_fragment = true;
    header.prepend_to(&mut quoted);
    let mut quoted = quoted.to_bytes().to_vec();
    quoted[2..4].copy_from_slice(&1_500_u16.to_be_bytes());
    quoted[10..12].fill(0);
    let sum = Packet::from_payload(quoted[..20].to_vec().into()).sum_from(0).finish();
    quoted[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend(1_400_u16.to_be_bytes());
    message.extend(quoted);
    let sum = Packet::from_payload(message.clone().into()).sum_from(0).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

#[test]
fn a_path_is_narrow_on_a_router_s_word_only_where_something_was_sent() {
    let net = Net::new();
    let a = net.node(1);
    a.inet.add_static_route(&"0.0.0.0/0@10.0.0.254".parse().unwrap()).unwrap();
    a.inet.add_neighbour(libnet::iface::IfIndex(2), ip(254).into(), STRANGER).unwrap();
    let socket = a.udp_at(at(1, 7));
    let [told, never]: [Ipv4Addr; 2] = ["192.0.2.9", "192.0.2.10"].map(|dst| dst.parse().unwrap());
    let mtu = |dst: Ipv4Addr| a.inet.path_to(dst.into(), None, None).unwrap().mtu;
    let say = |dst| net.inject_ip(&a, ip_packet(ip(254), ip(1), Protocol::ICMP, &too_big(dst)));
    a.send_to(socket, b"x", SocketAddr::new(told.into(), 9)).unwrap();
    a.send_to(socket, b"x", at(2, 9)).unwrap();
    say(never);
    assert_eq!((mtu(never), a.dropped(DropReason::IcmpUnmatched)), (1_500, 1));
    say(told);
    assert_eq!((mtu(told), a.dropped(DropReason::IcmpUnmatched)), (1_400, 1));
    // A peer is sent to, whatever else was.
    let peer = a.udp_at(at(1, 8));
    a.inet.connect(peer, SocketAddr::new(never.into(), 9)).unwrap();
    say(never);
    assert_eq!((mtu(never), a.dropped(DropReason::IcmpUnmatched)), (1_500, 2), "by another port");
    a.inet.close(socket);
    let socket = a.udp_at(at(1, 7));
    a.inet.connect(socket, SocketAddr::new(never.into(), 9)).unwrap();
    say(never);
    assert_eq!(mtu(never), 1_400);
}
