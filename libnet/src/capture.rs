//! Capture taps: who wants to see the frames of an interface, in both directions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

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

/// The taps of one interface. Without any, a frame costs one load.
#[derive(Default)]
pub struct CaptureTaps {
    count: AtomicUsize,
    taps: RwLock<Vec<Arc<dyn CaptureTap>>>,
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
        taps.retain(|other| !Arc::ptr_eq(other, tap));
        self.count.store(taps.len(), Ordering::Release);
    }

    /// Shows a frame to all.
    pub fn show(&self, at: Instant, direction: Direction, packet: &Packet) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for tap in self.taps.read().unwrap_or_else(PoisonError::into_inner).iter() {
            tap.frame(at, direction, packet);
        }
    }
}
