//! The family-neutral network core: packets, links, interfaces, routes, the socket layer and the
//! drivers that put clocks, threads and links to it.
#![forbid(unsafe_code)]

pub mod callback;
pub mod capture;
pub mod checksum;
pub mod driver;
pub mod engine;
pub mod errno;
pub mod ethernet;
mod gro;
pub mod gso;
pub mod iface;
pub mod impair;
pub mod landing;
pub mod link;
pub mod loopback;
pub mod net;
pub mod packet;
pub mod pair;
pub mod pool;
pub mod route;
pub mod socket;
pub mod stats;
mod sync;
pub mod time;
pub mod wake;
pub mod wheel;
pub mod world;

pub use ethernet::{EtherType, EthernetHeader, MacAddr};
pub use iface::{IfIndex, Interface, InterfaceSpec, IpCidr};
pub use packet::{Checksum, Gso, GsoKind, Packet};
pub use socket::{Domain, Family, Protocol, SockType, SocketId};
pub use stats::{DropCounters, DropReason};
pub use time::Instant;
pub use wake::{Ready, Registration, WakeSet};
pub use wheel::{TimerHandle, Wheel};
