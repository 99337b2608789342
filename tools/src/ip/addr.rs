//! `ip address`.

use std::net::IpAddr;
use std::time::Duration;

use libnet::IpCidr;
use libnet::iface::IfIndex;
use rumpnet::libnetinet::snapshot::{AddressEntry, AddressOrigin, AddressState, InterfaceEntry};
use serde_json::{Map, Value, json};

use super::link::{head_json, head_line, is_show, link_line, state, stats_json, stats_text};
use super::print::{Item, print};
use super::words::{Words, abbreviates};
use super::{Ip, garbage, no_device, not_served, refused, unknown_command, wrong};
use crate::fail::{Failure, Outcome, Status};
use crate::inside::is_wanted;

pub(super) fn run(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let Some(command) = words.peek() else { return show(ip, words) };
    words.next();
    match command {
        _ if abbreviates(command, "add") => add(&ip, words, Existing::Refused),
        _ if abbreviates(command, "change") || abbreviates(command, "chg") => {
            add(&ip, words, Existing::Kept)
        }
        _ if abbreviates(command, "replace") => add(&ip, words, Existing::Kept),
        _ if abbreviates(command, "delete") => delete(&ip, words),
        _ if is_show(command) => show(ip, words),
        _ if abbreviates(command, "flush") => flush(ip, words),
        _ if abbreviates(command, "help") => super::help(ip, words),
        _ => Err(unknown_command(command, "address")),
    }
}

/// What is shown.
#[derive(Default)]
struct Selection {
    device: Option<IfIndex>,
    to: Option<IpCidr>,
    scope: Option<String>,
    up: bool,
}

impl Selection {
    fn parse(ip: &Ip<'_>, words: &mut Words<'_>) -> Result<Self, Failure> {
        let mut chosen = Selection::default();
        while let Some(word) = words.next() {
            match word {
                "up" => chosen.up = true,
                "dev" => chosen.device = Some(ip.shown_device(words.need()?)?),
                "to" => chosen.to = Some(prefix(words.need()?)?),
                "scope" => chosen.scope = Some(words.need()?.to_owned()),
                name => chosen.device = Some(ip.shown_device(name)?),
            }
        }
        Ok(chosen)
    }

    fn takes(&self, entry: &InterfaceEntry) -> bool {
        self.device.is_none_or(|index| index == entry.index) && (entry.up || !self.up)
    }

    fn takes_addr(&self, ip: &Ip<'_>, cidr: IpCidr) -> bool {
        is_wanted(ip.options.family, &cidr.addr())
            && self.to.is_none_or(|to| to.contains(cidr.addr()))
            && self.scope.as_ref().is_none_or(|scope| *scope == scope_of(cidr.addr()))
    }

    const fn is_of_addrs(&self) -> bool {
        self.to.is_some() || self.scope.is_some()
    }
}

fn show(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let chosen = Selection::parse(&ip, words)?;
    let mut items = Vec::new();
    for entry in ip.inet.interfaces() {
        let wanted = entry.addresses.iter().filter(|addr| chosen.takes_addr(&ip, addr.cidr));
        let addrs: Vec<Address> = wanted.map(Address::of).collect();
        let of_addrs = chosen.is_of_addrs() || ip.options.family.is_some();
        if !chosen.takes(&entry) || (of_addrs && addrs.is_empty()) {
            continue;
        }
        if ip.options.oneline && !ip.options.json {
            items.extend(addrs.iter().map(|addr| Item {
                text: addr_line(entry.index.0, &entry.name, addr),
                json: Value::Null,
            }));
        } else if ip.options.brief {
            items.push(brief(&entry, &addrs));
        } else {
            items.push(item(&ip, &entry, &addrs));
        }
    }
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}

