//! The bus file: making one, opening one, and reserving blocks in it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, RenameFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::error::AttachError;
use crate::layout::{BusConfig, Geometry, MAGIC, PAGE, VERSION, header};

/// An opened bus file, checked, with the geometry that it had then.
pub(crate) struct BusFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) geometry: Geometry,
    /// The fixed part of the header, to restore it from.
    pub(crate) fixed: [u8; header::FIXED_BYTES],
}

/// How often a bus is made that others make and remove at the same time.
const MAX_ATTEMPTS: u32 = 16;

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// To join.
    Member,
    /// To look on.
    Observer,
}

impl BusFile {
    /// Opens an existing bus and checks everything that is fixed.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self, AttachError> {
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Member)
            // Opening a fifo or a device must not hang.
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| AttachError::from_io(path, error))?;
        Self::check(file, path)
    }

    /// Opens a bus, or makes it if there is none.
    pub(crate) fn open_or_create(path: &Path, config: &BusConfig) -> Result<Self, AttachError> {
        if !config.is_valid() {
            return Err(AttachError::BadConfig);
        }
        let mut attempts = 0;
        loop {
            match Self::open(path, Access::Member) {
                Err(AttachError::NoBus(_)) => {}
                other => return other,
            }
            match create(path, config) {
                Ok(()) => {}
                // Somebody was faster. A dangling symbolic link, though, will not go away.
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && attempts < MAX_ATTEMPTS => {}
                Err(error) => return Err(not_created(path, config, error)),
            }
            attempts += 1;
        }
    }

    fn check(file: File, path: &Path) -> Result<Self, AttachError> {
        let failed = |error| AttachError::from_io(path, error);
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(AttachError::NotAFile(path.to_path_buf()));
        }
        let mut fixed = [0; header::FIXED_BYTES];
        match file.read_exact_at(&mut fixed, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(AttachError::NotABus(path.to_path_buf()));
            }
            Err(error) => return Err(failed(error)),
        }
        let geometry = parse(&fixed, path)?;
        let expected = geometry.file_bytes() as u64;
        if meta.len() < expected {
            let found = meta.len();
            return Err(AttachError::Truncated { path: path.to_path_buf(), found, expected });
        }
        Ok(BusFile { file, path: path.to_path_buf(), geometry, fixed })
    }

    /// Makes sure that a range has blocks, so that no write to the map fails.
    pub(crate) fn reserve(&self, range: Range<usize>) -> Result<(), AttachError> {
        let bytes = range.len() as u64;
        reserve(&self.file, range).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => {
                AttachError::DiskFull { path: self.path.clone(), bytes }
            }
            _ => AttachError::from_io(&self.path, error),
        })
    }

    /// The file's size and link count now.
    pub(crate) fn size_and_links(&self) -> io::Result<(u64, u64)> {
        let meta = self.file.metadata()?;
        Ok((meta.len(), meta.nlink()))
    }
}

/// Why no bus could be made.
fn not_created(path: &Path, config: &BusConfig, error: io::Error) -> AttachError {
    match AttachError::from_io(path, error) {
        AttachError::NoBus(path) => AttachError::NoFolder(path),
        AttachError::DiskFull { path, .. } => {
            AttachError::DiskFull { path, bytes: Geometry::new(config).common_bytes() as u64 }
        }
        other => other,
    }
}

/// CLOCK_MONOTONIC in ns: the clock of every instant on the bus.
pub(crate) fn monotonic_ns() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Reads the fixed part of a header.
fn parse(fixed: &[u8; header::FIXED_BYTES], path: &Path) -> Result<Geometry, AttachError> {
    let path = path.to_path_buf();
    if u64_at(fixed, header::MAGIC) != MAGIC {
        return Err(AttachError::NotABus(path));
    }
    let found = u32_at(fixed, header::VERSION);
    if found != VERSION {
        return Err(AttachError::Version { path, found });
    }
    if u64_at(fixed, header::CHECK) != fnv1a(&fixed[..header::CHECK]) {
        return Err(AttachError::Damaged(path));
    }
    let features = u32_at(fixed, header::REQUIRED);
    if features != 0 {
        return Err(AttachError::Features { path, features });
    }
    let config = BusConfig {
        max_members: u16::try_from(u32_at(fixed, header::MAX_MEMBERS)).unwrap_or(u16::MAX),
        ring_bytes: u32_at(fixed, header::RING_BYTES),
        mtu: u32_at(fixed, header::MTU),
    };
    let geometry = Geometry::new(&config);
    if !config.is_valid() || geometry.file_bytes() as u64 != u64_at(fixed, header::FILE_BYTES) {
        return Err(AttachError::Damaged(path));
    }
    Ok(geometry)
}

