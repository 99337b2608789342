//! Why a call failed. Errno values come from `libnet::errno`, the one place for them.

use std::io;

use libnet::errno;

/// What ended a connection, or kept it from beginning; pending until it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnError {
    /// The peer answered the SYN with RST, or its host said that nobody listens.
    #[error("connection refused")]
    Refused,
    /// The peer sent RST.
    #[error("connection reset by peer")]
    Reset,
    /// The peer sent RST after its FIN.
    #[error("broken pipe")]
    BrokenPipe,
    /// No answer within the retries or the user timeout.
    #[error("connection timed out")]
    TimedOut,
    /// A router or our own neighbour resolution could not reach the host.
    #[error("no route to host")]
    HostUnreachable,
    /// A router or our own table has no route.
    #[error("network is unreachable")]
    NetUnreachable,
    /// The host does not speak TCP.
    #[error("protocol not available")]
    ProtocolUnreachable,
    /// The address that it spoke from was given up to another host (RFC 3927 §2.5).
    #[error("software caused connection abort")]
    AddressGone,
}

impl From<ConnError> for io::Error {
    fn from(error: ConnError) -> io::Error {
        match error {
            ConnError::Refused => errno::refused(),
            ConnError::Reset => errno::reset(),
            ConnError::BrokenPipe => errno::broken_pipe(),
            ConnError::TimedOut => errno::timed_out(),
            ConnError::HostUnreachable => errno::host_unreachable(),
            ConnError::NetUnreachable => errno::net_unreachable(),
            ConnError::AddressGone => errno::aborted(),
            ConnError::ProtocolUnreachable => errno::no_such_option(),
        }
    }
}

/// A connect that could not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The pair of addresses and ports is in use.
    #[error("address in use")]
    InUse,
    /// Every port of the range is in use towards this peer.
    #[error("no free port")]
    NoPort,
    /// The table holds as many connections as it may.
    #[error("too many connections")]
    TableFull,
    /// The peer's address cannot be connected to: port 0, multicast, or of another family.
    #[error("bad address")]
    BadAddress,
    /// There is no way to the peer.
    #[error(transparent)]
    Path(#[from] super::path::PathError),
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> io::Error {
        match error {
            ConnectError::InUse | ConnectError::NoPort => errno::addr_not_available(),
            ConnectError::TableFull => errno::no_buffers(),
            ConnectError::BadAddress => errno::invalid(),
            ConnectError::Path(error) => error.into(),
        }
    }
}

/// A send that took nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The buffer is full, or the handshake is not over.
    #[error("would block")]
    WouldBlock,
    /// The sending side is closed.
    #[error("broken pipe")]
    ShutDown,
    /// The connection failed.
    #[error(transparent)]
    Failed(ConnError),
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> io::Error {
        match error {
            SendError::WouldBlock => errno::would_block(),
            SendError::ShutDown => errno::broken_pipe(),
            SendError::Failed(error) => error.into(),
        }
    }
}

/// A receive that brought nothing, not even the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing is there yet.
    #[error("would block")]
    WouldBlock,
    /// No urgent byte is kept out of line.
    #[error("no urgent data")]
    NoUrgent,
    /// The connection failed.
    #[error(transparent)]
    Failed(ConnError),
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> io::Error {
        match error {
            RecvError::WouldBlock => errno::would_block(),
            RecvError::NoUrgent => errno::invalid(),
            RecvError::Failed(error) => error.into(),
        }
    }
}

/// A shutdown of something that is not connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not connected")]
pub struct NotConnected;

impl From<NotConnected> for io::Error {
    fn from(_: NotConnected) -> io::Error {
        errno::not_connected()
    }
}
