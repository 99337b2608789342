//! What routers told us of a link: default routers, prefixes, routes and name servers, each with
//! its lifetime, none in unbounded number (RFC 4861 §5.1, RFC 4191, RFC 8106 §6).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libnet::iface::{IfIndex, IpCidr, RouterPreference};
use libnet::route::{Route, RouteOrigin};
use libnet::time::Instant;

use super::message::RouterAdvertisement;
use super::option::{Lifetime, PrefixInfo};
use crate::config::NdConfig;

/// Something that a router said, and until when it holds; `None`: for ever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Timed<T> {
    pub(crate) what: T,
    pub(crate) until: Option<Instant>,
}

/// A default router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Router {
    pub(crate) addr: Ipv6Addr,
    pub(crate) preference: RouterPreference,
}

/// A way through a router to a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Way {
    pub(crate) router: Ipv6Addr,
    pub(crate) prefix: Ipv6Addr,
    pub(crate) bits: u8,
    pub(crate) preference: RouterPreference,
}

/// What was learned on one interface.
#[derive(Default, Debug)]
pub(crate) struct Learned {
    pub(crate) routers: Vec<Timed<Router>>,
    /// Prefixes whose addresses are on the link, with their lengths.
    pub(crate) prefixes: Vec<Timed<(Ipv6Addr, u8)>>,
    pub(crate) ways: Vec<Timed<Way>>,
    pub(crate) dns_servers: Vec<Timed<Ipv6Addr>>,
    pub(crate) dns_search: Vec<Timed<String>>,
    /// What was not taken in because a list was full.
    pub(crate) refused: u64,
}

impl Learned {
    /// Takes in what a router advertises, but for what addresses are made of.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        config: &NdConfig,
        router: Ipv6Addr,
        said: &RouterAdvertisement,
    ) {
        self.take_router(now, config, router, said.lifetime_secs, said.preference);
        for prefix in &said.prefixes {
            self.take_prefix(now, config, prefix);
        }
        for route in &said.routes {
            if route.bits == 0 {
                // RFC 4191 §3.1: a route to everywhere is the router's own lifetime and
                // preference, whatever its header says.
                let secs = u16::try_from(route.lifetime.0).unwrap_or(u16::MAX);
                self.take_router(now, config, router, secs, route.preference);
                continue;
            }
            let (prefix, bits, preference) = (route.prefix, route.bits, route.preference);
            let way = Way { router, prefix, bits, preference };
            let same = |old: &Way| (old.router, old.prefix, old.bits) == (router, prefix, bits);
            let most = config.max_routes;
            self.refused += enter(&mut self.ways, now, way, route.lifetime, most, same);
        }
        let most = config.max_dns_servers;
        for (secs, servers) in &said.dns_servers {
            for &server in servers {
                let lifetime = Lifetime(*secs);
                let list = &mut self.dns_servers;
                self.refused += enter(list, now, server, lifetime, most, |old| *old == server);
            }
        }
        for (secs, domains) in &said.dns_search {
            for domain in domains {
                let (lifetime, new) = (Lifetime(*secs), domain.clone());
                let list = &mut self.dns_search;
                self.refused += enter(list, now, new, lifetime, most, |old| old == domain);
            }
        }
    }

    /// RFC 4861 §6.3.4: a default router, for as long as it says; not at all for zero.
    fn take_router(
        &mut self,
        now: Instant,
        config: &NdConfig,
        addr: Ipv6Addr,
        lifetime_secs: u16,
        preference: RouterPreference,
    ) {
        let router = Router { addr, preference };
        let lifetime = Lifetime(u32::from(lifetime_secs));
        let same = |old: &Router| old.addr == addr;
        let most = config.max_routers;
        self.refused += enter(&mut self.routers, now, router, lifetime, most, same);
    }

    /// RFC 4861 §6.3.4: a prefix of the link. Without L it says nothing of it, and the link-local
    /// prefix needs no router.
    fn take_prefix(&mut self, now: Instant, config: &NdConfig, info: &PrefixInfo) {
        if !info.on_link || info.prefix.is_unicast_link_local() || info.prefix.is_multicast() {
            return;
        }
        let prefix = (info.prefix, info.bits);
        let same = |old: &(Ipv6Addr, u8)| *old == prefix;
        let most = config.max_prefixes;
        self.refused += enter(&mut self.prefixes, now, prefix, info.valid, most, same);
    }

    /// Who was a router is none any more (RFC 4861 §7.2.5).
    pub(crate) fn remove_router(&mut self, addr: Ipv6Addr) {
        self.routers.retain(|router| router.what.addr != addr);
        self.ways.retain(|way| way.what.router != addr);
    }

    /// Forgets what does not hold any more.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Learned { routers, prefixes, ways, dns_servers, dns_search, refused: _ } = self;
        forget(routers, now);
        forget(prefixes, now);
        forget(ways, now);
        forget(dns_servers, now);
        forget(dns_search, now);
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let Learned { routers, prefixes, ways, dns_servers, dns_search, refused: _ } = self;
        let all = [
            earliest(routers),
            earliest(prefixes),
            earliest(ways),
            earliest(dns_servers),
            earliest(dns_search),
        ];
        all.into_iter().flatten().min()
    }

    /// The routes that follow from it.
    pub(crate) fn routes(&self, iface: IfIndex) -> Vec<Route> {
        let mut routes = Vec::new();
        for prefix in &self.prefixes {
            let (addr, bits) = prefix.what;
            let Some(dst) = IpCidr::new(IpAddr::V6(addr), bits) else { continue };
            let route = Route::connected(dst, iface).with_metric(ON_LINK_METRIC);
            routes.push(route.with_origin(RouteOrigin::Learned));
        }
        let ways = self.ways.iter().map(|way| way.what);
        let defaults = self.routers.iter().map(|router| {
            let Router { addr, preference } = router.what;
            Way { router: addr, prefix: Ipv6Addr::UNSPECIFIED, bits: 0, preference }
        });
        for way in ways.chain(defaults) {
            let Some(dst) = IpCidr::new(IpAddr::V6(way.prefix), way.bits) else { continue };
            let route = Route::via(dst, iface, IpAddr::V6(way.router));
            let route = route.with_metric(metric_of(way.preference));
            routes.push(route.with_origin(RouteOrigin::Learned));
        }
        routes
    }
}

