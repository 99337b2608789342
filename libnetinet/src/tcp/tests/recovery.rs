//! Loss recovery with SACK: RACK, tail probes, PRR, F-RTO, undo, and peers that lie.

use std::time::Duration;

use super::net::*;
use crate::tcp::*;

const MSS: usize = 1448;

fn is_data(sent: &Sent) -> bool {
    sent.by == Side::A && sent.seg.data_len > 0
}

/// A and B, `delay` apart, with A's window grown and all acknowledged just now.
pub(super) fn grown(delay: Duration, config: TcpConfig) -> (Net, ConnId, ConnId) {
    let mut net = Net::with(config, TcpConfig::default());
    net.delay = delay;
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![0; 1 << 19], secs(60));
    net.run_for(delay + ms(45));
    assert_eq!(net.info(Side::A, a).in_flight_bytes, 0);
    net.log.clear();
    (net, a, b)
}

/// Drops the data segments with these numbers, from 1 on.
fn drop_nth(net: &mut Net, which: &'static [usize]) {
    let mut n = 0;
    net.judge(move |sent, _| {
        n += usize::from(is_data(sent));
        if is_data(sent) && which.contains(&n) { Fate::Drop } else { Fate::Pass }
    });
}

/// Sends `bytes` from A to B and gives the time until B has them.
fn time_to_deliver(net: &mut Net, a: ConnId, b: ConnId, bytes: usize) -> Duration {
    let start = net.now;
    net.transfer(Side::A, a, b, &vec![1; bytes], secs(600));
    net.now.since(start)
}

fn counters(net: &Net) -> TcpCounters {
    net.a.table.counters().clone()
}

#[test]
fn many_losses_of_one_window_are_repaired_in_one_round_trip() {
    let (mut net, a, b) = grown(ms(20), TcpConfig::default());
    drop_nth(&mut net, &[3, 5, 9, 10, 11, 20, 22, 24, 26, 28]);
    let took = time_to_deliver(&mut net, a, b, 40 * MSS);
    // There, the answer, again there, and the step to see it: with NewReno, ten round trips.
    assert!(took <= ms(20 + 20 + 20 + 20), "{took:?}");
    assert_eq!(net.info(Side::A, a).retransmits, 10, "what was lost and nothing else");
    let counters = counters(&net);
    assert_eq!((counters.timeouts, counters.sack_recoveries), (0, 1));
}

#[test]
fn a_super_segment_that_is_cut_loses_a_segment_and_resends_no_more() {
    let (mut net, a, b) = grown(ms(20), TcpConfig::default());
    drop_nth(&mut net, &[30]);
    net.transfer(Side::A, a, b, &vec![1; 100 * MSS], secs(1));
    assert!(net.log.iter().any(|sent| sent.super_segment));
    let again: Vec<_> = net.log.iter().filter(|sent| is_data(sent)).collect();
    assert_eq!(again.len(), 101);
    assert_eq!(net.info(Side::A, a).retransmits, 1);
    net.run_for(secs(1));
    assert_eq!(net.info(Side::A, a).send_records, 0);
}

#[test]
fn a_lost_tail_costs_a_probe_and_a_round_trip_and_no_time_out() {
    for lost in [&[40usize][..], &[39, 40]] {
        let (mut net, a, b) = grown(ms(60), TcpConfig::default());
        drop_nth(&mut net, lost);
        let took = time_to_deliver(&mut net, a, b, 40 * MSS);
        let srtt = net.info(Side::A, a).srtt.expect("it was measured");
        // RFC 8985 §7.2: with one segment under way, the peer may wait 200 ms.
        let pto = 2 * srtt + ms(200);
        let rtt = ms(120);
        assert!(took <= rtt / 2 + rtt + pto + rtt + ms(10), "{lost:?}: {took:?}");
        let counters = counters(&net);
        assert_eq!((counters.timeouts, counters.loss_probes), (0, 1), "{lost:?}");
    }
}

#[test]
fn a_lone_segment_is_probed_for_once_and_then_times_out() {
    let mut net = Net::new();
    let (a, _) = net.established();
    net.judge(|_, _| Fate::Drop);
    let start = net.now;
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(ms(1_700));
    let times = net.log.iter().filter(|sent| is_data(sent)).map(|sent| sent.at.since(start));
    // The probe comes no later than the time-out would; that starts anew with it, and doubles.
    let times: Vec<_> = times.map(|time| time.as_millis() as u64).collect();
    assert_eq!(times.len(), 5, "{times:?}");
    for (got, want) in times.iter().zip([0, 202, 404, 808, 1_616]) {
        assert!(got.abs_diff(want) <= 10, "{times:?}");
    }
    assert_eq!((counters(&net).loss_probes, counters(&net).timeouts), (1, 3));
}

