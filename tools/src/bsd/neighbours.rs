//! `arp` and `ndp`.

use std::net::IpAddr;

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::{NeighbourEntry, NeighbourState};

use super::{refused, wrong, zoned};
use crate::fail::{Failure, Outcome, Status};
use crate::inside::{Inside, name_of};

/// A neighbour, and on which interface if that was told.
#[derive(Clone, Copy)]
struct Told {
    addr: IpAddr,
    iface: Option<IfIndex>,
}

impl Told {
    fn is(&self, entry: &NeighbourEntry) -> bool {
        entry.addr == self.addr && self.iface.is_none_or(|iface| iface == entry.iface)
    }
}

/// What is asked for.
enum Deed<'a> {
    List,
    One(Told),
    Set(Told, &'a str),
    Delete(Told),
    Clear,
}

pub(super) fn arp(words: &[&str], inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let shown = |entry: &NeighbourEntry| entry.addr.is_ipv4();
    match deed("arp", &inet, words)? {
        Deed::List => {
            for entry in inet.neighbours().iter().filter(|entry| shown(entry)) {
                inside.output.line(arp_line(&inet, entry))?;
            }
            Ok(Status::DONE)
        }
        Deed::One(told) => {
            let addr = told.addr;
            match inet.neighbours().iter().find(|entry| told.is(entry)) {
                Some(entry) => inside.output.line(arp_line(&inet, entry))?,
                None => return Err(wrong("arp", format_args!("{addr} ({addr}) -- no entry"))),
            }
            Ok(Status::DONE)
        }
        change => apply("arp", &inet, change, true),
    }
}

fn arp_line(inet: &Inet, entry: &NeighbourEntry) -> String {
    let mac = entry.mac.map_or_else(|| "(incomplete)".to_owned(), |mac| mac.to_string());
    let name = name_of(inet, entry.iface);
    let permanent = if entry.state == NeighbourState::Permanent { " permanent" } else { "" };
    format!("? ({}) at {mac} on {name}{permanent}", entry.addr)
}

pub(super) fn ndp(words: &[&str], inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let head = "Neighbor                                Linklayer Address  Netif    Expire S Flags";
    let all = inet.neighbours();
    match deed("ndp", &inet, words)? {
        Deed::List => {
            inside.output.line(head)?;
            for entry in all.iter().filter(|entry| entry.addr.is_ipv6()) {
                inside.output.line(ndp_line(&inet, entry))?;
            }
            Ok(Status::DONE)
        }
        Deed::One(told) => {
            let addr = told.addr;
            let entry = all.iter().find(|entry| told.is(entry));
            let entry =
                entry.ok_or_else(|| wrong("ndp", format_args!("{addr} ({addr}) -- no entry")))?;
            inside.output.line(head)?;
            inside.output.line(ndp_line(&inet, entry))?;
            Ok(Status::DONE)
        }
        change => apply("ndp", &inet, change, false),
    }
}

fn ndp_line(inet: &Inet, entry: &NeighbourEntry) -> String {
    let mac = entry.mac.map_or_else(|| "(incomplete)".to_owned(), |mac| mac.to_string());
    let (state, expire) = match entry.state {
        NeighbourState::Permanent => ("R", "permanent"),
        NeighbourState::Reachable if entry.stale => ("S", "-"),
        NeighbourState::Reachable => ("R", "-"),
        NeighbourState::Incomplete => ("I", "-"),
        NeighbourState::Delay => ("D", "-"),
        NeighbourState::Probe => ("P", "-"),
        _ => ("N", "-"),
    };
    let name = name_of(inet, entry.iface);
    format!("{:<39} {mac:<18} {name:<8} {expire:<6} {state}", entry.addr.to_string())
}

fn deed<'a>(program: &str, inet: &Inet, words: &[&'a str]) -> Result<Deed<'a>, Failure> {
    let letters: String =
        words.iter().filter(|word| word.starts_with('-')).map(|word| &word[1..]).collect();
    let rest: Vec<&'a str> = words.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let one = |at: usize| match rest.get(at) {
        Some(word) => zoned(program, inet, word).map(|(addr, iface)| Told { addr, iface }),
        None => Err(wrong(program, "which address?")),
    };
    let has = |letter| letters.contains(letter);
    if has('s') {
        let mac = rest.get(1).ok_or_else(|| wrong(program, "which link-layer address?"))?;
        return Ok(Deed::Set(one(0)?, mac));
    }
    if has('c') || (has('d') && has('a')) {
        return Ok(Deed::Clear);
    }
    if has('d') {
        return Ok(Deed::Delete(one(0)?));
    }
    if has('a') || rest.is_empty() {
        return Ok(Deed::List);
    }
    Ok(Deed::One(one(0)?))
}

fn apply(program: &str, inet: &Inet, deed: Deed<'_>, v4: bool) -> Outcome {
    match deed {
        Deed::Set(Told { addr, iface }, mac) => {
            let parsed: Result<MacAddr, _> = mac.parse();
            let mac = parsed
                .map_err(|_| wrong(program, format_args!("{mac}: invalid link-layer address")))?;
            let iface = iface.map_or_else(|| interface(program, inet, addr), Ok)?;
            let added = inet.add_neighbour(iface, addr, mac);
            added.map_err(|error| refused(program, &addr.to_string(), &error))?;
        }
        Deed::Delete(told) => {
            let (known, addr) = (inet.neighbours(), told.addr);
            let mut entries = known.iter().filter(|entry| told.is(entry)).peekable();
            if entries.peek().is_none() {
                return Err(wrong(program, format_args!("{addr}: not in the table")));
            }
            for entry in entries {
                inet.remove_neighbour(entry.iface, entry.addr);
            }
        }
        Deed::Clear => {
            for entry in inet.neighbours().iter().filter(|entry| entry.addr.is_ipv4() == v4) {
                inet.remove_neighbour(entry.iface, entry.addr);
            }
        }
        Deed::List | Deed::One(_) => {}
    }
    Ok(Status::DONE)
}

/// The interface on whose network the address is.
fn interface(program: &str, inet: &Inet, addr: IpAddr) -> Result<IfIndex, Failure> {
    let path = inet.path_to(addr, None, None);
    match path {
        Ok(path) if path.gateway.is_none() && path.iface != IfIndex::LOOPBACK => Ok(path.iface),
        _ => Err(wrong(program, format_args!("cannot intuit interface index and type for {addr}"))),
    }
}
