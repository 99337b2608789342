//! Closing: linger, resets while reading and writing, what the other end sees.

use std::net::Shutdown;
use std::time::Duration;

use libnet::Ready;
use libnet::socket::SocketOption;

use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case};

/// A connection whose end `b` was reset by its peer.
fn reset(r: &mut Run<'_>) -> S {
    let (a, b) = r.pair();
    abort(r, a);
    r.poll(&b, Ready::ERROR);
    b
}

fn abort(r: &mut Run<'_>, s: S) {
    r.set(&s, SocketOption::Linger(Some(Duration::ZERO)));
    r.close(s);
}

pub(super) const CASES: &[Case] = &[
    case("a close is the end to the peer", |r| {
        let (a, b) = r.pair();
        r.close(a);
        r.recv(&b, 8);
        r.poll(&b, Ready::READ_CLOSED);
    }),
    case("what was sent before a close is received", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"last words");
        r.close(a);
        r.recv_all(&b, 10);
        r.recv(&b, 8);
    }),
    case("a close with unread data resets", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"never read");
        r.arrives(&b);
        r.close(b);
        r.poll(&a, Ready::ERROR);
        r.recv(&a, 8);
        r.recv(&a, 8);
    }),
    case("a close with unread data resets a sender", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"never read");
        r.arrives(&b);
        r.close(b);
        r.poll(&a, Ready::ERROR);
        r.send(&a, b"x");
        r.send(&a, b"x");
    }),
    case("data sent to a closed peer reset the sender", |r| {
        let (a, b) = r.pair();
        r.close(b);
        r.poll(&a, Ready::READ_CLOSED);
        r.send(&a, b"x");
        r.poll(&a, Ready::ERROR);
        r.error(&a);
        r.send(&a, b"x");
    }),
    case("after the end, a reset by data is a broken pipe to the next send", |r| {
        let (a, b) = r.pair();
        r.close(b);
        r.recv(&a, 8);
        r.send(&a, b"x");
        r.poll(&a, Ready::ERROR);
        r.send(&a, b"x");
        r.send(&a, b"x");
        r.recv(&a, 8);
    }),
    case("after the end, a reset by data leaves the end to be read", |r| {
        let (a, b) = r.pair();
        r.close(b);
        r.poll(&a, Ready::READ_CLOSED);
        r.send(&a, b"x");
        r.poll(&a, Ready::ERROR);
        r.recv(&a, 8);
        r.recv(&a, 8);
        r.error(&a);
    }),
    case("a close with a linger of zero resets", |r| {
        let b = reset(r);
        r.recv(&b, 8);
    }),
    case("a reset is told to one receive, then the stream has ended", |r| {
        let b = reset(r);
        r.recv(&b, 8);
        r.recv(&b, 8);
        r.error(&b);
    }),
    case("a reset is told to one send, then the pipe is broken", |r| {
        let b = reset(r);
        r.send(&b, b"x");
        r.send(&b, b"x");
    }),
    case("a reset that SO_ERROR told is told once", |r| {
        let b = reset(r);
        r.error(&b);
        r.error(&b);
        r.recv(&b, 8);
        r.send(&b, b"x");
    }),
    case("a reset that peek told is told once", |r| {
        let b = reset(r);
        r.peek(&b, 8);
        r.peek(&b, 8);
    }),
    case("a reset connection has no peer", |r| {
        let b = reset(r);
        r.peer(&b);
        r.local(&b);
    }),
    case("a reset connection cannot be shut down", |r| {
        let b = reset(r);
        r.shutdown(&b, Shutdown::Write);
        r.shutdown(&b, Shutdown::Both);
    }),
    case("a reset connection polls as everything, error until it was told", |r| {
        let b = reset(r);
        r.error(&b);
        r.poll(&b, Ready::HANGUP);
    }),
    case("a reset connection may connect again once its error was told", |r| {
        let b = reset(r);
        let l = r.listener(8);
        r.error(&b);
        r.connect(&b, l.addr());
    }),
    case("a reset throws away what waits to be received", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"lost");
        r.arrives(&b);
        abort(r, a);
        r.poll(&b, Ready::ERROR);
        r.recv(&b, 8);
        r.recv(&b, 8);
    }),
    case("a reset after the end is not the end's undoing", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.recv(&b, 8);
        abort(r, a);
        r.poll(&b, Ready::ERROR);
        r.recv(&b, 8);
        r.error(&b);
    }),
    case("a reset after the end is a broken pipe to a send", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.recv(&b, 8);
        abort(r, a);
        r.poll(&b, Ready::ERROR);
        r.send(&b, b"x");
        r.send(&b, b"x");
    }),
    case("a reset after the own half-close", |r| {
        let (a, b) = r.pair();
        r.shutdown(&b, Shutdown::Write);
        r.recv(&a, 8);
        abort(r, a);
        r.poll(&b, Ready::ERROR);
        r.recv(&b, 8);
        r.recv(&b, 8);
    }),
    case("a reset after both half-closes", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.shutdown(&b, Shutdown::Write);
        r.recv(&a, 8);
        r.recv(&b, 8);
        abort(r, a);
        r.poll(&b, Ready::HANGUP);
        r.error(&b);
    }),
    case("a close with a linger of some time delivers what was sent", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(Duration::from_secs(2))));
        r.send(&a, b"last");
        r.close(a);
        r.recv_all(&b, 4);
        r.recv(&b, 8);
    }),
    case("a close with linger switched off again delivers what was sent", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(Duration::ZERO)));
        r.set(&a, SocketOption::Linger(None));
        r.send(&a, b"last");
        r.close(a);
        r.recv_all(&b, 4);
        r.recv(&b, 8);
    }),
    case("a close with a linger of zero drops what was not received", |r| {
        let (a, b) = r.pair();
        let _sent = r.fill(&a);
        abort(r, a);
        r.poll(&b, Ready::ERROR);
        r.recv(&b, 8);
    }),
    case("a close of a socket that connects gives no error to others", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.close(a);
    }),
    case("a peer that was closed hangs up once both have ended", |r| {
        let (a, b) = r.pair();
        r.close(a);
        r.recv(&b, 8);
        r.shutdown(&b, Shutdown::Write);
        r.gone(&b);
        r.poll(&b, Ready::HANGUP);
        r.peer(&b);
        r.shutdown(&b, Shutdown::Write);
    }),
    case("a connection that ended in order has no error", |r| {
        let (a, b) = r.pair();
        r.close(a);
        r.recv(&b, 8);
        r.shutdown(&b, Shutdown::Write);
        r.poll(&b, Ready::HANGUP);
        r.error(&b);
        r.recv(&b, 8);
        r.send(&b, b"x");
    }),
    case("a shutdown for reading, then a close with data unread, resets", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"unread");
        r.arrives(&b);
        r.shutdown(&b, Shutdown::Read);
        r.close(b);
        r.poll(&a, Ready::ERROR);
        r.recv(&a, 8);
    }),
    case("data after the peer's shutdown for reading and close reset", |r| {
        let (a, b) = r.pair();
        r.shutdown(&b, Shutdown::Both);
        r.close(b);
        r.recv(&a, 8);
        r.send(&a, b"x");
        r.poll(&a, Ready::ERROR);
        r.error(&a);
    }),
    case("a full sender hears of a reset", |r| {
        let (a, b) = r.pair();
        let _sent = r.fill(&a);
        r.close(b);
        r.poll(&a, Ready::ERROR);
        r.send(&a, b"x");
        r.send(&a, b"x");
        r.recv(&a, 8);
    }),
];
