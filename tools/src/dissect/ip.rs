//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, and what they carry.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice};
use libnet::checksum::{Sum, checksum};

use super::{Context, be16, be32, cut, icmp, icmp6, tcp, udp};

/// A transport packet with what its checksum and its printed line need of IP.
pub(super) struct Transport<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    /// What was captured of it.
    pub(super) bytes: &'a [u8],
    /// How long it is, in bytes, by the IP header.
    pub(super) len: usize,
    /// It is the first fragment of several: its own lengths and checksum cannot be checked.
    pub(super) is_fragment: bool,
}

impl Transport<'_> {
    /// Was all of it captured, so that its checksum can be checked?
    pub(super) fn is_whole(&self) -> bool {
        !self.is_fragment && self.bytes.len() == self.len
    }

    /// The sum over pseudo-header and packet: its checksum in host order is right if this is 0.
    pub(super) fn verify(&self) -> u16 {
        let mut sum = self.pseudo_header();
        sum.add(self.bytes);
        sum.finish()
    }

    /// What the checksum field at `at` should hold.
    pub(super) fn expected(&self, at: usize) -> u16 {
        let mut sum = self.pseudo_header();
        sum.add(&self.bytes[..at.min(self.bytes.len())]);
        sum.add(&[0, 0]);
        sum.add(self.bytes.get(at + 2..).unwrap_or_default());
        sum.finish()
    }

    fn pseudo_header(&self) -> Sum {
        let mut sum = Sum::new();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                sum.add(&src.octets());
                sum.add(&dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                sum.add(&src.octets());
                sum.add(&dst.octets());
            }
            _ => {}
        }
        sum.add_u16(u16::from(self.protocol));
        sum.add_u16((self.len >> 16) as u16);
        sum.add_u16(self.len as u16);
        sum
    }
}

pub(super) fn v4(context: &mut Context<'_>, packet: &[u8], out: &mut String) -> fmt::Result {
    let Ok(header) = Ipv4HeaderSlice::from_slice(packet) else {
        return match packet.first() {
            Some(byte) if byte >> 4 != 4 => write!(out, "version {} in an IPv4 frame", byte >> 4),
            Some(byte) if byte & 0xf < 5 => write!(out, "bad-hlen {}", (byte & 0xf) * 4),
            _ => out.write_str("[|ip]"),
        };
    };
    let header_len = header.slice().len();
    let total_len = usize::from(header.total_len());
    // What an ICMP error quotes is cut by its nature.
    if packet.len() < total_len && context.depth == 0 {
        write!(out, "truncated-ip - {} bytes missing! ", total_len - packet.len())?;
    }
    if context.detail.verbosity > 0 {
        v4_fields(&header, out)?;
    }
    if total_len < header_len {
        return write!(out, "bad-len {total_len}");
    }
    let bytes = &cut(packet, total_len)[header_len..];
    let (src, dst) = (header.source_addr().into(), header.destination_addr().into());
    let protocol = header.protocol();
    let offset = header.fragments_offset().byte_offset();
    if offset > 0 {
        return write!(out, "{src} > {dst}: {}", protocol_name(protocol));
    }
    let is_fragment = header.more_fragments();
    let len = total_len - header_len;
    let transport = Transport { src, dst, protocol: protocol.0, bytes, len, is_fragment };
    carried(context, &transport, out)
}

