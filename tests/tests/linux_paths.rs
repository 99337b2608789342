//! Paths by a hop of 1,280 bytes, in both families: the kernel finds those beyond us, and we find
//! those beyond the kernel.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rumpnet::virtif::{Offloads, VirtifConfig};
use rumpnet::{Forwarding, Stack};
use rumpnet_tests::linux::{FAMILIES, Namespace, PATIENCE, at, carry, count, inet_of, ip, until};

const LEFT: [&str; FAMILIES] = ["10.1.0.1", "fd01::1"];
const US: [&str; FAMILIES] = ["10.1.0.2", "fd01::2"];
const RIGHT: [&str; FAMILIES] = ["10.3.0.2", "fd03::2"];
const BYTES: usize = 4 << 20;

fn config(offloads: Offloads) -> VirtifConfig {
    let mut config = VirtifConfig::default();
    config.offloads = offloads;
    config
}

/// `middle` is a router of the kernel's, and 10.3.0.2 is behind it.
fn middle_and_right(middle: &Namespace, right: &Namespace) {
    middle.forward();
    middle.wire("wire1", right, "wire0", 1_500);
    for addr in ["10.3.0.1/24", "fd03::1/64"] {
        middle.address("wire1", addr);
    }
    for addr in ["10.3.0.2/24", "fd03::2/64"] {
        right.address("wire0", addr);
    }
    right.set_up(&["route add default via 10.3.0.1", "-6 route add default via fd03::1"]);
}

/// The kernel there knows of the narrow hop.
fn sees_1280(namespace: &Namespace, dst: &str) {
    until("the kernel's path", || {
        let said = namespace.ip(&format!("route get {dst}"));
        if said.contains("mtu 1280") { Ok(()) } else { Err(said) }
    });
}

