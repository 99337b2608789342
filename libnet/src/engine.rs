//! Runs shards to completion: a call or a batch of frames goes in under the shard's lock, frames
//! come out on interface queues, and links are fed after every lock is released.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use smallvec::SmallVec;

use crate::capture::CaptureTaps;
use crate::driver::Driver;
use crate::iface::{IfIndex, Interface};
use crate::impair::{ImpairConfig, Impairer, Way};
use crate::landing::Landing;
use crate::link::{LinkControl, LinkQueue, LinkStats, Pace, Readiness, RxFilter};
use crate::packet::Packet;
use crate::stats::DropCounters;
use crate::sync::lock;
use crate::time::Instant;

mod due;
mod feed;
mod port;
mod receive;
mod wakes;

use due::instant_of;
use port::{Port, PortQueue, TxSide};
pub use wakes::Wakes;

/// One shard of a stack, pure: no I/O, no clock, no lock of its own shard.
pub trait StackCore: Send {
    /// Takes frames that arrived on an interface; leaves `frames` empty.
    fn handle_input(&mut self, now: Instant, iface: IfIndex, frames: &mut Vec<Packet>);

    /// The same, where the data of some may have landed in a caller's memory. The default takes them back.
    fn handle_landed(
        &mut self,
        now: Instant,
        iface: IfIndex,
        frames: &mut Vec<Packet>,
        landing: &mut Landing<'_>,
    ) {
        frames.iter_mut().for_each(|packet| landing.take_back(packet));
        self.handle_input(now, iface, frames);
    }

    /// Appends up to `budget` frames for an interface to `out`, link headers included. Has it
    /// more for that interface? The budget may go to frames that wait for a neighbour, so that
    /// the room in `out` does not tell.
    fn poll_transmit(
        &mut self,
        now: Instant,
        iface: IfIndex,
        budget: usize,
        out: &mut VecDeque<Packet>,
    ) -> bool;

    /// Appends the interfaces that `poll_transmit` has something for.
    fn poll_pending(&self, out: &mut Vec<IfIndex>);

    /// When `handle_timeout` wants to be called next.
    fn poll_timeout(&self) -> Option<Instant>;

    /// When it must be called no later, as what paces must: other timers may come a few milliseconds
    /// late.
    fn poll_exact_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);

    /// Moves the wakers of sockets that became ready to `out`; they are fired without a lock.
    fn poll_wakes(&mut self, out: &mut Wakes);

    /// Moves packets that another shard should see to `out`: they are steered like received ones.
    fn poll_handoff(&mut self, out: &mut Vec<(IfIndex, Packet)>);

    /// Did anything come of the calls since the last polls: frames to send, wakers, packets for
    /// other shards, changed filters? `false` spares the engine to ask for each.
    fn has_news(&self) -> bool {
        true
    }

    /// Moves what links are to deliver, where that changed, to `out`. A core whose groups never
    /// change by themselves has nothing to say.
    fn poll_filters(&mut self, _out: &mut Vec<FilterChange>) {}
}

/// A link is to deliver other frames from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilterChange {
    /// The interface.
    pub index: IfIndex,
    /// Of two changes the one with the greater number stands, in whichever order they come.
    pub generation: u64,
    /// What it is to deliver.
    pub filter: RxFilter,
}

/// Tells which shard a received packet belongs to, before any lock.
pub trait Steer: Send + Sync {
    /// A number; its remainder by the count of shards is the shard.
    fn steer(&self, iface: &Interface, packet: &Packet) -> u64;
}

/// Bounds of an engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Interfaces at most, `lo0` among them.
    pub max_interfaces: usize,
    /// Frames that wait on one interface queue at most; past it, senders wait.
    pub queue_frames: usize,
    /// Frames taken from a link at a time.
    pub rx_batch_frames: usize,
    /// TCP segments of a batch that follow each other are joined to super-segments first.
    pub join_received: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            max_interfaces: 256,
            queue_frames: 64,
            rx_batch_frames: 64,
            join_received: true,
        }
    }
}