pub(super) fn v6(context: &mut Context<'_>, packet: &[u8], out: &mut String) -> fmt::Result {
    let Ok(header) = Ipv6HeaderSlice::from_slice(packet) else {
        return match packet.first() {
            Some(byte) if byte >> 4 != 6 => write!(out, "version {} in an IPv6 frame", byte >> 4),
            _ => out.write_str("[|ip6]"),
        };
    };
    let payload_len = usize::from(header.payload_length());
    let rest = &packet[header.header_len()..];
    if rest.len() < payload_len && context.depth == 0 {
        write!(out, "truncated-ip6 - {} bytes missing! ", payload_len - rest.len())?;
    }
    if context.detail.verbosity > 0 {
        v6_fields(&header, out)?;
    }
    let (src, dst) = (header.source_addr().into(), header.destination_addr().into());
    let mut bytes = cut(rest, payload_len);
    let mut len = payload_len;
    let mut protocol = header.next_header();
    let mut notes = String::new();
    let mut is_fragment = false;
    while let Some(extension) = Extension::parse(protocol, bytes) {
        let Some(extension) = extension else {
            return write!(out, "{src} > {dst}: {notes}[|{}]", protocol_name(protocol));
        };
        notes.push_str(&extension.note);
        is_fragment |= extension.fragment.is_some();
        if extension.fragment.is_some_and(|(offset, _)| offset > 0) {
            return write!(out, "{src} > {dst}: {}", notes.trim_end());
        }
        protocol = extension.next;
        bytes = &bytes[extension.bytes..];
        len = len.saturating_sub(extension.bytes);
    }
    let transport = Transport { src, dst, protocol: protocol.0, bytes, len, is_fragment };
    if notes.is_empty() {
        return carried(context, &transport, out);
    }
    let mut line = String::new();
    carried(context, &transport, &mut line)?;
    // The notes stand between the addresses and what follows them.
    match line.split_once(": ") {
        Some((ends, rest)) => write!(out, "{ends}: {notes}{rest}"),
        None => write!(out, "{notes}{line}"),
    }
}

/// What IP carries, with the addresses in front, or address and port.
fn carried(context: &mut Context<'_>, packet: &Transport<'_>, out: &mut String) -> fmt::Result {
    let (src, dst) = (packet.src, packet.dst);
    match (packet.protocol, src) {
        (6, _) => return tcp::line(context, packet, out),
        (17, _) => return udp::line(context, packet, out),
        _ => {}
    }
    write!(out, "{src} > {dst}: ")?;
    match (packet.protocol, src) {
        (1, IpAddr::V4(_)) => icmp::line(context, packet, out),
        (58, IpAddr::V6(_)) => icmp6::line(context, packet, out),
        (59, IpAddr::V6(_)) => write!(out, "no next header, length {}", packet.len),
        (2, _) => igmp(packet, out),
        (other, _) => write!(out, "{}, length {}", protocol_name(IpNumber(other)), packet.len),
    }
}

fn igmp(packet: &Transport<'_>, out: &mut String) -> fmt::Result {
    let group = be32(packet.bytes, 4).map(std::net::Ipv4Addr::from_bits);
    let (Some(&kind), Some(group)) = (packet.bytes.first(), group) else {
        return out.write_str("[|igmp]");
    };
    match kind {
        0x11 if group.is_unspecified() => out.write_str("igmp query"),
        0x11 => write!(out, "igmp query, group {group}"),
        0x12 => write!(out, "igmp v1 report {group}"),
        0x16 => write!(out, "igmp v2 report {group}"),
        0x17 => write!(out, "igmp leave {group}"),
        0x22 => write!(
            out,
            "igmp v3 report, {} group record(s)",
            be16(packet.bytes, 6).unwrap_or_default()
        ),
        other => write!(out, "igmp type 0x{other:02x}, length {}", packet.len),
    }
}

fn v4_fields(header: &Ipv4HeaderSlice<'_>, out: &mut String) -> fmt::Result {
    let tos = header.slice()[1];
    write!(out, "(tos 0x{tos:x}")?;
    match tos & 3 {
        1 => out.write_str(",ECT(1)")?,
        2 => out.write_str(",ECT(0)")?,
        3 => out.write_str(",CE")?,
        _ => {}
    }
    let flags = match (header.dont_fragment(), header.more_fragments()) {
        (false, false) => "none",
        (true, false) => "DF",
        (false, true) => "+",
        (true, true) => "+, DF",
    };
    write!(
        out,
        ", ttl {}, id {}, offset {}, flags [{flags}], proto {} ({}), length {}",
        header.ttl(),
        header.identification(),
        header.fragments_offset().byte_offset(),
        protocol_title(header.protocol()),
        header.protocol().0,
        header.total_len(),
    )?;
    if !header.options().is_empty() {
        out.write_str(", options (")?;
        v4_options(header.options(), out)?;
        out.write_str(")")?;
    }
    if checksum(header.slice()) != 0 {
        let mut right = header.slice().to_vec();
        right[10..12].fill(0);
        let (found, right) = (header.header_checksum(), checksum(&right));
        write!(out, ", bad cksum {found:x} (->{right:x})!")?;
    }
    out.write_str(")\n    ")
}

