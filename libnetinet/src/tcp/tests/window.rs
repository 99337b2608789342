//! Flow control: zero windows, silly windows, Nagle, delayed acknowledgements.

use std::time::Duration;

use libnet::DropReason;

use super::net::*;
use crate::tcp::*;

pub(super) fn receiver(bytes: u32) -> ConnOptions {
    let mut options = ConnOptions::new();
    options.receive_buffer_bytes = bytes;
    options
}

fn nodelay() -> ConnOptions {
    let mut options = ConnOptions::new();
    options.nodelay = true;
    options
}

fn drain(net: &mut Net, side: Side, id: ConnId) -> usize {
    let mut total = 0;
    while let Ok(got) = net.recv(side, id) {
        total += got.len();
    }
    total
}

/// What `by` says of its window does not fall short of what its SYN said, by a unit of its field at
/// most. RFC 9293 §3.8.6 (SHOULD-14), RFC 7323 §2.4.
pub(super) fn assert_first_window_stands(net: &Net, by: Side) {
    let syn = |by| net.sent_by(by).into_iter().find(|sent| sent.has(Flags::SYN)).expect("a SYN");
    let (own, first) = (syn(by).seg, syn(by.other()).seg.seq + 1);
    let unit = 1 << own.options.window_shift.expect("it scales");
    let later = || net.sent_by(by).into_iter().filter(|sent| !sent.has(Flags::SYN));
    assert!(later().count() > 1);
    for sent in later() {
        let right = sent.seg.ack + (sent.seg.wnd as u32 + 1) * unit;
        assert!(right.gt(first + u32::from(own.wnd)), "{:?}", sent.seg);
    }
}

#[test]
fn a_full_receiver_closes_the_window_and_probes_find_it_open() {
    let mut net = Net::new();
    let (a, b) = net.established_with(ConnOptions::new(), receiver(10_240));
    assert_eq!(net.send(Side::A, a, &[1; 30_000]), Ok(30_000));
    net.run_for(secs(30));
    assert_eq!(net.info(Side::A, a).snd_wnd_bytes, 0);
    let probes = net.a.table.counters().window_probes_out;
    assert!((4..=9).contains(&probes), "{probes} probes in 30 s");
    // The update that reading sends is lost: a probe finds out.
    let held = net.recv(Side::B, b).expect("there are data").len();
    net.drop_next(1, |sent| sent.by == Side::B);
    net.run_for(ms(1));
    assert!((9_000..=10_240).contains(&held), "{held}");
    let mut total = held;
    for _ in 0..60 {
        net.run_for(secs(1));
        total += drain(&mut net, Side::B, b);
    }
    assert_eq!(total, 30_000);
}

#[test]
fn a_probe_into_a_zero_window_is_answered_and_its_byte_refused() {
    let config = TcpConfig { timestamps: false, ..TcpConfig::default() };
    let mut net = Net::with(config.clone(), config);
    let mut options = receiver(10_240);
    options.max_segment_bytes = 1_280;
    let (a, _) = net.established_with(ConnOptions::new(), options);
    assert_eq!(net.send(Side::A, a, &[1; 30_000]), Ok(30_000));
    net.run_for(ms(1_500));
    assert_eq!(net.dropped(Side::B, DropReason::TcpZeroWindow), 3);
    assert_eq!(net.info(Side::A, a).rto, ms(202 * 8), "the probes' distance doubles");
    assert_eq!(net.info(Side::A, a).in_flight_bytes, 1);
}

#[test]
fn probing_goes_on_as_long_as_the_peer_answers() {
    // RFC 9293 §3.8.6.1 (MUST-37).
    let mut net = Net::new();
    let (a, b) = net.established_with(ConnOptions::new(), receiver(10_240));
    assert_eq!(net.send(Side::A, a, &[1; 30_000]), Ok(30_000));
    net.run_for(secs(100_000));
    assert_eq!(net.state(Side::A, a), State::Established);
    let mut total = 0;
    for _ in 0..600 {
        total += drain(&mut net, Side::B, b);
        net.run_for(secs(1));
    }
    assert_eq!(total, 30_000);
}

#[test]
fn a_user_timeout_ends_even_what_answers_probes() {
    let mut net = Net::new();
    let mut options = ConnOptions::new();
    options.user_timeout = secs(20);
    let (a, b) = net.established_with(options, receiver(10_240));
    // It counts from when the window held data back, not from when the connection was last busy.
    net.run_for(secs(60));
    assert_eq!(net.send(Side::A, a, &[1; 30_000]), Ok(30_000));
    net.run_for(secs(15));
    assert_eq!(net.state(Side::A, a), State::Established);
    drain(&mut net, Side::B, b);
    net.run_for(secs(15));
    assert_eq!(net.state(Side::A, a), State::Established, "some were taken meanwhile");
    net.run_for(secs(60));
    assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
}