/// The fixed part of a new header.
fn compose(config: &BusConfig) -> [u8; header::FIXED_BYTES] {
    let mut fixed = [0; header::FIXED_BYTES];
    let mut put = |at: usize, bytes: &[u8]| fixed[at..at + bytes.len()].copy_from_slice(bytes);
    put(header::MAGIC, &MAGIC.to_ne_bytes());
    put(header::VERSION, &VERSION.to_ne_bytes());
    put(header::MAX_MEMBERS, &u32::from(config.max_members).to_ne_bytes());
    put(header::RING_BYTES, &config.ring_bytes.to_ne_bytes());
    put(header::MTU, &config.mtu.to_ne_bytes());
    put(header::FILE_BYTES, &(Geometry::new(config).file_bytes() as u64).to_ne_bytes());
    put(header::MONOTONIC_NS, &nanos(ClockId::Monotonic).to_ne_bytes());
    put(header::REALTIME_NS, &nanos(ClockId::Realtime).to_ne_bytes());
    put(header::BOOT_ID, &boot_id());
    let check = fnv1a(&fixed[..header::CHECK]);
    fixed[header::CHECK..].copy_from_slice(&check.to_ne_bytes());
    fixed
}

/// Makes the file beside its place and links it there when it is whole.
fn create(path: &Path, config: &BusConfig) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let unique = format!(".{}.{:016x}", name.to_string_lossy(), u64::from_ne_bytes(random));
    let temporary = path.with_file_name(unique);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        // Members of several users share a bus; who may is for the umask to say.
        .mode(0o666)
        .open(&temporary)?;
    let made = fill(&file, config).and_then(|()| put_in_place(&temporary, path));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => made.and(Err(error)),
        _ => made,
    }
}

/// Gives a whole file its name, if nothing has that name.
fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    let linked = std::fs::hard_link(temporary, path);
    match linked.as_ref().map_err(Errno::from_io_error) {
        // A file system without links; most of those can rename without replacing.
        Err(Some(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK)) => {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(CWD, temporary, CWD, path, flags) {
                Err(Errno::INVAL | Errno::NOSYS) => linked,
                renamed => Ok(renamed?),
            }
        }
        _ => linked,
    }
}

fn fill(file: &File, config: &BusConfig) -> io::Result<()> {
    let geometry = Geometry::new(config);
    file.set_len(geometry.file_bytes() as u64)?;
    reserve(file, 0..geometry.common_bytes())?;
    file.write_all_at(&compose(config), 0)
}

/// `fallocate`, or the same by hand where a file system has none.
fn reserve(file: &impl AsFd, range: Range<usize>) -> io::Result<()> {
    let flags = FallocateFlags::empty();
    match rustix::fs::fallocate(file, flags, range.start as u64, range.len() as u64) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => reserve_by_writing(file, range),
        Err(error) => Err(error.into()),
    }
}

/// Writes the last byte of each page as it was. That byte is padding in what others write to.
fn reserve_by_writing(file: &impl AsFd, range: Range<usize>) -> io::Result<()> {
    for page in range.step_by(PAGE) {
        let at = (page + PAGE - 1) as u64;
        let mut byte = [0];
        let got = rustix::io::pread(file, &mut byte, at)?;
        if got == 1 && rustix::io::pwrite(file, &byte, at)? != 1 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The kernel's id of this boot, 16 bytes; zeros where there is none.
pub(crate) fn boot_id() -> [u8; 16] {
    let mut id = [0; 16];
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut digits = text.chars().filter_map(|c| c.to_digit(16));
    for byte in &mut id {
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else { return [0; 16] };
        *byte = (high << 4 | low) as u8;
    }
    id
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |b| u32::from_ne_bytes(*b))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |b| u64::from_ne_bytes(*b))
}

/// FNV-1a, 64 bits: catches damage, not malice.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let fixed = compose(&BusConfig::default());
        assert!(parse(&fixed, Path::new("x")).is_ok());
        for bit in 0..header::FIXED_BYTES * 8 {
            let mut hit = fixed;
            hit[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&hit, Path::new("x")).is_err(), "bit {bit}");
        }
    }
}
