//! A shard's connections: finds them, times them, lets them send in turn, and forgets them.

mod auth;
mod fast_open;
mod half_open;
mod handshake;
mod index;
mod input;
mod memory;
mod open;
mod output;
mod ownerless;
mod ports;
mod ready;
mod slots;
mod user;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use libnet::{DropCounters, IfIndex, Instant, Ready, Wheel};

use self::index::{Index, Place};
pub use self::ports::PortSharing;
use self::ports::Ports;
use self::ready::ReadyQueues;
pub use self::slots::ConnId;
use self::slots::Slots;
use super::budget::{Budget, Quota};
use super::config::TcpConfig;
use super::ctx::{Ctx, TcpCounters};
use super::error::ConnError;
use super::listen::{Accepted, Listener};
use super::request::{RequestId, Requests};
use super::secrets::Secrets;
use super::segment::FourTuple;
use super::seq::SeqNumber;
use super::state::{State, TransitionCounts};
use super::tcb::Connection;
use super::timewait::{Remembered, TimeWaits};

pub use self::half_open::defer_accept_time;
pub use self::open::ConnectFrom;
pub use self::ownerless::Ownerless;

/// All TCP of one shard, pure: packets and calls go in; packets, events and a deadline come out.
///
/// ```text
///  segment --> index (4-tuple) --> slot: Connection --> ready queue of its interface --> Path
///                    |                      |
///                    +--> TIME-WAITs        +--> wheel: one node each
///                    +--> requests: SYNs that were answered
///                    +--> listeners
/// ```
#[derive(Debug)]
pub struct Table {
    ctx: Ctx,
    shard: u32,
    slots: Slots,
    index: Index,
    /// The slot of the connection that a segment came for last.
    last_receiver: u32,
    /// Whose data land in a caller's memory; packets with such for others are dropped.
    landing_slot: Option<u32>,
    ports: Ports,
    waits: TimeWaits,
    requests: Requests,
    listeners: BTreeMap<u16, Vec<Arc<Listener>>>,
    wheel: Wheel<u32>,
    ready: ReadyQueues<ConnId>,
    ready_requests: ReadyQueues<RequestId>,
    events: Vec<Event>,
    next_port: u32,
    /// Those that could not send for want of memory.
    starved: VecDeque<ConnId>,
    /// When to look whether there is some.
    starved_until: Instant,
    /// Where the search for out-of-order data goes on.
    prune_at: u32,
    /// When the last gate opens of those that pacing has closed; what is due by then must not be
    /// late.
    paced_until: Instant,
}

/// Something that a socket may wait for has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection became ready for something.
    Conn {
        /// Which.
        id: ConnId,
        /// What [`Table::set_token`] gave it.
        token: u64,
        /// What changed.
        ready: Ready,
    },
    /// A listener has a connection to accept.
    Accept {
        /// The listener's token.
        token: u64,
    },
}

impl Table {
    /// An empty table; `shard` is its number in what its listeners hand out.
    pub fn new(
        config: Arc<TcpConfig>,
        secrets: Secrets,
        drops: Arc<DropCounters>,
        shard: u32,
    ) -> Self {
        Table {
            shard,
            slots: Slots::new(config.connections_max),
            index: Index::default(),
            last_receiver: 0,
            ports: Ports::default(),
            waits: TimeWaits::new(config.time_wait),
            listeners: BTreeMap::new(),
            wheel: Wheel::new(),
            ready: ReadyQueues::default(),
            ready_requests: ReadyQueues::default(),
            requests: Requests::new(&config),
            events: Vec::new(),
            next_port: 0,
            starved: VecDeque::new(),
            starved_until: Instant::MAX,
            prune_at: 0,
            paced_until: Instant::ZERO,
            ctx: Ctx::new(config, secrets, drops),
            landing_slot: None,
        }
    }

    /// Shares the memory of its connections with other shards' tables. To be called before there are any.
    pub fn share_budget(&mut self, budget: Arc<Budget>) {
        debug_assert_eq!(self.ctx.quota.used(), 0, "its connections are charged elsewhere");
        self.ctx.quota = Quota::new(budget);
    }

    /// The memory of its connections, and of those that share it.
    pub fn budget(&self) -> &Arc<Budget> {
        self.ctx.quota.budget()
    }

    /// Lets a listener take this shard's connections; a listener is added to every shard's table.
    pub fn add_listener(&mut self, listener: Arc<Listener>) {
        self.ctx.transitions.record(State::Closed, State::Listen);
        let at_port = self.listeners.entry(listener.addr().port()).or_default();
        at_port.push(listener);
        // One address goes before the wildcard.
        at_port.sort_by_key(|listener| !listener.is_specific());
    }

