//! TCP through whole stacks: what the glue between sockets, shards and IP must do.

use std::net::Shutdown;

use libnet::iface::{IfIndex, InterfaceSpec};
use libnet::socket::{Domain, OptionKey, Protocol, SocketId, SocketOption};
use libnet::stats::DropReason;
use libnet::wake::Ready;
use libnet::world::LinkConfig;

use crate::testing::{Net, Node, at, errno, ip, is_ip};

const ECONNREFUSED: i32 = 111;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const EHOSTUNREACH: i32 = 113;
const EINPROGRESS: i32 = 115;
const EADDRINUSE: i32 = 98;
const ENOTCONN: i32 = 107;
const EISCONN: i32 = 106;
const EALREADY: i32 = 114;
const EAGAIN: i32 = 11;
const EINVAL: i32 = 22;
const EPIPE: i32 = 32;
const ENETUNREACH: i32 = 101;

fn connect(net: &Net, from: &Node, to: std::net::SocketAddr) -> SocketId {
    let client = from.tcp();
    assert_eq!(errno(from.inet.connect(client, to)), EINPROGRESS);
    net.run_ms(20);
    assert!(from.inet.take_error(client).unwrap().is_none());
    assert!(from.inet.ready(client).unwrap().contains(Ready::WRITABLE));
    client
}

#[test]
fn streams_cross_both_ways_and_end() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let (a, b) = (net.node(1), net.node(2));
        let listener = b.listener(80);
        assert_eq!(errno(b.inet.accept(listener)), EAGAIN);
        let clients: Vec<SocketId> = (0..8).map(|_| connect(&net, &a, at(2, 80))).collect();
        assert!(b.inet.ready(listener).unwrap().contains(Ready::READABLE));
        let mut servers = Vec::new();
        while let Ok((server, peer)) = b.inet.accept(listener) {
            assert_eq!(b.inet.peer_addr(server).unwrap(), peer);
            assert_eq!(b.inet.local_addr(server).unwrap(), at(2, 80));
            servers.push((server, peer));
        }
        assert_eq!(servers.len(), 8);
        for (n, client) in clients.iter().enumerate() {
            let local = a.inet.local_addr(*client).unwrap();
            assert_eq!(a.inet.peer_addr(*client).unwrap(), at(2, 80));
            let (server, _) = servers.iter().find(|(_, peer)| *peer == local).unwrap();
            a.send(*client, format!("question {n}").as_bytes()).unwrap();
            net.run_ms(5);
            assert_eq!(b.got(*server), format!("question {n}").as_bytes());
            b.send(*server, b"answer").unwrap();
            net.run_ms(5);
            assert_eq!(a.got(*client), b"answer");
            a.inet.shutdown(*client, Shutdown::Write).unwrap();
            net.run_ms(5);
            assert_eq!(b.got(*server), b"", "the end");
            b.inet.close(*server);
            net.run_ms(5);
            assert_eq!(a.got(*client), b"");
            a.inet.close(*client);
        }
        net.run_ms(100);
        assert_eq!(a.inet.sockets().len(), 0);
        assert_eq!(b.inet.sockets().len(), 1);
    }
}

#[test]
fn a_stack_talks_tcp_to_itself() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let a = net.node(1);
        let listener = a.listener(80);
        for to in [at(1, 80), "127.0.0.1:80".parse().unwrap(), "0.0.0.0:80".parse().unwrap()] {
            let client = connect(&net, &a, to);
            let (server, _) = a.inet.accept(listener).unwrap();
            a.send(client, b"to myself").unwrap();
            assert_eq!(a.got(server), b"to myself");
        }
        assert!(net.frames().is_empty());
    }
}

