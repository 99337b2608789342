//! An acknowledgement from a peer that tells what it has, step by step.

use libnet::Instant;

use super::frto::{Frto, FrtoAck, Verdict};
use super::prr::PrrAck;
use super::rack::AckTime;
use super::tlp::ProbeAnswer;
use super::undo::Window;
use super::{Phase, Sender};
use crate::tcp::cc::CongestionControl;
use crate::tcp::config::TcpConfig;
use crate::tcp::congestion::{SampleNews, tell_lost};
use crate::tcp::ctx::Ctx;
use crate::tcp::rate::{AckSample, Arrival, Rate};
use crate::tcp::records::{Marks, Record};
use crate::tcp::sack::SackBlock;
use crate::tcp::scoreboard::Losses;
use crate::tcp::segment::Segment;
use crate::tcp::seq::SeqNumber;
use crate::tcp::tcb::Connection;

/// What one acknowledgement has told.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tcp) struct News {
    /// SND.UNA has moved by so many numbers.
    acked: u32,
    /// DeliveredData of RFC 9937: bytes that the peer newly has, told of either way.
    delivered: u32,
    /// Bytes of these beyond SND.UNA.
    sacked: u32,
    /// Blocks with news, one of more than a segment as two.
    hints: u8,
    /// Numbers from before `recover` came that were sent once only.
    original: bool,
    /// What came twice.
    duplicate: Option<SackBlock>,
    /// Of the path, for a controller that asks.
    sample: AckSample,
}

impl Connection {
    /// RFC 9293 §3.10.7.4, fifth, with RFC 8985 §6.2 and what follows from it.
    pub(in crate::tcp) fn take_ack_with_sack(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        seg: &Segment,
    ) {
        let advances = seg.ack.gt(self.snd_una);
        if !advances && seg.options.sack.is_empty() && !self.is_duplicate_ack(seg) {
            return;
        }
        let flight = self.snd_max - self.snd_una;
        let window_opens = self.mode.persist && seg.wnd > 0;
        let mut news = News::default();
        if advances {
            news.acked = seg.ack - self.snd_una;
            self.release_acknowledged(now, ctx, seg);
        }
        self.take_arrivals(now, ctx, seg, &mut news);
        self.take_probe_answer(ctx, seg, flight, &news);
        self.tx.rack.on_ack(self.snd_una, self.snd_max, self.widens_window(&news));
        self.count_hints(&news);
        self.tx.settling = false;
        let losses = self.detect_losses(now, ctx);
        match self.tx.phase {
            Phase::Open => self.take_ack_open(now, ctx, flight, &news),
            Phase::Recovery => self.take_ack_in_recovery(ctx, seg, flight, &news, &losses),
            Phase::Loss(frto) => self.take_ack_after_timeout(now, ctx, seg, flight, &news, frto),
        }
        if self.tx.cc.takes_samples() && (news.delivered > 0 || losses.bytes > 0) {
            let brought = SampleNews { delivered: news.delivered, lost: losses.bytes };
            self.give_sample(now, &ctx.config, &news.sample, brought);
        }
        if advances {
            if window_opens {
                self.rtt.forget_backoff(&ctx.config);
            }
            self.restart_resend_timer(now);
        }
        if advances || news.delivered > 0 || losses.bytes > 0 || self.tx.settling {
            self.choose_timer(now, &ctx.config);
        }
        self.expect_reneging(now);
    }

