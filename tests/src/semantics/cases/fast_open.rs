//! TCP Fast Open (RFC 7413): its options, and data that go with a SYN.

use libnet::Ready;
use libnet::socket::{FastOpenKeys, OptionKey, SocketOption, TcpAgreed};

use super::info::{of, settled};
use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case, closed_case};

pub(super) const CASES: &[Case] = &[
    case("a fresh stream has nothing of Fast Open", |r| {
        let a = r.tcp("a", Side::A);
        for key in KEYS {
            r.get(&a, key);
        }
    }),
    case("a queue of Fast Open has the bound of all backlogs", |r| {
        let a = r.tcp("a", Side::A);
        for most in [5, 4_096, 4_097, 1_000_000, 0] {
            r.set(&a, SocketOption::FastOpenQueue(most));
            r.get(&a, OptionKey::FastOpenQueue);
        }
        let l = r.listener(8);
        r.set(&l, SocketOption::FastOpenQueue(5));
        r.get(&l, OptionKey::FastOpenQueue);
    }),
    case("switches of Fast Open keep what they were given", |r| {
        let a = r.tcp("a", Side::A);
        for on in [true, false] {
            r.set(&a, SocketOption::FastOpenConnect(on));
            r.get(&a, OptionKey::FastOpenConnect);
            r.set(&a, SocketOption::FastOpenNoCookie(on));
            r.get(&a, OptionKey::FastOpenNoCookie);
        }
    }),
    case("keys of Fast Open are those that were set last", |r| {
        let a = r.tcp("a", Side::A);
        has_keys(r, &a);
        for keys in KEY_SETS {
            r.set(&a, SocketOption::FastOpenKeys(keys));
            has_keys(r, &a);
        }
    }),
    case("a listener's keys of Fast Open are not its connections'", |r| {
        let l = r.listener(8);
        r.set(&l, SocketOption::FastOpenKeys(KEY_SETS[1]));
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        let Some(b) = r.accept(&l) else { return };
        for s in [&l, &a, &b] {
            has_keys(r, s);
        }
        for s in [&a, &b] {
            r.set(s, SocketOption::FastOpenKeys(KEY_SETS[0]));
            has_keys(r, s);
        }
        has_keys(r, &l);
    }),
    case("a listener cannot be told to connect by Fast Open", |r| {
        let l = r.listener(8);
        r.set(&l, SocketOption::FastOpenConnect(true));
        r.set(&l, SocketOption::FastOpenNoCookie(true));
        for key in KEYS {
            r.get(&l, key);
        }
    }),
    case("a connected stream takes no option of Fast Open", |r| {
        let (a, b) = r.pair();
        for s in [&a, &b] {
            r.set(s, SocketOption::FastOpenQueue(5));
            r.set(s, SocketOption::FastOpenConnect(true));
            r.set(s, SocketOption::FastOpenNoCookie(true));
            for key in KEYS {
                r.get(s, key);
            }
        }
    }),
    case("a datagram socket has nothing of Fast Open", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::FastOpenQueue(5));
        r.set(&a, SocketOption::FastOpenConnect(true));
        r.set(&a, SocketOption::FastOpenNoCookie(true));
        r.set(&a, SocketOption::FastOpenKeys(KEY_SETS[0]));
        for key in KEYS {
            r.get(&a, key);
        }
        r.get(&a, OptionKey::FastOpenKeys);
    }),
    closed_case("a connect that waits for its data", |r| {
        let (l, a) = (opening(r, 4), eager(r));
        r.connect(&a, l.addr());
        r.poll(&a, Ready::WRITABLE);
        r.peer(&a);
        r.error(&a);
        r.connect(&a, l.addr());
        r.nonblocking(&a);
        r.recv(&a, 8);
        r.nonblocking(&l);
        r.accept(&l);
    }),
    closed_case("the first data go with the SYN, and come with the connection", |r| {
        let (l, a) = (opening(r, 4), eager(r));
        r.connect(&a, l.addr());
        r.send(&a, b"first");
        let Some(b) = r.accept(&l) else { return };
        r.recv(&b, 16);
        r.send(&b, b"answer");
        r.arrives(&a);
        r.recv(&a, 16);
        for s in [&a, &b] {
            with_the_syn(r, s);
        }
        r.peer(&a);
        r.connect(&a, l.addr());
        r.get(&a, OptionKey::FastOpenConnect);
    }),
    closed_case("MSG_FASTOPEN connects and sends at once", |r| {
        let (l, a) = (opening(r, 4), r.tcp("a", Side::A));
        r.set(&a, SocketOption::FastOpenNoCookie(true));
        r.send_fast_open(&a, b"first", l.addr());
        r.send(&a, b"second");
        let Some(b) = r.accept(&l) else { return };
        r.recv_all(&b, 11);
        for s in [&a, &b] {
            with_the_syn(r, s);
        }
    }),
    closed_case("MSG_FASTOPEN does not wait in non-blocking mode", |r| {
        let (l, a) = (opening(r, 4), r.tcp("a", Side::A));
        r.set(&a, SocketOption::FastOpenNoCookie(true));
        r.nonblocking(&a);
        r.send_fast_open(&a, b"first", l.addr());
        let Some(b) = r.accept(&l) else { return };
        r.recv(&b, 16);
        r.poll(&a, Ready::WRITABLE);
        r.error(&a);
        with_the_syn(r, &a);
    }),
    closed_case("MSG_FASTOPEN of a connected stream", |r| {
        let (a, b, l) = r.pair_of_listener();
        r.send_fast_open(&a, b"more", l.addr());
        r.nonblocking(&b);
        r.recv(&b, 8);
    }),
    closed_case("MSG_FASTOPEN of a listener", |r| {
        let (l, m) = (r.listener(8), r.listener(8));
        r.send_fast_open(&l, b"no", m.addr());
    }),
    closed_case("what is more than a SYN has room for follows it", |r| {
        let (l, a) = (opening(r, 4), eager(r));
        r.connect(&a, l.addr());
        r.send(&a, &[b'm'; 100_000]);
        let Some(b) = r.accept(&l) else { return };
        r.recv_all(&b, 100_000);
        with_the_syn(r, &a);
    }),
    closed_case("a listener without a queue of Fast Open takes no data with a SYN", |r| {
        let (l, a) = (opening(r, 0), eager(r));
        r.connect(&a, l.addr());
        r.send(&a, b"first");
        let Some(b) = r.accept(&l) else { return };
        r.recv(&b, 16);
        for s in [&a, &b] {
            with_the_syn(r, s);
        }
    }),
    closed_case("a cookie that was given lets later data go with a SYN", |r| {
        let l = r.listener(8);
        r.set(&l, SocketOption::FastOpenQueue(4));
        for _ in 0..2 {
            let a = r.tcp("a", Side::A);
            r.set(&a, SocketOption::FastOpenConnect(true));
            r.connect(&a, l.addr());
            r.send(&a, b"data");
            let Some(b) = r.accept(&l) else { return };
            r.recv(&b, 16);
            settled(r, &a, |info| info.unacked_segments == 0);
            r.hold(a);
            r.hold(b);
        }
        let a = r.tcp("a", Side::A);
        r.set(&a, SocketOption::FastOpenConnect(true));
        r.connect(&a, l.addr());
        r.poll(&a, Ready::WRITABLE);
        r.peer(&a);
        r.send(&a, b"data");
        let Some(b) = r.accept(&l) else { return };
        r.recv(&b, 16);
        for s in [&a, &b] {
            with_the_syn(r, s);
        }
    }),
    closed_case("a place in the queue of Fast Open is free again after the handshake", |r| {
        let l = opening(r, 1);
        for _ in 0..2 {
            let a = eager(r);
            r.connect(&a, l.addr());
            r.send(&a, b"data");
            let Some(b) = r.accept(&l) else { return };
            settled(r, &b, |info| info.state == libnet::socket::TcpState::Established);
            with_the_syn(r, &b);
            r.hold(a);
            r.hold(b);
        }
    }),
    closed_case("a connect by Fast Open that is refused", |r| {
        let (to, a) = (r.closed_tcp(), eager(r));
        r.connect(&a, to);
        r.send(&a, b"whom");
        r.poll(&a, Ready::HANGUP);
        r.error(&a);
        r.send(&a, b"whom");
    }),
    closed_case("a connect by Fast Open that is given up before its data", |r| {
        let (l, a) = (opening(r, 4), eager(r));
        r.connect(&a, l.addr());
        r.close(a);
        r.nonblocking(&l);
        r.accept(&l);
    }),
    closed_case("the end of a stream that began by Fast Open follows its data", |r| {
        let (l, a) = (opening(r, 4), eager(r));
        r.connect(&a, l.addr());
        r.send(&a, b"all");
        r.shutdown(&a, std::net::Shutdown::Write);
        let Some(b) = r.accept(&l) else { return };
        r.recv_all(&b, 8);
    }),
    // Last: two of them in a row keep a client from trying it again (RFC 7413 §4.1.3.1).
    closed_case("a listener that wants cookies takes no data without one", |r| {
        let (l, a) = (r.listener(8), eager(r));
        r.set(&l, SocketOption::FastOpenQueue(4));
        r.connect(&a, l.addr());
        r.send(&a, b"first");
        let Some(b) = r.accept(&l) else { return };
        r.recv(&b, 16);
        for s in [&a, &b] {
            with_the_syn(r, s);
        }
    }),
];

