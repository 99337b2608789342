//! Routers and hosts that configure themselves, in virtual time, with one shard and with three; and
//! floods of neighbour discovery, which stay within bounds and do not stop a transfer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libnet::iface::{Advertise, AdvertisedPrefix};
use libnet::impair::Impairments;
use libnet::world::{LinkConfig, Recording, Segment, World};
use libnet::{InterfaceSpec, MacAddr, Packet};
use libnetinet::snapshot::{AddressEntry, AddressOrigin, AddressState, NeighbourState};
use peak_alloc::PeakAlloc;
use rumpnet::{Forwarding, InetConfig, Stack, TcpStream};
use rumpnet_tests::bounds::{self, UNDER_WAY_BYTES};
use rumpnet_tests::wire::frame;
use rumpnet_tests::wire::nd::{
    AUTONOMOUS, ON_LINK, OVERRIDE, SOLICITED, advertise, group_mac, prefix, router, solicit,
    solicited_node, source_mac, target_mac,
};
use rumpnet_tests::wire::six::{IPV6, Ip6};

/// Counts what all stacks in here hold; the tests take turns.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A router that advertises `2001:db8:1::/64`, and hosts that look for one.
struct Lan {
    world: World,
    segment: Segment,
    router: Stack,
    hosts: Vec<Stack>,
}

fn says() -> Advertise {
    let mut says = Advertise::default();
    says.prefixes.push(AdvertisedPrefix::new("2001:db8:1::/64".parse().unwrap()));
    says.dns_servers.push("2001:db8:1::53".parse().unwrap());
    says.dns_search.push("lab.test".to_owned());
    says
}

impl Lan {
    fn new(shards: usize, hosts: usize, config: &InetConfig) -> Lan {
        let world = World::new(11);
        // What it would remember of frames is no memory of the stacks.
        world.record(Recording::OFF);
        let segment = world.segment(LinkConfig::default());
        let start = |spec: InterfaceSpec| {
            Stack::builder().interface(spec).config(config.clone()).shards(shards)
        };
        let host = |name| world.host(name);
        let spec = InterfaceSpec::new(segment.next_link()).addr("2001:db8:1::1/64");
        let router = start(spec.advertise(says())).forwarding(Forwarding::On);
        let router = router.start_in(&host("router".to_owned())).unwrap();
        let hosts = (0..hosts).map(|n| {
            let builder = start(InterfaceSpec::new(segment.next_link()).addr("auto"));
            builder.start_in(&host(format!("host{n}"))).unwrap()
        });
        let hosts = hosts.collect();
        Lan { world, segment, router, hosts }
    }

    fn mac(&self, stack: &Stack) -> MacAddr {
        entry(stack).link.mac
    }
}

fn entry(stack: &Stack) -> libnetinet::snapshot::InterfaceEntry {
    stack.inet().expect("a stack with protocols").interfaces().swap_remove(1)
}

fn address(stack: &Stack, origin: AddressOrigin) -> AddressEntry {
    let all = entry(stack).addresses;
    all.iter().find(|entry| entry.origin == origin).unwrap_or_else(|| panic!("{all:?}")).clone()
}

fn six(entry: &AddressEntry) -> Ipv6Addr {
    match entry.cidr.addr() {
        IpAddr::V6(addr) => addr,
        IpAddr::V4(addr) => panic!("{addr}"),
    }
}

/// Sends bytes one way and back over a new connection; what the server saw as the client's address.
fn exchange(world: &World, server: &Stack, client: &Stack, to: SocketAddr) -> SocketAddr {
    let listener = server.tcp_listen(to).unwrap();
    let mut near = client.tcp_connect(to).unwrap();
    let (mut far, from) = listener.accept().unwrap();
    near.write_all(b"there").unwrap();
    let mut buf = [0; 5];
    far.read_exact(&mut buf).unwrap();
    far.write_all(&buf).unwrap();
    near.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"there", "at {:?}", world.now());
    from
}

#[test]
fn hosts_find_a_router_an_address_and_each_other() {
    let _turn = turn();
    for shards in [1, 3] {
        let lan = Lan::new(shards, 2, &InetConfig::default());
        lan.world.run_for(5 * SECOND);
        let [a, b] = &lan.hosts[..] else { panic!("two hosts") };
        let (mine, yours) =
            (address(a, AddressOrigin::Autonomous), address(b, AddressOrigin::Autonomous));
        assert_eq!(mine.state, AddressState::Preferred);
        assert_ne!(six(&mine), six(&yours));
        let from = exchange(&lan.world, b, a, SocketAddr::new(yours.cidr.addr(), 80));
        assert_eq!(from.ip(), mine.cidr.addr());
        exchange(&lan.world, &lan.router, a, "[2001:db8:1::1]:80".parse().unwrap());
        let inet = a.inet().unwrap();
        assert_eq!(inet.routers().len(), 1);
        assert_eq!(inet.dns_servers()[0].what, "2001:db8:1::53".parse::<Ipv6Addr>().unwrap());
        assert_eq!(inet.dns_search()[0].what, "lab.test");
    }
}

