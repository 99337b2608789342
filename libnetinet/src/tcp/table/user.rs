//! The application's calls, by id; each settles what it changed.

use std::io::{IoSlice, IoSliceMut};
use std::net::IpAddr;

use bytes::Bytes;
use libnet::{Instant, Ready};

use super::{ConnId, Table};
use crate::tcp::FourTuple;
use crate::tcp::config::ConnOptions;
use crate::tcp::ctx::Ctx;
use crate::tcp::error::{ConnError, NotConnected, RecvError, SendError};
use crate::tcp::info::TcpInfo;
use crate::tcp::state::State;
use crate::tcp::tcb::Connection;
use crate::tcp::user::{Linger, RecvInto};

impl Table {
    /// Takes bytes to send, as many as fit; how many.
    ///
    /// # Errors
    /// [`SendError`] if none was taken; `ShutDown` for a stale id.
    pub fn send(
        &mut self,
        now: Instant,
        id: ConnId,
        slices: &[IoSlice<'_>],
    ) -> Result<usize, SendError> {
        self.with(now, id, |conn, ctx| conn.send(ctx, slices)).unwrap_or(Err(SendError::ShutDown))
    }

    /// As [`send`](Self::send); the last byte taken is urgent.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_urgent(
        &mut self,
        now: Instant,
        id: ConnId,
        slices: &[IoSlice<'_>],
    ) -> Result<usize, SendError> {
        self.with(now, id, |conn, ctx| conn.send_urgent(ctx, slices))
            .unwrap_or(Err(SendError::ShutDown))
    }

    /// Takes the front of a shared buffer to send, without a copy; how much.
    ///
    /// # Errors
    /// [`SendError`] if none was taken; `ShutDown` for a stale id.
    pub fn send_shared(
        &mut self,
        now: Instant,
        id: ConnId,
        data: &mut Bytes,
    ) -> Result<usize, SendError> {
        self.with(now, id, |conn, ctx| conn.send_shared(ctx, data))
            .unwrap_or(Err(SendError::ShutDown))
    }

    /// Receives; 0 bytes are the end of the stream.
    ///
    /// # Errors
    /// [`RecvError`]; a stale id is at its end.
    pub fn recv(
        &mut self,
        now: Instant,
        id: ConnId,
        into: RecvInto<'_, '_>,
    ) -> Result<usize, RecvError> {
        self.with(now, id, |conn, ctx| conn.recv(ctx, into)).unwrap_or(Ok(0))
    }

    /// Receives the urgent byte.
    ///
    /// # Errors
    /// [`RecvError`]; a stale id has none.
    pub fn recv_urgent(
        &mut self,
        now: Instant,
        id: ConnId,
        slices: &mut [IoSliceMut<'_>],
    ) -> Result<usize, RecvError> {
        let received = self.with(now, id, |conn, _| conn.recv_urgent(slices));
        received.unwrap_or(Err(RecvError::NoUrgent))
    }

    /// Closes the sending side.
    ///
    /// # Errors
    /// [`NotConnected`].
    pub fn shutdown_write(&mut self, now: Instant, id: ConnId) -> Result<(), NotConnected> {
        self.with(now, id, |conn, ctx| conn.shutdown_write(ctx)).unwrap_or(Err(NotConnected))
    }

    /// Closes the receiving side; nothing is told to the peer.
    pub fn shutdown_read(&mut self, now: Instant, id: ConnId) {
        self.with(now, id, |conn, _| conn.shutdown_read());
    }

    /// Lets a connection go; its id is stale after this.
    ///
    /// Where there are too many such connections, or no memory for what they owe, it is reset.
    pub fn close(&mut self, now: Instant, id: ConnId, linger: Linger) {
        let too_many = self.too_many_orphans();
        self.with(now, id, |conn, ctx| {
            conn.close(now, ctx, linger);
            if too_many && !matches!(conn.state, State::Closed | State::TimeWait) {
                ctx.counters.aborts_on_memory += 1;
                conn.abort(ctx);
            }
        });
    }

    /// Ends a connection at once and lets it go: the peer gets a RST, unread data or not.
    pub fn abort(&mut self, now: Instant, id: ConnId) {
        self.close(now, id, Linger::Abort);
    }

    /// What a poll would say; a stale id has hung up.
    pub fn ready(&self, id: ConnId) -> Ready {
        self.slots.get(id).map_or(Ready::ALL, Connection::ready)
    }

    /// Takes the pending error.
    pub fn take_error(&mut self, id: ConnId) -> Option<ConnError> {
        self.slots.get_mut(id)?.take_error()
    }

    /// Changes a connection's options.
    pub fn set_options(&mut self, now: Instant, id: ConnId, options: ConnOptions) {
        self.with(now, id, |conn, ctx| conn.set_options(now, ctx, options));
    }

    /// Sets `TCP_QUICKACK` of a connection.
    pub fn set_quick_ack(&mut self, now: Instant, id: ConnId, on: bool) {
        self.with(now, id, |conn, _| conn.set_quick_ack(on));
    }

    /// Gives a connection what its events carry.
    pub fn set_token(&mut self, id: ConnId, token: u64) {
        if let Some(conn) = self.slots.get_mut(id) {
            conn.set_token(token);
        }
    }

    /// Connections that were closed and still owe the peer data, or the news that they closed.
    /// One whose peer has closed too and has all data owes nothing once its FIN is sent: who has
    /// gone away does not acknowledge it.
    pub fn undelivered(&self) -> usize {
        let owes = |conn: &Connection| match conn.state {
            State::FinWait2 | State::TimeWait | State::Closed => false,
            State::LastAck | State::Closing => conn.wants_transmit() || conn.buffered_to_send() > 0,
            _ => true,
        };
        self.slots.iter().filter(|(_, conn)| conn.mode.orphan && owes(conn)).count()
    }

    /// Ends every connection at once; nobody holds them any more. The peer gets a RST unless it
    /// has acknowledged our FIN: it may not have read everything yet, and a RST would be news.
    pub fn abort_all(&mut self, now: Instant) {
        let all: Vec<u32> = self.slots.iter().map(|(id, _)| id.index).collect();
        for index in all {
            if let Some(conn) = self.slots.at_mut(index)
                && !matches!(conn.state, State::FinWait2 | State::TimeWait)
            {
                conn.mode.orphan = true;
                conn.abort(&mut self.ctx);
            }
            self.settle(now, index);
        }
        self.reset_requests(|_| true);
    }

    /// Resets every connection that speaks from an address of ours which is about to go; whoever
    /// holds one is told of it. Source: RFC 3927 §2.5.
    pub fn reset_from(&mut self, now: Instant, local: IpAddr) {
        let speaks_from_it = |conn: &Connection| conn.tuple().local == local;
        let all = self.slots.iter().filter(|(_, conn)| speaks_from_it(conn));
        let all: Vec<u32> = all.map(|(id, _)| id.index).collect();
        for index in all {
            if let Some(conn) = self.slots.at_mut(index) {
                conn.error = conn.error.or(Some(ConnError::AddressGone));
                conn.abort(&mut self.ctx);
            }
            self.settle(now, index);
        }
        self.reset_requests(|request| request.tuple.local == local);
    }

    /// Whom a connection joins, and the bytes that wait to be sent or acknowledged.
    pub fn begun(&self, id: ConnId) -> Option<(FourTuple, usize)> {
        self.slots.get(id).map(|conn| (conn.tuple, conn.buffered_to_send() as usize))
    }

    /// A snapshot of a connection.
    pub fn info(&self, now: Instant, id: ConnId) -> Option<TcpInfo> {
        self.slots.get(id).map(|conn| conn.info(now))
    }

    fn with<T>(
        &mut self,
        now: Instant,
        id: ConnId,
        call: impl FnOnce(&mut Connection, &mut Ctx) -> T,
    ) -> Option<T> {
        let conn = self.slots.get_mut(id).filter(|conn| !conn.mode.orphan)?;
        let result = call(conn, &mut self.ctx);
        self.settle(now, id.index);
        Some(result)
    }
}
