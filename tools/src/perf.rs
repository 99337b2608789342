//! `rumpnet perf`: throughput and latency between two nodes, with iperf3's habits.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::cli::{Global, Sockets};
use crate::control::ControlArgs;
use crate::fail::{Failure, Outcome};
use crate::host::{self, Create, FamilyArgs};
use crate::signals::Interrupts;
use crate::units::{parse_bit_rate, parse_bytes, parse_seconds};
use crate::zone::Zoned;

mod client;
mod control;
mod counters;
mod cpu;
mod datagrams;
pub(crate) mod histogram;
mod plan;
pub(crate) mod probe;
mod report;
mod results;
pub(crate) mod rounds;
mod server;
mod streams;

use plan::{Mode, Plan};

/// iperf3's port.
pub(crate) const DEFAULT_PORT: u16 = 5201;
/// Bytes written at a time by TCP, as iperf3.
const TCP_BLOCK_BYTES: u64 = 128 * 1024;
/// Bytes of a datagram: what a frame of 1,500 bytes holds with room for options, as iperf3.
const UDP_BLOCK_BYTES: u64 = 1_460;
/// Bits per second of UDP unless asked otherwise, as iperf3.
const UDP_RATE: u64 = 1_000_000;
/// Streams at most.
const MAX_STREAMS: u16 = 128;

/// `rumpnet perf`.
#[derive(Args, Debug)]
#[command(override_usage = "rumpnet perf [OPTIONS] -s\n       rumpnet perf [OPTIONS] -c HOST")]
#[command(after_help = "\
Sizes take K, M and G for 1,024s; rates take them for 1,000s. Protocol, output and JSON keys are
iperf3's, so that iperf3 may be the other side; only --rr and --crr need rumpnet perf there.
Retr and Cwnd, the segments sent again and the congestion window, are those of a sender of our own
stack; with --json they stand beside the round trip, as iperf3's retransmits, snd_cwnd, rtt …")]
pub struct PerfArgs {
    #[command(flatten)]
    sockets: Sockets,
    #[command(flatten)]
    family: FamilyArgs,
    /// Serve: wait for clients and measure with them, one after the other
    #[arg(short, conflicts_with = "client")]
    server: bool,
    /// Measure with the server at HOST
    #[arg(short, value_name = "HOST", required_unless_present = "server")]
    client: Option<Zoned>,
    /// The server's port
    #[arg(short, long, value_name = "PORT", default_value_t = DEFAULT_PORT,
        value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Serve at this address of ours, or measure from it [default: any]
    #[arg(short = 'B', long, value_name = "ADDRESS")]
    bind: Option<Zoned>,
    /// Serve one client, then end
    #[arg(short = '1', long, requires = "server")]
    one_off: bool,
    /// Seconds to measure
    #[arg(short, long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    time: Duration,
    /// Seconds at the beginning that do not count
    #[arg(short = 'O', long, value_name = "SECONDS", default_value = "0", value_parser = parse_seconds)]
    omit: Duration,
    /// Bytes to send, instead of a time
    #[arg(short = 'n', long, value_name = "BYTES", value_parser = parse_bytes, conflicts_with_all = ["rr", "crr"])]
    bytes: Option<u64>,
    /// Reverse: the server sends
    #[arg(short = 'R', long, conflicts_with_all = ["rr", "crr"])]
    reverse: bool,
    /// Streams at once, 1 to 128
    #[arg(short = 'P', long, value_name = "STREAMS", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_STREAMS)))]
    parallel: u16,
    /// Bytes written at a time [default: 128K; UDP: 1460; --rr: 1]
    #[arg(short, long, value_name = "BYTES", value_parser = parse_bytes)]
    length: Option<u64>,
    /// UDP instead of TCP
    #[arg(short, long, conflicts_with_all = ["rr", "crr"])]
    udp: bool,
    /// Bits per second of each stream, 0 for no limit [default: UDP: 1M; TCP: 0]
    #[arg(short, long, value_name = "BITS", value_parser = parse_bit_rate)]
    bitrate: Option<u64>,
    /// Seconds between two reports; 0: only the last
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    interval: Duration,
    /// Request and response of one byte each, over one connection per stream
    #[arg(long, conflicts_with = "crr")]
    rr: bool,
    /// Connect, request, response, close, again and again
    #[arg(long)]
    crr: bool,
    /// Send small segments at once (TCP_NODELAY)
    #[arg(short = 'N', long)]
    no_delay: bool,
    /// Congestion control of the streams: reno, cubic or bbr [default: the stack's]
    #[arg(short = 'C', long, value_name = "NAME", conflicts_with = "udp")]
    congestion: Option<String>,
    /// Hand buffers over without copying them
    #[arg(short = 'Z', long)]
    zerocopy: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// Serves, or measures.
///
/// # Errors
/// No interface, no server there, or one that is busy.
pub fn run(args: &PerfArgs, global: &Global) -> Outcome {
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let name = if args.server { "perf-server" } else { "perf" };
    let (_aftermath, stack) = host::start_sockets(&args.sockets, Create::IfAsked, name)?;
    let interfaces = &args.sockets.interfaces.interfaces;
    let open = || args.control.open(&stack, interfaces, name);
    let _control = args.server.then(open).transpose()?;
    let bind = |port| args.bind.as_ref().map(|bind| bind.at(&stack, port)).transpose();
    match &args.client {
        Some(server) => {
            let plan = plan(args)?;
            let server = args.family.pick(server)?.at(&stack, args.port)?;
            let ends = client::Ends { server, from: bind(0)? };
            client::run(&stack, ends, plan, args.interval, global, &interrupts)
        }
        None => {
            let any = || args.family.any().unwrap_or_else(|| host::any_address(&stack));
            let local = bind(args.port)?.unwrap_or_else(|| SocketAddr::new(any(), args.port));
            server::run(&stack, local, args.one_off, global, &interrupts)
        }
    }
}

fn plan(args: &PerfArgs) -> Result<Plan, Failure> {
    let mode = match (args.udp, args.rr, args.crr) {
        (true, _, _) => Mode::Udp,
        (_, true, _) => Mode::RequestResponse,
        (_, _, true) => Mode::ConnectClose,
        _ => Mode::Tcp,
    };
    let (block, rate) = match mode {
        Mode::Tcp => (TCP_BLOCK_BYTES, 0),
        Mode::Udp => (UDP_BLOCK_BYTES, UDP_RATE),
        Mode::RequestResponse | Mode::ConnectClose => (1, 0),
    };
    let plan = Plan {
        mode,
        streams: args.parallel,
        reverse: args.reverse,
        omit: args.omit,
        bytes: args.bytes,
        block_bytes: args.length.unwrap_or(block),
        bits_per_second: args.bitrate.unwrap_or(rate),
        zero_copy: args.zerocopy,
        no_delay: args.no_delay,
        congestion: args.congestion.clone(),
        ..Plan::new(args.time)
    };
    plan.check().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(plan)
}
