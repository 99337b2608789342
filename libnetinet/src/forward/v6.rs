//! IPv6 packets for others: what RFC 8200, RFC 4443 and RFC 4291 ask of a router.

use std::net::IpAddr;

use libnet::link::Medium;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Family;
use libnet::stats::DropReason;

use super::longest;
use crate::address::Cast;
use crate::counters::bump;
use crate::icmp6::message::{Complaint, Unreachable6};
use crate::ip::input::{Cause, IpMeta, check_offload};
use crate::ipv6::extension::{self, Chain, FRAGMENT, HOP_BY_HOP};
use crate::ipv6::header::{HEADER_BYTES, Ipv6Header};
use crate::ipv6::input::{front_of, is_mapped, meta_of};
use crate::output::Account;
use crate::path::{NoPath, Path, Reach};
use crate::shard::{LinkCast, Shard};

/// Why a packet may not cross, and what its sender is told.
type Refusal = (DropReason, Option<Unreachable6>);

impl Shard {
    /// Passes on a packet that begins with its IPv6 header, the header checked already.
    pub(crate) fn forward_v6(
        &mut self,
        cause: &Cause<'_>,
        header: &Ipv6Header,
        packet: Packet,
        link_cast: LinkCast,
    ) {
        let mut meta = meta_of(cause, header, &packet, Cast::Unicast, link_cast);
        if let Err((reason, code)) = may_cross(cause, header, link_cast) {
            return self.refuse_v6(cause, reason, code, &meta, &packet);
        }
        if !self.reverse_path_passes(cause, meta.src) {
            return self.drop_packet(DropReason::ReversePath);
        }
        if header.next_header == HOP_BY_HOP && !self.hop_by_hop_passes(cause, &meta, &packet) {
            return;
        }
        if let Err(reason) = self.check_offload_v6(&mut meta, &packet) {
            return self.drop_packet(reason);
        }
        bump(&self.wide.counters.ip6_in);
        // RFC 8200 §3: what has no more hops to go is discarded; RFC 4443 §3.3: its sender told.
        if header.hop_limit <= 1 {
            self.drop_packet(DropReason::HopLimit);
            return self.complain6(cause.now, &meta, &packet, Complaint::HopLimit);
        }
        match self.transit_path(cause.now, meta.dst) {
            Ok(mut path) => {
                self.forward_v6_by(cause, &mut path, &meta, packet);
                self.keep_transit_path(path);
            }
            Err(no_path) => {
                let (reason, code) = refusal_of(no_path);
                self.refuse_v6(cause, reason, code, &meta, &packet);
            }
        }
    }

    fn forward_v6_by(
        &mut self,
        cause: &Cause<'_>,
        path: &mut Path,
        meta: &IpMeta,
        mut packet: Packet,
    ) {
        let leaves_by = cause.view.iface(path.iface.index);
        let is_routers = leaves_by.is_some_and(|iface| iface.is_router(Family::Inet6));
        if path.reach != Reach::Unicast || !is_routers {
            return self.drop_packet(DropReason::NotForwardable);
        }
        if would_bounce(cause, path, meta.dst) {
            let code = Some(Unreachable6::ADDRESS);
            return self.refuse_v6(cause, DropReason::NotForwardable, code, meta, &packet);
        }
        // RFC 8200 §5: a router cuts nothing; RFC 4443 §3.2: it tells what the next link takes.
        if longest(&packet, meta.header_bytes) > path.mtu as usize {
            bump(&self.wide.counters.ip6_too_big);
            self.drop_packet(DropReason::TooBig);
            let complaint = Complaint::TooBig { mtu: path.mtu };
            return self.complain6(cause.now, meta, &packet, complaint);
        }
        self.redirect_v6(cause, path, meta, &packet);
        let Some(header) = packet.own(HEADER_BYTES) else {
            return self.drop_packet(DropReason::IpMalformed);
        };
        header[7] -= 1;
        self.clamp_mss_v6(cause, path, meta, &mut packet);
        bump(&self.wide.counters.ip6_forwarded);
        self.link_output(cause.now, path, packet, Account::Transit);
    }

