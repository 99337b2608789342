//! Goodput of our TCP and of the kernel's over the same bad path, in turn, in real time: a cable of
//! ours between two taps that are ports of a bridge in a namespace each, so that the kernel's ends
//! and ours send the same frames the same way. And how the two share the path.
//!
//! `cargo bench -p rumpnet-benches --bench paths -- [--runs N] [--seconds S] [--jobs N]
//! [--warm-up S] [--only WORDS] [--cc cubic|bbr] [--share] [--control] [--json]`
//!
//! ```text
//!  the kernel's end ─ bridge ─ tap ── cable, a process ── tap ─ bridge ─ the kernel's end
//!           our end ─ tap ─┘                                      └─ tap ─ our end
//! ```

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libnet::driver::patch::{Patch, PatchConfig};
use libnet::impair::{Impairments, QueueLimit};
use nix::sched::{CloneFlags, setns};
use rumpnet::{InetConfig, Stack};
use rumpnet_benches::ends::{Report, WRITE_BYTES, touch};
use rumpnet_benches::held::{Held, hold, say};
use rumpnet_benches::pair::{self, wrong};
use rumpnet_benches::stats::{Summary, summarize};
use rumpnet_benches::transport::{Congestion, Transport};
use serde::Serialize;
use virtif::{Offloads, Virtif, VirtifConfig};

/// Of the path, link header included, bits per second.
const RATE: u64 = 100_000_000;
/// Round trips, milliseconds.
const RTTS: [u64; 3] = [10, 50, 150];
/// Shares of frames lost, towards the receiver.
const LOSSES: [f64; 4] = [0.0, 0.001, 0.01, 0.03];
/// The queue in front of the wire, in products of rate and round trip.
const QUEUES: [f64; 3] = [0.1, 1.0, 4.0];
/// Where frames are reordered: which share is held back, and for how long at most.
const REORDER: (f64, Duration) = (0.01, Duration::from_millis(5));

/// Who sends and who receives.
const ENDS: [&str; 2] = ["linux", "ours"];

/// A path, and what both ends avoid congestion by.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct Cell {
    rtt_ms: u64,
    loss: f64,
    reorder: bool,
    queue_bdp: f64,
    cc: &'static str,
}

impl Cell {
    fn all(cc: &'static str) -> Vec<Cell> {
        let mut cells = Vec::new();
        for rtt_ms in RTTS {
            for queue_bdp in QUEUES {
                let cell = |loss, reorder| Cell { rtt_ms, loss, reorder, queue_bdp, cc };
                cells.extend(LOSSES.map(|loss| cell(loss, false)));
                cells.push(cell(0.0, true));
            }
        }
        cells
    }

    fn name(&self) -> String {
        let Cell { rtt_ms, loss, queue_bdp, cc, .. } = self;
        let harm =
            if self.reorder { "reorder".to_owned() } else { format!("loss={}%", loss * 100.0) };
        format!("{cc} rtt={rtt_ms}ms {harm} queue={queue_bdp}bdp")
    }

    /// What is done to frames towards the receiver, and to those that come back.
    fn impairments(&self) -> [Impairments; 2] {
        let flight = Duration::from_millis(self.rtt_ms) / 2;
        let bdp = RATE as f64 / 8.0 * self.rtt_ms as f64 / 1e3;
        let queue = QueueLimit::drop_past_bytes((bdp * self.queue_bdp).max(1.0) as u64);
        let back = Impairments::none().rate(RATE).delay(flight).queue(queue);
        let mut there = back.clone().loss(self.loss);
        if self.reorder {
            there = there.reorder(REORDER.0).reorder_by(REORDER.1);
        }
        [there, back]
    }

    /// As one word, for the process that holds the cable.
    fn words(&self) -> String {
        format!("path {} {} {} {}", self.rtt_ms, self.loss, self.reorder, self.queue_bdp)
    }

    fn from_words<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Cell> {
        Some(Cell {
            rtt_ms: words.next()?.parse().ok()?,
            loss: words.next()?.parse().ok()?,
            reorder: words.next()?.parse().ok()?,
            queue_bdp: words.next()?.parse().ok()?,
            cc: "",
        })
    }
}

