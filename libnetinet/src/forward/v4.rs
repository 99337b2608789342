//! IPv4 packets for others: what RFC 1812 §5.2 and §5.3 ask of a router.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use libnet::checksum;
use libnet::gso;
use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::socket::Family;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::longest;
use crate::address::{Cast, IfaceView};
use crate::counters::bump;
use crate::icmp::message::Unreachable;
use crate::icmp::output::Complaint;
use crate::ip::input::{Cause, IpMeta, check_offload};
use crate::ipv4::fragment::fragment;
use crate::ipv4::header::{HEADER_BYTES, Ipv4Header, write_checksum};
use crate::ipv4::input::{may_send, meta_of};
use crate::ipv4::options;
use crate::output::Account;
use crate::path::{NoPath, Path, Reach};
use crate::shard::{LinkCast, Shard};

impl Shard {
    /// Passes on a packet that begins with its IPv4 header, the header checked already.
    pub(crate) fn forward_v4(
        &mut self,
        cause: &Cause<'_>,
        header: &Ipv4Header,
        mut packet: Packet,
        link_cast: LinkCast,
    ) {
        if let Err(reason) = may_cross(cause, header, link_cast) {
            return self.drop_packet(reason);
        }
        if !self.reverse_path_passes(cause, header.src.into()) {
            return self.drop_packet(DropReason::ReversePath);
        }
        let meta = meta_of(cause, header, Cast::Unicast, link_cast);
        if meta.header_bytes > HEADER_BYTES && !self.options_pass(cause, &mut packet, &meta) {
            return;
        }
        if let Err(reason) = check_offload(&meta, header.is_fragment(), &packet) {
            return self.drop_packet(reason);
        }
        bump(&self.wide.counters.ip_in);
        // RFC 1812 §5.3.1: what has no more hops to go is discarded, and its sender told.
        if header.ttl <= 1 {
            self.drop_packet(DropReason::HopLimit);
            return self.complain(cause.now, &meta, &packet, Complaint::TimeToLive);
        }
        match self.transit_path(cause.now, meta.dst) {
            Ok(mut path) => {
                self.forward_v4_by(cause, &mut path, header, &meta, packet);
                self.keep_transit_path(path);
            }
            Err(no_path) => self.no_way_v4(cause.now, no_path, &meta, &packet),
        }
    }

    fn forward_v4_by(
        &mut self,
        cause: &Cause<'_>,
        path: &mut Path,
        header: &Ipv4Header,
        meta: &IpMeta,
        mut packet: Packet,
    ) {
        // RFC 2644 §2: directed broadcasts are not passed on. RFC 1812 §5.3.11: nothing is, by an
        // interface that is a host's.
        let leaves_by = cause.view.iface(path.iface.index);
        let is_routers = leaves_by.is_some_and(|iface| iface.is_router(Family::Inet));
        if path.reach != Reach::Unicast || !is_routers {
            return self.drop_packet(DropReason::NotForwardable);
        }
        let too_big = longest(&packet, meta.header_bytes) > path.mtu as usize;
        if too_big && header.dont_fragment {
            bump(&self.wide.counters.ip_fragment_fails);
            self.drop_packet(DropReason::TooBig);
            let mtu = path.mtu.min(u32::from(u16::MAX)) as u16;
            return self.complain(cause.now, meta, &packet, Complaint::TooBig { mtu });
        }
        self.redirect_v4(cause, path, meta, &packet);
        if !self.hop_v4(cause.now, path, header, meta, &mut packet) {
            return;
        }
        if header.offset_bytes == 0 {
            self.clamp_mss(cause, path, meta, &mut packet);
        }
        bump(&self.wide.counters.ip_forwarded);
        if too_big {
            return self.fragment_v4(cause.now, path, packet);
        }
        self.link_output(cause.now, path, packet, Account::Transit);
    }

    /// RFC 1812 §5.2.7.2: the sender's neighbour is the next hop, so that we are one too many.
    fn redirect_v4(&mut self, cause: &Cause<'_>, path: &Path, meta: &IpMeta, packet: &Packet) {
        let on = cause.on;
        if path.iface.index != on.iface.index
            || on.medium != Medium::Ethernet
            || !self.config.forwarding.redirects
        {
            return;
        }
        let (IpAddr::V4(to), Some(ours)) = (path.next_hop, shared_network(on, meta.src, path))
        else {
            return;
        };
        self.redirect(cause.now, ours, meta, packet, to);
    }

