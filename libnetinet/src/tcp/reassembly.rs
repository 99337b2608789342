//! Out-of-order data: kept until the hole before them is filled.

use std::collections::VecDeque;

use super::held::Held;
use super::sack::{RecentBlocks, SackBlock, SackBlocks};
use super::seq::SeqNumber;

/// Data beyond `rcv_nxt`: runs in order, with a hole before each. Bytes that came first stay.
///
/// The receive window and the buffer's memory bound the bytes, a count bounds the runs.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    runs: VecDeque<Run>,
    bytes: usize,
    memory: usize,
    recent: RecentBlocks,
}

/// Data without a hole, as they came.
#[derive(Debug)]
struct Run {
    seq: SeqNumber,
    bytes: u32,
    pieces: VecDeque<Held>,
}

impl Run {
    fn end(&self) -> SeqNumber {
        self.seq + self.bytes
    }

    fn push_back(&mut self, piece: Held) {
        self.bytes += piece.len() as u32;
        self.pieces.push_back(piece);
    }

    fn push_front(&mut self, piece: Held) {
        self.bytes += piece.len() as u32;
        self.seq = self.seq - piece.len() as u32;
        self.pieces.push_front(piece);
    }

    /// Takes the run that begins where this one ends; the shorter queue is moved.
    fn append(&mut self, mut next: Run) {
        if next.pieces.len() > self.pieces.len() {
            for piece in self.pieces.drain(..).rev() {
                next.pieces.push_front(piece);
            }
            std::mem::swap(&mut self.pieces, &mut next.pieces);
        } else {
            self.pieces.append(&mut next.pieces);
        }
        self.bytes += next.bytes;
    }
}

/// There was no room for all of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReassemblyFull;

