//! Four nodes under heavy traffic on one bus while one of them is killed, stopped, or has its
//! part of the file scribbled over, again and again; the survivors must not notice.
//!
//! `soak [--rounds N] [--seed N] [--bar-ms N] PHASE…` with the phases `control`, `kill`, `stop`
//! and `scribble`. Prints for each the largest gap in delivery between nodes that were left
//! alone. Exit status 0 only if no payload was torn, every gap is below the bar, a node that was
//! scribbled over is back or has ended with an error within 2 s, and every slot is free at the
//! end.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rumpnet::shmif::MemberState;
use rumpnet::{BusConfig, Shmif, Stack, TcpStream, UdpSocket};
use serde::{Deserialize, Serialize};

const NODES: usize = 4;
const UDP_PORT: u16 = 9000;
const TCP_PORT: u16 = 9001;
/// Header of a datagram: sender, sequence number, hash of the rest.
const HEADER_BYTES: usize = 20;
/// How long nodes may take to meet, however busy the machine is, and how often they are asked.
const MEETING: Duration = Duration::from_secs(30);
const ASKED_EVERY: Duration = Duration::from_millis(10);

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((role, [bus, number])) if role == "node" => {
            Node::start(Path::new(bus), number.parse().map_err(io::Error::other)?)?.serve()
        }
        _ => Soak::parse(&args)?.run(),
    }
}

/// The parent: starts the nodes, harms one per round, and asks the others what they saw.
struct Soak {
    rounds: usize,
    seed: u64,
    bar: Duration,
    phases: Vec<String>,
}

/// A child with its pipes.
struct Member {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

/// What a node saw of its peers since it was last asked.
#[derive(Default, Serialize, Deserialize)]
struct Report {
    /// Largest gap between datagrams, in microseconds, by sender.
    gap_us: HashMap<usize, u64>,
    /// Datagrams received.
    datagrams: u64,
    /// Stream bytes received.
    stream_bytes: u64,
    /// Payloads that did not hold what was sent.
    torn: u64,
}

impl Soak {
    fn parse(args: &[String]) -> io::Result<Self> {
        let mut soak =
            Soak { rounds: 200, seed: 1, bar: Duration::from_millis(100), phases: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number = || -> io::Result<u64> {
                let value = args.next().ok_or_else(|| io::Error::other(format!("{arg} N")))?;
                value.parse().map_err(io::Error::other)
            };
            match arg.as_str() {
                "--rounds" => soak.rounds = number()? as usize,
                "--seed" => soak.seed = number()?,
                "--bar-ms" => soak.bar = Duration::from_millis(number()?),
                "control" | "kill" | "stop" | "scribble" => soak.phases.push(arg.clone()),
                _ => return Err(io::Error::other(format!("unknown phase or option {arg}"))),
            }
        }
        if soak.phases.is_empty() {
            soak.phases = ["control", "kill", "stop", "scribble"].map(str::to_owned).to_vec();
        }
        Ok(soak)
    }

    fn run(&self) -> io::Result<()> {
        let mut good = true;
        for phase in &self.phases {
            let bus = std::env::temp_dir().join(format!("soak-{phase}-{}.bus", std::process::id()));
            let result = self.phase(phase, &bus);
            std::fs::remove_file(&bus)?;
            good &= result?;
        }
        if !good {
            std::process::exit(1);
        }
        Ok(())
    }

