//! What of TCP can be set, per stack and per connection.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use libnet::socket::FastOpenKeys;

use super::auth::AuthKeys;
use super::cc::{CongestionAlgorithm, Controllers};
use super::ecn::{EcnOption, EcnPolicy};
use super::fast_open::FastOpen;
use super::table::PortSharing;
use crate::ports::PortSet;

/// Settings of a stack's TCP. Defaults are Linux's where Linux has the knob.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpConfig {
    /// Bytes that a connection's send buffer holds at first (the second of `net.ipv4.tcp_wmem`).
    /// Buffers count data, not what keeping them costs.
    pub send_buffer_bytes: u32,
    /// Bytes to which a send buffer grows by itself, as its congestion window does (the third of
    /// `net.ipv4.tcp_wmem`); one that begins larger, or was set (`SO_SNDBUF`), stays as it is.
    pub send_buffer_max_bytes: u32,
    /// Bytes that a connection's receive buffer holds at first; the window follows (the second of
    /// `net.ipv4.tcp_rmem`).
    pub receive_buffer_bytes: u32,
    /// Bytes to which a receive buffer grows by itself, as the application reads faster (the third
    /// of `net.ipv4.tcp_rmem`); it fixes the window shift at the SYN. One that begins larger, or was
    /// set (`SO_RCVBUF`), stays as it is. Source: RFC 7323 §2.3.
    pub receive_buffer_max_bytes: u32,
    /// Receive buffers grow by themselves (`net.ipv4.tcp_moderate_rcvbuf`).
    pub receive_buffer_grows: bool,
    /// Round trips below this let a receive buffer grow slower: what a cache holds is faster
    /// (`net.ipv4.tcp_rcvbuf_low_rtt` of Linux 6.19). Send buffers go by it, too.
    pub receive_buffer_low_rtt: Duration,
    /// The largest `SO_SNDBUF` that can be set, bytes (`net.core.wmem_max`).
    pub send_buffer_option_max_bytes: u32,
    /// The largest `SO_RCVBUF` that can be set, bytes (`net.core.rmem_max`).
    pub receive_buffer_option_max_bytes: u32,
    /// Bytes that a connection may send from while memory is short, if there is any at all (the
    /// first of `net.ipv4.tcp_wmem`).
    pub send_buffer_min_bytes: u32,
    /// The same for what it receives (the first of `net.ipv4.tcp_rmem`).
    pub receive_buffer_min_bytes: u32,
    /// Bytes not sent yet from which on a send buffer takes no more; [`u32::MAX`]: none
    /// (`net.ipv4.tcp_notsent_lowat`).
    pub not_sent_low_water_bytes: u32,
    /// Memory for the buffers of all connections of a stack.
    pub memory: MemoryLimits,
    /// Connections of a stack that their applications have closed, at most; beyond it, one that is
    /// closed is reset (`net.ipv4.tcp_max_orphans`).
    pub orphans_max: u64,
    /// Runs of out-of-order data, each after a hole, that a connection keeps at most.
    pub reassembly_runs: u16,
    /// RTO before the first measurement. Source: RFC 6298 §2.1.
    pub rto_initial: Duration,
    /// Floor of what the RTO has beyond the round trip (`TCP_RTO_MIN`).
    pub rto_min: Duration,
    /// Ceiling of the RTO, 60 s at least. Source: RFC 6298 §2.5.
    pub rto_max: Duration,
    /// How long an acknowledgement waits for company at least, below 500 ms.
    /// Source: RFC 1122 §4.2.3.2.
    pub delayed_ack: Duration,
    /// How long it waits at most, where data come far apart over a long path; below 500 ms.
    pub delayed_ack_max: Duration,
    /// How long it waits once two full segments came in one super-segment and more is expected.
    pub stretched_ack: Duration,
    /// SYNs sent again before a connect fails.
    pub syn_retries: u8,
    /// So many SYNs more, which follow each other at the first time-out before it doubles
    /// (`net.ipv4.tcp_syn_linear_timeouts`); 0 is what RFC 6298 §5.5 has.
    pub syn_linear_timeouts: u8,
    /// SYN-ACKs sent again before a connection that nobody accepted is forgotten.
    pub syn_ack_retries: u8,
    /// Retransmissions after which advice goes to the IP layer. Source: RFC 9293 §3.8.3 (R1).
    pub advice_retries: u8,
    /// Retransmissions after which a connection fails. Source: RFC 9293 §3.8.3 (R2).
    pub data_retries: u8,
    /// The same for one that the application has closed.
    pub orphan_retries: u8,
    /// A listener's side of a connection has the DSCP of the SYN that began it, not the listener's own
    /// (`net.ipv4.tcp_reflect_tos`).
    pub reflect_tos: bool,
    /// Stay in TIME-WAIT.
    pub time_wait: Duration,
    /// Connections in TIME-WAIT at most; beyond it, the oldest leave early.
    pub time_wait_max: usize,
    /// Whose place in TIME-WAIT a connect of ours may take, if timestamps make it safe
    /// (`net.ipv4.tcp_tw_reuse`). Source: RFC 6191.
    pub time_wait_reuse: TimeWaitReuse,
    /// Age from which it may (`net.ipv4.tcp_tw_reuse_delay`).
    pub time_wait_reuse_after: Duration,
    /// A RST does not end a TIME-WAIT (`net.ipv4.tcp_rfc1337`). Source: RFC 1337 §3 (F1).
    pub rfc1337: bool,
    /// Stay in FIN-WAIT-2 after the application has closed.
    pub fin_wait_2: Duration,
    /// Idle time before the first keep-alive probe, 2 h at least by default.
    /// Source: RFC 9293 §3.8.4 (MUST-27, MUST-28).
    pub keepalive_idle: Duration,
    /// Time between keep-alive probes.
    pub keepalive_interval: Duration,
    /// Keep-alive probes without answer after which a connection fails.
    pub keepalive_probes: u8,
    /// Challenge ACKs per second, for all connections of a shard (`net.ipv4.tcp_challenge_ack_limit`);
    /// 2^31 - 1: no such bound, since it would tell a stranger of other connections.
    /// Source: RFC 5961 §7.
    pub challenge_acks_per_second: u32,
    /// Time between a connection's answers to segments that cannot be right: challenge ACKs, and
    /// those to segments without data out of the window (`net.ipv4.tcp_invalid_ratelimit`).
    pub out_of_window_ack_interval: Duration,
    /// How much of the window a round trip carries counts as its rate in slow start, percent
    /// (`net.ipv4.tcp_pacing_ss_ratio`): what leaves at once follows from it.
    pub pacing_ss_ratio: u16,
    /// The same after slow start (`net.ipv4.tcp_pacing_ca_ratio`).
    pub pacing_ca_ratio: u16,
    /// The power of two of microseconds in which what leaves at once on short paths, beside that, halves
    /// once (`net.ipv4.tcp_tso_rtt_log`); 0: there is none of it.
    pub tso_rtt_log: u8,
    /// What congestion control connections use (`net.ipv4.tcp_congestion_control`).
    pub congestion_control: CongestionAlgorithm,
    /// Those of the program's own, which connections can ask for by name.
    pub controllers: Controllers,
    /// A window that was not used for a time-out, or not in full, shrinks
    /// (`net.ipv4.tcp_slow_start_after_idle`). Source: RFC 5681 §4.1, RFC 2861 §3.
    pub slow_start_after_idle: bool,
    /// Which form of ECN connections ask for and agree to (`net.ipv4.tcp_ecn`). Source: RFC 3168.
    pub ecn: EcnPolicy,
    /// A SYN that asked for ECN without an answer is sent again without it
    /// (`net.ipv4.tcp_ecn_fallback`). Source: RFC 3168 §6.1.1.1.
    pub ecn_fallback: bool,
    /// When bytes are told of in AccECN mode (`net.ipv4.tcp_ecn_option`). Source: RFC 9768 §3.2.3.3.
    pub ecn_option: EcnOption,
    /// Offer windows of more than 64 KiB (`net.ipv4.tcp_window_scaling`). Source: RFC 7323 §2.
    pub window_scaling: bool,
    /// Offer timestamps. Source: RFC 7323 §3.
    pub timestamps: bool,
    /// Offer and use selective acknowledgements (`net.ipv4.tcp_sack`). Source: RFC 2018.
    pub sack: bool,
    /// Tell of what came twice (`net.ipv4.tcp_dsack`). Source: RFC 2883.
    pub dsack: bool,
    /// Ask for the last of a flight before the time-out (`net.ipv4.tcp_early_retrans`).
    /// Source: RFC 8985 §7.
    pub tail_loss_probe: bool,
    /// By how many segments one may be overtaken before it counts as lost, until the path is known
    /// to reorder (`net.ipv4.tcp_reordering`). DupThresh of RFC 6675 §2 and RFC 8985 §6.2, step 4.
    pub reordering: u8,
    /// How RACK waits for what was overtaken (`net.ipv4.tcp_recovery`).
    pub rack: RackWait,
    /// The shortest round trip is that of so long, or of up to twice as long
    /// (`net.ipv4.tcp_min_rtt_wlen`). Source: RFC 8985 §6.2 step 1.
    pub min_rtt_window: Duration,
    /// The time-out does not double at first where few segments are under way
    /// (`net.ipv4.tcp_thin_linear_timeouts`).
    pub thin_linear_timeouts: bool,
    /// Find out whether a time-out was spurious (`net.ipv4.tcp_frto`). Source: RFC 5682.
    pub frto: bool,
    /// Records of what is under way that a connection keeps, one for a super-segment and one more
    /// for each loss or hole in it; beyond them, what leaves counts as sent with what left before it.
    pub send_records: usize,
    /// An ICMP message cannot make a path's MTU smaller than this, bytes.
    pub path_mtu_min: u32,
    /// When a path's MTU is searched for (`net.ipv4.tcp_mtu_probing`). Source: RFC 4821.
    pub mtu_probing: MtuProbing,
    /// Data bytes of a segment where a search begins, and at most after a black hole
    /// (`net.ipv4.tcp_base_mss`).
    pub base_mss: u16,
    /// Below this a black hole makes segments no smaller, data bytes (`net.ipv4.tcp_mtu_probe_floor`).
    pub mtu_probe_floor: u16,
    /// A search ends where its bounds are closer than this, bytes (`net.ipv4.tcp_probe_threshold`).
    pub mtu_probe_threshold: u32,
    /// Then it begins anew after this time (`net.ipv4.tcp_probe_interval`).
    pub mtu_probe_interval: Duration,
    /// Ports for connections that ask for none. Source: RFC 6056 §3.2.
    pub ephemeral_ports: RangeInclusive<u16>,
    /// Those of them that are kept for who asks (`net.ipv4.ip_local_reserved_ports`).
    pub reserved_ports: PortSet,
    /// Connections of a shard at most, those in TIME-WAIT apart.
    pub connections_max: usize,
    /// Connections that wait to be accepted, at most, whatever backlog is asked for
    /// (`net.core.somaxconn`).
    pub backlog_max: u32,
    /// SYNs of a shard that were answered and not acknowledged yet, at most, of all listeners
    /// together (`net.ipv4.tcp_max_syn_backlog`); each takes less than 150 bytes.
    pub syn_backlog_max: usize,
    /// When a listener answers SYNs with cookies (`net.ipv4.tcp_syncookies`). Source: RFC 4987 §3.6.
    pub syn_cookies: SynCookies,
    /// What of Fast Open is on (`net.ipv4.tcp_fastopen`). Source: RFC 7413.
    pub fast_open: FastOpen,
    /// Keys of the cookies of listeners that have none of their own; none: a secret one, which changes
    /// (`net.ipv4.tcp_fastopen_key`). Servers with the same keys, those on Linux too, believe each
    /// other's cookies for their common address.
    pub fast_open_keys: FastOpenKeys,
    /// How long listeners give cookies by one secret key; those by the key before are taken as well.
    /// Source: RFC 7413 §4.1.2.
    pub fast_open_key_lifetime: Duration,
    /// Servers whose cookies a shard remembers, at most.
    pub fast_open_servers_max: usize,
    /// How long no data go with SYNs once some vanished on their way, times two each time; zero: it
    /// is not looked for (`net.ipv4.tcp_fastopen_blackhole_timeout_sec`).
    pub fast_open_blackhole_timeout: Duration,
    /// Segments that are signed by TCP-AO, where we have no key for their sender, are taken as if they
    /// were not; else they are dropped. Source: RFC 5925 §7.3.
    pub ao_accept_unmatched: bool,
    /// A handshake that ends at a full accept queue is reset; otherwise the peer's next segment
    /// finds it again (`net.ipv4.tcp_abort_on_overflow`).
    pub abort_on_overflow: bool,
}

