//! Feeds the links once every lock of a shard is released, by whoever brought the frames about.

use std::sync::atomic::Ordering;

use super::due::{instant_of, note_due};
use super::{After, Engine, Port, PortQueue, StackCore, TxSide};
use crate::capture::Direction;
use crate::gso;
use crate::iface::IfIndex;
use crate::link::Readiness;
use crate::packet::Packet;
use crate::stats::{DropReason, Dropped, IfaceCounters};
use crate::sync::lock;
use crate::time::Instant;

/// Rounds of refilling before the driver is asked to go on.
const REFILL_ROUNDS: usize = 64;
/// Rounds in which a caller serves what others queue meanwhile, before the driver is asked to: a
/// queue each, so at most this many times [`EngineConfig::queue_frames`].
const FLUSH_ROUNDS: usize = 64;
/// Batches of looped back frames that a caller delivers before the driver is asked to go on.
const PUMP_BATCHES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// The link has everything.
    Drained,
    /// The link is full and its readiness will fire, or another thread is at it.
    Left,
    /// The link became full just now: whoever sleeps on a descriptor must look for room too.
    Blocked,
    /// Others bring frames without end: the driver's turn.
    Busy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pump {
    /// Nothing was there, or another thread delivers it.
    Nothing,
    /// All that was there.
    Delivered,
    /// Much, and more is there: the driver's turn.
    Busy,
}

impl<C: StackCore> Engine<C> {
    /// With no lock held: feeds the links, wakes sockets, and delivers what was looped back.
    pub(super) fn finish(&self, shard: usize, after: After) {
        if after.is_quiet {
            if let Some(at) = after.exact {
                self.driver.kick(at);
            } else if let Some(at) = after.deadline {
                self.driver.kick_timer(at);
            }
            return;
        }
        // First: an answer to what is sent now may be to one of these groups.
        for change in after.filters {
            // A link that fails is noticed elsewhere.
            let _ = self.change_filter(&change);
        }
        for index in after.pending {
            let Some(port) = self.port(index) else { continue };
            self.drain(after.now, index, port.queue_number(shard));
        }
        after.wakes.wake();
        for (index, packet) in after.handoff {
            let Some(port) = self.port(index) else { continue };
            self.deliver(after.now, &port.iface, &mut vec![packet], None);
        }
        if let Some(at) = after.exact {
            self.driver.kick(at);
        }
        if let Some(at) = after.deadline {
            self.driver.kick_timer(at);
        }
    }

    /// Feeds a link until its queue and the shards behind it have nothing more, or it is full.
    pub(super) fn drain(&self, now: Instant, index: IfIndex, number: usize) {
        let Some(port) = self.port(index) else { return };
        let queue = &port.queues[number];
        let mut now = now;
        for round in 0..REFILL_ROUNDS {
            if round > 0 {
                now = self.driver.now();
            }
            let flushed = self.flush(now, port, queue);
            if let Some(due) = instant_of(queue.send_due.load(Ordering::SeqCst)) {
                self.driver.kick(due);
            }
            // A doorbell rings on its own when there is room; a descriptor's thread must be told
            // to look for it.
            let descriptor = matches!(queue.readiness, Readiness::Descriptor(_));
            if flushed == Flush::Blocked && descriptor {
                self.driver.kick_queue(index, number);
            }
            // Delivering makes room again, and no readiness tells of it.
            let pumped =
                if port.iface.link.loopback { self.pump(port, number) } else { Pump::Nothing };
            if flushed == Flush::Busy || pumped == Pump::Busy {
                return self.leave_to_driver(port, number);
            }
            let made_room = pumped == Pump::Delivered;
            if flushed != Flush::Drained && !made_room {
                return;
            }
            let starved = queue.starved.swap(false, Ordering::AcqRel);
            // Another thread may have left its frames to whoever delivers.
            let left = made_room && queue.blocked.load(Ordering::Acquire);
            if flushed == Flush::Drained && !starved && !left {
                return;
            }
            self.refill(port, number);
        }
        self.leave_to_driver(port, number);
    }

    /// Asks the driver to go on where a caller has done enough.
    fn leave_to_driver(&self, port: &Port, number: usize) {
        port.queues[number].blocked.store(true, Ordering::Release);
        self.driver.kick_queue(port.iface.index, number);
    }

    /// Asks the shards that use a queue for more. What they have for other interfaces was moved,
    /// or waits for room there, since whoever brought it about.
    fn refill(&self, port: &Port, number: usize) {
        for shard in (0..self.shards.len()).filter(|&shard| port.queue_number(shard) == number) {
            let mut after = After::default();
            {
                let mut held = lock(&self.shards[shard].held);
                let now = held.advance(self.driver.now());
                after.now = now;
                self.fill(port, &port.queues[number], &mut held.core, now);
                self.gather(shard, &mut held.core, &mut after);
            }
            self.finish(shard, after);
        }
    }

