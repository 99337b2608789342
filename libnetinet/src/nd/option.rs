//! The options of neighbour discovery: RFC 4861 §4.6, with those of RFC 3971, RFC 4191 and
//! RFC 8106.
//!
//! What breaks the lengths makes the whole message unbelievable; an option that is unknown, or
//! does not hold what its type should, is skipped (RFC 4861 §4.6: "silently ignore").

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libnet::ethernet::MacAddr;
use libnet::iface::{IpCidr, RouterPreference};

/// Types of options. Source: RFC 4861 §4.6, RFC 3971 §5.3.2, RFC 4191 §2.3, RFC 8106 §5.
pub(crate) const SOURCE_LINK_ADDR: u8 = 1;
pub(crate) const TARGET_LINK_ADDR: u8 = 2;
const PREFIX: u8 = 3;
const REDIRECTED_HEADER: u8 = 4;
const MTU: u8 = 5;
const NONCE: u8 = 14;
const ROUTE: u8 = 24;
const DNS_SERVERS: u8 = 25;
const DNS_SEARCH: u8 = 31;

/// RFC 1035 §2.3.4: octets of a name at most, as written with dots.
const MAX_NAME_BYTES: usize = 253;

/// One option that is understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NdOption {
    SourceLinkAddr(MacAddr),
    TargetLinkAddr(MacAddr),
    Prefix(PrefixInfo),
    Mtu(u32),
    Nonce(Nonce),
    Route(RouteInfo),
    DnsServers { lifetime_secs: u32, servers: Vec<Ipv6Addr> },
    DnsSearch { lifetime_secs: u32, domains: Vec<String> },
}

/// From the low two bits; the reserved value is none. Source: RFC 4191 §2.1.
pub(crate) const fn preference_of(bits: u8) -> Option<RouterPreference> {
    match bits & 3 {
        0b01 => Some(RouterPreference::High),
        0b00 => Some(RouterPreference::Medium),
        0b11 => Some(RouterPreference::Low),
        _ => None,
    }
}

pub(crate) const fn preference_bits(preference: RouterPreference) -> u8 {
    match preference {
        RouterPreference::High => 0b01,
        RouterPreference::Low => 0b11,
        _ => 0b00,
    }
}

/// Six random octets by which a solicitation that comes back is known. Source: RFC 7527 §4.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Nonce(pub(crate) [u8; 6]);

impl Nonce {
    pub(crate) const fn of(random: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = random.to_be_bytes();
        Nonce([a, b, c, d, e, f])
    }

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend([NONCE, 1]);
        out.extend(self.0);
    }
}

/// A prefix of the link. Source: RFC 4861 §4.6.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PrefixInfo {
    /// Its bits past the length are zero.
    pub(crate) prefix: Ipv6Addr,
    /// 0..=128.
    pub(crate) bits: u8,
    /// L: its addresses are on the link.
    pub(crate) on_link: bool,
    /// A: addresses may be made of it.
    pub(crate) autonomous: bool,
    pub(crate) valid: Lifetime,
    pub(crate) preferred: Lifetime,
}

/// A way through the router. Source: RFC 4191 §2.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RouteInfo {
    /// Its bits past the length are zero.
    pub(crate) prefix: Ipv6Addr,
    /// 0..=128.
    pub(crate) bits: u8,
    pub(crate) preference: RouterPreference,
    pub(crate) lifetime: Lifetime,
}

/// Seconds that something is good for, as on the wire: all ones are for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Lifetime(pub(crate) u32);

impl Lifetime {
    pub(crate) const FOREVER: Lifetime = Lifetime(u32::MAX);

