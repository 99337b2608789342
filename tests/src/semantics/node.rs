//! Our stacks as subjects: two on a bus, or one with its loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use libnet::Ready;
use libnet::socket::{Family, OptionKey, Protocol, Received, SockType, SocketOption};
use libnet::wake::Registration;
use rumpnet::{BusConfig, InetConfig, Shmif, Socket, Stack};

use super::net::{Got, How, Net, Side, Sock, Watch};

/// One or two stacks.
pub struct Node {
    name: &'static str,
    stacks: [Stack; 2],
    addrs: [IpAddr; 2],
    /// Where the bus lies.
    _folder: Option<tempfile::TempDir>,
}

impl Node {
    /// A stack with nothing but its loopback.
    ///
    /// # Errors
    /// The stack's.
    pub fn loopback() -> io::Result<Self> {
        let stack = Stack::builder().linger(Duration::ZERO).start()?;
        let addrs = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
        Ok(Node { name: "loopback", stacks: [stack.clone(), stack], addrs, _folder: None })
    }

    /// Two stacks on a bus.
    ///
    /// # Errors
    /// The bus's and the stacks'.
    pub fn bus() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bus");
        // One stack serves all cases: its limit on ICMP errors, which the host's loopback has not,
        // would keep some of them from being sent.
        let mut config = InetConfig::default();
        config.icmp.peer_burst = u32::MAX;
        let start = |addr: &str| {
            let link = Shmif::create_or_attach(&file, &BusConfig::default());
            let link = link.map_err(io::Error::other)?;
            let builder = Stack::builder().interface(link.addr(addr)).config(config.clone());
            builder.linger(Duration::ZERO).start()
        };
        let stacks = [start("10.0.0.1/24")?, start("10.0.0.2/24")?];
        let addrs = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
        Ok(Node { name: "bus", stacks, addrs, _folder: Some(folder) })
    }
}

impl Net for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn addr(&self, side: Side) -> IpAddr {
        self.addrs[side as usize]
    }

    fn socket(&self, side: Side, ty: SockType) -> io::Result<Box<dyn Sock>> {
        let socket = self.stacks[side as usize].socket(Family::Inet, ty, Protocol::DEFAULT)?;
        Ok(Box::new(NodeSock(socket)))
    }
}

/// A socket of the socket layer, whatever its domain.
pub struct NodeSock(pub Socket);

impl Sock for NodeSock {
    fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.0.bind(addr)
    }

    fn listen(&self, backlog: u32) -> io::Result<()> {
        self.0.listen(backlog)
    }

    fn accept(&self) -> io::Result<(Box<dyn Sock>, SocketAddr)> {
        let (socket, peer) = self.0.accept()?;
        Ok((Box::new(NodeSock(socket)), peer))
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<()> {
        self.0.connect(addr)
    }

    fn send(&self, data: &[u8], how: How) -> io::Result<usize> {
        match how {
            How::Urgent => self.0.send_urgent(data),
            _ => self.0.send(data),
        }
    }

    fn send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        self.0.send_to(data, addr)
    }

    fn recv(&self, buf: &mut [u8], how: How) -> io::Result<Got> {
        let received = match how {
            How::Plain => self.0.recv_msg(&mut [io::IoSliceMut::new(buf)])?,
            How::Peek => self.0.peek_msg(buf)?,
            How::Urgent => Received::stream(self.0.recv_urgent(buf)?),
        };
        let (bytes, message_bytes, from) = (received.bytes, received.message_bytes, received.from);
        Ok(Got { bytes, message_bytes, from })
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.take_error()
    }

    fn ready(&self) -> io::Result<Ready> {
        self.0.ready()
    }

    fn set(&self, option: SocketOption) -> io::Result<()> {
        self.0.set_option(option)
    }

    fn get(&self, key: OptionKey) -> io::Result<SocketOption> {
        self.0.option(key)
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.set_nonblocking(nonblocking);
        Ok(())
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_write_timeout(timeout)
    }

    fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.0.read_timeout())
    }

    fn watch(&self, interest: Ready) -> io::Result<Box<dyn Watch + '_>> {
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), thread: thread::current() });
        let waker = Waker::from(Arc::clone(&bell));
        let registration = self.0.domain().register(self.0.id(), interest, &waker);
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
