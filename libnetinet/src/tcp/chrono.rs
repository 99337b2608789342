//! What held a sender back, and for how long: the peer's window, its own buffer, or the network.

use libnet::Instant;

use super::tcb::Connection;

/// What a sender's time has gone to. Source: Linux's `tcp_info`.
#[derive(Debug)]
pub(super) struct Chrono {
    limit: Limit,
    since: Instant,
    spent: LimitedTimes,
}

/// For how long a sender was busy, and of this, held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LimitedTimes {
    pub(super) busy_nanos: u64,
    pub(super) receive_window_nanos: u64,
    pub(super) send_buffer_nanos: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Limit {
    /// There is nothing to send.
    Nothing,
    /// The network, or congestion control.
    Network,
    /// The peer's window.
    ReceiveWindow,
    /// All that the buffer held has left, and its writer waits for room.
    SendBuffer,
}

impl Chrono {
    pub(super) fn new(now: Instant) -> Self {
        Chrono { limit: Limit::Nothing, since: now, spent: LimitedTimes::default() }
    }

    /// The times up to now.
    pub(super) fn times(&self, now: Instant) -> LimitedTimes {
        let mut times = self.spent;
        let passed = now.as_nanos().saturating_sub(self.since.as_nanos());
        match self.limit {
            Limit::Nothing => return times,
            Limit::Network => {}
            Limit::ReceiveWindow => times.receive_window_nanos += passed,
            Limit::SendBuffer => times.send_buffer_nanos += passed,
        }
        times.busy_nanos += passed;
        times
    }

    fn turn_to(&mut self, now: Instant, limit: Limit) {
        if self.limit != limit {
            self.spent = self.times(now);
            (self.limit, self.since) = (limit, now);
        }
    }
}

impl Connection {
    /// All that can be sent has left: notes what is in the way of more.
    pub(super) fn note_limit(&mut self, now: Instant) {
        let limit = self.what_limits();
        self.cold.chrono.turn_to(now, limit);
    }

    fn what_limits(&self) -> Limit {
        let Some(buffer) = &self.send_buffer else { return Limit::Nothing };
        let data_end = self.snd_una + buffer.len() as u32;
        let unsent = data_end.saturating_since(self.snd_nxt);
        if unsent == 0 {
            return if self.mode.writer_waits { Limit::SendBuffer } else { Limit::Network };
        }
        let window = (self.snd_una + self.snd_wnd).saturating_since(self.snd_nxt);
        let next = unsent.min(self.mss.into());
        if window < next && self.send_room() >= next {
            Limit::ReceiveWindow
        } else {
            Limit::Network
        }
    }
}
