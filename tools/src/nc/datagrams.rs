//! nc over UDP.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded, select};
use libnet::net::{Socket, UdpSocket};
use libnet::{Family, Protocol, SockType};

use super::stream::{is_over, is_timeout};
use super::{Activity, PATIENCE, Session, input};
use crate::fail::{Failure, Outcome};
use crate::host;

pub(super) fn connect(session: &Session<'_>) -> Outcome {
    let any = SocketAddr::new(Family::of(&session.address.ip()).unspecified(), 0);
    let local = session.from().unwrap_or(any);
    let socket = patient(session, local, || {
        let family = Family::of(&local.ip());
        let socket = session.stack.socket(family, SockType::Datagram, Protocol::DEFAULT)?;
        socket.bind(local)?;
        Ok(socket)
    })?;
    socket.connect(session.address).map_err(|error| cannot_send(session, &error))?;
    session.say(&format!("sending to {}", session.shown(session.address)));
    let input = if session.args.no_input { Ok(input::nothing()) } else { input::datagrams() };
    let input = input.map_err(|error| Failure::doing("cannot read standard input", &error))?;
    pass(session, &socket, &input)
}

/// Takes what comes; the first sender is who we answer, unless `-k` lets everybody send.
pub(super) fn listen(session: &Session<'_>) -> Outcome {
    let socket = patient(session, session.address, || session.bound(SockType::Datagram))?;
    session.say(&format!("listening on {}", session.shown(session.address)));
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
    let cannot = |error| host::peer_failure(&session.stack, "cannot answer", peer, &error);
    socket.connect(peer).map_err(cannot)?;
    session.say(&format!("datagram from {}", session.shown(peer)));
    let input = if session.args.no_input { Ok(input::nothing()) } else { input::datagrams() };
    let input = input.map_err(|error| Failure::doing("cannot read standard input", &error))?;
    pass(session, &socket, &input)
}

fn cannot_send(session: &Session<'_>, error: &io::Error) -> Failure {
    host::peer_failure(&session.stack, "cannot send to", session.address, error)
}

/// A socket that is bound to `local`, and sleeps for a while only.
fn patient(
    session: &Session<'_>,
    local: SocketAddr,
    bind: impl FnOnce() -> io::Result<Socket>,
) -> Result<UdpSocket, Failure> {
    let wrong = |error: io::Error| {
        let local = session.shown(local);
        Failure::new(format!("cannot bind {local}: {}", host::plain(&error)))
    };
    let socket = UdpSocket::from_socket(bind().map_err(wrong)?);
    socket.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(wrong)?;
    Ok(socket)
}

/// Passes datagrams both ways until a signal, or the time-out. UDP has no end of its own: that of
/// standard input ends only the sending.
fn pass(session: &Session<'_>, socket: &UdpSocket, input: &Receiver<Bytes>) -> Outcome {
    let (stop, stopped) = bounded::<()>(0);
    let (activity, refusals) = (Activity::new(), Refusals::default());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(session, socket, input, &stopped, &activity, &refusals));
        let received = receive(session, socket, &activity, &refusals);
        drop(stop);
        let sent = sender.join().unwrap_or_else(|_| Err(Failure::new("sending panicked")));
        received?;
        sent?;
        session.interrupted()
    })
}

/// What came of earlier datagrams. Either direction may be told that one was refused, and it means
/// the same in both: the next is tried all the same, and if there is none, or it is refused too, that
/// is the end.
#[derive(Debug, Default)]
struct Refusals {
    /// Refused since something was received.
    refused: AtomicU32,
    /// Nothing more will be sent.
    is_last: AtomicBool,
}

impl Refusals {
    fn note(&self, session: &Session<'_>) {
        self.refused.fetch_add(1, Ordering::AcqRel);
        session.say(&format!("{}: nothing listens there", session.address));
    }

    fn are_final(&self) -> bool {
        let enough = if self.is_last.load(Ordering::Acquire) { 1 } else { 2 };
        self.refused.load(Ordering::Acquire) >= enough
    }
}

fn send(
    session: &Session<'_>,
    socket: &UdpSocket,
    input: &Receiver<Bytes>,
    stopped: &Receiver<()>,
    activity: &Activity,
    refusals: &Refusals,
) -> Result<(), Failure> {
    loop {
        let chunk = select! {
            recv(stopped) -> _ => return Ok(()),
            recv(input) -> chunk => match chunk {
                Ok(chunk) => chunk,
                Err(_) => {
                    refusals.is_last.store(true, Ordering::Release);
                    return Ok(());
                }
            },
        };
        loop {
            match socket.send(&chunk) {
                Ok(_) => {
                    activity.note();
                    break;
                }
                Err(error) if is_timeout(&error) => {
                    if is_over(stopped) || session.interrupts.is_stopped() {
                        return Ok(());
                    }
                }
                // The news is about an earlier datagram; this one is tried once more.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    refusals.note(session);
                    if refusals.are_final() {
                        // The receiver says so.
                        return Ok(());
                    }
                }
                Err(error) => {
                    return Err(cannot_send(session, &error));
                }
            }
        }
    }
}

fn receive(
    session: &Session<'_>,
    socket: &UdpSocket,
    activity: &Activity,
    refusals: &Refusals,
) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let mut buffer = vec![0; 65_536];
    while !session.interrupts.is_stopped() {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, _)) => {
                let written = stdout.write_all(&buffer[..bytes]).and_then(|()| stdout.flush());
                written.map_err(|error| Failure::output(&error))?;
                activity.note();
                refusals.refused.store(0, Ordering::Release);
            }
            Err(error) if is_timeout(&error) => {
                if session.is_idle(activity) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                refusals.note(session);
            }
            Err(error) => return Err(Failure::doing("cannot receive", &host::plain(&error))),
        }
        if refusals.are_final() {
            let error = io::Error::from(rustix::io::Errno::CONNREFUSED);
            return Err(cannot_send(session, &error));
        }
    }
    Ok(())
}
