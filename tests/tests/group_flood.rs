//! Floods of IGMP and MLD stay within memory, and leave an established transfer what it needs, in
//! virtual time.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libnet::impair::Impairments;
use libnet::world::{LinkConfig, Recording, World};
use libnet::{InterfaceSpec, MacAddr, Packet};
use peak_alloc::PeakAlloc;
use rumpnet::{InetConfig, Stack};
use rumpnet_tests::bounds::{self, UNDER_WAY_BYTES};
use rumpnet_tests::goodput::Goodput;
use rumpnet_tests::wire::six::{HOP_BY_HOP, ICMPV6, IPV6, Ip6, options};
use rumpnet_tests::wire::{IPV4, Ip, checksum, frame};

/// Counts what all stacks in here hold; there is one test.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const FLOODER: MacAddr = MacAddr([2, 0, 0, 9, 9, 9]);
/// How long a transfer is measured, after as long a run-up.
const MEASURED: Duration = Duration::from_secs(4);
/// Groups that the receiver is in, of each family.
const GROUPS: u16 = 100;

/// Who says what, 4,000 times a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flood {
    Nothing,
    /// General queries that want an answer at once.
    General,
    /// Queries about one group after the other, with ever new sources.
    Sources,
    /// Queries of the oldest version and of the newest in turn.
    Versions,
    /// Reports of groups in the words of old versions.
    Reports,
}

const ALL: [Flood; 4] = [Flood::General, Flood::Sources, Flood::Versions, Flood::Reports];

fn group(n: u16) -> Ipv4Addr {
    let [a, b] = n.to_be_bytes();
    Ipv4Addr::new(239, 1, a, b)
}

fn group6(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 7, n)
}

/// An IGMP message of the flood.
fn igmp(flood: Flood, n: u32) -> Vec<u8> {
    let about = group(n as u16 % GROUPS).octets();
    let query = |code: u8, group: [u8; 4]| [&[0x11, code, 0, 0][..], &group].concat();
    let mut message = match flood {
        Flood::Nothing | Flood::General => [query(0, [0; 4]), vec![2, 125, 0, 0]].concat(),
        Flood::Sources => {
            let mut message = [query(1, about), vec![2, 125, 0, 30]].concat();
            (0..30u32).for_each(|i| message.extend((0x0b00_0000 + n * 30 + i).to_be_bytes()));
            message
        }
        Flood::Versions if n.is_multiple_of(2) => query(0, [0; 4]),
        Flood::Versions => [query(1, [0; 4]), vec![2, 1, 0, 0]].concat(),
        Flood::Reports => [&[0x16, 0, 0, 0][..], &group(n as u16).octets()].concat(),
    };
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ip = Ip::new([10, 0, 0, 9].into(), [224, 0, 0, 1].into(), 2, message);
    (ip.ttl, ip.options) = (1, vec![0x94, 4, 0, 0]);
    frame(MacAddr([1, 0, 0x5e, 0, 0, 1]), FLOODER, IPV4, &ip.bytes())
}

/// An MLD message of the flood.
fn mld(flood: Flood, n: u32) -> Vec<u8> {
    let query = |code: u8, group: Ipv6Addr, rest: &[u8]| {
        [&[130, 0, 0, 0, 0, code, 0, 0][..], &group.octets(), rest].concat()
    };
    let any = Ipv6Addr::UNSPECIFIED;
    let message = match flood {
        Flood::Nothing | Flood::General => query(0, any, &[2, 125, 0, 0]),
        Flood::Sources => {
            let mut message = query(1, group6(n as u16 % GROUPS), &[2, 125, 0, 10]);
            (0..10).for_each(|i| message.extend(u128::from(n * 10 + i).to_be_bytes()));
            message
        }
        Flood::Versions if n.is_multiple_of(2) => query(1, any, &[]),
        Flood::Versions => query(1, any, &[2, 1, 0, 0]),
        Flood::Reports => [&[131, 0, 0, 0, 0, 0, 0, 0][..], &group6(n as u16).octets()].concat(),
    };
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    let mut ip = Ip6::summed(router, all_nodes, ICMPV6, message, 2);
    ip.hops = 1;
    let ip = ip.behind(HOP_BY_HOP, options(&[5, 2, 0, 0]));
    frame(MacAddr([0x33, 0x33, 0, 0, 0, 1]), FLOODER, IPV6, &ip.bytes())
}

