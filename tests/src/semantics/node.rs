//! Our stacks as subjects: two on a bus, or one with its loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use libnet::route::{Route, RouteKind};
use libnet::socket::{Family, OptionKey, Protocol, Received, SockType, SocketOption};
use libnet::wake::Registration;
use libnet::{IfIndex, Ready, errno};
use libnetinet::tcp::FastOpen;
use rumpnet::sockin::Sockin;
use rumpnet::{BusConfig, Inet, InetConfig, IpCidr, Shmif, Socket, Stack};

use super::host::{FAST_OPEN, Host, SIX_B};
use super::net::{Got, How, Net, Side, Sock, Watch};
use super::observe::host_stalls;

/// One or two stacks.
pub struct Node {
    name: &'static str,
    stacks: [Stack; 2],
    addrs: [IpAddr; 2],
    /// The index of the interface that has them.
    interface: u32,
    closed: bool,
    /// Where the bus lies.
    _folder: Option<tempfile::TempDir>,
}

impl Node {
    /// A stack over the host's sockets, at the addresses of `host`. The calling thread's network
    /// namespace is the one it has them of.
    ///
    /// # Errors
    /// The domain's and the stack's.
    pub fn sockin(host: &Host) -> io::Result<Self> {
        let stack = Stack::builder().domain(Sockin::new()?).start()?;
        let addrs = [Side::A, Side::B].map(|side| host.addr(side));
        let stacks = [stack.clone(), stack];
        let (interface, closed) = (host.interface(Side::A), host.is_closed());
        Ok(Node { name: "sockin", stacks, addrs, interface, closed, _folder: None })
    }

    /// A stack with nothing but its loopback.
    ///
    /// # Errors
    /// The stack's.
    pub fn loopback(family: Family) -> io::Result<Self> {
        let mut config = InetConfig::default();
        config.tcp.fast_open = FastOpen(FAST_OPEN);
        let stack = Stack::builder().config(config).linger(Duration::ZERO).start()?;
        let addrs = match family {
            Family::Inet6 => [Ipv6Addr::LOCALHOST, SIX_B].map(IpAddr::V6),
            _ => [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))),
        };
        if let (Family::Inet6, Some(inet)) = (family, stack.inet()) {
            inet.add_address(IfIndex::LOOPBACK, IpCidr::host(SIX_B.into()))?;
        }
        let stacks = [stack.clone(), stack];
        close_routes(&stacks[0])?;
        let interface = IfIndex::LOOPBACK.0;
        Ok(Node { name: "loopback", stacks, addrs, interface, closed: true, _folder: None })
    }

    /// Two stacks on a bus.
    ///
    /// # Errors
    /// The bus's and the stacks'.
    pub fn bus(family: Family) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bus");
        // One stack serves all cases: its limit on ICMP errors, which the host's loopback has not,
        // would keep some of them from being sent.
        let mut config = InetConfig::default();
        config.icmp.peer_burst = u32::MAX;
        config.tcp.fast_open = FastOpen(FAST_OPEN);
        let start = |addr: IpAddr| {
            let addr = format!("{addr}/{}", if addr.is_ipv4() { 24 } else { 64 });
            let link = Shmif::create_or_attach(&file, &BusConfig::default());
            let link = link.map_err(io::Error::other)?;
            let builder = Stack::builder().interface(link.addr(&addr)).config(config.clone());
            builder.linger(Duration::ZERO).start()
        };
        let addrs = [1, 2].map(|last| match family {
            Family::Inet6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into(),
            _ => IpAddr::V4(Ipv4Addr::new(10, 0, 0, last as u8)),
        });
        let stacks = [start(addrs[0])?, start(addrs[1])?];
        stacks.iter().try_for_each(close_routes)?;
        let (interface, folder) = (IfIndex::LOOPBACK.0 + 1, Some(folder));
        Ok(Node { name: "bus", stacks, addrs, interface, closed: true, _folder: folder })
    }
}

