//! Groups: joined, left, heard by members here and elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libnet::iface::IfIndex;
use libnet::socket::{
    Domain, Family, FilterMode, GroupInterface, MulticastGroup, OptionKey, Protocol, SockType,
    SocketId, SocketOption, SourceFilter,
};
use libnet::stats::DropReason;

use crate::testing::{Net, Node, errno, ip, is_ip};

mod igmp;
mod mld;

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
