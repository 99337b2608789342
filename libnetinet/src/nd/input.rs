//! Messages of neighbour discovery received, and the questions that we ask (RFC 4861).

use std::net::{IpAddr, Ipv6Addr};

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::socket::Family;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::carry::packet_of;
use super::message::{
    ALL_NODES, Envelope, Message, NeighbourAdvertisement, NeighbourSolicitation, Redirect,
    RouterAdvertisement, RouterSolicitation, solicited_node,
};
use crate::address::IfaceView;
use crate::counters::bump;
use crate::ip::input::{Cause, IpMeta};
use crate::neighbour::Heard;
use crate::output::Account;
use crate::path::{Path, Reach, Wanted};
use crate::shard::Shard;

impl Shard {
    /// Takes a message of neighbour discovery, its checksum verified; `packet` begins with its IP
    /// header.
    pub(crate) fn nd_input(&mut self, cause: &Cause<'_>, meta: &IpMeta, packet: Packet) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.src, meta.dst) else { return };
        if cause.on.medium != Medium::Ethernet {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        // RFC 6980 §5: what came in fragments could not be looked at on its way.
        if meta.was_fragmented {
            return self.drop_packet(DropReason::NdMalformed);
        }
        let envelope = Envelope { src, dst, hop_limit: meta.ttl };
        let bytes = packet.to_bytes().slice(meta.header_bytes..);
        let message = match Message::parse(envelope, &bytes) {
            Ok(message) => message,
            Err(flaw) => {
                tracing::debug!(?flaw, %src, "a message of neighbour discovery is not believed");
                return self.drop_packet(DropReason::NdMalformed);
            }
        };
        bump(&self.wide.counters.nd_in);
        match message {
            Message::NeighbourSolicitation(asked) => self.nd_solicited(cause, src, asked),
            Message::NeighbourAdvertisement(said) => self.nd_advertised(cause, said),
            Message::RouterSolicitation(asked) => self.nd_router_wanted(cause, src, asked),
            Message::RouterAdvertisement(said) => self.nd_router_heard(cause, src, &said),
            Message::Redirect(said) => self.nd_redirected(cause, src, said),
        }
    }

    /// Asks who has `target`: one station, or all that may. `for_src` is where what waits for the
    /// answer comes from.
    pub(crate) fn nd_solicit(
        &mut self,
        iface: IfIndex,
        target: Ipv6Addr,
        to: Option<MacAddr>,
        for_src: Option<IpAddr>,
    ) {
        let view = self.view();
        let Some(on) = view.iface(iface).filter(|on| on.usable) else { return };
        // RFC 4861 §7.2.2: the source of the packet that prompts it, if that is of the interface.
        let hint = for_src.and_then(six_of).filter(|src| is_ours(on, *src));
        let src = hint.filter(|src| !is_optimistic(on, *src)).or_else(|| sure_source(on, target));
        // DEVIATES RFC 4429 §3.2: who has no other address asks from one that is still being
        // checked, but does not tell our link-layer address, so that nobody's table is harmed.
        let Some(src) = src.or(hint).or_else(|| any_source(on, target)) else { return };
        let source_mac = (!is_optimistic(on, src)).then_some(on.mac);
        let (dst, mac) = match to {
            Some(mac) => (target, mac),
            None => (solicited_node(target), MacAddr::of_group(solicited_node(target).into())),
        };
        let message = NeighbourSolicitation { target, source_mac, nonce: None };
        self.nd_output(iface, src, dst, mac, &Message::NeighbourSolicitation(message));
    }

    /// RFC 4861 §7.2.3: somebody asks for an address of ours, or checks that nobody has it.
    fn nd_solicited(&mut self, cause: &Cause<'_>, src: Ipv6Addr, asked: NeighbourSolicitation) {
        let (now, on) = (cause.now, cause.on);
        let iface = on.iface.index;
        let target = asked.target;
        if src.is_unspecified() {
            let checked = on.six.tentative.contains(&target) || is_optimistic(on, target);
            if checked {
                let nonce = asked.nonce;
                return self.with_nd(now, |nd, out| {
                    nd.on(now, iface, out, |link, ctx| link.hear_question(ctx, target, nonce));
                });
            }
            if is_ours(on, target) {
                self.nd_answer(cause, target, ALL_NODES, Some(MacAddr::of_group(ALL_NODES.into())));
            }
            return;
        }
        if is_ours(on, src) {
            return self.nd_claimed(cause, src);
        }
        // RFC 4862 §5.4.3: a tentative address is nobody's yet, and not answered for.
        if !is_ours(on, target) {
            return;
        }
        self.nd_hear(now, iface, src, Heard::Source { mac: asked.source_mac, router: None });
        if asked.source_mac.is_none() && is_optimistic(on, target) {
            // DEVIATES RFC 4861 §7.2.4: two who are both being checked tell no address of theirs
            // in a question, and would wait for each other's answer.
            return self.nd_answer(
                cause,
                target,
                ALL_NODES,
                Some(MacAddr::of_group(ALL_NODES.into())),
            );
        }
        self.nd_answer(cause, target, src, asked.source_mac);
    }

    /// RFC 4861 §7.2.4.
    fn nd_answer(
        &mut self,
        cause: &Cause<'_>,
        target: Ipv6Addr,
        dst: Ipv6Addr,
        mac: Option<MacAddr>,
    ) {
        let on = cause.on;
        let message = Message::NeighbourAdvertisement(NeighbourAdvertisement {
            target,
            // §6.2.5: who advertises and does not forward is none.
            router: on.is_router(Family::Inet6),
            solicited: !dst.is_multicast(),
            // RFC 4429 §3.3: what is not sure to be ours overrides nothing.
            overrides: !is_optimistic(on, target),
            target_mac: Some(on.mac),
        });
        if let Some(mac) = mac {
            // To who asked, whom we know by its question: no need to make an entry of it.
            return self.nd_output(on.iface.index, target, dst, mac, &message);
        }
        let wanted =
            Wanted { dst: dst.into(), src: Some(target.into()), iface: Some(on.iface.index) };
        let Ok(mut path) = Path::find(&self.wide, cause.now, wanted) else {
            return self.drop_packet(DropReason::NoRoute);
        };
        bump(&self.wide.counters.nd_out);
        let packet = packet_of(target, dst, &message);
        self.send_ip(cause.now, &mut path, packet, Account::Reply);
    }

    /// RFC 4861 §7.2.5, RFC 4862 §5.4.4.
    fn nd_advertised(&mut self, cause: &Cause<'_>, said: NeighbourAdvertisement) {
        let (now, on) = (cause.now, cause.on);
        let NeighbourAdvertisement { target, router, solicited, overrides, target_mac: mac } = said;
        if is_ours(on, target) || on.six.tentative.contains(&target) {
            // Our own, come back by a loop, says nothing.
            if mac != Some(on.mac) {
                self.nd_claimed(cause, target);
            }
            return;
        }
        let heard = Heard::Advertised { mac, router, solicited, overrides };
        self.nd_hear(now, on.iface.index, target, heard);
    }

    /// Another station uses `addr`, which is ours or is to be.
    fn nd_claimed(&mut self, cause: &Cause<'_>, addr: Ipv6Addr) {
        let (now, iface) = (cause.now, cause.on.iface.index);
        tracing::debug!(iface = %cause.on.iface.name, %addr, "another station uses our address");
        self.with_nd(now, |nd, out| {
            nd.on(now, iface, out, |link, ctx| link.hear_claim(ctx, addr));
        });
    }

    /// RFC 4861 §6.2.6. §6.1.1: a host discards it without a word.
    fn nd_router_wanted(&mut self, cause: &Cause<'_>, src: Ipv6Addr, asked: RouterSolicitation) {
        let (now, iface) = (cause.now, cause.on.iface.index);
        if !cause.on.is_router6() {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        if !src.is_unspecified() && !is_ours(cause.on, src) {
            let heard = Heard::Source { mac: asked.source_mac, router: Some(false) };
            self.nd_hear(now, iface, src, heard);
        }
        self.with_nd(now, |nd, out| {
            nd.on(now, iface, out, |link, ctx| link.hear_host(ctx));
        });
    }

    /// RFC 4861 §6.3.4.
    fn nd_router_heard(&mut self, cause: &Cause<'_>, src: Ipv6Addr, said: &RouterAdvertisement) {
        let (now, iface) = (cause.now, cause.on.iface.index);
        let mut heard = false;
        // RFC 4861 §6.2.7, §6.3.4: a router goes by what it was told itself.
        if !is_ours(cause.on, src) && !cause.on.is_router6() {
            self.with_nd(now, |nd, out| {
                nd.on(now, iface, out, |link, ctx| heard = link.hear_router(ctx, src, said));
            });
        }
        if !heard {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        bump(&self.wide.counters.router_advertisements_in);
        let router = Heard::Source { mac: said.source_mac, router: Some(true) };
        self.nd_hear(now, iface, src, router);
    }

    /// RFC 4861 §8.1, §8.3.
    fn nd_redirected(&mut self, cause: &Cause<'_>, src: Ipv6Addr, said: Redirect) {
        let (now, iface) = (cause.now, cause.on.iface.index);
        let Redirect { target, destination, target_mac: mac, about: _ } = said;
        // A router decides for itself (§8.3), and so does who was told not to listen.
        let listens = self.config.nd.accept_redirects && !cause.on.is_router6();
        // Nor do we pass on to ourselves.
        let makes_sense = !is_ours(cause.on, target);
        if !listens || !makes_sense || !self.is_first_hop(now, iface, src, destination) {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        bump(&self.wide.counters.redirects_in);
        self.with_nd(now, |nd, out| {
            nd.redirect(now, iface, destination.into(), target.into(), out)
        });
        // §8.3: who is not the destination itself is a router.
        let router = (target != destination).then_some(true);
        self.nd_hear(now, iface, target, Heard::Source { mac, router });
    }

    /// Do packets to `dst` go by `router` at the moment? To itself they go straight: that is nothing
    /// that it could redirect.
    fn is_first_hop(&self, now: Instant, iface: IfIndex, router: Ipv6Addr, dst: Ipv6Addr) -> bool {
        let wanted = Wanted { dst: dst.into(), src: None, iface: Some(iface) };
        Path::find(&self.wide, now, wanted).is_ok_and(|path| {
            path.reach == Reach::Unicast
                && path.iface.index == iface
                && path.next_hop == IpAddr::V6(router)
                && path.next_hop != path.dst
        })
    }

    fn nd_hear(&mut self, now: Instant, iface: IfIndex, addr: Ipv6Addr, heard: Heard) {
        let mut actions = Vec::new();
        self.wide.with_neighbours(|table| table.hear(now, iface, addr, heard, &mut actions));
        self.act(now, actions, Account::Sender);
    }
}

fn six_of(addr: IpAddr) -> Option<Ipv6Addr> {
    match addr {
        IpAddr::V6(addr) => Some(addr),
        IpAddr::V4(_) => None,
    }
}

fn is_ours(on: &IfaceView, addr: Ipv6Addr) -> bool {
    on.addrs.iter().any(|cidr| cidr.addr() == IpAddr::V6(addr))
}

/// Is it used while it is still being checked (RFC 4429)?
fn is_optimistic(on: &IfaceView, addr: Ipv6Addr) -> bool {
    on.six.traits_of(addr).optimistic
}

/// An address of the interface to ask for `target` from: of its scope first.
fn sources(on: &IfaceView, target: Ipv6Addr) -> impl Iterator<Item = Ipv6Addr> + '_ {
    let local = target.is_unicast_link_local();
    let ours = || on.addrs.iter().filter_map(|cidr| six_of(cidr.addr()));
    let same = move |addr: &Ipv6Addr| addr.is_unicast_link_local() == local;
    ours().filter(same).chain(ours().filter(move |addr| !same(addr)))
}

fn sure_source(on: &IfaceView, target: Ipv6Addr) -> Option<Ipv6Addr> {
    sources(on, target).find(|addr| !is_optimistic(on, *addr))
}

fn any_source(on: &IfaceView, target: Ipv6Addr) -> Option<Ipv6Addr> {
    sources(on, target).next()
}
