//! `ip monitor`: what changes, as it does.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rumpnet::libnetinet::events::{Change, InetEvent};
use serde_json::Value;

use super::addr::{Address, addr_json, addr_line};
use super::link::{head_json, head_line, link_line};
use super::options::Stamp;
use super::print::{Item, on_one_line};
use super::words::{Words, abbreviates};
use super::{Ip, neigh, route};
use crate::fail::{Failure, Outcome, Status};
use crate::inside::{is_wanted, name_of};

/// Events that wait to be printed at most.
const MAX_EVENTS: usize = 4096;
/// How long to wait for an event before looking whether the user has had enough.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is looked at.
#[derive(Default)]
struct Objects {
    link: bool,
    address: bool,
    route: bool,
    neighbour: bool,
    label: bool,
}

pub(super) fn run(mut ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let objects = objects(words)?;
    let events = ip.inet.subscribe(MAX_EVENTS);
    let events = events.map_err(|error| Failure::doing("cannot listen for changes", &error))?;
    while !ip.inside.interrupts.is_stopped() {
        ip.inet.check_links();
        let Some(event) = events.next_within(PATIENCE) else { continue };
        show(&mut ip, &objects, &event)?;
        // No more at once: where changes never end, the user's word is still heard.
        for event in std::iter::from_fn(|| events.try_next()).take(MAX_EVENTS) {
            show(&mut ip, &objects, &event)?;
        }
        match events.take_missed() {
            0 => {}
            missed => ip.inside.complain(&format!("rumpnet: {missed} changes were missed\n")),
        }
        ip.inside.output.flush()?;
    }
    Ok(Status::DONE)
}

fn objects(words: &mut Words<'_>) -> Result<Objects, Failure> {
    let mut chosen = Objects::default();
    while let Some(word) = words.next() {
        match word {
            "label" => chosen.label = true,
            "all" => {
                chosen = Objects {
                    link: true,
                    address: true,
                    route: true,
                    neighbour: true,
                    label: true,
                };
            }
            _ if abbreviates(word, "link") => chosen.link = true,
            _ if abbreviates(word, "address") => chosen.address = true,
            _ if abbreviates(word, "route") => chosen.route = true,
            _ if abbreviates(word, "neighbor") || abbreviates(word, "neighbour") => {
                chosen.neighbour = true;
            }
            other => {
                let text = format!("Argument \"{other}\" is unknown, try \"ip monitor help\".");
                return Err(Failure::verbatim(text, super::WRONG_USAGE));
            }
        }
    }
    if !(chosen.link || chosen.address || chosen.route || chosen.neighbour) {
        chosen = Objects { link: true, address: true, route: true, neighbour: true, ..chosen };
    }
    Ok(chosen)
}

fn show(ip: &mut Ip<'_>, objects: &Objects, event: &InetEvent) -> Result<(), Failure> {
    let family = ip.options.family;
    let (label, change, item) = match event {
        InetEvent::Link { iface, .. } if objects.link && family.is_none() => {
            let all = ip.inet.interfaces();
            let Some(entry) = all.iter().find(|entry| entry.index == *iface) else { return Ok(()) };
            let qlen = ip.inet.engine().config().queue_frames;
            let text = format!("{}\n{}", head_line(entry, None, ""), link_line(entry));
            let json = Value::Object(head_json(entry, qlen, false));
            ("LINK", Change::Set, Item { text, json })
        }
        InetEvent::Address { iface, cidr, change }
            if objects.address && is_wanted(family, &cidr.addr()) =>
        {
            let name = name_of(ip.inet, *iface);
            let all = ip.inet.interfaces();
            let entry = all.iter().find(|entry| entry.index == *iface);
            let mut known = entry.iter().flat_map(|entry| &entry.addresses);
            let addr = known.find(|entry| entry.cidr == *cidr);
            let addr = addr.map_or_else(|| Address::plain(*cidr), Address::of);
            let mut json = addr_json(&name, &addr);
            json["ifindex"] = iface.0.into();
            json["ifname"] = name.clone().into();
            ("ADDR", *change, Item { text: addr_line(iface.0, &name, &addr), json })
        }
        InetEvent::Route { route, change }
            if objects.route && is_wanted(family, &route.dst.addr()) =>
        {
            ("ROUTE", *change, route::item(ip, route, true))
        }
        InetEvent::Neighbour { entry, change }
            if objects.neighbour && is_wanted(family, &entry.addr) =>
        {
            ("NEIGH", *change, neigh::item(&name_of(ip.inet, entry.iface), entry))
        }
        _ => return Ok(()),
    };
    print(ip, objects, label, change, item)
}

fn print(
    ip: &mut Ip<'_>,
    objects: &Objects,
    label: &str,
    change: Change,
    mut item: Item,
) -> Result<(), Failure> {
    let at = Timestamp::now();
    let now = at.to_zoned_datetime(TimeZone::system());
    if ip.options.json {
        item.json["event"] = label.to_ascii_lowercase().into();
        item.json["deleted"] = (change == Change::Gone).into();
        item.json["time"] = at.to_string().into();
        return ip.inside.output.json(&item.json);
    }
    let mut text = match ip.options.stamp {
        Stamp::None => String::new(),
        Stamp::Long => {
            let (stamp, micros) =
                (now.strftime("%a %b %e %H:%M:%S %Y"), now.subsec_nanosecond() / 1000);
            format!("Timestamp: {stamp} {micros:06} usec\n")
        }
        Stamp::Short => format!("[{}] ", now.strftime("%Y-%m-%dT%H:%M:%S%.6f")),
    };
    if objects.label {
        text.push_str(&format!("[{label}]"));
    }
    if change == Change::Gone {
        text.push_str("Deleted ");
    }
    text.push_str(&item.text);
    ip.inside.output.line(on_one_line(text, &ip.options))
}
