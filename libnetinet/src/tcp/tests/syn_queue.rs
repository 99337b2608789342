//! SYNs to listeners: what is remembered of them, how long, and what becomes of them in a flood.

use proptest::prelude::*;

use libnet::DropReason;

use super::net::*;
use super::window::{assert_first_window_stands, receiver};
use crate::tcp::*;

fn cookies(syn_cookies: SynCookies) -> TcpConfig {
    TcpConfig { syn_cookies, ..TcpConfig::default() }
}

/// The nth stranger's SYN arrives at B; nobody will answer for it.
fn stranger(net: &mut Net, n: u32) {
    let tuple = FourTuple {
        local: std::net::Ipv4Addr::from_bits(0x0b00_0000 + n).into(),
        remote: net.b.path.addr,
        local_port: 1024 + (n % 50_000) as u16,
        remote_port: 80,
        zone: Zone::NONE,
    };
    let timestamps = Some(Timestamps { value: n, echo: 0 });
    let header = Header {
        seq: SeqNumber::new(n.wrapping_mul(77)),
        ack: SeqNumber::default(),
        flags: Flags::SYN,
        wnd: 64_000,
        urgent: 0,
        options: Options {
            mss: Some(1460),
            window_shift: Some(7),
            sack_permitted: true,
            timestamps,
            ..Options::default()
        },
    };
    net.inject(Side::B, &header, &tuple, b"");
}

/// Nobody answers the SYN-ACKs that strangers get.
fn mute_strangers(net: &mut Net) {
    let is_stranger = |addr: std::net::IpAddr| addr.to_string().starts_with("11.");
    net.judge(move |sent, _| match is_stranger(sent.seg.tuple.local) {
        true => Fate::Drop,
        false => Fate::Pass,
    });
}

#[test]
fn what_answers_for_a_half_open_connection_scales_its_window() {
    let mut net = Net::new();
    net.listen(4);
    net.connect();
    net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
    net.run_for(ms(5));
    let syn_ack = net.sent_by(Side::B)[0].seg;
    let shift = syn_ack.options.window_shift.expect("both sides offer it");
    net.forge_third(|third| third.header.seq += 1_000_000);
    net.run_for(ms(5));
    let answer = net.sent_by(Side::B)[1].seg;
    assert_eq!(answer.flags, Flags::ACK);
    // RFC 7323 §2.3: only the SYN's is as it is.
    assert_eq!(answer.wnd, syn_ack.wnd >> shift);
}

#[test]
fn what_a_syn_ack_offered_stands_whatever_is_set_since() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.drop_next(1, |sent| sent.by == Side::B);
    net.run_for(ms(5));
    listener.set_options(receiver(20_000));
    let off = TcpConfig { sack: false, timestamps: false, ..TcpConfig::default() };
    net.b.table.set_config(net.now, std::sync::Arc::new(off));
    net.run_for(secs(1));
    let [first, again] = [0, 1].map(|nth| net.sent_by(Side::B)[nth].seg);
    assert!(first.flags.has(Flags::SYN) && again.flags == first.flags);
    let offer = |seg: &Segment| {
        let options = &seg.options;
        (seg.wnd, options.window_shift, options.sack_permitted, options.timestamps.is_some())
    };
    assert_eq!(offer(&first), (u16::MAX, Some(10), true, true));
    assert_eq!(offer(&again), offer(&first));
    assert_eq!(net.send(Side::A, a, &[1; 60_000]), Ok(60_000));
    net.run_for(secs(1));
    assert_first_window_stands(&net, Side::B);
    // It has all that was offered, and keeps it until somebody reads.
    let b = listener.accept().expect("the handshake is over").id;
    assert_eq!(net.info(Side::B, b).receive_queue_bytes, 60_000);
}

#[test]
fn a_half_open_connection_is_no_connection_yet() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
    net.run_for(ms(5));
    assert_eq!((net.b.table.len(), net.b.table.requests(), listener.embryos()), (0, 1, 1));
    let shown = net.b.table.ownerless(net.now);
    assert_eq!(shown.iter().map(|conn| conn.state).collect::<Vec<_>>(), [State::SynReceived]);
    assert_eq!(net.b.table.counters().passive_opens, 0);
    net.clean();
    net.run_for(secs(2));
    assert_eq!((net.b.table.len(), net.b.table.requests(), listener.embryos()), (1, 0, 0));
    assert_eq!(net.b.table.counters().passive_opens, 1);
    assert_eq!(net.state(Side::A, a), State::Established);
}

