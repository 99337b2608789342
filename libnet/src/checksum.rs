//! The Internet checksum (RFC 1071) over pieces of any length.

/// A running one's-complement sum over the bytes of a packet, piece by piece.
///
/// A piece may start at an odd offset; the sum keeps track of it.
///
/// ```
/// use libnet::checksum::Sum;
/// let mut sum = Sum::new();
/// sum.add(&[0x00, 0x01, 0xf2]);
/// sum.add(&[0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
/// assert_eq!(sum.finish(), !0xddf2); // RFC 1071 §3
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    acc: u64,
    odd: bool,
}

impl Sum {
    /// A sum over nothing.
    pub const fn new() -> Self {
        Sum { acc: 0, odd: false }
    }

    /// Adds a piece that follows all added so far.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut partial = u64::from(fold(sum_native(bytes)));
        if self.odd {
            partial = u64::from((partial as u16).swap_bytes());
        }
        self.acc += partial;
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds one 16-bit field in host order, as of a pseudo-header, at an even offset.
    pub fn add_u16(&mut self, value: u16) {
        debug_assert!(!self.odd);
        self.acc += u64::from(value.to_be());
    }

    /// Adds four bytes, as of an address, at an even offset.
    pub fn add_4(&mut self, bytes: [u8; 4]) {
        debug_assert!(!self.odd);
        self.acc += u64::from(u32::from_ne_bytes(bytes));
    }

    /// The sum folded to 16 bits, not complemented; what a partial checksum's field is seeded with.
    pub fn folded(self) -> u16 {
        u16::from_be(fold(self.acc))
    }

    /// The checksum in host order: the complement of the folded sum.
    pub fn finish(self) -> u16 {
        !self.folded()
    }
}

/// The checksum of one contiguous piece, in host order.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.finish()
}

/// The checksum of bytes whose checksum was `sum`, after one of their 16-bit words changed from
/// `old` to `new`; all in host order. Source: RFC 1624 §3, equation 3.
pub fn update(sum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!sum) + u64::from(!old) + u64::from(new))
}

/// The same of a header, without lanes to set up and to add together.
fn sum_of_few(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut acc: u64 = 0;
    for word in &mut words {
        acc += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    acc + u64::from(u32::from_ne_bytes(last))
}

/// Sums native-endian 16-bit words, the last byte padded with zero (RFC 1071 §2(B): byte order
/// does not matter to the sum).
fn sum_native(bytes: &[u8]) -> u64 {
    if bytes.len() < 64 {
        return sum_of_few(bytes);
    }
    // Four lanes of 32-bit words in 64-bit accumulators: no carry can be lost below 16 GiB, and
    // the compiler turns the loop into vector code.
    let mut lanes = [0u64; 8];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut acc: u64 = 0;
    for lane in lanes {
        acc += (lane & 0xffff_ffff) + (lane >> 32);
    }
    let mut words = blocks.remainder().chunks_exact(2);
    for word in &mut words {
        acc += u64::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        acc += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    acc
}

fn fold(mut acc: u64) -> u16 {
    while acc > 0xffff {
        acc = (acc & 0xffff) + (acc >> 16);
    }
    acc as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(bytes: &[u8]) -> u16 {
        let mut acc = 0u32;
        for word in bytes.chunks(2) {
            acc += u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]));
            acc = (acc & 0xffff) + (acc >> 16);
        }
        !(acc as u16)
    }

    #[test]
    fn agrees_with_the_definition_for_every_length_and_split() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 37 + 11) as u8).collect();
        for len in 0..bytes.len() {
            let whole = naive(&bytes[..len]);
            for split in 0..=len {
                let mut sum = Sum::new();
                sum.add(&bytes[..split]);
                sum.add(&bytes[split..len]);
                assert_eq!(sum.finish(), whole, "len {len} split {split}");
            }
        }
    }

    #[test]
    fn a_changed_word_changes_the_checksum_as_summing_anew_does() {
        // RFC 1624 §4: the example that equation 2 gets wrong.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
        let mut bytes: Vec<u8> = (0..20u8).map(|i| i.wrapping_mul(73)).collect();
        let mut sum = checksum(&bytes);
        for new in (0..=u16::MAX).step_by(251) {
            let old = u16::from_be_bytes([bytes[8], bytes[9]]);
            bytes[8..10].copy_from_slice(&new.to_be_bytes());
            sum = update(sum, old, new);
            assert_eq!(sum, checksum(&bytes));
        }
    }

    #[test]
    fn long_runs_of_ones_do_not_overflow() {
        let bytes = vec![0xff; 70_000];
        assert_eq!(checksum(&bytes), naive(&bytes));
    }
}
