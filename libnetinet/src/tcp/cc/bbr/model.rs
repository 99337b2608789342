//! What the path is taken to be: its bandwidth, its round trip, how it aggregates, what it bears.

use std::time::Duration;

use libnet::Instant;

use super::super::{Begin, Sample};
use super::{BETA, is_beyond_threshold};

/// "Updating Network Path Model Parameters".
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    /// When the last sample came.
    pub(super) now: Instant,
    /// C.delivered at the last sample.
    pub(super) delivered: u64,
    /// BBR.next_round_delivered.
    next_round: u64,
    /// A round trip has ended with this sample.
    pub(super) round_start: bool,
    /// BBR.max_bw_filter: the last cycle's greatest rate and this one's, bytes per second.
    max_bw: [u64; 2],
    /// BBR.bw_shortterm; [`u64::MAX`]: none.
    pub(super) bw_short: u64,
    /// BBR.inflight_shortterm; [`u32::MAX`]: none.
    pub(super) inflight_short: u32,
    /// BBR.inflight_longterm; [`u32::MAX`]: none.
    pub(super) inflight_long: u32,
    /// BBR.bw_latest and BBR.inflight_latest: the most of this round.
    bw_latest: u64,
    pub(super) inflight_latest: u32,
    loss_in_round: bool,
    /// Bytes of this round that were lost, and that came.
    round_lost: u64,
    round_delivered: u64,
    /// BBR.loss_round_delivered.
    loss_round: u64,
    /// A round trip after a loss has ended with this sample.
    pub(super) loss_round_start: bool,
    /// BBR.min_rtt; zero: none seen.
    pub(super) min_rtt: Duration,
    pub(super) min_rtt_at: Instant,
    aggregation: Aggregation,
    marks: Marks,
}

/// "BBR.extra_acked": what comes acknowledged at once, beyond what the bandwidth would make of the time.
#[derive(Clone, Copy, Debug)]
struct Aggregation {
    since: Instant,
    delivered: u64,
    /// The most of the last rounds, and of those before.
    most: [u32; 2],
    rounds: u8,
}

/// How much of what is delivered was marked, as Google's version for Linux has it.
#[derive(Clone, Copy, Debug)]
struct Marks {
    /// A moving average, 0..=256.
    alpha: u32,
    marked: u64,
    delivered: u64,
    /// Rounds in a row of which more than half was marked.
    high_rounds: u8,
    in_round: bool,
    /// The peer has echoed a mark in this round, of how many it does not tell.
    echoed: bool,
}

impl Model {
    pub(super) fn new(begin: &Begin) -> Self {
        Model {
            now: begin.now,
            delivered: begin.delivered_total,
            next_round: begin.delivered_total,
            round_start: false,
            max_bw: [0; 2],
            bw_short: u64::MAX,
            inflight_short: u32::MAX,
            inflight_long: u32::MAX,
            bw_latest: 0,
            inflight_latest: 0,
            loss_in_round: false,
            round_lost: 0,
            round_delivered: 0,
            loss_round: begin.delivered_total,
            loss_round_start: false,
            min_rtt: begin.srtt,
            min_rtt_at: begin.now,
            aggregation: Aggregation { since: begin.now, delivered: 0, most: [0; 2], rounds: 0 },
            marks: Marks {
                alpha: 256,
                marked: 0,
                delivered: 0,
                high_rounds: 0,
                in_round: false,
                echoed: false,
            },
        }
    }

    /// BBRUpdateLatestDeliverySignals and BBRUpdateMaxBw. `low`: the rate is not the path's.
    pub(super) fn take_rate(&mut self, sample: &Sample, low: bool) {
        let rate = sample.delivery_rate();
        (self.now, self.delivered) = (sample.now, sample.delivered_total);
        self.bw_latest = self.bw_latest.max(rate);
        self.inflight_latest = self.inflight_latest.max(sample.delivered);
        self.round_delivered += u64::from(sample.newly_delivered);
        self.loss_round_start = sample.prior_delivered >= self.loss_round;
        if self.loss_round_start {
            self.loss_round = sample.delivered_total;
        }
        self.round_start = sample.prior_delivered >= self.next_round;
        if self.round_start {
            self.start_round();
        }
        if rate > 0 && (!low || rate >= self.max_bw()) {
            self.max_bw[1] = self.max_bw[1].max(rate);
        }
    }

    /// BBRStartRound.
    pub(super) fn start_round(&mut self) {
        self.next_round = self.delivered;
    }

    /// BBR.max_bw, bytes per second.
    pub(super) fn max_bw(&self) -> u64 {
        self.max_bw[0].max(self.max_bw[1])
    }

    /// BBRAdvanceMaxBwFilter.
    pub(super) fn advance_max_bw(&mut self) {
        if self.max_bw[1] > 0 {
            self.max_bw = [self.max_bw[1], 0];
        }
    }

    /// BBR.bw, bytes per second.
    pub(super) fn bw(&self) -> u64 {
        self.max_bw().min(self.bw_short)
    }

