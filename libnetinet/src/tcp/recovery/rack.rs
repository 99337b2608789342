//! RACK: what was sent well before something that has arrived is lost. Source: RFC 8985 §6.

use std::time::Duration;

use libnet::Instant;

use crate::tcp::records::{Marks, Record};
use crate::tcp::scoreboard::LossRule;
use crate::tcp::seq::SeqNumber;
use crate::tcp::tcb::timestamp;

/// The newest transmission that has arrived, and how much the path reorders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rack {
    /// RACK.xmit_ts; zero before the first.
    sent_at: Instant,
    /// RACK.end_seq.
    end: SeqNumber,
    /// RACK.rtt.
    rtt: Duration,
    min_rtt: MinRtt,
    /// RACK.fack: one past the highest number that has arrived.
    fack: SeqNumber,
    /// RACK.dsack_round.
    dsack_round: Option<SeqNumber>,
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
    /// How often the path was seen to put segments out of order; RACK.reordering_seen is that it
    /// ever was.
    reorderings: u16,
}

/// The time of an acknowledgement, and what it echoes of our timestamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckTime {
    pub(crate) now: Instant,
    /// TSecr, and the origin of our clock.
    pub(crate) echo: Option<(u32, u32)>,
    /// [`TcpConfig::min_rtt_window`](crate::tcp::TcpConfig::min_rtt_window).
    pub(crate) min_rtt_window: Duration,
}

/// What the reordering window depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReorderInput {
    pub(crate) in_recovery: bool,
    /// As much was told of beyond a hole as three duplicates would tell.
    pub(crate) enough_sacked: bool,
    /// The window grows with rounds that told of duplicates.
    pub(crate) adapts: bool,
    pub(crate) srtt: Option<Duration>,
}

impl Rack {
    /// Nothing has arrived; `first` is the first number of data.
    pub(crate) fn new(first: SeqNumber) -> Self {
        Rack {
            sent_at: Instant::ZERO,
            end: first,
            rtt: Duration::ZERO,
            min_rtt: MinRtt::default(),
            fack: first,
            dsack_round: None,
            reo_wnd_mult: 1,
            reo_wnd_persist: REO_WND_PERSIST,
            reorderings: 0,
        }
    }

    /// Steps 1 to 3, for one record that has arrived; lower numbers come first.
    pub(crate) fn on_delivered(&mut self, ack: &AckTime, record: &Record) {
        let again = record.marks.has(Marks::EVER_RESENT);
        let rtt = ack.now.since(record.sent_at);
        if !again {
            self.min_rtt.update(ack, rtt);
        }
        if !again || !self.is_of_earlier(ack, record, rtt) {
            let newer = record.sent_at > self.sent_at
                || (record.sent_at == self.sent_at && record.end.gt(self.end));
            if newer {
                (self.sent_at, self.end, self.rtt) = (record.sent_at, record.end, rtt);
            }
        }
        // RFC 8985 §6.2 step 3: it was overtaken, and not by our own doing.
        if record.end.gt(self.fack) {
            self.fack = record.end;
        } else if !again && record.end.lt(self.fack) {
            self.reorderings = self.reorderings.saturating_add(1);
        }
    }

    /// RFC 8985 §6.2 step 2: does the acknowledgement answer an earlier transmission?
    fn is_of_earlier(&self, ack: &AckTime, record: &Record, rtt: Duration) -> bool {
        let echo_is_older = ack.echo.is_some_and(|(echo, origin)| {
            (echo.wrapping_sub(timestamp(record.sent_at, origin)) as i32) < 0
        });
        echo_is_older || rtt < self.min_rtt.get()
    }

    /// Step 4: an acknowledgement came that tells of a duplicate or not.
    pub(crate) fn on_ack(&mut self, snd_una: SeqNumber, snd_nxt: SeqNumber, duplicate: bool) {
        if self.dsack_round.is_some_and(|round| snd_una.ge(round)) {
            self.dsack_round = None;
        }
        if duplicate && self.dsack_round.is_none() {
            self.dsack_round = Some(snd_nxt);
            self.reo_wnd_mult = self.reo_wnd_mult.saturating_add(1);
            self.reo_wnd_persist = REO_WND_PERSIST;
        }
    }

