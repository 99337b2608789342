//! Connections through a router: super-segments stay whole where the next link takes them, and
//! paths of smaller packets are found.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use libnet::capture::{CaptureTap, Direction};
use libnet::link::Offload;
use libnet::world::{LinkConfig, World};
use libnet::{DropReason, Gso, GsoKind, Instant, InterfaceSpec, Packet};
use rumpnet::{Forwarding, Stack};
use rumpnet_tests::router::{HERE, ROUTERS, RouterRig, STATIONS, THERE};
use rumpnet_tests::wire::tcp::ACK;
use rumpnet_tests::wire::{IPV4, Ip, Tcp, frame};

/// The sizes of the frames of a segment.
#[derive(Default)]
struct Sizes {
    longest: AtomicUsize,
    data_frames: AtomicUsize,
}

impl CaptureTap for Sizes {
    fn frame(&self, _at: Instant, _direction: Direction, packet: &Packet) {
        self.longest.fetch_max(packet.len(), Ordering::Relaxed);
        if packet.len() > 500 {
            self.data_frames.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sizes {
    fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }
}

/// Two hosts and a router between them.
struct Line {
    world: World,
    here: Stack,
    router: Stack,
    there: Stack,
    left: Arc<Sizes>,
    right: Arc<Sizes>,
}

impl Line {
    /// `narrow` is the router's MTU on the right, which the host there does not know of.
    fn new(left: LinkConfig, right: LinkConfig, narrow: u32, shards: usize) -> Line {
        let world = World::new(9);
        let (left_segment, right_segment) = (world.segment(left), world.segment(right));
        let sizes = [Arc::new(Sizes::default()), Arc::new(Sizes::default())];
        left_segment.tap(sizes[0].clone());
        right_segment.tap(sizes[1].clone());
        let on_left = |addr| InterfaceSpec::new(left_segment.next_link()).addr(addr);
        let on_right = |addr| InterfaceSpec::new(right_segment.next_link()).addr(addr);
        let host = |name: &str, interface: InterfaceSpec, route: &str| {
            let builder = Stack::builder().shards(shards).interface(interface).route(route);
            builder.start_in(&world.host(name)).expect("it starts")
        };
        let here = host("here", on_left("10.0.0.2/24"), "10.0.1.0/24@10.0.0.1");
        let there = on_right("10.0.1.2/24").route("10.0.0.0/25@10.0.1.1@5");
        let there = host("there", there, "10.9.0.0/16@blackhole");
        let router = Stack::builder()
            .shards(shards)
            .forwarding(Forwarding::On)
            .interface(on_left("10.0.0.1/24"))
            .interface(on_right("10.0.1.1/24").mtu(narrow))
            .start_in(&world.host("router"))
            .expect("it starts");
        let [left, right] = sizes;
        Line { world, here, router, there, left, right }
    }

    /// Sends a megabyte from here to there, which must arrive as it is.
    fn transfer(&self) {
        let listener = self.there.tcp_listen("10.0.1.2:9").expect("a free port");
        let got = Arc::new(Mutex::new(Vec::new()));
        let result = Arc::clone(&got);
        let reader = self.world.spawn("reader", move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.read_to_end(&mut result.lock().unwrap()).expect("all of it");
        });
        let mut stream = self.here.tcp_connect("10.0.1.2:9").expect("it connects");
        let sent: Vec<u8> = (0..1 << 20).map(|i: u32| (i * 7 + (i >> 8)) as u8).collect();
        stream.write_all(&sent).expect("it is sent");
        drop(stream);
        reader.join();
        assert!(*got.lock().unwrap() == sent);
    }

    fn count(&self, name: &str) -> u64 {
        let inet = self.router.inet().expect("a stack of its own");
        let all = inet.counters().all();
        all.into_iter().find(|(other, _)| *other == name).expect("a counter").1
    }
}

#[test]
fn routes_that_cannot_be_are_refused_when_the_stack_starts() {
    let world = World::new(1);
    let segment = world.segment(LinkConfig::default());
    let interface = || InterfaceSpec::new(segment.next_link()).addr("10.0.0.1/24");
    let start = |interface: InterfaceSpec, route: &str| {
        let builder = Stack::builder().interface(interface).route(route);
        builder.start_in(&world.host("here")).expect_err("it is refused").to_string()
    };
    let good = "10.1.0.0/16@10.0.0.9";
    assert!(start(interface(), "10.1.0.0/16 via 10.0.0.9").contains("NETWORK/BITS@GATEWAY"));
    assert!(start(interface().route("nonsense"), good).contains("NETWORK/BITS@GATEWAY"));
    for nowhere in ["10.1.0.0/16@192.0.2.1", "default@192.0.2.1"] {
        assert!(start(interface(), nowhere).contains("unreachable"));
        assert!(start(interface().route(nowhere), good).contains("unreachable"));
    }
}

fn whole() -> LinkConfig {
    LinkConfig::default().offload(Offload::FULL)
}

#[test]
fn super_segments_cross_a_router_whole() {
    for shards in [1, 3] {
        let line = Line::new(whole(), whole(), 1_500, shards);
        line.transfer();
        assert!(line.right.longest() > 30_000, "{} bytes", line.right.longest());
        let frames = [&line.left, &line.right].map(|side| side.data_frames.load(Ordering::Relaxed));
        assert_eq!(frames[0], frames[1], "none was cut");
    }
}

#[test]
fn super_segments_are_cut_for_a_link_that_takes_none() {
    let line = Line::new(whole(), LinkConfig::default(), 1_500, 1);
    line.transfer();
    assert!(line.left.longest() > 3_000, "{} bytes", line.left.longest());
    assert_eq!(line.right.longest(), 1_514);
    assert_eq!(line.count("fragments_out"), 0, "as segments, not as fragments");
}

#[test]
fn segments_too_big_for_the_next_link_are_refused_and_the_path_is_found() {
    for left in [whole(), LinkConfig::default()] {
        for right in [whole(), LinkConfig::default()] {
            let line = Line::new(left.clone(), right, 600, 1);
            line.transfer();
            assert!(line.count("ip_fragment_fails") > 0);
            assert_eq!(line.count("fragments_out"), 0);
            let here = line.here.inet().expect("a stack of its own");
            assert_eq!(here.counters().path_mtu_lowered.load(Ordering::Relaxed), 1);
        }
    }
}

/// A super-segment of five segments, which does not forbid fragments.
fn super_segment(segment_bytes: u16) -> (Packet, Ip) {
    let data = (0..5 * u32::from(segment_bytes)).map(|i| (i * 7) as u8).collect();
    let tcp = Tcp { src: 1_000, dst: 2_000, seq: 7, flags: ACK, data, ..Tcp::default() };
    let ip = tcp.packet(HERE, THERE);
    let bytes = frame(ROUTERS[0], STATIONS[0], IPV4, &ip.bytes());
    let mut packet = Packet::from_payload(bytes.into());
    let segment_bytes = segment_bytes.try_into().expect("not zero");
    packet.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes });
    (packet, ip)
}

