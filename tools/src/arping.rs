//! `rumpnet arping`: who has an IPv4 address on a link, in iputils' words.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clap::Args;
use libnet::Instant;
use libnet::ethernet::MacAddr;
use serde_json::json;

use crate::cli::{Global, Node, Sockets};
use crate::control::client;
use crate::fail::{Failure, Outcome, Status};
use crate::frames::{Watched, interface, source};
use crate::inside::{Inside, name_of};
use crate::units::parse_seconds;

/// `rumpnet arping`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Exit status: 0 answered, or with -D not; 1 the other way; 2 anything else.")]
pub struct ArpingArgs {
    #[command(flatten)]
    sockets: Sockets,
    #[command(flatten)]
    node: Node,
    /// Whom to ask for
    destination: Ipv4Addr,
    /// Stop after COUNT requests
    #[arg(short, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after SECONDS
    #[arg(short, value_name = "SECONDS", value_parser = parse_seconds)]
    wait: Option<Duration>,
    /// Seconds between two requests
    #[arg(short, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    interval: Duration,
    /// By this interface [default: the one that leads there]
    #[arg(short = 'I', value_name = "IF")]
    interface: Option<String>,
    /// Does anybody else have the address? Ask as one who has none (RFC 5227)
    #[arg(short = 'D')]
    duplicate: bool,
    /// Stop at the first answer
    #[arg(short)]
    first: bool,
    /// Keep asking everybody, not only who answered
    #[arg(short)]
    broadcast: bool,
    /// Print nothing
    #[arg(short)]
    quiet: bool,
    /// Ask from this address
    #[arg(short, value_name = "ADDRESS")]
    source: Option<Ipv4Addr>,
}

/// Asks, from a node if one is named, else from a stack of our own.
///
/// # Errors
/// Status 2: no interface to ask by.
pub fn run(args: &ArpingArgs, global: &Global, argv: Vec<String>) -> Outcome {
    if args.sockets.is_of_node(&args.node)? {
        return client::run(args.node.node.as_deref(), argv);
    }
    Inside::alone(&args.sockets, "arping", |alone| inside(args, global, alone))
}

/// The same from a node.
///
/// # Errors
/// As [`run`].
pub fn inside(args: &ArpingArgs, global: &Global, inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let dst = IpAddr::V4(args.destination);
    let index = interface(&inet, args.interface.as_deref(), dst)?;
    let watched = Watched::open(&inet, index, is_arp)?;
    let ours = match source(&inet, index, dst) {
        Some(IpAddr::V4(addr)) => addr,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let from = match (args.source, args.duplicate) {
        (Some(source), _) => source,
        (None, true) => Ipv4Addr::UNSPECIFIED,
        (None, false) => ours,
    };
    let name = name_of(&inet, index);
    let mut run =
        Run { args, json: global.json, watched, from, name, inside, counts: Counts::default() };
    run.ask()?;
    run.sum_up()
}

/// Is it ARP, as far as its Ethernet header says?
fn is_arp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06])
}

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    sent: u64,
    broadcasts: u64,
    received: u64,
    received_broadcasts: u64,
    received_requests: u64,
}

struct Run<'a> {
    args: &'a ArpingArgs,
    json: bool,
    watched: Watched,
    from: Ipv4Addr,
    name: String,
    inside: &'a mut Inside,
    counts: Counts,
}

/// How long to wait before looking whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(50);

