//! What a link is like at which time, as a file or a command's words say it.

use std::path::Path;
use std::time::Duration;

use libnet::impair::{Impairments, Schedule, Way};

use crate::fail::Failure;
use crate::impair::{ImpairSpec, ImpairSpecError, duration};

/// Each way of a link, as time goes on.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Schedules {
    /// What is sent.
    pub out: Schedule,
    /// What is received.
    pub received: Schedule,
}

/// A step that cannot be understood: what is wrong, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// It does not begin with a time.
    #[error("`{0}` is no time: write 2s, 500ms or at 2s, up to an hour, and then what changes")]
    NoTime(String),
    /// Nothing after the time.
    #[error("nothing changes: write {0} loss=3%, {0} down, {0} up or {0} none")]
    NoChange(String),
    /// A time before that of the step before.
    #[error("{0} is before the step above: put the steps in order of time")]
    Disorder(String),
    /// Something after the step that begins again.
    #[error("nothing comes after `again`: make it the last step, and alone")]
    AfterAgain,
    /// Nothing to begin again.
    #[error("there is nothing to begin again: write steps before it")]
    NothingAgain,
    /// A round that is over at once.
    #[error("{0} again is too soon: a round takes 1ms at least")]
    TooSoon(String),
    /// What holds for all of it.
    #[error("`{0}` cannot change: give it to --if or --impair itself")]
    Fixed(String),
    /// A change that makes no sense.
    #[error(transparent)]
    Change(#[from] ImpairSpecError),
    /// Too many.
    #[error("there are more than {MAX_STEPS} steps: let `again` repeat fewer")]
    TooMany,
}

