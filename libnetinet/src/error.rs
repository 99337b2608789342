//! What an ICMP error becomes at a socket, in one place.

use std::io;

use libnet::errno;

use crate::icmp::message::Unreachable;

/// An error that waits at a socket until the next call takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SocketError {
    NetUnreachable,
    HostUnreachable,
    ProtocolUnreachable,
    Refused,
    MessageTooLong,
    SourceRouteFailed,
    HostDown,
    NoNet,
    Protocol,
    Access,
    /// The address that the socket is bound to was given up to another host.
    AddressGone,
}

/// Does an error end what a connected socket does, or does it only say that something is amiss?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Severity {
    /// Reported to connected sockets.
    Hard,
    /// Reported only to sockets that asked for all errors (`IP_RECVERR`); RFC 1122 §4.2.3.9.
    Soft,
}

impl SocketError {
    /// The error as a caller sees it, with the number that Linux gives.
    pub(crate) fn to_io(self) -> io::Error {
        match self {
            SocketError::NetUnreachable => errno::net_unreachable(),
            SocketError::HostUnreachable => errno::host_unreachable(),
            SocketError::ProtocolUnreachable => errno::no_such_option(),
            SocketError::Refused => errno::refused(),
            SocketError::MessageTooLong => errno::message_too_long(),
            SocketError::SourceRouteFailed => errno::not_supported(),
            SocketError::HostDown => errno::host_down(),
            SocketError::NoNet => errno::not_on_network(),
            SocketError::Protocol => errno::protocol_error(),
            SocketError::Access => errno::access(),
            SocketError::AddressGone => errno::addr_not_available(),
        }
    }

    /// What a destination-unreachable code means to a socket (RFC 1122 §3.2.2.1), and how hard.
    pub(crate) fn of_unreachable(code: Unreachable) -> (SocketError, Severity) {
        use Severity::{Hard, Soft};
        match code {
            Unreachable::NET | Unreachable::NET_TOS => (SocketError::NetUnreachable, Soft),
            Unreachable::PROTOCOL => (SocketError::ProtocolUnreachable, Hard),
            Unreachable::PORT => (SocketError::Refused, Hard),
            Unreachable::FRAGMENTATION_NEEDED => (SocketError::MessageTooLong, Hard),
            Unreachable::SOURCE_ROUTE_FAILED => (SocketError::SourceRouteFailed, Soft),
            Unreachable::NET_UNKNOWN | Unreachable::NET_PROHIBITED => {
                (SocketError::NetUnreachable, Hard)
            }
            Unreachable::HOST_UNKNOWN => (SocketError::HostDown, Hard),
            Unreachable::HOST_ISOLATED => (SocketError::NoNet, Hard),
            Unreachable(10 | 13..=15) => (SocketError::HostUnreachable, Hard),
            _ => (SocketError::HostUnreachable, Soft),
        }
    }
}
