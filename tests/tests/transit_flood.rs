//! Floods through a router do not starve its own connections, in virtual time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libnet::impair::Impairments;
use libnet::world::{LinkConfig, Segment, World};
use libnet::{DropReason, InterfaceSpec, MacAddr, Packet};
use rumpnet::{Forwarding, InetConfig, Stack};
use rumpnet_tests::wire::{IPV4, Ip, Udp, frame};

const FLOODER: MacAddr = MacAddr([2, 0, 0, 9, 9, 9]);
const ROUTER: MacAddr = MacAddr([2, 0, 0, 9, 9, 1]);
const STATION: MacAddr = MacAddr([2, 0, 0, 9, 9, 2]);
/// How long a transfer is measured, after as long a run-up.
const MEASURED: Duration = Duration::from_secs(2);

/// What the flooder sends, a frame every 20 µs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flood {
    Nothing,
    /// Datagrams to a station on the link of the connection.
    SameLink,
    /// Datagrams to a station on a slow link.
    OtherLink,
    /// Datagrams with no hops to go.
    UsedUp,
    /// Datagrams to ever new neighbours that are not there.
    Scan,
}

/// How fast the connection's sender writes.
#[derive(Clone, Copy)]
enum Pace {
    /// As fast as it may.
    Greedy,
    /// Bytes every 10 ms.
    Steady(usize),
}

struct Scene {
    world: World,
    flooder: Segment,
    router: Stack,
    host: Stack,
}

fn scene() -> Scene {
    let world = World::new(3);
    let rate = |bits| LinkConfig::default().impairments(Impairments::none().rate(bits));
    let flooder = world.segment(LinkConfig::default());
    let slow = world.segment(rate(2_000_000));
    let link = world.segment(rate(20_000_000));
    let mut config = InetConfig::default();
    config.arp.announce = false;
    let router = Stack::builder()
        .config(config.clone())
        .forwarding(Forwarding::On)
        .interface(InterfaceSpec::new(flooder.link(ROUTER)).addr("10.0.0.1/24"))
        .interface(InterfaceSpec::new(slow.next_link()).addr("10.0.1.1/24"))
        .interface(InterfaceSpec::new(link.next_link()).addr("10.0.2.1/16"))
        .start_in(&world.host("router"))
        .expect("it starts");
    let host = Stack::builder()
        .config(config)
        .interface(InterfaceSpec::new(link.next_link()).addr("10.0.2.2/16"))
        .start_in(&world.host("host"))
        .expect("it starts");
    let inet = router.inet().expect("a stack of its own");
    for (iface, addr) in [(3, [10, 0, 1, 9]), (4, [10, 0, 2, 9])] {
        let addr = Ipv4Addr::from(addr);
        inet.add_neighbour(libnet::IfIndex(iface), addr.into(), STATION).expect("it fits");
    }
    Scene { world, flooder, router, host }
}

fn flood_frame(flood: Flood, number: u32) -> Option<Vec<u8>> {
    let data = [0; 1_000];
    let to = match flood {
        Flood::Nothing => return None,
        Flood::OtherLink => Ipv4Addr::new(10, 0, 1, 9),
        Flood::SameLink | Flood::UsedUp => Ipv4Addr::new(10, 0, 2, 9),
        Flood::Scan => Ipv4Addr::from_bits(0x0a00_8000 + number % 0x7000),
    };
    let source = Ipv4Addr::from_bits(0x0a00_0010 + number % 200);
    let ttl = if flood == Flood::UsedUp { 1 } else { 64 };
    let ip = Ip { ttl, ..Udp::new(1, 2, &data).packet(source, to) };
    Some(frame(ROUTER, FLOODER, IPV4, &ip.bytes()))
}

/// Bytes that a connection of the router delivers to the host beside a flood.
fn goodput(scene: &Scene, flood: Flood, pace: Pace) -> u64 {
    let Scene { world, flooder, router, host } = scene;
    let listener = host.tcp_listen("10.0.2.2:9").expect("a free port");
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let _reader = world.spawn("reader", move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buf = vec![0; 1 << 16];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            counted.fetch_add(n as u64, Ordering::Relaxed);
        }
    });
    let (router, clock) = (router.clone(), world.handle());
    let _writer = world.spawn("writer", move || {
        let to: SocketAddr = "10.0.2.2:9".parse().expect("an address");
        let mut stream = router.tcp_connect(to).expect("it connects");
        let (chunk, pause) = match pace {
            Pace::Greedy => (1 << 16, Duration::ZERO),
            Pace::Steady(bytes) => (bytes, Duration::from_millis(10)),
        };
        while stream.write_all(&vec![7; chunk]).is_ok() {
            if !pause.is_zero() && clock.sleep(pause).is_err() {
                return;
            }
        }
    });
    let mut number = 0;
    let mut run = |duration: Duration| {
        let end = world.now() + duration;
        while world.now() < end {
            for _ in 0..50 {
                number += 1;
                if let Some(bytes) = flood_frame(flood, number) {
                    flooder.send_raw(Packet::from_payload(bytes.into()));
                }
            }
            world.run_for(Duration::from_millis(1));
        }
    };
    run(MEASURED);
    let before = count.load(Ordering::Relaxed);
    run(MEASURED);
    count.load(Ordering::Relaxed) - before
}

/// What is left of a connection's goodput beside a flood, in per cent.
fn left(flood: Flood, pace: Pace) -> u64 {
    let alone = goodput(&scene(), Flood::Nothing, pace);
    assert!(alone > 1 << 19, "{alone} bytes alone");
    goodput(&scene(), flood, pace) * 100 / alone
}

#[test]
fn a_flood_to_another_link_takes_nothing_from_a_connection() {
    let left = left(Flood::OtherLink, Pace::Greedy);
    assert!(left >= 80, "{left} %");
}

#[test]
fn a_flood_to_the_same_link_leaves_a_connection_its_half() {
    let greedy = left(Flood::SameLink, Pace::Greedy);
    assert!((40..=60).contains(&greedy), "{greedy} %");
    // 6.4 of 20 Mbit/s: within its share.
    let steady = left(Flood::SameLink, Pace::Steady(8_000));
    assert!(steady >= 80, "{steady} %");
}

#[test]
fn a_flood_that_has_no_hops_to_go_takes_nothing_from_a_connection() {
    let left = left(Flood::UsedUp, Pace::Greedy);
    assert!(left >= 80, "{left} %");
}

#[test]
fn a_flood_to_neighbours_that_are_not_there_takes_nothing_from_a_connection() {
    let left = left(Flood::Scan, Pace::Greedy);
    assert!(left >= 80, "{left} %");
}

#[test]
fn a_flood_stays_within_the_queue_that_was_configured() {
    let scene = scene();
    goodput(&scene, Flood::OtherLink, Pace::Steady(1_000));
    let inet = scene.router.inet().expect("a stack of its own");
    let dropped = inet.drops().get(DropReason::ForwardQueueFull);
    assert!(dropped > 50_000, "{dropped} of 200,000");
}
