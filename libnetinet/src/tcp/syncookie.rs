//! SYN cookies: handshakes of which nothing is remembered. Source: RFC 4987 §3.6 and appendix A.
//!
//! ```text
//!  our number   = H1(tuple) + SEG.SEQ + minute << 24 + (H2(tuple, minute) + index) mod 2^24
//!  our TSval    = clock, its last 6 bits:  | 0 | ECN | SACK | shift (15: none) |
//! ```
//! The index names a segment size. The rest of what the SYN asked for comes back as the echo of
//! the timestamp, as on Linux; a peer without timestamps gets neither scaling nor SACK.

use libnet::Instant;

use super::secrets::Secrets;
use super::segment::FourTuple;
use super::seq::SeqNumber;

/// What of a SYN is kept in the timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    /// The peer's window shift, if it scales.
    pub(super) shift: Option<u8>,
    /// It permits SACK.
    pub(super) sack: bool,
    /// ECN was agreed.
    pub(super) ecn: bool,
}

/// The number of a SYN-ACK that answers the SYN `irs` of a peer that takes segments of `mss`.
pub(super) fn make(
    secrets: &Secrets,
    tuple: &FourTuple,
    irs: SeqNumber,
    mss: u16,
    now: Instant,
) -> SeqNumber {
    let sizes = sizes_of(tuple);
    let index = sizes.iter().rposition(|&size| size <= mss).unwrap_or(0) as u32;
    let minute = minute_of(now);
    let low = secrets.cookie(tuple, Some(minute)).wrapping_add(index) & LOW_BITS;
    let base = secrets.cookie(tuple, None).wrapping_add(minute << LOW_BIT_COUNT);
    irs + base.wrapping_add(low)
}

/// The segment size that a cookie names; `None` if it is none of ours, or older than two minutes.
pub(super) fn check(
    secrets: &Secrets,
    tuple: &FourTuple,
    irs: SeqNumber,
    iss: SeqNumber,
    now: Instant,
) -> Option<u16> {
    let cookie = (iss - irs).wrapping_sub(secrets.cookie(tuple, None));
    let minute = minute_of(now);
    let age = minute.wrapping_sub(cookie >> LOW_BIT_COUNT) & 0xff;
    if age >= VALID_MINUTES {
        return None;
    }
    let then = secrets.cookie(tuple, Some(minute.wrapping_sub(age)));
    let index = cookie.wrapping_sub(then) & LOW_BITS;
    sizes_of(tuple).get(index as usize).copied()
}

/// The clock's value with `kept` in its last bits, never in the future.
pub(super) fn clock_with(clock: u32, kept: &Kept) -> u32 {
    let mut bits = u32::from(kept.shift.map_or(NO_SHIFT, |shift| shift.min(MAX_SHIFT)));
    if kept.sack {
        bits |= SACK;
    }
    if kept.ecn {
        bits |= ECN;
    }
    let value = clock & !KEPT_BITS | bits;
    if value > clock { value.wrapping_sub(KEPT_BITS + 1) } else { value }
}

/// What the echo of such a value has kept; its offset was taken off.
pub(super) fn kept_in(clock: u32) -> Kept {
    let shift = (clock & u32::from(NO_SHIFT)) as u8;
    Kept {
        shift: (shift != NO_SHIFT).then_some(shift),
        sack: clock & SACK != 0,
        ecn: clock & ECN != 0,
    }
}

fn sizes_of(tuple: &FourTuple) -> &'static [u16] {
    if tuple.local.is_ipv4() { &SIZES } else { &SIZES6 }
}

fn minute_of(now: Instant) -> u32 {
    (now.as_millis() / 60_000) as u32
}

/// Segment sizes that a cookie can name: Linux's four, and those of larger links.
const SIZES: [u16; 8] = [88, 536, 1300, 1440, 1460, 8960, 16_344, 65_495];
const SIZES6: [u16; 8] = [88, 1220, 1420, 1440, 8940, 16_324, 32_768, 65_475];
const LOW_BIT_COUNT: u32 = 24;
const LOW_BITS: u32 = (1 << LOW_BIT_COUNT) - 1;
/// A cookie is taken in its minute and in the next.
const VALID_MINUTES: u32 = 2;
const KEPT_BITS: u32 = 0x3f;
const NO_SHIFT: u8 = 0xf;
const MAX_SHIFT: u8 = 14;
const SACK: u32 = 0x10;
const ECN: u32 = 0x20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::family::Zone;

    fn tuple(v6: bool, port: u16) -> FourTuple {
        let (local, remote) = match v6 {
            false => ("10.0.0.1".parse(), "10.0.0.2".parse()),
            true => ("fd00::1".parse(), "fd00::2".parse()),
        };
        FourTuple {
            local: local.expect("an address"),
            remote: remote.expect("an address"),
            local_port: 80,
            remote_port: port,
            zone: Zone::NONE,
        }
    }

    proptest! {
        #[test]
        fn a_cookie_names_the_next_smaller_size_for_a_minute_at_least(
            v6: bool, port: u16, irs: u32, mss in 88u16.., begun in 0u64..1 << 40, later in 0u64..60_000,
        ) {
            let secrets = Secrets::from_seed([5; 32]);
            let (tuple, irs) = (tuple(v6, port), SeqNumber::new(irs));
            let (made, read) = (Instant::from_millis(begun), Instant::from_millis(begun + later));
            let cookie = make(&secrets, &tuple, irs, mss, made);
            let size = check(&secrets, &tuple, irs, cookie, read).expect("it is ours");
            let sizes = sizes_of(&tuple);
            prop_assert!(size <= mss && sizes.iter().all(|&other| other <= size || other > mss));
            let old = Instant::from_millis(begun + 120_000);
            prop_assert_eq!(check(&secrets, &tuple, irs, cookie, old), None);
        }

        #[test]
        fn what_is_kept_comes_back_and_the_clock_is_never_ahead(
            clock in 64u32.., shift in prop::option::of(0u8..=14), sack: bool, ecn: bool,
        ) {
            let kept = Kept { shift, sack, ecn };
            let value = clock_with(clock, &kept);
            prop_assert!(value <= clock && clock - value < 128);
            prop_assert_eq!(kept_in(value), kept);
        }
    }

    #[test]
    fn what_is_guessed_is_hardly_ever_a_cookie() {
        let secrets = Secrets::from_seed([6; 32]);
        let (tuple, irs, now) = (tuple(false, 9), SeqNumber::new(1), Instant::from_millis(99));
        // About one in four million.
        let hits = (0..100_000u32)
            .filter(|n| {
                let guess = SeqNumber::new(n.wrapping_mul(2_654_435_761));
                check(&secrets, &tuple, irs, guess, now).is_some()
            })
            .count();
        assert_eq!(hits, 0);
        let other = Secrets::from_seed([7; 32]);
        let cookie = make(&secrets, &tuple, irs, 1460, now);
        assert_eq!(check(&other, &tuple, irs, cookie, now), None);
    }
}
