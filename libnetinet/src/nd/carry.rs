//! Carries out what neighbour discovery decided: addresses, routes, times and messages.

use std::net::Ipv6Addr;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use libnet::ethernet::MacAddr;
use libnet::iface::{IfIndex, IpCidr};
use libnet::packet::{Checksum, Packet};
use libnet::socket::{Family, Protocol};
use libnet::time::Instant;

use super::message::{HOP_LIMIT, Message};
use super::{Nd, Outcome, Say};
use crate::counters::bump;
use crate::icmp6::checksum;
use crate::ipv6::header::Ipv6Header;
use crate::mld::output::link_local;
use crate::output::Account;
use crate::shard::Shard;
use crate::steer::COMMON;

impl Shard {
    /// Works on what neighbour discovery knows, and carries out what follows. On the common shard
    /// only, so that everything happens in one order.
    pub(crate) fn with_nd<R>(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut Nd, &mut Outcome) -> R,
    ) -> R {
        let mut out = Outcome::default();
        let before = self.wide.nd_deadline();
        let result = self.wide.with_nd(|nd| call(nd, &mut out));
        if self.index as u64 != COMMON && self.wide.nd_deadline() < before {
            // Time passes for neighbour discovery on the common shard alone: it is to know.
            self.nudge(COMMON as usize);
        }
        self.carry_out(now, out);
        result
    }

    /// Asks, advertises, renews and forgets, as is due.
    pub(crate) fn expire_nd(&mut self, now: Instant) {
        self.with_nd(now, |nd, out| nd.expire(now, out));
    }

    fn carry_out(&mut self, now: Instant, out: Outcome) {
        let Outcome { say, changed, routes, times, conflicts, sure } = out;
        self.wide.counters.address_conflicts.fetch_add(conflicts, Ordering::Relaxed);
        for (iface, times) in times {
            self.wide.with_neighbours(|table| table.set_times(iface, times));
        }
        // Before the routes: a path that is found meanwhile must not lead to an address that is
        // not there.
        self.configure(now, &changed);
        if routes {
            self.change_routes();
        }
        for iface in sure {
            let mut actions = Vec::new();
            self.wide.with_neighbours(|table| table.ask_again(now, iface, &mut actions));
            self.act(now, actions, Account::Sender);
        }
        for Say { iface, src, dst, mut message } in say {
            if let Message::RouterAdvertisement(said) = &mut message
                && !self.is_router6(iface)
            {
                said.make_host();
            }
            self.nd_output(iface, src, dst, MacAddr::of_group(dst.into()), &message);
        }
    }

    fn is_router6(&mut self, iface: IfIndex) -> bool {
        self.view().iface(iface).is_some_and(|on| on.is_router(Family::Inet6))
    }

    fn configure(&mut self, now: Instant, changed: &[IfIndex]) {
        let view = self.view();
        let (mut configured, mut told_by_nobody) = (Vec::new(), Vec::new());
        for on in changed.iter().filter_map(|index| view.iface(*index)) {
            let index = on.iface.index;
            let (addrs, six) = self.wide.with_nd(|nd| nd.config_of(now, index));
            let old = on.iface.config();
            let is_six = |cidr: &&IpCidr| cidr.addr().is_ipv6();
            // What a router only says again makes no path be looked for anew.
            if old.six == six && old.addrs.iter().filter(is_six).eq(&addrs) {
                continue;
            }
            if link_local(&on.addrs).is_none() && link_local(&addrs).is_some() {
                // RFC 3590 §4: what was reported from nobody's address is reported again, from one
                // that routers and switches believe.
                told_by_nobody.push(index);
            }
            on.iface.reconfigure(|config| {
                config.addrs.retain(|cidr| cidr.addr().is_ipv4());
                config.addrs.extend(addrs);
                config.six = six;
            });
            configured.push(index);
        }
        if configured.is_empty() {
            return;
        }
        self.wide.refresh_view();
        for index in told_by_nobody {
            self.wide.with_groups(|groups| groups.restart(now, index, Family::Inet6));
        }
        for index in configured {
            self.hear_groups(now, index);
        }
    }

    fn change_routes(&mut self) {
        let (new, gone) = self.wide.with_nd(Nd::take_routes);
        if new.is_empty() && gone.is_empty() {
            return;
        }
        self.wide.with_routes(|routes| {
            for route in gone {
                // What somebody put there by hand meanwhile is theirs.
                routes.remove_same(&route);
            }
            for route in new {
                // Somebody may have put it there by hand.
                let _ = routes.insert(route);
            }
        });
    }

    /// Sends a message to a station or a group of the link.
    pub(super) fn nd_output(
        &mut self,
        iface: IfIndex,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        to: MacAddr,
        message: &Message,
    ) {
        let view = self.view();
        if view.iface(iface).is_none_or(|on| !on.usable) {
            return;
        }
        let packet = packet_of(src, dst, message);
        bump(&self.wide.counters.icmp6_out);
        bump(&self.wide.counters.nd_out);
        self.ethernet_output(iface, to, packet, Account::Reply);
    }
}

/// The IPv6 packet that carries a message.
pub(crate) fn packet_of(src: Ipv6Addr, dst: Ipv6Addr, message: &Message) -> Packet {
    let mut bytes = message.to_bytes();
    let unsummed = Packet::from_payload(Bytes::copy_from_slice(&bytes));
    bytes[2..4].copy_from_slice(&checksum(src, dst, &unsummed, 0).to_be_bytes());
    let mut packet = Packet::from_payload(Bytes::from(bytes));
    packet.checksum = Checksum::Trusted;
    let mut header = Ipv6Header::new(src, dst, Protocol::ICMPV6);
    header.hop_limit = HOP_LIMIT;
    header.prepend_to(&mut packet);
    packet
}
