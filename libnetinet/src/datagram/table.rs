//! Who has which port: bound and connected sockets, found by a datagram's addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Waker;

use libnet::iface::IfIndex;
use libnet::packet::Packet;

use super::Shared;
use crate::family::has_zone;
use crate::hash::{HashMap, Key};
use crate::icmp::error::IcmpError;
use crate::ports::Unasked;

/// A socket's place in the table.
#[derive(Clone)]
pub(crate) struct Binding {
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) iface: Option<IfIndex>,
    pub(crate) reuse_addr: bool,
    pub(crate) reuse_port: bool,
    /// At the wildcard address of IPv6 it takes IPv4 as well.
    pub(crate) both_families: bool,
    pub(crate) socket: Shared,
}

/// The sockets of one protocol by port (UDP) or identifier (ping).
///
/// Rank: wide. The lock is held to look up and to bind, not to deliver.
pub(crate) struct PortTable {
    key: Key,
    inner: RwLock<Inner>,
}

struct Inner {
    /// Sockets without a peer, by port; the newest last.
    open: HashMap<u16, Vec<Binding>>,
    /// Sockets with a peer, by both ends; the local address may be any.
    connected: HashMap<(SocketAddr, SocketAddr), Vec<Binding>>,
    /// The keys of `connected` by local port.
    connected_ports: HashMap<u16, Vec<(SocketAddr, SocketAddr)>>,
}

/// The table refuses a port: somebody has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InUse;

impl PortTable {
    /// Nobody has any.
    pub(crate) fn new(key: Key) -> Self {
        let inner = Inner {
            open: HashMap::with_hasher(key),
            connected: HashMap::with_hasher(key),
            connected_ports: HashMap::with_hasher(key),
        };
        PortTable { key, inner: RwLock::new(inner) }
    }

    /// Gives a socket its port, unless that conflicts with another's.
    pub(crate) fn bind(&self, binding: Binding) -> Result<(), InUse> {
        let mut inner = self.write();
        if inner.conflicts(&binding) {
            return Err(InUse);
        }
        inner.insert(binding);
        Ok(())
    }

    /// Gives a socket any free port that it may have unasked; the port.
    pub(crate) fn bind_any(
        &self,
        mut binding: Binding,
        unasked: Unasked<'_>,
        random: u64,
    ) -> Result<u16, InUse> {
        // Reuse is for ports that were asked for: one that is given out is nobody else's.
        let mut alone = binding.clone();
        (alone.reuse_addr, alone.reuse_port) = (false, false);
        let mut inner = self.write();
        for port in unasked.starting(random) {
            alone.local.set_port(port);
            if !inner.conflicts(&alone) {
                binding.local.set_port(port);
                inner.insert(binding);
                return Ok(port);
            }
        }
        Err(InUse)
    }

    /// Puts a socket that is in the table into another place, as `connect` does.
    pub(crate) fn rebind(&self, binding: Binding, old: &Binding) {
        let mut inner = self.write();
        inner.remove(old);
        inner.insert(binding);
    }

    /// Takes a socket out.
    pub(crate) fn remove(&self, old: &Binding) {
        self.write().remove(old);
    }

    /// The socket that a datagram from `remote` to `local` is for.
    pub(crate) fn find(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        on: IfIndex,
    ) -> Option<Shared> {
        let inner = self.read();
        if let Some(found) = inner.find_connected(local, remote, on) {
            return Some(found);
        }
        let bindings = inner.open.get(&local.port())?;
        // The most particular wins, the newest among equals, as Linux has it.
        let score = |binding: &Binding| binding.score(local.ip(), on);
        let best = bindings.iter().filter_map(|b| score(b).map(|s| (s, b)));
        let (score_of_best, best) = best.max_by_key(|&(score, _)| score)?;
        if !best.reuse_port {
            return Some(Arc::clone(&best.socket));
        }
        // SO_REUSEPORT: flows are spread over those that share the port.
        let group = bindings.iter().filter(|b| b.reuse_port && score(b) == Some(score_of_best));
        let group: Vec<&Binding> = group.collect();
        let pick = self.key.hash((local, remote)) as usize % group.len();
        Some(Arc::clone(&group[pick].socket))
    }

    /// All sockets that a datagram to many is for.
    pub(crate) fn find_all(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        on: IfIndex,
        out: &mut Vec<Shared>,
    ) {
        let inner = self.read();
        let open = inner.open.get(&local.port()).into_iter().flatten();
        let takes = |b: &&Binding| b.score(local.ip(), on).is_some();
        out.extend(open.filter(takes).map(|b| Arc::clone(&b.socket)));
        for any in [local, SocketAddr::new(unspecified(local.ip()), local.port())] {
            let connected = inner.connected.get(&(any, remote)).into_iter().flatten();
            out.extend(connected.filter(takes).map(|b| Arc::clone(&b.socket)));
        }
    }