#[test]
fn a_flood_takes_no_more_memory_than_the_queue_of_syns_has() {
    for (kind, sent) in [(SynCookies::Never, 0), (SynCookies::OnOverflow, 900 - 64)] {
        let config = TcpConfig { syn_backlog_max: 64, ..cookies(kind) };
        let mut net = Net::with(TcpConfig::default(), config);
        net.listen(1000);
        mute_strangers(&mut net);
        for n in 0..900 {
            stranger(&mut net, n);
        }
        assert_eq!((net.b.table.requests(), net.b.table.len()), (64, 0));
        let counters = net.b.table.counters();
        assert_eq!(counters.syn_cookies_sent, sent);
        assert_eq!(counters.syn_queue_drops + counters.syn_cookies_sent, 900 - 64);
        assert_eq!(counters.syn_floods, u64::from(sent > 0), "a flood is one flood");
        net.run_for(secs(200));
        assert!(net.b.table.is_empty());
    }
}

#[test]
fn a_connect_gets_through_a_flood_with_all_it_asked_for() {
    let mut net =
        Net::with(TcpConfig::default(), TcpConfig { syn_backlog_max: 64, ..TcpConfig::default() });
    let listener = net.listen(1000);
    mute_strangers(&mut net);
    for n in 0..200 {
        stranger(&mut net, n);
    }
    let a = net.connect();
    net.run_for(ms(10));
    let b = listener.accept().expect("its cookie came back").id;
    assert_eq!(net.b.table.counters().syn_cookies_received, 1);
    let info = net.info(Side::B, b);
    assert!(info.sack && info.timestamps);
    assert_eq!(info.snd_mss_bytes, net.info(Side::A, a).snd_mss_bytes);
    assert!(net.info(Side::B, b).snd_wnd_bytes > 0);
    net.transfer(Side::A, a, b, &[1; 300_000], secs(5));
    net.transfer(Side::B, b, a, &[2; 300_000], secs(5));
    assert!(net.info(Side::B, b).snd_wnd_bytes > 65_535, "the window is scaled");
}

#[test]
fn without_timestamps_a_cookie_keeps_the_segment_size_alone() {
    let client = TcpConfig { timestamps: false, ..TcpConfig::default() };
    let mut net = Net::with(client, cookies(SynCookies::Always));
    let listener = net.listen(4);
    let a = net.connect();
    net.run_for(ms(10));
    let b = listener.accept().expect("its cookie came back").id;
    let (ours, theirs) = (net.info(Side::B, b), net.info(Side::A, a));
    assert!(!ours.sack && !theirs.sack && !ours.timestamps);
    assert_eq!((ours.snd_mss_bytes, theirs.snd_mss_bytes), (1460, 1460));
    let syn_ack = net.log.iter().find(|sent| sent.by == Side::B).expect("a SYN-ACK").seg;
    assert_eq!((syn_ack.options.window_shift, syn_ack.options.sack_permitted), (None, false));
    net.transfer(Side::A, a, b, &[1; 300_000], secs(5));
}

#[test]
fn cookies_always_remember_nothing_of_any_syn() {
    let mut net = Net::with(TcpConfig::default(), cookies(SynCookies::Always));
    let listener = net.listen(4);
    net.connect();
    net.run_for(ms(1));
    assert_eq!((net.b.table.requests(), net.b.table.counters().syn_cookies_sent), (0, 1));
    net.run_for(ms(10));
    assert_eq!((listener.waiting(), listener.embryos()), (1, 0));
}

#[test]
fn the_first_data_make_up_for_the_loss_of_the_acknowledgement_of_a_cookie() {
    let mut net = Net::with(TcpConfig::default(), cookies(SynCookies::Always));
    let listener = net.listen(4);
    let a = net.connect();
    net.drop_next(1, |sent| sent.by == Side::A && sent.seg.flags == Flags::ACK);
    net.run_for(ms(10));
    assert_eq!(listener.waiting(), 0);
    assert_eq!(net.send(Side::A, a, b"hello"), Ok(5));
    net.run_for(ms(10));
    let b = listener.accept().expect("the data carried the cookie").id;
    assert_eq!(net.recv(Side::B, b), Ok(b"hello".to_vec()));
}