/// As Linux has them: of a prefix that a router advertises, and of a router.
const ON_LINK_METRIC: u32 = 256;
const ROUTER_METRIC: u32 = 1_024;

const fn metric_of(preference: RouterPreference) -> u32 {
    match preference {
        RouterPreference::Low => ROUTER_METRIC + 1,
        RouterPreference::High => ROUTER_METRIC - 1,
        _ => ROUTER_METRIC,
    }
}

/// Adds or renews; takes out what is said to be good for no time. 1 if there was no room.
fn enter<T>(
    list: &mut Vec<Timed<T>>,
    now: Instant,
    what: T,
    lifetime: Lifetime,
    most: usize,
    same: impl Fn(&T) -> bool,
) -> u64 {
    let at = list.iter().position(|old| same(&old.what));
    let until = lifetime.duration().map(|time| now + time);
    match at {
        Some(at) if lifetime.is_zero() => drop(list.remove(at)),
        Some(at) => list[at] = Timed { what, until },
        None if lifetime.is_zero() => {}
        None if list.len() >= most => return 1,
        None => list.push(Timed { what, until }),
    }
    0
}

fn forget<T>(list: &mut Vec<Timed<T>>, now: Instant) {
    list.retain(|entry| entry.until.is_none_or(|until| until > now));
}

fn earliest<T>(list: &[Timed<T>]) -> Option<Instant> {
    list.iter().filter_map(|entry| entry.until).min()
}

/// How long something still holds.
pub(crate) fn left(now: Instant, until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.since(now))
}

#[cfg(test)]
mod tests {
    use super::super::option::RouteInfo;
    use super::*;

    const ETH: IfIndex = IfIndex(2);
    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn said(lifetime_secs: u16) -> RouterAdvertisement {
        RouterAdvertisement { lifetime_secs, ..RouterAdvertisement::default() }
    }

    fn prefix(text: &str, on_link: bool, valid: u32) -> PrefixInfo {
        let (valid, preferred) = (Lifetime(valid), Lifetime(valid));
        PrefixInfo { prefix: ip(text), bits: 64, on_link, autonomous: true, valid, preferred }
    }

    fn take(learned: &mut Learned, at: u64, from: Ipv6Addr, said: &RouterAdvertisement) {
        learned.take(Instant::from_millis(at), &NdConfig::default(), from, said);
    }

