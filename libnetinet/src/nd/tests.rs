//! Autoconfiguration as a machine: time goes by, routers speak, addresses come and go.

use std::net::IpAddr;

use libnet::iface::{AdvertisedPrefix, RouterPreference};
use libnet::route::RouteKind;

use super::message::{Message, RouterAdvertisement};
use super::option::{Lifetime, PrefixInfo};
use super::*;
use crate::config::InterfaceIds;
use crate::neighbour::Times;
use crate::snapshot::{AddressOrigin, AddressState};

mod settings;

const ETH: IfIndex = IfIndex(2);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

struct Sim {
    nd: Nd,
    now: Instant,
    said: Vec<(Instant, Say)>,
    times: Vec<Times>,
    routes: Vec<Route>,
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn prefix(text: &str, valid: u32, preferred: u32) -> PrefixInfo {
    let (addr, bits) = text.split_once('/').unwrap();
    PrefixInfo {
        prefix: ip(addr),
        bits: bits.parse().unwrap(),
        on_link: true,
        autonomous: true,
        valid: Lifetime(valid),
        preferred: Lifetime(preferred),
    }
}

fn says(lifetime_secs: u16, prefixes: &[PrefixInfo]) -> RouterAdvertisement {
    let prefixes = prefixes.to_vec();
    RouterAdvertisement { lifetime_secs, prefixes, ..RouterAdvertisement::default() }
}

impl Sim {
    fn new(config: NdConfig) -> Self {
        Sim::seeded(config, 7)
    }

    /// A host that looks for routers.
    fn seeded(config: NdConfig, seed: u8) -> Self {
        let mut sim = Sim::silent(config, seed);
        sim.with(|nd, now, out| nd.start_autoconf(now, ETH, out));
        sim
    }

    /// An interface that takes part and does nothing yet.
    fn silent(config: NdConfig, seed: u8) -> Self {
        let nd = Nd::new(config, [seed; 32]);
        let now = Instant::from_millis(1_000);
        let mut sim = Sim { nd, now, said: Vec::new(), times: Vec::new(), routes: Vec::new() };
        sim.with(|nd, now, out| nd.join(now, ETH, MAC, 1_500, out));
        sim
    }

    fn with(&mut self, call: impl FnOnce(&mut Nd, Instant, &mut Outcome)) {
        let mut out = Outcome::default();
        call(&mut self.nd, self.now, &mut out);
        self.said.extend(out.say.into_iter().map(|say| (self.now, say)));
        self.times.extend(out.times.into_iter().map(|(_, times)| times));
        let (new, gone) = self.nd.take_routes();
        self.routes.retain(|route| !gone.contains(route));
        self.routes.extend(new);
    }

    fn run(&mut self, secs: u32) {
        let end = self.now + secs * Duration::from_secs(1);
        while let Some(at) = self.nd.next_deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.with(|nd, now, out| nd.expire(now, out));
        }
        self.now = end;
    }

    fn hear(&mut self, router: Ipv6Addr, said: &RouterAdvertisement) {
        self.with(|nd, now, out| {
            nd.on(now, ETH, out, |link, ctx| {
                assert!(link.hear_router(ctx, router, said), "it listens");
            });
        });
    }

    fn addresses(&self, origin: AddressOrigin) -> Vec<AddressEntry> {
        let all = self.nd.addresses(self.now, ETH).into_iter();
        all.filter(|entry| entry.origin == origin).collect()
    }

    fn states(&self, origin: AddressOrigin) -> Vec<AddressState> {
        self.addresses(origin).iter().map(|entry| entry.state).collect()
    }

    /// When questions for routers were asked, in seconds since the start.
    fn solicitations(&self) -> Vec<u64> {
        let asked = self
            .said
            .iter()
            .filter(|(_, say)| matches!(say.message, Message::RouterSolicitation(_)));
        asked.map(|(at, _)| at.as_millis() / 1_000 - 1).collect()
    }

    fn advertisements(&self) -> Vec<&RouterAdvertisement> {
        let said = self.said.iter().filter_map(|(_, say)| match &say.message {
            Message::RouterAdvertisement(said) => Some(&**said),
            _ => None,
        });
        said.collect()
    }

