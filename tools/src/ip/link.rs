//! `ip link`, and how an interface is described.

use libnet::iface::ClampMss;
use libnet::link::Medium;
use rumpnet::libnetinet::AdminState;
use rumpnet::libnetinet::snapshot::InterfaceEntry;
use serde_json::{Map, Value, json};

use super::print::{Item, print};
use super::words::{Words, abbreviates};
use super::{Ip, garbage, no_device, refused, unknown_command};
use crate::fail::{Failure, Outcome, Status};
use crate::impairing;

pub(super) fn run(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let Some(command) = words.peek() else { return show(ip, words) };
    if abbreviates(command, "set") {
        words.next();
        return set(&ip, words);
    }
    match command {
        _ if is_show(command) => {
            words.next();
            show(ip, words)
        }
        _ if abbreviates(command, "help") => super::help(ip, words),
        "add" | "del" | "delete" => {
            let text = "RTNETLINK answers: Operation not supported";
            Err(Failure::verbatim(text, super::REFUSED))
        }
        _ => Err(unknown_command(command, "link")),
    }
}

/// `show`, `list` and `lst`, and what they are shortened to.
pub(super) fn is_show(command: &str) -> bool {
    ["show", "list", "lst"].iter().any(|full| abbreviates(command, full))
}

fn show(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let mut only = None;
    let mut only_up = false;
    while let Some(word) = words.next() {
        match word {
            "up" => only_up = true,
            "dev" => only = Some(ip.shown_device(words.need()?)?),
            name => only = Some(ip.shown_device(name)?),
        }
    }
    let all = ip.inet.interfaces();
    let items = all.iter().filter_map(|entry| {
        let wanted = only.is_none_or(|index| index == entry.index) && (entry.up || !only_up);
        wanted.then(|| match ip.options.brief {
            true => brief(entry),
            false => item(&ip, entry),
        })
    });
    let items = items.collect();
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}

fn item(ip: &Ip<'_>, entry: &InterfaceEntry) -> Item {
    let qlen = ip.inet.engine().config().queue_frames;
    let head = head_line(entry, Some(qlen), " mode DEFAULT");
    let mut text = format!("{head}\n{}", link_line(entry));
    let mut map = head_json(entry, qlen, true);
    if ip.options.details {
        let (min, max) = (68, entry.link.mtu);
        let clamp = match entry.clamp_mss {
            ClampMss::Off => String::new(),
            clamp => format!("clamp_mss {clamp} "),
        };
        text.push_str(&format!(
            " promiscuity 0  allmulti 0 minmtu {min} maxmtu {max} {clamp}\n    {} {} ",
            entry.link.kind, entry.link.target
        ));
        if entry.clamp_mss != ClampMss::Off {
            map.insert("clamp_mss".into(), entry.clamp_mss.to_string().into());
        }
        map.insert("promiscuity".into(), 0.into());
        map.insert("allmulti".into(), 0.into());
        map.insert("min_mtu".into(), min.into());
        map.insert("max_mtu".into(), max.into());
        let target = json!({"target": entry.link.target});
        map.insert("linkinfo".into(), json!({"info_kind": entry.link.kind, "info_data": target}));
    }
    if ip.options.stats > 0 {
        text.push_str(&stats_text(entry));
        map.insert("stats64".into(), stats_json(entry));
    }
    Item { text, json: Value::Object(map) }
}

/// `1: lo0: <…> mtu …`.
pub(super) fn head_line(entry: &InterfaceEntry, qlen: Option<usize>, mode: &str) -> String {
    let qlen = qlen.map(|frames| format!("qlen {frames}")).unwrap_or_default();
    format!(
        "{}: {}: <{}> mtu {} qdisc {} state {}{mode} group default {qlen}",
        entry.index.0,
        entry.name,
        flags(entry).join(","),
        entry.mtu,
        qdisc(entry),
        state(entry),
    )
}

/// `    link/ether …`.
pub(super) fn link_line(entry: &InterfaceEntry) -> String {
    let (kind, address, broadcast) = link_layer(entry);
    match address {
        Some(address) => format!("    link/{kind} {address} brd {}", broadcast.unwrap_or_default()),
        None => format!("    link/{kind} "),
    }
}

pub(super) fn head_json(entry: &InterfaceEntry, qlen: usize, mode: bool) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("ifindex".into(), entry.index.0.into());
    map.insert("ifname".into(), entry.name.clone().into());
    map.insert("flags".into(), flags(entry).into());
    map.insert("mtu".into(), entry.mtu.into());
    map.insert("qdisc".into(), qdisc(entry).into());
    map.insert("operstate".into(), state(entry).into());
    if mode {
        map.insert("linkmode".into(), "DEFAULT".into());
    }
    map.insert("group".into(), "default".into());
    map.insert("txqlen".into(), qlen.into());
    let (kind, address, broadcast) = link_layer(entry);
    map.insert("link_type".into(), kind.into());
    if let Some(address) = address {
        map.insert("address".into(), address.into());
    }
    if let Some(broadcast) = broadcast {
        map.insert("broadcast".into(), broadcast.into());
    }
    map
}

fn link_layer(entry: &InterfaceEntry) -> (&'static str, Option<String>, Option<String>) {
    let zero = || Some("00:00:00:00:00:00".to_owned());
    match entry.link.medium {
        _ if entry.link.loopback => ("loopback", zero(), zero()),
        Medium::Ethernet => {
            ("ether", Some(entry.link.mac.to_string()), Some("ff:ff:ff:ff:ff:ff".to_owned()))
        }
        _ => ("none", None, None),
    }
}

