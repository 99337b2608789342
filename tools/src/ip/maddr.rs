//! `ip maddress`: the groups that an interface is in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use libnet::ethernet::MacAddr;
use libnet::link::Medium;
use rumpnet::libnetinet::snapshot::GroupEntry;
use serde_json::{Map, Value, json};

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
    let groups = ip.inet.groups();
    let mut items = Vec::new();
    for entry in ip.inet.interfaces() {
        if only.is_some_and(|index| index != entry.index) {
            continue;
        }
        let mut rows = Rows::default();
        let ours = || groups.iter().filter(|group| group.iface == entry.index);
        if ip.options.family.is_none() && entry.link.medium == Medium::Ethernet {
            rows.add_links(ours());
        }
        for group in ours().filter(|group| is_wanted(ip.options.family, &group.group)) {
            rows.add_group(group);
        }
        let text = format!("{}:\t{}{}", entry.index.0, entry.name, rows.text);
        let json = json!({"ifindex": entry.index.0, "ifname": entry.name, "maddr": rows.json});
        items.push(Item { text, json });
    }
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}

#[derive(Default)]
struct Rows {
    text: String,
    json: Vec<Value>,
}

impl Rows {
    /// The groups' addresses on the link, which several may share.
    fn add_links<'a>(&mut self, groups: impl Iterator<Item = &'a GroupEntry>) {
        let mut users: BTreeMap<MacAddr, usize> = BTreeMap::new();
        // As on Linux: what stays on the interface (RFC 4291 §2.7) is not received by its link.
        let stays = |group: &IpAddr| matches!(group, IpAddr::V6(six) if six.octets()[1] & 0xf < 2);
        for group in groups.filter(|group| !stays(&group.group)) {
            *users.entry(MacAddr::of_group(group.group)).or_default() += 1;
        }
        for (mac, users) in users {
            let mut map = Map::new();
            map.insert("link".into(), mac.to_string().into());
            self.add(&format!("link  {mac}"), map, users);
        }
    }

    fn add_group(&mut self, entry: &GroupEntry) {
        let family = if entry.group.is_ipv4() { "inet" } else { "inet6" };
        let mut map = Map::new();
        map.insert("family".into(), family.into());
        map.insert("address".into(), entry.group.to_string().into());
        self.add(&format!("{family:<5} {}", entry.group), map, entry.users);
    }

    /// As iproute2: users are told of where there are several.
    fn add(&mut self, text: &str, mut map: Map<String, Value>, users: usize) {
        self.text.push_str(&format!("\n\t{text}"));
        if users > 1 {
            self.text.push_str(&format!(" users {users}"));
            map.insert("users".into(), users.into());
        }
        self.json.push(Value::Object(map));
    }
}
