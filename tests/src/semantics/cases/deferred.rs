//! `TCP_DEFER_ACCEPT`: connections that wait to be accepted until data have come.

use std::net::Shutdown;
use std::time::Duration;

use libnet::Ready;
use libnet::socket::{OptionKey, SocketOption};

use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case};

pub(super) const CASES: &[Case] = &[
    case("a wait for data is rounded up to the times of repetitions", |r| {
        let l = r.tcp("l", Side::B);
        r.get(&l, OptionKey::DeferAccept);
        for seconds in [1, 2, 3, 4, 7, 8, 60, 120, 1_000, 20_000, 1_000_000, 0] {
            r.set(&l, SocketOption::DeferAccept(Duration::from_secs(seconds)));
            r.get(&l, OptionKey::DeferAccept);
        }
    }),
    case("a datagram socket cannot wait for data to be accepted", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::DeferAccept(Duration::from_secs(1)));
        r.get(&a, OptionKey::DeferAccept);
    }),
    case("a connected stream keeps a wait for data", |r| {
        let (a, b) = r.pair();
        for s in [&a, &b] {
            r.set(s, SocketOption::DeferAccept(Duration::from_secs(1)));
            r.get(s, OptionKey::DeferAccept);
        }
        r.send(&a, b"x");
        r.arrives(&b);
        r.recv(&b, 8);
    }),
    case("a connection without data is not to be accepted yet", |r| {
        let (l, a) = (patient(r, 60), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.poll(&a, Ready::WRITABLE);
        r.nonblocking(&l);
        r.accept(&l);
        r.poll(&l, Ready::NONE);
    }),
    case("a connection is accepted when its data have come", |r| {
        let (l, a) = (patient(r, 60), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.edge(&l, Ready::READABLE, |r| r.send(&a, b"here"));
        r.poll(&l, Ready::READABLE);
        let Some(b) = r.accept(&l) else { return };
        r.poll(&b, Ready::READABLE | Ready::WRITABLE);
        r.recv(&b, 8);
        r.get(&b, OptionKey::DeferAccept);
    }),
    case("a blocked accept ends when data have come", |r| {
        let (l, a) = (patient(r, 60), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        let got = r.meanwhile(|| l.sock().accept().map(|_| ()), |r| r.send(&a, b"here"));
        r.result(&l, "blocked accept", got);
    }),
    case("who sends first is accepted before who connected first", |r| {
        let (l, a, c) = (patient(r, 60), r.tcp("a", Side::A), r.tcp("c", Side::A));
        r.connect(&a, l.addr());
        r.connect(&c, l.addr());
        r.send(&c, b"c");
        r.poll(&l, Ready::READABLE);
        r.send(&a, b"a");
        for _ in 0..2 {
            let Some(b) = r.accept(&l) else { return };
            r.recv(&b, 8);
        }
    }),
    case("a connection that ends without data is accepted, and is at its end", |r| {
        let (l, a) = (patient(r, 60), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.shutdown(&a, Shutdown::Write);
        let Some(b) = r.accept(&l) else { return };
        r.recv(&b, 8);
        r.send(&b, b"still");
        r.arrives(&a);
        r.recv(&a, 8);
    }),
    case("a connection that is reset without data is never accepted", |r| {
        let (l, a) = (patient(r, 60), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.set(&a, SocketOption::Linger(Some(Duration::ZERO)));
        r.close(a);
        let c = r.tcp("c", Side::A);
        r.connect(&c, l.addr());
        r.send(&c, b"other");
        if let Some(b) = r.accept(&l) {
            r.recv(&b, 8);
        }
        r.nonblocking(&l);
        r.accept(&l);
    }),
    case("a connection without data is accepted when its time is over", |r| {
        let (l, a) = (patient(r, 1), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        let Some(b) = r.accept(&l) else { return };
        r.send(&b, b"you first");
        r.arrives(&a);
        r.recv(&a, 16);
    }),
    case("a wait for data that is taken away lets the next connection in", |r| {
        let (l, a, c) = (patient(r, 60), r.tcp("a", Side::A), r.tcp("c", Side::A));
        r.connect(&a, l.addr());
        r.connect(&c, l.addr());
        // It comes after all that the first one has sent.
        r.send(&c, b"c");
        r.accept(&l);
        r.set(&l, SocketOption::DeferAccept(Duration::ZERO));
        let d = r.tcp("d", Side::A);
        r.connect(&d, l.addr());
        r.accept(&l);
        r.nonblocking(&l);
        r.accept(&l);
    }),
    case("a connect of a stream with a wait for data is like any other", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.set(&a, SocketOption::DeferAccept(Duration::from_secs(60)));
        r.connect(&a, l.addr());
        r.send(&a, b"data");
        let Some(b) = r.accept(&l) else { return };
        r.arrives(&b);
        r.recv(&b, 8);
    }),
    case("a listener that is closed resets who waits without data", |r| {
        let (l, a) = (patient(r, 60), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.close(l);
        r.send(&a, b"too late");
        r.poll(&a, Ready::HANGUP);
        r.error(&a);
    }),
];

/// A listener that waits for data.
fn patient(r: &mut Run<'_>, seconds: u64) -> S {
    let l = r.listener(8);
    let wait = SocketOption::DeferAccept(Duration::from_secs(seconds));
    l.sock().set(wait).expect("a listener waits");
    l
}
