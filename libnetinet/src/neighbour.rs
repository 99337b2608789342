//! Neighbours: who is behind an address on a link, and what waits to be sent there.
//!
//! Speaks no protocol: ARP and neighbour discovery tell it what they heard, and carry out the
//! [`Action`]s that it asks for.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::stats::{DropReason, Dropped};
use libnet::time::Instant;

use crate::config::ArpConfig;
use crate::drops::FamilyDrops;
use crate::hash::{HashMap, Key};

mod one;
mod six;
mod waiting;

pub(crate) use one::{KnownNeighbours, Neighbour};
pub use one::{NeighbourSetting, NeighbourState};
pub(crate) use six::Heard;
use waiting::{AllWaiting, Waiting};

/// How somebody's address came to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Evidence {
    /// It answered what we asked.
    Answer,
    /// It asked for us, so it will want an answer: worth an entry (RFC 826).
    AskedForUs,
    /// We overheard it: only what is known already is brought up to date (RFC 826).
    Overheard,
}

/// Whom to send to on the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NextHop {
    pub(crate) iface: IfIndex,
    pub(crate) addr: IpAddr,
    /// It is to pass on what it gets.
    pub(crate) is_gateway: bool,
    /// What it gets is another host's, passed on by us.
    pub(crate) for_others: bool,
}

/// What the protocol that resolves is to do, once the table is unlocked.
#[derive(Debug)]
pub(crate) enum Action {
    /// Ask for an address: one station, or all. `src` is where the packet that waits for the
    /// answer comes from, if one does.
    Ask { iface: IfIndex, addr: IpAddr, to: Option<MacAddr>, src: Option<IpAddr> },
    /// Send what waited.
    Send { iface: IfIndex, to: MacAddr, packet: Packet },
    /// Tell its sender that nobody is there.
    Unreachable { packet: Packet },
    /// It was a router and says that it is none any more (RFC 4861 §7.2.5).
    NoRouter { iface: IfIndex, addr: Ipv6Addr },
}

/// A neighbour as tools show it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NeighbourEntry {
    /// On which interface.
    pub iface: IfIndex,
    /// Its address.
    pub addr: IpAddr,
    /// Its MAC address, if known.
    pub mac: Option<MacAddr>,
    /// How sure that is.
    pub state: NeighbourState,
    /// Known, but not confirmed lately.
    pub stale: bool,
    /// It passes on what is not for it (IsRouter, RFC 4861 §5.1).
    pub router: bool,
    /// Packets that wait for it.
    pub waiting_packets: usize,
}

/// All neighbours of a stack, bounded.
///
/// Lock rank: wide. Nothing else is locked, and nothing sent, while it is.
pub(crate) struct NeighbourTable {
    config: ArpConfig,
    entries: HashMap<NeighbourKey, Entry>,
    timers: BTreeSet<(Instant, NeighbourKey)>,
    /// Entries that others made by asking for us, the oldest first; those that we have used since
    /// are passed over.
    unasked: VecDeque<NeighbourKey>,
    /// What routers said of an interface's IPv6 neighbours.
    times: Vec<(IfIndex, Times)>,
    drops: FamilyDrops,
    waiting: AllWaiting,
    /// A gateway died or came back since [`take_gateways_changed`](Self::take_gateways_changed).
    gateways_changed: bool,
    /// Who may have changed since [`take_changes`](Self::take_changes); `None`: nobody wants to know.
    changes: Option<BTreeSet<NeighbourKey>>,
    /// How many were evicted to make room.
    pub(crate) evicted: u64,
}

pub(crate) type NeighbourKey = (IfIndex, IpAddr);

/// How long neighbours are believed and waited for on an interface. Source: RFC 4861 §6.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Times {
    /// `ReachableTime`, with its random part.
    pub(crate) reachable: Duration,
    /// `RetransTimer`.
    pub(crate) retransmit: Duration,
}

struct Entry {
    shared: Arc<Neighbour>,
    waiting: Waiting,
    probes_sent: u8,
    /// Something was sent through it to somebody else.
    is_gateway: bool,
    /// It says that it is a router.
    is_router: bool,
    /// It asked for us, and nothing was sent to it yet.
    unasked: bool,
    timer: Option<Instant>,
    /// When the MAC address last changed.
    changed_at: Instant,
}

