//! What a capture shows: conversations that add up, whatever the family and the protocol.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libnet::capture::{CaptureTap, Direction};
use libnet::packet::Packet;
use libnet::time::Instant;
use sockin::Sockin;

use crate::layer;

/// One packet, as far as TCP is concerned.
#[derive(Clone, Debug)]
struct Shown {
    direction: Direction,
    bytes: Vec<u8>,
}

impl Shown {
    fn tcp(&self) -> &[u8] {
        &self.bytes[if self.bytes[0] >> 4 == 4 { 20 } else { 40 }..]
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.tcp()[at..at + 4].try_into().unwrap())
    }

    fn flags(&self) -> u8 {
        self.tcp()[13]
    }

    fn data(&self) -> &[u8] {
        &self.tcp()[usize::from(self.tcp()[12] >> 4) * 4..]
    }
}

#[derive(Default)]
struct Tap(Mutex<Vec<Shown>>);

impl CaptureTap for Tap {
    fn frame(&self, _at: Instant, direction: Direction, packet: &Packet) {
        let bytes = packet.to_bytes().to_vec();
        self.0.lock().unwrap().push(Shown { direction, bytes });
    }
}

impl Tap {
    fn take(&self) -> Vec<Shown> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn watched() -> (Arc<Sockin>, Arc<Tap>) {
    let domain = Arc::new(Sockin::new().unwrap());
    let tap = Arc::new(Tap::default());
    domain.taps().add(tap.clone());
    (domain, tap)
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// Each side's numbers follow on, and it acknowledges what the other sent before; the data of
/// each side, ours first.
fn follow(shown: &[Shown]) -> [Vec<u8>; 2] {
    let mut next: [Option<u32>; 2] = [None; 2];
    let mut data = [Vec::new(), Vec::new()];
    for packet in shown {
        let from = usize::from(packet.direction == Direction::In);
        let (seq, ack, flags) = (packet.word(4), packet.word(8), packet.flags());
        if let Some(expected) = next[from] {
            assert_eq!(seq, expected, "{packet:?}");
        }
        if flags & ACK != 0 {
            assert_eq!(Some(ack), next[1 - from], "{packet:?}");
        }
        let takes = packet.data().len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        next[from] = Some(seq.wrapping_add(takes));
        data[from].extend(packet.data());
    }
    data
}

fn converse(addr: &str) {
    let (server_domain, server_tap) = watched();
    let (client_domain, client_tap) = watched();
    let listener = layer(&server_domain).tcp_listen(addr).unwrap();
    let to = listener.local_addr().unwrap();
    let mut client = layer(&client_domain).tcp_connect(to).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let theirs = sent.clone();
    let writer = std::thread::spawn(move || {
        client.write_all(&theirs).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        back
    });
    let mut got = Vec::new();
    server.read_to_end(&mut got).unwrap();
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(writer.join().unwrap(), b"answer");
    for (tap, ours, theirs) in
        [(&client_tap, &sent[..], &b"answer"[..]), (&server_tap, &b"answer"[..], &sent[..])]
    {
        let shown = tap.take();
        let flags: Vec<u8> = shown.iter().map(Shown::flags).collect();
        assert_eq!(flags[..3], [SYN, SYN | ACK, ACK]);
        assert_eq!(flags.iter().filter(|flags| **flags == FIN | ACK).count(), 2);
        assert!(shown.iter().all(|packet| packet.bytes.len() <= 65_575));
        let [from_us, from_them] = follow(&shown);
        assert!(from_us == ours && from_them == theirs);
    }
}

#[test]
fn a_connection_of_ipv4_adds_up_on_both_sides() {
    converse("127.0.0.1:0");
}

#[test]
fn a_connection_of_ipv6_adds_up_on_both_sides() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: the host's loopback has no IPv6");
        return;
    }
    converse("[::1]:0");
}

#[test]
fn refusals_and_resets_are_shown() {
    let (domain, tap) = watched();
    let layer = layer(&domain);
    let gone = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    layer.tcp_connect(gone).unwrap_err();
    let flags: Vec<u8> = tap.take().iter().map(Shown::flags).collect();
    assert_eq!(flags, [SYN, RST | ACK]);
    let listener = layer.tcp_listen("127.0.0.1:0").unwrap();
    let host = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let shown = tap.take();
    assert_eq!(shown.last().unwrap().flags(), RST | ACK);
    assert_eq!(shown.last().unwrap().direction, Direction::Out);
    drop(host);
}

#[test]
fn datagrams_show_the_address_that_the_host_chose() {
    let (domain, tap) = watched();
    let layer = layer(&domain);
    let (a, b) = (layer.udp_bind("0.0.0.0:0").unwrap(), layer.udp_bind("127.0.0.1:0").unwrap());
    a.send_to(b"hello", b.local_addr().unwrap()).unwrap();
    b.recv_from(&mut [0; 9]).unwrap();
    let shown = tap.take();
    assert_eq!(shown.len(), 2);
    for (packet, direction) in shown.iter().zip([Direction::Out, Direction::In]) {
        assert_eq!(packet.direction, direction);
        assert_eq!(packet.bytes[12..20], [127, 0, 0, 1, 127, 0, 0, 1]);
        let port = a.local_addr().unwrap().port().to_be_bytes();
        assert_eq!((packet.bytes[9], &packet.bytes[20..22]), (17, &port[..]));
        assert_eq!(&packet.bytes[28..], b"hello");
    }
}

#[test]
fn a_capture_that_begins_late_begins_with_a_handshake() {
    let domain = Arc::new(Sockin::new().unwrap());
    let listener = layer(&domain).tcp_listen("127.0.0.1:0").unwrap();
    let client = layer(&domain).tcp_connect(listener.local_addr().unwrap()).unwrap();
    let tap = Arc::new(Tap::default());
    domain.taps().add(tap.clone());
    (&client).write_all(b"late").unwrap();
    let flags: Vec<u8> = tap.take().iter().map(Shown::flags).collect();
    assert_eq!(flags, [SYN, SYN | ACK, ACK, PSH | ACK, ACK]);
}
