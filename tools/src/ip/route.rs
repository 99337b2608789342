//! `ip route`.

use std::net::IpAddr;

use libnet::iface::IfIndex;
use libnet::route::{Route, RouteKind, RouteOrigin, RouteSelector};
use libnet::{Family, IpCidr};
use rumpnet::libnetinet::snapshot::{PathEntry, PathKind};
use serde_json::{Map, Value, json};

use super::addr::scope_of;
use super::link::is_show;
use super::print::{Item, print};
use super::words::{Words, abbreviates};
use super::{Ip, garbage, not_served, refused, unknown_command, wrong};
use crate::fail::{Failure, Outcome, Status};
use crate::inside::{is_wanted, name_of};

pub(super) fn run(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let Some(command) = words.peek() else { return show(ip, words) };
    words.next();
    match command {
        _ if is_show(command) => show(ip, words),
        _ if abbreviates(command, "get") => get(ip, words),
        _ if abbreviates(command, "add") => change(&ip, words, Existing::Refused),
        _ if abbreviates(command, "append") => change(&ip, words, Existing::Refused),
        _ if abbreviates(command, "change") || abbreviates(command, "chg") => {
            change(&ip, words, Existing::Needed)
        }
        _ if abbreviates(command, "replace") => change(&ip, words, Existing::Replaced),
        _ if abbreviates(command, "delete") => delete(&ip, words),
        _ if abbreviates(command, "flush") => flush(ip, words),
        _ if abbreviates(command, "help") => super::help(ip, words),
        _ => Err(unknown_command(command, "route")),
    }
}

/// Which table a route is in, as Linux has them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Main,
    Local,
    All,
}

/// Which routes are meant.
struct Selection {
    table: Table,
    device: Option<IfIndex>,
    via: Option<IpAddr>,
    proto: Option<String>,
    kind: Option<String>,
    scope: Option<String>,
    src: Option<IpAddr>,
    metric: Option<u32>,
    /// Routes within this prefix.
    root: Option<IpCidr>,
    /// Routes that hold this prefix.
    holding: Option<IpCidr>,
    exact: Option<IpCidr>,
}

impl Selection {
    fn parse(ip: &Ip<'_>, words: &mut Words<'_>) -> Result<Self, Failure> {
        let mut chosen = Selection {
            table: Table::Main,
            device: None,
            via: None,
            proto: None,
            kind: None,
            scope: None,
            src: None,
            metric: None,
            root: None,
            holding: None,
            exact: None,
        };
        let family = ip.options.family;
        while let Some(word) = words.next() {
            match word {
                "dev" | "oif" | "iif" => chosen.device = Some(ip.device(words.need()?)?),
                "via" => chosen.via = Some(address(gateway_word(words)?)?),
                "proto" | "protocol" => chosen.proto = Some(words.need()?.to_owned()),
                "type" => chosen.kind = Some(words.need()?.to_owned()),
                "scope" => chosen.scope = Some(words.need()?.to_owned()),
                "src" => chosen.src = Some(address(words.need()?)?),
                "metric" | "preference" | "priority" => {
                    chosen.metric = Some(words.number("metric")?)
                }
                "table" => chosen.table = table(words.need()?)?,
                "root" => chosen.root = Some(prefix(words.need()?, family)?),
                "match" => chosen.holding = Some(prefix(words.need()?, family)?),
                "exact" => chosen.exact = Some(prefix(words.need()?, family)?),
                "to" => {
                    let what = words.need()?;
                    match what {
                        "root" => chosen.root = Some(prefix(words.need()?, family)?),
                        "match" => chosen.holding = Some(prefix(words.need()?, family)?),
                        "exact" => chosen.exact = Some(prefix(words.need()?, family)?),
                        _ => chosen.exact = Some(prefix(what, family)?),
                    }
                }
                _ if kind_of(word).is_some() => chosen.kind = Some(word.to_owned()),
                _ => chosen.exact = Some(prefix(word, family)?),
            }
        }
        Ok(chosen)
    }