#[test]
fn connections_inherit_what_was_set_on_a_listener_before_their_handshake_ended() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let (a, b) = (net.node(1), net.node(2));
        let listener = b.listener(80);
        // TTLs of B's TCP packets since the last time.
        let from_b = || -> Vec<u8> {
            let source = ip(2).octets();
            let frames = net.take().into_iter().map(|(_, frame)| frame);
            let ours = frames.filter(|f| is_ip(f, Protocol::TCP) && f[26..30] == source);
            ours.map(|f| f[22]).collect()
        };
        b.inet.set_option(listener, SocketOption::Ttl(7)).unwrap();
        connect(&net, &a, at(2, 80));
        assert_eq!(from_b(), [7], "the SYN-ACK");
        // Set after the handshake, before the accept: not the connection's, as on Linux.
        b.inet.set_option(listener, SocketOption::Ttl(9)).unwrap();
        b.inet.set_option(listener, SocketOption::NoDelay(true)).unwrap();
        let (server, _) = b.inet.accept(listener).unwrap();
        b.send(server, b"hello").unwrap();
        net.run_ms(5);
        assert_eq!(from_b(), [7], "data");
        let option = |key| b.inet.get_option(server, key).unwrap();
        assert_eq!(option(OptionKey::Ttl), SocketOption::Ttl(7));
        assert_eq!(option(OptionKey::NoDelay), SocketOption::NoDelay(false));
        // What is set on the listener later is not the connection's.
        b.inet.set_option(listener, SocketOption::Ttl(11)).unwrap();
        b.send(server, b"again").unwrap();
        net.run_ms(5);
        assert_eq!(from_b(), [7]);
    }
}

#[test]
fn a_mebibyte_arrives_intact() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let (a, b) = (net.node(1), net.node(2));
        let listener = b.listener(80);
        let client = connect(&net, &a, at(2, 80));
        let (server, _) = b.inet.accept(listener).unwrap();
        let data: Vec<u8> =
            (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut sent, mut got) = (0, Vec::new());
        for _ in 0..2_000 {
            if sent < data.len() {
                sent += a.send(client, &data[sent..]).unwrap_or(0);
            }
            net.run_ms(1);
            while let Ok((bytes, _)) = b.recv(server) {
                got.extend_from_slice(&bytes);
            }
            if got.len() == data.len() {
                break;
            }
        }
        assert!(got == data, "{} of {} bytes", got.len(), data.len());
        let frames = net.frames();
        assert!(frames.iter().all(|f| f.len() <= 1_514), "nothing longer than the link takes");
    }
}

#[test]
fn connecting_fails_as_on_linux() {
    let net = Net::new();
    let (a, _b) = (net.node(1), net.node(2));
    let refused = a.tcp();
    assert_eq!(errno(a.inet.connect(refused, at(2, 81))), EINPROGRESS);
    assert_eq!(errno(a.inet.connect(refused, at(2, 81))), EALREADY);
    net.run_ms(20);
    let error = a.inet.take_error(refused).unwrap().unwrap();
    assert_eq!(error.raw_os_error(), Some(ECONNREFUSED));
    assert_eq!(errno(a.inet.connect(refused, at(2, 81))), ECONNABORTED, "the first one's end");
    assert_eq!(errno(a.inet.connect(refused, at(2, 81))), EINPROGRESS, "it may try again");
    net.run_ms(20);
    assert_eq!(errno(a.inet.connect(refused, at(2, 81))), ECONNREFUSED, "told instead of begun");
    assert_eq!(errno(a.recv(refused)), ENOTCONN, "as if it had never connected");

    let nobody = a.tcp();
    assert_eq!(errno(a.inet.connect(nobody, at(9, 80))), EINPROGRESS);
    net.run_ms(4_000);
    let error = a.inet.take_error(nobody).unwrap().unwrap();
    assert_eq!(error.raw_os_error(), Some(EHOSTUNREACH), "ARP gave up");

    let given_up = a.tcp();
    assert_eq!(errno(a.inet.connect(given_up, at(9, 80))), EINPROGRESS);
    a.inet.shutdown(given_up, Shutdown::Read).unwrap();
    assert_eq!(errno(a.recv(given_up)), ECONNRESET, "any shutdown gives the attempt up");
    assert_eq!(errno(a.recv(given_up)), ENOTCONN);

    let far = a.tcp();
    assert_eq!(errno(a.inet.connect(far, "192.0.2.1:80".parse().unwrap())), ENETUNREACH);
    assert_eq!(errno(a.inet.connect(far, "10.0.0.255:80".parse().unwrap())), ENETUNREACH);
}

#[test]
fn a_connect_says_once_that_it_has_ended_well() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let _listener = b.listener(80);
    let socket = a.tcp();
    assert_eq!(errno(a.inet.connect(socket, at(2, 80))), EINPROGRESS);
    net.run_ms(20);
    a.inet.connect(socket, at(2, 80)).unwrap();
    assert_eq!(errno(a.inet.connect(socket, at(2, 80))), EISCONN);
}

