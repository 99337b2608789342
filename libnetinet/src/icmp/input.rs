//! ICMP received: echoes answered, errors taken to the sockets that they are about.

use std::net::IpAddr;

use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::message::{HEADER_BYTES, IcmpHeader, IcmpType, Unreachable};
use crate::address::Cast;
use crate::config::PathMtuDiscovery;
use crate::counters::bump;
use crate::error::{Severity, SocketError};
use crate::icmp::error::IcmpError;
use crate::ip::input::{Cause, IpMeta};
use crate::ipv4::header::Ipv4Header;
use crate::shard::Shard;
use crate::tcp::IcmpErrorKind;

impl Shard {
    /// Takes an ICMP message in its IP packet.
    pub(crate) fn icmp_input(&mut self, cause: &Cause<'_>, meta: IpMeta, mut packet: Packet) {
        // RFC 792: the checksum covers the whole message.
        if packet.checksum == Checksum::Unverified
            && packet.sum_from(meta.header_bytes).finish() != 0
        {
            return self.drop_packet(DropReason::IcmpChecksum);
        }
        let header = packet
            .pull(meta.header_bytes + HEADER_BYTES)
            .and_then(|bytes| IcmpHeader::parse(&bytes[meta.header_bytes..]));
        let Some(header) = header else { return self.drop_packet(DropReason::IcmpMalformed) };
        bump(&self.wide.counters.icmp_in);
        match header.ty {
            IcmpType::ECHO => self.echo(cause.now, &meta, header, packet),
            IcmpType::ECHO_REPLY => self.ping_input(&meta, header.ident(), packet),
            IcmpType::UNREACHABLE | IcmpType::TIME_EXCEEDED | IcmpType::PARAMETER_PROBLEM => {
                self.icmp_error(cause, &meta, header, packet);
            }
            IcmpType::REDIRECT => self.icmp_redirected(cause, &meta, header, packet),
            // RFC 6633 §3: a host MUST ignore source quench.
            IcmpType::SOURCE_QUENCH => self.drop_packet(DropReason::IcmpIgnored),
            // RFC 1122 §3.2.2: unknown types MUST be silently discarded.
            _ => self.drop_packet(DropReason::IcmpIgnored),
        }
    }