    /// Takes one from the time to live, and writes us into the options that ask for it; whether the
    /// packet may go on.
    fn hop_v4(
        &mut self,
        now: Instant,
        path: &Path,
        header: &Ipv4Header,
        meta: &IpMeta,
        packet: &mut Packet,
    ) -> bool {
        let view = self.view();
        let Some(bytes) = packet.own(usize::from(header.header_bytes)) else {
            self.drop_packet(DropReason::IpMalformed);
            return false;
        };
        if bytes.len() > HEADER_BYTES {
            let leaves_by = view.iface(path.iface.index);
            let ours = leaves_by.and_then(|iface| view.source_for(iface, path.next_hop));
            let is_ours = |addr| view.is_local(IpAddr::V4(addr));
            if let Some(IpAddr::V4(ours)) = ours {
                let stamped = &mut bytes[HEADER_BYTES..];
                // RFC 1812 §5.3.13.5, §5.3.13.6, §4.2.2.2.
                // DEVIATES RFC 1812 §4.2.2.2: an interface without an address writes nothing, since
                // a stack has no router's identifier.
                if let Err(at) = options::stamp(stamped, ours, is_ours, now.as_millis() as u32) {
                    self.drop_packet(DropReason::IpBadOptions);
                    self.complain(now, meta, packet, Complaint::ParameterProblem { at });
                    return false;
                }
            }
            bytes[8] -= 1;
            write_checksum(bytes);
            return true;
        }
        let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let (sum, old) = (word(bytes, 10), word(bytes, 8));
        // RFC 1812 §5.3.1; the checksum by RFC 1624, so that an error in it stays one.
        bytes[8] -= 1;
        let sum = checksum::update(sum, old, word(bytes, 8));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        true
    }

    /// RFC 1812 §4.2.2.7, §5.2.6: cut for a next hop that takes less.
    fn fragment_v4(&mut self, now: Instant, path: &mut Path, packet: Packet) {
        let mut packets = VecDeque::new();
        if packet.gso.is_none() {
            packets.push_back(packet);
        } else if gso::cut_into_packets(packet, &mut packets).is_err() {
            return self.drop_packet(DropReason::BadOffload);
        }
        bump(&self.wide.counters.ip_fragmented);
        for mut packet in packets {
            if packet.len() <= path.mtu as usize {
                self.link_output(now, path, packet, Account::Transit);
                continue;
            }
            if !packet.complete_checksum() {
                return self.drop_packet(DropReason::BadOffload);
            }
            let mut pieces = Vec::new();
            fragment(&packet, path.mtu, |piece| pieces.push(piece));
            for piece in pieces {
                bump(&self.wide.counters.fragments_out);
                self.link_output(now, path, piece, Account::Transit);
            }
        }
    }

    /// Tells the sender that there is no way, as RFC 1812 §5.2.7.1 has it.
    fn no_way_v4(&mut self, now: Instant, no_path: NoPath, meta: &IpMeta, packet: &Packet) {
        let (reason, code) = match no_path {
            NoPath::NetUnreachable => (DropReason::NoRoute, Some(Unreachable::NET)),
            NoPath::HostUnreachable => (DropReason::RouteRefused, Some(Unreachable::HOST)),
            NoPath::Blackhole => (DropReason::RouteRefused, None),
            NoPath::BadDestination | NoPath::BadSource => (DropReason::NotForwardable, None),
        };
        self.drop_packet(reason);
        if let Some(code) = code {
            self.complain(now, meta, packet, Complaint::Unreachable(code));
        }
    }
}

/// May it be passed on at all, by its frame and its addresses?
fn may_cross(
    cause: &Cause<'_>,
    header: &Ipv4Header,
    link_cast: LinkCast,
) -> Result<(), DropReason> {
    // RFC 1812 §5.3.4: what came in a frame to all was not given to us to pass on.
    if link_cast == LinkCast::Group {
        return Err(DropReason::IpLinkBroadcast);
    }
    if !may_send(cause, header.src, Cast::Unicast) {
        return Err(DropReason::IpBadSource);
    }
    // RFC 1812 §5.3.7: no packets to network 0, 127 or class E. RFC 3927 §7: nothing link-local
    // crosses a router, whichever of its addresses it is.
    let dst = header.dst;
    let reserved = dst.octets()[0] == 0 || dst.octets()[0] >= 240 || dst.is_loopback();
    if reserved || dst.is_link_local() || header.src.is_link_local() {
        return Err(DropReason::NotForwardable);
    }
    Ok(())
}

/// Our address on the network that both the sender and the next hop are on.
fn shared_network(on: &IfaceView, sender: IpAddr, path: &Path) -> Option<Ipv4Addr> {
    let shared = |cidr: &&libnet::IpCidr| cidr.contains(sender) && cidr.contains(path.next_hop);
    match on.addrs.iter().find(shared)?.addr() {
        IpAddr::V4(ours) => Some(ours),
        IpAddr::V6(_) => None,
    }
}
