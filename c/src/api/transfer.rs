//! Data: sent and received.

use std::ffi::{c_int, c_uint, c_void};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use libnet::socket::{Received, SendControl};
use libnet::{Family, SockType, errno as number};
use nix::libc::{self, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use crate::address::mapped;
use crate::descriptor::Descriptor;
use crate::error::{count, value};
use crate::message;
use crate::raw;
use crate::table::{self, lock};

/// write(2). A broken pipe raises no signal, here and in what follows: it is the error EPIPE.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_write(fd: c_int, data: *const c_void, size: size_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { rump_sys_sendto(fd, data, size, 0, std::ptr::null(), 0) }
}

/// send(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_send(
    fd: c_int,
    data: *const c_void,
    size: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { rump_sys_sendto(fd, data, size, flags, std::ptr::null(), 0) }
}

/// sendto(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_sendto(
    fd: c_int,
    data: *const c_void,
    size: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> ssize_t {
    count(table::with(fd, |descriptor| {
        // SAFETY: the caller's promise.
        let data = unsafe { raw::bytes(data, size) }?;
        // SAFETY: the caller's promise.
        let to = unsafe { destination(descriptor, to, to_len) }?;
        descriptor.send(&[IoSlice::new(data)], SendControl::to(to), flags)
    }))
}

/// Where a message goes, if that was said.
unsafe fn destination(
    descriptor: &Descriptor,
    to: *const sockaddr,
    to_len: socklen_t,
) -> io::Result<Option<SocketAddr>> {
    // Linux's TCP does not look at it.
    if to.is_null() || descriptor.kind.ty == SockType::Stream && to_len == 0 {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let to = unsafe { raw::address(to, to_len) }?;
    let six = descriptor.kind.family == Family::Inet6;
    descriptor.check_family(if six { mapped(to) } else { to }).map(Some)
}

/// writev(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_writev(
    fd: c_int,
    vector: *const iovec,
    number_of: c_int,
) -> ssize_t {
    count(table::with(fd, |descriptor| {
        let number_of = usize::try_from(number_of).map_err(|_| number::invalid())?;
        // SAFETY: the caller's promise.
        let bufs = unsafe { raw::slices(vector, number_of) }?;
        descriptor.send(&bufs, SendControl::default(), 0)
    }))
}

/// sendmsg(2), with the control messages IP_TTL, IP_TOS, IP_PKTINFO, IPV6_HOPLIMIT, IPV6_TCLASS and
/// IPV6_PKTINFO.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_sendmsg(
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    count(table::with(fd, |descriptor| unsafe { send_message(descriptor, message, flags) }))
}

unsafe fn send_message(
    descriptor: &Descriptor,
    message: *const msghdr,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: the caller's promise.
    let header = unsafe { raw::header(message.cast_mut()) }?;
    // SAFETY: the caller's promise.
    let bufs = unsafe { raw::slices(header.msg_iov, header.msg_iovlen as usize) }?;
    // SAFETY: the caller's promise.
    let to = unsafe { destination(descriptor, header.msg_name.cast(), header.msg_namelen) }?;
    let mut control = SendControl::to(to);
    // SAFETY: the caller's promise.
    let bytes = unsafe { raw::bytes(header.msg_control, header.msg_controllen as usize) }?;
    message::parse(descriptor.kind, bytes, &mut control)?;
    descriptor.send(&bufs, control, flags)
}

/// read(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_read(fd: c_int, data: *mut c_void, size: size_t) -> ssize_t {
    let none = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe { rump_sys_recvfrom(fd, data, size, 0, none, std::ptr::null_mut()) }
}

/// recv(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_recv(
    fd: c_int,
    data: *mut c_void,
    size: size_t,
    flags: c_int,
) -> ssize_t {
    let none = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe { rump_sys_recvfrom(fd, data, size, flags, none, std::ptr::null_mut()) }
}

/// recvfrom(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_recvfrom(
    fd: c_int,
    data: *mut c_void,
    size: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    count(table::with(fd, |descriptor| {
        // SAFETY: the caller's promise.
        unsafe { raw::check_room(from, from_len) }?;
        // SAFETY: the caller's promise.
        let data = unsafe { raw::bytes_mut(data, size) }?;
        let received = descriptor.recv(&mut [IoSliceMut::new(data)], flags)?;
        // SAFETY: the caller's promise.
        unsafe { raw::put_address(from, from_len, received.from) }?;
        Ok(told(&received, flags))
    }))
}

/// How long a message was: `MSG_TRUNC` asks for what did not fit, too.
fn told(received: &Received, flags: c_int) -> usize {
    if flags & libc::MSG_TRUNC != 0 { received.message_bytes } else { received.bytes }
}

