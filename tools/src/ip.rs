//! `rumpnet ip`: a node's links, addresses, routes and neighbours, in iproute2's grammar and words.

mod addr;
mod forwarding;
mod link;
mod maddr;
mod monitor;
mod neigh;
mod options;
mod print;
mod route;
mod words;

use std::net::IpAddr;

use clap::Args;
use rumpnet::Inet;

use crate::cli::{Global, Node};
use crate::fail::{Failure, Outcome, Status};
use crate::inside::{self, Inside};
use options::Options;
use words::Words;

/// `rumpnet ip`.
#[derive(Args, Debug)]
#[command(
    override_usage = "rumpnet ip [-n NODE] [OPTIONS] OBJECT [COMMAND ...]",
    after_help = "\
OBJECT and COMMAND are iproute2's, and may be shortened as there:
  ip link [show] [dev IF] | set IF [up|down] [mtu BYTES] [clamp-mss mtu|BYTES|off]
                              [impair loss=3%,...|none]
  ip address [show] [dev IF] | add|change|replace|del ADDRESS/BITS dev IF | flush dev IF
  ip route [show] [PREFIX] | get ADDRESS | flush PREFIX |
           add|change|replace|del [blackhole|unreachable] PREFIX [via ADDRESS] [dev IF]
           [metric N] [src ADDRESS] [mtu BYTES]
  ip neighbour [show] [dev IF] | add|change|replace|del ADDRESS [lladdr MAC] dev IF | flush dev IF
  ip maddress [show] [dev IF]
  ip monitor [all|link|address|route|neigh]
  ip forwarding [show] | [dev IF] on|off
OPTIONS: -4 -6 -j[son] -p[retty] -s[tatistics] -br[ief] -o[neline] -d[etails] -t[imestamp] -ts"
)]
pub struct IpArgs {
    #[command(flatten)]
    pub(crate) node: Node,
    /// What to look at or change
    #[arg(
        value_name = "OBJECT",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        num_args = 0..
    )]
    pub(crate) words: Vec<String>,
}

/// The status of what iproute2 calls wrong usage.
const WRONG_USAGE: Status = Status(255);
/// The status of what the stack refused.
const REFUSED: Status = Status(2);

/// What an object's commands are given.
struct Ip<'a> {
    inet: &'a Inet,
    options: Options,
    inside: &'a mut Inside,
}

/// What runs an object's commands.
type Object = fn(Ip<'_>, &mut Words<'_>) -> Outcome;

/// Runs it in a node.
///
/// # Errors
/// As iproute2 words them.
pub fn inside(args: &IpArgs, global: &Global, inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let mut words = Words::new(&args.words);
    let mut options = Options::parse(&mut words)?;
    options.json |= global.json;
    let Some(object) = words.next() else {
        return Err(Failure::verbatim("ip: which object? try \"ip help\".", WRONG_USAGE));
    };
    let ip = Ip { inet: &inet, options, inside };
    // In iproute2's own order, which says what an abbreviation means.
    const OBJECTS: [(&str, Object); 10] = [
        ("address", addr::run),
        ("maddress", maddr::run),
        ("route", route::run),
        ("neighbor", neigh::run),
        ("neighbour", neigh::run),
        ("link", link::run),
        ("monitor", monitor::run),
        ("mroute", no_object),
        ("forwarding", forwarding::run),
        ("help", help),
    ];
    match OBJECTS.iter().find(|(name, _)| words::abbreviates(object, name)) {
        Some((_, run)) => run(ip, &mut words),
        None => Err(Failure::verbatim(
            format!("Object \"{object}\" is unknown, try \"ip help\"."),
            Status::FAILED,
        )),
    }
}

fn no_object(_: Ip<'_>, _: &mut Words<'_>) -> Outcome {
    Err(Failure::verbatim("Object \"mroute\" is not served here.", Status::FAILED))
}

fn help(ip: Ip<'_>, _: &mut Words<'_>) -> Outcome {
    ip.inside.output.line(
        "Usage: ip [ -4 | -6 | -j | -p | -s | -br | -o | -d | -t | -ts ] OBJECT { COMMAND | help }\n\
         where  OBJECT := { address | forwarding | link | maddress | monitor | neighbour | route }",
    )?;
    Ok(Status::DONE)
}

impl Ip<'_> {
    /// The interface that a user named.
    fn device(&self, name: &str) -> Result<libnet::IfIndex, Failure> {
        let none = || Failure::verbatim(format!("Cannot find device \"{name}\""), Status::FAILED);
        inside::index_of(self.inet, name).ok_or_else(none)
    }

    /// An address with the interface behind its `%`, if one is told.
    fn zoned(&self, word: &str) -> Result<(IpAddr, Option<libnet::IfIndex>), Failure> {
        let (addr, zone) = word.split_once('%').map_or((word, None), |(a, zone)| (a, Some(zone)));
        let addr = addr.parse().map_err(|_| wrong("address", word))?;
        Ok((addr, zone.map(|zone| self.device(zone)).transpose()?))
    }

    /// As [`device`](Self::device), of one that is to be shown.
    fn shown_device(&self, name: &str) -> Result<libnet::IfIndex, Failure> {
        let none =
            || Failure::verbatim(format!("Device \"{name}\" does not exist."), Status::FAILED);
        inside::index_of(self.inet, name).ok_or_else(none)
    }
}

/// What the stack refused, as the kernel's answer is worded.
fn refused(error: &std::io::Error) -> Failure {
    Failure::verbatim(format!("RTNETLINK answers: {}", crate::host::plain(error)), REFUSED)
}

fn unknown_command(word: &str, object: &str) -> Failure {
    let text = format!("Command \"{word}\" is unknown, try \"ip {object} help\".");
    Failure::verbatim(text, WRONG_USAGE)
}

fn garbage(word: &str, after: &str) -> Failure {
    let text = format!("Error: either \"{after}\" is duplicate, or \"{word}\" is a garbage.");
    Failure::verbatim(text, WRONG_USAGE)
}

/// What iproute2 knows and a stack here does not do: done by halves it would say what is not so.
fn not_served(word: &str) -> Failure {
    let text = format!("Error: \"{word}\" is not served here: leave it out.");
    Failure::verbatim(text, REFUSED)
}

fn wrong(what: &str, word: &str) -> Failure {
    let text = format!("Error: any valid {what} is expected rather than \"{word}\".");
    Failure::verbatim(text, Status::FAILED)
}

fn no_device() -> Failure {
    let text = "Not enough information: \"dev\" argument is required.";
    Failure::verbatim(text, Status::FAILED)
}
