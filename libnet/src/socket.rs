//! The socket layer's vocabulary and the `Domain` that every address family's provider fills.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Bytes;

use crate::errno;
use crate::landing::Forecast;
use crate::time::Instant;
use crate::wake::{Ready, Registration};
use std::collections::VecDeque;
use std::task::Waker;

mod auth;
mod fast_open;
mod info;
mod multicast;

pub use auth::{AoAlgorithm, AoKey, Md5Key};
pub use fast_open::FastOpenKeys;
pub use info::{CaState, TcpAgreed, TcpInfo, TcpState};
pub use multicast::{FilterMode, GroupInterface, MulticastGroup, SourceFilter};

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Family {
    /// `PF_INET`.
    Inet,
    /// `PF_INET6`.
    Inet6,
}

impl Family {
    /// The family of an address.
    pub const fn of(addr: &IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Family::Inet,
            IpAddr::V6(_) => Family::Inet6,
        }
    }

    /// The wildcard address of the family.
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Family::Inet => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            Family::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Inet => "PF_INET",
            Family::Inet6 => "PF_INET6",
        })
    }
}

/// A socket's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SockType {
    /// `SOCK_STREAM`.
    Stream,
    /// `SOCK_DGRAM`.
    Datagram,
    /// `SOCK_RAW`.
    Raw,
}

/// An IP protocol number. Source: IANA "Assigned Internet Protocol Numbers".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Protocol(pub u8);

impl Protocol {
    /// The type's usual one: TCP for streams, UDP for datagrams.
    pub const DEFAULT: Protocol = Protocol(0);
    /// ICMP, RFC 792.
    pub const ICMP: Protocol = Protocol(1);
    /// IGMP, RFC 3376.
    pub const IGMP: Protocol = Protocol(2);
    /// TCP, RFC 9293.
    pub const TCP: Protocol = Protocol(6);
    /// UDP, RFC 768.
    pub const UDP: Protocol = Protocol(17);
    /// ICMPv6, RFC 4443.
    pub const ICMPV6: Protocol = Protocol(58);
}

/// A socket of a domain. The generation makes a stale one an error (`EBADF`), not another socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SocketId {
    /// Slot in the domain's table.
    pub index: u32,
    /// Which use of the slot.
    pub generation: u32,
}

/// What to send, and to whom.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendMsg<'a> {
    /// Copied out of the caller's buffers, which are one message to a datagram socket.
    Copy(&'a [IoSlice<'a>]),
    /// Taken as it is, without a copy.
    Owned(Bytes),
    /// As `Copy`, to an address (`sendto`).
    CopyTo(&'a [IoSlice<'a>], SocketAddr),
    /// As `Owned`, to an address.
    OwnedTo(Bytes, SocketAddr),
    /// As `Copy`, with what holds for this message alone (`sendmsg(2)` with control messages).
    With(&'a [IoSlice<'a>], SendControl),
    /// As `Copy`, of a stream; the last byte is urgent (`MSG_OOB`).
    Urgent(&'a [IoSlice<'a>]),
    /// As `Copy`, of a stream that is not connected: connects, and sends the data with the SYN if
    /// it may (`MSG_FASTOPEN`, RFC 7413).
    FastOpen(&'a [IoSlice<'a>], SocketAddr),
}

/// What holds for one message alone; `None`: as the socket has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SendControl {
    /// Where it goes, as `sendto(2)`.
    pub to: Option<SocketAddr>,
    /// Traffic class octet: DSCP and ECN (`IP_TOS`, `IPV6_TCLASS`).
    pub tos: Option<u8>,
    /// TTL or hop limit, 1..=255 (`IP_TTL`, `IPV6_HOPLIMIT`).
    pub ttl: Option<u8>,
    /// Which of our addresses it comes from (`IP_PKTINFO`, `IPV6_PKTINFO`).
    pub from: Option<IpAddr>,
    /// The index of the interface that it leaves by (`IP_PKTINFO`, `IPV6_PKTINFO`).
    pub interface: Option<u32>,
}

impl SendControl {
    /// All as the socket has it, to an address if that is given.
    pub fn to(to: Option<SocketAddr>) -> Self {
        SendControl { to, ..SendControl::default() }
    }
}

