//! Settings beside TCP's by their names, each by what it changes. `tests/conformance/sysctls.toml` lists
//! them.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

use bytes::Bytes;
use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::socket::{
    Domain, Family, GroupInterface, MulticastGroup, OptionKey, Protocol, SockType, SocketId,
    SocketOption,
};
use libnet::stats::DropReason;

use crate::arp::packet::{ArpPacket, Operation};
use crate::ipv4::header::Ipv4Header;
use crate::ipv6::fragment::fragment;
use crate::ipv6::header::Ipv6Header;
use crate::snapshot::NeighbourState;
use crate::testing::{Net, Node, STRANGER, at, errno, ip, ip_packet, is_arp, is_ip, mac};

fn set(node: &Node, name: &str, value: impl ToString) {
    node.inet.set_sysctl(name, &value.to_string()).expect("a setting takes the value");
}

/// A node with settings, some of which hold for what is made from then on alone.
fn node(net: &Net, n: u8, settings: &[(&str, u64)]) -> Node {
    net.node_with(n, |config| {
        for (name, value) in settings {
            config.set_sysctl(name, &value.to_string()).expect("a setting takes the value");
        }
    })
}

#[test]
fn rmem_max_and_wmem_max_bound_the_buffers_that_are_asked_for() {
    let net = Net::new();
    let a = net.node(1);
    for most in [5_000, 3_000_000] {
        set(&a, "net.core.rmem_max", most);
        set(&a, "net.core.wmem_max", most);
        for socket in [a.udp(), a.ping(), a.raw(Protocol(200)), a.tcp()] {
            a.inet.set_option(socket, SocketOption::ReceiveBufferBytes(1 << 30)).unwrap();
            let got = a.inet.get_option(socket, OptionKey::ReceiveBufferBytes).unwrap();
            assert_eq!(got, SocketOption::ReceiveBufferBytes(most));
        }
        let socket = a.tcp();
        a.inet.set_option(socket, SocketOption::SendBufferBytes(1 << 30)).unwrap();
        let got = a.inet.get_option(socket, OptionKey::SendBufferBytes).unwrap();
        assert_eq!(got, SocketOption::SendBufferBytes(most));
    }
}

#[test]
fn rmem_default_is_what_a_new_socket_holds() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    for (port, bytes, holds) in [(7, 5_000, 3), (8, 200_000, 10)] {
        set(&b, "net.core.rmem_default", bytes);
        let (client, server) = (a.udp(), b.udp_at(at(2, port)));
        set(&b, "net.core.rmem_default", 2_304);
        for _ in 0..10 {
            a.send_to(client, &[7; 1_000], at(2, port)).unwrap();
            net.run_ms(1);
        }
        let held = std::iter::from_fn(|| b.recv(server).ok()).count();
        assert_eq!(held, holds, "{bytes}");
    }
}

#[test]
fn somaxconn_bounds_the_queue_of_a_listener() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    for (port, most, waiting) in [(80, 1, 2), (81, 3, 4), (82, 4_096, 6)] {
        set(&b, "net.core.somaxconn", most);
        let listener = b.listener(port);
        for _ in 0..6 {
            let _ = a.inet.connect(a.tcp(), at(2, port));
            net.run_ms(10);
        }
        let accepted = std::iter::from_fn(|| b.inet.accept(listener).ok()).count();
        assert_eq!(accepted, waiting, "one more than the backlog, as on Linux");
    }
}

/// How many errors come for `n` datagrams to a closed port, one in a millisecond.
fn icmp_errors(settings: &[(&str, u64)], n: usize) -> usize {
    let net = Net::new();
    let (a, b) = (net.node(1), node(&net, 2, settings));
    let socket = a.udp();
    for _ in 0..n {
        a.send_to(socket, b"x", at(2, 9)).unwrap();
        net.run_ms(1);
    }
    drop(b);
    net.frames().iter().filter(|frame| is_ip(frame, Protocol::ICMP) && frame[34] == 3).count()
}

#[test]
fn icmp_ratelimit_is_between_errors_to_one_host_behind_its_burst() {
    for (limit, errors) in [(1_000, 6..=6), (10, 8..=10), (0, 40..=40)] {
        let got = icmp_errors(&[("net.ipv4.icmp_ratelimit", limit)], 40);
        assert!(errors.contains(&got), "{limit}: {got}");
    }
}

