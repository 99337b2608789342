//! TCP between a stack over a tap and the kernel, beside kernel and kernel over a veth pair, and
//! beside smoltcp over the same tap; interleaved, in namespaces that the bench makes.
//!
//! `cargo bench -p rumpnet-benches --bench tap -- [--runs N] [--seconds S] [--only ROW] [--json]`

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use rumpnet_benches::ends::{Report, WRITE_BYTES, ask, serve, touch};
use rumpnet_benches::pair::{self, Options, Row, Run, wrong};
use rumpnet_benches::place::{Core, Placement, cpu_seconds, pin};
use rumpnet_benches::smol::Smol;
use rumpnet_benches::transport::Transport;
use virtif::{HostSide, Offloads};

/// The tap's two sides, and the veth pair's.
const HOST: &str = "10.78.0.1";
const OURS: &str = "10.78.0.2";
const NEAR: &str = "10.79.0.1";
const FAR: &str = "10.79.0.2";
const PORT: u16 = 7_800;
const TAP: &str = "btap";

/// Where an end runs, and on what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The kernel's sockets beside the tap's host side, or at the near end of the veth pair.
    Near,
    /// The kernel's sockets at the far end of the veth pair.
    Far,
    /// Our stack over the tap.
    Ours(Offloads),
    /// The same with offloads, no frame longer than 64 KiB.
    Short,
    /// smoltcp over the tap.
    Smol(Offloads),
}

/// One row: a client, a server, and the peers' clients and servers.
struct Kind {
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    mode: &'static str,
    ours: (End, End),
    peer_name: &'static str,
    peer: (End, End),
}

const ON: Offloads = Offloads::Auto;
const OFF: Offloads = Offloads::Off;

const ROWS: &[Kind] = &[
    row("in", "bulk", (End::Near, End::Ours(ON)), "veth", (End::Near, End::Far)),
    row("out", "bulk", (End::Ours(ON), End::Near), "veth", (End::Near, End::Far)),
    row("out-64k", "bulk", (End::Short, End::Near), "veth", (End::Near, End::Far)),
    row("in-smoltcp", "bulk", (End::Near, End::Ours(ON)), "smoltcp", (End::Near, End::Smol(ON))),
    row("out-smoltcp", "bulk", (End::Ours(ON), End::Near), "smoltcp", (End::Smol(ON), End::Near)),
    row("plain-in", "bulk", (End::Near, End::Ours(OFF)), "smoltcp", (End::Near, End::Smol(OFF))),
    row("plain-out", "bulk", (End::Ours(OFF), End::Near), "smoltcp", (End::Smol(OFF), End::Near)),
    row("rr", "rr", (End::Ours(ON), End::Near), "veth", (End::Near, End::Far)),
    row("crr", "crr", (End::Ours(ON), End::Near), "veth", (End::Near, End::Far)),
];

const fn row(
    name: &'static str,
    mode: &'static str,
    ours: (End, End),
    peer_name: &'static str,
    peer: (End, End),
) -> Kind {
    let (what, unit) = match mode.as_bytes() {
        b"bulk" => ("bulk TCP, 128 KiB writes", "Gbit/s"),
        b"rr" => ("one-byte request/response", "1/s"),
        _ => ("connect, request, close", "1/s"),
    };
    Kind { name, what, unit, mode, ours, peer_name, peer }
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("role") => role(&args[1..]),
        Some("far") => far(),
        _ => run(&Options::parse(&args)?),
    }
}

fn run(options: &Options) -> io::Result<()> {
    let Some(mut wires) = Wires::make()? else { return Ok(()) };
    let mut results = Vec::new();
    for row in ROWS.iter().filter(|row| options.wants(row.name)) {
        for placement in Placement::ALL {
            let result = measure(options, row, placement, &wires)?;
            if !options.json {
                print!("{}: ", row.name);
                result.print();
            }
            results.push(result);
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    }
    wires.far.stdin = None;
    wires.far.wait()?;
    Ok(())
}

fn measure(options: &Options, row: &Kind, placement: Placement, wires: &Wires) -> io::Result<Row> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        ours.push(pair(options, row.mode, row.ours, placement, wires)?);
        theirs.push(pair(options, row.mode, row.peer, placement, wires)?);
    }
    Row::new((row.what, row.unit), placement, &ours, (row.peer_name, &theirs))
}

fn pair(
    options: &Options,
    mode: &str,
    (client, server): (End, End),
    placement: Placement,
    wires: &Wires,
) -> io::Result<Run> {
    let ip = match server {
        End::Near => HOST,
        End::Far => FAR,
        End::Ours(_) | End::Short | End::Smol(_) => OURS,
    };
    let own_ip = match client {
        End::Near | End::Far => "0.0.0.0",
        End::Ours(_) | End::Short | End::Smol(_) => OURS,
    };
    let server = spawn(wires, server, placement.core(1), 0.0, &["server", mode, ip])?;
    pair::finish(mode, server, |addr| {
        let words = ["client", mode, own_ip, addr];
        spawn(wires, client, placement.core(0), options.seconds, &words)
    })
}

/// The veth pair and the process that holds its far end's namespace.
struct Wires {
    far: Child,
}

