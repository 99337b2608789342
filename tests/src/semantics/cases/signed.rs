//! `TCP_MD5SIG`: connections whose segments are signed (RFC 2385).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use libnet::Ready;
use libnet::socket::{Md5Key, SocketOption};

use super::info::of;
use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case, four_case};

pub(super) const CASES: &[Case] = &[
    case("a key is given, changed and taken away once", |r| {
        let a = r.tcp("a", Side::A);
        for key in ["one", "two", "", ""] {
            set_key(r, &a, Side::B, key.as_bytes());
        }
    }),
    case("keys of prefixes are told apart by their length", |r| {
        let a = r.tcp("a", Side::A);
        let peer = r.net().addr(Side::B);
        for (prefix_bits, key) in [(8, "wide"), (16, "narrow"), (8, ""), (8, ""), (16, "")] {
            let mut wide = Md5Key::new(peer, key.as_bytes());
            wide.prefix_bits = prefix_bits;
            note_key(r, &a, wide);
        }
    }),
    case("a key has 80 bytes at most", |r| {
        let a = r.tcp("a", Side::A);
        for bytes in [80, 81] {
            set_key(r, &a, Side::B, &vec![b'k'; bytes]);
        }
    }),
    case("a prefix has no more bits than an address", |r| {
        let a = r.tcp("a", Side::A);
        let peer = r.net().addr(Side::B);
        let bits = if peer.is_ipv4() { 32 } else { 128 };
        for prefix_bits in [0, bits, bits + 1] {
            let mut key = Md5Key::new(peer, b"key");
            key.prefix_bits = prefix_bits;
            note_key(r, &a, key);
        }
    }),
    four_case("a stream of IPv4 has no keys for peers of IPv6", |r| {
        let a = r.tcp("a", Side::A);
        note_key(r, &a, Md5Key::new(Ipv6Addr::LOCALHOST.into(), b"key"));
    }),
    case("a datagram socket has no keys", |r| {
        let a = r.udp("a", Side::A);
        set_key(r, &a, Side::B, b"key");
    }),
    case("both ends sign", |r| {
        let (l, a) = ends(r);
        set_key(r, &l, Side::A, b"shared");
        set_key(r, &a, Side::B, b"shared");
        r.connect(&a, l.addr());
        let Some(b) = r.accept(&l) else { return };
        r.close(l);
        r.send(&a, b"signed");
        r.arrives(&b);
        r.recv(&b, 16);
        r.send(&b, b"signed, too");
        r.arrives(&a);
        r.recv(&a, 16);
        // Signatures leave no room for all options.
        for s in [&a, &b] {
            of(r, s, |info| format!("{:?}", info.options));
        }
        r.shutdown(&a, std::net::Shutdown::Write);
        r.arrives(&b);
        r.recv(&b, 16);
    }),
    case("much data are signed", |r| {
        let (l, a) = ends(r);
        set_key(r, &l, Side::A, b"shared");
        set_key(r, &a, Side::B, b"shared");
        r.connect(&a, l.addr());
        let Some(b) = r.accept(&l) else { return };
        let sent = r.fill(&a);
        r.drain(&b, sent);
    }),
    case("a key of a prefix covers a peer", |r| {
        let (l, a) = ends(r);
        let mut all = Md5Key::new(any(r), b"shared");
        all.prefix_bits = 0;
        note_key(r, &l, all);
        set_key(r, &a, Side::B, b"shared");
        r.connect(&a, l.addr());
        r.accept(&l);
    }),
    case("who signs otherwise gets no answer", |r| {
        // Neither signs what the other one does, or they have different keys, or nobody is there.
        let mut asked = Vec::new();
        for (of_listener, own) in [("shared", ""), ("", "shared"), ("shared", "other")] {
            let (l, a) = ends(r);
            for (s, peer, key) in [(&l, Side::A, of_listener), (&a, Side::B, own)] {
                if !key.is_empty() {
                    set_key(r, s, peer, key.as_bytes());
                }
            }
            let to = l.addr();
            r.hold(l);
            asked.push((a, to));
        }
        let to = r.closed_tcp();
        let a = r.tcp("a", Side::A);
        a.sock().bind(r.any_port(Side::A)).expect("a port");
        set_key(r, &a, Side::B, b"shared");
        asked.push((a, to));
        for (a, to) in &asked {
            r.set(a, SocketOption::UserTimeout(Duration::from_millis(300)));
            r.nonblocking(a);
            r.connect(a, *to);
        }
        for (a, _) in &asked {
            r.poll(a, Ready::ERROR);
            r.error(a);
        }
    }),
    case("a key for others is none for this peer", |r| {
        let (l, a) = ends(r);
        note_key(r, &l, Md5Key::new(somebody(r), b"shared"));
        r.connect(&a, l.addr());
        r.accept(&l);
    }),
    case("an accepted connection has a key of its own", |r| {
        let (l, a) = ends(r);
        set_key(r, &l, Side::A, b"shared");
        set_key(r, &a, Side::B, b"shared");
        r.connect(&a, l.addr());
        let Some(b) = r.accept(&l) else { return };
        set_key(r, &b, Side::A, b"");
        set_key(r, &l, Side::A, b"");
        set_key(r, &b, Side::A, b"");
    }),
    case("a key may be given to a connection", |r| {
        let (a, b) = r.pair();
        let (to_a, to_b) = (a.addr().ip(), b.addr().ip());
        note_key(r, &a, Md5Key::new(to_b, b"shared"));
        note_key(r, &b, Md5Key::new(to_a, b"shared"));
        r.send(&a, b"signed");
        r.arrives(&b);
        r.recv(&b, 16);
    }),
];

/// A listener at side B, and a stream at side A that is bound to that side's address.
fn ends(r: &mut Run<'_>) -> (S, S) {
    let (l, a) = (r.listener(8), r.tcp("a", Side::A));
    a.sock().bind(r.any_port(Side::A)).expect("a port");
    (l, a)
}

/// Gives a socket a key for the peer of a side.
fn set_key(r: &mut Run<'_>, s: &S, peer: Side, key: &[u8]) {
    let key = Md5Key::new(r.net().addr(peer), key);
    note_key(r, s, key);
}

fn note_key(r: &mut Run<'_>, s: &S, key: Md5Key) {
    let call = format!("key of {} bytes for {} bits", key.key.len(), key.prefix_bits);
    let done = s.sock().set(SocketOption::Md5Key(key));
    r.result(s, &call, done);
}

/// The unspecified address of the net's family.
fn any(r: &Run<'_>) -> IpAddr {
    let four = r.net().addr(Side::A).is_ipv4();
    if four { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// An address that is neither side's.
fn somebody(r: &Run<'_>) -> IpAddr {
    r.here(SocketAddr::from(([192, 0, 2, 9], 0))).ip()
}
