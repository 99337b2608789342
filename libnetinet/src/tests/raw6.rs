//! Raw sockets of IPv6 whose checksums are made and checked for them (RFC 3542 §3.1).

use std::net::{Ipv6Addr, SocketAddr};

use libnet::iface::IfIndex;
use libnet::socket::{Domain, Family, OptionKey, Protocol, SockType, SocketId, SocketOption};
use libnet::stats::DropReason;

use crate::testing::{Net, Node, errno};

const EINVAL: i32 = 22;
const ENOPROTOOPT: i32 = 92;
/// For experiments (RFC 3692).
const OURS: Protocol = Protocol(253);

fn addr(n: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into(), 0)
}

fn pair() -> (Net, Node, Node) {
    let net = Net::new();
    let node = |n: u8| {
        let node = net.node_with(n, |config| config.nd.dad_transmits = 0);
        node.inet.add_address(IfIndex(2), format!("fd00::{n}/64").parse().unwrap()).unwrap();
        node
    };
    let (a, b) = (node(1), node(2));
    (net, a, b)
}

fn raw(node: &Node, protocol: Protocol) -> SocketId {
    node.inet.socket(Family::Inet6, SockType::Raw, protocol).unwrap()
}

fn checksum(node: &Node, socket: SocketId, at: Option<u16>) {
    node.inet.set_option(socket, SocketOption::Checksum(at)).unwrap();
}

#[test]
fn a_checksum_is_made_where_the_socket_says_and_checked() {
    let (net, a, b) = pair();
    let (from, to) = (raw(&a, OURS), raw(&b, OURS));
    checksum(&a, from, Some(4));
    checksum(&b, to, Some(4));
    a.send_to(from, &[1, 2, 3, 4, 0xff, 0xff, 7], addr(2)).unwrap();
    net.run_ms(10);
    let got = b.got(to);
    assert_eq!((&got[..4], got[6]), (&[1, 2, 3, 4][..], 7));
    assert_ne!(got[4..6], [0xff, 0xff]);
    // The same without making it: the receiver drops what does not add up.
    checksum(&a, from, None);
    a.send_to(from, &got, addr(2)).unwrap();
    let mut wrong = got.clone();
    wrong[6] ^= 1;
    a.send_to(from, &wrong, addr(2)).unwrap();
    a.send_to(from, &got[..5], addr(2)).unwrap();
    net.run_ms(10);
    assert_eq!(b.got(to), got);
    assert_eq!(errno(b.recv(to)), 11, "nothing else came through");
    assert_eq!(b.dropped(DropReason::RawChecksum), 2);
    checksum(&b, to, None);
    a.send_to(from, &wrong, addr(2)).unwrap();
    net.run_ms(10);
    assert_eq!(b.got(to), wrong, "who does not ask gets all");
}

#[test]
fn offsets_that_make_no_sense_are_refused() {
    let (net, a, _b) = pair();
    let set = |socket, at| a.inet.set_option(socket, SocketOption::Checksum(at));
    let ours = raw(&a, OURS);
    assert_eq!(a.inet.get_option(ours, OptionKey::Checksum).unwrap(), SocketOption::Checksum(None));
    assert_eq!(errno(set(ours, Some(3))), EINVAL);
    set(ours, Some(6)).unwrap();
    assert_eq!(errno(a.send_to(ours, &[0; 7], addr(2))), EINVAL, "it is not that long");
    let icmp = raw(&a, Protocol::ICMPV6);
    let known = a.inet.get_option(icmp, OptionKey::Checksum).unwrap();
    assert_eq!(known, SocketOption::Checksum(Some(2)));
    assert_eq!(errno(set(icmp, Some(2))), EINVAL);
    assert_eq!(errno(set(icmp, None)), EINVAL);
    let four = a.raw(OURS);
    assert_eq!(errno(set(four, Some(2))), ENOPROTOOPT);
    let udp = a.inet.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).unwrap();
    assert_eq!(errno(set(udp, Some(2))), ENOPROTOOPT);
    drop(net);
}
