//! What tools show of a stack, as it was at one moment.

use std::net::{IpAddr, SocketAddr};

use libnet::iface::{IfIndex, IpCidr};
use libnet::link::{LinkInfo, LinkStats};
use libnet::socket::{Protocol, SockType, SocketId};

pub use crate::neighbour::{NeighbourEntry, NeighbourState};

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
    /// Its addresses, and how often another station was seen using each.
    pub addrs: Vec<(IpCidr, u64)>,
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

/// A socket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketEntry {
    /// Its number.
    pub id: SocketId,
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
