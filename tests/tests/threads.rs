//! Two stacks on real threads over a wire within the process, and one over its loopback: nothing
//! is lost, nobody waits for ever. A lost wake-up shows as a timed-out read.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use libnet::DropReason;
use libnet::pair::{PairConfig, pair};
use rumpnet::{InterfaceSpec, Stack, TcpStream};

/// Far longer than anything here takes: only a lost wake-up, or a lost frame, gets there.
const STUCK: Duration = Duration::from_secs(20);

fn two(shards: usize, queue_frames: usize) -> (Stack, Stack) {
    let mut config = PairConfig::default();
    config.queue_frames = queue_frames;
    let (a, b) = pair(&config);
    let start = |link, addr: &str| {
        let interface = InterfaceSpec::new(link).addr(addr);
        Stack::builder().interface(interface).shards(shards).start().unwrap()
    };
    (start(a, "10.0.0.1/24"), start(b, "10.0.0.2/24"))
}

/// Byte `i` of a transfer.
fn byte(i: usize) -> u8 {
    (i ^ (i >> 8) ^ (i >> 16)) as u8
}

fn send(mut stream: &TcpStream, bytes: usize) {
    let mut sent = 0;
    while sent < bytes {
        let chunk: Vec<u8> = (sent..bytes.min(sent + 50_000)).map(byte).collect();
        stream.write_all(&chunk).unwrap();
        sent += chunk.len();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn receive(mut stream: &TcpStream) -> usize {
    let (mut got, mut buf) = (0, vec![0; 65_536]);
    loop {
        let n = stream.read(&mut buf).unwrap();
        if n == 0 {
            return got;
        }
        for (i, &value) in buf[..n].iter().enumerate() {
            assert!(value == byte(got + i), "byte {}", got + i);
        }
        got += n;
    }
}

/// `connections` at once, `bytes` each way on each.
fn exchange(client: &Stack, server: &Stack, addr: &str, connections: usize, bytes: usize) {
    let listener = server.tcp_listen(addr).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..connections {
            let out = client.tcp_connect(addr).unwrap();
            let (back, _) = listener.accept().unwrap();
            for stream in [out, back] {
                stream.set_read_timeout(Some(STUCK)).unwrap();
                stream.set_write_timeout(Some(STUCK)).unwrap();
                let sender = stream.try_clone().unwrap();
                scope.spawn(move || send(&sender, bytes));
                scope.spawn(move || assert_eq!(receive(&stream), bytes));
            }
        }
    });
}

#[test]
fn a_wire_with_room_for_few_frames_carries_four_connections_both_ways() {
    for (shards, queue_frames) in [(1, 1), (1, 4), (3, 2), (3, 256)] {
        let (a, b) = two(shards, queue_frames);
        exchange(&a, &b, "10.0.0.2:9", 4, 1 << 20);
        // Two threads that send at once must not give their segments times out of order: the
        // later ones would look old, and be dropped.
        for stack in [&a, &b] {
            assert_eq!(stack.inet().unwrap().drops().get(DropReason::TcpPaws), 0);
            let resent =
                stack.inet().unwrap().tcp_counters().into_iter().map(|c| c.fast_retransmits);
            assert_eq!(resent.sum::<u64>(), 0, "{shards} shards, {queue_frames} frames");
        }
    }
}

#[test]
fn loopback_carries_four_connections_both_ways() {
    for shards in [1, 3] {
        let stack = Stack::builder().shards(shards).start().unwrap();
        exchange(&stack, &stack, "127.0.0.1:9", 4, 1 << 20);
    }
}

#[test]
fn a_byte_goes_back_and_forth_ten_thousand_times() {
    let (a, b) = two(1, 2);
    let listener = b.tcp_listen("10.0.0.2:9").unwrap();
    let mut client = a.tcp_connect("10.0.0.2:9").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(STUCK)).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0; 1];
            while server.read(&mut byte).unwrap() == 1 {
                server.write_all(&byte).unwrap();
            }
        });
        for i in 0..10_000u32 {
            client.write_all(&[i as u8]).unwrap();
            let mut byte = [0; 1];
            client.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [i as u8]);
        }
        client.shutdown(Shutdown::Write).unwrap();
    });
}

#[test]
fn a_thousand_connections_come_and_go_from_four_threads() {
    let (a, b) = two(3, 16);
    let listener = b.tcp_listen("10.0.0.2:9").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..1_000 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(STUCK)).unwrap();
                let mut request = [0; 4];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(&request).unwrap();
            }
        });
        for thread in 0..4u32 {
            let a = &a;
            scope.spawn(move || {
                for i in 0..250 {
                    let request = ((thread << 16) | i).to_be_bytes();
                    let mut stream = a.tcp_connect("10.0.0.2:9").unwrap();
                    stream.set_read_timeout(Some(STUCK)).unwrap();
                    stream.write_all(&request).unwrap();
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).unwrap();
                    assert_eq!(answer, request);
                }
            });
        }
    });
}
