//! Which of our addresses to send from, and which of several destinations to try first (RFC 6724).

use std::cmp::{Ordering, Reverse};
use std::net::{IpAddr, Ipv6Addr};

use libnet::iface::IfIndex;

/// An address of ours that might be sent from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Candidate {
    /// The address; IPv4 as an IPv4-mapped one.
    pub addr: Ipv6Addr,
    /// Bits of its network's prefix, 0..=128.
    pub prefix_bits: u8,
    /// The interface that has it.
    pub iface: IfIndex,
    /// New traffic had better use another.
    pub deprecated: bool,
    /// It was made up for a while, against being followed (RFC 8981).
    pub temporary: bool,
}

impl Candidate {
    /// One that is neither deprecated nor temporary.
    pub fn new(addr: IpAddr, prefix_bits: u8, iface: IfIndex) -> Self {
        let mapped = if addr.is_ipv4() { 96 } else { 0 };
        let prefix_bits = prefix_bits.saturating_add(mapped).min(128);
        Candidate { addr: as_six(addr), prefix_bits, iface, deprecated: false, temporary: false }
    }

    /// The same address, deprecated or not.
    #[must_use]
    pub const fn deprecated(mut self, deprecated: bool) -> Self {
        self.deprecated = deprecated;
        self
    }

    /// The same address, temporary or not.
    #[must_use]
    pub const fn temporary(mut self, temporary: bool) -> Self {
        self.temporary = temporary;
        self
    }
}

/// Are temporary addresses (RFC 8981) preferred to those that stay?
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum PrivacyPreference {
    /// RFC 6724 §5 rule 7.
    #[default]
    Temporary,
    /// The reverse, which RFC 6724 §5 lets an application ask for.
    Stable,
}

/// The best of `candidates` to send from to `dst` by `out`, after the rules of RFC 6724 §5; among
/// equals the first.
///
/// What is sent to a link-local address or to a group leaves from an address of `out`
/// (RFC 6724 §4). Rules 4 and 5.5 (mobile addresses, prefixes of the next hop) do not apply here.
pub fn source_for(
    candidates: impl IntoIterator<Item = Candidate>,
    dst: IpAddr,
    out: IfIndex,
    privacy: PrivacyPreference,
) -> Option<Candidate> {
    let dst = as_six(dst);
    let of_link = dst.is_multicast() || scope_of(dst) <= LINK_LOCAL;
    let mut best: Option<Candidate> = None;
    for candidate in candidates {
        if (of_link && candidate.iface != out) || is_no_source(candidate.addr) {
            continue;
        }
        let better = best.is_none_or(|best| compare(&candidate, &best, dst, out, privacy).is_gt());
        if better {
            best = Some(candidate);
        }
    }
    best
}

/// Puts the destinations of one name into the order in which to try them, after RFC 6724 §6.
/// `source` gives the address that we would send from; `None`: it cannot be reached.
pub fn sort_destinations(
    destinations: &mut [IpAddr],
    source: impl Fn(IpAddr) -> Option<Candidate>,
) {
    destinations.sort_by_cached_key(|&dst| {
        let six = as_six(dst);
        let found = source(dst);
        let Some(from) = found else { return (true, Ranks::default()) };
        let (scope, policy) = (scope_of(six), policy_of(six));
        let ranks = Ranks {
            other_scope: scope != scope_of(from.addr),
            deprecated: from.deprecated,
            other_label: policy.label != policy_of(from.addr).label,
            precedence: Reverse(policy.precedence),
            scope,
            // DEVIATES RFC 6724 §6 rule 9: not for IPv4, whose prefixes tell nothing of who is near.
            unlike: Reverse(if dst.is_ipv6() { common_prefix(&from, six) } else { 0 }),
        };
        (false, ranks)
    });
}

/// RFC 6724 §6, rules 2, 3, 5, 6, 8 and 9 in their order; the least is tried first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
struct Ranks {
    other_scope: bool,
    deprecated: bool,
    other_label: bool,
    precedence: Reverse<u8>,
    scope: u8,
    unlike: Reverse<u32>,
}

