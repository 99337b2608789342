//! Settings by Linux's names, each by what it changes on the wire. `tests/conformance/sysctls.toml` lists
//! them.

use std::fmt::Display;

use bytes::Bytes;
use libnet::Instant;
use libnet::socket::FastOpenKeys;

use super::memory::{many, send_all};
use super::net::*;
use super::recovery::grown;
use super::time_wait::closed_by_a;
use crate::config::InetConfig;
use crate::tcp::*;

/// The defaults, and these settings of `net.ipv4`.
fn with(settings: &[(&str, impl Display)]) -> TcpConfig {
    let mut config = InetConfig::default();
    for (name, value) in settings {
        let set = config.set_sysctl(&format!("net.ipv4.{name}"), &value.to_string());
        set.expect("a setting takes the value");
    }
    config.tcp
}

fn net_with(settings: &[(&str, impl Display)]) -> Net {
    Net::with(with(settings), with(settings))
}

fn is_data(sent: &Sent) -> bool {
    sent.seg.data_len > 0
}

/// A sends a byte to which nobody answers: when it leaves, in milliseconds from the first time on.
fn unanswered(net: &mut Net, time: std::time::Duration) -> (ConnId, Vec<u64>) {
    let (a, _) = net.established();
    net.judge(|_, _| Fate::Drop);
    let start = net.now;
    assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
    net.run_for(time);
    (a, sent_at(net, start, is_data))
}

fn sent_at(net: &Net, start: Instant, is: impl Fn(&Sent) -> bool) -> Vec<u64> {
    let hits = net.log.iter().filter(|sent| sent.at >= start && is(sent));
    hits.map(|sent| sent.at.since(start).as_millis() as u64).collect()
}

#[track_caller]
fn assert_near(got: &[u64], want: &[u64]) {
    let near = got.iter().zip(want).all(|(got, want)| got.abs_diff(*want) <= 10);
    assert!(got.len() == want.len() && near, "{got:?}, not {want:?}");
}

#[test]
fn tcp_early_retrans_asks_for_the_tail_before_the_time_out() {
    for (early, probes, want) in
        [(3, 1, [0, 202, 404, 808, 1_616]), (0, 0, [0, 202, 606, 1_414, 3_030])]
    {
        let mut net = net_with(&[("tcp_early_retrans", early)]);
        let (_, times) = unanswered(&mut net, ms(want[4] + 20));
        assert_near(&times, &want);
        assert_eq!(net.a.table.counters().loss_probes, probes);
    }
}

#[test]
fn tcp_rto_min_us_is_the_least_that_a_time_out_has_beyond_the_round_trip() {
    for min_ms in [20, 200, 1_500] {
        let settings = [("tcp_early_retrans", 0), ("tcp_rto_min_us", 1_000 * min_ms)];
        let (_, times) = unanswered(&mut net_with(&settings), ms(3 * min_ms + 20));
        assert_near(&times, &[0, min_ms + 2, 3 * min_ms + 6]);
    }
}

#[test]
fn tcp_rto_max_ms_is_the_most_that_a_time_out_grows_to() {
    let settings = [("tcp_early_retrans", 0), ("tcp_rto_max_ms", 1_000)];
    let (_, times) = unanswered(&mut net_with(&settings), ms(4_500));
    assert_near(&times, &[0, 202, 606, 1_414, 2_414, 3_414, 4_414]);
}

