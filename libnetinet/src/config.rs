//! Bounds and times of a stack, with the defaults that Linux uses where it has them.

use std::time::Duration;

use libnet::engine::EngineConfig;

use crate::ports::PortSet;
use crate::tcp::{MemoryLimits, TcpConfig};

/// Everything that can be set when a stack is made. What Linux has a name for can be set by it, and
/// while the stack runs: [`sysctl`](crate::sysctl).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InetConfig {
    /// Bounds of the engine: interfaces and their queues.
    pub engine: EngineConfig,
    /// Routes at most, both families together.
    pub max_routes: usize,
    /// Sockets at most, of all kinds; past it `EMFILE`.
    pub max_sockets: usize,
    /// Packets that wait in a shard for room on one interface; past it senders get `EAGAIN`.
    pub output_queue_packets: usize,
    /// Replies (ICMP, ARP, resets) that wait for one interface beside them; past it they are
    /// dropped and counted, so that receiving never depends on sending.
    pub reply_queue_packets: usize,
    /// Address resolution.
    pub arp: ArpConfig,
    /// IPv4, and what IPv6 shares with it: memory for fragments, path MTUs.
    pub ip: IpConfig,
    /// IPv6.
    pub ipv6: Ipv6Config,
    /// ICMP.
    pub icmp: IcmpConfig,
    /// Passing packets on between interfaces.
    pub forwarding: ForwardingConfig,
    /// Neighbour discovery and autoconfiguration for IPv6.
    pub nd: NdConfig,
    /// UDP, raw and ping sockets.
    pub datagram: DatagramConfig,
    /// Groups.
    pub multicast: MulticastConfig,
    /// TCP.
    pub tcp: TcpConfig,
}

impl Default for InetConfig {
    fn default() -> Self {
        InetConfig {
            engine: EngineConfig::default(),
            max_routes: 65_536,
            max_sockets: 1 << 20,
            output_queue_packets: 64,
            reply_queue_packets: 256,
            arp: ArpConfig::default(),
            ip: IpConfig::default(),
            ipv6: Ipv6Config::default(),
            icmp: IcmpConfig::default(),
            forwarding: ForwardingConfig::default(),
            nd: NdConfig::default(),
            datagram: DatagramConfig::default(),
            multicast: MulticastConfig::default(),
            tcp: TcpConfig::default(),
        }
    }
}

/// Neighbour resolution: RFC 826 with the states of RFC 4861 §7.3, as Linux has them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArpConfig {
    /// Neighbours at most; past it the longest unused is evicted.
    pub max_entries: usize,
    /// Packets that wait for one neighbour.
    pub queue_packets: usize,
    /// Bytes that wait for one neighbour.
    pub queue_bytes: usize,
    /// Memory of all packets that wait for neighbours, in bytes, past which each keeps but one: so
    /// that nobody fills ours by asking as many who are not there.
    pub total_queue_bytes: usize,
    /// Between two requests for the same neighbour (RFC 1122 §2.3.2.1: at most one a second).
    pub retransmit: Duration,
    /// Broadcast requests before giving up.
    pub broadcast_probes: u8,
    /// Unicast requests that refresh a known neighbour, before giving up.
    pub unicast_probes: u8,
    /// How long a neighbour that answered counts as reachable.
    pub reachable: Duration,
    /// How long a stale neighbour is used before it is probed; traffic may confirm it meanwhile.
    pub delay: Duration,
    /// An entry unused for so long is forgotten (RFC 1122 §2.3.2.1).
    pub expire: Duration,
    /// How long a fresh answer shields an entry from being changed by another.
    pub lock: Duration,
    /// Are new addresses probed and announced (RFC 5227)?
    pub announce: bool,
}

impl Default for ArpConfig {
    fn default() -> Self {
        ArpConfig {
            max_entries: 1024,
            // Of 64 KiB in fragments one that is lost is all lost: at an MTU of 296 they are 241,
            // and of IPv6's least MTU several such datagrams wait for an address to be sure.
            queue_packets: 1024,
            queue_bytes: 1 << 20,
            total_queue_bytes: 16 << 20,
            retransmit: Duration::from_secs(1),
            broadcast_probes: 3,
            unicast_probes: 3,
            reachable: Duration::from_secs(30),
            delay: Duration::from_secs(5),
            expire: Duration::from_secs(300),
            lock: Duration::from_secs(1),
            announce: true,
        }
    }
}

