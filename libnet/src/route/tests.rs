use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

fn net(text: &str) -> IpCidr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn to(dst: &str, iface: u32) -> Route {
    Route::connected(net(dst), IfIndex(iface))
}

fn chosen(table: &RouteTable, addr: &str) -> Option<u32> {
    table.lookup(ip(addr)).map(|route| route.iface.0)
}

#[test]
fn the_longest_prefix_wins() {
    let mut table = RouteTable::default();
    for (dst, iface) in [("0.0.0.0/0", 1), ("10.0.0.0/8", 2), ("10.1.0.0/16", 3), ("10.1.2.3", 4)] {
        table.insert(to(dst, iface)).unwrap();
    }
    assert_eq!(chosen(&table, "192.0.2.1"), Some(1));
    assert_eq!(chosen(&table, "10.200.0.1"), Some(2));
    assert_eq!(chosen(&table, "10.1.2.4"), Some(3));
    assert_eq!(chosen(&table, "10.1.2.3"), Some(4));
    assert_eq!(chosen(&table, "::1"), None);
}

#[test]
fn the_lowest_metric_wins_and_the_older_of_equals() {
    let mut table = RouteTable::default();
    table.insert(to("10.0.0.0/8", 1).with_metric(20)).unwrap();
    table.insert(to("10.0.0.0/8", 2).with_metric(10)).unwrap();
    table.insert(to("10.0.0.0/8", 3).with_metric(10)).unwrap();
    assert_eq!(chosen(&table, "10.0.0.1"), Some(2));
    let there = |table: &RouteTable, dst: &str| -> Vec<u32> {
        table.routes_to(&net(dst)).map(|route| route.iface.0).collect()
    };
    assert_eq!(there(&table, "10.7.7.7/8"), [2, 3, 1]);
    assert_eq!((there(&table, "10.0.0.0/9"), there(&table, "0.0.0.0/0")), (vec![], vec![]));
    let static_one = to("10.0.0.0/8", 2).with_metric(10).with_origin(RouteOrigin::Static);
    assert!(!table.remove_same(&static_one), "one that somebody else put there");
    assert!(table.remove_same(&to("10.0.0.0/8", 3).with_metric(10)));
    assert_eq!(there(&table, "10.0.0.0/8"), [2, 1]);
    table.insert(to("10.0.0.0/8", 3).with_metric(10)).unwrap();
    table.remove(
        &net("10.0.0.0/8"),
        RouteSelector { iface: Some(IfIndex(2)), ..Default::default() },
    );
    assert_eq!(chosen(&table, "10.0.0.1"), Some(3));
    table.remove(&net("10.0.0.0/8"), RouteSelector::ANY);
    assert_eq!(chosen(&table, "10.0.0.1"), Some(1));
}

#[test]
fn an_unusable_route_gives_way_to_a_shorter_prefix() {
    let mut table = RouteTable::default();
    table.insert(to("10.0.0.0/8", 1)).unwrap();
    table.insert(to("10.0.0.0/24", 2)).unwrap();
    let route = table.lookup_where(ip("10.0.0.1"), |route| route.iface != IfIndex(2)).unwrap();
    assert_eq!(route.iface, IfIndex(1));
}

