//! ECN as RFC 3168 §6.1 has it: what is agreed on, what is marked, echoed and answered.

use std::net::IpAddr;

use super::net::*;
use crate::tcp::*;

const MSS: usize = 1448;

fn asking() -> TcpConfig {
    TcpConfig { ecn: EcnPolicy::On, ..TcpConfig::default() }
}

fn with_policy(ecn: EcnPolicy) -> TcpConfig {
    TcpConfig { ecn, ..TcpConfig::default() }
}

fn is_data(sent: &Sent) -> bool {
    sent.by == Side::A && sent.seg.data_len > 0
}

/// Both ends use ECN, 20 ms apart, and A's window is grown.
fn grown() -> (Net, ConnId, ConnId) {
    grown_at([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), asking())
}

fn grown_at(a: IpAddr, b: IpAddr, config: TcpConfig) -> (Net, ConnId, ConnId) {
    let mut net = Net::at(a, b, config, TcpConfig::default());
    net.delay = ms(20);
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![0; 1 << 19], secs(60));
    net.run_for(ms(100));
    assert_eq!(net.info(Side::A, a).in_flight_bytes, 0);
    net.log.clear();
    (net, a, b)
}

/// Marks the data segments with these numbers, from 1 on.
fn mark_nth(net: &mut Net, which: &'static [usize]) {
    let mut n = 0;
    net.judge(move |sent, _| {
        n += usize::from(is_data(sent));
        if is_data(sent) && which.contains(&n) { Fate::Mark } else { Fate::Pass }
    });
}

#[test]
fn each_policy_asks_for_and_agrees_to_what_linux_does() {
    use EcnPolicy::{IfAsked, Off, On};
    for (a, b, want) in [
        (Off, On, EcnUse::Off),
        (IfAsked, On, EcnUse::Off),
        (On, Off, EcnUse::Off),
        (On, IfAsked, EcnUse::Classic),
        (On, On, EcnUse::Classic),
    ] {
        let mut net = Net::with(with_policy(a), with_policy(b));
        let (client, server) = net.established();
        assert_eq!(net.info(Side::A, client).ecn, want, "{a} to {b}");
        assert_eq!(net.info(Side::B, server).ecn, want, "{a} to {b}");
        let syn = net.log[0].seg.flags;
        assert_eq!(syn.only(Flags::ECE | Flags::CWR) == Flags::ECE | Flags::CWR, a == On);
        let reply = net.log[1].seg.flags;
        let agreed = want != EcnUse::Off;
        assert_eq!((reply.has(Flags::ECE), reply.has(Flags::CWR)), (agreed, false), "{a} to {b}");
    }
}

#[test]
fn only_new_data_are_sent_as_ect_and_never_a_syn_an_acknowledgement_or_what_comes_again() {
    // RFC 3168 §6.1.1, §6.1.4, §6.1.5, in both families.
    for (a, b) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let [a, b] = [a, b].map(|addr| addr.parse().expect("an address"));
        let mut net = Net::at(a, b, asking(), TcpConfig::default());
        let (a, b) = net.established();
        let mut n = 0;
        net.judge(move |sent, _| {
            n += usize::from(is_data(sent));
            if is_data(sent) && [5, 6, 30].contains(&n) { Fate::Drop } else { Fate::Pass }
        });
        net.transfer(Side::A, a, b, &vec![7; 100_000], secs(5));
        net.close(Side::A, a);
        net.close(Side::B, b);
        net.run_for(ms(50));
        let mut end = net.log[0].seg.seq + 1;
        for sent in net.sent_by(Side::A) {
            let new = sent.seg.data_len > 0 && sent.seg.seq.ge(end);
            let want = if new { EcnField::Ect0 } else { EcnField::NotEct };
            assert_eq!(sent.seg.ecn, want, "{sent:?}");
            end = end.max(sent.seg.seq + sent.seg.data_len);
        }
        assert!(net.sent_by(Side::B).iter().all(|sent| sent.seg.ecn == EcnField::NotEct));
        assert!(net.count(Side::A, Flags::FIN) > 0);
    }
}

