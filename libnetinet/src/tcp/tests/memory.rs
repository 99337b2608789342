//! Memory that runs short: what is bounded, what goes first, and how it goes on after.

use libnet::{DropReason, Instant, Ready};

use super::net::*;
use crate::tcp::*;

fn with_memory(high_bytes: u64) -> TcpConfig {
    TcpConfig { memory: MemoryLimits::of(high_bytes), ..TcpConfig::default() }
}

/// `n` connections from A to B's port 80.
pub(super) fn many(net: &mut Net, n: usize) -> Vec<(ConnId, ConnId)> {
    let listener = net.listen(n as u32);
    (0..n)
        .map(|_| {
            let a = net.connect();
            net.run_for(ms(10));
            (a, listener.accept().expect("it came about").id)
        })
        .collect()
}

pub(super) fn send_all(net: &mut Net, side: Side, id: ConnId) -> usize {
    let (mut sent, data) = (0, vec![7; 1 << 16]);
    while let Ok(n) = net.send(side, id, &data) {
        sent += n;
    }
    sent
}

fn granted(net: &Net, side: Side) -> u64 {
    let node = if side == Side::A { &net.a } else { &net.b };
    node.table.budget().granted_bytes()
}

/// Reads at B what has come until all of `expected` has, within `limit`.
fn read_all(net: &mut Net, all: &[(ConnId, ConnId)], expected: usize, limit: std::time::Duration) {
    let (mut got, end) = (0, net.now + limit);
    while got < expected && net.now < end {
        for &(_, b) in all {
            while let Ok(more) = net.recv(Side::B, b) {
                got += more.len();
            }
        }
        net.run_for(ms(50));
    }
    assert_eq!(got, expected);
}

#[test]
fn receivers_that_nobody_reads_hold_no_more_than_there_is() {
    const HIGH: u64 = 1 << 20;
    let mut net = Net::with(TcpConfig::default(), with_memory(HIGH));
    let all = many(&mut net, 40);
    let mut sent = 0;
    for round in 0..40 {
        for &(a, _) in &all {
            sent += net.send(Side::A, a, &[1; 10_000]).unwrap_or(0);
        }
        net.run_for(ms(100));
        assert!(granted(&net, Side::B) <= HIGH, "round {round}");
    }
    let counters = net.b.table.counters();
    assert!(counters.receive_drops > 0 && counters.prune_calls > 0, "{counters:?}");
    assert!(net.b.table.budget().is_pressed());
    assert!(net.dropped(Side::B, DropReason::TcpMemory) > 0);
    // All is well once it is read.
    read_all(&mut net, &all, sent, secs(600));
    assert!(!net.b.table.budget().is_pressed());
    assert!(net.b.table.budget().pressures() >= 1);
}

#[test]
fn senders_whose_peers_do_not_read_hold_no_more_than_there_is() {
    const HIGH: u64 = 1 << 20;
    let mut net = Net::with(with_memory(HIGH), TcpConfig::default());
    let all = many(&mut net, 40);
    let mut sent = 0;
    for _ in 0..20 {
        for &(a, _) in &all {
            sent += send_all(&mut net, Side::A, a);
            assert!(granted(&net, Side::A) <= HIGH + (64 << 10));
        }
        net.run_for(ms(100));
    }
    assert!(net.a.table.counters().send_refusals > 0);
    read_all(&mut net, &all, sent, secs(600));
    assert!(granted(&net, Side::A) <= HIGH / 64 * 2);
}

/// A connection whose sender has written 60,000 bytes, which nobody acknowledges.
fn holding(high_bytes: u64) -> (Net, ConnId) {
    let mut net = Net::with(with_memory(high_bytes), TcpConfig::default());
    let (a, _) = net.established();
    net.judge(|sent, _| if sent.by == Side::A { Fate::Drop } else { Fate::Pass });
    assert_eq!(net.send(Side::A, a, &[7; 60_000]), Ok(60_000));
    assert!(!net.a.table.budget().is_pressed());
    (net, a)
}

#[test]
fn a_write_that_finds_little_memory_takes_little() {
    let (mut net, a) = holding(120_000);
    let before = granted(&net, Side::A);
    // It was not short before this one asked for more than there is.
    let taken = net.send(Side::A, a, &[7; 60_000]).expect("some are taken");
    assert!((1..=2_048).contains(&taken), "{taken}");
    assert!(granted(&net, Side::A) < before + 10_000, "{} of {before}", granted(&net, Side::A));
}

#[test]
fn a_bound_that_is_lowered_counts_at_once() {
    let (mut net, a) = holding(4 << 20);
    let before = granted(&net, Side::A);
    net.a.table.set_config(net.now, std::sync::Arc::new(with_memory(40_000)));
    assert!(net.a.table.budget().is_pressed());
    assert_eq!(net.send(Side::A, a, b"more"), Err(SendError::WouldBlock));
    assert!(granted(&net, Side::A) <= before);
    net.a.table.set_config(net.now, std::sync::Arc::new(with_memory(4 << 20)));
    assert_eq!(net.send(Side::A, a, b"more"), Ok(4));
}

#[test]
fn a_writer_that_found_no_memory_is_woken_when_there_is_some() {
    let mut net = Net::with(with_memory(100_000), TcpConfig::default());
    let all = many(&mut net, 3);
    let (first, second) = (all[0], all[1]);
    // The first takes what there is before it is short, the others their shares.
    net.judge(|sent, _| if sent.by == Side::A { Fate::Drop } else { Fate::Pass });
    let sent: usize = all.iter().map(|&(a, _)| send_all(&mut net, Side::A, a)).sum();
    assert!(sent < 100_000);
    let waiting = net.connect_from(1234, ConnOptions::new());
    assert_eq!(waiting, Err(ConnectError::TableFull), "there is none for another one");
    net.a.told();
    assert_eq!(net.send(Side::A, second.0, b"more"), Err(SendError::WouldBlock));
    net.run_for(ms(100));
    assert!(!net.a.told().contains(Ready::WRITABLE));
    let now = net.now;
    net.a.table.abort(now, first.0);
    net.run_for(ms(100));
    assert!(net.a.told().contains(Ready::WRITABLE));
    assert_eq!(net.send(Side::A, second.0, b"more"), Ok(4));
}

