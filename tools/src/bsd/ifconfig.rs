//! `ifconfig`.

use std::net::IpAddr;

use libnet::IpCidr;
use libnet::iface::IfIndex;
use libnet::link::Medium;
use rumpnet::Inet;
use rumpnet::libnetinet::AdminState;
use rumpnet::libnetinet::snapshot::InterfaceEntry;

use super::{address, cidr, class_bits, following, mask_bits, refused, wrong};
use crate::fail::{Failure, Outcome, Status};
use crate::inside::{Inside, index_of};

const NAME: &str = "ifconfig";

pub(super) fn run(words: &[&str], inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let flags = words.iter().take_while(|word| word.starts_with('-')).count();
    let (flags, words) = words.split_at(flags);
    let with_counters = flags.iter().any(|flag| flag.contains('v'));
    let all = inet.interfaces();
    let Some((name, words)) = words.split_first() else {
        if flags.iter().any(|flag| flag.contains('l')) {
            let names: Vec<&str> = all.iter().map(|entry| &*entry.name).collect();
            inside.output.line(names.join(" "))?;
            return Ok(Status::DONE);
        }
        for entry in &all {
            inside.output.text(describe(entry, with_counters))?;
        }
        return Ok(Status::DONE);
    };
    let index = index_of(&inet, name)
        .ok_or_else(|| wrong(NAME, format_args!("{name}: no such interface")))?;
    if words.is_empty() {
        if let Some(entry) = all.iter().find(|entry| entry.index == index) {
            inside.output.text(describe(entry, with_counters))?;
        }
        return Ok(Status::DONE);
    }
    Change::parse(words)?.apply(&inet, index)?;
    Ok(Status::DONE)
}

fn describe(entry: &InterfaceEntry, with_counters: bool) -> String {
    let (bits, names) = flags(entry);
    let mut text =
        format!("{}: flags=0x{bits:x}<{}> mtu {}\n", entry.name, names.join(","), entry.mtu);
    if entry.link.medium == Medium::Ethernet {
        text.push_str(&format!("\taddress: {}\n", entry.link.mac));
    }
    if !entry.link.loopback {
        let status = if entry.up && entry.running { "active" } else { "no carrier" };
        text.push_str(&format!("\tstatus: {status}\n"));
    }
    if with_counters {
        text.push_str(&format!(
            "\tinput: {} packets, {} bytes, {} errors\n\toutput: {} packets, {} bytes, {} errors\n",
            entry.rx_frames,
            entry.rx_bytes,
            entry.link_stats.rx_malformed,
            entry.tx_frames,
            entry.tx_bytes,
            entry.tx_dropped
        ));
    }
    for (cidr, _) in &entry.addrs {
        text.push_str(&match cidr.addr() {
            IpAddr::V4(_) => match cidr.broadcast().filter(|_| !entry.link.loopback) {
                Some(broadcast) => format!("\tinet {cidr} broadcast {broadcast} flags 0\n"),
                None => format!("\tinet {cidr} flags 0\n"),
            },
            IpAddr::V6(addr) if addr.is_unicast_link_local() => format!(
                "\tinet6 {addr}%{}/{} flags 0 scopeid 0x{:x}\n",
                entry.name,
                cidr.prefix_bits(),
                entry.index.0
            ),
            IpAddr::V6(_) => format!("\tinet6 {cidr} flags 0\n"),
        });
    }
    text
}

/// The flags of `<net/if.h>` there.
fn flags(entry: &InterfaceEntry) -> (u32, Vec<&'static str>) {
    let is_ethernet = entry.link.medium == Medium::Ethernet;
    let all = [
        (0x1, "UP", entry.up),
        (0x2, "BROADCAST", is_ethernet),
        (0x8, "LOOPBACK", entry.link.loopback),
        (0x10, "POINTOPOINT", !is_ethernet && !entry.link.loopback),
        (0x40, "RUNNING", entry.running),
        (0x800, "SIMPLEX", is_ethernet),
        (0x8000, "MULTICAST", true),
    ];
    let set = all.iter().filter(|(_, _, is_set)| *is_set);
    (set.clone().map(|(bit, _, _)| bit).sum(), set.map(|(_, name, _)| *name).collect())
}

/// What is done with an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    /// It takes the place of the first of its family.
    Replace,
    Add,
    Remove,
}

#[derive(Debug)]
struct Change {
    cidr: Option<IpCidr>,
    deed: Deed,
    mtu: Option<u32>,
    state: Option<AdminState>,
}

