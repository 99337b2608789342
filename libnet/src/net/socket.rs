//! A socket of any domain: blocking, time-outs and options, in one place for all types.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::SocketLayer;
use crate::errno;
use crate::landing::Forecast;
use crate::socket::{
    Domain, OptionKey, Received, RecvMsg, SendControl, SendMsg, SocketId, SocketOption,
};
use crate::sync::lock;
use crate::time::Instant;
use crate::wake::Ready;

mod opening;
mod waiting;

use waiting::Timeout;

/// A socket of any family, type and protocol: what `TcpStream` and the others are made of, and
/// what raw and ping sockets are used by. Closed on drop.
pub struct Socket {
    layer: SocketLayer,
    domain: Arc<dyn Domain>,
    id: SocketId,
    nonblocking: AtomicBool,
    read_timeout: Timeout,
    write_timeout: Timeout,
    /// `SO_RCVLOWAT`: a receive that waits does so for as many bytes.
    low_water: AtomicU32,
    /// `TCP_FASTOPEN_CONNECT`: the first data may begin the connection.
    fast_open: AtomicBool,
    /// How much the last receive brought.
    last_bytes: AtomicUsize,
    /// What comes next, as far as the last receive could tell. Guards that alone, a leaf.
    forecast: Mutex<Option<Box<Forecast>>>,
    /// Whom the first data will connect it to. Guards that alone; no lock is taken under it.
    opens_to: Mutex<Option<SocketAddr>>,
}

impl Socket {
    pub(super) fn new(layer: SocketLayer, domain: Arc<dyn Domain>, id: SocketId) -> Self {
        Socket {
            layer,
            domain,
            id,
            nonblocking: AtomicBool::new(false),
            read_timeout: Timeout::default(),
            write_timeout: Timeout::default(),
            low_water: AtomicU32::new(0),
            fast_open: AtomicBool::new(false),
            last_bytes: AtomicUsize::new(0),
            forecast: Mutex::new(None),
            opens_to: Mutex::new(None),
        }
    }

    /// The socket's id in its domain.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// The domain that serves it.
    pub fn domain(&self) -> &Arc<dyn Domain> {
        &self.domain
    }

