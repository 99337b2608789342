//! The host kernel's own sockets, in a network namespace of their own where one may be made.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libnet::socket::{Family, OptionKey, SockType, SocketOption};
use libnet::{Ready, errno};
use nix::libc;
use nix::sys::socket::{getsockopt, setsockopt, sockopt as nixopt};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::host_groups;
use super::net::{Got, How, Net, Side, Sock, Watch};
use super::observe::host_stalls;
use super::run::PATIENCE;

/// The host, on its loopback.
#[derive(Debug)]
pub struct Host {
    /// Side A's is the one that the loopback chooses for IPv4.
    addrs: [IpAddr; 2],
    /// Has a network namespace of its own.
    isolated: bool,
}

impl Host {
    /// The host as the calling thread has it. Side B's address is that thread's own, so that other
    /// tests' sockets keep out of the cases.
    pub fn plain() -> Self {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let [.., high, low] = thread.to_be_bytes();
        // All of 127/8 is this machine's; its first and last networks have a meaning to some.
        let b = Ipv4Addr::new(127, high.clamp(1, 254), low, 2);
        Host { addrs: [Ipv4Addr::LOCALHOST.into(), b.into()], isolated: false }
    }

    /// Moves the calling thread, and those it will start, into a fresh network namespace with a
    /// loopback alone.
    ///
    /// # Errors
    /// `EPERM` where that is not allowed; what `ip` says.
    pub fn isolated() -> io::Result<Self> {
        // Before there is no way back.
        Command::new("ip").arg("-Version").stdout(Stdio::null()).status()?;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        for setup in [
            "link set lo up",
            "route add unreachable 198.51.100.0/24",
            "route add blackhole 203.0.113.0/24",
        ] {
            ip(setup)?;
        }
        fs::write("/proc/sys/net/ipv4/tcp_fastopen", FAST_OPEN.to_string())?;
        let addrs = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)].map(IpAddr::V4);
        Ok(Host { addrs, isolated: true })
    }

    /// The same host over IPv6.
    ///
    /// # Errors
    /// `EPERM` where it has no namespace of its own: it has one address only, and no room for
    /// routes. What `ip` says, as where IPv6 is turned off.
    pub fn six(&self) -> io::Result<Self> {
        if !self.isolated {
            return Err(errno::not_permitted());
        }
        for setup in [
            "-6 addr add fd00::2/128 dev lo nodad",
            "-6 route add unreachable 2001:db8:2::/48",
            "-6 route add blackhole 2001:db8:3::/48",
            // What is sent to groups by the loopback comes back by it, as over IPv4.
            "-6 route add local ff00::/8 dev lo table local",
        ] {
            ip(setup)?;
        }
        // A busy host takes a moment until the address can be used.
        let probe = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = probe.connect((SIX_B, 9)) {
            if Instant::now() >= deadline {
                return Err(error);
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        let addrs = [Ipv6Addr::LOCALHOST, SIX_B].map(IpAddr::V6);
        Ok(Host { addrs, isolated: true })
    }

    /// In a namespace of its own if that may be, else as it is.
    pub fn best() -> Self {
        Host::isolated().unwrap_or_else(|_| Host::plain())
    }
}

/// `tcp_fastopen` of every closed net: connects and listeners may.
pub(super) const FAST_OPEN: u32 = 3;

/// The index that Linux gives the loopback of a namespace.
pub(super) const LOOPBACK: u32 = 1;

/// Side B's address over IPv6, where both are of one machine.
pub(super) const SIX_B: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn ip(setup: &str) -> io::Result<()> {
    if Command::new("ip").args(setup.split(' ')).status()?.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("`ip {setup}` failed in a new namespace")))
}

impl Net for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn family(&self) -> Family {
        Family::of(&self.addrs[0])
    }

    fn is_closed(&self) -> bool {
        self.isolated
    }

    fn addr(&self, side: Side) -> IpAddr {
        self.addrs[side as usize]
    }

    fn interface(&self, _: Side) -> u32 {
        LOOPBACK
    }

    fn socket(&self, _: Side, ty: SockType) -> io::Result<Box<dyn Sock>> {
        let ty = match ty {
            SockType::Stream => SocketType::STREAM,
            SockType::Datagram => SocketType::DGRAM,
            _ => SocketType::RAW,
        };
        let family = match self.family() {
            Family::Inet6 => AddressFamily::INET6,
            _ => AddressFamily::INET,
        };
        let fd = net::socket_with(family, ty, SocketFlags::CLOEXEC, None)?;
        Ok(Box::new(HostSock { fd, six: family == AddressFamily::INET6 }))
    }
}

