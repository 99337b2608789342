//! Socket options, each passed through to the host's of the same name.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use libnet::errno;
use libnet::socket::{Family, MtuDiscovery, OptionKey, SocketOption as Opt};
use nix::sys::socket::{getsockopt, setsockopt, sockopt as nixopt};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};

use crate::table::{AskedFor, Entry};
use crate::{multicast, stream, sys};

/// Sets an option; the host's own error if it refuses, `ENOPROTOOPT` for what it does not have.
pub(crate) fn set(entry: &Entry, option: Opt) -> io::Result<()> {
    // Of a stream's bytes nothing is told, whatever the host keeps.
    let told = match option {
        _ if entry.is_stream() => None,
        Opt::ReceiveTtl(on) => Some((AskedFor::TTL, on)),
        Opt::ReceiveTos(on) => Some((AskedFor::TOS, on)),
        Opt::ReceivePacketInfo(on) => Some((AskedFor::PACKET_INFO, on)),
        Opt::ReceiveTime(on) => Some((AskedFor::TIME, on)),
        _ => None,
    };
    set_on_host(entry, option)?;
    if let Some((what, on)) = told {
        entry.asked_for.set(what, on);
    }
    Ok(())
}

fn set_on_host(entry: &Entry, option: Opt) -> io::Result<()> {
    let fd = &entry.fd;
    if let Some(done) = stream::set(fd, is_v6(entry), &option) {
        return done;
    }
    match option {
        Opt::UrgentInline(on) => sockopt::set_socket_oobinline(fd, on)?,
        Opt::ReceiveTime(on) => setsockopt(fd, nixopt::ReceiveTimestampns, &on)?,
        Opt::ReuseAddr(on) => sockopt::set_socket_reuseaddr(fd, on)?,
        Opt::ReusePort(on) => sockopt::set_socket_reuseport(fd, on)?,
        Opt::Broadcast(on) => sockopt::set_socket_broadcast(fd, on)?,
        Opt::KeepAlive(on) => sockopt::set_socket_keepalive(fd, on)?,
        Opt::SendBufferBytes(bytes) => sockopt::set_socket_send_buffer_size(fd, bytes as usize)?,
        Opt::ReceiveBufferBytes(bytes) => sockopt::set_socket_recv_buffer_size(fd, bytes as usize)?,
        Opt::Linger(time) => sockopt::set_socket_linger(fd, time)?,
        Opt::NoDelay(on) => sockopt::set_tcp_nodelay(fd, on)?,
        Opt::Cork(on) => sockopt::set_tcp_cork(fd, on)?,
        Opt::QuickAck(on) => sockopt::set_tcp_quickack(fd, on)?,
        Opt::KeepIdle(time) => sockopt::set_tcp_keepidle(fd, time)?,
        Opt::KeepInterval(time) => sockopt::set_tcp_keepintvl(fd, time)?,
        Opt::KeepCount(probes) => sockopt::set_tcp_keepcnt(fd, probes)?,
        Opt::UserTimeout(time) => {
            let millis = u32::try_from(time.as_millis()).map_err(|_| errno::invalid())?;
            sockopt::set_tcp_user_timeout(fd, millis)?;
        }
        Opt::Congestion(name) => sockopt::set_tcp_congestion(fd, &name)?,
        Opt::MaxSegmentBytes(bytes) => setsockopt(fd, nixopt::TcpMaxSeg, &bytes)?,
        Opt::ReceiveErrors(on) if is_v6(entry) => setsockopt(fd, nixopt::Ipv6RecvErr, &on)?,
        Opt::ReceiveErrors(on) => setsockopt(fd, nixopt::Ipv4RecvErr, &on)?,
        Opt::V6Only(on) => sockopt::set_ipv6_v6only(fd, on)?,
        Opt::BindToDevice(name) => setsockopt(fd, nixopt::BindToDevice, &OsString::from(name))?,
        option @ (Opt::JoinGroup(_)
        | Opt::LeaveGroup(_)
        | Opt::JoinSource(..)
        | Opt::LeaveSource(..)
        | Opt::BlockSource(..)
        | Opt::UnblockSource(..)
        | Opt::SourceFilter(_)
        | Opt::MulticastInterface(_)
        | Opt::MulticastAll(_)) => multicast::set(fd, entry.kind.family, &option)?,
        other if is_v6(entry) => set_v6(entry, &other)?,
        other => set_v4(entry, &other)?,
    }
    Ok(())
}

fn set_v4(entry: &Entry, option: &Opt) -> io::Result<()> {
    let fd = &entry.fd;
    match *option {
        Opt::Ttl(hops) => sockopt::set_ip_ttl(fd, hops.into())?,
        Opt::Tos(octet) => sockopt::set_ip_tos(fd, octet)?,
        Opt::MulticastTtl(hops) => sockopt::set_ip_multicast_ttl(fd, hops.into())?,
        Opt::MulticastLoop(on) => sockopt::set_ip_multicast_loop(fd, on)?,
        Opt::MtuDiscovery(how) => sockopt::set_ip_mtu_discover(fd, to_v4(how)?)?,
        Opt::HeaderIncluded(on) => sys::set_header_included(fd, on)?,
        Opt::ReceiveTtl(on) => setsockopt(fd, nixopt::Ipv4RecvTtl, &on)?,
        Opt::ReceiveTos(on) => setsockopt(fd, nixopt::IpRecvTos, &on)?,
        Opt::ReceivePacketInfo(on) => setsockopt(fd, nixopt::Ipv4PacketInfo, &on)?,
        _ => return Err(errno::no_such_option()),
    }
    Ok(())
}

