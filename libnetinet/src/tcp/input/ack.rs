//! Fifth step: the acknowledgement, the send window, and what they let go.

use libnet::{DropReason, Instant, Ready};

use super::{Disposition, Flow};
use crate::tcp::cc::CongestionControl;
use crate::tcp::congestion::SampleNews;
use crate::tcp::ctx::Ctx;
use crate::tcp::recovery::{DupAck, Echo, NewAck};
use crate::tcp::scoreboard::Scoreboard;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::state::State;
use crate::tcp::tcb::Connection;

impl Connection {
    /// RFC 9293 §3.10.7.4, fifth: check the ACK field.
    pub(super) fn check_ack(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) -> Flow {
        if !seg.flags.has(Flags::ACK) {
            return Flow::Break(Disposition::Dropped(DropReason::TcpNoAck));
        }
        if self.state == State::SynReceived {
            self.finish_handshake(now, ctx, seg)?;
        }
        // RFC 5961 §5.2 (MUST): SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, else a challenge.
        // RFC 9293 asks for an ACK to what was never sent; the budget limits it.
        let oldest = self.snd_una - self.max_snd_wnd;
        if seg.ack.gt(self.snd_max) || seg.ack.lt(oldest) {
            let _ = self.challenge(now, ctx);
            return Flow::Break(Disposition::Dropped(DropReason::TcpBadAck));
        }
        self.last_heard_at = now;
        self.cold.soft_error = None;
        self.take_echo(ctx, seg);
        if self.mode.sack {
            self.take_ack_with_sack(now, ctx, seg);
        } else if seg.ack.gt(self.snd_una) {
            self.take_new_ack(now, ctx, seg);
        } else if self.is_duplicate_ack(seg) {
            self.take_duplicate_ack(ctx, seg);
        }
        self.update_send_window(ctx, seg);
        self.after_ack(now, ctx);
        if self.state == State::Closed {
            Flow::Break(Disposition::Accepted)
        } else {
            Flow::Continue(())
        }
    }

    /// DEVIATES RFC 9293 §3.10.7.4, first: what a recent duplicate acknowledges still counts (as in
    /// BSD). When zero-window probes cross and both are taken, each side's further segments begin
    /// one number too early for the other, and nothing else could end that.
    pub(super) fn take_late_ack(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) {
        if seg.ack.gt(self.snd_una) && seg.ack.le(self.snd_max) {
            self.take_echo(ctx, seg);
            match self.mode.sack {
                true => self.take_ack_with_sack(now, ctx, seg),
                false => self.take_new_ack(now, ctx, seg),
            }
            self.update_send_window(ctx, seg);
            self.after_ack(now, ctx);
        }
    }

    /// The ACK of our SYN.
    fn finish_handshake(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) -> Flow {
        if seg.ack.le(self.iss) || seg.ack.gt(self.snd_max) {
            return Flow::Break(Disposition::Reset(DropReason::TcpBadAck));
        }
        self.take_first_ack(&ctx.config, seg);
        self.establish(now, ctx, seg);
        self.snd_wnd = u32::from(seg.wnd) << self.snd_shift;
        self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
        (self.snd_wl1, self.snd_wl2) = (seg.seq, seg.ack);
        Flow::Continue(())
    }

    /// RFC 5681 §2: all five conditions.
    pub(in crate::tcp) fn is_duplicate_ack(&self, seg: &Segment) -> bool {
        let window = u32::from(seg.wnd) << self.snd_shift;
        self.snd_max.gt(self.snd_una)
            && seg.data_len == 0
            && !seg.flags.has(Flags::SYN | Flags::FIN)
            && seg.ack == self.snd_una
            && window == self.snd_wnd
            // The answers to zero-window probes are no sign of loss.
            && !self.mode.persist
    }

    /// RFC 6582 §3.2, for a peer without SACK.
    fn take_new_ack(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) {
        let flight = self.snd_max - self.snd_una;
        let acked = seg.ack - self.snd_una;
        let window_opens = self.mode.persist && seg.wnd > 0;
        self.release_acknowledged(now, ctx, seg);
        let told = self.count_acknowledged(now, &ctx.config);
        self.recover_or_grow(now, ctx, acked, flight);
        if self.tx.cc.takes_samples() {
            self.give_sample(now, &ctx.config, &told, SampleNews { delivered: acked, lost: 0 });
        }
        if window_opens {
            // Only the probes had slowed down; Karn's rule is about retransmissions.
            self.rtt.forget_backoff(&ctx.config);
        }
        self.restart_resend_timer(now);
    }

    /// SND.UNA moves, and what it passes is let go.
    pub(in crate::tcp) fn release_acknowledged(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        seg: &Segment,
    ) {
        self.mode.progress = true;
        self.measure_rtt(now, ctx, seg);
        let mut acked_data = seg.ack - self.snd_una;
        if self.fin_sent() && seg.ack == self.snd_max {
            acked_data -= 1;
            self.mode.fin_acked = true;
        }
        if let Some(buffer) = &mut self.send_buffer {
            buffer.acknowledge(acked_data as usize);
            if buffer.is_empty() {
                ctx.spare.keep_send(self.send_buffer.take());
            }
        }
        self.last_echo = seg.options.timestamps.map_or(0, |timestamps| timestamps.echo);
        self.snd_una = seg.ack;
        self.snd_nxt = self.snd_nxt.max(self.snd_una);
        self.snd_small = self.snd_small.max(self.snd_una);
        self.forget_acknowledged_mark();
        if self.mode.searches_mtu {
            self.take_mtu_answer(now, ctx);
        }
        self.retries = 0;
        self.cold.stalled_since = now;
        (self.owed.head, self.owed.tail) = (false, false);
    }