#[test]
fn tcp_thin_linear_timeouts_are_those_of_few_segments() {
    for (thin, due) in [
        (0, [0, 202, 606, 1_414, 3_030, 6_262, 12_726, 25_654, 51_510]),
        // Six, and then they double.
        (1, [0, 202, 404, 606, 808, 1_010, 1_212, 1_414, 1_818]),
    ] {
        let settings = [("tcp_early_retrans", 0), ("tcp_thin_linear_timeouts", thin)];
        let (_, times) = unanswered(&mut net_with(&settings), ms(due[8] + 20));
        assert_near(&times, &due);
    }
    // They do not count against how long a connection lives.
    for (thin, sent) in [(0, 3), (1, 9)] {
        let settings =
            [("tcp_early_retrans", 0), ("tcp_thin_linear_timeouts", thin), ("tcp_retries2", 2)];
        let (_, times) = unanswered(&mut net_with(&settings), secs(60));
        assert_eq!(times.len(), sent, "{times:?}");
    }
    let mut net = net_with(&[("tcp_early_retrans", 0), ("tcp_thin_linear_timeouts", 1)]);
    let (a, _) = net.established();
    net.judge(|_, _| Fate::Drop);
    assert!(net.send(Side::A, a, &[7; 10_000]).is_ok());
    net.log.clear();
    let start = net.now;
    net.run_for(ms(1_500));
    let times = sent_at(&net, start + ms(1), is_data);
    assert_near(&times, &[201, 605, 1_413]);
}

#[test]
fn tcp_min_rtt_wlen_is_how_long_the_shortest_round_trip_is_remembered() {
    for (seconds, remembered) in [(10, false), (300, true)] {
        let mut net = net_with(&[("tcp_min_rtt_wlen", seconds)]);
        net.delay = ms(10);
        let (a, b) = net.established();
        net.transfer(Side::A, a, b, &[7; 10_000], secs(1));
        net.delay = ms(50);
        for _ in 0..25 {
            net.run_for(secs(1));
            net.transfer(Side::A, a, b, &[7; 1_000], secs(1));
        }
        net.run_for(secs(1));
        assert_eq!(net.info(Side::A, a).min_rtt < ms(90), remembered, "{seconds}");
    }
}

#[test]
fn tcp_retries1_is_after_how_many_retransmissions_another_way_is_looked_for() {
    // 0 counts as 1, as on Linux.
    for (retries, advised_after) in [(0, 1), (1, 1), (3, 3), (6, 6)] {
        let mut net = net_with(&[("tcp_early_retrans", 0), ("tcp_retries1", retries)]);
        let (a, _) = net.established();
        net.judge(|_, _| Fate::Drop);
        assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
        while net.a.path.advice == 0 {
            assert!(net.step(net.now + secs(60)), "no advice after {retries} retransmissions");
        }
        assert_eq!(net.log.iter().filter(|sent| is_data(sent)).count(), 1 + advised_after);
    }
}

#[test]
fn tcp_retries2_is_how_many_retransmissions_end_a_connection() {
    // 0 counts as 1, as on Linux.
    for (retries, again) in [(0, 1), (1, 1), (2, 2), (7, 7)] {
        let mut net = net_with(&[("tcp_early_retrans", 0), ("tcp_retries2", retries)]);
        let (a, times) = unanswered(&mut net, secs(300));
        assert_eq!(times.len(), 1 + again, "{times:?}");
        assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
    }
}

#[test]
fn tcp_orphan_retries_is_how_many_retransmissions_end_a_connection_that_is_closed() {
    for (retries, again) in [(0, 8), (2, 2), (5, 5)] {
        let mut net = net_with(&[("tcp_early_retrans", 0), ("tcp_orphan_retries", retries)]);
        let (a, _) = net.established();
        net.judge(|_, _| Fate::Drop);
        assert_eq!(net.send(Side::A, a, b"x"), Ok(1));
        net.close(Side::A, a);
        net.run_for(secs(300));
        assert!(net.a.table.is_empty());
        assert_eq!(net.log.iter().filter(|sent| is_data(sent)).count(), 1 + again);
    }
}