/// Gives a stack the routes of [`Net::is_closed`].
fn close_routes(stack: &Stack) -> io::Result<()> {
    let Some(inet) = stack.inet() else { return Ok(()) };
    let lo = inet.routes().first().map(|route| route.iface).ok_or_else(errno::no_device)?;
    for (net, kind) in [
        ("198.51.100.0/24", RouteKind::Reject),
        ("203.0.113.0/24", RouteKind::Blackhole),
        ("2001:db8:2::/48", RouteKind::Reject),
        ("2001:db8:3::/48", RouteKind::Blackhole),
    ] {
        let net: IpCidr = net.parse().map_err(|_| errno::invalid())?;
        inet.add_route(Route::connected(net, lo).with_kind(kind))?;
    }
    Ok(())
}

impl Net for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        Family::of(&self.addrs[0])
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn addr(&self, side: Side) -> IpAddr {
        self.addrs[side as usize]
    }

    fn interface(&self, _: Side) -> u32 {
        self.interface
    }

    fn socket(&self, side: Side, ty: SockType) -> io::Result<Box<dyn Sock>> {
        let stack = &self.stacks[side as usize];
        let socket = stack.socket(self.family(), ty, Protocol::DEFAULT)?;
        Ok(Box::new(NodeSock { socket, inet: stack.inet().cloned() }))
    }
}

/// A socket of the socket layer, whatever its domain.
struct NodeSock {
    socket: Socket,
    /// Who serves it; `None`: the host.
    inet: Option<Arc<Inet>>,
}

impl Sock for NodeSock {
    fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.socket.bind(addr)
    }

    fn listen(&self, backlog: u32) -> io::Result<()> {
        self.socket.listen(backlog)
    }

    fn accept(&self) -> io::Result<(Box<dyn Sock>, SocketAddr)> {
        let (socket, peer) = self.socket.accept()?;
        Ok((Box::new(NodeSock { socket, inet: self.inet.clone() }), peer))
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<()> {
        self.socket.connect(addr)
    }

    fn send(&self, data: &[u8], how: How) -> io::Result<usize> {
        match how {
            How::Urgent => self.socket.send_urgent(data),
            _ => self.socket.send(data),
        }
    }

    fn send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(data, addr)
    }

    fn send_fast_open(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        self.socket.send_fast_open(data, addr)
    }

    fn recv(&self, buf: &mut [u8], how: How) -> io::Result<Got> {
        let received = match how {
            How::Plain => self.socket.recv_msg(&mut [io::IoSliceMut::new(buf)])?,
            How::Peek => self.socket.peek_msg(buf)?,
            How::Urgent => Received::stream(self.socket.recv_urgent(buf)?),
        };
        let (bytes, message_bytes, from) = (received.bytes, received.message_bytes, received.from);
        Ok(Got { bytes, message_bytes, from })
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    fn stalls(&self) -> io::Result<bool> {
        let Some(inet) = &self.inet else {
            return host_stalls(self.local_addr()?, self.peer_addr()?);
        };
        let info = inet.tcp_info(self.socket.id()).ok_or_else(errno::not_connected)?;
        let segment = u32::from(info.snd_mss_bytes);
        // Window probes are under way from time to time.
        let idle = info.in_flight_bytes < segment;
        Ok(idle && info.send_queue_bytes > 0 && info.snd_wnd_bytes < segment)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    fn ready(&self) -> io::Result<Ready> {
        self.socket.ready()
    }

    fn set(&self, option: SocketOption) -> io::Result<()> {
        self.socket.set_option(option)
    }

    fn get(&self, key: OptionKey) -> io::Result<SocketOption> {
        self.socket.option(key)
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking);
        Ok(())
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.read_timeout())
    }

    fn watch(&self, interest: Ready) -> io::Result<Box<dyn Watch + '_>> {
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), thread: thread::current() });
        let waker = Waker::from(Arc::clone(&bell));
        let registration = self.socket.domain().register(self.socket.id(), interest, &waker);
        Ok(Box::new(NodeWatch { bell, _registration: registration }))
    }
}

struct Bell {
    rung: AtomicBool,
    thread: Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

struct NodeWatch {
    bell: Arc<Bell>,
    _registration: Registration,
}

impl Watch for NodeWatch {
    fn next(&mut self, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            if self.bell.rung.swap(false, Ordering::SeqCst) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            thread::park_timeout(left);
        }
    }
}
