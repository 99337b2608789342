//! How much may fly: congestion control, apart from who resends what.

mod cubic;
mod hystart;
mod newreno;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use libnet::Instant;

use super::seq::SeqNumber;
use cubic::Cubic;
use newreno::NewReno;

/// An acknowledgement of new data outside recovery.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ack {
    /// When it came.
    pub now: Instant,
    /// How much it acknowledges, bytes.
    pub bytes: u32,
    /// Data bytes of a segment.
    pub mss: u32,
    /// The smoothed round trip; zero before the first measurement.
    pub srtt: Duration,
    /// The round trip of what it acknowledges, where that is known.
    pub rtt: Option<Duration>,
    /// SND.UNA after it.
    pub una: SeqNumber,
    /// One past the last number sent.
    pub end: SeqNumber,
}

/// What a congestion control algorithm is told, and what it answers.
///
/// It knows bytes only; recovery tells it about loss once per event, and adds its own inflation
/// on top of [`cwnd_bytes`](Self::cwnd_bytes).
pub trait CongestionControl {
    /// Bytes that may be in flight, at least one segment.
    fn cwnd_bytes(&self) -> u32;

    /// Where slow start ends.
    fn ssthresh_bytes(&self) -> u32;

    /// New data were acknowledged outside recovery, and the window was in use.
    fn on_ack(&mut self, ack: &Ack);

    /// The same, but the window was not in use: the application had less to send.
    fn on_unlimited_ack(&mut self, _now: Instant) {}

    /// A segment was lost with `flight` bytes outstanding; others still arrive.
    fn on_loss(&mut self, flight: u32, mss: u32);

    /// The network has marked a segment instead of losing it, with `flight` bytes outstanding; told
    /// once for each window. Source: RFC 3168 §5: as a loss, unless an algorithm knows better.
    fn on_ecn(&mut self, flight: u32, mss: u32) {
        self.on_loss(flight, mss);
    }

    /// Recovery has ended with `flight` bytes outstanding.
    fn on_recovered(&mut self, flight: u32, mss: u32);

    /// The retransmission timer expired with `flight` bytes outstanding; `again` if it is not the
    /// first time for this segment.
    fn on_timeout(&mut self, flight: u32, mss: u32, again: bool);

    /// The last reduction was for nothing: the window is at least what it was, and slow start ends
    /// no earlier than it did. Source: RFC 4015 §3.2.
    fn restore(&mut self, cwnd_bytes: u32, ssthresh_bytes: u32);

    /// Nothing was sent for longer than the RTO.
    fn on_idle(&mut self, mss: u32);
}

/// Which algorithm a connection uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum CongestionAlgorithm {
    /// RFC 5681: half the window on a loss, a segment more each round trip.
    NewReno,
    /// RFC 9438 with RFC 9406: the window does not depend on the round trip.
    #[default]
    Cubic,
}

impl CongestionAlgorithm {
    /// All there are.
    pub const ALL: [CongestionAlgorithm; 2] =
        [CongestionAlgorithm::NewReno, CongestionAlgorithm::Cubic];

    /// Their names, in that order.
    pub const NAMES: [&'static str; Self::ALL.len()] = {
        let (mut names, mut at) = ([""; Self::ALL.len()], 0);
        while at < names.len() {
            names[at] = Self::ALL[at].name();
            at += 1;
        }
        names
    };

    /// As Linux names it (`net.ipv4.tcp_congestion_control`).
    pub const fn name(self) -> &'static str {
        match self {
            CongestionAlgorithm::NewReno => "reno",
            CongestionAlgorithm::Cubic => "cubic",
        }
    }
}

impl fmt::Display for CongestionAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No algorithm has that name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such congestion control: reno or cubic")]
pub struct NoSuchAlgorithm;

impl FromStr for CongestionAlgorithm {
    type Err = NoSuchAlgorithm;

    fn from_str(name: &str) -> Result<Self, NoSuchAlgorithm> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or(NoSuchAlgorithm)
    }
}

/// The controller of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Controller {
    NewReno(NewReno),
    Cubic(Cubic),
}

impl Controller {
    /// One at the initial window, or at one segment if a SYN or SYN-ACK was lost.
    pub(crate) fn new(algorithm: CongestionAlgorithm, mss: u32, syn_lost: bool) -> Self {
        match algorithm {
            CongestionAlgorithm::NewReno => Controller::NewReno(NewReno::new(mss, syn_lost)),
            CongestionAlgorithm::Cubic => Controller::Cubic(Cubic::new(mss, syn_lost)),
        }
    }

    /// Which it is.
    pub(crate) const fn algorithm(&self) -> CongestionAlgorithm {
        match self {
            Controller::NewReno(_) => CongestionAlgorithm::NewReno,
            Controller::Cubic(_) => CongestionAlgorithm::Cubic,
        }
    }

    fn inner(&self) -> &dyn CongestionControl {
        match self {
            Controller::NewReno(inner) => inner,
            Controller::Cubic(inner) => inner,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn CongestionControl {
        match self {
            Controller::NewReno(inner) => inner,
            Controller::Cubic(inner) => inner,
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

    fn on_timeout(&mut self, flight: u32, mss: u32, again: bool) {
        self.inner_mut().on_timeout(flight, mss, again);
    }

    fn restore(&mut self, cwnd_bytes: u32, ssthresh_bytes: u32) {
        self.inner_mut().restore(cwnd_bytes, ssthresh_bytes);
    }

    fn on_idle(&mut self, mss: u32) {
        self.inner_mut().on_idle(mss);
    }
}

/// The initial window, bytes: min (10 MSS, max (2 MSS, 14600)). Source: RFC 6928 §2.
pub(crate) fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

/// The window after loss of a SYN or a SYN-ACK, bytes. Source: RFC 5681 §3.1 (MUST).
pub(crate) fn loss_window(mss: u32) -> u32 {
    mss
}

/// Above any window that 32-bit sequence numbers allow.
const MAX_CWND_BYTES: u32 = 1 << 30;
