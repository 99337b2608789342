//! Who lives: a lock on a byte of the file per slot, which the kernel drops with its holder.
//!
//! The locks belong to the open file description (`F_OFD_SETLK`), not to the process, so that
//! they work across pid namespaces and between two members of one process. The description is
//! opened for the lock alone, closed on exec, and never duplicated or mapped: the last reference
//! to it dies with the member.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::file::BusFile;

/// The byte of a slot that is locked: its first.
fn byte_range(offset: usize) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset as libc::off_t,
        l_len: 1,
        l_pid: 0,
    }
}

/// A description to take slot locks on, one at a time.
pub(crate) struct SlotLock {
    file: File,
}

impl SlotLock {
    /// Opens the file once more: the very same, whatever its path names by now.
    pub(crate) fn open_again(bus: &BusFile) -> io::Result<Self> {
        let open = |path: &Path| {
            let flags = nix::libc::O_NONBLOCK;
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
        };
        let same = |other: &File| -> io::Result<bool> {
            let (ours, theirs) = (bus.file.metadata()?, other.metadata()?);
            Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
        };
        if let Ok(file) = open(&bus.path)
            && same(&file)?
        {
            return Ok(SlotLock { file });
        }
        let path = format!("/proc/self/fd/{}", bus.file.as_raw_fd());
        Ok(SlotLock { file: open(Path::new(&path))? })
    }

    /// Takes the lock of the byte at `offset`; `false` if a living member holds it.
    pub(crate) fn try_take(&self, offset: usize) -> io::Result<bool> {
        match fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLK(&byte_range(offset))) {
            Ok(_) => Ok(true),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Does a living member hold the byte at `offset`? Seen from `file`, which holds no lock itself.
pub(crate) fn is_held(file: &impl AsFd, offset: usize) -> io::Result<bool> {
    let mut range = byte_range(offset);
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut range))?;
    Ok(libc::c_int::from(range.l_type) != libc::F_UNLCK)
}
