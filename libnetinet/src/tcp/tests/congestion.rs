//! What a connection makes of its congestion control: samples, pacing, idle time, change on the way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::net::*;
use super::recovery::grown;
use crate::tcp::*;

const MSS: u32 = 1448;
/// The fixed window of the controller below.
const WINDOW: u32 = 20 * MSS;

/// What a controller was told.
#[derive(Default, Debug)]
struct Told {
    samples: Vec<Sample>,
    lost: Vec<Lost>,
    restarts: usize,
}

/// A controller with a window that never changes, which writes down what it is told.
#[derive(Debug)]
struct Fixed(Arc<Mutex<Told>>);

impl CongestionControl for Fixed {
    fn cwnd_bytes(&self) -> u32 {
        WINDOW
    }

    fn ssthresh_bytes(&self) -> u32 {
        u32::MAX
    }

    fn is_model_based(&self) -> bool {
        true
    }

    fn on_sample(&mut self, sample: &Sample) {
        self.0.lock().unwrap().samples.push(*sample);
    }

    fn on_lost(&mut self, lost: &Lost) {
        self.0.lock().unwrap().lost.push(*lost);
    }

    fn on_restart(&mut self, _now: libnet::Instant, _app_limited: bool) {
        self.0.lock().unwrap().restarts += 1;
    }

    fn on_loss(&mut self, _flight: u32, _mss: u32) {}

    fn on_timeout(&mut self, _flight: u32, _mss: u32, _again: bool) {}
}

struct Fixeds(Arc<Mutex<Told>>);

impl ControllerFactory for Fixeds {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn make(&self, begin: &Begin) -> Box<dyn CongestionControl + Send> {
        assert!(begin.mss > 0 && begin.cwnd_bytes >= begin.mss);
        Box::new(Fixed(Arc::clone(&self.0)))
    }
}

/// A stack that knows `fixed`, and uses it.
fn own_controller() -> (TcpConfig, Arc<Mutex<Told>>) {
    let told = Arc::new(Mutex::new(Told::default()));
    let mut config = TcpConfig::default();
    assert!(config.controllers.add(Arc::new(Fixeds(Arc::clone(&told)))));
    config.congestion_control = config.controllers.algorithm("fixed").expect("it was added");
    (config, told)
}

#[test]
fn a_controller_of_ones_own_is_told_what_the_path_delivers() {
    let (config, told) = own_controller();
    let mut net = Net::with(config, TcpConfig::default());
    net.delay = ms(10);
    let (a, b) = net.established();
    assert_eq!(net.info(Side::A, a).congestion_control.name(), "fixed");
    let bytes = 400 * MSS as usize;
    net.transfer(Side::A, a, b, &vec![7; bytes], secs(10));
    net.run_for(ms(100));
    let told = told.lock().unwrap();
    let last = told.samples.last().expect("acknowledgements came");
    assert_eq!(last.delivered_total, bytes as u64);
    let sum: u64 = told.samples.iter().map(|sample| u64::from(sample.newly_delivered)).sum();
    assert_eq!(sum, bytes as u64);
    // A window a round trip, and never more.
    let most = u64::from(WINDOW) * 50;
    let rates: Vec<u64> = told.samples.iter().map(Sample::delivery_rate).collect();
    assert!(rates.iter().all(|rate| *rate <= most + most / 100), "{rates:?}, not above {most}");
    assert!(rates.iter().any(|rate| *rate >= most - most / 100), "{rates:?}, up to {most}");
    for sample in &told.samples {
        assert!(sample.in_flight_then <= WINDOW && sample.in_flight <= WINDOW, "{sample:?}");
        assert!(sample.rtt.is_some_and(|rtt| rtt >= ms(20)), "{sample:?}");
        assert!(sample.newly_lost == 0 && sample.lost == 0 && !sample.in_recovery, "{sample:?}");
    }
    assert!(told.samples.iter().any(|sample| sample.window_limited && !sample.app_limited));
    assert_eq!(told.restarts, 20, "each window leaves when all of the last has been answered");
}

#[test]
fn a_controller_of_ones_own_is_told_of_losses_and_its_window_counts_in_a_recovery() {
    let (config, told) = own_controller();
    let mut net = Net::with(config, TcpConfig::default());
    net.delay = ms(10);
    let (a, b) = net.established();
    let mut n = 0;
    net.judge(move |sent, _| {
        n += usize::from(sent.by == Side::A && sent.seg.data_len > 0);
        let is_lost = sent.by == Side::A && [50, 51, 55].contains(&n);
        if is_lost { Fate::Drop } else { Fate::Pass }
    });
    let bytes = 200 * MSS as usize;
    net.transfer(Side::A, a, b, &vec![7; bytes], secs(10));
    net.run_for(ms(100));
    let told = told.lock().unwrap();
    let lost: u32 = told.lost.iter().map(|lost| lost.bytes).sum();
    assert_eq!(lost, 3 * MSS);
    assert_eq!(told.samples.iter().map(|sample| sample.newly_lost).sum::<u32>(), lost);
    for one in &told.lost {
        assert!(one.in_flight_then <= WINDOW && one.lost <= lost, "{one:?}");
    }
    assert!(told.samples.iter().any(|sample| sample.lost == lost), "of a window that lost three");
    assert!(told.samples.iter().any(|sample| sample.in_recovery));
    // No reduction but its own: a window leaves each round trip, whatever was lost.
    let mut bursts: Vec<(libnet::Instant, u32)> = Vec::new();
    for (at, len) in departures(&net) {
        match bursts.last_mut() {
            Some((last, sum)) if *last == at => *sum += len,
            _ => bursts.push((at, len)),
        }
    }
    let (_, whole) = bursts.split_last().expect("data left");
    assert!(whole.iter().all(|(_, sum)| *sum == WINDOW), "{bursts:?}");
    assert_eq!(told.samples.last().map(|sample| sample.delivered_total), Some(bytes as u64));
}

