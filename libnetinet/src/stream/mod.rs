//! Stream sockets: brings the calls of a TCP socket to its listener, or to its connection's shard.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use libnet::iface::IfIndex;
use libnet::socket::{Family, SocketId};
use libnet::wake::WakeSet;

use crate::family::Families;
use crate::tcp::{ConnError, ConnId, ConnOptions, Listener, NOBODY};
use crate::wide::lock;

pub(crate) mod below;
mod call;
mod connect;
mod info;
mod option;
pub(crate) mod ports;
mod told;

pub(crate) use told::ownerless_entry;

/// A TCP socket.
pub(crate) struct StreamSocket {
    pub(crate) family: Family,
    pub(crate) wakes: WakeSet,
    id: OnceLock<SocketId>,
    /// Something may be there to receive. Cleared under the shard's lock, by a receive that found
    /// or left nothing; set under it by what happens, before the wakers are looked for.
    news: AtomicBool,
    /// Guards everything that changes. Rank: before the wide locks; never held across a shard's.
    state: Mutex<State>,
}

/// What of a stream socket changes.
struct State {
    role: Role,
    /// A connect has begun, and no later call has told how it ended.
    connecting: bool,
    /// A connect that waits for the first data (`TCP_FASTOPEN_CONNECT`).
    deferred: Option<SocketAddr>,
    /// What became of a connect that was given up.
    error: Option<ConnError>,
    /// The address that it is bound to, in the table of ports.
    bound: Option<SocketAddr>,
    options: Options,
}

impl State {
    /// It neither listens nor was connected. Its clamp goes, as on Linux.
    fn make_fresh(&mut self) {
        self.role = Role::Fresh;
        self.options.conn.window_clamp_bytes = 0;
    }
}

/// What a stream socket is at the moment.
#[derive(Clone)]
enum Role {
    /// Neither listens nor was connected.
    Fresh,
    /// A call is connecting it.
    Opening,
    /// Accepts connections.
    Listening(Arc<Listener>),
    /// Has a connection in a shard, which may have ended.
    Connection(Place, Ends),
}

/// Does a new socket of IPv6 take no IPv4 (`IPV6_V6ONLY`)?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnlySix {
    /// It takes none.
    Yes,
    /// It takes both.
    No,
}

/// Where a connection is.
#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    conn: ConnId,
}

/// The addresses of a connection.
#[derive(Clone, Copy)]
struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
    /// The interface that link-local ones are of.
    zone: Option<IfIndex>,
}

/// What of a stream socket can be set.
#[derive(Clone, Debug, Default)]
struct Options {
    conn: ConnOptions,
    broadcast: bool,
    v6_only: bool,
    linger: Option<Duration>,
    device: String,
}

impl StreamSocket {
    /// A socket that is bound to nothing.
    pub(crate) fn new(family: Family, only_six: OnlySix) -> Self {
        let v6_only = family == Family::Inet6 && only_six == OnlySix::Yes;
        let mut options = Options { v6_only, ..Options::default() };
        options.conn.sharing.both_families = family == Family::Inet6 && !v6_only;
        StreamSocket::with(family, Role::Fresh, options)
    }

    fn with(family: Family, role: Role, options: Options) -> Self {
        let state =
            State { role, connecting: false, deferred: None, error: None, bound: None, options };
        StreamSocket {
            family,
            wakes: WakeSet::new(),
            id: OnceLock::new(),
            news: AtomicBool::new(true),
            state: Mutex::new(state),
        }
    }

    /// Which families it takes.
    fn families(&self) -> Families {
        self.families_by(&self.state().options)
    }

    fn families_by(&self, options: &Options) -> Families {
        Families { own: self.family, v6_only: options.v6_only }
    }

    /// Tells it its number.
    pub(crate) fn set_id(&self, id: SocketId) {
        let _ = self.id.set(id);
    }

    /// The socket's number, once it is in the table.
    pub(crate) fn id(&self) -> Option<SocketId> {
        self.id.get().copied()
    }

    /// What its connection's or listener's events carry.
    fn token(&self) -> u64 {
        self.id.get().map_or(NOBODY, |id| token_of(*id))
    }

    /// A receive is to look at the connection again.
    pub(crate) fn look_again(&self) {
        self.news.store(true, Ordering::Release);
    }

    /// Would a receive find nothing? Known without a look at the connection.
    fn is_known_empty(&self) -> bool {
        !self.news.load(Ordering::Acquire)
    }

    /// Under the shard's lock: a receive would find nothing, until something happens.
    fn know_empty(&self) {
        self.news.store(false, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn role(&self) -> Role {
        self.state().role.clone()
    }
}

const fn token_of(id: SocketId) -> u64 {
    (id.generation as u64) << 32 | id.index as u64
}

const fn socket_of(token: u64) -> SocketId {
    SocketId { index: token as u32, generation: (token >> 32) as u32 }
}
