//! What the shards of a stack share.
//!
//! Lock ranks, in the order in which they may be taken: a shard (the engine's lock), then one of
//! the wide locks here, never two, then a leaf (one socket's state, a set of wakers). That of the
//! configuration comes last: it may be read under any other, and none is taken under it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use libnet::engine::FilterChange;
use libnet::errno;
use libnet::iface::{IfIndex, Interface};
use libnet::route::{RouteTable, RouteTableConfig};
use libnet::socket::Family;
use libnet::stats::DropCounters;
use libnet::time::Instant;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::address::{IfaceView, View};
use crate::arp::claim::Claims;
use crate::arp::farewell::Farewell;
use crate::config::{IcmpConfig, InetConfig, PathMtuDiscovery};
use crate::counters::InetCounters;
use crate::datagram::memory::UdpMemory;
use crate::datagram::raw::RawTable;
use crate::datagram::table::PortTable;
use crate::drops::FamilyDrops;
use crate::events::Events;
use crate::family::{Given, has_zone};
use crate::hash::Key;
use crate::icmp::limit::ErrorLimit;
use crate::ip::path_mtu::PathMtus;
use crate::ip::reassembly::Reassembly;
use crate::ip::sent_to::SentTo;
use crate::ipv4::ident::Identifiers;
use crate::ipv6::flow_label::FlowLabels;
use crate::multicast::table::Groups;
use crate::nd::Nd;
use crate::neighbour::NeighbourTable;
use crate::sockets::SocketTable;
use crate::steer;
use crate::stream::ports::StreamPorts;
use crate::tcp::{self, FourTuple, Secrets};

/// The shared part of a stack.
pub(crate) struct Wide {
    /// Rank: last, below the leaves. Guards the pointer; a configuration itself never changes.
    config: RwLock<Arc<InetConfig>>,
    /// TTL and hop limit of packets whose socket has set none, for each family.
    usual_hops: [AtomicU8; 2],
    /// May TCP's packets be fragmented on their way?
    lets_fragment: AtomicBool,
    pub(crate) drops: Arc<DropCounters>,
    /// Those of IPv6 among them.
    pub(crate) drops6: Arc<DropCounters>,
    /// Both, for what was to leave.
    pub(crate) family_drops: FamilyDrops,
    pub(crate) counters: InetCounters,
    events: Arc<Events>,
    pub(crate) shards: usize,
    /// Where the links' own harm comes from, if nobody gave it a seed.
    pub(crate) link_seed: [u8; 32],
    /// Steers segments to shards; the same for both directions of a flow.
    pub(crate) flow_key: Key,
    pub(crate) tcp_budget: Arc<tcp::Budget>,
    pub(crate) udp_memory: Arc<UdpMemory>,
    pub(crate) tcp_secrets: Secrets,
    pub(crate) identifiers: Identifiers,
    pub(crate) flow_labels: FlowLabels,
    pub(crate) path_mtus: PathMtus,
    /// Where datagrams went.
    pub(crate) sent_to: SentTo,
    pub(crate) sockets: SocketTable,
    /// TCP sockets by port.
    pub(crate) stream_ports: StreamPorts,
    /// UDP sockets by port.
    pub(crate) udp: PortTable,
    /// Ping sockets by identifier.
    pub(crate) ping: PortTable,
    pub(crate) raw: RawTable,
    /// Grows with every change of routes, addresses, interfaces or path MTUs.
    generation: AtomicU64,
    /// Grows when the view has changed.
    view_generation: AtomicU64,
    /// Rank: wide. Guards the pointer; the view itself never changes.
    view: RwLock<Arc<View>>,
    /// Rank: wide. Guards the routes.
    routes: RwLock<RouteTable>,
    neighbours: Timed<NeighbourTable>,
    reassembly: Timed<Reassembly>,
    claims: Timed<Claims>,
    /// Rank: wide. Guards the addresses that are given up, one of an interface at most.
    farewells: Mutex<Vec<Farewell>>,
    nd: Timed<Nd>,
    groups: Timed<Groups>,
    /// A link is to be told of other groups.
    groups_changed: AtomicBool,
    /// Rank: wide. Guards the budget for ICMP errors.
    error_limit: Mutex<ErrorLimit>,
    /// Rank: wide. Guards the budget for redirects.
    redirect_limit: Mutex<ErrorLimit>,
    /// Rank: wide. Guards the generator that ports and identifiers come from.
    random: Mutex<ChaCha12Rng>,
}

/// A table with deadlines. Rank: wide. The earliest deadline is read without the lock.
struct Timed<T> {
    table: Mutex<T>,
    deadline: AtomicU64,
}

impl<T> Timed<T> {
    fn new(table: T) -> Self {
        Timed { table: Mutex::new(table), deadline: AtomicU64::new(u64::MAX) }
    }

