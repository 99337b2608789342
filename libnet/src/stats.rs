//! Counters: why a packet was dropped, and what passed an interface.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::iface::IfIndex;
use crate::link::Medium;
use crate::packet::Packet;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet, or something asked of the stack, was refused. Each has a counter.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        #[repr(usize)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// The reason's name in listings and JSON: lower case with underscores.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// The interface is down.
    IfaceDown = "iface_down",
    /// Shorter than an Ethernet header, or the link said something impossible of it.
    LinkMalformed = "link_malformed",
    /// To another station's address.
    NotForUs = "not_for_us",
    /// A frame with an IEEE 802.1Q tag.
    VlanTagged = "vlan_tagged",
    /// An EtherType that nobody here speaks.
    UnknownEtherType = "unknown_ethertype",
    /// A frame longer than the link can take.
    FrameTooLong = "frame_too_long",
    /// The queue of replies to an interface was full.
    ReplyQueueFull = "reply_queue_full",
    /// The link failed while frames waited for it.
    LinkFailed = "link_failed",
    /// A super-segment whose metadata do not fit it or our MTU.
    BadOffload = "bad_offload",
    /// Not a well-formed ARP packet for IPv4 over Ethernet.
    ArpMalformed = "arp_malformed",
    /// The neighbour table is full.
    NeighbourTableFull = "neighbour_table_full",
    /// The queue of packets that wait for a neighbour was full.
    NeighbourQueueFull = "neighbour_queue_full",
    /// No answer to neighbour resolution.
    NeighbourUnreachable = "neighbour_unreachable",
    /// An IP header that breaks RFC 791: version, lengths.
    IpMalformed = "ip_malformed",
    /// The IPv4 header checksum is wrong.
    IpChecksum = "ip_checksum",
    /// A source address that no host may use.
    IpBadSource = "ip_bad_source",
    /// A destination that is not ours, and we do not forward.
    IpNotOurs = "ip_not_ours",
    /// A packet to one host in a frame to all.
    IpLinkBroadcast = "ip_link_broadcast",
    /// A packet whose sender chose its way.
    IpSourceRoute = "ip_source_route",
    /// IP options that break their own lengths.
    IpBadOptions = "ip_bad_options",
    /// More or longer IPv6 extension headers than are taken, or a fragment within a fragment.
    IpExtensionLimit = "ip_extension_limit",
    /// An IPv6 packet that says that nothing follows its headers.
    IpNoNextHeader = "ip_no_next_header",
    /// A message of neighbour discovery that breaks RFC 4861 §6.1 or §7.1.
    NdMalformed = "nd_malformed",
    /// A packet to be passed on in a frame to all, or with an address that no router passes on:
    /// link-local, reserved, a directed broadcast.
    NotForwardable = "not_forwardable",
    /// A packet to be passed on whose time to live or hop limit is used up.
    HopLimit = "hop_limit",
    /// A source that is not reached by the interface that the packet came by (RFC 3704).
    ReversePath = "reverse_path",
    /// The route to the destination refuses packets, or swallows them.
    RouteRefused = "route_refused",
    /// The queue of packets that are passed on to an interface was full.
    ForwardQueueFull = "forward_queue_full",
    /// A transport protocol that nobody here speaks.
    IpUnknownProtocol = "ip_unknown_protocol",
    /// No route to the destination.
    NoRoute = "no_route",
    /// A fragment that breaks RFC 791: past 65,535 bytes, or not a multiple of 8.
    FragmentMalformed = "fragment_malformed",
    /// Fragments that overlap with other bytes, or of which one is marked by congestion and another was
    /// not ready for that (RFC 3168 §5.3).
    FragmentOverlap = "fragment_overlap",
    /// Reassembly took too long.
    FragmentTimeout = "fragment_timeout",
    /// Reassembly memory is used up.
    FragmentMemory = "fragment_memory",
    /// Too big for the path and not to be fragmented.
    TooBig = "too_big",
    /// A malformed ICMP message, or one with a wrong checksum.
    IcmpMalformed = "icmp_malformed",
    /// The ICMP checksum is wrong.
    IcmpChecksum = "icmp_checksum",
    /// An ICMP message of a kind that is not acted upon.
    IcmpIgnored = "icmp_ignored",
    /// An ICMP error about something we did not send.
    IcmpUnmatched = "icmp_unmatched",
    /// An ICMP message not sent because of the rate limit.
    IcmpRateLimited = "icmp_rate_limited",
    /// To a group that nobody here is in, or from a source that none of its members wants.
    GroupNotJoined = "group_not_joined",
    /// A malformed IGMP message, or one that no router of ours can have sent.
    IgmpMalformed = "igmp_malformed",
    /// The IGMP checksum is wrong.
    IgmpChecksum = "igmp_checksum",
    /// A malformed MLD message, or one from further away than the link.
    MldMalformed = "mld_malformed",
    /// A UDP length that does not fit the packet.
    UdpMalformed = "udp_malformed",
    /// The UDP checksum is wrong.
    UdpChecksum = "udp_checksum",
    /// The checksum that a raw socket asked to have checked is wrong.
    RawChecksum = "raw_checksum",
    /// No socket on that UDP port.
    UdpNoPort = "udp_no_port",
    /// A datagram socket's receive buffer was full.
    SocketBufferFull = "socket_buffer_full",
    /// The memory of all UDP sockets is used up.
    UdpMemory = "udp_memory",
    /// A TCP header that breaks its own lengths.
    TcpMalformed = "tcp_malformed",
    /// The TCP checksum is wrong.
    TcpChecksum = "tcp_checksum",
    /// A segment to no connection and no listener.
    TcpNoConnection = "tcp_no_connection",
    /// A segment outside the receive window.
    TcpOutOfWindow = "tcp_out_of_window",
    /// An old segment by its timestamp (PAWS, RFC 7323 §5).
    TcpPaws = "tcp_paws",
    /// An acknowledgement of what was never sent, or too old.
    TcpBadAck = "tcp_bad_ack",
    /// A segment without ACK in a state that asks for it.
    TcpNoAck = "tcp_no_ack",
    /// A SYN or RST that RFC 5961 answers with a challenge.
    TcpChallenged = "tcp_challenged",
    /// A challenge ACK not sent because of the rate limit.
    TcpChallengeLimited = "tcp_challenge_limited",
    /// A SYN to a listener whose queue is full.
    TcpListenOverflow = "tcp_listen_overflow",
    /// Out-of-order bytes past the memory for them.
    TcpReassemblyFull = "tcp_reassembly_full",
    /// Data after the application closed its receiving side.
    TcpDataAfterClose = "tcp_data_after_close",
    /// A segment without the signature that its connection asks for, or with a wrong one, or with
    /// one that nobody agreed on (RFC 2385, RFC 5925).
    TcpBadSignature = "tcp_bad_signature",
    /// The connection table is full.
    TcpTableFull = "tcp_table_full",
    /// Data that found no memory, or a SYN when there was none (`TcpConfig::memory`).
    TcpMemory = "tcp_memory",
    /// A zero-window receiver got data.
    TcpZeroWindow = "tcp_zero_window",
}

