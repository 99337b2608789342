//! The calls that neither `rustix` nor `nix` wraps; the only unsafe code of the package.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use libnet::errno;
use nix::libc;

/// Source: `asm-generic/sockios.h`; MIPS, Alpha, SPARC and PA-RISC have another.
const SIOCATMARK: libc::Ioctl = 0x8905;

/// `sockatmark(3)`.
pub(crate) fn is_at_mark(fd: &OwnedFd) -> io::Result<bool> {
    let mut at_mark: libc::c_int = 0;
    // SAFETY: the request writes one `int`, to a place that outlives the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), SIOCATMARK, &raw mut at_mark) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(at_mark != 0) }
}

/// Sets `IP_HDRINCL`.
pub(crate) fn set_header_included(fd: &OwnedFd, on: bool) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IP, libc::IP_HDRINCL, on.into())
}

/// Reads `IP_HDRINCL`.
pub(crate) fn header_included(fd: &OwnedFd) -> io::Result<bool> {
    Ok(int(fd, libc::IPPROTO_IP, libc::IP_HDRINCL)? != 0)
}

/// `setsockopt(2)` with a value of any bytes.
pub(crate) fn set_bytes(
    fd: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(|_| errno::invalid())?;
    // SAFETY: the pointer is to `len` bytes that outlive the call; the host checks what they are.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `getsockopt(2)`: the host reads `value` where the option has it do so, and writes over it; how many
/// bytes it has.
pub(crate) fn get_bytes(
    fd: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(value.len()).map_err(|_| errno::invalid())?;
    // SAFETY: the pointers are to `len` bytes, of which the host writes no more, and to `len`;
    // both outlive the call.
    let done = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len)
    };
    if done == 0 { Ok(len as usize) } else { Err(io::Error::last_os_error()) }
}

/// `setsockopt(2)` with an `int`.
pub(crate) fn set_int(
    fd: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    set_bytes(fd, level, name, &value.to_ne_bytes())
}

/// `getsockopt(2)` of an `int`.
pub(crate) fn int(fd: &OwnedFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value = [0; size_of::<libc::c_int>()];
    get_bytes(fd, level, name, &mut value)?;
    Ok(libc::c_int::from_ne_bytes(value))
}
