//! `rumpnet tracepath`: the routers on a path and its MTU, in iputils' lines.

use std::io;
use std::time::Duration;

use clap::Args;
use libnet::Instant;
use serde_json::json;

use crate::cli::{Global, Node, Sockets};
use crate::control::client;
use crate::fail::{Failure, Outcome as Ended, Status};
use crate::host;
use crate::inside::Inside;
use crate::trace::{Answer, Habits, Method, Outcome, Tracer};
use crate::zone::Zoned;

/// `rumpnet tracepath`.
#[derive(Args, Clone, Debug)]
pub struct TracepathArgs {
    #[command(flatten)]
    sockets: Sockets,
    #[command(flatten)]
    node: Node,
    /// Where to: an IP address
    destination: Zoned,
    /// IPv4
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6
    #[arg(short = '6')]
    ipv6: bool,
    /// Show numbers, not names; it is always so
    #[arg(short)]
    numeric: bool,
    /// Begin with packets of this length in bytes, headers included [default: the path's MTU as it
    /// is known]
    #[arg(short, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(28..))]
    length: Option<u16>,
    /// Hops at most
    #[arg(short, value_name = "HOPS", default_value_t = 30,
        value_parser = clap::value_parser!(u8).range(1..))]
    max_hops: u8,
    /// The first port to send to
    #[arg(short, value_name = "PORT", default_value_t = 44_444)]
    port: u16,
    /// How long to wait for each answer
    #[arg(short = 'W', value_name = "SECONDS", default_value = "1",
        value_parser = crate::units::parse_seconds)]
    wait: Duration,
}

/// Traces, from a node if one is named, else from a stack of our own.
///
/// # Errors
/// Status 1: no interface, no route.
pub fn run(args: &TracepathArgs, global: &Global, argv: Vec<String>) -> Ended {
    if args.sockets.is_of_node(&args.node)? {
        return client::run(args.node.node.as_deref(), argv);
    }
    Inside::alone(&args.sockets, "tracepath", |alone| inside(args, global, alone))
}

/// The same from a node.
///
/// # Errors
/// As [`run`].
pub fn inside(args: &TracepathArgs, global: &Global, inside: &mut Inside) -> Ended {
    let dst = &args.destination;
    if (args.ipv4 && dst.ip.is_ipv6()) || (args.ipv6 && dst.ip.is_ipv4()) {
        return Err(Failure::usage(format!("{dst} is of the other family")));
    }
    let habits = Habits { dont_fragment: true, ..Habits::default() };
    let (to, iface) = (dst.at(&inside.stack, 0)?, dst.iface(&inside.stack)?);
    let tracer = Tracer::open(&inside.stack, to, Method::Udp(args.port), &habits)?;
    let known = inside.stack.inet().and_then(|inet| inet.path_to(dst.ip, None, iface).ok());
    let pmtu = known.map_or(65_535, |path| path.mtu.min(65_535));
    let bytes = args.length.map_or(pmtu, u32::from);
    Run { args, json: global.json, tracer, inside, bytes, pmtu: bytes, sent: 0 }.trace()
}

struct Run<'a> {
    args: &'a TracepathArgs,
    json: bool,
    tracer: Tracer,
    inside: &'a mut Inside,
    /// Length of the packets.
    bytes: u32,
    pmtu: u32,
    sent: u16,
}

/// Packets for each hop before it is given up.
const TRIES: u32 = 3;
/// Times that the path may turn out to be narrower at one hop.
const MAX_NARROWER: u32 = 16;
/// How long to wait before looking whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(50);

