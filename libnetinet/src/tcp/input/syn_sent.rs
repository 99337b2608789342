//! SYN-SENT: the answer to our SYN, or the peer's own.

use libnet::{DropReason, Instant, Packet};

use super::{Disposition, Flow};
use crate::tcp::ctx::Ctx;
use crate::tcp::error::ConnError;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::state::State;
use crate::tcp::tcb::Connection;

impl Connection {
    /// RFC 9293 §3.10.7.3.
    pub(super) fn input_syn_sent(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        mut seg: Segment,
        packet: &Packet,
    ) -> Flow {
        // First: ACK.
        let acked = seg.flags.has(Flags::ACK);
        if acked && (seg.ack.le(self.iss) || seg.ack.gt(self.snd_max)) {
            // An old connection's: a RST, unless it is one.
            let reason = DropReason::TcpBadAck;
            return Flow::Break(match seg.flags.has(Flags::RST) {
                true => Disposition::Dropped(reason),
                false => Disposition::Reset(reason),
            });
        }
        // Second: RST.
        if seg.flags.has(Flags::RST) {
            // RFC 9293 §3.5.3: believed only if it acknowledges our SYN.
            if !acked {
                return Flow::Break(Disposition::Dropped(DropReason::TcpNoAck));
            }
            ctx.counters.attempt_fails += 1;
            self.finish(ctx, Some(ConnError::Refused));
            return Flow::Break(Disposition::Accepted);
        }
        // Third, security: left out. Fourth: SYN.
        if !seg.flags.has(Flags::SYN) {
            // Fifth: neither; it is dropped.
            return Flow::Break(Disposition::Dropped(DropReason::TcpNoAck));
        }
        if acked && self.is_stale_echo(now, &seg) {
            return Flow::Break(Disposition::Dropped(DropReason::TcpPaws));
        }
        self.take_syn(now, ctx, &seg);
        if !acked {
            // RFC 9293 §3.5 (MUST-10): simultaneous open; a SYN-ACK with our own number. Data with
            // the SYN come again.
            self.transition(ctx, State::SynReceived);
            (self.snd_nxt, self.snd_max) = (self.iss, self.iss);
            self.owed.syn = true;
            self.cold.fast_open = None;
            return Flow::Continue(());
        }
        self.establish(now, ctx, &seg);
        self.finish_fast_open(now, ctx, &seg, packet);
        self.acknowledge_syn_ack(now, ctx);
        // Data and FIN may come with the SYN: on with the sixth step of the other states.
        seg.trim_front(1);
        self.trim_to_window(ctx, &mut seg);
        self.take_urgent(&seg);
        self.take_data(now, ctx, &seg, packet)?;
        self.take_fin(ctx, &seg)
    }

    /// At once, unless the application has said that its data will carry the acknowledgement
    /// (`tcp(7)`, `TCP_DEFER_ACCEPT`).
    fn acknowledge_syn_ack(&mut self, now: Instant, ctx: &Ctx) {
        if self.cold.options.defer_accept.is_zero() {
            self.owed.ack = true;
        } else {
            self.deadlines.ack = now + ctx.config.delayed_ack;
        }
    }

    /// RFC 7323 §3.2: an echo of what we never sent belongs to an old connection.
    fn is_stale_echo(&self, now: Instant, seg: &Segment) -> bool {
        match seg.options.timestamps {
            Some(timestamps) if self.mode.timestamps && timestamps.echo != 0 => {
                let age = self.timestamp(now).wrapping_sub(timestamps.echo);
                u64::from(age) > now.since(self.cold.created_at).as_millis() as u64 + 1
            }
            _ => false,
        }
    }
}
