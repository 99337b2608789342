//! A flood of SYNs leaves an established transfer its goodput, connects that are meant succeed, and
//! memory stays within its bound. In virtual time; `scripts/syn-flood` sends ten million.

use peak_alloc::PeakAlloc;
use rumpnet::InetConfig;
use rumpnet_tests::bounds::{self, UNDER_WAY_BYTES};
use rumpnet_tests::syn_flood::{Outcome, in_a_world};

/// Counts what all stacks in here hold; there is one test.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// SYNs of the flood: fifteen times what the queue of SYNs holds.
const SYNS: u64 = 60_000;

/// What came of it, and the most memory that it took.
fn measured(config: &InetConfig, flooded: bool) -> (Outcome, usize) {
    let base = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let outcome = in_a_world(3, config, SYNS, flooded);
    (outcome, HEAP.peak_usage() - base)
}

#[test]
fn a_flood_of_syns_leaves_a_transfer_95_percent_and_connects_succeed() {
    let config = InetConfig::default();
    let (alone, alone_bytes) = measured(&config, false);
    let (beside, beside_bytes) = measured(&config, true);
    assert!(alone.bytes > 120_000_000, "{alone:?}");
    let left = beside.bytes as f64 / alone.bytes as f64;
    assert!(left >= 0.95, "{left:.3} of {} bytes", alone.bytes);
    assert_eq!((alone.failed, beside.failed), (0, 0));
    assert!(beside.connects.len() >= 60, "{:?}", beside.connects);
    let slowest = beside.connects.iter().max().expect("there are some");
    assert!(slowest.as_millis() < 500, "{slowest:?}");
    let counters = beside.host.inet().expect("a stack of its own").tcp_counters().remove(0);
    assert!(counters.syn_cookies_sent > SYNS / 2, "{counters:?}");
    assert!(counters.syn_cookies_received >= 30, "{counters:?}");
    let taken = beside_bytes.saturating_sub(alone_bytes);
    let allowed = bounds::half_open(&config) + UNDER_WAY_BYTES;
    assert!(taken <= allowed, "{taken} bytes, {allowed} are allowed");
}
