//! ARP, ping and UDP between stacks on a segment in virtual time, with one shard and with three.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use libnet::capture::ClockAnchor;
use libnet::capture::pcapng::{CaptureConfig, CaptureFile, PcapngWriter, SuperFrames};
use libnet::capture::reader::CaptureReader;
use libnet::impair::{Fault, Impairments, Which};
use libnet::link::Offload;
use libnet::socket::{Family, Protocol, SockType};
use libnet::world::{LinkConfig, Way, World};
use libnet::{EtherType, InterfaceSpec};
use rumpnet::{InetConfig, Socket, Stack};
use rumpnet_tests::lab::{Pair, PairConfig};

const SECOND: Duration = Duration::from_secs(1);

fn pair(shards: usize, seed: u64) -> Pair {
    Pair::new(&PairConfig { shards, ..PairConfig::new(seed) }).unwrap()
}

fn ping_socket(stack: &Stack) -> Socket {
    let socket = stack.socket(Family::Inet, SockType::Datagram, Protocol::ICMP).unwrap();
    socket.set_read_timeout(Some(SECOND)).unwrap();
    socket
}

/// Sends an echo request and waits for its reply; the bytes after the header.
fn ping(socket: &Socket, to: &str, sequence: u8, bytes: usize) -> io::Result<Vec<u8>> {
    let mut request = vec![8, 0, 0, 0, 0, 0, 0, sequence];
    request.extend((0..bytes).map(|i| i as u8));
    let to: SocketAddr = format!("{to}:0").parse().unwrap();
    socket.send_to(&request, to)?;
    let mut reply = vec![0; 65_536];
    let (n, from) = socket.recv_from(&mut reply)?;
    assert_eq!(from.ip(), to.ip());
    assert_eq!((reply[0], reply[7]), (0, sequence), "an echo reply to this request");
    Ok(reply[8..n].to_vec())
}

#[test]
fn a_ping_returns_what_was_sent_after_one_resolution_and_one_round_trip() {
    for shards in [1, 3] {
        let pair = pair(shards, 1);
        pair.impair(&Impairments::none().delay(Duration::from_millis(10)));
        pair.world.run_for(SECOND * 10);
        let socket = ping_socket(&pair.a);
        let start = pair.world.now();
        let want: Vec<u8> = (0..100).collect();
        assert_eq!(ping(&socket, "10.0.0.2", 1, 100).unwrap(), want);
        assert_eq!(pair.world.now().since(start), Duration::from_millis(40), "{shards} shards");
        let start = pair.world.now();
        ping(&socket, "10.0.0.2", 2, 100).unwrap();
        assert_eq!(pair.world.now().since(start), Duration::from_millis(20), "{shards} shards");
    }
}

#[test]
fn a_ping_larger_than_the_mtu_crosses_in_fragments() {
    for shards in [1, 3] {
        let pair = pair(shards, 2);
        let socket = ping_socket(&pair.a);
        let reply = ping(&socket, "10.0.0.2", 1, 60_000).unwrap();
        assert!(reply.iter().enumerate().all(|(i, &byte)| byte == i as u8));
        assert_eq!(reply.len(), 60_000, "{shards} shards");
    }
}

#[test]
fn a_lost_request_for_an_address_is_sent_again() {
    let pair = pair(1, 3);
    pair.world.run_for(SECOND * 10);
    let arp = |frame: &[u8]| frame[12..14] == EtherType::ARP.0.to_be_bytes();
    let lost = pair.segment.drop_nth(1, arp);
    let socket = ping_socket(&pair.a);
    socket.set_read_timeout(Some(SECOND * 3)).unwrap();
    let start = pair.world.now();
    ping(&socket, "10.0.0.2", 1, 10).unwrap();
    assert_eq!(lost.get(), 1);
    let took = pair.world.now().since(start);
    assert!((SECOND..SECOND * 2).contains(&took), "asked again after a second: {took:?}");
}

#[test]
fn a_flipped_bit_in_a_reply_is_found_and_the_reply_dropped() {
    let pair = pair(1, 4);
    let socket = ping_socket(&pair.a);
    ping(&socket, "10.0.0.2", 1, 10).unwrap();
    let echo_reply = |frame: &[u8]| frame.len() > 34 && frame[23] == 1 && frame[34] == 0;
    // The last bit of the first byte of data.
    let flip = Fault::FlipBit(42 * 8 + 7);
    pair.segment.inject("a bit of a reply", Which::Nth(1), flip, echo_reply);
    let error = ping(&socket, "10.0.0.2", 2, 10).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
    ping(&socket, "10.0.0.2", 3, 10).unwrap();
    assert!(pair.world.unfired_faults().is_empty());
}

#[test]
fn ten_hosts_on_a_segment_reach_each_other() {
    let world = World::new(5);
    let segment = world.segment(LinkConfig::default());
    let hosts: Vec<Stack> = (1..=10)
        .map(|i| {
            let interface = InterfaceSpec::new(segment.next_link()).addr(&format!("10.0.0.{i}/24"));
            Stack::builder().interface(interface).start_in(&world.host(format!("h{i}"))).unwrap()
        })
        .collect();
    for (i, host) in hosts.iter().enumerate() {
        let socket = ping_socket(host);
        for to in 1..=10 {
            ping(&socket, &format!("10.0.0.{to}"), to, 56)
                .unwrap_or_else(|error| panic!("host {} to {to}: {error}", i + 1));
        }
    }
    assert!(world.now().as_millis() < 1_000, "nothing was asked twice: {}", world.now());
}

