//! TIME-WAIT: what still arrives there, and who may take its place.

use libnet::DropReason;

use super::net::*;
use crate::tcp::*;

/// A connection from port 5000 that A closed first, so that A is in TIME-WAIT.
pub(super) fn closed_by_a(net: &mut Net) -> FourTuple {
    let listener = net.listen(8);
    let a = net.connect_from(5000, ConnOptions::new()).expect("the port is free");
    net.run_for(ms(10));
    let tuple = net.info(Side::A, a).tuple;
    let b = listener.accept().expect("accepted").id;
    net.close(Side::A, a);
    net.run_for(ms(10));
    net.close(Side::B, b);
    net.run_for(ms(10));
    assert_eq!(net.a.table.time_waits(), 1);
    tuple
}

/// The same, closed by B, so that B is in TIME-WAIT.
fn closed_by_b(net: &mut Net) {
    let listener = net.listen(8);
    let a = net.connect_from(5000, ConnOptions::new()).expect("the port is free");
    net.run_for(ms(10));
    let b = listener.accept().expect("accepted").id;
    net.close(Side::B, b);
    net.run_for(ms(10));
    net.close(Side::A, a);
    net.run_for(ms(10));
    assert_eq!((net.a.table.len(), net.b.table.time_waits()), (0, 1));
}

#[test]
fn it_ends_after_a_minute() {
    let mut net = Net::new();
    closed_by_a(&mut net);
    net.run_for(secs(59));
    assert_eq!(net.a.table.time_waits(), 1);
    net.run_for(secs(2));
    assert!(net.a.table.is_empty());
    assert_eq!(net.a.table.next_deadline(), None);
}

#[test]
fn a_fin_that_comes_again_is_acknowledged_and_starts_the_minute_over() {
    let mut net = Net::new();
    let listener = net.listen(8);
    let a = net.connect();
    net.run_for(ms(10));
    let b = listener.accept().expect("accepted").id;
    net.close(Side::A, a);
    net.run_for(ms(10));
    // A's last ACK is lost: B's FIN comes again.
    net.drop_next(1, |sent| sent.by == Side::A && sent.seg.flags == Flags::ACK);
    net.close(Side::B, b);
    net.run_for(ms(150));
    assert_eq!((net.a.table.time_waits(), net.b.table.len()), (1, 1));
    net.run_for(ms(200));
    assert_eq!((net.a.table.time_waits(), net.b.table.len()), (1, 0));
    net.run_for(ms(59_800));
    assert_eq!(net.a.table.time_waits(), 1, "it started over");
    net.run_for(secs(1));
    assert_eq!(net.a.table.time_waits(), 0);
}

#[test]
fn a_new_syn_with_a_newer_timestamp_takes_the_place() {
    // RFC 6191 §2.
    let mut net = Net::new();
    closed_by_b(&mut net);
    net.run_for(ms(5));
    let again = net.connect_from(5000, ConnOptions::new()).expect("A has forgotten");
    net.run_for(ms(10));
    assert_eq!(net.state(Side::A, again), State::Established);
    assert_eq!((net.b.table.time_waits(), net.b.table.counters().time_wait_reused), (0, 1));
}

#[test]
fn a_passive_reopen_starts_above_the_old_numbers() {
    // RFC 9293 §3.6.1 (MAY-2), RFC 1122 §4.2.2.13: B has sent faster than its ISN clock ticks.
    let mut net = Net::new();
    let listener = net.listen(8);
    let a = net.connect_from(5000, ConnOptions::new()).expect("the port is free");
    net.run_for(ms(10));
    let b = listener.accept().expect("accepted").id;
    net.transfer(Side::B, b, a, &[7; 1 << 20], secs(2));
    net.close(Side::B, b);
    net.run_for(ms(10));
    net.close(Side::A, a);
    net.run_for(ms(10));
    assert_eq!((net.a.table.len(), net.b.table.time_waits()), (0, 1));
    let last = net.sent_by(Side::B).last().expect("B acknowledged the FIN").seg.seq;
    // A listener without room leaves the TIME-WAIT as it is.
    listener.set_backlog(0);
    net.connect();
    net.run_for(ms(10));
    let again = net.connect_from(5000, ConnOptions::new()).expect("A has forgotten");
    net.run_for(ms(10));
    assert_eq!((listener.waiting(), net.b.table.time_waits()), (1, 1));
    listener.set_backlog(8);
    net.log.clear();
    net.run_for(secs(2));
    assert_eq!(net.state(Side::A, again), State::Established);
    assert_eq!((net.b.table.time_waits(), net.b.table.counters().time_wait_reused), (0, 1));
    let tuple = net.info(Side::A, again).tuple;
    let iss = net
        .sent_by(Side::B)
        .into_iter()
        .find(|sent| sent.has(Flags::SYN) && sent.seg.tuple == tuple)
        .expect("a SYN-ACK")
        .seg
        .seq;
    assert!(iss.gt(last), "{iss:?} after {last:?}");
}