#[test]
fn without_an_agreement_nothing_is_ect() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &[7; 50_000], secs(5));
    assert!(net.log.iter().all(|sent| sent.seg.ecn == EcnField::NotEct));
    assert_eq!(net.a.table.counters().ecn_connections, 0);
}

#[test]
fn probes_of_a_closed_window_are_not_ect() {
    // RFC 3168 §6.1.6 (MUST NOT).
    let mut options = ConnOptions::new();
    options.receive_buffer_bytes = 4_096;
    let mut net = Net::with(asking(), TcpConfig::default());
    let (a, b) = net.established_with(ConnOptions::new(), options);
    assert_eq!(net.send(Side::A, a, &[1; 20_000]), Ok(20_000));
    net.run_for(secs(3));
    assert!(net.a.table.counters().window_probes_out > 0);
    let (end, log) = (net.a.table.get(a).expect("it lives").snd_max, &net.log);
    let probes: Vec<_> = log.iter().filter(|s| is_data(s) && s.seg.seq + 1 == end).collect();
    assert!(!probes.is_empty());
    assert!(probes.iter().all(|sent| sent.seg.ecn == EcnField::NotEct), "{probes:?}");
    net.run_for(ms(1));
    assert!(net.recv(Side::B, b).is_ok());
}

#[test]
fn a_mark_is_echoed_until_the_sender_says_that_it_has_reduced_its_window() {
    // RFC 3168 §6.1.3.
    let (mut net, a, b) = grown();
    mark_nth(&mut net, &[5]);
    net.transfer(Side::A, a, b, &vec![1; 400 * MSS], secs(10));
    net.run_for(ms(100));
    let cwr: Vec<_> = net.log.iter().filter(|sent| sent.has(Flags::CWR)).collect();
    assert_eq!(cwr.len(), 1, "{cwr:?}");
    assert!(is_data(cwr[0]) && cwr[0].seg.ecn == EcnField::Ect0);
    let cwr_at = cwr[0].at;
    let marked_at = net.log.iter().find(|sent| is_data(sent)).expect("data").at;
    for sent in net.sent_by(Side::B) {
        // A super-segment of A's is acknowledged once.
        let knows = sent.at >= marked_at + net.delay + ms(2) && sent.at < cwr_at + net.delay;
        let over = sent.at >= cwr_at + net.delay;
        assert!(!knows || sent.has(Flags::ECE), "{sent:?}");
        assert!(!over || !sent.has(Flags::ECE), "{sent:?}");
    }
    assert!(net.count(Side::B, Flags::ECE) > 0);
}

#[test]
fn marks_of_one_window_are_answered_once_as_a_loss_is_and_nothing_is_sent_again() {
    // RFC 3168 §6.1.2, with RFC 9438 §4.6.
    let (mut net, a, b) = grown();
    let before = net.info(Side::A, a).cwnd_bytes;
    mark_nth(&mut net, &[5, 6, 9, 20, 31]);
    net.transfer(Side::A, a, b, &vec![1; 4 * before as usize / 5], secs(10));
    net.run_for(ms(100));
    let info = net.info(Side::A, a);
    let counters = net.a.table.counters().clone();
    assert_eq!(counters.congestion_echoes_in, 1);
    assert!(net.b.table.counters().congestion_marks_in >= 1);
    assert_eq!((info.retransmits, counters.timeouts, counters.sack_recoveries), (0, 0, 0));
    let reduced = f64::from(info.ssthresh_bytes) / f64::from(before);
    assert!((0.5..=0.71).contains(&reduced), "{} of {before}", info.ssthresh_bytes);
    assert!(info.cwnd_bytes <= info.ssthresh_bytes + 2 * MSS as u32, "{info:?}");
}

#[test]
fn a_mark_in_each_window_reduces_each() {
    let (mut net, a, b) = grown();
    let mut next = net.now;
    net.judge(move |sent, _| {
        // One in 200 ms: five round trips apart.
        if is_data(sent) && sent.seg.ecn == EcnField::Ect0 && sent.at >= next {
            next = sent.at + ms(200);
            return Fate::Mark;
        }
        Fate::Pass
    });
    net.transfer(Side::A, a, b, &vec![1; 3_000 * MSS], secs(60));
    let counters = net.a.table.counters();
    let marks = net.b.table.counters().congestion_marks_in;
    assert!(marks >= 3, "{marks}");
    assert!(counters.congestion_echoes_in.abs_diff(marks) <= 1, "{counters:?}");
    assert_eq!(counters.retransmitted_segments, 0);
}

