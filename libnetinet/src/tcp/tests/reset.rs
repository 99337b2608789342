//! RST and SYN on connections: believed when exact, challenged when near, ignored when far.

use libnet::DropReason;

use super::close::bring_to;
use super::net::*;
use crate::tcp::*;

const SYNCHRONIZED: [State; 6] = [
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
];

/// A's end in `state`, with a peer whose segments are forged from now on.
fn victim(state: State) -> (Net, ConnId) {
    let mut net = Net::new();
    let (a, b) = net.established();
    bring_to(&mut net, a, b, state);
    net.pump(Side::A);
    net.judge(|_, _| Fate::Drop);
    net.log.clear();
    (net, a)
}

#[test]
fn an_exact_reset_ends_a_connection_in_every_state() {
    for state in SYNCHRONIZED {
        let (mut net, a) = victim(state);
        net.forge(Side::B, a, |forged| forged.header.flags = Flags::RST);
        assert_eq!(net.state(Side::A, a), State::Closed, "{state}");
        let told = !matches!(state, State::Closing | State::LastAck);
        assert_eq!(net.a.table.take_error(a).is_some(), told, "{state}");
        net.pump(Side::A);
        assert_eq!(net.count(Side::A, Flags::RST), 0, "a RST never answers a RST");
    }
}

#[test]
fn a_reset_in_the_window_is_challenged_and_one_outside_is_ignored() {
    // RFC 5961 §3.2.
    for state in SYNCHRONIZED {
        let (mut net, a) = victim(state);
        net.forge(Side::B, a, |forged| {
            forged.header.flags = Flags::RST;
            forged.header.seq += 1;
        });
        net.pump(Side::A);
        let challenge = if state == State::FinWait1 { 1 } else { net.log.len() };
        assert_eq!((net.state(Side::A, a), challenge), (state, 1), "{state}");
        assert_eq!(net.dropped(Side::A, DropReason::TcpChallenged), 1);
        let before = net.log.len();
        net.forge(Side::B, a, |forged| {
            forged.header.flags = Flags::RST;
            forged.header.seq = forged.header.seq - 1;
        });
        net.pump(Side::A);
        assert_eq!((net.state(Side::A, a), net.log.len()), (state, before), "{state}");
        assert_eq!(net.dropped(Side::A, DropReason::TcpOutOfWindow), 1);
    }
}

#[test]
fn a_syn_on_a_connection_is_challenged_wherever_it_lies() {
    // RFC 5961 §4.2.
    for state in SYNCHRONIZED {
        for shift in [0, 5, 1 << 30] {
            let (mut net, a) = victim(state);
            net.forge(Side::B, a, |forged| {
                forged.header.flags = Flags::SYN;
                forged.header.seq += shift;
            });
            net.pump(Side::A);
            assert_eq!(net.state(Side::A, a), state);
            let reply = net.log.last().expect("a challenge").seg;
            assert_eq!(reply.flags.without(Flags::FIN), Flags::ACK, "{state} {shift}");
            assert_eq!(net.dropped(Side::A, DropReason::TcpChallenged), 1);
        }
    }
}

#[test]
fn challenges_are_limited_per_second() {
    let config = TcpConfig {
        challenge_acks_per_second: 10,
        out_of_window_ack_interval: ms(0),
        ..TcpConfig::default()
    };
    let mut net = Net::with(config, TcpConfig::default());
    let (a, _) = net.established();
    for _ in 0..100 {
        net.forge(Side::B, a, |forged| forged.header.flags = Flags::SYN);
    }
    let sent = net.a.table.counters().challenge_acks_out;
    assert!((5..=10).contains(&sent), "{sent}");
    assert_eq!(net.dropped(Side::A, DropReason::TcpChallengeLimited), 100 - sent);
    net.run_for(secs(1));
    net.forge(Side::B, a, |forged| forged.header.flags = Flags::SYN);
    assert_eq!(net.a.table.counters().challenge_acks_out, sent + 1);
}

