//! When a router speaks, and what it says: RFC 4861 §6.2.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libnet::ethernet::MacAddr;
use libnet::iface::{Advertise, AdvertisedPrefix, RouterPreference};
use libnet::time::Instant;

use super::message::RouterAdvertisement;
use super::option::{Lifetime, MAX_SERVERS, PrefixInfo, RouteInfo, SURE_DOMAINS};
use super::solicit::part_of;

/// The router advertisements of one interface.
#[derive(Debug)]
pub(crate) struct Advertiser {
    says: Advertise,
    /// How many have been sent, up to those that come faster.
    sent: u8,
    last: Option<Instant>,
    due: Option<Instant>,
    /// A host asked: sooner than the next one is due anyway.
    asked: Option<Instant>,
}

/// RFC 4861 §10.
const MAX_INITIAL_RTR_ADVERT_INTERVAL: Duration = Duration::from_secs(16);
const MAX_INITIAL_RTR_ADVERTISEMENTS: u8 = 3;
const MIN_DELAY_BETWEEN_RAS: Duration = Duration::from_secs(3);
const MAX_RA_DELAY_TIME: Duration = Duration::from_millis(500);
/// RFC 4861 §6.2.1: MaxRtrAdvInterval, and AdvDefaultLifetime at most.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(4);
const LONGEST_INTERVAL: Duration = Duration::from_secs(1_800);
/// RFC 8319 §4 lets it be any that the field holds.
const LONGEST_LIFETIME: Duration = Duration::from_secs(65_535);
/// RFC 4861 §6.2.1: AdvReachableTime.
const LONGEST_REACHABLE_TIME: Duration = Duration::from_secs(3_600);

impl Advertiser {
    /// Speaks for the first time at once.
    pub(crate) fn start(now: Instant, says: Advertise) -> Self {
        Advertiser { says, sent: 0, last: None, due: Some(now), asked: None }
    }

    /// Speaks as if for the first time, as soon as it may (RFC 4861 §6.2.4, §6.2.6).
    pub(crate) fn again(&mut self, now: Instant) {
        let soonest = self.last.map_or(now, |last| last + MIN_DELAY_BETWEEN_RAS).max(now);
        (self.sent, self.due, self.asked) = (0, Some(soonest), None);
    }

    /// Whether to speak now; sets when to speak next. RFC 4861 §6.2.4.
    pub(crate) fn expire(&mut self, now: Instant, random: u64) -> bool {
        if self.next_deadline().is_none_or(|due| due > now) {
            return false;
        }
        self.last = Some(now);
        self.asked = None;
        self.sent = self.sent.saturating_add(1);
        let most = self.interval();
        // MinRtrAdvInterval: 0.33 × MaxRtrAdvInterval, but at least 3 s.
        let least = (most / 3).max(MIN_DELAY_BETWEEN_RAS).min(most);
        let mut wait = least + part_of(most - least, random);
        if self.sent < MAX_INITIAL_RTR_ADVERTISEMENTS {
            // Those who come up with us are to find us soon.
            wait = wait.min(MAX_INITIAL_RTR_ADVERT_INTERVAL);
        }
        self.due = Some(now + wait);
        true
    }

    /// A host asks: answered to all, after a random delay and not more than every three seconds.
    /// RFC 4861 §6.2.6.
    pub(crate) fn ask(&mut self, now: Instant, random: u64) {
        if self.asked.is_some() || self.due.is_none() {
            return;
        }
        let soonest = self.last.map_or(now, |last| last + MIN_DELAY_BETWEEN_RAS).max(now);
        self.asked = Some(soonest + part_of(MAX_RA_DELAY_TIME, random));
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match (self.due, self.asked) {
            (Some(due), Some(asked)) => Some(due.min(asked)),
            (due, _) => due,
        }
    }

    /// The message; `ours` are the interface's addresses with their prefixes, `link_mtu` what it
    /// carries.
    pub(crate) fn message(
        &self,
        mac: MacAddr,
        ours: &[(Ipv6Addr, u8)],
        link_mtu: u32,
    ) -> RouterAdvertisement {
        let says = &self.says;
        // RFC 4861 §6.2.1: zero, or no shorter than until the next advertisement.
        let lifetime = says.lifetime.unwrap_or(self.interval() * 3);
        let lifetime = if lifetime.is_zero() { lifetime } else { lifetime.max(self.interval()) };
        let lifetime = lifetime.min(LONGEST_LIFETIME);
        let dns_lifetime = secs(self.interval() * 3);
        RouterAdvertisement {
            hop_limit: says.hop_limit,
            managed: says.managed,
            other: says.other,
            // RFC 4191 §2.2: who is no default router is not preferred as one.
            preference: if lifetime.is_zero() { RouterPreference::Medium } else { says.preference },
            lifetime_secs: secs(lifetime) as u16,
            reachable: says.reachable.min(LONGEST_REACHABLE_TIME),
            retransmit: says.retransmit,
            source_mac: Some(mac),
            mtu: says.mtu.filter(|mtu| (super::MIN_MTU..=link_mtu).contains(mtu)),
            prefixes: self.prefixes(ours),
            routes: self.routes(),
            // RFC 8106 §5.1: at least three intervals, so that one lost message loses nothing.
            // More than an option holds go into several (RFC 8106 §5.1).
            dns_servers: says
                .dns_servers
                .chunks(MAX_SERVERS)
                .map(|servers| (dns_lifetime, servers.to_vec()))
                .collect(),
            dns_search: says
                .dns_search
                .chunks(SURE_DOMAINS)
                .map(|domains| (dns_lifetime, domains.to_vec()))
                .collect(),
        }
    }

