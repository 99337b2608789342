//! The mapped file: words and raw copies, every access within bounds. All unsafe code is here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};

/// A shared mapping of a bus file.
///
/// Nothing here gives a reference to plain memory: control words are atomics, the rest is copied
/// in and out. What was copied may be torn or hostile; callers bound it, and re-check the ring's
/// reclaim mark before they believe it.
pub(crate) struct Map {
    map: MmapRaw,
}

impl Map {
    /// Maps `bytes` of the file, to read and write.
    pub(crate) fn read_write(file: &impl AsFd, bytes: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(bytes).map_raw(file.as_fd().as_raw_fd())?;
        Ok(Map { map })
    }

    /// Maps `bytes` of the file, to read. Only [`AtomicU64::load`] and [`AtomicU32::load`],
    /// relaxed, may be called on the words of such a mapping, and `copy_in` never.
    pub(crate) fn read_only(file: &impl AsFd, bytes: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(bytes).map_raw_read_only(file.as_fd().as_raw_fd())?;
        Ok(Map { map })
    }

    /// The 32-bit word at `offset`.
    ///
    /// # Panics
    /// When it is outside the map or not aligned: offsets come from checked geometry.
    pub(crate) fn u32_at(&self, offset: usize) -> &AtomicU32 {
        let at = self.at(offset, size_of::<AtomicU32>());
        assert!(offset.is_multiple_of(align_of::<AtomicU32>()), "words are aligned");
        // SAFETY: in bounds and aligned as checked above (a map starts on a page boundary), live
        // as long as `self`, and every access to it from anywhere is atomic.
        unsafe { AtomicU32::from_ptr(at.cast()) }
    }

    /// The 64-bit word at `offset`.
    ///
    /// # Panics
    /// When it is outside the map or not aligned: offsets come from checked geometry.
    pub(crate) fn u64_at(&self, offset: usize) -> &AtomicU64 {
        let at = self.at(offset, size_of::<AtomicU64>());
        assert!(offset.is_multiple_of(align_of::<AtomicU64>()), "words are aligned");
        // SAFETY: in bounds and aligned as checked above (a map starts on a page boundary), live
        // as long as `self`, and every access to it from anywhere is atomic.
        unsafe { AtomicU64::from_ptr(at.cast()) }
    }

    /// Copies `bytes` into the map.
    ///
    /// # Panics
    /// When the range is outside the map.
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: both ranges are valid for `bytes.len()` as checked, and cannot overlap: no
        // slice refers into the map. Other processes may read meanwhile; they discard what they
        // read when the reclaim mark has passed it, so a torn read is never used.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Appends `len` bytes of the map to `into`.
    ///
    /// # Panics
    /// When the range is outside the map.
    pub(crate) fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        let from = self.at(offset, len).cast_const();
        into.reserve(len);
        let to = into.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: `from` is valid for `len` as checked, `to` is spare capacity of at least `len`,
        // and they cannot overlap: no vector lies in the map. A writer in another process may
        // race; the bytes are then discarded, because the reclaim mark has moved past them.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
        // SAFETY: the copy above initialised `len` bytes behind the old length.
        unsafe { into.set_len(into.len() + len) }
    }

    /// Fills `into` with what the map has at `offset`.
    ///
    /// # Panics
    /// When the range is outside the map.
    pub(crate) fn copy_to(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len()).cast_const();
        // SAFETY: both ranges are valid for `into.len()` as checked, and cannot overlap: no slice
        // refers into the map. A writer in another process may race, as in `copy_out`.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }

    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.map.len());
        assert!(fits, "offsets come from geometry that was checked against the file's size");
        self.map.as_mut_ptr().wrapping_add(offset)
    }
}

/// For binaries: says on stderr why the process dies when a bus file was truncated under it.
///
/// A page of a map that the file no longer has raises `SIGBUS`. Links notice a shrunken file
/// every half second and give an error before they touch it, but a truncation just before an
/// access cannot be seen in time. The library installs no handler by itself; a program that
/// wants the message calls this once. The handler writes one line and lets the default action
/// kill the process.
///
/// # Errors
/// As sigaction(2) gives them.
pub fn report_sigbus() -> io::Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    extern "C" fn say_and_die(_signal: nix::libc::c_int) {
        const MESSAGE: &[u8] = b"bus error: was the bus file truncated while it was in use?\n";
        // SAFETY: write(2) is async-signal-safe, and the buffer is a constant.
        let _ = unsafe { nix::libc::write(2, MESSAGE.as_ptr().cast(), MESSAGE.len()) };
        // The handler was reset on entry: the access faults again and the default action follows.
    }

    let action =
        SigAction::new(SigHandler::Handler(say_and_die), SaFlags::SA_RESETHAND, SigSet::empty());
    // SAFETY: the handler calls only write(2), which is async-signal-safe.
    unsafe { sigaction(Signal::SIGBUS, &action) }?;
    Ok(())
}
