//! Binding: conflicts with and without reuse, wildcard and specific, ephemeral ports.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use libnet::Ready;
use libnet::socket::SocketOption::{self, ReuseAddr, ReusePort};

use crate::semantics::net::Side;
use crate::semantics::run::{PATIENCE, S};
use crate::semantics::{Case, Run, case, four_case};

type Make = fn(&mut Run<'_>, &'static str, Side) -> S;

/// The wildcard with the port of another address.
fn any_with(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port())
}

/// Two sockets, the first bound to any port of side B.
fn two(r: &mut Run<'_>, make: Make) -> (S, S, SocketAddr) {
    two_with(r, make, [None, None])
}

/// Two sockets with an option set on each, of which the first is bound.
fn two_with(r: &mut Run<'_>, make: Make, options: [Option<SocketOption>; 2]) -> (S, S, SocketAddr) {
    let (one, two) = (make(r, "one", Side::B), make(r, "two", Side::B));
    for (s, option) in [&one, &two].into_iter().zip(options) {
        if let Some(option) = option {
            r.set(s, option);
        }
    }
    r.bind(&one, r.any_port(Side::B));
    let addr = one.addr();
    (one, two, addr)
}

/// Binds both of two sockets to one address.
fn share(r: &mut Run<'_>, make: Make, options: [Option<SocketOption>; 2]) {
    let (_one, two, addr) = two_with(r, make, options);
    r.bind(&two, addr);
}

fn tcp(r: &mut Run<'_>, name: &'static str, side: Side) -> S {
    r.tcp(name, side)
}

fn udp(r: &mut Run<'_>, name: &'static str, side: Side) -> S {
    r.udp(name, side)
}

