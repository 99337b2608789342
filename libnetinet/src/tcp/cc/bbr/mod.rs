//! BBR version 3: sends at the rate that the path delivers, with as much in flight as that rate and the
//! shortest round trip make, and probes in turn for more of the one and less of the other.
//!
//! ```text
//!  Startup ──> Drain ──> Down ──> Cruise ──> Refill ──> Up ──┐
//!     ^                   ^                                  │
//!     │                   └──────────────────────────────────┘
//!     └── ProbeRtt <── from any state, after 5 s without a shorter round trip
//! ```
//! Source: draft-ietf-ccwg-bbr, whose sections the code cites by their names; ECN and what the draft
//! leaves open as in Google's version for Linux. Integers alone: a run in virtual time is the same on
//! every machine.

mod cycle;
mod model;
#[cfg(test)]
mod tests;

use libnet::Instant;

use super::{Begin, CongestionControl, Lost, MAX_CWND_BYTES, Sample, loss_window};
use cycle::Cycle;
use model::Model;

/// One connection's controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bbr {
    state: State,
    model: Model,
    cycle: Cycle,
    cwnd: u32,
    /// The last window that neither a recovery nor ProbeRtt had made small.
    prior_cwnd: u32,
    initial_cwnd: u32,
    mss: u32,
    /// Bytes per second.
    pacing_rate: u64,
    /// Losses are being repaired.
    in_recovery: bool,
    conserving: Conserving,
    undo: Undo,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
}

/// Whether what leaves is no more than what was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Conserving {
    Not,
    /// From the next acknowledgement on.
    Soon,
    /// Until what was sent after so much was delivered is acknowledged: a round.
    Since(u64),
}

/// What a loss that was none gives back. Source: "Saving State Upon Loss Recovery".
#[derive(Clone, Copy, Debug)]
struct Undo {
    state: State,
    bw_short: u64,
    inflight_short: u32,
    inflight_long: u32,
}

impl State {
    /// Hundredths. Source: "Summary of Control Behavior in the State Machine".
    const fn pacing_gain(self) -> u64 {
        match self {
            State::Startup => 277,
            State::Drain => 50,
            State::Down => 90,
            State::Cruise | State::Refill | State::ProbeRtt => 100,
            State::Up => 125,
        }
    }

    /// Hundredths.
    const fn cwnd_gain(self) -> u64 {
        match self {
            State::Up => 225,
            State::ProbeRtt => 50,
            _ => 200,
        }
    }

    const fn is_probe_bw(self) -> bool {
        matches!(self, State::Down | State::Cruise | State::Refill | State::Up)
    }

    /// BBRIsProbingBW.
    const fn is_probing(self) -> bool {
        matches!(self, State::Startup | State::Refill | State::Up)
    }
}

impl Bbr {
    /// BBROnInit.
    pub(crate) fn new(begin: &Begin) -> Self {
        let srtt_ns = if begin.srtt.is_zero() { 1_000_000 } else { begin.srtt.as_nanos() };
        // BBRInitPacingRate.
        let nominal = u128::from(begin.cwnd_bytes) * 1_000_000_000 / srtt_ns.max(1);
        let gain = u128::from(State::Startup.pacing_gain());
        Bbr {
            state: State::Startup,
            model: Model::new(begin),
            cycle: Cycle::new(begin),
            cwnd: begin.cwnd_bytes,
            prior_cwnd: 0,
            initial_cwnd: begin.cwnd_bytes,
            mss: begin.mss,
            pacing_rate: u64::try_from(nominal * gain / 100).unwrap_or(u64::MAX),
            in_recovery: false,
            conserving: Conserving::Not,
            undo: Undo {
                state: State::Startup,
                bw_short: u64::MAX,
                inflight_short: u32::MAX,
                inflight_long: u32::MAX,
            },
        }
    }

    /// "Pacing Rate", BBRSetPacingRateWithGain.
    fn set_pacing_rate(&mut self, gain: u64) {
        let rate = u128::from(self.model.bw()) * u128::from(gain * self.pacing_share()) / 10_000;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        if self.cycle.full_bw_reached {
            self.pacing_rate = rate;
        } else {
            self.pacing_rate = self.pacing_rate.max(rate).max(self.startup_rate());
        }
    }

