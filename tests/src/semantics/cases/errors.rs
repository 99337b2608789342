//! Errors of calls that cannot be, and which of two comes first.

use std::net::{Ipv6Addr, Shutdown, SocketAddr};

use libnet::socket::{OptionKey, SockType, SocketOption};

use crate::semantics::net::{How, Side};
use crate::semantics::{Case, case, four_case};

pub(super) const CASES: &[Case] = &[
    case("a send of a fresh stream is a broken pipe", |r| {
        let a = r.tcp("a", Side::A);
        r.send(&a, b"x");
        r.send(&a, b"");
    }),
    case("a send to an address of a fresh stream is a broken pipe", |r| {
        let (a, to) = (r.tcp("a", Side::A), r.closed_tcp());
        r.send_to(&a, b"x", to);
    }),
    case("a receive of a fresh stream is not connected", |r| {
        let a = r.tcp("a", Side::A);
        r.recv(&a, 8);
        r.recv(&a, 0);
        r.peek(&a, 8);
    }),
    case("a bound stream is not connected", |r| {
        let a = r.tcp_bound(Side::A);
        r.recv(&a, 8);
        r.send(&a, b"x");
        r.peer(&a);
        r.shutdown(&a, Shutdown::Read);
    }),
    case("a fresh socket has no error", |r| {
        let (t, u) = (r.tcp("t", Side::A), r.udp("u", Side::A));
        r.error(&t);
        r.error(&u);
    }),
    case("a fresh socket has no peer", |r| {
        let (t, u) = (r.tcp("t", Side::A), r.udp("u", Side::A));
        r.peer(&t);
        r.peer(&u);
    }),
    case("a raw socket wants a protocol", |r| {
        let net = r.net();
        let raw = net.socket(Side::A, SockType::Raw);
        let text = raw.map_or_else(|e| crate::semantics::run::name_of(&e), |_| "ok".into());
        r.note(format!("raw socket of protocol zero -> {text}"));
    }),
    case("a second bind to a foreign address tells the address first", |r| {
        let a = r.tcp_bound(Side::A);
        r.bind(&a, SocketAddr::from(([192, 0, 2, 1], 0)));
    }),
    case("a bind of a datagram socket with a bad address tells that first", |r| {
        let a = r.udp_at("a", Side::A);
        r.bind(&a, SocketAddr::from(([192, 0, 2, 1], 0)));
    }),
    four_case("a connect of a connected stream to a bad family", |r| {
        let (a, _b) = r.pair();
        r.connect(&a, SocketAddr::from((Ipv6Addr::LOCALHOST, 9)));
    }),
    case("a send after the own shutdown on a reset connection", |r| {
        let (a, b) = r.pair();
        r.shutdown(&b, Shutdown::Write);
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::ZERO)));
        r.close(a);
        r.poll(&b, libnet::Ready::ERROR);
        r.send(&b, b"x");
        r.send(&b, b"x");
    }),
    case("a send of too many bytes after a datagram socket's shutdown", |r| {
        let (a, _b) = r.udp_pair();
        r.shutdown(&a, Shutdown::Write);
        r.send(&a, &[0; 70_000]);
    }),
    case("a send to port zero of a datagram socket that was shut down", |r| {
        let (a, _b) = r.udp_pair();
        r.shutdown(&a, Shutdown::Write);
        r.send_to(&a, b"x", r.any_port(Side::B));
    }),
    four_case("a send to a bad family of a datagram socket without a peer", |r| {
        let a = r.udp("a", Side::A);
        r.send_to(&a, b"x", SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
    }),
    case("a receive into no room of a datagram socket with an error", |r| {
        let (to, a) = (r.closed_udp(), r.udp_at("a", Side::A));
        r.connect(&a, to);
        r.send(&a, b"x");
        r.poll(&a, libnet::Ready::ERROR);
        r.recv(&a, 0);
        r.error(&a);
    }),
    case("a send of nothing takes a pending error", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::ZERO)));
        r.close(a);
        r.poll(&b, libnet::Ready::ERROR);
        r.send(&b, b"");
        r.error(&b);
    }),
    case("a receive into no room leaves a stream's error", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger(Some(std::time::Duration::ZERO)));
        r.close(a);
        r.poll(&b, libnet::Ready::ERROR);
        r.recv(&b, 0);
        r.error(&b);
    }),
    case("options of a socket with an error can be read", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.connect(&a, to);
        r.get(&a, OptionKey::NoDelay);
        r.set(&a, SocketOption::NoDelay(true));
        r.get(&a, OptionKey::NoDelay);
    }),
    case("a listen on a port where another listens is in use", |r| {
        let one = r.tcp("one", Side::B);
        r.set(&one, SocketOption::ReuseAddr(true));
        r.bind(&one, r.any_port(Side::B));
        let two = r.tcp("two", Side::B);
        r.set(&two, SocketOption::ReuseAddr(true));
        r.bind(&two, one.addr());
        r.listen(&two, 1);
        r.listen(&one, 1);
        let got = one.sock().accept().map(|_| ());
        r.result(&one, "accept", got);
    }),
    case("a send of an unreachable datagram is refused at once", |r| {
        let a = r.udp_at("a", Side::A);
        let sent = a.sock().send(b"x", How::Plain);
        r.result(&a, "send without a peer", sent);
    }),
];
