//! `rumpnet ping`: echo requests with iputils' flags, lines and exit statuses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use libnet::Instant;
use libnet::net::Socket;
use rumpnet::Stack;
use rustix::io::Errno;
use serde_json::json;

use crate::cli::{Global, Node, Sockets};
use crate::control::client;
use crate::fail::{Failure, Outcome, Status};
use crate::host::{self, FamilyArgs};
use crate::inside::Inside;
use crate::output::Output;
use crate::signals::{Asked, Interrupts};
use crate::units::parse_seconds;
use crate::zone::Zoned;

mod flight;
mod probe;
pub(crate) mod round;
mod socket;
mod stats;

use flight::{Arrival, Flight};
use probe::{Answer, HEADER_BYTES};
use socket::open;
use stats::{Stats, milliseconds};

/// The most that an IPv4 packet carries beside its header and an echo header.
const MAX_PAYLOAD_BYTES: u32 = 65_507;

/// `rumpnet ping`.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit status: 0 answered; 1 no answer, or with -c and -w fewer than asked for; 2 anything else.")]
pub struct PingArgs {
    #[command(flatten)]
    sockets: Sockets,
    #[command(flatten)]
    family: FamilyArgs,
    #[command(flatten)]
    node: Node,
    /// Whom to ask: an IP address
    destination: Zoned,
    /// Stop after COUNT requests
    #[arg(short, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Seconds between two requests [default: 1; with -f: 0]
    #[arg(short, value_name = "SECONDS", value_parser = parse_seconds)]
    interval: Option<Duration>,
    /// Bytes of payload, 0 to 65507
    #[arg(short, value_name = "BYTES", default_value_t = 56,
        value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_PAYLOAD_BYTES)))]
    size: u32,
    /// Seconds to wait for the last answers [default: 10, or twice the longest time so far]
    #[arg(short = 'W', value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,
    /// Stop after SECONDS, however many were answered
    #[arg(short = 'w', value_name = "SECONDS", value_parser = parse_seconds)]
    deadline: Option<Duration>,
    /// Print the summary only
    #[arg(short)]
    quiet: bool,
    /// Flood: a dot for each request, taken back by its answer; the next as soon as the last is
    /// answered, at least 100 a second
    #[arg(short)]
    flood: bool,
    /// Show numbers, not names; it is always so
    #[arg(short)]
    numeric: bool,
    /// Time to live of the requests, 1 to 255 [default: 64]
    #[arg(short, value_name = "TTL", value_parser = clap::value_parser!(u8).range(1..))]
    ttl: Option<u8>,
    /// Send from this address, or by this interface
    #[arg(short = 'I', value_name = "ADDRESS|INTERFACE")]
    from: Option<String>,
    /// Print the time before each line, in seconds since 1970
    #[arg(short = 'D')]
    timestamps: bool,
    /// Path MTU discovery: do (never fragment), want or dont (fragment where need be)
    #[arg(short = 'M', value_name = "HINT")]
    mtu_discovery: Option<MtuHint>,
    /// Up to 16 bytes in hexadecimal to fill the payload with
    #[arg(short, value_name = "HEX", value_parser = parse_pattern)]
    pattern: Option<Pattern>,
    /// Ask a broadcast address, and so everybody
    #[arg(short)]
    broadcast: bool,
    /// Say which requests are unanswered before the next is sent
    #[arg(short = 'O')]
    outstanding: bool,
    /// Send COUNT requests at once, then wait for answers
    #[arg(short = 'l', value_name = "COUNT", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=65_536))]
    preload: u64,
}

/// `-M`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum MtuHint {
    Do,
    Want,
    Dont,
}