impl Wires {
    /// Moves this process into a namespace with a tap and one end of a veth pair; `None`, and
    /// why on stderr, where that is not allowed.
    fn make() -> io::Result<Option<Self>> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("skipped: no network namespace: {error}; run it as root");
            return Ok(None);
        }
        // Kept for as long as the device lives in this namespace.
        if let Err(error) = virtif::Virtif::open(TAP) {
            eprintln!("skipped: {error}");
            return Ok(None);
        }
        ip(&format!("tuntap add {TAP} mode tap"))?;
        HostSide::new(vec![cidr(HOST)?]).apply(TAP)?;
        virtif::loopback_up()?;
        let far = Command::new(std::env::current_exe()?)
            .arg("far")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut far = Wires { far };
        far.await_line()?;
        ip(&format!("link add bnear type veth peer name bfar netns {}", far.far.id()))?;
        HostSide::new(vec![cidr(NEAR)?]).apply("bnear")?;
        far.far.stdin.as_mut().expect("standard input is piped").write_all(b"set\n")?;
        far.await_line()?;
        Ok(Some(far))
    }

    fn await_line(&mut self) -> io::Result<()> {
        let mut byte = [0];
        let out = self.far.stdout.as_mut().expect("standard output is piped");
        while out.read(&mut byte)? == 1 && byte[0] != b'\n' {}
        Ok(())
    }
}

/// Holds the namespace at the veth pair's far end until standard input ends.
fn far() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let say = |text: &str| {
        println!("{text}");
        io::stdout().flush()
    };
    say("ready")?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    HostSide::new(vec![cidr(FAR)?]).apply("bfar")?;
    say("set")?;
    io::stdin().read_to_string(&mut line)?;
    Ok(())
}

fn ip(args: &str) -> io::Result<()> {
    let status = Command::new("ip").args(args.split(' ')).status()?;
    if status.success() { Ok(()) } else { Err(wrong(&format!("ip {args}"))) }
}

fn cidr(addr: &str) -> io::Result<rumpnet::IpCidr> {
    format!("{addr}/24").parse().map_err(|_| wrong("address"))
}

fn spawn(wires: &Wires, end: End, core: Core, seconds: f64, words: &[&str]) -> io::Result<Child> {
    let (transport, namespace) = match end {
        End::Near => ("linux".to_owned(), 0),
        End::Far => ("linux".to_owned(), wires.far.id()),
        End::Ours(ON) => (format!("tap:{TAP}"), 0),
        End::Ours(OFF) => (format!("plain:{TAP}"), 0),
        End::Short => (format!("short:{TAP}"), 0),
        End::Smol(ON) => ("smol-on".to_owned(), 0),
        End::Smol(OFF) => ("smol-off".to_owned(), 0),
    };
    Command::new(std::env::current_exe()?)
        .arg("role")
        .args([core.to_string(), seconds.to_string(), transport, namespace.to_string()])
        .args(words)
        .stdout(Stdio::piped())
        .spawn()
}

/// A child: `CORE SECONDS TRANSPORT NAMESPACE server|client MODE OWN-IP [SERVER-ADDR]`.
fn role(args: &[String]) -> io::Result<()> {
    let [core, seconds, transport, namespace, end, mode, ip, rest @ ..] = args else {
        return Err(wrong("role: too few words"));
    };
    pin(core.parse().map_err(|_| wrong("core"))?)?;
    if namespace != "0" {
        let file = std::fs::File::open(format!("/proc/{namespace}/ns/net"))?;
        setns(file, CloneFlags::CLONE_NEWNET)?;
    }
    let duration = Duration::from_secs_f64(seconds.parse().map_err(|_| wrong("seconds"))?);
    let report = match transport.strip_prefix("smol-") {
        Some(offloads) => smol(if offloads == "on" { ON } else { OFF }, end, rest, duration)?,
        None => {
            let transport = Transport::open(transport, &format!("{ip}/24"))?;
            match rest {
                [] => serve(&transport, mode, ip)?,
                [addr, ..] => {
                    ask(&transport, mode, addr.parse().map_err(|_| wrong("address"))?, duration)?
                }
            }
        }
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// smoltcp as one end of a bulk run.
fn smol(offloads: Offloads, end: &str, rest: &[String], duration: Duration) -> io::Result<Report> {
    let own: Ipv4Addr = OURS.parse().map_err(|_| wrong("address"))?;
    let mut stack = Smol::open(TAP, own, offloads)?;
    let (mut start, mut cpu) = (Instant::now(), cpu_seconds());
    let count = if end == "server" {
        println!("{OURS}:{PORT}");
        io::stdout().flush()?;
        let mut sum = 0;
        let begin = || (start, cpu) = (Instant::now(), cpu_seconds());
        let count = stack.receive(PORT, begin, |bytes| sum ^= touch(bytes))?;
        std::hint::black_box(sum);
        count
    } else {
        let addr = rest.first().and_then(|addr| addr.parse().ok());
        let Some(SocketAddr::V4(addr)) = addr else { return Err(wrong("address")) };
        stack.send(addr, &vec![0x5a; WRITE_BYTES], duration)?
    };
    let seconds = start.elapsed().as_secs_f64();
    Ok(Report { count, seconds, cpu_seconds: cpu_seconds() - cpu, ..Report::default() })
}
