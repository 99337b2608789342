//! Neighbour discovery and autoconfiguration for IPv6: RFC 4861, RFC 4862 and what belongs to them.
//!
//! [`Nd`] is a machine without I/O: it is told of messages and of time, and says what is to be
//! sent and which addresses and routes there are. The shard that all of ICMPv6 comes to carries
//! that out (`input`, `carry`).
//!
//! An interface takes part once it has an IPv6 address, is to find one (`addr=auto`) or is to
//! advertise; until then it is silent. One with `addr=auto` listens to routers, others do not:
//! what was configured by hand is not changed by whoever speaks on the link.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libnet::ethernet::MacAddr;
use libnet::iface::{Advertise, IfIndex, IpCidr, SixConfig};
use libnet::route::Route;
use libnet::time::Instant;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::config::NdConfig;
use crate::snapshot::{AddressEntry, DnsEntry, RouterEntry};

mod address;
mod advertise;
pub(crate) mod carry;
pub(crate) mod control;
mod dad;
mod ident;
pub(crate) mod input;
mod learned;
mod link;
pub(crate) mod message;
pub(crate) mod option;
mod redirect;
mod slaac;
mod solicit;

pub(crate) use crate::ipv6::header::MIN_MTU;
use learned::left;
pub(crate) use link::{Context, Outcome};
use link::{Link, Say};
use redirect::Redirects;

/// Everything that neighbour discovery knows, but for the neighbours.
///
/// Lock rank: wide.
pub(crate) struct Nd {
    config: NdConfig,
    random: ChaCha12Rng,
    /// What stable identifiers are made with (RFC 7217 §5, `secret_key`).
    secret: [u8; 16],
    links: Vec<Link>,
    redirects: Redirects,
    /// Routes that we put into the table.
    installed: Installed,
}

/// Routes by what tells them apart in the table.
type Installed = BTreeMap<RouteKey, Route>;
type RouteKey = (IpCidr, u32, IfIndex, Option<IpAddr>);

fn key_of(route: &Route) -> RouteKey {
    (route.dst, route.metric, route.iface, route.gateway)
}

impl Nd {
    /// Without interfaces. `seed` is of the stack's own.
    pub(crate) fn new(config: NdConfig, seed: [u8; 32]) -> Self {
        let mut random = ChaCha12Rng::from_seed(seed);
        // Of the seed alone, not of how much was drawn before: stable over restarts with it.
        let mut secret = [0; 16];
        random.fill_bytes(&mut secret);
        Nd {
            config,
            random,
            secret,
            links: Vec::new(),
            redirects: Redirects::default(),
            installed: Installed::new(),
        }
    }

    /// Lives by another configuration from now on.
    pub(crate) fn set_config(&mut self, config: NdConfig) {
        self.config = config;
    }

    /// Works on an interface that takes part.
    pub(crate) fn on(
        &mut self,
        now: Instant,
        iface: IfIndex,
        out: &mut Outcome,
        call: impl FnOnce(&mut Link, &mut Context<'_>),
    ) {
        let Nd { config, random, links, .. } = self;
        let Some(link) = links.iter_mut().find(|link| link.index == iface) else { return };
        let mut ctx = Context { now, config, random, out };
        call(link, &mut ctx);
    }

    /// An interface takes part from now on, if it did not yet.
    pub(crate) fn join(
        &mut self,
        now: Instant,
        iface: IfIndex,
        mac: MacAddr,
        mtu: u32,
        out: &mut Outcome,
    ) {
        if self.links.iter().any(|link| link.index == iface) {
            return;
        }
        self.links.push(Link::new(iface, mac, self.secret, mtu));
        self.on(now, iface, out, Link::draw_times);
    }

    /// Does an interface have an address, or want it?
    pub(crate) fn knows(&self, iface: IfIndex, addr: Ipv6Addr) -> bool {
        let link = self.links.iter().find(|link| link.index == iface);
        link.is_some_and(|link| link.addresses.iter().any(|address| address.addr == addr))
    }

    /// Gives an interface an address.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        iface: IfIndex,
        addr: Ipv6Addr,
        prefix_bits: u8,
        out: &mut Outcome,
    ) {
        self.on(now, iface, out, |link, ctx| link.add(ctx, addr, prefix_bits));
    }

    /// Makes addresses of what routers of the interface's link advertise.
    pub(crate) fn start_autoconf(&mut self, now: Instant, iface: IfIndex, out: &mut Outcome) {
        self.on(now, iface, out, Link::start_autoconf);
    }

    /// Speaks as a router on an interface, or says goodbye as one.
    pub(crate) fn set_advertise(
        &mut self,
        now: Instant,
        iface: IfIndex,
        says: Option<Advertise>,
        out: &mut Outcome,
    ) {
        self.on(now, iface, out, |link, ctx| match says {
            Some(says) => link.start_advertising(ctx, says),
            None => link.stop_advertising(ctx),
        });
    }

