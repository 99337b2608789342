//! A stack's protocols as one value.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use libnet::driver::Driver;
use libnet::engine::Engine;
use libnet::errno;
use libnet::ethernet::MacAddr;
use libnet::iface::{IfIndex, IfaceConfig, Interface, InterfaceSpec, IpCidr};
use libnet::link::Medium;
use libnet::loopback::Loopback;
use libnet::route::{Route, RouteKind, RouteOrigin, RouteSelector, RouteSpec};
use libnet::socket::{Family, Protocol, SockType, SocketId};
use libnet::stats::DropCounters;
use libnet::time::Instant;

use crate::config::InetConfig;
use crate::counters::InetCounters;
use crate::datagram::Kind;
use crate::multicast::listener::Reports;
use crate::multicast::table::Groups;
use crate::nd::control::takes_part;
use crate::neighbour::{NeighbourSetting, NeighbourTable};
use crate::output::Account;
use crate::shard::Shard;
use crate::snapshot::{GroupEntry, InterfaceEntry, NeighbourEntry, SocketEntry};
use crate::sockets::Socket;
use crate::steer::{COMMON, FlowSteer};
use crate::stream::ownerless_entry;
use crate::tcp::{TcpCounters, TcpInfo};
use crate::wide::{Wide, lock};

/// The Internet protocols of one stack: its shards, its interfaces, and what they share.
///
/// A driver gives it time and feeds its links by [`engine`](Self::engine); callers use it as a
/// [`Domain`](libnet::Domain). Many live side by side in one process.
///
/// ```
/// use std::time::Duration;
/// use libnet::world::{LinkConfig, World};
/// use libnet::{Domain, Family, InterfaceSpec, Protocol, SockType};
/// use libnet::socket::SendMsg;
/// use libnetinet::{Inet, InetConfig};
///
/// let world = World::new(1);
/// let segment = world.segment(LinkConfig::default());
/// let node = |addr: &str| {
///     let driver = world.host(addr);
///     let inet = Inet::new(InetConfig::default(), driver.seed(), driver.clone(), 1)?;
///     inet.add_interface(InterfaceSpec::new(segment.next_link()).addr(addr))?;
///     driver.attach(inet.engine())?;
///     std::io::Result::Ok(inet)
/// };
/// let (a, b) = (node("10.0.0.1/24")?, node("10.0.0.2/24")?);
/// let server = b.socket(Family::Inet, SockType::Datagram, Protocol::UDP)?;
/// b.bind(server, ([10, 0, 0, 2], 7).into())?;
/// let client = a.socket(Family::Inet, SockType::Datagram, Protocol::UDP)?;
/// a.send(client, SendMsg::OwnedTo("hello".into(), ([10, 0, 0, 2], 7).into()))?;
/// world.run_for(Duration::from_millis(10));
/// assert!(b.ready(server)?.contains(libnet::Ready::READABLE));
/// # std::io::Result::Ok(())
/// ```
pub struct Inet {
    engine: Arc<Engine<Shard>>,
    wide: Arc<Wide>,
    /// Guards changes of interfaces and addresses, one at a time; holds the next number.
    /// Rank: before every other.
    pub(crate) control: Mutex<u32>,
}

/// Whether an interface is wanted to work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminState {
    /// It is.
    Up,
    /// It is not.
    Down,
}

/// RFC 791 §3.1: every link takes packets of 68 bytes.
const MIN_MTU: u32 = 68;
/// RFC 8200 §5: and IPv6 only over those that take 1280.
const MIN_MTU6: u32 = crate::ipv6::header::MIN_MTU;

