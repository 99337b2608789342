//! The node's end of its control socket: who may connect, and what each connection may take.

use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rumpnet::Stack;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use tracing::{debug, info};

use super::place::Place;
use super::protocol::{LineError, MAX_REQUEST_BYTES, Reply, Request, VERSION, read_line, to_line};
use crate::fail::Status;
use crate::inside::{self, Inside};
use crate::output::Output;
use crate::signals::{Asked, Asker, Interrupts};

/// Clients at once; one more is told so and sent away.
const MAX_CLIENTS: usize = 16;
/// How long a client may take to ask, and to take what it is sent before it is cut off.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves a control socket until it is dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    stack: Stack,
    is_ending: AtomicBool,
    /// Guards who is connected; a leaf.
    clients: Mutex<Vec<Client>>,
}

/// A connection, to be cut off, and its thread, to be waited for.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    thread: JoinHandle<()>,
}

impl Server {
    /// Begins to serve.
    ///
    /// # Errors
    /// The host's, if it has no room for a thread.
    pub fn start(place: Place, stack: Stack) -> io::Result<Self> {
        let clients = Mutex::new(Vec::new());
        let is_ending = AtomicBool::new(false);
        let shared = Arc::new(Shared { place, stack, is_ending, clients });
        let server = Arc::clone(&shared);
        let serve = move || server.accept();
        let listener = std::thread::Builder::new().name("ctl".to_owned()).spawn(serve)?;
        Ok(Server { shared, listener: Some(listener) })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        self.shared.place.path()
    }

    /// What the node is called there.
    pub fn name(&self) -> &str {
        self.shared.place.name()
    }
}

impl Drop for Server {
    /// Cuts every client off, and waits for what ran for them to end.
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Release);
        // Wakes the listener, which then finds that it is over.
        let _ = rustix::net::shutdown(self.shared.place.listener(), rustix::net::Shutdown::Both);
        if let Some(listener) = self.listener.take() {
            // A panic there was reported when it happened.
            let _ = listener.join();
        }
        for client in std::mem::take(&mut *self.shared.clients()) {
            let _ = client.stream.shutdown(Shutdown::Both);
            let _ = client.thread.join();
        }
    }
}

