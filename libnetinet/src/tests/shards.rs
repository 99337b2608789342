//! What must hold when a stack has several shards.

use std::io::IoSlice;

use libnet::packet::Packet;
use libnet::socket::{Domain, Protocol, SendMsg};

use crate::ipv4::fragment::fragment;
use crate::ipv4::header::Ipv4Header;
use crate::testing::{Net, at, ip, is_ip};

#[test]
fn a_segment_in_fragments_finds_its_shard() {
    let net = Net::with_shards(3);
    let (a, b) = (net.node(1), net.node(2));
    let listener = b.listener(80);
    // Connections of every shard, each of which gets its data in fragments.
    for round in 0..9u8 {
        let client = a.tcp();
        let _ = a.inet.connect(client, at(2, 80));
        net.run_ms(10);
        let (server, _) = b.inet.accept(listener).unwrap();
        let count = net.segment.drop_nth(1, |frame| frame.len() > 500 && frame[23] == 6);
        net.frames();
        let data = vec![round; 1_000];
        a.inet.send(client, SendMsg::Copy(&[IoSlice::new(&data)])).unwrap();
        net.run_ms(5);
        drop(count);
        net.segment.clear_injected();
        let frames = net.frames();
        let lost = frames.iter().find(|f| is_ip(f, Protocol::TCP) && f.len() > 500);
        // What was dropped is given again, in pieces.
        let lost = lost.cloned().unwrap_or_else(|| {
            net.run_ms(400);
            let frames = net.frames();
            frames.into_iter().find(|f| is_ip(f, Protocol::TCP) && f.len() > 500).unwrap()
        });
        let mut header = Ipv4Header::read(&lost[14..]).unwrap();
        header.dont_fragment = false;
        header.ident = 7_000 + u16::from(round);
        let mut whole = Packet::from_payload(lost.slice(34..));
        header.prepend_to(&mut whole);
        fragment(&whole, 576, |piece| net.inject_ip(&b, piece));
        net.run_ms(5);
        assert_eq!(b.got(server), data, "round {round}");
        a.inet.close(client);
        b.inet.close(server);
    }
    let reassembled = b.inet.counters().reassembled.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(reassembled, 9);
}

#[test]
fn errors_find_the_shard_of_the_connection_that_they_are_about() {
    let net = Net::with_shards(3);
    let (a, _b) = (net.node(1), net.node(2));
    for _ in 0..9 {
        let client = a.tcp();
        let _ = a.inet.connect(client, at(9, 80));
        net.run_ms(100);
        let frames = net.frames();
        drop(frames);
        net.run_ms(4_000);
        let error = a.inet.take_error(client).unwrap().unwrap();
        assert_eq!(error.raw_os_error(), Some(113));
        a.inet.close(client);
    }
}

#[test]
fn many_connections_spread_over_the_shards() {
    let net = Net::with_shards(3);
    let (a, b) = (net.node(1), net.node(2));
    b.listener(80);
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let client = a.tcp();
            let _ = a.inet.connect(client, at(2, 80));
            net.run_ms(5);
            client
        })
        .collect();
    let opened: Vec<u64> = a.inet.tcp_counters().iter().map(|c| c.active_opens).collect();
    assert_eq!(opened.iter().sum::<u64>(), 16);
    assert!(opened.iter().all(|&n| n > 0), "{opened:?}");
    assert_eq!(a.inet.sockets().len(), clients.len());
    assert_eq!(ip(1), std::net::Ipv4Addr::new(10, 0, 0, 1));
}