impl Run<'_> {
    fn ask(&mut self) -> Result<(), Failure> {
        if !self.is_silent() {
            let (to, from) = (self.args.destination, self.from);
            self.inside.output.line(format!("ARPING {to} from {from} {}", self.name))?;
            self.inside.output.flush()?;
        }
        let started = self.watched.now();
        let deadline = self.args.wait.map_or(Instant::MAX, |wait| started + wait);
        let (mut next, mut last) = (started, started);
        let mut known: Option<MacAddr> = None;
        while !self.inside.interrupts.is_stopped() {
            let now = self.watched.now();
            let may_send = self.args.count.is_none_or(|count| self.counts.sent < count);
            if now >= deadline || (!may_send && now >= next) {
                break;
            }
            if may_send && now >= next {
                self.send(known.filter(|_| !self.args.broadcast))?;
                last = now;
                next = now + self.args.interval;
            }
            let until = next.min(deadline).since(self.watched.now()).min(PATIENCE);
            let Some((at, frame)) = self.watched.receive(until) else { continue };
            if let Some(mac) = self.take(&frame, at.since(last))? {
                known = Some(mac);
                if self.args.first || self.args.duplicate || self.all_answered() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn all_answered(&self) -> bool {
        self.args
            .count
            .is_some_and(|count| self.counts.sent >= count && self.counts.received >= count)
    }

    const fn is_silent(&self) -> bool {
        self.args.quiet || self.json
    }

    /// RFC 826: a request, to everybody or to who has answered.
    fn send(&mut self, to: Option<MacAddr>) -> Result<(), Failure> {
        let (mac, zero) = (self.watched.mac(), MacAddr::ZERO);
        let dst = to.unwrap_or(MacAddr::BROADCAST);
        let mut frame = Vec::with_capacity(42);
        frame.extend(dst.0);
        frame.extend(mac.0);
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        frame.extend(mac.0);
        frame.extend(self.from.octets());
        frame.extend(zero.0);
        frame.extend(self.args.destination.octets());
        self.watched.send(frame)?;
        self.counts.sent += 1;
        self.counts.broadcasts += u64::from(to.is_none());
        Ok(())
    }

    /// The station, if the frame says that it has the address.
    fn take(&mut self, frame: &[u8], after: Duration) -> Result<Option<MacAddr>, Failure> {
        let Some(arp) = Arp::read(frame) else { return Ok(None) };
        let wants = arp.sender == self.args.destination
            && arp.mac != self.watched.mac()
            && (self.args.duplicate || arp.is_reply);
        if !wants {
            return Ok(None);
        }
        self.counts.received += 1;
        self.counts.received_broadcasts += u64::from(arp.is_broadcast);
        self.counts.received_requests += u64::from(!arp.is_reply);
        let (sender, mac) = (arp.sender, arp.mac);
        let ms = after.as_nanos() as f64 / 1e6;
        if self.json {
            let reply = json!({"type": "reply", "from": sender.to_string(), "mac": mac.to_string(), "ms": ms});
            self.inside.output.json(&reply)?;
        } else if !self.args.quiet {
            let how = if arp.is_broadcast { "Broadcast" } else { "Unicast" };
            let what = if arp.is_reply { "reply" } else { "request" };
            let mac = mac.to_string().to_uppercase();
            self.inside.output.line(format!("{how} {what} from {sender} [{mac}]  {ms:.3}ms"))?;
        }
        self.inside.output.flush()?;
        Ok(Some(mac))
    }

    fn sum_up(&mut self) -> Outcome {
        let counts = self.counts;
        if self.json {
            self.inside.output.json(&json!({
                "type": "summary", "sent": counts.sent, "broadcasts": counts.broadcasts,
                "received": counts.received,
            }))?;
        } else if !self.args.quiet {
            let output = &mut self.inside.output;
            output.line(format!(
                "Sent {} probes ({} broadcast(s))",
                counts.sent, counts.broadcasts
            ))?;
            let mut line = format!("Received {} response(s)", counts.received);
            let parts: Vec<String> = [
                (counts.received_requests, "request(s)"),
                (counts.received_broadcasts, "broadcast(s)"),
            ]
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
            if !parts.is_empty() {
                line.push_str(&format!(" ({})", parts.join(", ")));
            }
            output.line(line)?;
        }
        let answered = counts.received > 0;
        Ok(if answered == self.args.duplicate { Status::FAILED } else { Status::DONE })
    }
}

/// What an ARP packet says of its sender.
struct Arp {
    is_reply: bool,
    is_broadcast: bool,
    mac: MacAddr,
    sender: Ipv4Addr,
}

impl Arp {
    fn read(frame: &[u8]) -> Option<Self> {
        let arp = frame.get(14..42)?;
        if !is_arp(frame) || arp[..6] != [0, 1, 0x08, 0, 6, 4] {
            return None;
        }
        Some(Arp {
            is_reply: arp[6..8] == [0, 2],
            is_broadcast: frame[0] & 1 != 0,
            mac: MacAddr(arp[8..14].try_into().ok()?),
            sender: Ipv4Addr::new(arp[14], arp[15], arp[16], arp[17]),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_frame_is_survived(frame in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Arp::read(&frame);
        }
    }
}
