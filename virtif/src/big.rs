//! Joins super-segments of one flow into one frame longer than 64 KiB, for the host itself: what Linux
//! calls BIG TCP.
//!
//! What the host's TCP pays by the frame (the call, its way through the IP layer, the reader woken) is
//! then paid once for all that a write of the caller's put out. What must pass through the host is not
//! joined: the next link would have it cut into single packets by the processor.
//!
//! ```text
//!  queue   | headers 1 | data 1 | headers 2 | data 2 | headers 3 | data 3 |
//!  frame   | virtio | headers | data 1 | data 2 | data 3 |
//! ```
//! The length that its IP header cannot tell is 0 there, and the frame's own (IPv4, since Linux 6.3), or
//! that of a jumbo payload option (RFC 2675; IPv6, since Linux 5.19).

use std::collections::VecDeque;
use std::net::IpAddr;

use libnet::checksum::{Sum, checksum};
use libnet::link::Medium;
use libnet::packet::{Checksum, Gso, GsoKind, Packet};

/// Bytes of a joined frame at most, about what Linux's users set for a link that takes such.
const MAX_BYTES: usize = 192 * 1024;
/// Ethernet, IPv6, the longest TCP header.
const MAX_HEADERS: usize = ETHERNET_BYTES + IPV6_BYTES + 60;
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;
/// What an IP header tells at most; for IPv6 without the header itself.
const MAX_TOLD_BYTES: usize = 65_535;
/// Hop-by-hop options with a jumbo payload option alone. Source: RFC 2675 §2.
const JUMBO_BYTES: usize = 8;
const JUMBO_TYPE: u8 = 0xc2;
const DONT_FRAGMENT: u16 = 0x4000;
const PROTOCOL_TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const TCP_PSH: u8 = 0x08;
const TCP_ACK: u8 = 0x10;
const TCP_ECE: u8 = 0x40;

/// The headers of a data segment, and where they are.
struct Segment {
    bytes: [u8; MAX_HEADERS],
    ip: usize,
    tcp: usize,
    /// Where its data begin.
    data: usize,
    data_bytes: usize,
}

impl Segment {
    /// `None`: nothing that could be joined.
    fn of(packet: &Packet, medium: Medium) -> Option<Segment> {
        // A sum that nobody has looked at must not be replaced by one that is right.
        if packet.checksum == Checksum::Unverified {
            return None;
        }
        let mut bytes = [0; MAX_HEADERS];
        packet.copy_to(0, &mut bytes);
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let ip = if medium == Medium::Ethernet { ETHERNET_BYTES } else { 0 };
        let ethertype = (medium == Medium::Ethernet).then(|| word(12));
        let (tcp, end, protocol) = match bytes[ip] {
            0x45 if ethertype.is_none_or(|ty| ty == 0x0800) && word(ip + 6) == DONT_FRAGMENT => {
                (ip + IPV4_BYTES, ip + usize::from(word(ip + 2)), bytes[ip + 9])
            }
            0x60..=0x6f if ethertype.is_none_or(|ty| ty == 0x86dd) => {
                let tcp = ip + IPV6_BYTES;
                (tcp, tcp + usize::from(word(ip + 4)), bytes[ip + 6])
            }
            _ => return None,
        };
        let data = tcp + usize::from(bytes[tcp + 12] >> 4) * 4;
        // Data and nothing else: a segment that says more stands alone.
        let flags = bytes[tcp + 13] & !(TCP_PSH | TCP_ECE);
        let is_plain = protocol == PROTOCOL_TCP && flags == TCP_ACK && data >= tcp + TCP_BYTES;
        if !is_plain || end != packet.len() || end <= data {
            return None;
        }
        Some(Segment { bytes, ip, tcp, data, data_bytes: end - data })
    }

    fn is_v4(&self) -> bool {
        self.tcp - self.ip == IPV4_BYTES
    }

    fn seq(&self) -> u32 {
        let at = self.tcp + 4;
        self.bytes[at..at + 4].iter().fold(0, |seq, byte| seq << 8 | u32::from(*byte))
    }

    fn is_pushed(&self) -> bool {
        self.bytes[self.tcp + 13] & TCP_PSH != 0
    }

    fn dst(&self) -> Option<IpAddr> {
        let to = &self.bytes[..self.tcp];
        if self.is_v4() {
            to.last_chunk::<4>().map(|addr| IpAddr::from(*addr))
        } else {
            to.last_chunk::<16>().map(|addr| IpAddr::from(*addr))
        }
    }

    /// Is all the same but for lengths, sums, the sequence number, PSH, and the identification of
    /// what is not fragmented?
    fn has_headers_of(&self, other: &Segment) -> bool {
        let same = |from: usize, to: usize| self.bytes[from..to] == other.bytes[from..to];
        let (ip, tcp) = (self.ip, self.tcp);
        let ip_same = if self.is_v4() {
            same(0, ip + 2) && same(ip + 6, ip + 10) && same(ip + 12, tcp)
        } else {
            same(0, ip + 4) && same(ip + 6, tcp)
        };
        ip_same
            && (tcp, self.data) == (other.tcp, other.data)
            && same(tcp, tcp + 4)
            && same(tcp + 8, tcp + 13)
            && (self.bytes[tcp + 13] ^ other.bytes[tcp + 13]) & !TCP_PSH == 0
            && same(tcp + 14, tcp + 16)
            && same(tcp + 18, self.data)
    }
}

