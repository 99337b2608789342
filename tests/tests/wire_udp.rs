//! UDP as a station on the wire sees it (RFC 768, RFC 1122 §4.1).

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libnet::MacAddr;
use libnet::net::UdpSocket;
use rumpnet_tests::station::{PEER, PEER_MAC, Rig, US, US_MAC};
use rumpnet_tests::wire::{IPV4, Ip, Udp, frame};

fn socket(rig: &Rig) -> UdpSocket {
    let socket = rig.stack.udp_bind("10.0.0.1:5000").expect("a free port");
    socket.set_nonblocking(true).expect("a socket that lives");
    socket
}

fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2_000];
    let (len, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..len].to_vec(), from))
}

fn datagram() -> Ip {
    Udp::new(9, 5000, b"hello").packet(PEER, US)
}

#[test]
fn a_datagram_arrives_with_its_sender() {
    let rig = Rig::new();
    let socket = socket(&rig);
    rig.say_ip(&datagram());
    assert_eq!(receive(&socket), Some((b"hello".to_vec(), SocketAddr::from((PEER, 9)))));
    assert_eq!(receive(&socket), None);
}

#[test]
fn an_empty_datagram_arrives() {
    let rig = Rig::new();
    let socket = socket(&rig);
    rig.say_udp(&Udp::new(9, 5000, b""));
    assert_eq!(receive(&socket), Some((Vec::new(), SocketAddr::from((PEER, 9)))));
}

#[test]
fn a_wrong_checksum_is_discarded_silently() {
    let rig = Rig::new();
    let socket = socket(&rig);
    let good = datagram();
    for at in 0..good.data.len() {
        let mut bad = good.clone();
        bad.data[at] ^= 0x20;
        rig.say_ip(&bad);
        assert_eq!(receive(&socket), None, "byte {at}");
    }
    assert_eq!(rig.hear(), [], "nobody is told");
}

#[test]
fn no_checksum_is_no_wrong_checksum() {
    let rig = Rig::new();
    let socket = socket(&rig);
    let mut packet = datagram();
    packet.data[6..8].fill(0);
    packet.data[9] = b'a';
    rig.say_ip(&packet);
    assert_eq!(receive(&socket).map(|(data, _)| data), Some(b"hallo".to_vec()));
}

#[test]
fn every_datagram_sent_has_a_checksum_and_never_zero() {
    let rig = Rig::new();
    let socket = socket(&rig);
    // Reading what was sent verifies the checksum; one of 65,536 payloads sums to zero.
    for word in (0..=u16::MAX).step_by(13).chain(0xc000..=0xc400) {
        let sent = socket.send_to(&word.to_be_bytes(), SocketAddr::from((PEER, 7)));
        sent.expect("it is taken");
        if word % 32 == 0 {
            rig.run(Duration::from_millis(1));
        }
    }
    rig.run(Duration::from_millis(1));
    assert!(rig.hear_ip().iter().all(|ip| ip.udp().is_some()));
}

#[test]
fn lengths_that_do_not_fit_are_discarded() {
    let rig = Rig::new();
    let socket = socket(&rig);
    for len in [0u16, 7, 14, 5_000] {
        let mut packet = datagram();
        packet.data[4..6].copy_from_slice(&len.to_be_bytes());
        rig.say_ip(&packet.summed(6));
        assert_eq!(receive(&socket), None, "length {len}");
    }
    for len in 0..8 {
        let mut packet = datagram();
        packet.data.truncate(len);
        rig.say_ip(&packet);
    }
    assert_eq!(rig.hear(), []);
}

#[test]
fn invalid_sources_are_discarded() {
    let rig = Rig::new();
    let socket = socket(&rig);
    for src in ["255.255.255.255", "10.0.0.255", "224.0.0.1", "127.0.0.1", "0.0.0.0"] {
        let src: Ipv4Addr = src.parse().expect("an address");
        rig.say_ip(&Udp::new(9, 5000, b"x").packet(src, US));
        assert_eq!(receive(&socket), None, "{src}");
    }
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    let rig = Rig::new();
    let socket = socket(&rig);
    socket.connect(SocketAddr::from((PEER, 9))).expect("there is a route");
    rig.say_udp(&Udp::new(10, 5000, b"another port"));
    rig.say_ip(&Udp::new(9, 5000, b"another host").packet(Ipv4Addr::new(10, 0, 0, 3), US));
    assert_eq!(receive(&socket), None);
    rig.say_udp(&Udp::new(9, 5000, b"hello"));
    assert_eq!(receive(&socket).map(|(data, _)| data), Some(b"hello".to_vec()));
}

#[test]
fn the_local_address_of_a_connected_socket_is_known() {
    let rig = Rig::new();
    let socket = rig.stack.udp_bind("0.0.0.0:6000").expect("a free port");
    socket.connect(SocketAddr::from((PEER, 9))).expect("there is a route");
    assert_eq!(socket.local_addr().expect("it has one"), SocketAddr::from((US, 6000)));
}

#[test]
fn the_address_that_a_datagram_was_sent_to_is_known() {
    let rig = Rig::new();
    let socket = rig.stack.udp_bind("0.0.0.0:5000").expect("a free port");
    for dst in [US, Ipv4Addr::new(10, 0, 0, 255)] {
        let packet = Udp::new(9, 5000, b"hello").packet(PEER, dst);
        rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, IPV4, &packet.bytes()));
        rig.say(&frame(US_MAC, PEER_MAC, IPV4, &packet.bytes()));
        let mut buffer = [0; 64];
        let received = socket.socket().recv_msg(&mut [IoSliceMut::new(&mut buffer)]);
        let received = received.expect("a datagram");
        assert_eq!(received.to, Some(dst.into()));
        assert_eq!(received.from, Some(SocketAddr::from((PEER, 9))));
    }
}
