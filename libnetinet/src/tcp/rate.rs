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
    /// C.lost: bytes taken as lost since the connection began.
    lost: u64,
    /// The newest record that the acknowledgement at hand has delivered.
    prior: Option<Prior>,
    last: RateSample,
}

/// The account as it stood when a record was sent, small, since every record has one: totals by
/// their low bits, times as distances from when the record was sent. Source: the draft's per-packet
/// state P.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RateStamp {
    /// P.delivered.
    delivered: u32,
    /// P.lost.
    lost: u32,
    /// P.tx_in_flight: bytes in the network with it.
    in_flight: u32,
    /// From P.delivered_time to P.sent_time.
    delivered_before: Ticks,
    /// From P.first_sent_time to P.sent_time.
    first_before: Ticks,
}

/// A stretch of time up to 73 minutes, in units of 1.024 µs: a shift makes them of nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Ticks(u32);

impl Ticks {
    fn between(earlier: Instant, later: Instant) -> Self {
        let nanos = later.as_nanos().saturating_sub(earlier.as_nanos());
        Ticks(u32::try_from(nanos >> TICK_BITS).unwrap_or(u32::MAX))
    }

    fn duration(self) -> Duration {
        Duration::from_nanos(u64::from(self.0) << TICK_BITS)
    }
}

const TICK_BITS: u32 = 10;

/// A record that has arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) stamp: &'a RateStamp,
    /// When it was last sent.
    pub(crate) sent_at: Instant,
    /// The application gave too little to send then.
    pub(crate) app_limited: bool,
    /// It was sent more than once.
    pub(crate) again: bool,
}

#[derive(Clone, Copy, Debug)]
struct Prior {
    stamp: RateStamp,
    sent_at: Instant,
    app_limited: bool,
    again: bool,
}

/// What one acknowledgement says of the path's rate.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RateSample {
    /// Bytes delivered over [`interval`](Self::interval).
    pub(crate) bytes: u32,
    /// The longer of the times that sending and acknowledging them took; zero: no sample yet.
    pub(crate) interval: Duration,
    /// The application gave too little to send, so that the path may be faster.
    pub(crate) app_limited: bool,
}