    fn routes(learned: &Learned) -> Vec<String> {
        let shown = |route: &Route| match route.gateway {
            Some(gateway) => format!("{} via {gateway} {}", route.dst, route.metric),
            None => format!("{} {}", route.dst, route.metric),
        };
        learned.routes(ETH).iter().map(shown).collect()
    }

    #[test]
    fn a_router_is_one_for_as_long_as_it_says() {
        let mut learned = Learned::default();
        take(&mut learned, 0, ROUTER, &said(30));
        assert_eq!(routes(&learned), ["::/0 via fe80::1 1024"]);
        take(&mut learned, 10_000, ROUTER, &said(30));
        assert_eq!(learned.next_deadline(), Some(Instant::from_millis(40_000)), "renewed");
        learned.expire(Instant::from_millis(39_999));
        assert_eq!(learned.routers.len(), 1);
        learned.expire(Instant::from_millis(40_000));
        assert_eq!(routes(&learned), [""; 0]);
        take(&mut learned, 50_000, ROUTER, &said(30));
        take(&mut learned, 50_001, ROUTER, &said(0));
        assert_eq!(routes(&learned), [""; 0], "it says that it stops");
    }

    #[test]
    fn prefixes_with_l_are_on_the_link() {
        let mut learned = Learned::default();
        let mut said = said(0);
        said.prefixes = vec![
            prefix("2001:db8:1::", true, 60),
            prefix("2001:db8:2::", false, 60),
            prefix("fe80::", true, 60),
        ];
        take(&mut learned, 0, ROUTER, &said);
        assert_eq!(routes(&learned), ["2001:db8:1::/64 256"]);
        // Without L nothing is said of it; with L and no lifetime it is gone.
        said.prefixes[0].on_link = false;
        said.prefixes[0].valid = Lifetime(0);
        take(&mut learned, 0, ROUTER, &said);
        assert_eq!(learned.prefixes.len(), 1);
        said.prefixes[0].on_link = true;
        take(&mut learned, 0, ROUTER, &said);
        assert_eq!(learned.prefixes.len(), 0);
    }

    #[test]
    fn preferred_routers_and_routes_come_first() {
        let mut learned = Learned::default();
        let mut first = said(60);
        first.preference = RouterPreference::Low;
        first.routes = vec![RouteInfo {
            prefix: ip("2001:db8:5::"),
            bits: 48,
            preference: RouterPreference::High,
            lifetime: Lifetime(30),
        }];
        take(&mut learned, 0, ROUTER, &first);
        assert_eq!(routes(&learned), ["2001:db8:5::/48 via fe80::1 1023", "::/0 via fe80::1 1025"]);
        learned.expire(Instant::from_millis(30_000));
        assert_eq!(routes(&learned), ["::/0 via fe80::1 1025"]);
        // A route to everywhere stands above the header's lifetime and preference.
        let everywhere = RouteInfo { prefix: ip("::"), bits: 0, ..first.routes[0] };
        take(
            &mut learned,
            0,
            ROUTER,
            &RouterAdvertisement { routes: vec![everywhere], ..said(60) },
        );
        assert_eq!(routes(&learned), ["::/0 via fe80::1 1023"]);
        learned.remove_router(ROUTER);
        assert_eq!(routes(&learned), [""; 0]);
    }

    #[test]
    fn every_list_is_bounded_and_what_is_known_stays() {
        let config = NdConfig::default();
        let mut learned = Learned::default();
        for n in 0..1_000u16 {
            let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n);
            let mut said = said(1_800);
            said.prefixes = vec![prefix(&format!("2001:db8:0:{n:x}::"), true, 600)];
            said.routes = vec![RouteInfo {
                prefix: ip(&format!("2001:db9:0:{n:x}::")),
                bits: 64,
                preference: RouterPreference::Medium,
                lifetime: Lifetime::FOREVER,
            }];
            said.dns_servers = vec![(60, vec![router])];
            said.dns_search = vec![(60, vec![format!("n{n}.test")])];
            take(&mut learned, u64::from(n), router, &said);
        }
        assert_eq!(learned.routers.len(), config.max_routers);
        assert_eq!(learned.prefixes.len(), config.max_prefixes);
        assert_eq!(learned.ways.len(), config.max_routes);
        assert_eq!(learned.dns_servers.len(), config.max_dns_servers);
        assert_eq!(learned.dns_search.len(), config.max_dns_servers);
        assert!(learned.refused > 4_000);
        assert_eq!(learned.routers[0].what.addr, ip("fe80::1:0"));
    }
}
