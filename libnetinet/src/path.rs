//! The way to a destination: source address, interface, next hop and MTU, kept until one of them
//! may have changed.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use libnet::errno;
use libnet::iface::{IfIndex, Interface, IpCidr};
use libnet::route::{Route, RouteKind};
use libnet::socket::Family;
use libnet::time::Instant;

use crate::address::{IfaceView, View};
use crate::family::{has_zone, is_link_local4};
use crate::ipv6::flow_label::LabelSeed;
use crate::neighbour::Neighbour;
use crate::wide::Wide;

/// What kind of receiver a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// One other host.
    Unicast,
    /// Ourselves.
    Local,
    /// All on the link.
    Broadcast,
    /// A group on the link.
    Multicast,
}

/// The way to a destination.
#[derive(Clone)]
pub(crate) struct Path {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) next_hop: IpAddr,
    pub(crate) iface: Arc<Interface>,
    /// The largest IP packet, in bytes.
    pub(crate) mtu: u32,
    pub(crate) reach: Reach,
    /// The interface whose link a link-local destination of ours is of (RFC 4007 §6).
    pub(crate) zone: Option<IfIndex>,
    /// The hop limit that a router of the link asks for (RFC 4861 §6.3.4).
    pub(crate) hop_limit: Option<u8>,
    /// What IPv6 flow labels on it are made of.
    pub(crate) label_seed: LabelSeed,
    /// Do members of the group on this host get what is sent to it?
    pub(crate) loops_back: bool,
    /// The next hop, once something was sent to it.
    pub(crate) neighbour: Option<Arc<Neighbour>>,
    generation: u64,
    iface_generation: u64,
    /// A learned path MTU is forgotten then.
    expires: Instant,
}

/// Why there is no way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NoPath {
    /// No route.
    #[error("network is unreachable")]
    NetUnreachable,
    /// The route refuses.
    #[error("host is unreachable")]
    HostUnreachable,
    /// The route swallows.
    #[error("the route is a black hole")]
    Blackhole,
    /// RFC 1122 §3.2.1.3(b): an address of network zero is nobody's.
    #[error("the destination is no address of a host")]
    BadDestination,
    /// The source address is not ours, or may not leave by that interface.
    #[error("the source address cannot be used")]
    BadSource,
}

impl NoPath {
    /// The error that Linux gives a sender.
    pub(crate) fn to_io(self) -> io::Error {
        match self {
            NoPath::NetUnreachable => errno::net_unreachable(),
            NoPath::HostUnreachable => errno::host_unreachable(),
            NoPath::Blackhole | NoPath::BadSource | NoPath::BadDestination => errno::invalid(),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) dst: IpAddr,
    /// The source that the sender chose.
    pub(crate) src: Option<IpAddr>,
    /// The interface that the sender is bound to.
    pub(crate) iface: Option<IfIndex>,
}

impl Path {
    /// Finds the way.
    pub(crate) fn find(wide: &Wide, now: Instant, wanted: Wanted) -> Result<Path, NoPath> {
        // Read first: a change meanwhile makes the path stale, not wrong for good.
        let generation = wide.generation();
        let view = wide.current_view();
        if let Some(src) = wanted.src
            && !view.is_local(src)
        {
            return Err(NoPath::BadSource);
        }
        let hop = match first_hop(wide, &view, wanted) {
            Err(NoPath::NetUnreachable) => arp_for_all(&view, wanted)?,
            hop => hop?,
        };
        let iface = view.iface(hop.iface).ok_or(NoPath::NetUnreachable)?;
        // A route may outlive the address that it prefers.
        let preferred = hop.src.filter(|src| view.is_local(*src));
        let src = match wanted.src.or(preferred) {
            Some(src) => src,
            None => source(&view, iface, &hop)?,
        };
        // RFC 1122 §3.2.1.3(g): a loopback address never leaves the host.
        if src.is_loopback() && !iface.loopback {
            return Err(NoPath::BadSource);
        }
        if hop.reach != Reach::Local && !may_leave_by(iface, src, wanted.dst) {
            return Err(NoPath::BadSource);
        }
        let learned = wide.path_mtus.get(now, wanted.dst);
        let mtu = hop.mtu.unwrap_or(u32::MAX).min(iface.mtu_for(wanted.dst));
        Ok(Path {
            src,
            dst: wanted.dst,
            // RFC 3927 §2.6.2: nothing link-local is given to a router to pass on.
            next_hop: if is_link_local4(src) || is_link_local4(wanted.dst) {
                wanted.dst
            } else {
                hop.next_hop
            },
            iface: Arc::clone(&iface.iface),
            mtu: learned.map_or(mtu, |(learned, _)| learned.min(mtu)),
            reach: hop.reach,
            zone: hop.zone,
            hop_limit: iface.six.hop_limit.filter(|_| wanted.dst.is_ipv6()),
            label_seed: match (src, wanted.dst) {
                (IpAddr::V6(src), IpAddr::V6(dst)) => wide.flow_labels.seed(src, dst),
                _ => LabelSeed::NONE,
            },
            loops_back: true,
            neighbour: None,
            generation,
            iface_generation: iface.generation,
            expires: learned.map_or(Instant::MAX, |(_, expires)| expires),
        })
    }