impl Inet {
    /// A stack with `lo0` alone, of `shards` shards (at least one).
    ///
    /// `seed` is where its randomness comes from: ports, identifiers, the keys of its tables.
    ///
    /// # Errors
    /// None that a default configuration meets; `ENOBUFS` if no interface is allowed.
    pub fn new(
        config: InetConfig,
        seed: [u8; 32],
        driver: Arc<dyn Driver>,
        shards: usize,
    ) -> io::Result<Self> {
        let shards = shards.max(1);
        let engine_config = config.engine.clone();
        let wide = Arc::new(Wide::new(config, seed, shards));
        let cores = (0..shards).map(|index| Shard::new(index, Arc::clone(&wide))).collect();
        let steer = Box::new(FlowSteer(Arc::clone(&wide)));
        let drops = Arc::clone(&wide.drops);
        let engine = Arc::new(Engine::new(cores, steer, drops, driver, engine_config));
        let inet = Inet { engine, wide, control: Mutex::new(IfIndex::LOOPBACK.0) };
        let lo = InterfaceSpec::new(Loopback::default()).addr("127.0.0.1/8").addr("::1/128");
        inet.add_interface(lo)?;
        Ok(inet)
    }

    /// The engine, for its driver.
    pub fn engine(&self) -> &Arc<Engine<Shard>> {
        &self.engine
    }

    /// Why packets were dropped.
    pub fn drops(&self) -> &Arc<DropCounters> {
        &self.wide.drops
    }

    /// Why packets of IPv6 were dropped, which [`drops`](Self::drops) counts too; without the
    /// reasons of TCP.
    pub fn drops6(&self) -> &DropCounters {
        &self.wide.drops6
    }

    /// What the protocols did.
    pub fn counters(&self) -> &InetCounters {
        &self.wide.counters
    }

    /// Starts a link and takes it in: names it, gives it its addresses, routes to their networks
    /// and through its gateways.
    ///
    /// # Errors
    /// `EINVAL` for an MTU that the link does not have, text that could not be understood, and a
    /// route by another interface,
    /// `EEXIST` for a name or a route that is taken, `ENETUNREACH` for a gateway, the default's or a
    /// route's, on none of its networks,
    /// `ENOBUFS` at the bound; as the link's start gives them.
    pub fn add_interface(&self, spec: InterfaceSpec) -> io::Result<IfIndex> {
        let mut next = lock(&self.control);
        let index = IfIndex(*next);
        let info = spec.link.info();
        let mtu = check_mtu(&spec, info.mtu)?;
        let name = self.name_for(&spec, info.kind)?;
        check_routes(&spec, &name)?;
        let gateways = spec.gateways.iter().copied();
        let on_routes = spec.routes.iter().filter_map(|route| route.gateway);
        if !gateways.chain(on_routes).all(|gateway| is_on_link(&spec.addrs, gateway)) {
            return Err(errno::net_unreachable());
        }
        let (queues, control) = spec.link.start()?;
        let mut config = IfaceConfig::new(mtu);
        config.clamp_mss = spec.clamp_mss;
        if !info.loopback {
            let forwarding = &self.wide.config().forwarding;
            (config.forward4, config.forward6) = (forwarding.ipv4, forwarding.ipv6);
        }
        let iface = Arc::new(Interface::new(index, name, info, config));
        let mut impair = spec.impair;
        impair.seed.get_or_insert_with(|| {
            let mut seed = self.wide.link_seed;
            seed[..4].copy_from_slice(&index.0.to_le_bytes());
            seed
        });
        self.engine.add_impaired_interface(Arc::clone(&iface), queues, control, &impair)?;
        *next += 1;
        self.wide.rebuild_view(self.engine.interfaces());
        let reports = if iface.link.quiet { Reports::Kept } else { Reports::Sent };
        self.with_groups(|groups, now| groups.add_iface(now, index, reports));
        for cidr in spec.addrs {
            self.give_address(&iface, cidr)?;
        }
        if spec.autoconf {
            self.autoconfigure(index)?;
        }
        if spec.link_local {
            self.seek_link_local(index)?;
        }
        if spec.advertise.is_some() {
            self.advertise(index, spec.advertise)?;
        }
        for gateway in spec.gateways {
            self.add_route(Route::via(default_of(gateway), index, gateway))?;
        }
        for route in spec.routes {
            self.add_route(static_route(&route, index))?;
        }
        Ok(index)
    }

    /// Gives an interface another address, with the routes to its network.
    ///
    /// # Errors
    /// `ENODEV`, `EEXIST` if it has the address, `EINVAL` for one that no host may have.
    pub fn add_address(&self, index: IfIndex, cidr: IpCidr) -> io::Result<()> {
        let _one_at_a_time = lock(&self.control);
        let iface = self.engine.interface(index).ok_or_else(errno::no_device)?;
        self.give_address(iface, cidr)
    }