    fn with<R>(&self, next: impl Fn(&T) -> Option<Instant>, call: impl FnOnce(&mut T) -> R) -> R {
        let mut table = lock(&self.table);
        let result = call(&mut table);
        let deadline = next(&table).map_or(u64::MAX, Instant::as_nanos);
        self.deadline.store(deadline, Ordering::Release);
        result
    }

    fn is_due(&self, now: Instant) -> bool {
        self.deadline.load(Ordering::Acquire) <= now.as_nanos()
    }
}

impl Wide {
    /// The shared part of a stack without interfaces.
    pub(crate) fn new(config: InetConfig, seed: [u8; 32], shards: usize) -> Self {
        let mut random = ChaCha12Rng::from_seed(seed);
        let mut tcp_seed = [0; 32];
        random.fill_bytes(&mut tcp_seed);
        let mut link_random = ChaCha12Rng::from_seed(seed);
        link_random.set_stream(1);
        let mut link_seed = [0; 32];
        link_random.fill_bytes(&mut link_seed);
        let mut nd_seed = [0; 32];
        let mut nd_random = ChaCha12Rng::from_seed(seed);
        nd_random.set_stream(2);
        nd_random.fill_bytes(&mut nd_seed);
        let mut key = || Key::new(random.next_u64(), random.next_u64());
        let drops = FamilyDrops::new();
        let neighbours = NeighbourTable::new(config.arp.clone(), key(), drops.clone());
        let reassembly = Reassembly::new(config.ip.clone(), config.ipv6.clone(), key());
        Wide {
            shards,
            link_seed,
            flow_key: key(),
            tcp_budget: Arc::default(),
            udp_memory: Arc::default(),
            tcp_secrets: Secrets::from_seed(tcp_seed),
            identifiers: Identifiers::new(key()),
            flow_labels: FlowLabels::new(key()),
            path_mtus: PathMtus::new(config.ip.clone()),
            sent_to: SentTo::new(
                Key::new(nd_random.next_u64(), nd_random.next_u64()),
                config.ip.max_path_mtus,
            ),
            sockets: SocketTable::new(config.max_sockets),
            stream_ports: StreamPorts::new(key()),
            udp: PortTable::new(key()),
            ping: PortTable::new(key()),
            raw: RawTable::new(),
            counters: InetCounters::default(),
            events: Arc::default(),
            generation: AtomicU64::new(1),
            view_generation: AtomicU64::new(1),
            view: RwLock::new(Arc::new(View::default())),
            routes: RwLock::new(RouteTable::new(RouteTableConfig::new(config.max_routes))),
            neighbours: Timed::new(neighbours),
            reassembly: Timed::new(reassembly),
            claims: Timed::new(Claims::new(config.arp.announce)),
            farewells: Mutex::default(),
            nd: Timed::new(Nd::new(config.nd.clone(), nd_seed)),
            groups: Timed::new(Groups::new(config.multicast.clone(), link_random.next_u64())),
            groups_changed: AtomicBool::new(false),
            error_limit: Mutex::new(ErrorLimit::new(config.icmp.clone(), key())),
            redirect_limit: Mutex::new(ErrorLimit::new(redirect_budget(&config), key())),
            random: Mutex::new(random),
            drops: Arc::clone(&drops.all),
            drops6: Arc::clone(&drops.six),
            family_drops: drops,
            usual_hops: [config.ip.ttl, config.ipv6.hop_limit].map(AtomicU8::new),
            lets_fragment: AtomicBool::new(lets_fragment(&config)),
            config: RwLock::new(Arc::new(config)),
        }
    }

    /// The configuration as it is now.
    pub(crate) fn config(&self) -> Arc<InetConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lives by another configuration from now on; the shards are to be told by the caller. Bounds
    /// of tables that are made once, such as that of sockets, stay.
    pub(crate) fn set_config(&self, config: &Arc<InetConfig>) {
        for (hops, now) in self.usual_hops.iter().zip([config.ip.ttl, config.ipv6.hop_limit]) {
            hops.store(now, Ordering::Relaxed);
        }
        self.lets_fragment.store(lets_fragment(config), Ordering::Relaxed);
        self.path_mtus.set_config(config.ip.clone());
        self.with_neighbours(|table| table.set_config(config.arp.clone()));
        self.with_reassembly(|all| all.set_config(config.ip.clone(), config.ipv6.clone()));
        self.with_nd(|nd| nd.set_config(config.nd.clone()));
        self.with_groups(|groups| groups.set_config(config.multicast.clone()));
        lock(&self.error_limit).set_config(config.icmp.clone());
        lock(&self.redirect_limit).set_config(redirect_budget(config));
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(config);
    }

    /// TTL or hop limit of packets whose socket has set none.
    pub(crate) fn usual_hops(&self, family: Family) -> u8 {
        self.usual_hops[usize::from(family == Family::Inet6)].load(Ordering::Relaxed)
    }

