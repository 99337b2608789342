//! TCP between two processes: ours over a bus beside the kernel over its loopback, interleaved.
//!
//! `cargo bench -p rumpnet-benches --bench two_processes -- [--runs N] [--seconds S] [--only bulk|rr|crr|start] [--json]`

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rumpnet::{BusConfig, Shmif, Stack};
use rumpnet_benches::ends::{Report, ask, serve};
use rumpnet_benches::place::{Placement, pin};
use rumpnet_benches::stats::{Summary, summarize};
use rumpnet_benches::transport::Transport;
use serde::Serialize;

const SERVER: &str = "10.77.0.1";
const CLIENT: &str = "10.77.0.2";

/// One run: both ends.
#[derive(Clone, Copy, Debug)]
struct Run {
    rate: f64,
    per_cpu_second: f64,
    p50_us: f64,
}

#[derive(Serialize)]
struct Row {
    what: &'static str,
    unit: &'static str,
    placement: Placement,
    ours: Summary,
    linux: Summary,
    ratio: Summary,
    ours_per_cpu_second: Summary,
    linux_per_cpu_second: Summary,
    ours_p50_us: Summary,
    linux_p50_us: Summary,
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("role") => role(&args[1..]),
        _ => Options::parse(&args)?.run(),
    }
}

struct Options {
    runs: usize,
    seconds: f64,
    only: Option<String>,
    json: bool,
}

