//! The semantics suite: one source of socket cases, run over the host's sockets and over ours.
//!
//! A [`Case`] is a named scenario over two sides of a [`Net`]; what it sees becomes a transcript.
//! The host's transcript is the oracle that every other subject's is held against.

use std::panic::{AssertUnwindSafe, catch_unwind};

pub mod cases;
pub mod difference;
pub mod host;
mod host_groups;
mod host_stream;
pub mod known;
pub mod net;
pub mod node;
pub mod observe;
pub mod run;

pub use net::{Net, Side};
pub use run::Run;

/// One scenario.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it is about, as a sentence.
    pub name: &'static str,
    /// It sends to other networks: only a net that [is closed](Net::is_closed) can run it.
    pub wants_closed_net: bool,
    /// It is about what IPv6 does not have, or about mixing the two.
    pub is_ipv4_only: bool,
    run: fn(&mut Run<'_>),
}

/// The last line of a case that could not go on.
pub const BROKEN: &str = "the case could not go on";

/// A case for a table.
const fn case(name: &'static str, run: fn(&mut Run<'_>)) -> Case {
    Case { name, wants_closed_net: false, is_ipv4_only: false, run }
}

/// A case for a table, which sends to other networks.
const fn closed_case(name: &'static str, run: fn(&mut Run<'_>)) -> Case {
    Case { name, wants_closed_net: true, is_ipv4_only: false, run }
}

/// A case for a table, of IPv4 alone.
const fn four_case(name: &'static str, run: fn(&mut Run<'_>)) -> Case {
    Case { name, wants_closed_net: false, is_ipv4_only: true, run }
}

impl Case {
    /// Runs it over `net`; the lines of what was seen. With the lines that are expected, what
    /// takes its time to come is waited for.
    pub fn transcript(&self, net: &dyn Net, expected: Option<&[String]>) -> Vec<String> {
        let mut run = Run::new(net, expected);
        let ended = catch_unwind(AssertUnwindSafe(|| (self.run)(&mut run)));
        if ended.is_err() {
            run.note(BROKEN);
        }
        run.finish()
    }
}
