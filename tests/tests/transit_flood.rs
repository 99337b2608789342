//! Floods through a router, of either family, do not starve its own connections, in virtual time.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libnet::impair::Impairments;
use libnet::world::{LinkConfig, Recording, Segment, World, WorldLink};
use libnet::{DropReason, InterfaceSpec, MacAddr, Packet};
use libnetinet::snapshot::NeighbourState;
use peak_alloc::PeakAlloc;
use rumpnet::{Forwarding, InetConfig, Stack};
use rumpnet_tests::bounds::{self, UNDER_WAY_BYTES};
use rumpnet_tests::goodput::Goodput;
use rumpnet_tests::wire::six::{IPV6, Ip6};
use rumpnet_tests::wire::{IPV4, Ip, Udp, frame};

/// Counts what all stacks in here hold; the tests take turns.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

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

fn interface(link: WorldLink, addr: &str, six: &str) -> InterfaceSpec {
    InterfaceSpec::new(link).addr(addr).addr(six)
}

/// fd00:0:0:net::host
fn six(net: u16, host: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(net) << 64 | u128::from(host))
}

fn scene() -> Scene {
    let world = World::new(3);
    // What it would remember of frames is no memory of the stacks.
    world.record(Recording::OFF);
    let rate = |bits| LinkConfig::default().impairments(Impairments::none().rate(bits));
    let flooder = world.segment(LinkConfig::default());
    let slow = world.segment(rate(2_000_000));
    let link = world.segment(rate(20_000_000));
    let mut config = InetConfig::default();
    config.arp.announce = false;
    let router = Stack::builder()
        .config(config.clone())
        .forwarding(Forwarding::On)
        .interface(interface(flooder.link(ROUTER), "10.0.0.1/24", "fd00::1/64"))
        .interface(interface(slow.next_link(), "10.0.1.1/24", "fd00:0:0:1::1/64"))
        .interface(interface(link.next_link(), "10.0.2.1/16", "fd00:0:0:2::1/64"))
        .start_in(&world.host("router"))
        .expect("it starts");
    let host = Stack::builder()
        .config(config)
        .interface(interface(link.next_link(), "10.0.2.2/16", "fd00:0:0:2::2/64"))
        .start_in(&world.host("host"))
        .expect("it starts");
    let inet = router.inet().expect("a stack of its own");
    for (iface, n) in [(3, 1), (4, 2)] {
        for addr in [IpAddr::from([10, 0, n, 9]), six(n.into(), 9).into()] {
            inet.add_neighbour(libnet::IfIndex(iface), addr, STATION).expect("it fits");
        }
    }
    Scene { world, flooder, router, host }
}

/// Which addresses a flood has, and the connection beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    Four,
    Six,
}

const BOTH: [Family; 2] = [Family::Four, Family::Six];

fn flood_frame6(flood: Flood, number: u32) -> Option<Vec<u8>> {
    let to = match flood {
        Flood::Nothing => return None,
        Flood::OtherLink => six(1, 9),
        Flood::SameLink | Flood::UsedUp => six(2, 9),
        // All of a network of 64 bits, in large steps.
        Flood::Scan => six(2, u64::from(number) << 32 | 0xbad),
    };
    let hops = if flood == Flood::UsedUp { 1 } else { 64 };
    let source = six(0, u64::from(0x10 + number % 200));
    let ip = Ip6 { hops, ..Udp::new(1, 2, &[0; 1_000]).packet6(source, to) };
    Some(frame(ROUTER, FLOODER, IPV6, &ip.bytes()))
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
fn goodput(scene: &Scene, family: Family, flood: Flood, pace: Pace) -> u64 {
    let Scene { world, flooder, router, host } = scene;
    let to = match family {
        Family::Four => SocketAddr::from(([10, 0, 2, 2], 9)),
        Family::Six => SocketAddr::from((six(2, 2), 9)),
    };
    // Until the addresses of IPv6 are sure.
    world.run_for(Duration::from_secs(3));
    let listener = host.tcp_listen(to).expect("a free port");
    let (goodput, _reader) = Goodput::read_from(world, listener);
    let (router, clock) = (router.clone(), world.handle());
    let _writer = world.spawn("writer", move || {
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
                let bytes = match family {
                    Family::Four => flood_frame(flood, number),
                    Family::Six => flood_frame6(flood, number),
                };
                if let Some(bytes) = bytes {
                    flooder.send_raw(Packet::from_payload(bytes.into()));
                }
            }
            world.run_for(Duration::from_millis(1));
        }
    };
    run(MEASURED);
    let before = goodput.bytes();
    run(MEASURED);
    goodput.bytes() - before
}