#[test]
fn icmp_msgs_burst_is_what_all_hosts_get_at_once() {
    for (burst, errors) in [(1, 1), (10, 10)] {
        let got = icmp_errors(
            &[
                ("net.ipv4.icmp_ratelimit", 0),
                ("net.ipv4.icmp_msgs_per_sec", 1),
                ("net.ipv4.icmp_msgs_burst", burst),
            ],
            30,
        );
        assert_eq!(got, errors);
    }
}

#[test]
fn icmp_msgs_per_sec_is_what_all_hosts_get_in_the_long_run() {
    for (rate, errors) in [(20, 6..=7), (100, 30..=32)] {
        let got = icmp_errors(
            &[
                ("net.ipv4.icmp_ratelimit", 0),
                ("net.ipv4.icmp_msgs_burst", 1),
                ("net.ipv4.icmp_msgs_per_sec", rate),
            ],
            300,
        );
        assert!(errors.contains(&got), "{rate}: {got}");
    }
}

#[test]
fn icmp_ratemask_is_for_what_the_bounds_of_icmp_hold() {
    for (mask, errors, echoes) in [(6_168, 6, 40), (0, 40, 40), (1 << 3, 6, 40), (1, 40, 6)] {
        assert_eq!(icmp_errors(&[("net.ipv4.icmp_ratemask", mask)], 40), errors, "{mask}");
        let net = Net::new();
        let (a, b) = (net.node(1), net.node(2));
        set(&b, "net.ipv4.icmp_ratemask", mask);
        let ping = a.ping();
        for _ in 0..40 {
            a.send_to(ping, &[8, 0, 0, 0, 0, 0, 0, 1], at(2, 0)).unwrap();
            net.run_ms(1);
        }
        let answers = std::iter::from_fn(|| a.recv(ping).ok()).count();
        assert_eq!(answers, echoes, "{mask}");
    }
}

#[test]
fn echo_requests_to_many_are_answered_where_they_are_not_ignored() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    for (node, addr) in [(&a, "fd00::1/64"), (&b, "fd00::2/64")] {
        node.inet.add_address(IfIndex(2), addr.parse().unwrap()).unwrap();
    }
    net.run_ms(3_000);
    let ping = a.ping();
    a.inet.set_option(ping, SocketOption::Broadcast(true)).unwrap();
    let ping6 = a.inet.socket(Family::Inet6, SockType::Datagram, Protocol::ICMPV6).unwrap();
    let all_nodes = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, 2).into();
    for (socket, ty, to, name) in [
        (ping, 8, at(255, 0), "net.ipv4.icmp_echo_ignore_broadcasts"),
        (ping6, 128, all_nodes, "net.ipv6.icmp.echo_ignore_multicast"),
    ] {
        for ignored in [1, 0] {
            set(&b, name, ignored);
            // It would answer itself, too.
            set(&a, name, 1);
            a.send_to(socket, &[ty, 0, 0, 0, 0, 0, 0, 1], to).unwrap();
            net.run_ms(50);
            assert_eq!(a.recv(socket).is_ok(), ignored == 0, "{name} = {ignored}");
        }
    }
}

/// A socket that is connected to node 2, and the path there.
fn path(net: &Net, a: &Node) -> (SocketId, impl Fn() -> u32) {
    let socket = a.udp();
    a.inet.connect(socket, at(2, 7)).unwrap();
    net.run_ms(1);
    (socket, || a.inet.path_to(ip(2).into(), None, None).unwrap().mtu)
}

#[test]
fn min_pmtu_is_the_least_that_a_router_is_believed() {
    for (least, learned) in [(68, 300), (552, 552), (1_200, 1_200)] {
        let net = Net::new();
        let (a, _b) = (net.node(1), net.node(2));
        set(&a, "net.ipv4.route.min_pmtu", least);
        let (socket, mtu) = path(&net, &a);
        a.send(socket, &[7; 1_400]).unwrap();
        net.run_ms(10);
        net.say_too_big(&a, 300);
        assert_eq!(mtu(), learned);
    }
}