impl Run<'_> {
    fn trace(mut self) -> Ended {
        self.line(1, '?', "[LOCALHOST]", &format!("pmtu {}", self.pmtu), None)?;
        for ttl in 1..=self.args.max_hops {
            match self.hop(ttl)? {
                Hop::Over(back) => {
                    let (pmtu, hops) = (self.pmtu, ttl);
                    let text = format!("     Resume: pmtu {pmtu} hops {hops} back {back} ");
                    if self.json {
                        self.inside
                            .output
                            .json(&json!({"pmtu": pmtu, "hops": hops, "back": back}))?;
                    } else {
                        self.inside.output.line(text)?;
                    }
                    return Ok(Status::DONE);
                }
                Hop::Refused => break,
                Hop::Further if self.inside.interrupts.is_stopped() => break,
                Hop::Further => {}
            }
        }
        if self.json {
            self.inside.output.json(&json!({"pmtu": self.pmtu, "hops": null}))?;
        } else {
            self.inside
                .output
                .line("     Too many hops: pmtu ".to_owned() + &self.pmtu.to_string())?;
            self.inside.output.line(format!("     Resume: pmtu {} ", self.pmtu))?;
        }
        Ok(Status::DONE)
    }

    fn hop(&mut self, ttl: u8) -> Result<Hop, Failure> {
        let (mut tries, mut narrower) = (0, 0);
        while tries < TRIES && !self.inside.interrupts.is_stopped() {
            tries += 1;
            let Some((answer, sent_at)) = self.probe(ttl)? else { continue };
            let rtt = answer.at.since(sent_at);
            let back = hops_back(answer.ttl).unwrap_or(ttl);
            let from = answer.from.to_string();
            let time = format!("{:>8.3}ms ", rtt.as_nanos() as f64 / 1e6);
            match &answer.outcome {
                Outcome::TooBig(mtu)
                    if narrower < MAX_NARROWER && (28..self.bytes).contains(mtu) =>
                {
                    self.bytes = *mtu;
                    self.pmtu = *mtu;
                    (tries, narrower) = (tries - 1, narrower + 1);
                    self.line(ttl, ':', &from, &format!("{time}pmtu {mtu}"), Some(&answer))?;
                }
                Outcome::Passed => {
                    let asymmetric = match back == ttl {
                        true => String::new(),
                        false => format!("asymm {back:>2} "),
                    };
                    self.line(ttl, ':', &from, &(time + &asymmetric), Some(&answer))?;
                    return Ok(Hop::Further);
                }
                Outcome::Reached => {
                    self.line(ttl, ':', &from, &(time + "reached"), Some(&answer))?;
                    return Ok(Hop::Over(back));
                }
                Outcome::TooBig(_) | Outcome::Refused(_) => {
                    let letters = match &answer.outcome {
                        Outcome::Refused(letters) => letters.clone(),
                        _ => "!F".to_owned(),
                    };
                    self.line(ttl, ':', &from, &(time + &letters), Some(&answer))?;
                    return Ok(Hop::Refused);
                }
            }
        }
        self.line(ttl, ':', "no reply", "", None)?;
        Ok(Hop::Further)
    }

    /// Sends one and waits for what comes of it.
    fn probe(&mut self, ttl: u8) -> Result<Option<(Answer, Instant)>, Failure> {
        let number = self.sent;
        self.sent = self.sent.wrapping_add(1);
        let sent_at = self.tracer.now();
        match self.tracer.send(number, ttl, self.bytes as usize) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::HostUnreachable => {
                return Ok(Some((self.nobody(number), sent_at)));
            }
            Err(error)
                if error.raw_os_error() == libnet::errno::message_too_long().raw_os_error() =>
            {
                let outcome = Outcome::TooBig(self.narrower());
                let from = self.tracer.source();
                let answer = Answer { number, from, ttl: 64, at: self.tracer.now(), outcome };
                return Ok(Some((answer, sent_at)));
            }
            Err(error) => return Err(Failure::new(format!("send: {}", host::plain(&error)))),
        }
        let until = sent_at + self.args.wait;
        while !self.inside.interrupts.is_stopped() {
            let left = until.since(self.tracer.now());
            if left.is_zero() {
                break;
            }
            match self.tracer.receive(left.min(PATIENCE)) {
                Some(answer) if answer.number == number => return Ok(Some((answer, sent_at))),
                _ if self.tracer.is_unreachable() => {
                    return Ok(Some((self.nobody(number), sent_at)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn nobody(&self, number: u16) -> Answer {
        let (from, at) = (self.tracer.source(), self.tracer.now());
        Answer { number, from, ttl: 64, at, outcome: Outcome::Refused("!H".to_owned()) }
    }

    /// What the stack itself knows to be the most.
    fn narrower(&self) -> u32 {
        let dst = &self.args.destination;
        let iface = dst.iface(&self.inside.stack).ok().flatten();
        let inet = self.inside.stack.inet();
        let known = inet.and_then(|inet| inet.path_to(dst.ip, None, iface).ok());
        known.map_or(1500, |path| path.mtu).min(self.bytes.saturating_sub(1))
    }

    fn line(
        &mut self,
        ttl: u8,
        mark: char,
        host: &str,
        text: &str,
        answer: Option<&Answer>,
    ) -> Result<(), Failure> {
        if self.json {
            let from = answer.map(|answer| answer.from.to_string());
            let text = text.trim();
            self.inside.output.json(&json!({"hop": ttl, "from": from, "text": text}))?;
        } else {
            let mark = if mark == '?' { "?: " } else { ":  " };
            let line = format!("{ttl:>2}{mark}{host:<52}{text}");
            self.inside.output.line(line.trim_end())?;
        }
        self.inside.output.flush()
    }
}

/// What a hop means for the rest.
enum Hop {
    /// The destination answered, so many hops back.
    Over(u8),
    Further,
    Refused,
}

/// How many hops an answer came, if it began with one of the usual times to live.
fn hops_back(ttl: u8) -> Option<u8> {
    match ttl {
        0 => None,
        1..=64 => Some(65 - ttl),
        65..=128 => Some(129 - ttl),
        129..=255 => Some((256 - u16::from(ttl)) as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_told_by_what_is_left_of_the_time_to_live() {
        for (ttl, hops) in [(64, Some(1)), (60, Some(5)), (128, Some(1)), (255, Some(1)), (0, None)]
        {
            assert_eq!(hops_back(ttl), hops);
        }
    }
}
