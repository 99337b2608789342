//! Bounds: backlogs, tables, reassembly, ports.

use std::collections::BTreeSet;

use libnet::DropReason;

use super::net::*;
use crate::tcp::*;

#[test]
fn a_full_accept_queue_drops_syns_and_counts_them() {
    let config = TcpConfig { syn_cookies: SynCookies::Never, ..TcpConfig::default() };
    let mut net = Net::with(TcpConfig::default(), config);
    let listener = net.listen(2);
    for _ in 0..5 {
        net.connect();
    }
    net.run_for(ms(100));
    // Linux: backlog + 1.
    assert_eq!(listener.waiting(), 3);
    assert!(net.dropped(Side::B, DropReason::TcpListenOverflow) >= 2);
    // Room is made: the others' SYNs come again.
    while listener.accept().is_some() {}
    net.run_for(secs(4));
    assert_eq!(listener.waiting(), 2);
}

#[test]
fn a_handshake_that_ends_at_a_full_queue_waits_in_syn_received() {
    let mut net = Net::new();
    let listener = net.listen(1);
    // Three embryos are more than the queue holds, so hold their last segments back.
    net.judge(|sent, _| if sent.seg.flags == Flags::ACK { Fate::Drop } else { Fate::Pass });
    let clients: Vec<_> = (0..2).map(|_| net.connect()).collect();
    net.run_for(ms(5));
    assert_eq!(listener.embryos(), 2);
    net.clean();
    listener.set_backlog(0);
    for &id in &clients {
        assert_eq!(net.send(Side::A, id, b"x"), Ok(1));
    }
    net.run_for(ms(20));
    assert_eq!((listener.waiting(), listener.embryos()), (1, 1));
    assert!(net.dropped(Side::B, DropReason::TcpListenOverflow) > 0);
    assert!(listener.accept().is_some());
    net.run_for(secs(5));
    assert_eq!((listener.waiting(), listener.embryos()), (1, 0));
}

#[test]
fn a_closed_listener_resets_handshakes_under_way() {
    let mut net = Net::new();
    let listener = net.listen(4);
    let a = net.connect();
    net.run_for(ms(1));
    net.b.table.remove_listener(&listener);
    assert!(listener.close().is_empty());
    net.run_for(ms(20));
    assert_eq!(net.state(Side::A, a), State::Closed);
    assert!(net.b.table.is_empty());
}

#[test]
fn a_full_table_refuses_both_ways() {
    let config = TcpConfig { connections_max: 3, ..TcpConfig::default() };
    let mut net = Net::with(TcpConfig::default(), config);
    net.listen(10);
    for _ in 0..5 {
        net.connect();
    }
    net.run_for(ms(20));
    assert_eq!((net.b.table.len(), net.dropped(Side::B, DropReason::TcpTableFull)), (3, 2));
    let remote = (net.a.path.addr, 9).into();
    let (now, from) = (net.now, ConnectFrom::default());
    let failed = net.b.table.connect(now, &mut net.b.path, from, remote, &|_| true);
    assert_eq!(failed, Err(ConnectError::TableFull));
}

#[test]
fn reassembly_keeps_no_more_runs_than_it_may() {
    let config = TcpConfig { reassembly_runs: 8, ..TcpConfig::default() };
    let mut net = Net::with(TcpConfig::default(), config);
    let (_, b) = net.established();
    for i in 1..20u32 {
        net.forge(Side::A, b, |forged| {
            forged.header.seq += 2 * i;
            forged.data = b"x".to_vec();
        });
    }
    assert_eq!(net.info(Side::B, b).reassembly_bytes, 8);
    assert_eq!(net.dropped(Side::B, DropReason::TcpReassemblyFull), 11);
}

