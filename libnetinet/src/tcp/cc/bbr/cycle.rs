//! Which state follows which, and when.

use std::time::Duration;

use libnet::Instant;

use super::super::{Begin, Lost, Sample};
use super::{Bbr, State, is_too_high};
use crate::tcp::seq::SeqNumber;

/// "State Machine Operation".
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    /// BBR.full_bw_reached: the path was full once.
    pub(super) full_bw_reached: bool,
    /// BBR.full_bw_now, and what it is found by.
    full_bw_now: bool,
    full_bw: u64,
    full_bw_count: u8,
    /// BBR.bw_probe_samples: what comes was sent while it was probed for more.
    pub(super) probe_samples: bool,
    ack_phase: AckPhase,
    /// BBR.cycle_stamp and BBR.bw_probe_wait.
    since: Instant,
    wait: Duration,
    pub(super) rounds_since_probe: u32,
    /// Rounds in Drain.
    drain_rounds: u8,
    /// BBR.probe_up_cnt, as bytes delivered for a byte more in flight; BBR.bw_probe_up_acks.
    up_bytes: u32,
    up_acked: u32,
    up_rounds: u8,
    /// Runs of lost data in this round of Startup, and where the last one ends.
    lost_ranges: u8,
    lost_end: Option<SeqNumber>,
    pub(super) idle_restart: bool,
    /// BBR.probe_rtt_min_delay and its time.
    probe_rtt: Duration,
    probe_rtt_at: Instant,
    /// A round trip in this round, and in the last one, was as short as if the queue were empty.
    empty_in_round: bool,
    pub(super) queue_empty: bool,
    /// BBR.probe_rtt_done_stamp, and whether a round has passed in it.
    probe_rtt_done: Option<Instant>,
    probe_rtt_round_done: bool,
    /// What was sent before so much was delivered left in ProbeRtt: its rate is not the path's.
    low_until: u64,
    chance: u32,
}

/// How acknowledgements relate to what was sent to probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AckPhase {
    Init,
    Refilling,
    Starting,
    Feedback,
    Stopping,
}

impl Cycle {
    pub(super) fn new(begin: &Begin) -> Self {
        Cycle {
            full_bw_reached: false,
            full_bw_now: false,
            full_bw: 0,
            full_bw_count: 0,
            probe_samples: false,
            ack_phase: AckPhase::Init,
            since: begin.now,
            wait: Duration::ZERO,
            rounds_since_probe: 0,
            drain_rounds: 0,
            up_bytes: u32::MAX,
            up_acked: 0,
            up_rounds: 0,
            lost_ranges: 0,
            lost_end: None,
            idle_restart: false,
            probe_rtt: begin.srtt,
            probe_rtt_at: begin.now,
            empty_in_round: false,
            queue_empty: false,
            probe_rtt_done: None,
            probe_rtt_round_done: false,
            low_until: begin.delivered_total,
            chance: begin.seed | 1,
        }
    }

    /// BBRResetFullBW, from this rate on.
    pub(super) fn reset_full_bw(&mut self, from: u64) {
        (self.full_bw, self.full_bw_count, self.full_bw_now) = (from, 0, false);
    }

    /// Is the sample's rate no more than what there was to send?
    pub(super) fn is_low(&self, sample: &Sample) -> bool {
        sample.app_limited || sample.prior_delivered < self.low_until
    }

    /// BBRCheckFullBWReached.
    fn check_full_bw(&mut self, sample: &Sample, round_start: bool) {
        if self.full_bw_now || !round_start || self.is_low(sample) {
            return;
        }
        let rate = sample.delivery_rate();
        if u128::from(rate) * 4 >= u128::from(self.full_bw) * 5 {
            return self.reset_full_bw(rate);
        }
        self.full_bw_count += 1;
        self.full_bw_now = self.full_bw_count >= FULL_BW_ROUNDS;
        self.full_bw_reached |= self.full_bw_now;
    }

    /// A run of data is lost.
    pub(super) fn count_range(&mut self, lost: &Lost) {
        if self.lost_end != Some(lost.seq) {
            self.lost_ranges = self.lost_ranges.saturating_add(1);
        }
        self.lost_end = Some(lost.seq + lost.bytes);
    }

