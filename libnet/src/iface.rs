//! Interfaces: what a link becomes when a stack takes it in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::ethernet::MacAddr;
use crate::impair::{ImpairConfig, Schedule, Way};
use crate::link::{Link, LinkInfo};
use crate::route::RouteSpec;
use crate::stats::IfaceCounters;

mod advertise;
mod clamp;

pub use advertise::{Advertise, AdvertisedPrefix, AdvertisedRoute, RouterPreference};
pub use clamp::{ClampMss, NoSuchClamp};

/// Number of an interface within its stack: 1 is `lo0`, the others follow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IfIndex(pub u32);

impl IfIndex {
    /// `lo0`.
    pub const LOOPBACK: IfIndex = IfIndex(1);
}

/// An address with the length of its network's prefix, as `10.0.0.1/24`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpCidr {
    addr: IpAddr,
    prefix_bits: u8,
}

impl IpCidr {
    /// `None` if the prefix is longer than the address: 32 or 128 bits.
    pub const fn new(addr: IpAddr, prefix_bits: u8) -> Option<Self> {
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        if prefix_bits > longest { None } else { Some(IpCidr { addr, prefix_bits }) }
    }

    /// The prefix that holds this address alone.
    pub const fn host(addr: IpAddr) -> Self {
        IpCidr { addr, prefix_bits: if addr.is_ipv4() { 32 } else { 128 } }
    }

    /// The address.
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Bits of the prefix: 0..=32 or 0..=128.
    pub const fn prefix_bits(&self) -> u8 {
        self.prefix_bits
    }

    /// The network: the address with its host bits zero.
    pub fn network(&self) -> IpCidr {
        let addr = match self.addr {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask4(self.prefix_bits))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask6(self.prefix_bits))),
        };
        IpCidr { addr, prefix_bits: self.prefix_bits }
    }

    /// Is `addr` of this network?
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()) & mask4(self.prefix_bits) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()) & mask6(self.prefix_bits) == 0
            }
            _ => false,
        }
    }

    /// May `addr` be another host of this network? It is of it, is not ours, and is neither the
    /// network's own number nor its broadcast address (RFC 1122 §3.2.1.3).
    pub fn has_neighbour(&self, addr: IpAddr) -> bool {
        let is_host =
            |broadcast: Ipv4Addr| addr != IpAddr::V4(broadcast) && addr != self.network().addr();
        self.contains(addr) && addr != self.addr && self.broadcast().is_none_or(is_host)
    }

    /// The network's directed broadcast address; none for IPv6 and for prefixes of 31 and 32 bits
    /// (RFC 3021).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.addr {
            IpAddr::V4(a) if self.prefix_bits < 31 => {
                Some(Ipv4Addr::from_bits(a.to_bits() | !mask4(self.prefix_bits)))
            }
            _ => None,
        }
    }
}

fn mask4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn mask6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

impl fmt::Display for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_bits)
    }
}

impl fmt::Debug for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not `ADDRESS/BITS`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address with a prefix: write ADDRESS/BITS, as in 10.0.0.1/24")]
pub struct ParseCidrError {
    text: String,
}

impl FromStr for IpCidr {
    type Err = ParseCidrError;

    /// An address alone means a prefix of its full length.
    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let wrong = || ParseCidrError { text: text.to_owned() };
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        match bits {
            None => Ok(IpCidr::host(addr)),
            Some(bits) => {
                // `parse` alone would take a sign.
                let digits = bits.bytes().all(|b| b.is_ascii_digit());
                let bits = bits.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
                IpCidr::new(addr, bits).ok_or_else(wrong)
            }
        }
    }
}

/// A link with what it is to be configured with; a stack is built of these.
#[must_use]
pub struct InterfaceSpec {
    /// The link under it.
    pub link: Box<dyn Link>,
    /// The interface's name; by default the link's kind and a number, as `shmif0`.
    pub name: Option<String>,
    /// Addresses, each with its network.
    pub addrs: Vec<IpCidr>,
    /// Makes IPv6 addresses of what routers advertise (RFC 4862).
    pub autoconf: bool,
    /// Chooses a link-local IPv4 address (RFC 3927).
    pub link_local: bool,
    /// Tells hosts that we are a router, and of these prefixes (RFC 4861 §6.2).
    pub advertise: Option<Advertise>,
    /// Gateways of default routes.
    pub gateways: Vec<IpAddr>,
    /// Routes by it, beside those to its networks.
    pub routes: Vec<RouteSpec>,
    /// A smaller MTU than the link's, in bytes.
    pub mtu: Option<u32>,
    /// What the SYNs that it passes on announce at most.
    pub clamp_mss: ClampMss,
    /// What its frames meet.
    pub impair: ImpairConfig,
    /// The first text that could not be understood; reported when the stack starts.
    pub error: Option<String>,
}

