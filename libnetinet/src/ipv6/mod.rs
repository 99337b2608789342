//! IPv6: RFC 8200 as it asks it of a host.

pub(crate) mod extension;
pub(crate) mod flow_label;
pub(crate) mod fragment;
pub(crate) mod header;
pub(crate) mod input;
