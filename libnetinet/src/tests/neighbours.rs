//! Neighbours: resolved, refreshed, given up, bounded, and not to be poisoned.

use std::net::IpAddr;

use bytes::Bytes;
use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::route::Route;
use libnet::socket::{Domain, Protocol, SocketOption};
use libnet::stats::DropReason;

use crate::arp::packet::{ArpPacket, Operation};
use crate::snapshot::{NeighbourSetting, NeighbourState};
use crate::testing::{Net, Node, STRANGER, at, errno, ip, is_arp, is_ip, mac};

const EHOSTUNREACH: i32 = 113;
const ETH: IfIndex = IfIndex(2);

fn state_of(node: &Node, n: u8) -> Option<(NeighbourState, Option<MacAddr>)> {
    let all = node.inet.neighbours();
    all.iter().find(|e| e.addr == IpAddr::V4(ip(n))).map(|e| (e.state, e.mac))
}

fn reply(from: MacAddr, sender: u8, to: &Node, target: u8) -> Packet {
    let arp = ArpPacket {
        operation: Operation::Reply,
        sender_mac: from,
        sender: ip(sender),
        target_mac: to.mac,
        target: ip(target),
    };
    arp.to_frame(to.mac)
}

#[test]
fn nobody_answers_three_questions_a_second_apart_and_the_senders_learn_of_it() {
    let net = Net::new();
    let a = net.node(1);
    let plain = a.udp();
    let asks_all = a.udp();
    a.inet.set_option(asks_all, SocketOption::ReceiveErrors(true)).unwrap();
    let raw = a.raw(Protocol::ICMP);
    a.send_to(plain, b"x", at(9, 7)).unwrap();
    a.send_to(asks_all, b"y", at(9, 7)).unwrap();
    net.run_ms(3_500);
    let questions: Vec<u64> =
        net.take().iter().filter(|(_, f)| is_arp(f)).map(|(at, _)| at.as_millis()).collect();
    assert_eq!(questions, [0, 1_000, 2_000]);
    assert_eq!(errno(a.recv(asks_all)), EHOSTUNREACH);
    assert_eq!(errno(a.recv(plain)), 11, "soft errors are not for who did not ask");
    let (icmp, _) = a.recv(raw).unwrap();
    assert_eq!(icmp[20..22], [3, 1], "host unreachable, from ourselves");
    assert_eq!(a.dropped(DropReason::NeighbourUnreachable), 2);
    assert_eq!(state_of(&a, 9).unwrap().0, NeighbourState::Failed);
    a.send_to(plain, b"again", at(9, 7)).unwrap();
    net.run_ms(1);
    assert!(net.frames().iter().any(is_arp), "it is asked for anew");
}

#[test]
fn what_waits_for_a_neighbour_is_bounded_and_the_latest_is_kept() {
    let net = Net::new();
    let a = net.node_with(1, |config| config.arp.queue_packets = 3);
    let socket = a.udp();
    for n in 0..10u8 {
        a.send_to(socket, &[n], at(2, 7)).unwrap();
    }
    assert_eq!(a.dropped(DropReason::NeighbourQueueFull), 7);
    let b = net.node(2);
    let server = b.udp_at(at(2, 7));
    net.run_ms(1_100);
    assert_eq!([b.got(server), b.got(server), b.got(server)], [[7], [8], [9]]);
}

#[test]
fn the_longest_datagram_waits_whole_for_a_neighbour_however_many_fragments_it_is() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    a.inet.set_mtu(libnet::IfIndex(2), 296).unwrap();
    let server = b.udp_at(at(2, 7));
    let datagram = vec![7; 65_507];
    a.send_to(a.udp(), &datagram, at(2, 7)).unwrap();
    net.run_ms(1_100);
    assert_eq!(a.dropped(DropReason::NeighbourQueueFull), 0);
    assert_eq!(b.got(server), datagram);
}

#[test]
fn the_table_evicts_who_was_used_longest_ago() {
    let net = Net::new();
    let a = net.node_with(1, |config| config.arp.max_entries = 3);
    let others: Vec<Node> = (2..=4).map(|n| net.node(n)).collect();
    let socket = a.udp();
    for n in [2, 3, 4, 2, 3] {
        a.send_to(socket, b"x", at(n, 7)).unwrap();
        net.run_ms(10);
    }
    // A stranger asks for us: worth an entry, but not one that we use.
    let request = ArpPacket::request(STRANGER, ip(77), ip(1));
    net.inject(request.to_frame(MacAddr::BROADCAST));
    assert_eq!(state_of(&a, 4), None, "used longest ago");
    net.inject(ArpPacket::request(STRANGER, ip(78), ip(1)).to_frame(MacAddr::BROADCAST));
    assert_eq!(state_of(&a, 77), None, "strangers push out each other, not our peers");
    assert!(state_of(&a, 2).is_some() && state_of(&a, 3).is_some());
    drop(others);
}