#[test]
fn tcp_syn_retries_and_tcp_synack_retries_are_how_often_either_comes_again() {
    for retries in [1, 3, 6] {
        let mut net = net_with(&[
            ("tcp_syn_retries", retries),
            ("tcp_synack_retries", retries),
            ("tcp_syn_linear_timeouts", 0),
        ]);
        net.listen(8);
        // The SYN arrives, and nothing after it.
        net.judge(|sent, n| if sent.by == Side::A && n == 1 { Fate::Pass } else { Fate::Drop });
        let start = net.now;
        let a = net.connect();
        net.run_for(secs(200));
        let doubling: Vec<u64> = (0..=retries).map(|n| 1_000 * ((1 << n) - 1)).collect();
        for (by, late) in [(Side::A, 0), (Side::B, 1)] {
            let times = sent_at(&net, start + ms(late), |sent| sent.by == by);
            assert_near(&times, &doubling);
        }
        assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
        assert!(net.b.table.is_empty());
    }
    let mut net = net_with(&[("tcp_synack_retries", 0)]);
    let listener = net.listen(8);
    net.judge(|sent, n| if sent.by == Side::A && n == 1 { Fate::Pass } else { Fate::Drop });
    net.connect();
    net.run_for(ms(900));
    assert_eq!(listener.embryos(), 1);
    net.run_for(ms(200));
    assert_eq!((listener.embryos(), net.count(Side::B, Flags::SYN)), (0, 1));
}

#[test]
fn tcp_syn_linear_timeouts_is_how_many_syns_come_before_the_time_out_doubles() {
    let after_4 = [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67];
    for (linear, due) in [(0, &[0, 1, 3, 7, 15, 31, 63][..]), (4, &after_4)] {
        let mut net = net_with(&[("tcp_syn_linear_timeouts", linear)]);
        net.judge(|_, _| Fate::Drop);
        let start = net.now;
        let a = net.connect();
        net.run_for(secs(300));
        let due: Vec<u64> = due.iter().map(|seconds| 1_000 * seconds).collect();
        assert_near(&sent_at(&net, start, |_| true), &due);
        assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
    }
}

#[test]
fn tcp_tw_reuse_delay_is_the_age_at_which_a_time_wait_gives_its_place() {
    for delay in [20, 100, 1_000] {
        let mut net = net_with(&[("tcp_tw_reuse_delay", delay)]);
        closed_by_a(&mut net);
        net.run_for(ms(delay - 12));
        let early = net.connect_from(5000, ConnOptions::new());
        assert_eq!(early, Err(ConnectError::InUse), "{delay}");
        net.run_for(ms(12));
        assert!(net.connect_from(5000, ConnOptions::new()).is_ok(), "{delay}");
    }
}

/// A path that carries packets of `mtu` bytes at most, and says nothing of others.
fn black_hole(net: &mut Net, mtu: u32) {
    net.judge(move |sent, _| {
        let bytes = sent.seg.data_len + 40 + sent.seg.options.len() as u32;
        if bytes > mtu { Fate::Drop } else { Fate::Pass }
    });
}

fn mss(net: &Net, id: ConnId) -> u16 {
    net.info(Side::A, id).snd_mss_bytes
}

#[test]
fn tcp_mtu_probing_is_whether_and_tcp_base_mss_from_where_on_a_paths_mtu_is_searched() {
    for (probing, base, begins) in
        [(0, 512, 1_448), (1, 512, 1_448), (2, 512, 512), (2, 1_024, 1_024), (2, 9_000, 1_448)]
    {
        let mut net = net_with(&[("tcp_mtu_probing", probing), ("tcp_base_mss", base)]);
        let (a, _) = net.established();
        assert_eq!(mss(&net, a), begins, "{probing} {base}");
        net.judge(|_, _| Fate::Drop);
        assert!(net.send(Side::A, a, &[7; 20_000]).is_ok());
        // Four time-outs are a sign of a black hole.
        net.run_for(secs(4));
        let after = if probing == 1 { 512 } else { begins };
        assert!(mss(&net, a) == after || probing == 2, "{probing} {base}");
    }
}

#[test]
fn tcp_mtu_probe_floor_is_the_least_that_black_holes_make_of_segments() {
    // No segment is made smaller than 76.
    for (floor, least) in [(48, 76), (100, 100), (300, 300), (1_000, 1_000)] {
        let mut net = net_with(&[("tcp_mtu_probing", 1), ("tcp_mtu_probe_floor", floor)]);
        let (a, _) = net.established();
        net.judge(|_, _| Fate::Drop);
        assert!(net.send(Side::A, a, &[7; 20_000]).is_ok());
        net.run_for(secs(600));
        assert_eq!(mss(&net, a), least);
    }
}