fn set_v6(entry: &Entry, option: &Opt) -> io::Result<()> {
    let fd = &entry.fd;
    match *option {
        Opt::Ttl(hops) => sockopt::set_ipv6_unicast_hops(fd, Some(hops))?,
        Opt::Tos(octet) => sockopt::set_ipv6_tclass(fd, octet.into())?,
        Opt::MulticastTtl(hops) => sockopt::set_ipv6_multicast_hops(fd, hops.into())?,
        Opt::MulticastLoop(on) => sockopt::set_ipv6_multicast_loop(fd, on)?,
        Opt::MtuDiscovery(how) => sockopt::set_ipv6_mtu_discover(fd, to_v6(how)?)?,
        Opt::DontFragment(on) => setsockopt(fd, nixopt::Ipv6DontFrag, &on)?,
        Opt::ReceiveTtl(on) => setsockopt(fd, nixopt::Ipv6RecvHopLimit, &on)?,
        Opt::ReceiveTos(on) => setsockopt(fd, nixopt::Ipv6RecvTClass, &on)?,
        Opt::ReceivePacketInfo(on) => setsockopt(fd, nixopt::Ipv6RecvPacketInfo, &on)?,
        _ => return Err(errno::no_such_option()),
    }
    Ok(())
}

/// Reads an option, as [`set`] writes it.
pub(crate) fn get(entry: &Entry, key: OptionKey) -> io::Result<Opt> {
    let fd = &entry.fd;
    if let Some(option) = stream::get(fd, key) {
        return option;
    }
    Ok(match key {
        OptionKey::UrgentInline => Opt::UrgentInline(sockopt::socket_oobinline(fd)?),
        OptionKey::ReceiveTime => Opt::ReceiveTime(getsockopt(fd, nixopt::ReceiveTimestampns)?),
        OptionKey::ReuseAddr => Opt::ReuseAddr(sockopt::socket_reuseaddr(fd)?),
        OptionKey::ReusePort => Opt::ReusePort(sockopt::socket_reuseport(fd)?),
        OptionKey::Broadcast => Opt::Broadcast(sockopt::socket_broadcast(fd)?),
        OptionKey::KeepAlive => Opt::KeepAlive(sockopt::socket_keepalive(fd)?),
        OptionKey::SendBufferBytes => {
            Opt::SendBufferBytes(narrow(sockopt::socket_send_buffer_size(fd)?))
        }
        OptionKey::ReceiveBufferBytes => {
            Opt::ReceiveBufferBytes(narrow(sockopt::socket_recv_buffer_size(fd)?))
        }
        OptionKey::Linger => Opt::Linger(sockopt::socket_linger(fd)?),
        OptionKey::NoDelay => Opt::NoDelay(sockopt::tcp_nodelay(fd)?),
        OptionKey::Cork => Opt::Cork(sockopt::tcp_cork(fd)?),
        OptionKey::QuickAck => Opt::QuickAck(sockopt::tcp_quickack(fd)?),
        OptionKey::KeepIdle => Opt::KeepIdle(sockopt::tcp_keepidle(fd)?),
        OptionKey::KeepInterval => Opt::KeepInterval(sockopt::tcp_keepintvl(fd)?),
        OptionKey::KeepCount => Opt::KeepCount(sockopt::tcp_keepcnt(fd)?),
        OptionKey::UserTimeout => {
            Opt::UserTimeout(Duration::from_millis(sockopt::tcp_user_timeout(fd)?.into()))
        }
        OptionKey::Congestion => Opt::Congestion(sockopt::tcp_congestion(fd)?),
        OptionKey::MaxSegmentBytes => Opt::MaxSegmentBytes(getsockopt(fd, nixopt::TcpMaxSeg)?),
        OptionKey::ReceiveErrors if is_v6(entry) => {
            Opt::ReceiveErrors(getsockopt(fd, nixopt::Ipv6RecvErr)?)
        }
        OptionKey::ReceiveErrors => Opt::ReceiveErrors(getsockopt(fd, nixopt::Ipv4RecvErr)?),
        OptionKey::V6Only => Opt::V6Only(sockopt::ipv6_v6only(fd)?),
        OptionKey::BindToDevice => {
            let name = getsockopt(fd, nixopt::BindToDevice)?;
            Opt::BindToDevice(name.to_string_lossy().into_owned())
        }
        OptionKey::PathMtu if is_v6(entry) => Opt::PathMtu(sockopt::ipv6_mtu(fd)?),
        OptionKey::PathMtu => Opt::PathMtu(sockopt::ip_mtu(fd)?),
        OptionKey::DontFragment if is_v6(entry) => {
            Opt::DontFragment(getsockopt(fd, nixopt::Ipv6DontFrag)?)
        }
        OptionKey::MulticastInterface => multicast::interface(fd, entry.kind.family)?,
        OptionKey::MulticastAll => multicast::all(fd, entry.kind.family)?,
        OptionKey::SourceFilter(group) => multicast::filter(fd, entry.kind.family, group)?,
        other if is_v6(entry) => get_v6(entry, other)?,
        other => get_v4(entry, other)?,
    })
}

