//! ICMP as a station on the wire sees it (RFC 792, RFC 1122 §3.2.2).

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libnet::net::UdpSocket;
use libnet::socket::SocketOption;
use libnet::{Family, MacAddr, Protocol, SockType};
use libnetinet::InetConfig;
use rumpnet_tests::station::{
    FAR, GATEWAY, OTHER_MAC, PEER, PEER_MAC, Rig, US, US_MAC, echo_packet,
};
use rumpnet_tests::wire::{ICMP, IPV4, Icmp, Ip, MORE_FRAGMENTS, Udp, frame};

/// A datagram to a port that nobody has.
fn to_nobody() -> Ip {
    Udp::new(9, 9, b"is anybody there?").packet(PEER, US)
}

/// A connected socket, and the packet that it sent.
fn connected(rig: &Rig, to: Ipv4Addr) -> (UdpSocket, Ip) {
    let socket = rig.stack.udp_bind("10.0.0.1:5000").expect("a free port");
    socket.connect(SocketAddr::from((to, 7))).expect("there is a route");
    socket.set_nonblocking(true).expect("a socket that lives");
    socket.send(b"hello").expect("it is taken");
    rig.run(Duration::from_millis(1));
    let sent = rig.hear_ip().remove(0);
    (socket, sent)
}

fn error_of(socket: &UdpSocket) -> Option<std::io::Error> {
    socket.take_error().expect("a socket that lives")
}

#[test]
fn an_echo_comes_back_whole_from_the_address_that_was_asked() {
    let rig = Rig::new();
    let data: Vec<u8> = (0..=255).collect();
    let request = Icmp::echo(0x1234, 7, &data);
    rig.say_icmp(&request);
    let said = rig.hear_ip();
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].src, said[0].dst), (US, PEER));
    assert_eq!(said[0].icmp(), Some(Icmp { ty: 0, ..request }));
}

#[test]
fn an_echo_with_a_wrong_checksum_is_discarded() {
    let rig = Rig::new();
    let mut packet = echo_packet();
    packet.data[9] ^= 1;
    rig.say_ip(&packet);
    assert_eq!(rig.hear(), []);
}

#[test]
fn unknown_types_and_what_is_not_implemented_are_discarded_silently() {
    let rig = Rig::new();
    // 13: timestamp; 15: information; 17, 18: address mask request and reply.
    for ty in [1, 2, 6, 7, 13, 14, 15, 16, 17, 18, 40, 44, 100, 200, 255] {
        rig.say_icmp(&Icmp { ty, code: 0, rest: [0; 4], data: vec![255; 12] });
        assert_eq!(rig.hear(), [], "type {ty}");
    }
}

#[test]
fn a_port_that_nobody_has_is_unreachable() {
    let rig = Rig::new();
    let packet = to_nobody();
    rig.say_ip(&packet);
    let said = rig.hear_ip();
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].src, said[0].dst), (US, PEER));
    let error = said[0].icmp().expect("an ICMP message");
    assert_eq!((error.ty, error.code), (3, 3));
    assert!(error.data.len() >= 28, "the header and eight octets");
    assert_eq!(error.data, packet.bytes()[..error.data.len()], "unchanged");
}

#[test]
fn a_protocol_that_nobody_has_is_unreachable() {
    let rig = Rig::new();
    rig.say_ip(&Ip::new(PEER, US, 253, vec![1; 40]));
    let said = rig.hear_icmp();
    assert_eq!(said.iter().map(|icmp| (icmp.ty, icmp.code)).collect::<Vec<_>>(), [(3, 2)]);
}

#[test]
fn no_error_answers_an_error() {
    let rig = Rig::new();
    for (ty, code) in [(3, 1), (3, 3), (11, 0), (12, 0), (4, 0), (5, 1)] {
        rig.say_icmp(&Icmp::error(ty, code, [0; 4], &to_nobody()));
        assert_eq!(rig.hear(), [], "type {ty}");
    }
}