#[test]
fn tcp_probe_threshold_is_how_close_a_search_comes_to_what_the_path_carries() {
    for (threshold, least) in [(1, 1_248), (8, 1_241), (100, 1_149), (500, 1_024)] {
        let mut net = net_with(&[("tcp_mtu_probing", 2), ("tcp_probe_threshold", threshold)]);
        net.delay = ms(10);
        black_hole(&mut net, 1_300);
        let (a, b) = net.established();
        for _ in 0..6 {
            net.transfer(Side::A, a, b, &vec![7; 2 << 20], secs(60));
        }
        let found = mss(&net, a);
        if threshold == 500 {
            // Nor is there when the search would begin anew.
            net.run_for(secs(700));
            net.transfer(Side::A, a, b, &vec![7; 2 << 20], secs(60));
        }
        let probes = net.a.table.counters().mtu_probes_out;
        assert!((least..=1_248).contains(&found), "{found} with {threshold}");
        assert_eq!(found == 1_024, threshold == 500, "{found} with {threshold}");
        assert_eq!(probes == 0, threshold == 500, "{probes} with {threshold}");
        assert!(threshold != 100 || found < 1_241, "it stops early: {found}");
    }
}

#[test]
fn tcp_probe_interval_is_when_a_search_begins_anew() {
    for interval in [60, 600] {
        let mut net = net_with(&[("tcp_mtu_probing", 2), ("tcp_probe_interval", interval)]);
        net.delay = ms(10);
        black_hole(&mut net, 1_300);
        let (a, b) = net.established();
        let flow = |net: &mut Net| {
            for _ in 0..4 {
                net.transfer(Side::A, a, b, &vec![7; 1 << 20], secs(60));
            }
            mss(net, a)
        };
        flow(&mut net);
        assert!(flow(&mut net) <= 1_248, "the search has ended");
        net.clean();
        net.run_for(secs(interval - 30));
        assert!(flow(&mut net) <= 1_248, "it is not over yet");
        net.run_for(secs(60));
        flow(&mut net);
        assert_eq!(flow(&mut net), 1_448);
    }
}

