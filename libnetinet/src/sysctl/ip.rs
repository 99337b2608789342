//! `net.ipv4.*` and `net.ipv6.*` beside TCP: IP, ICMP, fragments, path MTUs, groups, ports.

use super::entry::{Sysctl, config, number, switch, time};
use super::value::{Kind, Value};
use crate::config::PathMtuDiscovery;
use crate::forward::Forwarding;
use libnet::socket::Family;

const MOST_SECONDS: u64 = i32::MAX as u64 / 1000;
const MOST: u64 = i32::MAX as u64;
const LEAST_FRAGMENT_BYTES: u64 = 1 << 17;

pub(super) const TABLE: &[Sysctl] = &[
    config!(
        "net.ipv4.icmp_echo_ignore_all",
        Kind::Switch,
        "",
        "leave ICMP echo requests without an answer",
        |config| Value::switch(!config.icmp.echo),
        |config, value| config.icmp.echo = !value.is_on()
    ),
    config!(
        "net.ipv4.icmp_echo_ignore_broadcasts",
        Kind::Switch,
        "",
        "leave ICMP echo requests to broadcast and multicast addresses without an answer",
        |config| Value::switch(!config.icmp.echo_to_many),
        |config, value| config.icmp.echo_to_many = !value.is_on()
    ),
    number!(
        "net.ipv4.icmp_msgs_burst",
        icmp.error_burst,
        1,
        MOST,
        "messages",
        "ICMP errors, of both families, sent to all together in one burst"
    ),
    number!(
        "net.ipv4.icmp_msgs_per_sec",
        icmp.errors_per_second,
        1,
        MOST,
        "per second",
        "ICMP errors, of both families, sent to all together"
    ),
    time!(
        "net.ipv4.icmp_ratelimit",
        icmp.peer_interval,
        0,
        MOST,
        milliseconds,
        "between ICMP errors, of both families, to one destination, once its burst is used up"
    ),
    number!(
        "net.ipv4.icmp_ratemask",
        icmp.limited_types,
        0,
        MOST,
        "",
        "which messages of ICMP for IPv4 icmp_ratelimit and icmp_msgs_per_sec are about, the sum of 1: \
         echo replies; 8: unreachable, but for a packet that is too big; 2048: time exceeded; 4096: \
         parameter problem"
    ),
    number!(
        "net.ipv4.igmp_max_memberships",
        multicast.max_memberships,
        1,
        MOST,
        "groups",
        "groups of one socket, of either family"
    )
    .linux("20"),
    number!(
        "net.ipv4.igmp_max_msf",
        multicast.max_sources,
        1,
        65_535,
        "sources",
        "sources that one socket tells apart in one group, of either family"
    )
    .linux("10"),
    number!(
        "net.ipv4.igmp_qrv",
        multicast.igmp_robustness,
        1,
        255,
        "times",
        "how often a change of groups is told to routers of which none has said (RFC 3376 §8.1)"
    ),
    number!(
        "net.ipv4.ip_default_ttl",
        ip.ttl,
        1,
        255,
        "hops",
        "TTL of packets whose socket has set none"
    ),
    switch!(
        "net.ipv4.ip_forward",
        forwarding.ipv4,
        "pass on IPv4 packets for others, by every interface; as net.ipv4.conf.all.forwarding"
    )
    .with_effect(|inet, value| inet.set_forwarding(Family::Inet, forwarding(value))),
    config!(
        "net.ipv4.ip_local_port_range",
        Kind::Numbers { count: 2, least: 1, most: 65_535 },
        "ports",
        "the first and the last port that a TCP or UDP socket gets that asks for none (RFC 6056)",
        |config| {
            let ports = &config.tcp.ephemeral_ports;
            Value::Numbers(vec![u64::from(*ports.start()), u64::from(*ports.end())])
        },
        |config, value| {
            let (first, last) = (value.nth(0), value.nth(1));
            config.tcp.ephemeral_ports = first..=last;
            config.datagram.first_ephemeral_port = first;
            config.datagram.last_ephemeral_port = last;
        }
    ),
    config!(
        "net.ipv4.ip_local_reserved_ports",
        Kind::Ports,
        "",
        "ports that no TCP or UDP socket gets that asks for none",
        |config| Value::Ports(config.tcp.reserved_ports.clone()),
        |config, value| {
            config.tcp.reserved_ports = value.ports();
            config.datagram.reserved_ports = value.ports();
        }
    ),
    config!(
        "net.ipv4.ip_no_pmtu_disc",
        Kind::Number { least: 0, most: PathMtuDiscovery::ALL.len() as u64 - 1 },
        "",
        "0: learn the MTU of an IPv4 path from routers (RFC 1191); else let packets be fragmented on their way, \
         and take of a router's word 1: that the path carries route.min_pmtu; 2: nothing; 3: what it says of \
         TCP",
        |config| Value::number(config.ip.path_mtu_discovery as u8),
        |config, value| config.ip.path_mtu_discovery = PathMtuDiscovery::ALL[value.to::<usize>()]
    )
    .for_new(),
    number!(
        "net.ipv4.ipfrag_high_thresh",
        ip.reassembly_bytes,
        LEAST_FRAGMENT_BYTES,
        MOST,
        "bytes",
        "memory for fragments, of both families together"
    ),
    time!(
        "net.ipv4.ipfrag_time",
        ip.reassembly_timeout,
        1,
        MOST_SECONDS,
        seconds,
        "how long IPv4 fragments wait for the rest"
    ),
    config!(
        "net.ipv4.route.min_pmtu",
        Kind::Number { least: 68, most: 65_535 },
        "bytes",
        "an ICMP message cannot make the MTU of an IPv4 path smaller",
        |config| Value::number(config.ip.min_path_mtu),
        |config, value| {
            config.ip.min_path_mtu = value.to();
            config.tcp.path_mtu_min = value.to();
        }
    ),
    time!(
        "net.ipv4.route.mtu_expires",
        ip.path_mtu_age,
        1,
        MOST_SECONDS,
        seconds,
        "how long what ICMP said of a path's MTU is believed, of either family"
    ),
    switch!(
        "net.ipv6.bindv6only",
        ipv6.v6_only,
        "IPV6_V6ONLY of a new socket of IPv6: it takes no IPv4"
    )
    .for_new(),
    config!(
        "net.ipv6.icmp.echo_ignore_all",
        Kind::Switch,
        "",
        "leave ICMPv6 echo requests without an answer",
        |config| Value::switch(!config.icmp.echo6),
        |config, value| config.icmp.echo6 = !value.is_on()
    ),
    config!(
        "net.ipv6.icmp.echo_ignore_multicast",
        Kind::Switch,
        "",
        "leave ICMPv6 echo requests to groups without an answer",
        |config| Value::switch(!config.icmp.echo6_to_many),
        |config, value| config.icmp.echo6_to_many = !value.is_on()
    ),
    number!(
        "net.ipv6.ip6frag_high_thresh",
        ip.reassembly_bytes,
        LEAST_FRAGMENT_BYTES,
        MOST,
        "bytes",
        "the same as net.ipv4.ipfrag_high_thresh"
    ),
    time!(
        "net.ipv6.ip6frag_time",
        ipv6.reassembly_timeout,
        1,
        MOST_SECONDS,
        seconds,
        "how long IPv6 fragments wait for the rest (RFC 8200 §4.5)"
    ),
    number!(
        "net.ipv6.mld_max_msf",
        multicast.max_sources,
        1,
        65_535,
        "sources",
        "the same as net.ipv4.igmp_max_msf"
    ),
    number!(
        "net.ipv6.mld_qrv",
        multicast.mld_robustness,
        1,
        255,
        "times",
        "how often a change of groups is told to routers of which none has said (RFC 3810 §9.1)"
    ),
    time!(
        "net.ipv6.route.mtu_expires",
        ip.path_mtu_age,
        1,
        MOST_SECONDS,
        seconds,
        "the same as net.ipv4.route.mtu_expires"
    ),
];

/// What a switch says.
pub(super) fn forwarding(value: &Value) -> Forwarding {
    if value.is_on() { Forwarding::On } else { Forwarding::Off }
}
