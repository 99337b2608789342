//! IPv4 options: walked safely on what is received, written to on what is passed on.

use std::net::Ipv4Addr;

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
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
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

/// The options that every fragment carries, padded to a multiple of four bytes.
pub(crate) fn copied(options: &[u8]) -> Vec<u8> {
    let mut copied = Vec::new();
    for (at, len) in walk(options) {
        // RFC 791 §3.1: the first bit of the type is the copied flag.
        if options[at] & 0x80 != 0 {
            copied.extend_from_slice(&options[at..at + len]);
        }
    }
    copied.resize(copied.len().next_multiple_of(4), END);
    copied
}

/// Writes us into the options that ask for it, as a router does for a packet that it passes on:
/// record route and Internet timestamp. `ours` is our address on the interface that it leaves by,
/// `is_ours` tells our other ones.
///
/// The time is `now_ms`, which is not since midnight UT: the high bit says so.
///
/// # Errors
/// Where, from the header's first byte, an option has no room as it should: the packet is in error.
pub(crate) fn stamp(
    options: &mut [u8],
    ours: Ipv4Addr,
    is_ours: impl Fn(Ipv4Addr) -> bool,
    now_ms: u32,
) -> Result<(), u8> {
    let all: Vec<(usize, usize)> = walk(options).collect();
    for (at, len) in all {
        let option = &mut options[at..at + len];
        let stamped = match option[0] {
            RECORD_ROUTE => record_route(option, ours),
            TIMESTAMP => timestamp(option, ours, &is_ours, now_ms),
            _ => Ok(()),
        };
        stamped.map_err(|within| (20 + at) as u8 + within)?;
    }
    Ok(())
}

/// RFC 791 §3.1: our address goes where the pointer says, counted from 1, if there is room.
fn record_route(option: &mut [u8], ours: Ipv4Addr) -> Result<(), u8> {
    let pointer = usize::from(*option.get(2).ok_or(1)?);
    if pointer > option.len() {
        return Ok(());
    }
    let slot = pointer.checked_sub(1).filter(|&slot| slot >= 3).ok_or(2)?;
    option.get_mut(slot..slot + 4).ok_or(2)?.copy_from_slice(&ours.octets());
    option[2] += 4;
    Ok(())
}

/// RFC 791 §3.1: a timestamp, alone, behind our address, or where our address was asked for.
fn timestamp(
    option: &mut [u8],
    ours: Ipv4Addr,
    is_ours: impl Fn(Ipv4Addr) -> bool,
    now_ms: u32,
) -> Result<(), u8> {
    if option.len() < 4 {
        return Err(1);
    }
    let (pointer, flag) = (usize::from(option[2]), option[3] & 0x0f);
    if pointer > option.len() {
        // The count of those who found no room; when it overflows the packet is in error.
        if option[3] >> 4 == 15 {
            return Err(3);
        }
        option[3] += 0x10;
        return Ok(());
    }
    let slot = pointer.checked_sub(1).filter(|&slot| slot >= 4).ok_or(2)?;
    let time = (now_ms | 0x8000_0000).to_be_bytes();
    let bytes = if flag == 0 { 4 } else { 8 };
    let room = option.get_mut(slot..slot + bytes).ok_or(2)?;
    match flag {
        0 => room.copy_from_slice(&time),
        1 => {
            room[..4].copy_from_slice(&ours.octets());
            room[4..].copy_from_slice(&time);
        }
        3 => {
            if !is_ours(Ipv4Addr::new(room[0], room[1], room[2], room[3])) {
                return Ok(());
            }
            room[4..].copy_from_slice(&time);
        }
        _ => return Err(3),
    }
    option[2] += bytes as u8;
    Ok(())
}

/// Where each option is and how long, up to the end or the first that is malformed; those of one
/// byte are left out.
fn walk(options: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while options.get(at) == Some(&NOP) {
            at += 1;
        }
        let kind = *options.get(at)?;
        let len = usize::from(*options.get(at + 1)?);
        if kind == END || len < 2 || at + len > options.len() {
            return None;
        }
        let here = at;
        at += len;
        Some((here, len))
    })
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

    const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn stamped(mut options: Vec<u8>) -> Result<Vec<u8>, u8> {
        stamp(&mut options, US, |addr| addr == OTHER, 0x0102_0304).map(|()| options)
    }

    #[test]
    fn record_route_takes_our_address_until_it_is_full() {
        let empty = vec![1, 7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        let once = stamped(empty).unwrap();
        assert_eq!(once, [1, 7, 11, 8, 10, 0, 0, 1, 0, 0, 0, 0]);
        let twice = stamped(once).unwrap();
        assert_eq!(twice, [1, 7, 11, 12, 10, 0, 0, 1, 10, 0, 0, 1]);
        assert_eq!(stamped(twice.clone()).unwrap(), twice, "full: passed on as it is");
        assert_eq!(stamped(vec![7, 7, 3, 0, 0, 0, 0, 0]), Err(22), "the pointer is too small");
        assert_eq!(stamped(vec![7, 6, 4, 0, 0, 0, 0, 0]), Err(22), "half an address of room");
    }

    #[test]
    fn timestamps_go_where_their_flag_says() {
        let alone = stamped(vec![68, 8, 5, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(alone, [68, 8, 9, 0, 0x81, 2, 3, 4]);
        let with_address = stamped(vec![68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(with_address, [68, 12, 13, 1, 10, 0, 0, 1, 0x81, 2, 3, 4]);
        let asked = stamped(vec![68, 12, 5, 3, 10, 0, 0, 2, 0, 0, 0, 0]).unwrap();
        assert_eq!(asked, [68, 12, 13, 3, 10, 0, 0, 2, 0x81, 2, 3, 4]);
        let another = vec![68, 12, 5, 3, 10, 0, 0, 9, 0, 0, 0, 0];
        assert_eq!(stamped(another.clone()).unwrap(), another);
    }

    #[test]
    fn a_full_timestamp_option_counts_who_found_no_room() {
        assert_eq!(stamped(vec![68, 4, 5, 0x20]).unwrap(), [68, 4, 5, 0x30]);
        assert_eq!(stamped(vec![68, 4, 5, 0xf0]), Err(23));
        assert_eq!(stamped(vec![68, 8, 5, 2, 0, 0, 0, 0]), Err(22), "no such flag fits");
        assert_eq!(stamped(vec![68, 3, 5, 0]), Err(21));
    }

    proptest::proptest! {
        #[test]
        fn any_options_are_stamped_and_copied_or_refused(options: Vec<u8>) {
            let _ = stamped(options.clone());
            proptest::prop_assert!(copied(&options).len() <= options.len().next_multiple_of(4));
        }
    }
}