#[test]
fn mtu_expires_is_how_long_a_router_is_believed() {
    for name in ["net.ipv4.route.mtu_expires", "net.ipv6.route.mtu_expires"] {
        for seconds in [3, 600] {
            let net = Net::new();
            let (a, _b) = (net.node(1), net.node(2));
            set(&a, name, seconds);
            let (socket, mtu) = path(&net, &a);
            a.send(socket, &[7; 1_400]).unwrap();
            net.run_ms(10);
            net.say_too_big(&a, 1_000);
            net.run_ms(1_000 * seconds - 100);
            assert_eq!(mtu(), 1_000);
            net.run_ms(200);
            assert_eq!(mtu(), 1_500);
        }
    }
}

#[test]
fn ip_no_pmtu_disc_is_who_is_believed_of_a_path_and_whether_packets_forbid_fragments() {
    for (no_discovery, forbids, of_udp, of_tcp) in [
        (0, true, 1_000, 1_000),
        (1, false, 552, 552),
        (2, false, 1_500, 1_500),
        (3, false, 1_500, 1_000),
    ] {
        for (protocol, learned) in [(Protocol::UDP, of_udp), (Protocol::TCP, of_tcp)] {
            let net = Net::new();
            let (a, b) = (net.node(1), net.node(2));
            set(&a, "net.ipv4.ip_no_pmtu_disc", no_discovery);
            b.listener(7);
            b.udp_at(at(2, 7));
            let socket = if protocol == Protocol::TCP { a.tcp() } else { a.udp() };
            let _ = a.inet.connect(socket, at(2, 7));
            net.run_ms(10);
            a.send(socket, b"x").unwrap();
            net.run_ms(300);
            // What is under way is what a router may speak of.
            let iface = b.inet.engine().interface(IfIndex(2)).unwrap();
            iface.reconfigure(|config| config.up = false);
            net.frames();
            a.send(socket, &[7; 1_400]).unwrap();
            net.run_ms(10);
            net.say_too_big_of(protocol, &a, 1_000);
            let mtu = a.inet.path_to(ip(2).into(), None, None).unwrap().mtu;
            assert_eq!(mtu, learned, "{no_discovery} {protocol:?}");
            let ignored = a.dropped(DropReason::IcmpIgnored);
            assert_eq!(ignored, u64::from(learned == 1_500));
            // A datagram socket is told first.
            let _ = a.send(socket, &[7; 100]);
            let _ = a.send(socket, &[7; 100]);
            net.run_ms(2_000);
            let frames = net.frames();
            let ours = |f: &&Bytes| is_ip(f, protocol) && f[6..12] == mac(1).0;
            let last = frames.iter().rfind(ours).unwrap();
            assert_eq!(last[20] & 0x40 != 0, forbids, "{no_discovery} {protocol:?}");
        }
    }
}

/// The first of two fragments from node 1 arrives at `to`, as the `ident`th datagram.
fn half_a_datagram(net: &Net, to: &Node, ident: u16) {
    let mut packet = Packet::from_payload(Bytes::from_static(&[7; 1_400]));
    let mut header = Ipv4Header::new(ip(1), ip(2), Protocol::UDP);
    (header.more_fragments, header.ident) = (true, ident);
    header.prepend_to(&mut packet);
    net.inject_ip(to, packet);
}

#[test]
fn ipfrag_time_is_how_long_fragments_of_ipv4_wait() {
    for seconds in [2, 30] {
        let net = Net::new();
        let b = net.node(2);
        set(&b, "net.ipv4.ipfrag_time", seconds);
        set(&b, "net.ipv6.ip6frag_time", 1);
        half_a_datagram(&net, &b, 1);
        net.run_ms(1_000 * seconds - 100);
        assert_eq!(b.dropped(DropReason::FragmentTimeout), 0);
        net.run_ms(200);
        assert_eq!(b.dropped(DropReason::FragmentTimeout), 1);
    }
}

#[test]
fn ip6frag_time_is_how_long_fragments_of_ipv6_wait() {
    for seconds in [2, 60] {
        let net = Net::new();
        let b = net.node(2);
        let addr = "fd00::2/64".parse().unwrap();
        b.inet.add_address(IfIndex(2), addr).unwrap();
        set(&b, "net.ipv6.ip6frag_time", seconds);
        set(&b, "net.ipv4.ipfrag_time", 1);
        let (src, dst) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let mut whole = Packet::from_payload(Bytes::from_static(&[7; 2_000]));
        Ipv6Header::new(src, dst, Protocol::UDP).prepend_to(&mut whole);
        let mut first = true;
        fragment(&whole, 1_280, 1, |piece| {
            if std::mem::take(&mut first) {
                net.inject_six(&b, piece);
            }
        });
        net.run_ms(1_000 * seconds - 100);
        assert_eq!(b.dropped(DropReason::FragmentTimeout), 0);
        net.run_ms(200);
        assert_eq!(b.dropped(DropReason::FragmentTimeout), 1);
    }
}

