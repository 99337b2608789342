//! Out-of-order data: kept until the hole before them is filled.

use std::collections::VecDeque;

use bytes::Bytes;

use super::seq::SeqNumber;

/// Pieces beyond `rcv_nxt`, in order and without overlap. Bytes that came first stay.
///
/// The receive window bounds the bytes, a count bounds the pieces.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    seq: SeqNumber,
    data: Bytes,
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

    /// Pieces held.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Holds nothing?
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Keeps what of `data` is new.
    ///
    /// # Errors
    /// [`ReassemblyFull`] if `max_pieces` are held; some of the data may have been kept.
    pub(crate) fn insert(
        &mut self,
        seq: SeqNumber,
        data: Bytes,
        max_pieces: usize,
    ) -> Result<(), ReassemblyFull> {
        let (mut seq, mut data) = (seq, data);
        // Most often it belongs at the end.
        let mut at = self.pieces.len();
        while at > 0 && self.pieces[at - 1].seq.gt(seq) {
            at -= 1;
        }
        if at > 0 {
            cut_front(&mut seq, &mut data, self.pieces[at - 1].end());
        }
        while !data.is_empty() {
            let gap = self.pieces.get(at).map_or(data.len(), |next| {
                (next.seq.saturating_since(seq) as usize).min(data.len())
            });
            if gap > 0 {
                if self.pieces.len() >= max_pieces {
                    return Err(ReassemblyFull);
                }
                let part = data.split_to(gap);
                // A byte must not hold a whole packet's memory.
                let part =
                    if gap <= SMALL_PIECE_BYTES { Bytes::copy_from_slice(&part) } else { part };
                self.bytes += gap;
                self.pieces.insert(at, Piece { seq, data: part });
                seq += gap as u32;
                at += 1;
            }
            if let Some(next) = self.pieces.get(at) {
                cut_front(&mut seq, &mut data, next.end());
                at += 1;
            }
        }
        Ok(())
    }

    /// Takes the next piece that starts at or before `rcv_nxt`, without what lies before it.
    pub(crate) fn pop_in_order(&mut self, rcv_nxt: SeqNumber) -> Option<Bytes> {
        while self.pieces.front()?.seq.le(rcv_nxt) {
            let Piece { mut seq, mut data } = self.pieces.pop_front()?;
            self.bytes -= data.len();
            cut_front(&mut seq, &mut data, rcv_nxt);
            if !data.is_empty() {
                return Some(data);
            }
        }
        None
    }
}

/// Drops what of `data` lies before `upto`.
fn cut_front(seq: &mut SeqNumber, data: &mut Bytes, upto: SeqNumber) {
    let n = (upto.saturating_since(*seq) as usize).min(data.len());
    let _ = data.split_to(n);
    *seq += n as u32;
}

const SMALL_PIECE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
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
                reassembly.insert(base + offset as u32, data, usize::MAX)
                    .expect("there is no limit");
                for slot in &mut oracle[offset..offset + len] {
                    slot.get_or_insert(next);
                }
                while then_read && let Some(data) = reassembly.pop_in_order(base + read as u32) {
                    for byte in data {
                        prop_assert_eq!(oracle[read], Some(byte));
                        read += 1;
                    }
                }
                let held = oracle[read..].iter().flatten().count();
                prop_assert_eq!(reassembly.bytes(), held);
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
            assert_eq!(reassembly.insert(SeqNumber::new(10 * i), data, 3), Ok(()));
        }
        let wide = Bytes::from(vec![0; 100]);
        assert_eq!(reassembly.insert(SeqNumber::new(5), wide, 3), Err(ReassemblyFull));
        assert_eq!((reassembly.pieces(), reassembly.bytes()), (3, 3));
    }
}
