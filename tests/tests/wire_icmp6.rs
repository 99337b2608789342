//! ICMPv6 and path MTUs as a station on the wire sees them (RFC 4443, RFC 8201).

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use libnet::net::UdpSocket;
use libnet::socket::{Family, Protocol, SockType, SocketOption};
use libnet::{DropReason, MacAddr};
use libnetinet::InetConfig;
use rumpnet_tests::station::{FAR6, PEER_MAC, PEER6, Rig, US_MAC, US6, echo6_packet};
use rumpnet_tests::wire::nd::{ALL_NODES, group_mac};
use rumpnet_tests::wire::six::{IPV6, Ip6};
use rumpnet_tests::wire::tcp::{ACK, SYN};
use rumpnet_tests::wire::{Icmp, TCP, Tcp, Udp, frame};

const TO: (Ipv6Addr, u16) = (PEER6, 7);

/// A socket that has one peer, and the packet that it sent.
fn sent(rig: &Rig, to: (Ipv6Addr, u16), len: usize) -> (UdpSocket, Ip6) {
    let socket = rig.stack.udp_bind((US6, 5_000)).expect("a free port");
    socket.connect(to).expect("there is a route");
    socket.set_nonblocking(true).expect("always");
    (socket.try_clone().expect("another handle"), send(rig, &socket, len))
}

fn send(rig: &Rig, socket: &UdpSocket, len: usize) -> Ip6 {
    socket.send(&vec![7; len]).expect("it is taken");
    rig.run(Duration::from_millis(1));
    rig.hear_ip6().into_iter().rfind(|ip| ip.next != 58).expect("a packet")
}

fn say_error(rig: &Rig, icmp: &Icmp) {
    rig.say_ip6(&icmp.packet6(PEER6, US6));
}

/// A datagram to a port that nobody has.
fn to_nobody() -> Ip6 {
    Udp::new(9, 9, b"anybody?").packet6(PEER6, US6)
}

fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

#[test]
fn an_echo_comes_back_whole_and_from_the_address_that_was_asked() {
    let rig = Rig::six();
    let data: Vec<u8> = (0..1_400).map(|i| (i * 3) as u8).collect();
    let mut request = Icmp::echo6(0xabcd, 77, &data).packet6(PEER6, US6);
    request.class = 0x28;
    rig.say_ip6(&request);
    let said = rig.hear_ip6();
    let reply = said.iter().find(|ip| ip.next == 58).expect("a reply");
    assert_eq!((reply.src, reply.dst, reply.class), (US6, PEER6, 0x28));
    let icmp = reply.icmp().expect("a message");
    assert_eq!((icmp.ty, icmp.code, icmp.rest), (129, 0, [0xab, 0xcd, 0, 77]));
    assert_eq!(icmp.data, data);
}

#[test]
fn a_wrong_checksum_is_dropped_also_when_it_is_that_of_icmp_for_ipv4() {
    let rig = Rig::six();
    let mut without_pseudo_header = echo6_packet();
    without_pseudo_header.data = Icmp::echo6(7, 1, b"are you there?").bytes();
    rig.say_ip6(&without_pseudo_header);
    assert!(rig.hear_icmp6().is_empty());
    assert_eq!(rig.inet.drops().get(DropReason::IcmpChecksum), 1);
}

#[test]
fn a_port_that_nobody_has_is_unreachable_and_as_much_as_fits_is_quoted() {
    let rig = Rig::six();
    for len in [8, 1_400] {
        let packet = Udp::new(9, 9, &vec![5; len]).packet6(PEER6, US6);
        rig.say_ip6(&packet);
        let said = rig.hear_ip6();
        let error = said.iter().find(|ip| ip.next == 58).expect("an error");
        assert_eq!((error.src, error.dst), (US6, PEER6));
        let icmp = error.icmp().expect("a message");
        assert_eq!((icmp.ty, icmp.code, icmp.number()), (1, 4, 0));
        let whole = packet.bytes();
        assert_eq!(icmp.data, whole[..whole.len().min(1_280 - 48)]);
    }
}

