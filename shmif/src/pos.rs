//! Places in a ring's endless stream, and words that carry one together with an epoch.

use std::fmt;

/// Bytes of a unit: frames start on one.
pub(crate) const UNIT: usize = 64;

const BITS: u32 = 48;
const MASK: u64 = (1 << BITS) - 1;

/// A place in the stream that a sender has ever written, in units of 64 bytes, modulo 2^48.
///
/// No `<`: as with sequence numbers, only distances mean something.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pos(u64);

impl Pos {
    /// Where a ring begins that was never used.
    pub(crate) const START: Pos = Pos(0);

    /// `units` further on.
    pub(crate) fn plus(self, units: u64) -> Pos {
        Pos(self.0.wrapping_add(units) & MASK)
    }

    /// Units from `earlier` to here; huge if `earlier` is in fact later.
    pub(crate) fn since(self, earlier: Pos) -> u64 {
        self.0.wrapping_sub(earlier.0) & MASK
    }

    /// Is `other` ahead of here? Holds while they are less than 2^47 units apart.
    pub(crate) fn is_before(self, other: Pos) -> bool {
        self != other && other.since(self) < 1 << (BITS - 1)
    }

    /// The unit of a ring of `units` (a power of two) that holds it.
    pub(crate) fn unit_in(self, units: u64) -> u64 {
        self.0 & (units - 1)
    }
}

impl fmt::Debug for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// How often a slot was claimed, modulo 2^16 and never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Epoch(u16);

impl Epoch {
    /// Nobody's.
    pub(crate) const NONE: Epoch = Epoch(0);

    /// The epoch whose number is `number`.
    pub(crate) fn from_number(number: u16) -> Epoch {
        Epoch(number)
    }

    /// Its number.
    pub(crate) fn number(self) -> u16 {
        self.0
    }

    /// The next claim's.
    pub(crate) fn next(self) -> Epoch {
        Epoch(self.0.checked_add(1).unwrap_or(1))
    }

    /// One word of both; never 0 unless the epoch is [`Epoch::NONE`].
    pub(crate) fn with(self, pos: Pos) -> u64 {
        u64::from(self.0) << BITS | pos.0
    }
}

/// Takes a word of epoch and position apart.
pub(crate) fn split(word: u64) -> (Epoch, Pos) {
    (Epoch((word >> BITS) as u16), Pos(word & MASK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_wrap_and_keep_their_order() {
        let late = Pos::START.plus(MASK);
        let wrapped = late.plus(5);
        assert_eq!(wrapped.since(late), 5);
        assert!(late.is_before(wrapped));
        assert!(!wrapped.is_before(late));
        assert!(!late.is_before(late));
    }

    #[test]
    fn a_word_carries_both_and_epochs_skip_zero() {
        let epoch = Epoch::from_number(u16::MAX);
        let pos = Pos::START.plus(77);
        assert_eq!(split(epoch.with(pos)), (epoch, pos));
        assert_eq!(epoch.next(), Epoch::from_number(1));
        assert_ne!(epoch.next().with(Pos::START), 0);
    }
}
