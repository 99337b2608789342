//! Bounds the ICMP errors that we send: token buckets, one for all and one for each destination.

use std::net::IpAddr;

use libnet::time::Instant;

use crate::config::IcmpConfig;
use crate::hash::Key;

/// The budget for ICMP errors. Source: RFC 1812 §4.3.2.8, shaped as Linux does it.
pub(crate) struct ErrorLimit {
    config: IcmpConfig,
    key: Key,
    all: Bucket,
    /// Destinations share these by hash: memory is bounded whoever provokes errors.
    peers: Box<[Bucket]>,
}

const PEER_BUCKETS: usize = 256;

/// Time that was saved up; an error costs an interval of it.
#[derive(Clone, Copy)]
struct Bucket {
    saved_nanos: u64,
    at: Instant,
}

impl Bucket {
    const fn full() -> Self {
        Bucket { saved_nanos: u64::MAX, at: Instant::ZERO }
    }

    fn allow(&mut self, now: Instant, interval_nanos: u64, burst: u32) -> bool {
        let passed = now.since(self.at).as_nanos() as u64;
        let most = interval_nanos.saturating_mul(u64::from(burst));
        self.at = now;
        self.saved_nanos = self.saved_nanos.saturating_add(passed).min(most);
        let enough = self.saved_nanos >= interval_nanos;
        if enough {
            self.saved_nanos -= interval_nanos;
        }
        enough
    }
}

impl ErrorLimit {
    /// Full buckets.
    pub(crate) fn new(config: IcmpConfig, key: Key) -> Self {
        let peers = vec![Bucket::full(); PEER_BUCKETS].into();
        ErrorLimit { config, key, all: Bucket::full(), peers }
    }

    /// Lives by other budgets from now on.
    pub(crate) fn set_config(&mut self, config: IcmpConfig) {
        self.config = config;
    }

    /// May an error go to `dst` now? Takes it off the budget if so.
    pub(crate) fn allow(&mut self, now: Instant, dst: IpAddr) -> bool {
        let slot = self.key.hash(dst) as usize % PEER_BUCKETS;
        let peer_interval = self.config.peer_interval.as_nanos() as u64;
        if !self.peers[slot].allow(now, peer_interval, self.config.peer_burst) {
            return false;
        }
        let interval = 1_000_000_000 / u64::from(self.config.errors_per_second.max(1));
        self.all.allow(now, interval, self.config.error_burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn one_peer_gets_a_burst_and_then_one_per_interval() {
        let mut limit = ErrorLimit::new(IcmpConfig::default(), Key::new(1, 2));
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let burst = (0..100).filter(|_| limit.allow(Instant::from_millis(10), peer)).count();
        assert_eq!(burst, 6);
        let later = (0..10_000).filter(|&ms| limit.allow(Instant::from_millis(10 + ms), peer));
        assert_eq!(later.count(), 9);
    }

    #[test]
    fn all_peers_together_are_bounded_too() {
        let mut limit = ErrorLimit::new(IcmpConfig::default(), Key::new(1, 2));
        let peers = (0..10_000).map(|n| IpAddr::V4(Ipv4Addr::from_bits(n)));
        let sent = peers.filter(|&peer| limit.allow(Instant::from_millis(1), peer)).count();
        assert_eq!(sent, 50);
    }
}
