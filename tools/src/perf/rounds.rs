//! Request and response: over one connection, or over one each.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use libnet::net::{TcpListener, TcpStream};
use rumpnet::Stack;

use super::control::is_timeout;
use super::histogram::Histogram;
use super::streams::PATIENCE;

/// How long a response may take.
const RESPONSE_WITHIN: Duration = Duration::from_secs(5);

/// Sends a request and waits for its response, again and again, while `goes_on`; `done` is called
/// after each.
pub(crate) fn ask(
    stream: &TcpStream,
    bytes: usize,
    latency: &Histogram,
    goes_on: impl Fn() -> bool,
    done: impl Fn(),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(RESPONSE_WITHIN))?;
    let request = vec![0x5a; bytes];
    let mut response = vec![0; bytes];
    while goes_on() {
        let began = Instant::now();
        (&*stream).write_all(&request)?;
        (&*stream).read_exact(&mut response)?;
        latency.record(began.elapsed());
        done();
    }
    stream.shutdown(Shutdown::Write)
}

/// Sends everything back until the connection's end.
pub(super) fn answer(
    stream: &TcpStream,
    bytes: usize,
    goes_on: impl Fn() -> bool,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; bytes];
    loop {
        match (&*stream).read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => (&*stream).write_all(&buffer[..n])?,
            Err(error) if is_timeout(&error) && goes_on() => {}
            Err(error) if is_timeout(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Connects, asks, is answered and closes, again and again, while `goes_on`.
pub(super) fn connect_and_ask(
    stack: &Stack,
    to: SocketAddr,
    bytes: usize,
    latency: &Histogram,
    goes_on: impl Fn() -> bool,
    done: impl Fn(),
) -> io::Result<()> {
    let request = vec![0x5a; bytes];
    let mut response = vec![0; bytes];
    while goes_on() {
        let began = Instant::now();
        let stream = stack.tcp_connect_timeout(&to, RESPONSE_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RESPONSE_WITHIN))?;
        (&stream).write_all(&request)?;
        (&stream).read_exact(&mut response)?;
        stream.shutdown(Shutdown::Write)?;
        // The server closes too; then the connection is over.
        let _ = (&stream).read(&mut response[..1])?;
        drop(stream);
        latency.record(began.elapsed());
        done();
    }
    Ok(())
}

/// Answers one request on each connection, while `goes_on`.
pub(super) fn accept_and_answer(
    listener: &TcpListener,
    bytes: usize,
    goes_on: impl Fn() -> bool,
) -> io::Result<()> {
    listener.socket().set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; bytes];
    while goes_on() {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        };
        // One that fails is the client's to report.
        let _ = answer_one(&stream, &mut buffer);
    }
    Ok(())
}

fn answer_one(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(RESPONSE_WITHIN))?;
    (&*stream).read_exact(buffer)?;
    (&*stream).write_all(buffer)?;
    let _ = (&*stream).read(&mut buffer[..1])?;
    Ok(())
}