    /// The blocks and the acknowledgement itself go into the scoreboard, into RACK and into the
    /// delivery account.
    fn take_arrivals(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment, news: &mut News) {
        let echo = seg.options.timestamps.filter(|_| self.mode.timestamps);
        let echo = echo.map(|timestamps| (timestamps.echo, self.ts_offset));
        let ack = AckTime { now, echo, min_rtt_window: ctx.config.min_rtt_window };
        self.tx.acknowledge(&ack, self.snd_una, news);
        let duplicate = seg.options.sack.iter().next().filter(|first| is_dsack(seg, first));
        if let Some(block) = duplicate {
            self.take_duplicate(ctx, block, news);
        }
        for block in seg.options.sack.iter().skip(usize::from(duplicate.is_some())) {
            if block.right.le(self.snd_una) && block.left.lt(block.right) {
                // Old news, overtaken by a later acknowledgement.
                continue;
            }
            // RFC 2018 §5: what we never sent, or have a better word about, is no news.
            let sane = block.left.gt(self.snd_una)
                && block.left.lt(block.right)
                && block.right.le(self.snd_max);
            match sane {
                true => {
                    let before = news.sacked;
                    self.tx.sack(&ack, block, news);
                    let hints = worth(news.sacked - before, u32::from(self.mss));
                    news.hints = news.hints.saturating_add(hints);
                }
                false => ctx.counters.sacks_discarded += 1,
            }
        }
        let min_rtt = self.tx.rack.min_rtt();
        let sample = self.tx.rate.finish_sample(now, min_rtt);
        if self.tx.cc.takes_samples() {
            news.sample = sample;
        }
    }

    /// RFC 2883 §5: something came twice.
    fn take_duplicate(&mut self, ctx: &mut Ctx, block: &SackBlock, news: &mut News) {
        let sane = block.left.lt(block.right)
            && block.right.le(self.snd_max)
            && block.right - block.left <= self.max_snd_wnd.max(u32::from(self.mss));
        if !sane {
            ctx.counters.sacks_discarded += 1;
            return;
        }
        ctx.counters.dsacks_in += 1;
        self.cold.counts.dsacks_in += 1;
        news.duplicate = Some(*block);
        if !self.tx.probe.is_duplicate(block) {
            self.tx.undo.on_duplicate(block);
        }
    }

    /// RFC 8985 §6.2 step 4: a duplicate that a tail probe made is no sign of reordering.
    fn widens_window(&self, news: &News) -> bool {
        news.duplicate.is_some_and(|block| !self.tx.probe.is_duplicate(&block))
            && self.cold.retransmits > 0
    }

    /// As three duplicates would count.
    fn count_hints(&mut self, news: &News) {
        if self.tx.board.sacked_bytes() == 0 {
            self.tx.hints = 0;
        } else {
            self.tx.hints = self.tx.hints.saturating_add(news.hints);
        }
    }

    /// RFC 8985 §7.4.
    fn take_probe_answer(&mut self, ctx: &mut Ctx, seg: &Segment, flight: u32, news: &News) {
        let bare = news.acked == 0 && seg.options.sack.is_empty();
        let answer = self.tx.probe.on_ack(seg.ack, news.duplicate.as_ref(), bare);
        if answer == ProbeAnswer::Repaired {
            // A loss that was repaired at once still is one: the window answers to it.
            ctx.counters.loss_probe_recoveries += 1;
            if self.tx.phase == Phase::Open && !self.has_reduced_for_this() {
                self.tx.cc.on_loss(flight, u32::from(self.mss));
                self.note_reduced();
            }
        }
    }

    /// RFC 8985 §6.2, step 5.
    pub(super) fn detect_losses(&mut self, now: Instant, ctx: &mut Ctx) -> Losses {
        if self.tx.board.is_done() {
            return Losses::default();
        }
        let window = self.reordering_window(&ctx.config);
        let Some(rule) = self.tx.rack.rule(now, window) else { return Losses::default() };
        let Sender { board, cc, rate, .. } = &mut *self.tx;
        let losses = board.detect(&rule, &mut |record| tell_lost(now, cc, rate, record));
        self.tx.settling = losses.undecided;
        if losses.resent_bytes > 0 {
            let segments = losses.resent_bytes.div_ceil(u32::from(self.mss));
            ctx.counters.lost_retransmits += u64::from(segments);
        }
        losses
    }

    fn take_ack_open(&mut self, now: Instant, ctx: &mut Ctx, flight: u32, news: &News) {
        if self.tx.board.lost_bytes() > 0 {
            if self.mode.searches_mtu && self.take_lost_mtu_probe(ctx) {
                return;
            }
            self.enter_recovery(ctx, flight, news.sacked);
            return self.count_delivered(news.delivered, false);
        }
        // RFC 3708 §3: the duplicates may be told of when the recovery is over already.
        self.undo_by_duplicates(ctx, news);
        self.tx.undo.expire(self.snd_una);
        if self.is_reducing() {
            return self.count_delivered(news.delivered, news.acked > 0);
        }
        if news.acked > 0 {
            self.grow_window(now, &ctx.config, news.acked, flight);
        }
    }

