//! ICMPv6 redirects that we send (RFC 4861 §8.2).

use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use libnet::ethernet::MacAddr;
use libnet::link::Medium;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;

use crate::address::IfaceView;
use crate::counters::bump;
use crate::icmp6::checksum;
use crate::icmp6::message::Icmp6Type;
use crate::icmp6::output::quote;
use crate::ip::input::{Cause, IpMeta};
use crate::ipv6::header::{HEADER_BYTES, Ipv6Header, MIN_MTU};
use crate::output::Account;
use crate::path::{Path, Wanted};
use crate::shard::Shard;

/// RFC 4861 §3.1: a message of neighbour discovery that crossed a router has less.
const HOP_LIMIT: u8 = 255;
/// Source: RFC 4861 §4.6.1.
const TARGET_LINK_ADDR: u8 = 2;
/// Source: RFC 4861 §4.6.3.
const REDIRECTED_HEADER: u8 = 4;

impl Shard {
    /// Tells a neighbour that the next hop is its neighbour too, so that we are one too many.
    pub(super) fn redirect_v6(
        &mut self,
        cause: &Cause<'_>,
        path: &Path,
        meta: &IpMeta,
        packet: &Packet,
    ) {
        let on = cause.on;
        let stays = path.iface.index == on.iface.index && on.medium == Medium::Ethernet;
        if !stays || !self.wide.config.forwarding.redirects {
            return;
        }
        let (IpAddr::V6(src), IpAddr::V6(dst), IpAddr::V6(target)) =
            (meta.src, meta.dst, path.next_hop)
        else {
            return;
        };
        // A router is told of by its link-local address, and by no other.
        let may_be_told = target == dst || target.is_unicast_link_local();
        let is_neighbour = on.addrs.iter().any(|cidr| cidr.contains(meta.src));
        let Some(ours) = link_local_of(on).filter(|_| may_be_told && is_neighbour) else { return };
        // RFC 4861 §8.2: the rate is limited.
        if !self.wide.allow_redirect(cause.now, meta.src) {
            return self.drop_packet(DropReason::IcmpRateLimited);
        }
        let wanted = Wanted { dst: meta.src, src: Some(ours.into()), iface: Some(on.iface.index) };
        let Ok(mut back) = Path::find(&self.wide, cause.now, wanted) else {
            return self.drop_packet(DropReason::NoRoute);
        };
        let neighbour = path.neighbour.as_ref();
        let mac = neighbour.and_then(|n| n.mac_if_fresh(cause.now));
        let message = message(ours, src, target, dst, mac, packet);
        bump(&self.wide.counters.redirects_out);
        bump(&self.wide.counters.icmp_out);
        self.send_ip(cause.now, &mut back, message, Account::Reply);
    }
}

fn link_local_of(on: &IfaceView) -> Option<Ipv6Addr> {
    on.addrs.iter().find_map(|cidr| match cidr.addr() {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => Some(addr),
        _ => None,
    })
}

/// The redirect in its IPv6 packet.
///
/// ```text
/// +-----+------+----------+----------+--------+-------------+---------------------------+-----
/// | 137 | code | checksum | reserved | target | destination | target's link-layer addr. | redirected
/// +-----+------+----------+----------+--------+-------------+---------------------------+-----
/// ```
fn message(
    ours: Ipv6Addr,
    to: Ipv6Addr,
    target: Ipv6Addr,
    dst: Ipv6Addr,
    mac: Option<MacAddr>,
    about: &Packet,
) -> Packet {
    let mut bytes = vec![Icmp6Type::REDIRECT.0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(target.octets());
    bytes.extend(dst.octets());
    if let Some(mac) = mac {
        bytes.extend([TARGET_LINK_ADDR, 1]);
        bytes.extend(mac.0);
    }
    // RFC 4861 §4.6.3: as much of the packet as fits into the least MTU, in units of 8 bytes.
    let room = (MIN_MTU as usize - HEADER_BYTES - bytes.len() - 8) & !7;
    let mut quoted = quote(about).to_vec();
    quoted.truncate(room);
    quoted.resize(quoted.len().next_multiple_of(8), 0);
    bytes.extend([REDIRECTED_HEADER, (1 + quoted.len() / 8) as u8, 0, 0, 0, 0, 0, 0]);
    bytes.extend(quoted);
    let unsummed = Packet::from_payload(Bytes::copy_from_slice(&bytes));
    bytes[2..4].copy_from_slice(&checksum(ours, to, &unsummed, 0).to_be_bytes());
    let mut packet = Packet::from_payload(Bytes::from(bytes));
    packet.checksum = Checksum::Trusted;
    let mut header = Ipv6Header::new(ours, to, Protocol::ICMPV6);
    header.hop_limit = HOP_LIMIT;
    header.prepend_to(&mut packet);
    packet
}
