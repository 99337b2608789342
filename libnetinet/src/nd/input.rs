//! Solicitations answered, advertisements learned from, neighbours asked for.

use std::net::{IpAddr, Ipv6Addr};

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;

use super::message::NeighbourMessage;
use crate::address::{Cast, solicited_node};
use crate::counters::bump;
use crate::icmp6::checksum;
use crate::icmp6::message::Icmp6Type;
use crate::ip::input::{Cause, IpMeta};
use crate::ipv6::header::Ipv6Header;
use crate::neighbour::Evidence;
use crate::output::{Account, multicast_mac};
use crate::shard::Shard;

/// RFC 4861 §6.1, §7.1: what has passed a router is not believed.
const HOP_LIMIT: u8 = 255;

impl Shard {
    /// Takes a message of neighbour discovery, its checksum verified; `packet` begins with its IP
    /// header.
    pub(crate) fn nd_input(&mut self, cause: &Cause<'_>, meta: &IpMeta, packet: Packet) {
        if meta.ttl != HOP_LIMIT {
            return self.drop_packet(DropReason::NdMalformed);
        }
        let bytes = packet.to_bytes().slice(meta.header_bytes..);
        let ty = Icmp6Type(bytes[0]);
        if !matches!(ty, Icmp6Type::NEIGHBOUR_SOLICITATION | Icmp6Type::NEIGHBOUR_ADVERTISEMENT) {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        let Some(message) = NeighbourMessage::parse(&bytes) else {
            return self.drop_packet(DropReason::NdMalformed);
        };
        match ty {
            Icmp6Type::NEIGHBOUR_SOLICITATION => self.nd_solicited(cause, meta, message),
            _ => self.nd_advertised(cause, meta, message),
        }
    }

    /// RFC 4861 §7.2.3, §7.2.4: answers who asks for an address of ours.
    fn nd_solicited(&mut self, cause: &Cause<'_>, meta: &IpMeta, message: NeighbourMessage) {
        let ours = cause.on.addrs.iter().any(|cidr| cidr.addr() == IpAddr::V6(message.target));
        let IpAddr::V6(src) = meta.src else { return };
        if !ours {
            return;
        }
        if let Some(mac) = message.mac.filter(|_| !src.is_unspecified()) {
            self.nd_learn(cause, src, mac, Evidence::AskedForUs);
        }
        let reply = NeighbourMessage {
            ty: Icmp6Type::NEIGHBOUR_ADVERTISEMENT,
            solicited: !src.is_unspecified(),
            target: message.target,
            mac: Some(cause.on.mac),
        };
        let (dst, mac) = match (src.is_unspecified(), message.mac) {
            (false, Some(mac)) => (src, mac),
            // Who has no address hears it as one of all; who did not tell its MAC address, too.
            _ => (ALL_NODES, multicast_mac(ALL_NODES)),
        };
        self.nd_output(cause.on.iface.index, message.target, dst, mac, reply.to_packet());
    }

    /// RFC 4861 §7.2.5.
    fn nd_advertised(&mut self, cause: &Cause<'_>, meta: &IpMeta, message: NeighbourMessage) {
        let Some(mac) = message.mac else { return };
        let answered = message.solicited && meta.cast == Cast::Unicast;
        let evidence = if answered { Evidence::Answer } else { Evidence::Overheard };
        self.nd_learn(cause, message.target, mac, evidence);
    }

    fn nd_learn(&mut self, cause: &Cause<'_>, addr: Ipv6Addr, mac: MacAddr, evidence: Evidence) {
        if !mac.is_unicast() {
            return self.drop_packet(DropReason::NdMalformed);
        }
        let mut actions = Vec::new();
        let iface = cause.on.iface.index;
        self.wide.with_neighbours(|table| {
            table.learn(cause.now, iface, addr.into(), mac, evidence, &mut actions);
        });
        self.act(cause.now, actions, Account::Sender);
    }

    /// Asks who has `target`: one station, or all that may.
    pub(crate) fn nd_solicit(&mut self, iface: IfIndex, target: Ipv6Addr, to: Option<MacAddr>) {
        let view = self.view();
        let Some(on) = view.iface(iface).filter(|on| on.usable) else { return };
        let Some(IpAddr::V6(src)) = view.source_for(on, target.into()) else { return };
        let request = NeighbourMessage {
            ty: Icmp6Type::NEIGHBOUR_SOLICITATION,
            solicited: false,
            target,
            mac: Some(on.mac),
        };
        let group = solicited_node(target);
        let (dst, mac) = match to {
            Some(mac) => (target, mac),
            None => (group, multicast_mac(group)),
        };
        self.nd_output(iface, src, dst, mac, request.to_packet());
    }

    /// Sends a message of neighbour discovery, its checksum still to be filled in.
    fn nd_output(
        &mut self,
        iface: IfIndex,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        to: MacAddr,
        mut message: Packet,
    ) {
        let sum = checksum(src, dst, &message, 0);
        message.write_at(2, &sum.to_be_bytes());
        message.checksum = Checksum::Trusted;
        let mut header = Ipv6Header::new(src, dst, Protocol::ICMPV6);
        header.hop_limit = HOP_LIMIT;
        header.prepend_to(&mut message);
        bump(&self.wide.counters.icmp_out);
        self.ethernet_output(iface, to, message, Account::Reply);
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
