//! The route table: longest prefix first, then the lowest metric.

use std::io;
use std::net::IpAddr;

use crate::errno;
use crate::iface::{IfIndex, IpCidr};

mod spec;
mod store;
mod trie;

pub use spec::{ParseRouteError, RouteSpec};
use store::{Store, Way};
use trie::{Key, NodeId, Trie};

/// What happens to a packet that a route is chosen for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum RouteKind {
    /// Sent out of the interface, to the gateway or straight to the destination.
    Unicast,
    /// To ourselves.
    Local,
    /// To everybody on the interface's link.
    Broadcast,
    /// Refused with an error: `EHOSTUNREACH` to a sender here, ICMP to one elsewhere.
    Reject,
    /// Dropped without a word (RFC 5635 §2).
    Blackhole,
}

/// Who put a route into the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum RouteOrigin {
    /// It came with an interface's address, and goes with it.
    Connected,
    /// Configuration.
    Static,
    /// An ICMP redirect or a router's advertisement.
    Learned,
}

/// One route.
///
/// Two routes are the same if destination, metric, interface and gateway are.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Route {
    /// The destination; host bits are cleared when the route enters a table.
    pub dst: IpCidr,
    /// What happens to the packet.
    pub kind: RouteKind,
    /// The interface that it leaves by.
    pub iface: IfIndex,
    /// The neighbour that passes it on; `None`: the destination is a neighbour itself.
    pub gateway: Option<IpAddr>,
    /// Between routes to the same destination the lowest wins.
    pub metric: u32,
    /// The source address of packets whose sender has not chosen one.
    pub preferred_source: Option<IpAddr>,
    /// The largest IP packet on this route in bytes, where it is less than the interface's.
    pub mtu: Option<u32>,
    /// Who put it there.
    pub origin: RouteOrigin,
}

impl Route {
    /// A route to the neighbours of an interface, metric 0.
    pub const fn connected(dst: IpCidr, iface: IfIndex) -> Self {
        Route {
            dst,
            kind: RouteKind::Unicast,
            iface,
            gateway: None,
            metric: 0,
            preferred_source: None,
            mtu: None,
            origin: RouteOrigin::Connected,
        }
    }

    /// A configured route through a gateway, metric 0.
    pub const fn via(dst: IpCidr, iface: IfIndex, gateway: IpAddr) -> Self {
        let mut route = Route::connected(dst, iface);
        route.gateway = Some(gateway);
        route.origin = RouteOrigin::Static;
        route
    }

    /// The same route with another kind.
    #[must_use]
    pub const fn with_kind(mut self, kind: RouteKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same route with another metric.
    #[must_use]
    pub const fn with_metric(mut self, metric: u32) -> Self {
        self.metric = metric;
        self
    }

    /// The same route with another origin.
    #[must_use]
    pub const fn with_origin(mut self, origin: RouteOrigin) -> Self {
        self.origin = origin;
        self
    }

    /// The same route with a source address for whoever has not chosen one.
    #[must_use]
    pub const fn with_source(mut self, source: IpAddr) -> Self {
        self.preferred_source = Some(source);
        self
    }

    #[cfg(test)]
    fn is_same(&self, other: &Route) -> bool {
        self.dst == other.dst && is_same(&Way::of(self), &Way::of(other))
    }
}

/// Which of the routes to a destination is meant; what is `None` matches all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RouteSelector {
    /// With this metric.
    pub metric: Option<u32>,
    /// By this interface.
    pub iface: Option<IfIndex>,
    /// Through this gateway.
    pub gateway: Option<IpAddr>,
}

impl RouteSelector {
    /// Any route to the destination.
    pub const ANY: RouteSelector = RouteSelector { metric: None, iface: None, gateway: None };

    /// Is this route meant?
    pub fn matches(&self, route: &Route) -> bool {
        self.metric.is_none_or(|metric| metric == route.metric)
            && self.iface.is_none_or(|iface| iface == route.iface)
            && self.gateway.is_none_or(|gateway| Some(gateway) == route.gateway)
    }
}