#[test]
fn messages_of_unknown_informational_types_are_discarded_silently() {
    let rig = Rig::six();
    for ty in [127, 150, 200, 255].into_iter().filter(|&ty| ty > 127) {
        say_error(&rig, &Icmp { ty, code: 0, rest: [0; 4], data: vec![1; 32] });
        assert!(rig.hear_icmp6().is_empty(), "type {ty}");
    }
}

#[test]
fn errors_of_unknown_types_reach_who_asked_for_all() {
    let rig = Rig::six();
    let (socket, packet) = sent(&rig, TO, 8);
    socket.socket().set_option(SocketOption::ReceiveErrors(true)).expect("an option of UDP");
    say_error(&rig, &Icmp::error6(100, 0, 0, &packet));
    assert_eq!(errno(&socket.recv(&mut [0; 8]).expect_err("an error waits")), 71);
}

#[test]
fn no_error_answers_an_error_or_a_redirect() {
    let rig = Rig::six();
    // About a protocol that nobody has, so that the message itself is the only thing to answer.
    for ty in [1, 2, 3, 4, 100, 127, 137] {
        let inner = Icmp::error6(ty, 0, 1_280, &to_nobody()).packet6(PEER6, US6);
        // In a first fragment without its chain's end there is something to complain of.
        let cut = Ip6 { data: inner.data[..4].to_vec(), ..inner };
        rig.say_ip6(&cut);
        assert!(rig.hear_icmp6().is_empty(), "type {ty}");
    }
}

#[test]
fn no_error_answers_what_was_sent_to_many() {
    let rig = Rig::six();
    let all: Ipv6Addr = "ff02::1".parse().expect("an address");
    let to_all = Udp::new(9, 9, b"x").packet6(PEER6, all);
    let mac = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    rig.say(&frame(mac, PEER_MAC, IPV6, &to_all.bytes()));
    rig.say(&frame(US_MAC, PEER_MAC, IPV6, &to_all.bytes()));
    rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, IPV6, &to_nobody().bytes()));
    let unknown = Ip6::new(PEER6, all, 253, vec![1; 24]);
    rig.say(&frame(mac, PEER_MAC, IPV6, &unknown.bytes()));
    assert!(rig.hear_icmp6().is_empty());
}

#[test]
fn no_error_answers_a_source_that_is_no_single_host() {
    let rig = Rig::six();
    for src in ["::", "ff02::1", "::1"] {
        let src = src.parse().expect("an address");
        rig.say_ip6(&Udp::new(9, 9, b"x").packet6(src, US6));
        assert!(rig.hear_icmp6().is_empty(), "{src}");
    }
}

#[test]
fn errors_are_bounded_in_number() {
    let rig = Rig::six();
    for _ in 0..200 {
        rig.say_ip6(&to_nobody());
    }
    let burst = rig.hear_icmp6().len();
    assert!((1..50).contains(&burst), "{burst} errors to one peer in 0.2 s");
    assert!(rig.inet.drops().get(DropReason::IcmpRateLimited) > 100);
}

#[test]
fn errors_reach_the_socket_that_sent_with_the_numbers_that_linux_gives() {
    for (ty, code, expected) in
        [(1, 1, 13), (1, 4, 111), (1, 5, 13), (1, 6, 13), (4, 0, 71), (4, 1, 71)]
    {
        let rig = Rig::six();
        let (socket, packet) = sent(&rig, TO, 8);
        say_error(&rig, &Icmp::error6(ty, code, 0, &packet));
        let error = socket.recv(&mut [0; 8]).expect_err("an error waits");
        assert_eq!(errno(&error), expected, "type {ty} code {code}");
    }
    // What may pass is told only to who asks for it.
    for (ty, code, expected) in [(1, 0, 101), (1, 2, 113), (1, 3, 113), (3, 0, 113), (3, 1, 113)] {
        let rig = Rig::six();
        let (socket, packet) = sent(&rig, TO, 8);
        say_error(&rig, &Icmp::error6(ty, code, 0, &packet));
        let error = socket.recv(&mut [0; 8]).expect_err("nothing to receive");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "type {ty} code {code}");
        socket.socket().set_option(SocketOption::ReceiveErrors(true)).expect("an option of UDP");
        say_error(&rig, &Icmp::error6(ty, code, 0, &packet));
        let error = socket.recv(&mut [0; 8]).expect_err("an error waits");
        assert_eq!(errno(&error), expected, "type {ty} code {code}");
    }
}

