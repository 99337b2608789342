//! Groups: joined, left, told to routers, heard by members here and elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::iface::IfIndex;
use libnet::socket::{
    Domain, Family, FilterMode, GroupInterface, MulticastGroup, OptionKey, Protocol, SockType,
    SocketId, SocketOption, SourceFilter,
};
use libnet::stats::DropReason;

use crate::testing::{Net, Node, STRANGER, errno, ip, ip_packet, is_ip, mac};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const IF: GroupInterface = GroupInterface::Index(2);

const fn group() -> MulticastGroup {
    MulticastGroup { group: IpAddr::V4(GROUP), interface: IF }
}

fn to(port: u16) -> SocketAddr {
    SocketAddr::new(GROUP.into(), port)
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
}

/// A socket that sends by the segment, with the group's TTL.
fn sender(node: &Node) -> SocketId {
    let socket = node.udp();
    node.inet.set_option(socket, SocketOption::MulticastInterface(IF)).unwrap();
    socket
}

fn member(node: &Node, port: u16) -> SocketId {
    let socket = node.udp();
    node.inet.set_option(socket, SocketOption::ReuseAddr(true)).unwrap();
    node.inet.bind(socket, any(port)).unwrap();
    node.inet.set_option(socket, SocketOption::JoinGroup(group())).unwrap();
    socket
}

fn groups_of(node: &Node, iface: IfIndex) -> Vec<IpAddr> {
    let all = node.inet.groups();
    all.iter().filter(|entry| entry.iface == iface).map(|entry| entry.group).collect()
}

#[test]
fn members_hear_what_is_sent_to_their_group_and_others_do_not() {
    let net = Net::new();
    let (a, b, c) = (net.node(1), net.node(2), net.node(3));
    let heard = member(&b, 7);
    let deaf = c.udp_at(any(7));
    a.send_to(sender(&a), b"hello", to(7)).unwrap();
    net.run_ms(5);
    let (data, received) = b.recv(heard).unwrap();
    assert_eq!((&data[..], received.ttl), (&b"hello"[..], 1));
    assert_eq!((received.to, received.interface), (Some(GROUP.into()), Some(2)));
    assert!(c.recv(deaf).is_err());
    let to_link = net.frames().into_iter().any(|f| f[..6] == [1, 0, 0x5e, 1, 2, 3]);
    assert!(to_link, "RFC 1112 §6.4: the low 23 bits");
}

