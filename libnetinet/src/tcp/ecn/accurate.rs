//! Accurate ECN: counts of marks, what they say on the wire, and what the peer's say. Source: RFC 9768.

use super::option::{ByteOrder, MASK_24, MarkedBytes};
use super::{EcnField, EcnOption};
use crate::tcp::segment::Flags;

/// What a connection in AccECN mode has counted and been told.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Accurate {
    /// r.cep: packets that came with CE.
    came_ce: u32,
    /// r.e1b, r.e0b, r.ceb: bytes of data that came with ECT(1), ECT(0), CE.
    came_bytes: [u32; 3],
    /// Which of these have changed ever.
    changed: [bool; 3],
    /// Acknowledgements that are to have an option: one for what has changed, two at the beginning.
    due: u8,
    /// When options are sent.
    options_out: EcnOption,
    /// CE since the last acknowledgement.
    untold_ce: u8,
    /// Of the last packet.
    last: EcnField,
    /// What the peer's SYN or SYN-ACK came with.
    pub(super) syn: EcnField,
    /// r.cep has counted a SYN-ACK.
    syn_counted: bool,
    /// s.cep: packets of ours that came there with CE.
    told_ce: u32,
    /// s.e1b, s.e0b, s.ceb.
    told_bytes: [u32; 3],
    /// TSval of the last segment whose counts were taken.
    told_at: Option<u32>,
    /// Packets that an acknowledgement answers, on average, in 64ths.
    packets_per_ack: u32,
    /// What comes in options.
    pub(super) options_in: OptionsIn,
    /// ECT is not set any more: the network makes something else of it.
    pub(super) mangled: bool,
    /// The peer does not count, whatever its flags say.
    pub(super) deaf: bool,
}

/// What is known of the peer's options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OptionsIn {
    /// None has come where one should.
    Absent,
    /// They come.
    Seen,
    /// The first had a zero that none of ours would have.
    Zeroed,
}

/// What the counts on one acknowledgement mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    /// Packets of ours newly marked.
    pub(super) marked: u32,
    /// Marked bytes have grown and marked packets have not, which cannot be.
    pub(super) contradicts: bool,
}

/// An acknowledgement with counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts<'a> {
    pub(super) ace: u8,
    pub(super) option: Option<&'a MarkedBytes>,
    /// Bytes that it newly acknowledges.
    pub(super) acked: u32,
    pub(super) mss: u32,
}

impl Accurate {
    /// Both ends begin at the values of RFC 9768 §3.2.1; the peer's SYN or SYN-ACK came with `syn`.
    pub(super) fn new(syn: EcnField, options_out: EcnOption) -> Self {
        Accurate {
            came_ce: FIRST_CE,
            came_bytes: FIRST_BYTES,
            changed: [false; 3],
            due: 0,
            options_out,
            untold_ce: 0,
            last: syn,
            syn,
            syn_counted: false,
            told_ce: FIRST_CE,
            told_bytes: FIRST_BYTES,
            told_at: None,
            packets_per_ack: 0,
            options_in: OptionsIn::Absent,
            mangled: false,
            deaf: false,
        }
    }

    /// A SYN-ACK came with CE: counted once (RFC 9768 §3.2.2.2).
    pub(super) fn count_syn_ack(&mut self) {
        if !std::mem::replace(&mut self.syn_counted, true) {
            self.came_ce += 1;
        }
    }