#[test]
fn an_acknowledgement_without_a_cookie_of_ours_is_reset() {
    let mut net = Net::with(TcpConfig::default(), cookies(SynCookies::Always));
    let listener = net.listen(4);
    net.connect();
    net.judge(|sent, _| if sent.by == Side::B { Fate::Drop } else { Fate::Pass });
    net.run_for(ms(5));
    let syn_ack = net.sent_by(Side::B)[0].seg;
    let tuple = FourTuple {
        local: syn_ack.tuple.local,
        remote: syn_ack.tuple.remote,
        local_port: syn_ack.tuple.local_port,
        remote_port: syn_ack.tuple.remote_port,
        zone: Zone::NONE,
    };
    let third = Header {
        seq: syn_ack.ack,
        ack: syn_ack.seq + 100,
        flags: Flags::ACK,
        wnd: 100,
        urgent: 0,
        options: Options::default(),
    };
    net.inject(Side::B, &third, &tuple, b"");
    net.pump(Side::B);
    assert_eq!(net.b.table.counters().syn_cookies_failed, 1);
    assert_eq!((net.count(Side::B, Flags::RST), listener.waiting()), (1, 0));
    // The true one is taken for two minutes, and not any more then.
    let true_third = Header { ack: syn_ack.seq + 1, ..third };
    let now = net.now;
    net.now = now + secs(121);
    net.inject(Side::B, &true_third, &tuple, b"");
    assert_eq!((net.b.table.counters().syn_cookies_failed, listener.waiting()), (2, 0));
    net.now = now;
    net.inject(Side::B, &true_third, &tuple, b"");
    assert_eq!(listener.waiting(), 1);
}

#[test]
fn a_listener_that_gave_no_cookie_believes_none() {
    let mut net = Net::new();
    net.listen(4);
    let tuple = FourTuple {
        local: net.a.path.addr,
        remote: net.b.path.addr,
        local_port: 9,
        remote_port: 80,
        zone: Zone::NONE,
    };
    let (now, secrets) = (net.now, Secrets::from_seed([2; 32]));
    let ours = FourTuple {
        local: tuple.remote,
        remote: tuple.local,
        local_port: 80,
        remote_port: 9,
        zone: Zone::NONE,
    };
    let irs = SeqNumber::new(5);
    let iss = crate::tcp::syncookie::make(&secrets, &ours, irs, 1460, now);
    let (seq, ack) = (irs + 1, iss + 1);
    let header =
        Header { seq, ack, flags: Flags::ACK, wnd: 9, urgent: 0, options: Options::default() };
    net.inject(Side::B, &header, &tuple, b"");
    assert_eq!((net.b.table.len(), net.dropped(Side::B, DropReason::TcpBadAck)), (0, 1));
    assert_eq!(net.b.table.counters().syn_cookies_failed, 0);
}

#[test]
fn a_full_accept_queue_resets_if_that_is_asked_for() {
    let config = TcpConfig { abort_on_overflow: true, ..TcpConfig::default() };
    let mut net = Net::with(TcpConfig::default(), config);
    let listener = net.listen(1);
    net.judge(|sent, _| if sent.seg.flags == Flags::ACK { Fate::Drop } else { Fate::Pass });
    let clients: Vec<_> = (0..2).map(|_| net.connect()).collect();
    net.run_for(ms(5));
    net.clean();
    listener.set_backlog(0);
    for &id in &clients {
        assert_eq!(net.send(Side::A, id, b"x"), Ok(1));
    }
    net.run_for(ms(20));
    assert_eq!((listener.waiting(), listener.embryos()), (1, 0));
    assert_eq!(net.b.table.counters().aborts_on_overflow, 1);
    let closed = clients.iter().filter(|&&id| net.state(Side::A, id) == State::Closed).count();
    assert_eq!(closed, 1);
}

#[test]
fn old_half_open_connections_leave_sooner_in_a_crowd() {
    for (backlog, left) in [(20, 10), (100, 21)] {
        let mut net = Net::new();
        let listener = net.listen(backlog);
        mute_strangers(&mut net);
        for n in 0..21 {
            stranger(&mut net, n);
        }
        assert_eq!(listener.embryos(), 21);
        // None of them answers: two repetitions of their SYN-ACKs must do instead of five, until
        // half of the queue is free.
        net.run_for(ms(7_100));
        assert_eq!(listener.embryos(), left);
        net.run_for(secs(60));
        assert_eq!(listener.embryos(), 0);
    }
}

#[test]
fn a_repeated_syn_is_answered_again_but_not_every_time() {
    let mut net = Net::new();
    net.listen(4);
    for _ in 0..5 {
        stranger(&mut net, 1);
    }
    net.pump(Side::B);
    assert_eq!(net.count(Side::B, Flags::SYN), 2);
    net.now += ms(600);
    stranger(&mut net, 1);
    net.pump(Side::B);
    assert_eq!((net.count(Side::B, Flags::SYN), net.b.table.requests()), (3, 1));
}

#[test]
fn a_half_open_connection_challenges_near_resets_and_ignores_far_ones() {
    // RFC 5961 §3.2, in SYN-RECEIVED.
    let mut net = Net::new();
    net.listen(4);
    mute_strangers(&mut net);
    stranger(&mut net, 1);
    net.pump(Side::B);
    net.log.clear();
    net.forge_third(|forged| {
        forged.header.flags = Flags::RST;
        forged.header.seq += 1;
    });
    net.pump(Side::B);
    assert_eq!((net.count(Side::B, Flags::ACK), net.b.table.requests()), (1, 1));
    assert_eq!(net.dropped(Side::B, DropReason::TcpChallenged), 1);
    net.forge_third(|forged| {
        forged.header.flags = Flags::RST;
        forged.header.seq = forged.header.seq - 1;
    });
    net.pump(Side::B);
    assert_eq!((net.log.len(), net.b.table.requests()), (1, 1));
    net.forge_third(|forged| forged.header.flags = Flags::RST);
    assert_eq!(net.b.table.requests(), 0);
}

