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
//! While callers come and go the driver naps, and looks once a tick whether they still do. A caller
//! that is awake and gets nowhere for a lease (it was descheduled, or a waker that it fires blocks)
//! loses the link to the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::thread::futex;

use super::{LONGEST_SLEEP, monotonic_now, timespec};
use crate::driver::bell::Bell;
use crate::driver::signal::{Crowd, Signal};
use crate::landing::Landing;
use crate::time::Instant;

/// Nobody watches the link for twice this long at most, once callers take turns no more. Each tick
/// costs two switches, and a timer, which is dear in a virtual machine.
const TICK: Duration = Duration::from_micros(250);
/// So long a tick grows while callers are at the link nearly all the time: once they stop, it may
/// be left for twice this long, and then for twice [`TICK`].
pub(super) const LONGEST_TICK: Duration = Duration::from_millis(4);
/// Turns within one nap that say that callers are at the link nearly all the time.
const BUSY_TURNS: u64 = 2;
/// To so many ticks a nap grows if callers come back soon after the driver took the link.
const REGRETTED_TICKS: u32 = 4;
/// Ticks without a sign of life after which an awake caller loses the link: 20 ms. A caller that
/// got stuck just as it woke is found when the driver's long nap ends, [`LONGEST_SLEEP`] later.
const LEASE_TICKS: u32 = 80;

/// Who holds the link, in the lowest two bits; above them a caller's turn, so that one that comes
/// back late cannot be taken for the next.
const FREE: u32 = 0;
const DRIVER: u32 = 1;
const CALLER: u32 = 2;
/// A caller that sleeps on the link's bell: its link is not taken.
const ASLEEP: u32 = 3;
const WHO: u32 = 3;
const TURN: u32 = 4;