/// `-p`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pattern(Vec<u8>);

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    let digits = text.trim_start_matches("0x");
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits.is_empty() || digits.len() > 32 || !is_hex {
        return Err(format!("`{text}` is not 1 to 16 bytes in hexadecimal, as ff or 0102"));
    }
    let byte = |pair: &[u8]| {
        let digit = |d: u8| char::from(d).to_digit(16).unwrap_or(0) as u8;
        pair.iter().fold(0u8, |value, d| value << 4 | digit(*d))
    };
    Ok(Pattern(digits.as_bytes().chunks(2).map(byte).collect()))
}

/// Asks until told to stop, and sums up: from a node if one is named, else from a stack of our own.
///
/// # Errors
/// Status 2: no interface to ask by, no route, or the like.
pub fn run(args: &PingArgs, global: &Global, argv: Vec<String>) -> Outcome {
    if args.sockets.is_of_node(&args.node)? {
        return client::run(args.node.node.as_deref(), argv);
    }
    let outcome = own(args, global);
    outcome.map_err(|failure| failure.with_status(Status::USAGE))
}

fn own(args: &PingArgs, global: &Global) -> Outcome {
    Inside::alone(&args.sockets, "ping", |alone| ping(args, global, alone))
}

/// The same from a node.
///
/// # Errors
/// As [`run`].
pub fn inside(args: &PingArgs, global: &Global, inside: &mut Inside) -> Outcome {
    ping(args, global, inside).map_err(|failure| failure.with_status(Status::USAGE))
}

fn ping(args: &PingArgs, global: &Global, inside: &mut Inside) -> Outcome {
    args.family.pick(&args.destination)?;
    let mut run = Run::new(args, global, inside)?;
    let ended = run.ask();
    if run.stats.transmitted == 0 {
        // There is nothing to sum up.
        ended?;
        return Ok(Status::FAILED);
    }
    let status = run.sum_up()?;
    ended.map(|()| status)
}

/// One run of `ping`.
struct Run<'a> {
    args: &'a PingArgs,
    /// Whom to ask.
    to: SocketAddr,
    json: bool,
    stack: &'a Stack,
    socket: Socket,
    output: Output,
    interrupts: Interrupts,
    id: u16,
    payload: Vec<u8>,
    flight: Flight,
    stats: Stats,
    started: Instant,
    buffer: Vec<u8>,
}

/// How long to sleep before looking whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long to wait for the last answers if there was none yet, as iputils does.
const LINGER: Duration = Duration::from_secs(10);
/// Room for answers that come all at once, when a neighbour was asked for until then: of the longest
/// packets, 64.
const RECEIVE_BYTES: u32 = 4 << 20;
/// A flood sends at least this often.
const FLOOD_INTERVAL: Duration = Duration::from_millis(10);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

impl<'a> Run<'a> {
    fn new(args: &'a PingArgs, global: &Global, inside: &'a mut Inside) -> Result<Self, Failure> {
        let stack = &inside.stack;
        let to = args.destination.at(stack, 0)?;
        let (socket, id) = open(args, stack)?;
        let size = args.size as usize;
        let payload = match &args.pattern {
            Some(Pattern(bytes)) => bytes.iter().copied().cycle().take(size).collect(),
            None => (0..size).map(|at| at as u8).collect(),
        };
        Ok(Run {
            args,
            to,
            json: global.json,
            stack,
            socket,
            output: std::mem::take(&mut inside.output),
            interrupts: inside.interrupts.clone(),
            id,
            payload,
            flight: Flight::new(),
            stats: Stats::default(),
            started: stack.sockets().driver().now(),
            buffer: vec![0; 1 << 16],
        })
    }

    fn now(&self) -> Instant {
        self.stack.sockets().driver().now()
    }

