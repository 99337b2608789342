//! Builds the segment that was decided on, and takes note that it is under way.

use libnet::{Instant, Packet};

use super::{DataKind, DataPlan, SendPlan};
use crate::tcp::config::TcpConfig;
use crate::tcp::ctx::Ctx;
use crate::tcp::options::{Options, Timestamps};
use crate::tcp::recovery::{Phase, Sender};
use crate::tcp::scoreboard::Sent;
use crate::tcp::segment::{Flags, Header};
use crate::tcp::seq::SeqNumber;
use crate::tcp::state::State;
use crate::tcp::tcb::Connection;

impl Connection {
    /// The segment of a plan, its data in `packet`; `None` for [`SendPlan::Nothing`].
    pub(super) fn build(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        plan: SendPlan,
        packet: &mut Packet,
    ) -> Option<Header> {
        Some(match plan {
            SendPlan::Nothing => return None,
            SendPlan::Reset => self.build_reset(ctx),
            SendPlan::Syn => self.build_syn(now, ctx, packet),
            SendPlan::Ack { duplicate } => self.build_ack(now, ctx, duplicate),
            SendPlan::Data(plan) => self.build_data(now, ctx, plan, packet),
            SendPlan::Keepalive => self.build_keepalive(now, ctx),
        })
    }

    /// RFC 9293 §3.10.5: `<SEQ=SND.NXT><CTL=RST>`.
    fn build_reset(&mut self, ctx: &mut Ctx) -> Header {
        // What was sent past a closed window, as a probe is, the peer may have taken or not: two
        // resets, of which one fits exactly.
        let first = !std::mem::replace(&mut self.owed.reset_at_edge, true);
        let seq = if first { self.ack_seq() } else { self.snd_max };
        self.owed.reset = first && seq != self.snd_max;
        ctx.counters.resets_out += 1;
        // With ACK, so that a peer in SYN-RECEIVED or one that lags takes it too; exact by
        // RFC 5961 §3, if nothing of ours is still under way.
        let options = Options::default();
        let flags = Flags::RST | Flags::ACK;
        Header { seq, ack: self.rcv_nxt, flags, wnd: 0, urgent: 0, options }
    }

    fn build_syn(&mut self, now: Instant, ctx: &mut Ctx, packet: &mut Packet) -> Header {
        let again = self.cold.segments_out > 0;
        let reply = self.state == State::SynReceived;
        let timestamps = self.mode.timestamps.then(|| Timestamps {
            value: self.timestamp(now),
            // RFC 7323 §3.2: without ACK the echo is zero.
            echo: if reply { self.ts_recent } else { 0 },
        });
        // RFC 7323 §2.2: in a SYN-ACK only if the SYN had it.
        let agreed = !reply || self.rcv_shift > 0 || self.snd_shift > 0;
        let shift = (self.mode.scaling && agreed).then_some(self.rcv_shift);
        let options = Options {
            // RFC 9293 §3.7.1 (MUST-14, SHOULD-5): always.
            mss: Some(self.cold.local_mss),
            window_shift: shift,
            // RFC 2018 §2: in a SYN-ACK only if the SYN had it.
            sack_permitted: self.mode.sack,
            timestamps,
            marked_bytes: self.marked_bytes_of_syn(&ctx.config, again),
            ..Options::default()
        };
        let mut wnd = self.first_window();
        if self.mode.fast_open {
            wnd = self.unscaled_window();
        } else {
            let early = if reply { 0 } else { self.share_early_data(packet) };
            self.snd_nxt = self.iss + 1 + early;
            self.snd_max = self.snd_max.max(self.snd_nxt);
        }
        self.owed.syn = false;
        if again {
            // RFC 6298 §3: no sample from a SYN that was sent again.
            self.rtt.cancel();
            self.mode.syn_lost |= self.retries > 0;
            self.cold.retransmits += 1;
            ctx.counters.retransmitted_segments += 1;
        } else {
            self.rtt.start(self.iss + 1, now);
        }
        if self.deadlines.resend == Instant::MAX {
            self.restart_timeout(now);
        }
        let mut flags = if reply { Flags::SYN | Flags::ACK } else { Flags::SYN };
        flags |= self.ecn_flags_of_syn(&ctx.config, again);
        if reply {
            self.note_acked();
        }
        let (seq, ack) = (self.iss, self.rcv_nxt);
        Header { seq, ack, flags, wnd, urgent: 0, options }
    }

    /// The data that go with a SYN; how many bytes. Source: RFC 7413 §4.2.1.
    fn share_early_data(&mut self, packet: &mut Packet) -> u32 {
        let (Some(attempt), Some(buffer)) = (&mut self.cold.fast_open, &mut self.send_buffer)
        else {
            return 0;
        };
        let len = buffer.len().min(usize::from(attempt.room));
        if len > 0 {
            buffer.share(0, len, packet);
            attempt.sent = len as u16;
        }
        len as u32
    }

