//! Data of streams: partial reads and writes, peek, half-close.

use std::net::Shutdown;

use libnet::Ready;
use libnet::socket::SocketOption;

use crate::semantics::net::{How, Side};
use crate::semantics::run::S;
use crate::semantics::{Case, case};

/// Sends byte after byte, since a full stream may have room for a few: a send that is refused took
/// nothing.
fn send_until_refused(s: &S) -> std::io::Result<()> {
    loop {
        s.sock().send(b"x", How::Plain)?;
    }
}

pub(super) const CASES: &[Case] = &[
    case("bytes sent are received", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"hello");
        r.recv_all(&b, 5);
    }),
    case("a receive takes what fits and leaves the rest", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"hello");
        r.recv(&b, 2);
        r.recv(&b, 9);
    }),
    case("two sends may be received at once", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"he");
        r.send(&a, b"llo");
        r.recv_all(&b, 5);
    }),
    case("a receive into no room gives nothing and takes nothing", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"x");
        r.arrives(&b);
        r.recv(&b, 0);
        r.recv(&b, 1);
    }),
    case("a receive into no room of an idle stream waits", |r| {
        let (a, b) = r.pair();
        let got = r.meanwhile(
            || b.sock().recv(&mut [], How::Plain).map(|got| got.bytes),
            |r| r.send(&a, b"x"),
        );
        r.result(&b, "blocked recv", got);
        r.recv(&b, 8);
    }),
    case("a send of nothing is nothing", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"");
        r.nonblocking(&b);
        r.recv(&b, 1);
    }),
    case("a non-blocking receive of nothing would block", |r| {
        let (_a, b) = r.pair();
        r.nonblocking(&b);
        r.recv(&b, 8);
    }),
    case("peek leaves what it shows", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"peek");
        r.peek(&b, 4);
        r.peek(&b, 2);
        r.recv(&b, 4);
    }),
    case("peek waits as a receive does", |r| {
        let (a, b) = r.pair();
        let got = r.meanwhile(
            || b.sock().recv(&mut [0; 8], How::Peek).map(|got| got.bytes),
            |r| r.send(&a, b"late"),
        );
        r.result(&b, "blocked peek", got);
    }),
    case("a non-blocking peek of nothing would block", |r| {
        let (_a, b) = r.pair();
        r.nonblocking(&b);
        r.peek(&b, 8);
    }),
    case("peek at the end is the end, again and again", |r| {
        let (a, b) = r.pair();
        r.close(a);
        r.peek(&b, 8);
        r.peek(&b, 8);
        r.recv(&b, 8);
    }),
    case("a blocked receive ends when data come", |r| {
        let (a, b) = r.pair();
        let got = r.meanwhile(
            || b.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| r.send(&a, b"late"),
        );
        r.result(&b, "blocked recv", got);
    }),
    case("a blocked receive ends when the peer closes", |r| {
        let (a, b) = r.pair();
        let got = r.meanwhile(
            || b.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| r.close(a),
        );
        r.result(&b, "blocked recv", got);
    }),
    case("a blocked receive ends when its own side is shut down", |r| {
        let (_a, b) = r.pair();
        let got = r.meanwhile(
            || b.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| r.shutdown(&b, Shutdown::Read),
        );
        r.result(&b, "blocked recv", got);
    }),
    case("a blocked receive ends when the peer resets", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::ZERO)));
        let got = r.meanwhile(
            || b.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| r.close(a),
        );
        r.result(&b, "blocked recv", got.map_err(|_| std::io::ErrorKind::Other.into()));
    }),
    case("a non-blocking send takes what fits, then would block", |r| {
        let (a, _b) = r.pair();
        r.fill(&a);
        r.poll(&a, Ready::NONE);
    }),
    case("a full stream can be written to once its peer has read", |r| {
        let (a, b) = r.pair();
        let sent = r.fill(&a);
        r.drain(&b, sent);
        r.poll(&a, Ready::WRITABLE);
        r.send(&a, b"more");
        r.recv_all(&b, 4);
    }),
    case("a blocked send ends when its peer has read", |r| {
        let (a, b) = r.pair();
        let sent = r.fill(&a);
        a.sock().set_nonblocking(false).expect("a mode");
        // More than the little room that a full stream may still have.
        let more = vec![b'm'; 1 << 20];
        let all = sent + more.len();
        let more = r.meanwhile(|| a.sock().send(&more, How::Plain), |r| r.drain(&b, all));
        r.result(&a, "blocked send", more);
    }),
    case("a blocking send larger than every buffer takes all of it", |r| {
        let (a, b) = r.pair();
        let big = vec![b'x'; 20 << 20];
        let sent = r.meanwhile(|| a.sock().send(&big, How::Plain), |r| r.drain(&b, 20 << 20));
        r.result(&a, "one send", sent);
    }),
    case("a blocked send that has taken a part tells the part when the peer resets", |r| {
        let (a, b) = r.pair();
        let big = vec![b'x'; 64 << 20];
        let sent = r.meanwhile(|| a.sock().send(&big, How::Plain), |r| r.close(b));
        r.result(&a, "one send took a part", sent.map(|n| n > 0 && n < big.len()));
        r.send(&a, b"x");
        r.send(&a, b"x");
    }),
    case("a blocked send that has taken a part tells the part when its side is shut down", |r| {
        let (a, _b) = r.pair();
        let big = vec![b'x'; 64 << 20];
        let sent =
            r.meanwhile(|| a.sock().send(&big, How::Plain), |r| r.shutdown(&a, Shutdown::Write));
        r.result(&a, "one send took a part", sent.map(|n| n > 0 && n < big.len()));
        r.send(&a, b"x");
    }),
    case("a blocked send ends when the peer resets", |r| {
        let (a, b) = r.pair();
        r.fill(&a);
        a.sock().set_nonblocking(false).expect("a mode");
        let sent = r.meanwhile(|| send_until_refused(&a), |r| r.close(b));
        r.result(&a, "blocked send", sent);
    }),
    case("a blocked send ends when its own side is shut down", |r| {
        let (a, _b) = r.pair();
        r.fill(&a);
        a.sock().set_nonblocking(false).expect("a mode");
        let sent = r.meanwhile(|| send_until_refused(&a), |r| r.shutdown(&a, Shutdown::Write));
        r.result(&a, "blocked send", sent);
    }),
    case("half-close: the end follows what was sent", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"last");
        r.shutdown(&a, Shutdown::Write);
        r.recv_all(&b, 4);
        r.recv(&b, 8);
        r.recv(&b, 8);
    }),
    case("half-close: the other direction stays open", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.recv(&b, 8);
        r.send(&b, b"still");
        r.recv_all(&a, 5);
    }),
    case("half-close: a send after it is a broken pipe", |r| {
        let (a, _b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.send(&a, b"x");
        r.send(&a, b"");
        r.error(&a);
    }),
    case("half-close: a second one changes nothing", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.shutdown(&a, Shutdown::Write);
        r.recv(&b, 8);
    }),
    case("half-close from both sides ends the connection", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.recv(&b, 8);
        r.shutdown(&b, Shutdown::Write);
        r.recv(&a, 8);
        r.poll(&b, Ready::HANGUP);
        r.poll(&a, Ready::HANGUP);
    }),
    case("a receive after the own shutdown is the end", |r| {
        let (a, _b) = r.pair();
        r.shutdown(&a, Shutdown::Read);
        r.recv(&a, 8);
        r.recv(&a, 8);
    }),
    case("data that came before the own shutdown can be received", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"before");
        r.arrives(&b);
        r.shutdown(&b, Shutdown::Read);
        r.recv(&b, 8);
        r.recv(&b, 8);
    }),
    case("data that come after the own shutdown for reading", |r| {
        let (a, b) = r.pair();
        r.shutdown(&b, Shutdown::Read);
        r.send(&a, b"after");
        r.send(&b, b"ok");
        r.recv_all(&a, 2);
        r.recv(&b, 8);
    }),
    case("a shutdown for reading does not stop sending", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Read);
        r.send(&a, b"on");
        r.recv_all(&b, 2);
    }),
    case("a shutdown of both directions ends both", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Both);
        r.recv(&a, 8);
        r.send(&a, b"x");
        r.recv(&b, 8);
        r.poll(&a, Ready::READ_CLOSED);
    }),
    case("a shutdown of a fresh stream is not connected", |r| {
        let a = r.tcp("a", Side::A);
        r.shutdown(&a, Shutdown::Both);
    }),
    case("a send of a stream to an address ignores it", |r| {
        let (a, b) = r.pair();
        let elsewhere = r.closed_tcp();
        r.send_to(&a, b"to", elsewhere);
        r.recv_all(&b, 2);
    }),
    case("a receive of a stream tells no sender", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"who");
        r.recv(&b, 3);
    }),
];