/// readv(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_readv(
    fd: c_int,
    vector: *const iovec,
    number_of: c_int,
) -> ssize_t {
    count(table::with(fd, |descriptor| {
        let number_of = usize::try_from(number_of).map_err(|_| number::invalid())?;
        // SAFETY: the caller's promise.
        let mut bufs = unsafe { raw::slices_mut(vector, number_of) }?;
        Ok(descriptor.recv(&mut bufs, 0)?.bytes)
    }))
}

/// recvmsg(2), with the control messages IP_TTL, IP_TOS, IP_PKTINFO, IPV6_HOPLIMIT, IPV6_TCLASS and
/// IPV6_PKTINFO, as the options IP_RECVTTL, IP_RECVTOS, IP_PKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS and
/// IPV6_RECVPKTINFO ask for them.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_recvmsg(
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    count(table::with(fd, |descriptor| unsafe { receive_message(descriptor, message, flags) }))
}

unsafe fn receive_message(
    descriptor: &Descriptor,
    message: *mut msghdr,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: the caller's promise.
    let header = unsafe { raw::header(message) }?;
    // SAFETY: the caller's promise.
    let mut bufs = unsafe { raw::slices_mut(header.msg_iov, header.msg_iovlen as usize) }?;
    // SAFETY: the caller's promise.
    let room = unsafe { raw::bytes_mut(header.msg_control, header.msg_controllen as usize) }?;
    let received = descriptor.recv(&mut bufs, flags)?;
    header.msg_flags = flags & libc::MSG_CMSG_CLOEXEC;
    if received.is_truncated() {
        header.msg_flags |= libc::MSG_TRUNC;
    }
    if flags & libc::MSG_OOB != 0 {
        header.msg_flags |= libc::MSG_OOB;
    }
    // SAFETY: the caller's promise.
    unsafe {
        raw::put_address(header.msg_name.cast(), &raw mut header.msg_namelen, received.from)
    }?;
    let control = message::write(descriptor.kind, *lock(&descriptor.told), &received);
    let part = control.len().min(room.len());
    room[..part].copy_from_slice(&control[..part]);
    header.msg_controllen = part as _;
    if part < control.len() {
        header.msg_flags |= libc::MSG_CTRUNC;
    }
    Ok(told(&received, flags))
}

/// sendmmsg(2).
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    number_of: c_uint,
    flags: c_int,
) -> c_int {
    let send = |descriptor: &Descriptor, entry: &mut mmsghdr, _| {
        // SAFETY: the caller's promise.
        unsafe { send_message(descriptor, &raw const entry.msg_hdr, flags) }
    };
    // SAFETY: the caller's promise.
    unsafe { each_message(fd, messages, number_of, send) }
}

/// recvmmsg(2), with MSG_WAITFORONE. A time-out is not taken: `timeout` is NULL.
///
/// Errors: those of Linux; EOPNOTSUPP for a time-out.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    number_of: c_uint,
    flags: c_int,
    timeout: *mut libc::timespec,
) -> c_int {
    if !timeout.is_null() {
        return value(Err(number::not_supported()));
    }
    let one = flags & !libc::MSG_WAITFORONE;
    let receive = |descriptor: &Descriptor, entry: &mut mmsghdr, is_first: bool| {
        let waits = is_first || flags & libc::MSG_WAITFORONE == 0;
        let flags = if waits { one } else { one | libc::MSG_DONTWAIT };
        // SAFETY: the caller's promise.
        unsafe { receive_message(descriptor, &raw mut entry.msg_hdr, flags) }
    };
    // SAFETY: the caller's promise.
    unsafe { each_message(fd, messages, number_of, receive) }
}

/// Calls for each message until one fails; how many did not. An error counts if it is the first's.
unsafe fn each_message(
    fd: c_int,
    messages: *mut mmsghdr,
    number_of: c_uint,
    mut call: impl FnMut(&Descriptor, &mut mmsghdr, bool) -> io::Result<usize>,
) -> c_int {
    value(table::with(fd, |descriptor| {
        // As Linux: more are left for the next call.
        for done in 0..number_of.min(UIO_MAXIOV) {
            // SAFETY: the caller's promise: there are as many.
            let entry = unsafe { raw::at(messages.wrapping_add(done as usize)) }?;
            match call(descriptor, entry, done == 0) {
                Ok(bytes) => entry.msg_len = c_uint::try_from(bytes).unwrap_or(c_uint::MAX),
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done as c_int),
            }
        }
        Ok(number_of.min(UIO_MAXIOV) as c_int)
    }))
}

const UIO_MAXIOV: c_uint = 1_024;