/// Rest after an error that may come again at once, such as one of too many files.
const PAUSE: Duration = Duration::from_millis(100);

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>) {
        while !self.is_ending.load(Ordering::Acquire) {
            let begun = self.place.listener().accept().and_then(|(stream, _)| self.admit(stream));
            if let Err(error) = begun
                && !self.is_ending.load(Ordering::Acquire)
            {
                info!(%error, "a client of the control socket was not served");
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Begins to serve a client, if it may be served.
    fn admit(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let peer = socket_peercred(&stream)?;
        let mut clients = self.clients();
        clients.retain(|client| !client.thread.is_finished());
        if peer.uid != geteuid() && !peer.uid.is_root() {
            return refuse(&stream, "the node is another user's");
        }
        if clients.len() >= MAX_CLIENTS {
            return refuse(&stream, "the node has too many clients: try again later");
        }
        let (shared, ours) = (Arc::clone(self), stream.try_clone()?);
        let serve = move || {
            if let Err(error) = shared.serve(&ours) {
                debug!(%error, "a client of the control socket was cut off");
            }
            // Both ends learn of it now, whoever still holds a copy.
            let _ = ours.shutdown(Shutdown::Both);
        };
        let thread = std::thread::Builder::new().name("ctl/client".to_owned()).spawn(serve)?;
        clients.push(Client { stream, thread });
        Ok(())
    }

    /// Serves one client from its first line to its last.
    fn serve(&self, stream: &UnixStream) -> Result<(), LineError> {
        let mut to = stream;
        let hello = Reply::Hello {
            version: VERSION,
            name: self.place.name().to_owned(),
            pid: std::process::id(),
        };
        to.write_all(&to_line(&hello))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let request = match read_line::<Request>(&mut reader, MAX_REQUEST_BYTES) {
            Ok(Some(request)) => request,
            // It only wanted to know who is there.
            Ok(None) => return Ok(()),
            Err(error @ LineError::Io(_)) => return Err(error),
            Err(error) => {
                refuse(stream, &error.to_string())?;
                return Err(error);
            }
        };
        let (Request::Run { version, .. } | Request::Capture { version, .. }) = &request else {
            return Ok(refuse(stream, "nothing runs that could be stopped")?);
        };
        if *version != VERSION {
            return Ok(refuse(stream, &format!("the node speaks version {VERSION}"))?);
        }
        stream.set_read_timeout(None)?;
        let (asker, interrupts) = Interrupts::from_afar();
        let listens = std::thread::Builder::new()
            .name("ctl/asks".to_owned())
            .spawn(move || listen(reader, &asker))?;
        let status = self.run(request, stream, interrupts);
        let ended = to.write_all(&to_line(&Reply::End { status: status.0 }));
        let _ = stream.shutdown(Shutdown::Both);
        // It ends with the connection.
        let _ = listens.join();
        Ok(ended?)
    }

    fn run(&self, request: Request, stream: &UnixStream, interrupts: Interrupts) -> Status {
        let Ok((out, errors)) = stream.try_clone().and_then(|out| Ok((out, stream.try_clone()?)))
        else {
            return Status::FAILED;
        };
        let mut inside = Inside {
            stack: self.stack.clone(),
            name: self.place.name().to_owned(),
            output: Output::over(Lines { stream: out, wrap: Reply::Out }),
            errors: Box::new(Lines { stream: errors, wrap: Reply::Err }),
            interrupts,
        };
        let outcome = match request {
            Request::Run { argv, .. } => inside::run(&argv, &mut inside),
            Request::Capture { interface, filter, .. } => {
                inside::capture::run(&inside, stream, interface.as_deref(), &filter)
            }
            Request::Stop | Request::Report => Ok(Status::DONE),
        };
        let flushed = inside.output.flush();
        match outcome.and_then(|status| flushed.map(|()| status)) {
            Ok(status) => status,
            Err(failure) => {
                if let Some(line) = failure.line() {
                    // Who has gone needs not be told.
                    let _ = inside.errors.write_all(line.as_bytes());
                }
                failure.status()
            }
        }
    }
}

/// Passes on what a client asks for until it goes, which asks to stop.
fn listen(mut reader: BufReader<UnixStream>, asker: &Asker) {
    loop {
        match read_line::<Request>(&mut reader, MAX_REQUEST_BYTES) {
            Ok(Some(Request::Report)) => asker.ask(Asked::Report),
            // Nothing else can be asked for now.
            Ok(Some(Request::Stop)) => asker.ask(Asked::Stop),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return asker.ask(Asked::Stop),
        }
    }
}

fn refuse(mut stream: &UnixStream, why: &str) -> io::Result<()> {
    stream.write_all(&to_line(&Reply::Err(format!("rumpnet: {why}\n"))))?;
    stream.write_all(&to_line(&Reply::End { status: Status::USAGE.0 }))
}

/// What is written becomes lines of the protocol.
struct Lines {
    stream: UnixStream,
    wrap: fn(String) -> Reply,
}

/// Bytes of text in one line at most.
const MAX_TEXT_BYTES: usize = 32 << 10;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut end = bytes.len().min(MAX_TEXT_BYTES);
        // Not in the middle of a character, if there is another way.
        while end > 1 && end < bytes.len() && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        match self.stream.write_all(&to_line(&(self.wrap)(text))) {
            // Too slow, which is as good as gone: nothing more is sent.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = self.stream.shutdown(Shutdown::Both);
                Err(io::ErrorKind::BrokenPipe.into())
            }
            done => done.map(|()| end),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
