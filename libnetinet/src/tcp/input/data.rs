//! Seventh step: data, and when to acknowledge them.

use std::time::Duration;

use bytes::Bytes;
use libnet::{DropReason, Instant, Packet, Ready};

use super::{Disposition, Flow};
use crate::tcp::config::TcpConfig;
use crate::tcp::ctx::Ctx;
use crate::tcp::held::Held;
use crate::tcp::reassembly::ReassemblyFull;
use crate::tcp::sack::SackBlock;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::tcp::tcb::{Connection, QUICK_ACKS};

impl Connection {
    /// RFC 9293 §3.10.7.4, seventh: process the segment text.
    pub(super) fn take_data(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        seg: &Segment,
        packet: &Packet,
    ) -> Flow {
        let mut seg = *seg;
        if let Some(fin) = self.peer_fin {
            seg.data_len = seg.data_len.min(fin.saturating_since(seg.seq));
        }
        // CLOSE-WAIT and later: the peer's FIN is in, text after it is ignored.
        if seg.data_len == 0 || !self.state.can_receive() {
            return Flow::Continue(());
        }
        if self.mode.orphan {
            // RFC 1122 §4.2.2.13, RFC 9293 §3.6.1: nobody can read it; a RST says it is lost.
            ctx.counters.established_resets += 1;
            self.owed.reset = true;
            self.finish(ctx, None);
            return Flow::Break(Disposition::Dropped(DropReason::TcpDataAfterClose));
        }
        self.take_mark(ctx, &seg);
        if seg.seq == self.rcv_nxt {
            // What has landed takes no memory.
            if packet.landed_range().is_none() && !self.admit(ctx, &seg) {
                return Flow::Break(Disposition::Dropped(DropReason::TcpMemory));
            }
            self.take_in_order(now, ctx, &seg, packet);
        } else {
            if !self.admit_early(ctx, &seg) {
                return Flow::Break(Disposition::Dropped(DropReason::TcpMemory));
            }
            self.take_out_of_order(ctx, &seg, packet);
        }
        Flow::Continue(())
    }

    pub(in crate::tcp) fn take_in_order(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        seg: &Segment,
        packet: &Packet,
    ) {
        let before = self.rcv_nxt;
        let landed =
            packet.landed_range().map_or(0, |range| range.len().min(seg.data_len as usize));
        if landed > 0 {
            // It is where the application wants it.
            self.rcv_nxt += landed as u32;
            ctx.landed += landed;
            ctx.counters.bytes_landed += landed as u64;
        } else {
            for_each_piece(seg, packet, |_, piece| self.deliver(ctx, piece));
        }
        self.expect_as_large(seg);
        let filled_hole = self.reassembly.is_some();
        self.drain_reassembly(ctx);
        let received = self.rcv_nxt - before;
        ctx.counters.bytes_in += u64::from(received);
        self.cold.bytes_in += u64::from(received);
        if landed == 0
            && (self.cold.options.receive_low_water_bytes == 0 || self.is_worth_reading())
        {
            self.wake |= Ready::READABLE;
        }
        if filled_hole {
            // RFC 5681 §4.2: a segment that fills a hole is acknowledged at once.
            self.owed.ack = true;
        }
        self.tune_receive_buffer(now, &ctx.config, seg.options.timestamps);
        self.schedule_ack(now, &ctx.config, seg);
        if landed > 0 {
            self.offer_window();
        }
    }

    /// Hands in-order bytes to the application, or drops them if it does not read any more.
    fn deliver(&mut self, ctx: &mut Ctx, piece: Piece<'_>) {
        self.find_urgent_byte(piece.bytes());
        self.rcv_nxt += piece.bytes().len() as u32;
        if self.mode.read_shut {
            return;
        }
        let buffer = self.receive_buffer.get_or_insert_with(|| ctx.spare.receive());
        match piece {
            Piece::Few(bytes) => buffer.push_copy(bytes),
            Piece::Shared(held) => buffer.push(held),
        }
    }

    /// Moves what is in order now out of the reassembly queue.
    fn drain_reassembly(&mut self, ctx: &mut Ctx) {
        let Some(mut reassembly) = self.reassembly.take() else { return };
        if let Some(again) = reassembly.overlap(self.rcv_nxt) {
            self.note_held_duplicate(ctx, again);
        }
        while let Some(piece) = reassembly.pop_in_order(self.rcv_nxt) {
            self.deliver(ctx, Piece::Shared(piece));
        }
        reassembly.forget_before(self.rcv_nxt);
        if !reassembly.is_empty() {
            self.reassembly = Some(reassembly);
        }
    }

