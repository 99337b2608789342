//! `rumpnet traceroute`: which routers a packet passes, with the known program's options and lines.

mod hops;

use std::time::Duration;

use clap::Args;
use libnet::Instant;
use serde_json::json;

use crate::cli::{Global, Node, Sockets};
use crate::control::client;
use crate::fail::{Failure, Outcome as Ended, Status};
use crate::host;
use crate::inside::Inside;
use crate::trace::{Habits, Method, Outcome, Tracer};
use crate::zone::Zoned;
use hops::{Hops, Probe};

/// `rumpnet traceroute`.
#[derive(Args, Clone, Debug)]
pub struct TracerouteArgs {
    #[command(flatten)]
    sockets: Sockets,
    #[command(flatten)]
    node: Node,
    /// Where to: an IP address
    destination: Zoned,
    /// Length of the packets in bytes, headers included
    #[arg(value_name = "BYTES", default_value_t = 60,
        value_parser = clap::value_parser!(u16).range(28..))]
    packet_bytes: u16,
    /// IPv4
    #[arg(short = '4')]
    ipv4: bool,
    /// IPv6
    #[arg(short = '6')]
    ipv6: bool,
    /// Begin at this hop
    #[arg(short, long = "first", value_name = "TTL", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..))]
    first_ttl: u8,
    /// Never fragment
    #[arg(short = 'F', long)]
    dont_fragment: bool,
    /// Ask by ICMP echo requests
    #[arg(short = 'I', long, conflicts_with = "tcp")]
    icmp: bool,
    /// Ask by TCP's first segment
    #[arg(short = 'T', long)]
    tcp: bool,
    /// Send by this interface
    #[arg(short, long = "interface", value_name = "IF")]
    interface: Option<String>,
    /// Hops at most
    #[arg(short, long = "max-hops", value_name = "TTL", default_value_t = 30,
        value_parser = clap::value_parser!(u8).range(1..))]
    max_ttl: u8,
    /// Packets on the way at once
    #[arg(short = 'N', long = "sim-queries", value_name = "COUNT", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    at_once: u16,
    /// Show numbers, not names; it is always so, without the number again in parentheses
    #[arg(short, action = clap::ArgAction::Count)]
    numeric: u8,
    /// The port: of UDP the first [default: 33434], of TCP the only one [default: 80], with -I the
    /// first sequence number [default: 1]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// Packets for each hop
    #[arg(short, long, value_name = "COUNT", default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=10))]
    queries: u8,
    /// Send from this address
    #[arg(short, long, value_name = "ADDRESS")]
    source: Option<Zoned>,
    /// Type of service
    #[arg(short, long, value_name = "TOS")]
    tos: Option<u8>,
    /// How long to wait: MAX seconds, or HERE times what another answer from the same hop took, or
    /// NEAR times one from another hop, and 0.1 s at least
    #[arg(short, long, value_name = "MAX[,HERE,NEAR]", default_value = "5,3,10",
        value_parser = parse_wait)]
    wait: Wait,
}

/// `-w`.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Wait {
    longest: Duration,
    here: f64,
    near: f64,
}

fn parse_wait(text: &str) -> Result<Wait, String> {
    let wrong = || format!("`{text}` is not MAX or MAX,HERE,NEAR: write seconds and factors");
    let mut parts = text.split(',');
    let longest = crate::units::parse_seconds(parts.next().unwrap_or_default())?;
    let mut factor = |default: f64| match parts.next() {
        None => Ok(default),
        Some(text) => {
            let value: f64 = text.parse().map_err(|_| wrong())?;
            if (0.0..=1e6).contains(&value) { Ok(value) } else { Err(wrong()) }
        }
    };
    let (here, near) = (factor(3.0)?, factor(10.0)?);
    if parts.next().is_some() { Err(wrong()) } else { Ok(Wait { longest, here, near }) }
}