#[test]
fn probes_without_an_answer_end_the_connection() {
    let mut net = Net::new();
    let (a, _) = net.established_with(ConnOptions::new(), receiver(10_240));
    assert_eq!(net.send(Side::A, a, &[1; 30_000]), Ok(30_000));
    net.run_for(secs(1));
    net.judge(|_, _| Fate::Drop);
    net.run_for(secs(2_000));
    assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
}

#[test]
fn a_fin_behind_a_closed_window_comes_through_in_the_end() {
    let mut net = Net::new();
    let (a, b) = net.established_with(ConnOptions::new(), receiver(10_240));
    assert_eq!(net.send(Side::A, a, &[1; 10_000]), Ok(10_000));
    net.run_for(ms(500));
    net.close(Side::A, a);
    net.run_for(secs(5));
    let mut total = 0;
    for _ in 0..30 {
        total += drain_until_end(&mut net, b);
        net.run_for(secs(1));
    }
    assert_eq!(total, 10_000);
    assert_eq!(net.state(Side::B, b), State::CloseWait);
}

fn drain_until_end(net: &mut Net, id: ConnId) -> usize {
    let mut total = 0;
    while let Ok(got) = net.recv(Side::B, id) {
        if got.is_empty() {
            break;
        }
        total += got.len();
    }
    total
}

#[test]
fn a_reader_of_single_bytes_does_not_make_a_silly_window() {
    // RFC 9293 §3.8.6.2.2 (MUST-39).
    let mut net = Net::new();
    let (a, b) = net.established_with(ConnOptions::new(), receiver(10_240));
    assert_eq!(net.send(Side::A, a, &[1; 30_000]), Ok(30_000));
    net.run_for(secs(1));
    net.log.clear();
    for _ in 0..1_000 {
        let now = net.now;
        let mut byte = [0];
        let into = &mut [std::io::IoSliceMut::new(&mut byte)];
        assert_eq!(net.b.table.recv(now, b, RecvInto::Copy(into)), Ok(1));
        net.run_for(ms(1));
    }
    assert!(net.bytes(Side::A) <= 2, "only probes: {}", net.bytes(Side::A));
    assert!(net.sent_by(Side::B).len() <= 3);
}

#[test]
fn a_sender_waits_for_a_full_segment_or_half_the_largest_window() {
    // RFC 9293 §3.8.6.2.1 (MUST-38).
    let mut net = Net::new();
    let (a, _) = net.established();
    assert_eq!(net.send(Side::A, a, &[1; 500]), Ok(500));
    net.run_for(ms(100));
    net.judge(|_, _| Fate::Drop);
    net.log.clear();
    // The peer shrinks its window to less than a segment.
    net.forge(Side::B, a, |forged| forged.header.wnd = 1);
    assert_eq!(net.info(Side::A, a).snd_wnd_bytes, 1024);
    assert_eq!(net.send(Side::A, a, &[1; 5_000]), Ok(5_000));
    net.run_for(ms(150));
    assert_eq!(net.bytes(Side::A), 0);
    // The override: at last it sends what fits.
    net.run_for(ms(100));
    assert_eq!(net.bytes(Side::A), 1024);
}

#[test]
fn a_shrunk_window_does_not_lose_the_connection() {
    // RFC 9293 §3.8.6 (MUST-34).
    let mut net = Net::new();
    let (a, b) = net.established();
    net.judge(|sent, _| if sent.by == Side::A { Fate::Drop } else { Fate::Pass });
    assert_eq!(net.send(Side::A, a, &[1; 5_000]), Ok(5_000));
    net.pump(Side::A);
    net.forge(Side::B, a, |forged| {
        forged.header.wnd = 0;
        forged.header.ack = forged.header.ack - 5_000;
    });
    assert_eq!(net.info(Side::A, a).snd_wnd_bytes, 0);
    net.run_for(secs(2));
    net.clean();
    net.run_for(secs(10));
    assert_eq!(net.recv(Side::B, b).map(|got| got.len()), Ok(5_000));
}

#[test]
fn a_second_small_write_waits_for_the_first_to_be_acknowledged() {
    // RFC 9293 §3.7.4, Nagle.
    let mut net = Net::new();
    let (a, b) = net.established();
    net.run_for(ms(10));
    net.log.clear();
    for _ in 0..5 {
        assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
        net.pump(Side::A);
    }
    assert_eq!(net.sent_by(Side::A).len(), 1);
    net.run_for(ms(100));
    assert_eq!(net.sent_by(Side::A).iter().filter(|sent| sent.seg.data_len > 0).count(), 2);
    assert_eq!(drain(&mut net, Side::B, b), 5);
}

#[test]
fn nodelay_sends_each_small_write_at_once() {
    let mut net = Net::new();
    let (a, _) = net.established_with(nodelay(), ConnOptions::new());
    net.log.clear();
    for _ in 0..5 {
        assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
        net.pump(Side::A);
    }
    assert_eq!(net.sent_by(Side::A).len(), 5);
    assert!(net.log.iter().all(|sent| sent.has(Flags::PSH)));
}

