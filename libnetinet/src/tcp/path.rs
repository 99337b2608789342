//! What TCP asks of the layer below: where a peer is, and to take a packet there.

use std::io;
use std::net::IpAddr;

use libnet::{IfIndex, Instant, Packet, errno};

/// The way to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathInfo {
    /// Our address on it.
    pub src: IpAddr,
    /// The interface it leaves by.
    pub iface: IfIndex,
    /// The largest IP packet that fits the path as far as is known, bytes.
    pub mtu: u32,
    /// The largest IP packet that the interface takes whole, to be cut later; 0: none.
    pub gso_max_bytes: u32,
}

/// Why there is no way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// No route to the network.
    #[error("network is unreachable")]
    NetUnreachable,
    /// The host does not answer, or its route rejects.
    #[error("no route to host")]
    HostUnreachable,
    /// The route drops what is sent by it.
    #[error("the route drops packets")]
    Blackhole,
    /// The source address is not ours.
    #[error("address not available")]
    BadSource,
}

impl From<PathError> for io::Error {
    fn from(error: PathError) -> io::Error {
        match error {
            PathError::NetUnreachable => errno::net_unreachable(),
            PathError::HostUnreachable => errno::host_unreachable(),
            PathError::Blackhole => errno::invalid(),
            PathError::BadSource => errno::addr_not_available(),
        }
    }
}

/// What the layer below knows of a packet that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InMeta {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, one of ours.
    pub dst: IpAddr,
    /// The interface that it came by.
    pub iface: IfIndex,
    /// The traffic class octet.
    pub tos: u8,
}

/// What the IP header of a packet is to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutMeta {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The interface that [`Path::route`] gave.
    pub iface: IfIndex,
    /// The interface that it must leave by; `None`: any.
    pub bound: Option<IfIndex>,
    /// TTL or hop limit, 1..=255; `None`: what the path or the configuration says.
    pub ttl: Option<u8>,
    /// The traffic class octet.
    pub tos: u8,
    /// Set DF: the connection heeds "fragmentation needed". Source: RFC 1191 §3.
    pub dont_fragment: bool,
}

/// The layer below, as TCP sees it; the IP layer implements it.
pub trait Path {
    /// The way from `src`, or from the address that fits, to `dst`; by `iface` alone, if given.
    ///
    /// # Errors
    /// [`PathError`] if there is none.
    fn route(
        &mut self,
        src: Option<IpAddr>,
        dst: IpAddr,
        iface: Option<IfIndex>,
    ) -> Result<PathInfo, PathError>;

    /// Changes whenever an answer of [`route`](Self::route) may have changed.
    fn route_generation(&self) -> u64;

    /// Takes a packet whose first byte is the TCP header's, with its checksum partial. It may
    /// drop it: TCP sends again what matters.
    ///
    /// # Errors
    /// [`PathError`] if there is no way any more.
    fn output(&mut self, now: Instant, meta: &OutMeta, packet: Packet) -> Result<(), PathError>;

    /// `dst` acknowledged what was sent there by `iface`: the next hop is there. Source: RFC 4861 §7.3.1.
    fn positive_advice(&mut self, now: Instant, iface: IfIndex, dst: IpAddr) {
        let _ = (now, iface, dst);
    }

    /// Segments to `dst` by `iface` were lost repeatedly; another gateway may do better.
    /// Source: RFC 9293 §3.8.3 (MUST-20, R1).
    fn negative_advice(&mut self, iface: IfIndex, dst: IpAddr) {
        let _ = (iface, dst);
    }
}
