//! What a thread sleeps on: a link's doorbell or descriptor, and how others end its sleep.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::thread::futex;

use super::threads::timespec;
use crate::link::{Doorbell, Readiness};

/// What one thread sleeps on.
#[derive(Clone)]
pub(crate) enum Bell {
    Doorbell(Arc<dyn Doorbell>),
    Descriptor { link: Arc<OwnedFd>, kick: Arc<OwnedFd> },
}

impl Bell {
    pub(crate) fn of(readiness: Readiness) -> io::Result<Option<Bell>> {
        Ok(match readiness {
            Readiness::Never => None,
            Readiness::Doorbell(bell) => Some(Bell::Doorbell(bell)),
            Readiness::Descriptor(link) => {
                let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
                Some(Bell::Descriptor { link, kick: Arc::new(eventfd(0, flags)?) })
            }
        })
    }

    /// Does a sleep end at once while there is something to receive, even if it came before?
    pub(crate) const fn looks_itself(&self) -> bool {
        matches!(self, Bell::Descriptor { .. })
    }

    pub(crate) fn private() -> Bell {
        Bell::Doorbell(Arc::new(PrivateDoorbell::default()))
    }

    pub(crate) fn arm(&self) -> Option<u32> {
        match self {
            Bell::Doorbell(bell) => bell.arm(),
            Bell::Descriptor { .. } => Some(0),
        }
    }

    pub(crate) fn disarm(&self) {
        if let Bell::Doorbell(bell) = self {
            bell.disarm();
        }
    }

    pub(crate) fn ring(&self) {
        match self {
            Bell::Doorbell(bell) => bell.ring(),
            // A full counter is readable all the same.
            Bell::Descriptor { kick, .. } => drop(rustix::io::write(kick, &1u64.to_ne_bytes())),
        }
    }

    pub(crate) fn sleep(&self, armed: u32, limit: Duration, wants_room: bool) {
        match self {
            Bell::Doorbell(bell) => {
                let flags =
                    if bell.is_shared() { futex::Flags::empty() } else { futex::Flags::PRIVATE };
                let timeout = timespec(limit.min(bell.longest_sleep()));
                // Woken, timed out, interrupted, or rung before: all mean "look again".
                let _ = futex::wait(bell.word(), flags, armed, Some(&timeout));
            }
            Bell::Descriptor { link, kick } => {
                let mut events = PollFlags::IN;
                if wants_room {
                    events |= PollFlags::OUT;
                }
                let mut fds = [PollFd::new(link, events), PollFd::new(kick, PollFlags::IN)];
                let _ = poll(&mut fds, Some(&timespec(limit)));
                if !fds[1].revents().is_empty() {
                    let _ = rustix::io::read(kick, &mut [0; 8]);
                }
            }
        }
    }
}

/// A doorbell within the process, for stacks that have no link to sleep on.
#[derive(Default)]
struct PrivateDoorbell {
    word: AtomicU32,
}

impl Doorbell for PrivateDoorbell {
    fn arm(&self) -> Option<u32> {
        Some(self.word.load(Ordering::SeqCst))
    }

    fn disarm(&self) {}

    fn word(&self) -> &AtomicU32 {
        &self.word
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn ring(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        let _ = futex::wake(&self.word, futex::Flags::PRIVATE, u32::MAX);
    }
}
