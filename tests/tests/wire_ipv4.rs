//! IPv4 as a station on the wire sees it (RFC 791, RFC 1122 §3.2.1, §3.3).

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libnet::net::UdpSocket;
use libnet::socket::{MtuDiscovery, SocketOption};
use libnet::world::{LinkConfig, Segment, World};
use libnet::{InterfaceSpec, MacAddr};
use libnetinet::InetConfig;
use rumpnet_tests::station::{FAR, PEER, PEER_MAC, Rig, US, US_MAC, echo_packet, start};
use rumpnet_tests::wire::{
    Arp, DONT_FRAGMENT, ICMP, IPV4, Icmp, Ip, MORE_FRAGMENTS, Udp, checksum, frame,
};

fn socket(rig: &Rig) -> UdpSocket {
    rig.stack.udp_bind("10.0.0.1:5000").expect("a free port")
}

/// The header changed by `change`, its checksum put right.
fn with_header(ip: &Ip, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = ip.bytes();
    change(&mut bytes);
    let header = (usize::from(bytes[0] & 15) * 4).min(bytes.len());
    if header >= 12 {
        bytes[10..12].fill(0);
        let sum = checksum(&[&bytes[..header]]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

fn answers_bytes(rig: &Rig, ip: &[u8]) -> bool {
    rig.say(&frame(US_MAC, PEER_MAC, IPV4, ip));
    rig.hear_icmp().iter().any(|icmp| icmp.ty == 0)
}

/// An echo request cut into pieces of these sizes, offsets in bytes.
fn pieces(cuts: &[usize], len: usize) -> Vec<Ip> {
    let data: Vec<u8> = (0..len - 8).map(|i| (i * 7) as u8).collect();
    let whole = Icmp::echo(7, 1, &data).bytes();
    let mut edges = vec![0];
    edges.extend(cuts);
    edges.push(len);
    edges
        .windows(2)
        .map(|edge| {
            let mut ip = Ip::new(PEER, US, ICMP, whole[edge[0]..edge[1]].to_vec());
            let more = if edge[1] < len { MORE_FRAGMENTS } else { 0 };
            ip.fragment = (edge[0] / 8) as u16 | more;
            ip.ident = 99;
            ip
        })
        .collect()
}

#[test]
fn an_undamaged_request_is_answered() {
    let rig = Rig::new();
    assert!(rig.answers(&echo_packet()));
}

#[test]
fn another_version_is_discarded_silently() {
    let rig = Rig::new();
    for version in [0u8, 5, 6, 15] {
        let bytes = with_header(&echo_packet(), |bytes| bytes[0] = version << 4 | 5);
        rig.say(&frame(US_MAC, PEER_MAC, IPV4, &bytes));
        assert_eq!(rig.hear(), [], "version {version}");
    }
}

#[test]
fn a_wrong_header_checksum_is_discarded_silently() {
    let rig = Rig::new();
    for at in 0..20 {
        let mut bytes = echo_packet().bytes();
        bytes[at] ^= 0x10;
        rig.say(&frame(US_MAC, PEER_MAC, IPV4, &bytes));
        assert_eq!(rig.hear(), [], "byte {at}");
    }
}

#[test]
fn lengths_that_do_not_fit_are_discarded() {
    let rig = Rig::new();
    let short_header = with_header(&echo_packet(), |bytes| bytes[0] = 0x44);
    let total_in_header = with_header(&echo_packet(), |bytes| bytes[3] = 19);
    let total_too_long = with_header(&echo_packet(), |bytes| bytes[3] += 1);
    let long_header = with_header(&echo_packet(), |bytes| bytes[0] = 0x4f);
    for bytes in [short_header, total_in_header, total_too_long, long_header] {
        assert!(!answers_bytes(&rig, &bytes), "{bytes:?}");
    }
    let whole = echo_packet().bytes();
    for len in 0..whole.len() {
        assert!(!answers_bytes(&rig, &whole[..len]), "cut to {len} bytes");
    }
}

#[test]
fn what_follows_the_total_length_is_padding() {
    let rig = Rig::new();
    let mut bytes = echo_packet().bytes();
    bytes.extend([0xee; 9]);
    rig.say(&frame(US_MAC, PEER_MAC, IPV4, &bytes));
    let answer = rig.hear_icmp();
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].data, b"are you there?");
}

#[test]
fn a_datagram_for_somebody_else_is_discarded_silently() {
    let rig = Rig::new();
    for dst in [PEER, FAR, Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::LOCALHOST] {
        rig.say_ip(&Ip { dst, ..echo_packet() });
        assert_eq!(rig.hear(), [], "{dst}");
    }
}

#[test]
fn invalid_sources_are_discarded_silently() {
    let rig = Rig::new();
    let invalid = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.255"];
    for src in invalid.into_iter().chain(["240.0.0.1", "10.0.0.1"]) {
        let src: Ipv4Addr = src.parse().expect("an address");
        rig.say_ip(&Ip { src, ..echo_packet() });
        rig.say_ip(&Ip { src, ..Udp::new(9, 9, b"x").packet(src, US) });
        assert_eq!(rig.hear(), [], "{src}");
    }
}

#[test]
fn loopback_addresses_do_not_leave_the_host() {
    let rig = Rig::new();
    let socket = rig.stack.udp_bind("127.0.0.1:5000").expect("a free port");
    assert!(socket.send_to(b"x", SocketAddr::from((PEER, 7))).is_err());
    let any = rig.stack.udp_bind("0.0.0.0:5001").expect("a free port");
    any.send_to(b"x", "127.0.0.1:5000").expect("we reach ourselves");
    rig.run(Duration::from_secs(5));
    assert_eq!(rig.hear(), []);
    let mut buffer = [0; 8];
    assert_eq!(socket.recv_from(&mut buffer).expect("it arrived").0, 1);
}

#[test]
fn a_low_time_to_live_is_no_reason_to_discard() {
    let rig = Rig::new();
    for ttl in [0, 1, 2] {
        assert!(rig.answers(&Ip { ttl, ..echo_packet() }), "time to live {ttl}");
    }
}

#[test]
fn unknown_options_are_skipped() {
    let rig = Rig::new();
    let stream_id = vec![136, 4, 0, 1];
    let unknown = vec![1, 200, 5, 1, 2, 3, 1, 0];
    let end_first = vec![0, 200, 255, 7];
    let record_route = vec![7, 7, 4, 0, 0, 0, 0, 0];
    for options in [stream_id, unknown, end_first, record_route] {
        assert!(rig.answers(&Ip { options: options.clone(), ..echo_packet() }), "{options:?}");
    }
}

#[test]
fn options_with_impossible_lengths_are_refused_and_explained() {
    let rig = Rig::new();
    for (options, at) in [([200, 0, 0, 0], 20), ([200, 1, 0, 0], 20), ([1, 200, 4, 0], 21)] {
        rig.say_ip(&Ip { options: options.to_vec(), ..echo_packet() });
        let said = rig.hear_icmp();
        assert_eq!(said.len(), 1, "{options:?}");
        assert_eq!((said[0].ty, said[0].rest[0]), (12, at), "parameter problem says where");
        rig.run(Duration::from_secs(2));
    }
}

#[test]
fn source_routes_are_refused_and_none_is_sent() {
    let rig = Rig::new();
    for kind in [131, 137] {
        let options = vec![kind, 7, 8, 10, 0, 0, 9, 0];
        rig.say_ip(&Ip { options, ..echo_packet() });
        assert_eq!(rig.hear(), []);
    }
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let rig = Rig::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let pieces = pieces(&[400, 1_000], 1_408);
        for at in order {
            assert_eq!(rig.hear(), [], "not before all is there");
            rig.say_ip(&pieces[at]);
        }
        let answer = rig.hear_icmp();
        assert_eq!(answer.len(), 1, "{order:?}");
        assert_eq!(answer[0].data.len(), 1_400);
    }
}