#[test]
fn the_link_delivers_the_groups_that_are_joined_alone() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let received = |node: &Node| node.inet.interfaces()[1].rx_frames;
    let before = received(&b);
    a.send_to(sender(&a), b"x", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!(received(&b), before, "its card does not let it through");
    let socket = member(&b, 7);
    a.send_to(sender(&a), b"x", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!(received(&b), before + 1);
    b.inet.close(socket);
    a.send_to(sender(&a), b"x", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!(received(&b), before + 1);
}

#[test]
fn every_member_on_a_port_gets_a_copy_and_a_member_elsewhere_none() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let members = [member(&b, 7), member(&b, 7)];
    let other = member(&b, 8);
    a.send_to(sender(&a), b"x", to(7)).unwrap();
    net.run_ms(5);
    assert!(members.iter().all(|socket| b.got(*socket) == b"x"));
    assert!(b.recv(other).is_err());
}

#[test]
fn what_a_host_sends_comes_back_to_its_members_if_it_wants() {
    let net = Net::new();
    let a = net.node(1);
    let (heard, socket) = (member(&a, 7), sender(&a));
    a.send_to(socket, b"echo", to(7)).unwrap();
    let (data, received) = a.recv(heard).unwrap();
    assert_eq!((&data[..], received.interface), (&b"echo"[..], Some(2)));
    a.inet.set_option(socket, SocketOption::MulticastLoop(false)).unwrap();
    a.send_to(socket, b"none", to(7)).unwrap();
    net.run_ms(5);
    assert!(a.recv(heard).is_err());
    // RFC 1112 §6.1: with a TTL of zero nothing leaves the host.
    a.inet.set_option(socket, SocketOption::MulticastLoop(true)).unwrap();
    a.inet.set_option(socket, SocketOption::MulticastTtl(0)).unwrap();
    net.frames();
    a.send_to(socket, b"here", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!(a.got(heard), b"here");
    assert!(net.frames().iter().all(|f| !is_ip(f, Protocol::UDP)));
}

#[test]
fn a_large_datagram_to_a_group_is_fragmented_and_looped_back_whole() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let (here, there) = (member(&a, 7), member(&b, 7));
    let data = vec![7; 20_000];
    a.send_to(sender(&a), &data, to(7)).unwrap();
    net.run_ms(10);
    assert!(a.got(here) == data && b.got(there) == data);
}

#[test]
fn groups_on_the_loopback_interface_stay_there() {
    let net = Net::new();
    let a = net.node(1);
    let socket = a.udp_at(any(7));
    let on_lo = MulticastGroup { interface: GroupInterface::Index(1), ..group() };
    a.inet.set_option(socket, SocketOption::JoinGroup(on_lo)).unwrap();
    net.run_ms(2_000);
    net.frames();
    let sender = a.udp();
    let lo = GroupInterface::Address(Ipv4Addr::LOCALHOST);
    a.inet.set_option(sender, SocketOption::MulticastInterface(lo)).unwrap();
    a.send_to(sender, b"x", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!(a.got(socket), b"x");
    assert!(a.recv(socket).is_err(), "once");
    assert!(net.frames().is_empty());
}

#[test]
fn sources_are_told_apart_by_socket() {
    let net = Net::new();
    let (a, b, c) = (net.node(1), net.node(2), net.node(3));
    let all = member(&c, 7);
    let only_a = c.udp();
    c.inet.set_option(only_a, SocketOption::ReuseAddr(true)).unwrap();
    c.inet.bind(only_a, any(7)).unwrap();
    let join = SocketOption::JoinSource(group(), ip(1).into());
    c.inet.set_option(only_a, join).unwrap();
    c.inet.set_option(all, SocketOption::BlockSource(group(), ip(1).into())).unwrap();
    a.send_to(sender(&a), b"a", to(7)).unwrap();
    b.send_to(sender(&b), b"b", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!((c.got(only_a), c.got(all)), (b"a".to_vec(), b"b".to_vec()));
    assert!(c.recv(only_a).is_err() && c.recv(all).is_err());
    c.inet.set_option(all, SocketOption::UnblockSource(group(), ip(1).into())).unwrap();
    a.send_to(sender(&a), b"a", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!(c.got(all), b"a");
}

#[test]
fn a_source_that_nobody_wants_is_dropped_before_any_socket() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let socket = b.udp_at(any(7));
    let join = SocketOption::JoinSource(group(), ip(9).into());
    b.inet.set_option(socket, join).unwrap();
    let before = b.dropped(DropReason::GroupNotJoined);
    a.send_to(sender(&a), b"a", to(7)).unwrap();
    net.run_ms(5);
    assert!(b.recv(socket).is_err());
    assert_eq!(b.dropped(DropReason::GroupNotJoined), before + 1);
}

#[test]
fn a_whole_filter_can_be_set_and_read() {
    let net = Net::new();
    let a = net.node(1);
    let socket = member(&a, 7);
    let sources = vec![ip(5).into(), ip(6).into()];
    let filter = SourceFilter { group: group(), mode: FilterMode::Include, sources };
    a.inet.set_option(socket, SocketOption::SourceFilter(filter.clone())).unwrap();
    let got = a.inet.get_option(socket, OptionKey::SourceFilter(group())).unwrap();
    assert_eq!(got, SocketOption::SourceFilter(filter));
    let entry = a.inet.groups().into_iter().find(|entry| entry.group == GROUP).unwrap();
    assert_eq!((entry.mode, entry.sources.len(), entry.users), (FilterMode::Include, 2, 1));
    // To include nobody is to leave.
    let none = SourceFilter { group: group(), mode: FilterMode::Include, sources: vec![] };
    a.inet.set_option(socket, SocketOption::SourceFilter(none)).unwrap();
    assert!(!groups_of(&a, IfIndex(2)).contains(&GROUP.into()));
}

#[test]
fn who_is_in_no_group_hears_what_others_joined_unless_it_said_no() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    let joined = member(&b, 7);
    let other = b.udp();
    b.inet.set_option(other, SocketOption::ReuseAddr(true)).unwrap();
    b.inet.bind(other, any(7)).unwrap();
    a.send_to(sender(&a), b"1", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!((b.got(joined), b.got(other)), (b"1".to_vec(), b"1".to_vec()));
    b.inet.set_option(other, SocketOption::MulticastAll(false)).unwrap();
    a.send_to(sender(&a), b"2", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!(b.got(joined), b"2");
    assert!(b.recv(other).is_err());
}

#[test]
fn calls_that_make_no_sense_fail_as_on_linux() {
    let net = Net::new();
    let a = net.node_with(1, |config| {
        config.multicast.max_memberships = 2;
        config.multicast.max_sources = 1;
    });
    let set = |socket, option| a.inet.set_option(socket, option);
    let socket = a.udp();
    let of = |n| MulticastGroup { group: Ipv4Addr::new(239, 0, 0, n).into(), interface: IF };
    let host = MulticastGroup { group: ip(9).into(), interface: IF };
    assert_eq!(errno(set(socket, SocketOption::JoinGroup(host))), 22);
    let nowhere = MulticastGroup { interface: GroupInterface::Index(9), ..group() };
    assert_eq!(errno(set(socket, SocketOption::JoinGroup(nowhere))), 19);
    let unrouted = MulticastGroup { interface: GroupInterface::Any, ..group() };
    assert_eq!(errno(set(socket, SocketOption::JoinGroup(unrouted))), 19);
    set(socket, SocketOption::JoinGroup(of(1))).unwrap();
    assert_eq!(errno(set(socket, SocketOption::JoinGroup(of(1)))), 98);
    assert_eq!(errno(set(socket, SocketOption::LeaveGroup(of(2)))), 99);
    set(socket, SocketOption::JoinGroup(of(2))).unwrap();
    assert_eq!(errno(set(socket, SocketOption::JoinGroup(of(3)))), 105);
    set(socket, SocketOption::BlockSource(of(1), ip(5).into())).unwrap();
    assert_eq!(errno(set(socket, SocketOption::BlockSource(of(1), ip(6).into()))), 105);
    assert_eq!(errno(set(socket, SocketOption::UnblockSource(of(1), ip(6).into()))), 99);
    assert_eq!(errno(set(socket, SocketOption::JoinSource(of(1), ip(6).into()))), 22);
    let nobody = SocketOption::BlockSource(of(9), ip(6).into());
    assert_eq!(errno(set(socket, nobody)), 22);
    assert_eq!(errno(set(a.tcp(), SocketOption::JoinGroup(of(1)))), 71);
}

#[test]
fn the_bounds_of_an_interface_hold_for_all_sockets_together() {
    let net = Net::new();
    let a = net.node_with(1, |config| {
        config.multicast.max_groups = 2;
        config.multicast.max_group_sources = 2;
    });
    let of = |n| MulticastGroup { group: Ipv4Addr::new(239, 0, 0, n).into(), interface: IF };
    let sockets = [a.udp(), a.udp(), a.udp()];
    let set = |n: usize, option| a.inet.set_option(sockets[n], option);
    set(0, SocketOption::JoinGroup(of(1))).unwrap();
    set(1, SocketOption::JoinGroup(of(2))).unwrap();
    assert_eq!(errno(set(2, SocketOption::JoinGroup(of(3)))), 105);
    set(2, SocketOption::JoinGroup(of(1))).unwrap();
    a.inet.close(sockets[1]);
    set(0, SocketOption::JoinSource(of(4), ip(1).into())).unwrap();
    set(0, SocketOption::JoinSource(of(4), ip(2).into())).unwrap();
    assert_eq!(errno(set(2, SocketOption::JoinSource(of(4), ip(3).into()))), 105);
    let four = a.inet.groups().into_iter().find(|entry| entry.group == of(4).group).unwrap();
    assert_eq!((four.sources.len(), four.users), (2, 1));
}

#[test]
fn reports_are_as_rfc_3376_wants_them_on_the_wire() {
    let net = Net::new();
    let a = net.node(1);
    net.run_ms(10);
    net.frames();
    let socket = member(&a, 7);
    net.run_ms(10);
    let frames = net.frames();
    let report = frames.iter().find(|f| is_ip(f, Protocol::IGMP)).expect("a report");
    assert_eq!(report[..6], [1, 0, 0x5e, 0, 0, 22]);
    assert_eq!((report[14], report[15], report[22]), (0x46, 0xc0, 1), "options, TOS, TTL");
    assert_eq!(report[26..38], [10, 0, 0, 1, 224, 0, 0, 22, 0x94, 4, 0, 0]);
    assert_eq!(libnet::checksum::checksum(&report[14..38]), 0);
    assert_eq!(libnet::checksum::checksum(&report[38..]), 0);
    let to_exclude = [0x22, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3];
    assert_eq!((report[38], &report[44..]), (to_exclude[0], &to_exclude[2..]));
    a.inet.close(socket);
    net.run_ms(10);
    let frames = net.frames();
    let left = frames.iter().find(|f| is_ip(f, Protocol::IGMP)).expect("a report");
    assert_eq!(left[46..], [3, 0, 0, 0, 239, 1, 2, 3], "closing leaves");
}

/// An IGMP message in its frame, from a router.
fn igmp(message: &[u8], alert: bool) -> libnet::Packet {
    let mut bytes = message.to_vec();
    let sum = libnet::checksum::checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    let all_hosts = Ipv4Addr::new(224, 0, 0, 1);
    let mut packet = ip_packet(ip(254), all_hosts, Protocol::IGMP, &bytes);
    if alert {
        let mut whole = packet.to_bytes().to_vec();
        whole.splice(20..20, [0x94, 4, 0, 0]);
        whole[0] = 0x46;
        whole[3] += 4;
        whole[10..12].fill(0);
        let sum = libnet::checksum::checksum(&whole[..24]);
        whole[10..12].copy_from_slice(&sum.to_be_bytes());
        packet = libnet::Packet::from_payload(whole.into());
    }
    let dst = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    EthernetHeader { dst, src: STRANGER, ethertype: EtherType::IPV4 }.prepend_to(&mut packet);
    packet
}

#[test]
fn a_query_is_answered_and_one_that_no_router_of_ours_sent_is_not() {
    let net = Net::new();
    let a = net.node(1);
    let _member = member(&a, 7);
    net.run_ms(5_000);
    net.frames();
    let query = [0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0];
    net.inject(igmp(&query, false));
    net.run_ms(2_000);
    assert!(net.frames().iter().all(|f| f[6..12] != mac(1).0), "no router alert");
    assert_eq!(a.dropped(DropReason::IgmpMalformed), 1);
    net.inject(igmp(&query, true));
    net.run_ms(1_000);
    let frames = net.frames();
    let answer = frames.iter().find(|f| f[6..12] == mac(1).0).expect("an answer");
    assert_eq!(answer[46..], [2, 0, 0, 0, 239, 1, 2, 3], "it excludes nothing");
    let mut wrong = igmp(&query, true);
    wrong.write_at(14 + 24 + 2, &[0xde, 0xad]);
    net.inject(wrong);
    net.run_ms(1_000);
    assert_eq!(a.dropped(DropReason::IgmpChecksum), 1);
}

#[test]
fn an_old_router_is_spoken_to_in_its_words() {
    let net = Net::new();
    let a = net.node(1);
    net.inject(igmp(&[0x11, 100, 0, 0, 0, 0, 0, 0], true));
    let socket = member(&a, 7);
    net.run_ms(20_000);
    let frames = net.frames();
    let ours: Vec<_> = frames.iter().filter(|f| f[6..12] == mac(1).0).collect();
    assert!(ours.iter().all(|f| f[..6] == [1, 0, 0x5e, 1, 2, 3] && f[38] == 0x16), "{ours:?}");
    assert_eq!(a.inet.groups().iter().find(|e| e.group == GROUP).unwrap().protocol_version, 2);
    a.inet.close(socket);
    net.run_ms(10);
    let frames = net.frames();
    let left = frames.iter().find(|f| f[6..12] == mac(1).0).expect("leaving is said");
    assert_eq!((&left[..6], left[38]), (&[1, 0, 0x5e, 0, 0, 2][..], 0x17));
    net.inject(igmp(&[0x11, 0, 0, 0, 0, 0, 0, 0], false));
    let _socket = member(&a, 7);
    net.run_ms(10);
    let frames = net.frames();
    let joined = frames.iter().find(|f| f[6..12] == mac(1).0).expect("a report");
    assert_eq!(joined[38], 0x12, "version one");
}

#[test]
fn every_interface_is_in_the_groups_of_all_hosts() {
    let net = Net::new();
    let a = net.node(1);
    for iface in [IfIndex(1), IfIndex(2)] {
        let groups = groups_of(&a, iface);
        assert!(groups.contains(&Ipv4Addr::new(224, 0, 0, 1).into()), "{groups:?}");
        assert!(groups.contains(&Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into()));
    }
    net.run_ms(10_000);
    assert!(net.frames().is_empty(), "and no router is told");
}

#[test]
fn over_ipv6_groups_are_joined_reported_and_left_alike() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    for (node, n) in [(&a, 1), (&b, 2)] {
        let cidr = format!("fe80::{n}/64").parse().unwrap();
        node.inet.add_address(IfIndex(2), cidr).unwrap();
    }
    net.run_ms(5_000);
    net.frames();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x12, 0x34);
    let on = MulticastGroup { group: group.into(), interface: IF };
    let socket = b.inet.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).unwrap();
    b.inet.bind(socket, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 7)).unwrap();
    b.inet.set_option(socket, SocketOption::JoinGroup(on)).unwrap();
    net.run_ms(10);
    let frames = net.frames();
    let report = frames.iter().find(|f| f[12..14] == [0x86, 0xdd]).expect("a report");
    assert_eq!(report[..6], [0x33, 0x33, 0, 0, 0, 0x16]);
    // Hop limit 1, from the link-local address, behind a router alert.
    assert_eq!((report[14 + 6], report[14 + 7]), (0, 1));
    assert_eq!(report[22..38], "fe80::2".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(report[54..62], [58, 0, 5, 2, 0, 0, 1, 0]);
    assert_eq!((report[62], report[70]), (143, 4), "to exclude nothing");
    let sender = a.inet.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).unwrap();
    a.inet.set_option(sender, SocketOption::MulticastInterface(IF)).unwrap();
    a.send_to(sender, b"six", SocketAddr::new(group.into(), 7)).unwrap();
    net.run_ms(10);
    let (data, received) = b.recv(socket).unwrap();
    assert_eq!((&data[..], received.to), (&b"six"[..], Some(group.into())));
    b.inet.set_option(socket, SocketOption::LeaveGroup(on)).unwrap();
    net.run_ms(10);
    let frames = net.frames();
    let left = frames.iter().rfind(|f| f[12..14] == [0x86, 0xdd]).expect("a report");
    assert_eq!((left[62], left[70]), (143, 3));
}

