//! The doorbell in a model checker's memory: nobody sleeps over what was posted.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use super::*;

struct Shared {
    word: AtomicU32,
    armed: AtomicU32,
    summary: AtomicU64,
    bits: AtomicU64,
    /// Stands for the futex: somebody called wake.
    woken: AtomicBool,
    published: AtomicU64,
}

impl Shared {
    fn new() -> Self {
        Shared {
            word: AtomicU32::new(0),
            armed: AtomicU32::new(0),
            summary: AtomicU64::new(0),
            bits: AtomicU64::new(0),
            woken: AtomicBool::new(false),
            published: AtomicU64::new(0),
        }
    }

    fn bell(&self) -> Bell<'_, AtomicU32, AtomicU64> {
        Bell { word: &self.word, armed: &self.armed, summary: &self.summary }
    }

    fn post(&self, sender: u16) {
        self.published.fetch_add(1, AcqRel);
        self.bell().post(&self.bits, sender);
        self.bell().wake_sleeper(|| self.woken.store(true, SeqCst));
    }

    /// Arms; the value to sleep on if there is reason to sleep.
    fn arm(&self, ticket: u32) -> Option<u32> {
        let value = self.bell().arm(ticket);
        if self.bell().is_pending() {
            self.bell().disarm();
            return None;
        }
        Some(value)
    }

    /// Would the kernel have let a thread sleep on `value` until now, without a wake?
    fn sleeps_on(&self, value: u32) -> bool {
        self.word.load(SeqCst) == value && !self.woken.load(SeqCst)
    }

    fn collect(&self) -> u64 {
        if self.bell().take_summary() == 0 { 0 } else { take_bits(&self.bits) }
    }
}

#[test]
fn model_a_sleeper_is_woken_for_whatever_is_posted() {
    loom::model(|| {
        let shared = Arc::new(Shared::new());
        let theirs = shared.clone();
        let poster = loom::thread::spawn(move || theirs.post(3));
        let slept = shared.arm(1);
        poster.join().unwrap();
        match slept {
            Some(value) => assert!(!shared.sleeps_on(value), "asleep for ever"),
            None => assert_eq!(shared.collect(), 1 << 3),
        }
    });
}

#[test]
fn model_two_posters_and_a_second_sleep_lose_nothing() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(3));
    model.check(|| {
        let shared = Arc::new(Shared::new());
        let threads: Vec<_> = (0..2)
            .map(|sender| {
                let theirs = shared.clone();
                loom::thread::spawn(move || theirs.post(sender))
            })
            .collect();
        let first = shared.arm(1);
        if first.is_some() {
            shared.bell().disarm();
        }
        let mut bits = shared.collect();
        let second = shared.arm(2);
        for thread in threads {
            thread.join().unwrap();
        }
        // A poster of the first sleep must not take the second one's ticket away.
        if let Some(value) = second
            && bits != 0b11
        {
            assert_ne!(shared.word.load(SeqCst), value, "asleep while something is posted");
        }
        bits |= shared.collect();
        assert_eq!(bits, 0b11);
    });
}

#[test]
fn model_what_is_published_is_seen_once_its_bit_is_taken() {
    loom::model(|| {
        let shared = Arc::new(Shared::new());
        let theirs = shared.clone();
        let poster = loom::thread::spawn(move || {
            theirs.post(0);
            theirs.post(0);
        });
        let mut seen = 0;
        if shared.collect() != 0 {
            seen = shared.published.load(Relaxed);
            assert!(seen >= 1);
        }
        poster.join().unwrap();
        // Either a bit is left, or all was seen.
        assert!(shared.collect() != 0 || seen == 2);
    });
}