#[test]
fn a_stack_reaches_itself_by_loopback_and_by_its_own_address() {
    for shards in [1, 3] {
        let pair = pair(shards, 6);
        let socket = ping_socket(&pair.a);
        ping(&socket, "127.0.0.1", 1, 1_000).unwrap();
        ping(&socket, "10.0.0.1", 2, 40_000).unwrap();
        assert_eq!(pair.world.now().as_nanos(), 0, "{shards} shards");
        let udp = pair.a.udp_bind("127.0.0.1:0").unwrap();
        let to = udp.local_addr().unwrap();
        udp.send_to(b"myself", to).unwrap();
        let mut buf = [0; 10];
        assert_eq!(udp.recv_from(&mut buf).unwrap(), (6, to));
    }
}

#[test]
fn datagrams_through_a_bad_link_arrive_whole_or_not_at_all() {
    for shards in [1, 3] {
        let pair = pair(shards, 7);
        let server = pair.b.udp_bind("10.0.0.2:9").unwrap();
        let client = pair.a.udp_bind("10.0.0.1:0").unwrap();
        client.send_to(b"resolve", "10.0.0.2:9").unwrap();
        server.recv_from(&mut [0; 10]).unwrap();
        let bad = Impairments::none().loss(0.1).duplicate(0.1).reorder(0.1).corrupt(0.1);
        pair.segment.impair(pair.ports[0], Way::Out, bad);
        server.set_nonblocking(true).unwrap();
        let (mut arrived, mut buf) = (0, [0; 1_500]);
        for i in 0..1_000u32 {
            client.send_to(&[i as u8; 700], "10.0.0.2:9").unwrap();
            pair.world.run_for(Duration::from_millis(1));
            while let Ok((n, _)) = server.recv_from(&mut buf) {
                assert!(n == 700 && buf[1..n].iter().all(|&byte| byte == buf[0]), "harmed");
                arrived += 1;
            }
        }
        // 90 % arrive, 10 % of them twice, 10 % are flipped, of which some only in the addresses
        // of the link, and found by nobody.
        assert!((800..960).contains(&arrived), "{arrived} with {shards} shards");
        assert!(pair.world.unfired_faults().is_empty());
    }
}

/// A file in memory that can be read while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_segment_is_captured_frame_by_frame_as_a_wire_would_carry_it() {
    let mut config = PairConfig::new(10);
    config.link = config.link.offload(Offload::FULL);
    let pair = Pair::new(&config).unwrap();
    let file = Shared::default();
    let writer = PcapngWriter::new(file.clone(), "a test").unwrap();
    let mut bounds = CaptureConfig::default();
    bounds.super_frames = SuperFrames::Cut;
    let capture = CaptureFile::new(writer, ClockAnchor::default(), bounds);
    pair.segment.tap(capture.tap("segment0", &pair.segment.info()).unwrap());
    let listener = pair.b.tcp_listen("10.0.0.2:9").unwrap();
    let mut client = pair.a.tcp_connect("10.0.0.2:9").unwrap();
    client.write_all(&[7; 40_000]).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.read_exact(&mut [0; 40_000]).unwrap();
    capture.flush().unwrap();

    let bytes = file.0.lock().unwrap().clone();
    let mut reader = CaptureReader::new(&bytes[..]).unwrap();
    let (mut data, mut last) = (0, Duration::ZERO);
    while let Some(frame) = reader.next_frame().unwrap() {
        assert!(frame.bytes.len() <= 1_514 && frame.at >= last);
        last = frame.at;
        let parsed = SlicedPacket::from_ethernet(&frame.bytes).unwrap();
        if let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) =
            (&parsed.net, &parsed.transport)
        {
            let header = ip.header().to_header();
            let sum = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()).unwrap();
            assert_eq!(tcp.checksum(), sum);
            data += tcp.payload().len();
        }
    }
    assert_eq!(data, 40_000);
}

#[test]
fn equal_seeds_give_equal_worlds() {
    let run = |seed, shards| {
        let pair = pair(shards, seed);
        pair.impair(&Impairments::none().loss(0.2).jitter(Duration::from_millis(3)));
        let socket = ping_socket(&pair.a);
        let answered = (0..50).filter(|&i| ping(&socket, "10.0.0.2", i, 100).is_ok()).count();
        (answered, pair.world.now(), pair.world.trace_hash())
    };
    for shards in [1, 3] {
        assert_eq!(run(8, shards), run(8, shards));
        assert_ne!(run(8, shards), run(9, shards));
    }
}

#[test]
fn a_thousand_hosts_stand_on_a_segment_and_two_of_them_talk() {
    let world = World::new(11);
    let segment = world.segment(LinkConfig::default());
    // Announcing a thousand addresses is five million frames received: not what this is about.
    let mut config = InetConfig::default();
    config.arp.announce = false;
    let hosts: Vec<Stack> = (1..=1_000u32)
        .map(|i| {
            let interface = InterfaceSpec::new(segment.next_link()).addr(&format!(
                "10.0.{}.{}/16",
                i >> 8,
                i & 0xff
            ));
            let builder = Stack::builder().interface(interface).config(config.clone());
            builder.start_in(&world.host("h")).unwrap()
        })
        .collect();
    world.run_for(SECOND * 10);
    let quiet = world.frames();
    world.run_for(SECOND * 100);
    assert_eq!(world.frames(), quiet, "idle hosts are silent");
    let listener = hosts[999].tcp_listen("10.0.3.232:9").unwrap();
    let mut client = hosts[0].tcp_connect("10.0.3.232:9").unwrap();
    // One actor writes, then reads: as much as buffers take that nobody has read from yet.
    client.write_all(&[7; 1 << 16]).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.read_exact(&mut vec![0; 1 << 16]).unwrap();
}