/// When TCP finds out a path's MTU by larger segments (`net.ipv4.tcp_mtu_probing`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum MtuProbing {
    /// 0: never; routers are to tell.
    #[default]
    Off,
    /// 1: where a black hole seems to swallow large segments.
    OnBlackHole,
    /// 2: on every path, from [`TcpConfig::base_mss`] on.
    Always,
}

impl MtuProbing {
    /// All there are, by their numbers.
    pub const ALL: [MtuProbing; 3] = [MtuProbing::Off, MtuProbing::OnBlackHole, MtuProbing::Always];

    /// Linux's number for it.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// How long RACK waits for what was overtaken. Source: RFC 8985 §6.2, step 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RackWait {
    /// The time grows with each round that told of duplicates; else it is a quarter of the shortest
    /// round trip, however often that was too short.
    pub adapts: bool,
    /// It does not wait once as many segments have overtaken as [`TcpConfig::reordering`] allows, on a
    /// path that was never seen to reorder.
    pub counts: bool,
}

impl Default for RackWait {
    fn default() -> Self {
        RackWait { adapts: true, counts: true }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            send_buffer_bytes: 16 << 10,
            // Linux has 4 MiB, which is 160 Mbit/s over 200 ms.
            send_buffer_max_bytes: 32 << 20,
            receive_buffer_bytes: 128 << 10,
            receive_buffer_max_bytes: 32 << 20,
            receive_buffer_grows: true,
            receive_buffer_low_rtt: Duration::from_millis(1),
            send_buffer_option_max_bytes: 64 << 20,
            receive_buffer_option_max_bytes: 64 << 20,
            send_buffer_min_bytes: 4096,
            receive_buffer_min_bytes: 4096,
            not_sent_low_water_bytes: u32::MAX,
            memory: MemoryLimits::default(),
            orphans_max: 1 << 16,
            reassembly_runs: 4096,
            rto_initial: Duration::from_secs(1),
            // DEVIATES RFC 6298 §2.4: floor 200 ms instead of 1 s, as Linux does.
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(120),
            delayed_ack: Duration::from_millis(40),
            delayed_ack_max: Duration::from_millis(200),
            stretched_ack: Duration::from_millis(1),
            // DEVIATES RFC 9293 §3.8.3 (MUST-23: three minutes): 131 s, as Linux does.
            syn_retries: 6,
            syn_linear_timeouts: 4,
            syn_ack_retries: 5,
            advice_retries: 3,
            data_retries: 15,
            orphan_retries: 8,
            reflect_tos: false,
            // DEVIATES RFC 9293 §3.4.2 (MSL 2 min): 60 s for 2 MSL, as Linux does.
            time_wait: Duration::from_secs(60),
            time_wait_max: 1 << 16,
            time_wait_reuse: TimeWaitReuse::Always,
            time_wait_reuse_after: Duration::from_millis(100),
            rfc1337: false,
            fin_wait_2: Duration::from_secs(60),
            keepalive_idle: Duration::from_secs(7200),
            keepalive_interval: Duration::from_secs(75),
            keepalive_probes: 9,
            challenge_acks_per_second: i32::MAX as u32,
            out_of_window_ack_interval: Duration::from_millis(500),
            pacing_ss_ratio: 200,
            pacing_ca_ratio: 120,
            tso_rtt_log: 9,
            congestion_control: CongestionAlgorithm::default(),
            controllers: Controllers::default(),
            slow_start_after_idle: true,
            ecn: EcnPolicy::default(),
            ecn_fallback: true,
            ecn_option: EcnOption::default(),
            window_scaling: true,
            timestamps: true,
            sack: true,
            dsack: true,
            tail_loss_probe: true,
            reordering: 3,
            rack: RackWait::default(),
            min_rtt_window: Duration::from_secs(300),
            thin_linear_timeouts: false,
            frto: true,
            send_records: 16_384,
            path_mtu_min: 552,
            mtu_probing: MtuProbing::default(),
            base_mss: 1024,
            mtu_probe_floor: 48,
            mtu_probe_threshold: 8,
            mtu_probe_interval: Duration::from_secs(600),
            ephemeral_ports: 32768..=60999,
            reserved_ports: PortSet::default(),
            connections_max: 1 << 20,
            backlog_max: 4096,
            syn_backlog_max: 4096,
            syn_cookies: SynCookies::OnOverflow,
            ao_accept_unmatched: true,
            abort_on_overflow: false,
            fast_open: FastOpen::CLIENT,
            fast_open_keys: FastOpenKeys::NONE,
            fast_open_key_lifetime: Duration::from_secs(24 * 3600),
            fast_open_servers_max: 1024,
            fast_open_blackhole_timeout: Duration::ZERO,
        }
    }
}

