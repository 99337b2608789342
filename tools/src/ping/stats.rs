//! What `ping` adds up: round-trip times, losses, duplicates; and how iputils writes them.

use std::time::Duration;

/// Counters and round-trip times of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    /// Requests sent.
    pub(super) transmitted: u64,
    /// Requests that were answered.
    pub(super) received: u64,
    /// Answers beyond the first to a request.
    pub(super) duplicates: u64,
    /// ICMP errors about our requests.
    pub(super) errors: u64,
    /// The most requests that were unanswered at one time.
    pub(super) pipe: u64,
    min: Option<Duration>,
    max: Duration,
    /// Sum and sum of squares, in microseconds.
    sum: f64,
    sum_of_squares: f64,
    /// A moving average, weight 1/8 for each new time, in microseconds.
    ewma: f64,
    timed: u64,
}

impl Stats {
    pub(super) fn add_time(&mut self, rtt: Duration) {
        let micros = rtt.as_nanos() as f64 / 1000.0;
        self.min = Some(self.min.map_or(rtt, |min| min.min(rtt)));
        self.max = self.max.max(rtt);
        self.sum += micros;
        self.sum_of_squares += micros * micros;
        self.ewma = if self.timed == 0 { micros } else { self.ewma + (micros - self.ewma) / 8.0 };
        self.timed += 1;
    }

    /// Notes how many requests are in flight.
    pub(super) fn note_in_flight(&mut self, requests: u64) {
        self.pipe = self.pipe.max(requests);
    }

    /// The longest time so far.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.min.map(|_| self.max)
    }

    /// Requests that were not answered, in percent of those sent.
    pub(super) fn loss_percent(&self) -> f64 {
        if self.transmitted == 0 {
            return 0.0;
        }
        let lost = self.transmitted.saturating_sub(self.received);
        lost as f64 * 100.0 / self.transmitted as f64
    }

    /// Minimum, average, maximum and mean deviation in milliseconds.
    pub(super) fn rtt_ms(&self) -> Option<[f64; 4]> {
        let min = self.min?;
        let count = self.timed as f64;
        let average = self.sum / count;
        let variance = (self.sum_of_squares / count - average * average).max(0.0);
        let ms = |duration: Duration| duration.as_nanos() as f64 / 1e6;
        Some([ms(min), average / 1000.0, ms(self.max), variance.sqrt() / 1000.0])
    }

    /// The last lines of a run that took `elapsed`.
    pub(super) fn summary(&self, destination: &str, elapsed: Duration, flood: bool) -> String {
        let mut text = format!("\n--- {destination} ping statistics ---\n");
        text += &format!("{} packets transmitted, {} received", self.transmitted, self.received);
        if self.duplicates > 0 {
            text += &format!(", +{} duplicates", self.duplicates);
        }
        if self.errors > 0 {
            text += &format!(", +{} errors", self.errors);
        }
        text += &format!(
            ", {}% packet loss, time {}ms\n",
            percent(self.loss_percent()),
            elapsed.as_millis()
        );
        let mut last = Vec::new();
        if let Some([min, average, max, deviation]) = self.rtt_ms() {
            last.push(format!(
                "rtt min/avg/max/mdev = {min:.3}/{average:.3}/{max:.3}/{deviation:.3} ms"
            ));
        }
        if self.pipe > 1 {
            last.push(format!("pipe {}", self.pipe));
        }
        if flood && self.transmitted > 1 && self.timed > 0 {
            let gap = elapsed.as_nanos() as f64 / 1e6 / (self.transmitted - 1) as f64;
            last.push(format!("ipg/ewma {gap:.3}/{:.3} ms", self.ewma / 1000.0));
        }
        if !last.is_empty() {
            text += &last.join(", ");
            text.push('\n');
        }
        text
    }
}

/// As iputils does: up to six figures, no trailing zeros.
fn percent(value: f64) -> String {
    let text = format!("{value:.5}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A round-trip time in milliseconds, with three figures behind the point below 1 ms and fewer
/// above, as iputils does.
pub(super) fn milliseconds(rtt: Duration) -> String {
    let ms = rtt.as_nanos() as f64 / 1e6;
    match rtt.as_micros() {
        100_000.. => format!("{ms:.0}"),
        10_000.. => format!("{ms:.1}"),
        1_000.. => format!("{ms:.2}"),
        _ => format!("{ms:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_summary_is_iputils() {
        let mut stats = Stats { transmitted: 3, received: 2, ..Stats::default() };
        stats.add_time(ms(1));
        stats.add_time(ms(3));
        assert_eq!(
            stats.summary("10.0.0.1", ms(2003), false),
            "\n--- 10.0.0.1 ping statistics ---\n\
             3 packets transmitted, 2 received, 33.33333% packet loss, time 2003ms\n\
             rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms\n"
        );
    }

    #[test]
    fn duplicates_errors_and_pipe_are_named_if_there_are_any() {
        let stats = Stats { transmitted: 4, duplicates: 1, errors: 2, pipe: 4, ..Stats::default() };
        assert_eq!(
            stats.summary("10.0.0.1", ms(3100), false),
            "\n--- 10.0.0.1 ping statistics ---\n\
             4 packets transmitted, 0 received, +1 duplicates, +2 errors, 100% packet loss, \
             time 3100ms\npipe 4\n"
        );
    }

    #[test]
    fn nothing_sent_is_nothing_lost() {
        assert!(Stats::default().summary("::1", ms(0), false).contains(" 0% packet loss"));
    }

    #[test]
    fn times_lose_figures_as_they_grow() {
        for (micros, text) in
            [(45, "0.045"), (1_234, "1.23"), (12_345, "12.3"), (123_456, "123"), (999, "0.999")]
        {
            assert_eq!(milliseconds(Duration::from_micros(micros)), text);
        }
    }
}
