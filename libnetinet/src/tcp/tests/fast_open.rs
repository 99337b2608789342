//! Data with the SYN (RFC 7413), and listeners that wait for data (`TCP_DEFER_ACCEPT`).

use std::sync::Arc;

use libnet::DropReason;
use libnet::socket::FastOpenKeys;

use super::net::*;
use crate::tcp::*;

fn both_sides() -> FastOpen {
    FastOpen::CLIENT.with(FastOpen::SERVER)
}

fn config() -> TcpConfig {
    TcpConfig { fast_open: both_sides(), ..TcpConfig::default() }
}

fn queue_of(most: u32) -> ConnOptions {
    ConnOptions { fast_open_queue: most, ..ConnOptions::new() }
}

/// A net in which A has a cookie of B's, and B's listener.
fn introduced(config: TcpConfig) -> (Net, Arc<Listener>) {
    let mut net = Net::with(config.clone(), config);
    let listener = net.listen_with(8, queue_of(4));
    let a = net.connect_fast(b"");
    net.run_for(ms(10));
    let b = listener.accept().expect("a handshake as any other").id;
    net.close(Side::A, a);
    net.run_for(ms(10));
    net.close(Side::B, b);
    net.run_for(ms(10));
    assert_eq!(net.a.table.fast_open_servers(), 1);
    net.log.clear();
    (net, listener)
}

/// B's end of a connection that began with data and whose handshake never ends.
pub(super) fn half_open() -> (Net, ConnId) {
    let (mut net, listener) = introduced(config());
    net.connect_fast(b"question");
    net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
    net.run_for(ms(3));
    let b = listener.accept().expect("it need not wait for the handshake").id;
    net.judge(|_, _| Fate::Drop);
    (net, b)
}

#[test]
fn the_first_connect_asks_for_a_cookie_and_the_second_has_its_answer_after_one_round_trip() {
    let (mut net, listener) = introduced(config());
    assert_eq!(net.b.table.counters().fast_open_cookies_asked, 1);
    let (begun, a) = (net.now, net.connect_fast(b"question"));
    net.run_for(ms(1));
    let b = listener.accept().expect("it need not wait for the handshake").id;
    assert_eq!(net.state(Side::B, b), State::SynReceived);
    assert_eq!(net.recv(Side::B, b), Ok(b"question".to_vec()));
    assert_eq!(net.send(Side::B, b, b"answer"), Ok(6));
    net.run_for(ms(1));
    assert_eq!(net.recv(Side::A, a), Ok(b"answer".to_vec()));
    assert_eq!(net.now.since(begun), ms(2));
    assert_eq!(net.sent_by(Side::A)[0].seg.data_len, 8);
    let counters = (net.a.table.counters(), net.b.table.counters());
    assert_eq!((counters.0.fast_open_active, counters.1.fast_open_passive), (1, 1));
    net.transfer(Side::A, a, b, &[1; 200_000], secs(2));
    net.transfer(Side::B, b, a, &[2; 200_000], secs(2));
    assert_eq!(
        (net.state(Side::A, a), net.state(Side::B, b)),
        (State::Established, State::Established)
    );
    assert_eq!(net.b.table.counters().timeouts, 0);
}

#[test]
fn a_lost_answer_to_a_syn_with_data_comes_again_with_and_without_sack() {
    for sack in [true, false] {
        let (mut net, listener) = introduced(TcpConfig { sack, ..config() });
        let a = net.connect_fast(b"question");
        net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
        net.run_for(ms(3));
        let b = listener.accept().expect("accepted").id;
        net.judge(|_, _| Fate::Drop);
        for _ in 0..4 {
            // Each write would put a timer of its own off.
            assert_eq!(net.send(Side::B, b, b"answer"), Ok(6));
            net.run_for(ms(300));
        }
        assert!(net.count(Side::B, Flags::SYN) > 1, "the SYN-ACK came again, with SACK: {sack}");
        net.clean();
        net.run_for(secs(10));
        assert_eq!(net.recv(Side::A, a), Ok(b"answer".repeat(4)));
    }
}

#[test]
fn the_data_of_a_syn_are_acknowledged_where_its_answer_is_acknowledged_before_it_leaves() {
    let (mut net, listener) = introduced(config());
    net.connect_fast(b"question");
    net.pump(Side::A);
    let (meta, syn) = net.take_from_wire().expect("a SYN with data");
    net.arrive(Side::B, meta.src, meta.dst, 0, syn);
    let b = listener.accept().expect("it need not wait for the handshake").id;
    // An old segment, from a connection with the same numbers.
    net.forge(Side::A, b, |_| ());
    assert_eq!(net.state(Side::B, b), State::Established);
    net.log.clear();
    net.pump(Side::B);
    let sent = net.sent_by(Side::B)[0].seg;
    assert_eq!((sent.flags, net.dropped(Side::B, DropReason::TcpBadAck)), (Flags::ACK, 0));
    assert_eq!(net.info(Side::B, b).receive_queue_bytes, 8);
    net.b.table.check_invariants();
}

