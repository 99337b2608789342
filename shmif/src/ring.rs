//! A ring that one writes and everyone reads: publishing, and reading what may be overwritten.
//!
//! ```text
//!            reclaim                      head
//!   ... ....|=======|=====|==========|===|.... ...      a stream, seen through a window of
//!            ^ frames that still stand    ^ next frame   `units` × 64 bytes
//! ```
//! The writer moves the reclaim mark *before* it overwrites, and the head *after* it has written.
//! A reader copies, and believes the copy only if the reclaim mark has not passed it.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::frame::{FrameHeader, HEADER_BYTES, HEADER_WORDS};
use crate::pos::{Epoch, Pos, UNIT, split};
use crate::word::Word;

/// The memory of one ring: in a map, or in a model.
pub(crate) trait RingMemory {
    /// Its control words.
    type Word: Word<Value = u64>;

    /// The writer's epoch, and where its next frame goes.
    fn head(&self) -> &Self::Word;
    /// The writer's epoch, and the oldest frame that is not overwritten.
    fn reclaim(&self) -> &Self::Word;
    /// Word `index` of unit `unit`: 0 to 4 are a frame's header, 5 the first bytes of the frame.
    fn unit_word(&self, unit: u64, index: usize) -> &Self::Word;
    /// Size of the window; a power of two.
    fn units(&self) -> u64;
    /// Writes bytes at a place in the window; the range does not wrap.
    fn copy_in(&self, at: usize, bytes: &[u8]);
    /// Appends bytes from a place in the window; the range does not wrap.
    fn copy_out(&self, at: usize, len: usize, into: &mut Vec<u8>);
    /// Fills `into` with bytes from a place in the window; the range does not wrap.
    fn copy_to(&self, at: usize, into: &mut [u8]);
}

fn fence<M: RingMemory>(order: std::sync::atomic::Ordering) {
    M::Word::fence(order);
}

/// The writing side. What it knows is its own: the words in memory are only ever written.
pub(crate) struct Writer {
    epoch: Epoch,
    head: Pos,
    reclaim: Pos,
    units: u64,
}

impl Writer {
    /// Takes over a ring at the head that its last writer left.
    pub(crate) fn take_over<M: RingMemory>(memory: &M, epoch: Epoch) -> Self {
        let (_, head) = split(memory.head().load(Relaxed));
        let (_, reclaim) = split(memory.reclaim().load(Relaxed));
        let units = memory.units();
        let reclaim = if head.since(reclaim) <= units { reclaim } else { head };
        let writer = Writer { epoch, head, reclaim, units };
        memory.reclaim().store(epoch.with(reclaim), Relaxed);
        memory.head().store(epoch.with(head), Release);
        writer
    }

    /// Where the next frame goes.
    pub(crate) fn head(&self) -> Pos {
        self.head
    }

    /// The oldest frame that still stands.
    pub(crate) fn reclaimed(&self) -> Pos {
        self.reclaim
    }

    /// Units that can be written without reclaiming.
    pub(crate) fn room(&self) -> u64 {
        self.units - self.head.since(self.reclaim)
    }

    /// Gives up all frames before `mark`, which lies between the mark before and the head.
    pub(crate) fn reclaim_to<M: RingMemory>(&mut self, memory: &M, mark: Pos) {
        self.reclaim = mark;
        memory.reclaim().store(self.epoch.with(mark), Relaxed);
        // Orders the mark before the bytes that overwrite: a reader that sees one of them, and
        // fences, sees the mark.
        fence::<M>(Release);
    }

    /// Writes a frame behind the head and publishes it; the new head.
    ///
    /// The caller has made room. The pieces are together as long as the header says.
    pub(crate) fn publish<'a, M: RingMemory>(
        &mut self,
        memory: &M,
        header: FrameHeader,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Pos {
        let units = FrameHeader::units(header.frame_bytes as usize);
        debug_assert!(units <= self.room(), "room was made for the frame");
        let unit = self.head.unit_in(self.units);
        for (index, word) in header.to_words(self.epoch, self.head).into_iter().enumerate() {
            memory.unit_word(unit, index).store(word, Relaxed);
        }
        let window = self.units as usize * UNIT;
        let mut at = unit as usize * UNIT + HEADER_BYTES;
        for piece in pieces {
            // A piece that reaches the end of the window goes on at its start.
            let straight = piece.len().min(window - at);
            memory.copy_in(at, &piece[..straight]);
            memory.copy_in(0, &piece[straight..]);
            at = if straight < piece.len() { piece.len() - straight } else { at + straight };
            if at == window {
                at = 0;
            }
        }
        self.head = self.head.plus(units);
        memory.head().store(self.epoch.with(self.head), Release);
        self.head
    }

