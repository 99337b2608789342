//! Eighth step: FIN, when everything before it is in.

use libnet::Ready;

use super::Flow;
use crate::tcp::ctx::Ctx;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::tcp::state::State;
use crate::tcp::tcb::Connection;

impl Connection {
    /// RFC 9293 §3.10.7.4, eighth: check the FIN bit.
    pub(super) fn take_fin(&mut self, ctx: &mut Ctx, seg: &Segment) -> Flow {
        if !self.state.can_receive() {
            // Its FIN again: in CLOSE-WAIT, CLOSING and LAST-ACK it stays. RFC 9293: our ACK was
            // lost; the unacceptable segment was answered in the first step.
            return Flow::Continue(());
        }
        if seg.flags.has(Flags::FIN) {
            let at = seg.seq + seg.data_len;
            // The first FIN counts; one elsewhere is a liar's.
            let known = *self.peer_fin.get_or_insert(at);
            if known == at && at.gt(self.rcv_nxt) {
                self.take_early_fin(at, seg);
            }
        }
        if !self.at_peer_fin() {
            return Flow::Continue(());
        }
        // RFC 9293: RCV.NXT over the FIN, and an acknowledgement at once.
        self.rcv_nxt += 1;
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt);
        self.owed.ack = true;
        self.reassembly = None;
        self.wake |= Ready::READABLE | Ready::READ_CLOSED;
        match self.state {
            State::Established => self.transition(ctx, State::CloseWait),
            // Our FIN is not acknowledged, or the fifth step had moved on to FIN-WAIT-2.
            State::FinWait1 => {
                self.transition(ctx, State::Closing);
                self.wake |= Ready::HANGUP;
            }
            _ => self.enter_time_wait(ctx),
        }
        Flow::Continue(())
    }

    /// It came before others: as data beyond a hole, it is answered at once and told of (RFC 5681
    /// §4.2, RFC 2018 §3: its number counts as one of theirs).
    fn take_early_fin(&mut self, at: SeqNumber, seg: &Segment) {
        self.owed.ack |= seg.data_len == 0;
        let reassembly = self.reassembly.get_or_insert_default();
        reassembly.report(at, at + 1);
    }
}
