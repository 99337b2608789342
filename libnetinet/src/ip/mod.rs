//! What the two versions of IP have in common.

pub(crate) mod input;
pub(crate) mod path_mtu;
pub(crate) mod reassembly;
pub(crate) mod sent_to;
