//! The messages of neighbour discovery (RFC 4861 §4): read with the checks of §6.1, §7.1 and §8.1
//! that a message alone can fail, and written.

use std::net::Ipv6Addr;
use std::time::Duration;

use bytes::Bytes;
use libnet::ethernet::MacAddr;
use libnet::iface::RouterPreference;

use super::option::{self, Lifetime, NdOption, Nonce, PrefixInfo, RouteInfo};
use crate::icmp6::message::Icmp6Type;
use crate::ipv6::header::{HEADER_BYTES as IP_BYTES, MIN_MTU};

/// ICMPv6 types of neighbour discovery. Source: RFC 4861 §4.
pub(crate) const ROUTER_SOLICITATION: u8 = 133;
pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;
pub(crate) const NEIGHBOUR_SOLICITATION: u8 = Icmp6Type::NEIGHBOUR_SOLICITATION.0;
pub(crate) const NEIGHBOUR_ADVERTISEMENT: u8 = Icmp6Type::NEIGHBOUR_ADVERTISEMENT.0;
pub(crate) const REDIRECT: u8 = 137;

/// RFC 4861 §7.1.1: what a router passed on has less.
pub(crate) const HOP_LIMIT: u8 = 255;

/// All nodes of a link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of a link.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

pub(crate) use crate::address::solicited_node;

/// What the IPv6 header said of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    pub(crate) hop_limit: u8,
}

/// Why a message is not to be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// It may have come from another link.
    HopLimit,
    /// A code that is not zero.
    Code,
    /// Shorter than its fixed part.
    Short,
    /// An option of length zero, or one that ends after the message.
    Options,
    /// A source address that such a message does not have.
    Source,
    /// A destination that such a message does not have.
    Destination,
    /// A target that no host has, or that is no router's.
    Target,
    /// A link-layer address from nobody, or an answer to nobody.
    Nobody,
    /// A type that is none of neighbour discovery's.
    Type,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    RouterSolicitation(RouterSolicitation),
    RouterAdvertisement(Box<RouterAdvertisement>),
    NeighbourSolicitation(NeighbourSolicitation),
    NeighbourAdvertisement(NeighbourAdvertisement),
    Redirect(Redirect),
}

/// Are there routers? Source: RFC 4861 §4.1.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RouterSolicitation {
    pub(crate) source_mac: Option<MacAddr>,
}

/// What a router says of itself and the link. Source: RFC 4861 §4.2, RFC 4191 §2.2.
///
/// ```text
///  0      1      2           4           5                6              8
/// +------+------+-----------+-----------+----------------+--------------+
/// | 134  | 0    | checksum  | hop limit | M O . prf . .  | lifetime, s  |
/// +------+------+-----------+-----------+----------------+--------------+
/// | reachable time, ms                  | retransmission timer, ms      |
/// +-------------------------------------+-------------------------------+
/// | options …
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct RouterAdvertisement {
    /// 0: not said.
    pub(crate) hop_limit: u8,
    /// Addresses come by DHCPv6.
    pub(crate) managed: bool,
    /// Other things come by DHCPv6.
    pub(crate) other: bool,
    pub(crate) preference: RouterPreference,
    /// For how long it is a default router; zero: it is none.
    pub(crate) lifetime_secs: u16,
    /// Zero: not said.
    pub(crate) reachable: Duration,
    /// Zero: not said.
    pub(crate) retransmit: Duration,
    pub(crate) source_mac: Option<MacAddr>,
    pub(crate) mtu: Option<u32>,
    pub(crate) prefixes: Vec<PrefixInfo>,
    pub(crate) routes: Vec<RouteInfo>,
    /// Lifetime in seconds and servers, as many as there were options.
    pub(crate) dns_servers: Vec<(u32, Vec<Ipv6Addr>)>,
    /// Lifetime in seconds and domains, as many as there were options.
    pub(crate) dns_search: Vec<(u32, Vec<String>)>,
}

/// Who has `target`? Source: RFC 4861 §4.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NeighbourSolicitation {
    pub(crate) target: Ipv6Addr,
    pub(crate) source_mac: Option<MacAddr>,
    pub(crate) nonce: Option<Nonce>,
}

