//! The header of a frame in a ring: what it holds, and how it is packed into words.

use std::num::NonZeroU16;

use libnet::packet::{Checksum, Gso, GsoKind};

use crate::pos::{Epoch, Pos, UNIT};

/// Bytes of a frame's header in the ring.
pub(crate) const HEADER_BYTES: usize = 40;
/// The same in words.
pub(crate) const HEADER_WORDS: usize = HEADER_BYTES / 8;
/// The shortest frame: an Ethernet header.
pub(crate) const MIN_FRAME_BYTES: usize = 14;
/// The longest: 64 KiB of IP less one byte, and the Ethernet header.
pub(crate) const MAX_FRAME_BYTES: usize = 65_549;

/// Whom a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dest {
    /// One member, of this epoch.
    Member(u16, Epoch),
    /// Everyone who listens to its group address.
    Group,
    /// A unicast address that no member owns: bridges.
    Unknown,
}

/// What the sender says of a frame.
///
/// ```text
///       63            48 47                                            0
/// w0   | epoch of sender| position of this frame in the stream          |
/// w1   | CLOCK_MONOTONIC in ns when it was sent                         |
/// w2   | dst epoch      | dst slot       | frame bytes                  |
/// w3   | sum  | gso kind| gso segment    | sum field     | sum start    |
/// w4   | how many frames this epoch of the sender published before it   |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) sent_ns: u64,
    pub(crate) number: u64,
    pub(crate) frame_bytes: u32,
    pub(crate) dest: Dest,
    pub(crate) checksum: Checksum,
    pub(crate) gso: Option<Gso>,
}

impl FrameHeader {
    /// Units that a frame of `frame_bytes` takes in the ring, header included.
    pub(crate) fn units(frame_bytes: usize) -> u64 {
        (HEADER_BYTES + frame_bytes).div_ceil(UNIT) as u64
    }

    /// The words, for the frame at `at` of the sender's `epoch`.
    pub(crate) fn to_words(self, epoch: Epoch, at: Pos) -> [u64; HEADER_WORDS] {
        let (slot, dst_epoch) = match self.dest {
            Dest::Member(slot, epoch) => (slot, epoch.number()),
            Dest::Group => (GROUP, 0),
            Dest::Unknown => (UNKNOWN, 0),
        };
        let (sum, start, field) = match self.checksum {
            Checksum::Unverified => (0, 0, 0),
            Checksum::Trusted => (1, 0, 0),
            Checksum::Partial { start, field } => (2, start, field),
        };
        let (kind, segment) = match self.gso {
            None => (0, 0),
            Some(gso) => (gso_number(gso.kind), gso.segment_bytes.get()),
        };
        [
            epoch.with(at),
            self.sent_ns,
            u64::from(self.frame_bytes) | u64::from(slot) << 32 | u64::from(dst_epoch) << 48,
            u64::from(start)
                | u64::from(field) << 16
                | u64::from(segment) << 32
                | kind << 48
                | sum << 56,
            self.number,
        ]
    }

    /// Reads the words of the frame at `at`; `None` if they are not those of a frame there.
    ///
    /// The length is within bounds; checksum and segment are what the sender claims and no more.
    pub(crate) fn from_words(words: [u64; HEADER_WORDS], at: Pos) -> Option<(Epoch, FrameHeader)> {
        let (epoch, stamp) = crate::pos::split(words[0]);
        let frame_bytes = words[2] as u32;
        let fits = (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&(frame_bytes as usize));
        if stamp != at || epoch == Epoch::NONE || !fits {
            return None;
        }
        let dest = match (words[2] >> 32) as u16 {
            GROUP => Dest::Group,
            UNKNOWN => Dest::Unknown,
            slot => Dest::Member(slot, Epoch::from_number((words[2] >> 48) as u16)),
        };
        let checksum = match words[3] >> 56 {
            0 => Checksum::Unverified,
            1 => Checksum::Trusted,
            2 => Checksum::Partial { start: words[3] as u16, field: (words[3] >> 16) as u16 },
            _ => return None,
        };
        let gso = match (words[3] >> 48) as u8 {
            0 => None,
            number => Some(Gso {
                kind: gso_kind(number)?,
                segment_bytes: NonZeroU16::new((words[3] >> 32) as u16)?,
            }),
        };
        let (sent_ns, number) = (words[1], words[4]);
        Some((epoch, FrameHeader { sent_ns, number, frame_bytes, dest, checksum, gso }))
    }