/// A descriptor.
struct HostSock {
    fd: OwnedFd,
    /// Of IPv6.
    six: bool,
}

impl HostSock {
    fn send_flags(how: How) -> SendFlags {
        match how {
            How::Urgent => SendFlags::NOSIGNAL | SendFlags::OOB,
            _ => SendFlags::NOSIGNAL,
        }
    }

    fn set_timeout(&self, which: Timeout, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(&self.fd, which, timeout)?)
    }
}

fn std_addr(addr: net::SocketAddrAny) -> io::Result<SocketAddr> {
    SocketAddr::try_from(addr).map_err(|_| errno::family_not_supported())
}

impl Sock for HostSock {
    fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        Ok(net::bind(&self.fd, &addr)?)
    }

    fn listen(&self, backlog: u32) -> io::Result<()> {
        Ok(net::listen(&self.fd, backlog as i32)?)
    }

    fn accept(&self) -> io::Result<(Box<dyn Sock>, SocketAddr)> {
        let (fd, peer) = net::acceptfrom_with(&self.fd, SocketFlags::CLOEXEC)?;
        let peer = peer.ok_or_else(errno::not_connected)?;
        Ok((Box::new(HostSock { fd, six: self.six }), std_addr(peer)?))
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<()> {
        Ok(net::connect(&self.fd, &addr)?)
    }

    fn send(&self, data: &[u8], how: How) -> io::Result<usize> {
        Ok(net::send(&self.fd, data, Self::send_flags(how))?)
    }

    fn send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        Ok(net::sendto(&self.fd, data, SendFlags::NOSIGNAL, &addr)?)
    }

    fn send_fast_open(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32);
        Ok(net::sendto(&self.fd, data, flags, &addr)?)
    }

    fn recv(&self, buf: &mut [u8], how: How) -> io::Result<Got> {
        // MSG_TRUNC on a stream would throw data away.
        let datagram = sockopt::socket_type(&self.fd)? != SocketType::STREAM;
        let mut flags = if datagram { RecvFlags::TRUNC } else { RecvFlags::empty() };
        match how {
            How::Plain => {}
            How::Peek => flags |= RecvFlags::PEEK,
            How::Urgent => flags |= RecvFlags::OOB,
        }
        let (bytes, message_bytes, from) = net::recvfrom(&self.fd, buf, flags)?;
        let from = from.map(std_addr).transpose()?;
        Ok(Got { bytes, message_bytes, from })
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => net::Shutdown::Read,
            Shutdown::Write => net::Shutdown::Write,
            Shutdown::Both => net::Shutdown::Both,
        };
        Ok(net::shutdown(&self.fd, how)?)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        std_addr(net::getsockname(&self.fd)?)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        std_addr(net::getpeername(&self.fd)?.ok_or_else(errno::not_connected)?)
    }

    fn stalls(&self) -> io::Result<bool> {
        host_stalls(self.local_addr()?, self.peer_addr()?)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(sockopt::socket_error(&self.fd)?.err().map(io::Error::from))
    }

    fn ready(&self) -> io::Result<Ready> {
        let all = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP | PollFlags::PRI;
        let mut fds = [PollFd::new(&self.fd, all)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let got = fds[0].revents();
        let mut ready = Ready::NONE;
        for (flag, meaning) in [
            (PollFlags::IN, Ready::READABLE),
            (PollFlags::OUT, Ready::WRITABLE),
            (PollFlags::ERR, Ready::ERROR),
            (PollFlags::HUP, Ready::HANGUP),
            (PollFlags::RDHUP, Ready::READ_CLOSED),
            (PollFlags::PRI, Ready::URGENT),
        ] {
            if got.contains(flag) {
                ready |= meaning;
            }
        }
        Ok(ready)
    }

    fn set(&self, option: SocketOption) -> io::Result<()> {
        let fd = &self.fd;
        match option {
            SocketOption::ReuseAddr(on) => sockopt::set_socket_reuseaddr(fd, on)?,
            SocketOption::ReusePort(on) => sockopt::set_socket_reuseport(fd, on)?,
            SocketOption::Broadcast(on) => sockopt::set_socket_broadcast(fd, on)?,
            SocketOption::KeepAlive(on) => sockopt::set_socket_keepalive(fd, on)?,
            SocketOption::SendBufferBytes(n) => {
                sockopt::set_socket_send_buffer_size(fd, n as usize)?;
            }
            SocketOption::ReceiveBufferBytes(n) => {
                sockopt::set_socket_recv_buffer_size(fd, n as usize)?;
            }
            SocketOption::Linger(time) => sockopt::set_socket_linger(fd, time)?,
            SocketOption::NoDelay(on) => sockopt::set_tcp_nodelay(fd, on)?,
            SocketOption::UrgentInline(on) => sockopt::set_socket_oobinline(fd, on)?,
            SocketOption::Cork(on) => sockopt::set_tcp_cork(fd, on)?,
            SocketOption::QuickAck(on) => sockopt::set_tcp_quickack(fd, on)?,
            SocketOption::KeepIdle(time) => sockopt::set_tcp_keepidle(fd, time)?,
            SocketOption::KeepInterval(time) => sockopt::set_tcp_keepintvl(fd, time)?,
            SocketOption::KeepCount(n) => sockopt::set_tcp_keepcnt(fd, n)?,
            SocketOption::UserTimeout(time) => {
                sockopt::set_tcp_user_timeout(fd, time.as_millis() as u32)?;
            }
            SocketOption::Congestion(name) => sockopt::set_tcp_congestion(fd, &name)?,
            SocketOption::MaxSegmentBytes(n) => setsockopt(fd, nixopt::TcpMaxSeg, &n)?,
            SocketOption::Ttl(hops) if self.six => {
                sockopt::set_ipv6_unicast_hops(fd, Some(hops))?;
            }
            SocketOption::Tos(tos) if self.six => sockopt::set_ipv6_tclass(fd, tos.into())?,
            SocketOption::MulticastTtl(hops) if self.six => {
                sockopt::set_ipv6_multicast_hops(fd, hops.into())?;
            }
            SocketOption::MulticastLoop(on) if self.six => {
                sockopt::set_ipv6_multicast_loop(fd, on)?;
            }
            SocketOption::ReceiveErrors(on) if self.six => {
                setsockopt(fd, nixopt::Ipv6RecvErr, &on)?;
            }
            SocketOption::V6Only(on) => sockopt::set_ipv6_v6only(fd, on)?,
            SocketOption::Ttl(ttl) => sockopt::set_ip_ttl(fd, ttl.into())?,
            SocketOption::Tos(tos) => sockopt::set_ip_tos(fd, tos)?,
            SocketOption::MulticastTtl(ttl) => sockopt::set_ip_multicast_ttl(fd, ttl.into())?,
            SocketOption::MulticastLoop(on) => sockopt::set_ip_multicast_loop(fd, on)?,
            SocketOption::ReceiveErrors(on) => setsockopt(fd, nixopt::Ipv4RecvErr, &on)?,
            SocketOption::BindToDevice(name) => {
                setsockopt(fd, nixopt::BindToDevice, &name.into())?;
            }
            other => host_groups::set(fd, self.six, &other)?,
        }
        Ok(())
    }

    fn get(&self, key: OptionKey) -> io::Result<SocketOption> {
        let fd = &self.fd;
        Ok(match key {
            OptionKey::ReuseAddr => SocketOption::ReuseAddr(sockopt::socket_reuseaddr(fd)?),
            OptionKey::ReusePort => SocketOption::ReusePort(sockopt::socket_reuseport(fd)?),
            OptionKey::Broadcast => SocketOption::Broadcast(sockopt::socket_broadcast(fd)?),
            OptionKey::KeepAlive => SocketOption::KeepAlive(sockopt::socket_keepalive(fd)?),
            OptionKey::SendBufferBytes => {
                SocketOption::SendBufferBytes(sockopt::socket_send_buffer_size(fd)? as u32)
            }
            OptionKey::ReceiveBufferBytes => {
                SocketOption::ReceiveBufferBytes(sockopt::socket_recv_buffer_size(fd)? as u32)
            }
            OptionKey::Linger => SocketOption::Linger(sockopt::socket_linger(fd)?),
            OptionKey::NoDelay => SocketOption::NoDelay(sockopt::tcp_nodelay(fd)?),
            OptionKey::UrgentInline => SocketOption::UrgentInline(sockopt::socket_oobinline(fd)?),
            OptionKey::Cork => SocketOption::Cork(sockopt::tcp_cork(fd)?),
            OptionKey::QuickAck => SocketOption::QuickAck(sockopt::tcp_quickack(fd)?),
            OptionKey::KeepIdle => SocketOption::KeepIdle(sockopt::tcp_keepidle(fd)?),
            OptionKey::KeepInterval => SocketOption::KeepInterval(sockopt::tcp_keepintvl(fd)?),
            OptionKey::KeepCount => SocketOption::KeepCount(sockopt::tcp_keepcnt(fd)?),
            OptionKey::UserTimeout => {
                let millis = sockopt::tcp_user_timeout(fd)?;
                SocketOption::UserTimeout(Duration::from_millis(millis.into()))
            }
            OptionKey::Congestion => SocketOption::Congestion(sockopt::tcp_congestion(fd)?),
            OptionKey::MaxSegmentBytes => {
                SocketOption::MaxSegmentBytes(getsockopt(fd, nixopt::TcpMaxSeg)?)
            }
            OptionKey::Ttl if self.six => SocketOption::Ttl(sockopt::ipv6_unicast_hops(fd)? as u8),
            OptionKey::Tos if self.six => SocketOption::Tos(sockopt::ipv6_tclass(fd)? as u8),
            OptionKey::MulticastTtl if self.six => {
                SocketOption::MulticastTtl(sockopt::ipv6_multicast_hops(fd)? as u8)
            }
            OptionKey::MulticastLoop if self.six => {
                SocketOption::MulticastLoop(sockopt::ipv6_multicast_loop(fd)?)
            }
            OptionKey::ReceiveErrors if self.six => {
                SocketOption::ReceiveErrors(getsockopt(fd, nixopt::Ipv6RecvErr)?)
            }
            OptionKey::V6Only => SocketOption::V6Only(sockopt::ipv6_v6only(fd)?),
            OptionKey::Ttl => SocketOption::Ttl(sockopt::ip_ttl(fd)? as u8),
            OptionKey::Tos => SocketOption::Tos(sockopt::ip_tos(fd)?),
            OptionKey::MulticastTtl => {
                SocketOption::MulticastTtl(sockopt::ip_multicast_ttl(fd)? as u8)
            }
            OptionKey::MulticastLoop => {
                SocketOption::MulticastLoop(sockopt::ip_multicast_loop(fd)?)
            }
            OptionKey::ReceiveErrors => {
                SocketOption::ReceiveErrors(getsockopt(fd, nixopt::Ipv4RecvErr)?)
            }
            other => host_groups::get(fd, self.six, other)?,
        })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        let mut flags = fcntl_getfl(&self.fd)?;
        flags.set(OFlags::NONBLOCK, nonblocking);
        Ok(fcntl_setfl(&self.fd, flags)?)
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_timeout(Timeout::Recv, timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_timeout(Timeout::Send, timeout)
    }

    fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(sockopt::socket_timeout(&self.fd, Timeout::Recv)?)
    }

    fn watch(&self, interest: Ready) -> io::Result<Box<dyn Watch + '_>> {
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut flags = epoll::EventFlags::ET;
        for (meaning, flag) in [
            (Ready::READABLE, epoll::EventFlags::IN),
            (Ready::WRITABLE, epoll::EventFlags::OUT),
            (Ready::READ_CLOSED, epoll::EventFlags::RDHUP),
            (Ready::URGENT, epoll::EventFlags::PRI),
        ] {
            flags.set(flag, interest.contains(meaning));
        }
        epoll::add(&watch, &self.fd, epoll::EventData::new_u64(0), flags)?;
        let mut watch = HostWatch(watch);
        // What is ready already is no edge.
        watch.next(Duration::ZERO)?;
        Ok(Box::new(watch))
    }
}

struct HostWatch(OwnedFd);

impl Watch for HostWatch {
    fn next(&mut self, patience: Duration) -> io::Result<bool> {
        let mut events = Vec::with_capacity(4);
        let wait =
            Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
        Ok(!events.is_empty())
    }
}
