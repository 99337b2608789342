//! What changes in a stack, for whoever subscribed: links, addresses, routes, neighbours.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libnet::errno;
use libnet::iface::{AddressTraits, IfIndex, IfaceConfig, Interface, IpCidr};
use libnet::route::{Route, RouteChange};

use crate::neighbour::NeighbourKey;
use crate::snapshot::NeighbourEntry;
use crate::wide::lock;

/// Did it come, change, or go?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is new, or other than before.
    Set,
    /// It is gone; the event tells what it was.
    Gone,
}

/// Something changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum InetEvent {
    /// An interface is new, or its state or MTU is another.
    Link {
        /// The interface.
        iface: IfIndex,
        /// Administratively up.
        up: bool,
        /// Its link works.
        running: bool,
        /// The largest IP packet, in bytes.
        mtu: u32,
    },
    /// An interface's address: it is new, something else is to be said of it (it is sure now,
    /// deprecated, or another station's, which `ip address` shows as `dadfailed`), or it is gone.
    Address {
        /// The interface.
        iface: IfIndex,
        /// The address with its network.
        cidr: IpCidr,
        /// What became of it.
        change: Change,
    },
    /// A route.
    Route {
        /// The route.
        route: Route,
        /// What became of it.
        change: Change,
    },
    /// A neighbour.
    Neighbour {
        /// The neighbour; of one that is gone, as it was known last.
        entry: NeighbourEntry,
        /// What became of it.
        change: Change,
    },
}

/// Subscriptions of one stack at most.
pub const MAX_SUBSCRIPTIONS: usize = 32;

/// The events of a stack since [`Inet::subscribe`](crate::Inet::subscribe), as many as were asked
/// for; dropping it ends them.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    receiver: Receiver<InetEvent>,
    missed: Arc<AtomicU64>,
    events: Arc<Events>,
}

impl Subscription {
    /// The next event, if there is one now.
    pub fn try_next(&self) -> Option<InetEvent> {
        self.receiver.try_recv().ok()
    }

    /// The next event; `None` if there was none for `timeout`.
    pub fn next_within(&self, timeout: Duration) -> Option<InetEvent> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// How many events were lost since the last call, because they were not taken in time.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events.end(self.id);
    }
}

/// Who subscribed, and what they were told last.
///
/// Without subscribers a change costs one load. With some, interfaces and neighbours are compared
/// with what was told: of interfaces all, of neighbours those that something was done about.
#[derive(Debug, Default)]
pub(crate) struct Events {
    listeners: AtomicUsize,
    /// Rank: a leaf.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    listeners: Vec<Listener>,
    ifaces: BTreeMap<IfIndex, Arc<IfaceConfig>>,
    neighbours: BTreeMap<NeighbourKey, NeighbourEntry>,
}

#[derive(Debug)]
struct Listener {
    id: u64,
    sender: SyncSender<InetEvent>,
    missed: Arc<AtomicU64>,
}

impl Events {
    /// Does anybody want to know?
    pub(crate) fn are_wanted(&self) -> bool {
        self.listeners.load(Ordering::Acquire) != 0
    }

