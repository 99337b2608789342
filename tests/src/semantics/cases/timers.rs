//! How long a stream waits for its peer.

use std::net::Shutdown;
use std::time::Duration;

use libnet::Ready;
use libnet::socket::{OptionKey, SocketOption, TcpState};

use super::info::{of, settled};
use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case};

pub(super) const CASES: &[Case] = &[
    case("a stream that waits for a window for longer than its user timeout times out", |r| {
        let (a, b) = r.pair();
        let sent = r.fill(&a);
        r.set(&a, SocketOption::UserTimeout(Duration::from_millis(500)));
        r.poll(&a, Ready::ERROR | Ready::HANGUP);
        r.error(&a);
        r.send(&a, b"x");
        r.peer(&a);
        // Its peer was not told.
        r.error(&b);
        r.note(format!("sent {}", sent > 0));
    }),
    case("a connect gives up after as many SYNs as it was told", |r| {
        let (to, a) = (r.silent_tcp(), r.tcp("a", Side::A));
        r.set(&a, SocketOption::SynRetries(1));
        r.nonblocking(&a);
        r.connect(&a, to);
        r.poll(&a, Ready::ERROR);
        of(r, &a, |info| format!("{:?}", info.state));
        r.error(&a);
        r.get(&a, OptionKey::SynRetries);
    }),
    case("a close that does not stay in FIN-WAIT-2 resets its peer", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger2(None));
        half_closed(r, &a, &b);
        r.close(a);
        r.poll(&b, Ready::ERROR);
        r.error(&b);
        r.send(&b, b"x");
    }),
    case("a close that stays in FIN-WAIT-2 leaves its peer alone", |r| {
        let (a, b) = r.pair();
        half_closed(r, &a, &b);
        r.close(a);
        r.poll(&b, Ready::READABLE | Ready::WRITABLE);
        r.error(&b);
        // Nobody is there to receive it.
        r.send(&b, b"x");
        r.poll(&b, Ready::ERROR);
        r.error(&b);
    }),
    case("a stay in FIN-WAIT-2 does not bound a half-closed stream that is open", |r| {
        let (a, b) = r.pair();
        r.set(&a, SocketOption::Linger2(None));
        half_closed(r, &a, &b);
        r.send(&b, b"still");
        r.arrives(&a);
        r.recv(&a, 8);
    }),
];

/// `a` has ended, and knows that `b` knows.
fn half_closed(r: &mut Run<'_>, a: &S, b: &S) {
    r.shutdown(a, Shutdown::Write);
    r.arrives(b);
    settled(r, a, |info| info.state == TcpState::FinWait2);
    of(r, a, |info| format!("{:?}", info.state));
}
