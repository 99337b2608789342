//! Two nodes talk: the first thing that must work.

use libnet::socket::{Domain, Protocol};

use crate::testing::{Net, at, is_arp, is_ip};

#[test]
fn a_datagram_crosses_and_its_answer_comes_back() {
    for shards in [1, 3] {
        let net = Net::with_shards(shards);
        let (a, b) = (net.node(1), net.node(2));
        let server = b.udp_at(at(2, 7));
        let client = a.udp();
        assert_eq!(a.send_to(client, b"hello", at(2, 7)).unwrap(), 5);
        net.run_ms(10);
        let (data, received) = b.recv(server).unwrap();
        assert_eq!(data, b"hello");
        let from = received.from.unwrap();
        assert_eq!(from.ip(), at(1, 0).ip());
        b.send_to(server, b"and back", from).unwrap();
        net.run_ms(10);
        assert_eq!(a.got(client), b"and back");
        let frames = net.frames();
        assert_eq!(frames.iter().filter(|f| is_arp(f)).count(), 2, "one question, one answer");
        assert_eq!(frames.iter().filter(|f| is_ip(f, Protocol::UDP)).count(), 2);
    }
}

#[test]
fn a_ping_is_answered_with_its_own_bytes() {
    let net = Net::new();
    let (a, _b) = (net.node(1), net.node(2));
    let ping = a.ping();
    let mut message = vec![8, 0, 0, 0, 0, 0, 0, 9];
    message.extend_from_slice(b"payload");
    a.send_to(ping, &message, at(2, 0)).unwrap();
    net.run_ms(10);
    let (reply, received) = a.recv(ping).unwrap();
    assert_eq!(reply[..2], [0, 0]);
    assert_eq!(reply[4..6], a.inet.local_addr(ping).unwrap().port().to_be_bytes());
    assert_eq!(reply[6..], *b"\0\x09payload");
    assert_eq!(received.from, Some(at(2, 0)));
    assert_eq!(received.ttl, 64);
}

#[test]
fn packets_to_ourselves_never_reach_the_wire() {
    let net = Net::new();
    let a = net.node(1);
    for addr in [at(1, 7), "127.0.0.1:7".parse().unwrap(), "127.9.9.9:7".parse().unwrap()] {
        let server = a.udp_at(addr);
        let client = a.udp();
        a.send_to(client, b"x", addr).unwrap();
        assert_eq!(a.got(server), b"x");
        a.inet.close(server);
    }
    net.run_ms(10);
    assert!(net.frames().is_empty());
}

#[test]
fn the_largest_datagram_and_the_largest_echo_cross_in_fragments() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let server = b.udp_at(at(2, 7));
    let client = a.udp();
    let data: Vec<u8> = (0..65_507).map(|i| (i * 31 % 251) as u8).collect();
    a.send_to(client, &data, at(2, 7)).unwrap();
    net.run_ms(100);
    assert!(b.got(server) == data);
    let ping = a.ping();
    let mut message = vec![8, 0, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(&data[8..]);
    message.resize(65_515, 7);
    a.send_to(ping, &message, at(2, 0)).unwrap();
    net.run_ms(100);
    let reply = a.got(ping);
    assert_eq!(reply.len(), message.len());
    assert!(reply[8..] == message[8..]);
}