#[test]
fn unconnected_streams_refuse_what_linux_refuses() {
    let net = Net::new();
    let a = net.node(1);
    let socket = a.tcp();
    assert_eq!(errno(a.send(socket, b"x")), EPIPE);
    assert_eq!(errno(a.recv(socket)), ENOTCONN);
    assert_eq!(errno(a.inet.peer_addr(socket)), ENOTCONN);
    assert_eq!(errno(a.inet.shutdown(socket, Shutdown::Both)), ENOTCONN);
    assert_eq!(errno(a.inet.accept(socket)), EINVAL);
    let listener = a.listener(80);
    assert_eq!(errno(a.inet.connect(listener, at(1, 80))), EISCONN);
    let second = a.tcp();
    assert_eq!(errno(a.inet.bind(second, "0.0.0.0:80".parse().unwrap())), EADDRINUSE);
    a.inet.bind(second, "0.0.0.0:81".parse().unwrap()).unwrap();
    assert_eq!(errno(a.inet.bind(second, "0.0.0.0:82".parse().unwrap())), EINVAL);
}

#[test]
fn a_stream_bound_to_an_interface_uses_that_one() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let other = net.world.segment(LinkConfig::default());
    let spec = InterfaceSpec::new(other.next_link()).addr("10.9.0.1/24").name("other");
    a.inet.add_interface(spec).unwrap();
    let own = a.inet.interfaces().into_iter().find(|entry| entry.index == IfIndex(2)).unwrap().name;
    let bound = |name: &str| {
        let socket = a.tcp();
        a.inet.set_option(socket, SocketOption::BindToDevice(name.into())).unwrap();
        socket
    };
    let _far = b.listener(80);
    assert_eq!(errno(a.inet.connect(bound("other"), at(2, 80))), ENETUNREACH);
    let near = bound(&own);
    assert_eq!(errno(a.inet.connect(near, at(2, 80))), EINPROGRESS);
    net.run_ms(20);
    a.inet.connect(near, at(2, 80)).unwrap();

    // Each listens on an interface of its own, at one port.
    let listeners = ["other", &own].map(|name| {
        let listener = bound(name);
        a.inet.bind(listener, "0.0.0.0:7".parse().unwrap()).unwrap();
        a.inet.listen(listener, 8).unwrap();
        listener
    });
    let third = a.tcp();
    assert_eq!(errno(a.inet.bind(third, "0.0.0.0:7".parse().unwrap())), EADDRINUSE);
    let client = connect(&net, &b, at(1, 7));
    assert_eq!(errno(a.inet.accept(listeners[0])), EAGAIN, "it came by the other interface");
    let (server, _) = a.inet.accept(listeners[1]).unwrap();
    a.send(server, b"near").unwrap();
    net.run_ms(20);
    assert_eq!(b.recv(client).unwrap().0, b"near");
    a.inet.close(listeners[1]);
    let refused = b.tcp();
    assert_eq!(errno(b.inet.connect(refused, at(1, 7))), EINPROGRESS);
    net.run_ms(20);
    assert_eq!(errno(b.inet.connect(refused, at(1, 7))), ECONNREFUSED);
}

#[test]
fn a_connection_holds_its_port_until_its_time_wait_is_over() {
    let net = Net::with_shards(3);
    let (a, b) = (net.node(1), net.node(2));
    let bind = |reuse: bool, addr: &str| {
        let socket = b.tcp();
        b.inet.set_option(socket, SocketOption::ReuseAddr(reuse)).unwrap();
        let bound = b.inet.bind(socket, addr.parse().unwrap()).map_err(|e| e.raw_os_error());
        b.inet.close(socket);
        bound
    };
    let listener = b.tcp();
    b.inet.set_option(listener, SocketOption::ReuseAddr(true)).unwrap();
    b.inet.bind(listener, at(2, 80)).unwrap();
    b.inet.listen(listener, 8).unwrap();
    let client = connect(&net, &a, at(2, 80));
    let (server, _) = b.inet.accept(listener).unwrap();
    b.inet.close(listener);
    for addr in ["10.0.0.2:80", "0.0.0.0:80"] {
        assert_eq!(bind(false, addr), Err(Some(EADDRINUSE)), "{addr}");
        assert_eq!(bind(true, addr), Ok(()), "both reuse {addr}");
    }
    assert_eq!(bind(false, "127.0.0.1:80"), Ok(()), "another address");
    b.inet.close(server);
    net.run_ms(20);
    a.inet.close(client);
    net.run_ms(20);
    assert_eq!(bind(false, "10.0.0.2:80"), Err(Some(EADDRINUSE)), "TIME-WAIT");
    assert_eq!(bind(true, "10.0.0.2:80"), Ok(()));
    net.run_ms(61_000);
    assert_eq!(bind(false, "10.0.0.2:80"), Ok(()));
}

