//! Where the content goes: standard output, or a file that is there only when it is whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// Where the content goes.
pub(super) struct Save {
    to: To,
    hash: Option<Sha256>,
    bytes: u64,
}

enum To {
    Stdout(io::Stdout),
    /// A device, or a pipe: as it comes.
    Stream(File),
    /// Beside the file that it will be.
    File(NamedTempFile, PathBuf),
}

/// Why the content was not saved.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    /// It is not what was expected.
    #[error("its SHA-256 is {got}, not what was asked for")]
    Hash {
        /// What it is.
        got: String,
    },
    /// The file system's.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// What was saved.
pub(super) struct Saved {
    pub(super) bytes: u64,
    /// In hexadecimal digits, if it was asked for.
    pub(super) sha256: Option<String>,
}

impl Save {
    /// To `path`, or to standard output; `hash`: with a SHA-256 made of it.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn open(path: Option<&Path>, hash: bool) -> io::Result<Self> {
        let to = match path {
            None => To::Stdout(io::stdout()),
            Some(path) if path.exists() && !path.is_file() => {
                To::Stream(File::options().write(true).open(path)?)
            }
            Some(path) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let mut file = tempfile::Builder::new();
                file.prefix(".fetch-").permissions(permissions(path));
                To::File(file.tempfile_in(folder.unwrap_or(Path::new(".")))?, path.to_owned())
            }
        };
        Ok(Save { to, hash: hash.then(Sha256::new), bytes: 0 })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.to {
            To::Stdout(out) => out.write_all(bytes),
            To::Stream(file) => file.write_all(bytes),
            To::File(file, _) => file.write_all(bytes),
        }?;
        self.bytes += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        Ok(())
    }

    /// All is there: the file gets its name, if the content is what was `expected`.
    ///
    /// # Errors
    /// It is not, or the file system's.
    pub(super) fn finish(self, expected: Option<&str>) -> Result<Saved, SaveError> {
        let hex = |hash: Sha256| hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let sha256: Option<String> = self.hash.map(hex);
        if let (Some(expected), Some(got)) = (expected, &sha256)
            && expected != got
        {
            return Err(SaveError::Hash { got: got.clone() });
        }
        match self.to {
            To::Stdout(mut out) => out.flush()?,
            To::Stream(mut file) => file.flush()?,
            To::File(file, path) => drop(file.persist(path).map_err(|error| error.error)?),
        }
        Ok(Saved { bytes: self.bytes, sha256 })
    }
}

/// Those of the file that is replaced, else what a new file gets: the umask is the kernel's to apply.
fn permissions(path: &Path) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .map_or(std::fs::Permissions::from_mode(0o666), |metadata| metadata.permissions())
}