    /// RFC 1122 §3.2.2.6: a host MUST answer echo requests, with all of their data.
    fn echo(&mut self, now: Instant, meta: &IpMeta, header: IcmpHeader, mut packet: Packet) {
        // RFC 1122 §3.2.2.6: requests to many MAY be discarded; answering them helps floods.
        let to_one = meta.cast == Cast::Unicast;
        let answers = self.config.icmp.echo && (to_one || self.config.icmp.echo_to_many);
        if !answers || meta.src.is_unspecified() {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        // If those to many are answered, then as seldom as errors.
        let allowed = match to_one {
            true => self.may_say(now, IcmpType::ECHO_REPLY, meta.src),
            false => self.wide.allow_error(now, meta.src),
        };
        if !allowed {
            return self.drop_packet(DropReason::IcmpRateLimited);
        }
        packet.advance(meta.header_bytes + HEADER_BYTES);
        let mut reply = Packet::new();
        for piece in packet.into_payload() {
            reply.push_payload(piece);
        }
        let reply_header = IcmpHeader { ty: IcmpType::ECHO_REPLY, code: 0, rest: header.rest };
        reply.prepend(HEADER_BYTES).copy_from_slice(&reply_header.to_bytes());
        bump(&self.wide.counters.icmp_echoes);
        // RFC 1122 §3.2.2.6: from the address that was asked, with the same type of service
        // (RFC 1349 §5.1).
        let src = to_one.then_some(meta.dst);
        self.icmp_output(now, src, meta.src, meta.tos, reply);
    }

    fn icmp_error(
        &mut self,
        cause: &Cause<'_>,
        meta: &IpMeta,
        header: IcmpHeader,
        mut packet: Packet,
    ) {
        packet.advance(meta.header_bytes + HEADER_BYTES);
        let Some((quoted, ports)) = read_quoted(&packet) else {
            return self.drop_packet(DropReason::IcmpMalformed);
        };
        // What we did not send is nothing to us; nor is an error to many.
        if meta.cast != Cast::Unicast || !cause.view.is_local(IpAddr::V4(quoted.src)) {
            return self.drop_packet(DropReason::IcmpUnmatched);
        }
        let ip = &self.config.ip;
        let (mut segment, mut too_big) = (segment_of(header), None);
        if is_too_big(header) {
            too_big = Some(match ip.path_mtu_discovery {
                PathMtuDiscovery::Off => ip.min_path_mtu,
                PathMtuDiscovery::On => header.next_hop_mtu().into(),
                PathMtuDiscovery::Checked if quoted.protocol == Protocol::TCP => {
                    header.next_hop_mtu().into()
                }
                _ => return self.drop_packet(DropReason::IcmpIgnored),
            });
            segment = segment.zip(too_big).map(|(_, mtu)| IcmpErrorKind::TooBig { mtu });
        }
        let error = IcmpError {
            meaning: meaning_of(header),
            segment,
            too_big,
            iface: cause.on.iface.index,
            src: IpAddr::V4(quoted.src),
            dst: IpAddr::V4(quoted.dst),
            protocol: quoted.protocol,
            packet_bytes: u32::from(quoted.total_bytes),
        };
        bump(&self.wide.counters.icmp_errors_in);
        self.take_error(cause.now, &error, ports, &packet);
    }
}

/// The header of the packet that an error is about, and the first eight bytes of its data.
pub(super) fn read_quoted(quoted: &Packet) -> Option<(Ipv4Header, [u8; 8])> {
    let mut front = [0; 60 + 8];
    let n = quoted.copy_to(0, &mut front);
    let header = Ipv4Header::read(&front[..n])?;
    let rest = front[..n].get(usize::from(header.header_bytes)..).unwrap_or_default();
    // RFC 792: the header and eight bytes, of a packet that has as many.
    let needed = if has_ports(header.protocol) { 8 } else { 0 };
    if header.offset_bytes != 0 || rest.len() < needed {
        return None;
    }
    let mut ports = [0; 8];
    let known = rest.len().min(8);
    ports[..known].copy_from_slice(&rest[..known]);
    Some((header, ports))
}

/// Does the first of a packet's data tell whose it is?
const fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP)
}

/// RFC 1122 §3.2.2.1, §3.2.2.4, §3.2.2.5: what must be reported to the transport.
fn meaning_of(header: IcmpHeader) -> Option<(SocketError, Severity)> {
    match header.ty {
        IcmpType::UNREACHABLE => Some(SocketError::of_unreachable(Unreachable(header.code))),
        IcmpType::TIME_EXCEEDED => Some((SocketError::HostUnreachable, Severity::Soft)),
        IcmpType::PARAMETER_PROBLEM => Some((SocketError::Protocol, Severity::Hard)),
        _ => None,
    }
}

fn is_too_big(header: IcmpHeader) -> bool {
    header.ty == IcmpType::UNREACHABLE
        && Unreachable(header.code) == Unreachable::FRAGMENTATION_NEEDED
}

/// What an error means to a connection; `None`: nothing. Source: RFC 1122 §4.2.3.9.
fn segment_of(header: IcmpHeader) -> Option<IcmpErrorKind> {
    Some(match (header.ty, Unreachable(header.code)) {
        (IcmpType::UNREACHABLE, Unreachable::PORT) => IcmpErrorKind::PortUnreachable,
        (IcmpType::UNREACHABLE, Unreachable::PROTOCOL) => IcmpErrorKind::ProtocolUnreachable,
        (IcmpType::UNREACHABLE, Unreachable::FRAGMENTATION_NEEDED) => {
            IcmpErrorKind::TooBig { mtu: u32::from(header.next_hop_mtu()) }
        }
        (IcmpType::UNREACHABLE, Unreachable::NET | Unreachable::NET_UNKNOWN) => {
            IcmpErrorKind::NetUnreachable
        }
        (IcmpType::UNREACHABLE, Unreachable::NET_PROHIBITED | Unreachable::NET_TOS) => {
            IcmpErrorKind::NetUnreachable
        }
        (IcmpType::UNREACHABLE, _) => IcmpErrorKind::HostUnreachable,
        (IcmpType::TIME_EXCEEDED | IcmpType::PARAMETER_PROBLEM, _) => IcmpErrorKind::Transient,
        _ => return None,
    })
}