    /// `None`: for ever.
    pub(crate) const fn duration(self) -> Option<Duration> {
        if self.0 == u32::MAX { None } else { Some(Duration::from_secs(self.0 as u64)) }
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Do the lengths of these options hold?
pub(crate) fn are_well_formed(options: &[u8]) -> bool {
    let mut rest = options;
    while !rest.is_empty() {
        let Some(&len) = rest.get(1) else { return false };
        let bytes = usize::from(len) * 8;
        // RFC 4861 §4.6: an option of length zero makes the packet be dropped.
        if bytes == 0 || bytes > rest.len() {
            return false;
        }
        rest = &rest[bytes..];
    }
    true
}

/// Is there an option of that type, whatever it holds?
pub(crate) fn holds(options: &[u8], ty: u8) -> bool {
    raw(options).any(|option| option[0] == ty)
}

/// The options that are understood, in their order.
pub(crate) fn iter(options: &[u8]) -> impl Iterator<Item = NdOption> + '_ {
    raw(options).filter_map(parse)
}

fn raw(options: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = options;
    std::iter::from_fn(move || {
        let bytes = usize::from(*rest.get(1)?) * 8;
        let option = rest.get(..bytes).filter(|option| !option.is_empty())?;
        rest = &rest[bytes..];
        Some(option)
    })
}

fn parse(option: &[u8]) -> Option<NdOption> {
    match option[0] {
        SOURCE_LINK_ADDR => parse_mac(option).map(NdOption::SourceLinkAddr),
        TARGET_LINK_ADDR => parse_mac(option).map(NdOption::TargetLinkAddr),
        PREFIX => parse_prefix(option).map(NdOption::Prefix),
        MTU if option.len() == 8 => Some(NdOption::Mtu(u32_at(option, 4))),
        NONCE if option.len() == 8 => {
            option[2..].try_into().ok().map(|octets| NdOption::Nonce(Nonce(octets)))
        }
        ROUTE => parse_route(option).map(NdOption::Route),
        DNS_SERVERS => parse_dns_servers(option),
        DNS_SEARCH => parse_dns_search(option),
        _ => None,
    }
}

/// RFC 2464 §6: eight octets. An address that no station has is none.
fn parse_mac(option: &[u8]) -> Option<MacAddr> {
    let octets: [u8; 6] = option[2..].try_into().ok()?;
    Some(MacAddr(octets)).filter(|mac| mac.is_unicast())
}

fn parse_prefix(option: &[u8]) -> Option<PrefixInfo> {
    let bits = option[2];
    if option.len() != 32 || bits > 128 {
        return None;
    }
    Some(PrefixInfo {
        prefix: masked(addr_at(option, 16), bits),
        bits,
        on_link: option[3] & 0x80 != 0,
        autonomous: option[3] & 0x40 != 0,
        valid: Lifetime(u32_at(option, 4)),
        preferred: Lifetime(u32_at(option, 8)),
    })
}

/// RFC 4191 §2.3: the prefix is cut to 0, 8 or 16 octets, and a reserved preference makes the
/// option be ignored.
fn parse_route(option: &[u8]) -> Option<RouteInfo> {
    let bits = option[2];
    let fits = match option.len() {
        8 => bits == 0,
        16 => bits <= 64,
        24 => bits <= 128,
        _ => false,
    };
    if !fits {
        return None;
    }
    let preference = preference_of(option[3] >> 3)?;
    let mut octets = [0; 16];
    octets[..option.len() - 8].copy_from_slice(&option[8..]);
    let prefix = masked(Ipv6Addr::from(octets), bits);
    Some(RouteInfo { prefix, bits, preference, lifetime: Lifetime(u32_at(option, 4)) })
}

/// RFC 8106 §5.1: a length of three and two for each further address.
fn parse_dns_servers(option: &[u8]) -> Option<NdOption> {
    if option.len() < 24 || option.len() % 16 != 8 {
        return None;
    }
    let servers = (8..option.len()).step_by(16).map(|at| addr_at(option, at));
    let servers = servers.filter(|addr| !addr.is_multicast() && !addr.is_unspecified()).collect();
    Some(NdOption::DnsServers { lifetime_secs: u32_at(option, 4), servers })
}

/// RFC 8106 §5.2: names as in RFC 1035 §3.1, uncompressed, padded with zeros.
fn parse_dns_search(option: &[u8]) -> Option<NdOption> {
    let mut rest = option.get(8..).filter(|rest| !rest.is_empty())?;
    let mut domains = Vec::new();
    while rest.first().is_some_and(|&len| len != 0) {
        let (name, after) = parse_name(rest)?;
        domains.push(name);
        rest = after;
    }
    Some(NdOption::DnsSearch { lifetime_secs: u32_at(option, 4), domains })
}

/// One name, and what follows it. Only what a host's name may hold: it is shown to people.
fn parse_name(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut rest = bytes;
    let mut name = String::new();
    loop {
        let len = usize::from(*rest.first()?);
        if len == 0 {
            return Some((name, &rest[1..]));
        }
        let label = rest.get(1..=len).filter(|_| len <= 63)?;
        if !label.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|&b| char::from(b)));
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        rest = &rest[len + 1..];
    }
}