    /// Takes an address from an interface, and the routes that came with it.
    ///
    /// # Errors
    /// `ENODEV`, `EADDRNOTAVAIL` if it does not have the address.
    pub fn remove_address(&self, index: IfIndex, addr: IpAddr) -> io::Result<()> {
        let _one_at_a_time = lock(&self.control);
        let iface = self.engine.interface(index).ok_or_else(errno::no_device)?;
        if let (IpAddr::V6(six), true) = (addr, takes_part(iface)) {
            let gone = self.take_six(index, six);
            return if gone { Ok(()) } else { Err(errno::addr_not_available()) };
        }
        let config = iface.config();
        let cidr = config.addrs.iter().copied().find(|cidr| cidr.addr() == addr);
        let cidr = cidr.ok_or_else(errno::addr_not_available)?;
        if let IpAddr::V4(addr) = addr {
            self.wide.with_claims(|claims| claims.remove(index, addr));
        }
        self.wide.withdraw(iface, cidr);
        self.hear_groups(index);
        Ok(())
    }

    /// Takes an interface up or down. While it is down nothing leaves by it, no route leads there,
    /// and what arrives is dropped and counted; addresses and connections stay.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface.
    pub fn set_up(&self, index: IfIndex, state: AdminState) -> io::Result<()> {
        let iface = self.engine.interface(index).ok_or_else(errno::no_device)?;
        let was_up = iface.config().up;
        if was_up && state == AdminState::Down {
            self.pause_nd(index);
            self.pause_link_local(index);
        }
        self.reconfigure(index, |config| config.up = state == AdminState::Up)?;
        if !was_up && state == AdminState::Up {
            self.restart_nd(index);
            self.resume_link_local(index);
            self.with_groups(|groups, now| {
                groups.restart(now, index, Family::Inet);
                groups.restart(now, index, Family::Inet6);
            });
        }
        Ok(())
    }

    /// Changes the largest IP packet of an interface, in bytes.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface, `EINVAL` below 68 bytes (RFC 791 §3.1), below 1280 with an
    /// IPv6 address (RFC 8200 §5), or above what the link carries.
    pub fn set_mtu(&self, index: IfIndex, mtu: u32) -> io::Result<()> {
        let iface = self.engine.interface(index).ok_or_else(errno::no_device)?;
        let config = iface.config();
        // One that is still being checked is wanted, too.
        let six = config.addrs.iter().any(|cidr| cidr.addr().is_ipv6())
            || !config.six.tentative.is_empty();
        let least = if six { MIN_MTU6 } else { MIN_MTU };
        if !(least..=iface.link.mtu).contains(&mtu) {
            return Err(errno::invalid());
        }
        self.reconfigure(index, |config| config.mtu = mtu)?;
        self.set_nd_mtu(index, mtu);
        Ok(())
    }

    /// Adds a route.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface; as [`RouteTable::insert`](libnet::route::RouteTable)
    /// gives them.
    pub fn add_route(&self, route: Route) -> io::Result<()> {
        self.engine.interface(route.iface).ok_or_else(errno::no_device)?;
        Ok(self.wide.with_routes(|routes| routes.insert(route))?)
    }

    /// Adds a route as a user writes it; its gateway or its name tells the interface.
    ///
    /// # Errors
    /// `ENODEV` for an interface that is not there, `ENETUNREACH` for a gateway on no network of
    /// ours, `EINVAL` for a route that names neither; as [`add_route`](Self::add_route).
    pub fn add_static_route(&self, spec: &RouteSpec) -> io::Result<()> {
        let index = match (&spec.iface, spec.gateway) {
            _ if spec.kind != RouteKind::Unicast => IfIndex::LOOPBACK,
            (Some(name), _) => self.wide.iface_by_name(name).ok_or_else(errno::no_device)?,
            (None, Some(gateway)) => {
                let mut ifaces = self.engine.interfaces();
                let found = ifaces.find(|iface| is_on_link(&iface.config().addrs, gateway));
                found.ok_or_else(errno::net_unreachable)?.index
            }
            (None, None) => return Err(errno::invalid()),
        };
        self.add_route(static_route(spec, index))
    }

