//! ARP and address conflict detection as a station on the wire sees them (RFC 826, RFC 5227,
//! RFC 1122 §2.3.2).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libnet::net::UdpSocket;
use libnet::{DropReason, MacAddr};
use libnetinet::InetConfig;
use rumpnet_tests::station::{NOBODY, OTHER_MAC, PEER, PEER_MAC, Rig, US, US_MAC, echo_packet};
use rumpnet_tests::wire::{ARP, Arp, Frame, frame};

const SECOND: Duration = Duration::from_secs(1);
const ZERO: MacAddr = MacAddr([0; 6]);

/// A stack that has announced itself and knows nobody.
fn stranger() -> Rig {
    let rig = Rig::with(InetConfig::default());
    rig.settle();
    rig
}

fn socket(rig: &Rig) -> UdpSocket {
    rig.stack.udp_bind("10.0.0.1:5000").expect("a free port")
}

/// Has the stack send a datagram; everything it said within a moment.
fn send(rig: &Rig, socket: &UdpSocket, to: Ipv4Addr) -> Vec<Frame> {
    socket.send_to(b"hello", SocketAddr::from((to, 7))).expect("it is taken");
    rig.run(Duration::from_millis(1));
    rig.hear()
}

fn arps(frames: &[Frame]) -> Vec<Arp> {
    frames.iter().filter_map(Frame::arp).collect()
}

#[test]
fn an_unknown_address_is_asked_for_by_broadcast() {
    let rig = stranger();
    let said = send(&rig, &socket(&rig), PEER);
    assert_eq!(said.len(), 1, "only the question");
    assert_eq!((said[0].dst, said[0].src), (MacAddr::BROADCAST, US_MAC));
    let asked = said[0].arp().expect("an ARP packet");
    assert_eq!((asked.operation, asked.sha, asked.spa, asked.tpa), (1, US_MAC, US, PEER));
}

#[test]
fn a_packet_waits_for_the_answer_and_the_next_needs_none() {
    let rig = stranger();
    let socket = socket(&rig);
    send(&rig, &socket, PEER);
    rig.say_arp(US_MAC, Arp::reply(PEER_MAC, PEER, US_MAC, US));
    let said = rig.hear();
    assert_eq!(said.len(), 1, "what waited, and no answer to the answer");
    assert_eq!(said[0].dst, PEER_MAC);
    assert!(said[0].ip().and_then(|ip| ip.udp()).is_some_and(|udp| udp.data == b"hello"));
    let said = send(&rig, &socket, PEER);
    assert!(said.len() == 1 && said[0].dst == PEER_MAC, "a known address is used at once");
}

#[test]
fn a_request_is_answered_to_its_sender_who_is_known_from_then_on() {
    let rig = stranger();
    rig.say_arp(MacAddr::BROADCAST, Arp::request(PEER_MAC, PEER, US));
    let said = rig.hear();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].dst, PEER_MAC, "to the requester alone");
    assert_eq!(said[0].arp(), Some(Arp::reply(US_MAC, US, PEER_MAC, PEER)));
    let said = send(&rig, &socket(&rig), PEER);
    assert!(said.len() == 1 && said[0].dst == PEER_MAC, "who asked for us is entered");
}

#[test]
fn a_request_for_somebody_else_is_not_answered_and_enters_nobody() {
    let rig = stranger();
    rig.say_arp(MacAddr::BROADCAST, Arp::request(PEER_MAC, PEER, NOBODY));
    assert_eq!(rig.hear(), []);
    let said = send(&rig, &socket(&rig), PEER);
    assert_eq!(arps(&said).len(), 1, "a stranger's address is asked for");
}

#[test]
fn a_probe_is_answered() {
    let rig = stranger();
    rig.say_arp(MacAddr::BROADCAST, Arp::request(PEER_MAC, Ipv4Addr::UNSPECIFIED, US));
    let said = rig.hear();
    assert_eq!(said.len(), 1);
    let answer = said[0].arp().expect("an ARP packet");
    assert_eq!((answer.operation, answer.sha, answer.spa), (2, US_MAC, US));
}

#[test]
fn a_known_sender_is_updated_whatever_it_says_and_to_whom() {
    let rig = Rig::new();
    rig.run(2 * SECOND);
    rig.say_arp(MacAddr::BROADCAST, Arp::request(OTHER_MAC, PEER, NOBODY));
    assert_eq!(rig.hear(), [], "it was not for us");
    let said = send(&rig, &socket(&rig), PEER);
    assert!(said.iter().any(|frame| frame.dst == OTHER_MAC), "{said:?}");
}

#[test]
fn packets_of_other_hardware_protocols_and_lengths_are_dropped() {
    let rig = stranger();
    let good = Arp::request(PEER_MAC, PEER, US).bytes();
    for (at, value) in [(1, 6), (4, 8), (3, 0x06), (2, 0x86), (5, 16)] {
        let mut bad = good.clone();
        bad[at] = value;
        rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, ARP, &bad));
        assert_eq!(rig.hear(), [], "byte {at} is {value}");
    }
    for len in 0..good.len() {
        rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, ARP, &good[..len]));
        assert_eq!(rig.hear(), [], "cut to {len} bytes");
    }
    rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, ARP, &good));
    assert_eq!(rig.hear().len(), 1, "the same, undamaged");
}

