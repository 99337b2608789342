//! Options as C has them: a level, a name, bytes.

use std::ffi::c_int;
use std::io;
use std::time::Duration;

use libnet::socket::{MtuDiscovery, OptionKey as Key, SocketOption as Opt};
use libnet::{Family, SockType, errno};
use nix::libc;

use crate::address::array;
use crate::descriptor::Descriptor;
use crate::error;
use crate::table::lock;

mod groups;

/// The largest value that there is, bytes; no more of an option is looked at.
pub(crate) const MOST_BYTES: usize = 512;

/// Sets an option (`setsockopt(2)`).
///
/// # Errors
/// `ENOPROTOOPT` for one that the socket does not have, `EINVAL` for a value that is too short or out
/// of range.
pub(crate) fn set(descriptor: &Descriptor, which: (c_int, c_int), value: &[u8]) -> io::Result<()> {
    let socket = &descriptor.socket;
    match which {
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => socket.set_read_timeout(timeout(value)?),
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => socket.set_write_timeout(timeout(value)?),
        (libc::IPPROTO_IP, libc::IP_RECVTTL) | (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT) => {
            lock(&descriptor.told).ttl = int(value)? != 0;
            Ok(())
        }
        (libc::IPPROTO_IP, libc::IP_RECVTOS) | (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS) => {
            lock(&descriptor.told).tos = int(value)? != 0;
            Ok(())
        }
        (libc::IPPROTO_IP, libc::IP_PKTINFO) | (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => {
            lock(&descriptor.told).packet_info = int(value)? != 0;
            Ok(())
        }
        _ => socket.set_option(option(descriptor.kind.family, which, value)?),
    }
}

/// Reads an option (`getsockopt(2)`).
///
/// # Errors
/// As [`set`].
pub(crate) fn get(descriptor: &Descriptor, which: (c_int, c_int)) -> io::Result<Vec<u8>> {
    let socket = &descriptor.socket;
    let told = *lock(&descriptor.told);
    let kind = descriptor.kind;
    let value = match which {
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => return Ok(timeval(socket.read_timeout())),
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => return Ok(timeval(socket.write_timeout())),
        (libc::SOL_SOCKET, libc::SO_ERROR) => {
            socket.take_error()?.map_or(0, |error| error::number(&error))
        }
        (libc::SOL_SOCKET, libc::SO_TYPE) => match kind.ty {
            SockType::Stream => libc::SOCK_STREAM,
            SockType::Datagram => libc::SOCK_DGRAM,
            _ => libc::SOCK_RAW,
        },
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => match kind.family {
            Family::Inet6 => libc::AF_INET6,
            _ => libc::AF_INET,
        },
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => match (kind.ty, c_int::from(kind.protocol.0)) {
            (SockType::Stream, 0) => libc::IPPROTO_TCP,
            (SockType::Datagram, 0) => libc::IPPROTO_UDP,
            (_, protocol) => protocol,
        },
        (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => descriptor.is_listening().into(),
        (libc::IPPROTO_IP, libc::IP_RECVTTL) | (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT) => {
            told.ttl.into()
        }
        (libc::IPPROTO_IP, libc::IP_RECVTOS) | (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS) => {
            told.tos.into()
        }
        (libc::IPPROTO_IP, libc::IP_PKTINFO) | (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => {
            told.packet_info.into()
        }
        _ => return bytes_of(&socket.option(key(which)?)?),
    };
    Ok(value.to_ne_bytes().to_vec())
}

fn key(which: (c_int, c_int)) -> io::Result<Key> {
    Ok(match which {
        (libc::SOL_SOCKET, name) => match name {
            libc::SO_REUSEADDR => Key::ReuseAddr,
            libc::SO_REUSEPORT => Key::ReusePort,
            libc::SO_BROADCAST => Key::Broadcast,
            libc::SO_KEEPALIVE => Key::KeepAlive,
            libc::SO_SNDBUF => Key::SendBufferBytes,
            libc::SO_RCVBUF => Key::ReceiveBufferBytes,
            libc::SO_RCVLOWAT => Key::ReceiveLowWater,
            libc::SO_LINGER => Key::Linger,
            libc::SO_OOBINLINE => Key::UrgentInline,
            libc::SO_BINDTODEVICE => Key::BindToDevice,
            libc::SO_MAX_PACING_RATE => Key::MaxPacingRate,
            _ => return Err(errno::no_such_option()),
        },
        (libc::IPPROTO_TCP, name) => match name {
            libc::TCP_NODELAY => Key::NoDelay,
            libc::TCP_MAXSEG => Key::MaxSegmentBytes,
            libc::TCP_CORK => Key::Cork,
            libc::TCP_KEEPIDLE => Key::KeepIdle,
            libc::TCP_KEEPINTVL => Key::KeepInterval,
            libc::TCP_KEEPCNT => Key::KeepCount,
            libc::TCP_SYNCNT => Key::SynRetries,
            libc::TCP_LINGER2 => Key::Linger2,
            libc::TCP_DEFER_ACCEPT => Key::DeferAccept,
            libc::TCP_WINDOW_CLAMP => Key::WindowClamp,
            libc::TCP_INFO => Key::Info,
            libc::TCP_QUICKACK => Key::QuickAck,
            libc::TCP_CONGESTION => Key::Congestion,
            libc::TCP_USER_TIMEOUT => Key::UserTimeout,
            libc::TCP_FASTOPEN => Key::FastOpenQueue,
            libc::TCP_FASTOPEN_CONNECT => Key::FastOpenConnect,
            TCP_FASTOPEN_NO_COOKIE => Key::FastOpenNoCookie,
            TCP_NOTSENT_LOWAT => Key::NotSentLowWater,
            _ => return Err(errno::no_such_option()),
        },
        (libc::IPPROTO_IP, name) => match name {
            libc::IP_TTL => Key::Ttl,
            libc::IP_TOS => Key::Tos,
            libc::IP_MULTICAST_TTL => Key::MulticastTtl,
            libc::IP_MULTICAST_IF => Key::MulticastInterface,
            libc::IP_MULTICAST_LOOP => Key::MulticastLoop,
            IP_MULTICAST_ALL => Key::MulticastAll,
            libc::IP_HDRINCL => Key::HeaderIncluded,
            libc::IP_RECVERR => Key::ReceiveErrors,
            libc::IP_MTU_DISCOVER => Key::MtuDiscovery,
            IP_MTU => Key::PathMtu,
            _ => return Err(errno::no_such_option()),
        },
        (libc::IPPROTO_IPV6, name) => match name {
            libc::IPV6_UNICAST_HOPS => Key::Ttl,
            libc::IPV6_TCLASS => Key::Tos,
            libc::IPV6_MULTICAST_HOPS => Key::MulticastTtl,
            libc::IPV6_MULTICAST_IF => Key::MulticastInterface,
            libc::IPV6_MULTICAST_LOOP => Key::MulticastLoop,
            IPV6_MULTICAST_ALL => Key::MulticastAll,
            libc::IPV6_V6ONLY => Key::V6Only,
            libc::IPV6_RECVERR => Key::ReceiveErrors,
            libc::IPV6_MTU_DISCOVER => Key::MtuDiscovery,
            libc::IPV6_DONTFRAG => Key::DontFragment,
            libc::IPV6_MTU => Key::PathMtu,
            _ => return Err(errno::no_such_option()),
        },
        _ => return Err(errno::no_such_option()),
    })
}

/// An option with the value that C gave.
fn option(family: Family, which: (c_int, c_int), value: &[u8]) -> io::Result<Opt> {
    let is_six = which.0 == libc::IPPROTO_IPV6;
    if (is_six || which.0 == libc::IPPROTO_IP) && is_six != (family == Family::Inet6) {
        return Err(errno::no_such_option());
    }
    if let Some(option) = groups::option(which, value)? {
        return Ok(option);
    }
    let text = || {
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        str::from_utf8(&value[..end]).map(str::to_owned).map_err(|_| errno::invalid())
    };
    Ok(match key(which)? {
        Key::Linger => Opt::Linger(linger(value)?),
        Key::BindToDevice => Opt::BindToDevice(text()?),
        Key::Congestion => Opt::Congestion(text()?),
        Key::MaxPacingRate if value.len() >= 8 => {
            Opt::MaxPacingRate(u64::from_ne_bytes(array(value, 0)))
        }
        Key::Info | Key::PathMtu => return Err(errno::no_such_option()),
        key => int_option(key, int_or_octet(which, value)?)?,
    })
}

fn int_option(key: Key, value: c_int) -> io::Result<Opt> {
    let on = value != 0;
    let natural = || u32::try_from(value).map_err(|_| errno::invalid());
    let octet = |value: c_int| u8::try_from(value).map_err(|_| errno::invalid());
    let seconds = || natural().map(|seconds| Duration::from_secs(seconds.into()));
    Ok(match key {
        Key::ReuseAddr => Opt::ReuseAddr(on),
        Key::ReusePort => Opt::ReusePort(on),
        Key::Broadcast => Opt::Broadcast(on),
        Key::KeepAlive => Opt::KeepAlive(on),
        Key::UrgentInline => Opt::UrgentInline(on),
        Key::NoDelay => Opt::NoDelay(on),
        Key::Cork => Opt::Cork(on),
        Key::QuickAck => Opt::QuickAck(on),
        Key::FastOpenConnect => Opt::FastOpenConnect(on),
        Key::FastOpenNoCookie => Opt::FastOpenNoCookie(on),
        Key::MulticastLoop => Opt::MulticastLoop(on),
        Key::MulticastAll => Opt::MulticastAll(on),
        Key::HeaderIncluded => Opt::HeaderIncluded(on),
        Key::ReceiveErrors => Opt::ReceiveErrors(on),
        Key::V6Only => Opt::V6Only(on),
        Key::DontFragment => Opt::DontFragment(on),
        // Linux takes a negative size for a huge one.
        Key::SendBufferBytes => Opt::SendBufferBytes(value as u32),
        Key::ReceiveBufferBytes => Opt::ReceiveBufferBytes(value as u32),
        Key::ReceiveLowWater => {
            Opt::ReceiveLowWater(u32::try_from(value).unwrap_or(i32::MAX as u32))
        }
        Key::NotSentLowWater => Opt::NotSentLowWater(value as u32),
        Key::WindowClamp => Opt::WindowClamp(natural()?),
        Key::SynRetries => Opt::SynRetries(natural()?),
        Key::KeepCount => Opt::KeepCount(natural()?),
        Key::MaxSegmentBytes => Opt::MaxSegmentBytes(natural()?),
        Key::FastOpenQueue => Opt::FastOpenQueue(natural()?),
        Key::KeepIdle => Opt::KeepIdle(seconds()?),
        Key::KeepInterval => Opt::KeepInterval(seconds()?),
        Key::DeferAccept => Opt::DeferAccept(seconds().unwrap_or_default()),
        Key::UserTimeout => Opt::UserTimeout(Duration::from_millis(natural()?.into())),
        Key::Linger2 => Opt::Linger2(if value < 0 { None } else { Some(seconds()?) }),
        Key::MaxPacingRate => {
            Opt::MaxPacingRate(if value == -1 { u64::MAX } else { u64::from(value as u32) })
        }
        // -1 is the default's: RFC 3493 §5.1.
        Key::Ttl => Opt::Ttl(if value == -1 { DEFAULT_TTL } else { octet(value)? }),
        Key::Tos => Opt::Tos(if value == -1 { 0 } else { value as u8 }),
        Key::MulticastTtl => Opt::MulticastTtl(if value == -1 { 1 } else { octet(value)? }),
        Key::MtuDiscovery => Opt::MtuDiscovery(match value {
            libc::IP_PMTUDISC_DONT => MtuDiscovery::Never,
            libc::IP_PMTUDISC_WANT => MtuDiscovery::IfItFits,
            libc::IP_PMTUDISC_DO => MtuDiscovery::Always,
            libc::IP_PMTUDISC_PROBE => MtuDiscovery::Probe,
            _ => return Err(errno::invalid()),
        }),
        _ => return Err(errno::no_such_option()),
    })
}

/// The value of an option as C takes it.
fn bytes_of(option: &Opt) -> io::Result<Vec<u8>> {
    let seconds = |time: &Duration| c_int::try_from(time.as_secs()).unwrap_or(c_int::MAX);
    let value = match option {
        Opt::MulticastInterface(how) => return Ok(groups::bytes_of(*how)),
        Opt::Linger(linger) => {
            let pair = [linger.is_some().into(), linger.as_ref().map_or(0, seconds)];
            return Ok(pair.map(c_int::to_ne_bytes).concat());
        }
        Opt::Congestion(name) => {
            // TCP_CA_NAME_MAX: the name and zeros.
            let mut bytes = name.clone().into_bytes();
            bytes.resize(16, 0);
            return Ok(bytes);
        }
        Opt::BindToDevice(name) => {
            let mut bytes = name.clone().into_bytes();
            bytes.extend((!name.is_empty()).then_some(0));
            return Ok(bytes);
        }
        Opt::MaxPacingRate(rate) => return Ok(rate.to_ne_bytes().to_vec()),
        Opt::Info(info) => return Ok(info.to_linux().to_vec()),
        Opt::ReuseAddr(on)
        | Opt::ReusePort(on)
        | Opt::Broadcast(on)
        | Opt::KeepAlive(on)
        | Opt::UrgentInline(on)
        | Opt::NoDelay(on)
        | Opt::Cork(on)
        | Opt::QuickAck(on)
        | Opt::FastOpenConnect(on)
        | Opt::FastOpenNoCookie(on)
        | Opt::MulticastLoop(on)
        | Opt::MulticastAll(on)
        | Opt::HeaderIncluded(on)
        | Opt::ReceiveErrors(on)
        | Opt::V6Only(on)
        | Opt::DontFragment(on) => (*on).into(),
        Opt::SendBufferBytes(value)
        | Opt::ReceiveBufferBytes(value)
        | Opt::ReceiveLowWater(value)
        | Opt::NotSentLowWater(value)
        | Opt::WindowClamp(value)
        | Opt::SynRetries(value)
        | Opt::KeepCount(value)
        | Opt::MaxSegmentBytes(value)
        | Opt::FastOpenQueue(value)
        | Opt::PathMtu(value) => *value as c_int,
        Opt::KeepIdle(time) | Opt::KeepInterval(time) | Opt::DeferAccept(time) => seconds(time),
        Opt::UserTimeout(time) => c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX),
        Opt::Linger2(time) => time.as_ref().map_or(-1, seconds),
        Opt::Ttl(value) | Opt::Tos(value) | Opt::MulticastTtl(value) => (*value).into(),
        Opt::MtuDiscovery(how) => match how {
            MtuDiscovery::Never => libc::IP_PMTUDISC_DONT,
            MtuDiscovery::Always => libc::IP_PMTUDISC_DO,
            MtuDiscovery::Probe => libc::IP_PMTUDISC_PROBE,
            _ => libc::IP_PMTUDISC_WANT,
        },
        _ => return Err(errno::no_such_option()),
    };
    Ok(value.to_ne_bytes().to_vec())
}

fn int(value: &[u8]) -> io::Result<c_int> {
    value.first_chunk::<4>().map(|bytes| c_int::from_ne_bytes(*bytes)).ok_or_else(errno::invalid)
}

/// `ip(7)`: those of IPv4 take a single octet, too.
fn int_or_octet((level, _): (c_int, c_int), value: &[u8]) -> io::Result<c_int> {
    match value {
        [octet, ..] if level == libc::IPPROTO_IP && value.len() < 4 => Ok((*octet).into()),
        _ => int(value),
    }
}

fn linger(value: &[u8]) -> io::Result<Option<Duration>> {
    if value.len() < 8 {
        return Err(errno::invalid());
    }
    let seconds = u32::from_ne_bytes(array(value, 4));
    Ok((int(value)? != 0).then(|| Duration::from_secs(seconds.into())))
}

/// A `struct timeval`; zero: without end.
fn timeout(value: &[u8]) -> io::Result<Option<Duration>> {
    if value.len() < 16 {
        return Err(errno::invalid());
    }
    let number = |at| i64::from_ne_bytes(array(value, at));
    let (seconds, micros) = (number(0), number(8));
    if !(0..1_000_000).contains(&micros) {
        return Err(crate::error::errno(libc::EDOM));
    }
    let time = u64::try_from(seconds).map_or(Duration::ZERO, Duration::from_secs);
    let time = time + Duration::from_micros(micros as u64);
    Ok((!time.is_zero()).then_some(time))
}

fn timeval(timeout: Option<Duration>) -> Vec<u8> {
    let time = timeout.unwrap_or_default();
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    [seconds, i64::from(time.subsec_micros())].map(i64::to_ne_bytes).concat()
}

/// What Linux's `net.ipv4.ip_default_ttl` is.
const DEFAULT_TTL: u8 = 64;
// Not in the `libc` package. Source: linux/in.h, linux/in6.h, linux/tcp.h.
const IP_MTU: c_int = 14;
const IP_MULTICAST_ALL: c_int = 49;
const IPV6_MULTICAST_ALL: c_int = 29;
const TCP_NOTSENT_LOWAT: c_int = 25;
const TCP_FASTOPEN_NO_COOKIE: c_int = 34;
