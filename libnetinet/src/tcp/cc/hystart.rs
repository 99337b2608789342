//! HyStart++: leaves slow start when round trips grow, before the queue overflows. Source: RFC 9406.
//! And when acknowledgements come in a train as long as half a round trip, as Linux does: the path
//! is full then, and the round trips of the next round would say so too late.

use std::time::Duration;

use libnet::Instant;

use super::Ack;
use crate::tcp::seq::SeqNumber;

/// One slow start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HyStart {
    /// Where this round ends: what was sent when it began.
    round_end: Option<SeqNumber>,
    /// Least round trips of this round and of the last, microseconds; zero: none seen.
    current_us: u32,
    last_us: u32,
    /// Least of all rounds, microseconds; zero: none seen.
    least_us: u32,
    /// When this round began, and the last acknowledgement of its train came.
    began: Instant,
    train_end: Instant,
    samples: u8,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Slow,
    /// Conservative slow start, entered at this round trip, for so many rounds yet.
    Conservative { baseline_us: u32, rounds: u8 },
}

/// What an acknowledgement in slow start comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SlowStart {
    /// The window grows by so much.
    Grow {
        /// Bytes.
        bytes: u32,
    },
    /// Slow start is over.
    End,
}

impl HyStart {
    /// Takes an acknowledgement in slow start. Source: RFC 9406 §4.2.
    pub(super) fn on_ack(&mut self, ack: &Ack) -> SlowStart {
        if self.round_end.is_none_or(|end| ack.una.gt(end)) && self.begin_round(ack) {
            return SlowStart::End;
        }
        if let Some(rtt) = ack.rtt {
            let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
            self.current_us =
                if self.current_us == 0 { rtt_us } else { self.current_us.min(rtt_us) };
            self.least_us = if self.least_us == 0 { rtt_us } else { self.least_us.min(rtt_us) };
            self.samples = self.samples.saturating_add(1);
            self.look();
        }
        if self.is_train(ack) {
            return SlowStart::End;
        }
        // DEVIATES RFC 9406 §4.2: without the limit L of 8 segments for one ACK, since one ACK
        // answers super-segments here.
        match self.phase {
            Phase::Slow => SlowStart::Grow { bytes: ack.bytes },
            Phase::Conservative { .. } => {
                SlowStart::Grow { bytes: ack.bytes / CONSERVATIVE_GROWTH_DIVISOR }
            }
        }
    }

    /// `true`: the last round of conservative slow start is over.
    fn begin_round(&mut self, ack: &Ack) -> bool {
        let is_first = self.round_end.is_none();
        self.round_end = Some(ack.end);
        (self.last_us, self.current_us, self.samples) = (self.current_us, 0, 0);
        (self.began, self.train_end) = (ack.now, ack.now);
        match &mut self.phase {
            Phase::Conservative { rounds, .. } if !is_first => {
                *rounds = rounds.saturating_sub(1);
                *rounds == 0
            }
            _ => false,
        }
    }

    /// Have acknowledgements come one upon the other for half a round trip? A round trip that is not
    /// much longer than the pauses of a train shows none. Source: Linux's `hystart_update`
    /// (`net/ipv4/tcp_cubic.c`), for a sender that does not pace.
    fn is_train(&mut self, ack: &Ack) -> bool {
        if self.least_us < 2 * TRAIN_PAUSE_US || ack.end - ack.una < TRAIN_SEGMENTS * ack.mss {
            return false;
        }
        if ack.now.since(self.train_end) > Duration::from_micros(TRAIN_PAUSE_US.into()) {
            return false;
        }
        self.train_end = ack.now;
        ack.now.since(self.began) > Duration::from_micros(self.least_us.into()) / 2
    }

    /// Are round trips longer than in the last round, or were they by chance?
    fn look(&mut self) {
        if self.samples < SAMPLES {
            return;
        }
        match self.phase {
            Phase::Slow if self.last_us > 0 => {
                let threshold =
                    (self.last_us / RTT_DIVISOR).clamp(MIN_THRESHOLD_US, MAX_THRESHOLD_US);
                if self.current_us >= self.last_us.saturating_add(threshold) {
                    let baseline_us = self.current_us;
                    self.phase = Phase::Conservative { baseline_us, rounds: CONSERVATIVE_ROUNDS };
                }
            }
            Phase::Conservative { baseline_us, .. } if self.current_us < baseline_us => {
                self.phase = Phase::Slow;
            }
            _ => {}
        }
    }
}