fn v4_options(mut options: &[u8], out: &mut String) -> fmt::Result {
    let mut separator = "";
    while let Some(&kind) = options.first() {
        out.write_str(separator)?;
        separator = ",";
        let len = match kind {
            0 => return out.write_str("EOL"),
            1 => 1,
            _ => options.get(1).copied().map_or(0, usize::from),
        };
        match kind {
            1 => out.write_str("NOP")?,
            7 => out.write_str("RR")?,
            68 => out.write_str("timestamp")?,
            131 => out.write_str("LSRR")?,
            137 => out.write_str("SSRR")?,
            148 => out.write_str("RA")?,
            other => write!(out, "unknown {other}")?,
        }
        if kind != 1 && (len < 2 || len > options.len()) {
            return write!(out, " [bad length {len}]");
        }
        options = &options[len..];
    }
    Ok(())
}

fn v6_fields(header: &Ipv6HeaderSlice<'_>, out: &mut String) -> fmt::Result {
    out.write_str("(")?;
    if header.traffic_class() != 0 {
        write!(out, "class 0x{:02x}, ", header.traffic_class())?;
    }
    if header.flow_label().value() != 0 {
        write!(out, "flowlabel 0x{:05x}, ", header.flow_label().value())?;
    }
    write!(
        out,
        "hlim {}, next-header {} ({}) payload length: {}) ",
        header.hop_limit(),
        protocol_title(header.next_header()),
        header.next_header().0,
        header.payload_length()
    )
}

/// An IPv6 extension header.
struct Extension {
    note: String,
    next: IpNumber,
    bytes: usize,
    /// Offset in bytes, and whether more follow.
    fragment: Option<(u16, bool)>,
}

impl Extension {
    /// `None`: it is not one. `Some(None)`: it ends early.
    fn parse(protocol: IpNumber, bytes: &[u8]) -> Option<Option<Self>> {
        let (name, len) = match protocol.0 {
            0 => ("HBH", None),
            43 => ("srcrt", None),
            60 => ("DSTOPT", None),
            44 => ("frag", Some(8)),
            _ => return None,
        };
        let len = len.or_else(|| bytes.get(1).map(|&units| usize::from(units) * 8 + 8));
        let Some(header) = len.and_then(|len| bytes.get(..len)) else { return Some(None) };
        let mut note = format!("{name} ");
        let mut fragment = None;
        if protocol.0 == 44 {
            let word = be16(header, 2).unwrap_or_default();
            let (offset, more, bytes) = (word & !7, word & 1 != 0, bytes.len() - header.len());
            note = format!("frag ({offset}|{bytes}) ");
            fragment = Some((offset, more));
        }
        Some(Some(Extension { note, next: IpNumber(header[0]), bytes: header.len(), fragment }))
    }
}

/// As in a line of its own: lower case.
fn protocol_name(protocol: IpNumber) -> String {
    match protocol.keyword_str() {
        Some(name) if !name.is_empty() => name.to_lowercase(),
        _ => format!("ip-proto-{}", protocol.0),
    }
}

/// As in the header's fields.
fn protocol_title(protocol: IpNumber) -> &'static str {
    match protocol.0 {
        0 => "Options",
        44 => "Fragment",
        58 => "ICMPv6",
        _ => protocol.keyword_str().unwrap_or("unknown"),
    }
}