#[test]
fn the_same_route_twice_is_an_error() {
    let mut table = RouteTable::default();
    table.insert(to("10.0.0.7/24", 1)).unwrap();
    assert_eq!(table.insert(to("10.0.0.9/24", 1)), Err(RouteError::Exists));
    assert_eq!(io::Error::from(RouteError::Exists).kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(table.len(), 1);
    assert_eq!(table.iter().next().unwrap().dst, net("10.0.0.0/24"));
}

#[test]
fn replace_swaps_the_route_of_the_same_metric() {
    let mut table = RouteTable::default();
    assert_eq!(table.replace(to("0.0.0.0/0", 1)), Ok(None));
    let before = table.generation();
    let old = table.replace(Route::via(net("0.0.0.0/0"), IfIndex(2), ip("10.0.0.1"))).unwrap();
    assert_eq!(old, Some(to("0.0.0.0/0", 1)));
    assert_eq!(table.len(), 1);
    assert!(table.generation() > before);
}

#[test]
fn a_full_table_refuses_and_counts() {
    let mut table = RouteTable::new(RouteTableConfig::new(1));
    table.insert(to("10.0.0.0/8", 1)).unwrap();
    assert_eq!(table.insert(to("11.0.0.0/8", 1)), Err(RouteError::Full));
    assert_eq!(table.refused(), 1);
    assert_eq!(table.replace(to("10.0.0.0/8", 2)).unwrap(), Some(to("10.0.0.0/8", 1)));
}

#[test]
fn families_do_not_mix() {
    let mut table = RouteTable::default();
    let mixed = Route::via(net("10.0.0.0/8"), IfIndex(1), ip("fe80::1"));
    assert_eq!(table.insert(mixed.clone()), Err(RouteError::MixedFamilies));
    assert_eq!(table.replace(mixed), Err(RouteError::MixedFamilies));
    assert!(table.is_empty());
}

#[test]
fn retain_takes_out_the_routes_of_an_interface() {
    let mut table = RouteTable::default();
    for (dst, iface) in [("10.0.0.0/8", 1), ("10.0.0.0/9", 2), ("fd00::/8", 1), ("::/0", 2)] {
        table.insert(to(dst, iface)).unwrap();
    }
    assert_eq!(table.retain(|route| route.iface != IfIndex(1)), 2);
    let left: Vec<String> = table.iter().map(|route| route.dst.to_string()).collect();
    assert_eq!(left, ["10.0.0.0/9", "::/0"]);
}

/// Prefixes as the global tables have them: how many of a thousand have each length.
const LENGTHS_4: &[(u8, u32)] = &[
    (8, 1),
    (13, 2),
    (16, 14),
    (18, 15),
    (19, 27),
    (20, 45),
    (21, 55),
    (22, 115),
    (23, 105),
    (24, 620),
    (32, 1),
];
const LENGTHS_6: &[(u8, u32)] =
    &[(19, 2), (29, 30), (32, 140), (36, 40), (40, 70), (44, 95), (46, 30), (48, 590), (64, 3)];

/// `count` different destinations of a family in the distribution of the Internet.
fn internet(rng: &mut ChaCha8Rng, lengths: &[(u8, u32)], v6: bool, count: usize) -> Vec<IpCidr> {
    let mut all = std::collections::BTreeSet::new();
    let total: u32 = lengths.iter().map(|(_, share)| share).sum();
    while all.len() < count {
        let mut at = rng.next_u32() % total;
        let len = lengths.iter().find_map(|&(len, share)| {
            let found = at < share;
            at = at.saturating_sub(share);
            found.then_some(len)
        });
        let len = len.unwrap();
        let addr = if v6 {
            // 2000::/3, in which the registries' blocks are dense.
            let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
            let block = u128::from(rng.next_u32() % 200) << 104;
            IpAddr::V6(Ipv6Addr::from_bits(0x2a00 << 112 | block | random >> 24))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(rng.next_u32() % 0xdf00_0000 + 0x0100_0000))
        };
        all.insert(IpCidr::new(addr, len).unwrap().network());
    }
    all.into_iter().collect()
}

/// One of a few thousand ways out, as a router with many peers has them.
fn by_a_peer(dst: IpCidr, rng: &mut ChaCha8Rng) -> Route {
    let peer = rng.next_u32() % 2_000;
    let gateway = if dst.addr().is_ipv4() {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + peer))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(peer)))
    };
    Route::via(dst, IfIndex(2 + peer % 8), gateway)
}

