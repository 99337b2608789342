//! Duplicate address detection: is anybody else using an address that we want? RFC 4862 §5.4, with
//! optimistic use meanwhile (RFC 4429) and nonces against what comes back to us (RFC 7527).
//!
//! ```text
//!  start      delay       retransmit     retransmit
//! ───┬───────────────┬──────────────┬──────────────┬────►  passed
//!    tentative       question       question       │
//!    or optimistic                                 └ nobody answered
//! ```

use std::time::Duration;

use libnet::time::Instant;

use super::option::Nonce;

/// How far the check of an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Not sure yet: the address is not used, or only with care.
    Running,
    /// Nobody objected: it is ours.
    Passed,
    /// Somebody else has it.
    Failed,
}

/// What is to be done for a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Ask whether anybody has the address.
    Ask(Nonce),
    /// It passed just now.
    Done,
}

/// What a solicitation for an address that is being checked means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Somebody else wants it.
    Conflict,
    /// It was our own question, come back by a loop (RFC 7527 §4.3).
    Looped,
    /// Nothing: the check is over.
    Nothing,
}

/// The check of one address.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    progress: Progress,
    /// Questions still to be asked.
    left: u8,
    due: Option<Instant>,
    /// Of our last questions, the latest first.
    nonces: [Option<Nonce>; NONCES],
    /// How often a question of ours came back.
    pub(crate) looped: u32,
}

/// Questions whose coming back is recognised.
const NONCES: usize = 4;

/// RFC 4861 §10: MAX_MULTICAST_SOLICIT, asked once more after a loop was seen (RFC 7527 §4.1).
const AFTER_LOOP: u8 = 3;

impl Check {
    /// A check with `transmits` questions (`DupAddrDetectTransmits`), the first after `delay`;
    /// with none, it has passed.
    pub(crate) fn start(now: Instant, transmits: u8, delay: Duration) -> Self {
        let progress = if transmits == 0 { Progress::Passed } else { Progress::Running };
        let due = (transmits > 0).then(|| now + delay);
        Check { progress, left: transmits, due, nonces: [None; NONCES], looped: 0 }
    }

    pub(crate) const fn progress(&self) -> Progress {
        self.progress
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) const fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What is due. `random` makes the nonce; questions are `retransmit` apart, and as long after
    /// the last one nobody has answered.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        retransmit: Duration,
        random: u64,
    ) -> Option<Step> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        if self.left == 0 {
            self.progress = Progress::Passed;
            self.due = None;
            return Some(Step::Done);
        }
        self.left -= 1;
        self.due = Some(now + retransmit);
        let nonce = Nonce::of(random);
        self.nonces.rotate_right(1);
        self.nonces[0] = Some(nonce);
        Some(Step::Ask(nonce))
    }

    /// Somebody without an address asks for this one.
    pub(crate) fn hear_question(&mut self, nonce: Option<Nonce>) -> Verdict {
        if self.progress != Progress::Running {
            return Verdict::Nothing;
        }
        if nonce.is_some() && self.nonces.contains(&nonce) {
            // RFC 7527 §4.1: ask again until a question does not come back.
            self.looped = self.looped.saturating_add(1);
            self.left = AFTER_LOOP;
            return Verdict::Looped;
        }
        Verdict::Conflict
    }

    /// Somebody else has the address.
    pub(crate) const fn fail(&mut self) {
        self.progress = Progress::Failed;
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Runs a check for so many seconds; when it asked, and when it was done.
    fn run(check: &mut Check, from: Instant, seconds: u32) -> (Vec<u64>, Option<u64>) {
        let (mut asked, mut done) = (Vec::new(), None);
        while let Some(at) = check.next_deadline().filter(|&at| at <= from + seconds * SECOND) {
            match check.expire(at, SECOND, at.as_nanos() | 1) {
                Some(Step::Ask(_)) => asked.push(at.as_millis()),
                Some(Step::Done) => done = Some(at.as_millis()),
                None => unreachable!("it was due"),
            }
        }
        (asked, done)
    }

    #[test]
    fn questions_are_a_second_apart_and_then_nobody_has_objected() {
        let mut check = Check::start(Instant::ZERO, 3, Duration::from_millis(400));
        assert_eq!(run(&mut check, Instant::ZERO, 2), (vec![400, 1_400], None));
        assert_eq!(check.progress(), Progress::Running);
        assert_eq!(run(&mut check, Instant::ZERO, 9), (vec![2_400], Some(3_400)));
        assert_eq!((check.progress(), check.next_deadline()), (Progress::Passed, None));
    }

    #[test]
    fn without_transmissions_nothing_is_asked() {
        let check = Check::start(Instant::ZERO, 0, SECOND);
        assert_eq!((check.progress(), check.next_deadline()), (Progress::Passed, None));
    }

    #[test]
    fn anothers_question_is_a_conflict_and_our_own_a_loop() {
        let mut check = Check::start(Instant::ZERO, 1, Duration::ZERO);
        let Some(Step::Ask(nonce)) = check.expire(Instant::ZERO, SECOND, 7) else { panic!() };
        assert_eq!(check.hear_question(Some(nonce)), Verdict::Looped);
        assert_eq!(check.hear_question(Some(Nonce::of(1 << 60))), Verdict::Conflict);
        assert_eq!(check.hear_question(None), Verdict::Conflict);
        check.fail();
        assert_eq!((check.progress(), check.next_deadline()), (Progress::Failed, None));
        assert_eq!(check.hear_question(None), Verdict::Nothing);
    }

    #[test]
    fn after_a_loop_it_is_asked_three_times_more() {
        let mut check = Check::start(Instant::ZERO, 1, Duration::ZERO);
        let Some(Step::Ask(nonce)) = check.expire(Instant::ZERO, SECOND, 7) else { panic!() };
        check.hear_question(Some(nonce));
        assert_eq!(run(&mut check, Instant::ZERO, 9), (vec![1_000, 2_000, 3_000], Some(4_000)));
        assert_eq!(check.looped, 1);
    }
}
