//! Holds a subject's transcript against the host's, and shows how the two differ.

use std::fmt::Write as _;

use super::known::Known;
use super::net::Net;
use super::{BROKEN, Case};

/// How a subject stands to the host in a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It does the same.
    Same,
    /// It differs, as the list of known differences says; both transcripts.
    Meant(String),
    /// It differs, and should not; both transcripts.
    Differs(String),
    /// It does the same, and should differ as the list says.
    NoLongerDiffers,
    /// The case cannot be run on the host; its transcript.
    Broken(String),
}

/// Runs a case over `subject`, with the host's transcript, which is given, as the oracle.
///
/// Where the host's net is open to other processes, their sockets may come between: what is not as
/// it should be is run again there, a bounded number of times, with a fresh oracle.
pub fn judge(
    case: &Case,
    host: &dyn Net,
    oracle: &[String],
    subject: &dyn Net,
    known: &[Known],
) -> Verdict {
    let mut verdict = judge_once(case, oracle, subject, known);
    for _ in 0..MAX_REPEATS {
        if host.is_closed() || matches!(verdict, Verdict::Same | Verdict::Meant(_)) {
            break;
        }
        verdict = judge_once(case, &case.transcript(host, None), subject, known);
    }
    verdict
}

/// How often a case is run again where others may have come between.
const MAX_REPEATS: u32 = 3;

fn judge_once(case: &Case, oracle: &[String], subject: &dyn Net, known: &[Known]) -> Verdict {
    if oracle.iter().any(|line| line == BROKEN) {
        return Verdict::Broken(oracle.join("\n    "));
    }
    let listed = |known: &Known| {
        known.case == case.name
            && known.on.iter().any(|name| name == subject.name())
            && known.is_of(subject.family())
    };
    let meant = known.iter().any(listed);
    // What is meant to differ is not waited for.
    let ours = case.transcript(subject, if meant { None } else { Some(oracle) });
    match (ours == oracle, meant) {
        (true, false) => Verdict::Same,
        (true, true) => Verdict::NoLongerDiffers,
        (false, meant) => {
            let both = side_by_side(("host", oracle), (subject.name(), &ours));
            if meant { Verdict::Meant(both) } else { Verdict::Differs(both) }
        }
    }
}

/// Two transcripts, side by side, with a mark where they differ.
pub fn side_by_side(left: (&str, &[String]), right: (&str, &[String])) -> String {
    let width = left.1.iter().map(String::len).chain([left.0.len()]).max().unwrap_or(0);
    let mut out = format!("    {:width$}   {}\n", left.0, right.0);
    for at in 0..left.1.len().max(right.1.len()) {
        let of = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        let (l, r) = (of(left.1), of(right.1));
        let mark = if l == r { ' ' } else { '|' };
        writeln!(out, "    {l:width$} {mark} {r}").expect("a string takes all");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicU32, Ordering};

    use libnet::errno;
    use libnet::socket::{Family, SockType};

    use super::super::net::{Side, Sock};
    use super::*;

    /// A net whose address is another one for the first so many times that it is asked for.
    struct Moving {
        is_closed: bool,
        left: AtomicU32,
        asked: AtomicU32,
    }

    impl Moving {
        fn new(times: u32, is_closed: bool) -> Self {
            Moving { is_closed, left: AtomicU32::new(times), asked: AtomicU32::new(0) }
        }
    }

    impl Net for Moving {
        fn name(&self) -> &'static str {
            "moving"
        }

        fn family(&self) -> Family {
            Family::Inet
        }

        fn is_closed(&self) -> bool {
            self.is_closed
        }

        fn addr(&self, _: Side) -> IpAddr {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let less = |left: u32| left.checked_sub(1);
            let moved = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            if moved.is_ok() { Ipv4Addr::BROADCAST.into() } else { Ipv4Addr::LOCALHOST.into() }
        }

        fn interface(&self, _: Side) -> u32 {
            1
        }

        fn socket(&self, _: Side, _: SockType) -> io::Result<Box<dyn Sock>> {
            Err(errno::would_block())
        }
    }

    const CASE: Case = super::super::case("an address", |r| {
        let addr = r.net().addr(Side::A);
        r.note(addr.to_string());
    });

    /// The verdict on a host, and how often it was asked.
    fn verdict(host: &Moving) -> (Verdict, u32) {
        let oracle = CASE.transcript(host, None);
        let verdict = judge(&CASE, host, &oracle, &Moving::new(0, true), &[]);
        (verdict, host.asked.load(Ordering::Relaxed))
    }

    #[test]
    fn what_others_came_between_is_run_again() {
        assert_eq!(verdict(&Moving::new(0, false)), (Verdict::Same, 1));
        assert_eq!(verdict(&Moving::new(2, false)), (Verdict::Same, 3));
        let (lasting, asked) = verdict(&Moving::new(100, false));
        assert!(matches!(lasting, Verdict::Differs(_)), "{lasting:?}");
        assert_eq!(asked, 4, "the repeats are bounded");
    }

    #[test]
    fn on_a_closed_net_every_difference_counts() {
        let (once, asked) = verdict(&Moving::new(1, true));
        assert!(matches!(once, Verdict::Differs(_)), "{once:?}");
        assert_eq!(asked, 1);
    }
}