    fn shown_routes(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .routes
            .iter()
            .filter(|route| route.kind == RouteKind::Unicast)
            .map(|route| match route.gateway {
                Some(gateway) => format!("{} via {gateway}", route.dst),
                None => route.dst.to_string(),
            })
            .collect();
        all.sort();
        all
    }
}

#[test]
fn an_address_is_made_of_a_prefix_and_is_preferred_deprecated_and_gone() {
    let mut sim = Sim::new(NdConfig::default());
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 3 * HOUR, 2 * HOUR)]));
    assert_eq!(sim.states(AddressOrigin::Autonomous), [AddressState::Optimistic]);
    sim.run(3);
    let [entry] = &sim.addresses(AddressOrigin::Autonomous)[..] else { panic!("one address") };
    assert_eq!(entry.state, AddressState::Preferred);
    let IpAddr::V6(addr) = entry.cidr.addr() else { panic!("an IPv6 address") };
    assert_eq!(option::masked(addr, 64), ip("2001:db8::"));
    assert_eq!(entry.preferred_for, Some(Duration::from_secs(7_197)));
    let host = IpCidr::host(entry.cidr.addr());
    assert!(sim.routes.iter().any(|r| r.dst == host && r.kind == RouteKind::Local));
    let routes = ["2001:db8::/64", "::/0 via fe80::1", "fe80::/64"];
    assert_eq!(sim.shown_routes(), routes);
    sim.run(2 * HOUR);
    assert_eq!(sim.states(AddressOrigin::Autonomous), [AddressState::Deprecated]);
    let (addrs, six) = sim.nd.config_of(sim.now, ETH);
    assert!(addrs.iter().any(|cidr| cidr.addr() == IpAddr::V6(addr)), "still ours");
    assert!(six.traits_of(addr).deprecated);
    sim.run(HOUR);
    assert_eq!(sim.states(AddressOrigin::Autonomous), []);
    assert_eq!(sim.shown_routes(), ["fe80::/64"], "and nothing is left of the router");
    assert!(!sim.routes.iter().any(|route| route.dst == host));
}

#[test]
fn prefixes_that_make_no_addresses() {
    let mut sim = Sim::new(NdConfig::default());
    let mut not_autonomous = prefix("2001:db8:4::/64", DAY, DAY);
    not_autonomous.autonomous = false;
    sim.hear(
        ROUTER,
        &says(
            1_800,
            &[
                prefix("fe80::/64", DAY, DAY),
                prefix("2001:db8:1::/64", HOUR, DAY),
                prefix("2001:db8:2::/64", 0, 0),
                prefix("2001:db8:3::/63", DAY, DAY),
                not_autonomous,
            ],
        ),
    );
    assert_eq!(sim.states(AddressOrigin::Autonomous), []);
}

#[test]
fn the_same_seed_gives_the_same_addresses_and_another_other_ones() {
    let addrs = |seed, prefixes: &[PrefixInfo]| {
        let mut sim = Sim::seeded(NdConfig::default(), seed);
        sim.hear(ROUTER, &says(1_800, prefixes));
        let all = sim.nd.addresses(sim.now, ETH).into_iter();
        let mut all: Vec<IpAddr> = all.map(|entry| entry.cidr.addr()).collect();
        all.sort();
        all
    };
    let (here, there) = (prefix("2001:db8:1::/64", DAY, DAY), prefix("2001:db8:2::/64", DAY, DAY));
    let once = addrs(1, &[here, there]);
    assert_eq!(addrs(1, &[there, here]), once, "whatever came before");
    let ident = |addr: &IpAddr| match addr {
        IpAddr::V6(addr) => addr.to_bits() as u64,
        IpAddr::V4(_) => 0,
    };
    assert_ne!(ident(&once[0]), ident(&once[1]), "unlike in each network");
    assert!(addrs(2, &[here, there]).iter().all(|addr| !once.contains(addr)));
}

#[test]
fn hardware_identifiers_are_used_where_they_are_asked_for() {
    let config = NdConfig { interface_ids: InterfaceIds::Hardware, ..NdConfig::default() };
    let mut sim = Sim::new(config);
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", DAY, DAY)]));
    let addr = sim.addresses(AddressOrigin::Autonomous)[0].cidr.addr();
    assert_eq!(addr, IpAddr::V6(ip("2001:db8::ff:fe00:1")));
}

