//! `rumpnet demo`: three processes on one bus, everything tried once, every result checked.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use libnet::Family;
use serde_json::{Value, json};
use shmif::{BusConfig, MemberState, Shmif};

use crate::cli::Global;
use crate::fail::{Failure, Outcome, Status};
use crate::output::Output;
use crate::signals::Interrupts;
use crate::units;

mod capture;
mod file;
pub mod host;
mod hosts;

use capture::Part;
use hosts::{HOSTS, Hosts};

/// `rumpnet demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Bytes of the file that crosses; takes K, M and G
    #[arg(long, value_name = "BYTES", default_value = "256M", value_parser = units::parse_bytes)]
    size: u64,
    /// The folder to work in; it must not exist yet [default: a new one among the temporary files]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Keep the files that crossed
    #[arg(long)]
    keep: bool,
    /// Show it over IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
}

/// How long the ping round waits for each answer.
const PING_PATIENCE_MS: u64 = 2_000;
/// Payloads of the UDP echo: one byte, a full frame, one byte past it, and the most there can be.
const UDP_SIZES: [usize; 4] = [1, 1_472, 1_473, 65_507];
/// The same over IPv6, whose header is longer and not counted.
const UDP_SIZES_6: [usize; 4] = [1, 1_452, 1_453, 65_527];
/// How long request and response are measured.
const ROUNDS_MS: u64 = 500;
/// The port of host c's echo service.
const ECHO_PORT: u16 = 7;
/// The port that the file goes to.
const FILE_PORT: u16 = 50_001;

/// Shows everything once.
///
/// # Errors
/// The first check that did not hold.
pub fn run(args: &DemoArgs, global: &Global) -> Outcome {
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let folder = make_folder(args)?;
    let mut demo = Demo::new(args, global, folder, &interrupts)?;
    let result = demo.show();
    demo.end(result)
}

fn make_folder(args: &DemoArgs) -> Result<PathBuf, Failure> {
    if let Some(folder) = &args.folder {
        let made = fs::create_dir(folder);
        made.map_err(|error| {
            Failure::doing(format_args!("cannot make {}", folder.display()), &error)
        })?;
        return Ok(folder.clone());
    }
    let made = tempfile::Builder::new().prefix("rumpnet-demo-").tempdir();
    let made = made.map_err(|error| Failure::doing("cannot make a temporary folder", &error))?;
    Ok(made.keep())
}

struct Demo<'a> {
    args: &'a DemoArgs,
    json: bool,
    output: Output,
    folder: PathBuf,
    bus: PathBuf,
    hosts: Hosts<'a>,
    interrupts: &'a Interrupts,
    results: Value,
    began: Instant,
}

impl<'a> Demo<'a> {
    fn new(
        args: &'a DemoArgs,
        global: &Global,
        folder: PathBuf,
        interrupts: &'a Interrupts,
    ) -> Result<Self, Failure> {
        let bus = folder.join("demo.bus");
        Shmif::create_or_attach(&bus, &BusConfig::default())
            .map_err(|error| Failure::new(error.to_string()))?;
        Ok(Demo {
            args,
            json: global.json,
            output: Output::new(),
            hosts: Hosts::new(interrupts, if args.ipv6 { Family::Inet6 } else { Family::Inet }),
            interrupts,
            results: json!({"folder": folder, "bus": bus}),
            folder,
            bus,
            began: Instant::now(),
        })
    }

    fn show(&mut self) -> Result<(), Failure> {
        self.start_hosts()?;
        self.ping_round()?;
        self.transfer()?;
        self.udp_echo()?;
        self.latency()?;
        let parts = self.stop_recording()?;
        self.leave()?;
        self.put_together(&parts)
    }

    fn start_hosts(&mut self) -> Result<(), Failure> {
        self.say("rumpnet demo: three processes that share nothing but a file\n")?;
        self.fact("folder", &self.folder.display().to_string())?;
        self.fact("bus", &self.bus.display().to_string())?;
        self.hosts.start(&self.bus, &self.folder)?;
        let members = shmif::members(&self.bus).map_err(|error| Failure::new(error.to_string()))?;
        for name in HOSTS {
            let addr = self.hosts.addr(name);
            let member = members.iter().find(|member| member.name == name);
            let member = member.filter(|member| member.state == MemberState::Alive);
            let Some(member) = member else {
                return Err(Failure::new(format!("host {name} is not on the bus")));
            };
            self.fact("host", &format!("{name}  {addr}  mac {}  pid {}", member.mac, member.pid))?;
        }
        Ok(())
    }