/// Whose TIME-WAIT gives its place to a connect of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeWaitReuse {
    /// Nobody's (0).
    Never,
    /// Everybody's (1). On Linux it is for loopback only by default; that our timestamps go on
    /// where an earlier connection's to the same host ended makes it safe.
    #[default]
    Always,
    /// That of connections within this host (2).
    Loopback,
}

/// How much memory the buffers of all connections of a stack may take: data, and what keeping them
/// costs (`net.ipv4.tcp_mem`, which counts pages of 4,096 bytes). What a connection itself takes is
/// bounded by [`TcpConfig::connections_max`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLimits {
    /// Below this, memory is no longer short, bytes.
    pub low_bytes: u64,
    /// Above this it is: buffers stop growing, and each connection has its share, bytes.
    pub pressure_bytes: u64,
    /// More is never taken, bytes.
    pub high_bytes: u64,
}

impl MemoryLimits {
    /// So much at most; it is short above two thirds of that, until it is below half, in Linux's
    /// proportion.
    pub const fn of(high_bytes: u64) -> Self {
        MemoryLimits { low_bytes: high_bytes / 2, pressure_bytes: high_bytes / 3 * 2, high_bytes }
    }
}

impl Default for MemoryLimits {
    /// 384 MiB: what Linux takes on a machine of 4 GiB.
    fn default() -> Self {
        MemoryLimits::of(384 << 20)
    }
}

