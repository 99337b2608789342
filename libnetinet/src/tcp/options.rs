//! TCP options: a reader that survives anything, and a writer for those that we send.

use super::ecn::option::{ByteOrder, KIND_ECT0_FIRST, KIND_ECT1_FIRST, MarkedBytes};
use super::sack::SackBlocks;

/// The options of one segment that we know; the others are skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size, bytes; on a SYN. Source: RFC 9293 §3.7.1, RFC 6691.
    pub mss: Option<u16>,
    /// Window shift, 0..=14; on a SYN. Source: RFC 7323 §2.
    pub window_shift: Option<u8>,
    /// SACK permitted; on a SYN. Source: RFC 2018 §2.
    pub sack_permitted: bool,
    /// TSval and TSecr. Source: RFC 7323 §3.
    pub timestamps: Option<Timestamps>,
    /// What has arrived beyond the acknowledgement; never on a SYN. Source: RFC 2018 §3.
    pub sack: SackBlocks,
    /// How many bytes came with which mark; never on a SYN. Source: RFC 9768 §3.2.3.
    pub marked_bytes: Option<MarkedBytes>,
    /// Where the Fast Open option stands; on a SYN. Source: RFC 7413 §4.1.1.
    pub fast_open: OptionAt,
    /// Where a signature stands: of TCP-MD5 (RFC 2385) or TCP-AO (RFC 5925).
    pub signature: OptionAt,
}

/// Where in a segment's list of options one stands that few segments have. It is not written:
/// who sends one adds it to an [`Extra`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OptionAt(u8);

impl OptionAt {
    /// There is one, and it cannot be found.
    const NOWHERE: OptionAt = OptionAt(u8::MAX);

    fn new(offset: usize) -> Self {
        OptionAt(offset as u8 + 1)
    }

    /// Is there one?
    pub const fn is_some(self) -> bool {
        self.0 > 0
    }

    /// Its kind and what follows its length, in the list that it was found in.
    pub fn find(self, list: &[u8]) -> Option<(u8, &[u8])> {
        let at = usize::from(self.0.checked_sub(1)?);
        let (&kind, &len) = (list.get(at)?, list.get(at + 1)?);
        Some((kind, list.get(at + 2..at + usize::from(len))?))
    }
}

/// Options that few segments have, as they go onto the wire behind the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extra {
    bytes: [u8; MAX_OPTIONS_BYTES],
    len: u8,
}

impl Extra {
    /// None.
    pub const NONE: Extra = Extra { bytes: [0; MAX_OPTIONS_BYTES], len: 0 };

    /// Appends an option, and NOPs up to the next 32-bit boundary; `false` if it does not fit.
    pub fn push(&mut self, kind: u8, body: &[u8]) -> bool {
        let (start, end) = (usize::from(self.len), usize::from(self.len) + 2 + body.len());
        let padded = end.next_multiple_of(4);
        if padded > MAX_OPTIONS_BYTES {
            return false;
        }
        (self.bytes[start], self.bytes[start + 1]) = (kind, 2 + body.len() as u8);
        self.bytes[start + 2..end].copy_from_slice(body);
        self.bytes[end..padded].fill(KIND_NOP);
        self.len = padded as u8;
        true
    }

    /// As they go onto the wire, a multiple of 4.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The timestamps option. Source: RFC 7323 §3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timestamps {
    /// The sender's clock, in ticks of 1 ms to 1 s, from an origin of its own.
    pub value: u32,
    /// The latest value received from the other side; valid only with ACK.
    pub echo: u32,
}

impl Options {
    /// Reads what stands between the fixed header and the data, 0..=40 bytes.
    ///
    /// ```
    /// use libnetinet::tcp::Options;
    /// // An unknown option (99), then MSS 1460.
    /// let options = Options::parse(&[99, 3, 0, 2, 4, 0x05, 0xb4, 0]);
    /// assert_eq!(options.mss, Some(1460));
    /// ```
    pub fn parse(list: &[u8]) -> Self {
        let mut options = Options::default();
        for (at, kind, body) in walk(list) {
            options.take(kind, body, at);
        }
        options
    }

