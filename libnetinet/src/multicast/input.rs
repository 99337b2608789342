//! Where groups meet the shards: what is due is said, what we send to a group comes back to its
//! members here.

use std::net::IpAddr;

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Family;
use libnet::time::Instant;

use crate::address::IfaceView;
use crate::ip::input::Cause;
use crate::output::Account;
use crate::shard::Shard;

impl Shard {
    /// Reports to routers, and answers them, as is due.
    pub(crate) fn expire_groups(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.wide.with_groups(|groups| groups.expire(now, &mut due));
        for (iface, family, said) in due {
            for say in said {
                match family {
                    Family::Inet6 => self.mld_output(iface, say),
                    _ => self.igmp_output(iface, say),
                }
            }
        }
    }

    /// Joins and leaves the groups that go with an interface's addresses; routers are told, and the
    /// link. To be called when those have changed, or are about to be ours.
    pub(crate) fn hear_groups(&mut self, now: Instant, iface: IfIndex) {
        let view = self.view();
        let Some(on) = view.iface(iface) else { return };
        let wanted = view.station_groups(on);
        self.wide.with_groups(|groups| groups.set_stack(now, iface, wanted));
        self.expire_groups(now);
    }

    /// Gives members on this host what it sends to a group (RFC 1112 §6.1).
    pub(crate) fn loop_back_to_members(&mut self, now: Instant, iface: IfIndex, packet: &Packet) {
        let mut packet = packet.clone();
        packet.rx_at = now;
        // It never leaves the process: nobody but us can have changed it.
        packet.checksum = Checksum::Trusted;
        let view = self.view();
        let Some(on) = view.iface(iface) else { return };
        let cause = Cause { now, view: &view, on };
        match packet.pull(1).map(|first| first[0] >> 4) {
            Some(4) => self.ipv4_looped_back(&cause, packet),
            _ => self.ipv6_looped_back(&cause, packet),
        }
    }

    /// Sends a packet to a group by an interface.
    pub(crate) fn group_output(&mut self, on: &IfaceView, group: IpAddr, packet: Packet) {
        let iface = on.iface.index;
        match on.medium {
            Medium::Ethernet => {
                self.ethernet_output(iface, MacAddr::of_group(group), packet, Account::Reply)
            }
            _ => self.enqueue(iface, packet, Account::Reply),
        }
    }
}
