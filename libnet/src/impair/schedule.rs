//! What a link is like at which time.

use std::time::Duration;

use super::Impairments;
use crate::time::Instant;

/// Impairments that change as time goes on, counted from when they are given to a link. Impairments
/// alone are a schedule in which nothing changes.
///
/// ```
/// use std::time::Duration;
/// use libnet::impair::{Impairments, Schedule};
/// let second = Duration::from_secs;
/// let schedule = Schedule::new(Impairments::none().delay(Duration::from_millis(20)))
///     .at(second(2), |link| link.rate(10_000_000))
///     .at(second(5), |link| link.loss(0.03))
///     .at(second(6), Impairments::down)
///     .at(second(7), Impairments::up)
///     .again_at(second(10));
/// assert_eq!(schedule.steps().len(), 4);
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Schedule {
    start: Impairments,
    steps: Vec<Step>,
    /// After how long it begins again; zero: never.
    period: Duration,
}

/// A change of a [`Schedule`].
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Step {
    /// How long after the schedule began.
    pub after: Duration,
    /// What is done to frames from then on.
    pub impairments: Impairments,
}

impl Schedule {
    /// This, until a step says otherwise.
    pub const fn new(start: Impairments) -> Self {
        Schedule { start, steps: Vec::new(), period: Duration::ZERO }
    }

    /// Changes what is done, so long after the beginning: `change` is given what was done before. A
    /// time before that of the last step counts as that.
    #[must_use]
    pub fn at(mut self, after: Duration, change: impl FnOnce(Impairments) -> Impairments) -> Self {
        let impairments = change(self.last().clone());
        let after = self.steps.last().map_or(after, |step| step.after.max(after));
        self.steps.push(Step { after, impairments });
        self
    }

    /// Begins again so long after the beginning, but not before the last step; zero: never.
    #[must_use]
    pub const fn again_at(mut self, after: Duration) -> Self {
        self.period = after;
        self
    }

    /// What is done at first.
    pub const fn start(&self) -> &Impairments {
        &self.start
    }

    /// What is done after the last step.
    pub fn last(&self) -> &Impairments {
        self.steps.last().map_or(&self.start, |step| &step.impairments)
    }

    /// The changes, in order of time.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// After how long it begins again; `None`: never.
    pub fn period(&self) -> Option<Duration> {
        let last = self.steps.last().map_or(Duration::ZERO, |step| step.after);
        (!self.period.is_zero() && !self.steps.is_empty()).then(|| self.period.max(last))
    }

    /// What is done so long after the beginning.
    pub fn holds_after(&self, time: Duration) -> &Impairments {
        let in_round = match self.period() {
            Some(period) => time.as_nanos() % period.as_nanos().max(1),
            None => time.as_nanos(),
        };
        let come = self.steps.partition_point(|step| step.after.as_nanos() <= in_round);
        come.checked_sub(1).map_or(&self.start, |last| &self.steps[last].impairments)
    }

    /// Does it never do anything to any frame?
    pub fn is_none(&self) -> bool {
        self.start.is_none() && self.steps.iter().all(|step| step.impairments.is_none())
    }
}

impl From<Impairments> for Schedule {
    fn from(impairments: Impairments) -> Self {
        Schedule::new(impairments)
    }
}

impl From<&Impairments> for Schedule {
    fn from(impairments: &Impairments) -> Self {
        Schedule::new(impairments.clone())
    }
}

impl From<&Schedule> for Schedule {
    fn from(schedule: &Schedule) -> Self {
        schedule.clone()
    }
}

impl Default for Schedule {
    /// Nothing is done, ever.
    fn default() -> Self {
        Schedule::new(Impairments::none())
    }
}

/// A schedule that a link goes through, as far as it has come.
pub(super) struct Running {
    schedule: Schedule,
    /// When it began, or began again last; `None`: with the first look at the time.
    began: Option<Instant>,
    /// The step that comes next; the one after the last is the beginning.
    next: usize,
    is_repeated: bool,
}

impl Running {
    /// `None` if nothing will change.
    pub(super) fn new(schedule: Schedule) -> Option<Box<Self>> {
        let changes = !schedule.steps.is_empty();
        changes.then(|| Box::new(Running { schedule, began: None, next: 0, is_repeated: false }))
    }

