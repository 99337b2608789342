//! Frames that nobody sane would send: counted, dropped, survived.

use std::num::NonZeroU16;

use bytes::Bytes;
use libnet::checksum::checksum;
use libnet::ethernet::{EtherType, EthernetHeader};
use libnet::packet::{Checksum, Gso, GsoKind, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;
use proptest::prelude::*;

use crate::testing::{Net, Node, STRANGER, at, ip, ip_packet, room_for};

fn sockets_of_all_kinds(node: &Node) {
    node.udp_at("0.0.0.0:7".parse().unwrap());
    node.ping();
    node.raw(Protocol::ICMP);
    node.raw(Protocol::TCP);
    node.listener(80);
}

fn any_gso() -> impl Strategy<Value = Option<Gso>> {
    let kind = prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)];
    let some = (kind, 1u16..).prop_map(|(kind, bytes)| {
        Some(Gso { kind, segment_bytes: NonZeroU16::new(bytes).unwrap() })
    });
    prop_oneof![3 => Just(None), 1 => some]
}

fn any_checksum() -> impl Strategy<Value = Checksum> {
    prop_oneof![
        Just(Checksum::Unverified),
        Just(Checksum::Trusted),
        (any::<u16>(), any::<u16>()).prop_map(|(start, field)| Checksum::Partial { start, field }),
        (30u16..40, 0u16..20).prop_map(|(start, field)| Checksum::Partial { start, field }),
    ]
}

/// A frame that gets past the first checks, with the rest left to chance.
fn almost_good(protocol: u8, fragment: u16, options: usize, mut data: Vec<u8>) -> Vec<u8> {
    let mut packet = vec![0; 20 + options * 4];
    packet[0] = 0x45 + options as u8;
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&ip(77).octets());
    packet[16..20].copy_from_slice(&ip(1).octets());
    for (at, option) in packet[20..].iter_mut().enumerate() {
        *option = data.get(at).copied().unwrap_or(1);
    }
    let total = packet.len() + data.len();
    packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    if protocol == 1 && data.len() >= 4 {
        data[2..4].fill(0);
        let sum = checksum(&data);
        data[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet.extend_from_slice(&data);
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn random_frames_are_survived(
        shards in prop_oneof![Just(1usize), Just(3)],
        frames in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..200), any_checksum(), any_gso(), 0u8..4),
            1..60,
        ),
    ) {
        let net = Net::with_shards(shards);
        let a = net.node(1);
        sockets_of_all_kinds(&a);
        for (bytes, sum, gso, shape) in frames {
            let mut packet = Packet::from_payload(Bytes::from(bytes));
            let ethertype = match shape {
                0 => None,
                1 => Some(EtherType::ARP),
                _ => Some(EtherType::IPV4),
            };
            if let Some(ethertype) = ethertype {
                EthernetHeader { dst: a.mac, src: STRANGER, ethertype }.prepend_to(&mut packet);
            }
            packet.checksum = sum;
            packet.gso = gso;
            let mut batch = vec![packet];
            a.inet.engine().input(net.world.now(), libnet::IfIndex(2), &mut batch);
        }
        net.run_ms(40_000);
    }

    #[test]
    fn random_packets_in_good_headers_are_survived(
        shards in prop_oneof![Just(1usize), Just(3)],
        packets in prop::collection::vec(
            (
                prop_oneof![Just(1u8), Just(6), Just(17), any::<u8>()],
                prop_oneof![4 => Just(0u16), 1 => any::<u16>()],
                prop_oneof![4 => Just(0usize), 1 => 0usize..=10],
                prop::collection::vec(any::<u8>(), 0..120),
                any_checksum(),
                any_gso(),
            ),
            1..60,
        ),
    ) {
        let net = Net::with_shards(shards);
        let a = net.node(1);
        sockets_of_all_kinds(&a);
        for (protocol, fragment, options, mut data, sum, gso) in packets {
            if protocol == 1 && !data.is_empty() {
                data[0] %= 19;
            }
            let bytes = almost_good(protocol, fragment, options, data);
            let mut packet = Packet::from_payload(Bytes::from(bytes));
            packet.checksum = sum;
            packet.gso = gso;
            EthernetHeader { dst: a.mac, src: STRANGER, ethertype: EtherType::IPV4 }
                .prepend_to(&mut packet);
            let mut batch = vec![packet];
            a.inet.engine().input(net.world.now(), libnet::IfIndex(2), &mut batch);
        }
        net.run_ms(40_000);
        let at_work = a.udp_at(at(1, 9));
        a.send_to(a.udp(), b"alive", at(1, 9)).unwrap();
        prop_assert_eq!(a.got(at_work), b"alive");
    }
}

