//! The ways of packets that are passed on, remembered by each shard.

use std::net::IpAddr;

use libnet::time::Instant;

use crate::path::{NoPath, Path};
use crate::shard::Shard;
use crate::wide::Wide;

/// The ways of recent destinations, found by a few bits of theirs: no lock, and no look-up in a
/// table of a million routes. Nothing is allocated before the first packet.
pub(crate) struct TransitPaths(Vec<Option<Box<Path>>>);

/// Slots; destinations that share one look their ways up in turn.
const SLOTS: usize = 1024;

impl TransitPaths {
    /// None known.
    pub(crate) const fn new() -> Self {
        TransitPaths(Vec::new())
    }

    fn take(&mut self, wide: &Wide, now: Instant, dst: IpAddr) -> Option<Box<Path>> {
        let path = self.0.get_mut(slot(dst))?.take()?;
        (path.dst == dst && path.is_valid(wide, now)).then_some(path)
    }

    fn keep(&mut self, path: Box<Path>) {
        if self.0.is_empty() {
            self.0.resize_with(SLOTS, || None);
        }
        let slot = slot(path.dst);
        self.0[slot] = Some(path);
    }
}

fn slot(dst: IpAddr) -> usize {
    let bits = match dst {
        IpAddr::V4(addr) => u64::from(addr.to_bits()),
        IpAddr::V6(addr) => {
            let bits = addr.to_bits();
            (bits as u64) ^ ((bits >> 64) as u64).rotate_left(29)
        }
    };
    // Fibonacci hashing: the high bits of the product depend on all bits of the address.
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % SLOTS
}

impl Shard {
    /// The way of a packet for somebody else; to be given back to
    /// [`keep_transit_path`](Self::keep_transit_path) when it was used.
    pub(super) fn transit_path(&mut self, now: Instant, dst: IpAddr) -> Result<Box<Path>, NoPath> {
        match self.transit_paths.take(&self.wide, now, dst) {
            Some(path) => Ok(path),
            None => Path::transit(&self.wide, dst).map(Box::new),
        }
    }

    /// Remembers a way for the next packet.
    pub(super) fn keep_transit_path(&mut self, path: Box<Path>) {
        self.transit_paths.keep(path);
    }
}
