//! Whether a source is reached by the interface that its packet came by (RFC 3704).

use std::net::IpAddr;

use libnet::route::{Route, RouteKind};

use crate::config::ReversePath;
use crate::ip::input::Cause;
use crate::shard::Shard;

impl Shard {
    /// Is the source believed?
    pub(crate) fn reverse_path_passes(&self, cause: &Cause<'_>, src: IpAddr) -> bool {
        let mode = self.config.forwarding.reverse_path;
        // RFC 1122 §3.2.1.3(a): who has no address yet cannot be looked up.
        if mode == ReversePath::Off || cause.on.loopback || src.is_unspecified() {
            return true;
        }
        let is_up = |route: &Route| {
            route.kind != RouteKind::Unicast
                || cause.view.iface(route.iface).is_some_and(|iface| iface.usable)
        };
        let routes = self.wide.routes();
        let Some(route) = routes.lookup_where(src, is_up) else { return false };
        let index = cause.on.iface.index;
        route.kind == RouteKind::Unicast && (mode == ReversePath::Loose || route.iface == index)
    }
}