    /// By chance, below `n`. Xorshift: what is wanted is that flows do not move in step.
    fn by_chance(&mut self, n: u32) -> u32 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        self.chance % n
    }

    fn has_elapsed(&self, now: Instant) -> bool {
        now > self.since + self.wait
    }
}

impl Bbr {
    /// The middle of BBRUpdateModelAndState. `too_marked`: the path says that its queue is long.
    pub(super) fn update_state(&mut self, sample: &Sample, too_marked: bool) {
        let round_start = self.model.round_start;
        self.cycle.check_full_bw(sample, round_start);
        self.check_startup_done(sample, too_marked);
        self.check_drain_done(sample);
        self.update_probe_bw(sample, too_marked);
        let expired = self.update_min_rtt(sample);
        self.check_probe_rtt(sample, expired);
    }

    /// BBRCheckStartupDone.
    fn check_startup_done(&mut self, sample: &Sample, too_marked: bool) {
        if !self.cycle.full_bw_reached {
            self.check_startup_loss(sample, too_marked);
        }
        if self.state == State::Startup && self.cycle.full_bw_reached {
            // BBREnterDrain.
            self.state = State::Drain;
            self.cycle.drain_rounds = 0;
        }
    }

    /// "Exiting Startup Based on Packet Loss"; by marks after two rounds of them, as on Linux.
    fn check_startup_loss(&mut self, sample: &Sample, too_marked: bool) {
        let lossy = self.model.loss_round_start
            && sample.in_recovery
            && (self.cycle.lost_ranges >= STARTUP_LOST_RANGES || !sample.sack)
            && (is_too_high(sample.lost, sample.in_flight_then, self.mss) || !sample.sack);
        if lossy || too_marked {
            self.cycle.full_bw_reached = true;
            let bdp = u32::try_from(self.bdp_times(100)).unwrap_or(u32::MAX);
            self.model.inflight_long = bdp.max(self.model.inflight_latest).max(self.min_pipe());
        }
        if self.model.loss_round_start {
            self.cycle.lost_ranges = 0;
        }
    }

    /// BBRCheckDrainDone.
    fn check_drain_done(&mut self, sample: &Sample) {
        if self.state != State::Drain {
            return;
        }
        self.cycle.drain_rounds += u8::from(self.model.round_start);
        let is_drained = sample.in_flight <= self.inflight(100);
        if is_drained || self.cycle.drain_rounds > DRAIN_ROUNDS {
            self.start_down(sample.now);
        }
    }

    /// BBRUpdateProbeBWCyclePhase.
    fn update_probe_bw(&mut self, sample: &Sample, too_marked: bool) {
        if !self.cycle.full_bw_reached {
            return;
        }
        self.adapt_long_term(sample);
        let state = self.state;
        match state {
            State::Down if self.is_time_to_probe(sample.now) => self.start_refill(),
            State::Down if self.is_time_to_cruise(sample) => self.state = State::Cruise,
            State::Cruise if self.is_time_to_probe(sample.now) => self.start_refill(),
            State::Refill if self.model.round_start => {
                // After one round of refilling, more than that.
                self.cycle.probe_samples = true;
                self.start_up(sample.delivery_rate());
            }
            State::Up if too_marked && self.cycle.probe_samples => {
                self.on_inflight_too_high(sample.now, sample.in_flight_then, sample.app_limited);
            }
            State::Up if self.is_time_to_go_down(sample) => self.start_down(sample.now),
            _ => {}
        }
    }

    /// BBRStartProbeBW_DOWN.
    pub(super) fn start_down(&mut self, now: Instant) {
        self.model.reset_congestion();
        self.cycle.up_bytes = u32::MAX;
        // BBRPickProbeWait.
        self.cycle.rounds_since_probe = self.cycle.by_chance(2);
        let more = Duration::from_millis(u64::from(self.cycle.by_chance(1_000)));
        (self.cycle.since, self.cycle.wait) = (now, PROBE_WAIT + more);
        self.cycle.ack_phase = AckPhase::Stopping;
        self.model.start_round();
        self.state = State::Down;
    }

