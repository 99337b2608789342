//! Which addresses are ours, on which interfaces: a snapshot that shards read without a lock.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use libnet::ethernet::MacAddr;
use libnet::iface::{ClampMss, IfIndex, Interface, IpCidr, SixConfig};
use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::socket::Family;

use crate::family::{has_zone, is_link_local4};
use crate::nd::message::ALL_ROUTERS;
use crate::select::{self, Candidate, PrivacyPreference};

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
    /// Packets for others that come by it are passed on: IPv4, IPv6.
    forwards: [bool; 2],
    /// What SYNs for others that come or leave by it announce at most.
    pub(crate) clamp_mss: ClampMss,
    /// What neighbour discovery found out.
    pub(crate) six: SixConfig,
}

impl IfaceView {
    /// Is it a router's interface: are packets of the family that come by it passed on?
    pub(crate) fn is_router(&self, family: Family) -> bool {
        self.forwards[family as usize]
    }

    /// Are we a router of this link (RFC 4861 §6.2.2): do we pass on what comes by it, or say so?
    pub(crate) fn is_router6(&self) -> bool {
        self.six.router || self.is_router(Family::Inet6)
    }

    /// Is the interface configured as it was?
    pub(crate) fn is_current(&self) -> bool {
        self.generation == self.iface.generation()
    }

    /// The largest packet to such a destination, in bytes.
    pub(crate) fn mtu_for(&self, dst: IpAddr) -> u32 {
        // RFC 4861 §6.3.4: a router may allow less to IPv6.
        let allowed = self.six.mtu.filter(|_| dst.is_ipv6());
        allowed.map_or(self.mtu, |mtu| mtu.min(self.mtu))
    }

