//! Listeners: what waits to be accepted, shared by all shards.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libnet::Instant;

use super::config::ConnOptions;
use super::table::{ConnId, PortSharing};

/// A socket in LISTEN.
///
/// Lock rank: after a shard's, a leaf; it guards the queues and the options, and nothing is called under it.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    token: u64,
    queue: Mutex<Queue>,
    /// When a SYN was last answered with a cookie, nanoseconds; 0: never. Orders nothing.
    cookie_at: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    /// Established, not accepted yet.
    ready: VecDeque<Accepted>,
    /// In SYN-RECEIVED.
    embryos: u32,
    /// Those of them whose SYN-ACK was sent once.
    young: u32,
    /// Begun with the data of a SYN; the handshake is not over.
    fast_opens: u32,
    /// Those that were reset count until then: RFC 7413 §5.1.
    fast_opens_reset: VecDeque<Instant>,
    backlog: u32,
    options: ConnOptions,
    closed: bool,
}

/// A connection that a listener gives to the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The shard whose table holds it.
    pub shard: u32,
    /// Its place there.
    pub id: ConnId,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

impl Accepted {
    pub(super) fn new(shard: u32, id: ConnId, local: SocketAddr, remote: SocketAddr) -> Self {
        Accepted { shard, id, local, remote }
    }
}

/// What a SYN meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// A place in the queue of SYNs, which is taken now.
    Taken,
    /// Every such place is taken.
    SynQueueFull,
    /// As many connections wait to be accepted as may.
    AcceptQueueFull,
    /// The listener is closed.
    Closed,
}

/// What a handshake that is over will meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Promotion {
    /// It waits to be accepted.
    Queued,
    /// The queue is full; the peer will send again.
    Full,
    /// The listener is closed.
    Closed,
}

impl Listener {
    /// A listener on `addr`, whose address may be the wildcard. `backlog` connections and one
    /// more wait to be accepted at most, as on Linux; `token` comes back in events, and `options`
    /// go to the connections, until [`set_options`](Self::set_options) gives others.
    pub fn new(addr: SocketAddr, backlog: u32, token: u64, options: ConnOptions) -> Self {
        let queue = Queue {
            ready: VecDeque::new(),
            embryos: 0,
            young: 0,
            fast_opens: 0,
            fast_opens_reset: VecDeque::new(),
            backlog,
            options,
            closed: false,
        };
        Listener { addr, token, queue: Mutex::new(queue), cookie_at: AtomicU64::new(0) }
    }

    /// Takes the connection that has waited longest.
    pub fn accept(&self) -> Option<Accepted> {
        self.lock().ready.pop_front()
    }

    /// Changes how many may wait; those that do stay.
    pub fn set_backlog(&self, backlog: u32) {
        self.lock().backlog = backlog;
    }

    /// How many finished connections wait at most, beside one.
    pub fn backlog(&self) -> u32 {
        self.lock().backlog
    }

    /// Takes no more connections; gives those that waited, for the caller to abort. Handshakes
    /// that are under way end with a reset.
    pub fn close(&self) -> Vec<Accepted> {
        let mut queue = self.lock();
        queue.closed = true;
        queue.ready.drain(..).collect()
    }

    /// Connections that wait to be accepted.
    pub fn waiting(&self) -> usize {
        self.lock().ready.len()
    }

