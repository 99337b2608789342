//! Finds the shard of a received packet before any lock is taken.

use std::net::SocketAddr;
use std::sync::Arc;

use libnet::engine::Steer;
use libnet::ethernet::EthernetHeader;
use libnet::iface::Interface;
use libnet::link::Medium;
use libnet::packet::Packet;
use libnet::socket::Protocol;

use crate::hash::Key;
use crate::icmp::message::{HEADER_BYTES, IcmpType};
use crate::ipv4::header::Ipv4Header;
use crate::wide::Wide;

/// Where everything goes that is not TCP: one shard, so that its order is kept.
pub(crate) const COMMON: u64 = 0;

/// Segments by their flow, errors by the flow that they are about, the rest to one shard.
pub(crate) struct FlowSteer(pub(crate) Arc<Wide>);

impl Steer for FlowSteer {
    fn steer(&self, iface: &Interface, packet: &Packet) -> u64 {
        let skip = if iface.link.medium == Medium::Ethernet { EthernetHeader::LEN } else { 0 };
        of_bytes(packet, skip, self.0.flow_key)
    }
}

/// The flow of two ends; the same whichever is ours.
pub(crate) fn flow(a: SocketAddr, b: SocketAddr, key: Key) -> u64 {
    key.hash(if a <= b { (a, b) } else { (b, a) })
}

/// The flow of a packet that begins with its IP header.
pub(crate) fn of_packet(packet: &mut Packet, key: Key) -> u64 {
    of_bytes(packet, 0, key)
}

fn of_bytes(packet: &Packet, skip: usize, key: Key) -> u64 {
    // IP with options, ICMP, a quoted IP with options and its ports.
    let mut front = [0; 60 + HEADER_BYTES + 60 + 4];
    let n = packet.copy_to(skip, &mut front);
    let front = &front[..n];
    let Some((header, rest)) = split(front) else { return COMMON };
    if header.is_fragment() {
        return COMMON;
    }
    match header.protocol {
        Protocol::TCP => of_segment(&header, rest, key),
        Protocol::ICMP => {
            let is_error = rest.first().is_some_and(|&ty| IcmpType(ty).is_error());
            let quoted = rest.get(HEADER_BYTES..).filter(|_| is_error).and_then(split);
            match quoted {
                Some((quoted, ports)) if quoted.protocol == Protocol::TCP => {
                    of_segment(&quoted, ports, key)
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

fn of_segment(header: &Ipv4Header, ports: &[u8], key: Key) -> u64 {
    let Some(&[a, b, c, d]) = ports.first_chunk::<4>() else { return COMMON };
    let source = SocketAddr::new(header.src.into(), u16::from_be_bytes([a, b]));
    let target = SocketAddr::new(header.dst.into(), u16::from_be_bytes([c, d]));
    flow(source, target, key)
}
