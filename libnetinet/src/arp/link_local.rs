//! Chooses an interface's link-local IPv4 address (RFC 3927): which one to probe, when it is ours,
//! and what comes after it.

use std::net::Ipv4Addr;
use std::time::Duration;

use libnet::ethernet::MacAddr;
use libnet::iface::{IfIndex, IpCidr};
use libnet::time::Instant;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use super::claim::Say;
use super::packet::{ArpPacket, Operation};

/// Looks for an address that nobody on the link has.
pub(crate) struct Seeker {
    pub(crate) iface: IfIndex,
    /// The one that is probed, or ours.
    pub(crate) addr: Ipv4Addr,
    stage: Stage,
    due: Option<Instant>,
    /// Addresses that others had, since one was ours for long.
    conflicts: u32,
    /// When it became ours.
    since: Instant,
    random: ChaCha12Rng,
}

/// How far an address is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The interface is down.
    Paused,
    /// So many probes were sent.
    Probing { sent: u8 },
    /// Nobody had it.
    Ours,
}

impl Seeker {
    /// Begins with the address that the station's MAC address leads to.
    ///
    /// RFC 3927 §2.1: the generator is seeded with what is ours alone, so that we mostly find the
    /// same address again, and no two hosts try the same ones in turn.
    pub(crate) fn new(now: Instant, iface: IfIndex, mac: MacAddr) -> Self {
        let mut seed = [0; 32];
        seed[..6].copy_from_slice(&mac.0);
        let mut random = ChaCha12Rng::from_seed(seed);
        let addr = draw(&mut random);
        let stage = Stage::Paused;
        let mut seeker = Seeker { iface, addr, stage, due: None, conflicts: 0, since: now, random };
        seeker.resume(now);
        seeker
    }

    /// Probes its address, again if it was ours before the interface went down (RFC 3927 §2.2).
    pub(crate) fn resume(&mut self, now: Instant) {
        if self.stage == Stage::Paused {
            self.stage = Stage::Probing { sent: 0 };
            self.due = Some(now + self.wait(Duration::ZERO, PROBE_WAIT));
        }
    }

    /// Says nothing until [`resume`](Self::resume).
    pub(crate) const fn pause(&mut self) {
        self.stage = Stage::Paused;
        self.due = None;
    }

    /// What is due: a probe, or the address is ours. RFC 3927 §2.2.1.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Say> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        match self.stage {
            Stage::Probing { sent } if sent < PROBE_NUM => {
                self.stage = Stage::Probing { sent: sent + 1 };
                let last = sent + 1 == PROBE_NUM;
                let wait = if last { ANNOUNCE_WAIT } else { self.wait(PROBE_MIN, PROBE_MAX) };
                self.due = Some(now + wait);
                Some(Say::Probe)
            }
            Stage::Probing { .. } => {
                (self.stage, self.since, self.due) = (Stage::Ours, now, None);
                Some(Say::Take)
            }
            Stage::Paused | Stage::Ours => {
                self.due = None;
                None
            }
        }
    }

    /// Does another station's packet say that the address being probed is not free?
    ///
    /// RFC 3927 §2.2.1: somebody speaks from it, or probes it too.
    pub(crate) fn is_contested_by(&self, arp: &ArpPacket) -> bool {
        let probes = arp.operation == Operation::Request && arp.sender.is_unspecified();
        matches!(self.stage, Stage::Probing { .. })
            && (arp.sender == self.addr || (probes && arp.target == self.addr))
    }

    /// Another has the address: tries the next one.
    pub(crate) fn next(&mut self, now: Instant) {
        if self.stage == Stage::Ours && now.since(self.since) >= RATE_LIMIT_INTERVAL {
            self.conflicts = 0;
        }
        self.conflicts += 1;
        self.addr = draw(&mut self.random);
        self.stage = Stage::Probing { sent: 0 };
        // RFC 3927 §2.2.1: a host that meets conflict after conflict must not flood the link.
        let wait = match self.conflicts > MAX_CONFLICTS {
            true => RATE_LIMIT_INTERVAL,
            false => self.wait(Duration::ZERO, PROBE_WAIT),
        };
        self.due = Some(now + wait);
    }

    /// Is its address ours?
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self.stage, Stage::Ours)
    }

    /// Is its address being probed?
    pub(crate) const fn is_probing(&self) -> bool {
        matches!(self.stage, Stage::Probing { .. })
    }

    /// When [`expire`](Self::expire) has something to say.
    pub(crate) const fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    fn wait(&mut self, least: Duration, most: Duration) -> Duration {
        let spread = (most - least).as_nanos() as u64;
        least + Duration::from_nanos(self.random.next_u64() % (spread + 1))
    }
}

