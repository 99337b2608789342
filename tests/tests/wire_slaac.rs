//! Router discovery, autoconfiguration and redirects as a station on the wire sees them (RFC 4861
//! §6 and §8, RFC 4862 §5.5, RFC 7559).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libnet::iface::{Advertise, AdvertisedPrefix};
use libnet::net::UdpSocket;
use libnet::socket::{Family, OptionKey, Protocol, SockType, SocketOption};
use libnet::{DropReason, MacAddr};
use libnetinet::snapshot::{AddressOrigin, AddressState, NeighbourEntry, NeighbourState};
use libnetinet::{AdminState, Forwarding, InetConfig};
use rumpnet_tests::station::{OTHER_MAC, PEER_MAC, Rig, US_MAC};
use rumpnet_tests::wire::nd::{
    ALL_NODES, ALL_ROUTERS, AUTONOMOUS, Heard, NA, NS, ON_LINK, RA, ROUTER, RS, SOLICITED,
    advertise, group_mac, message, mtu, prefix, redirect, router, source_mac, target_mac,
};
use rumpnet_tests::wire::six::{IPV6, Ip6};
use rumpnet_tests::wire::tcp::{ACK, SYN};
use rumpnet_tests::wire::{Icmp, Tcp, frame};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);
/// The router's link-local address: the station is it.
const FIRST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
/// Another router's.
const SECOND_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfd);
/// A host of the link.
const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
/// Somewhere else.
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);

/// A stack that looks for routers and has not found any.
fn looking() -> Rig {
    looking_with(InetConfig::default())
}

fn looking_with(config: InetConfig) -> Rig {
    Rig::configured(config, |interface| interface.addr("auto"))
}

fn say_from(rig: &Rig, from: MacAddr, ip: &Ip6) {
    let to = if ip.dst.is_multicast() { group_mac(ip.dst) } else { US_MAC };
    rig.say(&frame(to, from, IPV6, &ip.bytes()));
}

fn say(rig: &Rig, ip: &Ip6) {
    say_from(rig, PEER_MAC, ip);
}

fn of_type(rig: &Rig, ty: u8) -> Vec<Heard> {
    let heard = rig.hear_ip6();
    heard.iter().filter_map(Heard::of).filter(|message| message.ty == ty).collect()
}

/// The router's usual advertisement.
fn usual(lifetime: u16) -> Ip6 {
    let prefix = prefix("2001:db8:1::/64", ON_LINK | AUTONOMOUS, 86_400, 14_400);
    router(FIRST, lifetime, &[source_mac(PEER_MAC), prefix])
}

/// Addresses of that origin.
fn addresses(rig: &Rig, origin: AddressOrigin) -> Vec<Ipv6Addr> {
    let entries = rig.inet.interfaces().swap_remove(1).addresses.into_iter();
    let of_origin = entries.filter(|entry| entry.origin == origin);
    let six = of_origin.filter_map(|entry| match entry.cidr.addr() {
        IpAddr::V6(addr) => Some(addr),
        IpAddr::V4(_) => None,
    });
    six.collect()
}

fn neighbour(rig: &Rig, addr: Ipv6Addr) -> Option<NeighbourEntry> {
    rig.inet.neighbours().into_iter().find(|entry| entry.addr == IpAddr::V6(addr))
}

/// A stack that a router gave an address.
fn configured() -> (Rig, Ipv6Addr) {
    let rig = looking();
    say(&rig, &usual(1_800));
    rig.run(3 * SECOND);
    rig.hear();
    let addr = addresses(&rig, AddressOrigin::Autonomous)[0];
    (rig, addr)
}

fn socket(rig: &Rig) -> UdpSocket {
    rig.stack.udp_bind((Ipv6Addr::UNSPECIFIED, 5_000)).expect("a free port")
}