#[test]
fn ipfrag_high_thresh_and_ip6frag_high_thresh_bound_the_memory_for_fragments() {
    for name in ["net.ipv4.ipfrag_high_thresh", "net.ipv6.ip6frag_high_thresh"] {
        let dropped = [131_072, 262_144, 4 << 20].map(|bytes| {
            let net = Net::new();
            let b = net.node(2);
            set(&b, name, bytes);
            for ident in 0..200 {
                half_a_datagram(&net, &b, ident);
            }
            b.dropped(DropReason::FragmentMemory)
        });
        assert!(dropped[0] > dropped[1] && dropped[1] > dropped[2], "{dropped:?}");
        assert_eq!(dropped[2], 0);
        assert!((200 - dropped[0]) * 1_400 <= 131_072, "{dropped:?}");
    }
}

/// Neighbours are in one table, under the names of both families.
fn of_both(setting: &str) -> [String; 2] {
    ["ipv4", "ipv6"].map(|family| format!("net.{family}.neigh.default.{setting}"))
}

fn questions(net: &Net) -> Vec<(u64, MacAddr)> {
    let asked = net.take().into_iter().filter(|(_, frame)| is_arp(frame) && frame[21] == 1);
    asked.map(|(at, frame)| (at.as_millis(), MacAddr(frame[..6].try_into().unwrap()))).collect()
}

fn state_of(node: &Node, n: u8) -> Option<(NeighbourState, Option<MacAddr>)> {
    let all = node.inet.neighbours();
    all.iter().find(|entry| entry.addr == ip(n)).map(|entry| (entry.state, entry.mac))
}

#[test]
fn mcast_solicit_and_retrans_time_ms_are_how_often_and_when_a_neighbour_is_asked_for() {
    for (count, between) in of_both("mcast_solicit").iter().zip(&of_both("retrans_time_ms")) {
        for (times, ms) in [(1, 1_000), (5, 300)] {
            let net = Net::new();
            let a = node(&net, 1, &[(count, times), (between, ms)]);
            a.send_to(a.udp(), b"x", at(9, 7)).unwrap();
            net.run_ms(10_000);
            let asked: Vec<u64> = questions(&net).into_iter().map(|(at, _)| at).collect();
            assert_eq!(asked, (0..times).map(|n| n * ms).collect::<Vec<_>>());
        }
    }
}

#[test]
fn unres_qlen_and_unres_qlen_bytes_bound_what_waits_for_a_neighbour() {
    for (packets, bytes) in of_both("unres_qlen").iter().zip(&of_both("unres_qlen_bytes")) {
        for (most, most_bytes, dropped) in [(3, 1 << 20, 7), (1_024, 5_000, 6), (1_024, 1 << 20, 0)]
        {
            let net = Net::new();
            let a = node(&net, 1, &[(packets, most), (bytes, most_bytes)]);
            let socket = a.udp();
            for _ in 0..10 {
                a.send_to(socket, &[7; 1_000], at(9, 7)).unwrap();
            }
            assert_eq!(a.dropped(DropReason::NeighbourQueueFull), dropped);
        }
    }
}

#[test]
fn gc_thresh3_bounds_the_neighbours() {
    for name in of_both("gc_thresh3") {
        for most in [2, 4, 1_024] {
            let net = Net::new();
            let a = node(&net, 1, &[(&name, most)]);
            let others: Vec<Node> = (2..=6).map(|n| net.node(n)).collect();
            let socket = a.udp();
            for n in 2..=6 {
                a.send_to(socket, b"x", at(n, 7)).unwrap();
                net.run_ms(10);
            }
            assert_eq!(a.inet.neighbours().len() as u64, most.min(5));
            drop(others);
        }
    }
}