    /// The pace that Startup's window asks for.
    ///
    /// DEVIATES draft-ietf-ccwg-bbr, "Pacing Rate" (the gain times the bandwidth): as the gains have it to
    /// each other, of the window. Behind a first window that is not paced the bandwidth that is measured
    /// lags behind the window, which the pace then keeps from doubling in a round.
    fn startup_rate(&self) -> u64 {
        let min_rtt = self.model.min_rtt;
        if self.state != State::Startup || min_rtt.is_zero() {
            return 0;
        }
        let gained = u128::from(self.cwnd) * u128::from(State::Startup.pacing_gain());
        let rate = gained * 1_000_000_000 / u128::from(State::Startup.cwnd_gain());
        u64::try_from(rate / min_rtt.as_nanos()).unwrap_or(u64::MAX)
    }

    /// How much of the bandwidth is used, hundredths.
    ///
    /// DEVIATES draft-ietf-ccwg-bbr, "Pacing Rate" (always a margin below the bandwidth): cruising with an
    /// empty queue goes a little beyond it. There a margin drains nothing and is a part of the path
    /// that nobody uses, and losses by chance take a part more; the first queue ends it.
    fn pacing_share(&self) -> u64 {
        let fills = self.state == State::Cruise && self.cycle.queue_empty;
        if fills { 100 + PACING_SURPLUS } else { 100 - PACING_MARGIN }
    }

    /// "Send Quantum", as the pacer has it.
    fn quantum(&self) -> u32 {
        let worth = u32::try_from(self.pacing_rate / 1_000).unwrap_or(u32::MAX);
        worth.min(MAX_QUANTUM_BYTES).max(2 * self.mss)
    }

    /// BBRQuantizationBudget.
    fn with_budget(&self, inflight: u64) -> u32 {
        let least = (3 * self.quantum()).max(self.min_pipe());
        let inflight = u32::try_from(inflight).unwrap_or(MAX_CWND_BYTES).max(least);
        let more = if self.state == State::Up { 2 * self.mss } else { 0 };
        inflight.saturating_add(more).min(MAX_CWND_BYTES)
    }

    /// BBRInflight: what keeps the path busy, times `gain` hundredths.
    fn inflight(&self, gain: u64) -> u32 {
        self.with_budget(self.bdp_times(gain))
    }

    /// BBRBDPMultiple, `gain` in hundredths.
    fn bdp_times(&self, gain: u64) -> u64 {
        self.model.bdp().map_or(u64::from(self.initial_cwnd), |bdp| bdp.saturating_mul(gain) / 100)
    }

    /// BBR.MinPipeCwnd.
    fn min_pipe(&self) -> u32 {
        4 * self.mss
    }

    /// BBRTargetInflight.
    fn target_inflight(&self) -> u32 {
        self.cwnd.min(u32::try_from(self.bdp_times(100)).unwrap_or(u32::MAX))
    }

    /// BBRInflightWithHeadroom: room for others.
    fn inflight_with_headroom(&self) -> u32 {
        let long = self.model.inflight_long;
        if long == u32::MAX {
            return long;
        }
        let headroom = self.mss.max((u64::from(long) * HEADROOM / 100) as u32);
        long.saturating_sub(headroom).max(self.min_pipe())
    }

    /// BBRProbeRTTCwnd.
    fn probe_rtt_cwnd(&self) -> u32 {
        let half = self.bdp_times(State::ProbeRtt.cwnd_gain());
        u32::try_from(half).unwrap_or(MAX_CWND_BYTES).max(self.min_pipe())
    }

    /// "cwnd Adjustment Mechanism".
    fn set_cwnd(&mut self, sample: &Sample) {
        let wanted = self.bdp_times(self.state.cwnd_gain());
        let most = self.with_budget(wanted.saturating_add(u64::from(self.model.extra_acked())));
        let grown = self.cwnd.saturating_add(sample.newly_delivered).min(MAX_CWND_BYTES);
        if self.conserves(sample) {
            self.cwnd = sample.in_flight.saturating_add(sample.newly_delivered).min(self.cwnd);
        } else if self.cycle.full_bw_reached {
            self.cwnd = grown.min(most);
        } else if self.cwnd < most || sample.delivered_total < u64::from(self.initial_cwnd) {
            self.cwnd = grown;
        }
        self.cwnd = self.cwnd.max(self.min_pipe());
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        // BBRBoundCwndForModel.
        let cap = match self.state {
            State::Down | State::Refill | State::Up => self.model.inflight_long,
            State::Cruise | State::ProbeRtt => self.inflight_with_headroom(),
            State::Startup | State::Drain => u32::MAX,
        };
        self.cwnd = self.cwnd.min(cap.min(self.model.inflight_short).max(self.min_pipe()));
    }