fn flags(entry: &InterfaceEntry) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if entry.up && !entry.running {
        flags.push("NO-CARRIER");
    }
    match entry.link.medium {
        _ if entry.link.loopback => flags.push("LOOPBACK"),
        Medium::Ethernet => flags.extend(["BROADCAST", "MULTICAST"]),
        _ => flags.extend(["POINTOPOINT", "MULTICAST", "NOARP"]),
    }
    if entry.up {
        flags.push("UP");
    }
    if entry.up && entry.running {
        flags.push("LOWER_UP");
    }
    flags
}

pub(super) fn state(entry: &InterfaceEntry) -> &'static str {
    match (entry.up, entry.running) {
        (true, true) if entry.link.loopback => "UNKNOWN",
        (true, true) => "UP",
        _ => "DOWN",
    }
}

const fn qdisc(entry: &InterfaceEntry) -> &'static str {
    if entry.link.loopback { "noqueue" } else { "pfifo" }
}

fn brief(entry: &InterfaceEntry) -> Item {
    let address = link_layer(entry).1.unwrap_or_default();
    let flags = flags(entry);
    let mut json = json!({"ifname": entry.name, "operstate": state(entry), "address": address});
    json["flags"] = flags.clone().into();
    let text = format!("{:<16} {:<14} {address} <{}> ", entry.name, state(entry), flags.join(","));
    Item { text, json }
}

/// What was received and sent, in iproute2's columns.
pub(super) fn stats_text(entry: &InterfaceEntry) -> String {
    let rows = [counters(entry, true), counters(entry, false)];
    let mut widths = [10, 7, 6, 7, 7, 7];
    for row in &rows {
        for (width, (_, n)) in widths.iter_mut().zip(row) {
            *width = (*width).max(n.to_string().len());
        }
    }
    let heads = [
        ("RX:", ["bytes", "packets", "errors", "dropped", "missed", "mcast"]),
        ("TX:", ["bytes", "packets", "errors", "dropped", "carrier", "collsns"]),
    ];
    let mut text = String::new();
    for ((side, names), row) in heads.iter().zip(&rows) {
        text.push_str(&format!("\n    {side}"));
        for (at, (name, width)) in names.iter().zip(widths).enumerate() {
            let width = if at == 0 { width - side.len() } else { width };
            text.push_str(&format!("{name:>width$} "));
        }
        text.push_str("          \n    ");
        for ((_, n), width) in row.iter().zip(widths) {
            text.push_str(&format!("{n:>width$} "));
        }
    }
    text
}

fn counters(entry: &InterfaceEntry, received: bool) -> [(&'static str, u64); 6] {
    let link = &entry.link_stats;
    if received {
        [
            ("bytes", entry.rx_bytes),
            ("packets", entry.rx_frames),
            ("errors", link.rx_malformed),
            ("dropped", 0),
            ("over_errors", link.rx_missed),
            ("multicast", 0),
        ]
    } else {
        [
            ("bytes", entry.tx_bytes),
            ("packets", entry.tx_frames),
            ("errors", link.tx_refused),
            ("dropped", entry.tx_dropped),
            ("carrier_errors", 0),
            ("collisions", 0),
        ]
    }
}

pub(super) fn stats_json(entry: &InterfaceEntry) -> Value {
    let side = |received| {
        let all = counters(entry, received).into_iter();
        Value::Object(all.map(|(name, n)| (name.to_owned(), n.into())).collect())
    };
    json!({"rx": side(true), "tx": side(false)})
}

fn set(ip: &Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let (mut device, mut state, mut mtu) = (None, None, None);
    let (mut clamp, mut impairments) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "up" => state = Some(AdminState::Up),
            "down" => state = Some(AdminState::Down),
            "mtu" => mtu = Some(words.number::<u32>("mtu")?),
            "clamp-mss" => clamp = Some(words.number("clamp-mss")?),
            "impair" => impairments = Some(words.need()?),
            "dev" => device = Some(ip.device(words.need()?)?),
            "address" | "name" | "arp" | "multicast" | "promisc" | "txqueuelen" | "master" => {
                let text = "RTNETLINK answers: Operation not supported";
                return Err(Failure::verbatim(text, super::REFUSED));
            }
            name if device.is_none() => device = Some(ip.device(name)?),
            other => return Err(garbage(other, "dev")),
        }
    }
    let device = device.ok_or_else(no_device)?;
    if let Some(mtu) = mtu {
        ip.inet.set_mtu(device, mtu).map_err(|error| {
            let largest = ip.inet.engine().interface(device).map_or(0, |iface| iface.link.mtu);
            if mtu > largest {
                let text = "Error: mtu greater than device maximum.";
                return Failure::verbatim(text, super::REFUSED);
            }
            if mtu < 68 {
                return Failure::verbatim("Error: mtu less than device minimum.", super::REFUSED);
            }
            refused(&error)
        })?;
    }
    if let Some(clamp) = clamp {
        ip.inet.set_clamp_mss(device, clamp).map_err(|error| refused(&error))?;
    }
    if let Some(text) = impairments {
        impairing::set(ip.inet, device, &[text.to_owned()])?;
    }
    if let Some(state) = state {
        ip.inet.set_up(device, state).map_err(|error| refused(&error))?;
    }
    Ok(Status::DONE)
}
