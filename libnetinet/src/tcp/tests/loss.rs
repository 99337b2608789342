//! Loss: time-outs and their back-off, fast retransmit and NewReno, keep-alive, giving up.

use libnet::{Instant, Ready};

use super::net::*;
use crate::tcp::*;

fn times(net: &Net, by: Side, is: impl Fn(&Sent) -> bool) -> Vec<u64> {
    let first =
        net.log.iter().find(|sent| sent.by == by && is(sent)).map_or(Instant::ZERO, |s| s.at);
    let hits = net.log.iter().filter(|sent| sent.by == by && is(sent));
    hits.map(|sent| sent.at.since(first).as_millis() as u64).collect()
}

/// Time-outs alone.
fn without_probes() -> TcpConfig {
    TcpConfig { tail_loss_probe: false, ..TcpConfig::default() }
}

fn is_data(sent: &Sent) -> bool {
    sent.seg.data_len > 0
}

/// Makes A's window large: a clean megabyte first.
fn warmed_up() -> (Net, ConnId, ConnId) {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![0; 1 << 18], secs(10));
    net.run_for(ms(100));
    net.log.clear();
    (net, a, b)
}

#[test]
fn retransmissions_double_their_distance() {
    let mut net = Net::with(without_probes(), TcpConfig::default());
    let (a, _) = net.established();
    net.judge(|_, _| Fate::Drop);
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(ms(6_500));
    let at = times(&net, Side::A, is_data);
    assert_eq!(at.len(), 6, "{at:?}");
    for (got, want) in at.iter().zip([0, 202, 606, 1_414, 3_030, 6_262]) {
        assert!(got.abs_diff(want) <= 10, "{at:?}");
    }
}

#[test]
fn data_without_any_answer_fail_after_15_retries_and_a_quarter_of_an_hour() {
    let mut net = Net::with(without_probes(), TcpConfig::default());
    let (a, _) = net.established();
    net.judge(|_, _| Fate::Drop);
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(secs(800));
    assert_eq!(net.state(Side::A, a), State::Established);
    assert_eq!(net.a.path.advice, 1, "R1 is told to the IP layer once");
    net.run_for(secs(130));
    assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
    assert_eq!(net.log.iter().filter(|sent| is_data(sent)).count(), 16);
}

#[test]
fn the_user_timeout_comes_before_that() {
    let mut net = Net::new();
    let mut options = ConnOptions::new();
    options.user_timeout = secs(5);
    let (a, _) = net.established_with(options, ConnOptions::new());
    net.judge(|_, _| Fate::Drop);
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(secs(4));
    assert_eq!(net.state(Side::A, a), State::Established);
    net.run_for(secs(10));
    assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
}

#[test]
fn an_orphan_gives_up_sooner() {
    let mut net = Net::new();
    let (a, _) = net.established();
    net.judge(|_, _| Fate::Drop);
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.close(Side::A, a);
    net.run_for(secs(110));
    assert!(net.a.table.is_empty());
}

#[test]
fn a_lost_segment_is_resent_on_the_third_duplicate_ack() {
    let (mut net, a, b) = warmed_up();
    let timeouts = net.a.table.counters().timeouts;
    let before = net.info(Side::A, a).cwnd_bytes;
    net.drop_next(1, is_data);
    net.transfer(Side::A, a, b, &[1; 30_000], ms(50));
    assert_eq!(net.a.table.counters().fast_retransmits, 1);
    assert_eq!(net.a.table.counters().timeouts, timeouts);
    assert_eq!(net.info(Side::A, a).retransmits, 1);
    let info = net.info(Side::A, a);
    assert!(info.ssthresh_bytes < before && !info.in_recovery, "{before} before, {info:?}");
}

#[test]
fn several_losses_of_one_window_are_repaired_one_a_round_trip() {
    // RFC 6582: partial acknowledgements.
    let (mut net, a, b) = warmed_up();
    let mut n = 0;
    net.judge(move |sent, _| {
        n += u32::from(is_data(sent));
        if is_data(sent) && [3, 5, 9].contains(&n) { Fate::Drop } else { Fate::Pass }
    });
    net.transfer(Side::A, a, b, &[1; 60_000], ms(150));
    assert_eq!(net.a.table.counters().timeouts, 0);
    assert_eq!(net.info(Side::A, a).retransmits, 3);
    assert_eq!(net.a.table.counters().fast_retransmits, 3);
}

#[test]
fn two_duplicates_let_new_segments_out() {
    // RFC 3042: with three segments in flight and one lost there would be no third duplicate.
    let mut net = Net::new();
    let (a, b) = net.established();
    net.judge(|_, _| Fate::Drop);
    let mss = 1448;
    assert_eq!(net.send(Side::A, a, &vec![1; 3 * mss]), Ok(3 * mss));
    net.run_for(ms(900));
    // After time-outs the window is one segment; let it grow to three, then lose one of them.
    net.clean();
    net.run_for(secs(2));
    assert_eq!(net.recv(Side::B, b).map(|got| got.len()), Ok(3 * mss));
    net.log.clear();
    let cwnd = net.info(Side::A, a).cwnd_bytes as usize;
    assert!((2..=5).contains(&(cwnd / mss)), "{cwnd}");
    net.drop_next(1, is_data);
    let timeouts = net.a.table.counters().timeouts;
    net.transfer(Side::A, a, b, &vec![2; 12 * mss], ms(150));
    assert_eq!(net.a.table.counters().timeouts, timeouts);
}

