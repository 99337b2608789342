//! `rumpnet forward`: relays between ports of a stack and the host's sockets, either way.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use libnet::SockType;
use rumpnet::{InetConfig, Stack};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::aio::TaskSocket;
use crate::cli::{Global, Interfaces};
use crate::control::ControlArgs;
use crate::fail::{Failure, Outcome, Status};
use crate::host::{self, Create};
use crate::impair::Faults;
use crate::output::Output;
use crate::serve::{BACKLOG, Places};
use crate::signals::{Asked, Interrupts};
use crate::tasks;
use crate::units::parse_seconds;
use crate::zone::Zoned;

mod counters;
mod datagrams;
mod mapping;
pub(crate) mod probe;
mod streams;

use counters::Counters;
use mapping::{Kind, Listens, Mapping};

/// Descriptors that are not connections: the bus, the log, listeners and the like.
const OTHER_FILES: u64 = 64;

/// `rumpnet forward`.
#[derive(Args, Debug)]
#[command(override_usage = "rumpnet forward [OPTIONS] --if INTERFACE MAPPING...\n       \
    rumpnet forward [OPTIONS] --if INTERFACE -o MAPPING...")]
#[command(after_help = "\
A MAPPING is [tcp:|udp:][ADDRESS:]PORT=ADDRESS:PORT, what is listened at and what is connected to:
  80=127.0.0.1:8080         the stack's port 80 leads to the host's 127.0.0.1:8080
  -o 8080=10.0.0.1:80       the host's 127.0.0.1:8080 leads through the stack to 10.0.0.1:80
  -o 0.0.0.0:8080=...       as above, for everybody on the host's network
  udp:53=127.0.0.1:53       datagrams
Port 0 on the left is any free one; it is printed. Ends and resets are passed on as such.
Ctrl-C ends, Ctrl-\\ prints counters.")]
pub struct ForwardArgs {
    #[command(flatten)]
    interfaces: Interfaces,
    /// From a port of the stack to the host's sockets; several may be given
    #[arg(value_name = "MAPPING", value_parser = mapping::inward, required_unless_present = "outward")]
    inward: Vec<Mapping>,
    /// From a port of the host through the stack; may be given several times
    #[arg(short, long = "out", value_name = "MAPPING", value_parser = mapping::outward)]
    outward: Vec<Mapping>,
    /// Connections at once, and as many UDP flows beside them; more connections wait in their
    /// listener's queue, and datagrams of more peers are dropped
    #[arg(long, value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..=60_000))]
    max_connections: u32,
    /// Give up connecting to a target after SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    connect_timeout: Duration,
    /// Forget a UDP peer that was silent for SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    udp_timeout: Duration,
    /// What `rumpnet ls` lists the stack as [default: forward]
    #[arg(long, value_name = "NAME", default_value = "forward", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    control: ControlArgs,
}

/// A mapping that is served.
#[derive(Debug)]
struct Served {
    mapping: Mapping,
    /// Where it listens, port 0 made good.
    at: SocketAddr,
    counters: Counters,
}

/// What all mappings share.
#[derive(Debug)]
struct Shared {
    stack: Stack,
    host: Stack,
    /// Places of connections.
    streams: Places,
    /// Places of flows: anybody can make up peers of those, and must not take connections' places.
    flows: Places,
    connect_timeout: Duration,
    udp_timeout: Duration,
}

/// Relays until told to stop.
///
/// # Errors
/// No interface, no bus, a port that cannot be listened at.
pub fn run(args: &ForwardArgs, global: &Global) -> Outcome {
    if args.interfaces.interfaces.is_empty() {
        return Err(Failure::usage(
            "forward needs an interface: add --if shmif:my.bus,addr=10.0.0.9/24",
        ));
    }
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let mappings = || args.inward.iter().chain(&args.outward);
    let kinds = [Kind::Tcp, Kind::Udp].map(|kind| mappings().any(|mapping| mapping.kind == kind));
    let places = kinds.map(|is_there| if is_there { u64::from(args.max_connections) } else { 0 });
    tasks::allow_files(places.iter().sum::<u64>() + OTHER_FILES);
    let stack =
        host::start_with(&args.interfaces, Create::IfAsked, &args.name, InetConfig::default())?;
    let faults = stack.inet().map(|inet| Faults::of(inet));
    let host = host::host_sockets()?;
    let shared = Arc::new(Shared {
        stack,
        host,
        streams: Places::new(args.max_connections),
        flows: Places::new(args.max_connections),
        connect_timeout: args.connect_timeout,
        udp_timeout: args.udp_timeout,
    });
    let _control = args.control.open(&shared.stack, &args.interfaces.interfaces, &args.name)?;
    let runtime =
        tasks::runtime().map_err(|error| Failure::doing("cannot start threads", &error))?;
    let all: Vec<_> =
        mappings().map(|mapping| start(&runtime, &shared, mapping)).collect::<Result<_, _>>()?;
    watch(&all, global, &interrupts)?;
    // Connections are reset: what is cut short must not look whole.
    tasks::end(runtime);
    report("end", &all, global, &mut Output::new())?;
    drop(faults);
    Ok(Status::DONE)
}