#[test]
fn an_address_is_in_its_solicited_node_group_and_routers_are_told() {
    let net = Net::new();
    let a = net.node(1);
    net.run_ms(5_000);
    net.frames();
    a.inet.add_address(IfIndex(2), "fd00::ab:cdef/64".parse().unwrap()).unwrap();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xffab, 0xcdef);
    assert!(groups_of(&a, IfIndex(2)).contains(&group.into()));
    net.run_ms(10);
    let is_report = |f: &bytes::Bytes| f[12..14] == [0x86, 0xdd] && f[62] == 143;
    let frames = net.frames();
    // It may be one record of several.
    let names_it = |f: &&bytes::Bytes| {
        is_report(f) && f[66..].windows(16).any(|bytes| bytes == group.octets())
    };
    let report = frames.iter().find(names_it).expect("a report");
    let src = <[u8; 16]>::try_from(&report[22..38]).map(Ipv6Addr::from).unwrap();
    assert!(src.is_unicast_link_local() || src.is_unspecified(), "RFC 3590 §4: {src}");
    a.inet.remove_address(IfIndex(2), "fd00::ab:cdef".parse().unwrap()).unwrap();
    assert!(!groups_of(&a, IfIndex(2)).contains(&group.into()));
}

#[test]
fn groups_work_on_several_shards() {
    let net = Net::with_shards(3);
    let (a, b) = (net.node(1), net.node(2));
    let members = [member(&a, 7), member(&b, 7)];
    a.send_to(sender(&a), b"x", to(7)).unwrap();
    net.run_ms(5);
    assert_eq!((a.got(members[0]), b.got(members[1])), (b"x".to_vec(), b"x".to_vec()));
}

