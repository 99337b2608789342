//! Path MTUs learned from routers (RFC 1191, RFC 8201), bounded and forgotten in time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use libnet::time::Instant;

use crate::config::IpConfig;
use crate::ipv6::header::MIN_MTU;
use crate::wide::lock;

/// What routers said of the paths to destinations.
///
/// Lock rank: wide. Guards the table; asked only when it is not empty.
pub(crate) struct PathMtus {
    /// Rank: leaf. Guards the bounds and times.
    config: Mutex<IpConfig>,
    count: AtomicUsize,
    table: RwLock<BTreeMap<IpAddr, Learned>>,
}

#[derive(Clone, Copy)]
struct Learned {
    mtu: u32,
    expires: Instant,
}

/// RFC 1191 §7, table 7-1: MTUs in use, for routers that do not tell theirs.
const PLATEAUS: [u32; 11] =
    [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68];

impl PathMtus {
    /// Nothing learned yet.
    pub(crate) fn new(config: IpConfig) -> Self {
        PathMtus {
            config: Mutex::new(config),
            count: AtomicUsize::new(0),
            table: RwLock::new(BTreeMap::new()),
        }
    }

    /// Lives by other bounds and times from now on.
    pub(crate) fn set_config(&self, config: IpConfig) {
        *lock(&self.config) = config;
    }

    /// The MTU of the path to `dst`, if it is known to be less than its first link's, and until
    /// when it is believed.
    pub(crate) fn get(&self, now: Instant, dst: IpAddr) -> Option<(u32, Instant)> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let learned = table.get(&dst)?;
        // RFC 1191 §6.3: increases are found by forgetting.
        (now < learned.expires).then_some((learned.mtu, learned.expires))
    }

    /// Takes a router's word that a packet of `packet_bytes` was too long, `reported` being the
    /// next hop's MTU or 0. The MTU now believed, if that is less than before.
    pub(crate) fn lower(
        &self,
        now: Instant,
        dst: IpAddr,
        reported: u32,
        packet_bytes: u32,
    ) -> Option<u32> {
        let config = lock(&self.config).clone();
        let mtu = match reported {
            // RFC 1191 §5: a router of old tells nothing; the next plateau below is tried.
            0 => PLATEAUS.into_iter().find(|&mtu| mtu < packet_bytes).unwrap_or(68),
            mtu => mtu,
        };
        // RFC 1191 §3: a message must never raise the estimate, and one that claims more than what
        // was sent is no news. Forgers like small values: not below our floor.
        let mtu = mtu.max(match dst {
            IpAddr::V4(_) => config.min_path_mtu,
            // RFC 8201 §4: never below what every link carries.
            IpAddr::V6(_) => MIN_MTU,
        });
        if mtu >= packet_bytes || self.get(now, dst).is_some_and(|(old, _)| old <= mtu) {
            return None;
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= config.max_path_mtus && !table.contains_key(&dst) {
            table.retain(|_, learned| now < learned.expires);
            if table.len() >= config.max_path_mtus {
                let soonest = table.iter().min_by_key(|(_, learned)| learned.expires);
                if let Some(addr) = soonest.map(|(addr, _)| *addr) {
                    table.remove(&addr);
                }
            }
        }
        table.insert(dst, Learned { mtu, expires: now + config.path_mtu_age });
        self.count.store(table.len(), Ordering::Release);
        Some(mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn addr(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(n))
    }

    #[test]
    fn an_estimate_falls_and_ages_away() {
        let mtus = PathMtus::new(IpConfig::default());
        let now = Instant::from_millis(5);
        assert_eq!(mtus.lower(now, addr(1), 1400, 1500), Some(1400));
        assert_eq!(mtus.get(now, addr(1)).map(|(mtu, _)| mtu), Some(1400));
        assert_eq!(mtus.lower(now, addr(1), 1450, 1500), None, "never raised by a message");
        assert_eq!(mtus.lower(now, addr(1), 1300, 1400), Some(1300));
        assert_eq!(mtus.get(now + Duration::from_secs(601), addr(1)), None);
    }

    #[test]
    fn old_routers_are_met_with_plateaus_and_forgers_with_a_floor() {
        let mtus = PathMtus::new(IpConfig::default());
        assert_eq!(mtus.lower(Instant::ZERO, addr(1), 0, 1500), Some(1492));
        assert_eq!(mtus.lower(Instant::ZERO, addr(1), 0, 1492), Some(1006));
        assert_eq!(mtus.lower(Instant::ZERO, addr(2), 68, 1500), Some(552));
        assert_eq!(mtus.lower(Instant::ZERO, addr(3), 1500, 1500), None);
        assert_eq!(mtus.lower(Instant::ZERO, addr(3), 9000, 1500), None);
    }

    #[test]
    fn ipv6_never_falls_below_what_every_link_carries() {
        let mtus = PathMtus::new(IpConfig::default());
        let six = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
        assert_eq!(mtus.lower(Instant::ZERO, six, 600, 1500), Some(1280));
        assert_eq!(mtus.lower(Instant::ZERO, six, 600, 1280), None);
    }

    #[test]
    fn the_table_stays_within_its_bound() {
        let config = IpConfig { max_path_mtus: 8, ..IpConfig::default() };
        let mtus = PathMtus::new(config);
        for n in 0..100 {
            assert!(mtus.lower(Instant::from_millis(n), addr(n as u32), 1000, 1500).is_some());
        }
        let known = (0..100).filter(|&n| mtus.get(Instant::from_millis(99), addr(n)).is_some());
        assert_eq!(known.count(), 8);
    }
}