#[test]
fn names_are_taken_once_and_unknown_ones_refused() {
    let (mut config, told) = own_controller();
    assert!(!config.controllers.add(Arc::new(Fixeds(told))), "taken");
    let names: Vec<&str> = config.controllers.names().collect();
    assert_eq!(names, ["reno", "cubic", "bbr", "fixed"]);
    for name in ["", "Cubic", "fixe", "a name that is far too long"] {
        assert_eq!(config.controllers.algorithm(name), Err(NoSuchAlgorithm), "{name}");
    }
    // One that another stack knows is none here.
    let stranger = ConnOptions {
        congestion_control: Some(config.congestion_control),
        ..ConnOptions::default()
    };
    let mut net = Net::new();
    let (a, _) = net.established_with(stranger, ConnOptions::default());
    assert_eq!(net.info(Side::A, a).congestion_control, CongestionAlgorithm::Cubic);
}

/// When A's data left, and how many bytes each time.
fn departures(net: &Net) -> Vec<(libnet::Instant, u32)> {
    let data = net.log.iter().filter(|sent| sent.by == Side::A && sent.seg.data_len > 0);
    data.map(|sent| (sent.at, sent.seg.data_len)).collect()
}

#[test]
fn a_pacing_rate_holds_to_the_microsecond_and_two_segments_leave_at_once() {
    // 1 MB/s: a segment takes 1.448 ms.
    let options = ConnOptions { max_pacing_rate: 1_000_000, ..ConnOptions::default() };
    let mut net = Net::new();
    let (a, b) = net.established_with(options, ConnOptions::default());
    let bytes = 300 * MSS as usize;
    let start = net.now;
    net.transfer(Side::A, a, b, &vec![7; bytes], secs(10));
    let took = net.now.since(start);
    // The initial window is free.
    let due = Duration::from_micros((bytes as u64) - 14_480);
    assert!(took.abs_diff(due) < ms(8), "{took:?} and not {due:?}");
    let departures = departures(&net);
    let late = departures.iter().skip(20);
    for (at, _) in late.clone() {
        let together: u32 = late.clone().filter(|other| other.0 == *at).map(|other| other.1).sum();
        assert!(together <= 2 * MSS, "{together} at once");
    }
    // Between any two, no more than the rate allows and a quantum.
    let (mut sent, base) = (0u64, departures[20].0);
    for (at, len) in late {
        sent += u64::from(*len);
        let allowed = at.since(base).as_micros() as u64 + 4 * u64::from(MSS);
        assert!(sent <= allowed, "{sent} in {:?}", at.since(base));
    }
    assert_eq!(net.info(Side::A, a).pacing_rate, 1_000_000);
    assert_eq!(net.a.table.counters().retransmitted_segments, 0);
}

#[test]
fn what_pacing_keeps_back_is_not_stuck_and_a_lower_rate_counts_at_once() {
    let mut options = ConnOptions { max_pacing_rate: 50_000, ..ConnOptions::default() };
    let mut net = Net::new();
    let (a, b) = net.established_with(options.clone(), ConnOptions::default());
    // 2 MSS take 58 ms: all is acknowledged long before the gate opens.
    net.transfer(Side::A, a, b, &vec![7; 40 * MSS as usize], secs(3));
    let counters = net.a.table.counters().clone();
    assert_eq!((counters.window_probes_out, counters.timeouts), (0, 0));
    let (start, now) = (net.now, net.now);
    options.max_pacing_rate = 0;
    net.a.table.set_options(now, a, options);
    net.transfer(Side::A, a, b, &vec![7; 40 * MSS as usize], secs(3));
    assert!(net.now.since(start) < ms(60), "{:?}", net.now.since(start));
    assert_eq!(net.info(Side::A, a).pacing_rate, 0);
}

#[test]
fn a_gate_that_pacing_has_closed_must_open_on_time_and_other_timers_need_not() {
    let options = ConnOptions { max_pacing_rate: 50_000, ..ConnOptions::default() };
    for (options, paces) in [(ConnOptions::default(), false), (options, true)] {
        let mut net = Net::new();
        let (a, _) = net.established_with(options, ConnOptions::default());
        assert!(net.send(Side::A, a, &vec![7; 30_000]).is_ok());
        // The initial window is free. What its acknowledgements let go waits for the gate.
        net.run_for(ms(12));
        let (table, now) = (&net.a.table, net.now);
        let gate = table.next_exact_deadline();
        assert_eq!(gate, table.next_deadline().filter(|_| paces));
        assert_eq!(gate.is_some_and(|gate| gate > now), paces, "{gate:?} at {now:?}");
    }
}

