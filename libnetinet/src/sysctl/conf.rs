//! `net.*.conf.*` and `net.*.neigh.*`: interfaces, autoconfiguration, neighbours.
//!
//! Linux keeps most of these for each interface, `all` and `default`; here those that are under
//! `all` hold for all interfaces, those that are added later included.

use std::time::Duration;

use libnet::iface::IfIndex;
use libnet::socket::Family;

use super::entry::{Place, Sysctl, config, number, switch, time};
use super::ip::forwarding;
use super::value::{Kind, Value};
use crate::config::{InterfaceIds, ReversePath};
use crate::inet::Inet;

const MOST_SECONDS: u64 = i32::MAX as u64 / 1000;
const MOST: u64 = i32::MAX as u64;
/// Linux tells some times in hundredths of a second, whatever its clock ticks (`USER_HZ`).
const HUNDREDTH: Duration = Duration::from_millis(10);

/// What both families have under names of their own, and we in one table.
macro_rules! neighbours {
    ($family:literal $($of_locktime:tt)*) => {
        [
            time!(
                concat!("net.", $family, ".neigh.default.base_reachable_time_ms"),
                arp.reachable,
                1,
                MOST,
                milliseconds,
                "how long a neighbour of either family that answered counts as reachable, unless \
                 a router says otherwise"
            ),
            time!(
                concat!("net.", $family, ".neigh.default.delay_first_probe_time"),
                arp.delay,
                0,
                MOST_SECONDS,
                seconds,
                "how long a stale neighbour of either family is used before it is probed"
            ),
            time!(
                concat!("net.", $family, ".neigh.default.gc_stale_time"),
                arp.expire,
                1,
                MOST_SECONDS,
                seconds,
                "a neighbour of either family that is unused for so long is forgotten"
            )
            .linux("60"),
            number!(
                concat!("net.", $family, ".neigh.default.gc_thresh3"),
                arp.max_entries,
                1,
                MOST,
                "neighbours",
                "neighbours of both families together; beyond it the longest unused are forgotten"
            ),
            config!(
                concat!("net.", $family, ".neigh.default.locktime"),
                Kind::Number { least: 0, most: MOST_SECONDS },
                "hundredths of a second",
                "how long a fresh answer shields a neighbour of either family from another one",
                |config| Value::number(config.arp.lock.as_millis() / HUNDREDTH.as_millis()),
                |config, value| config.arp.lock = HUNDREDTH * value.to()
            )
            $($of_locktime)*,
            number!(
                concat!("net.", $family, ".neigh.default.mcast_solicit"),
                arp.broadcast_probes,
                1,
                255,
                "requests",
                "requests to all before a neighbour of either family is given up"
            ),
            time!(
                concat!("net.", $family, ".neigh.default.retrans_time_ms"),
                arp.retransmit,
                1,
                MOST,
                milliseconds,
                "between two requests for the same neighbour of either family"
            ),
            number!(
                concat!("net.", $family, ".neigh.default.ucast_solicit"),
                arp.unicast_probes,
                0,
                255,
                "requests",
                "requests to a known neighbour of either family before all are asked"
            ),
            number!(
                concat!("net.", $family, ".neigh.default.unres_qlen"),
                arp.queue_packets,
                1,
                65_535,
                "packets",
                "packets that wait for one neighbour of either family"
            )
            .linux("101"),
            number!(
                concat!("net.", $family, ".neigh.default.unres_qlen_bytes"),
                arp.queue_bytes,
                1,
                MOST,
                "bytes",
                "bytes that wait for one neighbour of either family"
            )
            .linux("212992"),
        ]
    };
}

pub(super) const NEIGHBOURS4: &[Sysctl] = &neighbours!("ipv4");
pub(super) const NEIGHBOURS6: &[Sysctl] = &neighbours!("ipv6".linux("0"));

pub(super) const FOUR: &[Sysctl] = &[
    switch!(
        "net.ipv4.conf.all.accept_redirects",
        icmp.accept_redirects,
        "follow ICMP redirects, on interfaces that do not forward (RFC 1122 §3.2.2.2)"
    ),
    switch!(
        "net.ipv4.conf.all.forwarding",
        forwarding.ipv4,
        "pass on IPv4 packets for others, by every interface"
    )
    .with_effect(|inet, value| inet.set_forwarding(Family::Inet, forwarding(value))),
    config!(
        "net.ipv4.conf.all.rp_filter",
        Kind::OneOf(&[0, 1, 2]),
        "",
        "must the source of a packet be reached by the interface that it came by (RFC 3704)? \
         0: no; 1: by the best route; 2: by any",
        |config| {
            Value::number(match config.forwarding.reverse_path {
                ReversePath::Off => 0u8,
                ReversePath::Strict => 1,
                ReversePath::Loose => 2,
            })
        },
        |config, value| {
            config.forwarding.reverse_path = match value.at(0) {
                0 => ReversePath::Off,
                1 => ReversePath::Strict,
                _ => ReversePath::Loose,
            };
        }
    ),
    switch!(
        "net.ipv4.conf.all.send_redirects",
        forwarding.redirects,
        "tell neighbours, of either family, of a better first hop (RFC 1812 §5.2.7.2)"
    ),
    switch!(
        "net.ipv4.conf.default.forwarding",
        forwarding.ipv4,
        "pass on IPv4 packets by interfaces that are added from then on"
    )
    .for_new(),
    Sysctl::new(
        "net.ipv4.conf.IF.forwarding",
        Kind::Switch,
        "",
        "pass on IPv4 packets that come by this interface",
        Place::Interface {
            get: |inet, index| forwards(inet, index, Family::Inet),
            set: |inet, index, value| {
                inet.set_interface_forwarding(index, Family::Inet, forwarding(value))
            },
            default: 0,
        },
    ),
];