    /// Gives it a local address.
    ///
    /// # Errors
    /// As [`Domain::bind`].
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.domain.bind(self.id, addr)
    }

    /// Makes it accept connections, `backlog` waiting at most.
    ///
    /// # Errors
    /// As [`Domain::listen`].
    pub fn listen(&self, backlog: u32) -> io::Result<()> {
        self.domain.listen(self.id, backlog)
    }

    /// Takes the next connection; waits for one if blocking.
    ///
    /// # Errors
    /// As [`Domain::accept`]; `WouldBlock` when the read time-out has passed.
    pub fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let deadline = self.deadline(&self.read_timeout);
        let (id, peer) =
            self.block_on(Ready::READABLE, deadline, || self.domain.accept(self.id))?;
        let socket = Socket::new(self.layer.clone(), Arc::clone(&self.domain), id);
        // As on Linux, which hands all of them down.
        socket.read_timeout.copy(&self.read_timeout);
        socket.write_timeout.copy(&self.write_timeout);
        socket.low_water.store(self.low_water.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok((socket, peer))
    }

    /// Connects; waits until it is done if blocking.
    ///
    /// # Errors
    /// As [`Domain::connect`]; `EINPROGRESS` when the write time-out has passed.
    pub fn connect(&self, addr: SocketAddr) -> io::Result<()> {
        match self.connect_until(addr, self.deadline(&self.write_timeout)) {
            Err(error) if errno::is_would_block(&error) => Err(errno::in_progress()),
            done => done,
        }
    }

    /// Connects, waiting at most until `deadline`.
    pub(super) fn connect_until(
        &self,
        addr: SocketAddr,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let begun = match self.domain.connect(self.id, addr) {
            Err(error) if !self.is_nonblocking() && errno::is_under_way(&error) => error,
            done => {
                if done.is_ok() && self.fast_open.load(Ordering::Relaxed) {
                    *lock(&self.opens_to) = Some(addr);
                }
                return done;
            }
        };
        match self.connect_ends(addr, deadline) {
            Err(error) if errno::is_would_block(&error) && !errno::is_in_progress(&begun) => {
                Err(begun)
            }
            ended => ended,
        }
    }

    /// Sends; waits for room for all of it if blocking. How many bytes were taken: fewer, if an
    /// error or the write time-out came in between.
    ///
    /// # Errors
    /// As [`Domain::send`]; `WouldBlock` when the write time-out has passed. Only if none was taken.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.send_vectored(&[IoSlice::new(buf)])
    }

    /// Sends out of several buffers, which are one message to a datagram socket.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(sent) = self.send_asleep(SendMsg::Copy(bufs)) {
            return sent;
        }
        self.send_slices(bufs, |rest| self.domain.send(self.id, SendMsg::Copy(rest)))
    }

    /// Sends a shared buffer without copying it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_bytes(&self, bytes: &bytes::Bytes) -> io::Result<usize> {
        if let Some(sent) = self.send_asleep(SendMsg::Owned(bytes.clone())) {
            return sent;
        }
        self.send_all(bytes.len(), |sent| {
            self.domain.send(self.id, SendMsg::Owned(bytes.slice(sent..)))
        })
    }

    /// Sends to an address.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_to(&self, buf: &[u8], addr: SocketAddr) -> io::Result<usize> {
        if let Some(sent) = self.send_asleep(SendMsg::CopyTo(&[IoSlice::new(buf)], addr)) {
            return sent;
        }
        self.send_all(buf.len(), |sent| {
            let rest = [IoSlice::new(&buf[sent..])];
            self.domain.send(self.id, SendMsg::CopyTo(&rest, addr))
        })
    }

    /// Sends a message with what holds for it alone: its address, TTL, traffic class, source.
    ///
    /// # Errors
    /// As [`send`](Self::send); `EOPNOTSUPP` for what the domain has not.
    pub fn send_with(&self, bufs: &[IoSlice<'_>], control: SendControl) -> io::Result<usize> {
        if let Some(sent) = self.send_asleep(SendMsg::With(bufs, control)) {
            return sent;
        }
        self.send_slices(bufs, |rest| self.domain.send(self.id, SendMsg::With(rest, control)))
    }

    /// Sends, the last byte being urgent (`MSG_OOB`).
    ///
    /// # Errors
    /// As [`send`](Self::send); `EOPNOTSUPP` where the domain or the type has no urgent data.
    pub fn send_urgent(&self, buf: &[u8]) -> io::Result<usize> {
        let bufs = [IoSlice::new(buf)];
        self.send_slices(&bufs, |rest| self.domain.send(self.id, SendMsg::Urgent(rest)))
    }

    /// Receives the urgent byte; never waits.
    ///
    /// # Errors
    /// As [`Domain::recv`]; `EINVAL` if there is none, or it is in line; `WouldBlock` if it was
    /// announced and has not come; `EOPNOTSUPP` as [`send_urgent`](Self::send_urgent).
    pub fn recv_urgent(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut bufs = [IoSliceMut::new(buf)];
        Ok(self.domain.recv(self.id, RecvMsg::Urgent(&mut bufs))?.bytes)
    }

    /// Has everything before the urgent byte been read?
    ///
    /// # Errors
    /// As [`Domain::is_at_mark`].
    pub fn is_at_mark(&self) -> io::Result<bool> {
        self.domain.is_at_mark(self.id)
    }

    /// Another descriptor of the socket, for an event loop of the caller's; `None` where the
    /// domain's sockets are not the host's. It is non-blocking, and must stay so.
    ///
    /// # Errors
    /// As [`Domain::descriptor`].
    pub fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        self.domain.descriptor(self.id)
    }

    /// Receives; waits for something if blocking. 0 bytes of a stream are its end.
    ///
    /// What is behind the bytes received may have been written to meanwhile: data that a link puts there while
    /// a caller waits with a large buffer.
    ///
    /// # Errors
    /// As [`Domain::recv`]; `WouldBlock` when the read time-out has passed.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_vectored(&mut [IoSliceMut::new(buf)])
    }

    /// Receives into several buffers.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.recv_msg(bufs).map(|received| received.bytes)
    }

    /// Receives with what is known of the message: sender, full length, time, TTL.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_msg(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        let deadline = self.deadline(&self.read_timeout);
        self.wait_for_low_water(deadline, || bufs.iter().map(|buf| buf.len()).sum())?;
        if self.waits_for_ever(&self.read_timeout)
            && let Some(received) = self.domain.recv_blocking(self.id, RecvMsg::Copy(bufs))
        {
            return received;
        }
        let received = self.recv_landing(deadline, bufs).unwrap_or_else(|| {
            self.forget_forecast();
            self.block_on_read(deadline, || self.domain.recv(self.id, RecvMsg::Copy(bufs)))
        })?;
        self.last_bytes.store(received.bytes, Ordering::Relaxed);
        Ok(received)
    }

    /// Looks at what would be received, and leaves it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn peek_msg(&self, buf: &mut [u8]) -> io::Result<Received> {
        let deadline = self.deadline(&self.read_timeout);
        self.wait_for_low_water(deadline, || buf.len())?;
        let mut bufs = [IoSliceMut::new(buf)];
        self.block_on_read(deadline, || self.domain.recv(self.id, RecvMsg::Peek(&mut bufs)))
    }

    /// Receives a datagram and its sender.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.recv_msg(&mut [IoSliceMut::new(buf)])?;
        let from = received.from.ok_or_else(errno::not_connected)?;
        Ok((received.bytes, from))
    }

    /// Receives shared buffers without copying them: up to `max_bytes` of a stream, or one
    /// datagram. How many bytes; they are appended to `out`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_bytes(
        &self,
        max_bytes: usize,
        out: &mut std::collections::VecDeque<bytes::Bytes>,
    ) -> io::Result<usize> {
        self.forget_forecast();
        let deadline = self.deadline(&self.read_timeout);
        self.wait_for_low_water(deadline, || max_bytes)?;
        if self.waits_for_ever(&self.read_timeout)
            && let Some(received) =
                self.domain.recv_blocking(self.id, RecvMsg::Zero { max_bytes, out })
        {
            return received.map(|received| received.bytes);
        }
        let received = self.block_on_read(deadline, || {
            self.domain.recv(self.id, RecvMsg::Zero { max_bytes, out })
        })?;
        Ok(received.bytes)
    }

    /// Closes a direction.
    ///
    /// # Errors
    /// As [`Domain::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.domain.shutdown(self.id, how)
    }

    /// The local address.
    ///
    /// # Errors
    /// As [`Domain::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.domain.local_addr(self.id)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.domain.peer_addr(self.id)
    }

    /// Takes the pending error.
    ///
    /// # Errors
    /// As [`Domain::take_error`].
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.domain.take_error(self.id)
    }

    /// What it is ready for now.
    ///
    /// # Errors
    /// As [`Domain::ready`].
    pub fn ready(&self) -> io::Result<Ready> {
        self.domain.ready(self.id)
    }

    /// Sets an option.
    ///
    /// # Errors
    /// As [`Domain::set_option`].
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        let low_water = match option {
            SocketOption::ReceiveLowWater(bytes) => Some(bytes),
            _ => None,
        };
        let fast_open = match option {
            SocketOption::FastOpenConnect(on) => Some(on),
            _ => None,
        };
        self.domain.set_option(self.id, option)?;
        if let Some(on) = fast_open {
            self.fast_open.store(on, Ordering::Relaxed);
        }
        if let Some(bytes) = low_water {
            self.low_water.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads an option.
    ///
    /// # Errors
    /// As [`Domain::get_option`].
    pub fn option(&self, key: OptionKey) -> io::Result<SocketOption> {
        self.domain.get_option(self.id, key)
    }

    /// Moves it into or out of non-blocking mode.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// Is it in non-blocking mode?
    pub fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    /// Bounds how long a receive or accept waits; `None`: without end.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout.set(timeout)
    }

    /// Bounds how long a send waits; `None`: without end.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_timeout.set(timeout)
    }

    /// How long a receive or accept waits.
    pub fn read_timeout(&self) -> Option<Duration> {
        self.read_timeout.get()
    }

    /// How long a send waits.
    pub fn write_timeout(&self) -> Option<Duration> {
        self.write_timeout.get()
    }

    /// Sends in one call of the domain's that may sleep, where it has such; else `None`.
    fn send_asleep(&self, msg: SendMsg<'_>) -> Option<io::Result<usize>> {
        if !self.waits_for_ever(&self.write_timeout) {
            return None;
        }
        self.domain.send_blocking(self.id, msg)
    }

    /// As [`send_all`](Self::send_all), of what is left of `bufs`.
    fn send_slices(
        &self,
        bufs: &[IoSlice<'_>],
        send: impl Fn(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let total_bytes = bufs.iter().map(|buf| buf.len()).sum();
        self.send_all(total_bytes, |sent| {
            if sent == 0 {
                return send(bufs);
            }
            let mut rest: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
            let mut rest = &mut rest[..];
            IoSlice::advance_slices(&mut rest, sent);
            send(rest)
        })
    }

    /// Calls `send` with the bytes sent so far until all `total_bytes` are. Only a stream takes a
    /// part, and only in blocking mode the rest is waited for.
    fn send_all(
        &self,
        total_bytes: usize,
        send: impl Fn(usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let deadline = self.deadline(&self.write_timeout);
        let mut sent = self.block_on(Ready::WRITABLE, deadline, || send(0))?;
        if self.fast_open.load(Ordering::Relaxed) && !self.is_nonblocking() {
            let opened = lock(&self.opens_to).take();
            opened.map_or(Ok(()), |addr| self.opening_ends(addr, deadline))?;
        }
        while sent < total_bytes && !self.is_nonblocking() {
            let more = self.block_on(Ready::WRITABLE, deadline, || {
                // It is left for the next call to tell: this one tells what was taken.
                if self.domain.ready(self.id)?.intersects(Ready::ERROR) {
                    return Ok(0);
                }
                send(sent)
            });
            match more {
                Ok(0) | Err(_) => break,
                Ok(bytes) => sent += bytes,
            }
        }
        Ok(sent)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.domain.close(self.id);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Socket");
        if let Ok(addr) = self.local_addr() {
            out.field("addr", &addr);
        }
        if let Ok(peer) = self.peer_addr() {
            out.field("peer", &peer);
        }
        out.field("id", &self.id).finish()
    }
}