#[test]
fn what_came_out_of_order_goes_first_and_comes_again() {
    // RFC 2018 §8: SACKed data may be thrown away when memory runs out.
    const HIGH: u64 = 600_000;
    let mut net = Net::with(TcpConfig::default(), with_memory(HIGH));
    let all = many(&mut net, 8);
    // The first segment of half of the connections is lost, and lost again.
    let ports: Vec<u16> =
        all[..4].iter().map(|&(a, _)| net.info(Side::A, a).tuple.local_port).collect();
    let mut first = std::collections::BTreeMap::new();
    net.judge(move |sent, _| {
        let (port, seq) = (sent.seg.tuple.remote_port, sent.seg.seq);
        let is_first = *first.entry(port).or_insert(seq) == seq;
        let hole = sent.seg.data_len > 0 && ports.contains(&port) && is_first;
        if hole && sent.at < Instant::from_millis(3_000) { Fate::Drop } else { Fate::Pass }
    });
    let mut sent = 0;
    for _ in 0..8 {
        for &(a, _) in &all {
            sent += net.send(Side::A, a, &[1; 20_000]).unwrap_or(0);
        }
        net.run_for(ms(100));
    }
    let counters = net.b.table.counters();
    assert!(counters.out_of_order_pruned > 0, "{counters:?}");
    assert!(granted(&net, Side::B) <= HIGH);
    // What was in order stays.
    assert!(all[4..].iter().all(|&(_, b)| net.info(Side::B, b).receive_queue_bytes > 10_000));
    read_all(&mut net, &all, sent, secs(600));
    assert_eq!(net.a.table.counters().established_resets, 0);
}

#[test]
fn a_window_is_shut_while_there_is_no_memory_and_opens_when_there_is() {
    let mut net = Net::with(TcpConfig::default(), with_memory(60_000));
    let all = many(&mut net, 2);
    let [(a, b), (c, d)] = all[..] else { panic!("two") };
    let sent = net.send(Side::A, a, &[1; 100_000]).expect("it is taken");
    net.run_for(secs(1));
    net.log.clear();
    let more = net.send(Side::A, c, &[1; 50_000]).expect("it is taken");
    net.run_for(secs(1));
    let port = net.info(Side::A, c).tuple.local_port;
    let shut = |s: &&Sent| s.by == Side::B && s.seg.tuple.local_port == port && s.seg.wnd == 0;
    assert!(net.log.iter().filter(shut).count() > 0, "{:?}", net.log);
    let held: usize =
        [b, d].iter().map(|&id| net.info(Side::B, id).receive_queue_bytes as usize).sum();
    assert!((20_000..60_000).contains(&held), "{held}");
    read_all(&mut net, &all, sent + more, secs(60));
    assert!(net.info(Side::A, c).snd_wnd_bytes > 50_000);
}

#[test]
fn a_connect_finds_no_listener_that_would_take_it_without_memory() {
    let mut net = Net::with(TcpConfig::default(), with_memory(60_000));
    let all = many(&mut net, 1);
    net.send(Side::A, all[0].0, &[1; 100_000]).expect("it is taken");
    net.run_for(secs(1));
    let refused = net.dropped(Side::B, DropReason::TcpMemory);
    let next = net.connect();
    net.run_for(ms(500));
    assert_eq!(net.state(Side::A, next), State::SynSent);
    assert!(net.dropped(Side::B, DropReason::TcpMemory) > refused);
    // Its SYN comes again.
    while net.recv(Side::B, all[0].1).is_ok() {}
    net.run_for(secs(4));
    assert_eq!(net.state(Side::A, next), State::Established);
}

#[test]
fn buffers_do_not_grow_while_memory_is_short() {
    let short = MemoryLimits { low_bytes: 0, pressure_bytes: 1, high_bytes: 8 << 20 };
    let mut net =
        Net::with(TcpConfig::default(), TcpConfig { memory: short, ..TcpConfig::default() });
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &vec![1; 4 << 20], secs(60));
    let first = TcpConfig::default().receive_buffer_bytes;
    assert_eq!(net.info(Side::B, b).receive_limit_bytes, first);
}

#[test]
fn too_many_that_were_closed_are_reset() {
    let mut net =
        Net::with(TcpConfig { orphans_max: 3, ..TcpConfig::default() }, TcpConfig::default());
    let all = many(&mut net, 6);
    net.judge(
        |sent, _| if sent.by == Side::A && !sent.has(Flags::RST) { Fate::Drop } else { Fate::Pass },
    );
    for &(a, _) in &all {
        assert_eq!(net.send(Side::A, a, b"last words"), Ok(10));
        net.close(Side::A, a);
    }
    assert_eq!(net.a.table.budget().orphans(), 3);
    assert_eq!(net.a.table.counters().aborts_on_memory, 3);
    net.run_for(ms(50));
    let reset = |&&(_, b): &&(ConnId, ConnId)| net.state(Side::B, b) == State::Closed;
    assert_eq!(all.iter().filter(reset).count(), 3);
    net.clean();
    net.run_for(secs(10));
    for &(_, b) in &all {
        net.close(Side::B, b);
    }
    net.run_for(secs(10));
    assert_eq!(net.a.table.budget().orphans(), 0);
}
