//! One neighbour, as whoever sends to it sees it: without a lock.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::time::Instant;

/// How sure we are of a neighbour. Source: RFC 4861 §7.3.2, for ARP as Linux has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NeighbourState {
    /// Asked for, no answer yet; packets wait.
    Incomplete,
    /// Known, and confirmed not long ago; stale once that is longer ago.
    Reachable,
    /// Stale and in use: asked about soon, unless traffic confirms it first.
    Delay,
    /// Asked by unicast whether it is still there.
    Probe,
    /// Nobody answered.
    Failed,
    /// Set by hand; neither asked about nor forgotten.
    Permanent,
    /// Evicted; whoever holds it looks again.
    Gone,
}

/// What a neighbour is set to by hand: a state, and where one goes with it a MAC address. Source:
/// RFC 4861 §7.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NeighbourSetting {
    /// Neither asked about nor forgotten.
    Permanent(MacAddr),
    /// Confirmed just now.
    Reachable(MacAddr),
    /// Confirmed long ago.
    Stale(MacAddr),
    /// Stale and in use: asked about soon.
    Delay(MacAddr),
    /// Asked by unicast at once whether it is still there.
    Probe(MacAddr),
    /// Asked for at once.
    Incomplete,
    /// Asked for in vain.
    Failed,
}

impl NeighbourSetting {
    const fn mac(self) -> Option<MacAddr> {
        match self {
            NeighbourSetting::Permanent(mac)
            | NeighbourSetting::Reachable(mac)
            | NeighbourSetting::Stale(mac)
            | NeighbourSetting::Delay(mac)
            | NeighbourSetting::Probe(mac) => Some(mac),
            NeighbourSetting::Incomplete | NeighbourSetting::Failed => None,
        }
    }

    /// Has it an address that no station has?
    pub(crate) fn is_wrong(self) -> bool {
        self.mac().is_some_and(|mac| !mac.is_unicast())
    }
}

impl NeighbourState {
    const fn from_bits(bits: u64) -> Self {
        match bits & 0xff {
            0 => NeighbourState::Incomplete,
            1 => NeighbourState::Reachable,
            2 => NeighbourState::Delay,
            3 => NeighbourState::Probe,
            4 => NeighbourState::Failed,
            5 => NeighbourState::Permanent,
            _ => NeighbourState::Gone,
        }
    }
}

/// One neighbour, shared with whoever sends to it: reading it takes no lock.
#[derive(Debug)]
pub(crate) struct Neighbour {
    pub(crate) iface: IfIndex,
    pub(crate) addr: IpAddr,
    /// `MAC << 16 | state`.
    word: AtomicU64,
    /// When it was last known to be there, in ns.
    confirmed_at: AtomicU64,
    /// When something was last sent to it, in ns.
    pub(super) used_at: AtomicU64,
    /// For how long a confirmation holds, in ns.
    reachable: AtomicU64,
}

impl Neighbour {
    pub(super) fn new(iface: IfIndex, addr: IpAddr, reachable: Duration) -> Self {
        Neighbour {
            iface,
            addr,
            reachable: AtomicU64::new(nanos(reachable)),
            word: AtomicU64::new(NeighbourState::Incomplete as u64),
            confirmed_at: AtomicU64::new(0),
            used_at: AtomicU64::new(0),
        }
    }

    /// The address to send to at once; `None`: the table must be asked.
    pub(crate) fn mac_if_fresh(&self, now: Instant) -> Option<MacAddr> {
        let word = self.word.load(Ordering::Acquire);
        let usable = match NeighbourState::from_bits(word) {
            NeighbourState::Permanent | NeighbourState::Delay | NeighbourState::Probe => true,
            NeighbourState::Reachable => self.is_confirmed(now),
            NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::Gone => false,
        };
        if !usable {
            return None;
        }
        self.used_at.store(now.as_nanos(), Ordering::Relaxed);
        Some(MacAddr::from_u64(word >> 16))
    }

    /// What was sent to it arrived: it need not be asked. Source: RFC 4861 §7.3.1.
    pub(crate) fn confirm(&self, now: Instant) {
        // Written seldom: other shards read it for every packet.
        let at = Instant::from_nanos(self.confirmed_at.load(Ordering::Relaxed));
        if now.since(at) > self.reachable() / 8 {
            self.set_confirmed(now);
        }
    }

    /// What was sent to it was lost again and again: it is asked whether it is still there.
    pub(crate) fn suspect(&self) {
        self.confirmed_at.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_confirmed(&self, now: Instant) -> bool {
        let at = Instant::from_nanos(self.confirmed_at.load(Ordering::Relaxed));
        at > Instant::ZERO && now.since(at) < self.reachable()
    }

    pub(super) fn set_confirmed(&self, now: Instant) {
        self.confirmed_at.store(now.as_nanos().max(1), Ordering::Relaxed);
    }

    pub(super) fn set_reachable(&self, reachable: Duration) {
        self.reachable.store(nanos(reachable), Ordering::Relaxed);
    }

    fn reachable(&self) -> Duration {
        Duration::from_nanos(self.reachable.load(Ordering::Relaxed))
    }

    pub(super) fn state(&self) -> NeighbourState {
        NeighbourState::from_bits(self.word.load(Ordering::Acquire))
    }

    pub(super) fn mac(&self) -> MacAddr {
        MacAddr::from_u64(self.word.load(Ordering::Acquire) >> 16)
    }

    pub(super) fn set(&self, mac: MacAddr, state: NeighbourState) {
        self.word.store(mac.to_u64() << 16 | state as u64, Ordering::Release);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Neighbours that a shard has sent to lately, found by a few bits of their address: no hash and
/// no lock for whoever answers many.
pub(crate) struct KnownNeighbours(Box<[Option<Arc<Neighbour>>]>);

const KNOWN: usize = 64;

impl KnownNeighbours {
    /// None.
    pub(crate) fn new() -> Self {
        KnownNeighbours(vec![None; KNOWN].into())
    }

    /// The neighbour, if it is remembered; whether it is fresh is still to be asked.
    pub(crate) fn get(&self, iface: IfIndex, addr: IpAddr) -> Option<Arc<Neighbour>> {
        let known = self.0[Self::slot(addr)].as_ref();
        known.filter(|known| (known.iface, known.addr) == (iface, addr)).map(Arc::clone)
    }

    /// Remembers a neighbour in the place of whoever shares its slot.
    pub(crate) fn keep(&mut self, neighbour: &Arc<Neighbour>) {
        self.0[Self::slot(neighbour.addr)] = Some(Arc::clone(neighbour));
    }

    fn slot(addr: IpAddr) -> usize {
        let last = match addr {
            IpAddr::V4(addr) => addr.to_bits(),
            IpAddr::V6(addr) => addr.to_bits() as u32,
        };
        (last ^ (last >> 8)) as usize % KNOWN
    }
}
