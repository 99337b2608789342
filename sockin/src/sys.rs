//! The calls that neither `rustix` nor `nix` wraps; the only unsafe code of the package.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

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
    let value = libc::c_int::from(on);
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer is to a value of `len` bytes that outlives the call.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_HDRINCL,
            (&raw const value).cast(),
            len,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads `IP_HDRINCL`.
pub(crate) fn header_included(fd: &OwnedFd) -> io::Result<bool> {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers are to a value of `len` bytes and to `len`, which outlive the call.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_HDRINCL,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    if done == 0 { Ok(value != 0) } else { Err(io::Error::last_os_error()) }
}
