//! The family-neutral network core: packets, links, interfaces, routes, the socket layer and the
//! drivers that put clocks, threads and links to it.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod ethernet;
pub mod link;
pub mod packet;
pub mod time;

pub use ethernet::{EtherType, EthernetHeader, MacAddr};
pub use packet::{Checksum, Gso, GsoKind, Packet};
pub use time::Instant;