#[test]
fn the_largest_datagram_is_put_together() {
    let rig = Rig::new();
    let len = 65_535 - 20;
    let cuts: Vec<usize> = (1..).map(|i| i * 1_480).take_while(|&at| at < len).collect();
    for piece in pieces(&cuts, len) {
        rig.say_ip(&piece);
    }
    rig.run(Duration::from_millis(20));
    let said: usize = rig.hear_ip().iter().map(|ip| ip.data.len()).sum();
    assert_eq!(said, len, "all of it comes back, in fragments");
}

#[test]
fn fragments_belong_together_by_source_destination_protocol_and_identification() {
    let rig = Rig::new();
    let (first, last) = {
        let pieces = pieces(&[400], 800);
        (pieces[0].clone(), pieces[1].clone())
    };
    rig.say_ip(&first);
    rig.say_ip(&Ip { src: Ipv4Addr::new(10, 0, 0, 3), ..last.clone() });
    rig.say_ip(&Ip { protocol: 17, ..last.clone() });
    rig.say_ip(&Ip { ident: 98, ..last.clone() });
    assert_eq!(rig.hear_icmp(), []);
    rig.say_ip(&last);
    assert_eq!(rig.hear_icmp().len(), 1);
}

#[test]
fn overlapping_fragments_agree_or_are_discarded() {
    let rig = Rig::new();
    let whole = pieces(&[400], 800);
    let overlap = pieces(&[200], 800).remove(1);
    rig.say_ip(&whole[0]);
    rig.say_ip(&overlap);
    assert_eq!(rig.hear_icmp().len(), 1, "an overlap that says the same does no harm");
    let mut forged = overlap.clone();
    forged.data[3] ^= 0xff;
    rig.say_ip(&whole[0]);
    rig.say_ip(&forged);
    rig.say_ip(&whole[1]);
    assert_eq!(rig.hear_icmp(), [], "one that contradicts ends the datagram");
}

