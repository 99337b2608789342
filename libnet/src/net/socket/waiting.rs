//! How calls wait: for how long, for what, and asleep where.

use std::io::{self, IoSliceMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Socket;
use crate::driver::Signal;
use crate::errno;
use crate::landing::{LEAST_BYTES, Landing};
use crate::socket::{Received, RecvMsg};
use crate::sync::lock;
use crate::time::Instant;
use crate::wake::Ready;

impl Socket {
    /// Waits until it is ready for any of `interest`, at most `timeout`; what it is ready for.
    ///
    /// # Errors
    /// As [`Domain::ready`](crate::socket::Domain::ready).
    pub fn wait_ready(&self, interest: Ready, timeout: Option<Duration>) -> io::Result<Ready> {
        self.wait_ready_until(interest, timeout.map(|timeout| self.layer.driver().now() + timeout))
    }

    pub(super) fn wait_ready_until(
        &self,
        interest: Ready,
        deadline: Option<Instant>,
    ) -> io::Result<Ready> {
        let wanted = interest | Ready::ERROR | Ready::HANGUP;
        let waited = self.wait_until(interest, deadline, || {
            let ready = self.domain.ready(self.id)?;
            if ready.intersects(wanted) { Ok(ready) } else { Err(errno::would_block()) }
        });
        match waited {
            Err(error) if errno::is_would_block(&error) => Ok(Ready::NONE),
            done => done,
        }
    }

    pub(super) fn deadline(&self, timeout: &Timeout) -> Option<Instant> {
        timeout.get().map(|timeout| self.layer.driver().now() + timeout)
    }

    /// `socket(7)`, SO_RCVLOWAT: a receive waits for as many bytes, if it has room for them; when its
    /// time is over it takes what there is.
    pub(super) fn wait_for_low_water(
        &self,
        deadline: Option<Instant>,
        room: impl FnOnce() -> usize,
    ) -> io::Result<()> {
        let low = self.low_water.load(Ordering::Relaxed) as usize;
        if low <= 1 || self.is_nonblocking() || room() < low {
            return Ok(());
        }
        let interest = Ready::READABLE | Ready::READ_CLOSED;
        self.wait_ready_until(interest, deadline).map(drop)
    }

    pub(super) fn block_on_read(
        &self,
        deadline: Option<Instant>,
        op: impl FnMut() -> io::Result<Received>,
    ) -> io::Result<Received> {
        let interest = Ready::READABLE | Ready::READ_CLOSED;
        match self.block_on(interest, deadline, op) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Received::stream(0)),
            done => done,
        }
    }

    /// Receives what is there, or waits for it with the first of `bufs` as the place for it to land; `None` if
    /// there is nothing, and no telling what will come.
    pub(super) fn recv_landing(
        &self,
        deadline: Option<Instant>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Option<io::Result<Received>> {
        let room = bufs.first().map_or(0, |buf| buf.len());
        let last = self.last_bytes.load(Ordering::Relaxed);
        if room.min(last) < LEAST_BYTES || self.is_nonblocking() {
            return None;
        }
        match self.domain.recv(self.id, RecvMsg::Copy(bufs)) {
            Err(error) if errno::is_would_block(&error) => {}
            done => {
                self.forget_forecast();
                return Some(done);
            }
        }
        let driver = self.layer.driver();
        let mut waiting = None;
        loop {
            let known = lock(&self.forecast).take();
            let forecast = known.or_else(|| self.domain.forecast(self.id).map(Box::new))?;
            let mut landing = Landing::new(forecast, &mut bufs[0]);
            let mut is_over = false;
            match &waiting {
                None => drop(driver.look(Some(&mut landing))),
                Some((signal, _registration)) => {
                    match driver.wait_landing(signal, deadline, &mut landing) {
                        Ok(set) => is_over = !set && deadline.is_some_and(|at| at <= driver.now()),
                        Err(error) => return Some(Err(error)),
                    }
                }
            }
            let taken = landing.taken();
            if taken > 0 {
                if taken >= LEAST_BYTES {
                    *lock(&self.forecast) = Some(landing.into_next());
                }
                return Some(Ok(Received::stream(taken)));
            }
            if waiting.is_none() {
                let signal = Signal::new();
                let interest = Ready::READABLE | Ready::READ_CLOSED;
                let registration = self.domain.register(self.id, interest, &signal.waker());
                waiting = Some((signal, registration));
            }
            match self.domain.recv(self.id, RecvMsg::Copy(bufs)) {
                Err(error) if errno::is_would_block(&error) && !is_over => {}
                done => return Some(done),
            }
        }
    }

    /// The next frame is another than was expected, or it is not waited for.
    pub(super) fn forget_forecast(&self) {
        // Most sockets never have one: a receive that brought little leaves none.
        if self.last_bytes.load(Ordering::Relaxed) >= LEAST_BYTES {
            lock(&self.forecast).take();
        }
    }

    pub(super) fn waits_for_ever(&self, timeout: &Timeout) -> bool {
        !self.is_nonblocking() && timeout.get().is_none()
    }

    pub(super) fn block_on<T>(
        &self,
        interest: Ready,
        deadline: Option<Instant>,
        mut op: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        match op() {
            Err(error) if errno::is_would_block(&error) && !self.is_nonblocking() => {
                self.wait_until(interest, deadline, op)
            }
            done => done,
        }
    }

    /// Tries `op` until it does not give `WouldBlock`, asleep in between.
    pub(super) fn wait_until<T>(
        &self,
        interest: Ready,
        deadline: Option<Instant>,
        mut op: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(done) = self.wait_in_domain(interest, deadline, &mut op) {
            return done;
        }
        if self.layer.driver().look(None) {
            match op() {
                Err(error) if errno::is_would_block(&error) => {}
                done => return done,
            }
        }
        let signal = Signal::new();
        let _registration = self.domain.register(self.id, interest, &signal.waker());
        loop {
            match op() {
                Err(error) if errno::is_would_block(&error) => {}
                done => return done,
            }
            let driver = self.layer.driver();
            if !driver.wait(&signal, deadline)?
                && deadline.is_some_and(|deadline| deadline <= driver.now())
            {
                // One last look: it may have become ready as the time ran out.
                return op();
            }
        }
    }

    /// As [`wait_until`](Self::wait_until), asleep in the domain; `None` if it does not do that.
    fn wait_in_domain<T>(
        &self,
        interest: Ready,
        deadline: Option<Instant>,
        op: &mut impl FnMut() -> io::Result<T>,
    ) -> Option<io::Result<T>> {
        loop {
            let left = deadline.map(|deadline| deadline.since(self.layer.driver().now()));
            if let Err(error) = self.domain.wait(self.id, interest, left)? {
                return Some(Err(error));
            }
            match op() {
                Err(error) if errno::is_would_block(&error) => {}
                done => return Some(done),
            }
            if left == Some(Duration::ZERO) {
                return Some(Err(errno::would_block()));
            }
        }
    }
}

/// A time-out in nanoseconds; 0: none.
#[derive(Default)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    pub(super) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "cannot set a 0 duration timeout",
            ));
        }
        let nanos = timeout.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn copy(&self, other: &Timeout) {
        self.0.store(other.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Duration> {
        let nanos = self.0.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}
