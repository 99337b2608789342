//! Arbitrary segments, calls and time against a connection in each state: no panic, and what must
//! hold holds.

use proptest::prelude::*;

use super::net::*;
use crate::tcp::*;

#[derive(Clone, Debug)]
enum Step {
    Segment {
        seq: i32,
        ack: i32,
        flags: u16,
        wnd: u16,
        data: usize,
        ts: Option<i32>,
        mss: Option<u16>,
        /// From SND.UNA on, and how long.
        sack: Vec<(i32, i32)>,
    },
    Send(usize),
    Recv(usize),
    Shutdown,
    Close,
    Wait(u64),
    TooBig(u32),
    Unreachable,
}

fn near() -> impl Strategy<Value = i32> {
    prop_oneof![
        6 => Just(0),
        4 => -3i32..4,
        3 => -3000i32..3000,
        2 => -2_000_000i32..2_000_000,
        1 => any::<i32>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        6 => Just(Flags::ACK.bits()),
        2 => Just((Flags::ACK | Flags::PSH).bits()),
        2 => Just((Flags::ACK | Flags::FIN).bits()),
        1 => Just(Flags::RST.bits()),
        1 => Just(Flags::SYN.bits()),
        1 => Just((Flags::SYN | Flags::ACK).bits()),
        2 => 0u16..512,
    ];
    let wnd = prop_oneof![Just(0u16), Just(65_535u16), any::<u16>()];
    let len = prop_oneof![Just(0usize), 1usize..10, 0usize..5_000];
    let ts =
        prop::option::weighted(0.9, prop_oneof![3 => Just(0i32), 1 => -5i32..5, 1 => any::<i32>()]);
    let block = (-5_000i32..60_000, prop_oneof![6 => 1i32..20_000, 1 => any::<i32>()]);
    let sack = prop_oneof![Just(Vec::new()), prop::collection::vec(block, 0..4)];
    let segment = (near(), near(), flags, wnd, len, ts, any::<Option<u16>>(), sack).prop_map(
        |(seq, ack, flags, wnd, data, ts, mss, sack)| Step::Segment {
            seq,
            ack,
            flags,
            wnd,
            data,
            ts,
            mss,
            sack,
        },
    );
    prop_oneof![
        12 => segment,
        3 => (1usize..40_000).prop_map(Step::Send),
        2 => (1usize..20_000).prop_map(Step::Recv),
        1 => Just(Step::Shutdown),
        1 => Just(Step::Close),
        3 => (0u64..3_000).prop_map(Step::Wait),
        1 => any::<u32>().prop_map(Step::TooBig),
        1 => Just(Step::Unreachable),
    ]
}

/// Brings A's connection to one of its states; B is mute afterwards.
fn victim(which: u8) -> (Net, Side, ConnId) {
    let mut net = Net::new();
    if which == 0 {
        let id = net.connect();
        net.pump(Side::A);
        net.judge(|_, _| Fate::Drop);
        return (net, Side::A, id);
    }
    if which == 1 {
        let (a, _) = super::handshake::simultaneous(&mut net);
        net.run_for(ms(1));
        net.judge(|_, _| Fate::Drop);
        return (net, Side::A, a);
    }
    if which == 8 {
        let (net, id) = super::fast_open::half_open();
        return (net, Side::B, id);
    }
    let (a, b) = net.established();
    match which {
        2 => {}
        3 => {
            net.judge(|_, _| Fate::Drop);
            net.shutdown(Side::A, a);
        }
        4 => net.shutdown(Side::A, a),
        5 => net.shutdown(Side::B, b),
        6 => {
            net.shutdown(Side::A, a);
            net.shutdown(Side::B, b);
            let data_less_fins =
                |sent: &Sent, _| if sent.has(Flags::FIN) { Fate::Pass } else { Fate::Drop };
            net.judge(data_less_fins);
            net.run_for(ms(1));
        }
        _ => {
            net.shutdown(Side::B, b);
            net.run_for(ms(60));
            net.judge(|_, _| Fate::Drop);
            net.shutdown(Side::A, a);
        }
    }
    if net.state(Side::A, a) != State::Closing {
        net.run_for(ms(60));
    }
    net.judge(|_, _| Fate::Drop);
    (net, Side::A, a)
}

fn apply(net: &mut Net, side: Side, id: ConnId, step: Step) {
    let alive = net.node(side).table.get(id).is_some();
    match step {
        Step::Segment { seq, ack, flags, wnd, data, ts, mss, sack } if alive => {
            let una = net.node(side).table.get(id).expect("it lives").snd_una;
            net.forge(side.other(), id, |forged| {
                let h = &mut forged.header;
                h.seq = SeqNumber::new(h.seq.value().wrapping_add_signed(seq));
                h.ack = SeqNumber::new(h.ack.value().wrapping_add_signed(ack));
                h.flags = Flags::from_bits(flags);
                h.wnd = wnd;
                h.options.mss = mss.filter(|_| sack.is_empty());
                for (left, len) in sack {
                    let left = una.value().wrapping_add_signed(left);
                    let right = SeqNumber::new(left.wrapping_add_signed(len));
                    h.options.sack.push(SackBlock { left: SeqNumber::new(left), right });
                }
                h.options.timestamps = match (h.options.timestamps, ts) {
                    (Some(old), Some(delta)) => Some(Timestamps {
                        value: old.value.wrapping_add_signed(delta),
                        echo: old.echo,
                    }),
                    (None, Some(value)) => Some(Timestamps { value: value as u32, echo: 0 }),
                    (_, None) => None,
                };
                forged.data = vec![0x55; data];
            });
        }
        Step::Send(n) => drop(net.send(side, id, &vec![1; n])),
        Step::Recv(max_bytes) => {
            let (now, mut out) = (net.now, std::collections::VecDeque::new());
            let into = RecvInto::Take { max_bytes, out: &mut out };
            let _ = net.node(side).table.recv(now, id, into);
        }
        Step::Shutdown => {
            let now = net.now;
            let _ = net.node(side).table.shutdown_write(now, id);
        }
        Step::Close => net.close(side, id),
        Step::Wait(millis) => net.run_for(ms(millis)),
        Step::TooBig(mtu) if alive => quote(net, side, id, IcmpErrorKind::TooBig { mtu }),
        Step::Unreachable if alive => quote(net, side, id, IcmpErrorKind::HostUnreachable),
        _ => {}
    }
    let now = net.now;
    net.node(side).table.on_timer(now);
    net.pump(side);
    net.a.table.check_invariants();
    net.b.table.check_invariants();
}

