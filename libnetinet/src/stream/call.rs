//! The calls of the socket layer on TCP sockets.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use libnet::errno;
use libnet::landing::Forecast;
use libnet::socket::{Family, Received, RecvMsg, SendMsg, SocketId};
use libnet::wake::Ready;

use super::ports::{Claim, InUse};
use super::{Ends, OnlySix, Place, Role, State, StreamSocket, token_of};
use crate::inet::Inet;
use crate::ports::Unasked;
use crate::shard::Shard;
use crate::sockets::Socket;
use crate::tcp::{Accepted, ConnError, Linger, Listener, PortSharing, RecvInto, State as TcpState};

pub(super) type Shared = Arc<StreamSocket>;

impl From<InUse> for io::Error {
    fn from(_: InUse) -> io::Error {
        errno::addr_in_use()
    }
}

impl Inet {
    /// Makes a TCP socket.
    pub(crate) fn stream_socket(&self, family: Family) -> io::Result<SocketId> {
        let only_six = match self.wide().config().ipv6.v6_only {
            true => OnlySix::Yes,
            false => OnlySix::No,
        };
        self.add_stream(StreamSocket::new(family, only_six)).map(|(id, _)| id)
    }

    fn add_stream(&self, socket: StreamSocket) -> io::Result<(SocketId, Shared)> {
        let socket = Arc::new(socket);
        let id = self.wide().sockets.add(Socket::Stream(Arc::clone(&socket)))?;
        socket.set_id(id);
        Ok((id, socket))
    }

    /// `bind(2)`.
    pub(crate) fn stream_bind(&self, socket: &Shared, addr: SocketAddr) -> io::Result<()> {
        let given = socket.families().given_to_bind(addr)?;
        let zone = self.wide().zone_of(given, socket.state().options.conn.sharing.iface)?;
        let addr = given.addr;
        if socket.family == Family::Inet6 && socket.state().bound.is_some() {
            // As on Linux, which looks at the address first for IPv4.
            return Err(errno::invalid());
        }
        if !self.wide().view().may_bind(addr.ip(), zone) {
            return Err(errno::addr_not_available());
        }
        let may_bind = |state: &State| {
            let fresh = state.bound.is_none() && matches!(state.role, Role::Fresh);
            if fresh { Ok(()) } else { Err(errno::invalid()) }
        };
        let sharing = {
            let state = socket.state();
            may_bind(&state)?;
            PortSharing { iface: zone, ..state.options.conn.sharing }
        };
        let addr = self.claim(socket, addr, sharing)?;
        let mut state = socket.state();
        // Another thread may have been quicker.
        if let Err(error) = may_bind(&state) {
            self.wide().stream_ports.release(addr, socket);
            return Err(error);
        }
        state.bound = Some(addr);
        state.options.conn.sharing.iface = zone;
        Ok(())
    }

    /// Claims an address for a socket, whose lock is not held: of other sockets first, then of the
    /// connections that hold the port without one.
    fn claim(
        &self,
        socket: &Shared,
        wanted: SocketAddr,
        sharing: PortSharing,
    ) -> io::Result<SocketAddr> {
        let wide = self.wide();
        for _ in 0..CLAIM_TRIES {
            let mut addr = wanted;
            let claim = Claim { addr, sharing, socket: Arc::clone(socket) };
            if wanted.port() == 0 {
                let config = wide.config();
                let ports = &config.tcp.ephemeral_ports;
                let unasked = Unasked {
                    first: *ports.start(),
                    last: *ports.end(),
                    reserved: &config.tcp.reserved_ports,
                };
                addr.set_port(wide.stream_ports.bind_any(claim, unasked, wide.random_u64())?);
            } else {
                wide.stream_ports.bind(claim)?;
            }
            let held = (0..self.engine().shard_count()).any(|shard| {
                self.engine().with_shard(shard, |core, _| core.tcp().holds_port(addr, sharing))
            });
            if !held {
                return Ok(addr);
            }
            wide.stream_ports.release(addr, socket);
            if wanted.port() != 0 {
                break;
            }
        }
        Err(errno::addr_in_use())
    }

    /// `listen(2)`: a socket that is not bound gets any port on all addresses.
    pub(crate) fn stream_listen(&self, socket: &Shared, backlog: u32) -> io::Result<()> {
        let backlog = backlog.min(self.wide().config().tcp.backlog_max);
        let unbound = {
            let state = socket.state();
            let fresh = state.bound.is_none() && matches!(state.role, Role::Fresh);
            fresh.then_some(state.options.conn.sharing)
        };
        if let Some(sharing) = unbound {
            let any = SocketAddr::new(socket.family.unspecified(), 0);
            let addr = self.claim(socket, any, sharing)?;
            let mut state = socket.state();
            if state.bound.is_none() && matches!(state.role, Role::Fresh) {
                state.bound = Some(addr);
            } else {
                self.wide().stream_ports.release(addr, socket);
            }
        }
        let mut state = socket.state();
        match &state.role {
            Role::Fresh => {}
            Role::Listening(listener) => {
                listener.set_backlog(backlog);
                return Ok(());
            }
            Role::Connection(..) | Role::Opening => return Err(errno::invalid()),
        }
        // Only a close from another thread takes it away again.
        let addr = state.bound.ok_or_else(errno::bad_descriptor)?;
        self.wide().stream_ports.listen(addr, socket)?;
        let options = state.options.conn.clone();
        let listener = Arc::new(Listener::new(addr, backlog, socket.token(), options));
        state.role = Role::Listening(Arc::clone(&listener));
        drop(state);
        for shard in 0..self.engine().shard_count() {
            let listener = Arc::clone(&listener);
            self.engine().with_shard(shard, |core, _| core.tcp_mut().add_listener(listener));
        }
        Ok(())
    }