/// A datagram in many fragments, again and again until the path is known.
fn datagram_crosses(send: impl Fn(&[u8]), receiver: &UdpSocket) {
    let sent: Vec<u8> = (0..9_000).map(|i| (i * 7) as u8).collect();
    receiver.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
    let mut buf = vec![0; 65_536];
    until("a datagram in fragments", || {
        send(&sent);
        let (bytes, _) = receiver.recv_from(&mut buf).map_err(|error| error.to_string())?;
        if buf[..bytes] == sent { Ok(()) } else { Err(format!("{bytes} other bytes")) }
    });
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("somebody connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// ```text
///  left ── 1,500 ── us ── 1,280 ── middle ── 1,500 ── right
/// ```
fn through_us(offloads: Offloads) -> Option<(Namespace, Stack, Namespace, Namespace)> {
    let [left, middle, right] = Namespace::some()?;
    let near = left.tap("wire0", &config(offloads), &["10.1.0.1/24", "fd01::1/64"])?;
    let far = middle.tap("wire0", &config(offloads), &["10.2.0.1/24", "fd02::1/64"])?;
    middle.set_up(&["link set wire0 mtu 1280"]);
    middle_and_right(&middle, &right);
    let near = near.addr("10.1.0.2/24").addr("fd01::2/64");
    let far = far.addr("10.2.0.2/24").addr("fd02::2/64").mtu(1_280);
    let us = Stack::builder().interface(near).interface(far).forwarding(Forwarding::On);
    let us = us.route("10.3.0.0/24@10.2.0.1").route("fd03::/64@fd02::1").start();
    left.set_up(&["route add default via 10.1.0.2", "-6 route add default via fd01::2"]);
    middle.set_up(&["route add 10.1.0.0/24 via 10.2.0.2", "-6 route add fd01::/64 via fd02::2"]);
    Some((left, us.expect("it starts"), middle, right))
}

#[test]
fn kernels_on_both_sides_find_the_hop_of_1280_bytes_beyond_us() {
    for offloads in [Offloads::Auto, Offloads::Off] {
        let Some((left, us, _middle, right)) = through_us(offloads) else { return };
        for family in 0..FAMILIES {
            let (from, to) = (LEFT[family], RIGHT[family]);
            let listener = right.run(move || TcpListener::bind(at(to, 0)).expect("a listener"));
            let addr = listener.local_addr().expect("an address");
            let too_big = ["ip_fragment_fails", "ip6_too_big"][family];
            let fails = count(&us, too_big);
            let near = left.run(move || TcpStream::connect(addr).expect("a connection"));
            near.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let far = accept(&listener);
            // By one connection: a later one would begin with what either knows by then.
            carry(&near, &far, BYTES);
            carry(&far, &near, BYTES);
            assert!(count(&us, too_big) > fails, "{to}: nobody was told by us");
            sees_1280(&left, to);
            sees_1280(&right, from);
            let receiver = right.run(move || UdpSocket::bind(at(to, 0)).expect("a socket"));
            let addr = receiver.local_addr().expect("an address");
            let sender = left.run(move || UdpSocket::bind(at(from, 0)).expect("a socket"));
            datagram_crosses(|data| drop(sender.send_to(data, addr)), &receiver);
        }
    }
}

/// ```text
///  us ── 1,500 ── left ── 1,280 ── middle ── 1,500 ── right
/// ```
fn behind_kernels(offloads: Offloads) -> Option<(Stack, Namespace, Namespace, Namespace)> {
    let [left, middle, right] = Namespace::some()?;
    let near = left.tap("wire0", &config(offloads), &["10.1.0.1/24", "fd01::1/64"])?;
    left.forward();
    left.wire("wire1", &middle, "wire0", 1_280);
    for (namespace, device, addr) in [
        (&left, "wire1", "10.2.0.1/24"),
        (&left, "wire1", "fd02::1/64"),
        (&middle, "wire0", "10.2.0.2/24"),
        (&middle, "wire0", "fd02::2/64"),
    ] {
        namespace.address(device, addr);
    }
    middle_and_right(&middle, &right);
    left.set_up(&["route add 10.3.0.0/24 via 10.2.0.2", "-6 route add fd03::/64 via fd02::2"]);
    middle.set_up(&["route add 10.1.0.0/24 via 10.2.0.1", "-6 route add fd01::/64 via fd02::1"]);
    let near = near.addr("10.1.0.2/24").addr("fd01::2/64").gateway(LEFT[0]).gateway(LEFT[1]);
    Some((Stack::builder().interface(near).start().expect("it starts"), left, middle, right))
}

#[test]
fn we_find_the_hop_of_1280_bytes_beyond_a_kernel_and_so_does_who_sends_to_us() {
    for offloads in [Offloads::Auto, Offloads::Off] {
        let Some((us, _left, _middle, right)) = behind_kernels(offloads) else { return };
        for family in 0..FAMILIES {
            let (own, to) = (US[family], RIGHT[family]);
            let listener = right.run(move || TcpListener::bind(at(to, 0)).expect("a listener"));
            let addr = listener.local_addr().expect("an address");
            let lowered = count(&us, "path_mtu_lowered");
            let near = us.tcp_connect(addr).expect("a connection");
            near.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let far = accept(&listener);
            carry(&near, &far, BYTES);
            carry(&far, &near, BYTES);
            assert_eq!(count(&us, "path_mtu_lowered"), lowered + 1, "{to}");
            let path = inet_of(&us).path_to(ip(to), None, None).expect("a path");
            assert_eq!((path.mtu, path.iface_mtu), (1_280, 1_500), "{to}");
            sees_1280(&right, own);
            let receiver = right.run(move || UdpSocket::bind(at(to, 0)).expect("a socket"));
            let addr = receiver.local_addr().expect("an address");
            let sender = us.udp_bind(at(own, 0)).expect("a socket");
            datagram_crosses(|data| drop(sender.send_to(data, addr)), &receiver);
        }
    }
}
