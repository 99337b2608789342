//! Sockets: made, bound, connected, closed.

use std::ffi::c_int;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::Ordering;

use libnet::{SockType, errno as number};
use nix::libc::{self, sockaddr, socklen_t};
use rustix::io::{fcntl_getfd, fcntl_setfd};

use crate::descriptor::{Descriptor, kind_of};
use crate::epoll;
use crate::error::{errno, status, value};
use crate::machine::Machine;
use crate::raw;
use crate::table;

/// socket(2) in the calling thread's stack: AF_INET and AF_INET6; SOCK_STREAM, SOCK_DGRAM and
/// SOCK_RAW, with SOCK_NONBLOCK and SOCK_CLOEXEC. The descriptor is one of the host, which its poll
/// and epoll may watch; everything else is for the functions here.
///
/// Errors: those of Linux; ENXIO if the thread has no stack.
#[unsafe(no_mangle)]
pub extern "C" fn rump_sys_socket(domain: c_int, type_: c_int, protocol: c_int) -> c_int {
    let done = || {
        let machine = Machine::current()?;
        let _call = machine.enter()?;
        let kind = kind_of(domain, type_, protocol)?;
        let socket = machine.stack()?.socket(kind.family, kind.ty, kind.protocol)?;
        Descriptor::open(&machine, socket, kind, type_)
    };
    value(done())
}

/// close(2), of a socket or an epoll set. What the socket still has to deliver is delivered.
#[unsafe(no_mangle)]
pub extern "C" fn rump_sys_close(fd: c_int) -> c_int {
    status(match table::close(fd) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => epoll::close(fd),
        done => done,
    })
}

/// bind(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    status(table::with(fd, |descriptor| {
        // SAFETY: the caller's promise.
        let addr = unsafe { raw::address(addr, len) }?;
        descriptor.socket.bind(descriptor.check_family(addr)?)
    }))
}

/// listen(2).
#[unsafe(no_mangle)]
pub extern "C" fn rump_sys_listen(fd: c_int, backlog: c_int) -> c_int {
    status(table::with(fd, |descriptor| {
        // Linux, too, takes a negative one for the most that there is.
        descriptor.socket.listen(u32::try_from(backlog).unwrap_or(u32::MAX))?;
        descriptor.listens.store(true, Ordering::Relaxed);
        Ok(())
    }))
}

/// accept(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_accept(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { rump_sys_accept4(fd, addr, len, 0) }
}

/// accept4(2), with SOCK_NONBLOCK and SOCK_CLOEXEC.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_accept4(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    value(table::with(fd, |descriptor| {
        if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
            return Err(number::invalid());
        }
        if descriptor.kind.ty != SockType::Stream {
            return Err(number::not_supported());
        }
        // SAFETY: the caller's promise.
        unsafe { raw::check_room(addr, len) }?;
        let (accepted, peer) = descriptor.accept(flags)?;
        // SAFETY: the caller's promise.
        unsafe { raw::put_address(addr, len, Some(peer)) }?;
        Ok(accepted)
    }))
}

/// connect(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_connect(
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    status(table::with(fd, |descriptor| {
        // SAFETY: the caller's promise.
        let addr = unsafe { raw::address(addr, len) }?;
        descriptor.socket.connect(descriptor.check_family(addr)?)
    }))
}

/// shutdown(2).
#[unsafe(no_mangle)]
pub extern "C" fn rump_sys_shutdown(fd: c_int, how: c_int) -> c_int {
    status(table::with(fd, |descriptor| {
        let how = match how {
            libc::SHUT_RD => Shutdown::Read,
            libc::SHUT_WR => Shutdown::Write,
            libc::SHUT_RDWR => Shutdown::Both,
            _ => return Err(number::invalid()),
        };
        descriptor.socket.shutdown(how)
    }))
}

/// getsockname(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_getsockname(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { name(fd, addr, len, |descriptor| descriptor.socket.local_addr()) }
}

/// getpeername(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_getpeername(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { name(fd, addr, len, |descriptor| descriptor.socket.peer_addr()) }
}

unsafe fn name(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    ask: impl FnOnce(&Descriptor) -> io::Result<SocketAddr>,
) -> c_int {
    status(table::with(fd, |descriptor| {
        let name = ask(descriptor)?;
        if addr.is_null() {
            return Err(raw::fault());
        }
        // SAFETY: the caller's promise.
        unsafe { raw::put_address(addr, len, Some(name)) }
    }))
}

/// fcntl(2): F_GETFL and F_SETFL with O_NONBLOCK, F_GETFD and F_SETFD, F_DUPFD and F_DUPFD_CLOEXEC.
#[unsafe(no_mangle)]
pub extern "C" fn rump_sys_fcntl(fd: c_int, command: c_int, arg: libc::c_long) -> c_int {
    let duplicate = |cloexec| match c_int::try_from(arg) {
        Ok(least) if least >= 0 => duplicate(fd, least, cloexec),
        _ => Err(number::invalid()),
    };
    value(match command {
        libc::F_DUPFD => duplicate(false),
        libc::F_DUPFD_CLOEXEC => duplicate(true),
        _ => table::with(fd, |descriptor| match command {
            libc::F_GETFL => Ok(descriptor.status_flags()),
            libc::F_SETFL => {
                descriptor.socket.set_nonblocking(arg as c_int & libc::O_NONBLOCK != 0);
                Ok(0)
            }
            libc::F_GETFD => Ok(fcntl_getfd(raw::end(fd, &descriptor.gate)?)?.bits() as c_int),
            libc::F_SETFD => {
                let flags = rustix::io::FdFlags::from_bits_truncate(arg as u32);
                Ok(fcntl_setfd(raw::end(fd, &descriptor.gate)?, flags).map(|()| 0)?)
            }
            _ => Err(number::invalid()),
        }),
    })
}

/// dup(2): another descriptor of the same socket, which shares all but FD_CLOEXEC with it.
#[unsafe(no_mangle)]
pub extern "C" fn rump_sys_dup(fd: c_int) -> c_int {
    value(duplicate(fd, 0, false))
}

fn duplicate(fd: c_int, least: c_int, cloexec: bool) -> io::Result<c_int> {
    let descriptor = table::get(fd)?;
    let _call = descriptor.machine.enter()?;
    let end = raw::end(fd, &descriptor.gate)?;
    let command = if cloexec { libc::F_DUPFD_CLOEXEC } else { libc::F_DUPFD };
    // SAFETY: it takes no pointer.
    let number = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&end), command, least) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the host has made it just now.
    let end = unsafe { raw::own(number) };
    Ok(descriptor.install(end))
}

/// dup2(2), onto a number that is free, or is a descriptor of ours.
///
/// Errors: those of Linux; EBUSY if the number is another file's, which is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn rump_sys_dup2(fd: c_int, to: c_int) -> c_int {
    let done = || {
        table::get(fd)?;
        if fd == to {
            return Ok(to);
        }
        match table::close(to) {
            Err(error) if error.raw_os_error() != Some(libc::EBADF) => return Err(error),
            _ => {}
        }
        let made = duplicate(fd, to, false)?;
        if made == to {
            return Ok(to);
        }
        table::close(made)?;
        Err(errno(libc::EBUSY))
    };
    value(done())
}
