//! How much was delivered, and how fast: what a congestion control that measures is fed with.
//!
//! Source: draft-ietf-ccwg-bbr, "Delivery Rate Samples", which succeeds draft-cheng-iccrg-delivery-rate-estimation.

use std::time::Duration;

use libnet::Instant;

/// A connection's delivery account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// C.delivered: bytes that the peer has said to have, since the connection began.
    delivered: u64,
    /// C.delivered_time: when that last grew, or when sending began anew.
    delivered_at: Instant,
    /// C.first_sent_time: when the first of the data that the next sample measures was sent.
    first_sent_at: Instant,
    /// C.app_limited: until `delivered` is beyond this, the application gave too little to send.
    limited_until: u64,
    sample: Sampling,
    last: RateSample,
}

/// The account as it stood when a record was sent. Source: the draft's per-packet state P.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RateStamp {
    pub(crate) delivered: u64,
    pub(crate) delivered_at: Instant,
    pub(crate) first_sent_at: Instant,
}

/// The newest record that the acknowledgement at hand has delivered.
#[derive(Clone, Copy, Debug, Default)]
struct Sampling {
    prior: Option<Prior>,
}

#[derive(Clone, Copy, Debug)]
struct Prior {
    stamp: RateStamp,
    sent_at: Instant,
    app_limited: bool,
}

/// What one acknowledgement says of the path's rate.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RateSample {
    /// Bytes delivered over [`interval`](Self::interval).
    pub(crate) bytes: u64,
    /// The longer of the times that sending and acknowledging them took; zero: no sample yet.
    pub(crate) interval: Duration,
    /// The application gave too little to send, so that the path may be faster.
    pub(crate) app_limited: bool,
}

impl RateSample {
    /// Bytes per second; 0 without a sample.
    pub(crate) fn bytes_per_second(&self) -> u64 {
        let nanos = self.interval.as_nanos().max(1);
        if self.interval.is_zero() {
            return 0;
        }
        u64::try_from(u128::from(self.bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }
}

impl Rate {
    /// Nothing delivered yet.
    pub(crate) fn new(now: Instant) -> Self {
        Rate {
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            limited_until: 0,
            sample: Sampling::default(),
            last: RateSample::default(),
        }
    }

    /// Data leave now; `idle`: nothing else is under way.
    pub(crate) fn on_sent(&mut self, now: Instant, idle: bool) -> RateStamp {
        if idle {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        RateStamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
        }
    }

    /// All that there was to send has left, and the window had room for more: `in_flight` bytes
    /// are under way.
    pub(crate) fn on_app_limited(&mut self, in_flight: u32) {
        self.limited_until = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// Does what is sent now leave because the application gave no more? Source: P.is_app_limited.
    pub(crate) fn is_app_limited(&self) -> bool {
        self.limited_until > 0
    }

    /// The peer has `bytes` more, which were last sent at `sent_at`.
    pub(crate) fn on_delivered(
        &mut self,
        now: Instant,
        bytes: u32,
        stamp: &RateStamp,
        sent_at: Instant,
        app_limited: bool,
    ) {
        self.delivered += u64::from(bytes);
        self.delivered_at = now;
        let newer = self.sample.prior.is_none_or(|prior| {
            (stamp.delivered, sent_at) >= (prior.stamp.delivered, prior.sent_at)
        });
        if newer {
            self.sample.prior = Some(Prior { stamp: *stamp, sent_at, app_limited });
            self.first_sent_at = sent_at;
        }
    }

    /// The acknowledgement has been worked through; `min_rtt`: below it an interval is noise.
    pub(crate) fn finish_sample(&mut self, min_rtt: Duration) {
        let Some(prior) = self.sample.prior.take() else { return };
        let Prior { stamp, sent_at, app_limited } = prior;
        let send_elapsed = sent_at.since(stamp.first_sent_at);
        let ack_elapsed = self.delivered_at.since(stamp.delivered_at);
        let interval = send_elapsed.max(ack_elapsed);
        if self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        if interval >= min_rtt && !interval.is_zero() {
            let bytes = self.delivered - stamp.delivered;
            self.last = RateSample { bytes, interval, app_limited };
        }
    }

    /// Bytes delivered since the connection began.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The last sample.
    pub(crate) fn last(&self) -> RateSample {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn a_sample_covers_what_came_since_its_record_was_sent() {
        let mut rate = Rate::new(at(0));
        let first = rate.on_sent(at(100), true);
        let second = rate.on_sent(at(101), false);
        rate.on_delivered(at(110), 1000, &first, at(100), false);
        rate.finish_sample(Duration::from_millis(10));
        assert_eq!(rate.last().bytes_per_second(), 100_000);
        let third = rate.on_sent(at(110), false);
        rate.on_delivered(at(120), 1000, &second, at(101), false);
        rate.on_delivered(at(120), 3000, &third, at(110), false);
        rate.finish_sample(Duration::from_millis(10));
        // 4,000 bytes since the third was sent, in the 10 ms since the first was delivered.
        assert_eq!((rate.last().bytes, rate.last().interval), (4000, Duration::from_millis(10)));
        assert_eq!(rate.delivered(), 5000);
    }

    #[test]
    fn acknowledgements_that_come_at_once_do_not_make_the_path_faster() {
        let mut rate = Rate::new(at(0));
        let stamps: Vec<_> = (0..10).map(|i| (at(i), rate.on_sent(at(i), i == 0))).collect();
        for (sent_at, stamp) in &stamps {
            rate.on_delivered(at(50), 1000, stamp, *sent_at, false);
        }
        rate.finish_sample(Duration::from_millis(40));
        assert_eq!(rate.last().interval, Duration::from_millis(50));
        // Shorter than the shortest round trip: no sample.
        let stamp = rate.on_sent(at(50), false);
        rate.on_delivered(at(60), 1000, &stamp, at(50), false);
        rate.finish_sample(Duration::from_millis(45));
        assert_eq!(rate.last().interval, Duration::from_millis(50));
    }

    #[test]
    fn a_sample_says_if_the_application_was_the_slower() {
        let mut rate = Rate::new(at(0));
        let mut limited = Vec::new();
        for i in 0..3 {
            let (sent, acked) = (at(10 * i), at(10 * i + 10));
            let (stamp, app_limited) = (rate.on_sent(sent, true), rate.is_app_limited());
            if i == 0 {
                // One more might have been sent with it, and was not there.
                rate.on_app_limited(1000);
            }
            rate.on_delivered(acked, 1000, &stamp, sent, app_limited);
            rate.finish_sample(Duration::ZERO);
            limited.push(rate.last().app_limited);
        }
        assert_eq!(limited, [false, true, false]);
    }
}
