//! BBR against a path made of arithmetic: a rate, a delay, a queue, and losses by chance.

use std::collections::VecDeque;
use std::time::Duration;

use libnet::Instant;

use super::*;
use crate::tcp::pacing::Pacer;
use crate::tcp::rate::{Arrival, Rate, RateStamp};
use crate::tcp::seq::SeqNumber;

const MSS: u32 = 1_448;

/// What is between the sender and the receiver.
#[derive(Clone, Copy)]
struct Path {
    /// Bytes per second.
    rate: u64,
    rtt: Duration,
    queue_bytes: u64,
    /// Of a thousand segments so many are lost.
    loss: u32,
    /// Segments from so many on are marked, bytes of queue.
    mark_at: u64,
}

impl Path {
    fn new(mbit: u64, rtt_ms: u64) -> Self {
        let (rate, rtt) = (mbit * 125_000, Duration::from_millis(rtt_ms));
        let queue_bytes = (rate * rtt_ms / 1_000).max(20 * u64::from(MSS));
        Path { rate, rtt, queue_bytes, loss: 0, mark_at: u64::MAX }
    }

    fn bdp(&self) -> u64 {
        self.rate * self.rtt.as_millis() as u64 / 1_000
    }
}

struct Segment {
    number: u32,
    stamp: RateStamp,
    sent_at: Instant,
    /// `None`: lost.
    acked_at: Option<Instant>,
    marked: bool,
}

/// One flow that always has something to send, or that sends a little from time to time.
struct Flow {
    path: Path,
    now: Instant,
    bbr: Bbr,
    account: Rate,
    pacer: Pacer,
    gate: Instant,
    under_way: VecDeque<Segment>,
    in_flight: u32,
    next: u32,
    recover: Option<u32>,
    limited_to: u32,
    /// When the bottleneck has sent all it has.
    busy_until: Instant,
    min_rtt: Duration,
    /// Timers that pace come so much late at most, in microseconds.
    late: u32,
    chance: u64,
    /// Of the queue, byte-segments seen.
    queued: (u64, u64),
    states: Vec<(Instant, State)>,
}

impl Flow {
    fn new(path: Path, seed: u32) -> Self {
        let now = Instant::from_millis(1_000);
        let first = Begin::first(MSS);
        let begin = Begin { now, srtt: path.rtt, seed, ..first };
        let bbr = Bbr::new(&begin);
        let mut pacer = Pacer::new(begin.cwnd_bytes);
        pacer.set_rate(bbr.pacing_rate, MSS);
        Flow {
            path,
            now,
            bbr,
            account: Rate::new(now),
            pacer,
            gate: Instant::ZERO,
            under_way: VecDeque::new(),
            in_flight: 0,
            next: 0,
            recover: None,
            limited_to: 0,
            busy_until: now,
            min_rtt: path.rtt,
            late: 0,
            chance: u64::from(seed) | 1,
            queued: (0, 0),
            states: Vec::new(),
        }
    }

