//! IPv4 options on received packets: walked safely, obeyed never.

/// What the options of a packet come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing that concerns a host which only receives.
    Skip,
    /// The sender chose the packet's way.
    SourceRoute,
    /// An option breaks its own length; where, from the header's first byte.
    Malformed { at: u8 },
}

const END: u8 = 0;
const NOP: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Walks the options of a header, `options` being what follows its first 20 bytes.
pub(crate) fn inspect(options: &[u8]) -> Verdict {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        match kind {
            END => return Verdict::Skip,
            NOP => at += 1,
            _ => {
                let malformed = Verdict::Malformed { at: 20 + at as u8 };
                let Some(&len) = options.get(at + 1) else { return malformed };
                if len < 2 || at + usize::from(len) > options.len() {
                    return malformed;
                }
                // RFC 1122 §3.2.1.8(c); a host that forwards nothing has no use for them.
                if matches!(kind, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE) {
                    return Verdict::SourceRoute;
                }
                // RFC 1122 §3.2.1.8: what is not understood MUST be passed over.
                at += usize::from(len);
            }
        }
    }
    Verdict::Skip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_options_are_skipped_by_their_length() {
        assert_eq!(inspect(&[]), Verdict::Skip);
        assert_eq!(inspect(&[1, 1, 1, 0]), Verdict::Skip);
        assert_eq!(inspect(&[7, 3, 4, 200, 4, 9, 9, 0]), Verdict::Skip);
        assert_eq!(inspect(&[0, 131, 0, 0]), Verdict::Skip, "nothing counts after the end");
    }

    #[test]
    fn source_routes_are_found_behind_others() {
        assert_eq!(inspect(&[1, 7, 3, 4, 131, 3, 4, 0]), Verdict::SourceRoute);
        assert_eq!(inspect(&[137, 7, 4, 1, 2, 3, 4, 0]), Verdict::SourceRoute);
    }

    #[test]
    fn broken_lengths_tell_where() {
        assert_eq!(inspect(&[1, 1, 1, 7]), Verdict::Malformed { at: 23 });
        assert_eq!(inspect(&[7, 0, 0, 0]), Verdict::Malformed { at: 20 });
        assert_eq!(inspect(&[7, 1, 0, 0]), Verdict::Malformed { at: 20 });
        assert_eq!(inspect(&[1, 7, 4, 0]), Verdict::Malformed { at: 21 });
    }
}