    /// The last message of a router that stops: RFC 4861 §6.2.5.
    ///
    /// DEVIATES RFC 4861 §6.2.6: it comes at once, even if the one before it was sent less than
    /// three seconds ago. Whoever stops does not wait.
    pub(crate) fn farewell(
        &mut self,
        now: Instant,
        mac: MacAddr,
        ours: &[(Ipv6Addr, u8)],
        link_mtu: u32,
    ) -> RouterAdvertisement {
        self.last = Some(now);
        let mut last = self.message(mac, ours, link_mtu);
        last.make_host();
        last
    }

    /// MaxRtrAdvInterval.
    fn interval(&self) -> Duration {
        self.says.interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
    }

    fn prefixes(&self, ours: &[(Ipv6Addr, u8)]) -> Vec<PrefixInfo> {
        if !self.says.prefixes.is_empty() {
            return self.says.prefixes.iter().filter_map(info_of).collect();
        }
        let mut all: Vec<PrefixInfo> = Vec::new();
        for &(addr, bits) in ours {
            let network = libnet::iface::IpCidr::new(IpAddr::V6(addr), bits);
            let info = network.and_then(|network| info_of(&AdvertisedPrefix::new(network)));
            // RFC 4861 §6.2.3: not the link-local prefix.
            let info = info.filter(|info| !info.prefix.is_unicast_link_local() && bits < 128);
            all.extend(info.filter(|info| !all.contains(info)));
        }
        all
    }

    fn routes(&self) -> Vec<RouteInfo> {
        let routes = self.says.routes.iter().filter_map(|route| {
            let IpAddr::V6(prefix) = route.prefix.network().addr() else { return None };
            Some(RouteInfo {
                prefix,
                bits: route.prefix.prefix_bits(),
                preference: route.preference,
                lifetime: lifetime_of(route.lifetime),
            })
        });
        routes.collect()
    }
}

fn info_of(prefix: &AdvertisedPrefix) -> Option<PrefixInfo> {
    let IpAddr::V6(network) = prefix.prefix.network().addr() else { return None };
    let valid = lifetime_of(prefix.valid);
    Some(PrefixInfo {
        prefix: network,
        bits: prefix.prefix.prefix_bits(),
        on_link: prefix.on_link,
        autonomous: prefix.autonomous,
        valid,
        // RFC 4861 §6.2.1: no longer than it is valid.
        preferred: lifetime_of(prefix.preferred).min(valid),
    })
}

fn lifetime_of(time: Option<Duration>) -> Lifetime {
    time.map_or(Lifetime::FOREVER, |time| Lifetime(secs(time).min(u32::MAX - 1)))
}