#[test]
fn routers_are_asked_for_ever_more_seldom_until_one_is_heard_and_again_when_it_goes() {
    let mut sim = Sim::new(NdConfig::default());
    sim.run(2 * HOUR);
    let asked = sim.solicitations();
    assert_eq!(asked[0], 0, "within a second");
    assert!((3..=5).contains(&asked[1]), "{asked:?}");
    assert!(asked.windows(3).all(|w| w[2] - w[1] > w[1] - w[0]), "{asked:?}");
    sim.hear(ROUTER, &says(0, &[prefix("2001:db8::/64", DAY, DAY)]));
    sim.run(3 * HOUR);
    assert!(sim.solicitations().len() > asked.len(), "one that is no default router is not enough");
    sim.said.clear();
    sim.hear(ROUTER, &says(1_800, &[]));
    sim.run(1_799);
    assert_eq!(sim.solicitations().len(), 0);
    sim.run(10);
    assert!(!sim.solicitations().is_empty(), "its time is over");
}

#[test]
fn who_stops_being_a_router_takes_its_routes_along() {
    let mut sim = Sim::new(NdConfig::default());
    sim.hear(ROUTER, &says(1_800, &[]));
    sim.hear(ip("fe80::2"), &says(1_800, &[]));
    let dst = ip("2001:db8:9::9");
    sim.with(|nd, now, out| nd.redirect(now, ETH, dst.into(), ROUTER.into(), out));
    assert_eq!(
        sim.shown_routes(),
        ["2001:db8:9::9/128 via fe80::1", "::/0 via fe80::1", "::/0 via fe80::2", "fe80::/64"]
    );
    sim.with(|nd, now, out| nd.forget_router(now, ETH, ROUTER, out));
    assert_eq!(sim.shown_routes(), ["::/0 via fe80::2", "fe80::/64"]);
}

#[test]
fn redirects_are_forgotten_after_a_while() {
    let mut sim = Sim::new(NdConfig::default());
    let dst = ip("2001:db8:9::9");
    sim.with(|nd, now, out| nd.redirect(now, ETH, dst.into(), dst.into(), out));
    assert_eq!(sim.shown_routes(), ["2001:db8:9::9/128", "fe80::/64"]);
    sim.run(600);
    assert_eq!(sim.shown_routes(), ["fe80::/64"]);
}

#[test]
fn parameters_are_taken_where_they_make_sense() {
    let mut sim = Sim::new(NdConfig::default());
    let said = |hop_limit, mtu, reachable, retransmit| RouterAdvertisement {
        hop_limit,
        mtu: Some(mtu),
        reachable: Duration::from_millis(reachable),
        retransmit: Duration::from_millis(retransmit),
        ..says(60, &[])
    };
    let parameters = |sim: &Sim| {
        let (_, six) = sim.nd.config_of(sim.now, ETH);
        (six.hop_limit, six.mtu)
    };
    sim.hear(ROUTER, &said(17, 1_400, 10_000, 2_000));
    assert_eq!(parameters(&sim), (Some(17), Some(1_400)));
    sim.hear(ROUTER, &said(0, 1_279, 0, 0));
    assert_eq!(parameters(&sim), (Some(17), Some(1_400)), "what is not said stays");
    sim.hear(ROUTER, &said(0, 1_501, 4_000_000, 0));
    assert_eq!(parameters(&sim), (Some(17), Some(1_400)), "more than the link carries");
    for times in &sim.times[1..] {
        assert!((5_000..=15_000).contains(&times.reachable.as_millis()), "{times:?}");
        assert_eq!(times.retransmit, Duration::from_secs(2));
    }
    assert!((15_000..=45_000).contains(&sim.times[0].reachable.as_millis()));
    sim.hear(ROUTER, &said(0, 1_400, 0, 1));
    let least = sim.times.last().unwrap().retransmit;
    assert_eq!(least, Duration::from_millis(10), "nobody makes us ask a thousand times a second");
}

#[test]
fn reachable_times_are_drawn_anew_after_two_hours() {
    let mut sim = Sim::new(NdConfig::default());
    for _ in 0..120 {
        sim.run(120);
        sim.hear(ROUTER, &says(1_800, &[]));
    }
    assert!((2..=4).contains(&sim.times.len()), "once at the start, twice in four hours");
    assert_ne!(sim.times[0], sim.times[1]);
}

