//! virtio-net's header: what stands in front of a frame and says how to cut and checksum it.
//!
//! ```text
//!  0       1          2         4          6            8             10
//! +-------+----------+---------+----------+------------+-------------+- - - - - - -+
//! | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset | num_buffers |
//! +-------+----------+---------+----------+------------+-------------+- - - - - - -+
//! ```
//! Source: virtio 1.2 §5.1.6, `linux/virtio_net.h`. A tap has it in the machine's byte order and
//! ten bytes long, unless told otherwise.

use std::num::NonZeroU16;

use libnet::link::Medium;
use libnet::packet::{Checksum, Gso, GsoKind, Packet};

use crate::big::Joined;

/// Bytes of the header without its counter of buffers.
pub(crate) const SHORT_BYTES: usize = 10;
/// Bytes of the header with it.
pub(crate) const LONG_BYTES: usize = 12;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

const TCP_CWR: u8 = 0x80;
const TCP_SUM_AT: u16 = 16;
const UDP_HEADER_BYTES: usize = 8;

/// The header says what cannot be true of its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// What a header says of its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    pub(crate) checksum: Checksum,
    pub(crate) gso: Option<Gso>,
}

/// The header for a packet.
pub(crate) fn encode(packet: &Packet, medium: Medium) -> [u8; LONG_BYTES] {
    let mut header = [0; LONG_BYTES];
    let mut put = |at: usize, value: u16| header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    // One buffer holds the whole frame.
    put(10, 1);
    if let Checksum::Partial { start, field } = packet.checksum {
        put(6, start);
        put(8, field);
    }
    let mut gso_type = GSO_NONE;
    if let Some(gso) = packet.gso {
        let (headers, flags) = transport_of(packet, medium, gso.kind);
        put(2, headers);
        put(4, gso.segment_bytes.get());
        gso_type = match gso.kind {
            GsoKind::Tcp4 => GSO_TCPV4,
            GsoKind::Tcp6 => GSO_TCPV6,
            _ => GSO_UDP_L4,
        };
        // RFC 3168 §6.1.2: the first segment alone says that the window was reduced.
        if gso.kind != GsoKind::Udp && flags & TCP_CWR != 0 {
            gso_type |= GSO_ECN;
        }
    }
    header[0] = match packet.checksum {
        Checksum::Partial { .. } => NEEDS_CSUM,
        Checksum::Trusted | Checksum::Unverified => 0,
    };
    header[1] = gso_type;
    header
}

/// The header for packets that were joined.
pub(crate) fn encode_joined(joined: &Joined) -> [u8; LONG_BYTES] {
    let mut header = [0; LONG_BYTES];
    let mut put = |at: usize, value: u16| header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    put(2, joined.headers().len() as u16);
    put(4, joined.gso().segment_bytes.get());
    put(6, joined.tcp() as u16);
    put(8, TCP_SUM_AT);
    put(10, 1);
    header[0] = NEEDS_CSUM;
    header[1] = if joined.gso().kind == GsoKind::Tcp4 { GSO_TCPV4 } else { GSO_TCPV6 };
    header
}

/// What the header in front of a frame of `frame_bytes` says of it.
pub(crate) fn decode(header: &[u8], frame_bytes: usize) -> Result<Meta, Malformed> {
    let header: &[u8; SHORT_BYTES] = header.first_chunk().ok_or(Malformed)?;
    let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let checksum = if header[0] & NEEDS_CSUM != 0 {
        let (start, field) = (word(6), word(8));
        if usize::from(start) + usize::from(field) + 2 > frame_bytes {
            return Err(Malformed);
        }
        Checksum::Partial { start, field }
    } else if header[0] & DATA_VALID != 0 {
        Checksum::Trusted
    } else {
        Checksum::Unverified
    };
    let kind = match header[1] & !GSO_ECN {
        GSO_NONE => return Ok(Meta { checksum, gso: None }),
        GSO_TCPV4 => GsoKind::Tcp4,
        GSO_TCPV6 => GsoKind::Tcp6,
        GSO_UDP_L4 => GsoKind::Udp,
        _ => return Err(Malformed),
    };
    let segment_bytes = NonZeroU16::new(word(4)).ok_or(Malformed)?;
    Ok(Meta { checksum, gso: Some(Gso { kind, segment_bytes }) })
}