fn item(ip: &Ip<'_>, entry: &InterfaceEntry, addrs: &[Address]) -> Item {
    let qlen = ip.inet.engine().config().queue_frames;
    let mut text = head_line(entry, Some(qlen), "");
    let mut map = head_json(entry, qlen, false);
    if ip.options.family.is_none() {
        text.push('\n');
        text.push_str(&link_line(entry));
    } else {
        for key in ["link_type", "address", "broadcast"] {
            map.shift_remove(key);
        }
    }
    for addr in addrs {
        text.push_str("\n    ");
        text.push_str(&addr_text(&entry.name, addr));
    }
    if ip.options.stats > 0 {
        text.push_str(&stats_text(entry));
    }
    let all: Vec<Value> = addrs.iter().map(|addr| addr_json(&entry.name, addr)).collect();
    map.insert("addr_info".into(), all.into());
    if ip.options.stats > 0 {
        map.insert("stats64".into(), stats_json(entry));
    }
    Item { text, json: Value::Object(map) }
}

/// An address on a line that names its interface, as `-o` and `monitor` have it.
pub(super) fn addr_line(index: u32, name: &str, addr: &Address) -> String {
    format!("{index}: {name}    {}", addr_text(name, addr))
}

/// An address as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Address {
    cidr: IpCidr,
    /// In iproute2's words and order.
    flags: Vec<&'static str>,
    /// `None`: for ever.
    valid_for: Option<Duration>,
    preferred_for: Option<Duration>,
}

impl Address {
    /// One of which nothing else is known.
    pub(super) const fn plain(cidr: IpCidr) -> Self {
        Address { cidr, flags: Vec::new(), valid_for: None, preferred_for: None }
    }

    pub(super) fn of(entry: &AddressEntry) -> Self {
        let (valid_for, preferred_for) = (entry.valid_for, entry.preferred_for);
        let flags = [
            ("temporary", entry.origin == AddressOrigin::Temporary),
            ("optimistic", entry.state == AddressState::Optimistic),
            ("dadfailed", entry.state == AddressState::Duplicate),
            ("deprecated", entry.state == AddressState::Deprecated),
            ("tentative", matches!(entry.state, AddressState::Tentative | AddressState::Duplicate)),
            ("dynamic", valid_for.is_some()),
        ];
        let flags = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        Address { cidr: entry.cidr, flags, valid_for, preferred_for }
    }
}

fn addr_text(name: &str, addr: &Address) -> String {
    let cidr = addr.cidr;
    let family = if cidr.addr().is_ipv4() { "inet" } else { "inet6" };
    let mut text = format!("{family} {cidr}");
    if let Some(broadcast) = cidr.broadcast().filter(|_| !cidr.addr().is_loopback()) {
        text.push_str(&format!(" brd {broadcast}"));
    }
    text.push_str(&format!(" scope {} ", scope_of(cidr.addr())));
    for flag in &addr.flags {
        text.push_str(&format!("{flag} "));
    }
    if cidr.addr().is_ipv4() {
        text.push_str(name);
    }
    let time = |left: Option<Duration>| {
        left.map_or_else(|| "forever".to_owned(), |left| format!("{}sec", left.as_secs()))
    };
    let (valid, preferred) = (time(addr.valid_for), time(addr.preferred_for));
    text.push_str(&format!("\n       valid_lft {valid} preferred_lft {preferred}"));
    text
}

pub(super) fn addr_json(name: &str, addr: &Address) -> Value {
    let cidr = addr.cidr;
    let mut map = Map::new();
    let is_v4 = cidr.addr().is_ipv4();
    map.insert("family".into(), if is_v4 { "inet" } else { "inet6" }.into());
    map.insert("local".into(), cidr.addr().to_string().into());
    map.insert("prefixlen".into(), cidr.prefix_bits().into());
    if let Some(broadcast) = cidr.broadcast().filter(|_| !cidr.addr().is_loopback()) {
        map.insert("broadcast".into(), broadcast.to_string().into());
    }
    map.insert("scope".into(), scope_of(cidr.addr()).into());
    if is_v4 {
        map.insert("label".into(), name.into());
    }
    for flag in &addr.flags {
        map.insert((*flag).into(), true.into());
    }
    let time = |left: Option<Duration>| left.map_or(u64::from(u32::MAX), |left| left.as_secs());
    map.insert("valid_life_time".into(), time(addr.valid_for).into());
    map.insert("preferred_life_time".into(), time(addr.preferred_for).into());
    Value::Object(map)
}

