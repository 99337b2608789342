//! Segments: the header read from a packet, and written in front of one.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::{BitOr, BitOrAssign};

use libnet::checksum::Sum;
use libnet::{Checksum, DropReason, Gso, GsoKind, IfIndex, Packet};

use super::ecn::EcnField;
use super::options::{KIND_AO, MAX_OPTIONS_BYTES, Options};
use super::seq::SeqNumber;
use crate::family::Zone;

/// The control bits. Source: RFC 9293 §3.1.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(u16);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgement field is significant.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer is significant.
    pub const URG: Flags = Flags(0x20);
    /// ECN-Echo. Source: RFC 3168 §6.1.
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced. Source: RFC 3168 §6.1.
    pub const CWR: Flags = Flags(0x80);
    /// Accurate ECN. Source: RFC 9768 §3.1.1.
    pub const AE: Flags = Flags(0x100);
    /// No bit.
    pub const NONE: Flags = Flags(0);

    /// From the header's octet, and from the last bit of the one before it.
    pub const fn from_bits(bits: u16) -> Self {
        Flags(bits & 0x1ff)
    }

    /// The header's octet, and above it the last bit of the one before.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Holds any of `other`?
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// With `other`.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Those of `other` that it holds.
    pub const fn only(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    /// Without `other`.
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, rhs: Flags) -> Flags {
        Flags(self.0 | rhs.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, rhs: Flags) {
        self.0 |= rhs.0;
    }
}

/// Two ends of a connection, as one of them sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FourTuple {
    /// Our address.
    pub local: IpAddr,
    /// The peer's address.
    pub remote: IpAddr,
    /// Our port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// The link that its addresses are of.
    pub zone: Zone,
}

/// A received segment's header; its data stay in the packet that it was read from.
///
/// ```text
///  0                   1                   2                   3
/// |          source port          |       destination port        |
/// |                        sequence number                        |
/// |                    acknowledgment number                      |
/// | offset| rsvd|A C E U A P R S F|            window             |
/// |           checksum            |        urgent pointer         |
/// |                           options                             |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Our end and the sender's.
    pub tuple: FourTuple,
    /// First sequence number, SYN included.
    pub seq: SeqNumber,
    /// Acknowledgement number; significant with ACK.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// What the network has done to it: the ECN field of its IP header.
    pub ecn: EcnField,
    /// The rest of the octet that the ECN field is in, in its place.
    pub dscp: u8,
    /// The window field, not scaled.
    pub wnd: u16,
    /// The urgent pointer; significant with URG.
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// Bytes of the packet before the data that count: the header, and what was trimmed.
    pub data_offset: u32,
    /// Bytes of data.
    pub data_len: u32,
}

impl Segment {
    /// Reads a packet whose first byte is the TCP header's and whose last is the segment's, and
    /// that came by `iface`. What its IP header says of congestion and service is for the caller to fill in.
    ///
    /// # Errors
    /// [`DropReason::TcpMalformed`] for a header that breaks its own lengths,
    /// [`DropReason::TcpChecksum`] for a wrong checksum.
    pub fn parse(
        packet: &mut Packet,
        iface: IfIndex,
        src: IpAddr,
        dst: IpAddr,
    ) -> Result<Self, DropReason> {
        let len = packet.len();
        if len < MIN_HEADER_BYTES {
            return Err(DropReason::TcpMalformed);
        }
        // RFC 9293 §3.1 (MUST-3): the checksum must be checked, unless who shares our memory
        // vouches for it.
        if packet.checksum == Checksum::Unverified {
            verify_checksum(packet, src, dst)?;
        }
        let header_len = match packet.pull(MIN_HEADER_BYTES) {
            Some(fixed) => usize::from(fixed[12] >> 4) * 4,
            None => return Err(DropReason::TcpMalformed),
        };
        if header_len < MIN_HEADER_BYTES {
            return Err(DropReason::TcpMalformed);
        }
        let header = packet.pull(header_len).ok_or(DropReason::TcpMalformed)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let long = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        Ok(Segment {
            tuple: FourTuple {
                local: dst,
                remote: src,
                local_port: word(2),
                remote_port: word(0),
                zone: Zone::of(dst, src, iface),
            },
            seq: SeqNumber::new(long(4)),
            ack: SeqNumber::new(long(8)),
            flags: Flags::from_bits(u16::from_be_bytes([header[12], header[13]])),
            ecn: EcnField::NotEct,
            dscp: 0,
            wnd: word(14),
            urgent: word(18),
            options: Options::parse(&header[MIN_HEADER_BYTES..]),
            data_offset: header_len as u32,
            data_len: (len - header_len) as u32,
        })
    }