/// RFC 6724 §5: `Greater` if `a` is to be preferred.
fn compare(
    a: &Candidate,
    b: &Candidate,
    dst: Ipv6Addr,
    out: IfIndex,
    privacy: PrivacyPreference,
) -> Ordering {
    let same = |c: &Candidate| c.addr == dst;
    let label = |c: &Candidate| policy_of(c.addr).label == policy_of(dst).label;
    let private = |c: &Candidate| match privacy {
        PrivacyPreference::Temporary => c.temporary,
        PrivacyPreference::Stable => !c.temporary,
    };
    let common = |c: &Candidate| common_prefix(c, dst);
    // Rules 1, 2, 3, 5, 6, 7 and 8.
    same(a)
        .cmp(&same(b))
        .then_with(|| compare_scopes(scope_of(a.addr), scope_of(b.addr), scope_of(dst)))
        .then_with(|| b.deprecated.cmp(&a.deprecated))
        .then_with(|| (a.iface == out).cmp(&(b.iface == out)))
        .then_with(|| label(a).cmp(&label(b)))
        .then_with(|| private(a).cmp(&private(b)))
        .then_with(|| common(a).cmp(&common(b)))
}

/// Rule 2: the smallest scope that the destination's is within, else the largest.
fn compare_scopes(a: u8, b: u8, dst: u8) -> Ordering {
    match a.cmp(&b) {
        Ordering::Less if a < dst => Ordering::Less,
        Ordering::Less => Ordering::Greater,
        Ordering::Greater if b < dst => Ordering::Greater,
        Ordering::Greater => Ordering::Less,
        Ordering::Equal => Ordering::Equal,
    }
}

/// RFC 6724 §4: neither a group nor nobody.
const fn is_no_source(addr: Ipv6Addr) -> bool {
    addr.is_multicast() || addr.is_unspecified()
}

/// IPv4 addresses as RFC 6724 §3.2 compares them.
const fn as_six(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    }
}

const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

/// How far an address reaches, in the numbers of multicast scopes. Source: RFC 6724 §3.1, §3.2.
pub(crate) fn scope_of(addr: Ipv6Addr) -> u8 {
    if addr.is_multicast() {
        return addr.octets()[1] & 0xf;
    }
    let is_local = match addr.to_ipv4_mapped() {
        Some(v4) => v4.is_link_local() || v4.is_loopback(),
        None => addr.is_unicast_link_local() || addr.is_loopback(),
    };
    if is_local {
        LINK_LOCAL
    } else if addr.segments()[0] & 0xffc0 == 0xfec0 {
        SITE_LOCAL
    } else {
        GLOBAL
    }
}

/// A line of the policy table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Policy {
    precedence: u8,
    label: u8,
}

/// RFC 6724 §2.1: the default table, longest prefixes first.
const POLICIES: [(Ipv6Addr, u8, Policy); 9] = [
    (Ipv6Addr::LOCALHOST, 128, Policy { precedence: 50, label: 0 }),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, Policy { precedence: 35, label: 4 }),
    (Ipv6Addr::UNSPECIFIED, 96, Policy { precedence: 1, label: 3 }),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, Policy { precedence: 5, label: 5 }),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Policy { precedence: 30, label: 2 }),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, Policy { precedence: 1, label: 12 }),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Policy { precedence: 1, label: 11 }),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Policy { precedence: 3, label: 13 }),
    (Ipv6Addr::UNSPECIFIED, 0, Policy { precedence: 40, label: 1 }),
];

fn policy_of(addr: Ipv6Addr) -> Policy {
    let found =
        POLICIES.iter().find(|(prefix, bits, _)| common_bits(addr, *prefix) >= u32::from(*bits));
    found.map_or(Policy { precedence: 40, label: 1 }, |&(_, _, policy)| policy)
}

/// RFC 6724 §2.2, `CommonPrefixLen`: no further than the source's own prefix.
fn common_prefix(source: &Candidate, dst: Ipv6Addr) -> u32 {
    common_bits(source.addr, dst).min(u32::from(source.prefix_bits))
}

