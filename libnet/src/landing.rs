//! Where a stream's bytes may land: the memory of a caller that waits for them. A link that knows the
//! frame to come copies its data there at once, not into a buffer of its own first.
//!
//! ```text
//!  caller              core                 link                    core
//!  recv: nothing ──>  Forecast: "the next   reads a frame: header   the packet says "at 0..n of the
//!  there, waits       one looks like this"  apart, data into the    landing": takes it, or has the
//!                                           caller's buffer         data copied into the packet
//! ```
//! A forecast is a guess. A link compares and a core decides; what does not fit takes the usual way,
//! with the same result.

use crate::link::Medium;
use crate::packet::{Checksum, Packet};
use crate::time::Instant;

/// A frame with fewer bytes of data is not worth it.
pub const LEAST_BYTES: usize = 8 * 1024;

/// The longest headers that a forecast holds: IPv6's, TCP's and timestamps.
const MOST_HEADER_BYTES: usize = 72;

/// What the frame to come looks like from its IP header to its data.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The shard whose core made it.
    pub shard: usize,
    /// What it is about: the core's own.
    pub target: u64,
    /// The number of the first byte of data.
    number: u32,
    number_at: usize,
    header_bytes: usize,
    /// As they will be, where `mask` has ones.
    headers: [u8; MOST_HEADER_BYTES],
    mask: [u8; MOST_HEADER_BYTES],
}

impl Forecast {
    /// No header yet; they are written one behind the other.
    pub const fn new(shard: usize, target: u64) -> Self {
        let none = [0; MOST_HEADER_BYTES];
        Forecast {
            shard,
            target,
            number: 0,
            number_at: 0,
            header_bytes: 0,
            headers: none,
            mask: none,
        }
    }

    /// A byte whose bits are known where `mask` has them.
    ///
    /// # Panics
    /// Past 72 bytes: IPv6's, TCP's and timestamps, headers of ours to know.
    pub fn masked(&mut self, byte: u8, mask: u8) -> &mut Self {
        self.headers[self.header_bytes] = byte & mask;
        self.mask[self.header_bytes] = mask;
        self.header_bytes += 1;
        self
    }

    /// Bytes that are known.
    ///
    /// # Panics
    /// As [`masked`](Self::masked).
    pub fn exact(&mut self, bytes: &[u8]) -> &mut Self {
        bytes.iter().fold(self, |forecast, byte| forecast.masked(*byte, 0xff))
    }

    /// Bytes that may be any.
    pub fn any(&mut self, count: usize) -> &mut Self {
        self.header_bytes += count;
        self
    }

    /// The number of the first byte of data, four bytes in network order.
    pub fn number(&mut self, number: u32) -> &mut Self {
        (self.number, self.number_at) = (number, self.header_bytes);
        self.any(4)
    }

    /// Do headers look like those of the frame that comes after `bytes` more of the stream?
    fn fits(&self, headers: &[u8], bytes: usize) -> bool {
        let number = self.number.wrapping_add(bytes as u32).to_be_bytes();
        let own = self.headers.iter().zip(&self.mask);
        let other =
            headers.iter().zip(own).fold(0, |other, (b, (own, mask))| other | (b & mask) ^ own);
        headers.len() == self.header_bytes
            && other == 0
            && headers.get(self.number_at..self.number_at + 4) == Some(&number)
    }
}

/// A caller's memory, and what has landed there.
#[derive(Debug)]
pub struct Landing<'a> {
    forecast: Box<Forecast>,
    memory: &'a mut [u8],
    /// Bytes that links have put there.
    landed: usize,
    /// Of these the first, which the core took for the caller.
    taken: usize,
}

impl<'a> Landing<'a> {
    /// Nothing has landed yet.
    pub fn new(forecast: Box<Forecast>, memory: &'a mut [u8]) -> Self {
        Landing { forecast, memory, landed: 0, taken: 0 }
    }

    /// Bytes from the start of its memory that are the stream's next: what the caller receives.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// What it expects.
    pub fn forecast(&self) -> &Forecast {
        &self.forecast
    }

    /// The number of the byte that goes `at` bytes into it.
    pub fn number_of(&self, at: usize) -> u32 {
        self.forecast.number.wrapping_add(at as u32)
    }

    /// What comes after all that was taken.
    pub fn into_next(mut self) -> Box<Forecast> {
        self.forecast.number = self.number_of(self.taken);
        self.forecast
    }

