//! Lowers the MSS that somebody else's SYN announces; knows nothing of why.

use libnet::checksum;
use libnet::packet::Checksum;

use super::options::{KIND_AO, KIND_MSS, MAX_OPTIONS_BYTES, walk};
use super::segment::{Flags, MIN_HEADER_BYTES};

/// What became of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clamped {
    /// It is as it was: no SYN, or none that announces more.
    No,
    /// It is as it was although it announces more, because TCP-AO signs it.
    Signed,
    /// It announces the bound.
    Lowered,
}

/// Lowers the MSS option of a SYN to `most` bytes. `segment` is its beginning, the whole header at
/// least if there is one, with what `checksum` says in the field.
///
/// No option is added: who announces nothing is sent 536 or 1,220 bytes (RFC 9293 §3.7.1, MUST-15).
/// One that TCP-AO signs is left alone, since that covers options (RFC 5925 §5.1); TCP-MD5 does not (RFC
/// 2385 §2.0).
pub(crate) fn lower_mss(segment: &mut [u8], most: u16, checksum: Checksum) -> Clamped {
    let Some(header) = syn_header(segment) else { return Clamped::No };
    let (fixed, list) = header.split_at_mut(MIN_HEADER_BYTES);
    // One that stands there twice is lowered twice: ends differ in which one counts.
    let mut found = [0; MAX_OPTIONS_BYTES / 4];
    let (mut count, mut is_signed) = (0, false);
    for (at, kind, body) in walk(list) {
        match (kind, body) {
            (KIND_AO, _) => is_signed = true,
            (KIND_MSS, &[high, low]) if u16::from_be_bytes([high, low]) > most => {
                // The values of as many options as the list has room for.
                found[count] = at + 2;
                count += 1;
            }
            _ => {}
        }
    }
    match (count, is_signed) {
        (0, _) => return Clamped::No,
        (_, true) => return Clamped::Signed,
        _ => {}
    }
    let mut sum = u16::from_be_bytes([fixed[16], fixed[17]]);
    for &at in &found[..count] {
        let old = u16::from_be_bytes([list[at], list[at + 1]]);
        list[at..at + 2].copy_from_slice(&most.to_be_bytes());
        // RFC 1071 §2: what begins at an odd byte counts with its bytes swapped.
        let turn = |value: u16| if at % 2 == 1 { value.swap_bytes() } else { value };
        sum = checksum::update(sum, turn(old), turn(most));
    }
    // A partial checksum is that of the pseudo-header, in which options have no part.
    if !matches!(checksum, Checksum::Partial { .. }) {
        fixed[16..18].copy_from_slice(&sum.to_be_bytes());
    }
    Clamped::Lowered
}

