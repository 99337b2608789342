//! Builds the IP packet of one datagram; sends nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use libnet::checksum::Sum;
use libnet::errno;
use libnet::packet::{Checksum, Packet};
use libnet::socket::{Family, MtuDiscovery, Protocol};

use super::{Kind, Options, echo_protocol};
use crate::icmp::message::{HEADER_BYTES as ICMP_BYTES, IcmpHeader, IcmpType};
use crate::icmp6;
use crate::icmp6::message::Icmp6Type;
use crate::ipv4::header::{HEADER_BYTES, Ipv4Header, MAX_PACKET_BYTES};
use crate::ipv6::header::{HEADER_BYTES as IPV6_BYTES, Ipv6Header, MAX_PAYLOAD_BYTES};
use crate::path::{Path, Reach};
use crate::wide::Wide;

/// Bytes of a UDP header. Source: RFC 768.
pub(crate) const UDP_BYTES: usize = 8;

/// The IP packet that carries `data` along `path`.
///
/// # Errors
/// `EMSGSIZE` for what no packet, or no unfragmented one, can hold; `EINVAL` for a message that
/// the kind of socket cannot send.
pub(crate) fn build(
    wide: &Wide,
    kind: Kind,
    options: &Options,
    local_port: u16,
    remote: SocketAddr,
    path: &Path,
    data: Bytes,
) -> io::Result<Packet> {
    match kind {
        Kind::Raw(_) if options.header_included => match path.dst {
            IpAddr::V4(_) => header_included(wide, path, &data),
            IpAddr::V6(_) => header6_included(path, &data),
        },
        Kind::Raw(protocol) => {
            let packet = raw(protocol, options, path, data)?;
            finish(wide, options, protocol, path, packet)
        }
        Kind::Ping => {
            let message = echo(local_port, path, &data)?;
            let protocol = echo_protocol(Family::of(&path.dst));
            finish(wide, options, protocol, path, message)
        }
        Kind::Udp => {
            let datagram = udp(local_port, remote.port(), path, data)?;
            finish(wide, options, Protocol::UDP, path, datagram)
        }
    }
}

/// ```text
///  0               2               4               6
/// | source port   | target port   | length        | checksum      | data
/// ```
fn udp(source: u16, target: u16, path: &Path, data: Bytes) -> io::Result<Packet> {
    let len = data.len() + UDP_BYTES;
    if len > max_payload(path.dst) {
        return Err(errno::message_too_long());
    }
    let mut packet = Packet::from_payload(data);
    let h = packet.prepend(UDP_BYTES);
    h[..2].copy_from_slice(&source.to_be_bytes());
    h[2..4].copy_from_slice(&target.to_be_bytes());
    h[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    // RFC 1122 §4.1.3.4: checksums are on by default; here they cannot be turned off, and in IPv6
    // they must not (RFC 8200 §8.1).
    let sum = pseudo_header(path.src, path.dst, Protocol::UDP, len).folded();
    h[6..8].copy_from_slice(&sum.to_be_bytes());
    packet.checksum = Checksum::Partial { start: 0, field: 6 };
    Ok(packet)
}

/// The longest payload of an IP packet, in bytes.
const fn max_payload(dst: IpAddr) -> usize {
    match dst {
        IpAddr::V4(_) => MAX_PACKET_BYTES - HEADER_BYTES,
        IpAddr::V6(_) => MAX_PAYLOAD_BYTES,
    }
}

/// A ping socket sends echo requests; their identifier is its port.
fn echo(ident: u16, path: &Path, data: &Bytes) -> io::Result<Packet> {
    // The two versions' messages differ in the number of the type alone.
    let request = match path.dst {
        IpAddr::V4(_) => IcmpType::ECHO.0,
        IpAddr::V6(_) => Icmp6Type::ECHO.0,
    };
    let header = IcmpHeader::parse(data).ok_or_else(errno::invalid)?;
    if header.ty.0 != request || header.code != 0 {
        return Err(errno::invalid());
    }
    if data.len() > max_payload(path.dst) {
        return Err(errno::message_too_long());
    }
    let mut packet = Packet::from_payload(data.slice(ICMP_BYTES..));
    let [i, j] = ident.to_be_bytes();
    let rest = [i, j, header.rest[2], header.rest[3]];
    let header = IcmpHeader { ty: header.ty, code: 0, rest };
    packet.prepend(ICMP_BYTES).copy_from_slice(&header.to_bytes());
    let sum = match (path.src, path.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => icmp6::checksum(src, dst, &packet, 0),
        _ => packet.sum_from(0).finish(),
    };
    packet.write_at(2, &sum.to_be_bytes());
    packet.checksum = Checksum::Trusted;
    Ok(packet)
}

/// What a raw socket was given. Source: RFC 3542 §3.1: the checksum of ICMPv6 is ours to make, and
/// that of another protocol if the socket says where it stands.
fn raw(protocol: Protocol, options: &Options, path: &Path, data: Bytes) -> io::Result<Packet> {
    let mut packet = Packet::from_payload(data);
    let Some(at) = options.checksum_at.filter(|_| path.dst.is_ipv6()) else { return Ok(packet) };
    let at = usize::from(at);
    if packet.len() < at + 2 {
        return Err(errno::invalid());
    }
    packet.write_at(at, &[0; 2]);
    let mut sum = pseudo_header(path.src, path.dst, protocol, packet.len());
    sum.add_u16(packet.sum_from(0).folded());
    packet.write_at(at, &sum.finish().to_be_bytes());
    Ok(packet)
}

/// Puts the IP header in front.
fn finish(
    wide: &Wide,
    options: &Options,
    protocol: Protocol,
    path: &Path,
    mut packet: Packet,
) -> io::Result<Packet> {
    let header_bytes = if path.dst.is_ipv4() { HEADER_BYTES } else { IPV6_BYTES };
    let fits = packet.len() + header_bytes <= path.mtu as usize;
    // DEVIATES ip(7): probing keeps to the path's MTU too.
    let whole = matches!(options.mtu_discovery, MtuDiscovery::Always | MtuDiscovery::Probe)
        || (options.dont_fragment && path.dst.is_ipv6());
    if packet.len() > max_payload(path.dst) || (whole && !fits) {
        return Err(errno::message_too_long());
    }
    let usual = wide.usual_hops(Family::of(&path.dst));
    let hops = match path.reach {
        Reach::Multicast => options.multicast_ttl,
        _ => options.ttl.or(path.hop_limit).unwrap_or(usual),
    };
    if matches!(packet.checksum, Checksum::Unverified) {
        packet.checksum = Checksum::Trusted;
    }
    match (path.src, path.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = Ipv4Header::new(src, dst, protocol);
            header.ttl = hops;
            header.tos = options.tos;
            // RFC 1191 §3: what fits is sent unfragmentable, so that routers tell us of smaller
            // links.
            header.dont_fragment = fits && options.mtu_discovery != MtuDiscovery::Never;
            if !header.dont_fragment {
                // RFC 6864 §4.3: only what can be fragmented needs an identification.
                header.ident = wide.identifiers.next(src, dst, protocol);
            }
            header.prepend_to(&mut packet);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = Ipv6Header::new(src, dst, protocol);
            header.hop_limit = hops;
            header.traffic_class = options.tos;
            let has_ports = protocol == Protocol::UDP;
            let ports = packet.head().first_chunk().copied().filter(|_| has_ports);
            header.flow_label = path.label_seed.label(ports.unwrap_or_default());
            header.prepend_to(&mut packet);
        }
        _ => return Err(errno::family_not_supported()),
    }
    Ok(packet)
}