/// A stack's shards, its interfaces' queues, and the locks between them.
///
/// Lock rank: a shard or a link, then a queue; never two shards, never a shard and a link.
pub struct Engine<C> {
    shards: Box<[Shard<C>]>,
    ports: Box<[OnceLock<Port>]>,
    steer: Box<dyn Steer>,
    drops: Arc<DropCounters>,
    driver: Arc<dyn Driver>,
    config: EngineConfig,
    /// No link wants to be sent to before that: nanoseconds, `u64::MAX` for none.
    sends_due: AtomicU64,
    /// No link has something to receive on its own before that.
    arrivals_due: AtomicU64,
}

struct Shard<C> {
    held: Mutex<Held<C>>,
    /// Nanoseconds of the core's next deadline; `u64::MAX`: none.
    deadline: AtomicU64,
    /// The same of the deadline that must not be late.
    exact: AtomicU64,
}

/// What a shard's lock guards.
struct Held<C> {
    core: C,
    /// The time that the core was told last: it must not go back.
    now: Instant,
    /// Empty, for the interfaces that the core has frames for.
    pending: Vec<IfIndex>,
}

/// What is to be done once the shard's lock is released.
#[derive(Default)]
struct After {
    now: Instant,
    pending: SmallVec<[IfIndex; 4]>,
    wakes: Wakes,
    handoff: Vec<(IfIndex, Packet)>,
    filters: Vec<FilterChange>,
    deadline: Option<Instant>,
    /// A deadline that must not be late, if one was added.
    exact: Option<Instant>,
    /// There is nothing but the deadline.
    is_quiet: bool,
}

/// A time that does not come.
const NEVER: u64 = u64::MAX;
/// How often a shard's frames may turn to other interfaces while they are taken.
const REROUTES: usize = 4;

impl<C: StackCore> Engine<C> {
    /// An engine over `cores`, one shard each, without interfaces yet.
    pub fn new(
        cores: Vec<C>,
        steer: Box<dyn Steer>,
        drops: Arc<DropCounters>,
        driver: Arc<dyn Driver>,
        config: EngineConfig,
    ) -> Self {
        let shard = |core| Shard {
            held: Mutex::new(Held { core, now: Instant::ZERO, pending: Vec::new() }),
            deadline: AtomicU64::new(u64::MAX),
            exact: AtomicU64::new(u64::MAX),
        };
        Engine {
            shards: cores.into_iter().map(shard).collect(),
            ports: (0..config.max_interfaces).map(|_| OnceLock::new()).collect(),
            steer,
            drops,
            driver,
            config,
            sends_due: AtomicU64::new(NEVER),
            arrivals_due: AtomicU64::new(NEVER),
        }
    }

    /// Adds an interface's queues under its number.
    ///
    /// # Errors
    /// `ENOBUFS` if the number is past the bound, `EEXIST` if it is taken.
    pub fn add_interface(
        &self,
        iface: Arc<Interface>,
        queues: Vec<LinkQueue>,
        control: Box<dyn LinkControl>,
    ) -> io::Result<()> {
        self.add_impaired_interface(iface, queues, control, &ImpairConfig::default())
    }