/// IPv4.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IpConfig {
    /// TTL of packets whose socket has set none (RFC 1122 §3.2.1.7), 1..=255.
    pub ttl: u8,
    /// How long fragments wait for the rest.
    pub reassembly_timeout: Duration,
    /// Memory for fragments in bytes, their book-keeping included.
    pub reassembly_bytes: usize,
    /// Datagrams in reassembly at most.
    pub reassembly_datagrams: usize,
    /// Path MTUs remembered at most.
    pub max_path_mtus: usize,
    /// How long a path MTU is believed (RFC 1191 §6.3: 10 minutes).
    pub path_mtu_age: Duration,
    /// The least path MTU believed, in bytes, against forged messages.
    pub min_path_mtu: u32,
    /// What is done to learn an IPv4 path's MTU (`net.ipv4.ip_no_pmtu_disc`).
    pub path_mtu_discovery: PathMtuDiscovery,
}

/// What is done to learn an IPv4 path's MTU. With all but the first, packets of TCP and of sockets that are
/// made from then on may be fragmented on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PathMtuDiscovery {
    /// Routers that say that a packet was too big are believed (RFC 1191).
    #[default]
    On,
    /// Whatever a router says, the path then carries the least that is believed.
    Off,
    /// No router is listened to.
    Deaf,
    /// Routers are believed of segments of TCP alone, whose numbers tell that they have seen them.
    Checked,
}

impl PathMtuDiscovery {
    /// Each, at Linux's number for it.
    pub const ALL: [PathMtuDiscovery; 4] = [
        PathMtuDiscovery::On,
        PathMtuDiscovery::Off,
        PathMtuDiscovery::Deaf,
        PathMtuDiscovery::Checked,
    ];
}

impl Default for IpConfig {
    fn default() -> Self {
        IpConfig {
            ttl: 64,
            // DEVIATES RFC 1122 §3.3.2: 30 s instead of 60 to 120, as Linux does: fragments that
            // late belong to an identifier that has been used again.
            reassembly_timeout: Duration::from_secs(30),
            reassembly_bytes: 4 << 20,
            reassembly_datagrams: 1024,
            max_path_mtus: 4096,
            path_mtu_age: Duration::from_secs(600),
            min_path_mtu: 552,
            path_mtu_discovery: PathMtuDiscovery::On,
        }
    }
}

/// IPv6.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ipv6Config {
    /// Hop limit of packets whose socket has set none, 1..=255.
    pub hop_limit: u8,
    /// `IPV6_V6ONLY` of a new socket.
    pub v6_only: bool,
    /// How long fragments wait for the rest (RFC 8200 §4.5: 60 s).
    pub reassembly_timeout: Duration,
    /// Extension headers of one packet at most; longer chains are dropped (RFC 8504 §5.3).
    pub extension_headers: usize,
    /// Bytes of extension headers in one packet at most.
    pub extension_bytes: usize,
}

impl Default for Ipv6Config {
    fn default() -> Self {
        Ipv6Config {
            hop_limit: 64,
            v6_only: false,
            reassembly_timeout: Duration::from_secs(60),
            extension_headers: 8,
            extension_bytes: 2_048,
        }
    }
}

/// ICMP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IcmpConfig {
    /// Errors sent per second, to all together.
    pub errors_per_second: u32,
    /// Errors sent in one burst, to all together.
    pub error_burst: u32,
    /// Between errors to one destination, once its burst is used up.
    pub peer_interval: Duration,
    /// Errors sent to one destination in a burst.
    pub peer_burst: u32,
    /// Which messages of ICMP for IPv4 these bounds hold for, bit n for type n; echo replies (0) and
    /// errors (3, 11, 12) look at it, but for "fragmentation needed", which nothing bounds. Those of ICMPv6 are always bounded (RFC 4443 §2.4).
    pub limited_types: u32,
    /// Are IPv4's echo requests answered?
    pub echo: bool,
    /// Those to broadcast and multicast addresses, too (`net.ipv4.icmp_echo_ignore_broadcasts`)?
    pub echo_to_many: bool,
    /// Are IPv6's echo requests answered?
    pub echo6: bool,
    /// Those to groups, too (`net.ipv6.icmp.echo_ignore_multicast`)?
    pub echo6_to_many: bool,
    /// Are redirects followed (RFC 1122 §3.2.2.2)? For how long, and how many, [`NdConfig`] says
    /// for both families.
    pub accept_redirects: bool,
}

