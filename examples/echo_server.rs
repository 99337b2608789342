//! A TCP echo server on a bus: `cargo run --example echo_server -- my.bus 10.0.0.1/24`
//!
//! Try it from another terminal:
//! `echo hello | rumpnet nc --if shmif:my.bus,addr=10.0.0.2/24 10.0.0.1 7`

use std::io;
use std::thread;

use rumpnet::{BusConfig, Shmif, Stack};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(bus), Some(addr)) = (args.next(), args.next()) else {
        eprintln!("usage: echo_server BUS ADDRESS/BITS");
        std::process::exit(2);
    };
    let link = Shmif::create_or_attach(&bus, &BusConfig::default())?;
    let stack = Stack::builder().interface(link.addr(&addr)).start()?;
    let listener = stack.tcp_listen("0.0.0.0:7")?;
    println!("echoing on {addr}, port 7, bus {bus}");
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = io::copy(&mut &stream, &mut &stream) {
                eprintln!("{stream:?}: {error}");
            }
        });
    }
    Ok(())
}