    fn refuse_v6(
        &mut self,
        cause: &Cause<'_>,
        reason: DropReason,
        code: Option<Unreachable6>,
        meta: &IpMeta,
        packet: &Packet,
    ) {
        self.drop_packet(reason);
        if let Some(code) = code {
            self.complain6(cause.now, meta, packet, Complaint::Unreachable(code));
        }
    }

    /// RFC 8200 §4, §4.3: of the extension headers a router looks at hop-by-hop options alone.
    fn hop_by_hop_passes(&mut self, cause: &Cause<'_>, meta: &IpMeta, packet: &Packet) -> bool {
        let config = &self.config.ipv6;
        let front = front_of(packet, HEADER_BYTES + config.extension_bytes);
        let Err(refused) = extension::check_hop_by_hop(&front, meta.cast, config) else {
            return true;
        };
        self.drop_packet(refused.reason);
        if let Some(problem) = refused.problem {
            self.complain6(cause.now, meta, packet, Complaint::ParameterProblem(problem));
        }
        false
    }

    /// Finds the transport of a packet that a link said something of, and checks what.
    fn check_offload_v6(&self, meta: &mut IpMeta, packet: &Packet) -> Result<(), DropReason> {
        let is_partial = matches!(packet.checksum, Checksum::Partial { .. });
        if !is_partial && packet.gso.is_none() {
            return Ok(());
        }
        let config = &self.config.ipv6;
        let front = front_of(packet, HEADER_BYTES + config.extension_bytes);
        let start = Chain::start(meta.protocol);
        let chain = extension::skip(&front, start, config.extension_headers);
        let chain = chain.ok_or(DropReason::BadOffload)?;
        meta.protocol = chain.protocol;
        meta.header_bytes = chain.at;
        check_offload(meta, chain.protocol == FRAGMENT, packet)
    }
}

/// May it be passed on at all, by its frame and its addresses?
fn may_cross(cause: &Cause<'_>, header: &Ipv6Header, link_cast: LinkCast) -> Result<(), Refusal> {
    let (src, dst) = (header.src, header.dst);
    // As RFC 1812 §5.3.4 has it for IPv4: a frame to a group was not given to us to pass on.
    if link_cast == LinkCast::Group {
        return Err((DropReason::IpLinkBroadcast, None));
    }
    // RFC 4291 §2.5.2, §2.5.3, §2.7: no sources; §2.5.5.2: never sent.
    let wrong = src.is_unspecified() || src.is_multicast() || src.is_loopback() || is_mapped(src);
    if wrong || cause.view.is_local_on(cause.on, IpAddr::V6(src)) {
        return Err((DropReason::IpBadSource, None));
    }
    if dst.is_unspecified() || dst.is_loopback() || is_mapped(dst) || dst.is_unicast_link_local() {
        return Err((DropReason::NotForwardable, None));
    }
    // RFC 4291 §2.5.6, RFC 4443 §3.1: a link-local source leaves its link with no packet.
    if src.is_unicast_link_local() {
        return Err((DropReason::NotForwardable, Some(Unreachable6::BEYOND_SCOPE)));
    }
    Ok(())
}

/// RFC 4443 §3.1: what came by a point-to-point link is not given back to it because its
/// destination is of the link's own network: nobody there has it, and it would go to and fro.
fn would_bounce(cause: &Cause<'_>, path: &Path, dst: IpAddr) -> bool {
    let on = cause.on;
    on.medium == Medium::Ip
        && path.iface.index == on.iface.index
        && on.addrs.iter().any(|cidr| cidr.contains(dst))
}

/// RFC 4443 §3.1: the code for a packet that has no way.
fn refusal_of(no_path: NoPath) -> Refusal {
    match no_path {
        NoPath::NetUnreachable => (DropReason::NoRoute, Some(Unreachable6::NO_ROUTE)),
        NoPath::HostUnreachable => (DropReason::RouteRefused, Some(Unreachable6::REJECTED)),
        NoPath::Blackhole => (DropReason::RouteRefused, None),
        NoPath::BadDestination | NoPath::BadSource => (DropReason::NotForwardable, None),
    }
}
