//! Stacks: which there are, and which of them a thread uses.

use std::ffi::{c_char, c_int};
use std::io;
use std::sync::Arc;

use libnet::errno as number;
use nix::errno::Errno;

use crate::error::{error_number, status};
use crate::machine::{Machine, refuse_callbacks};
use crate::raw;

/// A stack. Opaque.
#[allow(non_camel_case_types, reason = "its name in C")]
pub struct rumpnet {
    _private: [u8; 0],
}

impl rumpnet {
    fn find(handle: *const rumpnet) -> io::Result<Arc<Machine>> {
        Machine::of_handle(handle.cast())
    }
}

/// Makes the stack that all threads use which have chosen none with rumpnet_use; more than one call
/// does no more. 0, or the error's number.
#[unsafe(no_mangle)]
pub extern "C" fn rump_init() -> c_int {
    error_number(refuse_callbacks().and_then(|()| Machine::common().stack().map(drop)))
}

/// Makes another stack. It starts with the first call that needs it, so that rumpnet_seed and
/// rumpnet_clock_manual can come before. To be given up with rumpnet_free.
#[unsafe(no_mangle)]
pub extern "C" fn rumpnet_new() -> *mut rumpnet {
    match refuse_callbacks() {
        // It lives in the table of stacks; the handle is only compared.
        Ok(()) => Arc::as_ptr(&Machine::create()).cast_mut().cast(),
        Err(error) => {
            Errno::set_raw(crate::error::number(&error));
            std::ptr::null_mut()
        }
    }
}

/// Lets the calling thread use a stack: for sockets and interfaces that it makes from now on. NULL:
/// the one of rump_init. Descriptors stay with the stack that they were made in.
///
/// Errors: EINVAL if there is no such stack.
#[unsafe(no_mangle)]
pub extern "C" fn rumpnet_use(stack: *mut rumpnet) -> c_int {
    if stack.is_null() {
        Machine::choose(None);
        return 0;
    }
    status(rumpnet::find(stack).map(|machine| Machine::choose(Some(&machine))))
}

/// Gives a stack up, and closes its descriptors. What its connections have not delivered gets some
/// seconds more, unless its clock is moved by hand. Its callbacks are not called any more afterwards, once
/// the calls have returned in which other threads block on its sockets.
///
/// Errors: EINVAL if there is no such stack, EDEADLK out of a callback.
#[unsafe(no_mangle)]
pub extern "C" fn rumpnet_free(stack: *mut rumpnet) -> c_int {
    let found = refuse_callbacks().and_then(|()| rumpnet::find(stack));
    status(found.map(Machine::free))
}

/// Gives the calling thread's stack the seed of everything random: sequence numbers, ports, keys.
/// Without it the host's entropy is taken.
///
/// Errors: EBUSY once the stack has started, ENXIO if the thread has none.
#[unsafe(no_mangle)]
pub extern "C" fn rumpnet_seed(seed: u64) -> c_int {
    status(Machine::current().and_then(|machine| machine.plan(|own, _| *own = Some(seed))))
}

/// Reads and sets what Linux calls `name`, as "net.ipv4.tcp_sack"; values are text. What it was is
/// written to `old`, with a zero behind it, if that is not NULL: `*old_size` is the room there, and
/// becomes the size. It becomes `value`, if that is not NULL.
///
/// Errors: ENOENT for an unknown name, EACCES for what cannot be set, EINVAL for a value that it
/// cannot have, ENOMEM if the room is too small (`*old_size` says how much it takes), EFAULT.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rumpnet_sysctl(
    name: *const c_char,
    old: *mut c_char,
    old_size: *mut usize,
    value: *const c_char,
) -> c_int {
    let done = || {
        refuse_callbacks()?;
        // SAFETY: the caller's promise.
        let name = unsafe { raw::text(name) }?;
        let inet = Machine::current()?.inet()?;
        if !old.is_null() {
            let text = inet.sysctl(name).map_err(|error| error.to_io())?.to_string();
            // SAFETY: the caller's promise.
            let size = unsafe { raw::at(old_size) }?;
            let room = std::mem::replace(size, text.len() + 1);
            // SAFETY: the caller's promise.
            let out = unsafe { raw::bytes_mut(old.cast(), room) }?;
            let out = out.get_mut(..=text.len()).ok_or(io::ErrorKind::OutOfMemory)?;
            out[..text.len()].copy_from_slice(text.as_bytes());
            out[text.len()] = 0;
        }
        if !value.is_null() {
            // SAFETY: the caller's promise.
            let value = unsafe { raw::text(value) }?;
            inet.set_sysctl(name, value).map_err(|error| error.to_io())?;
        } else if old.is_null() {
            return Err(number::invalid());
        }
        Ok(())
    };
    status(done())
}
