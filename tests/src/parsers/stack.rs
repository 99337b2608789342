//! A whole stack that is sent garbage: frames that fit ever deeper into it, in virtual time.
//!
//! The input is a run of pieces, each a length, a byte of choices, and bytes. What the stack says in
//! answer is held against the RFCs' formats, checksums included.

use std::io::{Read, Write};
use std::time::Duration;

use libnet::MacAddr;
use libnet::net::{TcpStream, UdpSocket};

use crate::peer::{Peer, established_with, listen};
use crate::station::{PEER, PEER_MAC, Rig, US, US_MAC, echo_packet};
use crate::wire::tcp::{mss_option, scale_option, timestamps_option};
use crate::wire::{ARP, ICMP, IPV4, Icmp, Ip, TCP, Tcp, UDP, Udp, checksum, frame};

/// Pieces of one input that are looked at.
const PIECES: usize = 24;

/// Takes the input apart: choices and bytes of each piece.
pub(super) fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[len, choices], rest) = bytes.split_first_chunk::<2>()?;
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(len)));
        bytes = rest;
        Some((choices, piece))
    })
    .take(PIECES)
}

/// Lets a moment pass, or with the topmost bit a second.
pub(super) fn wait(rig: &Rig, choices: u8) {
    if choices & 0x80 != 0 {
        rig.run(Duration::from_secs(1));
    }
}

/// Is the stack still of use?
fn finish(rig: &Rig) {
    rig.run(Duration::from_secs(2));
    rig.hear();
    assert!(rig.answers(&echo_packet()), "the stack still answers");
}

