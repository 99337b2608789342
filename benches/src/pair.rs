//! A server and a client in processes of their own, on cores of their own choice; a bench's own
//! executable plays both.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::ends::{Report, ask, serve};
use crate::place::{Core, Placement, pin};
use crate::stats::{Summary, summarize};
use crate::transport::Transport;

/// What is measured: its word, its title, its unit.
pub const MODES: [(&str, &str, &str); 3] = [
    ("bulk", "bulk TCP, 128 KiB writes", "Gbit/s"),
    ("rr", "one-byte request/response", "1/s"),
    ("crr", "connect, request, close", "1/s"),
];

/// What the command line of a bench asks for:
/// `[--runs N] [--seconds S] [--only MODE] [--ipv6] [--json]`.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often each pair of runs is made.
    pub runs: usize,
    /// How long a run takes, in seconds.
    pub seconds: f64,
    /// The one mode to measure; `None`: all.
    pub only: Option<String>,
    /// Measure IPv6 beside IPv4, where a bench can.
    pub ipv6: bool,
    /// Print JSON.
    pub json: bool,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// Words that are not understood.
    pub fn parse(args: &[String]) -> io::Result<Self> {
        let mut options = Options { runs: 20, seconds: 0.5, only: None, ipv6: false, json: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| wrong(&format!("{arg} needs a value")));
            match arg.as_str() {
                "--runs" => options.runs = value()?.parse().map_err(|_| wrong("--runs N"))?,
                "--seconds" => {
                    options.seconds = value()?.parse().map_err(|_| wrong("--seconds S"))?;
                }
                "--only" => options.only = Some(value()?.clone()),
                "--ipv6" => options.ipv6 = true,
                "--json" => options.json = true,
                _ => return Err(wrong(&format!("unknown option {arg}"))),
            }
        }
        Ok(options)
    }

    /// Is this mode asked for?
    pub fn wants(&self, mode: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == mode)
    }
}

/// One run: both ends.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    rate: f64,
    per_cpu_second: f64,
    p50_us: f64,
}

impl Run {
    /// Gbit/s, round trips or connections per second.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

/// Our runs of one kind beside a peer's, each pair one after the other.
#[derive(Debug, Serialize)]
pub struct Row {
    what: &'static str,
    unit: &'static str,
    placement: Placement,
    peer: &'static str,
    ours: Summary,
    theirs: Summary,
    ratio: Summary,
    ours_per_cpu_second: Summary,
    theirs_per_cpu_second: Summary,
    ours_p50_us: Summary,
    theirs_p50_us: Summary,
}

impl Row {
    /// Sums up runs that were interleaved.
    ///
    /// # Errors
    /// There were none.
    pub fn new(
        (what, unit): (&'static str, &'static str),
        placement: Placement,
        ours: &[Run],
        (peer, theirs): (&'static str, &[Run]),
    ) -> io::Result<Self> {
        let of = |runs: &[Run], f: fn(&Run) -> f64| {
            summarize(&runs.iter().map(f).collect::<Vec<_>>())
                .ok_or_else(|| wrong("--runs must not be 0"))
        };
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a.rate / b.rate).collect();
        Ok(Row {
            what,
            unit,
            placement,
            peer,
            ours: of(ours, |r| r.rate)?,
            theirs: of(theirs, |r| r.rate)?,
            ratio: summarize(&ratios).ok_or_else(|| wrong("--runs must not be 0"))?,
            ours_per_cpu_second: of(ours, |r| r.per_cpu_second)?,
            theirs_per_cpu_second: of(theirs, |r| r.per_cpu_second)?,
            ours_p50_us: of(ours, |r| r.p50_us)?,
            theirs_p50_us: of(theirs, |r| r.p50_us)?,
        })
    }

    /// Prints it, with its unit.
    pub fn print(&self) {
        println!(
            "{} ({}), {}: ours {:.2} [{:.2}-{:.2}]  {} {:.2} [{:.2}-{:.2}]  ratio {:.3} (95 %: {:.3}-{:.3}, {} runs)",
            self.what,
            self.unit,
            self.placement.name(),
            self.ours.median,
            self.ours.min,
            self.ours.max,
            self.peer,
            self.theirs.median,
            self.theirs.min,
            self.theirs.max,
            self.ratio.median,
            self.ratio.low95,
            self.ratio.high95,
            self.ratio.runs,
        );
        println!(
            "    per CPU-second: ours {:.2}, {} {:.2}; p50: ours {:.1} us, {} {:.1} us",
            self.ours_per_cpu_second.median,
            self.peer,
            self.theirs_per_cpu_second.median,
            self.ours_p50_us.median,
            self.peer,
            self.theirs_p50_us.median,
        );
    }
}

/// Runs a server and a client process over a transport, and reads their reports; `ips` are the
/// server's and the client's.
///
/// # Errors
/// A process could not be started, or ended early.
pub fn run(
    mode: &str,
    transport: &str,
    [server_ip, client_ip]: [&str; 2],
    placement: Placement,
    seconds: f64,
) -> io::Result<Run> {
    let server = spawn(&["server", mode, transport, server_ip], placement.core(1), 0.0)?;
    finish(mode, server, |addr| {
        spawn(&["client", mode, transport, client_ip, addr], placement.core(0), seconds)
    })
}

/// Waits for a server that was started, starts its client with the server's address, and reads
/// the reports of both.
///
/// # Errors
/// A process could not be started, or ended early.
pub fn finish(
    mode: &str,
    mut server: Child,
    client: impl FnOnce(&str) -> io::Result<Child>,
) -> io::Result<Run> {
    let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
    let addr = lines.next().ok_or_else(|| wrong("the server ended early"))??;
    let client = client(&addr)?;
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

/// Starts this executable again as a child that plays a role on a core; see [`role`].
///
/// # Errors
/// The host's.
pub fn spawn(role: &[&str], core: Core, seconds: f64) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("role")
        .args([core.to_string(), seconds.to_string()])
        .args(role)
        .stdout(Stdio::piped())
        .spawn()
}

/// Plays the role that a child was started with: `CORE SECONDS server|client MODE TRANSPORT OWN-IP [SERVER-ADDR]`.
///
/// # Errors
/// Those of the transport; words that are not understood.
pub fn role(args: &[String]) -> io::Result<()> {
    let [core, seconds, end, mode, transport, ip, rest @ ..] = args else {
        return Err(wrong("role: too few words"));
    };
    pin(core.parse().map_err(|_| wrong("core"))?)?;
    let bits = if ip.contains(':') { 64 } else { 24 };
    let transport = Transport::open(transport, &format!("{ip}/{bits}"))?;
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

/// A wrong use of a bench.
pub fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}
