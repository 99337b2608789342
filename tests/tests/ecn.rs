//! Transfers through a queue that marks instead of dropping, in virtual time.

use std::io::Write;
use std::time::Duration;

use libnet::impair::{Discipline, Impairments, QueueLimit};
use libnet::link::Offload;
use libnet::socket::Family;
use libnet::world::LinkConfig;
use rumpnet::libnetinet::tcp::{EcnPolicy, TcpCounters};
use rumpnet_tests::goodput::Goodput;
use rumpnet_tests::lab::{Pair, PairConfig};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const RATE: u64 = 100_000_000;

/// What one transfer from a to b has moved, and what both counted.
struct Outcome {
    /// Bits per second, headers not counted.
    bits_per_second: u64,
    sender: TcpCounters,
    receiver: TcpCounters,
}

/// A transfer over 100 Mbit/s and 20 ms, the queue in front of it kept short by `discipline`,
/// measured for 8 s after 4 s to find its rate.
fn transfer(config: &PairConfig, discipline: Discipline) -> Outcome {
    let pair = Pair::new(config).expect("the stacks start");
    let to = (pair.addrs[1], 9);
    let listener = pair.b.tcp_listen(to).expect("a free port");
    // The neighbours know each other before the path is slow.
    drop(pair.a.tcp_connect((pair.addrs[1], 1)));
    let queue = QueueLimit::drop_past_frames(1_000).discipline(discipline);
    pair.impair(&Impairments::none().rate(RATE).delay(10 * MS).queue(queue));
    let (goodput, _reader) = Goodput::read_from(&pair.world, listener);
    let mut stream = pair.a.tcp_connect(to).expect("it connects");
    let _writer =
        pair.world.spawn("writer", move || while stream.write_all(&[7; 1 << 16]).is_ok() {});
    pair.world.run_for(4 * SECOND);
    let before = goodput.bytes();
    pair.world.run_for(8 * SECOND);
    let counters =
        |stack: &rumpnet::Stack| stack.inet().expect("an IP stack").tcp_counters()[0].clone();
    Outcome {
        bits_per_second: goodput.bytes() - before,
        sender: counters(&pair.a),
        receiver: counters(&pair.b),
    }
}

fn config(seed: u64, ecn: EcnPolicy, family: Family) -> PairConfig {
    let mut config = PairConfig::new(seed);
    config.inet.tcp.ecn = ecn;
    config.family = family;
    config
}

fn check_marked(config: &PairConfig) {
    let with = transfer(config, Discipline::Ecn);
    println!("{} bit/s: {:?}", with.bits_per_second, with.sender);
    assert_eq!((with.sender.retransmitted_segments, with.sender.timeouts), (0, 0));
    assert!(with.receiver.congestion_marks_in > 0, "the queue has marked");
    assert!(with.sender.congestion_echoes_in > 1, "and the sender has heard of it");
    assert!(with.bits_per_second >= RATE * 9 / 10, "{}", with.bits_per_second);
}

#[test]
fn a_queue_that_marks_costs_a_transfer_no_segment_and_next_to_no_goodput() {
    check_marked(&config(3, EcnPolicy::On, Family::Inet));
}

#[test]
fn a_queue_that_marks_serves_the_newer_family_as_well() {
    check_marked(&config(4, EcnPolicy::On, Family::Inet6));
}

#[test]
fn super_segments_are_marked_whole() {
    let mut config = config(5, EcnPolicy::On, Family::Inet);
    config.link = LinkConfig::default().offload(Offload::FULL);
    check_marked(&config);
}

#[test]
fn accurate_feedback_counts_what_the_queue_marks() {
    check_marked(&config(6, EcnPolicy::Accurate, Family::Inet));
}

#[test]
fn the_same_queue_drops_what_does_not_ask_for_marks() {
    let without = transfer(&config(3, EcnPolicy::IfAsked, Family::Inet), Discipline::Ecn);
    assert!(without.sender.retransmitted_segments > 0);
    assert_eq!(without.receiver.congestion_marks_in, 0);
}
