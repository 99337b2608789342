//! Multicast Listener Discovery: IPv6's words for what `multicast` decides.

pub(crate) mod input;
pub(crate) mod message;
pub(crate) mod output;