/// Why a route did not enter the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The same route is there already.
    #[error("the route exists")]
    Exists,
    /// The table holds as many routes as it may.
    #[error("the route table is full")]
    Full,
    /// Gateway or source are of another address family than the destination.
    #[error("destination, gateway and source are of different address families")]
    MixedFamilies,
}

impl From<RouteError> for io::Error {
    fn from(error: RouteError) -> io::Error {
        match error {
            RouteError::Exists => errno::exists(),
            RouteError::Full => errno::no_buffers(),
            RouteError::MixedFamilies => errno::invalid(),
        }
    }
}

/// What became of a route.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RouteChange {
    /// It entered the table.
    Added(Route),
    /// It left the table.
    Removed(Route),
}

/// Bounds of a route table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteTableConfig {
    /// Routes at most, both families together.
    pub max_routes: usize,
}

impl Default for RouteTableConfig {
    fn default() -> Self {
        RouteTableConfig { max_routes: 65_536 }
    }
}

impl RouteTableConfig {
    /// A table of at most `max_routes` routes.
    pub const fn new(max_routes: usize) -> Self {
        RouteTableConfig { max_routes }
    }
}

/// The routes of a stack, both address families.
///
/// It is made for a full Internet table: a destination costs 24 or 36 bytes for each of its one or
/// two nodes, and what routes have beside their destinations is kept once for all that share it. A
/// look-up costs the bits in which prefixes around the address differ, past the first 16.
///
/// ```
/// use libnet::route::{Route, RouteTable};
/// use libnet::IfIndex;
///
/// let mut table = RouteTable::default();
/// table.insert(Route::connected("10.0.0.0/24".parse()?, IfIndex(2)))?;
/// table.insert(Route::via("0.0.0.0/0".parse()?, IfIndex(2), "10.0.0.254".parse()?))?;
/// let route = table.lookup("192.0.2.1".parse()?).expect("there is a default route");
/// assert_eq!(route.gateway, Some("10.0.0.254".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RouteTable {
    v4: Trie<u32>,
    v6: Trie<u128>,
    store: Store,
    len: usize,
    generation: u64,
    refused: u64,
    config: RouteTableConfig,
    /// Changes since they were last taken; `None`: nobody wants to know.
    changes: Option<Vec<RouteChange>>,
}

impl RouteTable {
    /// An empty table.
    pub fn new(config: RouteTableConfig) -> Self {
        RouteTable {
            v4: Trie::new(0),
            v6: Trie::new(0),
            store: Store::default(),
            len: 0,
            generation: 1,
            refused: 0,
            config,
            changes: None,
        }
    }

    /// Adds a route; among equal metrics the one that was there first goes on winning.
    ///
    /// # Errors
    /// [`RouteError`]; the table is as before then.
    pub fn insert(&mut self, route: Route) -> Result<(), RouteError> {
        check(&route)?;
        let way = Way::of(&route);
        if self.has(&route.dst, &way) {
            return Err(RouteError::Exists);
        }
        if self.len >= self.config.max_routes {
            self.refused += 1;
            return Err(RouteError::Full);
        }
        let (dst, bits) = (route.dst.network().addr(), route.dst.prefix_bits());
        match dst {
            IpAddr::V4(addr) => add(&mut self.v4, &mut self.store, addr.to_bits(), bits, way),
            IpAddr::V6(addr) => add(&mut self.v6, &mut self.store, addr.to_bits(), bits, way),
        }
        self.len += 1;
        self.generation += 1;
        if let Some(changes) = &mut self.changes {
            changes.push(RouteChange::Added(way.to(route.dst.network())));
        }
        Ok(())
    }

