//! The sending half: publishes frames in our ring and says whom they are for.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use libnet::ethernet::MacAddr;
use libnet::link::{LinkTx, Readiness};
use libnet::packet::Packet;
use libnet::time::Instant;

use crate::frame::{Dest, FrameHeader, MAX_FRAME_BYTES, MIN_FRAME_BYTES};
use crate::layout::control;
use crate::lock::is_held;
use crate::member::{Member, STALL};
use crate::pair::has_reached;
use crate::peers::Peers;
use crate::pos::{Epoch, Pos};
use crate::ring::{RingMemory, Seen, Writer, look};
use crate::slot::{State, mark_gone};

/// The longest wait for one receiver that moves, but too slowly to make room.
const LONGEST_WAIT_NS: u64 = 50_000_000;
/// Receivers are told of what was published at least every so many bytes.
const NOTIFY_BYTES: usize = 16 * 1024;
/// And when so many notices are due.
const NOTIFY_RECEIVERS: usize = 1024;
/// Sleepers that a caller wakes for a frame to many; the driver wakes the rest.
const WAKES_BY_CALLER: usize = 8;

/// The sending half of a member.
pub(crate) struct Tx {
    member: Arc<Member>,
    writer: Writer,
    /// The head that we took over.
    started_at: Pos,
    /// Frames that still stand in our ring, oldest first.
    standing: VecDeque<Standing>,
    /// By slot.
    receivers: Vec<Receiver>,
    peers: Peers,
    waiting: Option<Waiting>,
    /// Who is to be told of what was published.
    to_notify: Vec<u16>,
    /// Bytes published since they were last told.
    untold_bytes: usize,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    frames: u64,
    bytes: u64,
    waits: u64,
    refused: u64,
}

/// A frame in our ring, and who must have taken it before it may be overwritten.
struct Standing {
    end: Pos,
    holder: Option<(u16, Epoch)>,
}

/// What we know of one receiver.
#[derive(Clone)]
struct Receiver {
    /// Of the incarnation that the rest is about.
    epoch: Epoch,
    /// Its cursor when we last looked.
    cursor: u64,
    /// Behind the last frame that it should take; none yet if `None`.
    last_end: Option<Pos>,
    /// How many frames it should take.
    addressed: Pos,
    /// Not waited for while its cursor is this.
    stalled_at: Option<u64>,
}

impl Receiver {
    const UNKNOWN: Receiver = Receiver {
        epoch: Epoch::NONE,
        cursor: 0,
        last_end: None,
        addressed: Pos::START,
        stalled_at: None,
    };
}

/// Whom we wait for.
struct Waiting {
    receiver: u16,
    epoch: Epoch,
    cursor: u64,
    /// Since its cursor is there.
    still_since: Instant,
    since: Instant,
}