/// Leading bits that two addresses share.
fn common_bits(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: IfIndex = IfIndex(2);
    const OTHER: IfIndex = IfIndex(3);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ours(text: &str) -> Candidate {
        Candidate::new(ip(text), if text.contains('.') { 24 } else { 64 }, ETH)
    }

    #[track_caller]
    fn picks(wanted: &str, dst: &str, candidates: &[Candidate]) {
        // The order that they are given in must not matter where a rule decides.
        for reversed in [false, true] {
            let mut all = candidates.to_vec();
            if reversed {
                all.reverse();
            }
            let best = source_for(all, ip(dst), ETH, PrivacyPreference::Temporary).unwrap();
            assert_eq!(best.addr, as_six(ip(wanted)), "to {dst}");
        }
    }

    /// The examples of RFC 6724 §10.1.
    #[test]
    fn sources_are_chosen_as_in_the_examples() {
        let (global, local) = (ours("2001:db8:3::1"), ours("fe80::1"));
        picks("2001:db8:3::1", "2001:db8:1::1", &[global, local]);
        picks("2001:db8:3::1", "ff05::1", &[global, local]);
        picks(
            "2001:db8:1::1",
            "2001:db8:1::1",
            &[ours("2001:db8:1::1").deprecated(true), ours("2001:db8:2::1")],
        );
        picks("fe80::1", "fe80::2", &[local.deprecated(true), ours("2001:db8:1::1")]);
        picks("2001:db8:1::2", "2001:db8:1::1", &[ours("2001:db8:1::2"), ours("2001:db8:3::2")]);
        picks(
            "2002:c633:6401::2",
            "2002:c633:6401::1",
            &[ours("2002:c633:6401::2"), ours("2001:db8:1::2").temporary(true)],
        );
        let temporary = ours("2001:db8:1::d5e3:0:0:1").temporary(true);
        picks("2001:db8:1::d5e3:0:0:1", "2001:db8:1::1", &[ours("2001:db8:1::2"), temporary]);
    }

    #[test]
    fn who_asks_for_it_gets_the_address_that_stays() {
        let all = [ours("2001:db8::2"), ours("2001:db8::3").temporary(true)];
        let best = source_for(all, ip("2001:db8::1"), ETH, PrivacyPreference::Stable).unwrap();
        assert!(!best.temporary);
    }

    #[test]
    fn deprecated_addresses_and_other_interfaces_come_last() {
        let deprecated = ours("2001:db8:1::5").deprecated(true);
        picks("2001:db8:9::5", "2001:db8:1::1", &[deprecated, ours("2001:db8:9::5")]);
        let mut other = ours("2001:db8:1::6");
        other.iface = OTHER;
        picks("2001:db8:9::5", "2001:db8:1::1", &[other, ours("2001:db8:9::5")]);
        picks("2001:db8:1::6", "2001:db8:1::1", &[other, ours("fe80::5")]);
    }

    #[test]
    fn what_stays_on_the_link_leaves_from_an_address_of_the_link() {
        let mut other = ours("fe80::7");
        other.iface = OTHER;
        for dst in ["fe80::1", "ff02::1", "ff0e::1"] {
            let none = source_for([other], ip(dst), ETH, PrivacyPreference::Temporary);
            assert_eq!(none, None, "{dst}");
        }
        picks("fe80::5", "ff02::1", &[other, ours("fe80::5"), ours("2001:db8::5")]);
    }

    #[test]
    fn groups_and_nobody_are_no_sources() {
        let all = [ours("ff02::1"), ours("::")];
        let none = source_for(all, ip("2001:db8::1"), ETH, PrivacyPreference::Temporary);
        assert_eq!(none, None);
    }

    #[test]
    fn labels_keep_unique_local_traffic_local() {
        picks("fd00::5", "fd00:9::1", &[ours("fd00::5"), ours("2001:db8::5")]);
        picks("2001:db8::5", "2001:db9::1", &[ours("fd00::5"), ours("2001:db8::5")]);
    }

    #[test]
    fn a_prefix_counts_no_further_than_its_own_length() {
        // Both share all of their prefix with the destination; what lies past it says nothing.
        let all = [ours("2001:db8::f000"), ours("2001:db8::1")];
        let best = source_for(all, ip("2001:db8::2"), ETH, PrivacyPreference::Temporary).unwrap();
        assert_eq!(best.addr, as_six(ip("2001:db8::f000")), "the first of equals");
    }

    fn sorted(sources: &[Candidate], destinations: &[&str]) -> Vec<String> {
        let mut all: Vec<IpAddr> = destinations.iter().map(|text| ip(text)).collect();
        sort_destinations(&mut all, |dst| {
            let family = sources
                .iter()
                .copied()
                .filter(|candidate| candidate.addr.to_ipv4_mapped().is_some() == dst.is_ipv4());
            source_for(family, dst, ETH, PrivacyPreference::Temporary)
        });
        all.iter().map(ToString::to_string).collect()
    }

    /// The examples of RFC 6724 §10.2.
    #[test]
    fn destinations_are_sorted_as_in_the_examples() {
        let (global, local) = (ours("2001:db8:1::2"), ours("fe80::1"));
        let (v4_local, v4) = (ours("169.254.13.78"), ours("198.51.100.117"));
        let both = ["2001:db8:1::1", "198.51.100.121"];
        assert_eq!(sorted(&[global, local, v4_local], &both), both);
        let v4_first = ["198.51.100.121", "2001:db8:1::1"];
        assert_eq!(sorted(&[local, v4], &both), v4_first);
        assert_eq!(
            sorted(&[global, local, ours("10.1.2.4")], &["10.1.2.3", both[0]]),
            [both[0], "10.1.2.3"]
        );
        let near = ["fe80::5", "2001:db8:1::1"];
        assert_eq!(sorted(&[global, local], &["2001:db8:1::1", "fe80::5"]), near);
        let six_to_four = ours("2002:c633:6401::2");
        assert_eq!(
            sorted(&[six_to_four, local], &["2001:db8:1::1", "2002:c633:6401::1"]),
            ["2002:c633:6401::1", "2001:db8:1::1"]
        );
        assert_eq!(
            sorted(&[six_to_four, global, local], &["2002:c633:6401::1", both[0]]),
            [both[0], "2002:c633:6401::1"]
        );
    }

    #[test]
    fn destinations_that_share_all_of_our_prefix_stay_in_their_order() {
        let [far, near] = ["2001:db8:1::f000", "2001:db8:1::3"];
        assert_eq!(sorted(&[ours("2001:db8:1::2")], &[far, near]), [far, near]);
        let [other, same] = ["2001:db8:9::1", "2001:db8:1::f000"];
        assert_eq!(sorted(&[ours("2001:db8:1::2")], &[other, same]), [same, other]);
    }

    #[test]
    fn embedded_ipv4_addresses_are_global_and_the_loopback_address_is_of_the_link() {
        let six = |text: &str| as_six(ip(text));
        for text in ["::10.0.0.1", "10.0.0.1", "192.168.0.1", "100.64.0.1", "2002:a00:1::1"] {
            assert_eq!(scope_of(six(text)), GLOBAL, "RFC 6724 §3.2, §3.3: {text}");
        }
        assert_eq!(scope_of(six("4000::1")), GLOBAL, "RFC 6724 §3.4: of no format known yet");
        for text in ["::1", "fe80::1", "169.254.1.1", "127.0.0.1"] {
            assert_eq!(scope_of(six(text)), LINK_LOCAL, "RFC 6724 §3.2, §3.4: {text}");
        }
        let v4 = Candidate::new(ip("10.0.0.1"), 24, ETH);
        assert!(!v4.deprecated && !v4.temporary, "RFC 6724 §3.2: preferred");
    }

    #[test]
    fn who_cannot_be_reached_comes_last() {
        assert_eq!(
            sorted(&[ours("10.0.0.1")], &["2001:db8::1", "10.0.0.2"]),
            ["10.0.0.2", "2001:db8::1"]
        );
    }
}
