//! Finds the shard of a received packet before any lock is taken.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use libnet::engine::Steer;
use libnet::ethernet::EthernetHeader;
use libnet::iface::Interface;
use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::socket::Protocol;

use crate::hash::Key;
use crate::icmp::message::{HEADER_BYTES, IcmpType};
use crate::icmp6::message::Icmp6Type;
use crate::ipv4::header::Ipv4Header;
use crate::ipv6::extension::{DESTINATION_OPTIONS, HOP_BY_HOP, ROUTING};
use crate::ipv6::header::{HEADER_BYTES as IPV6_BYTES, Ipv6Header};
use crate::wide::Wide;

/// Where everything goes that is not TCP: one shard, so that its order is kept.
pub(crate) const COMMON: u64 = 0;

/// Segments by their flow, errors by the flow that they are about, the rest to one shard.
pub(crate) struct FlowSteer(pub(crate) Arc<Wide>);

impl Steer for FlowSteer {
    fn steer(&self, iface: &Interface, packet: &Packet) -> u64 {
        if packet.is_empty() && iface.link.loopback {
            return u64::from(packet.mark);
        }
        let skip = if iface.link.medium == Medium::Ethernet { EthernetHeader::LEN } else { 0 };
        of_bytes(packet, skip, &self.0)
    }
}

/// The flow of two ends; the same whichever is ours.
pub(crate) fn flow(a: SocketAddr, b: SocketAddr, key: Key) -> u64 {
    key.hash(if a <= b { (a, b) } else { (b, a) })
}

/// The flow of a packet that begins with its IP header.
pub(crate) fn of_packet(packet: &Packet, wide: &Wide) -> u64 {
    of_bytes(packet, 0, wide)
}

fn of_bytes(packet: &Packet, skip: usize, wide: &Wide) -> u64 {
    let key = wide.flow_key;
    // IP with options, ICMP, a quoted IP with options and its ports.
    let mut front = [0; 60 + HEADER_BYTES + 60 + 4];
    let n = packet.copy_to(skip, &mut front);
    let front = &front[..n];
    let Some((header, rest)) = split(front) else { return of_six(packet, skip, front, wide) };
    if header.is_fragment() {
        return COMMON;
    }
    match header.protocol {
        Protocol::TCP => of_segment(header.src.into(), header.dst.into(), rest, key),
        Protocol::ICMP => {
            // Redirects too: whoever has the connection knows whether it sent that.
            let is_error = rest.first().is_some_and(|&ty| IcmpType(ty).is_error());
            let quoted = rest.get(HEADER_BYTES..).filter(|_| is_error).and_then(split);
            match quoted {
                Some((quoted, ports)) if quoted.protocol == Protocol::TCP => {
                    of_segment(quoted.src.into(), quoted.dst.into(), ports, key)
                }
                _ => COMMON,
            }
        }
        _ => COMMON,
    }
}

fn split(bytes: &[u8]) -> Option<(Ipv4Header, &[u8])> {
    let header = Ipv4Header::read(bytes)?;
    Some((header, bytes.get(usize::from(header.header_bytes)..)?))
}

/// The same for IPv6; `front` is the packet's beginning.
fn of_six(packet: &Packet, skip: usize, front: &[u8], wide: &Wide) -> u64 {
    let Some(header) = Ipv6Header::read(front) else { return COMMON };
    let Some(packet) = Inner::of(packet, skip, &header, wide) else { return COMMON };
    match packet.protocol {
        Protocol::TCP => packet.flow(&header, wide.flow_key),
        Protocol::ICMPV6 => {
            let mut message = [0; HEADER_BYTES + IPV6_BYTES];
            let n = packet.packet.copy_to(packet.at, &mut message);
            let is_error = n > 0 && Icmp6Type(message[0]).is_error();
            let quoted = message[..n].get(HEADER_BYTES..).filter(|_| is_error);
            let Some(header) = quoted.and_then(Ipv6Header::read) else { return COMMON };
            let quoted = Inner::of(packet.packet, packet.at + HEADER_BYTES, &header, wide);
            match quoted.filter(|quoted| quoted.protocol == Protocol::TCP) {
                Some(quoted) => quoted.flow(&header, wide.flow_key),
                None => COMMON,
            }
        }
        _ => COMMON,
    }
}

/// What the extension headers of an IPv6 packet lead to.
struct Inner<'a> {
    packet: &'a Packet,
    protocol: Protocol,
    at: usize,
}

impl<'a> Inner<'a> {
    /// Walks the headers of the packet that begins at `start`; `None` if they are cut short or
    /// more than are taken.
    fn of(packet: &'a Packet, start: usize, header: &Ipv6Header, wide: &Wide) -> Option<Self> {
        let (mut protocol, mut at) = (header.next_header, start + IPV6_BYTES);
        let mut headers = 0;
        while matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
            let mut front = [0; 2];
            let whole = packet.copy_to(at, &mut front) == front.len();
            if !whole || headers == wide.config().ipv6.extension_headers {
                return None;
            }
            headers += 1;
            protocol = Protocol(front[0]);
            at += 8 + 8 * usize::from(front[1]);
        }
        Some(Inner { packet, protocol, at })
    }

    fn flow(&self, header: &Ipv6Header, key: Key) -> u64 {
        let mut ports = [0; 4];
        let n = self.packet.copy_to(self.at, &mut ports);
        of_segment(header.src.into(), header.dst.into(), &ports[..n], key)
    }
}

fn of_segment(src: IpAddr, dst: IpAddr, ports: &[u8], key: Key) -> u64 {
    let Some(&[a, b, c, d]) = ports.first_chunk::<4>() else { return COMMON };
    let source = SocketAddr::new(src, u16::from_be_bytes([a, b]));
    let target = SocketAddr::new(dst, u16::from_be_bytes([c, d]));
    flow(source, target, key)
}
