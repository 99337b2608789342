//! The cases, a table for each theme.

use super::Case;

mod bind;
mod close;
mod connect;
mod deferred;
mod errors;
mod fast_open;
mod groups;
mod info;
mod inherited;
mod keepalive;
mod listen;
mod options;
mod reach;
mod readiness;
mod segments;
mod signed;
mod stream;
mod timeouts;
mod timers;
mod udp;
mod urgent;
mod waters;

/// The tables by theme.
pub const TABLES: &[(&str, &[Case])] = &[
    ("bind", bind::CASES),
    ("close", close::CASES),
    ("connect", connect::CASES),
    ("deferred", deferred::CASES),
    ("errors", errors::CASES),
    ("fast_open", fast_open::CASES),
    ("groups", groups::CASES),
    ("info", info::CASES),
    ("inherited", inherited::CASES),
    ("keepalive", keepalive::CASES),
    ("listen", listen::CASES),
    ("options", options::CASES),
    ("reach", reach::CASES),
    ("readiness", readiness::CASES),
    ("segments", segments::CASES),
    ("signed", signed::CASES),
    ("stream", stream::CASES),
    ("timeouts", timeouts::CASES),
    ("timers", timers::CASES),
    ("udp", udp::CASES),
    ("urgent", urgent::CASES),
    ("waters", waters::CASES),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: Vec<_> = TABLES.iter().flat_map(|(_, cases)| *cases).map(|c| c.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
