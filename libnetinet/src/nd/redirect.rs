//! First hops that routers told us of, in both families: bounded, and forgotten after a while
//! (RFC 4861 §8.3, RFC 1122 §3.2.2.2).

use std::net::IpAddr;

use libnet::iface::{IfIndex, IpCidr};
use libnet::route::{Route, RouteOrigin};
use libnet::time::Instant;

/// The destinations that were redirected.
#[derive(Default, Debug)]
pub(crate) struct Redirects {
    /// The longest known first.
    list: Vec<Redirected>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Redirected {
    dst: IpAddr,
    iface: IfIndex,
    /// `None`: the destination is on the link.
    gateway: Option<IpAddr>,
    until: Instant,
}

impl Redirects {
    /// Takes one in, for `age`; of more than `most` the oldest go.
    pub(crate) fn add(
        &mut self,
        dst: IpAddr,
        iface: IfIndex,
        gateway: Option<IpAddr>,
        until: Instant,
        most: usize,
    ) {
        self.list.retain(|old| (old.dst, old.iface) != (dst, iface));
        while self.list.len() >= most.max(1) {
            self.list.remove(0);
        }
        self.list.push(Redirected { dst, iface, gateway, until });
    }

    /// Forgets those whose gateway stopped being a router.
    pub(crate) fn remove_router(&mut self, iface: IfIndex, router: IpAddr) {
        self.list.retain(|old| (old.iface, old.gateway) != (iface, Some(router)));
    }

    /// Forgets what is old; whether anything was.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let before = self.list.len();
        self.list.retain(|entry| entry.until > now);
        self.list.len() < before
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.list.iter().map(|entry| entry.until).min()
    }

    /// The routes that follow.
    pub(crate) fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.list.iter().map(|entry| {
            let dst = IpCidr::host(entry.dst);
            let route = match entry.gateway {
                Some(gateway) => Route::via(dst, entry.iface, gateway),
                None => Route::connected(dst, entry.iface),
            };
            route.with_origin(RouteOrigin::Learned).with_metric(METRIC)
        })
    }
}

/// After configured routes to the same host.
const METRIC: u32 = 256;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_all_go_with_time() {
        let mut all = Redirects::default();
        let dst = |n: u128| IpAddr::from(Ipv6Addr::from_bits(0x2001 << 112 | n));
        for n in 0..10_000 {
            let until = Instant::from_millis(n as u64);
            all.add(dst(n), IfIndex(2), None, until, 100);
        }
        assert_eq!(all.routes().count(), 100);
        assert_eq!(all.routes().next().map(|route| route.dst.addr()), Some(dst(9_900)));
        assert!(!all.expire(Instant::from_millis(9_899)));
        assert!(all.expire(Instant::from_millis(9_998)));
        assert_eq!(all.next_deadline(), Some(Instant::from_millis(9_999)));
    }

    #[test]
    fn a_newer_word_replaces_the_older_and_a_router_takes_its_own_along() {
        let mut all = Redirects::default();
        let router = IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        let dst = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        all.add(dst, IfIndex(2), None, Instant::MAX, 9);
        all.add(dst, IfIndex(2), Some(router), Instant::MAX, 9);
        let gateways: Vec<_> = all.routes().map(|route| route.gateway).collect();
        assert_eq!(gateways, [Some(router)]);
        all.remove_router(IfIndex(2), router);
        assert_eq!(all.routes().count(), 0);
    }
}
