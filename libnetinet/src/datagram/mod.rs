//! Sockets whose unit is the datagram: UDP, ping and raw. What they share is here.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use libnet::errno;
use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::socket::{Family, GroupInterface, MtuDiscovery, Protocol, Received, RecvMsg, SocketId};
use libnet::time::Instant;
use libnet::wake::{Ready, WakeSet};

use crate::address::{Cast, View};
use crate::config::{InetConfig, PathMtuDiscovery};
use crate::error::{Severity, SocketError};
use crate::family::Families;
use crate::icmp::error::IcmpError;
use crate::ip::input::IpMeta;
use crate::multicast::option::Membership;
use crate::path::Path;
use crate::wide::lock;

use self::memory::{PAGE_BYTES, UdpMemory};

pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod memory;
pub(crate) mod option;
pub(crate) mod ping;
pub(crate) mod raw;
pub(crate) mod table;
pub(crate) mod udp;

/// What a datagram socket speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// UDP, RFC 768.
    Udp,
    /// ICMP echoes, with the identifier as the port.
    Ping,
    /// A protocol of IP, header and all.
    Raw(Protocol),
}

/// A datagram socket.
pub(crate) struct DatagramSocket {
    pub(crate) kind: Kind,
    pub(crate) family: Family,
    pub(crate) wakes: WakeSet,
    id: OnceLock<SocketId>,
    /// What a UDP socket's queue is of; the others' have their own bound alone.
    memory: Option<Arc<UdpMemory>>,
    /// Rank: leaf; the stack's configuration alone is looked at under it. Guards everything that
    /// changes.
    state: Mutex<State>,
}

/// What of a datagram socket changes.
pub(crate) struct State {
    /// The bound address; its port (or identifier) is 0 until there is one.
    pub(crate) local: SocketAddr,
    /// Was an address asked for by `bind`?
    pub(crate) bound: bool,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) options: Options,
    /// The groups that it is in.
    pub(crate) memberships: Vec<Membership>,
    /// The pending error, `SO_ERROR`.
    pub(crate) error: Option<SocketError>,
    /// The way to where was last sent.
    pub(crate) path: Option<Path>,
    pub(crate) read_closed: bool,
    pub(crate) write_closed: bool,
    /// It was given up: it must not enter a table any more.
    pub(crate) closed: bool,
    /// The last interface whose queue had no room for it, so that it was told `EAGAIN`; none once
    /// any interface it waits for has room again.
    pub(crate) wants_room: Option<IfIndex>,
    /// Datagrams refused because the queue was full.
    pub(crate) overflows: u64,
    queue: VecDeque<Datagram>,
    queued_bytes: usize,
    /// Of the stack's memory, what is granted to it.
    granted_bytes: usize,
}

/// What of a datagram socket can be set.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) reuse_addr: bool,
    pub(crate) reuse_port: bool,
    pub(crate) broadcast: bool,
    pub(crate) header_included: bool,
    pub(crate) mtu_discovery: MtuDiscovery,
    /// `IPV6_CHECKSUM` of a raw socket: where the checksum stands.
    pub(crate) checksum_at: Option<u16>,
    /// Of IPv6: what does not fit is refused.
    pub(crate) dont_fragment: bool,
    pub(crate) receive_errors: bool,
    pub(crate) multicast_loop: bool,
    pub(crate) multicast_all: bool,
    /// What `IP_MULTICAST_IF` said, and which interface that is.
    pub(crate) multicast_iface: Option<(IfIndex, GroupInterface)>,
    /// TTL or hop limit, where one was set.
    pub(crate) ttl: Option<u8>,
    pub(crate) multicast_ttl: u8,
    pub(crate) tos: u8,
    pub(crate) receive_bytes: u32,
    pub(crate) send_bytes: u32,
    pub(crate) iface: Option<(IfIndex, String)>,
    pub(crate) v6_only: bool,
    pub(crate) asked_for: AskedFor,
    /// Kept and read back only: a datagram socket has nothing to keep alive,
    pub(crate) keepalive: bool,
    /// and nothing to linger for.
    pub(crate) linger: Option<Duration>,
}

impl Options {
    /// The interface that it keeps to.
    pub(crate) fn bound_to(&self) -> Option<IfIndex> {
        self.iface.as_ref().map(|(iface, _)| *iface)
    }