#[test]
fn sixty_four_sources_fit_and_one_more_is_refused() {
    let net = Net::new();
    let a = net.node(1);
    let six = MulticastGroup { group: "ff05::7".parse().unwrap(), interface: IF };
    a.inet.add_address(IfIndex(2), "fd00::1/64".parse().unwrap()).unwrap();
    net.run_ms(2_000);
    for (socket, on) in [
        (a.udp(), group()),
        (a.inet.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).unwrap(), six),
    ] {
        let source = |n: u16| match on.group {
            IpAddr::V4(_) => IpAddr::from([10, 0, 9, n as u8]),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 9, n).into(),
        };
        for n in 1..=64 {
            a.inet.set_option(socket, SocketOption::JoinSource(on, source(n))).unwrap();
        }
        let more = a.inet.set_option(socket, SocketOption::JoinSource(on, source(65)));
        assert_eq!(errno(more), 105, "{}", on.group);
    }
}

#[test]
fn a_solicited_node_group_is_left_with_the_last_address_of_it() {
    let net = Net::new();
    let a = net.node(1);
    let shared: IpAddr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xffab, 0xcdef).into();
    let is_in = || groups_of(&a, IfIndex(2)).contains(&shared);
    for prefix in ["fd00:1", "fd00:2"] {
        let cidr = format!("{prefix}::ab:cdef/64").parse().unwrap();
        a.inet.add_address(IfIndex(2), cidr).unwrap();
        assert!(is_in());
    }
    a.inet.remove_address(IfIndex(2), "fd00:1::ab:cdef".parse().unwrap()).unwrap();
    assert!(is_in(), "RFC 4861 §7.2.1: the other one needs it");
    a.inet.remove_address(IfIndex(2), "fd00:2::ab:cdef".parse().unwrap()).unwrap();
    assert!(!is_in());
}