    /// BBRStartProbeBW_REFILL.
    fn start_refill(&mut self) {
        self.model.reset_short_term();
        (self.cycle.up_rounds, self.cycle.up_acked) = (0, 0);
        self.cycle.ack_phase = AckPhase::Refilling;
        self.model.start_round();
        self.state = State::Refill;
    }

    /// BBRStartProbeBW_UP.
    pub(super) fn start_up(&mut self, rate: u64) {
        self.cycle.ack_phase = AckPhase::Starting;
        self.model.start_round();
        self.cycle.reset_full_bw(rate);
        self.state = State::Up;
        self.raise_slope();
    }

    /// BBRIsTimeToProbeBW, "Time Scale for Bandwidth Probing".
    fn is_time_to_probe(&self, now: Instant) -> bool {
        let reno_rounds = (self.target_inflight() / self.mss.max(1)).min(RENO_ROUNDS);
        self.cycle.has_elapsed(now) || self.cycle.rounds_since_probe >= reno_rounds
    }

    /// BBRIsTimeToCruise.
    fn is_time_to_cruise(&self, sample: &Sample) -> bool {
        sample.in_flight <= self.inflight_with_headroom() && sample.in_flight <= self.inflight(100)
    }

    /// BBRIsTimeToGoDown.
    fn is_time_to_go_down(&mut self, sample: &Sample) -> bool {
        if self.is_long_term_limited(sample) {
            // The rate was held down by our own bound.
            self.cycle.reset_full_bw(sample.delivery_rate());
            return false;
        }
        self.cycle.full_bw_now
    }

    /// BBRRaiseInflightLongtermSlope.
    fn raise_slope(&mut self) {
        let growth = u64::from(self.mss) << self.cycle.up_rounds;
        self.cycle.up_rounds = (self.cycle.up_rounds + 1).min(30);
        self.cycle.up_bytes = u32::try_from(u64::from(self.cwnd) / growth).unwrap_or(1).max(1);
    }

    /// Has the window kept data back because of the long-term bound? That rises by bytes with each
    /// acknowledgement, and the window follows with the next: within a segment they are the same.
    fn is_long_term_limited(&self, sample: &Sample) -> bool {
        sample.window_limited && self.cwnd.saturating_add(self.mss) >= self.model.inflight_long
    }

    /// BBRProbeInflightLongtermUpward.
    fn raise_long_term(&mut self, sample: &Sample) {
        if !self.is_long_term_limited(sample) {
            return;
        }
        let cycle = &mut self.cycle;
        cycle.up_acked = cycle.up_acked.saturating_add(sample.newly_delivered);
        let delta = cycle.up_acked / cycle.up_bytes;
        cycle.up_acked -= delta * cycle.up_bytes;
        self.model.inflight_long = self.model.inflight_long.saturating_add(delta).min(u32::MAX - 1);
        if self.model.round_start {
            self.raise_slope();
        }
    }

    /// BBRAdaptLongTermModel.
    fn adapt_long_term(&mut self, sample: &Sample) {
        let round_start = self.model.round_start;
        if self.cycle.ack_phase == AckPhase::Starting && round_start {
            self.cycle.ack_phase = AckPhase::Feedback;
        }
        if self.cycle.ack_phase == AckPhase::Stopping && round_start {
            // As on Linux: what was sent to probe has all been answered.
            (self.cycle.ack_phase, self.cycle.probe_samples) = (AckPhase::Init, false);
            if self.state.is_probe_bw() && !self.cycle.is_low(sample) {
                self.model.advance_max_bw();
            }
        }
        if is_too_high(sample.lost, sample.in_flight_then, self.mss)
            || self.model.inflight_long == u32::MAX
        {
            return;
        }
        self.model.inflight_long = self.model.inflight_long.max(sample.in_flight_then);
        if self.state == State::Up {
            self.raise_long_term(sample);
        }
    }

