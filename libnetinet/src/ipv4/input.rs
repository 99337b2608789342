//! IPv4 received: checked, put together, and given to its protocol.

use std::net::{IpAddr, Ipv4Addr};

use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::header::{HEADER_BYTES, Ipv4Header};
use super::options::{self, Verdict};
use super::reassembly::{DatagramKey, Expired, Fragment};
use crate::address::{Cast, IfaceView, View};
use crate::counters::bump;
use crate::icmp::message::Unreachable;
use crate::icmp::output::Complaint;
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
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// Bytes before the transport's header, which the packet still begins with.
    pub(crate) header_bytes: usize,
    pub(crate) cast: Cast,
    /// How its frame was addressed.
    pub(crate) link_cast: LinkCast,
    pub(crate) iface: IfIndex,
}

impl Shard {
    /// Takes a packet that begins with an IPv4 header.
    pub(crate) fn ipv4_input(
        &mut self,
        cause: &Cause<'_>,
        mut packet: Packet,
        link_cast: LinkCast,
    ) {
        let header = match Ipv4Header::parse(&mut packet) {
            Ok(header) => header,
            Err(reason) => return self.drop_packet(reason),
        };
        let cast = match admit(cause, &header, link_cast) {
            Ok(cast) => cast,
            Err(reason) => return self.drop_packet(reason),
        };
        let meta = meta_of(cause, &header, cast, link_cast);
        if header.header_bytes as usize > HEADER_BYTES
            && !self.options_pass(cause, &mut packet, &meta)
        {
            return;
        }
        if let Err(reason) = check_offload(&header, &packet, cause.on.mtu) {
            return self.drop_packet(reason);
        }
        bump(&self.wide.counters.ip_in);
        if header.is_fragment() {
            return self.fragment_input(cause, &header, &packet, meta);
        }
        self.transport_input(cause, meta, packet);
    }

    /// Gives a whole datagram to its protocol.
    fn transport_input(&mut self, cause: &Cause<'_>, meta: IpMeta, packet: Packet) {
        let taken = self.raw_input(&meta, &packet);
        match meta.protocol {
            Protocol::ICMP => self.icmp_input(cause, meta, packet),
            Protocol::UDP => self.udp_input(cause, meta, packet),
            Protocol::TCP => self.tcp_input(cause.now, &meta, packet),
            _ if taken => {}
            _ => {
                self.drop_packet(DropReason::IpUnknownProtocol);
                // RFC 1122 §3.2.2.1: a protocol that is not served is said to be unreachable.
                let complaint = Complaint::Unreachable(Unreachable::PROTOCOL);
                self.complain(cause.now, &meta, &packet, complaint);
            }
        }
    }

    /// Looks at the options; whether the packet may go on.
    fn options_pass(&mut self, cause: &Cause<'_>, packet: &mut Packet, meta: &IpMeta) -> bool {
        let verdict = match packet.pull(meta.header_bytes) {
            Some(header) => options::inspect(&header[HEADER_BYTES..]),
            None => Verdict::Malformed { at: HEADER_BYTES as u8 },
        };
        match verdict {
            Verdict::Skip => true,
            Verdict::SourceRoute => {
                // DEVIATES RFC 1122 §3.2.1.8(c): dropped instead of received, as Linux does by
                // default: a source route serves nobody but whoever forges addresses.
                self.drop_packet(DropReason::IpSourceRoute);
                false
            }
            Verdict::Malformed { at } => {
                self.drop_packet(DropReason::IpBadOptions);
                let complaint = Complaint::ParameterProblem { at };
                self.complain(cause.now, meta, packet, complaint);
                false
            }
        }
    }

    fn fragment_input(
        &mut self,
        cause: &Cause<'_>,
        header: &Ipv4Header,
        packet: &Packet,
        meta: IpMeta,
    ) {
        bump(&self.wide.counters.fragments_in);
        let all = packet.to_bytes();
        let fragment = Fragment {
            offset: usize::from(header.offset_bytes),
            data: all.slice(meta.header_bytes..),
            more: header.more_fragments,
            header: all.slice(..meta.header_bytes),
        };
        let key = DatagramKey {
            src: meta.src,
            dst: meta.dst,
            protocol: meta.protocol.0,
            ident: u32::from(header.ident),
        };
        let mut evicted = 0;
        let iface = meta.iface;
        let result = self
            .wide
            .with_reassembly(|all| all.insert(cause.now, iface, key, fragment, &mut evicted));
        self.wide.drops.add(DropReason::FragmentMemory, evicted);
        let (first_header, pieces) = match result {
            Ok(Some(whole)) => whole,
            Ok(None) => return,
            Err(reason) => return self.drop_packet(reason),
        };
        bump(&self.wide.counters.reassembled);
        let mut whole = Packet::new();
        whole.rx_at = packet.rx_at;
        for piece in pieces {
            whole.push_payload(piece);
        }
        prepend_whole_header(&first_header, &mut whole);
        self.reassembled_input(cause, meta, whole);
    }