/// The sender has `target`. Source: RFC 4861 §4.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NeighbourAdvertisement {
    pub(crate) target: Ipv6Addr,
    /// It is a router.
    pub(crate) router: bool,
    /// It answers a question.
    pub(crate) solicited: bool,
    /// What others remember is to be overridden.
    pub(crate) overrides: bool,
    pub(crate) target_mac: Option<MacAddr>,
}

/// There is a better first hop. Source: RFC 4861 §4.5.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Redirect {
    /// The better first hop, or the destination itself if it is on the link.
    pub(crate) target: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) target_mac: Option<MacAddr>,
    /// The packet that it is about, as much as is to be quoted; not read.
    pub(crate) about: Bytes,
}

impl Message {
    /// Reads a message from its ICMPv6 type on; its checksum has been checked.
    pub(crate) fn parse(envelope: Envelope, bytes: &[u8]) -> Result<Message, Flaw> {
        // RFC 4861 §6.1.1, §6.1.2, §7.1.1, §7.1.2, §8.1: all five begin with these two.
        if envelope.hop_limit != HOP_LIMIT {
            return Err(Flaw::HopLimit);
        }
        let &[ty, code, ..] = bytes else { return Err(Flaw::Short) };
        if code != 0 {
            return Err(Flaw::Code);
        }
        match ty {
            ROUTER_SOLICITATION => parse_router_solicitation(envelope, bytes),
            ROUTER_ADVERTISEMENT => parse_router_advertisement(envelope, bytes),
            NEIGHBOUR_SOLICITATION => parse_solicitation(envelope, bytes),
            NEIGHBOUR_ADVERTISEMENT => parse_advertisement(envelope, bytes),
            REDIRECT => parse_redirect(envelope, bytes),
            _ => Err(Flaw::Type),
        }
    }

    /// The message from its ICMPv6 type on, with the checksum field zero.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Message::RouterSolicitation(message) => {
                let mut out = vec![ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
                option::write_mac(&mut out, option::SOURCE_LINK_ADDR, message.source_mac);
                out
            }
            Message::RouterAdvertisement(message) => message.to_bytes(),
            Message::NeighbourSolicitation(message) => {
                let mut out = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
                out.extend(message.target.octets());
                option::write_mac(&mut out, option::SOURCE_LINK_ADDR, message.source_mac);
                if let Some(nonce) = message.nonce {
                    nonce.write(&mut out);
                }
                out
            }
            Message::NeighbourAdvertisement(message) => {
                let flags = u8::from(message.router) << 7
                    | u8::from(message.solicited) << 6
                    | u8::from(message.overrides) << 5;
                let mut out = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
                out.extend(message.target.octets());
                option::write_mac(&mut out, option::TARGET_LINK_ADDR, message.target_mac);
                out
            }
            Message::Redirect(message) => {
                let mut out = vec![REDIRECT, 0, 0, 0, 0, 0, 0, 0];
                out.extend(message.target.octets());
                out.extend(message.destination.octets());
                option::write_mac(&mut out, option::TARGET_LINK_ADDR, message.target_mac);
                // RFC 4861 §4.6.3: as much of the packet as fits into the least MTU.
                let room = MIN_MTU as usize - IP_BYTES - out.len();
                option::write_redirected(&mut out, &message.about, room);
                out
            }
        }
    }
}

