//! Neighbour discovery and duplicate addresses as a station on the wire sees them (RFC 4861 §7,
//! RFC 4862 §5.4, RFC 4429, RFC 7527).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libnet::net::UdpSocket;
use libnet::{DropReason, MacAddr};
use libnetinet::InetConfig;
use libnetinet::config::InterfaceIds;
use libnetinet::snapshot::{AddressEntry, AddressState, NeighbourState};
use rumpnet_tests::station::{OTHER_MAC, PEER_MAC, PEER6, Rig, US_MAC, US6};
use rumpnet_tests::wire::frame;
use rumpnet_tests::wire::nd::{
    ALL_NODES, Heard, NA, NS, OVERRIDE, ROUTER, SOLICITED, advertise, group_mac, solicit,
    solicited_node, source_mac, target_mac,
};
use rumpnet_tests::wire::six::{IPV6, Ip6};

const SECOND: Duration = Duration::from_secs(1);
const NOBODY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const OTHER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);

/// A stack with one IPv6 address that is sure of it, and knows nobody.
fn stranger() -> Rig {
    let rig = starting(InetConfig::default());
    rig.settle();
    rig
}

fn starting(config: InetConfig) -> Rig {
    Rig::configured(config, |interface| interface.addr(&format!("{US6}/64")))
}

/// A stack that does not use its address before it is sure of it.
fn careful() -> InetConfig {
    let mut config = InetConfig::default();
    config.nd.optimistic = false;
    config
}

fn socket(rig: &Rig) -> UdpSocket {
    rig.stack.udp_bind((US6, 5_000)).expect("a free port")
}

/// Has the stack send a datagram; everything it said within a moment.
fn send(rig: &Rig, socket: &UdpSocket, to: Ipv6Addr) -> Vec<Ip6> {
    socket.send_to(b"hello", (to, 7)).expect("it is taken");
    rig.run(Duration::from_millis(1));
    rig.hear_ip6()
}

fn say_to(rig: &Rig, to: MacAddr, from: MacAddr, ip: &Ip6) {
    rig.say(&frame(to, from, IPV6, &ip.bytes()));
}

/// Says a message where it is addressed to, from the station.
fn say(rig: &Rig, ip: &Ip6) {
    let to = if ip.dst.is_multicast() { group_mac(ip.dst) } else { US_MAC };
    say_to(rig, to, PEER_MAC, ip);
}

fn heard(rig: &Rig) -> Vec<Heard> {
    rig.hear_ip6().iter().filter_map(Heard::of).collect()
}

fn of_type(all: &[Ip6], ty: u8) -> Vec<Heard> {
    all.iter().filter_map(Heard::of).filter(|message| message.ty == ty).collect()
}

/// The state of an address of ours.
fn state_of(rig: &Rig, addr: Ipv6Addr) -> Option<AddressEntry> {
    let entries = rig.inet.interfaces().swap_remove(1).addresses;
    entries.into_iter().find(|entry| entry.cidr.addr() == IpAddr::V6(addr))
}

fn neighbour(rig: &Rig, addr: Ipv6Addr) -> Option<(NeighbourState, bool, Option<MacAddr>)> {
    let all = rig.inet.neighbours();
    let found = all.iter().find(|entry| entry.addr == IpAddr::V6(addr))?;
    Some((found.state, found.stale, found.mac))
}

/// What the peer answers when it is asked.
fn answer(flags: u8) -> Ip6 {
    advertise(PEER6, US6, PEER6, flags, &[target_mac(PEER_MAC)])
}

#[test]
fn an_unknown_address_is_asked_for_in_its_group_with_our_own() {
    let rig = stranger();
    socket(&rig).send_to(b"hello", (PEER6, 7)).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let frames = rig.hear();
    assert_eq!(frames.len(), 1, "only the question");
    let group = solicited_node(PEER6);
    assert_eq!((frames[0].dst, frames[0].src), (group_mac(group), US_MAC));
    let asked = Heard::of(frames[0].ip6().expect("an IPv6 packet")).expect("a question");
    assert_eq!((asked.ty, asked.src, asked.dst, asked.target()), (NS, US6, group, PEER6));
    assert_eq!(asked.mac(), Some(US_MAC));
}

