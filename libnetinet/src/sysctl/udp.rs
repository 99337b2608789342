//! `net.ipv4.udp_*`: UDP over either family.

use super::entry::{Sysctl, config, number};
use super::value::{Kind, Value};

const MOST: u64 = i32::MAX as u64;

pub(super) const TABLE: &[Sysctl] = &[
    config!(
        "net.ipv4.udp_mem",
        Kind::MEMORY,
        "pages of 4096 bytes",
        "memory for what waits in all UDP sockets: above the first number only those that hold little \
         get more, above the last none; the middle one says nothing",
        |config| Value::of_memory(&config.datagram.udp_memory),
        |config, value| config.datagram.udp_memory = value.to_memory()
    )
    .linux("by memory"),
    number!(
        "net.ipv4.udp_rmem_min",
        datagram.udp_receive_min_bytes,
        1,
        MOST,
        "bytes",
        "what a UDP socket may hold although udp_mem is beyond its first number"
    ),
];
