//! Cuts a datagram that is too long for its path (RFC 791 §3.2).

use libnet::packet::Packet;

use super::header::{HEADER_BYTES, Ipv4Header, write_checksum};
use super::options;

/// Cuts `packet`, which begins with its IPv4 header and has its checksums in place, into fragments
/// of at most `mtu` bytes, in order. An MTU that holds no data beside the header is taken to hold
/// the least there is, 8 bytes.
///
/// The header must not forbid fragments. Data is shared where it is in few pieces.
pub(crate) fn fragment(packet: &Packet, mtu: u32, mut each: impl FnMut(Packet)) {
    let whole = packet.to_bytes();
    let Some(header) = Ipv4Header::read(&whole) else { return };
    let header_bytes = usize::from(header.header_bytes);
    if header_bytes > whole.len() {
        return;
    }
    let first_options = &whole[HEADER_BYTES..header_bytes];
    // RFC 791 §3.1: options without the copied flag are in the first fragment alone.
    let later_options = options::copied(first_options);
    let data = whole.slice(header_bytes..);
    let mut at = 0;
    while at < data.len() {
        let options = if at == 0 { first_options } else { &later_options };
        // RFC 791 §3.2: every fragment but the last carries a multiple of 8 bytes.
        let step = ((mtu as usize).saturating_sub(HEADER_BYTES + options.len()) & !7).max(8);
        let end = (at + step).min(data.len());
        let mut piece = Packet::from_payload(data.slice(at..end));
        let mut piece_header = header;
        piece_header.offset_bytes = header.offset_bytes + at as u16;
        piece_header.more_fragments = header.more_fragments || end < data.len();
        piece_header.prepend_with_options(options, &mut piece);
        copy_reserved_flag(&whole, &mut piece, HEADER_BYTES + options.len());
        piece.rx_at = packet.rx_at;
        each(piece);
        at = end;
    }
}

/// RFC 1812 §5.2.5: what the reserved bits say is not ours to know; every fragment says it too.
fn copy_reserved_flag(whole: &[u8], piece: &mut Packet, header_bytes: usize) {
    const RESERVED: u8 = 0x80;
    if whole[6] & RESERVED != 0
        && let Some(header) = piece.own(header_bytes)
    {
        header[6] |= RESERVED;
        write_checksum(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use libnet::socket::Protocol;
    use std::net::Ipv4Addr;

    fn datagram(len: usize, options: &[u8]) -> (Packet, Vec<u8>) {
        let data: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        let mut packet = Packet::from_payload(Bytes::from(data.clone()));
        let any = Ipv4Addr::LOCALHOST;
        Ipv4Header::new(any, any, Protocol::UDP).prepend_with_options(options, &mut packet);
        (packet, data)
    }

    #[test]
    fn fragments_cover_the_data_and_fit() {
        for (len, mtu) in [(1481, 1500), (65_515, 1500), (100, 68), (65_515, 576), (9, 28)] {
            let (packet, data) = datagram(len, &[]);
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

    #[test]
    fn a_fragment_is_cut_into_fragments_of_the_same_datagram() {
        let (packet, data) = datagram(1_000, &[]);
        let mut joined = vec![0; 1_000];
        let mut lasts = 0;
        fragment(&packet, 576, |piece| {
            fragment(&piece, 100, |mut piece| {
                let header = Ipv4Header::parse(&mut piece).unwrap();
                let at = usize::from(header.offset_bytes);
                let bytes = piece.to_bytes();
                joined[at..at + bytes.len() - 20].copy_from_slice(&bytes[20..]);
                lasts += usize::from(!header.more_fragments);
            });
        });
        assert_eq!(lasts, 1);
        assert_eq!(joined, data);
    }

    #[test]
    fn options_with_the_copied_flag_are_in_every_fragment_and_the_others_in_the_first() {
        // Record route is not copied, router alert is.
        let options = [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0];
        let (packet, _) = datagram(200, &options);
        let mut seen = Vec::new();
        fragment(&packet, 100, |mut piece| {
            assert!(piece.len() <= 100);
            let header = Ipv4Header::parse(&mut piece).unwrap();
            let bytes = piece.to_bytes();
            seen.push(bytes[20..usize::from(header.header_bytes)].to_vec());
        });
        assert_eq!(seen[0], options);
        assert!(seen.len() > 2 && seen[1..].iter().all(|options| options == &[148, 4, 0, 0]));
    }

    #[test]
    fn the_reserved_flag_is_in_every_fragment() {
        for options in [&[][..], &[148, 4, 0, 0]] {
            let (mut packet, _) = datagram(200, options);
            let header = packet.own(20 + options.len()).unwrap();
            header[6] |= 0x80;
            write_checksum(header);
            let mut pieces = 0;
            fragment(&packet, 100, |mut piece| {
                assert_eq!(piece.to_bytes()[6] & 0x80, 0x80, "RFC 1812 §5.2.5");
                Ipv4Header::parse(&mut piece).expect("the checksum holds");
                pieces += 1;
            });
            assert!(pieces > 2);
        }
    }

    #[test]
    fn an_mtu_that_holds_no_data_ends_all_the_same() {
        let (packet, _) = datagram(100, &[1; 40]);
        let mut count = 0;
        fragment(&packet, 0, |_| count += 1);
        assert_eq!(count, 13);
    }
}
