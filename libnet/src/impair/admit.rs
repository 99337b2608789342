//! Which frames the queue in front of the wire takes, and which it gives to it.

use std::time::Duration;

use super::Impair;
use super::codel::{Picked, Waiting, mark_congestion};
use super::config::{Discipline, Measure, Overflow};
use super::red::{Fate, Fill};
use crate::packet::Packet;
use crate::time::Instant;

impl Impair {
    /// Lets a frame into the queue, marked maybe, or loses it.
    pub(super) fn admit(&mut self, now: Instant, mut frame: Packet) -> Option<Packet> {
        let discipline = self.config.queue.discipline;
        if matches!(discipline, Discipline::Red | Discipline::RedEcn) {
            let frame_time = self.time_on_wire(self.wire.mtu.into());
            let fill = self.fill(now);
            let is_picked = match self.queue.red.arrives(now, fill, frame_time) {
                Fate::Waits => false,
                Fate::Drops => true,
                Fate::Perhaps(share) if !self.chance(share) => false,
                Fate::Perhaps(_) => {
                    self.queue.red.picked();
                    let marks = discipline == Discipline::RedEcn;
                    let is_marked = marks && mark_congestion(&mut frame, self.wire.medium);
                    self.stats.ecn_marked += u64::from(is_marked);
                    !is_marked
                }
            };
            if is_picked {
                self.stats.red_dropped += 1;
                self.lose("by RED", frame);
                return None;
            }
        }
        if !self.queue.sheds() && self.drops_past_limit() && self.is_full(now, 1, frame.len()) {
            self.stats.queue_dropped += 1;
            self.lose("the queue was full", frame);
            return None;
        }
        Some(frame)
    }

    fn drops_past_limit(&self) -> bool {
        self.config.queue.overflow == Overflow::Drops
    }

    /// How full the queue is, in what its limit is told in.
    fn fill(&self, now: Instant) -> Fill {
        let limit = self.config.queue;
        let on_wire = self.on_wire.as_ref();
        match limit.measure() {
            Measure::Bytes => {
                let bytes = on_wire.map_or(0, |wire| wire.waiting.frame.len() as u64);
                Fill { now: (self.queue.bytes() + bytes) as f64, limit: limit.bytes as f64 }
            }
            Measure::Time => {
                let wait = on_wire.map_or(Duration::ZERO, |wire| wire.ends.since(now));
                let wait = wait + self.time_on_wire(self.queue.bytes());
                Fill { now: wait.as_secs_f64(), limit: limit.time.as_secs_f64() }
            }
            Measure::Frames => Fill { now: self.waiting() as f64, limit: limit.frames as f64 },
        }
    }

    /// Loses of the longest flow what is past the limit, if there are flows.
    pub(super) fn keep_to_limit(&mut self, now: Instant) {
        while self.queue.sheds() && self.drops_past_limit() && self.is_full(now, 0, 0) {
            let shed = self.queue.shed();
            if shed.is_empty() {
                break;
            }
            self.stats.queue_dropped += shed.len() as u64;
            for frame in shed {
                self.lose("the queue was full, of its flow most", frame);
            }
        }
    }

    /// The next frame for the wire, which takes it at `begins`.
    pub(super) fn dequeue(&mut self, begins: Instant) -> Option<Waiting> {
        let discipline = self.config.queue.discipline;
        let marks = matches!(discipline, Discipline::Ecn | Discipline::FqCoDel);
        let mark = marks.then_some(self.wire.medium);
        let mut picked = Picked { mark, dropped: Vec::new(), settled: 0, marked: 0 };
        let next = self.queue.pop(begins, discipline, &mut picked);
        self.stats.codel_dropped += picked.dropped.len() as u64;
        self.stats.ecn_marked += picked.marked;
        for frame in picked.dropped {
            self.lose("by CoDel", frame);
        }
        next
    }

    /// Is the limit passed with so many frames more, and bytes?
    pub(super) fn is_full(&self, now: Instant, more_frames: usize, more_bytes: usize) -> bool {
        let limit = self.config.queue;
        let Some(wire) = &self.on_wire else { return false };
        let bytes = self.queue.bytes() + wire.waiting.frame.len() as u64 + more_bytes as u64;
        let wait = wire.ends.since(now) + self.time_on_wire(self.queue.bytes());
        self.waiting() + more_frames > limit.frames.max(1)
            || bytes > limit.bytes
            || wait > limit.time
    }
}
