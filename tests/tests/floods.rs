//! Floods of what anybody on a link may send: they stay within the memory that was configured, and
//! leave an established transfer four fifths of its goodput. In virtual time.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use libnet::impair::Impairments;
use libnet::world::{LinkConfig, World};
use libnet::{DropReason, InterfaceSpec, MacAddr, Packet};
use libnetinet::Inet;
use rumpnet::{InetConfig, Stack};
use rumpnet_tests::goodput::Goodput;
use rumpnet_tests::wire::nd::{redirect, target_mac};
use rumpnet_tests::wire::six::{DESTINATION_OPTIONS, FRAGMENT, IPV6, Ip6, fragment};
use rumpnet_tests::wire::{ARP, Arp, IPV4, Icmp, Ip, MORE_FRAGMENTS, UDP, Udp, frame};

const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const US6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const US_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const STRANGER: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
/// Frames of a flood in each millisecond.
const PER_MS: u32 = 5;
/// How long a transfer is measured, after as long a run-up.
const MEASURED: Duration = Duration::from_secs(2);

/// A flood: what the nth frame is, and what shows that it met a bound.
struct Flood {
    name: &'static str,
    six: bool,
    frame: fn(u32) -> Vec<u8>,
    hits: fn(&Inet) -> bool,
}

const FLOODS: [Flood; 9] = [
    Flood { name: "ARP requests", six: false, frame: arp_requests, hits: fills_its_share },
    Flood { name: "ARP replies", six: false, frame: arp_replies, hits: makes_no_entries },
    Flood { name: "fragments", six: false, frame: fragments, hits: evicts_fragments },
    Flood { name: "IPv6 fragments", six: true, frame: fragments6, hits: evicts_fragments },
    Flood { name: "fragments behind options", six: true, frame: behind6, hits: evicts_fragments },
    Flood { name: "overlapping fragments", six: true, frame: overlaps6, hits: drops_overlaps },
    Flood { name: "redirects", six: true, frame: redirects, hits: fills_the_redirects },
    Flood { name: "too big", six: true, frame: too_big, hits: believes_nothing },
    Flood { name: "datagrams to no port", six: true, frame: to_nobody, hits: limits_errors },
];

fn stranger(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_1000 + n % 0xe000)
}

fn stranger6(n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfd00 << 112 | 0xbad << 32 | u128::from(n))
}

fn arp_requests(n: u32) -> Vec<u8> {
    frame(MacAddr::BROADCAST, STRANGER, ARP, &Arp::request(STRANGER, stranger(n), US).bytes())
}

fn arp_replies(n: u32) -> Vec<u8> {
    frame(US_MAC, STRANGER, ARP, &Arp::reply(STRANGER, stranger(n), US_MAC, US).bytes())
}

fn fragments(n: u32) -> Vec<u8> {
    let mut ip = Ip::new(stranger(n), US, UDP, vec![7; 64]);
    (ip.ident, ip.fragment) = (n as u16, MORE_FRAGMENTS);
    frame(US_MAC, STRANGER, IPV4, &ip.bytes())
}

/// A fragment of 64 bytes, of a datagram that nothing else is sent of.
fn piece6(n: u32, offset: u16) -> Ip6 {
    let ip = Ip6::new(stranger6(n), US6, UDP, vec![7; 64]);
    ip.behind(FRAGMENT, fragment(offset, true, n))
}

fn frame6(ip: &Ip6) -> Vec<u8> {
    frame(US_MAC, STRANGER, IPV6, &ip.bytes())
}

fn fragments6(n: u32) -> Vec<u8> {
    frame6(&piece6(n, 8))
}

/// Few bytes behind many that are not kept.
fn behind6(n: u32) -> Vec<u8> {
    let mut padding = vec![0, 127, 1, 253];
    padding.resize(2 + 2 + 253, 0);
    for _ in 0..3 {
        padding.extend([1, 251]);
        padding.resize(padding.len() + 251, 0);
    }
    padding.resize(1_024, 0);
    frame6(&piece6(n / 8, n as u16 % 8 * 64).behind(DESTINATION_OPTIONS, padding))
}

fn overlaps6(n: u32) -> Vec<u8> {
    frame6(&piece6(n / 2, 8 + 8 * (n as u16 % 2)))
}

fn redirects(n: u32) -> Vec<u8> {
    let far = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n));
    let better = Ipv6Addr::from_bits(0xfe80 << 112 | 0xbad << 32 | u128::from(n));
    frame6(&redirect(ROUTER, US6, better, far, &[target_mac(STRANGER)]))
}

