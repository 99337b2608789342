//! The last frames of each segment, kept for when a test fails: bounded, and copied once per view.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Weak;

use bytes::Bytes;

use super::core::{Shared, State};
use crate::iface::IfIndex;
use crate::impair::{Lost, Way};
use crate::link::Medium;
use crate::packet::Packet;
use crate::stats::{DropReason, DropTap, Dropped};
use crate::time::Instant;

/// How much of a segment's frames a world keeps, to be shown when a test fails. What is more
/// pushes the oldest out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Recording {
    /// Frames of each segment at most; each counts once where it was sent and once where it was
    /// received. 0: none is kept.
    pub frames: usize,
    /// Bytes of them at most.
    pub bytes: usize,
    /// Bytes of one frame at most; the rest of a longer one is left out.
    pub snap_bytes: usize,
}

impl Recording {
    /// Nothing is kept.
    pub const OFF: Recording = Recording { frames: 0, bytes: 0, snap_bytes: 0 };
}

impl Default for Recording {
    /// 16,384 frames and 2 MiB of each segment, 1,600 bytes of each frame.
    fn default() -> Self {
        Recording { frames: 16_384, bytes: 2 << 20, snap_bytes: 1_600 }
    }
}

/// What became of a frame that a segment remembers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Seen {
    /// The station's stack sent it.
    Sent,
    /// It reached the station's stack.
    Received,
    /// It was lost between the station and the segment, and why.
    Lost(Cow<'static, str>),
    /// The station's stack dropped it, and why.
    Dropped(DropReason),
}

/// A frame that a segment remembers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SeenFrame {
    /// When.
    pub at: Instant,
    /// Whose: the name of the station's host, or its address.
    pub station: String,
    /// What became of it.
    pub seen: Seen,
    /// Does it begin with a link header, or, dropped by a stack, with its IP header?
    pub medium: Medium,
    /// Its first bytes.
    pub bytes: Bytes,
    /// Its bytes.
    pub original_len: usize,
}

/// The last frames of a segment.
#[derive(Default)]
pub(super) struct Record {
    notes: VecDeque<Note>,
    /// The frames' bytes, one after the other: nothing is allocated per frame.
    bytes: VecDeque<u8>,
    /// Frames that others pushed out.
    pub(super) forgotten: u64,
}

struct Note {
    at: Instant,
    port: usize,
    seen: Seen,
    medium: Medium,
    /// Bytes of the frame that are kept.
    kept: usize,
    original_len: usize,
}

impl Note {
    const fn new(at: Instant, port: usize, seen: Seen, medium: Medium) -> Self {
        Note { at, port, seen, medium, kept: 0, original_len: 0 }
    }
}

impl Record {
    fn push(&mut self, config: &Recording, mut note: Note, packet: &Packet) {
        if config.frames == 0 {
            return;
        }
        let wanted = packet.len().min(config.snap_bytes).min(config.bytes);
        while self.notes.len() >= config.frames || self.bytes.len() + wanted > config.bytes {
            let Some(oldest) = self.notes.pop_front() else { break };
            self.bytes.drain(..oldest.kept);
            self.forgotten += 1;
        }
        let mut left = wanted;
        for piece in packet.pieces() {
            let some = &piece[..piece.len().min(left)];
            self.bytes.extend(some);
            left -= some.len();
        }
        (note.kept, note.original_len) = (wanted - left, packet.len());
        self.notes.push_back(note);
    }
}

impl State {
    /// Keeps a frame of a port.
    pub(super) fn note(&mut self, number: usize, seen: Seen, packet: &Packet) {
        let segment = &mut self.segments[self.ports[number].segment];
        let medium = segment.config.medium;
        let note = Note::new(self.now, number, seen, medium);
        segment.record.push(&self.recording, note, packet);
    }

    /// Keeps what a port lost, one way, in what was just done to it.
    pub(super) fn note_lost(&mut self, number: usize, way: Way) {
        let lost = self.ports[number].way(way).take_lost();
        self.note_all(number, lost);
    }

    /// Keeps what a segment lost on its way through.
    pub(super) fn note_lost_in_medium(&mut self, segment: usize, from: Option<usize>) {
        let lost = self.segments[segment].medium.take_lost();
        if let Some(from) = from {
            self.note_all(from, lost);
        }
    }

    fn note_all(&mut self, number: usize, lost: Vec<Lost>) {
        for Lost { why, frame } in lost {
            self.note(number, Seen::Lost(why), &frame);
        }
    }

    /// Who a port is, for people.
    fn station(&self, number: usize) -> String {
        let port = &self.ports[number];
        let name = port.owner.map(|(slot, ..)| self.hosts[slot].name.clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| port.mac.to_string())
    }

    /// What a segment remembers, the oldest first.
    pub(super) fn remembered(&self, segment: usize) -> Vec<SeenFrame> {
        let Record { notes, bytes, .. } = &self.segments[segment].record;
        let mut begin = 0;
        let mut frame = |note: &Note| {
            let own: Vec<u8> = bytes.range(begin..begin + note.kept).copied().collect();
            begin += note.kept;
            SeenFrame {
                at: note.at,
                station: self.station(note.port),
                seen: note.seen.clone(),
                medium: note.medium,
                bytes: own.into(),
                original_len: note.original_len,
            }
        };
        notes.iter().map(&mut frame).collect()
    }
}

/// Keeps what a host's stack drops.
pub(super) struct Drops {
    pub(super) shared: Weak<Shared>,
    /// The host's interfaces on the world's segments, with their ports.
    pub(super) ports: Vec<(IfIndex, usize)>,
}

impl DropTap for Drops {
    fn dropped(&self, reasons: &[DropReason], dropped: Dropped<'_>) {
        let own = self.ports.iter().find(|(iface, _)| *iface == dropped.iface);
        let (Some(&(_, port)), Some(&reason)) = (own, reasons.first()) else { return };
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = shared.lock();
        let note = Note::new(state.now, port, Seen::Dropped(reason), dropped.medium);
        let (recording, segment) = (state.recording, state.ports[port].segment);
        state.segments[segment].record.push(&recording, note, dropped.packet);
    }
}
