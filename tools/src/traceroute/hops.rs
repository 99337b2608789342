//! Which probes were sent, and what came of them; decides when a trace is done.

use std::net::IpAddr;
use std::time::Duration;

use libnet::Instant;

use crate::trace::{Answer, Outcome};

/// A probe.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) sent_at: Instant,
    pub(super) answer: Option<Answer>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    NotSent,
    OnTheWay,
    /// Answered, or given up.
    Over,
}

/// The probes of a trace, hop by hop.
#[derive(Clone, Debug)]
pub(super) struct Hops {
    first_ttl: u8,
    queries: usize,
    probes: Vec<Probe>,
}

impl Hops {
    pub(super) fn new(first_ttl: u8, max_ttl: u8, queries: u8) -> Self {
        let probe = Probe { sent_at: Instant::ZERO, answer: None, state: State::NotSent };
        let count = (usize::from(max_ttl - first_ttl) + 1) * usize::from(queries);
        Hops { first_ttl, queries: usize::from(queries), probes: vec![probe; count] }
    }

    pub(super) fn sent(&mut self, number: usize, at: Instant) {
        let probe = &mut self.probes[number];
        probe.sent_at = at;
        probe.state = State::OnTheWay;
    }

    /// Takes an answer; one to a probe that was given up, or answered before, is nothing.
    pub(super) fn answered(&mut self, answer: Answer) {
        let probe = self.probes.get_mut(usize::from(answer.number));
        if let Some(probe) = probe.filter(|probe| probe.state == State::OnTheWay) {
            probe.answer = Some(answer);
            probe.state = State::Over;
        }
    }

    /// Everything on the way is refused by `from`.
    pub(super) fn refuse_all(&mut self, from: IpAddr, at: Instant, letters: &str) {
        for (number, probe) in self.probes.iter_mut().enumerate() {
            if probe.state == State::OnTheWay {
                let outcome = Outcome::Refused(letters.to_owned());
                probe.answer = Some(Answer { number: number as u16, from, ttl: 0, at, outcome });
                probe.state = State::Over;
            }
        }
    }

    /// Gives up the probes that `is_late` is true for, given what another of the same hop took and
    /// one of a later hop.
    pub(super) fn expire(
        &mut self,
        is_late: impl Fn(&Probe, Option<Duration>, Option<Duration>) -> bool,
    ) {
        for number in 0..self.probes.len() {
            let (here, near) = (self.time_here(number), self.time_near(number));
            let probe = &mut self.probes[number];
            if probe.state == State::OnTheWay && is_late(probe, here, near) {
                probe.state = State::Over;
            }
        }
    }

    /// The least of `left` over all that are on the way.
    pub(super) fn shortest(
        &self,
        left: impl Fn(&Probe, Option<Duration>, Option<Duration>) -> Duration,
    ) -> Option<Duration> {
        let on_the_way =
            self.probes.iter().enumerate().filter(|(_, probe)| probe.state == State::OnTheWay);
        let all = on_the_way
            .map(|(number, probe)| left(probe, self.time_here(number), self.time_near(number)));
        all.min()
    }

    pub(super) const fn first_ttl(&self) -> u8 {
        self.first_ttl
    }

    pub(super) fn ttl_of(&self, number: usize) -> u8 {
        self.first_ttl + (number / self.queries) as u8
    }

    pub(super) fn on_the_way(&self) -> usize {
        self.probes.iter().filter(|probe| probe.state == State::OnTheWay).count()
    }

    /// How many probes are worth sending: none behind the hop that ends the trace.
    pub(super) fn wanted(&self) -> usize {
        self.last_hop().map_or(self.probes.len(), |hop| (hop + 1) * self.queries)
    }

    /// Has every probe that is wanted come to its end?
    pub(super) fn are_done(&self) -> bool {
        self.probes[..self.wanted()].iter().all(|probe| probe.state == State::Over)
    }

    /// The hop, if all of its probes and of those before it are over and it is wanted.
    pub(super) fn finished(&self, hop: usize) -> Option<usize> {
        let end = (hop + 1) * self.queries;
        let is_over = end <= self.wanted()
            && self.probes[..end].iter().all(|probe| probe.state == State::Over);
        is_over.then_some(hop)
    }

    pub(super) fn probes(&self, hop: usize) -> &[Probe] {
        &self.probes[hop * self.queries..(hop + 1) * self.queries]
    }

    /// The first hop at which the destination answered, or somebody refused.
    fn last_hop(&self) -> Option<usize> {
        let ends = |probe: &Probe| {
            probe.answer.as_ref().is_some_and(|answer| answer.outcome != Outcome::Passed)
        };
        self.probes.iter().position(ends).map(|number| number / self.queries)
    }

    fn time_here(&self, number: usize) -> Option<Duration> {
        let hop = number / self.queries;
        self.probes(hop).iter().find_map(time_of)
    }

    fn time_near(&self, number: usize) -> Option<Duration> {
        let behind = (number / self.queries + 1) * self.queries;
        self.probes[behind..].iter().find_map(time_of)
    }
}

fn time_of(probe: &Probe) -> Option<Duration> {
    probe.answer.as_ref().map(|answer| answer.at.since(probe.sent_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u16, outcome: Outcome) -> Answer {
        let at = Instant::from_nanos(2_000_000);
        Answer { number, from: [10, 0, 0, 1].into(), ttl: 64, at, outcome }
    }

    #[test]
    fn a_trace_ends_at_the_first_hop_that_answers_for_the_destination() {
        let mut hops = Hops::new(1, 30, 3);
        for number in 0..9 {
            hops.sent(number, Instant::from_nanos(1_000_000));
        }
        hops.answered(answer(4, Outcome::Reached));
        assert_eq!((hops.wanted(), hops.finished(0), hops.ttl_of(4)), (6, None, 2));
        for number in [0, 1, 2] {
            hops.answered(answer(number, Outcome::Passed));
        }
        assert_eq!((hops.finished(0), hops.finished(1), hops.are_done()), (Some(0), None, false));
        // Another of the same hop took a millisecond, so the rest is not waited for long.
        hops.expire(|_, here, _| here == Some(Duration::from_millis(1)));
        assert_eq!((hops.finished(1), hops.are_done()), (Some(1), true));
        hops.answered(answer(5, Outcome::Reached));
        assert!(hops.probes(1)[2].answer.is_none(), "it was given up");
        assert_eq!(hops.finished(2), None, "not wanted");
    }
}
