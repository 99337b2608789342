//! Where everything is in the file, and the header page that says so.
//!
//! ```text
//! +--------+-------+-------+----------+-------------------------+---------------------- …
//! | header | slots | bells | controls | pairs: a row per sender | rings: one per sender
//! +--------+-------+-------+----------+-------------------------+---------------------- …
//!   4096 B   128 B   192 B   256 B      64 B per receiver         a power of two
//! ```
//! What is small and belongs to all members lies close together, and what a sender writes for its
//! receivers lies in a row, so that a frame to a thousand touches few pages.

use std::ops::Range;

use crate::pos::UNIT;

/// Sizes of a bus, fixed when it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusConfig {
    /// The most members at a time, 2..=4096. Each slot costs file size; blocks only in use.
    pub max_members: u16,
    /// Bytes of each member's ring: a power of two, 256 KiB..=64 MiB. A small ring stays in the
    /// processor's cache.
    pub ring_bytes: u32,
    /// The largest IP packet on the segment, in bytes, 68..=65,535 (RFC 791).
    pub mtu: u32,
}

impl Default for BusConfig {
    /// 1,024 members, rings of 512 KiB, an MTU of 1,500 bytes.
    fn default() -> Self {
        BusConfig { max_members: 1024, ring_bytes: 512 * 1024, mtu: 1500 }
    }
}

impl BusConfig {
    /// At most so many members at a time, 2..=4096.
    #[must_use]
    pub fn max_members(mut self, members: u16) -> Self {
        self.max_members = members;
        self
    }

    /// Rings of so many bytes: a power of two, 256 KiB..=64 MiB.
    #[must_use]
    pub fn ring_bytes(mut self, bytes: u32) -> Self {
        self.ring_bytes = bytes;
        self
    }

    /// IP packets of at most so many bytes, 68..=65,535.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = bytes;
        self
    }

    /// Is every value within its range?
    pub(crate) fn is_valid(&self) -> bool {
        (2..=MAX_MEMBERS).contains(&self.max_members)
            && self.ring_bytes.is_power_of_two()
            && (MIN_RING_BYTES..=MAX_RING_BYTES).contains(&self.ring_bytes)
            && (68..=65_535).contains(&self.mtu)
    }
}

/// The offsets that follow from a configuration. Copied at attach and never read again; all that each
/// frame needs is worked out once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) max_members: u16,
    pub(crate) ring_bytes: usize,
    pub(crate) mtu: u32,
    bells_at: usize,
    bell_bytes: usize,
    controls_at: usize,
    rows_at: usize,
    row_bytes: usize,
    rings_at: usize,
}

impl Geometry {
    /// Of a configuration within its ranges.
    pub(crate) fn new(config: &BusConfig) -> Self {
        let members = usize::from(config.max_members);
        let pending_bytes = members.div_ceil(64) * 8;
        let bells_at = PAGE + members * SLOT_BYTES;
        let bell_bytes = (bell::PENDING + pending_bytes).next_multiple_of(UNIT);
        let controls_at = bells_at + members * bell_bytes;
        let rows_at = (controls_at + members * CONTROL_BYTES).next_multiple_of(PAGE);
        let row_bytes = (members * PAIR_BYTES).next_multiple_of(PAGE);
        Geometry {
            max_members: config.max_members,
            ring_bytes: config.ring_bytes as usize,
            mtu: config.mtu,
            bells_at,
            bell_bytes,
            controls_at,
            rows_at,
            row_bytes,
            rings_at: rows_at + members * row_bytes,
        }
    }

    /// Where slot `slot` is.
    pub(crate) fn slot(&self, slot: u16) -> usize {
        PAGE + usize::from(slot) * SLOT_BYTES
    }

    /// Where the bell of `slot` is, and its pending bits.
    pub(crate) fn bell(&self, slot: u16) -> usize {
        self.bells_at + usize::from(slot) * self.bell_bytes
    }

    /// Where the control block of `slot` is.
    pub(crate) fn control(&self, slot: u16) -> usize {
        self.controls_at + usize::from(slot) * CONTROL_BYTES
    }

    /// The record of what `sender` has for `receiver`.
    pub(crate) fn pair(&self, receiver: u16, sender: u16) -> usize {
        self.row(sender).start + usize::from(receiver) * PAIR_BYTES
    }

    /// The records of what `sender` has for all.
    pub(crate) fn row(&self, sender: u16) -> Range<usize> {
        let start = self.rows_at + usize::from(sender) * self.row_bytes;
        start..start + self.row_bytes
    }

    /// The ring of `slot`.
    pub(crate) fn ring(&self, slot: u16) -> Range<usize> {
        let start = self.rings_at + usize::from(slot) * self.ring_bytes;
        start..start + self.ring_bytes
    }

    /// Bytes of what is reserved when the file is made: all before the rows.
    pub(crate) fn common_bytes(&self) -> usize {
        self.rows_at
    }

    /// Bytes of the whole file.
    pub(crate) fn file_bytes(&self) -> usize {
        self.ring(self.max_members).start
    }

    /// 64-bit words of pending bits of each member.
    pub(crate) fn pending_words(&self) -> usize {
        usize::from(self.max_members).div_ceil(64)
    }

    /// Units of a ring.
    pub(crate) fn ring_units(&self) -> u64 {
        (self.ring_bytes / UNIT) as u64
    }
}