fn inject_with(net: &Net, node: &Node, mut packet: Packet, sum: Checksum, gso: Option<Gso>) {
    EthernetHeader { dst: node.mac, src: STRANGER, ethertype: EtherType::IPV4 }
        .prepend_to(&mut packet);
    packet.checksum = sum;
    packet.gso = gso;
    node.inet.engine().input(net.world.now(), libnet::IfIndex(2), &mut vec![packet]);
}

#[test]
fn metadata_from_a_link_are_hints_to_check() {
    let net = Net::new();
    let a = net.node(1);
    let server = a.udp_at(at(1, 7));
    let mut udp = vec![0, 9, 0, 7, 0, 12, 1, 2];
    udp.extend_from_slice(b"data");
    let packet = || ip_packet(ip(2), ip(1), Protocol::UDP, &udp);
    let gso =
        |bytes| Some(Gso { kind: GsoKind::Udp, segment_bytes: NonZeroU16::new(bytes).unwrap() });
    inject_with(&net, &a, packet(), Checksum::Unverified, None);
    assert_eq!(a.dropped(DropReason::UdpChecksum), 1);
    inject_with(&net, &a, packet(), Checksum::Trusted, None);
    assert_eq!(a.got(server), b"data");
    inject_with(&net, &a, packet(), Checksum::Partial { start: 34, field: 6 }, None);
    assert_eq!(a.got(server), b"data", "the sum is still to be made");
    for (start, field) in [(34, 4), (33, 6), (34, 16), (60, 6), (65_535, 65_535)] {
        inject_with(&net, &a, packet(), Checksum::Partial { start, field }, None);
    }
    assert_eq!(a.dropped(DropReason::BadOffload), 5);
    inject_with(&net, &a, packet(), Checksum::Trusted, gso(1_473));
    assert_eq!(a.got(server), b"data", "our MTU is what we send at most");
    let icmp = ip_packet(ip(2), ip(1), Protocol::ICMP, &udp);
    inject_with(&net, &a, icmp, Checksum::Trusted, gso(3));
    assert_eq!(a.dropped(DropReason::BadOffload), 6, "nobody cuts these");
    inject_with(&net, &a, packet(), Checksum::Trusted, gso(3));
    assert_eq!([a.got(server), a.got(server)], [b"dat".to_vec(), b"a".to_vec()]);
}

#[test]
fn replies_are_bounded_when_nothing_can_be_sent() {
    let net = Net::new();
    let a = net.node_with(1, |config| {
        config.engine.queue_frames = 2;
        config.output_queue_packets = 2;
        config.reply_queue_packets = 3;
    });
    a.inet.add_neighbour(libnet::IfIndex(2), ip(2).into(), STRANGER).unwrap();
    let still = libnet::impair::Impairments::none().rate(1_000);
    net.segment.impair_all(still.queue(room_for(1)));
    let mut echo = vec![8, 0, 0, 0, 0, 1, 0, 1];
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    for _ in 0..100 {
        let request = ip_packet(ip(2), ip(1), Protocol::ICMP, &echo);
        inject_with(&net, &a, request, Checksum::Unverified, None);
    }
    assert!(a.dropped(DropReason::ReplyQueueFull) > 80);
}
