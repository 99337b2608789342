//! TCP between two processes: ours over a bus beside the kernel over its loopback, interleaved; with
//! `--ipv6` ours over IPv6 beside ours over IPv4, both on a bus.
//!
//! `cargo bench -p rumpnet-benches --bench two_processes -- [--runs N] [--seconds S] [--only bulk|rr|crr|start] [--ipv6] [--json]`

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rumpnet::{BusConfig, Shmif, Stack};
use rumpnet_benches::pair::{self, MODES, Options, Row, wrong};
use rumpnet_benches::place::Placement;
use rumpnet_benches::stats::{Summary, summarize};
use rumpnet_benches::transport::Transport;

const SERVER: &str = "10.77.0.1";
const CLIENT: &str = "10.77.0.2";
const FOUR: [&str; 2] = [SERVER, CLIENT];
const SIX: [&str; 2] = ["fd00:77::1", "fd00:77::2"];

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("role") if args.get(4).is_some_and(|mode| mode == "start") => {
            first_packet(args.get(5).ok_or_else(|| wrong("start needs a bus"))?)
        }
        Some("role") => pair::role(&args[1..]),
        _ => run(&Options::parse(&args)?),
    }
}

fn run(options: &Options) -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("rumpnet-bench-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let done = run_in(options, &folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

fn run_in(options: &Options, folder: &Path) -> io::Result<()> {
    let mut rows = Vec::new();
    for (mode, what, unit) in MODES.into_iter().filter(|(mode, ..)| options.wants(mode)) {
        for placement in Placement::ALL {
            let row = measure(options, folder, mode, (what, unit), placement)?;
            if !options.json {
                row.print();
            }
            rows.push(row);
        }
    }
    if options.wants("start") && !options.ipv6 {
        let start = start_times(folder, options.runs)?;
        if !options.json {
            println!(
                "process start to first packet on the bus: median {:.2} ms ({:.2}-{:.2}), {} runs",
                start.median, start.min, start.max, start.runs
            );
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(())
}

fn measure(
    options: &Options,
    folder: &Path,
    mode: &str,
    title: (&'static str, &'static str),
    placement: Placement,
) -> io::Result<Row> {
    let on_a_bus = |number: usize, ips: [&str; 2]| {
        let bus = folder.join(format!("{mode}-{}-{number}.bus", placement.core(1)));
        Shmif::create_or_attach(&bus, &BusConfig::default())?;
        let path = bus.display().to_string();
        let run = pair::run(mode, &path, ips, placement, options.seconds)?;
        std::fs::remove_file(&bus)?;
        io::Result::Ok(run)
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for i in 0..options.runs {
        if options.ipv6 {
            // Each is the first as often as the other.
            let six_first = i % 2 == 0;
            for six in [six_first, !six_first] {
                let run = on_a_bus(i, if six { SIX } else { FOUR })?;
                if six { &mut ours } else { &mut theirs }.push(run);
            }
        } else {
            ours.push(on_a_bus(i, FOUR)?);
            theirs.push(pair::run(mode, "linux", ["127.0.0.1"; 2], placement, options.seconds)?);
        }
    }
    Row::new(title, placement, &ours, (if options.ipv6 { "IPv4" } else { "linux" }, &theirs))
}

/// From before the process is made to its first datagram on the bus, in milliseconds.
fn start_times(folder: &Path, runs: usize) -> io::Result<Summary> {
    let bus: PathBuf = folder.join("start.bus");
    let here = Shmif::create_or_attach(&bus, &BusConfig::default())?;
    let stack = Stack::builder().interface(here.addr("10.77.0.1/24")).start()?;
    let socket = stack.udp_bind("10.77.0.1:7000")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let bus = bus.display().to_string();
    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let mut child =
            pair::spawn(&["client", "start", &bus, CLIENT], Placement::TwoCores.core(1), 0.0)?;
        let (_, from) = socket.recv_from(&mut [0; 16])?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        socket.send_to(b"seen", from)?;
        child.wait()?;
    }
    summarize(&times).ok_or_else(|| wrong("--runs must not be 0"))
}

fn first_packet(bus: &str) -> io::Result<()> {
    let Transport::Ours(stack) = Transport::open(bus, "10.77.0.2/24")? else {
        return Err(wrong("start needs a bus"));
    };
    let socket = stack.udp_bind("10.77.0.2:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.send_to(b"first", "10.77.0.1:7000")?;
    socket.recv_from(&mut [0; 16])?;
    Ok(())
}
