//! C's memory, read and written.
//!
//! A null pointer is told (`EFAULT`). That any other leads to as many bytes as was said is the caller's
//! promise: the functions of [`api`](crate::api) repeat it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use libnet::errno as number;
use nix::libc::{self, iovec, msghdr, sockaddr, socklen_t};

use crate::address;
use crate::error::errno;
use crate::gate::Gate;

/// `EFAULT`.
pub(crate) fn fault() -> io::Error {
    errno(libc::EFAULT)
}

/// `size` bytes to be read.
///
/// # Safety
/// At `data` are `size` bytes, or it is null.
pub(crate) unsafe fn bytes<'a>(data: *const c_void, size: usize) -> io::Result<&'a [u8]> {
    match (data.is_null(), size) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(fault()),
        (_, 1..=MOST) => {
            // SAFETY: the caller's promise; the size is in the bounds of a slice.
            Ok(unsafe { std::slice::from_raw_parts(data.cast(), size) })
        }
        _ => Err(number::invalid()),
    }
}

/// `size` bytes to be written.
///
/// # Safety
/// As [`bytes`]; nobody else uses them meanwhile.
pub(crate) unsafe fn bytes_mut<'a>(data: *mut c_void, size: usize) -> io::Result<&'a mut [u8]> {
    match (data.is_null(), size) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(fault()),
        (_, 1..=MOST) => {
            // SAFETY: the caller's promise; the size is in the bounds of a slice. Whatever the bytes
            // are, they are only written.
            Ok(unsafe { std::slice::from_raw_parts_mut(data.cast(), size) })
        }
        _ => Err(number::invalid()),
    }
}

/// `count` things to be read and written.
///
/// # Safety
/// As [`bytes_mut`], of things.
pub(crate) unsafe fn array_mut<'a, T>(first: *mut T, count: usize) -> io::Result<&'a mut [T]> {
    if count == 0 {
        return Ok(&mut []);
    }
    if first.is_null() || count > MOST / size_of::<T>().max(1) {
        return Err(fault());
    }
    // SAFETY: the caller's promise; the size is in the bounds of a slice.
    Ok(unsafe { std::slice::from_raw_parts_mut(first, count) })
}

/// Something that C points at.
///
/// # Safety
/// At `place` is a `T`, or it is null; nobody else uses it meanwhile.
pub(crate) unsafe fn at<'a, T>(place: *mut T) -> io::Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { place.as_mut() }.ok_or_else(fault)
}

/// A text.
///
/// # Safety
/// At `text` are bytes up to a zero, or it is null.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> io::Result<&'a str> {
    if text.is_null() {
        return Err(fault());
    }
    // SAFETY: it is not null, and ends by the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| number::invalid())
}

/// An address.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn address(addr: *const sockaddr, len: socklen_t) -> io::Result<SocketAddr> {
    if len as usize > size_of::<libc::sockaddr_storage>() {
        return Err(number::invalid());
    }
    // SAFETY: the caller's promise.
    address::parse(unsafe { bytes(addr.cast(), len as usize) }?)
}

/// Writes an address, as much as there is room for, and how long it is. Nothing if `addr` is null.
///
/// # Safety
/// At `len` is the number of bytes at `addr`, or either is null.
pub(crate) unsafe fn put_address(
    addr: *mut sockaddr,
    len: *mut socklen_t,
    value: Option<SocketAddr>,
) -> io::Result<()> {
    if addr.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let len = unsafe { at(len) }?;
    let value = value.map(address::write).unwrap_or_default();
    if *len > c_int::MAX as socklen_t {
        return Err(number::invalid());
    }
    // SAFETY: the caller's promise.
    let room = unsafe { bytes_mut(addr.cast(), *len as usize) }?;
    let part = room.len().min(value.len());
    room[..part].copy_from_slice(&value[..part]);
    *len = value.len() as socklen_t;
    Ok(())
}