/// Sends a datagram; where frames went within a moment, and what they were.
fn send(rig: &Rig, socket: &UdpSocket, to: Ipv6Addr) -> Vec<(MacAddr, Ip6)> {
    socket.send_to(b"hello", (to, 7)).expect("there is a route");
    rig.run(Duration::from_millis(1));
    let frames = rig.hear().into_iter();
    frames.filter_map(|frame| Some((frame.dst, frame.ip6()?.clone()))).collect()
}

fn routes(rig: &Rig) -> Vec<String> {
    let all = rig.inet.routes().into_iter();
    let learned = all.filter(|route| route.origin == libnet::route::RouteOrigin::Learned);
    let shown = learned.map(|route| match route.gateway {
        Some(gateway) => format!("{} via {gateway}", route.dst),
        None => route.dst.to_string(),
    });
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

#[test]
fn routers_are_asked_for_from_nobody_until_an_address_is_sure_and_then_with_ours() {
    let rig = looking();
    rig.run(60 * SECOND);
    let asked = of_type(&rig, RS);
    assert!((3..=6).contains(&asked.len()), "RFC 7559: after 0, 4, 12, 28, 60 s: {}", asked.len());
    assert!(asked.iter().all(|message| message.dst == ALL_ROUTERS));
    let local = addresses(&rig, AddressOrigin::LinkLocal)[0];
    let sure = asked.last().expect("there are some");
    assert_eq!((sure.src, sure.mac()), (local, Some(US_MAC)));
}

#[test]
fn an_advertisement_gives_addresses_a_route_and_the_routers_link_layer_address() {
    let (rig, addr) = configured();
    assert_eq!(addr.segments()[..4], [0x2001, 0xdb8, 1, 0]);
    assert_eq!(routes(&rig), ["2001:db8:1::/64", "::/0 via fe80::fe"]);
    let sent = send(&rig, &socket(&rig), FAR);
    assert_eq!(sent.len(), 1, "the router need not be asked for");
    assert_eq!((sent[0].0, sent[0].1.src, sent[0].1.dst), (PEER_MAC, addr, FAR));
    rig.run(120 * SECOND);
    assert_eq!(of_type(&rig, RS), [], "RFC 7559 §2.1: then it is quiet");
    let [entry] = &rig.inet.routers()[..] else { panic!("one router") };
    assert_eq!(entry.addr, FIRST);
}

#[test]
fn advertisements_that_break_the_rules_change_nothing() {
    let rig = looking();
    let good = usual(1_800);
    let icmp = good.icmp().expect("a message");
    let global = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
    let mut code = icmp.clone();
    code.code = 1;
    let mut short = icmp.clone();
    short.data.truncate(4);
    let mut option = icmp.clone();
    option.data.extend([200, 0, 0, 0, 0, 0, 0, 0]);
    let bad = [
        Ip6 { hops: 254, ..good.clone() },
        Ip6 { hops: 255, ..icmp.packet6(global, ALL_NODES) },
        Ip6 { hops: 255, ..code.packet6(FIRST, ALL_NODES) },
        Ip6 { hops: 255, ..short.packet6(FIRST, ALL_NODES) },
        Ip6 { hops: 255, ..option.packet6(FIRST, ALL_NODES) },
    ];
    for (n, ip) in bad.iter().enumerate() {
        say(&rig, ip);
        assert_eq!(rig.inet.drops().get(DropReason::NdMalformed), n as u64 + 1);
        assert_eq!(rig.inet.routers(), []);
        assert_eq!(addresses(&rig, AddressOrigin::Autonomous), [] as [Ipv6Addr; 0]);
    }
    say(&rig, &good);
    assert_eq!(rig.inet.routers().len(), 1);
}

#[test]
fn who_was_configured_by_hand_does_not_listen_to_routers() {
    let rig = Rig::configured(InetConfig::default(), |interface| interface.addr("fd00::1/64"));
    say(&rig, &usual(1_800));
    assert_eq!(rig.inet.routers(), []);
    assert_eq!(addresses(&rig, AddressOrigin::Autonomous), [] as [Ipv6Addr; 0]);
    rig.run(60 * SECOND);
    assert_eq!(of_type(&rig, RS), [], "nor ask for them");
}

#[test]
fn a_lifetime_of_zero_ends_a_router_and_the_next_one_is_used() {
    let (rig, _) = configured();
    say_from(&rig, OTHER_MAC, &router(SECOND_ROUTER, 600, &[source_mac(OTHER_MAC)]));
    let socket = socket(&rig);
    assert_eq!(send(&rig, &socket, FAR)[0].0, PEER_MAC);
    say(&rig, &usual(0));
    assert_eq!(send(&rig, &socket, FAR)[0].0, OTHER_MAC);
    rig.run(601 * SECOND);
    assert!(socket.send_to(b"x", (FAR, 7)).is_err(), "none is left");
}

#[test]
fn a_preferred_router_is_used_before_another() {
    let (rig, _) = configured();
    let high = [64, 0b0000_1000, 2, 0x58, 0, 0, 0, 0, 0, 0, 0, 0];
    say_from(
        &rig,
        OTHER_MAC,
        &message(RA, SECOND_ROUTER, ALL_NODES, &high, &[source_mac(OTHER_MAC)]),
    );
    assert_eq!(send(&rig, &socket(&rig), FAR)[0].0, OTHER_MAC, "RFC 4191 §3.2");
}

#[test]
fn a_router_that_does_not_answer_is_passed_over() {
    let (rig, _) = configured();
    say_from(&rig, OTHER_MAC, &router(SECOND_ROUTER, 1_800, &[source_mac(OTHER_MAC)]));
    let socket = socket(&rig);
    assert_eq!(send(&rig, &socket, FAR)[0].0, PEER_MAC);
    // Stale, asked about after five seconds, and given up after three questions.
    rig.run(9 * SECOND);
    rig.hear();
    assert_eq!(neighbour(&rig, FIRST).map(|entry| entry.state), Some(NeighbourState::Failed));
    assert_eq!(send(&rig, &socket, FAR)[0].0, OTHER_MAC, "RFC 4861 §6.3.6");
}

#[test]
fn a_neighbour_that_is_no_router_any_more_is_no_default_router() {
    let (rig, _) = configured();
    let host = advertise(FIRST, ALL_NODES, FIRST, 0x20, &[target_mac(PEER_MAC)]);
    say(&rig, &host);
    assert_eq!(rig.inet.routers(), [], "RFC 4861 §7.2.5");
    assert_eq!(routes(&rig), ["2001:db8:1::/64"]);
}

#[test]
fn the_mtu_that_a_router_allows_bounds_what_is_sent() {
    let rig = looking();
    say(
        &rig,
        &router(
            FIRST,
            1_800,
            &[source_mac(PEER_MAC), mtu(1_300), prefix("2001:db8:1::/64", 0xc0, 600, 600)],
        ),
    );
    rig.run(3 * SECOND);
    rig.hear();
    let socket = socket(&rig);
    socket.send_to(&[7; 1_400], (FAR, 7)).expect("there is a route");
    rig.run(Duration::from_millis(1));
    let sent = rig.hear_ip6();
    assert_eq!(sent.len(), 2, "in fragments");
    assert!(sent.iter().all(|ip| ip.bytes().len() <= 1_300));
}

#[test]
fn a_redirect_from_the_first_hop_is_followed_and_no_other() {
    let (rig, addr) = configured();
    let socket = socket(&rig);
    let better = |from| redirect(from, addr, SECOND_ROUTER, FAR, &[target_mac(OTHER_MAC)]);
    say_from(&rig, OTHER_MAC, &better(SECOND_ROUTER));
    assert_eq!(send(&rig, &socket, FAR)[0].0, PEER_MAC, "RFC 4861 §8.1: not from the first hop");
    assert_eq!(rig.inet.drops().get(DropReason::IcmpIgnored), 1);
    say(&rig, &better(FIRST));
    assert_eq!(send(&rig, &socket, FAR)[0].0, OTHER_MAC);
    assert_eq!(routes(&rig)[1], "2001:db8:9::9/128 via fe80::fd");
    assert!(
        neighbour(&rig, SECOND_ROUTER).is_some_and(|entry| entry.router),
        "RFC 4861 §8.3: it is a router"
    );
    // The destination itself may be on the link.
    say_from(&rig, OTHER_MAC, &redirect(SECOND_ROUTER, addr, FAR, FAR, &[target_mac(OTHER_MAC)]));
    let sent = send(&rig, &socket, FAR);
    assert_eq!(sent[0].0, OTHER_MAC);
    assert_eq!(routes(&rig)[1], "2001:db8:9::9/128");
    rig.run(601 * SECOND);
    rig.hear();
    assert_eq!(routes(&rig).len(), 2, "it is forgotten");
}

#[test]
fn the_target_of_a_redirect_is_stale_until_it_is_asked() {
    let (rig, addr) = configured();
    let leads = |n: u16, mac| {
        let dst = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, n);
        say(&rig, &redirect(FIRST, addr, SECOND_ROUTER, dst, &[target_mac(mac)]));
        let entry = neighbour(&rig, SECOND_ROUTER).expect("an entry");
        (entry.stale, entry.mac)
    };
    assert_eq!(leads(1, OTHER_MAC), (true, Some(OTHER_MAC)), "RFC 4861 §8.3");
    let told = advertise(SECOND_ROUTER, addr, SECOND_ROUTER, SOLICITED | ROUTER, &[]);
    say_from(&rig, OTHER_MAC, &told);
    assert_eq!(leads(2, OTHER_MAC), (false, Some(OTHER_MAC)), "the same address changes nothing");
    assert_eq!(leads(3, PEER_MAC), (true, Some(PEER_MAC)));
}