#[test]
fn gc_stale_time_is_how_long_a_neighbour_is_kept_unused() {
    for name in of_both("gc_stale_time") {
        for seconds in [10, 100] {
            let net = Net::new();
            let (a, _b) = (node(&net, 1, &[(&name, seconds)]), net.node(2));
            a.send_to(a.udp(), b"x", at(2, 7)).unwrap();
            net.run_ms(1_000 * seconds - 100);
            assert!(state_of(&a, 2).is_some());
            net.run_ms(1_000);
            assert_eq!(state_of(&a, 2), None);
        }
    }
}

#[test]
fn locktime_is_how_long_an_answer_shields_a_neighbour_from_another() {
    for name in of_both("locktime") {
        for (hundredths, after_ms, moved) in [(0, 1, true), (100, 900, false), (300, 2_900, false)]
        {
            let net = Net::new();
            let (a, _b) = (node(&net, 1, &[(&name, hundredths)]), net.node(2));
            let answer = || {
                let arp = ArpPacket {
                    operation: Operation::Reply,
                    sender_mac: STRANGER,
                    sender: ip(2),
                    target_mac: a.mac,
                    target: ip(1),
                };
                net.inject(arp.to_frame(a.mac));
                state_of(&a, 2).unwrap().1 == Some(STRANGER)
            };
            a.send_to(a.udp(), b"x", at(2, 7)).unwrap();
            net.run_ms(after_ms);
            assert_eq!(answer(), moved, "{hundredths}");
            net.run_ms(200);
            assert!(answer(), "{hundredths}");
        }
    }
}

#[test]
fn a_neighbour_is_checked_when_and_as_often_as_its_settings_say() {
    let names = ["base_reachable_time_ms", "delay_first_probe_time", "ucast_solicit"].map(of_both);
    for family in 0..2 {
        let [reachable, delay, unicast] = names.each_ref().map(|both| both[family].as_str());
        for (reachable_ms, delay_s, times) in
            [(1_000, 2, 2), (1_000, 5, 1), (1_000, 1, 0), (500_000, 2, 2)]
        {
            let settings = [(reachable, reachable_ms), (delay, delay_s), (unicast, times)];
            let net = Net::new();
            let (a, b) = (node(&net, 1, &settings), net.node(2));
            let socket = a.udp();
            a.send_to(socket, b"x", at(2, 7)).unwrap();
            // Half as much again at most (RFC 4861 §6.3.2).
            net.run_ms(2_000);
            drop(b);
            net.take();
            a.send_to(socket, b"x", at(2, 7)).unwrap();
            net.run_ms(10_000);
            let times = if reachable_ms > 10_000 { 0 } else { times };
            let due: Vec<_> = (0..times).map(|n| (2_000 + 1_000 * (delay_s + n), mac(2))).collect();
            assert_eq!(questions(&net), due);
            let given_up = state_of(&a, 2).unwrap().0 == NeighbourState::Failed;
            assert_eq!(given_up, reachable_ms < 10_000);
        }
    }
}

/// Is a datagram to node 3, by node 1, passed on?
fn passes_on(net: &Net, a: &Node, six: bool) -> bool {
    net.take();
    if six {
        let mut packet = Packet::from_payload(Bytes::from_static(&[7; 100]));
        let (src, dst) = ("fd00::9".parse().unwrap(), "fd00::3".parse().unwrap());
        Ipv6Header::new(src, dst, Protocol(200)).prepend_to(&mut packet);
        net.inject_six(a, packet);
    } else {
        net.inject_ip(a, ip_packet(ip(9), ip(3), Protocol(200), &[7; 100]));
    }
    net.run_ms(20);
    let protocol_at = if six { 20 } else { 23 };
    net.frames().iter().any(|frame| frame[..6] == mac(3).0 && frame[protocol_at] == 200)
}

