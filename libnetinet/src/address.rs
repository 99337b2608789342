//! Which addresses are ours, on which interfaces: a snapshot that shards read without a lock.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use libnet::ethernet::MacAddr;
use libnet::iface::{IfIndex, Interface, IpCidr};
use libnet::link::Medium;
use libnet::socket::Family;

/// The interfaces and addresses of a stack at one moment. Made anew at every change.
#[derive(Default)]
pub(crate) struct View {
    /// By number.
    ifaces: Vec<Option<IfaceView>>,
    /// Our addresses, sorted.
    locals: Vec<(IpAddr, IfIndex)>,
    /// Directed broadcast addresses, sorted.
    broadcasts: Vec<(Ipv4Addr, IfIndex)>,
}

/// An interface as the data path sees it.
pub(crate) struct IfaceView {
    pub(crate) iface: Arc<Interface>,
    /// Which configuration this was made of.
    pub(crate) generation: u64,
    pub(crate) medium: Medium,
    pub(crate) mac: MacAddr,
    pub(crate) loopback: bool,
    pub(crate) mtu: u32,
    pub(crate) usable: bool,
    pub(crate) addrs: Vec<IpCidr>,
}

impl IfaceView {
    /// Is the interface configured as it was?
    pub(crate) fn is_current(&self) -> bool {
        self.generation == self.iface.generation()
    }
}

/// What a destination address means to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cast {
    /// One of our addresses.
    Unicast,
    /// All on a network of ours.
    Broadcast,
    /// A group.
    Multicast,
}

impl View {
    /// The view of these interfaces.
    pub(crate) fn of<'a>(ifaces: impl Iterator<Item = &'a Arc<Interface>>) -> View {
        let mut view = View::default();
        for iface in ifaces {
            let generation = iface.generation();
            let config = iface.config();
            for cidr in &config.addrs {
                view.locals.push((cidr.addr(), iface.index));
                view.broadcasts.extend(cidr.broadcast().map(|addr| (addr, iface.index)));
            }
            let slot = iface.index.0 as usize;
            if view.ifaces.len() <= slot {
                view.ifaces.resize_with(slot + 1, || None);
            }
            view.ifaces[slot] = Some(IfaceView {
                iface: Arc::clone(iface),
                generation,
                medium: iface.link.medium,
                mac: iface.mac(),
                loopback: iface.link.loopback,
                mtu: config.mtu,
                usable: config.up && config.running,
                addrs: config.addrs.clone(),
            });
        }
        view.locals.sort_unstable();
        view.broadcasts.sort_unstable();
        view
    }

    /// An interface by its number.
    pub(crate) fn iface(&self, index: IfIndex) -> Option<&IfaceView> {
        self.ifaces.get(index.0 as usize)?.as_ref()
    }

    /// All interfaces, by their numbers.
    pub(crate) fn ifaces(&self) -> impl Iterator<Item = &IfaceView> {
        self.ifaces.iter().flatten()
    }

    /// Is it ours, on whichever interface?
    pub(crate) fn is_local(&self, addr: IpAddr) -> bool {
        // RFC 1122 §3.2.1.3(g): all of 127/8 is the host itself.
        addr.is_loopback() || self.locals.binary_search_by_key(&addr, |&(addr, _)| addr).is_ok()
    }

    /// The interface that has an address of ours.
    pub(crate) fn iface_of(&self, addr: IpAddr) -> Option<IfIndex> {
        if addr.is_loopback() {
            return Some(IfIndex::LOOPBACK);
        }
        let found = self.locals.binary_search_by_key(&addr, |&(addr, _)| addr);
        found.ok().map(|at| self.locals[at].1)
    }

    /// Is it a broadcast address, limited or of one of our networks?
    pub(crate) fn is_broadcast(&self, addr: IpAddr) -> bool {
        let IpAddr::V4(addr) = addr else { return false };
        addr.is_broadcast()
            || self.broadcasts.binary_search_by_key(&addr, |&(addr, _)| addr).is_ok()
    }

    /// What a destination means on the interface that it came by; `None`: it is not for us.
    ///
    /// Addresses belong to the host, not to the interface (RFC 1122 §3.3.4.2, the weak model).
    pub(crate) fn cast_of(&self, iface: &IfaceView, dst: Ipv4Addr) -> Option<Cast> {
        if dst.is_loopback() {
            // RFC 1122 §3.2.1.3(g): 127/8 MUST NOT appear outside a host.
            return iface.loopback.then_some(Cast::Unicast);
        }
        if self.locals.binary_search_by_key(&IpAddr::V4(dst), |&(addr, _)| addr).is_ok() {
            return Some(Cast::Unicast);
        }
        if dst.is_multicast() {
            // RFC 1112 §7.2: every host is of the all-hosts group; others are not joined yet.
            return (dst == ALL_HOSTS || iface.loopback).then_some(Cast::Multicast);
        }
        // RFC 1122 §3.3.6: limited and directed broadcasts of the interface; what we loop back
        // to ourselves counts for all.
        let directed = self
            .broadcasts
            .iter()
            .any(|&(addr, on)| addr == dst && (iface.loopback || on == iface.iface.index));
        (dst.is_broadcast() || directed).then_some(Cast::Broadcast)
    }

    /// The address to send from on an interface towards a neighbour (RFC 1122 §3.3.4.3).
    pub(crate) fn source_for(&self, iface: &IfaceView, next_hop: IpAddr) -> Option<IpAddr> {
        let same = iface.addrs.iter().find(|cidr| cidr.contains(next_hop));
        let family = Family::of(&next_hop);
        let any = || iface.addrs.iter().find(|cidr| Family::of(&cidr.addr()) == family);
        same.or_else(any).map(IpCidr::addr)
    }

    /// Any address of ours in the family, those that others can reach first.
    pub(crate) fn any_source(&self, family: Family) -> Option<IpAddr> {
        let of_family = || self.locals.iter().filter(|(addr, _)| Family::of(addr) == family);
        let reachable = of_family().find(|(addr, _)| !addr.is_loopback());
        reachable.or_else(|| of_family().next()).map(|&(addr, _)| addr)
    }
}

const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