/// How many reports of [`GROUP`] there are after a query of version two, and another's report that
/// is sent to this station and address, from that one.
fn reports_after(other: Option<(MacAddr, Ipv4Addr, Ipv4Addr)>) -> usize {
    let net = Net::new();
    let a = net.node(1);
    let _member = member(&a, 7);
    net.run_ms(5_000);
    net.inject(igmp(&[0x11, 100, 0, 0, 0, 0, 0, 0], true));
    net.frames();
    if let Some((mac, dst, src)) = other {
        let mut bytes = igmp(&[0x16, 0, 0, 0, 239, 1, 2, 3], true).to_bytes().to_vec();
        bytes[..6].copy_from_slice(&mac.0);
        bytes[26..30].copy_from_slice(&src.octets());
        bytes[30..34].copy_from_slice(&dst.octets());
        bytes[24..26].fill(0);
        let sum = libnet::checksum::checksum(&bytes[14..38]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        net.inject(libnet::Packet::from_payload(bytes.into()));
    }
    net.run_ms(12_000);
    net.frames().into_iter().filter(|f| f[6..12] == mac(1).0).count()
}

#[test]
fn the_report_of_another_counts_wherever_it_is_sent_to() {
    let group_mac = MacAddr([1, 0, 0x5e, 1, 2, 3]);
    assert_eq!(reports_after(None), 1);
    assert_eq!(reports_after(Some((group_mac, GROUP, ip(9)))), 0);
    assert_eq!(reports_after(Some((mac(1), ip(1), ip(9)))), 0, "RFC 3376 §4.2.14");
    let nobody = Ipv4Addr::UNSPECIFIED;
    assert_eq!(reports_after(Some((group_mac, GROUP, nobody))), 0, "RFC 1812 §4.2.2.11(a)");
}

const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 7);