fn start(
    runtime: &Runtime,
    shared: &Arc<Shared>,
    mapping: &Mapping,
) -> Result<Arc<Served>, Failure> {
    let by_host = mapping.listens == Listens::Host;
    let mut mapping = mapping.clone();
    if !by_host && mapping.at.ip() == Ipv6Addr::UNSPECIFIED {
        mapping.at.set_ip(host::any_address(&shared.stack));
    }
    let (near, far) = match mapping.listens {
        Listens::Stack => (&shared.stack, &shared.host),
        Listens::Host => (&shared.host, &shared.stack),
    };
    let [at_zone, zone] = mapping.zones.clone();
    mapping.at = in_zone(near, mapping.at, at_zone)?;
    for target in &mut mapping.targets {
        *target = in_zone(far, *target, zone.clone())?;
    }
    let mapping = &mapping;
    let what = format!("{}: ", mapping.text);
    let cannot = |error: &io::Error| host::listen_failure(&what, mapping.at, by_host, error);
    let socket = listen(shared, mapping).map_err(|error| cannot(&error))?;
    let at = socket.socket().local_addr().map_err(|error| cannot(&error))?;
    let served = Arc::new(Served { mapping: mapping.clone(), at, counters: Counters::default() });
    let (to, shared) = (Arc::clone(&served), Arc::clone(shared));
    match mapping.kind {
        Kind::Tcp => drop(runtime.spawn(streams::serve(socket, to, shared))),
        Kind::Udp => drop(runtime.spawn(datagrams::serve(socket, to, shared))),
    }
    Ok(served)
}

/// The address as the stack's sockets take it.
fn in_zone(stack: &Stack, addr: SocketAddr, zone: Option<String>) -> Result<SocketAddr, Failure> {
    Zoned { ip: addr.ip(), zone }.at(stack, addr.port())
}

fn listen(shared: &Shared, mapping: &Mapping) -> io::Result<TaskSocket> {
    let stack = match mapping.listens {
        Listens::Stack => &shared.stack,
        Listens::Host => &shared.host,
    };
    match mapping.kind {
        Kind::Tcp => TaskSocket::listen(stack, mapping.at, BACKLOG),
        Kind::Udp => {
            let socket = TaskSocket::open(stack, mapping.at, SockType::Datagram)?;
            socket.socket().bind(mapping.at)?;
            Ok(socket)
        }
    }
}

/// Says what is served, and how it goes when asked, until told to stop.
fn watch(all: &[Arc<Served>], global: &Global, interrupts: &Interrupts) -> Result<(), Failure> {
    let mut output = Output::new();
    introduce(all, global, &mut output)?;
    while interrupts.channel().recv().is_ok_and(|asked| asked == Asked::Report) {
        report("report", all, global, &mut output)?;
    }
    Ok(())
}

/// Says what is served; programs wait for this.
fn introduce(all: &[Arc<Served>], global: &Global, output: &mut Output) -> Result<(), Failure> {
    if global.json {
        let mappings: Vec<Value> = all.iter().map(|served| served.introduction()).collect();
        output.json(&json!({
            "event": "up", "pid": std::process::id(), "mappings": mappings,
        }))?;
        return output.flush();
    }
    for served in all {
        let Mapping { kind, listens, targets, .. } = &served.mapping;
        output.line(format!("{kind} {} of the {listens} leads to {}", served.at, targets[0]))?;
    }
    output.line("Ctrl-C ends, Ctrl-\\ prints counters")?;
    output.flush()
}

fn report(
    event: &str,
    all: &[Arc<Served>],
    global: &Global,
    output: &mut Output,
) -> Result<(), Failure> {
    if global.json {
        let mappings: Vec<Value> = all.iter().map(|served| served.report()).collect();
        output.json(&json!({"event": event, "mappings": mappings}))?;
        return output.flush();
    }
    for served in all {
        output.line(served.line())?;
    }
    output.flush()
}

impl Served {
    /// The stack that connects.
    fn connecting<'a>(&self, shared: &'a Shared) -> &'a Stack {
        match self.mapping.listens {
            Listens::Stack => &shared.host,
            Listens::Host => &shared.stack,
        }
    }

    fn introduction(&self) -> Value {
        let Mapping { kind, listens, targets, text, .. } = &self.mapping;
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        json!({
            "mapping": text, "protocol": kind.to_string(), "listens": listens.to_string(),
            "at": self.at.to_string(), "targets": targets,
        })
    }
}