    fn takes(&self, ip: &Ip<'_>, route: &Route) -> bool {
        let default_family = if self.table != Table::All && self.is_of_no_address() {
            Some(Family::Inet)
        } else {
            None
        };
        let within = |outer: &IpCidr, inner: &IpCidr| {
            outer.prefix_bits() <= inner.prefix_bits() && outer.contains(inner.addr())
        };
        is_wanted(ip.options.family.or(default_family), &route.dst.addr())
            && match self.table {
                Table::Main => !is_of_local_table(route),
                Table::Local => is_of_local_table(route),
                Table::All => true,
            }
            && self.device.is_none_or(|index| index == route.iface)
            && self.via.is_none_or(|via| route.gateway == Some(via))
            && self.src.is_none_or(|src| route.preferred_source == Some(src))
            && self.metric.is_none_or(|metric| metric == route.metric)
            && self.proto.as_ref().is_none_or(|proto| proto == proto_of(route))
            && self.kind.as_ref().is_none_or(|kind| kind == kind_name(route.kind))
            && self.scope.as_ref().is_none_or(|scope| scope == scope_of_route(route))
            && self.root.is_none_or(|root| within(&root, &route.dst))
            && self.holding.is_none_or(|inner| within(&route.dst, &inner))
            && self.exact.is_none_or(|exact| exact.network() == route.dst)
    }

    /// Does nothing here tell the family?
    fn is_of_no_address(&self) -> bool {
        [self.root, self.holding, self.exact].iter().all(Option::is_none)
            && self.via.is_none()
            && self.src.is_none()
    }
}

fn is_of_local_table(route: &Route) -> bool {
    matches!(route.kind, RouteKind::Local | RouteKind::Broadcast)
}

fn show(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let chosen = Selection::parse(&ip, words)?;
    let routes = ip.inet.routes();
    let shown = routes.iter().filter(|route| chosen.takes(&ip, route));
    let with_table = chosen.table == Table::All;
    let items = shown.map(|route| item(&ip, route, with_table)).collect();
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}

/// A route; `with_table` names the table where it is not the main one.
pub(super) fn item(ip: &Ip<'_>, route: &Route, with_table: bool) -> Item {
    let details = ip.options.details;
    let (mut text, mut map) = (String::new(), Map::new());
    let kind = kind_name(route.kind);
    if details || route.kind != RouteKind::Unicast {
        text.push_str(&format!("{kind} "));
        map.insert("type".into(), kind.into());
    }
    let dst = destination(&route.dst);
    text.push_str(&format!("{dst} "));
    map.insert("dst".into(), dst.into());
    let mut put = |key: &str, word: &str, value: Value| {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("{word} {shown} "));
        map.insert(key.to_owned(), value);
    };
    if let Some(gateway) = route.gateway {
        put("gateway", "via", gateway.to_string().into());
    }
    if !matches!(route.kind, RouteKind::Blackhole | RouteKind::Reject) {
        put("dev", "dev", name_of(ip.inet, route.iface).into());
    }
    if with_table && is_of_local_table(route) {
        put("table", "table", "local".into());
    }
    if details || proto_of(route) != "boot" {
        put("protocol", "proto", proto_of(route).into());
    }
    let is_v4 = route.dst.addr().is_ipv4();
    if is_v4 && (details || scope_of_route(route) != "global") {
        put("scope", "scope", scope_of_route(route).into());
    }
    if let Some(source) = route.preferred_source {
        put("prefsrc", "src", source.to_string().into());
    }
    if route.metric != 0 || !is_v4 {
        put("metric", "metric", route.metric.into());
    }
    finish(ip, route, &mut text, &mut map);
    Item { text, json: Value::Object(map) }
}

fn finish(ip: &Ip<'_>, route: &Route, text: &mut String, map: &mut Map<String, Value>) {
    let config = ip.inet.engine().interface(route.iface).map(|iface| iface.config());
    let mut flags = Vec::new();
    // What is for ourselves needs no link.
    let needs_link = route.kind != RouteKind::Local;
    if needs_link && config.is_some_and(|config| !config.up || !config.running) {
        flags.push("linkdown");
        text.push_str("linkdown ");
    }
    map.insert("flags".into(), flags.into());
    if let Some(mtu) = route.mtu {
        text.push_str(&format!("mtu {mtu} "));
        map.insert("metrics".into(), json!([{"mtu": mtu}]));
    }
    if route.dst.addr().is_ipv6() {
        text.push_str("pref medium");
        map.insert("pref".into(), "medium".into());
    }
}