// RFC 9406 §4.3.
const MIN_THRESHOLD_US: u32 = Duration::from_millis(4).as_micros() as u32;
const MAX_THRESHOLD_US: u32 = Duration::from_millis(16).as_micros() as u32;
const RTT_DIVISOR: u32 = 8;
const SAMPLES: u8 = 8;
const CONSERVATIVE_GROWTH_DIVISOR: u32 = 4;
const CONSERVATIVE_ROUNDS: u8 = 5;
/// The longest pause within a train (Linux's `hystart_ack_delta_us`), and what must be in flight
/// for one to count (`hystart_low_window`).
const TRAIN_PAUSE_US: u32 = Duration::from_millis(2).as_micros() as u32;
const TRAIN_SEGMENTS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use libnet::Instant;

    /// A round of ten acknowledgements with round trips of `rtt_ms`; how much it grew, `None` at the end.
    fn round(hystart: &mut HyStart, number: u32, rtt_ms: u64) -> Option<u32> {
        let mut grown = 0;
        for part in 1..=10 {
            let una = SeqNumber::new(number * 10_000 + part * 1000);
            let rtt = Duration::from_millis(rtt_ms);
            let ack = Ack {
                now: Instant::from_millis(1),
                bytes: 1000,
                mss: 1000,
                srtt: rtt,
                rtt: Some(rtt),
                una,
                end: SeqNumber::new((number + 1) * 10_000),
            };
            match hystart.on_ack(&ack) {
                SlowStart::Grow { bytes } => grown += bytes,
                SlowStart::End => return None,
            }
        }
        Some(grown)
    }

    #[test]
    fn steady_round_trips_never_end_it() {
        let mut hystart = HyStart::default();
        for number in 0..100 {
            assert_eq!(round(&mut hystart, number, 40), Some(10_000));
        }
    }

    #[test]
    fn longer_round_trips_slow_it_down_and_five_rounds_end_it() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 40);
        round(&mut hystart, 1, 44);
        assert_eq!(round(&mut hystart, 2, 48), Some(10_000), "4 ms are below 44/8");
        // The eighth sample tells: seven whole ones, three quarters.
        assert_eq!(round(&mut hystart, 3, 60), Some(7_000 + 3 * 250));
        for number in 4..8 {
            assert_eq!(round(&mut hystart, number, 60), Some(2_500));
        }
        assert_eq!(round(&mut hystart, 8, 60), None);
    }

    #[test]
    fn a_jitter_is_forgiven() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 40);
        round(&mut hystart, 1, 60);
        assert_eq!(round(&mut hystart, 2, 40), Some(7 * 250 + 3_000));
        assert_eq!(round(&mut hystart, 3, 40), Some(10_000));
    }

    /// Two rounds of 40 ms, the acknowledgements of the second so far apart; after how many it ended.
    fn train(pause: Duration, in_flight: u32) -> Option<u32> {
        let mut hystart = HyStart::default();
        let ack = |at: Duration, una| Ack {
            now: Instant::from_millis(1000) + at,
            bytes: 1000,
            mss: 1000,
            srtt: Duration::from_millis(40),
            rtt: Some(Duration::from_millis(40)),
            una: SeqNumber::new(una),
            end: SeqNumber::new(una + in_flight),
        };
        hystart.on_ack(&ack(Duration::ZERO, 0));
        let second = |n| ack(Duration::from_millis(40) + pause * n, in_flight + 1 + n);
        (0..100).find(|n| hystart.on_ack(&second(*n)) == SlowStart::End)
    }

    #[test]
    fn a_train_of_half_a_round_trip_ends_it() {
        let ms = Duration::from_millis(1);
        assert_eq!(train(ms, 100_000), Some(21), "the first after 20 ms");
        assert_eq!(train(ms / 10, 100_000), None, "10 ms are too short");
        assert_eq!(train(3 * ms, 100_000), None, "no train at all");
        assert_eq!(train(ms, 15_000), None, "too few are in flight to tell");
    }

    #[test]
    fn little_jumps_on_a_short_path_do_not_count() {
        let mut hystart = HyStart::default();
        for number in 0..20 {
            assert_eq!(round(&mut hystart, number, 1 + 3 * u64::from(number % 2)), Some(10_000));
        }
    }
}