    /// Bytes that [`Options::write`] fills, a multiple of 4.
    pub fn len(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let shift = if self.window_shift.is_some() { 4 } else { 0 };
        let timestamps = if self.timestamps.is_some() { 12 } else { 0 };
        // With timestamps it stands where their padding is.
        let permitted = if self.sack_permitted && timestamps == 0 { 4 } else { 0 };
        let marked = self.marked_bytes.map_or(0, |option| option.option_bytes());
        mss + shift + permitted + timestamps + marked + self.sack.option_bytes() as usize
    }

    /// Does it hold none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the options into `out`, which holds [`Options::len`] bytes, in Linux's order and
    /// with its padding.
    pub fn write(&self, out: &mut [u8]) {
        let mut rest = out;
        let mut put = |bytes: &[u8]| {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            rest = after;
        };
        if let Some(mss) = self.mss {
            let [hi, lo] = mss.to_be_bytes();
            put(&[KIND_MSS, 4, hi, lo]);
        }
        match (self.sack_permitted, self.timestamps) {
            (true, None) => put(&[KIND_NOP, KIND_NOP, KIND_SACK_PERMITTED, 2]),
            (true, Some(_)) => put(&[KIND_SACK_PERMITTED, 2, KIND_TIMESTAMPS, 10]),
            // RFC 7323 appendix A: two NOPs keep the values on 32-bit boundaries.
            (false, Some(_)) => put(&[KIND_NOP, KIND_NOP, KIND_TIMESTAMPS, 10]),
            (false, None) => {}
        }
        if let Some(Timestamps { value, echo }) = self.timestamps {
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        if let Some(shift) = self.window_shift {
            put(&[KIND_NOP, KIND_WINDOW_SHIFT, 3, shift]);
        }
        if let Some(marked_bytes) = self.marked_bytes {
            marked_bytes.write(&mut put);
        }
        if !self.sack.is_empty() {
            let len = self.sack.option_bytes() as u8 - 2;
            put(&[KIND_NOP, KIND_NOP, KIND_SACK, len]);
            for block in self.sack.iter() {
                put(&block.left.value().to_be_bytes());
                put(&block.right.value().to_be_bytes());
            }
        }
    }

    /// RFC 9293 §3.1 (MUST-6): an option that we do not know is skipped.
    fn take(&mut self, kind: u8, body: &[u8], offset: usize) {
        match (kind, body) {
            (KIND_FAST_OPEN, _) => self.fast_open = OptionAt::new(offset),
            // RFC 5925 §2.2 (MUST): one of them at most; several are as good as a wrong one.
            (KIND_MD5 | KIND_AO, _) if self.signature.is_some() => {
                self.signature = OptionAt::NOWHERE;
            }
            (KIND_MD5 | KIND_AO, _) => self.signature = OptionAt::new(offset),
            (KIND_MSS, &[hi, lo]) => self.mss = Some(u16::from_be_bytes([hi, lo])),
            (KIND_WINDOW_SHIFT, &[shift]) => {
                // RFC 7323 §2.3: a shift above 14 counts as 14.
                self.window_shift = Some(shift.min(MAX_WINDOW_SHIFT));
            }
            (KIND_SACK_PERMITTED, []) => self.sack_permitted = true,
            (KIND_TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                let value = u32::from_be_bytes([a, b, c, d]);
                let echo = u32::from_be_bytes([e, f, g, h]);
                self.timestamps = Some(Timestamps { value, echo });
            }
            (KIND_ECT0_FIRST, body) => {
                self.marked_bytes = Some(MarkedBytes::parse(ByteOrder::Ect0First, body));
            }
            (KIND_ECT1_FIRST, body) => {
                self.marked_bytes = Some(MarkedBytes::parse(ByteOrder::Ect1First, body));
            }
            (KIND_SACK, blocks) if blocks.len().is_multiple_of(8) => {
                self.sack = SackBlocks::parse(blocks);
            }
            _ => {}
        }
    }
}

/// The options of a list as far as they can be found: where each stands, its kind, and what follows
/// its length.
pub(super) fn walk(list: &[u8]) -> impl Iterator<Item = (usize, u8, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            return match &list[at..] {
                // RFC 9293 §3.2: End of Option List; the rest is padding.
                [] | [KIND_END, ..] => None,
                [KIND_NOP, ..] => {
                    at += 1;
                    continue;
                }
                // RFC 9293 §3.1 (MUST-7): a length that cannot be must not crash; nothing after
                // it can be found, so reading ends here.
                [_] => None,
                [kind, len, rest @ ..] => {
                    let body = rest.get(..usize::from(*len).checked_sub(2)?)?;
                    let here = at;
                    at += usize::from(*len);
                    Some((here, *kind, body))
                }
            };
        }
    })
}