#[test]
fn packets_that_wait_are_not_evicted() {
    let net = Net::new();
    let a = net.node_with(1, |config| config.arp.max_entries = 2);
    let socket = a.udp();
    for n in [20, 21, 22] {
        a.send_to(socket, b"x", at(n, 7)).unwrap();
    }
    assert_eq!(a.dropped(DropReason::NeighbourTableFull), 1);
    assert!(state_of(&a, 20).is_some() && state_of(&a, 21).is_some());
}

#[test]
fn unasked_replies_make_no_entry_and_change_no_fresh_one() {
    let net = Net::new();
    let (a, _b) = (net.node(1), net.node(2));
    net.inject(reply(STRANGER, 50, &a, 1));
    assert_eq!(state_of(&a, 50), None);
    let socket = a.udp();
    a.send_to(socket, b"x", at(2, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(state_of(&a, 2), Some((NeighbourState::Reachable, Some(mac(2)))));
    net.inject(reply(STRANGER, 2, &a, 1));
    assert_eq!(state_of(&a, 2).unwrap().1, Some(mac(2)), "a second answer within the moment");
    net.run_ms(2_000);
    net.inject(reply(STRANGER, 2, &a, 1));
    let entry = a.inet.neighbours().into_iter().find(|e| e.addr == IpAddr::V4(ip(2))).unwrap();
    assert_eq!((entry.mac, entry.stale), (Some(STRANGER), true), "RFC 826, but not trusted");
    a.send_to(socket, b"y", at(2, 7)).unwrap();
    net.run_ms(9_000);
    a.send_to(socket, b"z", at(2, 7)).unwrap();
    net.run_ms(10);
    assert_eq!(state_of(&a, 2).unwrap().1, Some(mac(2)), "asked again, and answered truly");
}

#[test]
fn a_stale_neighbour_is_used_at_once_and_refreshed_by_unicast() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let server = b.udp_at(at(2, 7));
    let socket = a.udp();
    a.send_to(socket, b"1", at(2, 7)).unwrap();
    net.run_ms(40_000);
    net.frames();
    a.send_to(socket, b"2", at(2, 7)).unwrap();
    net.run_ms(10);
    assert!(net.frames().iter().all(|f| is_ip(f, Protocol::UDP)), "no question first");
    net.run_ms(6_000);
    let frames = net.frames();
    let question = frames.iter().find(|f| is_arp(f)).expect("it is asked");
    assert_eq!(question[..6], b.mac.0, "by unicast");
    assert_eq!(state_of(&a, 2), Some((NeighbourState::Reachable, Some(mac(2)))));
    assert_eq!([b.got(server), b.got(server)], [*b"1", *b"2"]);
    net.run_ms(700_000);
    assert_eq!(state_of(&a, 2), None, "forgotten when it is not used");
}

#[test]
fn a_neighbour_that_died_is_noticed_and_asked_for_by_broadcast() {
    let net = Net::new();
    let a = net.node(1);
    let b = net.node(2);
    let socket = a.udp();
    a.inet.set_option(socket, SocketOption::ReceiveErrors(true)).unwrap();
    a.send_to(socket, b"1", at(2, 7)).unwrap();
    net.run_ms(40_000);
    let _ = a.recv(socket);
    drop(b);
    a.send_to(socket, b"2", at(2, 7)).unwrap();
    net.run_ms(10_000);
    assert_eq!(state_of(&a, 2).unwrap().0, NeighbourState::Failed);
    a.send_to(socket, b"3", at(2, 7)).unwrap();
    net.run_ms(4_000);
    assert_eq!(errno(a.recv(socket)), EHOSTUNREACH);
}

#[test]
fn when_a_gateway_dies_another_is_taken_until_it_is_back() {
    let net = Net::new();
    let (a, second) = (net.node(1), net.node(3));
    let first = net.node(2);
    let default = |n: u8, metric| {
        Route::via("0.0.0.0/0".parse().unwrap(), ETH, ip(n).into()).with_metric(metric)
    };
    a.inet.add_route(default(2, 0)).unwrap();
    a.inet.add_route(default(3, 10)).unwrap();
    let socket = a.udp();
    let far = "192.0.2.1:7".parse().unwrap();
    a.inet.connect(socket, far).unwrap();
    let send = || {
        a.send(socket, b"x").unwrap();
        net.run_ms(10);
    };
    send();
    assert_eq!(first.dropped(DropReason::IpNotOurs), 1);
    drop(first);
    net.run_ms(40_000);
    send();
    net.run_ms(10_000);
    assert_eq!(state_of(&a, 2).unwrap().0, NeighbourState::Failed);
    send();
    assert_eq!(second.dropped(DropReason::IpNotOurs), 1, "the second took over");
    // The first is heard of again.
    net.inject(ArpPacket::announcement(mac(2), ip(2)).to_frame(MacAddr::BROADCAST));
    net.frames();
    send();
    let frames = net.frames();
    assert!(frames.iter().any(|f| is_ip(f, Protocol::UDP) && f[..6] == mac(2).0));
}

#[test]
fn a_neighbour_set_by_hand_stays() {
    let net = Net::new();
    let a = net.node(1);
    a.inet.add_neighbour(ETH, ip(5).into(), STRANGER).unwrap();
    net.inject(reply(mac(66), 5, &a, 1));
    assert_eq!(state_of(&a, 5), Some((NeighbourState::Permanent, Some(STRANGER))));
    net.frames();
    a.send_to(a.udp(), b"x", at(5, 7)).unwrap();
    net.run_ms(1_000_000);
    assert_eq!(state_of(&a, 5), Some((NeighbourState::Permanent, Some(STRANGER))));
    assert!(!net.frames().iter().any(is_arp));
    assert!(a.inet.add_neighbour(ETH, ip(6).into(), MacAddr::BROADCAST).is_err());
    assert!(a.inet.remove_neighbour(ETH, ip(5).into()));
    assert_eq!(state_of(&a, 5), None);
}

#[test]
fn implausible_senders_are_refused() {
    let net = Net::new();
    let a = net.node(1);
    for (from, sender) in [
        (MacAddr::BROADCAST, ip(9)),
        (MacAddr::ZERO, ip(9)),
        (STRANGER, "224.0.0.1".parse().unwrap()),
        (STRANGER, "255.255.255.255".parse().unwrap()),
        (STRANGER, "127.0.0.1".parse().unwrap()),
    ] {
        let mut frame = ArpPacket::request(from, sender, ip(1)).to_frame(a.mac);
        frame.write_at(6, &STRANGER.0);
        net.inject(frame);
    }
    assert_eq!(a.dropped(DropReason::ArpMalformed), 5);
    assert!(a.inet.neighbours().is_empty());
}

#[test]
fn an_address_is_used_at_once_and_claimed_meanwhile() {
    let net = Net::new();
    let b = net.node(2);
    let a = net.node_with(1, |config| config.arp.announce = true);
    let server = b.udp_at(at(2, 7));
    a.send_to(a.udp(), b"now", at(2, 7)).unwrap();
    net.run_ms(1);
    assert_eq!(b.got(server), b"now");
    net.run_ms(9_000);
    let said: Vec<&str> = net
        .frames()
        .iter()
        .filter(|f| is_arp(f) && f[6..12] == a.mac.0 && f[38..42] == ip(1).octets())
        .map(|f| if f[28..32] == [0; 4] { "probe" } else { "announce" })
        .collect();
    assert_eq!(said, ["probe", "announce", "probe", "probe", "announce"]);
}

#[test]
fn a_conflict_is_counted_and_answered_at_most_every_ten_seconds() {
    let net = Net::new();
    let a = net.node(1);
    let claim = || ArpPacket::announcement(STRANGER, ip(1)).to_frame(MacAddr::BROADCAST);
    for _ in 0..5 {
        net.inject(claim());
    }
    let defences =
        |net: &Net| net.frames().iter().filter(|f| is_arp(f) && f[6..12] == mac(1).0).count();
    assert_eq!(defences(&net), 1);
    net.run_ms(10_000);
    net.inject(claim());
    assert_eq!(defences(&net), 1);
    assert_eq!(a.inet.interfaces()[1].addrs[0].1, 6);
    assert_eq!(state_of(&a, 1), None, "our own address is no neighbour's");
}

#[test]
fn a_neighbour_set_to_a_state_goes_on_from_there() {
    use NeighbourSetting as To;
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let set = |setting| a.inet.set_neighbour(ETH, ip(2).into(), setting).unwrap();
    let asked = |net: &Net| {
        let is_ours = |f: &Bytes| is_arp(f) && f[21] == 1 && f[6..12] == mac(1).0;
        let questions = net.frames().into_iter().filter(is_ours);
        questions.map(|f| f[..6] == mac(2).0).collect::<Vec<bool>>()
    };
    let socket = a.udp();
    let state = || state_of(&a, 2).unwrap().0;
    set(To::Reachable(b.mac));
    a.send_to(socket, b"x", at(2, 7)).unwrap();
    net.run_ms(10_000);
    assert_eq!((state(), asked(&net)), (NeighbourState::Reachable, vec![]));
    set(To::Stale(b.mac));
    assert!(a.inet.neighbours()[0].stale);
    a.send_to(socket, b"x", at(2, 7)).unwrap();
    net.run_ms(1);
    assert_eq!(state(), NeighbourState::Delay);
    net.run_ms(6_000);
    assert_eq!((state(), asked(&net)), (NeighbourState::Reachable, vec![true]), "by unicast");
    set(To::Delay(b.mac));
    net.run_ms(6_000);
    assert_eq!((state(), asked(&net)), (NeighbourState::Reachable, vec![true]));
    set(To::Probe(b.mac));
    net.run_ms(10);
    assert_eq!((state(), asked(&net)), (NeighbourState::Reachable, vec![true]), "at once");
    set(To::Incomplete);
    net.run_ms(10);
    assert_eq!((state(), asked(&net)), (NeighbourState::Reachable, vec![false]), "all are asked");
    set(To::Failed);
    assert_eq!(state_of(&a, 2), Some((NeighbourState::Failed, None)));
    net.run_ms(700_000);
    assert_eq!(state_of(&a, 2), None, "and is forgotten in the end");
    let wrong = a.inet.set_neighbour(ETH, ip(2).into(), To::Stale(MacAddr::BROADCAST));
    assert!(wrong.is_err());
}