    /// `accept(2)`.
    pub(crate) fn stream_accept(&self, socket: &Shared) -> io::Result<(SocketId, SocketAddr)> {
        let (listener, mut options) = {
            let state = socket.state();
            let Role::Listening(listener) = &state.role else { return Err(errno::invalid()) };
            (Arc::clone(listener), state.options.clone())
        };
        if listener.waiting() > 0 && self.wide().sockets.is_full() {
            // The connection goes on waiting, as on Linux.
            return Err(errno::too_many());
        }
        let accepted = listener.accept().ok_or_else(errno::would_block)?;
        let place = Place { shard: accepted.shard as usize, conn: accepted.id };
        let (zone, conn) = self.engine().with_shard(place.shard, |core, _| {
            let conn = core.tcp().get(place.conn);
            conn.map(|conn| (conn.tuple().zone.iface(), conn.options().clone())).unzip()
        });
        let zone = zone.flatten();
        // As on Linux: those that the listener had when the handshake ended.
        options.conn = conn.unwrap_or(options.conn).of_connection();
        let ends = Ends { local: accepted.local, remote: accepted.remote, zone };
        let role = Role::Connection(place, ends);
        let families = socket.families_by(&options);
        let inherited = options.conn.clone();
        let added = self.add_stream(StreamSocket::with(socket.family, role, options));
        let (id, _) = match added {
            Ok(added) => added,
            Err(error) => {
                self.abort_accepted([accepted]);
                return Err(error);
            }
        };
        self.engine().with_shard(place.shard, |core, now| {
            let tcp = core.tcp_mut();
            tcp.set_options(now, place.conn, inherited);
            tcp.set_token(place.conn, token_of(id));
        });
        Ok((id, families.shown(accepted.remote, zone)))
    }

    fn abort_accepted(&self, accepted: impl IntoIterator<Item = Accepted>) {
        for Accepted { shard, id, .. } in accepted {
            self.engine().with_shard(shard as usize, |core, now| core.tcp_mut().abort(now, id));
        }
    }

    pub(super) fn conn_state(&self, place: Place) -> Option<TcpState> {
        let state = |core: &mut Shard| core.tcp().get(place.conn).map(|conn| conn.state());
        self.engine().with_shard(place.shard, |core, _| state(core))
    }

    /// `send(2)`; an address is ignored on a connection, as on Linux.
    pub(crate) fn stream_send(&self, socket: &Shared, msg: SendMsg<'_>) -> io::Result<usize> {
        let Role::Connection(place, _) = socket.role() else {
            return self.send_and_connect(socket, msg);
        };
        self.engine().with_shard(place.shard, |core, now| {
            let tcp = core.tcp_mut();
            let sent = match msg {
                SendMsg::Copy(slices) | SendMsg::CopyTo(slices, _) | SendMsg::With(slices, _) => {
                    tcp.send(now, place.conn, slices)
                }
                SendMsg::Owned(mut data) | SendMsg::OwnedTo(mut data, _) => {
                    tcp.send_shared(now, place.conn, &mut data)
                }
                SendMsg::Urgent(slices) => tcp.send_urgent(now, place.conn, slices),
                SendMsg::FastOpen(..) => return Err(errno::is_connected()),
                _ => return Err(errno::not_supported()),
            };
            Ok(sent?)
        })
    }

    /// `recv(2)`.
    pub(crate) fn stream_recv(
        &self,
        socket: &Shared,
        msg: RecvMsg<'_, '_>,
    ) -> io::Result<Received> {
        if socket.is_known_empty() && !matches!(msg, RecvMsg::Urgent(_)) {
            return Err(errno::would_block());
        }
        let place = match socket.role() {
            Role::Connection(place, _) => place,
            Role::Fresh if matches!(msg, RecvMsg::Urgent(_)) => return Err(errno::invalid()),
            // As on Linux: the connect has begun.
            Role::Fresh if socket.state().deferred.is_some() => return Err(errno::would_block()),
            _ => return Err(self.stream_error(socket).unwrap_or_else(errno::not_connected)),
        };
        let into = match msg {
            RecvMsg::Urgent(slices) => {
                let received = self.engine().with_shard(place.shard, |core, now| {
                    core.tcp_mut().recv_urgent(now, place.conn, slices)
                });
                return Ok(Received::stream(received?));
            }
            RecvMsg::Copy(slices) => RecvInto::Copy(slices),
            RecvMsg::Peek(slices) => RecvInto::Peek(slices),
            RecvMsg::Zero { max_bytes, out } => RecvInto::Take { max_bytes, out },
            _ => return Err(errno::not_supported()),
        };
        let received = self.engine().with_shard(place.shard, |core, now| {
            let received = core.tcp_mut().recv(now, place.conn, into);
            if core.tcp().get(place.conn).is_some_and(|conn| conn.has_nothing_to_read()) {
                socket.know_empty();
            }
            received
        });
        Ok(Received::stream(received?))
    }

