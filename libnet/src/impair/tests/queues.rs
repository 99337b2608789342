//! RED, and a queue for each flow.

use super::*;

/// A datagram of a flow, as long as asked for.
fn of_flow(port: u8, number: u32, bytes: usize) -> Packet {
    let mut all = ip_frame(number, false).to_bytes()[..44].to_vec();
    all[35] = port;
    all.resize(bytes, 0);
    Packet::from_payload(Bytes::from(all))
}

fn flow_and_number(packet: &Packet) -> (u8, u32) {
    let bytes = packet.to_bytes();
    (bytes[35], u32::from_be_bytes(bytes[40..44].try_into().unwrap()))
}

/// 1,000 bytes a millisecond, and so many of them in the queue.
fn queued(frames: usize, discipline: Discipline) -> Impair {
    let limit = QueueLimit::drop_past_frames(frames).discipline(discipline);
    wire(Impairments::none().rate(8_000_000).queue(limit), 17)
}

#[test]
fn red_keeps_the_queue_well_below_its_limit_under_a_tenth_too_much() {
    let mut impair = queued(400, Discipline::Red);
    let (out, longest) = overload(&mut impair, false);
    let stats = impair.stats();
    // Even gaps of up to 1 / p lose about 2 p: a tenth where the average is 67 frames.
    assert!((MS * 50..MS * 160).contains(&longest), "{longest:?}");
    assert!(stats.red_dropped > 500, "{stats:?}");
    assert_eq!((stats.queue_dropped, stats.codel_dropped, stats.ecn_marked), (0, 0, 0));
    assert_eq!(out.len() as u64, stats.offered - stats.red_dropped);
    assert_eq!(impair.unfired(), ["limit"], "it never came to that");
}

#[test]
fn red_drops_the_more_the_longer_the_queue_is_on_the_average() {
    // A sender that keeps the queue at so many frames: one leaves, and one comes, and again if it
    // was dropped.
    let share = |waiting: usize| {
        let mut impair = queued(400, Discipline::Red);
        let mut out = Vec::new();
        let mut number = 0;
        for ms in 0..20_000 {
            let now = Instant::from_millis(ms);
            impair.advance(now, &mut out);
            while impair.waiting() < waiting {
                impair.offer(now, ip_frame(number, false), &mut out);
                number += 1;
            }
        }
        let stats = impair.stats();
        stats.red_dropped as f64 / stats.offered as f64
    };
    // Thresholds of 33, 100 and 200: p is 0.025, 0.085 and 0.55, and gaps are even up to 1 / p.
    assert_eq!(share(30), 0.0);
    let (low, high, gentle) = (share(50), share(90), share(150));
    assert!((0.03..0.07).contains(&low), "{low}: 0.05 expected");
    assert!((0.12..0.20).contains(&high), "{high}: 0.16 expected");
    assert!((0.60..0.80).contains(&gentle), "{gentle}: 0.69 expected");
}

#[test]
fn red_marks_those_that_understand_until_the_queue_is_half_full() {
    let mut impair = queued(2_000, Discipline::RedEcn);
    let (out, _) = overload(&mut impair, true);
    let stats = impair.stats();
    assert!(stats.ecn_marked > 100 && stats.red_dropped == 0, "{stats:?}");
    let is_marked = |d: &&Delivery| d.packet.to_bytes()[15] & 3 == 3;
    assert_eq!(out.iter().filter(is_marked).count() as u64, stats.ecn_marked);
    let mut impair = queued(200, Discipline::RedEcn);
    overload(&mut impair, true);
    assert!(impair.stats().red_dropped > 100, "marks alone do not keep it short");
    let mut impair = queued(400, Discipline::RedEcn);
    overload(&mut impair, false);
    let stats = impair.stats();
    assert!(stats.ecn_marked == 0 && stats.red_dropped > 500, "{stats:?}");
}

/// For ten seconds twice what the wire carries of one flow, and of another 100 bytes each 20 ms: how
/// long the longest of the latter's were under way, and how many came.
fn sparse_beside_bulk(discipline: Discipline) -> (Duration, usize) {
    let mut impair = queued(1_000, discipline);
    let mut out = Vec::new();
    for half_ms in 0..20_000_u32 {
        let now = Instant::from_nanos(u64::from(half_ms) * 500_000);
        impair.offer(now, of_flow(1, half_ms, 1_000), &mut out);
        if half_ms % 40 == 7 {
            impair.offer(now, of_flow(2, half_ms, 100), &mut out);
        }
    }
    drain(&mut impair, &mut out);
    let wait = |delivery: &Delivery| match flow_and_number(&delivery.packet) {
        (2, number) => Some(delivery.at.since(Instant::from_nanos(u64::from(number) * 500_000))),
        _ => None,
    };
    let waits: Vec<Duration> = out.iter().filter_map(wait).collect();
    (waits.iter().copied().max().unwrap_or_default(), waits.len())
}

#[test]
fn a_sparse_flow_beside_a_greedy_one_waits_for_one_frame_at_most() {
    let (longest, arrived) = sparse_beside_bulk(Discipline::FqCoDel);
    // What is on the wire, and its own 0.1 ms.
    assert!(longest <= MS + MS / 10, "{longest:?}");
    assert_eq!(arrived, 500, "none is lost");
    let (longest, arrived) = sparse_beside_bulk(Discipline::Fifo);
    assert!(longest > MS * 900 && arrived < 400, "{longest:?}, {arrived}");
}