    /// Bytes of a frame before its data.
    pub fn header_bytes(&self, medium: Medium) -> usize {
        medium.header_bytes() + self.forecast.header_bytes
    }

    /// Where the next frame's data go.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.landed..]
    }

    /// Bytes of that place.
    pub fn room_bytes(&self) -> usize {
        self.memory.len() - self.landed
    }

    /// Has anything landed?
    pub fn has_landed(&self) -> bool {
        self.landed > 0
    }

    /// Is a frame with these headers, link header included, the one that is expected?
    pub fn expects(&self, headers: &[u8], medium: Medium, checksum: Checksum) -> bool {
        // Nobody sums up data on their way.
        checksum != Checksum::Unverified
            && headers
                .get(medium.header_bytes()..)
                .is_some_and(|headers| self.forecast.fits(headers, self.landed))
    }

    /// The packet for a frame that [is expected](Self::expects), whose `bytes` of data are at the front of
    /// [`room`](Self::room).
    pub fn land(&mut self, headers: &[u8], bytes: usize, rx_at: Instant) -> Packet {
        let packet = Packet::landed(headers, self.landed as u32, bytes as u32, rx_at);
        self.landed += bytes;
        packet
    }

    /// A core has taken the next `bytes` of what landed.
    pub fn take(&mut self, bytes: usize) {
        self.taken = (self.taken + bytes).min(self.landed);
    }

    /// All frames so far are done with: what of them was not taken is nobody's, and the next go there.
    pub(crate) fn settle(&mut self) {
        self.landed = self.taken;
    }

    /// Is a frame with so much data worth it? Small ones are joined to larger ones elsewhere, but for what
    /// follows such as have landed.
    pub fn wants(&self, bytes: usize) -> bool {
        bytes >= LEAST_BYTES || (self.has_landed() && bytes > 0)
    }

    /// Copies a packet's data into it, if they landed: from now on it is as any other.
    pub fn take_back(&self, packet: &mut Packet) {
        if let Some(range) = packet.landed_range() {
            packet.put_back(self.memory.get(range).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers `[7, x, number]` with any `x`.
    fn forecast() -> Box<Forecast> {
        let mut forecast = Forecast::new(0, 0);
        forecast.exact(&[7]).any(1).number(u32::MAX);
        Box::new(forecast)
    }

    fn headers(number: u32) -> Vec<u8> {
        let [a, b, c, d] = number.to_be_bytes();
        vec![7, 99, a, b, c, d]
    }

    #[test]
    fn only_the_frame_that_is_next_is_expected() {
        let mut memory = [0; 100];
        let mut landing = Landing::new(forecast(), &mut memory);
        let expects = |landing: &Landing<'_>, headers: &[u8]| {
            landing.expects(headers, Medium::Ip, Checksum::Trusted)
        };
        assert!(expects(&landing, &headers(u32::MAX)));
        assert!(!expects(&landing, &headers(0)), "another number");
        assert!(!expects(&landing, &headers(u32::MAX)[1..]), "too short");
        let mut other = headers(u32::MAX);
        other[0] = 8;
        assert!(!expects(&landing, &other), "another header");
        assert!(!landing.expects(&headers(u32::MAX), Medium::Ip, Checksum::Unverified));
        landing.land(&headers(u32::MAX), 10, Instant::ZERO);
        assert!(expects(&landing, &headers(9)), "numbers wrap");
        assert_eq!(landing.room().len(), 90);
        assert_eq!(landing.taken(), 0);
        landing.take(10);
        assert_eq!(landing.into_next().number, 9);
    }

    #[test]
    fn what_is_taken_back_is_a_packet_as_any_other() {
        let mut memory = [0; 100];
        let mut landing = Landing::new(forecast(), &mut memory);
        landing.room()[..4].copy_from_slice(b"one!");
        let first = landing.land(b"head", 4, Instant::ZERO);
        landing.room()[..4].copy_from_slice(b"two!");
        let mut second = landing.land(b"head", 4, Instant::ZERO);
        assert_eq!((first.len(), first.landed_range()), (8, Some(0..4)));
        landing.take(4);
        landing.take_back(&mut second);
        assert_eq!(&second.to_bytes()[..], b"headtwo!");
        assert_eq!((second.len(), second.landed_range()), (8, None));
        assert_eq!(landing.taken(), 4);
        landing.take(1_000);
        assert_eq!(landing.taken(), 8, "no more than landed");
    }
}