/// Where received bytes go.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvMsg<'a, 'b> {
    /// Copied into the caller's buffers.
    Copy(&'a mut [IoSliceMut<'b>]),
    /// Copied, and left in the queue (`MSG_PEEK`).
    Peek(&'a mut [IoSliceMut<'b>]),
    /// Handed over without a copy: of a stream up to `max_bytes`, of a datagram socket one message.
    Zero {
        /// Upper bound on what is handed over, in bytes.
        max_bytes: usize,
        /// Receives the buffers, in order.
        out: &'a mut VecDeque<Bytes>,
    },
    /// The urgent byte of a stream, where it is kept out of line (`MSG_OOB`).
    Urgent(&'a mut [IoSliceMut<'b>]),
}

/// What a receive brought.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Received {
    /// Bytes stored in the caller's buffers.
    pub bytes: usize,
    /// Bytes of the message, which a short buffer cut (`MSG_TRUNC`); same as `bytes` for streams.
    pub message_bytes: usize,
    /// Who sent it; `None` for streams.
    pub from: Option<SocketAddr>,
    /// When the link received it; `ZERO` where that is not known (see
    /// [`SocketOption::ReceiveTime`]).
    pub rx_at: Instant,
    /// TTL or hop limit of the datagram; 0 where it is not known (see
    /// [`SocketOption::ReceiveTtl`]).
    pub ttl: u8,
    /// Traffic class octet of the datagram: DSCP and ECN (see [`SocketOption::ReceiveTos`]).
    pub tos: Option<u8>,
    /// To which of our addresses it was sent (see [`SocketOption::ReceivePacketInfo`]).
    pub to: Option<IpAddr>,
    /// The index of the interface that it came by (see [`SocketOption::ReceivePacketInfo`]).
    pub interface: Option<u32>,
}

impl Received {
    /// `bytes` of a stream.
    pub const fn stream(bytes: usize) -> Self {
        Received {
            bytes,
            message_bytes: bytes,
            from: None,
            rx_at: Instant::ZERO,
            ttl: 0,
            tos: None,
            to: None,
            interface: None,
        }
    }

    /// A whole datagram.
    pub const fn datagram(bytes: usize, message_bytes: usize, from: SocketAddr) -> Self {
        Received { message_bytes, from: Some(from), ..Received::stream(bytes) }
    }

    /// Was the message cut to what the buffers hold?
    pub const fn is_truncated(&self) -> bool {
        self.message_bytes > self.bytes
    }
}

/// What is done with datagrams that are longer than the path's MTU. Source: `ip(7)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum MtuDiscovery {
    /// `IP_PMTUDISC_DONT`: DF is never set; they are fragmented, here or on the way.
    Never,
    /// `IP_PMTUDISC_WANT`: DF is set on what fits; they are fragmented here.
    #[default]
    IfItFits,
    /// `IP_PMTUDISC_DO`: DF is set; they are refused with `EMSGSIZE`.
    Always,
    /// `IP_PMTUDISC_PROBE`: DF is set, and only the interface's MTU counts.
    Probe,
}