    fn by_chance(&mut self, n: u32) -> u32 {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.chance >> 33) as u32) % n
    }

    /// Bytes delivered within `duration`.
    fn run(&mut self, duration: Duration) -> u64 {
        let (end, before) = (self.now + duration, self.account.delivered());
        loop {
            let room = self.in_flight + MSS <= self.bbr.cwnd_bytes();
            if !room {
                self.limited_to = self.next;
            }
            let send_at = if room { self.gate.max(self.now) } else { Instant::MAX };
            let ack_at = self.under_way.iter().find_map(|segment| segment.acked_at);
            let next = send_at.min(ack_at.unwrap_or(Instant::MAX));
            if next > end {
                self.now = end;
                return self.account.delivered() - before;
            }
            self.now = next;
            if ack_at.is_some_and(|at| at <= send_at) { self.acknowledge() } else { self.send() }
        }
    }

    fn send(&mut self) {
        let now = self.now;
        if self.gate != Instant::ZERO {
            self.pacer.on_open(now);
        }
        if self.in_flight == 0 {
            self.bbr.on_restart(now, self.account.is_app_limited());
        }
        let idle = self.in_flight == 0;
        self.in_flight += MSS;
        let stamp = self.account.on_sent(now, idle, self.in_flight);
        let backlog = self.busy_until.since(now).as_nanos() as u64 * self.path.rate / 1_000_000_000;
        self.queued = (self.queued.0 + backlog, self.queued.1 + 1);
        let drops = backlog + u64::from(MSS) > self.path.queue_bytes;
        let lost = drops || (self.path.loss > 0 && self.by_chance(1_000) < self.path.loss);
        if !drops {
            let time = Duration::from_nanos(u64::from(MSS) * 1_000_000_000 / self.path.rate);
            self.busy_until = self.busy_until.max(now) + time;
        }
        let acked_at = (!lost).then_some(self.busy_until + self.path.rtt);
        let (number, marked) = (self.next, backlog >= self.path.mark_at);
        self.under_way.push_back(Segment { number, stamp, sent_at: now, acked_at, marked });
        self.next += 1;
        let gate = self.pacer.on_sent(now, MSS);
        self.gate = Instant::ZERO;
        if gate != Instant::MAX {
            self.gate = gate + Duration::from_micros(self.by_chance(self.late + 1).into());
        }
    }

    fn acknowledge(&mut self) {
        let (now, mut newly_lost) = (self.now, 0);
        while let Some(segment) = self.under_way.pop_front_if(|segment| segment.acked_at.is_none())
        {
            newly_lost += MSS;
            self.lose(&segment);
        }
        let segment = self.under_way.pop_front().expect("one was acknowledged");
        self.in_flight -= MSS;
        self.min_rtt = self.min_rtt.min(now.since(segment.sent_at));
        let arrival = Arrival {
            stamp: &segment.stamp,
            sent_at: segment.sent_at,
            app_limited: false,
            again: false,
        };
        self.account.on_delivered(now, MSS, &arrival);
        let told = self.account.finish_sample(now, self.min_rtt);
        if self.recover.is_some_and(|recover| segment.number >= recover) {
            self.recover = None;
            self.bbr.on_repaired();
        }
        let sample = Sample {
            now,
            mss: MSS,
            newly_delivered: MSS,
            newly_lost,
            delivered_total: self.account.delivered(),
            prior_delivered: told.prior_delivered,
            delivered: told.rate.bytes,
            interval: told.rate.interval,
            lost: (self.account.lost() - told.prior_lost) as u32,
            app_limited: told.rate.app_limited,
            in_flight_then: told.in_flight,
            in_flight: self.in_flight,
            rtt: told.rtt,
            srtt: self.path.rtt,
            window_limited: self.limited_to > segment.number,
            in_recovery: self.recover.is_some(),
            sack: true,
            marked: if segment.marked { MSS } else { 0 },
        };
        self.bbr.on_sample(&sample);
        self.pacer.set_rate(self.bbr.pacing_rate, MSS);
        if self.states.last().is_none_or(|(_, state)| *state != self.bbr.state) {
            self.states.push((now, self.bbr.state));
        }
    }

    fn lose(&mut self, segment: &Segment) {
        self.in_flight -= MSS;
        self.account.on_lost(MSS);
        self.bbr.on_lost(&Lost {
            now: self.now,
            bytes: MSS,
            seq: SeqNumber::new(segment.number.wrapping_mul(MSS)),
            lost: segment.stamp.lost_since(self.account.lost()),
            in_flight_then: segment.stamp.in_flight(),
            app_limited: false,
            delivered_total: self.account.delivered(),
        });
        if self.recover.is_none() {
            self.recover = Some(self.next);
            self.bbr.on_loss(self.in_flight, MSS);
        }
    }

    /// Bytes of queue that a segment found, on average since the last call.
    fn queue(&mut self) -> u64 {
        let (sum, n) = std::mem::take(&mut self.queued);
        sum / n.max(1)
    }

    fn count(&self, state: State) -> usize {
        self.states.iter().filter(|(_, one)| *one == state).count()
    }
}

/// Goodput of 10 s after 5 s, hundredths of the path's rate.
fn goodput(path: Path, seed: u32) -> u64 {
    let mut flow = Flow::new(path, seed);
    flow.run(Duration::from_secs(5));
    flow.run(Duration::from_secs(10)) * 100 / (path.rate * 10)
}

