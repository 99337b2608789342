//! What congestion control makes of a path, in virtual time: goodput, queues, shares.

use std::time::Duration;

use rumpnet::InetConfig;
use rumpnet::libnetinet::tcp::CongestionAlgorithm;
use rumpnet_tests::flows::{Flows, Line, with_buffers};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Goodput of one flow, thousandths of what the path allows, and the flow.
fn share(line: &Line, algorithm: CongestionAlgorithm, warm_up: Duration, time: Duration) -> u64 {
    let mut flows = Flows::new(line, InetConfig::default(), 3);
    flows.start(algorithm);
    flows.pair.world.run_for(warm_up);
    let bits = flows.measure(time)[0];
    let info = flows.info(0);
    println!("{algorithm} {line:?}: {bits} bit/s of {}, {info:?}", line.most());
    bits * 1_000 / line.most()
}

#[test]
fn cubic_fills_a_gigabit_at_1_ms_and_20_ms() {
    for (rtt, warm_up) in [(1, SECOND), (20, SECOND)] {
        let share = share(&Line::new(1_000, rtt), CongestionAlgorithm::Cubic, warm_up, SECOND);
        assert!(share >= 900, "{share} thousandths at {rtt} ms");
    }
}

#[test]
fn cubic_fills_a_gigabit_at_100_ms() {
    let line = Line::new(1_000, 100);
    let share = share(&line, CongestionAlgorithm::Cubic, 3 * SECOND, 3 * SECOND);
    assert!(share >= 900, "{share} thousandths");
}

#[test]
fn cubic_fills_a_gigabit_at_200_ms() {
    let line = Line::new(1_000, 200);
    let share = share(&line, CongestionAlgorithm::Cubic, 5 * SECOND, 3 * SECOND);
    assert!(share >= 900, "{share} thousandths");
}

/// The first loss after a queue is full tells only a round trip later: all that while the sender goes
/// on, and what it may hold has room for that. Where it had none, it stopped, and what it sent
/// at once when the hole was filled did not fit the queue: 77 of 100.
#[test]
fn a_shallow_queue_costs_cubic_a_tenth() {
    let line = Line { queue: 0.1, ..Line::new(100, 50) };
    let share = share(&line, CongestionAlgorithm::Cubic, 15 * SECOND, 15 * SECOND);
    assert!(share >= 900, "{share} thousandths");
}

#[test]
fn a_shallow_queue_on_a_path_that_reorders_costs_cubic_a_fifth() {
    let line = Line { queue: 0.1, reorder: 0.01, ..Line::new(100, 50) };
    let share = median(|seed| {
        let mut flows = Flows::new(&line, InetConfig::default(), seed);
        flows.start(CongestionAlgorithm::Cubic);
        flows.pair.world.run_for(15 * SECOND);
        flows.measure(15 * SECOND)[0] * 1_000 / line.most()
    });
    assert!(share >= 800, "{share} thousandths");
}

/// The less of two flows' shares, thousandths of their sum, and the sum in those of the line: the
/// second begins a second later; measured for 40 s after 20 s.
fn lesser_share(line: &Line, algorithms: [CongestionAlgorithm; 2], seed: u64) -> (u64, u64) {
    let mut flows = Flows::new(line, InetConfig::default(), seed);
    flows.start(algorithms[0]);
    flows.pair.world.run_for(SECOND);
    flows.start(algorithms[1]);
    flows.pair.world.run_for(20 * SECOND);
    let bits = flows.measure(40 * SECOND);
    println!("{algorithms:?}, seed {seed}: {bits:?}");
    let sum = bits[0] + bits[1];
    (bits[0].min(bits[1]) * 1_000 / sum, sum * 1_000 / line.most())
}

/// The median over three seeds.
fn median(mut of: impl FnMut(u64) -> u64) -> u64 {
    let mut all = [of(1), of(2), of(3)];
    all.sort_unstable();
    all[1]
}

#[test]
fn two_cubic_flows_share_within_a_tenth() {
    let line = Line::new(40, 20);
    let less = median(|seed| {
        let (less, sum) = lesser_share(&line, [CongestionAlgorithm::Cubic; 2], seed);
        assert!(sum >= 900, "{sum} thousandths of the line");
        less
    });
    assert!(less >= 450, "{less} thousandths");
}