    /// Writes both marks again if somebody scribbled over them.
    pub(crate) fn repair<M: RingMemory>(&self, memory: &M) {
        if memory.head().load(Relaxed) != self.epoch.with(self.head)
            || memory.reclaim().load(Relaxed) != self.epoch.with(self.reclaim)
        {
            memory.reclaim().store(self.epoch.with(self.reclaim), Relaxed);
            memory.head().store(self.epoch.with(self.head), Release);
        }
    }
}

/// The part of a stream that can be read now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    /// The oldest frame that stands.
    pub(crate) reclaim: Pos,
    /// Behind the newest.
    pub(crate) head: Pos,
    /// Who writes it.
    pub(crate) epoch: Epoch,
}

impl Window {
    /// Reads the marks; `None` if they cannot be true, because somebody scribbled over them.
    pub(crate) fn read<M: RingMemory>(memory: &M) -> Option<Window> {
        let (epoch, head) = split(memory.head().load(Relaxed));
        fence::<M>(Acquire);
        let (_, reclaim) = split(memory.reclaim().load(Relaxed));
        // The mark may be newer than the head, and is then at most one window ahead of it.
        let spread = head.since(reclaim).min(reclaim.since(head));
        (spread <= memory.units()).then_some(Window { reclaim, head, epoch })
    }

    /// May a frame be at `at`: behind the reclaim mark and before the head?
    pub(crate) fn holds(&self, at: Pos) -> bool {
        at != self.head && self.head.since(at) <= self.head.since(self.reclaim)
    }
}

/// What is at a place in a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// A frame, and where the next one is.
    Frame {
        /// Of the member that sent it.
        epoch: Epoch,
        /// What its sender says of it.
        header: FrameHeader,
        /// Its first 8 bytes, the destination address among them.
        front: [u8; 8],
        /// The next frame, or the head.
        next: Pos,
    },
    /// The frame was overwritten before or while it was looked at.
    Lapped,
    /// No frame: somebody scribbled over it, or `at` is not where one starts.
    Broken,
}

/// Looks at the frame at `at`, which is before `head`.
pub(crate) fn look<M: RingMemory>(memory: &M, at: Pos, head: Pos) -> Seen {
    let unit = at.unit_in(memory.units());
    let mut words = [0; HEADER_WORDS + 1];
    for (index, word) in words.iter_mut().enumerate() {
        *word = memory.unit_word(unit, index).load(Relaxed);
    }
    if !still_stands(memory, at) {
        return Seen::Lapped;
    }
    let [w0, w1, w2, w3, w4, front] = words;
    let Some((epoch, header)) = FrameHeader::from_words([w0, w1, w2, w3, w4], at) else {
        return Seen::Broken;
    };
    let units = FrameHeader::units(header.frame_bytes as usize);
    if units > head.since(at) || units > memory.units() {
        return Seen::Broken;
    }
    Seen::Frame { epoch, header, front: front.to_ne_bytes(), next: at.plus(units) }
}

/// Appends the frame at `at` to `bytes`; `false` if it was overwritten meanwhile, and what was
/// appended is not to be looked at.
///
/// `frame_bytes` is what [`look`] saw there.
pub(crate) fn take<M: RingMemory>(
    memory: &M,
    at: Pos,
    frame_bytes: usize,
    bytes: &mut Vec<u8>,
) -> bool {
    let window = memory.units() as usize * UNIT;
    let from = at.unit_in(memory.units()) as usize * UNIT + HEADER_BYTES;
    let straight = frame_bytes.min(window - from);
    memory.copy_out(from, straight, bytes);
    memory.copy_out(0, frame_bytes - straight, bytes);
    still_stands(memory, at)
}

/// Fills `into` with what the frame at `at` has from byte `skip` on; `false` as [`take`] has it.
///
/// Of what [`look`] saw there so many are the frame's.
pub(crate) fn take_part<M: RingMemory>(memory: &M, at: Pos, skip: usize, into: &mut [u8]) -> bool {
    let window = memory.units() as usize * UNIT;
    let from = at.unit_in(memory.units()) as usize * UNIT + HEADER_BYTES + skip;
    let from = if from >= window { from - window } else { from };
    let (straight, wrapped) = into.split_at_mut(into.len().min(window - from));
    memory.copy_to(from, straight);
    memory.copy_to(0, wrapped);
    still_stands(memory, at)
}

/// Is what was read from `at` until now what was written there?
fn still_stands<M: RingMemory>(memory: &M, at: Pos) -> bool {
    fence::<M>(Acquire);
    let (_, reclaim) = split(memory.reclaim().load(Relaxed));
    !at.is_before(reclaim)
}

#[cfg(test)]
mod tests;
