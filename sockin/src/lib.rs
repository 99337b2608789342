//! The host's own sockets as a domain of libnet's socket layer, in place of libnetinet.
//!
//! [`Sockin`] serves `PF_INET` and `PF_INET6` by the host's kernel: the same program runs over it
//! unchanged. A call that must wait blocks in the host, or polls its own descriptor where it has a
//! time-out; wakers are served by one thread per value, which sleeps in `epoll_wait(2)`.

mod ancillary;
mod capture;
mod msg;
mod multicast;
mod options;
mod poller;
mod stream;
mod synth;
mod sys;
mod table;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use libnet::capture::CaptureTaps;
use libnet::errno;
use libnet::ethernet::MacAddr;
use libnet::link::{LinkInfo, Medium};
use libnet::socket::{
    Domain, Family, OptionKey, Protocol, Received, RecvMsg, SendMsg, SockType, SocketId,
    SocketOption,
};
use libnet::wake::{Ready, Registration};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::capture::Show;
use crate::msg::Wait;
use crate::poller::Poller;
use crate::table::{Entry, Kind, Mode, Table};
pub use crate::table::{SocketTraffic, SockinCounters};

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
    taps: CaptureTaps,
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
        Ok(Sockin { table, poller, taps: CaptureTaps::new() })
    }

    /// Who wants to see what passes the calls, as packets with headers made up: a capture. Add a
    /// tap that takes [`capture_link`](Self::capture_link).
    ///
    /// A conversation begins with its handshake, data come in the pieces of the calls, and what
    /// is received is seen when the call takes it. What the wire carried, no tap sees.
    pub fn taps(&self) -> &CaptureTaps {
        &self.taps
    }

    /// What a capture says of where its packets come from: bare IP.
    pub fn capture_link() -> LinkInfo {
        let mut link = LinkInfo::ethernet("sockin", "the host's sockets", MacAddr::ZERO, 65_535);
        link.medium = Medium::Ip;
        link
    }

    /// What was opened, carried and refused since the start.
    pub fn counters(&self) -> SockinCounters {
        self.table.counters()
    }

    /// What one socket carried so far.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn traffic(&self, id: SocketId) -> io::Result<SocketTraffic> {
        Ok(self.table.get(id)?.traffic.read())
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
        let number = NonZeroU32::new(protocol.0.into()).map(rustix::net::Protocol::from_raw);
        let (flags, mode) = match ty {
            SockType::Stream => (SocketFlags::NONBLOCK, Mode::NonBlocking),
            // Its connect does not wait, and it accepts nothing.
            _ => (SocketFlags::empty(), Mode::Blocking),
        };
        let flags = flags | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(address_family, socket_type, flags, number);
        let fd = self.table.count(fd.map_err(io::Error::from))?;
        self.table.insert(Entry::new(fd, Kind { family, ty, protocol }, mode))
    }

    fn bind(&self, id: SocketId, addr: SocketAddr) -> io::Result<()> {
        let bound = rustix::net::bind(&self.table.get(id)?.fd, &addr);
        self.table.count(bound.map_err(io::Error::from))
    }

    fn listen(&self, id: SocketId, backlog: u32) -> io::Result<()> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        let listening = rustix::net::listen(&self.table.get(id)?.fd, backlog);
        self.table.count(listening.map_err(io::Error::from))
    }

    fn accept(&self, id: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        let listener = self.table.get(id)?;
        self.table.check_room()?;
        let accepted = rustix::net::acceptfrom_with(&listener.fd, SocketFlags::CLOEXEC);
        let (fd, peer) = self.table.count(accepted.map_err(io::Error::from))?;
        let peer = peer.ok_or_else(errno::not_connected)?;
        let peer = SocketAddr::try_from(peer)?;
        let id = self.table.insert(Entry::new(fd, listener.kind, Mode::Blocking))?;
        if let Some(mut show) = Show::of(&self.taps, &*self.table.get(id)?) {
            show.opened_by(peer);
        }
        Ok((id, peer))
    }

    fn connect(&self, id: SocketId, addr: SocketAddr) -> io::Result<()> {
        let entry = self.table.get(id)?;
        let connected = rustix::net::connect(&entry.fd, &addr).map_err(io::Error::from);
        if let Some(mut show) = Show::of(&self.taps, &entry) {
            match &connected {
                Ok(()) => {
                    show.connecting(addr);
                    show.is_open();
                }
                Err(error) if errno::is_under_way(error) => show.connecting(addr),
                Err(error) => {
                    show.connecting(addr);
                    show.failed(error);
                }
            }
        }
        self.table.count(connected)
    }

    fn send(&self, id: SocketId, msg: SendMsg<'_>) -> io::Result<usize> {
        self.table.count(msg::send(&self.taps, &*self.table.get(id)?, msg, Wait::Never))
    }

    fn recv(&self, id: SocketId, msg: RecvMsg<'_, '_>) -> io::Result<Received> {
        self.table.count(msg::recv(&self.taps, &*self.table.get(id)?, msg, Wait::Never))
    }

    fn shutdown(&self, id: SocketId, how: Shutdown) -> io::Result<()> {
        let entry = self.table.get(id)?;
        let ends_ours = how != Shutdown::Read;
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        let shut = rustix::net::shutdown(&entry.fd, how);
        if shut.is_ok()
            && ends_ours
            && let Some(mut show) = Show::of(&self.taps, &entry)
        {
            show.shut();
        }
        self.table.count(shut.map_err(io::Error::from))
    }

    fn close(&self, id: SocketId) {
        let Some(entry) = self.table.remove(id) else { return };
        // A call in another thread may hold the entry; the descriptor closes with the last.
        entry.closed.store(true, Ordering::SeqCst);
        if let Some(mut show) = Show::of(&self.taps, &entry) {
            show.closed(poller::aborts(&entry));
        }
        self.poller.forget(&entry);
        poller::interrupt(&entry);
        let mut wakers = Vec::new();
        entry.wakers.collect(Ready::HANGUP, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn send_blocking(&self, id: SocketId, msg: SendMsg<'_>) -> Option<io::Result<usize>> {
        let entry = self.table.get(id).ok().filter(|entry| entry.may_block())?;
        let sent = poller::asleep(&entry, || msg::send(&self.taps, &entry, msg, Wait::Sleep));
        Some(self.table.count(sent))
    }

    fn recv_blocking(&self, id: SocketId, msg: RecvMsg<'_, '_>) -> Option<io::Result<Received>> {
        let entry = self.table.get(id).ok().filter(|entry| entry.may_block())?;
        let received = poller::asleep(&entry, || msg::recv(&self.taps, &entry, msg, Wait::Sleep));
        Some(self.table.count(received))
    }

    fn is_at_mark(&self, id: SocketId) -> io::Result<bool> {
        sys::is_at_mark(&self.table.get(id)?.fd)
    }

    fn descriptor(&self, id: SocketId) -> io::Result<Option<OwnedFd>> {
        let entry = self.table.get(id)?;
        entry.never_block()?;
        Ok(Some(rustix::io::fcntl_dupfd_cloexec(&entry.fd, 3)?))
    }

    fn set_option(&self, id: SocketId, option: SocketOption) -> io::Result<()> {
        self.table.count(options::set(&*self.table.get(id)?, option))
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
        let entry = self.table.get(id)?;
        let pending = rustix::net::sockopt::socket_error(&entry.fd)?;
        let pending: Option<io::Error> = pending.err().map(Into::into);
        if let Some(error) = &pending
            && let Some(mut show) = Show::of(&self.taps, &entry)
        {
            show.failed(error);
        }
        Ok(pending)
    }

    fn ready(&self, id: SocketId) -> io::Result<Ready> {
        let entry = self.table.get(id)?;
        let ready = poller::poll(&entry, Ready::ALL | Ready::URGENT, Some(Duration::ZERO))?;
        let is_open = ready.contains(Ready::WRITABLE) && !ready.intersects(Ready::ERROR);
        if is_open && let Some(mut show) = Show::of(&self.taps, &entry) {
            show.is_open();
        }
        Ok(ready)
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
