//! Habits where the RFCs leave a choice, and the options that change them: when acknowledgements
//! leave, what a cork holds back, how often a SYN is sent again, how long FIN-WAIT-2 is.

use super::net::*;
use crate::tcp::*;

fn with(change: impl FnOnce(&mut ConnOptions)) -> ConnOptions {
    let mut options = ConnOptions::new();
    change(&mut options);
    options
}

fn corked() -> ConnOptions {
    with(|options| options.cork = true)
}

fn set(net: &mut Net, id: ConnId, options: ConnOptions) {
    let now = net.now;
    net.a.table.set_options(now, id, options);
}

/// Data bytes of each segment that A sent.
fn sizes(net: &Net) -> Vec<u32> {
    let sent = net.sent_by(Side::A);
    sent.iter().map(|sent| sent.seg.data_len).filter(|len| *len > 0).collect()
}

/// Pure acknowledgements of B.
fn acks(net: &Net) -> usize {
    net.sent_by(Side::B).iter().filter(|sent| sent.seg.data_len == 0).count()
}

#[test]
fn a_cork_holds_back_what_is_no_full_segment_until_it_is_pulled() {
    let mut net = Net::new();
    let (a, _) = net.established_with(corked(), ConnOptions::new());
    for _ in 0..3 {
        assert_eq!(net.send(Side::A, a, &[1; 600]), Ok(600));
        net.run_for(ms(10));
    }
    assert_eq!(sizes(&net), [1448], "one is full, the rest waits");
    set(&mut net, a, ConnOptions::new());
    net.run_for(ms(10));
    assert_eq!(sizes(&net), [1448, 352]);
    assert!(net.sent_by(Side::A).last().unwrap().has(Flags::PSH));
}

#[test]
fn a_cork_lets_go_after_a_time_out() {
    let mut net = Net::new();
    let (a, _) = net.established_with(corked(), ConnOptions::new());
    assert_eq!(net.send(Side::A, a, &[1; 100]), Ok(100));
    net.run_for(ms(199));
    assert_eq!(sizes(&net), []);
    // A round trip, and 200 ms.
    net.run_for(ms(5));
    assert_eq!(sizes(&net), [100]);
    net.run_for(secs(5));
    assert_eq!((sizes(&net).len(), net.info(Side::A, a).retries), (1, 0));
}

#[test]
fn the_end_of_a_stream_pulls_the_cork() {
    let mut net = Net::new();
    let (a, _) = net.established_with(corked(), ConnOptions::new());
    assert_eq!(net.send(Side::A, a, &[1; 100]), Ok(100));
    net.shutdown(Side::A, a);
    net.run_for(ms(5));
    let last = net.sent_by(Side::A).into_iter().find(|sent| sent.seg.data_len == 100);
    assert!(last.unwrap().has(Flags::FIN));
}

#[test]
fn what_a_cork_has_held_back_is_sent_again_like_all_else() {
    let pulls: [fn(&mut Net, ConnId); 3] = [
        |net, a| net.shutdown(Side::A, a),
        |net, a| set(net, a, ConnOptions::new()),
        |net, a| assert_eq!(net.send(Side::A, a, &[1; 1348]), Ok(1348)),
    ];
    for (which, pull) in pulls.into_iter().enumerate() {
        let mut net = Net::new();
        let (a, _) = net.established_with(corked(), ConnOptions::new());
        assert_eq!(net.send(Side::A, a, &[1; 100]), Ok(100));
        net.run_for(ms(5));
        net.drop_next(1, |sent| sent.seg.data_len > 0);
        pull(&mut net, a);
        net.run_for(ms(5));
        assert_eq!(sizes(&net).len(), 1, "way {which}: the cork is pulled");
        net.run_for(secs(2));
        let all = if which == 2 { 1448 } else { 100 };
        assert_eq!(net.info(Side::A, a).bytes_acked, all, "way {which}: it was lost for good");
    }
}

