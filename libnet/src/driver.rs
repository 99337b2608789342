//! What a stack asks of whoever drives it: the time, a place to sleep, and to be called again.

use std::io;
use std::sync::Arc;

use crate::iface::IfIndex;
use crate::landing::Landing;
use crate::time::Instant;

mod bell;
pub mod manual;
pub mod patch;
mod signal;
pub mod threads;

pub use signal::Signal;

/// Drives a stack: threads over the machine's clock, or a world in virtual time.
pub trait Driver: Send + Sync {
    /// The time on this driver's clock.
    fn now(&self) -> Instant;

    /// The stack wants to be called at `at`, which may be earlier than the driver sleeps until.
    /// Called with no lock held.
    fn kick(&self, at: Instant);

    /// The same of a protocol's timer: a few milliseconds late is early enough, so that nobody
    /// has to be woken to hear of it who looks by himself within that time.
    fn kick_timer(&self, at: Instant) {
        self.kick(at);
    }

    /// An interface's queue has frames that its link had no room for. Called with no lock held.
    fn kick_queue(&self, iface: IfIndex, queue: usize);

    /// Takes in what has come already, where that is likely and nobody else is about to; whether
    /// there was something. For a caller that is going to wait: it may not have to. What it waits for
    /// may land in its memory.
    fn look(&self, _landing: Option<&mut Landing<'_>>) -> bool {
        false
    }

    /// As [`wait`](Self::wait); ends too when something has been taken from the landing. The default does not use it.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    fn wait_landing(
        &self,
        signal: &Arc<Signal>,
        deadline: Option<Instant>,
        _landing: &mut Landing<'_>,
    ) -> io::Result<bool> {
        self.wait(signal, deadline)
    }

    /// Blocks the calling thread until the signal is set or `deadline` has come; whether it was
    /// set. A set signal is taken: it can be waited for again.
    ///
    /// # Errors
    /// `EPERM` where this thread may not block (it is not one of a world's actors).
    fn wait(&self, signal: &Arc<Signal>, deadline: Option<Instant>) -> io::Result<bool>;
}
