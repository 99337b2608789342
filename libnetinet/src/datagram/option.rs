//! Options of datagram sockets.

use std::io;
use std::net::IpAddr;

use libnet::errno;
use libnet::iface::IfIndex;
use libnet::socket::{Family, GroupInterface, OptionKey, Protocol, SocketOption};

use super::{DatagramSocket, Kind};
use crate::wide::Wide;

impl DatagramSocket {
    /// Sets an option.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`, `ENODEV` for an interface that is not there.
    pub(crate) fn set_option(&self, wide: &Wide, option: SocketOption) -> io::Result<()> {
        let iface = match &option {
            SocketOption::BindToDevice(name) if !name.is_empty() => {
                Some(wide.iface_by_name(name).ok_or_else(errno::no_device)?)
            }
            _ => None,
        };
        let multicast_iface = match option {
            SocketOption::MulticastInterface(how) => multicast_iface(wide, self.family, how)?,
            _ => None,
        };
        let mut state = self.state();
        let is_bound = state.local.port() != 0;
        let options = &mut state.options;
        match option {
            SocketOption::ReuseAddr(on) => options.reuse_addr = on,
            SocketOption::ReusePort(on) => options.reuse_port = on,
            SocketOption::Broadcast(on) => options.broadcast = on,
            SocketOption::ReceiveErrors(on) => options.receive_errors = on,
            SocketOption::MtuDiscovery(how) => options.mtu_discovery = how,
            SocketOption::ReceiveTtl(on) => options.asked_for.ttl = on,
            SocketOption::ReceiveTos(on) => options.asked_for.tos = on,
            SocketOption::ReceivePacketInfo(on) => options.asked_for.packet_info = on,
            SocketOption::ReceiveTime(on) => options.asked_for.time = on,
            SocketOption::MulticastLoop(on) => options.multicast_loop = on,
            SocketOption::MulticastTtl(ttl) => options.multicast_ttl = ttl,
            SocketOption::MulticastAll(on) => options.multicast_all = on,
            SocketOption::MulticastInterface(_) => options.multicast_iface = multicast_iface,
            SocketOption::Tos(tos) => options.tos = tos,
            SocketOption::KeepAlive(on) => options.keepalive = on,
            SocketOption::Linger(time) => options.linger = time,
            // RFC 1122 §3.2.1.7: a TTL of zero MUST NOT be sent.
            SocketOption::Ttl(0) => return Err(errno::invalid()),
            SocketOption::Ttl(ttl) => options.ttl = Some(ttl),
            SocketOption::ReceiveBufferBytes(bytes) => {
                let most = wide.config().datagram.max_receive_buffer_bytes;
                options.receive_bytes = bytes.clamp(MIN_BUFFER_BYTES, most);
            }
            SocketOption::SendBufferBytes(bytes) => options.send_bytes = bytes,
            SocketOption::HeaderIncluded(on) if matches!(self.kind, Kind::Raw(_)) => {
                options.header_included = on;
            }
            SocketOption::DontFragment(on) if self.family == Family::Inet6 => {
                options.dont_fragment = on;
            }
            SocketOption::Checksum(at) if self.is_raw6() => {
                // RFC 3542 §3.1: an even offset, and never another one than ICMPv6 has.
                let icmp = self.kind == Kind::Raw(Protocol::ICMPV6);
                if icmp || at.is_some_and(|at| at % 2 != 0) {
                    return Err(errno::invalid());
                }
                options.checksum_at = at;
            }
            // As on Linux: not once it is bound.
            SocketOption::V6Only(_) if self.family == Family::Inet6 && is_bound => {
                return Err(errno::invalid());
            }
            SocketOption::V6Only(on) if self.family == Family::Inet6 => {
                // Ping and raw sockets are of one family whatever is said.
                options.v6_only = on || self.kind != Kind::Udp;
            }
            SocketOption::BindToDevice(name) => options.iface = iface.map(|iface| (iface, name)),
            _ => return Err(errno::no_such_option()),
        }
        state.path = None;
        Ok(())
    }

    fn is_raw6(&self) -> bool {
        matches!(self.kind, Kind::Raw(_)) && self.family == Family::Inet6
    }

    /// TTL or hop limit of what it sends: its own, else what a router said, else the usual one.
    pub(crate) fn hops(&self, wide: &Wide) -> u8 {
        let state = self.state();
        let learned = state.path.as_ref().and_then(|path| path.hop_limit);
        state.options.ttl.or(learned).unwrap_or_else(|| wide.usual_hops(self.family))
    }

