//! Gives a link-local IPv4 address up: what speaks from it is reset first, shard by shard, while its
//! peers can still be told (RFC 3927 §2.5).

use std::net::{IpAddr, Ipv4Addr};

use libnet::iface::IfIndex;
use libnet::time::Instant;

use super::link_local::cidr_of;
use crate::shard::Shard;
use crate::steer::COMMON;

/// An address that goes once every shard has reset its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Farewell {
    iface: IfIndex,
    addr: Ipv4Addr,
    /// Whose turn it is.
    shard: usize,
}

impl Shard {
    /// Begins to give an address of an interface up. No interface has two at a time.
    pub(crate) fn give_up(&mut self, iface: IfIndex, addr: Ipv4Addr) {
        let farewell = Farewell { iface, addr, shard: COMMON as usize };
        self.wide.with_farewells(|all| all.push(farewell));
        self.nudge(farewell.shard);
    }

    /// Does this shard's part for the addresses that are given up, and passes them on.
    pub(crate) fn say_farewells(&mut self, now: Instant) {
        let here = self.index;
        let mut mine = Vec::new();
        self.wide.with_farewells(|all| {
            mine.extend(all.iter().filter(|farewell| farewell.shard == here).copied());
            all.retain(|farewell| farewell.shard != here);
        });
        for Farewell { iface, addr, shard } in mine {
            // RFC 3927 §2.5: existing connections are reset, so that nobody takes them over.
            self.tcp_mut().reset_from(now, addr.into());
            self.tcp_transmit(now, iface, self.config.output_queue_packets);
            let next = Farewell { iface, addr, shard: shard + 1 };
            if next.shard < self.wide.shards {
                self.wide.with_farewells(|all| all.push(next));
                self.nudge(next.shard);
            } else {
                self.let_go(iface, addr);
            }
        }
    }

    fn let_go(&mut self, iface: IfIndex, addr: Ipv4Addr) {
        let view = self.view();
        let Some(on) = view.iface(iface) else { return };
        self.wide.withdraw(&on.iface, cidr_of(addr));
        for table in [&self.wide.udp, &self.wide.ping] {
            for socket in table.all_at(IpAddr::V4(addr)) {
                socket.lose_address(&mut self.wakes);
            }
        }
    }
}
