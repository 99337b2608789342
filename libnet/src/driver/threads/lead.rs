//! Whoever waits, works: a caller that would block sleeps on the link itself and runs the protocol.
//!
//! One thread at a time holds the link: the driver's, a caller, or nobody for a moment. A
//! request/response then costs one wake-up at each end, not three.
//!
//! ```text
//!            a batch woke all who were blocked
//!   DRIVER ─────────────────────────────────────> FREE ──── a caller blocks ───> CALLER
//!      ^                                          |  ^                             │
//!      └──── a tick without a caller, or ─────────┘  └──── its signal is set ──────┘
//!            others are blocked
//! ```
//! While callers come and go the driver naps, and looks once a tick whether they still do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::thread::futex;

use super::{LONGEST_SLEEP, timespec};
use crate::driver::signal::{Crowd, Signal};
use crate::link::Doorbell;

/// Nobody watches the link for twice this long at most, while callers take turns. A shorter tick
/// costs more wake-ups: this one about 1 % of a core.
const TICK: Duration = Duration::from_micros(250);

const FREE: u32 = 0;
const DRIVER: u32 = 1;
const CALLER: u32 = 2;

/// Receives a batch and feeds the link; how many frames came, `None` if the link failed.
pub(super) type Poll = Box<dyn Fn() -> Option<usize> + Send + Sync>;

/// Who holds a link, and how the driver's thread naps while it is not the one.
pub(super) struct Lead {
    crowd: Arc<Crowd>,
    poll: Poll,
    holder: AtomicU32,
    /// How often a caller has held the link.
    turns: AtomicU64,
    /// The driver naps for a tick at most; it looks again by itself.
    ticking: AtomicBool,
    /// The driver's thread naps on it.
    nap: AtomicU32,
}

impl Lead {
    pub(super) fn new(bell: Arc<dyn Doorbell>, poll: Poll) -> Self {
        Lead {
            crowd: Arc::new(Crowd { blocked: AtomicUsize::new(0), bell }),
            poll,
            holder: AtomicU32::new(DRIVER),
            turns: AtomicU64::new(0),
            ticking: AtomicBool::new(true),
            nap: AtomicU32::new(0),
        }
    }

    /// Blocks a caller until its signal is set or the time is up; whether it was set.
    pub(super) fn wait(&self, signal: &Signal, left: impl Fn() -> Option<Duration>) -> bool {
        signal.join(&self.crowd);
        loop {
            if self.take(CALLER) {
                if let Some(set) = self.lead(signal, &left) {
                    self.leave();
                    return set;
                }
                // The driver meets the error too, reports it, and keeps the link.
                self.holder.store(DRIVER, Ordering::SeqCst);
                self.wake_driver();
            }
            // Whoever leaves the link looks for blocked callers after; we look for a link that
            // was left after we are counted among them.
            let set = signal.sleep_unless(left(), || self.holder.load(Ordering::SeqCst) == FREE);
            if set || left().is_some_and(|left| left.is_zero()) {
                return set || signal.take();
            }
        }
    }

    /// The driver holds the link.
    pub(super) fn is_drivers(&self) -> bool {
        self.holder.load(Ordering::SeqCst) == DRIVER
    }

    /// Callers that are blocked now.
    pub(super) fn blocked(&self) -> usize {
        self.crowd.blocked.load(Ordering::SeqCst)
    }

    /// The driver has woken everyone who was blocked: it leaves the link to them, unless one has
    /// blocked meanwhile.
    pub(super) fn release(&self) {
        self.ticking.store(true, Ordering::SeqCst);
        self.holder.store(FREE, Ordering::SeqCst);
        if self.blocked() > 0 {
            self.take(DRIVER);
        }
    }

    /// The driver's thread, not holding the link, sleeps for a tick, or longer while one caller
    /// sleeps on the link all along; then takes the link over if nobody wants it.
    pub(super) fn nap(&self, timeout: Duration, word: u32) {
        let turns = self.turns.load(Ordering::SeqCst);
        let longest = if self.ticking.load(Ordering::SeqCst) { TICK } else { LONGEST_SLEEP };
        let timeout = timespec(timeout.min(longest));
        let _ = futex::wait(&self.nap, futex::Flags::PRIVATE, word, Some(&timeout));
        let idle = self.turns.load(Ordering::SeqCst) == turns;
        match self.holder.load(Ordering::SeqCst) {
            FREE if idle || self.blocked() > 0 => drop(self.take(DRIVER)),
            CALLER if idle => self.stop_ticking(turns),
            _ => self.ticking.store(true, Ordering::SeqCst),
        }
    }

    /// The word that [`nap`](Self::nap) is to be given: read it before looking for work.
    pub(super) fn nap_word(&self) -> u32 {
        self.nap.load(Ordering::SeqCst)
    }

    /// Ends a nap of the driver's thread.
    pub(super) fn wake_driver(&self) {
        self.nap.fetch_add(1, Ordering::SeqCst);
        let _ = futex::wake(&self.nap, futex::Flags::PRIVATE, 1);
    }

    /// Takes a link that nobody holds. If another was faster it holds the link, and all is well.
    fn take(&self, who: u32) -> bool {
        self.holder.compare_exchange(FREE, who, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The caller on the link sleeps: no need to look again until it leaves. It looks at
    /// `ticking` after it has left; we look at the holder after we have stopped.
    fn stop_ticking(&self, turns: u64) {
        self.ticking.store(false, Ordering::SeqCst);
        let same = self.turns.load(Ordering::SeqCst) == turns;
        if !same || self.holder.load(Ordering::SeqCst) != CALLER {
            self.ticking.store(true, Ordering::SeqCst);
        }
    }

    fn leave(&self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
        self.holder.store(FREE, Ordering::SeqCst);
        if self.blocked() > 0 || !self.ticking.load(Ordering::SeqCst) {
            self.wake_driver();
        }
    }

    /// Holds the link until the signal is set or the time is up: whether it was set. `None` if the
    /// link failed.
    fn lead(&self, signal: &Signal, left: &impl Fn() -> Option<Duration>) -> Option<bool> {
        let bell = &self.crowd.bell;
        loop {
            if signal.take() {
                return Some(true);
            }
            let received = (self.poll)()?;
            // Looked at in every round: what comes may be for others, and without end.
            let timeout = left().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
            if timeout.is_zero() {
                return Some(signal.take());
            }
            if received > 0 {
                continue;
            }
            let Some(armed) = bell.arm() else { continue };
            let mut set = false;
            if signal.begin_leading() {
                let flags =
                    if bell.is_shared() { futex::Flags::empty() } else { futex::Flags::PRIVATE };
                let timeout = timespec(timeout.min(bell.longest_sleep()));
                let _ = futex::wait(bell.word(), flags, armed, Some(&timeout));
                set = signal.end_leading();
            }
            bell.disarm();
            if set {
                return Some(true);
            }
        }
    }
}