    /// Reads an option.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EOPNOTSUPP` for what is TCP's.
    pub(crate) fn get_option(&self, key: OptionKey) -> io::Result<SocketOption> {
        let state = self.state();
        let options = &state.options;
        Ok(match key {
            OptionKey::ReuseAddr => SocketOption::ReuseAddr(options.reuse_addr),
            OptionKey::ReusePort => SocketOption::ReusePort(options.reuse_port),
            OptionKey::Broadcast => SocketOption::Broadcast(options.broadcast),
            OptionKey::ReceiveErrors => SocketOption::ReceiveErrors(options.receive_errors),
            OptionKey::MtuDiscovery => SocketOption::MtuDiscovery(options.mtu_discovery),
            OptionKey::ReceiveTtl => SocketOption::ReceiveTtl(options.asked_for.ttl),
            OptionKey::ReceiveTos => SocketOption::ReceiveTos(options.asked_for.tos),
            OptionKey::ReceivePacketInfo => {
                SocketOption::ReceivePacketInfo(options.asked_for.packet_info)
            }
            OptionKey::ReceiveTime => SocketOption::ReceiveTime(options.asked_for.time),
            OptionKey::MulticastLoop => SocketOption::MulticastLoop(options.multicast_loop),
            OptionKey::MulticastTtl => SocketOption::MulticastTtl(options.multicast_ttl),
            OptionKey::MulticastAll => SocketOption::MulticastAll(options.multicast_all),
            OptionKey::MulticastInterface => {
                let how = options.multicast_iface.map(|(_, how)| how);
                SocketOption::MulticastInterface(how.unwrap_or_default())
            }
            OptionKey::Tos => SocketOption::Tos(options.tos),
            OptionKey::KeepAlive => SocketOption::KeepAlive(options.keepalive),
            OptionKey::Linger => SocketOption::Linger(options.linger),
            OptionKey::ReceiveBufferBytes => {
                SocketOption::ReceiveBufferBytes(options.receive_bytes)
            }
            OptionKey::SendBufferBytes => SocketOption::SendBufferBytes(options.send_bytes),
            OptionKey::HeaderIncluded if matches!(self.kind, Kind::Raw(_)) => {
                SocketOption::HeaderIncluded(options.header_included)
            }
            OptionKey::DontFragment if self.family == Family::Inet6 => {
                SocketOption::DontFragment(options.dont_fragment)
            }
            OptionKey::Checksum if self.is_raw6() => SocketOption::Checksum(options.checksum_at),
            OptionKey::V6Only if self.family == Family::Inet6 => {
                SocketOption::V6Only(options.v6_only)
            }
            OptionKey::BindToDevice => {
                let name = options.iface.as_ref().map(|(_, name)| name.clone());
                SocketOption::BindToDevice(name.unwrap_or_default())
            }
            // As on Linux, which knows them to be of another protocol only here, and for IPv4.
            OptionKey::NoDelay
            | OptionKey::Cork
            | OptionKey::QuickAck
            | OptionKey::SynRetries
            | OptionKey::Linger2
            | OptionKey::KeepIdle
            | OptionKey::KeepInterval
            | OptionKey::KeepCount
            | OptionKey::UserTimeout
            | OptionKey::MaxSegmentBytes
            | OptionKey::NotSentLowWater
            | OptionKey::WindowClamp
            | OptionKey::DeferAccept
            | OptionKey::FastOpenQueue
            | OptionKey::FastOpenConnect
            | OptionKey::FastOpenNoCookie
            | OptionKey::FastOpenKeys
            | OptionKey::Congestion
            | OptionKey::Info
                if self.family == Family::Inet =>
            {
                return Err(errno::not_supported());
            }
            _ => return Err(errno::no_such_option()),
        })
    }
}

/// The interface that is meant; `None`: whatever the routes say.
///
/// # Errors
/// `ENODEV`, or for IPv4 `EADDRNOTAVAIL`, as Linux has it.
fn multicast_iface(
    wide: &Wide,
    family: Family,
    how: GroupInterface,
) -> io::Result<Option<(IfIndex, GroupInterface)>> {
    let view = wide.view();
    let found = match how {
        GroupInterface::Any => return Ok(None),
        GroupInterface::Index(index) => view.iface(IfIndex(index)).map(|_| IfIndex(index)),
        GroupInterface::Address(addr) => view.iface_of(IpAddr::V4(addr)),
    };
    let not_there = || match family {
        Family::Inet6 => errno::no_device(),
        _ => errno::addr_not_available(),
    };
    found.map(|iface| Some((iface, how))).ok_or_else(not_there)
}

/// The smallest receive buffer, as Linux has it.
const MIN_BUFFER_BYTES: u32 = 2304;