#[test]
fn an_old_syn_is_acknowledged_and_changes_nothing() {
    let mut net = Net::new();
    closed_by_b(&mut net);
    let old = net.log.iter().find(|sent| sent.has(Flags::SYN)).expect("the first SYN").clone();
    let seg = old.seg;
    let (seq, options) = (seg.seq, seg.options);
    let syn =
        Header { seq, ack: SeqNumber::default(), flags: Flags::SYN, wnd: 9, urgent: 0, options };
    let tuple = FourTuple {
        local: net.a.path.addr,
        remote: net.b.path.addr,
        local_port: 5000,
        remote_port: 80,
        zone: Zone::NONE,
    };
    net.log.clear();
    net.inject(Side::B, &syn, &tuple, b"");
    net.pump(Side::B);
    assert_eq!(net.log.len(), 1);
    assert_eq!(net.log[0].seg.flags, Flags::ACK);
    assert_eq!(net.b.table.time_waits(), 1);
    assert_eq!(net.dropped(Side::B, DropReason::TcpChallenged), 1);
    // Its ACK makes the sender, who knows nothing of it, reset; that one is exact.
    net.run_for(ms(5));
    assert_eq!(net.count(Side::A, Flags::RST), 1);
    assert_eq!(net.b.table.time_waits(), 0);
}

#[test]
fn our_own_connect_takes_the_place_once_timestamps_have_moved_on() {
    let mut net = Net::new();
    closed_by_a(&mut net);
    assert_eq!(net.connect_from(5000, ConnOptions::new()), Err(ConnectError::InUse));
    net.run_for(ms(150));
    let again = net.connect_from(5000, ConnOptions::new()).expect("timestamps make it safe");
    net.run_for(ms(10));
    assert_eq!(net.state(Side::A, again), State::Established);
    assert_eq!(net.a.table.counters().time_wait_reused, 1);
}

#[test]
fn who_gives_its_place_to_a_connect_is_configured() {
    let own = [10, 0, 0, 1];
    for (time_wait_reuse, peer, reused) in [
        (TimeWaitReuse::Never, [10, 0, 0, 2], false),
        (TimeWaitReuse::Loopback, [10, 0, 0, 2], false),
        (TimeWaitReuse::Loopback, own, true),
        (TimeWaitReuse::Always, [10, 0, 0, 2], true),
    ] {
        let config = TcpConfig { time_wait_reuse, ..TcpConfig::default() };
        let mut net = Net::at(own.into(), peer.into(), config, TcpConfig::default());
        closed_by_a(&mut net);
        net.run_for(ms(150));
        let again = net.connect_from(5000, ConnOptions::new());
        assert_eq!(again.is_ok(), reused, "{time_wait_reuse:?} {peer:?}");
    }
}

#[test]
fn no_reset_ends_it_if_that_is_asked_for() {
    // RFC 1337 §3, F1.
    for rfc1337 in [false, true] {
        let config = TcpConfig { rfc1337, ..TcpConfig::default() };
        let mut net = Net::with(config, TcpConfig::default());
        let tuple = closed_by_a(&mut net);
        let reverse = FourTuple {
            local: tuple.remote,
            remote: tuple.local,
            local_port: tuple.remote_port,
            remote_port: tuple.local_port,
            zone: Zone::NONE,
        };
        let last = net.sent_by(Side::B).last().expect("B's last").seg;
        let seq = last.seq + last.len();
        let (flags, options) = (Flags::RST, Options::default());
        let reset = Header { seq, ack: last.ack, flags, wnd: 0, urgent: 0, options };
        net.inject(Side::A, &reset, &reverse, b"");
        assert_eq!(net.a.table.time_waits(), usize::from(rfc1337));
        assert_eq!(net.a.table.counters().time_wait_resets_ignored, u64::from(rfc1337));
    }
}

