//! How much may fly, and how fast it leaves: congestion control, apart from who resends what.

mod algorithm;
mod bbr;
mod cubic;
mod hystart;
mod newreno;
mod sample;

use std::fmt;

use libnet::Instant;

pub use algorithm::{CongestionAlgorithm, ControllerFactory, Controllers, NoSuchAlgorithm};
use bbr::Bbr;
use cubic::Cubic;
use newreno::NewReno;
pub use sample::{Ack, Begin, Lost, Sample};

/// What a congestion control algorithm is told, and what it answers.
///
/// It knows bytes and rates only. Recovery tells it about loss once per event, and lets out what
/// proportional rate reduction says until the losses are repaired, unless the algorithm
/// [decides for itself](Self::is_model_based). [`ControllerFactory`] has an example.
pub trait CongestionControl: fmt::Debug {
    /// Bytes that may be in flight, at least one segment.
    fn cwnd_bytes(&self) -> u32;

    /// Where slow start ends, and where the window is after a recovery.
    fn ssthresh_bytes(&self) -> u32;

    /// Bytes per second at which data leave at most; `None`: as fast as the window lets them.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// Does it decide from [samples](Self::on_sample) alone how much may fly? Then
    /// [`cwnd_bytes`](Self::cwnd_bytes) counts in a recovery, too, and neither idle time nor an
    /// application that sends little changes the window behind its back. As Linux's `cong_control`.
    fn is_model_based(&self) -> bool {
        false
    }

    /// What an acknowledgement has told of the path. Every one that brings news of data, in a
    /// recovery or not, before [`on_ack`](Self::on_ack).
    fn on_sample(&mut self, _sample: &Sample) {}

    /// Data were taken as lost: once for each run that left together, before
    /// [`on_loss`](Self::on_loss).
    fn on_lost(&mut self, _lost: &Lost) {}

    /// Data leave while nothing is in flight.
    fn on_restart(&mut self, _now: Instant, _app_limited: bool) {}

    /// New data were acknowledged outside recovery, and the window was in use.
    fn on_ack(&mut self, _ack: &Ack) {}

    /// The same, but the window was not in use: the application had less to send.
    fn on_unlimited_ack(&mut self, _now: Instant) {}

    /// A segment was lost with `flight` bytes outstanding; others still arrive.
    fn on_loss(&mut self, flight: u32, mss: u32);

    /// The network has marked a segment instead of losing it, with `flight` bytes outstanding; told
    /// once for each window. Source: RFC 3168 §5: as a loss, unless an algorithm knows better.
    fn on_ecn(&mut self, flight: u32, mss: u32) {
        self.on_loss(flight, mss);
    }

    /// A recovery from a peer without SACK has ended with `flight` bytes outstanding.
    fn on_recovered(&mut self, _flight: u32, _mss: u32) {}

    /// All losses are repaired, or were none.
    fn on_repaired(&mut self) {}

    /// The retransmission timer expired with `flight` bytes outstanding; `again` if it is not the
    /// first time for this segment.
    fn on_timeout(&mut self, flight: u32, mss: u32, again: bool);

    /// The last reduction was for nothing: the window is at least what it was, and slow start ends
    /// no earlier than it did. Source: RFC 4015 §3.2.
    fn restore(&mut self, _cwnd_bytes: u32, _ssthresh_bytes: u32) {}

    /// No data were sent for so many time-outs, one at least.
    fn on_idle(&mut self, _timeouts: u32, _mss: u32) {}

    /// For a time-out no more than `used_bytes` were in flight, less than the window.
    fn on_unused(&mut self, _used_bytes: u32, _mss: u32) {}
}

/// The controller of one connection.
#[derive(Debug)]
pub(crate) enum Controller {
    NewReno(NewReno),
    Cubic(Cubic),
    Bbr(Box<Bbr>),
    Own(&'static str, Box<dyn CongestionControl + Send>),
}

impl Controller {
    /// One that begins so. A name that nobody has added makes it the default.
    pub(crate) fn new(
        algorithm: CongestionAlgorithm,
        controllers: &Controllers,
        begin: &Begin,
    ) -> Self {
        match algorithm {
            CongestionAlgorithm::NewReno => Controller::NewReno(NewReno::new(begin)),
            CongestionAlgorithm::Cubic => Controller::Cubic(Cubic::new(begin)),
            CongestionAlgorithm::Bbr => Controller::Bbr(Box::new(Bbr::new(begin))),
            CongestionAlgorithm::Own(name) => match controllers.make(name, begin) {
                Some(own) => Controller::Own(name, own),
                None => Controller::Cubic(Cubic::new(begin)),
            },
        }
    }