#[test]
fn nodelay_pushes_what_waits_and_the_cork_holds_what_comes() {
    let mut net = Net::new();
    let (a, _) = net.established_with(corked(), ConnOptions::new());
    assert_eq!(net.send(Side::A, a, &[1; 100]), Ok(100));
    net.run_for(ms(5));
    set(&mut net, a, with(|options| (options.cork, options.nodelay) = (true, true)));
    net.run_for(ms(5));
    assert_eq!(sizes(&net), [100]);
    assert_eq!(net.send(Side::A, a, &[1; 50]), Ok(50));
    net.run_for(ms(5));
    assert_eq!(sizes(&net), [100]);
}

#[test]
fn the_first_sixteen_segments_are_acknowledged_at_once() {
    let mut net = Net::new();
    let (a, _) = net.established();
    net.log.clear();
    for n in 1..=20 {
        assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
        net.run_for(ms(10));
        assert_eq!(acks(&net), if n <= 16 { n } else { n - 1 }, "after {n} segments");
        net.run_for(ms(90));
        assert_eq!(acks(&net), n, "after {n} segments and the delay");
    }
    // More than a time-out of silence: as at the start.
    net.run_for(secs(2));
    net.log.clear();
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(ms(100));
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(ms(5));
    assert_eq!(acks(&net), 1 + 1);
}

#[test]
fn who_asks_and_answers_acknowledges_with_the_answer_from_the_first() {
    let mut net = Net::new();
    let (a, b) = net.established();
    for round in 0..5 {
        net.log.clear();
        for (from, tx, rx) in [(Side::A, a, b), (Side::B, b, a)] {
            assert_eq!(net.send(from, tx, b"some"), Ok(4));
            net.run_for(ms(5));
            assert_eq!(net.recv(from.other(), rx), Ok(b"some".to_vec()));
        }
        net.run_for(ms(20));
        let alone = acks(&net);
        assert_eq!(alone, usize::from(round == 0), "the first acknowledgement left at once");
    }
    // No answer comes: after the delay.
    net.log.clear();
    assert_eq!(net.send(Side::A, a, b"question"), Ok(8));
    net.run_for(ms(40));
    assert_eq!(acks(&net), 0);
    net.run_for(ms(2));
    assert_eq!(acks(&net), 1);
}

#[test]
fn quick_acknowledgements_can_be_asked_for_and_left() {
    let mut net = Net::new();
    let slow = with(|options| options.quick_ack = false);
    let (a, b) = net.established_with(ConnOptions::new(), slow);
    net.log.clear();
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(ms(30));
    assert_eq!(acks(&net), 0, "in the hope of data to go with");
    let now = net.now;
    net.b.table.set_quick_ack(now, b, true);
    net.run_for(ms(2));
    assert_eq!(acks(&net), 1, "what waited leaves");
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(ms(5));
    assert_eq!(acks(&net), 2);
    let now = net.now;
    net.b.table.set_quick_ack(now, b, false);
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(ms(30));
    assert_eq!(acks(&net), 2);
}

#[test]
fn the_delay_follows_the_data_on_a_long_path_and_is_200_ms_at_most() {
    let mut net = Net::new();
    net.delay = ms(150);
    let (a, _) = net.established_with(with(|options| options.nodelay = true), ConnOptions::new());
    // Every 35 ms: closer together than the delay, farther apart than half of it.
    let mut at = Vec::new();
    for n in 0..200 {
        assert_eq!(net.send(Side::A, a, &[n; 100]), Ok(100));
        net.run_for(ms(35));
    }
    for sent in net.sent_by(Side::B) {
        at.push(sent.at);
    }
    let gaps: Vec<u64> = at.windows(2).map(|two| (two[1] - two[0]).as_millis() as u64).collect();
    let late = &gaps[gaps.len() - 20..];
    assert!(late.iter().all(|gap| (41..=235).contains(gap)), "{late:?}");
}