impl RouterAdvertisement {
    fn to_bytes(&self) -> Vec<u8> {
        let flags = u8::from(self.managed) << 7
            | u8::from(self.other) << 6
            | option::preference_bits(self.preference) << 3;
        let mut out = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, self.hop_limit, flags];
        out.extend(self.lifetime_secs.to_be_bytes());
        out.extend(millis(self.reachable).to_be_bytes());
        out.extend(millis(self.retransmit).to_be_bytes());
        option::write_mac(&mut out, option::SOURCE_LINK_ADDR, self.source_mac);
        if let Some(mtu) = self.mtu {
            option::write_mtu(&mut out, mtu);
        }
        for prefix in &self.prefixes {
            prefix.write(&mut out);
        }
        for route in &self.routes {
            route.write(&mut out);
        }
        for (lifetime_secs, servers) in &self.dns_servers {
            option::write_dns_servers(&mut out, *lifetime_secs, servers);
        }
        for (lifetime_secs, domains) in &self.dns_search {
            option::write_dns_search(&mut out, *lifetime_secs, domains);
        }
        out
    }

    /// The same in messages of at most so many bytes each (RFC 4861 §6.2.3, §9): more than one if
    /// there are too many options, each with a part of them.
    pub(crate) fn parts(self, most_bytes: usize) -> Vec<Self> {
        if self.to_bytes().len() <= most_bytes {
            return vec![self];
        }
        let mut parts = vec![self.bare()];
        let mut add = |option: &dyn Fn(&mut Self)| {
            let with = |mut part: Self| {
                option(&mut part);
                Some(part).filter(|part| part.to_bytes().len() <= most_bytes)
            };
            match parts.last().cloned().and_then(with) {
                Some(longer) => *parts.last_mut().expect("there is one") = longer,
                None => parts.extend(with(self.bare())),
            }
        };
        for prefix in &self.prefixes {
            add(&|part| part.prefixes.push(*prefix));
        }
        for route in &self.routes {
            add(&|part| part.routes.push(*route));
        }
        for (lifetime_secs, servers) in &self.dns_servers {
            for server in servers {
                add(&|part| part.dns_servers.push((*lifetime_secs, vec![*server])));
            }
        }
        for (lifetime_secs, domains) in &self.dns_search {
            for domain in domains {
                add(&|part| part.dns_search.push((*lifetime_secs, vec![domain.clone()])));
            }
        }
        parts
    }

    /// Without the options that there may be several of.
    fn bare(&self) -> Self {
        RouterAdvertisement {
            prefixes: Vec::new(),
            routes: Vec::new(),
            dns_servers: Vec::new(),
            dns_search: Vec::new(),
            ..*self
        }
    }

    /// RFC 4861 §6.2.5: who does not forward is no router, for whatever else it speaks.
    pub(crate) fn make_host(&mut self) {
        // RFC 4191 §2.2: who is no default router is not preferred as one.
        (self.lifetime_secs, self.preference) = (0, RouterPreference::Medium);
        for route in &mut self.routes {
            route.lifetime = Lifetime(0);
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The fixed part of a message and its options, if their lengths hold.
fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Flaw> {
    let fixed = bytes.first_chunk::<N>().ok_or(Flaw::Short)?;
    let options = &bytes[N..];
    // RFC 4861 §6.1.1: all included options have a length that is greater than zero.
    if option::are_well_formed(options) { Ok((fixed, options)) } else { Err(Flaw::Options) }
}

fn address(bytes: &[u8], at: usize) -> Ipv6Addr {
    let octets = bytes.get(at..at + 16).and_then(|octets| octets.try_into().ok());
    Ipv6Addr::from(octets.unwrap_or([0; 16]))
}

/// The first link-layer address among the options, of the kind that is asked for.
fn mac_of(options: &[u8], wanted: u8) -> Option<MacAddr> {
    option::iter(options).find_map(|option| match option {
        NdOption::SourceLinkAddr(mac) if wanted == option::SOURCE_LINK_ADDR => Some(mac),
        NdOption::TargetLinkAddr(mac) if wanted == option::TARGET_LINK_ADDR => Some(mac),
        _ => None,
    })
}

/// Does the sender, who has no address, claim a link-layer address?
fn is_nobody_with_mac(envelope: Envelope, options: &[u8]) -> bool {
    envelope.src.is_unspecified() && option::holds(options, option::SOURCE_LINK_ADDR)
}

fn parse_router_solicitation(envelope: Envelope, bytes: &[u8]) -> Result<Message, Flaw> {
    let (_, options) = split::<8>(bytes)?;
    if is_nobody_with_mac(envelope, options) {
        return Err(Flaw::Nobody);
    }
    let source_mac = mac_of(options, option::SOURCE_LINK_ADDR);
    Ok(Message::RouterSolicitation(RouterSolicitation { source_mac }))
}

fn parse_router_advertisement(envelope: Envelope, bytes: &[u8]) -> Result<Message, Flaw> {
    let (fixed, options) = split::<16>(bytes)?;
    // RFC 4861 §6.1.2: so that hosts can tell routers apart.
    if !envelope.src.is_unicast_link_local() {
        return Err(Flaw::Source);
    }
    let lifetime_secs = u16::from_be_bytes([fixed[6], fixed[7]]);
    let word = |at: usize| {
        let ms = u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        Duration::from_millis(u64::from(ms))
    };
    let mut message = RouterAdvertisement {
        hop_limit: fixed[4],
        managed: fixed[5] & 0x80 != 0,
        other: fixed[5] & 0x40 != 0,
        // RFC 4191 §2.2: the reserved value counts as medium.
        preference: option::preference_of(fixed[5] >> 3).unwrap_or_default(),
        lifetime_secs,
        reachable: word(8),
        retransmit: word(12),
        ..RouterAdvertisement::default()
    };
    for option in option::iter(options) {
        match option {
            NdOption::SourceLinkAddr(mac) => message.source_mac = message.source_mac.or(Some(mac)),
            NdOption::Mtu(mtu) => message.mtu = Some(mtu),
            NdOption::Prefix(prefix) => message.prefixes.push(prefix),
            NdOption::Route(route) => message.routes.push(route),
            NdOption::DnsServers { lifetime_secs, servers } => {
                message.dns_servers.push((lifetime_secs, servers));
            }
            NdOption::DnsSearch { lifetime_secs, domains } => {
                message.dns_search.push((lifetime_secs, domains));
            }
            NdOption::TargetLinkAddr(_) | NdOption::Nonce(_) => {}
        }
    }
    Ok(Message::RouterAdvertisement(Box::new(message)))
}

fn parse_solicitation(envelope: Envelope, bytes: &[u8]) -> Result<Message, Flaw> {
    let (fixed, options) = split::<24>(bytes)?;
    let target = address(fixed, 8);
    if target.is_multicast() {
        return Err(Flaw::Target);
    }
    if envelope.src.is_unspecified() {
        // RFC 4861 §7.1.1: duplicate address detection asks the target's group.
        if envelope.dst.to_bits() >> 24 != solicited_node(target).to_bits() >> 24 {
            return Err(Flaw::Destination);
        }
        if is_nobody_with_mac(envelope, options) {
            return Err(Flaw::Nobody);
        }
    }
    Ok(Message::NeighbourSolicitation(NeighbourSolicitation {
        target,
        source_mac: mac_of(options, option::SOURCE_LINK_ADDR),
        nonce: option::iter(options).find_map(|option| match option {
            NdOption::Nonce(nonce) => Some(nonce),
            _ => None,
        }),
    }))
}

fn parse_advertisement(envelope: Envelope, bytes: &[u8]) -> Result<Message, Flaw> {
    let (fixed, options) = split::<24>(bytes)?;
    let message = NeighbourAdvertisement {
        target: address(fixed, 8),
        router: fixed[4] & 0x80 != 0,
        solicited: fixed[4] & 0x40 != 0,
        overrides: fixed[4] & 0x20 != 0,
        target_mac: mac_of(options, option::TARGET_LINK_ADDR),
    };
    if message.target.is_multicast() {
        return Err(Flaw::Target);
    }
    // RFC 4861 §7.1.2: an answer to many is an answer to none.
    if envelope.dst.is_multicast() && message.solicited {
        return Err(Flaw::Nobody);
    }
    Ok(Message::NeighbourAdvertisement(message))
}

fn parse_redirect(envelope: Envelope, bytes: &[u8]) -> Result<Message, Flaw> {
    let (fixed, options) = split::<40>(bytes)?;
    if !envelope.src.is_unicast_link_local() {
        return Err(Flaw::Source);
    }
    let (target, destination) = (address(fixed, 8), address(fixed, 24));
    if destination.is_multicast() {
        return Err(Flaw::Destination);
    }
    // RFC 4861 §8.1: a router is known by its link-local address.
    if !target.is_unicast_link_local() && target != destination {
        return Err(Flaw::Target);
    }
    let target_mac = mac_of(options, option::TARGET_LINK_ADDR);
    let about = Bytes::new();
    Ok(Message::Redirect(Redirect { target, destination, target_mac, about }))
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