/// `RUMPNBUS`, as a number of the machine's byte order: a foreign order does not match.
pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"RUMPNBUS");
/// The version of this format.
pub(crate) const VERSION: u32 = 1;

/// The page size of the format, whatever the machine's is.
pub(crate) const PAGE: usize = 4096;
pub(crate) const SLOT_BYTES: usize = 128;
pub(crate) const CONTROL_BYTES: usize = 256;
pub(crate) const PAIR_BYTES: usize = 64;
pub(crate) const MAX_MEMBERS: u16 = 4096;
pub(crate) const MIN_RING_BYTES: u32 = 256 * 1024;
pub(crate) const MAX_RING_BYTES: u32 = 64 * 1024 * 1024;

/// Offsets in the header page. Everything before `CHECK` is fixed when the file is made.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 8;
    /// Bits that a reader must know, or refuse the file. Those at 16 it may ignore.
    pub(crate) const REQUIRED: usize = 12;
    pub(crate) const MAX_MEMBERS: usize = 20;
    pub(crate) const RING_BYTES: usize = 24;
    pub(crate) const MTU: usize = 28;
    pub(crate) const FILE_BYTES: usize = 32;
    pub(crate) const MONOTONIC_NS: usize = 40;
    pub(crate) const REALTIME_NS: usize = 48;
    pub(crate) const BOOT_ID: usize = 56;
    /// FNV-1a of the bytes before it.
    pub(crate) const CHECK: usize = 72;
    /// Bytes of the fixed part.
    pub(crate) const FIXED_BYTES: usize = 80;
    /// Changes whenever a slot does.
    pub(crate) const GENERATION: usize = 1024;
    /// Slots from here on were never used.
    pub(crate) const USED_SLOTS: usize = 1032;
}

/// Offsets in a slot.
pub(crate) mod slot {
    pub(crate) const STATE: usize = 0;
    pub(crate) const MAC: usize = 8;
    pub(crate) const FILTER: usize = 16;
    pub(crate) const GROUPS: usize = 24;
    /// Process id in the low half, MTU in the high one.
    pub(crate) const PID_MTU: usize = 32;
    pub(crate) const SINCE_NS: usize = 40;
    /// Six words of UTF-8, zero padded.
    pub(crate) const NAME: usize = 48;
    pub(crate) const NAME_BYTES: usize = 48;
}

/// Offsets in a bell.
pub(crate) mod bell {
    pub(crate) const WORD: usize = 0;
    pub(crate) const ARMED: usize = 4;
    pub(crate) const SUMMARY: usize = 8;
    /// Bit `s % 64` of word `s / 64` says that slot `s` has published something.
    pub(crate) const PENDING: usize = 64;
}

/// Offsets in a control block: a cache line for the ring, for sending, for receiving, for others.
pub(crate) mod control {
    pub(crate) const HEAD: usize = 0;
    pub(crate) const RECLAIM: usize = 8;
    pub(crate) const TX_FRAMES: usize = 64;
    pub(crate) const TX_BYTES: usize = 72;
    pub(crate) const TX_WAITS: usize = 80;
    pub(crate) const TX_REFUSED: usize = 88;
    pub(crate) const RX_FRAMES: usize = 128;
    pub(crate) const RX_BYTES: usize = 136;
    pub(crate) const RX_MISSED: usize = 144;
    pub(crate) const RX_MALFORMED: usize = 152;
    /// When a sender gave up waiting for this member, in ns; 0: nobody has.
    pub(crate) const STALLED_NS: usize = 192;
}

/// Offsets in a pair record.
pub(crate) mod pair {
    /// Receiver's: its epoch, and before where it has taken everything.
    pub(crate) const CURSOR: usize = 0;
    /// Sender's: the receiver's epoch, and where the first frame is that it has not taken.
    pub(crate) const FIRST: usize = 8;
    /// Sender's: the receiver's epoch, and how many frames it had for it.
    pub(crate) const ADDRESSED: usize = 16;
    /// Sender's: ring me when the cursor is here; 0: no need.
    pub(crate) const NEED: usize = 24;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_all_is_aligned() {
        for max_members in [2, 3, 64, 1024, 4096] {
            let config = BusConfig { max_members, ..BusConfig::default() };
            let geometry = Geometry::new(&config);
            assert!(config.is_valid());
            let last = max_members - 1;
            assert_eq!(geometry.slot(last) + SLOT_BYTES, geometry.bell(0));
            assert!(geometry.bell(0).is_multiple_of(UNIT));
            let bits = usize::from(max_members).div_ceil(8);
            assert!(geometry.bell(0) + bell::PENDING + bits <= geometry.bell(1));
            assert_eq!(geometry.control(last) + CONTROL_BYTES, geometry.control(max_members));
            assert!(geometry.control(max_members) <= geometry.row(0).start);
            assert!(geometry.pair(last, 0) + PAIR_BYTES <= geometry.row(0).end);
            assert_eq!(geometry.row(0).end, geometry.row(1).start);
            assert_eq!(geometry.row(last).end, geometry.ring(0).start);
            assert_eq!(geometry.ring(0).end, geometry.ring(1).start);
            assert_eq!(geometry.ring(last).end, geometry.file_bytes());
            assert!(geometry.ring(last).start.is_multiple_of(PAGE));
        }
    }
}