fn secs(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nd::message::{Envelope, Message};

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// When it speaks in the first so many seconds, in ms.
    fn spoken(advertiser: &mut Advertiser, seconds: u64, random: u64) -> Vec<u64> {
        let mut all = Vec::new();
        let end = Instant::from_millis(seconds * 1_000);
        while let Some(at) = advertiser.next_deadline().filter(|&at| at <= end) {
            assert!(advertiser.expire(at, random));
            all.push(at.as_millis());
        }
        all
    }

    #[test]
    fn the_first_three_are_sixteen_seconds_apart_and_then_it_is_the_interval() {
        let mut advertiser = Advertiser::start(Instant::ZERO, Advertise::default());
        let at = spoken(&mut advertiser, 3_600, u64::MAX / 3);
        assert_eq!(at[..3], [0, 16_000, 32_000]);
        let gaps = at.windows(2).skip(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.clone().all(|gap| (200_000..=600_000).contains(&gap)), "{at:?}");
        assert!(gaps.count() >= 5);
    }

    #[test]
    fn who_asks_is_answered_within_half_a_second_but_not_more_than_every_three() {
        let mut advertiser = Advertiser::start(Instant::ZERO, Advertise::default());
        assert!(advertiser.expire(Instant::ZERO, 0));
        advertiser.ask(Instant::from_millis(1_000), 100_000_000);
        assert_eq!(advertiser.next_deadline(), Some(Instant::from_millis(3_100)));
        advertiser.ask(Instant::from_millis(2_000), 400_000_000);
        assert_eq!(spoken(&mut advertiser, 5, 0), [3_100], "one answer to all who ask");
        advertiser.ask(Instant::from_millis(9_000), 400_000_000);
        assert_eq!(spoken(&mut advertiser, 10, 0), [9_400]);
    }

    #[test]
    fn more_names_than_an_option_holds_are_said_in_several() {
        let mut says = Advertise::default();
        says.dns_servers = (0..300).map(|n| Ipv6Addr::from_bits(0xfd00 << 112 | n)).collect();
        let long = |n: usize| [format!("n{n:0>60}"), "x".repeat(63), "y".repeat(63)].join(".");
        says.dns_search = (0..30).map(long).collect();
        let message = Advertiser::start(Instant::ZERO, says.clone()).message(MAC, &[], 65_535);
        let bytes = Message::RouterAdvertisement(Box::new(message)).to_bytes();
        let envelope = Envelope { src: ip("fe80::1"), dst: ip("ff02::1"), hop_limit: 255 };
        let Ok(Message::RouterAdvertisement(said)) = Message::parse(envelope, &bytes) else {
            panic!("it is read")
        };
        let servers: Vec<_> = said.dns_servers.into_iter().flat_map(|(_, all)| all).collect();
        let domains: Vec<_> = said.dns_search.into_iter().flat_map(|(_, all)| all).collect();
        assert_eq!((servers, domains), (says.dns_servers, says.dns_search));
    }

    #[test]
    fn it_says_what_it_was_told_to_say() {
        let mut says = Advertise::default();
        says.interval = Duration::from_secs(10);
        says.mtu = Some(1_400);
        says.dns_servers = vec![ip("2001:db8::53")];
        let long = AdvertisedPrefix::new("2001:db8:5::9/64".parse().unwrap());
        says.prefixes = vec![long.lifetimes(Duration::from_secs(60), Duration::from_secs(90))];
        let advertiser = Advertiser::start(Instant::ZERO, says);
        let message = advertiser.message(MAC, &[(ip("2001:db8:6::1"), 64)], 1_500);
        assert_eq!((message.lifetime_secs, message.mtu), (30, Some(1_400)));
        assert_eq!(message.dns_servers, [(30, vec![ip("2001:db8::53")])]);
        let [prefix] = message.prefixes[..] else { panic!("{message:?}") };
        assert_eq!((prefix.prefix, prefix.bits), (ip("2001:db8:5::"), 64));
        assert_eq!((prefix.valid, prefix.preferred), (Lifetime(60), Lifetime(60)));
        assert_eq!(advertiser.message(MAC, &[], 1_300).mtu, None, "more than the link carries");
        let mut advertiser = advertiser;
        assert_eq!(advertiser.farewell(Instant::ZERO, MAC, &[], 1_500).lifetime_secs, 0);
    }

    #[test]
    fn what_no_router_may_say_is_said_as_far_as_it_may() {
        let said = |lifetime: u64, reachable: u64| {
            let mut says = Advertise::default();
            says.lifetime = Some(Duration::from_secs(lifetime));
            says.reachable = Duration::from_secs(reachable);
            let message = Advertiser::start(Instant::ZERO, says).message(MAC, &[], 1_500);
            (message.lifetime_secs, message.reachable.as_secs())
        };
        assert_eq!(said(0, 0), (0, 0));
        assert_eq!(said(5, 3_600), (600, 3_600), "as long as until the next advertisement");
        assert_eq!(said(100_000, 3_601), (65_535, 3_600));
    }

    #[test]
    fn who_starts_again_waits_three_seconds_after_the_last_word() {
        let mut advertiser = Advertiser::start(Instant::ZERO, Advertise::default());
        assert!(advertiser.expire(Instant::ZERO, 0));
        let at = Instant::from_millis(1_000);
        advertiser.again(at);
        assert_eq!(advertiser.next_deadline(), Some(Instant::from_millis(3_000)));
        assert_eq!(advertiser.farewell(at, MAC, &[], 1_500).lifetime_secs, 0);
        advertiser.again(at);
        assert_eq!(spoken(&mut advertiser, 40, u64::MAX / 3), [4_000, 20_000, 36_000]);
    }

    #[test]
    fn it_holds_for_three_intervals_as_they_are_and_not_as_they_were_asked_for() {
        for (asked, lifetime) in [(Duration::ZERO, 12), (Duration::MAX, 5_400)] {
            let mut says = Advertise::default();
            says.interval = asked;
            says.dns_servers = vec![ip("2001:db8::53")];
            let message = Advertiser::start(Instant::ZERO, says).message(MAC, &[], 1_500);
            assert_eq!(u32::from(message.lifetime_secs), lifetime);
            assert_eq!(message.dns_servers[0].0, lifetime);
        }
    }

    #[test]
    fn without_prefixes_it_advertises_those_of_its_own_addresses() {
        let advertiser = Advertiser::start(Instant::ZERO, Advertise::default());
        let ours = [(ip("fe80::1"), 64), (ip("2001:db8::1"), 64), (ip("2001:db8::2"), 64)];
        let message = advertiser.message(MAC, &ours, 1_500);
        let prefixes: Vec<_> = message.prefixes.iter().map(|info| info.prefix).collect();
        assert_eq!(prefixes, [ip("2001:db8::")]);
        assert_eq!(message.lifetime_secs, 1_800);
    }
}
