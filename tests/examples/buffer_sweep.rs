//! Whether larger buffers make a connection slower: goodput with buffers of one bandwidth-delay product,
//! as Linux counts it (twice what is asked for), up to 16 MiB, and with those that grow by themselves, on
//! clean and on bad paths, in virtual time.
//!
//! `buffer_sweep [--seeds N] [--jobs N] [--only TEXT]`: a row of a table for each path whose name holds `TEXT`, with
//! the least of its columns in parts of the best. Exit status 0 if none is below 95 %.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rumpnet::InetConfig;
use rumpnet::libnetinet::tcp::CongestionAlgorithm;
use rumpnet_tests::flows::{Flows, Line, with_buffers};

/// Bandwidth-delay products of the smaller buffers, then the sizes of the larger.
const PRODUCTS: [u64; 3] = [2, 4, 8];
const LARGEST: [u64; 2] = [4 << 20, 16 << 20];

/// Clean paths of a gigabit, and the cells of `--bench paths`.
fn lines() -> Vec<Line> {
    let mut lines: Vec<Line> = [1, 20, 100, 200].map(|rtt| Line::new(1_000, rtt)).into();
    for rtt in [10, 50, 150] {
        for queue in [0.1, 1.0, 4.0] {
            let clean = Line { queue, ..Line::new(100, rtt) };
            lines.extend([0.0, 0.001, 0.01, 0.03].map(|loss| Line { loss, ..clean }));
            lines.push(Line { reorder: 0.01, ..clean });
        }
    }
    lines
}

/// Buffers to compare on a line; `None`: they grow.
fn buffers(line: &Line) -> Vec<Option<u64>> {
    let products = PRODUCTS.map(|n| (n * line.bdp_bytes()).max(64 << 10));
    let mut sizes: Vec<u64> = products.into_iter().chain(LARGEST).collect();
    sizes.retain(|&size| size <= LARGEST[1]);
    sizes.sort_unstable();
    sizes.dedup();
    sizes.into_iter().map(Some).chain([None]).collect()
}

/// The median goodput over seeds, bits per second.
fn goodput(line: &Line, buffer: Option<u64>, seeds: u64) -> u64 {
    let mut bits: Vec<u64> = (0..seeds)
        .map(|seed| {
            let inet = buffer.map_or_else(InetConfig::default, with_buffers);
            let mut flows = Flows::new(line, inet, seed);
            flows.start(CongestionAlgorithm::Cubic);
            // Slow start is over; then some of the cubic's cycles.
            flows.pair.world.run_for(Duration::from_secs(2) + 20 * line.rtt);
            flows.measure(Duration::from_secs(10) + 100 * line.rtt)[0]
        })
        .collect();
    bits.sort_unstable();
    bits[bits.len() / 2]
}

fn name(line: &Line) -> String {
    let harm = match (line.loss, line.reorder) {
        (0.0, 0.0) => String::new(),
        (loss, 0.0) => format!(", {} % lost", loss * 100.0),
        (_, reorder) => format!(", {} % reordered", reorder * 100.0),
    };
    let megabits = line.rate / 1_000_000;
    format!("{megabits} Mbit/s, {} ms, queue {} BDP{harm}", line.rtt.as_millis(), line.queue)
}

/// A row, and the least column's part of the best one.
fn row(line: &Line, seeds: u64) -> (String, f64) {
    let all: Vec<(Option<u64>, u64)> =
        buffers(line).into_iter().map(|buffer| (buffer, goodput(line, buffer, seeds))).collect();
    let best = all.iter().map(|(_, bits)| *bits).max().unwrap_or(1).max(1);
    let least = all.iter().map(|(_, bits)| *bits).min().unwrap_or(0) as f64 / best as f64;
    let columns: Vec<String> = all
        .iter()
        .map(|(buffer, bits)| {
            let size = buffer.map_or("grows".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
            format!("{size} {:.1}", *bits as f64 / 1e6)
        })
        .collect();
    (format!("| {} | {} | {:.1} % |", name(line), columns.join(", "), least * 100.0), least)
}

fn main() -> io::Result<()> {
    let (mut seeds, mut jobs, mut only) = (3, 2, String::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_default();
        let number = value.parse().ok().filter(|&n| n > 0);
        match (arg.as_str(), number) {
            ("--seeds", Some(n)) => seeds = n,
            ("--jobs", Some(n)) => jobs = n,
            ("--only", _) => only = value,
            _ => {
                return Err(io::Error::other("buffer_sweep [--seeds N] [--jobs N] [--only TEXT]"));
            }
        }
    }
    let mut lines = lines();
    lines.retain(|line| name(line).contains(&only));
    let (next, below) = (AtomicUsize::new(0), Mutex::new(0));
    println!("| path | goodput with buffers, Mbit/s | least, of the best |\n|---|---|---|");
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(line) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (text, least) = row(line, seeds);
                    println!("{text}");
                    if least < 0.95 {
                        *below.lock().expect("no job panics with it") += 1;
                    }
                }
            });
        }
    });
    let below = below.into_inner().expect("no job panics with it");
    if below == 0 { Ok(()) } else { Err(io::Error::other(format!("{below} paths below 95 %"))) }
}
