//! What the protocols did, under the names of MIB-II and its successors (RFC 4293, RFC 4022,
//! RFC 4113), those that Linux added, and our own for the rest.

use libnet::{DropReason, Family};
use rumpnet::Inet;
use rumpnet::libnetinet::Forwarding;
use rumpnet::libnetinet::tcp::TcpCounters;

/// The counters of one protocol.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) counters: Vec<Counter>,
}

/// A counter, or where `is_gauge` a number of what there is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
    pub(crate) is_gauge: bool,
}

/// All of them.
pub(crate) fn sections(inet: &Inet) -> Vec<Section> {
    let sources = Sources::new(inet);
    let mut sections = vec![ip(&sources), icmp(&sources)];
    sections.extend([ip6(&sources), icmp6(&sources), tcp(&sources), udp(&sources)]);
    sections.push(tcp_more(&sources));
    sections.push(rest(&sources));
    sections
}

struct Sources<'a> {
    inet: &'a Inet,
    counters: Vec<(&'static str, u64)>,
    tcp: Vec<TcpCounters>,
}

impl<'a> Sources<'a> {
    fn new(inet: &'a Inet) -> Self {
        Sources { inet, counters: inet.counters().all(), tcp: inet.tcp_counters() }
    }

    fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(other, _)| *other == name).map_or(0, |(_, n)| *n)
    }

    fn dropped(&self, reasons: &[DropReason]) -> u64 {
        reasons.iter().map(|reason| self.inet.drops().get(*reason)).sum()
    }

    /// Those of one family.
    fn dropped_of(&self, family: Family, reasons: &[DropReason]) -> u64 {
        let six: u64 = reasons.iter().map(|reason| self.inet.drops6().get(*reason)).sum();
        match family {
            Family::Inet6 => six,
            _ => self.dropped(reasons).saturating_sub(six),
        }
    }

    fn tcp(&self, field: impl Fn(&TcpCounters) -> u64) -> u64 {
        self.tcp.iter().map(field).sum()
    }
}

const fn count(name: &'static str, value: u64) -> Counter {
    Counter { name, value, is_gauge: false }
}

/// RFC 4293, `ipSystemStatsTable` of IPv4, in the names of MIB-II.
fn ip(from: &Sources<'_>) -> Section {
    use DropReason as D;
    let dropped = |reasons: &[DropReason]| from.dropped_of(Family::Inet, reasons);
    let header_errors = dropped(&[D::IpMalformed, D::IpChecksum, D::IpBadOptions]);
    let counters = vec![
        forwarding(from, Family::Inet),
        count("InReceives", from.counter("ip_in") + header_errors),
        count("InHdrErrors", header_errors),
        count("InAddrErrors", dropped(&[D::IpNotOurs, D::IpBadSource, D::IpLinkBroadcast])),
        count("InUnknownProtos", dropped(&[D::IpUnknownProtocol])),
        count("InDiscards", dropped(&[D::FragmentMemory])),
        count("OutRequests", from.counter("ip_out")),
        count("OutDiscards", dropped(&OUT_DISCARDS)),
        count("OutNoRoutes", dropped(&[D::NoRoute])),
        count("ForwDatagrams", from.counter("ip_forwarded")),
        count("ReasmTimeout", dropped(&[D::FragmentTimeout])),
        count("ReasmReqds", from.counter("fragments_in")),
        count("ReasmOKs", from.counter("reassembled")),
        count("ReasmFails", dropped(&REASSEMBLY_FAILS)),
        count("FragOKs", from.counter("ip_fragmented")),
        count("FragFails", dropped(&[D::TooBig])),
        count("FragCreates", from.counter("fragments_out")),
        count("InCsumErrors", dropped(&[D::IpChecksum])),
    ];
    Section { name: "Ip", counters }
}

