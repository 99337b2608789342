//! Every option that maps keeps what it was given; the host's own errors come for the others.

use std::time::Duration;

use libnet::net::Socket;
use libnet::socket::{
    Family, FilterMode, GroupInterface, MtuDiscovery, MulticastGroup, OptionKey as Key, Protocol,
    SockType, SocketOption as Opt, SourceFilter,
};

use crate::new_layer;

const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENOPROTOOPT: i32 = 92;
const EOPNOTSUPP: i32 = 95;
const EADDRNOTAVAIL: i32 = 99;

fn keeps(socket: &Socket, key: Key, values: &[Opt]) {
    for value in values {
        socket.set_option(value.clone()).unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(socket.option(key).unwrap(), *value);
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What streams and datagram sockets of a family share.
fn shared(socket: &Socket) {
    keeps(socket, Key::ReuseAddr, &[Opt::ReuseAddr(true), Opt::ReuseAddr(false)]);
    keeps(socket, Key::ReusePort, &[Opt::ReusePort(true), Opt::ReusePort(false)]);
    keeps(socket, Key::Broadcast, &[Opt::Broadcast(true), Opt::Broadcast(false)]);
    keeps(socket, Key::KeepAlive, &[Opt::KeepAlive(true), Opt::KeepAlive(false)]);
    keeps(socket, Key::Linger, &[Opt::Linger(Some(seconds(3))), Opt::Linger(None)]);
    keeps(socket, Key::Ttl, &[Opt::Ttl(1), Opt::Ttl(255)]);
    keeps(socket, Key::Tos, &[Opt::Tos(0xb8), Opt::Tos(0)]);
    keeps(socket, Key::ReceiveErrors, &[Opt::ReceiveErrors(true), Opt::ReceiveErrors(false)]);
    keeps(socket, Key::UrgentInline, &[Opt::UrgentInline(true), Opt::UrgentInline(false)]);
    keeps(socket, Key::BindToDevice, &[Opt::BindToDevice(String::new())]);
    for how in
        [MtuDiscovery::Never, MtuDiscovery::IfItFits, MtuDiscovery::Always, MtuDiscovery::Probe]
    {
        keeps(socket, Key::MtuDiscovery, &[Opt::MtuDiscovery(how)]);
    }
    for (key, set) in [
        (Key::SendBufferBytes, Opt::SendBufferBytes as fn(u32) -> Opt),
        (Key::ReceiveBufferBytes, Opt::ReceiveBufferBytes),
    ] {
        socket.set_option(set(20_000)).unwrap();
        // socket(7): the kernel doubles it.
        assert_eq!(socket.option(key).unwrap(), set(40_000));
    }
}

fn datagrams(socket: &Socket) {
    shared(socket);
    keeps(socket, Key::MulticastLoop, &[Opt::MulticastLoop(false), Opt::MulticastLoop(true)]);
    keeps(socket, Key::MulticastTtl, &[Opt::MulticastTtl(0), Opt::MulticastTtl(7)]);
    keeps(socket, Key::ReceiveTtl, &[Opt::ReceiveTtl(true), Opt::ReceiveTtl(false)]);
    keeps(socket, Key::ReceiveTos, &[Opt::ReceiveTos(true), Opt::ReceiveTos(false)]);
    let info = [Opt::ReceivePacketInfo(true), Opt::ReceivePacketInfo(false)];
    keeps(socket, Key::ReceivePacketInfo, &info);
    keeps(socket, Key::ReceiveTime, &[Opt::ReceiveTime(true), Opt::ReceiveTime(false)]);
}

/// A group on the loopback, and whatever sources are asked for.
fn groups(socket: &Socket, group: &str, source_of: impl Fn(u8) -> String) {
    let group = group.parse().expect("an address");
    let group = MulticastGroup { group, interface: GroupInterface::Index(1) };
    let source = |n| source_of(n).parse().expect("an address");
    keeps(socket, Key::MulticastAll, &[Opt::MulticastAll(false), Opt::MulticastAll(true)]);
    socket.set_option(Opt::MulticastInterface(GroupInterface::Index(1))).unwrap();
    socket.set_option(Opt::MulticastInterface(GroupInterface::Any)).unwrap();
    assert_eq!(
        socket.option(Key::MulticastInterface).unwrap(),
        Opt::MulticastInterface(GroupInterface::Any)
    );
    socket.set_option(Opt::JoinSource(group, source(1))).unwrap();
    socket.set_option(Opt::LeaveSource(group, source(1))).unwrap();
    socket.set_option(Opt::JoinGroup(group)).unwrap();
    socket.set_option(Opt::BlockSource(group, source(1))).unwrap();
    socket.set_option(Opt::UnblockSource(group, source(1))).unwrap();
    // Ten is what Linux allows over IPv4 unless `net.ipv4.igmp_max_msf` says otherwise.
    for mode in [FilterMode::Include, FilterMode::Exclude] {
        let filter = SourceFilter { group, mode, sources: (1..=10).map(source).collect() };
        socket.set_option(Opt::SourceFilter(filter.clone())).unwrap();
        assert_eq!(socket.option(Key::SourceFilter(group)).unwrap(), Opt::SourceFilter(filter));
    }
    socket.set_option(Opt::LeaveGroup(group)).unwrap();
    let number = socket.option(Key::SourceFilter(group)).unwrap_err().raw_os_error();
    assert_eq!(number, Some(EADDRNOTAVAIL));
    let other = if group.group.is_ipv4() { "ff15::1" } else { "239.1.1.1" };
    let other = MulticastGroup { group: other.parse().expect("an address"), ..group };
    for option in [Opt::JoinGroup(other), Opt::LeaveGroup(other), Opt::JoinSource(other, source(1))]
    {
        let number = socket.set_option(option).unwrap_err().raw_os_error();
        assert_eq!(number, Some(EINVAL), "a group of the other family");
    }
}

#[test]
fn groups_and_their_sources_are_the_host_s() {
    let layer = new_layer();
    let open = |family| layer.socket(family, SockType::Datagram, Protocol::DEFAULT);
    let four = open(Family::Inet).unwrap();
    groups(&four, "239.9.8.7", |n| format!("192.0.2.{n}"));
    let at = |addr: &str, group: &str| MulticastGroup {
        group: group.parse().expect("an address"),
        interface: GroupInterface::Address(addr.parse().expect("an address")),
    };
    // The loopback has all of its network.
    for addr in ["127.0.0.1", "127.9.8.7"] {
        let group = at(addr, "239.9.8.6");
        four.set_option(Opt::JoinSource(group, "192.0.2.1".parse().unwrap())).unwrap();
        four.set_option(Opt::LeaveGroup(group)).unwrap();
    }
    let Ok(six) = open(Family::Inet6) else {
        eprintln!("skipped: the host has no IPv6");
        return;
    };
    groups(&six, "ff15::987", |n| format!("2001:db8::{n:x}"));
    six.set_option(Opt::JoinGroup(at("127.0.0.1", "ff15::986"))).unwrap();
    let nowhere = six.set_option(Opt::JoinGroup(at("192.0.2.99", "ff15::985"))).unwrap_err();
    assert_eq!(nowhere.raw_os_error(), Some(ENODEV));
}

fn streams(socket: &Socket) {
    shared(socket);
    keeps(socket, Key::NoDelay, &[Opt::NoDelay(true), Opt::NoDelay(false)]);
    keeps(socket, Key::KeepIdle, &[Opt::KeepIdle(seconds(9))]);
    keeps(socket, Key::KeepInterval, &[Opt::KeepInterval(seconds(8))]);
    keeps(socket, Key::KeepCount, &[Opt::KeepCount(7)]);
    keeps(socket, Key::UserTimeout, &[Opt::UserTimeout(Duration::from_millis(1_500))]);
    socket.set_option(Opt::MaxSegmentBytes(1_200)).unwrap();
    assert!(matches!(socket.option(Key::MaxSegmentBytes).unwrap(), Opt::MaxSegmentBytes(_)));
}

#[test]
fn options_of_ipv4_keep_what_they_were_given() {
    let layer = new_layer();
    let open = |ty| layer.socket(Family::Inet, ty, Protocol::DEFAULT).unwrap();
    datagrams(&open(SockType::Datagram));
    streams(&open(SockType::Stream));
}

#[test]
fn options_of_ipv6_keep_what_they_were_given() {
    let layer = new_layer();
    let Ok(udp) = layer.socket(Family::Inet6, SockType::Datagram, Protocol::DEFAULT) else {
        eprintln!("skipped: the host has no IPv6");
        return;
    };
    datagrams(&udp);
    keeps(&udp, Key::V6Only, &[Opt::V6Only(true), Opt::V6Only(false)]);
    streams(&layer.socket(Family::Inet6, SockType::Stream, Protocol::DEFAULT).unwrap());
}

#[test]
fn a_fresh_socket_discovers_mtus_as_the_host_does() {
    let layer = new_layer();
    let socket = layer.socket(Family::Inet, SockType::Datagram, Protocol::DEFAULT).unwrap();
    let host =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    let theirs = rustix::net::sockopt::ip_mtu_discover(host.unwrap()).unwrap();
    let expected = match theirs {
        rustix::net::sockopt::Ipv4PathMtuDiscovery::DONT => MtuDiscovery::Never,
        _ => MtuDiscovery::IfItFits,
    };
    assert_eq!(socket.option(Key::MtuDiscovery).unwrap(), Opt::MtuDiscovery(expected));
}

#[test]
fn what_a_type_has_not_is_refused_with_the_hosts_number() {
    let layer = new_layer();
    let udp = layer.socket(Family::Inet, SockType::Datagram, Protocol::DEFAULT).unwrap();
    for option in [Opt::NoDelay(true), Opt::KeepCount(3), Opt::HeaderIncluded(true)] {
        let number = udp.set_option(option.clone()).unwrap_err().raw_os_error();
        // A datagram socket has no options at TCP's level.
        assert!(matches!(number, Some(ENOPROTOOPT | EOPNOTSUPP)), "{option:?}: {number:?}");
    }
    let v4 = layer.socket(Family::Inet, SockType::Stream, Protocol::DEFAULT).unwrap();
    assert!(v4.set_option(Opt::V6Only(true)).is_err());
    assert_eq!(v4.set_option(Opt::Ttl(0)).unwrap_err().raw_os_error(), Some(22));
}

#[test]
fn a_raw_socket_may_write_the_header_itself() {
    let layer = new_layer();
    let raw = match layer.socket(Family::Inet, SockType::Raw, Protocol(253)) {
        Ok(raw) => raw,
        Err(error) => {
            eprintln!("skipped: no raw sockets here: {error}");
            return;
        }
    };
    keeps(&raw, Key::HeaderIncluded, &[Opt::HeaderIncluded(true), Opt::HeaderIncluded(false)]);
    raw.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    raw.send_to(b"experimental", "127.0.0.1:0".parse().unwrap()).unwrap();
    let mut buf = [0; 64];
    let (bytes, from) = raw.recv_from(&mut buf).unwrap();
    assert_eq!((bytes, from.to_string()), (32, "127.0.0.1:0".to_owned()));
    assert_eq!(&buf[20..32], b"experimental");
}

#[test]
fn a_ping_socket_is_answered() {
    let layer = new_layer();
    let ping = match layer.socket(Family::Inet, SockType::Datagram, Protocol::ICMP) {
        Ok(ping) => ping,
        Err(error) => {
            eprintln!("skipped: ping sockets are not allowed here: {error}");
            return;
        }
    };
    ping.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    ping.send_to(&[8, 0, 0, 0, 0, 0, 0, 7, b'x'], "127.0.0.1:0".parse().unwrap()).unwrap();
    let mut buf = [0; 64];
    let (bytes, from) = ping.recv_from(&mut buf).unwrap();
    assert_eq!((bytes, from.ip().to_string()), (9, "127.0.0.1".to_owned()));
    assert_eq!((buf[0], &buf[6..9]), (0, &[0, 7, b'x'][..]), "an echo reply");
}