#[test]
fn hosts_that_just_started_reach_each_other_at_once() {
    let _turn = turn();
    let world = World::new(3);
    let segment = world.segment(LinkConfig::default());
    let start = |name: &str, addr: &str| {
        let spec = InterfaceSpec::new(segment.next_link()).addr(addr);
        Stack::builder().interface(spec).start_in(&world.host(name)).unwrap()
    };
    let (a, b) = (start("a", "fd00::1/64"), start("b", "fd00::2/64"));
    exchange(&world, &b, &a, "[fd00::2]:80".parse().unwrap());
    assert!(world.now().as_millis() < 10, "at {:?}", world.now());
    assert_eq!(address(&a, AddressOrigin::Static).state, AddressState::Optimistic);
}

#[test]
fn link_local_addresses_work_with_their_zone_and_not_without() {
    let _turn = turn();
    let lan = Lan::new(1, 2, &InetConfig::default());
    lan.world.run_for(5 * SECOND);
    let [a, b] = &lan.hosts[..] else { panic!("two hosts") };
    let addr = six(&address(b, AddressOrigin::LinkLocal));
    let zone = entry(a).index.0;
    let from = exchange(&lan.world, b, a, SocketAddrV6::new(addr, 80, 0, zone).into());
    assert_eq!(from.ip(), address(a, AddressOrigin::LinkLocal).cidr.addr());
    let without = a.tcp_connect(SocketAddrV6::new(addr, 80, 0, 0)).unwrap_err();
    assert_eq!(without.raw_os_error(), Some(22), "EINVAL, as on Linux");
}

#[test]
fn two_hosts_with_one_address_have_it_once() {
    let _turn = turn();
    let world = World::new(3);
    let segment = world.segment(LinkConfig::default());
    let mut config = InetConfig::default();
    config.nd.optimistic = false;
    let start = |name: &str| {
        let spec = InterfaceSpec::new(segment.next_link()).addr("fd00::1/64");
        Stack::builder().interface(spec).config(config.clone()).start_in(&world.host(name)).unwrap()
    };
    let first = start("first");
    world.run_for(5 * SECOND);
    let second = start("second");
    world.run_for(5 * SECOND);
    assert_eq!(address(&first, AddressOrigin::Static).state, AddressState::Preferred);
    let lost = address(&second, AddressOrigin::Static);
    assert_eq!((lost.state, lost.conflicts), (AddressState::Duplicate, 1));
    assert!(second.udp_bind("[fd00::1]:5").is_err());
    assert!(first.udp_bind("[fd00::1]:5").is_ok());
}

#[test]
fn hosts_that_start_together_with_one_address_both_lose_it() {
    let _turn = turn();
    let world = World::new(3);
    let segment = world.segment(LinkConfig::default());
    let start = |name: &str| {
        let spec = InterfaceSpec::new(segment.next_link()).addr("fd00::1/64");
        Stack::builder().interface(spec).start_in(&world.host(name)).unwrap()
    };
    let both = [start("first"), start("second")];
    world.run_for(5 * SECOND);
    let lost =
        both.iter().filter(|s| address(s, AddressOrigin::Static).state == AddressState::Duplicate);
    assert!(lost.count() >= 1, "RFC 4862 §5.4.3");
}

#[test]
fn names_are_tried_in_the_order_of_rfc_6724() {
    let _turn = turn();
    let lan = Lan::new(1, 1, &InetConfig::default());
    lan.world.run_for(5 * SECOND);
    let host = lan.hosts[0].inet().unwrap();
    let mut all: Vec<IpAddr> = ["192.0.2.1", "fd00::9", "2001:db8:9::9"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    host.sort_destinations(&mut all);
    let sorted: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(sorted, ["2001:db8:9::9", "fd00::9", "192.0.2.1"], "IPv4 cannot be reached");
}

/// A transfer that goes on for as long as it is pumped.
struct Transfer {
    from: TcpStream,
    to: TcpStream,
    received: usize,
}

impl Transfer {
    fn new(from: &Stack, to: &Stack, addr: SocketAddr) -> Transfer {
        let listener = to.tcp_listen(addr).unwrap();
        let from = from.tcp_connect(addr).unwrap();
        let (to, _) = listener.accept().unwrap();
        from.set_nonblocking(true).unwrap();
        to.set_nonblocking(true).unwrap();
        Transfer { from, to, received: 0 }
    }

    fn pump(&mut self) {
        let data = [7; 65_536];
        let would_block = |error: io::Error| assert_eq!(error.kind(), ErrorKind::WouldBlock);
        loop {
            if let Err(error) = self.from.write(&data) {
                would_block(error);
                break;
            }
        }
        let mut buf = [0; 65_536];
        loop {
            match self.to.read(&mut buf) {
                Ok(0) => panic!("it goes on"),
                Ok(n) => self.received += n,
                Err(error) => return would_block(error),
            }
        }
    }
}

/// What a flood is made of: the nth frame.
type Flood = fn(u32, Ipv6Addr) -> Ip6;

const STRANGER: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);

