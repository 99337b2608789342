//! The receive buffer: in-order bytes for the application, kept as they came.

use std::collections::VecDeque;
use std::io::IoSliceMut;

use bytes::{Buf, Bytes, BytesMut};

use super::held::Held;

/// Bytes received in order and not yet read.
///
/// Pieces are the received packets' own memory, except small ones, which are copied together.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    pieces: VecDeque<Held>,
    /// Small pieces after the last of `pieces`.
    tail: BytesMut,
    len: usize,
    /// Memory of `pieces`.
    memory: usize,
}

impl ReceiveBuffer {
    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Holds nothing?
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory held, bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory + self.tail.capacity()
    }

    /// Appends a piece.
    pub(crate) fn push(&mut self, mut piece: Held) {
        if piece.len() <= SMALL_PIECE_BYTES {
            return self.push_copy(piece.bytes());
        }
        piece.tidy();
        self.len += piece.len();
        self.flush_tail();
        self.push_piece(piece);
    }

    /// Appends a copy of a small piece.
    pub(crate) fn push_copy(&mut self, piece: &[u8]) {
        self.len += piece.len();
        if self.tail.len() + piece.len() > TAIL_BYTES {
            self.flush_tail();
        }
        self.tail.extend_from_slice(piece);
    }

    /// Copies everything together, if it takes much more memory than that would; did it?
    pub(crate) fn collapse(&mut self) -> bool {
        if self.memory() < self.len + self.len / 4 + COLLAPSE_BYTES {
            return false;
        }
        self.flush_tail();
        let mut together = BytesMut::with_capacity(self.len.min(COLLAPSE_BYTES));
        for _ in 0..self.pieces.len() {
            let Some(piece) = self.pop_piece() else { break };
            if together.len() + piece.len() > COLLAPSE_BYTES && !together.is_empty() {
                let chunk = std::mem::take(&mut together).freeze();
                self.push_piece(Held::whole(chunk));
                together.reserve(self.pieces.front().map_or(0, Held::len).max(COLLAPSE_BYTES));
            }
            together.extend_from_slice(piece.bytes());
        }
        if !together.is_empty() {
            self.push_piece(Held::whole(together.freeze()));
        }
        true
    }

    /// Holds nothing from now on, and keeps some memory to be used again.
    pub(crate) fn reset(&mut self) {
        (self.len, self.memory) = (0, 0);
        self.tail.clear();
        self.pieces.clear();
        self.pieces.shrink_to(KEPT_PIECES);
    }

    /// Copies up to `limit` bytes out and removes them; how many.
    pub(crate) fn read(&mut self, slices: &mut [IoSliceMut<'_>], limit: usize) -> usize {
        let n = self.peek(slices, 0, limit);
        self.consume(n);
        n
    }

    /// Copies up to `limit` bytes behind the first `skip` out and leaves them; how many.
    pub(crate) fn peek(
        &self,
        slices: &mut [IoSliceMut<'_>],
        mut skip: usize,
        limit: usize,
    ) -> usize {
        let mut pieces = self.pieces.iter().map(|p| &p.bytes()[..]).chain([&self.tail[..]]);
        let mut piece: &[u8] = &[];
        while skip > 0 {
            let Some(next) = pieces.next() else { return 0 };
            let n = skip.min(next.len());
            (piece, skip) = (&next[n..], skip - n);
        }
        let mut done = 0;
        for slice in slices {
            let mut filled = 0;
            while filled < slice.len() && done < limit {
                if piece.is_empty() {
                    match pieces.next() {
                        Some(next) => piece = next,
                        None => return done,
                    }
                }
                let n = piece.len().min(slice.len() - filled).min(limit - done);
                slice[filled..filled + n].copy_from_slice(&piece[..n]);
                piece = &piece[n..];
                filled += n;
                done += n;
            }
        }
        done
    }

    /// Hands over up to `max_bytes` without a copy, appended to `out`; how many.
    pub(crate) fn take(&mut self, max_bytes: usize, out: &mut VecDeque<Bytes>) -> usize {
        self.flush_tail();
        let mut left = max_bytes.min(self.len);
        let taken = left;
        while left > 0 {
            let Some(mut piece) = self.pop_piece() else { break };
            if piece.len() > left {
                out.push_back(piece.split_to(left).into_bytes());
                piece.tidy();
                self.memory += piece.memory();
                self.pieces.push_front(piece);
                break;
            }
            left -= piece.len();
            out.push_back(piece.into_bytes());
        }
        self.len -= taken;
        self.free_if_empty();
        taken
    }

    /// Removes the first `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        while left > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            if left < piece.len() {
                let before = piece.memory();
                piece.advance(left);
                piece.tidy();
                self.memory = self.memory + piece.memory() - before;
                return;
            }
            left -= piece.len();
            self.pop_piece();
        }
        self.tail.advance(left);
        self.free_if_empty();
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            let capacity = tail.capacity();
            self.push_piece(Held::of(tail.freeze(), capacity));
        }
    }

    fn push_piece(&mut self, piece: Held) {
        self.memory += piece.memory();
        self.pieces.push_back(piece);
    }

    fn pop_piece(&mut self) -> Option<Held> {
        let piece = self.pieces.pop_front()?;
        self.memory -= piece.memory();
        Some(piece)
    }

    fn free_if_empty(&mut self) {
        if self.len == 0 {
            self.reset();
        }
    }
}