    /// RFC 6675 §5 (4), with the window of RFC 9937 §6. `sacked` of the flight was told of just now.
    pub(super) fn enter_recovery(&mut self, ctx: &mut Ctx, flight: u32, sacked: u32) {
        ctx.counters.sack_recoveries += 1;
        self.remember_window();
        if !self.has_reduced_for_this() {
            self.tx.cc.on_loss(flight, u32::from(self.mss));
            let known = self.tx.board.sacked_bytes().saturating_sub(sacked);
            self.tx.prr.begin(flight, known);
            self.note_reduced();
        }
        self.tx.reducing = false;
        self.tx.phase = Phase::Recovery;
        self.tx.recover = self.snd_max;
        self.tx.probe.forget();
        self.owed.tail = false;
        tracing::trace!(tuple = ?self.tuple, snd_una = ?self.snd_una, flight, "recovery");
    }

    fn take_ack_in_recovery(
        &mut self,
        ctx: &mut Ctx,
        seg: &Segment,
        flight: u32,
        news: &News,
        losses: &Losses,
    ) {
        let partial = self.snd_una.lt(self.tx.recover);
        if self.undo_by_echo(ctx, seg, news, partial) || self.undo_by_duplicates(ctx, news) {
            self.tx.board.forget_losses();
            return self.leave_recovery();
        }
        if partial {
            if news.delivered > 0 {
                self.count_delivered(news.delivered, news.acked > 0 && losses.bytes == 0);
            }
            return;
        }
        self.leave_recovery();
        if self.tx.board.lost_bytes() > 0 {
            // What was sent during the recovery is lost, too: another one.
            self.enter_recovery(ctx, flight, news.sacked);
            self.count_delivered(news.delivered, false);
        }
    }

    /// The window is SSTHRESH, as RFC 9937 §6 has it, or what it was before.
    fn leave_recovery(&mut self) {
        self.tx.phase = Phase::Open;
        self.tx.cc.on_repaired();
        self.tx.rack.on_recovered();
        self.tx.undo.expire_after(self.snd_max);
    }

    /// RFC 5682 §3 while it is asked, and slow start.
    fn take_ack_after_timeout(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        seg: &Segment,
        flight: u32,
        news: &News,
        frto: Frto,
    ) {
        let step = FrtoAck {
            advances: news.acked > 0,
            original: news.original,
            can_send_new: self.can_send_new(),
        };
        let before_recover = self.snd_una.lt(self.tx.recover);
        let spurious = match frto.on_ack(&step) {
            Verdict::Spurious => {
                ctx.counters.spurious_timeouts += 1;
                true
            }
            Verdict::Ask(next) => {
                if next == Frto::NewData && before_recover {
                    self.tx.recover = self.snd_max;
                }
                self.tx.phase = Phase::Loss(next);
                news.acked > 0 && self.is_echo_of_original(seg)
            }
        };
        if spurious && self.undo_reduction() {
            ctx.counters.loss_undos += 1;
            self.tx.board.forget_losses();
            self.rtt.forget_backoff(&ctx.config);
            return self.leave_recovery();
        }
        if news.acked > 0 {
            self.grow_window(now, &ctx.config, news.acked, flight);
        }
        if !before_recover {
            self.undo_by_duplicates(ctx, news);
            self.leave_recovery();
        }
    }

    /// Bytes delivered let others out.
    pub(in crate::tcp) fn count_delivered(&mut self, delivered: u32, safe: bool) {
        let (pipe, ssthresh) = (self.pipe(), self.tx.cc.ssthresh_bytes());
        let mss = u32::from(self.mss);
        self.tx.prr.on_ack(&PrrAck { delivered, pipe, ssthresh, mss, safe });
    }