#[test]
fn what_cannot_be_right_is_answered_a_thousand_times_a_second_at_most() {
    let mut net = Net::new();
    closed_by_b(&mut net);
    let old = net.log.iter().find(|sent| sent.has(Flags::SYN)).expect("the first SYN").seg;
    let syn = Header {
        seq: old.seq,
        ack: SeqNumber::default(),
        flags: Flags::SYN,
        wnd: 9,
        urgent: 0,
        options: old.options,
    };
    let tuple = FourTuple {
        local: net.a.path.addr,
        remote: net.b.path.addr,
        local_port: 5000,
        remote_port: 80,
        zone: Zone::NONE,
    };
    for _ in 0..2_000 {
        net.inject(Side::B, &syn, &tuple, b"");
    }
    let counters = net.b.table.counters();
    assert!((500..=1_000).contains(&counters.challenge_acks_out), "{counters:?}");
    assert_eq!(counters.challenge_acks_out + counters.time_wait_answers_skipped, 2_000);
}

#[test]
fn without_timestamps_the_place_is_kept() {
    let config = TcpConfig { timestamps: false, ..TcpConfig::default() };
    let mut net = Net::with(config.clone(), config);
    closed_by_a(&mut net);
    net.run_for(secs(30));
    assert_eq!(net.connect_from(5000, ConnOptions::new()), Err(ConnectError::InUse));
}

#[test]
fn stray_segments_are_acknowledged_only_if_they_may_mean_something() {
    let mut net = Net::new();
    let tuple = closed_by_a(&mut net);
    let reverse = FourTuple {
        local: tuple.remote,
        remote: tuple.local,
        local_port: tuple.remote_port,
        remote_port: tuple.local_port,
        zone: Zone::NONE,
    };
    let last = net.sent_by(Side::B).last().expect("B's last").seg;
    net.log.clear();
    let exact = Header {
        seq: last.seq + last.len(),
        ack: last.ack,
        flags: Flags::ACK,
        wnd: 0,
        urgent: 0,
        options: Options::default(),
    };
    net.inject(Side::A, &exact, &reverse, b"");
    net.pump(Side::A);
    assert_eq!(net.log.len(), 0, "two TIME-WAITs must not talk for ever");
    net.inject(Side::A, &Header { seq: exact.seq + 9, ..exact }, &reverse, b"data");
    net.pump(Side::A);
    assert_eq!(net.log.len(), 1);
    let reset = Header { flags: Flags::RST, seq: exact.seq + 1, ..exact };
    net.inject(Side::A, &reset, &reverse, b"");
    assert_eq!(net.a.table.time_waits(), 1);
    net.inject(Side::A, &Header { seq: exact.seq, ..reset }, &reverse, b"");
    assert_eq!(net.a.table.time_waits(), 0);
}

#[test]
fn too_many_push_the_oldest_out() {
    let config = TcpConfig { time_wait_max: 10, ..TcpConfig::default() };
    let mut net = Net::with(config, TcpConfig::default());
    let listener = net.listen(8);
    for _ in 0..25 {
        let a = net.connect();
        net.run_for(ms(5));
        let b = listener.accept().expect("accepted").id;
        net.close(Side::A, a);
        net.run_for(ms(5));
        net.close(Side::B, b);
        net.run_for(ms(5));
    }
    assert_eq!(net.a.table.time_waits(), 10);
    assert_eq!(net.a.table.counters().time_wait_evicted, 15);
}

#[test]
fn connecting_and_closing_goes_on_for_a_minute_with_few_ports() {
    let config = TcpConfig { ephemeral_ports: 50_000..=50_199, ..TcpConfig::default() };
    let mut net = Net::with(config, TcpConfig::default());
    let listener = net.listen(8);
    // 500 a second with 200 ports, of which each is free again after 100 ms.
    net.delay = std::time::Duration::from_micros(100);
    let end = net.now + secs(62);
    let mut n = 0;
    while net.now < end {
        let a = net.connect();
        net.run_for(ms(1));
        let b = listener.accept().expect("accepted").id;
        net.close(Side::A, a);
        net.run_for(std::time::Duration::from_micros(500));
        net.close(Side::B, b);
        net.run_for(std::time::Duration::from_micros(500));
        net.log.clear();
        n += 1;
    }
    assert!(n > 29_000);
    assert!(net.a.table.time_waits() <= 200);
    assert_eq!(net.b.table.len(), 0);
}