    /// Takes out the best route to exactly `dst` that `selector` means; whether there was one.
    pub fn remove_route(&self, dst: &IpCidr, selector: RouteSelector) -> bool {
        self.wide.with_routes(|routes| routes.remove(dst, selector)).is_some()
    }

    /// Sets a neighbour by hand: it is neither asked for nor forgotten.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface, `EINVAL` for a MAC address that no station has,
    /// `ENOBUFS` if the table is full of such.
    pub fn add_neighbour(&self, index: IfIndex, addr: IpAddr, mac: MacAddr) -> io::Result<()> {
        self.set_neighbour(index, addr, NeighbourSetting::Permanent(mac))
    }

    /// Sets a neighbour by hand, in any state; from there it goes on as if it had got so by itself.
    ///
    /// # Errors
    /// As [`add_neighbour`](Self::add_neighbour).
    pub fn set_neighbour(
        &self,
        index: IfIndex,
        addr: IpAddr,
        setting: NeighbourSetting,
    ) -> io::Result<()> {
        self.engine.interface(index).ok_or_else(errno::no_device)?;
        if setting.is_wrong() {
            return Err(errno::invalid());
        }
        let added = self.engine.with_shard(COMMON as usize, |shard, now| {
            let mut actions = Vec::new();
            let set =
                |table: &mut NeighbourTable| table.set(now, index, addr, setting, &mut actions);
            let added = shard.wide.with_neighbours(set);
            shard.act(now, actions, Account::Sender);
            added
        });
        if added { Ok(()) } else { Err(errno::no_buffers()) }
    }

    /// Forgets a neighbour; whether it was known.
    pub fn remove_neighbour(&self, index: IfIndex, addr: IpAddr) -> bool {
        self.wide.with_neighbours(|table| table.remove(index, addr))
    }

    /// The interfaces, `lo0` first.
    pub fn interfaces(&self) -> Vec<InterfaceEntry> {
        self.engine.interfaces().map(|iface| self.entry_of(iface)).collect()
    }

    /// The routes, IPv4 first.
    pub fn routes(&self) -> Vec<Route> {
        self.wide.routes().iter().collect()
    }

    /// How many routes there are.
    pub fn route_count(&self) -> usize {
        self.wide.routes().len()
    }

    /// The routes to exactly `dst`, the lowest metric first.
    pub fn routes_to(&self, dst: &IpCidr) -> Vec<Route> {
        self.wide.routes().routes_to(dst).collect()
    }

    /// The neighbours, by interface and address.
    pub fn neighbours(&self) -> Vec<NeighbourEntry> {
        let now = self.engine.driver().now();
        let mut all = self.wide.with_neighbours(|table| table.snapshot(now));
        all.sort_by_key(|entry| (entry.iface, entry.addr));
        all
    }

    /// The sockets, by their numbers.
    pub fn sockets(&self) -> Vec<SocketEntry> {
        self.wide.sockets.all().iter().filter_map(|socket| self.socket_entry(socket)).collect()
    }

    /// The connections that no socket holds: those that were closed and are not over yet, those in
    /// TIME-WAIT among them, and those that nobody has accepted yet.
    pub fn ownerless(&self) -> Vec<SocketEntry> {
        let shards = 0..self.engine.shard_count();
        let of = |shard| self.engine.with_shard(shard, |core, now| core.tcp().ownerless(now));
        shards.flat_map(of).map(ownerless_entry).collect()
    }

    /// What is known of a connection (`TCP_INFO`); `None` for any other socket.
    pub fn tcp_info(&self, id: SocketId) -> Option<TcpInfo> {
        let Ok(Socket::Stream(socket)) = self.wide.sockets.get(id) else { return None };
        self.stream_info(&socket)
    }

    /// What passed each shard's TCP, and what it met.
    pub fn tcp_counters(&self) -> Vec<TcpCounters> {
        let shards = 0..self.engine.shard_count();
        let counters = |core: &mut Shard| core.tcp().counters().clone();
        shards.map(|shard| self.engine.with_shard(shard, |core, _| counters(core))).collect()
    }