/// Adds a link-layer address, if there is one.
pub(crate) fn write_mac(out: &mut Vec<u8>, ty: u8, mac: Option<MacAddr>) {
    if let Some(mac) = mac {
        out.extend([ty, 1]);
        out.extend(mac.0);
    }
}

/// Adds the packet that a redirect is about, in units of 8 bytes; of so many bytes at most, the
/// option's own among them.
pub(crate) fn write_redirected(out: &mut Vec<u8>, about: &[u8], room: usize) {
    let quoted = &about[..about.len().min(room.saturating_sub(8) & !7)];
    if quoted.is_empty() {
        return;
    }
    let bytes = quoted.len().next_multiple_of(8);
    out.extend([REDIRECTED_HEADER, (1 + bytes / 8) as u8, 0, 0, 0, 0, 0, 0]);
    out.extend(quoted);
    out.resize(out.len() + bytes - quoted.len(), 0);
}

/// Adds the link's MTU.
pub(crate) fn write_mtu(out: &mut Vec<u8>, mtu: u32) {
    out.extend([MTU, 1, 0, 0]);
    out.extend(mtu.to_be_bytes());
}

/// Adds name servers, [`MAX_SERVERS`] at most.
pub(crate) fn write_dns_servers(out: &mut Vec<u8>, lifetime_secs: u32, servers: &[Ipv6Addr]) {
    let servers = &servers[..servers.len().min(MAX_SERVERS)];
    out.extend([DNS_SERVERS, 1 + 2 * servers.len() as u8, 0, 0]);
    out.extend(lifetime_secs.to_be_bytes());
    for server in servers {
        out.extend(server.octets());
    }
}

/// As many as an option holds: (255 − 1) / 2.
pub(crate) const MAX_SERVERS: usize = 127;

/// Adds domains to search; those that an option has room for, and that are names.
pub(crate) fn write_dns_search(out: &mut Vec<u8>, lifetime_secs: u32, domains: &[String]) {
    let mut names = Vec::new();
    for domain in domains {
        let is_name = domain.len() <= MAX_NAME_BYTES
            && domain.split('.').all(|label| (1..=63).contains(&label.len()));
        if !is_name || names.len() + domain.len() + 2 > MAX_NAMES_BYTES {
            continue;
        }
        for label in domain.split('.') {
            names.push(label.len() as u8);
            names.extend(label.bytes());
        }
        names.push(0);
    }
    names.resize(names.len().next_multiple_of(8).max(8), 0);
    out.extend([DNS_SEARCH, 1 + (names.len() / 8) as u8, 0, 0]);
    out.extend(lifetime_secs.to_be_bytes());
    out.extend(names);
}

/// As many domains as an option holds, however long they are.
pub(crate) const SURE_DOMAINS: usize = MAX_NAMES_BYTES / (MAX_NAME_BYTES + 2);
/// (255 − 1) × 8.
const MAX_NAMES_BYTES: usize = 2_032;

impl PrefixInfo {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.on_link) << 7 | u8::from(self.autonomous) << 6;
        out.extend([PREFIX, 4, self.bits, flags]);
        out.extend(self.valid.0.to_be_bytes());
        out.extend(self.preferred.0.to_be_bytes());
        out.extend([0; 4]);
        out.extend(self.prefix.octets());
    }
}

impl RouteInfo {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let prefix_bytes = match self.bits {
            0 => 0,
            1..=64 => 8,
            _ => 16,
        };
        let len = 1 + prefix_bytes as u8 / 8;
        out.extend([ROUTE, len, self.bits, preference_bits(self.preference) << 3]);
        out.extend(self.lifetime.0.to_be_bytes());
        out.extend(&self.prefix.octets()[..prefix_bytes]);
    }
}

fn u32_at(option: &[u8], at: usize) -> u32 {
    let octets = option.get(at..at + 4).and_then(|octets| octets.try_into().ok());
    u32::from_be_bytes(octets.unwrap_or([0; 4]))
}

fn addr_at(option: &[u8], at: usize) -> Ipv6Addr {
    let octets = option.get(at..at + 16).and_then(|octets| octets.try_into().ok());
    Ipv6Addr::from(octets.unwrap_or([0; 16]))
}

/// The address with the bits past its prefix zero.
pub(crate) fn masked(addr: Ipv6Addr, bits: u8) -> Ipv6Addr {
    match IpCidr::new(addr.into(), bits).map(|cidr| cidr.network().addr()) {
        Some(IpAddr::V6(network)) => network,
        _ => addr,
    }
}
