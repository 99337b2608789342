//! What links receive, on its way to the shards.

use std::io;
use std::sync::atomic::Ordering;

use super::due::note_due;
use super::{After, Engine, StackCore};
use crate::gro;
use crate::iface::{IfIndex, Interface};
use crate::landing::Landing;
use crate::packet::Packet;
use crate::stats::{DropReason, Dropped};
use crate::sync::lock;
use crate::time::Instant;

impl<C: StackCore> Engine<C> {
    /// Takes frames that an interface received.
    pub fn input(&self, now: Instant, index: IfIndex, frames: &mut Vec<Packet>) {
        self.input_landed(now, index, frames, None);
    }

    fn input_landed(
        &self,
        now: Instant,
        index: IfIndex,
        frames: &mut Vec<Packet>,
        landing: Option<&mut Landing<'_>>,
    ) {
        let Some(port) = self.port(index) else { return frames.clear() };
        let config = port.iface.config();
        if let Some(landing) = &landing
            && (!port.taps.is_empty() || !config.up)
        {
            // Somebody has begun to look, or will see what is dropped.
            frames.iter_mut().for_each(|packet| landing.take_back(packet));
        }
        port.count_received(now, frames);
        if !config.up {
            let medium = port.iface.link.medium;
            for packet in frames.drain(..) {
                let dropped = Dropped::new(index, medium, &packet);
                self.drops.count_packet(DropReason::IfaceDown, dropped);
            }
            return;
        }
        if self.config.join_received {
            gro::join(frames, port.iface.link.medium);
        }
        self.deliver(now, &port.iface, frames, landing);
    }

    /// Receives a batch from a queue's link; how many frames it held. A link whose device is gone
    /// for now has none, and its interface is not running until it is back. What a caller waits for may land
    /// in its memory.
    ///
    /// # Errors
    /// The link's, if it is broken for good; the interface is no longer running then.
    pub fn poll_receive(
        &self,
        index: IfIndex,
        queue: usize,
        landing: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        let Some(port) = self.port(index) else { return Ok(0) };
        // Taps see whole frames.
        let mut landing = landing.filter(|_| port.taps.is_empty());
        let now = self.driver.now();
        let queue = &port.queues[queue];
        if queue.is_broken.load(Ordering::Relaxed) {
            // Whoever met the error first may have been a caller: the driver must see it too.
            return Err(io::ErrorKind::NotConnected.into());
        }
        let (mut frames, received) = {
            let mut rx = lock(&queue.rx);
            let mut frames = std::mem::take(&mut rx.batch);
            let budget = self.config.rx_batch_frames;
            let received = rx.link.recv(now, budget, &mut frames, landing.as_deref_mut());
            note_due(&queue.arrival_due, rx.link.due(), &self.arrivals_due);
            (frames, received)
        };
        let n = match received {
            Ok(n) => {
                port.found_link(queue);
                n
            }
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => {
                port.lost_link(queue, &error);
                0
            }
            Err(error) => {
                queue.is_broken.store(true, Ordering::Relaxed);
                port.lost_link(queue, &error);
                if let Some(landing) = landing {
                    landing.settle();
                }
                return Err(error);
            }
        };
        if !frames.is_empty() {
            self.input_landed(now, index, &mut frames, landing.as_deref_mut());
        }
        if let Some(landing) = landing {
            landing.settle();
        }
        lock(&queue.rx).batch = frames;
        Ok(n)
    }

    /// Hands frames to their shards, one after the other, never two locked at a time.
    pub(super) fn deliver(
        &self,
        now: Instant,
        iface: &Interface,
        frames: &mut Vec<Packet>,
        mut landing: Option<&mut Landing<'_>>,
    ) {
        let count = self.shards.len();
        if count == 1 {
            return self.handle_input(now, 0, iface.index, frames, landing);
        }
        let mut by_shard: Vec<Vec<Packet>> = vec![Vec::new(); count];
        for packet in frames.drain(..) {
            let shard = (self.steer.steer(iface, &packet) % count as u64) as usize;
            by_shard[shard].push(packet);
        }
        for (shard, mut frames) in by_shard.into_iter().enumerate() {
            if !frames.is_empty() {
                self.handle_input(now, shard, iface.index, &mut frames, landing.as_deref_mut());
            }
        }
    }

    fn handle_input(
        &self,
        now: Instant,
        shard: usize,
        index: IfIndex,
        frames: &mut Vec<Packet>,
        landing: Option<&mut Landing<'_>>,
    ) {
        let mut after = After::default();
        {
            let mut held = lock(&self.shards[shard].held);
            let now = held.advance(now);
            after.now = now;
            match landing {
                None => held.core.handle_input(now, index, frames),
                Some(landing) => held.core.handle_landed(now, index, frames, landing),
            }
            self.settle(shard, &mut held, now, &mut after);
        }
        self.finish(shard, after);
    }
}