    /// Makes it keep to an interface of `view`, or to none.
    pub(crate) fn keep_to(&mut self, view: &View, iface: Option<IfIndex>) {
        if iface != self.bound_to() {
            let on = iface.and_then(|iface| view.iface(iface));
            self.iface = on.map(|on| (on.iface.index, on.iface.name.clone()));
        }
    }
}

/// What the caller asked to be told of each datagram. We tell all of it always.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AskedFor {
    pub(crate) ttl: bool,
    pub(crate) tos: bool,
    pub(crate) packet_info: bool,
    pub(crate) time: bool,
}

/// A datagram that waits to be received.
pub(crate) struct Datagram {
    pub(crate) data: Bytes,
    pub(crate) from: SocketAddr,
    pub(crate) to: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) iface: IfIndex,
    pub(crate) rx_at: Instant,
}

/// Where the checksum of an ICMPv6 message stands, for which it is always on (RFC 3542 §3.1).
const ICMP_CHECKSUM_AT: u16 = 2;

/// Memory for a datagram beside its data, so that empty ones are not free.
const OVERHEAD_BYTES: usize = 256;

/// What became of a datagram that was to be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// It waits in the socket.
    Queued,
    /// The socket's buffer is full.
    Full,
    /// The memory of all sockets is used up.
    NoMemory,
}

impl DatagramSocket {
    /// A socket that is bound to nothing.
    pub(crate) fn new(
        kind: Kind,
        family: Family,
        config: &InetConfig,
        memory: &Arc<UdpMemory>,
    ) -> Self {
        let icmp6 = kind == Kind::Raw(Protocol::ICMPV6) && family == Family::Inet6;
        let options = Options {
            reuse_addr: false,
            reuse_port: false,
            broadcast: false,
            header_included: kind == Kind::Raw(raw::IPPROTO_RAW),
            mtu_discovery: match config.ip.path_mtu_discovery {
                PathMtuDiscovery::On => MtuDiscovery::IfItFits,
                _ => MtuDiscovery::Never,
            },
            checksum_at: icmp6.then_some(ICMP_CHECKSUM_AT),
            dont_fragment: false,
            asked_for: AskedFor::default(),
            receive_errors: false,
            multicast_loop: true,
            multicast_all: true,
            multicast_iface: None,
            ttl: None,
            multicast_ttl: 1,
            tos: 0,
            receive_bytes: config.datagram.receive_buffer_bytes,
            send_bytes: config.datagram.receive_buffer_bytes,
            iface: None,
            // Ping and raw sockets are of one protocol, which is one family's.
            v6_only: kind != Kind::Udp || config.ipv6.v6_only,
            keepalive: false,
            linger: None,
        };
        let port = if let Kind::Raw(protocol) = kind { u16::from(protocol.0) } else { 0 };
        let state = State {
            local: SocketAddr::new(family.unspecified(), port),
            bound: false,
            remote: None,
            options,
            memberships: Vec::new(),
            error: None,
            path: None,
            read_closed: false,
            write_closed: false,
            closed: false,
            wants_room: None,
            overflows: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            granted_bytes: 0,
        };
        DatagramSocket {
            kind,
            family,
            wakes: WakeSet::new(),
            id: OnceLock::new(),
            memory: (kind == Kind::Udp).then(|| Arc::clone(memory)),
            state: Mutex::new(state),
        }
    }

    /// The protocol whose echoes a ping socket sends.
    pub(crate) const fn echo_protocol(&self) -> Protocol {
        echo_protocol(self.family)
    }

    /// The socket's number, once it is in the table.
    pub(crate) fn id(&self) -> Option<SocketId> {
        self.id.get().copied()
    }

    /// Tells it its number.
    pub(crate) fn set_id(&self, id: SocketId) {
        let _ = self.id.set(id);
    }

    /// Which families it takes.
    pub(crate) fn families(&self, options: &Options) -> Families {
        Families { own: self.family, v6_only: options.v6_only }
    }

