//! Waiting for sets of descriptors.

use std::ffi::c_int;
use std::time::Duration;

use libnet::errno as number;
use nix::libc::{self, epoll_event};

use crate::epoll;
use crate::error::{status, value};
use crate::machine::refuse_callbacks;
use crate::raw;

/// epoll_create1(2), for descriptors made here alone. The host's own epoll takes those, too, and tells EPOLLIN and
/// EPOLLOUT; this one tells EPOLLHUP, EPOLLRDHUP, EPOLLERR and EPOLLPRI, too, and waits by the clock of the calling
/// thread's stack. The host's poll and epoll may watch the set.
///
/// Errors: those of Linux; ENXIO if the thread has no stack.
#[unsafe(no_mangle)]
pub extern "C" fn rump_sys_epoll_create1(flags: c_int) -> c_int {
    value(epoll::create_flags(flags).and_then(epoll::create))
}

/// epoll_ctl(2), with EPOLLET and EPOLLONESHOT; EPOLLEXCLUSIVE and EPOLLWAKEUP mean nothing here.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_epoll_ctl(
    set: c_int,
    op: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    let done = || {
        refuse_callbacks()?;
        let (events, data) = match op {
            libc::EPOLL_CTL_DEL => (0, 0),
            // SAFETY: the caller's promise.
            _ => unsafe { raw::at(event) }.map(|event| (event.events, event.u64))?,
        };
        let found = epoll::get(set)?;
        match op {
            _ if fd == set => Err(number::invalid()),
            libc::EPOLL_CTL_ADD => found.add(fd, events, data),
            libc::EPOLL_CTL_MOD => found.change(fd, events, data),
            libc::EPOLL_CTL_DEL => found.remove(fd),
            _ => Err(number::invalid()),
        }
    };
    status(done())
}

/// epoll_wait(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_epoll_wait(
    set: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout_ms: c_int,
) -> c_int {
    let done = || {
        let most = usize::try_from(most).ok().filter(|most| *most > 0);
        let most = most.ok_or_else(number::invalid)?;
        // SAFETY: the caller's promise.
        let out = unsafe { raw::array_mut(events, most) }?;
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let found = epoll::get(set)?.wait(most, timeout)?;
        for (place, (events, data)) in out.iter_mut().zip(&found) {
            *place = epoll_event { events: *events, u64: *data };
        }
        Ok(found.len() as c_int)
    };
    value(done())
}
