//! The domain's calls against the host's loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use libnet::driver::Signal;
use libnet::socket::{Domain, Family, Protocol, SockType};
use libnet::wake::Ready;
use sockin::{Sockin, SockinConfig};

use crate::layer;

#[test]
fn a_stream_carries_both_directions_and_half_closes() {
    let layer = layer(&Arc::new(Sockin::new().unwrap()));
    let listener = layer.tcp_listen("127.0.0.1:0").unwrap();
    let mut client = layer.tcp_connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let echo = std::thread::spawn(move || {
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        server.write_all(&all).unwrap();
    });
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == sent);
    echo.join().unwrap();
}

#[test]
fn datagrams_say_who_sent_them_and_how_long_they_were() {
    let layer = layer(&Arc::new(Sockin::new().unwrap()));
    let a = layer.udp_bind("127.0.0.1:0").unwrap();
    let b = layer.udp_bind("127.0.0.1:0").unwrap();
    a.send_to(b"hello", b.local_addr().unwrap()).unwrap();
    let mut buf = [0; 3];
    assert_eq!(b.recv_from(&mut buf).unwrap(), (3, a.local_addr().unwrap()));
    assert_eq!(&buf, b"hel");
    let error = a.send_to(&[0; 65_508], b.local_addr().unwrap()).unwrap_err();
    let host = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = host.send_to(&[0; 65_508], host.local_addr().unwrap()).unwrap_err();
    assert_eq!(error.raw_os_error(), theirs.raw_os_error());
}

#[test]
fn refused_and_timed_out_are_as_std_has_them() {
    let layer = layer(&Arc::new(Sockin::new().unwrap()));
    let gone = layer.tcp_listen("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(layer.tcp_connect(gone).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let quiet = layer.udp_bind("127.0.0.1:0").unwrap();
    quiet.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert_eq!(quiet.recv_from(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_waker_is_woken_by_what_came_before_and_what_comes_after() {
    let domain = Arc::new(Sockin::new().unwrap());
    let id = domain.socket(Family::Inet, SockType::Datagram, Protocol::DEFAULT).unwrap();
    domain.bind(id, "127.0.0.1:0".parse().unwrap()).unwrap();
    let to = domain.local_addr(id).unwrap();
    let host = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for before in [false, true] {
        let signal = Signal::new();
        if before {
            host.send_to(b"x", to).unwrap();
        }
        let registration = domain.register(id, Ready::READABLE, &signal.waker());
        if !before {
            host.send_to(b"x", to).unwrap();
        }
        assert!(signal.sleep(Some(Duration::from_secs(10))), "not woken, before: {before}");
        drop(registration);
    }
}

#[test]
fn a_full_table_refuses_and_counts_and_a_stale_id_is_an_error() {
    let mut config = SockinConfig::default();
    config.max_sockets = 1;
    let domain = Sockin::with_config(&config).unwrap();
    let open = || domain.socket(Family::Inet6, SockType::Stream, Protocol::DEFAULT);
    let first = open().unwrap();
    assert!(open().is_err());
    assert_eq!(domain.counters().refused, 1);
    domain.close(first);
    let second = open().unwrap();
    assert_eq!(second.index, first.index);
    assert!(domain.local_addr(first).is_err());
}
