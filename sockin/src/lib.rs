//! The host's own sockets as a domain of libnet's socket layer, in place of libnetinet.
//!
//! [`Sockin`] serves `PF_INET` and `PF_INET6` by the host's kernel: the same program runs over it
//! unchanged. Every descriptor is non-blocking. A call that must wait polls its own descriptor;
//! wakers are served by one thread per value, which sleeps in `epoll_wait(2)`.

mod msg;
mod options;
mod poller;
mod table;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use libnet::errno;
use libnet::socket::{
    Domain, Family, OptionKey, Protocol, Received, RecvMsg, SendMsg, SockType, SocketId,
    SocketOption,
};
use libnet::wake::{Ready, Registration};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::poller::Poller;
pub use crate::table::SockinCounters;
use crate::table::{Entry, Table};

/// Bounds of a [`Sockin`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SockinConfig {
    /// Sockets at once, at most; one more is refused with `EMFILE` and counted.
    pub max_sockets: u32,
}

impl Default for SockinConfig {
    fn default() -> Self {
        SockinConfig { max_sockets: 65_536 }
    }
}

/// The host's sockets as a [`Domain`].
#[derive(Debug)]
pub struct Sockin {
    table: Arc<Table>,
    poller: Poller,
}

impl Sockin {
    /// A domain with the default bounds.
    ///
    /// # Errors
    /// Those of `epoll_create1(2)`, `eventfd(2)` and of starting a thread.
    pub fn new() -> io::Result<Self> {
        Self::with_config(&SockinConfig::default())
    }

    /// A domain with bounds.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_config(config: &SockinConfig) -> io::Result<Self> {
        let table = Arc::new(Table::new(config.max_sockets));
        let poller = Poller::start(Arc::clone(&table))?;
        Ok(Sockin { table, poller })
    }

    /// What was opened and refused since the start.
    pub fn counters(&self) -> SockinCounters {
        self.table.counters()
    }

    fn add(&self, fd: OwnedFd, family: Family, ty: SockType) -> io::Result<SocketId> {
        self.table.insert(Entry::new(fd, family, ty))
    }
}

impl Domain for Sockin {
    fn families(&self) -> &[Family] {
        &[Family::Inet, Family::Inet6]
    }

    fn socket(&self, family: Family, ty: SockType, protocol: Protocol) -> io::Result<SocketId> {
        self.table.check_room()?;
        let address_family = match family {
            Family::Inet => AddressFamily::INET,
            Family::Inet6 => AddressFamily::INET6,
            _ => return Err(errno::family_not_supported()),
        };
        let socket_type = match ty {
            SockType::Stream => SocketType::STREAM,
            SockType::Datagram => SocketType::DGRAM,
            SockType::Raw => SocketType::RAW,
            _ => return Err(errno::protocol_not_supported()),
        };
        let protocol =
            std::num::NonZeroU32::new(protocol.0.into()).map(rustix::net::Protocol::from_raw);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(address_family, socket_type, flags, protocol)?;
        self.add(fd, family, ty)
    }

    fn bind(&self, id: SocketId, addr: SocketAddr) -> io::Result<()> {
        Ok(rustix::net::bind(&self.table.get(id)?.fd, &addr)?)
    }

    fn listen(&self, id: SocketId, backlog: u32) -> io::Result<()> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        Ok(rustix::net::listen(&self.table.get(id)?.fd, backlog)?)
    }

    fn accept(&self, id: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        let listener = self.table.get(id)?;
        self.table.check_room()?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = rustix::net::acceptfrom_with(&listener.fd, flags)?;
        let peer = peer.ok_or_else(errno::not_connected)?;
        let peer = SocketAddr::try_from(peer)?;
        Ok((self.add(fd, listener.family, listener.ty)?, peer))
    }

    fn connect(&self, id: SocketId, addr: SocketAddr) -> io::Result<()> {
        Ok(rustix::net::connect(&self.table.get(id)?.fd, &addr)?)
    }

    fn send(&self, id: SocketId, msg: SendMsg<'_>) -> io::Result<usize> {
        msg::send(&*self.table.get(id)?, msg)
    }

    fn recv(&self, id: SocketId, msg: RecvMsg<'_, '_>) -> io::Result<Received> {
        msg::recv(&*self.table.get(id)?, msg)
    }

    fn shutdown(&self, id: SocketId, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        Ok(rustix::net::shutdown(&self.table.get(id)?.fd, how)?)
    }

    fn close(&self, id: SocketId) {
        // A call in another thread may hold the entry; the descriptor closes with the last.
        drop(self.table.remove(id));
    }

    fn set_option(&self, id: SocketId, option: SocketOption) -> io::Result<()> {
        options::set(&*self.table.get(id)?, option)
    }

    fn get_option(&self, id: SocketId, key: OptionKey) -> io::Result<SocketOption> {
        options::get(&*self.table.get(id)?, key)
    }

    fn local_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        let addr = rustix::net::getsockname(&self.table.get(id)?.fd)?;
        Ok(SocketAddr::try_from(addr)?)
    }

    fn peer_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        let addr = rustix::net::getpeername(&self.table.get(id)?.fd)?;
        let addr = addr.ok_or_else(errno::not_connected)?;
        Ok(SocketAddr::try_from(addr)?)
    }

    fn take_error(&self, id: SocketId) -> io::Result<Option<io::Error>> {
        let pending = rustix::net::sockopt::socket_error(&self.table.get(id)?.fd)?;
        Ok(pending.err().map(Into::into))
    }

    fn ready(&self, id: SocketId) -> io::Result<Ready> {
        poller::poll(&*self.table.get(id)?, Ready::ALL, Some(Duration::ZERO))
    }

    fn register(&self, id: SocketId, interest: Ready, waker: &Waker) -> Registration {
        match self.table.get(id) {
            Ok(entry) => self.poller.register(id, &entry, interest, waker),
            // The caller tries once more, and is told `EBADF`.
            Err(_) => Registration::none(),
        }
    }

    fn wait(
        &self,
        id: SocketId,
        interest: Ready,
        timeout: Option<Duration>,
    ) -> Option<io::Result<()>> {
        let waited = self.table.get(id).and_then(|entry| poller::wait(&entry, interest, timeout));
        Some(waited)
    }
}