struct Options {
    runs: usize,
    seconds: f64,
    /// Until what arrives is counted.
    warm_up: f64,
    jobs: usize,
    only: Vec<String>,
    cc: Option<String>,
    share: bool,
    /// Two flows of Linux share the path, to know what sharing is like there.
    control: bool,
    json: bool,
}

impl Options {
    fn parse(args: &[String]) -> io::Result<Self> {
        let mut options = Options {
            runs: 5,
            seconds: 10.0,
            warm_up: 0.0,
            jobs: 1,
            only: Vec::new(),
            cc: None,
            share: false,
            control: false,
            json: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| wrong(&format!("{arg} needs a value")));
            match arg.as_str() {
                "--runs" => options.runs = value()?.parse().map_err(|_| wrong("--runs N"))?,
                "--seconds" => {
                    options.seconds = value()?.parse().map_err(|_| wrong("--seconds S"))?;
                }
                "--warm-up" => {
                    options.warm_up = value()?.parse().map_err(|_| wrong("--warm-up S"))?;
                }
                "--jobs" => options.jobs = value()?.parse().map_err(|_| wrong("--jobs N"))?,
                "--only" => options.only = value()?.split(' ').map(str::to_owned).collect(),
                "--cc" => options.cc = Some(value()?.clone()),
                "--share" => options.share = true,
                "--control" => (options.share, options.control) = (true, true),
                "--json" => options.json = true,
                _ => return Err(wrong(&format!("unknown option {arg}"))),
            }
        }
        Ok(options)
    }

    fn cells(&self) -> Vec<Cell> {
        let ccs = ["cubic", "bbr"]
            .into_iter()
            .filter(|cc| self.cc.as_deref().is_none_or(|only| only == *cc));
        let mut cells: Vec<Cell> = ccs.flat_map(Cell::all).collect();
        cells.retain(|cell| {
            let name = cell.name();
            self.only.iter().all(|word| name.split(' ').any(|part| part == word))
        });
        if self.share {
            cells.retain(|cell| cell.loss == 0.0 && !cell.reorder);
        }
        cells
    }
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("hold") => hold(),
        Some("cable") => cable(&args[1..]),
        Some("role") => role(&args[1..]),
        _ => run(&Options::parse(&args)?),
    }
}

/// What was measured of a cell.
#[derive(Debug, Serialize)]
struct Outcome {
    cell: Cell,
    /// Mbit/s of payload that arrived.
    linux: Summary,
    ours: Summary,
    /// Ours over Linux's, run by run; or, where they shared the path, our part of the sum.
    ratio: Summary,
}

fn run(options: &Options) -> io::Result<()> {
    let cells = options.cells();
    let mut nets = Vec::new();
    for _ in 0..options.jobs.clamp(1, cells.len().max(1)) {
        let Some(mut net) = Net::make()? else { return Ok(()) };
        if options.share {
            net.raise_limits()?;
        }
        nets.push(net);
    }
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = |net: &mut Net| -> io::Result<()> {
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = measure(options, cell, net)?;
            if !options.json {
                print(options, &outcome);
            }
            outcomes.lock().map_err(|_| wrong("a job panicked"))?.push(outcome);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = nets.iter_mut().map(|net| scope.spawn(|| work(net))).collect();
        jobs.into_iter().try_for_each(|job| job.join().map_err(|_| wrong("a job panicked"))?)
    })?;
    let outcomes = outcomes.into_inner().map_err(|_| wrong("a job panicked"))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else if let Some(all) =
        summarize(&outcomes.iter().map(|o| o.ratio.median).collect::<Vec<_>>())
    {
        println!(
            "median over {} cells: {:.3} [{:.3}-{:.3}]",
            all.runs, all.median, all.min, all.max
        );
    }
    Ok(())
}

fn print(options: &Options, Outcome { cell, linux, ours, ratio }: &Outcome) {
    println!(
        "{}: ours {:.1} [{:.1}-{:.1}] Mbit/s, Linux {:.1} [{:.1}-{:.1}], {} {:.3} [{:.3}-{:.3}] ({} runs)",
        cell.name(),
        ours.median,
        ours.min,
        ours.max,
        linux.median,
        linux.min,
        linux.max,
        if options.share { "our share" } else { "ratio" },
        ratio.median,
        ratio.min,
        ratio.max,
        ratio.runs,
    );
}

