//! Identification of datagrams that may be fragmented.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};

use libnet::socket::Protocol;

use crate::hash::Key;

/// Counters that hand out identifications, each shared by the flows that hash to it.
///
/// RFC 6864 §4.3: only datagrams that may be fragmented need one that is unique for source,
/// destination and protocol; the others are sent with 0.
pub(crate) struct Identifiers {
    key: Key,
    counters: Box<[AtomicU16]>,
}

const COUNTERS: usize = 1024;

impl Identifiers {
    /// Counters that start anywhere.
    pub(crate) fn new(key: Key) -> Self {
        let start = |i: usize| AtomicU16::new(key.hash(i) as u16);
        Identifiers { key, counters: (0..COUNTERS).map(start).collect() }
    }

    /// The next identification for a datagram of this source, destination and protocol.
    pub(crate) fn next(&self, src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol) -> u16 {
        let slot = self.key.hash((src, dst, protocol.0)) as usize % COUNTERS;
        self.counters[slot].fetch_add(1, Ordering::Relaxed)
    }
}
