//! `connect(2)` of TCP sockets, with data or without.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use libnet::errno;
use libnet::iface::IfIndex;
use libnet::socket::{Family, SendMsg};

use super::call::Shared;
use super::{Ends, Options, Place, Role};
use crate::family::check_ends;
use crate::inet::Inet;
use crate::output::Account;
use crate::path::{Path, Wanted};
use crate::tcp::{ConnError, ConnectFrom, FourTuple, Linger, State as TcpState, Zone};

impl Inet {
    /// `connect(2)`: begins the handshake; later calls say how it is, as on Linux.
    pub(crate) fn stream_connect(&self, socket: &Shared, remote: SocketAddr) -> io::Result<()> {
        if let Role::Connection(place, _) = socket.role() {
            return self.connect_again(socket, place);
        }
        if socket.state().deferred.is_some() {
            return Err(errno::is_connected());
        }
        let (remote, zone) = self.peer_of(socket, remote)?;
        if self.may_defer(socket, remote) {
            // The first data begin it, and go with its SYN.
            socket.state().deferred = Some(remote);
            return Ok(());
        }
        self.open(socket, remote, zone, None)?;
        // Its SYN may be answered before we knew: who waits looks again anyway.
        Err(errno::in_progress())
    }

    /// A send on a socket that is not connected: it may begin the connection.
    pub(super) fn send_and_connect(&self, socket: &Shared, msg: SendMsg<'_>) -> io::Result<usize> {
        let gather = |slices: &[IoSlice<'_>]| {
            let mut data = Vec::new();
            for slice in slices {
                let room = EARLY_BYTES_MAX - data.len();
                data.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            Bytes::from(data)
        };
        let (remote, data) = match msg {
            SendMsg::FastOpen(slices, remote) => {
                if let Role::Listening(_) = socket.role() {
                    return Err(errno::is_connected());
                }
                (remote, gather(slices))
            }
            other => {
                let Some(remote) = socket.state().deferred.take() else {
                    return Err(self.stream_error(socket).unwrap_or_else(errno::broken_pipe));
                };
                let data = match other {
                    SendMsg::Copy(slices)
                    | SendMsg::CopyTo(slices, _)
                    | SendMsg::With(slices, _) => gather(slices),
                    SendMsg::Owned(data) | SendMsg::OwnedTo(data, _) => data,
                    _ => return Err(errno::not_supported()),
                };
                (remote, data)
            }
        };
        let (remote, zone) = self.peer_of(socket, remote)?;
        self.open(socket, remote, zone, Some(data))
    }

    /// Would a connect to this server bring data with its SYN, if it waited for them?
    fn may_defer(&self, socket: &Shared, remote: SocketAddr) -> bool {
        let options = socket.state().options.conn.clone();
        options.fast_open_connect
            && self
                .engine()
                .with_shard(0, |core, now| core.tcp_mut().can_open_fast(now, remote.ip(), &options))
    }

    /// Whom an address means at this socket, and by which interface.
    fn peer_of(
        &self,
        socket: &Shared,
        remote: SocketAddr,
    ) -> io::Result<(SocketAddr, Option<IfIndex>)> {
        let given = socket.families().given(remote)?;
        let (bound_to, iface) = {
            let state = socket.state();
            (state.bound.map(|addr| addr.ip()), state.options.conn.sharing.iface)
        };
        let zone = self.wide().zone_of(given, iface)?;
        // As on Linux, the wildcard address means this host.
        let remote = if given.addr.ip().is_unspecified() {
            let four = given.addr.is_ipv4() || bound_to.is_some_and(|ip| ip.is_ipv4());
            let family = if four { Family::Inet } else { Family::Inet6 };
            SocketAddr::new(loopback_of(family), remote.port())
        } else {
            given.addr
        };
        if let Some(local) = bound_to {
            check_ends(local, remote.ip())?;
        }
        // RFC 9293 §3.9.2.3 (MUST-46): TCP has one peer.
        if self.wide().view().is_broadcast(remote.ip()) || remote.ip().is_multicast() {
            return Err(errno::net_unreachable());
        }
        if remote.port() == 0 {
            // Nobody listens there: said without asking.
            return Err(errno::refused());
        }
        Ok((remote, zone))
    }

    /// Begins the handshake, with data for its SYN if there are any; how many of them were taken.
    fn open(
        &self,
        socket: &Shared,
        remote: SocketAddr,
        zone: Option<IfIndex>,
        early_data: Option<Bytes>,
    ) -> io::Result<usize> {
        let (options, bound) = {
            let mut state = socket.state();
            match &state.role {
                Role::Fresh => state.role = Role::Opening,
                Role::Listening(_) | Role::Connection(..) => return Err(errno::is_connected()),
                Role::Opening => return Err(errno::already()),
            }
            state.options.conn.sharing.iface = zone;
            (state.options.clone(), state.bound)
        };
        let begun = self.begin(socket, &options, bound, remote, early_data);
        let mut state = socket.state();
        match begun {
            Ok((place, ends, taken)) => {
                state.role = Role::Connection(place, ends);
                (state.connecting, state.error) = (true, None);
                drop(state);
                // Another thread may have closed it meanwhile.
                if socket.id().is_none_or(|id| self.wide().sockets.get(id).is_err()) {
                    self.stream_close(socket);
                }
                Ok(taken)
            }
            Err(error) => {
                state.role = Role::Fresh;
                Err(error)
            }
        }
    }

    fn begin(
        &self,
        socket: &Shared,
        options: &Options,
        bound: Option<SocketAddr>,
        remote: SocketAddr,
        early_data: Option<Bytes>,
    ) -> io::Result<(Place, Ends, usize)> {
        let mut from = ConnectFrom {
            addr: bound.map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified()),
            port: bound.map_or(0, |addr| addr.port()),
            options: options.conn.clone(),
            token: socket.token(),
            fast_open: early_data.is_some() || options.conn.fast_open_connect,
            early_data: early_data.unwrap_or_default(),
        };
        let shard = self.shard_for(&mut from, remote)?;
        let wide = Arc::clone(self.wide());
        self.engine().with_shard(shard, |core, now| {
            let is_ours = |tuple: &FourTuple| wide.shard_of(wide.flow_of(tuple)) == shard;
            let conn = core.with_tcp(now, Account::Sender, |tcp, path| {
                tcp.connect(now, path, from, remote, &is_ours)
            })?;
            let (tuple, taken) = core.tcp().begun(conn).ok_or_else(errno::not_connected)?;
            let local = SocketAddr::new(tuple.local, tuple.local_port);
            let zone = tuple.zone.iface().or(options.conn.sharing.iface);
            Ok((Place { shard, conn }, Ends { local, remote, zone }, taken))
        })
    }