/// Checks what [`put_address`] will be called with, before anything has happened.
///
/// # Safety
/// As [`put_address`].
pub(crate) unsafe fn check_room(addr: *mut sockaddr, len: *mut socklen_t) -> io::Result<()> {
    if addr.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let len = unsafe { at(len) }?;
    if *len > c_int::MAX as socklen_t { Err(number::invalid()) } else { Ok(()) }
}

/// Buffers to be read.
///
/// # Safety
/// At `vector` are `count` descriptions of as many bytes as they say, or null pointers.
pub(crate) unsafe fn slices<'a>(
    vector: *const iovec,
    count: usize,
) -> io::Result<Vec<IoSlice<'a>>> {
    // SAFETY: the caller's promise.
    let parts = unsafe { parts(vector, count) }?;
    let slice = |part: &iovec| {
        // SAFETY: the caller's promise.
        Ok(IoSlice::new(unsafe { bytes(part.iov_base, part.iov_len) }?))
    };
    parts.iter().map(slice).collect()
}

/// Buffers to be written.
///
/// # Safety
/// As [`slices`]; nobody else uses them meanwhile, and none overlaps another.
pub(crate) unsafe fn slices_mut<'a>(
    vector: *const iovec,
    count: usize,
) -> io::Result<Vec<IoSliceMut<'a>>> {
    // SAFETY: the caller's promise.
    let parts = unsafe { parts(vector, count) }?;
    let slice = |part: &iovec| {
        // SAFETY: the caller's promise.
        Ok(IoSliceMut::new(unsafe { bytes_mut(part.iov_base, part.iov_len) }?))
    };
    parts.iter().map(slice).collect()
}

unsafe fn parts<'a>(vector: *const iovec, count: usize) -> io::Result<&'a [iovec]> {
    match (count, vector.is_null()) {
        (0, _) => return Ok(&[]),
        (IOV_MAX_AND_ONE.., _) => return Err(number::invalid()),
        (_, true) => return Err(fault()),
        _ => {}
    }
    // SAFETY: the caller's promise; the count was bounded.
    let parts: &[iovec] = unsafe { std::slice::from_raw_parts(vector, count) };
    let total = parts.iter().try_fold(0usize, |total, part| total.checked_add(part.iov_len));
    total.filter(|total| *total <= MOST).map(|_| parts).ok_or_else(number::invalid)
}

/// The buffers, control messages and address of a `struct msghdr`, which is checked.
///
/// # Safety
/// At `msg` is one whose pointers lead where it says, or it is null.
pub(crate) unsafe fn header<'a>(msg: *mut msghdr) -> io::Result<&'a mut msghdr> {
    // SAFETY: the caller's promise.
    let header = unsafe { at(msg) }?;
    if header.msg_iovlen as usize >= IOV_MAX_AND_ONE {
        return Err(number::message_too_long());
    }
    Ok(header)
}

/// Closes the program's end of a gate, unless the number is another file's by now.
pub(crate) fn close_end(fd: c_int, gate: &Gate) {
    // SAFETY: the number is only asked about, and is not -1: it came from the host.
    let end = unsafe { BorrowedFd::borrow_raw(fd) };
    if gate.is_end(end) {
        close_number(fd);
    }
}

/// Closes a descriptor that we made for the program.
pub(crate) fn close_number(fd: c_int) {
    // SAFETY: the program gives it up with this call.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// The program's descriptor, for calls of the host.
///
/// # Errors
/// `EBADF` if the program has closed it behind our back.
pub(crate) fn end<'a>(fd: c_int, gate: &Gate) -> io::Result<BorrowedFd<'a>> {
    // SAFETY: as above.
    let end = unsafe { BorrowedFd::borrow_raw(fd) };
    if gate.is_end(end) { Ok(end) } else { Err(number::bad_descriptor()) }
}

/// A file descriptor that a call of the host gave the number of.
///
/// # Safety
/// Nobody else owns it.
pub(crate) unsafe fn own(fd: c_int) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The most bytes of a buffer.
const MOST: usize = isize::MAX as usize;
/// `UIO_MAXIOV` and one.
const IOV_MAX_AND_ONE: usize = 1_025;