    /// Somebody was a router and is none any more.
    pub(crate) fn forget_router(
        &mut self,
        now: Instant,
        iface: IfIndex,
        router: Ipv6Addr,
        out: &mut Outcome,
    ) {
        self.redirects.remove_router(iface, router.into());
        self.on(now, iface, out, |link, ctx| link.forget_router(ctx, router));
    }

    /// The current first hop to `dst` says that there is a better one: RFC 4861 §8.3, and of IPv4
    /// RFC 1122 §3.2.2.2.
    pub(crate) fn redirect(
        &mut self,
        now: Instant,
        iface: IfIndex,
        dst: IpAddr,
        target: IpAddr,
        out: &mut Outcome,
    ) {
        let gateway = (target != dst).then_some(target);
        let until = now + self.config.redirect_age;
        self.redirects.add(dst, iface, gateway, until, self.config.max_redirects);
        out.routes = true;
    }

    /// Whatever is due.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Outcome) {
        let Nd { config, random, links, .. } = self;
        for link in links {
            if link.next_deadline().is_some_and(|at| at <= now) {
                link.expire(&mut Context { now, config, random, out });
            }
        }
        out.routes |= self.redirects.expire(now);
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let links = self.links.iter().filter_map(Link::next_deadline);
        links.chain(self.redirects.next_deadline()).min()
    }

    /// What an interface's configuration is to say.
    pub(crate) fn config_of(&self, now: Instant, iface: IfIndex) -> (Vec<IpCidr>, SixConfig) {
        let link = self.links.iter().find(|link| link.index == iface);
        link.map(|link| link.config(now)).unwrap_or_default()
    }

    /// Routes to put into the table and to take out of it, since the last call.
    pub(crate) fn take_routes(&mut self) -> (Vec<Route>, Vec<Route>) {
        let mut wanted = Installed::new();
        for route in self.links.iter().flat_map(Link::routes).chain(self.redirects.routes()) {
            wanted.entry(key_of(&route)).or_insert(route);
        }
        let missing = |from: &Installed, of: &Installed| -> Vec<Route> {
            let is_missing = |(key, route): &(&RouteKey, &Route)| from.get(key) != Some(*route);
            of.iter().filter(is_missing).map(|(_, route)| route.clone()).collect()
        };
        let gone = missing(&wanted, &self.installed);
        let new = missing(&self.installed, &wanted);
        self.installed = wanted;
        (new, gone)
    }

    /// The addresses of an interface, with how long they live.
    pub(crate) fn addresses(&self, now: Instant, iface: IfIndex) -> Vec<AddressEntry> {
        let link = self.links.iter().find(|link| link.index == iface);
        let addresses = link.iter().flat_map(|link| &link.addresses);
        let entries = addresses.filter_map(|address| {
            Some(AddressEntry {
                cidr: IpCidr::new(address.addr.into(), address.prefix_bits)?,
                state: address.state(now),
                origin: address.origin,
                valid_for: left(now, address.life.valid),
                preferred_for: left(now, address.life.preferred),
                conflicts: address.conflicts,
                looped: address.check.looped,
            })
        });
        entries.collect()
    }

    /// The default routers, by interface.
    pub(crate) fn routers(&self, now: Instant) -> Vec<RouterEntry> {
        let of_link = |link: &Link| {
            let routers = link.learned.routers.iter().map(|router| RouterEntry {
                iface: link.index,
                addr: router.what.addr,
                preference: router.what.preference,
                valid_for: left(now, router.until).unwrap_or(Duration::MAX),
            });
            routers.collect::<Vec<_>>()
        };
        self.links.iter().flat_map(of_link).collect()
    }

    /// Name servers.
    pub(crate) fn dns_servers(&self, now: Instant) -> Vec<DnsEntry<Ipv6Addr>> {
        self.dns(now, |link| &link.learned.dns_servers)
    }

    /// Domains to search.
    pub(crate) fn dns_search(&self, now: Instant) -> Vec<DnsEntry<String>> {
        self.dns(now, |link| &link.learned.dns_search)
    }

    fn dns<T: Clone>(
        &self,
        now: Instant,
        list: impl Fn(&Link) -> &Vec<learned::Timed<T>>,
    ) -> Vec<DnsEntry<T>> {
        let entry = |link: &Link, of: &learned::Timed<T>| DnsEntry {
            iface: link.index,
            what: of.what.clone(),
            valid_for: left(now, of.until),
        };
        let of_link = |link| list(link).iter().map(move |of| entry(link, of));
        self.links.iter().flat_map(of_link).collect()
    }
}

#[cfg(test)]
mod tests;
