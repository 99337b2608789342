//! First step: is the segment within the window, and not an old duplicate?

use std::time::Duration;

use libnet::{DropReason, Instant};

use super::{Disposition, Flow};
use crate::tcp::ctx::Ctx;
use crate::tcp::ecn::ALL_FLAGS;
use crate::tcp::sack::SackBlock;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::state::State;
use crate::tcp::tcb::Connection;

impl Connection {
    /// The peer's own SYN once more, while ours is not acknowledged.
    ///
    /// In a simultaneous open the peer's SYN-ACK repeats its SYN: RFC 9293 §3.5, figure 8, goes
    /// to ESTABLISHED on it. A bare SYN says that our SYN-ACK was lost.
    pub(super) fn take_repeated_syn(&mut self, ctx: &mut Ctx, seg: &mut Segment) -> Flow {
        let repeated = self.state == State::SynReceived
            && seg.flags.has(Flags::SYN)
            && !seg.flags.has(Flags::RST)
            && seg.seq == self.irs;
        if !repeated {
            return Flow::Continue(());
        }
        if seg.flags.has(Flags::ACK) {
            // On a SYN-ACK these are no echo, and no count.
            seg.flags = seg.flags.without(ALL_FLAGS);
            self.ignore_counts();
            seg.trim_front(1);
            return Flow::Continue(());
        }
        if !self.agree_on_ecn_again(seg) {
            self.finish(ctx, None);
            return Flow::Break(Disposition::Reset(DropReason::TcpChallenged));
        }
        self.owed.syn = true;
        Flow::Break(Disposition::Accepted)
    }

    /// PAWS: RFC 7323 §5.3, R1 and R3.
    pub(super) fn check_timestamp(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) -> Flow {
        if !self.mode.timestamps {
            return Flow::Continue(());
        }
        let Some(timestamps) = seg.options.timestamps else {
            if seg.flags.has(Flags::RST) {
                // RFC 7323 §3.2: a RST need not have the option.
                return Flow::Continue(());
            }
            // RFC 7323 §3.2 (SHOULD): without the option it is dropped in silence.
            return Flow::Break(Disposition::Dropped(DropReason::TcpPaws));
        };
        let older = (timestamps.value.wrapping_sub(self.ts_recent) as i32) < 0;
        if older && !seg.flags.has(Flags::RST) {
            // RFC 7323 §5.5: after 24 days without a segment the comparison means nothing.
            if now.since(self.ts_recent_at) < TS_RECENT_MAX_AGE {
                self.answer_unacceptable(now, ctx, seg);
                return Flow::Break(Disposition::Dropped(DropReason::TcpPaws));
            }
        }
        // RFC 7323 §4.3 (2): only a segment that covers Last.ACK.sent sets what is echoed; §5.2: a
        // RST sets nothing.
        let reset = seg.flags.has(Flags::RST);
        if !reset && seg.seq.le(self.last_ack_sent) && self.is_acceptable(seg) {
            (self.ts_recent, self.ts_recent_at) = (timestamps.value, now);
        }
        Flow::Continue(())
    }

    /// RFC 9293 §3.10.7.4, first: check sequence number.
    pub(super) fn check_sequence(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) -> Flow {
        // RFC 5961 §4.2: a SYN is challenged in its own step, whatever its number.
        let challenged = seg.flags.has(Flags::SYN) && self.state.is_synchronized();
        if challenged && !seg.flags.has(Flags::RST) || self.is_acceptable(seg) {
            return Flow::Continue(());
        }
        // RFC 9293 §3.10.7.4: with a zero window, valid ACKs, URGs and RSTs are still taken.
        if self.rcv_wnd() == 0 && seg.seq == self.rcv_nxt {
            return Flow::Continue(());
        }
        if !seg.flags.has(Flags::RST) {
            if self.is_recent_duplicate(seg) {
                self.take_late_ack(now, ctx, seg);
            }
            self.answer_unacceptable(now, ctx, seg);
        }
        Flow::Break(Disposition::Dropped(DropReason::TcpOutOfWindow))
    }

