//! The unsafe steps: the ioctls of `/dev/net/tun` (`linux/if_tun.h`), and what is done to raw
//! descriptors.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::libc;

/// Longest interface name, bytes: `IFNAMSIZ` less its terminator, `linux/if.h`.
pub(crate) const NAME_BYTES: usize = libc::IFNAMSIZ - 1;

const INT: usize = size_of::<c_int>();

mod ioctl {
    use super::{INT, c_int, libc};

    // It writes the name back, whatever its number says.
    nix::ioctl_readwrite_bad!(set_iff, nix::request_code_write!(b'T', 202, INT), libc::ifreq);
    nix::ioctl_read!(get_features, b'T', 207, libc::c_uint);
    nix::ioctl_write_int_bad!(set_offload, nix::request_code_write!(b'T', 208, INT));
    nix::ioctl_read_bad!(get_iff, nix::request_code_read!(b'T', 210, INT), libc::ifreq);
    nix::ioctl_write_ptr!(set_vnet_header_bytes, b'T', 216, c_int);
}

/// Takes the descriptor out of an open device.
pub(crate) fn take(iface: tun_tap::Iface) -> OwnedFd {
    // SAFETY: `into_raw_fd` gives up an open descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(iface.into_raw_fd()) }
}

/// Owns a descriptor that a parent passed by its number; `EBADF` if none is open there, or one
/// that this process opened itself: those are closed on `exec`, and a passed one cannot be. From
/// now on it is too, so that it cannot be owned twice.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the call takes any number, and fails for one that is not open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and nobody here opened it: the number was passed so as to be owned.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Attaches an open `/dev/net/tun` to a device; the name that it has.
pub(crate) fn set_iff(fd: BorrowedFd<'_>, name: &str, flags: c_int) -> io::Result<String> {
    // SAFETY: all zeros is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(NAME_BYTES).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: `request` is an initialised `ifreq`; the kernel writes its name back into it.
    unsafe { ioctl::set_iff(fd.as_raw_fd(), &raw mut request) }?;
    Ok(name_of(&request))
}

/// The name and the `IFF_` flags of the device that a descriptor is attached to.
pub(crate) fn get_iff(fd: BorrowedFd<'_>) -> io::Result<(String, c_int)> {
    // SAFETY: all zeros is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes no more than an `ifreq`.
    unsafe { ioctl::get_iff(fd.as_raw_fd(), &raw mut request) }?;
    // SAFETY: the kernel has filled in the flags; any bits are valid ones.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((name_of(&request), c_int::from(flags as u16)))
}

/// The `IFF_` flags that the kernel knows.
pub(crate) fn features(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut features = 0;
    // SAFETY: the kernel writes one integer.
    unsafe { ioctl::get_features(fd.as_raw_fd(), &raw mut features) }?;
    Ok(features)
}

/// Tells the kernel which `TUN_F_` offloads we take.
pub(crate) fn set_offload(fd: BorrowedFd<'_>, flags: c_int) -> io::Result<()> {
    // SAFETY: the argument is a number, not an address.
    unsafe { ioctl::set_offload(fd.as_raw_fd(), flags) }?;
    Ok(())
}

/// Sets the bytes of the virtio-net header in front of each frame.
pub(crate) fn set_vnet_header_bytes(fd: BorrowedFd<'_>, bytes: c_int) -> io::Result<()> {
    // SAFETY: the kernel reads one integer.
    unsafe { ioctl::set_vnet_header_bytes(fd.as_raw_fd(), &raw const bytes) }?;
    Ok(())
}

/// Lets `old` stand for what `new` stood for; whoever shares `old` sees the new one from now on.
pub(crate) fn replace(old: &OwnedFd, new: OwnedFd) -> io::Result<()> {
    // SAFETY: both numbers are open and owned; `old` stays owned by whom it was.
    let replaced = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) };
    if replaced < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn name_of(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.iter().map(|&c| c as u8).take_while(|&byte| byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}
