//! The host's options of streams that no crate wraps.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use libnet::errno;
use libnet::socket::{OptionKey, SocketOption, TcpInfo};
use nix::libc;

use super::host_groups::{raw, set_raw};

/// Sets one.
pub(super) fn set(fd: &OwnedFd, option: &SocketOption) -> io::Result<()> {
    let tcp = |name, value: i32| set_raw(fd, libc::IPPROTO_TCP, name, value.to_ne_bytes());
    let seconds = |time: Duration| time.as_secs() as i32;
    match *option {
        SocketOption::SynRetries(n) => tcp(libc::TCP_SYNCNT, n as i32),
        SocketOption::Linger2(time) => tcp(libc::TCP_LINGER2, time.map_or(-1, seconds)),
        SocketOption::NotSentLowWater(n) => tcp(libc::TCP_NOTSENT_LOWAT, n as i32),
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
