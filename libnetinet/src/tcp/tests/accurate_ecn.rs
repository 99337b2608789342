//! Accurate ECN as RFC 9768 has it: both ends, and networks that meddle.

use super::net::*;
use crate::tcp::*;

const MSS: usize = 1448;

fn with_policy(ecn: EcnPolicy) -> TcpConfig {
    TcpConfig { ecn, ..TcpConfig::default() }
}

fn accurate() -> TcpConfig {
    with_policy(EcnPolicy::Accurate)
}

fn is_data(sent: &Sent) -> bool {
    sent.by == Side::A && sent.seg.data_len > 0
}

/// AE, CWR and ECE as a number.
fn ace(flags: Flags) -> u16 {
    flags.bits() >> 6
}

fn ace_flags(ace: u16) -> Flags {
    Flags::from_bits(ace << 6)
}

fn grown() -> (Net, ConnId, ConnId) {
    let mut net = Net::with(accurate(), accurate());
    net.delay = ms(20);
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![0; 1 << 19], secs(60));
    net.run_for(ms(100));
    net.log.clear();
    (net, a, b)
}

fn told(net: &Net, side: Side, id: ConnId) -> AccurateInfo {
    net.info(side, id).accurate.expect("AccECN is in use")
}

#[test]
fn the_best_form_that_both_have_is_agreed_on() {
    // RFC 9768 §3.1.2, table 2.
    for a in EcnPolicy::ALL {
        for b in EcnPolicy::ALL {
            let mut net = Net::with(with_policy(a), with_policy(b));
            let (client, server) = net.established();
            let want = match (a.asks_for(), b.accepts()) {
                (EcnUse::Off, _) | (_, EcnUse::Off) => EcnUse::Off,
                (EcnUse::Accurate, EcnUse::Accurate) => EcnUse::Accurate,
                _ => EcnUse::Classic,
            };
            let forms = [net.info(Side::A, client).ecn, net.info(Side::B, server).ecn];
            assert_eq!(forms, [want; 2], "{a} to {b}");
            let asked = match a.asks_for() {
                EcnUse::Off => 0b000,
                EcnUse::Classic => 0b011,
                EcnUse::Accurate => 0b111,
            };
            assert_eq!(ace(net.log[0].seg.flags), asked, "{a}");
            let answer = match want {
                EcnUse::Off => 0b000,
                EcnUse::Classic => 0b001,
                EcnUse::Accurate => 0b010,
            };
            assert_eq!(ace(net.log[1].seg.flags), answer, "{a} to {b}");
            net.transfer(Side::A, client, server, &[1; 20_000], secs(5));
            let ect = net.log.iter().any(|sent| sent.seg.ecn == EcnField::Ect0);
            assert_eq!(ect, want != EcnUse::Off, "{a} to {b}");
        }
    }
}

#[test]
fn the_handshake_says_what_its_segments_came_with() {
    // RFC 9768 §3.1.1, §3.2.2.1; §3.2.2.3: none was sent as ECT, so that a network has meddled.
    for (ecn, code) in [
        (EcnField::NotEct, 0b010),
        (EcnField::Ect1, 0b011),
        (EcnField::Ect0, 0b100),
        (EcnField::Ce, 0b110),
    ] {
        for marked in [Side::A, Side::B] {
            let mut net = Net::with(accurate(), accurate());
            net.judge(move |sent, _| {
                let hit = sent.by == marked && sent.has(Flags::SYN);
                if hit { Fate::Bleach(ecn) } else { Fate::Pass }
            });
            let (a, b) = net.established();
            let (reply, last) = (net.log[1].seg.flags, net.log[2].seg.flags);
            let (want, other) = if marked == Side::A { (reply, last) } else { (last, reply) };
            assert_eq!((ace(want), ace(other)), (code, 0b010), "{ecn:?} at {marked:?}");
            let meddled = ecn != EcnField::NotEct;
            let sender =
                if marked == Side::A { told(&net, Side::A, a) } else { told(&net, Side::B, b) };
            assert_eq!(sender.sends_ect, !meddled, "{ecn:?} at {marked:?}");
            let marks = u32::from(ecn == EcnField::Ce && marked == Side::B);
            // §3.2.2.2: a SYN is counted nowhere, a SYN-ACK at both ends.
            assert_eq!(told(&net, Side::A, a).received_ce, marks);
            assert_eq!(told(&net, Side::B, b).delivered_ce, marks);
            assert_eq!(told(&net, Side::A, a).delivered_ce, 0);
            // Both still count, and the one that was not meddled with still sends ECT.
            net.transfer(Side::A, a, b, &[1; 20_000], secs(5));
            net.transfer(Side::B, b, a, &[1; 20_000], secs(5));
            for side in [Side::A, Side::B] {
                let ect = net.sent_by(side).iter().any(|sent| sent.seg.ecn == EcnField::Ect0);
                assert_eq!(ect, !(meddled && side == marked), "{ecn:?} at {marked:?}");
            }
        }
    }
}

