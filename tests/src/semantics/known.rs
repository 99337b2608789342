//! The differences that are meant: `tests/conformance/semantics.toml`.

use libnet::socket::Family;
use serde::Deserialize;

/// A case in which a subject does not do what the host does, on purpose.
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Known {
    /// The case's name.
    pub case: String,
    /// The subjects that differ, by name.
    pub on: Vec<String>,
    /// The version of IP that it differs over, 4 or 6; both if not said.
    pub version: Option<u8>,
    /// What Linux does.
    pub linux: String,
    /// What we do.
    pub ours: String,
    /// Why.
    pub reason: String,
}

impl Known {
    /// Does it differ over this family?
    pub fn is_of(&self, family: Family) -> bool {
        self.version.is_none_or(|version| (version == 6) == (family == Family::Inet6))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    difference: Vec<Known>,
}

/// All that are listed, in their order.
///
/// # Panics
/// If the file is not well-formed.
pub fn known() -> Vec<Known> {
    let file: File = toml::from_str(LIST).expect("semantics.toml can be read");
    file.difference
}

const LIST: &str = include_str!("../../conformance/semantics.toml");
