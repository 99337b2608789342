//! Readiness: levels as `poll` shows them, edges as `epoll` does.

use std::net::Shutdown;

use libnet::Ready;
use libnet::socket::SocketOption;

use crate::semantics::net::Side;
use crate::semantics::{Case, case};

pub(super) const CASES: &[Case] = &[
    case("a fresh stream polls as hung up and writable", |r| {
        let a = r.tcp("a", Side::A);
        r.poll(&a, Ready::HANGUP);
    }),
    case("a bound stream polls as hung up and writable", |r| {
        let a = r.tcp_bound(Side::A);
        r.poll(&a, Ready::HANGUP);
    }),
    case("an idle connection is writable alone", |r| {
        let (a, b) = r.pair();
        r.poll(&a, Ready::WRITABLE);
        r.poll(&b, Ready::WRITABLE);
    }),
    case("a level stays until everything is received", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"ab");
        r.poll(&b, Ready::READABLE);
        r.recv(&b, 1);
        r.poll(&b, Ready::READABLE);
        r.recv(&b, 1);
        r.poll(&b, Ready::WRITABLE);
    }),
    case("a peek does not change the level", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"ab");
        r.poll(&b, Ready::READABLE);
        r.peek(&b, 2);
        r.poll(&b, Ready::READABLE);
    }),
    case("the peer's half-close is readable and read-closed", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.poll(&b, Ready::READ_CLOSED);
        r.recv(&b, 8);
        r.poll(&b, Ready::READ_CLOSED);
        r.poll(&a, Ready::WRITABLE);
    }),
    case("the own half-close leaves the socket writable", |r| {
        let (a, _b) = r.pair();
        r.shutdown(&a, Shutdown::Write);
        r.poll(&a, Ready::WRITABLE);
    }),
    case("the own shutdown for reading is readable and read-closed", |r| {
        let (a, _b) = r.pair();
        r.shutdown(&a, Shutdown::Read);
        r.poll(&a, Ready::READ_CLOSED);
    }),
    case("the own shutdown of both directions hangs up", |r| {
        let (a, b) = r.pair();
        r.shutdown(&a, Shutdown::Both);
        r.poll(&a, Ready::READ_CLOSED);
        r.poll(&b, Ready::READ_CLOSED);
    }),
    case("a reset polls as everything", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::ZERO)));
        r.close(a);
        r.poll(&b, Ready::ERROR);
    }),
    case("a full connection is not writable, and may be readable", |r| {
        let (a, b) = r.pair();
        // Before: while it is asked for, a receiver may find a little more room by tidying up.
        r.send(&b, b"x");
        r.arrives(&a);
        r.fill(&a);
        r.poll(&a, Ready::READABLE);
    }),
    case("a datagram socket's level stays until all are received", |r| {
        let (a, b) = r.udp_pair();
        r.send(&a, b"one");
        r.send(&a, b"two");
        r.poll(&b, Ready::READABLE);
        r.recv(&b, 8);
        r.poll(&b, Ready::READABLE);
        r.recv(&b, 8);
        r.poll(&b, Ready::WRITABLE);
    }),
    case("a datagram socket's pending error polls as such", |r| {
        let (to, a) = (r.closed_udp(), r.udp_at("a", Side::A));
        r.connect(&a, to);
        r.send(&a, b"x");
        r.poll(&a, Ready::ERROR);
        r.error(&a);
        r.poll(&a, Ready::WRITABLE);
    }),
    case("data give an edge", |r| {
        let (a, b) = r.pair();
        r.edge(&b, Ready::READABLE, |r| r.send(&a, b"x"));
    }),
    case("more data give another edge though the first were not received", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"x");
        r.arrives(&b);
        r.edge(&b, Ready::READABLE, |r| r.send(&a, b"y"));
        r.recv_all(&b, 2);
    }),
    case("the peer's half-close gives an edge", |r| {
        let (a, b) = r.pair();
        r.edge(&b, Ready::READABLE, |r| r.shutdown(&a, Shutdown::Write));
    }),
    case("the peer's half-close gives an edge to who waits for that alone", |r| {
        let (a, b) = r.pair();
        r.edge(&b, Ready::READ_CLOSED, |r| r.shutdown(&a, Shutdown::Write));
    }),
    case("a reset gives an edge to who waits for anything", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::ZERO)));
        r.edge(&b, Ready::READABLE, |r| r.close(a));
    }),
    case("a connection gives its listener an edge", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        let to = l.addr();
        r.edge(&l, Ready::READABLE, |r| {
            r.connect(&a, to);
        });
    }),
    case("a second connection gives its listener another edge", |r| {
        let (l, a, c) = (r.listener(8), r.tcp("a", Side::A), r.tcp("c", Side::A));
        let to = l.addr();
        r.connect(&a, to);
        r.arrives(&l);
        r.edge(&l, Ready::READABLE, |r| {
            r.connect(&c, to);
        });
    }),
    case("a connect that ends gives an edge", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.nonblocking(&a);
        let to = l.addr();
        r.edge(&a, Ready::WRITABLE, |r| {
            r.connect(&a, to);
        });
    }),
    case("a connect that is refused gives an edge", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.edge(&a, Ready::WRITABLE, |r| {
            r.connect(&a, to);
        });
    }),
    case("room gives an edge to a full sender", |r| {
        let (a, b) = r.pair();
        let sent = r.fill(&a);
        r.edge(&a, Ready::WRITABLE, |r| r.drain(&b, sent));
    }),
    case("a datagram gives an edge", |r| {
        let (a, b) = r.udp_pair();
        r.edge(&b, Ready::READABLE, |r| r.send(&a, b"x"));
    }),
    case("an empty datagram gives an edge", |r| {
        let (a, b) = r.udp_pair();
        r.edge(&b, Ready::READABLE, |r| r.send(&a, b""));
    }),
    case("a datagram socket's error gives an edge", |r| {
        let (to, a) = (r.closed_udp(), r.udp_at("a", Side::A));
        r.connect(&a, to);
        r.edge(&a, Ready::READABLE, |r| r.send(&a, b"x"));
    }),
    case("a shutdown gives an edge to the own waiter", |r| {
        let (a, _b) = r.pair();
        r.edge(&a, Ready::READABLE, |r| r.shutdown(&a, Shutdown::Read));
    }),
];
