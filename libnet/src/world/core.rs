//! What all handles of a world share: the clock, and the state behind one lock.

use std::any::Any;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::actor::Actors;
use super::host::{Host, HostSlot};
use super::record::{Drops, Recording};
use super::segment::{LinkConfig, Plug, Port, PortBell, SegmentState};
use super::trace::TraceHash;
use crate::ethernet::MacAddr;
use crate::iface::IfIndex;
use crate::impair::{Delivery, Impair, Schedule, Way};
use crate::link::{LinkInfo, LinkStats, Readiness, RxFilter};
use crate::packet::Packet;
use crate::stats::DropTap;
use crate::time::Instant;

mod frames;

/// The world behind its handles.
///
/// The lock guards the state; rank: a link's own lock, a leaf. Stacks are called without it.
pub(super) struct Shared {
    clock: AtomicU64,
    pub(super) seed: u64,
    state: Mutex<State>,
}

/// Everything that changes.
pub(super) struct State {
    pub(super) now: Instant,
    seed: u64,
    /// Orders events of one instant.
    sequence: u64,
    events: BinaryHeap<Event>,
    /// Calls to make before time goes on.
    work: VecDeque<Work>,
    pub(super) hosts: Vec<HostSlot>,
    /// Stacks that nobody holds any more and that still have something to deliver.
    pub(super) kept: Vec<Arc<dyn Any + Send + Sync>>,
    /// Hosts with links that are not the world's own.
    foreign_hosts: Vec<usize>,
    pub(super) segments: Vec<SegmentState>,
    pub(super) ports: Vec<Port>,
    pub(super) actors: Actors,
    pub(super) trace: TraceHash,
    pub(super) recording: Recording,
    /// The world was dropped: nothing happens any more.
    pub(super) ended: bool,
    /// Events of this very instant so far.
    at_this_instant: u64,
    scratch: Vec<Delivery>,
    port_scratch: Vec<Delivery>,
}

/// What happens at an instant.
pub(super) enum What {
    /// A frame that a port sent reaches the medium.
    Medium { segment: usize, from: usize, packet: Box<Packet> },
    /// A frame leaves the medium for the ports.
    Forward { segment: usize, from: Option<usize>, packet: Box<Packet> },
    /// A frame reaches a port's stack.
    Deliver { port: usize, packet: Box<Packet> },
    /// A frame has left the wire of a port.
    Wire { port: usize, way: Way },
    /// A host's deadline.
    Timer { host: usize },
    /// A blocked call's deadline; time must stop there.
    Deadline,
}

struct Event {
    at: Instant,
    sequence: u64,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The heap gives its greatest first: the earliest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// A call to a stack.
#[derive(Clone, Copy)]
enum Work {
    Receive { port: usize },
    Blocked { host: usize, iface: IfIndex, queue: usize },
    Timers { host: usize },
}

/// More events than this in one instant: the stacks talk in circles.
const LIVELOCK_EVENTS: u64 = 5_000_000;

/// Names of independent random streams.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Actors,
    Host(usize),
    Egress(usize),
    Ingress(usize),
    Medium(usize),
}