#[test]
fn a_port_is_free_again_when_its_listener_is_closed() {
    let net = Net::with_shards(3);
    let (a, b) = (net.node(1), net.node(2));
    let listener = b.listener(80);
    let left = connect(&net, &a, at(2, 80));
    b.inet.close(listener);
    net.run_ms(20);
    assert!(a.inet.ready(left).unwrap().contains(Ready::ERROR), "nobody accepted: reset");
    let again = a.tcp();
    let _ = a.inet.connect(again, at(2, 80));
    net.run_ms(20);
    assert!(a.inet.take_error(again).unwrap().is_some());
    b.listener(80);
    connect(&net, &a, at(2, 80));
}

#[test]
fn a_full_table_lets_connections_wait() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node_with(2, |config| config.max_sockets = 2));
    let listener = b.listener(80);
    let other = b.udp();
    let client = connect(&net, &a, at(2, 80));
    assert_eq!(errno(b.inet.accept(listener)), 24, "EMFILE");
    b.inet.close(other);
    let (server, _) = b.inet.accept(listener).unwrap();
    a.send(client, b"still there").unwrap();
    net.run_ms(10);
    assert_eq!(b.got(server), b"still there");
}

#[test]
fn lingering_for_no_time_resets() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let listener = b.listener(80);
    let client = connect(&net, &a, at(2, 80));
    let (server, _) = b.inet.accept(listener).unwrap();
    let linger = SocketOption::Linger(Some(std::time::Duration::ZERO));
    a.inet.set_option(client, linger).unwrap();
    a.inet.close(client);
    net.run_ms(20);
    assert_eq!(errno(b.recv(server)), 104, "ECONNRESET");
}

#[test]
fn a_segment_to_nobody_is_answered_by_a_reset() {
    let net = Net::with_shards(3);
    let (a, b) = (net.node(1), net.node(2));
    let client = a.tcp();
    let _ = a.inet.connect(client, at(2, 9));
    net.run_ms(20);
    assert_eq!(b.dropped(DropReason::TcpNoConnection), 1);
    let frames = net.frames();
    assert_eq!(frames.iter().filter(|f| is_ip(f, Protocol::TCP)).count(), 2);
}

#[test]
fn connections_are_spread_over_listeners_that_share_a_port() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let (a, b) = (net.node(1), net.node(2));
        let listen = |share: bool| {
            let socket = b.tcp();
            b.inet.set_option(socket, SocketOption::ReusePort(share)).unwrap();
            b.inet.bind(socket, at(2, 80)).and_then(|()| b.inet.listen(socket, 64)).map(|()| socket)
        };
        let listeners: Vec<SocketId> = (0..3).map(|_| listen(true).unwrap()).collect();
        assert_eq!(errno(listen(false)), EADDRINUSE, "who does not share gets no place");
        let clients: Vec<SocketId> = (0..48).map(|_| connect(&net, &a, at(2, 80))).collect();
        let mut taken = Vec::new();
        for listener in &listeners {
            let mut n = 0;
            while let Ok((server, peer)) = b.inet.accept(*listener) {
                let client = clients.iter().find(|id| a.inet.local_addr(**id).unwrap() == peer);
                a.send(*client.unwrap(), b"hello").unwrap();
                net.run_ms(5);
                assert_eq!(b.got(server), b"hello");
                n += 1;
            }
            taken.push(n);
        }
        assert_eq!(taken.iter().sum::<usize>(), 48);
        assert!(taken.iter().all(|n| *n > 4), "{taken:?}");
    }
}
