//! What cannot be reached: no route, one that refuses, one that drops.

use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use libnet::Ready;
use libnet::socket::SocketOption;

use crate::semantics::net::Side;
use crate::semantics::{Case, Run, case, closed_case};

/// Without a route. Source: RFC 5737 §3, as the two below.
const NOWHERE: [u8; 4] = [192, 0, 2, 1];
const REFUSED: [u8; 4] = [198, 51, 100, 1];
const DROPPED: [u8; 4] = [203, 0, 113, 1];

fn at(ip: [u8; 4]) -> SocketAddr {
    SocketAddr::from((ip, 9))
}

/// A stream that fails to connect, and what it is good for afterwards.
fn stream_fails(r: &mut Run<'_>, ip: [u8; 4]) {
    let (l, a) = (r.listener(8), r.tcp("a", Side::A));
    r.connect(&a, at(ip));
    r.error(&a);
    r.peer(&a);
    r.recv(&a, 8);
    r.poll(&a, Ready::HANGUP);
    r.connect(&a, l.addr());
}

/// A datagram socket that cannot send, and what it is good for afterwards.
fn datagram_fails(r: &mut Run<'_>, ip: [u8; 4]) {
    let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
    r.send_to(&a, b"x", at(ip));
    r.error(&a);
    r.poll(&a, Ready::WRITABLE);
    r.send_to(&a, b"y", b.addr());
    r.recv(&b, 8);
}

/// A datagram socket that cannot connect.
fn peer_fails(r: &mut Run<'_>, ip: [u8; 4]) {
    let a = r.udp("a", Side::A);
    r.connect(&a, at(ip));
    r.peer(&a);
    r.error(&a);
    r.send(&a, b"x");
}

pub(super) const CASES: &[Case] = &[
    closed_case("a connect without a route fails at once", |r| stream_fails(r, NOWHERE)),
    closed_case("a connect by a route that refuses fails at once", |r| stream_fails(r, REFUSED)),
    closed_case("a connect by a route that drops fails at once", |r| stream_fails(r, DROPPED)),
    closed_case("a non-blocking connect without a route fails at once", |r| {
        let a = r.tcp("a", Side::A);
        r.nonblocking(&a);
        r.connect(&a, at(NOWHERE));
        r.error(&a);
    }),
    closed_case("a bound stream connects without a route", |r| {
        let a = r.tcp_bound(Side::A);
        r.connect(&a, at(NOWHERE));
        r.bind(&a, r.any_port(Side::A));
    }),
    closed_case("a datagram without a route fails", |r| datagram_fails(r, NOWHERE)),
    closed_case("a datagram by a route that refuses fails", |r| datagram_fails(r, REFUSED)),
    closed_case("a datagram by a route that drops fails", |r| datagram_fails(r, DROPPED)),
    closed_case("a datagram socket's connect without a route fails", |r| peer_fails(r, NOWHERE)),
    closed_case("a datagram socket's connect by a route that refuses fails", |r| {
        peer_fails(r, REFUSED);
    }),
    closed_case("a datagram socket's connect by a route that drops fails", |r| {
        peer_fails(r, DROPPED);
    }),
    closed_case("a connect that fails leaves a datagram socket's peer", |r| {
        let (a, b) = r.udp_pair();
        r.connect(&a, at(NOWHERE));
        r.send(&a, b"x");
        r.poll(&b, Ready::READABLE);
        r.peer(&a);
        r.send_to(&a, b"y", at(NOWHERE));
        r.send(&a, b"z");
    }),
    closed_case("a send without a route takes the pending error first", |r| {
        let (to, a) = (r.closed_udp(), r.udp_at("a", Side::A));
        r.connect(&a, to);
        r.send(&a, b"x");
        r.poll(&a, Ready::ERROR);
        r.send_to(&a, b"y", at(NOWHERE));
        r.send_to(&a, b"y", at(NOWHERE));
    }),
    case("a peer that takes no more ends a connection with a user timeout", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::UserTimeout(std::time::Duration::from_millis(300)));
        r.fill(&a);
        r.poll(&a, Ready::ERROR);
        r.error(&a);
        r.hold(b);
    }),
    case("a close that lingers waits for its peer", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::from_secs(2))));
        let sent = r.fill(&a);
        a.sock().set_nonblocking(false).expect("a mode");
        r.meanwhile(|| drop(a), |r| r.drain(&b, sent));
        r.recv(&b, 8);
    }),
    case("a close that lingers too long drops nothing that can still be sent", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::from_secs(1))));
        let sent = r.fill(&a);
        a.sock().set_nonblocking(false).expect("a mode");
        r.close(a);
        r.drain(&b, sent);
        r.recv(&b, 8);
    }),
    case("a backlog of four holds five connections", |r| {
        let l = r.listener(4);
        let clients: Vec<_> = (0..7).map(|_| r.tcp("client", Side::A)).collect();
        for (at, client) in clients.iter().enumerate() {
            if at >= 5 {
                r.nonblocking(client);
            }
            r.connect(client, l.addr());
        }
        for client in &clients[5..] {
            r.poll(client, Ready::NONE);
        }
        for _ in 0..5 {
            r.accept(&l);
        }
    }),
    case("half-closes in both directions at once end a connection", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"to b");
        r.send(&b, b"to a");
        r.shutdown(&a, Shutdown::Write);
        r.shutdown(&b, Shutdown::Write);
        r.recv_all(&a, 5);
        r.recv_all(&b, 5);
        r.poll(&a, Ready::HANGUP);
        r.poll(&b, Ready::HANGUP);
        r.error(&a);
    }),
    case("a blocked connect that is refused later", |r| {
        let to = r.silent_tcp();
        let a = r.tcp("a", Side::A);
        let refused = r.meanwhile(|| a.sock().connect(to), Run::release);
        r.result(&a, "blocked connect", refused);
        r.recv(&a, 8);
    }),
    case("a datagram to the unspecified address is one to this host", |r| {
        let u = r.udp("u", Side::A);
        r.bind(&u, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let a = r.udp("a", Side::A);
        r.send_to(&a, b"x", SocketAddr::from((Ipv4Addr::UNSPECIFIED, u.addr().port())));
        r.poll(&u, Ready::READABLE);
    }),
];