/// ARP packets.
pub(super) fn arp(bytes: &[u8]) {
    // Who the station is was set by hand, so that no lie about it cuts it off.
    let rig = Rig::steady();
    for (choices, piece) in pieces(bytes) {
        let to = if choices & 1 == 0 { US_MAC } else { MacAddr::BROADCAST };
        let mut arp = piece.to_vec();
        if choices & 2 == 0 && arp.len() >= 6 {
            arp[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        }
        rig.say(&frame(to, PEER_MAC, ARP, &arp));
        wait(&rig, choices);
    }
    finish(&rig);
}

/// IPv4 packets, their headers put right as far as chosen.
pub(super) fn ipv4(bytes: &[u8]) {
    let rig = Rig::steady();
    for (choices, piece) in pieces(bytes) {
        let mut ip = piece.to_vec();
        if ip.len() >= 20 {
            mend(&mut ip, choices);
        }
        rig.say(&frame(US_MAC, PEER_MAC, IPV4, &ip));
        wait(&rig, choices);
    }
    finish(&rig);
}

fn mend(ip: &mut [u8], choices: u8) {
    if choices & 1 == 0 {
        ip[12..16].copy_from_slice(&PEER.octets());
        ip[16..20].copy_from_slice(&US.octets());
    }
    if choices & 2 == 0 {
        let len = ip.len() as u16;
        ip[2..4].copy_from_slice(&len.to_be_bytes());
    }
    if choices & 4 == 0 {
        ip[0] = 0x40 | (ip[0] & 15);
        let header = (usize::from(ip[0] & 15) * 4).clamp(20, 60).min(ip.len());
        ip[10..12].fill(0);
        let sum = checksum(&[&ip[..header]]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// ICMP messages, some about what sockets have sent.
pub(super) fn icmp(bytes: &[u8]) {
    let rig = Rig::steady();
    let (_udp, sent) = sending(&rig);
    for (choices, piece) in pieces(bytes) {
        let (&[ty, code, a, b, c, d], data) =
            piece.split_first_chunk::<6>().unwrap_or((&[0; 6], b""));
        let mut icmp = Icmp { ty, code, rest: [a, b, c, d], data: data.to_vec() };
        if choices & 1 == 0 {
            let mut quoted = sent.clone();
            quoted.extend(data);
            icmp.data = quoted;
        }
        let mut bytes = icmp.bytes();
        if choices & 2 != 0 {
            bytes[3] ^= 1;
        }
        rig.say_ip(&Ip::new(PEER, US, ICMP, bytes));
        wait(&rig, choices);
    }
    finish(&rig);
}

/// A socket that has sent something, and the packet it sent.
fn sending(rig: &Rig) -> (UdpSocket, Vec<u8>) {
    let udp = rig.stack.udp_bind((US, 5_000)).expect("a free port");
    udp.connect((PEER, 7)).expect("there is a route");
    udp.send(b"hello").expect("it is taken");
    rig.run(Duration::from_millis(1));
    let sent = rig.hear_ip().first().map(Ip::bytes).unwrap_or_default();
    (udp, sent)
}

/// UDP datagrams.
pub(super) fn udp(bytes: &[u8]) {
    let rig = Rig::steady();
    let (socket, _) = sending(&rig);
    socket.set_nonblocking(true).expect("a socket that lives");
    for (choices, piece) in pieces(bytes) {
        let ip = match choices & 3 {
            0 => Udp::new(7, 5_000, piece).packet(PEER, US),
            1 if piece.len() >= 8 => Ip::new(PEER, US, UDP, piece.to_vec()).summed(6),
            _ => Ip::new(PEER, US, UDP, piece.to_vec()),
        };
        rig.say_ip(&ip);
        let mut buffer = [0; 300];
        // A datagram, an ICMP error that came before, or nothing.
        let _ = socket.recv_from(&mut buffer);
        wait(&rig, choices);
    }
    finish(&rig);
}

/// TCP segments to a connection, its listener, and nobody.
pub(super) fn tcp(bytes: &[u8]) {
    let rig = Rig::steady();
    let options = match bytes.first() {
        Some(first) if first & 1 == 1 => {
            [mss_option(1_000), scale_option(3), timestamps_option(1_000, 0)].concat()
        }
        _ => mss_option(536),
    };
    let (mut peer, mut stream) = established_with(&rig, &options);
    let _listener = bytes.len().is_multiple_of(2).then(|| listen(&rig));
    for (choices, piece) in pieces(bytes) {
        if let Some(segment) = segment(&peer, choices, piece) {
            rig.say_tcp(&segment);
        } else {
            rig.say_ip(&Ip::new(PEER, US, TCP, piece.to_vec()));
        }
        use_it(&mut stream, &mut peer, choices);
        wait(&rig, choices);
    }
    finish(&rig);
}

/// ```text
///  0       1      2      4      6        8        9
/// +-------+------+------+------+--------+--------+---------+------
/// | flags | port | seq  | ack  | window | urgent | options | data
/// +-------+------+------+------+--------+--------+---------+------
/// ```
/// Numbers are counted from what the peer would say next; the byte before the options is a quarter
/// of their length.
fn segment(peer: &Peer<'_>, choices: u8, piece: &[u8]) -> Option<Tcp> {
    let (&head, rest) = piece.split_first_chunk::<10>()?;
    let off = |at: usize| i32::from(i16::from_be_bytes([head[at], head[at + 1]])) as u32;
    let options = (usize::from(head[9] % 11) * 4).min(rest.len() / 4 * 4);
    let (options, data) = rest.split_at(options);
    let mut segment = peer.segment(head[0], data);
    segment.dst = segment.dst.wrapping_add(u16::from(head[1] & 1));
    segment.seq = segment.seq.wrapping_add(off(2));
    segment.ack = segment.ack.wrapping_add(off(4));
    segment.window = u16::from_be_bytes([head[6], head[7]]);
    segment.urgent = u16::from(head[8]);
    if choices & 1 == 0 {
        segment.options = options.to_vec();
    }
    Some(segment)
}

/// What a program does meanwhile.
fn use_it(stream: &mut TcpStream, peer: &mut Peer<'_>, choices: u8) {
    let mut buffer = [0; 2_000];
    // The connection may be over by now: any of these may fail.
    if choices & 2 == 0 {
        let _ = stream.read(&mut buffer);
    }
    if choices & 4 == 0 {
        let _ = stream.write(&buffer[..usize::from(choices) * 5]);
    }
    if choices & 0x78 == 0x78 {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    if choices & 8 == 0 {
        for segment in peer.hear() {
            peer.take(&segment);
        }
    }
}

pub(super) fn piece(choices: u8, bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8, choices], bytes].concat()
}

pub(super) fn arp_seeds() -> Vec<Vec<u8>> {
    let request = crate::wire::Arp::request(PEER_MAC, PEER, US).bytes();
    let conflict = crate::wire::Arp::request(PEER_MAC, US, US).bytes();
    vec![[piece(1, &request), piece(0x81, &conflict), piece(0, &request)].concat()]
}

pub(super) fn ipv4_seeds() -> Vec<Vec<u8>> {
    let echo = echo_packet();
    let first = Ip { fragment: 0x2000, data: echo.data[..16].to_vec(), ..echo.clone() };
    let last = Ip { fragment: 2, data: echo.data[16..].to_vec(), ..echo.clone() };
    let options = Ip { options: vec![7, 7, 4, 0, 0, 0, 0, 0], ..echo.clone() };
    let pieces = [echo, options, first, last].map(|ip| piece(0, &ip.bytes()));
    vec![pieces.concat()]
}

pub(super) fn icmp_seeds() -> Vec<Vec<u8>> {
    let unreachable = [3, 3, 0, 0, 0, 0];
    let too_big = [3, 4, 0, 0, 2, 0x40];
    let echo = [8, 0, 0, 7, 0, 1, 1, 2, 3];
    vec![[piece(0, &unreachable), piece(0, &too_big), piece(1, &echo)].concat()]
}

pub(super) fn udp_seeds() -> Vec<Vec<u8>> {
    let raw = Udp::new(7, 5_000, b"raw").packet(PEER, US).data;
    vec![[piece(0, b"hello"), piece(1, &raw), piece(2, &raw)].concat()]
}

pub(super) fn tcp_seeds() -> Vec<Vec<u8>> {
    let say = |flags: u8, data: &[u8]| [&[flags, 0, 0, 0, 0, 0, 255, 255, 0, 0], data].concat();
    let with_option = [&say(0x10, b"")[..9], &[1, 253, 3, 9, 1, b'x']].concat();
    let data = [piece(9, &say(0x18, b"hello")), piece(8, &with_option)].concat();
    let close = [piece(1, &say(0x10, b"")), piece(0x79, &say(0x11, b"")), piece(1, &say(4, b""))];
    vec![data, close.concat()]
}
