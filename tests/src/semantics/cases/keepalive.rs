//! Keep-alives: that an idle stream asks its peer, and when.

use std::time::Duration;

use libnet::Ready;
use libnet::socket::SocketOption;

use super::info::{info, of, settled};
use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case};

pub(super) const CASES: &[Case] = &[
    case("a keep-alive asks an idle peer, which answers", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::KeepAlive(true));
        // A time that is made shorter holds at once.
        r.set(&a, SocketOption::KeepIdle(Duration::from_secs(1)));
        is_asked(r, &b);
        r.error(&a);
        r.poll(&a, Ready::WRITABLE);
        // What it asked with is no data.
        of(r, &b, |info| format!("bytes {}, with data {}", info.bytes_received, info.data_segs_in));
    }),
    case(
        "an accepted connection asks as its listener was told, unless it is told otherwise",
        |r| {
            let l = r.listener(8);
            r.set(&l, SocketOption::KeepIdle(Duration::from_secs(1)));
            r.set(&l, SocketOption::KeepAlive(true));
            let (a, c) = (r.tcp("a", Side::A), r.tcp("c", Side::A));
            r.connect(&a, l.addr());
            let silent = r.accepted(&l);
            r.set(&silent, SocketOption::KeepAlive(false));
            let before = info(&a).map(|info| info.segs_in);
            r.connect(&c, l.addr());
            let b = r.accepted(&l);
            is_asked(r, &c);
            r.note(format!("silent {}", info(&a).map(|info| info.segs_in) == before));
            r.hold(b);
        },
    ),
];

/// Waits until its peer has asked whether it is there.
fn is_asked(r: &mut Run<'_>, s: &S) {
    let before = info(s).map_or(0, |info| info.segs_in);
    settled(r, s, |info| info.segs_in > before);
    of(r, s, |info| format!("asked {}", info.segs_in > before));
}