impl Change {
    fn parse(words: &[&str]) -> Result<Self, Failure> {
        let mut change = Change { cidr: None, deed: Deed::Replace, mtu: None, state: None };
        let (mut addr, mut bits): (Option<(IpAddr, Option<u8>)>, _) = (None, None);
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "up" => change.state = Some(AdminState::Up),
                "down" => change.state = Some(AdminState::Down),
                "alias" | "add" => change.deed = Deed::Add,
                "-alias" | "delete" | "del" => change.deed = Deed::Remove,
                "mtu" => {
                    let word = following(NAME, &mut words, word)?;
                    let bytes = word.parse();
                    change.mtu =
                        Some(bytes.map_err(|_| wrong(NAME, format_args!("{word}: bad value")))?);
                }
                "netmask" => bits = Some(mask_bits(NAME, following(NAME, &mut words, word)?)?),
                "prefixlen" => {
                    let word = following(NAME, &mut words, word)?;
                    let parsed = word.parse();
                    bits =
                        Some(parsed.map_err(|_| wrong(NAME, format_args!("{word}: bad value")))?);
                }
                // What these say goes without saying here.
                "broadcast" => {
                    following(NAME, &mut words, word)?;
                }
                "inet" | "inet6" => {}
                _ if addr.is_none() => {
                    let (text, length) = match word.split_once('/') {
                        Some((text, length)) => {
                            let bad = || wrong(NAME, format_args!("{word}: bad value"));
                            (text, Some(length.parse().map_err(|_| bad())?))
                        }
                        None => (word, None),
                    };
                    let text = text.split('%').next().unwrap_or(text);
                    addr = Some((address(NAME, text)?, length));
                }
                other => return Err(wrong(NAME, format_args!("{other}: bad value"))),
            }
        }
        if let Some((addr, length)) = addr {
            let bits = bits.or(length).unwrap_or_else(|| class_bits(addr));
            change.cidr = Some(cidr(NAME, addr, bits)?);
        }
        Ok(change)
    }

    fn apply(&self, inet: &Inet, index: IfIndex) -> Result<(), Failure> {
        if let Some(mtu) = self.mtu {
            let set = inet.set_mtu(index, mtu);
            set.map_err(|error| refused(NAME, "SIOCSIFMTU", &error))?;
        }
        match (self.cidr, self.deed) {
            (Some(cidr), Deed::Remove) => {
                let removed = inet.remove_address(index, cidr.addr());
                removed.map_err(|error| refused(NAME, "SIOCDIFADDR", &error))?;
            }
            (Some(cidr), deed) => {
                if deed == Deed::Replace && cidr.addr().is_ipv4() {
                    replace_first(inet, index, cidr)?;
                } else {
                    let added = inet.add_address(index, cidr);
                    added.map_err(|error| refused(NAME, "SIOCAIFADDR", &error))?;
                }
            }
            (None, Deed::Replace) => {}
            (None, _) => return Err(wrong(NAME, "which address?")),
        }
        if let Some(state) = self.state {
            let set = inet.set_up(index, state);
            set.map_err(|error| refused(NAME, "SIOCSIFFLAGS", &error))?;
        }
        Ok(())
    }
}

/// As there: an address without `alias` takes the place of the first one.
fn replace_first(inet: &Inet, index: IfIndex, cidr: IpCidr) -> Result<(), Failure> {
    let all = inet.interfaces();
    let entry = all.iter().find(|entry| entry.index == index);
    let mut addrs = entry.iter().flat_map(|entry| entry.addrs.iter().map(|(cidr, _)| *cidr));
    let first = addrs.find(|other| other.addr().is_ipv4());
    if first == Some(cidr) {
        return Ok(());
    }
    let added = inet.add_address(index, cidr);
    let Some(first) = first else {
        return added.map_err(|error| refused(NAME, "SIOCAIFADDR", &error));
    };
    // Where the new one cannot be had, the old one stays.
    let is_other_prefix = first.addr() == cidr.addr();
    if !is_other_prefix {
        added.map_err(|error| refused(NAME, "SIOCAIFADDR", &error))?;
    }
    let removed = inet.remove_address(index, first.addr());
    removed.map_err(|error| refused(NAME, "SIOCDIFADDR", &error))?;
    if !is_other_prefix {
        return Ok(());
    }
    inet.add_address(index, cidr).map_err(|error| {
        // It was there a moment ago, so that it fits.
        let _ = inet.add_address(index, first);
        refused(NAME, "SIOCAIFADDR", &error)
    })
}