fn too_big(n: u32) -> Vec<u8> {
    let ours = Udp::new(5, 7, &[7; 1_300]).packet6(US6, stranger6(n));
    frame6(&Icmp::error6(2, 0, 1_280, &ours).packet6(stranger6(n), US6))
}

fn to_nobody(n: u32) -> Vec<u8> {
    frame6(&Udp::new(9, 9, b"anybody?").packet6(stranger6(n), US6))
}

/// One entry in four may be of those who asked for us, and no more.
fn fills_its_share(inet: &Inet) -> bool {
    let share = InetConfig::default().arp.max_entries / 4;
    (share..share + 8).contains(&inet.neighbours().len())
}

fn makes_no_entries(inet: &Inet) -> bool {
    inet.neighbours().len() < 8
}

fn evicts_fragments(inet: &Inet) -> bool {
    inet.drops().get(DropReason::FragmentMemory) > 1_000
}

fn drops_overlaps(inet: &Inet) -> bool {
    inet.drops().get(DropReason::FragmentOverlap) > 1_000
}

fn fills_the_redirects(inet: &Inet) -> bool {
    let most = InetConfig::default().nd.max_redirects;
    let learned = inet.routes().into_iter().filter(|route| route.dst.prefix_bits() == 128);
    (most..most + 16).contains(&learned.count())
}

fn believes_nothing(inet: &Inet) -> bool {
    inet.drops().get(DropReason::IcmpUnmatched) > 1_000
}

fn limits_errors(inet: &Inet) -> bool {
    inet.drops().get(DropReason::IcmpRateLimited) > 1_000
}

/// Bytes that a transfer to a host moves while it is measured, beside a flood; and the host.
fn goodput(six: bool, flood: Option<&Flood>) -> (u64, Stack) {
    let world = World::new(7);
    let link = Impairments::none().rate(100_000_000).delay(Duration::from_millis(1));
    let segment = world.segment(LinkConfig::default().impairments(link));
    let start = |name: &str, mac: MacAddr, n: u8| {
        let spec = InterfaceSpec::new(segment.link(mac)).addr(&format!("10.0.0.{n}/16"));
        let spec = spec.addr(&format!("fd00::{n}/64")).gateway(&ROUTER.to_string());
        Stack::builder().interface(spec).start_in(&world.host(name)).expect("it starts")
    };
    let sender = start("sender", MacAddr([2, 0, 0, 0, 0, 1]), 1);
    let host = start("host", US_MAC, 2);
    let to = SocketAddr::new(if six { IpAddr::from(US6) } else { US.into() }, 9);
    let listener = host.tcp_listen(to).expect("a free port");
    let (goodput, _reader) = Goodput::read_from(&world, listener);
    let _writer = world.spawn("writer", move || {
        let mut stream = sender.tcp_connect(to).expect("it connects");
        while stream.write_all(&[7; 1 << 16]).is_ok() {}
    });
    let mut number = 0;
    let mut run = |duration: Duration| {
        let end = world.now() + duration;
        while world.now() < end {
            if let Some(flood) = flood {
                for _ in 0..PER_MS {
                    number += 1;
                    segment.send_raw(Packet::from_payload((flood.frame)(number).into()));
                }
            }
            world.run_for(Duration::from_millis(1));
        }
    };
    run(MEASURED);
    let before = goodput.bytes();
    run(MEASURED);
    (goodput.bytes() - before, host)
}

#[test]
fn floods_stay_within_memory_and_leave_a_transfer_alone() {
    let alone = [goodput(false, None).0, goodput(true, None).0];
    assert!(alone.iter().all(|&bytes| bytes > 15_000_000), "{alone:?} bytes in two seconds");
    let bounds = InetConfig::default();
    for flood in &FLOODS {
        let (bytes, host) = goodput(flood.six, Some(flood));
        let left = bytes * 100 / alone[usize::from(flood.six)];
        assert!(left >= 80, "{} leave {left} %", flood.name);
        let inet = host.inet().expect("a stack of its own");
        let drops = inet.drops().nonzero();
        assert!((flood.hits)(inet), "{} do not meet their bound: {drops:?}", flood.name);
        assert!(inet.neighbours().len() <= bounds.arp.max_entries, "{}", flood.name);
        let held = inet.fragments_held();
        assert!(held.bytes <= bounds.ip.reassembly_bytes, "{}: {held:?}", flood.name);
        assert!(held.datagrams <= bounds.ip.reassembly_datagrams, "{}: {held:?}", flood.name);
        assert!(inet.routes().len() <= bounds.nd.max_redirects + 24, "{}", flood.name);
    }
}
