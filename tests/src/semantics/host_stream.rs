//! The host's options of streams that no crate wraps.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use libnet::errno;
use libnet::socket::{FastOpenKeys, Md5Key, OptionKey, SocketOption, TcpInfo};
use nix::libc;

use super::host_groups::{raw, read_at, set_raw, write_at};

/// Sets one.
pub(super) fn set(fd: &OwnedFd, option: &SocketOption) -> io::Result<()> {
    let tcp = |name, value: i32| set_raw(fd, libc::IPPROTO_TCP, name, value.to_ne_bytes());
    let seconds = |time: Duration| time.as_secs() as i32;
    match *option {
        SocketOption::SynRetries(n) => tcp(libc::TCP_SYNCNT, n as i32),
        SocketOption::Linger2(time) => tcp(libc::TCP_LINGER2, time.map_or(-1, seconds)),
        SocketOption::NotSentLowWater(n) => tcp(libc::TCP_NOTSENT_LOWAT, n as i32),
        SocketOption::DeferAccept(time) => tcp(libc::TCP_DEFER_ACCEPT, seconds(time)),
        SocketOption::FastOpenQueue(n) => tcp(libc::TCP_FASTOPEN, n as i32),
        SocketOption::FastOpenConnect(on) => tcp(libc::TCP_FASTOPEN_CONNECT, on.into()),
        SocketOption::FastOpenNoCookie(on) => tcp(libc::TCP_FASTOPEN_NO_COOKIE, on.into()),
        SocketOption::FastOpenKeys(keys) => {
            let (mut room, keys) = ([0; 32], keys.to_bytes());
            room[..keys.len()].copy_from_slice(&keys);
            write_at(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, &room, keys.len())
        }
        SocketOption::MaxPacingRate(rate) => {
            set_raw(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, rate.to_ne_bytes())
        }
        SocketOption::Md5Key(ref key) => {
            set_raw(fd, libc::IPPROTO_TCP, libc::TCP_MD5SIG_EXT, signature(key))
        }
        SocketOption::WindowClamp(n) => tcp(libc::TCP_WINDOW_CLAMP, n as i32),
        SocketOption::ReceiveLowWater(n) => {
            set_raw(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, (n as i32).to_ne_bytes())
        }
        _ => Err(errno::no_such_option()),
    }
}

/// Reads one.
pub(super) fn get(fd: &OwnedFd, key: OptionKey) -> io::Result<SocketOption> {
    let tcp = |name| raw(fd, libc::IPPROTO_TCP, name).map(i32::from_ne_bytes);
    let count = |name| tcp(name).map(i32::cast_unsigned);
    Ok(match key {
        OptionKey::SynRetries => SocketOption::SynRetries(count(libc::TCP_SYNCNT)?),
        OptionKey::Linger2 => {
            let seconds = u64::try_from(tcp(libc::TCP_LINGER2)?).ok();
            SocketOption::Linger2(seconds.map(Duration::from_secs))
        }
        OptionKey::NotSentLowWater => {
            SocketOption::NotSentLowWater(count(libc::TCP_NOTSENT_LOWAT)?)
        }
        OptionKey::DeferAccept => {
            let seconds = count(libc::TCP_DEFER_ACCEPT)?;
            SocketOption::DeferAccept(Duration::from_secs(seconds.into()))
        }
        OptionKey::FastOpenQueue => SocketOption::FastOpenQueue(count(libc::TCP_FASTOPEN)?),
        OptionKey::FastOpenConnect => {
            SocketOption::FastOpenConnect(tcp(libc::TCP_FASTOPEN_CONNECT)? != 0)
        }
        OptionKey::FastOpenNoCookie => {
            SocketOption::FastOpenNoCookie(tcp(libc::TCP_FASTOPEN_NO_COOKIE)? != 0)
        }
        OptionKey::FastOpenKeys => {
            let mut keys = [0u8; 32];
            let len = read_at(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, &mut keys)?;
            let keys = FastOpenKeys::from_bytes(&keys[..len]).ok_or_else(errno::invalid)?;
            SocketOption::FastOpenKeys(keys)
        }
        OptionKey::MaxPacingRate => {
            let rate = raw(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE);
            SocketOption::MaxPacingRate(u64::from_ne_bytes(rate?))
        }
        OptionKey::WindowClamp => SocketOption::WindowClamp(count(libc::TCP_WINDOW_CLAMP)?),
        OptionKey::ReceiveLowWater => {
            let bytes = raw(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT).map(u32::from_ne_bytes);
            SocketOption::ReceiveLowWater(bytes?)
        }
        OptionKey::Info => {
            let bytes: [u8; 512] = raw(fd, libc::IPPROTO_TCP, libc::TCP_INFO)?;
            SocketOption::Info(Box::new(TcpInfo::from_linux(&bytes)))
        }
        _ => return Err(errno::no_such_option()),
    })
}

/// `struct tcp_md5sig`: the peer's address in 128 bytes, flags, prefix, the key's length, an
/// interface, the key.
fn signature(key: &Md5Key) -> [u8; 216] {
    let mut bytes = [0; 216];
    let family = |af: i32| (af as u16).to_ne_bytes();
    match key.peer {
        IpAddr::V4(peer) => {
            bytes[..2].copy_from_slice(&family(libc::AF_INET));
            bytes[4..8].copy_from_slice(&peer.octets());
        }
        IpAddr::V6(peer) => {
            bytes[..2].copy_from_slice(&family(libc::AF_INET6));
            bytes[8..24].copy_from_slice(&peer.octets());
        }
    }
    // The prefix counts: `TCP_MD5SIG_FLAG_PREFIX`.
    (bytes[128], bytes[129]) = (1, key.prefix_bits);
    bytes[130..132].copy_from_slice(&(key.key.len() as u16).to_ne_bytes());
    let room = &mut bytes[136..];
    let given = key.key.len().min(room.len());
    room[..given].copy_from_slice(&key.key[..given]);
    bytes
}
