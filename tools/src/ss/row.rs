//! A socket as a row of `ss`, and as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use libnet::Instant;
use libnet::socket::{Domain as _, OptionKey, SocketOption, TcpInfo};
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::SocketEntry;
use rumpnet::libnetinet::tcp::{EcnUse, TcpInfo as Snapshot, TimerKind};
use serde_json::{Value, json};

use super::filter::{Filter, State};
use super::{SsArgs, buffer_bytes, netid, state_of};
use crate::inside::{endpoint, zone_name};

/// The cells of a row; the address and port of each end are aligned apart.
type Cells = [String; 9];

const HEADS: [&str; 9] = [
    "Netid",
    "State",
    "Recv-Q",
    "Send-Q",
    "Local Address",
    "Port",
    "Peer Address",
    "Port",
    "Process",
];

pub(super) fn table(
    args: &SsArgs,
    filter: &Filter,
    inet: &Inet,
    name: &str,
    sockets: &[SocketEntry],
) -> String {
    let now = inet.engine().driver().now();
    let mut rows: Vec<(Cells, String)> = Vec::new();
    if !args.no_header {
        rows.push((HEADS.map(str::to_owned), String::new()));
    }
    for socket in sockets {
        let info = socket.id.and_then(|id| inet.tcp_info(id));
        let process = process(args, name, socket, info.as_ref(), now);
        let takes_both = is_of_both_families(inet, socket);
        rows.push((
            cells(inet, socket, takes_both, process),
            more(args, inet, socket, info.as_ref()),
        ));
    }
    // As `ss`: what is the same in every row is left out.
    let one_kind = [args.tcp, args.udp, args.raw, args.unix].iter().filter(|on| **on).count() == 1;
    let one_state = filter.states.len() == 1;
    let mut widths = HEADS.map(str::len);
    for (cells, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for (cells, more) in rows {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
            if (at == 0 && one_kind) || (at == 1 && one_state) {
                continue;
            }
            let is_address = at == 4 || at == 6;
            match is_address {
                true => line.push_str(&format!("{cell:>width$}:")),
                false => line.push_str(&format!("{cell:<width$} ")),
            }
        }
        text.push_str(line.trim_end());
        text.push_str(&more);
        text.push('\n');
    }
    text
}

fn cells(inet: &Inet, socket: &SocketEntry, takes_both: bool, process: String) -> Cells {
    let state = state_of(socket);
    let (recv_q, send_q) = queues(socket, state);
    let [mut local, local_port] = end(inet, Some(socket.local));
    let [peer, peer_port] = end(inet, socket.remote);
    let any = match (socket.local.is_ipv4(), takes_both) {
        (true, _) => "0.0.0.0",
        (false, true) => "*",
        (false, false) => "[::]",
    };
    if socket.local.ip().is_unspecified() {
        any.clone_into(&mut local);
    }
    let peer = if socket.remote.is_none() { any.to_owned() } else { peer };
    [
        netid(socket).to_owned(),
        state.name().to_owned(),
        recv_q.to_string(),
        send_q.to_string(),
        local,
        local_port,
        peer,
        peer_port,
        process,
    ]
}

/// Is it an IPv6 socket that takes IPv4 too?
fn is_of_both_families(inet: &Inet, socket: &SocketEntry) -> bool {
    let only = socket.id.map(|id| inet.get_option(id, OptionKey::V6Only));
    socket.local.is_ipv6() && matches!(only, Some(Ok(SocketOption::V6Only(false))))
}

/// Bytes that wait; of a listener connections, and how many may.
fn queues(socket: &SocketEntry, state: State) -> (usize, usize) {
    match state {
        State::Listening => (socket.receive_bytes, socket.backlog as usize),
        _ => (socket.receive_bytes, socket.send_bytes),
    }
}

fn end(inet: &Inet, addr: Option<SocketAddr>) -> [String; 2] {
    let Some(addr) = addr else { return ["*".to_owned(), "*".to_owned()] };
    let host = match addr {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => {
            let zone = zone_name(inet, addr).map(|zone| format!("%{zone}"));
            format!("[{}]{}", v6.ip(), zone.unwrap_or_default())
        }
    };
    let port = if addr.port() == 0 { "*".to_owned() } else { addr.port().to_string() };
    [host, port]
}