    fn take_out_of_order(&mut self, ctx: &mut Ctx, seg: &Segment, packet: &Packet) {
        ctx.counters.out_of_order_in += 1;
        self.cold.counts.out_of_order_in += 1;
        let max_runs = usize::from(ctx.config.reassembly_runs);
        let reassembly = self.reassembly.get_or_insert_default();
        let (mut full, mut again) = (false, None);
        for_each_piece(seg, packet, |seq, piece| {
            match reassembly.insert(seq, piece.into_held(), max_runs) {
                Ok(duplicate) => again = join(again, duplicate),
                Err(ReassemblyFull) => full = true,
            }
        });
        if let Some(again) = again {
            self.note_held_duplicate(ctx, again);
        }
        if full {
            ctx.dropped(DropReason::TcpReassemblyFull);
        }
        // RFC 5681 §4.2: at once, and one for each, since the sender counts them. A super-segment
        // stands for several; one that another has overtaken must not look like a loss, though.
        let worth = match self.mode.sack {
            // The blocks say how much it was.
            true => 1,
            false => (seg.data_len / u32::from(self.mss)).clamp(1, 2) as u8,
        };
        self.owed.dup_acks = self.owed.dup_acks.saturating_add(worth).min(MAX_DUP_ACKS);
        self.ack.quick = QUICK_ACKS;
        self.ack.interactive = false;
    }

    /// RFC 2883 §4: data beyond a hole came twice.
    fn note_held_duplicate(&mut self, ctx: &mut Ctx, block: SackBlock) {
        if self.note_duplicate(&ctx.config, block) {
            ctx.counters.dsacks_ofo_out += 1;
        }
    }

    /// RFC 2883 §4 (1): the next acknowledgement tells of what came twice, the last run of it if
    /// there were several; `false` if nobody wants to know.
    pub(super) fn note_duplicate(&mut self, config: &TcpConfig, block: SackBlock) -> bool {
        if !self.mode.sack || !config.dsack {
            return false;
        }
        self.mode.dsack_owed = true;
        self.cold.dsack = join(self.cold.dsack, Some(block));
        true
    }

    /// RFC 9293 §3.8.6.3 (MUST-40, SHOULD-19): delayed, but less than 0.5 s, and at least every
    /// second full-sized segment at once. An ACK that is owed leaves with the next output, after
    /// all that arrived together was processed (§3.10.7.4, MUST-58, MUST-59).
    fn schedule_ack(&mut self, now: Instant, config: &TcpConfig, seg: &Segment) {
        self.ack.unacked_bytes = self.ack.unacked_bytes.saturating_add(seg.data_len);
        let (unacked, mss) = (self.ack.unacked_bytes, u32::from(self.mss));
        let previous = std::mem::replace(&mut self.ack.super_bytes, seg.data_len);
        let gap_ms = self.adapt_ack_delay(now, config);
        if self.ack.quick > 0 && !self.ack.interactive {
            self.ack.quick -= 1;
            self.owed.ack = true;
        } else if unacked < 2 * mss {
            let delay = self.ack_delay(config);
            tracing::trace!(tuple = ?self.tuple, gap_ms, ?delay, "delayed ack");
            self.deadlines.ack = self.deadlines.ack.min(now + delay);
        } else if self.expects_more(seg, previous) {
            // DEVIATES RFC 5681 §4.2 (SHOULD): every second super-segment, while more are surely
            // under way; a short timer stands behind the guess.
            self.deadlines.ack = self.deadlines.ack.min(now + config.stretched_ack);
        } else if self.expects_reader(seg) {
            // DEVIATES RFC 5681 §4.2 (SHOULD): one that waits for the application's read, as on
            // Linux, tells of the room that this makes, too; the same timer stands behind it.
            self.ack.at_read = true;
            self.deadlines.ack = self.deadlines.ack.min(now + config.stretched_ack);
        } else {
            self.owed.ack = true;
        }
    }

