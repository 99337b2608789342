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

/// Runs a case over `subject`, with the host's transcript as the oracle.
pub fn judge(case: &Case, oracle: &[String], subject: &dyn Net, known: &[Known]) -> Verdict {
    if oracle.iter().any(|line| line == BROKEN) {
        return Verdict::Broken(oracle.join("\n    "));
    }
    let listed = |known: &Known| {
        known.case == case.name && known.on.iter().any(|name| name == subject.name())
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