#[test]
fn a_super_segment_that_may_be_cut_is_cut_into_segments_and_these_into_fragments() {
    let rig = RouterRig::with(|_| {}, LinkConfig::default().mtu(600));
    let (packet, ip) = super_segment(1_000);
    rig.left.segment.send_raw(packet);
    rig.run(std::time::Duration::from_millis(1));
    let passed = rig.passed();
    assert_eq!(passed.len(), 10);
    let mut joined = Vec::new();
    for pair in passed.chunks(2) {
        let (first, last) = (&pair[0], &pair[1]);
        assert_eq!((first.ident, first.offset(), first.ttl), (last.ident, 0, 63));
        let data = [&first.data[..], &last.data].concat();
        let segment = Ip { fragment: 0, data, ..first.clone() };
        joined.extend(segment.tcp().expect("a segment with its checksum right").data);
    }
    assert_eq!(joined, ip.tcp().expect("a segment").data);
}

#[test]
fn a_super_segment_whose_segments_fit_is_left_to_the_link() {
    let rig = RouterRig::with(|_| {}, LinkConfig::default().mtu(600));
    let (packet, _) = super_segment(500);
    rig.left.segment.send_raw(packet);
    rig.run(std::time::Duration::from_millis(1));
    let passed = rig.passed();
    assert_eq!(passed.len(), 5);
    assert!(passed.iter().all(|segment| !segment.is_fragment() && segment.tcp().is_some()));
}

#[test]
fn segments_longer_than_the_mtu_of_the_link_that_they_came_by_cross_as_the_next_link_takes_them() {
    // The station on the left sends more at a time than the router would.
    for (next_link, segment_bytes, packets) in [(9_000, 4_000, 5), (600, 1_800, 20)] {
        let rig = RouterRig::with(|_| {}, LinkConfig::default().mtu(next_link));
        let (packet, _) = super_segment(segment_bytes);
        rig.left.segment.send_raw(packet);
        rig.run(std::time::Duration::from_millis(1));
        assert_eq!(rig.passed().len(), packets, "{segment_bytes} bytes by {next_link}");
        assert_eq!(rig.dropped(DropReason::BadOffload), 0);
    }
}
