//! Explicit congestion notification: what two ends agree on, and what each tells the other of marks
//! that the network has made. Source: RFC 3168 §6.1, RFC 9768.

mod accurate;
mod asking;
pub(super) mod option;
mod policy;

use libnet::Packet;

use super::cc::CongestionControl;
use super::config::TcpConfig;
use super::ctx::Ctx;
use super::options::MAX_OPTIONS_BYTES;
use super::output::{DataKind, SendPlan};
use super::recovery::Phase;
use super::request::Request;
use super::sack;
use super::segment::{Flags, Segment};
use super::state::State;
use super::tcb::{Connection, TIMESTAMP_OPTION_BYTES};

pub(super) use self::accurate::Accurate;
pub use self::accurate::AccurateInfo;
use self::accurate::Counts;
pub(super) use self::asking::{
    ALL_FLAGS, Answer, answer_of_listener, flags_kept, flags_of_request, take_syn_again,
};
use self::asking::{
    ASKING, ASKING_ACCURATE, ASKS_NOTHING, asked_by, gives_up_accurate, is_same_form,
};
pub use self::option::{ByteOrder, MarkedBytes};
pub use self::policy::{EcnOption, EcnPolicy, NoSuchPolicy};

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
    /// A count of marks. Source: RFC 9768.
    Accurate,
}

/// What a connection knows of ECN.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ecn {
    /// What is in use; until the peer has answered, what was asked for.
    pub(super) in_use: EcnUse,
    /// New data are sent as ECT.
    sets_ect: bool,
    /// A SYN or SYN-ACK of ours did not ask for it, or did not agree; or the peer's came so again.
    plain: bool,
    /// What the peer's SYN asked for.
    asked: u8,
    /// Segments say ECE until the peer says CWR.
    echoes: bool,
    /// The next new data say CWR.
    owes_cwr: bool,
    /// The next acknowledgement says what the peer's SYN-ACK came with (RFC 9768 §3.2.2.1).
    pub(super) owes_code: bool,
    /// What the peer's segment has in place of counts is none.
    ignores_counts: bool,
    /// Our SYN came there marked.
    syn_marked: bool,
    /// The network has carried an ECT or CE to us.
    seen: bool,
}

impl Connection {
    /// An active open: what is asked for.
    pub(super) fn ask_for_ecn(&mut self, config: &TcpConfig) {
        self.ecn.in_use = config.ecn.asks_for();
    }

    /// What the flags of a peer's SYN or SYN-ACK agree on. Source: RFC 3168 §6.1.1, RFC 9768 §3.1.
    pub(super) fn agree_on_ecn(&mut self, config: &TcpConfig, syn: &Segment) {
        let ace = accurate::ace_of(syn.flags);
        self.ecn.in_use = if self.state != State::Listen && syn.flags.has(Flags::ACK) {
            self.read_syn_ack(ace, syn)
        } else {
            // RFC 9768 §3.1.2: a simultaneous open is answered as by a listener.
            let listens = self.state == State::Listen;
            self.ecn.asked = ace;
            asked_by(if listens { config.ecn.accepts() } else { self.ecn.in_use }, syn)
        };
        if self.ecn.in_use == EcnUse::Accurate {
            let mut accurate = Accurate::new(syn.ecn, config.ecn_option);
            if syn.flags.has(Flags::ACK) {
                self.begin_accurate_client(config, &mut accurate, ace, syn);
            }
            self.cold.accurate = Some(Box::new(accurate));
        }
        self.settle_ect();
    }

    /// A half-open connection is whole: what was said in its SYN-ACKs.
    pub(super) fn continue_ecn(&mut self, config: &TcpConfig, request: &Request) {
        if let Some(accurate) = &mut self.cold.accurate {
            self.ecn.plain = request.plain_syn || gives_up_accurate(config, request.retries);
            if request.resent {
                // The option on the first may be why it was dropped.
                accurate.give_up_options();
            }
        }
        self.settle_ect();
    }

    /// RFC 9768 §3.1.2, table 2, and §3.1.3: what a SYN-ACK agrees to.
    fn read_syn_ack(&self, ace: u8, syn_ack: &Segment) -> EcnUse {
        match self.ecn.in_use {
            EcnUse::Accurate => match ace {
                // Nothing; or what was sent comes back.
                0b000 | 0b111 => EcnUse::Off,
                0b001 => EcnUse::Classic,
                _ => EcnUse::Accurate,
            },
            // One with both is from a host that sends back what it does not know.
            EcnUse::Classic if syn_ack.flags.only(ASKING) == Flags::ECE => EcnUse::Classic,
            _ => EcnUse::Off,
        }
    }

