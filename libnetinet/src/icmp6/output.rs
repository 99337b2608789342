//! ICMPv6 messages that we send, and when we keep quiet.

use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use libnet::iface::IfIndex;
use libnet::packet::{Checksum, Packet};
use libnet::socket::{Family, Protocol};
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::checksum;
use super::message::{Complaint, HEADER_BYTES as ICMP_BYTES, Icmp6Type, Unreachable6};
use crate::address::Cast;
use crate::counters::bump;
use crate::ip::input::IpMeta;
use crate::ipv6::extension::{self, Chain, FRAGMENT};
use crate::ipv6::fragment::FragmentHeader;
use crate::ipv6::header::{HEADER_BYTES, Ipv6Header, MIN_MTU, NEXT_HEADER_AT};
use crate::output::Account;
use crate::path::{Path, Wanted};
use crate::shard::{LinkCast, Shard};

/// What the IP header of a message of ours is to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    /// `None`: the address that fits.
    pub(crate) src: Option<Ipv6Addr>,
    pub(crate) dst: Ipv6Addr,
    /// The interface that it must leave by.
    pub(crate) iface: Option<IfIndex>,
    pub(crate) traffic_class: u8,
}

impl Shard {
    /// Tells the sender of a received packet what is wrong with it, if that may be told.
    pub(crate) fn complain6(
        &mut self,
        now: Instant,
        meta: &IpMeta,
        packet: &Packet,
        complaint: Complaint,
    ) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.src, meta.dst) else { return };
        if !may_complain(meta, src, packet, complaint) {
            return;
        }
        self.send_error6(now, meta.iface, dst, src, packet, complaint);
    }

    /// Tells our own socket that a neighbour did not answer: an ICMPv6 error to ourselves, so that
    /// it takes the way of any other (RFC 4861 §7.2.2).
    pub(crate) fn report_address_unreachable(&mut self, now: Instant, packet: &Packet) {
        let Some(quoted) = Quoted::of(packet) else { return };
        if quoted.is_error_or_unknown() {
            return;
        }
        let complaint = Complaint::Unreachable(Unreachable6::ADDRESS);
        let src = quoted.header.src;
        self.send_error6(now, IfIndex::LOOPBACK, src, src, packet, complaint);
    }

    /// Sends an ICMPv6 message, header and body.
    pub(crate) fn icmp6_output(&mut self, now: Instant, to: Envelope, mut message: Packet) {
        // Also where time, not a packet, has us say something.
        self.looked_at.set(Family::Inet6);
        let wanted = Wanted { dst: to.dst.into(), src: to.src.map(IpAddr::V6), iface: to.iface };
        let Ok(mut path) = Path::find(&self.wide, now, wanted) else {
            return self.drop_packet(DropReason::NoRoute);
        };
        let IpAddr::V6(src) = path.src else { return };
        let sum = checksum(src, to.dst, &message, 0);
        message.write_at(2, &sum.to_be_bytes());
        message.checksum = Checksum::Trusted;
        let mut header = Ipv6Header::new(src, to.dst, Protocol::ICMPV6);
        header.hop_limit = path.hop_limit.unwrap_or(self.config.ipv6.hop_limit);
        header.traffic_class = to.traffic_class;
        header.flow_label = path.label_seed.label([0; 4]);
        header.prepend_to(&mut message);
        bump(&self.wide.counters.icmp6_out);
        self.send_ip(now, &mut path, message, Account::Reply);
    }

    fn send_error6(
        &mut self,
        now: Instant,
        iface: IfIndex,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        about: &Packet,
        complaint: Complaint,
    ) {
        self.looked_at.set(Family::Inet6);
        // Errors to ourselves cost nobody anything.
        let view = self.view();
        let on = view.iface(iface);
        let to_us = on.is_some_and(|on| view.is_local_on(on, dst.into()));
        // RFC 4443 §2.4(f).
        if !to_us && !self.wide.allow_error(now, dst.into()) {
            return self.drop_packet(DropReason::IcmpRateLimited);
        }
        let mut message = Packet::from_payload(quote(about));
        message.prepend(ICMP_BYTES).copy_from_slice(&complaint.header().to_bytes());
        bump(&self.wide.counters.icmp6_errors_out);
        // RFC 4443 §2.2(a): from the address that the packet was sent to, if it is ours.
        let src = view.is_local(src.into()).then_some(src);
        // What is of one link goes back by it; of two that have the same address of ours, too.
        let of_link = dst.is_unicast_link_local() && iface != IfIndex::LOOPBACK;
        let iface = of_link.then_some(iface);
        self.icmp6_output(now, Envelope { src, dst, iface, traffic_class: 0 }, message);
    }
}