    /// `packets` with `bytes` of data came with this mark; whether that is to be acknowledged at
    /// once. Source: RFC 9768 §3.2, §3.2.2.5.1.
    pub(super) fn count(&mut self, field: EcnField, packets: u32, bytes: u32, owes: bool) -> bool {
        let before = std::mem::replace(&mut self.last, field);
        if let Some(at) = (field as usize).checked_sub(1).filter(|_| bytes > 0) {
            self.came_bytes[at] = self.came_bytes[at].wrapping_add(bytes);
            (self.changed[at], self.due) = (true, self.due.max(1));
        }
        if field != EcnField::Ce {
            return false;
        }
        self.came_ce = self.came_ce.wrapping_add(packets);
        self.untold_ce = self.untold_ce.saturating_add(packets.min(255) as u8);
        // (Acknowledgements of acknowledgements wait for one more.)
        let most = if owes || bytes > 0 { 2 } else { 3 };
        (bytes > 0 && before != EcnField::Ce) || self.untold_ce >= most
    }

    /// The ACE field of a segment, which tells all. Source: RFC 9768 §3.2.2.
    pub(super) fn tell(&mut self) -> Flags {
        self.untold_ce = 0;
        flags_of((self.came_ce & 7) as u8)
    }

    /// Would the ACE field have the bit that segmentation clears for RFC 3168?
    pub(super) fn tells_with_cwr(&self) -> bool {
        self.came_ce & 2 != 0
    }

    /// The next two acknowledgements have an option, to find out whether options come through.
    /// Source: RFC 9768 §3.2.3.2.1.
    pub(super) fn try_options(&mut self) {
        self.due = 2;
    }

    /// No more options: they seem to be what a network drops. Source: RFC 9768 §3.2.3.2.2.
    pub(super) fn give_up_options(&mut self) {
        self.options_out = EcnOption::Off;
    }

    /// The option that the next acknowledgement should have.
    pub(super) fn option(&self) -> Option<MarkedBytes> {
        let due = match self.options_out {
            EcnOption::Off => false,
            EcnOption::Sparing => self.due > 1 || (self.due > 0 && self.last == EcnField::Ce),
            EcnOption::Full => self.due > 0,
        };
        due.then(|| self.whole_option())
    }

    /// All that has ever changed. Source: RFC 9768 §3.2.3.3.
    pub(super) fn whole_option(&self) -> MarkedBytes {
        let [ect1, ect0, ce] = self.came_bytes;
        let [ect1_changed, ect0_changed, ce_changed] = self.changed;
        let (order, fields) = match ect1_changed && !ect0_changed {
            true => (ByteOrder::Ect1First, [ect1, ce, ect0]),
            false => (ByteOrder::Ect0First, [ect0, ce, ect1]),
        };
        let count = match (ce_changed, ect0_changed && ect1_changed) {
            (_, true) => 3,
            (true, false) => 2,
            (false, false) => 1,
        };
        MarkedBytes::new(order, &fields[..count])
    }

    /// An option has left.
    pub(super) fn note_option_sent(&mut self) {
        self.due = self.due.saturating_sub(1);
    }

    /// The first option of the peer's. Source: RFC 9768 §3.2.3.2.3, §3.2.3.2.4.
    pub(super) fn take_first_option(&mut self, option: Option<&MarkedBytes>) {
        self.options_in = match option.map(MarkedBytes::fields) {
            None => OptionsIn::Absent,
            Some([0, ..] | [_, _, 0]) => OptionsIn::Zeroed,
            Some(_) => OptionsIn::Seen,
        };
    }

    /// Has the acknowledgement been overtaken by one whose counts were taken?
    pub(super) fn is_superseded(&mut self, advances: bool, value: Option<u32>) -> bool {
        let after = |value: u32| self.told_at.is_none_or(|at| (value.wrapping_sub(at) as i32) > 0);
        let newer = value.is_some_and(after);
        if newer || advances {
            self.told_at = value;
        }
        !(advances || newer)
    }