    /// BBRUpdateMinRTT; is it time to look for a shorter one?
    fn update_min_rtt(&mut self, sample: &Sample) -> bool {
        let now = sample.now;
        let expired = now > self.cycle.probe_rtt_at + PROBE_RTT_INTERVAL;
        if self.model.round_start {
            self.cycle.queue_empty = std::mem::take(&mut self.cycle.empty_in_round);
        }
        if let Some(rtt) = sample.rtt {
            self.cycle.empty_in_round |= rtt <= self.longest_empty();
            let least = self.cycle.probe_rtt;
            if rtt < least || least.is_zero() || expired {
                (self.cycle.probe_rtt, self.cycle.probe_rtt_at) = (rtt, now);
            } else if rtt <= least + least / NEARLY {
                // DEVIATES draft-ietf-ccwg-bbr, "BBRUpdateMinRTT" (only a shorter one counts): the queue
                // has just been found empty, which is all that half a window for 200 ms could show.
                self.cycle.probe_rtt_at = now;
            }
        }
        let min_expired = now > self.model.min_rtt_at + MIN_RTT_WINDOW;
        let is_less = self.cycle.probe_rtt < self.model.min_rtt || self.model.min_rtt.is_zero();
        if is_less || min_expired {
            self.model.min_rtt = self.cycle.probe_rtt;
            self.model.min_rtt_at = self.cycle.probe_rtt_at;
        }
        expired
    }

    /// The longest round trip that shows an empty queue. Where a part of a quantum waits, it does not
    /// run dry as soon as a timer is a little late; on short paths that is a larger part of theirs.
    fn longest_empty(&self) -> Duration {
        let least = self.cycle.probe_rtt;
        let nanos = u64::from(self.quantum()) * 1_000_000_000 / self.pacing_rate.max(1);
        least + Duration::from_nanos(nanos).min(least / EMPTY_SHORT).max(least / EMPTY)
    }

    /// BBRCheckProbeRTT.
    fn check_probe_rtt(&mut self, sample: &Sample, expired: bool) {
        if self.state != State::ProbeRtt && expired && !self.cycle.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.cycle.probe_rtt_done = None;
            self.cycle.ack_phase = AckPhase::Stopping;
            self.model.start_round();
        }
        if self.state == State::ProbeRtt {
            self.stay_in_probe_rtt(sample);
        }
        self.cycle.idle_restart = false;
    }

    /// BBRHandleProbeRTT.
    fn stay_in_probe_rtt(&mut self, sample: &Sample) {
        self.cycle.low_until = sample.delivered_total + u64::from(sample.in_flight);
        match self.cycle.probe_rtt_done {
            None if sample.in_flight <= self.probe_rtt_cwnd() => {
                self.cycle.probe_rtt_done = Some(sample.now + PROBE_RTT_TIME);
                self.cycle.probe_rtt_round_done = false;
                self.model.start_round();
            }
            None => {}
            Some(_) => {
                self.cycle.probe_rtt_round_done |= self.model.round_start;
                if self.cycle.probe_rtt_round_done {
                    self.check_probe_rtt_done(sample.now);
                }
            }
        }
    }

    /// BBRCheckProbeRTTDone and BBRExitProbeRTT.
    pub(super) fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.cycle.probe_rtt_done.is_none_or(|done| now <= done) {
            return;
        }
        self.cycle.probe_rtt_at = now;
        self.restore_cwnd();
        self.model.reset_short_term();
        self.state = State::Startup;
        if self.cycle.full_bw_reached {
            self.start_down(now);
            self.state = State::Cruise;
        }
    }
}

/// Rounds without much growth that say that the path is full.
const FULL_BW_ROUNDS: u8 = 3;
/// BBRStartupFullLossCnt.
const STARTUP_LOST_RANGES: u8 = 6;
/// Rounds that Drain takes at most.
const DRAIN_ROUNDS: u8 = 3;
/// The least of BBR.bw_probe_wait; by chance, up to a second more.
const PROBE_WAIT: Duration = Duration::from_secs(2);
/// T_reno_bound.
const RENO_ROUNDS: u32 = 63;
/// BBR.ProbeRTTInterval. "each BBR flow MUST use the standard".
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
/// A round trip is as short as the shortest if it is longer by so small a part at most.
const NEARLY: u32 = 32;
/// The queue is empty if a round trip is longer than the shortest by so small a part at most.
const EMPTY: u32 = 64;
/// The same where a quantum's time is longer than that.
const EMPTY_SHORT: u32 = 16;
/// BBR.ProbeRTTDuration.
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
/// BBR.MinRTTFilterLen.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
