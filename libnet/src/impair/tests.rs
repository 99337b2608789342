//! Statistics within bounds, order, queues, and runs that are functions of their seed.

use bytes::Bytes;

use super::*;

mod queues;

use crate::ethernet::MacAddr;

const MS: Duration = Duration::from_millis(1);

fn wire(config: Impairments, seed: u8) -> Impair {
    let link = LinkInfo::ethernet("test", "", MacAddr::ZERO, 1_500);
    Impair::new(config, &link, [seed; 32])
}

/// A frame whose bytes hold its number.
fn frame(number: u32, bytes: usize) -> Packet {
    let mut all = vec![0; bytes];
    all[20..24].copy_from_slice(&number.to_be_bytes());
    Packet::from_payload(Bytes::from(all))
}

fn number(delivery: &Delivery) -> u32 {
    let bytes = delivery.packet.to_bytes();
    u32::from_be_bytes(bytes[20..24].try_into().unwrap())
}

/// Sends `count` frames, one each 10 µs, and gives what arrives in order of arrival.
fn run(impair: &mut Impair, count: u32, bytes: usize) -> Vec<Delivery> {
    let mut out = Vec::new();
    for i in 0..count {
        let now = Instant::from_nanos(u64::from(i) * 10_000);
        impair.offer(now, frame(i, bytes), &mut out);
    }
    drain(impair, &mut out);
    out.sort_by_key(|delivery| delivery.at);
    out
}

/// Lets time pass until nothing waits for the wire.
fn drain(impair: &mut Impair, out: &mut Vec<Delivery>) {
    while let Some(at) = impair.next_at() {
        impair.advance(at, out);
    }
}

fn assert_near(what: &str, got: u64, want: f64) {
    // Five standard deviations of a binomial: a seed that fails is a bug.
    let slack = 5.0 * want.sqrt() + 1.0;
    assert!((got as f64 - want).abs() <= slack, "{what}: {got}, expected about {want}");
}

#[test]
fn a_perfect_wire_passes_super_frames_whole_and_at_once() {
    let mut impair = wire(Impairments::none(), 1);
    let mut out = Vec::new();
    impair.offer(Instant::from_millis(7), frame(0, 60_000), &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].at, Instant::from_millis(7));
    assert!(impair.unfired().is_empty());
}

#[test]
fn faults_fire_as_often_as_they_were_asked_to() {
    let config = Impairments::none()
        .loss(0.05)
        .duplicate(0.01)
        .reorder(0.05)
        .corrupt(0.001)
        .jitter(MS)
        .delay(MS * 10);
    let n = 100_000;
    let mut impair = wire(config, 2);
    let arrived = run(&mut impair, n, 100);
    let stats = impair.stats();
    let kept = f64::from(n) * 0.95;
    assert_eq!(stats.offered, u64::from(n));
    assert_near("lost", stats.lost, f64::from(n) * 0.05);
    assert_near("duplicated", stats.duplicated, kept * 0.01);
    assert_near("reordered", stats.reordered, kept * 0.05);
    assert_near("corrupted", stats.corrupted, kept * 0.001);
    assert_eq!(stats.delivered, arrived.len() as u64);
    assert_eq!(stats.delivered, stats.offered - stats.lost + stats.duplicated);
    assert!(impair.unfired().is_empty(), "{:?}", impair.unfired());
}

#[test]
fn the_same_seed_does_the_same_and_another_seed_does_not() {
    let config = Impairments::none().loss(0.2).reorder(0.2).jitter(MS).corrupt(0.1);
    let trace = |seed| -> Vec<_> {
        let arrived = run(&mut wire(config.clone(), seed), 1_000, 64);
        arrived.iter().map(|d| (d.at, d.packet.to_bytes())).collect()
    };
    assert_eq!(trace(3), trace(3));
    assert_ne!(trace(3), trace(4));
}

#[test]
fn a_seed_given_again_loses_the_same_frames_again() {
    for config in [Impairments::none().loss(0.2), Impairments::none().burst_loss(0.05, 0.3)] {
        let mut impair = wire(config, 3);
        let mut lost = || -> Vec<_> { run(&mut impair, 500, 64).iter().map(number).collect() };
        let (first, second) = (lost(), lost());
        assert_ne!(first, second);
        impair.reseed([3; 32]);
        assert_eq!(run(&mut impair, 500, 64).iter().map(number).collect::<Vec<_>>(), first);
    }
}