    /// The same, with what is to be done to the link's frames.
    ///
    /// # Errors
    /// As [`add_interface`](Self::add_interface); `EOPNOTSUPP` for impairments of a loopback.
    pub fn add_impaired_interface(
        &self,
        iface: Arc<Interface>,
        mut queues: Vec<LinkQueue>,
        control: Box<dyn LinkControl>,
        impair: &ImpairConfig,
    ) -> io::Result<()> {
        let slot = self.ports.get(iface.index.0 as usize).ok_or_else(crate::errno::no_buffers)?;
        let mut impairer = None;
        if !iface.link.loopback {
            let (handle, wrapped) = Impairer::wrap(self.driver.now(), impair, &iface.link, queues);
            (impairer, queues) = (Some(handle), wrapped);
        } else if Way::BOTH.iter().any(|way| !impair.way(*way).is_none()) {
            return Err(crate::errno::not_supported());
        }
        let port = Port {
            impairer,
            iface,
            taps: CaptureTaps::new(),
            queues: queues.into_iter().map(PortQueue::new).collect(),
            control: Mutex::new(control),
            filter_generation: AtomicU64::new(0),
            lost_queues: Mutex::new(0),
        };
        slot.set(port).map_err(|_| io::ErrorKind::AlreadyExists.into())
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// The stack's drop counters.
    pub fn drops(&self) -> &Arc<DropCounters> {
        &self.drops
    }

    /// Its bounds.
    pub const fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The interfaces, in order of their numbers.
    pub fn interfaces(&self) -> impl Iterator<Item = &Arc<Interface>> {
        self.ports.iter().filter_map(|port| port.get()).map(|port| &port.iface)
    }

    /// An interface by its number.
    pub fn interface(&self, index: IfIndex) -> Option<&Arc<Interface>> {
        self.port(index).map(|port| &port.iface)
    }

    /// The capture taps of an interface.
    pub fn taps(&self, index: IfIndex) -> Option<&CaptureTaps> {
        self.port(index).map(|port| &port.taps)
    }

    /// The link's own figures.
    pub fn link_stats(&self, index: IfIndex) -> Option<LinkStats> {
        self.port(index).map(|port| lock(&port.control).stats())
    }

    /// Sets what an interface's link delivers.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface; as the link gives them.
    pub fn set_filter(&self, index: IfIndex, filter: &RxFilter) -> io::Result<()> {
        let port = self.port(index).ok_or_else(crate::errno::no_device)?;
        lock(&port.control).set_filter(filter)
    }

    /// How to wait for each of an interface's queues.
    pub fn readiness(&self, index: IfIndex) -> Vec<Readiness> {
        let Some(port) = self.port(index) else { return Vec::new() };
        port.queues.iter().map(|queue| queue.readiness.clone()).collect()
    }

    /// Calls into a shard and brings what came of it on its way.
    pub fn with_shard<R>(&self, shard: usize, call: impl FnOnce(&mut C, Instant) -> R) -> R {
        let mut after = After::default();
        let result = {
            let mut held = lock(&self.shards[shard].held);
            let now = held.advance(self.driver.now());
            after.now = now;
            let result = call(&mut held.core, now);
            self.settle(shard, &mut held, now, &mut after);
            result
        };
        self.finish(shard, after);
        result
    }

    /// Sends what a queue's link refused before.
    pub fn poll_blocked(&self, index: IfIndex, queue: usize) {
        let Some(port) = self.port(index) else { return };
        if port.queues[queue].blocked.load(Ordering::Acquire) {
            // Waits for whoever is at the link: the room that we were woken for may have come
            // after the refusal that it holds, and nobody would be told again.
            let now = self.driver.now();
            self.flush_locked(now, port, &port.queues[queue], &mut lock(&port.queues[queue].tx));
            self.drain(self.driver.now(), index, queue);
        }
    }

    /// Does frames wait for room in a queue's link?
    pub fn is_blocked(&self, index: IfIndex, queue: usize) -> bool {
        self.port(index).is_some_and(|port| port.queues[queue].blocked.load(Ordering::Acquire))
    }

    /// Has a queue's link all frames that were put out for it? Waits for whoever feeds it.
    pub fn is_drained(&self, index: IfIndex, queue: usize) -> bool {
        let Some(port) = self.port(index) else { return true };
        let queue = &port.queues[queue];
        let tx = lock(&queue.tx);
        let holds = tx.link.pace().is_some_and(|pace| pace != Pace::default());
        !holds && tx.pending.is_empty() && lock(&queue.out).is_empty()
    }

    /// When [`poll_timeouts`](Self::poll_timeouts) wants to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let shards = self.shards.iter().map(|shard| shard.deadline.load(Ordering::SeqCst));
        let next = shards.min().unwrap_or(NEVER).min(self.sends_due.load(Ordering::SeqCst));
        instant_of(next)
    }

    /// When a link wants to be sent to, or a core must be called, which must not be late.
    pub fn next_exact_deadline(&self) -> Option<Instant> {
        let shards = self.shards.iter().map(|shard| shard.exact.load(Ordering::SeqCst));
        instant_of(shards.min().unwrap_or(NEVER).min(self.sends_due.load(Ordering::SeqCst)))
    }