    /// Is this the first round of a recovery that Startup has brought about?
    ///
    /// DEVIATES draft-ietf-ccwg-bbr, "Recovery" (the window stays): as in version 1. Startup fills the queue to
    /// the brim; what leaves in place of what was lost does not fit it, nor do retransmissions, and each
    /// that is lost holds up a round of data.
    fn conserves(&mut self, sample: &Sample) -> bool {
        self.conserving = match self.conserving {
            Conserving::Soon if self.has_long_queue(sample) => {
                Conserving::Since(sample.delivered_total)
            }
            Conserving::Soon => Conserving::Not,
            Conserving::Since(delivered) if sample.prior_delivered >= delivered => Conserving::Not,
            same => same,
        };
        self.conserving != Conserving::Not
    }

    /// Is there a queue, so that what is lost may be so for want of room?
    fn has_long_queue(&self, sample: &Sample) -> bool {
        sample.rtt.is_some_and(|rtt| rtt > self.model.min_rtt + self.model.min_rtt / LONG_QUEUE)
    }

    /// BBRSaveCwnd.
    fn save_cwnd(&mut self) {
        let is_small = self.in_recovery || self.state == State::ProbeRtt;
        self.prior_cwnd = if is_small { self.prior_cwnd.max(self.cwnd) } else { self.cwnd };
    }

    /// BBRRestoreCwnd.
    fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }

    /// BBRNoteLoss.
    fn note_loss(&mut self, bytes: u32, delivered_total: u64) {
        if self.model.note_loss(bytes, delivered_total) {
            self.undo = Undo {
                state: self.state,
                bw_short: self.model.bw_short,
                inflight_short: self.model.inflight_short,
                inflight_long: self.model.inflight_long,
            };
        }
    }

    /// BBRHandleInflightTooHigh.
    fn on_inflight_too_high(&mut self, now: Instant, inflight: u32, app_limited: bool) {
        self.cycle.probe_samples = false;
        if !app_limited {
            let least = (u64::from(self.target_inflight()) * BETA / 100) as u32;
            self.model.inflight_long = inflight.max(least);
        }
        if self.state == State::Up {
            self.start_down(now);
        }
    }
}

