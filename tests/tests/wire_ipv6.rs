//! IPv6 as a station on the wire sees it (RFC 8200, RFC 5722, RFC 6946, RFC 7112, RFC 2464).

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use libnet::net::UdpSocket;
use libnet::socket::{MtuDiscovery, OptionKey, SocketOption};
use libnet::{DropReason, MacAddr};
use libnetinet::InetConfig;
use rumpnet_tests::station::{FAR6, PEER_MAC, PEER6, Rig, US_MAC, US6, echo6_packet};
use rumpnet_tests::wire::six::{
    DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMPV6, IPV6, Ip6, NO_NEXT_HEADER, ROUTING,
    fragment, options, routing,
};
use rumpnet_tests::wire::{Icmp, UDP, Udp, frame};

fn socket(rig: &Rig) -> UdpSocket {
    rig.stack.udp_bind((US6, 5_000)).expect("a free port")
}

/// Type, code and number of the errors that a packet is answered with.
fn complaints(rig: &Rig, ip: &Ip6) -> Vec<(u8, u8, u32)> {
    rig.say_ip6(ip);
    rig.hear_icmp6().iter().map(|icmp| (icmp.ty, icmp.code, icmp.number())).collect()
}

/// An echo request of `len` bytes cut at these places, which are multiples of eight.
fn pieces(cuts: &[usize], len: usize, ident: u32) -> Vec<Ip6> {
    let data: Vec<u8> = (0..len - 8).map(|i| (i * 7) as u8).collect();
    let whole = Icmp::echo6(7, 1, &data).packet6(PEER6, US6);
    let mut edges = vec![0];
    edges.extend(cuts);
    edges.push(len);
    edges
        .windows(2)
        .map(|edge| {
            let piece = Ip6 { data: whole.data[edge[0]..edge[1]].to_vec(), ..whole.clone() };
            piece.behind(FRAGMENT, fragment(edge[0] as u16, edge[1] < len, ident))
        })
        .collect()
}

/// Are these pieces put together to an echo request?
fn answered<'a>(rig: &Rig, pieces: impl IntoIterator<Item = &'a Ip6>) -> bool {
    pieces.into_iter().for_each(|piece| rig.say_ip6(piece));
    rig.hear_ip6().iter().any(|ip| match ip.next {
        // A long answer is cut too.
        FRAGMENT => ip.data[0] == ICMPV6,
        _ => ip.icmp().is_some_and(|icmp| icmp.ty == 129),
    })
}

#[test]
fn an_undamaged_request_is_answered() {
    let rig = Rig::six();
    assert!(rig.answers6(&echo6_packet()));
}

#[test]
fn another_version_or_a_length_past_the_end_is_discarded_silently() {
    let rig = Rig::six();
    for version in [0u8, 4, 5, 15] {
        let mut bytes = echo6_packet().bytes();
        bytes[0] = version << 4;
        rig.say(&frame(US_MAC, PEER_MAC, IPV6, &bytes));
    }
    let mut bytes = echo6_packet().bytes();
    bytes[5] += 1;
    rig.say(&frame(US_MAC, PEER_MAC, IPV6, &bytes));
    assert!(rig.hear_icmp6().is_empty());
}

