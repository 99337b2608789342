//! How much may fly: congestion control, apart from who resends what.

mod newreno;

pub(crate) use newreno::NewReno;

/// What a congestion control algorithm is told, and what it answers.
///
/// It knows bytes only; recovery tells it about loss once per event, and adds its own inflation
/// on top of [`cwnd_bytes`](Self::cwnd_bytes).
pub trait CongestionControl {
    /// Bytes that may be in flight, at least one segment.
    fn cwnd_bytes(&self) -> u32;

    /// Where slow start ends.
    fn ssthresh_bytes(&self) -> u32;

    /// `acked` bytes of new data were acknowledged outside recovery, and the window was in use.
    fn on_ack(&mut self, acked: u32, mss: u32);

    /// A segment was lost with `flight` bytes outstanding; others still arrive.
    fn on_loss(&mut self, flight: u32, mss: u32);

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

/// The initial window, bytes: min (10 MSS, max (2 MSS, 14600)). Source: RFC 6928 §2.
pub(crate) fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

/// The window after loss of a SYN or a SYN-ACK, bytes. Source: RFC 5681 §3.1 (MUST).
pub(crate) fn loss_window(mss: u32) -> u32 {
    mss
}
