//! Builds the IP packet of one datagram; sends nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use libnet::checksum::Sum;
use libnet::errno;
use libnet::packet::{Checksum, Packet};
use libnet::socket::{MtuDiscovery, Protocol};

use super::{Kind, Options};
use crate::icmp::message::{HEADER_BYTES as ICMP_BYTES, IcmpHeader, IcmpType};
use crate::ipv4::header::{HEADER_BYTES, Ipv4Header, MAX_PACKET_BYTES};
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
        Kind::Raw(_) if options.header_included => header_included(wide, path, &data),
        Kind::Raw(protocol) => finish(wide, options, protocol, path, Packet::from_payload(data)),
        Kind::Ping => {
            let message = echo(local_port, data)?;
            finish(wide, options, Protocol::ICMP, path, message)
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
    if len > MAX_PACKET_BYTES - HEADER_BYTES {
        return Err(errno::message_too_long());
    }
    let mut packet = Packet::from_payload(data);
    let h = packet.prepend(UDP_BYTES);
    h[..2].copy_from_slice(&source.to_be_bytes());
    h[2..4].copy_from_slice(&target.to_be_bytes());
    h[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    // RFC 1122 §4.1.3.4: checksums are on by default; here they cannot be turned off.
    let sum = pseudo_header(path.src, path.dst, Protocol::UDP, len).folded();
    h[6..8].copy_from_slice(&sum.to_be_bytes());
    packet.checksum = Checksum::Partial { start: 0, field: 6 };
    Ok(packet)
}

/// A ping socket sends echo requests; their identifier is its port.
fn echo(ident: u16, data: Bytes) -> io::Result<Packet> {
    let header = IcmpHeader::parse(&data).ok_or_else(errno::invalid)?;
    if header.ty != IcmpType::ECHO || header.code != 0 {
        return Err(errno::invalid());
    }
    if data.len() > MAX_PACKET_BYTES - HEADER_BYTES {
        return Err(errno::message_too_long());
    }
    let mut packet = Packet::from_payload(data.slice(ICMP_BYTES..));
    let [i, j] = ident.to_be_bytes();
    let rest = [i, j, header.rest[2], header.rest[3]];
    let header = IcmpHeader { ty: IcmpType::ECHO, code: 0, rest };
    packet.prepend(ICMP_BYTES).copy_from_slice(&header.to_bytes());
    let sum = packet.sum_from(0).finish();
    packet.write_at(2, &sum.to_be_bytes());
    packet.checksum = Checksum::Trusted;
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
    let total = packet.len() + HEADER_BYTES;
    let fits = total <= path.mtu as usize;
    // DEVIATES ip(7): probing keeps to the path's MTU too.
    let whole = matches!(options.mtu_discovery, MtuDiscovery::Always | MtuDiscovery::Probe);
    if total > MAX_PACKET_BYTES || (whole && !fits) {
        return Err(errno::message_too_long());
    }
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (path.src, path.dst) else {
        return Err(errno::family_not_supported());
    };
    let mut header = Ipv4Header::new(src, dst, protocol);
    header.ttl = if path.reach == Reach::Multicast { options.multicast_ttl } else { options.ttl };
    header.tos = options.tos;
    // RFC 1191 §3: what fits is sent unfragmentable, so that routers tell us of smaller links.
    header.dont_fragment = fits && options.mtu_discovery != MtuDiscovery::Never;
    if !header.dont_fragment {
        // RFC 6864 §4.3: only what can be fragmented needs an identification.
        header.ident = wide.identifiers.next(src, dst, protocol);
    }
    if matches!(packet.checksum, Checksum::Unverified) {
        packet.checksum = Checksum::Trusted;
    }
    header.prepend_to(&mut packet);
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
