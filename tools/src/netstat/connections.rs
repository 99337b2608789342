//! `netstat -a` and the like: sockets.

use std::net::SocketAddr;

use libnet::socket::{Protocol, SockType};
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::SocketEntry;
use serde_json::{Value, json};

use super::NetstatArgs;
use crate::fail::Failure;
use crate::inside::{endpoint, zone_name};
use crate::output::Output;

pub(super) fn show(
    args: &NetstatArgs,
    inet: &Inet,
    as_json: bool,
    name: &str,
    output: &mut Output,
) -> Result<(), Failure> {
    let [v4, v6] = args.families();
    let kinds = args.tcp || args.udp || args.raw;
    let mut sockets: Vec<SocketEntry> = inet.sockets();
    sockets.extend(inet.ownerless());
    sockets.retain(|socket| {
        let kind = match socket.ty {
            SockType::Stream => args.tcp,
            SockType::Datagram if socket.protocol == Protocol::UDP => args.udp,
            _ => args.raw,
        };
        let family = if socket.local.is_ipv4() { v4 } else { v6 };
        let has_peer = socket.remote.is_some();
        let wanted = args.all || (args.listening != has_peer);
        (kind || !kinds) && family && wanted
    });
    let place = |socket: &SocketEntry| socket.id.map_or(u32::MAX, |id| id.index);
    sockets.sort_by_key(|socket| (protocol(socket), place(socket), socket.local, socket.remote));
    if as_json {
        let all = sockets.iter().map(|socket| {
            json!({
                "proto": protocol(socket), "recv_q": socket.receive_bytes,
                "send_q": socket.send_bytes, "local": endpoint(inet, socket.local),
                "foreign": socket.remote.map(|addr| endpoint(inet, addr)), "state": state(socket),
            })
        });
        return output.json_pretty(&Value::Array(all.collect()));
    }
    let what = match (args.all, args.listening) {
        (true, _) => "(servers and established)",
        (false, true) => "(only servers)",
        (false, false) => "(w/o servers)",
    };
    output.line(format!("Active Internet connections {what}"))?;
    let program = if args.programs { " PID/Program name" } else { "" };
    output.line(format!(
        "Proto Recv-Q Send-Q Local Address           Foreign Address         State      {program}"
    ))?;
    for socket in &sockets {
        let program = match args.programs {
            true if socket.id.is_none() => " -".to_owned(),
            true => format!(" {}/{name}", std::process::id()),
            false => String::new(),
        };
        output.line(format!(
            "{:<5} {:>6} {:>6} {:<23} {:<23} {:<11}{program}",
            protocol(socket),
            socket.receive_bytes,
            socket.send_bytes,
            end(inet, socket.local),
            socket.remote.map_or_else(|| no_peer(socket), |addr| end(inet, addr)),
            state(socket)
        ))?;
    }
    Ok(())
}

fn protocol(socket: &SocketEntry) -> &'static str {
    match (socket.ty, socket.protocol, socket.local.is_ipv4()) {
        (SockType::Stream, _, true) => "tcp",
        (SockType::Stream, _, false) => "tcp6",
        (SockType::Datagram, Protocol::UDP, true) => "udp",
        (SockType::Datagram, Protocol::UDP, false) => "udp6",
        (SockType::Datagram, _, true) => "icmp",
        (SockType::Datagram, _, false) => "icmp6",
        (_, _, true) => "raw",
        (_, _, false) => "raw6",
    }
}

/// net-tools' words.
fn state(socket: &SocketEntry) -> &'static str {
    match socket.state {
        "SYN-SENT" => "SYN_SENT",
        "SYN-RECEIVED" => "SYN_RECV",
        "FIN-WAIT-1" => "FIN_WAIT1",
        "FIN-WAIT-2" => "FIN_WAIT2",
        "CLOSE-WAIT" => "CLOSE_WAIT",
        "LAST-ACK" => "LAST_ACK",
        "TIME-WAIT" => "TIME_WAIT",
        "CLOSED" => "CLOSE",
        "" if socket.remote.is_some() => "ESTABLISHED",
        other => other,
    }
}

fn end(inet: &Inet, addr: SocketAddr) -> String {
    let zone = zone_name(inet, addr).map_or(String::new(), |zone| format!("%{zone}"));
    match addr.port() {
        0 => format!("{}{zone}:*", addr.ip()),
        port => format!("{}{zone}:{port}", addr.ip()),
    }
}

fn no_peer(socket: &SocketEntry) -> String {
    if socket.local.is_ipv4() { "0.0.0.0:*".to_owned() } else { ":::*".to_owned() }
}