#[test]
fn more_data_than_a_syn_carries_follow_after_the_handshake() {
    let (mut net, listener) = introduced(config());
    let data: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
    net.connect_fast(&data);
    net.run_for(ms(20));
    let b = listener.accept().expect("accepted").id;
    assert!(net.recv(Side::B, b) == Ok(data), "all of it came");
    let first = net.sent_by(Side::A)[0].seg;
    // RFC 7413 §4.1.3: no more than the server's MSS allows, options counted.
    assert!(first.data_len > 1_000 && first.data_len + 40 <= 1460, "{}", first.data_len);
}

#[test]
fn without_a_cookie_the_data_wait_for_the_handshake() {
    let mut net = Net::with(config(), config());
    let listener = net.listen_with(8, queue_of(4));
    net.connect_fast(b"question");
    net.run_for(ms(10));
    assert_eq!(net.sent_by(Side::A)[0].seg.data_len, 0);
    let b = listener.accept().expect("accepted").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"question".to_vec()));
    assert_eq!(net.b.table.counters().fast_open_passive, 0);
}

#[test]
fn a_cookie_of_an_old_key_gets_a_new_one_and_the_data_come_again() {
    let lifetime = secs(10);
    let (mut net, listener) =
        introduced(TcpConfig { fast_open_key_lifetime: lifetime, ..config() });
    // With the key before, the data are still taken, and a new cookie comes.
    net.run_for(secs(10));
    net.connect_fast(b"one");
    net.run_for(ms(20));
    let b = listener.accept().expect("accepted").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"one".to_vec()));
    let counters = net.b.table.counters();
    assert_eq!((counters.fast_open_passive, counters.fast_open_passive_previous_key), (1, 1));
    // Two keys later they are not; A falls back to the handshake.
    net.run_for(secs(20));
    net.connect_fast(b"two");
    net.run_for(ms(20));
    let b = listener.accept().expect("accepted").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"two".to_vec()));
    assert_eq!(net.b.table.counters().fast_open_passive_fails, 1);
    assert_eq!(net.a.table.counters().fast_open_active_fails, 1);
    // The new cookie is good.
    net.connect_fast(b"three");
    net.run_for(ms(20));
    assert_eq!(net.b.table.counters().fast_open_passive, 2);
}

#[test]
fn a_cookie_of_the_backup_key_is_believed_and_replaced_by_one_of_the_first() {
    let (old, new) = ([1; 16], [2; 16]);
    let with = |keys| ConnOptions { fast_open_keys: Some(Arc::new(keys)), ..queue_of(4) };
    let (mut net, listener) =
        introduced(TcpConfig { fast_open_keys: FastOpenKeys::new(old, None), ..config() });
    // RFC 7413 §4.1.2: a key that was set is not changed by time.
    net.run_for(secs(3 * 24 * 3600));
    let mut connect = |data: &[u8]| {
        net.connect_fast(data);
        net.run_for(ms(20));
        let b = listener.accept().expect("accepted").id;
        assert_eq!(net.recv(Side::B, b), Ok(data.to_vec()));
        let counters = net.b.table.counters();
        (
            counters.fast_open_passive,
            counters.fast_open_passive_previous_key,
            counters.fast_open_passive_fails,
        )
    };
    assert_eq!(connect(b"by the stack's key"), (1, 0, 0));
    listener.set_options(with(FastOpenKeys::new(new, Some(old))));
    assert_eq!(connect(b"by the backup key"), (2, 1, 0));
    assert_eq!(connect(b"by the new key"), (3, 1, 0));
    listener.set_options(with(FastOpenKeys::new([3; 16], Some(old))));
    assert_eq!(connect(b"by a key that is gone"), (3, 1, 1));
}

#[test]
fn a_listener_that_did_not_ask_for_it_takes_no_data_with_a_syn() {
    for (server, queue) in [(FastOpen::CLIENT, 4), (both_sides(), 0)] {
        let mut net = Net::with(config(), TcpConfig { fast_open: server, ..TcpConfig::default() });
        let listener = net.listen_with(8, queue_of(queue));
        net.connect_fast(b"");
        net.run_for(ms(10));
        net.connect_fast(b"data");
        net.run_for(ms(10));
        assert_eq!((listener.waiting(), net.b.table.counters().fast_open_passive), (2, 0));
    }
}

