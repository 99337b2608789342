//! Which requests are on their way, by their 16-bit numbers.

use std::time::Duration;

use libnet::Instant;

/// What became of the last request of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Never,
    Sent(Instant),
    Answered(Instant),
    Failed,
}

/// An answer, with the time since its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    First(Duration),
    Again(Duration),
}

/// The last 65,536 requests.
#[derive(Debug)]
pub(super) struct Flight {
    fates: Vec<Fate>,
    /// Requests sent so far; the next has this number plus one.
    sent: u64,
    /// Answered or failed.
    settled: u64,
    last_sent: Instant,
}

impl Flight {
    pub(super) fn new() -> Self {
        let fates = vec![Fate::Never; 1 << 16];
        Flight { fates, sent: 0, settled: 0, last_sent: Instant::ZERO }
    }

    /// The number of the next request; the first is 1.
    pub(super) fn next_seq(&self) -> u16 {
        (self.sent + 1) as u16
    }

    pub(super) fn sent(&mut self, seq: u16, at: Instant) {
        if let Fate::Sent(_) = self.fates[usize::from(seq)] {
            // Its number came round again: nobody will answer it any more.
            self.settled += 1;
        }
        self.fates[usize::from(seq)] = Fate::Sent(at);
        self.sent += 1;
        self.last_sent = at;
    }

    /// Notes an answer; `None` if there was no such request.
    pub(super) fn answered(&mut self, seq: u16, at: Instant) -> Option<Arrival> {
        let fate = &mut self.fates[usize::from(seq)];
        match *fate {
            Fate::Never => None,
            Fate::Sent(sent) => {
                *fate = Fate::Answered(sent);
                self.settled += 1;
                Some(Arrival::First(at.since(sent)))
            }
            Fate::Answered(sent) => Some(Arrival::Again(at.since(sent))),
            Fate::Failed => {
                *fate = Fate::Answered(at);
                Some(Arrival::First(Duration::ZERO))
            }
        }
    }

    /// Notes an error about a request; whether it was the first news of it.
    pub(super) fn failed(&mut self, seq: u16) -> bool {
        let fate = &mut self.fates[usize::from(seq)];
        if !matches!(fate, Fate::Sent(_)) {
            return false;
        }
        *fate = Fate::Failed;
        self.settled += 1;
        true
    }

    /// How many of the last requests may still be answered.
    pub(super) fn unanswered(&self) -> u64 {
        self.sent - self.settled
    }

    /// The numbers of the requests that may still be answered, oldest first.
    pub(super) fn all_unanswered(&self) -> Vec<u16> {
        let oldest = self.sent.saturating_sub(65_535);
        let all = (oldest..=self.sent).map(|n| n as u16);
        all.filter(|&seq| matches!(self.fates[usize::from(seq)], Fate::Sent(_))).collect()
    }

    /// How many requests were sent from number `seq` on.
    pub(super) fn span(&self, seq: u16) -> u64 {
        u64::from((self.sent as u16).wrapping_sub(seq)) + 1
    }

    /// Were all `count` sent, and is something known of each?
    pub(super) fn is_settled(&self, count: u64) -> bool {
        self.sent >= count && self.unanswered() == 0
    }

    /// The number of the last request if it is unanswered.
    pub(super) fn last_unanswered(&self) -> Option<u16> {
        let seq = self.sent as u16;
        matches!(self.fates[usize::from(seq)], Fate::Sent(_)).then_some(seq)
    }

    pub(super) fn last_sent(&self) -> Instant {
        self.last_sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn the_second_answer_is_a_duplicate() {
        let mut flight = Flight::new();
        assert_eq!(flight.next_seq(), 1);
        flight.sent(1, at(10));
        assert_eq!(flight.unanswered(), 1);
        assert_eq!(flight.answered(1, at(12)), Some(Arrival::First(Duration::from_millis(2))));
        assert_eq!(flight.answered(1, at(13)), Some(Arrival::Again(Duration::from_millis(3))));
        assert_eq!(flight.answered(2, at(13)), None);
        assert!(flight.is_settled(1));
    }

    #[test]
    fn an_error_settles_a_request_once() {
        let mut flight = Flight::new();
        flight.sent(1, at(0));
        flight.sent(2, at(1));
        assert_eq!(flight.last_unanswered(), Some(2));
        assert_eq!(flight.all_unanswered(), [1, 2]);
        assert!(flight.failed(1));
        assert!(!flight.failed(1));
        assert!(!flight.failed(7));
        assert_eq!(flight.span(1), 2);
        assert_eq!(flight.unanswered(), 1);
    }

    #[test]
    fn numbers_come_round() {
        let mut flight = Flight::new();
        for n in 1..=70_000u64 {
            assert_eq!(flight.next_seq(), n as u16);
            flight.sent(n as u16, at(n));
        }
        assert_eq!(flight.unanswered(), 65_536);
    }
}
