//! `route`.

use std::io;
use std::net::IpAddr;

use libnet::IpCidr;
use libnet::iface::IfIndex;
use libnet::route::{Route, RouteKind, RouteOrigin, RouteSelector};
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::PathKind;

use super::{address, cidr, class_bits, following, mask_bits, wrong, zoned};
use crate::fail::{Failure, Outcome, Status};
use crate::host;
use crate::inside::{Inside, index_of, name_of};

const NAME: &str = "route";

pub(super) fn run(words: &[&str], inside: &mut Inside) -> Outcome {
    let inet = inside.inet()?;
    let flags = words.iter().take_while(|word| word.starts_with('-')).count();
    let words = &words[flags..];
    let Some((command, words)) = words.split_first() else { return show(&inet, inside) };
    match *command {
        "show" | "print" => show(&inet, inside),
        "add" | "change" => change(&inet, command, words, inside),
        "delete" | "del" => delete(&inet, words, inside),
        "get" => get(&inet, words, inside),
        "flush" => {
            // What came with an address stays with it.
            inet.retain_routes(|route| route.origin == RouteOrigin::Connected);
            Ok(Status::DONE)
        }
        other => Err(wrong(NAME, format_args!("{other}: unknown command"))),
    }
}

fn show(inet: &Inet, inside: &mut Inside) -> Outcome {
    let routes = inet.routes();
    inside.output.line("Routing tables")?;
    for (title, is_v4) in [("Internet", true), ("Internet6", false)] {
        let mut of_family = routes
            .iter()
            .filter(|route| route.dst.addr().is_ipv4() == is_v4)
            .filter(|route| route.kind != RouteKind::Broadcast)
            .peekable();
        if of_family.peek().is_none() {
            continue;
        }
        inside.output.line(format!("\n{title}:"))?;
        inside.output.line(
            "Destination        Gateway            Flags    Refs      Use    Mtu Interface",
        )?;
        for route in of_family {
            inside.output.line(row(inet, route))?;
        }
    }
    Ok(Status::DONE)
}

fn row(inet: &Inet, route: &Route) -> String {
    let longest = if route.dst.addr().is_ipv4() { 32 } else { 128 };
    let dst = match route.dst.prefix_bits() {
        0 => "default".to_owned(),
        bits if bits == longest => route.dst.addr().to_string(),
        _ => route.dst.to_string(),
    };
    // As the BSDs have it: what is for ourselves goes by the loopback interface.
    let is_local = route.kind == RouteKind::Local;
    let name = name_of(inet, if is_local { IfIndex::LOOPBACK } else { route.iface });
    let gateway = match route.gateway {
        Some(gateway) => gateway.to_string(),
        None if is_local => name.clone(),
        None => format!("link#{}", route.iface.0),
    };
    let mut flags = "U".to_owned();
    for (letter, is_set) in [
        ('G', route.gateway.is_some()),
        ('H', route.dst.prefix_bits() == longest),
        ('R', route.kind == RouteKind::Reject),
        ('B', route.kind == RouteKind::Blackhole),
        ('C', route.gateway.is_none() && route.kind == RouteKind::Unicast),
        ('l', is_local),
        ('S', route.origin == RouteOrigin::Static),
        ('D', route.origin == RouteOrigin::Learned),
    ] {
        if is_set {
            flags.push(letter);
        }
    }
    let mtu = route.mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string());
    format!("{dst:<18} {gateway:<18} {flags:<8} {:>4} {:>8} {mtu:>6} {name}", "-", "-")
}

/// What `add` and the like were told.
struct Told {
    dst: IpCidr,
    is_host: bool,
    gateway: Option<IpAddr>,
    device: Option<IfIndex>,
    kind: RouteKind,
    mtu: Option<u32>,
}

