//! A mapped bus: its words by name.

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::bell::Bell;
use crate::error::AttachError;
use crate::file::{Access, BusFile};
use crate::layout::{Geometry, bell, control, header, pair};
use crate::pair::Pair;
use crate::pos::UNIT;
use crate::raw::Map;
use crate::ring::RingMemory;

/// A mapped bus file.
pub(crate) struct Bus {
    pub(crate) file: BusFile,
    map: Map,
}

impl Bus {
    /// Maps a checked file.
    pub(crate) fn map(file: BusFile, access: Access) -> Result<Self, AttachError> {
        let bytes = file.geometry.file_bytes();
        let map = match access {
            Access::Member => Map::read_write(&file.file, bytes),
            Access::Observer => Map::read_only(&file.file, bytes),
        }
        .map_err(|error| AttachError::from_io(&file.path, error))?;
        Ok(Bus { file, map })
    }

    /// The geometry as it was when the file was opened.
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.file.geometry
    }

    /// A word of the header page.
    pub(crate) fn header_word(&self, offset: usize) -> &AtomicU64 {
        self.map.u64_at(offset)
    }

    /// A word of a slot.
    pub(crate) fn slot_word(&self, slot: u16, offset: usize) -> &AtomicU64 {
        self.map.u64_at(self.geometry().slot(slot) + offset)
    }

    /// A word of a slot's control block.
    pub(crate) fn control(&self, slot: u16, offset: usize) -> &AtomicU64 {
        self.map.u64_at(self.geometry().control(slot) + offset)
    }

    /// The record of what `sender` has for `receiver`.
    pub(crate) fn pair(&self, receiver: u16, sender: u16) -> Pair<'_, AtomicU64> {
        let at = self.geometry().pair(receiver, sender);
        Pair {
            cursor: self.map.u64_at(at + pair::CURSOR),
            first: self.map.u64_at(at + pair::FIRST),
            addressed: self.map.u64_at(at + pair::ADDRESSED),
            need: self.map.u64_at(at + pair::NEED),
        }
    }

    /// The word that the owner of `slot` sleeps on.
    pub(crate) fn bell_word(&self, slot: u16) -> &AtomicU32 {
        self.map.u32_at(self.geometry().bell(slot) + bell::WORD)
    }

    /// The bell of `slot`.
    pub(crate) fn bell(&self, slot: u16) -> Bell<'_, AtomicU32, AtomicU64> {
        Bell {
            word: self.bell_word(slot),
            armed: self.map.u32_at(self.geometry().bell(slot) + bell::ARMED),
            summary: self.map.u64_at(self.geometry().bell(slot) + bell::SUMMARY),
        }
    }

    /// Word `index` of the pending bits of `slot`.
    pub(crate) fn pending(&self, slot: u16, index: usize) -> &AtomicU64 {
        self.map.u64_at(self.geometry().bell(slot) + bell::PENDING + index * 8)
    }

    /// The ring of `slot`.
    pub(crate) fn ring(&self, slot: u16) -> MapRing<'_> {
        MapRing { bus: self, slot, at: self.geometry().ring(slot).start }
    }

    /// Wakes the owner of `slot` if it sleeps.
    pub(crate) fn wake_sleeper(&self, slot: u16) -> bool {
        self.bell(slot).wake_sleeper(|| self.futex_wake(slot))
    }

    /// Wakes whoever sleeps on the word of `slot`.
    pub(crate) fn futex_wake(&self, slot: u16) {
        // A failure means that the page is gone: the sleeper's own time-out finds out.
        let flags = rustix::thread::futex::Flags::empty();
        let _ = rustix::thread::futex::wake(self.bell_word(slot), flags, i32::MAX as u32);
    }

    /// A number that changes whenever a slot does.
    pub(crate) fn generation(&self) -> u64 {
        self.header_word(header::GENERATION).load(Acquire)
    }

    /// Tells everyone that a slot has changed.
    pub(crate) fn next_generation(&self) {
        self.header_word(header::GENERATION).fetch_add(1, AcqRel);
    }

    /// How many slots were ever used, at most all.
    pub(crate) fn used_slots(&self) -> u16 {
        let used = self.header_word(header::USED_SLOTS).load(Relaxed);
        let all = self.geometry().max_members;
        u16::try_from(used).map_or(all, |used| used.min(all))
    }

    /// Counts `slot` among the used ones; was it not?
    pub(crate) fn note_used(&self, slot: u16) -> bool {
        let used = u64::from(slot) + 1;
        self.header_word(header::USED_SLOTS).fetch_max(used, AcqRel) < used
    }

    /// Has the file still every byte that is mapped?
    ///
    /// # Errors
    /// `InvalidData` if it was truncated; else as fstat(2) gives them.
    pub(crate) fn check_size(&self) -> io::Result<u64> {
        let (found, links) = self.file.size_and_links()?;
        let expected = self.geometry().file_bytes() as u64;
        if found < expected {
            let path = self.file.path.clone();
            return Err(AttachError::Truncated { path, found, expected }.into());
        }
        Ok(links)
    }
}

/// The ring of one slot in a map.
#[derive(Clone, Copy)]
pub(crate) struct MapRing<'a> {
    bus: &'a Bus,
    slot: u16,
    at: usize,
}

impl RingMemory for MapRing<'_> {
    type Word = AtomicU64;

    fn head(&self) -> &AtomicU64 {
        self.bus.control(self.slot, control::HEAD)
    }

    fn reclaim(&self) -> &AtomicU64 {
        self.bus.control(self.slot, control::RECLAIM)
    }

    fn unit_word(&self, unit: u64, index: usize) -> &AtomicU64 {
        self.bus.map.u64_at(self.at + unit as usize * UNIT + index * 8)
    }

    fn units(&self) -> u64 {
        self.bus.geometry().ring_units()
    }

    fn copy_in(&self, at: usize, bytes: &[u8]) {
        self.bus.map.copy_in(self.at + at, bytes);
    }

    fn copy_out(&self, at: usize, len: usize, into: &mut Vec<u8>) {
        self.bus.map.copy_out(self.at + at, len, into);
    }

    fn copy_to(&self, at: usize, into: &mut [u8]) {
        self.bus.map.copy_to(self.at + at, into);
    }
}