/// Pieces up to this are copied together: a byte must not hold a whole packet's memory.
const SMALL_PIECE_BYTES: usize = 512;
const TAIL_BYTES: usize = 4096;
/// Chunks that pieces are copied together to; less is not worth it.
const COLLAPSE_BYTES: usize = 16 << 10;
/// Places for pieces that an empty buffer keeps.
const KEPT_PIECES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn gives_back_what_came_however_it_is_read(
            pieces in prop::collection::vec(0usize..1500, 1..40),
            reads in prop::collection::vec((0u8..3, 0usize..4000), 1..60),
        ) {
            let mut buffer = ReceiveBuffer::default();
            let mut oracle: VecDeque<u8> = VecDeque::new();
            let mut next = 0u8;
            let mut pieces = pieces.into_iter();
            for (how, n) in reads {
                if let Some(len) = pieces.next() {
                    let data: Vec<u8> = (0..len).map(|_| { next = next.wrapping_add(1); next }).collect();
                    oracle.extend(&data);
                    buffer.push(Held::whole(Bytes::from(data)));
                }
                if n % 7 == 0 {
                    let before = buffer.memory();
                    prop_assert!(!buffer.collapse() || buffer.memory() < before);
                }
                let want: Vec<u8> = oracle.iter().take(n).copied().collect();
                let mut got = vec![0; n];
                let (first, second) = got.split_at_mut(n / 3);
                let mut slices = [IoSliceMut::new(first), IoSliceMut::new(second)];
                let count = match how {
                    0 => buffer.peek(&mut slices, 0, usize::MAX),
                    1 => buffer.read(&mut slices, usize::MAX),
                    _ => {
                        let mut out = VecDeque::new();
                        let count = buffer.take(n, &mut out);
                        let flat: Vec<u8> = out.iter().flatten().copied().collect();
                        got[..count].copy_from_slice(&flat);
                        count
                    }
                };
                prop_assert_eq!(&got[..count], &want[..]);
                if how > 0 {
                    oracle.drain(..count);
                }
                prop_assert_eq!(buffer.len(), oracle.len());
                let memory: usize = buffer.pieces.iter().map(Held::memory).sum();
                prop_assert_eq!(buffer.memory, memory);
            }
        }
    }

    #[test]
    fn what_is_held_bounds_its_memory() {
        // Buffers of packets, of which little is left; many small pieces; a large one, read to its end.
        let mut buffer = ReceiveBuffer::default();
        for i in 0..200 {
            let whole = Bytes::from(vec![i; 9_000]);
            buffer.push(Held::of(whole.slice(..600), whole.len()));
            buffer.push_copy(&[i; 10]);
        }
        assert!(buffer.memory() < 2 * buffer.len(), "{} for {}", buffer.memory(), buffer.len());
        buffer.reset();
        buffer.push(Held::whole(Bytes::from(vec![1; 60_000])));
        buffer.consume(59_900);
        assert!(buffer.memory() < 1_000, "{}", buffer.memory());
    }

    #[test]
    fn pieces_are_copied_together_where_that_saves_memory() {
        let mut buffer = ReceiveBuffer::default();
        for i in 0..100u8 {
            buffer.push(Held::of(Bytes::from(vec![i; 520]), 700));
        }
        let before = buffer.memory();
        assert!(buffer.collapse());
        assert!(buffer.memory() < before * 7 / 8, "{before} to {}", buffer.memory());
        assert!(!buffer.collapse(), "it is as small as can be");
        let mut out = VecDeque::new();
        assert_eq!(buffer.take(usize::MAX, &mut out), 52_000);
        let flat: Vec<u8> = out.iter().flatten().copied().collect();
        assert!(flat.chunks(520).enumerate().all(|(i, chunk)| chunk == [i as u8; 520]));
    }
}
