//! `UdpSocket`, in the shape of `std::net`.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use super::tcp::{ok, options, same, shared_calls, ttl_from};
use super::{Socket, SocketLayer, each_addr};
use crate::socket::{GroupInterface, MulticastGroup, OptionKey, SockType, SocketOption};

/// A UDP socket. Clones share the socket, its mode and its time-outs.
#[derive(Clone)]
pub struct UdpSocket(Arc<Socket>);

impl UdpSocket {
    pub(super) fn open(layer: &SocketLayer, addr: SocketAddr) -> io::Result<Self> {
        let socket = layer.socket_for(&addr.ip(), SockType::Datagram)?;
        socket.bind(addr)?;
        Ok(UdpSocket(Arc::new(socket)))
    }

    /// A UDP socket made by hand.
    pub fn from_socket(socket: Socket) -> Self {
        UdpSocket(Arc::new(socket))
    }

    /// The socket under it.
    pub fn socket(&self) -> &Socket {
        &self.0
    }

    /// Receives a datagram and its sender; what `buf` cannot hold is lost.
    ///
    /// # Errors
    /// `WouldBlock`, or the pending error.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(buf)
    }

    /// Looks at the next datagram and its sender, and leaves it.
    ///
    /// # Errors
    /// `WouldBlock`, or the pending error.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.0.peek_msg(buf)?;
        Ok((received.bytes, received.from.ok_or_else(crate::errno::not_connected)?))
    }

    /// Sends a datagram to an address, the first one that `addr` resolves to.
    ///
    /// # Errors
    /// `EMSGSIZE`, `EACCES` for a broadcast address unless asked for, unreachable, …
    pub fn send_to(&self, buf: &[u8], addr: impl ToSocketAddrs) -> io::Result<usize> {
        let Some(addr) = addr.to_socket_addrs()?.next() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no addresses to send data to",
            ));
        };
        self.0.send_to(buf, addr)
    }

    /// Sets the peer: datagrams go to it and come from it alone, and its errors are reported.
    ///
    /// # Errors
    /// `ENETUNREACH`, `EACCES` for a broadcast address unless asked for.
    pub fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        each_addr(addr, |addr| self.0.connect(addr))
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    /// `EDESTADDRREQ` without a peer; the pending error.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.send(buf)
    }

    /// Receives a datagram; what `buf` cannot hold is lost.
    ///
    /// # Errors
    /// `WouldBlock`, or the pending error.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buf)
    }

    /// Looks at the next datagram, and leaves it.
    ///
    /// # Errors
    /// `WouldBlock`, or the pending error.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.peek_msg(buf).map(|received| received.bytes)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// The local address.
    ///
    /// # Errors
    /// As the domain gives them.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    /// None; the signature is that of `std::net`.
    pub fn try_clone(&self) -> io::Result<UdpSocket> {
        Ok(self.clone())
    }

    shared_calls!();

    options! {
        /// May it send to broadcast addresses (`SO_BROADCAST`)?
        broadcast set_broadcast Broadcast: bool = ok, same;
        /// The TTL of datagrams sent, 1..=255 (`IP_TTL`).
        ttl set_ttl Ttl: u32 = ttl_from, u32::from;
        /// The TTL of multicast datagrams sent (`IP_MULTICAST_TTL`).
        multicast_ttl_v4 set_multicast_ttl_v4 MulticastTtl: u32 = multicast_ttl_from, u32::from;
        /// Do multicast datagrams come back to this host's members (`IP_MULTICAST_LOOP`)?
        multicast_loop_v4 set_multicast_loop_v4 MulticastLoop: bool = ok, same;
        /// Do multicast datagrams come back to this host's members (`IPV6_MULTICAST_LOOP`)?
        multicast_loop_v6 set_multicast_loop_v6 MulticastLoop: bool = ok, same;
    }

    /// Receives what is sent to a group (`IP_ADD_MEMBERSHIP`), on the interface with the address
    /// `interface`; the unspecified one means the interface that the routes lead there by. Leaves when
    /// it is dropped.
    ///
    /// # Errors
    /// `EINVAL` for what is no group, `ENODEV` for no such interface, `EADDRINUSE` if it is in the
    /// group, `ENOBUFS` at the bound.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let interface = GroupInterface::from_address(*interface);
        let group = MulticastGroup { group: (*group).into(), interface };
        self.0.set_option(SocketOption::JoinGroup(group))
    }

    /// The same over IPv6 (`IPV6_JOIN_GROUP`), on the interface with the index `interface`; 0 means
    /// any.
    ///
    /// # Errors
    /// As [`join_multicast_v4`](Self::join_multicast_v4).
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let interface = GroupInterface::from_index(interface);
        let group = MulticastGroup { group: (*group).into(), interface };
        self.0.set_option(SocketOption::JoinGroup(group))
    }

    /// Ends [`join_multicast_v4`](Self::join_multicast_v4) (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if it is not in the group, `EINVAL`, `ENODEV`.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        let interface = GroupInterface::from_address(*interface);
        let group = MulticastGroup { group: (*group).into(), interface };
        self.0.set_option(SocketOption::LeaveGroup(group))
    }

    /// Ends [`join_multicast_v6`](Self::join_multicast_v6) (`IPV6_LEAVE_GROUP`).
    ///
    /// # Errors
    /// As [`leave_multicast_v4`](Self::leave_multicast_v4).
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let interface = GroupInterface::from_index(interface);
        let group = MulticastGroup { group: (*group).into(), interface };
        self.0.set_option(SocketOption::LeaveGroup(group))
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UdpSocket").field(&self.0).finish()
    }
}

/// Multicast TTLs are 0..=255: zero keeps a datagram on this host.
fn multicast_ttl_from(value: u32) -> io::Result<u8> {
    u8::try_from(value).map_err(|_| crate::errno::invalid())
}
