//! Neighbours, ours and the kernel's, through all states of RFC 4861 §7.3.2, and first hops that
//! either tells the other of.

use std::net::UdpSocket;
use std::time::Duration;

use libnet::IfIndex;
use libnetinet::snapshot::NeighbourState;
use nix::sys::socket::{setsockopt, sockopt};
use rumpnet::virtif::VirtifConfig;
use rumpnet::{Forwarding, InetConfig, InterfaceSpec, Stack};
use rumpnet_tests::linux::{
    FAMILIES, Namespace, PATIENCE, at, count, inet_of, ip, link_local_of, until,
};

const KERNEL: [&str; FAMILIES] = ["10.1.0.1", "fd01::1"];
/// The kernel's too, which it gives up.
const KERNEL_TOO: [&str; FAMILIES] = ["10.1.0.3", "fd01::3"];
const US: [&str; FAMILIES] = ["10.1.0.2", "fd01::2"];
/// The stack's interface beside `lo0`.
const TAP: IfIndex = IfIndex(2);

/// A kernel and a stack on a tap, both quick to doubt.
fn doubters() -> Option<(Namespace, Stack)> {
    let [kernel] = Namespace::some()?;
    let device = kernel.tap("wire0", &VirtifConfig::default(), &["10.1.0.1/24", "fd01::1/64"])?;
    for too in ["10.1.0.3/24", "fd01::3/64"] {
        kernel.address("wire0", too);
    }
    for family in ["ipv4", "ipv6"] {
        for (variable, value) in [
            ("base_reachable_time_ms", "3000"),
            ("delay_first_probe_time", "1"),
            ("retrans_time_ms", "300"),
        ] {
            kernel.set(&format!("{family}/neigh/wire0/{variable}"), value);
        }
    }
    let mut config = InetConfig::default();
    config.arp.reachable = Duration::from_millis(400);
    config.arp.delay = Duration::from_millis(300);
    config.arp.retransmit = Duration::from_millis(300);
    let interface = device.addr("10.1.0.2/24").addr("fd01::2/64");
    Some((kernel, Stack::builder().interface(interface).config(config).start().expect("it starts")))
}

/// The state in which the kernel has a neighbour.
fn kernels(kernel: &Namespace, addr: &str) -> String {
    let said = kernel.ip(&format!("neigh show {addr} dev wire0"));
    said.split_whitespace().last().unwrap_or("none").to_owned()
}

/// The state in which we have one.
fn ours(stack: &Stack, addr: &str) -> String {
    let all = inet_of(stack).neighbours();
    let Some(found) = all.iter().find(|entry| entry.addr == ip(addr)) else { return "none".into() };
    match found.state {
        NeighbourState::Reachable if found.stale => "STALE".into(),
        state => format!("{state:?}").to_uppercase(),
    }
}

/// Sees a neighbour in these states, one after the other, while `act` is done again and again.
fn passes(whose: &str, wanted: &[&str], mut look: impl FnMut() -> String, mut act: impl FnMut()) {
    for state in wanted {
        until(whose, || {
            act();
            let seen = look();
            if seen == *state { Ok(()) } else { Err(format!("{seen}, not {state}")) }
        });
    }
}

#[test]
fn the_kernel_has_us_in_every_state_until_we_do_not_answer() {
    let Some((kernel, us)) = doubters() else { return };
    for (own, other) in US.into_iter().zip(KERNEL) {
        let socket = kernel.run(move || UdpSocket::bind(at(other, 0)).expect("a socket"));
        // Nobody is there: what comes back is an error, which the next send takes.
        let talk = || drop(socket.send_to(b"are you there?", at(own, 9)));
        let look = || kernels(&kernel, own);
        passes(own, &["REACHABLE"], look, talk);
        passes(own, &["STALE"], look, || {});
        passes(own, &["DELAY", "REACHABLE"], look, talk);
        inet_of(&us).remove_address(TAP, ip(own)).expect("it was there");
        passes(own, &["PROBE"], look, talk);
        passes(own, &["FAILED"], look, || {});
    }
}

#[test]
fn we_have_the_kernel_in_every_state_until_it_does_not_answer() {
    let Some((kernel, us)) = doubters() else { return };
    for (family, (own, other)) in US.into_iter().zip(KERNEL_TOO).enumerate() {
        let socket = us.udp_bind(at(own, 0)).expect("a socket");
        let talk = || drop(socket.send_to(b"are you there?", at(other, 9)));
        let look = || ours(&us, other);
        passes(other, &["REACHABLE"], look, talk);
        // Over IPv6 that lasts as long as the RFC says: the kernel's own question makes it stale.
        let elsewhere = kernel.run(move || UdpSocket::bind(at(other, 0)).expect("a socket"));
        // To a socket: an error that we send in answer would use the entry.
        let to = socket.local_addr().expect("an address");
        let ask = || drop(elsewhere.send_to(b"are you?", to));
        if family == 0 {
            passes(other, &["STALE"], look, || {});
            passes(other, &["DELAY", "REACHABLE"], look, talk);
        } else {
            inet_of(&us).remove_neighbour(TAP, ip(other));
            kernel.set_up(&["neigh flush dev wire0"]);
            passes(other, &["STALE"], look, ask);
            passes(other, &["DELAY", "REACHABLE"], look, talk);
            inet_of(&us).remove_neighbour(TAP, ip(other));
            kernel.set_up(&["neigh flush dev wire0"]);
            passes(other, &["STALE"], look, ask);
        }
        kernel.set_up(&[&format!("addr del {other}/{} dev wire0", [24, 64][family])]);
        passes(other, &["PROBE"], look, talk);
        passes(other, &["FAILED"], look, || {});
    }
}

