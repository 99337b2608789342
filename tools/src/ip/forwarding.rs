//! `ip forwarding`: whether packets for others are passed on; ours, where Linux has a sysctl.

use libnet::Family;
use rumpnet::libnetinet::Forwarding;
use serde_json::json;

use super::link::is_show;
use super::print::{Item, print};
use super::words::Words;
use super::{Ip, garbage, refused};
use crate::fail::{Outcome, Status};

pub(super) fn run(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let (mut wanted, mut device) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "on" => wanted = Some(Forwarding::On),
            "off" => wanted = Some(Forwarding::Off),
            "dev" => device = Some(ip.device(words.need()?)?),
            word if is_show(word) => {}
            other => return Err(garbage(other, "dev")),
        }
    }
    let families = match ip.options.family {
        Some(family) => vec![family],
        None => vec![Family::Inet, Family::Inet6],
    };
    let Some(wanted) = wanted else { return show(ip, &families) };
    for family in families {
        match device {
            None => ip.inet.set_forwarding(family, wanted),
            Some(device) => {
                let set = ip.inet.set_interface_forwarding(device, family, wanted);
                set.map_err(|error| refused(&error))?;
            }
        }
    }
    Ok(Status::DONE)
}

fn show(ip: Ip<'_>, families: &[Family]) -> Outcome {
    let mut items = Vec::new();
    for iface in ip.inet.engine().interfaces().filter(|iface| !iface.link.loopback) {
        let config = iface.config();
        for family in families {
            let (name, on) = match family {
                Family::Inet6 => ("inet6", config.forward6),
                _ => ("inet", config.forward4),
            };
            let state = if on { "on" } else { "off" };
            items.push(Item {
                text: format!("{name} {} forwarding {state}", iface.name),
                json: json!({"family": name, "interface": iface.name, "forwarding": on}),
            });
        }
    }
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}
