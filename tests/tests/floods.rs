//! Floods of what anybody on a link may send: they stay within the memory that was configured, and
//! leave an established transfer four fifths of its goodput. In virtual time.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libnet::impair::Impairments;
use libnet::world::{LinkConfig, Recording, World};
use libnet::{DropReason, InterfaceSpec, MacAddr, Packet};
use libnetinet::Inet;
use peak_alloc::PeakAlloc;
use rumpnet::{InetConfig, Stack};
use rumpnet_tests::bounds::{self, UNDER_WAY_BYTES};
use rumpnet_tests::goodput::{self, Goodput};
use rumpnet_tests::wire::nd::{redirect, target_mac};
use rumpnet_tests::wire::six::{DESTINATION_OPTIONS, FRAGMENT, IPV6, Ip6, fragment};
use rumpnet_tests::wire::{ARP, Arp, IPV4, Icmp, Ip, MORE_FRAGMENTS, UDP, Udp, frame};

/// Counts what all stacks in here hold; the tests take turns.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
static TURN: Mutex<()> = Mutex::new(());

const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const US6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const US_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const STRANGER: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
/// Frames of a flood in each millisecond.
const PER_MS: u32 = 5;
/// How long a transfer is measured, after as long a run-up.
const MEASURED: Duration = Duration::from_secs(2);

/// A flood: what the nth frame is, what shows that it met a bound, and what memory that bound allows.
struct Flood {
    name: &'static str,
    six: bool,
    frame: fn(u32) -> Vec<u8>,
    hits: fn(&Inet) -> bool,
    memory: fn(&InetConfig) -> usize,
}

/// What a transfer moved beside a flood, and what the stacks held meanwhile.
struct Beside {
    bytes: u64,
    host: Stack,
    /// The most memory in the run-up, and in the time that is measured.
    peaks: [usize; 2],
}

macro_rules! flood {
    ($name:literal, $six:literal, $frame:ident, $hits:ident, $memory:expr) => {
        Flood { name: $name, six: $six, frame: $frame, hits: $hits, memory: $memory }
    };
}

const FLOODS: [Flood; 10] = [
    flood!("ARP requests", false, arp_requests, fills_its_share, bounds::strangers),
    flood!("ARP replies", false, arp_replies, makes_no_entries, nothing),
    flood!("fragments", false, fragments, evicts_fragments, bounds::fragments),
    flood!("IPv6 fragments", true, fragments6, evicts_fragments, bounds::fragments),
    flood!("fragments behind options", true, behind6, evicts_fragments, bounds::fragments),
    flood!("overlapping fragments", true, overlaps6, drops_overlaps, bounds::fragments),
    flood!("redirects", true, redirects, fills_the_redirects, bounds::redirects),
    flood!("too big", true, too_big, believes_nothing, nothing),
    flood!("datagrams to no port", true, to_nobody, limits_errors, waits_for_neighbours),
    flood!("echoes for nobody", false, echoes, drops_what_waits, waits_for_neighbours),
];

const fn nothing(_: &InetConfig) -> usize {
    0
}

fn waits_for_neighbours(config: &InetConfig) -> usize {
    bounds::neighbours(config) + bounds::waiting(config)
}

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