impl Entry {
    /// Lets a packet wait.
    fn enqueue(
        &mut self,
        packet: Packet,
        config: &ArpConfig,
        drops: &FamilyDrops,
        all: &mut AllWaiting,
    ) {
        let iface = self.shared.iface;
        self.waiting.push(packet, config, all, |oldest| {
            let dropped = Dropped::new(iface, Medium::Ip, oldest);
            drops.outgoing(DropReason::NeighbourQueueFull, dropped);
        });
    }
}

impl NeighbourTable {
    /// An empty table.
    pub(crate) fn new(config: ArpConfig, key: Key, drops: FamilyDrops) -> Self {
        NeighbourTable {
            config,
            entries: HashMap::with_hasher(key),
            timers: BTreeSet::new(),
            unasked: VecDeque::new(),
            times: Vec::new(),
            drops,
            waiting: AllWaiting::default(),
            gateways_changed: false,
            changes: None,
            evicted: 0,
        }
    }

    /// Lives by other bounds and times from now on; timers that run are not touched.
    pub(crate) fn set_config(&mut self, config: ArpConfig) {
        self.config = config;
        while self.entries.len() > self.config.max_entries && self.evict() {}
    }

    /// Sends a packet to a neighbour: at once if it is known, else it waits for the answer.
    /// `None` if there is no room for another neighbour.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        hop: NextHop,
        packet: Packet,
        actions: &mut Vec<Action>,
    ) -> Option<Arc<Neighbour>> {
        let NextHop { iface, addr, .. } = hop;
        let key = (iface, addr);
        // RFC 6583 §6.1: whoever scans a network through us leaves room for our own neighbours, also
        // when it comes to those again that did not answer.
        let crowded =
            hop.for_others && self.waiting.neighbours >= self.config.max_entries.div_ceil(2);
        let is_refused =
            crowded && (!self.entries.contains_key(&key) || self.is_failed(iface, addr));
        if is_refused || !self.make_entry(key) {
            self.drops
                .outgoing(DropReason::NeighbourTableFull, Dropped::new(iface, Medium::Ip, &packet));
            return None;
        }
        let config = self.config.clone();
        let times = self.times_of(key);
        let entry = self.entries.get_mut(&key)?;
        entry.is_gateway |= hop.is_gateway;
        entry.unasked = false;
        let shared = Arc::clone(&entry.shared);
        shared.used_at.store(now.as_nanos(), Ordering::Relaxed);
        if let Some(to) = shared.mac_if_fresh(now) {
            actions.push(Action::Send { iface, to, packet });
            return Some(shared);
        }
        match shared.state() {
            NeighbourState::Reachable => {
                // RFC 4861 §7.3.3: a stale neighbour is used, and asked about a little later.
                let mac = shared.mac();
                shared.set(mac, NeighbourState::Delay);
                self.set_timer(key, Some(now + config.delay));
                actions.push(Action::Send { iface, to: mac, packet });
            }
            NeighbourState::Incomplete if entry.timer.is_some() => {
                entry.enqueue(packet, &config, &self.drops, &mut self.waiting);
            }
            _ => {
                shared.set(MacAddr::ZERO, NeighbourState::Incomplete);
                entry.probes_sent = 1;
                let src = source_of(&packet);
                entry.enqueue(packet, &config, &self.drops, &mut self.waiting);
                self.set_timer(key, Some(now + times.retransmit));
                actions.push(Action::Ask { iface, addr, to: None, src });
            }
        }
        Some(shared)
    }

    /// Takes in that `mac` claims to be `addr`.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        iface: IfIndex,
        addr: IpAddr,
        mac: MacAddr,
        evidence: Evidence,
        actions: &mut Vec<Action>,
    ) {
        let key = (iface, addr);
        if !self.entries.contains_key(&key) {
            // RFC 826: an entry is made only for who asked for us. Nobody can fill the table by
            // answering what was not asked.
            if evidence != Evidence::AskedForUs || !self.make_unasked(key) {
                return;
            }
        }
        let config = self.config.clone();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let shared = Arc::clone(&entry.shared);
        let known = !matches!(shared.state(), NeighbourState::Incomplete | NeighbourState::Failed);
        if shared.state() == NeighbourState::Permanent {
            return;
        }
        let moved = known && shared.mac() != mac;
        // The first of several answers stands for a moment, so that two who answer do not make
        // the entry flap.
        if moved && evidence != Evidence::AskedForUs && now.since(entry.changed_at) < config.lock {
            return;
        }
        // Only who was asked may answer: an unasked reply changes the address, but not our trust.
        let asked = matches!(shared.state(), NeighbourState::Incomplete | NeighbourState::Probe);
        if evidence == Evidence::Answer && asked {
            shared.set_confirmed(now);
        } else if moved || !known {
            shared.suspect();
        } else {
            return;
        }
        if moved || !known {
            entry.changed_at = now;
        }
        self.gateways_changed |= entry.is_gateway && !known;
        shared.set(mac, NeighbourState::Reachable);
        entry.probes_sent = 0;
        entry.release(mac, &mut self.waiting, actions);
        self.set_timer(key, Some(now + config.expire));
    }

    /// Sets how long IPv6 neighbours on an interface are believed, as routers say it.
    pub(crate) fn set_times(&mut self, iface: IfIndex, times: Times) {
        match self.times.iter_mut().find(|(of, _)| *of == iface) {
            Some((_, old)) => *old = times,
            None => self.times.push((iface, times)),
        }
        for ((_, addr), entry) in self.entries.iter().filter(|((of, _), _)| *of == iface) {
            if addr.is_ipv6() {
                entry.shared.set_reachable(times.reachable);
            }
        }
    }

    fn times_of(&self, (iface, addr): NeighbourKey) -> Times {
        let learned = self.times.iter().find(|(of, _)| addr.is_ipv6() && *of == iface);
        let (reachable, retransmit) = (self.config.reachable, self.config.retransmit);
        learned.map_or(Times { reachable, retransmit }, |&(_, times)| times)
    }

    /// Sets a neighbour by hand; from there it goes on as if it had got so by itself.
    pub(crate) fn set(
        &mut self,
        now: Instant,
        iface: IfIndex,
        addr: IpAddr,
        setting: NeighbourSetting,
        actions: &mut Vec<Action>,
    ) -> bool {
        use NeighbourSetting as To;
        let key = (iface, addr);
        if !self.make_entry(key) {
            return false;
        }
        let config = self.config.clone();
        let retransmit = self.times_of(key).retransmit;
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let shared = Arc::clone(&entry.shared);
        let was_failed = shared.state() == NeighbourState::Failed;
        shared.used_at.store(now.as_nanos(), Ordering::Relaxed);
        shared.suspect();
        (entry.probes_sent, entry.changed_at) = (1, now);
        let ask = |to| Action::Ask { iface, addr, to, src: None };
        let (mac, state, timer) = match setting {
            To::Permanent(mac) => (mac, NeighbourState::Permanent, None),
            To::Reachable(mac) => {
                shared.set_confirmed(now);
                (mac, NeighbourState::Reachable, Some(now + config.expire))
            }
            To::Stale(mac) => (mac, NeighbourState::Reachable, Some(now + config.expire)),
            To::Delay(mac) => (mac, NeighbourState::Delay, Some(now + config.delay)),
            To::Probe(mac) => {
                actions.push(ask(Some(mac)));
                (mac, NeighbourState::Probe, Some(now + retransmit))
            }
            To::Incomplete => {
                actions.push(ask(None));
                (MacAddr::ZERO, NeighbourState::Incomplete, Some(now + retransmit))
            }
            To::Failed => (MacAddr::ZERO, NeighbourState::Failed, Some(now + config.expire)),
        };
        shared.set(mac, state);
        self.gateways_changed |=
            entry.is_gateway && was_failed != (state == NeighbourState::Failed);
        match state {
            NeighbourState::Incomplete => {}
            NeighbourState::Failed => {
                let waiting = entry.waiting.take(&mut self.waiting);
                for packet in waiting {
                    let dropped = Dropped::new(iface, Medium::Ip, &packet);
                    self.drops.outgoing(DropReason::NeighbourUnreachable, dropped);
                    actions.push(Action::Unreachable { packet });
                }
            }
            _ => entry.release(mac, &mut self.waiting, actions),
        }
        self.set_timer(key, timer);
        true
    }

    /// Forgets a neighbour; whether it was known.
    pub(crate) fn remove(&mut self, iface: IfIndex, addr: IpAddr) -> bool {
        let key = (iface, addr);
        self.set_timer(key, None);
        let Some(mut entry) = self.entries.remove(&key) else { return false };
        let failed = entry.shared.state() == NeighbourState::Failed;
        self.gateways_changed |= entry.is_gateway && failed;
        entry.shared.set(MacAddr::ZERO, NeighbourState::Gone);
        let waiting = entry.waiting.take(&mut self.waiting);
        for packet in &waiting {
            let dropped = Dropped::new(iface, Medium::Ip, packet);
            self.drops.outgoing(DropReason::NeighbourUnreachable, dropped);
        }
        true
    }

    /// Was it asked for in vain?
    pub(crate) fn is_failed(&self, iface: IfIndex, addr: IpAddr) -> bool {
        let entry = self.entries.get(&(iface, addr));
        entry.is_some_and(|entry| entry.shared.state() == NeighbourState::Failed)
    }

    /// Has a gateway died or come back since the last call?
    pub(crate) fn take_gateways_changed(&mut self) -> bool {
        std::mem::take(&mut self.gateways_changed)
    }

    /// Asks again, gives up, forgets: whatever is due.
    pub(crate) fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some(&(at, key)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.remove(&(at, key));
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.timer = None;
            }
            self.fire(now, key, actions);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// Packets that wait for an address.
    pub(crate) fn waiting_packets(&self) -> usize {
        self.entries.values().map(|entry| entry.waiting.len()).sum()
    }

    /// All of them, in no order.
    pub(crate) fn snapshot(&self, now: Instant) -> Vec<NeighbourEntry> {
        self.entries.values().map(|entry| entry.show(now)).collect()
    }

    /// From now on, are changes to be told by [`take_changes`](Self::take_changes)?
    pub(crate) fn tell_changes(&mut self, tell: bool) {
        match tell {
            true => drop(self.changes.get_or_insert_default()),
            false => self.changes = None,
        }
    }

    /// The neighbours that may have changed since the last call, as they are now; `None`: gone.
    pub(crate) fn take_changes(&mut self) -> Vec<(NeighbourKey, Option<NeighbourEntry>)> {
        let changed = self.changes.as_mut().map(std::mem::take).unwrap_or_default();
        // Of when it is told, nothing is shown.
        let show = |key| self.entries.get(&key).map(|entry| entry.show(Instant::ZERO));
        changed.into_iter().map(|key| (key, show(key))).collect()
    }

    fn fire(&mut self, now: Instant, key: NeighbourKey, actions: &mut Vec<Action>) {
        let config = self.config.clone();
        let retransmit = self.times_of(key).retransmit;
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let shared = Arc::clone(&entry.shared);
        let (iface, addr) = key;
        let src = entry.waiting.first().and_then(source_of);
        let next = match shared.state() {
            NeighbourState::Incomplete if entry.probes_sent < config.broadcast_probes => {
                entry.probes_sent += 1;
                actions.push(Action::Ask { iface, addr, to: None, src });
                now + retransmit
            }
            NeighbourState::Delay | NeighbourState::Probe if shared.is_confirmed(now) => {
                shared.set(shared.mac(), NeighbourState::Reachable);
                now + config.expire
            }
            NeighbourState::Probe if entry.probes_sent < config.unicast_probes => {
                entry.probes_sent += 1;
                actions.push(Action::Ask { iface, addr, to: Some(shared.mac()), src });
                now + retransmit
            }
            NeighbourState::Delay if config.unicast_probes > 0 => {
                // RFC 1122 §2.3.2.1(2): ask by unicast first, so that a thousand others sleep on.
                shared.set(shared.mac(), NeighbourState::Probe);
                entry.probes_sent = 1;
                actions.push(Action::Ask { iface, addr, to: Some(shared.mac()), src });
                now + retransmit
            }
            NeighbourState::Incomplete | NeighbourState::Delay | NeighbourState::Probe => {
                self.gateways_changed |= entry.is_gateway;
                shared.set(MacAddr::ZERO, NeighbourState::Failed);
                let waiting = entry.waiting.take(&mut self.waiting);
                for packet in &waiting {
                    let dropped = Dropped::new(iface, Medium::Ip, packet);
                    self.drops.outgoing(DropReason::NeighbourUnreachable, dropped);
                }
                actions.extend(waiting.into_iter().map(|packet| Action::Unreachable { packet }));
                now + config.expire
            }
            NeighbourState::Reachable | NeighbourState::Failed => {
                let used = Instant::from_nanos(shared.used_at.load(Ordering::Relaxed));
                if now.since(used) >= config.expire {
                    self.remove(iface, addr);
                    return;
                }
                used + config.expire
            }
            NeighbourState::Permanent | NeighbourState::Gone => return,
        };
        self.set_timer(key, Some(next));
    }

    /// Makes sure that there is an entry, evicting another if there must; `false` if none can go.
    fn make_entry(&mut self, key: NeighbourKey) -> bool {
        if self.entries.contains_key(&key) {
            return true;
        }
        if self.entries.len() >= self.config.max_entries && !self.evict() {
            return false;
        }
        let reachable = self.times_of(key).reachable;
        let entry = Entry {
            shared: Arc::new(Neighbour::new(key.0, key.1, reachable)),
            waiting: Waiting::default(),
            probes_sent: 0,
            is_gateway: false,
            is_router: false,
            unasked: false,
            timer: None,
            changed_at: Instant::ZERO,
        };
        self.entries.insert(key, entry);
        true
    }

    /// The same for somebody whom we did not ask for. They share a part of the table and push out
    /// each other: whoever floods us with questions evicts nobody that we talk to.
    fn make_unasked(&mut self, key: NeighbourKey) -> bool {
        while self.unasked.len() >= (self.config.max_entries / UNASKED_PART).max(1) {
            let Some(oldest) = self.unasked.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.unasked) {
                self.evicted += 1;
                self.remove(oldest.0, oldest.1);
            }
        }
        if !self.make_entry(key) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.unasked = true;
            self.unasked.push_back(key);
        }
        true
    }

    /// Drops the entry unused for longest; those that packets wait for and those set by hand stay.
    fn evict(&mut self) -> bool {
        let candidates = self.entries.iter().filter(|(_, entry)| {
            entry.waiting.is_empty() && entry.shared.state() != NeighbourState::Permanent
        });
        let used = |entry: &Entry| entry.shared.used_at.load(Ordering::Relaxed);
        let oldest = candidates.min_by_key(|(key, entry)| (used(entry), **key));
        let Some((&(iface, addr), _)) = oldest else { return false };
        self.evicted += 1;
        self.remove(iface, addr)
    }

    /// Sets when a neighbour is looked at next. Goes with every change of its state.
    fn set_timer(&mut self, key: NeighbourKey, at: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if let Some(changes) = &mut self.changes {
            changes.insert(key);
        }
        if let Some(old) = std::mem::replace(&mut entry.timer, at) {
            self.timers.remove(&(old, key));
        }
        if let Some(at) = at {
            self.timers.insert((at, key));
        }
    }
}

