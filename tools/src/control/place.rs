//! Where a control socket is: a path that no living node has, with the rights for its owner alone.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, fchmod, flock, openat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// A listener with its path, which is removed on drop.
#[derive(Debug)]
pub struct Place {
    name: String,
    path: PathBuf,
    listener: UnixListener,
}

/// Names tried, `alice`, `alice-2` and so on.
const MAX_NAMES: u32 = 1000;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

impl Place {
    /// At this path.
    ///
    /// # Errors
    /// `AddrInUse` if a living node has it, `AlreadyExists` if it is anything but a socket; the
    /// file system's.
    pub fn at(path: &Path, name: &str) -> io::Result<Self> {
        let (folder, file) = split(path)?;
        let _one_at_a_time = lock_folder(folder)?;
        Place::claim(folder, file, name)
    }

    /// Beside a bus, as `BUS.NAME.ctl`, or with a number behind the name if that is taken.
    ///
    /// # Errors
    /// The file system's.
    pub fn beside(bus: &Path, name: &str) -> io::Result<Self> {
        let (folder, file) = split(bus)?;
        Place::numbered(folder, &format!("{file}."), name)
    }

    /// In a folder, as `NAME.ctl`, or with a number behind the name if that is taken.
    ///
    /// # Errors
    /// The file system's.
    pub fn within(folder: &Path, name: &str) -> io::Result<Self> {
        Place::numbered(folder, "", name)
    }

    /// What the node is called here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What listens there.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    fn numbered(folder: &Path, stem: &str, name: &str) -> io::Result<Self> {
        let _one_at_a_time = lock_folder(folder)?;
        for number in 1..=MAX_NAMES {
            let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            // A name is for people and may hold anything.
            let file = format!("{stem}{}.ctl", name.replace(['/', '\0'], "_"));
            match Place::claim(folder, &file, &name) {
                Err(error) if is_taken(&error) => {}
                done => return done,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn claim(folder: &Path, file: &str, name: &str) -> io::Result<Self> {
        let path = folder.join(file);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(_) if is_dead(&path) => fs::remove_file(&path)?,
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
        let socket = new_socket()?;
        // Before it has a name, so that nobody else can connect at any time.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        with_short_path(&path, |short| Ok(bind(&socket, &SocketAddrUnix::new(short)?)?))?;
        listen(&socket, BACKLOG)?;
        let path = fs::canonicalize(folder)?.join(file);
        Ok(Place { name: name.to_owned(), path, listener: UnixListener::from(socket) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // One that somebody took away already is what it should be.
        let _ = fs::remove_file(&self.path);
    }
}

/// How long a node that hangs may keep somebody waiting who connects.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Connects to a control socket, however long its path is.
///
/// # Errors
/// `NotFound`, `ConnectionRefused` if nobody listens there any more, `WouldBlock` if it takes
/// nobody.
pub fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let socket = new_socket()?;
    // A queue that is full would hold up for ever.
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_WITHIN))?;
    with_short_path(path, |short| Ok(connect(&socket, &SocketAddrUnix::new(short)?)?))?;
    Ok(UnixStream::from(socket))
}

/// As [`connect_to`], without a wait for who takes nobody.
///
/// # Errors
/// As [`connect_to`]; `WouldBlock` at once.
pub fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::from(new_socket()?);
    stream.set_nonblocking(true)?;
    with_short_path(path, |short| Ok(connect(&stream, &SocketAddrUnix::new(short)?)?))?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// The longest path that a socket's address holds, one byte for its end.
const MAX_PATH_BYTES: usize = 107;

/// Calls with the path, or with another one to the same place that is short enough.
fn with_short_path<T>(path: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return call(path);
    }
    let (folder, file) = split(path)?;
    let folder = open_folder(folder)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    call(&PathBuf::from(format!("/proc/self/fd/{number}")).join(file))
}

fn is_dead(path: &Path) -> bool {
    connect_to(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AlreadyExists)
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let file = path.file_name().and_then(|file| file.to_str());
    let file = file.ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((folder.unwrap_or_else(|| Path::new(".")), file))
}

/// How long somebody else may keep a folder locked: whoever can read it can.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// Between two attempts to lock it.
const LOCK_EVERY: Duration = Duration::from_millis(10);

/// Two that begin at once must not both find the same dead socket and replace it.
fn lock_folder(path: &Path) -> io::Result<OwnedFd> {
    let folder = open_folder(path)?;
    let started = Instant::now();
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(Errno::WOULDBLOCK) if started.elapsed() < LOCK_WITHIN => {
                std::thread::sleep(LOCK_EVERY);
            }
            Err(Errno::WOULDBLOCK) => {
                let why = format!("another process keeps the folder {} locked", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, folder, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number_and_one_that_is_dead_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let bus = folder.path().join("my.bus");
        let first = Place::beside(&bus, "alice").unwrap();
        let second = Place::beside(&bus, "alice").unwrap();
        assert!(first.path().ends_with("my.bus.alice.ctl"));
        assert_eq!((second.name(), first.name()), ("alice-2", "alice"));
        let path = first.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(first);
        assert!(!path.exists());
        // A listener that is closed without a word, as by a kill, leaves its path behind.
        let killed = Place::beside(&bus, "alice").unwrap();
        drop(killed.listener().try_clone().unwrap());
        let dead = std::mem::ManuallyDrop::new(killed);
        rustix::net::shutdown(dead.listener(), rustix::net::Shutdown::Both).unwrap();
        assert!(path.exists());
        let next = Place::beside(&bus, "alice").unwrap();
        assert_eq!(next.name(), "alice");
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "mine").unwrap();
        let error = Place::at(&path, "alice").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn nobody_keeps_a_node_from_its_start_by_locking_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock_folder(folder.path()).unwrap();
        let error = Place::within(folder.path(), "alice").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
        drop(held);
        Place::within(folder.path(), "alice").unwrap();
    }

    #[test]
    fn a_path_may_be_longer_than_a_sockets_address() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let place = Place::within(&deep, "alice").unwrap();
        assert!(place.path().as_os_str().len() > MAX_PATH_BYTES);
        drop(connect_to(place.path()).unwrap());
    }
}