impl Default for IcmpConfig {
    fn default() -> Self {
        IcmpConfig {
            errors_per_second: 1_000,
            error_burst: 50,
            peer_interval: Duration::from_secs(1),
            peer_burst: 6,
            limited_types: 1 << 3 | 1 << 4 | 1 << 11 | 1 << 12,
            echo: true,
            echo_to_many: false,
            echo6: true,
            echo6_to_many: true,
            accept_redirects: true,
        }
    }
}

/// Passing on packets that are not for us. Off by default: a host does not (RFC 1122 §3.3.1.1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ForwardingConfig {
    /// IPv4 packets are passed on, by every interface that is added.
    pub ipv4: bool,
    /// IPv6 packets are passed on, by every interface that is added.
    pub ipv6: bool,
    /// Which sources are believed.
    pub reverse_path: ReversePath,
    /// Neighbours are told of a better first hop (RFC 1812 §5.2.7.2, RFC 4861 §8.2).
    pub redirects: bool,
    /// Between redirects to one neighbour, once its burst is used up.
    pub redirect_interval: Duration,
    /// Redirects sent to one neighbour in a burst.
    pub redirect_burst: u32,
    /// Packets passed on that wait in a shard for room on one interface; past it they are dropped
    /// and counted.
    pub queue_packets: usize,
    /// Bytes of such packets, one packet aside.
    pub queue_bytes: usize,
}

impl Default for ForwardingConfig {
    fn default() -> Self {
        ForwardingConfig {
            ipv4: false,
            ipv6: false,
            reverse_path: ReversePath::Off,
            redirects: true,
            redirect_interval: Duration::from_secs(1),
            redirect_burst: 3,
            queue_packets: 256,
            queue_bytes: 4 << 20,
        }
    }
}

/// Neighbour discovery and autoconfiguration for IPv6. What is learned on an interface is bounded
/// for each; neighbours are in one table with those of IPv4 ([`ArpConfig`]).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NdConfig {
    /// Questions that must stay unanswered before an address is ours (`DupAddrDetectTransmits`,
    /// RFC 4862 §5.1); 0: addresses are not checked.
    pub dad_transmits: u8,
    /// Are addresses used while they are being checked (RFC 4429)? Otherwise a new one waits for
    /// one to two seconds.
    pub optimistic: bool,
    /// What the last half of an address is made of.
    pub interface_ids: InterfaceIds,
    /// Addresses for a while (RFC 8981).
    pub temporary: TemporaryConfig,
    /// Are redirects followed (RFC 4861 §8)?
    pub accept_redirects: bool,
    /// How long a redirect is followed.
    pub redirect_age: Duration,
    /// Redirected destinations at most, of all interfaces; past it the oldest are forgotten.
    pub max_redirects: usize,
    /// Addresses of an interface at which no more are made of prefixes.
    pub max_addresses: usize,
    /// Prefixes that routers say are on the link, at most.
    pub max_prefixes: usize,
    /// Default routers at most.
    pub max_routers: usize,
    /// Routes that routers advertise, at most (RFC 4191).
    pub max_routes: usize,
    /// Name servers, and domains to search, at most (RFC 8106 §5.3.1 wants three).
    pub max_dns_servers: usize,
}

impl Default for NdConfig {
    fn default() -> Self {
        NdConfig {
            dad_transmits: 1,
            optimistic: true,
            interface_ids: InterfaceIds::Stable,
            temporary: TemporaryConfig::default(),
            accept_redirects: true,
            redirect_age: Duration::from_secs(600),
            max_redirects: 256,
            max_addresses: 16,
            max_prefixes: 16,
            max_routers: 8,
            max_routes: 16,
            max_dns_servers: 8,
        }
    }
}

