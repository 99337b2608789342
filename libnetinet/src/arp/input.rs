//! ARP received and asked (RFC 826, RFC 5227).

use std::net::{IpAddr, Ipv4Addr};

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::claim::{Say, Verdict};
use super::link_local::cidr_of;
use super::packet::{ARP_BYTES, ArpPacket, Operation};
use crate::address::IfaceView;
use crate::counters::bump;
use crate::ip::input::Cause;
use crate::neighbour::Evidence;
use crate::output::Account;
use crate::shard::Shard;

impl Shard {
    /// Takes an ARP packet, its Ethernet header taken off.
    pub(crate) fn arp_input(&mut self, cause: &Cause<'_>, mut packet: Packet) {
        let arp = packet.pull(ARP_BYTES).and_then(ArpPacket::parse);
        let Some(arp) = arp.filter(is_plausible) else {
            return self.drop_packet(DropReason::ArpMalformed);
        };
        bump(&self.wide.counters.arp_in);
        if arp.sender_mac == cause.on.mac {
            // Our own, come back by a bridge.
            return;
        }
        let (on, now) = (cause.on, cause.now);
        self.wide.with_claims(|claims| claims.hear(now, on.iface.index, &arp));
        if has_addr(on, arp.sender) {
            return self.arp_conflict(now, on, arp.sender);
        }
        let for_us = has_addr(on, arp.target);
        if !arp.sender.is_unspecified() {
            self.arp_learn(now, on.iface.index, &arp, for_us);
        }
        // RFC 826: answer a request for us, once its sender was learned. A probe is answered
        // too: that is the point of it (RFC 5227 §2.1.1).
        if for_us && arp.operation == Operation::Request {
            let reply = ArpPacket {
                operation: Operation::Reply,
                sender_mac: on.mac,
                sender: arp.target,
                target_mac: arp.sender_mac,
                target: arp.sender,
            };
            self.arp_output(on.iface.index, reply, arp.sender_mac);
        }
    }

    /// Asks who has `target`: one station, or all.
    pub(crate) fn arp_request(&mut self, iface: IfIndex, target: Ipv4Addr, to: Option<MacAddr>) {
        let view = self.view();
        let Some(on) = view.iface(iface).filter(|on| on.usable) else { return };
        let sender = match view.source_for(on, IpAddr::V4(target)) {
            Some(IpAddr::V4(sender)) => sender,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let request = ArpPacket::request(on.mac, sender, target);
        self.arp_output(iface, request, to.unwrap_or(MacAddr::BROADCAST));
    }

    /// Probes, takes and announces our addresses, as is due. On the common shard only, so that
    /// everything happens in one order.
    pub(crate) fn expire_claims(&mut self, now: Instant) {
        let random = self.wide.random_u64();
        let mut said = Vec::new();
        self.wide.with_claims(|claims| claims.expire(now, random, &mut said));
        for (iface, addr, say) in said {
            let view = self.view();
            let Some(on) = view.iface(iface) else { continue };
            let arp = match say {
                Say::Take => {
                    self.take_link_local(now, on, addr);
                    continue;
                }
                Say::Announce if !has_addr(on, addr) => continue,
                Say::Probe => ArpPacket::probe(on.mac, addr),
                Say::Announce => ArpPacket::announcement(on.mac, addr),
            };
            if on.usable {
                self.arp_output(iface, arp, MacAddr::BROADCAST);
            }
        }
    }

    /// Nobody has the link-local address that was probed: it is the interface's from now on.
    fn take_link_local(&mut self, now: Instant, on: &IfaceView, addr: Ipv4Addr) {
        let index = on.iface.index;
        if self.view().is_local(addr.into()) {
            return self.wide.with_claims(|claims| claims.refuse(now, index, addr));
        }
        tracing::debug!(iface = %on.iface.name, %addr, "a link-local address is ours");
        self.wide.assign(&on.iface, cidr_of(addr));
    }

    fn arp_learn(&mut self, now: Instant, iface: IfIndex, arp: &ArpPacket, for_us: bool) {
        let evidence = match arp.operation {
            Operation::Reply if for_us => Evidence::Answer,
            Operation::Request if for_us => Evidence::AskedForUs,
            _ => Evidence::Overheard,
        };
        let mut actions = Vec::new();
        let sender = IpAddr::V4(arp.sender);
        self.wide.with_neighbours(|table| {
            table.learn(now, iface, sender, arp.sender_mac, evidence, &mut actions);
        });
        self.act(now, actions, Account::Sender);
    }

    /// RFC 5227 §2.4: another station uses an address of ours.
    fn arp_conflict(&mut self, now: Instant, on: &IfaceView, addr: Ipv4Addr) {
        bump(&self.wide.counters.address_conflicts);
        let iface = on.iface.index;
        tracing::debug!(iface = %on.iface.name, %addr, "another station uses our address");
        match self.wide.with_claims(|claims| claims.conflict(now, iface, addr)) {
            Verdict::Keep => {}
            Verdict::Defend => {
                let announcement = ArpPacket::announcement(on.mac, addr);
                self.arp_output(iface, announcement, MacAddr::BROADCAST);
            }
            Verdict::GiveUp => self.give_up(iface, addr),
        }
    }
}

fn has_addr(on: &IfaceView, addr: Ipv4Addr) -> bool {
    on.addrs.iter().any(|cidr| cidr.addr() == IpAddr::V4(addr))
}

/// Could a station have sent this about itself? Group addresses must not enter the table.
fn is_plausible(arp: &ArpPacket) -> bool {
    arp.sender_mac.is_unicast()
        && !arp.sender.is_multicast()
        && !arp.sender.is_broadcast()
        && !arp.sender.is_loopback()
}
