//! Drops or marks at random as the average queue grows: RED (Floyd and Jacobson, "Random Early
//! Detection Gateways for Congestion Avoidance", 1993), "gentle" above its upper threshold and with the
//! largest probability of 0.1, as Floyd's later notes have it ("Recommendation on using the gentle_
//! variant of RED", 2000; "RED: Discussions of Setting Parameters", 1997).

use std::time::Duration;

use crate::time::Instant;

/// How full a queue is, in whatever its limit is told in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    /// What waits.
    pub(super) now: f64,
    /// The most that may.
    pub(super) limit: f64,
}

/// The average queue, and how long nobody was picked.
#[derive(Default)]
pub(super) struct Red {
    average: f64,
    /// Frames since the last that was picked, while some are; 0 after one.
    count: u32,
    /// Since when the queue has been empty.
    idle_since: Option<Instant>,
}

/// What is to become of a frame that comes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Fate {
    /// It waits.
    Waits,
    /// With this probability it is picked: marked, if it can be, or dropped.
    Perhaps(f64),
    /// It is dropped.
    Drops,
}

/// §6 discusses it, §5 uses it: the weight of one frame in the average.
const WEIGHT: f64 = 0.002;
/// The share that is picked at the upper threshold: of Floyd's notes of 1997, the paper has 0.02.
const MAX_PROBABILITY: f64 = 0.1;
/// The upper threshold as a share of the limit; from twice that on everything is dropped.
const UPPER: f64 = 0.25;
/// §5: the upper threshold is three times the lower.
const LOWER: f64 = UPPER / 3.0;

impl Red {
    /// A frame comes; `frame_time` is what a usual one takes on the wire.
    pub(super) fn arrives(&mut self, now: Instant, fill: Fill, frame_time: Duration) -> Fate {
        self.update(now, fill, frame_time);
        let (lower, upper) = (fill.limit * LOWER, fill.limit * UPPER);
        if self.average < lower {
            self.count = 0;
            return Fate::Waits;
        }
        if self.average >= upper * 2.0 {
            self.count = 0;
            return Fate::Drops;
        }
        let share = if self.average < upper {
            MAX_PROBABILITY * (self.average - lower) / (upper - lower)
        } else {
            MAX_PROBABILITY + (1.0 - MAX_PROBABILITY) * (self.average - upper) / upper
        };
        // §4: those that are picked lie evenly apart, not in clusters.
        let left = 1.0 - f64::from(self.count) * share;
        self.count = self.count.saturating_add(1);
        Fate::Perhaps(if left <= share { 1.0 } else { share / left })
    }

    /// The frame that came last was picked.
    pub(super) fn picked(&mut self) {
        self.count = 0;
    }

    /// The queue is empty since `now`.
    pub(super) fn is_empty(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
    }

    /// §4: an empty queue counts as so many frames as could have been sent.
    fn update(&mut self, now: Instant, fill: Fill, frame_time: Duration) {
        if let Some(since) = self.idle_since.take() {
            let frames = now.since(since).as_secs_f64() / frame_time.as_secs_f64().max(1e-9);
            self.average *= (1.0 - WEIGHT).powf(frames);
        }
        self.average += WEIGHT * (fill.now - self.average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What becomes of the last of many frames that all find the queue as full.
    fn fate(now: f64) -> Fate {
        let mut red = Red::default();
        let mut fate = Fate::Waits;
        for _ in 0..10_000 {
            fate = red.arrives(Instant::ZERO, Fill { now, limit: 120.0 }, MS);
            red.picked();
        }
        fate
    }

    #[test]
    fn the_chance_grows_with_the_average_and_has_no_step_at_the_upper_threshold() {
        // The thresholds are 10, 30 and 60.
        assert_eq!((fate(9.0), fate(61.0)), (Fate::Waits, Fate::Drops));
        for (fill, expected) in [(20.0, 0.05), (29.99, 0.1), (30.01, 0.1), (45.0, 0.55)] {
            let Fate::Perhaps(share) = fate(fill) else { panic!("{fill}") };
            assert!((share - expected).abs() < 0.001, "{fill}: {share}");
        }
    }

    #[test]
    fn picked_frames_lie_evenly_apart() {
        let mut red = Red { average: 20.0, ..Red::default() };
        let fill = Fill { now: 20.0, limit: 120.0 };
        let mut certain = 0;
        for _ in 0..25 {
            if red.arrives(Instant::ZERO, fill, MS) == Fate::Perhaps(1.0) {
                certain += 1;
            }
        }
        assert!(certain > 0, "after 1 / 0.05 frames without one, the next is");
    }

    #[test]
    fn a_burst_is_let_by_and_an_empty_queue_is_forgotten_in_time() {
        let mut red = Red::default();
        for waiting in 0..50 {
            let fill = Fill { now: f64::from(waiting), limit: 120.0 };
            assert_eq!(red.arrives(Instant::ZERO, fill, MS), Fate::Waits);
        }
        let mut red = Red { average: 50.0, ..Red::default() };
        red.is_empty(Instant::ZERO);
        let fill = Fill { now: 0.0, limit: 120.0 };
        assert_eq!(red.arrives(Instant::from_millis(5_000), fill, MS), Fate::Waits);
    }
}
