//! Sockets as a case sees them, whoever serves them.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use libnet::Ready;
use libnet::socket::{Family, OptionKey, SockType, SocketOption};

/// Which of the two ends of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Usually the client.
    A,
    /// Usually the server.
    B,
}

/// How a send or receive is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Without flags.
    Plain,
    /// `MSG_PEEK`.
    Peek,
    /// `MSG_OOB`.
    Urgent,
}

/// What a receive brought.
#[derive(Clone, Copy, Debug)]
pub struct Got {
    /// Bytes stored.
    pub bytes: usize,
    /// Bytes of the message (`MSG_TRUNC`).
    pub message_bytes: usize,
    /// The sender of a datagram.
    pub from: Option<SocketAddr>,
}

/// A place with sockets on two sides, which may be one machine.
pub trait Net: Sync {
    /// What differences are listed under.
    fn name(&self) -> &'static str;

    /// Of which family its sockets are.
    fn family(&self) -> Family;

    /// Is there no way out of it, but to 198.51.100.0/24 and 2001:db8:2::/48, which are refused,
    /// and 203.0.113.0/24 and 2001:db8:3::/48, which are dropped?
    fn is_closed(&self) -> bool;

    /// The address of a side.
    fn addr(&self, side: Side) -> IpAddr;

    /// The index of the interface that has it.
    fn interface(&self, side: Side) -> u32;

    /// A socket of its family.
    ///
    /// # Errors
    /// As `socket(2)`.
    fn socket(&self, side: Side, ty: SockType) -> io::Result<Box<dyn Sock>>;
}

/// A socket.
#[expect(missing_docs, reason = "each is the call of its name, with its errors")]
#[expect(clippy::missing_errors_doc, reason = "each is the call of its name, with its errors")]
pub trait Sock: Send + Sync {
    fn bind(&self, addr: SocketAddr) -> io::Result<()>;
    fn listen(&self, backlog: u32) -> io::Result<()>;
    fn accept(&self) -> io::Result<(Box<dyn Sock>, SocketAddr)>;
    fn connect(&self, addr: SocketAddr) -> io::Result<()>;
    fn send(&self, data: &[u8], how: How) -> io::Result<usize>;
    fn send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize>;
    /// `sendto` with `MSG_FASTOPEN`.
    fn send_fast_open(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize>;
    fn recv(&self, buf: &mut [u8], how: How) -> io::Result<Got>;
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    /// Does a connection have data to send, and a peer that takes no more of it?
    fn stalls(&self) -> io::Result<bool>;
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    fn ready(&self) -> io::Result<Ready>;
    fn set(&self, option: SocketOption) -> io::Result<()>;
    fn get(&self, key: OptionKey) -> io::Result<SocketOption>;
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn read_timeout(&self) -> io::Result<Option<Duration>>;
    /// Watches for edges from now on.
    fn watch(&self, interest: Ready) -> io::Result<Box<dyn Watch + '_>>;
}

/// Sees a socket become ready.
pub trait Watch {
    /// Waits for the next edge, at most `patience`; whether one came.
    ///
    /// # Errors
    /// The subject's.
    fn next(&mut self, patience: Duration) -> io::Result<bool>;
}
