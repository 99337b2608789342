//! What a congestion control is told: acknowledgements, samples of the path, losses.

use std::time::Duration;

use libnet::Instant;

use crate::tcp::seq::SeqNumber;

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

/// What an acknowledgement has told of the path: how much came through how fast, and what was lost.
///
/// It is made from the newest of what the acknowledgement has delivered, be it acknowledged or
/// SACKed; "since" counts from when that was sent. Source: draft-ietf-ccwg-bbr, "Delivery Rate
/// Samples", whose names are in brackets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Sample {
    /// When it came.
    pub now: Instant,
    /// Data bytes of a segment.
    pub mss: u32,
    /// Bytes that the peer newly has (RS.newly_acked).
    pub newly_delivered: u32,
    /// Bytes newly taken as lost (RS.newly_lost).
    pub newly_lost: u32,
    /// Bytes delivered since the connection began (C.delivered).
    pub delivered_total: u64,
    /// The same when what was delivered now was sent (RS.prior_delivered).
    pub prior_delivered: u64,
    /// Bytes delivered since (RS.delivered).
    pub delivered: u32,
    /// The longer of the times that sending and acknowledging these took (RS.interval); zero: no
    /// sample of the rate, nothing was delivered or in less than the shortest round trip.
    pub interval: Duration,
    /// Bytes taken as lost since (RS.lost).
    pub lost: u32,
    /// The application gave too little to send, so that the path may be faster (RS.is_app_limited).
    pub app_limited: bool,
    /// Bytes that were in the network when it was sent, with it (RS.tx_in_flight).
    pub in_flight_then: u32,
    /// Bytes in the network now, as far as is known (C.inflight).
    pub in_flight: u32,
    /// The round trip of what came, if it was sent once.
    pub rtt: Option<Duration>,
    /// The smoothed round trip; zero before the first measurement.
    pub srtt: Duration,
    /// The window kept data back in the last round trip (C.is_cwnd_limited).
    pub window_limited: bool,
    /// Losses are being repaired.
    pub in_recovery: bool,
    /// The peer tells what it has beyond a hole (C.has_selective_acks).
    pub sack: bool,
    /// Bytes of what was delivered that came with a mark of congestion, as far as the peer tells.
    pub marked: u32,
}

impl Sample {
    /// The delivery rate, bytes per second; 0 without a sample.
    pub fn delivery_rate(&self) -> u64 {
        if self.interval.is_zero() {
            return 0;
        }
        let rate = u128::from(self.delivered) * 1_000_000_000 / self.interval.as_nanos();
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// A run of data that has just been taken as lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Lost {
    /// When it was.
    pub now: Instant,
    /// Bytes.
    pub bytes: u32,
    /// Its first number.
    pub seq: SeqNumber,
    /// Bytes taken as lost since it was sent, these among them.
    pub lost: u32,
    /// Bytes that were in the network when it was sent, with it.
    pub in_flight_then: u32,
    /// The application gave too little to send then.
    pub app_limited: bool,
    /// Bytes delivered since the connection began.
    pub delivered_total: u64,
}

/// How a controller begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Begin {
    /// When.
    pub now: Instant,
    /// Data bytes of a segment.
    pub mss: u32,
    /// Bytes that may be in flight: the initial window, or what the last controller allowed.
    pub cwnd_bytes: u32,
    /// Where slow start ends; [`u32::MAX`] at first.
    pub ssthresh_bytes: u32,
    /// The smoothed round trip; zero before the first measurement.
    pub srtt: Duration,
    /// Bytes delivered since the connection began.
    pub delivered_total: u64,
    /// A number by chance, another for each connection.
    pub seed: u32,
}

#[cfg(test)]
impl Begin {
    /// A new connection's, with segments of this size.
    pub(super) fn first(mss: u32) -> Self {
        let cwnd_bytes = super::initial_window(mss);
        Begin { mss, cwnd_bytes, ssthresh_bytes: u32::MAX, ..Begin::default() }
    }
}
