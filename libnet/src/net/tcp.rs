//! `TcpStream` and `TcpListener`, in the shape of `std::net`.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Socket, SocketLayer};
use crate::socket::{OptionKey, SockType, SocketOption, TcpInfo};

/// A TCP connection. Reads and writes take `&self`; clones share the connection, its mode and its
/// time-outs. It is closed when the last clone is dropped; what was written is still sent.
#[derive(Clone)]
pub struct TcpStream(Arc<Socket>);

/// A TCP socket that accepts connections.
#[derive(Clone)]
pub struct TcpListener(Arc<Socket>);

/// The connections of a listener, without end. Made by [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a>(&'a TcpListener);

macro_rules! options {
    ($($(#[$doc:meta])* $get:ident $set:ident $option:ident: $ty:ty = $from:expr, $to:expr;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// As the domain gives them for the option.
            pub fn $get(&self) -> io::Result<$ty> {
                match self.0.option(OptionKey::$option)? {
                    SocketOption::$option(value) => Ok($to(value)),
                    _ => Err(crate::errno::no_such_option()),
                }
            }

            #[doc = concat!("Sets what [`", stringify!($get), "`](Self::", stringify!($get), ") gives.")]
            ///
            /// # Errors
            /// As the domain gives them for the option.
            pub fn $set(&self, value: $ty) -> io::Result<()> {
                self.0.set_option(SocketOption::$option($from(value)?))
            }
        )*
    };
}
/// What streams and datagram sockets have in common: time-outs, the pending error, the mode.
macro_rules! shared_calls {
    () => {
        /// Bounds how long a receive waits; `None`: without end. It gives `WouldBlock` then.
        ///
        /// # Errors
        /// `InvalidInput` for zero.
        pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.0.set_read_timeout(timeout)
        }

        /// Bounds how long a send waits; `None`: without end. It gives `WouldBlock` then.
        ///
        /// # Errors
        /// `InvalidInput` for zero.
        pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.0.set_write_timeout(timeout)
        }

        /// How long a receive waits.
        ///
        /// # Errors
        /// None; the signature is that of `std::net`.
        pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.0.read_timeout())
        }

        /// How long a send waits.
        ///
        /// # Errors
        /// None; the signature is that of `std::net`.
        pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.0.write_timeout())
        }

        /// Takes the pending error (`SO_ERROR`).
        ///
        /// # Errors
        /// As the domain gives them.
        pub fn take_error(&self) -> io::Result<Option<io::Error>> {
            self.0.take_error()
        }

        /// Moves it into or out of non-blocking mode.
        ///
        /// # Errors
        /// None; the signature is that of `std::net`.
        pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
            self.0.set_nonblocking(nonblocking);
            Ok(())
        }
    };
}
pub(super) use {options, shared_calls};

pub(super) fn same<T>(value: T) -> T {
    value
}

pub(super) fn ok<T>(value: T) -> io::Result<T> {
    Ok(value)
}

/// TTLs are 1..=255, as the kernel has it.
pub(super) fn ttl_from(value: u32) -> io::Result<u8> {
    u8::try_from(value).ok().filter(|&ttl| ttl > 0).ok_or_else(crate::errno::invalid)
}