#[test]
fn a_full_internet_table_takes_less_than_100_mib() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut table = RouteTable::new(RouteTableConfig::new(1_200_000));
    let v4 = internet(&mut rng, LENGTHS_4, false, 1_000_000);
    let v6 = internet(&mut rng, LENGTHS_6, true, 200_000);
    for dst in v4.iter().chain(&v6) {
        table.insert(by_a_peer(*dst, &mut rng)).unwrap();
    }
    assert_eq!(table.len(), 1_200_000);
    let bytes = table.memory_bytes();
    assert!(bytes < 100 << 20, "{} MiB", bytes >> 20);
    assert!(table.v4.has_fronts() && table.v6.has_fronts());
    for dst in v4.iter().step_by(1_013).chain(v6.iter().step_by(1_013)) {
        let found = table.lookup(dst.addr()).unwrap();
        assert!(found.dst.contains(dst.addr()) && found.dst.prefix_bits() >= dst.prefix_bits());
    }
    assert_eq!(table.insert(to("192.0.2.1/32", 1)), Err(RouteError::Full));
    assert_eq!(table.retain(|_| false), 1_200_000);
    assert_eq!((table.v4.node_count(), table.v6.node_count()), (1, 1));
    assert_eq!((table.store.ways_in_use(), table.store.lists_in_use()), (0, 0));
}

/// The longest prefix of a set, tried length by length.
fn longest(all: &std::collections::BTreeMap<IpCidr, u32>, addr: IpAddr) -> Option<u32> {
    let width: u8 = if addr.is_ipv4() { 32 } else { 128 };
    (0..=width).rev().find_map(|bits| all.get(&IpCidr::new(addr, bits)?.network()).copied())
}

#[test]
fn a_large_table_agrees_with_a_map_while_it_grows_and_shrinks() {
    for (v6, lengths) in [(false, LENGTHS_4), (true, LENGTHS_6)] {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut table = RouteTable::default();
        let mut map = std::collections::BTreeMap::new();
        let all = internet(&mut rng, lengths, v6, 12_000);
        let ask = |table: &RouteTable, map: &_, rng: &mut ChaCha8Rng| {
            for _ in 0..20 {
                let near = all[rng.next_u32() as usize % all.len()].addr();
                let flip = u128::from(rng.next_u32() % 8) << (rng.next_u32() % 28);
                let addr = match near {
                    IpAddr::V4(addr) => Ipv4Addr::from_bits(addr.to_bits() ^ flip as u32).into(),
                    IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() ^ flip << 70).into(),
                };
                assert_eq!(table.lookup(addr).map(|route| route.iface.0), longest(map, addr));
            }
        };
        let mut order: Vec<IpCidr> = all.clone();
        for at in (1..order.len()).rev() {
            order.swap(at, rng.next_u32() as usize % (at + 1));
        }
        for (number, dst) in (1..).zip(&order) {
            table.insert(Route::connected(*dst, IfIndex(number))).unwrap();
            map.insert(*dst, number);
            if number % 100 == 0 {
                ask(&table, &map, &mut rng);
            }
        }
        assert!(table.iter().map(|route| route.dst).eq(map.keys().copied()));
        for (number, dst) in (1..).zip(&order) {
            assert!(table.remove(dst, RouteSelector::ANY).is_some());
            map.remove(dst);
            if number % 100 == 0 {
                ask(&table, &map, &mut rng);
            }
        }
        assert!(table.is_empty() && !table.v4.has_fronts() && !table.v6.has_fronts());
    }
}

/// A few bits only, at both ends of the address, so that prefixes nest and collide.
fn any_cidr() -> impl Strategy<Value = IpCidr> {
    let v4 = (any::<u32>(), 0..=32u8).prop_map(|(bits, len)| {
        IpCidr::new(IpAddr::V4(Ipv4Addr::from_bits(bits & 0xc000_0007)), len).unwrap()
    });
    let v6 = (any::<u128>(), 0..=128u8).prop_map(|(bits, len)| {
        IpCidr::new(IpAddr::V6(Ipv6Addr::from_bits(bits & (5 << 125 | 9))), len).unwrap()
    });
    prop_oneof![v4, v6]
}

