//! 16 MiB in both directions through a link that loses, duplicates, reorders and flips bits: they
//! arrive intact for each of 100 seeds, and a seed gives the same frames every time.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use libnet::impair::{Impairments, Overflow, QueueLimit};
use libnet::link::Offload;
use libnet::socket::Family;
use libnet::world::{World, seeds};
use proptest::prelude::*;
use rumpnet::TcpStream;
use rumpnet_tests::lab::{Pair, PairConfig};

const BYTES: usize = 16 << 20;
/// Virtual time that a transfer may take.
const PATIENCE: Duration = Duration::from_secs(4 * 3_600);

fn bad_link() -> Impairments {
    Impairments::none()
        .delay(Duration::from_millis(1))
        .loss(0.05)
        .duplicate(0.01)
        .reorder(0.05)
        .corrupt(0.001)
}

/// Bytes that repeat with a prime period, twice over: a segment in the wrong place is noticed.
fn pattern() -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..PERIOD).map(next).collect::<Vec<u8>>().repeat(2)
}

const PERIOD: usize = 65_521;

/// One end: sends all, receives all, as far as it goes without blocking.
struct End {
    stream: TcpStream,
    pattern: Vec<u8>,
    sent: usize,
    received: usize,
    at_end: bool,
}

impl End {
    fn new(stream: TcpStream) -> io::Result<End> {
        stream.set_nonblocking(true)?;
        Ok(End { stream, pattern: pattern(), sent: 0, received: 0, at_end: false })
    }

