//! Time-outs, by their outcome.

use std::time::Duration;

use libnet::Ready;
use libnet::socket::SocketOption;

use crate::semantics::net::{How, Side};
use crate::semantics::{Case, case};

/// Short: it is to pass.
const SHORT: Option<Duration> = Some(Duration::from_millis(40));

pub(super) const CASES: &[Case] = &[
    case("a receive that times out would block", |r| {
        let (_a, b) = r.pair();
        b.sock().set_read_timeout(SHORT).expect("a time-out");
        r.recv(&b, 8);
        r.error(&b);
    }),
    case("a receive into no room that times out", |r| {
        let (_a, b) = r.pair();
        b.sock().set_read_timeout(SHORT).expect("a time-out");
        r.recv(&b, 0);
    }),
    case("a peek that times out would block", |r| {
        let (_a, b) = r.pair();
        b.sock().set_read_timeout(SHORT).expect("a time-out");
        r.peek(&b, 8);
    }),
    case("a receive of a datagram that times out would block", |r| {
        let a = r.udp_at("a", Side::A);
        a.sock().set_read_timeout(SHORT).expect("a time-out");
        r.recv(&a, 8);
    }),
    case("an accept that times out would block", |r| {
        let l = r.listener(8);
        l.sock().set_read_timeout(SHORT).expect("a time-out");
        r.accept(&l);
    }),
    case("a send that times out would block", |r| {
        let (a, _b) = r.pair();
        r.fill(&a);
        a.sock().set_nonblocking(false).expect("a mode");
        a.sock().set_write_timeout(SHORT).expect("a time-out");
        // A full stream may have room for a few bytes.
        let sent = std::iter::repeat_with(|| a.sock().send(b"x", How::Plain));
        let refused = sent.take(1 << 20).find(Result::is_err).unwrap_or(Ok(1));
        r.result(&a, "send", refused);
        r.error(&a);
    }),
    case("a send that times out after a part tells the part", |r| {
        let (a, _b) = r.pair();
        a.sock().set_write_timeout(SHORT).expect("a time-out");
        let big = vec![b'x'; 64 << 20];
        let sent = a.sock().send(&big, How::Plain);
        r.result(&a, "one send took a part", sent.map(|n| n > 0 && n < big.len()));
    }),
    case("a connect that times out is in progress", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        a.sock().set_write_timeout(SHORT).expect("a time-out");
        r.connect(&a, to);
        r.error(&a);
        r.connect(&a, to);
    }),
    case("a connect without an answer within the user timeout times out", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.set(&a, SocketOption::UserTimeout(Duration::from_millis(300)));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.poll(&a, Ready::ERROR);
        r.error(&a);
    }),
    case("a time-out does not end the connection", |r| {
        let (a, b) = r.pair();
        b.sock().set_read_timeout(SHORT).expect("a time-out");
        r.recv(&b, 8);
        r.send(&a, b"x");
        r.arrives(&b);
        r.recv(&b, 8);
    }),
    case("a time-out may be taken away", |r| {
        let (_a, b) = r.pair();
        b.sock().set_read_timeout(SHORT).expect("a time-out");
        let got = b.sock().read_timeout();
        r.result(&b, "time-out", got.map(|got| got.is_some()));
        b.sock().set_read_timeout(None).expect("a time-out");
        let got = b.sock().read_timeout();
        r.result(&b, "time-out", got);
    }),
    case("an accepted connection inherits no read time-out", |r| {
        let l = r.listener(8);
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        let (b, _) = l.sock().accept().expect("one waits");
        r.note(format!("time-out: {:?}", b.read_timeout().is_ok_and(|t| t.is_some())));
    }),
];