/// A socket option with its value. Names as in `socket(7)`, `ip(7)`, `tcp(7)`, `udp(7)`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SocketOption {
    /// `SO_REUSEADDR`.
    ReuseAddr(bool),
    /// `SO_REUSEPORT`.
    ReusePort(bool),
    /// `SO_BROADCAST`.
    Broadcast(bool),
    /// `SO_KEEPALIVE`.
    KeepAlive(bool),
    /// `SO_SNDBUF`, bytes.
    SendBufferBytes(u32),
    /// `SO_RCVBUF`, bytes.
    ReceiveBufferBytes(u32),
    /// `SO_RCVLOWAT` of a stream: bytes from which on it is ready to be read; 0 counts as 1.
    ReceiveLowWater(u32),
    /// `TCP_NOTSENT_LOWAT`: bytes not sent yet from which on no more are taken; 0: the stack's own.
    NotSentLowWater(u32),
    /// `TCP_WINDOW_CLAMP`: the largest window that the peer is told, bytes; 0: no such bound, which
    /// can be set before it is connected.
    WindowClamp(u32),
    /// `SO_LINGER`; `Some(0)` resets on close.
    Linger(Option<Duration>),
    /// `TCP_NODELAY`.
    NoDelay(bool),
    /// `TCP_CORK`: segments that are not full wait for more, up to 200 ms or the time-out.
    Cork(bool),
    /// `TCP_QUICKACK`: acknowledgements do not wait for data of ours to go with, until it turns out
    /// again that the connection asks and answers.
    QuickAck(bool),
    /// `TCP_SYNCNT`: SYNs sent again before a connect fails, 1..=127.
    SynRetries(u32),
    /// `TCP_LINGER2`: how long a connection that was closed waits for the peer's FIN, whole seconds,
    /// 120 at most; zero: the stack's own; `None`: it does not, and the peer gets a reset.
    Linger2(Option<Duration>),
    /// `TCP_KEEPIDLE`.
    KeepIdle(Duration),
    /// `TCP_KEEPINTVL`.
    KeepInterval(Duration),
    /// `TCP_KEEPCNT`, probes.
    KeepCount(u32),
    /// `TCP_USER_TIMEOUT`; zero: the default.
    UserTimeout(Duration),
    /// `TCP_MAXSEG`, bytes.
    MaxSegmentBytes(u32),
    /// `TCP_DEFER_ACCEPT`: connections wait to be accepted when data have come, or so long; zero:
    /// off.
    DeferAccept(Duration),
    /// `TCP_FASTOPEN`: how many connections a listener begins with the data of a SYN, before their
    /// handshakes are over; 0: none.
    FastOpenQueue(u32),
    /// `TCP_FASTOPEN_CONNECT`: a connect waits for the first data, to send them with its SYN.
    FastOpenConnect(bool),
    /// `TCP_FASTOPEN_NO_COOKIE`.
    FastOpenNoCookie(bool),
    /// `TCP_FASTOPEN_KEY`: the keys of a listener's cookies; none: the stack's, which cannot be set.
    FastOpenKeys(FastOpenKeys),
    /// `TCP_MD5SIG_EXT`: segments to and from these peers are signed (RFC 2385). Set only.
    Md5Key(Md5Key),
    /// `TCP_AO_ADD_KEY`: the same by TCP-AO (RFC 5925). Set only.
    AoKey(AoKey),
    /// `TCP_AO_DEL_KEY`, by its peer and both its ids. Set only.
    AoKeyRemoved(AoKey),
    /// The id of the key that a connection signs with (`TCP_AO_INFO`, `current_key`).
    AoCurrent(u8),
    /// The id of the key that its peer is asked to sign with (`TCP_AO_INFO`, `rnext`).
    AoNext(u8),
    /// A listener takes no connection that is not signed by TCP-AO (`TCP_AO_INFO`, `ao_required`).
    AoRequired(bool),
    /// `TCP_INFO`. To be read alone.
    Info(Box<TcpInfo>),
    /// `TCP_CONGESTION`, by name; it can be changed while data flow.
    Congestion(String),
    /// `SO_MAX_PACING_RATE`, bytes of data per second that leave at most; [`u64::MAX`]: no bound.
    MaxPacingRate(u64),
    /// `IP_TTL` or `IPV6_UNICAST_HOPS`, 1..=255.
    Ttl(u8),
    /// `IP_TOS`, the traffic class octet.
    Tos(u8),
    /// `IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`; 0: members on this host alone.
    MulticastTtl(u8),
    /// `IP_MULTICAST_LOOP`, `IPV6_MULTICAST_LOOP`.
    MulticastLoop(bool),
    /// `IP_MULTICAST_IF`, `IPV6_MULTICAST_IF`: the interface that packets to groups leave by.
    MulticastInterface(GroupInterface),
    /// `IP_MULTICAST_ALL`, `IPV6_MULTICAST_ALL`: packets to groups come that others on this host
    /// have joined.
    MulticastAll(bool),
    /// `IP_ADD_MEMBERSHIP`, `IPV6_JOIN_GROUP`. Set only, as those below.
    JoinGroup(MulticastGroup),
    /// `IP_DROP_MEMBERSHIP`, `IPV6_LEAVE_GROUP`.
    LeaveGroup(MulticastGroup),
    /// `MCAST_JOIN_SOURCE_GROUP`: what this source sends to the group is wanted, too.
    JoinSource(MulticastGroup, IpAddr),
    /// `MCAST_LEAVE_SOURCE_GROUP`.
    LeaveSource(MulticastGroup, IpAddr),
    /// `MCAST_BLOCK_SOURCE`: of a group that was joined, this source is not wanted.
    BlockSource(MulticastGroup, IpAddr),
    /// `MCAST_UNBLOCK_SOURCE`.
    UnblockSource(MulticastGroup, IpAddr),
    /// `MCAST_MSFILTER`: all of it at once. It can be read.
    SourceFilter(SourceFilter),
    /// `IP_HDRINCL`: the caller writes the IP header (raw sockets).
    HeaderIncluded(bool),
    /// `IP_RECVERR`: every error that the network reports, soft ones too, and without a peer.
    ReceiveErrors(bool),
    /// `IPV6_V6ONLY`.
    V6Only(bool),
    /// `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`.
    MtuDiscovery(MtuDiscovery),
    /// `IPV6_DONTFRAG`: what does not fit the path is refused with `EMSGSIZE`, not fragmented.
    DontFragment(bool),
    /// `IPV6_CHECKSUM` of raw sockets: the checksum stands so many bytes behind the headers of IPv6,
    /// an even number, and is made when sending and checked when receiving (RFC 3542 §3.1);
    /// `None`: it is the caller's. That of ICMPv6 is always made, and cannot be set.
    Checksum(Option<u16>),
    /// `IP_MTU`, `IPV6_MTU`: what is known of the path to the peer, in bytes. To be read alone.
    PathMtu(u32),
    /// `SO_OOBINLINE`: urgent data stay in line.
    UrgentInline(bool),
    /// `IP_RECVTTL`, `IPV6_RECVHOPLIMIT`: tell each datagram's TTL. libnetinet always does.
    ReceiveTtl(bool),
    /// `IP_RECVTOS`, `IPV6_RECVTCLASS`: tell each datagram's traffic class. libnetinet always does.
    ReceiveTos(bool),
    /// `IP_PKTINFO`, `IPV6_RECVPKTINFO`: tell where each datagram went and came by. libnetinet
    /// always does.
    ReceivePacketInfo(bool),
    /// `SO_TIMESTAMPNS`: tell when each datagram came. libnetinet always does.
    ReceiveTime(bool),
    /// `SO_BINDTODEVICE`, the interface's name; empty: any.
    BindToDevice(String),
}

