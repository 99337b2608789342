//! Frames under way on a link that harms them, and when the next arrives.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{Delivery, Impair};
use crate::packet::Packet;
use crate::time::Instant;

/// One direction with what is under way on it: what a world keeps as events.
pub(super) struct Line {
    pub(super) impair: Impair,
    /// The next to arrive on top; of two at the same time the one that came first.
    delayed: BinaryHeap<Reverse<Delayed>>,
    next_number: u64,
    delayed_bytes: usize,
    max_frames: usize,
    max_bytes: usize,
    arriving: Vec<Delivery>,
}

struct Delayed {
    at: Instant,
    number: u64,
    packet: Packet,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Line {
    /// At most `max_frames` frames and `max_bytes` bytes are under way; one is always taken.
    pub(super) fn new(impair: Impair, max_frames: usize, max_bytes: usize) -> Self {
        Line {
            impair,
            delayed: BinaryHeap::new(),
            next_number: 0,
            delayed_bytes: 0,
            max_frames: max_frames.max(1),
            max_bytes,
            arriving: Vec::new(),
        }
    }

    /// Takes a frame; what is too much is dropped and counted: a sender that may wait asks for
    /// [`has_room`](Self::has_room) first.
    pub(super) fn take(&mut self, now: Instant, packet: Packet) {
        let mut arriving = std::mem::take(&mut self.arriving);
        self.impair.advance(now, &mut arriving);
        if self.is_full() {
            // Whoever receives cannot let the sender wait.
            self.impair.stats.too_many += 1;
        } else {
            self.impair.offer(now, packet, &mut arriving);
        }
        self.keep(&mut arriving);
        self.arriving = arriving;
    }

    /// Gives the frames that have arrived.
    pub(super) fn arrived(&mut self, now: Instant, frames: &mut VecDeque<Packet>) {
        let mut arriving = std::mem::take(&mut self.arriving);
        self.impair.advance(now, &mut arriving);
        self.keep(&mut arriving);
        self.arriving = arriving;
        while let Some(Reverse(next)) = self.delayed.peek()
            && next.at <= now
        {
            let Some(Reverse(Delayed { mut packet, at, .. })) = self.delayed.pop() else { return };
            self.delayed_bytes -= packet.len();
            packet.rx_at = at;
            frames.push_back(packet);
        }
    }

    /// When [`arrived`](Self::arrived) has something next, or may have.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let arrival = self.delayed.peek().map(|Reverse(next)| next.at);
        arrival.into_iter().chain(self.impair.next_at()).min()
    }

    /// May a sender that waits send a frame now?
    pub(super) fn has_room(&self, now: Instant) -> bool {
        !self.is_full() && self.impair.room_at(now) <= now
    }

    /// Is nothing under way?
    pub(super) fn is_idle(&self) -> bool {
        self.delayed.is_empty() && self.impair.waiting() == 0
    }

    /// Is as much under way as may be, in the queue, on the wire and in flight?
    fn is_full(&self) -> bool {
        let frames = self.delayed.len() + self.impair.waiting();
        let bytes = self.delayed_bytes as u64 + self.impair.waiting_bytes();
        frames > 0 && (frames >= self.max_frames || bytes >= self.max_bytes as u64)
    }

    fn keep(&mut self, arriving: &mut Vec<Delivery>) {
        for Delivery { at, packet } in arriving.drain(..) {
            let bytes = self.delayed_bytes + packet.len();
            let is_too_many = self.delayed.len() >= self.max_frames || bytes > self.max_bytes;
            if is_too_many && !self.delayed.is_empty() {
                self.impair.stats.too_many += 1;
                self.impair.stats.delivered -= 1;
                continue;
            }
            self.delayed_bytes = bytes;
            self.delayed.push(Reverse(Delayed { at, number: self.next_number, packet }));
            self.next_number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::ethernet::MacAddr;
    use crate::impair::{Impairments, QueueLimit};
    use crate::link::LinkInfo;

    fn line(config: Impairments, max_frames: usize, max_bytes: usize) -> Line {
        let link = LinkInfo::ethernet("test", "", MacAddr::ZERO, 1_500);
        Line::new(Impair::new(config, &link, [7; 32]), max_frames, max_bytes)
    }

    fn frame() -> Packet {
        Packet::from_payload(Bytes::from(vec![0; 600]))
    }

    #[test]
    fn what_is_delayed_is_bounded_in_frames_and_bytes() {
        let slow = Impairments::none().delay(Duration::from_secs(3_600));
        for (max_frames, max_bytes) in [(10, usize::MAX), (usize::MAX, 6_000)] {
            let mut line = line(slow.clone(), max_frames, max_bytes);
            let room: Vec<bool> = (0..15)
                .map(|_| {
                    let has_room = line.has_room(Instant::ZERO);
                    line.take(Instant::ZERO, frame());
                    has_room
                })
                .collect();
            assert_eq!(room.iter().filter(|has_room| **has_room).count(), 10);
            assert_eq!(line.impair.stats().too_many, 5);
            let mut frames = VecDeque::new();
            line.arrived(Instant::ZERO, &mut frames);
            assert!(frames.is_empty());
            let at = line.next_at().expect("ten frames are under way");
            assert_eq!(at, Instant::ZERO + Duration::from_secs(3_600));
            line.arrived(at, &mut frames);
            assert_eq!(frames.len(), 10);
            assert!(line.is_idle());
        }
    }

    #[test]
    fn a_sender_waits_for_the_wire_and_is_told_until_when() {
        // 600 bytes at 4.8 Mbit/s take 1 ms.
        let limit = QueueLimit { frames: 2, ..QueueLimit::default() };
        let mut line = line(Impairments::none().rate(4_800_000).queue(limit), 100, usize::MAX);
        let now = Instant::from_millis(5);
        line.take(now, frame());
        assert!(line.has_room(now));
        line.take(now, frame());
        assert!(!line.has_room(now));
        assert_eq!(line.next_at(), Some(Instant::from_millis(6)));
        let mut frames = VecDeque::new();
        line.arrived(Instant::from_millis(6), &mut frames);
        assert_eq!(frames.len(), 1);
        assert!(line.has_room(Instant::from_millis(6)));
    }

    #[test]
    fn what_waits_for_the_wire_is_bounded_too() {
        let slow = Impairments::none().rate(1_000);
        for (max_frames, max_bytes) in [(10, usize::MAX), (usize::MAX, 6_000)] {
            let mut line = line(slow.clone(), max_frames, max_bytes);
            let has_room = |line: &mut Line| {
                let has_room = line.has_room(Instant::ZERO);
                line.take(Instant::ZERO, frame());
                has_room
            };
            // A sender that waits for room loses nothing.
            assert_eq!((0..15).filter(|_| has_room(&mut line)).count(), 10);
            assert_eq!((line.impair.waiting(), line.impair.stats().too_many), (10, 5));
        }
    }
}