fn destination(dst: &IpCidr) -> String {
    match (dst.prefix_bits(), dst.addr()) {
        (0, _) => "default".to_owned(),
        (32, IpAddr::V4(addr)) => addr.to_string(),
        (128, addr) => addr.to_string(),
        _ => dst.to_string(),
    }
}

const fn kind_name(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Local => "local",
        RouteKind::Broadcast => "broadcast",
        RouteKind::Reject => "unreachable",
        RouteKind::Blackhole => "blackhole",
        _ => "unicast",
    }
}

fn kind_of(word: &str) -> Option<RouteKind> {
    match word {
        "unicast" => Some(RouteKind::Unicast),
        "local" => Some(RouteKind::Local),
        "broadcast" => Some(RouteKind::Broadcast),
        "unreachable" => Some(RouteKind::Reject),
        "blackhole" => Some(RouteKind::Blackhole),
        _ => None,
    }
}

const fn proto_of(route: &Route) -> &'static str {
    match (route.origin, route.dst.addr()) {
        (RouteOrigin::Connected, _) => "kernel",
        (RouteOrigin::Learned, IpAddr::V4(_)) => "redirect",
        (RouteOrigin::Learned, IpAddr::V6(_)) => "ra",
        _ => "boot",
    }
}

fn scope_of_route(route: &Route) -> &'static str {
    match route.kind {
        RouteKind::Local => "host",
        RouteKind::Broadcast => "link",
        RouteKind::Unicast if route.gateway.is_none() => match scope_of(route.dst.addr()) {
            "host" => "host",
            _ => "link",
        },
        _ => "global",
    }
}

fn address(word: &str) -> Result<IpAddr, Failure> {
    word.parse().map_err(|_| wrong("address", word))
}

/// The address behind `via`, whose family may stand between.
fn gateway_word<'a>(words: &mut Words<'a>) -> Result<&'a str, Failure> {
    match words.need()? {
        "inet" | "inet6" => words.need(),
        word => Ok(word),
    }
}

/// A prefix; `default` and `all` are of the family that was asked for.
fn prefix(word: &str, family: Option<Family>) -> Result<IpCidr, Failure> {
    if matches!(word, "default" | "all" | "any") {
        let any = family.unwrap_or(Family::Inet).unspecified();
        return IpCidr::new(any, 0).ok_or_else(|| wrong("prefix", word));
    }
    // As iproute2 has it: what is left out of an IPv4 network are zeros.
    let (addr, bits) = word.split_once('/').unwrap_or((word, ""));
    let dots = addr.bytes().filter(|byte| *byte == b'.').count();
    let is_number = !addr.is_empty() && addr.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let whole = match is_number && dots < 3 && !bits.is_empty() {
        true => format!("{addr}{}/{bits}", ".0".repeat(3 - dots)),
        false => word.to_owned(),
    };
    whole.parse().map_err(|_| wrong("prefix", word))
}

fn table(word: &str) -> Result<Table, Failure> {
    match word {
        "main" | "254" => Ok(Table::Main),
        "local" | "255" => Ok(Table::Local),
        "all" | "0" | "unspec" => Ok(Table::All),
        other => {
            let text =
                format!("Error: argument \"{other}\" is wrong: \"table\" value is invalid\n");
            Err(Failure::verbatim(text, super::WRONG_USAGE))
        }
    }
}

/// A route as `add` and the like were told of it.
struct Told {
    kind: RouteKind,
    dst: Option<IpCidr>,
    device: Option<IfIndex>,
    via: Option<IpAddr>,
    metric: Option<u32>,
    src: Option<IpAddr>,
    mtu: Option<u32>,
    /// The gateway is a neighbour, whatever the networks say.
    onlink: bool,
}

