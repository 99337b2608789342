//! `ip maddress`: the groups that an interface is in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libnet::ethernet::MacAddr;
use libnet::link::Medium;
use rumpnet::libnetinet::snapshot::InterfaceEntry;
use serde_json::{Value, json};

use super::link::is_show;
use super::print::{Item, print};
use super::words::Words;
use super::{Ip, unknown_command};
use crate::fail::{Outcome, Status};
use crate::inside::is_wanted;

pub(super) fn run(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    match words.peek() {
        Some(command) if is_show(command) => {
            words.next();
        }
        Some("dev") | None => {}
        Some(other) => return Err(unknown_command(other, "maddress")),
    }
    let mut only = None;
    while let Some(word) = words.next() {
        let name = if word == "dev" { words.need()? } else { word };
        only = Some(ip.shown_device(name)?);
    }
    let mut items = Vec::new();
    for entry in ip.inet.interfaces() {
        if only.is_some_and(|index| index != entry.index) {
            continue;
        }
        let mut text = format!("{}:\t{}", entry.index.0, entry.name);
        let mut groups: Vec<Value> = Vec::new();
        let all = groups_of(&entry);
        if ip.options.family.is_none() && entry.link.medium == Medium::Ethernet {
            for mac in all.iter().filter_map(mac_of) {
                text.push_str(&format!("\n\tlink  {mac}"));
                groups.push(json!({"link": mac.to_string()}));
            }
        }
        for group in all.iter().filter(|group| is_wanted(ip.options.family, group)) {
            let family = if group.is_ipv4() { "inet" } else { "inet6" };
            text.push_str(&format!("\n\t{family:<5} {group}"));
            groups.push(json!({"family": family, "address": group.to_string()}));
        }
        let json = json!({"ifindex": entry.index.0, "ifname": entry.name, "maddr": groups});
        items.push(Item { text, json });
    }
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}

/// The groups that an interface is in because of its addresses.
fn groups_of(entry: &InterfaceEntry) -> Vec<IpAddr> {
    let addrs = || entry.addrs.iter().map(|(cidr, _)| cidr.addr());
    let mut groups: Vec<IpAddr> = Vec::new();
    // RFC 1112 §7.2: every host is in the group of all of them.
    if addrs().any(|addr| addr.is_ipv4()) {
        groups.push(Ipv4Addr::new(224, 0, 0, 1).into());
    }
    // RFC 4291 §2.8: and of every address in that of its last three bytes.
    for addr in addrs() {
        if let IpAddr::V6(addr) = addr
            && !addr.is_loopback()
        {
            let [.., a, b, c] = addr.octets();
            let low = u16::from_be_bytes([b, c]);
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low).into();
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    if addrs().any(|addr| addr.is_ipv6()) {
        groups.push(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into());
    }
    groups
}

/// RFC 1112 §6.4, RFC 2464 §7: a group's address on Ethernet.
fn mac_of(group: &IpAddr) -> Option<MacAddr> {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            Some(MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            Some(MacAddr([0x33, 0x33, a, b, c, d]))
        }
    }
}