    /// The window as it is now can be had back.
    pub(in crate::tcp) fn remember_window(&mut self) {
        let before =
            Window { cwnd: self.tx.cc.cwnd_bytes(), ssthresh: self.tx.cc.ssthresh_bytes() };
        self.tx.undo.begin(self.snd_una, before, self.tx.board.resent_bytes());
    }

    /// Takes the reduction back if what was sent again had only been slow; did it?
    fn undo_by_echo(&mut self, ctx: &mut Ctx, seg: &Segment, news: &News, partial: bool) -> bool {
        if news.acked == 0 || !self.is_echo_of_original(seg) {
            return false;
        }
        match partial {
            true => ctx.counters.partial_undos += 1,
            false => ctx.counters.full_undos += 1,
        }
        self.tx.rack.on_spurious();
        self.undo_reduction()
    }

    /// Takes the reduction back if all that was sent again arrived twice; did it?
    fn undo_by_duplicates(&mut self, ctx: &mut Ctx, news: &News) -> bool {
        if news.duplicate.is_none() || !self.tx.undo.all_were_duplicates() {
            return false;
        }
        ctx.counters.dsack_undos += 1;
        self.tx.rack.on_spurious();
        self.undo_reduction()
    }

    fn is_echo_of_original(&self, seg: &Segment) -> bool {
        let echo = seg.options.timestamps.filter(|_| self.mode.timestamps);
        self.tx.undo.is_of_original(echo.map(|timestamps| timestamps.echo))
    }

    /// RFC 4015 §3.2.
    fn undo_reduction(&mut self) -> bool {
        let Some(Window { cwnd, ssthresh }) = self.tx.undo.take() else { return false };
        self.tx.cc.restore(cwnd, ssthresh);
        self.note_restored();
        tracing::trace!(tuple = ?self.tuple, snd_una = ?self.snd_una, cwnd, "undo");
        true
    }

    /// RFC 2018 §8: the peer asks for what it said to have. As Linux does, it is given a little
    /// time to change its mind; then the time-out takes nothing it said for true.
    fn expect_reneging(&mut self, now: Instant) {
        if self.tx.board.is_head_sacked() {
            let patience = self.rtt.srtt().map_or(RENEGING_PATIENCE, |srtt| srtt / 2);
            let at = now + patience.max(RENEGING_PATIENCE);
            self.tx.rto_at = self.tx.rto_at.min(at);
            self.deadlines.resend = self.deadlines.resend.min(self.tx.rto_at);
            if self.deadlines.resend == self.tx.rto_at {
                self.tx.timer = super::ResendTimer::Timeout;
            }
        }
    }

    /// A time-out: what is lost, and how it is repaired. `again`: it is not the first.
    pub(in crate::tcp) fn lose_on_timeout(&mut self, now: Instant, ctx: &mut Ctx, again: bool) {
        let window = self.reordering_window(&ctx.config);
        if self.tx.board.is_head_sacked() {
            ctx.counters.sack_renegings += 1;
            self.tx.board.forget_sacks();
            self.lose_sent_by(now, now);
        } else {
            let cutoff = self.tx.rack.rule(now, window).map_or(now, |rule| rule.cutoff);
            self.lose_sent_by(now, cutoff);
        }
        // RFC 5682 §2.1 step 1: asked about the first time-out, and about each that follows it.
        let asks = ctx.config.frto && (self.tx.phase == Phase::Open || again);
        if self.tx.phase == Phase::Open {
            self.remember_window();
        }
        self.tx.phase = Phase::Loss(if asks { Frto::Head } else { Frto::Off });
        self.tx.recover = self.snd_max;
        (self.tx.hints, self.tx.settling) = (0, false);
        self.tx.probe.forget();
        self.owed.tail = false;
    }

    /// The first record and all that were sent at `cutoff` or before it are lost.
    fn lose_sent_by(&mut self, now: Instant, cutoff: Instant) {
        let Sender { board, cc, rate, .. } = &mut *self.tx;
        board.mark_on_timeout(cutoff, &mut |record| tell_lost(now, cc, rate, record));
    }

