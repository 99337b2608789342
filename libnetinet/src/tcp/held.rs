//! Some bytes, and the memory that is not free while they are held.

use bytes::{Buf, Bytes};
use libnet::pool;

/// A part of a buffer. All of the buffer stays as long as it is held, so that all of it is charged.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Bytes,
    memory: u32,
}

impl Held {
    /// `bytes` of a buffer of `whole` bytes.
    pub(crate) fn of(bytes: Bytes, whole: usize) -> Held {
        Held { memory: memory_of(whole.max(bytes.len())), bytes }
    }

    /// All of a buffer.
    pub(crate) fn whole(bytes: Bytes) -> Held {
        Held { memory: memory_of(bytes.len()), bytes }
    }

    /// Their number.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Memory, bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory as usize
    }

    /// What is held.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What is held, to be kept elsewhere.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Drops the first `n`, not their memory.
    pub(crate) fn advance(&mut self, n: usize) {
        self.bytes.advance(n);
    }

    /// The first `n`, and all others here: both keep all of the memory.
    pub(crate) fn split_to(&mut self, n: usize) -> Held {
        Held { bytes: self.bytes.split_to(n), memory: self.memory }
    }

    /// Copies what is little for its memory: a few bytes must not hold a whole packet's. Of a
    /// buffer that is used up bit by bit, that copies each byte once at most.
    pub(crate) fn tidy(&mut self) {
        let alone = memory_of(self.bytes.len());
        if self.memory > 2 * alone {
            (self.bytes, self.memory) = (Bytes::copy_from_slice(&self.bytes), alone);
        }
    }
}

/// What a buffer of so many bytes takes, with its share of headers, entries and allocations.
pub(crate) fn memory_of(bytes: usize) -> u32 {
    u32::try_from(pool::capacity_for(bytes) + COST_BYTES).unwrap_or(u32::MAX)
}

/// A buffer's entry in a queue, its reference count, the headers before it, the allocator's own.
const COST_BYTES: usize = 192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_of_a_large_buffer_are_copied() {
        let whole = Bytes::from(vec![7; 1448]);
        let mut much = Held::of(whole.slice(..800), 1448);
        let place = much.bytes().as_ptr();
        much.tidy();
        assert_eq!((much.bytes().as_ptr(), much.memory()), (place, 1448 + COST_BYTES));
        let mut little = Held::of(whole.slice(..600), 1448);
        little.tidy();
        assert_eq!(little.memory(), 600 + COST_BYTES);
        assert_ne!(little.bytes().as_ptr(), place);
        assert_eq!(little.into_bytes(), whole.slice(..600));
    }

    #[test]
    fn a_buffer_that_is_read_bit_by_bit_is_copied_little() {
        let mut held = Held::whole(Bytes::from(vec![7; 60_000]));
        let (mut copied, mut place) = (0, held.bytes().as_ptr() as usize);
        while held.len() > 1 {
            held.advance(1);
            held.tidy();
            let now = held.bytes().as_ptr() as usize;
            copied += if now == place + 1 { 0 } else { held.len() };
            place = now;
        }
        assert!(copied < 60_000, "{copied} bytes");
        assert!(held.memory() < 600);
    }
}
