//! The send buffer: bytes from the first unacknowledged on, copied in once and shared after.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use libnet::Packet;
use libnet::pool::{Lease, Pool};

use super::held::Held;

/// Bytes to send and to send again, in order.
///
/// ```text
///  acknowledged | piece 0 | piece 1 | … | tail, still filled |  room
///               ^ offset 0                                   ^ len()
/// ```
/// What is transmitted shares the pieces' memory; nothing is copied then.
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    pieces: VecDeque<Held>,
    /// Bytes in `pieces`.
    frozen: usize,
    /// Memory of `pieces`, what is acknowledged of the first included.
    memory: usize,
    /// Where the caller's bytes are copied to; frozen when they are first transmitted.
    tail: Lease,
    /// Where transmission found its last byte: a piece, and the offset of the piece's first byte.
    cursor: (usize, usize),
}

impl SendBuffer {
    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        self.frozen + self.tail.len()
    }

    /// Holds nothing?
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held, bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory + self.tail.capacity()
    }

    /// What counts against its limit, bytes. Each piece costs something too, so that many small
    /// ones cannot take memory out of proportion.
    pub(crate) fn used(&self) -> usize {
        self.len() + self.pieces.len() * PIECE_COST_BYTES
    }

    /// Bytes that still fit within `limit`.
    pub(crate) fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.used())
    }

    /// Copies as much of the caller's buffers as fits within `limit`; how much that was.
    ///
    /// `chunk_bytes` is what one super-segment can carry: memory is taken in such chunks, so that
    /// a super-segment of a full buffer is one piece.
    pub(crate) fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        limit: usize,
        chunk_bytes: usize,
        pool: &Pool,
    ) -> usize {
        let mut taken = 0;
        for slice in slices {
            let room = self.room(limit);
            let n = slice.len().min(room);
            self.append(&slice[..n], chunk_bytes, pool);
            taken += n;
            if n < slice.len() {
                break;
            }
        }
        taken
    }

    /// Takes as much of a shared buffer as fits within `limit`, off its front; how much that was.
    pub(crate) fn write_shared(
        &mut self,
        data: &mut Bytes,
        limit: usize,
        chunk_bytes: usize,
        pool: &Pool,
    ) -> usize {
        let n = data.len().min(self.room(limit));
        if n == 0 {
            return 0;
        }
        let piece = data.split_to(n);
        if n <= SMALL_PIECE_BYTES {
            self.append(&piece, chunk_bytes, pool);
        } else {
            self.freeze();
            self.push_piece(Held::whole(piece));
        }
        n
    }

    /// Appends `len` bytes from `offset` on to an empty packet, without a copy but for a few.
    pub(crate) fn share(&mut self, offset: usize, len: usize, packet: &mut Packet) {
        debug_assert!(offset + len <= self.len() && packet.is_empty());
        if self.frozen == 0 && len <= FEW_BYTES {
            return packet.push_front(&self.tail.bytes()[offset..offset + len]);
        }
        if offset + len > self.frozen {
            self.freeze();
        }
        let (mut index, mut start) = self.cursor;
        if start > offset {
            (index, start) = (0, 0);
        }
        let (mut skip, mut left) = (offset - start, len);
        while left > 0 {
            let Some(piece) = self.pieces.get(index) else { break };
            if skip < piece.len() {
                let n = left.min(piece.len() - skip);
                packet.push_payload(piece.bytes().slice(skip..skip + n));
                left -= n;
                self.cursor = (index, start);
                skip += n;
            }
            if skip >= piece.len() {
                skip -= piece.len();
                start += piece.len();
                index += 1;
            }
        }
    }

    /// Drops `n` acknowledged bytes from the front; memory goes with the last of them.
    pub(crate) fn acknowledge(&mut self, n: usize) {
        if n >= self.len() {
            return self.reset();
        }
        let mut left = n;
        if left > self.frozen {
            self.freeze();
        }
        self.frozen -= left;
        let mut gone = 0;
        while let Some(piece) = self.pieces.front_mut() {
            if left < piece.len() {
                piece.advance(left);
                break;
            }
            left -= piece.len();
            self.memory -= piece.memory();
            self.pieces.pop_front();
            gone += 1;
        }
        let (index, start) = self.cursor;
        self.cursor = if index >= gone && start >= n { (index - gone, start - n) } else { (0, 0) };
    }

    /// Holds nothing from now on, and keeps some memory to be used again.
    pub(crate) fn reset(&mut self) {
        self.pieces.clear();
        self.pieces.shrink_to(KEPT_PIECES);
        (self.frozen, self.memory, self.cursor) = (0, 0, (0, 0));
        if self.tail.capacity() <= MIN_CHUNK_BYTES {
            self.tail.clear();
        } else {
            self.tail = Lease::default();
        }
    }

    fn append(&mut self, mut bytes: &[u8], chunk_bytes: usize, pool: &Pool) {
        if self.is_empty() && bytes.len() > self.tail.room() {
            // What is kept for small messages must not shift the pieces of large ones.
            self.tail = Lease::default();
        }
        while !bytes.is_empty() {
            if self.tail.room() == 0 {
                self.freeze();
                // Little for a short message, a whole super-segment once data flow.
                let want = bytes.len().max(self.frozen).max(MIN_CHUNK_BYTES);
                self.tail = pool.lend(want.min(chunk_bytes.max(MIN_CHUNK_BYTES)));
            }
            let n = self.tail.fill(bytes);
            bytes = &bytes[n..];
        }
    }

    fn freeze(&mut self) {
        if !self.tail.is_empty() {
            let capacity = self.tail.capacity();
            let piece = self.tail.share();
            // One that was not half full was copied.
            let whole = if 2 * piece.len() < capacity { piece.len() } else { capacity };
            self.push_piece(Held::of(piece, whole));
        }
    }

    fn push_piece(&mut self, piece: Held) {
        self.frozen += piece.len();
        self.memory += piece.memory();
        self.pieces.push_back(piece);
    }
}

