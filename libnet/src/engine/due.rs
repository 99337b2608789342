//! What links want on their own: to be sent to, or received from, when a time has come.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Engine, NEVER, PortQueue, StackCore};
use crate::iface::IfIndex;
use crate::impair::{ImpairStats, Impairer, Impairments, Schedule, Way};
use crate::time::Instant;

impl<C: StackCore> Engine<C> {
    /// What is done to an interface's frames in one direction now.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface, `EOPNOTSUPP` for a loopback.
    pub fn impairments(&self, index: IfIndex, way: Way) -> io::Result<Impairments> {
        self.impairer(index).map(|impairer| impairer.get(self.driver.now(), way))
    }

    /// Changes it, for frames from now on.
    ///
    /// # Errors
    /// As [`impairments`](Self::impairments).
    pub fn set_impairments(
        &self,
        index: IfIndex,
        way: Way,
        impairments: impl Into<Schedule>,
    ) -> io::Result<()> {
        self.impairer(index)?.set(self.driver.now(), way, impairments);
        for queue in 0..self.port(index).map_or(0, |port| port.queues.len()) {
            // What waits for the wire may leave earlier than whoever sleeps was told.
            match way {
                Way::Out => self.drain(self.driver.now(), index, queue),
                Way::In => self.driver.kick_queue(index, queue),
            }
        }
        Ok(())
    }

    /// What was done to an interface's frames in one direction so far.
    ///
    /// # Errors
    /// As [`impairments`](Self::impairments).
    pub fn impair_stats(&self, index: IfIndex, way: Way) -> io::Result<ImpairStats> {
        self.impairer(index).map(|impairer| impairer.stats(way))
    }

    /// The handle on what is done to an interface's frames. It does not drive the link: to change
    /// what waits already, use [`set_impairments`](Self::set_impairments).
    ///
    /// # Errors
    /// As [`impairments`](Self::impairments).
    pub fn impairer(&self, index: IfIndex) -> io::Result<&Impairer> {
        let port = self.port(index).ok_or_else(crate::errno::no_device)?;
        port.impairer.as_ref().ok_or_else(crate::errno::not_supported)
    }

    /// When a queue's link has something to receive although its readiness does not fire.
    pub fn arrival_due(&self, index: IfIndex, queue: usize) -> Option<Instant> {
        instant_of(self.port(index)?.queues[queue].arrival_due.load(Ordering::SeqCst))
    }

    /// The earliest of them all; whoever receives from several links at once looks at it.
    pub fn next_arrival(&self) -> Option<Instant> {
        instant_of(self.arrivals_due.load(Ordering::SeqCst))
    }

    /// Receives from every link that has something by now although its readiness does not fire.
    /// Not for drivers with a thread for each queue: of two that receive from one queue the later
    /// may deliver first.
    pub fn poll_arrivals(&self) {
        self.serve_due(
            &self.arrivals_due,
            |queue| &queue.arrival_due,
            |index, number| {
                while matches!(self.poll_receive(index, number, None), Ok(n) if n > 0) {}
            },
        );
    }

    /// Sends to every link that wants to be sent to by now.
    pub(super) fn poll_sends(&self) {
        self.serve_due(
            &self.sends_due,
            |queue| &queue.send_due,
            |index, number| self.drain(self.driver.now(), index, number),
        );
    }

    /// Serves each queue whose time has come, if there can be one.
    fn serve_due(
        &self,
        earliest: &AtomicU64,
        due_of: impl Fn(&PortQueue) -> &AtomicU64,
        serve: impl Fn(IfIndex, usize),
    ) {
        let now = self.driver.now().as_nanos();
        if earliest.load(Ordering::SeqCst) > now {
            return;
        }
        // First forgotten, then gathered: what becomes due meanwhile is noted again.
        earliest.store(NEVER, Ordering::SeqCst);
        for port in self.ports.iter().filter_map(OnceLock::get) {
            for (number, queue) in port.queues.iter().enumerate() {
                let due = due_of(queue).load(Ordering::SeqCst);
                if due <= now {
                    serve(port.iface.index, number);
                } else {
                    earliest.fetch_min(due, Ordering::SeqCst);
                }
            }
        }
    }
}

pub(super) fn instant_of(nanos: u64) -> Option<Instant> {
    (nanos != NEVER).then(|| Instant::from_nanos(nanos))
}

/// Notes when a queue's link wants to be asked, and that it is no later than that for all.
pub(super) fn note_due(own: &AtomicU64, due: Option<Instant>, earliest: &AtomicU64) {
    match due.map_or(NEVER, Instant::as_nanos) {
        // Nearly all links never want anything.
        NEVER if own.load(Ordering::Relaxed) == NEVER => {}
        NEVER => own.store(NEVER, Ordering::SeqCst),
        nanos => {
            own.store(nanos, Ordering::SeqCst);
            earliest.fetch_min(nanos, Ordering::SeqCst);
        }
    }
}