#[test]
fn pieces_that_are_no_multiple_of_eight_or_pass_the_end_are_discarded() {
    let rig = Rig::new();
    let [mut first, last] = <[Ip; 2]>::try_from(pieces(&[400], 800)).expect("two pieces");
    first.data.truncate(399);
    rig.say_ip(&first);
    rig.say_ip(&last);
    let beyond = Ip { fragment: 0x1fff, ident: 5, ..last };
    rig.say_ip(&beyond);
    rig.run(Duration::from_millis(1));
    assert_eq!(rig.hear(), []);
}

#[test]
fn reassembly_ends_with_time_exceeded_if_the_first_piece_came() {
    let rig = Rig::new();
    let pieces = pieces(&[400], 800);
    rig.say_ip(&pieces[0]);
    rig.run(Duration::from_secs(121));
    let said = rig.hear_icmp();
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].ty, said[0].code), (11, 1));
    assert_eq!(said[0].data[..20], pieces[0].bytes()[..20], "its header, unchanged");
    rig.say_ip(&pieces[1]);
    rig.run(Duration::from_secs(121));
    assert_eq!(rig.hear_icmp(), [], "without the first piece nobody is told");
}

#[test]
fn long_datagrams_are_cut_as_rfc_791_says() {
    let rig = Rig::new();
    let data: Vec<u8> = (0..4_000u32).map(|i| i as u8).collect();
    socket(&rig).send_to(&data, SocketAddr::from((PEER, 7))).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let said = rig.hear_ip();
    assert_eq!(said.len(), 3);
    let mut joined = Vec::new();
    for (number, piece) in said.iter().enumerate() {
        let last = number + 1 == said.len();
        assert_eq!(piece.offset(), joined.len());
        assert_eq!(piece.fragment & MORE_FRAGMENTS == 0, last, "more fragments");
        assert!(last || piece.data.len() % 8 == 0);
        assert!(piece.data.len() <= 1_480);
        assert_eq!(piece.ident, said[0].ident);
        joined.extend(&piece.data);
    }
    let whole = Ip { fragment: 0, data: joined, ..said[0].clone() };
    assert_eq!(whole.udp().expect("a datagram").data, data);
}

#[test]
fn identifications_of_datagrams_that_may_be_cut_differ() {
    let rig = Rig::new();
    let socket = socket(&rig);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        socket.send_to(&[0; 2_000], SocketAddr::from((PEER, 7))).expect("it is taken");
        rig.run(Duration::from_millis(1));
        let said = rig.hear_ip();
        assert!(seen.insert(said[0].ident), "identification {} again", said[0].ident);
    }
}

#[test]
fn what_must_not_be_cut_is_not_cut() {
    let rig = Rig::new();
    let socket = socket(&rig);
    socket
        .socket()
        .set_option(SocketOption::MtuDiscovery(MtuDiscovery::Always))
        .expect("an option of UDP");
    let error = socket.send_to(&[0; 2_000], SocketAddr::from((PEER, 7))).expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(90), "EMSGSIZE");
    socket.send_to(&[0; 1_000], SocketAddr::from((PEER, 7))).expect("it fits");
    rig.run(Duration::from_millis(1));
    let said = rig.hear_ip();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].fragment, DONT_FRAGMENT);
}

#[test]
fn type_of_service_and_time_to_live_are_the_applications() {
    let rig = Rig::new();
    let socket = socket(&rig);
    let send = || {
        socket.send_to(b"x", SocketAddr::from((PEER, 7))).expect("it is taken");
        rig.run(Duration::from_millis(1));
        rig.hear_ip().remove(0)
    };
    assert_eq!((send().tos, send().ttl), (0, 64), "defaults");
    socket.socket().set_option(SocketOption::Tos(0xb8)).expect("an option of UDP");
    socket.socket().set_option(SocketOption::Ttl(3)).expect("an option of UDP");
    assert_eq!((send().tos, send().ttl), (0xb8, 3));
    assert!(socket.socket().set_option(SocketOption::Ttl(0)).is_err());
}