/// The caller wrote the IPv6 header; we fill in what Linux fills in (`IPV6_HDRINCL`): nothing but
/// the length.
fn header6_included(path: &Path, data: &Bytes) -> io::Result<Packet> {
    if data.len() > path.mtu as usize {
        return Err(errno::message_too_long());
    }
    let mut packet = Packet::from_payload(data.clone());
    packet.pull(IPV6_BYTES).and_then(Ipv6Header::read).ok_or_else(errno::invalid)?;
    packet.write_at(4, &((data.len() - IPV6_BYTES) as u16).to_be_bytes());
    packet.checksum = Checksum::Trusted;
    Ok(packet)
}

/// The caller wrote the header; we fill in what Linux fills in (`raw(7)`): length and checksum
/// always, source address and identification where they are zero.
fn header_included(wide: &Wide, path: &Path, data: &Bytes) -> io::Result<Packet> {
    let mut header = Ipv4Header::read(data).ok_or_else(errno::invalid)?;
    let header_bytes = usize::from(header.header_bytes);
    if data.len() < header_bytes {
        return Err(errno::invalid());
    }
    if data.len() > path.mtu as usize {
        return Err(errno::message_too_long());
    }
    if let (true, IpAddr::V4(src)) = (header.src.is_unspecified(), path.src) {
        header.src = src;
    }
    if header.ident == 0 {
        header.ident = wide.identifiers.next(header.src, header.dst, header.protocol);
    }
    let mut bytes = data.to_vec();
    let first = bytes[0];
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes(data.len() as u16));
    bytes[0] = first;
    bytes[10..12].fill(0);
    let sum = libnet::checksum::checksum(&bytes[..header_bytes]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut packet = Packet::from_payload(Bytes::from(bytes));
    packet.checksum = Checksum::Trusted;
    Ok(packet)
}

/// The sum over what of the IP header the transport's checksum covers. Source: RFC 768, RFC 9293
/// §3.1; for IPv6 RFC 8200 §8.1.
pub(crate) fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> Sum {
    let mut sum = Sum::new();
    for addr in [src, dst] {
        match addr {
            IpAddr::V4(addr) => sum.add(&addr.octets()),
            IpAddr::V6(addr) => sum.add(&addr.octets()),
        }
    }
    sum.add_u16(u16::from(protocol.0));
    sum.add_u16((len >> 16) as u16);
    sum.add_u16(len as u16);
    sum
}
