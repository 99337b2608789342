//! Where datagrams were sent to lately: what a router says of the path to anybody else is not
//! believed (RFC 5927 §4.1, RFC 8201 §6).

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hash::Key;

/// Destinations, as many as there is room for; of those that share a place the latest stay.
pub(crate) struct SentTo {
    key: Key,
    /// Hashes of destinations, the latest first; 0: none.
    places: Box<[[AtomicU64; WAYS]]>,
}

/// Destinations of one place.
const WAYS: usize = 4;

impl SentTo {
    /// Nobody was sent to; `most` destinations are remembered.
    pub(crate) fn new(key: Key, most: usize) -> Self {
        let place = || [const { AtomicU64::new(0) }; WAYS];
        SentTo { key, places: (0..most.div_ceil(WAYS).max(1)).map(|_| place()).collect() }
    }

    /// Something is sent to `dst`.
    pub(crate) fn note(&self, dst: IpAddr) {
        let (hash, place) = self.find(dst);
        if place[0].load(Ordering::Relaxed) == hash {
            return;
        }
        // Two at once may lose one of them, whose next datagram brings it back.
        let mut moved = hash;
        for slot in place {
            moved = slot.swap(moved, Ordering::Relaxed);
            if moved == hash {
                return;
            }
        }
    }

    /// Was something sent to `dst`, lately?
    pub(crate) fn knows(&self, dst: IpAddr) -> bool {
        let (hash, place) = self.find(dst);
        place.iter().any(|slot| slot.load(Ordering::Relaxed) == hash)
    }

    fn find(&self, dst: IpAddr) -> (u64, &[AtomicU64; WAYS]) {
        let hash = self.key.hash(dst) | 1;
        let at = (hash >> 1) % self.places.len() as u64;
        (hash, &self.places[at as usize])
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn host(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn the_latest_are_known_and_the_oldest_forgotten() {
        let sent = SentTo::new(Key::new(1, 2), 8);
        assert!(!sent.knows(host(7)));
        for n in 0..1_000 {
            sent.note(host(n));
            assert!(sent.knows(host(n)));
            // Whoever is sent to again and again stays.
            sent.note(host(5_000));
        }
        assert!(sent.knows(host(5_000)));
        assert!((0..1_000).filter(|n| sent.knows(host(*n))).count() < 8);
    }

    #[test]
    fn one_that_is_sent_to_again_takes_one_place() {
        let sent = SentTo::new(Key::new(1, 2), 4);
        for n in [1, 2, 3, 4, 1, 2, 1, 2] {
            sent.note(host(n));
        }
        assert!((1..=4).all(|n| sent.knows(host(n))));
    }
}