#[test]
fn bbr_holds_nine_tenths_at_one_loss_in_a_hundred_and_100_ms() {
    let line = Line { loss: 0.01, ..Line::new(100, 100) };
    let share = share(&line, CongestionAlgorithm::Bbr, 5 * SECOND, 20 * SECOND);
    assert!(share >= 900, "{share} thousandths");
}

#[test]
fn bbr_fills_clean_paths_and_leaves_their_queues_short() {
    for (megabits, rtt) in [(100, 20), (1_000, 20), (50, 100)] {
        let line = Line::new(megabits, rtt);
        let mut flows = Flows::new(&line, InetConfig::default(), 7);
        flows.start(CongestionAlgorithm::Bbr);
        flows.pair.world.run_for(3 * SECOND);
        // The queue is what the round trip has beyond the path's.
        let (mut bits, mut queued) = (0, Duration::ZERO);
        for _ in 0..20 {
            bits += flows.measure(100 * MS)[0] / 20;
            queued += flows.info(0).srtt.expect("it was measured").saturating_sub(line.rtt) / 20;
        }
        println!("{line:?}: {bits} bit/s, {queued:?} queued: {:?}", flows.info(0));
        assert!(bits * 10 >= line.most() * 9, "{bits} of {} bit/s", line.most());
        assert!(queued * 3 <= line.rtt.max(6 * MS), "{queued:?} queued on {line:?}");
    }
}

/// The window doubles in each round until the path is full, and what does not fit the queue then is repaired
/// without a second loss of the same: that held up all data for another round, and the peer's window with them.
#[test]
fn the_start_costs_bbr_no_more_than_the_rounds_that_it_takes() {
    for (rtt, most) in [(50, 270), (150, 1_060)] {
        for seed in [1, 2, 3] {
            let line = Line::new(100, rtt);
            let mut flows = Flows::new(&line, InetConfig::default(), seed);
            flows.start(CongestionAlgorithm::Bbr);
            let time = 40 * rtt;
            let bits = flows.measure(Duration::from_millis(time))[0];
            // What the path would have taken this long less.
            let lost = time - time * bits / line.most();
            assert!(lost <= most, "{lost} ms of {time} at {rtt} ms, seed {seed}");
        }
    }
}

#[test]
fn two_bbr_flows_share_the_path() {
    let (less, sum) = lesser_share(&Line::new(40, 20), [CongestionAlgorithm::Bbr; 2], 11);
    assert!(sum >= 900 && less >= 333, "{less} thousandths of {sum}");
}

#[test]
fn a_bbr_flow_and_a_cubic_one_both_get_on() {
    let both = [CongestionAlgorithm::Cubic, CongestionAlgorithm::Bbr];
    let (less, sum) = lesser_share(&Line::new(40, 20), both, 13);
    assert!(sum >= 900 && less >= 200, "{less} thousandths of {sum}");
}

#[test]
fn larger_buffers_do_not_make_it_slower() {
    // From one bandwidth-delay product, as Linux counts it (twice what is asked for), to 16 MiB.
    let line = Line::new(100, 20);
    let bdp = line.bdp_bytes();
    let mut all = Vec::new();
    for buffer in [2 * bdp, 4 * bdp, 1 << 22, 1 << 24] {
        let mut bits = Vec::new();
        for seed in 0..3 {
            let mut flows = Flows::new(&line, with_buffers(buffer), seed);
            flows.start(CongestionAlgorithm::Cubic);
            flows.pair.world.run_for(3 * SECOND);
            bits.push(flows.measure(10 * SECOND)[0]);
        }
        bits.sort_unstable();
        all.push((buffer, bits[1]));
    }
    println!("{all:?}");
    let best = all.iter().map(|(_, bits)| *bits).max().expect("four");
    for (buffer, bits) in &all {
        assert!(bits * 20 >= best * 19, "{bits} bit/s with {buffer} bytes, {best} is the best");
    }
}
