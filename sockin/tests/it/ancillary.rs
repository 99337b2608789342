//! What goes with datagrams beside their data, both ways.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use libnet::net::UdpSocket;
use libnet::socket::{Received, SendControl, SocketOption};

use crate::new_layer;

const EINVAL: i32 = 22;

fn ends(addr: &str) -> (UdpSocket, UdpSocket, SocketAddr) {
    let layer = new_layer();
    let server = layer.udp_bind(addr).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let to = server.local_addr().unwrap();
    (layer.udp_bind(addr).unwrap(), server, to)
}

fn recv(socket: &UdpSocket) -> Received {
    let mut buf = [0; 64];
    socket.socket().recv_msg(&mut [IoSliceMut::new(&mut buf)]).unwrap()
}

fn ask_for_all(socket: &UdpSocket) {
    for option in [
        SocketOption::ReceiveTtl(true),
        SocketOption::ReceiveTos(true),
        SocketOption::ReceivePacketInfo(true),
        SocketOption::ReceiveTime(true),
    ] {
        socket.socket().set_option(option).unwrap();
    }
}

fn tells_all(addr: &str, local: IpAddr) {
    let (client, server, to) = ends(addr);
    ask_for_all(&server);
    let mut control = SendControl::to(Some(to));
    control.ttl = Some(9);
    control.tos = Some(0xb9);
    control.from = Some(local);
    let before = client.socket().send_with(&[IoSlice::new(b"marked")], control).unwrap();
    assert_eq!(before, 6);
    let got = recv(&server);
    assert_eq!((got.bytes, got.ttl, got.tos), (6, 9, Some(0xb9)));
    assert_eq!((got.to, got.from), (Some(local), Some(client.local_addr().unwrap())));
    assert!(got.interface.is_some_and(|index| index > 0));
    let now = libnet::driver::Driver::now(&*libnet::driver::threads::ThreadDriver::new());
    assert!(got.rx_at <= now && now.since(got.rx_at) < Duration::from_secs(10), "{:?}", got.rx_at);
    client.send_to(b"plain", to).unwrap();
    assert_eq!(recv(&server).tos, Some(0));
}

#[test]
fn a_datagram_of_ipv4_tells_all_that_was_asked_for() {
    tells_all("127.0.0.1:0", Ipv4Addr::LOCALHOST.into());
}

#[test]
fn a_datagram_of_ipv6_tells_all_that_was_asked_for() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("skipped: the host's loopback has no IPv6");
        return;
    }
    tells_all("[::1]:0", Ipv6Addr::LOCALHOST.into());
}

#[test]
fn what_was_not_asked_for_is_not_told() {
    let (client, server, to) = ends("127.0.0.1:0");
    client.send_to(b"x", to).unwrap();
    let got = recv(&server);
    assert_eq!((got.ttl, got.tos, got.to, got.interface), (0, None, None, None));
    server.socket().set_option(SocketOption::ReceiveTtl(true)).unwrap();
    client.send_to(b"x", to).unwrap();
    let got = recv(&server);
    assert!(got.ttl > 0 && got.tos.is_none());
    server.socket().set_option(SocketOption::ReceiveTtl(false)).unwrap();
    client.send_to(b"x", to).unwrap();
    assert_eq!(recv(&server).ttl, 0);
}

#[test]
fn a_cut_datagram_says_so_with_control_messages_and_without() {
    let (client, server, to) = ends("127.0.0.1:0");
    for asked in [false, true] {
        server.socket().set_option(SocketOption::ReceiveTtl(asked)).unwrap();
        client.send_to(&[7; 100], to).unwrap();
        let got = recv(&server);
        assert_eq!((got.bytes, got.message_bytes, got.is_truncated()), (64, 100, true));
    }
}

#[test]
fn a_whole_datagram_is_handed_over_with_control_messages_and_without() {
    let (client, server, to) = ends("127.0.0.1:0");
    for asked in [false, true] {
        server.socket().set_option(SocketOption::ReceiveTtl(asked)).unwrap();
        for data in [&[7; 40_000][..], b""] {
            client.send_to(data, to).unwrap();
            let mut out = VecDeque::new();
            assert_eq!(server.socket().recv_bytes(1, &mut out).unwrap(), data.len());
            assert_eq!(out, [data]);
        }
    }
}

#[test]
fn a_source_that_is_not_ours_is_refused_by_the_host() {
    let (client, _server, to) = ends("127.0.0.1:0");
    let mut control = SendControl::to(Some(to));
    control.from = Some(Ipv6Addr::LOCALHOST.into());
    let error = client.socket().send_with(&[IoSlice::new(b"x")], control).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EINVAL));
    control.from = None;
    control.ttl = Some(0);
    let error = client.socket().send_with(&[IoSlice::new(b"x")], control).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EINVAL));
}