#[test]
fn a_connection_challenges_once_in_half_a_second() {
    let (mut net, a) = victim(State::Established);
    for _ in 0..100 {
        net.forge(Side::B, a, |forged| forged.header.flags = Flags::SYN);
        net.forge(Side::B, a, |forged| forged.header.ack += 1);
    }
    let counters = net.a.table.counters();
    assert_eq!((counters.challenge_acks_out, counters.answers_skipped), (1, 199));
    assert_eq!(counters.syn_challenges, 100);
    net.run_for(ms(500));
    net.forge(Side::B, a, |forged| {
        forged.header.flags = Flags::RST;
        forged.header.seq += 1;
    });
    assert_eq!(net.a.table.counters().challenge_acks_out, 2);
}

#[test]
fn acknowledgements_of_what_was_never_sent_or_long_ago_are_challenged() {
    // RFC 5961 §5.2.
    let (mut net, a) = victim(State::Established);
    net.forge(Side::B, a, |forged| forged.header.ack += 1);
    assert_eq!(net.dropped(Side::A, DropReason::TcpBadAck), 1);
    net.run_for(ms(500));
    net.forge(Side::B, a, |forged| forged.header.ack = forged.header.ack - (1 << 30));
    assert_eq!(net.dropped(Side::A, DropReason::TcpBadAck), 2);
    assert_eq!(net.a.table.counters().challenge_acks_out, 2);
    net.forge(Side::B, a, |forged| forged.header.ack = forged.header.ack - 1);
    assert_eq!(net.dropped(Side::A, DropReason::TcpBadAck), 2, "a little late is normal");
    net.forge(Side::B, a, |forged| forged.header.flags = Flags::PSH);
    assert_eq!(net.dropped(Side::A, DropReason::TcpNoAck), 1);
}

#[test]
fn segments_outside_the_window_are_acknowledged_and_dropped() {
    let (mut net, a) = victim(State::Established);
    for shift in [-10_000i32, 100_000_000] {
        net.forge(Side::B, a, |forged| {
            forged.header.seq =
                SeqNumber::new(forged.header.seq.value().wrapping_add_signed(shift));
            forged.data = vec![0; 100];
        });
    }
    assert_eq!(net.dropped(Side::A, DropReason::TcpOutOfWindow), 2);
    net.pump(Side::A);
    assert_eq!(net.log.len(), 1, "one ACK answers a batch");
    // Without data: not too often, or two confused hosts answer each other for ever.
    for _ in 0..5 {
        net.forge(Side::B, a, |forged| forged.header.seq = forged.header.seq - 5);
        net.pump(Side::A);
    }
    assert_eq!(net.log.len(), 2);
    net.run_for(ms(600));
    net.forge(Side::B, a, |forged| forged.header.seq = forged.header.seq - 5);
    net.pump(Side::A);
    assert_eq!(net.log.len(), 3);
}

#[test]
fn old_timestamps_are_dropped_and_acknowledged() {
    // RFC 7323 §5.3, R1.
    let (mut net, a) = victim(State::Established);
    net.forge(Side::B, a, |forged| {
        let old = forged.header.options.timestamps.expect("timestamps are in use");
        let value = old.value.wrapping_sub(1);
        forged.header.options.timestamps = Some(Timestamps { value, echo: old.echo });
        forged.data = b"old".to_vec();
    });
    net.pump(Side::A);
    assert_eq!((net.dropped(Side::A, DropReason::TcpPaws), net.log.len()), (1, 1));
    // RFC 7323 §3.2: without the option it is dropped in silence, but a RST need not have it.
    net.forge(Side::B, a, |forged| {
        forged.header.options.timestamps = None;
        forged.data = b"none".to_vec();
    });
    net.pump(Side::A);
    assert_eq!((net.dropped(Side::A, DropReason::TcpPaws), net.log.len()), (2, 1));
    net.forge(Side::B, a, |forged| {
        forged.header.options.timestamps = None;
        forged.header.flags = Flags::RST;
    });
    assert_eq!(net.state(Side::A, a), State::Closed);
}

#[test]
fn after_24_idle_days_any_timestamp_is_taken() {
    // RFC 7323 §5.5.
    let (mut net, a) = victim(State::Established);
    net.now += secs(25 * 24 * 3600);
    net.forge(Side::B, a, |forged| {
        let old = forged.header.options.timestamps.expect("timestamps are in use");
        let value = old.value.wrapping_sub(1);
        forged.header.options.timestamps = Some(Timestamps { value, echo: old.echo });
        forged.data = b"news".to_vec();
    });
    assert_eq!(net.recv(Side::A, a), Ok(b"news".to_vec()));
}