#[test]
fn every_mark_is_counted_and_each_window_answers_once() {
    let (mut net, a, b) = grown();
    let mut n = 0;
    net.judge(move |sent, _| {
        n += usize::from(is_data(sent));
        if is_data(sent) && n % 50 < 3 { Fate::Mark } else { Fate::Pass }
    });
    net.transfer(Side::A, a, b, &vec![1; 1_000 * MSS], secs(60));
    net.run_for(ms(200));
    let (sender, receiver) = (told(&net, Side::A, a), told(&net, Side::B, b));
    assert!(receiver.received_ce >= 55, "{receiver:?}");
    assert_eq!(sender.delivered_ce, receiver.received_ce);
    assert_eq!(sender.delivered_ce_bytes, receiver.received_ce_bytes);
    assert_eq!(receiver.received_ce_bytes as usize, receiver.received_ce as usize * MSS);
    let all = receiver.received_ce_bytes + receiver.received_ect0_bytes;
    assert_eq!(all as usize, (1 << 19) + 1_000 * MSS);
    let counters = net.a.table.counters();
    assert!(counters.congestion_echoes_in < u64::from(sender.delivered_ce) / 2, "{counters:?}");
    assert!(counters.congestion_echoes_in >= 2);
    assert_eq!(counters.retransmitted_segments, 0);
    assert!(net.sent_by(Side::A).iter().all(|sent| ace(sent.seg.flags) == 5), "no CWR: a count");
}

#[test]
fn the_field_alone_tells_where_options_are_not_sent_or_not_let_through() {
    for (a, b) in [(EcnOption::Off, EcnOption::Off), (EcnOption::Sparing, EcnOption::Sparing)] {
        let config = |ecn_option| TcpConfig { ecn_option, ..accurate() };
        let mut net = Net::with(config(a), config(b));
        net.delay = ms(20);
        let (client, server) = net.established();
        let mut n = 0;
        net.judge(move |sent, _| {
            n += usize::from(is_data(sent));
            if is_data(sent) && n % 40 == 0 { Fate::Mark } else { Fate::Pass }
        });
        net.transfer(Side::A, client, server, &vec![1; 500 * MSS], secs(60));
        net.run_for(ms(200));
        let (sender, receiver) = (told(&net, Side::A, client), told(&net, Side::B, server));
        assert_eq!(sender.delivered_ce, receiver.received_ce);
        assert_eq!(sender.options_seen, a != EcnOption::Off);
        let with = |s: &&Sent| s.seg.options.marked_bytes.is_some();
        let options = net.log.iter().filter(with).count();
        let most = if a == EcnOption::Off { 0 } else { 80 };
        assert!(options <= most, "{options}");
    }
}

