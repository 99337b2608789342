//! Pacing: data leave at a rate, a quantum at a time, instead of as fast as the window lets them.
//!
//! ```text
//!   quantum │      quantum │      quantum │           next: when the gate opens again
//!   ────────┼──────────────┼──────────────┼───> time
//!           └─ bytes/rate ─┘
//! ```
//! Source: draft-ietf-ccwg-bbr, "Pacing Rate" and "Send Quantum"; the allowances are Linux's.

use std::time::Duration;

use libnet::Instant;

/// A connection's gate for data. Without a rate it is always open, and costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    /// Bytes of data per second; 0: no pacing.
    rate: u64,
    /// Bytes that leave at once at most.
    quantum: u32,
    /// Bytes that leave unpaced yet, at the beginning.
    free: u32,
    /// When the next data may leave.
    next: Instant,
    /// From when on a late timer has kept data back that are to be made up; [`Instant::MAX`]: none.
    owed_from: Instant,
}

impl Pacer {
    /// No pacing; should it be asked for, `free` bytes leave unpaced before it begins.
    pub(crate) fn new(free: u32) -> Self {
        let owed_from = Instant::MAX;
        Pacer { rate: 0, quantum: u32::MAX, free, next: Instant::ZERO, owed_from }
    }

    /// From now on unpaced, no more than `burst` bytes at once.
    pub(crate) fn set_burst(&mut self, burst: u32) {
        (self.rate, self.quantum) = (0, burst);
    }

    /// From now on at this rate, bytes per second.
    pub(crate) fn set_rate(&mut self, rate: u64, mss: u32) {
        self.rate = rate.max(MIN_RATE);
        // A millisecond's worth, so that few timers serve a fast connection; two segments at least,
        // so that the peer need not delay its acknowledgement.
        let worth = u32::try_from(self.rate / QUANTA_PER_SECOND).unwrap_or(u32::MAX);
        self.quantum = worth.clamp(2 * mss, MAX_QUANTUM_BYTES.max(2 * mss));
    }

    /// Bytes of data per second, if it paces.
    pub(crate) fn rate(&self) -> Option<u64> {
        (self.rate > 0).then_some(self.rate)
    }

    /// Bytes that leave at once at most.
    pub(crate) fn quantum(&self) -> u32 {
        self.quantum
    }

    /// `bytes` of data leave now; until when nothing else does, [`Instant::MAX`] if it may.
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: u32) -> Instant {
        if self.rate == 0 {
            return Instant::MAX;
        }
        if self.free > 0 {
            self.free = self.free.saturating_sub(bytes);
            return Instant::MAX;
        }
        let spent = Duration::from_nanos(u64::from(bytes) * 1_000_000_000 / self.rate);
        // What a late timer has cost is made up, and what came a little later than it could.
        let mut from = now - spent / 2;
        if now.since(self.owed_from) <= LATEST {
            from = from.min(self.owed_from);
        }
        self.next = self.next.max(from) + spent;
        if self.next <= now {
            return Instant::MAX;
        }
        self.owed_from = Instant::MAX;
        self.next
    }

    /// The timer that opens the gate came.
    pub(crate) fn on_open(&mut self, now: Instant) {
        self.owed_from = self.next.max(now - LATEST);
    }
}

/// Below it, the time of a segment would not fit.
const MIN_RATE: u64 = 100;
/// Of 1 ms.
const QUANTA_PER_SECOND: u64 = 1_000;
/// A super-segment.
const MAX_QUANTUM_BYTES: u32 = 65_535;
/// A timer that was later than that is a stall, after which the queues on the path have drained.
const LATEST: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_000;

    fn us(n: u64) -> Instant {
        Instant::from_nanos(n * 1_000)
    }

    fn paced(rate: u64) -> Pacer {
        let mut pacer = Pacer::new(0);
        pacer.set_rate(rate, MSS);
        pacer
    }

    /// Sends a second long at 100 MB/s, with timers so late: the pacer, when it ended, bytes sent.
    fn paced_for_a_second(late: Duration) -> (Pacer, Instant, u64) {
        let mut pacer = paced(100_000_000);
        let (mut now, mut sent) = (us(10_000), 0);
        while now < us(1_010_000) {
            let next = pacer.on_sent(now, 10_000);
            sent += 10_000;
            if next != Instant::MAX {
                now = next + late;
                pacer.on_open(now);
            }
        }
        (pacer, now, sent)
    }

    #[test]
    fn a_quantum_is_a_millisecond_of_two_segments_to_a_super_segment() {
        for (rate, quantum) in [(1_000, 2_000), (10_000_000, 10_000), (1 << 40, 65_535)] {
            assert_eq!(paced(rate).quantum(), quantum, "at {rate}");
        }
        assert_eq!(Pacer::new(0).quantum(), u32::MAX);
    }

    #[test]
    fn quanta_leave_at_the_rate_to_the_microsecond() {
        let (_, _, sent) = paced_for_a_second(Duration::ZERO);
        // And one and a half ahead, at the beginning.
        assert!((100_000_000..=100_015_000).contains(&sent), "{sent}");
    }

    #[test]
    fn late_timers_cost_nothing_and_long_silence_saves_nothing_up() {
        let (mut pacer, mut now, sent) = paced_for_a_second(Duration::from_micros(70));
        assert!((99_900_000..=100_100_000).contains(&sent), "{sent}");
        now += Duration::from_secs(10);
        let mut burst = 0;
        while pacer.on_sent(now, 10_000) == Instant::MAX {
            burst += 1;
        }
        assert!(burst <= 1, "{burst} quanta at once");
    }

    /// A busy host's timers come some 3.6 ms late, again and again.
    #[test]
    fn a_timer_late_by_several_quanta_is_made_up_up_to_a_stall() {
        for (late_ms, least) in [(1, 99), (3, 99), (12, 30)] {
            let (_, _, sent) = paced_for_a_second(Duration::from_millis(late_ms));
            let percent = sent / 1_000_000;
            assert!((least..=101).contains(&percent), "{percent} % with {late_ms} ms");
            assert!(late_ms < 12 || percent < 50, "{percent} %: a stall is not made up");
        }
        // Nothing was there to send for the gate that opened late: nothing is owed any more.
        let mut pacer = paced(100_000_000);
        let next = (0..).find_map(|_| {
            Some(pacer.on_sent(us(10_000), 10_000)).filter(|next| *next != Instant::MAX)
        });
        let late = next.expect("the gate closes") + Duration::from_millis(3);
        pacer.on_open(late);
        let mut burst = 0;
        while pacer.on_sent(late + Duration::from_secs(1), 10_000) == Instant::MAX {
            burst += 1;
        }
        assert!(burst <= 1, "{burst} quanta at once");
    }

    #[test]
    fn the_first_bytes_are_free_and_no_rate_is_no_gate() {
        let mut pacer = Pacer::new(14_480);
        assert_eq!(pacer.on_sent(us(5), 65_000), Instant::MAX);
        pacer.set_rate(1_000_000, 1_448);
        assert_eq!(pacer.on_sent(us(5), 14_480), Instant::MAX);
        assert!(pacer.on_sent(us(5), 1_448) > us(5));
        pacer.set_burst(u32::MAX);
        assert_eq!(pacer.on_sent(us(5), 65_000), Instant::MAX);
    }
}