fn seed_of(seed: u64, stream: Stream) -> [u8; 32] {
    let (kind, number) = match stream {
        Stream::Actors => (0, 0),
        Stream::Host(n) => (1, n),
        Stream::Egress(n) => (2, n),
        Stream::Ingress(n) => (3, n),
        Stream::Medium(n) => (4, n),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((kind << 32) | number as u64);
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

impl Shared {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let actors = Actors::new(ChaCha8Rng::from_seed(seed_of(seed, Stream::Actors)));
        let state = State {
            now: Instant::ZERO,
            seed,
            sequence: 0,
            events: BinaryHeap::new(),
            work: VecDeque::new(),
            hosts: Vec::new(),
            kept: Vec::new(),
            foreign_hosts: Vec::new(),
            segments: Vec::new(),
            ports: Vec::new(),
            actors,
            trace: TraceHash::new(),
            recording: Recording::default(),
            ended: false,
            at_this_instant: 0,
            scratch: Vec::new(),
            port_scratch: Vec::new(),
        };
        Arc::new(Shared { clock: AtomicU64::new(0), seed, state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Instant {
        Instant::from_nanos(self.clock.load(Ordering::Acquire))
    }

    pub(super) fn seed_of_host(&self, host: usize) -> [u8; 32] {
        seed_of(self.seed, Stream::Host(host))
    }

    /// Takes a stack in. Its links on the world's segments are known by their doorbells.
    pub(super) fn attach(self: &Arc<Self>, slot: usize, host: &Arc<dyn Host>) -> io::Result<()> {
        let mut foreign = Vec::new();
        let mut owned = Vec::new();
        {
            let state = self.lock();
            for (iface, queue, readiness) in host.queues() {
                let bell = match readiness {
                    Readiness::Never => continue,
                    Readiness::Doorbell(bell) => bell,
                    Readiness::Descriptor(_) => return Err(io::ErrorKind::Unsupported.into()),
                };
                let same = |port: &Port| std::ptr::eq(port.bell.word_ref(), bell.word());
                match state.ports.iter().position(same) {
                    Some(port) => owned.push((port, iface, queue)),
                    None => foreign.push((iface, queue, bell)),
                }
            }
        }
        if let Some(drops) = host.drops() {
            let ports = owned.iter().map(|&(port, iface, _)| (iface, port)).collect();
            let tap: Arc<dyn DropTap> = Arc::new(Drops { shared: Arc::downgrade(self), ports });
            // Attached again, it has other interfaces, and one tap.
            let before = self.lock().hosts[slot].tap.replace(Arc::clone(&tap));
            if let Some(before) = before {
                drops.unwatch(&before);
            }
            drops.watch(tap);
        }
        let deadline = host.next_deadline();
        let mut state = self.lock();
        for (port, iface, queue) in owned {
            state.ports[port].owner = Some((slot, iface, queue));
            state.queue_receive(port);
        }
        state.hosts[slot].host = Some(Arc::downgrade(host));
        if !foreign.is_empty() && !state.foreign_hosts.contains(&slot) {
            state.foreign_hosts.push(slot);
        }
        state.hosts[slot].foreign = foreign;
        if let Some(at) = deadline {
            state.schedule_timer(slot, at);
        }
        Ok(())
    }

    /// Calls stacks until none has anything to do at this instant. No lock is held meanwhile.
    pub(super) fn settle(&self) {
        loop {
            let work = self.lock().work.pop_front();
            match work {
                Some(work) => self.do_work(work),
                None if self.poll_foreign() => {}
                None => return,
            }
        }
    }

    /// Lets the next event happen if it is not after `limit`; whether there was one.
    pub(super) fn step_event(&self, limit: Instant) -> bool {
        let mut state = self.lock();
        let Some(event) = state.events.peek() else { return false };
        if event.at > limit {
            return false;
        }
        let event = state.events.pop().expect("just peeked");
        if event.at > state.now {
            state.at_this_instant = 0;
            self.set_now(&mut state, event.at);
        }
        state.at_this_instant += 1;
        let endless = state.at_this_instant > LIVELOCK_EVENTS;
        state.happen(event.what);
        drop(state);
        assert!(!endless, "the world talks in circles at {}: time does not go on", self.now());
        true
    }

    /// Lets time pass to `at` where nothing happens until then.
    pub(super) fn pass_to(&self, at: Instant) {
        let mut state = self.lock();
        if at > state.now {
            state.at_this_instant = 0;
            self.set_now(&mut state, at);
        }
    }

    fn set_now(&self, state: &mut State, at: Instant) {
        state.now = at;
        self.clock.store(at.as_nanos(), Ordering::Release);
    }

    fn do_work(&self, work: Work) {
        match work {
            Work::Receive { port } => {
                let (host, owner) = {
                    let mut state = self.lock();
                    state.ports[port].receive_queued = false;
                    let Some(owner) = state.ports[port].owner else { return };
                    (state.host(owner.0), owner)
                };
                let Some(host) = host else { return };
                // A failed link takes its interface down by itself.
                while matches!(host.poll_receive(owner.1, owner.2), Ok(n) if n > 0) {}
                // What it received may be under way still.
                if let Some(at) = host.next_deadline() {
                    self.lock().schedule_timer(owner.0, at);
                }
            }
            Work::Blocked { host, iface, queue } => {
                let host = self.lock().host(host);
                if let Some(host) = host {
                    host.poll_blocked(iface, queue);
                }
            }
            Work::Timers { host: slot } => {
                let host = self.lock().host(slot);
                let Some(host) = host else { return };
                host.poll_timeouts();
                if let Some(at) = host.next_deadline() {
                    self.lock().schedule_timer(slot, at);
                }
            }
        }
    }

    /// Serves links that are not the world's own; whether any had something.
    fn poll_foreign(&self) -> bool {
        let mut ready = Vec::new();
        {
            let state = self.lock();
            for &slot in &state.foreign_hosts {
                let Some(host) = state.host(slot) else { continue };
                for (iface, queue, bell) in &state.hosts[slot].foreign {
                    match bell.arm() {
                        None => ready.push((slot, Arc::clone(&host), *iface, *queue)),
                        Some(_) => bell.disarm(),
                    }
                }
            }
        }
        let mut progress = false;
        for (slot, host, iface, queue) in ready {
            let was_blocked = host.is_blocked(iface, queue);
            host.poll_blocked(iface, queue);
            progress |= was_blocked && !host.is_blocked(iface, queue);
            while matches!(host.poll_receive(iface, queue), Ok(n) if n > 0) {
                progress = true;
            }
            if let Some(at) = host.next_deadline() {
                self.lock().schedule_timer(slot, at);
            }
        }
        progress
    }
}

impl State {
    pub(super) fn schedule(&mut self, at: Instant, what: What) {
        if self.ended {
            return;
        }
        self.sequence += 1;
        self.events.push(Event { at: at.max(self.now), sequence: self.sequence, what });
    }

    /// A host wants to be called at `at`, unless it will be earlier anyway.
    pub(super) fn schedule_timer(&mut self, host: usize, at: Instant) {
        let at = at.max(self.now);
        let slot = &mut self.hosts[host];
        if slot.timer_at.is_some_and(|due| due <= at) {
            return;
        }
        slot.timer_at = Some(at);
        self.schedule(at, What::Timer { host });
    }

    pub(super) fn kick_queue(&mut self, host: usize, iface: IfIndex, queue: usize) {
        self.work.push_back(Work::Blocked { host, iface, queue });
    }

    pub(super) fn add_segment(&mut self, mut config: LinkConfig) -> usize {
        let number = self.segments.len();
        if config.name.is_empty() {
            config.name = format!("segment{number}");
        }
        let seed = seed_of(self.seed, Stream::Medium(number));
        self.segments.push(SegmentState::new(config, seed));
        number
    }

    pub(super) fn add_port(
        &mut self,
        segment: usize,
        mac: MacAddr,
    ) -> (usize, LinkInfo, Arc<PortBell>) {
        let number = self.ports.len();
        let info = self.segments[segment].info(mac);
        let impairments = self.segments[segment].config.impairments.clone();
        let bell = Arc::new(PortBell::default());
        let direction = |impairments: Schedule, stream| {
            let mut impair = Impair::new(impairments, &info, seed_of(self.seed, stream));
            impair.keep_lost();
            impair.begin(self.now);
            impair
        };
        self.ports.push(Port {
            segment,
            mac,
            egress: direction(impairments, Stream::Egress(number)),
            ingress: direction(Schedule::default(), Stream::Ingress(number)),
            rx: VecDeque::new(),
            filter: RxFilter::default(),
            plug: Plug::In,
            owner: None,
            receive_queued: false,
            wants_room: false,
            wire_at: [None; 2],
            stats: LinkStats::default(),
            bell: Arc::clone(&bell),
        });
        self.segments[segment].add_port(number, mac);
        (number, info, bell)
    }

    pub(super) fn set_filter(&mut self, port: usize, filter: RxFilter) {
        let Some(port) = self.ports.get_mut(port) else { return };
        let segment = &mut self.segments[port.segment];
        segment.promiscuous_ports -= usize::from(port.filter.promiscuous);
        segment.promiscuous_ports += usize::from(filter.promiscuous);
        port.filter = filter;
    }

    pub(super) fn remove_port(&mut self, port: usize) {
        self.set_filter(port, RxFilter::default());
        let segment = self.ports[port].segment;
        self.segments[segment].remove_port(port);
        self.ports[port].owner = None;
        self.ports[port].rx = VecDeque::new();
    }

    /// The names of the faults that were asked for and never fired, with where.
    pub(super) fn unfired(&self) -> Vec<String> {
        let mut all = Vec::new();
        for segment in &self.segments {
            let name = &segment.config.name;
            all.extend(segment.medium.unfired().into_iter().map(|what| format!("{name}: {what}")));
        }
        for port in &self.ports {
            let name = &self.segments[port.segment].config.name;
            for (way, impair) in [("from", &port.egress), ("to", &port.ingress)] {
                let unfired = impair.unfired().into_iter();
                all.extend(unfired.map(|what| format!("{name}, {way} {}: {what}", port.mac)));
            }
        }
        all
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Medium { segment, from, packet } => {
                self.enter_medium(segment, Some(from), *packet);
            }
            What::Forward { segment, from, packet } => self.forward(segment, from, &packet),
            What::Deliver { port, packet } => self.deliver(port, *packet),
            What::Wire { port, way } => self.serve_wire(port, way),
            What::Timer { host } => {
                let slot = &mut self.hosts[host];
                // An event that an earlier deadline overtook is stale.
                if slot.timer_at == Some(self.now) {
                    slot.timer_at = None;
                    self.work.push_back(Work::Timers { host });
                }
            }
            What::Deadline => {}
        }
    }

    fn queue_receive(&mut self, number: usize) {
        let port = &mut self.ports[number];
        if port.owner.is_some() && !port.receive_queued && !port.rx.is_empty() {
            port.receive_queued = true;
            self.work.push_back(Work::Receive { port: number });
        }
    }

    fn host(&self, slot: usize) -> Option<Arc<dyn Host>> {
        self.hosts[slot].host.as_ref()?.upgrade()
    }
}