impl Tx {
    /// Takes our ring over from whoever had the slot before, with what still stands in it.
    pub(crate) fn new(member: Arc<Member>) -> Self {
        let ring = member.bus.ring(member.slot);
        let mut writer = Writer::take_over(&ring, member.epoch);
        let standing = match walk(&ring, &writer) {
            Some(standing) => standing,
            None => {
                writer.reclaim_to(&ring, writer.head());
                VecDeque::new()
            }
        };
        Tx {
            member,
            started_at: writer.head(),
            writer,
            standing,
            receivers: Vec::new(),
            peers: Peers::default(),
            waiting: None,
            to_notify: Vec::new(),
            untold_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// Can it travel on this bus at all?
    fn is_sendable(&self, packet: &Packet) -> bool {
        let fits = (MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&packet.len());
        fits && header_of(packet, Dest::Group, Instant::ZERO, 0)
            .is_plausible(self.member.bus.geometry().mtu)
    }

    fn publish(&mut self, now: Instant, packet: &Packet) {
        let mut mac = [0; 6];
        packet.copy_to(0, &mut mac);
        let mac = MacAddr(mac);
        let at = self.writer.head();
        let first_target = self.to_notify.len();
        let (dest, holder) = self.choose_targets(mac);
        for index in first_target..self.to_notify.len() {
            self.announce(self.to_notify[index], at);
        }
        let header = header_of(packet, dest, now, self.counts.frames);
        let ring = self.member.bus.ring(self.member.slot);
        let end = self.writer.publish(&ring, header, packet.pieces());
        self.standing.push_back(Standing { end, holder });
        for index in first_target..self.to_notify.len() {
            self.count_addressed(self.to_notify[index], end);
        }
        self.counts.frames += 1;
        self.counts.bytes += packet.len() as u64;
        self.untold_bytes += packet.len();
        let told_before = first_target > 0 && self.to_notify.len() == first_target + 1;
        if told_before && self.to_notify[first_target - 1] == self.to_notify[first_target] {
            // The same receiver as the frame before: one notice does for both.
            self.to_notify.pop();
        }
        if self.untold_bytes >= NOTIFY_BYTES || self.to_notify.len() >= NOTIFY_RECEIVERS {
            self.notify();
        }
    }

    /// Puts all who should get a frame to `mac` on the list; who is waited for if need be.
    fn choose_targets(&mut self, mac: MacAddr) -> (Dest, Option<(u16, Epoch)>) {
        if mac.is_group() {
            let wanting = self.peers.live.iter().filter(|(_, filter)| filter.wants_group(mac));
            self.to_notify.extend(wanting.map(|(slot, _)| *slot));
            return (Dest::Group, None);
        }
        let Some(owner) = self.peers.owner(mac) else {
            let wanting = self.peers.live.iter().filter(|(_, filter)| filter.wants_unknown());
            self.to_notify.extend(wanting.map(|(slot, _)| *slot));
            // A bridge passes on what others wait for, so it may push back; with several, the
            // first does.
            let bridge = self.peers.live.iter().find(|(_, filter)| filter.unknown_unicast);
            let holder = bridge.and_then(|(slot, _)| Some((*slot, self.peers.epoch(*slot)?)));
            return (Dest::Unknown, holder);
        };
        self.to_notify.extend(self.peers.promiscuous.iter().filter(|slot| **slot != owner));
        self.to_notify.push(owner);
        let epoch = self.peers.epoch(owner).unwrap_or(Epoch::NONE);
        (Dest::Member(owner, epoch), Some((owner, epoch)))
    }

    /// Tells a receiver that took everything where to go on.
    fn announce(&mut self, slot: u16, at: Pos) {
        let Some(epoch) = self.peers.epoch(slot) else { return };
        let last_end = self.receiver(slot, epoch).last_end;
        let pair = self.member.bus.pair(slot, self.member.slot);
        let cursor = pair.announce(epoch, last_end, at);
        self.receiver(slot, epoch).cursor = cursor;
    }

    fn count_addressed(&mut self, slot: u16, end: Pos) {
        let Some(epoch) = self.peers.epoch(slot) else { return };
        let receiver = self.receiver(slot, epoch);
        receiver.last_end = Some(end);
        receiver.addressed = receiver.addressed.plus(1);
        let addressed = receiver.addressed;
        self.member.bus.pair(slot, self.member.slot).count(epoch, addressed);
    }

    /// What we know of the incarnation `epoch` of a receiver.
    fn receiver(&mut self, slot: u16, epoch: Epoch) -> &mut Receiver {
        let index = usize::from(slot);
        if self.receivers.len() <= index {
            self.receivers.resize(index + 1, Receiver::UNKNOWN);
        }
        let receiver = &mut self.receivers[index];
        if receiver.epoch != epoch {
            // Whoever had our slot before has counted for it too: go on from there.
            let counted = self.member.bus.pair(slot, self.member.slot).counted(epoch);
            *receiver = Receiver { epoch, ..Receiver::UNKNOWN };
            if let Some(counted) = counted {
                receiver.addressed = counted;
                // All that the other may have had for it is before where we began.
                receiver.last_end = Some(self.started_at);
            }
        }
        receiver
    }

    /// Tells everyone on the list, and wakes those who sleep.
    fn notify(&mut self) {
        self.untold_bytes = 0;
        let bus = &self.member.bus;
        let own = self.member.slot;
        for slot in &self.to_notify {
            bus.bell(*slot).post(bus.pending(*slot, usize::from(own / 64)), own);
        }
        let now = self.to_notify.len().min(WAKES_BY_CALLER);
        for slot in &self.to_notify[..now] {
            bus.wake_sleeper(*slot);
        }
        if self.to_notify.len() > now {
            self.member.wake_later(self.to_notify[now..].iter().copied());
        }
        self.to_notify.clear();
    }

    /// Makes room for `units`, giving up the oldest frames that nobody is waited for.
    fn make_room(&mut self, now: Instant, units: u64) -> bool {
        let head = self.writer.head();
        let mut mark = self.writer.reclaimed();
        let mut enough = self.writer.room() >= units;
        while !enough {
            let Some(oldest) = self.standing.front() else {
                mark = head;
                break;
            };
            let (end, holder) = (oldest.end, oldest.holder);
            if let Some((slot, epoch)) = holder
                && !self.may_overwrite(slot, epoch, end)
                && !self.stop_waiting(now, slot, epoch, end)
            {
                break;
            }
            self.standing.pop_front();
            mark = end;
            enough = self.writer.room() + mark.since(self.writer.reclaimed()) >= units;
        }
        if mark != self.writer.reclaimed() {
            self.writer.reclaim_to(&self.member.bus.ring(self.member.slot), mark);
        }
        let made = self.writer.room() >= units;
        if made {
            self.waiting = None;
        }
        made
    }

    /// Has this receiver taken what ends at `end`, or is it not waited for?
    fn may_overwrite(&mut self, slot: u16, epoch: Epoch, end: Pos) -> bool {
        if self.peers.epoch(slot) != Some(epoch) {
            return true;
        }
        let head = self.writer.head();
        let own = self.member.slot;
        let shared = self.member.bus.pair(slot, own).cursor();
        let receiver = self.receiver(slot, epoch);
        receiver.cursor = shared;
        if receiver.stalled_at.is_some_and(|at| at != shared) {
            receiver.stalled_at = None;
        }
        receiver.stalled_at.is_some() || has_reached(shared, epoch, end, head)
    }

    /// The ring is full and `slot` has not taken the oldest frame. Asks it for a ring of our bell,
    /// and gives up on it when it has not moved for too long: `true` then.
    fn stop_waiting(&mut self, now: Instant, slot: u16, epoch: Epoch, end: Pos) -> bool {
        let cursor = self.receiver(slot, epoch).cursor;
        let waiting = match &mut self.waiting {
            Some(waiting) if waiting.receiver == slot && waiting.epoch == epoch => waiting,
            other => {
                self.counts.waits += 1;
                other.insert(Waiting {
                    receiver: slot,
                    epoch,
                    cursor,
                    still_since: now,
                    since: now,
                })
            }
        };
        if waiting.cursor != cursor {
            (waiting.cursor, waiting.still_since) = (cursor, now);
        }
        let still = now.since(waiting.still_since) >= STALL;
        if still || now.since(waiting.since).as_nanos() >= u128::from(LONGEST_WAIT_NS) {
            self.waiting = None;
            self.give_up_on(now, slot, epoch, cursor);
            return true;
        }
        let until = epoch.with(self.good_time_to_wake(slot, epoch, end));
        let bus = &self.member.bus;
        bus.pair(slot, self.member.slot).ask(until);
        if self.may_overwrite(slot, epoch, end) {
            return true;
        }
        self.member.wait_for(slot, until);
        false
    }

    /// Where a receiver's cursor should be when it wakes us: half the ring then is free, so that
    /// we are not woken for every frame.
    fn good_time_to_wake(&self, slot: u16, epoch: Epoch, end: Pos) -> Pos {
        let oldest = self.writer.reclaimed();
        let half = self.member.bus.geometry().ring_units() / 2;
        let frames = self.standing.iter().take_while(|frame| frame.end.since(oldest) <= half);
        frames.filter(|f| f.holder == Some((slot, epoch))).last().map_or(end, |frame| frame.end)
    }

    /// Once per stall: finds out whether the receiver is dead, and does not wait for it until it
    /// moves.
    fn give_up_on(&mut self, now: Instant, slot: u16, epoch: Epoch, cursor: u64) {
        let bus = &self.member.bus;
        let held = is_held(&bus.file.file, bus.geometry().slot(slot)).unwrap_or(true);
        if held {
            tracing::debug!(slot, "member is stalled, not waiting for it");
            bus.control(slot, control::STALLED_NS).store(now.as_nanos().max(1), Relaxed);
        } else {
            tracing::debug!(slot, "member is gone");
            mark_gone(bus, slot, epoch, State::Live);
        }
        self.receiver(slot, epoch).stalled_at = Some(cursor);
        self.peers.refresh(&self.member.bus, self.member.slot);
    }

    fn show_counts(&self) {
        let own = self.member.slot;
        let bus = &self.member.bus;
        bus.control(own, control::TX_FRAMES).store(self.counts.frames, Relaxed);
        bus.control(own, control::TX_BYTES).store(self.counts.bytes, Relaxed);
        bus.control(own, control::TX_WAITS).store(self.counts.waits, Relaxed);
        bus.control(own, control::TX_REFUSED).store(self.counts.refused, Relaxed);
        self.member.figures.tx_waits.store(self.counts.waits, Relaxed);
        self.member.figures.tx_refused.store(self.counts.refused, Relaxed);
    }
}

impl LinkTx for Tx {
    fn send(&mut self, now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        if queue.is_empty() {
            return Ok(0);
        }
        self.member.do_chores(now)?;
        self.peers.refresh(&self.member.bus, self.member.slot);
        self.writer.repair(&self.member.bus.ring(self.member.slot));
        let (mut sent, mut refused) = (0, 0);
        let mut blocked = false;
        for packet in queue.iter() {
            if !self.is_sendable(packet) {
                refused += 1;
                continue;
            }
            if !self.make_room(now, FrameHeader::units(packet.len())) {
                blocked = true;
                break;
            }
            self.publish(now, packet);
            sent += 1;
        }
        // In one go, where they lie: a packet is too large to move about.
        queue.drain(..sent + refused);
        self.counts.refused += refused as u64;
        if !self.to_notify.is_empty() {
            self.notify();
        }
        if !blocked {
            self.member.wait_for_nobody();
        }
        self.show_counts();
        Ok(sent)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Doorbell(self.member.clone())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        self.member.drop_half();
    }
}

fn header_of(packet: &Packet, dest: Dest, now: Instant, number: u64) -> FrameHeader {
    FrameHeader {
        sent_ns: now.as_nanos(),
        number,
        frame_bytes: packet.len() as u32,
        dest,
        checksum: packet.checksum,
        gso: packet.gso,
    }
}

/// What stands in a ring that was taken over; `None` if somebody scribbled over it.
fn walk<M: RingMemory>(ring: &M, writer: &Writer) -> Option<VecDeque<Standing>> {
    let mut standing = VecDeque::new();
    let (mut at, head) = (writer.reclaimed(), writer.head());
    while at != head {
        let Seen::Frame { next, .. } = look(ring, at, head) else { return None };
        standing.push_back(Standing { end: next, holder: None });
        at = next;
    }
    Some(standing)
}
