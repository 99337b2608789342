//! Makes a packet what a link can carry: cuts super-segments, completes checksums.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::checksum::{self, Sum};
use crate::ethernet::{EtherType, EthernetHeader, MacAddr};
use crate::link::{LinkInfo, Medium};
use crate::packet::{Checksum, Gso, GsoKind, HEAD_ROOM, Packet};
use crate::socket::Protocol;

/// Why a packet cannot be made what a link carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Checksum or segmentation metadata do not fit the packet, or its segments the link's MTU.
    #[error("offload metadata do not fit the packet")]
    BadOffload,
    /// Longer than the link takes, and nothing says how to cut it.
    #[error("the frame is longer than the link takes")]
    TooLong,
}

/// Appends to `out` what of `packet` the link takes: itself, or the pieces it is to be cut into.
/// Payload is shared, not copied.
///
/// # Errors
/// [`Unfit`]; nothing is appended then.
pub fn fit_to_link(
    packet: Packet,
    link: &LinkInfo,
    out: &mut VecDeque<Packet>,
) -> Result<(), Unfit> {
    let header = link_header_bytes(&packet, link.medium);
    let wire_bytes = header + link.mtu as usize;
    if let Some(gso) = packet.gso {
        let longest = wire_bytes.max(link.offload.max_frame_bytes as usize);
        if !(takes_whole(link, gso.kind) && packet.len() <= longest) {
            return cut(packet, gso, link, out);
        }
        // The other end does not trust us: what it would refuse is refused here.
        Layout::of(&packet, gso, link.medium)?;
    } else if packet.len() > wire_bytes {
        return Err(Unfit::TooLong);
    }
    out.push_back(complete(packet, link)?);
    Ok(())
}

/// Cuts a super-segment that begins with its IP header into the packets that it stands for, their
/// checksums complete: for who must treat each of them by itself, as a router that fragments.
///
/// # Errors
/// [`Unfit`]; nothing is appended to `out` then.
pub fn cut_into_packets(packet: Packet, out: &mut VecDeque<Packet>) -> Result<(), Unfit> {
    let mut plain = LinkInfo::ethernet("", "", MacAddr::ZERO, u32::from(u16::MAX));
    plain.medium = Medium::Ip;
    fit_to_link(packet, &plain, out)
}

fn takes_whole(link: &LinkInfo, kind: GsoKind) -> bool {
    match kind {
        GsoKind::Tcp4 | GsoKind::Tcp6 => link.offload.tcp_segmentation,
        GsoKind::Udp => link.offload.udp_segmentation,
    }
}

/// Completes the checksum unless the link does.
fn complete(mut packet: Packet, link: &LinkInfo) -> Result<Packet, Unfit> {
    if let Checksum::Partial { start, field } = packet.checksum {
        let end = usize::from(start) + usize::from(field) + 2;
        let bounded = end <= packet.len();
        if !bounded || (!link.offload.partial_checksum && !packet.complete_checksum()) {
            return Err(Unfit::BadOffload);
        }
    }
    Ok(packet)
}

