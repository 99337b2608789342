//! What a stack asks of whoever drives it: the time, a place to sleep, and to be called again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};

use rustix::thread::futex;

use crate::iface::IfIndex;
use crate::time::Instant;

pub mod threads;

/// Drives a stack: threads over the machine's clock, or a world in virtual time.
pub trait Driver: Send + Sync {
    /// The time on this driver's clock.
    fn now(&self) -> Instant;

    /// The stack wants to be called at `at`, which may be earlier than the driver sleeps until.
    /// Called with no lock held.
    fn kick(&self, at: Instant);

    /// An interface's queue has frames that its link had no room for. Called with no lock held.
    fn kick_queue(&self, iface: IfIndex, queue: usize);

    /// Blocks the calling thread until the signal is set or `deadline` has come; whether it was
    /// set. A set signal is taken: it can be waited for again.
    ///
    /// # Errors
    /// `EPERM` where this thread may not block (it is not one of a world's actors).
    fn wait(&self, signal: &Arc<Signal>, deadline: Option<Instant>) -> io::Result<bool>;
}

const IDLE: u32 = 0;
const SET: u32 = 1;
const SLEEPING: u32 = 2;

/// What one blocked call sleeps on. Its waker sets it.
#[derive(Debug, Default)]
pub struct Signal(AtomicU32);

impl Signal {
    /// A signal that is not set.
    pub fn new() -> Arc<Self> {
        Arc::new(Signal(AtomicU32::new(IDLE)))
    }

    /// A waker that sets it.
    pub fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Sets it and wakes the sleeper, if there is one.
    pub fn set(&self) {
        if self.0.swap(SET, Ordering::AcqRel) == SLEEPING {
            // A failure means that nobody sleeps there; there is nothing else to do about it.
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
        }
    }

    /// Takes it: whether it was set. It is clear afterwards.
    pub fn take(&self) -> bool {
        self.0.compare_exchange(SET, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sleeps until it is set, at most `timeout`, then takes it: whether it was set.
    pub fn sleep(&self, timeout: Option<std::time::Duration>) -> bool {
        if self.0.compare_exchange(IDLE, SLEEPING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let timeout = timeout.map(threads::timespec);
            let flags = futex::Flags::PRIVATE;
            // Returns when woken, at the time-out, or at once when the word has changed.
            let _ = futex::wait(&self.0, flags, SLEEPING, timeout.as_ref());
        }
        self.0.swap(IDLE, Ordering::AcqRel) == SET
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