#[test]
fn jitter_alone_keeps_order_and_reordering_breaks_it() {
    let overtakes = |config| {
        let arrived = run(&mut wire(config, 5), 1_000, 64);
        arrived.windows(2).filter(|pair| number(&pair[0]) > number(&pair[1])).count()
    };
    assert_eq!(overtakes(Impairments::none().jitter(MS)), 0);
    assert!(overtakes(Impairments::none().reorder(0.05)) > 20);
}

#[test]
fn burst_loss_comes_in_bursts_of_the_mean_length() {
    let mut impair = wire(Impairments::none().burst_loss(0.01, 0.25), 6);
    let arrived: Vec<u32> = run(&mut impair, 100_000, 64).iter().map(number).collect();
    let bursts = arrived.windows(2).filter(|pair| pair[1] - pair[0] > 1).count();
    let mean = impair.stats().lost as f64 / bursts as f64;
    assert!((3.5..4.5).contains(&mean), "mean burst of {mean} frames, expected 1 / 0.25");
    // The share of time in the bad state is enter / (enter + leave).
    let share = impair.stats().lost as f64 / 100_000.0;
    assert!((0.030..0.047).contains(&share), "lost {share}, expected 0.038");
}

#[test]
fn a_rate_spaces_frames_and_a_full_queue_makes_the_sender_wait() {
    let limit = QueueLimit { frames: 4, ..QueueLimit::default() };
    let mut impair = wire(Impairments::none().rate(8_000_000).queue(limit), 7);
    let mut out = Vec::new();
    let now = Instant::from_millis(1);
    for i in 0..4 {
        assert_eq!(impair.room_at(now), now, "room for frame {i}");
        impair.offer(now, frame(i, 1_000), &mut out);
    }
    assert_eq!(impair.room_at(now), Instant::from_millis(2));
    drain(&mut impair, &mut out);
    // 1,000 bytes at 8 Mbit/s take 1 ms.
    let times: Vec<_> = out.iter().map(|d| d.at.as_millis()).collect();
    assert_eq!(times, [2, 3, 4, 5]);
    assert_eq!(impair.room_at(Instant::from_millis(2)), Instant::from_millis(2));
}

#[test]
fn what_waits_for_the_wire_goes_by_a_new_rate() {
    let mut impair = wire(Impairments::none().rate(8_000), 7);
    let mut out = Vec::new();
    for i in 0..3 {
        impair.offer(Instant::ZERO, frame(i, 1_000), &mut out);
    }
    // Half of the first frame has left at 1 kB/s; the rest goes at 1 MB/s.
    let half = Instant::from_millis(500);
    impair.configure(Impairments::none().rate(8_000_000));
    impair.advance(half, &mut out);
    drain(&mut impair, &mut out);
    let times: Vec<_> = out.iter().map(|d| d.at.since(half).as_micros()).collect();
    assert_eq!(times, [500, 1_500, 2_500]);
    impair.configure(Impairments::none());
    impair.offer(half, frame(3, 1_000), &mut out);
    assert_eq!(out.len(), 4, "without a rate nothing waits");
}

#[test]
fn a_queue_limited_in_time_drops_what_would_wait_longer() {
    let limit = QueueLimit::drop_past_time(MS * 3);
    let mut impair = wire(Impairments::none().rate(8_000_000).queue(limit), 8);
    let mut out = Vec::new();
    for i in 0..10 {
        impair.offer(Instant::ZERO, frame(i, 1_000), &mut out);
    }
    drain(&mut impair, &mut out);
    let last = out.last().expect("some arrive").at.as_millis();
    assert_eq!((out.len(), last), (4, 4), "one on the wire, and what waits 3 ms at most");
    assert_eq!(impair.stats().queue_dropped, 6);
}

#[test]
fn a_router_queue_drops_past_its_bytes_and_counts() {
    let limit = QueueLimit::drop_past_bytes(2_500);
    let mut impair = wire(Impairments::none().rate(8_000_000).queue(limit), 8);
    let mut out = Vec::new();
    for i in 0..5 {
        assert_eq!(impair.room_at(Instant::ZERO), Instant::ZERO, "a router never says wait");
        impair.offer(Instant::ZERO, frame(i, 1_000), &mut out);
    }
    drain(&mut impair, &mut out);
    assert_eq!(out.len(), 2);
    assert_eq!(impair.stats().queue_dropped, 3);
}

