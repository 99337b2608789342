//! The IPv4 header: read with every check that needs no context, written at fixed offsets.

use std::net::Ipv4Addr;

use libnet::checksum::checksum;
use libnet::packet::Packet;
use libnet::socket::Protocol;
use libnet::stats::DropReason;

/// Bytes of a header without options.
pub(crate) const HEADER_BYTES: usize = 20;
/// Bytes of the longest header.
pub(crate) const MAX_HEADER_BYTES: usize = 60;
/// Bytes of the longest packet, header included.
pub(crate) const MAX_PACKET_BYTES: usize = 65_535;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// An IPv4 header without its options.
///
/// ```text
///  0         1         2                   4
/// +---------+---------+-------------------+
/// | 4 | ihl | tos     | total length      |
/// | identification    |.DM offset / 8     |
/// | ttl     | protocol| header checksum   |
/// | source                                |
/// | destination                           |
/// +---------------------------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ipv4Header {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) protocol: Protocol,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) ident: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) more_fragments: bool,
    /// Where this fragment's bytes belong, in bytes; a multiple of 8.
    pub(crate) offset_bytes: u16,
    /// 20..=60.
    pub(crate) header_bytes: u8,
    /// Header and data.
    pub(crate) total_bytes: u16,
}

impl Ipv4Header {
    /// Reads and checks the header at the front of a packet, then cuts off what the link padded.
    pub(crate) fn parse(packet: &mut Packet) -> Result<Ipv4Header, DropReason> {
        let first = packet.pull(HEADER_BYTES).ok_or(DropReason::IpMalformed)?[0];
        let header_bytes = usize::from(first & 0x0f) * 4;
        // RFC 1122 §3.2.1.1: a version other than 4 MUST be silently discarded.
        if first >> 4 != 4 || header_bytes < HEADER_BYTES {
            return Err(DropReason::IpMalformed);
        }
        let bytes = packet.pull(header_bytes).ok_or(DropReason::IpMalformed)?;
        // RFC 1122 §3.2.1.2: the header checksum MUST be verified.
        if checksum(bytes) != 0 {
            return Err(DropReason::IpChecksum);
        }
        let header = Self::read(bytes).ok_or(DropReason::IpMalformed)?;
        let total = usize::from(header.total_bytes);
        if total < header_bytes || total > packet.len() {
            return Err(DropReason::IpMalformed);
        }
        packet.trim_padding(total);
        Ok(header)
    }

    /// Reads a header as an ICMP error quotes it: no checksum, and the data cut short.
    pub(crate) fn read(bytes: &[u8]) -> Option<Ipv4Header> {
        let h: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let header_bytes = (h[0] & 0x0f) * 4;
        if h[0] >> 4 != 4 || usize::from(header_bytes) < HEADER_BYTES {
            return None;
        }
        let fragment = u16::from_be_bytes([h[6], h[7]]);
        Some(Ipv4Header {
            src: Ipv4Addr::new(h[12], h[13], h[14], h[15]),
            dst: Ipv4Addr::new(h[16], h[17], h[18], h[19]),
            protocol: Protocol(h[9]),
            ttl: h[8],
            tos: h[1],
            ident: u16::from_be_bytes([h[4], h[5]]),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            offset_bytes: (fragment & OFFSET_MASK) << 3,
            header_bytes,
            total_bytes: u16::from_be_bytes([h[2], h[3]]),
        })
    }

