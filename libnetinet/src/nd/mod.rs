//! Neighbour discovery (RFC 4861): who is behind an IPv6 address on a link.

pub(crate) mod input;
pub(crate) mod message;