    /// Which it is.
    pub(crate) const fn algorithm(&self) -> CongestionAlgorithm {
        match self {
            Controller::NewReno(_) => CongestionAlgorithm::NewReno,
            Controller::Cubic(_) => CongestionAlgorithm::Cubic,
            Controller::Bbr(_) => CongestionAlgorithm::Bbr,
            Controller::Own(name, _) => CongestionAlgorithm::Own(name),
        }
    }

    /// Does it look at samples? The others are spared their making.
    pub(crate) const fn takes_samples(&self) -> bool {
        matches!(self, Controller::Bbr(_) | Controller::Own(..))
    }

    fn inner(&self) -> &dyn CongestionControl {
        match self {
            Controller::NewReno(inner) => inner,
            Controller::Cubic(inner) => inner,
            Controller::Bbr(inner) => &**inner,
            Controller::Own(_, inner) => &**inner,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn CongestionControl {
        match self {
            Controller::NewReno(inner) => inner,
            Controller::Cubic(inner) => inner,
            Controller::Bbr(inner) => &mut **inner,
            Controller::Own(_, inner) => &mut **inner,
        }
    }
}

impl CongestionControl for Controller {
    fn cwnd_bytes(&self) -> u32 {
        self.inner().cwnd_bytes()
    }

    fn ssthresh_bytes(&self) -> u32 {
        self.inner().ssthresh_bytes()
    }

    fn pacing_rate(&self) -> Option<u64> {
        self.inner().pacing_rate()
    }

    fn is_model_based(&self) -> bool {
        self.takes_samples() && self.inner().is_model_based()
    }

    fn on_sample(&mut self, sample: &Sample) {
        self.inner_mut().on_sample(sample);
    }

    fn on_lost(&mut self, lost: &Lost) {
        self.inner_mut().on_lost(lost);
    }

    fn on_restart(&mut self, now: Instant, app_limited: bool) {
        self.inner_mut().on_restart(now, app_limited);
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.inner_mut().on_ack(ack);
    }

    fn on_unlimited_ack(&mut self, now: Instant) {
        self.inner_mut().on_unlimited_ack(now);
    }

    fn on_loss(&mut self, flight: u32, mss: u32) {
        self.inner_mut().on_loss(flight, mss);
    }

    fn on_ecn(&mut self, flight: u32, mss: u32) {
        self.inner_mut().on_ecn(flight, mss);
    }

    fn on_recovered(&mut self, flight: u32, mss: u32) {
        self.inner_mut().on_recovered(flight, mss);
    }

    fn on_repaired(&mut self) {
        self.inner_mut().on_repaired();
    }

    fn on_timeout(&mut self, flight: u32, mss: u32, again: bool) {
        self.inner_mut().on_timeout(flight, mss, again);
    }

    fn restore(&mut self, cwnd_bytes: u32, ssthresh_bytes: u32) {
        self.inner_mut().restore(cwnd_bytes, ssthresh_bytes);
    }

    fn on_idle(&mut self, timeouts: u32, mss: u32) {
        self.inner_mut().on_idle(timeouts, mss);
    }

    fn on_unused(&mut self, used_bytes: u32, mss: u32) {
        self.inner_mut().on_unused(used_bytes, mss);
    }
}

/// The initial window, bytes: min (10 MSS, max (2 MSS, 14600)). Source: RFC 6928 §2.
pub(crate) fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

/// A window and its threshold after so many time-outs without data.
///
/// DEVIATES RFC 5681 §4.1 (SHOULD: the restart window, min (IW, cwnd), after one time-out): by half for
/// each time-out, down to that, as RFC 2861 §3 has it and Linux does.
fn after_idle(cwnd: u32, ssthresh: u32, timeouts: u32, mss: u32) -> (u32, u32) {
    let least = cwnd.min(initial_window(mss));
    let halved = cwnd.checked_shr(timeouts).unwrap_or(0);
    (halved.max(least), ssthresh.max(three_quarters(cwnd)))
}

/// The same after a time-out in which no more than `used` of it were. Source: RFC 2861 §3, as Linux.
fn after_disuse(cwnd: u32, ssthresh: u32, used: u32, mss: u32) -> (u32, u32) {
    let used = used.max(initial_window(mss));
    if used >= cwnd {
        return (cwnd, ssthresh);
    }
    (cwnd - (cwnd - used) / 2, ssthresh.max(three_quarters(cwnd)))
}

/// What slow start may reach again at once. Source: RFC 2861 §3.
fn three_quarters(cwnd: u32) -> u32 {
    cwnd - cwnd / 4
}

/// The window after loss of a SYN or a SYN-ACK, bytes. Source: RFC 5681 §3.1 (MUST).
pub(crate) fn loss_window(mss: u32) -> u32 {
    mss
}

/// Above any window that 32-bit sequence numbers allow.
const MAX_CWND_BYTES: u32 = 1 << 30;