fn stranger(n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfe80 << 112 | 0xbad << 32 | u128::from(n))
}

fn solicitations(n: u32, target: Ipv6Addr) -> Ip6 {
    solicit(stranger(n), solicited_node(target), target, &[source_mac(STRANGER)])
}

fn advertisements(n: u32, target: Ipv6Addr) -> Ip6 {
    advertise(stranger(n), target, stranger(n), SOLICITED | OVERRIDE, &[target_mac(STRANGER)])
}

fn routers(n: u32, _: Ipv6Addr) -> Ip6 {
    let network = format!("2001:db9:{:x}:{:x}::/64", n >> 16, n & 0xffff);
    let option = prefix(&network, ON_LINK | AUTONOMOUS, 600, 600);
    router(stranger(n), 1_800, &[source_mac(STRANGER), option])
}

/// Bytes that a transfer between two hosts moves in two seconds, with so many frames of a flood in
/// each millisecond; and the most memory that all held.
fn goodput(flood: Flood, per_ms: u32) -> (usize, Lan, usize) {
    let base = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let lan = Lan::new(1, 2, &InetConfig::default());
    let harm = Impairments::none().rate(100_000_000).delay(MS);
    lan.segment.impair_all(&harm);
    lan.world.run_for(5 * SECOND);
    let [a, b] = &lan.hosts[..] else { panic!("two hosts") };
    let target = six(&address(b, AddressOrigin::Autonomous));
    let mut transfer = Transfer::new(a, b, SocketAddr::new(target.into(), 80));
    let pump = |transfer: &mut Transfer, ms: u32, mut n: u32| {
        for _ in 0..ms {
            for _ in 0..per_ms {
                let ip = flood(n, target);
                let to = if ip.dst.is_multicast() { group_mac(ip.dst) } else { lan.mac(b) };
                let bytes = Bytes::from(frame(to, STRANGER, IPV6, &ip.bytes()));
                lan.segment.send_raw(Packet::from_payload(bytes));
                n += 1;
            }
            transfer.pump();
            lan.world.run_for(MS);
        }
    };
    pump(&mut transfer, 500, 0);
    transfer.received = 0;
    pump(&mut transfer, 2_000, 1 << 20);
    (transfer.received, lan, HEAP.peak_usage() - base)
}

#[test]
fn floods_cost_a_transfer_less_than_a_fifth_and_stay_within_bounds() {
    let _turn = turn();
    let (calm, _, calm_peak) = goodput(solicitations, 0);
    assert!(calm > 15_000_000, "{calm} bytes in two seconds at 100 Mbit/s");
    for flood in [solicitations as Flood, advertisements, routers] {
        let (bytes, lan, peak) = goodput(flood, 5);
        assert!(bytes * 10 > calm * 8, "{bytes} of {calm} bytes");
        // The router, too, knows who solicits.
        let config = InetConfig::default();
        let each = bounds::strangers(&config) + bounds::advertised(&config);
        let (taken, allowed) = (peak.saturating_sub(calm_peak), 3 * each + UNDER_WAY_BYTES);
        assert!(taken <= allowed, "{taken} bytes of {allowed}");
        for host in &lan.hosts {
            let inet = host.inet().unwrap();
            let bounds = InetConfig::default();
            assert!(inet.neighbours().len() <= bounds.arp.max_entries / 4 + 16);
            assert!(entry(host).addresses.len() <= bounds.nd.max_addresses);
            assert!(inet.routers().len() <= bounds.nd.max_routers);
            assert!(inet.routes().len() <= 80, "{} routes", inet.routes().len());
        }
        let peers = lan.hosts[0].inet().unwrap().neighbours();
        let peer = six(&address(&lan.hosts[1], AddressOrigin::Autonomous));
        let kept = peers.iter().find(|entry| entry.addr == IpAddr::V6(peer));
        assert!(kept.is_some_and(|entry| entry.state == NeighbourState::Reachable));
    }
}

#[test]
fn a_router_that_ends_says_so_and_hosts_look_for_another_at_once() {
    let _turn = turn();
    let lan = Lan::new(1, 1, &InetConfig::default());
    lan.world.run_for(5 * SECOND);
    let Lan { world, segment: _segment, router, hosts } = lan;
    let inet = hosts[0].inet().unwrap();
    let far = "2001:db8:9::1".parse().unwrap();
    assert_eq!(inet.routers().len(), 1);
    assert!(inet.path_to(far, None, None).is_ok());
    drop(router);
    world.run_for(10 * MS);
    assert!(inet.routers().is_empty(), "RFC 4861 §6.2.5: a lifetime of zero");
    assert!(inet.path_to(far, None, None).is_err());
}
