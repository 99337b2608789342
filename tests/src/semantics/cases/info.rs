//! What a connection tells of itself (`TCP_INFO`), as far as it does not depend on time.

use libnet::socket::{OptionKey, SocketOption, TcpInfo};
use std::net::Shutdown;

use crate::semantics::net::Side;
use crate::semantics::run::S;
use crate::semantics::{Case, Run, case};

pub(super) const CASES: &[Case] = &[
    case("a fresh stream tells that it is closed", |r| {
        let a = r.tcp("a", Side::A);
        of(r, &a, |info| format!("{:?}", info.state));
    }),
    case("a listener tells who waits, and how many may", |r| {
        let l = r.listener(8);
        let waiting = |info: &TcpInfo| {
            format!("{:?} {} {}", info.state, info.unacked_segments, info.sacked_segments)
        };
        of(r, &l, waiting);
        let a = r.tcp("a", Side::A);
        r.connect(&a, l.addr());
        r.poll(&l, libnet::Ready::READABLE);
        of(r, &l, waiting);
        r.accept(&l);
        of(r, &l, waiting);
    }),
    case("a datagram socket has no such information", |r| {
        let a = r.udp("a", Side::A);
        r.get(&a, OptionKey::Info);
    }),
    case("a connection tells its state", |r| {
        let (a, b) = r.pair();
        let state = |info: &TcpInfo| format!("{:?}", info.state);
        of(r, &a, state);
        r.shutdown(&a, Shutdown::Write);
        r.arrives(&b);
        settled(r, &a, |info| info.unacked_segments == 0);
        of(r, &a, state);
        of(r, &b, state);
    }),
    case("a connection tells what was agreed on", |r| {
        let (a, b) = r.pair();
        for s in [&a, &b] {
            of(r, s, |info| format!("{:?} scaled {}", info.options, info.snd_wscale > 0));
            of(r, s, |info| format!("segments {}", info.snd_mss_bytes <= info.advmss_bytes));
            of(r, s, |info| format!("fit the path {}", info.pmtu_bytes > info.snd_mss_bytes));
        }
    }),
    case("a connection tells the bytes and segments that it has sent and received", |r| {
        let (a, b) = r.pair();
        r.send(&a, &[7; 5_000]);
        r.arrives(&b);
        r.recv_all(&b, 5_000);
        r.send(&b, b"answer");
        r.arrives(&a);
        r.recv(&a, 10);
        settled(r, &a, |info| info.unacked_segments == 0);
        settled(r, &b, |info| info.unacked_segments == 0);
        for s in [&a, &b] {
            of(r, s, |info| {
                let once = info.bytes_sent - info.bytes_retrans;
                format!(
                    "{once} sent, {} received, lost {}",
                    info.bytes_received, info.lost_segments
                )
            });
            of(r, s, |info| {
                format!(
                    "with data {} {}, more in all {} {}",
                    info.data_segs_in > 0,
                    info.data_segs_out > 0,
                    info.segs_in > info.data_segs_in,
                    info.segs_out > info.data_segs_out
                )
            });
            of(r, s, |info| format!("delivered {}", info.delivered_segments >= 2));
        }
    }),
    case("a connection tells of its path", |r| {
        let (a, b) = r.pair();
        r.send(&a, b"ask");
        r.arrives(&b);
        r.recv(&b, 10);
        r.send(&b, b"answer");
        r.arrives(&a);
        settled(r, &a, |info| !info.min_rtt.is_zero());
        of(r, &a, |info| format!("{:?} {} {}", info.ca_state, info.retransmits, info.backoff));
        of(r, &a, |info| format!("round trip {}", !info.rtt.is_zero() && !info.min_rtt.is_zero()));
        of(r, &a, |info| {
            format!("time-out {}", info.rto >= info.rtt && info.rto.as_millis() >= 200)
        });
        of(r, &a, |info| {
            format!("window {} to {}", info.snd_cwnd_segments > 0, info.snd_ssthresh_segments)
        });
        of(r, &a, |info| format!("reordering {} {}", info.reordering_segments, info.reord_seen));
        of(r, &a, |info| format!("pace {} {}", info.pacing_rate < u64::MAX, info.max_pacing_rate));
        of(r, &a, |info| format!("rate {}", info.delivery_rate > 0));
        of(r, &b, |info| format!("waits with acknowledgements {:?}", info.ato));
    }),
    case("a connection tells of the windows of both sides", |r| {
        let (a, b) = r.pair();
        for s in [&a, &b] {
            of(r, s, |info| format!("{} {}", info.snd_wnd_bytes > 0, info.rcv_wnd_bytes > 0));
            of(r, s, |info| format!("room {}", info.rcv_space_bytes > 0));
        }
    }),
    case("a full connection tells what it has not sent, and what holds it back", |r| {
        let (a, b) = r.pair();
        let sent = r.fill(&a);
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        of(r, &a, |info| format!("waits {}", info.notsent_bytes > 0));
        of(r, &a, |info| format!("busy {}", info.busy_time >= info.rwnd_limited));
        of(r, &a, |info| format!("for the peer {}", !info.rwnd_limited.is_zero()));
        r.drain(&b, sent);
        settled(r, &a, |info| info.notsent_bytes == 0 && info.unacked_segments == 0);
        of(r, &a, |info| format!("waits {}", info.notsent_bytes > 0));
    }),
];

/// What a socket tells, if it does.
pub(super) fn info(s: &S) -> Option<TcpInfo> {
    match s.sock().get(OptionKey::Info) {
        Ok(SocketOption::Info(info)) => Some(*info),
        _ => None,
    }
}

/// Notes something of it.
pub(super) fn of(r: &mut Run<'_>, s: &S, show: impl Fn(&TcpInfo) -> String) {
    let text = info(s).map_or_else(|| "nothing".to_owned(), |info| show(&info));
    r.note(format!("{}: {text}", s.name));
}

/// Waits, without a word, until it is so.
pub(super) fn settled(r: &mut Run<'_>, s: &S, is_so: impl Fn(&TcpInfo) -> bool) {
    r.until(|| info(s).is_some_and(|info| is_so(&info)));
}