#[test]
fn a_packet_waits_for_the_answer_and_the_next_needs_none() {
    let rig = stranger();
    let socket = socket(&rig);
    send(&rig, &socket, PEER6);
    say(&rig, &answer(SOLICITED | OVERRIDE));
    let frames = rig.hear();
    assert_eq!(frames.len(), 1, "what waited, and no answer to the answer");
    assert_eq!(frames[0].dst, PEER_MAC);
    assert!(frames[0].ip6().and_then(Ip6::udp).is_some_and(|udp| udp.data == b"hello"));
    assert_eq!(send(&rig, &socket, PEER6).len(), 1, "a known address is used at once");
    assert_eq!(neighbour(&rig, PEER6), Some((NeighbourState::Reachable, false, Some(PEER_MAC))));
}

#[test]
fn nobody_answers_three_questions_and_the_sender_learns_of_it() {
    let rig = stranger();
    let socket = socket(&rig);
    socket.connect((PEER6, 7)).expect("there is a route");
    socket.set_nonblocking(true).expect("always");
    socket.socket().set_option(libnet::socket::SocketOption::ReceiveErrors(true)).expect("UDP");
    socket.send(b"hello").expect("it is taken");
    rig.run(4 * SECOND);
    assert_eq!(of_type(&rig.hear_ip6(), NS).len(), 3, "RFC 4861 §10: MAX_MULTICAST_SOLICIT");
    let error = socket.recv(&mut [0; 8]).expect_err("an error waits");
    assert_eq!(error.raw_os_error(), Some(113), "no route to host");
    assert_eq!(rig.inet.drops().get(DropReason::NeighbourUnreachable), 1);
    assert_eq!(neighbour(&rig, PEER6).map(|entry| entry.0), Some(NeighbourState::Failed));
}

#[test]
fn a_question_is_answered_to_its_sender_who_is_known_from_then_on() {
    let rig = stranger();
    say(&rig, &solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]));
    let frames = rig.hear();
    assert_eq!(frames.len(), 1, "{:?}", rig.inet.drops().nonzero());
    assert_eq!(frames[0].dst, PEER_MAC, "to the requester alone");
    let said = Heard::of(frames[0].ip6().expect("an IPv6 packet")).expect("an answer");
    assert_eq!((said.ty, said.src, said.dst, said.target()), (NA, US6, PEER6, US6));
    assert_eq!((said.flags(), said.mac()), (SOLICITED | OVERRIDE, Some(US_MAC)));
    assert_eq!(neighbour(&rig, PEER6), Some((NeighbourState::Reachable, true, Some(PEER_MAC))));
}

#[test]
fn a_question_by_unicast_without_a_link_layer_address_is_answered_once_the_sender_is_found() {
    let rig = stranger();
    say(&rig, &solicit(PEER6, US6, US6, &[]));
    let said = heard(&rig);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].ty, said[0].target()), (NS, PEER6), "whom to answer is asked for");
    say(&rig, &answer(SOLICITED));
    let said = heard(&rig);
    assert_eq!((said[0].ty, said[0].dst), (NA, PEER6));
}

#[test]
fn a_question_for_somebody_else_is_not_answered_and_enters_nobody() {
    let rig = stranger();
    say(&rig, &solicit(PEER6, US6, OTHER6, &[source_mac(PEER_MAC)]));
    assert_eq!(heard(&rig), []);
    assert_eq!(neighbour(&rig, PEER6), None);
}

#[test]
fn advertisements_that_nobody_asked_for_enter_nobody() {
    let rig = stranger();
    say(&rig, &answer(SOLICITED | OVERRIDE));
    say(&rig, &advertise(PEER6, ALL_NODES, PEER6, OVERRIDE, &[target_mac(PEER_MAC)]));
    assert_eq!(neighbour(&rig, PEER6), None);
    assert_eq!(rig.inet.drops().get(DropReason::NdMalformed), 0);
}