#[test]
fn no_error_answers_a_broadcast_or_a_multicast() {
    let rig = Rig::new();
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255), Ipv4Addr::new(224, 0, 0, 1)] {
        let packet = Udp::new(9, 9, b"x").packet(PEER, dst);
        rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, IPV4, &packet.bytes()));
        assert_eq!(rig.hear(), [], "{dst}");
    }
}

#[test]
fn no_error_answers_a_link_layer_broadcast() {
    let rig = Rig::new();
    rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, IPV4, &to_nobody().bytes()));
    assert_eq!(rig.hear(), []);
}

#[test]
fn no_error_answers_a_fragment_but_the_first() {
    let rig = Rig::new();
    // A protocol that nobody has, in fragments with options that make no sense.
    let bad = Ip { options: vec![200, 0, 0, 0], ..Ip::new(PEER, US, 253, vec![0; 16]) };
    rig.say_ip(&Ip { fragment: 2, ..bad.clone() });
    assert_eq!(rig.hear(), []);
    rig.say_ip(&Ip { fragment: MORE_FRAGMENTS, ..bad });
    assert_eq!(rig.hear_icmp().len(), 1, "the first one is explained");
}

#[test]
fn no_error_answers_a_source_that_is_no_single_host() {
    let rig = Rig::new();
    for src in ["0.0.0.0", "127.0.0.1", "10.0.0.255", "255.255.255.255", "224.0.0.1", "240.0.0.1"] {
        let src = src.parse().expect("an address");
        rig.say_ip(&Udp::new(9, 9, b"x").packet(src, US));
        assert_eq!(rig.hear(), [], "{src}");
    }
}

#[test]
fn errors_are_bounded_in_number() {
    let rig = Rig::new();
    for _ in 0..200 {
        rig.say_ip(&to_nobody());
    }
    let burst = rig.hear_icmp().len();
    assert!((1..50).contains(&burst), "{burst} errors to one peer in 0.2 s");
    rig.run(Duration::from_secs(5));
    rig.say_ip(&to_nobody());
    assert_eq!(rig.hear_icmp().len(), 1, "later there is leave again");
}

#[test]
fn an_unreachable_port_reaches_the_socket_that_caused_it() {
    let rig = Rig::new();
    let (socket, sent) = connected(&rig, PEER);
    let other = rig.stack.udp_bind("10.0.0.1:5001").expect("a free port");
    rig.say_icmp(&Icmp::error(3, 3, [0; 4], &sent));
    assert_eq!(error_of(&socket).map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
    assert!(error_of(&other).is_none(), "and no other");
    assert_eq!(rig.hear(), []);
}

#[test]
fn errors_about_what_was_not_sent_are_ignored() {
    let rig = Rig::new();
    let (socket, sent) = connected(&rig, PEER);
    let elsewhere = Udp::new(5000, 8, b"hello").packet(US, PEER);
    let another_port = Udp::new(5002, 7, b"hello").packet(US, PEER);
    let another_source = Ip { src: FAR, ..sent.clone() };
    let another_protocol = Ip { protocol: 253, ..sent };
    for about in [elsewhere, another_port, another_source, another_protocol] {
        rig.say_icmp(&Icmp::error(3, 3, [0; 4], &about));
        assert!(error_of(&socket).is_none(), "{about:?}");
    }
}

#[test]
fn a_quote_cut_short_is_ignored() {
    let rig = Rig::new();
    let (socket, sent) = connected(&rig, PEER);
    for len in 0..28 {
        let mut icmp = Icmp::error(3, 3, [0; 4], &sent);
        icmp.data.truncate(len);
        rig.say_icmp(&icmp);
    }
    assert!(error_of(&socket).is_none());
    assert_eq!(rig.hear(), []);
}

#[test]
fn unreachable_hosts_and_networks_are_only_hints() {
    let rig = Rig::new();
    let (socket, sent) = connected(&rig, FAR);
    for code in [0, 1, 5] {
        rig.say_icmp(&Icmp::error(3, code, [0; 4], &sent));
    }
    assert!(socket.send(b"still here").is_ok(), "a hint stops nobody");
    rig.run(Duration::from_millis(1));
    assert_eq!(rig.hear_ip().len(), 1, "the same gateway is still used");
}

#[test]
fn a_hard_error_is_reported_to_the_application() {
    let rig = Rig::new();
    let (socket, sent) = connected(&rig, FAR);
    rig.say_icmp(&Icmp::error(3, 2, [0; 4], &sent));
    assert_eq!(error_of(&socket).and_then(|error| error.raw_os_error()), Some(92), "ENOPROTOOPT");
}

#[test]
fn source_quench_changes_nothing() {
    let rig = Rig::new();
    let (socket, sent) = connected(&rig, FAR);
    rig.say_icmp(&Icmp::error(4, 0, [0; 4], &sent));
    assert!(error_of(&socket).is_none());
    assert_eq!(next_hop(&rig, &socket), PEER_MAC);
}

/// A gateway on the segment that the configured one may name.
const BETTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);

