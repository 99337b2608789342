//! Tail loss probes: the last of a flight is asked for before the time-out. Source: RFC 8985 §7.

use std::time::Duration;

use crate::tcp::sack::SackBlock;
use crate::tcp::seq::SeqNumber;

/// The probe that is under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TailProbe {
    /// TLP.end_seq and TLP.is_retrans.
    sent: Option<Probe>,
    /// One was sent, and no round trip was measured since.
    unmeasured: bool,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    end: SeqNumber,
    is_retrans: bool,
}

/// What an acknowledgement says of the probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProbeAnswer {
    /// Nothing yet, or there is no probe.
    None,
    /// Nothing was lost.
    AllThere,
    /// The probe has repaired a loss, to which the congestion window must answer.
    Repaired,
}

impl TailProbe {
    /// A probe left that ends before `end`.
    pub(crate) fn begin(&mut self, end: SeqNumber, is_retrans: bool) {
        *self = TailProbe { sent: Some(Probe { end, is_retrans }), unmeasured: true };
    }

    /// It is not waited for any more.
    pub(crate) fn forget(&mut self) {
        self.sent = None;
    }

    /// RFC 8985 §7.3: none is under way, and a round trip was measured since the last.
    pub(crate) fn may_begin(&self) -> bool {
        self.sent.is_none() && !self.unmeasured
    }

    /// Something that was sent once has arrived: its round trip is known.
    pub(crate) fn on_measured(&mut self) {
        self.unmeasured = false;
    }

    /// Is `block`, told of as a duplicate, the probe?
    pub(crate) fn is_duplicate(&self, block: &SackBlock) -> bool {
        self.sent.is_some_and(|probe| probe.is_retrans && probe.end == block.right)
    }

    /// Takes in an acknowledgement of all before `ack`; `bare`: it moves nothing and tells of
    /// nothing. Source: RFC 8985 §7.4.2.
    pub(crate) fn on_ack(
        &mut self,
        ack: SeqNumber,
        duplicate: Option<&SackBlock>,
        bare: bool,
    ) -> ProbeAnswer {
        let Some(probe) = self.sent.filter(|probe| ack.ge(probe.end)) else {
            return ProbeAnswer::None;
        };
        let there_twice = duplicate.is_some_and(|block| self.is_duplicate(block));
        let answer = if !probe.is_retrans || there_twice || (ack == probe.end && bare) {
            ProbeAnswer::AllThere
        } else if ack.gt(probe.end) {
            ProbeAnswer::Repaired
        } else {
            return ProbeAnswer::None;
        };
        self.sent = None;
        answer
    }
}

/// TLP_calc_PTO. Source: RFC 8985 §7.2.
pub(crate) fn probe_after(srtt: Option<Duration>, one_segment: bool) -> Duration {
    let Some(srtt) = srtt else { return Duration::from_secs(1) };
    // The margin for the timer's grain is Linux's.
    2 * srtt + if one_segment { MAX_ACK_DELAY } else { TIMER_MARGIN }
}

/// TLP.max_ack_delay: what a receiver may wait before it answers one segment.
const MAX_ACK_DELAY: Duration = Duration::from_millis(200);
const TIMER_MARGIN: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u32) -> SeqNumber {
        SeqNumber::new(n)
    }

    #[test]
    fn the_answers_of_the_rfc() {
        let begun = |is_retrans| {
            let mut probe = TailProbe::default();
            probe.begin(seq(100), is_retrans);
            probe
        };
        let again = SackBlock { left: seq(50), right: seq(100) };
        assert_eq!(begun(true).on_ack(seq(99), None, false), ProbeAnswer::None);
        assert_eq!(begun(false).on_ack(seq(100), None, false), ProbeAnswer::AllThere);
        assert_eq!(begun(true).on_ack(seq(100), Some(&again), false), ProbeAnswer::AllThere);
        assert_eq!(begun(true).on_ack(seq(100), None, true), ProbeAnswer::AllThere);
        let mut open = begun(true);
        assert_eq!(open.on_ack(seq(100), None, false), ProbeAnswer::None, "a duplicate may follow");
        assert_eq!(open.on_ack(seq(101), None, false), ProbeAnswer::Repaired);
        assert!(!open.may_begin(), "its own round trip tells nothing");
        open.on_measured();
        assert!(open.may_begin());
    }

    #[test]
    fn a_probe_waits_for_two_round_trips_and_for_a_delayed_acknowledgement_of_one_segment() {
        let ms = Duration::from_millis;
        assert_eq!(probe_after(Some(ms(50)), false), ms(102));
        assert_eq!(probe_after(Some(ms(50)), true), ms(300));
        assert_eq!(probe_after(None, true), ms(1_000));
    }
}
