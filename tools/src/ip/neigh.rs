//! `ip neighbour`.

use std::net::IpAddr;

use libnet::IpCidr;
use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use rumpnet::libnetinet::snapshot::{NeighbourEntry, NeighbourSetting, NeighbourState};
use serde_json::{Map, Value};

use super::link::is_show;
use super::print::{Item, print};
use super::words::{Words, abbreviates};
use super::{Ip, garbage, refused, unknown_command, wrong};
use crate::fail::{Failure, Outcome, Status};
use crate::inside::{is_wanted, name_of};

pub(super) fn run(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let Some(command) = words.peek() else { return show(ip, words) };
    words.next();
    match command {
        _ if abbreviates(command, "add") => set(&ip, words, Existing::Refused),
        _ if abbreviates(command, "change") || abbreviates(command, "chg") => {
            set(&ip, words, Existing::Needed)
        }
        _ if abbreviates(command, "replace") => set(&ip, words, Existing::Replaced),
        _ if abbreviates(command, "delete") => delete(&ip, words),
        _ if abbreviates(command, "get") => get(ip, words),
        _ if is_show(command) => show(ip, words),
        _ if abbreviates(command, "flush") => flush(ip, words),
        _ if abbreviates(command, "help") => super::help(ip, words),
        _ => Err(unknown_command(command, "neigh")),
    }
}

/// Which neighbours are meant.
#[derive(Default)]
struct Selection {
    device: Option<IfIndex>,
    to: Option<IpCidr>,
    states: Vec<String>,
}

impl Selection {
    fn parse(ip: &Ip<'_>, words: &mut Words<'_>) -> Result<Self, Failure> {
        let mut chosen = Selection::default();
        while let Some(word) = words.next() {
            match word {
                "dev" => chosen.device = Some(ip.device(words.need()?)?),
                "nud" => chosen.states.push(words.need()?.to_ascii_uppercase()),
                "unused" | "proxy" => {}
                _ => {
                    let text = if word == "to" { words.need()? } else { word };
                    chosen.to = Some(text.parse().map_err(|_| wrong("prefix", text))?);
                }
            }
        }
        Ok(chosen)
    }

    fn takes(&self, ip: &Ip<'_>, entry: &NeighbourEntry) -> bool {
        let state = state_of(entry);
        is_wanted(ip.options.family, &entry.addr)
            && self.device.is_none_or(|index| index == entry.iface)
            && self.to.is_none_or(|to| to.contains(entry.addr))
            && (self.states.is_empty()
                || self.states.iter().any(|wanted| wanted == state || wanted == "ALL"))
    }
}

fn show(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let chosen = Selection::parse(&ip, words)?;
    let all = ip.inet.neighbours();
    let shown = all.iter().filter(|entry| chosen.takes(&ip, entry));
    let items = shown.map(|entry| item(&name_of(ip.inet, entry.iface), entry)).collect();
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}

pub(super) fn item(name: &str, entry: &NeighbourEntry) -> Item {
    let mut text = format!("{} dev {name} ", entry.addr);
    let mut map = Map::new();
    map.insert("dst".into(), entry.addr.to_string().into());
    map.insert("dev".into(), name.into());
    if let Some(mac) = entry.mac {
        text.push_str(&format!("lladdr {mac} "));
        map.insert("lladdr".into(), mac.to_string().into());
    }
    if entry.router {
        text.push_str("router ");
        map.insert("router".into(), Value::Null);
    }
    let state = state_of(entry);
    text.push_str(&format!("{state} "));
    map.insert("state".into(), vec![state].into());
    Item { text, json: Value::Object(map) }
}

/// A neighbour's state in iproute2's words.
pub(crate) fn state_of(entry: &NeighbourEntry) -> &'static str {
    match entry.state {
        NeighbourState::Reachable if entry.stale => "STALE",
        NeighbourState::Reachable => "REACHABLE",
        NeighbourState::Incomplete => "INCOMPLETE",
        NeighbourState::Delay => "DELAY",
        NeighbourState::Probe => "PROBE",
        NeighbourState::Permanent => "PERMANENT",
        _ => "FAILED",
    }
}

/// What is done about a neighbour that is known already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refused,
    Needed,
    Replaced,
}

/// What `add` and the like were told.
struct Named {
    addr: IpAddr,
    device: IfIndex,
    mac: Option<MacAddr>,
    /// `nud`.
    state: Option<Nud>,
}

/// The states that a neighbour can be set to, in iproute2's words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nud {
    Permanent,
    Reachable,
    Stale,
    Delay,
    Probe,
    Incomplete,
    Failed,
}

