//! Datagrams: bounds, truncation, connected sockets, ICMP errors, shutdown.

use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};

use libnet::Ready;
use libnet::socket::SocketOption;

use crate::semantics::net::{How, Side};
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case, four_case};

/// A socket `a` that is connected to a port that nobody has.
fn unheard(r: &mut Run<'_>) -> S {
    let (to, a) = (r.closed_udp(), r.udp_at("a", Side::A));
    r.connect(&a, to);
    a
}

/// As [`unheard`], with an error pending.
fn failed(r: &mut Run<'_>) -> S {
    let a = unheard(r);
    r.send(&a, b"anybody?");
    r.poll(&a, Ready::ERROR);
    a
}

pub(super) const CASES: &[Case] = &[
    case("a datagram is received with its sender", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        r.send_to(&a, b"hello", b.addr());
        r.recv(&b, 8);
    }),
    case("datagrams keep their bounds and order", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        r.send_to(&a, b"one", b.addr());
        r.send_to(&a, b"two", b.addr());
        r.recv(&b, 8);
        r.recv(&b, 8);
    }),
    case("a short buffer cuts a datagram, and the rest is lost", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        r.send_to(&a, b"three", b.addr());
        r.send_to(&a, b"next", b.addr());
        r.recv(&b, 2);
        r.recv(&b, 8);
    }),
    case("peek shows a datagram, its length and its sender, and leaves it", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        r.send_to(&a, b"three", b.addr());
        r.peek(&b, 2);
        r.peek(&b, 8);
        r.recv(&b, 8);
    }),
    case("an empty datagram is received as such", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        r.send_to(&a, b"", b.addr());
        r.poll(&b, Ready::READABLE);
        r.recv(&b, 8);
        r.nonblocking(&b);
        r.recv(&b, 8);
    }),
    case("an empty datagram crosses a connected pair", |r| {
        let (a, b) = r.udp_pair();
        r.send(&a, b"");
        r.recv(&b, 8);
    }),
    case("an empty datagram can be peeked at", |r| {
        let (a, b) = r.udp_pair();
        r.send(&a, b"");
        r.peek(&b, 8);
        r.recv(&b, 8);
    }),
    case("a receive into no room takes a datagram", |r| {
        let (a, b) = r.udp_pair();
        r.send(&a, b"gone");
        r.send(&a, b"next");
        r.recv(&b, 0);
        r.recv(&b, 8);
    }),
    case("the largest datagram crosses", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        r.send_to(&a, &[b'x'; 65_507], b.addr());
        r.recv(&b, 70_000);
    }),
    case("a larger one than the largest is too long", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        r.send_to(&a, &[b'x'; 65_508], b.addr());
        r.send_to(&a, &[b'x'; 70_000], b.addr());
        r.error(&a);
    }),
    case("a larger one than the largest is too long on a connected socket", |r| {
        let (a, _b) = r.udp_pair();
        r.send(&a, &[b'x'; 65_508]);
    }),
    case("a non-blocking receive without a datagram would block", |r| {
        let a = r.udp_at("a", Side::A);
        r.nonblocking(&a);
        r.recv(&a, 8);
        r.peek(&a, 8);
    }),
    case("a receive of a socket that is not bound would block", |r| {
        let a = r.udp("a", Side::A);
        r.nonblocking(&a);
        r.recv(&a, 8);
        r.local(&a);
    }),
    case("a send without a peer wants a destination", |r| {
        let a = r.udp_at("a", Side::A);
        r.send(&a, b"whom?");
    }),
    case("a send to port zero is invalid", |r| {
        let a = r.udp_at("a", Side::A);
        r.send_to(&a, b"x", r.any_port(Side::B));
    }),
    four_case("a send to an address of IPv6 on a socket of IPv4", |r| {
        let a = r.udp_at("a", Side::A);
        r.send_to(&a, b"x", SocketAddr::from((Ipv6Addr::LOCALHOST, 9)));
    }),
    case("a send gives a socket its port", |r| {
        let (a, b) = (r.udp("a", Side::A), r.udp_at("b", Side::B));
        r.local(&a);
        r.send_to(&a, b"x", b.addr());
        r.local(&a);
    }),
    case("a fresh datagram socket is writable", |r| {
        let a = r.udp("a", Side::A);
        r.poll(&a, Ready::WRITABLE);
    }),
    case("a connect sets peer and local address", |r| {
        let (a, b) = (r.udp("a", Side::A), r.udp_at("b", Side::B));
        r.peer(&a);
        r.connect(&a, b.addr());
        r.peer(&a);
        r.local(&a);
    }),
    case("a connect keeps the port that was bound", |r| {
        let (a, b) = (r.udp("a", Side::A), r.udp_at("b", Side::B));
        r.bind(&a, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        r.local(&a);
        r.connect(&a, b.addr());
        r.local(&a);
    }),
    case("a second connect changes the peer", |r| {
        let (a, b, c) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B), r.udp_at("c", Side::B));
        r.connect(&a, b.addr());
        r.connect(&a, c.addr());
        r.send(&a, b"x");
        r.recv(&c, 8);
        r.poll(&b, Ready::WRITABLE);
    }),
    case("a connected socket hears its peer alone", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        let stranger = r.udp_at("stranger", Side::B);
        r.connect(&a, b.addr());
        r.send_to(&stranger, b"me", a.addr());
        r.send_to(&b, b"you", a.addr());
        r.recv(&a, 8);
    }),
    case("a datagram that came before connect is received after it", |r| {
        let (a, b) = (r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        let stranger = r.udp_at("stranger", Side::B);
        r.send_to(&stranger, b"early", a.addr());
        r.arrives(&a);
        r.connect(&a, b.addr());
        r.recv(&a, 8);
    }),
    case("a connected socket may send elsewhere", |r| {
        let (a, _b) = r.udp_pair();
        let c = r.udp_at("c", Side::B);
        r.send_to(&a, b"else", c.addr());
        r.recv(&c, 8);
    }),
    case("a connect to port zero of a datagram socket", |r| {
        let a = r.udp_at("a", Side::A);
        r.connect(&a, r.any_port(Side::B));
        r.peer(&a);
        r.send(&a, b"x");
    }),
    four_case("a connect to the broadcast address must be asked for", |r| {
        let a = r.udp("a", Side::A);
        r.connect(&a, SocketAddr::from(([127, 255, 255, 255], 9)));
        r.set(&a, SocketOption::Broadcast(true));
        r.connect(&a, SocketAddr::from(([127, 255, 255, 255], 9)));
    }),
    four_case("a send to the broadcast address must be asked for", |r| {
        let a = r.udp("a", Side::A);
        r.send_to(&a, b"all", SocketAddr::from(([127, 255, 255, 255], 9)));
        r.error(&a);
    }),
    four_case("a connect to an address of IPv6 of a datagram socket of IPv4", |r| {
        let a = r.udp("a", Side::A);
        r.connect(&a, SocketAddr::from((Ipv6Addr::LOCALHOST, 9)));
    }),
    case("a connect to a closed port succeeds", |r| {
        let a = unheard(r);
        r.poll(&a, Ready::WRITABLE);
    }),
    case("a closed port is told to a receive, once", |r| {
        let a = failed(r);
        r.nonblocking(&a);
        r.recv(&a, 8);
        r.recv(&a, 8);
    }),
    case("a closed port is told to a send, once", |r| {
        let a = failed(r);
        r.send(&a, b"x");
        r.error(&a);
    }),
    case("a closed port is told to SO_ERROR, once", |r| {
        let a = failed(r);
        r.error(&a);
        r.error(&a);
        r.nonblocking(&a);
        r.recv(&a, 8);
    }),
    case("a closed port is told to a peek, once", |r| {
        let a = failed(r);
        r.nonblocking(&a);
        r.peek(&a, 8);
        r.peek(&a, 8);
    }),
    case("a blocked receive hears of a closed port", |r| {
        let a = unheard(r);
        let got = r.meanwhile(
            || a.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| r.send(&a, b"anybody?"),
        );
        r.result(&a, "blocked recv", got);
    }),
    case("an error comes before a datagram that waits", |r| {
        let (a, b) = r.udp_pair();
        r.send(&b, b"first");
        r.arrives(&a);
        r.close(b);
        r.send(&a, b"x");
        r.poll(&a, Ready::ERROR);
        r.recv(&a, 8);
        r.recv(&a, 8);
    }),
    case("a pending error does not stop a second connect", |r| {
        let (a, b) = (failed(r), r.udp_at("b", Side::B));
        r.connect(&a, b.addr());
        r.error(&a);
        r.send(&a, b"x");
        r.recv(&b, 8);
    }),
    case("a socket without a peer does not hear of a closed port", |r| {
        let (to, a, b) = (r.closed_udp(), r.udp_at("a", Side::A), r.udp_at("b", Side::B));
        r.send_to(&a, b"x", to);
        r.send_to(&a, b"y", b.addr());
        r.recv(&b, 8);
        r.error(&a);
    }),
    case("a socket without a peer that asked hears of a closed port", |r| {
        let (to, a) = (r.closed_udp(), r.udp_at("a", Side::A));
        r.set(&a, SocketOption::ReceiveErrors(true));
        r.send_to(&a, b"x", to);
        r.poll(&a, Ready::ERROR);
        r.error(&a);
    }),
    case("a send to an address takes the pending error too", |r| {
        let (a, b) = (failed(r), r.udp_at("b", Side::B));
        r.send_to(&a, b"x", b.addr());
        r.send_to(&a, b"y", b.addr());
        r.recv(&b, 8);
    }),
    case("a shutdown without a peer is not connected", |r| {
        let a = r.udp_at("a", Side::A);
        r.shutdown(&a, Shutdown::Both);
    }),
    case("a send after a shutdown is a broken pipe", |r| {
        let (a, _b) = r.udp_pair();
        r.shutdown(&a, Shutdown::Write);
        r.send(&a, b"x");
        r.poll(&a, Ready::NONE);
    }),
    case("a receive after a shutdown is empty", |r| {
        let (a, _b) = r.udp_pair();
        r.shutdown(&a, Shutdown::Read);
        r.recv(&a, 8);
        r.poll(&a, Ready::READ_CLOSED);
    }),
    case("a datagram that waited before a shutdown is received", |r| {
        let (a, b) = r.udp_pair();
        r.send(&b, b"before");
        r.arrives(&a);
        r.shutdown(&a, Shutdown::Read);
        r.recv(&a, 8);
        r.recv(&a, 8);
    }),
    case("a datagram after a shutdown for reading", |r| {
        let (a, b) = r.udp_pair();
        r.shutdown(&a, Shutdown::Read);
        r.send(&b, b"after");
        r.send(&a, b"x");
        r.recv(&b, 8);
        r.recv(&a, 8);
    }),
    case("a shutdown of both directions hangs up", |r| {
        let (a, _b) = r.udp_pair();
        r.shutdown(&a, Shutdown::Both);
        r.poll(&a, Ready::HANGUP);
        r.recv(&a, 8);
    }),
    case("a non-blocking receive after a shutdown", |r| {
        let (a, _b) = r.udp_pair();
        r.shutdown(&a, Shutdown::Read);
        r.nonblocking(&a);
        r.recv(&a, 8);
    }),
    case("a blocked receive ends when the socket is shut down", |r| {
        let (a, _b) = r.udp_pair();
        let got = r.meanwhile(
            || a.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| r.shutdown(&a, Shutdown::Read),
        );
        r.result(&a, "blocked recv", got);
    }),
    case("a blocked receive ends when a datagram comes", |r| {
        let (a, b) = r.udp_pair();
        let got = r.meanwhile(
            || a.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| r.send(&b, b"late"),
        );
        r.result(&a, "blocked recv", got);
    }),
    case("a full receive buffer drops what comes, and says nothing", |r| {
        let (a, b) = r.udp_pair();
        r.set(&b, SocketOption::ReceiveBufferBytes(4_000));
        for _ in 0..20 {
            let _ = a.sock().send(&[b'x'; 2_000], How::Plain);
        }
        r.recv(&b, 4_000);
        r.error(&a);
        r.error(&b);
    }),
    case("urgent data of a datagram socket are not supported", |r| {
        let (a, b) = r.udp_pair();
        r.send_urgent(&a, b"!");
        r.nonblocking(&b);
        r.recv_urgent(&b, 8);
    }),
    case("a socket that sends to its own port hears itself", |r| {
        let a = r.udp_at("a", Side::A);
        r.send_to(&a, b"me", a.addr());
        r.recv(&a, 8);
    }),
];
