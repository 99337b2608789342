//! nc over TCP.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded, select};
use libnet::net::TcpStream;
use libnet::{Family, Protocol, SockType};

use super::{PATIENCE, Session, input};
use crate::fail::{Failure, Outcome, Status};
use crate::host;

/// Bytes taken from the network at a time.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn connect(session: &Session<'_>) -> Outcome {
    let stream = open(session)
        .map_err(|error| host::peer_failure("cannot connect to", session.address, &error))?;
    session.say(&format!("connected to {}", session.address));
    if session.args.scan {
        return Ok(Status::DONE);
    }
    let input = if session.args.no_input { Ok(input::nothing()) } else { input::stream() };
    let input = input.map_err(|error| Failure::doing("cannot read standard input", &error))?;
    pass(session, &stream, &input)
}

fn open(session: &Session<'_>) -> io::Result<TcpStream> {
    let args = session.args;
    let to = session.address;
    if args.source.is_none() && args.source_port.is_none() {
        return match args.timeout {
            Some(timeout) if !timeout.is_zero() => session.stack.tcp_connect_timeout(&to, timeout),
            _ => session.stack.tcp_connect(to),
        };
    }
    let family = Family::of(&to.ip());
    let socket = session.stack.socket(family, SockType::Stream, Protocol::TCP)?;
    let from = args.source.unwrap_or(family.unspecified());
    socket.bind(SocketAddr::new(from, args.source_port.unwrap_or(0)))?;
    socket.connect(to)?;
    Ok(TcpStream::from_socket(socket))
}

pub(super) fn listen(session: &Session<'_>) -> Outcome {
    let listener = session.stack.tcp_listen(session.address).map_err(|error| {
        Failure::new(format!("cannot listen on {}: {}", session.address, host::plain(&error)))
    })?;
    session.say(&format!("listening on {}", session.address));
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
        session.say(&format!("connection from {peer}"));
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
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(session, stream, input, &stopped));
        let received = receive(session, stream, &sender);
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

/// Standard input to the network; its end closes our side.
fn send(
    session: &Session<'_>,
    stream: &TcpStream,
    input: &Receiver<Bytes>,
    stopped: &Receiver<()>,
) -> io::Result<()> {
    loop {
        let mut chunk = select! {
            recv(stopped) -> _ => return Ok(()),
            recv(input) -> chunk => match chunk {
                Ok(chunk) => chunk,
                Err(_) => return stream.shutdown(Shutdown::Write),
            },
        };
        while !chunk.is_empty() {
            match stream.send_bytes(&chunk) {
                Ok(sent) => drop(chunk.split_to(sent)),
                Err(error) if is_timeout(&error) && !session.interrupts.is_stopped() => {}
                Err(error) if is_timeout(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The network to standard output, until its end.
fn receive<T>(
    session: &Session<'_>,
    stream: &TcpStream,
    sender: &std::thread::ScopedJoinHandle<'_, T>,
) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let mut chunks = VecDeque::new();
    let mut quiet_since = Instant::now();
    loop {
        match stream.recv_bytes(CHUNK_BYTES, &mut chunks) {
            Ok(0) => break,
            Ok(_) => {
                write_out(&mut stdout, &mut chunks).map_err(|error| Failure::output(&error))?;
                quiet_since = Instant::now();
            }
            Err(error) if is_timeout(&error) => {
                let idle = session.args.timeout.is_some_and(|limit| quiet_since.elapsed() > limit);
                if idle || session.interrupts.is_stopped() {
                    return Ok(());
                }
            }
            Err(error) => return Err(Failure::doing("connection", &host::plain(&error))),
        }
    }
    // A client still has to say what it was given; a server's input may never end.
    while !session.args.listen && !session.args.no_input && !sender.is_finished() {
        if session.interrupts.sleep(Duration::from_millis(10)).is_some() {
            break;
        }
    }
    Ok(())
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
