//! When to ask for routers: RFC 4861 §6.3.7 with the back-off of RFC 7559.

use std::time::Duration;

use libnet::time::Instant;

/// Router solicitations of one interface.
#[derive(Clone, Debug)]
pub(crate) struct Solicit {
    due: Option<Instant>,
    /// The wait after the last one; zero: none was sent.
    wait: Duration,
}

/// RFC 4861 §10: MAX_RTR_SOLICITATION_DELAY.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(1);
/// RFC 7559 §2: IRT, RTR_SOLICITATION_INTERVAL.
const FIRST_WAIT: Duration = Duration::from_secs(4);
/// RFC 7559 §2: MRT.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

impl Solicit {
    /// Starts to ask, after a random part of a second: many may have started together.
    pub(crate) fn start(now: Instant, random: u64) -> Self {
        Solicit { due: Some(now + part_of(MAX_DELAY, random)), wait: Duration::ZERO }
    }

    /// Whether to ask now. RFC 7559 §2: the wait doubles, a tenth more or less, up to an hour, and
    /// it goes on until a router is found.
    pub(crate) fn expire(&mut self, now: Instant, random: u64) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let base = if self.wait.is_zero() { FIRST_WAIT } else { self.wait * 2 };
        let jitter = |of: Duration| part_of(of / 5, random);
        self.wait = base - base / 10 + jitter(base);
        if self.wait > LONGEST_WAIT {
            self.wait = LONGEST_WAIT - LONGEST_WAIT / 10 + jitter(LONGEST_WAIT);
        }
        self.due = Some(now + self.wait);
        true
    }

    /// A default router was heard of. RFC 7559 §2.1: then it is quiet.
    pub(crate) const fn stop(&mut self) {
        self.due = None;
    }

    /// The last default router is gone: asks again.
    pub(crate) fn resume(&mut self, now: Instant, random: u64) {
        if self.due.is_none() {
            *self = Solicit::start(now, random);
        }
    }

    pub(crate) const fn next_deadline(&self) -> Option<Instant> {
        self.due
    }
}

/// A random part of a time, from nothing to all of it.
pub(crate) fn part_of(time: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(random % (nanos + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_a_tenth_more_or_less() {
        let mut solicit = Solicit::start(Instant::ZERO, 400_000_000);
        assert_eq!(solicit.next_deadline(), Some(Instant::from_millis(400)));
        let mut random = 1u64;
        let mut before = Duration::ZERO;
        for n in 0..20 {
            random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            let at = solicit.next_deadline().unwrap();
            assert!(!solicit.expire(at - Duration::from_nanos(1), random), "not before its time");
            assert!(solicit.expire(at, random));
            let wait = solicit.next_deadline().unwrap().since(at);
            let base = if n == 0 { FIRST_WAIT } else { (2 * before).min(LONGEST_WAIT) };
            assert!(wait >= base.mul_f64(0.9) && wait <= base.mul_f64(1.1), "{wait:?} of {base:?}");
            before = wait;
        }
        assert!(before >= LONGEST_WAIT.mul_f64(0.9));
    }

    #[test]
    fn it_is_quiet_once_a_router_is_known_and_asks_again_when_it_goes() {
        let mut solicit = Solicit::start(Instant::ZERO, 0);
        assert!(solicit.expire(Instant::ZERO, 0));
        solicit.stop();
        assert_eq!(solicit.next_deadline(), None);
        assert!(!solicit.expire(Instant::from_millis(1 << 30), 0));
        solicit.resume(Instant::from_millis(5_000), 0);
        assert!(solicit.expire(Instant::from_millis(5_000), 0));
    }
}
