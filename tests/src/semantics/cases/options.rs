//! Socket options: defaults, ranges, what keeps what it was given.

use std::time::Duration;

use libnet::socket::{OptionKey, SocketOption};

use crate::semantics::net::Side;
use crate::semantics::{Case, case};

pub(super) const CASES: &[Case] = &[
    case("a fresh stream's options", |r| {
        let a = r.tcp("a", Side::A);
        for key in [
            OptionKey::ReuseAddr,
            OptionKey::ReusePort,
            OptionKey::Broadcast,
            OptionKey::KeepAlive,
            OptionKey::Linger,
            OptionKey::NoDelay,
            OptionKey::KeepIdle,
            OptionKey::KeepInterval,
            OptionKey::KeepCount,
            OptionKey::UserTimeout,
            OptionKey::Ttl,
            OptionKey::Tos,
        ] {
            r.get(&a, key);
        }
    }),
    case("a fresh datagram socket's options", |r| {
        let a = r.udp("a", Side::A);
        for key in [
            OptionKey::ReuseAddr,
            OptionKey::ReusePort,
            OptionKey::Broadcast,
            OptionKey::Ttl,
            OptionKey::Tos,
            OptionKey::MulticastTtl,
            OptionKey::MulticastLoop,
            OptionKey::ReceiveErrors,
        ] {
            r.get(&a, key);
        }
    }),
    case("options that are switches keep what they were given", |r| {
        let a = r.tcp("a", Side::A);
        for (option, key) in [
            (SocketOption::ReuseAddr(true), OptionKey::ReuseAddr),
            (SocketOption::ReusePort(true), OptionKey::ReusePort),
            (SocketOption::Broadcast(true), OptionKey::Broadcast),
            (SocketOption::KeepAlive(true), OptionKey::KeepAlive),
            (SocketOption::NoDelay(true), OptionKey::NoDelay),
        ] {
            r.set(&a, option);
            r.get(&a, key);
        }
    }),
    case("a congestion control goes by its name, and an unknown one is none", |r| {
        let a = r.tcp("a", Side::A);
        for name in ["reno", "no-such-control", "cubic", "", "a-name-that-is-too-long"] {
            r.set(&a, SocketOption::Congestion(name.to_owned()));
            r.get(&a, OptionKey::Congestion);
        }
    }),
    case("a connection takes its listener's congestion control, and changes it", |r| {
        let l = r.listener(8);
        r.set(&l, SocketOption::Congestion("reno".to_owned()));
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        if let Some(b) = r.accept(&l) {
            r.get(&b, OptionKey::Congestion);
            r.set(&b, SocketOption::Congestion("cubic".to_owned()));
            r.get(&b, OptionKey::Congestion);
        }
        r.get(&l, OptionKey::Congestion);
    }),
    case("a TTL keeps what it was given, and is never zero", |r| {
        let a = r.tcp("a", Side::A);
        for ttl in [1, 255, 0] {
            r.set(&a, SocketOption::Ttl(ttl));
            r.get(&a, OptionKey::Ttl);
        }
    }),
    case("a datagram socket's TTL is never zero", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::Ttl(0));
        r.set(&a, SocketOption::Ttl(9));
        r.get(&a, OptionKey::Ttl);
    }),
    case("a multicast TTL may be zero", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::MulticastTtl(0));
        r.get(&a, OptionKey::MulticastTtl);
    }),
    case("a stream has a multicast TTL", |r| {
        let a = r.tcp("a", Side::A);
        r.set(&a, SocketOption::MulticastTtl(3));
    }),
    case("a stream's type of service loses its ECN bits", |r| {
        let a = r.tcp("a", Side::A);
        r.set(&a, SocketOption::Tos(0xff));
        r.get(&a, OptionKey::Tos);
    }),
    case("a datagram socket's type of service keeps its ECN bits", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::Tos(0xff));
        r.get(&a, OptionKey::Tos);
    }),
    case("a linger keeps its whole seconds", |r| {
        let a = r.tcp("a", Side::A);
        for linger in [Some(Duration::from_secs(5)), Some(Duration::ZERO), None] {
            r.set(&a, SocketOption::Linger(linger));
            r.get(&a, OptionKey::Linger);
        }
    }),
    case("a datagram socket has a linger", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::Linger(Some(Duration::from_secs(5))));
        r.get(&a, OptionKey::Linger);
    }),
    case("a datagram socket has no NODELAY", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::NoDelay(true));
        r.get(&a, OptionKey::NoDelay);
    }),
    case("a datagram socket has a keepalive", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::KeepAlive(true));
        r.get(&a, OptionKey::KeepAlive);
    }),
    case("a keepalive's idle time has its range", |r| {
        let a = r.tcp("a", Side::A);
        for seconds in [0, 1, 32_767, 32_768] {
            r.set(&a, SocketOption::KeepIdle(Duration::from_secs(seconds)));
            r.get(&a, OptionKey::KeepIdle);
        }
    }),
    case("a keepalive's interval has its range", |r| {
        let a = r.tcp("a", Side::A);
        for seconds in [0, 1, 32_767, 32_768] {
            r.set(&a, SocketOption::KeepInterval(Duration::from_secs(seconds)));
            r.get(&a, OptionKey::KeepInterval);
        }
    }),
    case("a keepalive's count has its range", |r| {
        let a = r.tcp("a", Side::A);
        for probes in [0, 1, 127, 128] {
            r.set(&a, SocketOption::KeepCount(probes));
            r.get(&a, OptionKey::KeepCount);
        }
    }),
    case("a user timeout keeps its milliseconds", |r| {
        let a = r.tcp("a", Side::A);
        r.set(&a, SocketOption::UserTimeout(Duration::from_millis(1_500)));
        r.get(&a, OptionKey::UserTimeout);
    }),
    case("a fresh stream is not corked, acknowledges at once, and has its numbers", |r| {
        let a = r.tcp("a", Side::A);
        for key in [OptionKey::Cork, OptionKey::QuickAck, OptionKey::SynRetries, OptionKey::Linger2]
        {
            r.get(&a, key);
        }
    }),
    case("cork and quick acknowledgements keep what they were given", |r| {
        let a = r.tcp("a", Side::A);
        for on in [true, false] {
            r.set(&a, SocketOption::Cork(on));
            r.get(&a, OptionKey::Cork);
        }
        for on in [false, true] {
            r.set(&a, SocketOption::QuickAck(on));
            r.get(&a, OptionKey::QuickAck);
        }
    }),
    case("a count of SYNs has its range", |r| {
        let a = r.tcp("a", Side::A);
        for n in [0, 1, 127, 128] {
            r.set(&a, SocketOption::SynRetries(n));
            r.get(&a, OptionKey::SynRetries);
        }
    }),
    case("a stay in FIN-WAIT-2 is of whole seconds, two minutes at most", |r| {
        let a = r.tcp("a", Side::A);
        for time in [Some(5), Some(120), Some(121), None, Some(0)] {
            r.set(&a, SocketOption::Linger2(time.map(Duration::from_secs)));
            r.get(&a, OptionKey::Linger2);
        }
    }),
    case("a datagram socket has nothing of a stream's", |r| {
        let a = r.udp("a", Side::A);
        for (option, key) in [
            (SocketOption::Cork(true), OptionKey::Cork),
            (SocketOption::QuickAck(true), OptionKey::QuickAck),
            (SocketOption::SynRetries(3), OptionKey::SynRetries),
            (SocketOption::Linger2(None), OptionKey::Linger2),
            (SocketOption::UserTimeout(Duration::from_secs(1)), OptionKey::UserTimeout),
        ] {
            r.set(&a, option);
            r.get(&a, key);
        }
    }),
    case("an accepted connection has the listener's options", |r| {
        let l = r.listener(8);
        for option in [
            SocketOption::Cork(true),
            SocketOption::NoDelay(true),
            SocketOption::SynRetries(3),
            SocketOption::Linger2(Some(Duration::from_secs(7))),
            SocketOption::UserTimeout(Duration::from_secs(8)),
            SocketOption::KeepIdle(Duration::from_secs(9)),
        ] {
            r.set(&l, option);
        }
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        let (b, _) = l.sock().accept().expect("one waits");
        for key in [
            OptionKey::Cork,
            OptionKey::NoDelay,
            OptionKey::SynRetries,
            OptionKey::Linger2,
            OptionKey::UserTimeout,
            OptionKey::KeepIdle,
        ] {
            r.note(format!("{:?}", b.get(key)));
        }
    }),
    case("a connection that asks and answers acknowledges with its answers", |r| {
        let (a, b) = r.pair();
        for _ in 0..3 {
            r.send(&a, b"ask");
            r.arrives(&b);
            r.recv(&b, 8);
            r.send(&b, b"answer");
            r.arrives(&a);
            r.recv(&a, 8);
        }
        r.get(&b, OptionKey::QuickAck);
        r.set(&b, SocketOption::QuickAck(true));
        r.get(&b, OptionKey::QuickAck);
    }),
    case("a corked stream sends when it is uncorked", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Cork(true));
        r.send(&a, b"one");
        r.send(&a, b"two");
        r.set(&a, SocketOption::Cork(false));
        r.arrives(&b);
        r.recv(&b, 8);
    }),
    case("a corked stream ends with all that was written", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Cork(true));
        r.send(&a, b"last words");
        r.shutdown(&a, std::net::Shutdown::Write);
        r.arrives(&b);
        r.recv(&b, 16);
        r.recv(&b, 16);
    }),
    case("NODELAY pushes what a cork holds back", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Cork(true));
        r.send(&a, b"pushed");
        r.set(&a, SocketOption::NoDelay(true));
        r.arrives(&b);
        r.recv(&b, 8);
    }),
    case("a cork lets go of what has waited for long", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Cork(true));
        r.send(&a, b"in the end");
        r.arrives(&b);
        r.recv(&b, 16);
    }),
    case("a segment size has its range", |r| {
        let a = r.tcp("a", Side::A);
        for bytes in [87, 88, 32_767, 32_768, 0] {
            r.set(&a, SocketOption::MaxSegmentBytes(bytes));
        }
    }),
    case("a fresh stream's segment size is the default", |r| {
        let a = r.tcp("a", Side::A);
        r.get(&a, OptionKey::MaxSegmentBytes);
    }),
    case("a receive buffer is twice what was asked for", |r| {
        let a = r.tcp("a", Side::A);
        r.set(&a, SocketOption::ReceiveBufferBytes(20_000));
        r.get(&a, OptionKey::ReceiveBufferBytes);
    }),
    case("a receive buffer has a smallest size", |r| {
        let a = r.udp("a", Side::A);
        r.set(&a, SocketOption::ReceiveBufferBytes(1));
        r.get(&a, OptionKey::ReceiveBufferBytes);
    }),
    case("a send buffer is twice what was asked for", |r| {
        let a = r.tcp("a", Side::A);
        r.set(&a, SocketOption::SendBufferBytes(20_000));
        r.get(&a, OptionKey::SendBufferBytes);
    }),
    case("a device that is not there cannot be bound to", |r| {
        let (t, u) = (r.tcp("t", Side::A), r.udp("u", Side::A));
        r.set(&t, SocketOption::BindToDevice("nosuch0".into()));
        r.set(&u, SocketOption::BindToDevice("nosuch0".into()));
    }),
    case("a stream bound to the loopback device connects through it", |r| {
        let l = r.tcp("l", Side::A);
        r.bind(&l, r.any_port(Side::A));
        r.listen(&l, 8);
        let a = r.tcp("a", Side::A);
        let to = l.addr();
        let bound = a.sock().set(SocketOption::BindToDevice("lo".into()));
        let bound = bound.or_else(|_| a.sock().set(SocketOption::BindToDevice("lo0".into())));
        r.note(format!("bound to the loopback device: {}", bound.is_ok()));
        r.connect(&a, to);
    }),
];
