//! Errors with the number that Linux gives, in one place.

use std::io;

use rustix::io::Errno;

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident => $errno:ident,)*) => {
        $($(#[$doc])* #[must_use] pub fn $name() -> io::Error { Errno::$errno.into() })*
    };
}

errnos! {
    /// `EAGAIN`: the call would block.
    would_block => AGAIN,
    /// `EPERM`.
    not_permitted => PERM,
    /// `ENOENT`.
    no_such_file => NOENT,
    /// `EBADF`: no such socket (any more).
    bad_descriptor => BADF,
    /// `EEXIST`.
    exists => EXIST,
    /// `EINVAL`.
    invalid => INVAL,
    /// `EADDRINUSE`.
    addr_in_use => ADDRINUSE,
    /// `EADDRNOTAVAIL`.
    addr_not_available => ADDRNOTAVAIL,
    /// `EAFNOSUPPORT`.
    family_not_supported => AFNOSUPPORT,
    /// `EPROTONOSUPPORT`.
    protocol_not_supported => PROTONOSUPPORT,
    /// `ENOPROTOOPT`.
    no_such_option => NOPROTOOPT,
    /// `EOPNOTSUPP`.
    not_supported => OPNOTSUPP,
    /// `EISCONN`.
    is_connected => ISCONN,
    /// `ENOTCONN`.
    not_connected => NOTCONN,
    /// `EINPROGRESS`.
    in_progress => INPROGRESS,
    /// `EALREADY`.
    already => ALREADY,
    /// `EDESTADDRREQ`.
    destination_required => DESTADDRREQ,
    /// `EMSGSIZE`.
    message_too_long => MSGSIZE,
    /// `EPIPE`.
    broken_pipe => PIPE,
    /// `ECONNREFUSED`.
    refused => CONNREFUSED,
    /// `ECONNRESET`.
    reset => CONNRESET,
    /// `ECONNABORTED`.
    aborted => CONNABORTED,
    /// `ETIMEDOUT`.
    timed_out => TIMEDOUT,
    /// `EHOSTUNREACH`.
    host_unreachable => HOSTUNREACH,
    /// `ENETUNREACH`.
    net_unreachable => NETUNREACH,
    /// `ENETDOWN`.
    net_down => NETDOWN,
    /// `EHOSTDOWN`.
    host_down => HOSTDOWN,
    /// `ENONET`.
    not_on_network => NONET,
    /// `EPROTO`.
    protocol_error => PROTO,
    /// `EACCES`.
    access => ACCESS,
    /// `EMFILE`: the table of sockets is full.
    too_many => MFILE,
    /// `ENOBUFS`.
    no_buffers => NOBUFS,
    /// `ENODEV`.
    no_device => NODEV,
    /// `EPROTOTYPE`.
    wrong_type => PROTOTYPE,
}

/// Is it `EAGAIN`?
pub fn is_would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Is it `EISCONN`?
pub fn says_connected(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ISCONN.raw_os_error())
}

/// Is it `EINPROGRESS`?
pub fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error())
}

/// Is it `EINPROGRESS` or `EALREADY`: of a connect that has begun?
pub fn is_under_way(error: &io::Error) -> bool {
    is_in_progress(error) || error.raw_os_error() == Some(Errno::ALREADY.raw_os_error())
}
