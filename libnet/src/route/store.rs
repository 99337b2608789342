//! What routes have beside their destination, each kind of it kept once.
//!
//! A table of a million prefixes has a few thousand ways out: a prefix names its ways by number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Route, RouteKind, RouteOrigin};
use crate::iface::{IfIndex, IpCidr};

/// A route without its destination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Way {
    pub(super) metric: u32,
    pub(super) iface: IfIndex,
    pub(super) gateway: Option<IpAddr>,
    pub(super) kind: RouteKind,
    preferred_source: Option<IpAddr>,
    mtu: Option<u32>,
    origin: RouteOrigin,
}

impl Way {
    /// What a route has beside its destination.
    pub(super) fn of(route: &Route) -> Way {
        let Route { dst: _, kind, iface, gateway, metric, preferred_source, mtu, origin } = *route;
        Way { metric, iface, gateway, kind, preferred_source, mtu, origin }
    }

    /// The route to a destination.
    pub(super) fn to(&self, dst: IpCidr) -> Route {
        let Way { metric, iface, gateway, kind, preferred_source, mtu, origin } = *self;
        Route { dst, kind, iface, gateway, metric, preferred_source, mtu, origin }
    }
}

/// Number of a way.
pub(super) type WayId = u32;

/// The ways to one destination, in 32 bits: none, one by its number, or a list of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ways(u32);

const LIST: u32 = 1 << 31;

impl Ways {
    /// None.
    pub(super) const NONE: Ways = Ways(u32::MAX);

    /// Are there none?
    pub(super) fn is_none(self) -> bool {
        self == Ways::NONE
    }
}

/// All ways, and the lists of those destinations that have several.
#[derive(Debug, Default)]
pub(super) struct Store {
    ways: Vec<Slot>,
    free_ways: Vec<WayId>,
    numbers: BTreeMap<Way, WayId>,
    /// By metric, then by age.
    lists: Vec<Vec<WayId>>,
    free_lists: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    way: Way,
    /// How many destinations have it.
    users: u32,
}

impl Store {
    /// The ways of a destination, the lowest metric first, the older of equals first.
    pub(super) fn iter(&self, ways: Ways) -> impl Iterator<Item = &Way> {
        self.ids(ways).map(|id| &self.ways[id as usize].way)
    }

    /// The ways with one more, behind those of the same metric.
    pub(super) fn with(&mut self, ways: Ways, way: Way) -> Ways {
        let at = self.iter(ways).take_while(|other| other.metric <= way.metric).count();
        let id = self.intern(way);
        if ways.is_none() {
            return Ways(id);
        }
        if ways.0 & LIST != 0 {
            self.lists[(ways.0 & !LIST) as usize].insert(at, id);
            return ways;
        }
        let mut list = Vec::with_capacity(2);
        list.push(ways.0);
        list.insert(at, id);
        self.add_list(list)
    }

    /// The ways without the first that `meant` is true for, and that one.
    pub(super) fn without(
        &mut self,
        ways: Ways,
        meant: impl Fn(&Way) -> bool,
    ) -> Option<(Ways, Way)> {
        let at = self.iter(ways).position(meant)?;
        let id = self.ids(ways).nth(at)?;
        let way = self.ways[id as usize].way;
        self.release(id);
        if ways.0 & LIST == 0 {
            return Some((Ways::NONE, way));
        }
        let number = ways.0 & !LIST;
        let list = &mut self.lists[number as usize];
        list.remove(at);
        if let [only] = list[..] {
            // One alone needs no list.
            *list = Vec::new();
            self.free_lists.push(number);
            return Some((Ways(only), way));
        }
        Some((ways, way))
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let lists: usize = self.lists.iter().map(|list| list.capacity() * size_of::<WayId>()).sum();
        self.ways.capacity() * size_of::<Slot>()
            + (self.free_ways.capacity() + self.free_lists.capacity()) * size_of::<u32>()
            // A node of the tree is between half full and full.
            + self.numbers.len() * 2 * (size_of::<Way>() + size_of::<WayId>())
            + self.lists.capacity() * size_of::<Vec<WayId>>()
            + lists
    }

    fn ids(&self, ways: Ways) -> impl Iterator<Item = WayId> {
        let is_list = !ways.is_none() && ways.0 & LIST != 0;
        let list = if is_list { &self.lists[(ways.0 & !LIST) as usize][..] } else { &[] };
        let one = (!ways.is_none() && !is_list).then_some(ways.0);
        one.into_iter().chain(list.iter().copied())
    }

    fn intern(&mut self, way: Way) -> WayId {
        if let Some(&id) = self.numbers.get(&way) {
            self.ways[id as usize].users += 1;
            return id;
        }
        let slot = Slot { way, users: 1 };
        let id = match self.free_ways.pop() {
            Some(id) => {
                self.ways[id as usize] = slot;
                id
            }
            None => {
                self.ways.push(slot);
                (self.ways.len() - 1) as WayId
            }
        };
        self.numbers.insert(way, id);
        id
    }

    fn release(&mut self, id: WayId) {
        let slot = &mut self.ways[id as usize];
        slot.users -= 1;
        if slot.users == 0 {
            let way = slot.way;
            self.numbers.remove(&way);
            self.free_ways.push(id);
        }
    }

    fn add_list(&mut self, list: Vec<WayId>) -> Ways {
        let number = match self.free_lists.pop() {
            Some(number) => {
                self.lists[number as usize] = list;
                number
            }
            None => {
                self.lists.push(list);
                (self.lists.len() - 1) as u32
            }
        };
        Ways(number | LIST)
    }

    #[cfg(test)]
    pub(super) fn ways_in_use(&self) -> usize {
        self.numbers.len()
    }

    #[cfg(test)]
    pub(super) fn lists_in_use(&self) -> usize {
        self.lists.len() - self.free_lists.len()
    }
}
