//! `net.ipv4.tcp_*`: TCP over either family.

use super::entry::{Place, Sysctl, config, number, switch, time};
use super::value::{Kind, Value};
use crate::tcp::{
    CongestionAlgorithm, EcnOption, EcnPolicy, FastOpen, MtuProbing, RackWait, SynCookies,
    TimeWaitReuse,
};

const MOST_SECONDS: u64 = i32::MAX as u64 / 1000;
const MOST: u64 = i32::MAX as u64;
/// What Linux takes for none of its own in `tcp_orphan_retries`.
const ORPHAN_RETRIES: u8 = 8;

const LEAST_BUFFER_BYTES: u64 = 2_304;
const MOST_BUFFER_BYTES: u64 = 1 << 30;

fn buffer(bytes: &[u32; 3]) -> Value {
    Value::Numbers(bytes.iter().map(|n| u64::from(*n)).collect())
}

pub(super) const TABLE: &[Sysctl] = &[
    switch!(
        "net.ipv4.tcp_abort_on_overflow",
        tcp.abort_on_overflow,
        "reset a handshake that ends at a full accept queue"
    ),
    Sysctl::new(
        "net.ipv4.tcp_available_congestion_control",
        Kind::Words,
        "",
        "the congestion controls that there are",
        Place::Fixed(|config| Value::Words(config.tcp.controllers.names().collect())),
    ),
    number!(
        "net.ipv4.tcp_base_mss",
        tcp.base_mss,
        48,
        65_535,
        "bytes",
        "data of a segment where a search for the path's MTU begins, and at most after a black hole"
    ),
    number!(
        "net.ipv4.tcp_challenge_ack_limit",
        tcp.challenge_acks_per_second,
        0,
        MOST,
        "per second",
        "challenge ACKs of all connections of a shard together (RFC 5961 §7); the default: no bound \
         but that of each connection"
    ),
    config!(
        "net.ipv4.tcp_congestion_control",
        Kind::Word(&CongestionAlgorithm::NAMES),
        "",
        "the congestion control of connections that choose none",
        |config| Value::word(config.tcp.congestion_control.name()),
        |config, value| {
            let chosen = value.first_word().parse();
            config.tcp.congestion_control = chosen.unwrap_or(config.tcp.congestion_control);
        }
    )
    .for_new(),
    switch!("net.ipv4.tcp_dsack", tcp.dsack, "tell the peer of data that came twice (RFC 2883)"),
    config!(
        "net.ipv4.tcp_early_retrans",
        Kind::OneOf(&[0, 3]),
        "",
        "3: ask for the tail of a flight by a tail loss probe before the time-out (RFC 8985 §7); \
         0: do not",
        |config| Value::number(if config.tcp.tail_loss_probe { 3u8 } else { 0 }),
        |config, value| config.tcp.tail_loss_probe = value.is_on()
    ),
    config!(
        "net.ipv4.tcp_ecn",
        Kind::Number { least: 0, most: EcnPolicy::ALL.len() as u64 - 1 },
        "",
        "explicit congestion notification (RFC 3168); 0: none; 1: ask for it and agree to it; 2: \
         agree to it; 3, 4, 5: the same with accurate feedback (RFC 9768), asked for by 3, agreed \
         to by each",
        |config| Value::number(config.tcp.ecn.number()),
        |config, value| config.tcp.ecn = EcnPolicy::ALL[value.to::<usize>()]
    )
    .for_new(),
    switch!(
        "net.ipv4.tcp_ecn_fallback",
        tcp.ecn_fallback,
        "send a SYN that asked for ECN again without it (RFC 3168 §6.1.1.1)"
    ),
    config!(
        "net.ipv4.tcp_ecn_option",
        Kind::Number { least: 0, most: EcnOption::ALL.len() as u64 - 1 },
        "",
        "tell of marked bytes in an option where feedback is accurate (RFC 9768 §3.2.3); 0: never; \
         1: where something was marked; 2: wherever a count has changed",
        |config| Value::number(config.tcp.ecn_option.number()),
        |config, value| config.tcp.ecn_option = EcnOption::ALL[value.to::<usize>()]
    )
    .for_new(),
    config!(
        "net.ipv4.tcp_fastopen",
        Kind::Number { least: 0, most: 0xffff },
        "",
        "TCP Fast Open (RFC 7413), the sum of 1: connects; 2: listeners that ask for it; 4: connects \
         without a cookie; 512: listeners without one; 1024: all listeners",
        |config| Value::number(config.tcp.fast_open.0),
        |config, value| config.tcp.fast_open = FastOpen(value.to())
    ),
    time!(
        "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
        tcp.fast_open_blackhole_timeout,
        0,
        MOST_SECONDS,
        seconds,
        "how long no data go with SYNs once some vanished again and again, twice as long each time; \
         0: it is not looked for"
    ),
    config!(
        "net.ipv4.tcp_fastopen_key",
        Kind::Keys,
        "",
        "the key of Fast Open cookies, and perhaps one more whose cookies are believed and replaced; \
         zeros alone: a secret one, which changes each day",
        |config| Value::Keys(config.tcp.fast_open_keys),
        |config, value| config.tcp.fast_open_keys = value.keys()
    ),
    time!(
        "net.ipv4.tcp_fin_timeout",
        tcp.fin_wait_2,
        1,
        MOST_SECONDS,
        seconds,
        "how long a connection that its program has closed waits in FIN-WAIT-2 for the peer's FIN"
    ),
    config!(
        "net.ipv4.tcp_frto",
        Kind::OneOf(&[0, 2]),
        "",
        "2: find out whether a time-out was spurious (RFC 5682); 0: do not",
        |config| Value::number(if config.tcp.frto { 2u8 } else { 0 }),
        |config, value| config.tcp.frto = value.is_on()
    ),
    time!(
        "net.ipv4.tcp_invalid_ratelimit",
        tcp.out_of_window_ack_interval,
        0,
        MOST,
        milliseconds,
        "the least time between two answers of a connection to segments out of its window"
    ),
    time!(
        "net.ipv4.tcp_keepalive_intvl",
        tcp.keepalive_interval,
        1,
        32_767,
        seconds,
        "between two keep-alive probes, where TCP_KEEPINTVL says nothing else"
    ),
    number!(
        "net.ipv4.tcp_keepalive_probes",
        tcp.keepalive_probes,
        1,
        127,
        "probes",
        "keep-alive probes without an answer that end a connection, where TCP_KEEPCNT says \
         nothing else"
    ),
    time!(
        "net.ipv4.tcp_keepalive_time",
        tcp.keepalive_idle,
        1,
        32_767,
        seconds,
        "idle time before the first keep-alive probe, where TCP_KEEPIDLE says nothing else"
    ),
    number!(
        "net.ipv4.tcp_max_orphans",
        tcp.orphans_max,
        0,
        MOST,
        "connections",
        "those that their programs have closed and that are not over; beyond it, one that is closed \
         is reset"
    ),
    number!(
        "net.ipv4.tcp_max_syn_backlog",
        tcp.syn_backlog_max,
        0,
        1 << 20,
        "SYNs",
        "SYNs of a shard that were answered and are not acknowledged yet, at most; Linux counts for \
         each listener"
    )
    .linux("by memory"),
    number!(
        "net.ipv4.tcp_max_tw_buckets",
        tcp.time_wait_max,
        0,
        1 << 20,
        "connections",
        "connections of a shard in TIME-WAIT at most; beyond it the oldest leave early"
    )
    .linux("by memory"),
    config!(
        "net.ipv4.tcp_mem",
        Kind::MEMORY,
        "pages of 4096 bytes",
        "memory for the buffers of all connections: where it is no longer short, where it is, and \
         the most",
        |config| Value::of_memory(&config.tcp.memory),
        |config, value| config.tcp.memory = value.to_memory()
    ),
    time!(
        "net.ipv4.tcp_min_rtt_wlen",
        tcp.min_rtt_window,
        0,
        86_400,
        seconds,
        "how long the shortest round trip is remembered, or up to twice as long"
    ),
    switch!(
        "net.ipv4.tcp_moderate_rcvbuf",
        tcp.receive_buffer_grows,
        "receive buffers grow by themselves, as their programs read faster"
    ),
    number!(
        "net.ipv4.tcp_mtu_probe_floor",
        tcp.mtu_probe_floor,
        48,
        65_535,
        "bytes",
        "a black hole makes the data of segments no fewer than this, nor than 76"
    ),
    config!(
        "net.ipv4.tcp_mtu_probing",
        Kind::Number { least: 0, most: MtuProbing::ALL.len() as u64 - 1 },
        "",
        "find out a path's MTU by larger segments (RFC 4821); 0: never; 1: after a black hole; 2: \
         always",
        |config| Value::number(config.tcp.mtu_probing.number()),
        |config, value| config.tcp.mtu_probing = MtuProbing::ALL[value.to::<usize>()]
    ),
    number!(
        "net.ipv4.tcp_notsent_lowat",
        tcp.not_sent_low_water_bytes,
        1,
        u32::MAX as u64,
        "bytes",
        "what is not sent yet of a connection from which on it takes no more, unless \
         TCP_NOTSENT_LOWAT says otherwise"
    ),
    config!(
        "net.ipv4.tcp_orphan_retries",
        Kind::Number { least: 0, most: 255 },
        "retransmissions",
        "retransmissions that end a connection whose program has closed it; 0: 8",
        |config| {
            let retries = config.tcp.orphan_retries;
            Value::number(if retries == ORPHAN_RETRIES { 0 } else { retries })
        },
        |config, value| {
            let retries = value.to();
            config.tcp.orphan_retries = if retries == 0 { ORPHAN_RETRIES } else { retries };
        }
    ),
    number!(
        "net.ipv4.tcp_pacing_ca_ratio",
        tcp.pacing_ca_ratio,
        0,
        1_000,
        "percent",
        "how much of the window over a round trip counts as the rate of a connection, of which about a \
         millisecond's worth leaves at once, after slow start"
    ),
    number!(
        "net.ipv4.tcp_pacing_ss_ratio",
        tcp.pacing_ss_ratio,
        0,
        1_000,
        "percent",
        "the same in slow start"
    ),
    time!(
        "net.ipv4.tcp_probe_interval",
        tcp.mtu_probe_interval,
        1,
        MOST_SECONDS,
        seconds,
        "the time after which a search for a path's MTU that has ended begins anew"
    ),
    number!(
        "net.ipv4.tcp_probe_threshold",
        tcp.mtu_probe_threshold,
        1,
        65_535,
        "bytes",
        "a search for a path's MTU ends where its bounds are closer than this"
    ),
    config!(
        "net.ipv4.tcp_recovery",
        Kind::OneOf(&[1, 3, 5, 7]),
        "",
        "RACK finds losses (RFC 8985); the sum of 1: always so; 2: it waits for a quarter of the \
         shortest round trip, however often that is too short; 4: it waits however many segments \
         have overtaken",
        |config| {
            let RackWait { adapts, counts } = config.tcp.rack;
            Value::number(1 + 2 * u8::from(!adapts) + 4 * u8::from(!counts))
        },
        |config, value| {
            let bits = value.at(0);
            config.tcp.rack = RackWait { adapts: bits & 2 == 0, counts: bits & 4 == 0 };
        }
    ),
    switch!(
        "net.ipv4.tcp_reflect_tos",
        tcp.reflect_tos,
        "a listener's side of a connection has the DSCP of the SYN that began it"
    )
    .for_new(),
    number!(
        "net.ipv4.tcp_reordering",
        tcp.reordering,
        1,
        127,
        "segments",
        "by how many segments one may be overtaken before it counts as lost, until the path is known \
         to reorder"
    )
    .for_new(),
    number!(
        "net.ipv4.tcp_retries1",
        tcp.advice_retries,
        0,
        255,
        "retransmissions",
        "retransmissions after which the way to the peer is looked for anew (RFC 9293 §3.8.3, R1)"
    ),
    number!(
        "net.ipv4.tcp_retries2",
        tcp.data_retries,
        0,
        255,
        "retransmissions",
        "retransmissions that end a connection (RFC 9293 §3.8.3, R2)"
    ),
    config!(
        "net.ipv4.tcp_rmem",
        Kind::Numbers { count: 3, least: LEAST_BUFFER_BYTES, most: MOST_BUFFER_BYTES },
        "bytes",
        "of a connection's receive buffer: what it has while memory is short, at first, and what it \
         grows to; SO_RCVBUF ends the growth",
        |config| buffer(&[
            config.tcp.receive_buffer_min_bytes,
            config.tcp.receive_buffer_bytes,
            config.tcp.receive_buffer_max_bytes,
        ]),
        |config, value| {
            config.tcp.receive_buffer_min_bytes = value.at(0) as u32;
            config.tcp.receive_buffer_bytes = value.at(1) as u32;
            config.tcp.receive_buffer_max_bytes = value.at(2) as u32;
        }
    )
    .for_new(),
    switch!(
        "net.ipv4.tcp_rfc1337",
        tcp.rfc1337,
        "a RST does not end a TIME-WAIT (RFC 1337)"
    ),
    time!(
        "net.ipv4.tcp_rto_max_ms",
        tcp.rto_max,
        1_000,
        120_000,
        milliseconds,
        "ceiling of the retransmission time-out (RFC 6298 §2.5)"
    ),
    time!(
        "net.ipv4.tcp_rto_min_us",
        tcp.rto_min,
        1,
        120_000_000,
        microseconds,
        "floor of what the retransmission time-out has beyond the round trip (RFC 6298 §2.4)"
    ),
    switch!("net.ipv4.tcp_sack", tcp.sack, "offer and use selective acknowledgements (RFC 2018)")
        .for_new(),
    switch!(
        "net.ipv4.tcp_slow_start_after_idle",
        tcp.slow_start_after_idle,
        "a window that was idle or not used for a time-out shrinks (RFC 5681 §4.1)"
    ),
    number!(
        "net.ipv4.tcp_syn_linear_timeouts",
        tcp.syn_linear_timeouts,
        0,
        127,
        "retransmissions",
        "so many SYNs more are sent again, one at each first time-out, before that doubles"
    ),
    number!(
        "net.ipv4.tcp_syn_retries",
        tcp.syn_retries,
        1,
        127,
        "retransmissions",
        "SYNs sent again before a connect fails, where TCP_SYNCNT says nothing else"
    ),
    number!(
        "net.ipv4.tcp_synack_retries",
        tcp.syn_ack_retries,
        0,
        255,
        "retransmissions",
        "SYN-ACKs sent again before a connection that was not finished is forgotten"
    ),
    config!(
        "net.ipv4.tcp_syncookies",
        Kind::Number { least: 0, most: 2 },
        "",
        "answer SYNs with cookies that need no memory (RFC 4987 §3.6); 0: never; 1: when the queue of \
         SYNs is full; 2: always, for tests",
        |config| Value::number(config.tcp.syn_cookies as u8),
        |config, value| {
            config.tcp.syn_cookies = match value.at(0) {
                0 => SynCookies::Never,
                1 => SynCookies::OnOverflow,
                _ => SynCookies::Always,
            };
        }
    ),
    switch!(
        "net.ipv4.tcp_thin_linear_timeouts",
        tcp.thin_linear_timeouts,
        "the first 6 time-outs of a connection do not double while it has less than 4 full segments under way"
    ),
    switch!(
        "net.ipv4.tcp_timestamps",
        tcp.timestamps,
        "offer and use timestamps, from an origin of each pair of addresses (RFC 7323 §3)"
    )
    .for_new(),
    number!(
        "net.ipv4.tcp_tso_rtt_log",
        tcp.tso_rtt_log,
        0,
        255,
        "",
        "on short paths up to 64 KiB more leave at once, half as much for each 2 to the power of this \
         microseconds of their round trip"
    ),
    config!(
        "net.ipv4.tcp_tw_reuse",
        Kind::Number { least: 0, most: 2 },
        "",
        "may a connect take over a port pair in TIME-WAIT where timestamps make it safe \
         (RFC 6191)? 0: never; 1: yes; 2: over loopback",
        |config| Value::number(config.tcp.time_wait_reuse as u8),
        |config, value| {
            config.tcp.time_wait_reuse = match value.at(0) {
                0 => TimeWaitReuse::Never,
                1 => TimeWaitReuse::Always,
                _ => TimeWaitReuse::Loopback,
            };
        }
    )
    .linux("2"),
    time!(
        "net.ipv4.tcp_tw_reuse_delay",
        tcp.time_wait_reuse_after,
        1,
        60_000,
        milliseconds,
        "the age from which a TIME-WAIT may be taken over by a connect"
    )
    .linux("1000"),
    switch!(
        "net.ipv4.tcp_window_scaling",
        tcp.window_scaling,
        "offer and use windows of more than 64 KiB (RFC 7323 §2)"
    )
    .for_new(),
    config!(
        "net.ipv4.tcp_wmem",
        Kind::Numbers { count: 3, least: LEAST_BUFFER_BYTES, most: MOST_BUFFER_BYTES },
        "bytes",
        "of a connection's send buffer: what it has while memory is short, at first, and what it \
         grows to; SO_SNDBUF ends the growth",
        |config| buffer(&[
            config.tcp.send_buffer_min_bytes,
            config.tcp.send_buffer_bytes,
            config.tcp.send_buffer_max_bytes,
        ]),
        |config, value| {
            config.tcp.send_buffer_min_bytes = value.at(0) as u32;
            config.tcp.send_buffer_bytes = value.at(1) as u32;
            config.tcp.send_buffer_max_bytes = value.at(2) as u32;
        }
    )
    .for_new()
    .linux("4096 16384 4194304"),
];