#[test]
fn an_option_has_the_counters_that_have_changed_and_gives_way_to_sack_blocks() {
    // RFC 9768 §3.2.3.3.
    let (mut net, a, b) = grown();
    net.transfer(Side::A, a, b, &vec![1; 10 * MSS], secs(10));
    let mut n = 0;
    net.judge(move |sent, _| {
        n += usize::from(is_data(sent));
        match n {
            4 | 8 | 12 | 16 if is_data(sent) => Fate::Drop,
            20 if is_data(sent) => Fate::Mark,
            _ => Fate::Pass,
        }
    });
    net.transfer(Side::A, a, b, &vec![1; 40 * MSS], secs(10));
    let answers = net.sent_by(Side::B);
    assert!(answers.iter().all(|sent| sent.seg.options.len() <= MAX_OPTIONS_BYTES));
    let three = answers.iter().filter(|sent| sent.seg.options.sack.len() == 3);
    assert!(three.clone().count() > 0);
    assert!(three.clone().all(|sent| sent.seg.options.marked_bytes.is_none()), "no room");
    let fields = |sent: &&&Sent| {
        sent.seg.options.marked_bytes.map(|option| (option.order(), option.fields().len()))
    };
    let seen: Vec<_> = answers.iter().filter_map(|sent| fields(&sent)).collect();
    assert!(seen.contains(&(ByteOrder::Ect0First, 1)) && seen.contains(&(ByteOrder::Ect0First, 2)));
}

#[test]
fn data_leave_room_for_an_option() {
    let (mut net, a, b) = grown();
    for _ in 0..20 {
        // B waits with its acknowledgement, and has something to say meanwhile.
        assert_eq!(net.send(Side::A, a, &[1; 100]), Ok(100));
        net.run_for(ms(25));
        assert_eq!(net.send(Side::B, b, &[1; 3 * MSS]), Ok(3 * MSS));
        net.run_for(ms(100));
        assert!(net.recv(Side::A, a).is_ok() && net.recv(Side::B, b).is_ok());
    }
    let with = |s: &&Sent| s.seg.data_len > 0 && s.seg.options.marked_bytes.is_some();
    assert!(net.log.iter().filter(with).count() > 0);
    let bytes = |s: &Sent| s.seg.data_len as usize + s.seg.options.len();
    assert!(net.log.iter().all(|sent| bytes(sent) <= 1_460));
}

#[test]
fn a_network_that_drops_the_question_is_asked_twice() {
    // RFC 9768 §3.1.4.1 (SHOULD).
    let mut net = Net::with(accurate(), accurate());
    net.listen(4);
    net.judge(|sent, _| if sent.has(Flags::AE) { Fate::Drop } else { Fate::Pass });
    let a = net.connect();
    net.run_for(secs(5));
    let asked: Vec<_> = net.sent_by(Side::A).iter().take(3).map(|s| ace(s.seg.flags)).collect();
    assert_eq!(asked, [0b111, 0b111, 0b000]);
    let isn = net.log[0].seg.seq;
    assert!(net.sent_by(Side::A).iter().take(3).all(|s| s.seg.seq == isn), "MUST: the same number");
    assert_eq!(net.info(Side::A, a).ecn, EcnUse::Off);
}

#[test]
fn a_network_that_drops_the_option_gets_the_answer_without_and_then_a_plain_one() {
    // RFC 9768 §3.2.3.2.2 (SHOULD).
    let mut net = Net::with(accurate(), accurate());
    let listener = net.listen(4);
    net.judge(|sent, _| match sent.seg.options.marked_bytes {
        Some(_) => Fate::Drop,
        None => Fate::Pass,
    });
    let a = net.connect();
    net.run_for(secs(4));
    assert_eq!(net.info(Side::A, a).ecn, EcnUse::Accurate);
    let b = listener.accept().expect("it is established").id;
    net.transfer(Side::A, a, b, &[1; 20_000], secs(20));
    assert!(!told(&net, Side::A, a).options_seen);

    // One that drops every answer with these flags.
    let mut net = Net::with(accurate(), accurate());
    let listener = net.listen(4);
    net.judge(|sent, _| {
        let hit = sent.by == Side::B && sent.has(Flags::SYN) && ace(sent.seg.flags) != 0;
        if hit { Fate::Drop } else { Fate::Pass }
    });
    let a = net.connect();
    // The listener's time-outs begin when A's SYNs no longer come every second.
    net.run_for(secs(10));
    let b = listener.accept().expect("it is established").id;
    assert_eq!(net.info(Side::A, a).ecn, EcnUse::Off);
    // RFC 9768 §3.1.5: the listener stays with what it has begun, and sets no ECT (MUST NOT).
    assert_eq!(net.info(Side::B, b).ecn, EcnUse::Accurate);
    net.transfer(Side::B, b, a, &[1; 20_000], secs(5));
    assert!(net.log.iter().all(|sent| sent.seg.ecn == EcnField::NotEct));
}