    fn build_ack(&mut self, now: Instant, ctx: &mut Ctx, duplicate: bool) -> Header {
        if duplicate {
            self.owed.dup_acks -= 1;
        } else {
            self.owed.dup_acks = 0;
        }
        ctx.counters.pure_acks_out += 1;
        let flags = Flags::ACK | self.take_code();
        self.header(now, self.ack_seq(), flags)
    }

    /// SND.NXT of a segment without data. After a time-out SND.NXT has gone back, but the peer may
    /// have had SND.MAX; beyond a window that is closed it would not take the acknowledgement.
    fn ack_seq(&self) -> SeqNumber {
        let edge = self.snd_una + self.snd_wnd;
        if self.snd_max.le(edge) { self.snd_max } else { self.snd_nxt.max(edge) }
    }

    fn build_data(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        plan: DataPlan,
        packet: &mut Packet,
    ) -> Header {
        let offset = plan.seq - self.snd_una;
        if let Some(buffer) = &mut self.send_buffer {
            buffer.share(offset as usize, plan.len as usize, packet);
        }
        let mut flags = Flags::ACK;
        if plan.push {
            flags |= Flags::PSH;
        }
        if plan.fin {
            flags |= Flags::FIN;
        }
        // RFC 3168 §6.1.2: in new data.
        if plan.len > 0 && plan.seq.ge(self.snd_max) && plan.kind != DataKind::WindowProbe {
            flags |= self.take_cwr();
        }
        self.note_sent(now, ctx, plan);
        self.header(now, plan.seq, flags)
    }

    /// RFC 9293 §3.8.4: `<SEQ=SND.NXT-1>`, without data.
    fn build_keepalive(&mut self, now: Instant, ctx: &mut Ctx) -> Header {
        self.owed.keepalive = false;
        ctx.counters.keepalives_out += 1;
        self.header(now, self.snd_una - 1, Flags::ACK)
    }

    fn note_sent(&mut self, now: Instant, ctx: &mut Ctx, plan: DataPlan) {
        let end = plan.seq + plan.len + u32::from(plan.fin);
        let again = plan.seq.lt(self.snd_max);
        if self.snd_una == self.snd_max {
            self.restart_from_idle(now, &ctx.config);
        }
        self.move_snd_nxt(ctx, &plan, end);
        if again {
            self.note_resent(now, ctx, plan);
        } else {
            let since_data = (now.as_millis() as u32).wrapping_sub(self.ack.data_at_ms);
            // As on Linux: an answer within the delay of an acknowledgement makes it interactive.
            self.ack.interactive |= since_data < u32::from(self.ack.delay_ms);
            if self.snd_una == self.snd_max {
                self.cold.stalled_since = now;
                if plan.kind == DataKind::Next {
                    self.retries = 0;
                }
            }
            if matches!(plan.kind, DataKind::Next | DataKind::Tail | DataKind::MtuProbe) {
                self.rtt.start(end, now);
            }
        }
        let is_whole = plan.kind == DataKind::MtuProbe;
        let segment_bytes = if is_whole { plan.len } else { self.segment_bytes() };
        if !plan.len.is_multiple_of(segment_bytes) {
            self.snd_small = self.snd_small.max(end);
        }
        let sent = Sent { seq: plan.seq, end, segment_bytes: segment_bytes as u16 };
        self.record_sent(now, &ctx.config, &sent);
        if plan.len > 0 {
            self.count_data_out(plan.len);
        }
        ctx.counters.bytes_out += u64::from(plan.len);
        self.cold.bytes_out += u64::from(plan.len);
        if plan.kind == DataKind::WindowProbe {
            return;
        }
        if self.tx.phase == Phase::Recovery || self.is_reducing() {
            self.tx.prr.on_sent(end - plan.seq);
        }
        // What leaves was not stuck, or is not any more: the window has opened, or a cork was pulled.
        let was_stuck = std::mem::take(&mut self.mode.persist);
        // RFC 6298 §5.1: started if it does not run; as on Linux, anew with the first segment.
        let runs = self.deadlines.resend != Instant::MAX && !was_stuck;
        if !runs || (again && plan.seq == self.snd_una) {
            self.restart_timeout(now);
        }
        if plan.kind == DataKind::Tail {
            self.tx.probe.begin(self.snd_max, again);
        }
        self.choose_timer(now, &ctx.config);
    }

    /// SND.NXT, and what is not owed any more.
    fn move_snd_nxt(&mut self, ctx: &mut Ctx, plan: &DataPlan, end: SeqNumber) {
        match plan.kind {
            DataKind::Next => self.snd_nxt = end,
            DataKind::MtuProbe => {
                self.snd_nxt = end;
                self.note_mtu_probe(ctx, plan);
            }
            DataKind::Head => {
                self.owed.head = false;
                self.snd_nxt = self.snd_nxt.max(end);
            }
            DataKind::Tail => {
                self.owed.tail = false;
                self.snd_nxt = self.snd_nxt.max(end);
            }
            DataKind::Lost => {}
            DataKind::WindowProbe => {
                self.owed.window_probe = false;
                ctx.counters.window_probes_out += 1;
            }
        }
    }

