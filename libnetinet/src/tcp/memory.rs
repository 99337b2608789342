//! What a connection holds, and what it gives up when memory is short: first what came out of order,
//! then room to send, and in the end what comes next.

use libnet::Ready;

use super::budget::Quota;
use super::config::TcpConfig;
use super::ctx::Ctx;
use super::held::memory_of;
use super::records::Record;
use super::segment::Segment;
use super::state::State;
use super::tcb::Connection;

impl Connection {
    /// The memory of its buffers, bytes; none while it is idle.
    pub(super) fn memory_bytes(&self) -> u32 {
        let send = self.send_buffer.as_ref().map_or(0, |buffer| buffer.memory());
        let receive = self.receive_buffer.as_ref().map_or(0, |buffer| buffer.memory());
        let early = self.reassembly.as_ref().map_or(0, |early| early.memory());
        // One record has its place in the block.
        let records = self.tx.board.len().saturating_sub(1) * size_of::<Record>();
        u32::try_from(send + receive + early + records).unwrap_or(u32::MAX)
    }

    /// Tells the shard what it holds now.
    pub(super) fn charge(&mut self, ctx: &mut Ctx) {
        let now = self.memory_bytes();
        if now != self.charged {
            ctx.quota.change(&ctx.config.memory, self.charged, now);
            self.charged = now;
        }
    }

    /// Tells the stack if it is one that its application has closed and that is not over.
    pub(super) fn count_orphan(&mut self, quota: &Quota) {
        let is_orphan = self.mode.orphan && !matches!(self.state, State::Closed | State::TimeWait);
        match (self.mode.counted_orphan, is_orphan) {
            (false, true) => quota.add_orphan(),
            (true, false) => quota.remove_orphan(),
            _ => return,
        }
        self.mode.counted_orphan = is_orphan;
    }

    /// May the data of a segment that is next be taken? Makes room if need be.
    pub(super) fn admit(&mut self, ctx: &mut Ctx, seg: &Segment) -> bool {
        let bytes = u64::from(memory_of(seg.data_len as usize));
        if ctx.quota.is_easy(bytes) {
            (self.mode.no_room, self.mode.pressed) = (false, false);
            return true;
        }
        let admitted = self.may_take(ctx, bytes) || self.make_room(ctx, bytes);
        self.mode.pressed = ctx.quota.is_pressed();
        self.mode.no_room = !admitted;
        if !admitted {
            ctx.counters.receive_drops += 1;
            self.owed.ack = true;
        }
        admitted
    }

    /// May data beyond a hole be kept? Nothing is given up for them.
    pub(super) fn admit_early(&mut self, ctx: &mut Ctx, seg: &Segment) -> bool {
        let bytes = u64::from(memory_of(seg.data_len as usize));
        let admitted = ctx.quota.is_easy(bytes) || self.may_take(ctx, bytes);
        if !admitted {
            ctx.counters.out_of_order_drops += 1;
            ctx.wants_pruning = true;
            self.owed.ack = true;
        }
        admitted
    }

    /// What may be sent now, of `wanted` bytes.
    pub(super) fn room_to_send(&mut self, ctx: &mut Ctx, wanted: usize) -> Room {
        let room = Room { limit: self.limit_of_send(&ctx.config), chunk: self.chunk_bytes() };
        let needs = u64::from(memory_of(wanted.min(room.limit)));
        match ctx.quota.is_easy(needs) {
            true => room,
            false => self.scarce_room(ctx, room, needs),
        }
    }

    #[cold]
    fn scarce_room(&mut self, ctx: &mut Ctx, mut room: Room, needs: u64) -> Room {
        let memory = ctx.config.memory;
        if ctx.quota.is_pressed() {
            // Half of its share: buffers are not always full.
            let share = ctx.quota.share(&memory) as usize / 2;
            room.limit = room.limit.min(share.max(ctx.config.send_buffer_min_bytes as usize));
            room.chunk = room.chunk.min(SMALL_WRITE_BYTES);
        }
        if ctx.quota.has_room(&memory, needs) {
            return room;
        }
        let some = u64::from(2 * memory_of(SMALL_WRITE_BYTES));
        let more = if ctx.quota.has_room(&memory, some) { SMALL_WRITE_BYTES } else { 0 };
        room.limit = room.limit.min(self.buffered_to_send() as usize + more);
        room.chunk = room.chunk.min(SMALL_WRITE_BYTES);
        if more == 0 {
            self.mode.starved = true;
            ctx.counters.send_refusals += 1;
        }
        room
    }

    /// What the send buffer may hold as things are, bytes.
    fn limit_of_send(&self, config: &TcpConfig) -> usize {
        let (limit, low) = (self.send_limit() as usize, self.low_water(config));
        if low == u32::MAX {
            return limit;
        }
        limit.min(self.send_buffer_used() + low.saturating_sub(self.notsent_bytes()) as usize)
    }

    fn send_buffer_used(&self) -> usize {
        self.send_buffer.as_ref().map_or(0, |buffer| buffer.used())
    }