    /// Finds the way of a packet that another host sent to yet another. Its source is not ours, so
    /// that [`src`](Self::src) says nothing; what routers told us of the path is not believed for
    /// others.
    pub(crate) fn transit(wide: &Wide, dst: IpAddr) -> Result<Path, NoPath> {
        let generation = wide.generation();
        let view = wide.current_view();
        let hop = first_hop(wide, &view, Wanted { dst, src: None, iface: None })?;
        let iface = view.iface(hop.iface).ok_or(NoPath::NetUnreachable)?;
        // RFC 1812 §4.2.3.1: a network's own number is nobody's address.
        let is_network = |cidr: &IpCidr| cidr.broadcast().is_some() && cidr.network().addr() == dst;
        if iface.addrs.iter().any(is_network) {
            return Err(NoPath::BadDestination);
        }
        Ok(Path {
            src: Family::of(&dst).unspecified(),
            dst,
            next_hop: hop.next_hop,
            iface: Arc::clone(&iface.iface),
            mtu: hop.mtu.unwrap_or(u32::MAX).min(iface.mtu),
            reach: hop.reach,
            zone: None,
            hop_limit: None,
            label_seed: LabelSeed::NONE,
            loops_back: false,
            neighbour: None,
            generation,
            iface_generation: iface.generation,
            expires: Instant::MAX,
        })
    }

