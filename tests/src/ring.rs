//! A ring of sites joined by routers: every site has two ways out, so that one router may die.
//!
//! ```text
//!   site 0 ── R0 ── site 1 ── R1 ── site 2 ── … ── site 9 ── R9 ── site 0
//!    │││││           │││││
//!    hosts           hosts
//! ```
//! Router `i` is `.1` on site `i` and `.2` on site `i + 1`; hosts are `.11` and on.

use std::io;
use std::net::IpAddr;

use libnet::iface::IfIndex;
use libnet::route::{Route, RouteSelector};
use libnet::world::{LinkConfig, Segment, World};
use libnet::{Family, InterfaceSpec, IpCidr};
use rumpnet::{Forwarding, InetConfig, Stack};

/// What a [`Ring`] is made of.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Sites, and as many routers; at least three.
    pub sites: usize,
    /// Hosts of each site, at most 200.
    pub hosts: usize,
    /// Which families it speaks.
    pub families: Vec<Family>,
    /// Every site.
    pub link: LinkConfig,
    /// Every host and router.
    pub inet: InetConfig,
}

impl RingConfig {
    /// Ten sites of five hosts.
    pub fn new(families: &[Family]) -> Self {
        let (link, inet) = (LinkConfig::default(), InetConfig::default());
        RingConfig { sites: 10, hosts: 5, families: families.to_vec(), link, inet }
    }
}

/// Sites, their hosts, and the routers between them.
#[derive(Debug)]
pub struct Ring {
    /// Their world.
    pub world: World,
    /// The segments of the sites.
    pub sites: Vec<Segment>,
    /// The hosts, site by site.
    pub hosts: Vec<Stack>,
    /// The routers; `None`: dead.
    pub routers: Vec<Option<Stack>>,
    config: RingConfig,
}

/// A way round the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// By the next router.
    Up,
    /// By the one before.
    Down,
}

impl Ring {
    /// Makes it, with routes both ways round to every site: the shorter way is taken.
    ///
    /// # Errors
    /// The stacks'.
    pub fn new(seed: u64, config: RingConfig) -> io::Result<Ring> {
        let world = World::new(seed);
        let site = |i| world.segment(config.link.clone().name(format!("site{i}")));
        let sites: Vec<Segment> = (0..config.sites).map(site).collect();
        let mut ring = Ring { world, sites, hosts: Vec::new(), routers: Vec::new(), config };
        for router in 0..ring.config.sites {
            let stack = ring.start_router(router)?;
            ring.routers.push(Some(stack));
        }
        for site in 0..ring.config.sites {
            for host in 0..ring.config.hosts {
                let stack = ring.start_host(site, host)?;
                ring.hosts.push(stack);
            }
        }
        Ok(ring)
    }

    /// The address of a host of the ring, counted through all sites.
    pub fn host_addr(&self, family: Family, host: usize) -> IpAddr {
        let (site, number) = (host / self.config.hosts, host % self.config.hosts);
        addr(family, site, 11 + number)
    }

    /// A router dies: its stack is dropped where it stands.
    pub fn kill(&mut self, router: usize) {
        self.routers[router] = None;
    }

    /// Takes the routes through a router out of all others, and out of the hosts beside it.
    ///
    /// # Panics
    /// When there was no such route.
    pub fn route_around(&self, dead: usize) {
        self.route_around_in_routers(dead);
        for &family in &self.config.families {
            for (host, stack) in self.hosts.iter().enumerate() {
                let site = host / self.config.hosts;
                for gateway in self.routers_of(family, site) {
                    if gateway.0 == dead {
                        remove(stack, &any(family), gateway.1);
                    }
                }
            }
        }
    }

    /// Takes the routes through a router out of all other routers.
    ///
    /// # Panics
    /// When there was no such route.
    pub fn route_around_in_routers(&self, dead: usize) {
        for &family in &self.config.families {
            for router in (0..self.config.sites).filter(|&router| router != dead) {
                self.avoid(family, router, dead);
            }
        }
    }

    fn avoid(&self, family: Family, router: usize, dead: usize) {
        let Some(stack) = &self.routers[router] else { return };
        for (site, way, _) in self.ways_of(router) {
            if self.crossed(router, site, way).contains(&dead) {
                remove(stack, &net(family, site), self.gateway(family, router, way));
            }
        }
    }