    /// `getsockname(2)`.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        let state = self.state();
        let iface = state.options.bound_to();
        self.families(&state.options).shown(state.local, iface)
    }

    /// What changes, locked.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Puts a datagram into the queue, if there is room, and gathers who waits for it.
    pub(crate) fn deliver(
        &self,
        datagram: Datagram,
        config: impl FnOnce() -> Arc<InetConfig>,
        wakes: &mut Vec<Waker>,
    ) -> Delivery {
        let mut state = self.state();
        let cost = datagram.data.len() + OVERHEAD_BYTES;
        // An empty queue takes one datagram whatever its size.
        let full = state.queued_bytes + cost > state.options.receive_bytes as usize;
        if state.read_closed || (full && !state.queue.is_empty()) {
            state.overflows += 1;
            return Delivery::Full;
        }
        if let Some(memory) = &self.memory
            && state.queued_bytes + cost > state.granted_bytes
        {
            let pages = (state.queued_bytes + cost).next_multiple_of(PAGE_BYTES);
            let more = pages - state.granted_bytes;
            if !memory.grant(&config().datagram, state.queued_bytes, more) {
                state.overflows += 1;
                return Delivery::NoMemory;
            }
            state.granted_bytes = pages;
        }
        state.queued_bytes += cost;
        state.queue.push_back(datagram);
        drop(state);
        self.wakes.collect(Ready::READABLE, wakes);
        Delivery::Queued
    }

    /// Does the socket want what was sent to a group? RFC 3376 §3.1, RFC 3678: as its filter says.
    pub(crate) fn takes(&self, meta: &IpMeta) -> bool {
        meta.cast != Cast::Multicast || self.state().takes_group(meta.iface, meta.dst, meta.src)
    }

    /// Takes an ICMP error about a datagram of this socket.
    ///
    /// RFC 1122 §4.1.3.3: UDP MUST pass on what it hears; as Linux does it, hard errors only, and
    /// only to who has one peer, unless all were asked for.
    pub(crate) fn report(&self, error: &IcmpError, wakes: &mut Vec<Waker>) {
        let Some((meaning, severity)) = error.meaning else { return };
        let mut state = self.state();
        let wanted = state.remote.is_some() && severity == Severity::Hard;
        if !wanted && !state.options.receive_errors {
            return;
        }
        state.error = Some(meaning);
        state.path = None;
        drop(state);
        self.wakes.collect(Ready::ALL, wakes);
    }

    /// Did its last datagram go there?
    pub(crate) fn sent_last_to(&self, dst: IpAddr) -> bool {
        self.state().path.as_ref().is_some_and(|path| path.dst == dst)
    }

    /// The address that it is bound to, or speaks from, is ours no more: its next call tells of it.
    pub(crate) fn lose_address(&self, wakes: &mut Vec<Waker>) {
        let mut state = self.state();
        state.error = Some(SocketError::AddressGone);
        state.path = None;
        drop(state);
        self.wakes.collect(Ready::ALL, wakes);
    }

    /// The interface has room again.
    pub(crate) fn room_again(&self, wakes: &mut Vec<Waker>) {
        self.state().wants_room = None;
        self.wakes.collect(Ready::WRITABLE, wakes);
    }

    /// Receives the next datagram.
    ///
    /// # Errors
    /// `EAGAIN`, or the pending error.
    pub(crate) fn recv(&self, msg: RecvMsg<'_, '_>) -> io::Result<Received> {
        let mut state = self.state();
        if let Some(error) = state.error.take() {
            return Err(error.to_io());
        }
        let families = self.families(&state.options);
        if state.queue.is_empty() {
            let end = Received::stream(0);
            return if state.read_closed { Ok(end) } else { Err(errno::would_block()) };
        }
        match msg {
            RecvMsg::Copy(bufs) => {
                let datagram = self.take(&mut state);
                Ok(datagram.received(families, copy_out(&datagram.data, bufs)))
            }
            RecvMsg::Peek(bufs) => {
                let datagram = &state.queue[0];
                Ok(datagram.received(families, copy_out(&datagram.data, bufs)))
            }
            RecvMsg::Zero { max_bytes, out } => {
                let mut datagram = self.take(&mut state);
                let whole = datagram.data.len();
                let data = datagram.data.split_to(whole.min(max_bytes));
                let mut received = datagram.received(families, data.len());
                received.message_bytes = whole;
                out.push_back(data);
                Ok(received)
            }
            _ => Err(errno::not_supported()),
        }
    }

    /// Takes the first datagram out, and gives memory back once some pages are free: a socket that
    /// gets one datagram at a time keeps its page.
    fn take(&self, state: &mut State) -> Datagram {
        let datagram = state.pop();
        if let Some(memory) = &self.memory
            && state.granted_bytes - state.queued_bytes >= 2 * PAGE_BYTES
        {
            let pages = state.queued_bytes.next_multiple_of(PAGE_BYTES);
            memory.give_back(state.granted_bytes - pages);
            state.granted_bytes = pages;
        }
        datagram
    }

    /// The peer that `connect` has set; as on Linux, port 0 is none.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        let state = self.state();
        let iface = state.options.bound_to();
        let is_peer = |remote: &SocketAddr| self.kind != Kind::Udp || remote.port() != 0;
        let remote = state.remote.filter(is_peer).ok_or_else(errno::not_connected)?;
        Ok(self.families(&state.options).shown(remote, iface))
    }

    /// What a call would find now.
    pub(crate) fn ready(&self) -> Ready {
        let state = self.state();
        let mut ready = Ready::NONE;
        if !state.queue.is_empty() || state.read_closed {
            ready |= Ready::READABLE;
        }
        if state.wants_room.is_none() {
            ready |= Ready::WRITABLE;
        }
        if state.error.is_some() {
            // As on Linux: an error makes nothing readable.
            ready |= Ready::ERROR | Ready::WRITABLE;
        }
        if state.read_closed {
            ready |= Ready::READ_CLOSED;
        }
        if state.read_closed && state.write_closed {
            ready |= Ready::HANGUP;
        }
        ready
    }

    /// Closes a direction; the wakers of those who wait for it go to `wakes`.
    ///
    /// # Errors
    /// `ENOTCONN` without a peer.
    pub(crate) fn shutdown(&self, how: Shutdown, wakes: &mut Vec<Waker>) -> io::Result<()> {
        let mut state = self.state();
        if state.remote.is_none() {
            return Err(errno::not_connected());
        }
        state.read_closed |= how != Shutdown::Write;
        state.write_closed |= how != Shutdown::Read;
        drop(state);
        self.wakes.collect(Ready::ALL, wakes);
        Ok(())
    }
}

