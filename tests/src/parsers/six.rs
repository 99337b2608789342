//! A whole stack that is sent IPv6 garbage, as the targets for IPv4 beside this do.

use std::time::Duration;

use super::stack::{piece, pieces, wait};
use crate::station::{PEER_MAC, PEER6, Rig, US_MAC, US6, echo6_packet};
use crate::wire::six::{
    DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMPV6, IPV6, Ip6, ROUTING, fragment, options,
    routing,
};
use crate::wire::{Icmp, frame};

/// Is the stack still of use? Errors that it owed may have used up those it may send for now.
fn finish(rig: &Rig) {
    rig.run(Duration::from_secs(2));
    rig.hear();
    assert!(rig.answers6(&echo6_packet()), "the stack still answers");
}

/// Chains of extension headers: each piece a packet, its header put right as far as chosen.
pub(super) fn ipv6(bytes: &[u8]) {
    let rig = Rig::six();
    for (choices, piece) in pieces(bytes) {
        let mut ip = piece.to_vec();
        if choices & 1 == 0 {
            // The first byte names what the others are.
            let (&next, data) = piece.split_first().unwrap_or((&ICMPV6, b""));
            ip = Ip6::new(PEER6, US6, next, data.to_vec()).bytes();
        } else if choices & 2 == 0 && ip.len() >= 40 {
            ip[0] = 0x60 | ip[0] & 15;
            let payload = (ip.len() - 40) as u16;
            ip[4..6].copy_from_slice(&payload.to_be_bytes());
            ip[24..40].copy_from_slice(&US6.octets());
        }
        rig.say(&frame(US_MAC, PEER_MAC, IPV6, &ip));
        wait(&rig, choices);
    }
    finish(&rig);
}

/// ICMPv6 messages, some about what a socket has sent, some of neighbour discovery.
pub(super) fn icmp6(bytes: &[u8]) {
    let rig = Rig::six();
    let udp = rig.stack.udp_bind((US6, 5_000)).expect("a free port");
    udp.connect((PEER6, 7)).expect("there is a route");
    udp.send(b"hello").expect("it is taken");
    rig.run(Duration::from_millis(1));
    let sent = rig.hear_ip6().first().map(Ip6::bytes).unwrap_or_default();
    for (choices, piece) in pieces(bytes) {
        let (&[ty, code, a, b, c, d], data) =
            piece.split_first_chunk::<6>().unwrap_or((&[0; 6], b""));
        let mut icmp = Icmp { ty, code, rest: [a, b, c, d], data: data.to_vec() };
        if choices & 1 == 0 {
            icmp.data = [&sent, data].concat();
        }
        let mut ip = icmp.packet6(PEER6, US6);
        if choices & 2 != 0 {
            ip.data[3] ^= 1;
        }
        if choices & 4 != 0 {
            ip.hops = 255;
        }
        rig.say_ip6(&ip);
        wait(&rig, choices);
    }
    finish(&rig);
}

pub(super) fn ipv6_seeds() -> Vec<Vec<u8>> {
    let echo = echo6_packet();
    let half = |range: std::ops::Range<usize>, more: bool| {
        let part = Ip6 { data: echo.data[range.clone()].to_vec(), ..echo.clone() };
        part.behind(FRAGMENT, fragment(range.start as u16, more, 7))
    };
    let all = [
        echo.clone(),
        echo.clone().behind(DESTINATION_OPTIONS, options(&[0x1e, 1, 0])),
        echo.clone().behind(ROUTING, routing(0, 1)).behind(HOP_BY_HOP, options(&[5, 2, 0, 0])),
        half(0..16, true),
        half(16..echo.data.len(), false),
        echo.clone().behind(FRAGMENT, fragment(0, false, 9)),
    ];
    let named = |ip: &Ip6| piece(0, &[&[ip.next], &ip.data[..]].concat());
    let whole = all.iter().map(|ip| piece(1, &ip.bytes())).collect::<Vec<_>>().concat();
    vec![all.iter().map(named).collect::<Vec<_>>().concat(), whole]
}

pub(super) fn icmp6_seeds() -> Vec<Vec<u8>> {
    let unreachable = [1, 4, 0, 0, 0, 0];
    let too_big = [2, 0, 0, 0, 5, 0];
    let problem = [4, 1, 0, 0, 0, 6];
    let echo = [128, 0, 0, 7, 0, 1, 1, 2, 3];
    let mut solicitation = vec![135, 0, 0, 0, 0, 0];
    solicitation.extend(US6.octets());
    solicitation.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    let errors = [piece(0, &unreachable), piece(0, &too_big), piece(0, &problem)].concat();
    vec![errors, [piece(1, &echo), piece(5, &solicitation)].concat()]
}