/// Bytes of all headers of a super-segment, and the flags byte if it is TCP's. The kernel copies
/// as many bytes into the first part of its buffer; zero would make it one part.
fn transport_of(packet: &Packet, medium: Medium, kind: GsoKind) -> (u16, u8) {
    let start = match packet.checksum {
        Checksum::Partial { start, .. } => usize::from(start),
        Checksum::Trusted | Checksum::Unverified => ip_payload_of(packet, medium),
    };
    let mut transport = [0; 14];
    packet.copy_to(start, &mut transport);
    let bytes = match kind {
        GsoKind::Tcp4 | GsoKind::Tcp6 => usize::from(transport[12] >> 4) * 4,
        _ => UDP_HEADER_BYTES,
    };
    (u16::try_from(start + bytes).unwrap_or(0), transport[13])
}

/// Where the transport header is, if nothing else says so: IPv6 without extensions.
fn ip_payload_of(packet: &Packet, medium: Medium) -> usize {
    let mut front = [0; 19];
    packet.copy_to(0, &mut front);
    let link = match medium {
        Medium::Ip => 0,
        _ if front[12..14] == [0x81, 0] => 18,
        _ => 14,
    };
    match front[link] >> 4 {
        4 => link + usize::from(front[link] & 15) * 4,
        _ => link + 40,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// Ethernet, IPv4 and TCP with `flags`, then payload; 54 bytes of headers.
    fn segment(flags: u8) -> Packet {
        let mut bytes = vec![0; 54 + 4_000];
        bytes[12] = 8;
        bytes[14] = 0x45;
        bytes[46] = 0x50;
        bytes[47] = flags;
        let mut packet = Packet::from_payload(Bytes::from(bytes));
        packet.checksum = Checksum::Partial { start: 34, field: 16 };
        let segment_bytes = NonZeroU16::new(1_460).unwrap();
        packet.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes });
        packet
    }

    #[test]
    fn a_super_segment_says_where_its_headers_end() {
        for checksum in [Checksum::Partial { start: 34, field: 16 }, Checksum::Trusted] {
            let mut packet = segment(0x10);
            packet.checksum = checksum;
            let header = encode(&packet, Medium::Ethernet);
            assert_eq!(u16::from_ne_bytes([header[2], header[3]]), 54);
            assert_eq!(header[1], GSO_TCPV4);
            let meta = decode(&header, packet.len()).unwrap();
            assert_eq!(meta.gso, packet.gso);
        }
    }

    #[test]
    fn a_reduced_window_is_told() {
        assert_eq!(encode(&segment(0x90), Medium::Ethernet)[1], GSO_TCPV4 | GSO_ECN);
        assert!(decode(&encode(&segment(0x90), Medium::Ethernet), 4_054).is_ok());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut header = encode(&segment(0), Medium::Ethernet);
        assert_eq!(decode(&header[..9], 4_054), Err(Malformed));
        assert_eq!(decode(&header, 51), Err(Malformed), "the checksum is past the end");
        header[4..6].fill(0);
        assert_eq!(decode(&header, 4_054), Err(Malformed), "segments of no byte");
        header[1] = 3;
        assert_eq!(decode(&header, 4_054), Err(Malformed), "fragments were not asked for");
    }

    fn checksums() -> impl Strategy<Value = Checksum> {
        prop_oneof![
            Just(Checksum::Unverified),
            (0_u16..40, 0_u16..20).prop_map(|(start, field)| Checksum::Partial { start, field }),
        ]
    }

    fn kinds() -> impl Strategy<Value = GsoKind> {
        prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            checksum in checksums(),
            gso in proptest::option::of((kinds(), 1_u16..)),
            bytes in proptest::collection::vec(any::<u8>(), 64..200),
        ) {
            let mut packet = Packet::from_payload(Bytes::from(bytes));
            packet.checksum = checksum;
            packet.gso = gso.map(|(kind, bytes)| Gso {
                kind,
                segment_bytes: NonZeroU16::new(bytes).unwrap(),
            });
            for medium in [Medium::Ethernet, Medium::Ip] {
                let meta = decode(&encode(&packet, medium), packet.len()).unwrap();
                prop_assert_eq!(meta, Meta { checksum, gso: packet.gso });
            }
        }

        #[test]
        fn any_header_is_decoded_or_refused(
            header in proptest::collection::vec(any::<u8>(), 0..14),
            frame_bytes in 0_usize..70_000,
        ) {
            if let Ok(Meta { checksum: Checksum::Partial { start, field }, .. }) =
                decode(&header, frame_bytes)
            {
                prop_assert!(usize::from(start) + usize::from(field) + 2 <= frame_bytes);
            }
        }
    }
}
