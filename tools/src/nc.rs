//! `rumpnet nc`: standard input and output over TCP or UDP.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use libnet::net::Socket;
use libnet::socket::SocketOption;
use libnet::{Family, Protocol, SockType};
use rumpnet::Stack;

use crate::cli::{Global, Sockets};
use crate::control::ControlArgs;
use crate::fail::{Failure, Outcome, Status};
use crate::host::{self, Create, FamilyArgs, any_address};
use crate::signals::Interrupts;
use crate::units::parse_seconds;
use crate::zone::{self, Zoned};

mod datagrams;
mod input;
mod stream;

/// `rumpnet nc`.
#[derive(Args, Debug)]
#[command(override_usage = "rumpnet nc [OPTIONS] HOST PORT\n       rumpnet nc [OPTIONS] -l PORT")]
#[command(after_help = "\
The end of standard input closes our sending side, and nc goes on until the other side closes too.")]
pub struct NcArgs {
    #[command(flatten)]
    sockets: Sockets,
    /// Wait for a connection, instead of making one: of either family, but with -4 or -6
    #[arg(short)]
    listen: bool,
    #[command(flatten)]
    family: FamilyArgs,
    /// UDP instead of TCP
    #[arg(short)]
    udp: bool,
    /// With -l: wait for the next when one has ended
    #[arg(short = 'k', requires = "listen")]
    keep: bool,
    /// Close our sending side at the end of standard input; it is always so
    #[arg(short = 'N')]
    shutdown: bool,
    /// Give up connecting after SECONDS, and end when nothing happened for as long
    #[arg(short = 'w', value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,
    /// Do not read standard input
    #[arg(short = 'd')]
    no_input: bool,
    /// Connect and end at once: is something there?
    #[arg(short = 'z', conflicts_with_all = ["listen", "udp"])]
    scan: bool,
    /// Send from this port
    #[arg(short = 'p', value_name = "PORT", conflicts_with = "listen")]
    source_port: Option<u16>,
    /// Send from this address
    #[arg(short = 's', value_name = "ADDRESS")]
    source: Option<Zoned>,
    /// [HOST] PORT: whom to connect to; with -l: the port to listen on, and an address of ours
    #[arg(value_name = "[HOST] PORT", num_args = 1..=2, required = true)]
    target: Vec<String>,
    #[command(flatten)]
    control: ControlArgs,
}

/// Connects, or waits for a connection, and passes bytes both ways until both sides have closed.
///
/// # Errors
/// What std's sockets would give, with what to do about it.
pub fn run(args: &NcArgs, global: &Global) -> Outcome {
    let (host, port) = target(args)?;
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let (_aftermath, stack) = host::start_sockets(&args.sockets, Create::IfAsked, "nc")?;
    let interfaces = &args.sockets.interfaces.interfaces;
    let open = || args.control.open(&stack, interfaces, "nc");
    let _control = args.listen.then(open).transpose()?;
    let address = match &host {
        Some(host) => host.at(&stack, port)?,
        None => SocketAddr::new(args.family.any().unwrap_or_else(|| any_address(&stack)), port),
    };
    let source = args.source.as_ref().map(|source| source.at(&stack, 0)).transpose()?;
    let session = Session { args, verbose: global.verbose > 0, stack, interrupts, address, source };
    match (args.udp, args.listen) {
        (false, false) => stream::connect(&session),
        (false, true) => stream::listen(&session),
        (true, false) => datagrams::connect(&session),
        (true, true) => datagrams::listen(&session),
    }
}

/// What all four ways of using it share.
struct Session<'a> {
    args: &'a NcArgs,
    verbose: bool,
    stack: Stack,
    interrupts: Interrupts,
    address: SocketAddr,
    /// Where to send from.
    source: Option<SocketAddr>,
}

/// How long a blocked call sleeps before it looks whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(200);

impl Session<'_> {
    /// News for people, on stderr, with `-v`.
    fn say(&self, text: &str) {
        if self.verbose {
            // Where stderr is closed nobody could read it anyway.
            let _ = io::Write::write_all(&mut io::stderr(), format!("{text}\n").as_bytes());
        }
    }

    /// Where to send from, with the port that was asked for, if either was.
    fn from(&self) -> Option<SocketAddr> {
        let port = self.args.source_port;
        if self.source.is_none() && port.is_none() {
            return None;
        }
        let any = Family::of(&self.address.ip()).unspecified();
        let mut from = self.source.unwrap_or(SocketAddr::new(any, 0));
        from.set_port(port.unwrap_or(0));
        Some(from)
    }

    /// A socket bound to where we are to be heard; with `-6`, not by IPv4.
    fn bound(&self, ty: SockType) -> io::Result<Socket> {
        let family = Family::of(&self.address.ip());
        let socket = self.stack.socket(family, ty, Protocol::DEFAULT)?;
        if self.args.family.wanted() == Some(Family::Inet6) {
            socket.set_option(SocketOption::V6Only(true))?;
        }
        if ty == SockType::Stream {
            socket.set_option(SocketOption::ReuseAddr(true))?;
        }
        socket.bind(self.address)?;
        Ok(socket)
    }

    /// An address as people read it.
    fn shown(&self, addr: SocketAddr) -> String {
        zone::shown(&self.stack, addr)
    }

    /// What ends by a signal has the status that shells expect of it.
    fn interrupted(&self) -> Outcome {
        let signal = self.interrupts.stopped_by().and_then(|signal| u8::try_from(signal).ok());
        Ok(signal.map_or(Status::DONE, |signal| Status(128_u8.saturating_add(signal))))
    }

    /// Did nothing happen for as long as `-w` says?
    fn is_idle(&self, activity: &Activity) -> bool {
        self.args.timeout.is_some_and(|limit| activity.quiet_for() > limit)
    }
}

/// When something was sent or received last, for both directions together.
#[derive(Debug)]
struct Activity {
    began: Instant,
    /// Milliseconds from `began` to the last time.
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Activity { began: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    /// Something was sent or received now.
    fn note(&self) {
        self.last_ms.fetch_max(self.now_ms(), Ordering::Relaxed);
    }

    fn quiet_for(&self) -> Duration {
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.now_ms().saturating_sub(last_ms))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The host that was named, if one was, and the port.
fn target(args: &NcArgs) -> Result<(Option<Zoned>, u16), Failure> {
    let (host, port) = match &args.target[..] {
        [port] if args.listen => (None, port),
        [host, port] => (Some(host), port),
        _ => return Err(Failure::usage("nc needs HOST and PORT, or -l and PORT")),
    };
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| {
        Failure::usage(format!(
            "`{}` is not a port, 1 to 65535",
            args.target[args.target.len() - 1]
        ))
    })?;
    let host = match host {
        Some(host) => Some(host.parse().map_err(Failure::usage)?),
        None => args.source.clone(),
    };
    Ok((host.map(|host| args.family.pick(&host)).transpose()?, port))
}
