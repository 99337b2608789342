//! Sends a file from one stack to another over a bus, in one process:
//! `cargo run --release --example file_transfer -- FROM TO`
//!
//! With `--sockin` in front it goes over the host's own sockets and its loopback, unchanged.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Instant;

use rumpnet::sockin::Sockin;
use rumpnet::{BusConfig, Shmif, Stack};

fn main() -> io::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let sockin = args.first().is_some_and(|arg| arg == "--sockin");
    if sockin {
        args.remove(0);
    }
    let [from, to] = <[String; 2]>::try_from(args).unwrap_or_else(|_| {
        eprintln!("usage: file_transfer [--sockin] FROM TO");
        std::process::exit(2);
    });
    let (receiver, sender, listen_at) = if sockin { over_the_host()? } else { over_a_bus()? };

    let listener = receiver.tcp_listen(listen_at)?;
    let to_addr = listener.local_addr()?;
    let writer = thread::spawn(move || -> io::Result<u64> {
        let (mut stream, peer) = listener.accept()?;
        println!("receiving from {peer}");
        copy(&mut stream, &mut File::create(to)?)
    });

    let start = Instant::now();
    let mut stream = sender.tcp_connect(to_addr)?;
    copy(&mut File::open(from)?, &mut stream)?;
    stream.shutdown(Shutdown::Write)?;
    let bytes = writer.join().expect("the writer does not panic")?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{bytes} bytes in {seconds:.3} s, {:.2} Gbit/s", bytes as f64 * 8e-9 / seconds);
    Ok(())
}

/// Two stacks on a bus of their own, and where the first one listens.
fn over_a_bus() -> io::Result<(Stack, Stack, &'static str)> {
    let bus = std::env::temp_dir().join(format!("file-transfer-{}.bus", std::process::id()));
    let link = Shmif::create_or_attach(&bus, &BusConfig::default())?;
    let receiver = Stack::builder().interface(link.addr("10.0.0.1/24")).start()?;
    let sender = Stack::builder().interface(Shmif::attach(&bus)?.addr("10.0.0.2/24")).start()?;
    std::fs::remove_file(&bus)?;
    Ok((receiver, sender, "10.0.0.1:9000"))
}

/// The host's sockets, for both sides.
fn over_the_host() -> io::Result<(Stack, Stack, &'static str)> {
    let stack = Stack::builder().domain(Sockin::new()?).start()?;
    Ok((stack.clone(), stack, "127.0.0.1:0"))
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    let mut buf = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let n = from.read(&mut buf)?;
        if n == 0 {
            return Ok(total);
        }
        to.write_all(&buf[..n])?;
        total += n as u64;
    }
}
