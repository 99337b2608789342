//! A hash over every frame of a world: two runs with one hash had the same frames.

use crate::packet::Packet;
use crate::time::Instant;

/// A running 64-bit hash. Not cryptographic; it tells runs apart, not forgeries.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceHash {
    state: u64,
    /// Bytes that do not fill a word yet.
    carry: u64,
    carry_bytes: u32,
    frames: u64,
}

impl TraceHash {
    pub(super) const fn new() -> Self {
        TraceHash { state: 0x9e37_79b9_7f4a_7c15, carry: 0, carry_bytes: 0, frames: 0 }
    }

    /// A frame that a port sent: when, by whom, and its bytes.
    pub(super) fn sent(&mut self, at: Instant, port: usize, packet: &Packet) {
        self.frames += 1;
        self.event(at, port, packet.len());
        for piece in packet.pieces() {
            self.bytes(piece);
        }
        self.end_frame();
    }

    /// A frame that a port received. What became of its bytes follows from the seed.
    pub(super) fn received(&mut self, at: Instant, port: usize, packet: &Packet) {
        self.event(at, port | 1 << 32, packet.len());
    }

    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) const fn value(&self) -> u64 {
        self.state
    }

    fn event(&mut self, at: Instant, port: usize, bytes: usize) {
        self.word(at.as_nanos());
        self.word(port as u64);
        self.word(bytes as u64);
    }

    /// How a frame is cut into pieces makes no difference.
    fn bytes(&mut self, mut bytes: &[u8]) {
        while self.carry_bytes > 0 || bytes.len() < 8 {
            let Some((&first, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.carry |= u64::from(first) << (8 * self.carry_bytes);
            self.carry_bytes += 1;
            if self.carry_bytes == 8 {
                self.end_frame();
            }
        }
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word: [u8; 8] = word.try_into().expect("chunks of eight");
            self.word(u64::from_le_bytes(word));
        }
        self.bytes_tail(words.remainder());
    }

    fn bytes_tail(&mut self, tail: &[u8]) {
        for &byte in tail {
            self.carry |= u64::from(byte) << (8 * self.carry_bytes);
            self.carry_bytes += 1;
        }
    }

    fn end_frame(&mut self) {
        if self.carry_bytes > 0 {
            let word = self.carry;
            self.carry = 0;
            self.carry_bytes = 0;
            self.word(word);
        }
    }

    fn word(&mut self, word: u64) {
        let mixed = (self.state ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.state = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn hash(pieces: &[&[u8]]) -> u64 {
        let mut packet = Packet::new();
        for piece in pieces {
            packet.push_payload(Bytes::copy_from_slice(piece));
        }
        let mut hash = TraceHash::new();
        hash.sent(Instant::ZERO, 1, &packet);
        hash.value()
    }

    #[test]
    fn pieces_make_no_difference_and_bytes_do() {
        let whole: Vec<u8> = (0..50).collect();
        for a in 0..50 {
            for b in a..50 {
                let cut = [&whole[..a], &whole[a..b], &whole[b..]];
                assert_eq!(hash(&[&whole]), hash(&cut), "{a} {b}");
            }
        }
        for at in 0..50 {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert_ne!(hash(&[&whole]), hash(&[&other]));
        }
    }
}
