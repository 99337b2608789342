//! The receiving half: goes to what senders have for us, and copies it out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use libnet::ethernet::MacAddr;
use libnet::landing::Landing;
use libnet::link::{LinkRx, Medium, Readiness};
use libnet::packet::{HEAD_ROOM, Packet, SMALL_FRAME_BYTES};
use libnet::pool::Pool;
use libnet::time::Instant;

use crate::bell::take_bits;
use crate::frame::{Dest, FrameHeader};
use crate::layout::control;
use crate::member::{CHORES, Member};
use crate::pair::entry;
use crate::pos::{Pos, split};
use crate::ring::{RingMemory, Seen, Window, look, take, take_part};
use crate::slot::Filter;
use crate::word::Word;

/// Frames taken from one sender before the next one's turn.
const TURN_FRAMES: usize = 64;
/// Headers looked at in one turn, those of frames to others included.
const TURN_LOOKS: usize = 1024;
/// The cursor is shown to the sender at least every so many units.
const SHOW_UNITS: u64 = 256;

/// More frames than these are not missed between two visits: somebody scribbled over the count.
const UNLIKELY: u64 = 1 << 32;

/// The receiving half of a member.
pub(crate) struct Rx {
    member: Arc<Member>,
    /// By slot.
    senders: Vec<Sender>,
    /// Senders to look at, each at most once.
    ready: VecDeque<u16>,
    /// When to look at the pending bits whatever the summary says.
    next_full_look: Instant,
    pool: Pool,
    /// Where a small frame is read; it fits in the packet itself.
    small: Vec<u8>,
    /// Where the front of a frame is read whose data go elsewhere.
    front: [u8; HEAD_ROOM],
    filter: Filter,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    frames: u64,
    bytes: u64,
    missed: u64,
    malformed: u64,
}

/// What we know of one sender. The cursor in memory is only ever written.
#[derive(Clone, Default)]
struct Sender {
    /// Before this we have taken everything; `None` until the sender first had something.
    cursor: Option<Pos>,
    /// Frames that we took, or missed and counted; the sender counts what it had for us.
    taken: Pos,
    /// Our filter has changed since: the sender may have counted by the old one.
    other_filter: bool,
    is_ready: bool,
}

/// A frame's data do not go where a caller waits for others.
struct NotExpected;

/// How a turn ended.
#[derive(PartialEq, Eq)]
enum Turn {
    /// Nothing is left.
    Done,
    /// Something may be left.
    More,
    /// Something is left for whoever waits, who has no more room and takes what landed first.
    Full,
}