    /// Bytes in the send buffer that were never sent.
    pub(super) fn notsent_bytes(&self) -> u32 {
        let buffered = self.buffered_to_send();
        (self.snd_una + buffered).saturating_since(self.snd_max).min(buffered)
    }

    /// `TCP_NOTSENT_LOWAT`, bytes.
    fn low_water(&self, config: &TcpConfig) -> u32 {
        match self.cold.options.not_sent_low_water_bytes {
            0 => config.not_sent_low_water_bytes,
            own => own,
        }
    }

    /// Does what is not sent let its writer go on? As on Linux, from half of the low water on.
    pub(super) fn is_below_low_water(&self, config: &TcpConfig) -> bool {
        self.notsent_bytes() <= self.low_water(config) / 2
    }

    /// Is there room that a writer is to be woken for, with `held` bytes in the send buffer? As on Linux, from a
    /// third of it on. While a hole keeps what is SACKed in the buffer, a few segments are enough: else a recovery
    /// runs dry behind a buffer of less than three windows.
    pub(super) fn has_worthy_room(&self, held: u32) -> bool {
        let limit = self.send_limit();
        let worthy = (limit / 3).min(WORTH_A_WAKE_BYTES);
        let gone = self.tx.board.sacked_bytes().min(held);
        let is_worth_it = limit.saturating_sub(held - gone) >= worthy;
        let least = if gone > 0 { worthy.min(FEW_SEGMENTS * u32::from(self.mss)) } else { worthy };
        is_worth_it && limit.saturating_sub(held) >= least
    }

    /// What waited to be sent has left: a writer that waits because of that goes on.
    pub(super) fn wake_below_low_water(&mut self, config: &TcpConfig) {
        let has_low_water = self.low_water(config) < u32::MAX && !self.mode.awaits_memory;
        if has_low_water
            && self.state.can_send()
            && self.is_below_low_water(config)
            && self.has_worthy_room(self.send_buffer_used() as u32)
        {
            self.mode.writer_waits = false;
            self.wake |= Ready::WRITABLE;
        }
    }

    /// Are there enough bytes for a reader that waits for many (`SO_RCVLOWAT`)? As on Linux, also
    /// where no more can come for want of room.
    pub(super) fn is_worth_reading(&self) -> bool {
        let unread = self.buffered_to_read().saturating_sub(self.mark().skip as u32);
        let full = || self.mode.pressed || self.rcv_wnd() < u32::from(self.mss);
        unread > 0 && (unread >= self.cold.options.receive_low_water_bytes || full())
    }

    /// What one super-segment carries, so that it is one piece of the send buffer.
    fn chunk_bytes(&self) -> usize {
        usize::from(self.super_bytes.max(MIN_CHUNK_BYTES))
    }

    /// Was there memory again, since there was none for what came next? The peer is told.
    pub(super) fn reopen(&mut self, ctx: &mut Ctx) {
        self.charge(ctx);
        let bytes = u64::from(memory_of(usize::from(self.mss)));
        if self.may_take(ctx, bytes) {
            self.mode.no_room = false;
            self.owed.ack = true;
        }
    }

    /// Does it let go what came out of order? The peer, which was told of it, sends it again: RFC
    /// 2018 §8 allows that when memory runs out.
    pub(super) fn prune_early_data(&mut self, ctx: &mut Ctx) -> bool {
        if self.reassembly.as_ref().is_none_or(|early| early.bytes() == 0) {
            return false;
        }
        ctx.counters.out_of_order_pruned += 1;
        self.reassembly = None;
        self.charge(ctx);
        true
    }

    fn may_take(&self, ctx: &mut Ctx, bytes: u64) -> bool {
        let (limits, least) = (ctx.config.memory, ctx.config.receive_buffer_min_bytes);
        ctx.quota.admits(&limits, self.charged.into(), bytes, least.into())
    }

    #[cold]
    fn make_room(&mut self, ctx: &mut Ctx, bytes: u64) -> bool {
        ctx.counters.prune_calls += 1;
        if self.receive_buffer.as_mut().is_some_and(|buffer| buffer.collapse()) {
            ctx.counters.receive_collapses += 1;
            self.charge(ctx);
        }
        if self.may_take(ctx, bytes) {
            return true;
        }
        // What others hold out of order goes, too, before the next that has to be refused.
        ctx.wants_pruning = true;
        if self.prune_early_data(ctx) && self.may_take(ctx, bytes) {
            return true;
        }
        ctx.counters.receive_pruned += 1;
        false
    }
}

/// What a send buffer may hold, and how much memory it takes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes that it may hold.
    pub(super) limit: usize,
    /// Bytes of a piece.
    pub(super) chunk: usize,
}

const MIN_CHUNK_BYTES: u16 = 16 * 1024;
/// While memory is short, it is taken in such pieces.
const SMALL_WRITE_BYTES: usize = 2_048;

/// A writer that waits for room is woken for so much, or a third of its buffer.
const WORTH_A_WAKE_BYTES: u32 = (1 << 20) / 3;
/// Room for as many is enough while a hole is filled.
const FEW_SEGMENTS: u32 = 4;