impl Told {
    fn parse(inet: &Inet, words: &[&str]) -> Result<Self, Failure> {
        let (mut dst, mut gateway, mut device) = (None, None, None);
        let (mut bits, mut is_host, mut is_net) = (None, false, false);
        let (mut kind, mut mtu) = (RouteKind::Unicast, None);
        let number = |word: &str| {
            word.parse::<u32>().map_err(|_| wrong(NAME, format_args!("{word}: bad value")))
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "-net" => is_net = true,
                "-host" => is_host = true,
                "-inet" | "-inet6" | "-static" | "-n" => {}
                "-interface" | "-iface" => {}
                "-reject" | "reject" => kind = RouteKind::Reject,
                "-blackhole" => kind = RouteKind::Blackhole,
                "-netmask" | "netmask" => {
                    bits = Some(mask_bits(NAME, following(NAME, &mut words, word)?)?);
                }
                "-prefixlen" => {
                    bits = u8::try_from(number(following(NAME, &mut words, word)?)?).ok();
                }
                "-mtu" | "mtu" => mtu = Some(number(following(NAME, &mut words, word)?)?),
                "-ifp" | "dev" => {
                    device = Some(self::device(inet, following(NAME, &mut words, word)?)?);
                }
                "gw" => {
                    let (addr, zone) = zoned(NAME, inet, following(NAME, &mut words, word)?)?;
                    (gateway, device) = (Some(addr), device.or(zone));
                }
                _ if dst.is_none() => dst = Some(word),
                _ if index_of(inet, word).is_some() => device = index_of(inet, word),
                _ => {
                    let (addr, zone) = zoned(NAME, inet, word)?;
                    (gateway, device) = (Some(addr), device.or(zone));
                }
            }
        }
        let dst = dst.ok_or_else(|| wrong(NAME, "which destination?"))?;
        let family_of = gateway.is_some_and(|gateway| gateway.is_ipv6());
        let dst = destination(dst, bits, is_host, is_net, family_of)?;
        Ok(Told { dst, is_host: is_host || is_of_host(&dst), gateway, device, kind, mtu })
    }

    fn name(&self) -> String {
        let kind = if self.is_host { "host" } else { "net" };
        let dst = match self.dst.prefix_bits() {
            0 => "default".to_owned(),
            _ => self.dst.addr().to_string(),
        };
        let gateway = self.gateway.map(|gateway| format!(": gateway {gateway}"));
        format!("{kind} {dst}{}", gateway.unwrap_or_default())
    }

    fn route(&self, inet: &Inet) -> io::Result<Route> {
        let iface = match (self.device, self.gateway) {
            _ if self.kind != RouteKind::Unicast => IfIndex::LOOPBACK,
            (Some(device), _) => device,
            (None, Some(gateway)) => {
                let path = inet.path_to(gateway, None, None)?;
                match (path.kind, path.gateway) {
                    (PathKind::Unicast, None) => path.iface,
                    _ => return Err(libnet::errno::net_unreachable()),
                }
            }
            (None, None) => return Err(libnet::errno::invalid()),
        };
        let mut route = Route::connected(self.dst.network(), iface);
        route = route.with_origin(RouteOrigin::Static).with_kind(self.kind);
        route.gateway = self.gateway.filter(|_| self.kind == RouteKind::Unicast);
        route.mtu = self.mtu;
        Ok(route)
    }
}

fn is_of_host(dst: &IpCidr) -> bool {
    *dst == IpCidr::host(dst.addr())
}

fn destination(
    word: &str,
    bits: Option<u8>,
    is_host: bool,
    is_net: bool,
    default_is_v6: bool,
) -> Result<IpCidr, Failure> {
    if word == "default" {
        let any: IpAddr = if default_is_v6 {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        };
        return cidr(NAME, any, 0);
    }
    let (text, length) = match word.split_once('/') {
        Some((text, length)) => {
            let bad = || wrong(NAME, format_args!("{word}: bad value"));
            (text, Some(length.parse().map_err(|_| bad())?))
        }
        None => (word, None),
    };
    let addr = address(NAME, text)?;
    let longest = if addr.is_ipv4() { 32 } else { 128 };
    let of_class = if is_net { class_bits(addr) } else { longest };
    let bits = if is_host { longest } else { bits.or(length).unwrap_or(of_class) };
    cidr(NAME, addr, bits)
}

fn device(inet: &Inet, name: &str) -> Result<IfIndex, Failure> {
    let none = || wrong(NAME, format_args!("{name}: no such interface"));
    index_of(inet, name).ok_or_else(none)
}

fn change(inet: &Inet, command: &str, words: &[&str], inside: &mut Inside) -> Outcome {
    let told = Told::parse(inet, words)?;
    let is_there = inet.routes_to(&told.dst).iter().any(|route| route.metric == 0);
    let done = told.route(inet).and_then(|route| match (command, is_there) {
        ("add", true) => Err(libnet::errno::exists()),
        ("add", false) => inet.add_route(route),
        (_, true) => inet.replace_route(route),
        (_, false) => Err(rustix::io::Errno::SRCH.into()),
    });
    finish(command, &told, done, inside)
}

fn delete(inet: &Inet, words: &[&str], inside: &mut Inside) -> Outcome {
    let told = Told::parse(inet, words)?;
    let selector =
        RouteSelector { iface: told.device, gateway: told.gateway, ..RouteSelector::ANY };
    let done = match inet.remove_route(&told.dst, selector) {
        true => Ok(()),
        false => Err(rustix::io::Errno::SRCH.into()),
    };
    finish("delete", &told, done, inside)
}

fn finish(command: &str, told: &Told, done: io::Result<()>, inside: &mut Inside) -> Outcome {
    let name = told.name();
    match done {
        Ok(()) => {
            inside.output.line(format!("{command} {name}"))?;
            Ok(Status::DONE)
        }
        Err(error) => {
            let why = host::plain(&error);
            inside.output.line(format!("{command} {name}: {why}"))?;
            Err(wrong(NAME, format_args!("writing to routing socket: {why}")))
        }
    }
}

fn get(inet: &Inet, words: &[&str], inside: &mut Inside) -> Outcome {
    let word = words.iter().find(|word| !word.starts_with('-'));
    let word = word.ok_or_else(|| wrong(NAME, "which destination?"))?;
    let dst = address(NAME, word)?;
    let path = inet.path_to(dst, None, None);
    let path = path.map_err(|error| {
        wrong(NAME, format_args!("writing to routing socket: {}", host::plain(&error)))
    })?;
    let output = &mut inside.output;
    output.line(format!("   route to: {dst}"))?;
    if let Some(gateway) = path.gateway {
        output.line(format!("    gateway: {gateway}"))?;
    }
    output.line(format!(" local addr: {}", path.src))?;
    output.line(format!("  interface: {}", name_of(inet, path.iface)))?;
    output.line(format!("        mtu: {}", path.mtu))?;
    Ok(Status::DONE)
}