    /// BBR.bdp, bytes; `None` before the first round trip was measured.
    pub(super) fn bdp(&self) -> Option<u64> {
        let bytes = u128::from(self.bw()) * self.min_rtt.as_nanos() / 1_000_000_000;
        (!self.min_rtt.is_zero()).then(|| u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// So many bytes were lost; are they the first of this round?
    pub(super) fn note_loss(&mut self, bytes: u32, delivered_total: u64) -> bool {
        self.round_lost += u64::from(bytes);
        if self.loss_in_round {
            return false;
        }
        (self.loss_round, self.loss_in_round) = (delivered_total, true);
        (self.round_lost, self.round_delivered) = (bytes.into(), 0);
        true
    }

    /// BBRUpdateCongestionSignals: once a round, losses and marks lower the short-term bounds,
    /// unless it is being probed for more. `cwnd`: the window.
    pub(super) fn take_congestion(&mut self, is_probing: bool, cwnd: u32, mss: u32) {
        if !self.loss_round_start {
            return;
        }
        // DEVIATES draft-ietf-ccwg-bbr, "When not Probing for Bandwidth" (any loss): losses that would
        // not be too many in a probe are none here. Else a path that loses one segment in a hundred
        // by itself is used at 85 % in the long run, since each round is measured at less than the last.
        let sent = self.round_lost + self.round_delivered;
        let lossy = self.loss_in_round && is_beyond_threshold(self.round_lost, sent, mss);
        let lost = std::mem::take(&mut self.marks.echoed) || lossy;
        let marked = self.marks.in_round;
        (self.loss_in_round, self.marks.in_round) = (false, false);
        if is_probing || !(lost || marked) {
            return;
        }
        // BBRInitLowerBounds.
        if self.bw_short == u64::MAX {
            self.bw_short = self.max_bw();
        }
        if self.inflight_short == u32::MAX {
            self.inflight_short = cwnd;
        }
        let short = self.inflight_short;
        if lost {
            // BBRLossLowerBounds.
            let share = |n: u64| (u128::from(n) * u128::from(BETA) / 100) as u64;
            self.bw_short = self.bw_latest.max(share(self.bw_short));
            self.inflight_short = self.inflight_latest.max(share(u64::from(short)) as u32);
        }
        if marked {
            // A third of what was marked, on average.
            let cut = u64::from(short) * u64::from(self.marks.alpha) / (3 * 256);
            self.inflight_short = self.inflight_short.min(short - cut as u32);
        }
    }

    /// An echo came that answers for a window.
    pub(super) fn note_echo(&mut self) {
        self.marks.echoed = true;
    }

    /// What was marked; `true`: for two rounds in a row more than half was.
    pub(super) fn take_marks(&mut self, sample: &Sample) -> bool {
        let marks = &mut self.marks;
        marks.marked += u64::from(sample.marked.min(sample.newly_delivered));
        marks.delivered += u64::from(sample.newly_delivered);
        // On longer paths the marks of others' queues say little of ours.
        let counts = self.min_rtt <= MARKS_MAX_RTT;
        marks.in_round |= sample.marked > 0 && counts;
        if self.round_start {
            let ratio = (marks.marked * 256 / marks.delivered.max(1)) as u32;
            marks.alpha = (marks.alpha * 15 + ratio) / 16;
            let is_high = counts && ratio > 128;
            marks.high_rounds = if is_high { marks.high_rounds.saturating_add(1) } else { 0 };
            (marks.marked, marks.delivered) = (0, 0);
        }
        marks.high_rounds >= 2
    }

    /// BBRUpdateACKAggregation.
    pub(super) fn take_aggregation(&mut self, sample: &Sample, cwnd: u32, full_bw_reached: bool) {
        let bw = u128::from(self.bw());
        let a = &mut self.aggregation;
        if self.round_start {
            a.rounds = a.rounds.saturating_add(1);
            if a.rounds >= if full_bw_reached { AGGREGATION_ROUNDS } else { 1 } {
                (a.rounds, a.most) = (0, [0, a.most[0]]);
            }
        }
        let mut expected = bw * sample.now.since(a.since).as_nanos() / 1_000_000_000;
        if u128::from(a.delivered) <= expected {
            (a.delivered, a.since, expected) = (0, sample.now, 0);
        }
        a.delivered += u64::from(sample.newly_delivered);
        let extra = u128::from(a.delivered).saturating_sub(expected).min(u128::from(cwnd));
        a.most[0] = a.most[0].max(extra as u32);
    }

    /// BBR.extra_acked, bytes.
    pub(super) fn extra_acked(&self) -> u32 {
        self.aggregation.most[0].max(self.aggregation.most[1])
    }

    /// Nothing was sent until now.
    pub(super) fn restart_aggregation(&mut self, now: Instant) {
        (self.aggregation.since, self.aggregation.delivered) = (now, 0);
    }

    /// BBRAdvanceLatestDeliverySignals.
    pub(super) fn end_sample(&mut self, sample: &Sample) {
        if self.loss_round_start {
            self.bw_latest = sample.delivery_rate();
            self.inflight_latest = sample.delivered;
        }
    }

    /// BBRResetCongestionSignals.
    pub(super) fn reset_congestion(&mut self) {
        (self.loss_in_round, self.marks.in_round) = (false, false);
        (self.bw_latest, self.inflight_latest) = (0, 0);
    }

    /// BBRResetShortTermModel.
    pub(super) fn reset_short_term(&mut self) {
        (self.bw_short, self.inflight_short) = (u64::MAX, u32::MAX);
    }

    /// Nothing was lost after all: the bounds are at least what they were.
    pub(super) fn undo(&mut self, bw_short: u64, inflight_short: u32, inflight_long: u32) {
        self.loss_in_round = false;
        self.bw_short = self.bw_short.max(bw_short);
        self.inflight_short = self.inflight_short.max(inflight_short);
        self.inflight_long = self.inflight_long.max(inflight_long);
    }
}

/// Half of BBR.ExtraAckedFilterLen: the maximum is that of five to ten rounds, as on Linux.
const AGGREGATION_ROUNDS: u8 = 5;
const MARKS_MAX_RTT: Duration = Duration::from_millis(5);