#[test]
fn headers_are_taken_in_any_order_and_number() {
    let rig = Rig::six();
    let mut ip = echo6_packet();
    for (kind, header) in [
        (DESTINATION_OPTIONS, options(&[0x1e, 2, 9, 9])),
        (ROUTING, routing(0, 0)),
        (DESTINATION_OPTIONS, options(&[])),
        (ROUTING, routing(253, 0)),
        (DESTINATION_OPTIONS, options(&[1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        (HOP_BY_HOP, options(&[5, 2, 0, 0])),
    ] {
        ip = ip.behind(kind, header);
        assert!(rig.answers6(&ip), "up to a header of type {kind}");
    }
}

#[test]
fn an_unknown_next_header_is_told_where_it_is_named() {
    let rig = Rig::six();
    let unknown = Ip6::new(PEER6, US6, 253, vec![1; 24]);
    assert_eq!(complaints(&rig, &unknown), [(4, 1, 6)]);
    let behind = unknown.behind(DESTINATION_OPTIONS, options(&[]));
    assert_eq!(complaints(&rig, &behind), [(4, 1, 40)]);
}

#[test]
fn hop_by_hop_options_behind_another_header_are_an_unknown_next_header() {
    let rig = Rig::six();
    let late =
        echo6_packet().behind(HOP_BY_HOP, options(&[])).behind(DESTINATION_OPTIONS, options(&[]));
    assert_eq!(complaints(&rig, &late), [(4, 1, 40)]);
}

#[test]
fn unknown_options_do_what_their_high_bits_say() {
    let rig = Rig::six();
    for kind in [HOP_BY_HOP, DESTINATION_OPTIONS] {
        let with = |option: u8| echo6_packet().behind(kind, options(&[0, option, 1, 0]));
        assert!(rig.answers6(&with(0x1e)), "skipped");
        assert_eq!(complaints(&rig, &with(0x5e)), [], "discarded");
        assert_eq!(complaints(&rig, &with(0x9e)), [(4, 2, 43)], "discarded and told");
        assert_eq!(complaints(&rig, &with(0xde)), [(4, 2, 43)], "the same to one host");
    }
}

#[test]
fn an_unknown_option_sent_to_many_is_told_if_its_bits_say_so() {
    let rig = Rig::six();
    let all: Ipv6Addr = "ff02::1".parse().expect("an address");
    let said = |option: u8| {
        let echo = Icmp::echo6(7, 1, b"x").packet6(PEER6, all);
        let ip = echo.behind(DESTINATION_OPTIONS, options(&[0, option, 1, 0]));
        rig.say(&frame(MacAddr([0x33, 0x33, 0, 0, 0, 1]), PEER_MAC, IPV6, &ip.bytes()));
        rig.hear_icmp6().iter().map(|icmp| (icmp.ty, icmp.code)).collect::<Vec<_>>()
    };
    assert_eq!(said(0x9e), [(4, 2)]);
    assert_eq!(said(0xde), []);
    assert_eq!(said(0x5e), []);
}

#[test]
fn a_routing_header_that_goes_on_is_refused_at_its_type() {
    let rig = Rig::six();
    for kind in [0, 2, 4, 253] {
        let ip = echo6_packet().behind(ROUTING, routing(kind, 1));
        assert_eq!(complaints(&rig, &ip), [(4, 0, 42)], "type {kind}");
    }
}

#[test]
fn what_follows_no_next_header_is_ignored() {
    let rig = Rig::six();
    let ip = Ip6::new(PEER6, US6, NO_NEXT_HEADER, echo6_packet().data);
    assert_eq!(complaints(&rig, &ip), []);
}

#[test]
fn a_chain_longer_than_the_limit_is_dropped_and_counted() {
    let mut config = InetConfig::default();
    config.ipv6.extension_headers = 2;
    let rig = Rig::six_with(config);
    let mut ip = echo6_packet();
    for _ in 0..2 {
        ip = ip.behind(DESTINATION_OPTIONS, options(&[]));
        assert!(rig.answers6(&ip));
    }
    assert!(!rig.answers6(&ip.behind(DESTINATION_OPTIONS, options(&[]))));
    assert_eq!(rig.inet.drops().get(DropReason::IpExtensionLimit), 1);
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let rig = Rig::six();
    let all = pieces(&[8, 400, 1200], 1_460, 1);
    assert!(answered(&rig, &all));
    let all = pieces(&[8, 400, 1200], 1_460, 2);
    assert!(answered(&rig, all.iter().rev()));
    let long = pieces(&[16_000, 32_000, 48_000, 64_000], 65_535, 3);
    assert!(answered(&rig, &long), "to the longest payload");
}

#[test]
fn a_fragment_that_comes_twice_does_no_harm() {
    let rig = Rig::six();
    let all = pieces(&[400, 800], 1_000, 1);
    assert!(answered(&rig, [&all[0], &all[0], &all[2], &all[1]]));
}

#[test]
fn fragments_that_overlap_end_the_whole_packet_silently() {
    let rig = Rig::six();
    let (a, b) = (pieces(&[400], 1_000, 1), pieces(&[392], 1_000, 1));
    assert!(!answered(&rig, [&a[0], &b[1], &a[1]]), "the same bytes, but not the same fragment");
    rig.run(Duration::from_secs(120));
    assert!(rig.hear_icmp6().is_empty());
    assert!(rig.inet.drops().get(DropReason::FragmentOverlap) > 0);
}

#[test]
fn a_fragment_whose_length_is_no_multiple_of_eight_is_told() {
    let rig = Rig::six();
    let mut piece = pieces(&[400], 1_000, 1).remove(0);
    piece.data.pop();
    assert_eq!(complaints(&rig, &piece), [(4, 0, 4)], "at the payload length");
}

#[test]
fn a_fragment_past_the_longest_packet_is_told() {
    let rig = Rig::six();
    let echo = Ip6 { data: vec![0; 16], ..echo6_packet() };
    let late = echo.behind(FRAGMENT, fragment(65_528, false, 1));
    assert_eq!(complaints(&rig, &late), [(4, 0, 42)], "at the fragment offset");
}

#[test]
fn a_first_fragment_without_all_headers_is_told() {
    let rig = Rig::six();
    let cut = |next: u8, bytes: usize| {
        let ip = Ip6::new(PEER6, US6, next, vec![DESTINATION_OPTIONS; bytes]);
        ip.behind(FRAGMENT, fragment(0, true, bytes as u32))
    };
    // A TCP header in part, and options whose end is elsewhere.
    assert_eq!(complaints(&rig, &cut(6, 16)), [(4, 3, 0)]);
    assert_eq!(complaints(&rig, &cut(DESTINATION_OPTIONS, 8)), [(4, 3, 0)]);
}

#[test]
fn an_atomic_fragment_is_whole_whatever_waits() {
    let rig = Rig::six();
    rig.say_ip6(&pieces(&[400], 1_000, 9)[0]);
    let atomic = echo6_packet().behind(FRAGMENT, fragment(0, false, 9));
    assert!(rig.answers6(&atomic));
    assert!(answered(&rig, &pieces(&[400], 1_000, 9)[1..]), "the others were not touched");
}

#[test]
fn a_fragment_within_a_fragment_is_dropped() {
    let rig = Rig::six();
    let twice = echo6_packet()
        .behind(FRAGMENT, fragment(0, false, 1))
        .behind(FRAGMENT, fragment(0, false, 2));
    assert!(!rig.answers6(&twice));
    assert_eq!(rig.inet.drops().get(DropReason::IpExtensionLimit), 1);
}

#[test]
fn headers_on_both_sides_of_the_fragment_header_are_heeded() {
    let rig = Rig::six();
    let inner = echo6_packet().behind(DESTINATION_OPTIONS, options(&[]));
    let cut = |range: std::ops::Range<usize>, offset: u16, more: bool| {
        let piece = Ip6 { data: inner.data[range].to_vec(), ..inner.clone() };
        piece.behind(FRAGMENT, fragment(offset, more, 5)).behind(HOP_BY_HOP, options(&[]))
    };
    let end = inner.data.len();
    assert!(answered(&rig, &[cut(0..24, 0, true), cut(24..end, 24, false)]));
}

#[test]
fn only_the_first_fragment_says_what_the_packet_is() {
    let rig = Rig::six();
    let mut all = pieces(&[400], 1_000, 1);
    // The next header of another fragment may be anything.
    all[1].data[0] = UDP;
    assert!(answered(&rig, &all));
}

#[test]
fn after_sixty_seconds_the_first_fragment_is_explained() {
    let rig = Rig::six();
    rig.say_ip6(&pieces(&[400], 1_000, 1)[0]);
    rig.say_ip6(&pieces(&[400], 1_000, 2)[1]);
    rig.run(Duration::from_millis(59_900));
    assert!(rig.hear_icmp6().is_empty());
    rig.run(Duration::from_millis(200));
    let said = rig.hear_icmp6();
    let [told] = &said[..] else { panic!("one message, about the first fragment: {said:?}") };
    assert_eq!((told.ty, told.code), (3, 1));
    let quoted = Ip6::read(&[&told.data[..], &[0; 1_000]].concat());
    assert_eq!((quoted.next, quoted.src, quoted.dst), (FRAGMENT, PEER6, US6));
    assert_eq!(told.data[40..48], pieces(&[400], 1_000, 1)[0].data[..8]);
    assert_eq!(rig.inet.drops().get(DropReason::FragmentTimeout), 2);
}

#[test]
fn what_is_too_long_is_cut_here_with_identifications_that_cannot_be_foreseen() {
    let rig = Rig::six();
    let socket = socket(&rig);
    let data: Vec<u8> = (0..4_000).map(|i| i as u8).collect();
    let mut idents = Vec::new();
    for _ in 0..16 {
        socket.send_to(&data, SocketAddr::from((PEER6, 7))).expect("it is taken");
        rig.run(Duration::from_millis(1));
        let said = rig.hear_ip6();
        assert!(said.iter().all(|ip| ip.next == FRAGMENT && 40 + ip.data.len() <= 1_500));
        let mut whole = Vec::new();
        for (n, ip) in said.iter().enumerate() {
            let field = u16::from_be_bytes([ip.data[2], ip.data[3]]);
            assert_eq!((usize::from(field & !7), ip.data[0]), (whole.len(), UDP));
            assert_eq!(field & 1 == 1, n + 1 < said.len(), "more fragments but after the last");
            whole.extend(&ip.data[8..]);
        }
        let udp = Ip6::new(US6, PEER6, UDP, whole).udp().expect("a datagram");
        assert_eq!(udp.data, data);
        idents.push(u32::from_be_bytes(said[0].data[4..8].try_into().expect("four bytes")));
    }
    let steps: std::collections::BTreeSet<u32> =
        idents.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
    assert_eq!(steps.len(), idents.len() - 1, "no counter: {idents:?}");
}

#[test]
fn who_forbids_fragments_is_told_that_it_does_not_fit() {
    let rig = Rig::six();
    let socket = socket(&rig);
    socket
        .socket()
        .set_option(SocketOption::MtuDiscovery(MtuDiscovery::Always))
        .expect("an option of UDP");
    let to = SocketAddr::from((PEER6, 7));
    assert!(socket.send_to(&[0; 1_452], to).is_ok());
    let error = socket.send_to(&[0; 1_453], to).expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(90));
}

#[test]
fn a_socket_can_be_told_not_to_fragment_and_tells_what_fits() {
    let rig = Rig::six();
    let socket = socket(&rig);
    let mtu = || socket.socket().option(OptionKey::PathMtu);
    assert_eq!(mtu().expect_err("no peer").raw_os_error(), Some(107));
    socket.connect((PEER6, 7)).expect("there is a route");
    assert_eq!(mtu().expect("a path"), SocketOption::PathMtu(1_500));
    let set = |on| socket.socket().set_option(SocketOption::DontFragment(on));
    set(true).expect("an option of UDP");
    let error = socket.send(&[0; 1_453]).expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(90));
    set(false).expect("an option of UDP");
    assert!(socket.send(&[0; 1_453]).is_ok());
    let four = rig.stack.udp_bind("10.0.0.1:5001").expect("a free port");
    let refused = four.socket().set_option(SocketOption::DontFragment(true));
    assert_eq!(refused.expect_err("IPv6 has it").raw_os_error(), Some(92));
}

#[test]
fn a_datagram_without_a_checksum_is_dropped() {
    let rig = Rig::six();
    let socket = socket(&rig);
    socket.set_nonblocking(true).expect("always");
    let mut ip = Udp::new(9, 5_000, b"x").packet6(PEER6, US6);
    rig.say_ip6(&ip);
    assert!(socket.recv(&mut [0; 8]).is_ok());
    ip.data[6..8].fill(0);
    rig.say_ip6(&ip);
    assert!(socket.recv(&mut [0; 8]).is_err());
    assert_eq!(rig.inet.drops().get(DropReason::UdpChecksum), 1);
}

#[test]
fn every_single_bit_flip_of_a_datagram_is_noticed() {
    let rig = Rig::six();
    let socket = socket(&rig);
    socket.set_nonblocking(true).expect("always");
    let good = Udp::new(9, 5_000, b"data").packet6(PEER6, US6);
    for bit in 0..good.data.len() * 8 {
        let mut bad = good.clone();
        bad.data[bit / 8] ^= 1 << (bit % 8);
        rig.say_ip6(&bad);
        assert!(socket.recv(&mut [0; 8]).is_err(), "bit {bit}");
    }
}

#[test]
fn sources_that_no_host_has_are_dropped() {
    let rig = Rig::six();
    for src in ["::", "::1", "ff02::1", "::ffff:10.0.0.2", "fd00::1"] {
        let src = src.parse().expect("an address");
        let echo = Icmp::echo6(7, 1, b"x").packet6(src, US6);
        rig.say_ip6(&echo);
        assert!(rig.hear_icmp6().is_empty(), "{src}");
    }
    assert_eq!(rig.inet.drops().get(DropReason::IpBadSource), 5);
}

#[test]
fn destinations_that_are_not_ours_are_dropped() {
    let rig = Rig::six();
    for dst in ["fd00::9", "::1", "::", "ff02::1:ff00:9", "ff01::1", "ff00::1", "fe80::1"] {
        let dst = dst.parse().expect("an address");
        let echo = Icmp::echo6(7, 1, b"x").packet6(PEER6, dst);
        rig.say_ip6(&echo);
        assert!(rig.hear_icmp6().is_empty(), "{dst}");
    }
    let dropped = |reason| rig.inet.drops().get(reason);
    assert_eq!(dropped(DropReason::IpNotOurs), 6);
    assert_eq!(dropped(DropReason::GroupNotJoined), 1, "the group of somebody else's address");
}

#[test]
fn a_group_of_ours_is_heard_also_in_a_frame_to_us_alone() {
    let rig = Rig::six();
    let groups = ["ff02::1", "ff02::1:ff00:1"];
    for (dst, mac) in groups.into_iter().flat_map(|dst| {
        let group: Ipv6Addr = dst.parse().expect("an address");
        let [.., a, b, c, d] = group.octets();
        [(group, MacAddr([0x33, 0x33, a, b, c, d])), (group, US_MAC)]
    }) {
        let echo = Icmp::echo6(7, 1, b"x").packet6(PEER6, dst);
        rig.say(&frame(mac, PEER_MAC, IPV6, &echo.bytes()));
        let said = rig.hear_ip6();
        assert!(said.iter().any(|ip| ip.src == US6 && ip.dst == PEER6), "{dst} by {mac}");
        // So that the next answer is not one too many.
        rig.run(Duration::from_secs(2));
    }
}

#[test]
fn a_packet_to_one_host_in_a_frame_to_many_is_dropped() {
    let rig = Rig::six();
    rig.say(&frame(MacAddr([0x33, 0x33, 0, 0, 0, 1]), PEER_MAC, IPV6, &echo6_packet().bytes()));
    assert!(rig.hear_icmp6().is_empty());
}

#[test]
fn what_goes_to_a_group_is_in_a_frame_to_its_stations() {
    let rig = Rig::six();
    let group: Ipv6Addr = "ff05::1:3".parse().expect("an address");
    socket(&rig).send_to(b"x", SocketAddr::from((group, 7))).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let said = rig.hear();
    let sent = said.iter().find(|frame| frame.ip6().is_some_and(|ip| ip.dst == group));
    let sent = sent.expect("a datagram to the group");
    assert_eq!(sent.dst, MacAddr([0x33, 0x33, 0, 1, 0, 3]));
    assert_eq!(sent.ip6().map(|ip| ip.hops), Some(1), "the least hop limit unless asked");
}

#[test]
fn class_and_hop_limit_are_the_sockets_to_set() {
    let rig = Rig::six();
    let socket = socket(&rig);
    let said = || {
        socket.send_to(b"x", SocketAddr::from((PEER6, 7))).expect("it is taken");
        rig.run(Duration::from_millis(1));
        let ip = rig.hear_ip6().pop().expect("a datagram");
        (ip.class, ip.hops)
    };
    assert_eq!(said(), (0, 64));
    socket.socket().set_option(SocketOption::Tos(0xb8)).expect("an option of UDP");
    socket.socket().set_option(SocketOption::Ttl(9)).expect("an option of UDP");
    assert_eq!(said(), (0xb8, 9));
}

#[test]
fn a_flow_has_one_label_and_flows_differ() {
    let rig = Rig::six();
    let label = |port: u16, far: u16| {
        let socket = rig.stack.udp_bind((US6, port)).expect("a free port");
        socket.send_to(b"x", SocketAddr::from((PEER6, far))).expect("it is taken");
        rig.run(Duration::from_millis(1));
        rig.hear_ip6().pop().expect("a datagram").label
    };
    let first = label(6_000, 7);
    assert_ne!(first, 0);
    assert_eq!(label(6_000, 7), first);
    assert_ne!(label(6_001, 7), first);
    assert_ne!(label(6_000, 8), first);
}

#[test]
fn what_is_far_goes_to_the_gateway() {
    let rig = Rig::six();
    socket(&rig).send_to(b"x", SocketAddr::from((FAR6, 7))).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let said = rig.hear();
    assert!(said.iter().any(|frame| frame.ip6().is_some_and(|ip| ip.dst == FAR6)));
}
