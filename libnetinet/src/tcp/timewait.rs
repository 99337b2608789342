//! TIME-WAIT: what must be remembered of a connection that is over, in 64 bytes at most.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use libnet::Instant;

use super::auth::{ConnAuth, Isns};
use super::segment::FourTuple;
use super::seq::SeqNumber;
use super::slab::{List, Oldest, Slab};
use super::table::PortSharing;
use crate::family::Zone;

/// Connections in TIME-WAIT, the oldest first.
///
/// All stay equally long, so that the order of entering is the order of leaving, and one
/// doubly-linked list through the entries is all the timer that they need.
#[derive(Debug)]
pub(super) struct TimeWaits {
    entries: Slab<Entry>,
    order: List,
    /// Of those that were signed: with what, and both their initial numbers.
    auth: BTreeMap<u32, Box<(ConnAuth, Isns)>>,
    stay: Duration,
    next_deadline: Instant,
}

#[derive(Debug)]
struct Entry {
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    snd_nxt: SeqNumber,
    rcv_nxt: SeqNumber,
    ts_recent: u32,
    /// Milliseconds modulo 2^28 (3 days), then four bits.
    entered: u32,
    /// [`Zone`].
    zone: u32,
}

/// What is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remembered {
    pub(super) tuple: FourTuple,
    pub(super) snd_nxt: SeqNumber,
    pub(super) rcv_nxt: SeqNumber,
    /// TS.Recent, if timestamps were in use.
    pub(super) ts_recent: Option<u32>,
    /// With whom it shares its port.
    pub(super) sharing: PortSharing,
}

impl TimeWaits {
    pub(super) fn new(stay: Duration) -> Self {
        TimeWaits {
            entries: Slab::new(),
            order: List::EMPTY,
            auth: BTreeMap::new(),
            stay: stay.min(MAX_STAY),
            next_deadline: Instant::MAX,
        }
    }

    pub(super) fn insert(&mut self, now: Instant, what: &Remembered) -> u32 {
        let flags = [
            (V6, what.tuple.local.is_ipv6()),
            (HAS_TIMESTAMP, what.ts_recent.is_some()),
            (REUSE_ADDR, what.sharing.reuse_addr),
            (REUSE_PORT, what.sharing.reuse_port),
        ];
        let flags = flags.into_iter().filter(|flag| flag.1).fold(0, |all, flag| all | flag.0);
        let entry = Entry {
            local: to_octets(what.tuple.local),
            remote: to_octets(what.tuple.remote),
            local_port: what.tuple.local_port,
            remote_port: what.tuple.remote_port,
            snd_nxt: what.snd_nxt,
            rcv_nxt: what.rcv_nxt,
            ts_recent: what.ts_recent.unwrap_or(0),
            entered: stamp(now) | flags,
            zone: what.tuple.zone.bits(),
        };
        let index = self.entries.insert(entry);
        self.link(now, index);
        index
    }

    pub(super) fn get(&self, index: u32) -> Remembered {
        let entry = self.entry(index);
        let tuple = FourTuple {
            local: from_octets(entry.local, entry.entered & V6 != 0),
            remote: from_octets(entry.remote, entry.entered & V6 != 0),
            local_port: entry.local_port,
            remote_port: entry.remote_port,
            zone: Zone::from_bits(entry.zone),
        };
        let ts_recent = (entry.entered & HAS_TIMESTAMP != 0).then_some(entry.ts_recent);
        let sharing = PortSharing {
            reuse_addr: entry.entered & REUSE_ADDR != 0,
            reuse_port: entry.entered & REUSE_PORT != 0,
            // Not kept: it is in the way of all that use its link.
            iface: None,
            both_families: false,
        };
        Remembered { tuple, snd_nxt: entry.snd_nxt, rcv_nxt: entry.rcv_nxt, ts_recent, sharing }
    }