impl Rx {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        Rx {
            member,
            senders: Vec::new(),
            ready: VecDeque::new(),
            next_full_look: Instant::ZERO,
            pool: Pool::default(),
            small: Vec::with_capacity(SMALL_FRAME_BYTES),
            front: [0; HEAD_ROOM],
            filter: Filter::default(),
            counts: Counts::default(),
        }
    }

    /// Takes over a filter that was set meanwhile.
    fn follow_filter(&mut self) {
        let filter = self.member.filter();
        if filter != self.filter {
            self.filter = filter;
            self.senders.iter_mut().for_each(|sender| sender.other_filter = true);
        }
    }

    /// Finds out which senders have something.
    fn collect(&mut self) {
        let own = self.member.slot;
        let mut words = self.member.bus.bell(own).take_summary();
        while words != 0 {
            let index = words.trailing_zeros() as usize;
            words &= words - 1;
            if index < self.member.bus.geometry().pending_words() {
                self.collect_word(index);
            }
        }
    }

    /// The same without the summary, which somebody may have scribbled over.
    fn collect_all(&mut self) {
        for index in 0..self.member.bus.geometry().pending_words() {
            self.collect_word(index);
        }
    }

    fn collect_word(&mut self, index: usize) {
        let mut bits = take_bits(self.member.bus.pending(self.member.slot, index));
        // Nobody ever had the other slots, so there may be no blocks behind them.
        let used = usize::from(self.member.bus.used_slots()).max(self.senders.len());
        while bits != 0 {
            let slot = index * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if slot >= used {
                continue;
            }
            if self.senders.len() <= slot {
                self.senders.resize(slot + 1, Sender::default());
            }
            if !std::mem::replace(&mut self.senders[slot].is_ready, true) {
                self.ready.push_back(slot as u16);
            }
        }
    }

    /// Takes up to `budget` frames from one sender.
    fn turn(
        &mut self,
        slot: u16,
        now: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        landing: &mut Option<&mut Landing<'_>>,
    ) -> Turn {
        let own = self.member.slot;
        let member = self.member.clone();
        let bus = &member.bus;
        let ring = bus.ring(slot);
        // Before the head: what is counted here is published by then.
        let counted = bus.pair(own, slot).counted(member.epoch);
        let Some(window) = Window::read(&ring) else { return Turn::Done };
        let first = bus.pair(own, slot).first(member.epoch);
        let cursor = self.senders[usize::from(slot)].cursor;
        let mut at = entry(cursor, first, counted.is_some(), window, ring.units());
        let (mut shown, mut looks, wanted) = (at, 0, sink.len() + budget);
        let filter = self.filter;
        while at != window.head {
            if sink.len() >= wanted || looks == TURN_LOOKS {
                self.show_cursor(slot, at);
                return Turn::More;
            }
            looks += 1;
            match look(&ring, at, window.head) {
                Seen::Frame { header, front, next, .. } => {
                    if self.is_for_us(&header, front, filter) {
                        if landing.as_ref().is_some_and(|landing| is_full(landing, &header)) {
                            self.show_cursor(slot, at);
                            return Turn::Full;
                        }
                        let landing = landing.as_deref_mut();
                        sink.extend(self.receive(slot, &ring, at, &header, now, landing));
                    }
                    at = next;
                }
                Seen::Lapped => at = oldest(&ring, window.head),
                Seen::Broken => {
                    self.counts.malformed += 1;
                    at = window.head;
                }
            }
            if at.since(shown) >= SHOW_UNITS {
                self.show_cursor(slot, at);
                shown = at;
            }
        }
        self.count_missed(slot, counted.unwrap_or(Pos::START));
        self.show_cursor(slot, at);
        Turn::Done
    }

    fn is_for_us(&self, header: &FrameHeader, front: [u8; 8], filter: Filter) -> bool {
        let [a, b, c, d, e, f, _, _] = front;
        match header.dest {
            Dest::Member(slot, epoch) => {
                (slot == self.member.slot && epoch == self.member.epoch) || filter.promiscuous
            }
            Dest::Group => filter.wants_group(MacAddr([a, b, c, d, e, f])),
            Dest::Unknown => filter.wants_unknown(),
        }
    }

    fn receive<M: RingMemory>(
        &mut self,
        slot: u16,
        ring: &M,
        at: Pos,
        header: &FrameHeader,
        now: Instant,
        landing: Option<&mut Landing<'_>>,
    ) -> Option<Packet> {
        let frame_bytes = header.frame_bytes as usize;
        let landed = landing.map(|landing| self.land(ring, at, header, now, landing));
        let packet = if let Some(Ok(packet)) = landed {
            packet
        } else if frame_bytes <= SMALL_FRAME_BYTES {
            self.small.clear();
            take(ring, at, frame_bytes, &mut self.small)
                .then(|| Packet::received_small(&self.small, now))
                .flatten()
        } else {
            let mut bytes = self.pool.take(frame_bytes);
            take(ring, at, frame_bytes, &mut bytes)
                .then(|| Packet::received(self.pool.share(bytes), now))
        };
        let mut packet = packet?;
        let sender = &mut self.senders[usize::from(slot)];
        sender.taken = sender.taken.plus(1);
        if !header.is_plausible(self.member.bus.geometry().mtu) {
            self.counts.malformed += 1;
            return None;
        }
        self.counts.frames += 1;
        self.counts.bytes += packet.len() as u64;
        packet.checksum = header.checksum;
        packet.gso = header.gso;
        Some(packet)
    }

    /// Copies a frame's data where a caller wants them, if it is the one that is expected and there is room;
    /// `None` in it if it was overwritten meanwhile.
    fn land<M: RingMemory>(
        &mut self,
        ring: &M,
        at: Pos,
        header: &FrameHeader,
        now: Instant,
        landing: &mut Landing<'_>,
    ) -> Result<Option<Packet>, NotExpected> {
        let front_bytes = landing.header_bytes(Medium::Ethernet);
        let data = (header.frame_bytes as usize).checked_sub(front_bytes).ok_or(NotExpected)?;
        let fits = data <= landing.room_bytes() && front_bytes <= self.front.len();
        if !fits || !landing.wants(data) || !header.is_plausible(self.member.bus.geometry().mtu) {
            return Err(NotExpected);
        }
        let front = &mut self.front[..front_bytes];
        if !take_part(ring, at, 0, front) {
            return Ok(None);
        }
        if !landing.expects(front, Medium::Ethernet, header.checksum) {
            return Err(NotExpected);
        }
        let stands = take_part(ring, at, front_bytes, &mut landing.room()[..data]);
        Ok(stands.then(|| landing.land(front, data, now)))
    }

    /// At the head: what was counted for us and did not arrive was missed.
    fn count_missed(&mut self, slot: u16, addressed: Pos) {
        let sender = &mut self.senders[usize::from(slot)];
        let other_filter = std::mem::take(&mut sender.other_filter);
        if addressed.is_before(sender.taken) && sender.taken.since(addressed) == 1 {
            // The last one was published, but not counted yet.
            return;
        }
        let missed = addressed.since(sender.taken);
        if missed < UNLIKELY && !other_filter {
            self.counts.missed += missed;
        }
        sender.taken = addressed;
    }

    /// Says how far we are, and rings the sender if that is what it waits for.
    fn show_cursor(&mut self, slot: u16, at: Pos) {
        self.senders[usize::from(slot)].cursor = Some(at);
        let Member { bus, slot: own, epoch, .. } = &*self.member;
        if bus.pair(*own, slot).show_cursor(*epoch, at) {
            bus.wake_sleeper(slot);
        }
    }

    fn show_counts(&self) {
        let own = self.member.slot;
        let bus = &self.member.bus;
        bus.control(own, control::RX_FRAMES).store(self.counts.frames, Relaxed);
        bus.control(own, control::RX_BYTES).store(self.counts.bytes, Relaxed);
        bus.control(own, control::RX_MISSED).store(self.counts.missed, Relaxed);
        bus.control(own, control::RX_MALFORMED).store(self.counts.malformed, Relaxed);
        self.member.figures.rx_missed.store(self.counts.missed, Relaxed);
        self.member.figures.rx_malformed.store(self.counts.malformed, Relaxed);
    }
}

