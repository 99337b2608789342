//! What losses and reordering cost a transfer, in virtual time.

use std::io::Write;
use std::time::Duration;

use libnet::impair::{Impairments, Overflow};
use rumpnet::libnetinet::tcp::TcpCounters;
use rumpnet_tests::goodput::Goodput;
use rumpnet_tests::lab::{Pair, PairConfig};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What one transfer from a to b has moved, and what a counted.
struct Outcome {
    /// Bits per second, headers not counted.
    bits_per_second: u64,
    counters: TcpCounters,
}

/// A transfer over `link`, both ways alike, measured for 20 s after 10 s to find its rate.
fn transfer(link: &Impairments, seed: u64) -> Outcome {
    let pair = Pair::new(&PairConfig::new(seed)).expect("the stacks start");
    let to = (pair.addrs[1], 9);
    let listener = pair.b.tcp_listen(to).expect("a free port");
    // The neighbours know each other before anything is lost.
    drop(pair.a.tcp_connect((pair.addrs[1], 1)));
    pair.impair(link);
    let (goodput, _reader) = Goodput::read_from(&pair.world, listener);
    let mut stream = pair.a.tcp_connect(to).expect("it connects");
    let _writer =
        pair.world.spawn("writer", move || while stream.write_all(&[7; 1 << 16]).is_ok() {});
    pair.world.run_for(10 * SECOND);
    let before = goodput.bytes();
    pair.world.run_for(20 * SECOND);
    let counters = pair.a.inet().expect("an IP stack").tcp_counters();
    let bits_per_second = (goodput.bytes() - before) * 8 / 20;
    Outcome { bits_per_second, counters: counters[0].clone() }
}

/// 100 Mbit/s, `delay` each way, and a queue that holds what is under way on it.
fn path(delay: Duration) -> Impairments {
    let mut link = Impairments::none().rate(100_000_000).delay(delay);
    (link.queue.frames, link.queue.overflow) = (400, Overflow::Drops);
    link
}

#[test]
fn reordering_of_5_ms_on_a_40_ms_path_costs_less_than_a_twentieth() {
    let clean = transfer(&path(20 * MS), 1);
    let link = path(20 * MS).reorder(0.02).reorder_by(5 * MS);
    let reordered = transfer(&link, 1);
    let (with, without) = (reordered.bits_per_second, clean.bits_per_second);
    println!("{without} bit/s without reordering, {with} with: {:?}", reordered.counters);
    assert!(with * 20 >= without * 19, "{with} of {without} bit/s");
    assert_eq!(reordered.counters.timeouts, 0);
}

#[test]
fn at_two_percent_of_loss_no_time_out_interrupts_a_transfer() {
    let link = path(10 * MS).loss(0.02);
    let with = transfer(&link, 2);
    println!("{} bit/s: {:?}", with.bits_per_second, with.counters);
    // What RFC 5681's window gives at this loss: MSS / RTT · sqrt(3 / 2p), RFC 3155 §2.
    let model = 1_448.0 * 8.0 / 0.020 * (1.5_f64 / 0.02).sqrt();
    assert!(with.bits_per_second as f64 > 0.8 * model, "{} of {model}", with.bits_per_second);
    assert!(with.counters.sack_recoveries > 100, "{:?}", with.counters);
    assert_eq!(with.counters.timeouts, 0);
    // What was lost came again, and next to nothing else.
    assert!(with.counters.dsacks_in * 50 <= with.counters.retransmitted_segments);
}