    /// What was sent again had only been late: the path reorders, and by more than was allowed for.
    pub(crate) fn on_spurious(&mut self) {
        self.reorderings = self.reorderings.saturating_add(1);
    }

    /// Step 4: a recovery is over.
    pub(crate) fn on_recovered(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 1;
        }
    }

    /// Step 4: how long what was overtaken may still be under way.
    pub(crate) fn reordering_window(&self, input: &ReorderInput) -> Duration {
        if !self.reordering_seen() && (input.in_recovery || input.enough_sacked) {
            return Duration::ZERO;
        }
        let mult = if input.adapts { self.reo_wnd_mult } else { 1 };
        let window = self.min_rtt.get() * u32::from(mult) / 4;
        input.srtt.map_or(window, |srtt| window.min(srtt))
    }

    /// Step 5: what counts as lost now, with this reordering window; `None` before anything arrived.
    pub(crate) fn rule(&self, now: Instant, window: Duration) -> Option<LossRule> {
        let cutoff = now - (self.rtt + window);
        let (sent_at, end) = (self.sent_at, self.end);
        (sent_at != Instant::ZERO).then_some(LossRule { sent_at, end, cutoff })
    }

    /// Step 5: when all that was sent before the newest arrival will be lost or there.
    pub(crate) fn settled_at(&self, window: Duration) -> Instant {
        self.sent_at + self.rtt + window
    }

    /// RACK.rtt: the round trip of what was sent last and has arrived; zero before the first.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// The shortest round trip of the last minutes; zero before the first.
    pub(crate) fn min_rtt(&self) -> Duration {
        self.min_rtt.get()
    }

    /// Has the path put segments out of order?
    pub(crate) fn reordering_seen(&self) -> bool {
        self.reorderings > 0
    }

    /// How often it was seen to.
    pub(crate) fn reorderings(&self) -> u16 {
        self.reorderings
    }
}

/// The least of the last window or two: routes change. Source: RFC 8985 §6.2 step 1.
#[derive(Clone, Copy, Debug, Default)]
struct MinRtt {
    /// Microseconds; 0: none.
    now_us: u32,
    before_us: u32,
    since: Instant,
}

impl MinRtt {
    fn update(&mut self, &AckTime { now, min_rtt_window, .. }: &AckTime, rtt: Duration) {
        let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
        if now.since(self.since) > min_rtt_window {
            (self.before_us, self.now_us, self.since) = (self.now_us, 0, now);
        }
        if self.now_us == 0 || rtt_us < self.now_us {
            self.now_us = rtt_us;
        }
    }

    fn get(&self) -> Duration {
        let least = match (self.now_us, self.before_us) {
            (us, 0) | (0, us) => us,
            (now, before) => now.min(before),
        };
        Duration::from_micros(u64::from(least))
    }
}

