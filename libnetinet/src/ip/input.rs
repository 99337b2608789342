//! What is done with a packet of either version once its IP headers are read.

use std::net::IpAddr;

use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::reassembly::{DatagramKey, Expired, Fragment};
use crate::address::{Cast, IfaceView, View};
use crate::counters::bump;
use crate::shard::{LinkCast, Shard};

/// When and where a frame came in, and what was so at that moment.
pub(crate) struct Cause<'a> {
    pub(crate) now: Instant,
    pub(crate) view: &'a View,
    pub(crate) on: &'a IfaceView,
}

/// What transports know of a received packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpMeta {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: Protocol,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// Type of service or traffic class.
    pub(crate) tos: u8,
    /// Bytes before the transport's header, which the packet still begins with.
    pub(crate) header_bytes: usize,
    pub(crate) cast: Cast,
    /// How its frame was addressed.
    pub(crate) link_cast: LinkCast,
    pub(crate) iface: IfIndex,
    /// It came in fragments, or in one that was alone.
    pub(crate) was_fragmented: bool,
}

impl Shard {
    /// Is a packet to a group from a source that somebody here wants?
    pub(crate) fn is_wanted(&self, meta: &IpMeta) -> bool {
        self.wide.receives_group(meta.iface, meta.dst, meta.src)
    }

    /// Gives a whole datagram to its protocol.
    pub(crate) fn transport_input(&mut self, cause: &Cause<'_>, meta: IpMeta, packet: Packet) {
        let taken = self.raw_input(&meta, &packet);
        match meta.protocol {
            Protocol::UDP => self.udp_input(cause, meta, packet),
            Protocol::TCP => self.tcp_input(cause.now, &meta, packet),
            Protocol::ICMP if meta.src.is_ipv4() => self.icmp_input(cause, meta, packet),
            Protocol::IGMP if meta.src.is_ipv4() => self.igmp_input(cause, &meta, &packet),
            Protocol::ICMPV6 if meta.src.is_ipv6() => self.icmp6_input(cause, meta, packet),
            _ if taken => {}
            _ => {
                self.drop_packet(DropReason::IpUnknownProtocol);
                self.complain_of_protocol(cause.now, &meta, &packet);
            }
        }
    }

    /// Takes a fragment; the first one's headers and all data, if that makes a whole datagram.
    pub(crate) fn reassemble(
        &mut self,
        now: Instant,
        iface: IfIndex,
        key: DatagramKey,
        fragment: Fragment,
    ) -> Option<(bytes::Bytes, Packet)> {
        bump(match key.src {
            IpAddr::V4(_) => &self.wide.counters.fragments_in,
            IpAddr::V6(_) => &self.wide.counters.fragments6_in,
        });
        let mut evicted = 0;
        let result =
            self.wide.with_reassembly(|all| all.insert(now, iface, key, fragment, &mut evicted));
        self.wide.drops.add(DropReason::FragmentMemory, evicted);
        let (headers, pieces) = match result {
            Ok(whole) => whole?,
            Err(reason) => {
                self.drop_packet(reason);
                return None;
            }
        };
        bump(match key.src {
            IpAddr::V4(_) => &self.wide.counters.reassembled,
            IpAddr::V6(_) => &self.wide.counters.reassembled6,
        });
        let mut data = Packet::new();
        for piece in pieces {
            data.push_payload(piece);
        }
        Some((headers, data))
    }

    /// Gives a datagram put together from fragments to the shard that it belongs to, or back if
    /// that is this one.
    pub(crate) fn hand_over(
        &mut self,
        cause: &Cause<'_>,
        mut whole: Packet,
        ethertype: EtherType,
    ) -> Option<Packet> {
        let shard = self.wide.shard_of(crate::steer::of_packet(&whole, &self.wide));
        if shard == self.index {
            return Some(whole);
        }
        if cause.on.medium == Medium::Ethernet {
            let frame = EthernetHeader { dst: cause.on.mac, src: MacAddr::ZERO, ethertype };
            frame.prepend_to(&mut whole);
        }
        self.handoff.push((cause.on.iface.index, whole));
        None
    }

    /// Drops fragments that waited too long, and tells their senders.
    pub(crate) fn expire_fragments(&mut self, now: Instant) {
        let mut expired = Vec::new();
        self.wide.with_reassembly(|all| all.expire(now, &mut expired));
        for Expired { iface, family, first } in expired {
            self.looked_at.set(family);
            self.drop_packet(DropReason::FragmentTimeout);
            // RFC 1122 §3.3.2, RFC 8200 §4.5: time exceeded (code 1) if the first fragment was
            // received.
            let Some(mut first) = first else { continue };
            let view = self.view();
            let Some(on) = view.iface(iface) else { continue };
            let cause = Cause { now, view: &view, on };
            match first.pull(1).map(|byte| byte[0] >> 4) {
                Some(4) => self.ipv4_expired(&cause, first),
                _ => self.ipv6_expired(&cause, first),
            }
        }
    }
}

/// What a link between processes says of a packet is a hint to re-check. How long its segments are
/// matters where they leave, not here: as on Linux, our MTU is what we send at most, and whoever
/// sent them may have another.
pub(crate) fn check_offload(
    meta: &IpMeta,
    is_fragment: bool,
    packet: &Packet,
) -> Result<(), DropReason> {
    if let Checksum::Partial { start, field } = packet.checksum {
        let field_at = match meta.protocol {
            Protocol::TCP => 16,
            Protocol::UDP => 6,
            _ => return Err(DropReason::BadOffload),
        };
        let at_transport = usize::from(start) == meta.header_bytes;
        if !at_transport || field != field_at || is_fragment {
            return Err(DropReason::BadOffload);
        }
    }
    let is_cut = matches!(meta.protocol, Protocol::TCP | Protocol::UDP) && !is_fragment;
    if packet.gso.is_some() && !is_cut {
        return Err(DropReason::BadOffload);
    }
    Ok(())
}
