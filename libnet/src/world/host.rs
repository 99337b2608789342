//! What a world asks of a stack, and the driver that a stack in a world runs on.

use std::any::Any;
use std::io;
use std::sync::{Arc, Weak};

use super::core::Shared;
use crate::driver::{Driver, Signal};
use crate::engine::{Engine, StackCore};
use crate::iface::IfIndex;
use crate::link::Readiness;
use crate::stats::{DropCounters, DropTap};
use crate::time::Instant;

/// A stack as a world sees it. [`Engine`] is one; a wrapper passes on to its engine.
pub trait Host: Send + Sync {
    /// Every queue of every interface, and how it would be waited for.
    fn queues(&self) -> Vec<(IfIndex, usize, Readiness)>;

    /// Receives a batch from a queue; how many frames it held.
    ///
    /// # Errors
    /// The link's.
    fn poll_receive(&self, iface: IfIndex, queue: usize) -> io::Result<usize>;

    /// Sends what a queue's link refused before.
    fn poll_blocked(&self, iface: IfIndex, queue: usize);

    /// Do frames wait for room in a queue's link?
    fn is_blocked(&self, iface: IfIndex, queue: usize) -> bool;

    /// When [`poll_timeouts`](Self::poll_timeouts) wants to be called next.
    fn next_deadline(&self) -> Option<Instant>;

    /// Serves every deadline that has come.
    fn poll_timeouts(&self);

    /// Where the stack counts what it drops, for a world that keeps it for a test that fails.
    fn drops(&self) -> Option<&DropCounters> {
        None
    }
}

impl<C: StackCore> Host for Engine<C> {
    fn queues(&self) -> Vec<(IfIndex, usize, Readiness)> {
        let ifaces: Vec<IfIndex> = self.interfaces().map(|iface| iface.index).collect();
        let mut all = Vec::new();
        for index in ifaces {
            let queues = self.readiness(index).into_iter().enumerate();
            all.extend(queues.map(|(queue, readiness)| (index, queue, readiness)));
        }
        all
    }

    fn poll_receive(&self, iface: IfIndex, queue: usize) -> io::Result<usize> {
        Engine::poll_receive(self, iface, queue, None)
    }

    fn poll_blocked(&self, iface: IfIndex, queue: usize) {
        Engine::poll_blocked(self, iface, queue);
    }

    fn is_blocked(&self, iface: IfIndex, queue: usize) -> bool {
        Engine::is_blocked(self, iface, queue)
    }

    fn next_deadline(&self) -> Option<Instant> {
        Engine::next_deadline(self).into_iter().chain(self.next_arrival()).min()
    }

    fn poll_timeouts(&self) {
        Engine::poll_timeouts(self);
        self.poll_arrivals();
    }

    fn drops(&self) -> Option<&DropCounters> {
        Some(Engine::drops(self))
    }
}

/// Drives one stack by its world's clock.
///
/// A stack is built on it, then [`attach`](Self::attach)ed. The world holds the stack weakly: a
/// stack that is dropped leaves, unless it is given to the world to [`keep`](Self::keep).
pub struct HostDriver {
    pub(super) shared: Arc<Shared>,
    pub(super) host: usize,
    pub(super) name: String,
}

impl HostDriver {
    /// The host's name, for reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A seed for the stack's entropy: a function of the world's seed and of how many hosts came
    /// before.
    pub fn seed(&self) -> [u8; 32] {
        self.shared.seed_of_host(self.host)
    }

    /// Begins to drive the stack, with all its interfaces.
    ///
    /// # Errors
    /// `Unsupported` for a link that sleeps on a descriptor: a world has no real time to wait in.
    pub fn attach<H: Host + 'static>(&self, host: &Arc<H>) -> io::Result<()> {
        let host: Arc<dyn Host> = Arc::clone(host) as Arc<dyn Host>;
        self.shared.attach(self.host, &host)
    }

    /// Keeps a stack that nobody holds any more until the world ends, as a machine goes on
    /// delivering for programs that have ended.
    pub fn keep(&self, stack: Arc<dyn Any + Send + Sync>) {
        self.shared.lock().kept.push(stack);
    }
}

impl Driver for HostDriver {
    fn now(&self) -> Instant {
        self.shared.now()
    }

    fn kick(&self, at: Instant) {
        self.shared.lock().schedule_timer(self.host, at);
    }

    fn kick_queue(&self, iface: IfIndex, queue: usize) {
        self.shared.lock().kick_queue(self.host, iface, queue);
    }

    fn wait(&self, signal: &Arc<Signal>, deadline: Option<Instant>) -> io::Result<bool> {
        self.shared.wait(signal, deadline)
    }
}

impl std::fmt::Debug for HostDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostDriver").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A host within the world.
pub(super) struct HostSlot {
    pub(super) name: String,
    pub(super) host: Option<Weak<dyn Host>>,
    /// What keeps the packets that it drops.
    pub(super) tap: Option<Arc<dyn DropTap>>,
    /// When its timer event is due; an event for another time is stale.
    pub(super) timer_at: Option<Instant>,
    /// Queues of links that are not the world's, with their doorbells.
    pub(super) foreign: Vec<(IfIndex, usize, Arc<dyn crate::link::Doorbell>)>,
}

impl HostSlot {
    pub(super) const fn new(name: String) -> Self {
        HostSlot { name, host: None, tap: None, timer_at: None, foreign: Vec::new() }
    }
}