#[test]
fn greedy_flows_share_the_wire_whatever_each_sends() {
    let mut impair = queued(1_000, Discipline::FqCoDel);
    let mut out = Vec::new();
    for ms in 0..10_000_u32 {
        let now = Instant::from_millis(u64::from(ms));
        impair.offer(now, of_flow(1, ms, 1_000), &mut out);
        (0..3).for_each(|_| impair.offer(now, of_flow(2, ms, 500), &mut out));
        (0..5).for_each(|_| impair.offer(now, of_flow(3, ms, 1_000), &mut out));
    }
    let mut bytes = [0; 4];
    for Delivery { packet, .. } in &out {
        bytes[usize::from(flow_and_number(packet).0)] += packet.len();
    }
    let [_, a, b, c] = bytes;
    assert!([a, b, c].iter().all(|own| own.abs_diff(3_333_000) < 40_000), "{bytes:?}");
    let stats = impair.stats();
    let gone = stats.codel_dropped + stats.queue_dropped + stats.delivered;
    assert_eq!(gone + impair.waiting() as u64, stats.offered, "{stats:?}");
    assert!(stats.codel_dropped > 100, "{stats:?}");
}

#[test]
fn past_the_limit_the_fattest_flow_loses_and_not_who_comes() {
    let mut impair = queued(100, Discipline::FqCoDel);
    let mut out = Vec::new();
    for number in 0..1_000 {
        impair.offer(Instant::ZERO, of_flow(1, number, 1_000), &mut out);
        assert!(impair.waiting() <= 100);
    }
    impair.offer(Instant::ZERO, of_flow(2, 0, 1_000), &mut out);
    drain(&mut impair, &mut out);
    assert!(out.iter().any(|d| flow_and_number(&d.packet) == (2, 0)));
    assert_eq!(impair.stats().queue_dropped + impair.stats().delivered, 1_001);
    let last = out.iter().map(|d| flow_and_number(&d.packet).1).max();
    assert_eq!(last, Some(999), "the oldest of it are lost");
}

#[test]
fn what_waits_stays_when_the_discipline_changes() {
    let mut impair = queued(1_000, Discipline::Fifo);
    let mut out = Vec::new();
    for number in 0..30 {
        impair.offer(Instant::ZERO, of_flow((number % 3) as u8, number, 1_000), &mut out);
    }
    for discipline in [Discipline::FqCoDel, Discipline::Red, Discipline::FqCoDel] {
        let limit = QueueLimit::ROUTER.discipline(discipline);
        impair.configure(Impairments::none().rate(8_000_000).queue(limit));
        assert_eq!(impair.waiting(), 30);
    }
    drain(&mut impair, &mut out);
    for flow in 0..3 {
        let of = out.iter().map(|d| flow_and_number(&d.packet)).filter(|(own, _)| *own == flow);
        let numbers: Vec<u32> = of.map(|(_, number)| number).collect();
        assert!(numbers.len() == 10 && numbers.is_sorted(), "{flow}: {numbers:?}");
    }
}

#[test]
fn red_begins_anew_when_its_limit_is_told_in_something_else() {
    let slow = Impairments::none().rate(8_000_000);
    let bytes = QueueLimit::drop_past_bytes(400_000).discipline(Discipline::Red);
    let mut impair = wire(slow.clone().queue(bytes), 17);
    let mut out = Vec::new();
    let mut number = 0..;
    for ms in 0..5_000 {
        let now = Instant::from_millis(ms);
        impair.advance(now, &mut out);
        while impair.waiting() < 20 {
            impair.offer(now, ip_frame(number.next().unwrap(), false), &mut out);
        }
    }
    let frames = QueueLimit::drop_past_frames(400).discipline(Discipline::Red);
    impair.configure(slow.queue(frames));
    for ms in 5_000..5_100 {
        impair.offer(Instant::from_millis(ms), ip_frame(number.next().unwrap(), false), &mut out);
    }
    assert_eq!(impair.stats().red_dropped, 0, "20 frames are far below a twelfth of 400");
}

#[test]
fn a_seed_given_again_gives_flows_the_same_queues_again() {
    let of = |seed: u8| {
        let mut impair = queued(30, Discipline::FqCoDel);
        impair.reseed([seed; 32]);
        let mut out = Vec::new();
        for n in 0..400 {
            let now = Instant::from_millis(u64::from(n / 4));
            impair.offer(now, of_flow((n % 200) as u8, n, 1_000), &mut out);
        }
        drain(&mut impair, &mut out);
        out.iter().map(|d| flow_and_number(&d.packet)).collect::<Vec<_>>()
    };
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

#[test]
fn flows_that_only_shared_the_wire_have_met_with_their_queues() {
    let unfired = |flows: u32| {
        let mut impair = queued(30, Discipline::FqCoDel);
        let mut out = Vec::new();
        for n in 0..4 {
            impair.offer(Instant::ZERO, of_flow((n % flows) as u8, n, 1_000), &mut out);
        }
        drain(&mut impair, &mut out);
        assert_eq!((impair.stats().queue_dropped, impair.stats().ecn_marked), (0, 0));
        impair.unfired()
    };
    assert_eq!(
        (unfired(1), unfired(2)),
        (vec!["limit".into(), "queue".into()], vec!["limit".into()])
    );
}