    /// Is its signature one of TCP-AO?
    pub(super) fn is_signed_by_ao(seg: &Segment, packet: &Packet) -> bool {
        let mut list = [0; MAX_OPTIONS_BYTES];
        let list_bytes = Segment::options_in(packet, &mut list);
        seg.options.signature.find(&list[..list_bytes]).is_some_and(|(kind, _)| kind == KIND_AO)
    }

    /// The list of options, in the packet that it was read from; how many bytes there are.
    pub(super) fn options_in(packet: &Packet, list: &mut [u8; MAX_OPTIONS_BYTES]) -> usize {
        let mut offset = [0];
        packet.copy_to(12, &mut offset);
        let len = (usize::from(offset[0] >> 4) * 4).saturating_sub(MIN_HEADER_BYTES);
        let len = len.min(MAX_OPTIONS_BYTES);
        packet.copy_to(MIN_HEADER_BYTES, &mut list[..len])
    }

    /// Sequence numbers that it takes: data, SYN and FIN. Source: RFC 9293 §3.4 (SEG.LEN).
    pub fn len(&self) -> u32 {
        let controls =
            u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN));
        self.data_len + controls
    }

    /// Takes no sequence number?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes `n` sequence numbers from the front: the SYN first, then data, then the FIN.
    pub fn trim_front(&mut self, n: u32) {
        let mut rest = n.min(self.len());
        self.seq += rest;
        // It counts from the sequence number.
        self.urgent = u16::try_from(u32::from(self.urgent).saturating_sub(rest)).unwrap_or(0);
        if rest > 0 && self.flags.has(Flags::SYN) {
            self.flags = self.flags.without(Flags::SYN);
            rest -= 1;
        }
        let data = rest.min(self.data_len);
        self.data_offset += data;
        self.data_len -= data;
        if rest > data {
            self.flags = self.flags.without(Flags::FIN);
        }
    }

    /// Keeps the first `n` sequence numbers; a FIN past them goes.
    pub fn trim_back(&mut self, n: u32) {
        if n >= self.len() {
            return;
        }
        self.flags = self.flags.without(Flags::FIN | Flags::PSH);
        self.data_len = self.data_len.min(n - u32::from(self.flags.has(Flags::SYN)).min(n));
    }
}

fn verify_checksum(packet: &Packet, src: IpAddr, dst: IpAddr) -> Result<(), DropReason> {
    let mut sum = pseudo_header(src, dst, packet.len());
    for piece in packet.pieces() {
        sum.add(piece);
    }
    if sum.finish() == 0 { Ok(()) } else { Err(DropReason::TcpChecksum) }
}

/// The pseudo-header's sum. Source: RFC 9293 §3.1 (IPv4), RFC 8200 §8.1 (IPv6).
fn pseudo_header(src: IpAddr, dst: IpAddr, len: usize) -> Sum {
    let mut sum = Sum::new();
    for addr in [src, dst] {
        match addr {
            IpAddr::V4(addr) => sum.add_4(addr.octets()),
            IpAddr::V6(addr) => sum.add(&addr.octets()),
        }
    }
    sum.add_u16(PROTOCOL_TCP);
    sum.add_u16(len as u16);
    sum.add_u16((len >> 16) as u16);
    sum
}

/// What a segment to send says; its data are in the packet already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// First sequence number.
    pub seq: SeqNumber,
    /// Acknowledgement number; written with ACK only.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// The window field as it goes onto the wire.
    pub wnd: u16,
    /// The urgent pointer; significant with URG.
    pub urgent: u16,
    /// Options.
    pub options: Options,
}