/// Which option to ask for; the answer is the [`SocketOption`] of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the key of the SocketOption of the same name")]
pub enum OptionKey {
    ReuseAddr,
    ReusePort,
    Broadcast,
    KeepAlive,
    SendBufferBytes,
    ReceiveBufferBytes,
    ReceiveLowWater,
    NotSentLowWater,
    WindowClamp,
    Linger,
    NoDelay,
    Cork,
    QuickAck,
    SynRetries,
    Linger2,
    KeepIdle,
    KeepInterval,
    KeepCount,
    UserTimeout,
    MaxSegmentBytes,
    DeferAccept,
    FastOpenQueue,
    FastOpenConnect,
    FastOpenNoCookie,
    FastOpenKeys,
    AoCurrent,
    AoNext,
    AoRequired,
    Info,
    Congestion,
    MaxPacingRate,
    Ttl,
    Tos,
    MulticastTtl,
    MulticastLoop,
    MulticastInterface,
    MulticastAll,
    SourceFilter(MulticastGroup),
    HeaderIncluded,
    ReceiveErrors,
    V6Only,
    MtuDiscovery,
    Checksum,
    DontFragment,
    PathMtu,
    UrgentInline,
    ReceiveTtl,
    ReceiveTos,
    ReceivePacketInfo,
    ReceiveTime,
    BindToDevice,
}

/// An address family's provider: libnetinet and sockin fill the same table.
///
/// Every call is non-blocking; what would block gives `WouldBlock` and [`register`](Self::register)
/// tells when to try again. Error kinds and errno are those that Linux gives.
pub trait Domain: Send + Sync {
    /// The families it serves.
    fn families(&self) -> &[Family];

    /// Makes a socket (`socket(2)`).
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` and `EAFNOSUPPORT` for what is not served, `EMFILE` at the table's bound.
    fn socket(&self, family: Family, ty: SockType, protocol: Protocol) -> io::Result<SocketId>;

    /// Gives it a local address (`bind(2)`).
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EINVAL` if bound already.
    fn bind(&self, id: SocketId, addr: SocketAddr) -> io::Result<()>;

    /// Makes it accept connections (`listen(2)`); up to `backlog` wait.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for datagram sockets, `EADDRINUSE`.
    fn listen(&self, id: SocketId, backlog: u32) -> io::Result<()>;

    /// Takes the next connection (`accept(2)`).
    ///
    /// # Errors
    /// `EAGAIN` if none waits, `EINVAL` if it does not listen.
    fn accept(&self, id: SocketId) -> io::Result<(SocketId, SocketAddr)>;

    /// Connects (`connect(2)`): a stream begins its handshake, a datagram socket sets its peer.
    ///
    /// # Errors
    /// `EINPROGRESS` for a stream that has begun; it is writable when it has ended. A further call
    /// gives `EALREADY` until then, and then once how it ended; `EISCONN` after that.
    fn connect(&self, id: SocketId, addr: SocketAddr) -> io::Result<()>;

