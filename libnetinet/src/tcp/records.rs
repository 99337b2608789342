//! What was sent and not acknowledged, as a run of records in the order of their numbers.

use std::collections::VecDeque;

use libnet::Instant;

use super::rate::RateStamp;
use super::seq::SeqNumber;

/// Numbers that left together, up to a super-segment, and what has become of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Record {
    pub(crate) seq: SeqNumber,
    /// One past its last number: the next record's `seq`.
    pub(crate) end: SeqNumber,
    /// When it was last sent.
    pub(crate) sent_at: Instant,
    /// The delivery account at that time.
    pub(crate) stamp: RateStamp,
    /// Of a SACKed one: all from here to there are SACKed, too.
    pub(crate) sacked_to: SeqNumber,
    pub(crate) marks: Marks,
    /// Data bytes of each of its segments but the last.
    pub(crate) segment_bytes: u16,
}

impl Record {
    /// Numbers in it.
    pub(crate) fn len(&self) -> u32 {
        self.end - self.seq
    }
}

/// What is known of a record.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Marks(u8);

impl Marks {
    /// The peer says that it has it.
    pub(crate) const SACKED: Marks = Marks(1);
    /// It is taken as lost.
    pub(crate) const LOST: Marks = Marks(2);
    /// It was sent again, and that is not taken as lost.
    pub(crate) const RESENT: Marks = Marks(4);
    /// It was sent again at least once: Karn's rule, Eifel, F-RTO.
    pub(crate) const EVER_RESENT: Marks = Marks(8);
    /// The application gave too little to send when it left.
    pub(crate) const APP_LIMITED: Marks = Marks(16);
    /// Nothing.
    pub(crate) const NONE: Marks = Marks(0);

    /// Any of these?
    pub(crate) const fn has(self, other: Marks) -> bool {
        self.0 & other.0 != 0
    }

    /// All of both.
    pub(crate) const fn with(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    /// Those not in `other`.
    pub(crate) const fn without(self, other: Marks) -> Marks {
        Marks(self.0 & !other.0)
    }
}

/// Records without gap or overlap. The first has its place here: while one is enough, nothing is
/// allocated; the memory for others goes when none is left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    first: Option<Record>,
    rest: VecDeque<Record>,
    /// How often one was looked up: what walks cost.
    #[cfg(test)]
    pub(crate) looks: std::cell::Cell<u64>,
}

impl Records {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// The first.
    pub(crate) fn front(&self) -> Option<&Record> {
        self.first.as_ref()
    }

    /// The first, to be changed.
    pub(crate) fn front_mut(&mut self) -> Option<&mut Record> {
        self.first.as_mut()
    }

    /// The last.
    pub(crate) fn back(&self) -> Option<&Record> {
        self.rest.back().or(self.first.as_ref())
    }

    /// The last, to be changed.
    pub(crate) fn back_mut(&mut self) -> Option<&mut Record> {
        self.rest.back_mut().or(self.first.as_mut())
    }

    /// The one at a place.
    pub(crate) fn get(&self, at: usize) -> Option<&Record> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        match at.checked_sub(1) {
            None => self.first.as_ref(),
            Some(at) => self.rest.get(at),
        }
    }

    /// The one at a place, to be changed.
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut Record> {
        match at.checked_sub(1) {
            None => self.first.as_mut(),
            Some(at) => self.rest.get_mut(at),
        }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.first.iter().chain(self.rest.iter())
    }

    /// Appends one.
    pub(crate) fn push_back(&mut self, record: Record) {
        match self.first {
            None => self.first = Some(record),
            Some(_) => self.rest.push_back(record),
        }
    }

    /// Takes the first off.
    pub(crate) fn pop_front(&mut self) -> Option<Record> {
        let first = self.first.take();
        self.first = self.rest.pop_front();
        if self.first.is_none() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        first
    }

    /// The place of the record that holds `seq`, or of the first beyond it: O(log n).
    pub(crate) fn find(&self, seq: SeqNumber) -> usize {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        match self.first {
            Some(first) if first.end.le(seq) => {
                1 + self.rest.partition_point(|record| record.end.le(seq))
            }
            _ => 0,
        }
    }

    /// Makes two of the one at a place: the first `len` numbers, and the rest.
    pub(crate) fn split(&mut self, at: usize, len: u32) {
        let Some(record) = self.get_mut(at) else { return };
        debug_assert!(len > 0 && len < record.len());
        let cut = record.seq + len;
        let second = Record { seq: cut, ..*record };
        record.end = cut;
        record.sacked_to = cut;
        self.rest.insert(at, second);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(seq: SeqNumber, len: u32) -> Record {
        let at = Instant::from_millis(u64::from(seq.value()));
        Record {
            seq,
            end: seq + len,
            sent_at: at,
            stamp: RateStamp::default(),
            sacked_to: seq,
            marks: Marks::NONE,
            segment_bytes: 1,
        }
    }

    proptest! {
        #[test]
        fn they_are_what_a_plain_vector_is(
            base: u32, steps in prop::collection::vec((0u8..4, any::<u16>()), 1..80),
        ) {
            let base = SeqNumber::new(base);
            let (mut records, mut oracle, mut end) = (Records::default(), Vec::new(), base);
            for (step, n) in steps {
                let at = usize::from(n) % oracle.len().max(1);
                match step {
                    0 | 1 => {
                        let new = record(end, u32::from(n % 3000) + 1);
                        records.push_back(new);
                        oracle.push(new);
                        end = new.end;
                    }
                    2 => {
                        let first = (!oracle.is_empty()).then(|| oracle.remove(0));
                        prop_assert_eq!(records.pop_front(), first);
                    }
                    _ => if let Some(&whole) = oracle.get(at) && whole.len() > 1 {
                        let cut = whole.seq + 1;
                        records.split(at, 1);
                        oracle[at] = Record { end: cut, sacked_to: cut, ..whole };
                        oracle.insert(at + 1, Record { seq: cut, ..whole });
                    }
                }
                prop_assert!(records.iter().eq(oracle.iter()));
                prop_assert_eq!(records.len(), oracle.len());
                prop_assert_eq!((records.front(), records.back()), (oracle.first(), oracle.last()));
                for (i, record) in oracle.iter().enumerate() {
                    prop_assert_eq!(records.get(i), Some(record));
                    prop_assert_eq!(records.find(record.seq), i);
                    prop_assert_eq!(records.find(record.end - 1), i);
                }
                prop_assert_eq!(records.find(end), oracle.len());
            }
        }
    }

    #[test]
    fn a_record_is_small_and_one_alone_allocates_nothing() {
        assert!(size_of::<Record>() <= 48, "{}", size_of::<Record>());
        let mut records = Records::default();
        let base = SeqNumber::new(7);
        for _ in 0..3 {
            records.push_back(record(base, 10));
            assert_eq!(records.rest.capacity(), 0);
            records.pop_front();
        }
        for i in 0..3 {
            records.push_back(record(base + 10 * i, 10));
        }
        assert!(records.rest.capacity() > 0);
        while records.pop_front().is_some() {}
        assert_eq!(records.rest.capacity(), 0, "with the last the memory goes");
    }
}