    pub(crate) fn control(&self) -> &Mutex<u32> {
        &self.control
    }

    /// The groups, by interface and address; each interface is in those of all hosts.
    pub fn groups(&self) -> Vec<GroupEntry> {
        let now = self.engine.driver().now();
        self.wide.with_groups(|groups| groups.snapshot(now))
    }

    /// Works on the groups; what came of it is said to the routers and told to the links.
    fn with_groups(&self, call: impl FnOnce(&mut Groups, Instant)) {
        self.engine.with_shard(COMMON as usize, |shard, now| {
            shard.wide.with_groups(|groups| call(groups, now));
            shard.expire_groups(now);
        });
    }

    pub(crate) fn wide(&self) -> &Arc<Wide> {
        &self.wide
    }

    /// Changes an interface's configuration.
    pub(crate) fn reconfigure(
        &self,
        index: IfIndex,
        change: impl FnOnce(&mut IfaceConfig),
    ) -> io::Result<()> {
        let _one_at_a_time = lock(&self.control);
        self.engine.interface(index).ok_or_else(errno::no_device)?.reconfigure(change);
        self.wide.rebuild_view(self.engine.interfaces());
        Ok(())
    }

    fn name_for(&self, spec: &InterfaceSpec, kind: &str) -> io::Result<String> {
        let taken = |name: &str| self.engine.interfaces().any(|iface| iface.name == name);
        if let Some(name) = &spec.name {
            return if taken(name) { Err(errno::exists()) } else { Ok(name.clone()) };
        }
        let mut names = (0..).map(|n: u32| format!("{kind}{n}"));
        names.find(|name| !taken(name)).ok_or_else(errno::no_buffers)
    }

    fn give_address(&self, iface: &Arc<Interface>, cidr: IpCidr) -> io::Result<()> {
        check_address(cidr)?;
        if cidr.addr().is_ipv6() && iface.config().mtu < MIN_MTU6 {
            let text =
                format!("{} has an mtu below {MIN_MTU6} bytes, which IPv6 needs", iface.name);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if iface.config().addrs.iter().any(|other| other.addr() == cidr.addr()) {
            return Err(errno::exists());
        }
        if let (IpAddr::V6(addr), true) = (cidr.addr(), takes_part(iface)) {
            return self.give_six(iface, addr, cidr.prefix_bits());
        }
        self.wide.assign(iface, cidr);
        self.hear_groups(iface.index);
        if let (IpAddr::V4(addr), Medium::Ethernet) = (cidr.addr(), iface.link.medium) {
            let now = self.engine.driver().now();
            self.wide.with_claims(|claims| claims.add(now, iface.index, addr));
            self.engine.with_shard(COMMON as usize, |shard, now| shard.expire_claims(now));
        }
        Ok(())
    }

    /// Joins and leaves the groups that go with an interface's addresses.
    pub(crate) fn hear_groups(&self, index: IfIndex) {
        self.engine.with_shard(COMMON as usize, |shard, now| shard.hear_groups(now, index));
    }

    fn entry_of(&self, iface: &Interface) -> InterfaceEntry {
        let config = iface.config();
        let counters = &iface.counters;
        let conflicts = |cidr: &IpCidr| match cidr.addr() {
            IpAddr::V4(addr) => self.wide.with_claims(|all| all.conflicts(iface.index, addr)),
            IpAddr::V6(_) => 0,
        };
        let addresses = self.addresses_of(iface, conflicts);
        let conflicts_of = |cidr: &IpCidr| {
            let entry = addresses.iter().find(|entry| entry.cidr == *cidr);
            entry.map_or(0, |entry| entry.conflicts)
        };
        InterfaceEntry {
            index: iface.index,
            name: iface.name.clone(),
            link: iface.link.clone(),
            up: config.up,
            running: config.running,
            mtu: config.mtu,
            clamp_mss: config.clamp_mss,
            addrs: config.addrs.iter().map(|cidr| (*cidr, conflicts_of(cidr))).collect(),
            addresses,
            rx_frames: counters.rx_frames.load(Ordering::Relaxed),
            rx_bytes: counters.rx_bytes.load(Ordering::Relaxed),
            tx_frames: counters.tx_frames.load(Ordering::Relaxed),
            tx_bytes: counters.tx_bytes.load(Ordering::Relaxed),
            tx_dropped: counters.tx_dropped.load(Ordering::Relaxed),
            tx_waits: counters.tx_waits.load(Ordering::Relaxed),
            link_stats: self.engine.link_stats(iface.index).unwrap_or_default(),
        }
    }

    pub(crate) fn socket_entry(&self, socket: &Socket) -> Option<SocketEntry> {
        match socket {
            Socket::Stream(socket) => self.stream_entry(socket),
            Socket::Datagram(socket) => {
                let (local, remote) = (socket.local_addr(), socket.peer_addr().ok());
                let state = socket.state();
                let (ty, protocol) = match socket.kind {
                    Kind::Udp => (SockType::Datagram, Protocol::UDP),
                    Kind::Ping => (SockType::Datagram, socket.echo_protocol()),
                    Kind::Raw(protocol) => (SockType::Raw, protocol),
                };
                Some(SocketEntry {
                    id: Some(socket.id()?),
                    ty,
                    protocol,
                    state: "",
                    local,
                    remote,
                    receive_bytes: state.queued().0,
                    send_bytes: 0,
                    overflows: state.overflows,
                    backlog: 0,
                    timer: None,
                })
            }
        }
    }
}

impl std::fmt::Debug for Inet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inet").field("shards", &self.wide.shards).finish_non_exhaustive()
    }
}