/// When SYNs are answered with cookies instead of being remembered. A peer without timestamps then
/// gets neither window scaling nor SACK, and a lost SYN-ACK is not sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SynCookies {
    /// Never: what finds the queue of SYNs full is dropped (0).
    Never,
    /// When the queue of SYNs is full (1).
    #[default]
    OnOverflow,
    /// Always; for tests (2).
    Always,
}

/// What an application can set of one connection; a listener's go to those it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnOptions {
    /// Bytes of the send buffer (`SO_SNDBUF`); 0: it begins with the stack's default and grows.
    pub send_buffer_bytes: u32,
    /// Bytes of the receive buffer (`SO_RCVBUF`); 0: it begins with the stack's default and grows.
    pub receive_buffer_bytes: u32,
    /// Bytes from which on it is ready to be read (`SO_RCVLOWAT`); 0: any.
    pub receive_low_water_bytes: u32,
    /// Bytes not sent yet from which on it takes no more to send (`TCP_NOTSENT_LOWAT`); 0: the
    /// stack's default.
    pub not_sent_low_water_bytes: u32,
    /// The largest window that the peer is told, bytes; 0: what the buffer has room for
    /// (`TCP_WINDOW_CLAMP`).
    pub window_clamp_bytes: u32,
    /// Send small segments at once (`TCP_NODELAY`). Source: RFC 9293 §3.7.4 (MUST-17).
    pub nodelay: bool,
    /// Let segments that are not full wait for more (`TCP_CORK`).
    pub cork: bool,
    /// Acknowledge at once from the start, not in the hope of data to go with (`TCP_QUICKACK`).
    pub quick_ack: bool,
    /// SYNs sent again before a connect fails; 0: the stack's default (`TCP_SYNCNT`).
    pub syn_retries: u8,
    /// Stay in FIN-WAIT-2 after a close; zero: the stack's default; `None`: none, but a reset
    /// (`TCP_LINGER2`).
    pub fin_wait_2: Option<Duration>,
    /// Probe an idle peer (`SO_KEEPALIVE`). Source: RFC 9293 §3.8.4 (MUST-25: off by default).
    pub keepalive: bool,
    /// Idle time before the first probe; zero: the stack's default.
    pub keepalive_idle: Duration,
    /// Time between probes; zero: the stack's default.
    pub keepalive_interval: Duration,
    /// Probes without answer after which the connection fails; 0: the stack's default.
    pub keepalive_probes: u8,
    /// How long sent data may stay unacknowledged; zero: until the retries are used up.
    /// Source: RFC 9293 §3.8.3 (MUST-21).
    pub user_timeout: Duration,
    /// Upper bound of the segment size in both directions, bytes; 0: none (`TCP_MAXSEG`).
    pub max_segment_bytes: u16,
    /// TTL or hop limit; 0: the stack's default.
    pub ttl: u8,
    /// The traffic class octet. Source: RFC 9293 §3.9.2 (MUST-48).
    pub tos: u8,
    /// Congestion control; `None`: the stack's default (`TCP_CONGESTION`). It can be changed while
    /// data flow.
    pub congestion_control: Option<CongestionAlgorithm>,
    /// A listener's connections wait to be accepted when their first data have come, or so long,
    /// rounded up to the times at which SYN-ACKs are sent again; a connect's last acknowledgement
    /// waits for data (`TCP_DEFER_ACCEPT`). Zero: off.
    pub defer_accept: Duration,
    /// Connections that a listener begins with the data of a SYN, whose handshake is not over, at
    /// most; 0: none (`TCP_FASTOPEN`). Source: RFC 7413 §4.2.
    pub fast_open_queue: u32,
    /// A connect to a server whose cookie is known waits for the first data, to send them with its
    /// SYN (`TCP_FASTOPEN_CONNECT`).
    pub fast_open_connect: bool,
    /// Fast Open without a cookie, on both sides (`TCP_FASTOPEN_NO_COOKIE`).
    pub fast_open_no_cookie: bool,
    /// Keys of a listener's cookies; `None`: the stack's (`TCP_FASTOPEN_KEY`).
    pub fast_open_keys: Option<Arc<FastOpenKeys>>,
    /// Keys that sign its segments (`TCP_MD5SIG`, `TCP_AO_ADD_KEY`).
    pub auth: Option<Arc<AuthKeys>>,
    /// Bytes of data per second that leave at most; 0: as the congestion control says
    /// (`SO_MAX_PACING_RATE`).
    pub max_pacing_rate: u64,
    /// Urgent data stay in line (`SO_OOBINLINE`).
    pub urgent_inline: bool,
    /// With whom it shares its port, and the interface that its packets are bound to.
    pub sharing: PortSharing,
}