#[test]
fn a_half_open_connection_acknowledges_what_lies_outside_its_window() {
    let mut net = Net::new();
    net.listen(4);
    mute_strangers(&mut net);
    stranger(&mut net, 1);
    net.pump(Side::B);
    net.log.clear();
    for _ in 0..3 {
        net.forge_third(|forged| forged.header.seq += 1 << 20);
    }
    // RFC 7323 §5.3: an old timestamp is answered in the same way.
    net.forge_third(|forged| {
        forged.header.options.timestamps.as_mut().expect("agreed").value -= 1;
    });
    net.pump(Side::B);
    assert_eq!((net.log.len(), net.b.table.requests()), (1, 1));
    assert_eq!(net.dropped(Side::B, DropReason::TcpOutOfWindow), 3);
    assert_eq!(net.dropped(Side::B, DropReason::TcpPaws), 1);
    net.forge_third(|forged| forged.header.flags = Flags::NONE);
    assert_eq!(net.dropped(Side::B, DropReason::TcpNoAck), 1);
}

#[test]
fn an_icmp_error_ends_a_half_open_connection_only_if_it_quotes_its_syn_ack() {
    let mut net = Net::new();
    net.listen(4);
    mute_strangers(&mut net);
    stranger(&mut net, 1);
    let request = net.b.table.half_open()[0].clone();
    let kind = IcmpErrorKind::HostUnreachable;
    let wrong = IcmpError { kind, tuple: request.tuple, seq: request.iss + 1, ip_bytes: 60 };
    let now = net.now;
    assert!(!net.b.table.on_icmp(now, &wrong));
    let small = IcmpError { kind: IcmpErrorKind::TooBig { mtu: 600 }, seq: request.iss, ..wrong };
    assert!(net.b.table.on_icmp(now, &small));
    assert_eq!(net.b.table.requests(), 1);
    assert!(net.b.table.on_icmp(now, &IcmpError { seq: request.iss, ..wrong }));
    assert!(net.b.table.is_empty());
}

#[test]
fn when_the_stack_goes_half_open_peers_are_reset() {
    let mut net = Net::new();
    net.listen(4);
    let a = net.connect();
    net.run_for(ms(1));
    let now = net.now;
    net.b.table.abort_all(now);
    net.run_for(ms(5));
    assert_eq!((net.state(Side::A, a), net.b.table.requests()), (State::Closed, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_arrives_breaks_a_half_open_connection(
        segments in prop::collection::vec(
            (-3i32..70_000, -3i32..3, any::<u8>(), 0usize..40, prop::option::of(-2i32..3), 0u64..3_000),
            1..30,
        ),
        always: bool,
    ) {
        let kind = if always { SynCookies::Always } else { SynCookies::OnOverflow };
        let mut net = Net::with(TcpConfig::default(), TcpConfig { syn_backlog_max: 2, ..cookies(kind) });
        let listener = net.listen(4);
        for (n, (seq, ack, flags, data, ts, wait)) in segments.into_iter().enumerate() {
            stranger(&mut net, n as u32 % 5);
            if net.b.table.requests() > 0 {
                net.forge_third(|forged| {
                    let h = &mut forged.header;
                    h.seq = SeqNumber::new(h.seq.value().wrapping_add_signed(seq));
                    h.ack = SeqNumber::new(h.ack.value().wrapping_add_signed(ack));
                    h.flags = Flags::from_bits(flags.into());
                    h.options.timestamps = match (h.options.timestamps, ts) {
                        (Some(old), Some(delta)) => Some(Timestamps {
                            value: old.value.wrapping_add_signed(delta),
                            echo: 0,
                        }),
                        _ => None,
                    };
                    forged.data = vec![1; data];
                });
            }
            net.pump(Side::B);
            net.b.table.check_invariants();
            net.run_for(ms(wait));
            while let Some(accepted) = listener.accept() {
                let now = net.now;
                net.b.table.abort(now, accepted.id);
            }
        }
        net.run_for(secs(300));
        while let Some(accepted) = listener.accept() {
            let now = net.now;
            net.b.table.abort(now, accepted.id);
        }
        net.run_for(secs(1));
        prop_assert_eq!((net.b.table.len(), net.b.table.requests()), (0, 0));
        prop_assert_eq!(listener.embryos(), 0);
    }
}