    /// Counts what was sent before, and keeps it from being timed.
    fn note_resent(&mut self, now: Instant, ctx: &mut Ctx, plan: DataPlan) {
        let segments = u64::from(plan.len.div_ceil(u32::from(self.mss)).max(1));
        ctx.counters.retransmitted_segments += segments;
        self.cold.retransmits += segments;
        self.cold.counts.bytes_resent += u64::from((self.snd_max - plan.seq).min(plan.len));
        self.rtt.cancel();
        if self.mode.searches_mtu {
            self.drop_mtu_probe();
        }
        if plan.kind == DataKind::Lost && self.tx.phase == Phase::Recovery {
            ctx.counters.fast_retransmits += segments;
        }
        if matches!(plan.kind, DataKind::Lost | DataKind::Head) {
            let timestamp = self.mode.timestamps.then(|| self.timestamp(now));
            self.tx.undo.on_sent_again(plan.len + u32::from(plan.fin), timestamp);
        }
    }

    /// SND.MAX moves, and the scoreboard knows what left when.
    fn record_sent(&mut self, now: Instant, config: &TcpConfig, sent: &Sent) {
        let &Sent { seq, end, segment_bytes } = sent;
        let Sender { board, rate, .. } = &mut *self.tx;
        let again = Sent { seq, end: end.min(self.snd_max), segment_bytes };
        if again.seq.lt(again.end) {
            board.sent_again(now, &again, rate);
        }
        let new = Sent { seq: seq.max(self.snd_max), end, segment_bytes };
        if new.seq.lt(new.end) {
            board.sent(now, &new, rate, config.send_records);
            self.snd_max = end;
        }
        self.tx.data_sent_at = now;
        let unsent = (self.snd_una + self.buffered_to_send()).gt(self.snd_nxt);
        if !unsent && self.send_room() > 0 {
            self.tx.rate.on_app_limited(self.pipe());
        }
        if self.tx.cc.takes_samples() && unsent && self.send_room() < u32::from(self.mss) {
            self.tx.limited_to = self.snd_max;
        }
        self.deadlines.pace = self.tx.pacer.on_sent(now, end - seq);
    }

    /// The header that every segment after the handshake has; it acknowledges all there is.
    fn header(&mut self, now: Instant, seq: SeqNumber, mut flags: Flags) -> Header {
        let wnd = self.select_window();
        let timestamps = self
            .mode
            .timestamps
            .then(|| Timestamps { value: self.timestamp(now), echo: self.ts_recent });
        self.note_acked();
        let marked_bytes = self.take_marked_bytes();
        let sack = self.take_sack_blocks();
        let options = Options { timestamps, sack, marked_bytes, ..Options::default() };
        let urgent = self.urgent_pointer(seq);
        flags = self.with_ecn_flags(flags);
        if urgent > 0 {
            flags |= Flags::URG;
        }
        Header { seq, ack: self.rcv_nxt, flags, wnd, urgent, options }
    }

    fn note_acked(&mut self) {
        self.owed.ack = false;
        self.last_ack_sent = self.rcv_nxt;
        self.ack.unacked_bytes = 0;
        self.ack.at_read = false;
        self.deadlines.ack = Instant::MAX;
    }

    /// The window field, and RCV.ADV with it.
    fn select_window(&mut self) -> u16 {
        if self.mode.no_room {
            // What was promised is still taken, should there be memory again.
            return 0;
        }
        let wnd = self.offered_window();
        let mut field = wnd >> self.rcv_shift;
        let room = self.receive_limit().saturating_sub(self.buffered_to_read());
        let short = field > 0 && field << self.rcv_shift < self.rcv_wnd();
        if short && (field + 1) << self.rcv_shift <= room {
            // RFC 9293 §3.8.6 (SHOULD-14): the right edge does not go back, also not by the bits
            // that the shift drops; where there is no room for that, RFC 7323 §2.4 lets it, and
            // RCV.ADV still takes what was promised.
            field += 1;
        }
        let field = field.min(u32::from(u16::MAX));
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + (field << self.rcv_shift));
        field as u16
    }

    /// RFC 9293 §3.8.6.2.2 (MUST-39): the right edge moves by a worthwhile step or not at all.
    pub(in crate::tcp) fn offered_window(&self) -> u32 {
        let limit = self.receive_limit();
        // What the field cannot say is no reason to say anything.
        let most = u32::from(u16::MAX) << self.rcv_shift;
        let held = self.buffered_to_read();
        let mut room = limit.saturating_sub(held).min(most);
        let mut worthwhile = limit / 2;
        let clamp = self.cold.options.window_clamp_bytes;
        if clamp > 0 {
            // Segments may be larger than the window ever gets.
            (room, worthwhile) = (room.min(clamp), worthwhile.min(clamp / 2));
        }
        if self.mode.pressed && held > limit / 2 {
            // Memory is short, and the application does not keep up.
            room = room.min(PRESSED_SEGMENTS * u32::from(self.mss));
        }
        let told = self.rcv_wnd();
        let step = worthwhile.min(u32::from(self.mss));
        if room >= told.saturating_add(step) { room } else { told }
    }
}

/// Of a window while memory is short, as on Linux.
const PRESSED_SEGMENTS: u32 = 4;
