//! Proportional rate reduction: how much may leave for what arrives in fast recovery. Source: RFC 9937.

/// One recovery's account, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prr {
    /// prr_delivered.
    delivered: u32,
    /// prr_out.
    out: u32,
    /// RecoverFS.
    recover_flight: u32,
    /// SndCnt that is left.
    credit: u32,
}

/// What one acknowledgement in recovery says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrrAck {
    /// DeliveredData: bytes that the peer newly has.
    pub(crate) delivered: u32,
    /// Bytes in the network.
    pub(crate) pipe: u32,
    /// The window that the recovery leads to.
    pub(crate) ssthresh: u32,
    pub(crate) mss: u32,
    /// safeACK: SND.UNA has moved, and no further loss was found.
    pub(crate) safe: bool,
}

impl Prr {
    /// A recovery begins. `flight` was under way before the acknowledgement that began it, `sacked`
    /// of that SACKed earlier. Source: RFC 9937 §6.
    pub(crate) fn begin(&mut self, flight: u32, sacked: u32) {
        let recover_flight = flight.saturating_sub(sacked).max(1);
        *self = Prr { delivered: 0, out: 0, recover_flight, credit: 0 };
    }

    /// Takes an acknowledgement in.
    pub(crate) fn on_ack(&mut self, ack: &PrrAck) {
        self.delivered = self.delivered.saturating_add(ack.delivered);
        let ahead = self.delivered.saturating_sub(self.out);
        let mut count = if ack.pipe > ack.ssthresh {
            // Proportional: as much leaves of what arrives as the window shrinks.
            let share = u64::from(self.delivered) * u64::from(ack.ssthresh);
            let target = share.div_ceil(u64::from(self.recover_flight));
            u32::try_from(target).unwrap_or(u32::MAX).saturating_sub(self.out)
        } else {
            // The reduction bound: conservative (CRB), or as slow start (SSRB) while all goes well.
            let bound = ahead.max(ack.delivered).saturating_add(if ack.safe { ack.mss } else { 0 });
            bound.min(ack.ssthresh - ack.pipe)
        };
        if self.out == 0 {
            // RFC 9937 §6: the fast retransmit that begins the recovery leaves in any case.
            count = count.max(ack.mss);
        }
        self.credit = count;
    }

    /// `bytes` have left.
    pub(crate) fn on_sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
        self.credit = self.credit.saturating_sub(bytes);
    }

    /// Nothing is in the network, so that nothing would come to let anything out.
    pub(crate) fn restart(&mut self, mss: u32) {
        self.credit = self.credit.max(mss);
    }

    /// Bytes that may leave now.
    pub(crate) fn credit(&self) -> u32 {
        self.credit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn ack(delivered: u32, pipe: u32, safe: bool) -> PrrAck {
        PrrAck { delivered, pipe, ssthresh: 10_000, mss: MSS, safe }
    }

    /// One recovery of 20 segments of flight, `lost` of them lost at its start; what was sent, and
    /// what is in the pipe at the end.
    fn recover(lost: u32) -> (u32, u32) {
        let mut prr = Prr::default();
        prr.begin(20_000, 0);
        let (mut pipe, mut sent) = ((20 - lost) * MSS, 0);
        for _ in 0..20 - lost {
            pipe -= MSS;
            prr.on_ack(&ack(MSS, pipe, false));
            while prr.credit() >= MSS {
                prr.on_sent(MSS);
                (pipe, sent) = (pipe + MSS, sent + MSS);
            }
        }
        (sent, pipe)
    }

    #[test]
    fn the_pipe_ends_at_the_threshold_however_much_was_lost() {
        for lost in 1..=10 {
            let (_, pipe) = recover(lost);
            assert!((9_000..=10_000).contains(&pipe), "{lost} lost, {pipe} in the pipe");
        }
    }

    #[test]
    fn after_heavy_losses_no_more_leaves_than_arrives() {
        // RFC 9937: the conservative bound is packet conservation.
        let (sent, pipe) = recover(16);
        assert_eq!((sent, pipe), (4_000, 4_000));
    }

    #[test]
    fn acknowledgements_that_move_on_let_it_grow_as_slow_start_does() {
        let mut prr = Prr::default();
        prr.begin(20_000, 0);
        prr.on_ack(&ack(MSS, 3_000, false));
        assert_eq!(prr.credit(), MSS);
        prr.on_sent(MSS);
        prr.on_ack(&ack(MSS, 3_000, true));
        assert_eq!(prr.credit(), 2 * MSS);
        // And never beyond the threshold.
        prr.on_ack(&ack(5 * MSS, 9_500, true));
        assert_eq!(prr.credit(), 500);
    }

    #[test]
    fn the_first_retransmission_leaves_in_any_case() {
        let mut prr = Prr::default();
        prr.begin(20_000, 0);
        prr.on_ack(&ack(0, 19_000, false));
        assert_eq!(prr.credit(), MSS);
    }

    #[test]
    fn acknowledgements_in_small_pieces_buy_no_more_than_whole_ones() {
        let (mut whole, mut split) = (Prr::default(), Prr::default());
        whole.begin(20_000, 0);
        split.begin(20_000, 0);
        whole.on_ack(&ack(10_000, 12_000, false));
        for _ in 0..10_000 {
            split.on_ack(&ack(1, 12_000, false));
        }
        assert_eq!(whole.credit(), split.credit());
    }
}