#[test]
fn questions_for_one_address_are_a_second_apart_and_end() {
    let rig = stranger();
    let socket = socket(&rig);
    for _ in 0..50 {
        socket.send_to(b"hello", SocketAddr::from((PEER, 7))).expect("it is taken");
        rig.run(Duration::from_millis(20));
    }
    rig.run(20 * SECOND);
    let asked: Vec<_> = rig
        .hear_timed()
        .into_iter()
        .filter(|(_, frame)| frame.arp().is_some_and(|arp| arp.tpa == PEER))
        .map(|(at, _)| at)
        .collect();
    assert!((2..=5).contains(&asked.len()), "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1].since(pair[0]) >= SECOND), "{asked:?}");
}

#[test]
fn a_missing_entry_is_no_error_until_nobody_has_answered() {
    let rig = stranger();
    let unreachable = || rig.inet.drops().get(DropReason::NeighbourUnreachable);
    send(&rig, &socket(&rig), NOBODY);
    rig.run(SECOND / 2);
    assert_eq!(unreachable(), 0);
    rig.run(10 * SECOND);
    assert_eq!(unreachable(), 1, "three questions, no answer");
}

#[test]
fn an_old_entry_is_asked_about_and_flushed() {
    let rig = Rig::new();
    let socket = socket(&rig);
    assert_eq!(arps(&send(&rig, &socket, PEER)), []);
    rig.run(Duration::from_secs(400));
    rig.hear();
    let mut asked = Vec::new();
    for _ in 0..40 {
        asked.extend(arps(&send(&rig, &socket, PEER)));
        rig.run(SECOND);
        asked.extend(arps(&rig.hear()));
    }
    assert!(asked.iter().any(|arp| arp.operation == 1 && arp.tpa == PEER), "{asked:?}");
}

#[test]
fn a_new_address_is_probed_and_announced() {
    let rig = Rig::with(InetConfig::default());
    rig.run(30 * SECOND);
    let said = rig.hear_timed();
    let probes: Vec<_> = said
        .iter()
        .filter_map(|(_, frame)| frame.arp())
        .filter(|arp| arp.spa == Ipv4Addr::UNSPECIFIED)
        .collect();
    assert_eq!(probes.len(), 3, "PROBE_NUM");
    for probe in probes {
        assert_eq!((probe.operation, probe.sha, probe.tha, probe.tpa), (1, US_MAC, ZERO, US));
    }
    let announced: Vec<_> = said
        .iter()
        .filter(|(_, frame)| frame.arp().is_some_and(|arp| arp.spa == US && arp.tpa == US))
        .collect();
    assert_eq!(announced.len(), 2, "ANNOUNCE_NUM");
    assert!(announced[1].0.since(announced[0].0) >= 2 * SECOND, "ANNOUNCE_INTERVAL");
    assert!(said.iter().all(|(_, frame)| frame.dst == MacAddr::BROADCAST));
}

#[test]
fn an_address_is_not_tested_again_as_a_matter_of_course() {
    let rig = stranger();
    rig.run(Duration::from_secs(3_600));
    assert_eq!(rig.hear(), [], "a quiet stack says nothing");
}

#[test]
fn a_conflict_is_answered_by_one_announcement_in_ten_seconds() {
    let rig = stranger();
    let conflict = Arp::request(OTHER_MAC, US, NOBODY);
    let announcement = Arp::request(US_MAC, US, US);
    rig.say_arp(MacAddr::BROADCAST, conflict);
    assert_eq!(arps(&rig.hear()), [announcement]);
    for _ in 0..9 {
        rig.run(SECOND);
        rig.say_arp(MacAddr::BROADCAST, conflict);
        assert_eq!(rig.hear(), [], "two who both insist must not flood");
    }
    rig.run(2 * SECOND);
    rig.say_arp(MacAddr::BROADCAST, Arp::reply(OTHER_MAC, US, ZERO, US));
    assert_eq!(arps(&rig.hear()), [announcement], "a reply conflicts as well");
}

#[test]
fn a_claim_heard_while_probing_is_taken_as_a_conflict() {
    let rig = Rig::with(InetConfig::default());
    rig.run(Duration::from_millis(1));
    rig.hear();
    rig.say_arp(MacAddr::BROADCAST, Arp::reply(OTHER_MAC, US, US_MAC, US));
    let before = rig.hear();
    assert!(arps(&before).len() <= 1, "{before:?}");
    rig.run(30 * SECOND);
    assert_eq!(arps(&rig.hear()), [], "nothing more is said of an address that another has");
}

#[test]
fn the_address_is_usable_while_it_is_probed() {
    let rig = Rig::with(InetConfig::default());
    rig.introduce();
    assert!(rig.answers(&echo_packet()));
}