#[test]
fn a_closed_connection_waits_for_the_peer_as_long_as_it_was_told() {
    for (own, alive_at, gone_at) in [(0, 59, 61), (5, 4, 6)] {
        let mut net = Net::new();
        let stay = with(|options| options.fin_wait_2 = Some(secs(own)));
        let (a, _) = net.established_with(stay, ConnOptions::new());
        net.close(Side::A, a);
        net.run_for(secs(alive_at));
        assert_eq!(net.a.table.len(), 1);
        net.run_for(secs(gone_at - alive_at));
        assert_eq!(net.a.table.len(), 0);
    }
    let mut net = Net::new();
    let no_stay = with(|options| options.fin_wait_2 = None);
    let (a, b) = net.established_with(no_stay, ConnOptions::new());
    net.close(Side::A, a);
    net.run_for(ms(10));
    assert_eq!(net.a.table.len(), 0);
    assert!(net.sent_by(Side::A).last().unwrap().has(Flags::RST));
    assert_eq!(net.state(Side::B, b), State::Closed);
}

#[test]
fn a_connect_sends_as_many_syns_as_it_was_told() {
    let mut net = Net::new();
    net.judge(|_, _| Fate::Drop);
    let id = net.connect_with(with(|options| options.syn_retries = 2));
    net.run_for(secs(600));
    // As on Linux: six, a second apart, in the seven seconds that two retries take where all double.
    assert_eq!(net.count(Side::A, Flags::SYN), 6);
    assert_eq!(net.state(Side::A, id), State::Closed);
}

#[test]
fn the_options_of_a_syn_and_of_data_are_in_linuxs_order() {
    let mut net = Net::new();
    let _ = net.listen(1);
    let a = net.connect();
    net.run_for(ms(10));
    let mut bytes = Vec::new();
    let syn = net.sent_by(Side::A)[0].seg.options;
    bytes.resize(syn.len(), 0);
    syn.write(&mut bytes);
    // MSS; SACK-permitted and timestamps; NOP and window scale.
    assert_eq!(
        (&bytes[..2], &bytes[4..8], &bytes[16..19]),
        (&[2, 4][..], &[4, 2, 8, 10][..], &[1, 3, 3][..])
    );
    assert_eq!(bytes.len(), 20);
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(ms(10));
    let data = net.sent_by(Side::A).into_iter().find(|sent| sent.seg.data_len == 1).unwrap();
    let mut bytes = vec![0; data.seg.options.len()];
    data.seg.options.write(&mut bytes);
    assert_eq!((bytes.len(), &bytes[..4]), (12, &[1, 1, 8, 10][..]));
}

#[test]
fn the_first_flight_is_ten_segments_and_its_last_is_pushed() {
    let mut net = Net::new();
    net.delay = ms(50);
    let (a, _) = net.established();
    net.log.clear();
    assert_eq!(net.send(Side::A, a, &vec![1; 50 * 1448]), Ok(50 * 1448));
    net.run_for(ms(10));
    let flight = net.sent_by(Side::A);
    assert_eq!(flight.len(), 10);
    assert!(flight.iter().all(|sent| !sent.has(Flags::PSH)), "more is to come");
    net.run_for(secs(2));
    let last = net.sent_by(Side::A).into_iter().max_by_key(|sent| sent.at).unwrap();
    assert!(last.has(Flags::PSH));
}

#[test]
fn a_cork_does_not_keep_a_small_window_from_being_asked_about() {
    let mut net = Net::new();
    let theirs = with(|options| options.receive_buffer_bytes = 20_000);
    let (a, b) = net.established_with(corked(), theirs);
    // All but 300 bytes of the window.
    let mut left = 19_700;
    while left > 0 {
        left -= net.send(Side::A, a, &vec![1; left]).unwrap_or(0);
        net.run_for(ms(500));
    }
    assert_eq!(net.info(Side::A, a).snd_wnd_bytes, 300);
    assert_eq!(net.send(Side::A, a, &[2; 1_000]), Ok(1_000));
    // The reader's window is lost.
    net.drop_next(1, |sent| sent.by == Side::B);
    while net.recv(Side::B, b).is_ok_and(|got| !got.is_empty()) {}
    net.run_for(secs(10));
    assert_eq!(net.info(Side::A, a).bytes_acked, 20_700);
}