#[test]
fn a_probe_that_repairs_a_loss_reduces_the_window_and_one_that_was_not_needed_does_not() {
    let config = TcpConfig { slow_start_after_idle: false, ..TcpConfig::default() };
    let (mut net, a, b) = grown(ms(60), config);
    let before = net.info(Side::A, a).cwnd_bytes;
    // The only acknowledgement is lost: the probe comes twice, and DSACK tells.
    let mut n = 0;
    net.judge(move |sent, _| {
        n += usize::from(sent.by == Side::B);
        if sent.by == Side::B && n == 1 { Fate::Drop } else { Fate::Pass }
    });
    time_to_deliver(&mut net, a, b, 1000);
    net.run_for(secs(1));
    assert_eq!((counters(&net).loss_probes, counters(&net).loss_probe_recoveries), (1, 0));
    assert!(net.info(Side::A, a).cwnd_bytes >= before);
    // Between two probes a round trip is measured.
    net.clean();
    time_to_deliver(&mut net, a, b, 1000);
    net.run_for(ms(150));
    drop_nth(&mut net, &[1]);
    time_to_deliver(&mut net, a, b, 1000);
    time_to_deliver(&mut net, a, b, 1000);
    net.run_for(secs(1));
    assert_eq!((counters(&net).loss_probes, counters(&net).loss_probe_recoveries), (2, 1));
    assert!(net.info(Side::A, a).cwnd_bytes < before);
}

#[test]
fn a_retransmission_that_is_lost_is_found_without_a_time_out() {
    let (mut net, a, b) = grown(ms(20), TcpConfig::default());
    let mut first = None;
    let mut times = 0;
    net.judge(move |sent, _| {
        if !is_data(sent) {
            return Fate::Pass;
        }
        let victim = *first.get_or_insert(sent.seg.seq);
        times += u32::from(sent.seg.seq == victim);
        if sent.seg.seq == victim && times <= 2 { Fate::Drop } else { Fate::Pass }
    });
    let took = time_to_deliver(&mut net, a, b, 2000 * MSS);
    let counters = counters(&net);
    assert_eq!(counters.timeouts, 0);
    assert_eq!(counters.lost_retransmits, 1);
    assert!(took < ms(600), "{took:?}");
}

#[test]
fn how_many_segments_may_overtake_one_is_a_setting() {
    let with = |reordering, counts, sack| {
        let rack = RackWait { counts, ..RackWait::default() };
        TcpConfig { reordering, rack, sack, ..TcpConfig::default() }
    };
    for (config, resent) in [
        (with(3, true, true), 1),
        (with(20, true, true), 0),
        (with(3, false, true), 0),
        (with(3, true, false), 1),
        (with(20, true, false), 0),
    ] {
        let shown = format!("{} {:?} {}", config.reordering, config.rack, config.sack);
        let (mut net, a, b) = grown(ms(20), config);
        let mut n = 0;
        net.judge(move |sent, _| {
            n += u64::from(is_data(sent));
            match is_data(sent) {
                true if n == 5 => Fate::Late(ms(5)),
                // One by one, so that each is told of alone.
                true => Fate::Late(Duration::from_micros(100 * n)),
                false => Fate::Pass,
            }
        });
        time_to_deliver(&mut net, a, b, 15 * MSS);
        net.run_for(secs(1));
        assert_eq!(counters(&net).fast_retransmits, resent, "{shown}");
    }
}

#[test]
fn reordering_within_a_quarter_round_trip_brings_no_retransmission_once_it_is_known() {
    let (mut net, a, b) = grown(ms(20), TcpConfig::default());
    // Every tenth segment 5 ms late: less than min_RTT / 4 = 10 ms.
    let late = |n: u64| if n.is_multiple_of(10) { Fate::Late(ms(5)) } else { Fate::Pass };
    let mut n = 0;
    net.judge(move |sent, _| {
        n += u64::from(is_data(sent));
        if is_data(sent) { late(n) } else { Fate::Pass }
    });
    time_to_deliver(&mut net, a, b, 200 * MSS);
    net.run_for(ms(40));
    assert!(net.info(Side::A, a).reordering_seen);
    let before = net.info(Side::A, a).retransmits;
    time_to_deliver(&mut net, a, b, 600 * MSS);
    assert_eq!(net.info(Side::A, a).retransmits, before);
    assert_eq!(counters(&net).timeouts, 0);
}

