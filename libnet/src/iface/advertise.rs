//! What a router says of itself and of the link that it is on.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::IpCidr;

/// How much a router, or a route through it, is to be preferred. Source: RFC 4191 §2.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[non_exhaustive]
pub enum RouterPreference {
    /// After the others.
    Low,
    /// Neither.
    #[default]
    Medium,
    /// Before the others.
    High,
}

/// A prefix that a router advertises. Source: RFC 4861 §6.2.1, AdvPrefixList.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AdvertisedPrefix {
    /// The prefix; bits past its length are not sent.
    pub prefix: IpCidr,
    /// Its addresses are on the link (L).
    pub on_link: bool,
    /// Hosts may make addresses of it (A).
    pub autonomous: bool,
    /// How long it is good for; `None`: for ever. By default 30 days.
    pub valid: Option<Duration>,
    /// How long addresses made of it are preferred; `None`: for ever. By default 7 days.
    pub preferred: Option<Duration>,
}

impl AdvertisedPrefix {
    /// A prefix that is on the link and that addresses are made of, with RFC 4861's lifetimes.
    pub const fn new(prefix: IpCidr) -> Self {
        AdvertisedPrefix {
            prefix,
            on_link: true,
            autonomous: true,
            valid: Some(Duration::from_secs(2_592_000)),
            preferred: Some(Duration::from_secs(604_800)),
        }
    }

    /// The same prefix with other lifetimes: valid, and preferred within that.
    #[must_use]
    pub const fn lifetimes(mut self, valid: Duration, preferred: Duration) -> Self {
        self.valid = Some(valid);
        self.preferred = Some(preferred);
        self
    }
}

/// A route that a router advertises. Source: RFC 4191 §2.3.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AdvertisedRoute {
    /// Where it leads to.
    pub prefix: IpCidr,
    /// Against the same route through others.
    pub preference: RouterPreference,
    /// How long it is good for; `None`: for ever.
    pub lifetime: Option<Duration>,
}

impl AdvertisedRoute {
    /// A route of medium preference for half an hour.
    pub const fn new(prefix: IpCidr) -> Self {
        let lifetime = Some(Duration::from_secs(1_800));
        AdvertisedRoute { prefix, preference: RouterPreference::Medium, lifetime }
    }
}

/// What an interface's router advertisements say, and how often they are sent.
///
/// Defaults are those of RFC 4861 §6.2.1.
///
/// ```
/// use libnet::iface::{Advertise, AdvertisedPrefix};
///
/// let mut says = Advertise::default();
/// says.prefixes.push(AdvertisedPrefix::new("2001:db8:1::/64".parse()?));
/// says.mtu = Some(1_400);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Advertise {
    /// Prefixes; none: those of the interface's own addresses, but for link-local ones.
    pub prefixes: Vec<AdvertisedPrefix>,
    /// Routes through us.
    pub routes: Vec<AdvertisedRoute>,
    /// For how long we are a default router, 0 to 18 h in seconds; zero: we are none. By default
    /// three times the interval; less than the interval counts as the interval. An interface that
    /// does not forward says zero (RFC 4861 §6.2.5).
    pub lifetime: Option<Duration>,
    /// How much we are to be preferred as a default router.
    pub preference: RouterPreference,
    /// The hop limit that hosts are to use; 0: their own.
    pub hop_limit: u8,
    /// The MTU that hosts are to use, in bytes: at least 1280 and at most the link's.
    pub mtu: Option<u32>,
    /// How long neighbours are reachable once confirmed, up to an hour; zero: hosts know themselves.
    pub reachable: Duration,
    /// The time between solicitations; zero: hosts know themselves.
    pub retransmit: Duration,
    /// Addresses come by DHCPv6 (M).
    pub managed: bool,
    /// Other configuration comes by DHCPv6 (O).
    pub other: bool,
    /// Name servers (RFC 8106), at most 127.
    pub dns_servers: Vec<Ipv6Addr>,
    /// Domains to search (RFC 8106).
    pub dns_search: Vec<String>,
    /// The longest time between two advertisements: 4 s to 30 min. The shortest is a third of it.
    pub interval: Duration,
}

impl Default for Advertise {
    fn default() -> Self {
        Advertise {
            prefixes: Vec::new(),
            routes: Vec::new(),
            lifetime: None,
            preference: RouterPreference::Medium,
            hop_limit: 64,
            mtu: None,
            reachable: Duration::ZERO,
            retransmit: Duration::ZERO,
            managed: false,
            other: false,
            dns_servers: Vec::new(),
            dns_search: Vec::new(),
            interval: Duration::from_secs(600),
        }
    }
}
