//! What a stream's thread counts, and the reporter reads while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::cpu::Load;
use super::histogram::Histogram;
use super::results::Results;

/// One stream's figures.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Payload bytes.
    pub(super) bytes: AtomicU64,
    /// Datagrams, or transactions.
    pub(super) packets: AtomicU64,
    /// Of UDP: datagrams that did not come.
    pub(super) lost: AtomicU64,
    /// Of UDP: datagrams that came after a later one.
    pub(super) out_of_order: AtomicU64,
    /// Of UDP: RFC 3550 §6.4.1 interarrival jitter, in nanoseconds.
    pub(super) jitter_ns: AtomicU64,
    /// When the last of it came, in nanoseconds since the start.
    pub(super) last_ns: AtomicU64,
    /// Of request/response: how long each took.
    pub(super) latency: Histogram,
}

/// The figures at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Figures {
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) out_of_order: u64,
    pub(super) jitter_ns: u64,
}

impl Counters {
    /// Something came now.
    pub(super) fn note(&self, pace: &Pace) {
        let ns = u64::try_from(pace.started().elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_ns.store(ns, Relaxed);
    }

    pub(super) fn read(&self) -> Figures {
        Figures {
            bytes: self.bytes.load(Relaxed),
            packets: self.packets.load(Relaxed),
            lost: self.lost.load(Relaxed),
            out_of_order: self.out_of_order.load(Relaxed),
            jitter_ns: self.jitter_ns.load(Relaxed),
        }
    }
}

impl Figures {
    /// What came since `earlier`; jitter is as it is now.
    pub(super) fn since(self, earlier: Figures) -> Figures {
        Figures {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            packets: self.packets.saturating_sub(earlier.packets),
            lost: self.lost.saturating_sub(earlier.lost),
            out_of_order: self.out_of_order.saturating_sub(earlier.out_of_order),
            jitter_ns: self.jitter_ns,
        }
    }

    /// Of several streams: sums, and the mean jitter.
    pub(super) fn sum(all: &[Figures]) -> Figures {
        let mut sum = Figures::default();
        for one in all {
            sum.bytes = sum.bytes.saturating_add(one.bytes);
            sum.packets = sum.packets.saturating_add(one.packets);
            sum.lost = sum.lost.saturating_add(one.lost);
            sum.out_of_order = sum.out_of_order.saturating_add(one.out_of_order);
            sum.jitter_ns = sum.jitter_ns.saturating_add(one.jitter_ns);
        }
        sum.jitter_ns /= (all.len() as u64).max(1);
        sum
    }
}

/// What had been counted when counting began in earnest.
#[derive(Debug)]
pub(super) struct Baseline {
    at: Duration,
    figures: Vec<Figures>,
}

impl Baseline {
    /// Everything counts.
    pub(super) fn none(streams: usize) -> Self {
        Baseline { at: Duration::ZERO, figures: vec![Figures::default(); streams] }
    }

    pub(super) fn new(at: Duration, figures: Vec<Figures>) -> Self {
        Baseline { at, figures }
    }

    /// Bytes that count.
    pub(super) fn bytes(&self, now: &[Figures]) -> u64 {
        Figures::sum(&self.since(now)).bytes
    }

    fn since(&self, now: &[Figures]) -> Vec<Figures> {
        now.iter().zip(&self.figures).map(|(now, before)| now.since(*before)).collect()
    }

    /// What counts, of a measurement that was stopped `seconds` after its start, or when the last of it
    /// came in.
    pub(super) fn results(&self, counters: &[Arc<Counters>], seconds: f64, load: Load) -> Results {
        let figures: Vec<Figures> = counters.iter().map(|one| one.read()).collect();
        let last_ns = counters.iter().map(|one| one.last_ns.load(Relaxed)).max().unwrap_or(0);
        let seconds = seconds.max(last_ns as f64 / 1e9) - self.at.as_secs_f64();
        Results { seconds, streams: self.since(&figures), load }
    }
}

/// When to go on and when to stop, for all threads of a measurement.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    stop: Arc<AtomicBool>,
    started: Instant,
}

impl Pace {
    /// Starts now.
    pub(super) fn start() -> Self {
        Pace { stop: Arc::new(AtomicBool::new(false)), started: Instant::now() }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }
}
