//! What to send: `decide` looks and changes nothing, `build` does it.

mod build;
mod decide;
mod sack;

use libnet::{IfIndex, Instant, Packet};

use super::ctx::Ctx;
use super::ecn::EcnField;
use super::options::Extra;
use super::path::OutMeta;
use super::segment::{Flags, Header};
use super::seq::SeqNumber;
use super::tcb::Connection;

/// A segment to hand to the layer below.
#[derive(Debug)]
pub struct Outgoing {
    /// What its IP header is to say.
    pub meta: OutMeta,
    /// TCP header and data.
    pub packet: Packet,
}

/// The next segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SendPlan {
    Nothing,
    /// RST; nothing follows.
    Reset,
    /// SYN or SYN-ACK, by the state.
    Syn,
    /// An acknowledgement, alone: one of a run, or the last.
    Ack {
        duplicate: bool,
    },
    /// Data, FIN, or both.
    Data(DataPlan),
    /// A number that the peer has had already, to make it answer.
    Keepalive,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DataPlan {
    pub(super) seq: SeqNumber,
    pub(super) len: u32,
    pub(super) fin: bool,
    /// The send buffer is empty after it.
    pub(super) push: bool,
    pub(super) kind: DataKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DataKind {
    /// At SND.NXT: new, or again after a time-out.
    Next,
    /// The first unacknowledged segment, out of turn.
    Head,
    /// Lost, in fast recovery or after a time-out.
    Lost,
    /// A tail loss probe.
    Tail,
    /// New data in one segment that is larger than the others.
    MtuProbe,
    /// Past what the window allows, to learn whether it has opened.
    WindowProbe,
}

impl Connection {
    /// The next segment to send now, if there is one. What it asks for is taken as sent.
    pub fn poll_transmit(&mut self, now: Instant, ctx: &mut Ctx) -> Option<Outgoing> {
        let plan = self.decide();
        if plan == SendPlan::Nothing {
            return None;
        }
        let mut out =
            Outgoing { meta: self.out_meta(self.ecn_field_of(&plan)), packet: Packet::new() };
        let header = self.build(now, ctx, plan, &mut out.packet)?;
        let whole = match plan {
            SendPlan::Data(DataPlan { kind: DataKind::MtuProbe, len, .. }) => Some(len as u16),
            _ => None,
        };
        self.finish_segment(now, ctx, &header, whole, &mut out.packet);
        Some(out)
    }

    /// Is there something to send now?
    pub fn wants_transmit(&self) -> bool {
        self.decide() != SendPlan::Nothing
    }

    /// The interface that its segments must leave by, if any.
    pub(super) fn bound(&self) -> Option<IfIndex> {
        self.tuple.zone.iface().or(self.cold.options.sharing.iface)
    }

    fn finish_segment(
        &mut self,
        now: Instant,
        ctx: &mut Ctx,
        header: &Header,
        whole: Option<u16>,
        packet: &mut Packet,
    ) {
        if header.flags.has(Flags::SYN) || self.mode.signed {
            self.finish_rare(header, packet);
        } else {
            let marked_bytes =
                header.options.marked_bytes.map_or(0, |option| option.option_bytes());
            let options = header.options.sack.option_bytes() as u16 + marked_bytes as u16;
            let segment_bytes = whole.unwrap_or(self.mss - options);
            header.prepend_to(packet, &self.tuple, segment_bytes);
        }
        self.last_sent_at = now;
        self.cold.segments_out += 1;
        ctx.counters.segments_out += 1;
    }

    /// A segment with options that few have: a SYN, or a signed one.
    fn finish_rare(&mut self, header: &Header, packet: &mut Packet) {
        let mut extra = Extra::NONE;
        if let Some(attempt) = &self.cold.fast_open
            && header.flags.has(Flags::SYN)
            && !self.mode.signed
        {
            attempt.option.write(&mut extra);
        }
        let isns = self.isns();
        match self.cold.auth.as_deref_mut() {
            Some(auth) => auth.sign(header, packet, &self.tuple, isns, extra),
            None => header.prepend_with(packet, &self.tuple, 0, extra.bytes()),
        }
    }

    fn out_meta(&self, ecn: EcnField) -> OutMeta {
        let ttl = self.cold.options.ttl;
        OutMeta {
            src: self.tuple.local,
            dst: self.tuple.remote,
            iface: self.iface,
            bound: self.bound(),
            ttl: (ttl > 0).then_some(ttl),
            // RFC 3168 §5: these two bits are the protocol's, whoever chose the others.
            tos: self.cold.options.tos & !3 | ecn as u8,
            dont_fragment: true,
        }
    }
}