    /// Does what can be done now; whether all is sent and received.
    fn pump(&mut self, bytes: usize) -> io::Result<bool> {
        while self.sent < bytes {
            let at = self.sent % PERIOD;
            let n = (bytes - self.sent).min(PERIOD);
            match self.stream.write(&self.pattern[at..at + n]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.sent == bytes {
                self.stream.shutdown(Shutdown::Write)?;
            }
        }
        let mut buf = vec![0; PERIOD];
        while !self.at_end {
            match self.stream.read(&mut buf) {
                Ok(0) => self.at_end = true,
                Ok(n) => {
                    let at = self.received % PERIOD;
                    assert!(buf[..n] == self.pattern[at..at + n], "byte {} on", self.received);
                    self.received += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.at_end && self.sent == bytes)
    }
}

/// Transfers `bytes` each way; the hash of all frames, and how long it took.
fn transfer(seed: u64, shards: usize, bytes: usize, harm: &Impairments) -> (u64, Duration) {
    transfer_over(&PairConfig { shards, ..PairConfig::new(seed) }, bytes, harm)
}

fn transfer_over(config: &PairConfig, bytes: usize, harm: &Impairments) -> (u64, Duration) {
    let pair = Pair::new(config).unwrap();
    let b = pair.addrs[1];
    let listener = pair.b.tcp_listen((b, 9_000)).unwrap();
    // The neighbours know each other first: resolution gives up after three losses.
    let refused = pair.a.tcp_connect((b, 1)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    pair.impair(harm);
    let client = pair.a.tcp_connect((b, 9_000)).unwrap();
    let (server, _) = listener.accept().unwrap();
    let mut ends = [End::new(client).unwrap(), End::new(server).unwrap()];
    let start = pair.world.now();
    let done = |ends: &mut [End; 2]| {
        let [a, b] = ends;
        let (a, b) = (a.pump(bytes).unwrap(), b.pump(bytes).unwrap());
        a && b
    };
    run(&pair.world, start, || done(&mut ends));
    assert_eq!(ends.each_ref().map(|end| end.received), [bytes, bytes]);
    let took = pair.world.now().since(start);
    assert!(bytes < BYTES || pair.world.unfired_faults().is_empty());
    (pair.world.trace_hash(), took)
}

fn run(world: &World, start: libnet::Instant, mut done: impl FnMut() -> bool) {
    while !done() {
        assert!(world.now().since(start) < PATIENCE, "{}", world.report());
        world.run_for(Duration::from_millis(1));
    }
}

fn all_arrives(own: std::ops::Range<u64>) {
    for seed in seeds(own) {
        let (hash, took) = transfer(seed, 1, BYTES, &bad_link());
        println!("seed {seed}: {took:?} of virtual time, trace {hash:016x}");
        if seed % 10 == 0 {
            assert_eq!((hash, took), transfer(seed, 1, BYTES, &bad_link()), "seed {seed} again");
        }
    }
}

#[test]
fn sixteen_mebibytes_cross_a_bad_link_intact_seeds_0_to_24() {
    all_arrives(0..25);
}

#[test]
fn sixteen_mebibytes_cross_a_bad_link_intact_seeds_25_to_49() {
    all_arrives(25..50);
}

#[test]
fn sixteen_mebibytes_cross_a_bad_link_intact_seeds_50_to_74() {
    all_arrives(50..75);
}

#[test]
fn sixteen_mebibytes_cross_a_bad_link_intact_seeds_75_to_99() {
    all_arrives(75..100);
}

#[test]
fn sixteen_mebibytes_cross_a_bad_link_intact_over_ipv6() {
    for seed in seeds(100..105) {
        let config = PairConfig { family: Family::Inet6, ..PairConfig::new(seed) };
        let first = transfer_over(&config, BYTES, &bad_link());
        if seed == 100 {
            assert_eq!(first, transfer_over(&config, BYTES, &bad_link()), "the seed again");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_frames_and_another_does_not() {
    let bytes = 1 << 20;
    for shards in [1, 3] {
        let first = transfer(7, shards, bytes, &bad_link());
        assert_eq!(first, transfer(7, shards, bytes, &bad_link()), "{shards} shards");
        assert_ne!(first.0, transfer(8, shards, bytes, &bad_link()).0, "{shards} shards");
    }
}

/// Links of every kind: MTU, rate and queue, delay, harm, offloads, small buffers, shards.
fn any_link() -> impl Strategy<Value = (PairConfig, Impairments)> {
    let wire = (any::<u64>(), 256u32..9_000, 0u64..20_000, 0u64..20_000, 1usize..100);
    let harm = (0.0..0.1, 0.0..0.1, 0.0..0.3, 0.0..0.02, 0u64..5_000, 0u64..20_000);
    let stack = (1usize..=3, any::<[bool; 4]>(), 4_096u32..200_000);
    (wire, harm, stack).prop_map(|(wire, harm, stack)| {
        let (seed, mtu, delay, kilobits, queue_frames) = wire;
        let (loss, duplicate, reorder, corrupt, jitter, reorder_by) = harm;
        let (shards, [offload, drops, bursts, six], buffer) = stack;
        let mut config = PairConfig { shards, ..PairConfig::new(seed) };
        // RFC 8200 §5: what every link of IPv6 takes.
        config.link = config.link.mtu(if six { mtu.max(1_280) } else { mtu });
        config.family = if six { Family::Inet6 } else { Family::Inet };
        if offload {
            config.link = config.link.offload(Offload::FULL);
        }
        config.inet.tcp.receive_buffer_bytes = buffer;
        config.inet.tcp.send_buffer_bytes = buffer;
        let mut queue = QueueLimit::default();
        queue.frames = queue_frames + 2;
        queue.overflow = if drops { Overflow::Drops } else { Overflow::Waits };
        let harm = Impairments::none()
            .delay(Duration::from_micros(delay))
            .jitter(Duration::from_micros(jitter))
            .rate((kilobits + 500) * 1_000)
            .queue(queue)
            .duplicate(duplicate)
            .reorder(reorder)
            .reorder_by(Duration::from_micros(reorder_by))
            .corrupt(corrupt);
        (config, if bursts { harm.burst_loss(loss / 5.0, 0.5) } else { harm.loss(loss) })
    })
}

/// What was overtaken may settle after the time-out: then the time-out comes, and not the other timer
/// again and again.
#[test]
fn a_slow_link_that_reorders_does_not_stop_the_clock() {
    let mut config = PairConfig {
        shards: 3,
        family: Family::Inet6,
        ..PairConfig::new(4_943_765_631_558_566_872)
    };
    config.link = config.link.mtu(5_400).offload(Offload::FULL);
    config.inet.tcp.receive_buffer_bytes = 187_045;
    config.inet.tcp.send_buffer_bytes = 187_045;
    let mut queue = QueueLimit::default();
    queue.frames = 25;
    queue.overflow = Overflow::Waits;
    let harm = Impairments::none()
        .delay(Duration::from_micros(1_952))
        .jitter(Duration::from_micros(3_561))
        .rate(919_000)
        .queue(queue)
        .duplicate(0.037988297516582205)
        .reorder(0.1735926546563755)
        .reorder_by(Duration::from_micros(4_410))
        .corrupt(0.01852069472939242)
        .burst_loss(0.018768910445805472, 0.5);
    transfer_over(&config, 200_000, &harm);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn any_link_carries_it_intact((config, harm) in any_link()) {
        transfer_over(&config, 200_000, &harm);
    }
}

#[test]
fn a_good_link_carries_it_without_a_pause() {
    let good = Impairments::none().delay(Duration::from_millis(1));
    let (_, took) = transfer(1, 1, BYTES, &good);
    assert!(took < Duration::from_secs(3), "{took:?}");
}
