//! `net.ipv4.udp_*`: UDP over either family.

use super::entry::{Sysctl, config, number};
use super::value::{Kind, Value};
use crate::tcp::MemoryLimits;

/// Linux counts memory in pages.
const PAGE_BYTES: u64 = 4096;
const MOST: u64 = i32::MAX as u64;

pub(super) const TABLE: &[Sysctl] = &[
    config!(
        "net.ipv4.udp_mem",
        Kind::Numbers { count: 3, least: 1, most: MOST },
        "pages of 4096 bytes",
        "memory for what waits in all UDP sockets: above the first number only those that hold little \
         get more, above the last none; the middle one says nothing",
        |config| {
            let MemoryLimits { low_bytes, pressure_bytes, high_bytes } = config.datagram.udp_memory;
            Value::Numbers([low_bytes, pressure_bytes, high_bytes].map(|n| n / PAGE_BYTES).to_vec())
        },
        |config, value| {
            let bytes = |place| value.at(place) * PAGE_BYTES;
            config.datagram.udp_memory = MemoryLimits {
                low_bytes: bytes(0),
                pressure_bytes: bytes(1),
                high_bytes: bytes(2),
            };
        }
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