impl Reassembly {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory held, bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Runs held.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Holds nothing, and has nothing to tell of?
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.recent.len() == 0
    }

    /// Keeps what of `data` is new; the first bytes that were held already, if there are such.
    ///
    /// # Errors
    /// [`ReassemblyFull`] if `max_runs` are held; some of the data may have been kept.
    pub(crate) fn insert(
        &mut self,
        seq: SeqNumber,
        data: Held,
        max_runs: usize,
    ) -> Result<Option<SackBlock>, ReassemblyFull> {
        let (left, right) = (seq, seq + data.len() as u32);
        let (mut seq, mut data) = (seq, data);
        let mut duplicate = None;
        while data.len() > 0 {
            // The first that does not end before the data.
            let at = self.touching(seq);
            match self.runs.get_mut(at) {
                Some(run) if run.seq.le(seq) => {
                    let again = cut_front(&mut seq, &mut data, run.end());
                    duplicate = duplicate.or(again);
                    let hole = self.hole_at(at + 1, seq);
                    let part = self.take(&mut seq, &mut data, hole);
                    self.extend(at, part);
                }
                next => {
                    if next.is_none_or(|next| next.seq.gt(right)) && self.runs.len() >= max_runs {
                        self.report(left, seq);
                        return Err(ReassemblyFull);
                    }
                    let (start, hole) = (seq, self.hole_at(at, seq));
                    let part = self.take(&mut seq, &mut data, hole);
                    self.begin(at, start, part);
                }
            }
        }
        self.report(left, right);
        Ok(duplicate)
    }

    /// Which run is the first that ends at `seq` or beyond it; most often the last, or none.
    fn touching(&self, seq: SeqNumber) -> usize {
        match self.runs.back() {
            Some(last) if last.end().lt(seq) => self.runs.len(),
            Some(last) if last.seq.le(seq) => self.runs.len() - 1,
            _ => self.runs.partition_point(|run| run.end().lt(seq)),
        }
    }

    /// Bytes from `seq` to the run `at`.
    fn hole_at(&self, at: usize, seq: SeqNumber) -> usize {
        self.runs.get(at).map_or(usize::MAX, |run| run.seq.saturating_since(seq) as usize)
    }

    /// Cuts off what is kept of `data`, up to `most` bytes.
    fn take(&mut self, seq: &mut SeqNumber, data: &mut Held, most: usize) -> Option<Held> {
        let n = data.len().min(most);
        if n == 0 {
            return None;
        }
        let mut part = data.split_to(n);
        part.tidy();
        *seq += n as u32;
        self.bytes += n;
        self.memory += part.memory();
        Some(part)
    }

    /// Adds to the end of a run, which may reach the next by that.
    fn extend(&mut self, at: usize, part: Option<Held>) {
        let (Some(run), Some(part)) = (self.runs.get_mut(at), part) else { return };
        run.push_back(part);
        let end = run.end();
        if self.runs.get(at + 1).is_some_and(|next| next.seq == end)
            && let Some(next) = self.runs.remove(at + 1)
            && let Some(run) = self.runs.get_mut(at)
        {
            run.append(next);
        }
    }

    /// Adds before the run `at`, which it may reach; it reaches none before it.
    fn begin(&mut self, at: usize, seq: SeqNumber, part: Option<Held>) {
        let Some(part) = part else { return };
        let end = seq + part.len() as u32;
        match self.runs.get_mut(at) {
            Some(next) if next.seq == end => next.push_front(part),
            _ => {
                let bytes = part.len() as u32;
                self.runs.insert(at, Run { seq, bytes, pieces: VecDeque::from([part]) });
            }
        }
    }

    /// Blocks that can be told of.
    pub(crate) fn blocks(&self) -> usize {
        self.recent.len()
    }

    /// Adds up to `most` blocks to an option, in the order of RFC 2018 §4.
    pub(crate) fn tell(&mut self, most: usize, out: &mut SackBlocks) {
        self.recent.tell(most, out);
    }

    /// What of the first run lies before `rcv_nxt`: it came twice.
    pub(crate) fn overlap(&self, rcv_nxt: SeqNumber) -> Option<SackBlock> {
        let first = self.runs.front()?;
        let right = first.end().min(rcv_nxt);
        first.seq.lt(right).then_some(SackBlock { left: first.seq, right })
    }

    /// Takes the next piece that starts at or before `rcv_nxt`, without what lies before it.
    pub(crate) fn pop_in_order(&mut self, rcv_nxt: SeqNumber) -> Option<Held> {
        loop {
            let run = self.runs.front_mut().filter(|run| run.seq.le(rcv_nxt))?;
            let Some(mut piece) = run.pieces.pop_front() else {
                self.runs.pop_front();
                continue;
            };
            let mut seq = run.seq;
            run.seq += piece.len() as u32;
            run.bytes -= piece.len() as u32;
            self.bytes -= piece.len();
            self.memory -= piece.memory();
            cut_front(&mut seq, &mut piece, rcv_nxt);
            if piece.len() > 0 {
                return Some(piece);
            }
        }
    }

    /// All before `rcv_nxt` is acknowledged and not told of any more.
    pub(crate) fn forget_before(&mut self, rcv_nxt: SeqNumber) {
        self.recent.forget_before(rcv_nxt);
    }

    /// These numbers have arrived: they are told of first.
    pub(crate) fn report(&mut self, left: SeqNumber, right: SeqNumber) {
        if left.lt(right) {
            let runs = &self.runs;
            self.recent.report(SackBlock { left, right }, |block| grow(runs, block));
        }
    }
}

/// The block with all runs that it touches.
fn grow(runs: &VecDeque<Run>, block: SackBlock) -> SackBlock {
    let SackBlock { mut left, mut right } = block;
    let first = runs.partition_point(|run| run.end().lt(left));
    for run in runs.range(first..).take_while(|run| run.seq.le(block.right)) {
        if run.seq.lt(left) {
            left = run.seq;
        }
        if run.end().gt(right) {
            right = run.end();
        }
    }
    SackBlock { left, right }
}