    /// Takes a listener away; [`Listener::close`] is the caller's.
    pub fn remove_listener(&mut self, listener: &Arc<Listener>) {
        let Some(at_port) = self.listeners.get_mut(&listener.addr().port()) else { return };
        let before = at_port.len();
        at_port.retain(|other| !Arc::ptr_eq(other, listener));
        if at_port.len() < before {
            self.ctx.transitions.record(State::Listen, State::Closed);
        }
        if at_port.is_empty() {
            self.listeners.remove(&listener.addr().port());
        }
    }

    /// Does what is due.
    pub fn on_timer(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.wheel.expire(now, &mut |index| due.push(index));
        for index in due {
            let Some(conn) = self.slots.at_mut(index) else { continue };
            (conn.wheel, conn.wheel_at) = (None, Instant::MAX);
            // A deadline that moved later left its node behind: look again.
            if conn.next_deadline().is_some_and(|at| at <= now) {
                conn.on_timer(now, &mut self.ctx);
            }
            self.settle(now, index);
        }
        self.time_requests(now);
        while let Some(entry) = self.waits.expired(now) {
            self.forget_time_wait(now, entry);
        }
        if self.starved_until <= now {
            self.feed_starved(now);
        }
        self.ctx.free_unused(now);
    }

    /// When [`on_timer`](Self::on_timer) wants to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut first = self.starved_until;
        for at in
            [self.wheel.next_deadline(), self.waits.next_deadline(), self.requests.next_deadline()]
        {
            first = first.min(at.unwrap_or(Instant::MAX));
        }
        (first != Instant::MAX).then_some(first)
    }

    /// The same where it must not come late: what paces has a gate that opens by then.
    pub fn next_exact_deadline(&self) -> Option<Instant> {
        if self.paced_until == Instant::ZERO {
            return None;
        }
        self.wheel.next_deadline().filter(|&at| at <= self.paced_until)
    }

    /// Appends the interfaces that [`poll_transmit`](Self::poll_transmit) has something for.
    pub fn pending(&self, out: &mut Vec<IfIndex>) {
        out.extend(self.ready.pending());
        out.extend(self.ready_requests.pending());
    }

    /// Has it something for [`poll_transmit`](Self::poll_transmit) or
    /// [`take_events`](Self::take_events)?
    pub fn has_news(&self) -> bool {
        !self.events.is_empty()
            || self.ready.pending().next().is_some()
            || self.ready_requests.pending().next().is_some()
    }

    /// Moves what happened since the last call to `out`.
    pub fn take_events(&mut self, out: &mut Vec<Event>) {
        out.append(&mut self.events);
    }

    /// The interface that a connection's segments leave by.
    pub fn iface_of(&self, id: ConnId) -> Option<IfIndex> {
        self.get(id).map(|conn| conn.iface)
    }

    /// The connection's place while it lives.
    pub fn get(&self, id: ConnId) -> Option<&Connection> {
        self.slots.get(id)
    }

    /// All connections, those in TIME-WAIT apart.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.slots.iter()
    }

    /// Connections held, those in TIME-WAIT and those that listeners are still beginning apart.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Holds no connection, also none in TIME-WAIT or begun by a listener?
    pub fn is_empty(&self) -> bool {
        self.slots.len() == 0 && self.waits.len() == 0 && self.requests.len() == 0
    }

    /// SYNs that a listener has answered and that are remembered until that is acknowledged.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Connections in TIME-WAIT.
    pub fn time_waits(&self) -> usize {
        self.waits.len()
    }

    /// What passed.
    pub fn counters(&self) -> &TcpCounters {
        &self.ctx.counters
    }

    /// May data of a connection with this number be taken where they have landed? If so, the next packet
    /// whose data have landed is for it and for nobody else.
    pub(crate) fn expect_landed(&mut self, id: ConnId, seq: u32) -> bool {
        let may_land = self.get(id).is_some_and(|conn| conn.may_land(SeqNumber::new(seq)));
        self.landing_slot = may_land.then_some(id.index);
        may_land
    }

    /// How many bytes were taken so since the last call.
    pub(crate) fn take_landed(&mut self) -> usize {
        std::mem::take(&mut self.ctx.landed)
    }

    /// Why the last segment was dropped, if one was since the last call.
    pub(crate) fn take_last_drop(&self) -> Option<libnet::DropReason> {
        self.ctx.take_last_drop()
    }

    /// Which state transitions were made.
    pub fn transitions(&self) -> &TransitionCounts {
        &self.ctx.transitions
    }

    /// Settings.
    pub fn config(&self) -> &Arc<TcpConfig> {
        &self.ctx.config
    }

    /// Lives by other settings from now on. What a connection agreed on stays, and so does how long
    /// TIME-WAIT is; connections in it that are too many leave.
    pub fn set_config(&mut self, now: Instant, config: Arc<TcpConfig>) {
        let before = std::mem::replace(&mut self.ctx.config, config);
        if before.memory != self.ctx.config.memory {
            self.ctx.quota.limits_changed(&self.ctx.config.memory);
        }
        while self.waits.len() > self.ctx.config.time_wait_max
            && let Some(oldest) = self.waits.oldest()
        {
            self.ctx.counters.time_wait_evicted += 1;
            self.forget_time_wait(now, oldest);
        }
    }

    /// Checks what must hold between the parts, and in every connection; for tests.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check_invariants(&self) {
        let mut indexed = self.waits.len() + self.requests.len();
        for (id, conn) in self.slots.iter() {
            conn.check_invariants(&self.ctx.config);
            if conn.mode.indexed {
                indexed += 1;
                assert_eq!(self.find(&conn.tuple), Some(Place::Slot(id.index)));
            }
            let due = conn.next_deadline().unwrap_or(Instant::MAX);
            assert!(conn.wheel_at <= due, "the wheel fires after a deadline");
            assert!(!conn.wants_transmit() || conn.mode.queued, "forgotten: {conn:?}");
        }
        assert_eq!(self.index.len(), indexed, "the index leads elsewhere");
        self.check_memory();
        assert!(self.slots.len() <= self.ctx.config.connections_max);
        assert!(self.waits.len() <= self.ctx.config.time_wait_max);
        for (entry, request) in self.requests.iter() {
            assert_eq!(self.find(&request.tuple), Some(Place::Request(entry)));
        }
    }

    fn hash(&self, tuple: &FourTuple) -> u64 {
        let (local, remote) = ((tuple.local, tuple.local_port), (tuple.remote, tuple.remote_port));
        self.ctx.secrets.steer_hash(local, remote)
    }

    /// Whose a received segment is. Segments of one connection come in runs: the last one is tried
    /// before anything is hashed.
    fn find_receiver(&mut self, tuple: &FourTuple) -> Option<Place> {
        let is_it = |conn: &Connection| conn.tuple == *tuple && conn.mode.indexed;
        if self.slots.at(self.last_receiver).is_some_and(is_it) {
            return Some(Place::Slot(self.last_receiver));
        }
        let found = self.find(tuple);
        if let Some(Place::Slot(index)) = found {
            self.last_receiver = index;
        }
        found
    }

    fn find(&self, tuple: &FourTuple) -> Option<Place> {
        self.index.find(self.hash(tuple), |place| match place {
            Place::Slot(index) => self.slots.at(index).is_some_and(|conn| conn.tuple == *tuple),
            Place::TimeWait(entry) => self.waits.get(entry).tuple == *tuple,
            Place::Request(entry) => {
                self.requests.get(entry).is_some_and(|request| request.tuple == *tuple)
            }
        })
    }

    fn insert(&mut self, mut conn: Connection) -> ConnId {
        let hash = self.hash(&conn.tuple);
        self.ports.add(&conn.tuple);
        self.ctx.quota.add_socket();
        conn.mode.indexed = true;
        let id = self.slots.insert(conn);
        self.index.insert(hash, Place::Slot(id.index));
        id
    }

    /// After anything that may have changed a connection: where it belongs, when it wants to be
    /// called, whether it wants to send, and who is to be told.
    fn settle(&mut self, now: Instant, index: u32) {
        let Some(conn) = self.slots.at_mut(index) else { return };
        conn.charge(&mut self.ctx);
        let over = matches!(conn.state, State::Closed | State::TimeWait);
        if conn.cold.listener.is_some() || over || conn.mode.starved {
            self.settle_rare(now, index);
        }
        let id = self.slots.id(index);
        let Some(conn) = self.slots.at_mut(index) else { return };
        conn.count_orphan(&self.ctx.quota);
        if conn.mode.writer_waits {
            conn.wake_below_low_water(&self.ctx.config);
        }
        let wake = conn.take_wake();
        let waits = conn.cold.listener.is_some() && !conn.mode.fast_open;
        let owned = !conn.mode.orphan && !waits;
        if !wake.is_empty() && owned {
            self.events.push(Event::Conn { id, token: conn.cold.token, ready: wake });
        }
        let wants = conn.wants_transmit();
        if !wants {
            conn.note_limit(now);
            conn.arm_persist_if_stuck(now);
            if !owned && matches!(conn.state, State::Closed | State::TimeWait) {
                return self.free(index);
            }
        } else if !conn.mode.queued {
            conn.mode.queued = true;
            self.ready.push(conn.iface, id);
        }
        let pace = conn.deadlines.pace;
        if pace != Instant::MAX {
            self.paced_until = self.paced_until.max(pace);
        }
        let Some(due) = conn.next_deadline().filter(|&due| due < conn.wheel_at) else { return };
        conn.wheel_at = due;
        match conn.wheel {
            Some(handle) => {
                self.wheel.reschedule(handle, due);
            }
            None => conn.wheel = Some(self.wheel.insert(due, index)),
        }
    }

    /// The part for what most connections are not: begun by a listener, over, or short of memory.
    fn settle_rare(&mut self, now: Instant, index: u32) {
        self.settle_listener(now, index);
        self.settle_index(now, index);
        let Some(conn) = self.slots.at_mut(index) else { return };
        conn.charge(&mut self.ctx);
        if conn.mode.starved {
            self.await_memory(now, index);
        }
    }

    /// A passive handshake that is over goes to its listener, or comes to nothing.
    fn settle_listener(&mut self, now: Instant, index: u32) {
        let id = self.slots.id(index);
        let Some(conn) = self.slots.at_mut(index) else { return };
        if conn.cold.listener.is_none() || conn.state == State::SynReceived {
            return;
        }
        if conn.mode.fast_open {
            // It was given to the listener with its SYN.
            let was_reset = conn.error == Some(ConnError::Reset);
            (conn.mode.fast_open, conn.cold.fast_open) = (false, None);
            if let Some(listener) = conn.cold.listener.take() {
                listener.end_fast_open(now, was_reset);
            }
            return;
        }
        if conn.state == State::Closed {
            return;
        }
        let Some(listener) = conn.cold.listener.take() else { return };
        let local = (conn.tuple.local, conn.tuple.local_port).into();
        let remote = (conn.tuple.remote, conn.tuple.remote_port).into();
        if listener.promote(Accepted::new(self.shard, id, local, remote)) {
            self.events.push(Event::Accept { token: listener.token() });
        } else {
            conn.mode.orphan = true;
            conn.abort(&mut self.ctx);
        }
    }

    /// A connection that is over leaves the index; one in TIME-WAIT leaves a note there.
    fn settle_index(&mut self, now: Instant, index: u32) {
        let Some(conn) = self.slots.at_mut(index) else { return };
        if !conn.mode.indexed || !matches!(conn.state, State::Closed | State::TimeWait) {
            return;
        }
        conn.mode.indexed = false;
        let (tuple, waits) = (conn.tuple, conn.state == State::TimeWait);
        let auth = conn.cold.auth.as_deref().filter(|_| waits).cloned();
        let isns = conn.isns();
        let note = Remembered {
            tuple,
            snd_nxt: conn.snd_max,
            rcv_nxt: conn.rcv_nxt,
            ts_recent: conn.mode.timestamps.then_some(conn.ts_recent),
            sharing: conn.cold.options.sharing,
        };
        let hash = self.hash(&tuple);
        self.index.remove(hash, Place::Slot(index));
        self.ports.remove(&tuple);
        if !waits {
            return;
        }
        if self.waits.len() >= self.ctx.config.time_wait_max
            && let Some(oldest) = self.waits.oldest()
        {
            self.ctx.counters.time_wait_evicted += 1;
            self.forget_time_wait(now, oldest);
        }
        if self.ctx.config.time_wait_max > 0 {
            let entry = self.waits.insert(now, &note);
            if let Some(auth) = auth {
                self.waits.keep_auth(entry, auth, isns);
            }
            self.index.insert(hash, Place::TimeWait(entry));
            self.ports.add(&tuple);
        }
    }

    fn forget_time_wait(&mut self, now: Instant, entry: u32) {
        let tuple = self.waits.get(entry).tuple;
        let hash = self.hash(&tuple);
        self.ctx.transitions.record(State::TimeWait, State::Closed);
        self.index.remove(hash, Place::TimeWait(entry));
        self.ports.remove(&tuple);
        self.waits.remove(now, entry);
    }

    fn free(&mut self, index: u32) {
        let Some(conn) = self.slots.remove(index) else { return };
        if let Some(handle) = conn.wheel {
            self.wheel.cancel(handle);
        }
        self.forget_memory(&conn);
    }
}