/// The front of a queue as one frame.
pub(crate) struct Joined {
    headers: [u8; MAX_HEADERS + JUMBO_BYTES],
    headers_bytes: usize,
    tcp: usize,
    gso: Gso,
    /// Bytes in front of each packet's data.
    skip: usize,
    count: usize,
}

impl Joined {
    /// The front of `queue`, if two or more packets can be one frame longer than 64 KiB and `takes`
    /// says that their destination takes such.
    pub(crate) fn of(
        queue: &VecDeque<Packet>,
        medium: Medium,
        takes: impl FnOnce(IpAddr) -> bool,
    ) -> Option<Joined> {
        let first = queue.front().filter(|_| queue.len() > 1)?;
        let gso = first.gso.filter(|gso| gso.kind != GsoKind::Udp)?;
        let head = Segment::of(first, medium)?;
        let segment_bytes = usize::from(gso.segment_bytes.get());
        let (mut data_bytes, mut count, mut is_pushed) = (head.data_bytes, 1, head.is_pushed());
        let mut next_seq = head.seq().wrapping_add(head.data_bytes as u32);
        // Whatever follows a segment that is not full, or that was pushed, begins anew.
        while !is_pushed
            && data_bytes.is_multiple_of(segment_bytes)
            && let Some(packet) = queue.get(count)
            && let Some(next) = Segment::of(packet, medium)
        {
            let is_cut_alike = match packet.gso {
                Some(other) => other == gso,
                None => next.data_bytes <= segment_bytes,
            };
            let fits = head.data + data_bytes + next.data_bytes <= MAX_BYTES;
            if !(is_cut_alike && fits && next.seq() == next_seq && next.has_headers_of(&head)) {
                break;
            }
            data_bytes += next.data_bytes;
            next_seq = next_seq.wrapping_add(next.data_bytes as u32);
            is_pushed = next.is_pushed();
            count += 1;
        }
        if count == 1 || head.data - head.ip + data_bytes <= MAX_TOLD_BYTES || !takes(head.dst()?) {
            return None;
        }
        Some(Joined::with_headers(&head, data_bytes, is_pushed, gso, count))
    }

    fn with_headers(
        head: &Segment,
        data_bytes: usize,
        is_pushed: bool,
        gso: Gso,
        count: usize,
    ) -> Joined {
        let (ip, tcp_bytes) = (head.ip, head.data - head.tcp + data_bytes);
        let mut headers = [0; MAX_HEADERS + JUMBO_BYTES];
        let mut tcp = head.tcp;
        headers[..tcp].copy_from_slice(&head.bytes[..tcp]);
        let mut pseudo = Sum::new();
        if head.is_v4() {
            headers[ip + 2..ip + 4].fill(0);
            headers[ip + 10..ip + 12].fill(0);
            let sum = checksum(&headers[ip..tcp]);
            headers[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
            pseudo.add(&headers[ip + 12..tcp]);
        } else {
            headers[ip + 4..ip + 7].copy_from_slice(&[0, 0, HOP_BY_HOP]);
            pseudo.add(&headers[ip + 8..tcp]);
            headers[tcp..tcp + 4].copy_from_slice(&[PROTOCOL_TCP, 0, JUMBO_TYPE, 4]);
            let payload_bytes = (JUMBO_BYTES + tcp_bytes) as u32;
            headers[tcp + 4..tcp + 8].copy_from_slice(&payload_bytes.to_be_bytes());
            tcp += JUMBO_BYTES;
        }
        let headers_bytes = tcp + head.data - head.tcp;
        headers[tcp..headers_bytes].copy_from_slice(&head.bytes[head.tcp..head.data]);
        headers[tcp + 13] |= if is_pushed { TCP_PSH } else { 0 };
        pseudo.add_u16(u16::from(PROTOCOL_TCP));
        pseudo.add_4((tcp_bytes as u32).to_be_bytes());
        headers[tcp + 16..tcp + 18].copy_from_slice(&pseudo.folded().to_be_bytes());
        Joined { headers, headers_bytes, tcp, gso, skip: head.data, count }
    }

    /// The frame's headers.
    pub(crate) fn headers(&self) -> &[u8] {
        &self.headers[..self.headers_bytes]
    }

    /// Where in them TCP's is.
    pub(crate) const fn tcp(&self) -> usize {
        self.tcp
    }

    /// How it may be cut.
    pub(crate) const fn gso(&self) -> Gso {
        self.gso
    }

    /// Packets of the queue that it stands for.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The frame's data: those of each packet.
    pub(crate) fn data<'q>(
        &self,
        queue: &'q VecDeque<Packet>,
    ) -> impl Iterator<Item = &'q [u8]> + use<'q> {
        let headers_bytes = self.skip;
        queue.iter().take(self.count).flat_map(move |packet| {
            let mut skip = headers_bytes;
            packet.pieces().filter_map(move |piece| {
                let from = skip.min(piece.len());
                skip -= from;
                Some(&piece[from..]).filter(|data| !data.is_empty())
            })
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