impl Header {
    /// Puts the header in front of a packet that holds the data, with the checksum left partial,
    /// and marks it to be cut into pieces of `mss` bytes if it holds more.
    pub fn prepend_to(&self, packet: &mut Packet, tuple: &FourTuple, mss: u16) {
        self.prepend_with(packet, tuple, mss, &[]);
    }

    /// The same with further options, a multiple of 4 bytes, behind the others.
    #[inline(always)]
    pub fn prepend_with(&self, packet: &mut Packet, tuple: &FourTuple, mss: u16, more: &[u8]) {
        let data_len = packet.len();
        let own_options = self.options.len();
        let header_len = MIN_HEADER_BYTES + own_options + more.len();
        debug_assert!(own_options + more.len() <= MAX_OPTIONS_BYTES);
        let sum = pseudo_header(tuple.local, tuple.remote, header_len + data_len).folded();
        let h = packet.prepend(header_len);
        h[0..2].copy_from_slice(&tuple.local_port.to_be_bytes());
        h[2..4].copy_from_slice(&tuple.remote_port.to_be_bytes());
        h[4..8].copy_from_slice(&self.seq.value().to_be_bytes());
        if self.flags.has(Flags::ACK) {
            h[8..12].copy_from_slice(&self.ack.value().to_be_bytes());
        }
        let [reserved, flags] = self.flags.bits().to_be_bytes();
        h[12] = ((header_len / 4) as u8) << 4 | reserved;
        h[13] = flags;
        h[14..16].copy_from_slice(&self.wnd.to_be_bytes());
        // RFC 9293 §3.1 (MUST-2): the checksum is always sent; a link or its peer completes it.
        h[16..18].copy_from_slice(&sum.to_be_bytes());
        h[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        let (own, rest) = h[MIN_HEADER_BYTES..].split_at_mut(own_options);
        self.options.write(own);
        rest.copy_from_slice(more);
        packet.checksum = Checksum::Partial { start: 0, field: 16 };
        packet.gso = match NonZeroU16::new(mss) {
            Some(segment_bytes) if data_len > usize::from(mss) => {
                let kind = if tuple.local.is_ipv4() { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
                Some(Gso { kind, segment_bytes })
            }
            _ => None,
        };
    }
}

/// The RST that answers a segment to nobody; `None` if none may be sent.
///
/// Source: RFC 9293 §3.10.7.1.
pub(super) fn reset_for(segment: &Segment) -> Option<Header> {
    // A RST never answers a RST.
    if segment.flags.has(Flags::RST) {
        return None;
    }
    let no_ack = SeqNumber::default();
    let (seq, ack, flags) = if segment.flags.has(Flags::ACK) {
        (segment.ack, no_ack, Flags::RST)
    } else {
        (SeqNumber::default(), segment.seq + segment.len(), Flags::RST | Flags::ACK)
    };
    Some(Header { seq, ack, flags, wnd: 0, urgent: 0, options: Options::default() })
}

/// Bytes of a header without options.
pub const MIN_HEADER_BYTES: usize = 20;
/// Bytes of the longest header.
pub(crate) const MAX_HEADER_BYTES: usize = MIN_HEADER_BYTES + MAX_OPTIONS_BYTES;
const PROTOCOL_TCP: u16 = 6;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::options::Timestamps;
    use super::*;

    fn tuple(v6: bool) -> FourTuple {
        let (local, remote) = match v6 {
            false => ("10.0.0.1".parse(), "10.0.0.2".parse()),
            true => ("fd00::1".parse(), "fd00::2".parse()),
        };
        FourTuple {
            local: local.expect("an address"),
            remote: remote.expect("an address"),
            local_port: 1025,
            remote_port: 80,
            zone: Zone::NONE,
        }
    }

    fn built(v6: bool, data: &[u8]) -> (Header, Packet) {
        let timestamps = Some(Timestamps { value: 7, echo: 8 });
        let header = Header {
            seq: SeqNumber::new(0xdead_beef),
            ack: SeqNumber::new(5),
            flags: Flags::ACK | Flags::PSH,
            wnd: 1000,
            urgent: 0,
            options: Options { timestamps, ..Options::default() },
        };
        let mut packet = Packet::from_payload(Bytes::copy_from_slice(data));
        header.prepend_to(&mut packet, &tuple(v6), 1460);
        (header, packet)
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_back(v6: bool, data in prop::collection::vec(any::<u8>(), 0..3000)) {
            let (header, mut packet) = built(v6, &data);
            prop_assert_eq!(packet.gso.is_some(), data.len() > 1460);
            prop_assert!(packet.complete_checksum());
            let mut wire = Packet::from_payload(packet.to_bytes());
            let segment = Segment::parse(&mut wire, IfIndex(2), tuple(v6).local, tuple(v6).remote)
                .expect("what we build is well-formed");
            prop_assert_eq!(segment.seq, header.seq);
            prop_assert_eq!(segment.ack, header.ack);
            prop_assert_eq!(segment.flags, header.flags);
            prop_assert_eq!(segment.wnd, header.wnd);
            prop_assert_eq!(segment.options, header.options);
            prop_assert_eq!(segment.data_len as usize, data.len());
            prop_assert_eq!(segment.tuple.remote_port, 1025);
            let mut read = vec![0; data.len()];
            wire.copy_to(segment.data_offset as usize, &mut read);
            prop_assert_eq!(read, data);
        }

        #[test]
        fn any_flipped_bit_is_noticed(bit in 0usize..(32 + 9) * 8) {
            let (_, mut packet) = built(false, b"some data");
            prop_assert!(packet.complete_checksum());
            let mut bytes = packet.to_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut wire = Packet::from_payload(Bytes::from(bytes));
            let parsed = Segment::parse(&mut wire, IfIndex(2), tuple(false).local, tuple(false).remote);
            prop_assert_eq!(parsed, Err(DropReason::TcpChecksum));
        }

        #[test]
        fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut packet = Packet::from_payload(Bytes::from(bytes));
            packet.checksum = Checksum::Trusted;
            if let Ok(mut segment) = Segment::parse(&mut packet, IfIndex(2), tuple(true).local, tuple(true).remote) {
                prop_assert!((segment.data_offset + segment.data_len) as usize == packet.len());
                segment.trim_front(7);
                segment.trim_back(3);
                prop_assert!(segment.len() <= 3);
                prop_assert!((segment.data_offset + segment.data_len) as usize <= packet.len());
            }
        }
    }