/// What is left of a connection's goodput beside a flood, in per cent.
fn left(family: Family, flood: Flood, pace: Pace) -> u64 {
    let alone = goodput(&scene(), family, Flood::Nothing, pace);
    assert!(alone > 1 << 19, "{alone} bytes alone");
    goodput(&scene(), family, flood, pace) * 100 / alone
}

#[test]
fn a_flood_to_another_link_takes_nothing_from_a_connection() {
    let _turn = turn();
    for family in BOTH {
        let left = left(family, Flood::OtherLink, Pace::Greedy);
        assert!(left >= 80, "{family:?}: {left} %");
    }
}

#[test]
fn a_flood_to_the_same_link_leaves_a_connection_its_half() {
    let _turn = turn();
    for family in BOTH {
        let greedy = left(family, Flood::SameLink, Pace::Greedy);
        assert!((40..=60).contains(&greedy), "{family:?}: {greedy} %");
        // 6.4 of 20 Mbit/s: within its share.
        let steady = left(family, Flood::SameLink, Pace::Steady(8_000));
        assert!(steady >= 80, "{family:?}: {steady} %");
    }
}

#[test]
fn a_flood_that_has_no_hops_to_go_takes_nothing_from_a_connection() {
    let _turn = turn();
    for family in BOTH {
        let left = left(family, Flood::UsedUp, Pace::Greedy);
        assert!(left >= 80, "{family:?}: {left} %");
    }
}

#[test]
fn a_flood_to_neighbours_that_are_not_there_takes_nothing_from_a_connection() {
    let _turn = turn();
    for family in BOTH {
        let left = left(family, Flood::Scan, Pace::Greedy);
        assert!(left >= 80, "{family:?}: {left} %");
    }
}

#[test]
fn a_scan_leaves_half_of_the_neighbours_table_to_the_routers_own() {
    let _turn = turn();
    for family in BOTH {
        let scene = scene();
        goodput(&scene, family, Flood::Scan, Pace::Steady(1_000));
        let inet = scene.router.inet().expect("a stack of its own");
        let bound = InetConfig::default().arp.max_entries;
        let all = inet.neighbours();
        let (link, asked) = (libnet::IfIndex(4), NeighbourState::Incomplete);
        let unresolved = all.iter().filter(|entry| (entry.iface, entry.state) == (link, asked));
        let unresolved = unresolved.count();
        assert!(all.len() <= bound, "{family:?}: {} neighbours", all.len());
        assert!((100..=bound / 2).contains(&unresolved), "{family:?}: {unresolved} are asked for");
        assert!(inet.drops().get(DropReason::NeighbourTableFull) > 1_000, "{family:?}");
    }
}

#[test]
fn a_flood_stays_within_the_queue_that_was_configured() {
    let _turn = turn();
    let scene = scene();
    goodput(&scene, Family::Four, Flood::OtherLink, Pace::Steady(1_000));
    let inet = scene.router.inet().expect("a stack of its own");
    let dropped = inet.drops().get(DropReason::ForwardQueueFull);
    assert!(dropped > 50_000, "{dropped} of 200,000");
}

/// The most memory that all held beside a flood to a slow link and past hops, bytes.
fn peak(family: Family, flood: Flood) -> usize {
    let base = HEAP.current_usage();
    HEAP.reset_peak_usage();
    goodput(&scene(), family, flood, Pace::Steady(1_000));
    HEAP.peak_usage() - base
}

#[test]
fn floods_take_no_more_memory_than_is_configured() {
    let _turn = turn();
    let config = InetConfig::default();
    for family in BOTH {
        let alone = peak(family, Flood::Nothing);
        for flood in [Flood::OtherLink, Flood::UsedUp, Flood::Scan] {
            let taken = peak(family, flood).saturating_sub(alone);
            let scanned = if flood == Flood::Scan {
                bounds::neighbours(&config) + bounds::waiting(&config)
            } else {
                0
            };
            let allowed = bounds::forwarding(&config, 1_100) + scanned + UNDER_WAY_BYTES;
            assert!(taken <= allowed, "{family:?}: {taken} bytes of {allowed}");
        }
    }
}