impl Options {
    fn parse(args: &[String]) -> io::Result<Self> {
        let mut options = Options { runs: 20, seconds: 0.5, only: None, json: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| wrong(&format!("{arg} needs a value")));
            match arg.as_str() {
                "--runs" => options.runs = value()?.parse().map_err(|_| wrong("--runs N"))?,
                "--seconds" => {
                    options.seconds = value()?.parse().map_err(|_| wrong("--seconds S"))?;
                }
                "--only" => options.only = Some(value()?.clone()),
                "--json" => options.json = true,
                _ => return Err(wrong(&format!("unknown option {arg}"))),
            }
        }
        Ok(options)
    }

    fn run(&self) -> io::Result<()> {
        let folder = std::env::temp_dir().join(format!("rumpnet-bench-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let done = self.run_in(&folder);
        std::fs::remove_dir_all(&folder)?;
        done
    }

    fn run_in(&self, folder: &Path) -> io::Result<()> {
        let mut rows = Vec::new();
        let modes = [
            ("bulk", "bulk TCP, 128 KiB writes", "Gbit/s"),
            ("rr", "one-byte request/response", "1/s"),
            ("crr", "connect, request, close", "1/s"),
        ];
        for (mode, what, unit) in modes {
            if self.only.as_deref().is_some_and(|only| only != mode) {
                continue;
            }
            for placement in Placement::ALL {
                let row = self.measure(folder, mode, what, unit, placement)?;
                if !self.json {
                    print_row(&row);
                }
                rows.push(row);
            }
        }
        if self.only.as_deref().is_none_or(|only| only == "start") {
            let start = start_times(folder, self.runs)?;
            if !self.json {
                println!(
                    "process start to first packet on the bus: median {:.2} ms ({:.2}-{:.2}), {} runs",
                    start.median, start.min, start.max, start.runs
                );
            }
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
        Ok(())
    }

    fn measure(
        &self,
        folder: &Path,
        mode: &str,
        what: &'static str,
        unit: &'static str,
        placement: Placement,
    ) -> io::Result<Row> {
        let (mut ours, mut linux) = (Vec::new(), Vec::new());
        for i in 0..self.runs {
            let bus = folder.join(format!("{mode}-{}-{i}.bus", placement.core(1)));
            Shmif::create_or_attach(&bus, &BusConfig::default())?;
            ours.push(self.pair(mode, &bus.display().to_string(), placement)?);
            std::fs::remove_file(&bus)?;
            linux.push(self.pair(mode, "linux", placement)?);
        }
        let of = |runs: &[Run], f: fn(&Run) -> f64| {
            summarize(&runs.iter().map(f).collect::<Vec<_>>()).expect("at least one run")
        };
        let ratios: Vec<f64> = ours.iter().zip(&linux).map(|(a, b)| a.rate / b.rate).collect();
        Ok(Row {
            what,
            unit,
            placement,
            ours: of(&ours, |r| r.rate),
            linux: of(&linux, |r| r.rate),
            ratio: summarize(&ratios).expect("at least one run"),
            ours_per_cpu_second: of(&ours, |r| r.per_cpu_second),
            linux_per_cpu_second: of(&linux, |r| r.per_cpu_second),
            ours_p50_us: of(&ours, |r| r.p50_us),
            linux_p50_us: of(&linux, |r| r.p50_us),
        })
    }

    /// Runs a server and a client process and reads their reports.
    fn pair(&self, mode: &str, transport: &str, placement: Placement) -> io::Result<Run> {
        let (server_ip, client_ip) = match transport {
            "linux" => ("127.0.0.1", "127.0.0.1"),
            _ => (SERVER, CLIENT),
        };
        let mut server = spawn(&["server", mode, transport, server_ip], placement.core(1), 0.0)?;
        let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
        let addr = lines.next().ok_or_else(|| wrong("the server ended early"))??;
        let client =
            spawn(&["client", mode, transport, client_ip, &addr], placement.core(0), self.seconds)?;
        let client = client.wait_with_output()?;
        let client: Report = serde_json::from_slice(&client.stdout)?;
        let line = lines.next().ok_or_else(|| wrong("the server ended early"))??;
        let server_report: Report = serde_json::from_str(&line)?;
        server.wait()?;
        let (count, seconds) = match mode {
            "bulk" => (server_report.count as f64 * 8.0 / 1e9, server_report.seconds),
            _ => (client.count as f64, client.seconds),
        };
        Ok(Run {
            rate: count / seconds,
            per_cpu_second: count / (client.cpu_seconds + server_report.cpu_seconds),
            p50_us: client.p50_us,
        })
    }
}

fn print_row(row: &Row) {
    println!(
        "{} ({}), {}: ours {:.2} [{:.2}-{:.2}]  linux {:.2} [{:.2}-{:.2}]  ratio {:.3} (95 %: {:.3}-{:.3}, {} runs)",
        row.what,
        row.unit,
        row.placement.name(),
        row.ours.median,
        row.ours.min,
        row.ours.max,
        row.linux.median,
        row.linux.min,
        row.linux.max,
        row.ratio.median,
        row.ratio.low95,
        row.ratio.high95,
        row.ratio.runs,
    );
    println!(
        "    per CPU-second: ours {:.2}, linux {:.2}; p50: ours {:.1} us, linux {:.1} us",
        row.ours_per_cpu_second.median,
        row.linux_per_cpu_second.median,
        row.ours_p50_us.median,
        row.linux_p50_us.median,
    );
}

fn spawn(role: &[&str], core: usize, seconds: f64) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("role")
        .args([core.to_string(), seconds.to_string()])
        .args(role)
        .stdout(Stdio::piped())
        .spawn()
}

/// A child: `CORE SECONDS server|client MODE TRANSPORT OWN-IP [SERVER-ADDR]`.
fn role(args: &[String]) -> io::Result<()> {
    let [core, seconds, end, mode, transport, ip, rest @ ..] = args else {
        return Err(wrong("role: too few words"));
    };
    pin(core.parse().map_err(|_| wrong("core"))?)?;
    if mode == "start" {
        return first_packet(transport);
    }
    let transport = Transport::open(transport, &format!("{ip}/24"))?;
    let report = match (end.as_str(), rest) {
        ("server", _) => serve(&transport, mode, ip)?,
        ("client", [addr]) => {
            let seconds: f64 = seconds.parse().map_err(|_| wrong("seconds"))?;
            let addr = addr.parse().map_err(|_| wrong("address"))?;
            ask(&transport, mode, addr, Duration::from_secs_f64(seconds))?
        }
        _ => return Err(wrong("role: server or client")),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
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
        let mut child = spawn(&["client", "start", &bus, CLIENT], 1, 0.0)?;
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

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}
