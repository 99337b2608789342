//! TCP between two processes: sockin's sockets beside std's, both over the kernel's loopback,
//! interleaved. What differs is what sockin adds to each call.
//!
//! `cargo bench -p rumpnet-benches --bench sockin -- [--runs N] [--seconds S] [--only bulk|rr|crr] [--json]`

use std::io;

use rumpnet_benches::pair::{self, MODES, Options, Row};
use rumpnet_benches::place::Placement;

const LOOPBACK: [&str; 2] = ["127.0.0.1"; 2];

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("role") => pair::role(&args[1..]),
        _ => run(&Options::parse(&args)?),
    }
}

fn run(options: &Options) -> io::Result<()> {
    let mut rows = Vec::new();
    for (mode, what, unit) in MODES.into_iter().filter(|(mode, ..)| options.wants(mode)) {
        for placement in Placement::ALL {
            let (mut ours, mut linux) = (Vec::new(), Vec::new());
            for i in 0..options.runs {
                // Each is the first as often as the other.
                let order = if i % 2 == 0 { ["sockin", "std"] } else { ["std", "sockin"] };
                for transport in order {
                    let run = pair::run(mode, transport, LOOPBACK, placement, options.seconds)?;
                    let runs = if transport == "sockin" { &mut ours } else { &mut linux };
                    runs.push(run);
                }
            }
            let row = Row::new((what, unit), placement, &ours, ("std", &linux))?;
            if !options.json {
                row.print();
            }
            rows.push(row);
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(())
}