impl CongestionControl for Bbr {
    fn cwnd_bytes(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh_bytes(&self) -> u32 {
        u32::MAX
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn is_model_based(&self) -> bool {
        true
    }

    /// "Per-ACK Steps".
    fn on_sample(&mut self, sample: &Sample) {
        self.mss = sample.mss;
        if sample.newly_delivered == 0 {
            return;
        }
        let is_probing = self.state.is_probing();
        let cwnd = self.cwnd;
        self.model.take_rate(sample, self.cycle.is_low(sample));
        if self.model.round_start {
            self.cycle.rounds_since_probe = self.cycle.rounds_since_probe.saturating_add(1);
        }
        let too_marked = self.model.take_marks(sample);
        self.model.take_congestion(is_probing, cwnd, self.mss);
        self.model.take_aggregation(sample, cwnd, self.cycle.full_bw_reached);
        self.update_state(sample, too_marked);
        self.model.end_sample(sample);
        self.set_pacing_rate(self.state.pacing_gain());
        self.set_cwnd(sample);
    }

    /// BBRHandleLostPacket.
    fn on_lost(&mut self, lost: &Lost) {
        self.note_loss(lost.bytes, lost.delivered_total);
        self.cycle.count_range(lost);
        if self.cycle.probe_samples && is_too_high(lost.lost, lost.in_flight_then, self.mss) {
            self.on_inflight_too_high(lost.now, inflight_at_loss(lost), lost.app_limited);
        }
    }

    /// "Restarting From Idle".
    fn on_restart(&mut self, now: Instant, app_limited: bool) {
        if !app_limited {
            return;
        }
        self.cycle.idle_restart = true;
        self.model.restart_aggregation(now);
        if self.state.is_probe_bw() {
            self.set_pacing_rate(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }

    fn on_loss(&mut self, _flight: u32, _mss: u32) {
        // BBROnEnterFastRecovery.
        self.save_cwnd();
        self.in_recovery = true;
        if self.state == State::Startup {
            self.conserving = Conserving::Soon;
        }
    }

    /// RFC 3168 §5: as losses that are too many.
    fn on_ecn(&mut self, _flight: u32, _mss: u32) {
        self.model.note_echo();
        if self.cycle.probe_samples {
            self.on_inflight_too_high(self.model.now, self.target_inflight(), false);
        } else if !self.cycle.full_bw_reached {
            self.cycle.full_bw_reached = true;
            self.model.inflight_long = self.target_inflight().max(self.min_pipe());
        }
    }

    fn on_repaired(&mut self) {
        self.conserving = Conserving::Not;
        if std::mem::take(&mut self.in_recovery) {
            self.restore_cwnd();
        }
    }

    /// BBROnEnterRTO.
    fn on_timeout(&mut self, _flight: u32, mss: u32, _again: bool) {
        self.save_cwnd();
        self.in_recovery = true;
        self.conserving = Conserving::Not;
        self.cycle.reset_full_bw(0);
        if !self.state.is_probing() && self.model.inflight_short == u32::MAX {
            // What the short-term bound starts from is the window before the time-out, as on Linux.
            self.model.inflight_short = self.cwnd.max(self.prior_cwnd);
        }
        self.cwnd = loss_window(mss);
    }

    /// "Handling a Spurious Loss Recovery".
    fn restore(&mut self, _cwnd_bytes: u32, _ssthresh_bytes: u32) {
        let Undo { state, bw_short, inflight_short, inflight_long } = self.undo;
        self.cycle.reset_full_bw(0);
        self.model.undo(bw_short, inflight_short, inflight_long);
        if self.state != State::ProbeRtt && self.state != state {
            match state {
                State::Startup => self.state = State::Startup,
                State::Up => self.start_up(self.model.bw()),
                _ => {}
            }
        }
        self.restore_cwnd();
    }
}

/// IsInflightTooHigh: of what was in flight, too much was lost.
///
/// DEVIATES draft-ietf-ccwg-bbr, "BBRIsInflightTooHigh" (more than the threshold): by more than two
/// standard deviations of what chance makes of the threshold. Of 86 segments that are lost one in a
/// hundred by themselves two are lost in every fifth round, which would be too many.
fn is_too_high(lost: u32, in_flight: u32, mss: u32) -> bool {
    is_beyond_threshold(lost.into(), in_flight.into(), mss)
}

/// Bytes `lost` of those that were `sent` in segments of `mss`.
fn is_beyond_threshold(lost: u64, sent: u64, mss: u32) -> bool {
    let per = u128::from(100 / LOSS_THRESHOLD);
    let (lost, sent) = (u128::from(lost) * per, u128::from(sent));
    let beyond = lost.saturating_sub(sent);
    lost > sent && beyond * beyond > 4 * per * sent * u128::from(mss)
}

/// BBRInflightAtLoss: with how much in flight the losses went beyond the threshold, in the middle of
/// what left together.
fn inflight_at_loss(lost: &Lost) -> u32 {
    let inflight = u64::from(lost.in_flight_then.saturating_sub(lost.bytes));
    let before = u64::from(lost.lost.saturating_sub(lost.bytes));
    let prefix = (inflight * LOSS_THRESHOLD).saturating_sub(before * 100) / (100 - LOSS_THRESHOLD);
    u32::try_from(inflight + prefix).unwrap_or(u32::MAX)
}

/// BBR.LossThresh, hundredths.
const LOSS_THRESHOLD: u64 = 2;
/// BBR.Beta, hundredths.
const BETA: u64 = 70;
/// BBR.Headroom, hundredths.
const HEADROOM: u64 = 15;
/// BBR.PacingMarginPercent.
const PACING_MARGIN: u64 = 1;
/// Beyond the bandwidth while the queue is empty, hundredths.
const PACING_SURPLUS: u64 = 1;
/// A queue is long from such a part of the shortest round trip on.
const LONG_QUEUE: u32 = 16;
const MAX_QUANTUM_BYTES: u32 = 65_535;