impl InterfaceSpec {
    /// An interface over `link`, without addresses.
    pub fn new(link: impl Link + 'static) -> Self {
        InterfaceSpec {
            link: Box::new(link),
            name: None,
            addrs: Vec::new(),
            autoconf: false,
            link_local: false,
            advertise: None,
            gateways: Vec::new(),
            routes: Vec::new(),
            mtu: None,
            clamp_mss: ClampMss::Off,
            impair: ImpairConfig::default(),
            error: None,
        }
    }

    /// Adds an address as `ADDRESS/BITS`; `auto`: those that IPv6 routers advertise the prefixes
    /// of; `link-local`: one of IPv4 that nobody on the link has. Text that is none of these is an
    /// error when the stack starts.
    pub fn addr(mut self, cidr: &str) -> Self {
        match (cidr, cidr.parse()) {
            ("auto", _) => self.autoconf = true,
            ("link-local", _) => self.link_local = true,
            (_, Ok(cidr)) => self.addrs.push(cidr),
            (_, Err(error)) => self.fail(&error),
        }
        self
    }

    /// Adds a default route through `gateway`; behind a link-local one this interface's own name may
    /// stand, as in `fe80::1%shmif0`.
    pub fn gateway(mut self, gateway: &str) -> Self {
        if gateway.contains('%') {
            return self.route(&format!("default@{gateway}"));
        }
        match gateway.parse() {
            Ok(gateway) => self.gateways.push(gateway),
            Err(_) => self.fail(&format!("`{gateway}` is not an IP address")),
        }
        self
    }

    /// Adds a route by this interface, as [`RouteSpec`] is written: `10.2.0.0/16@10.0.0.1`.
    pub fn route(mut self, route: &str) -> Self {
        match route.parse() {
            Ok(route) => self.routes.push(route),
            Err(error) => self.fail(&error),
        }
        self
    }

    /// Advertises us as an IPv6 router of the link.
    pub fn advertise(mut self, advertise: Advertise) -> Self {
        self.advertise = Some(advertise);
        self
    }

    /// Uses a smaller MTU than the link's, in bytes.
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }

    /// Bounds the MSS of the connections that we pass on from and to it.
    pub fn clamp_mss(mut self, clamp: ClampMss) -> Self {
        self.clamp_mss = clamp;
        self
    }

    /// Harms the frames that go one way, from the start.
    pub fn impair(mut self, way: Way, impairments: impl Into<Schedule>) -> Self {
        self.impair.set_way(way, impairments);
        self
    }

    /// Names the interface.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    fn fail(&mut self, error: &dyn fmt::Display) {
        self.error.get_or_insert_with(|| error.to_string());
    }
}

impl fmt::Debug for InterfaceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterfaceSpec")
            .field("link", &self.link.info())
            .field("name", &self.name)
            .field("addrs", &self.addrs)
            .field("autoconf", &self.autoconf)
            .field("link_local", &self.link_local)
            .field("advertise", &self.advertise)
            .field("gateways", &self.gateways)
            .field("routes", &self.routes)
            .field("mtu", &self.mtu)
            .field("clamp_mss", &self.clamp_mss)
            .finish_non_exhaustive()
    }
}

impl<L: Link + 'static> From<L> for InterfaceSpec {
    fn from(link: L) -> Self {
        InterfaceSpec::new(link)
    }
}

/// What of an interface can change while it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct IfaceConfig {
    /// Administratively up.
    pub up: bool,
    /// The link works.
    pub running: bool,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// Addresses, each with its network.
    pub addrs: Vec<IpCidr>,
    /// IPv4 packets for others that come by it are passed on.
    pub forward4: bool,
    /// IPv6 packets for others that come by it are passed on: it is a router's interface.
    pub forward6: bool,
    /// What SYNs that are passed on from or to it announce at most.
    pub clamp_mss: ClampMss,
    /// What there is to say of IPv6 beside its addresses.
    pub six: SixConfig,
}

/// What neighbour discovery found out about an interface.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct SixConfig {
    /// Addresses that are being checked for duplicates: not ours yet, but asked about.
    pub tentative: Vec<Ipv6Addr>,
    /// Addresses that were wanted and are another station's (RFC 4862 §5.4.5): not ours.
    pub duplicates: Vec<IpCidr>,
    /// Those among the addresses that something is to be said of; the others are plain.
    pub traits: Vec<(Ipv6Addr, AddressTraits)>,
    /// The largest IPv6 packet in bytes that a router allows, where it is less than the MTU.
    pub mtu: Option<u32>,
    /// The hop limit that a router asks for.
    pub hop_limit: Option<u8>,
    /// We are a router of this link.
    pub router: bool,
}