    /// May TCP's packets be fragmented on their way (RFC 1191 §3)?
    pub(crate) fn lets_fragment(&self) -> bool {
        self.lets_fragment.load(Ordering::Relaxed)
    }

    /// Who wants to know what changes.
    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// A cached path is stale when this has moved.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes every cached path stale.
    pub(crate) fn touch(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// A cached view is stale when this has moved.
    pub(crate) fn view_generation(&self) -> u64 {
        self.view_generation.load(Ordering::Acquire)
    }

    /// Interfaces and addresses as they are now.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same, made anew if an interface was configured behind our back, as when its link fails.
    pub(crate) fn current_view(&self) -> Arc<View> {
        let view = self.view();
        if view.ifaces().all(IfaceView::is_current) {
            return view;
        }
        self.refresh_view();
        self.view()
    }

    /// Makes the view anew from the interfaces as they are now.
    pub(crate) fn rebuild_view<'a>(&self, ifaces: impl Iterator<Item = &'a Arc<Interface>>) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        *view = Arc::new(View::of(ifaces));
        self.events.ifaces_now(view.ifaces().map(|iface| &iface.iface));
        drop(view);
        self.view_generation.fetch_add(1, Ordering::AcqRel);
        self.touch();
    }

    /// Makes the view anew because an interface in it was configured by somebody else.
    pub(crate) fn refresh_view(&self) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: an interface that is added meanwhile must not be lost.
        *view = Arc::new(View::of(view.ifaces().map(|iface| &iface.iface)));
        self.events.ifaces_now(view.ifaces().map(|iface| &iface.iface));
        drop(view);
        self.view_generation.fetch_add(1, Ordering::AcqRel);
        self.touch();
    }

    /// The routes, to look at.
    pub(crate) fn routes(&self) -> RwLockReadGuard<'_, RouteTable> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the routes.
    pub(crate) fn with_routes<R>(&self, change: impl FnOnce(&mut RouteTable) -> R) -> R {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.tell_changes(self.events.are_wanted());
        let result = change(&mut routes);
        if self.events.are_wanted() {
            self.events.routes_changed(routes.take_changes());
        }
        drop(routes);
        self.touch();
        result
    }

    /// Works on the neighbours.
    pub(crate) fn with_neighbours<R>(&self, call: impl FnOnce(&mut NeighbourTable) -> R) -> R {
        let call = |table: &mut NeighbourTable| {
            table.tell_changes(self.events.are_wanted());
            let result = call(table);
            if self.events.are_wanted() {
                self.events.neighbours_changed(table.take_changes());
            }
            (result, table.take_gateways_changed())
        };
        let (result, changed) = self.neighbours.with(NeighbourTable::next_deadline, call);
        if changed {
            // Paths through a gateway that died, or around one that is back, are found anew.
            self.touch();
        }
        result
    }

    /// Works on the fragments.
    pub(crate) fn with_reassembly<R>(&self, call: impl FnOnce(&mut Reassembly) -> R) -> R {
        self.reassembly.with(Reassembly::next_deadline, call)
    }

    /// Works on the claims to our addresses.
    pub(crate) fn with_claims<R>(&self, call: impl FnOnce(&mut Claims) -> R) -> R {
        self.claims.with(Claims::next_deadline, call)
    }

    /// Works on the addresses that are given up.
    pub(crate) fn with_farewells(&self, call: impl FnOnce(&mut Vec<Farewell>)) {
        call(&mut lock(&self.farewells));
    }

    /// Works on what neighbour discovery knows, but for the neighbours.
    pub(crate) fn with_nd<R>(&self, call: impl FnOnce(&mut Nd) -> R) -> R {
        self.nd.with(Nd::next_deadline, call)
    }

    /// When neighbour discovery has something to do.
    pub(crate) fn nd_deadline(&self) -> u64 {
        self.nd.deadline.load(Ordering::Acquire)
    }

    /// When neighbour discovery or our claims have something to do, on the common shard.
    pub(crate) fn common_deadline(&self) -> Instant {
        let load = |deadline: &AtomicU64| deadline.load(Ordering::Acquire);
        let nanos = load(&self.nd.deadline).min(load(&self.claims.deadline));
        Instant::from_nanos(nanos)
    }

    /// Works on the groups.
    pub(crate) fn with_groups<R>(&self, call: impl FnOnce(&mut Groups) -> R) -> R {
        let call = |groups: &mut Groups| (call(groups), groups.has_changes());
        let (result, changed) = self.groups.with(Groups::next_deadline, call);
        if changed {
            self.groups_changed.store(true, Ordering::Release);
        }
        result
    }

    /// Are links to be told of groups?
    pub(crate) fn has_filter_changes(&self) -> bool {
        self.groups_changed.load(Ordering::Acquire)
    }

    /// Moves what links are to be told of groups to `out`.
    pub(crate) fn take_filter_changes(&self, out: &mut Vec<FilterChange>) {
        if self.groups_changed.load(Ordering::Relaxed)
            && self.groups_changed.swap(false, Ordering::AcqRel)
        {
            lock(&self.groups.table).take_changes(out);
        }
    }

    /// Is what `source` sends to a group wanted on an interface?
    pub(crate) fn receives_group(&self, iface: IfIndex, group: IpAddr, source: IpAddr) -> bool {
        lock(&self.groups.table).accepts(iface, group, source)
    }

    /// May an ICMP error be sent to `dst` now?
    pub(crate) fn allow_error(&self, now: Instant, dst: IpAddr) -> bool {
        lock(&self.error_limit).allow(now, dst)
    }

    /// May a redirect be sent to `dst` now?
    pub(crate) fn allow_redirect(&self, now: Instant, dst: IpAddr) -> bool {
        lock(&self.redirect_limit).allow(now, dst)
    }

    /// A random number.
    pub(crate) fn random_u64(&self) -> u64 {
        lock(&self.random).next_u64()
    }

    /// Which of the shared tables has something due at `now`?
    pub(crate) fn due(&self, now: Instant) -> Due {
        Due {
            neighbours: self.neighbours.is_due(now),
            reassembly: self.reassembly.is_due(now),
            claims: self.claims.is_due(now),
            nd: self.nd.is_due(now),
            groups: self.groups.is_due(now),
        }
    }

    /// The earliest deadline of the shared tables.
    pub(crate) fn next_deadline(&self) -> Instant {
        let load = |deadline: &AtomicU64| deadline.load(Ordering::Acquire);
        let nanos = load(&self.neighbours.deadline)
            .min(load(&self.reassembly.deadline))
            .min(load(&self.groups.deadline));
        Instant::from_nanos(nanos)
    }

    /// The TCP of a shard; all shards have the same secrets.
    pub(crate) fn new_tcp(&self, shard: usize) -> tcp::Table {
        let config = Arc::new(self.config().tcp.clone());
        let drops = Arc::clone(&self.drops);
        let mut table = tcp::Table::new(config, self.tcp_secrets.clone(), drops, shard as u32);
        table.share_budget(Arc::clone(&self.tcp_budget));
        table
    }

    /// The flow of a connection.
    pub(crate) fn flow_of(&self, tuple: &FourTuple) -> u64 {
        let local = SocketAddr::new(tuple.local, tuple.local_port);
        let remote = SocketAddr::new(tuple.remote, tuple.remote_port);
        steer::flow(local, remote, self.flow_key)
    }

    /// Which shard a flow belongs to.
    pub(crate) fn shard_of(&self, flow: u64) -> usize {
        (flow % self.shards as u64) as usize
    }

    /// The interface that a socket is to keep to with an address that it was given: the zone of a
    /// link-local one, else the interface that it is `bound` to.
    ///
    /// # Errors
    /// As Linux: `EINVAL` for a link-local address without a zone, or with another than the
    /// socket's; `ENODEV` for a zone that is not there.
    pub(crate) fn zone_of(
        &self,
        given: Given,
        bound: Option<IfIndex>,
    ) -> io::Result<Option<IfIndex>> {
        if !has_zone(given.addr.ip()) {
            return Ok(bound);
        }
        let zone = given.zone.or(bound).ok_or_else(errno::invalid)?;
        if bound.is_some_and(|bound| bound != zone) {
            return Err(errno::invalid());
        }
        self.view().iface(zone).ok_or_else(errno::no_device)?;
        Ok(Some(zone))
    }

    /// The interface of that name.
    pub(crate) fn iface_by_name(&self, name: &str) -> Option<IfIndex> {
        let view = self.view();
        view.ifaces().find(|iface| iface.iface.name == name).map(|iface| iface.iface.index)
    }
}

fn lets_fragment(config: &InetConfig) -> bool {
    config.ip.path_mtu_discovery != PathMtuDiscovery::On
}

/// Redirects are limited as errors are, by a budget of their own: they tell of no loss, and must not
/// keep quiet what does.
fn redirect_budget(config: &InetConfig) -> IcmpConfig {
    let mut budget = config.icmp.clone();
    budget.peer_interval = config.forwarding.redirect_interval;
    budget.peer_burst = config.forwarding.redirect_burst;
    budget
}

/// What of the shared tables is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) neighbours: bool,
    pub(crate) reassembly: bool,
    /// For the common shard.
    pub(crate) claims: bool,
    /// For the common shard.
    pub(crate) nd: bool,
    pub(crate) groups: bool,
}

/// A panic while a lock is held is a bug that tests find; until then the others go on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
