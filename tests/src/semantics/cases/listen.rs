//! Listening and accepting: who may, how many wait, what a listener's end does.

use std::net::Shutdown;

use libnet::Ready;
use libnet::socket::{OptionKey, SocketOption};

use crate::semantics::net::{How, Side};
use crate::semantics::{Case, case};

pub(super) const CASES: &[Case] = &[
    case("a listener polls readable when a connection waits", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.poll(&l, Ready::NONE);
        r.connect(&a, l.addr());
        r.poll(&l, Ready::READABLE);
        let _b = r.accept(&l);
        r.poll(&l, Ready::NONE);
    }),
    case("a non-blocking accept without a connection would block", |r| {
        let l = r.listener(8);
        r.nonblocking(&l);
        r.accept(&l);
    }),
    case("an accept of a socket that does not listen is invalid", |r| {
        let a = r.tcp("a", Side::A);
        r.accept(&a);
        r.bind(&a, r.any_port(Side::A));
        r.accept(&a);
    }),
    case("an accept of a connected socket is invalid", |r| {
        let (a, _b) = r.pair();
        r.accept(&a);
    }),
    case("an accept of a datagram socket is not supported", |r| {
        let a = r.udp_at("a", Side::A);
        r.accept(&a);
    }),
    case("a listen of a datagram socket is not supported", |r| {
        let a = r.udp_at("a", Side::A);
        r.listen(&a, 8);
    }),
    case("a listen of a connected socket is invalid", |r| {
        let (a, _b) = r.pair();
        r.listen(&a, 8);
    }),
    case("a second listen is fine", |r| {
        let l = r.listener(8);
        r.listen(&l, 4);
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        r.accept(&l);
    }),
    case("a listen without bind takes any port of all addresses", |r| {
        let l = r.tcp("l", Side::B);
        r.listen(&l, 8);
        r.local(&l);
        let a = r.tcp("a", Side::A);
        let to = std::net::SocketAddr::new(r.any_port(Side::B).ip(), l.addr().port());
        r.connect(&a, to);
    }),
    case("connections are accepted in their order", |r| {
        let l = r.listener(8);
        let (a, c) = (r.tcp("a", Side::A), r.tcp("c", Side::A));
        r.connect(&a, l.addr());
        r.connect(&c, l.addr());
        r.local(&a);
        r.local(&c);
        let first = r.accept(&l);
        let second = r.accept(&l);
        first.iter().chain(&second).for_each(|s| r.peer(s));
    }),
    case("an accepted connection has the listener's address", |r| {
        let (a, b, l) = r.pair_of_listener();
        r.local(&l);
        r.local(&b);
        r.peer(&b);
        r.local(&a);
    }),
    case("a listener on the wildcard gives the address that was called", |r| {
        let l = r.tcp("l", Side::B);
        r.bind(&l, std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
        r.listen(&l, 8);
        let a = r.tcp("a", Side::A);
        let to = std::net::SocketAddr::new(r.any_port(Side::B).ip(), l.addr().port());
        r.connect(&a, to);
        if let Some(b) = r.accept(&l) {
            r.local(&b);
        }
        r.local(&l);
    }),
    case("a listener has no peer", |r| {
        let l = r.listener(8);
        r.peer(&l);
    }),
    case("a send to a listener is a broken pipe", |r| {
        let l = r.listener(8);
        r.send(&l, b"x");
    }),
    case("a receive of a listener is not connected", |r| {
        let l = r.listener(8);
        r.recv(&l, 8);
    }),
    case("data sent before accept waits", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.send(&a, b"early");
        if let Some(b) = r.accept(&l) {
            r.recv_all(&b, 5);
        }
    }),
    case("a connection closed before accept is accepted and ended", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.send(&a, b"bye");
        r.close(a);
        if let Some(b) = r.accept(&l) {
            r.recv_all(&b, 8);
        }
    }),
    case("a connection reset before accept is accepted and reset", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::ZERO)));
        r.poll(&l, Ready::READABLE);
        r.close(a);
        if let Some(b) = r.accept(&l) {
            r.poll(&b, Ready::ERROR);
            r.recv(&b, 8);
            r.recv(&b, 8);
        }
    }),
    case("a backlog of zero holds one connection", |r| {
        let l = r.listener(0);
        let (a, c) = (r.tcp("a", Side::A), r.tcp("c", Side::A));
        r.connect(&a, l.addr());
        r.nonblocking(&c);
        r.connect(&c, l.addr());
        r.poll(&c, Ready::NONE);
    }),
    case("a backlog of one holds two connections", |r| {
        let l = r.listener(1);
        let (a, c, d) = (r.tcp("a", Side::A), r.tcp("c", Side::A), r.tcp("d", Side::A));
        r.connect(&a, l.addr());
        r.connect(&c, l.addr());
        r.nonblocking(&d);
        r.connect(&d, l.addr());
        r.poll(&d, Ready::NONE);
    }),
    case("an accept makes room in a full backlog", |r| {
        let l = r.listener(0);
        let (a, c) = (r.tcp("a", Side::A), r.tcp("c", Side::A));
        r.connect(&a, l.addr());
        r.nonblocking(&c);
        r.connect(&c, l.addr());
        r.accept(&l);
        r.poll(&c, Ready::WRITABLE);
        r.error(&c);
        r.accept(&l);
    }),
    case("a blocked connect ends when a full backlog gets room", |r| {
        let l = r.listener(0);
        let (a, c) = (r.tcp("a", Side::A), r.tcp("c", Side::A));
        r.connect(&a, l.addr());
        let to = l.addr();
        let done = r.meanwhile(|| c.sock().connect(to).is_ok(), |r| drop(r.accept(&l)));
        r.note(format!("c: connected {done}"));
    }),
    case("a listener that was closed refuses", |r| {
        let l = r.listener(8);
        let to = l.addr();
        r.close(l);
        let a = r.tcp("a", Side::A);
        r.connect(&a, to);
    }),
    case("a listener's close resets who waits in its backlog", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.poll(&l, Ready::READABLE);
        r.close(l);
        r.poll(&a, Ready::ERROR);
        r.recv(&a, 8);
        r.recv(&a, 8);
    }),
    case("a listener's close leaves accepted connections alone", |r| {
        let (a, b, l) = r.pair_of_listener();
        r.close(l);
        r.send(&a, b"on");
        r.recv_all(&b, 2);
    }),
    case("a listener that is shut down for reading listens no more", |r| {
        let l = r.listener(8);
        let to = l.addr();
        r.shutdown(&l, Shutdown::Read);
        r.accept(&l);
        r.poll(&l, Ready::HANGUP);
        let a = r.tcp("a", Side::A);
        r.connect(&a, to);
    }),
    case("a listener that is shut down for writing goes on", |r| {
        let l = r.listener(8);
        r.shutdown(&l, Shutdown::Write);
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        r.accept(&l);
    }),
    case("a listener that is shut down gives up a port that it had not asked for", |r| {
        let (l, m) = (r.listener(8), r.tcp("m", Side::B));
        r.shutdown(&l, Shutdown::Both);
        r.local(&l);
        r.bind(&m, l.addr());
    }),
    case("a listener that is shut down keeps the port that it had asked for", |r| {
        let (l, m) = (r.tcp("l", Side::B), r.tcp("m", Side::B));
        let port = r.free_tcp(Side::B);
        r.bind(&l, port);
        r.listen(&l, 8);
        r.shutdown(&l, Shutdown::Both);
        r.local(&l);
        r.bind(&m, port);
    }),
    case("a listener that is shut down may listen again", |r| {
        let l = r.listener(8);
        r.shutdown(&l, Shutdown::Both);
        r.listen(&l, 8);
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
    }),
    case("a second shutdown of a listener is not connected", |r| {
        let l = r.listener(8);
        r.shutdown(&l, Shutdown::Both);
        r.shutdown(&l, Shutdown::Both);
    }),
    case("a blocked accept ends when the listener is shut down", |r| {
        let l = r.listener(8);
        let got = r.meanwhile(|| l.sock().accept().map(|_| ()), |r| r.shutdown(&l, Shutdown::Both));
        r.result(&l, "blocked accept", got);
    }),
    case("a blocked accept ends when a connection comes", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        let to = l.addr();
        let got = r.meanwhile(
            || l.sock().accept().map(|_| ()),
            |r| {
                r.connect(&a, to);
            },
        );
        r.result(&l, "blocked accept", got);
    }),
    case("an accepted connection inherits options", |r| {
        let l = r.listener(8);
        r.set(&l, SocketOption::NoDelay(true));
        r.set(&l, SocketOption::KeepAlive(true));
        r.set(&l, SocketOption::Ttl(33));
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        if let Some(b) = r.accept(&l) {
            r.get(&b, OptionKey::NoDelay);
            r.get(&b, OptionKey::KeepAlive);
            r.get(&b, OptionKey::Ttl);
        }
    }),
    case("an accepted connection inherits linger", |r| {
        let l = r.listener(8);
        r.set(&l, SocketOption::Linger(Some(std::time::Duration::from_secs(3))));
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        if let Some(b) = r.accept(&l) {
            r.get(&b, OptionKey::Linger);
        }
    }),
    case("an accepted connection does not inherit the non-blocking mode", |r| {
        let l = r.listener(8);
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        r.poll(&l, Ready::READABLE);
        r.nonblocking(&l);
        let b = r.accept(&l).expect("one waits");
        let got = r.meanwhile(
            || b.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| r.send(&a, b"late"),
        );
        r.result(&b, "blocked recv", got);
    }),
];
