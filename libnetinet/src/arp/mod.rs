//! ARP for IPv4 over Ethernet: RFC 826, with the conflict detection of RFC 5227.

pub(crate) mod claim;
pub(crate) mod input;
pub(crate) mod packet;
