//! CUBIC: after a loss the window grows along a cubic of the time since, so that what it reaches
//! does not depend on the round trip. Source: RFC 9438.

use std::time::Duration;

use libnet::Instant;

use super::hystart::{HyStart, SlowStart};
use super::{Ack, Begin, CongestionControl, MAX_CWND_BYTES, after_disuse, after_idle, loss_window};

/// The window of RFC 9438, with HyStart++ in slow start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cubic {
    cwnd: u32,
    ssthresh: u32,
    /// W_max, bytes: where the cubic is flat.
    plateau: u32,
    /// cwnd_prior, bytes: the window before the last reduction.
    prior: u32,
    /// W_est, bytes: what Reno would have by now.
    reno: u32,
    /// K: from the beginning of the epoch to the plateau, milliseconds.
    k_ms: u32,
    /// When this stretch of congestion avoidance began; `None`: with the next acknowledgement.
    epoch: Option<Instant>,
    /// Of the last acknowledgement, to leave out the time in which the window was not used.
    last_ack: Instant,
    /// What is left of `acked * gain` below a byte of window, for the window and for Reno's.
    credit: [u64; 2],
    hystart: HyStart,
}

impl Cubic {
    /// Slow start from that window on, or an epoch if it is beyond the threshold.
    pub(crate) fn new(begin: &Begin) -> Self {
        Cubic {
            cwnd: begin.cwnd_bytes,
            ssthresh: begin.ssthresh_bytes,
            plateau: 0,
            prior: 0,
            reno: 0,
            k_ms: 0,
            epoch: None,
            last_ack: Instant::ZERO,
            credit: [0; 2],
            hystart: HyStart::default(),
        }
    }

    /// RFC 9438 §4.2 and §4.8: an epoch begins.
    fn begin_epoch(&mut self, now: Instant, mss: u32) {
        self.epoch = Some(now);
        self.credit = [0; 2];
        self.reno = self.cwnd;
        if self.plateau <= self.cwnd {
            (self.plateau, self.k_ms) = (self.cwnd, 0);
            return;
        }
        // K = cbrt((W_max - cwnd_epoch) / C), with C = 0.4 segments per second cubed.
        let segments_e10 = u64::from(self.plateau - self.cwnd) * 10_000_000_000 / u64::from(mss);
        self.k_ms = cube_root(segments_e10 / 4) as u32;
    }

    /// W_cubic(t), bytes. Source: RFC 9438 §4.2, equation (1).
    fn cubic(&self, since: Duration, mss: u32) -> u32 {
        let t_ms = i64::try_from(since.as_millis()).unwrap_or(FAR_MS);
        let ms = (t_ms - i64::from(self.k_ms)).clamp(-FAR_MS, FAR_MS);
        let cubed = i128::from(ms * ms * ms);
        let bytes = i128::from(self.plateau) + cubed * 4 * i128::from(mss) / 10_000_000_000;
        bytes.clamp(0, i128::from(MAX_CWND_BYTES)) as u32
    }

    /// RFC 9438 §4.3 to §4.5: congestion avoidance.
    fn avoid(&mut self, ack: &Ack) {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => {
                self.begin_epoch(ack.now, ack.mss);
                ack.now
            }
        };
        let since = ack.now.since(epoch);
        let now_at = self.cubic(since, ack.mss);
        let (cwnd, acked) = (u64::from(self.cwnd), u64::from(ack.bytes));
        // §4.3: W_est grows by alpha segments a window; by one, once it is where the last loss was.
        let (numerator, denominator) = if self.reno >= self.prior { (1, 1) } else { ALPHA };
        self.credit[1] += acked * u64::from(ack.mss) * numerator;
        let step = cwnd * denominator;
        self.reno = add_bytes(self.reno, self.credit[1] / step);
        self.credit[1] %= step;
        if now_at < self.reno {
            self.cwnd = self.cwnd.max(self.reno);
            return;
        }
        // §4.4, §4.5: toward where the cubic is one round trip ahead, at most half more.
        let target = self.cubic(since + ack.srtt, ack.mss);
        let target = target.clamp(self.cwnd, self.cwnd.saturating_add(self.cwnd / 2));
        self.credit[0] += acked * u64::from(target - self.cwnd);
        self.cwnd = add_bytes(self.cwnd, self.credit[0] / cwnd);
        self.credit[0] %= cwnd;
    }

    /// RFC 9438 §4.6 and §4.7: where the cubic is to be flat, and the threshold.
    fn reduce(&mut self, mss: u32) {
        self.prior = self.cwnd;
        // §4.7, fast convergence: room for a newcomer.
        let less = |bytes: u32| (u64::from(bytes) * 17 / 20) as u32;
        self.plateau = if self.cwnd < self.plateau { less(self.cwnd) } else { self.cwnd };
        // §4.6 lets those take the window for what is in flight, as Linux does, whose window does
        // not grow while it is not used: one loss in a small flight does not cost the whole window.
        self.ssthresh = ((u64::from(self.cwnd) * 7 / 10) as u32).max(2 * mss);
        self.epoch = None;
        self.hystart = HyStart::default();
    }
}