#[test]
fn clean_paths_are_filled_and_their_queues_are_not() {
    for (mbit, rtt) in [(10, 20), (10, 200), (100, 1), (100, 40), (500, 20), (300, 100)] {
        let path = Path::new(mbit, rtt);
        // How many probes fall into the time is chance: the mean of several flows.
        let mut queue = 0;
        for seed in 1..=4 {
            let mut flow = Flow::new(path, seed);
            flow.run(Duration::from_secs(5));
            flow.queue();
            let bytes = flow.run(Duration::from_secs(20));
            let share = bytes * 100 / (path.rate * 20);
            assert!(share >= 93, "{share} % of {mbit} Mbit/s at {rtt} ms: {:?}", flow.bbr);
            queue += flow.queue() / 4;
        }
        // Three quanta, of a millisecond each, are in flight at least.
        let most = (path.bdp() / 3).max(path.rate * 2 / 1_000);
        assert!(queue <= most, "{queue} bytes queued at {mbit} Mbit/s and {rtt} ms");
    }
}

/// All that a path bears is used once it is known, but for what is lost on it.
#[test]
fn a_flow_alone_leaves_nothing_of_its_path_unused() {
    for loss in [0, 1, 10] {
        for rtt in [10, 50, 150] {
            for bdps in [1, 4] {
                let path = Path { loss, ..Path::new(100, rtt) };
                let path = Path { queue_bytes: bdps * path.bdp(), ..path };
                let mut flow = Flow::new(path, 5);
                flow.run(Duration::from_secs(3));
                flow.queue();
                let bytes = flow.run(Duration::from_secs(30));
                let share = bytes * 1_000 / (path.rate * 30) + u64::from(loss);
                let what = format!("{loss} of 1,000 lost, {rtt} ms, queue of {bdps} BDP");
                assert!(share >= if loss == 10 { 990 } else { 998 }, "{share}: {what}");
                let queue = flow.queue();
                assert!(queue <= path.bdp() / 3, "{queue} bytes queued: {what}");
            }
        }
    }
}

/// What timers of a real host are late is not taken from the path.
#[test]
fn timers_that_come_a_little_late_leave_no_path_idle() {
    for rtt in [10, 50, 150] {
        for late in [0, 200, 500, 1_000] {
            let mut flow = Flow::new(Path::new(100, rtt), 5);
            flow.late = late;
            flow.run(Duration::from_secs(3));
            flow.queue();
            let bytes = flow.run(Duration::from_secs(30));
            let share = bytes * 10_000 / (flow.path.rate * 30);
            let queue = flow.queue();
            assert!(share >= 9_990, "{share} of 10,000 at {rtt} ms, {late} µs late");
            assert!(queue <= flow.path.bdp() / 3, "{queue} bytes at {rtt} ms, {late} µs late");
        }
    }
}

#[test]
fn one_loss_in_a_hundred_costs_next_to_nothing() {
    for seed in 1..=3 {
        // Of a hundred in flight, as many as count are often lost by chance.
        for (mbit, rtt, least) in [(10, 100, 75), (100, 100, 92), (100, 20, 75), (500, 40, 92)] {
            let share = goodput(Path { loss: 10, ..Path::new(mbit, rtt) }, seed);
            assert!(share >= least, "{share} % of {mbit} Mbit/s at {rtt} ms, seed {seed}");
        }
    }
}

#[test]
fn a_shallow_queue_is_found_and_its_losses_stay_few() {
    let path = Path::new(100, 40);
    let path = Path { queue_bytes: path.bdp() / 10, ..path };
    let mut flow = Flow::new(path, 3);
    flow.run(Duration::from_secs(5));
    let lost = flow.account.lost();
    let bytes = flow.run(Duration::from_secs(10));
    let lost = flow.account.lost() - lost;
    assert!(bytes * 100 >= path.rate * 10 * 85, "{bytes} bytes");
    assert!(lost * 50 < bytes, "{lost} of {bytes} lost");
    assert_ne!(flow.bbr.model.inflight_long, u32::MAX);
}