    /// Gives a datagram put together from fragments to the shard that it belongs to.
    fn reassembled_input(&mut self, cause: &Cause<'_>, meta: IpMeta, mut whole: Packet) {
        let meta = IpMeta { header_bytes: HEADER_BYTES, ..meta };
        let shard = self.wide.shard_of(crate::steer::of_packet(&mut whole, self.wide.flow_key));
        if shard == self.index {
            return self.transport_input(cause, meta, whole);
        }
        if cause.on.medium == Medium::Ethernet {
            let frame = EthernetHeader {
                dst: cause.on.mac,
                src: MacAddr::ZERO,
                ethertype: EtherType::IPV4,
            };
            frame.prepend_to(&mut whole);
        }
        self.handoff.push((meta.iface, whole));
    }

    /// Drops fragments that waited too long, and tells their senders.
    pub(crate) fn expire_fragments(&mut self, now: Instant) {
        let mut expired = Vec::new();
        self.wide.with_reassembly(|all| all.expire(now, &mut expired));
        for Expired { iface, first } in expired {
            self.drop_packet(DropReason::FragmentTimeout);
            // RFC 1122 §3.3.2: time exceeded (code 1) if fragment zero was received.
            let Some(mut first) = first else { continue };
            let view = self.view();
            let Some(on) = view.iface(iface) else { continue };
            let cause = Cause { now, view: &view, on };
            let header = first.pull(HEADER_BYTES).and_then(Ipv4Header::read);
            let Some(header) = header else { continue };
            let Some(cast) = view.cast_of(on, header.dst) else { continue };
            let meta = meta_of(&cause, &header, cast, LinkCast::Unicast);
            self.complain(now, &meta, &first, Complaint::ReassemblyTimeout);
        }
    }
}

fn meta_of(cause: &Cause<'_>, header: &Ipv4Header, cast: Cast, link_cast: LinkCast) -> IpMeta {
    IpMeta {
        src: IpAddr::V4(header.src),
        dst: IpAddr::V4(header.dst),
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        header_bytes: usize::from(header.header_bytes),
        cast,
        link_cast,
        iface: cause.on.iface.index,
    }
}

/// Is it from somebody who may send, and to us?
fn admit(cause: &Cause<'_>, header: &Ipv4Header, link_cast: LinkCast) -> Result<Cast, DropReason> {
    let cast = cause.view.cast_of(cause.on, header.dst).ok_or(DropReason::IpNotOurs)?;
    // RFC 1122 §3.3.6: a packet to one host has no business in a frame to all.
    if link_cast == LinkCast::Group && cast == Cast::Unicast {
        return Err(DropReason::IpLinkBroadcast);
    }
    if !may_send(cause, header.src, cast) {
        return Err(DropReason::IpBadSource);
    }
    Ok(cast)
}

/// RFC 1122 §3.2.1.3: source addresses that no other host may use.
fn may_send(cause: &Cause<'_>, src: Ipv4Addr, cast: Cast) -> bool {
    if src.is_unspecified() {
        // (a): only from who does not know its address yet, to all.
        return cast == Cast::Broadcast;
    }
    if cause.on.loopback {
        return !src.is_multicast() && !cause.view.is_broadcast(IpAddr::V4(src));
    }
    let reserved = src.octets()[0] == 0 || src.octets()[0] >= 240;
    !reserved
        && !src.is_multicast()
        && !src.is_loopback()
        && !cause.view.is_broadcast(IpAddr::V4(src))
        // Our own address from outside is forged, or somebody else's by mistake.
        && !cause.view.is_local(IpAddr::V4(src))
}

/// What a link between processes says of a packet is a hint to re-check.
fn check_offload(header: &Ipv4Header, packet: &Packet, mtu: u32) -> Result<(), DropReason> {
    if let Checksum::Partial { start, field } = packet.checksum {
        let field_at = match header.protocol {
            Protocol::TCP => 16,
            Protocol::UDP => 6,
            _ => return Err(DropReason::BadOffload),
        };
        let at_transport = usize::from(start) == usize::from(header.header_bytes);
        if !at_transport || field != field_at || header.is_fragment() {
            return Err(DropReason::BadOffload);
        }
    }
    let Some(gso) = packet.gso else { return Ok(()) };
    let transport_bytes = match header.protocol {
        Protocol::TCP => {
            let mut offset = [0];
            packet.copy_to(usize::from(header.header_bytes) + 12, &mut offset);
            usize::from(offset[0] >> 4) * 4
        }
        Protocol::UDP => 8,
        _ => return Err(DropReason::BadOffload),
    };
    let segment = usize::from(gso.segment_bytes.get());
    let piece_bytes = usize::from(header.header_bytes) + transport_bytes + segment;
    if header.is_fragment() || piece_bytes > mtu as usize {
        return Err(DropReason::BadOffload);
    }
    Ok(())
}

/// Puts a header in front of a datagram that was put together: no longer a fragment, and without
/// the options, which were looked at on the fragment that brought them.
fn prepend_whole_header(first: &[u8], whole: &mut Packet) {
    let Some(mut header) = Ipv4Header::read(first) else { return };
    header.more_fragments = false;
    header.offset_bytes = 0;
    header.prepend_to(whole);
}
