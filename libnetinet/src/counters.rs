//! What the protocols did, as `netstat -s` counts it. Drops are counted by reason elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Counters of one stack's protocols. Relaxed: they order nothing.
        #[derive(Debug, Default)]
        #[non_exhaustive]
        pub struct InetCounters { $($(#[$doc])* pub $field: AtomicU64,)* }

        impl InetCounters {
            /// All counters with their names, in order.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// IPv4 packets received and well-formed.
    ip_in,
    /// IPv4 packets handed to an interface, fragments counted one by one.
    ip_out,
    /// Fragments of IPv4 received.
    fragments_in,
    /// Fragments of IPv4 sent.
    fragments_out,
    /// IPv4 datagrams put together from fragments.
    reassembled,
    /// IPv4 packets passed on to another host.
    ip_forwarded,
    /// Packets passed on that were cut into fragments.
    ip_fragmented,
    /// Packets to be passed on that were too big and forbade fragments.
    ip_fragment_fails,
    /// IPv6 packets received and well-formed.
    ip6_in,
    /// IPv6 packets handed to an interface, fragments counted one by one.
    ip6_out,
    /// Fragments of IPv6 received.
    fragments6_in,
    /// Fragments of IPv6 sent.
    fragments6_out,
    /// IPv6 datagrams put together from fragments.
    reassembled6,
    /// IPv6 packets passed on to another host.
    ip6_forwarded,
    /// IPv6 packets to be passed on that were too big for the next link.
    ip6_too_big,
    /// SYNs passed on whose MSS was lowered.
    mss_clamped,
    /// SYNs passed on whose MSS was to be lowered and was not, because TCP-AO signs them.
    mss_clamp_signed,
    /// ARP packets received and well-formed.
    arp_in,
    /// ARP packets sent.
    arp_out,
    /// Others seen using an address of ours (RFC 5227 §2.4).
    address_conflicts,
    /// Messages of neighbour discovery received and believed (RFC 4861).
    nd_in,
    /// Messages of neighbour discovery sent.
    nd_out,
    /// Router advertisements taken in.
    router_advertisements_in,
    /// Redirects followed.
    redirects_in,
    /// Neighbours evicted because the table was full.
    neighbours_evicted,
    /// ICMP messages received and well-formed.
    icmp_in,
    /// ICMP messages sent.
    icmp_out,
    /// Echo requests answered.
    icmp_echoes,
    /// ICMP errors received about something of ours.
    icmp_errors_in,
    /// ICMP errors sent.
    icmp_errors_out,
    /// ICMPv6 messages received and well-formed.
    icmp6_in,
    /// ICMPv6 messages sent.
    icmp6_out,
    /// ICMPv6 echo requests answered.
    icmp6_echoes,
    /// ICMPv6 errors received about something of ours.
    icmp6_errors_in,
    /// ICMPv6 errors sent.
    icmp6_errors_out,
    /// Redirects sent.
    redirects_out,
    /// Path MTUs lowered on a router's word.
    path_mtu_lowered,
    /// IGMP messages received and well-formed.
    igmp_in,
    /// IGMP messages sent.
    igmp_out,
    /// MLD messages received and well-formed.
    mld_in,
    /// MLD messages sent.
    mld_out,
    /// UDP datagrams delivered to a socket.
    udp_in,
    /// UDP datagrams sent.
    udp_out,
}

/// Adds one.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