#[test]
fn a_routers_entry_says_that_it_is_one_and_is_stale() {
    let rig = looking();
    rig.run(3 * SECOND);
    let entry = || neighbour(&rig, FIRST).map(|entry| (entry.stale, entry.router, entry.mac));
    say(&rig, &router(FIRST, 1_800, &[]));
    assert_eq!(rig.inet.routers().len(), 1);
    assert_eq!(entry(), None, "RFC 4861 §7.2: there is nothing to make an entry of");
    say(&rig, &usual(1_800));
    assert_eq!(entry(), Some((true, true, Some(PEER_MAC))), "RFC 4861 §6.3.4");
    let local = addresses(&rig, AddressOrigin::LinkLocal)[0];
    say(&rig, &advertise(FIRST, local, FIRST, SOLICITED, &[]));
    assert_eq!(entry(), Some((false, false, Some(PEER_MAC))), "what it says of itself counts");
    say(&rig, &router(FIRST, 1_800, &[]));
    assert_eq!(entry(), Some((false, true, Some(PEER_MAC))), "nothing else is changed");
    say_from(&rig, OTHER_MAC, &router(FIRST, 1_800, &[source_mac(OTHER_MAC)]));
    assert_eq!(entry(), Some((true, true, Some(OTHER_MAC))));
}