    /// RFC 6298 §3 and §4; RFC 7323 §4.1: the timed segment, or the echo if that was sent again.
    fn measure_rtt(&mut self, now: Instant, ctx: &Ctx, seg: &Segment) {
        let mut sample = self.rtt.sample(seg.ack, now);
        if sample.is_none()
            && self.retries > 0
            && !self.mode.persist
            && self.mode.timestamps
            && let Some(timestamps) = seg.options.timestamps
        {
            let ms = self.timestamp(now).wrapping_sub(timestamps.echo);
            let age = now.since(self.cold.created_at).as_millis() as u64 + 1;
            // An echo from before the connection, or from the future, is no echo of ours.
            sample = (u64::from(ms) <= age).then(|| std::time::Duration::from_millis(ms.into()));
        }
        if let Some(rtt) = sample {
            self.rtt.update(rtt, &ctx.config);
            self.update_burst(&ctx.config);
        }
    }

    fn recover_or_grow(&mut self, now: Instant, ctx: &mut Ctx, acked: u32, flight: u32) {
        let mss = u32::from(self.mss);
        match self.recovery.on_new_ack(self.snd_una, acked, mss) {
            NewAck::Open if self.is_reducing() => self.count_delivered(acked, true),
            NewAck::Open => self.grow_window(now, &ctx.config, acked, flight),
            NewAck::Partial { rearm } => {
                ctx.counters.fast_retransmits += 1;
                self.owed.head = self.snd_max.gt(self.snd_una);
                if rearm {
                    self.restart_timeout(now);
                }
            }
            NewAck::Full => {
                let flight = self.snd_max.saturating_since(self.snd_una);
                self.tx.cc.on_recovered(flight, mss);
                self.tx.cc.on_repaired();
            }
        }
    }

    fn take_duplicate_ack(&mut self, ctx: &mut Ctx, seg: &Segment) {
        let mss = u32::from(self.mss);
        let flight = self.snd_max - self.snd_una;
        let echo = match seg.options.timestamps {
            Some(timestamps) if self.mode.timestamps && timestamps.echo == self.last_echo => {
                Echo::Unmoved
            }
            _ => Echo::Unknown,
        };
        match self.recovery.on_dup_ack(self.snd_una, self.snd_max, mss, echo) {
            DupAck::Continue => {}
            DupAck::EnterRecovery => {
                // RFC 5681 §3.2 steps 2 and 3.
                ctx.counters.fast_retransmits += 1;
                if !self.has_reduced_for_this() {
                    self.tx.cc.on_loss(flight, mss);
                    self.note_reduced();
                }
                self.tx.reducing = false;
                tracing::trace!(tuple = ?self.tuple, snd_una = ?self.snd_una, flight, "fast retransmit");
                self.rtt.cancel();
                self.owed.head = true;
            }
        }
    }

    /// RFC 9293 §3.10.7.4: SND.WL1 and SND.WL2 keep an old segment from updating the window.
    fn update_send_window(&mut self, ctx: &Ctx, seg: &Segment) {
        let newer =
            self.snd_wl1.lt(seg.seq) || (self.snd_wl1 == seg.seq && self.snd_wl2.le(seg.ack));
        if seg.ack.lt(self.snd_una) || !newer {
            return;
        }
        let before = self.snd_wnd;
        self.snd_wnd = u32::from(seg.wnd) << self.snd_shift;
        self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
        (self.snd_wl1, self.snd_wl2) = (seg.seq, seg.ack);
        if self.snd_wnd == 0 {
            // RFC 9293 §3.8.6.1 (MUST-37): as long as it answers, the peer is alive.
            self.retries = 0;
        } else if before < self.snd_wnd && self.mode.persist {
            // The window has opened: the probe is not needed.
            self.mode.persist = false;
            self.deadlines.resend = Instant::MAX;
            self.owed.window_probe = false;
            self.retries = 0;
            self.rtt.forget_backoff(&ctx.config);
        }
    }

    /// What the acknowledgement means to the state and to a waiting writer.
    fn after_ack(&mut self, now: Instant, ctx: &mut Ctx) {
        if self.mode.writer_waits && self.state.can_send() {
            self.grow_send_buffer(&ctx.config);
            let held = self.buffered_to_send();
            if self.has_worthy_room(held) && self.is_below_low_water(&ctx.config) {
                self.mode.writer_waits = false;
                self.wake |= Ready::WRITABLE;
            }
        }
        if !self.mode.fin_acked {
            return;
        }
        match self.state {
            // RFC 9293: our FIN is acknowledged.
            State::FinWait1 => {
                self.transition(ctx, State::FinWait2);
                self.wait_for_fin(now, ctx);
            }
            State::Closing => self.enter_time_wait(ctx),
            State::LastAck => self.finish(ctx, None),
            _ => {}
        }
    }

    /// RFC 9293 §3.10.7.4: the other timers go; the table keeps the 2 MSL.
    pub(super) fn enter_time_wait(&mut self, ctx: &mut Ctx) {
        self.transition(ctx, State::TimeWait);
        self.tx.board = Scoreboard::default();
        let none = Instant::MAX;
        (self.deadlines.resend, self.deadlines.ack, self.deadlines.idle) = (none, none, none);
        self.send_buffer = None;
        self.wake |= Ready::HANGUP;
    }
}
