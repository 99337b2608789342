//! What options make of segments: how large they are, how many, and how much may be under way.

use libnet::socket::{OptionKey, SocketOption};

use super::info::{info, of};
use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case};

pub(super) const CASES: &[Case] = &[
    case("small writes with NODELAY are a segment each", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::NoDelay(true));
        write_small(r, &a, &b);
        of(r, &b, |info| format!("segments {}", info.data_segs_in));
    }),
    case("small writes wait while another one is under way", |r| {
        let (a, b) = r.pair();
        // Else each is acknowledged before the next one is written.
        r.set(&b, SocketOption::QuickAck(false));
        write_small(r, &a, &b);
        of(r, &b, |info| format!("fewer segments {}", info.data_segs_in < WRITES));
    }),
    case("what a cork holds back leaves in one segment", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Cork(true));
        for _ in 0..WRITES {
            a.sock().send(b"small", super::super::net::How::Plain).expect("there is room");
        }
        r.set(&a, SocketOption::Cork(false));
        r.recv_all(&b, 5 * WRITES as usize);
        of(r, &b, |info| format!("few segments {}", info.data_segs_in < WRITES));
    }),
    case("a stream's own segment size bounds both directions", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.set(&a, SocketOption::MaxSegmentBytes(600));
        r.get(&a, OptionKey::MaxSegmentBytes);
        r.connect(&a, l.addr());
        let b = r.accepted(&l);
        sizes(r, &a, &b);
        counts(r, &a, &b);
    }),
    case("a listener's segment size is that of its connections", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.set(&l, SocketOption::MaxSegmentBytes(700));
        r.get(&l, OptionKey::MaxSegmentBytes);
        r.connect(&a, l.addr());
        let b = r.accepted(&l);
        sizes(r, &a, &b);
        counts(r, &a, &b);
    }),
    case("of two segment sizes the smaller one counts", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.set(&l, SocketOption::MaxSegmentBytes(700));
        r.set(&a, SocketOption::MaxSegmentBytes(900));
        r.connect(&a, l.addr());
        let b = r.accepted(&l);
        sizes(r, &a, &b);
    }),
    case("a segment size that is set after the connect changes nothing", |r| {
        let (a, b) = r.pair();
        let before = info(&a).map(|info| info.snd_mss_bytes);
        r.set(&a, SocketOption::MaxSegmentBytes(600));
        let after = info(&a).map(|info| info.snd_mss_bytes);
        r.note(format!("the same {}", before == after));
        let told = a.sock().get(OptionKey::MaxSegmentBytes).ok();
        r.note(format!("told {}", told == before.map(SocketOption::MaxSegmentBytes)));
        r.send(&b, b"x");
        r.arrives(&a);
        r.recv(&a, 8);
    }),
    case("a segment size that was taken back is the default", |r| {
        let a = r.tcp("a", Side::A);
        for bytes in [600, 0] {
            r.set(&a, SocketOption::MaxSegmentBytes(bytes));
            r.get(&a, OptionKey::MaxSegmentBytes);
        }
    }),
    case("a listener's clamp bounds the window of its connections", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.set(&l, SocketOption::WindowClamp(8_000));
        r.connect(&a, l.addr());
        let b = r.accepted(&l);
        of(r, &a, |info| format!("window {}", info.snd_wnd_bytes <= 8_000));
        let sent = r.fill(&a);
        r.drain(&b, sent);
    }),
    case("a clamp before the connect bounds the window of the SYN", |r| {
        let (l, a) = (r.listener(8), r.tcp("a", Side::A));
        r.set(&a, SocketOption::WindowClamp(8_000));
        r.connect(&a, l.addr());
        let b = r.accepted(&l);
        of(r, &b, |info| format!("window {}", info.snd_wnd_bytes <= 8_000));
    }),
    case("a congestion control that is changed goes on with what is under way", |r| {
        let (a, b) = r.pair();
        let mut sent = 0;
        for name in ["reno", "cubic"] {
            sent += r.fill(&a);
            r.set(&a, SocketOption::Congestion(name.to_owned()));
            r.get(&a, OptionKey::Congestion);
            r.drain(&b, sent);
            sent = 0;
        }
    }),
];

const WRITES: u32 = 8;

fn write_small(r: &mut Run<'_>, a: &S, b: &S) {
    for _ in 0..WRITES {
        a.sock().send(b"small", super::super::net::How::Plain).expect("there is room");
    }
    r.recv_all(b, 5 * WRITES as usize);
}

/// How large the segments of both sides are, by both ways to ask.
fn sizes(r: &mut Run<'_>, a: &S, b: &S) {
    for s in [a, b] {
        of(r, s, |info| format!("segments of {} bytes", info.snd_mss_bytes));
        r.get(s, OptionKey::MaxSegmentBytes);
    }
}

/// How many segments both sides need for the same.
fn counts(r: &mut Run<'_>, a: &S, b: &S) {
    for (from, to) in [(a, b), (b, a)] {
        r.send(from, &[b's'; 5_000]);
        r.recv_all(to, 5_000);
        of(r, to, |info| format!("segments {}", info.data_segs_in));
    }
}