    /// Gives a queue's frames to its link. Whoever holds the link serves the others' frames too,
    /// so that order is kept and nobody waits.
    fn flush(&self, now: Instant, port: &Port, queue: &PortQueue) -> Flush {
        let mut now = now;
        for round in 0..FLUSH_ROUNDS {
            if round > 0 {
                now = self.driver.now();
            }
            let Ok(mut tx) = queue.tx.try_lock() else { return Flush::Left };
            let flushed = self.flush_locked(now, port, queue, &mut tx);
            drop(tx);
            // Somebody may have appended and found the link taken since we looked.
            if flushed != Flush::Drained || lock(&queue.out).is_empty() {
                return flushed;
            }
        }
        Flush::Busy
    }

    pub(super) fn flush_locked(
        &self,
        now: Instant,
        port: &Port,
        queue: &PortQueue,
        tx: &mut TxSide,
    ) -> Flush {
        let mut now = now;
        let mut newly_blocked = false;
        let mut rounds = 0;
        // A link that takes its time is asked for what it holds, too.
        let mut holds = tx.link.pace().is_some();
        loop {
            if tx.pending.is_empty() && !holds {
                rounds += 1;
                if rounds > FLUSH_ROUNDS {
                    return Flush::Busy;
                }
                std::mem::swap(&mut *lock(&queue.out), &mut tx.spare);
                if rounds > 1 && !tx.spare.is_empty() {
                    // What others queued meanwhile must not be told to be older than it is.
                    now = self.driver.now();
                }
                self.take_queued(port, now, tx);
                if tx.pending.is_empty() {
                    queue.blocked.store(false, Ordering::Release);
                    return Flush::Drained;
                }
            }
            let before: usize = tx.pending.iter().map(Packet::len).sum();
            match tx.link.send(now, &mut tx.pending) {
                Ok(n) => {
                    let after: usize = tx.pending.iter().map(Packet::len).sum();
                    let counters = &port.iface.counters;
                    IfaceCounters::bump(&counters.tx_frames, n as u64);
                    IfaceCounters::bump(&counters.tx_bytes, (before - after) as u64);
                }
                Err(error) => {
                    for frame in tx.pending.drain(..) {
                        self.drop_leaving(port, DropReason::LinkFailed, &frame);
                    }
                    port.lost_link(queue, &error);
                }
            }
            let pace = tx.link.pace();
            note_due(&queue.send_due, pace.and_then(|pace| pace.due), &self.sends_due);
            let wants_room = pace.map_or(!tx.pending.is_empty(), |pace| pace.wants_room);
            holds = pace.is_some() && wants_room;
            // Announced first, then asked once more: whoever is woken for the room that this last
            // refusal asks for finds the announcement.
            if wants_room {
                if queue.blocked.swap(true, Ordering::AcqRel) {
                    IfaceCounters::bump(&port.iface.counters.tx_waits, 1);
                    return if newly_blocked { Flush::Blocked } else { Flush::Left };
                }
                newly_blocked = true;
            } else if !tx.pending.is_empty() {
                // It takes more when its time has come.
                queue.blocked.store(false, Ordering::Release);
                return Flush::Left;
            }
        }
    }

    /// Counts and shows a frame that cannot leave.
    fn drop_leaving(&self, port: &Port, reason: DropReason, frame: &Packet) {
        let (index, medium) = (port.iface.index, port.iface.link.medium);
        self.drops.count_packet(reason, Dropped::new(index, medium, frame));
    }

    /// Makes the frames that were queued what the link can carry, and shows them to the taps.
    fn take_queued(&self, port: &Port, now: Instant, tx: &mut TxSide) {
        // Only who looks pays for copies, which share the payload.
        let is_watched = self.drops.is_watched();
        for packet in tx.spare.drain(..) {
            let seen = is_watched.then(|| packet.clone());
            if let Err(unfit) = gso::fit_to_link(packet, &port.iface.link, &mut tx.pending) {
                let reason = match unfit {
                    gso::Unfit::BadOffload => DropReason::BadOffload,
                    gso::Unfit::TooLong => DropReason::FrameTooLong,
                };
                match &seen {
                    Some(frame) => self.drop_leaving(port, reason, frame),
                    None => self.drops.count(reason),
                }
                IfaceCounters::bump(&port.iface.counters.tx_dropped, 1);
            }
        }
        for packet in tx.pending.iter() {
            port.taps.show(now, Direction::Out, packet);
        }
    }

    /// Delivers what a loopback link holds. One thread at a time; the others leave it a request.
    fn pump(&self, port: &Port, number: usize) -> Pump {
        let queue = &port.queues[number];
        if queue.pump_requests.fetch_add(1, Ordering::AcqRel) != 0 {
            return Pump::Nothing;
        }
        let mut pumped = Pump::Nothing;
        let mut batches = 0;
        loop {
            let seen = queue.pump_requests.load(Ordering::Acquire);
            while matches!(self.poll_receive(port.iface.index, number, None), Ok(n) if n > 0) {
                pumped = Pump::Delivered;
                batches += 1;
                if batches == PUMP_BATCHES {
                    // Whoever asks from now on serves; what waits now is the driver's.
                    queue.pump_requests.store(0, Ordering::Release);
                    return Pump::Busy;
                }
            }
            let done =
                queue.pump_requests.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire);
            if done.is_ok() {
                return pumped;
            }
        }
    }
}