    /// Brings an ICMP error to the socket that sent from `local` to `remote`; whether there is one.
    pub(crate) fn error(
        &self,
        wakes: &mut Vec<Waker>,
        local: SocketAddr,
        remote: SocketAddr,
        error: &IcmpError,
        _quoted: &Packet,
    ) -> bool {
        let inner = self.read();
        // A link-local peer is its link's; which one that is does not show in what we tell ourselves.
        let of_link = has_zone(remote.ip()) && error.iface != IfIndex::LOOPBACK;
        let on = if of_link { error.iface } else { IfIndex(0) };
        let connected = inner.find_connected(local, remote, on);
        let found = connected.or_else(|| {
            // A ping socket's peer has no port; neither tells them apart.
            let at_any_port = inner.open.get(&local.port())?;
            let fits = |b: &&Binding| b.score(local.ip(), on).is_some();
            at_any_port.iter().rfind(fits).map(|b| Arc::clone(&b.socket))
        });
        drop(inner);
        let Some(socket) = found else { return false };
        socket.report(error, wakes);
        true
    }

    /// Has a socket at `local` the peer `remote`, or was it sent to last?
    pub(crate) fn sends_to(&self, local: SocketAddr, remote: SocketAddr, on: IfIndex) -> bool {
        let inner = self.read();
        if inner.find_connected(local, remote, on).is_some() {
            return true;
        }
        let open = inner.open.get(&local.port()).into_iter().flatten();
        let open: Vec<Shared> = open.map(|binding| Arc::clone(&binding.socket)).collect();
        drop(inner);
        open.iter().any(|socket| socket.sent_last_to(remote.ip()))
    }

    /// The sockets that are bound to an address, or speak from it to a peer.
    pub(crate) fn all_at(&self, addr: IpAddr) -> Vec<Shared> {
        let inner = self.read();
        let all = inner.open.values().chain(inner.connected.values()).flatten();
        let at_addr = all.filter(|binding| binding.local.ip() == addr);
        at_addr.map(|binding| Arc::clone(&binding.socket)).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The port rules of Linux: two sockets may share a port if their addresses or interfaces
    /// keep them apart, or if both said that they would.
    fn conflicts(&self, new: &Binding) -> bool {
        let port = new.local.port();
        let open = self.open.get(&port).into_iter().flatten();
        let ends = self.connected_ports.get(&port).into_iter().flatten();
        let connected = ends.filter_map(|ends| self.connected.get(ends)).flatten();
        open.chain(connected).any(|other| new.conflicts(other))
    }

    fn find_connected(&self, local: SocketAddr, remote: SocketAddr, on: IfIndex) -> Option<Shared> {
        if self.connected.is_empty() {
            return None;
        }
        let any = SocketAddr::new(unspecified(local.ip()), local.port());
        let ends = [local, any].into_iter().filter_map(|end| self.connected.get(&(end, remote)));
        let fits = |b: &&Binding| b.iface.is_none_or(|iface| iface == on || on == IfIndex(0));
        ends.flatten().rfind(fits).map(|b| Arc::clone(&b.socket))
    }

    fn insert(&mut self, binding: Binding) {
        let port = binding.local.port();
        match binding.remote {
            None => self.open.entry(port).or_default().push(binding),
            Some(remote) => {
                let ends = (binding.local, remote);
                self.connected_ports.entry(port).or_default().push(ends);
                self.connected.entry(ends).or_default().push(binding);
            }
        }
    }

    fn remove(&mut self, old: &Binding) {
        let port = old.local.port();
        let is_old = |b: &Binding| Arc::ptr_eq(&b.socket, &old.socket);
        let Some(remote) = old.remote else {
            if let Some(bindings) = self.open.get_mut(&port) {
                bindings.retain(|b| !is_old(b));
                if bindings.is_empty() {
                    self.open.remove(&port);
                }
            }
            return;
        };
        let ends = (old.local, remote);
        let Some(bindings) = self.connected.get_mut(&ends) else { return };
        bindings.retain(|b| !is_old(b));
        if bindings.is_empty() {
            self.connected.remove(&ends);
        }
        if let Some(all) = self.connected_ports.get_mut(&port) {
            if let Some(at) = all.iter().position(|other| *other == ends) {
                all.swap_remove(at);
            }
            if all.is_empty() {
                self.connected_ports.remove(&port);
            }
        }
    }
}

impl Binding {
    /// How well it fits a destination address and interface; `None`: not at all.
    fn score(&self, local: IpAddr, on: IfIndex) -> Option<u8> {
        let own = self.local.ip();
        if !self.covers(local) {
            return None;
        }
        let mut score = 0;
        if !own.is_unspecified() {
            score += 4;
        }
        if let Some(iface) = self.iface {
            if iface != on && on != IfIndex(0) {
                return None;
            }
            score += 2;
        }
        // As on Linux: whoever speaks the family alone goes before whoever speaks both.
        if own.is_ipv4() == local.is_ipv4() {
            score += 1;
        }
        Some(score)
    }

    /// Does it take what is sent to `addr`, which may be the wildcard too?
    fn covers(&self, addr: IpAddr) -> bool {
        let own = self.local.ip();
        let any_of_family =
            own.is_ipv4() == addr.is_ipv4() || (own.is_ipv6() && self.both_families);
        own == addr || (own.is_unspecified() && any_of_family)
    }

    fn conflicts(&self, other: &Binding) -> bool {
        let same_iface = match (self.iface, other.iface) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let same_addr = self.covers(other.local.ip()) || other.covers(self.local.ip());
        let agreed = (self.reuse_addr && other.reuse_addr) || (self.reuse_port && other.reuse_port);
        same_iface && same_addr && !agreed
    }
}

fn unspecified(addr: IpAddr) -> IpAddr {
    libnet::socket::Family::of(&addr).unspecified()
}
