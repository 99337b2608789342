//! Frames as text, one line each, in tcpdump's formats.
//!
//! Every parser here takes what somebody else wrote: it never panics, never reads past the frame,
//! and marks what ends early as `[|layer]`.

use std::fmt::{self, Write as _};

use etherparse::Ethernet2Slice;
use libnet::EtherType;
use libnet::ethernet::MacAddr;
use libnet::link::Medium;

mod arp;
pub mod hex;
mod icmp;
mod icmp6;
mod ip;
pub mod summary;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use tcp::Flows;

/// What a line holds beside the packet itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Detail {
    /// The link header (`-e`).
    pub link_header: bool,
    /// 0: one line. 1 (`-v`): IP header fields and checksums, on a line of their own.
    pub verbosity: u8,
    /// TCP sequence numbers as they are (`-S`), not relative to the connection's first.
    pub absolute_seqs: bool,
}

/// Turns frames into lines, and remembers the connections that they belong to.
#[derive(Debug)]
pub struct Dissector {
    detail: Detail,
    flows: Flows,
}

/// What the parsers of the layers hand on to each other.
struct Context<'a> {
    detail: Detail,
    flows: &'a mut Flows,
    /// How often a packet was found within a packet.
    depth: u8,
}

/// A packet within an ICMP error within an ICMP error says nothing new.
const MAX_DEPTH: u8 = 1;

impl Dissector {
    /// A dissector that has seen nothing yet.
    pub fn new(detail: Detail) -> Self {
        Dissector { detail, flows: Flows::default() }
    }

    /// Appends a frame's line to `out`, without a newline at its end. `original_len` is how long
    /// the frame was before it was cut, in bytes.
    pub fn line(&mut self, medium: Medium, frame: &[u8], original_len: usize, out: &mut String) {
        let depth = 0;
        let mut context = Context { detail: self.detail, flows: &mut self.flows, depth };
        let written = match medium {
            Medium::Ethernet => ethernet(&mut context, frame, original_len, out),
            _ => bare_ip(&mut context, frame, out),
        };
        written.expect("writing to a String does not fail");
    }
}

fn ethernet(
    context: &mut Context<'_>,
    frame: &[u8],
    wire_len: usize,
    out: &mut String,
) -> fmt::Result {
    let Ok(header) = Ethernet2Slice::from_slice_without_fcs(frame) else {
        return out.write_str("[|ether]");
    };
    let mut kind = EtherType(header.ether_type().0);
    let mut payload = header.payload_slice();
    let with_header = context.detail.link_header;
    if with_header {
        let (src, dst) = (MacAddr(header.source()), MacAddr(header.destination()));
        write!(out, "{src} > {dst}, ")?;
        ethertype(kind, out)?;
        write!(out, ", length {wire_len}: ")?;
    }
    while kind == EtherType::VLAN {
        let Some((&[a, b, c, d], rest)) = payload.split_first_chunk() else {
            return out.write_str("[|vlan]");
        };
        let tag = u16::from_be_bytes([a, b]);
        kind = EtherType(u16::from_be_bytes([c, d]));
        payload = rest;
        if with_header {
            write!(out, "vlan {}, p {}", tag & 0xfff, tag >> 13)?;
            out.write_str(if tag & 0x1000 == 0 { ", " } else { ", DEI, " })?;
            ethertype(kind, out)?;
            out.write_str(", ")?;
        }
    }
    match kind {
        EtherType::ARP => {
            if !with_header {
                out.write_str("ARP, ")?;
            }
            arp::line(context, payload, out)
        }
        EtherType::IPV4 => {
            if !with_header {
                out.write_str("IP ")?;
            }
            ip::v4(context, payload, out)
        }
        EtherType::IPV6 => {
            if !with_header {
                out.write_str("IP6 ")?;
            }
            ip::v6(context, payload, out)
        }
        other => unknown(other, &header, wire_len, with_header, out),
    }
}

fn unknown(
    kind: EtherType,
    header: &Ethernet2Slice<'_>,
    wire_len: usize,
    with_header: bool,
    out: &mut String,
) -> fmt::Result {
    if with_header {
        return write!(out, "{} bytes of payload", header.payload_slice().len());
    }
    let (src, dst) = (MacAddr(header.source()), MacAddr(header.destination()));
    write!(out, "{src} > {dst}, ")?;
    ethertype(kind, out)?;
    write!(out, ", length {wire_len}")
}

fn bare_ip(context: &mut Context<'_>, packet: &[u8], out: &mut String) -> fmt::Result {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            out.write_str("IP ")?;
            ip::v4(context, packet, out)
        }
        Some(6) => {
            out.write_str("IP6 ")?;
            ip::v6(context, packet, out)
        }
        Some(other) => write!(out, "IP version {other}?"),
        None => out.write_str("[|ip]"),
    }
}

fn ethertype(kind: EtherType, out: &mut String) -> fmt::Result {
    let name = match kind {
        EtherType::IPV4 => "IPv4",
        EtherType::ARP => "ARP",
        EtherType::IPV6 => "IPv6",
        EtherType::VLAN => "802.1Q",
        EtherType(number) if number < 0x600 => return write!(out, "802.3, payload {number}"),
        _ => "Unknown",
    };
    write!(out, "ethertype {name} (0x{:04x})", kind.0)
}

/// The bytes of a layer that says it has `claimed`, as far as they were captured.
fn cut(bytes: &[u8], claimed: usize) -> &[u8] {
    &bytes[..bytes.len().min(claimed)]
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair: &[u8; 2] = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*pair))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}
