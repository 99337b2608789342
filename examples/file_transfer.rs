//! Sends a file from one stack to another over a bus, in one process:
//! `cargo run --release --example file_transfer -- FROM TO`

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Instant;

use rumpnet::{BusConfig, Shmif, Stack};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(from), Some(to)) = (args.next(), args.next()) else {
        eprintln!("usage: file_transfer FROM TO");
        std::process::exit(2);
    };
    let bus = std::env::temp_dir().join(format!("file-transfer-{}.bus", std::process::id()));
    let config = BusConfig::default();
    let receiver = Stack::builder()
        .interface(Shmif::create_or_attach(&bus, &config)?.addr("10.0.0.1/24"))
        .start()?;
    let sender = Stack::builder().interface(Shmif::attach(&bus)?.addr("10.0.0.2/24")).start()?;
    std::fs::remove_file(&bus)?;

    let listener = receiver.tcp_listen("10.0.0.1:9000")?;
    let writer = thread::spawn(move || -> io::Result<u64> {
        let (mut stream, peer) = listener.accept()?;
        println!("receiving from {peer}");
        copy(&mut stream, &mut File::create(to)?)
    });

    let start = Instant::now();
    let mut stream = sender.tcp_connect("10.0.0.1:9000")?;
    copy(&mut File::open(from)?, &mut stream)?;
    stream.shutdown(Shutdown::Write)?;
    let bytes = writer.join().expect("the writer does not panic")?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{bytes} bytes in {seconds:.3} s, {:.2} Gbit/s", bytes as f64 * 8e-9 / seconds);
    Ok(())
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