#[test]
fn combinations_that_nobody_uses_yet_mean_what_the_rfc_says() {
    // RFC 9768 §3.1.3 (MUST).
    for flags in 0..8 {
        let mut net = Net::with(TcpConfig::default(), accurate());
        let listener = net.listen(4);
        net.connect();
        net.pump(Side::A);
        let (meta, _) = net.take_from_wire().expect("a SYN");
        let mut header = Header {
            seq: SeqNumber::new(7),
            ack: SeqNumber::default(),
            flags: Flags::SYN | ace_flags(flags),
            wnd: 1000,
            urgent: 0,
            options: Options::default(),
        };
        let tuple = FourTuple {
            local: meta.src,
            remote: meta.dst,
            local_port: 999,
            remote_port: 80,
            zone: Zone::NONE,
        };
        net.inject(Side::B, &header, &tuple, b"");
        net.pump(Side::B);
        let answer = net.sent_by(Side::B).pop().expect("an answer").seg;
        let want = match flags {
            0b000 => 0b000,
            0b011 => 0b001,
            _ => 0b010,
        };
        assert_eq!(ace(answer.flags), want, "{flags:#05b}");
        // The third step: what is a count in data is a code in an acknowledgement alone.
        header.flags = Flags::ACK | ace_flags(0b010);
        (header.seq, header.ack) = (header.seq + 1, answer.seq + 1);
        net.inject(Side::B, &header, &tuple, b"");
        assert!(listener.accept().is_some());
    }
    for (flags, want) in [
        (0b000, EcnUse::Off),
        (0b001, EcnUse::Classic),
        (0b010, EcnUse::Accurate),
        (0b101, EcnUse::Accurate),
        (0b111, EcnUse::Off),
    ] {
        let mut net = Net::with(accurate(), accurate());
        let a = net.connect();
        net.pump(Side::A);
        net.forge(Side::B, a, |forged| {
            forged.header.flags = Flags::SYN | Flags::ACK | ace_flags(flags);
        });
        assert_eq!(net.info(Side::A, a).ecn, want, "{flags:#05b}");
        if want == EcnUse::Accurate {
            assert!(told(&net, Side::A, a).sends_ect, "as if nothing had been changed");
        }
    }
}

#[test]
fn who_asks_for_one_form_and_then_for_another_is_reset() {
    // RFC 9768 §3.1.5 (MUST).
    for (first, then, resets) in [
        (0b111, 0b011, true),
        (0b011, 0b111, true),
        (0b111, 0b111, false),
        (0b111, 0b000, false),
        (0b011, 0b000, false),
    ] {
        let mut net = Net::with(TcpConfig::default(), accurate());
        net.listen(4);
        let tuple = FourTuple {
            local: net.a.path.addr,
            remote: net.b.path.addr,
            local_port: 999,
            remote_port: 80,
            zone: Zone::NONE,
        };
        for flags in [first, then] {
            let header = Header {
                seq: SeqNumber::new(7),
                ack: SeqNumber::default(),
                flags: Flags::SYN | ace_flags(flags),
                wnd: 1000,
                urgent: 0,
                options: Options::default(),
            };
            net.inject(Side::B, &header, &tuple, b"");
            net.pump(Side::B);
        }
        assert_eq!(net.count(Side::B, Flags::RST) > 0, resets, "{first:#05b} {then:#05b}");
    }
}