#[test]
fn ports_differ_stay_in_range_and_do_not_follow_each_other_across_peers() {
    let config = TcpConfig { ephemeral_ports: 40_000..=40_099, ..TcpConfig::default() };
    let mut net = Net::with(config, TcpConfig::default());
    let ports: Vec<_> = (0..100).map(|_| net.connect()).collect();
    let ports: BTreeSet<_> =
        ports.iter().map(|&id| net.info(Side::A, id).tuple.local_port).collect();
    assert_eq!((ports.len(), ports.first(), ports.last()), (100, Some(&40_000), Some(&40_099)));
    assert_eq!(net.connect_from(0, ConnOptions::new()), Err(ConnectError::NoPort));
    // Another peer: the same ports are free.
    let (now, from) = (net.now, ConnectFrom::default());
    let other =
        net.a.table.connect(now, &mut net.a.path, from, ([10, 0, 0, 3], 80).into(), &|_| true);
    assert!(other.is_ok());
}

#[test]
fn a_port_that_is_asked_for_is_taken_or_refused() {
    let mut net = Net::new();
    assert!(net.connect_from(1234, ConnOptions::new()).is_ok());
    assert_eq!(net.connect_from(1234, ConnOptions::new()), Err(ConnectError::InUse));
}

#[test]
fn a_port_of_this_shard_is_chosen() {
    let mut net = Net::new();
    let from = ConnectFrom::default();
    let remote = (net.b.path.addr, 80).into();
    let secrets = Secrets::from_seed([1; 32]);
    let shard = |tuple: &FourTuple| {
        let (local, remote) = ((tuple.local, tuple.local_port), (tuple.remote, tuple.remote_port));
        secrets.steer_hash(local, remote) % 3
    };
    let id = net
        .a
        .table
        .connect(net.now, &mut net.a.path, from, remote, &|tuple| shard(tuple) == 2)
        .expect("a third of the ports will do");
    assert_eq!(shard(&net.info(Side::A, id).tuple), 2);
}

#[test]
fn no_port_is_chosen_that_listens_or_would_connect_an_end_to_itself() {
    let config = TcpConfig { ephemeral_ports: 40_000..=40_003, ..TcpConfig::default() };
    let mut net = Net::with(config, TcpConfig::default());
    let own = net.a.path.addr;
    let listener = Listener::new((own, 40_002).into(), 4, 1, ConnOptions::new());
    let listener = std::sync::Arc::new(listener);
    net.a.table.add_listener(listener.clone());
    let mut connect = |port: u16| -> Result<u16, ConnectError> {
        let (now, from) = (net.now, ConnectFrom::default());
        let id = net.a.table.connect(now, &mut net.a.path, from, (own, port).into(), &|_| true)?;
        Ok(net.a.table.info(net.now, id).expect("it lives").tuple.local_port)
    };
    let ports: BTreeSet<u16> = (0..2).map(|_| connect(40_001).expect("a port")).collect();
    assert_eq!(ports, BTreeSet::from([40_000, 40_003]));
    assert_eq!(connect(40_001), Err(ConnectError::NoPort));
    net.a.table.remove_listener(&listener);
    assert!(net.connect_from(0, ConnOptions::new()).is_ok());
}

#[test]
fn idle_connections_hold_no_buffers() {
    let mut net = Net::new();
    let (a, b) = net.established();
    net.transfer(Side::A, a, b, &[1; 100_000], secs(2));
    net.transfer(Side::B, b, a, &[1; 100_000], secs(2));
    net.run_for(ms(100));
    for conn in [net.a.table.get(a), net.b.table.get(b)].into_iter().flatten() {
        assert!(conn.send_buffer.is_none());
        assert!(conn.receive_buffer.is_none() && conn.reassembly.is_none());
    }
}

#[test]
fn a_specific_listener_goes_before_the_wildcard() {
    let mut net = Net::new();
    let any = std::net::SocketAddr::new([0, 0, 0, 0].into(), 80);
    let wildcard = std::sync::Arc::new(Listener::new(any, 4, 1, ConnOptions::new()));
    net.b.table.add_listener(wildcard.clone());
    net.connect();
    net.run_for(ms(10));
    assert_eq!(wildcard.waiting(), 1);
    let specific = net.listen(4);
    net.connect();
    net.run_for(ms(10));
    assert_eq!((wildcard.waiting(), specific.waiting()), (1, 1));
}
