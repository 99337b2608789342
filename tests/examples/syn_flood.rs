//! Floods a listener with SYNs from addresses that do not exist, while a transfer to the same host
//! goes on and somebody connects to the flooded port.
//!
//! `syn_flood world|bus [SYNS]`, ten million by default. `world`: in virtual time, where it tells
//! what share of its goodput the transfer keeps; exit status 0 if that is 95 % and no connect failed.
//! `bus`: on a bus in a file, the flood as fast as the bus takes it, where all share the processors;
//! exit status 0 if no connect failed and the queue of SYNs kept its bound.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rumpnet::{BusConfig, InetConfig, Shmif, Stack};
use rumpnet_tests::syn_flood::{HOST, HOST_MAC, PORT, ask, in_a_world, syn};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let place = args.next().unwrap_or_default();
    let syns = args.next().map_or(Ok(10_000_000), |syns| syns.parse().map_err(io::Error::other))?;
    let fine = match place.as_str() {
        "world" => world(syns),
        "bus" => bus(syns)?,
        _ => return Err(io::Error::other("say where: syn_flood world|bus [SYNS]")),
    };
    if fine { Ok(()) } else { Err(io::Error::other("the flood did harm: see above")) }
}

fn world(syns: u64) -> bool {
    let config = InetConfig::default();
    let begun = Instant::now();
    let alone = in_a_world(3, &config, syns, false);
    let beside = in_a_world(3, &config, syns, true);
    let left = beside.bytes as f64 * 100.0 / alone.bytes as f64;
    let slowest = beside.connects.iter().max().copied().unwrap_or_default();
    let counters = beside.host.inet().expect("a stack of its own").tcp_counters().remove(0);
    println!("{syns} SYNs in {:?} of the world's time", beside.duration);
    println!("transfer   {left:.2} % of the goodput that it has alone");
    println!("connects   {} of {} failed", beside.failed, beside.connects.len());
    println!("           the slowest took {slowest:?}");
    println!(
        "cookies    {} sent, {} came back",
        counters.syn_cookies_sent, counters.syn_cookies_received
    );
    println!("it took    {:?}", begun.elapsed());
    left >= 95.0 && beside.failed == 0 && !beside.connects.is_empty()
}

/// Counts what arrives, until the other end goes.
fn drain(host: &Stack, bytes: &Arc<AtomicU64>) -> io::Result<thread::JoinHandle<()>> {
    let (listener, bytes) = (host.tcp_listen((HOST, 9))?, Arc::clone(bytes));
    Ok(thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut buf = vec![0; 1 << 16];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            bytes.fetch_add(n as u64, Ordering::Relaxed);
        }
    }))
}

fn answer(host: &Stack) -> io::Result<()> {
    let listener = host.tcp_listen((HOST, PORT))?;
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut question = [0; 4];
            if stream.read_exact(&mut question).is_ok() {
                let _ = stream.write_all(b"here");
            }
        }
    });
    Ok(())
}

fn bus(syns: u64) -> io::Result<bool> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("flood.bus");
    let on_bus = || Shmif::create_or_attach(&path, &BusConfig::default()).map_err(io::Error::other);
    let host = on_bus()?.mac(HOST_MAC).addr("10.0.0.2/24").gateway("10.0.0.9");
    let host = Stack::builder().interface(host).start()?;
    let sender = Stack::builder().interface(on_bus()?.addr("10.0.0.1/24")).start()?;
    let _router = Stack::builder().interface(on_bus()?.addr("10.0.0.9/24")).start()?;
    let bytes = Arc::new(AtomicU64::new(0));
    let reader = drain(&host, &bytes)?;
    answer(&host)?;
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (over, mut stream) = (Arc::clone(&over), sender.tcp_connect((HOST, 9))?);
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) && stream.write_all(&[7; 1 << 16]).is_ok() {}
        })
    };
    let goodput = |since: Instant, before: u64| {
        (bytes.load(Ordering::Relaxed) - before) as f64 / since.elapsed().as_secs_f64() / 1e6
    };
    let (begun, before) = (Instant::now(), bytes.load(Ordering::Relaxed));
    thread::sleep(Duration::from_secs(2));
    println!("transfer   {:.0} MB/s alone", goodput(begun, before));
    let (begun, before) = (Instant::now(), bytes.load(Ordering::Relaxed));
    let asker = {
        let over = Arc::clone(&over);
        thread::spawn(move || {
            let (mut slowest, mut done, mut failed) = (Duration::ZERO, 0u32, 0u32);
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                match ask(&sender) {
                    Ok(()) => done += 1,
                    Err(_) => failed += 1,
                }
                slowest = slowest.max(begun.elapsed());
                thread::sleep(Duration::from_millis(20));
            }
            (slowest, done, failed)
        })
    };
    flood(on_bus()?, syns)?;
    let (took, beside) = (begun.elapsed(), goodput(begun, before));
    over.store(true, Ordering::Relaxed);
    let (slowest, done, failed) = asker.join().expect("it does not panic");
    writer.join().expect("it does not panic");
    reader.join().expect("it does not panic");
    println!(
        "           {beside:.0} MB/s beside {:.0} SYNs a second",
        syns as f64 / took.as_secs_f64()
    );
    println!("connects   {failed} of {} failed, the slowest took {slowest:?}", done + failed);
    let counters = host.inet().expect("a stack of its own").tcp_counters().remove(0);
    println!(
        "cookies    {} sent, {} came back",
        counters.syn_cookies_sent, counters.syn_cookies_received
    );
    Ok(failed == 0 && done > 0)
}

/// Sends the flood as fast as the bus takes it.
fn flood(bus: Shmif, syns: u64) -> io::Result<()> {
    let (mut queue, _control) = bus.join().map_err(io::Error::other)?;
    let (mut frames, mut sent) = (VecDeque::new(), 0);
    while sent < syns || !frames.is_empty() {
        while frames.len() < 64 && sent < syns {
            frames.push_back(syn(sent));
            sent += 1;
        }
        let taken = queue.tx.send(libnet::Instant::ZERO, &mut frames)?;
        if taken == 0 {
            // The bus pushes back; the host is behind.
            thread::yield_now();
        }
    }
    Ok(())
}