#[test]
fn an_embryo_returns_to_listen_on_a_reset_or_a_new_syn() {
    for flags in [Flags::RST, Flags::SYN] {
        let mut net = Net::new();
        let listener = net.listen(4);
        net.connect();
        net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
        net.run_for(ms(2));
        net.forge_third(|forged| forged.header.flags = flags);
        net.pump(Side::B);
        assert_eq!((net.b.table.requests(), listener.embryos()), (0, 0));
    }
}

#[test]
fn an_active_embryo_reports_a_reset_as_refusal() {
    let mut net = Net::new();
    let (a, _) = super::handshake::simultaneous(&mut net);
    net.run_for(ms(1));
    net.forge(Side::B, a, |forged| forged.header.flags = Flags::RST);
    assert_eq!(net.a.table.take_error(a), Some(ConnError::Refused));
}

#[test]
fn a_wrong_ack_of_the_syn_ack_is_reset_and_the_embryo_stays() {
    let mut net = Net::new();
    let listener = net.listen(4);
    net.connect();
    net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
    net.run_for(ms(2));
    net.forge_third(|forged| forged.header.ack += 1);
    net.pump(Side::B);
    assert_eq!(net.count(Side::B, Flags::RST), 1);
    assert_eq!((net.b.table.requests(), listener.embryos()), (1, 1));
}

#[test]
fn segments_to_nobody_are_reset_and_resets_to_nobody_are_not() {
    let mut net = Net::new();
    let tuple = FourTuple {
        local: net.a.path.addr,
        remote: net.b.path.addr,
        local_port: 9,
        remote_port: 81,
        zone: Zone::NONE,
    };
    for (flags, resets) in [(Flags::ACK, 1), (Flags::SYN, 2), (Flags::FIN, 3), (Flags::RST, 3)] {
        let seq = SeqNumber::new(1);
        let header =
            Header { seq, ack: seq, flags, wnd: 0, urgent: 0, options: Options::default() };
        net.inject(Side::B, &header, &tuple, b"data");
        net.pump(Side::B);
        assert_eq!(net.count(Side::B, Flags::RST), resets);
    }
    assert_eq!(net.dropped(Side::B, DropReason::TcpNoConnection), 4);
}

#[test]
fn a_listener_ignores_resets_answers_acks_and_takes_syns_only() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let tuple = FourTuple {
        local: net.a.path.addr,
        remote: net.b.path.addr,
        local_port: 9,
        remote_port: 80,
        zone: Zone::NONE,
    };
    for (flags, resets) in [(Flags::RST, 0), (Flags::ACK, 1), (Flags::FIN, 1), (Flags::NONE, 1)] {
        let seq = SeqNumber::new(1);
        let header =
            Header { seq, ack: seq, flags, wnd: 0, urgent: 0, options: Options::default() };
        net.inject(Side::B, &header, &tuple, b"");
        net.pump(Side::B);
        assert_eq!(net.count(Side::B, Flags::RST), resets, "{flags:?}");
    }
    assert_eq!((net.b.table.requests(), listener.embryos()), (0, 0));
}

#[test]
fn damaged_and_misdirected_segments_are_counted() {
    let mut net = Net::new();
    let (a, _) = net.established();
    let tuple = net.info(Side::A, a).tuple;
    let arrive = |net: &mut Net, bytes: &'static [u8], src| {
        let packet = libnet::Packet::received(bytes::Bytes::from_static(bytes), net.now);
        net.arrive(Side::A, src, tuple.local, 0, packet);
    };
    arrive(&mut net, b"not a TCP segment at all", tuple.remote);
    assert_eq!(net.dropped(Side::A, DropReason::TcpChecksum), 1);
    arrive(&mut net, b"", tuple.remote);
    arrive(&mut net, b"", [224, 0, 0, 1].into());
    assert_eq!(net.dropped(Side::A, DropReason::TcpMalformed), 2);
}
