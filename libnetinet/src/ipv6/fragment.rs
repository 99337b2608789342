//! The fragment header, and cutting a packet that is too long for its path (RFC 8200 §4.5).

use bytes::Bytes;
use libnet::packet::Packet;
use libnet::socket::Protocol;

use super::extension::{Chain, FRAGMENT, skip};
use super::header::{FRAGMENT_BYTES, HEADER_BYTES, MAX_PAYLOAD_BYTES};

/// A fragment header.
///
/// ```text
///  0         1         2                   4
/// +---------+---------+-------------------+------------------+
/// | next    | 0       | offset / 8  |00|M | identification   |
/// +---------+---------+-------------------+------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FragmentHeader {
    /// What the first fragment's data begins with.
    pub(crate) next_header: Protocol,
    /// Where this fragment's data belongs, in bytes; a multiple of 8.
    pub(crate) offset_bytes: u16,
    pub(crate) more: bool,
    pub(crate) ident: u32,
}

impl FragmentHeader {
    /// Reads one; `None` if it is cut short.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let h: &[u8; FRAGMENT_BYTES] = bytes.first_chunk()?;
        let offset = u16::from_be_bytes([h[2], h[3]]);
        Some(FragmentHeader {
            next_header: Protocol(h[0]),
            // RFC 8200 §4.5: the reserved bits are ignored.
            offset_bytes: offset & !7,
            more: offset & 1 != 0,
            ident: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        })
    }

    /// The eight bytes.
    pub(crate) fn to_bytes(self) -> [u8; FRAGMENT_BYTES] {
        let mut h = [0; FRAGMENT_BYTES];
        h[0] = self.next_header.0;
        h[2..4].copy_from_slice(&(self.offset_bytes | u16::from(self.more)).to_be_bytes());
        h[4..].copy_from_slice(&self.ident.to_be_bytes());
        h
    }

    /// Is it the only fragment of its packet? Source: RFC 6946.
    pub(crate) const fn is_atomic(&self) -> bool {
        self.offset_bytes == 0 && !self.more
    }
}

/// Cuts `packet`, which has no extension headers and its checksums in place, into fragments of at
/// most `mtu` bytes, in order. Data is shared where it is in few pieces.
pub(crate) fn fragment(packet: &Packet, mtu: u32, ident: u32, mut each: impl FnMut(Packet)) {
    let whole = packet.to_bytes();
    let Some(front) = whole.first_chunk::<HEADER_BYTES>() else { return };
    let next_header = Protocol(front[super::header::NEXT_HEADER_AT]);
    let data = whole.slice(HEADER_BYTES..);
    // RFC 8200 §4.5: every fragment but the last carries a multiple of 8 bytes.
    let step = ((mtu as usize).saturating_sub(HEADER_BYTES + FRAGMENT_BYTES) & !7).max(8);
    let mut at = 0;
    while at < data.len() {
        let end = (at + step).min(data.len());
        let mut piece = Packet::from_payload(data.slice(at..end));
        let header =
            FragmentHeader { next_header, offset_bytes: at as u16, more: end < data.len(), ident };
        piece.prepend(FRAGMENT_BYTES).copy_from_slice(&header.to_bytes());
        let payload_bytes = piece.len() as u16;
        let ip = piece.prepend(HEADER_BYTES);
        ip.copy_from_slice(front);
        ip[4..6].copy_from_slice(&payload_bytes.to_be_bytes());
        ip[super::header::NEXT_HEADER_AT] = FRAGMENT.0;
        each(piece);
        at = end;
    }
}

/// The headers of a whole packet, made of those of its first fragment, which end with the fragment
/// header; `None` if they do not, or the packet would be too long.
pub(crate) fn headers_of_whole(first: &[u8], data_bytes: usize) -> Option<Bytes> {
    let at = first.len().checked_sub(FRAGMENT_BYTES)?;
    let start = Chain::start(Protocol(*first.get(super::header::NEXT_HEADER_AT)?));
    let chain = skip(first, start, usize::MAX).filter(|chain| chain.at == at)?;
    let payload_bytes = at - HEADER_BYTES + data_bytes;
    if payload_bytes > MAX_PAYLOAD_BYTES {
        return None;
    }
    let mut headers = first[..at].to_vec();
    headers[4..6].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
    // RFC 8200 §4.5: the next header comes from the first fragment's header.
    headers[chain.named_at] = first[at];
    Some(Bytes::from(headers))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::ipv6::header::Ipv6Header;

    #[test]
    fn fragments_cover_the_data_and_fit() {
        for (len, mtu) in [(1453, 1500), (65_535, 1500), (4000, 1280), (65_527, 1492)] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut packet = Packet::from_payload(Bytes::from(data.clone()));
            let any = Ipv6Addr::LOCALHOST;
            Ipv6Header::new(any, any, Protocol::UDP).prepend_to(&mut packet);
            let mut joined = Vec::new();
            let mut last = true;
            fragment(&packet, mtu, 77, |mut piece| {
                assert!(piece.len() <= mtu as usize);
                let header = Ipv6Header::parse(&mut piece).unwrap();
                assert_eq!(header.next_header, FRAGMENT);
                let bytes = piece.to_bytes();
                let part = FragmentHeader::parse(&bytes[HEADER_BYTES..]).unwrap();
                assert_eq!(usize::from(part.offset_bytes), joined.len());
                assert_eq!((part.next_header, part.ident), (Protocol::UDP, 77));
                joined.extend_from_slice(&bytes[HEADER_BYTES + FRAGMENT_BYTES..]);
                last = !part.more;
                assert!(last || (piece.len() - HEADER_BYTES).is_multiple_of(8));
                if part.offset_bytes == 0 {
                    let first = &bytes[..HEADER_BYTES + FRAGMENT_BYTES];
                    let headers = headers_of_whole(first, len).unwrap();
                    assert_eq!(headers, packet.to_bytes()[..HEADER_BYTES]);
                }
            });
            assert!(last);
            assert_eq!(joined, data);
        }
    }

    #[test]
    fn a_fragment_header_reads_back_and_reserved_bits_do_not_matter() {
        let header = FragmentHeader {
            next_header: Protocol::TCP,
            offset_bytes: 65_528,
            more: true,
            ident: 0x0102_0304,
        };
        let mut bytes = header.to_bytes();
        bytes[1] = 0xff;
        bytes[3] |= 0b110;
        assert_eq!(FragmentHeader::parse(&bytes), Some(header));
        assert_eq!(FragmentHeader::parse(&bytes[..7]), None);
    }
}
