//! The folder that is served, and the way to what lies in it. Nothing outside can be reached.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use percent_encoding::percent_decode_str;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// The folder that is served.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// A regular file.
    File(File, Metadata),
    /// A folder.
    Folder(File),
}

/// Why a path leads to nothing that may be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Missing {
    /// Not a path: an escape that is none, or a zero byte.
    #[error("not a path")]
    Malformed,
    /// Nothing there, or nothing that is a file; or it leads out of the folder.
    #[error("nothing there")]
    Nothing,
    /// We may not read it.
    #[error("not for us to read")]
    Forbidden,
    /// It cannot be had now.
    #[error("not to be had now")]
    Busy,
}

impl Root {
    /// The folder at `path`.
    ///
    /// # Errors
    /// There is none, or the kernel cannot keep paths beneath it (Linux before 5.6).
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = Root(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
        root.beneath(OsStr::new("."))?;
        Ok(root)
    }

    /// What the path of a URL leads to.
    pub(super) fn find(&self, url_path: &str) -> Result<Found, Missing> {
        let path = decode(url_path)?;
        let relative =
            path.iter().position(|&byte| byte != b'/').map_or(&b"."[..], |at| &path[at..]);
        self.get(OsStr::from_bytes(relative))
    }

    /// The file `name` in the folder of a URL, if there is one.
    pub(super) fn find_in(&self, url_path: &str, name: &str) -> Option<(File, Metadata)> {
        match self.find(&format!("{url_path}/{name}")) {
            Ok(Found::File(file, metadata)) => Some((file, metadata)),
            _ => None,
        }
    }

    fn get(&self, path: &OsStr) -> Result<Found, Missing> {
        let file = self.beneath(path).map_err(|error| match error {
            Errno::ACCESS | Errno::PERM => Missing::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => Missing::Busy,
            _ => Missing::Nothing,
        })?;
        let metadata = file.metadata().map_err(|_| Missing::Busy)?;
        match metadata.file_type() {
            kind if kind.is_file() => Ok(Found::File(file, metadata)),
            kind if kind.is_dir() => Ok(Found::Folder(file)),
            _ => Err(Missing::Nothing),
        }
    }

    /// The kernel follows the path and refuses what leads out, by `..`, by a link or by a race.
    fn beneath(&self, path: &OsStr) -> rustix::io::Result<File> {
        // Non-blocking: a named pipe that nobody writes to holds up nobody.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RENAMES {
            match openat2(&self.0, path, flags, Mode::empty(), resolve) {
                // Something on the way was renamed meanwhile.
                Err(Errno::AGAIN) => {}
                done => return Ok(File::from(done?)),
            }
        }
        Err(Errno::AGAIN)
    }
}

/// Renames on the way that are put up with.
const RENAMES: usize = 8;

/// RFC 3986 §2.1: `%` and two digits are a byte.
fn decode(url_path: &str) -> Result<Vec<u8>, Missing> {
    let is_escape = |escape: &str| {
        escape.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let mut escapes = url_path.split('%').skip(1);
    let path: Vec<u8> = percent_decode_str(url_path).collect();
    if escapes.all(is_escape) && !path.contains(&0) { Ok(path) } else { Err(Missing::Malformed) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn place() -> (tempfile::TempDir, Root) {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir_all(inner.join("sub")).unwrap();
        std::fs::write(outer.path().join("secret"), "s").unwrap();
        std::fs::write(inner.join("a b"), "content").unwrap();
        std::fs::write(inner.join("sub/c"), "c").unwrap();
        symlink("../secret", inner.join("out")).unwrap();
        symlink("sub/c", inner.join("in")).unwrap();
        symlink("loop", inner.join("loop")).unwrap();
        let root = Root::open(&inner).unwrap();
        (outer, root)
    }

    #[test]
    fn paths_lead_to_what_lies_beneath() {
        let (_outer, root) = place();
        for path in ["/a%20b", "//a%20b", "/sub/../a%20b", "/sub/c", "/sub%2Fc", "/in"] {
            assert!(matches!(root.find(path), Ok(Found::File(..))), "{path}");
        }
        for path in ["/", "", "/sub", "/sub/", "/."] {
            assert!(matches!(root.find(path), Ok(Found::Folder(..))), "{path}");
        }
    }

    #[test]
    fn no_path_leads_out() {
        let (_outer, root) = place();
        for path in ["/..", "/../secret", "/%2e%2e/secret", "/sub/../../secret", "/out", "/loop"] {
            assert_eq!(root.find(path).unwrap_err(), Missing::Nothing, "{path}");
        }
        for path in ["/%", "/%2", "/%zz", "/a%00b"] {
            assert_eq!(root.find(path).unwrap_err(), Missing::Malformed, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_found_beneath_or_not_at_all(path in "[/.a-c%0-9]{0,24}") {
            let (_outer, root) = place();
            if let Ok(Found::File(_, metadata)) = root.find(&path) {
                prop_assert!(metadata.len() != 1 || path.contains('c'), "{}", path);
            }
        }
    }
}
