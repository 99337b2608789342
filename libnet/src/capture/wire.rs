//! What a wire would have carried of a packet: checksums complete, lengths true.

use bytes::Bytes;

use crate::checksum::{Sum, checksum};
use crate::link::Medium;
use crate::packet::{Checksum, Packet};
use crate::socket::Protocol;

/// The packet's bytes with partial checksums completed. A super-segment stays whole: its IP and
/// UDP lengths say so, and its checksums are over all of it.
///
/// Metadata that do not fit the packet are left out of account, as are headers that end early.
pub fn whole_frame(packet: &Packet, medium: Medium) -> Bytes {
    if packet.gso.is_none() && !matches!(packet.checksum, Checksum::Partial { .. }) {
        return packet.to_bytes();
    }
    let mut packet = packet.clone();
    // What cannot be completed is shown as it is.
    let _ = packet.complete_checksum();
    if packet.gso.is_none() {
        return packet.to_bytes();
    }
    let mut frame = Vec::from(&packet.to_bytes()[..]);
    // A header that ends early has nothing to mend.
    let _ = mend_super_frame(&mut frame, medium);
    frame.into()
}

/// Where an IP packet's parts are.
struct Layout {
    protocol: Protocol,
    /// Offset of the transport header.
    transport: usize,
    /// The pseudo-header's addresses.
    addresses: Sum,
}

fn mend_super_frame(frame: &mut [u8], medium: Medium) -> Option<()> {
    let ip = match medium {
        Medium::Ethernet => ethernet_len(frame)?,
        Medium::Ip => 0,
    };
    let layout = match frame.get(ip)? >> 4 {
        4 => mend_v4(frame, ip)?,
        6 => mend_v6(frame, ip)?,
        _ => return None,
    };
    let bytes = frame.len().checked_sub(layout.transport)?;
    let field = match layout.protocol {
        Protocol::TCP => 16,
        Protocol::UDP => {
            put(frame, layout.transport + 4, u16::try_from(bytes).unwrap_or(0))?;
            6
        }
        _ => return None,
    };
    let at = layout.transport + field;
    put(frame, at, 0)?;
    let mut sum = layout.addresses;
    sum.add_u16(u16::from(layout.protocol.0));
    // RFC 8200 §8.1: the upper-layer length has 32 bits; both halves are summed.
    sum.add_u16((bytes >> 16) as u16);
    sum.add_u16(bytes as u16);
    sum.add(frame.get(layout.transport..)?);
    // RFC 768: zero would mean "none".
    let value = match (sum.finish(), layout.protocol) {
        (0, Protocol::UDP) => 0xffff,
        (value, _) => value,
    };
    put(frame, at, value)
}

fn ethernet_len(frame: &[u8]) -> Option<usize> {
    let tagged = frame.get(12..14)? == [0x81, 0x00];
    Some(if tagged { 18 } else { 14 })
}

fn mend_v4(frame: &mut [u8], ip: usize) -> Option<Layout> {
    let header_bytes = usize::from(frame[ip] & 0xf) * 4;
    let transport = ip + header_bytes;
    let total = u16::try_from(frame.len() - ip).ok()?;
    if header_bytes < 20 || frame.len() < transport {
        return None;
    }
    put(frame, ip + 2, total)?;
    put(frame, ip + 10, 0)?;
    let value = checksum(&frame[ip..transport]);
    put(frame, ip + 10, value)?;
    let mut addresses = Sum::new();
    addresses.add(&frame[ip + 12..ip + 20]);
    Some(Layout { protocol: Protocol(frame[ip + 9]), transport, addresses })
}

fn mend_v6(frame: &mut [u8], ip: usize) -> Option<Layout> {
    let payload = u16::try_from(frame.len().checked_sub(ip + 40)?).ok()?;
    put(frame, ip + 4, payload)?;
    let mut addresses = Sum::new();
    addresses.add(&frame[ip + 8..ip + 40]);
    Some(Layout { protocol: Protocol(frame[ip + 6]), transport: ip + 40, addresses })
}

fn put(frame: &mut [u8], at: usize, value: u16) -> Option<()> {
    frame.get_mut(at..at + 2)?.copy_from_slice(&value.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;
    use crate::packet::{Gso, GsoKind};

    fn tcp4(payload_bytes: usize) -> Packet {
        let mut frame = vec![0u8; 14 + 20 + 20];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[14 + 9] = 6;
        frame[14 + 12..14 + 20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame[34 + 12] = 5 << 4;
        let mut packet = Packet::from_payload(frame.into());
        packet.push_payload(vec![7u8; payload_bytes].into());
        packet.checksum = Checksum::Partial { start: 34, field: 16 };
        let segment_bytes = NonZeroU16::new(1460).unwrap();
        packet.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes });
        packet
    }

    #[test]
    fn a_super_segment_is_written_as_one_true_packet() {
        let frame = whole_frame(&tcp4(40_001), Medium::Ethernet);
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(frame[16..18], 40_041u16.to_be_bytes());
        let mut sum = Sum::new();
        sum.add(&frame[26..34]);
        sum.add_u16(6);
        sum.add_u16(40_021);
        sum.add(&frame[34..]);
        assert_eq!(sum.finish(), 0);
    }

    proptest! {
        #[test]
        fn garbage_with_any_metadata_does_not_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            start in any::<u16>(),
            field in any::<u16>(),
            version in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
        ) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.get_mut(14) {
                *byte = version;
            }
            let len = bytes.len();
            let mut packet = Packet::from_payload(bytes.into());
            packet.checksum = Checksum::Partial { start, field };
            let segment_bytes = NonZeroU16::MIN;
            packet.gso = Some(Gso { kind: GsoKind::Udp, segment_bytes });
            prop_assert_eq!(whole_frame(&packet, Medium::Ethernet).len(), len);
            prop_assert_eq!(whole_frame(&packet, Medium::Ip).len(), len);
        }
    }
}
