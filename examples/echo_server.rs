//! A TCP echo server on a bus: `cargo run --example echo_server -- my.bus 10.0.0.1/24`
//!
//! Try it from another terminal:
//! `echo hello | rumpnet nc --if shmif:my.bus,addr=10.0.0.2/24 10.0.0.1 7`
//!
//! With `--sockin ADDRESS:PORT` in their place it serves the host's own sockets, unchanged.

use std::io;
use std::net::SocketAddr;
use std::thread;

use rumpnet::sockin::Sockin;
use rumpnet::{BusConfig, IpCidr, Shmif, Stack};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (stack, at) = match &args[..] {
        [flag, at] if flag == "--sockin" => {
            (Stack::builder().domain(Sockin::new()?).start()?, parse::<SocketAddr>(at)?)
        }
        [bus, addr] => {
            let link = Shmif::create_or_attach(bus, &BusConfig::default())?;
            let at = SocketAddr::new(parse::<IpCidr>(addr)?.addr(), 7);
            (Stack::builder().interface(link.addr(addr)).start()?, at)
        }
        _ => {
            eprintln!(
                "usage: echo_server BUS ADDRESS/BITS\n       echo_server --sockin ADDRESS:PORT"
            );
            std::process::exit(2);
        }
    };
    let listener = stack.tcp_listen(at)?;
    println!("echoing on {}", listener.local_addr()?);
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

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> io::Result<T> {
    text.parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("`{text}`: {error}")))
}
