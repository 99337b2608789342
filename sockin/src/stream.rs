//! Options of streams that no crate wraps.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use libnet::errno;
use libnet::socket::{FastOpenKeys, Md5Key, OptionKey, SocketOption as Opt, TcpInfo};
use nix::libc;

use crate::sys;

/// Sets one; `None`: it is not of those here.
///
/// # Errors
/// The host's; `EINVAL` for numbers that it has no room for.
pub(crate) fn set(fd: &OwnedFd, is_v6: bool, option: &Opt) -> Option<io::Result<()>> {
    let (name, value) = match *option {
        Opt::SynRetries(retries) => (libc::TCP_SYNCNT, number(retries)),
        Opt::Linger2(time) => (libc::TCP_LINGER2, time.map_or(Ok(-1), seconds)),
        Opt::DeferAccept(time) => (libc::TCP_DEFER_ACCEPT, seconds(time)),
        Opt::FastOpenQueue(most) => (libc::TCP_FASTOPEN, number(most)),
        Opt::FastOpenConnect(on) => (libc::TCP_FASTOPEN_CONNECT, Ok(on.into())),
        Opt::FastOpenNoCookie(on) => (libc::TCP_FASTOPEN_NO_COOKIE, Ok(on.into())),
        Opt::WindowClamp(bytes) => (libc::TCP_WINDOW_CLAMP, number(bytes)),
        // Unsigned there.
        Opt::NotSentLowWater(bytes) => (libc::TCP_NOTSENT_LOWAT, Ok(bytes.cast_signed())),
        Opt::ReceiveLowWater(bytes) => {
            let set = |n| sys::set_int(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, n);
            return Some(number(bytes).and_then(set));
        }
        Opt::MaxPacingRate(rate) => {
            // An `unsigned long` there.
            let rate = usize::try_from(rate).unwrap_or(usize::MAX).to_ne_bytes();
            return Some(sys::set_bytes(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &rate));
        }
        Opt::FastOpenKeys(keys) => {
            let keys = keys.to_bytes();
            return Some(sys::set_bytes(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, &keys));
        }
        Opt::Md5Key(ref key) => return Some(set_md5(fd, is_v6, key)),
        _ => return None,
    };
    Some(value.and_then(|value| sys::set_int(fd, libc::IPPROTO_TCP, name, value)))
}

/// Reads one; `None`: it is not of those here.
///
/// # Errors
/// The host's.
pub(crate) fn get(fd: &OwnedFd, key: OptionKey) -> Option<io::Result<Opt>> {
    let int = |name| sys::int(fd, libc::IPPROTO_TCP, name);
    let count = |name| int(name).map(i32::cast_unsigned);
    let time = |name| count(name).map(|seconds| Duration::from_secs(seconds.into()));
    Some(match key {
        OptionKey::SynRetries => count(libc::TCP_SYNCNT).map(Opt::SynRetries),
        OptionKey::Linger2 => int(libc::TCP_LINGER2)
            .map(|seconds| Opt::Linger2(u64::try_from(seconds).ok().map(Duration::from_secs))),
        OptionKey::DeferAccept => time(libc::TCP_DEFER_ACCEPT).map(Opt::DeferAccept),
        OptionKey::FastOpenQueue => count(libc::TCP_FASTOPEN).map(Opt::FastOpenQueue),
        OptionKey::FastOpenConnect => {
            int(libc::TCP_FASTOPEN_CONNECT).map(|on| Opt::FastOpenConnect(on != 0))
        }
        OptionKey::FastOpenNoCookie => {
            int(libc::TCP_FASTOPEN_NO_COOKIE).map(|on| Opt::FastOpenNoCookie(on != 0))
        }
        OptionKey::FastOpenKeys => fast_open_keys(fd),
        OptionKey::WindowClamp => count(libc::TCP_WINDOW_CLAMP).map(Opt::WindowClamp),
        OptionKey::NotSentLowWater => count(libc::TCP_NOTSENT_LOWAT).map(Opt::NotSentLowWater),
        OptionKey::ReceiveLowWater => sys::int(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT)
            .map(|bytes| Opt::ReceiveLowWater(bytes.cast_unsigned())),
        OptionKey::MaxPacingRate => max_pacing_rate(fd),
        OptionKey::Info => info(fd),
        _ => return None,
    })
}

fn max_pacing_rate(fd: &OwnedFd) -> io::Result<Opt> {
    let mut rate = [0; size_of::<usize>()];
    sys::get_bytes(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &mut rate)?;
    let rate = usize::from_ne_bytes(rate);
    // All ones are no bound, however wide.
    Ok(Opt::MaxPacingRate(if rate == usize::MAX { u64::MAX } else { rate as u64 }))
}

fn fast_open_keys(fd: &OwnedFd) -> io::Result<Opt> {
    let mut keys = [0; 32];
    let len = sys::get_bytes(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, &mut keys)?;
    let keys = keys.get(..len).and_then(FastOpenKeys::from_bytes);
    keys.map(Opt::FastOpenKeys).ok_or_else(errno::invalid)
}

fn info(fd: &OwnedFd) -> io::Result<Opt> {
    let mut bytes = [0; INFO_BYTES];
    sys::get_bytes(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)?;
    Ok(Opt::Info(Box::new(TcpInfo::from_linux(&bytes))))
}

/// `struct tcp_md5sig`: the peer's `sockaddr_storage`, flags, prefix, length of the key, interface,
/// key.
fn set_md5(fd: &OwnedFd, is_v6: bool, key: &Md5Key) -> io::Result<()> {
    if key.key.len() > libc::TCP_MD5SIG_MAXKEYLEN {
        return Err(errno::invalid());
    }
    let mut sig = [0; STORAGE_BYTES + 8 + libc::TCP_MD5SIG_MAXKEYLEN];
    let family = |af: libc::c_int| (af as libc::sa_family_t).to_ne_bytes();
    match (key.peer, is_v6) {
        (IpAddr::V4(peer), false) => {
            sig[..2].copy_from_slice(&family(libc::AF_INET));
            sig[4..8].copy_from_slice(&peer.octets());
        }
        (peer, _) => {
            let octets = match peer {
                IpAddr::V4(peer) => peer.to_ipv6_mapped().octets(),
                IpAddr::V6(peer) => peer.octets(),
            };
            sig[..2].copy_from_slice(&family(libc::AF_INET6));
            sig[8..24].copy_from_slice(&octets);
        }
    }
    let tail = &mut sig[STORAGE_BYTES..];
    (tail[0], tail[1]) = (MD5_PREFIX, key.prefix_bits);
    tail[2..4].copy_from_slice(&(key.key.len() as u16).to_ne_bytes());
    tail[8..8 + key.key.len()].copy_from_slice(&key.key);
    sys::set_bytes(fd, libc::IPPROTO_TCP, libc::TCP_MD5SIG_EXT, &sig)
}

fn number(value: u32) -> io::Result<i32> {
    i32::try_from(value).map_err(|_| errno::invalid())
}

/// Whole seconds, up.
fn seconds(time: Duration) -> io::Result<i32> {
    let whole = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    i32::try_from(whole).map_err(|_| errno::invalid())
}

/// More than `struct tcp_info` has.
const INFO_BYTES: usize = 512;
const STORAGE_BYTES: usize = size_of::<libc::sockaddr_storage>();
/// `TCP_MD5SIG_FLAG_PREFIX`. Source: `linux/tcp.h`.
const MD5_PREFIX: u8 = 1;
