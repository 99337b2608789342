//! First hops that gateways tell us of (RFC 1122 §3.2.2.2).

use std::net::{IpAddr, Ipv4Addr};

use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::socket::Family;
use libnet::stats::DropReason;

use super::error::IcmpError;
use super::input::read_quoted;
use super::message::{HEADER_BYTES, IcmpHeader};
use crate::address::{Cast, IfaceView};
use crate::counters::bump;
use crate::ip::input::{Cause, IpMeta};
use crate::path::{Path, Reach, Wanted};
use crate::shard::Shard;
use crate::tcp::IcmpErrorKind;

impl Shard {
    /// Takes a redirect, on the shard of the connection that it is about.
    pub(super) fn icmp_redirected(
        &mut self,
        cause: &Cause<'_>,
        meta: &IpMeta,
        header: IcmpHeader,
        mut packet: Packet,
    ) {
        let (now, on) = (cause.now, cause.on);
        packet.advance(meta.header_bytes + HEADER_BYTES);
        let Some((about, ports)) = read_quoted(&packet) else {
            return self.drop_packet(DropReason::IcmpMalformed);
        };
        // What we did not send is nothing to us, nor is what is said to many.
        if meta.cast != Cast::Unicast || !cause.view.is_local(IpAddr::V4(about.src)) {
            return self.drop_packet(DropReason::IcmpUnmatched);
        }
        let target = Ipv4Addr::from(header.rest);
        // RFC 1812 §5.2.7.2: a router goes by its own routes; and who was told not to listen does.
        let listens = self.config.icmp.accept_redirects && !on.is_router(Family::Inet);
        let makes_sense = is_neighbour(on, target) && meta.src != IpAddr::V4(target);
        if !listens || !makes_sense || !self.goes_by(cause, on.iface.index, about.dst, meta.src) {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        let error = IcmpError {
            meaning: None,
            segment: Some(IcmpErrorKind::Transient),
            too_big: None,
            iface: on.iface.index,
            src: about.src.into(),
            dst: about.dst.into(),
            protocol: about.protocol,
            packet_bytes: u32::from(about.total_bytes),
        };
        // Nothing in IPv4 shows that it comes from our link: whoever forges the gateway must know
        // what we have under way (RFC 5927 §4.1), as Linux asks too.
        if !self.tell_sender(now, &error, ports, &packet) {
            return self.drop_packet(DropReason::IcmpUnmatched);
        }
        bump(&self.wide.counters.redirects_in);
        // RFC 1122 §3.2.2.2: a network's (codes 0 and 2) is taken as one for the host, since
        // nothing says how long the network's prefix is.
        let iface = on.iface.index;
        self.with_nd(now, |nd, out| {
            nd.redirect(now, iface, about.dst.into(), target.into(), out);
        });
    }

    /// RFC 1122 §3.2.2.2: only the current first hop has a say, and who is the destination itself
    /// is none.
    fn goes_by(&self, cause: &Cause<'_>, iface: IfIndex, dst: Ipv4Addr, hop: IpAddr) -> bool {
        let wanted = Wanted { dst: dst.into(), src: None, iface: Some(iface) };
        Path::find(&self.wide, cause.now, wanted).is_ok_and(|path| {
            path.reach == Reach::Unicast
                && path.iface.index == iface
                && path.next_hop == hop
                && path.next_hop != path.dst
        })
    }
}

/// RFC 1122 §3.2.2.2: the new gateway is another host on a network of the interface.
fn is_neighbour(on: &IfaceView, target: Ipv4Addr) -> bool {
    let target_ip = IpAddr::V4(target);
    let is_host = |cidr: &&libnet::IpCidr| {
        let is_edge = target_ip == cidr.network().addr() || cidr.broadcast() == Some(target);
        cidr.contains(target_ip) && cidr.addr() != target_ip && !is_edge
    };
    !target.is_multicast() && !target.is_broadcast() && on.addrs.iter().any(|cidr| is_host(&cidr))
}
