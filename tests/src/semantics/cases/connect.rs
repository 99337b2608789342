//! Connecting streams: refused, silent, twice, to itself, from which address.

use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use libnet::Ready;

use crate::semantics::net::Side;
use crate::semantics::{Case, case, four_case};

pub(super) const CASES: &[Case] = &[
    case("a blocking connect to a listener ends well", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.error(&a);
        r.poll(&a, Ready::WRITABLE);
    }),
    case("a blocking connect to a closed port is refused", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.connect(&a, to);
    }),
    case("a refusal that connect told is not pending any more", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.connect(&a, to);
        r.error(&a);
        r.recv(&a, 8);
        r.send(&a, b"x");
    }),
    case("a refused socket polls as hung up and writable", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.connect(&a, to);
        r.poll(&a, Ready::HANGUP);
    }),
    case("a refused socket may connect again", |r| {
        let (to, l, a) = (r.closed_tcp(), r.listener(8), r.tcp("a", Side::A));
        r.connect(&a, to);
        r.connect(&a, l.addr());
    }),
    case("a refused socket has no peer", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.connect(&a, to);
        r.peer(&a);
    }),
    case("a non-blocking connect to a listener is in progress, then writable", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect_later(&a, l.addr());
    }),
    case("a non-blocking connect that was refused polls with an error", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.poll(&a, Ready::ERROR);
    }),
    case("SO_ERROR gives a non-blocking connect's refusal once", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.connect_later(&a, to);
        r.error(&a);
        r.poll(&a, Ready::HANGUP);
    }),
    case("a send takes a non-blocking connect's refusal", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.poll(&a, Ready::ERROR);
        r.send(&a, b"x");
        r.send(&a, b"x");
        r.error(&a);
    }),
    case("a receive takes a non-blocking connect's refusal", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.poll(&a, Ready::ERROR);
        r.recv(&a, 8);
        r.recv(&a, 8);
        r.error(&a);
    }),
    case("a second connect takes the first one's refusal", |r| {
        let (to, l, a) = (r.closed_tcp(), r.listener(8), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.poll(&a, Ready::ERROR);
        r.connect(&a, l.addr());
        r.connect_later(&a, l.addr());
    }),
    case("a connect after SO_ERROR told the refusal is aborted, the next one begins", |r| {
        let (to, l, a) = (r.closed_tcp(), r.listener(8), r.tcp("a", Side::A));
        r.connect_later(&a, to);
        r.connect(&a, l.addr());
        r.recv(&a, 8);
        r.connect_later(&a, l.addr());
    }),
    case("a connect during a connect is already under way", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.connect(&a, to);
    }),
    case("a silent peer leaves the socket ready for nothing", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.poll(&a, Ready::NONE);
        r.error(&a);
    }),
    case("a receive during a connect would block", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.recv(&a, 8);
    }),
    case("a send during a connect would block", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.send(&a, b"x");
    }),
    case("a socket that connects has a local address and no peer", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.local(&a);
        r.peer(&a);
    }),
    case("a socket that connects can be shut down", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.shutdown(&a, Shutdown::Write);
        r.poll(&a, Ready::HANGUP);
        r.error(&a);
        r.recv(&a, 8);
    }),
    case("a shutdown for reading during a connect", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.shutdown(&a, Shutdown::Read);
        r.recv(&a, 8);
    }),
    case("a second connect of a connected socket says so", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.connect(&a, l.addr());
    }),
    case("a non-blocking connect that has ended says that it is connected", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect_later(&a, l.addr());
        r.connect(&a, l.addr());
        r.connect(&a, l.addr());
    }),
    case("a non-blocking connect that ended well and was reset tells the reset", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect_later(&a, l.addr());
        let b = r.accept(&l);
        if let Some(b) = b {
            r.set(&b, libnet::socket::SocketOption::Linger(Some(std::time::Duration::ZERO)));
            r.close(b);
        }
        r.poll(&a, Ready::ERROR);
        r.connect(&a, l.addr());
        r.connect_later(&a, l.addr());
    }),
    case("a blocking connect of a socket that connects waits for that", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.nonblocking(&a);
        r.connect(&a, l.addr());
        a.sock().set_nonblocking(false).expect("a mode");
        r.connect(&a, l.addr());
        r.connect(&a, l.addr());
    }),
    case("a connect of a listener says that it is connected", |r| {
        let (l, m) = (r.listener(8), r.listener(8));
        r.connect(&l, m.addr());
    }),
    case("a connect to the wildcard address means this host", |r| {
        let l = r.tcp("l", Side::A);
        r.listen(&l, 8);
        let a = r.tcp("a", Side::A);
        let to = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), l.addr().port());
        r.connect(&a, SocketAddr::new(to.ip(), to.port()));
    }),
    case("a connect to port zero is refused", |r| {
        let a = r.tcp("a", Side::A);
        r.connect(&a, r.any_port(Side::B));
    }),
    four_case("a connect to a broadcast address is unreachable", |r| {
        let a = r.tcp("a", Side::A);
        r.connect(&a, SocketAddr::from((Ipv4Addr::BROADCAST, 9)));
    }),
    four_case("a connect to a network's broadcast address is unreachable", |r| {
        let a = r.tcp("a", Side::A);
        r.connect(&a, SocketAddr::from(([127, 255, 255, 255], 9)));
    }),
    case("a connect to a group is unreachable", |r| {
        let a = r.tcp("a", Side::A);
        r.connect(&a, SocketAddr::from(([224, 0, 0, 1], 9)));
    }),
    four_case("a connect to an address of IPv6 on a socket of IPv4", |r| {
        let a = r.tcp("a", Side::A);
        r.connect(&a, SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 9)));
    }),
    case("a connect keeps the address that was bound", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.bind(&a, r.any_port(Side::A));
        r.local(&a);
        r.connect(&a, l.addr());
        r.local(&a);
    }),
    case("a connect gives a socket bound to the wildcard its address", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.bind(&a, SocketAddr::from(([0, 0, 0, 0], 0)));
        r.local(&a);
        r.connect(&a, l.addr());
        r.local(&a);
    }),
    case("a connect without bind chooses address and port", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.local(&a);
        r.connect(&a, l.addr());
        r.local(&a);
        r.peer(&a);
    }),
    case("two connections of one listener have different ports", |r| {
        let l = r.listener(8);
        let (a, b) = (r.tcp("a", Side::A), r.tcp("b", Side::A));
        r.connect(&a, l.addr());
        r.connect(&b, l.addr());
        r.local(&a);
        r.local(&b);
        r.peer(&a);
        r.peer(&b);
    }),
    case("two sockets of one port cannot connect to one peer", |r| {
        let l = r.listener(8);
        let (a, b) = (r.tcp("a", Side::A), r.tcp("b", Side::A));
        r.set(&a, libnet::socket::SocketOption::ReuseAddr(true));
        r.set(&b, libnet::socket::SocketOption::ReuseAddr(true));
        r.bind(&a, r.any_port(Side::A));
        r.bind(&b, a.addr());
        r.connect(&a, l.addr());
        r.connect(&b, l.addr());
    }),
    case("a socket that connects to its own port meets itself", |r| {
        let a = r.tcp("a", Side::A);
        r.bind(&a, r.any_port(Side::A));
        let own = a.addr();
        r.connect(&a, own);
        r.send(&a, b"me");
        r.recv(&a, 8);
    }),
    case("two sockets that connect to each other at once meet", |r| {
        let (a, b) = (r.tcp("a", Side::A), r.tcp("b", Side::B));
        r.bind(&a, r.any_port(Side::A));
        r.bind(&b, r.any_port(Side::B));
        r.nonblocking(&a);
        r.nonblocking(&b);
        // Whoever is first may be refused: what counts is that neither hangs.
        let (to_a, to_b) = (a.addr(), b.addr());
        let first = a.sock().connect(to_b).is_err();
        let second = b.sock().connect(to_a).is_err();
        r.note(format!("both begin: {}", first && second));
    }),
    case("a closed connection cannot be connected again while its peer waits", |r| {
        let (a, b, l) = r.pair_of_listener();
        r.shutdown(&a, Shutdown::Both);
        r.connect(&a, l.addr());
        r.close(b);
    }),
    case("a blocked connect ends when the listener is closed", |r| {
        let l = r.listener(8);
        let to = l.addr();
        drop(l);
        let a = r.tcp("a", Side::A);
        r.connect(&a, to);
    }),
];
