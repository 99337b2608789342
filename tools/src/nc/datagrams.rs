//! nc over UDP.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded, select};
use libnet::net::UdpSocket;

use super::stream::is_timeout;
use super::{PATIENCE, Session, input};
use crate::fail::{Failure, Outcome};
use crate::host;

pub(super) fn connect(session: &Session<'_>) -> Outcome {
    let from = session.args.source.unwrap_or(match session.address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    });
    let local = SocketAddr::new(from, session.args.source_port.unwrap_or(0));
    let socket = bind(session, local)?;
    socket
        .connect(session.address)
        .map_err(|error| host::peer_failure("cannot send to", session.address, &error))?;
    session.say(&format!("sending to {}", session.address));
    let input = if session.args.no_input { Ok(input::nothing()) } else { input::datagrams() };
    let input = input.map_err(|error| Failure::doing("cannot read standard input", &error))?;
    pass(session, &socket, &input)
}

/// Takes what comes; the first sender is who we answer, unless `-k` lets everybody send.
pub(super) fn listen(session: &Session<'_>) -> Outcome {
    let socket = bind(session, session.address)?;
    session.say(&format!("listening on {}", session.address));
    if session.args.keep {
        return pass(session, &socket, &input::nothing());
    }
    let mut first = [0; 0];
    let started = Instant::now();
    let peer = loop {
        match socket.peek_from(&mut first) {
            Ok((_, peer)) => break peer,
            Err(error) if is_timeout(&error) => {
                let late = session.args.timeout.is_some_and(|limit| started.elapsed() > limit);
                if late {
                    return Err(Failure::new("nobody sent anything in time"));
                }
                if session.interrupts.is_stopped() {
                    return session.interrupted();
                }
            }
            Err(error) => return Err(Failure::doing("cannot receive", &host::plain(&error))),
        }
    };
    socket.connect(peer).map_err(|error| host::peer_failure("cannot answer", peer, &error))?;
    session.say(&format!("datagram from {peer}"));
    let input = if session.args.no_input { Ok(input::nothing()) } else { input::datagrams() };
    let input = input.map_err(|error| Failure::doing("cannot read standard input", &error))?;
    pass(session, &socket, &input)
}

fn bind(session: &Session<'_>, local: SocketAddr) -> Result<UdpSocket, Failure> {
    let wrong =
        |error: io::Error| Failure::new(format!("cannot bind {local}: {}", host::plain(&error)));
    let socket = session.stack.udp_bind(local).map_err(wrong)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(wrong)?;
    Ok(socket)
}

/// Passes datagrams both ways until a signal, or the time-out. UDP has no end of its own: that of
/// standard input ends only the sending.
fn pass(session: &Session<'_>, socket: &UdpSocket, input: &Receiver<Bytes>) -> Outcome {
    let (stop, stopped) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(session, socket, input, &stopped));
        let received = receive(session, socket);
        drop(stop);
        let sent = sender.join().unwrap_or_else(|_| Err(Failure::new("sending panicked")));
        received?;
        sent?;
        session.interrupted()
    })
}

fn send(
    session: &Session<'_>,
    socket: &UdpSocket,
    input: &Receiver<Bytes>,
    stopped: &Receiver<()>,
) -> Result<(), Failure> {
    loop {
        let chunk = select! {
            recv(stopped) -> _ => return Ok(()),
            recv(input) -> chunk => match chunk {
                Ok(chunk) => chunk,
                Err(_) => return Ok(()),
            },
        };
        loop {
            match socket.send(&chunk) {
                Ok(_) => break,
                Err(error) if is_timeout(&error) && !session.interrupts.is_stopped() => {}
                Err(error) if is_timeout(&error) => return Ok(()),
                // The news is about an earlier datagram; this one is tried once more.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    session.say(&format!("{}: nothing listens there", session.address));
                    break;
                }
                Err(error) => {
                    return Err(host::peer_failure("cannot send to", session.address, &error));
                }
            }
        }
    }
}

fn receive(session: &Session<'_>, socket: &UdpSocket) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let mut buffer = vec![0; 65_536];
    let mut quiet_since = Instant::now();
    while !session.interrupts.is_stopped() {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, _)) => {
                let written = stdout.write_all(&buffer[..bytes]).and_then(|()| stdout.flush());
                written.map_err(|error| Failure::output(&error))?;
                quiet_since = Instant::now();
            }
            Err(error) if is_timeout(&error) => {
                if session.args.timeout.is_some_and(|limit| quiet_since.elapsed() > limit) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let peer = session.address;
                return Err(host::peer_failure("cannot send to", peer, &error));
            }
            Err(error) => return Err(Failure::doing("cannot receive", &host::plain(&error))),
        }
    }
    Ok(())
}