/// RFC 4293, `ipSystemStatsTable` of IPv6, in Linux's names (`/proc/net/snmp6`).
fn ip6(from: &Sources<'_>) -> Section {
    use DropReason as D;
    let dropped = |reasons: &[DropReason]| from.dropped_of(Family::Inet6, reasons);
    let header_errors =
        dropped(&[D::IpMalformed, D::IpBadOptions, D::IpExtensionLimit, D::HopLimit]);
    let counters = vec![
        forwarding(from, Family::Inet6),
        count("InReceives", from.counter("ip6_in") + header_errors),
        count("InHdrErrors", header_errors),
        count("InTooBigErrors", from.counter("ip6_too_big")),
        count("InAddrErrors", dropped(&[D::IpNotOurs, D::IpBadSource, D::IpLinkBroadcast])),
        count("InUnknownProtos", dropped(&[D::IpUnknownProtocol])),
        count("InDiscards", dropped(&[D::FragmentMemory])),
        count("OutForwDatagrams", from.counter("ip6_forwarded")),
        count("OutRequests", from.counter("ip6_out")),
        count("OutDiscards", dropped(&OUT_DISCARDS)),
        count("OutNoRoutes", dropped(&[D::NoRoute])),
        count("ReasmTimeout", dropped(&[D::FragmentTimeout])),
        count("ReasmReqds", from.counter("fragments6_in")),
        count("ReasmOKs", from.counter("reassembled6")),
        count("ReasmFails", dropped(&REASSEMBLY_FAILS)),
        count("FragFails", dropped(&[D::TooBig])),
        count("FragCreates", from.counter("fragments6_out")),
    ];
    Section { name: "Ip6", counters }
}

const OUT_DISCARDS: [DropReason; 2] = [DropReason::ReplyQueueFull, DropReason::NeighbourQueueFull];

const REASSEMBLY_FAILS: [DropReason; 4] = [
    DropReason::FragmentTimeout,
    DropReason::FragmentMemory,
    DropReason::FragmentMalformed,
    DropReason::FragmentOverlap,
];

/// RFC 4293: 1 a router, 2 a host.
fn forwarding(from: &Sources<'_>, family: Family) -> Counter {
    let value = if from.inet.forwarding(family) == Forwarding::On { 1 } else { 2 };
    Counter { name: "Forwarding", value, is_gauge: true }
}

fn icmp(from: &Sources<'_>) -> Section {
    of_icmp(
        from,
        "Icmp",
        Family::Inet,
        ["icmp_in", "icmp_out", "icmp_echoes", "icmp_errors_in", "icmp_errors_out"],
    )
}

fn icmp6(from: &Sources<'_>) -> Section {
    of_icmp(
        from,
        "Icmp6",
        Family::Inet6,
        ["icmp6_in", "icmp6_out", "icmp6_echoes", "icmp6_errors_in", "icmp6_errors_out"],
    )
}

/// RFC 4293, `icmpStatsTable`, for one family.
fn of_icmp(
    from: &Sources<'_>,
    name: &'static str,
    family: Family,
    [messages_in, messages_out, echoes, errors_in, errors_out]: [&str; 5],
) -> Section {
    use DropReason as D;
    let dropped = |reasons: &[DropReason]| from.dropped_of(family, reasons);
    let errors = dropped(&[D::IcmpMalformed, D::IcmpChecksum]);
    let counters = vec![
        count("InMsgs", from.counter(messages_in) + errors),
        count("InErrors", errors),
        count("InCsumErrors", dropped(&[D::IcmpChecksum])),
        count("OutMsgs", from.counter(messages_out)),
        count("OutErrors", dropped(&[D::IcmpRateLimited])),
        count("OutEchoReps", from.counter(echoes)),
        count("InErrorMsgs", from.counter(errors_in)),
        count("OutErrorMsgs", from.counter(errors_out)),
    ];
    Section { name, counters }
}

fn tcp(from: &Sources<'_>) -> Section {
    use DropReason as D;
    let states = from.inet.sockets();
    let established = states.iter().filter(|socket| {
        // RFC 4022: ESTABLISHED or CLOSE-WAIT.
        matches!(socket.state, "ESTABLISHED" | "CLOSE-WAIT")
    });
    let counters = vec![
        count("ActiveOpens", from.tcp(|tcp| tcp.active_opens)),
        count("PassiveOpens", from.tcp(|tcp| tcp.passive_opens)),
        count("AttemptFails", from.tcp(|tcp| tcp.attempt_fails)),
        count("EstabResets", from.tcp(|tcp| tcp.established_resets)),
        Counter { name: "CurrEstab", value: established.count() as u64, is_gauge: true },
        count("InSegs", from.tcp(|tcp| tcp.segments_in)),
        count("OutSegs", from.tcp(|tcp| tcp.segments_out)),
        count("RetransSegs", from.tcp(|tcp| tcp.retransmitted_segments)),
        count("InErrs", from.dropped(&[D::TcpMalformed, D::TcpChecksum])),
        count("OutRsts", from.tcp(|tcp| tcp.resets_out)),
        count("InCsumErrors", from.dropped(&[D::TcpChecksum])),
    ];
    Section { name: "Tcp", counters }
}