    /// Is it still the way?
    pub(crate) fn is_valid(&self, wide: &Wide, now: Instant) -> bool {
        self.generation == wide.generation()
            && self.iface_generation == self.iface.generation()
            && now < self.expires
    }
}

struct Hop {
    iface: IfIndex,
    dst: IpAddr,
    next_hop: IpAddr,
    src: Option<IpAddr>,
    mtu: Option<u32>,
    reach: Reach,
    zone: Option<IfIndex>,
}

fn first_hop(wide: &Wide, view: &View, mut wanted: Wanted) -> Result<Hop, NoPath> {
    let dst = wanted.dst;
    if has_zone(dst) {
        // RFC 4007 §6: a link-local address is reached by the link of the one it is sent from.
        let link = || wanted.src.filter(|src| has_zone(*src)).and_then(|src| view.iface_of(src));
        wanted.iface = wanted.iface.or_else(link);
    }
    if let Some(src) = wanted.src.filter(|src| is_link_local4(*src)) {
        // RFC 3927 §2.6.2: nor does one of IPv4 leave its own link.
        wanted.iface = wanted.iface.or_else(|| view.iface_of(src));
    }
    if let IpAddr::V4(v4) = dst
        && v4.octets()[0] == 0
    {
        return Err(NoPath::BadDestination);
    }
    let group = dst.is_multicast() || dst == IpAddr::V4(Ipv4Addr::BROADCAST);
    let chosen = wanted.iface.or_else(|| wanted.src.and_then(|src| view.iface_of(src)));
    let chosen = match dst {
        IpAddr::V6(_) if group => chosen.or_else(|| first_link(view)),
        _ => chosen,
    };
    let is_fit = |iface: &IfIndex| *iface != IfIndex::LOOPBACK || dst.is_multicast();
    if group && let Some(iface) = chosen.filter(is_fit) {
        let reach = if dst.is_multicast() { Reach::Multicast } else { Reach::Broadcast };
        return Ok(Hop { iface, dst, next_hop: dst, src: None, mtu: None, reach, zone: None });
    }
    let route = best_route(wide, view, wanted).ok_or(NoPath::NetUnreachable)?;
    let reach = match route.kind {
        RouteKind::Local => Reach::Local,
        RouteKind::Broadcast => Reach::Broadcast,
        RouteKind::Blackhole => return Err(NoPath::Blackhole),
        RouteKind::Reject => return Err(NoPath::HostUnreachable),
        _ if dst.is_multicast() => Reach::Multicast,
        _ if group => Reach::Broadcast,
        _ => Reach::Unicast,
    };
    // RFC 1122 §3.3.1.1: to the destination itself if it is on the link, else to the gateway.
    let next_hop = route.gateway.filter(|_| reach == Reach::Unicast).unwrap_or(dst);
    let src = match (reach, dst) {
        // As on Linux: all of 127/8 is ours, and called from its first address.
        (Reach::Local, IpAddr::V4(v4)) if v4.is_loopback() => Some(Ipv4Addr::LOCALHOST.into()),
        (Reach::Local, _) => Some(dst),
        _ => route.preferred_source,
    };
    let iface = if reach == Reach::Local { IfIndex::LOOPBACK } else { route.iface };
    let zone = wanted.iface.filter(|_| reach == Reach::Local && has_zone(dst));
    Ok(Hop { iface, dst, next_hop, src, mtu: route.mtu, reach, zone })
}

/// RFC 3927 §2.6.2: who has no address but link-local ones looks for everybody on its link.
fn arp_for_all(view: &View, wanted: Wanted) -> Result<Hop, NoPath> {
    let IpAddr::V4(to) = wanted.dst else { return Err(NoPath::NetUnreachable) };
    let chosen = wanted.src.filter(|src| is_link_local4(*src)).and_then(|src| view.iface_of(src));
    let iface = view.arps_for_all(wanted.iface.or(chosen), to).ok_or(NoPath::NetUnreachable)?;
    let reach = match to {
        _ if to.is_multicast() => Reach::Multicast,
        Ipv4Addr::BROADCAST => Reach::Broadcast,
        _ => Reach::Unicast,
    };
    let (iface, dst) = (iface.iface.index, wanted.dst);
    Ok(Hop { iface, dst, next_hop: dst, src: None, mtu: None, reach, zone: None })
}

/// As on Linux, a group of IPv6 is reached by the first interface that has such an address.
fn first_link(view: &View) -> Option<IfIndex> {
    let has_six = |iface: &&IfaceView| iface.addrs.iter().any(|cidr| cidr.addr().is_ipv6());
    let mut links = view.ifaces().filter(|iface| iface.usable && !iface.loopback);
    links.find(has_six).map(|iface| iface.iface.index)
}

/// The best route whose gateway is not known to be dead; the best at all if none is alive.
///
/// RFC 1122 §3.3.1.4, §3.3.1.5: when a gateway fails, another is chosen.
fn best_route(wide: &Wide, view: &View, wanted: Wanted) -> Option<Route> {
    // RFC 4007 §4: our link-local address on one link may be a neighbour's on another.
    let on = wanted.iface.and_then(|iface| view.iface(iface));
    let ours = !has_zone(wanted.dst) || on.is_none_or(|on| view.is_local_on(on, wanted.dst));
    let usable = |route: &Route| {
        let bound = wanted.iface.is_none_or(|iface| iface == route.iface);
        let up = view.iface(route.iface).is_some_and(|iface| iface.usable);
        match route.kind {
            RouteKind::Local => ours,
            kind => (bound && up) || !is_forwarding(kind),
        }
    };
    let best = |dead: &[(IfIndex, IpAddr)]| {
        let alive =
            |route: &Route| !route.gateway.is_some_and(|gw| dead.contains(&(route.iface, gw)));
        wide.routes().lookup_where(wanted.dst, |route| usable(route) && alive(route))
    };
    let mut dead = Vec::new();
    while dead.len() < MAX_DEAD_GATEWAYS {
        let Some(route) = best(&dead) else { break };
        // Asked with the routes unlocked: both locks are wide.
        match route.gateway.map(|gateway| (route.iface, gateway)) {
            Some(hop) if wide.with_neighbours(|table| table.is_failed(hop.0, hop.1)) => {
                dead.push(hop);
            }
            _ => return Some(route),
        }
    }
    best(&[])
}

/// Gateways that are passed over before the first one is tried again.
const MAX_DEAD_GATEWAYS: usize = 8;

const fn is_forwarding(kind: RouteKind) -> bool {
    matches!(kind, RouteKind::Unicast | RouteKind::Broadcast)
}

/// RFC 6724 §4: an address of one link leaves by that link alone, and what is sent to a group from
/// an address of the link that it goes to; a sender that chose another one is refused.
///
/// DEVIATES RFC 6724 §4: towards a link-local address any address of ours may be named, as Linux
/// has it. An answer leaves from the address that was asked (RFC 4443 §2.2).
fn may_leave_by(iface: &IfaceView, src: IpAddr, dst: IpAddr) -> bool {
    let of_link = has_zone(src) || (dst.is_ipv6() && dst.is_multicast());
    !of_link || src.is_unspecified() || iface.addrs.iter().any(|cidr| cidr.addr() == src)
}

fn source(view: &View, iface: &IfaceView, hop: &Hop) -> Result<IpAddr, NoPath> {
    let family = Family::of(&hop.next_hop);
    let found = match hop.next_hop {
        IpAddr::V4(_) => view.source_for(iface, hop.next_hop),
        IpAddr::V6(_) => view.source_for6(iface, hop.dst),
    };
    let found = found.or_else(|| view.any_source(family));
    match found {
        Some(src) if !src.is_loopback() || iface.loopback => Ok(src),
        // RFC 1122 §3.2.1.3(a): who has no address yet may ask all for one.
        _ if hop.reach == Reach::Broadcast => Ok(family.unspecified()),
        _ => Err(NoPath::NetUnreachable),
    }
}