    /// Adds a route in place of the same one, else of the best one with the same destination and
    /// metric, if there is any; gives the old one back.
    ///
    /// # Errors
    /// [`RouteError`]; the table is as before then.
    pub fn replace(&mut self, route: Route) -> Result<Option<Route>, RouteError> {
        check(&route)?;
        let way = Way::of(&route);
        let old = self
            .take(&route.dst, |other| is_same(other, &way))
            .or_else(|| self.take(&route.dst, |other| other.metric == way.metric));
        self.insert(route)?;
        Ok(old)
    }

    /// Takes out the best route to exactly `dst` that `selector` means.
    pub fn remove(&mut self, dst: &IpCidr, selector: RouteSelector) -> Option<Route> {
        let dst = dst.network();
        self.take(&dst, |way| selector.matches(&way.to(dst)))
    }

    /// Takes out this very route, and no other to the same destination; whether it was there.
    pub fn remove_same(&mut self, route: &Route) -> bool {
        let way = Way::of(route);
        self.take(&route.dst, |other| *other == way).is_some()
    }

    /// Takes out every route that `keep` is false for, as when an interface goes; how many.
    pub fn retain(&mut self, mut keep: impl FnMut(&Route) -> bool) -> usize {
        let changes = &mut self.changes;
        let mut keep = |route: &Route| {
            let kept = keep(route);
            if let Some(changes) = changes.as_mut().filter(|_| !kept) {
                changes.push(RouteChange::Removed(route.clone()));
            }
            kept
        };
        let gone = retain(&mut self.v4, &mut self.store, &mut keep)
            + retain(&mut self.v6, &mut self.store, &mut keep);
        self.len -= gone;
        self.generation += gone as u64;
        gone
    }

    /// The route for a destination: of the longest prefix that holds it, the lowest metric.
    pub fn lookup(&self, addr: IpAddr) -> Option<Route> {
        self.lookup_where(addr, |_| true)
    }

    /// As [`lookup`](Self::lookup), among those that `usable` is true for: routes of one
    /// interface, or of those that are up.
    pub fn lookup_where(&self, addr: IpAddr, usable: impl Fn(&Route) -> bool) -> Option<Route> {
        match addr {
            IpAddr::V4(addr) => self.best(&self.v4, addr.to_bits(), usable),
            IpAddr::V6(addr) => self.best(&self.v6, addr.to_bits(), usable),
        }
    }

    /// The routes to exactly `dst`, the lowest metric first.
    pub fn routes_to(&self, dst: &IpCidr) -> impl Iterator<Item = Route> {
        let dst = dst.network();
        let ways = self.node_of(&dst).map(|id| match dst.addr() {
            IpAddr::V4(_) => self.v4.ways(id),
            IpAddr::V6(_) => self.v6.ways(id),
        });
        ways.into_iter().flat_map(|ways| self.store.iter(ways)).map(move |way| way.to(dst))
    }

    /// All routes: IPv4 first, by destination, shorter prefixes first, then by metric.
    pub fn iter(&self) -> impl Iterator<Item = Route> {
        self.routes_of(&self.v4).chain(self.routes_of(&self.v6))
    }

    /// How many routes there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Holds no route?
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Grows with every change; what was looked up before is stale when it has.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many routes were refused because the table was full.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Bytes of memory that the routes take.
    pub fn memory_bytes(&self) -> usize {
        self.v4.memory_bytes() + self.v6.memory_bytes() + self.store.memory_bytes()
    }

    /// From now on, are changes to be told by [`take_changes`](Self::take_changes)?
    pub fn tell_changes(&mut self, tell: bool) {
        match tell {
            true if self.changes.is_none() => self.changes = Some(Vec::new()),
            true => {}
            false => self.changes = None,
        }
    }

