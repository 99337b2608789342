//! IPv4: RFC 791 as RFC 1122 §3 asks it of a host.

pub(crate) mod fragment;
pub(crate) mod header;
pub(crate) mod ident;
pub(crate) mod input;
pub(crate) mod options;
