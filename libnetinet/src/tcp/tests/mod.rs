//! Timelines in virtual time: two tables, and a wire between them that does what a test asks.

mod accurate_ecn;
mod basic;
mod buffers;
mod chaos;
mod close;
mod congestion;
mod drops;
mod ecn;
mod fast_open;
mod fuzz;
mod habits;
mod handshake;
mod info;
mod limits;
mod loss;
mod memory;
mod model;
mod mtu_search;
mod net;
mod path_mtu;
mod recovery;
mod reset;
mod sack;
mod settings;
#[cfg(feature = "tcp-auth")]
mod signed;
mod syn_queue;
mod time_wait;
mod urgent;
mod window;