#[test]
fn a_flood_of_advertisements_stays_within_bounds() {
    let config = NdConfig::default();
    let mut sim = Sim::new(config.clone());
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", DAY, DAY)]));
    let first = sim.addresses(AddressOrigin::Autonomous)[0].cidr;
    for n in 0..20_000u32 {
        let bits = 0x2002 << 112 | u128::from(n) << 64;
        let mut flood = prefix("::/64", DAY, DAY);
        flood.prefix = Ipv6Addr::from_bits(bits);
        let router = Ipv6Addr::from_bits(ROUTER.to_bits() + u128::from(n));
        sim.hear(router, &says(1_800, &[flood]));
    }
    let all = sim.nd.addresses(sim.now, ETH);
    assert_eq!(all.len(), config.max_addresses);
    assert!(all.iter().any(|entry| entry.cidr == first), "what was there stays");
    assert_eq!(sim.nd.routers(sim.now).len(), config.max_routers);
    // A local route for each address, the link's own, prefixes and default routes.
    let most = config.max_addresses + 1 + config.max_prefixes + config.max_routers;
    assert!(sim.routes.len() <= most, "{} routes", sim.routes.len());
}

fn temporary() -> NdConfig {
    let mut config = NdConfig::default();
    config.temporary.enabled = true;
    config
}

#[test]
fn temporary_addresses_are_renewed_before_they_are_deprecated_and_do_not_pile_up() {
    let mut sim = Sim::new(temporary());
    let mut seen = std::collections::BTreeSet::new();
    for hour in 0..24 * 14 {
        sim.hear(ROUTER, &says(9_000, &[prefix("2001:db8::/64", 30 * DAY, 7 * DAY)]));
        sim.run(HOUR);
        let all = sim.addresses(AddressOrigin::Temporary);
        let preferred = all.iter().filter(|entry| entry.state == AddressState::Preferred);
        assert!((1..=2).contains(&preferred.count()), "hour {hour}: {all:?}");
        assert!(all.len() <= 4, "hour {hour}: {all:?}");
        let day = Some(Duration::from_secs(u64::from(DAY)));
        assert!(all.iter().all(|entry| entry.preferred_for <= day && entry.valid_for.is_some()));
        seen.extend(all.into_iter().map(|entry| entry.cidr.addr()));
    }
    assert!((14..=28).contains(&seen.len()), "a new one every 14 to 24 hours: {}", seen.len());
    assert_eq!(sim.states(AddressOrigin::Autonomous), [AddressState::Preferred]);
}

#[test]
fn temporary_addresses_live_no_longer_than_their_prefix() {
    let mut sim = Sim::new(temporary());
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 3 * HOUR, 2 * HOUR)]));
    sim.run(5);
    let [entry] = &sim.addresses(AddressOrigin::Temporary)[..] else { panic!("one address") };
    assert_eq!(entry.preferred_for, Some(Duration::from_secs(7_195)));
    sim.run(2 * HOUR);
    assert_eq!(sim.states(AddressOrigin::Temporary), [AddressState::Deprecated]);
    sim.run(HOUR);
    assert_eq!(sim.states(AddressOrigin::Temporary), []);
}

#[test]
fn a_prefix_that_is_preferred_again_has_temporary_addresses_again() {
    let mut sim = Sim::new(temporary());
    let preferred = |sim: &Sim| {
        let states = sim.states(AddressOrigin::Temporary);
        states.iter().filter(|state| **state == AddressState::Preferred).count()
    };
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, DAY)]));
    sim.run(5);
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, 0)]));
    sim.run(5);
    assert_eq!(sim.states(AddressOrigin::Temporary), [AddressState::Deprecated]);
    // Soon: the same one, which is renewed in its time; later: a new one.
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, 9 * DAY)]));
    assert_eq!((preferred(&sim), sim.addresses(AddressOrigin::Temporary).len()), (1, 1));
    sim.run(DAY + HOUR);
    assert_eq!(preferred(&sim), 1);
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, 0)]));
    sim.run(3 * DAY);
    assert_eq!(sim.states(AddressOrigin::Temporary), []);
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, 9 * DAY)]));
    sim.run(5);
    assert_eq!(preferred(&sim), 1);
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, 9 * DAY)]));
    assert_eq!(sim.addresses(AddressOrigin::Temporary).len(), 1, "one is enough");
}