/// Feeds the link, and receives a batch if it should, for a caller where there is a landing; `None` if the
/// link failed.
pub(super) type Poll = Box<dyn Fn(Look, Option<&mut Landing<'_>>) -> Option<Polled> + Send + Sync>;

/// What is looked for at a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// Frames, and room for those that wait.
    Both,
    /// Room alone: the sleep that follows looks for frames.
    Room,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polled {
    /// Frames that came.
    pub(super) received: usize,
    /// Frames wait for room in the link.
    pub(super) wants_room: bool,
    /// What the link delays comes then.
    pub(super) longest_sleep: Duration,
}

/// Who holds a link, and how the driver's thread naps while it is not the one.
pub(super) struct Lead {
    crowd: Arc<Crowd>,
    poll: Poll,
    holder: AtomicU32,
    /// How often a caller has held the link.
    turns: AtomicU64,
    /// The next caller's turn, a multiple of [`TURN`]; wraps.
    next_turn: AtomicU32,
    /// Counts what callers that hold the link do: signs of life.
    rounds: AtomicU64,
    /// How long the driver's next nap is, in [`TICK`]s; its thread's own.
    tick: AtomicU32,
    /// When the driver last took the link, in nanoseconds on its clock; its thread's own.
    taken_at: AtomicU64,
    /// Whether a caller looks for frames before it waits.
    first_look: FirstLook,
    /// Naps of the driver in which there was none.
    stuck_naps: AtomicU32,
    /// The driver naps for a tick at most; it looks again by itself.
    ticking: AtomicBool,
    /// The driver's thread naps on it.
    nap: AtomicU32,
}

impl Lead {
    pub(super) fn new(bell: Bell, poll: Poll) -> Self {
        Lead {
            crowd: Arc::new(Crowd { blocked: AtomicUsize::new(0), bell }),
            poll,
            holder: AtomicU32::new(DRIVER),
            turns: AtomicU64::new(0),
            next_turn: AtomicU32::new(0),
            rounds: AtomicU64::new(0),
            tick: AtomicU32::new(1),
            taken_at: AtomicU64::new(0),
            first_look: FirstLook::default(),
            stuck_naps: AtomicU32::new(0),
            ticking: AtomicBool::new(true),
            nap: AtomicU32::new(0),
        }
    }

    /// Receives what is at the link already, for a caller that would wait next, where that is worth
    /// it and nobody holds the link; whether there was something.
    pub(super) fn look(&self, landing: Option<&mut Landing<'_>>) -> bool {
        if !self.crowd.bell.looks_itself() || !self.first_look.is_worth_it() {
            return false;
        }
        let Some(own) = self.take_as_caller() else { return false };
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let Some(polled) = (self.poll)(Look::Both, landing) else {
            // The driver meets the error too, reports it, and keeps the link.
            self.turn_over(own, DRIVER);
            self.wake_driver();
            return false;
        };
        self.first_look.learn(polled.received > 0);
        self.leave(own);
        polled.received > 0
    }

    /// Blocks a caller until its signal is set, something was taken from its landing, or the time is up;
    /// whether it was set.
    pub(super) fn wait(
        &self,
        signal: &Signal,
        left: impl Fn() -> Option<Duration>,
        mut landing: Option<&mut Landing<'_>>,
    ) -> bool {
        signal.join(&self.crowd);
        loop {
            if let Some(own) = self.take_as_caller() {
                match self.lead(own, signal, &left, &mut landing) {
                    Led::Done { set } => {
                        self.leave(own);
                        return set;
                    }
                    Led::Lost => {}
                    Led::Failed => {
                        // The driver meets the error too, reports it, and keeps the link.
                        self.turn_over(own, DRIVER);
                        self.wake_driver();
                    }
                }
            }
            if has_taken(&landing) {
                return signal.take();
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

    /// The driver's thread looks after [`tick`](Self::tick) by itself; its own to change.
    pub(super) fn is_ticking(&self) -> bool {
        self.ticking.load(Ordering::SeqCst)
    }

    /// How long its next nap is while it ticks.
    pub(super) fn tick(&self) -> Duration {
        TICK * self.tick.load(Ordering::Relaxed)
    }

    /// Callers that are blocked now.
    pub(super) fn blocked(&self) -> usize {
        self.crowd.blocked.load(Ordering::SeqCst)
    }

    /// The driver has woken everyone who was blocked: it leaves the link to them, unless one has
    /// blocked meanwhile.
    pub(super) fn release(&self) {
        // Back so soon: it was taken from a caller that had work to do between two turns.
        let taken_at = Instant::from_nanos(self.taken_at.load(Ordering::Relaxed));
        let ticks = self.tick.load(Ordering::Relaxed);
        if monotonic_now().since(taken_at) < LONGEST_TICK && ticks < REGRETTED_TICKS {
            self.tick.store(ticks * 2, Ordering::Relaxed);
        }
        self.ticking.store(true, Ordering::SeqCst);
        self.holder.store(FREE, Ordering::SeqCst);
        if self.blocked() > 0 {
            self.take(DRIVER);
        }
    }

    /// The driver's thread, not holding the link, sleeps for `timeout`; then takes the link over if nobody wants it.
    pub(super) fn nap(&self, timeout: Duration, word: u32) {
        let turns = self.turns.load(Ordering::SeqCst);
        let rounds = self.rounds.load(Ordering::Relaxed);
        let ticks = self.tick.load(Ordering::Relaxed);
        let timeout = timespec(timeout);
        let _ = futex::wait(&self.nap, futex::Flags::PRIVATE, word, Some(&timeout));
        let passed = self.turns.load(Ordering::SeqCst).wrapping_sub(turns);
        let idle = passed == 0;
        let holder = self.holder.load(Ordering::SeqCst);
        self.adapt(ticks, passed, holder);
        match holder & WHO {
            FREE if idle || self.blocked() > 0 => {
                self.taken_at.store(monotonic_now().as_nanos(), Ordering::Relaxed);
                self.take(DRIVER);
            }
            ASLEEP if idle && ticks >= longest_ticks() => return self.stop_ticking(turns),
            CALLER if idle && self.rounds.load(Ordering::Relaxed) == rounds => {
                self.ticking.store(true, Ordering::SeqCst);
                if self.stuck_naps.fetch_add(1, Ordering::Relaxed) >= LEASE_TICKS {
                    self.turn_over(holder, DRIVER);
                }
                return;
            }
            _ => self.ticking.store(true, Ordering::SeqCst),
        }
        self.stuck_naps.store(0, Ordering::Relaxed);
    }

    /// Naps longer while callers take turns without a pause or one sleeps on the link, and as
    /// briefly as can be once not.
    fn adapt(&self, ticks: u32, passed: u64, holder: u32) {
        let is_busy = passed >= BUSY_TURNS && self.blocked() == 0;
        let is_held = passed == 0 && holder & WHO == ASLEEP;
        let next = match passed {
            _ if is_busy || is_held => (ticks * 2).min(longest_ticks()),
            // The driver takes it; whether that was too early is seen when it is given back.
            0 if holder == FREE => ticks.min(REGRETTED_TICKS),
            // Somebody may be stuck: the lease is counted in ticks.
            0 => 1,
            _ => ticks,
        };
        self.tick.store(next, Ordering::Relaxed);
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
        self.turn_over(FREE, who)
    }

    /// Takes the link for a caller; what says so, of this turn alone.
    fn take_as_caller(&self) -> Option<u32> {
        if self.holder.load(Ordering::SeqCst) != FREE {
            return None;
        }
        let own = self.next_turn.fetch_add(TURN, Ordering::Relaxed) | CALLER;
        self.take(own).then_some(own)
    }

    /// Changes the holder, if it is still `from`.
    fn turn_over(&self, from: u32, to: u32) -> bool {
        self.holder.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The caller on the link sleeps: no need to look again until it leaves. It looks at
    /// `ticking` after it has left; we look at the holder after we have stopped.
    fn stop_ticking(&self, turns: u64) {
        self.ticking.store(false, Ordering::SeqCst);
        let same = self.turns.load(Ordering::SeqCst) == turns;
        if !same || self.holder.load(Ordering::SeqCst) & WHO != ASLEEP {
            self.ticking.store(true, Ordering::SeqCst);
        }
    }

    fn leave(&self, own: u32) {
        self.turns.fetch_add(1, Ordering::SeqCst);
        if !self.turn_over(own, FREE) {
            return;
        }
        if self.blocked() > 0 || !self.ticking.load(Ordering::SeqCst) {
            self.wake_driver();
        }
    }

    /// Holds the link until the signal is set, something was taken from the landing, the time is up, or the
    /// link is taken away.
    fn lead(
        &self,
        own: u32,
        signal: &Signal,
        left: &impl Fn() -> Option<Duration>,
        landing: &mut Option<&mut Landing<'_>>,
    ) -> Led {
        let bell = &self.crowd.bell;
        // It has looked before it came here.
        let mut look = if bell.looks_itself() { Look::Room } else { Look::Both };
        loop {
            if signal.take() {
                return Led::Done { set: true };
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
            let looked = std::mem::replace(&mut look, Look::Both);
            let Some(polled) = (self.poll)(looked, landing.as_deref_mut()) else {
                return Led::Failed;
            };
            if has_taken(landing) {
                return Led::Done { set: signal.take() };
            }
            // Looked at in every round: what comes may be for others, and without end.
            let timeout = left().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
            if timeout.is_zero() {
                if looked == Look::Room {
                    // A caller without patience receives too.
                    continue;
                }
                return Led::Done { set: signal.take() };
            }
            let timeout = timeout.min(polled.longest_sleep);
            if polled.received > 0 || timeout.is_zero() {
                if self.holder.load(Ordering::Relaxed) != own {
                    return Led::Lost;
                }
                continue;
            }
            // Two that sleep on one bell would disarm each other's.
            let asleep = own & !WHO | ASLEEP;
            if !self.turn_over(own, asleep) {
                return Led::Lost;
            }
            let Some(armed) = bell.arm() else {
                self.turn_over(asleep, own);
                continue;
            };
            let mut set = false;
            if signal.begin_leading() {
                bell.sleep(armed, timeout, polled.wants_room);
                set = signal.end_leading();
            }
            bell.disarm();
            self.turn_over(asleep, own);
            if set {
                return Led::Done { set: true };
            }
        }
    }
}

fn has_taken(landing: &Option<&mut Landing<'_>>) -> bool {
    landing.as_ref().is_some_and(|landing| landing.taken() > 0)
}

/// Whether frames tend to be there already when a caller would wait, as when the peer shares
/// its core and has answered while the request was written. A look then saves the sleep that would
/// end at once; else it costs a call for nothing.
#[derive(Default)]
struct FirstLook {
    /// Turns left without one.
    skip: AtomicU32,
    /// How often in a row it was for nothing, [`MISSES`] at most.
    misses: AtomicU32,
}

/// After so many looks for nothing only every 256th turn has one.
const MISSES: u32 = 8;

impl FirstLook {
    fn is_worth_it(&self) -> bool {
        let skip = self.skip.load(Ordering::Relaxed);
        if skip > 0 {
            self.skip.store(skip - 1, Ordering::Relaxed);
        }
        skip == 0
    }

    fn learn(&self, found: bool) {
        let misses = self.misses.load(Ordering::Relaxed);
        let misses = if found { 0 } else { (misses + 1).min(MISSES) };
        self.misses.store(misses, Ordering::Relaxed);
        self.skip.store(if found { 0 } else { (1 << misses) - 1 }, Ordering::Relaxed);
    }
}

/// [`LONGEST_TICK`] in [`TICK`]s.
const fn longest_ticks() -> u32 {
    (LONGEST_TICK.as_micros() / TICK.as_micros()) as u32
}

/// How a caller's turn on the link ended.
enum Led {
    /// The signal was set, or the time is up.
    Done { set: bool },
    /// The driver has taken the link away.
    Lost,
    /// The link failed.
    Failed,
}
