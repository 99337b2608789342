//! Connections that are begun, and data that begin them (RFC 7413).

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::Socket;
use crate::errno;
use crate::socket::SendMsg;
use crate::time::Instant;
use crate::wake::Ready;

impl Socket {
    /// Connects and sends, the data with the SYN if they may (`MSG_FASTOPEN`, RFC 7413); how many
    /// bytes were taken. If blocking it waits for the connection; else later calls tell how it ended.
    ///
    /// # Errors
    /// As [`Domain::connect`](crate::socket::Domain::connect) and [`send`](Self::send); `EOPNOTSUPP` where the domain has no Fast
    /// Open.
    pub fn send_fast_open(&self, buf: &[u8], addr: SocketAddr) -> io::Result<usize> {
        let blocking = !self.is_nonblocking();
        let sent = match self.domain.send(self.id, SendMsg::FastOpen(&[IoSlice::new(buf)], addr)) {
            // It began without the data, which follow.
            Err(error) if errno::is_in_progress(&error) && blocking => 0,
            sent => sent?,
        };
        if blocking {
            self.opening_ends(addr, self.deadline(&self.write_timeout))?;
        }
        if sent == buf.len() || !blocking {
            return Ok(sent);
        }
        match self.send(&buf[sent..]) {
            Err(error) if sent == 0 => Err(error),
            more => Ok(sent + more.unwrap_or(0)),
        }
    }

    /// Waits until a connect that has begun is done.
    pub(super) fn connect_ends(
        &self,
        addr: SocketAddr,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        // Each further call tells how the first one stands, and at last how it ended.
        self.block_on(Ready::WRITABLE, deadline, || match self.domain.connect(self.id, addr) {
            Err(error) if errno::is_under_way(&error) => Err(errno::would_block()),
            done => done,
        })
    }

    /// Data have begun the connection: waits for it, as on Linux, so that the sender hears of a
    /// refusal and may shut down what it sent. If time runs out, a later call tells.
    pub(super) fn opening_ends(
        &self,
        addr: SocketAddr,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        match self.connect_ends(addr, deadline) {
            Err(error) if errno::is_would_block(&error) || errno::says_connected(&error) => Ok(()),
            done => done,
        }
    }
}
