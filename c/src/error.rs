//! Outcomes as C has them: a value, or -1 and `errno`.

use std::ffi::c_int;
use std::io;

use nix::errno::Errno;
use nix::libc::{self, ssize_t};

/// Linux's number of an error.
pub(crate) fn number(error: &io::Error) -> c_int {
    if let Some(number) = error.raw_os_error() {
        return number;
    }
    match error.kind() {
        io::ErrorKind::WouldBlock => libc::EAGAIN,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => libc::EINVAL,
        io::ErrorKind::TimedOut => libc::ETIMEDOUT,
        io::ErrorKind::NotFound => libc::ENOENT,
        io::ErrorKind::AlreadyExists => libc::EEXIST,
        io::ErrorKind::PermissionDenied => libc::EACCES,
        io::ErrorKind::ResourceBusy => libc::EBUSY,
        io::ErrorKind::OutOfMemory => libc::ENOMEM,
        io::ErrorKind::Unsupported => libc::EOPNOTSUPP,
        _ => libc::EIO,
    }
}

/// The error of a number.
pub(crate) fn errno(number: c_int) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// 0, or -1 and `errno`.
pub(crate) fn status(done: io::Result<()>) -> c_int {
    value(done.map(|()| 0))
}

/// A value that is not negative, or -1 and `errno`.
pub(crate) fn value(done: io::Result<c_int>) -> c_int {
    done.unwrap_or_else(|error| {
        Errno::set_raw(number(&error));
        -1
    })
}

/// How many bytes, or -1 and `errno`.
pub(crate) fn count(done: io::Result<usize>) -> ssize_t {
    match done {
        Ok(bytes) => ssize_t::try_from(bytes).unwrap_or(ssize_t::MAX),
        Err(error) => {
            Errno::set_raw(number(&error));
            -1
        }
    }
}

/// 0, or the error's number, as `rump_pub_*` have it.
pub(crate) fn error_number(done: io::Result<()>) -> c_int {
    done.map_or_else(|error| number(&error), |()| 0)
}
