//! Frames between two processes over a bus, without a stack on top: how fast is the bus alone?
//!
//! `cargo run --release -p rumpnet-shmif --example speed -- [frame bytes] [seconds] [ring KiB] [idle]`
//!
//! Prints the median of five runs in Gbit/s and frames/s, and the round trip of one frame each
//! way. `idle` more members sit on the bus and do nothing. Run it under `taskset -c 0` for both ends on one core, or `taskset -c 0,1` for one each.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::link::{LinkQueue, Readiness};
use libnet::packet::{Gso, GsoKind, Packet};
use libnet::time::Instant;
use rustix::thread::futex;
use rustix::time::{ClockId, Timespec, clock_gettime};
use shmif::{BusConfig, Shmif};

const SINK: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const SOURCE: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, role, path] = &args[..]
        && role == "sink"
    {
        return sink(Path::new(path));
    }
    let number = |at: usize, default: usize| args.get(at).map_or(Ok(default), |a| a.parse());
    let (frame_bytes, seconds, ring_kib) = (number(1, 65_549)?, number(2, 1)?, number(3, 512)?);
    let idle_members = number(4, 0)?;
    let path = std::env::temp_dir().join(format!("speed-{}.bus", std::process::id()));
    let config = BusConfig::default().ring_bytes(ring_kib as u32 * 1024);
    let start = now();
    let mut idle = Vec::new();
    for _ in 0..idle_members {
        idle.push(Shmif::create_or_attach(&path, &config)?.join()?);
    }
    println!("{idle_members} idle members joined in {:?}", now().since(start));
    let link = Shmif::create_or_attach(&path, &config)?.mac(SOURCE).name("source");
    let (mut queue, _control) = link.join()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["sink", &path.to_string_lossy()])
        .stdout(Stdio::inherit())
        .spawn()?;
    let outcome = run(&mut queue, frame_bytes, Duration::from_secs(seconds as u64));
    child.kill()?;
    child.wait()?;
    std::fs::remove_file(&path)?;
    outcome
}

fn run(
    queue: &mut LinkQueue,
    frame_bytes: usize,
    time: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let payload = Bytes::from(vec![7; frame_bytes - EthernetHeader::LEN]);
    // The sink is there when it answers.
    while round_trip(queue, Duration::from_millis(50))?.is_none() {}
    let mut rates = Vec::new();
    for _ in 0..5 {
        let (start, mut sent, mut out) = (now(), 0_u64, VecDeque::new());
        while now().since(start) < time {
            while out.len() < 16 {
                out.push_back(frame(SINK, SOURCE, BULK, payload.clone()));
            }
            sent += queue.tx.send(now(), &mut out)? as u64;
            if out.len() == 16 {
                sleep(queue, Duration::from_secs(1));
            }
        }
        rates.push(sent as f64 / now().since(start).as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let gbit = |rate: f64| rate * frame_bytes as f64 * 8.0 / 1e9;
    println!(
        "{frame_bytes} B frames: median {:.1} Gbit/s ({:.1} to {:.1}), {:.2} M frames/s",
        gbit(rates[2]),
        gbit(rates[0]),
        gbit(rates[4]),
        rates[2] / 1e6,
    );
    let mut trips: Vec<u64> = Vec::new();
    for _ in 0..2000 {
        trips.extend(round_trip(queue, Duration::from_secs(1))?.map(|t| t.as_nanos() as u64));
    }
    trips.sort_unstable();
    println!("round trip: median {:.1} us", trips[trips.len() / 2] as f64 / 1e3);
    Ok(())
}

const BULK: EtherType = EtherType(0x88b5);
const ECHO: EtherType = EtherType(0x88b6);

/// Sends a frame and waits for its echo; `None` if there is none in time.
fn round_trip(queue: &mut LinkQueue, limit: Duration) -> std::io::Result<Option<Duration>> {
    let start = now();
    let mut out = VecDeque::from([frame(SINK, SOURCE, ECHO, Bytes::from_static(&[1; 46]))]);
    let mut got = Vec::new();
    while !out.is_empty() {
        queue.tx.send(now(), &mut out)?;
    }
    loop {
        if queue.rx.recv(now(), 64, &mut got, None)? > 0 {
            return Ok(Some(now().since(start)));
        }
        if now().since(start) > limit {
            return Ok(None);
        }
        sleep(queue, limit);
    }
}

/// Takes everything; sends back what is marked so.
fn sink(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (mut queue, _control) = Shmif::attach(path)?.mac(SINK).name("sink").join()?;
    let (mut got, mut out) = (Vec::new(), VecDeque::new());
    loop {
        if queue.rx.recv(now(), 64, &mut got, None)? == 0 {
            sleep(&queue, Duration::from_secs(1));
        }
        for mut packet in got.drain(..) {
            if packet.pull(14).and_then(EthernetHeader::parse).is_some_and(|h| h.ethertype == ECHO)
            {
                out.push_back(frame(SOURCE, SINK, ECHO, Bytes::from_static(&[2; 46])));
            }
        }
        queue.tx.send(now(), &mut out)?;
    }
}

fn sleep(queue: &LinkQueue, limit: Duration) {
    let Readiness::Doorbell(bell) = queue.rx.readiness() else { return };
    let Some(value) = bell.arm() else { return };
    let limit = limit.min(bell.longest_sleep());
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    let _ = futex::wait(bell.word(), futex::Flags::empty(), value, Some(&limit));
    bell.disarm();
}

fn frame(dst: MacAddr, src: MacAddr, ethertype: EtherType, payload: Bytes) -> Packet {
    let mut packet = Packet::from_payload(payload);
    EthernetHeader { dst, src, ethertype }.prepend_to(&mut packet);
    let segment_bytes = std::num::NonZeroU16::new(1460);
    packet.gso = segment_bytes.map(|segment_bytes| Gso { kind: GsoKind::Tcp4, segment_bytes });
    packet
}

fn now() -> Instant {
    let now = clock_gettime(ClockId::Monotonic);
    Instant::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