/// Where frames are dropped before a queue shows in the round trip, cruising goes beyond nothing.
#[test]
fn a_path_without_a_queue_loses_little() {
    for rtt in [10, 50, 150] {
        let path = Path::new(100, rtt);
        let path = Path { queue_bytes: 5 * u64::from(MSS), ..path };
        let mut flow = Flow::new(path, 3);
        flow.run(Duration::from_secs(5));
        let lost = flow.account.lost();
        let bytes = flow.run(Duration::from_secs(20));
        let lost = (flow.account.lost() - lost) * 1_000 / bytes;
        assert!(lost <= 10, "{lost} of 1,000 lost at {rtt} ms");
    }
}

#[test]
fn startup_is_left_when_the_path_is_full_and_probes_follow_in_turn() {
    let mut flow = Flow::new(Path::new(100, 40), 11);
    flow.run(Duration::from_millis(900));
    let first: Vec<State> = flow.states.iter().map(|(_, state)| *state).take(3).collect();
    assert_eq!(first[..2], [State::Startup, State::Drain]);
    assert!(matches!(first[2], State::Down | State::Cruise), "{first:?}");
    flow.run(Duration::from_secs(12));
    assert!(flow.count(State::Up) >= 3, "{:?}", flow.states);
    // After each Refill comes Up, after each Up comes Down, or ProbeRtt breaks in.
    for pair in flow.states.windows(2) {
        let follows = match pair[0].1 {
            State::Refill => matches!(pair[1].1, State::Up | State::ProbeRtt | State::Down),
            State::Up => matches!(pair[1].1, State::Down | State::ProbeRtt),
            _ => true,
        };
        assert!(follows, "{pair:?}");
    }
}

#[test]
fn the_round_trip_is_looked_for_when_none_was_as_short_for_five_seconds() {
    for longer in [44, 60, 90] {
        let mut flow = Flow::new(Path::new(50, 40), 5);
        flow.run(Duration::from_secs(2));
        assert_eq!(flow.count(State::ProbeRtt), 0);
        flow.path.rtt = Duration::from_millis(longer);
        flow.run(Duration::from_millis(4_900));
        assert_eq!(flow.count(State::ProbeRtt), 0, "{longer} ms: {:?}", flow.states);
        flow.run(Duration::from_millis(800));
        assert_eq!(flow.count(State::ProbeRtt), 1, "{longer} ms: {:?}", flow.states);
    }
}

#[test]
fn a_path_whose_queue_runs_empty_by_itself_is_not_emptied_for_a_look() {
    for (mbit, rtt) in [(50, 40), (100, 10), (100, 150)] {
        let path = Path::new(mbit, rtt);
        let mut flow = Flow::new(path, 5);
        flow.run(Duration::from_secs(3));
        let bytes = flow.run(Duration::from_secs(30));
        assert_eq!(flow.count(State::ProbeRtt), 0, "{mbit} Mbit/s, {rtt} ms: {:?}", flow.states);
        let share = bytes * 1_000 / (path.rate * 30);
        assert!(share >= 980, "{share} of 1,000 of {mbit} Mbit/s at {rtt} ms");
        let min = flow.bbr.model.min_rtt;
        assert!(min < Duration::from_millis(rtt + 2), "{min:?}");
    }
}

#[test]
fn a_longer_route_and_a_slower_link_are_learnt() {
    let mut flow = Flow::new(Path::new(100, 20), 9);
    flow.run(Duration::from_secs(6));
    flow.path.rtt = Duration::from_millis(60);
    flow.min_rtt = Duration::from_millis(60);
    flow.path.queue_bytes *= 3;
    flow.run(Duration::from_secs(25));
    let min = flow.bbr.model.min_rtt;
    assert!(min >= Duration::from_millis(60), "{min:?}");
    let bytes = flow.run(Duration::from_secs(5));
    assert!(bytes * 100 >= flow.path.rate * 5 * 90, "{bytes}: {:?}", flow.bbr);
    flow.path.rate /= 4;
    flow.run(Duration::from_secs(10));
    flow.queue();
    let bytes = flow.run(Duration::from_secs(10));
    assert!(bytes * 100 >= flow.path.rate * 10 * 88, "{bytes}");
    let queue = flow.queue();
    assert!(queue < flow.path.bdp(), "{queue} bytes of queue, {} in the path", flow.path.bdp());
}

