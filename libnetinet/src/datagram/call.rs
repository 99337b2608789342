//! What a caller asks of a datagram socket: bind, connect, send, close.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use libnet::errno;
use libnet::iface::IfIndex;
use libnet::socket::{Family, GroupInterface, SendControl, SendMsg, SocketOption};
use libnet::time::Instant;

use super::build::build;
use super::table::{Binding, PortTable};
use super::{DatagramSocket, Kind, Options, Shared, State};
use crate::counters::bump;
use crate::family::check_ends;
use crate::inet::Inet;
use crate::ipv4::header::MAX_PACKET_BYTES;
use crate::output::Account;
use crate::path::{Path, Reach, Wanted};
use crate::ports::{PortSet, Unasked};
use crate::shard::Shard;
use crate::steer::COMMON;
use crate::wide::Wide;

impl Inet {
    /// `bind(2)`.
    pub(crate) fn datagram_bind(&self, socket: &Shared, addr: SocketAddr) -> io::Result<()> {
        let wide = self.wide();
        let mut state = socket.state();
        let given = socket.families(&state.options).given_to_bind(addr)?;
        let zone = wide.zone_of(given, state.options.bound_to())?;
        let addr = given.addr;
        let has_port = !matches!(socket.kind, Kind::Raw(_));
        if socket.family == Family::Inet6 && has_port && state.local.port() != 0 {
            // As on Linux, which looks at the address first for IPv4.
            return Err(errno::invalid());
        }
        let view = wide.view();
        let ip = addr.ip();
        if !(view.may_bind(ip, zone) || view.is_broadcast(ip) || ip.is_multicast()) {
            return Err(errno::addr_not_available());
        }
        if has_port && state.local.port() != 0 {
            return Err(errno::invalid());
        }
        state.path = None;
        state.options.keep_to(&view, zone);
        if !has_port {
            state.local.set_ip(ip);
            state.bound = true;
            return Ok(());
        }
        drop(state);
        take_port(wide, socket, addr)?;
        socket.state().bound = true;
        Ok(())
    }

    /// `connect(2)`: fixes the peer, and the source address towards it.
    pub(crate) fn datagram_connect(&self, socket: &Shared, addr: SocketAddr) -> io::Result<()> {
        let wide = self.wide();
        let mut state = socket.state();
        let given = socket.families(&state.options).given_to_send(addr)?;
        let zone = wide.zone_of(given, state.options.bound_to())?;
        let dst = or_ourselves(given.addr.ip());
        if state.bound {
            check_ends(state.local.ip(), dst)?;
        }
        state.options.keep_to(&wide.view(), zone);
        let (mut local, options, bound) = (state.local, state.options.clone(), state.bound);
        drop(state);
        let now = self.engine().driver().now();
        let src = (!local.ip().is_unspecified() && bound).then_some(local.ip());
        let path = find_path(wide, now, dst, src, &options)?;
        if local.port() == 0 {
            let any = SocketAddr::new(local.ip(), 0);
            local = take_port(wide, socket, any)?;
        }
        let remote_port = if socket.kind == Kind::Udp { addr.port() } else { 0 };
        let remote = SocketAddr::new(dst, remote_port);
        let mut state = socket.state();
        if state.closed {
            return Err(errno::bad_descriptor());
        }
        let old = binding(socket, &state);
        if !bound || local.ip().is_unspecified() {
            state.local.set_ip(path.src);
        }
        state.remote = Some(remote);
        state.path = Some(path);
        let new = binding(socket, &state);
        drop(state);
        self.move_binding(socket, new, &old);
        Ok(())
    }