/// A node in [`GROUP6`] that has told so.
fn member6(net: &Net) -> (Node, SocketId) {
    let a = net.node(1);
    a.inet.add_address(IfIndex(2), "fe80::1/64".parse().unwrap()).unwrap();
    let socket = a.inet.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).unwrap();
    let on = MulticastGroup { group: GROUP6.into(), interface: IF };
    a.inet.set_option(socket, SocketOption::JoinGroup(on)).unwrap();
    net.run_ms(5_000);
    net.frames();
    (a, socket)
}

/// A message of listener discovery from a router's address, in its IPv6 packet.
fn mld(ty: u8, code: u16, rest: &[u8], dst: Ipv6Addr, hops: u8, alert: bool) -> libnet::Packet {
    let src = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
    let mut message = vec![ty, 0, 0, 0];
    message.extend(code.to_be_bytes());
    message.extend([0, 0]);
    message.extend(rest);
    let unsummed = libnet::Packet::from_payload(message.clone().into());
    let sum = crate::icmp6::checksum(src, dst, &unsummed, 0);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let options: &[u8] = if alert { &[58, 0, 5, 2, 0, 0, 1, 0] } else { &[] };
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(((options.len() + message.len()) as u16).to_be_bytes());
    bytes.extend([if alert { 0 } else { 58 }, hops]);
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    bytes.extend(options);
    bytes.extend(message);
    libnet::Packet::from_payload(bytes.into())
}

