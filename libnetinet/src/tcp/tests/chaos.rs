//! Long transfers over a wire that loses, repeats and reorders, by a seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::net::*;
use crate::tcp::*;

/// 5 % lost, 1 % twice, 5 % late.
fn rough(seed: u64) -> impl FnMut(&Sent, u64) -> Fate {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move |_, _| match rng.next_u32() % 100 {
        0..5 => Fate::Drop,
        5 => Fate::Twice,
        6..11 => Fate::Late(ms(u64::from(rng.next_u32() % 5))),
        _ => Fate::Pass,
    }
}

fn data(bytes: u32, salt: u32) -> Vec<u8> {
    (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 13) as u8).collect()
}

/// Both directions at once over a rough wire; the log's digest.
fn run(seed: u64, bytes: u32) -> u64 {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.judge(rough(seed));
    let there = data(bytes, 1);
    let back = data(bytes / 4, 2);
    net.transfer(Side::A, a, b, &there, secs(3_000));
    net.transfer(Side::B, b, a, &back, secs(3_000));
    net.close(Side::A, a);
    net.run_for(secs(30));
    assert_eq!(net.recv(Side::B, b), Ok(Vec::new()), "the end comes through");
    net.close(Side::B, b);
    net.run_for(secs(200));
    assert!(net.a.table.is_empty() && net.b.table.is_empty());
    net.log.iter().fold(seed, |digest, sent| {
        let seg = &sent.seg;
        let word = u64::from(seg.seq.value()) << 32 | u64::from(seg.ack.value());
        (digest ^ word ^ sent.at.as_nanos()).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
    })
}

#[test]
fn sixteen_megabytes_cross_a_rough_wire_unharmed() {
    run(1, 16 << 20);
}

#[test]
fn many_seeds_cross_a_rough_wire_unharmed() {
    for seed in 2..30 {
        run(seed, 400_000);
    }
}

#[test]
fn the_same_seed_gives_the_same_segments() {
    assert_eq!(run(77, 500_000), run(77, 500_000));
    assert_ne!(run(77, 500_000), run(78, 500_000));
}

#[test]
fn super_segments_lost_whole_are_made_up_for() {
    for seed in 100..110 {
        let mut net = Net::new();
        net.cut = false;
        let (a, b) = net.established();
        net.judge(rough(seed));
        net.transfer(Side::A, a, b, &data(2 << 20, 3), secs(600));
    }
}

#[test]
fn transfers_without_timestamps_cross_a_rough_wire_too() {
    let config = TcpConfig { timestamps: false, ..TcpConfig::default() };
    for seed in 200..206 {
        let mut net = Net::with(config.clone(), TcpConfig::default());
        let (a, b) = net.established();
        assert!(!net.info(Side::B, b).timestamps);
        net.judge(rough(seed));
        net.transfer(Side::A, a, b, &data(400_000, 3), secs(2_000));
    }
}

#[test]
fn numbers_that_wrap_in_the_middle_are_no_matter() {
    // The initial number follows the clock: 2^32 ticks of 4 µs pass in 4.8 hours.
    let mut wrapped = 0;
    for start in 0..40u64 {
        let mut net = Net::new();
        net.now += secs(start * 430);
        let (a, b) = net.established();
        let first = net.log[0].seg.seq;
        net.judge(rough(start));
        net.transfer(Side::A, a, b, &data(300_000, 3), secs(2_000));
        wrapped += u32::from(first.value().checked_add(1 << 28).is_none());
    }
    assert!(wrapped > 0, "no run came near the wrap");
}

#[test]
fn a_tiny_receive_buffer_is_slow_and_not_wrong() {
    let mut options = ConnOptions::new();
    options.receive_buffer_bytes = 3_000;
    let mut net = Net::new();
    let (a, b) = net.established_with(ConnOptions::new(), options);
    net.judge(rough(5));
    net.transfer(Side::A, a, b, &data(100_000, 3), secs(6_000));
}

#[test]
fn many_connections_share_a_wire_and_each_gets_its_turn() {
    let mut net = Net::new();
    let listener = net.listen(64);
    let clients: Vec<_> = (0..40).map(|_| net.connect()).collect();
    net.run_for(ms(20));
    let mut servers: Vec<_> = std::iter::from_fn(|| listener.accept()).collect();
    servers.sort_by_key(|accepted| accepted.remote.port());
    let mut ports: Vec<_> =
        clients.iter().map(|&id| (net.info(Side::A, id).tuple.local_port, id)).collect();
    ports.sort_by_key(|entry| entry.0);
    assert_eq!(servers.len(), 40);
    let payload = data(50_000, 9);
    for (_, id) in &ports {
        assert_eq!(net.send(Side::A, *id, &payload), Ok(payload.len()));
    }
    net.run_for(ms(100));
    for accepted in servers {
        assert_eq!(net.recv(Side::B, accepted.id).map(|got| got == payload), Ok(true));
    }
    // Nobody's first data segment waited for another's last.
    let first_round: std::collections::BTreeSet<_> = net
        .log
        .iter()
        .filter(|sent| sent.by == Side::A && sent.seg.data_len > 0)
        .take(40 * 11)
        .map(|sent| sent.seg.tuple.remote_port)
        .collect();
    assert_eq!(first_round.len(), 40);
}