/// Any of 169.254.1.0 to 169.254.254.255, all alike (RFC 3927 §2.1: the first and the last 256
/// addresses are reserved).
fn draw(random: &mut ChaCha12Rng) -> Ipv4Addr {
    let first = Ipv4Addr::new(169, 254, 1, 0).to_bits();
    Ipv4Addr::from_bits(first + (random.next_u64() % 65_024) as u32)
}

/// An address with the network that all link-local ones are of (RFC 3927 §2.8).
pub(crate) fn cidr_of(addr: Ipv4Addr) -> IpCidr {
    IpCidr::new(addr.into(), 16).expect("16 bits are a prefix")
}

// RFC 3927 §9.
const PROBE_WAIT: Duration = Duration::from_secs(1);
const PROBE_NUM: u8 = 3;
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(2);
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
const MAX_CONFLICTS: u32 = 10;
const RATE_LIMIT_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: IfIndex = IfIndex(2);

    fn seeker(n: u8) -> Seeker {
        Seeker::new(Instant::ZERO, ETH, MacAddr([2, 0, 0, 0, 0, n]))
    }

    #[test]
    fn the_choice_is_the_station_s_own_and_the_same_every_time() {
        assert_eq!(seeker(1).addr, seeker(1).addr);
        assert_ne!(seeker(1).addr, seeker(2).addr);
    }

    #[test]
    fn reserved_addresses_are_never_chosen_and_all_others_may_be() {
        let mut random = ChaCha12Rng::from_seed([7; 32]);
        let mut seen = vec![false; 256];
        for _ in 0..20_000 {
            let [a, b, c, _] = draw(&mut random).octets();
            assert_eq!((a, b), (169, 254));
            seen[usize::from(c)] = true;
        }
        assert!(!seen[0] && !seen[255] && seen[1..255].iter().all(|seen| *seen));
    }

    #[test]
    fn after_ten_conflicts_an_address_is_tried_once_a_minute() {
        let mut seeker = seeker(1);
        let mut tried = Vec::new();
        let mut now = Instant::ZERO;
        while tried.len() < 14 {
            now = seeker.next_deadline().expect("it goes on");
            assert_eq!(seeker.expire(now), Some(Say::Probe));
            tried.push(now);
            seeker.next(now);
        }
        let gaps: Vec<Duration> = tried.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(gaps[..10].iter().all(|gap| *gap <= PROBE_WAIT), "{gaps:?}");
        assert!(gaps[10..].iter().all(|gap| *gap == RATE_LIMIT_INTERVAL), "{gaps:?}");
        assert_eq!(now, tried[13]);
    }

    #[test]
    fn an_address_that_was_ours_for_long_begins_a_new_count() {
        let mut seeker = seeker(1);
        (0..10).for_each(|_| seeker.next(Instant::ZERO));
        while let Some(now) = seeker.next_deadline() {
            seeker.expire(now);
        }
        assert!(seeker.is_ours());
        let later = Instant::ZERO + Duration::from_secs(3_600);
        seeker.next(later);
        assert!(seeker.next_deadline().is_some_and(|due| due.since(later) <= PROBE_WAIT));
    }
}