#[test]
fn errors_about_what_we_did_not_send_are_nothing_to_us() {
    let rig = Rig::six();
    let (socket, packet) = sent(&rig, TO, 8);
    let other = Ip6 { src: "fd00::77".parse().expect("an address"), ..packet.clone() };
    say_error(&rig, &Icmp::error6(1, 4, 0, &other));
    let mut short = Icmp::error6(1, 4, 0, &packet);
    short.data.truncate(44);
    say_error(&rig, &short);
    // An error goes to who sent, not to a group.
    let to_all = Icmp::error6(1, 4, 0, &packet).packet6(PEER6, ALL_NODES);
    rig.say(&frame(group_mac(ALL_NODES), PEER_MAC, IPV6, &to_all.bytes()));
    let error = socket.recv(&mut [0; 8]).expect_err("nothing to receive");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(rig.inet.drops().get(DropReason::IcmpUnmatched), 2);
    assert_eq!(rig.inet.drops().get(DropReason::IcmpMalformed), 1);
}

#[test]
fn a_packet_that_was_too_big_makes_the_next_ones_fit() {
    let rig = Rig::six();
    let (socket, packet) = sent(&rig, (FAR6, 7), 1_400);
    assert_eq!(packet.bytes().len(), 1_448, "whole");
    say_error(&rig, &Icmp::error6(2, 0, 1_300, &packet));
    let error = socket.recv(&mut [0; 8]).expect_err("the socket is told");
    assert_eq!(errno(&error), 90);
    let fits = |rig: &Rig| {
        // What it was told of meanwhile is taken first.
        let _ = socket.recv(&mut [0; 8]);
        socket.send(&[7; 1_400]).expect("it is taken");
        rig.run(Duration::from_millis(1));
        let said = rig.hear_ip6();
        said.iter().map(|ip| ip.bytes().len()).max().expect("packets")
    };
    assert!((1_280..=1_300).contains(&fits(&rig)));
    // RFC 8201 §4: a message never raises the estimate, and it is given up after ten minutes, not
    // before five.
    let small = Ip6 { data: packet.data[..1_200].to_vec(), ..packet.clone() };
    say_error(&rig, &Icmp::error6(2, 0, 1_400, &small));
    assert!(fits(&rig) <= 1_300);
    rig.run(Duration::from_secs(300));
    assert!(fits(&rig) <= 1_300);
    rig.run(Duration::from_secs(400));
    assert_eq!(fits(&rig), 1_448);
}

#[test]
fn one_that_reports_less_than_every_link_carries_is_discarded() {
    let rig = Rig::six();
    let (socket, packet) = sent(&rig, (FAR6, 7), 1_400);
    for mtu in [0, 68, 1_279] {
        say_error(&rig, &Icmp::error6(2, 0, mtu, &packet));
        let error = socket.recv(&mut [0; 8]).expect_err("nothing to receive");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{mtu}");
        assert_eq!(send(&rig, &socket, 1_400).bytes().len(), 1_448, "{mtu}");
    }
}

#[test]
fn one_about_what_nobody_sent_changes_nothing() {
    let rig = Rig::six();
    let (socket, packet) = sent(&rig, (FAR6, 7), 1_400);
    let mut other = packet.clone();
    other.data[1] ^= 1;
    say_error(&rig, &Icmp::error6(2, 0, 1_300, &other));
    assert_eq!(send(&rig, &socket, 1_400).bytes().len(), 1_448);
}