    #[test]
    fn trimming_takes_syn_data_and_fin_in_order() {
        let (_, mut packet) = built(false, b"data");
        packet.checksum = Checksum::Trusted;
        let mut whole =
            Segment::parse(&mut packet, IfIndex(2), tuple(false).local, tuple(false).remote)
                .expect("well-formed");
        whole.flags = Flags::SYN | Flags::FIN;
        assert_eq!(whole.len(), 6);
        let mut rest = whole;
        rest.trim_front(1);
        assert_eq!((rest.flags, rest.data_len, rest.seq - whole.seq), (Flags::FIN, 4, 1));
        rest.trim_front(4);
        assert_eq!((rest.flags, rest.data_len, rest.len()), (Flags::FIN, 0, 1));
        rest.trim_front(9);
        assert_eq!((rest.flags, rest.len()), (Flags::NONE, 0));
        let mut first = whole;
        first.trim_back(3);
        assert_eq!((first.flags, first.data_len), (Flags::SYN, 2));
    }

    #[test]
    fn a_reset_answers_by_the_rules_of_the_closed_state() {
        let (_, mut packet) = built(false, b"data");
        packet.checksum = Checksum::Trusted;
        let mut segment =
            Segment::parse(&mut packet, IfIndex(2), tuple(false).local, tuple(false).remote)
                .expect("well-formed");
        let reset = reset_for(&segment).expect("an ACK is answered");
        assert_eq!((reset.seq, reset.flags), (segment.ack, Flags::RST));
        segment.flags = Flags::SYN;
        let reset = reset_for(&segment).expect("a SYN is answered");
        assert_eq!((reset.seq, reset.ack), (SeqNumber::new(0), segment.seq + 5));
        assert_eq!(reset.flags, Flags::RST | Flags::ACK);
        segment.flags = Flags::RST;
        assert_eq!(reset_for(&segment), None);
    }
}