/// The header of a SYN that is all there.
fn syn_header(segment: &mut [u8]) -> Option<&mut [u8]> {
    let (&offset, &flags) = (segment.get(12)?, segment.get(13)?);
    if !Flags::from_bits(u16::from(flags)).has(Flags::SYN) {
        return None;
    }
    segment
        .get_mut(..usize::from(offset >> 4) * 4)
        .filter(|header| header.len() >= MIN_HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use libnet::checksum::Sum;
    use proptest::prelude::*;

    use super::super::options::Options;
    use super::*;

    /// A segment with its checksum right; of the pseudo-header it is 0x1234.
    fn segment(flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
        let words = (MIN_HEADER_BYTES + options.len()) / 4;
        let mut bytes = vec![0x55; MIN_HEADER_BYTES];
        (bytes[12], bytes[13]) = ((words << 4) as u8, flags);
        bytes[16..18].fill(0);
        bytes.extend_from_slice(options);
        bytes.extend_from_slice(data);
        let sum = !sum_of(&bytes);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn sum_of(segment: &[u8]) -> u16 {
        let mut sum = Sum::new();
        sum.add_u16(0x1234);
        sum.add(segment);
        sum.folded()
    }

    fn lowered(segment: &[u8], most: u16) -> (Clamped, Vec<u8>) {
        let mut bytes = segment.to_vec();
        (lower_mss(&mut bytes, most, Checksum::Unverified), bytes)
    }

    const SYN: u8 = 0x02;

    #[test]
    fn a_syn_and_its_answer_announce_the_bound_at_most() {
        for flags in [SYN, SYN | 0x10, SYN | 0xc0] {
            let before = segment(flags, &[2, 4, 0x05, 0xb4, 1, 3, 3, 7], &[]);
            let after = segment(flags, &[2, 4, 0x05, 0x50, 1, 3, 3, 7], &[]);
            assert_eq!(lowered(&before, 1_360), (Clamped::Lowered, after));
            assert_eq!(lowered(&before, 1_460), (Clamped::No, before.clone()), "never raised");
            assert_eq!(lowered(&before, 9_000), (Clamped::No, before));
        }
    }

    #[test]
    fn what_is_no_syn_or_announces_nothing_is_left_alone() {
        let mss = [2, 4, 0x05, 0xb4];
        for whole in [
            segment(0x10, &mss, b"data"),
            segment(SYN, &[1, 1, 4, 2], &[]),
            segment(SYN, &[2, 3, 0xff, 1], &[]),
            segment(SYN, &[0, 2, 4, 0xff, 0xff, 0, 0, 0], &[]),
            segment(SYN, &[], &mss),
        ] {
            assert_eq!(lowered(&whole, 536), (Clamped::No, whole));
        }
        let cut = &segment(SYN, &mss, &[])[..23];
        assert_eq!(lowered(cut, 536).0, Clamped::No, "the first fragment of a header");
        for short in 0..MIN_HEADER_BYTES {
            assert_eq!(lowered(&cut[..short], 536).0, Clamped::No);
        }
    }

    #[test]
    fn a_segment_whose_options_are_signed_is_left_alone() {
        for (signature, is_covered) in [(&[19, 18][..], false), (&[29, 16], true)] {
            let body = vec![0xaa; usize::from(signature[1]) - 2];
            let mut options = [&[2, 4, 0x05, 0xb4][..], signature, &body].concat();
            options.resize(options.len().next_multiple_of(4), 1);
            let whole = segment(SYN, &options, &[]);
            assert_eq!(lowered(&whole, 1_460), (Clamped::No, whole.clone()));
            let (what, after) = lowered(&whole, 1_360);
            let expected = if is_covered { Clamped::Signed } else { Clamped::Lowered };
            assert_eq!((what, after == whole), (expected, is_covered));
        }
    }

    #[test]
    fn a_partial_checksum_stays_as_it_is() {
        let before = segment(SYN, &[2, 4, 0x05, 0xb4], &[]);
        let mut after = before.clone();
        let partial = Checksum::Partial { start: 20, field: 16 };
        assert_eq!(lower_mss(&mut after, 1_000, partial), Clamped::Lowered);
        assert_eq!(after[16..18], before[16..18]);
        assert_eq!(Options::parse(&after[20..]).mss, Some(1_000));
    }

    proptest! {
        #[test]
        fn whatever_the_options_nothing_but_a_larger_mss_changes_and_the_checksum_stays_right(
            flags: u8,
            options in prop::collection::vec(prop_oneof![0u8..5, 17u8..31, any::<u8>()], 0..=40),
            mss in prop::collection::vec((0usize..40, any::<u16>()), 0..4),
            most: u16,
            data in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut options = options;
            options.truncate(options.len() & !3);
            for (at, value) in mss {
                let [high, low] = value.to_be_bytes();
                if let Some(place) = options.get_mut(at..at + 4) {
                    place.copy_from_slice(&[2, 4, high, low]);
                }
            }
            let before = segment(flags, &options, &data);
            let (clamped, after) = lowered(&before, most);
            prop_assert_eq!(sum_of(&after), sum_of(&before));
            let announced = |segment: &[u8]| Options::parse(&segment[20..20 + options.len()]);
            let (old, new) = (announced(&before), announced(&after));
            let covers_options = walk(&options).any(|(_, kind, _)| kind == KIND_AO);
            if clamped == Clamped::Lowered {
                prop_assert!(flags & SYN != 0 && !covers_options);
                prop_assert_eq!(new.mss, old.mss.map(|mss| mss.min(most)));
            } else {
                prop_assert_eq!(&after, &before);
                let is_more = old.mss.is_some_and(|mss| mss > most);
                prop_assert!(!is_more || flags & SYN == 0 || covers_options);
            }
            prop_assert_eq!(Options { mss: old.mss, ..new }, old);
        }

        #[test]
        fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..=64), most: u16) {
            let (clamped, after) = lowered(&bytes, most);
            prop_assert_eq!(after.len(), bytes.len());
            prop_assert!(clamped == Clamped::Lowered || after == bytes);
        }
    }
}
