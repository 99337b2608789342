//! A stack that chooses a link-local IPv4 address (RFC 3927) among stations that claim every one it
//! tries: when they are quiet at last, it has one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use libnet::MacAddr;
use libnetinet::InetConfig;

use super::stack::{pieces, wait};
use crate::station::{OTHER_MAC, PEER_MAC, Rig, US_MAC};
use crate::wire::{ARP, Arp, frame};

/// ARP packets, their header and what they are about put right as far as chosen.
pub(super) fn run(bytes: &[u8]) {
    let rig = Rig::configured(InetConfig::default(), |interface| interface.addr("link-local"));
    let mut tried = Ipv4Addr::UNSPECIFIED;
    for (choices, piece) in pieces(bytes) {
        tried = tried_of(&rig, tried);
        let mut arp = piece.to_vec();
        if choices & 2 == 0 && arp.len() >= 6 {
            arp[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        }
        for (mask, at) in [(4, 14), (8, 24)] {
            if choices & mask == 0 && arp.len() >= at + 4 {
                arp[at..at + 4].copy_from_slice(&tried.octets());
            }
        }
        let to = if choices & 1 == 0 { US_MAC } else { MacAddr::BROADCAST };
        rig.say(&frame(to, OTHER_MAC, ARP, &arp));
        wait(&rig, choices);
    }
    // RFC 3927 §2.2.1: after many conflicts one address is tried in a minute.
    rig.run(Duration::from_secs(100));
    rig.hear();
    let ours = address_of(&rig).expect("one that nobody has");
    let octets = ours.octets();
    assert!(octets[..2] == [169, 254] && (1..=254).contains(&octets[2]), "{ours}");
    rig.say_arp(MacAddr::BROADCAST, Arp::request(PEER_MAC, Ipv4Addr::new(169, 254, 9, 9), ours));
    let answers = rig.hear().into_iter().filter_map(|frame| frame.arp());
    assert!(answers.into_iter().any(|arp| arp.spa == ours), "it is answered for");
}

/// The address that the stack probed or announced last.
fn tried_of(rig: &Rig, before: Ipv4Addr) -> Ipv4Addr {
    let said = rig.hear().into_iter().filter_map(|frame| frame.arp());
    said.map(|arp| arp.tpa).next_back().unwrap_or(before)
}

fn address_of(rig: &Rig) -> Option<Ipv4Addr> {
    let addrs = rig.inet.interfaces().swap_remove(1).addrs;
    addrs.iter().find_map(|(cidr, _)| match cidr.addr() {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    })
}

/// Probes and claims of what is tried, and a packet that is neither.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let somebody = Ipv4Addr::new(169, 254, 7, 7);
    let probe = Arp::request(OTHER_MAC, Ipv4Addr::UNSPECIFIED, somebody).bytes();
    let claim = Arp::request(OTHER_MAC, somebody, somebody).bytes();
    let piece = |choices: u8, bytes: &[u8]| [&[bytes.len() as u8, choices], bytes].concat();
    let conflicts =
        [piece(0x81, &[]), piece(0x85, &probe), piece(0x81, &claim), piece(0x89, &claim)];
    vec![conflicts.concat(), piece(0x81, &claim).repeat(14)]
}