    fn banner(&mut self) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        if let Some(Pattern(bytes)) = &self.args.pattern {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            self.output.line(format!("PATTERN: 0x{hex}"))?;
        }
        let (to, size) = (&self.args.destination, self.args.size as usize);
        let header = if to.ip.is_ipv4() { 20 } else { 40 };
        let text = match to.ip {
            IpAddr::V4(_) => {
                format!("PING {to} ({to}) {size}({}) bytes of data.", size + HEADER_BYTES + header)
            }
            IpAddr::V6(_) => format!("PING {to}({to}) {size} data bytes"),
        };
        self.output.line(text)?;
        self.output.flush()
    }

    /// Sends when it is time, and takes what comes, until the end.
    fn ask(&mut self) -> Result<(), Failure> {
        let mut next_send = self.started;
        for _ in 1..self.args.preload.min(self.args.count.unwrap_or(u64::MAX)) {
            self.send()?;
        }
        while let Some(end) = self.end() {
            let now = self.now();
            if now >= end {
                break;
            }
            let may_send = self.args.count.is_none_or(|count| self.stats.transmitted < count);
            if may_send && now >= next_send {
                self.send()?;
                next_send = now + self.interval();
            }
            let until = if self.may_send() { next_send.min(end) } else { end };
            let answered = self.receive(until.since(self.now()).min(PATIENCE))?;
            if self.args.flood && answered && self.flight.unanswered() == 0 {
                next_send = self.now() + self.args.interval.unwrap_or_default();
            }
            if self.interrupts.channel().try_recv() == Ok(Asked::Report) {
                self.report()?;
            }
        }
        Ok(())
    }

    fn may_send(&self) -> bool {
        self.args.count.is_none_or(|count| self.stats.transmitted < count)
    }

    fn interval(&self) -> Duration {
        let default = if self.args.flood { FLOOD_INTERVAL } else { DEFAULT_INTERVAL };
        self.args.interval.unwrap_or(default)
    }

    /// When to end if nothing more comes; `None`: now.
    fn end(&self) -> Option<Instant> {
        if self.interrupts.is_stopped() {
            return None;
        }
        let deadline = self.args.deadline.map_or(Instant::MAX, |after| self.started + after);
        let Some(count) = self.args.count else { return Some(deadline) };
        // With a deadline, answers count; without, requests do.
        let done = self.stats.received + self.stats.errors >= count;
        if done || (self.args.deadline.is_none() && self.flight.is_settled(count)) {
            return None;
        }
        if self.stats.transmitted < count || self.args.deadline.is_some() {
            return Some(deadline);
        }
        let patience = match (self.args.timeout, self.stats.longest()) {
            (Some(timeout), _) => timeout,
            (None, Some(longest)) => (longest * 2).max(self.interval()),
            (None, None) => LINGER,
        };
        Some(deadline.min(self.flight.last_sent() + patience))
    }

    fn send(&mut self) -> Result<(), Failure> {
        let seq = self.flight.next_seq();
        if self.args.outstanding
            && let Some(unanswered) = self.flight.last_unanswered()
        {
            self.line(format!("no answer yet for icmp_seq={unanswered}"))?;
        }
        let is_v4 = self.to.is_ipv4();
        let message = probe::request(is_v4, self.id, seq, &self.payload);
        let to = self.to;
        let now = self.now();
        match self.socket.send_to(&message, to) {
            Ok(_) => {}
            // The news is of earlier requests; this one goes after it.
            Err(error) if error.kind() == io::ErrorKind::HostUnreachable => {
                self.unreachable()?;
                // A failure again is this one's own, and shows in the answers that do not come.
                let _ = self.socket.send_to(&message, to);
            }
            // A link that is full: this one is lost.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(self.cannot_send(&error)),
        }
        if self.stats.transmitted == 0 {
            self.banner()?;
        }
        self.flight.sent(seq, now);
        self.stats.transmitted += 1;
        if self.args.flood && !self.args.quiet && !self.json {
            self.output.text(".")?;
        }
        self.output.flush()
    }

    fn cannot_send(&self, error: &io::Error) -> Failure {
        let to = &self.args.destination;
        let only_loopback = |inet: &std::sync::Arc<rumpnet::Inet>| {
            inet.engine().interfaces().all(|iface| iface.link.loopback)
        };
        if self.stack.inet().is_some_and(only_loopback) {
            return Failure::usage(format!(
                "cannot send to {to}: there is no interface but lo0: \
                 add --if shmif:BUS,addr=ADDRESS/BITS"
            ));
        }
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "if it is a broadcast address, add -b",
            _ if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                "it is longer than the MTU and must not be fragmented: -s less, or -M dont"
            }
            _ => return host::peer_failure(self.stack, "cannot send to", self.to, error),
        };
        Failure::usage(format!("cannot send to {to}: {}: {hint}", host::plain(error)))
    }

    /// Waits for one packet, at most `patience`; whether a request was answered.
    fn receive(&mut self, patience: Duration) -> Result<bool, Failure> {
        let patience = patience.max(Duration::from_micros(1));
        let set = self.socket.set_read_timeout(Some(patience));
        set.map_err(|error| Failure::doing("cannot wait", &error))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self.socket.recv_msg(&mut [io::IoSliceMut::new(&mut buffer)]);
        let answered = match received {
            Ok(received) => {
                let from = received.from.map_or(self.to.ip(), |from| from.ip());
                let arrival =
                    if received.rx_at == Instant::ZERO { self.now() } else { received.rx_at };
                let bytes = &buffer[..received.bytes.min(buffer.len())];
                let message = probe::strip_ip(bytes, self.to.ip());
                let answer = probe::read(message, self.id, self.to.ip(), &self.payload);
                match answer {
                    Some(answer) => self.take(&answer, from, received.ttl, arrival)?,
                    None => false,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::HostUnreachable => {
                self.unreachable()?;
                true
            }
            // Nothing came, or an error that ICMP tells more of.
            Err(_) => false,
        };
        self.buffer = buffer;
        Ok(answered)
    }

    /// Nobody on the link has the address: what waited for its neighbour is lost.
    fn unreachable(&mut self) -> Result<(), Failure> {
        let from = self.local_addr();
        for seq in self.flight.all_unanswered() {
            let text = "Destination Host Unreachable".to_owned();
            self.take(&Answer::Error { seq, text }, from, 0, Instant::ZERO)?;
        }
        Ok(())
    }

    /// Our address in the destination's network, else any that we have.
    fn local_addr(&self) -> IpAddr {
        let mut ours = Vec::new();
        for iface in self.stack.inet().iter().flat_map(|inet| inet.engine().interfaces()) {
            ours.extend(iface.config().addrs.iter().copied());
        }
        let near = ours.iter().find(|cidr| cidr.contains(self.to.ip()));
        let any = ours.iter().find(|cidr| !cidr.addr().is_loopback());
        near.or(any).map_or(self.to.ip(), libnet::IpCidr::addr)
    }

    fn take(
        &mut self,
        answer: &Answer,
        from: IpAddr,
        ttl: u8,
        arrival: Instant,
    ) -> Result<bool, Failure> {
        match answer {
            Answer::Reply { seq, bytes, is_intact } => {
                let Some(arrived) = self.flight.answered(*seq, arrival) else { return Ok(false) };
                self.stats.note_in_flight(self.flight.span(*seq));
                match arrived {
                    Arrival::First(rtt) => {
                        self.stats.received += 1;
                        self.stats.add_time(rtt);
                    }
                    Arrival::Again(rtt) => {
                        self.stats.duplicates += 1;
                        self.stats.add_time(rtt);
                    }
                }
                self.show_reply(*seq, *bytes, *is_intact, from, ttl, arrived)?;
                Ok(true)
            }
            Answer::Notice { seq, text } => {
                self.show_error(*seq, text, from)?;
                Ok(false)
            }
            Answer::Error { seq, text } => {
                if !self.flight.failed(*seq) {
                    return Ok(false);
                }
                self.stats.errors += 1;
                self.stats.note_in_flight(self.flight.span(*seq));
                self.show_error(*seq, text, from)?;
                Ok(true)
            }
        }
    }

    fn show_reply(
        &mut self,
        seq: u16,
        bytes: usize,
        is_intact: bool,
        from: IpAddr,
        ttl: u8,
        arrived: Arrival,
    ) -> Result<(), Failure> {
        let (rtt, is_duplicate) = match arrived {
            Arrival::First(rtt) => (rtt, false),
            Arrival::Again(rtt) => (rtt, true),
        };
        if self.json {
            return self.output.json(&json!({
                "type": "reply", "from": from.to_string(), "icmp_seq": seq, "bytes": bytes,
                "ttl": ttl, "time_ms": rtt.as_nanos() as f64 / 1e6,
                "duplicate": is_duplicate, "intact": is_intact,
            }));
        }
        if self.args.flood && !self.args.quiet {
            return self.output.text("\u{8} \u{8}");
        }
        let mut text = format!(
            "{bytes} bytes from {from}: icmp_seq={seq} ttl={ttl} time={} ms",
            milliseconds(rtt)
        );
        if is_duplicate {
            text.push_str(" (DUP!)");
        }
        if !is_intact {
            text.push_str(" (the payload was changed on its way)");
        }
        self.line(text)
    }

    fn show_error(&mut self, seq: u16, text: &str, from: IpAddr) -> Result<(), Failure> {
        if self.json {
            return self.output.json(&json!({
                "type": "error", "from": from.to_string(), "icmp_seq": seq, "error": text,
            }));
        }
        if self.args.flood && !self.args.quiet {
            return self.output.text("\u{8}E");
        }
        self.line(format!("From {from} icmp_seq={seq} {text}"))
    }

    fn line(&mut self, text: String) -> Result<(), Failure> {
        if self.args.quiet || self.json {
            return Ok(());
        }
        if !self.args.timestamps {
            self.output.line(text)?;
            return self.output.flush();
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.output.line(format!("[{}.{:06}] {text}", at.as_secs(), at.subsec_micros()))?;
        self.output.flush()
    }

    /// One line on how it is going, to stderr.
    fn report(&mut self) -> Result<(), Failure> {
        let mut text = format!(
            "{}/{} packets, {:.0}% loss",
            self.stats.received,
            self.stats.transmitted,
            self.stats.loss_percent()
        );
        if let Some([min, average, max, _]) = self.stats.rtt_ms() {
            text.push_str(&format!(", min/avg/max = {min:.3}/{average:.3}/{max:.3} ms"));
        }
        // Where stderr is closed nobody could read it anyway.
        let _ = io::Write::write_all(&mut io::stderr(), format!("{text}\n").as_bytes());
        Ok(())
    }

    fn sum_up(&mut self) -> Outcome {
        let elapsed = self.now().since(self.started);
        let stats = self.stats;
        if self.json {
            let rtt = stats.rtt_ms().map(|[min, average, max, deviation]| {
                json!({"min": min, "avg": average, "max": max, "mdev": deviation})
            });
            self.output.json(&json!({
                "type": "summary", "destination": self.args.destination.to_string(),
                "payload_bytes": self.args.size, "transmitted": stats.transmitted,
                "received": stats.received, "duplicates": stats.duplicates,
                "errors": stats.errors, "loss_percent": stats.loss_percent(),
                "time_ms": elapsed.as_nanos() as f64 / 1e6, "rtt_ms": rtt,
            }))?;
        } else {
            let destination = self.args.destination.to_string();
            self.output.text(stats.summary(&destination, elapsed, self.args.flood))?;
        }
        self.output.flush()?;
        let fell_short = self.args.deadline.is_some()
            && self.args.count.is_some_and(|count| stats.received < count);
        let failed = stats.received == 0 || fell_short;
        Ok(if failed { Status::FAILED } else { Status::DONE })
    }
}
