//! The cases, a table for each theme.

use super::Case;

mod bind;
mod close;
mod connect;
mod errors;
mod groups;
mod info;
mod listen;
mod options;
mod reach;
mod readiness;
mod stream;
mod timeouts;
mod udp;
mod urgent;
mod waters;

/// The tables by theme.
pub const TABLES: &[(&str, &[Case])] = &[
    ("bind", bind::CASES),
    ("close", close::CASES),
    ("connect", connect::CASES),
    ("errors", errors::CASES),
    ("groups", groups::CASES),
    ("info", info::CASES),
    ("listen", listen::CASES),
    ("options", options::CASES),
    ("reach", reach::CASES),
    ("readiness", readiness::CASES),
    ("stream", stream::CASES),
    ("timeouts", timeouts::CASES),
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