fn process(
    args: &SsArgs,
    name: &str,
    socket: &SocketEntry,
    info: Option<&Snapshot>,
    now: Instant,
) -> String {
    let mut parts = Vec::new();
    if let Some(id) = socket.id.filter(|_| args.processes) {
        let (pid, fd) = (std::process::id(), id.index);
        parts.push(format!("users:((\"{name}\",pid={pid},fd={fd}))"));
    }
    if args.options
        && let Some((kind, at)) = socket.timer
    {
        let kind = timer_name(kind, state_of(socket));
        let retries = info.map_or(0, |info| info.retries);
        parts.push(format!("timer:({kind},{},{retries})", timer_text(at.since(now))));
    }
    if args.extended {
        let (index, generation) = socket.id.map_or((0, 0), |id| (id.index, id.generation));
        let uid = rustix::process::getuid().as_raw();
        let uid = if uid == 0 { String::new() } else { format!("uid:{uid} ") };
        parts.push(format!("{uid}ino:{index} sk:{generation:x}"));
    }
    parts.join(" ")
}

fn timer_name(kind: TimerKind, state: State) -> &'static str {
    match kind {
        TimerKind::Resend => "on",
        TimerKind::Persist => "persist",
        _ if state == State::TimeWait => "timewait",
        _ => "keepalive",
    }
}

/// As `ss` writes what is left of a timer.
fn timer_text(left: Duration) -> String {
    let (minutes, seconds, millis) =
        (left.as_secs() / 60, left.as_secs() % 60, left.subsec_millis());
    let mut text = String::new();
    let (mut seconds, mut millis) = (seconds, millis);
    if minutes > 0 {
        text.push_str(&format!("{minutes}min"));
        millis = 0;
        if minutes > 9 {
            seconds = 0;
        }
    }
    if seconds > 0 {
        if seconds > 9 {
            millis = 0;
        }
        text.push_str(&format!("{seconds}{}", if millis > 0 { "." } else { "sec" }));
    }
    if millis > 0 || text.is_empty() {
        text.push_str(&format!("{millis:03}ms"));
    }
    text
}