#[test]
fn the_window_comes_down_in_proportion_after_a_mark() {
    // As RFC 9937 §6 does it after a loss: seven segments leave for ten that arrive.
    let (mut net, a, b) = grown();
    let flight = net.info(Side::A, a).cwnd_bytes as usize / MSS;
    mark_nth(&mut net, &[2]);
    net.transfer(Side::A, a, b, &vec![1; 1500 * MSS], secs(60));
    let told = net.log.iter().find(|sent| sent.has(Flags::ECE)).expect("it is echoed").at + ms(20);
    let within = |s: &&Sent| s.at >= told && s.at < told + ms(39);
    let sent = net.log.iter().filter(|sent| is_data(sent)).filter(within).count();
    assert!((flight * 3 / 5..=flight * 4 / 5).contains(&sent), "{sent} for {flight}");
}

#[test]
fn a_loss_in_a_window_that_a_mark_has_reduced_does_not_reduce_it_again() {
    // RFC 3168 §6.1.2 (SHOULD): once in a window of data.
    let (mut net, a, b) = grown();
    let mut n = 0;
    net.judge(move |sent, _| {
        n += usize::from(is_data(sent));
        match n {
            3 if is_data(sent) => Fate::Mark,
            60 if is_data(sent) => Fate::Drop,
            _ => Fate::Pass,
        }
    });
    let before = net.info(Side::A, a).cwnd_bytes;
    net.transfer(Side::A, a, b, &vec![1; 4 * before as usize / 5], secs(10));
    net.run_for(ms(200));
    let info = net.info(Side::A, a);
    assert_eq!(info.retransmits, 1, "the loss was repaired");
    let reduced = f64::from(info.ssthresh_bytes) / f64::from(before);
    assert!((0.5..=0.71).contains(&reduced), "{} of {before}", info.ssthresh_bytes);
}

#[test]
fn whatever_reduces_the_window_the_peer_is_told_in_the_next_new_data() {
    // RFC 3168 §6.1.2: by a loss, and by a time-out.
    for dropped in [&[4usize][..], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]] {
        let (mut net, a, b) = grown();
        let mut n = 0;
        net.judge(move |sent, _| {
            n += usize::from(is_data(sent));
            if is_data(sent) && dropped.contains(&n) { Fate::Drop } else { Fate::Pass }
        });
        net.transfer(Side::A, a, b, &vec![1; 10 * MSS], secs(10));
        net.clean();
        net.transfer(Side::A, a, b, &vec![1; 60 * MSS], secs(10));
        let cwr: Vec<_> = net.log.iter().filter(|sent| sent.has(Flags::CWR)).collect();
        assert!(!cwr.is_empty(), "{dropped:?}");
        assert!(cwr.iter().all(|sent| sent.seg.ecn == EcnField::Ect0), "new data: {cwr:?}");
    }
}

#[test]
fn a_super_segment_says_cwr_in_its_first_segment_only() {
    let (mut net, a, b) = grown();
    mark_nth(&mut net, &[2]);
    net.transfer(Side::A, a, b, &vec![1; 1500 * MSS], secs(60));
    let cwr = net.log.iter().find(|sent| sent.has(Flags::CWR)).expect("one says it").clone();
    assert_eq!(net.count(Side::A, Flags::CWR), 1);
    assert!(net.log.iter().any(|s| is_data(s) && s.super_segment && s.at == cwr.at));
}

#[test]
fn a_syn_that_is_not_answered_is_sent_again_without_the_question() {
    // RFC 3168 §6.1.1.1; a firewall drops what asks for ECN.
    for fallback in [true, false] {
        let config = TcpConfig { ecn_fallback: fallback, ..asking() };
        let mut net = Net::with(config, TcpConfig::default());
        net.judge(|sent, _| if sent.has(Flags::CWR) { Fate::Drop } else { Fate::Pass });
        net.listen(4);
        let a = net.connect();
        net.run_for(secs(4));
        let state = if fallback { State::Established } else { State::SynSent };
        assert_eq!(net.state(Side::A, a), state);
        if fallback {
            assert_eq!(net.info(Side::A, a).ecn, EcnUse::Off);
            assert_eq!(net.log[1].at.since(net.log[0].at), secs(1));
        }
    }
}