/// Reports of ours, of either version, that name [`GROUP6`].
fn reports6(net: &Net) -> usize {
    let names_it = |f: &[u8]| {
        f[6..12] == mac(1).0
            && f[12..14] == [0x86, 0xdd]
            && matches!(f[62], 131 | 143)
            && f[62..].windows(16).any(|bytes| bytes == GROUP6.octets())
    };
    net.frames().iter().filter(|f| f.len() >= 78 && names_it(f)).count()
}

#[test]
fn an_mld_report_of_another_counts_wherever_it_is_sent_to() {
    let us = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    for (other, expected) in [(None, 1), (Some(GROUP6), 0), (Some(us), 0)] {
        let net = Net::new();
        let (a, _socket) = member6(&net);
        let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        net.inject_six(&a, mld(130, 10_000, &[0; 16], all, 1, true));
        if let Some(dst) = other {
            net.inject_six(&a, mld(131, 0, &GROUP6.octets(), dst, 1, true));
        }
        net.run_ms(12_000);
        assert_eq!(reports6(&net), expected, "RFC 3810 §5.2.14: {other:?}");
    }
}

#[test]
fn an_mld_query_counts_wherever_it_is_sent_to() {
    for dst in ["ff02::1", "ff05::7", "fe80::1"] {
        let net = Net::new();
        let (a, _socket) = member6(&net);
        let general = [&[0; 16][..], &[2, 125, 0, 0]].concat();
        net.inject_six(&a, mld(130, 100, &general, dst.parse().unwrap(), 1, true));
        net.run_ms(2_000);
        assert_eq!(reports6(&net), 1, "RFC 3810 §5.1.15: {dst}");
    }
}

