//! Two stacks in one process, in virtual time, over a link that loses one frame in twenty:
//! `cargo run --example virtual_time -- [SEED]`. The same seed gives the same run.
//!
//! The host's sockets keep no virtual time: `--sockin` is refused, and says so.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use rumpnet::libnet::impair::{Impairments, Loss};
use rumpnet::libnet::world::{LinkConfig, World};
use rumpnet::{InterfaceSpec, Stack};

const BYTES: usize = 1 << 20;

fn main() -> io::Result<()> {
    let arg = std::env::args().nth(1);
    if arg.as_deref() == Some("--sockin") {
        eprintln!("virtual_time: the host's sockets keep no virtual time; run it without --sockin");
        std::process::exit(2);
    }
    let seed = arg.and_then(|arg| arg.parse().ok()).unwrap_or(1);
    let world = World::new(seed);
    let mut bad = Impairments::default();
    bad.loss = Loss::Random(0.05);
    bad.delay = Duration::from_millis(10);
    let (_wire, left, right) = world.wire(LinkConfig::default().impairments(bad));
    let server = Stack::builder()
        .interface(InterfaceSpec::new(left).addr("10.0.0.1/24"))
        .start_in(&world.host("server"))?;
    let client = Stack::builder()
        .interface(InterfaceSpec::new(right).addr("10.0.0.2/24"))
        .start_in(&world.host("client"))?;

    let listener = server.tcp_listen("10.0.0.1:9000")?;
    let receiver = world.spawn("receiver", move || -> io::Result<usize> {
        let mut received = Vec::new();
        listener.accept()?.0.read_to_end(&mut received)?;
        Ok(received.len())
    });
    let sender = world.spawn("sender", move || -> io::Result<()> {
        let mut stream = client.tcp_connect("10.0.0.1:9000")?;
        stream.write_all(&vec![0x5a; BYTES])?;
        stream.shutdown(Shutdown::Write)
    });
    sender.join()?;
    let received = receiver.join()?;
    println!(
        "seed {seed}: {received} bytes through 5 % loss in {} of virtual time, {} frames, trace {:016x}",
        world.now(),
        world.frames(),
        world.trace_hash(),
    );
    Ok(())
}