#[test]
fn who_has_sent_a_plain_syn_marks_nothing_whatever_the_answer_says() {
    // RFC 3168 §6.1.1 (MUST NOT): only the answer was lost, and it comes again as it was.
    let mut net = Net::with(asking(), TcpConfig::default());
    let listener = net.listen(4);
    let mut dropped = 0;
    net.judge(move |sent, _| {
        if sent.by == Side::B && dropped == 0 {
            dropped += 1;
            return Fate::Drop;
        }
        // The plain SYN is late, so that the answer to the first arrives before.
        if sent.by == Side::A && sent.has(Flags::SYN) && dropped > 0 {
            return Fate::Late(secs(1));
        }
        Fate::Pass
    });
    let a = net.connect();
    net.run_for(secs(6));
    net.clean();
    let b = listener.accept().expect("it is established").id;
    assert_eq!(net.state(Side::A, a), State::Established);
    net.transfer(Side::A, a, b, &[1; 20_000], secs(5));
    let ect = net.log.iter().filter(|s| s.by == Side::A && s.seg.ecn != EcnField::NotEct).count();
    assert_eq!(ect, 0);
}

#[test]
fn a_client_that_gives_up_asking_is_answered_in_kind() {
    // RFC 3168 §6.1.1: the answer to the question does not get through.
    let mut net = Net::with(asking(), TcpConfig::default());
    let listener = net.listen(4);
    net.judge(|sent, _| {
        let agrees = sent.by == Side::B && sent.has(Flags::SYN) && sent.has(Flags::ECE);
        if agrees { Fate::Drop } else { Fate::Pass }
    });
    let a = net.connect();
    net.run_for(secs(4));
    let b = listener.accept().expect("it is established").id;
    assert_eq!(net.info(Side::A, a).ecn, EcnUse::Off);
    assert_eq!(net.info(Side::B, b).ecn, EcnUse::Off);
}

#[test]
fn an_answer_that_only_sends_the_flags_back_is_no_agreement() {
    // RFC 3168 §6.1.1: SYN-ACK with ECE and CWR.
    let mut net = Net::with(asking(), TcpConfig::default());
    let a = net.connect();
    net.pump(Side::A);
    for (flags, want) in [
        (Flags::ECE | Flags::CWR, EcnUse::Off),
        (Flags::CWR, EcnUse::Off),
        (Flags::NONE, EcnUse::Off),
        (Flags::ECE, EcnUse::Classic),
    ] {
        let mut net = Net::with(asking(), TcpConfig::default());
        let a = net.connect();
        net.pump(Side::A);
        net.forge(Side::B, a, |forged| forged.header.flags = Flags::SYN | Flags::ACK | flags);
        assert_eq!(net.state(Side::A, a), State::Established);
        assert_eq!(net.info(Side::A, a).ecn, want, "{flags:?}");
    }
    assert_eq!(net.info(Side::A, a).ecn, EcnUse::Off, "nothing is agreed on yet");
}

#[test]
fn a_question_that_comes_marked_crossed_a_network_that_knows_nothing_of_ecn() {
    for ecn in [EcnField::Ect0, EcnField::Ect1, EcnField::Ce] {
        let mut net = Net::with(asking(), TcpConfig::default());
        net.judge(move |sent, _| {
            if sent.has(Flags::SYN) && sent.by == Side::A {
                return Fate::Bleach(ecn);
            }
            Fate::Pass
        });
        let (a, b) = net.established();
        assert_eq!(net.info(Side::A, a).ecn, EcnUse::Off, "{ecn:?}");
        assert_eq!(net.info(Side::B, b).ecn, EcnUse::Off, "{ecn:?}");
    }
}