    /// Its IPv6 addresses, to choose a source from.
    fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.addrs.iter().filter_map(|cidr| {
            let IpAddr::V6(addr) = cidr.addr() else { return None };
            let traits = self.six.traits_of(addr);
            let candidate = Candidate::new(addr.into(), cidr.prefix_bits(), self.iface.index);
            // RFC 4429 §3.3: an optimistic address is one to avoid, as a deprecated one is.
            let avoided = traits.deprecated || traits.optimistic;
            Some(candidate.deprecated(avoided).temporary(traits.temporary))
        })
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
                forwards: [config.forward4, config.forward6],
                clamp_mss: config.clamp_mss,
                six: config.six.clone(),
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
        // RFC 1122 §3.2.1.3(g): all of 127/8 is the host itself; RFC 4291 §2.5.3: so is ::1.
        addr.is_loopback() || self.locals.binary_search_by_key(&addr, |&(addr, _)| addr).is_ok()
    }

    /// Is what comes by an interface from or to it of ours? A link-local address is its link's
    /// alone: on another it may be a neighbour's (RFC 4007 §4).
    pub(crate) fn is_local_on(&self, on: &IfaceView, addr: IpAddr) -> bool {
        match has_zone(addr) && !on.loopback {
            true => on.addrs.iter().any(|cidr| cidr.addr() == addr),
            false => self.is_local(addr),
        }
    }

    /// The interface that a packet to `dst` counts as received by. As on Linux, what we send to a
    /// link-local address of ours comes back by the link that it is of: the one that the packet
    /// names, because two links may have the same address (RFC 4007 §4).
    pub(crate) fn arrival(&self, on: &IfaceView, dst: Ipv6Addr, packet: &Packet) -> IfIndex {
        if !on.loopback || !dst.is_unicast_link_local() {
            return on.iface.index;
        }
        let named = Some(IfIndex(packet.mark)).filter(|zone| zone.0 != 0);
        named.or_else(|| self.iface_of(dst.into())).unwrap_or(on.iface.index)
    }

    /// May a socket that keeps to `zone` be bound to it: the wildcard address, or one of ours?
    pub(crate) fn may_bind(&self, addr: IpAddr, zone: Option<IfIndex>) -> bool {
        if has_zone(addr) {
            let on = zone.and_then(|zone| self.iface(zone));
            return on.is_some_and(|on| on.addrs.iter().any(|cidr| cidr.addr() == addr));
        }
        addr.is_unspecified() || self.is_local(addr)
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
            // Who is in the group is asked for elsewhere.
            return Some(Cast::Multicast);
        }
        // RFC 1122 §3.3.6: limited and directed broadcasts of the interface; what we loop back
        // to ourselves counts for all. RFC 2644 §2: those of other interfaces are not received.
        let directed = self
            .broadcasts
            .iter()
            .any(|&(addr, on)| addr == dst && (iface.loopback || on == iface.iface.index));
        (dst.is_broadcast() || directed).then_some(Cast::Broadcast)
    }

    /// The interface by which to reach all IPv4 hosts of the link straight, `wanted` or any: one
    /// that has no address that routers know (RFC 3927 §2.6.2), or any with one where the
    /// destination itself is link-local.
    pub(crate) fn arps_for_all(
        &self,
        wanted: Option<IfIndex>,
        dst: Ipv4Addr,
    ) -> Option<&IfaceView> {
        let fits = |iface: &&IfaceView| {
            let mut addrs = iface.addrs.iter().filter(|cidr| cidr.addr().is_ipv4()).peekable();
            iface.usable
                && iface.medium == Medium::Ethernet
                && !iface.loopback
                && wanted.is_none_or(|wanted| wanted == iface.iface.index)
                && addrs.peek().is_some()
                && (dst.is_link_local() || addrs.all(|cidr| is_link_local4(cidr.addr())))
        };
        self.ifaces().find(fits)
    }

    /// What a destination means, for IPv6. A link-local address is of its link alone (RFC 4007 §4).
    pub(crate) fn cast_of6(&self, iface: &IfaceView, dst: Ipv6Addr) -> Option<Cast> {
        if dst.is_multicast() {
            return match dst.octets()[1] & 0x0f {
                // RFC 4291 §2.7: never sent, and dropped if it comes.
                0 => None,
                // RFC 4291 §2.7: what is of one interface stays there.
                1 => iface.loopback.then_some(Cast::Multicast),
                // Who is in the group is asked for elsewhere.
                _ => Some(Cast::Multicast),
            };
        }
        if dst.is_loopback() {
            // RFC 4291 §2.5.3: never to be received on an interface by which others reach us.
            return iface.loopback.then_some(Cast::Unicast);
        }
        let ours = if dst.is_unicast_link_local() && !iface.loopback {
            iface.addrs.iter().any(|cidr| cidr.addr() == IpAddr::V6(dst))
        } else {
            self.locals.binary_search_by_key(&IpAddr::V6(dst), |&(addr, _)| addr).is_ok()
        };
        ours.then_some(Cast::Unicast)
    }

    /// The groups that an interface is in for the stack's own sake, beside those of all hosts: RFC
    /// 4291 §2.8, the solicited-node group of every address, and where we are a router that of
    /// routers.
    pub(crate) fn station_groups(&self, iface: &IfaceView) -> BTreeSet<IpAddr> {
        let addrs = iface.addrs.iter().filter_map(|cidr| match cidr.addr() {
            IpAddr::V6(addr) => Some(addr),
            IpAddr::V4(_) => None,
        });
        // RFC 4862 §5.4.2: before an address is ours, others must be heard who want it.
        let addrs = addrs.chain(iface.six.tentative.iter().copied());
        let mut groups: BTreeSet<IpAddr> = addrs.map(|addr| solicited_node(addr).into()).collect();
        if iface.is_router6() && !groups.is_empty() {
            groups.insert(ALL_ROUTERS.into());
        }
        groups
    }

    /// The address to send from on an interface towards a neighbour (RFC 1122 §3.3.4.3): a
    /// routable one if there is one (RFC 3927 §1.9), one of the neighbour's network before others.
    pub(crate) fn source_for(&self, iface: &IfaceView, next_hop: IpAddr) -> Option<IpAddr> {
        let family = Family::of(&next_hop);
        let all = iface.addrs.iter().filter(|cidr| Family::of(&cidr.addr()) == family);
        let best = all.min_by_key(|cidr| (is_link_local4(cidr.addr()), !cidr.contains(next_hop)));
        best.map(IpCidr::addr)
    }

    /// The IPv6 address to send from by an interface (RFC 6724 §5). Addresses of other interfaces
    /// count, but for the link-local ones.
    pub(crate) fn source_for6(&self, iface: &IfaceView, dst: IpAddr) -> Option<IpAddr> {
        let candidates = self.ifaces().flat_map(IfaceView::candidates);
        let candidates = candidates.filter(|c| !c.addr.is_loopback() || iface.loopback);
        let out = iface.iface.index;
        let best = select::source_for(candidates, dst, out, PrivacyPreference::Temporary)?;
        Some(IpAddr::V6(best.addr))
    }

    /// An address of ours as a source to choose.
    pub(crate) fn candidate(&self, addr: IpAddr) -> Option<Candidate> {
        if addr.is_ipv4() {
            let on = self.iface(self.iface_of(addr)?)?;
            let bits = on.addrs.iter().find(|cidr| cidr.addr() == addr).map(IpCidr::prefix_bits);
            return Some(Candidate::new(addr, bits.unwrap_or(32), on.iface.index));
        }
        let mut all = self.ifaces().flat_map(IfaceView::candidates);
        all.find(|candidate| IpAddr::V6(candidate.addr) == addr)
    }

    /// Any address of ours in the family, those that others can reach first; none that means
    /// somebody else on another link (RFC 3927 §2.6.2).
    pub(crate) fn any_source(&self, family: Family) -> Option<IpAddr> {
        let fits = |addr: &IpAddr| Family::of(addr) == family && !is_link_local4(*addr);
        let of_family = || self.locals.iter().filter(|(addr, _)| fits(addr));
        let reachable = of_family().find(|(addr, _)| !addr.is_loopback());
        reachable.or_else(|| of_family().next()).map(|&(addr, _)| addr)
    }
}

/// The group that whoever looks for an address asks. Source: RFC 4291 §2.7.1.
pub(crate) const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(SOLICITED_NODE | addr.to_bits() & 0x00ff_ffff)
}

const SOLICITED_NODE: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