fn brief(entry: &InterfaceEntry, addrs: &[Address]) -> Item {
    let all: Vec<Value> = addrs
        .iter()
        .map(|Address { cidr, .. }| {
            json!({"local": cidr.addr().to_string(), "prefixlen": cidr.prefix_bits()})
        })
        .collect();
    let json = json!({"ifname": entry.name, "operstate": state(entry), "addr_info": all});
    let mut text = format!("{:<16} {:<14} ", entry.name, state(entry));
    for addr in addrs {
        text.push_str(&format!("{} ", addr.cidr));
    }
    Item { text, json }
}

/// Where an address means something.
pub(super) fn scope_of(addr: IpAddr) -> &'static str {
    match addr {
        _ if addr.is_loopback() => "host",
        IpAddr::V4(v4) if v4.is_link_local() => "link",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "link",
        _ => "global",
    }
}

fn prefix(word: &str) -> Result<IpCidr, Failure> {
    word.parse().map_err(|_| wrong("prefix", word))
}

/// What is done about an address that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refused,
    Kept,
}

/// `ADDRESS/BITS dev IF`, and what goes without saying here.
fn address_and_device(ip: &Ip<'_>, words: &mut Words<'_>) -> Result<(IpCidr, IfIndex), Failure> {
    let (mut address, mut device) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => device = Some(ip.device(words.need()?)?),
            // What these say follows from the address, or is said of it alone.
            "brd" | "broadcast" | "scope" | "label" | "proto" => {
                words.need()?;
            }
            "valid_lft" | "preferred_lft" if words.peek() == Some("forever") => drop(words.next()),
            "nodad" => {}
            "valid_lft" | "preferred_lft" | "peer" | "metric" | "home" | "noprefixroute"
            | "mngtmpaddr" | "autojoin" => return Err(not_served(word)),
            _ if address.is_none() => {
                let text = if word == "local" { words.need()? } else { word };
                address = Some(prefix(text)?);
            }
            other => return Err(garbage(other, "local")),
        }
    }
    let device = device.ok_or_else(no_device)?;
    let missing =
        || Failure::verbatim("Not enough information: an address is required.", super::WRONG_USAGE);
    Ok((address.ok_or_else(missing)?, device))
}

fn add(ip: &Ip<'_>, words: &mut Words<'_>, existing: Existing) -> Outcome {
    let (cidr, device) = address_and_device(ip, words)?;
    match ip.inet.add_address(device, cidr) {
        Err(error)
            if existing == Existing::Kept && error.kind() == std::io::ErrorKind::AlreadyExists => {}
        done => done.map_err(|error| refused(&error))?,
    }
    Ok(Status::DONE)
}

fn delete(ip: &Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let (cidr, device) = address_and_device(ip, words)?;
    ip.inet.remove_address(device, cidr.addr()).map_err(|error| refused(&error))?;
    Ok(Status::DONE)
}

fn flush(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    if words.peek().is_none() {
        return Err(Failure::verbatim("Flush requires arguments.", Status::FAILED));
    }
    let chosen = Selection::parse(&ip, words)?;
    let mut count = 0;
    for entry in ip.inet.interfaces().into_iter().filter(|entry| chosen.takes(entry)) {
        for AddressEntry { cidr, .. } in &entry.addresses {
            if !chosen.takes_addr(&ip, *cidr) {
                continue;
            }
            match ip.inet.remove_address(entry.index, cidr.addr()) {
                // Somebody else was faster.
                Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {}
                done => done.map_err(|error| refused(&error))?,
            }
            count += 1;
        }
    }
    if ip.options.stats > 0 {
        ip.inside.output.line(format!(
            "\n*** Round 1, deleting {count} addresses ***\n*** Flush is complete after 1 round ***"
        ))?;
    }
    Ok(Status::DONE)
}
