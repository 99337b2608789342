//! Round-trip time and the retransmission time-out. Source: RFC 6298.

use std::time::Duration;

use libnet::Instant;

use super::config::TcpConfig;
use super::seq::SeqNumber;

/// The estimator, and the one segment whose acknowledgement is timed.
///
/// Microseconds in 32 bits: 0 to 71 minutes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RttEstimator {
    srtt_us: u32,
    rttvar_us: u32,
    rto_us: u32,
    /// Doublings since the last acknowledgement of new data.
    backoff: u8,
    timing: bool,
    timed_seq: SeqNumber,
    timed_at: Instant,
}

impl RttEstimator {
    /// Nothing measured: RFC 6298 §2.1.
    pub(crate) fn new(config: &TcpConfig) -> Self {
        RttEstimator {
            srtt_us: 0,
            rttvar_us: 0,
            rto_us: micros(config.rto_initial),
            backoff: 0,
            timing: false,
            timed_seq: SeqNumber::default(),
            timed_at: Instant::ZERO,
        }
    }

    /// Starts timing the segment that ends before `end`, unless another is timed.
    ///
    /// RFC 6298 §3: one measurement per round trip.
    pub(crate) fn start(&mut self, end: SeqNumber, now: Instant) {
        if !self.timing {
            (self.timing, self.timed_seq, self.timed_at) = (true, end, now);
        }
    }

    /// Karn: RFC 6298 §3 (MUST): no sample from a segment that was sent again.
    pub(crate) fn cancel(&mut self) {
        self.timing = false;
    }

    /// New data were acknowledged up to `ack`; the sample, if it was the timed segment's.
    pub(crate) fn sample(&mut self, ack: SeqNumber, now: Instant) -> Option<Duration> {
        if !self.timing || ack.lt(self.timed_seq) {
            return None;
        }
        self.timing = false;
        Some(now.since(self.timed_at))
    }

    /// Takes a measurement in.
    pub(crate) fn update(&mut self, rtt: Duration, config: &TcpConfig) {
        let rtt_us = micros(rtt).max(1);
        if self.srtt_us == 0 {
            // RFC 6298 §2.2.
            (self.srtt_us, self.rttvar_us) = (rtt_us, rtt_us / 2);
        } else {
            // RFC 6298 §2.3: beta is 1/4, alpha 1/8, and RTTVAR comes first.
            let error = self.srtt_us.abs_diff(rtt_us);
            self.rttvar_us = self.rttvar_us - self.rttvar_us / 4 + error / 4;
            self.srtt_us = (self.srtt_us - self.srtt_us / 8 + rtt_us / 8).max(1);
        }
        self.backoff = 0;
        self.rto_us = self.measured(config);
        self.clamp(config);
    }

    /// RFC 6298 §5.5: the timer has expired, the RTO doubles.
    pub(crate) fn back_off(&mut self, config: &TcpConfig) {
        self.rto_us = self.rto_us.saturating_mul(2);
        self.backoff = self.backoff.saturating_add(1);
        self.clamp(config);
        if self.backoff > 3 {
            // RFC 6298 §5: what was measured is likely bogus by now; the next sample starts anew.
            (self.srtt_us, self.rttvar_us) = (0, 0);
        }
    }

    /// New data were acknowledged after a back-off; without a sample the measured RTO returns.
    pub(crate) fn forget_backoff(&mut self, config: &TcpConfig) {
        if self.backoff > 0 {
            self.backoff = 0;
            self.rto_us = match self.srtt_us {
                0 => micros(config.rto_initial),
                _ => self.measured(config),
            };
            self.clamp(config);
        }
    }

    /// RFC 6298 §5.7 (MUST): a SYN had to be sent again, so data begin with 3 s.
    pub(crate) fn restart_after_lost_syn(&mut self) {
        if self.srtt_us == 0 {
            self.rto_us = self.rto_us.max(3_000_000);
            self.backoff = 0;
        }
    }

    /// The retransmission time-out now.
    pub(crate) fn rto(&self) -> Duration {
        Duration::from_micros(u64::from(self.rto_us))
    }

    /// How often the time-out is doubled.
    pub(crate) fn backoff(&self) -> u8 {
        self.backoff
    }

    /// The smoothed round-trip time; `None` before the first sample.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        (self.srtt_us > 0).then(|| Duration::from_micros(u64::from(self.srtt_us)))
    }

    /// The smoothed deviation.
    pub(crate) fn rttvar(&self) -> Duration {
        Duration::from_micros(u64::from(self.rttvar_us))
    }

    /// RFC 6298 §2.3, with the floor under the deviation as on Linux: however steady a path is, an
    /// acknowledgement may be delayed, and a tail loss probe comes before the time-out.
    fn measured(&self, config: &TcpConfig) -> u32 {
        let spread = self.rttvar_us.saturating_mul(4).max(GRANULARITY_US);
        self.srtt_us.saturating_add(spread.max(micros(config.rto_min)))
    }

    fn clamp(&mut self, config: &TcpConfig) {
        let (min, max) = (micros(config.rto_min), micros(config.rto_max));
        self.rto_us = self.rto_us.clamp(min.min(max), max);
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// G of RFC 6298 §2: the timing wheel's tick.
const GRANULARITY_US: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn first_sample_sets_and_later_ones_smooth() {
        let config = TcpConfig::default();
        let mut rtt = RttEstimator::new(&config);
        assert_eq!(rtt.rto(), ms(1000));
        rtt.update(ms(400), &config);
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(ms(400)), ms(200)));
        assert_eq!(rtt.rto(), ms(1200));
        rtt.update(ms(400), &config);
        assert_eq!((rtt.srtt(), rtt.rttvar(), rtt.rto()), (Some(ms(400)), ms(150), ms(1000)));
        let steady = &mut RttEstimator::new(&config);
        for _ in 0..100 {
            steady.update(ms(400), &config);
        }
        assert_eq!(steady.rto(), ms(600), "the floor is under the deviation");
        rtt.update(ms(800), &config);
        assert_eq!(rtt.srtt(), Some(ms(450)));
    }

    #[test]
    fn the_rto_stays_between_its_bounds() {
        let config = TcpConfig::default();
        let mut rtt = RttEstimator::new(&config);
        rtt.update(Duration::from_micros(20), &config);
        assert_eq!(rtt.rto(), config.rto_min + Duration::from_micros(20));
        for _ in 0..40 {
            rtt.back_off(&config);
        }
        assert_eq!(rtt.rto(), config.rto_max);
        assert_eq!(rtt.srtt(), None, "a long outage voids what was measured");
        rtt.update(Duration::from_secs(100_000), &config);
        assert_eq!(rtt.rto(), config.rto_max);
    }

    #[test]
    fn a_resent_segment_gives_no_sample() {
        let mut rtt = RttEstimator::new(&TcpConfig::default());
        rtt.start(SeqNumber::new(10), Instant::ZERO);
        rtt.start(SeqNumber::new(20), Instant::from_millis(5));
        assert_eq!(rtt.sample(SeqNumber::new(9), Instant::from_millis(7)), None);
        assert_eq!(rtt.sample(SeqNumber::new(15), Instant::from_millis(8)), Some(ms(8)));
        rtt.start(SeqNumber::new(30), Instant::from_millis(9));
        rtt.cancel();
        assert_eq!(rtt.sample(SeqNumber::new(30), Instant::from_millis(10)), None);
    }
}