#[test]
fn without_being_asked_for_none_are_temporary() {
    let mut sim = Sim::new(NdConfig::default());
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", DAY, DAY)]));
    assert_eq!(sim.states(AddressOrigin::Temporary), []);
}

#[test]
fn a_temporary_address_that_is_taken_is_replaced_and_after_four_no_more_are_made() {
    let mut sim = Sim::new(temporary());
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, 9 * DAY)]));
    for _ in 0..4 {
        let IpAddr::V6(addr) = sim.addresses(AddressOrigin::Temporary)[0].cidr.addr() else {
            panic!("an IPv6 address")
        };
        sim.with(|nd, now, out| nd.on(now, ETH, out, |link, ctx| link.hear_claim(ctx, addr)));
    }
    assert_eq!(sim.states(AddressOrigin::Temporary), [AddressState::Duplicate]);
    sim.run(3 * DAY);
    assert_eq!(sim.states(AddressOrigin::Temporary), [], "RFC 8981 §3.4: it stops");
}

#[test]
fn name_servers_and_domains_are_kept_as_long_as_they_are_said_to_hold() {
    let mut sim = Sim::new(NdConfig::default());
    let mut said = says(1_800, &[]);
    said.dns_servers = vec![(60, vec![ip("2001:db8::53"), ip("fe80::53")])];
    said.dns_search = vec![(120, vec!["example.org".to_owned()])];
    sim.hear(ROUTER, &said);
    let servers = |sim: &Sim| {
        let all = sim.nd.dns_servers(sim.now).into_iter();
        all.map(|entry| entry.what).collect::<Vec<_>>()
    };
    assert_eq!(servers(&sim), [ip("2001:db8::53"), ip("fe80::53")]);
    sim.run(60);
    assert_eq!(servers(&sim), [] as [Ipv6Addr; 0]);
    assert_eq!(sim.nd.dns_search(sim.now)[0].what, "example.org");
    said.dns_search[0].0 = 0;
    sim.hear(ROUTER, &said);
    assert_eq!(sim.nd.dns_search(sim.now).len(), 0, "RFC 8106 §5.2: no longer to be used");
}

#[test]
fn a_router_speaks_once_its_address_is_sure_and_says_goodbye() {
    let mut sim = Sim::silent(NdConfig::default(), 7);
    let mut told = Advertise::default();
    told.prefixes.push(AdvertisedPrefix::new("2001:db8::/64".parse().unwrap()));
    told.preference = RouterPreference::High;
    sim.with(|nd, now, out| nd.set_advertise(now, ETH, Some(told), out));
    assert_eq!(sim.advertisements().len(), 0, "its link-local address is still checked");
    sim.run(3);
    assert_eq!(sim.advertisements().len(), 1);
    sim.run(60);
    assert_eq!(sim.advertisements().len(), 3, "MAX_INITIAL_RTR_ADVERTISEMENTS");
    sim.with(|nd, now, out| nd.on(now, ETH, out, |link, ctx| link.hear_host(ctx)));
    sim.run(1);
    assert_eq!(sim.advertisements().len(), 4, "who asks is answered");
    assert!(sim.advertisements().iter().all(|said| said.lifetime_secs == 1_800));
    let heard = {
        let mut heard = true;
        sim.with(|nd, now, out| {
            nd.on(now, ETH, out, |link, ctx| {
                heard = link.hear_router(ctx, ip("fe80::9"), &says(60, &[]));
            });
        });
        heard
    };
    assert!(!heard, "RFC 4861 §6.2.7: a router does not configure itself of another");
    sim.with(|nd, now, out| nd.set_advertise(now, ETH, None, out));
    let last = sim.advertisements().pop().unwrap();
    assert_eq!((last.lifetime_secs, last.preference), (0, RouterPreference::Medium));
    sim.run(HOUR);
    assert_eq!(sim.advertisements().len(), 5, "then it is quiet");
}

