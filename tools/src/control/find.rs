//! Finds nodes by what their control sockets are called.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use super::client::{Called, Connection, HELLO_WITHIN};
use crate::fail::Failure;

/// A node that answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What it is called.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its control socket.
    pub path: PathBuf,
}

/// The environment that rump's own tools name their server by.
const SERVER_VARIABLE: &str = "RUMP_SERVER";

/// The node that a user means, by `-n`, else by `RUMP_SERVER`, else the only one there is; connected.
///
/// # Errors
/// None, or several; the message lists those that there are.
pub fn connect(node: Option<&str>) -> Result<Connection, Failure> {
    let by_environment = std::env::var(SERVER_VARIABLE).ok().filter(|value| !value.is_empty());
    match node.map(str::to_owned).or(by_environment) {
        Some(node) => connect_to(&node),
        None => {
            let found = all();
            match &found[..] {
                [only] => Connection::open(&only.path).map_err(|error| cannot(&only.path, &error)),
                [] => Err(Failure::usage(format!("which node? {}", hint(&found)))),
                _ => Err(Failure::usage(format!("which node? say -n NAME: {}", hint(&found)))),
            }
        }
    }
}

fn connect_to(node: &str) -> Result<Connection, Failure> {
    let text = node.strip_prefix("unix://").unwrap_or(node);
    let path = Path::new(text);
    let is_path = text.contains('/') || node.len() != text.len();
    let is_socket = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_path || is_socket {
        return Connection::open(path).map_err(|error| cannot(path, &error));
    }
    let found = all();
    let named: Vec<&Found> = found.iter().filter(|found| found.name == text).collect();
    match &named[..] {
        [node] => Connection::open(&node.path).map_err(|error| cannot(&node.path, &error)),
        [] => Err(Failure::usage(format!("there is no node `{text}`: {}", hint(&found)))),
        several => {
            let paths: Vec<String> =
                several.iter().map(|found| found.path.display().to_string()).collect();
            Err(Failure::usage(format!(
                "{} nodes are called `{text}`: say which by its socket: -n {}",
                several.len(),
                paths.join(" or -n ")
            )))
        }
    }
}

fn hint(found: &[Found]) -> String {
    if found.is_empty() {
        return "there is none here; give the path of a node's control socket, as \
                -n PATH/my.bus.alice.ctl"
            .to_owned();
    }
    let all: Vec<String> =
        found.iter().map(|found| format!("{} ({})", found.name, found.path.display())).collect();
    format!("there are {}", all.join(", "))
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    let why = match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "its node has gone".to_owned(),
        io::ErrorKind::PermissionDenied => "it is another user's".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        _ => crate::host::plain(error),
    };
    Failure::usage(format!("cannot connect to the node at {path}: {why}"))
}

/// The nodes with a control socket in the current folder or the user's runtime folder, by name.
pub fn all() -> Vec<Found> {
    let mut paths = sockets(Path::new("."));
    paths.extend(sockets(&runtime_path()));
    let mut found = who_answers(paths, HELLO_WITHIN);
    found.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    found
}

/// The nodes with a control socket beside this bus.
pub fn beside(bus: &Path) -> Vec<Found> {
    let folder = bus.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut paths = sockets(folder.unwrap_or_else(|| Path::new(".")));
    let stem = bus.file_name().map(|name| format!("{}.", name.to_string_lossy()));
    let is_beside = |path: &Path| {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
        stem.as_ref().zip(file).is_some_and(|(stem, file)| file.starts_with(stem.as_str()))
    };
    paths.retain(|path| is_beside(path));
    who_answers(paths, HELLO_WITHIN)
}

/// Sockets looked at in one folder at most.
const MAX_SOCKETS: usize = 1000;

/// What looks like a control socket in a folder.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| entry.ok()).filter_map(|entry| {
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        let path = entry.path();
        (is_socket && path.extension().is_some_and(|end| end == "ctl")).then_some(path)
    });
    paths
        .take(MAX_SOCKETS)
        .map(|path| path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path))
        .collect()
}

/// The nodes among these that say who they are in time: all are called first, so that those that
/// stand still hold up nobody but once.
fn who_answers(paths: Vec<PathBuf>, within: Duration) -> Vec<Found> {
    let deadline = Instant::now() + within;
    let called = paths.into_iter().filter_map(|path| Called::at_once(&path).ok().zip(Some(path)));
    let called: Vec<(Called, PathBuf)> = called.collect();
    let answered = called.into_iter().filter_map(|(called, path)| {
        // Whoever's turn is late was asked long ago: what it said is there.
        let left = deadline.saturating_duration_since(Instant::now()).max(AT_LEAST);
        let connection = called.answer(left).ok()?;
        Some(Found { name: connection.name().to_owned(), pid: connection.pid(), path })
    });
    answered.collect()
}

/// To read what has come: a wait of no time would be one for ever.
const AT_LEAST: Duration = Duration::from_millis(1);

/// The folder for sockets of nodes without a bus: `$XDG_RUNTIME_DIR/rumpnet`, else one in the folder
/// for temporary files that is the user's alone. Made if it is not there.
///
/// # Errors
/// The file system's; `PermissionDenied` if somebody else made it or may write to it.
pub fn runtime_folder() -> io::Result<PathBuf> {
    let (uid, folder) = (geteuid().as_raw(), runtime_path());
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(&folder)?;
    if !meta.is_dir() || meta.uid() != uid || meta.mode() & 0o022 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(folder)
}

fn runtime_path() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("rumpnet"),
        None => std::env::temp_dir().join(format!("rumpnet-{}", geteuid().as_raw())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::control::protocol::{Reply, VERSION, to_line};

    #[test]
    fn nodes_that_stand_still_are_waited_for_together() {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        let listen = |name: &str| UnixListener::bind(folder.join(name)).unwrap();
        let stopped: Vec<_> = (0..8).map(|n| listen(&format!("stopped{n}.ctl"))).collect();
        let node = listen("node.ctl");
        let answers = std::thread::spawn(move || {
            let (mut stream, _) = node.accept().unwrap();
            let hello = Reply::Hello { version: VERSION, name: "alice".to_owned(), pid: 7 };
            stream.write_all(&to_line(&hello)).unwrap();
        });
        let (started, patience) = (Instant::now(), Duration::from_secs(1));
        let found = who_answers(sockets(folder), patience);
        let took = started.elapsed();
        answers.join().unwrap();
        drop(stopped);
        let expected = Found { name: "alice".to_owned(), pid: 7, path: folder.join("node.ctl") };
        assert_eq!(found, [expected]);
        assert!(took < 4 * patience, "one after the other takes eight: {took:?}");
    }
}
