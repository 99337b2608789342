//! Why a bus could not be made, opened or joined.

use std::io;
use std::path::PathBuf;

use libnet::ethernet::MacAddr;
use rustix::io::Errno;

/// Why a bus could not be made, opened or joined.
///
/// Converts to an [`io::Error`] of the fitting kind, which keeps it as its source;
/// [`raw_os_error`](Self::raw_os_error) tells the number.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The file does not exist.
    #[error("no bus at {}: start a node first, or add create", .0.display())]
    NoBus(PathBuf),
    /// The folder that a new bus was to be made in does not exist.
    #[error("cannot make a bus at {}: its folder does not exist", .0.display())]
    NoFolder(PathBuf),
    /// The file is a directory, a device or the like.
    #[error("{} is not a regular file, so it cannot hold a bus", .0.display())]
    NotAFile(PathBuf),
    /// The file holds something else.
    #[error("{} is not a bus: use another path, or remove it first", .0.display())]
    NotABus(PathBuf),
    /// The header's fixed part does not match its own check.
    #[error("the header of the bus {} is damaged: remove the file and start again", .0.display())]
    Damaged(PathBuf),
    /// The file was written by another version of this format.
    #[error("{path} is a bus of format version {found}, this program speaks version {}",
        crate::layout::VERSION, path = .path.display())]
    Version {
        /// The bus.
        path: PathBuf,
        /// The version it says.
        found: u32,
    },
    /// The file needs features that this program does not know; a bit for each.
    #[error("the bus {path} needs features that this program does not know ({features:#x})",
        path = .path.display())]
    Features {
        /// The bus.
        path: PathBuf,
        /// The unknown ones among the required features.
        features: u32,
    },
    /// The file is shorter than its header says.
    #[error("the bus {path} is truncated: {found} of {expected} bytes are left; \
        remove the file and start again", path = .path.display())]
    Truncated {
        /// The bus.
        path: PathBuf,
        /// Bytes that the file has.
        found: u64,
        /// Bytes that it must have.
        expected: u64,
    },
    /// Not allowed to read and write the file, or to create it.
    #[error("permission denied for the bus {}: a member must be able to read and write it",
        .0.display())]
    Denied(PathBuf),
    /// No blocks for the bus, or for this member's part of it.
    #[error("the disk is full: a member of the bus {path} needs {bytes} bytes of its own",
        path = .path.display())]
    DiskFull {
        /// The bus.
        path: PathBuf,
        /// Bytes that were to be reserved.
        bytes: u64,
    },
    /// All slots have a living member.
    #[error("the bus {path} is full: all {max_members} slots have a member",
        path = .path.display())]
    Full {
        /// The bus.
        path: PathBuf,
        /// How many there are.
        max_members: u16,
    },
    /// A living member has this address.
    #[error("MAC address {mac} is taken by {name:?} (pid {pid}) on the bus {path}",
        path = .path.display())]
    MacInUse {
        /// The bus.
        path: PathBuf,
        /// The address.
        mac: MacAddr,
        /// The other member's name.
        name: String,
        /// The other member's process, in its own pid namespace.
        pid: u32,
    },
    /// A group address, or zero.
    #[error("{0} cannot be a member's MAC address: it is a group address or zero")]
    BadMac(MacAddr),
    /// Larger than the segment's, or less than IPv4 needs.
    #[error("an MTU of {asked} bytes does not fit the bus: 68 to {bus} bytes do")]
    BadMtu {
        /// What was asked for.
        asked: u32,
        /// The bus's.
        bus: u32,
    },
    /// A value of the [`BusConfig`](crate::BusConfig) is out of its range.
    #[error(
        "no bus can be made like this: 2 to 4096 members, rings of 256 KiB to 64 MiB \
        (a power of two), an MTU of 68 to 65535 bytes"
    )]
    BadConfig,
    /// A system call failed for another reason.
    #[error("the bus {path}: {error}", path = .path.display())]
    Io {
        /// The bus.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl AttachError {
    /// The error number that the host would give for it.
    pub fn raw_os_error(&self) -> i32 {
        let errno = match self {
            AttachError::NoBus(_) | AttachError::NoFolder(_) => Errno::NOENT,
            AttachError::NotAFile(_) => Errno::ISDIR,
            AttachError::NotABus(_) | AttachError::Damaged(_) => Errno::INVAL,
            AttachError::Version { .. } | AttachError::Features { .. } => Errno::PROTONOSUPPORT,
            AttachError::Truncated { .. } => Errno::INVAL,
            AttachError::Denied(_) => Errno::ACCESS,
            AttachError::DiskFull { .. } => Errno::NOSPC,
            AttachError::Full { .. } => Errno::USERS,
            AttachError::MacInUse { .. } => Errno::ADDRINUSE,
            AttachError::BadMac(_) | AttachError::BadConfig => Errno::INVAL,
            AttachError::BadMtu { .. } => Errno::INVAL,
            AttachError::Io { error, .. } => return error.raw_os_error().unwrap_or(5),
        };
        errno.raw_os_error()
    }

    /// A failed system call on `path`, told apart as far as users can do something about it.
    pub(crate) fn from_io(path: &std::path::Path, error: io::Error) -> Self {
        let path = path.to_path_buf();
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT) => AttachError::NoBus(path),
            Some(Errno::ISDIR) => AttachError::NotAFile(path),
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => AttachError::Denied(path),
            Some(Errno::NOSPC | Errno::DQUOT) => AttachError::DiskFull { path, bytes: 0 },
            _ => AttachError::Io { path, error },
        }
    }
}

impl From<AttachError> for io::Error {
    fn from(error: AttachError) -> Self {
        let kind = match &error {
            AttachError::Io { error, .. } => error.kind(),
            AttachError::NotABus(_) | AttachError::Damaged(_) | AttachError::Truncated { .. } => {
                io::ErrorKind::InvalidData
            }
            AttachError::Version { .. } | AttachError::Features { .. } => {
                io::ErrorKind::Unsupported
            }
            AttachError::Full { .. } => io::ErrorKind::QuotaExceeded,
            other => io::Error::from_raw_os_error(other.raw_os_error()).kind(),
        };
        io::Error::new(kind, error)
    }
}