/// A redirect in its packet.
fn redirect(from: Ipv4Addr, code: u8, target: Ipv4Addr, about: &Ip) -> Ip {
    Ip::new(from, US, ICMP, Icmp::error(5, code, target.octets(), about).bytes())
}

/// A stack that knows both gateways, and so asks for neither.
fn with_two_gateways(config: InetConfig) -> Rig {
    let rig = Rig::with(config);
    rig.settle();
    let index = rig.inet.interfaces()[1].index;
    for (addr, mac) in [(PEER, PEER_MAC), (GATEWAY, PEER_MAC), (BETTER, OTHER_MAC)] {
        rig.inet.add_neighbour(index, addr.into(), mac).expect("a neighbour fits");
    }
    rig
}

/// Where the next datagram goes.
fn next_hop(rig: &Rig, socket: &UdpSocket) -> MacAddr {
    let _ = rig.hear();
    socket.send(b"again").expect("it is taken");
    rig.run(Duration::from_millis(1));
    let said = rig.hear();
    assert_eq!(said.len(), 1);
    said[0].dst
}

#[test]
fn a_redirect_leads_by_the_gateway_that_it_names() {
    for code in 0..4 {
        let rig = with_two_gateways(InetConfig::default());
        let (socket, sent) = connected(&rig, FAR);
        assert_eq!(next_hop(&rig, &socket), PEER_MAC);
        rig.say_ip(&redirect(GATEWAY, code, BETTER, &sent));
        assert!(error_of(&socket).is_none(), "no error, only news");
        assert_eq!(next_hop(&rig, &socket), OTHER_MAC, "code {code}");
        // The host alone: another one still goes by the configured gateway.
        let other = rig.stack.udp_bind("10.0.0.1:0").expect("a free port");
        other.connect("192.0.2.10:7").expect("there is a route");
        assert_eq!(next_hop(&rig, &other), PEER_MAC);
        rig.run(Duration::from_secs(601));
        assert_eq!(next_hop(&rig, &socket), PEER_MAC, "it is forgotten");
    }
}

#[test]
fn redirects_are_not_followed_but_from_the_first_hop_and_to_a_neighbour() {
    let rig = with_two_gateways(InetConfig::default());
    let (socket, sent) = connected(&rig, FAR);
    let theirs = Ip { src: PEER, ..sent.clone() };
    let mut nobodys = sent.clone();
    nobodys.data[0] ^= 0x10;
    let ping = Ip::new(US, FAR, ICMP, vec![8, 0, 0, 0, 0, 1, 0, 1]);
    let segment = Ip::new(US, FAR, Protocol::TCP.0, vec![0x80; 20]);
    for (from, target, about) in [
        (PEER, BETTER, &sent),
        (BETTER, BETTER, &sent),
        (GATEWAY, Ipv4Addr::new(192, 0, 2, 1), &sent),
        (GATEWAY, US, &sent),
        (GATEWAY, GATEWAY, &sent),
        (GATEWAY, Ipv4Addr::new(10, 0, 0, 255), &sent),
        (GATEWAY, Ipv4Addr::new(10, 0, 0, 0), &sent),
        (GATEWAY, Ipv4Addr::new(224, 0, 0, 1), &sent),
        (GATEWAY, Ipv4Addr::BROADCAST, &sent),
        (GATEWAY, BETTER, &theirs),
        (GATEWAY, BETTER, &nobodys),
        (GATEWAY, BETTER, &ping),
        (GATEWAY, BETTER, &segment),
    ] {
        rig.say_ip(&redirect(from, 1, target, about));
        assert_eq!(next_hop(&rig, &socket), PEER_MAC, "{target} from {from}");
    }
}