impl TcpStream {
    pub(super) fn open(
        layer: &SocketLayer,
        addr: SocketAddr,
        timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let socket = layer.socket_for(&addr.ip(), SockType::Stream)?;
        let deadline = timeout.map(|timeout| layer.driver().now() + timeout);
        match socket.connect_until(addr, deadline) {
            Err(error) if crate::errno::is_would_block(&error) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
            }
            done => done?,
        }
        Ok(TcpStream(Arc::new(socket)))
    }

    pub(super) fn open_fast(
        layer: &SocketLayer,
        addr: SocketAddr,
        data: &[u8],
    ) -> io::Result<Self> {
        let socket = layer.socket_for(&addr.ip(), SockType::Stream)?;
        let sent = socket.send_fast_open(data, addr)?;
        if sent < data.len() {
            // The connection ended before it could take them all.
            return Err(socket.take_error()?.unwrap_or_else(crate::errno::broken_pipe));
        }
        Ok(TcpStream(Arc::new(socket)))
    }

    /// A stream over a connected socket, as accepted or connected by hand.
    pub fn from_socket(socket: Socket) -> Self {
        TcpStream(Arc::new(socket))
    }

    /// The socket under it.
    pub fn socket(&self) -> &Socket {
        &self.0
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// `ENOTCONN` once the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    /// As the domain gives them.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Closes the reading, the writing or both directions.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }

    /// Another handle of the same connection.
    ///
    /// # Errors
    /// None; the signature is that of `std::net`.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Ok(self.clone())
    }

    shared_calls!();

    /// Copies what would be read into `buf`, and leaves it to be read.
    ///
    /// # Errors
    /// As a read gives them.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.peek_msg(buf).map(|received| received.bytes)
    }

    options! {
        /// Are small segments sent at once (`TCP_NODELAY`), not gathered by Nagle's algorithm?
        nodelay set_nodelay NoDelay: bool = ok, same;
        /// Do segments that are not full wait for more (`TCP_CORK`)?
        cork set_cork Cork: bool = ok, same;
        /// Are acknowledgements sent without waiting for data to go with (`TCP_QUICKACK`)?
        quickack set_quickack QuickAck: bool = ok, same;
        /// Bytes from which on the stream is ready to be read (`SO_RCVLOWAT`). A receive that blocks and
        /// has room for them waits for as many; at its time-out it takes what there is.
        receive_low_water set_receive_low_water ReceiveLowWater: u32 = ok, same;
        /// Bytes not sent yet from which on no more are taken (`TCP_NOTSENT_LOWAT`); 0: the
        /// domain's own.
        notsent_low_water set_notsent_low_water NotSentLowWater: u32 = ok, same;
        /// The largest window that the peer is told, bytes (`TCP_WINDOW_CLAMP`).
        window_clamp set_window_clamp WindowClamp: u32 = ok, same;
        /// The largest segment, bytes (`TCP_MAXSEG`).
        max_segment_bytes set_max_segment_bytes MaxSegmentBytes: u32 = ok, same;
        /// How long sent data may stay without an acknowledgement (`TCP_USER_TIMEOUT`); zero: until the
        /// retransmissions are used up.
        user_timeout set_user_timeout UserTimeout: Duration = ok, same;
        /// How long a closed connection waits for the peer's FIN (`TCP_LINGER2`); `None`: it does not.
        linger2 set_linger2 Linger2: Option<Duration> = ok, same;
        /// Idle time before the first keep-alive probe (`TCP_KEEPIDLE`).
        keepalive_idle set_keepalive_idle KeepIdle: Duration = ok, same;
        /// Time between keep-alive probes (`TCP_KEEPINTVL`).
        keepalive_interval set_keepalive_interval KeepInterval: Duration = ok, same;
        /// Keep-alive probes without an answer that end the connection (`TCP_KEEPCNT`).
        keepalive_count set_keepalive_count KeepCount: u32 = ok, same;
        /// Do urgent data stay in line (`SO_OOBINLINE`)?
        urgent_inline set_urgent_inline UrgentInline: bool = ok, same;
        /// The traffic class octet of packets sent, without its ECN bits (`IP_TOS`, `IPV6_TCLASS`).
        tos set_tos Tos: u8 = ok, same;
        /// The TTL of packets sent, 1..=255 (`IP_TTL`).
        ttl set_ttl Ttl: u32 = ttl_from, u32::from;
        /// How long a close waits for data to be sent (`SO_LINGER`); zero resets the connection.
        linger set_linger Linger: Option<Duration> = ok, same;
        /// Are probes sent on an idle connection (`SO_KEEPALIVE`)?
        keepalive set_keepalive KeepAlive: bool = ok, same;
    }

    /// What is known of the connection (`TCP_INFO`).
    ///
    /// # Errors
    /// As the domain gives them.
    pub fn info(&self) -> io::Result<TcpInfo> {
        match self.0.option(OptionKey::Info)? {
            SocketOption::Info(info) => Ok(*info),
            _ => Err(crate::errno::no_such_option()),
        }
    }

    /// Sends a shared buffer without copying it; how many of its bytes were taken.
    ///
    /// # Errors
    /// As a write gives them.
    pub fn send_bytes(&self, bytes: &Bytes) -> io::Result<usize> {
        self.0.send_bytes(bytes)
    }

    /// Receives up to `max_bytes` as shared buffers without copying them; 0 is the stream's end.
    ///
    /// # Errors
    /// As a read gives them.
    pub fn recv_bytes(&self, max_bytes: usize, out: &mut VecDeque<Bytes>) -> io::Result<usize> {
        self.0.recv_bytes(max_bytes, out)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.recv_vectored(bufs)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.send(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TcpStream").field(&self.0).finish()
    }
}

impl TcpListener {
    pub(super) fn open(layer: &SocketLayer, addr: SocketAddr, backlog: u32) -> io::Result<Self> {
        let socket = layer.socket_for(&addr.ip(), SockType::Stream)?;
        socket.set_option(SocketOption::ReuseAddr(true))?;
        socket.bind(addr)?;
        socket.listen(backlog)?;
        Ok(TcpListener(Arc::new(socket)))
    }

    /// A listener over a socket that listens already.
    pub fn from_socket(socket: Socket) -> Self {
        TcpListener(Arc::new(socket))
    }

    /// The socket under it.
    pub fn socket(&self) -> &Socket {
        &self.0
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// As the domain gives them.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Another handle of the same listener.
    ///
    /// # Errors
    /// None; the signature is that of `std::net`.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(self.clone())
    }

    /// Takes the next connection, and waits for one unless non-blocking.
    ///
    /// # Errors
    /// `WouldBlock` if none waits and it is non-blocking.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = self.0.accept()?;
        Ok((TcpStream(Arc::new(socket)), peer))
    }

    /// The connections to come, without end.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }

    options! {
        /// The TTL of packets sent, 1..=255 (`IP_TTL`); connections inherit it.
        ttl set_ttl Ttl: u32 = ttl_from, u32::from;
    }

    /// Takes the pending error (`SO_ERROR`).
    ///
    /// # Errors
    /// As the domain gives them.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.take_error()
    }

    /// Moves it into or out of non-blocking mode.
    ///
    /// # Errors
    /// None; the signature is that of `std::net`.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.set_nonblocking(nonblocking);
        Ok(())
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TcpListener").field(&self.0).finish()
    }
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}