/// Steps of a schedule at most.
const MAX_STEPS: usize = 10_000;
/// What a round takes at least, before it begins again: links look at every step of it.
const LEAST_PERIOD: Duration = Duration::from_millis(1);
/// Bytes of a file at most.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl Schedules {
    /// What a user asked for, with the file that it names.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that makes no sense.
    pub fn of(spec: &ImpairSpec) -> Result<Self, Failure> {
        let Some(path) = &spec.schedule else {
            return Ok(Schedules::always(spec));
        };
        let named = path.display();
        let text = read(path)
            .map_err(|error| Failure::doing(format!("cannot read schedule={named}"), &error))?;
        Schedules::of_text(&text, spec)
            .map_err(|(line, error)| Failure::usage(format!("{named}, line {line}: {error}")))
    }

    /// As words say it: `at 2s loss=3% at 6s down`, after what is done at first.
    ///
    /// # Errors
    /// A step that makes no sense, and what to write instead.
    pub fn of_words(words: &[String], first: &ImpairSpec) -> Result<Self, Failure> {
        let steps = words.split(|word| word == "at").map(|step| format!("at {}", step.join(" ")));
        let numbered = steps.enumerate().skip(1);
        Schedules::parse(numbered, first)
            .map_err(|(step, error)| Failure::usage(format!("step {step}: {error}")))
    }

    fn always(spec: &ImpairSpec) -> Self {
        Schedules { out: (&spec.out).into(), received: (&spec.received).into() }
    }

    /// A step on each line, and comments behind `#`.
    fn of_text(text: &str, first: &ImpairSpec) -> Result<Self, (usize, StepError)> {
        // Some editors put a mark in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let steps = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let numbered = steps.enumerate().map(|(i, step)| (i + 1, step));
        Schedules::parse(numbered.filter(|(_, step)| !step.is_empty()), first)
    }

    fn parse(
        steps: impl Iterator<Item = (usize, impl AsRef<str>)>,
        first: &ImpairSpec,
    ) -> Result<Self, (usize, StepError)> {
        let mut read = Steps {
            all: Schedules::always(first),
            now: first.clone(),
            last: Duration::ZERO,
            count: 0,
            has_ended: false,
        };
        for (number, step) in steps {
            read.add(step.as_ref()).map_err(|error| (number, error))?;
        }
        Ok(read.all)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// What was read so far.
struct Steps {
    all: Schedules,
    /// What is done after the last step.
    now: ImpairSpec,
    last: Duration,
    count: usize,
    has_ended: bool,
}

impl Steps {
    /// `at 2s loss=3%,rate=1mbit down`, `10s again`.
    fn add(&mut self, step: &str) -> Result<(), StepError> {
        if self.has_ended {
            return Err(StepError::AfterAgain);
        }
        let words: Vec<&str> = step.split_whitespace().collect();
        let (time, changes) = match words[..] {
            ["at", time, ref changes @ ..] | [time, ref changes @ ..] => (time, changes),
            [] => ("", &[][..]),
        };
        let after = duration(time).ok_or_else(|| StepError::NoTime(time.to_owned()))?;
        if after < self.last {
            return Err(StepError::Disorder(time.to_owned()));
        }
        match changes {
            [] => return Err(StepError::NoChange(time.to_owned())),
            ["again"] => return self.again(after, time),
            _ if changes.contains(&"again") => return Err(StepError::AfterAgain),
            _ => {}
        }
        if self.count == MAX_STEPS {
            return Err(StepError::TooMany);
        }
        for change in changes {
            self.change(change)?;
        }
        (self.last, self.count) = (after, self.count + 1);
        for way in Way::BOTH {
            let then: Impairments = self.now.way(way).clone();
            let schedule = self.way(way);
            *schedule = std::mem::take(schedule).at(after, |_| then);
        }
        Ok(())
    }

    fn change(&mut self, change: &str) -> Result<(), StepError> {
        let (seed, schedule) = (self.now.seed.take(), self.now.schedule.take());
        self.now.read(change)?;
        if self.now.seed.is_some() || self.now.schedule.is_some() {
            return Err(StepError::Fixed(change.to_owned()));
        }
        (self.now.seed, self.now.schedule) = (seed, schedule);
        Ok(())
    }

    fn again(&mut self, after: Duration, time: &str) -> Result<(), StepError> {
        if self.count == 0 {
            return Err(StepError::NothingAgain);
        }
        if after < LEAST_PERIOD {
            return Err(StepError::TooSoon(time.to_owned()));
        }
        self.has_ended = true;
        for way in Way::BOTH {
            let schedule = self.way(way);
            *schedule = std::mem::take(schedule).again_at(after);
        }
        Ok(())
    }

    fn way(&mut self, way: Way) -> &mut Schedule {
        match way {
            Way::Out => &mut self.all.out,
            Way::In => &mut self.all.received,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Schedules, String> {
        let first: ImpairSpec = "delay=20ms,seed=7".parse().unwrap();
        Schedules::of_text(text, &first).map_err(|(line, error)| format!("line {line}: {error}"))
    }

    #[test]
    fn steps_build_on_each_other_and_ways_are_apart() {
        let text = "# a bad afternoon\n\
                    at 2s rate=10mbit,limit=50\n\
                    \n\
                    5s loss=3% in.loss=0   # one way\n\
                    6s down\n7s up\n8.5s none\n10s again\n";
        let all = parse(text).unwrap();
        let second = Duration::from_secs;
        let queue = libnet::impair::QueueLimit::drop_past_frames(50);
        let expected = |loss: f64| {
            let lossy = move |l: Impairments| if loss > 0.0 { l.loss(loss) } else { l };
            Schedule::new(Impairments::none().delay(Duration::from_millis(20)))
                .at(second(2), |l| l.rate(10_000_000).queue(queue))
                .at(second(5), lossy)
                .at(second(6), Impairments::down)
                .at(second(7), Impairments::up)
                .at(Duration::from_millis(8_500), |_| Impairments::none())
                .again_at(second(10))
        };
        assert_eq!(all, Schedules { out: expected(0.03), received: expected(0.0) });
        assert_eq!(parse("").unwrap().out.steps(), []);
    }

    #[test]
    fn mistakes_name_the_line_and_what_to_write() {
        for (text, needle) in [
            ("\n\nsoon loss=3%", "line 3: `soon` is no time: write 2s"),
            ("2s", "line 1: nothing changes: write 2s loss=3%"),
            ("3s down\n2s up", "line 2: 2s is before the step above"),
            ("1s los=3%", "line 1: unknown impairment `los`: there are loss"),
            ("1s loss=x", "line 1: `x` is no value for `loss`: write loss=2%"),
            ("1s sideways", "line 1: `sideways` is not KEY=VALUE"),
            ("1s seed=3", "line 1: `seed=3` cannot change"),
            ("1s schedule=other", "line 1: `schedule=other` cannot change"),
            ("1s again", "line 1: there is nothing to begin again"),
            ("1s down\n2s again\n3s up", "line 3: nothing comes after `again`"),
            ("0s down\n999us again", "line 2: 999us again is too soon: a round takes 1ms at least"),
            ("at", "line 1: `at` is no time: write 2s"),
            ("\u{feff}soon down", "line 1: `soon` is no time"),
            ("1s down again", "line 1: nothing comes after `again`"),
            (&"1s down\n".repeat(MAX_STEPS + 1), "line 10001: there are more than 10000 steps"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(needle), "{text}: {error}");
        }
    }

    #[test]
    fn words_of_a_command_are_steps_too() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let first: ImpairSpec = "loss=1%".parse().unwrap();
        let all = Schedules::of_words(&words("loss=1% at 2s loss=3% at 6s down"), &first).unwrap();
        assert_eq!(all.out.start(), &Impairments::none().loss(0.01));
        assert_eq!(all.out.steps().len(), 2);
        let error = Schedules::of_words(&words("at 2s down at 1s up"), &first).unwrap_err();
        assert!(error.to_string().contains("step 2: 1s is before"), "{error}");
        for text in ["at", "loss=5% at", "at 2s down at", "at 2s down at #"] {
            let error = Schedules::of_words(&words(text), &first).unwrap_err().to_string();
            assert!(error.contains("is no time: write 2s"), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_is_read_whatever_editor_wrote_it() {
        let expected = parse("at 2s down\n3s up in.loss=1%\n4s again").unwrap();
        assert_eq!(
            parse("\u{feff}at\t2s\tdown\r\n3s\tup  in.loss=1%\r\n4s again\r\n").unwrap(),
            expected
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let spec: ImpairSpec = "schedule=/nowhere/at-all".parse().unwrap();
        let error = Schedules::of(&spec).unwrap_err().to_string();
        assert!(error.contains("cannot read schedule=/nowhere/at-all"), "{error}");
    }
}