#[test]
fn neighbours_are_reached_directly_and_others_by_the_gateway() {
    let rig = Rig::new();
    let socket = socket(&rig);
    for dst in [PEER, FAR] {
        socket.send_to(b"x", SocketAddr::from((dst, 7))).expect("it is taken");
        rig.run(Duration::from_millis(1));
        let said = rig.hear();
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].dst, PEER_MAC, "the station is the gateway too");
        assert_eq!(said[0].ip().map(|ip| (ip.src, ip.dst)), Some((US, dst)));
    }
}

#[test]
fn broadcasts_are_link_layer_broadcasts_and_need_leave() {
    let rig = Rig::new();
    let socket = socket(&rig);
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        let to = SocketAddr::from((dst, 7));
        socket.socket().set_option(SocketOption::Broadcast(false)).expect("an option of UDP");
        let error = socket.send_to(b"x", to).expect_err("not without SO_BROADCAST");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        socket.socket().set_option(SocketOption::Broadcast(true)).expect("an option of UDP");
        socket.send_to(b"x", to).expect("it is taken");
        rig.run(Duration::from_millis(1));
        let said = rig.hear();
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].dst, MacAddr::BROADCAST);
        assert_eq!(said[0].ip().map(|ip| (ip.src, ip.dst)), Some((US, dst)));
    }
}

#[test]
fn both_forms_of_broadcast_are_received() {
    let rig = Rig::new();
    let socket = rig.stack.udp_bind("0.0.0.0:5000").expect("a free port");
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        let packet = Udp::new(9, 5000, b"to all").packet(PEER, dst);
        rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, IPV4, &packet.bytes()));
        let mut buffer = [0; 16];
        let (len, from) = socket.recv_from(&mut buffer).expect("it arrived");
        assert_eq!((len, from), (6, SocketAddr::from((PEER, 9))));
    }
}

#[test]
fn a_packet_to_one_host_in_a_frame_to_all_is_discarded() {
    let rig = Rig::new();
    rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, IPV4, &echo_packet().bytes()));
    assert_eq!(rig.hear(), []);
}

#[test]
fn a_second_interface_does_not_turn_forwarding_on() {
    let world = World::new(1);
    let left = world.segment(LinkConfig::default());
    let right = world.segment(LinkConfig::default());
    let interface =
        |segment: &Segment, addr: &str| InterfaceSpec::new(segment.link(US_MAC)).addr(addr);
    let interfaces = [interface(&left, "10.0.0.1/24"), interface(&right, "10.0.1.1/24")];
    let stack = start(&world, InetConfig::default(), interfaces);
    world.run_for(Duration::from_secs(30));
    let before = world.frames();
    let packet = Ip { dst: Ipv4Addr::new(10, 0, 1, 7), ..echo_packet() };
    let bytes = frame(US_MAC, PEER_MAC, IPV4, &packet.bytes());
    left.send_raw(libnet::Packet::from_payload(bytes.into()));
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.frames() - before, 0, "nothing leaves the other interface");
    drop(stack);
}