fn get_v4(entry: &Entry, key: OptionKey) -> io::Result<Opt> {
    let fd = &entry.fd;
    Ok(match key {
        OptionKey::Ttl => Opt::Ttl(octet(sockopt::ip_ttl(fd)?)),
        OptionKey::Tos => Opt::Tos(sockopt::ip_tos(fd)?),
        OptionKey::MulticastTtl => Opt::MulticastTtl(octet(sockopt::ip_multicast_ttl(fd)?)),
        OptionKey::MulticastLoop => Opt::MulticastLoop(sockopt::ip_multicast_loop(fd)?),
        OptionKey::MtuDiscovery => {
            let how = sockopt::ip_mtu_discover(fd)?;
            let all = V4_DISCOVERY.iter().find(|(_, theirs)| *theirs == how);
            Opt::MtuDiscovery(all.map(|(ours, _)| *ours).ok_or_else(errno::no_such_option)?)
        }
        OptionKey::HeaderIncluded => Opt::HeaderIncluded(sys::header_included(fd)?),
        OptionKey::ReceiveTtl => Opt::ReceiveTtl(getsockopt(fd, nixopt::Ipv4RecvTtl)?),
        OptionKey::ReceiveTos => Opt::ReceiveTos(getsockopt(fd, nixopt::IpRecvTos)?),
        OptionKey::ReceivePacketInfo => {
            Opt::ReceivePacketInfo(getsockopt(fd, nixopt::Ipv4PacketInfo)?)
        }
        _ => return Err(errno::no_such_option()),
    })
}

fn get_v6(entry: &Entry, key: OptionKey) -> io::Result<Opt> {
    let fd = &entry.fd;
    Ok(match key {
        OptionKey::Ttl => Opt::Ttl(sockopt::ipv6_unicast_hops(fd)?),
        OptionKey::Tos => Opt::Tos(octet(sockopt::ipv6_tclass(fd)?)),
        OptionKey::MulticastTtl => Opt::MulticastTtl(octet(sockopt::ipv6_multicast_hops(fd)?)),
        OptionKey::MulticastLoop => Opt::MulticastLoop(sockopt::ipv6_multicast_loop(fd)?),
        OptionKey::MtuDiscovery => {
            let how = sockopt::ipv6_mtu_discover(fd)?;
            let all = V6_DISCOVERY.iter().find(|(_, theirs)| *theirs == how);
            Opt::MtuDiscovery(all.map(|(ours, _)| *ours).ok_or_else(errno::no_such_option)?)
        }
        OptionKey::ReceiveTtl => Opt::ReceiveTtl(getsockopt(fd, nixopt::Ipv6RecvHopLimit)?),
        OptionKey::ReceiveTos => Opt::ReceiveTos(getsockopt(fd, nixopt::Ipv6RecvTClass)?),
        OptionKey::ReceivePacketInfo => {
            Opt::ReceivePacketInfo(getsockopt(fd, nixopt::Ipv6RecvPacketInfo)?)
        }
        _ => return Err(errno::no_such_option()),
    })
}

const V4_DISCOVERY: [(MtuDiscovery, Ipv4PathMtuDiscovery); 4] = [
    (MtuDiscovery::Never, Ipv4PathMtuDiscovery::DONT),
    (MtuDiscovery::IfItFits, Ipv4PathMtuDiscovery::WANT),
    (MtuDiscovery::Always, Ipv4PathMtuDiscovery::DO),
    (MtuDiscovery::Probe, Ipv4PathMtuDiscovery::PROBE),
];
const V6_DISCOVERY: [(MtuDiscovery, Ipv6PathMtuDiscovery); 4] = [
    (MtuDiscovery::Never, Ipv6PathMtuDiscovery::DONT),
    (MtuDiscovery::IfItFits, Ipv6PathMtuDiscovery::WANT),
    (MtuDiscovery::Always, Ipv6PathMtuDiscovery::DO),
    (MtuDiscovery::Probe, Ipv6PathMtuDiscovery::PROBE),
];

fn to_v4(how: MtuDiscovery) -> io::Result<Ipv4PathMtuDiscovery> {
    let all = V4_DISCOVERY.iter().find(|(ours, _)| *ours == how);
    all.map(|(_, theirs)| *theirs).ok_or_else(errno::invalid)
}

fn to_v6(how: MtuDiscovery) -> io::Result<Ipv6PathMtuDiscovery> {
    let all = V6_DISCOVERY.iter().find(|(ours, _)| *ours == how);
    all.map(|(_, theirs)| *theirs).ok_or_else(errno::invalid)
}

fn is_v6(entry: &Entry) -> bool {
    entry.kind.family == Family::Inet6
}

fn octet(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
