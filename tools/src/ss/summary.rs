//! `ss -s`: how many sockets there are.

use libnet::socket::SockType;
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::SocketEntry;
use serde_json::json;

use super::filter::State;
use super::{netid, state_of};

pub(super) fn text(inet: &Inet, as_json: bool) -> String {
    let (sockets, ownerless) = (inet.sockets(), inet.ownerless());
    let count = |netid_wanted: &str, v4: Option<bool>| {
        let is_wanted = |socket: &&_| {
            let socket: &SocketEntry = socket;
            netid(socket) == netid_wanted && v4.is_none_or(|v4| socket.local.is_ipv4() == v4)
        };
        sockets.iter().filter(is_wanted).count()
    };
    let streams = sockets.iter().chain(&ownerless);
    let streams = streams.filter(|socket| socket.ty == SockType::Stream);
    let states: Vec<State> = streams.map(state_of).collect();
    let of = |state: State| states.iter().filter(|other| **other == state).count();
    let (established, closed, time_wait) =
        (of(State::Established), of(State::Closed), of(State::TimeWait));
    // As Linux counts them: what was closed and still has something to do.
    let is_orphan = |socket: &&SocketEntry| {
        !matches!(state_of(socket), State::TimeWait | State::SynRecv | State::Established)
    };
    let orphaned = ownerless.iter().filter(is_orphan).count();
    let kinds = ["raw", "icmp", "udp", "tcp"];
    if as_json {
        let mut all = json!({
            "total": sockets.len(),
            "tcp_states": {"established": established, "closed": closed,
                "orphaned": orphaned, "timewait": time_wait},
        });
        for kind in kinds {
            all[kind] = json!({
                "total": count(kind, None), "ipv4": count(kind, Some(true)),
                "ipv6": count(kind, Some(false)),
            });
        }
        return format!("{all}\n");
    }
    let mut text = format!(
        "Total: {}\nTCP:   {} (estab {established}, closed {closed}, orphaned {orphaned}, timewait {time_wait})\n\n\
         Transport Total     IP        IPv6\n",
        sockets.len(),
        states.len()
    );
    let mut row = |name: &str, [all, v4, v6]: [usize; 3]| {
        text.push_str(&format!("{name:<9} {all:<9} {v4:<9} {v6:<9}\n"));
    };
    let mut sum = [0; 3];
    for kind in kinds {
        let counts = [count(kind, None), count(kind, Some(true)), count(kind, Some(false))];
        row(&kind.to_uppercase(), counts);
        sum = [sum[0] + counts[0], sum[1] + counts[1], sum[2] + counts[2]];
    }
    row("INET", sum);
    text
}