#[test]
fn a_deprecated_address_goes_on_being_ours() {
    let rig = looking();
    let brief = prefix("2001:db8:1::/64", ON_LINK | AUTONOMOUS, 86_400, 10);
    say(&rig, &router(FIRST, 1_800, &[source_mac(PEER_MAC), brief]));
    rig.run(20 * SECOND);
    let entry = rig.inet.interfaces().swap_remove(1).addresses.into_iter();
    let old = entry.filter(|entry| entry.state == AddressState::Deprecated).count();
    assert_eq!(old, 1);
    let addr = addresses(&rig, AddressOrigin::Autonomous)[0];
    rig.hear();
    say(&rig, &Icmp::echo6(7, 1, b"still there?").packet6(FAR, addr));
    let said = rig.hear_ip6();
    assert!(said.iter().any(|ip| (ip.src, ip.dst) == (addr, FAR)), "RFC 4862 §5.5.4: {said:?}");
    let _listener = rig.stack.tcp_listen((Ipv6Addr::UNSPECIFIED, 80)).expect("a free port");
    let syn = Tcp { src: 4_321, dst: 80, seq: 99, flags: SYN, window: 65_535, ..Tcp::default() };
    say(&rig, &syn.packet6(FAR, addr));
    let said = rig.hear_ip6().into_iter().find(|ip| ip.tcp().is_some()).expect("an answer");
    assert_eq!((said.src, said.tcp().map(|tcp| tcp.has(SYN | ACK))), (addr, Some(true)));
    let chosen = rig.stack.udp_bind((addr, 5_000)).expect("RFC 4862 §5.5.4: it may be named");
    let sent = send(&rig, &chosen, FAR);
    assert!(sent.iter().any(|(_, ip)| (ip.src, ip.dst) == (addr, FAR)), "{sent:?}");
}