/// The largest window shift. Source: RFC 7323 §2.2.
pub const MAX_WINDOW_SHIFT: u8 = 14;
/// Bytes that options may fill at most: a data offset of 15 words. Source: RFC 9293 §3.1.
pub const MAX_OPTIONS_BYTES: usize = 40;

const KIND_END: u8 = 0;
pub(super) const KIND_NOP: u8 = 1;
pub(super) const KIND_MSS: u8 = 2;
const KIND_WINDOW_SHIFT: u8 = 3;
const KIND_SACK_PERMITTED: u8 = 4;
const KIND_SACK: u8 = 5;
pub(super) const KIND_TIMESTAMPS: u8 = 8;
/// Source: RFC 2385 §3.
pub(super) const KIND_MD5: u8 = 19;
/// Source: RFC 5925 §2.2.
pub(super) const KIND_AO: u8 = 29;
/// Source: RFC 7413 §4.1.1.
pub(super) const KIND_FAST_OPEN: u8 = 34;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sack::SackBlock;
    use super::super::seq::SeqNumber;
    use super::*;

    fn blocks(edges: &[(u32, u32)]) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        for &(left, right) in edges {
            blocks.push(SackBlock { left: SeqNumber::new(left), right: SeqNumber::new(right) });
        }
        blocks
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            mss: Option<u16>, shift in prop::option::of(0u8..=14), sack_permitted: bool,
            ts in prop::option::of((any::<u32>(), any::<u32>())),
            counters in prop::option::of(prop::collection::vec(0u32..1 << 24, 0..=3)),
        ) {
            let timestamps = ts.map(|(value, echo)| Timestamps { value, echo });
            let sack = SackBlocks::default();
            let order = if sack_permitted { ByteOrder::Ect0First } else { ByteOrder::Ect1First };
            let marked_bytes = counters.map(|fields| MarkedBytes::new(order, &fields));
            let options = Options {
                mss,
                window_shift: shift,
                sack_permitted,
                timestamps,
                sack,
                marked_bytes,
                ..Options::default()
            };
            let mut bytes = vec![0xee; options.len()];
            options.write(&mut bytes);
            prop_assert!(options.len() <= MAX_OPTIONS_BYTES && options.len().is_multiple_of(4));
            prop_assert_eq!(Options::parse(&bytes), options);
        }

        #[test]
        fn blocks_are_read_back_beside_timestamps(
            edges in prop::collection::vec((any::<u32>(), any::<u32>()), 1..=4),
            ts in prop::option::of((any::<u32>(), any::<u32>())),
        ) {
            let timestamps = ts.map(|(value, echo)| Timestamps { value, echo });
            let most = if ts.is_some() { 3 } else { 4 };
            let sack = blocks(&edges[..edges.len().min(most)]);
            let options = Options { timestamps, sack, ..Options::default() };
            let mut bytes = vec![0xee; options.len()];
            options.write(&mut bytes);
            prop_assert!(options.len() <= MAX_OPTIONS_BYTES && options.len().is_multiple_of(4));
            prop_assert_eq!(Options::parse(&bytes), options);
        }

        #[test]
        fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..=40)) {
            Options::parse(&bytes);
        }
    }

    #[test]
    fn unknown_and_malformed_options_do_not_hide_what_came_before() {
        // RFC 9293 §3.1 (MUST-7): length 0, 1, and past the end.
        for bad in [[99u8, 0], [99, 1], [99, 200]] {
            let bytes = [&[2, 4, 0x05, 0xb4][..], &bad].concat();
            assert_eq!(Options::parse(&bytes).mss, Some(1460));
        }
        let bytes = [30, 6, 1, 2, 3, 4, 1, 1, 4, 2, 3, 3, 200, 0];
        let options = Options::parse(&bytes);
        assert!(options.sack_permitted);
        assert_eq!(options.window_shift, Some(14));
    }

    #[test]
    fn a_rare_option_is_found_where_it_stands_and_padded_with_nops() {
        let mut extra = Extra::NONE;
        assert!(extra.push(KIND_FAST_OPEN, &[1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(extra.bytes(), [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1]);
        let list = [&[1, 1, 2, 4, 5, 180][..], extra.bytes()].concat();
        let options = Options::parse(&list);
        assert_eq!(options.mss, Some(1460));
        assert!(options.fast_open.is_some() && !options.signature.is_some());
        assert_eq!(options.fast_open.find(&list), Some((34, &[1, 2, 3, 4, 5, 6, 7, 8][..])));
        assert_eq!(options.fast_open.find(&list[..8]), None);
        assert_eq!(OptionAt::default().find(&list), None);
        assert!(!extra.push(KIND_MD5, &[0; 30]));
    }

    #[test]
    fn two_signatures_are_none() {
        let both = [&[19, 18][..], &[1; 16], &[29, 16], &[2; 14]].concat();
        let options = Options::parse(&both);
        assert!(options.signature.is_some());
        assert_eq!(options.signature.find(&both), None);
    }

    #[test]
    fn a_known_option_of_the_wrong_length_is_ignored() {
        assert_eq!(Options::parse(&[2, 3, 5, 3, 2, 8, 4, 0, 0, 4, 3, 0]), Options::default());
    }

    #[test]
    fn a_syn_has_its_options_in_the_order_and_padding_of_linux() {
        let timestamps = Some(Timestamps { value: 0x0102_0304, echo: 0 });
        let mut syn = Options {
            mss: Some(1460),
            window_shift: Some(7),
            sack_permitted: true,
            timestamps,
            ..Options::default()
        };
        let written = |options: &Options| {
            let mut bytes = vec![0xee; options.len()];
            options.write(&mut bytes);
            bytes
        };
        let want = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(written(&syn), want);
        syn.timestamps = None;
        assert_eq!(written(&syn), [2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7]);
    }

    #[test]
    fn blocks_follow_the_timestamps_after_two_nops() {
        let timestamps = Some(Timestamps { value: 1, echo: 2 });
        let options = Options { timestamps, sack: blocks(&[(3, 4)]), ..Options::default() };
        let mut bytes = vec![0; options.len()];
        options.write(&mut bytes);
        let want = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0, 0, 0, 3, 0, 0, 0, 4];
        assert_eq!(bytes, want);
    }

    #[test]
    fn counters_of_marked_bytes_are_read_as_far_as_they_are_whole() {
        // RFC 9768 §3.2.3: lengths that nobody uses yet, too.
        for len in 2u8..=14 {
            let mut bytes = vec![172, len];
            bytes.extend(1..=len - 2);
            let options = Options::parse(&bytes);
            let fields = options.marked_bytes.expect("it is one").fields().to_vec();
            let want = [0x01_0203, 0x04_0506, 0x07_0809];
            assert_eq!(fields, want[..usize::from((len - 2) / 3).min(3)], "{len}");
        }
        let option = MarkedBytes::new(ByteOrder::Ect1First, &[0x0a_0b0c, 1]);
        let options = Options { marked_bytes: Some(option), ..Options::default() };
        let mut bytes = vec![0xee; options.len()];
        options.write(&mut bytes);
        assert_eq!(bytes, [174, 8, 10, 11, 12, 0, 0, 1]);
    }

    #[test]
    fn a_sack_option_of_an_impossible_length_is_ignored() {
        for len in [2u8, 3, 9, 11, 17] {
            let mut bytes = vec![5, len];
            bytes.resize(usize::from(len), 1);
            assert!(Options::parse(&bytes).sack.is_empty(), "{len}");
        }
    }
}