pub(super) const CASES: &[Case] = &[
    case("a stream's port is bound once", |r| {
        let (_one, two, addr) = two(r, tcp);
        r.bind(&two, addr);
    }),
    case("a datagram socket's port is bound once", |r| {
        let (_one, two, addr) = two(r, udp);
        r.bind(&two, addr);
    }),
    case("a stream and a datagram socket share a port", |r| {
        let (_one, _, addr) = two(r, tcp);
        let u = r.udp("u", Side::B);
        r.bind(&u, addr);
    }),
    case("a stream bound to the wildcard conflicts with one address", |r| {
        let (_one, two, addr) = two(r, tcp);
        r.bind(&two, any_with(addr));
    }),
    case("a datagram socket bound to the wildcard conflicts with one address", |r| {
        let (_one, two, addr) = two(r, udp);
        r.bind(&two, any_with(addr));
    }),
    case("a stream bound to one address conflicts with the wildcard", |r| {
        let (one, two) = (r.tcp("one", Side::B), r.tcp("two", Side::B));
        r.bind(&one, any_with(r.any_port(Side::B)));
        let port = one.addr().port();
        r.bind(&two, SocketAddr::new(r.any_port(Side::B).ip(), port));
    }),
    case("streams share a port if both reuse addresses", |r| {
        share(r, tcp, [Some(ReuseAddr(true)), Some(ReuseAddr(true))]);
    }),
    case("streams do not share a port if the first reuses addresses alone", |r| {
        share(r, tcp, [Some(ReuseAddr(true)), None]);
    }),
    case("streams do not share a port if the second reuses addresses alone", |r| {
        share(r, tcp, [None, Some(ReuseAddr(true))]);
    }),
    case("a stream does not share a listener's port though both reuse addresses", |r| {
        let on = Some(ReuseAddr(true));
        let (one, two, addr) = two_with(r, tcp, [on.clone(), on]);
        r.listen(&one, 8);
        r.bind(&two, addr);
    }),
    case("one of two sharers listens", |r| {
        let on = Some(ReuseAddr(true));
        let (one, two, addr) = two_with(r, tcp, [on.clone(), on]);
        r.bind(&two, addr);
        r.listen(&one, 8);
        r.listen(&two, 8);
    }),
    case("a wildcard does not share a listener's port though both reuse addresses", |r| {
        let on = Some(ReuseAddr(true));
        let (one, two, addr) = two_with(r, tcp, [on.clone(), on]);
        r.listen(&one, 8);
        r.bind(&two, any_with(addr));
    }),
    case("streams share a port if both reuse ports", |r| {
        let on = Some(ReusePort(true));
        let (one, two, addr) = two_with(r, tcp, [on.clone(), on]);
        r.listen(&one, 8);
        r.bind(&two, addr);
        r.listen(&two, 8);
    }),
    case("listeners that share a port share its connections", |r| {
        let listeners = sharers(r);
        let to = listeners[0].addr();
        let mut callers = Vec::new();
        for _ in 0..40 {
            let a = r.tcp("a", Side::A);
            a.sock().connect(to).expect("a connection");
            callers.push(a);
        }
        let (mut taken, mut kept) = ([0; 2], Vec::new());
        listeners.iter().for_each(|l| r.nonblocking(l));
        let deadline = Instant::now() + PATIENCE;
        while taken.iter().sum::<usize>() < callers.len() && Instant::now() < deadline {
            for (l, taken) in listeners.iter().zip(&mut taken) {
                while let Ok((b, _)) = l.sock().accept() {
                    *taken += 1;
                    kept.push(b);
                }
            }
        }
        r.note(format!("both have some: {}", taken.iter().all(|n| *n > 0)));
        r.note(format!("all: {}", taken.iter().sum::<usize>()));
    }),
    case("what waits at one of two sharers is reset with it, and the other goes on", |r| {
        let listeners = sharers(r);
        let (to, a) = (listeners[0].addr(), r.tcp("a", Side::A));
        r.connect(&a, to);
        r.until(|| listeners.iter().any(has_some));
        let [one, two] = listeners;
        let (its, other) = if has_some(&one) { (one, two) } else { (two, one) };
        r.note("the listener whose connection waits: close");
        drop(its);
        r.poll(&a, Ready::HANGUP);
        r.error(&a);
        let c = r.tcp("c", Side::A);
        r.connect(&c, to);
        r.result(&other, "accept", other.sock().accept().map(|_| ()));
    }),
    case("streams do not share a port if one reuses ports alone", |r| {
        share(r, tcp, [Some(ReusePort(true)), None]);
    }),
    case("streams do not share a port by different options", |r| {
        share(r, tcp, [Some(ReusePort(true)), Some(ReuseAddr(true))]);
    }),
    case("datagram sockets share a port if both reuse addresses", |r| {
        share(r, udp, [Some(ReuseAddr(true)), Some(ReuseAddr(true))]);
    }),
    case("the last of datagram sockets that share a port gets what comes", |r| {
        let on = Some(ReuseAddr(true));
        let (one, two, addr) = two_with(r, udp, [on.clone(), on]);
        r.bind(&two, addr);
        let a = r.udp_at("a", Side::A);
        r.send_to(&a, b"whose", addr);
        r.poll(&two, Ready::READABLE);
        r.poll(&one, Ready::WRITABLE);
    }),
    case("datagram sockets do not share a port if the first reuses addresses alone", |r| {
        share(r, udp, [Some(ReuseAddr(true)), None]);
    }),
    case("datagram sockets do not share a port if the second reuses addresses alone", |r| {
        share(r, udp, [None, Some(ReuseAddr(true))]);
    }),
    case("datagram sockets share a port if both reuse ports", |r| {
        share(r, udp, [Some(ReusePort(true)), Some(ReusePort(true))]);
    }),
    case("a socket bound to one address hears no other", |r| {
        let (one, a) = (r.udp_at("one", Side::B), r.udp("a", Side::B));
        let other = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), one.addr().port());
        a.sock().connect(r.here(other)).expect("a datagram socket connects");
        r.send(&a, b"x");
        r.poll(&a, Ready::ERROR);
    }),
    case("a specific listener is preferred to the wildcard's", |r| {
        let on = Some(ReusePort(true));
        let (one, two, addr) = two_with(r, tcp, [on.clone(), on]);
        r.bind(&two, any_with(addr));
        r.listen(&one, 8);
        r.listen(&two, 8);
        let a = r.tcp("a", Side::A);
        r.connect(&a, addr);
        r.poll(&one, Ready::READABLE);
        r.poll(&two, Ready::NONE);
    }),
    case("a second bind of a stream is invalid", |r| {
        let (one, _two, _) = two(r, tcp);
        r.bind(&one, r.any_port(Side::B));
    }),
    case("a second bind of a datagram socket is invalid", |r| {
        let (one, _two, _) = two(r, udp);
        r.bind(&one, r.any_port(Side::B));
    }),
    case("a bind of a connected stream is invalid", |r| {
        let (a, _b) = r.pair();
        r.bind(&a, r.any_port(Side::A));
    }),
    case("a bind of a listener is invalid", |r| {
        let l = r.tcp("l", Side::B);
        r.listen(&l, 8);
        r.bind(&l, r.any_port(Side::B));
    }),
    case("a stream cannot be bound to a foreign address", |r| {
        let a = r.tcp("a", Side::A);
        r.bind(&a, SocketAddr::from(([192, 0, 2, 1], 0)));
        r.local(&a);
    }),
    case("a datagram socket cannot be bound to a foreign address", |r| {
        let a = r.udp("a", Side::A);
        r.bind(&a, SocketAddr::from(([192, 0, 2, 1], 0)));
        r.local(&a);
    }),
    four_case("a stream cannot be bound to the broadcast address", |r| {
        let a = r.tcp("a", Side::A);
        r.bind(&a, SocketAddr::from((Ipv4Addr::BROADCAST, 0)));
    }),
    four_case("a datagram socket may be bound to the broadcast address", |r| {
        let a = r.udp("a", Side::A);
        r.bind(&a, SocketAddr::from((Ipv4Addr::BROADCAST, 0)));
    }),
    case("a stream cannot be bound to a group", |r| {
        let a = r.tcp("a", Side::A);
        r.bind(&a, SocketAddr::from(([224, 0, 0, 1], 0)));
    }),
    case("a datagram socket may be bound to a group", |r| {
        let a = r.udp("a", Side::A);
        r.bind(&a, SocketAddr::from(([224, 0, 0, 1], 0)));
    }),
    four_case("a stream of IPv4 cannot be bound to an address of IPv6", |r| {
        let a = r.tcp("a", Side::A);
        r.bind(&a, SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
    }),
    four_case("a datagram socket of IPv4 cannot be bound to an address of IPv6", |r| {
        let a = r.udp("a", Side::A);
        r.bind(&a, SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
    }),
    case("a failed bind may be tried again", |r| {
        let (_one, two, addr) = two(r, tcp);
        r.bind(&two, addr);
        r.bind(&two, r.any_port(Side::B));
    }),
    case("a port is free again when its socket is closed", |r| {
        let (one, two, addr) = two(r, tcp);
        r.close(one);
        r.bind(&two, addr);
    }),
    case("a datagram port is free again when its socket is closed", |r| {
        let (one, two, addr) = two(r, udp);
        r.close(one);
        r.bind(&two, addr);
    }),
    case("any port is one above the reserved ones", |r| {
        let (one, two) = (r.tcp_bound(Side::A), r.udp_at("two", Side::A));
        let fits = |s: &S| s.addr().port() >= 1024;
        r.note(format!("stream {}, datagram {}", fits(&one), fits(&two)));
    }),
    case("a socket that was not bound has address and port zero", |r| {
        let (t, u) = (r.tcp("t", Side::A), r.udp("u", Side::A));
        r.local(&t);
        r.local(&u);
    }),
    case("a bind cannot take the port that accepted connections hold", |r| {
        let (a, b, l) = r.pair_of_listener();
        let addr = l.addr();
        r.close(l);
        let two = r.tcp("two", Side::B);
        r.bind(&two, addr);
        r.hold(a);
        r.hold(b);
    }),
    case("a bind that reuses addresses takes the port of accepted ones that do", |r| {
        let l = r.tcp("l", Side::B);
        r.set(&l, ReuseAddr(true));
        r.bind(&l, r.any_port(Side::B));
        r.listen(&l, 8);
        let (a, addr) = (r.tcp("a", Side::A), l.addr());
        r.connect(&a, addr);
        let b = r.accept(&l);
        r.close(l);
        let two = r.tcp("two", Side::B);
        r.set(&two, ReuseAddr(true));
        r.bind(&two, addr);
        r.listen(&two, 8);
        drop(b);
    }),
    case("a bind that reuses addresses cannot take the port of accepted ones that do not", |r| {
        let (a, b, l) = r.pair_of_listener();
        let addr = l.addr();
        r.close(l);
        let two = r.tcp("two", Side::B);
        r.set(&two, ReuseAddr(true));
        r.bind(&two, addr);
        r.hold(a);
        r.hold(b);
    }),
    case("a bind cannot take the port of a socket that connected from any port", |r| {
        let (a, b) = r.pair();
        let two = r.tcp("two", Side::A);
        r.bind(&two, a.addr());
        r.hold(b);
    }),
    case("a bind cannot take a port in TIME-WAIT", |r| {
        let (a, b, l) = r.pair_of_listener();
        let addr = l.addr();
        r.close(l);
        r.close(b);
        r.recv(&a, 8);
        r.close(a);
        let two = r.tcp("two", Side::B);
        r.bind(&two, addr);
    }),
    case("a bind that reuses addresses takes a port in TIME-WAIT of one that did", |r| {
        let l = r.tcp("l", Side::B);
        r.set(&l, ReuseAddr(true));
        r.bind(&l, r.any_port(Side::B));
        r.listen(&l, 8);
        let (a, addr) = (r.tcp("a", Side::A), l.addr());
        r.connect(&a, addr);
        let b = r.accept(&l);
        r.close(l);
        drop(b);
        r.recv(&a, 8);
        r.close(a);
        let two = r.tcp("two", Side::B);
        r.set(&two, ReuseAddr(true));
        r.bind(&two, addr);
        r.listen(&two, 8);
    }),
];

/// Two listeners of one port.
fn sharers(r: &mut Run<'_>) -> [S; 2] {
    let one = r.tcp("l", Side::B);
    let two = r.tcp("l", Side::B);
    let mut at = r.any_port(Side::B);
    for l in [&one, &two] {
        l.sock().set(SocketOption::ReusePort(true)).expect("an option of any stream");
        l.sock().bind(at).expect("a port");
        l.sock().listen(64).expect("a listener");
        at = l.addr();
    }
    [one, two]
}

fn has_some(l: &S) -> bool {
    l.sock().ready().is_ok_and(|ready| ready.contains(Ready::READABLE))
}
