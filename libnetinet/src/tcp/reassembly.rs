//! Out-of-order data: kept until the hole before them is filled.

use std::collections::VecDeque;

use super::held::Held;
use super::sack::{RecentBlocks, SackBlock, SackBlocks};
use super::seq::SeqNumber;

/// Pieces beyond `rcv_nxt`, in order and without overlap. Bytes that came first stay.
///
/// The receive window bounds the bytes, a count bounds the pieces.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    pieces: VecDeque<Piece>,
    bytes: usize,
    memory: usize,
    recent: RecentBlocks,
}

#[derive(Debug)]
struct Piece {
    seq: SeqNumber,
    data: Held,
}

impl Piece {
    fn end(&self) -> SeqNumber {
        self.seq + self.data.len() as u32
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

    /// Pieces held.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Holds nothing, and has nothing to tell of?
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.recent.len() == 0
    }

    /// Keeps what of `data` is new; the first run of bytes that were held already, if there is one.
    ///
    /// # Errors
    /// [`ReassemblyFull`] if `max_pieces` are held; some of the data may have been kept.
    pub(crate) fn insert(
        &mut self,
        seq: SeqNumber,
        data: Held,
        max_pieces: usize,
    ) -> Result<Option<SackBlock>, ReassemblyFull> {
        let (left, right) = (seq, seq + data.len() as u32);
        let (mut seq, mut data) = (seq, data);
        let mut duplicate = None;
        // Most often it belongs at the end.
        let is_last = self.pieces.back().is_none_or(|last| last.seq.le(seq));
        let mut at = match is_last {
            true => self.pieces.len(),
            false => self.pieces.partition_point(|piece| piece.seq.le(seq)),
        };
        if at > 0 {
            duplicate = cut_front(&mut seq, &mut data, self.pieces[at - 1].end());
        }
        while data.len() > 0 {
            let gap = self.pieces.get(at).map_or(data.len(), |next| {
                (next.seq.saturating_since(seq) as usize).min(data.len())
            });
            if gap > 0 {
                if self.pieces.len() >= max_pieces {
                    self.report(left, seq);
                    return Err(ReassemblyFull);
                }
                let mut part = data.split_to(gap);
                part.tidy();
                self.bytes += gap;
                self.memory += part.memory();
                self.pieces.insert(at, Piece { seq, data: part });
                seq += gap as u32;
                at += 1;
            }
            if let Some(next) = self.pieces.get(at) {
                let again = cut_front(&mut seq, &mut data, next.end());
                duplicate = duplicate.or(again);
                at += 1;
            }
        }
        self.report(left, right);
        Ok(duplicate)
    }

    /// Blocks that can be told of.
    pub(crate) fn blocks(&self) -> usize {
        self.recent.len()
    }

    /// Adds up to `most` blocks to an option, in the order of RFC 2018 §4.
    pub(crate) fn tell(&mut self, most: usize, out: &mut SackBlocks) {
        self.recent.tell(most, out);
    }

    /// What of the first piece lies before `rcv_nxt`: it came twice.
    pub(crate) fn overlap(&self, rcv_nxt: SeqNumber) -> Option<SackBlock> {
        let first = self.pieces.front()?;
        let right = first.end().min(rcv_nxt);
        first.seq.lt(right).then_some(SackBlock { left: first.seq, right })
    }

    /// Takes the next piece that starts at or before `rcv_nxt`, without what lies before it.
    pub(crate) fn pop_in_order(&mut self, rcv_nxt: SeqNumber) -> Option<Held> {
        while self.pieces.front()?.seq.le(rcv_nxt) {
            let Piece { mut seq, mut data } = self.pieces.pop_front()?;
            self.bytes -= data.len();
            self.memory -= data.memory();
            cut_front(&mut seq, &mut data, rcv_nxt);
            if data.len() > 0 {
                return Some(data);
            }
        }
        None
    }

    /// All before `rcv_nxt` is acknowledged and not told of any more.
    pub(crate) fn forget_before(&mut self, rcv_nxt: SeqNumber) {
        self.recent.forget_before(rcv_nxt);
    }

    /// These numbers have arrived: they are told of first.
    pub(crate) fn report(&mut self, left: SeqNumber, right: SeqNumber) {
        if left.lt(right) {
            let pieces = &self.pieces;
            self.recent.report(SackBlock { left, right }, |block| grow(pieces, block));
        }
    }
}

/// The block with all pieces that it touches, and those that these touch.
fn grow(pieces: &VecDeque<Piece>, block: SackBlock) -> SackBlock {
    let SackBlock { mut left, mut right } = block;
    let after = pieces.partition_point(|piece| piece.end().le(right));
    for piece in pieces.range(after..) {
        if piece.seq.gt(right) {
            break;
        }
        right = piece.end();
    }
    let before = pieces.partition_point(|piece| piece.seq.lt(left));
    for piece in pieces.range(..before).rev() {
        if piece.end().lt(left) {
            break;
        }
        left = piece.seq;
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
                let memory: usize = reassembly.pieces.iter().map(|piece| piece.data.memory()).sum();
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
        let wide = Held::whole(Bytes::from(vec![0; 100]));
        assert_eq!(reassembly.insert(SeqNumber::new(5), wide, 3), Err(ReassemblyFull));
        assert_eq!((reassembly.pieces(), reassembly.bytes()), (3, 3));
    }
}