#[test]
fn an_interface_that_comes_up_again_checks_its_addresses_anew() {
    let mut sim = Sim::new(NdConfig::default());
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", DAY, DAY)]));
    sim.run(10);
    sim.said.clear();
    sim.with(|nd, now, out| nd.on(now, ETH, out, |link, ctx| link.restart(ctx)));
    assert_eq!(sim.states(AddressOrigin::Autonomous), [AddressState::Optimistic]);
    sim.run(3);
    let questions =
        sim.said.iter().filter(|(_, say)| matches!(say.message, Message::NeighbourSolicitation(_)));
    assert_eq!(questions.count(), 2, "for the address and the link-local one");
    assert!(!sim.solicitations().is_empty());
}

#[test]
fn advertisements_add_up() {
    let mut sim = Sim::new(NdConfig::default());
    let mut first = says(1_800, &[prefix("2001:db8:1::/64", DAY, DAY)]);
    first.mtu = Some(1_400);
    sim.hear(ROUTER, &first);
    sim.hear(ip("fe80::2"), &says(600, &[prefix("2001:db8:2::/64", DAY, DAY)]));
    // RFC 4861 §6.3.4, §9: what is not said any more, or not by another, stays.
    sim.hear(ROUTER, &says(1_800, &[]));
    assert_eq!(sim.addresses(AddressOrigin::Autonomous).len(), 2);
    assert_eq!(
        sim.shown_routes(),
        ["2001:db8:1::/64", "2001:db8:2::/64", "::/0 via fe80::1", "::/0 via fe80::2", "fe80::/64"]
    );
    let (_, six) = sim.nd.config_of(sim.now, ETH);
    assert_eq!(six.mtu, Some(1_400));
    // What differs is as it was said last.
    let mut second = says(600, &[]);
    second.mtu = Some(1_300);
    sim.hear(ip("fe80::2"), &second);
    assert_eq!(sim.nd.config_of(sim.now, ETH).1.mtu, Some(1_300));
}

#[test]
fn every_address_is_checked_also_one_with_a_known_identifier() {
    let config = NdConfig { interface_ids: InterfaceIds::Hardware, ..NdConfig::default() };
    let mut sim = Sim::new(config);
    sim.run(5);
    sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", DAY, DAY)]));
    sim.run(5);
    let asked = sim.said.iter().filter_map(|(_, say)| match &say.message {
        Message::NeighbourSolicitation(asked) => Some(asked.target),
        _ => None,
    });
    let asked: Vec<Ipv6Addr> = asked.collect();
    assert_eq!(asked, [ip("fe80::ff:fe00:1"), ip("2001:db8::ff:fe00:1")], "RFC 4862 §5.4");
}

#[test]
fn addresses_that_stay_tell_nothing_of_the_hardware() {
    let mut sim = Sim::new(NdConfig::default());
    sim.hear(
        ROUTER,
        &says(1_800, &[prefix("2001:db8::/64", DAY, DAY), prefix("fd00::/64", DAY, DAY)]),
    );
    let all = sim.nd.addresses(sim.now, ETH).into_iter();
    let idents = all.filter_map(|entry| match entry.cidr.addr() {
        IpAddr::V6(addr) => Some(addr.to_bits() as u64),
        IpAddr::V4(_) => None,
    });
    let idents: std::collections::BTreeSet<u64> = idents.collect();
    assert_eq!(idents.len(), 3, "one of each scope, and no two alike");
    assert!(!idents.contains(&0x0000_00ff_fe00_0001), "RFC 7217 §5: all of them");
}

#[test]
fn temporary_lifetimes_that_make_no_sense_are_made_to() {
    // RFC 8981 §3.8: preferred for less long than valid, and not to be replaced at once.
    for (preferred, valid) in [(DAY, DAY), (2 * DAY, HOUR), (10, DAY), (7, DAY)] {
        let seconds = |secs: u32| Duration::from_secs(secs.into());
        let mut config = temporary();
        (config.temporary.preferred, config.temporary.valid) = (seconds(preferred), seconds(valid));
        for seed in 0..20 {
            let mut sim = Sim::seeded(config.clone(), seed);
            sim.hear(ROUTER, &says(1_800, &[prefix("2001:db8::/64", 9 * DAY, 9 * DAY)]));
            let all = sim.addresses(AddressOrigin::Temporary);
            let [entry] = &all[..] else { panic!("{preferred} s, {valid} s: {all:?}") };
            assert!(entry.preferred_for < entry.valid_for, "{entry:?}");
            assert!(entry.preferred_for > Some(seconds(5)), "REGEN_ADVANCE: {entry:?}");
        }
    }
}