#[test]
fn without_cookies_data_go_and_are_taken_at_once_where_both_sides_say_so() {
    let fast_open = both_sides().with(FastOpen::CLIENT_NO_COOKIE).with(FastOpen::SERVER_NO_COOKIE);
    let config = TcpConfig { fast_open, ..TcpConfig::default() };
    let mut net = Net::with(config.clone(), config);
    let listener = net.listen_with(8, queue_of(4));
    net.connect_fast(b"at once");
    net.run_for(ms(1));
    let b = listener.accept().expect("its data were taken").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"at once".to_vec()));
}

#[test]
fn a_server_that_takes_no_data_is_spared_after_the_second_time() {
    // RFC 7413 §4.1.3.1.
    let (mut net, listener) = introduced(config());
    listener.set_options(queue_of(0));
    for sent in [1, 1, 0] {
        net.log.clear();
        net.connect_fast(b"x");
        net.run_for(ms(10));
        assert_eq!(net.sent_by(Side::A)[0].seg.data_len, sent);
        assert_eq!(
            listener.accept().map(|accepted| net.recv(Side::B, accepted.id)),
            Some(Ok(b"x".to_vec()))
        );
    }
}

#[test]
fn a_lost_syn_comes_again_without_data() {
    let (mut net, listener) = introduced(config());
    let a = net.connect_fast(b"question");
    net.drop_next(1, |sent| sent.has(Flags::SYN));
    net.run_for(secs(2));
    let syns: Vec<_> = net
        .sent_by(Side::A)
        .iter()
        .filter(|sent| sent.has(Flags::SYN))
        .map(|sent| (sent.seg.data_len, sent.seg.options.fast_open.is_some()))
        .collect();
    assert_eq!(syns, [(8, true), (0, false)]);
    let b = listener.accept().expect("accepted").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"question".to_vec()));
    assert_eq!(net.state(Side::A, a), State::Established);
}

#[test]
fn a_lost_syn_ack_comes_again_and_acknowledges_the_data() {
    let (mut net, listener) = introduced(config());
    let a = net.connect_fast(b"question");
    net.drop_next(1, |sent| sent.by == Side::B);
    net.run_for(secs(2));
    let b = listener.accept().expect("accepted").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"question".to_vec()));
    assert_eq!(
        (net.state(Side::A, a), net.state(Side::B, b)),
        (State::Established, State::Established)
    );
    net.transfer(Side::A, a, b, &[1; 20_000], secs(2));
    assert_eq!(listener.waiting(), 0, "one SYN is one connection");
}

#[test]
fn data_that_were_answered_before_the_handshake_ends_come_again_if_they_are_lost() {
    let (mut net, listener) = introduced(config());
    let a = net.connect_fast(b"question");
    net.run_for(ms(1));
    let b = listener.accept().expect("accepted").id;
    assert_eq!(net.send(Side::B, b, b"answer"), Ok(6));
    net.drop_next(1, |sent| sent.by == Side::B && sent.seg.data_len > 0);
    net.run_for(secs(3));
    assert_eq!(net.recv(Side::A, a), Ok(b"answer".to_vec()));
}

#[test]
fn no_more_are_open_at_a_time_than_the_listener_allows_and_resets_make_no_room() {
    let (mut net, listener) = introduced(config());
    net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
    for _ in 0..6 {
        net.connect_fast(b"x");
    }
    net.run_for(ms(2));
    let counters = net.b.table.counters();
    assert_eq!((counters.fast_open_passive, counters.fast_open_overflows), (4, 2));
    assert_eq!(net.b.table.requests(), 2, "the others have a handshake as any");
    // RFC 7413 §5.1: who resets its own does not get a new place.
    while let Some(accepted) = listener.accept() {
        net.forge(Side::A, accepted.id, |forged| forged.header.flags = Flags::RST);
        assert_eq!(net.b.table.take_error(accepted.id), Some(ConnError::Reset));
    }
    net.connect_fast(b"x");
    net.run_for(ms(2));
    assert_eq!(net.b.table.counters().fast_open_passive, 4);
    // Before A's time-outs tell it to spare this path.
    net.now += secs(70);
    net.connect_fast(b"x");
    net.run_for(ms(2));
    assert_eq!(net.b.table.counters().fast_open_passive, 5);
}

