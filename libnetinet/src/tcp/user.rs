//! What the application asks of a connection: send, receive, shut down, close, options.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

use bytes::Bytes;
use libnet::{Instant, Ready};

use super::config::ConnOptions;
use super::ctx::Ctx;
use super::error::{ConnError, NotConnected, RecvError, SendError};
use super::state::State;
use super::tcb::Connection;

/// Where received bytes go.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvInto<'a, 'b> {
    /// Copied out.
    Copy(&'a mut [IoSliceMut<'b>]),
    /// Copied out, and left to be received again.
    Peek(&'a mut [IoSliceMut<'b>]),
    /// Handed over as they came, up to `max_bytes`.
    Take {
        /// Upper bound, bytes.
        max_bytes: usize,
        /// Where the pieces are appended.
        out: &'a mut VecDeque<Bytes>,
    },
}

/// What becomes of data that were not sent yet, on close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Linger {
    /// They are sent, then FIN, while nobody waits.
    Drain,
    /// They are dropped, and the peer gets a RST (`SO_LINGER` with 0).
    Abort,
}

impl Connection {
    /// Takes bytes to send, as many as fit; how many. Source: RFC 9293 §3.10.2.
    ///
    /// # Errors
    /// [`SendError`] if none was taken.
    pub fn send(&mut self, ctx: &mut Ctx, slices: &[IoSlice<'_>]) -> Result<usize, SendError> {
        self.check_send()?;
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            return Ok(0);
        }
        let room = self.room_to_send(ctx, wanted);
        if room.limit == 0 {
            return self.after_send(0, wanted);
        }
        let taken = self
            .send_buffer
            .get_or_insert_with(|| ctx.spare.send())
            .write(slices, room.limit, room.chunk, &ctx.pool);
        self.after_send(taken, wanted)
    }