    /// `send(2)` and `sendto(2)`.
    pub(crate) fn datagram_send(&self, socket: &Shared, msg: SendMsg<'_>) -> io::Result<usize> {
        let (data, control) = match msg {
            SendMsg::Copy(bufs) => (gather(bufs)?, SendControl::to(None)),
            SendMsg::CopyTo(bufs, to) => (gather(bufs)?, SendControl::to(Some(to))),
            SendMsg::Owned(data) => (data, SendControl::to(None)),
            SendMsg::OwnedTo(data, to) => (data, SendControl::to(Some(to))),
            SendMsg::With(bufs, control) => (gather(bufs)?, control),
            _ => return Err(errno::not_supported()),
        };
        let len = data.len();
        if len > MAX_PACKET_BYTES {
            return Err(errno::message_too_long());
        }
        let (packet, mut path) = self.prepare(socket, data, control)?;
        let known = path.neighbour.is_some();
        self.engine().with_shard(COMMON as usize, |shard, now| {
            shard.send_datagram(now, socket, &mut path, packet)
        })?;
        let usual = control.from.is_none() && control.interface.is_none();
        if !known && usual && path.neighbour.is_some() {
            let mut state = socket.state();
            if state.path.as_ref().is_none_or(|old| old.dst == path.dst) {
                state.path = Some(path);
            }
        }
        Ok(len)
    }

    /// `close(2)`.
    pub(crate) fn datagram_close(&self, socket: &Shared) {
        let wide = self.wide();
        let mut state = socket.state();
        let old = binding(socket, &state);
        state.read_closed = true;
        state.write_closed = true;
        state.closed = true;
        state.path = None;
        drop(state);
        self.leave_all_groups(socket);
        match table_of(wide, socket.kind) {
            Some(table) => table.remove(&old),
            None => wide.raw.remove(socket),
        }
    }

    /// Sets an option; who may share the port, and by which interface, holds from now on.
    pub(crate) fn datagram_set_option(
        &self,
        socket: &Shared,
        option: SocketOption,
    ) -> io::Result<()> {
        if let Some(done) = self.datagram_group_option(socket, &option) {
            return done;
        }
        let old = binding(socket, &socket.state());
        socket.set_option(self.wide(), option)?;
        let new = binding(socket, &socket.state());
        let same = (new.iface, new.reuse_addr, new.reuse_port)
            == (old.iface, old.reuse_addr, old.reuse_port);
        if !same && old.local.port() != 0 {
            self.move_binding(socket, new, &old);
        }
        Ok(())
    }

    /// `IP_MTU`: of the path to the peer.
    ///
    /// # Errors
    /// `ENOTCONN` without a peer; as [`Path::find`] gives them.
    pub(crate) fn datagram_path_mtu(&self, socket: &Shared) -> io::Result<u32> {
        let state = socket.state();
        let remote = state.remote.ok_or_else(errno::not_connected)?;
        let (src, options) = (state.local.ip(), state.options.clone());
        drop(state);
        let now = self.engine().driver().now();
        let src = (!src.is_unspecified()).then_some(src);
        find_path(self.wide(), now, remote.ip(), src, &options).map(|path| path.mtu)
    }

    /// Puts a socket into another place of its table, unless it was closed meanwhile.
    fn move_binding(&self, socket: &Shared, new: Binding, old: &Binding) {
        let Some(table) = table_of(self.wide(), socket.kind) else { return };
        table.rebind(new.clone(), old);
        if socket.state().closed {
            table.remove(&new);
        }
    }

