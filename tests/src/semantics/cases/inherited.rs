//! What options outlive: a connect, an accept, the end of a connection.

use std::time::Duration;

use libnet::Ready;
use libnet::socket::{OptionKey, SocketOption};

use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case};

pub(super) const CASES: &[Case] = &[
    case("an accepted connection has these options of its listener", |r| {
        let l = r.tcp("l", Side::B);
        set_all(&l);
        l.sock().bind(r.any_port(Side::B)).expect("a port");
        r.listen(&l, 8);
        get_all(r, &l);
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        if let Some(b) = r.accept(&l) {
            get_all(r, &b);
        }
    }),
    case("a connection that waits has the options that its listener had", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        l.sock().set(SocketOption::Congestion("cubic".to_owned())).expect("a known one");
        r.connect(&a, l.addr());
        r.poll(&l, Ready::READABLE);
        set_all(&l);
        // Told by a case of its own.
        r.set(&l, SocketOption::Linger(None));
        if let Some(b) = r.accept(&l) {
            get_all(r, &b);
        }
    }),
    case("a linger that is set while a connection waits is not that connection's", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.connect(&a, l.addr());
        r.poll(&l, Ready::READABLE);
        r.set(&l, SocketOption::Linger(Some(Duration::from_secs(4))));
        if let Some(b) = r.accept(&l) {
            r.get(&b, OptionKey::Linger);
        }
    }),
    case("an accepted connection waits for no data, and has no queue", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.set(&l, SocketOption::DeferAccept(Duration::from_secs(60)));
        r.set(&l, SocketOption::FastOpenQueue(4));
        r.set(&l, SocketOption::FastOpenNoCookie(true));
        r.connect(&a, l.addr());
        r.send(&a, b"data");
        if let Some(b) = r.accept(&l) {
            for key in [
                OptionKey::DeferAccept,
                OptionKey::FastOpenQueue,
                OptionKey::FastOpenConnect,
                OptionKey::FastOpenNoCookie,
            ] {
                r.get(&b, key);
            }
        }
    }),
    case("an accepted connection's options are its own", |r| {
        let (_a, b, l) = r.pair_of_listener();
        l.sock().set(SocketOption::Congestion("cubic".to_owned())).expect("a known one");
        set_all(&b);
        get_all(r, &l);
    }),
    case("options that were given before a connect hold after it", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        set_all(&a);
        r.connect(&a, l.addr());
        get_all(r, &a);
    }),
    case("options of a stream that was refused are kept", |r| {
        let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
        set_all(&a);
        r.connect(&a, to);
        get_all(r, &a);
    }),
    case("options of a connection that was reset are kept, and can be set", |r| {
        let (a, b) = r.pair();
        set_all(&a);
        b.sock().set(SocketOption::Linger(Some(Duration::ZERO))).expect("a linger");
        r.close(b);
        r.poll(&a, Ready::HANGUP);
        r.error(&a);
        get_all(r, &a);
        for option in [
            SocketOption::NoDelay(false),
            SocketOption::KeepIdle(Duration::from_secs(3)),
            SocketOption::UserTimeout(Duration::from_secs(3)),
            SocketOption::Linger2(None),
            SocketOption::ReceiveLowWater(2),
            SocketOption::Congestion("reno".to_owned()),
        ] {
            r.set(&a, option);
        }
        get_all(r, &a);
    }),
    case(
        "a clamp of the window goes with the connection that was refused, and with the listener",
        |r| {
            let (to, a) = (r.closed_tcp(), r.tcp("a", Side::A));
            let l = r.listener(8);
            for s in [&a, &l] {
                r.set(s, SocketOption::WindowClamp(40_000));
                r.get(s, OptionKey::WindowClamp);
            }
            r.connect(&a, to);
            r.shutdown(&l, std::net::Shutdown::Both);
            for s in [&a, &l] {
                r.get(s, OptionKey::WindowClamp);
            }
        },
    ),
    case("a listener that is shut down keeps its options", |r| {
        let l = r.listener(8);
        set_all(&l);
        r.shutdown(&l, std::net::Shutdown::Both);
        get_all(r, &l);
    }),
];

/// Sets what is not the default.
fn set_all(s: &S) {
    for option in [
        SocketOption::ReuseAddr(true),
        SocketOption::ReusePort(true),
        SocketOption::KeepAlive(true),
        SocketOption::Linger(Some(Duration::from_secs(4))),
        SocketOption::UrgentInline(true),
        SocketOption::ReceiveLowWater(3),
        SocketOption::MaxPacingRate(1_000_000_000),
        SocketOption::NoDelay(true),
        SocketOption::Cork(true),
        SocketOption::SynRetries(3),
        SocketOption::Linger2(Some(Duration::from_secs(7))),
        SocketOption::KeepIdle(Duration::from_secs(9)),
        SocketOption::KeepInterval(Duration::from_secs(10)),
        SocketOption::KeepCount(5),
        SocketOption::UserTimeout(Duration::from_secs(8)),
        SocketOption::NotSentLowWater(20_000),
        SocketOption::Congestion("reno".to_owned()),
        SocketOption::Ttl(33),
        SocketOption::Tos(0x20),
    ] {
        s.sock().set(option).expect("an option of any stream");
    }
}

/// Notes all of these, and those that only some have.
fn get_all(r: &mut Run<'_>, s: &S) {
    for key in [
        OptionKey::ReuseAddr,
        OptionKey::ReusePort,
        OptionKey::KeepAlive,
        OptionKey::Linger,
        OptionKey::UrgentInline,
        OptionKey::ReceiveLowWater,
        OptionKey::MaxPacingRate,
        OptionKey::NoDelay,
        OptionKey::Cork,
        OptionKey::SynRetries,
        OptionKey::Linger2,
        OptionKey::KeepIdle,
        OptionKey::KeepInterval,
        OptionKey::KeepCount,
        OptionKey::UserTimeout,
        OptionKey::NotSentLowWater,
        OptionKey::Congestion,
        OptionKey::Ttl,
        OptionKey::Tos,
        OptionKey::DeferAccept,
        OptionKey::FastOpenQueue,
        OptionKey::FastOpenConnect,
        OptionKey::FastOpenNoCookie,
    ] {
        r.get(s, key);
    }
}
