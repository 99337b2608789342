//! The IPv6 header: read with every check that needs no context, written at fixed offsets.

use std::net::Ipv6Addr;

use libnet::packet::Packet;
use libnet::socket::Protocol;
use libnet::stats::DropReason;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 40;
/// Bytes of a fragment header. Source: RFC 8200 §4.5.
pub(crate) const FRAGMENT_BYTES: usize = 8;
/// Bytes of the longest payload, extension headers included.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 65_535;
/// What every link carries in one packet, in bytes. Source: RFC 8200 §5.
pub(crate) const MIN_MTU: u32 = 1280;
/// Where the payload length stands.
pub(crate) const PAYLOAD_LENGTH_AT: u32 = 4;
/// Where the next header stands.
pub(crate) const NEXT_HEADER_AT: usize = 6;

/// An IPv6 header.
///
/// ```text
///  0         1         2                   4
/// +---------+---------+-------------------+
/// | 6 | traffic class | flow label (20)   |
/// | payload length    | next    | hop lim.|
/// | source (16)                           |
/// | destination (16)                      |
/// +---------------------------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ipv6Header {
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    /// The transport's, or the first extension header's number.
    pub(crate) next_header: Protocol,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    /// 20 bits.
    pub(crate) flow_label: u32,
    /// What follows this header.
    pub(crate) payload_bytes: u16,
}

impl Ipv6Header {
    /// Reads and checks the header at the front of a packet, then cuts off what the link padded.
    pub(crate) fn parse(packet: &mut Packet) -> Result<Ipv6Header, DropReason> {
        let header = packet.pull(HEADER_BYTES).and_then(Self::read);
        let header = header.ok_or(DropReason::IpMalformed)?;
        let total = HEADER_BYTES + usize::from(header.payload_bytes);
        if total > packet.len() {
            return Err(DropReason::IpMalformed);
        }
        packet.trim_padding(total);
        Ok(header)
    }

    /// Reads a header as an ICMP error quotes it: the payload may be cut short.
    pub(crate) fn read(bytes: &[u8]) -> Option<Ipv6Header> {
        let h: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if h[0] >> 4 != 6 {
            return None;
        }
        let (addrs, _) = h[8..].as_chunks::<16>();
        Some(Ipv6Header {
            src: Ipv6Addr::from(addrs[0]),
            dst: Ipv6Addr::from(addrs[1]),
            next_header: Protocol(h[NEXT_HEADER_AT]),
            hop_limit: h[7],
            traffic_class: h[0] << 4 | h[1] >> 4,
            flow_label: u32::from_be_bytes([0, h[1] & 0x0f, h[2], h[3]]),
            payload_bytes: u16::from_be_bytes([h[4], h[5]]),
        })
    }

    /// A header for a packet of ours; the rest is set on the fields.
    pub(crate) const fn new(src: Ipv6Addr, dst: Ipv6Addr, next_header: Protocol) -> Self {
        Ipv6Header {
            src,
            dst,
            next_header,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_bytes: 0,
        }
    }

    /// Writes the header in front of its payload, whose length is the packet's.
    pub(crate) fn prepend_to(&self, packet: &mut Packet) {
        debug_assert!(packet.len() <= MAX_PAYLOAD_BYTES);
        let bytes = self.to_bytes(packet.len() as u16);
        packet.prepend(HEADER_BYTES).copy_from_slice(&bytes);
    }

    /// The 40 bytes.
    pub(crate) fn to_bytes(self, payload_bytes: u16) -> [u8; HEADER_BYTES] {
        let mut h = [0; HEADER_BYTES];
        let front = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000f_ffff;
        h[..4].copy_from_slice(&front.to_be_bytes());
        h[4..6].copy_from_slice(&payload_bytes.to_be_bytes());
        h[NEXT_HEADER_AT] = self.next_header.0;
        h[7] = self.hop_limit;
        h[8..24].copy_from_slice(&self.src.octets());
        h[24..].copy_from_slice(&self.dst.octets());
        h
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_header_reads_back(
            src: u128,
            dst: u128,
            fields: (u8, u8, u8),
            flow_label in 0u32..1 << 20,
            payload_bytes in 0usize..2000,
        ) {
            let (src, dst) = (Ipv6Addr::from_bits(src), Ipv6Addr::from_bits(dst));
            let mut header = Ipv6Header::new(src, dst, Protocol(fields.0));
            header.hop_limit = fields.1;
            header.traffic_class = fields.2;
            header.flow_label = flow_label;
            header.payload_bytes = payload_bytes as u16;
            let mut packet = Packet::from_payload(Bytes::from(vec![7; payload_bytes]));
            header.prepend_to(&mut packet);
            packet.push_payload(Bytes::from_static(&[0; 6]));
            prop_assert_eq!(Ipv6Header::parse(&mut packet), Ok(header));
            prop_assert_eq!(packet.len(), 40 + payload_bytes, "padding is cut off");
        }
    }

    #[test]
    fn what_is_too_short_or_of_another_version_is_malformed() {
        let any = Ipv6Addr::LOCALHOST;
        let good = Ipv6Header::new(any, any, Protocol::UDP).to_bytes(4);
        let parse = |bytes: &[u8]| {
            Ipv6Header::parse(&mut Packet::from_payload(Bytes::copy_from_slice(bytes)))
        };
        for len in 0..44 {
            let mut bytes = good.to_vec();
            bytes.resize(44, 0);
            assert_eq!(parse(&bytes[..len]), Err(DropReason::IpMalformed), "{len} bytes");
        }
        let mut four = good.to_vec();
        four.resize(44, 0);
        assert!(parse(&four).is_ok());
        four[0] = 0x45;
        assert_eq!(parse(&four), Err(DropReason::IpMalformed));
    }
}