#[test]
fn a_reset_and_a_close_wait_for_no_pace() {
    let options = ConnOptions { max_pacing_rate: 1_000, ..ConnOptions::default() };
    let mut net = Net::new();
    let (a, b) = net.established_with(options, ConnOptions::default());
    assert!(net.send(Side::A, a, &vec![7; 60_000]).is_ok());
    net.run_for(ms(100));
    let now = net.now;
    net.a.table.abort(now, a);
    net.run_for(ms(10));
    assert_eq!(net.state(Side::B, b), State::Closed);
    assert_eq!(net.a.table.len(), 0, "no timer holds it");
}

#[test]
fn a_live_connection_changes_its_congestion_control_and_goes_on_from_its_window() {
    let (mut net, a, b) = grown(ms(20), TcpConfig::default());
    let before = net.info(Side::A, a);
    assert_eq!((before.congestion_control.name(), before.pacing_rate), ("cubic", 0));
    for (name, paced) in [("bbr", true), ("reno", false), ("bbr", true), ("cubic", false)] {
        let mut options = net.a.table.get(a).expect("it lives").options().clone();
        options.congestion_control = Some(name.parse().expect("it is built in"));
        let (now, cwnd) = (net.now, net.info(Side::A, a).cwnd_bytes);
        net.a.table.set_options(now, a, options);
        let info = net.info(Side::A, a);
        assert_eq!((info.congestion_control.name(), info.cwnd_bytes), (name, cwnd));
        assert_eq!(info.pacing_rate > 0, paced, "{name}");
        net.transfer(Side::A, a, b, &vec![1; 1 << 20], secs(20));
    }
    assert_eq!(net.a.table.counters().timeouts, 0);
}

#[test]
fn an_idle_window_is_halved_for_each_time_out_and_slow_start_may_go_back() {
    for (idle, halvings) in [(ms(200), 0), (ms(300), 1), (ms(600), 2), (secs(60), 32)] {
        let (mut net, a, b) = grown(ms(10), TcpConfig::default());
        let before = net.info(Side::A, a);
        assert!(before.rto >= ms(220) && before.rto < ms(300), "{:?}", before.rto);
        // The window has stood for some time already.
        let idle = idle.saturating_sub(ms(55));
        net.run_for(idle);
        net.send(Side::A, a, b"x").expect("there is room");
        net.run_for(ms(1));
        let after = net.info(Side::A, a);
        let want = before.cwnd_bytes.checked_shr(halvings).unwrap_or(0).max(10 * MSS);
        assert_eq!(after.cwnd_bytes, want, "{idle:?} idle");
        if halvings > 0 {
            assert!(after.ssthresh_bytes >= before.cwnd_bytes / 4 * 3);
        }
        let _ = b;
    }
}

#[test]
fn where_idle_windows_are_kept_they_are() {
    let config = TcpConfig { slow_start_after_idle: false, ..TcpConfig::default() };
    let (mut net, a, _) = grown(ms(10), config);
    let before = net.info(Side::A, a).cwnd_bytes;
    net.run_for(secs(60));
    net.send(Side::A, a, b"x").expect("there is room");
    net.run_for(ms(100));
    assert_eq!(net.info(Side::A, a).cwnd_bytes, before);
}

#[test]
fn a_window_that_is_not_used_shrinks_toward_what_is() {
    let (mut net, a, b) = grown(ms(10), TcpConfig::default());
    let before = net.info(Side::A, a).cwnd_bytes;
    assert!(before > 100 * MSS, "{before}");
    for _ in 0..8 {
        // Ten segments each 25 ms, for a bit more than a time-out.
        for _ in 0..10 {
            net.transfer(Side::A, a, b, &vec![1; 10 * MSS as usize], secs(1));
            net.run_for(ms(15));
        }
        assert!(net.info(Side::A, a).cwnd_bytes >= 10 * MSS);
    }
    // Slow start lets it have twice what it uses.
    let after = net.info(Side::A, a).cwnd_bytes;
    assert!(after < before / 4 && after <= 30 * MSS, "{after} of {before}");
}

#[test]
fn a_loss_in_a_small_flight_does_not_cost_a_large_window() {
    // RFC 9438 §4.6: the window may stand for what is in flight if it does not grow unused.
    let (mut net, a, b) = grown(ms(10), TcpConfig::default());
    let before = net.info(Side::A, a).cwnd_bytes;
    net.drop_next(1, |sent| sent.by == Side::A && sent.seg.data_len > 0);
    net.transfer(Side::A, a, b, &vec![1; 8 * MSS as usize], secs(1));
    net.run_for(ms(30));
    let info = net.info(Side::A, a);
    assert_eq!(info.retransmits, 1);
    let wanted = u64::from(before) * 7 / 10;
    assert_eq!(u64::from(info.ssthresh_bytes), wanted);
}