/// Whether the source of a received packet must be reached by the interface that it came by, as
/// Linux's `rp_filter`: of IPv4 packets to us and of packets of either family to be passed on, not
/// on `lo0`.
///
/// Off by default, as in Linux's kernel: a host with two ways to the same place hears by both
/// (RFC 3704 §2.2). A router at the edge of a network sets [`Strict`](Self::Strict).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReversePath {
    /// Every source is believed.
    #[default]
    Off,
    /// There must be a route to the source, a default route being one (RFC 3704 §2.4).
    Loose,
    /// The best route to the source must leave by that interface (RFC 3704 §2.2).
    Strict,
}

/// What the last 64 bits of an address are made of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum InterfaceIds {
    /// A secret of the stack's seed, the prefix and the MAC address: the same whenever we come to
    /// a link, and another on each (RFC 7217).
    #[default]
    Stable,
    /// The MAC address (RFC 4291 Appendix A).
    Hardware,
}

/// Temporary addresses. Source: RFC 8981 §3.8.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TemporaryConfig {
    /// Are they made? Off, as Linux's `use_tempaddr` is: a tester's node is to be found again.
    pub enabled: bool,
    /// How long one is preferred, before a random part is taken off (`TEMP_PREFERRED_LIFETIME`).
    pub preferred: Duration,
    /// How long one is valid (`TEMP_VALID_LIFETIME`).
    pub valid: Duration,
}

impl Default for TemporaryConfig {
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        TemporaryConfig { enabled: false, preferred: day, valid: 2 * day }
    }
}

/// UDP, raw and ping sockets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DatagramConfig {
    /// `SO_RCVBUF` of a new socket, bytes.
    pub receive_buffer_bytes: u32,
    /// The largest `SO_RCVBUF` that can be set, bytes.
    pub max_receive_buffer_bytes: u32,
    /// What the receive queues of all UDP sockets may take (`net.ipv4.udp_mem`). Above the low
    /// number only sockets that hold little get more, above the high one none; the middle one is
    /// kept and says nothing, as on Linux.
    pub udp_memory: MemoryLimits,
    /// What counts as little, bytes (`net.ipv4.udp_rmem_min`).
    pub udp_receive_min_bytes: u32,
    /// The first port that is given out unasked.
    pub first_ephemeral_port: u16,
    /// The last port that is given out unasked.
    pub last_ephemeral_port: u16,
    /// Ports in between that are kept for who asks (`net.ipv4.ip_local_reserved_ports`).
    pub reserved_ports: PortSet,
}

impl Default for DatagramConfig {
    fn default() -> Self {
        DatagramConfig {
            receive_buffer_bytes: 212_992,
            max_receive_buffer_bytes: 64 << 20,
            udp_memory: MemoryLimits::default(),
            udp_receive_min_bytes: 4_096,
            first_ephemeral_port: 32_768,
            last_ephemeral_port: 60_999,
            reserved_ports: PortSet::default(),
        }
    }
}

/// Membership in groups. What is more gives `ENOBUFS`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MulticastConfig {
    /// Groups of one socket at most.
    pub max_memberships: usize,
    /// Sources that one socket tells apart in one group at most, and that are remembered of one
    /// query. RFC 3376 §2 and RFC 3810 §3 want no less than 64.
    pub max_sources: usize,
    /// Groups of one interface at most, of each family, beside those of the stack itself.
    pub max_groups: usize,
    /// Sources of one group on one interface at most, of all sockets together.
    pub max_group_sources: usize,
    /// How often a change is told where no querier of IGMPv3 says (`net.ipv4.igmp_qrv`).
    /// Source: RFC 3376 §8.1.
    pub igmp_robustness: u8,
    /// The same of MLDv2 (`net.ipv6.mld_qrv`). Source: RFC 3810 §9.1.
    pub mld_robustness: u8,
}

impl Default for MulticastConfig {
    fn default() -> Self {
        MulticastConfig {
            max_memberships: 256,
            max_sources: 64,
            max_groups: 1024,
            max_group_sources: 256,
            igmp_robustness: 2,
            mld_robustness: 2,
        }
    }
}