    /// Takes the counts of an acknowledgement. Source: RFC 9768 §3.2.2.2, §3.2.3.1, §3.2.2.5.2.
    pub(super) fn take(&mut self, counts: &Counts<'_>) -> Told {
        let packets = counts.acked.div_ceil(counts.mss.max(1));
        if packets > 0 {
            self.packets_per_ack = match self.packets_per_ack {
                0 => packets << 6,
                average => average - (average >> 3) + (packets << 3),
            };
        }
        let marked_bytes = self.take_option(counts.option);
        let least = u32::from(counts.ace).wrapping_sub(self.told_ce) & 7;
        // What it would be had the counter gone round as often as it can have.
        let most = if packets > 7 { packets - ((packets - least) & 7) } else { least };
        let marked = match marked_bytes {
            // (Bytes that came twice count twice.)
            Some(bytes) => bytes.div_ceil(counts.mss.max(1)).clamp(least, most.max(least)),
            // A peer that tells of many packets at once as a rule would tell of marks sooner.
            None if self.packets_per_ack > MANY_PER_ACK << 6 => least,
            None => most.max(least),
        };
        self.told_ce = self.told_ce.wrapping_add(marked);
        let contradicts =
            marked == 0 && packets <= 7 && marked_bytes.is_some_and(|bytes| bytes > 0);
        Told { marked, contradicts }
    }

    /// Takes an option's counters; bytes newly marked CE, `None` if no option says.
    fn take_option(&mut self, option: Option<&MarkedBytes>) -> Option<u32> {
        if option.is_some() && self.options_in == OptionsIn::Absent {
            self.options_in = OptionsIn::Seen;
        }
        let option = option.filter(|_| self.options_in == OptionsIn::Seen)?;
        let places = match option.order() {
            ByteOrder::Ect0First => [ECT0, CE, ECT1],
            ByteOrder::Ect1First => [ECT1, CE, ECT0],
        };
        let before = self.told_bytes[CE];
        for (at, field) in places.into_iter().zip(option.fields()) {
            let more = field.wrapping_sub(self.told_bytes[at]) & MASK_24;
            self.told_bytes[at] = self.told_bytes[at].wrapping_add(more);
        }
        Some(self.told_bytes[CE].wrapping_sub(before))
    }

    /// The peer's ACK of our SYN-ACK told of CE: s.cep goes up (RFC 9768 §3.2.2.2).
    pub(super) fn take_syn_ack_mark(&mut self) {
        self.told_ce += 1;
    }

    /// What has been counted, for `TCP_INFO`.
    pub(super) fn info(&self) -> AccurateInfo {
        let of = |counters: [u32; 3], at: usize| counters[at].wrapping_sub(FIRST_BYTES[at]);
        AccurateInfo {
            delivered_ce: self.told_ce.wrapping_sub(FIRST_CE),
            delivered_ect1_bytes: of(self.told_bytes, ECT1),
            delivered_ect0_bytes: of(self.told_bytes, ECT0),
            delivered_ce_bytes: of(self.told_bytes, CE),
            received_ce: self.came_ce.wrapping_sub(FIRST_CE),
            received_ect1_bytes: of(self.came_bytes, ECT1),
            received_ect0_bytes: of(self.came_bytes, ECT0),
            received_ce_bytes: of(self.came_bytes, CE),
            options_seen: self.options_in == OptionsIn::Seen,
            sends_ect: !self.mangled,
        }
    }
}

/// What a connection in AccECN mode has counted (`tcpi_delivered_ce` and those after it). All wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct AccurateInfo {
    /// Packets of ours that came there marked, as the peer says.
    pub delivered_ce: u32,
    /// Bytes of ours that came there as ECT(1), as its options say.
    pub delivered_ect1_bytes: u32,
    /// As ECT(0).
    pub delivered_ect0_bytes: u32,
    /// Marked.
    pub delivered_ce_bytes: u32,
    /// Packets that came here marked.
    pub received_ce: u32,
    /// Bytes that came here as ECT(1).
    pub received_ect1_bytes: u32,
    /// As ECT(0).
    pub received_ect0_bytes: u32,
    /// Marked.
    pub received_ce_bytes: u32,
    /// The peer's options come through.
    pub options_seen: bool,
    /// We set ECT: no network was found out that makes something else of it.
    pub sends_ect: bool,
}

