//! Listeners: what waits to be accepted, shared by all shards.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::config::ConnOptions;
use super::table::ConnId;

/// A socket in LISTEN.
///
/// Lock rank: after a shard's, a leaf; it guards the queues and the options, and nothing is called under it.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    token: u64,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// Established, not accepted yet.
    ready: VecDeque<Accepted>,
    /// In SYN-RECEIVED.
    embryos: u32,
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
        let queue = Queue { ready: VecDeque::new(), embryos: 0, backlog, options, closed: false };
        Listener { addr, token, queue: Mutex::new(queue) }
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

    /// Changes the options that later connections get, from their SYN-ACK on.
    pub fn set_options(&self, options: ConnOptions) {
        self.lock().options = options;
    }

    /// Is it bound to one address?
    pub(super) fn is_specific(&self) -> bool {
        !self.addr.ip().is_unspecified()
    }

    /// Makes room for a handshake; `false` if there is none.
    pub(super) fn begin_handshake(&self) -> bool {
        let mut queue = self.lock();
        let full = queue.ready.len() > queue.backlog as usize || queue.embryos > queue.backlog;
        if full || queue.closed {
            return false;
        }
        queue.embryos += 1;
        true
    }

    /// A handshake is over: the connection waits to be accepted; `false` if the listener closed.
    /// Shards may each have seen the last place free, so that many more may wait.
    pub(super) fn promote(&self, accepted: Accepted) -> bool {
        let mut queue = self.lock();
        queue.embryos = queue.embryos.saturating_sub(1);
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

    /// A handshake came to nothing.
    pub(super) fn abandon_handshake(&self) {
        let mut queue = self.lock();
        queue.embryos = queue.embryos.saturating_sub(1);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