#[test]
fn a_connection_sends_again_at_once_what_was_too_big() {
    let rig = Rig::six();
    let mut stream = accepted(&rig);
    std::io::Write::write_all(&mut stream, &[7; 2_880]).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let said: Vec<Ip6> = rig.hear_ip6().into_iter().filter(|ip| ip.next == TCP).collect();
    assert_eq!(said.iter().map(|ip| ip.bytes().len()).collect::<Vec<_>>(), [1_500, 1_500]);
    assert!(said[0].label != 0 && said[0].label == said[1].label, "one flow, one label");
    say_error(&rig, &Icmp::error6(2, 0, 1_280, &said[0]));
    rig.run(Duration::from_millis(1));
    let again: Vec<Ip6> = rig.hear_ip6().into_iter().filter(|ip| ip.next == TCP).collect();
    assert!(!again.is_empty() && again.iter().all(|ip| ip.bytes().len() <= 1_280), "{again:?}");
    assert_eq!(again[0].tcp().expect("a segment").seq, said[0].tcp().expect("a segment").seq);
}

/// Takes a connection from the station, which announces a maximum segment size of 1,440 bytes.
fn accepted(rig: &Rig) -> libnet::net::TcpStream {
    let listener = rig.stack.tcp_listen((US6, 80)).expect("a free port");
    let syn = Tcp { src: 4_321, dst: 80, seq: 99, flags: SYN, window: 65_535, ..Tcp::default() };
    let syn = Tcp { options: vec![2, 4, 5, 160], ..syn };
    rig.say_ip6(&syn.packet6(PEER6, US6));
    let answer = rig.hear_ip6().iter().find_map(Ip6::tcp).expect("a SYN-ACK");
    assert!(answer.options.starts_with(&[2, 4, 0x05, 0xa0]), "1500 less 60: {answer:?}");
    let ack =
        Tcp { seq: 100, ack: answer.seq.wrapping_add(1), flags: ACK, options: Vec::new(), ..syn };
    rig.say_ip6(&ack.packet6(PEER6, US6));
    let (stream, from) = listener.accept().expect("a connection");
    assert_eq!(from, SocketAddr::from((PEER6, 4_321)));
    stream
}

fn segment_bytes(rig: &Rig) -> Vec<usize> {
    let said = rig.hear_ip6().into_iter().filter(|ip| ip.next == TCP);
    said.map(|ip| ip.bytes().len()).collect()
}

#[test]
fn a_connection_heeds_what_a_datagram_learned_of_the_path() {
    let rig = Rig::six();
    let mut stream = accepted(&rig);
    // RFC 8201 §3: a neighbour on the link may be behind a smaller one all the same.
    let (_socket, packet) = sent(&rig, TO, 1_400);
    say_error(&rig, &Icmp::error6(2, 0, 1_300, &packet));
    std::io::Write::write_all(&mut stream, &[7; 2_000]).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let sizes = segment_bytes(&rig);
    assert!(
        sizes.len() >= 2 && sizes.iter().all(|bytes| *bytes <= 1_300),
        "RFC 8201 §5.2: {sizes:?}"
    );
    assert!(sizes[0] > 1_280, "and no smaller than need be: {sizes:?}");
}

#[test]
fn the_path_to_a_group_is_as_narrow_as_its_narrowest() {
    let rig = Rig::six();
    let group: Ipv6Addr = "ff0e::7".parse().expect("an address");
    let socket = rig.stack.udp_bind((US6, 5_000)).expect("a free port");
    let send = || {
        socket.send_to(&[7; 1_400], (group, 7)).expect("it is taken");
        rig.run(Duration::from_millis(1));
        let said = rig.hear_ip6().into_iter().filter(|ip| ip.dst == group && ip.next != 58);
        said.collect::<Vec<Ip6>>()
    };
    let whole = send();
    assert_eq!(whole.len(), 1);
    for mtu in [1_400, 1_300, 1_350] {
        say_error(&rig, &Icmp::error6(2, 0, mtu, &whole[0]));
        let longest = send().iter().map(|ip| ip.bytes().len()).max().expect("packets");
        assert!(longest <= mtu.min(1_400) as usize, "RFC 8201 §5.2: {longest} at {mtu}");
        assert!(mtu != 1_350 || longest <= 1_300, "the minimum of all paths");
    }
}

