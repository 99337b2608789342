//! ARP (RFC 826), with the probes and announcements of RFC 5227 by their names.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use etherparse::ArpPacketSlice;
use libnet::ethernet::MacAddr;

use super::Context;

pub(super) fn line(context: &Context<'_>, packet: &[u8], out: &mut String) -> fmt::Result {
    let Ok(arp) = ArpPacketSlice::from_slice(packet) else {
        return out.write_str("[|arp]");
    };
    let (Some(ours), Some(theirs)) = (side(&arp, Side::Sender), side(&arp, Side::Target)) else {
        return write!(
            out,
            "hardware type {}, protocol 0x{:04x}, operation {}, length {}",
            arp.hw_addr_type().0,
            arp.proto_addr_type().0,
            arp.operation().0,
            packet.len()
        );
    };
    if context.detail.verbosity > 0 {
        out.write_str("Ethernet (len 6), IPv4 (len 4), ")?;
    }
    match arp.operation().0 {
        1 => request(ours, theirs, out)?,
        2 => write!(out, "Reply {} is-at {}", ours.1, ours.0)?,
        3 => write!(out, "Reverse Request who-is {} tell {}", theirs.0, ours.0)?,
        4 => write!(out, "Reverse Reply {} at {}", theirs.0, theirs.1)?,
        other => write!(out, "operation {other}, {} tell {}", theirs.1, ours.1)?,
    }
    write!(out, ", length {}", packet.len())
}

enum Side {
    Sender,
    Target,
}

fn side(arp: &ArpPacketSlice<'_>, side: Side) -> Option<(MacAddr, Ipv4Addr)> {
    let (mac, ip) = match side {
        Side::Sender => (arp.sender_hw_addr(), arp.sender_protocol_addr()),
        Side::Target => (arp.target_hw_addr(), arp.target_protocol_addr()),
    };
    let is_ethernet = arp.hw_addr_type().0 == 1 && arp.proto_addr_type().0 == 0x0800;
    let mac: [u8; 6] = mac.try_into().ok().filter(|_| is_ethernet)?;
    let ip: [u8; 4] = ip.try_into().ok()?;
    Some((MacAddr(mac), Ipv4Addr::from(ip)))
}

fn request(
    ours: (MacAddr, Ipv4Addr),
    theirs: (MacAddr, Ipv4Addr),
    out: &mut String,
) -> fmt::Result {
    // RFC 5227 §1.1: a probe has no sender address, an announcement asks for its own.
    if ours.1.is_unspecified() {
        return write!(out, "Probe {}", theirs.1);
    }
    if ours.1 == theirs.1 {
        return write!(out, "Announcement {}", ours.1);
    }
    write!(out, "Request who-has {}", theirs.1)?;
    if theirs.0 != MacAddr([0; 6]) && theirs.0 != MacAddr::BROADCAST {
        write!(out, " ({})", theirs.0)?;
    }
    write!(out, " tell {}", ours.1)
}