impl Told {
    fn parse(ip: &Ip<'_>, words: &mut Words<'_>) -> Result<Self, Failure> {
        let mut told = Told {
            kind: RouteKind::Unicast,
            dst: None,
            device: None,
            via: None,
            metric: None,
            src: None,
            mtu: None,
            onlink: false,
        };
        while let Some(word) = words.next() {
            match word {
                "dev" | "oif" => told.device = Some(ip.device(words.need()?)?),
                "via" => {
                    let (via, zone) = ip.zoned(gateway_word(words)?)?;
                    told.via = Some(via);
                    told.device = told.device.or(zone);
                }
                "metric" | "preference" | "priority" => told.metric = Some(words.number("metric")?),
                "src" => told.src = Some(address(words.need()?)?),
                "mtu" => {
                    if words.peek() == Some("lock") {
                        words.next();
                    }
                    told.mtu = Some(words.number("mtu")?);
                }
                // What these say follows from the rest, or is of no use here.
                "proto" | "protocol" | "scope" => {
                    words.need()?;
                }
                "pref" if matches!(words.peek(), Some("medium")) => drop(words.next()),
                "pref" | "expires" | "nexthop" | "encap" | "mark" => return Err(not_served(word)),
                "table" => match table(words.need()?)? {
                    Table::Main => {}
                    _ => return Err(not_served(word)),
                },
                "onlink" => told.onlink = true,
                _ if told.dst.is_some() => return Err(garbage(word, "to")),
                _ if kind_of(word).is_some() => {
                    told.kind = kind_of(word).unwrap_or(RouteKind::Unicast);
                }
                _ => {
                    let text = if word == "to" { words.need()? } else { word };
                    let family = ip.options.family.or(told.via.as_ref().map(Family::of));
                    told.dst = Some(prefix(text, family)?);
                }
            }
        }
        if let (Some(dst), Some(via)) = (told.dst, told.via)
            && dst.prefix_bits() == 0
        {
            // `default` came before the gateway that tells its family.
            told.dst = IpCidr::new(Family::of(&via).unspecified(), 0);
        }
        Ok(told)
    }

    fn dst(&self) -> Result<IpCidr, Failure> {
        let missing = || {
            let text = "Command line is not complete. Try option \"help\"";
            Failure::verbatim(text, super::WRONG_USAGE)
        };
        self.dst.ok_or_else(missing)
    }

    fn route(&self, ip: &Ip<'_>) -> Result<Route, Failure> {
        let dst = self.dst()?;
        let iface = match (self.device, self.via) {
            _ if !matches!(self.kind, RouteKind::Unicast) => IfIndex::LOOPBACK,
            (Some(device), None) => device,
            (Some(device), Some(_)) if self.onlink => device,
            (device, Some(via)) => neighbours_interface(ip, via, device)?,
            (None, None) => return Err(refused(&libnet::errno::no_device())),
        };
        let is_ours = |src: IpAddr| {
            let mut all = ip.inet.interfaces().into_iter().flat_map(|entry| entry.addrs);
            all.any(|(cidr, _)| cidr.addr() == src)
        };
        if self.src.is_some_and(|src| !is_ours(src)) {
            return Err(Failure::verbatim("Error: Invalid source address.", super::REFUSED));
        }
        let mut route = Route::connected(dst, iface).with_origin(RouteOrigin::Static);
        route = route.with_kind(self.kind).with_metric(self.metric.unwrap_or(0));
        route.gateway = self.via;
        route.preferred_source = self.src;
        route.mtu = self.mtu;
        Ok(route)
    }
}

/// The interface that a gateway is a neighbour on: this one, or any.
fn neighbours_interface(
    ip: &Ip<'_>,
    via: IpAddr,
    device: Option<IfIndex>,
) -> Result<IfIndex, Failure> {
    let config = device.and_then(|index| ip.inet.engine().interface(index)).map(|on| on.config());
    if config.is_some_and(|config| !config.up) {
        return Err(Failure::verbatim("Error: Nexthop device is not up.", super::REFUSED));
    }
    let invalid = || Failure::verbatim("Error: Nexthop has invalid gateway.", super::REFUSED);
    let path = ip.inet.path_to(via, None, device).map_err(|_| invalid())?;
    match (path.kind, path.gateway) {
        (PathKind::Unicast, None) => Ok(path.iface),
        _ => Err(invalid()),
    }
}

/// What is done about a route that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refused,
    Needed,
    Replaced,
}

fn change(ip: &Ip<'_>, words: &mut Words<'_>, existing: Existing) -> Outcome {
    let route = Told::parse(ip, words)?.route(ip)?;
    let is_there = || {
        let routes = ip.inet.routes_to(&route.dst);
        routes.iter().any(|other| other.metric == route.metric)
    };
    let done = match existing {
        // As the kernel: one route per destination and metric, unless it is replaced.
        Existing::Refused if is_there() => Err(libnet::errno::exists()),
        Existing::Refused => ip.inet.add_route(route),
        Existing::Needed if !is_there() => Err(rustix::io::Errno::NOENT.into()),
        Existing::Needed | Existing::Replaced => ip.inet.replace_route(route),
    };
    done.map_err(|error| refused(&error))?;
    Ok(Status::DONE)
}

