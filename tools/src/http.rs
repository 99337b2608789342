//! Our sockets as hyper reads and writes them, and the clock that it is given.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::rt::{self, ReadBufCursor};
use libnet::{Ready, errno};

use crate::aio::{TaskSocket, Wait};

/// A connection, for hyper.
#[derive(Debug)]
pub struct HttpStream {
    socket: Arc<TaskSocket>,
    reading: Wait,
    writing: Wait,
    arrived: VecDeque<Bytes>,
    patience: Duration,
    /// Runs while the peer takes nothing.
    stall: Option<Nap>,
}

impl HttpStream {
    /// The connection of `socket`; one whose peer takes nothing for as long as `patience` fails.
    pub fn new(socket: Arc<TaskSocket>, patience: Duration) -> Self {
        HttpStream {
            socket,
            reading: Wait::default(),
            writing: Wait::default(),
            arrived: VecDeque::new(),
            patience,
            stall: None,
        }
    }
}

impl rt::Read for HttpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let HttpStream { socket, reading, arrived, .. } = self.get_mut();
        let room_bytes = buf.remaining();
        let interest = Ready::READABLE | Ready::READ_CLOSED;
        let op = || socket.try_recv(room_bytes, arrived);
        ready!(reading.poll(socket, interest, cx, op))?;
        for chunk in arrived.drain(..) {
            buf.put_slice(&chunk);
        }
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for HttpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let HttpStream { socket, writing, patience, stall, .. } = self.get_mut();
        let op = || socket.socket().send_vectored(bufs);
        if let Poll::Ready(written) = writing.poll(socket, Ready::WRITABLE, cx, op) {
            *stall = None;
            return Poll::Ready(written);
        }
        let stall = stall.get_or_insert_with(|| Nap::new(Instant::now() + *patience));
        ready!(Pin::new(stall).poll(cx));
        Poll::Ready(Err(errno::timed_out()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.finish())
    }
}

/// The tasks' clock, for hyper.
#[derive(Clone, Copy, Debug)]
pub struct TaskTimer;

impl rt::Timer for TaskTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Nap::new(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Nap>() {
            Some(nap) => nap.get_mut().0.as_mut().reset(deadline.into()),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// A sleep of the tasks' clock.
#[derive(Debug)]
struct Nap(Pin<Box<tokio::time::Sleep>>);

impl Nap {
    fn new(deadline: Instant) -> Self {
        Nap(Box::pin(tokio::time::sleep_until(deadline.into())))
    }
}

impl Future for Nap {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().0.as_mut().poll(cx)
    }
}

impl rt::Sleep for Nap {}
