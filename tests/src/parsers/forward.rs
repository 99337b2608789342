//! A router that is sent garbage to be passed on, with metadata of super-segments as a bus would
//! bring them: what it puts on the next link is well-formed, and no sum that was right is wrong.

use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use libnet::capture::{CaptureTap, Direction};
use libnet::iface::ClampMss;
use libnet::route::RouteSpec;
use libnet::world::LinkConfig;
use libnet::{Checksum, Gso, GsoKind, Instant, Packet};

use super::stack::{piece, pieces};
use crate::router::{HERE, HERE6, RIGHT, ROUTER_LEFT, ROUTERS, RouterRig, STATIONS, THERE, THERE6};
use crate::wire::six::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, IPV6, Ip6, fragment, options};
use crate::wire::tcp::{SYN, mss_option};
use crate::wire::{ICMP, IPV4, Icmp, Ip, Tcp, Udp, checksum, frame};

/// Largest packet on the right.
const MTU: usize = 1_280;

/// Checks what the router puts on the right.
#[derive(Default)]
struct Judge(AtomicUsize);

impl CaptureTap for Judge {
    fn frame(&self, _at: Instant, _direction: Direction, packet: &Packet) {
        let bytes = packet.to_bytes();
        let (head, ip) = bytes.split_at(14);
        if head[6..12] != ROUTERS[1].0 {
            return;
        }
        assert!(ip.len() <= MTU, "{} bytes", ip.len());
        match ip[0] >> 4 {
            4 => {
                let header = usize::from(ip[0] & 15) * 4;
                assert_eq!(checksum(&[&ip[..header]]), 0, "the header's checksum");
                assert_ne!(ip[8], 0, "the time to live");
            }
            6 => {
                assert_ne!(ip[7], 0, "the hop limit");
                assert_eq!(40 + usize::from(u16::from_be_bytes([ip[4], ip[5]])), ip.len());
            }
            // ARP.
            _ => {}
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Packets for the other side, their headers put right as far as chosen.
pub(super) fn run(bytes: &[u8]) {
    let rig = RouterRig::six_with(|_| {}, LinkConfig::default().mtu(MTU as u32));
    let judge = Arc::new(Judge::default());
    rig.right.segment.tap(judge.clone());
    rig.inet.set_clamp_mss(RIGHT, ClampMss::Mtu).expect("it is there");
    for (choices, piece) in pieces(bytes) {
        let six = choices & 1 != 0;
        let mut ip = piece.to_vec();
        if choices & 2 == 0 && six {
            ip = mended6(&ip);
        } else if choices & 2 == 0 {
            ip = mended4(ip);
        }
        let ethertype = if six { IPV6 } else { IPV4 };
        let bytes = frame(ROUTERS[0], STATIONS[0], ethertype, &ip);
        let mut packet = Packet::from_payload(Bytes::from(bytes));
        if choices & 0x40 != 0 {
            let kind = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp][piece.len() % 3];
            let segment_bytes = NonZeroU16::new(1 + u16::from(choices >> 2));
            packet.gso = segment_bytes.map(|segment_bytes| Gso { kind, segment_bytes });
            packet.checksum = Checksum::Partial { start: 34, field: 16 };
        }
        rig.left.segment.send_raw(packet);
        rig.run(Duration::from_millis(if choices & 0x80 != 0 { 1_000 } else { 1 }));
    }
    rig.run(Duration::from_secs(2));
    let before = rig.inet.counters().icmp_echoes.load(Ordering::Relaxed);
    rig.say(&Ip::new(HERE, ROUTER_LEFT, ICMP, Icmp::echo(1, 1, b"alive?").bytes()));
    let after = rig.inet.counters().icmp_echoes.load(Ordering::Relaxed);
    assert_eq!(after - before, 1, "the router still answers");
}

fn mended4(mut ip: Vec<u8>) -> Vec<u8> {
    if ip.len() < 20 {
        return Udp::new(1, 2, &ip).packet(HERE, THERE).bytes();
    }
    ip[0] = 0x40 | (ip[0] & 15);
    let len = ip.len() as u16;
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    ip[12..16].copy_from_slice(&HERE.octets());
    ip[16..20].copy_from_slice(&THERE.octets());
    let header = (usize::from(ip[0] & 15) * 4).clamp(20, 60).min(ip.len());
    ip[10..12].fill(0);
    let sum = checksum(&[&ip[..header]]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip
}

/// The first byte names what the others are.
fn mended6(piece: &[u8]) -> Vec<u8> {
    let (&next, data) = piece.split_first().unwrap_or((&17, b""));
    Ip6::new(HERE6, THERE6, next, data.to_vec()).bytes()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let plain = Udp::new(1, 2, b"to be passed on").packet(HERE, THERE);
    let recorded = Ip { options: vec![7, 7, 4, 0, 0, 0, 0, 0], ..plain.clone() };
    let stamped = Ip { options: vec![68, 8, 5, 0, 0, 0, 0, 0], ..plain.clone() };
    let used_up = Ip { ttl: 1, ..plain.clone() };
    let four = [plain, recorded, stamped, used_up];
    let datagram = Udp::new(1, 2, b"to be passed on").packet6(HERE6, THERE6);
    let hopped = datagram.clone().behind(HOP_BY_HOP, options(&[5, 2, 0, 0]));
    let chained = hopped.clone().behind(DESTINATION_OPTIONS, options(&[1, 0]));
    let options = [&mss_option(1_460)[..], &[19, 18], &[0; 16], &[1, 1]].concat();
    let syn = Tcp { flags: SYN, options: mss_option(1_460), ..Tcp::default() };
    let signed = Tcp { options, ..syn.clone() };
    let behind = syn.packet6(HERE6, THERE6).behind(FRAGMENT, fragment(0, true, 1));
    let six = [datagram, hopped, chained, behind].map(|ip| {
        let mut piece = vec![ip.next];
        piece.extend(ip.data);
        piece
    });
    let syns = [syn, signed].map(|tcp| tcp.packet(HERE, THERE));
    let four = [&four[..], &syns].concat();
    let mut seeds: Vec<Vec<u8>> = four.iter().map(|ip| piece(0, &ip.bytes())).collect();
    seeds.extend(four.iter().map(|ip| piece(0x40, &ip.bytes())));
    seeds.extend(six.iter().map(|bytes| piece(1, bytes)));
    seeds
}

/// Routes as people type them.
pub(super) fn route_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(route) = RouteSpec::from_str(text) {
        assert_eq!(
            RouteSpec::from_str(&route.to_string()),
            Ok(route),
            "what is shown can be typed"
        );
    }
}

pub(super) fn route_texts() -> Vec<Vec<u8>> {
    ["10.2.0.0/16@10.0.0.1", "default@fe80::1%shmif0@20", "fd00::/8@blackhole", "10.0.0.0/8@tap0"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