    /// Finds the way and builds the packet.
    fn prepare(
        &self,
        socket: &Shared,
        data: Bytes,
        control: SendControl,
    ) -> io::Result<(libnet::Packet, Path)> {
        let wide = self.wide();
        let now = self.engine().driver().now();
        let mut state = socket.state();
        let (remote, control) = receiver(socket, &state, control)?;
        if socket.kind == Kind::Udp && remote.port() == 0 {
            return Err(errno::invalid());
        }
        if state.local.port() == 0 {
            let any = SocketAddr::new(state.local.ip(), 0);
            drop(state);
            take_port(wide, socket, any)?;
            state = socket.state();
        }
        let dst = or_ourselves(remote.ip());
        if state.bound {
            check_ends(state.local.ip(), dst)?;
        }
        let state = &mut *state;
        let (options, from) = self.with_control(&state.options, control)?;
        let usual = from.is_none() && control.interface.is_none();
        let cached =
            state.path.as_ref().filter(|path| usual && path.dst == dst && path.is_valid(wide, now));
        let path = match cached {
            Some(path) => path.clone(),
            None => {
                let local = state.local.ip();
                let fixed = state.bound || state.remote.is_some();
                let usable = fixed && !local.is_unspecified() && wide.view().is_local(local);
                let src = from.or(usable.then_some(local));
                let path = find_path(wide, now, dst, src, &options)?;
                wide.sent_to.note(dst);
                if usual {
                    state.path = Some(path.clone());
                }
                path
            }
        };
        check_broadcast(&path, &options)?;
        // As on Linux, whether there is a way comes first.
        if let Some(error) = state.error.take() {
            return Err(error.to_io());
        }
        if state.write_closed {
            return Err(errno::broken_pipe());
        }
        let port = state.local.port();
        let packet = build(wide, socket.kind, &options, port, remote, &path, data)?;
        if socket.kind == Kind::Udp {
            bump(&wide.counters.udp_out);
        }
        Ok((packet, path))
    }
}

impl Inet {
    /// The socket's options with what a message changes in them, and where that comes from.
    fn with_control<'a>(
        &self,
        options: &'a Options,
        control: SendControl,
    ) -> io::Result<(Cow<'a, Options>, Option<IpAddr>)> {
        if control == SendControl::to(control.to) {
            return Ok((Cow::Borrowed(options), None));
        }
        let wide = self.wide();
        if control.ttl == Some(0) {
            return Err(errno::invalid());
        }
        // ip(7), IP_PKTINFO: a source that is not ours, and an interface that is not there.
        let from = control.from.map(|from| from.to_canonical());
        if from.is_some_and(|from| !wide.view().is_local(from)) {
            return Err(errno::invalid());
        }
        let mut options = options.clone();
        options.tos = control.tos.unwrap_or(options.tos);
        options.ttl = control.ttl.or(options.ttl);
        options.multicast_ttl = control.ttl.unwrap_or(options.multicast_ttl);
        if let Some(index) = control.interface {
            let index = IfIndex(index);
            let iface = self.engine().interface(index).ok_or_else(errno::no_device)?;
            options.iface = Some((index, iface.name.clone()));
        }
        Ok((Cow::Owned(options), from))
    }
}

impl Shard {
    /// Sends a datagram if its interface has room, else remembers who wants to know of room.
    fn send_datagram(
        &mut self,
        now: Instant,
        socket: &Shared,
        path: &mut Path,
        packet: libnet::Packet,
    ) -> io::Result<()> {
        let iface = path.iface.index;
        if !self.has_room(iface) {
            if socket.state().wants_room.replace(iface) != Some(iface) {
                self.wait_for_room(iface, socket);
            }
            return Err(errno::would_block());
        }
        self.send_ip(now, path, packet, Account::Sender);
        Ok(())
    }
}

/// Gives a socket its port: the one asked for, or any. Where it is now.
fn take_port(wide: &Wide, socket: &Shared, addr: SocketAddr) -> io::Result<SocketAddr> {
    let Some(table) = table_of(wide, socket.kind) else { return Ok(addr) };
    let mut new = binding(socket, &socket.state());
    new.local = addr;
    let config = wide.config();
    let config = &config.datagram;
    let none = PortSet::default();
    let unasked = match socket.kind {
        // They are identifiers of echo requests.
        Kind::Ping => Unasked { first: 1, last: u16::MAX, reserved: &none },
        _ => Unasked {
            first: config.first_ephemeral_port,
            last: config.last_ephemeral_port,
            reserved: &config.reserved_ports,
        },
    };
    let mut local = addr;
    let taken = match addr.port() {
        0 => table.bind_any(new, unasked, wide.random_u64()).map(|port| local.set_port(port)),
        _ => table.bind(new),
    };
    taken.map_err(|_| errno::addr_in_use())?;
    let mut state = socket.state();
    if state.closed {
        let mut ours = binding(socket, &state);
        ours.local = local;
        drop(state);
        table.remove(&ours);
        return Err(errno::bad_descriptor());
    }
    if state.local.port() != 0 {
        // Another thread was quicker: what we took is given back.
        let mut ours = binding(socket, &state);
        ours.local = local;
        let theirs = state.local;
        drop(state);
        table.rebind(Binding { local: theirs, ..ours.clone() }, &ours);
        return Ok(theirs);
    }
    state.local = local;
    Ok(local)
}