fn measure(options: &Options, cell: &Cell, net: &mut Net) -> io::Result<Outcome> {
    net.cable.ask(&cell.words())?;
    let (mut linux, mut ours) = (Vec::new(), Vec::new());
    for run in 0..options.runs {
        // Both meet with the same: the frame that is lost to one is lost to the other.
        let seed = format!("seed {}", run % 256);
        net.cable.ask(&seed)?;
        if options.share {
            let net = &*net;
            let mut ends = if options.control { [ENDS[0]; 2] } else { ENDS };
            // Who starts first is not always the same.
            if run % 2 == 1 {
                ends.reverse();
            }
            let [mut a, mut b] = std::thread::scope(|scope| {
                let flows = ends.map(|end| scope.spawn(move || net.flow(options, cell, end)));
                flows.map(|flow| flow.join().map_err(|_| wrong("a flow panicked"))?)
            });
            if run % 2 == 1 {
                (a, b) = (b, a);
            }
            linux.push(a?);
            ours.push(b?);
        } else {
            linux.push(net.flow(options, cell, ENDS[0])?);
            net.cable.ask(&seed)?;
            ours.push(net.flow(options, cell, ENDS[1])?);
        }
    }
    let of = |values: &[f64]| summarize(values).ok_or_else(|| wrong("--runs must not be 0"));
    let pairs = ours.iter().zip(&linux);
    let ratios: Vec<f64> = if options.share {
        pairs.map(|(ours, linux)| ours / (ours + linux)).collect()
    } else {
        pairs.map(|(ours, linux)| ours / linux).collect()
    };
    Ok(Outcome { cell: *cell, linux: of(&linux)?, ours: of(&ours)?, ratio: of(&ratios)? })
}

/// The ends' namespaces and the cable between them.
struct Net {
    /// Dropped, and so ended, before what holds the namespaces.
    cable: Held,
    sides: [Held; 2],
}

impl Net {
    /// `None`, and why on stderr, where that is not allowed.
    fn make() -> io::Result<Option<Net>> {
        let (Some(mut left), Some(mut right)) = (Held::spawn(&["hold"])?, Held::spawn(&["hold"])?)
        else {
            eprintln!("skipped: no network namespaces; run it as root");
            return Ok(None);
        };
        for (number, side) in [(1, &mut left), (2, &mut right)] {
            for command in [
                "ip link add br0 type bridge".to_owned(),
                "ip tuntap add wire mode tap".to_owned(),
                "ip tuntap add own mode tap".to_owned(),
                "ip link set wire txqueuelen 10000 master br0 up".to_owned(),
                "ip link set own txqueuelen 10000 master br0 up".to_owned(),
                format!("ip addr add 10.90.0.{number}/24 dev br0"),
                "ip link set br0 up".to_owned(),
                // What one run learned of the path is not for the next.
                "sysctl -qw net.ipv4.tcp_no_metrics_save=1".to_owned(),
            ] {
                side.ask(&command)?;
            }
        }
        let pids = [&left, &right].map(|side| side.id().to_string());
        let Some(cable) = Held::spawn(&["cable", &pids[0], &pids[1]])? else {
            eprintln!("skipped: no tap devices; run it as root, where there is /dev/net/tun");
            return Ok(None);
        };
        Ok(Some(Net { cable, sides: [left, right] }))
    }

    /// Lets Linux's buffers grow as far as ours, so that neither leaves the path to the other.
    fn raise_limits(&mut self) -> io::Result<()> {
        for side in &mut self.sides {
            side.ask("sysctl -qw net.ipv4.tcp_rmem=4096\t131072\t33554432")?;
            side.ask("sysctl -qw net.ipv4.tcp_wmem=4096\t16384\t33554432")?;
        }
        Ok(())
    }

    /// Payload from left to right for as long as a run lasts, Mbit/s.
    fn flow(&self, options: &Options, cell: &Cell, end: &str) -> io::Result<f64> {
        let number = if end == "ours" { 10 } else { 0 };
        let spawn = |side: usize, words: &[&str]| -> io::Result<Child> {
            Command::new(std::env::current_exe()?)
                .arg("role")
                .args([options.warm_up.to_string(), options.seconds.to_string()])
                .args([self.sides[side].id().to_string()])
                .args([end, cell.cc, &format!("10.90.0.{}", number + 1 + side)])
                .args(words)
                .stdout(Stdio::piped())
                .spawn()
        };
        let run = pair::finish("bulk", spawn(1, &[])?, |addr| spawn(0, &[addr]))?;
        Ok(run.rate() * 1e3)
    }
}

