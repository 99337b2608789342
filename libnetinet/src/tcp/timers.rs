//! A connection's few deadlines: resend or persist, delayed ACK, idle.

use std::time::Duration;

use libnet::Instant;

use super::cc::CongestionControl;
use super::config::TcpConfig;
use super::ctx::Ctx;
use super::error::ConnError;
use super::recovery::{Phase, ResendTimer};
use super::state::State;
use super::tcb::Connection;

impl Connection {
    /// When [`on_timer`](Self::on_timer) wants to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let d = &self.deadlines;
        let next = d.resend.min(d.ack).min(d.idle).min(d.pace);
        (next != Instant::MAX).then_some(next)
    }

    /// Does what is due.
    pub fn on_timer(&mut self, now: Instant, ctx: &mut Ctx) {
        if self.deadlines.pace <= now {
            self.deadlines.pace = Instant::MAX;
            self.tx.pacer.on_open(now);
        }
        if self.deadlines.ack <= now {
            self.deadlines.ack = Instant::MAX;
            self.owed.ack = true;
        }
        if self.deadlines.resend <= now {
            self.deadlines.resend = Instant::MAX;
            match (self.state, self.tx.timer) {
                (State::SynSent | State::SynReceived, _) => self.on_syn_timeout(now, ctx),
                _ if self.mode.persist => self.on_persist(now, ctx),
                (_, ResendTimer::Reorder) => self.on_reorder_timeout(now, ctx),
                (_, ResendTimer::Probe) => self.on_probe_timeout(now, ctx),
                (_, ResendTimer::Timeout) => self.on_retransmission_timeout(now, ctx),
            }
        }
        if self.deadlines.idle <= now {
            self.deadlines.idle = Instant::MAX;
            self.on_idle(now, ctx);
        }
    }

    fn on_syn_timeout(&mut self, now: Instant, ctx: &mut Ctx) {
        let config = ctx.config.clone();
        // DEVIATES RFC 6298 §5.5: the first time-outs do not double, as on Linux.
        let linear = if self.mode.passive { 0 } else { config.syn_linear_timeouts };
        let limit = match (self.mode.passive, self.cold.options.syn_retries) {
            (true, _) => config.syn_ack_retries,
            (false, 0) => config.syn_retries,
            (false, own) => own,
        };
        // As on Linux, it takes no longer than the retries alone would, doubled from the first on.
        let is_late =
            linear > 0 && now.since(self.cold.created_at) >= time_of_retries(&config, limit);
        let is_over = is_late || self.retries >= limit.saturating_add(linear);
        if is_over || self.user_timeout_over(now) {
            ctx.counters.attempt_fails += 1;
            return self.give_up(ctx);
        }
        self.lose_fast_open(now, ctx);
        if self.retries >= linear {
            self.rtt.back_off(&config);
        }
        self.retries += 1;
        self.owed.syn = true;
        self.restart_timeout(now);
    }

    /// RFC 6298 §5.4 to §5.6, RFC 5681 §3.1, RFC 6582 §3.2 step 4.
    fn on_retransmission_timeout(&mut self, now: Instant, ctx: &mut Ctx) {
        if self.snd_una == self.snd_max {
            return;
        }
        let config = ctx.config.clone();
        // DEVIATES RFC 6298 §5.5: where it is asked for, the time-out of few segments does not double, as
        // on Linux: they bring no three duplicates, and are no burden. R2 stands for as long as ever.
        let flight = self.snd_max - self.snd_una;
        let thin = flight < THIN_SEGMENTS * u32::from(self.mss);
        let thin = config.thin_linear_timeouts && thin && self.state == State::Established;
        // RFC 9293 §3.8.3 (MUST-20): R2 ends the connection, R1 is advice to IP.
        let limit = self.retry_limit(&config).saturating_add(if thin { THIN_RETRIES } else { 0 });
        if self.retries >= limit || self.user_timeout_over(now) {
            return self.give_up(ctx);
        }
        self.forget_mtu_probe();
        self.suspect_black_hole(now, ctx);
        let again = self.retries > 0;
        let in_recovery = self.mode.sack && self.tx.phase == Phase::Recovery;
        let reduced = in_recovery || self.has_reduced_for_this();
        self.tx.reducing = false;
        if self.mode.sack {
            self.lose_on_timeout(now, ctx, again);
        } else {
            self.recovery.on_timeout(self.snd_max);
            // Everything is taken as lost and sent again from the first unacknowledged byte on.
            self.snd_nxt = self.snd_una;
        }
        // As on Linux: in a recovery the threshold was set for this very window.
        self.tx.cc.on_timeout(flight, u32::from(self.mss), again || reduced);
        self.note_reduced();
        self.suspect_options();
        self.retries += 1;
        self.mode.advise |= self.retries == advice_limit(&config);
        ctx.counters.timeouts += 1;
        self.cold.counts.timeouts = self.cold.counts.timeouts.saturating_add(1);
        tracing::trace!(tuple = ?self.tuple, snd_una = ?self.snd_una, retries = self.retries, "rto");
        if !thin || self.retries > THIN_RETRIES {
            self.rtt.back_off(&config);
        }
        self.rtt.cancel();
        self.owed.head = true;
        self.restart_timeout(now);
    }

    /// RFC 9293 §3.8.6.1: the window is closed; ask whether it has opened.
    fn on_persist(&mut self, now: Instant, ctx: &mut Ctx) {
        let edge = self.snd_una + self.snd_wnd;
        let fits = (self.snd_una + self.buffered_to_send()).le(edge);
        if self.mode.corked && fits && self.snd_nxt.lt(edge) {
            // The window has room: it was the cork that held the data back, and for long enough.
            self.mode.persist = false;
            self.cold.pushed = Some(self.snd_una + self.buffered_to_send());
            return;
        }
        let config = ctx.config.clone();
        // RFC 9293 §3.8.6.1 (MUST-37): without end as long as the peer answers; `retries` counts
        // probes that it did not. An orphan has nobody who would wait.
        let limit = self.retry_limit(&config);
        // As on Linux, the application's own bound is also one on data that cannot be sent: `tcp(7)`.
        if self.retries >= limit || self.user_timeout_over(now) {
            return self.give_up(ctx);
        }
        self.retries = self.retries.saturating_add(1);
        self.owed.window_probe = true;
        // RFC 9293 §3.8.6.1 (SHOULD-30): the interval grows as that of retransmissions.
        self.rtt.back_off(&config);
        self.deadlines.resend = self.next_probe(now);
    }

    fn on_idle(&mut self, now: Instant, ctx: &mut Ctx) {
        if self.state == State::FinWait2 && self.mode.orphan {
            // DEVIATES RFC 9293 §3.6: FIN-WAIT-2 has no end there; an orphan must not stay for
            // ever because its peer does (as Linux does).
            return self.finish(ctx, None);
        }
        if !self.mode.keepalive || !self.may_keep_alive() {
            return;
        }
        let options = &self.cold.options;
        let config = ctx.config.clone();
        let or = |own: Duration, default| if own.is_zero() { default } else { own };
        let idle = or(options.keepalive_idle, config.keepalive_idle);
        let interval = or(options.keepalive_interval, config.keepalive_interval);
        let probes = match options.keepalive_probes {
            0 => config.keepalive_probes,
            own => own,
        };
        if self.last_heard_at >= self.last_sent_at {
            // Whatever was sent last, the peer has said something since.
            self.retries = 0;
        }
        let quiet_until = self.last_heard_at + idle;
        if now < quiet_until {
            self.deadlines.idle = quiet_until;
            return;
        }
        if self.snd_una != self.snd_max {
            // Data are under way, and their own timer watches the peer.
            self.deadlines.idle = now + interval;
            return;
        }
        if self.retries >= probes {
            // RFC 9293 §3.8.4 (MUST-29): one unanswered probe alone is no proof of death.
            return self.give_up(ctx);
        }
        self.retries += 1;
        self.owed.keepalive = true;
        self.deadlines.idle = now + interval;
    }

    /// RFC 9293 §3.8.4 (MUST-24 to MUST-26): only if asked for, and only when nothing was heard.
    pub(super) fn arm_keepalive(&mut self, now: Instant, config: &TcpConfig) {
        if self.mode.keepalive && self.may_keep_alive() {
            let own = self.cold.options.keepalive_idle;
            let idle = if own.is_zero() { config.keepalive_idle } else { own };
            self.deadlines.idle = now.max(self.last_heard_at) + idle;
        } else if !self.mode.orphan {
            self.deadlines.idle = Instant::MAX;
        }
    }

    /// In FIN-WAIT-2, once nobody holds it: for so long, but 3.5 time-outs at least, as on Linux.
    pub(super) fn wait_for_fin(&mut self, now: Instant, ctx: &mut Ctx) {
        if !self.mode.orphan {
            return;
        }
        let stay = match self.cold.options.fin_wait_2 {
            None => return self.abort(ctx),
            Some(Duration::ZERO) => ctx.config.fin_wait_2,
            Some(own) => own,
        };
        self.deadlines.idle = now + stay.max(self.rtt.rto() * 7 / 2);
    }

    /// RFC 6298 §5.2 and §5.3: all acknowledged, the timer stops; else it starts anew.
    pub(super) fn restart_resend_timer(&mut self, now: Instant) {
        self.mode.persist = false;
        self.restart_timeout(now);
        if self.snd_max == self.snd_una {
            self.deadlines.resend = Instant::MAX;
        }
    }

    /// Nothing is under way, something waits, and the window holds it back: only a probe can tell
    /// when that ends. Called when all that can be sent was sent.
    pub(super) fn arm_persist_if_stuck(&mut self, now: Instant) {
        let waiting = self.buffered_to_send() > 0 || (self.mode.fin_queued && !self.mode.fin_acked);
        // What pacing keeps back is not stuck.
        let stuck = self.deadlines.resend == Instant::MAX && self.deadlines.pace == Instant::MAX;
        if self.state.is_synchronized() && waiting && stuck {
            self.mode.persist = true;
            self.cold.stalled_since = now;
            self.deadlines.resend = self.next_probe(now);
        }
    }

    /// A time-out away, but not after the user timeout.
    fn next_probe(&self, now: Instant) -> Instant {
        let at = now + self.rtt.rto();
        self.user_timeout().map_or(at, |timeout| at.min(self.cold.stalled_since + timeout))
    }

    fn may_keep_alive(&self) -> bool {
        self.state.is_synchronized() && !matches!(self.state, State::TimeWait)
    }

    /// RFC 9293 §3.8.3, RFC 5482: the application's own bound.
    fn user_timeout_over(&self, now: Instant) -> bool {
        self.user_timeout().is_some_and(|timeout| now >= self.cold.stalled_since + timeout)
    }

    /// R2 of RFC 9293 §3.8.3; as on Linux, none counts as one.
    fn retry_limit(&self, config: &TcpConfig) -> u8 {
        let limit = if self.mode.orphan { config.orphan_retries } else { config.data_retries };
        limit.max(1)
    }

    fn give_up(&mut self, ctx: &mut Ctx) {
        let error = self.cold.soft_error.unwrap_or(ConnError::TimedOut);
        if self.state.is_synchronized() {
            ctx.counters.established_resets += 1;
        }
        self.finish(ctx, Some(error));
    }
}

/// R1 of RFC 9293 §3.8.3; as on Linux, none counts as one.
pub(super) fn advice_limit(config: &TcpConfig) -> u8 {
    config.advice_retries.max(1)
}

/// As on Linux: a connection with fewer segments under way is thin.
const THIN_SEGMENTS: u32 = 4;
/// As on Linux: so many time-outs of a thin connection may be alike.
const THIN_RETRIES: u8 = 6;

/// How long so many retransmissions of a SYN take where each time-out is twice the one before.
fn time_of_retries(config: &TcpConfig, retries: u8) -> Duration {
    let time_out = |n: u8| config.rto_initial.saturating_mul(1 << n.min(16)).min(config.rto_max);
    (0..=retries).map(time_out).sum()
}