    /// The four cases of RFC 9293 §3.10.7.4's table.
    fn is_acceptable(&self, seg: &Segment) -> bool {
        let (wnd, len) = (self.rcv_wnd(), seg.len());
        if wnd == 0 {
            return len == 0 && seg.seq == self.rcv_nxt;
        }
        let first = seg.seq.is_within(self.rcv_nxt, wnd);
        if len == 0 {
            // DEVIATES RFC 9293 §3.10.7.4: an ACK right at the edge is taken; it comes from a peer
            // that filled the window, and data before it were lost.
            return first || seg.seq == self.rcv_adv;
        }
        let last = seg.seq + (len - 1);
        first || last.is_within(self.rcv_nxt, wnd) || self.covers_window(seg)
    }

    /// All of it was received before, not long ago, and it acknowledges something.
    fn is_recent_duplicate(&self, seg: &Segment) -> bool {
        let behind = self.rcv_nxt.saturating_since(seg.seq);
        seg.flags.has(Flags::ACK)
            && self.state.is_synchronized()
            && behind >= seg.len()
            && (1..=self.receive_limit()).contains(&behind)
    }

    /// A super-segment can begin before the window and end after it.
    fn covers_window(&self, seg: &Segment) -> bool {
        seg.seq.lt(self.rcv_nxt) && (seg.seq + seg.len()).gt(self.rcv_adv)
    }

    /// An unacceptable segment is answered with an ACK, so that a lost ACK is repaired; without
    /// data, not too often: two confused peers would answer each other for ever.
    fn answer_unacceptable(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) {
        if seg.is_empty() && !self.may_answer(now, ctx) {
            return;
        }
        if !seg.flags.has(Flags::SYN) {
            self.note_old_duplicate(ctx, seg);
        }
        self.owed.ack = true;
    }

    /// One answer in so long to segments that cannot be right, whatever is wrong with them
    /// (`net.ipv4.tcp_invalid_ratelimit`).
    pub(super) fn may_answer(&mut self, now: Instant, ctx: &mut Ctx) -> bool {
        let last = self.cold.out_of_window_ack_at;
        if last != Instant::ZERO && now.since(last) < ctx.config.out_of_window_ack_interval {
            ctx.counters.answers_skipped += 1;
            return false;
        }
        self.cold.out_of_window_ack_at = now;
        true
    }

    /// RFC 2883 §4: what of a segment was acknowledged before is told of.
    fn note_old_duplicate(&mut self, ctx: &mut Ctx, seg: &Segment) {
        let block = SackBlock { left: seg.seq, right: (seg.seq + seg.len()).min(self.rcv_nxt) };
        if block.left.lt(block.right) && self.note_duplicate(&ctx.config, block) {
            ctx.counters.dsacks_old_out += 1;
        }
    }

    /// Cuts off what lies outside the window. RFC 9293 §3.10.7.4: "tailor the segment".
    pub(in crate::tcp) fn trim_to_window(&mut self, ctx: &mut Ctx, seg: &mut Segment) {
        let before = self.rcv_nxt.saturating_since(seg.seq);
        if before > 0 {
            if seg.data_len > 0 {
                // Something came twice: an ACK of ours may be lost.
                self.owed.ack = true;
                self.note_old_duplicate(ctx, seg);
            }
            seg.trim_front(before);
        }
        let room = self.rcv_adv.saturating_since(seg.seq);
        if seg.data_len > room || (seg.len() > room && room == 0) {
            // RFC 9293 §3.8.6.1: a zero-window probe is answered at once.
            self.owed.ack = true;
            let zero = self.rcv_wnd() == 0;
            ctx.dropped(if zero { DropReason::TcpZeroWindow } else { DropReason::TcpOutOfWindow });
            seg.trim_back(room);
        }
    }
}

/// RFC 7323 §5.5.
const TS_RECENT_MAX_AGE: Duration = Duration::from_secs(24 * 24 * 3600);