/// RFC 8985 §6.2 step 4: recoveries without a DSACK before the window shrinks again.
const REO_WND_PERSIST: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::rate::RateStamp;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn at(n: u64) -> Instant {
        Instant::from_millis(n)
    }

    fn record(seq: u32, end: u32, sent_at: u64, marks: Marks) -> Record {
        let sent_at = at(sent_at);
        Record {
            seq: SeqNumber::new(seq),
            end: SeqNumber::new(end),
            sent_at,
            stamp: RateStamp::default(),
            sacked_to: SeqNumber::new(end),
            marks,
            segment_bytes: 1000,
        }
    }

    fn ack(now: u64, echo: Option<u32>) -> AckTime {
        let min_rtt_window = Duration::from_secs(300);
        AckTime { now: at(now), echo: echo.map(|echo| (echo, 0)), min_rtt_window }
    }

    fn arrived() -> Rack {
        let mut rack = Rack::new(SeqNumber::new(0));
        rack.on_delivered(&ack(140, None), &record(1000, 2000, 100, Marks::NONE));
        rack
    }

    const IN_ORDER: ReorderInput = ReorderInput {
        in_recovery: false,
        enough_sacked: false,
        adapts: true,
        srtt: Some(Duration::from_secs(1)),
    };

    #[test]
    fn a_segment_is_lost_a_round_trip_and_a_reordering_window_after_it_left() {
        let rack = arrived();
        let window = rack.reordering_window(&IN_ORDER);
        assert_eq!(window, ms(10), "a quarter of the shortest round trip");
        let rule = rack.rule(at(145), window).expect("something has arrived");
        assert_eq!((rule.sent_at, rule.cutoff), (at(100), at(95)));
        assert_eq!(rack.settled_at(window), at(150));
        assert!(Rack::new(SeqNumber::new(0)).rule(at(145), window).is_none());
    }

    #[test]
    fn without_reordering_three_duplicates_or_a_recovery_wait_for_nothing() {
        let mut rack = arrived();
        for input in [
            ReorderInput { in_recovery: true, ..IN_ORDER },
            ReorderInput { enough_sacked: true, ..IN_ORDER },
        ] {
            assert_eq!(rack.reordering_window(&input), Duration::ZERO);
        }
        rack.on_delivered(&ack(142, None), &record(0, 1000, 100, Marks::NONE));
        assert!(rack.reordering_seen());
        let input = ReorderInput { in_recovery: true, enough_sacked: true, ..IN_ORDER };
        assert_eq!(rack.reordering_window(&input), ms(10));
    }

    #[test]
    fn duplicates_widen_the_window_once_a_round_and_sixteen_clean_recoveries_end_that() {
        let mut rack = arrived();
        let seq = SeqNumber::new;
        rack.on_ack(seq(2000), seq(9000), true);
        rack.on_ack(seq(3000), seq(9000), true);
        assert_eq!(rack.reordering_window(&IN_ORDER), ms(20), "once a round");
        rack.on_ack(seq(9000), seq(12_000), true);
        assert_eq!(rack.reordering_window(&IN_ORDER), ms(30));
        let short = ReorderInput { srtt: Some(ms(12)), ..IN_ORDER };
        assert_eq!(rack.reordering_window(&short), ms(12), "no more than SRTT");
        let fixed = ReorderInput { adapts: false, ..IN_ORDER };
        assert_eq!(rack.reordering_window(&fixed), ms(10), "unless it does not grow");
        for _ in 0..16 {
            assert_eq!(rack.reordering_window(&IN_ORDER), ms(30));
            rack.on_recovered();
        }
        assert_eq!(rack.reordering_window(&IN_ORDER), ms(10));
    }

    #[test]
    fn an_answer_to_an_earlier_transmission_says_nothing_of_the_last() {
        // By its echo, and without timestamps by a round trip that is too short.
        for (now, echo) in [(200, Some(100)), (170, None)] {
            let mut rack = arrived();
            rack.on_delivered(&ack(now, echo), &record(0, 1000, 150, Marks::EVER_RESENT));
            assert_eq!(rack.rule(at(200), ms(0)).map(|rule| rule.sent_at), Some(at(100)));
            assert!(!rack.reordering_seen(), "it was our own doing");
        }
        let mut rack = arrived();
        rack.on_delivered(&ack(200, Some(150)), &record(0, 1000, 150, Marks::EVER_RESENT));
        assert_eq!(rack.rule(at(200), ms(0)).map(|rule| rule.sent_at), Some(at(150)));
    }

    #[test]
    fn the_shortest_round_trip_is_forgotten_in_time() {
        let mut rack = arrived();
        for (now, rtt) in [(1_000, 90), (400_000, 80), (900_000, 70), (1_000_000, 75)] {
            let sent = record(0, 1000, now - rtt, Marks::NONE);
            rack.on_delivered(&ack(now, None), &sent);
        }
        assert_eq!(rack.min_rtt(), ms(70));
    }
}