#[test]
fn an_application_names_its_source_address_or_gets_one() {
    let rig = Rig::new();
    let any = rig.stack.udp_bind("0.0.0.0:6000").expect("a free port");
    any.send_to(b"x", SocketAddr::from((PEER, 7))).expect("it is taken");
    socket(&rig).send_to(b"x", SocketAddr::from((PEER, 7))).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let said = rig.hear_ip();
    assert_eq!(said.len(), 2);
    assert!(said.iter().all(|ip| ip.src == US));
    let error = rig.stack.udp_bind("10.0.0.9:6000").expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn the_default_time_to_live_can_be_configured() {
    let mut config = InetConfig::default();
    config.ip.ttl = 9;
    let rig = Rig::with(config);
    rig.settle();
    rig.introduce();
    socket(&rig).send_to(b"x", SocketAddr::from((PEER, 7))).expect("it is taken");
    rig.say_ip(&echo_packet());
    let said = rig.hear_ip();
    assert!(said.len() == 2 && said.iter().all(|ip| ip.ttl == 9), "{said:?}");
}

#[test]
fn the_mtu_of_an_interface_can_be_configured() {
    let rig =
        Rig::configured(InetConfig::default(), |interface| interface.addr("10.0.0.1/24").mtu(600));
    rig.settle();
    rig.say_arp(MacAddr::BROADCAST, Arp::request(PEER_MAC, PEER, US));
    rig.hear();
    socket(&rig).send_to(&[0; 1_000], SocketAddr::from((PEER, 7))).expect("it is taken");
    rig.run(Duration::from_millis(1));
    let said = rig.hear_ip();
    assert!(said.len() == 2 && said.iter().all(|ip| 20 + ip.data.len() <= 600), "{said:?}");
}

#[test]
fn a_network_without_a_gateway_works_and_says_what_it_does_not_reach() {
    let rig = Rig::configured(InetConfig::default(), |interface| interface.addr("10.0.0.1/24"));
    rig.settle();
    rig.say_arp(MacAddr::BROADCAST, Arp::request(PEER_MAC, PEER, US));
    rig.hear();
    assert!(rig.answers(&echo_packet()));
    let error = socket(&rig).send_to(b"x", SocketAddr::from((FAR, 7))).expect_err("no route");
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
}

#[test]
fn the_mask_decides_what_is_on_the_connected_network() {
    let rig = Rig::configured(InetConfig::default(), |interface| {
        interface.addr("10.0.0.1/30").gateway("10.0.0.2")
    });
    rig.settle();
    let socket = socket(&rig);
    let asked = |dst: Ipv4Addr| {
        socket.send_to(b"x", SocketAddr::from((dst, 7))).expect("it is taken");
        rig.run(Duration::from_millis(1));
        rig.hear().iter().filter_map(|frame| frame.arp()).map(|arp| arp.tpa).collect::<Vec<_>>()
    };
    assert_eq!(asked(Ipv4Addr::new(10, 0, 0, 9)), [PEER], "beyond the mask: by the gateway");
    let rig = Rig::configured(InetConfig::default(), |interface| interface.addr("10.0.0.1/8"));
    rig.settle();
    let neighbour = Ipv4Addr::new(10, 200, 0, 9);
    let wide = rig.stack.udp_bind("10.0.0.1:5000").expect("a free port");
    wide.send_to(b"x", SocketAddr::from((neighbour, 7))).expect("it is taken");
    rig.run(Duration::from_millis(1));
    assert!(rig.hear().iter().filter_map(|frame| frame.arp()).any(|arp| arp.tpa == neighbour));
}

#[test]
fn several_default_gateways_can_be_configured() {
    let rig = Rig::configured(InetConfig::default(), |interface| {
        interface.addr("10.0.0.1/24").gateway("10.0.0.254").gateway("10.0.0.253")
    });
    let gateways: Vec<_> =
        rig.inet.routes().into_iter().filter_map(|route| route.gateway).collect();
    assert_eq!(gateways.len(), 2, "{gateways:?}");
}

#[test]
fn addresses_whose_network_is_zero_are_not_sent_to() {
    let rig = Rig::new();
    let socket = socket(&rig);
    let sent = socket.send_to(b"x", "0.1.2.3:7");
    rig.run(Duration::from_secs(5));
    assert_eq!(rig.hear(), [], "{sent:?}");
}

#[test]
fn a_host_without_an_address_speaks_to_all_only() {
    let rig = Rig::configured(InetConfig::default(), |interface| interface.name("eth0"));
    let socket = rig.stack.udp_bind("0.0.0.0:68").expect("a free port");
    let device = SocketOption::BindToDevice("eth0".into());
    socket.socket().set_option(device).expect("an interface");
    assert!(socket.send_to(b"x", SocketAddr::from((PEER, 7))).is_err());
    socket.socket().set_option(SocketOption::Broadcast(true)).expect("an option of UDP");
    socket.send_to(b"discover", "255.255.255.255:67").expect("it is taken");
    rig.run(Duration::from_secs(1));
    let said = rig.hear_ip();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((said[0].src, said[0].dst), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
}

#[test]
fn no_host_has_a_broadcast_or_group_address() {
    let rig = Rig::new();
    let index = rig.inet.interfaces()[1].index;
    for addr in ["255.255.255.255/32", "10.1.0.255/24", "10.1.0.0/24", "224.0.0.1/24", "0.0.0.0/8"]
    {
        let cidr = addr.parse().expect("an address");
        assert!(rig.inet.add_address(index, cidr).is_err(), "{addr}");
    }
    for src in ["255.255.255.255:1", "10.0.0.255:1"] {
        let socket = rig.stack.udp_bind(src);
        let _ = socket.and_then(|socket| socket.send_to(b"x", SocketAddr::from((PEER, 7))));
        rig.run(Duration::from_secs(1));
        assert!(rig.hear_ip().iter().all(|ip| ip.src == US), "{src}");
    }
}