pub(super) const SIX: &[Sysctl] = &[
    switch!(
        "net.ipv6.conf.all.accept_redirects",
        nd.accept_redirects,
        "follow ICMPv6 redirects, on interfaces that do not forward (RFC 4861 §8)"
    ),
    config!(
        "net.ipv6.conf.all.addr_gen_mode",
        Kind::OneOf(&[0, 2]),
        "",
        "what the last half of an address is made of; 0: the MAC address; 2: a secret and the \
         prefix (RFC 7217)",
        |config| {
            let stable = config.nd.interface_ids == InterfaceIds::Stable;
            Value::number(if stable { 2u8 } else { 0 })
        },
        |config, value| {
            let stable = value.is_on();
            config.nd.interface_ids =
                if stable { InterfaceIds::Stable } else { InterfaceIds::Hardware };
        }
    )
    .for_new()
    .linux("0"),
    number!(
        "net.ipv6.conf.all.dad_transmits",
        nd.dad_transmits,
        0,
        255,
        "questions",
        "questions that must stay unanswered before an address is ours (RFC 4862 §5.1)"
    )
    .for_new(),
    switch!(
        "net.ipv6.conf.all.forwarding",
        forwarding.ipv6,
        "pass on IPv6 packets for others, by every interface"
    )
    .with_effect(|inet, value| inet.set_forwarding(Family::Inet6, forwarding(value))),
    number!(
        "net.ipv6.conf.all.hop_limit",
        ipv6.hop_limit,
        1,
        255,
        "hops",
        "hop limit of packets whose socket has set none and that no router gave another"
    ),
    number!(
        "net.ipv6.conf.all.max_addresses",
        nd.max_addresses,
        1,
        65_535,
        "addresses",
        "addresses of an interface at which no more are made of prefixes"
    ),
    switch!(
        "net.ipv6.conf.all.optimistic_dad",
        nd.optimistic,
        "use addresses while they are being checked (RFC 4429)"
    )
    .for_new()
    .linux("0"),
    time!(
        "net.ipv6.conf.all.temp_prefered_lft",
        nd.temporary.preferred,
        1,
        MOST_SECONDS,
        seconds,
        "how long a temporary address is preferred (RFC 8981 §3.8)"
    )
    .for_new(),
    time!(
        "net.ipv6.conf.all.temp_valid_lft",
        nd.temporary.valid,
        1,
        MOST_SECONDS,
        seconds,
        "how long a temporary address is valid (RFC 8981 §3.8)"
    )
    .for_new()
    .linux("604800"),
    config!(
        "net.ipv6.conf.all.use_tempaddr",
        Kind::OneOf(&[0, 2]),
        "",
        "2: make temporary addresses and prefer them (RFC 8981); 0: do not",
        |config| Value::number(if config.nd.temporary.enabled { 2u8 } else { 0 }),
        |config, value| config.nd.temporary.enabled = value.is_on()
    )
    .for_new(),
    switch!(
        "net.ipv6.conf.default.forwarding",
        forwarding.ipv6,
        "pass on IPv6 packets by interfaces that are added from then on"
    )
    .for_new(),
    Sysctl::new(
        "net.ipv6.conf.IF.accept_ra",
        Kind::Switch,
        "",
        "listen to routers, and make addresses of what they advertise (RFC 4862); addr=auto of \
         an interface sets it",
        Place::Interface {
            get: |inet, index| inet.listens_to_routers(index).map(Value::switch),
            set: |inet, index, value| match value.is_on() {
                true => inet.autoconfigure(index),
                false => inet.stop_autoconfigure(index),
            },
            default: 0,
        },
    )
    .linux("1"),
    Sysctl::new(
        "net.ipv6.conf.IF.forwarding",
        Kind::Switch,
        "",
        "pass on IPv6 packets that come by this interface",
        Place::Interface {
            get: |inet, index| forwards(inet, index, Family::Inet6),
            set: |inet, index, value| {
                inet.set_interface_forwarding(index, Family::Inet6, forwarding(value))
            },
            default: 0,
        },
    ),
];

fn forwards(inet: &Inet, index: IfIndex, family: Family) -> Option<Value> {
    let config = inet.engine().interface(index)?.config();
    Some(Value::switch(if family == Family::Inet { config.forward4 } else { config.forward6 }))
}
