//! The same stream over the kernel's sockets or over a stack of ours, on a bus or a tap.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use rumpnet::sockin::Sockin;
use rumpnet::{Shmif, Stack};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use virtif::{BigTcp, Offloads, Virtif, VirtifConfig};

/// What carries the bytes.
#[derive(Debug)]
pub enum Transport {
    /// The kernel's own sockets.
    Linux(Congestion),
    /// A stack of ours.
    Ours(Stack),
}

/// How the kernel's TCP avoids congestion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Congestion {
    /// By CUBIC, as our own TCP.
    Cubic,
    /// By BBR, the kernel's.
    Bbr,
    /// As the host does by default.
    Hosts,
}

impl Congestion {
    /// What the kernel calls it; `None` leaves the choice to it.
    const fn name(self) -> Option<&'static str> {
        match self {
            Congestion::Cubic => Some("cubic"),
            Congestion::Bbr => Some("bbr"),
            Congestion::Hosts => None,
        }
    }
}

/// A listener on either.
#[derive(Debug)]
pub enum Listener {
    /// The host's.
    Linux(std::net::TcpListener),
    /// Ours.
    Ours(rumpnet::TcpListener),
}

/// A stream on either.
#[derive(Debug)]
pub enum Stream {
    /// The host's.
    Linux(std::net::TcpStream),
    /// Ours.
    Ours(rumpnet::TcpStream),
}

impl Transport {
    /// The kernel's sockets for `linux` and, with the host's congestion control, `std`; a stack
    /// over them for `sockin`; else a stack with `addr`, on the tap behind `tap:` or
    /// `short:` (no frame longer than 64 KiB) or `plain:` (without offloads), or on the bus at that
    /// path.
    ///
    /// # Errors
    /// As attaching gives them.
    pub fn open(name: &str, addr: &str) -> io::Result<Self> {
        match name {
            "linux" => return Ok(Transport::Linux(Congestion::Cubic)),
            "std" => return Ok(Transport::Linux(Congestion::Hosts)),
            "sockin" => {
                return Ok(Transport::Ours(Stack::builder().domain(Sockin::new()?).start()?));
            }
            _ => {}
        }
        let interface = match name.split_once(':') {
            Some(("tap", device)) => Virtif::open(device)?.addr(addr),
            Some(("short", device)) => {
                let mut config = VirtifConfig::default();
                config.big_tcp = BigTcp::Off;
                Virtif::open_with(device, &config)?.addr(addr)
            }
            Some(("plain", device)) => {
                let mut config = VirtifConfig::default();
                config.offloads = Offloads::Off;
                Virtif::open_with(device, &config)?.addr(addr)
            }
            _ => Shmif::attach(Path::new(name))?.addr(addr),
        };
        Ok(Transport::Ours(Stack::builder().interface(interface).start()?))
    }

    /// Listens.
    ///
    /// # Errors
    /// As the transport gives them.
    pub fn listen(&self, addr: SocketAddr) -> io::Result<Listener> {
        Ok(match self {
            Transport::Linux(congestion) => {
                let listener = std::net::TcpListener::bind(addr)?;
                if let Some(name) = congestion.name() {
                    sockopt::set_tcp_congestion(&listener, name)?;
                }
                Listener::Linux(listener)
            }
            Transport::Ours(stack) => Listener::Ours(stack.tcp_listen(addr)?),
        })
    }

    /// Connects, `TCP_NODELAY` set.
    ///
    /// # Errors
    /// As the transport gives them.
    pub fn connect(&self, addr: SocketAddr) -> io::Result<Stream> {
        Ok(match self {
            Transport::Linux(congestion) => {
                let stream = match congestion.name() {
                    Some(name) => connect_with(name, addr)?,
                    None => std::net::TcpStream::connect(addr)?,
                };
                stream.set_nodelay(true)?;
                Stream::Linux(stream)
            }
            Transport::Ours(stack) => {
                let stream = stack.tcp_connect(addr)?;
                stream.set_nodelay(true)?;
                Stream::Ours(stream)
            }
        })
    }
}

impl Listener {
    /// Takes a connection, `TCP_NODELAY` set.
    ///
    /// # Errors
    /// As the transport gives them.
    pub fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Listener::Linux(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                Stream::Linux(stream)
            }
            Listener::Ours(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                Stream::Ours(stream)
            }
        })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// As the transport gives them.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Listener::Linux(listener) => listener.local_addr(),
            Listener::Ours(listener) => listener.local_addr(),
        }
    }
}

/// Set before it connects: one that began with bbr would go on pacing.
fn connect_with(congestion: &str, addr: SocketAddr) -> io::Result<std::net::TcpStream> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_tcp_congestion(&fd, congestion)?;
    rustix::net::connect(&fd, &addr)?;
    Ok(fd.into())
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Linux(stream) => stream.read(buf),
            Stream::Ours(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Linux(stream) => stream.write(buf),
            Stream::Ours(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