#[test]
fn a_router_cannot_redirect_what_is_sent_to_itself_nor_anything_to_us() {
    let (rig, addr) = configured();
    let before = routes(&rig);
    say(&rig, &redirect(FIRST, addr, SECOND_ROUTER, FIRST, &[target_mac(OTHER_MAC)]));
    let ours = addresses(&rig, AddressOrigin::LinkLocal)[0];
    say(&rig, &redirect(FIRST, addr, ours, FAR, &[]));
    assert_eq!(routes(&rig), before);
    assert_eq!(rig.inet.drops().get(DropReason::IcmpIgnored), 2);
}

#[test]
fn redirects_are_not_followed_where_that_is_turned_off() {
    let mut config = InetConfig::default();
    config.nd.accept_redirects = false;
    let rig = looking_with(config);
    say(&rig, &usual(1_800));
    rig.run(3 * SECOND);
    let addr = addresses(&rig, AddressOrigin::Autonomous)[0];
    say(&rig, &redirect(FIRST, addr, SECOND_ROUTER, FAR, &[target_mac(OTHER_MAC)]));
    assert_eq!(routes(&rig).len(), 2);
}

/// A router that advertises a prefix.
fn advertising() -> Rig {
    advertising_as(Forwarding::On)
}

fn advertising_as(forwarding: Forwarding) -> Rig {
    let mut config = InetConfig::default();
    config.forwarding.ipv6 = forwarding == Forwarding::On;
    let mut says = Advertise::default();
    says.prefixes.push(AdvertisedPrefix::new("2001:db8:1::/64".parse().expect("a prefix")));
    says.mtu = Some(1_400);
    says.dns_servers.push(FAR);
    let rig =
        Rig::configured(config, |interface| interface.addr("2001:db8:1::1/64").advertise(says));
    rig.run(3 * SECOND);
    rig
}

/// The flags of what it answers when it is asked for.
fn answered_with(rig: &Rig) -> u8 {
    rig.hear();
    let local = addresses(rig, AddressOrigin::LinkLocal)[0];
    let body = [&[0; 4][..], &local.octets()].concat();
    say(rig, &message(NS, HOST, local, &body, &[source_mac(PEER_MAC)]));
    of_type(rig, NA)[0].flags()
}

#[test]
fn a_router_tells_all_of_its_prefixes_and_of_itself() {
    let rig = advertising();
    let said = of_type(&rig, RA);
    assert_eq!(said.len(), 1);
    let local = addresses(&rig, AddressOrigin::LinkLocal)[0];
    assert_eq!((said[0].src, said[0].dst), (local, ALL_NODES));
    assert_eq!(said[0].body[..4], [64, 0, 7, 8], "hop limit, flags, a lifetime of 1800 s");
    assert_eq!(said[0].mac(), Some(US_MAC));
    let info = said[0].option(3).expect("a prefix");
    assert_eq!((info[0], info[1]), (64, 0xc0));
    assert_eq!(said[0].option(5).expect("an MTU")[2..], 1_400u32.to_be_bytes());
    assert_eq!(said[0].option(25).expect("a name server")[6..], FAR.octets());
}

