//! Gives interfaces addresses and takes them away, with the routes that come and go with them.
//! IPv6 addresses on Ethernet are neighbour discovery's to give.

use std::net::IpAddr;

use libnet::iface::{IfIndex, Interface, IpCidr};
use libnet::route::{Route, RouteKind};

use crate::family::is_link_local4;
use crate::wide::Wide;

impl Wide {
    /// Gives an interface an address, and routes to its network.
    pub(crate) fn assign(&self, iface: &Interface, cidr: IpCidr) {
        iface.reconfigure(|config| config.addrs.push(cidr));
        self.with_routes(|routes| {
            for route in connected_routes(iface.index, cidr) {
                // The same network on another address is there already.
                let _ = routes.insert(route);
            }
        });
        self.refresh_view();
    }

    /// Takes an address from an interface, and the routes that came with it.
    pub(crate) fn withdraw(&self, iface: &Interface, cidr: IpCidr) {
        iface.reconfigure(|config| config.addrs.retain(|other| *other != cidr));
        let rest = iface.config();
        self.with_routes(|routes| {
            for route in connected_routes(iface.index, cidr) {
                // The network's may be another address's, or somebody's who set it by hand.
                routes.remove_same(&route);
            }
            // Another address may still want the network that just went; those of the other family
            // have routes of their own, which neighbour discovery may have thought better of.
            let same = |other: &&IpCidr| other.addr().is_ipv4() == cidr.addr().is_ipv4();
            for other in rest.addrs.iter().filter(same) {
                for route in connected_routes(iface.index, *other) {
                    let _ = routes.insert(route);
                }
            }
        });
        self.refresh_view();
    }
}

/// The routes that come with an address.
fn connected_routes(index: IfIndex, cidr: IpCidr) -> Vec<Route> {
    let addr = cidr.addr();
    let host = IpCidr::host(addr);
    // As on Linux, the route to ourselves names the interface that the address is of, though what
    // takes it never leaves; of the two families IPv4's alone names the source.
    let own = |to| {
        let route = Route::connected(to, index).with_kind(RouteKind::Local);
        if addr.is_ipv4() { route.with_source(addr) } else { route }
    };
    let mut routes = vec![own(host)];
    let network = Route::connected(cidr.network(), index);
    if index == IfIndex::LOOPBACK {
        // RFC 1122 §3.2.1.3(g): the whole network is the host itself.
        routes.push(own(cidr.network()));
    } else if host != cidr {
        // RFC 3927 §1.9: what begins to speak to a link-local address does so from a routable one
        // if there is one, so that the source is left to be chosen.
        routes.push(if is_link_local4(addr) { network } else { network.with_source(addr) });
    }
    if let Some(broadcast) = cidr.broadcast() {
        let to_all = Route::connected(IpCidr::host(IpAddr::V4(broadcast)), index);
        routes.push(to_all.with_kind(RouteKind::Broadcast).with_source(addr));
    }
    routes
}
