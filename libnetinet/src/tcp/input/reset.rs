//! Second and fourth step: RST and SYN, believed only when they fit exactly (RFC 5961).

use libnet::{DropReason, Instant};

use super::{Disposition, Flow};
use crate::tcp::ctx::Ctx;
use crate::tcp::error::ConnError;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::state::State;
use crate::tcp::tcb::Connection;

impl Connection {
    /// RFC 9293 §3.10.7.4, second: check the RST bit, as RFC 5961 §3.2 tightens it.
    pub(super) fn check_reset(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) -> Flow {
        if !seg.flags.has(Flags::RST) {
            return Flow::Continue(());
        }
        if seg.seq != self.rcv_nxt {
            // RFC 5961 §3.2 (MUST): in the window but not exact: a true peer will reset again.
            return self.challenge(now, ctx);
        }
        let error = match self.state {
            // RFC 9293: a passive open returns to LISTEN, which its listener never left; nobody
            // is told.
            // RFC 7413 §4.2.2: but somebody has it already.
            State::SynReceived if self.mode.fast_open => Some(ConnError::Reset),
            State::SynReceived if self.mode.passive => None,
            State::SynReceived => Some(ConnError::Refused),
            // RFC 9293: in CLOSING and LAST-ACK both have closed, there is nobody to tell.
            State::Closing | State::LastAck => None,
            // As on Linux: the peer had said that it sends no more, and now takes no more either.
            State::CloseWait => Some(ConnError::BrokenPipe),
            _ => Some(ConnError::Reset),
        };
        match self.state {
            State::SynReceived => ctx.counters.attempt_fails += 1,
            _ => ctx.counters.established_resets += 1,
        }
        self.finish(ctx, error);
        Flow::Break(Disposition::Accepted)
    }

    /// RFC 9293 §3.10.7.4, fourth: check the SYN bit.
    pub(super) fn check_syn(&mut self, now: Instant, ctx: &mut Ctx, seg: &Segment) -> Flow {
        if !seg.flags.has(Flags::SYN) {
            return Flow::Continue(());
        }
        if self.state == State::SynReceived {
            if !self.mode.passive || self.mode.fast_open {
                return self.challenge(now, ctx);
            }
            // RFC 9293: return to LISTEN; the peer's SYN comes again and begins anew.
            ctx.counters.attempt_fails += 1;
            self.finish(ctx, None);
            return Flow::Break(Disposition::Dropped(DropReason::TcpChallenged));
        }
        // RFC 5961 §4.2 (MUST): never believed; if the peer has rebooted, our ACK makes it reset.
        ctx.counters.syn_challenges += 1;
        let flow = self.challenge(now, ctx);
        self.note_syn_ack_again(seg);
        flow
    }

    /// Answers with an ACK, if the connection's own limit and the stack's allow.
    /// Source: RFC 5961 §7.
    pub(super) fn challenge(&mut self, now: Instant, ctx: &mut Ctx) -> Flow {
        if !self.may_answer(now, ctx) {
            ctx.dropped(DropReason::TcpChallengeLimited);
        } else if ctx.allow_challenge(now) {
            self.owed.ack = true;
        }
        Flow::Break(Disposition::Dropped(DropReason::TcpChallenged))
    }
}