/// How a handshake says what its other side's packet came with. Source: RFC 9768 §3.1.1, table 2, and
/// §3.2.2.1, table 3.
pub(super) fn handshake_code(field: EcnField) -> u8 {
    match field {
        EcnField::NotEct => 0b010,
        EcnField::Ect1 => 0b011,
        EcnField::Ect0 => 0b100,
        EcnField::Ce => 0b110,
    }
}

/// What such a code says; `None`: one that says nothing.
pub(super) fn of_handshake_code(code: u8) -> Option<EcnField> {
    match code {
        0b010 => Some(EcnField::NotEct),
        0b011 => Some(EcnField::Ect1),
        0b100 => Some(EcnField::Ect0),
        0b110 => Some(EcnField::Ce),
        _ => None,
    }
}

/// AE, CWR and ECE as a number of three bits. Source: RFC 9768 §3.2.2.
pub(super) fn ace_of(flags: Flags) -> u8 {
    (flags.bits() >> 6) as u8 & 7
}

/// Such a number as flags.
pub(super) fn flags_of(ace: u8) -> Flags {
    Flags::from_bits(u16::from(ace & 7) << 6)
}

/// RFC 9768 §3.2.1.
const FIRST_CE: u32 = 5;
const FIRST_BYTES: [u32; 3] = [1, 1, 0];
const ECT1: usize = EcnField::Ect1 as usize - 1;
const ECT0: usize = EcnField::Ect0 as usize - 1;
const CE: usize = EcnField::Ce as usize - 1;
/// As Linux's threshold for a peer that acknowledges many packets at once.
const MANY_PER_ACK: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn counts(ace: u8, packets: u32) -> Counts<'static> {
        Counts { ace, option: None, acked: packets * MSS, mss: MSS }
    }

    #[test]
    fn the_field_counts_modulo_eight_from_five_on() {
        let mut sender = Accurate::new(EcnField::NotEct, EcnOption::Full);
        for (ace, packets, marked) in [(5, 2, 0), (6, 2, 1), (0, 2, 2), (7, 7, 7), (7, 1, 0)] {
            assert_eq!(sender.take(&counts(ace, packets)).marked, marked, "{ace}");
        }
        assert_eq!(sender.info().delivered_ce, 10);
        let mut receiver = Accurate::new(EcnField::NotEct, EcnOption::Full);
        for want in [5u8, 6, 7, 0, 1] {
            assert_eq!(ace_of(receiver.tell()), want);
            receiver.count(EcnField::Ce, 1, MSS, false);
        }
    }

    #[test]
    fn an_acknowledgement_of_many_packets_may_hide_marks_and_an_option_tells() {
        // RFC 9768 appendix A.2: 20 packets, one mark in the field, so 1, 9 or 17.
        let mut blind = Accurate::new(EcnField::NotEct, EcnOption::Full);
        blind.take(&counts(5, 1));
        assert_eq!(blind.take(&counts(6, 20)).marked, 17, "the worst that can be");
        for (bytes, marked) in [(0, 1), (1_000, 1), (9_000, 9), (17_000, 17), (30_000, 17)] {
            let mut sender = Accurate::new(EcnField::NotEct, EcnOption::Full);
            sender.take_first_option(Some(&MarkedBytes::new(ByteOrder::Ect0First, &[1, 0, 1])));
            let option = MarkedBytes::new(ByteOrder::Ect0First, &[20_001, bytes]);
            let told = sender.take(&Counts { option: Some(&option), ..counts(6, 20) });
            assert_eq!(told.marked, marked, "{bytes}");
        }
        let mut stretched = Accurate::new(EcnField::NotEct, EcnOption::Full);
        stretched.take(&counts(5, 40));
        assert_eq!(stretched.take(&counts(5, 40)).marked, 0, "it tells of many at once as a rule");
        assert_eq!(stretched.take(&counts(6, 40)).marked, 1);
    }

    #[test]
    fn marked_bytes_without_marked_packets_are_a_contradiction() {
        let mut sender = Accurate::new(EcnField::NotEct, EcnOption::Full);
        sender.take_first_option(Some(&MarkedBytes::new(ByteOrder::Ect0First, &[1])));
        let option = MarkedBytes::new(ByteOrder::Ect1First, &[1, 1_000]);
        let told = sender.take(&Counts { option: Some(&option), ..counts(5, 2) });
        assert_eq!(told, Told { marked: 0, contradicts: true });
    }

    #[test]
    fn byte_counters_go_round_at_24_bits() {
        let mut sender = Accurate::new(EcnField::NotEct, EcnOption::Full);
        for ect0 in [0xff_fff0, 0x10] {
            let option = MarkedBytes::new(ByteOrder::Ect0First, &[ect0]);
            sender.take(&Counts { option: Some(&option), ..counts(5, 1) });
        }
        assert_eq!(sender.info().delivered_ect0_bytes, 0x100_0010 - 1);
    }

    #[test]
    fn an_option_has_what_has_changed_ever_in_the_order_that_is_shorter() {
        let mut receiver = Accurate::new(EcnField::NotEct, EcnOption::Full);
        assert_eq!(receiver.option(), None, "nothing has changed");
        assert_eq!(receiver.whole_option().fields(), [1]);
        receiver.count(EcnField::Ect1, 1, 10, false);
        let option = receiver.option().expect("it is due");
        assert_eq!((option.order(), option.fields()), (ByteOrder::Ect1First, &[11][..]));
        receiver.note_option_sent();
        assert_eq!(receiver.option(), None, "it was told of");
        receiver.count(EcnField::Ce, 1, 20, false);
        assert_eq!(receiver.option().expect("it is due").fields(), [11, 20]);
        receiver.count(EcnField::Ect0, 1, 30, false);
        let option = receiver.option().expect("it is due");
        assert_eq!((option.order(), option.fields()), (ByteOrder::Ect0First, &[31, 20, 11][..]));
        receiver.options_out = EcnOption::Sparing;
        assert_eq!(receiver.option(), None, "nothing was marked");
        receiver.try_options();
        assert!(receiver.option().is_some());
        receiver.give_up_options();
        assert_eq!(receiver.option(), None);
    }

    #[test]
    fn marks_are_acknowledged_at_once_when_they_begin_and_every_second() {
        let mut receiver = Accurate::new(EcnField::NotEct, EcnOption::Full);
        assert!(!receiver.count(EcnField::Ect0, 1, MSS, false));
        assert!(receiver.count(EcnField::Ce, 1, MSS, false), "they begin");
        receiver.tell();
        assert!(!receiver.count(EcnField::Ce, 1, MSS, true));
        assert!(receiver.count(EcnField::Ce, 1, MSS, true));
        receiver.tell();
        // Marked acknowledgements: three, so that two do not answer each other for ever.
        assert!(!receiver.count(EcnField::Ce, 1, 0, false));
        assert!(!receiver.count(EcnField::Ce, 1, 0, false));
        assert!(receiver.count(EcnField::Ce, 1, 0, false));
    }

    #[test]
    fn a_zero_in_the_first_option_is_no_counter_of_ours() {
        let of = |fields: &[u32]| {
            let mut sender = Accurate::new(EcnField::NotEct, EcnOption::Full);
            sender.take_first_option(Some(&MarkedBytes::new(ByteOrder::Ect0First, fields)));
            sender.options_in
        };
        assert_eq!([of(&[]), of(&[1]), of(&[1, 0, 1])], [OptionsIn::Seen; 3]);
        assert_eq!([of(&[0]), of(&[1, 0, 0])], [OptionsIn::Zeroed; 2]);
    }
}
