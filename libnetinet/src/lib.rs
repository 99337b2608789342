//! TCP/IP without I/O: ARP, IPv4, ICMP, IPv6, ICMPv6, UDP, raw sockets and TCP over libnet's engine.
//!
//! [`Inet`] is a whole stack's protocols as one value; a driver of libnet gives it time and links.
#![forbid(unsafe_code)]

pub mod config;
pub mod counters;
pub mod snapshot;
pub mod tcp;

mod address;
mod arp;
mod assign;
mod datagram;
mod domain;
mod drops;
mod error;
pub mod events;
mod family;
mod forward;
mod hash;
mod icmp;
mod icmp6;
mod igmp;
mod inet;
mod inspect;
mod ip;
mod ipv4;
mod ipv6;
mod mld;
mod multicast;
mod nd;
mod neighbour;
mod output;
mod path;
mod ports;
pub mod select;
mod shard;
mod sockets;
mod steer;
mod stream;
pub mod sysctl;
mod trace;
mod wide;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::{ForwardingConfig, InetConfig, PathMtuDiscovery, ReversePath};
pub use forward::Forwarding;
pub use inet::{AdminState, Inet};
pub use ports::{NoPorts, PortSet};
pub use shard::Shard;