    /// Handshakes under way.
    pub fn embryos(&self) -> u32 {
        self.lock().embryos
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What events carry.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// The options that its connections get.
    pub fn options(&self) -> ConnOptions {
        self.lock().options.clone()
    }

    /// With whom it shares its port.
    pub(super) fn sharing(&self) -> PortSharing {
        self.lock().options.sharing
    }

    /// Changes the options that later connections get, from their SYN-ACK on.
    pub fn set_options(&self, options: ConnOptions) {
        self.lock().options = options;
    }

    /// Is it bound to one address?
    pub(super) fn is_specific(&self) -> bool {
        !self.addr.ip().is_unspecified()
    }

    /// Takes a place in the queue of SYNs, if there is one.
    pub(super) fn begin_handshake(&self) -> Room {
        let mut queue = self.lock();
        if queue.closed {
            return Room::Closed;
        }
        if queue.ready.len() > queue.backlog as usize {
            return Room::AcceptQueueFull;
        }
        if queue.embryos > queue.backlog {
            return Room::SynQueueFull;
        }
        queue.embryos += 1;
        queue.young += 1;
        Room::Taken
    }

    /// A handshake is over, or came to nothing: its place in the queue of SYNs is free.
    pub(super) fn end_handshake(&self, young: bool) {
        let mut queue = self.lock();
        queue.embryos = queue.embryos.saturating_sub(1);
        queue.young = queue.young.saturating_sub(u32::from(young));
    }

    /// May another connection begin with the data of a SYN, of `most`? It counts as begun then.
    pub(super) fn begin_fast_open(&self, now: Instant, most: u32) -> bool {
        let mut queue = self.lock();
        while queue.fast_opens_reset.front().is_some_and(|&until| until <= now) {
            queue.fast_opens_reset.pop_front();
        }
        let counted = queue.fast_opens as usize + queue.fast_opens_reset.len();
        if counted >= most as usize || queue.closed {
            return false;
        }
        queue.fast_opens += 1;
        true
    }

    /// Its handshake is over. One that was reset counts for a minute more: who forges SYNs with a
    /// cookie must not make room by forging resets.
    pub(super) fn end_fast_open(&self, now: Instant, was_reset: bool) {
        let mut queue = self.lock();
        queue.fast_opens = queue.fast_opens.saturating_sub(1);
        if was_reset {
            queue.fast_opens_reset.push_back(now + RESET_COUNTS);
        }
    }

    /// A SYN-ACK was not acknowledged in time.
    pub(super) fn grow_old(&self) {
        let mut queue = self.lock();
        queue.young = queue.young.saturating_sub(1);
    }

    /// How often a SYN-ACK may be sent again, where the stack allows `retries`: less often while
    /// the old crowd out the young, so that a flood that does not answer leaves room soon, as on
    /// Linux.
    pub(super) fn syn_ack_retries(&self, mut retries: u8) -> u8 {
        let queue = self.lock();
        if 2 * u64::from(queue.embryos) <= u64::from(queue.backlog.max(CROWD)) {
            return retries;
        }
        let mut young = 2 * u64::from(queue.young);
        while retries > LEAST_RETRIES && u64::from(queue.embryos) >= young {
            retries -= 1;
            young *= 2;
        }
        retries
    }

    /// A SYN is answered with a cookie; `true` if none was for a while.
    pub(super) fn note_cookie(&self, now: Instant) -> bool {
        let last = self.cookie_at.swap(now.as_nanos().max(1), Ordering::Relaxed);
        last == 0 || now.since(Instant::from_nanos(last)) >= COOKIE_TIME
    }

    /// Can a peer have a cookie of ours that is still valid?
    pub(super) fn has_given_cookies(&self, now: Instant) -> bool {
        let last = self.cookie_at.load(Ordering::Relaxed);
        last != 0 && now.since(Instant::from_nanos(last)) < COOKIE_TIME
    }

    /// The connection waits to be accepted; `false` if the listener closed. Shards may each have
    /// seen the last place free, so that many more may wait.
    pub(super) fn promote(&self, accepted: Accepted) -> bool {
        let mut queue = self.lock();
        if !queue.closed {
            queue.ready.push_back(accepted);
        }
        !queue.closed
    }

    /// Could a handshake end now?
    pub(super) fn has_room(&self) -> Promotion {
        let queue = self.lock();
        match (queue.closed, queue.ready.len() > queue.backlog as usize) {
            (true, _) => Promotion::Closed,
            (_, true) => Promotion::Full,
            _ => Promotion::Queued,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue of SYNs that is smaller than this is not crowded.
const CROWD: u32 = 8;
/// A SYN-ACK is sent again so often in any case.
const LEAST_RETRIES: u8 = 2;
/// How long a connection that began with the data of a SYN and was reset counts.
const RESET_COUNTS: Duration = Duration::from_secs(60);
/// How long cookies are believed after the last one was given.
const COOKIE_TIME: Duration = Duration::from_secs(120);
