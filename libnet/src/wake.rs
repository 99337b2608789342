//! Readiness, and the wakers that wait for it.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

/// What a socket is ready for: a set, as `poll(2)` has it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Ready(u8);

impl Ready {
    /// Nothing.
    pub const NONE: Ready = Ready(0);
    /// A receive or accept would not block.
    pub const READABLE: Ready = Ready(1);
    /// A send would not block; a connect has ended.
    pub const WRITABLE: Ready = Ready(2);
    /// An error is pending.
    pub const ERROR: Ready = Ready(4);
    /// Both directions are closed.
    pub const HANGUP: Ready = Ready(8);
    /// The peer has closed its sending side.
    pub const READ_CLOSED: Ready = Ready(16);
    /// Urgent data wait (`POLLPRI`); where the domain has them out of line.
    pub const URGENT: Ready = Ready(32);
    /// Everything that every domain tells of; [`URGENT`](Self::URGENT) is asked for by itself.
    pub const ALL: Ready = Ready(31);

    /// Holds any of `other`?
    pub const fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }

    /// Holds all of `other`?
    pub const fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// Holds nothing?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Ready {
    type Output = Ready;

    fn bitor(self, rhs: Ready) -> Ready {
        Ready(self.0 | rhs.0)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, rhs: Ready) {
        self.0 |= rhs.0;
    }
}

impl BitAnd for Ready {
    type Output = Ready;

    fn bitand(self, rhs: Ready) -> Ready {
        Ready(self.0 & rhs.0)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["READABLE", "WRITABLE", "ERROR", "HANGUP", "READ_CLOSED", "URGENT"];
        let set = names.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        f.debug_set().entries(set.map(|(_, name)| name)).finish()
    }
}

/// The wakers that wait on one socket. Shared: a registration takes itself out on drop.
///
/// Lock rank: a leaf. Nothing is called under it; wakers are cloned out and fired by the caller.
#[derive(Clone, Default)]
pub struct WakeSet(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next_key: u64,
    entries: Vec<(u64, Ready, Waker)>,
}

impl WakeSet {
    /// Nobody waits.
    pub fn new() -> Self {
        WakeSet::default()
    }

    /// Adds a waiter until the registration is dropped. Errors and hang-ups wake every waiter.
    pub fn register(&self, interest: Ready, waker: &Waker) -> Registration {
        let mut waiting = self.lock();
        let key = waiting.next_key;
        waiting.next_key += 1;
        let interest = interest | Ready::ERROR | Ready::HANGUP;
        waiting.entries.push((key, interest, waker.clone()));
        drop(waiting);
        Registration { set: Some(self.clone()), key }
    }

    /// Clones the wakers that wait for any of `ready` into `out`, to be fired after every lock is
    /// released.
    pub fn collect(&self, ready: Ready, out: &mut Vec<Waker>) {
        let waiting = self.lock();
        let hit = waiting.entries.iter().filter(|(_, interest, _)| interest.intersects(ready));
        out.extend(hit.map(|(_, _, waker)| waker.clone()));
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Does nobody wait?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WakeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeSet").field("waiting", &self.len()).finish()
    }
}

/// A waker that waits on a socket; dropping it ends the wait.
#[derive(Debug)]
#[must_use = "dropping a registration ends it"]
pub struct Registration {
    set: Option<WakeSet>,
    key: u64,
}

impl Registration {
    /// One that waits for nothing.
    pub const fn none() -> Self {
        Registration { set: None, key: 0 }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(set) = &self.set {
            set.lock().entries.retain(|(key, _, _)| *key != self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_registration_is_not_woken() {
        let set = WakeSet::new();
        let kept = set.register(Ready::READABLE, Waker::noop());
        drop(set.register(Ready::READABLE, Waker::noop()));
        let mut out = Vec::new();
        set.collect(Ready::READABLE, &mut out);
        assert_eq!(out.len(), 1);
        set.collect(Ready::WRITABLE, &mut out);
        assert_eq!(out.len(), 1);
        set.collect(Ready::ERROR, &mut out);
        assert_eq!(out.len(), 2, "errors wake whoever waits");
        drop(kept);
        assert!(set.is_empty());
    }
}