#[test]
fn malformed_messages_change_nothing_and_are_counted() {
    let rig = stranger();
    let good = solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]);
    let refused = |ip: &Ip6| {
        let before = rig.inet.drops().get(DropReason::NdMalformed);
        say(&rig, ip);
        assert_eq!(heard(&rig), [], "nothing is answered");
        assert_eq!(neighbour(&rig, PEER6), None, "nothing is learned");
        assert_eq!(rig.inet.drops().get(DropReason::NdMalformed), before + 1);
    };
    refused(&Ip6 { hops: 254, ..good.clone() });
    let mut icmp = good.icmp().expect("a message");
    icmp.code = 1;
    refused(&Ip6 { hops: 255, ..icmp.packet6(PEER6, good.dst) });
    refused(&solicit(PEER6, good.dst, ALL_NODES, &[]));
    refused(&solicit(PEER6, good.dst, US6, &[vec![1, 0, 0, 0, 0, 0, 0, 0]]));
    refused(&solicit(PEER6, good.dst, US6, &[vec![1, 2, 0, 0, 0, 0, 0, 0]]));
    refused(&solicit(NOBODY, good.dst, US6, &[source_mac(PEER_MAC)]));
    refused(&solicit(NOBODY, ALL_NODES, US6, &[]));
    refused(&advertise(PEER6, ALL_NODES, PEER6, SOLICITED, &[target_mac(PEER_MAC)]));
    let mut short = good.icmp().expect("a message");
    short.data.truncate(12);
    refused(&Ip6 { hops: 255, ..short.packet6(PEER6, good.dst) });
    say(&rig, &good);
    assert_eq!(heard(&rig).len(), 1, "the good one is answered");
}

#[test]
fn what_came_in_a_fragment_is_not_believed() {
    let rig = stranger();
    let good = solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]);
    let header = rumpnet_tests::wire::six::fragment(0, false, 9);
    say(&rig, &good.behind(rumpnet_tests::wire::six::FRAGMENT, header));
    assert_eq!(heard(&rig), [], "RFC 6980 §5");
    assert_eq!(rig.inet.drops().get(DropReason::NdMalformed), 1);
}

#[test]
fn a_stale_neighbour_is_probed_by_unicast_while_it_is_used() {
    let rig = stranger();
    let socket = socket(&rig);
    send(&rig, &socket, PEER6);
    say(&rig, &answer(SOLICITED));
    rig.run(50 * SECOND);
    rig.hear();
    send(&rig, &socket, PEER6);
    assert_eq!(neighbour(&rig, PEER6).map(|entry| entry.0), Some(NeighbourState::Delay));
    rig.run(4_998 * Duration::from_millis(1));
    assert_eq!(heard(&rig), []);
    rig.run(Duration::from_millis(2));
    let frames = rig.hear();
    let probe = Heard::of(frames[0].ip6().expect("an IPv6 packet")).expect("a question");
    assert_eq!((frames[0].dst, probe.dst, probe.target()), (PEER_MAC, PEER6, PEER6));
    say(&rig, &answer(SOLICITED));
    assert_eq!(neighbour(&rig, PEER6), Some((NeighbourState::Reachable, false, Some(PEER_MAC))));
}

#[test]
fn the_override_flag_decides_whether_an_address_moves() {
    let rig = stranger();
    let socket = socket(&rig);
    send(&rig, &socket, PEER6);
    say(&rig, &answer(SOLICITED));
    let other = |flags| advertise(PEER6, ALL_NODES, PEER6, flags, &[target_mac(OTHER_MAC)]);
    say(&rig, &other(0));
    assert_eq!(neighbour(&rig, PEER6), Some((NeighbourState::Reachable, true, Some(PEER_MAC))));
    say(&rig, &other(OVERRIDE | ROUTER));
    assert_eq!(neighbour(&rig, PEER6), Some((NeighbourState::Reachable, true, Some(OTHER_MAC))));
}