#[test]
fn a_reduction_for_what_was_only_late_is_taken_back() {
    // By the echo of a timestamp, and without timestamps by duplicates that are told of.
    for timestamps in [true, false] {
        let (mut net, a, b) = grown(ms(20), TcpConfig { timestamps, ..TcpConfig::default() });
        let before = net.info(Side::A, a);
        let mut n = 0;
        net.judge(move |sent, _| {
            n += u64::from(is_data(sent));
            if is_data(sent) && n == 5 { Fate::Late(ms(30)) } else { Fate::Pass }
        });
        time_to_deliver(&mut net, a, b, 60 * MSS);
        net.run_for(secs(1));
        let (after, counters) = (net.info(Side::A, a), counters(&net));
        assert_eq!((after.retransmits - before.retransmits, counters.sack_recoveries), (1, 1));
        let by_echo = counters.full_undos + counters.partial_undos;
        let want = if timestamps { (1, 0) } else { (0, 1) };
        assert_eq!((by_echo, counters.dsack_undos), want);
        assert!(after.cwnd_bytes >= before.cwnd_bytes, "{after:?}");
        assert_eq!(after.ssthresh_bytes, before.ssthresh_bytes);
    }
}

#[test]
fn a_time_out_that_a_slow_path_caused_is_found_out_and_taken_back() {
    // RFC 5682 §3: the path stands still for 600 ms, and loses nothing.
    for timestamps in [true, false] {
        let (mut net, a, b) = grown(ms(20), TcpConfig { timestamps, ..TcpConfig::default() });
        let before = net.info(Side::A, a);
        let until = net.now + ms(600);
        net.judge(
            move |sent, _| {
                if is_data(sent) { Fate::Late(until.since(sent.at)) } else { Fate::Pass }
            },
        );
        time_to_deliver(&mut net, a, b, 200 * MSS);
        net.run_for(secs(1));
        let (after, counters) = (net.info(Side::A, a), counters(&net));
        assert!(counters.timeouts >= 1);
        assert_eq!(counters.loss_undos, 1, "{counters:?}");
        assert!(after.retransmits - before.retransmits <= 4, "not the whole window: {after:?}");
        assert!(after.cwnd_bytes >= before.cwnd_bytes, "{after:?}");
    }
}

#[test]
fn a_real_outage_is_no_spurious_time_out() {
    let (mut net, a, b) = grown(ms(20), TcpConfig::default());
    let until = net.now + ms(700);
    net.judge(move |sent, _| if sent.at < until { Fate::Drop } else { Fate::Pass });
    time_to_deliver(&mut net, a, b, 100 * MSS);
    let counters = counters(&net);
    assert!(counters.timeouts >= 1);
    assert_eq!((counters.loss_undos, counters.spurious_timeouts), (0, 0));
}

/// A's first ten segments of `bytes` have left, and nobody has heard of them.
fn ten_segments_under_way(config: TcpConfig) -> (Net, ConnId) {
    let (mut net, a, _) = grown(ms(20), config);
    net.judge(|_, _| Fate::Drop);
    let data = vec![1; 10 * MSS];
    assert_eq!(net.send(Side::A, a, &data), Ok(data.len()));
    net.pump(Side::A);
    (net, a)
}

/// B acknowledges `ack` segments more and tells of these, in segments from A's first on.
fn answer(net: &mut Net, a: ConnId, una: SeqNumber, ack: u32, blocks: &[(i64, i64)]) {
    let at = |n: i64| una + (n * MSS as i64) as u32;
    net.forge(Side::B, a, |forged| {
        forged.header.ack = una + ack * MSS as u32;
        for &(left, right) in blocks {
            let block = SackBlock { left: at(left), right: at(right) };
            assert!(forged.header.options.sack.push(block));
        }
    });
}

fn snd_una(net: &Net, a: ConnId) -> SeqNumber {
    net.a.table.get(a).expect("it lives").snd_una
}

#[test]
fn blocks_that_cannot_be_true_are_ignored_and_counted() {
    let (mut net, a) = ten_segments_under_way(TcpConfig::default());
    let una = snd_una(&net, a);
    let before = net.info(Side::A, a);
    for (lie, blocks) in [
        ("beyond what was sent", vec![(5, 12)]),
        ("all beyond", vec![(11, 12)]),
        ("inverted", vec![(5, 3)]),
        ("empty", vec![(3, 3)]),
        ("at the acknowledgement", vec![(0, 3)]),
        ("a duplicate of what was never sent", vec![(-2, 11)]),
        ("half the space away", vec![(-2, (1 << 31) / MSS as i64 + 5)]),
    ] {
        let discarded = counters(&net).sacks_discarded;
        answer(&mut net, a, una, 0, &blocks);
        assert_eq!(counters(&net).sacks_discarded, discarded + 1, "{lie}");
        let info = net.info(Side::A, a);
        assert_eq!((info.sacked_bytes, info.lost_bytes), (0, 0), "{lie}");
        assert_eq!(info.cwnd_bytes, before.cwnd_bytes, "{lie}");
        net.a.table.check_invariants();
    }
    // A true one beside three lies counts.
    answer(&mut net, a, una, 0, &[(4, 5), (20, 30)]);
    assert_eq!(net.info(Side::A, a).sacked_bytes, MSS as u32);
}