#[test]
fn an_mld_query_with_a_wrong_checksum_is_not_answered() {
    let net = Net::new();
    let (a, _socket) = member6(&net);
    let general = [&[0; 16][..], &[2, 125, 0, 0]].concat();
    let mut query = mld(130, 100, &general, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 1, true);
    // Past the IPv6 header and the options: type and code, then the checksum.
    query.write_at(40 + 8 + 2, &[0xde, 0xad]);
    net.inject_six(&a, query);
    net.run_ms(2_000);
    assert_eq!(reports6(&net), 0, "RFC 3810 §5.1.2");
    assert_eq!(a.dropped(DropReason::IcmpChecksum), 1);
}

#[test]
fn queries_of_mld_that_may_have_crossed_a_router_are_dropped() {
    let net = Net::new();
    let (a, _socket) = member6(&net);
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let general = [&[0; 16][..], &[2, 125, 0, 0]].concat();
    for (hops, alert, answers) in [(2, true, 0), (255, true, 0), (1, false, 0), (1, true, 1)] {
        net.inject_six(&a, mld(130, 100, &general, all, hops, alert));
        net.run_ms(2_000);
        assert_eq!(reports6(&net), answers, "RFC 3810 §6.2: {hops} hops, alert: {alert}");
    }
    assert_eq!(a.dropped(DropReason::MldMalformed), 3);
}

#[test]
fn what_was_reported_from_nobody_s_address_is_reported_again_from_ours() {
    let net = Net::new();
    let a = net.node_with(1, |config| config.nd.optimistic = false);
    let group: Ipv6Addr = "ff05::77".parse().unwrap();
    let socket = a.inet.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).unwrap();
    let membership = MulticastGroup { group: group.into(), interface: IF };
    a.inet.set_option(socket, SocketOption::JoinGroup(membership)).unwrap();
    a.inet.add_address(IfIndex(2), "fd00::1/64".parse().unwrap()).unwrap();
    net.run_ms(10_000);
    // IPv6, hop-by-hop options, then ICMPv6: an MLDv2 report, whose records follow eight bytes.
    let is_report = |f: &Bytes| f[12..14] == [0x86, 0xdd] && f[20] == 0 && f[62] == 143;
    let reports: Vec<Bytes> = net.frames().into_iter().filter(is_report).collect();
    let tells = |f: &&Bytes| f.windows(16).skip(70).any(|bytes| bytes == group.octets());
    let of_group: Vec<&Bytes> = reports.iter().filter(tells).collect();
    let from_nobody = |f: &&&Bytes| f[22..38] == [0; 16];
    let first_known = of_group.iter().position(|f| !from_nobody(&f)).expect("RFC 3590: again");
    assert!(first_known > 0, "it was reported before the address was ours");
    assert!(of_group[..first_known].iter().all(|f| from_nobody(&f)));
    let known = &of_group[first_known..];
    assert!(known.len() >= 2, "as often as the robustness variable says");
    assert!(known.iter().all(|f| f[22..24] == [0xfe, 0x80]));
}