fn named(ip: &Ip<'_>, words: &mut Words<'_>) -> Result<Named, Failure> {
    let (mut addr, mut device, mut mac, mut state) = (None, None, None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => device = Some(ip.device(words.need()?)?),
            "lladdr" => {
                let text = words.need()?;
                let parsed = text.parse();
                mac = Some(parsed.map_err(|_| {
                    Failure::verbatim(format!("\"{text}\" is invalid lladdr."), Status::FAILED)
                })?);
            }
            "nud" => state = Some(nud(words.need()?)?),
            "proto" | "protocol" => {
                words.need()?;
            }
            "router" | "extern_learn" | "managed" | "use" => {}
            _ if addr.is_none() => {
                let text = if word == "to" { words.need()? } else { word };
                let (told, zone) = ip.zoned(text)?;
                addr = Some(told);
                device = device.or(zone);
            }
            other => return Err(garbage(other, "to")),
        }
    }
    let (Some(addr), Some(device)) = (addr, device) else {
        let text = "Device and destination are required arguments.";
        return Err(Failure::verbatim(text, super::WRONG_USAGE));
    };
    Ok(Named { addr, device, mac, state })
}

fn nud(word: &str) -> Result<Nud, Failure> {
    Ok(match word {
        // What needs no resolution is not asked about either.
        "permanent" | "noarp" => Nud::Permanent,
        "reachable" => Nud::Reachable,
        "stale" => Nud::Stale,
        "delay" => Nud::Delay,
        "probe" => Nud::Probe,
        "incomplete" => Nud::Incomplete,
        "failed" => Nud::Failed,
        // As the kernel, which has no entry that is in no state.
        "none" => {
            let text = "RTNETLINK answers: Operation not supported";
            return Err(Failure::verbatim(text, super::REFUSED));
        }
        other => {
            let text = format!("Error: argument \"{other}\" is wrong: nud state is bad");
            return Err(Failure::verbatim(text, super::WRONG_USAGE));
        }
    })
}

/// What to set; `None` for a state that needs an address, without one.
fn setting(state: Option<Nud>, mac: Option<MacAddr>) -> Option<NeighbourSetting> {
    match state.unwrap_or(Nud::Permanent) {
        Nud::Permanent => mac.map(NeighbourSetting::Permanent),
        Nud::Reachable => mac.map(NeighbourSetting::Reachable),
        Nud::Stale => mac.map(NeighbourSetting::Stale),
        Nud::Delay => mac.map(NeighbourSetting::Delay),
        Nud::Probe => mac.map(NeighbourSetting::Probe),
        Nud::Incomplete => Some(NeighbourSetting::Incomplete),
        Nud::Failed => Some(NeighbourSetting::Failed),
    }
}

fn find(ip: &Ip<'_>, named: &Named) -> Option<NeighbourEntry> {
    let is_it = |entry: &NeighbourEntry| (entry.iface, entry.addr) == (named.device, named.addr);
    ip.inet.neighbours().into_iter().find(is_it)
}

fn set(ip: &Ip<'_>, words: &mut Words<'_>, existing: Existing) -> Outcome {
    let named = named(ip, words)?;
    let known = find(ip, &named);
    let answer =
        |text: &str| Failure::verbatim(format!("RTNETLINK answers: {text}"), super::REFUSED);
    match (existing, &known) {
        (Existing::Refused, Some(_)) => return Err(answer("File exists")),
        (Existing::Needed, None) => return Err(answer("No such file or directory")),
        _ => {}
    }
    let mac = named.mac.or(known.and_then(|entry| entry.mac));
    let setting = setting(named.state, mac).ok_or_else(|| answer("Invalid argument"))?;
    ip.inet.set_neighbour(named.device, named.addr, setting).map_err(|error| refused(&error))?;
    Ok(Status::DONE)
}

fn delete(ip: &Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let named = named(ip, words)?;
    match ip.inet.remove_neighbour(named.device, named.addr) {
        true => Ok(Status::DONE),
        false => Err(no_entry()),
    }
}

fn get(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let named = named(&ip, words)?;
    let entry = find(&ip, &named).ok_or_else(no_entry)?;
    let items = vec![item(&name_of(ip.inet, entry.iface), &entry)];
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}

fn no_entry() -> Failure {
    Failure::verbatim("RTNETLINK answers: No such file or directory", super::REFUSED)
}

fn flush(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    if words.peek().is_none() {
        return Err(Failure::verbatim("Flush requires arguments.", Status::FAILED));
    }
    let chosen = Selection::parse(&ip, words)?;
    let all = ip.inet.neighbours();
    let by_hand = |entry: &NeighbourEntry| entry.state == NeighbourState::Permanent;
    let chosen: Vec<_> = all
        .iter()
        .filter(|entry| chosen.takes(&ip, entry) && (!by_hand(entry) || !chosen.states.is_empty()))
        .collect();
    for entry in &chosen {
        ip.inet.remove_neighbour(entry.iface, entry.addr);
    }
    if ip.options.stats > 0 {
        let count = chosen.len();
        ip.inside.output.line(match count {
            0 => "Nothing to flush.".to_owned(),
            _ => format!(
                "\n*** Round 1, deleting {count} entries ***\n*** Flush is complete after 1 round ***"
            ),
        })?;
    }
    Ok(Status::DONE)
}