/// Echo requests from few who are not there: the answers wait for them.
fn echoes(n: u32) -> Vec<u8> {
    let from = stranger(n % 64);
    let ip = Ip::new(from, US, 1, Icmp::echo(1, n as u16, &[7; 1_400]).bytes());
    frame(US_MAC, STRANGER, IPV4, &ip.bytes())
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

fn drops_what_waits(inet: &Inet) -> bool {
    inet.drops().get(DropReason::NeighbourQueueFull) > 1_000
}

/// The most memory since the last call, beyond `base`.
fn peak(base: usize) -> usize {
    let peak = HEAP.peak_usage().saturating_sub(base);
    HEAP.reset_peak_usage();
    peak
}

/// A transfer to a host, beside a flood.
fn transfer(config: &InetConfig, six: bool, flood: Option<&Flood>, measured: Duration) -> Beside {
    let base = HEAP.current_usage();
    peak(base);
    let mut config = config.clone();
    goodput::fix_buffers(&mut config);
    let world = World::new(7);
    // What it would remember of frames is no memory of the stacks.
    world.record(Recording::OFF);
    let link = Impairments::none().rate(100_000_000).delay(Duration::from_millis(1));
    let segment = world.segment(LinkConfig::default().impairments(link));
    let start = |name: &str, mac: MacAddr, n: u8| {
        let spec = InterfaceSpec::new(segment.link(mac)).addr(&format!("10.0.0.{n}/16"));
        let spec = spec.addr(&format!("fd00::{n}/64")).gateway(&ROUTER.to_string());
        let builder = Stack::builder().config(config.clone()).interface(spec);
        builder.start_in(&world.host(name)).expect("it starts")
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
    run(measured);
    let (before, early) = (goodput.bytes(), peak(base));
    run(measured);
    Beside { bytes: goodput.bytes() - before, host, peaks: [early, peak(base)] }
}

/// The most that a flood may take, with a configuration, beside what the transfer has alone.
fn hold_to_memory(flood: &Flood, config: &InetConfig, alone: &Beside, beside: &Beside) {
    let [early, late] = beside.peaks;
    let taken = early.max(late).saturating_sub(alone.peaks[0].max(alone.peaks[1]));
    let allowed = (flood.memory)(config) + UNDER_WAY_BYTES;
    assert!(taken <= allowed, "{} take {taken} bytes, {allowed} are allowed", flood.name);
    // Tables may grow once more for the gaps that they get.
    let most = early + allowed / 8 + UNDER_WAY_BYTES;
    assert!(late <= most, "{}: it grows, {early} to {late}", flood.name);
}

#[test]
fn floods_stay_within_memory_and_leave_a_transfer_alone() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let config = InetConfig::default();
    let alone = [false, true].map(|six| transfer(&config, six, None, MEASURED));
    for alone in &alone {
        assert!(alone.bytes > 15_000_000, "{} bytes in two seconds", alone.bytes);
    }
    for flood in &FLOODS {
        let alone = &alone[usize::from(flood.six)];
        let beside = transfer(&config, flood.six, Some(flood), MEASURED);
        let left = beside.bytes * 100 / alone.bytes;
        assert!(left >= 80, "{} leave {left} %", flood.name);
        let inet = beside.host.inet().expect("a stack of its own");
        let drops = inet.drops().nonzero();
        assert!((flood.hits)(inet), "{} do not meet their bound: {drops:?}", flood.name);
        assert!(inet.neighbours().len() <= config.arp.max_entries, "{}", flood.name);
        let held = inet.fragments_held();
        assert!(held.bytes <= config.ip.reassembly_bytes, "{}: {held:?}", flood.name);
        assert!(held.datagrams <= config.ip.reassembly_datagrams, "{}: {held:?}", flood.name);
        assert!(inet.routes().len() <= config.nd.max_redirects + 24, "{}", flood.name);
        hold_to_memory(flood, &config, alone, &beside);
    }
}

/// The bounds are counted in bytes, and these are what is allocated: with smaller ones there is less.
#[test]
fn smaller_bounds_are_kept_as_well() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut config = InetConfig::default();
    config.arp.max_entries = 128;
    config.arp.total_queue_bytes = 512 << 10;
    config.ip.reassembly_bytes = 512 << 10;
    config.ip.reassembly_datagrams = 1 << 20;
    config.nd.max_redirects = 64;
    let brief = MEASURED / 4;
    let alone = [false, true].map(|six| transfer(&config, six, None, brief));
    for flood in &FLOODS {
        let beside = transfer(&config, flood.six, Some(flood), brief);
        hold_to_memory(flood, &config, &alone[usize::from(flood.six)], &beside);
    }
}