fn delete(ip: &Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let told = Told::parse(ip, words)?;
    let selector = RouteSelector { metric: told.metric, iface: told.device, gateway: told.via };
    match ip.inet.remove_route(&told.dst()?, selector) {
        true => Ok(Status::DONE),
        false => Err(Failure::verbatim("RTNETLINK answers: No such process", super::REFUSED)),
    }
}

fn flush(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    if words.peek().is_none() {
        let text = "\"ip route flush\" requires arguments.";
        return Err(Failure::verbatim(text, Status::FAILED));
    }
    let chosen = Selection::parse(&ip, words)?;
    let count = ip.inet.retain_routes(|route| !chosen.takes(&ip, route));
    if ip.options.stats > 0 {
        ip.inside.output.line(match count {
            0 => "Nothing to flush.".to_owned(),
            _ => format!(
                "\n*** Round 1, deleting {count} entries ***\n*** Flush is complete after 1 round ***"
            ),
        })?;
    }
    Ok(Status::DONE)
}

fn get(ip: Ip<'_>, words: &mut Words<'_>) -> Outcome {
    let (mut dst, mut src, mut device) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "from" => src = Some(address(words.need()?)?),
            "oif" | "dev" => device = Some(ip.device(words.need()?)?),
            "tos" | "mark" | "uid" | "ipproto" | "sport" | "dport" | "iif" => {
                words.need()?;
            }
            "fibmatch" | "notify" | "connected" => {}
            _ if dst.is_some() => return Err(garbage(word, "to")),
            // As iproute2: a prefix is taken for its address.
            _ => {
                let word = if word == "to" { words.need()? } else { word };
                let (addr, zone) = ip.zoned(word.split('/').next().unwrap_or(word))?;
                dst = Some(addr);
                device = device.or(zone);
            }
        }
    }
    let missing = || Failure::verbatim("need at least a destination address", Status::FAILED);
    let dst = dst.ok_or_else(missing)?;
    let path = ip.inet.path_to(dst, src, device).map_err(|error| refused(&error))?;
    let items = vec![path_item(&ip, &path, src)];
    print(items, &ip.options, &mut ip.inside.output)?;
    Ok(Status::DONE)
}

fn path_item(ip: &Ip<'_>, path: &PathEntry, from: Option<IpAddr>) -> Item {
    let (mut text, mut map) = (String::new(), Map::new());
    let (kind, cache): (_, &[&str]) = match path.kind {
        PathKind::Local => (Some("local"), &["local"]),
        PathKind::Broadcast => (Some("broadcast"), &["local", "brd"]),
        PathKind::Multicast => (Some("multicast"), &["mc"]),
        _ => (None, &[]),
    };
    if let Some(kind) = kind {
        text.push_str(&format!("{kind} "));
        map.insert("type".into(), kind.into());
    }
    text.push_str(&format!("{} ", path.dst));
    map.insert("dst".into(), path.dst.to_string().into());
    if let Some(from) = from {
        text.push_str(&format!("from {from} "));
        map.insert("from".into(), from.to_string().into());
    }
    if let Some(gateway) = path.gateway {
        text.push_str(&format!("via {gateway} "));
        map.insert("gateway".into(), gateway.to_string().into());
    }
    let name = name_of(ip.inet, path.iface);
    text.push_str(&format!("dev {name} "));
    map.insert("dev".into(), name.into());
    if from.is_none() {
        text.push_str(&format!("src {} ", path.src));
        map.insert("prefsrc".into(), path.src.to_string().into());
    }
    text.push_str("uid 0 \n    cache ");
    map.insert("flags".into(), json!([]));
    map.insert("uid".into(), 0.into());
    map.insert("cache".into(), cache.to_vec().into());
    if !cache.is_empty() {
        text.push_str(&format!("<{}> ", cache.join(",")));
    }
    if path.mtu < path.iface_mtu {
        text.push_str(&format!("mtu {} ", path.mtu));
        map.insert("metrics".into(), json!([{"mtu": path.mtu}]));
    }
    Item { text, json: Value::Object(map) }
}