    fn ping_round(&mut self) -> Result<(), Failure> {
        let mut pairs = Vec::new();
        for from in HOSTS {
            for to in HOSTS.into_iter().filter(|to| *to != from) {
                let command = json!({
                    "do": "ping", "to": self.hosts.addr(to), "count": 3, "patience_ms": PING_PATIENCE_MS,
                });
                let answer = self.hosts.ask(from, &command)?;
                let times: Vec<f64> = answer["ms"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_f64)
                    .collect();
                if times.len() < 3 {
                    return Err(Failure::new(format!(
                        "host {to} answered {} of 3 pings from host {from}",
                        times.len()
                    )));
                }
                // The first one waits for the neighbour's address.
                let best = times.iter().copied().fold(f64::INFINITY, f64::min);
                pairs.push((format!("{from} to {to}"), best));
            }
        }
        let text: Vec<String> =
            pairs.iter().map(|(pair, ms)| format!("{pair} {:.0} µs", ms * 1000.0)).collect();
        self.fact("ping", &text.join(", "))?;
        self.results["ping_ms"] = pairs
            .into_iter()
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(pair, ms)| (pair, Value::from(ms)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        Ok(())
    }

    fn transfer(&mut self) -> Result<(), Failure> {
        let (source, target) = (self.folder.join("sent.bin"), self.folder.join("received.bin"));
        let sent_hash = file::make(&source, self.args.size, self.interrupts)?;
        self.hosts.tell("b", &json!({"do": "receive", "port": FILE_PORT, "path": target}))?;
        self.hosts.wait("b", "listening")?;
        let to = SocketAddr::new(self.hosts.addr("b"), FILE_PORT).to_string();
        self.hosts.tell("a", &json!({"do": "send", "to": to, "path": source}))?;
        let bar = file::progress(self.args.size, self.json);
        let received = self.hosts.wait_with("b", "received", |progress| {
            bar.set_position(progress["bytes"].as_u64().unwrap_or(0));
        })?;
        bar.finish_and_clear();
        self.hosts.wait("a", "sent")?;
        let bytes = received["bytes"].as_u64().unwrap_or(0);
        let seconds = received["seconds"].as_f64().unwrap_or(0.0);
        let received_hash = file::hash(&target, self.interrupts)?;
        if bytes != self.args.size || received_hash != sent_hash {
            return Err(Failure::new(format!(
                "the file was changed on its way: {} bytes with SHA-256 {sent_hash} were sent, \
                 {bytes} with {received_hash} were received",
                self.args.size
            )));
        }
        let rate = bytes as f64 * 8.0 / seconds.max(1e-9);
        self.fact(
            "file",
            &format!(
                "{} from a to b by TCP in {seconds:.2} s, {}, SHA-256 equal ({}...)",
                units::bytes(bytes),
                units::bit_rate(rate),
                &sent_hash[..12]
            ),
        )?;
        self.results["file"] = json!({
            "bytes": bytes, "seconds": seconds, "bits_per_second": rate, "sha256": sent_hash,
        });
        if !self.args.keep {
            // Two of these are all there is to them; what cannot be removed stays.
            let _ = fs::remove_file(&source).and_then(|()| fs::remove_file(&target));
        }
        Ok(())
    }

    fn udp_echo(&mut self) -> Result<(), Failure> {
        let to = SocketAddr::new(self.hosts.addr("c"), ECHO_PORT).to_string();
        let all = if self.args.ipv6 { UDP_SIZES_6 } else { UDP_SIZES };
        let answer = self.hosts.ask("a", &json!({"do": "udp_echo", "to": to, "sizes": all}))?;
        let intact = answer["intact"].as_u64().unwrap_or(0);
        if intact != all.len() as u64 {
            return Err(Failure::new(format!(
                "{intact} of {} datagrams came back from host c as they were",
                all.len()
            )));
        }
        let sizes: Vec<String> = all.iter().map(ToString::to_string).collect();
        self.fact("udp", &format!("{} bytes from a to c and back, all intact", sizes.join(", ")))?;
        self.results["udp_echo"] = json!({"sizes": all, "intact": intact});
        Ok(())
    }

    fn latency(&mut self) -> Result<(), Failure> {
        let to = SocketAddr::new(self.hosts.addr("c"), ECHO_PORT).to_string();
        let answer = self.hosts.ask("a", &json!({"do": "rounds", "to": to, "ms": ROUNDS_MS}))?;
        let number = |key: &str| answer[key].as_f64().unwrap_or(0.0);
        if number("transactions") < 1.0 {
            return Err(Failure::new("host c answered no request by TCP"));
        }
        self.fact(
            "latency",
            &format!(
                "one byte by TCP from a to c and back: p50 {:.0} µs, p99 {:.0} µs, {:.0} a second",
                number("p50_us"),
                number("p99_us"),
                number("transactions_per_second")
            ),
        )?;
        self.results["latency"] = answer;
        Ok(())
    }

    /// Ends what the hosts write down.
    fn stop_recording(&mut self) -> Result<Vec<Part>, Failure> {
        let mut parts = Vec::new();
        for host in HOSTS {
            let answer = self.hosts.ask(host, &json!({"do": "stop_recording"}))?;
            let is_cut = answer["skipped"].as_u64().unwrap_or(0) > 0;
            parts.push(Part { host, path: hosts::recording(&self.folder, host), is_cut });
        }
        Ok(parts)
    }

    fn put_together(&mut self, parts: &[Part]) -> Result<(), Failure> {
        let path = self.folder.join("start.pcapng");
        let frames = capture::merge(parts, &path).map_err(|error| {
            Failure::doing(format_args!("the capture {}", path.display()), &error)
        })?;
        if frames == 0 {
            return Err(Failure::new("the capture holds no frame"));
        }
        self.fact("capture", &format!("the first {frames} frames: {}", path.display()))?;
        self.results["capture"] = json!({"frames": frames, "path": path});
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Failure> {
        self.hosts.leave()?;
        let members = shmif::members(&self.bus).map_err(|error| Failure::new(error.to_string()))?;
        if let Some(member) = members.first() {
            return Err(Failure::new(format!("host {} is still on the bus", member.name)));
        }
        self.fact("left", "all three hosts left the bus")
    }

    /// Sums up; the hosts are gone when this returns, whatever happened.
    fn end(mut self, result: Result<(), Failure>) -> Outcome {
        let took = self.began.elapsed();
        if self.json {
            self.results["seconds"] = took.as_secs_f64().into();
            self.results["ok"] = result.is_ok().into();
            if let Err(failure) = &result {
                self.results["error"] = failure.to_string().into();
            }
            self.output.json_pretty(&self.results)?;
        }
        match result {
            Ok(()) => {
                self.next_steps(took)?;
                self.output.flush()?;
                Ok(Status::DONE)
            }
            Err(failure) => {
                let folder = self.folder.display();
                self.output.flush()?;
                Err(Failure::new(format!("{failure}\n(the hosts' logs are in {folder})")))
            }
        }
    }

    fn next_steps(&mut self, took: Duration) -> Result<(), Failure> {
        let (bus, folder) = (quoted(&self.bus), self.folder.display().to_string());
        let capture = quoted(&self.folder.join("start.pcapng"));
        self.say(&format!("\nEvery check held, in {:.1} s. Try next:", took.as_secs_f64()))?;
        let me = program();
        let addr = |name| self.hosts.addr(name);
        let (bits, stranger) = if self.args.ipv6 { (64, "fd00:77::9") } else { (24, "10.77.0.9") };
        for (command, what) in [
            (format!("{me} dump --once {bus}"), "the last frames that the bus still holds"),
            (
                format!("{me} dump -r {capture} tcp"),
                "the capture; tshark and Wireshark read it too",
            ),
            (
                format!("{me} node --if shmif:{bus},addr={}/{bits} --name alice", addr("a")),
                "a node that stays",
            ),
            (
                format!("{me} ping --if shmif:{bus},addr={stranger}/{bits} {} -c 3", addr("a")),
                "from another terminal",
            ),
        ] {
            self.say(&format!("  {command}\n      {what}"))?;
        }
        self.say(&format!("  rm -r {folder}\n      when you are done"))
    }

    fn fact(&mut self, what: &str, text: &str) -> Result<(), Failure> {
        self.say(&format!("{what:<8} {text}"))
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        self.output.line(text)?;
        self.output.flush()
    }
}

/// How this program was called, so that what is printed can be pasted.
fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.components().count() > 1 { quoted(&called) } else { "rumpnet".to_owned() }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