/// Has something landed, and a further frame no room there?
fn is_full(landing: &Landing<'_>, header: &FrameHeader) -> bool {
    let most = landing.header_bytes(Medium::Ethernet) + landing.room_bytes();
    landing.has_landed() && header.frame_bytes as usize > most
}

/// The sender has overtaken us: the oldest frame that stands, or the head.
fn oldest<M: RingMemory>(ring: &M, head: Pos) -> Pos {
    let (_, reclaim) = split(ring.reclaim().load(Relaxed));
    if head.since(reclaim) <= ring.units() { reclaim } else { head }
}

impl LinkRx for Rx {
    fn recv(
        &mut self,
        now: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        mut landing: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        self.member.do_chores(now)?;
        if now >= self.next_full_look {
            self.next_full_look = now + CHORES;
            self.collect_all();
            self.pool.shrink();
        }
        self.member.wake_some();
        self.member.show_movement();
        self.follow_filter();
        self.collect();
        let before = sink.len();
        let looked = !self.ready.is_empty();
        while let Some(slot) = self.ready.front().copied() {
            let left = budget.saturating_sub(sink.len() - before);
            if left == 0 {
                break;
            }
            let turn = self.turn(slot, now, left.min(TURN_FRAMES), sink, &mut landing);
            if turn == Turn::Full {
                break;
            }
            self.ready.pop_front();
            if turn == Turn::More {
                self.ready.push_back(slot);
            } else {
                self.senders[usize::from(slot)].is_ready = false;
            }
        }
        self.member.backlog.store(!self.ready.is_empty(), Relaxed);
        if looked {
            self.show_counts();
        }
        Ok(sink.len() - before)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Doorbell(self.member.clone())
    }
}

impl Drop for Rx {
    fn drop(&mut self) {
        self.member.drop_half();
    }
}