    /// Sends; how many bytes were taken.
    ///
    /// # Errors
    /// `EAGAIN` if there is no room, `EPIPE`, `ENOTCONN`, `EDESTADDRREQ`, `EMSGSIZE`, or the
    /// pending error.
    fn send(&self, id: SocketId, msg: SendMsg<'_>) -> io::Result<usize>;

    /// Receives; 0 bytes of a stream are its end.
    ///
    /// # Errors
    /// `EAGAIN` if there is nothing, `ENOTCONN`, or the pending error.
    fn recv(&self, id: SocketId, msg: RecvMsg<'_, '_>) -> io::Result<Received>;

    /// As [`send`](Self::send), asleep for as long as there is no room, where the domain can do
    /// that in one call; all of a stream's bytes are taken then. `None`, the default: it cannot.
    ///
    /// # Errors
    /// As [`send`](Self::send), but not `EAGAIN`.
    fn send_blocking(&self, _id: SocketId, _msg: SendMsg<'_>) -> Option<io::Result<usize>> {
        None
    }

    /// As [`recv`](Self::recv), asleep until something comes, where the domain can do that in one
    /// call. `None`, the default: it cannot.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but not `EAGAIN`.
    fn recv_blocking(&self, _id: SocketId, _msg: RecvMsg<'_, '_>) -> Option<io::Result<Received>> {
        None
    }

    /// What the frame with a stream's next bytes looks like, for a caller that waits for them with room
    /// for a large one. `None`, the default: there is no telling, or it is not worth it.
    fn forecast(&self, _id: SocketId) -> Option<Forecast> {
        None
    }

    /// Has everything before the urgent byte been read (`sockatmark(3)`)?
    ///
    /// # Errors
    /// `EOPNOTSUPP`, the default, where urgent data are always in line.
    fn is_at_mark(&self, _id: SocketId) -> io::Result<bool> {
        Err(errno::not_supported())
    }

    /// Another descriptor of the socket, where the domain's sockets are the host's; `None`, the
    /// default: they are not. It shares the socket, which is non-blocking: do not change that.
    ///
    /// # Errors
    /// `EBADF`; `EMFILE` where the process can have no more.
    fn descriptor(&self, _id: SocketId) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// Closes a direction (`shutdown(2)`).
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn shutdown(&self, id: SocketId, how: Shutdown) -> io::Result<()>;

    /// Gives the socket up (`close(2)`); what is queued is still sent. An unknown id does nothing.
    fn close(&self, id: SocketId);

    /// Sets an option.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for one that the socket does not have, `EINVAL` for a value out of range.
    fn set_option(&self, id: SocketId, option: SocketOption) -> io::Result<()>;

    /// Reads an option.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for one that the socket does not have.
    fn get_option(&self, id: SocketId, key: OptionKey) -> io::Result<SocketOption>;

    /// The local address (`getsockname(2)`).
    ///
    /// # Errors
    /// `EBADF`.
    fn local_addr(&self, id: SocketId) -> io::Result<SocketAddr>;

    /// The peer's address (`getpeername(2)`).
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn peer_addr(&self, id: SocketId) -> io::Result<SocketAddr>;

    /// Takes the pending error (`SO_ERROR`).
    ///
    /// # Errors
    /// `EBADF`.
    fn take_error(&self, id: SocketId) -> io::Result<Option<io::Error>>;

    /// What the socket is ready for now.
    ///
    /// # Errors
    /// `EBADF`.
    fn ready(&self, id: SocketId) -> io::Result<Ready>;

    /// Wakes `waker` when the socket becomes ready for any of `interest`, until the registration
    /// is dropped. Many per socket. A spurious wake is fine, a lost one is a bug; the caller
    /// tries once more after registering.
    fn register(&self, id: SocketId, interest: Ready, waker: &Waker) -> Registration;

    /// Puts the calling thread to sleep until the socket may be ready for any of `interest`, at
    /// most `timeout`, where the domain can do that itself, without a waker; it may return early.
    /// `None`, the default: it cannot.
    ///
    /// # Errors
    /// `EBADF`; `UnexpectedEof` when a receive could wait for ever, since the socket was shut down.
    fn wait(
        &self,
        _id: SocketId,
        _interest: Ready,
        _timeout: Option<Duration>,
    ) -> Option<io::Result<()>> {
        None
    }
}
