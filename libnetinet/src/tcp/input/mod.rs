//! SEGMENT ARRIVES, step by step as RFC 9293 §3.10.7 has it; each step is in the file of its name.

mod acceptability;
mod ack;
mod data;
mod fin;
mod reset;
mod syn_sent;

use std::ops::ControlFlow;

use libnet::{DropReason, Instant, Packet};

use super::ctx::Ctx;
use super::segment::Segment;
use super::state::State;
use super::tcb::Connection;

/// What became of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Disposition {
    /// It was of use, all of it or a part.
    Accepted,
    /// It was not; the reason has been counted.
    Dropped(DropReason),
    /// It was not, and a RST made from it is to answer: RFC 9293 §3.10.7.1's form.
    Reset(DropReason),
}

/// `Break` ends the walk.
pub(super) type Flow = ControlFlow<Disposition>;

impl Connection {
    /// A segment for this connection arrived; `packet` is what it was read from.
    pub fn on_segment(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        seg: &Segment,
        packet: &Packet,
    ) -> Disposition {
        self.cold.segments_in += 1;
        if seg.data_len > 0 {
            self.count_data_in(seg.data_len);
        }
        let flow = match self.state {
            // The table keeps these apart: to it nobody is here.
            State::Closed | State::Listen | State::TimeWait => {
                Flow::Break(Disposition::Reset(DropReason::TcpNoConnection))
            }
            State::SynSent => self.input_syn_sent(now, ctx, *seg, packet),
            _ => self.input_synchronized(now, ctx, *seg, packet),
        };
        let disposition = match flow {
            Flow::Continue(()) => Disposition::Accepted,
            Flow::Break(disposition) => disposition,
        };
        if let Disposition::Dropped(reason) | Disposition::Reset(reason) = disposition {
            ctx.dropped(reason);
        }
        disposition
    }

    /// RFC 9293 §3.10.7.4: otherwise.
    fn input_synchronized(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        mut seg: Segment,
        packet: &Packet,
    ) -> Flow {
        self.take_repeated_syn(ctx, &mut seg)?;
        // First: sequence number, with PAWS before it.
        self.check_timestamp(now, ctx, &seg)?;
        self.check_sequence(now, ctx, &seg)?;
        // Second: RST.
        self.check_reset(now, ctx, &seg)?;
        // Third, security: RFC 9293 §A.1 leaves it out.
        // Fourth: SYN.
        self.check_syn(now, ctx, &seg)?;
        self.count_mark(ctx, &seg, packet);
        self.trim_to_window(ctx, &mut seg);
        // Fifth: ACK.
        self.check_ack(now, ctx, &seg)?;
        // Sixth: URG.
        self.take_urgent(&seg);
        // Seventh: data.
        self.take_data(now, ctx, &seg, packet)?;
        // Eighth: FIN.
        self.take_fin(ctx, &seg)
    }
}
