//! Urgent data: out of line and in line, the mark, what is overtaken.

use libnet::Ready;
use libnet::socket::{OptionKey, SocketOption};

use crate::semantics::net::{How, Side};
use crate::semantics::{Case, case};

pub(super) const CASES: &[Case] = &[
    case("urgent data are received out of band", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"ab");
        r.send_urgent(&a, b"!");
        r.poll(&b, Ready::URGENT);
        r.recv_urgent(&b, 8);
        r.recv_all(&b, 2);
    }),
    case("without urgent data there is none to receive", |r| {
        let (_a, b) = r.pair();
        r.recv_urgent(&b, 8);
    }),
    case("urgent data are not among the others", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"ab");
        r.send_urgent(&a, b"!");
        r.send(&a, b"cd");
        r.recv_all(&b, 4);
    }),
    case("urgent data are received once", |r| {
        let (a, b) = r.pair();
        r.send_urgent(&a, b"!");
        r.send(&a, b"x");
        r.arrives(&b);
        r.recv_urgent(&b, 8);
        r.recv_urgent(&b, 8);
    }),
    case("the last byte of an urgent send is the urgent one", |r| {
        let (a, b) = r.pair();
        r.send_urgent(&a, b"abc");
        r.arrives(&b);
        r.recv_urgent(&b, 8);
        r.recv_all(&b, 2);
    }),
    case("an urgent send on a stream that is not connected", |r| {
        let a = r.tcp("a", Side::A);
        r.send_urgent(&a, b"!");
    }),
    case("urgent data poll as such until they are received", |r| {
        let (a, b) = r.pair();
        r.send_urgent(&a, b"!");
        r.poll(&b, Ready::URGENT);
        r.recv_urgent(&b, 1);
        r.poll(&b, Ready::WRITABLE);
    }),
    case("what comes before and behind urgent data is readable", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"a");
        r.send_urgent(&a, b"!");
        r.poll(&b, Ready::URGENT | Ready::READABLE);
        r.recv(&b, 8);
        r.poll(&b, Ready::URGENT);
        r.send(&a, b"b");
        r.poll(&b, Ready::URGENT | Ready::READABLE);
    }),
    case("a receive stops at the mark", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"ab");
        r.send_urgent(&a, b"c!");
        r.send(&a, b"de");
        r.poll(&b, Ready::URGENT);
        r.recv(&b, 9);
        r.recv(&b, 9);
    }),
    case("a peek stops at the mark and passes over the urgent byte", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"ab");
        r.send_urgent(&a, b"!");
        r.send(&a, b"de");
        r.poll(&b, Ready::URGENT);
        r.peek(&b, 9);
        r.recv(&b, 9);
        r.peek(&b, 9);
        r.recv(&b, 9);
    }),
    case("a receive that passes the mark loses the urgent byte", |r| {
        let (a, b) = r.pair();
        r.send_urgent(&a, b"!");
        r.send(&a, b"x");
        r.poll(&b, Ready::URGENT | Ready::READABLE);
        r.recv(&b, 1);
        r.recv_urgent(&b, 1);
        r.poll(&b, Ready::WRITABLE);
    }),
    case("an urgent byte alone is nothing to receive", |r| {
        let (a, b) = r.pair();
        r.send_urgent(&a, b"!");
        r.poll(&b, Ready::URGENT);
        r.nonblocking(&b);
        r.recv(&b, 8);
    }),
    case("an urgent byte is taken into no room", |r| {
        let (a, b) = r.pair();
        r.send_urgent(&a, b"!");
        r.poll(&b, Ready::URGENT);
        r.recv_urgent(&b, 0);
        r.recv_urgent(&b, 1);
    }),
    case("a second urgent byte makes the first one ordinary", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"a");
        r.send_urgent(&a, b"1");
        r.poll(&b, Ready::URGENT);
        r.edge(&b, Ready::URGENT, |r| r.send_urgent(&a, b"b2"));
        r.send(&a, b"c");
        r.recv_all(&b, 4);
        r.recv_urgent(&b, 1);
    }),
    case("a second urgent byte at the head of the stream loses the first", |r| {
        let (a, b) = r.pair();
        r.send_urgent(&a, b"1");
        r.poll(&b, Ready::URGENT);
        r.send_urgent(&a, b"2");
        r.send(&a, b"x");
        r.poll(&b, Ready::URGENT | Ready::READABLE);
        r.recv_urgent(&b, 1);
        r.recv(&b, 8);
    }),
    case("urgent data stay in line if that was asked for", |r| {
        let (a, b) = r.pair();
        r.get(&b, OptionKey::UrgentInline);
        r.set(&b, SocketOption::UrgentInline(true));
        r.get(&b, OptionKey::UrgentInline);
        r.send(&a, b"ab");
        r.send_urgent(&a, b"!");
        r.send(&a, b"cd");
        r.poll(&b, Ready::URGENT | Ready::READABLE);
        r.recv_urgent(&b, 1);
        r.recv(&b, 9);
        r.recv_all(&b, 3);
    }),
    case("an urgent byte in line is readable", |r| {
        let (a, b) = r.pair();
        r.set(&b, SocketOption::UrgentInline(true));
        r.send_urgent(&a, b"!");
        r.poll(&b, Ready::URGENT | Ready::READABLE);
        r.recv(&b, 8);
        r.poll(&b, Ready::WRITABLE);
    }),
    case("an accepted connection inherits that urgent data stay in line", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.set(&l, SocketOption::UrgentInline(true));
        r.connect(&a, l.addr());
        if let Some(b) = r.accept(&l) {
            r.get(&b, OptionKey::UrgentInline);
        }
    }),
    case("urgent data before the end can be received after it", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"last");
        r.send_urgent(&a, b"!");
        r.close(a);
        r.poll(&b, Ready::URGENT | Ready::READ_CLOSED);
        r.recv(&b, 8);
        r.recv_urgent(&b, 1);
        r.recv(&b, 8);
    }),
    case("urgent data give an edge to who waits for them", |r| {
        let (a, b) = r.pair();
        r.edge(&b, Ready::URGENT, |r| r.send_urgent(&a, b"!"));
    }),
    case("an urgent send of nothing is none", |r| {
        let (a, b) = r.pair();
        r.send_urgent(&a, b"");
        r.send(&a, b"x");
        r.arrives(&b);
        r.recv_urgent(&b, 1);
    }),
    case("an urgent send after the own half-close is a broken pipe", |r| {
        let (a, _b) = r.pair();
        r.shutdown(&a, std::net::Shutdown::Write);
        r.send_urgent(&a, b"!");
    }),
    case("an urgent receive of what does not receive", |r| {
        let (fresh, l) = (r.tcp("fresh", Side::A), r.listener(8));
        r.recv_urgent(&fresh, 1);
        r.recv_urgent(&l, 1);
    }),
    case("a blocked receive does not end when an urgent byte comes", |r| {
        let (a, b) = r.pair();
        let got = r.meanwhile(
            || b.sock().recv(&mut [0; 8], How::Plain).map(|got| got.bytes),
            |r| {
                r.send_urgent(&a, b"!");
                r.send(&a, b"now");
            },
        );
        r.result(&b, "blocked recv", got);
    }),
];