#[test]
fn a_connect_to_a_host_that_refuses_fails_as_linux_has_it() {
    for (ty, code, kind) in [
        (1, 0, ErrorKind::NetworkUnreachable),
        (1, 3, ErrorKind::HostUnreachable),
        (1, 4, ErrorKind::ConnectionRefused),
    ] {
        let rig = Rig::six();
        let socket = rig.stack.socket(Family::Inet6, SockType::Stream, Protocol::DEFAULT);
        let socket = socket.expect("a socket");
        socket.set_nonblocking(true);
        assert!(socket.connect((PEER6, 80).into()).is_err(), "it is in progress");
        rig.run(Duration::from_millis(1));
        let syn = rig.hear_ip6().into_iter().find(|ip| ip.next == TCP).expect("a SYN");
        say_error(&rig, &Icmp::error6(ty, code, 0, &syn));
        let error = socket.take_error().expect("a socket").expect("an error waits");
        assert_eq!(error.kind(), kind, "type {ty} code {code}");
    }
}

#[test]
fn a_ping_socket_and_a_raw_one_hear_the_answer() {
    let rig = Rig::six();
    let ping = rig.stack.socket(Family::Inet6, SockType::Datagram, Protocol::ICMPV6);
    let ping = ping.expect("a ping socket");
    let raw = rig.stack.socket(Family::Inet6, SockType::Raw, Protocol::ICMPV6);
    let raw = raw.expect("a raw socket");
    for socket in [&ping, &raw] {
        socket.set_nonblocking(true);
    }
    ping.send_to(&Icmp::echo6(0, 3, b"hello").bytes(), (PEER6, 0).into()).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let said = rig.hear_icmp6();
    let request = said.iter().find(|icmp| icmp.ty == 128).expect("a request");
    let reply = Icmp { ty: 129, ..request.clone() };
    rig.say_ip6(&reply.packet6(PEER6, US6));
    let mut buf = [0; 64];
    let (n, from) = ping.recv_from(&mut buf).expect("a reply");
    assert_eq!((buf[0], &buf[8..n], from), (129, &b"hello"[..], (PEER6, 0).into()));
    let (n, _) = raw.recv_from(&mut buf).expect("a copy, without an IP header");
    assert_eq!((buf[0], &buf[8..n]), (129, &b"hello"[..]));
    // What a raw socket sends gets its checksum here.
    raw.send_to(&[128, 0, 9, 9, 0, 1, 0, 2, 5], (PEER6, 0).into()).expect("it is taken");
    rig.run(Duration::from_millis(1));
    assert!(rig.hear_icmp6().iter().any(|icmp| icmp.ty == 128 && icmp.data == [5]));
}

#[test]
fn a_stack_may_be_told_not_to_answer_echoes() {
    let mut config = InetConfig::default();
    config.icmp.echo6 = false;
    let rig = Rig::six_with(config);
    assert!(!rig.answers6(&echo6_packet()));
}

#[test]
fn unused_fields_are_sent_as_zero_and_not_looked_at() {
    let rig = Rig::six();
    rig.say_ip6(&to_nobody());
    assert_eq!(rig.hear_icmp6()[0].rest, [0; 4], "RFC 4443 §3.1");
    let (socket, packet) = sent(&rig, TO, 8);
    let error = Icmp::error6(1, 4, 0xdead_beef, &packet);
    say_error(&rig, &error);
    let told = socket.recv(&mut [0; 8]).expect_err("an error waits");
    assert_eq!(errno(&told), 111, "whatever the unused field holds");
    // RFC 4443 §3.2: the code of a message that a packet was too big is ignored.
    let (_socket, packet) = {
        let socket = rig.stack.udp_bind((US6, 5_001)).expect("a free port");
        socket.connect((FAR6, 7)).expect("there is a route");
        let packet = send(&rig, &socket, 1_400);
        say_error(&rig, &Icmp::error6(2, 7, 1_300, &packet));
        (socket, packet)
    };
    assert_eq!(packet.bytes().len(), 1_448);
    let next = rig.stack.udp_bind((US6, 5_002)).expect("a free port");
    next.connect((FAR6, 7)).expect("there is a route");
    assert!(send(&rig, &next, 1_400).bytes().len() <= 1_300, "in fragments");
}