/// ```text
///  host ── wire ──┐
///                 ├── a bridge ── tap ── us
///  gateway ─ wire ┘
///     └ 10.6.0.1, fd06::1
/// ```
struct Segment {
    host: Namespace,
    gateway: Namespace,
    _bridge: Namespace,
}

const HOST: [&str; FAMILIES] = ["10.5.0.1", "fd05::1"];
const FAR: [&str; FAMILIES] = ["10.6.0.1", "fd06::1"];
/// The gateway; of IPv6 its link-local address, by which alone a redirect may tell of it.
const GATEWAY: [&str; FAMILIES] = ["10.5.0.3", "fe80::3"];

impl Segment {
    /// With a device for us.
    fn new() -> Option<(Segment, InterfaceSpec)> {
        let [host, gateway, bridge] = Namespace::some()?;
        bridge.set_up(&["link add br0 type bridge mcast_snooping 0", "link set br0 up"]);
        let device = bridge.tap("wire0", &VirtifConfig::default(), &[])?;
        // One link-local address each, by which they speak and are spoken of.
        for namespace in [&host, &gateway] {
            namespace.set("ipv6/conf/default/addr_gen_mode", "1");
        }
        bridge.wire("to_host", &host, "wire0", 1_500);
        bridge.wire("to_gateway", &gateway, "wire0", 1_500);
        for port in ["wire0", "to_host", "to_gateway"] {
            bridge.set_up(&[&format!("link set {port} master br0")]);
        }
        for addr in ["10.5.0.1/24", "fd05::1/64", "fe80::1/64"] {
            host.address("wire0", addr);
        }
        for addr in ["10.5.0.3/24", "fd05::3/64", "fe80::3/64"] {
            gateway.address("wire0", addr);
        }
        for addr in ["10.6.0.1/32", "fd06::1/128"] {
            gateway.address("lo", addr);
        }
        gateway.forward();
        let interface = device.addr("10.5.0.2/24").addr("fd05::2/64");
        Some((Segment { host, gateway, _bridge: bridge }, interface))
    }

    fn far(&self, family: usize) -> UdpSocket {
        let far = self.gateway.run(move || UdpSocket::bind(at(FAR[family], 0)).expect("a socket"));
        far.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        far
    }
}

#[test]
fn the_kernel_takes_our_redirects() {
    let Some((segment, interface)) = Segment::new() else { return };
    let us = Stack::builder().interface(interface.name("tap0")).forwarding(Forwarding::On);
    let us = us.route("10.6.0.0/24@10.5.0.3").route("fd06::/64@fe80::3%tap0");
    let us = us.start().expect("it starts");
    let ours = link_local_of(&us, "tap0");
    segment.host.set_up(&[
        "route add default via 10.5.0.2",
        &format!("-6 route add default via {ours} dev wire0"),
    ]);
    for family in 0..FAMILIES {
        let (far, own) = (segment.far(family), HOST[family]);
        let to = far.local_addr().expect("an address");
        let near = segment.host.run(move || UdpSocket::bind(at(own, 0)).expect("a socket"));
        // Over IPv6 the kernel listens for sockets that are bound to a device alone.
        setsockopt(&near, sockopt::BindToDevice, &"wire0".into()).expect("the device is there");
        until("the kernel's route", || {
            let forwarded = ["ip_forwarded", "ip6_forwarded"][family];
            let passed = count(&us, forwarded);
            near.send_to(b"by whom?", to).map_err(|error| error.to_string())?;
            let (_, from) = far.recv_from(&mut [0; 16]).map_err(|error| error.to_string())?;
            assert_eq!(from, near.local_addr().expect("an address"));
            let said = segment.host.ip(&format!("route get {}", FAR[family]));
            let is_redirected = said.contains(&format!("via {}", GATEWAY[family]));
            // By the gateway from then on: nothing passes us.
            let is_passed = count(&us, forwarded) > passed;
            if is_redirected && !is_passed { Ok(()) } else { Err(said) }
        });
    }
    assert!(count(&us, "redirects_out") >= 2);
}

#[test]
fn we_take_the_kernel_s_redirects() {
    let Some((segment, interface)) = Segment::new() else { return };
    segment.host.forward();
    for variable in ["ipv4/conf/all/send_redirects", "ipv4/conf/wire0/send_redirects"] {
        segment.host.set(variable, "1");
    }
    segment.host.set_up(&[
        "route add 10.6.0.0/24 via 10.5.0.3",
        "-6 route add fd06::/64 via fe80::3 dev wire0",
    ]);
    let interface = interface.name("tap0").gateway("10.5.0.1").gateway("fe80::1");
    let us = Stack::builder().interface(interface).start().expect("it starts");
    for family in 0..FAMILIES {
        let far = segment.far(family);
        let near = us.udp_bind(at(["10.5.0.2", "fd05::2"][family], 0)).expect("a socket");
        let to = far.local_addr().expect("an address");
        until("our route", || {
            near.send_to(b"by whom?", to).map_err(|error| error.to_string())?;
            far.recv_from(&mut [0; 16]).map_err(|error| error.to_string())?;
            let path = inet_of(&us).path_to(ip(FAR[family]), None, None);
            let gateway = path.map_err(|error| error.to_string())?.gateway;
            let wanted = Some(ip(GATEWAY[family]));
            if gateway == wanted { Ok(()) } else { Err(format!("{gateway:?}")) }
        });
    }
}