/// Drops what of `data` lies before `upto`; which numbers these are, if there are any.
fn cut_front(seq: &mut SeqNumber, data: &mut Held, upto: SeqNumber) -> Option<SackBlock> {
    let n = (upto.saturating_since(*seq) as usize).min(data.len());
    data.advance(n);
    let left = *seq;
    *seq += n as u32;
    (n > 0).then_some(SackBlock { left, right: *seq })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_table_of_bytes(
            base: u32,
            inserts in prop::collection::vec((0usize..3000, 1usize..900, any::<bool>()), 1..60),
        ) {
            let base = SeqNumber::new(base);
            let mut reassembly = Reassembly::default();
            let mut oracle: Vec<Option<u8>> = vec![None; 60_000];
            let (mut next, mut read) = (0u8, 0usize);
            for (offset, len, then_read) in inserts {
                next = next.wrapping_add(1);
                let offset = offset.max(read);
                let data = Bytes::from(vec![next; len]);
                let again = oracle[offset..offset + len].iter().any(Option::is_some);
                let duplicate = reassembly.insert(base + offset as u32, Held::whole(data), usize::MAX)
                    .expect("there is no limit");
                prop_assert_eq!(duplicate.is_some(), again);
                for slot in &mut oracle[offset..offset + len] {
                    slot.get_or_insert(next);
                }
                while then_read && let Some(data) = reassembly.pop_in_order(base + read as u32) {
                    for byte in data.into_bytes() {
                        prop_assert_eq!(oracle[read], Some(byte));
                        read += 1;
                    }
                }
                let held = oracle[read..].iter().flatten().count();
                prop_assert_eq!(reassembly.bytes(), held);
                let pieces = reassembly.runs.iter().flat_map(|run| &run.pieces);
                let memory: usize = pieces.map(Held::memory).sum();
                for (run, next) in reassembly.runs.iter().zip(reassembly.runs.iter().skip(1)) {
                    prop_assert!(run.end().lt(next.seq), "no hole between runs");
                }
                prop_assert_eq!(reassembly.memory(), memory);
                reassembly.forget_before(base + read as u32);
                let mut told = SackBlocks::default();
                reassembly.tell(4, &mut told);
                for (i, block) in told.iter().enumerate() {
                    let (left, right) = ((block.left - base) as usize, (block.right - base) as usize);
                    // All of it is held, and it is as wide as it can be.
                    prop_assert!(oracle[left..right].iter().all(Option::is_some));
                    prop_assert!(left == read || oracle[left - 1].is_none(), "{left}");
                    prop_assert!(oracle[right].is_none());
                    let newest = left <= offset && offset + len <= right;
                    prop_assert!(i > 0 || then_read || newest, "the last to come is first");
                }
                if then_read {
                    prop_assert_eq!(oracle[read], None);
                }
            }
        }
    }

    #[test]
    fn a_full_table_refuses_and_says_so() {
        let mut reassembly = Reassembly::default();
        for i in 0..3 {
            let data = Bytes::from_static(b"x");
            assert_eq!(reassembly.insert(SeqNumber::new(10 * i), Held::whole(data), 3), Ok(None));
        }
        let apart = Held::whole(Bytes::from(vec![0; 3]));
        assert_eq!(reassembly.insert(SeqNumber::new(5), apart, 3), Err(ReassemblyFull));
        assert_eq!((reassembly.runs(), reassembly.bytes()), (3, 3));
    }

    #[test]
    fn data_without_holes_are_one_run_and_fill_no_table() {
        let mut reassembly = Reassembly::default();
        let piece = || Held::whole(Bytes::from(vec![7; 1000]));
        // From both ends to the middle, so that runs grow backwards and are joined.
        for i in 0..500u32 {
            for n in [i, 999 - i] {
                assert_eq!(reassembly.insert(SeqNumber::new(5 + 1000 * n), piece(), 2), Ok(None));
            }
        }
        assert_eq!((reassembly.runs(), reassembly.bytes()), (1, 1_000_000));
        let mut next = SeqNumber::new(5);
        while let Some(held) = reassembly.pop_in_order(next) {
            next += held.len() as u32;
        }
        assert_eq!((next, reassembly.memory()), (SeqNumber::new(1_000_005), 0));
    }

    #[test]
    fn a_full_table_still_takes_what_touches_a_run() {
        let mut reassembly = Reassembly::default();
        let mut insert = |seq, bytes| {
            let data = Held::whole(Bytes::from(vec![7; bytes]));
            reassembly.insert(SeqNumber::new(seq), data, 2)
        };
        assert_eq!((insert(100, 10), insert(200, 10)), (Ok(None), Ok(None)));
        assert_eq!(insert(300, 10), Err(ReassemblyFull));
        assert_eq!(
            (insert(210, 90), insert(90, 10), insert(110, 90)),
            (Ok(None), Ok(None), Ok(None))
        );
        assert_eq!(insert(400, 10), Ok(None), "there is one run now");
    }
}
