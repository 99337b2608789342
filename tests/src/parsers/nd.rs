//! A stack that looks for routers, or is one, and is sent garbage for neighbour discovery.

use std::net::Ipv6Addr;
use std::time::Duration;

use libnet::MacAddr;
use libnet::iface::Advertise;
use libnetinet::InetConfig;

use super::stack::{pieces, wait};
use crate::station::{PEER, PEER_MAC, Rig, US, US_MAC, echo_packet};
use crate::wire::frame;
use crate::wire::nd::{
    self, ALL_NODES, AUTONOMOUS, ON_LINK, OVERRIDE, SOLICITED, group_mac, solicited_node,
};
use crate::wire::six::{IPV6, Ip6};

/// The stack's own address, beside those that it makes.
const OURS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The station's.
const THEIRS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// Messages of neighbour discovery: the type and what follows the checksum are the input's, their
/// headers are put right as far as chosen.
pub(super) fn run(bytes: &[u8]) {
    let is_router = bytes.first().is_some_and(|first| first & 1 == 1);
    let mut config = InetConfig::default();
    config.nd.temporary.enabled = true;
    let rig = Rig::configured(config, |interface| {
        let interface = interface.addr(&format!("{US}/24")).addr(&format!("{OURS}/64"));
        if is_router { interface.advertise(Advertise::default()) } else { interface.addr("auto") }
    });
    let index = rig.inet.interfaces()[1].index;
    rig.inet.add_neighbour(index, PEER.into(), PEER_MAC).expect("a neighbour fits");
    for (choices, piece) in pieces(bytes.get(1..).unwrap_or_default()) {
        let Some((&ty, rest)) = piece.split_first() else { continue };
        say(&rig, choices, ty, rest);
        wait(&rig, choices);
    }
    check(&rig);
}

fn say(rig: &Rig, choices: u8, ty: u8, rest: &[u8]) {
    let src = if choices & 1 == 0 { THEIRS } else { Ipv6Addr::UNSPECIFIED };
    let dst = match choices >> 1 & 3 {
        0 => OURS,
        1 => ALL_NODES,
        2 => solicited_node(OURS),
        _ => nd::ALL_ROUTERS,
    };
    let ty = if choices & 8 == 0 { nd::RS + ty % 5 } else { ty };
    let data = [&[ty, 0, 0, 0][..], rest].concat();
    let mut ip = Ip6::summed(src, dst, crate::wire::six::ICMPV6, data, 2);
    ip.hops = if choices & 16 == 0 { 255 } else { 64 };
    let to = if dst.is_multicast() { group_mac(dst) } else { US_MAC };
    rig.say(&frame(to, PEER_MAC, IPV6, &ip.bytes()));
}

/// Is the stack still of use, and within its bounds?
fn check(rig: &Rig) {
    rig.run(Duration::from_secs(2));
    // Everything that it says is read, and held against the formats.
    rig.hear_ip6().iter().for_each(|ip| drop(nd::Heard::of(ip)));
    let bounds = InetConfig::default().nd;
    let entry = rig.inet.interfaces().swap_remove(1);
    assert!(entry.addresses.len() <= bounds.max_addresses + 3, "{:?}", entry.addresses);
    assert!(rig.inet.routers().len() <= bounds.max_routers);
    assert!(rig.answers(&echo_packet()), "the stack still answers");
}

/// One piece of an input: its choices and a message from its type on.
fn piece(choices: u8, ip: &Ip6) -> Vec<u8> {
    let mut message = vec![ip.data[0] - nd::RS];
    message.extend(&ip.data[4..]);
    [&[message.len() as u8, choices][..], &message].concat()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    let prefix = nd::prefix("2001:db8::/64", ON_LINK | AUTONOMOUS, 600, 300);
    let dns = [&[25, 3, 0, 0, 0, 0, 0, 60][..], &THEIRS.octets()].concat();
    let route = [24, 2, 48, 0, 0, 0, 0, 60, 0x20, 1, 0xd, 0xb8, 0, 9, 0, 0].to_vec();
    let search = [31, 2, 0, 0, 0, 0, 0, 60, 3, b'l', b'a', b'b', 0, 0, 0, 0].to_vec();
    let options = [nd::source_mac(mac), prefix, nd::mtu(1_400), route, dns, search];
    let router = nd::router(THEIRS, 60, &options);
    let asked = nd::solicit(THEIRS, OURS, OURS, &[nd::source_mac(mac)]);
    let told = nd::advertise(THEIRS, OURS, THEIRS, SOLICITED | OVERRIDE, &[nd::target_mac(mac)]);
    let far = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
    let redirect = nd::redirect(THEIRS, OURS, THEIRS, far, &[nd::target_mac(mac)]);
    let wants = nd::message(nd::RS, THEIRS, nd::ALL_ROUTERS, &[0; 4], &[nd::source_mac(mac)]);
    let host = [&[0][..], &piece(2, &router), &piece(0, &redirect), &piece(0, &told)].concat();
    let both = [&[0][..], &piece(4, &asked), &piece(5, &asked), &piece(2, &told)].concat();
    let as_router =
        [&[1][..], &piece(6, &wants), &piece(2, &router), &piece(0x80, &asked)].concat();
    vec![host, both, as_router]
}