/// The socket's place in its table, as its state has it.
fn binding(socket: &Shared, state: &State) -> Binding {
    Binding {
        local: state.local,
        remote: state.remote,
        iface: state.options.bound_to(),
        reuse_addr: state.options.reuse_addr,
        reuse_port: state.options.reuse_port,
        both_families: socket.families(&state.options).both(),
        socket: Arc::clone(socket),
    }
}

fn table_of(wide: &Wide, kind: Kind) -> Option<&PortTable> {
    match kind {
        Kind::Udp => Some(&wide.udp),
        Kind::Ping => Some(&wide.ping),
        Kind::Raw(_) => None,
    }
}

fn find_path(
    wide: &Wide,
    now: Instant,
    dst: IpAddr,
    src: Option<IpAddr>,
    options: &Options,
) -> io::Result<Path> {
    // RFC 1122 §3.2.1.3: broadcast and group addresses are no source.
    let view = wide.view();
    let src = src.filter(|&src| !src.is_multicast() && !view.is_broadcast(src));
    let mut iface = options.bound_to();
    let mut src = src;
    if let Some((chosen, how)) = options.multicast_iface.filter(|_| dst.is_multicast()) {
        iface = iface.or(Some(chosen));
        if let GroupInterface::Address(addr) = how {
            // ip(7): it is the source, too, of a socket that is bound to none.
            src = src.or(Some(IpAddr::V4(addr)).filter(|addr| view.is_local(*addr)));
        }
    }
    let wanted = Wanted { dst, src, iface };
    let mut path = Path::find(wide, now, wanted).map_err(|none| none.to_io())?;
    path.loops_back = options.multicast_loop;
    check_broadcast(&path, options)?;
    Ok(path)
}

/// RFC 1122 §4.1.4: who does not mean it cannot send to all.
fn check_broadcast(path: &Path, options: &Options) -> io::Result<()> {
    let allowed = path.reach != Reach::Broadcast || options.broadcast;
    if allowed { Ok(()) } else { Err(errno::access()) }
}

/// To whom a message goes, and by which interface if its address tells.
fn receiver(
    socket: &DatagramSocket,
    state: &State,
    mut control: SendControl,
) -> io::Result<(SocketAddr, SendControl)> {
    let Some(to) = control.to else {
        return Ok((state.remote.ok_or_else(errno::destination_required)?, control));
    };
    let given = socket.families(&state.options).given_to_send(to)?;
    if let Some(IfIndex(zone)) = given.zone {
        let others = [control.interface, state.options.bound_to().map(|iface| iface.0)];
        if others.into_iter().flatten().any(|iface| iface != zone) {
            return Err(errno::invalid());
        }
        control.interface = Some(zone);
    }
    Ok((given.addr, control))
}

/// As a destination, Linux takes the unspecified address for ourselves.
fn or_ourselves(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        addr => addr,
    }
}

/// One buffer of a caller's many.
fn gather(bufs: &[io::IoSlice<'_>]) -> io::Result<Bytes> {
    if let [one] = bufs {
        if one.len() > MAX_PACKET_BYTES {
            return Err(errno::message_too_long());
        }
        return Ok(Bytes::copy_from_slice(one));
    }
    let len = bufs.iter().map(|buf| buf.len()).fold(0, usize::saturating_add);
    if len > MAX_PACKET_BYTES {
        return Err(errno::message_too_long());
    }
    let mut all = BytesMut::with_capacity(len);
    bufs.iter().for_each(|buf| all.extend_from_slice(buf));
    Ok(all.freeze())
}