/// What is special about an IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct AddressTraits {
    /// New traffic uses another one if there is any (RFC 4862 §5.5.4).
    pub deprecated: bool,
    /// It is still being checked for duplicates, and used with care meanwhile (RFC 4429).
    pub optimistic: bool,
    /// It was made up for a while, against being followed (RFC 8981).
    pub temporary: bool,
}

impl SixConfig {
    /// What is special about an address.
    pub fn traits_of(&self, addr: Ipv6Addr) -> AddressTraits {
        let found = self.traits.iter().find(|(of, _)| *of == addr);
        found.map_or(AddressTraits::default(), |&(_, traits)| traits)
    }
}

impl AddressTraits {
    /// These.
    pub const fn new(deprecated: bool, optimistic: bool, temporary: bool) -> Self {
        AddressTraits { deprecated, optimistic, temporary }
    }
}

/// An interface of a stack. What is read per packet is read without a lock that writers hold long.
pub struct Interface {
    /// Its number.
    pub index: IfIndex,
    /// Its name, as `shmif0`.
    pub name: String,
    /// What the link said of itself.
    pub link: LinkInfo,
    /// What passed it.
    pub counters: IfaceCounters,
    config: RwLock<Arc<IfaceConfig>>,
    generation: AtomicU64,
}

impl Interface {
    /// An interface that is up, with the link's MTU or the smaller one of `config`.
    pub fn new(index: IfIndex, name: String, link: LinkInfo, config: IfaceConfig) -> Self {
        Interface {
            index,
            name,
            link,
            counters: IfaceCounters::default(),
            config: RwLock::new(Arc::new(config)),
            generation: AtomicU64::new(1),
        }
    }

    /// Our MAC address on the link.
    pub fn mac(&self) -> MacAddr {
        self.link.mac
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<IfaceConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts changes of the configuration; a cached copy is stale when this has moved.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Changes the configuration.
    pub fn reconfigure(&self, change: impl FnOnce(&mut IfaceConfig)) {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut config));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface")
            .field("index", &self.index)
            .field("name", &self.name)
            .field("link", &self.link)
            .field("config", &self.config())
            .finish_non_exhaustive()
    }
}

impl IfaceConfig {
    /// Up and running, without addresses; a host's.
    pub fn new(mtu: u32) -> Self {
        IfaceConfig {
            up: true,
            running: true,
            mtu,
            addrs: Vec::new(),
            forward4: false,
            forward6: false,
            clamp_mss: ClampMss::Off,
            six: SixConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_its_network() {
        let cidr: IpCidr = "10.1.2.3/22".parse().unwrap();
        assert_eq!(cidr.network().to_string(), "10.1.0.0/22");
        assert!(cidr.contains("10.1.3.255".parse().unwrap()));
        assert!(!cidr.contains("10.1.4.0".parse().unwrap()));
        assert!(!cidr.contains("::1".parse().unwrap()));
        assert_eq!(cidr.broadcast(), Some(Ipv4Addr::new(10, 1, 3, 255)));
        let all: IpCidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        let six: IpCidr = "fd00::1/64".parse().unwrap();
        assert!(six.contains("fd00::ffff".parse().unwrap()));
        assert!(!six.contains("fd00:0:0:1::".parse().unwrap()));
    }

    #[test]
    fn neighbours_are_the_other_hosts_of_a_network() {
        let cidr: IpCidr = "10.1.2.3/24".parse().unwrap();
        let is = |cidr: &IpCidr, addr: &str| cidr.has_neighbour(addr.parse().unwrap());
        assert!(is(&cidr, "10.1.2.4") && is(&cidr, "10.1.2.254"));
        for addr in ["10.1.2.3", "10.1.2.0", "10.1.2.255", "10.1.3.4", "fd00::1"] {
            assert!(!is(&cidr, addr), "{addr}");
        }
        assert!(is(&"10.0.0.0/31".parse().unwrap(), "10.0.0.1"));
        assert!(is(&"fd00::1/64".parse().unwrap(), "fd00::"));
    }

    #[test]
    fn prefixes_of_one_or_two_hosts_have_no_broadcast() {
        assert_eq!("10.0.0.0/31".parse::<IpCidr>().unwrap().broadcast(), None);
        assert_eq!("10.0.0.1".parse::<IpCidr>().unwrap().prefix_bits(), 32);
    }

    #[test]
    fn bad_text_says_what_to_write() {
        for text in ["", "10.0.0.1/33", "10.0.0/8", "::/129", "10.0.0.1/+8", "10.0.0.1/"] {
            let error = text.parse::<IpCidr>().unwrap_err();
            assert!(error.to_string().contains("ADDRESS/BITS"), "{text}");
        }
    }
}