#[test]
fn an_address_is_not_used_before_it_was_asked_for_and_a_second_has_passed() {
    let rig = starting(careful());
    assert_eq!(state_of(&rig, US6).expect("it is shown").state, AddressState::Tentative);
    assert!(rig.stack.udp_bind((US6, 5_000)).is_err(), "it is nobody's yet");
    rig.run(SECOND / 2);
    let asked = heard(&rig);
    let ours: Vec<_> = asked.iter().filter(|message| message.target() == US6).collect();
    assert_eq!(ours.len(), 1, "DupAddrDetectTransmits");
    assert_eq!((ours[0].ty, ours[0].src, ours[0].dst), (NS, NOBODY, solicited_node(US6)));
    assert!(ours[0].option(14).is_some_and(|nonce| nonce.len() == 6), "RFC 7527 §4.1");
    say(&rig, &solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]));
    assert_eq!(heard(&rig), [], "a tentative address is not answered for");
    rig.run(SECOND);
    assert_eq!(state_of(&rig, US6).expect("it is shown").state, AddressState::Preferred);
    assert!(rig.stack.udp_bind((US6, 5_000)).is_ok());
}

#[test]
fn an_address_that_is_answered_for_or_asked_for_by_another_is_a_duplicate() {
    let conflicts: [Ip6; 2] = [
        advertise(US6, ALL_NODES, US6, OVERRIDE, &[target_mac(PEER_MAC)]),
        solicit(NOBODY, solicited_node(US6), US6, &[]),
    ];
    for config in [careful(), InetConfig::default()] {
        for conflict in &conflicts {
            let rig = starting(config.clone());
            rig.run(SECOND / 2);
            say(&rig, conflict);
            rig.run(5 * SECOND);
            let entry = state_of(&rig, US6).expect("it is shown");
            assert_eq!((entry.state, entry.conflicts), (AddressState::Duplicate, 1));
            assert!(rig.stack.udp_bind((US6, 5_000)).is_err());
            rig.hear();
            say(&rig, &solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]));
            assert_eq!(heard(&rig), [], "and it is not answered for");
        }
    }
}

#[test]
fn a_question_of_an_address_resolver_is_no_conflict() {
    let rig = starting(careful());
    say(&rig, &solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]));
    rig.run(3 * SECOND);
    assert_eq!(state_of(&rig, US6).expect("it is shown").state, AddressState::Preferred);
}

#[test]
fn our_own_question_that_comes_back_is_no_conflict() {
    let rig = starting(careful());
    rig.run(SECOND / 10);
    let own: Vec<Ip6> = rig.hear_ip6();
    let own = own.iter().find(|ip| Heard::of(ip).is_some_and(|m| m.target() == US6));
    say_to(&rig, group_mac(solicited_node(US6)), OTHER_MAC, own.expect("a question"));
    rig.run(3 * SECOND);
    let entry = state_of(&rig, US6).expect("it is shown");
    assert_eq!((entry.state, entry.looped), (AddressState::Tentative, 1), "asked again");
    rig.run(2 * SECOND);
    let entry = state_of(&rig, US6).expect("it is shown");
    assert_eq!((entry.state, entry.conflicts), (AddressState::Preferred, 0));
}

#[test]
fn while_it_is_checked_an_address_is_used_with_care() {
    let rig = starting(InetConfig::default());
    assert_eq!(state_of(&rig, US6).expect("it is shown").state, AddressState::Optimistic);
    say(&rig, &solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]));
    let said = of_type(&rig.hear_ip6(), NA);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].flags(), SOLICITED, "RFC 4429 §3.3: it overrides nothing");
    let asked = of_type(&send(&rig, &socket(&rig), OTHER6), NS);
    assert!(asked.iter().all(|message| message.mac().is_none()), "and tells no address of ours");
    rig.settle();
    say(&rig, &solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]));
    assert_eq!(heard(&rig)[0].flags(), SOLICITED | OVERRIDE);
}