/// The cable; standard input says what it is like from now on, and by which chances.
fn cable(pids: &[String]) -> io::Result<()> {
    let mut taps = Vec::new();
    for pid in pids {
        enter(pid)?;
        let mut config = VirtifConfig::default();
        config.offloads = Offloads::Off;
        let Ok(device) = Virtif::open_with("wire", &config) else { return say("refused") };
        taps.push(device);
    }
    let (Some(right), Some(left)) = (taps.pop(), taps.pop()) else { return say("refused") };
    let mut config = PatchConfig::default();
    config.filter.promiscuous = true;
    let patch = Patch::join_with(left, right, &config)?;
    say("ready")?;
    for line in io::stdin().lines() {
        let line = line?;
        let mut words = line.split(' ');
        match words.next() {
            Some("path") => {
                let cell = Cell::from_words(words).ok_or_else(|| wrong("path"))?;
                let [there, back] = cell.impairments();
                patch.impair(1, there);
                patch.impair(0, back);
            }
            _ => {
                let seed = words.next().and_then(|word| word.parse().ok());
                [0, 1].into_iter().for_each(|to| patch.reseed(to, [seed.unwrap_or_default(); 32]));
            }
        }
        say("done")?;
    }
    Ok(())
}

/// An end: `WARM-UP SECONDS NAMESPACE linux|ours CC OWN-IP [SERVER-ADDR]`.
fn role(args: &[String]) -> io::Result<()> {
    let [warm_up, seconds, namespace, end, cc, ip, rest @ ..] = args else {
        return Err(wrong("role: too few words"));
    };
    enter(namespace)?;
    let [warm_up, duration] =
        [warm_up, seconds].map(|word| word.parse().map(Duration::from_secs_f64));
    let (warm_up, duration) =
        (warm_up.map_err(|_| wrong("warm-up"))?, duration.map_err(|_| wrong("seconds"))?);
    let transport = match (end.as_str(), cc.as_str()) {
        ("linux", "cubic") => Transport::Linux(Congestion::Cubic),
        ("linux", _) => Transport::Linux(Congestion::Bbr),
        _ => Transport::Ours(ours(cc, ip)?),
    };
    let report = match rest {
        [] => receive(&transport, ip, warm_up, duration)?,
        [addr, ..] => {
            send(&transport, addr.parse().map_err(|_| wrong("address"))?)?;
            Report::default()
        }
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// Counts what arrives in so much time once the warm-up is over, and then resets the connection:
/// however much the other end has buffered, a run takes no longer.
fn receive(
    transport: &Transport,
    ip: &str,
    warm_up: Duration,
    duration: Duration,
) -> io::Result<Report> {
    let listener = transport.listen(SocketAddr::new(ip.parse().map_err(|_| wrong("ip"))?, 0))?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    let mut stream = listener.accept()?;
    let start = Instant::now() + warm_up;
    let (mut buf, mut count, mut sum) = (vec![0; WRITE_BYTES], 0, 0);
    while start.elapsed() < duration {
        let n = stream.read(&mut buf)?;
        if n == 0 {
            return Err(wrong("the sender ended early"));
        }
        // Nothing has elapsed before the start.
        if !start.elapsed().is_zero() {
            count += n as u64;
        }
        sum ^= touch(&buf[..n]);
    }
    std::hint::black_box(sum);
    Ok(Report { count, seconds: start.elapsed().as_secs_f64(), ..Report::default() })
}

/// Sends until the receiver has seen enough.
fn send(transport: &Transport, addr: SocketAddr) -> io::Result<()> {
    let mut stream = transport.connect(addr)?;
    let data = vec![0x5a; WRITE_BYTES];
    loop {
        match stream.write_all(&data) {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn ours(cc: &str, ip: &str) -> io::Result<Stack> {
    let mut config = InetConfig::default();
    config.tcp.congestion_control = cc.parse().map_err(io::Error::other)?;
    let tap = Virtif::open("own").map_err(io::Error::other)?.addr(&format!("{ip}/24"));
    Stack::builder().config(config).interface(tap).start()
}

fn enter(pid: &str) -> io::Result<()> {
    setns(std::fs::File::open(format!("/proc/{pid}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}