#[test]
fn the_small_end_of_a_large_write_is_not_held_back() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.run_for(ms(10));
    net.log.clear();
    assert_eq!(net.send(Side::A, a, &[1; 5_000]), Ok(5_000));
    net.pump(Side::A);
    assert_eq!(net.bytes(Side::A), 5_000);
    net.run_for(ms(5));
    assert_eq!(drain(&mut net, Side::B, b), 5_000);
}

/// A connection whose receiver is past its quick acknowledgements.
fn settled() -> (Net, ConnId, ConnId) {
    let mut net = Net::new();
    let (a, b) = net.established_with(nodelay(), nodelay());
    for _ in 0..40 {
        // Later than an answer would be, and sooner than acknowledgements would be hurried again.
        net.transfer(Side::A, a, b, b"ping", secs(1));
        net.run_for(ms(45));
        net.transfer(Side::B, b, a, b"pong", secs(1));
        net.run_for(ms(45));
    }
    net.log.clear();
    (net, a, b)
}

#[test]
fn a_lone_segment_is_acknowledged_after_40_ms() {
    // RFC 9293 §3.8.6.3 (MUST-40): below 500 ms.
    let (mut net, a, _) = settled();
    assert_eq!(net.send(Side::A, a, b"ping"), Ok(4));
    net.run_for(ms(39));
    assert_eq!(net.sent_by(Side::B).len(), 0);
    net.run_for(ms(5));
    assert_eq!(net.sent_by(Side::B).len(), 1);
}

#[test]
fn an_answer_carries_the_acknowledgement() {
    let (mut net, a, b) = settled();
    for _ in 0..10 {
        net.transfer(Side::A, a, b, b"ping", secs(1));
        net.transfer(Side::B, b, a, b"pong", secs(1));
    }
    net.run_for(ms(100));
    assert_eq!(net.sent_by(Side::B).len(), 10);
    assert_eq!(net.sent_by(Side::A).len(), 11);
}

#[test]
fn every_second_full_segment_is_acknowledged_at_once() {
    // RFC 9293 §3.8.6.3 (SHOULD-19).
    let (mut net, a, b) = settled();
    net.cut = true;
    for _ in 0..10 {
        assert_eq!(net.send(Side::A, a, &[1; 1448]), Ok(1448));
        net.run_for(ms(3));
    }
    assert_eq!(net.sent_by(Side::B).len(), 5);
    assert_eq!(drain(&mut net, Side::B, b), 14_480);
}

#[test]
fn a_train_of_super_segments_is_acknowledged_every_second_one() {
    let (mut net, a, b) = settled();
    net.cut = false;
    net.transfer(Side::A, a, b, &vec![1; 4 << 20], secs(10));
    net.log.clear();
    net.transfer(Side::A, a, b, &vec![1; 8 << 20], secs(10));
    let supers = net.sent_by(Side::A).iter().filter(|sent| sent.super_segment).count();
    let acks = net.sent_by(Side::B).len();
    assert!(acks <= supers * 3 / 4 + 10, "{acks} for {supers}");
}

/// A 64 KiB super-segment has just arrived, with the window far open and acknowledgements no
/// longer hurried.
fn super_segment_arrived() -> (Net, ConnId, ConnId) {
    let (mut net, a, b) = settled();
    net.cut = false;
    net.transfer(Side::A, a, b, &vec![1; 4 << 20], secs(10));
    // Shorter than a time-out: after more they would be hurried again.
    net.run_for(ms(150));
    net.log.clear();
    assert_eq!(net.send(Side::A, a, &[1; 44 * 1448]), Ok(44 * 1448));
    let delay = net.delay;
    net.run_for(delay + Duration::from_micros(100));
    assert!(net.sent_by(Side::A).iter().any(|sent| sent.super_segment));
    assert_eq!(net.sent_by(Side::B).len(), 0);
    (net, a, b)
}

#[test]
fn the_acknowledgement_of_a_super_segment_leaves_when_it_was_read() {
    let (mut net, _, b) = super_segment_arrived();
    assert_eq!(drain(&mut net, Side::B, b), 44 * 1448);
    net.run_for(Duration::from_micros(100));
    assert_eq!(net.sent_by(Side::B).len(), 1);
}

#[test]
fn a_super_segment_that_nobody_reads_is_acknowledged_after_a_millisecond() {
    let (mut net, _, _) = super_segment_arrived();
    net.run_for(ms(1));
    assert_eq!(net.sent_by(Side::B).len(), 1);
}

#[test]
fn out_of_order_segments_are_acknowledged_one_by_one() {
    // RFC 5681 §4.2: fast retransmit counts them.
    let mut net = Net::new();
    let (a, _) = net.established();
    net.run_for(ms(10));
    net.log.clear();
    net.drop_next(1, |sent| sent.seg.data_len > 0);
    assert_eq!(net.send(Side::A, a, &[1; 1448 * 6]), Ok(1448 * 6));
    net.pump(Side::A);
    net.run_for(ms(1));
    net.pump(Side::B);
    let duplicates = net.sent_by(Side::B).len();
    assert_eq!(duplicates, 5);
}