/// One entry in so many may be of those who asked for us.
const UNASKED_PART: usize = 4;

impl Entry {
    /// As tools show it.
    fn show(&self, now: Instant) -> NeighbourEntry {
        let shared = &self.shared;
        let (state, mac) = (shared.state(), shared.mac());
        NeighbourEntry {
            iface: shared.iface,
            addr: shared.addr,
            mac: (mac != MacAddr::ZERO).then_some(mac),
            state,
            stale: state == NeighbourState::Reachable && !shared.is_confirmed(now),
            router: self.is_router,
            waiting_packets: self.waiting.len(),
        }
    }

    /// Sends what waited.
    fn release(&mut self, to: MacAddr, all: &mut AllWaiting, actions: &mut Vec<Action>) {
        let iface = self.shared.iface;
        let waiting = self.waiting.take(all);
        actions.extend(waiting.into_iter().map(|packet| Action::Send { iface, to, packet }));
    }
}

/// The source of an IPv6 packet; ARP has no use for an IPv4 packet's.
fn source_of(packet: &Packet) -> Option<IpAddr> {
    let mut header = [0; 24];
    let whole = packet.copy_to(0, &mut header) == header.len() && header[0] >> 4 == 6;
    let octets: [u8; 16] = header[8..].try_into().ok()?;
    whole.then(|| IpAddr::V6(Ipv6Addr::from(octets)))
}