#[test]
fn who_asks_for_routers_is_answered_and_known_as_a_host() {
    let rig = advertising();
    rig.run(60 * SECOND);
    rig.hear();
    say(&rig, &message(RS, HOST, ALL_ROUTERS, &[0; 4], &[source_mac(PEER_MAC)]));
    rig.run(SECOND / 2);
    assert_eq!(of_type(&rig, RA).len(), 1);
    assert!(
        neighbour(&rig, HOST).is_some_and(|entry| !entry.router && entry.mac == Some(PEER_MAC))
    );
    for _ in 0..20 {
        say(&rig, &message(RS, HOST, ALL_ROUTERS, &[0; 4], &[source_mac(PEER_MAC)]));
        rig.run(SECOND / 10);
    }
    assert_eq!(of_type(&rig, RA).len(), 0, "RFC 4861 §6.2.6: once in three seconds");
}

#[test]
fn who_asks_for_routers_from_nobody_is_answered_and_not_entered() {
    let rig = advertising();
    rig.run(60 * SECOND);
    rig.hear();
    let before = rig.inet.neighbours().len();
    say(&rig, &message(RS, Ipv6Addr::UNSPECIFIED, ALL_ROUTERS, &[0; 4], &[]));
    rig.run(SECOND / 2);
    assert_eq!(of_type(&rig, RA).len(), 1);
    assert_eq!(rig.inet.neighbours().len(), before);
}

#[test]
fn a_router_says_that_it_is_one_when_it_is_asked_for() {
    assert_eq!(answered_with(&advertising()) & (ROUTER | SOLICITED), ROUTER | SOLICITED);
}

#[test]
fn who_does_not_forward_advertises_no_default_router() {
    let rig = advertising_as(Forwarding::Off);
    let said = of_type(&rig, RA);
    assert_eq!(said[0].body[2..4], [0, 0], "RFC 4861 §6.2.5: a lifetime of zero");
    assert!(said[0].option(3).is_some(), "its prefixes are those of the link all the same");
    assert_eq!(answered_with(&rig) & ROUTER, 0);
    for (forwarding, lifetime, flag) in
        [(Forwarding::On, [7, 8], ROUTER), (Forwarding::Off, [0, 0], 0)]
    {
        rig.inet.set_forwarding(Family::Inet6, forwarding);
        rig.run(4 * SECOND);
        let said = of_type(&rig, RA);
        assert_eq!(said[0].body[2..4], lifetime, "hosts hear of it soon: {forwarding:?}");
        assert_eq!(answered_with(&rig) & ROUTER, flag);
    }
}

#[test]
fn who_asks_for_routers_by_another_station_has_moved_there() {
    let rig = advertising();
    let asks =
        |mac| say_from(&rig, mac, &message(RS, HOST, ALL_ROUTERS, &[0; 4], &[source_mac(mac)]));
    let entry = || neighbour(&rig, HOST).expect("an entry");
    asks(PEER_MAC);
    assert_eq!((entry().stale, entry().mac), (true, Some(PEER_MAC)));
    let local = addresses(&rig, AddressOrigin::LinkLocal)[0];
    say(&rig, &advertise(HOST, local, HOST, SOLICITED, &[target_mac(PEER_MAC)]));
    asks(PEER_MAC);
    assert!(!entry().stale, "the same address changes nothing");
    asks(OTHER_MAC);
    assert_eq!((entry().stale, entry().mac), (true, Some(OTHER_MAC)), "RFC 4861 §6.2.6");
}

#[test]
fn a_router_does_not_follow_redirects_and_hosts_do_not_answer_solicitations() {
    let rig = advertising();
    let before = rig.inet.drops().get(DropReason::IcmpIgnored);
    say(&rig, &redirect(FIRST, "2001:db8:1::1".parse().expect("ours"), FAR, FAR, &[]));
    assert_eq!(rig.inet.drops().get(DropReason::IcmpIgnored), before + 1);
    let (rig, _) = configured();
    say(&rig, &message(RS, FIRST, ALL_ROUTERS, &[0; 4], &[]));
    assert_eq!(of_type(&rig, RA), []);
}