/// The draft's RS, of the acknowledgement at hand.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct AckSample {
    /// RS.delivered, RS.interval, RS.is_app_limited; the interval is zero if it is noise.
    pub(crate) rate: RateSample,
    /// RS.prior_delivered: the account when the newest of what has arrived was sent.
    pub(crate) prior_delivered: u64,
    /// RS.tx_in_flight: bytes in the network when it was sent.
    pub(crate) in_flight: u32,
    /// P.lost of it, for RS.lost once all losses are found.
    pub(crate) prior_lost: u64,
    /// Its round trip, if it was sent once.
    pub(crate) rtt: Option<Duration>,
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
            lost: 0,
            prior: None,
            last: RateSample::default(),
        }
    }

    /// Data leave now, and make `in_flight` bytes of what is in the network; `idle`: nothing else is.
    pub(crate) fn on_sent(&mut self, now: Instant, idle: bool, in_flight: u32) -> RateStamp {
        if idle {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        RateStamp {
            delivered: self.delivered as u32,
            lost: self.lost as u32,
            in_flight,
            delivered_before: Ticks::between(self.delivered_at, now),
            first_before: Ticks::between(self.first_sent_at, now),
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

    /// `bytes` more are taken as lost.
    pub(crate) fn on_lost(&mut self, bytes: u32) {
        self.lost += u64::from(bytes);
    }

    /// The peer has `bytes` more.
    pub(crate) fn on_delivered(&mut self, now: Instant, bytes: u32, arrival: &Arrival<'_>) {
        self.delivered += u64::from(bytes);
        self.delivered_at = now;
        let &Arrival { stamp, sent_at, app_limited, again } = arrival;
        // The draft's IsNewestPacket: what was sent last; of equals, the later number.
        if self.prior.is_none_or(|prior| sent_at >= prior.sent_at) {
            self.prior = Some(Prior { stamp: *stamp, sent_at, app_limited, again });
            self.first_sent_at = sent_at;
        }
    }

    /// The acknowledgement has been worked through; `min_rtt`: below it an interval is noise.
    pub(crate) fn finish_sample(&mut self, now: Instant, min_rtt: Duration) -> AckSample {
        let Some(prior) = self.prior.take() else { return AckSample::default() };
        let Prior { stamp, sent_at, app_limited, again } = prior;
        let ack_elapsed = self.delivered_at.since(sent_at) + stamp.delivered_before.duration();
        let interval = stamp.first_before.duration().max(ack_elapsed);
        if self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        let bytes = (self.delivered as u32).wrapping_sub(stamp.delivered);
        let mut rate = RateSample { bytes, interval, app_limited };
        if interval < min_rtt {
            rate.interval = Duration::ZERO;
        } else if !interval.is_zero() {
            self.last = rate;
        }
        AckSample {
            rate,
            prior_delivered: self.delivered - u64::from(bytes),
            in_flight: stamp.in_flight,
            prior_lost: self.lost - u64::from(stamp.lost_since(self.lost)),
            rtt: (!again).then(|| now.since(sent_at)),
        }
    }

    /// Bytes delivered since the connection began.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes taken as lost since the connection began.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// The last sample.
    pub(crate) fn last(&self) -> RateSample {
        self.last
    }
}

impl RateStamp {
    /// P.tx_in_flight: bytes in the network when it was sent, with it.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Of `lost` bytes taken as lost since the connection began: those since it was sent.
    pub(crate) fn lost_since(&self, lost: u64) -> u32 {
        (lost as u32).wrapping_sub(self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn arrive(
        rate: &mut Rate,
        now: Instant,
        bytes: u32,
        stamp: &RateStamp,
        sent_at: Instant,
        app_limited: bool,
    ) {
        let arrival = Arrival { stamp, sent_at, app_limited, again: false };
        rate.on_delivered(now, bytes, &arrival);
    }

    fn is_about(interval: Duration, ms: u64) -> bool {
        interval.abs_diff(Duration::from_millis(ms)) < Duration::from_micros(3)
    }

    #[test]
    fn a_sample_covers_what_came_since_its_record_was_sent() {
        let mut rate = Rate::new(at(0));
        let first = rate.on_sent(at(100), true, 1000);
        let second = rate.on_sent(at(101), false, 2000);
        arrive(&mut rate, at(110), 1000, &first, at(100), false);
        rate.finish_sample(NOW, Duration::from_millis(10));
        assert_eq!(rate.last().bytes_per_second(), 100_000);
        let third = rate.on_sent(at(110), false, 4000);
        arrive(&mut rate, at(120), 1000, &second, at(101), false);
        arrive(&mut rate, at(120), 3000, &third, at(110), false);
        rate.finish_sample(NOW, Duration::from_millis(10));
        // 4,000 bytes since the third was sent, in the 10 ms since the first was delivered.
        assert_eq!((rate.last().bytes, rate.last().interval), (4000, Duration::from_millis(10)));
        assert_eq!(rate.delivered(), 5000);
    }

    #[test]
    fn acknowledgements_that_come_at_once_do_not_make_the_path_faster() {
        let mut rate = Rate::new(at(0));
        let stamps: Vec<_> = (0..10).map(|i| (at(i), rate.on_sent(at(i), i == 0, 1000))).collect();
        for (sent_at, stamp) in &stamps {
            arrive(&mut rate, at(50), 1000, stamp, *sent_at, false);
        }
        rate.finish_sample(NOW, Duration::from_millis(40));
        assert!(is_about(rate.last().interval, 50), "{:?}", rate.last());
        // Shorter than the shortest round trip: no sample.
        let stamp = rate.on_sent(at(50), false, 1000);
        arrive(&mut rate, at(60), 1000, &stamp, at(50), false);
        let sample = rate.finish_sample(NOW, Duration::from_millis(45));
        assert!(sample.rate.interval.is_zero() && sample.prior_delivered == 10_000);
        assert!(is_about(rate.last().interval, 50), "{:?}", rate.last());
    }

    #[test]
    fn a_sample_tells_what_was_lost_and_in_flight_since_its_record_was_sent() {
        let mut rate = Rate::new(at(0));
        rate.on_lost(500);
        let stamp = rate.on_sent(at(10), true, 7000);
        rate.on_lost(1500);
        arrive(&mut rate, at(30), 1000, &stamp, at(10), false);
        let sample = rate.finish_sample(at(30), Duration::ZERO);
        assert_eq!((sample.in_flight, sample.prior_lost), (7000, 500));
        assert_eq!(sample.rtt, Some(Duration::from_millis(20)));
        assert_eq!((rate.lost(), stamp.lost_since(rate.lost())), (2000, 1500));
        let arrival = Arrival { stamp: &stamp, sent_at: at(10), app_limited: false, again: true };
        rate.on_delivered(at(40), 1000, &arrival);
        assert_eq!(rate.finish_sample(at(40), Duration::ZERO).rtt, None, "Karn's rule");
    }

    #[test]
    fn totals_beyond_32_bits_and_long_times_make_no_nonsense() {
        let mut rate = Rate::new(at(0));
        let first = rate.on_sent(at(1), true, 1000);
        arrive(&mut rate, at(2), u32::MAX, &first, at(1), false);
        rate.finish_sample(at(2), Duration::ZERO);
        let second = rate.on_sent(at(3), false, 1000);
        arrive(&mut rate, at(4), 1000, &second, at(3), false);
        let sample = rate.finish_sample(at(4), Duration::ZERO);
        assert_eq!((sample.rate.bytes, sample.prior_delivered), (1000, u64::from(u32::MAX)));
        let hours = Instant::from_millis(100_000_000);
        let late = rate.on_sent(hours, false, 1000);
        arrive(&mut rate, hours, 1000, &late, hours, false);
        let sample = rate.finish_sample(hours, Duration::ZERO);
        assert!(sample.rate.interval > Duration::from_secs(4_000), "{sample:?}");
    }

    #[test]
    fn a_sample_says_if_the_application_was_the_slower() {
        let mut rate = Rate::new(at(0));
        let mut limited = Vec::new();
        for i in 0..3 {
            let (sent, acked) = (at(10 * i), at(10 * i + 10));
            let (stamp, app_limited) = (rate.on_sent(sent, true, 1000), rate.is_app_limited());
            if i == 0 {
                // One more might have been sent with it, and was not there.
                rate.on_app_limited(1000);
            }
            arrive(&mut rate, acked, 1000, &stamp, sent, app_limited);
            rate.finish_sample(NOW, Duration::ZERO);
            limited.push(rate.last().app_limited);
        }
        assert_eq!(limited, [false, true, false]);
    }
}
