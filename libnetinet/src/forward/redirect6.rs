//! ICMPv6 redirects that we send (RFC 4861 §8.2).

use std::net::{IpAddr, Ipv6Addr};

use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::stats::DropReason;

use crate::address::IfaceView;
use crate::counters::bump;
use crate::icmp6::output::quote;
use crate::ip::input::{Cause, IpMeta};
use crate::nd::carry::packet_of;
use crate::nd::message::{Message, Redirect};
use crate::output::Account;
use crate::path::{Path, Wanted};
use crate::shard::Shard;

impl Shard {
    /// Tells a neighbour that the next hop is its neighbour too, so that we are one too many.
    pub(super) fn redirect_v6(
        &mut self,
        cause: &Cause<'_>,
        path: &Path,
        meta: &IpMeta,
        packet: &Packet,
    ) {
        let on = cause.on;
        let stays = path.iface.index == on.iface.index && on.medium == Medium::Ethernet;
        if !stays || !self.config.forwarding.redirects {
            return;
        }
        let (IpAddr::V6(src), IpAddr::V6(dst), IpAddr::V6(target)) =
            (meta.src, meta.dst, path.next_hop)
        else {
            return;
        };
        // A router is told of by its link-local address, and by no other.
        let may_be_told = target == dst || target.is_unicast_link_local();
        let is_neighbour = on.addrs.iter().any(|cidr| cidr.contains(meta.src));
        let Some(ours) = link_local_of(on).filter(|_| may_be_told && is_neighbour) else { return };
        // RFC 4861 §8.2: the rate is limited.
        if !self.wide.allow_redirect(cause.now, meta.src) {
            return self.drop_packet(DropReason::IcmpRateLimited);
        }
        let wanted = Wanted { dst: meta.src, src: Some(ours.into()), iface: Some(on.iface.index) };
        let Ok(mut back) = Path::find(&self.wide, cause.now, wanted) else {
            return self.drop_packet(DropReason::NoRoute);
        };
        let neighbour = path.neighbour.as_ref();
        let mac = neighbour.and_then(|n| n.mac_if_fresh(cause.now));
        let (destination, about) = (dst, quote(packet));
        let message = Redirect { target, destination, target_mac: mac, about };
        let message = packet_of(ours, src, &Message::Redirect(message));
        bump(&self.wide.counters.redirects_out);
        bump(&self.wide.counters.icmp6_out);
        self.send_ip(cause.now, &mut back, message, Account::Reply);
    }
}

fn link_local_of(on: &IfaceView) -> Option<Ipv6Addr> {
    on.addrs.iter().find_map(|cidr| match cidr.addr() {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => Some(addr),
        _ => None,
    })
}