    /// Runs one phase; whether it held.
    fn phase(&self, phase: &str, bus: &Path) -> io::Result<bool> {
        drop(Shmif::create_or_attach(bus, &BusConfig::default())?);
        let mut members: Vec<Member> =
            (0..NODES).map(|i| Member::spawn(bus, i)).collect::<io::Result<_>>()?;
        let mut random = Random(self.seed);
        meet(&mut members)?;
        // The windows begin.
        for member in &mut members {
            member.report()?;
        }
        let (mut gaps, mut torn, mut datagrams, mut bytes) = (Vec::new(), 0, 0, 0);
        for _ in 0..self.rounds {
            let victim = (random.next() % NODES as u64) as usize;
            thread::sleep(Duration::from_micros(20_000 + random.next() % 100_000));
            harm(phase, bus, &mut members, victim, &mut random)?;
            let mut worst = 0;
            for (i, member) in members.iter_mut().enumerate() {
                if i == victim && phase != "control" {
                    continue;
                }
                let report = member.report()?;
                torn += report.torn;
                datagrams += report.datagrams;
                bytes += report.stream_bytes;
                let others = report.gap_us.iter().filter(|(peer, _)| **peer != victim);
                worst = worst.max(others.map(|(_, gap)| *gap).max().unwrap_or(0));
            }
            members[victim].report()?;
            gaps.push(worst);
            if phase == "scribble" {
                recover(bus, &mut members, victim)?;
            }
        }
        for member in members {
            member.quit()?;
        }
        let alive = rumpnet::shmif::members(bus)?
            .into_iter()
            .filter(|m| m.state != MemberState::Gone)
            .count();
        self.judge(phase, &mut gaps, torn, datagrams, bytes, alive)
    }

    fn judge(
        &self,
        phase: &str,
        gaps: &mut [u64],
        torn: u64,
        datagrams: u64,
        bytes: u64,
        alive: usize,
    ) -> io::Result<bool> {
        gaps.sort_unstable();
        let at = |q: f64| gaps[((gaps.len() - 1) as f64 * q) as usize] as f64 / 1e3;
        println!(
            "{phase}: {} rounds, largest gap between nodes left alone: median {:.1} ms, 95 % {:.1} ms, max {:.1} ms; {datagrams} datagrams, {:.2} GB of streams, {torn} torn, {alive} slots held at the end",
            self.rounds,
            at(0.5),
            at(0.95),
            at(1.0),
            bytes as f64 / 1e9,
        );
        let within = phase == "control" || at(1.0) <= self.bar.as_secs_f64() * 1e3;
        Ok(within && torn == 0 && alive == 0 && datagrams > 0 && bytes > 0)
    }
}

/// Waits until every node hears from every other, and has a stream from its neighbour.
fn meet(members: &mut [Member]) -> io::Result<()> {
    let until = Instant::now() + MEETING;
    for (i, member) in members.iter_mut().enumerate() {
        let mut streams = false;
        loop {
            let report = member.report()?;
            streams |= report.stream_bytes > 0;
            let heard = report.gap_us.len();
            if streams && heard == NODES - 1 {
                break;
            }
            if Instant::now() >= until {
                let of = NODES - 1;
                let what = format!("node {i} hears {heard} of {of} others, a stream: {streams}");
                return Err(io::Error::other(what));
            }
            thread::sleep(ASKED_EVERY);
        }
    }
    Ok(())
}

/// Does to the victim what the phase asks for, and leaves it running again.
fn harm(
    phase: &str,
    bus: &Path,
    members: &mut [Member],
    victim: usize,
    random: &mut Random,
) -> io::Result<()> {
    let pid = Pid::from_raw(members[victim].child.id() as i32);
    let pause = Duration::from_millis(150);
    match phase {
        "kill" => {
            kill(pid, Signal::SIGKILL)?;
            members[victim].child.wait()?;
            thread::sleep(pause);
            members[victim] = Member::spawn(bus, victim)?;
        }
        "stop" => {
            kill(pid, Signal::SIGSTOP)?;
            thread::sleep(pause);
            kill(pid, Signal::SIGCONT)?;
        }
        "scribble" => {
            let slot = rumpnet::shmif::members(bus)?
                .into_iter()
                .find(|m| m.pid == members[victim].child.id())
                .map(|m| u64::from(m.slot))
                .ok_or_else(|| io::Error::other("the victim is not on the bus"))?;
            scribble(bus, slot, random)?;
            thread::sleep(pause);
        }
        _ => thread::sleep(pause),
    }
    thread::sleep(Duration::from_millis(50));
    Ok(())
}

/// Writes random bytes over a member's slot, control page, records and ring, and over the header
/// page, which is put back after a moment: attached members never read it again, new ones do.
/// Where these are: `docs/bus-format.md`, for a bus of the default sizes.
fn scribble(bus: &Path, slot: u64, random: &mut Random) -> io::Result<()> {
    const HEADER: u64 = 4096;
    const SLOT: u64 = 128;
    let config = BusConfig::default();
    let members = u64::from(config.max_members);
    let areas = (HEADER + members * SLOT).next_multiple_of(4096);
    let pairs = (members * 64).next_multiple_of(4096);
    let area = 4096 + pairs + u64::from(config.ring_bytes);
    let at = areas + slot * area;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(bus)?;
    let mut header = [0; HEADER as usize];
    file.read_exact_at(&mut header, 0)?;
    let ranges = [
        (0, HEADER),
        (HEADER + slot * SLOT, SLOT),
        (at, 4096),
        (at + 4096, pairs),
        (at + 4096 + pairs, area - 4096 - pairs),
    ];
    for (start, len) in ranges {
        for _ in 0..16 {
            let bytes: Vec<u8> = (0..8).flat_map(|_| random.next().to_le_bytes()).collect();
            let n = 1 + random.next() % 64.min(len);
            let offset = random.next() % (len - n + 1);
            file.write_all_at(&bytes[..n as usize], start + offset)?;
        }
    }
    thread::sleep(Duration::from_millis(20));
    file.write_all_at(&header, 0)
}

/// Waits for the two seconds that a scribbled node has, then sees whether it receives again; one
/// that has ended with an error is started anew.
fn recover(bus: &Path, members: &mut [Member], victim: usize) -> io::Result<()> {
    thread::sleep(Duration::from_secs(2));
    if let Some(status) = members[victim].child.try_wait()? {
        if status.code().is_none() {
            return Err(io::Error::other(format!("the scribbled node died: {status}")));
        }
        members[victim] = Member::spawn(bus, victim)?;
        return Ok(());
    }
    members[victim].report()?;
    thread::sleep(Duration::from_millis(300));
    let report = members[victim].report()?;
    if report.datagrams == 0 {
        return Err(io::Error::other("the scribbled node neither works nor has ended after 2 s"));
    }
    Ok(())
}

impl Member {
    fn spawn(bus: &Path, number: usize) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("node")
            .arg(bus)
            .arg(number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut member = Member { child, stdin, stdout };
        member.line()?;
        Ok(member)
    }