impl Drop for DatagramSocket {
    fn drop(&mut self) {
        let granted = self.state().granted_bytes;
        if let Some(memory) = &self.memory {
            memory.give_back(granted);
        }
    }
}

impl State {
    /// Bytes and datagrams that wait.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let bytes = self.queue.iter().map(|datagram| datagram.data.len()).sum();
        (bytes, self.queue.len())
    }

    fn pop(&mut self) -> Datagram {
        let datagram = self.queue.pop_front().expect("the caller looked");
        self.queued_bytes -= datagram.data.len() + OVERHEAD_BYTES;
        datagram
    }
}

impl Datagram {
    pub(crate) fn new(data: Bytes, from: SocketAddr, meta: &IpMeta, rx_at: Instant) -> Self {
        let IpMeta { dst: to, ttl, tos, iface, .. } = *meta;
        Datagram { data, from, to, ttl, tos, iface, rx_at }
    }

    fn received(&self, families: Families, bytes: usize) -> Received {
        let from = families.shown(self.from, Some(self.iface));
        let mut received = Received::datagram(bytes, self.data.len(), from);
        received.rx_at = self.rx_at;
        received.ttl = self.ttl;
        received.tos = Some(self.tos);
        received.interface = Some(self.iface.0);
        received.to = Some(families.shown_ip(self.to));
        received
    }
}

/// Up to `most` bytes of a packet behind `skip`, shared; copied where the packet is much longer than
/// what a queue counts for them, so that what is not counted is not kept.
pub(crate) fn data_of(packet: &Packet, skip: usize, most: usize) -> Bytes {
    let mut data = if packet.head().is_empty() && packet.payload().count() == 1 {
        packet.to_bytes().slice(skip..)
    } else {
        let mut packet = packet.clone();
        packet.advance(skip);
        packet.to_bytes()
    };
    data.truncate(most);
    let counted = data.len() + OVERHEAD_BYTES;
    if packet.len() > 2 * counted { Bytes::copy_from_slice(&data) } else { data }
}

/// Does a datagram from `src` pass a filter for a peer?
pub(crate) fn peer_matches(remote: Option<SocketAddr>, src: IpAddr) -> bool {
    remote.is_none_or(|remote| remote.ip() == src)
}

fn copy_out(data: &[u8], bufs: &mut [io::IoSliceMut<'_>]) -> usize {
    let mut at = 0;
    for buf in bufs {
        let n = buf.len().min(data.len() - at);
        buf[..n].copy_from_slice(&data[at..at + n]);
        at += n;
    }
    at
}

/// A shared datagram socket.
pub(crate) type Shared = Arc<DatagramSocket>;

/// The protocol of a family's echoes.
pub(crate) const fn echo_protocol(family: Family) -> Protocol {
    match family {
        Family::Inet6 => Protocol::ICMPV6,
        _ => Protocol::ICMP,
    }
}