#[derive(Clone, Debug)]
enum Op {
    Insert(IpCidr, u32, u32),
    Replace(IpCidr, u32, u32),
    Remove(IpCidr, Option<u32>, Option<u32>),
    Lookup(IpCidr),
    DropIface(u32),
}

fn any_op() -> impl Strategy<Value = Op> {
    let few = || 0..3u32;
    prop_oneof![
        4 => (any_cidr(), few(), few()).prop_map(|(dst, m, i)| Op::Insert(dst, m, i)),
        1 => (any_cidr(), few(), few()).prop_map(|(dst, m, i)| Op::Replace(dst, m, i)),
        3 => (any_cidr(), prop::option::of(few()), prop::option::of(few()))
            .prop_map(|(dst, m, i)| Op::Remove(dst, m, i)),
        4 => any_cidr().prop_map(Op::Lookup),
        1 => few().prop_map(Op::DropIface),
    ]
}

/// What the table should do, the slow way: a list in order of age.
#[derive(Default)]
struct Oracle(Vec<Route>);

impl Oracle {
    fn insert(&mut self, mut route: Route) -> Result<(), RouteError> {
        route.dst = route.dst.network();
        if self.0.iter().any(|other| other.is_same(&route)) {
            return Err(RouteError::Exists);
        }
        self.0.push(route);
        Ok(())
    }

    fn remove(&mut self, dst: &IpCidr, selector: RouteSelector) -> Option<Route> {
        let dst = dst.network();
        let all = self.0.iter().enumerate();
        let meant = all.filter(|(_, route)| route.dst == dst && selector.matches(route));
        let (at, _) = meant.min_by_key(|(_, route)| route.metric)?;
        Some(self.0.remove(at))
    }

    fn lookup(&self, addr: IpAddr) -> Option<&Route> {
        let holding = self.0.iter().filter(|route| route.dst.contains(addr));
        holding.min_by_key(|route| (128 - route.dst.prefix_bits(), route.metric))
    }
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_plain_list(ops in prop::collection::vec(any_op(), 1..120)) {
        let mut table = RouteTable::default();
        let mut oracle = Oracle::default();
        for op in ops {
            match op {
                Op::Insert(dst, metric, iface) => {
                    let route = Route::connected(dst, IfIndex(iface)).with_metric(metric);
                    prop_assert_eq!(table.insert(route.clone()), oracle.insert(route));
                }
                Op::Replace(dst, metric, iface) => {
                    let route = Route::connected(dst, IfIndex(iface)).with_metric(metric);
                    let selector = RouteSelector { metric: Some(metric), ..RouteSelector::ANY };
                    let same = RouteSelector { iface: Some(IfIndex(iface)), ..selector };
                    let old = oracle.remove(&dst, same).or_else(|| oracle.remove(&dst, selector));
                    let expected = oracle.insert(route.clone()).map(|()| old);
                    let replaced = table.replace(route);
                    prop_assert_eq!(replaced, expected);
                }
                Op::Remove(dst, metric, iface) => {
                    let selector =
                        RouteSelector { metric, iface: iface.map(IfIndex), gateway: None };
                    prop_assert_eq!(table.remove(&dst, selector), oracle.remove(&dst, selector));
                }
                Op::Lookup(addr) => {
                    prop_assert_eq!(table.lookup(addr.addr()), oracle.lookup(addr.addr()).cloned());
                }
                Op::DropIface(iface) => {
                    table.retain(|route| route.iface.0 != iface);
                    oracle.0.retain(|route| route.iface.0 != iface);
                }
            }
            prop_assert_eq!(table.len(), oracle.0.len());
            prop_assert_eq!(table.iter().count(), oracle.0.len());
            prop_assert!(table.v4.node_count() + table.v6.node_count() <= 2 * table.len() + 2);
        }
    }
}