    /// Adds a subscriber, who is told of changes to these interfaces and neighbours.
    pub(crate) fn begin<'a>(
        self: &Arc<Self>,
        bound: usize,
        ifaces: impl Iterator<Item = &'a Arc<Interface>>,
        neighbours: Vec<NeighbourEntry>,
    ) -> io::Result<Subscription> {
        let mut state = lock(&self.state);
        if state.listeners.len() >= MAX_SUBSCRIPTIONS {
            return Err(errno::no_buffers());
        }
        if state.listeners.is_empty() {
            state.ifaces = ifaces.map(|iface| (iface.index, iface.config())).collect();
            let keyed = neighbours.into_iter().map(|entry| ((entry.iface, entry.addr), entry));
            state.neighbours = keyed.collect();
        }
        let (sender, receiver) = sync_channel(bound.max(1));
        let (id, missed) = (state.next_id, Arc::new(AtomicU64::new(0)));
        state.next_id += 1;
        state.listeners.push(Listener { id, sender, missed: Arc::clone(&missed) });
        self.listeners.store(state.listeners.len(), Ordering::Release);
        drop(state);
        Ok(Subscription { id, receiver, missed, events: Arc::clone(self) })
    }

    fn end(&self, id: u64) {
        let mut state = lock(&self.state);
        state.listeners.retain(|listener| listener.id != id);
        self.listeners.store(state.listeners.len(), Ordering::Release);
    }

    /// Tells what is other with the interfaces than was told last.
    pub(crate) fn ifaces_now<'a>(&self, ifaces: impl Iterator<Item = &'a Arc<Interface>>) {
        if !self.are_wanted() {
            return;
        }
        let mut state = lock(&self.state);
        for iface in ifaces {
            let new = iface.config();
            let old = state.ifaces.insert(iface.index, Arc::clone(&new));
            if old.as_ref() != Some(&new) {
                let changes = compare_ifaces(iface.index, old.as_deref(), &new);
                changes.for_each(|event| state.tell(&event));
            }
        }
    }

    /// Tells what is other than was told last with neighbours that may have changed.
    pub(crate) fn neighbours_changed(&self, changed: Vec<(NeighbourKey, Option<NeighbourEntry>)>) {
        if changed.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        for (key, entry) in changed {
            match entry {
                Some(entry) => {
                    let old = state.neighbours.insert(key, entry.clone());
                    if !old.is_some_and(|old| old.state == entry.state && old.mac == entry.mac) {
                        state.tell(&InetEvent::Neighbour { entry, change: Change::Set });
                    }
                }
                None => {
                    let Some(mut entry) = state.neighbours.remove(&key) else { continue };
                    entry.waiting_packets = 0;
                    state.tell(&InetEvent::Neighbour { entry, change: Change::Gone });
                }
            }
        }
    }

    /// Tells what became of routes.
    pub(crate) fn routes_changed(&self, changes: Vec<RouteChange>) {
        let mut state = lock(&self.state);
        for change in changes {
            let (route, change) = match change {
                RouteChange::Added(route) => (route, Change::Set),
                RouteChange::Removed(route) => (route, Change::Gone),
                _ => continue,
            };
            state.tell(&InetEvent::Route { route, change });
        }
    }
}

impl State {
    fn tell(&mut self, event: &InetEvent) {
        for listener in &self.listeners {
            if let Err(TrySendError::Full(_)) = listener.sender.try_send(event.clone()) {
                listener.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn compare_ifaces(
    iface: IfIndex,
    old: Option<&IfaceConfig>,
    new: &IfaceConfig,
) -> impl Iterator<Item = InetEvent> {
    let mut changes = VecDeque::new();
    let link = |config: &IfaceConfig| (config.up, config.running, config.mtu);
    if old.map(link) != Some(link(new)) {
        let (up, running, mtu) = link(new);
        changes.push_back(InetEvent::Link { iface, up, running, mtu });
    }
    let before: Vec<_> = old.into_iter().flat_map(addresses).collect();
    let after: Vec<_> = addresses(new).collect();
    let is_gone = |(cidr, _): &&(IpCidr, _)| after.iter().all(|(other, _)| other != cidr);
    for &(cidr, _) in before.iter().filter(is_gone) {
        changes.push_back(InetEvent::Address { iface, cidr, change: Change::Gone });
    }
    for &(cidr, _) in after.iter().filter(|address| !before.contains(address)) {
        changes.push_back(InetEvent::Address { iface, cidr, change: Change::Set });
    }
    changes.into_iter()
}

/// An interface's addresses with what is special about each; `None`: it is another station's.
fn addresses(config: &IfaceConfig) -> impl Iterator<Item = (IpCidr, Option<AddressTraits>)> {
    let ours = config.addrs.iter().map(|cidr| match cidr.addr() {
        IpAddr::V6(addr) => (*cidr, Some(config.six.traits_of(addr))),
        IpAddr::V4(_) => (*cidr, Some(AddressTraits::default())),
    });
    ours.chain(config.six.duplicates.iter().map(|cidr| (*cidr, None)))
}