#[test]
fn who_answers_no_stranger_is_asked_again_once_our_address_is_sure() {
    let rig = starting(InetConfig::default());
    // Half way between two questions of the check, so that no question of the other kind is due.
    rig.run(SECOND / 2);
    let socket = socket(&rig);
    let asked = of_type(&send(&rig, &socket, PEER6), NS);
    let ours = asked.iter().find(|asked| asked.src == US6).expect("it asks");
    assert_eq!((ours.target(), ours.mac()), (PEER6, None));
    // Five datagrams of 64 KiB wait meanwhile.
    for _ in 0..5 {
        socket.send_to(&[7; 65_000], (PEER6, 7)).expect("it is taken");
    }
    let _ = rig.hear();
    while state_of(&rig, US6).is_some_and(|entry| entry.state == AddressState::Optimistic) {
        rig.run(Duration::from_millis(1));
    }
    rig.run(Duration::from_millis(1));
    let all = rig.hear_ip6();
    let last = of_type(&all, NS).into_iter().rfind(|asked| asked.src == US6).expect("asked again");
    assert_eq!((last.target(), last.mac()), (PEER6, Some(US_MAC)));
    say(&rig, &answer(SOLICITED | OVERRIDE));
    let fragments = rig.hear_ip6().len();
    assert_eq!(fragments, 1 + 5 * 65_008_usize.div_ceil(1_448), "none was dropped");
    assert_eq!(rig.inet.drops().get(DropReason::NeighbourQueueFull), 0);
}

#[test]
fn who_checks_an_address_of_ours_is_told_that_it_is_taken() {
    let rig = stranger();
    say(&rig, &solicit(NOBODY, solicited_node(US6), US6, &[]));
    let said = heard(&rig);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].dst, said[0].target(), said[0].flags()), (ALL_NODES, US6, OVERRIDE));
    assert_eq!(said[0].mac(), Some(US_MAC));
}

#[test]
fn somebody_who_uses_our_address_later_is_counted_and_shown() {
    let rig = stranger();
    say(&rig, &advertise(US6, ALL_NODES, US6, OVERRIDE, &[target_mac(PEER_MAC)]));
    let entry = state_of(&rig, US6).expect("it is shown");
    assert_eq!((entry.state, entry.conflicts), (AddressState::Preferred, 1));
}

/// The link-local address of the stack.
fn local(rig: &Rig) -> AddressEntry {
    let entries = rig.inet.interfaces().swap_remove(1).addresses;
    let is_local = |entry: &AddressEntry| match entry.cidr.addr() {
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    };
    entries.into_iter().find(is_local).expect("a link-local address")
}

fn six(entry: &AddressEntry) -> Ipv6Addr {
    match entry.cidr.addr() {
        IpAddr::V6(addr) => addr,
        IpAddr::V4(addr) => panic!("{addr} is of IPv4"),
    }
}

#[test]
fn another_link_local_address_is_made_when_one_is_taken_and_after_four_no_more() {
    let rig = starting(InetConfig::default());
    let mut taken = Vec::new();
    for _ in 0..4 {
        let addr = six(&local(&rig));
        assert!(!taken.contains(&addr), "another one");
        taken.push(addr);
        say(&rig, &advertise(addr, ALL_NODES, addr, OVERRIDE, &[target_mac(PEER_MAC)]));
    }
    rig.run(9 * SECOND);
    assert_eq!(local(&rig).state, AddressState::Duplicate, "RFC 7217 §6: IDGEN_RETRIES");
    assert_eq!(six(&local(&rig)), taken[3]);
    assert_eq!(state_of(&rig, US6).expect("it is shown").state, AddressState::Preferred);
}

#[test]
fn a_duplicate_of_the_hardwares_address_silences_the_interface() {
    let mut config = InetConfig::default();
    config.nd.interface_ids = InterfaceIds::Hardware;
    let rig = starting(config);
    let addr: Ipv6Addr = "fe80::ff:fe00:1".parse().expect("an address");
    assert_eq!(six(&local(&rig)), addr, "of the MAC address");
    say(&rig, &advertise(addr, ALL_NODES, addr, OVERRIDE, &[target_mac(PEER_MAC)]));
    rig.hear();
    rig.run(60 * SECOND);
    assert_eq!(heard(&rig), [], "RFC 4862 §5.4.5");
    say(&rig, &solicit(PEER6, solicited_node(US6), US6, &[source_mac(PEER_MAC)]));
    assert_eq!(heard(&rig), []);
    assert!(rig.stack.udp_bind((US6, 5_000)).is_err());
}

#[test]
fn an_interface_without_ipv6_addresses_does_not_speak_it() {
    let rig = Rig::with(InetConfig::default());
    rig.run(60 * SECOND);
    assert_eq!(rig.hear_ip6(), []);
}
