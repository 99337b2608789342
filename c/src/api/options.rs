//! Options of sockets, and what ioctl(2) asks of them.

use std::ffi::{c_int, c_ulong, c_void};

use libnet::errno as number;
use nix::libc::{self, socklen_t};

use crate::error::{errno, status};
use crate::options;
use crate::raw;
use crate::table;

/// setsockopt(2), with the levels, names and values of Linux.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    status(table::with(fd, |descriptor| {
        if len > c_int::MAX as socklen_t {
            return Err(number::invalid());
        }
        // SAFETY: the caller's promise.
        let value = unsafe { raw::bytes(value, (len as usize).min(options::MOST_BYTES)) }?;
        options::set(descriptor, (level, name), value)
    }))
}

/// getsockopt(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    status(table::with(fd, |descriptor| {
        // SAFETY: the caller's promise.
        let len = unsafe { raw::at(len) }?;
        if *len > c_int::MAX as socklen_t {
            return Err(number::invalid());
        }
        let bytes = options::get(descriptor, (level, name))?;
        let part = bytes.len().min(*len as usize);
        // SAFETY: the caller's promise.
        let out = unsafe { raw::bytes_mut(value, part) }?;
        out.copy_from_slice(&bytes[..part]);
        *len = part as socklen_t;
        Ok(())
    }))
}

/// ioctl(2): FIONREAD (of a stream the bytes that wait to be read, else the size of the next message), TIOCOUTQ
/// (the bytes that are not acknowledged yet), SIOCATMARK, FIONBIO; each takes an int.
///
/// Errors: those of Linux; ENOTTY for any other request.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    status(table::with(fd, |descriptor| {
        // SAFETY: the caller's promise.
        let value = || unsafe { raw::at(arg.cast::<c_int>()) };
        let told = match request {
            libc::FIONBIO => {
                descriptor.socket.set_nonblocking(*value()? != 0);
                return Ok(());
            }
            libc::FIONREAD => descriptor.readable_bytes()?,
            libc::TIOCOUTQ => descriptor.entry()?.send_bytes,
            SIOCATMARK => usize::from(descriptor.socket.is_at_mark()?),
            _ => return Err(errno(libc::ENOTTY)),
        };
        *value()? = c_int::try_from(told).unwrap_or(c_int::MAX);
        Ok(())
    }))
}

/// Not in the `libc` package. Source: asm-generic/sockios.h.
const SIOCATMARK: c_ulong = 0x8905;