    fn start_router(&self, router: usize) -> io::Result<Stack> {
        let next = self.after(router);
        let mut builder = Stack::builder().config(self.config.inet.clone());
        builder = builder.forwarding(Forwarding::On);
        for (site, number) in [(router, 1), (next, 2)] {
            builder = builder.interface(self.interface(site, number));
        }
        let stack = builder.start_in(&self.world.host(format!("r{router}")))?;
        let inet = stack.inet().expect("a stack of its own");
        for &family in &self.config.families {
            for (site, way, hops) in self.ways_of(router) {
                let iface = IfIndex(if way == Way::Down { 2 } else { 3 });
                let gateway = self.gateway(family, router, way);
                let route = Route::via(net(family, site), iface, gateway);
                inet.add_route(route.with_metric(hops as u32))?;
            }
        }
        Ok(stack)
    }

    fn start_host(&self, site: usize, host: usize) -> io::Result<Stack> {
        let interface = self.interface(site, 11 + host);
        let builder = Stack::builder().config(self.config.inet.clone()).interface(interface);
        let stack = builder.start_in(&self.world.host(format!("h{site}.{host}")))?;
        let inet = stack.inet().expect("a stack of its own");
        for &family in &self.config.families {
            for (metric, (_, gateway)) in (1..).zip(self.routers_of(family, site)) {
                let route = Route::via(any(family), IfIndex(2), gateway);
                inet.add_route(route.with_metric(metric))?;
            }
        }
        Ok(stack)
    }

    fn interface(&self, site: usize, number: usize) -> InterfaceSpec {
        let mut interface = InterfaceSpec::new(self.sites[site].next_link());
        for &family in &self.config.families {
            let bits = if family == Family::Inet { 24 } else { 64 };
            interface = interface.addr(&format!("{}/{bits}", addr(family, site, number)));
        }
        interface
    }

    /// The routers of a site, with their addresses there.
    fn routers_of(&self, family: Family, site: usize) -> [(usize, IpAddr); 2] {
        let before = (site + self.config.sites - 1) % self.config.sites;
        [(site, addr(family, site, 1)), (before, addr(family, site, 2))]
    }

    /// Every site that a router is not on, both ways round, with the routers that are crossed.
    fn ways_of(&self, router: usize) -> Vec<(usize, Way, usize)> {
        let sites = self.config.sites;
        let away = (0..sites).filter(|&site| site != router && site != self.after(router));
        away.flat_map(|site| {
            [Way::Up, Way::Down].map(|way| (site, way, self.crossed(router, site, way).len()))
        })
        .collect()
    }

    /// The routers that a packet to a site crosses behind this one.
    fn crossed(&self, router: usize, site: usize, way: Way) -> Vec<usize> {
        let sites = self.config.sites;
        match way {
            // Router m leads from site m to site m + 1.
            Way::Up => {
                (1..sites).map(|n| (router + n) % sites).take_while(|&m| m != site).collect()
            }
            Way::Down => {
                let mut crossed = Vec::new();
                let mut at = router;
                while at != site {
                    at = (at + sites - 1) % sites;
                    crossed.push(at);
                }
                crossed
            }
        }
    }

    /// The neighbour of a router that leads on.
    fn gateway(&self, family: Family, router: usize, way: Way) -> IpAddr {
        match way {
            Way::Up => addr(family, self.after(router), 1),
            Way::Down => addr(family, router, 2),
        }
    }

    fn after(&self, router: usize) -> usize {
        (router + 1) % self.config.sites
    }
}

fn addr(family: Family, site: usize, number: usize) -> IpAddr {
    let text = match family {
        Family::Inet => format!("10.20.{site}.{number}"),
        _ => format!("fd00:20:{site}::{number}"),
    };
    text.parse().expect("an address")
}

fn net(family: Family, site: usize) -> IpCidr {
    let bits = if family == Family::Inet { 24 } else { 64 };
    IpCidr::new(addr(family, site, 0), bits).expect("a network")
}

fn any(family: Family) -> IpCidr {
    let text = if family == Family::Inet { "0.0.0.0/0" } else { "::/0" };
    text.parse().expect("a network")
}

fn remove(stack: &Stack, dst: &IpCidr, gateway: IpAddr) {
    let selector = RouteSelector { gateway: Some(gateway), ..RouteSelector::ANY };
    let removed = stack.inet().expect("a stack of its own").remove_route(dst, selector);
    assert!(removed, "there was a route to {dst} by {gateway}");
}