    fn line(&mut self) -> io::Result<String> {
        self.stdout.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }

    fn report(&mut self) -> io::Result<Report> {
        writeln!(self.stdin, "report")?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn quit(mut self) -> io::Result<()> {
        writeln!(self.stdin, "quit")?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Already gone after `quit` and after a kill; both calls then do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child: sends to all, receives from all, and answers its parent.
struct Node {
    number: usize,
    stack: Stack,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    report: Report,
    last: HashMap<usize, Instant>,
}

impl Node {
    fn start(bus: &Path, number: usize) -> io::Result<Self> {
        let link = Shmif::attach(bus)?.name(format!("node{number}"));
        let stack = Stack::builder().interface(link.addr(&format!("{}/24", ip(number)))).start()?;
        Ok(Node { number, stack, seen: Arc::default() })
    }

    fn serve(self) -> io::Result<()> {
        let udp = self.stack.udp_bind((ip(self.number).as_str(), UDP_PORT))?;
        let listener = self.stack.tcp_listen((ip(self.number).as_str(), TCP_PORT))?;
        let (receiver, seen) = (udp.clone(), Arc::clone(&self.seen));
        thread::spawn(move || receive(&receiver, &seen));
        let seen = Arc::clone(&self.seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || check_stream(&stream, &seen));
            }
        });
        let number = self.number;
        thread::spawn(move || send(&udp, number));
        let stack = self.stack.clone();
        thread::spawn(move || stream_to(&stack, (number + 1) % NODES));
        println!("ready");
        for line in io::stdin().lines() {
            match line?.as_str() {
                "report" => println!("{}", serde_json::to_string(&self.report())?),
                _ => break,
            }
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let open: Vec<_> = seen.last.iter().map(|(peer, at)| (*peer, now - *at)).collect();
        for (peer, gap) in open {
            widen(&mut seen.report, peer, gap);
        }
        // The next window begins now, for the open gaps too.
        for at in seen.last.values_mut() {
            *at = now;
        }
        std::mem::take(&mut seen.report)
    }
}

fn widen(report: &mut Report, peer: usize, gap: Duration) {
    let worst = report.gap_us.entry(peer).or_default();
    *worst = (*worst).max(gap.as_micros() as u64);
}

fn ip(number: usize) -> String {
    format!("10.88.0.{}", number + 1)
}

/// Sends datagrams of every size to all peers, in bursts with a short rest between.
fn send(socket: &UdpSocket, number: usize) {
    let peers: Vec<SocketAddr> = (0..NODES)
        .filter(|&peer| peer != number)
        .map(|peer| SocketAddr::new(ip(peer).parse().expect("our own text"), UDP_PORT))
        .collect();
    let mut random = Random(number as u64 + 1);
    let mut datagram = vec![0; 1400];
    for sequence in 0u64.. {
        let len = HEADER_BYTES + (random.next() % 1300) as usize;
        for chunk in datagram[HEADER_BYTES..len].chunks_mut(8) {
            let word = random.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        datagram[..4].copy_from_slice(&(number as u32).to_le_bytes());
        datagram[4..12].copy_from_slice(&sequence.to_le_bytes());
        let hash = hash(&datagram[HEADER_BYTES..len]);
        datagram[12..HEADER_BYTES].copy_from_slice(&hash.to_le_bytes());
        for peer in &peers {
            // A dead peer gives errors; the others are sent to all the same.
            let _ = socket.send_to(&datagram[..len], peer);
        }
        if sequence % 4 == 3 {
            thread::sleep(Duration::from_micros(500));
        }
    }
}

fn receive(socket: &UdpSocket, seen: &Mutex<Seen>) {
    let mut buf = vec![0; 65_536];
    loop {
        let Ok((n, _)) = socket.recv_from(&mut buf) else { continue };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let good =
            n >= HEADER_BYTES && buf[12..HEADER_BYTES] == hash(&buf[HEADER_BYTES..n]).to_le_bytes();
        if !good {
            seen.report.torn += 1;
            continue;
        }
        let peer = u32::from_le_bytes(buf[..4].try_into().expect("four bytes")) as usize;
        let now = Instant::now();
        if let Some(last) = seen.last.insert(peer, now) {
            widen(&mut seen.report, peer, now - last);
        }
        seen.report.datagrams += 1;
    }
}

/// Streams a pattern to a peer without end; connects again whenever the peer is gone.
fn stream_to(stack: &Stack, peer: usize) {
    let addr = SocketAddr::new(ip(peer).parse().expect("our own text"), TCP_PORT);
    let mut buf = vec![0; 64 << 10];
    loop {
        let Ok(mut stream) = stack.tcp_connect_timeout(&addr, Duration::from_millis(500)) else {
            continue;
        };
        let _ = stream.set_write_timeout(Some(Duration::from_secs(2)));
        let mut offset = 0;
        loop {
            pattern(offset, &mut buf);
            if stream.write_all(&buf).is_err() {
                break;
            }
            offset += buf.len() as u64;
        }
    }
}

fn check_stream(mut stream: &TcpStream, seen: &Mutex<Seen>) {
    let mut buf = vec![0; 64 << 10];
    let mut want = vec![0; 64 << 10];
    let mut offset = 0;
    while stream.read_exact(&mut buf).is_ok() {
        pattern(offset, &mut want);
        offset += buf.len() as u64;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.report.torn += u64::from(buf != want);
        seen.report.stream_bytes += buf.len() as u64;
    }
}

/// The bytes of a stream from `offset` on, a multiple of 8.
fn pattern(offset: u64, buf: &mut [u8]) {
    for (i, word) in buf.chunks_exact_mut(8).enumerate() {
        let at = offset / 8 + i as u64;
        word.copy_from_slice(&at.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).to_le_bytes());
    }
}

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