#[test]
fn a_syn_with_data_over_a_time_wait_takes_no_place_for_ever() {
    let mut net = Net::with(config(), config());
    let listener = net.listen_with(8, queue_of(1));
    let connect = |net: &mut Net, data: &'static [u8]| {
        let remote = std::net::SocketAddr::new(net.b.path.addr, 80);
        let early_data = bytes::Bytes::from_static(data);
        let from =
            ConnectFrom { port: 5000, fast_open: true, early_data, ..ConnectFrom::default() };
        let begun = net.a.table.connect(net.now, &mut net.a.path, from, remote, &|_| true);
        net.run_for(ms(10));
        begun.expect("the port is free")
    };
    let a = connect(&mut net, b"");
    let b = listener.accept().expect("accepted").id;
    net.close(Side::B, b);
    net.run_for(ms(10));
    net.close(Side::A, a);
    net.run_for(ms(10));
    assert_eq!(net.b.table.time_waits(), 1);
    connect(&mut net, b"data");
    let b = listener.accept().expect("accepted").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"data".to_vec()));
    assert_eq!(net.b.table.counters().time_wait_reused, 1);
    net.connect_fast(b"data");
    net.run_for(ms(10));
    assert_eq!(net.b.table.counters().fast_open_passive, 1);
}

#[test]
fn a_syn_with_data_that_vanish_again_and_again_disables_it_for_a_while() {
    let blackhole = TcpConfig { fast_open_blackhole_timeout: secs(60), ..config() };
    let (mut net, listener) = introduced(blackhole);
    net.judge(|sent, _| if sent.has(Flags::SYN) { Fate::Drop } else { Fate::Pass });
    let first = net.connect_fast(b"x");
    net.run_for(secs(8));
    assert_eq!(net.a.table.counters().fast_open_blackholes, 1);
    net.close(Side::A, first);
    net.clean();
    net.log.clear();
    net.connect_fast(b"y");
    net.run_for(ms(10));
    let syn = net.sent_by(Side::A)[0].seg;
    assert_eq!((syn.data_len, syn.options.fast_open.is_some()), (0, false));
    assert_eq!(listener.waiting(), 1);
}

#[test]
fn a_peer_that_falls_silent_after_its_syn_is_given_up_and_the_reader_told() {
    let (mut net, b) = half_open();
    assert_eq!(net.recv(Side::B, b), Ok(b"question".to_vec()));
    net.run_for(secs(130));
    assert_eq!(net.recv(Side::B, b), Err(RecvError::Failed(ConnError::TimedOut)));
    assert_eq!(net.state(Side::B, b), State::Closed);
}

#[test]
fn a_listener_that_waits_for_data_gives_out_no_connection_without() {
    let options = ConnOptions { defer_accept: secs(3), ..ConnOptions::new() };
    let mut net = Net::new();
    let listener = net.listen_with(8, options);
    let a = net.connect();
    net.run_for(ms(20));
    assert_eq!((net.state(Side::A, a), listener.waiting()), (State::Established, 0));
    assert_eq!((net.b.table.requests(), net.b.table.counters().deferred_accepts), (1, 1));
    assert_eq!(net.send(Side::A, a, b"now"), Ok(3));
    net.run_for(ms(20));
    let b = listener.accept().expect("data have come").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"now".to_vec()));
}

#[test]
fn a_peer_without_data_is_asked_once_more_when_the_time_is_over() {
    let options = ConnOptions { defer_accept: secs(3), ..ConnOptions::new() };
    let mut net = Net::new();
    let listener = net.listen_with(8, options);
    net.connect();
    net.run_for(ms(2_900));
    assert_eq!((net.count(Side::B, Flags::SYN), listener.waiting()), (1, 0));
    // 1 s and 2 s are the time-outs within 3 s; the SYN-ACK of the last one makes A say it again.
    net.run_for(ms(200));
    assert_eq!((net.count(Side::B, Flags::SYN), listener.waiting()), (2, 1));
}

#[test]
fn the_time_to_wait_is_rounded_to_that_of_repetitions() {
    let config = TcpConfig::default();
    for (asked, given) in [(0, 0), (1, 1), (2, 3), (3, 3), (5, 7), (200, 247)] {
        assert_eq!(defer_accept_time(&config, secs(asked)), secs(given), "{asked}");
    }
}

#[test]
fn a_connect_whose_data_follow_at_once_spares_an_acknowledgement() {
    let options = ConnOptions { defer_accept: secs(1), ..ConnOptions::new() };
    let mut net = Net::new();
    let listener = net.listen(8);
    let a = net.connect_with(options);
    net.run_for(ms(3));
    assert_eq!((net.sent_by(Side::A).len(), net.state(Side::A, a)), (1, State::Established));
    assert_eq!(net.send(Side::A, a, b"data"), Ok(4));
    net.run_for(ms(2));
    assert_eq!((net.sent_by(Side::A).len(), listener.waiting()), (2, 1));
}
