//! `rumpnet metrics`: a node's counters in Prometheus's text format, version 0.0.4.

pub mod serve;

use std::fmt::Write as _;

use clap::Args;
use libnet::DropReason;
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::InterfaceEntry;

use crate::cli::Node;
use crate::fail::{Outcome, Status};
use crate::inside::Inside;
use crate::netstat::mib;

/// `rumpnet metrics`.
#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    #[command(flatten)]
    pub(crate) node: Node,
}

/// Runs it in a node.
///
/// # Errors
/// Standard output's.
pub fn inside(inside: &mut Inside) -> Outcome {
    let text = text(&*inside.inet()?, &inside.name);
    inside.output.text(text)?;
    Ok(Status::DONE)
}

/// All that is counted of a stack; `name` is what its node is called.
pub fn text(inet: &Inet, name: &str) -> String {
    let mut text = Text(String::new());
    text.family("rumpnet_node_info", "gauge", "The node and its version.");
    let labels = [("name", name), ("version", env!("CARGO_PKG_VERSION"))];
    text.sample("rumpnet_node_info", &labels, 1);
    interfaces(inet, &mut text);
    protocols(inet, &mut text);
    text.family(
        "rumpnet_dropped_total",
        "counter",
        "Packets and requests that were refused, by reason.",
    );
    for reason in DropReason::ALL {
        let labels = [("reason", reason.name())];
        text.sample("rumpnet_dropped_total", &labels, inet.drops().get(*reason));
    }
    sizes(inet, &mut text);
    text.0
}

/// How one of an interface's figures is told.
type Figure = (&'static str, &'static str, &'static str, fn(&InterfaceEntry) -> u64);

const FIGURES: [Figure; 12] = [
    ("up", "gauge", "1 where the interface is up and its link works.", |e| {
        u64::from(e.up && e.running)
    }),
    ("mtu_bytes", "gauge", "The largest IP packet.", |e| u64::from(e.mtu)),
    ("receive_frames_total", "counter", "Frames received, a super-frame as one.", |e| e.rx_frames),
    ("receive_bytes_total", "counter", "Bytes received, link headers included.", |e| e.rx_bytes),
    ("transmit_frames_total", "counter", "Frames sent, a super-frame as one.", |e| e.tx_frames),
    ("transmit_bytes_total", "counter", "Bytes sent, link headers included.", |e| e.tx_bytes),
    ("transmit_dropped_total", "counter", "Frames that could not be sent.", |e| e.tx_dropped),
    ("transmit_waits_total", "counter", "Times that the link was full and sending waited.", |e| {
        e.tx_waits
    }),
    ("receive_missed_total", "counter", "Frames lost before they could be taken.", |e| {
        e.link_stats.rx_missed
    }),
    ("receive_malformed_total", "counter", "Frames that the link described wrongly.", |e| {
        e.link_stats.rx_malformed
    }),
    ("transmit_refused_total", "counter", "Frames that the link could never take.", |e| {
        e.link_stats.tx_refused
    }),
    ("address_conflicts_total", "counter", "Others seen using an address of ours.", |e| {
        e.addrs.iter().map(|(_, conflicts)| conflicts).sum()
    }),
];

fn interfaces(inet: &Inet, text: &mut Text) {
    let all = inet.interfaces();
    for (name, kind, help, value) in FIGURES {
        let name = format!("rumpnet_interface_{name}");
        text.family(&name, kind, help);
        for entry in &all {
            let labels = [("interface", &*entry.name), ("kind", entry.link.kind)];
            text.sample(&name, &labels, value(entry));
        }
    }
}

fn protocols(inet: &Inet, text: &mut Text) {
    for section in mib::sections(inet) {
        for counter in section.counters {
            let (kind, end) = if counter.is_gauge { ("gauge", "") } else { ("counter", "_total") };
            let name = format!("rumpnet_{}_{}{end}", snake(section.name), snake(counter.name));
            let help = format!("{}: {}.", section.name, counter.name);
            text.family(&name, kind, &help);
            text.sample(&name, &[], counter.value);
        }
    }
}

fn sizes(inet: &Inet, text: &mut Text) {
    let sockets = inet.sockets();
    text.family("rumpnet_sockets", "gauge", "Open sockets.");
    for (label, protocol) in [("tcp", 6), ("udp", 17), ("icmp", 1), ("icmp6", 58)] {
        let count = sockets.iter().filter(|socket| socket.protocol.0 == protocol).count();
        text.sample("rumpnet_sockets", &[("protocol", label)], count as u64);
    }
    text.family("rumpnet_routes", "gauge", "Routes in the table.");
    text.sample("rumpnet_routes", &[], inet.route_count() as u64);
    text.family("rumpnet_neighbours", "gauge", "Neighbours in the table.");
    text.sample("rumpnet_neighbours", &[], inet.neighbours().len() as u64);
}

/// `InReceives` and `PAWSEstab` with underscores, in lower case.
fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let follows_word = before.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let begins_word = letters.get(at + 1).is_some_and(char::is_ascii_lowercase)
            && before.is_some_and(|c| c.is_ascii_uppercase());
        if letter.is_ascii_uppercase() && (follows_word || begins_word) {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let labels = match &labels[..] {
            [] => String::new(),
            all => format!("{{{}}}", all.join(",")),
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_lower_case_with_underscores() {
        for (name, text) in [
            ("InReceives", "in_receives"),
            ("ReasmOKs", "reasm_o_ks"),
            ("TCPOFOQueue", "tcpofo_queue"),
            ("PAWSEstabRejected", "paws_estab_rejected"),
            ("TcpExt", "tcp_ext"),
            ("arp_in", "arp_in"),
        ] {
            assert_eq!(snake(name), text);
        }
    }

    #[test]
    fn a_label_may_hold_anything() {
        let mut text = Text(String::new());
        text.sample("a", &[("b", "x\"y\\z\n")], 1);
        assert_eq!(text.0, "a{b=\"x\\\"y\\\\z\\n\"} 1\n");
    }
}