#[test]
fn a_flipped_bit_arrives_unverified_or_is_caught_by_the_check_sequence() {
    let mut impair = wire(Impairments::none().corrupt(1.0), 9);
    let mut out = Vec::new();
    let mut whole = frame(1, 64);
    whole.checksum = Checksum::Trusted;
    impair.offer(Instant::ZERO, whole.clone(), &mut out);
    assert_eq!(out[0].packet.checksum, Checksum::Unverified);
    let bits: u32 = out[0]
        .packet
        .to_bytes()
        .iter()
        .zip(whole.to_bytes().iter())
        .map(|(a, b)| (a ^ b).count_ones())
        .sum();
    assert_eq!(bits, 1);
    impair.configure(Impairments::none().corrupt(1.0).fcs(Fcs::Catches));
    impair.offer(Instant::ZERO, whole, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(impair.stats().fcs_dropped, 1);
}

#[test]
fn a_fault_with_no_chance_is_none_that_was_asked_for() {
    let config = Impairments::none().loss(0.0).duplicate(0.0).corrupt(0.0);
    assert!(wire(config, 0).unfired().is_empty());
}

#[test]
fn the_third_of_the_frames_asked_for_is_dropped() {
    let mut impair = wire(Impairments::none(), 10);
    let odd = |bytes: &[u8]| bytes[23] % 2 == 1;
    let count = impair.inject("odd frames", Which::Nth(3), Fault::Drop, odd);
    let never = impair.inject("none", Which::Every, Fault::Duplicate, |_| false);
    let arrived: Vec<u32> = run(&mut impair, 10, 64).iter().map(number).collect();
    assert_eq!(arrived, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!((count.get(), never.get()), (1, 0));
    let unfired = impair.unfired();
    assert_eq!(unfired.len(), 1);
    assert!(unfired[0].starts_with("none"), "{unfired:?}");
}

#[test]
fn injected_faults_duplicate_delay_and_flip() {
    let mut impair = wire(Impairments::none(), 11);
    impair.inject("twice", Which::Nth(1), Fault::Duplicate, |_| true);
    impair.inject("late", Which::Nth(2), Fault::Delay(MS), |_| true);
    impair.inject("flipped", Which::From(4), Fault::FlipBit(23 * 8 + 7), |_| true);
    let arrived: Vec<u32> = run(&mut impair, 4, 64).iter().map(number).collect();
    assert_eq!(arrived, [0, 0, 2, 2, 1], "frame 1 late, frame 3 turned into 2");
}

#[test]
fn a_fault_that_never_fires_is_reported() {
    let mut impair = wire(Impairments::none().loss(0.000_001), 12);
    run(&mut impair, 10, 64);
    assert_eq!(impair.unfired(), ["loss"]);
}

#[test]
fn a_super_frame_is_lost_in_pieces() {
    let super_frame = crate::gso::tests::super_segment(60_000, 1_400);
    let mut impair = wire(Impairments::none().loss(0.5), 13);
    let mut out = Vec::new();
    impair.offer(Instant::ZERO, super_frame, &mut out);
    assert_eq!(impair.stats().offered, 43);
    assert!((5..38).contains(&out.len()), "{} of 43 arrived", out.len());
    assert!(out.iter().all(|d| d.packet.len() <= 1_514 && d.packet.gso.is_none()));
}

/// An IPv4 packet in a frame, from a sender that understands ECN or not.
fn ip_frame(number: u32, is_ect: bool) -> Packet {
    let mut all = vec![0; 1_000];
    all[12..14].copy_from_slice(&[0x08, 0x00]);
    all[14..34].copy_from_slice(&[
        0x45, 0, 0x03, 0xda, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    all[15] = 0xb8 | u8::from(is_ect) << 1;
    let sum = crate::checksum::checksum(&all[14..34]);
    all[24..26].copy_from_slice(&sum.to_be_bytes());
    all[40..44].copy_from_slice(&number.to_be_bytes());
    Packet::from_payload(Bytes::from(all))
}

/// Offers a tenth more than the wire carries, for ten seconds; the longest wait in the last of them.
fn overload(impair: &mut Impair, is_ect: bool) -> (Vec<Delivery>, Duration) {
    let mut out = Vec::new();
    let sent_at = |i: u32| Instant::from_nanos(u64::from(i) * 909_091);
    for i in 0..11_000 {
        impair.offer(sent_at(i), ip_frame(i, is_ect), &mut out);
    }
    drain(impair, &mut out);
    let late = out.iter().filter(|d| (9_000..10_000).contains(&d.at.as_millis()));
    let wait = |d: &Delivery| {
        let bytes = d.packet.to_bytes();
        let number = u32::from_be_bytes(bytes[40..44].try_into().unwrap());
        d.at.since(sent_at(number))
    };
    let longest = late.map(wait).max().expect("the wire is busy");
    (out, longest)
}

#[test]
fn codel_keeps_a_queue_short_that_fifo_lets_fill_up() {
    let with = |queue| Impairments::none().rate(8_000_000).queue(queue);
    let limit = QueueLimit::drop_past_frames(500);
    let mut fifo = wire(with(limit), 14);
    let (_, longest) = overload(&mut fifo, false);
    assert!(longest >= MS * 499, "a full queue of 500 frames, 1 ms each: {longest:?}");
    let mut codel = wire(with(limit.discipline(Discipline::CoDel)), 14);
    let (out, longest) = overload(&mut codel, false);
    let stats = codel.stats();
    assert!(longest < MS * 100, "drops come faster until it is short: {longest:?}");
    assert!(stats.codel_dropped > 500, "{stats:?}");
    assert_eq!(out.len() as u64, stats.offered - stats.codel_dropped - stats.queue_dropped);
}

#[test]
fn codel_leaves_a_queue_alone_that_empties_within_its_target() {
    let limit = QueueLimit::drop_past_frames(1_000).discipline(Discipline::CoDel);
    let mut impair = wire(Impairments::none().rate(8_000_000).queue(limit), 15);
    let mut out = Vec::new();
    for burst in 0..1_000 {
        for i in 0..4 {
            impair.offer(Instant::from_millis(burst * 4), ip_frame(i, false), &mut out);
        }
    }
    drain(&mut impair, &mut out);
    assert_eq!((impair.stats().codel_dropped, out.len()), (0, 4_000));
    assert_eq!(impair.unfired(), ["queue"]);
}

#[test]
fn ecn_marks_who_understands_and_drops_the_others() {
    let limit = QueueLimit::drop_past_frames(1_000).discipline(Discipline::Ecn);
    let config = Impairments::none().rate(8_000_000).queue(limit);
    let mut impair = wire(config.clone(), 16);
    let (out, _) = overload(&mut impair, true);
    let stats = impair.stats();
    assert!(stats.ecn_marked > 20 && stats.codel_dropped == 0, "{stats:?}");
    let is_marked = |d: &&Delivery| d.packet.to_bytes()[15] & 3 == 3;
    assert_eq!(out.iter().filter(is_marked).count() as u64, stats.ecn_marked);
    for delivery in &out {
        let bytes = delivery.packet.to_bytes();
        assert_eq!(crate::checksum::checksum(&bytes[14..34]), 0, "the header's sum is right");
        assert_eq!(bytes[15] & 0xfc, 0xb8, "the other bits stay");
    }
    let mut impair = wire(config, 16);
    overload(&mut impair, false);
    assert!(impair.stats().ecn_marked == 0 && impair.stats().codel_dropped > 20);
}

#[test]
fn ecn_marks_ipv6_too() {
    let mut all = vec![0; 60];
    all[12..14].copy_from_slice(&[0x86, 0xdd]);
    all[14..18].copy_from_slice(&[0x60, 0x2a, 0xbc, 0xde]);
    let mut frame = Packet::from_payload(Bytes::from(all.clone()));
    assert!(codel::mark_congestion(&mut frame, crate::link::Medium::Ethernet));
    assert_eq!(frame.to_bytes()[14..18], [0x60, 0x3a, 0xbc, 0xde]);
    all[15] = 0x0a;
    let mut frame = Packet::from_payload(Bytes::from(all).slice(14..));
    assert!(!codel::mark_congestion(&mut frame, crate::link::Medium::Ip), "not understood");
}
