//! The three timers that share the `resend` deadline: reordering, tail probe, time-out.

use libnet::Instant;

use super::rack::ReorderInput;
use super::{Phase, tlp};
use crate::tcp::config::TcpConfig;
use crate::tcp::ctx::Ctx;
use crate::tcp::tcb::Connection;

/// What the `resend` deadline is, unless it is the persist timer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ResendTimer {
    /// RTO. Source: RFC 6298 §5.
    Timeout,
    /// PTO. Source: RFC 8985 §7.2.
    Probe,
    /// What was overtaken is lost then. Source: RFC 8985 §6.2, step 5.
    Reorder,
}

impl Connection {
    /// The retransmission time-out starts anew.
    pub(in crate::tcp) fn restart_timeout(&mut self, now: Instant) {
        self.tx.rto_at = now + self.rtt.rto();
        self.tx.timer = ResendTimer::Timeout;
        self.deadlines.resend = self.tx.rto_at;
    }

    /// Which of the timers comes next, after something has changed.
    pub(in crate::tcp) fn choose_timer(&mut self, now: Instant, config: &TcpConfig) {
        if self.snd_una == self.snd_max || self.mode.persist {
            return;
        }
        let tx = &self.tx;
        let (timer, at) = if tx.settling {
            let at = tx.rack.settled_at(self.reordering_window(config)).max(now);
            // One that would come after the time-out settles nothing by then.
            if at < tx.rto_at {
                (ResendTimer::Reorder, at)
            } else {
                (ResendTimer::Timeout, tx.rto_at)
            }
        } else if config.tail_loss_probe && self.may_probe_tail() {
            let one = self.snd_max - self.snd_una <= u32::from(self.mss);
            let after = tlp::probe_after(self.rtt.srtt(), one);
            // RFC 8985 §7.2: not later than the time-out.
            (ResendTimer::Probe, (now + after).min(tx.rto_at))
        } else {
            (ResendTimer::Timeout, tx.rto_at)
        };
        self.tx.timer = timer;
        self.deadlines.resend = at;
    }

    /// RFC 8985 §7.2: not in a recovery, not while something beyond a hole is known to be there
    /// (RACK finds that), and one at a time.
    fn may_probe_tail(&self) -> bool {
        let tx = &self.tx;
        self.mode.sack
            && tx.phase == Phase::Open
            && tx.board.sacked_bytes() == 0
            && tx.probe.may_begin()
    }

    /// RFC 8985 §7.3: the probe timer expired.
    pub(in crate::tcp) fn on_probe_timeout(&mut self, now: Instant, ctx: &mut Ctx) {
        self.restart_timeout(now);
        if self.may_probe_tail() && self.snd_una != self.snd_max {
            ctx.counters.loss_probes += 1;
            self.owed.tail = true;
        }
    }

    /// RFC 8985 §6.2, step 5: the reordering timer expired.
    pub(in crate::tcp) fn on_reorder_timeout(&mut self, now: Instant, ctx: &mut Ctx) {
        self.tx.settling = false;
        let losses = self.detect_losses(now, ctx);
        if self.mode.searches_mtu && self.tx.phase == Phase::Open {
            self.take_lost_mtu_probe(ctx);
        }
        if losses.bytes > 0 && self.tx.phase == Phase::Open {
            // As if the acknowledgement that would have told it had come: one segment.
            let mss = u32::from(self.mss);
            self.enter_recovery(ctx, self.snd_max - self.snd_una, 0);
            self.count_delivered(mss, false);
        } else if self.tx.phase == Phase::Recovery && self.pipe() == 0 {
            self.tx.prr.restart(u32::from(self.mss));
        }
        self.deadlines.resend = self.tx.rto_at;
        self.choose_timer(now, &ctx.config);
    }

    /// RFC 8985 §6.2, step 4.
    pub(super) fn reordering_window(&self, config: &TcpConfig) -> std::time::Duration {
        self.tx.rack.reordering_window(&ReorderInput {
            in_recovery: self.tx.phase != Phase::Open,
            enough_sacked: config.rack.counts && self.tx.hints >= self.recovery.threshold(),
            adapts: config.rack.adapts,
            srtt: self.rtt.srtt(),
        })
    }
}