    /// As Linux has it: the delay follows how far apart data come, from the floor up, and falls back
    /// to it when they come fast; after more than a time-out, the next ones are acknowledged at once.
    fn adapt_ack_delay(&mut self, now: Instant, config: &TcpConfig) -> u32 {
        let now_ms = now.as_millis() as u32;
        let gap_ms = now_ms.wrapping_sub(std::mem::replace(&mut self.ack.data_at_ms, now_ms));
        let floor = config.delayed_ack.as_millis() as u32;
        let delay = u32::from(self.ack.delay_ms);
        let rto = self.rtt.rto().as_millis() as u32;
        let delay = match gap_ms {
            _ if delay == 0 => floor,
            gap if gap <= floor / 2 => delay / 2 + floor / 2,
            gap if gap < delay => (delay / 2 + gap).min(rto),
            gap => {
                if gap > rto {
                    self.ack.quick = QUICK_ACKS;
                }
                delay
            }
        };
        self.ack.delay_ms = delay.clamp(1, u32::from(u16::MAX)) as u16;
        gap_ms
    }

    /// RFC 9293 §3.8.6.3 (MUST-40): below half a second; no longer than a round trip either, where
    /// that is more than the floor, as on Linux.
    fn ack_delay(&self, config: &TcpConfig) -> Duration {
        let round_trip = self.rtt.srtt().unwrap_or(config.delayed_ack_max);
        let most = config.delayed_ack_max.min(round_trip).max(config.delayed_ack);
        Duration::from_millis(self.ack.delay_ms.into()).clamp(config.delayed_ack, most)
    }

    /// Is this a super-segment, with much of the window still open, so that the peer does not
    /// stand still until the application has read?
    fn expects_reader(&self, seg: &Segment) -> bool {
        seg.data_len >= STRETCH_SEGMENTS * u32::from(self.mss)
            && !seg.flags.has(Flags::FIN)
            && !self.mode.read_shut
            && self.ack.unacked_bytes < self.receive_limit() / 4
    }

    /// Is this one of a train of super-segments, neither its last nor a smaller one, not the
    /// second without an ACK, and not near the end of the window?
    fn expects_more(&self, seg: &Segment, previous: u32) -> bool {
        let mss = u32::from(self.mss);
        seg.data_len >= STRETCH_SEGMENTS * mss
            && seg.data_len >= previous
            && self.ack.unacked_bytes < 2 * seg.data_len
            && !seg.flags.has(Flags::PSH | Flags::FIN)
            && self.rcv_wnd() >= 4 * seg.data_len
    }

    /// Is the peer's FIN next? Text beyond it is a liar's and changes nothing.
    pub(super) fn at_peer_fin(&self) -> bool {
        self.peer_fin.is_some_and(|fin| self.rcv_nxt.ge(fin))
    }
}

/// One block if they touch, else the later one.
fn join(earlier: Option<SackBlock>, later: Option<SackBlock>) -> Option<SackBlock> {
    match (earlier, later) {
        (Some(earlier), Some(later)) if earlier.touches(&later) => Some(earlier.union(&later)),
        _ => later.or(earlier),
    }
}

/// Some of a segment's data.
enum Piece<'a> {
    /// In the packet's head room.
    Few(&'a [u8]),
    /// In a buffer.
    Shared(Held),
}

impl Piece<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Few(bytes) => bytes,
            Piece::Shared(held) => held.bytes(),
        }
    }

    fn into_held(self) -> Held {
        match self {
            Piece::Few(bytes) => Held::whole(Bytes::copy_from_slice(bytes)),
            Piece::Shared(held) => held,
        }
    }
}

/// Calls `take` with each piece of a segment's data and its number.
fn for_each_piece(seg: &Segment, packet: &Packet, mut take: impl FnMut(SeqNumber, Piece<'_>)) {
    let (mut skip, mut left, mut seq) = (seg.data_offset as usize, seg.data_len as usize, seg.seq);
    // A small packet lies in the head room, and a header gathered there may have taken data with it.
    let head = packet.head();
    if skip < head.len() {
        let front = &head[skip..head.len().min(skip + left)];
        take(seq, Piece::Few(front));
        left -= front.len();
        seq += front.len() as u32;
    }
    skip = skip.saturating_sub(head.len());
    for piece in packet.payload() {
        let start = skip.min(piece.len());
        let n = left.min(piece.len() - start);
        skip -= start;
        if n > 0 {
            let part = Held::of(piece.slice(start..start + n), piece.len());
            take(seq, Piece::Shared(part));
            left -= n;
            seq += n as u32;
        }
    }
}

/// A super-segment of fewer is acknowledged as any other data.
const STRETCH_SEGMENTS: u32 = 8;
const MAX_DUP_ACKS: u8 = 64;