#[test]
fn heavy_losses_slow_it_down_without_stopping_it() {
    // By design it backs off above 2 %.
    let path = Path { loss: 100, ..Path::new(50, 40) };
    let share = goodput(path, 2);
    assert!((2..60).contains(&share), "{share} %");
}

#[test]
fn marks_keep_a_short_path_short() {
    let path = Path { mark_at: 40 * u64::from(MSS), ..Path::new(1_000, 2) };
    let path = Path { queue_bytes: 10 * path.bdp(), ..path };
    let mut flow = Flow::new(path, 4);
    flow.run(Duration::from_secs(1));
    flow.queue();
    let bytes = flow.run(Duration::from_secs(2));
    assert!(bytes * 100 >= path.rate * 2 * 85, "{bytes}");
    let queue = flow.queue();
    assert!(queue < 60 * u64::from(MSS), "{queue}");
}

#[test]
fn a_spurious_loss_and_a_time_out_are_forgotten() {
    let mut flow = Flow::new(Path::new(100, 40), 6);
    flow.run(Duration::from_secs(4));
    let (before, window) = (flow.bbr, flow.bbr.cwnd);
    flow.bbr.on_timeout(window, MSS, false);
    assert_eq!(flow.bbr.cwnd_bytes(), MSS);
    flow.bbr.restore(0, 0);
    flow.bbr.on_repaired();
    assert_eq!(flow.bbr.cwnd_bytes(), window);
    assert!(flow.bbr.model.inflight_short >= before.model.inflight_short);
    let share = flow.run(Duration::from_secs(4)) * 100 / (flow.path.rate * 4);
    assert!(share >= 90, "{share} %");
}

#[test]
fn the_threshold_is_crossed_in_the_middle_of_a_burst() {
    // 100,000 in flight, of which 20,000 leave together: 2 % of what was there before them are
    // 1,600, and 1,000 had been lost: 600 of 98 % more.
    let lost = Lost { bytes: 20_000, lost: 21_000, in_flight_then: 100_000, ..Lost::default() };
    assert_eq!(inflight_at_loss(&lost), 80_000 + 612);
    assert!(is_too_high(2_090, 100_000, 1) && !is_too_high(2_089, 100_000, 1));
    // Few segments tell little: of 86 five are too many.
    assert!(is_too_high(5, 86, 1) && !is_too_high(4, 86, 1));
}

#[test]
fn no_sample_breaks_it() {
    let mut bbr = Bbr::new(&Begin::first(88));
    let mut now = Instant::ZERO;
    let mut n = 1u64;
    for round in 0..20_000u64 {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = |shift: u32| [0, 1, 88, 1 << 20, u32::MAX][((n >> shift) % 5) as usize];
        now += Duration::from_nanos(u64::from(pick(20)));
        let sample = Sample {
            now,
            mss: 88,
            newly_delivered: pick(23),
            newly_lost: pick(26),
            delivered_total: round * 1_000,
            prior_delivered: u64::from(pick(29)).min(round * 1_000),
            delivered: pick(32),
            interval: Duration::from_nanos(u64::from(pick(35))),
            lost: pick(38),
            app_limited: n & 64 == 0,
            in_flight_then: pick(41),
            in_flight: pick(44),
            rtt: (n & 128 == 0).then(|| Duration::from_nanos(u64::from(pick(47)))),
            window_limited: n & 256 == 0,
            marked: pick(50),
            ..Sample::default()
        };
        bbr.on_sample(&sample);
        let lost = Lost {
            now,
            bytes: pick(53),
            lost: pick(56),
            in_flight_then: pick(59),
            ..Lost::default()
        };
        match n % 7 {
            0 => bbr.on_lost(&lost),
            1 => bbr.on_loss(pick(20), 88),
            2 => bbr.on_timeout(pick(20), 88, false),
            3 => bbr.on_repaired(),
            4 => bbr.restore(0, 0),
            5 => bbr.on_restart(now, n & 512 == 0),
            _ => {}
        }
        assert!(bbr.cwnd_bytes() >= 88 && bbr.cwnd_bytes() <= MAX_CWND_BYTES);
        assert!(bbr.pacing_rate().is_some());
    }
}