    fn begin_accurate_client(
        &mut self,
        config: &TcpConfig,
        accurate: &mut Accurate,
        ace: u8,
        syn_ack: &Segment,
    ) {
        if syn_ack.ecn == EcnField::Ce {
            accurate.count_syn_ack();
        }
        accurate.take_first_option(syn_ack.options.marked_bytes.as_ref());
        accurate.try_options();
        // RFC 9768 §3.2.2.3: our SYN was not ECT; one that came as anything else was tampered with.
        let came = accurate::of_handshake_code(ace).unwrap_or(EcnField::NotEct);
        accurate.mangled = came != EcnField::NotEct && config.ecn_fallback;
        self.ecn.syn_marked = came == EcnField::Ce;
        self.ecn.owes_code = true;
    }

    /// May new data be ECT?
    fn settle_ect(&mut self) {
        self.ecn.sets_ect = match (self.ecn.in_use, &self.cold.accurate) {
            (EcnUse::Off, _) => false,
            // RFC 3168 §6.1.1 (MUST NOT).
            (EcnUse::Classic, _) => !self.ecn.plain,
            // RFC 9768 §3.1.5 (MUST NOT): a listener does not know what the client goes by; the
            // client does. §3.2.2.1, note 1.
            (EcnUse::Accurate, Some(accurate)) => {
                !(accurate.mangled || accurate.deaf || (self.ecn.plain && self.ecn.asked != 0))
            }
            (EcnUse::Accurate, None) => false,
        };
    }

    /// A peer's SYN came again; without the flags, its first one was lost with them, or our answer
    /// was (RFC 3168 §6.1.1.1). `false` if it asks for another form than it did: who says both cannot be
    /// told which is in use, and is reset (RFC 9768 §3.1.5, MUST).
    #[must_use]
    pub(super) fn agree_on_ecn_again(&mut self, syn: &Segment) -> bool {
        let ace = accurate::ace_of(syn.flags);
        if !is_same_form(self.ecn.asked, syn) {
            return false;
        }
        self.ecn.plain |= ace == ASKS_NOTHING;
        if let Some(accurate) = &mut self.cold.accurate {
            // RFC 9768 §3.1.5 (MUST): the latest is told of, and the form stays.
            accurate.syn = syn.ecn;
        } else if ace == ASKS_NOTHING {
            self.ecn.in_use = EcnUse::Off;
        }
        self.settle_ect();
        true
    }

    /// A SYN-ACK came again: our acknowledgement of it was lost. Source: RFC 9768 §3.2.2.1 (MUST).
    pub(super) fn note_syn_ack_again(&mut self, seg: &Segment) {
        let is_syn_ack = seg.flags.has(Flags::SYN) && seg.flags.has(Flags::ACK);
        if !is_syn_ack || seg.seq != self.irs || self.mode.passive {
            return;
        }
        if let Some(accurate) = &mut self.cold.accurate {
            accurate.syn = seg.ecn;
            if seg.ecn == EcnField::Ce {
                accurate.count_syn_ack();
            }
            // Our acknowledgement was lost, and the option on it may be why (§3.2.3.2.2).
            accurate.give_up_options();
            self.ecn.owes_code = self.owed.ack;
        }
    }

    /// The flags of our SYN or SYN-ACK.
    pub(super) fn ecn_flags_of_syn(&mut self, config: &TcpConfig, again: bool) -> Flags {
        let reply = self.state == State::SynReceived;
        // RFC 3168 §6.1.1.1: what did not arrive with them may arrive without them. RFC 9768 §3.1.4.1,
        // §3.2.3.2.2 (SHOULD): tried twice.
        let gives_up = config.ecn_fallback
            && match self.ecn.in_use {
                EcnUse::Off => true,
                EcnUse::Classic => again && !reply,
                EcnUse::Accurate => gives_up_accurate(config, self.retries),
            };
        let flags = match (self.ecn.in_use, reply) {
            _ if gives_up => Flags::NONE,
            (EcnUse::Off, _) => Flags::NONE,
            (EcnUse::Classic, false) => ASKING,
            (EcnUse::Classic, true) => Flags::ECE,
            (EcnUse::Accurate, false) => ASKING_ACCURATE,
            (EcnUse::Accurate, true) => {
                let came = self.cold.accurate.as_ref().map_or(EcnField::NotEct, |a| a.syn);
                accurate::flags_of(accurate::handshake_code(came))
            }
        };
        if flags == Flags::NONE {
            self.ecn.plain = true;
            self.settle_ect();
        }
        if let Some(accurate) = self.cold.accurate.as_mut().filter(|_| again) {
            // The option on the first may be why it was dropped.
            accurate.give_up_options();
        }
        flags
    }