fn udp(from: &Sources<'_>) -> Section {
    use DropReason as D;
    let errors = [D::UdpMalformed, D::UdpChecksum, D::SocketBufferFull, D::UdpMemory];
    let counters = vec![
        count("InDatagrams", from.counter("udp_in")),
        count("NoPorts", from.dropped(&[D::UdpNoPort])),
        count("InErrors", from.dropped(&errors)),
        count("OutDatagrams", from.counter("udp_out")),
        count("RcvbufErrors", from.dropped(&[D::SocketBufferFull])),
        count("InCsumErrors", from.dropped(&[D::UdpChecksum])),
        count("MemErrors", from.dropped(&[D::UdpMemory])),
    ];
    Section { name: "Udp", counters }
}

fn tcp_more(from: &Sources<'_>) -> Section {
    use DropReason as D;
    let counters = vec![
        count("SyncookiesSent", from.tcp(|tcp| tcp.syn_cookies_sent)),
        count("SyncookiesRecv", from.tcp(|tcp| tcp.syn_cookies_received)),
        count("SyncookiesFailed", from.tcp(|tcp| tcp.syn_cookies_failed)),
        count("ListenOverflows", from.tcp(|tcp| tcp.listen_overflows)),
        count("ListenDrops", from.dropped(&[D::TcpListenOverflow])),
        count("TCPReqQFullDoCookies", from.tcp(|tcp| tcp.syn_cookies_sent)),
        count("TCPReqQFullDrop", from.tcp(|tcp| tcp.syn_queue_drops)),
        count("TCPAbortOnOverflow", from.tcp(|tcp| tcp.aborts_on_overflow)),
        count("PAWSEstabRejected", from.dropped(&[D::TcpPaws])),
        count("TCPTimeouts", from.tcp(|tcp| tcp.timeouts)),
        count("TCPFastRetrans", from.tcp(|tcp| tcp.fast_retransmits)),
        count("TCPOFOQueue", from.tcp(|tcp| tcp.out_of_order_in)),
        count("TCPOFODrop", from.tcp(|tcp| tcp.out_of_order_drops)),
        count("PruneCalled", from.tcp(|tcp| tcp.prune_calls)),
        count("RcvPruned", from.tcp(|tcp| tcp.receive_pruned)),
        count("OfoPruned", from.tcp(|tcp| tcp.out_of_order_pruned)),
        count("TCPRcvCollapsed", from.tcp(|tcp| tcp.receive_collapses)),
        count("TCPRcvQDrop", from.tcp(|tcp| tcp.receive_drops)),
        count("TCPMemoryPressures", from.inet.tcp_memory().pressures),
        count("TCPMemoryBytes", from.inet.tcp_memory().granted_bytes),
        count("TCPSendNoMemory", from.tcp(|tcp| tcp.send_refusals)),
        count("TCPAbortOnMemory", from.tcp(|tcp| tcp.aborts_on_memory)),
        count("TCPSackRecovery", from.tcp(|tcp| tcp.sack_recoveries)),
        count("TCPSACKReneging", from.tcp(|tcp| tcp.sack_renegings)),
        count("TCPSACKDiscard", from.tcp(|tcp| tcp.sacks_discarded)),
        count("TCPLostRetransmit", from.tcp(|tcp| tcp.lost_retransmits)),
        count("TCPLossProbes", from.tcp(|tcp| tcp.loss_probes)),
        count("TCPLossProbeRecovery", from.tcp(|tcp| tcp.loss_probe_recoveries)),
        count("TCPSpuriousRTOs", from.tcp(|tcp| tcp.spurious_timeouts)),
        count("TCPLossUndo", from.tcp(|tcp| tcp.loss_undos)),
        count("TCPFullUndo", from.tcp(|tcp| tcp.full_undos)),
        count("TCPPartialUndo", from.tcp(|tcp| tcp.partial_undos)),
        count("TCPDSACKUndo", from.tcp(|tcp| tcp.dsack_undos)),
        count("TCPDSACKRecv", from.tcp(|tcp| tcp.dsacks_in)),
        count("TCPDSACKOldSent", from.tcp(|tcp| tcp.dsacks_old_out)),
        count("TCPDSACKOfoSent", from.tcp(|tcp| tcp.dsacks_ofo_out)),
        count("TCPChallengeACK", from.tcp(|tcp| tcp.challenge_acks_out)),
        count("TCPDeferAcceptDrop", from.tcp(|tcp| tcp.deferred_accepts)),
        count("TCPFastOpenActive", from.tcp(|tcp| tcp.fast_open_active)),
        count("TCPFastOpenActiveFail", from.tcp(|tcp| tcp.fast_open_active_fails)),
        count("TCPFastOpenPassive", from.tcp(|tcp| tcp.fast_open_passive)),
        count("TCPFastOpenPassiveFail", from.tcp(|tcp| tcp.fast_open_passive_fails)),
        count("TCPFastOpenListenOverflow", from.tcp(|tcp| tcp.fast_open_overflows)),
        count("TCPFastOpenCookieReqd", from.tcp(|tcp| tcp.fast_open_cookies_asked)),
        count("TCPFastOpenBlackhole", from.tcp(|tcp| tcp.fast_open_blackholes)),
        count("TCPFastOpenPassiveAltKey", from.tcp(|tcp| tcp.fast_open_passive_previous_key)),
        count("TCPMD5NotFound", from.tcp(|tcp| tcp.md5_not_found)),
        count("TCPMD5Unexpected", from.tcp(|tcp| tcp.md5_unexpected)),
        count("TCPMD5Failure", from.tcp(|tcp| tcp.md5_failures)),
        count("TCPAORequired", from.tcp(|tcp| tcp.ao_required)),
        count("TCPAOBad", from.tcp(|tcp| tcp.ao_bad)),
        count("TCPAOKeyNotFound", from.tcp(|tcp| tcp.ao_keys_not_found)),
        count("TCPAODroppedIcmps", from.tcp(|tcp| tcp.ao_icmps_dropped)),
        count("TCPAOGood", from.tcp(|tcp| tcp.ao_good)),
        count("TCPSYNChallenge", from.tcp(|tcp| tcp.syn_challenges)),
        count("TCPACKSkippedChallenge", from.tcp(|tcp| tcp.answers_skipped)),
        count("TCPACKSkippedTimeWait", from.tcp(|tcp| tcp.time_wait_answers_skipped)),
        count("TCPKeepAlive", from.tcp(|tcp| tcp.keepalives_out)),
        count("TCPWinProbe", from.tcp(|tcp| tcp.window_probes_out)),
        count("TCPPureAcksOut", from.tcp(|tcp| tcp.pure_acks_out)),
        count("TCPBytesIn", from.tcp(|tcp| tcp.bytes_in)),
        count("TCPBytesLanded", from.tcp(|tcp| tcp.bytes_landed)),
        count("TCPBytesOut", from.tcp(|tcp| tcp.bytes_out)),
        count("TCPMTUPSuccess", from.tcp(|tcp| tcp.mtu_probe_successes)),
        count("TCPMTUPFail", from.tcp(|tcp| tcp.mtu_probe_failures)),
        count("TCPMtuBlackHoles", from.tcp(|tcp| tcp.black_holes)),
        count("TCPPathMtuShrunk", from.tcp(|tcp| tcp.path_mtu_shrunk)),
        count("TCPTimeWaitOverflow", from.tcp(|tcp| tcp.time_wait_evicted)),
        count("TWRecycled", from.tcp(|tcp| tcp.time_wait_reused)),
    ];
    Section { name: "TcpExt", counters }
}

/// Those that stand under another name above.
const NAMED: [&str; 26] = [
    "ip_in",
    "ip_out",
    "fragments_in",
    "fragments_out",
    "reassembled",
    "ip_forwarded",
    "ip_fragmented",
    "icmp_in",
    "icmp_out",
    "icmp_echoes",
    "icmp_errors_in",
    "icmp_errors_out",
    "ip6_in",
    "ip6_out",
    "fragments6_in",
    "fragments6_out",
    "reassembled6",
    "ip6_forwarded",
    "ip6_too_big",
    "icmp6_in",
    "icmp6_out",
    "icmp6_echoes",
    "icmp6_errors_in",
    "icmp6_errors_out",
    "udp_in",
    "udp_out",
];

/// Whatever else the stack counts, under its own names.
fn rest(from: &Sources<'_>) -> Section {
    let others = from.counters.iter().filter(|(name, _)| !NAMED.contains(name));
    Section { name: "Stack", counters: others.map(|&(name, n)| count(name, n)).collect() }
}