/// Cuts a super-segment into pieces of at most the link's MTU.
fn cut(packet: Packet, gso: Gso, link: &LinkInfo, out: &mut VecDeque<Packet>) -> Result<(), Unfit> {
    let layout = Layout::of(&packet, gso, link.medium)?;
    if layout.ip_bytes_of(usize::from(gso.segment_bytes.get())) > link.mtu as usize {
        return Err(Unfit::BadOffload);
    }
    layout.check_sum(&packet)?;
    let mut pieces = Cutter::new(packet, layout, gso);
    if pieces.count() > MAX_PIECES || (pieces.count() > 1 && layout.has_control_flags()) {
        return Err(Unfit::BadOffload);
    }
    let first = out.len();
    while let Some(piece) = pieces.next_piece() {
        match complete(piece, link) {
            Ok(piece) => out.push_back(piece),
            Err(error) => {
                out.truncate(first);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Pieces of one packet at most: 64 KiB at the smallest IPv4 MTU, 68 bytes, make fewer.
const MAX_PIECES: usize = 4_096;
/// Ethernet with a tag, the longest IPv4 header or IPv6 with extensions, the longest TCP header.
const MAX_HEADERS: usize = 18 + 60 + 60;

const TCP_FIN: u8 = 0x01;
const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_PSH: u8 = 0x08;
const TCP_URG: u8 = 0x20;
const TCP_CWR: u8 = 0x80;

fn link_header_bytes(packet: &Packet, medium: Medium) -> usize {
    let mut ethertype = [0; 2];
    match medium {
        Medium::Ip => 0,
        Medium::Ethernet => {
            packet.copy_to(12, &mut ethertype);
            let tag = u16::from_be_bytes(ethertype) == EtherType::VLAN.0;
            EthernetHeader::LEN + if tag { 4 } else { 0 }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// Where the headers of a super-segment are, checked against each other.
///
/// ```text
///  0        ip        transport   payload
/// +--------+---------+-----------+----------
/// | link   | IP      | TCP, UDP  | …
/// +--------+---------+-----------+----------
/// ```
#[derive(Clone, Copy)]
struct Layout {
    headers: [u8; MAX_HEADERS],
    version: Version,
    kind: GsoKind,
    ip: usize,
    transport: usize,
    payload: usize,
    payload_bytes: usize,
}

impl Layout {
    fn of(packet: &Packet, gso: Gso, medium: Medium) -> Result<Layout, Unfit> {
        Layout::parse(packet, gso, medium).ok_or(Unfit::BadOffload)
    }

    fn parse(packet: &Packet, gso: Gso, medium: Medium) -> Option<Layout> {
        let mut headers = [0; MAX_HEADERS];
        let have = packet.copy_to(0, &mut headers);
        let h = &headers[..have];
        let ip = link_header_bytes(packet, medium);
        let version = match h.get(ip)? >> 4 {
            4 => Version::V4,
            6 => Version::V6,
            _ => return None,
        };
        let ethertype = match version {
            Version::V4 => EtherType::IPV4,
            Version::V6 => EtherType::IPV6,
        };
        if medium == Medium::Ethernet && be16(h, ip - 2)? != ethertype.0 {
            return None;
        }
        let ip_bytes = packet.len() - ip;
        let (protocol, transport) = match version {
            Version::V4 => ipv4_transport(h, ip, ip_bytes)?,
            Version::V6 => ipv6_transport(h, ip, ip_bytes)?,
        };
        let transport_bytes = packet.len().checked_sub(transport)?;
        let header_bytes = match (gso.kind, version, protocol) {
            (GsoKind::Tcp4, Version::V4, Protocol::TCP)
            | (GsoKind::Tcp6, Version::V6, Protocol::TCP) => {
                usize::from(*h.get(transport + 12)? >> 4) * 4
            }
            (GsoKind::Udp, _, Protocol::UDP) => {
                (usize::from(be16(h, transport + 4)?) == transport_bytes).then_some(8)?
            }
            _ => return None,
        };
        let least = if gso.kind == GsoKind::Udp { 8 } else { 20 };
        let payload = transport + header_bytes;
        if header_bytes < least || payload > have {
            return None;
        }
        let payload_bytes = packet.len() - payload;
        let layout =
            Layout { headers, version, kind: gso.kind, ip, transport, payload, payload_bytes };
        layout.agrees_with(packet.checksum).then_some(layout)
    }

    /// A partial checksum must be the transport's.
    fn agrees_with(&self, checksum: Checksum) -> bool {
        match checksum {
            Checksum::Partial { start, field } => {
                usize::from(start) == self.transport && usize::from(field) == self.sum_field()
            }
            Checksum::Unverified | Checksum::Trusted => true,
        }
    }

    /// Offset of the checksum field in the transport header.
    fn sum_field(&self) -> usize {
        if self.kind == GsoKind::Udp { 6 } else { 16 }
    }

    fn ip_bytes_of(&self, payload_bytes: usize) -> usize {
        self.payload - self.ip + payload_bytes
    }

    /// SYN and RST stand alone: no segment of a run may have them.
    fn has_control_flags(&self) -> bool {
        self.kind != GsoKind::Udp && self.headers[self.transport + 13] & (TCP_SYN | TCP_RST) != 0
    }

    /// UDP over IPv4 may go without a checksum (RFC 768).
    fn without_sum(&self, packet: &Packet) -> bool {
        self.kind == GsoKind::Udp
            && self.version == Version::V4
            && packet.checksum == Checksum::Unverified
            && be16(&self.headers, self.transport + 6) == Some(0)
    }

    /// Pieces get new checksums; a wrong one of the whole must not become right by that.
    fn check_sum(&self, packet: &Packet) -> Result<(), Unfit> {
        if packet.checksum != Checksum::Unverified || self.without_sum(packet) {
            return Ok(());
        }
        let mut sum = packet.sum_from(self.transport);
        let seed = self.pseudo_sum(packet.len() - self.transport);
        // The transport part may be odd; the seed is a sum already, so only the fold matters.
        sum = add_folded(sum, seed);
        if sum.finish() == 0 { Ok(()) } else { Err(Unfit::BadOffload) }
    }

    /// The pseudo-header's folded sum (RFC 9293 §3.1, RFC 8200 §8.1).
    fn pseudo_sum(&self, transport_bytes: usize) -> u16 {
        let ip = &self.headers[self.ip..];
        let mut sum = Sum::new();
        match self.version {
            Version::V4 => sum.add(&ip[12..20]),
            Version::V6 => sum.add(&ip[8..40]),
        }
        let protocol = if self.kind == GsoKind::Udp { Protocol::UDP } else { Protocol::TCP };
        sum.add_u16(u16::from(protocol.0));
        sum.add(&(transport_bytes as u32).to_be_bytes());
        sum.folded()
    }
}

/// Adds a folded sum to one that may have ended at an odd offset.
fn add_folded(sum: Sum, folded: u16) -> Sum {
    let mut even = Sum::new();
    even.add_u16(sum.folded());
    even.add_u16(folded);
    even
}

fn ipv4_transport(h: &[u8], ip: usize, ip_bytes: usize) -> Option<(Protocol, usize)> {
    let header_bytes = usize::from(h.get(ip)? & 0x0f) * 4;
    let fragment = be16(h, ip + 6)? & 0x3fff;
    let fits = header_bytes >= 20 && usize::from(be16(h, ip + 2)?) == ip_bytes && fragment == 0;
    fits.then_some((Protocol(*h.get(ip + 9)?), ip + header_bytes))
}

fn ipv6_transport(h: &[u8], ip: usize, ip_bytes: usize) -> Option<(Protocol, usize)> {
    if usize::from(be16(h, ip + 4)?) + 40 != ip_bytes {
        return None;
    }
    let mut next = *h.get(ip + 6)?;
    let mut at = ip + 40;
    // RFC 8200 §4: hop-by-hop options, routing, destination options.
    while matches!(next, 0 | 43 | 60) {
        next = *h.get(at)?;
        at += 8 + 8 * usize::from(*h.get(at + 1)?);
    }
    Some((Protocol(next), at))
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([field[0], field[1]]))
}

/// Gives one piece after the other.
struct Cutter {
    layout: Layout,
    segment_bytes: usize,
    /// Payload not cut off yet.
    rest: VecDeque<Bytes>,
    rest_bytes: usize,
    number: usize,
    without_sum: bool,
    rx_at: crate::time::Instant,
}

impl Cutter {
    fn new(mut packet: Packet, layout: Layout, gso: Gso) -> Cutter {
        let without_sum = layout.without_sum(&packet);
        let rx_at = packet.rx_at;
        packet.advance(layout.payload);
        Cutter {
            segment_bytes: usize::from(gso.segment_bytes.get()),
            rest: packet.into_payload(),
            rest_bytes: layout.payload_bytes,
            number: 0,
            layout,
            without_sum,
            rx_at,
        }
    }

    fn count(&self) -> usize {
        self.layout.payload_bytes.div_ceil(self.segment_bytes).max(1)
    }

    fn next_piece(&mut self) -> Option<Packet> {
        if self.number > 0 && self.rest_bytes == 0 {
            return None;
        }
        let offset = self.layout.payload_bytes - self.rest_bytes;
        let bytes = self.rest_bytes.min(self.segment_bytes);
        let mut piece = Packet::new();
        self.move_payload(bytes, &mut piece);
        let mut headers = self.layout.headers;
        self.write_ip(&mut headers, bytes);
        self.write_transport(&mut headers, bytes, offset);
        self.number += 1;

        let headers = &headers[..self.layout.payload];
        if headers.len() <= HEAD_ROOM {
            piece.prepend(headers.len()).copy_from_slice(headers);
        } else {
            let mut long = Packet::from_payload(Bytes::copy_from_slice(headers));
            piece.into_payload().into_iter().for_each(|bytes| long.push_payload(bytes));
            piece = long;
        }
        piece.rx_at = self.rx_at;
        if !self.without_sum {
            let start = self.layout.transport as u16;
            piece.checksum = Checksum::Partial { start, field: self.layout.sum_field() as u16 };
        }
        Some(piece)
    }

    fn move_payload(&mut self, bytes: usize, piece: &mut Packet) {
        let mut want = bytes;
        self.rest_bytes -= bytes;
        while want > 0 {
            let Some(front) = self.rest.front_mut() else { return };
            if front.len() <= want {
                want -= front.len();
                piece.push_payload(std::mem::take(front));
                self.rest.pop_front();
            } else {
                piece.push_payload(front.split_to(want));
                want = 0;
            }
        }
    }

    fn write_ip(&self, headers: &mut [u8; MAX_HEADERS], bytes: usize) {
        let layout = &self.layout;
        let ip = &mut headers[layout.ip..layout.transport];
        let ip_bytes = layout.ip_bytes_of(bytes);
        match layout.version {
            Version::V4 => {
                put16(ip, 2, ip_bytes as u16);
                let id = be16(ip, 4).unwrap_or(0).wrapping_add(self.number as u16);
                put16(ip, 4, id);
                put16(ip, 10, 0);
                let sum = checksum::checksum(ip);
                put16(ip, 10, sum);
            }
            Version::V6 => put16(ip, 4, (ip_bytes - 40) as u16),
        }
    }

    fn write_transport(&self, headers: &mut [u8; MAX_HEADERS], bytes: usize, offset: usize) {
        let layout = &self.layout;
        let transport_bytes = layout.payload - layout.transport + bytes;
        let transport = &mut headers[layout.transport..layout.payload];
        if layout.kind == GsoKind::Udp {
            put16(transport, 4, transport_bytes as u16);
        } else {
            self.write_tcp(transport, offset);
        }
        if !self.without_sum {
            put16(transport, layout.sum_field(), layout.pseudo_sum(transport_bytes));
        }
    }

    fn write_tcp(&self, tcp: &mut [u8], offset: usize) {
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        tcp[4..8].copy_from_slice(&seq.wrapping_add(offset as u32).to_be_bytes());
        if self.rest_bytes > 0 {
            tcp[13] &= !(TCP_FIN | TCP_PSH);
        }
        if self.number > 0 {
            // RFC 3168 §6.1.2: CWR tells of one reduction, once.
            tcp[13] &= !TCP_CWR;
        }
        if tcp[13] & TCP_URG != 0 {
            let urgent = usize::from(be16(tcp, 18).unwrap_or(0));
            match urgent.checked_sub(offset).filter(|&rest| rest > 0) {
                Some(rest) => put16(tcp, 18, rest as u16),
                None => {
                    tcp[13] &= !TCP_URG;
                    put16(tcp, 18, 0);
                }
            }
        }
    }
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
pub(crate) mod tests;