#[test]
fn a_timeout_leaves_one_segment_of_window() {
    let (mut net, a, b) = warmed_up();
    net.judge(|sent, _| if is_data(sent) { Fate::Drop } else { Fate::Pass });
    assert_eq!(net.send(Side::A, a, &[1; 40_000]), Ok(40_000));
    net.run_for(ms(300));
    let info = net.info(Side::A, a);
    assert_eq!(info.cwnd_bytes, u32::from(info.snd_mss_bytes));
    assert_eq!(info.retries, 1);
    net.clean();
    net.run_for(secs(3));
    assert_eq!(net.recv(Side::B, b).map(|got| got.len()), Ok(40_000));
    assert_eq!(net.info(Side::A, a).retries, 0);
}

#[test]
fn an_idle_connection_starts_again_with_the_initial_window() {
    let (mut net, a, b) = warmed_up();
    assert!(net.info(Side::A, a).cwnd_bytes > 100_000);
    net.run_for(secs(10));
    net.transfer(Side::A, a, b, &[1; 1000], secs(1));
    assert!(net.info(Side::A, a).cwnd_bytes < 20_000);
}

#[test]
fn the_round_trip_is_measured_and_kept_within_bounds() {
    let mut net = Net::new();
    net.delay = ms(150);
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &[1; 50_000], secs(30));
    let info = net.info(Side::A, a);
    let srtt = info.srtt.expect("it was measured");
    assert!((ms(295)..ms(345)).contains(&srtt), "{srtt:?}");
    assert!(info.rto > srtt && info.retransmits == 0, "{info:?}");
}

#[test]
fn a_sudden_delay_is_sent_into_again_but_not_for_ever() {
    // RTT jumps from 2 ms to 600 ms: spurious time-outs, then the RTO follows.
    let (mut net, a, b) = warmed_up();
    net.delay = ms(300);
    net.transfer(Side::A, a, b, &[1; 200_000], secs(60));
    net.run_for(secs(2));
    let before = net.a.table.counters().timeouts;
    net.transfer(Side::A, a, b, &[1; 200_000], secs(60));
    assert_eq!(net.a.table.counters().timeouts, before);
}

#[test]
fn lost_acknowledgements_are_no_loss() {
    let (mut net, a, b) = warmed_up();
    let mut n = 0;
    net.judge(move |sent, _| {
        n += 1;
        if sent.by == Side::B && n % 2 == 0 { Fate::Drop } else { Fate::Pass }
    });
    net.transfer(Side::A, a, b, &[1; 100_000], ms(500));
    assert_eq!(net.a.table.counters().fast_retransmits, 0);
}

#[test]
fn one_super_segment_that_is_overtaken_is_no_loss() {
    let (mut net, a, b) = warmed_up();
    net.cut = false;
    let mut n = 0;
    net.judge(move |sent, _| {
        n += u32::from(is_data(sent));
        if is_data(sent) && n == 3 { Fate::Late(ms(1) / 2) } else { Fate::Pass }
    });
    net.transfer(Side::A, a, b, &vec![1; 1 << 20], secs(2));
    assert_eq!(net.a.table.counters().fast_retransmits, 0);
    assert_eq!(net.b.table.counters().out_of_order_in, 1);
}

#[test]
fn keepalive_probes_an_idle_peer_and_finds_it_alive() {
    let mut net = Net::new();
    let mut options = ConnOptions::new();
    options.keepalive = true;
    options.keepalive_idle = secs(10);
    options.keepalive_interval = secs(2);
    options.keepalive_probes = 3;
    let (a, _) = net.established_with(options, ConnOptions::new());
    net.log.clear();
    net.run_for(secs(9));
    assert_eq!(net.log.len(), 0);
    net.run_for(secs(100));
    let probes = net.a.table.counters().keepalives_out;
    assert!((8..=11).contains(&probes), "{probes}");
    assert_eq!(net.state(Side::A, a), State::Established);
    net.judge(|_, _| Fate::Drop);
    net.run_for(secs(20));
    assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
}

#[test]
fn keepalive_is_off_unless_asked_for() {
    // RFC 9293 §3.8.4 (MUST-25).
    let mut net = Net::new();
    let (a, _) = net.established();
    net.log.clear();
    net.run_for(secs(100_000));
    assert_eq!((net.log.len(), net.state(Side::A, a)), (0, State::Established));
}

#[test]
fn keepalive_with_an_idle_time_below_its_interval_does_not_kill_the_living() {
    let mut net = Net::new();
    let mut options = ConnOptions::new();
    options.keepalive = true;
    options.keepalive_idle = secs(1);
    options.keepalive_interval = secs(5);
    options.keepalive_probes = 2;
    let (a, _) = net.established_with(options, ConnOptions::new());
    net.run_for(secs(1_000));
    assert_eq!(net.state(Side::A, a), State::Established);
}

#[test]
fn a_writer_that_waits_is_told_when_there_is_room() {
    let mut net = Net::new();
    let mut options = ConnOptions::new();
    options.send_buffer_bytes = 50_000;
    let (a, _) = net.established_with(options, ConnOptions::new());
    net.a.told();
    assert_eq!(net.send(Side::A, a, &[1; 100_000]), Ok(50_000));
    assert_eq!(net.send(Side::A, a, &[1; 1]), Err(SendError::WouldBlock));
    assert!(!net.a.table.ready(a).intersects(Ready::WRITABLE));
    net.run_for(ms(100));
    assert!(net.a.told().contains(Ready::WRITABLE));
    assert!(net.a.table.ready(a).contains(Ready::WRITABLE));
}
