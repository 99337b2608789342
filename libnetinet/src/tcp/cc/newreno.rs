//! Slow start and congestion avoidance. Source: RFC 5681 §3.1.

use super::{Ack, Begin, CongestionControl, MAX_CWND_BYTES, after_disuse, after_idle, loss_window};

/// The window of RFC 5681.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewReno {
    cwnd: u32,
    ssthresh: u32,
    /// Bytes acknowledged in congestion avoidance since the window last grew.
    acked: u32,
}

impl NewReno {
    /// Slow start from that window on, or avoidance if it is beyond the threshold.
    pub(crate) fn new(begin: &Begin) -> Self {
        NewReno { cwnd: begin.cwnd_bytes, ssthresh: begin.ssthresh_bytes, acked: 0 }
    }

    /// RFC 5681 §3.1, equation (4): half the flight, two segments at least.
    fn half(flight: u32, mss: u32) -> u32 {
        (flight / 2).max(2 * mss)
    }
}

impl CongestionControl for NewReno {
    fn cwnd_bytes(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh_bytes(&self) -> u32 {
        self.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        let (acked, mss) = (ack.bytes, ack.mss);
        if self.cwnd < self.ssthresh {
            // DEVIATES RFC 5681 §3.1 (2): grows by all bytes acknowledged and not by one SMSS per
            // ACK, since one ACK answers a super-segment of up to 45 SMSS (as Linux counts).
            self.cwnd = self.cwnd.saturating_add(acked).min(MAX_CWND_BYTES);
            return;
        }
        // RFC 5681 §3.1: one SMSS per window's worth of acknowledged bytes (RFC 3465 §2.1).
        self.acked = self.acked.saturating_add(acked);
        if self.acked >= self.cwnd {
            self.acked -= self.cwnd;
            self.cwnd = self.cwnd.saturating_add(mss).min(MAX_CWND_BYTES);
        }
    }

    fn on_loss(&mut self, flight: u32, mss: u32) {
        // RFC 5681 §3.2 steps 2 and 3; the three segments of inflation are recovery's.
        self.ssthresh = Self::half(flight, mss);
        self.cwnd = self.ssthresh;
        self.acked = 0;
    }

    fn on_recovered(&mut self, flight: u32, mss: u32) {
        // RFC 6582 §3.2 step 3, full acknowledgement, option (1): no burst.
        self.cwnd = self.ssthresh.min(flight.max(mss).saturating_add(mss));
    }

    fn on_timeout(&mut self, flight: u32, mss: u32, again: bool) {
        // RFC 5681 §3.1: ssthresh is held when the same segment times out again.
        if !again {
            self.ssthresh = Self::half(flight, mss);
        }
        // RFC 5681 §3.1 (MUST): no more than the loss window.
        self.cwnd = loss_window(mss);
        self.acked = 0;
    }

    fn restore(&mut self, cwnd_bytes: u32, ssthresh_bytes: u32) {
        self.cwnd = self.cwnd.max(cwnd_bytes);
        self.ssthresh = self.ssthresh.max(ssthresh_bytes);
    }

    fn on_idle(&mut self, timeouts: u32, mss: u32) {
        (self.cwnd, self.ssthresh) = after_idle(self.cwnd, self.ssthresh, timeouts, mss);
    }

    fn on_unused(&mut self, used_bytes: u32, mss: u32) {
        (self.cwnd, self.ssthresh) = after_disuse(self.cwnd, self.ssthresh, used_bytes, mss);
    }
}

#[cfg(test)]
mod tests {
    use super::super::initial_window;
    use super::*;
    use crate::tcp::seq::SeqNumber;
    use libnet::Instant;
    use std::time::Duration;

    fn ack(bytes: u32) -> Ack {
        let una = SeqNumber::new(0);
        let (now, srtt) = (Instant::ZERO, Duration::ZERO);
        Ack { now, bytes, mss: 1000, srtt, rtt: None, una, end: una }
    }

    #[test]
    fn initial_window_follows_rfc_6928() {
        assert_eq!(initial_window(1460), 14_600);
        assert_eq!(initial_window(536), 5_360);
        assert_eq!(initial_window(8_960), 17_920);
    }

    #[test]
    fn slow_start_doubles_and_avoidance_adds_one_segment_per_window() {
        let mut cc = NewReno::new(&Begin::first(1000));
        assert_eq!(cc.cwnd_bytes(), 10_000);
        cc.on_ack(&ack(10_000));
        assert_eq!(cc.cwnd_bytes(), 20_000);
        cc.on_loss(20_000, 1000);
        assert_eq!((cc.cwnd_bytes(), cc.ssthresh_bytes()), (10_000, 10_000));
        for _ in 0..10 {
            cc.on_ack(&ack(1000));
        }
        assert_eq!(cc.cwnd_bytes(), 11_000);
    }

    #[test]
    fn a_second_timeout_of_one_segment_holds_ssthresh() {
        let mut cc = NewReno::new(&Begin::first(1000));
        cc.on_timeout(10_000, 1000, false);
        assert_eq!((cc.cwnd_bytes(), cc.ssthresh_bytes()), (1000, 5000));
        cc.on_timeout(1000, 1000, true);
        assert_eq!((cc.cwnd_bytes(), cc.ssthresh_bytes()), (1000, 5000));
    }

    #[test]
    fn recovery_ends_without_a_burst() {
        let mut cc = NewReno::new(&Begin::first(1000));
        cc.on_loss(50_000, 1000);
        cc.on_recovered(3_000, 1000);
        assert_eq!(cc.cwnd_bytes(), 4_000);
    }
}