/// A packet that was dropped, as whoever dropped it had it at hand.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Dropped<'a> {
    /// The interface that it came by or was to leave by.
    pub iface: IfIndex,
    /// Does it begin with a link header, or with its IP header?
    pub medium: Medium,
    /// The packet.
    pub packet: &'a Packet,
}

impl<'a> Dropped<'a> {
    /// A packet of `iface` that begins as `medium` says.
    pub const fn new(iface: IfIndex, medium: Medium, packet: &'a Packet) -> Self {
        Dropped { iface, medium, packet }
    }
}

/// Sees what is dropped, where the packet is still at hand. Called on the data path, maybe under a
/// shard's lock: it must not block, nor call back into the stack.
pub trait DropTap: Send + Sync {
    /// One packet, with all that was counted of it.
    fn dropped(&self, reasons: &[DropReason], dropped: Dropped<'_>);
}

/// One counter per [`DropReason`], and who wants to see what is dropped. Relaxed: counters order
/// nothing.
pub struct DropCounters {
    counters: [AtomicU64; DropReason::ALL.len()],
    watchers: AtomicUsize,
    /// Rank: a leaf. Guards the taps; they are called under it.
    taps: RwLock<Vec<Arc<dyn DropTap>>>,
}

impl std::fmt::Debug for DropCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.nonzero()).finish()
    }
}

impl DropCounters {
    /// All zero.
    pub const fn new() -> Self {
        DropCounters {
            counters: [const { AtomicU64::new(0) }; DropReason::ALL.len()],
            watchers: AtomicUsize::new(0),
            taps: RwLock::new(Vec::new()),
        }
    }

    /// Lets `tap` see what is dropped from now on.
    pub fn watch(&self, tap: Arc<dyn DropTap>) {
        let mut taps = self.taps.write().unwrap_or_else(PoisonError::into_inner);
        taps.push(tap);
        self.watchers.store(taps.len(), Ordering::Release);
    }

    /// Takes a tap out again.
    pub fn unwatch(&self, tap: &Arc<dyn DropTap>) {
        let mut taps = self.taps.write().unwrap_or_else(PoisonError::into_inner);
        // By address alone: one type may have several tables of methods.
        taps.retain(|other| !std::ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(tap)));
        self.watchers.store(taps.len(), Ordering::Release);
    }

    /// Does anybody look? Costs one load.
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Acquire) != 0
    }

    /// Counts one, and shows the packet to whoever looks.
    pub fn count_packet(&self, reason: DropReason, dropped: Dropped<'_>) {
        self.count(reason);
        self.show(&[reason], dropped);
    }

    /// Shows a packet, whose reasons were counted, to whoever looks.
    pub fn show(&self, reasons: &[DropReason], dropped: Dropped<'_>) {
        if reasons.is_empty() || !self.is_watched() {
            return;
        }
        for tap in self.taps.read().unwrap_or_else(PoisonError::into_inner).iter() {
            tap.dropped(reasons, dropped);
        }
    }

    /// Counts one.
    pub fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `n`.
    pub fn add(&self, reason: DropReason, n: u64) {
        self.counters[reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.counters[reason as usize].load(Ordering::Relaxed)
    }

    /// The reasons that were hit, with how often.
    pub fn nonzero(&self) -> Vec<(DropReason, u64)> {
        let all = DropReason::ALL.iter().map(|&reason| (reason, self.get(reason)));
        all.filter(|&(_, n)| n > 0).collect()
    }
}

impl Default for DropCounters {
    fn default() -> Self {
        DropCounters::new()
    }
}

/// What passed an interface, as `ip -s link` shows it. Frames here are as the link carried them:
/// a super-frame counts once.
#[derive(Debug, Default)]
pub struct IfaceCounters {
    /// Frames received.
    pub rx_frames: AtomicU64,
    /// Bytes received, link headers included.
    pub rx_bytes: AtomicU64,
    /// Frames sent.
    pub tx_frames: AtomicU64,
    /// Bytes sent, link headers included.
    pub tx_bytes: AtomicU64,
    /// Frames that could not be sent.
    pub tx_dropped: AtomicU64,
    /// Times that the link was full and sending waited.
    pub tx_waits: AtomicU64,
}

impl IfaceCounters {
    /// Adds `n` to one of the counters.
    pub(crate) fn bump(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
