//! nc over TCP.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IsTerminal as _, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, TryRecvError, bounded, select};
use libnet::SockType;
use libnet::net::{TcpListener, TcpStream};

use super::{Activity, PATIENCE, Session, input};
use crate::fail::{Failure, Outcome, Status};
use crate::host;

/// Connections that wait to be accepted, as std's listeners have it.
const BACKLOG: u32 = 128;
/// Bytes taken from the network at a time.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn connect(session: &Session<'_>) -> Outcome {
    let (args, to) = (session.args, session.address);
    let from = session.from();
    let within = args.timeout.filter(|timeout| !timeout.is_zero());
    let stream = match host::connect(&session.stack, from, to, within, &session.interrupts) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return session.interrupted(),
        Err(error) => {
            return Err(host::peer_failure(&session.stack, "cannot connect to", to, &error));
        }
    };
    session.say(&format!("connected to {}", session.shown(to)));
    if args.scan {
        return Ok(Status::DONE);
    }
    let input = if args.no_input { Ok(input::nothing()) } else { input::stream() };
    let input = input.map_err(|error| Failure::doing("cannot read standard input", &error))?;
    pass(session, &stream, &input)
}

pub(super) fn listen(session: &Session<'_>) -> Outcome {
    let bound = session.bound(SockType::Stream).and_then(|socket| {
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from_socket(socket))
    });
    let listener = bound.map_err(|error| {
        let at = session.shown(session.address);
        Failure::new(format!("cannot listen on {at}: {}", host::plain(&error)))
    })?;
    session.say(&format!("listening on {}", session.shown(session.address)));
    listener
        .socket()
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| Failure::doing("cannot listen", &error))?;
    // One reader for all connections: what the first leaves goes to the next.
    let input = if session.args.no_input { Ok(input::nothing()) } else { input::stream() };
    let input = input.map_err(|error| Failure::doing("cannot read standard input", &error))?;
    let started = Instant::now();
    while !session.interrupts.is_stopped() {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if is_timeout(&error) => {
                if session.args.timeout.is_some_and(|timeout| started.elapsed() > timeout) {
                    return Err(Failure::new("nobody connected in time"));
                }
                continue;
            }
            Err(error) => return Err(Failure::doing("cannot accept", &host::plain(&error))),
        };
        session.say(&format!("connection from {}", session.shown(peer)));
        if !session.args.keep {
            drop(listener);
            return pass(session, &stream, &input);
        }
        if let Err(failure) = pass(session, &stream, &input) {
            session.say(&failure.to_string());
        }
    }
    session.interrupted()
}

/// Passes bytes both ways until both have ended.
fn pass(session: &Session<'_>, stream: &TcpStream, input: &Receiver<Bytes>) -> Outcome {
    let wrong = |error: io::Error| Failure::doing("connection", &host::plain(&error));
    stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(wrong)?;
    let (stop, stopped) = bounded::<()>(0);
    let state = Shared { activity: Activity::new(), waits_for_input: AtomicBool::new(false) };
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(session, stream, input, &stopped, &state));
        let received = receive(session, stream, &state.activity);
        if matches!(received, Ok(Received::End)) {
            let is_done = || sender.is_finished();
            say_the_rest(session, is_done, &state);
        }
        // The sender is told to end; whatever it holds is not wanted any more.
        drop(stop);
        if received.is_err() || session.interrupts.is_stopped() {
            // Already closed is what it should be.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let sent = sender.join().unwrap_or_else(|_| Err(io::Error::other("sending panicked")));
        received?;
        sent.map_err(wrong)?;
        session.interrupted()
    })
}

/// What the two directions of a connection know of each other.
#[derive(Debug)]
struct Shared {
    activity: Activity,
    /// Has the sender nothing to send?
    waits_for_input: AtomicBool,
}

/// Standard input to the network; its end closes our side.
fn send(
    session: &Session<'_>,
    stream: &TcpStream,
    input: &Receiver<Bytes>,
    stopped: &Receiver<()>,
    state: &Shared,
) -> io::Result<()> {
    loop {
        state.waits_for_input.store(true, Ordering::Release);
        let mut chunk = select! {
            recv(stopped) -> _ => return Ok(()),
            recv(input) -> chunk => match chunk {
                Ok(chunk) => chunk,
                Err(_) => return stream.shutdown(Shutdown::Write),
            },
        };
        state.waits_for_input.store(false, Ordering::Release);
        while !chunk.is_empty() {
            match stream.send_bytes(&chunk) {
                Ok(sent) => {
                    drop(chunk.split_to(sent));
                    state.activity.note();
                }
                // Whatever is wrong now, it is the user who ended it.
                Err(_) if session.interrupts.is_stopped() => return Ok(()),
                Err(error) if !is_timeout(&error) => return Err(error),
                // Not all was sent, and nobody is to take it for that.
                Err(_) if is_over(stopped) => {
                    return Err(io::Error::other("the other side takes nothing any more"));
                }
                Err(_) => {}
            }
        }
    }
}

/// Was the sender told to end?
pub(super) fn is_over(stopped: &Receiver<()>) -> bool {
    stopped.try_recv() == Err(TryRecvError::Disconnected)
}

/// Why receiving came to an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Received {
    /// The other side closed.
    End,
    /// Nothing came or went for as long as `-w` says, or the user has had enough.
    Enough,
}

/// The network to standard output, until its end.
fn receive(
    session: &Session<'_>,
    stream: &TcpStream,
    activity: &Activity,
) -> Result<Received, Failure> {
    let mut stdout = io::stdout().lock();
    let mut chunks = VecDeque::new();
    loop {
        match stream.recv_bytes(CHUNK_BYTES, &mut chunks) {
            Ok(0) => return Ok(Received::End),
            Ok(_) => {
                write_out(&mut stdout, &mut chunks).map_err(|error| Failure::output(&error))?;
                activity.note();
            }
            Err(error) if is_timeout(&error) => {
                if session.is_idle(activity) || session.interrupts.is_stopped() {
                    return Ok(Received::Enough);
                }
            }
            Err(error) => return Err(Failure::doing("connection", &host::plain(&error))),
        }
    }
}

/// The other side has closed: what we were given to say is still said. A client waits for the end
/// of its input; a server, or a user at a terminal, may never come to it, so that a second without
/// anything to say is enough. `-w` holds for both.
fn say_the_rest(session: &Session<'_>, is_done: impl Fn() -> bool, state: &Shared) {
    const ENOUGH: Duration = Duration::from_secs(1);
    let may_be_endless = session.args.listen || io::stdin().is_terminal();
    let mut silent_since = Instant::now();
    while !is_done() && !session.args.no_input && !session.interrupts.is_stopped() {
        if !state.waits_for_input.load(Ordering::Acquire) {
            silent_since = Instant::now();
        }
        let silent = may_be_endless && silent_since.elapsed() > ENOUGH;
        if silent || session.is_idle(&state.activity) {
            return;
        }
        session.interrupts.sleep(Duration::from_millis(10));
    }
}

fn write_out(stdout: &mut impl Write, chunks: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !chunks.is_empty() {
        let slices: Vec<IoSlice<'_>> = chunks.iter().take(64).map(|c| IoSlice::new(c)).collect();
        let mut written = stdout.write_vectored(&slices)?;
        while let Some(first) = chunks.front_mut() {
            if written < first.len() {
                let _ = first.split_to(written);
                break;
            }
            written -= first.len();
            chunks.pop_front();
        }
    }
    stdout.flush()
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        && error.raw_os_error() != Some(rustix::io::Errno::TIMEDOUT.raw_os_error())
}
