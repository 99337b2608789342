//! Cuts a datagram that is too long for its path (RFC 791 §3.2).

use libnet::packet::Packet;

use super::header::{HEADER_BYTES, Ipv4Header};

/// Cuts `packet`, which begins with a 20-byte IPv4 header and has its checksums in place, into
/// fragments of at most `mtu` bytes, in order.
///
/// The header must not forbid fragments. Data is shared where it is in few pieces.
pub(crate) fn fragment(packet: &Packet, mtu: u32, each: impl FnMut(Packet)) {
    let mut each = each;
    let whole = packet.to_bytes();
    let Some(header) = Ipv4Header::read(&whole) else { return };
    let data = whole.slice(HEADER_BYTES..);
    // RFC 791 §3.2: every fragment but the last carries a multiple of 8 bytes.
    let step = (mtu as usize - HEADER_BYTES) & !7;
    let mut at = 0;
    while at < data.len() {
        let end = (at + step).min(data.len());
        let mut piece = Packet::from_payload(data.slice(at..end));
        let mut piece_header = header;
        piece_header.offset_bytes = header.offset_bytes + at as u16;
        piece_header.more_fragments = header.more_fragments || end < data.len();
        piece_header.prepend_to(&mut piece);
        each(piece);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use libnet::socket::Protocol;
    use std::net::Ipv4Addr;

    #[test]
    fn fragments_cover_the_data_and_fit() {
        for (len, mtu) in [(1481, 1500), (65_515, 1500), (100, 68), (65_515, 576), (9, 28)] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut packet = Packet::from_payload(Bytes::from(data.clone()));
            let any = Ipv4Addr::LOCALHOST;
            Ipv4Header::new(any, any, Protocol::UDP).prepend_to(&mut packet);
            let mut joined = Vec::new();
            let mut last = true;
            fragment(&packet, mtu, |mut piece| {
                assert!(piece.len() <= mtu as usize);
                let header = Ipv4Header::parse(&mut piece).unwrap();
                assert_eq!(usize::from(header.offset_bytes), joined.len());
                joined.extend_from_slice(&piece.to_bytes()[20..]);
                last = !header.more_fragments;
                assert!(last || (piece.len() - 20) % 8 == 0);
            });
            assert!(last);
            assert_eq!(joined, data);
        }
    }
}