    /// As [`send`](Self::send); the last byte taken is urgent.
    ///
    /// # Errors
    /// [`SendError`] if none was taken.
    pub fn send_urgent(
        &mut self,
        ctx: &mut Ctx,
        slices: &[IoSlice<'_>],
    ) -> Result<usize, SendError> {
        let taken = self.send(ctx, slices)?;
        if taken > 0 {
            self.mark_sent_as_urgent();
        }
        Ok(taken)
    }

    /// Takes a shared buffer to send, as much of its front as fits; how much. What it did not
    /// take stays in `data`.
    ///
    /// # Errors
    /// [`SendError`] if nothing was taken.
    pub fn send_shared(&mut self, ctx: &mut Ctx, data: &mut Bytes) -> Result<usize, SendError> {
        self.check_send()?;
        let wanted = data.len();
        if wanted == 0 {
            return Ok(0);
        }
        let room = self.room_to_send(ctx, wanted);
        if room.limit == 0 {
            return self.after_send(0, wanted);
        }
        let taken = self
            .send_buffer
            .get_or_insert_with(|| ctx.spare.send())
            .write_shared(data, room.limit, room.chunk, &ctx.pool);
        self.after_send(taken, wanted)
    }

    /// Receives; 0 bytes are the end of the stream, if there was room for more.
    /// Source: RFC 9293 §3.10.3.
    ///
    /// # Errors
    /// [`RecvError`] if nothing is there and it is not the end.
    pub fn recv(&mut self, ctx: &mut Ctx, into: RecvInto<'_, '_>) -> Result<usize, RecvError> {
        let mark = self.mark();
        let peeks = matches!(into, RecvInto::Peek(_));
        if mark.skip > 0 && !peeks && self.receive_buffer.is_some() {
            self.pass_urgent_byte();
        }
        let skipped = if peeks { mark.skip } else { 0 };
        if self.buffered_to_read() as usize <= skipped {
            return self.recv_nothing();
        }
        let Some(buffer) = &mut self.receive_buffer else { return self.recv_nothing() };
        let n = match into {
            RecvInto::Peek(slices) => return Ok(buffer.peek(slices, mark.skip, mark.limit)),
            RecvInto::Copy(slices) => buffer.read(slices, mark.limit),
            RecvInto::Take { max_bytes, out } => buffer.take(max_bytes.min(mark.limit), out),
        };
        if buffer.is_empty() {
            ctx.spare.keep_receive(self.receive_buffer.take());
        }
        self.forget_passed_mark();
        if self.mode.no_room {
            self.reopen(ctx);
        }
        self.offer_window();
        Ok(n)
    }

    /// Closes the sending side: FIN follows what was sent. Source: RFC 9293 §3.10.4.
    ///
    /// # Errors
    /// [`NotConnected`] if it is not connected, or not any more.
    pub fn shutdown_write(&mut self, ctx: &mut Ctx) -> Result<(), NotConnected> {
        match self.state {
            State::SynSent => {
                // RFC 9293 §3.10.4: delete the block.
                self.finish(ctx, None);
                Ok(())
            }
            State::SynReceived => {
                // RFC 9293 §3.10.4: with the ACK of our SYN, FIN goes and FIN-WAIT-1 begins.
                self.mode.fin_queued = true;
                Ok(())
            }
            State::Established => {
                self.mode.fin_queued = true;
                self.transition(ctx, State::FinWait1);
                // Who waits for room will not get it.
                self.wake |= Ready::WRITABLE;
                Ok(())
            }
            State::CloseWait => {
                self.mode.fin_queued = true;
                self.transition(ctx, State::LastAck);
                self.wake |= Ready::WRITABLE | Ready::HANGUP;
                Ok(())
            }
            // RFC 9293 §3.10.4: a second CLOSE changes nothing.
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck => Ok(()),
            State::TimeWait => Ok(()),
            State::Closed | State::Listen => Err(NotConnected),
        }
    }

    /// Receives no more: what is there and what still comes is acknowledged and dropped.
    pub fn shutdown_read(&mut self) {
        self.mode.read_shut = true;
        self.wake |= Ready::READABLE | Ready::READ_CLOSED;
    }

    /// Lets the connection go: it ends by itself, as `linger` says.
    ///
    /// RFC 9293 §3.6.1, RFC 1122 §4.2.2.13 (SHOULD-3): bytes that were received and not read are
    /// lost, and a RST says so.
    pub fn close(&mut self, now: Instant, ctx: &mut Ctx, linger: Linger) {
        if self.mode.orphan {
            return;
        }
        self.mode.orphan = true;
        let unread = self.receive_buffer.is_some() || self.holds_early_data();
        self.receive_buffer = None;
        let resets = (self.state.is_synchronized() && self.state != State::TimeWait)
            || (self.state == State::SynReceived && self.mode.fast_open);
        if resets && (unread || linger == Linger::Abort) {
            return self.abort(ctx);
        }
        self.deadlines.idle = Instant::MAX;
        let _ = self.shutdown_write(ctx);
        if self.state == State::FinWait2 {
            self.wait_for_fin(now, ctx);
        }
        if self.state == State::SynReceived && linger == Linger::Abort {
            self.abort(ctx);
        }
    }

    fn holds_early_data(&self) -> bool {
        self.reassembly.as_ref().is_some_and(|reassembly| reassembly.bytes() > 0)
    }

    /// Ends the connection at once; the peer gets a RST. Source: RFC 9293 §3.10.5.
    pub fn abort(&mut self, ctx: &mut Ctx) {
        match self.state {
            State::Closed => {}
            // RFC 9293 §3.10.5: nobody to tell in these.
            State::Listen | State::SynSent | State::TimeWait => self.finish(ctx, None),
            _ => {
                self.owed.reset = true;
                self.finish(ctx, None);
            }
        }
    }

    /// What a poll would say now.
    pub fn ready(&self) -> Ready {
        let mut ready = Ready::NONE;
        let closed = self.state == State::Closed;
        let read_end = self.is_read_end();
        if self.is_worth_reading() || read_end || self.error.is_some() {
            ready |= Ready::READABLE;
        }
        if self.has_urgent_byte() {
            ready |= Ready::URGENT;
        }
        if read_end {
            ready |= Ready::READ_CLOSED;
        }
        let opens = self.state == State::SynReceived && self.mode.fast_open;
        let may_send = (self.state.can_send() || opens) && !self.mode.fin_queued;
        let connecting = matches!(self.state, State::SynSent | State::SynReceived);
        if (may_send && !self.mode.writer_waits) || (!may_send && !connecting) {
            ready |= Ready::WRITABLE;
        }
        if self.error.is_some() {
            ready |= Ready::ERROR;
        }
        let both_shut = read_end && self.mode.fin_queued;
        if closed
            || both_shut
            || matches!(self.state, State::Closing | State::LastAck | State::TimeWait)
        {
            ready |= Ready::HANGUP;
        }
        ready
    }

    /// Takes the pending error (`SO_ERROR`).
    pub fn take_error(&mut self) -> Option<ConnError> {
        self.error.take()
    }

    /// Changes the options; those of the handshake count for later handshakes only.
    pub fn set_options(&mut self, now: Instant, ctx: &Ctx, options: ConnOptions) {
        if options.nodelay && !self.cold.options.nodelay && options.cork {
            // As on Linux: what waits leaves now, what comes later waits again.
            self.cold.pushed = Some(self.snd_una + self.buffered_to_send());
        }
        self.mode.nodelay = options.nodelay;
        self.mode.corked = options.cork;
        self.mode.keepalive = options.keepalive;
        let other_keys = self.cold.options.auth != options.auth;
        let repaced = self.cold.options.max_pacing_rate != options.max_pacing_rate;
        let recontrolled = self.cold.options.congestion_control != options.congestion_control;
        let resized = self.cold.options.receive_buffer_bytes != options.receive_buffer_bytes;
        let low_waters =
            |own: &ConnOptions| (own.receive_low_water_bytes, own.not_sent_low_water_bytes);
        let moved = low_waters(&self.cold.options) != low_waters(&options);
        self.cold.tuning.set(&options, &ctx.config);
        self.cold.options = options;
        self.keep_promise();
        if other_keys {
            self.change_keys();
        }
        if recontrolled {
            self.change_controller(now, &ctx.config);
        }
        if repaced || recontrolled {
            self.update_pace(&ctx.config);
        }
        if self.state.is_synchronized() && !self.mode.orphan {
            self.arm_keepalive(now, &ctx.config);
        }
        if resized {
            self.offer_window();
        }
        if moved {
            self.move_low_waters();
        }
    }

    /// Who waits looks again: what it waits for is another number now.
    fn move_low_waters(&mut self) {
        if self.is_worth_reading() {
            self.wake |= Ready::READABLE;
        }
        if self.mode.writer_waits && self.state.can_send() {
            self.mode.writer_waits = false;
            self.wake |= Ready::WRITABLE;
        }
    }

    /// `TCP_QUICKACK`: on, what waits to be acknowledged is at once, and what comes is until the
    /// connection asks and answers; off, acknowledgements wait for data to go with.
    pub fn set_quick_ack(&mut self, on: bool) {
        self.ack.interactive = !on;
        if on && self.ack.unacked_bytes > 0 && self.state.can_receive() {
            self.owed.ack = true;
        }
    }

    /// Are acknowledgements sent without waiting for data to go with?
    pub fn is_quick_ack(&self) -> bool {
        !self.ack.interactive
    }

    /// The options as they were set.
    pub fn options(&self) -> &ConnOptions {
        &self.cold.options
    }

    /// Gives the connection what its events carry.
    pub fn set_token(&mut self, token: u64) {
        self.cold.token = token;
    }

    /// Would [`recv`](Self::recv) say `WouldBlock`, until something wakes who waits to read?
    pub fn has_nothing_to_read(&self) -> bool {
        // Nothing wakes below a low water.
        let is_told_of_any = self.cold.options.receive_low_water_bytes <= 1;
        is_told_of_any
            && self.buffered_to_read() == 0
            && self.error.is_none()
            && !self.is_read_end()
    }

    /// Takes data that go with the SYN, or after the handshake if they cannot; how much.
    pub(super) fn send_early(&mut self, ctx: &mut Ctx, data: &mut Bytes) -> usize {
        if data.is_empty() {
            return 0;
        }
        let room = self.room_to_send(ctx, data.len());
        if room.limit == 0 {
            return 0;
        }
        let buffer = self.send_buffer.get_or_insert_with(|| ctx.spare.send());
        buffer.write_shared(data, room.limit, room.chunk, &ctx.pool)
    }

    fn check_send(&mut self) -> Result<(), SendError> {
        if let Some(error) = self.error.take() {
            return Err(SendError::Failed(error));
        }
        match self.state {
            State::SynReceived if self.mode.fast_open && !self.mode.fin_queued => Ok(()),
            State::SynSent | State::SynReceived if !self.mode.fin_queued => {
                self.mode.writer_waits = true;
                Err(SendError::WouldBlock)
            }
            _ if self.state.can_send() => Ok(()),
            // RFC 9293 §3.10.2: "connection closing".
            _ => Err(SendError::ShutDown),
        }
    }

    fn after_send(&mut self, taken: usize, wanted: usize) -> Result<usize, SendError> {
        self.mode.writer_waits = taken < wanted;
        if taken == 0 { Err(SendError::WouldBlock) } else { Ok(taken) }
    }

    fn recv_nothing(&mut self) -> Result<usize, RecvError> {
        // As on Linux: a stream that has ended has ended, whatever came after.
        if self.peer_fin.is_some_and(|at| at + 1 == self.rcv_nxt) {
            return Ok(0);
        }
        if let Some(error) = self.error.take() {
            return Err(RecvError::Failed(error));
        }
        if self.is_read_end() { Ok(0) } else { Err(RecvError::WouldBlock) }
    }

    /// RFC 9293 §3.8.6.2.2: reading made room; an ACK tells the peer when that is worth one: it
    /// was down to half of the buffer, and gets at least twice what it had, or the ACK waits for
    /// this read.
    pub(super) fn offer_window(&mut self) {
        if !self.state.can_receive() {
            return;
        }
        let told = self.rcv_wnd();
        let offered = self.offered_window();
        let half = self.receive_limit() / 2;
        let all_read = self.ack.at_read && self.buffered_to_read() == 0;
        if all_read || (told <= half && offered > told && offered >= told.saturating_mul(2)) {
            self.owed.ack = true;
        }
    }
}