fn quote(net: &mut Net, side: Side, id: ConnId, kind: IcmpErrorKind) {
    let now = net.now;
    let node = net.node(side);
    let Some(conn) = node.table.get(id) else { return };
    let error = IcmpError { kind, tuple: conn.tuple, seq: conn.snd_una, ip_bytes: 1500 };
    node.table.on_icmp(now, &error);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_arrives_or_is_asked_breaks_a_connection(
        which in 0u8..9, steps in prop::collection::vec(step(), 1..40),
    ) {
        let (mut net, side, id) = victim(which);
        for step in steps {
            apply(&mut net, side, id, step);
        }
        net.close(side, id);
        // Whatever happened, a closed connection with a mute peer is gone in the end.
        net.run_for(secs(4_000));
        prop_assert_eq!(net.node(side).table.len(), 0);
    }
}

#[derive(Clone, Debug)]
enum Answer {
    /// All before this share of what is under way, and blocks beyond, in segments.
    Ack(u8, Vec<(u8, u8)>),
    Send(usize),
    Wait(u64),
    Smaller(u32),
}

fn answer() -> impl Strategy<Value = Answer> {
    let blocks = prop::collection::vec((any::<u8>(), 1u8..30), 0..=3);
    prop_oneof![
        8 => (prop_oneof![4 => Just(0u8), 1 => any::<u8>()], blocks)
            .prop_map(|(share, blocks)| Answer::Ack(share, blocks)),
        4 => (1usize..60_000).prop_map(Answer::Send),
        4 => (0u64..400).prop_map(Answer::Wait),
        1 => (600u32..1_500).prop_map(Answer::Smaller),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_peer_tells_of_a_sender_sends_all_in_the_end(
        answers in prop::collection::vec(answer(), 1..60),
    ) {
        let (mut net, side, id) = victim(2);
        for answer in answers {
            match answer {
                Answer::Ack(share, blocks) => {
                    let conn = net.node(side).table.get(id).expect("nobody ends it");
                    let (una, max) = (conn.snd_una, conn.snd_max);
                    let ack = una + ((u64::from(max - una) * u64::from(share)) >> 8) as u32;
                    net.forge(side.other(), id, |forged| {
                        (forged.header.ack, forged.header.wnd) = (ack, u16::MAX);
                        for (at, len) in blocks {
                            let left = una + 1448 * u32::from(at);
                            let right = left + 1448 * u32::from(len);
                            forged.header.options.sack.push(SackBlock { left, right });
                        }
                    });
                }
                Answer::Send(n) => drop(net.send(side, id, &vec![1; n])),
                Answer::Wait(millis) => net.run_for(ms(millis)),
                Answer::Smaller(mtu) => quote(&mut net, side, id, IcmpErrorKind::TooBig { mtu }),
            }
            net.pump(side);
        }
        // From now on the peer takes what comes next, and says no more than that.
        for _ in 0..2_000 {
            let now = net.now;
            let conn = net.node(side).table.get(id).expect("nobody ends it");
            let (una, max, echo) = (conn.snd_una, conn.snd_max, conn.timestamp(now));
            if una == max && conn.buffered_to_send() == 0 {
                break;
            }
            let ends = |sent: &Sent| sent.seg.seq + sent.seg.data_len;
            let next = |sent: &&Sent| {
                sent.by == side && sent.seg.seq.le(una) && ends(sent).gt(una)
            };
            let reached = net.log.iter().rev().find(next).map(ends);
            net.forge(side.other(), id, |forged| {
                (forged.header.ack, forged.header.wnd) = (reached.unwrap_or(una).min(max), u16::MAX);
                let timestamps = forged.header.options.timestamps.as_mut();
                timestamps.expect("they were agreed on").echo = echo;
            });
            net.log.clear();
            net.pump(side);
            if reached.is_none() {
                net.run_for(secs(130));
            }
        }
        let info = net.info(side, id);
        prop_assert_eq!((info.in_flight_bytes, info.send_queue_bytes, info.send_records), (0, 0, 0));
        prop_assert_eq!((info.sacked_bytes, info.lost_bytes, info.resent_bytes), (0, 0, 0));
    }
}

#[test]
fn the_victims_are_in_the_states_that_they_stand_for() {
    let states: Vec<_> = (0..9)
        .map(|which| {
            let (net, side, id) = victim(which);
            net.state(side, id)
        })
        .collect();
    assert_eq!(
        states,
        [
            State::SynSent,
            State::SynReceived,
            State::Established,
            State::FinWait1,
            State::FinWait2,
            State::CloseWait,
            State::Closing,
            State::LastAck,
            State::SynReceived,
        ]
    );
}
