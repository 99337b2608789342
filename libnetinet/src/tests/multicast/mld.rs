//! What routers are told of IPv6 groups, and ask; the groups of addresses themselves.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use libnet::iface::IfIndex;
use libnet::socket::{Domain, Family, MulticastGroup, Protocol, SockType, SocketId, SocketOption};
use libnet::stats::DropReason;

use super::{IF, groups_of};
use crate::testing::{Net, Node, mac};

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
