//! Explicit congestion notification: what two ends agree on, and what each tells the other of marks
//! that the network has made. Source: RFC 3168 §6.1.

mod policy;

use super::cc::CongestionControl;
use super::config::TcpConfig;
use super::ctx::Ctx;
use super::output::{DataKind, SendPlan};
use super::recovery::Phase;
use super::segment::{Flags, Segment};
use super::state::State;
use super::tcb::Connection;

pub use self::policy::{EcnPolicy, NoSuchPolicy};

/// The ECN field of an IP header, the low bits of the traffic class. Source: RFC 3168 §5.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum EcnField {
    /// Its sender does not know of ECN: congestion drops it.
    #[default]
    NotEct = 0,
    /// ECT(1).
    Ect1 = 1,
    /// ECT(0): congestion may mark it.
    Ect0 = 2,
    /// Congestion has marked it.
    Ce = 3,
}

impl EcnField {
    /// That of a traffic class octet.
    pub const fn of(traffic_class: u8) -> Self {
        match traffic_class & 3 {
            0 => EcnField::NotEct,
            1 => EcnField::Ect1,
            2 => EcnField::Ect0,
            _ => EcnField::Ce,
        }
    }
}

/// Which form of ECN a connection uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum EcnUse {
    /// None.
    #[default]
    Off,
    /// One echo for each window. Source: RFC 3168 §6.1.
    Classic,
}

/// What a connection knows of ECN.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ecn {
    /// What is in use; until the peer has answered, what was asked for.
    pub(super) in_use: EcnUse,
    /// A SYN or SYN-ACK of ours did not ask for it, or did not agree.
    sent_plain: bool,
    /// Segments say ECE until the peer says CWR.
    echoes: bool,
    /// The next new data say CWR.
    owes_cwr: bool,
    /// The network has carried an ECT or CE to us.
    seen: bool,
}

/// What an ECN-setup SYN has. Source: RFC 3168 §6.1.1.
const ASKING: Flags = Flags::ECE.with(Flags::CWR);

/// What a listener agrees to when it gets this SYN.
fn asked_of_listener(config: &TcpConfig, syn: &Segment) -> EcnUse {
    // As on Linux: a SYN that came with more than it was sent with crossed a network that makes
    // something else of these bits.
    match syn.flags.only(ASKING) == ASKING && syn.ecn == EcnField::NotEct {
        true => config.ecn.accepts(),
        false => EcnUse::Off,
    }
}

/// The flags of a listener's SYN-ACK for the SYN that it answers. Source: RFC 3168 §6.1.1.
pub(super) fn answer_of_listener(config: &TcpConfig, syn: &Segment) -> Flags {
    match asked_of_listener(config, syn) {
        EcnUse::Off => Flags::NONE,
        EcnUse::Classic => Flags::ECE,
    }
}

/// The flags of a SYN whose answer agreed on ECN, or did not.
pub(super) fn flags_of_asking(asked: bool) -> Flags {
    if asked { ASKING } else { Flags::NONE }
}

/// Does a SYN ask for it?
pub(super) fn asks(syn: &Segment) -> bool {
    syn.flags.only(ASKING) == ASKING
}

impl Connection {
    /// An active open: what is asked for.
    pub(super) fn ask_for_ecn(&mut self, config: &TcpConfig) {
        self.ecn.in_use = config.ecn.asks_for();
    }

    /// What the flags of a peer's SYN or SYN-ACK agree on. Source: RFC 3168 §6.1.1.
    pub(super) fn agree_on_ecn(&mut self, config: &TcpConfig, syn: &Segment) {
        let asks = syn.flags.only(ASKING) == ASKING;
        let agrees = match self.state {
            State::Listen => {
                self.ecn.in_use = asked_of_listener(config, syn);
                true
            }
            // A SYN-ACK with both is from a host that sends back what it does not know.
            _ if syn.flags.has(Flags::ACK) => syn.flags.only(ASKING) == Flags::ECE,
            _ => asks,
        };
        if !agrees {
            self.ecn.in_use = EcnUse::Off;
        }
    }

    /// A peer's SYN came again; without the flags, its first one was lost with them, or our answer
    /// was. Source: RFC 3168 §6.1.1.1.
    pub(super) fn agree_on_ecn_again(&mut self, syn: &Segment) {
        if syn.flags.only(ASKING) != ASKING {
            self.ecn.in_use = EcnUse::Off;
        }
    }

    /// The flags of our SYN or SYN-ACK.
    pub(super) fn ecn_flags_of_syn(&mut self, config: &TcpConfig, again: bool) -> Flags {
        let reply = self.state == State::SynReceived;
        // RFC 3168 §6.1.1.1: what did not arrive with them may arrive without them.
        let gives_up = again && !reply && config.ecn_fallback;
        if self.ecn.in_use == EcnUse::Off || gives_up {
            self.ecn.sent_plain = true;
            return Flags::NONE;
        }
        if reply { Flags::ECE } else { ASKING }
    }

