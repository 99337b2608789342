//! ARP for IPv4 over Ethernet: RFC 826, with the conflict detection of RFC 5227 and the choice of
//! link-local addresses of RFC 3927.

pub(crate) mod claim;
mod control;
pub(crate) mod farewell;
pub(crate) mod input;
pub(crate) mod link_local;
pub(crate) mod packet;