impl CongestionControl for Cubic {
    fn cwnd_bytes(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh_bytes(&self) -> u32 {
        self.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.last_ack = ack.now;
        if self.cwnd >= self.ssthresh {
            return self.avoid(ack);
        }
        match self.hystart.on_ack(ack) {
            SlowStart::Grow { bytes } => {
                self.cwnd = add_bytes(self.cwnd, u64::from(bytes)).min(self.ssthresh);
            }
            SlowStart::End => {
                self.ssthresh = self.cwnd;
                // A window that shrinks while it is idle begins another.
                self.hystart = HyStart::default();
            }
        }
    }

    fn on_unlimited_ack(&mut self, now: Instant) {
        // §5.8: the time in which the application had nothing to send is none of the cubic's.
        if let Some(epoch) = &mut self.epoch {
            *epoch += now.since(self.last_ack);
        }
        self.last_ack = now;
    }

    fn on_loss(&mut self, _flight: u32, mss: u32) {
        self.reduce(mss);
        self.cwnd = self.ssthresh;
    }

    fn on_recovered(&mut self, flight: u32, mss: u32) {
        // RFC 6582 §3.2 step 3, full acknowledgement, option (1): no burst.
        self.cwnd = self.ssthresh.min(flight.max(mss).saturating_add(mss));
    }

    fn on_timeout(&mut self, _flight: u32, mss: u32, again: bool) {
        // RFC 5681 §3.1: ssthresh is held when the same segment times out again.
        if !again {
            self.reduce(mss);
        }
        self.cwnd = loss_window(mss);
        // §4.8: the next epoch starts flat, where slow start ends.
        (self.plateau, self.epoch) = (0, None);
    }

    fn restore(&mut self, cwnd_bytes: u32, ssthresh_bytes: u32) {
        // §4.9: as if nothing had been lost.
        self.cwnd = self.cwnd.max(cwnd_bytes);
        self.ssthresh = self.ssthresh.max(ssthresh_bytes);
        self.plateau = self.plateau.max(self.prior);
        self.epoch = None;
    }

    fn on_idle(&mut self, timeouts: u32, mss: u32) {
        (self.cwnd, self.ssthresh) = after_idle(self.cwnd, self.ssthresh, timeouts, mss);
        self.epoch = None;
    }

    fn on_unused(&mut self, used_bytes: u32, mss: u32) {
        (self.cwnd, self.ssthresh) = after_disuse(self.cwnd, self.ssthresh, used_bytes, mss);
        self.epoch = None;
    }
}

/// Alpha of RFC 9438 §4.3, 3 (1 - beta) / (1 + beta), as a fraction.
const ALPHA: (u64, u64) = (9, 17);
/// Past this the cubic is beyond every window either way.
const FAR_MS: i64 = 1 << 20;

fn add_bytes(window: u32, bytes: u64) -> u32 {
    (u64::from(window) + bytes).min(u64::from(MAX_CWND_BYTES)) as u32
}

/// The largest integer whose cube is not above `n`: in integers, so that a run in virtual time is
/// the same on every machine.
fn cube_root(n: u64) -> u64 {
    let mut root = 0u64;
    for bit in (0..21).rev() {
        let trial = root | 1 << bit;
        if trial * trial * trial <= n {
            root = trial;
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::seq::SeqNumber;

    const MSS: u32 = 1000;
    const RTT: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn ack(now: Instant, bytes: u32) -> Ack {
        let una = SeqNumber::new(0);
        Ack { now, bytes, mss: MSS, srtt: RTT, rtt: None, una, end: una }
    }

    /// Acknowledges a window a round trip, spread over it, from `from` for `rounds`.
    fn run(cc: &mut Cubic, from: u64, rounds: u64) -> u64 {
        for round in 0..rounds {
            let window = cc.cwnd_bytes();
            for part in 0..10 {
                cc.on_ack(&ack(at(from + round * 100 + part * 10), window / 10));
            }
        }
        from + rounds * 100
    }

    /// Acknowledges ten segments, as a round of slow start, each with this round trip.
    fn slow_round(cc: &mut Cubic, number: u32, rtt_ms: u64) {
        for part in 1..=10 {
            let una = SeqNumber::new(number * 10_000 + part * 1000);
            let end = SeqNumber::new((number + 1) * 10_000);
            let rtt = Duration::from_millis(rtt_ms);
            let now = at(1000 + u64::from(number) * 100);
            cc.on_ack(&Ack { una, end, rtt: Some(rtt), ..ack(now, 1000) });
        }
    }

    #[test]
    fn after_idleness_slow_start_begins_and_ends_as_the_first_time() {
        let mut cc = Cubic::new(&Begin::first(MSS));
        let mut number = 0;
        for _ in 0..3 {
            slow_round(&mut cc, number, 40);
            for round in 1..10 {
                slow_round(&mut cc, number + round, 60);
            }
            assert!(cc.cwnd >= cc.ssthresh, "longer round trips end it");
            cc.on_idle(3, MSS);
            assert!(cc.cwnd < cc.ssthresh, "{} {}", cc.cwnd, cc.ssthresh);
            number += 10;
        }
    }

    #[test]
    fn a_loss_takes_three_tenths_and_the_plateau_comes_after_k() {
        let mut cc = Cubic::new(&Begin::first(MSS));
        cc.cwnd = 100 * MSS;
        cc.ssthresh = cc.cwnd;
        cc.on_loss(100 * MSS, MSS);
        assert_eq!((cc.cwnd_bytes(), cc.ssthresh_bytes()), (70 * MSS, 70 * MSS));
        // K = cbrt(30 / 0.4) = 4.217 s.
        let mut now = run(&mut cc, 1000, 1);
        assert_eq!(cc.k_ms, 4217);
        now = run(&mut cc, now, 41);
        let near = cc.cwnd_bytes();
        assert!((95 * MSS..=101 * MSS).contains(&near), "{near} at the plateau");
        now = run(&mut cc, now, 10);
        let flat = cc.cwnd_bytes() - near;
        assert!(flat < 4 * MSS, "{flat} while it is flat");
        run(&mut cc, now, 40);
        assert!(cc.cwnd_bytes() > 120 * MSS, "{} far beyond", cc.cwnd_bytes());
    }

    #[test]
    fn the_first_bytes_of_the_epoch_come_fast_and_never_more_than_half_a_window() {
        let mut cc = Cubic::new(&Begin::first(MSS));
        (cc.cwnd, cc.ssthresh, cc.plateau) = (10 * MSS, 10 * MSS, 10_000 * MSS);
        run(&mut cc, 1000, 1);
        assert!(cc.cwnd_bytes() <= 16 * MSS, "{}", cc.cwnd_bytes());
        assert!(cc.cwnd_bytes() > 10 * MSS);
    }

    #[test]
    fn a_short_round_trip_is_no_slower_than_reno() {
        let mut cc = Cubic::new(&Begin::first(MSS));
        (cc.cwnd, cc.ssthresh) = (20 * MSS, 20 * MSS);
        cc.on_loss(20 * MSS, MSS);
        let start = cc.cwnd_bytes();
        // 60 round trips of 1 ms: the cubic has not moved, Reno's estimate has.
        for round in 0..60 {
            let mut one = ack(at(1000 + round), cc.cwnd_bytes());
            one.srtt = Duration::from_millis(1);
            cc.on_ack(&one);
        }
        let grown = cc.cwnd_bytes() - start;
        assert!((25 * MSS..=60 * MSS).contains(&grown), "{grown} in 60 round trips");
    }

    #[test]
    fn a_window_below_the_last_plateau_makes_room() {
        let mut cc = Cubic::new(&Begin::first(MSS));
        (cc.cwnd, cc.ssthresh, cc.plateau) = (80 * MSS, 10 * MSS, 100 * MSS);
        cc.on_loss(80 * MSS, MSS);
        assert_eq!(cc.plateau, 68 * MSS, "RFC 9438 section 4.7: 80 times 0.85");
    }

    #[test]
    fn time_without_data_is_not_counted() {
        let mut cc = Cubic::new(&Begin::first(MSS));
        (cc.cwnd, cc.ssthresh) = (100 * MSS, 100 * MSS);
        cc.on_loss(100 * MSS, MSS);
        let mut idle = cc;
        let now = run(&mut cc, 1000, 5);
        run(&mut idle, 1000, 5);
        // The last acknowledgement came 10 ms before.
        idle.on_unlimited_ack(at(now - 10 + 60_000));
        run(&mut cc, now, 5);
        run(&mut idle, now + 60_000, 5);
        assert_eq!(cc.cwnd_bytes(), idle.cwnd_bytes());
    }

    #[test]
    fn a_time_out_starts_over_and_a_second_holds_the_threshold() {
        let mut cc = Cubic::new(&Begin::first(MSS));
        (cc.cwnd, cc.ssthresh) = (100 * MSS, 50 * MSS);
        cc.on_timeout(100 * MSS, MSS, false);
        assert_eq!((cc.cwnd_bytes(), cc.ssthresh_bytes()), (MSS, 70 * MSS));
        cc.on_timeout(MSS, MSS, true);
        assert_eq!((cc.cwnd_bytes(), cc.ssthresh_bytes()), (MSS, 70 * MSS));
    }

    #[test]
    fn what_was_taken_for_nothing_is_given_back() {
        let mut cc = Cubic::new(&Begin::first(MSS));
        (cc.cwnd, cc.ssthresh) = (100 * MSS, 100 * MSS);
        cc.on_loss(100 * MSS, MSS);
        cc.restore(100 * MSS, 100 * MSS);
        assert_eq!((cc.cwnd_bytes(), cc.ssthresh_bytes()), (100 * MSS, 100 * MSS));
        run(&mut cc, 1000, 1);
        assert_eq!(cc.k_ms, 0, "it goes on from where it was");
    }

    #[test]
    fn cube_roots() {
        for n in [0u64, 1, 7, 8, 26, 27, 999, 1000, 75_000_000_000, u64::from(u32::MAX)] {
            let root = cube_root(n);
            assert!(root * root * root <= n && (root + 1) * (root + 1) * (root + 1) > n, "{n}");
        }
        assert_eq!(cube_root(u64::MAX), (1 << 21) - 1, "capped: 35 minutes in milliseconds");
    }

    #[test]
    fn no_input_breaks_it() {
        let mut cc = Cubic::new(&Begin::first(88));
        for round in 0..200u64 {
            let mut one = ack(at(round * 1_000_000), u32::MAX);
            one.mss = 88;
            one.srtt = Duration::from_secs(3_600);
            cc.on_ack(&one);
            if round % 7 == 0 {
                cc.on_loss(u32::MAX, 88);
            }
            if round % 31 == 0 {
                cc.on_timeout(0, 88, round % 62 == 0);
            }
            cc.on_unlimited_ack(at(round * 2_000_000));
            assert!(cc.cwnd_bytes() >= 88 && cc.cwnd_bytes() <= MAX_CWND_BYTES);
        }
    }
}