impl Wait {
    /// How long to wait for a probe, seeing what came of others.
    fn of(&self, here: Option<Duration>, near: Option<Duration>) -> Duration {
        let times = |rtt: Duration, factor: f64| rtt.mul_f64(factor);
        match (here, near) {
            (Some(rtt), _) if self.here > 0.0 => self.longest.min(times(rtt, self.here)),
            (None, Some(rtt)) if self.near > 0.0 => self.longest.min(times(rtt, self.near)),
            _ => self.longest,
        }
        // Not less than what a busy machine needs.
        .max(self.longest.min(Duration::from_millis(100)))
    }
}

impl TracerouteArgs {
    fn method(&self) -> Method {
        match (self.icmp, self.tcp) {
            (true, _) => Method::Icmp(self.port.unwrap_or(1)),
            (_, true) => Method::Tcp(self.port.unwrap_or(80)),
            _ => Method::Udp(self.port.unwrap_or(33_434)),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let ip = self.destination.ip;
        if (self.ipv4 && ip.is_ipv6()) || (self.ipv6 && ip.is_ipv4()) {
            return Err(Failure::usage(format!("{} is of the other family", self.destination)));
        }
        if self.first_ttl > self.max_ttl {
            return Err(Failure::usage("first hop out of range"));
        }
        Ok(())
    }
}

/// Traces, from a node if one is named, else from a stack of our own.
///
/// # Errors
/// Status 1: no interface, no route.
pub fn run(args: &TracerouteArgs, global: &Global, argv: Vec<String>) -> Ended {
    if args.sockets.is_of_node(&args.node)? {
        return client::run(args.node.node.as_deref(), argv);
    }
    Inside::alone(&args.sockets, "traceroute", |alone| inside(args, global, alone))
}

/// The same from a node.
///
/// # Errors
/// As [`run`].
pub fn inside(args: &TracerouteArgs, global: &Global, inside: &mut Inside) -> Ended {
    args.check()?;
    let stack = &inside.stack;
    let to = args.destination.at(stack, 0)?;
    let habits = Habits {
        from: args.source.as_ref().map(|source| source.at(stack, 0)).transpose()?,
        device: args.interface.clone(),
        tos: args.tos,
        dont_fragment: args.dont_fragment,
    };
    let tracer = Tracer::open(stack, to, args.method(), &habits)?;
    if !global.json {
        let (to, hops, bytes) = (&args.destination, args.max_ttl, args.packet_bytes);
        let head = format!("traceroute to {to} ({to}), {hops} hops max, {bytes} byte packets");
        inside.output.line(head)?;
        inside.output.flush()?;
    }
    let hops = Hops::new(args.first_ttl, args.max_ttl, args.queries);
    Run { args, json: global.json, tracer, hops, inside }.trace()
}

struct Run<'a> {
    args: &'a TracerouteArgs,
    json: bool,
    tracer: Tracer,
    hops: Hops,
    inside: &'a mut Inside,
}

/// How long to wait before looking whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(50);

