//! Capture taps: who wants to see the frames of an interface, in both directions.

#[cfg(feature = "pcap")]
pub mod pcapng;
#[cfg(feature = "pcap")]
pub mod reader;
#[cfg(all(test, feature = "pcap"))]
mod tests;
pub mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::packet::Packet;
use crate::time::Instant;

/// Which way a frame went, seen from the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// Sees frames as the link carries them. Called on the data path: it must not block, nor call
/// back into the stack.
pub trait CaptureTap: Send + Sync {
    /// One frame; `at` is on the driver's clock.
    fn frame(&self, at: Instant, direction: Direction, packet: &Packet);
}

/// One moment on a driver's clock and on the calendar, to tell the one from the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockAnchor {
    /// The moment on the driver's clock.
    pub driver: Instant,
    /// The same moment, since the Unix epoch.
    pub unix: Duration,
}

impl ClockAnchor {
    /// A driver's instant as time since the Unix epoch; never before it.
    pub fn to_unix(&self, at: Instant) -> Duration {
        let later = self.unix.saturating_add(at.since(self.driver));
        later.saturating_sub(self.driver.since(at))
    }
}

/// The taps of one interface. Without any, a frame costs one load.
#[derive(Default)]
pub struct CaptureTaps {
    count: AtomicUsize,
    taps: RwLock<Vec<Arc<dyn CaptureTap>>>,
}

impl std::fmt::Debug for CaptureTaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CaptureTaps").field(&self.count).finish()
    }
}

impl CaptureTaps {
    /// None.
    pub fn new() -> Self {
        CaptureTaps::default()
    }

    /// Adds a tap.
    pub fn add(&self, tap: Arc<dyn CaptureTap>) {
        let mut taps = self.taps.write().unwrap_or_else(PoisonError::into_inner);
        taps.push(tap);
        self.count.store(taps.len(), Ordering::Release);
    }

    /// Takes a tap out again.
    pub fn remove(&self, tap: &Arc<dyn CaptureTap>) {
        let mut taps = self.taps.write().unwrap_or_else(PoisonError::into_inner);
        // By address alone: one type may have several tables of methods.
        taps.retain(|other| !std::ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(tap)));
        self.count.store(taps.len(), Ordering::Release);
    }

    /// Is there none, so that nobody looks?
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Shows a frame to all.
    pub fn show(&self, at: Instant, direction: Direction, packet: &Packet) {
        if self.is_empty() {
            return;
        }
        for tap in self.taps.read().unwrap_or_else(PoisonError::into_inner).iter() {
            tap.frame(at, direction, packet);
        }
    }
}
