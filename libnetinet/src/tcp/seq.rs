//! Sequence numbers: 32 bits that wrap, with an order only among neighbours.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A TCP sequence number. Source: RFC 9293 §3.4.
///
/// It has no `<`: two numbers are ordered only if less than 2^31 apart, and the methods say so.
///
/// ```
/// use libnetinet::tcp::SeqNumber;
/// let last = SeqNumber::new(u32::MAX);
/// assert!(last.lt(last + 1));
/// assert_eq!((last + 10) - last, 10);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeqNumber(u32);

impl SeqNumber {
    /// The number as it stands in a header.
    pub const fn new(value: u32) -> Self {
        SeqNumber(value)
    }

    /// The number for a header.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// Is it before `other`?
    pub const fn lt(self, other: SeqNumber) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Is it `other` or before it?
    pub const fn le(self, other: SeqNumber) -> bool {
        self.0 == other.0 || self.lt(other)
    }

    /// Is it after `other`?
    pub const fn gt(self, other: SeqNumber) -> bool {
        other.lt(self)
    }

    /// Is it `other` or after it?
    pub const fn ge(self, other: SeqNumber) -> bool {
        other.le(self)
    }

    /// The later of the two.
    pub const fn max(self, other: SeqNumber) -> SeqNumber {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of the two.
    pub const fn min(self, other: SeqNumber) -> SeqNumber {
        if self.lt(other) { self } else { other }
    }

    /// Is it one of the `len` numbers from `start` on?
    pub const fn is_within(self, start: SeqNumber, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }

    /// Numbers from `earlier` up to this one; 0 if it is not after `earlier`.
    pub const fn saturating_since(self, earlier: SeqNumber) -> u32 {
        if self.gt(earlier) { self.0.wrapping_sub(earlier.0) } else { 0 }
    }
}

impl Add<u32> for SeqNumber {
    type Output = SeqNumber;

    fn add(self, rhs: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_add(rhs))
    }
}

impl AddAssign<u32> for SeqNumber {
    fn add_assign(&mut self, rhs: u32) {
        *self = *self + rhs;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = SeqNumber;

    fn sub(self, rhs: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_sub(rhs))
    }
}

/// The distance, modulo 2^32.
impl Sub<SeqNumber> for SeqNumber {
    type Output = u32;

    fn sub(self, rhs: SeqNumber) -> u32 {
        self.0.wrapping_sub(rhs.0)
    }
}

impl fmt::Debug for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn order_among_neighbours_is_that_of_whole_numbers(
            base: u32, a in 0u32..1 << 31, b in 0u32..1 << 31,
        ) {
            let (x, y) = (SeqNumber::new(base) + a, SeqNumber::new(base) + b);
            prop_assert_eq!(x.lt(y), a < b);
            prop_assert_eq!(x.le(y), a <= b);
            prop_assert_eq!(x.gt(y), a > b);
            prop_assert_eq!(x.ge(y), a >= b);
            prop_assert_eq!(x.max(y) - SeqNumber::new(base), a.max(b));
            prop_assert_eq!(x.min(y) - SeqNumber::new(base), a.min(b));
            prop_assert_eq!(x.saturating_since(y), a.saturating_sub(b));
        }

        #[test]
        fn adding_and_subtracting_cancel(base: u32, n: u32, start: u32, len: u32) {
            let x = SeqNumber::new(base);
            prop_assert_eq!(x + n - n, x);
            prop_assert_eq!((x + n) - x, n);
            let offset = x - SeqNumber::new(start);
            prop_assert_eq!(x.is_within(SeqNumber::new(start), len), offset < len);
        }
    }
}