    /// Begins, unless it has.
    pub(super) fn begin(&mut self, now: Instant) -> Instant {
        *self.began.get_or_insert(now)
    }

    /// When the next step is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let after = match self.schedule.steps.get(self.next) {
            Some(step) => step.after,
            None => self.schedule.period()?,
        };
        self.began.map(|began| began + after)
    }

    /// The next step that is due, and since when.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Instant, Impairments)> {
        let began = self.begin(now);
        let at = self.next_at().filter(|at| *at <= now)?;
        let Some(step) = self.schedule.steps.get(self.next) else {
            // Of the rounds that are left out nothing holds.
            let began = self.begin_again(began, now);
            return Some((began, self.schedule.start.clone()));
        };
        self.next += 1;
        Some((at, step.impairments.clone()))
    }

    /// Whole rounds in which nobody looked are left out.
    fn begin_again(&mut self, began: Instant, now: Instant) -> Instant {
        let period = self.schedule.period().unwrap_or(Duration::MAX);
        let rounds = now.since(began).as_nanos() / period.as_nanos().max(1);
        let passed = period.as_nanos().saturating_mul(rounds);
        let began = began + Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX));
        (self.began, self.next, self.is_repeated) = (Some(began), 0, true);
        began
    }

    /// Will nothing change any more?
    pub(super) fn is_over(&self) -> bool {
        self.next >= self.schedule.steps.len() && self.schedule.period().is_none()
    }

    /// When the first step was to come that has never come so far, counted from the beginning.
    pub(super) fn never_came(&self) -> Option<Duration> {
        let next = self.schedule.steps.get(self.next).filter(|_| !self.is_repeated);
        next.map(|step| step.after)
    }

    /// What holds `now`, whoever has looked; `None` before it began.
    pub(super) fn at(&self, now: Instant) -> Option<&Impairments> {
        self.began.map(|began| self.schedule.holds_after(now.since(began)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ethernet::MacAddr;
    use crate::impair::{Delivery, Impair};
    use crate::link::LinkInfo;
    use crate::packet::Packet;

    const SECOND: Duration = Duration::from_secs(1);

    fn impair(schedule: Schedule) -> Impair {
        Impair::new(schedule, &LinkInfo::ethernet("test", "", MacAddr::ZERO, 1_500), [7; 32])
    }

    /// 1,000 bytes at each of these seconds; which of them arrived, and when, in milliseconds.
    fn send_at(impair: &mut Impair, seconds: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut out = Vec::new();
        impair.advance(Instant::ZERO, &mut out);
        for second in seconds {
            let now = Instant::ZERO + SECOND * second as u32;
            while let Some(at) = impair.next_at().filter(|at| *at <= now) {
                impair.advance(at, &mut out);
            }
            let frame = Packet::from_payload(Bytes::from(vec![0; 1_000]));
            impair.offer(now, frame, &mut out);
        }
        while let Some(at) = impair.next_at() {
            impair.advance(at, &mut out);
        }
        out.iter().map(|Delivery { at, .. }| at.as_millis()).collect()
    }

    #[test]
    fn each_step_holds_until_the_next() {
        let schedule = Schedule::new(Impairments::none().delay(SECOND / 100))
            .at(SECOND * 2, |link| link.rate(8_000_000))
            .at(SECOND * 4, Impairments::down)
            .at(SECOND * 6, |link| link.up().delay(Duration::ZERO));
        let mut impair = impair(schedule);
        assert!(!impair.is_settled());
        let arrived = send_at(&mut impair, 1..8);
        assert_eq!(arrived, [1_010, 2_011, 3_011, 6_001, 7_001], "none at 4 and 5");
        assert_eq!(impair.stats().lost_down, 2);
        assert!(impair.is_settled() && impair.unfired().is_empty());
    }

    #[test]
    fn a_frame_on_the_wire_goes_on_at_the_new_rate_and_no_look_comes_late() {
        let schedule = Schedule::new(Impairments::none().rate(1_000))
            .at(SECOND * 4, |link| link.rate(1_000_000));
        // 8 s at the first rate: half are over when the rest takes 4 ms.
        assert_eq!(send_at(&mut impair(schedule), [0]), [4_004]);
    }

    #[test]
    fn a_schedule_begins_again_and_rounds_that_nobody_saw_are_left_out() {
        let schedule =
            Schedule::new(Impairments::none()).at(SECOND, Impairments::down).again_at(SECOND * 2);
        let up = send_at(&mut impair(schedule.clone()), [0, 1, 2, 3, 4, 5, 1_000_000, 1_000_001]);
        assert_eq!(up, [0, 2_000, 4_000, 1_000_000_000]);
        assert!(!impair(schedule).is_settled());
    }

    #[test]
    fn impairments_given_anew_end_it_and_steps_that_never_came_are_named() {
        let schedule = Schedule::new(Impairments::none())
            .at(SECOND, |link| link)
            .at(SECOND * 10, Impairments::down);
        let mut impair = impair(schedule);
        assert_eq!(send_at(&mut impair, [5]), [5_000]);
        assert_eq!(impair.unfired(), ["schedule from 10s on (no frame came)"]);
        impair.configure(Impairments::none());
        assert_eq!(send_at(&mut impair, [20]), [20_000]);
        assert!(impair.is_settled() && impair.unfired().is_empty());
    }

    #[test]
    fn a_step_is_never_before_the_one_it_follows() {
        let schedule = Schedule::default().at(SECOND * 2, Impairments::down).at(SECOND, |l| l.up());
        assert_eq!(schedule.steps()[1].after, SECOND * 2);
        assert_eq!(schedule.again_at(SECOND).period(), Some(SECOND * 2));
        assert_eq!(Schedule::default().again_at(SECOND).period(), None, "nothing changes");
    }

    #[test]
    fn what_holds_is_told_at_any_time_whether_frames_come_or_not() {
        let delay = |ms: u64| Impairments::none().delay(Duration::from_millis(ms));
        let schedule = Schedule::new(delay(1))
            .at(SECOND, |_| delay(2))
            .at(SECOND * 2, |_| delay(3))
            .at(SECOND * 2, |_| delay(4));
        let again = schedule.clone().again_at(SECOND * 3);
        let held = |impair: &Impair| {
            let at = |halves: u64| impair.config_at(Instant::from_millis(halves * 500)).delay;
            (0..8).map(|halves| at(halves).as_millis()).collect::<Vec<_>>()
        };
        for (schedule, rest) in [(schedule, [4, 4]), (again, [1, 1])] {
            let mut impair = impair(schedule);
            assert_eq!(held(&impair), [1; 8], "it has not begun");
            impair.begin(Instant::ZERO);
            let expected = [&[1, 1, 2, 2, 4, 4][..], &rest].concat();
            assert_eq!(held(&impair), expected);
            // A look at the time is no other than none.
            impair.advance(Instant::from_millis(3_600), &mut Vec::new());
            assert_eq!(held(&impair)[6..], expected[6..]);
            assert_eq!(*impair.config_at(Instant::from_millis(3_600)), *impair.config());
        }
    }

    #[test]
    fn of_changes_at_one_time_the_last_alone_lets_frames_leave() {
        // A second for each; the rate is never away for longer than no time.
        let slow = Impairments::none().rate(8_000);
        let again = Schedule::default().at(Duration::ZERO, |l| l.rate(8_000)).again_at(SECOND * 2);
        let anew = Schedule::new(slow.clone())
            .at(SECOND * 2, |_| Impairments::none())
            .at(SECOND * 2, |_| slow.clone());
        for schedule in [again, anew] {
            assert_eq!(send_at(&mut impair(schedule), [0; 4]), [1_000, 2_000, 3_000, 4_000]);
        }
    }

    #[test]
    fn a_look_that_comes_rounds_late_lets_no_frame_leave_early() {
        let schedule =
            Schedule::default().at(Duration::ZERO, |link| link.rate(8_000)).again_at(SECOND * 2);
        let (mut impair, mut out) = (impair(schedule), Vec::new());
        impair.advance(Instant::ZERO, &mut out);
        for _ in 0..4 {
            let frame = Packet::from_payload(Bytes::from(vec![0; 1_000]));
            impair.offer(Instant::ZERO, frame, &mut out);
        }
        impair.advance(Instant::ZERO + SECOND * 7, &mut out);
        let arrived: Vec<_> = out.iter().map(|Delivery { at, .. }| at.as_millis()).collect();
        assert_eq!(arrived, [1_000, 2_000, 3_000, 4_000]);
    }
}