#[test]
fn forwarding_of_all_of_one_and_of_those_to_come_passes_packets_on() {
    for (six, family) in [(false, "ipv4"), (true, "ipv6")] {
        let net = Net::new();
        let of = |which: &str| format!("net.{family}.conf.{which}.forwarding");
        let (a, b) = (net.node(1), net.node(3));
        for (node, addr) in [(&a, "fd00::1/64"), (&b, "fd00::3/64")] {
            node.inet.add_address(IfIndex(2), addr.parse().unwrap()).unwrap();
        }
        net.run_ms(3_000);
        let one = of(&a.inet.engine().interface(IfIndex(2)).unwrap().name);
        assert!(!passes_on(&net, &a, six));
        let all = of("all");
        for (name, value) in [(&all, 1), (&one, 0), (&one, 1), (&all, 0)] {
            set(&a, name, value);
            assert_eq!(passes_on(&net, &a, six), value == 1, "{name} = {value}");
        }
        if !six {
            set(&a, "net.ipv4.ip_forward", 1);
            assert!(passes_on(&net, &a, six));
        }
        drop(a);
        let a = node(&net, 1, &[(&of("default"), 1)]);
        a.inet.add_address(IfIndex(2), "fd00::1/64".parse().unwrap()).unwrap();
        net.run_ms(3_000);
        assert!(passes_on(&net, &a, six), "it was added since");
    }
}

#[test]
fn igmp_qrv_and_mld_qrv_are_how_often_a_change_of_groups_is_told() {
    for times in [1, 2, 5] {
        let net = Net::new();
        let a = node(&net, 1, &[("net.ipv4.igmp_qrv", 3), ("net.ipv6.mld_qrv", times + 1)]);
        a.inet.add_address(IfIndex(2), "fe80::1/64".parse().unwrap()).unwrap();
        // It counts at once.
        set(&a, "net.ipv4.igmp_qrv", times);
        net.run_ms(30_000);
        net.frames();
        let six_socket =
            a.inet.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT).unwrap();
        let (four, six) = ([239, 1, 2, 3], "ff05::7".parse::<Ipv6Addr>().unwrap().octets());
        for (socket, group) in [(a.udp(), IpAddr::from(four)), (six_socket, IpAddr::from(six))] {
            let group = MulticastGroup { group, interface: GroupInterface::Index(2) };
            a.inet.set_option(socket, SocketOption::JoinGroup(group)).unwrap();
        }
        net.run_ms(60_000);
        let frames = net.frames();
        let told = |ethertype: [u8; 2], group: &[u8]| {
            let names_it = |f: &&Bytes| {
                f[12..14] == ethertype && f[38..].windows(group.len()).any(|bytes| bytes == group)
            };
            frames.iter().filter(names_it).count() as u64
        };
        assert_eq!(told([8, 0], &four), times);
        // Their frames are longer: headers end, and records begin, later.
        assert_eq!(told([0x86, 0xdd], &six), times + 1);
    }
}

#[test]
fn ip_local_reserved_ports_are_given_to_nobody_who_does_not_ask_for_them() {
    let net = Net::new();
    let (a, b) = (net.node(1), net.node(2));
    b.listener(80);
    set(&a, "net.ipv4.ip_local_port_range", "5000 5009");
    set(&a, "net.ipv4.ip_local_reserved_ports", "5000-5003,5005,5007-5009,80");
    // Two are left.
    let ports = |sockets: [SocketId; 2]| {
        let mut ports = sockets.map(|socket| a.inet.local_addr(socket).unwrap().port());
        ports.sort_unstable();
        ports
    };
    assert_eq!(ports([a.udp_at(at(1, 0)), a.udp_at(at(1, 0))]), [5004, 5006]);
    assert_eq!(errno(a.inet.bind(a.udp(), at(1, 0))), IN_USE);
    let connect = || {
        let socket = a.tcp();
        let _ = a.inet.connect(socket, at(2, 80));
        socket
    };
    assert_eq!(ports([connect(), connect()]), [5004, 5006]);
    assert_eq!(errno(a.inet.connect(a.tcp(), at(2, 80))), NOT_AVAILABLE);
    let bound = || {
        let socket = a.tcp();
        a.inet.bind(socket, at(1, 0)).map(|()| socket)
    };
    set(&a, "net.ipv4.ip_local_reserved_ports", "5000-5006,5008");
    assert_eq!(ports([bound().unwrap(), bound().unwrap()]), [5007, 5009]);
    assert_eq!(errno(bound()), IN_USE);
    // Who asks gets it.
    a.udp_at(at(1, 5000));
    a.listener(5001);
    set(&a, "net.ipv4.ip_local_reserved_ports", "");
    assert!(bound().is_ok());
}

/// `EADDRINUSE`, `EADDRNOTAVAIL`.
const IN_USE: i32 = 98;
const NOT_AVAILABLE: i32 = 99;
