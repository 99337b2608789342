//! A histogram of durations: 64 buckets to each power of two, so within 1.6 % of the truth.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets to a power of two, as a power of two itself.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
/// Powers of two covered: up to 2^40 ns, 18 minutes. What is longer counts as that.
const TOP_BIT: u32 = 40;
const BUCKETS: usize = ((TOP_BIT - SUB_BITS + 1) as usize + 1) * SUB as usize;

/// Durations, counted by how long they were. Read while it is written.
pub(crate) struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
    min_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(nanos, Relaxed);
        self.min_ns.fetch_min(nanos, Relaxed);
        self.max_ns.fetch_max(nanos, Relaxed);
    }

    /// Forgets what was counted; one that is recorded meanwhile may be lost or stay.
    pub(crate) fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        self.sum_ns.store(0, Relaxed);
        self.min_ns.store(u64::MAX, Relaxed);
        self.max_ns.store(0, Relaxed);
    }

    /// Adds another's counts.
    pub(crate) fn merge(&self, other: &Histogram) {
        for (ours, theirs) in self.buckets.iter().zip(&other.buckets) {
            ours.fetch_add(theirs.load(Relaxed), Relaxed);
        }
        self.sum_ns.fetch_add(other.sum_ns.load(Relaxed), Relaxed);
        self.min_ns.fetch_min(other.min_ns.load(Relaxed), Relaxed);
        self.max_ns.fetch_max(other.max_ns.load(Relaxed), Relaxed);
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The duration that `percent` of all did not exceed; zero if there were none.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let count = self.count();
        let wanted = ((count as f64 * percent / 100.0).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Relaxed);
            if seen >= wanted {
                let upper = upper_bound(at).min(self.max_ns.load(Relaxed));
                return Duration::from_nanos(upper);
            }
        }
        Duration::ZERO
    }

    /// The shortest; zero if there were none.
    pub(crate) fn min(&self) -> Duration {
        match self.min_ns.load(Relaxed) {
            u64::MAX => Duration::ZERO,
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// The longest.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns.load(Relaxed))
    }

    /// The mean; zero if there were none.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Relaxed) / self.count().max(1))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum_ns: AtomicU64::new(0),
            min_ns: AtomicU64::new(u64::MAX),
            max_ns: AtomicU64::new(0),
        }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// Below 2^6 ns a bucket each; above, the six bits behind the first one that is set.
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min((1 << (TOP_BIT + 1)) - 1);
    if nanos < SUB {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - SUB_BITS;
    ((u64::from(shift + 1) << SUB_BITS) + (nanos >> shift) - SUB) as usize
}

/// The longest duration of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let (row, column) = (bucket as u64 / SUB, bucket as u64 % SUB);
    match row.checked_sub(1) {
        None => column,
        Some(shift) => ((SUB + column + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_of_an_even_spread() {
        let histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (percent, micros) in [(50.0, 500.0), (90.0, 900.0), (99.0, 990.0)] {
            let got = histogram.percentile(percent).as_nanos() as f64 / 1000.0;
            assert!((got / micros - 1.0).abs() < 0.017, "p{percent}: {got}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(1));
        assert_eq!(histogram.min(), Duration::from_micros(1));
        assert_eq!(histogram.percentile(100.0), Duration::from_millis(1));
    }

    #[test]
    fn an_empty_histogram_is_all_zeros() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentile(99.0), Duration::ZERO);
        assert_eq!((histogram.min(), histogram.mean()), (Duration::ZERO, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_falls_into_it(nanos in any::<u64>()) {
            let at = bucket(nanos);
            prop_assert!(at < BUCKETS);
            if nanos < 1 << TOP_BIT {
                prop_assert!(upper_bound(at) >= nanos);
                prop_assert!(upper_bound(at) as f64 <= nanos as f64 * 1.016 + 1.0);
            }
        }
    }
}