/// RFC 4443 §2.4(c): as much of the packet as fits into the least MTU, its transport checksum
/// completed if all of it is there.
pub(crate) fn quote(about: &Packet) -> Bytes {
    let room = MIN_MTU as usize - HEADER_BYTES - ICMP_BYTES;
    let mut quoted = about.clone();
    // What is quoted must look as it would have on the wire.
    let _ = quoted.complete_checksum();
    quoted.truncate(room);
    quoted.to_bytes()
}

/// RFC 4443 §2.4(e): never about an ICMPv6 error or a redirect, a packet to many (by IP or by
/// link) but for what the sender must know of them, or from an address that is not one host's.
fn may_complain(meta: &IpMeta, src: Ipv6Addr, packet: &Packet, complaint: Complaint) -> bool {
    let to_one = meta.cast == Cast::Unicast && meta.link_cast == LinkCast::Unicast;
    let from_one = !src.is_unspecified() && !src.is_multicast();
    (to_one || complaint.may_be_about_many())
        && from_one
        // Of one whose headers are cut short it cannot be told.
        && Quoted::of(packet).is_none_or(|quoted| !quoted.is_error_or_unknown())
}

/// The packet that an error is or would be about.
pub(crate) struct Quoted {
    pub(crate) header: Ipv6Header,
    /// Of the transport, or what the walk ended at.
    pub(crate) protocol: Protocol,
    /// The first bytes of the transport's header, as many as are there.
    pub(crate) front: Vec<u8>,
    /// Where the packet names `protocol`.
    pub(crate) named_at: usize,
    /// It is a fragment other than the first: `front` is not a header's.
    pub(crate) is_later_fragment: bool,
}

/// Bytes of a quoted packet that are looked at.
const LOOKED_AT: usize = MIN_MTU as usize;
/// Headers of a quoted packet that are walked over.
const MAX_HEADERS: usize = 16;

impl Quoted {
    /// Reads a packet, whose end may be missing; `None` if that leaves no transport to see.
    pub(crate) fn of(packet: &Packet) -> Option<Quoted> {
        let mut front = vec![0; packet.len().min(LOOKED_AT)];
        let n = packet.copy_to(0, &mut front);
        front.truncate(n);
        let header = Ipv6Header::read(&front)?;
        let start = Chain::start(Protocol(front[NEXT_HEADER_AT]));
        let mut chain = extension::skip(&front, start, MAX_HEADERS)?;
        let mut is_later_fragment = false;
        if chain.protocol == FRAGMENT {
            let fragment = FragmentHeader::parse(&front[chain.at..])?;
            is_later_fragment = fragment.offset_bytes > 0;
            let inner = Chain {
                protocol: fragment.next_header,
                at: chain.at + crate::ipv6::header::FRAGMENT_BYTES,
                named_at: chain.at,
            };
            let skipped = || extension::skip(&front, inner, MAX_HEADERS);
            chain = if is_later_fragment { inner } else { skipped()? };
        }
        front.drain(..chain.at.min(n));
        let Chain { protocol, named_at, .. } = chain;
        Some(Quoted { header, protocol, front, named_at, is_later_fragment })
    }

    /// Is it an ICMPv6 error or redirect, or cut so short that it may be one?
    fn is_error_or_unknown(&self) -> bool {
        if self.protocol != Protocol::ICMPV6 || self.is_later_fragment {
            return false;
        }
        let ty = self.front.first().map(|&ty| Icmp6Type(ty));
        ty.is_none_or(|ty| ty.is_error() || ty == Icmp6Type::REDIRECT)
    }
}