#[test]
fn a_destination_does_not_redirect_what_is_sent_to_itself() {
    let rig = with_two_gateways(InetConfig::default());
    let (socket, sent) = connected(&rig, PEER);
    rig.say_ip(&redirect(PEER, 1, BETTER, &sent));
    assert_eq!(next_hop(&rig, &socket), PEER_MAC);
}

#[test]
fn routers_and_who_was_told_not_to_listen_follow_no_redirects() {
    let (mut router, mut deaf) = (InetConfig::default(), InetConfig::default());
    router.forwarding.ipv4 = true;
    deaf.icmp.accept_redirects = false;
    for config in [router, deaf] {
        let rig = with_two_gateways(config);
        let (socket, sent) = connected(&rig, FAR);
        rig.say_ip(&redirect(GATEWAY, 1, BETTER, &sent));
        assert_eq!(next_hop(&rig, &socket), PEER_MAC);
    }
}

#[test]
fn the_path_mtu_shrinks_on_a_routers_word() {
    let rig = Rig::new();
    let (socket, _) = connected(&rig, FAR);
    socket.send(&[0; 1_200]).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let sent = rig.hear_ip();
    assert_eq!(sent.len(), 1);
    rig.say_ip(&Ip::new(GATEWAY, US, ICMP, Icmp::error(3, 4, [0, 0, 3, 0xe8], &sent[0]).bytes()));
    let _ = error_of(&socket);
    socket.send(&[0; 1_200]).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let sent = rig.hear_ip();
    assert_eq!(sent.len(), 2, "cut to 1,000 bytes");
    assert!(sent.iter().all(|ip| 20 + ip.data.len() <= 1_000));
}

#[test]
fn pings_to_many_are_not_answered() {
    let rig = Rig::new();
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255), Ipv4Addr::new(224, 0, 0, 1)] {
        let packet = Ip { dst, ..echo_packet() };
        rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, IPV4, &packet.bytes()));
        rig.say(&frame(US_MAC, PEER_MAC, IPV4, &packet.bytes()));
        assert_eq!(rig.hear(), [], "{dst}");
    }
}

#[test]
fn a_ping_socket_gets_the_answers_to_its_own_requests() {
    let rig = Rig::new();
    let ping = |rig: &Rig| {
        let socket = rig.stack.socket(Family::Inet, SockType::Datagram, Protocol::ICMP);
        let socket = socket.expect("ping sockets are served");
        socket.set_nonblocking(true);
        socket
    };
    let (asks, idle) = (ping(&rig), ping(&rig));
    let request = Icmp::echo(0, 7, b"payload").bytes();
    asks.send_to(&request, SocketAddr::from((PEER, 0))).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let sent = rig.hear_icmp().remove(0);
    assert_eq!((sent.ty, &sent.rest[2..], &sent.data[..]), (8, &[0, 7][..], &b"payload"[..]));
    rig.say_icmp(&Icmp { ty: 0, ..sent.clone() });
    let mut buffer = [0; 64];
    let (len, from) = asks.recv_from(&mut buffer).expect("the answer");
    assert_eq!((len, from.ip()), (15, PEER.into()));
    assert_eq!(buffer[0], 0, "an echo reply");
    assert!(idle.recv_from(&mut buffer).is_err(), "not for another");
}

#[test]
fn soft_errors_reach_a_socket_that_asked_for_all() {
    let rig = Rig::new();
    let (socket, sent) = connected(&rig, FAR);
    let all = SocketOption::ReceiveErrors(true);
    socket.socket().set_option(all).expect("an option of UDP");
    for (ty, code) in [(3, 0), (3, 1), (3, 5), (11, 0), (11, 1), (12, 0)] {
        rig.say_icmp(&Icmp::error(ty, code, [0; 4], &sent));
        assert!(error_of(&socket).is_some(), "type {ty}, code {code}");
    }
}