struct Outcome {
    bytes: u64,
    groups: usize,
    /// Frames that the receiver sent.
    said: u64,
    /// The most memory that all held, bytes.
    peak: usize,
}

/// What a member of many groups receives by TCP beside a flood.
fn transfer_beside(flood: Flood) -> Outcome {
    let base = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let world = World::new(5);
    // What it would remember of frames is no memory of the stacks.
    world.record(Recording::OFF);
    let link = Impairments::none().rate(20_000_000).delay(Duration::from_millis(2));
    let segment = world.segment(LinkConfig::default().impairments(link));
    let start = |name: &str, n: u8| {
        let interface = InterfaceSpec::new(segment.next_link());
        let interface = interface.addr(&format!("10.0.0.{n}/24")).addr(&format!("fd00::{n}/64"));
        let builder = Stack::builder().config(InetConfig::default()).interface(interface);
        builder.start_in(&world.host(name)).expect("it starts")
    };
    let (sender, receiver) = (start("sender", 1), start("receiver", 2));
    let four = receiver.udp_bind("0.0.0.0:5000").expect("a free port");
    let six = receiver.udp_bind("[::]:5001").expect("a free port");
    for n in 0..GROUPS {
        four.join_multicast_v4(&group(n), &[10, 0, 0, 2].into()).expect("there is room");
        six.join_multicast_v6(&group6(n), 2).expect("there is room");
    }
    let listener = receiver.tcp_listen("10.0.0.2:9").expect("a free port");
    let (goodput, _reader) = Goodput::read_from(&world, listener);
    let _writer = world.spawn("writer", move || {
        let mut stream = sender.tcp_connect("10.0.0.2:9").expect("it connects");
        while stream.write_all(&[7; 1 << 16]).is_ok() {}
    });
    let mut number = 0;
    let mut run = |duration: Duration| {
        let end = world.now() + duration;
        while world.now() < end {
            for _ in 0..if flood == Flood::Nothing { 0 } else { 2 } {
                number += 1;
                for bytes in [igmp(flood, number), mld(flood, number)] {
                    segment.send_raw(Packet::from_payload(bytes.into()));
                }
            }
            world.run_for(Duration::from_millis(1));
        }
    };
    run(MEASURED);
    let inet = receiver.inet().expect("a stack of its own");
    let sent = || inet.interfaces()[1].tx_frames;
    let (before, sent_before) = (goodput.bytes(), sent());
    run(MEASURED);
    let bytes = goodput.bytes() - before;
    let peak = HEAP.peak_usage() - base;
    Outcome { bytes, groups: inet.groups().len(), said: sent() - sent_before, peak }
}

#[test]
fn floods_of_queries_and_reports_leave_a_transfer_and_memory_alone() {
    let alone = transfer_beside(Flood::Nothing);
    assert!(alone.bytes > 1 << 22, "{} bytes alone", alone.bytes);
    for flood in ALL {
        let beside = transfer_beside(flood);
        let left = beside.bytes * 100 / alone.bytes;
        assert!(left >= 80, "{flood:?} leaves {left} %");
        assert_eq!(beside.groups, alone.groups, "{flood:?}: nothing from outside makes a group");
        let allowed = bounds::group_sources(&InetConfig::default(), 2 * usize::from(GROUPS));
        let taken = beside.peak.saturating_sub(alone.peak);
        assert!(taken <= allowed + UNDER_WAY_BYTES, "{flood:?} takes {taken} of {allowed} bytes");
        // 32,000 messages may be answered by less than half as many; the others are
        // acknowledgements.
        assert!(beside.said < alone.said + 14_000, "{flood:?}: {} frames", beside.said);
    }
}