#[test]
fn two_that_ask_each_other_at_once_agree() {
    let mut net = Net::with(asking(), asking());
    let a = net.connect_from(4_000, ConnOptions::new()).expect("it begins");
    let (now, remote) = (net.now, std::net::SocketAddr::new(net.a.path.addr, 4_000));
    let from = ConnectFrom { port: 80, ..ConnectFrom::default() };
    let b = net.b.table.connect(now, &mut net.b.path, from, remote, &|_| true);
    let b = b.expect("it begins");
    net.run_for(ms(100));
    for (side, id) in [(Side::A, a), (Side::B, b)] {
        assert_eq!(net.state(side, id), State::Established);
        assert_eq!(net.info(side, id).ecn, EcnUse::Classic);
    }
    net.transfer(Side::A, a, b, &[1; 20_000], secs(5));
    assert_eq!(net.a.table.counters().congestion_echoes_in, 0, "no SYN-ACK is an echo");
}

#[test]
fn marks_outside_the_window_and_on_acknowledgements_say_nothing() {
    // RFC 3168 §6.1.5 (SHOULD), §6.1.4.
    let (mut net, _, b) = grown();
    net.judge(|_, _| Fate::Drop);
    net.forge(Side::A, b, |forged| {
        forged.header.seq = forged.header.seq - 3_000;
        forged.data = vec![1; 1000];
        forged.ecn = EcnField::Ce;
    });
    net.forge(Side::A, b, |forged| forged.ecn = EcnField::Ce);
    net.run_for(ms(50));
    assert_eq!(net.count(Side::B, Flags::ECE), 0);
    assert_eq!(net.b.table.counters().congestion_marks_in, 0);
    net.forge(Side::A, b, |forged| {
        forged.data = vec![1; 1000];
        forged.ecn = EcnField::Ce;
    });
    net.run_for(ms(50));
    assert_eq!(net.count(Side::B, Flags::ECE), 1);
}

#[test]
fn a_segment_that_tells_of_a_reduction_and_is_marked_itself_is_echoed_anew() {
    let (mut net, _, b) = grown();
    net.judge(|_, _| Fate::Drop);
    for (flags, ecn, echoes) in [
        (Flags::NONE, EcnField::Ce, true),
        (Flags::NONE, EcnField::Ect0, true),
        (Flags::CWR, EcnField::Ce, true),
        (Flags::CWR, EcnField::Ect0, false),
        (Flags::NONE, EcnField::Ect0, false),
    ] {
        net.forge(Side::A, b, |forged| {
            forged.header.flags |= flags;
            (forged.ecn, forged.data) = (ecn, vec![1; 1000]);
        });
        net.run_for(ms(50));
        let last = net.sent_by(Side::B).pop().expect("an answer");
        assert_eq!(last.has(Flags::ECE), echoes, "{flags:?} {ecn:?}");
    }
}

#[test]
fn echoes_without_an_agreement_or_without_data_under_way_reduce_nothing() {
    let echo = |net: &mut Net, a| net.forge(Side::B, a, |forged| forged.header.flags |= Flags::ECE);
    let mut net = Net::new();
    let (a, _) = net.established();
    net.judge(|_, _| Fate::Drop);
    assert_eq!(net.send(Side::A, a, &[1; 10_000]), Ok(10_000));
    net.pump(Side::A);
    echo(&mut net, a);
    assert_eq!(net.info(Side::A, a).ssthresh_bytes, u32::MAX);

    let (mut net, a, _) = grown();
    let before = net.info(Side::A, a).cwnd_bytes;
    echo(&mut net, a);
    assert_eq!(net.info(Side::A, a).cwnd_bytes, before);
}

#[test]
fn without_sack_a_mark_is_answered_as_well() {
    let config = TcpConfig { sack: false, ..asking() };
    let (mut net, a, b) = grown_at([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), config);
    let before = net.info(Side::A, a).cwnd_bytes;
    mark_nth(&mut net, &[5, 6]);
    net.transfer(Side::A, a, b, &vec![1; 3 * before as usize], secs(10));
    net.run_for(ms(100));
    let counters = net.a.table.counters();
    assert_eq!((counters.congestion_echoes_in, counters.retransmitted_segments), (1, 0));
    assert!(net.info(Side::A, a).ssthresh_bytes < before * 3 / 4);
}
