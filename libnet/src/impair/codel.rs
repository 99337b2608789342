//! Keeps a queue short by how long frames have waited in it: CoDel (RFC 8289).

use std::collections::VecDeque;
use std::time::Duration;

use super::fault::Verdict;
use crate::link::Medium;
use crate::packet::Packet;
use crate::time::Instant;

/// A frame in front of the wire.
pub(super) struct Waiting {
    /// When it came.
    pub(super) since: Instant,
    pub(super) frame: Packet,
    pub(super) verdict: Verdict,
}

/// Frames in front of the wire, in order, with their bytes.
#[derive(Default)]
pub(super) struct Fifo {
    frames: VecDeque<Waiting>,
    bytes: u64,
}

impl Fifo {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.frame.len() as u64;
        self.frames.push_back(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let first = self.frames.pop_front()?;
        self.bytes -= first.frame.len() as u64;
        Some(first)
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the first of them came.
    pub(super) fn first_since(&self) -> Option<Instant> {
        self.frames.front().map(|first| first.since)
    }
}

/// What is done to the frames that CoDel picks.
pub(super) struct Picked {
    /// Mark those that can be, and drop the others?
    pub(super) mark: Option<Medium>,
    pub(super) dropped: Vec<Packet>,
    /// Of those dropped, whoever keeps count has counted so many.
    pub(super) settled: usize,
    pub(super) marked: u64,
}

/// The state of RFC 8289 §5.2.
#[derive(Default)]
pub(super) struct CoDel {
    first_above: Option<Instant>,
    drop_next: Instant,
    count: u32,
    last_count: u32,
    is_dropping: bool,
}

/// RFC 8289 §4.3: the wait that is tolerated.
const TARGET: Duration = Duration::from_millis(5);
/// RFC 8289 §4.2: a round trip, in which a sender may answer.
const INTERVAL: Duration = Duration::from_millis(100);

impl CoDel {
    /// Takes the next frame that may go onto the wire at `now` (RFC 8289 §5.5).
    pub(super) fn pop(
        &mut self,
        now: Instant,
        longest_frame: usize,
        queue: &mut Fifo,
        picked: &mut Picked,
    ) -> Option<Waiting> {
        let (mut next, mut ok_to_drop) = self.look(now, longest_frame, queue);
        if !self.is_dropping {
            if !ok_to_drop {
                return next;
            }
            self.start_dropping(now);
            let kept = picked.pick(next?);
            return if kept.is_some() { kept } else { self.look(now, longest_frame, queue).0 };
        }
        self.is_dropping = ok_to_drop;
        while self.is_dropping && now >= self.drop_next {
            self.count = self.count.saturating_add(1);
            let kept = picked.pick(next?);
            if kept.is_some() {
                self.drop_next = control_law(self.drop_next, self.count);
                return kept;
            }
            (next, ok_to_drop) = self.look(now, longest_frame, queue);
            self.is_dropping = ok_to_drop;
            if ok_to_drop {
                self.drop_next = control_law(self.drop_next, self.count);
            }
        }
        next
    }

    fn start_dropping(&mut self, now: Instant) {
        self.is_dropping = true;
        // §5.5: soon after the last time the rate that worked is a good guess.
        let delta = self.count.saturating_sub(self.last_count);
        let is_soon = now.since(self.drop_next) < INTERVAL * 16;
        self.count = if delta > 1 && is_soon { delta } else { 1 };
        self.drop_next = control_law(now, self.count);
        self.last_count = self.count;
    }

    /// Takes a frame, and says whether it waited too long as all have for an interval (§5.6).
    fn look(
        &mut self,
        now: Instant,
        longest_frame: usize,
        queue: &mut Fifo,
    ) -> (Option<Waiting>, bool) {
        let Some(next) = queue.pop() else {
            self.first_above = None;
            return (None, false);
        };
        if now.since(next.since) < TARGET || queue.bytes() <= longest_frame as u64 {
            self.first_above = None;
            return (Some(next), false);
        }
        let first_above = *self.first_above.get_or_insert(now + INTERVAL);
        (Some(next), now >= first_above)
    }
}

/// RFC 8289 §5.6.
fn control_law(at: Instant, count: u32) -> Instant {
    at + INTERVAL.div_f64(f64::from(count.max(1)).sqrt())
}

impl Picked {
    /// Drops a frame, or gives it back marked.
    fn pick(&mut self, mut waiting: Waiting) -> Option<Waiting> {
        if self.mark.is_some_and(|medium| mark_congestion(&mut waiting.frame, medium)) {
            self.marked += 1;
            return Some(waiting);
        }
        self.dropped.push(waiting.frame);
        None
    }
}

/// Marks a packet whose sender said that it understands (RFC 3168 §5); whether it did.
pub(super) fn mark_congestion(frame: &mut Packet, medium: Medium) -> bool {
    let mut head = [0; 14 + 20];
    let ip = if medium == Medium::Ethernet { 14 } else { 0 };
    if frame.copy_to(0, &mut head) < ip + 20 {
        return false;
    }
    let ethertype = match medium {
        Medium::Ethernet => u16::from_be_bytes([head[12], head[13]]),
        Medium::Ip => {
            if head[0] >> 4 == 6 {
                0x86dd
            } else {
                0x0800
            }
        }
    };
    let h = &mut head[ip..ip + 20];
    match (ethertype, h[0] >> 4) {
        (0x0800, 4) => {
            if h[1] & 3 == 0 {
                return false;
            }
            let (before, sum) = ([h[0], h[1]], u16::from_be_bytes([h[10], h[11]]));
            h[1] |= 3;
            // RFC 1624: HC' = ~(~HC + ~m + m').
            let mut total = u32::from(!sum) + u32::from(!u16::from_be_bytes(before));
            total += u32::from(u16::from_be_bytes([h[0], h[1]]));
            total = (total & 0xffff) + (total >> 16);
            total = (total & 0xffff) + (total >> 16);
            let tos = h[1];
            frame.write_at(ip + 1, &[tos]);
            frame.write_at(ip + 10, &(!(total as u16)).to_be_bytes());
            true
        }
        (0x86dd, 6) => {
            if h[1] & 0x30 == 0 {
                return false;
            }
            let class = h[1] | 0x30;
            frame.write_at(ip + 1, &[class]);
            true
        }
        _ => false,
    }
}