    /// Can what it says of itself be true on a bus of this MTU? Checksum offsets lie inside,
    /// segments within the MTU, and only a super-segment is longer than the MTU allows.
    pub(crate) fn is_plausible(&self, mtu: u32) -> bool {
        let sum_inside = match self.checksum {
            Checksum::Partial { start, field } => {
                u32::from(start) + u32::from(field) + 2 <= self.frame_bytes
            }
            _ => true,
        };
        let length_allowed = match self.gso {
            Some(gso) => u32::from(gso.segment_bytes.get()) <= mtu,
            None => self.frame_bytes <= mtu.saturating_add(LINK_HEADER_BYTES),
        };
        sum_inside && length_allowed
    }
}

/// An Ethernet header with one 802.1Q tag.
const LINK_HEADER_BYTES: u32 = 18;

const GROUP: u16 = 0xffff;
const UNKNOWN: u16 = 0xfffe;

fn gso_number(kind: GsoKind) -> u64 {
    match kind {
        GsoKind::Tcp4 => 1,
        GsoKind::Tcp6 => 2,
        GsoKind::Udp => 3,
        // A kind that this version of the format cannot say: readers refuse the frame.
        _ => 0xff,
    }
}

fn gso_kind(number: u8) -> Option<GsoKind> {
    match number {
        1 => Some(GsoKind::Tcp4),
        2 => Some(GsoKind::Tcp6),
        3 => Some(GsoKind::Udp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = FrameHeader> {
        let dest = prop_oneof![
            Just(Dest::Group),
            Just(Dest::Unknown),
            (0..4096_u16, 1..=u16::MAX).prop_map(|(s, e)| Dest::Member(s, Epoch::from_number(e))),
        ];
        let checksum = prop_oneof![
            Just(Checksum::Unverified),
            Just(Checksum::Trusted),
            (any::<u16>(), any::<u16>())
                .prop_map(|(start, field)| Checksum::Partial { start, field }),
        ];
        let kind = prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)];
        let gso = proptest::option::of((kind, 1..=u16::MAX).prop_map(|(kind, bytes)| Gso {
            kind,
            segment_bytes: NonZeroU16::new(bytes).unwrap(),
        }));
        (any::<u64>(), any::<u64>(), 14..=65_549_u32, dest, checksum, gso).prop_map(
            |(sent_ns, number, frame_bytes, dest, checksum, gso)| FrameHeader {
                sent_ns,
                number,
                frame_bytes,
                dest,
                checksum,
                gso,
            },
        )
    }

    proptest! {
        #[test]
        fn words_round_trip(header in header(), epoch in 1..=u16::MAX, at in 0_u64..1 << 48) {
            let (epoch, at) = (Epoch::from_number(epoch), Pos::START.plus(at));
            let words = header.to_words(epoch, at);
            prop_assert_eq!(FrameHeader::from_words(words, at), Some((epoch, header)));
            prop_assert_eq!(FrameHeader::from_words(words, at.plus(1)), None);
        }

        #[test]
        fn any_words_are_survived(words: [u64; HEADER_WORDS], mtu: u32) {
            let (_, at) = crate::pos::split(words[0]);
            if let Some((_, header)) = FrameHeader::from_words(words, at) {
                let _ = header.is_plausible(mtu);
            }
        }
    }

    #[test]
    fn claims_that_cannot_be_true_are_told() {
        let plain = FrameHeader {
            sent_ns: 0,
            number: 0,
            frame_bytes: 1514,
            dest: Dest::Group,
            checksum: Checksum::Partial { start: 34, field: 16 },
            gso: None,
        };
        assert!(plain.is_plausible(1500));
        assert!(!FrameHeader { frame_bytes: 1519, ..plain }.is_plausible(1500));
        let outside = Checksum::Partial { start: 1500, field: 13 };
        assert!(!FrameHeader { checksum: outside, ..plain }.is_plausible(1500));
        let segment_bytes = NonZeroU16::new(1501).unwrap();
        let gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes });
        assert!(!FrameHeader { gso, ..plain }.is_plausible(1500));
        assert!(FrameHeader { gso, frame_bytes: 65_549, ..plain }.is_plausible(1501));
    }
}
