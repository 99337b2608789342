//! `ip maddress`: the groups that an interface is in.

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
        // RFC 1112 §7.2: every host is in the group of all of them.
        let has_v4 = entry.addrs.iter().any(|(cidr, _)| cidr.addr().is_ipv4());
        let all_hosts: std::net::IpAddr = [224, 0, 0, 1].into();
        let mut text = format!("{}:\t{}", entry.index.0, entry.name);
        let mut groups: Vec<Value> = Vec::new();
        if has_v4 && is_wanted(ip.options.family, &all_hosts) {
            text.push_str(&format!("\n\tinet  {all_hosts}"));
            groups.push(json!({"family": "inet", "address": all_hosts.to_string()}));
        }
        let json = json!({"ifindex": entry.index.0, "ifname": entry.name, "maddr": groups});
        items.push(Item { text, json });
    }
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}
