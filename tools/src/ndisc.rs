//! `rumpnet ndisc`: who has an IPv6 address on a link, in the words of ndisc6.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use clap::Args;
use libnet::ethernet::MacAddr;
use serde_json::json;

use crate::cli::{Global, Node, Sockets};
use crate::control::client;
use crate::fail::{Failure, Outcome, Status};
use crate::frames::{Watched, interface, source};
use crate::inside::{Inside, name_of};
use crate::trace::transport_sum;
use crate::units::parse_seconds;
use crate::zone::Zoned;

/// `rumpnet ndisc`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 answered; 2 not, or anything else.")]
pub struct NdiscArgs {
    #[command(flatten)]
    sockets: Sockets,
    #[command(flatten)]
    node: Node,
    /// Whom to ask for
    destination: Zoned,
    /// By this interface [default: the one that leads there]
    #[arg(value_name = "IF")]
    interface: Option<String>,
    /// Stop at the first answer
    #[arg(short = '1', long)]
    single: bool,
    /// Show every answer
    #[arg(short, long, conflicts_with = "single")]
    multiple: bool,
    /// Ask COUNT times
    #[arg(short, long, value_name = "COUNT", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    retry: u32,
    /// How long to wait for each answer, in seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    wait: Duration,
    /// Print the link-layer addresses only
    #[arg(short, long)]
    quiet: bool,
    /// Ask from this address
    #[arg(short, long, value_name = "ADDRESS")]
    source: Option<Ipv6Addr>,
}

/// Asks, from a node if one is named, else from a stack of our own.
///
/// # Errors
/// Status 2: no interface to ask by.
pub fn run(args: &NdiscArgs, global: &Global, argv: Vec<String>) -> Outcome {
    if args.sockets.is_of_node(&args.node)? {
        return client::run(args.node.node.as_deref(), argv);
    }
    Inside::alone(&args.sockets, "ndisc", |alone| inside(args, global, alone))
}

/// How long to wait before looking whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(50);

/// The same from a node.
///
/// # Errors
/// As [`run`].
pub fn inside(args: &NdiscArgs, global: &Global, inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let dst = args.destination.ip;
    let IpAddr::V6(target) = dst else {
        return Err(Failure::usage(format!("{dst} is no IPv6 address: see arping")));
    };
    let index = match (&args.interface, args.destination.iface(&inside.stack)) {
        (None, Ok(Some(index))) => index,
        (name, _) => interface(&inet, name.as_deref(), dst)?,
    };
    let watched = Watched::open(&inet, index, is_advertisement)?;
    let from = match (args.source, source(&inet, index, dst)) {
        (Some(source), _) => source,
        (None, Some(IpAddr::V6(addr))) => addr,
        // RFC 4861 §4.3: as one who has no address yet; the answer goes to all.
        _ => Ipv6Addr::UNSPECIFIED,
    };
    let plain = !global.json && !args.quiet;
    if plain {
        let (to, name) = (target, name_of(&inet, index));
        inside.output.line(format!("Soliciting {to} ({to}) on {name}..."))?;
    }
    let mut answers = 0;
    for _ in 0..args.retry {
        watched.send(solicitation(watched.mac(), from, target))?;
        let until = watched.now() + args.wait;
        while watched.now() < until && !inside.interrupts.is_stopped() {
            let left = until.since(watched.now()).min(PATIENCE);
            let Some((_, frame)) = watched.receive(left) else { continue };
            let Some(answer) = Advertisement::read(&frame, target) else { continue };
            answers += 1;
            let mac = answer.mac.to_string().to_uppercase();
            if global.json {
                let answer =
                    json!({"from": answer.from.to_string(), "mac": answer.mac.to_string()});
                inside.output.json(&answer)?;
            } else if args.quiet {
                inside.output.line(mac)?;
            } else {
                inside.output.line(format!("Target link-layer address: {mac}"))?;
                inside.output.line(format!(" from {}", answer.from))?;
            }
            inside.output.flush()?;
            if !args.multiple {
                return Ok(Status::DONE);
            }
        }
        if answers > 0 || inside.interrupts.is_stopped() {
            break;
        }
        if plain {
            inside.output.line("Timed out.")?;
            inside.output.flush()?;
        }
    }
    if answers == 0 && plain {
        inside.output.line("No response.")?;
    }
    Ok(if answers > 0 { Status::DONE } else { Status::USAGE })
}

/// An IPv6 packet with ICMPv6 behind its header, of type 136.
fn is_advertisement(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(20) == Some(&58)
        && frame.get(54) == Some(&136)
}

/// RFC 4861 §4.3: a neighbour solicitation, to the solicited-node group of its target.
fn solicitation(mac: MacAddr, from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    // RFC 4861 §4.3: no source link-layer address from the unspecified address.
    if !from.is_unspecified() {
        message.extend([1, 1]);
        message.extend(mac.0);
    }
    let sum = transport_sum(from.into(), group.into(), 58, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let mut frame = vec![0x33, 0x33, 0xff, a, b, c];
    frame.extend(mac.0);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    // RFC 4861 §4.3: a hop limit of 255 shows that no router passed it on.
    frame.extend([58, 255]);
    frame.extend(from.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// Who has the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Advertisement {
    from: Ipv6Addr,
    mac: MacAddr,
}

impl Advertisement {
    /// RFC 4861 §4.4, §7.1.2; where it does not tell the station's address, the frame's sender is it.
    fn read(frame: &[u8], target: Ipv6Addr) -> Option<Self> {
        let ip = frame.get(14..54)?;
        let message = frame.get(54..)?;
        let is_ours = is_advertisement(frame)
            && ip[7] == 255
            && message.get(8..24) == Some(&target.octets()[..]);
        if !is_ours {
            return None;
        }
        let octets: [u8; 16] = ip[8..24].try_into().ok()?;
        let mut mac = MacAddr(frame[6..12].try_into().ok()?);
        if message.get(24..26) == Some(&[2, 1]) {
            mac = MacAddr(message.get(26..32)?.try_into().ok()?);
        }
        Some(Advertisement { from: octets.into(), mac })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_solicitation_goes_to_the_group_of_its_target_with_a_true_checksum() {
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let (from, target) = ("fd00::9".parse().unwrap(), "fd00::1:2:3".parse().unwrap());
        let frame = solicitation(mac, from, target);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 2, 0, 3]);
        let group: Ipv6Addr = "ff02::1:ff02:3".parse().unwrap();
        assert_eq!(frame[38..54], group.octets());
        assert_eq!(transport_sum(from.into(), group.into(), 58, &frame[54..]), 0);
    }

    proptest! {
        #[test]
        fn any_frame_is_survived(frame in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Advertisement::read(&frame, Ipv6Addr::LOCALHOST);
        }
    }
}
