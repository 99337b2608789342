//! What is known of stream sockets: their ends, errors and readiness, and what tools show.

use std::io;
use std::net::SocketAddr;

use libnet::errno;
use libnet::socket::{Family, Protocol, SockType};
use libnet::wake::Ready;

use super::Role;
use super::call::Shared;
use crate::family::Families;
use crate::inet::Inet;
use crate::snapshot::SocketEntry;
use crate::tcp::{Ownerless, State as TcpState, TcpInfo};

impl Inet {
    /// `getsockname(2)`.
    pub(crate) fn stream_local(&self, socket: &Shared) -> SocketAddr {
        let state = socket.state();
        let families = socket.families_by(&state.options);
        let iface = state.options.conn.sharing.iface;
        match &state.role {
            Role::Connection(_, ends) => families.shown(ends.local, ends.zone),
            Role::Listening(listener) => families.shown(listener.addr(), iface),
            Role::Fresh | Role::Opening => {
                let any = SocketAddr::new(socket.family.unspecified(), 0);
                families.shown(state.bound.unwrap_or(any), iface)
            }
        }
    }

    /// `getpeername(2)`: of a connection that is there.
    pub(crate) fn stream_peer(&self, socket: &Shared) -> io::Result<SocketAddr> {
        let Role::Connection(place, ends) = socket.role() else {
            return Err(errno::not_connected());
        };
        match self.conn_state(place) {
            None | Some(TcpState::Closed | TcpState::SynSent) => Err(errno::not_connected()),
            Some(_) => Ok(socket.families().shown(ends.remote, ends.zone)),
        }
    }

    /// `SO_ERROR`.
    pub(crate) fn stream_error(&self, socket: &Shared) -> Option<io::Error> {
        let Role::Connection(place, _) = socket.role() else {
            return socket.state().error.take().map(io::Error::from);
        };
        let error =
            self.engine().with_shard(place.shard, |core, _| core.tcp_mut().take_error(place.conn));
        error.map(io::Error::from)
    }

    /// `poll(2)`.
    pub(crate) fn stream_ready(&self, socket: &Shared) -> Ready {
        match socket.role() {
            // The first data will connect it.
            Role::Fresh if socket.state().deferred.is_some() => Ready::WRITABLE,
            // As on Linux: a socket that was never connected has hung up, and can be written to.
            Role::Fresh => {
                let error = socket.state().error.map_or(Ready::NONE, |_| Ready::ERROR);
                Ready::WRITABLE | Ready::HANGUP | error
            }
            Role::Opening => Ready::NONE,
            Role::Listening(listener) if listener.waiting() > 0 => Ready::READABLE,
            Role::Listening(_) => Ready::NONE,
            Role::Connection(place, _) => {
                self.engine().with_shard(place.shard, |core, _| core.tcp().ready(place.conn))
            }
        }
    }

    /// What `ss` shows of it.
    pub(crate) fn stream_entry(&self, socket: &Shared) -> Option<SocketEntry> {
        let (role, local) = (socket.role(), self.stream_local(socket));
        let mut entry = SocketEntry {
            id: Some(socket.id()?),
            ty: SockType::Stream,
            protocol: Protocol::TCP,
            state: "",
            local,
            remote: None,
            receive_bytes: 0,
            send_bytes: 0,
            overflows: 0,
            backlog: 0,
            timer: None,
        };
        match role {
            Role::Fresh | Role::Opening => entry.state = TcpState::Closed.name(),
            Role::Listening(listener) => {
                entry.state = TcpState::Listen.name();
                entry.receive_bytes = listener.waiting();
                entry.backlog = listener.backlog();
            }
            Role::Connection(place, ends) => {
                let info = self
                    .engine()
                    .with_shard(place.shard, |core, now| core.tcp().info(now, place.conn));
                entry.remote = Some(socket.families().shown(ends.remote, ends.zone));
                entry.state = info.as_ref().map_or(TcpState::Closed, |info| info.state).name();
                if let Some(info) = info {
                    entry.receive_bytes = info.receive_queue_bytes as usize;
                    entry.send_bytes = info.send_queue_bytes as usize;
                    entry.timer = info.timer;
                }
            }
        }
        Some(entry)
    }

    /// What is known of its connection, if it has one.
    pub(crate) fn stream_info(&self, socket: &Shared) -> Option<TcpInfo> {
        let Role::Connection(place, _) = socket.role() else { return None };
        self.engine().with_shard(place.shard, |core, now| core.tcp().info(now, place.conn))
    }

    /// What would be lost if the stack went away now: connections that were closed and have not
    /// delivered everything, and packets that wait for a neighbour's address.
    pub fn undelivered(&self) -> usize {
        let count = |shard| self.engine().with_shard(shard, |core, _| core.tcp().undelivered());
        let closing: usize = (0..self.engine().shard_count()).map(count).sum();
        closing + self.wide().with_neighbours(|table| table.waiting_packets())
    }
}

/// A connection without a socket, as tools show it.
pub(crate) fn ownerless_entry(conn: Ownerless) -> SocketEntry {
    let Ownerless { tuple, state, receive_bytes, send_bytes, timer } = conn;
    let families = Families { own: Family::of(&tuple.local), v6_only: true };
    let shown = |ip, port| families.shown(SocketAddr::new(ip, port), tuple.zone.iface());
    SocketEntry {
        id: None,
        ty: SockType::Stream,
        protocol: Protocol::TCP,
        state: state.name(),
        local: shown(tuple.local, tuple.local_port),
        remote: Some(shown(tuple.remote, tuple.remote_port)),
        receive_bytes,
        send_bytes,
        overflows: 0,
        backlog: 0,
        timer,
    }
}
