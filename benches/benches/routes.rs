//! The route table filled as a router's without a default route is: memory, time of a look-up and
//! of a change.
//!
//! `cargo bench -p rumpnet-benches --bench routes -- [--v4 N] [--v6 N] [--runs N]`

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use libnet::route::{Route, RouteSelector, RouteTable, RouteTableConfig};
use libnet::{IfIndex, IpCidr};

/// Of a thousand prefixes, how many have each length, as in the global tables.
const LENGTHS_4: &[(u8, u32)] = &[
    (8, 1),
    (13, 2),
    (16, 14),
    (18, 15),
    (19, 27),
    (20, 45),
    (21, 55),
    (22, 115),
    (23, 105),
    (24, 621),
];
const LENGTHS_6: &[(u8, u32)] =
    &[(29, 32), (32, 140), (36, 40), (40, 70), (44, 95), (46, 30), (48, 590), (64, 3)];
/// Registries' blocks, which the prefixes of IPv6 are in.
const BLOCKS_6: &[u16] = &[0x2001, 0x2400, 0x2404, 0x2408, 0x2600, 0x2604, 0x2800, 0x2a00, 0x2a02];
/// Neighbours of the router.
const PEERS: u64 = 2_000;
const LOOKUPS: usize = 1_000_000;

/// xorshift64*: the table must be the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn addr4(&mut self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits((self.next() % 0xdf00_0000) as u32 + 0x0100_0000))
    }

    fn addr6(&mut self) -> IpAddr {
        let block = u128::from(BLOCKS_6[self.next() as usize % BLOCKS_6.len()]);
        let rest = u128::from(self.next()) << 48 | u128::from(self.next()) >> 16;
        IpAddr::V6(Ipv6Addr::from_bits(block << 112 | rest))
    }

    fn len(&mut self, lengths: &[(u8, u32)]) -> u8 {
        let total: u32 = lengths.iter().map(|(_, share)| share).sum();
        let mut at = (self.next() % u64::from(total)) as u32;
        for &(len, share) in lengths {
            if at < share {
                return len;
            }
            at -= share;
        }
        24
    }
}

fn prefixes(random: &mut Random, v6: bool, count: usize) -> Vec<IpCidr> {
    let mut all = BTreeSet::new();
    while all.len() < count {
        let (addr, len) = match v6 {
            true => (random.addr6(), random.len(LENGTHS_6)),
            false => (random.addr4(), random.len(LENGTHS_4)),
        };
        all.insert(IpCidr::new(addr, len).expect("a length of its family").network());
    }
    let mut all: Vec<IpCidr> = all.into_iter().collect();
    // Updates come in no order.
    for at in (1..all.len()).rev() {
        all.swap(at, random.next() as usize % (at + 1));
    }
    all
}

fn route(dst: IpCidr, peer: u64) -> Route {
    let gateway = match dst.addr() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + peer as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(peer))),
    };
    Route::via(dst, IfIndex(2 + peer as u32 % 8), gateway)
}

/// An option's number.
fn option(name: &str, default: usize) -> usize {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
}

/// Median and extremes of nanoseconds per operation.
fn nanos(what: &str, runs: usize, count: usize, mut run: impl FnMut()) {
    let mut all: Vec<f64> = (0..runs.max(1))
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    all.sort_by(f64::total_cmp);
    let (low, mid, high) = (all[0], all[all.len() / 2], all[all.len() - 1]);
    println!("{what:<28} {mid:>8.1} ns  ({low:.1} to {high:.1}, {} runs)", all.len());
}

fn main() {
    let (v4, v6, runs) = (option("--v4", 1_000_000), option("--v6", 200_000), option("--runs", 5));
    let mut random = Random(0x1d87_2b41_4f6c_dd1d);
    let all4 = prefixes(&mut random, false, v4);
    let all6 = prefixes(&mut random, true, v6);
    let mut table = RouteTable::new(RouteTableConfig::new(v4 + v6));
    let start = Instant::now();
    for dst in all4.iter().chain(&all6) {
        table.insert(route(*dst, random.next() % PEERS)).expect("every prefix is there once");
    }
    let filled = start.elapsed();
    let bytes = table.memory_bytes();
    println!(
        "{v4} IPv4 and {v6} IPv6 prefixes: {:.1} MiB, {:.1} bytes each; filled in {:.2} s",
        bytes as f64 / f64::from(1 << 20),
        bytes as f64 / (v4 + v6) as f64,
        filled.as_secs_f64()
    );
    let lookups = |what: &str, addrs: Vec<IpAddr>| {
        nanos(what, runs, addrs.len(), || {
            for addr in &addrs {
                black_box(table.lookup(black_box(*addr)));
            }
        });
    };
    let hits = |random: &mut Random, all: &[IpCidr]| -> Vec<IpAddr> {
        (0..LOOKUPS).map(|_| all[random.next() as usize % all.len()].addr()).collect()
    };
    lookups("IPv4, any address", (0..LOOKUPS).map(|_| random.addr4()).collect());
    lookups("IPv4, a routed address", hits(&mut random, &all4));
    lookups("IPv6, any address", (0..LOOKUPS).map(|_| random.addr6()).collect());
    lookups("IPv6, a routed address", hits(&mut random, &all6));
    let few: Vec<IpAddr> =
        hits(&mut random, &all4).into_iter().take(64).cycle().take(LOOKUPS).collect();
    lookups("IPv4, 64 addresses again", few);
    let changed: Vec<IpCidr> = all4.iter().copied().take(100_000).collect();
    nanos("IPv4, take out and put in", runs, changed.len(), || {
        for dst in &changed {
            let old = table.remove(dst, RouteSelector::ANY).expect("it is there");
            table.insert(old).expect("there is room again");
        }
    });
    println!("It does not show what else wants the cache, or a reader beside a writer.");
}
