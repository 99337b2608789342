//! Time stamps in tcpdump's five styles.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How a frame's time is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimeStyle {
    /// `15:04:05.123456`, local time.
    TimeOfDay,
    /// Nothing.
    None,
    /// Seconds since 1970.
    Epoch,
    /// Since the frame before.
    Delta,
    /// `2026-11-23 15:04:05.123456`, local time.
    DateAndTime,
    /// Since the first frame.
    SinceFirst,
}

impl TimeStyle {
    /// By how often `-t` was given.
    pub(super) const fn of_count(count: u8) -> Self {
        match count {
            0 => TimeStyle::TimeOfDay,
            1 => TimeStyle::None,
            2 => TimeStyle::Epoch,
            3 => TimeStyle::Delta,
            4 => TimeStyle::DateAndTime,
            _ => TimeStyle::SinceFirst,
        }
    }
}

/// Stamps frames, and remembers those before.
pub(super) struct Clock {
    style: TimeStyle,
    zone: TimeZone,
    first: Option<Duration>,
    last: Option<Duration>,
}

impl Clock {
    pub(super) fn new(style: TimeStyle) -> Self {
        Clock { style, zone: TimeZone::system(), first: None, last: None }
    }

    /// The stamp of a frame sent at `at` since 1970, and a space behind.
    pub(super) fn stamp(&mut self, at: Duration) -> String {
        let first = *self.first.get_or_insert(at);
        let last = self.last.replace(at).unwrap_or(at);
        match self.style {
            TimeStyle::None => String::new(),
            TimeStyle::Epoch => format!("{}.{:06} ", at.as_secs(), at.subsec_micros()),
            TimeStyle::TimeOfDay => self.local(at, "%H:%M:%S%.6f "),
            TimeStyle::DateAndTime => self.local(at, "%Y-%m-%d %H:%M:%S%.6f "),
            TimeStyle::Delta => span(at, last),
            TimeStyle::SinceFirst => span(at, first),
        }
    }

    fn local(&self, at: Duration, format: &str) -> String {
        let nanos = i128::try_from(at.as_nanos()).unwrap_or(i128::MAX);
        match Timestamp::from_nanosecond(nanos) {
            Ok(at) => at.to_zoned_datetime(self.zone.clone()).strftime(format).to_string(),
            // Past the year 9999: as it is.
            Err(_) => format!("{}.{:06} ", at.as_secs(), at.subsec_micros()),
        }
    }
}

/// Frames of several senders may be a little out of order.
fn span(at: Duration, from: Duration) -> String {
    let (sign, span) = match at.checked_sub(from) {
        Some(later) => (" ", later),
        None => ("-", from.saturating_sub(at)),
    };
    let seconds = span.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{:06} ", span.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(style: TimeStyle) -> Vec<String> {
        let mut clock = Clock::new(style);
        clock.zone = TimeZone::UTC;
        [1_000_000_000_123_456, 1_000_000_001_000_000, 1_000_000_000_900_000]
            .map(|micros| clock.stamp(Duration::from_micros(micros)))
            .into()
    }

    #[test]
    fn every_style_is_tcpdumps() {
        assert_eq!(stamps(TimeStyle::TimeOfDay)[0], "01:46:40.123456 ");
        assert_eq!(stamps(TimeStyle::None)[0], "");
        assert_eq!(stamps(TimeStyle::Epoch)[0], "1000000000.123456 ");
        assert_eq!(
            stamps(TimeStyle::Delta),
            [" 00:00:00.000000 ", " 00:00:00.876544 ", "-00:00:00.100000 "]
        );
        assert_eq!(stamps(TimeStyle::DateAndTime)[0], "2001-09-09 01:46:40.123456 ");
        assert_eq!(stamps(TimeStyle::SinceFirst)[2], " 00:00:00.776544 ");
    }
}
