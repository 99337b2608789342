//! Options of sockets.

use std::ffi::{c_int, c_void};

use libnet::errno as number;
use nix::libc::socklen_t;

use crate::error::status;
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
