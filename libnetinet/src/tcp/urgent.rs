//! Urgent data: one byte of the stream that is marked, and by default taken out of it.
//!
//! DEVIATES RFC 6093 §6: out of line unless `SO_OOBINLINE` is set, as Linux and BSD have it: a
//! program that knows urgent data at all was written for these.

use std::io::IoSliceMut;

use libnet::Ready;

use super::error::RecvError;
use super::segment::{Flags, Segment};
use super::seq::SeqNumber;
use super::state::State;
use super::tcb::Connection;

/// The last urgent byte that the peer has announced and the application has not read past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Urgent {
    /// Where it stands in the stream; RCV.UP is one more.
    pub(super) seq: SeqNumber,
    byte: UrgentByte,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UrgentByte {
    /// Announced, but not here yet.
    Awaited,
    /// Here, not received.
    Here(u8),
    /// Received out of line; it is still passed over in the stream.
    Taken,
}

/// What a read of the stream has to do about the mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// Bytes to leave out first: the urgent one.
    pub(super) skip: usize,
    /// Bytes to read at most, so as to stop before it.
    pub(super) limit: usize,
}

impl Connection {
    /// RFC 9293 §3.10.7.4, sixth: RCV.UP moves up, and readers hear of it (MUST-30 to MUST-33).
    pub(super) fn take_urgent(&mut self, seg: &Segment) {
        if !seg.flags.has(Flags::URG) || !self.state.can_receive() {
            return;
        }
        // RFC 6093 §4 (RFC 9293 MUST-62): the pointer is to the byte after the last urgent one
        // in what everyone sends; RCV.UP is one past it either way.
        let end = seg.seq + u32::from(seg.urgent);
        if end.le(self.rcv_nxt) || self.cold.urgent.is_some_and(|known| end.le(known.seq + 1)) {
            return;
        }
        if self.mark().skip > 0 && self.buffered_to_read() > 0 {
            // As on Linux: the one that nobody came for, and that is next, is lost; one further
            // on is a byte like any other from now on.
            self.pass_urgent_byte();
        }
        self.cold.urgent = Some(Urgent { seq: end - 1, byte: UrgentByte::Awaited });
        self.wake |= Ready::READABLE;
    }

    /// `piece`, whose first byte is RCV.NXT, may hold the byte that was announced.
    pub(super) fn find_urgent_byte(&mut self, piece: &[u8]) {
        let Some(urgent) = &mut self.cold.urgent else { return };
        if urgent.byte != UrgentByte::Awaited || urgent.seq.lt(self.rcv_nxt) {
            return;
        }
        if let Some(byte) = piece.get((urgent.seq - self.rcv_nxt) as usize) {
            urgent.byte = UrgentByte::Here(*byte);
            self.wake |= Ready::URGENT;
        }
    }

    /// Receives the urgent byte out of line (`MSG_OOB`); 0 bytes: none can come any more.
    ///
    /// # Errors
    /// [`RecvError::NoUrgent`] if there is none or it is in line, `WouldBlock` if it has not come.
    pub fn recv_urgent(&mut self, slices: &mut [IoSliceMut<'_>]) -> Result<usize, RecvError> {
        if self.cold.options.urgent_inline {
            return Err(RecvError::NoUrgent);
        }
        let ended = self.is_read_end();
        let urgent = self.cold.urgent.as_mut().ok_or(RecvError::NoUrgent)?;
        match urgent.byte {
            UrgentByte::Taken => Err(RecvError::NoUrgent),
            UrgentByte::Here(byte) => {
                urgent.byte = UrgentByte::Taken;
                let room = slices.iter_mut().find_map(|slice| slice.first_mut());
                Ok(room.map(|place| *place = byte).map_or(0, |()| 1))
            }
            UrgentByte::Awaited if ended => Ok(0),
            UrgentByte::Awaited => Err(RecvError::WouldBlock),
        }
    }

    /// Is the next byte to be read the urgent one, or was it until it was taken?
    pub fn is_at_mark(&self) -> bool {
        self.cold.urgent.is_some_and(|urgent| urgent.seq == self.read_seq())
    }

    /// Does the urgent byte wait out of line?
    pub(super) fn has_urgent_byte(&self) -> bool {
        let here = |urgent: Urgent| matches!(urgent.byte, UrgentByte::Here(_));
        self.cold.urgent.is_some_and(here)
    }

    /// What the next read has to do about the mark.
    pub(super) fn mark(&self) -> Mark {
        let none = Mark { skip: 0, limit: usize::MAX };
        let ahead = |urgent: &Urgent| urgent.seq.ge(self.read_seq());
        let Some(urgent) = self.cold.urgent.filter(ahead) else { return none };
        match urgent.seq.saturating_since(self.read_seq()) {
            0 if self.cold.options.urgent_inline => none,
            0 => Mark { skip: 1, limit: usize::MAX },
            before => Mark { skip: 0, limit: before as usize },
        }
    }

    /// Leaves the urgent byte out of the stream, and forgets it.
    pub(super) fn pass_urgent_byte(&mut self) {
        if let Some(buffer) = &mut self.receive_buffer {
            buffer.consume(1);
            if buffer.is_empty() {
                self.receive_buffer = None;
            }
        }
        self.cold.urgent = None;
    }

    /// Forgets a mark that was read past.
    pub(super) fn forget_passed_mark(&mut self) {
        if self.cold.urgent.is_some_and(|urgent| urgent.seq.lt(self.read_seq())) {
            self.cold.urgent = None;
        }
    }

    /// Urgent bytes that were not read: up to the mark.
    pub(super) fn urgent_unread(&self) -> u32 {
        let unread = |urgent: Urgent| (urgent.seq + 1).saturating_since(self.read_seq());
        self.cold.urgent.map_or(0, unread)
    }

    /// What was sent last is urgent up to its end (SND.UP). Source: RFC 9293 §3.10.2.
    pub(super) fn mark_sent_as_urgent(&mut self) {
        self.cold.snd_up = Some(self.snd_una + self.buffered_to_send());
    }

    /// Is something urgent still to be sent?
    pub(super) fn sends_urgent(&self) -> bool {
        self.cold.snd_up.is_some_and(|end| end.gt(self.snd_nxt))
    }

    /// The urgent pointer of a segment that begins at `seq`; 0: none.
    ///
    /// RFC 9293 §3.8.5 (MUST-30, MUST-31): as long as what it points to is not acknowledged; from
    /// too far away the pointer goes as far as it can, once all before that were sent.
    pub(super) fn urgent_pointer(&self, seq: SeqNumber) -> u16 {
        let Some(end) = self.cold.snd_up else { return 0 };
        match u16::try_from(end.saturating_since(seq)) {
            Ok(pointer) => pointer,
            Err(_) if (seq + u32::from(u16::MAX)).gt(self.snd_nxt) => u16::MAX,
            Err(_) => 0,
        }
    }

    /// SND.UNA has moved.
    pub(super) fn forget_acknowledged_mark(&mut self) {
        if self.cold.snd_up.is_some_and(|end| end.le(self.snd_una)) {
            self.cold.snd_up = None;
        }
    }

    /// The number of the next byte to be read.
    fn read_seq(&self) -> SeqNumber {
        let fin = self.peer_fin.is_some_and(|at| at + 1 == self.rcv_nxt);
        self.rcv_nxt - u32::from(fin) - self.buffered_to_read()
    }

    /// Will no byte come any more?
    pub(super) fn is_read_end(&self) -> bool {
        let waiting = matches!(self.state, State::SynSent | State::SynReceived);
        self.mode.read_shut || !(self.state.can_receive() || waiting)
    }
}
