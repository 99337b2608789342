//! `Range: bytes=…` (RFC 9110 §14).

use std::ops::Range;

/// What of a file is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that it does not have.
    Unsatisfiable,
}

/// What the header asks for of a file of `size` bytes.
///
/// RFC 9110 §14.2: what is malformed, in another unit, or too much trouble is ignored; so are
/// several ranges at once.
pub(super) fn wanted(header: &str, size: u64) -> Wanted {
    let Some((first, last)) =
        header.trim().strip_prefix("bytes=").and_then(|set| set.split_once('-'))
    else {
        return Wanted::Whole;
    };
    match (position(first), position(last)) {
        (Some(Some(first)), Some(last)) => {
            if last.is_some_and(|last| last < first) {
                return Wanted::Whole;
            }
            let end = last.map_or(size, |last| size.min(last.saturating_add(1)));
            if first < size { Wanted::Part(first..end) } else { Wanted::Unsatisfiable }
        }
        // The last so many bytes.
        (Some(None), Some(Some(suffix))) => {
            let start = size.saturating_sub(suffix);
            if start < size { Wanted::Part(start..size) } else { Wanted::Unsatisfiable }
        }
        _ => Wanted::Whole,
    }
}

/// A number, `Some(None)` for no text at all, or `None` for something else.
fn position(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    match text {
        "" => Some(None),
        // More digits than a file has bytes are the same as all of it.
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file() {
        assert_eq!(wanted("bytes=0-0", 10), Wanted::Part(0..1));
        assert_eq!(wanted("bytes=2-5", 10), Wanted::Part(2..6));
        assert_eq!(wanted("bytes=5-", 10), Wanted::Part(5..10));
        assert_eq!(wanted("bytes=5-99999999999999999999999", 10), Wanted::Part(5..10));
        assert_eq!(wanted("bytes=-3", 10), Wanted::Part(7..10));
        assert_eq!(wanted("bytes=-30", 10), Wanted::Part(0..10));
    }

    #[test]
    fn what_the_file_does_not_have_is_unsatisfiable() {
        for header in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(wanted(header, 10), Wanted::Unsatisfiable, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "lines=1-2",
            "bytes=0-1,3-4",
            "bytes=+1-2",
        ] {
            assert_eq!(wanted(header, 10), Wanted::Whole, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_range_lies_in_the_file(header in "bytes=[0-9]{0,25}-[0-9]{0,25}", size: u64) {
            if let Wanted::Part(part) = wanted(&header, size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }

        #[test]
        fn any_text_is_understood_or_ignored(header in ".{0,30}", size: u64) {
            let _ = wanted(&header, size);
        }
    }
}
