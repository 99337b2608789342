//! The client's end of a control socket.

use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Uid, geteuid};

use super::find;
use super::place::{connect_at_once, connect_to};
use super::protocol::{LineError, MAX_REPLY_BYTES, Reply, Request, VERSION, read_line, to_line};
use crate::fail::{Failure, Outcome, Status};
use crate::signals::{Asked, Interrupts};

/// A connection to a node, which has said who it is.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    name: String,
    pid: u32,
}

/// A node that was called and is to say who it is.
#[derive(Debug)]
pub(super) struct Called {
    stream: UnixStream,
}

/// How long a node may take to say who it is.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(2);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused`; `PermissionDenied` where another user listens, who could
    /// have us print anything; `InvalidData` for anything but a node of this version.
    pub fn open(path: &Path) -> io::Result<Self> {
        Called::by(connect_to(path)?)?.answer(HELLO_WITHIN)
    }

    /// What the node is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's process.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks for something.
    ///
    /// # Errors
    /// The node has gone.
    pub fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.stream.write_all(&to_line(request))
    }

    /// The next answer; `None`: the node has gone.
    ///
    /// # Errors
    /// What is not of this protocol.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, LineError> {
        read_line(&mut self.reader, MAX_REPLY_BYTES)
    }

    /// Passes on what this process's user asks for, from a thread of its own.
    ///
    /// # Errors
    /// The host's.
    pub fn pass_on(&self, interrupts: &Interrupts) -> io::Result<()> {
        let (mut stream, asked) = (self.stream.try_clone()?, interrupts.channel().clone());
        std::thread::Builder::new().name("interrupts".to_owned()).spawn(move || {
            while let Ok(what) = asked.recv() {
                let request = match what {
                    Asked::Stop => Request::Stop,
                    Asked::Report => Request::Report,
                };
                if stream.write_all(&to_line(&request)).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }
}

impl Called {
    /// Calls a node, unless it takes nobody now.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub(super) fn at_once(path: &Path) -> io::Result<Self> {
        Called::by(connect_at_once(path)?)
    }

    fn by(stream: UnixStream) -> io::Result<Self> {
        if !is_trusted(socket_peercred(&stream)?.uid, geteuid()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Called { stream })
    }

    /// Waits for its word.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub(super) fn answer(self, within: Duration) -> io::Result<Connection> {
        let Called { stream } = self;
        stream.set_read_timeout(Some(within))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        match read_line(&mut reader, MAX_REPLY_BYTES) {
            Ok(Some(Reply::Hello { version: VERSION, name, pid })) => {
                stream.set_read_timeout(None)?;
                Ok(Connection { stream, reader, name, pid })
            }
            Ok(Some(Reply::Hello { version, .. })) => {
                let why = format!("it speaks version {version}, and this command {VERSION}");
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
            Ok(Some(Reply::Err(why))) => Err(io::Error::other(why.trim_end().to_owned())),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no node")),
            Err(LineError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        }
    }
}

/// Is a node of this user listened to?
fn is_trusted(of: Uid, us: Uid) -> bool {
    of == us || of.is_root() || us.is_root()
}

/// Runs a command in a node; what it prints there is printed here.
///
/// # Errors
/// No such node, or one that went away meanwhile.
pub fn run(node: Option<&str>, argv: Vec<String>) -> Outcome {
    let mut connection = find::connect(node)?;
    let interrupts =
        Interrupts::catch().map_err(|error| Failure::doing("cannot catch signals", &error))?;
    let gone = |error: &dyn std::fmt::Display| Failure::doing("the node has gone", error);
    connection.ask(&Request::Run { version: VERSION, argv }).map_err(|error| gone(&error))?;
    connection.pass_on(&interrupts).map_err(|error| gone(&error))?;
    let mut stdout = io::stdout().lock();
    loop {
        match connection.next_reply() {
            Ok(Some(Reply::Out(text))) => {
                let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
                written.map_err(|error| Failure::output(&error))?;
            }
            Ok(Some(Reply::Err(text))) => {
                // Where stderr is closed nobody could read it anyway.
                let _ = io::stderr().write_all(text.as_bytes());
            }
            Ok(Some(Reply::End { status })) => return Ok(Status(status)),
            Ok(Some(_)) => {}
            Ok(None) => return Err(Failure::new("the node has gone")),
            Err(error) => return Err(gone(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_users_node_is_not_listened_to() {
        let [root, alice, mallory] = [0, 1_000, 1_001].map(Uid::from_raw);
        assert!(is_trusted(alice, alice) && is_trusted(root, alice) && is_trusted(alice, root));
        assert!(!is_trusted(mallory, alice));
    }
}
