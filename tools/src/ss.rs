//! `rumpnet ss`: a node's sockets, in the columns and words of iproute2's `ss`.

mod filter;
mod info;
mod row;
mod summary;

use std::net::SocketAddr;

use clap::Args;
use libnet::socket::{Family, Protocol, SockType};
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::SocketEntry;
use serde_json::Value;

use crate::cli::{Global, Node};
use crate::fail::{Failure, Outcome, Status};
use crate::inside::Inside;
use filter::{Filter, State};

/// `rumpnet ss`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
FILTER is ss's: state STATE, exclude STATE; sport, dport with =, !=, <, >, <=, >= and :PORT; src, dst
with ADDRESS[/BITS][:PORT]; dev IF; and, or, not, parentheses. STATE: established, syn-sent, syn-recv,
fin-wait-1, fin-wait-2, time-wait, closed, close-wait, last-ack, listening, closing, all, connected,
synchronized, bucket, big.")]
pub struct SsArgs {
    #[command(flatten)]
    pub(crate) node: Node,
    /// All sockets, those that listen too
    #[arg(short, long)]
    all: bool,
    /// Sockets that listen
    #[arg(short, long)]
    listening: bool,
    /// TCP
    #[arg(short, long)]
    tcp: bool,
    /// UDP
    #[arg(short, long)]
    udp: bool,
    /// Raw and ping sockets
    #[arg(short = 'w', long)]
    raw: bool,
    /// Unix sockets, of which a stack has none
    #[arg(short = 'x', long)]
    unix: bool,
    /// IPv4
    #[arg(short = '4', long)]
    ipv4: bool,
    /// IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Timers
    #[arg(short, long)]
    options: bool,
    /// Numbers of sockets
    #[arg(short, long)]
    extended: bool,
    /// Memory
    #[arg(short, long)]
    memory: bool,
    /// The node's process
    #[arg(short, long)]
    processes: bool,
    /// What TCP knows of a connection
    #[arg(short, long)]
    info: bool,
    /// How many there are
    #[arg(short, long)]
    summary: bool,
    /// No heading
    #[arg(short = 'H', long)]
    no_header: bool,
    /// One line per socket
    #[arg(short = 'O', long)]
    oneline: bool,
    /// Reset the connections that are shown
    #[arg(short = 'K', long)]
    kill: bool,
    /// Print JSON
    #[arg(short = 'j', long = "js", hide = true)]
    json: bool,
    /// Numbers, not names; it is always so
    #[arg(short = 'n', long, action = clap::ArgAction::Count)]
    numeric: u8,
    /// Which sockets
    #[arg(value_name = "FILTER", allow_hyphen_values = false)]
    filter: Vec<String>,
}

/// Runs it in a node.
///
/// # Errors
/// A filter that makes no sense.
pub fn inside(args: &SsArgs, global: &Global, inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let json = args.json || global.json;
    if args.summary {
        inside.output.text(summary::text(&inet, json))?;
        return Ok(Status::DONE);
    }
    let default = match (args.all, args.listening) {
        (true, _) => State::ALL,
        (false, true) => State::LISTENING,
        (false, false) => State::CONNECTED,
    };
    let filter = Filter::parse(&args.filter, default, &inet)
        .map_err(|text| Failure::verbatim(format!("Error: {text}"), Status(255)))?;
    let all = inet.sockets().into_iter().chain(inet.ownerless());
    let mut sockets: Vec<SocketEntry> =
        all.filter(|socket| is_shown(args, &filter, socket)).collect();
    sockets.sort_by_key(|socket| (netid(socket), place(socket)));
    if args.kill {
        sockets.retain(|socket| socket.id.is_some_and(|id| inet.abort(id)));
    }
    if json {
        let pid = std::process::id();
        let all = sockets.iter().map(|socket| row::to_json(&inet, socket, &inside.name, pid));
        let all: Vec<Value> = all.collect();
        inside.output.json_pretty(&Value::Array(all))?;
        return Ok(Status::DONE);
    }
    let text = row::table(args, &filter, &inet, &inside.name, &sockets);
    inside.output.text(text)?;
    Ok(Status::DONE)
}

fn is_shown(args: &SsArgs, filter: &Filter, socket: &SocketEntry) -> bool {
    let kinds = args.tcp || args.udp || args.raw || args.unix;
    let kind = match socket.ty {
        SockType::Stream => args.tcp,
        SockType::Datagram if socket.protocol == Protocol::UDP => args.udp,
        _ => args.raw,
    };
    let family = Family::of(&socket.local.ip());
    let of_family = match (args.ipv4, args.ipv6) {
        (true, false) => family == Family::Inet,
        (false, true) => family == Family::Inet6,
        _ => true,
    };
    (kind || !kinds) && of_family && filter.matches(socket)
}

/// Sockets by their numbers, then connections without one by their ends.
fn place(socket: &SocketEntry) -> (u32, Option<(SocketAddr, Option<SocketAddr>)>) {
    match socket.id {
        Some(id) => (id.index, None),
        None => (u32::MAX, Some((socket.local, socket.remote))),
    }
}

/// The first column.
fn netid(socket: &SocketEntry) -> &'static str {
    match socket.ty {
        SockType::Stream => "tcp",
        SockType::Datagram if socket.protocol == Protocol::UDP => "udp",
        SockType::Datagram => "icmp",
        _ => "raw",
    }
}

/// Does it still wait for connections, or has it no peer?
fn state_of(socket: &SocketEntry) -> State {
    match (socket.ty, socket.remote) {
        (SockType::Stream, _) => State::of_name(socket.state),
        (_, Some(_)) => State::Established,
        (_, None) => State::Closed,
    }
}

/// The option's value in bytes, 0 if the socket has none.
fn buffer_bytes(inet: &Inet, socket: &SocketEntry, key: libnet::socket::OptionKey) -> u32 {
    use libnet::Domain as _;
    use libnet::socket::SocketOption::{ReceiveBufferBytes, SendBufferBytes};
    match socket.id.map(|id| inet.get_option(id, key)) {
        Some(Ok(ReceiveBufferBytes(bytes) | SendBufferBytes(bytes))) => bytes,
        _ => 0,
    }
}