    /// Segments became too large for the path: all again in smaller ones, and no loss to answer to.
    pub(in crate::tcp) fn resend_all(&mut self, now: Instant) {
        let Sender { board, rate, .. } = &mut *self.tx;
        board.mark_on_timeout(now, &mut |record| rate.on_lost(record.len()));
        self.tx.undo.forget();
        self.tx.probe.forget();
        self.tx.phase = Phase::Loss(Frto::Off);
        self.tx.reducing = false;
        self.tx.recover = self.snd_max;
    }

    /// The delivery account of a peer without SACK.
    pub(in crate::tcp) fn count_acknowledged(
        &mut self,
        now: Instant,
        config: &TcpConfig,
    ) -> AckSample {
        let ack = AckTime { now, echo: None, min_rtt_window: config.min_rtt_window };
        self.tx.acknowledge(&ack, self.snd_una, &mut News::default());
        let min_rtt = self.tx.rack.min_rtt();
        self.tx.rate.finish_sample(now, min_rtt)
    }

    /// Is there new data that the peer's window holds?
    fn can_send_new(&self) -> bool {
        let unsent = (self.snd_una + self.buffered_to_send()).gt(self.snd_nxt);
        unsent && (self.snd_una + self.snd_wnd).gt(self.snd_nxt)
    }

    /// Bytes in the network.
    pub(in crate::tcp) fn pipe(&self) -> u32 {
        if self.mode.sack { self.tx.board.pipe(self.snd_max - self.snd_una) } else { self.flight() }
    }
}

impl Sender {
    /// All before `snd_una` is acknowledged.
    pub(in crate::tcp) fn acknowledge(
        &mut self,
        ack: &AckTime,
        snd_una: SeqNumber,
        news: &mut News,
    ) {
        let Sender { board, rate, rack, probe, recover, .. } = self;
        let recover = *recover;
        board.acknowledge(snd_una, |record| {
            count_delivered(rate, ack, record);
            rack.on_delivered(ack, record);
            news.delivered += record.len();
            if !record.marks.has(Marks::EVER_RESENT) {
                probe.on_measured();
                news.original |= record.end.le(recover);
            }
        });
    }

    fn sack(&mut self, ack: &AckTime, block: &SackBlock, news: &mut News) {
        let Sender { board, rate, rack, probe, recover, .. } = self;
        let recover = *recover;
        // DEVIATES RFC 8985 §6.2 step 2: the echo tells nothing of what is beyond a hole, since by
        // RFC 7323 §4.3 it is that of the last segment before it; the round trip does (as Linux).
        let untimed = AckTime { echo: None, ..*ack };
        board.sack(block, |record| {
            count_delivered(rate, ack, record);
            rack.on_delivered(&untimed, record);
            news.delivered += record.len();
            news.sacked += record.len();
            if !record.marks.has(Marks::EVER_RESENT) {
                probe.on_measured();
                news.original |= record.end.le(recover);
            }
        });
    }
}

fn count_delivered(rate: &mut Rate, ack: &AckTime, record: &Record) {
    let arrival = Arrival {
        stamp: &record.stamp,
        sent_at: record.sent_at,
        app_limited: record.marks.has(Marks::APP_LIMITED),
        again: record.marks.has(Marks::EVER_RESENT),
    };
    rate.on_delivered(ack.now, record.len(), &arrival);
}

/// How many duplicates a block with so many new bytes stands for. One that a super-segment can have
/// made counts as two at most: it was not overtaken by more than one other.
fn worth(bytes: u32, mss: u32) -> u8 {
    let supers = 2 * (bytes / MAX_SUPER_BYTES);
    bytes.div_ceil(mss).min(2).saturating_add(supers).min(u32::from(u8::MAX)) as u8
}

/// RFC 2883 §5: the first block is a duplicate if it lies before the acknowledgement, or within
/// the second.
fn is_dsack(seg: &Segment, first: &SackBlock) -> bool {
    let mut others = seg.options.sack.iter().skip(1);
    let within = |second: &SackBlock| second.left.le(first.left) && first.right.le(second.right);
    first.left.lt(seg.ack) || others.next().is_some_and(within)
}

const MAX_SUPER_BYTES: u32 = 65_536;
const RENEGING_PATIENCE: std::time::Duration = std::time::Duration::from_millis(10);
