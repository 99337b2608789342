//! `loss=2%,delay=10ms…`: the one way to ask for a bad link.

use std::str::FromStr;
use std::time::Duration;

use libnet::impair::{Impairments, QueueLimit};

use crate::units::parse_bit_rate;

/// Frames that wait in front of a link with a rate, past which they are dropped, as in a router.
const QUEUE_FRAMES: usize = 1_000;

/// What a user wants done to frames, in each direction.
#[derive(Clone, PartialEq, Debug)]
pub struct ImpairSpec(pub Impairments);

/// What is wrong with the text, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImpairSpecError {
    /// A key that nobody knows.
    #[error(
        "unknown impairment `{0}`: there are loss, delay, jitter, duplicate, reorder, corrupt and rate"
    )]
    UnknownKey(String),
    /// Not `KEY=VALUE`.
    #[error("`{0}` is not KEY=VALUE: write loss=2%,delay=10ms")]
    NoValue(String),
    /// A value that is not one of its key.
    #[error("`{value}` is no value for `{key}`: write {key}={example}")]
    BadValue {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// One that would do.
        example: &'static str,
    },
}

impl FromStr for ImpairSpec {
    type Err = ImpairSpecError;

    fn from_str(text: &str) -> Result<Self, ImpairSpecError> {
        let mut impairments = Impairments::none();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| ImpairSpecError::NoValue(part.to_owned()))?;
            let bad = |example| ImpairSpecError::BadValue {
                key: key.to_owned(),
                value: value.to_owned(),
                example,
            };
            let percent = || share(value).ok_or_else(|| bad("2%"));
            let time = || duration(value).ok_or_else(|| bad("10ms"));
            impairments = match key {
                "loss" => impairments.loss(percent()?),
                "duplicate" => impairments.duplicate(percent()?),
                "reorder" => impairments.reorder(percent()?),
                "corrupt" => impairments.corrupt(percent()?),
                "delay" => impairments.delay(time()?),
                "jitter" => impairments.jitter(time()?),
                "rate" => {
                    let rate = parse_bit_rate(value).map_err(|_| bad("10M"))?;
                    impairments.rate(rate).queue(QueueLimit::drop_past_frames(QUEUE_FRAMES))
                }
                key => return Err(ImpairSpecError::UnknownKey(key.to_owned())),
            };
        }
        Ok(ImpairSpec(impairments))
    }
}

/// `2%` or `0.02`.
fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// `10ms`, `250us`, `1.5s`; at most an hour.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let seconds = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        _ => return None,
    };
    let number: f64 = text[..text.len() - unit.len()].parse().ok()?;
    Some(number * seconds).filter(|s| *s <= 3_600.0).map(Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Impairments, String> {
        text.parse().map(|ImpairSpec(spec)| spec).map_err(|e: ImpairSpecError| e.to_string())
    }

    #[test]
    fn everything_at_once() {
        let all = "loss=2%,delay=10ms,jitter=250us,duplicate=0.5%,reorder=0.25,corrupt=1%,rate=10M";
        let expected = Impairments::none()
            .loss(0.02)
            .delay(Duration::from_millis(10))
            .jitter(Duration::from_micros(250))
            .duplicate(0.005)
            .reorder(0.25)
            .corrupt(0.01)
            .rate(10_000_000)
            .queue(QueueLimit::drop_past_frames(QUEUE_FRAMES));
        assert_eq!(parse(all), Ok(expected));
        assert_eq!(parse(""), Ok(Impairments::none()));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, needle) in [
            ("los=2%", "there are loss, delay"),
            ("loss", "is not KEY=VALUE"),
            ("loss=200%", "write loss=2%"),
            ("loss=-1%", "write loss=2%"),
            ("loss=nan", "write loss=2%"),
            ("delay=10", "write delay=10ms"),
            ("delay=-1ms", "write delay=10ms"),
            ("delay=2000000h", "write delay=10ms"),
            ("rate=fast", "write rate=10M"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(needle), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,60}") {
            let _ = text.parse::<ImpairSpec>();
        }
    }
}