    /// The shard that a connection is to be of. With both ends given there is no choice; else one
    /// at random, and the port is chosen to fit it.
    fn shard_for(&self, from: &mut ConnectFrom, remote: SocketAddr) -> io::Result<usize> {
        let wide = self.wide();
        if wide.shards == 1 {
            return Ok(0);
        }
        if from.port == 0 {
            return Ok(wide.shard_of(wide.random_u64()));
        }
        let now = self.engine().driver().now();
        let iface = from.options.sharing.iface;
        let wanted = Wanted { dst: remote.ip(), src: from.addr, iface };
        let local = Path::find(wide, now, wanted).map_err(|no_path| no_path.to_io())?.src;
        from.addr = Some(local);
        let tuple = FourTuple {
            local,
            remote: remote.ip(),
            local_port: from.port,
            remote_port: remote.port(),
            // No part of what a flow is steered by.
            zone: Zone::NONE,
        };
        Ok(wide.shard_of(wide.flow_of(&tuple)))
    }

    /// A connect of a socket that has a connection: tells, once, how the connect before it ended.
    /// Where that failed the socket is fresh again.
    fn connect_again(&self, socket: &Shared, place: Place) -> io::Result<()> {
        if !socket.state().connecting {
            return Err(errno::is_connected());
        }
        match self.conn_state(place) {
            Some(TcpState::SynSent | TcpState::SynReceived) => Err(errno::already()),
            Some(TcpState::Closed) | None => {
                let error = self.stream_error(socket).unwrap_or_else(errno::aborted);
                self.give_up(socket, place, None);
                Err(error)
            }
            Some(_) => {
                socket.state().connecting = false;
                Ok(())
            }
        }
    }

    /// Lets go of a connection that never came to be, and of the socket's memory of it.
    pub(super) fn give_up(&self, socket: &Shared, place: Place, error: Option<ConnError>) {
        self.engine().with_shard(place.shard, |core, now| {
            core.tcp_mut().close(now, place.conn, Linger::Drain);
        });
        let mut state = socket.state();
        state.make_fresh();
        (state.connecting, state.error) = (false, error);
        socket.look_again();
    }
}

const fn loopback_of(family: Family) -> std::net::IpAddr {
    match family {
        Family::Inet6 => std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        _ => std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    }
}

/// Data that are taken for a SYN at most; the rest follows.
const EARLY_BYTES_MAX: usize = 64 << 10;