    /// The option of a SYN-ACK that is sent for the first time. Source: RFC 9768 §3.2.3.2.1 (SHOULD),
    /// §3.2.3.2.2 (SHOULD).
    pub(super) fn marked_bytes_of_syn(
        &self,
        config: &TcpConfig,
        again: bool,
    ) -> Option<MarkedBytes> {
        let tries =
            !again && self.state == State::SynReceived && config.ecn_option != EcnOption::Off;
        self.cold.accurate.as_ref().filter(|_| tries).map(|accurate| accurate.whole_option())
    }

    /// What the IP header of a segment says.
    ///
    /// RFC 3168 §6.1.4 to §6.1.6 (MUST NOT): only data that leave for the first time are marked,
    /// and no probes of a window; SYNs and acknowledgements are not.
    pub(super) fn ecn_field_of(&self, plan: &SendPlan) -> EcnField {
        match plan {
            SendPlan::Data(data)
                if self.ecn.sets_ect
                    && data.len > 0
                    && data.kind != DataKind::WindowProbe
                    && data.seq.ge(self.snd_max) =>
            {
                EcnField::Ect0
            }
            _ => EcnField::NotEct,
        }
    }

    /// Adds what the flags of a segment say of marks: ECE, as long as the peer does not know (RFC 3168
    /// §6.1.3), or the count (RFC 9768 §3.2.2), unless a code stands there.
    pub(super) fn with_ecn_flags(&mut self, flags: Flags) -> Flags {
        match self.ecn.in_use {
            EcnUse::Classic if self.ecn.echoes => flags | Flags::ECE,
            EcnUse::Accurate if !flags.has(ASKING_ACCURATE) => {
                let told = self.cold.accurate.as_mut().map(|accurate| accurate.tell());
                flags | told.unwrap_or(Flags::NONE)
            }
            _ => flags,
        }
    }

    /// What an acknowledgement alone says in place of the count: what the SYN-ACK came with.
    /// Source: RFC 9768 §3.2.2.1 (MUST).
    pub(super) fn take_code(&mut self) -> Flags {
        let owed = std::mem::take(&mut self.ecn.owes_code) && self.sack_block_count() == 0;
        match self.cold.accurate.as_ref().filter(|_| owed) {
            Some(accurate) => accurate::flags_of(accurate::handshake_code(accurate.syn)),
            None => Flags::NONE,
        }
    }

    /// The option of the next segment, where it has room beside timestamps and SACK blocks, which go
    /// first. Source: RFC 9768 §3.2.3.3 (MUST).
    pub(super) fn marked_bytes(&self) -> Option<MarkedBytes> {
        if self.ecn.in_use != EcnUse::Accurate || self.mode.signed {
            return None;
        }
        let option = self.cold.accurate.as_ref()?.option()?;
        let timestamps = if self.mode.timestamps { TIMESTAMP_OPTION_BYTES } else { 0 };
        let taken = timestamps + sack::option_bytes(self.sack_block_count());
        (taken as usize + option.option_bytes() <= MAX_OPTIONS_BYTES).then_some(option)
    }

    /// The same, taken as told of.
    pub(super) fn take_marked_bytes(&mut self) -> Option<MarkedBytes> {
        let option = self.marked_bytes()?;
        if let Some(accurate) = &mut self.cold.accurate {
            accurate.note_option_sent();
        }
        Some(option)
    }

    /// Would a super-segment's count be changed by who cuts it as RFC 3168 wants it, CWR in its first
    /// segment only? Source: RFC 9768 §3.3.4.
    pub(super) fn must_not_be_cut(&self) -> bool {
        self.ecn.in_use == EcnUse::Accurate
            && self.cold.accurate.as_ref().is_some_and(|accurate| accurate.tells_with_cwr())
    }

    /// A time-out, before anything of ours was acknowledged: the option may be what was dropped.
    /// Source: RFC 9768 §3.2.3.2.2 (SHOULD).
    pub(super) fn suspect_options(&mut self) {
        if let Some(accurate) = self.cold.accurate.as_mut().filter(|_| self.snd_una == self.iss + 1)
        {
            accurate.give_up_options();
        }
    }

    /// CWR, in the first new data after a reduction. Source: RFC 3168 §6.1.2.
    pub(super) fn take_cwr(&mut self) -> Flags {
        if std::mem::take(&mut self.ecn.owes_cwr) { Flags::CWR } else { Flags::NONE }
    }