    /// What changed since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<RouteChange> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn best<K: Key>(
        &self,
        trie: &Trie<K>,
        addr: K,
        usable: impl Fn(&Route) -> bool,
    ) -> Option<Route> {
        let mut at = Some(trie.deepest(addr));
        while let Some(id) = at {
            let ways = trie.ways(id);
            if !ways.is_none() {
                let dst = trie.dst(id);
                let mut routes = self.store.iter(ways).map(|way| way.to(dst));
                if let Some(route) = routes.find(|route| usable(route)) {
                    return Some(route);
                }
            }
            at = trie.parent(id);
        }
        None
    }

    fn routes_of<K: Key>(&self, trie: &Trie<K>) -> impl Iterator<Item = Route> {
        trie.ids().flat_map(move |id| {
            let dst = trie.dst(id);
            self.store.iter(trie.ways(id)).map(move |way| way.to(dst))
        })
    }

    fn has(&self, dst: &IpCidr, way: &Way) -> bool {
        self.routes_to(dst).any(|other| is_same(&Way::of(&other), way))
    }

    fn take(&mut self, dst: &IpCidr, meant: impl Fn(&Way) -> bool) -> Option<Route> {
        let id = self.node_of(dst)?;
        let way = match dst.addr() {
            IpAddr::V4(_) => take(&mut self.v4, &mut self.store, id, meant)?,
            IpAddr::V6(_) => take(&mut self.v6, &mut self.store, id, meant)?,
        };
        self.len -= 1;
        self.generation += 1;
        let route = way.to(dst.network());
        if let Some(changes) = &mut self.changes {
            changes.push(RouteChange::Removed(route.clone()));
        }
        Some(route)
    }

    fn node_of(&self, dst: &IpCidr) -> Option<NodeId> {
        let bits = dst.prefix_bits();
        match dst.network().addr() {
            IpAddr::V4(addr) => self.v4.exact(addr.to_bits(), bits),
            IpAddr::V6(addr) => self.v6.exact(addr.to_bits(), bits),
        }
    }
}

/// Are two routes to one destination the same?
fn is_same(a: &Way, b: &Way) -> bool {
    (a.metric, a.iface, a.gateway) == (b.metric, b.iface, b.gateway)
}

/// Refuses what mixes families.
fn check(route: &Route) -> Result<(), RouteError> {
    let is_v4 = route.dst.addr().is_ipv4();
    let mut others = route.gateway.iter().chain(&route.preferred_source);
    if others.any(|addr| addr.is_ipv4() != is_v4) {
        return Err(RouteError::MixedFamilies);
    }
    Ok(())
}

fn add<K: Key>(trie: &mut Trie<K>, store: &mut Store, prefix: K, bits: u8, way: Way) {
    let id = trie.make(prefix, bits);
    let ways = store.with(trie.ways(id), way);
    trie.set_ways(id, ways);
}

fn take<K: Key>(
    trie: &mut Trie<K>,
    store: &mut Store,
    id: NodeId,
    meant: impl Fn(&Way) -> bool,
) -> Option<Way> {
    let (rest, way) = store.without(trie.ways(id), meant)?;
    trie.set_ways(id, rest);
    trie.prune(id);
    Some(way)
}

fn retain<K: Key>(
    trie: &mut Trie<K>,
    store: &mut Store,
    keep: &mut impl FnMut(&Route) -> bool,
) -> usize {
    let mut gone = 0;
    let mut emptied = Vec::new();
    let mut at = Some(trie.first());
    while let Some(id) = at {
        let dst = trie.dst(id);
        let is_unwanted = |way: &&Way| !keep(&way.to(dst));
        let unwanted: Vec<Way> = store.iter(trie.ways(id)).filter(is_unwanted).copied().collect();
        for way in unwanted {
            let Some((rest, _)) = store.without(trie.ways(id), |other| *other == way) else {
                continue;
            };
            gone += 1;
            trie.set_ways(id, rest);
            if rest.is_none() {
                emptied.push(id);
            }
        }
        at = trie.next(id);
    }
    emptied.into_iter().for_each(|id| trie.prune(id));
    gone
}

impl Default for RouteTable {
    fn default() -> Self {
        RouteTable::new(RouteTableConfig::default())
    }
}

#[cfg(test)]
mod tests;
