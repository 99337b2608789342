//! The same stream over the kernel's loopback or over a stack of ours on a bus.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::socket::{setsockopt, sockopt::TcpCongestion};
use rumpnet::{Shmif, Stack};

/// What carries the bytes.
#[derive(Debug)]
pub enum Transport {
    /// The host's loopback.
    Linux,
    /// A stack on a bus.
    Bus(Stack),
}

/// A listener on either.
#[derive(Debug)]
pub enum Listener {
    /// The host's.
    Linux(std::net::TcpListener),
    /// Ours.
    Bus(rumpnet::TcpListener),
}

/// A stream on either.
#[derive(Debug)]
pub enum Stream {
    /// The host's.
    Linux(std::net::TcpStream),
    /// Ours.
    Bus(rumpnet::TcpStream),
}

impl Transport {
    /// The host's loopback for `linux`, else a stack with `addr` on the bus at that path.
    ///
    /// # Errors
    /// As attaching gives them.
    pub fn open(name: &str, addr: &str) -> io::Result<Self> {
        if name == "linux" {
            return Ok(Transport::Linux);
        }
        let bus = Shmif::attach(Path::new(name))?;
        Ok(Transport::Bus(Stack::builder().interface(bus.addr(addr)).start()?))
    }

    /// Listens.
    ///
    /// # Errors
    /// As the transport gives them.
    pub fn listen(&self, addr: SocketAddr) -> io::Result<Listener> {
        Ok(match self {
            Transport::Linux => {
                let listener = std::net::TcpListener::bind(addr)?;
                setsockopt(&listener, TcpCongestion, &"cubic".into())?;
                Listener::Linux(listener)
            }
            Transport::Bus(stack) => Listener::Bus(stack.tcp_listen(addr)?),
        })
    }

    /// Connects, `TCP_NODELAY` set.
    ///
    /// # Errors
    /// As the transport gives them.
    pub fn connect(&self, addr: SocketAddr) -> io::Result<Stream> {
        Ok(match self {
            Transport::Linux => {
                let stream = std::net::TcpStream::connect(addr)?;
                setsockopt(&stream, TcpCongestion, &"cubic".into())?;
                stream.set_nodelay(true)?;
                Stream::Linux(stream)
            }
            Transport::Bus(stack) => {
                let stream = stack.tcp_connect(addr)?;
                stream.set_nodelay(true)?;
                Stream::Bus(stream)
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
            Listener::Bus(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                Stream::Bus(stream)
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
            Listener::Bus(listener) => listener.local_addr(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Linux(stream) => stream.read(buf),
            Stream::Bus(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Linux(stream) => stream.write(buf),
            Stream::Bus(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