const KEYS: [OptionKey; 3] =
    [OptionKey::FastOpenQueue, OptionKey::FastOpenConnect, OptionKey::FastOpenNoCookie];

/// One key, two, one of zeros, and none, which is no value.
const KEY_SETS: [FastOpenKeys; 4] = [
    FastOpenKeys::new([1; 16], None),
    FastOpenKeys::new([2; 16], Some([1; 16])),
    FastOpenKeys::new([0; 16], None),
    FastOpenKeys::NONE,
];

/// Which of the sets a socket has; keys are not shown themselves.
fn has_keys(r: &mut Run<'_>, s: &S) {
    let has = s.sock().get(OptionKey::FastOpenKeys);
    let is = |keys: &FastOpenKeys| {
        has.as_ref().is_ok_and(|has| *has == SocketOption::FastOpenKeys(*keys))
    };
    let set = KEY_SETS.iter().position(is);
    r.note(format!("{}: keys {set:?}", s.name));
}

/// A listener that takes data with SYNs, of so many at a time, without cookies.
fn opening(r: &mut Run<'_>, queue: u32) -> S {
    let l = r.listener(8);
    for option in [SocketOption::FastOpenQueue(queue), SocketOption::FastOpenNoCookie(true)] {
        l.sock().set(option).expect("a listener takes it");
    }
    l
}

/// A stream whose connect waits for data, which it sends without a cookie.
fn eager(r: &mut Run<'_>) -> S {
    let a = r.tcp("a", Side::A);
    for option in [SocketOption::FastOpenConnect(true), SocketOption::FastOpenNoCookie(true)] {
        a.sock().set(option).expect("a fresh stream takes it");
    }
    a
}

fn with_the_syn(r: &mut Run<'_>, s: &S) {
    settled(r, s, |info| info.unacked_segments == 0);
    of(r, s, |info| format!("data with the SYN {}", info.options.has(TcpAgreed::SYN_DATA)));
}
