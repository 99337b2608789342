//! What must hold when a stack has several shards.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::socket::{Domain, Protocol, SendMsg};

use crate::ipv4::fragment::fragment;
use crate::ipv4::header::Ipv4Header;
use crate::steer::{COMMON, flow};
use crate::testing::{Net, STRANGER, at, ip, ip_packet, is_ip};

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

/// An ICMP redirect from the first hop: what begins as `about` had better go to `to`.
fn redirect(about: &[u8], to: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![5, 1, 0, 0];
    message.extend(to.octets());
    message.extend(&about[..28]);
    let sum = Packet::from_payload(message.clone().into()).sum_from(0).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

#[test]
fn what_another_shard_than_the_common_one_learned_is_forgotten_in_time() {
    let net = Net::with_shards(3);
    let a = net.node_with(1, |config| config.nd.redirect_age = Duration::from_secs(30));
    a.inet.add_static_route(&"0.0.0.0/0@10.0.0.254".parse().unwrap()).unwrap();
    a.inet.add_neighbour(IfIndex(2), ip(254).into(), STRANGER).unwrap();
    net.run_ms(60_000);
    let wide = a.inet.wide();
    let shard_of =
        |port: u16, far: SocketAddr| wide.shard_of(flow(at(1, port), far, wide.flow_key));
    let far = SocketAddr::from(([192, 0, 2, 1], 80));
    let port = (5_000..6_000).find(|port| shard_of(*port, far) != COMMON as usize).unwrap();
    let client = a.tcp();
    a.inet.bind(client, at(1, port)).unwrap();
    net.frames();
    let _ = a.inet.connect(client, far);
    net.run_ms(1);
    let syn = net.frames().into_iter().find(|frame| is_ip(frame, Protocol::TCP)).unwrap();
    let message = redirect(&syn[14..], ip(253));
    net.inject_ip(&a, ip_packet(ip(254), ip(1), Protocol::ICMP, &message));
    let hop = || a.inet.path_to(far.ip(), None, None).unwrap().gateway;
    assert_eq!(hop(), Some(ip(253).into()));
    a.inet.close(client);
    net.run_ms(29_000);
    assert_eq!(hop(), Some(ip(253).into()));
    net.run_ms(2_000);
    assert_eq!(hop(), Some(ip(254).into()), "with nothing else to do");
}
