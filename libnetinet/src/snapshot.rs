//! What tools show of a stack, as it was at one moment.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use libnet::iface::{ClampMss, IfIndex, IpCidr, RouterPreference};
use libnet::link::{LinkInfo, LinkStats};
use libnet::socket::{Protocol, SockType, SocketId};
use libnet::time::Instant;

pub use crate::multicast::table::GroupEntry;
pub use crate::neighbour::{NeighbourEntry, NeighbourSetting, NeighbourState};
use crate::tcp::TimerKind;

/// Datagrams of both families that wait for fragments. Source: RFC 791 §3.2, RFC 8200 §4.5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FragmentsHeld {
    /// How many, up to `IpConfig::reassembly_datagrams`.
    pub datagrams: usize,
    /// Their memory in bytes, book-keeping included, up to `IpConfig::reassembly_bytes`.
    pub bytes: usize,
}

/// What the buffers of all TCP connections take. Its bounds: [`TcpConfig`](crate::tcp::TcpConfig).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TcpMemory {
    /// Bytes that shards may use; what they do use is no more.
    pub granted_bytes: u64,
    /// Is memory short?
    pub is_pressed: bool,
    /// Times that it became so (`TCPMemoryPressures`).
    pub pressures: u64,
    /// Connections that their applications have closed and that are not over.
    pub orphans: u64,
}

/// An interface.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceEntry {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// What its link said of itself.
    pub link: LinkInfo,
    /// Administratively up.
    pub up: bool,
    /// Its link works.
    pub running: bool,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// What SYNs that are passed on from or to it announce at most.
    pub clamp_mss: ClampMss,
    /// Its addresses, and how often another station was seen using each.
    pub addrs: Vec<(IpCidr, u64)>,
    /// The same with all that is known of them, and those that are not ours yet.
    pub addresses: Vec<AddressEntry>,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, link headers included.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent, link headers included.
    pub tx_bytes: u64,
    /// Frames that could not be sent.
    pub tx_dropped: u64,
    /// Times that the link was full and sending waited.
    pub tx_waits: u64,
    /// The link's own figures.
    pub link_stats: LinkStats,
}

/// An address of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AddressEntry {
    /// The address with the length of its network's prefix.
    pub cidr: IpCidr,
    /// Whether it is ours yet, and still to be used.
    pub state: AddressState,
    /// Where it came from.
    pub origin: AddressOrigin,
    /// How long it is valid; `None`: for ever.
    pub valid_for: Option<Duration>,
    /// How long it is preferred; `None`: for ever.
    pub preferred_for: Option<Duration>,
    /// How often another station was seen using it.
    pub conflicts: u64,
    /// How often a question of ours about it came back to us (RFC 7527).
    pub looped: u32,
}

/// How far an address is ours. Source: RFC 4862 §2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AddressState {
    /// It is being checked, and not used until that is done.
    Tentative,
    /// It is being checked, and used with care meanwhile (RFC 4429).
    Optimistic,
    /// It is ours.
    Preferred,
    /// It is ours; new traffic uses another if there is one.
    Deprecated,
    /// It is somebody else's, and not used.
    Duplicate,
}

impl AddressState {
    /// In lower case, as in listings and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            AddressState::Tentative => "tentative",
            AddressState::Optimistic => "optimistic",
            AddressState::Preferred => "preferred",
            AddressState::Deprecated => "deprecated",
            AddressState::Duplicate => "duplicate",
        }
    }
}

/// Where an address came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AddressOrigin {
    /// Configuration.
    Static,
    /// Made for the link alone (RFC 4862 §5.3, RFC 3927).
    LinkLocal,
    /// Made of a prefix that a router advertises (RFC 4862 §5.5).
    Autonomous,
    /// The same, for a while (RFC 8981).
    Temporary,
}

/// A default router that an interface learned of (RFC 4861 §5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RouterEntry {
    /// On which interface.
    pub iface: IfIndex,
    /// Its link-local address.
    pub addr: Ipv6Addr,
    /// Against the others.
    pub preference: RouterPreference,
    /// How long it is one, unless it says so again.
    pub valid_for: Duration,
}

/// A name server or a domain to search, as a router advertises it (RFC 8106).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DnsEntry<T> {
    /// On which interface; a link-local server is of that link.
    pub iface: IfIndex,
    /// The server's address, or the domain.
    pub what: T,
    /// How long it is to be used; `None`: for ever.
    pub valid_for: Option<Duration>,
}

/// A socket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketEntry {
    /// Its number; `None` for a connection that no socket holds.
    pub id: Option<SocketId>,
    /// Its type.
    pub ty: SockType,
    /// Its protocol.
    pub protocol: Protocol,
    /// The state of a connection, in RFC 9293's words; empty for datagrams.
    pub state: &'static str,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end, if it has one.
    pub remote: Option<SocketAddr>,
    /// Bytes that wait to be read.
    pub receive_bytes: usize,
    /// Bytes that wait to be sent or acknowledged.
    pub send_bytes: usize,
    /// Datagrams refused because its buffer was full.
    pub overflows: u64,
    /// Of a listener: connections that may wait to be accepted.
    pub backlog: u32,
    /// Of a connection: what happens next unless the peer does something, and when.
    pub timer: Option<(TimerKind, Instant)>,
}

/// What kind of receiver a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PathKind {
    /// One other host.
    Unicast,
    /// Ourselves.
    Local,
    /// All on the link.
    Broadcast,
    /// A group on the link.
    Multicast,
}

/// The way to a destination, as `ip route get` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PathEntry {
    /// The destination.
    pub dst: IpAddr,
    /// The source address of what is sent there.
    pub src: IpAddr,
    /// The interface that it leaves by.
    pub iface: IfIndex,
    /// The neighbour that passes it on; `None`: the destination is a neighbour itself.
    pub gateway: Option<IpAddr>,
    /// The largest IP packet there, in bytes, as far as it is known.
    pub mtu: u32,
    /// The largest IP packet of the interface, in bytes.
    pub iface_mtu: u32,
    /// What it leads to.
    pub kind: PathKind,
}
