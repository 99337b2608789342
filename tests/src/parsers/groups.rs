//! A whole stack, member of groups, that is sent IGMP and MLD garbage.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libnet::MacAddr;
use libnet::net::UdpSocket;

use super::stack::{piece, pieces, wait};
use crate::station::{PEER, PEER_MAC, Rig, US, echo_packet};
use crate::wire::six::{HOP_BY_HOP, ICMPV6, IPV6, Ip6, options};
use crate::wire::{IPV4, Ip, checksum, frame};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x12, 0x34);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// IGMP.
const IGMP: u8 = 2;
/// RFC 2113.
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];

fn members(rig: &Rig) -> (UdpSocket, UdpSocket) {
    let four = rig.stack.udp_bind((Ipv4Addr::UNSPECIFIED, 7)).expect("a free port");
    four.join_multicast_v4(&GROUP, &US).expect("the interface is there");
    let six = rig.stack.udp_bind((Ipv6Addr::UNSPECIFIED, 8)).expect("a free port");
    six.join_multicast_v6(&GROUP6, 2).expect("the interface is there");
    (four, six)
}

/// Answers that are due may be many, of 10 s each; then the stack is still of use.
fn finish(rig: &Rig) {
    rig.run(Duration::from_secs(15));
    for ip in rig.hear_ip().iter().filter(|ip| ip.protocol == IGMP) {
        assert_eq!((ip.ttl, ip.tos, checksum(&[&ip.data])), (1, 0xc0, 0), "{ip:?}");
        assert_eq!(ip.options, ROUTER_ALERT);
        assert!(ip.dst.is_multicast());
    }
    let bound = 1_024 + 64;
    assert!(rig.inet.groups().len() < bound, "nothing from outside makes a group");
    assert!(rig.answers(&echo_packet()), "the stack still answers");
}

/// IGMP messages.
pub(super) fn igmp(bytes: &[u8]) {
    let rig = Rig::steady();
    let member = rig.stack.udp_bind((Ipv4Addr::UNSPECIFIED, 7)).expect("a free port");
    member.join_multicast_v4(&GROUP, &US).expect("the interface is there");
    for (choices, piece) in pieces(bytes) {
        let mut message = piece.to_vec();
        if choices & 1 == 0 && message.len() >= 4 {
            message[2..4].fill(0);
            let sum = checksum(&[&message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let mut ip = Ip::new(PEER, Ipv4Addr::new(224, 0, 0, 1), IGMP, message);
        ip.ttl = 1;
        if choices & 2 == 0 {
            ip.options = ROUTER_ALERT.to_vec();
        }
        let to = MacAddr([1, 0, 0x5e, 0, 0, 1]);
        rig.say(&frame(to, PEER_MAC, IPV4, &ip.bytes()));
        wait(&rig, choices);
    }
    finish(&rig);
}

/// MLD messages.
pub(super) fn mld(bytes: &[u8]) {
    let rig = Rig::six();
    let _members = members(&rig);
    for (choices, piece) in pieces(bytes) {
        let mut message = piece.to_vec();
        let mut ip = Ip6::new(ROUTER6, ALL_NODES, ICMPV6, message.clone());
        if choices & 1 == 0 && message.len() >= 4 {
            message[2..4].fill(0);
            ip = Ip6::summed(ROUTER6, ALL_NODES, ICMPV6, message, 2);
        }
        ip.hops = if choices & 4 == 0 { 1 } else { 64 };
        if choices & 2 == 0 {
            ip = ip.behind(HOP_BY_HOP, options(&[5, 2, 0, 0]));
        }
        let to = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
        rig.say(&frame(to, PEER_MAC, IPV6, &ip.bytes()));
        wait(&rig, choices);
    }
    finish(&rig);
}

pub(super) fn igmp_seeds() -> Vec<Vec<u8>> {
    let general = [0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0];
    let specific = [0x11, 10, 0, 0, 239, 1, 2, 3, 2, 125, 0, 1, 10, 0, 0, 9];
    let two = [0x11, 10, 0, 0, 0, 0, 0, 0];
    let one = [0x11, 0, 0, 0, 0, 0, 0, 0];
    let report = [0x16, 0, 0, 0, 239, 1, 2, 3];
    let three = [0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3];
    let modern = [piece(0, &general), piece(0x80, &specific), piece(0, &three)].concat();
    let old = [piece(0, &two), piece(0x80, &report), piece(2, &one), piece(0x82, &report)];
    vec![modern, old.concat()]
}

pub(super) fn mld_seeds() -> Vec<Vec<u8>> {
    let asked = |group: Ipv6Addr, rest: &[u8]| {
        [&[130, 0, 0, 0, 3, 0xe8, 0, 0][..], &group.octets(), rest].concat()
    };
    let any = Ipv6Addr::UNSPECIFIED;
    let source = [&[2, 125, 0, 1][..], &ROUTER6.octets()].concat();
    let modern = [asked(any, &[2, 125, 0, 0]), asked(GROUP6, &source)];
    let report = [&[131, 0, 0, 0, 0, 0, 0, 0][..], &GROUP6.octets()].concat();
    let old = [asked(any, &[]), report];
    [modern, old].map(|all| all.iter().map(|m| piece(0x80, m)).collect::<Vec<_>>().concat()).into()
}