#[test]
fn tcp_fastopen_key_makes_the_cookies_that_a_server_gives() {
    let settings = [
        ("tcp_fastopen", "3"),
        ("tcp_fastopen_key", "01020304-0-0-1,a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"),
    ];
    let config = with(&settings);
    let keys = config.fast_open_keys;
    let primary = [4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(keys.primary(), Some(&primary), "the lowest byte of each group stands first");
    assert_eq!(keys.backup().map(|key| key[12..].to_vec()), Some(vec![0xd4; 4]));
    let mut net = Net::with(config.clone(), config);
    let queue = ConnOptions { fast_open_queue: 4, ..ConnOptions::new() };
    let listener = net.listen_with(8, queue);
    net.connect_fast(b"");
    net.run_for(ms(10));
    // The same key under another name.
    let same = FastOpenKeys::new(primary, None);
    listener.set_options(ConnOptions { fast_open_keys: Some(same.into()), ..listener.options() });
    net.connect_fast(b"data");
    net.run_for(ms(10));
    let counters = net.b.table.counters();
    assert_eq!((counters.fast_open_passive, counters.fast_open_passive_previous_key), (1, 0));
}

#[test]
fn tcp_frto_finds_out_that_a_time_out_was_for_nothing() {
    for (frto, found_out) in [(2, true), (0, false)] {
        // Neither timestamps nor duplicates tell of it.
        let settings = [("tcp_frto", frto), ("tcp_timestamps", 0), ("tcp_dsack", 0)];
        let (mut net, a, b) = grown(ms(20), with(&settings));
        let until = net.now + ms(600);
        net.judge(
            move |sent, _| {
                if is_data(sent) { Fate::Late(until.since(sent.at)) } else { Fate::Pass }
            },
        );
        net.transfer(Side::A, a, b, &vec![1; 300_000], secs(10));
        net.run_for(secs(1));
        let counters = net.a.table.counters();
        assert!(counters.timeouts > 0);
        assert_eq!(counters.loss_undos > 0, found_out, "{frto}");
    }
}

#[test]
fn tcp_keepalive_time_intvl_and_probes_are_when_and_how_often_an_idle_peer_is_asked() {
    for (time, intvl, probes) in [(10, 3, 2), (60, 7, 4)] {
        let mut net = net_with(&[
            ("tcp_keepalive_time", time),
            ("tcp_keepalive_intvl", intvl),
            ("tcp_keepalive_probes", probes),
        ]);
        let alive = ConnOptions { keepalive: true, ..ConnOptions::new() };
        let (a, _) = net.established_with(alive, ConnOptions::new());
        net.judge(|_, _| Fate::Drop);
        let start = net.log.last().expect("a handshake").at + net.delay;
        net.log.clear();
        net.run_for(secs(time + intvl * probes - 1));
        assert_eq!(net.state(Side::A, a), State::Established);
        let due: Vec<u64> = (0..probes).map(|n| 1_000 * (time + n * intvl)).collect();
        assert_near(&sent_at(&net, start, |sent| sent.by == Side::A), &due);
        net.run_for(secs(2));
        assert_eq!(net.a.table.take_error(a), Some(ConnError::TimedOut));
    }
}

#[test]
fn tcp_fin_timeout_is_how_long_a_closed_connection_waits_for_its_peer() {
    for seconds in [5, 90] {
        let mut net = net_with(&[("tcp_fin_timeout", seconds)]);
        let (a, _) = net.established();
        net.close(Side::A, a);
        net.run_for(secs(seconds - 1));
        assert_eq!(net.a.table.len(), 1);
        net.run_for(secs(2));
        assert!(net.a.table.is_empty());
    }
}

#[test]
fn min_pmtu_is_the_least_that_a_router_makes_of_a_connections_segments() {
    for (least, learned) in [(68, 300), (552, 552), (1_200, 1_200)] {
        let mut net = net_with(&[("route.min_pmtu", least)]);
        let (a, _) = net.established();
        assert!(net.send(Side::A, a, &[7; 10_000]).is_ok());
        net.pump(Side::A);
        let (now, conn) = (net.now, net.a.table.get(a).expect("it lives"));
        let kind = IcmpErrorKind::TooBig { mtu: 300 };
        let error = IcmpError { kind, tuple: conn.tuple, seq: conn.snd_una, ip_bytes: 1_500 };
        assert!(net.a.table.on_icmp(now, &error));
        assert_eq!(mss(&net, a), learned - 52);
    }
}

#[test]
fn tcp_wmem_is_the_send_buffer_while_memory_is_short() {
    for least in [4_096, 12_288] {
        let wmem = format!("{least} 16384 4194304");
        let mut net = net_with(&[("tcp_wmem", wmem.as_str()), ("tcp_mem", "8 16 64")]);
        let all = many(&mut net, 40);
        net.judge(|sent, _| if sent.by == Side::A { Fate::Drop } else { Fate::Pass });
        for &(a, _) in &all[..2] {
            send_all(&mut net, Side::A, a);
        }
        assert!(net.a.table.budget().is_pressed());
        assert_eq!(send_all(&mut net, Side::A, all[8].0), least);
    }
}

#[test]
fn tcp_rmem_is_the_receive_buffer_while_memory_is_short() {
    let held = [4_096, 32_768].map(|least| {
        let rmem = format!("{least} 131072 4194304");
        let mut net = net_with(&[("tcp_rmem", rmem.as_str()), ("tcp_mem", "8 16 128")]);
        let all = many(&mut net, 40);
        for &(a, _) in &all[..8] {
            let _ = net.send(Side::A, a, &[7; 14_000]);
            net.run_for(ms(100));
        }
        assert!(net.b.table.budget().is_pressed());
        let (a, b) = all[20];
        assert!(net.send(Side::A, a, &[7; 60_000]).is_ok());
        net.run_for(secs(20));
        net.recv(Side::B, b).map_or(0, |data| data.len())
    });
    assert!(held[0] < 16_000 && (24_000..40_000).contains(&held[1]), "{held:?}");
}

/// How many segments' worth A sends at once at most, while `bytes` cross a path of that delay for the fourth
/// time; slow start is over if some are `lost` the second time.
fn most_at_once(settings: &[(&str, u32)], delay_ms: u64, lost: usize, bytes: usize) -> u32 {
    let mut net = net_with(settings);
    (net.cut, net.delay) = (false, ms(delay_ms));
    let (a, b) = net.established();
    for round in 0..4 {
        if round == 1 {
            net.drop_next(lost, is_data);
        }
        net.log.clear();
        net.transfer(Side::A, a, b, &vec![1; bytes], secs(60));
        net.run_for(ms(4 * delay_ms));
    }
    net.log.iter().map(|sent| sent.seg.data_len).max().expect("data") / 1_448
}

#[test]
fn tcp_pacing_ratios_are_what_of_the_rate_leaves_at_once_in_slow_start_and_after_it() {
    let ratios = [50, 100, 200];
    for lost in [0, 1] {
        let [ss, ca] = ["tcp_pacing_ss_ratio", "tcp_pacing_ca_ratio"]
            .map(|name| ratios.map(|ratio| most_at_once(&[(name, ratio)], 20, lost, 400_000)));
        let (acts, rests) = if lost > 0 { (ca, ss) } else { (ss, ca) };
        assert!(acts[0] < acts[1] && acts[1] < acts[2], "{lost}: {acts:?} {rests:?}");
        assert!(rests[0] == rests[1] && rests[1] == rests[2], "{lost}: {acts:?} {rests:?}");
    }
}

#[test]
fn tcp_tso_rtt_log_is_how_far_a_path_counts_as_short() {
    let most = |delay_ms, logs: [u32; 3]| {
        logs.map(|log| {
            let settings = [("tcp_tso_rtt_log", log), ("tcp_pacing_ss_ratio", 10)];
            most_at_once(&settings, delay_ms, 0, 14_480)
        })
    };
    // 20 ms are 19 times 2^10 us, and two times 2^13; 2 ms are three times 2^9.
    assert_eq!(most(10, [0, 10, 13]), [2, 2, 10]);
    assert_eq!(most(1, [0, 10, 4]), [2, 10, 2]);
    assert!((3..10).contains(&most(1, [9; 3])[0]));
}

#[test]
fn tcp_reflect_tos_gives_a_listeners_side_the_class_of_the_syn() {
    for (reflect, cookies, fast, class) in
        [(0, 1, false, 0x20), (1, 1, false, 0x88), (1, 2, false, 0x88), (1, 1, true, 0x88)]
    {
        let mut net = net_with(&[
            ("tcp_reflect_tos", reflect),
            ("tcp_syncookies", cookies),
            ("tcp_fastopen", if fast { 0x607 } else { 0 }),
        ]);
        let with_tos = |tos| ConnOptions { tos, ..ConnOptions::new() };
        let listener = net.listen_with(4, with_tos(0x20));
        let from = ConnectFrom {
            options: with_tos(0x88),
            fast_open: fast,
            early_data: if fast { "early".into() } else { Bytes::new() },
            ..ConnectFrom::default()
        };
        let to = (net.b.path.addr, 80).into();
        let begun = net.a.table.connect(net.now, &mut net.a.path, from, to, &|_| true);
        let a = begun.expect("a connect can begin");
        net.run_for(ms(50));
        let b = listener.accept().expect("it is established").id;
        net.transfer(Side::B, b, a, &[1; 3_000], secs(1));
        let classes = net.sent_by(Side::B).iter().map(|sent| sent.seg.dscp).collect::<Vec<_>>();
        assert!(classes.iter().all(|tos| *tos == class), "{classes:?}");
    }
}
