//! The std-shaped sockets as programs use them, by actors in virtual time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use libnet::impair::Impairments;
use rumpnet_tests::lab::{Pair, PairConfig};

const SECOND: Duration = Duration::from_secs(1);

fn pair(shards: usize) -> Pair {
    let pair = Pair::new(&PairConfig { shards, ..PairConfig::new(11) }).unwrap();
    pair.impair(&Impairments::none().delay(Duration::from_millis(5)));
    pair
}

#[test]
fn an_echo_server_serves_ten_clients_with_a_thread_each() {
    for shards in [1, 3] {
        let pair = pair(shards);
        let listener = pair.b.tcp_listen("10.0.0.2:7").unwrap();
        let handle = pair.world.handle();
        let _server = pair.world.spawn("server", move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let serve = move || {
                    let mut buf = [0; 1_000];
                    while let Ok(n @ 1..) = stream.read(&mut buf) {
                        stream.write_all(&buf[..n]).unwrap();
                    }
                };
                drop(handle.spawn("serving", serve));
            }
        });
        let clients: Vec<_> = (0..10u8)
            .map(|i| {
                let stack = pair.a.clone();
                pair.world.spawn(&format!("client {i}"), move || {
                    let mut stream = stack.tcp_connect("10.0.0.2:7").unwrap();
                    let sent = vec![i; 5_000];
                    stream.write_all(&sent).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).unwrap();
                    assert_eq!(got, sent);
                    got.len()
                })
            })
            .collect();
        let total: usize = clients.into_iter().map(|client| client.join()).sum();
        assert_eq!(total, 50_000, "{shards} shards");
    }
}

/// Threads that talk at once: the hash of all frames.
fn busy_world(seed: u64) -> u64 {
    let mut config = PairConfig { shards: 3, ..PairConfig::new(seed) };
    let bad = Impairments::none().delay(Duration::from_millis(5)).loss(0.02).reorder(0.05);
    config.link = config.link.impairments(bad);
    let pair = Pair::new(&config).unwrap();
    let listener = pair.b.tcp_listen("10.0.0.2:7").unwrap();
    let handle = pair.world.handle();
    let _server = pair.world.spawn("server", move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let serve = move || {
                let mut buf = [0; 700];
                while let Ok(n @ 1..) = stream.read(&mut buf) {
                    stream.write_all(&buf[..n]).unwrap();
                }
            };
            drop(handle.spawn("serving", serve));
        }
    });
    let client = |i: u8| {
        let stack = pair.a.clone();
        pair.world.spawn(&format!("client {i}"), move || {
            let mut stream = stack.tcp_connect("10.0.0.2:7").unwrap();
            let mut echoed = [0; 3_000];
            for _ in 0..10 {
                stream.write_all(&[i; 3_000]).unwrap();
                stream.read_exact(&mut echoed).unwrap();
                assert_eq!(echoed, [i; 3_000]);
            }
        })
    };
    let clients: Vec<_> = (0..8).map(client).collect();
    clients.into_iter().for_each(|client| client.join());
    pair.world.trace_hash()
}

#[test]
fn threads_do_not_make_a_run_differ_and_the_seed_does() {
    for seed in 0..5 {
        let first = busy_world(seed);
        assert!((0..3).all(|_| busy_world(seed) == first), "seed {seed}");
        assert_ne!(first, busy_world(seed + 100));
    }
}

#[test]
fn a_read_timeout_passes_in_virtual_time() {
    let pair = pair(1);
    let listener = pair.b.tcp_listen("10.0.0.2:7").unwrap();
    let mut client = pair.a.tcp_connect("10.0.0.2:7").unwrap();
    let _held = listener.accept().unwrap();
    client.set_read_timeout(Some(SECOND * 30)).unwrap();
    let before = pair.world.now();
    let error = client.read(&mut [0; 10]).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
    assert_eq!(pair.world.now().since(before), SECOND * 30);
}

#[test]
fn a_read_that_waits_for_its_low_water_waits_for_one_time_out_and_takes_what_there_is() {
    let pair = pair(1);
    let listener = pair.b.tcp_listen("10.0.0.2:7").unwrap();
    let mut client = pair.a.tcp_connect("10.0.0.2:7").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.set_read_timeout(Some(SECOND * 30)).unwrap();
    client.set_receive_low_water(10).unwrap();
    for sent in [&b""[..], b"four"] {
        server.write_all(sent).unwrap();
        let before = pair.world.now();
        let read = client.read(&mut [0; 10]);
        assert_eq!(pair.world.now().since(before), SECOND * 30);
        assert_eq!(read.unwrap_or(0), sent.len());
    }
}

#[test]
fn a_refused_connection_says_so_after_one_round_trip() {
    let pair = pair(1);
    // The neighbours know each other, so that no resolution is in the way.
    let error = pair.a.tcp_connect("10.0.0.2:1").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let before = pair.world.now();
    let error = pair.a.tcp_connect("10.0.0.2:1").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(pair.world.now().since(before), Duration::from_millis(10));
}

#[test]
fn a_host_that_is_down_is_unreachable_after_resolution_gives_up() {
    let pair = pair(1);
    let error = pair.a.tcp_connect("10.0.0.77:80").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    assert!(pair.world.now().as_millis() < 10_000, "{}", pair.world.now());
}

#[test]
fn datagrams_cross_and_a_closed_port_is_reported() {
    for shards in [1, 3] {
        let pair = pair(shards);
        let server = pair.b.udp_bind("10.0.0.2:53").unwrap();
        let client = pair.a.udp_bind("10.0.0.1:0").unwrap();
        let to: SocketAddr = "10.0.0.2:53".parse().unwrap();
        let echo = pair.world.spawn("echo", move || {
            let mut buf = [0; 2_000];
            for _ in 0..20 {
                let (n, from) = server.recv_from(&mut buf).unwrap();
                server.send_to(&buf[..n], from).unwrap();
            }
        });
        for i in 0..20u8 {
            client.send_to(&[i; 1_400], to).unwrap();
            let mut buf = [0; 2_000];
            assert_eq!(client.recv_from(&mut buf).unwrap(), (1_400, to));
            assert_eq!(buf[..1_400], [i; 1_400]);
        }
        echo.join();
        let closed = pair.a.udp_bind("10.0.0.1:0").unwrap();
        closed.connect("10.0.0.2:54").unwrap();
        closed.send(b"anybody?").unwrap();
        let error = closed.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{shards} shards");
    }
}

#[test]
fn a_large_datagram_crosses_in_fragments() {
    let pair = pair(1);
    let server = pair.b.udp_bind("10.0.0.2:53").unwrap();
    let client = pair.a.udp_bind("10.0.0.1:0").unwrap();
    let sent: Vec<u8> = (0..60_000u32).map(|i| (i % 251) as u8).collect();
    client.send_to(&sent, "10.0.0.2:53").unwrap();
    let mut got = vec![0; 65_536];
    let (n, _) = server.recv_from(&mut got).unwrap();
    assert!(got[..n] == sent[..]);
}

#[test]
fn many_connections_one_after_the_other() {
    let pair = pair(3);
    let listener = pair.b.tcp_listen("10.0.0.2:7").unwrap();
    let server = pair.world.spawn("server", move || {
        for _ in 0..200 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&request).unwrap();
        }
    });
    let stack = pair.a.clone();
    let client = pair.world.spawn("client", move || {
        for i in 0..200u8 {
            let mut stream = stack.tcp_connect("10.0.0.2:7").unwrap();
            stream.write_all(&[i]).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, [i]);
        }
    });
    client.join();
    server.join();
}