fn check_mtu(spec: &InterfaceSpec, link_mtu: u32) -> io::Result<u32> {
    if let Some(error) = &spec.error {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error.clone()));
    }
    let mtu = spec.mtu.unwrap_or(link_mtu);
    if mtu > link_mtu {
        let text = format!("mtu {mtu} is more than the link's {link_mtu} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if mtu < MIN_MTU {
        let text = format!("mtu {mtu} is less than {MIN_MTU} bytes, which IP needs");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(mtu)
}

/// Routes that an interface is given with are by itself, whatever link they name.
fn check_routes(spec: &InterfaceSpec, name: &str) -> io::Result<()> {
    let other = |route: &&RouteSpec| route.iface.as_ref().is_some_and(|iface| iface != name);
    let Some(route) = spec.routes.iter().find(other) else { return Ok(()) };
    let text = format!("the route {route} is given to {name}, and by another interface");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// RFC 1122 §3.2.1.3, RFC 4291 §2.5: addresses that no host has.
fn check_address(cidr: IpCidr) -> io::Result<()> {
    let addr = cidr.addr();
    let wrong = addr.is_unspecified()
        || addr.is_multicast()
        || match addr {
            // The network's own number and its broadcast address are not a host's either.
            IpAddr::V4(v4) => {
                let of_network = cidr.prefix_bits() < 31
                    && (cidr.network().addr() == addr || cidr.broadcast() == Some(v4));
                v4.is_broadcast() || of_network
            }
            IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some(),
        };
    if wrong { Err(errno::invalid()) } else { Ok(()) }
}

/// Is a gateway a neighbour of who has these addresses? A link-local one always is, but for our own.
fn is_on_link(addrs: &[IpCidr], gateway: IpAddr) -> bool {
    let link_local = match gateway {
        IpAddr::V4(_) => false,
        IpAddr::V6(gateway) => gateway.is_unicast_link_local(),
    };
    let is_ours = addrs.iter().any(|cidr| cidr.addr() == gateway);
    !is_ours && (link_local || addrs.iter().any(|cidr| cidr.has_neighbour(gateway)))
}

fn static_route(spec: &RouteSpec, index: IfIndex) -> Route {
    let mut route = Route::connected(spec.dst, index)
        .with_kind(spec.kind)
        .with_metric(spec.metric)
        .with_origin(RouteOrigin::Static);
    route.gateway = spec.gateway;
    route
}

fn default_of(gateway: IpAddr) -> IpCidr {
    let any = Family::of(&gateway).unspecified();
    IpCidr::new(any, 0).expect("no prefix is shorter than zero bits")
}
