//! ICMPv6: RFC 4443.

use std::net::Ipv6Addr;

use libnet::packet::Packet;
use libnet::socket::Protocol;

use crate::datagram::build::pseudo_header;

pub(crate) mod input;
pub(crate) mod message;
pub(crate) mod output;

/// The checksum of the message that begins `skip` bytes into a packet; zero if the message has the
/// right one in place. Source: RFC 4443 §2.3.
pub(crate) fn checksum(src: Ipv6Addr, dst: Ipv6Addr, packet: &Packet, skip: usize) -> u16 {
    let bytes = packet.len() - skip;
    let mut sum = pseudo_header(src.into(), dst.into(), Protocol::ICMPV6, bytes);
    sum.add_u16(packet.sum_from(skip).folded());
    sum.finish()
}