impl ConnOptions {
    /// As a connection shows them that a listener with these has begun: what is about its queues
    /// is not the connection's, as on Linux.
    pub(crate) fn of_connection(self) -> Self {
        ConnOptions {
            defer_accept: Duration::ZERO,
            fast_open_queue: 0,
            fast_open_keys: None,
            ..self
        }
    }

    /// All at the stack's defaults.
    pub const fn new() -> Self {
        ConnOptions {
            send_buffer_bytes: 0,
            receive_buffer_bytes: 0,
            receive_low_water_bytes: 0,
            not_sent_low_water_bytes: 0,
            window_clamp_bytes: 0,
            nodelay: false,
            cork: false,
            quick_ack: true,
            syn_retries: 0,
            fin_wait_2: Some(Duration::ZERO),
            keepalive: false,
            keepalive_idle: Duration::ZERO,
            keepalive_interval: Duration::ZERO,
            keepalive_probes: 0,
            user_timeout: Duration::ZERO,
            max_segment_bytes: 0,
            ttl: 0,
            tos: 0,
            congestion_control: None,
            defer_accept: Duration::ZERO,
            fast_open_queue: 0,
            fast_open_connect: false,
            fast_open_no_cookie: false,
            fast_open_keys: None,
            auth: None,
            max_pacing_rate: 0,
            urgent_inline: false,
            sharing: PortSharing {
                reuse_addr: false,
                reuse_port: false,
                iface: None,
                both_families: false,
            },
        }
    }
}

impl Default for ConnOptions {
    fn default() -> Self {
        ConnOptions::new()
    }
}