    /// What the frame with a connection's next bytes looks like.
    pub(crate) fn stream_forecast(&self, socket: &Shared) -> Option<Forecast> {
        let Role::Connection(place, _) = socket.role() else { return None };
        self.engine().with_shard(place.shard, |core, _| {
            core.tcp().get(place.conn)?.forecast(place.shard, place.conn.to_bits())
        })
    }

    /// `sockatmark(3)`.
    pub(crate) fn stream_is_at_mark(&self, socket: &Shared) -> bool {
        let Role::Connection(place, _) = socket.role() else { return false };
        let at_mark = |core: &mut Shard| core.tcp().get(place.conn).is_some_and(|c| c.is_at_mark());
        self.engine().with_shard(place.shard, |core, _| at_mark(core))
    }

    /// `shutdown(2)`. A listener that is shut down for reading stops listening, as on Linux.
    pub(crate) fn stream_shutdown(&self, socket: &Shared, how: Shutdown) -> io::Result<()> {
        let (read, write) = match how {
            Shutdown::Read => (true, false),
            Shutdown::Write => (false, true),
            Shutdown::Both => (true, true),
        };
        match socket.role() {
            Role::Fresh | Role::Opening => Err(errno::not_connected()),
            Role::Listening(listener) => {
                if read {
                    socket.state().make_fresh();
                    self.stop_listening(&listener);
                    self.wake_all(socket);
                }
                Ok(())
            }
            Role::Connection(place, _) if self.conn_state(place) == Some(TcpState::SynSent) => {
                // As on Linux, in either direction; RFC 9293 §3.10.4: delete the block.
                self.give_up(socket, place, Some(ConnError::Reset));
                self.wake_all(socket);
                Ok(())
            }
            Role::Connection(place, _) => self.engine().with_shard(place.shard, |core, now| {
                let tcp = core.tcp_mut();
                if tcp.get(place.conn).is_none_or(|conn| conn.state() == TcpState::Closed) {
                    return Err(errno::not_connected());
                }
                if read {
                    tcp.shutdown_read(now, place.conn);
                }
                if write {
                    tcp.shutdown_write(now, place.conn)?;
                }
                Ok(())
            }),
        }
    }

    /// `close(2)`.
    pub(crate) fn stream_close(&self, socket: &Shared) {
        let (role, bound, linger) = {
            let mut state = socket.state();
            let role = std::mem::replace(&mut state.role, Role::Fresh);
            (role, state.bound.take(), state.options.linger)
        };
        match role {
            Role::Fresh | Role::Opening => {}
            Role::Listening(listener) => self.stop_listening(&listener),
            Role::Connection(place, _) => {
                let abort = linger == Some(Duration::ZERO);
                let linger = if abort { Linger::Abort } else { Linger::Drain };
                self.engine().with_shard(place.shard, |core, now| {
                    core.tcp_mut().close(now, place.conn, linger);
                });
            }
        }
        if let Some(addr) = bound {
            self.wide().stream_ports.release(addr, socket);
        }
    }

    fn wake_all(&self, socket: &Shared) {
        let mut wakes = Vec::new();
        socket.wakes.collect(Ready::ALL, &mut wakes);
        wakes.into_iter().for_each(Waker::wake);
    }

    fn stop_listening(&self, listener: &Arc<Listener>) {
        for shard in 0..self.engine().shard_count() {
            self.engine().with_shard(shard, |core, _| core.tcp_mut().remove_listener(listener));
        }
        self.abort_accepted(listener.close());
    }

    /// Resets its connection, if it has one.
    pub(crate) fn stream_abort(&self, socket: &Shared) -> bool {
        let Role::Connection(place, _) = socket.role() else { return false };
        self.engine().with_shard(place.shard, |core, now| {
            let is_there = core.tcp().get(place.conn).is_some();
            core.tcp_mut().abort(now, place.conn);
            is_there
        })
    }

    /// Resets every connection, as when the stack goes away.
    pub fn reset_all(&self) {
        for shard in 0..self.engine().shard_count() {
            self.engine().with_shard(shard, |core, now| core.tcp_mut().abort_all(now));
        }
    }
}

/// Ports tried, one after the other, for a socket that is to have any.
const CLAIM_TRIES: usize = 1_000;