    /// All of them, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Remembered)> {
        let next = move |&index: &u32| self.entries.next(index);
        std::iter::successors(self.oldest(), next).map(|index| (index, self.get(index)))
    }

    /// How long it has been here since its last FIN.
    pub(super) fn age(&self, now: Instant, index: u32) -> Duration {
        let entered = self.entry(index).entered;
        let ms = stamp(now).wrapping_sub(entered & !FLAGS) >> FLAG_BITS;
        Duration::from_millis(u64::from(ms))
    }

    /// How long it still stays.
    pub(super) fn left(&self, now: Instant, index: u32) -> Duration {
        self.stay.saturating_sub(self.age(now, index))
    }

    /// RFC 9293 §3.10.7.4: the FIN came again, the 2 MSL start over.
    pub(super) fn restart(&mut self, now: Instant, index: u32) {
        self.unlink(now, index);
        let entry = self.entries.get_mut(index).expect(THERE);
        entry.entered = stamp(now) | (entry.entered & FLAGS);
        self.link(now, index);
    }

    /// It goes on to sign.
    pub(super) fn keep_auth(&mut self, index: u32, auth: ConnAuth, isns: Isns) {
        self.auth.insert(index, Box::new((auth, isns)));
    }

    pub(super) fn auth(&self, index: u32) -> Option<(ConnAuth, Isns)> {
        self.auth.get(&index).map(|auth| (**auth).clone())
    }

    pub(super) fn auth_mut(&mut self, index: u32) -> Option<&mut (ConnAuth, Isns)> {
        self.auth.get_mut(&index).map(|auth| &mut **auth)
    }

    pub(super) fn remove(&mut self, now: Instant, index: u32) {
        self.unlink(now, index);
        self.auth.remove(&index);
        self.entries.release(index);
    }

    /// The next one whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Option<u32> {
        self.oldest().filter(|_| self.next_deadline <= now)
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        self.order.oldest()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.oldest().map(|_| self.next_deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, index: u32) -> &Entry {
        self.entries.get(index).expect(THERE)
    }

    fn link(&mut self, now: Instant, index: u32) {
        if self.entries.push(&mut self.order, index) == Oldest::Changed {
            self.find_deadline(now);
        }
    }

    fn unlink(&mut self, now: Instant, index: u32) {
        if self.entries.unlink(&mut self.order, index) == Oldest::Changed {
            self.find_deadline(now);
        }
    }

    fn find_deadline(&mut self, now: Instant) {
        self.next_deadline = match self.oldest() {
            None => Instant::MAX,
            Some(oldest) => now + self.stay.saturating_sub(self.age(now, oldest)),
        };
    }
}

fn stamp(now: Instant) -> u32 {
    (now.as_millis() as u32) << FLAG_BITS
}

fn to_octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

fn from_octets(octets: [u8; 16], v6: bool) -> IpAddr {
    if v6 {
        return IpAddr::V6(Ipv6Addr::from(octets));
    }
    IpAddr::from([octets[12], octets[13], octets[14], octets[15]])
}

/// The index names an entry of theirs.
const THERE: &str = "a TIME-WAIT that is indexed is there";
const V6: u32 = 1;
const HAS_TIMESTAMP: u32 = 2;
const REUSE_ADDR: u32 = 4;
const REUSE_PORT: u32 = 8;
const FLAG_BITS: u32 = 4;
const FLAGS: u32 = 15;
/// Within what the stamp can tell.
const MAX_STAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::super::slab::Node;
    use super::*;

    fn remembered(port: u16, v6: bool) -> Remembered {
        let (local, remote) = match v6 {
            false => (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])),
            true => (IpAddr::from([1u16; 8]), IpAddr::from([2u16; 8])),
        };
        Remembered {
            tuple: FourTuple { local, remote, local_port: port, remote_port: 80, zone: Zone::NONE },
            snd_nxt: SeqNumber::new(1),
            rcv_nxt: SeqNumber::new(2),
            ts_recent: v6.then_some(7),
            sharing: PortSharing { reuse_addr: v6, reuse_port: !v6, ..PortSharing::default() },
        }
    }

    #[test]
    fn an_entry_takes_64_bytes_at_most_and_keeps_both_families() {
        assert!(size_of::<Node<Entry>>() <= 64);
        let mut waits = TimeWaits::new(Duration::from_secs(60));
        for v6 in [false, true] {
            let index = waits.insert(Instant::from_millis(5), &remembered(9, v6));
            assert_eq!(waits.get(index), remembered(9, v6));
        }
    }

    #[test]
    fn they_leave_in_order_and_a_restart_goes_to_the_back() {
        let at = |s: u64| Instant::from_millis(1_000 * s);
        let mut waits = TimeWaits::new(Duration::from_secs(60));
        let first = waits.insert(at(0), &remembered(1, false));
        let second = waits.insert(at(10), &remembered(2, false));
        assert_eq!(waits.next_deadline(), Some(at(60)));
        waits.restart(at(20), first);
        assert_eq!(waits.next_deadline(), Some(at(70)));
        assert_eq!(waits.expired(at(69)), None);
        assert_eq!(waits.expired(at(70)), Some(second));
        waits.remove(at(70), second);
        assert_eq!(
            (waits.next_deadline(), waits.age(at(75), first)),
            (Some(at(80)), Duration::from_secs(55))
        );
        waits.remove(at(80), first);
        assert_eq!((waits.len(), waits.next_deadline(), waits.oldest()), (0, None, None));
    }
}
