//! Sockets of a stack that tasks wait for: what would block is awaited, and holds up no thread.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use libnet::net::Socket;
use libnet::socket::{Received, RecvMsg, SendMsg, SocketOption};
use libnet::wake::Registration;
use libnet::{Family, Protocol, Ready, SockType, errno};
use rumpnet::Stack;

use crate::host;

/// A socket of any domain in non-blocking mode. Any number of tasks may wait for it.
#[derive(Debug)]
pub struct TaskSocket(Socket);

/// A task's wait for one of a socket's directions. It lives as long as the call that would block.
#[derive(Debug, Default)]
pub struct Wait(Option<(Waker, Registration)>);

impl Wait {
    /// Tries `op`; the task is woken to try again if it would block.
    pub fn poll<T>(
        &mut self,
        socket: &TaskSocket,
        interest: Ready,
        cx: &mut Context<'_>,
        mut op: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let mut done = op();
        let would_block = |done: &io::Result<T>| done.as_ref().is_err_and(errno::is_would_block);
        let waits = self.0.as_ref().is_some_and(|(waker, _)| waker.will_wake(cx.waker()));
        if would_block(&done) && !waits {
            let waker = cx.waker().clone();
            let registration = socket.0.domain().register(socket.0.id(), interest, &waker);
            self.0 = Some((waker, registration));
            // It may have become ready before anybody was told of us.
            done = op();
        }
        if would_block(&done) {
            return Poll::Pending;
        }
        self.0 = None;
        Poll::Ready(done)
    }
}

impl TaskSocket {
    /// A socket of `stack` that calls to or listens at `addr` are made with.
    ///
    /// # Errors
    /// As the domain gives them: no such family, too many sockets.
    pub fn open(stack: &Stack, addr: SocketAddr, ty: SockType) -> io::Result<Self> {
        Ok(Self::new(stack.socket(Family::of(&addr.ip()), ty, Protocol::DEFAULT)?))
    }

    /// Accepts connections to `addr`; `backlog` wait at most.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`.
    pub fn listen(stack: &Stack, addr: SocketAddr, backlog: u32) -> io::Result<Self> {
        let listener = Self::open(stack, addr, SockType::Stream)?;
        listener.0.set_option(SocketOption::ReuseAddr(true))?;
        listener.0.bind(addr)?;
        listener.0.listen(backlog)?;
        Ok(listener)
    }

    /// The socket, which tasks wait for from now on.
    pub fn new(socket: Socket) -> Self {
        socket.set_nonblocking(true);
        TaskSocket(socket)
    }

    /// The socket under it, for what does not block.
    pub fn socket(&self) -> &Socket {
        &self.0
    }

    /// Waits until a connection can be accepted.
    ///
    /// # Errors
    /// As [`libnet::socket::Domain::ready`].
    pub async fn acceptable(&self) -> io::Result<()> {
        self.until(Ready::READABLE).await
    }

    /// Takes a connection that waits.
    ///
    /// # Errors
    /// `WouldBlock` if none does; as [`libnet::socket::Domain::accept`].
    pub fn accept(&self) -> io::Result<(TaskSocket, SocketAddr)> {
        let (socket, peer) = self.0.accept()?;
        Ok((TaskSocket::new(socket), host::plain_addr(peer)))
    }

    /// Connects.
    ///
    /// # Errors
    /// Refused, timed out, unreachable.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<()> {
        match self.0.connect(to) {
            Err(error) if errno::is_in_progress(&error) => {}
            done => return done,
        }
        self.until(Ready::WRITABLE | Ready::ERROR | Ready::HANGUP).await?;
        self.0.take_error()?.map_or(Ok(()), Err)
    }

    /// Receives as [`Socket::recv_bytes`]; 0 is a stream's end.
    ///
    /// # Errors
    /// As a receive gives them.
    pub async fn recv_bytes(
        &self,
        max_bytes: usize,
        out: &mut VecDeque<Bytes>,
    ) -> io::Result<usize> {
        Ok(self.recv(max_bytes, out).await?.bytes)
    }

    /// Receives a datagram without copying it, appended to `out`, and its sender.
    ///
    /// # Errors
    /// The pending error.
    pub async fn recv_datagram(&self, out: &mut VecDeque<Bytes>) -> io::Result<SocketAddr> {
        self.recv(MAX_DATAGRAM_BYTES, out).await?.from.ok_or_else(errno::not_connected)
    }

    /// Receives what is there now, as [`recv_bytes`](Self::recv_bytes).
    ///
    /// # Errors
    /// `WouldBlock` if nothing is.
    pub fn try_recv(&self, max_bytes: usize, out: &mut VecDeque<Bytes>) -> io::Result<Received> {
        self.0.domain().recv(self.0.id(), RecvMsg::Zero { max_bytes, out })
    }

    async fn recv(&self, max_bytes: usize, out: &mut VecDeque<Bytes>) -> io::Result<Received> {
        let interest = Ready::READABLE | Ready::READ_CLOSED;
        self.wait(interest, || self.try_recv(max_bytes, out)).await
    }

    /// Sends a shared buffer without copying it; how many of its bytes were taken.
    ///
    /// # Errors
    /// As a send gives them.
    pub async fn send_bytes(&self, bytes: &Bytes) -> io::Result<usize> {
        self.wait(Ready::WRITABLE, || self.0.send_bytes(bytes)).await
    }

    /// Sends a datagram that lies in `parts`, to the peer or to an address.
    ///
    /// # Errors
    /// `EMSGSIZE`, unreachable, the pending error.
    pub async fn send_datagram(
        &self,
        parts: &VecDeque<Bytes>,
        to: Option<SocketAddr>,
    ) -> io::Result<usize> {
        let (domain, id) = (self.0.domain(), self.0.id());
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let message = || match (&slices[..], to) {
            ([_], Some(to)) => SendMsg::OwnedTo(parts[0].clone(), to),
            ([_], None) => SendMsg::Owned(parts[0].clone()),
            (slices, Some(to)) => SendMsg::CopyTo(slices, to),
            (slices, None) => SendMsg::Copy(slices),
        };
        self.wait(Ready::WRITABLE, || domain.send(id, message())).await
    }

    /// Waits until the connection has failed, by the peer's reset or otherwise; why. Never comes
    /// back as long as it is well, or if it ends well.
    pub async fn failed(&self) -> io::Error {
        match self.until(Ready::ERROR).await.and_then(|()| self.0.take_error()) {
            Ok(Some(error)) | Err(error) => error,
            // Whoever sends or receives was told first.
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
        }
    }

    /// Makes the closing of the connection a reset: the peer will not take it for a good end.
    pub fn reset_on_close(&self) {
        // A socket that has failed already tells the peer nothing anyhow.
        let _ = self.0.set_option(SocketOption::Linger(Some(std::time::Duration::ZERO)));
    }

    /// Closes the sending direction.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn finish(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    /// Waits until the socket is ready for any of `wanted`.
    async fn until(&self, wanted: Ready) -> io::Result<()> {
        self.wait(wanted, || {
            let ready = self.0.ready()?.intersects(wanted);
            if ready { Ok(()) } else { Err(errno::would_block()) }
        })
        .await
    }

    async fn wait<T>(
        &self,
        interest: Ready,
        mut op: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut wait = Wait::default();
        poll_fn(|cx| wait.poll(self, interest, cx, &mut op)).await
    }
}

/// The longest datagram there is.
const MAX_DATAGRAM_BYTES: usize = 65_536;
