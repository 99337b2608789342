//! Sockets in the shape of `std::net`, over whichever domain serves the family.
//!
//! A call that would block parks its thread on the socket's waker; a non-blocking socket gives
//! `WouldBlock` instead. Time-outs, clones and errors are as `std::net` has them on Unix.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::Driver;
use crate::errno;
use crate::socket::{Domain, Family, Protocol, SockType};

mod socket;
mod tcp;
mod udp;

pub use socket::Socket;
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;

/// Connections that wait to be accepted at most, unless told otherwise; as `std::net` has it.
const BACKLOG: u32 = 128;

/// The socket layer of one stack: the switch between domains, and the driver that calls sleep on.
///
/// A handle: clones share it, and every socket holds one.
#[derive(Clone)]
pub struct SocketLayer(Arc<Layer>);

struct Layer {
    domains: Vec<Arc<dyn Domain>>,
    driver: Arc<dyn Driver>,
    /// What must live as long as any socket: the driver's threads. Dropped last.
    _keep: Box<dyn Any + Send + Sync>,
}

impl SocketLayer {
    /// A layer over `domains`; `keep` is dropped with the last handle or socket.
    ///
    /// # Errors
    /// `InvalidInput` if two domains serve one family; the message names it.
    pub fn new(
        domains: Vec<Arc<dyn Domain>>,
        driver: Arc<dyn Driver>,
        keep: Box<dyn Any + Send + Sync>,
    ) -> io::Result<Self> {
        let mut served: Vec<Family> = Vec::new();
        for family in domains.iter().flat_map(|domain| domain.families()) {
            if served.contains(family) {
                let why = format!("two domains serve {family}: give the layer one of them");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            served.push(*family);
        }
        Ok(SocketLayer(Arc::new(Layer { domains, driver, _keep: keep })))
    }

    /// Makes a socket.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` if no domain serves the family; as [`Domain::socket`] gives them.
    pub fn socket(&self, family: Family, ty: SockType, protocol: Protocol) -> io::Result<Socket> {
        let id = self.domain(family)?.socket(family, ty, protocol)?;
        Ok(Socket::new(self.clone(), Arc::clone(self.domain(family)?), id))
    }

    /// Connects a TCP stream, trying each address in turn.
    ///
    /// Text that is not an address is looked up by the host's resolver, as `std::net` does.
    ///
    /// # Errors
    /// The last address's: refused, timed out, unreachable, …
    pub fn tcp_connect(&self, addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        each_addr(addr, |addr| TcpStream::open(self, addr, None))
    }

    /// Connects a TCP stream, waiting at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` after `timeout`, `InvalidInput` if it is zero.
    pub fn tcp_connect_timeout(
        &self,
        addr: &SocketAddr,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "cannot set a 0 duration timeout",
            ));
        }
        TcpStream::open(self, *addr, Some(timeout))
    }

    /// Connects a TCP stream whose first bytes are `data`, with TCP Fast Open (RFC 7413): if the
    /// server has given us a cookie before, they go with the SYN, and its answer may be here after
    /// one round trip. The data may then arrive twice if the network duplicates the SYN, so that
    /// they should ask for nothing that must not be done twice (RFC 7413 §2.1).
    ///
    /// It does not wait for the connection: the first receive tells how it ended.
    ///
    /// # Errors
    /// What is known at once: no route, no free port; `EOPNOTSUPP` where the domain has no Fast Open.
    pub fn tcp_connect_with(&self, addr: SocketAddr, data: &[u8]) -> io::Result<TcpStream> {
        TcpStream::open_fast(self, addr, data)
    }

    /// Listens for TCP connections, with `SO_REUSEADDR` set and a backlog of 128.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`.
    pub fn tcp_listen(&self, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        each_addr(addr, |addr| TcpListener::open(self, addr, BACKLOG))
    }

    /// Binds a UDP socket.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`.
    pub fn udp_bind(&self, addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        each_addr(addr, |addr| UdpSocket::open(self, addr))
    }

    /// The driver that calls sleep on.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.0.driver
    }

    fn domain(&self, family: Family) -> io::Result<&Arc<dyn Domain>> {
        let found = self.0.domains.iter().find(|domain| domain.families().contains(&family));
        found.ok_or_else(errno::family_not_supported)
    }

    fn socket_for(&self, addr: &IpAddr, ty: SockType) -> io::Result<Socket> {
        self.socket(Family::of(addr), ty, Protocol::DEFAULT)
    }
}

impl fmt::Debug for SocketLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families: Vec<_> = self.0.domains.iter().flat_map(|domain| domain.families()).collect();
        f.debug_struct("SocketLayer").field("families", &families).finish()
    }
}

/// Tries each address; the first success or the last error.
fn each_addr<T>(
    addr: impl ToSocketAddrs,
    mut open: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for addr in addr.to_socket_addrs()? {
        match open(addr) {
            Ok(done) => return Ok(done),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any addresses")
    }))
}