#[test]
fn a_client_that_does_not_count_after_all_is_not_believed() {
    // RFC 9768 §3.2.2.1, note 1 (MUST NOT): zero in the acknowledgement of the SYN-ACK.
    for (code, believed) in [(0b000, false), (0b010, true)] {
        let mut net = Net::with(TcpConfig::default(), accurate());
        let listener = net.listen(4);
        let tuple = FourTuple {
            local: net.a.path.addr,
            remote: net.b.path.addr,
            local_port: 999,
            remote_port: 80,
            zone: Zone::NONE,
        };
        let mut header = Header {
            seq: SeqNumber::new(7),
            ack: SeqNumber::default(),
            flags: Flags::SYN | ace_flags(0b111),
            wnd: 10_000,
            urgent: 0,
            options: Options::default(),
        };
        net.inject(Side::B, &header, &tuple, b"");
        net.pump(Side::B);
        let iss = net.sent_by(Side::B).pop().expect("an answer").seg.seq;
        header.flags = Flags::ACK | ace_flags(code);
        (header.seq, header.ack) = (header.seq + 1, iss + 1);
        net.inject(Side::B, &header, &tuple, b"");
        let b = listener.accept().expect("it is established").id;
        assert_eq!(net.send(Side::B, b, &[1; 5_000]), Ok(5_000));
        net.pump(Side::B);
        let ect = net.sent_by(Side::B).iter().any(|sent| sent.seg.ecn == EcnField::Ect0);
        assert_eq!(ect, believed);
        // Three marks, it says.
        header.flags = Flags::ACK | ace_flags(0);
        header.ack += 1_000;
        net.inject(Side::B, &header, &tuple, b"");
        assert_eq!(net.b.table.counters().congestion_echoes_in, u64::from(believed));
    }
}

#[test]
fn segments_whose_count_has_the_bit_of_cwr_are_not_cut_from_one() {
    // RFC 9768 §3.3.4.
    let (mut net, a, b) = grown();
    // One mark on the way to A makes its count six.
    net.judge(|_, _| Fate::Mark);
    assert_eq!(net.send(Side::B, b, &[1; 10]), Ok(10));
    net.pump(Side::B);
    net.clean();
    net.run_for(ms(100));
    net.log.clear();
    let data = vec![1; 60 * MSS];
    assert_eq!(net.send(Side::A, a, &data), Ok(data.len()));
    net.run_for(ms(200));
    let data: Vec<_> = net.log.iter().filter(|sent| is_data(sent)).collect();
    assert!(data.len() >= 60);
    assert!(data.iter().all(|sent| ace(sent.seg.flags) == 6 && !sent.super_segment));
    assert!(net.recv(Side::B, b).is_ok());
}

#[test]
fn the_first_acknowledgement_carries_no_data() {
    // RFC 9768 §3.2.2.1 (SHOULD).
    let mut net = Net::with(accurate(), accurate());
    net.listen(4);
    let a = net.connect();
    net.pump(Side::A);
    net.forge(Side::B, a, |forged| {
        forged.header.flags = Flags::SYN | Flags::ACK | ace_flags(0b010);
    });
    assert_eq!(net.send(Side::A, a, b"at once"), Ok(7));
    net.pump(Side::A);
    let sent = net.sent_by(Side::A);
    assert_eq!((sent[1].seg.data_len, ace(sent[1].seg.flags)), (0, 0b010));
    assert_eq!((sent[2].seg.data_len, ace(sent[2].seg.flags)), (7, 5));
    // RFC 9768 §3.2.3.2.1 (SHOULD): both try whether options come through.
    assert!(sent[1].seg.options.marked_bytes.is_some());
    assert!(sent[2].seg.options.marked_bytes.is_some());
}

#[test]
fn marked_acknowledgements_are_counted_too() {
    let (mut net, a, b) = grown();
    net.judge(|sent, _| match sent.by {
        Side::B => Fate::Bleach(EcnField::Ce),
        Side::A => Fate::Pass,
    });
    for _ in 0..5 {
        net.transfer(Side::A, a, b, &vec![1; 100 * MSS], secs(10));
        net.run_for(ms(100));
    }
    net.clean();
    net.transfer(Side::A, a, b, &vec![1; 2 * MSS], secs(10));
    net.run_for(ms(100));
    let sender = told(&net, Side::A, a);
    assert!(sender.received_ce >= 5, "{sender:?}");
    assert_eq!(sender.received_ce_bytes, 0, "they have no data");
    assert_eq!(told(&net, Side::B, b).delivered_ce, sender.received_ce);
}