impl Run<'_> {
    fn trace(mut self) -> Ended {
        let mut next = 0;
        let mut shown = 0;
        while !self.inside.interrupts.is_stopped() && !self.hops.are_done() {
            let now = self.tracer.now();
            while next < self.hops.wanted() && self.hops.on_the_way() < self.args.at_once.into() {
                self.send(next)?;
                next += 1;
            }
            let patience = self.next_deadline(now);
            self.receive(patience);
            self.give_up();
            while let Some(hop) = self.hops.finished(shown) {
                self.show(hop)?;
                shown += 1;
            }
        }
        while let Some(hop) = self.hops.finished(shown) {
            self.show(hop)?;
            shown += 1;
        }
        Ok(Status::DONE)
    }

    fn send(&mut self, number: usize) -> Result<(), Failure> {
        let ttl = self.hops.ttl_of(number);
        let now = self.tracer.now();
        let sent = self.tracer.send(number as u16, ttl, self.args.packet_bytes.into());
        match sent {
            Ok(()) => self.hops.sent(number, now),
            // The link was full: this one is lost.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.hops.sent(number, now);
            }
            // News of earlier ones, or of this: nobody answers for the next hop.
            Err(error) if error.kind() == std::io::ErrorKind::HostUnreachable => {
                self.hops.sent(number, now);
                self.unreachable();
            }
            Err(error) => {
                return Err(Failure::new(format!("send: {}", host::plain(&error))));
            }
        }
        Ok(())
    }

    /// How long until some probe is waited for long enough.
    fn next_deadline(&self, now: Instant) -> Duration {
        let wait =
            |probe: &Probe, here, near| (probe.sent_at + self.args.wait.of(here, near)).since(now);
        self.hops.shortest(wait).unwrap_or(PATIENCE).min(PATIENCE)
    }

    fn receive(&mut self, patience: Duration) {
        if let Some(answer) = self.tracer.receive(patience) {
            self.hops.answered(answer);
        }
        if self.tracer.is_unreachable() {
            self.unreachable();
        }
    }

    fn unreachable(&mut self) {
        let (from, now) = (self.tracer.source(), self.tracer.now());
        self.hops.refuse_all(from, now, "!H");
    }

    fn give_up(&mut self) {
        let (now, wait) = (self.tracer.now(), self.args.wait);
        self.hops.expire(|probe, here, near| now >= probe.sent_at + wait.of(here, near));
    }

    fn show(&mut self, hop: usize) -> Result<(), Failure> {
        let ttl = self.hops.first_ttl() as usize + hop;
        let probes = self.hops.probes(hop);
        if self.json {
            let probes: Vec<_> = probes
                .iter()
                .map(|probe| match &probe.answer {
                    None => json!(null),
                    Some(answer) => json!({
                        "from": answer.from.to_string(),
                        "rtt_ms": answer.at.since(probe.sent_at).as_nanos() as f64 / 1e6,
                        "note": note(&answer.outcome),
                    }),
                })
                .collect();
            self.inside.output.json(&json!({"hop": ttl, "probes": probes}))?;
            return self.inside.output.flush();
        }
        let mut line = format!("{ttl:>2} ");
        let mut last = None;
        for probe in probes {
            let Some(answer) = &probe.answer else {
                line.push_str(" *");
                continue;
            };
            if last != Some(answer.from) {
                let from = answer.from;
                line.push_str(&match self.args.numeric {
                    0 => format!(" {from} ({from})"),
                    _ => format!(" {from}"),
                });
                last = Some(from);
            }
            let ms = answer.at.since(probe.sent_at).as_nanos() as f64 / 1e6;
            line.push_str(&format!("  {ms:.3} ms"));
            if let Some(note) = note(&answer.outcome) {
                line.push_str(&format!(" {note}"));
            }
        }
        self.inside.output.line(line)?;
        self.inside.output.flush()
    }
}

fn note(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Passed | Outcome::Reached => None,
        Outcome::Refused(letters) if letters.is_empty() => None,
        Outcome::Refused(letters) => Some(letters.clone()),
        Outcome::TooBig(mtu) => Some(format!("!F-{mtu}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_traceroutes() {
        let wait = parse_wait("5").unwrap();
        assert_eq!(wait, Wait { longest: Duration::from_secs(5), here: 3.0, near: 10.0 });
        let ms = Duration::from_millis;
        assert_eq!(wait.of(None, None), ms(5000));
        assert_eq!(wait.of(Some(ms(100)), Some(ms(1))), ms(300));
        assert_eq!(wait.of(None, Some(ms(20))), ms(200));
        assert_eq!(wait.of(Some(ms(1)), None), ms(100), "of a machine that is busy");
        assert_eq!(parse_wait("0.5,2,4").unwrap().of(Some(ms(400)), None), ms(500));
        for text in ["", "x", "1,2,3,4", "1,-1"] {
            assert!(parse_wait(text).is_err(), "{text}");
        }
    }
}