    /// A segment that is acceptable, with data or not: its mark is counted.
    /// Source: RFC 9768 §3.2 (MUST).
    pub(super) fn count_mark(&mut self, ctx: &mut Ctx, seg: &Segment, packet: &Packet) {
        if self.ecn.in_use != EcnUse::Accurate {
            return;
        }
        let Some(accurate) = &mut self.cold.accurate else { return };
        let size = packet.gso.map_or(seg.data_len, |gso| u32::from(gso.segment_bytes.get()));
        let packets = seg.data_len.div_ceil(size.max(1)).max(1);
        self.ecn.seen |= seg.ecn != EcnField::NotEct;
        ctx.counters.congestion_marks_in += u64::from(seg.ecn == EcnField::Ce);
        let owes = self.ack.unacked_bytes > 0;
        self.owed.ack |= accurate.count(seg.ecn, packets, seg.data_len, owes);
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

    /// The acknowledgement of our SYN-ACK. Source: RFC 9768 §3.2.2.1, table 4 (MUST).
    pub(super) fn take_first_ack(&mut self, config: &TcpConfig, seg: &Segment) {
        let Some(accurate) = &mut self.cold.accurate else { return };
        accurate.take_first_option(seg.options.marked_bytes.as_ref());
        if self.ecn.ignores_counts || !seg.is_empty() || !seg.options.sack.is_empty() {
            return;
        }
        self.ecn.ignores_counts = true;
        let ace = accurate::ace_of(seg.flags);
        let came = accurate::of_handshake_code(ace);
        // §3.2.2.3: our SYN-ACK was not ECT.
        let mangled = came.is_some_and(|came| came != EcnField::NotEct);
        accurate.mangled |= mangled && config.ecn_fallback;
        accurate.deaf = ace == 0;
        if came == Some(EcnField::Ce) {
            accurate.take_syn_ack_mark();
            self.ecn.syn_marked = true;
        }
        self.settle_ect();
    }

    /// What a peer's SYN-ACK has is no count, however it is trimmed.
    pub(super) fn ignore_counts(&mut self) {
        self.ecn.ignores_counts = true;
    }

    /// The connection is established: a mark on our SYN or SYN-ACK is answered like any other.
    /// Source: RFC 9768 §3.2.2.2.
    pub(super) fn answer_mark_on_syn(&mut self) {
        if std::mem::take(&mut self.ecn.syn_marked) {
            let (window, mss) = (self.tx.cc.cwnd_bytes(), u32::from(self.mss));
            self.tx.cc.on_ecn(window, mss);
        }
    }

    /// An acknowledgement, before anything else is done about it: one that tells of marks reduces the
    /// window as a loss does, once for all that was under way then. Source: RFC 3168 §6.1.2.
    pub(super) fn take_echo(&mut self, ctx: &mut Ctx, seg: &Segment) {
        if self.tx.answered.is_some_and(|until| seg.ack.gt(until)) {
            self.tx.answered = None;
        }
        let echo = match self.ecn.in_use {
            EcnUse::Off => false,
            EcnUse::Classic => seg.flags.has(Flags::ECE),
            EcnUse::Accurate => self.take_counts(seg),
        };
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

    /// The counts of an acknowledgement; whether something of ours was marked to which the window is to
    /// answer. Source: RFC 9768 §3.2.2.2.
    fn take_counts(&mut self, seg: &Segment) -> bool {
        let ignores = std::mem::take(&mut self.ecn.ignores_counts);
        let Some(accurate) = self.cold.accurate.as_mut().filter(|_| !ignores) else { return false };
        let value = seg.options.timestamps.filter(|_| self.mode.timestamps).map(|t| t.value);
        let advances = seg.ack.gt(self.snd_una);
        if accurate.is_superseded(advances, value) {
            return false;
        }
        let told = accurate.take(&Counts {
            ace: accurate::ace_of(seg.flags),
            option: seg.options.marked_bytes.as_ref(),
            acked: if advances { seg.ack - self.snd_una } else { 0 },
            mss: u32::from(self.mss),
        });
        // §3.2.3.2.5 (MUST): a network has changed what the peer said.
        accurate.mangled |= told.contradicts;
        let hears = !accurate.deaf;
        if told.contradicts {
            self.settle_ect();
        }
        told.marked > 0 && hears
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
        if self.ecn.in_use != EcnUse::Off {
            self.tx.answered = Some(self.snd_max);
            // RFC 9768 §3.1.5 (MUST NOT): there, this bit is one of the count's.
            self.ecn.owes_cwr = self.ecn.in_use == EcnUse::Classic;
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

    /// What was counted in AccECN mode.
    pub(super) fn accurate_info(&self) -> Option<AccurateInfo> {
        self.cold.accurate.as_ref().map(|accurate| accurate.info())
    }

    /// Has the network carried an ECT or CE to us (`TCPI_OPT_ECN_SEEN`)?
    pub(super) fn ecn_seen(&self) -> bool {
        self.ecn.seen
    }
}

/// As on Linux: acknowledgements at once after a mark.
const QUICK_ACKS_OF_MARK: u8 = 2;