    /// A header for a whole datagram of ours; the rest is set on the fields.
    pub(crate) const fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol) -> Self {
        Ipv4Header {
            src,
            dst,
            protocol,
            ttl: 64,
            tos: 0,
            ident: 0,
            dont_fragment: false,
            more_fragments: false,
            offset_bytes: 0,
            header_bytes: HEADER_BYTES as u8,
            total_bytes: 0,
        }
    }

    /// Writes the header, without options, in front of its data; the length is the packet's.
    pub(crate) fn prepend_to(&self, packet: &mut Packet) {
        let total = packet.len() + HEADER_BYTES;
        debug_assert!(total <= MAX_PACKET_BYTES);
        let bytes = self.to_bytes(total as u16);
        packet.prepend(HEADER_BYTES).copy_from_slice(&bytes);
    }

    /// The same with options, padded to a multiple of four bytes and 40 at most.
    pub(crate) fn prepend_with_options(&self, options: &[u8], packet: &mut Packet) {
        if options.is_empty() {
            return self.prepend_to(packet);
        }
        debug_assert!(
            options.len() <= MAX_HEADER_BYTES - HEADER_BYTES && options.len().is_multiple_of(4)
        );
        let header_bytes = HEADER_BYTES + options.len();
        let total = (packet.len() + header_bytes) as u16;
        let header = packet.prepend(header_bytes);
        header[..HEADER_BYTES].copy_from_slice(&self.to_bytes(total));
        header[HEADER_BYTES..].copy_from_slice(options);
        header[0] = 0x40 | (header_bytes / 4) as u8;
        write_checksum(header);
    }

    /// The 20 bytes, checksum included.
    pub(crate) fn to_bytes(self, total_bytes: u16) -> [u8; HEADER_BYTES] {
        let mut h = [0; HEADER_BYTES];
        h[0] = 0x45;
        h[1] = self.tos;
        h[2..4].copy_from_slice(&total_bytes.to_be_bytes());
        h[4..6].copy_from_slice(&self.ident.to_be_bytes());
        let mut fragment = self.offset_bytes >> 3;
        if self.dont_fragment {
            fragment |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            fragment |= MORE_FRAGMENTS;
        }
        h[6..8].copy_from_slice(&fragment.to_be_bytes());
        h[8] = self.ttl;
        h[9] = self.protocol.0;
        h[12..16].copy_from_slice(&self.src.octets());
        h[16..20].copy_from_slice(&self.dst.octets());
        let sum = checksum(&h);
        h[10..12].copy_from_slice(&sum.to_be_bytes());
        h
    }

    /// Is it only part of a datagram?
    pub(crate) const fn is_fragment(&self) -> bool {
        self.more_fragments || self.offset_bytes != 0
    }
}

/// Puts the checksum of a whole header, options included, in its place.
pub(crate) fn write_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn sample() -> (Ipv4Header, Vec<u8>) {
        let mut header =
            Ipv4Header::new(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), Protocol::UDP);
        header.ident = 0xbeef;
        header.dont_fragment = true;
        header.total_bytes = 24;
        let mut bytes = header.to_bytes(24).to_vec();
        bytes.extend_from_slice(b"data");
        (header, bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Ipv4Header, DropReason> {
        Ipv4Header::parse(&mut Packet::from_payload(Bytes::copy_from_slice(bytes)))
    }

    fn resum(bytes: &mut [u8]) {
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    #[test]
    fn a_written_header_reads_back() {
        let (header, bytes) = sample();
        assert_eq!(parse(&bytes), Ok(header));
    }

    #[test]
    fn padding_is_cut_off() {
        let (_, mut bytes) = sample();
        bytes.extend_from_slice(&[0; 22]);
        let mut packet = Packet::from_payload(Bytes::from(bytes));
        Ipv4Header::parse(&mut packet).unwrap();
        assert_eq!(packet.len(), 24);
    }

    #[test]
    fn every_single_bit_flip_of_the_header_is_noticed() {
        let (_, bytes) = sample();
        for bit in 0..160 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn impossible_lengths_are_malformed_even_with_a_good_checksum() {
        let (_, good) = sample();
        for (at, value) in [(0, 0x55), (0, 0x44), (0, 0x4f), (3, 19), (3, 25), (2, 1)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            resum(&mut bytes);
            assert!(parse(&bytes).is_err(), "byte {at} = {value:#x}");
        }
        for len in 0..20 {
            assert_eq!(parse(&good[..len]), Err(DropReason::IpMalformed));
        }
    }
}