/// What `-m` and `-i` show, on a line of its own.
fn more(args: &SsArgs, inet: &Inet, socket: &SocketEntry, info: Option<&Snapshot>) -> String {
    let mut parts = Vec::new();
    if args.memory {
        parts.push(memory(inet, socket));
    }
    if let Some(told) = linux_info(inet, socket).filter(|_| args.info) {
        parts.push(super::info::text(&told, info));
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() {
        return String::new();
    }
    let start = if args.oneline { " " } else { "\n\t " };
    format!("{start}{}", parts.join(" "))
}

/// `TCP_INFO` of a stream that a socket holds.
fn linux_info(inet: &Inet, socket: &SocketEntry) -> Option<TcpInfo> {
    match inet.get_option(socket.id?, OptionKey::Info) {
        Ok(SocketOption::Info(info)) => Some(*info),
        _ => None,
    }
}

fn memory(inet: &Inet, socket: &SocketEntry) -> String {
    let receive_limit = buffer_bytes(inet, socket, OptionKey::ReceiveBufferBytes);
    let send_limit = buffer_bytes(inet, socket, OptionKey::SendBufferBytes);
    let is_listener = state_of(socket) == State::Listening;
    let waiting = if is_listener { 0 } else { socket.receive_bytes };
    format!(
        "skmem:(r{waiting},rb{receive_limit},t0,tb{send_limit},f0,w{},o0,bl0,d{})",
        socket.send_bytes, socket.overflows
    )
}

pub(super) fn to_json(inet: &Inet, socket: &SocketEntry, name: &str, pid: u32) -> Value {
    let state = state_of(socket);
    let (recv_q, send_q) = queues(socket, state);
    let now = inet.engine().driver().now();
    let mut json = json!({
        "netid": netid(socket),
        "protocol": socket.protocol.0,
        "state": state.name(),
        "recv_q": recv_q,
        "send_q": send_q,
        "local": endpoint(inet, socket.local),
        "peer": socket.remote.map(|addr| endpoint(inet, addr)),
        "process": {"name": name, "pid": pid},
        "id": socket.id.map(|id| id.index),
        "generation": socket.id.map(|id| id.generation),
        "overflows": socket.overflows,
        "receive_buffer_bytes": buffer_bytes(inet, socket, OptionKey::ReceiveBufferBytes),
        "send_buffer_bytes": buffer_bytes(inet, socket, OptionKey::SendBufferBytes),
    });
    let Some(info) = socket.id.and_then(|id| inet.tcp_info(id)) else { return json };
    json["tcp"] = connection(&info, state, now);
    json["tcp"]["counts"] = counts(&info);
    json
}

/// What a connection has counted, and where its time went.
fn counts(info: &Snapshot) -> Value {
    json!({
        "bytes_acked": info.bytes_acked,
        "bytes_resent": info.bytes_resent,
        "data_segments_in": info.data_segments_in,
        "data_segments_out": info.data_segments_out,
        "out_of_order_in": info.out_of_order_in,
        "dsacks_in": info.dsacks_in,
        "reorderings": info.reorderings,
        "timeouts": info.timeouts,
        "busy_us": us(info.busy_time),
        "rwnd_limited_us": us(info.rwnd_limited),
        "sndbuf_limited_us": us(info.sndbuf_limited),
    })
}

fn us(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

fn connection(info: &Snapshot, state: State, now: Instant) -> Value {
    json!({
        "srtt_us": info.srtt.map(us),
        "rttvar_us": us(info.rttvar),
        "rto_us": us(info.rto),
        "retries": info.retries,
        "congestion_control": info.congestion_control.name(),
        "cwnd_bytes": info.cwnd_bytes,
        "ssthresh_bytes": info.ssthresh_bytes,
        "snd_wnd_bytes": info.snd_wnd_bytes,
        "rcv_wnd_bytes": info.rcv_wnd_bytes,
        "mss_bytes": info.snd_mss_bytes,
        "path_mtu_bytes": info.path_mtu_bytes,
        "in_flight_bytes": info.in_flight_bytes,
        "reassembly_bytes": info.reassembly_bytes,
        "timestamps": info.timestamps,
        "sack": info.sack,
        "ecn": match info.ecn {
            EcnUse::Off => Value::Null,
            form => format!("{form:?}").to_lowercase().into(),
        },
        "ecn_seen": info.ecn_seen,
        "in_recovery": info.in_recovery,
        "sacked_bytes": info.sacked_bytes,
        "lost_bytes": info.lost_bytes,
        "resent_bytes": info.resent_bytes,
        "min_rtt_us": us(info.min_rtt),
        "delivered_bytes": info.delivered_bytes,
        "delivery_rate": info.delivery_rate,
        "bytes_in": info.bytes_in,
        "bytes_out": info.bytes_out,
        "segments_in": info.segments_in,
        "segments_out": info.segments_out,
        "retransmits": info.retransmits,
        "timer": info.timer.map(|(kind, at)| json!({
            "kind": timer_name(kind, state), "left_us": us(at.since(now)),
        })),
        "ca_state": format!("{:?}", info.ca_state).to_lowercase(),
        "backoff": info.backoff,
        "ack_delay_us": us(info.ack_delay),
        "notsent_bytes": info.notsent_bytes,
        "pacing_rate": info.pacing_rate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_timer_is_written_as_ss_does() {
        for (millis, text) in [
            (204, "204ms"),
            (1204, "1.204ms"),
            (2000, "2sec"),
            (29_500, "29sec"),
            (119_000, "1min59sec"),
            (7_200_000, "120min"),
            (0, "000ms"),
        ] {
            assert_eq!(timer_text(Duration::from_millis(millis)), text);
        }
    }
}