    /// What the IP header of a segment says.
    ///
    /// RFC 3168 §6.1.4 to §6.1.6 (MUST NOT): only data that leave for the first time are marked,
    /// and no probes of a window; SYNs and acknowledgements are not.
    pub(super) fn ecn_field_of(&self, plan: &SendPlan) -> EcnField {
        match plan {
            SendPlan::Data(data)
                if self.ecn.in_use == EcnUse::Classic
                    && !self.ecn.sent_plain
                    && data.len > 0
                    && data.kind != DataKind::WindowProbe
                    && data.seq.ge(self.snd_max) =>
            {
                EcnField::Ect0
            }
            _ => EcnField::NotEct,
        }
    }

    /// ECE, as long as the peer does not know. Source: RFC 3168 §6.1.3.
    pub(super) fn ecn_echo(&self) -> Flags {
        if self.ecn.echoes { Flags::ECE } else { Flags::NONE }
    }

    /// CWR, in the first new data after a reduction. Source: RFC 3168 §6.1.2.
    pub(super) fn take_cwr(&mut self) -> Flags {
        if std::mem::take(&mut self.ecn.owes_cwr) { Flags::CWR } else { Flags::NONE }
    }

    /// A segment with data, all or some of them in the window.
    ///
    /// RFC 3168 §6.1.5 (SHOULD): those outside of it say nothing, since anyone can make them.
    pub(super) fn take_mark(&mut self, ctx: &mut Ctx, seg: &Segment) {
        if self.ecn.in_use != EcnUse::Classic {
            return;
        }
        if seg.flags.has(Flags::CWR) {
            self.ecn.echoes = false;
            // As on Linux: its window may be one segment now, which must not wait.
            self.owed.ack = true;
        }
        self.ecn.seen |= seg.ecn != EcnField::NotEct;
        if seg.ecn == EcnField::Ce {
            ctx.counters.congestion_marks_in += 1;
            if !self.ecn.echoes {
                self.ack.quick = self.ack.quick.max(QUICK_ACKS_OF_MARK);
            }
            self.ecn.echoes = true;
        }
    }

    /// An acknowledgement, before anything else is done about it: one that says ECE reduces the
    /// window as a loss does, once for all that was under way then. Source: RFC 3168 §6.1.2.
    pub(super) fn take_echo(&mut self, ctx: &mut Ctx, seg: &Segment) {
        if self.tx.answered.is_some_and(|until| seg.ack.gt(until)) {
            self.tx.answered = None;
        }
        let echo = self.ecn.in_use == EcnUse::Classic && seg.flags.has(Flags::ECE);
        let answers = seg.ack.ge(self.snd_una) && self.snd_max.gt(self.snd_una);
        let open = self.tx.phase == Phase::Open && !self.recovery.in_recovery();
        if !echo || !answers || !open || self.tx.answered.is_some() {
            return;
        }
        ctx.counters.congestion_echoes_in += 1;
        let (flight, mss) = (self.snd_max - self.snd_una, u32::from(self.mss));
        self.tx.undo.forget();
        self.tx.cc.on_ecn(flight, mss);
        self.tx.prr.begin(flight, self.tx.board.sacked_bytes());
        self.tx.reducing = !self.tx.cc.is_model_based();
        self.note_reduced();
        tracing::trace!(tuple = ?self.tuple, snd_una = ?self.snd_una, flight, "congestion echo");
    }

    /// Does the window come down in proportion, in answer to a mark (RFC 9937 §6)? As on Linux until
    /// something is acknowledged that was sent after the answer: RFC 3168 §6.1.2 (MUST NOT), an
    /// acknowledgement that says ECE lets no window grow.
    pub(super) fn is_reducing(&self) -> bool {
        let is_not_past = |until| self.snd_una.le(until);
        self.tx.reducing
            && self.tx.phase == Phase::Open
            && self.tx.answered.is_some_and(is_not_past)
    }

    /// Was the window reduced by a mark on what is still under way? RFC 3168 §6.1.2 (SHOULD NOT):
    /// then a loss there does not reduce it again.
    pub(super) fn has_reduced_for_this(&self) -> bool {
        self.is_reducing() && self.tx.answered.is_some_and(|until| self.snd_una.lt(until))
    }

    /// The window was reduced, for whatever reason: marks of what is under way are answered with
    /// that, and the peer is told. Source: RFC 3168 §6.1.2.
    pub(super) fn note_reduced(&mut self) {
        if self.ecn.in_use == EcnUse::Classic {
            self.tx.answered = Some(self.snd_max);
            self.ecn.owes_cwr = true;
        }
    }

    /// The reduction was taken back.
    pub(super) fn note_restored(&mut self) {
        self.ecn.owes_cwr = false;
        self.tx.answered = None;
    }

    /// Which form is in use; none before both have agreed.
    pub(super) fn ecn_in_use(&self) -> EcnUse {
        if self.state == State::SynSent { EcnUse::Off } else { self.ecn.in_use }
    }

    /// Has the network carried an ECT or CE to us (`TCPI_OPT_ECN_SEEN`)?
    pub(super) fn ecn_seen(&self) -> bool {
        self.ecn.seen
    }
}

/// As on Linux: acknowledgements at once after a mark.
const QUICK_ACKS_OF_MARK: u8 = 2;
