//! A flood of SYNs from addresses that do not exist, beside a transfer and beside connects that are
//! meant: in a world, or frame by frame for whoever sends them elsewhere.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libnet::checksum::Sum;
use libnet::impair::Impairments;
use libnet::world::{LinkConfig, Recording, World};
use libnet::{InterfaceSpec, MacAddr, Packet};
use rumpnet::{InetConfig, Stack, TcpListener};

use crate::goodput::Goodput;

/// The host that is flooded.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// Its address on the link.
pub const HOST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// The port that is flooded, at which connects are meant as well.
pub const PORT: u16 = 80;
const SENDER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The router through which strangers are answered; it knows none of them.
const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const FLOODER: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
/// Frames in each millisecond: 2.4 % of the link's bits.
const PER_MS: u64 = 40;
const RATE: u64 = 1_000_000_000;
const FRAME_BYTES: usize = 74;

/// The nth SYN of the flood, as Linux sends them: from one of 131,072 addresses (198.18.0.0/15,
/// RFC 2544) and any port, with MSS, SACK-permitted, timestamps and window scale.
pub fn syn(n: u64) -> Packet {
    let mut f = [0; FRAME_BYTES];
    // Spread, and each of them once in 2^33.
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let from = Ipv4Addr::from_bits(0xc612_0000 | (mixed >> 40) as u32 & 0x1_ffff);
    f[..6].copy_from_slice(&HOST_MAC.0);
    f[6..12].copy_from_slice(&FLOODER.0);
    f[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 60, (n >> 8) as u8, n as u8, 0x40, 0, 64, 6]);
    f[26..30].copy_from_slice(&from.octets());
    f[30..34].copy_from_slice(&HOST.octets());
    let checksum = sum(&f[14..34]);
    f[24..26].copy_from_slice(&checksum.to_be_bytes());
    f[34..36].copy_from_slice(&(1024 + (mixed >> 20) as u16 % 64_000).to_be_bytes());
    f[36..38].copy_from_slice(&PORT.to_be_bytes());
    f[38..42].copy_from_slice(&(mixed as u32).to_be_bytes());
    f[46..50].copy_from_slice(&[10 << 4, 0x02, 0xfa, 0xf0]);
    f[54..62].copy_from_slice(&[2, 4, 0x05, 0xb4, 4, 2, 8, 10]);
    f[62..66].copy_from_slice(&(n as u32).to_be_bytes());
    f[70..74].copy_from_slice(&[1, 3, 3, 7]);
    let mut pseudo = [0; 12];
    pseudo[..8].copy_from_slice(&f[26..34]);
    pseudo[9] = 6;
    pseudo[11] = 40;
    let checksum = {
        let mut sum = Sum::new();
        sum.add(&pseudo);
        sum.add(&f[34..]);
        sum.finish()
    };
    f[50..52].copy_from_slice(&checksum.to_be_bytes());
    Packet::from_payload(Bytes::copy_from_slice(&f))
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add(bytes);
    sum.finish()
}

/// What came of a transfer, and of connects, while a world was flooded.
#[derive(Debug)]
pub struct Outcome {
    /// Bytes that the transfer moved.
    pub bytes: u64,
    /// How long the flood took, in the world's time.
    pub duration: Duration,
    /// How long each connect took until its question was answered, in the world's time.
    pub connects: Vec<Duration>,
    /// Connects that failed.
    pub failed: u64,
    /// The host that was flooded.
    pub host: Stack,
}

/// Floods a host with `syns` SYNs, or lets as much time pass, while it receives as much as its link
/// of 1 Gbit/s carries and somebody connects to it every 20 ms.
///
/// # Panics
/// If the world cannot be made.
pub fn in_a_world(seed: u64, config: &InetConfig, syns: u64, flooded: bool) -> Outcome {
    let world = World::new(seed);
    // What it would remember of frames is no memory of the stacks.
    world.record(Recording::OFF);
    let link = Impairments::none().rate(RATE).delay(Duration::from_micros(100));
    let segment = world.segment(LinkConfig::default().mtu(9_000).impairments(link));
    let start = |name: &str, mac: MacAddr, n: u8| {
        let spec = InterfaceSpec::new(segment.link(mac)).addr(&format!("10.0.0.{n}/24"));
        let spec = if mac == ROUTER_MAC { spec } else { spec.gateway("10.0.0.9") };
        let builder = Stack::builder().config(config.clone()).interface(spec);
        builder.start_in(&world.host(name)).expect("it starts")
    };
    let sender = start("sender", SENDER_MAC, 1);
    let host = start("host", HOST_MAC, 2);
    let _router = start("router", ROUTER_MAC, 9);
    let bulk = host.tcp_listen((HOST, 9)).expect("a free port");
    let (goodput, _reader) = Goodput::read_from(&world, bulk);
    let asked = host.tcp_listen((HOST, PORT)).expect("a free port");
    let _answerer = world.spawn("answerer", move || answer(&asked));
    let connects = Arc::new(Mutex::new(Vec::new()));
    let failed = Arc::new(AtomicU64::new(0));
    let _asker = {
        let (connects, failed, sender) = (connects.clone(), failed.clone(), sender.clone());
        let handle = world.handle();
        world.spawn("asker", move || {
            while handle.sleep(Duration::from_millis(20)).is_ok() {
                let begun = handle.now();
                match ask(&sender) {
                    Ok(()) => {
                        let mut connects = connects.lock().unwrap_or_else(PoisonError::into_inner);
                        connects.push(handle.now().since(begun));
                    }
                    Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                }
            }
        })
    };
    let _writer = world.spawn("writer", move || {
        let mut stream = sender.tcp_connect((HOST, 9)).expect("it connects");
        while stream.write_all(&[7; 1 << 16]).is_ok() {}
    });
    // The transfer is up to speed when the flood begins.
    world.run_for(Duration::from_millis(500));
    let (before, begun) = (goodput.bytes(), world.now());
    let mut sent = 0;
    while sent < syns {
        let burst = PER_MS.min(syns - sent);
        if flooded {
            for n in sent..sent + burst {
                segment.send_raw(syn(n));
            }
        }
        sent += burst;
        world.run_for(Duration::from_millis(1));
    }
    let (bytes, duration) = (goodput.bytes() - before, world.now().since(begun));
    // What was begun ends.
    world.run_for(Duration::from_secs(1));
    let connects = std::mem::take(&mut *connects.lock().unwrap_or_else(PoisonError::into_inner));
    Outcome { bytes, duration, connects, failed: failed.load(Ordering::Relaxed), host }
}

/// Answers one question a connection.
fn answer(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        let mut question = [0; 4];
        if stream.read_exact(&mut question).is_ok() {
            let _ = stream.write_all(b"here");
        }
    }
}

/// Connects to the flooded port and has a question answered.
///
/// # Errors
/// What the connect or the transfer met.
pub fn ask(from: &Stack) -> std::io::Result<()> {
    let mut stream = from.tcp_connect((HOST, PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"you?")?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply)
}
