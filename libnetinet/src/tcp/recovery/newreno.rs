//! Fast retransmit and fast recovery. Source: RFC 5681 §3.2, RFC 6582 §3.2.

use crate::tcp::seq::SeqNumber;

/// Counts duplicate acknowledgements and follows one recovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewReno {
    /// Duplicates do not start a recovery before the acknowledgement has reached this.
    guard: SeqNumber,
    /// Where the recovery ends: what was sent when it began.
    recover: SeqNumber,
    /// Segments that have left the network since, in bytes.
    inflation: u32,
    dup_acks: u8,
    /// So many of them tell of a loss.
    threshold: u8,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    Recovery { partial_seen: bool },
}

/// What the timestamp of a duplicate acknowledgement says of the segment that caused it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Echo {
    /// The echo has not moved since the last new acknowledgement: what came lies beyond a hole.
    Unmoved,
    /// It has moved, so an old segment came again, or there are no timestamps.
    Unknown,
}

/// What a duplicate acknowledgement calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DupAck {
    /// New data may be sent, [`NewReno::extra_bytes`] says how much.
    Continue,
    /// The first unacknowledged segment is lost: reduce the window, resend it.
    EnterRecovery,
}

/// What an acknowledgement of new data calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NewAck {
    /// No recovery is on: the window may grow.
    Open,
    /// Another hole: resend the first unacknowledged segment; restart the timer if `rearm`.
    Partial {
        /// RFC 6582 §3.2 step 3: the first partial acknowledgement only.
        rearm: bool,
    },
    /// All that was sent before the recovery has arrived.
    Full,
}

impl NewReno {
    /// Nothing lost yet; `first` is the first sequence number of data.
    pub(crate) fn new(first: SeqNumber, threshold: u8) -> Self {
        let phase = Phase::Open;
        NewReno { guard: first, recover: first, inflation: 0, dup_acks: 0, threshold, phase }
    }

    /// How many duplicates tell of a loss: DupThresh.
    pub(crate) fn threshold(&self) -> u8 {
        self.threshold
    }

    /// A duplicate acknowledgement of `ack` came while everything before `snd_max` was sent.
    pub(crate) fn on_dup_ack(
        &mut self,
        ack: SeqNumber,
        snd_max: SeqNumber,
        mss: u32,
        echo: Echo,
    ) -> DupAck {
        if self.in_recovery() {
            // RFC 5681 §3.2 step 4: one more segment has left the network.
            self.inflation = self.inflation.saturating_add(mss);
            return DupAck::Continue;
        }
        self.dup_acks = self.dup_acks.saturating_add(1);
        // RFC 6582 §3.2 step 2: three duplicates, if nothing else was set, unless they answer what a time-out resent; the
        // timestamps can tell (§4.2).
        let resent = ack.lt(self.guard) && echo == Echo::Unknown;
        if self.dup_acks < self.threshold || resent {
            return DupAck::Continue;
        }
        self.phase = Phase::Recovery { partial_seen: false };
        self.recover = snd_max;
        // RFC 5681 §3.2 step 3: the segments that made the duplicates.
        self.inflation = u32::from(self.threshold) * mss;
        DupAck::EnterRecovery
    }

    /// `acked` bytes of new data were acknowledged, up to `ack`.
    pub(crate) fn on_new_ack(&mut self, ack: SeqNumber, acked: u32, mss: u32) -> NewAck {
        self.dup_acks = 0;
        let Phase::Recovery { partial_seen } = self.phase else { return NewAck::Open };
        if ack.ge(self.recover) {
            self.phase = Phase::Open;
            self.inflation = 0;
            self.guard = self.recover;
            return NewAck::Full;
        }
        // RFC 6582 §3.2 step 3, partial acknowledgement: deflate by what left, and if that was a
        // segment or more add one back.
        self.inflation = self.inflation.saturating_sub(acked);
        if acked >= mss {
            self.inflation = self.inflation.saturating_add(mss);
        }
        self.phase = Phase::Recovery { partial_seen: true };
        NewAck::Partial { rearm: !partial_seen }
    }

    /// RFC 6582 §3.2 step 4: after a time-out, duplicates below what was sent mean nothing.
    pub(crate) fn on_timeout(&mut self, snd_max: SeqNumber) {
        self.guard = snd_max + 1;
        self.phase = Phase::Open;
        self.inflation = 0;
        self.dup_acks = 0;
    }

    /// Bytes that may fly beyond the congestion window.
    pub(crate) fn extra_bytes(&self, mss: u32) -> u32 {
        match self.phase {
            Phase::Recovery { .. } => self.inflation,
            // RFC 3042 §2, limited transmit: the first two duplicates let one segment each out.
            Phase::Open => u32::from(self.dup_acks.min(2)) * mss,
        }
    }

    /// Is a recovery on?
    pub(crate) fn in_recovery(&self) -> bool {
        matches!(self.phase, Phase::Recovery { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn seq(n: u32) -> SeqNumber {
        SeqNumber::new(n)
    }

    #[test]
    fn third_duplicate_enters_and_the_full_ack_leaves() {
        let mut recovery = NewReno::new(seq(1), 3);
        assert_eq!(recovery.on_dup_ack(seq(1), seq(9001), MSS, Echo::Unknown), DupAck::Continue);
        assert_eq!(recovery.extra_bytes(MSS), 1000);
        assert_eq!(recovery.on_dup_ack(seq(1), seq(9001), MSS, Echo::Unknown), DupAck::Continue);
        assert_eq!(
            recovery.on_dup_ack(seq(1), seq(9001), MSS, Echo::Unknown),
            DupAck::EnterRecovery
        );
        assert_eq!(recovery.extra_bytes(MSS), 3000);
        recovery.on_dup_ack(seq(1), seq(9001), MSS, Echo::Unknown);
        assert_eq!(recovery.extra_bytes(MSS), 4000);
        assert_eq!(recovery.on_new_ack(seq(3001), 3000, MSS), NewAck::Partial { rearm: true });
        assert_eq!(recovery.extra_bytes(MSS), 2000);
        assert_eq!(recovery.on_new_ack(seq(4001), 1000, MSS), NewAck::Partial { rearm: false });
        assert_eq!(recovery.on_new_ack(seq(9001), 5000, MSS), NewAck::Full);
        assert_eq!(recovery.extra_bytes(MSS), 0);
    }

    #[test]
    fn duplicates_that_echo_a_timeout_do_not_enter() {
        let mut recovery = NewReno::new(seq(1), 3);
        recovery.on_timeout(seq(5001));
        for _ in 0..5 {
            let same = recovery.on_dup_ack(seq(5001), seq(6001), MSS, Echo::Unknown);
            assert_eq!(same, DupAck::Continue);
        }
        let mut told = recovery;
        let entered = told.on_dup_ack(seq(5001), seq(6001), MSS, Echo::Unmoved);
        assert_eq!(entered, DupAck::EnterRecovery, "timestamps tell that it is a new hole");
        recovery.on_new_ack(seq(5002), 1, MSS);
        for _ in 0..2 {
            assert_eq!(
                recovery.on_dup_ack(seq(5002), seq(6001), MSS, Echo::Unknown),
                DupAck::Continue
            );
        }
        assert_eq!(
            recovery.on_dup_ack(seq(5002), seq(6001), MSS, Echo::Unknown),
            DupAck::EnterRecovery
        );
    }
}