    /// Serves every deadline that has come.
    pub fn poll_timeouts(&self) {
        for shard in 0..self.shards.len() {
            let due = self.shards[shard].deadline.load(Ordering::Acquire);
            if due <= self.driver.now().as_nanos() {
                self.with_shard(shard, |core, now| core.handle_timeout(now));
            }
        }
        self.poll_sends();
    }

    fn port(&self, index: IfIndex) -> Option<&Port> {
        self.ports.get(index.0 as usize).and_then(OnceLock::get)
    }

    fn change_filter(&self, change: &FilterChange) -> io::Result<()> {
        let port = self.port(change.index).ok_or_else(crate::errno::no_device)?;
        let mut control = lock(&port.control);
        let before = port.filter_generation.fetch_max(change.generation, Ordering::Relaxed);
        if before > change.generation {
            return Ok(());
        }
        control.set_filter(&change.filter)
    }

    /// Under the shard's lock: moves frames to the interface queues and gathers the rest.
    fn settle(&self, shard: usize, held: &mut Held<C>, now: Instant, after: &mut After) {
        let Held { core, pending, .. } = held;
        if !core.has_news() {
            debug_assert!(is_silent(core), "news that `has_news` does not know of");
            after.is_quiet = true;
            return self.gather_deadline(shard, core, after);
        }
        for _ in 0..REROUTES {
            pending.clear();
            core.poll_pending(pending);
            pending.retain(|index| !after.pending.contains(index));
            if pending.is_empty() {
                break;
            }
            for &index in &*pending {
                if let Some(port) = self.port(index) {
                    self.fill(port, port.queue_of(shard), core, now);
                }
            }
            // What was asked for may turn out to leave by another interface: look again.
            after.pending.extend_from_slice(pending);
        }
        self.gather(shard, core, after);
    }

    /// Moves a shard's frames for one interface to its queue, as many as there is room for.
    fn fill(&self, port: &Port, queue: &PortQueue, core: &mut C, now: Instant) {
        let mut out = lock(&queue.out);
        let room = self.config.queue_frames.saturating_sub(out.len());
        let more = room == 0 || core.poll_transmit(now, port.iface.index, room, &mut out);
        if more || out.len() >= self.config.queue_frames {
            queue.starved.store(true, Ordering::Release);
        }
    }

    /// Under the shard's lock: gathers what is to be done once it is released.
    fn gather(&self, shard: usize, core: &mut C, after: &mut After) {
        core.poll_wakes(&mut after.wakes);
        core.poll_handoff(&mut after.handoff);
        core.poll_filters(&mut after.filters);
        self.gather_deadline(shard, core, after);
    }

    fn gather_deadline(&self, shard: usize, core: &mut C, after: &mut After) {
        let deadline = core.poll_timeout();
        let nanos = deadline.map_or(u64::MAX, Instant::as_nanos);
        // Sequentially consistent against the driver, which publishes how long it sleeps and then
        // looks here: one of the two sees the other.
        self.shards[shard].deadline.store(nanos, Ordering::SeqCst);
        after.deadline = deadline;
        let exact = core.poll_exact_timeout();
        let nanos = exact.map_or(NEVER, Instant::as_nanos);
        // Nearly all stacks never have one.
        if self.shards[shard].exact.load(Ordering::Relaxed) != nanos {
            self.shards[shard].exact.store(nanos, Ordering::SeqCst);
            after.exact = exact;
        }
    }
}

impl<C> Held<C> {
    /// Of two callers the later one must not bring the earlier time, or its segments carry older
    /// timestamps than those before them.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }
}

/// Has a core nothing to send and nobody to wake?
fn is_silent<C: StackCore>(core: &mut C) -> bool {
    let (mut pending, mut wakes) = (Vec::new(), Wakes::default());
    core.poll_pending(&mut pending);
    core.poll_wakes(&mut wakes);
    pending.is_empty() && wakes.is_empty()
}

#[cfg(test)]
mod tests;