/// So few bytes are copied into the packet's head room, beside the longest headers.
const FEW_BYTES: usize = 32;
/// Places for pieces that an empty buffer keeps.
const KEPT_PIECES: usize = 16;
/// Charged for each piece: its entry and its share of an allocation.
const PIECE_COST_BYTES: usize = 64;
/// Shared buffers up to this are copied: cheaper than to keep a piece for each.
const SMALL_PIECE_BYTES: usize = 512;
const MIN_CHUNK_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(Vec<usize>),
        Shared(usize),
        Share(usize, usize),
        Acknowledge(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::vec(0usize..3000, 0..4).prop_map(Step::Write),
            (0usize..3000).prop_map(Step::Shared),
            (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Step::Share(a, b)),
            any::<usize>().prop_map(Step::Acknowledge),
        ]
    }

    proptest! {
        #[test]
        fn holds_what_a_plain_vector_holds(steps in prop::collection::vec(step(), 1..80)) {
            let (mut buffer, pool) = (SendBuffer::default(), Pool::default());
            let mut oracle: VecDeque<u8> = VecDeque::new();
            let mut next = 0u8;
            let mut fresh = |n: usize| -> Vec<u8> {
                (0..n).map(|_| { next = next.wrapping_add(1); next }).collect()
            };
            for step in steps {
                match step {
                    Step::Write(sizes) => {
                        let data: Vec<Vec<u8>> = sizes.iter().map(|&n| fresh(n)).collect();
                        let slices: Vec<_> = data.iter().map(|d| IoSlice::new(d)).collect();
                        let n = buffer.write(&slices, 20_000, 5_000, &pool);
                        oracle.extend(data.concat()[..n].iter());
                    }
                    Step::Shared(n) => {
                        let mut data = Bytes::from(fresh(n));
                        let whole = data.clone();
                        let n = buffer.write_shared(&mut data, 20_000, 5_000, &pool);
                        prop_assert_eq!(n + data.len(), whole.len());
                        oracle.extend(whole[..n].iter());
                    }
                    Step::Share(a, b) => {
                        let offset = a % (oracle.len() + 1);
                        let len = b % (oracle.len() - offset + 1);
                        let mut packet = Packet::new();
                        buffer.share(offset, len, &mut packet);
                        let want: Vec<u8> = oracle.iter().skip(offset).take(len).copied().collect();
                        prop_assert_eq!(&packet.to_bytes()[..], &want[..]);
                    }
                    Step::Acknowledge(a) => {
                        let n = a % (oracle.len() + 1);
                        buffer.acknowledge(n);
                        oracle.drain(..n);
                    }
                }
                prop_assert_eq!(buffer.len(), oracle.len());
                prop_assert!(buffer.len() <= 20_000);
                let memory: usize = buffer.pieces.iter().map(Held::memory).sum();
                prop_assert_eq!(buffer.memory, memory);
                prop_assert!(memory >= buffer.frozen);
            }
        }
    }

    #[test]
    fn bulk_lies_in_pieces_of_a_super_segment() {
        let mut buffer = SendBuffer::default();
        let data = vec![7; 1 << 20];
        assert_eq!(
            buffer.write(&[IoSlice::new(&data)], 1 << 19, 65_160, &Pool::default()),
            1 << 19
        );
        let mut packet = Packet::new();
        buffer.share(65_160, 65_160, &mut packet);
        assert_eq!(packet.payload().count(), 1);
    }
}
