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
    /// IP packets received and well-formed.
    ip_in,
    /// IP packets handed to an interface, fragments counted one by one.
    ip_out,
    /// Fragments received.
    fragments_in,
    /// Fragments sent.
    fragments_out,
    /// Datagrams put together from fragments.
    reassembled,
    /// Packets passed on to another host.
    ip_forwarded,
    /// Packets passed on that were cut into fragments.
    ip_fragmented,
    /// Packets to be passed on that were too big and forbade fragments.
    ip_fragment_fails,
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