#[test]
fn the_last_word_of_a_router_is_that_it_is_none() {
    let rig = advertising();
    rig.hear();
    let index = rig.inet.interfaces()[1].index;
    rig.inet.set_up(index, AdminState::Down).expect("it is there");
    rig.run(MOMENT);
    let said = of_type(&rig, RA);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].body[2..4], [0, 0], "a lifetime of zero");
    rig.inet.set_up(index, AdminState::Up).expect("it is there");
    rig.run(3 * SECOND);
    assert_eq!(of_type(&rig, RA)[0].body[2..4], [7, 8], "and it is one again");
    rig.inet.advertise(index, None).expect("it is there");
    rig.run(MOMENT);
    assert_eq!(of_type(&rig, RA)[0].body[2..4], [0, 0]);
    rig.run(1_800 * SECOND);
    assert_eq!(of_type(&rig, RA), []);
}

#[test]
fn a_router_takes_nothing_from_the_advertisements_of_others() {
    let mut config = InetConfig::default();
    config.forwarding.ipv6 = true;
    let rig = looking_with(config);
    rig.run(SECOND * 5);
    say(&rig, &usual(1_800));
    assert!(rig.inet.routes().iter().all(|route| route.gateway.is_none()), "no default route");
    assert!(rig.inet.drops().get(DropReason::IcmpIgnored) > 0);
    rig.inet.set_forwarding(libnet::Family::Inet6, libnetinet::Forwarding::Off);
    say(&rig, &usual(1_800));
    assert!(rig.inet.routes().iter().any(|route| route.gateway == Some(FIRST.into())));
}

#[test]
fn the_hop_limit_that_a_router_asks_for_is_used_by_whoever_set_none() {
    let (rig, addr) = configured();
    let (usual, own) = (socket(&rig), rig.stack.udp_bind((Ipv6Addr::UNSPECIFIED, 5_001)));
    let own = own.expect("a free port");
    own.socket().set_option(SocketOption::Ttl(9)).expect("a hop limit");
    let hops = |socket: &UdpSocket| send(&rig, socket, FAR)[0].1.hops;
    assert_eq!((hops(&usual), hops(&own)), (64, 9));
    say(&rig, &asking_for_hops(77));
    assert_eq!((hops(&usual), hops(&own)), (77, 9), "of what follows, at once");
    assert_eq!(usual.socket().option(OptionKey::Ttl).ok(), Some(SocketOption::Ttl(77)));
    let stream = rig.stack.socket(Family::Inet6, SockType::Stream, Protocol::DEFAULT);
    let stream = stream.expect("a socket");
    stream.set_nonblocking(true);
    assert!(stream.connect((FAR, 80).into()).is_err(), "it is on its way");
    rig.run(MOMENT);
    let syn = rig.hear_ip6().into_iter().find(|ip| ip.tcp().is_some()).expect("a SYN");
    assert_eq!(syn.hops, 77);
    say(&rig, &Icmp { ty: 128, code: 0, rest: [0, 1, 0, 1], data: vec![1] }.packet6(FAR, addr));
    let reply = rig.hear_ip6().into_iter().find(|ip| ip.icmp().is_some()).expect("a reply");
    assert_eq!(reply.hops, 77);
    say(&rig, &asking_for_hops(0));
    assert_eq!(hops(&usual), 77, "RFC 4861 §4.2: zero says nothing");
}

/// The router's advertisement with a hop limit.
fn asking_for_hops(hops: u8) -> Ip6 {
    let lifetime = 1_800u16.to_be_bytes();
    let body = [hops, 0, lifetime[0], lifetime[1], 0, 0, 0, 0, 0, 0, 0, 0];
    message(RA, FIRST, ALL_NODES, &body, &[source_mac(PEER_MAC)])
}