#[test]
fn a_peer_that_throws_away_what_it_told_of_gets_it_again() {
    let (mut net, a) = ten_segments_under_way(TcpConfig::default());
    let una = snd_una(&net, a);
    let sent_before = net.log.len();
    // Two to ten are there, and then the peer wants the third after all.
    answer(&mut net, a, una, 0, &[(1, 10)]);
    answer(&mut net, a, una, 2, &[(9, 10)]);
    assert_eq!(snd_una(&net, a), una + 2 * MSS as u32);
    net.run_for(ms(60));
    assert_eq!(counters(&net).sack_renegings, 1);
    assert_eq!(net.info(Side::A, a).sacked_bytes, 0, "nothing it said is believed");
    let again = net.log[sent_before..].iter().filter(|sent| is_data(sent));
    assert!(again.clone().any(|sent| sent.seg.seq == una + 2 * MSS as u32));
    // It goes on from there, whatever it said: all the rest comes again.
    for ack in 3..=10 {
        answer(&mut net, a, una, ack, &[]);
        net.pump(Side::A);
    }
    assert_eq!(net.info(Side::A, a).in_flight_bytes, 0);
}

#[test]
fn acknowledgements_in_pieces_do_not_grow_the_window_faster() {
    let grown_by = |pieces: u32| {
        let (mut net, a) = ten_segments_under_way(TcpConfig::default());
        let (una, before) = (snd_una(&net, a), net.info(Side::A, a).cwnd_bytes);
        for i in 1..=pieces {
            net.forge(Side::B, a, |forged| {
                forged.header.ack = una + 10 * MSS as u32 * i / pieces;
            });
        }
        net.info(Side::A, a).cwnd_bytes - before
    };
    assert!(grown_by(1000) <= grown_by(10));
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_yet_buys_nothing() {
    let (mut net, a) = ten_segments_under_way(TcpConfig::default());
    let (una, before) = (snd_una(&net, a), net.info(Side::A, a));
    answer(&mut net, a, una, 11, &[]);
    let info = net.info(Side::A, a);
    assert_eq!(
        (info.cwnd_bytes, info.in_flight_bytes),
        (before.cwnd_bytes, before.in_flight_bytes)
    );
    assert_eq!(net.dropped(Side::A, libnet::DropReason::TcpBadAck), 1);
}

#[test]
fn without_sack_on_either_side_newreno_repairs() {
    let mut net =
        Net::with(TcpConfig::default(), TcpConfig { sack: false, ..TcpConfig::default() });
    net.delay = ms(20);
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![0; 1 << 19], secs(60));
    net.run_for(ms(500));
    drop_nth(&mut net, &[3, 5, 9]);
    let took = time_to_deliver(&mut net, a, b, 40 * MSS);
    assert!((ms(100)..ms(200)).contains(&took), "a round trip for each: {took:?}");
    assert_eq!(net.info(Side::A, a).retransmits, 3);
    assert_eq!((counters(&net).timeouts, counters(&net).sack_recoveries), (0, 0));
}

#[test]
fn the_window_of_a_recovery_comes_down_in_proportion() {
    // RFC 9937 with RFC 9438 §4.6: seven segments leave for ten that arrive, from the first on.
    let (receive_buffer_bytes, send_buffer_bytes) = (1 << 20, 1 << 20);
    let config = TcpConfig { receive_buffer_bytes, send_buffer_bytes, ..TcpConfig::default() };
    let (mut net, a, b) = grown(ms(20), config);
    drop_nth(&mut net, &[2]);
    let flight = net.info(Side::A, a).cwnd_bytes as usize / MSS;
    time_to_deliver(&mut net, a, b, 1500 * MSS);
    let first_again = {
        let mut seen = std::collections::BTreeSet::new();
        let again = |sent: &&Sent| is_data(sent) && !seen.insert(sent.seg.seq.value());
        net.log.iter().find(again).expect("one came again").at
    };
    let sent = |from: Duration, to: Duration| {
        let within = |s: &&Sent| s.at >= first_again + from && s.at < first_again + to;
        net.log.iter().filter(|sent| is_data(sent)).filter(within).count()
    };
    let round = sent(Duration::ZERO, ms(39));
    assert!((flight * 3 / 5..=flight * 4 / 5).contains(&round), "{round} for {flight}");
}

#[test]
fn delivery_is_accounted_for() {
    let mut net = Net::new();
    net.delay = ms(20);
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![1; 1 << 20], secs(60));
    net.run_for(secs(1));
    let info = net.info(Side::A, a);
    assert_eq!(info.delivered_bytes, 1 << 20);
    assert_eq!(info.min_rtt, ms(40));
    assert!(info.delivery_rate > 0);
}
