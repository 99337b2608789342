//! What one blocked call sleeps on.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use std::time::Duration;

use rustix::thread::futex;

use super::bell::Bell;
use super::threads::timespec;

const IDLE: u32 = 0;
const SET: u32 = 1;
/// Its owner sleeps on the word here.
const SLEEPING: u32 = 2;
/// Its owner sleeps on a link's bell.
const LEADING: u32 = 3;

/// A flag that one thread waits for and others set, through its waker. Set once, taken once.
#[derive(Default)]
pub struct Signal {
    state: AtomicU32,
    crowd: OnceLock<Arc<Crowd>>,
}

/// The callers blocked in one stack, and the bell that one of them may sleep on.
pub(super) struct Crowd {
    /// Callers that sleep on their own signals, not set yet.
    pub(super) blocked: AtomicUsize,
    pub(super) bell: Bell,
}

impl Signal {
    /// A signal that is not set.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A waker that sets it.
    pub fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Sets it and wakes its owner, if that sleeps.
    pub fn set(&self) {
        match self.state.swap(SET, Ordering::AcqRel) {
            SLEEPING => {
                self.leave_crowd();
                // A failure means that nobody sleeps there; there is nothing else to do about it.
                let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
            }
            LEADING => {
                if let Some(crowd) = self.crowd.get() {
                    crowd.bell.ring();
                }
            }
            _ => {}
        }
    }

    /// Is it set? It stays so.
    pub fn is_set(&self) -> bool {
        self.state.load(Ordering::Acquire) == SET
    }

    /// Takes it: whether it was set. It is clear afterwards.
    pub fn take(&self) -> bool {
        self.state.compare_exchange(SET, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sleeps until it is set, at most `timeout`, then takes it: whether it was set.
    pub fn sleep(&self, timeout: Option<Duration>) -> bool {
        self.sleep_unless(timeout, || false)
    }

    /// Sleeps until it is set, and leaves it so.
    pub(super) fn sleep_until_set(&self) {
        while self.begin(SLEEPING) {
            // Returns when woken, or at once when the word has changed.
            let _ = futex::wait(&self.state, futex::Flags::PRIVATE, SLEEPING, None);
            let (own, none) = (Ordering::AcqRel, Ordering::Acquire);
            let _ = self.state.compare_exchange(SLEEPING, IDLE, own, none);
        }
    }

    /// As [`sleep`](Self::sleep), but not if `awake` says so once the sleep is announced.
    pub(super) fn sleep_unless(
        &self,
        timeout: Option<Duration>,
        awake: impl FnOnce() -> bool,
    ) -> bool {
        if let Some(crowd) = self.crowd.get() {
            crowd.blocked.fetch_add(1, Ordering::SeqCst);
        }
        if !self.begin(SLEEPING) {
            self.leave_crowd();
        } else if !awake() {
            let timeout = timeout.map(timespec);
            let flags = futex::Flags::PRIVATE;
            // Returns when woken, at the time-out, or at once when the word has changed.
            let _ = futex::wait(&self.state, flags, SLEEPING, timeout.as_ref());
        }
        match self.state.swap(IDLE, Ordering::AcqRel) {
            SLEEPING => {
                self.leave_crowd();
                false
            }
            state => state == SET,
        }
    }

    /// Counts among the crowd while it sleeps.
    pub(super) fn join(&self, crowd: &Arc<Crowd>) {
        self.crowd.get_or_init(|| Arc::clone(crowd));
    }

    /// From now on setting it rings the crowd's bell; `false` if it is set already.
    pub(super) fn begin_leading(&self) -> bool {
        self.begin(LEADING)
    }

    /// Ends that: whether it was set. It is clear afterwards.
    pub(super) fn end_leading(&self) -> bool {
        self.state.swap(IDLE, Ordering::AcqRel) == SET
    }

    fn begin(&self, how: u32) -> bool {
        self.state.compare_exchange(IDLE, how, Ordering::SeqCst, Ordering::Acquire).is_ok()
    }

    fn leave_crowd(&self) {
        if let Some(crowd) = self.crowd.get() {
            crowd.blocked.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set();
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("state", &self.state).finish_non_exhaustive()
    }
}
