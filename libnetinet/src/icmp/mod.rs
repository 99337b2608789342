//! ICMP: RFC 792 as RFC 1122 §3.2.2 asks it of a host.

pub(crate) mod error;
pub(crate) mod input;
pub(crate) mod limit;
pub(crate) mod message;
pub(crate) mod output;
mod redirect;
