//! ICMPv6 received: echoes answered, errors taken to the sockets that they are about, the rest
//! given to neighbour and listener discovery.

use std::net::IpAddr;

use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::checksum;
use super::message::{HEADER_BYTES, Icmp6Header, Icmp6Type, ParameterProblem, Unreachable6};
use super::output::{Envelope, Quoted};
use crate::address::Cast;
use crate::counters::bump;
use crate::error::{Severity, SocketError};
use crate::icmp::error::IcmpError;
use crate::ip::input::{Cause, IpMeta};
use crate::ipv6::header::{HEADER_BYTES as IP_BYTES, MIN_MTU};
use crate::shard::Shard;
use crate::tcp::IcmpErrorKind;

impl Shard {
    /// Takes an ICMPv6 message in its IP packet.
    pub(crate) fn icmp6_input(&mut self, cause: &Cause<'_>, meta: IpMeta, mut packet: Packet) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.src, meta.dst) else { return };
        if packet.checksum == Checksum::Unverified
            && checksum(src, dst, &packet, meta.header_bytes) != 0
        {
            return self.drop_packet(DropReason::IcmpChecksum);
        }
        let header = packet
            .pull(meta.header_bytes + HEADER_BYTES)
            .and_then(|bytes| Icmp6Header::parse(&bytes[meta.header_bytes..]));
        let Some(header) = header else { return self.drop_packet(DropReason::IcmpMalformed) };
        bump(&self.wide.counters.icmp6_in);
        match header.ty {
            Icmp6Type::ECHO => self.echo6(cause.now, &meta, header, packet),
            Icmp6Type::ECHO_REPLY => self.ping_input(&meta, header.ident(), packet),
            ty if ty.is_error() => self.icmp6_error(cause, &meta, header, packet),
            ty if ty.is_discovery() => self.nd_input(cause, &meta, packet),
            ty if ty.is_listener_discovery() => self.mld_input(cause, &meta, packet),
            // RFC 4443 §2.4(b): informational messages of unknown type are silently discarded.
            _ => self.drop_packet(DropReason::IcmpIgnored),
        }
    }

    /// RFC 4443 §4.2: every node answers echo requests, with all of their data; those to a group
    /// from an address of its own.
    fn echo6(&mut self, now: Instant, meta: &IpMeta, header: Icmp6Header, mut packet: Packet) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.src, meta.dst) else { return };
        let to_one = meta.cast == Cast::Unicast;
        let answers = self.config.icmp.echo6 && (to_one || self.config.icmp.echo6_to_many);
        if !answers || src.is_unspecified() {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        // Answering what was sent to many helps floods: as seldom as errors.
        if !to_one && !self.wide.allow_error(now, meta.src) {
            return self.drop_packet(DropReason::IcmpRateLimited);
        }
        packet.advance(meta.header_bytes + HEADER_BYTES);
        let mut reply = Packet::new();
        for piece in packet.into_payload() {
            reply.push_payload(piece);
        }
        let reply_header = Icmp6Header { ty: Icmp6Type::ECHO_REPLY, code: 0, rest: header.rest };
        reply.prepend(HEADER_BYTES).copy_from_slice(&reply_header.to_bytes());
        bump(&self.wide.counters.icmp6_echoes);
        let envelope = Envelope {
            src: to_one.then_some(dst),
            dst: src,
            iface: src.is_unicast_link_local().then_some(meta.iface),
            traffic_class: meta.tos,
        };
        self.icmp6_output(now, envelope, reply);
    }

    fn icmp6_error(
        &mut self,
        cause: &Cause<'_>,
        meta: &IpMeta,
        header: Icmp6Header,
        mut packet: Packet,
    ) {
        packet.advance(meta.header_bytes + HEADER_BYTES);
        let Some(quoted) = Quoted::of(&packet) else {
            return self.drop_packet(DropReason::IcmpMalformed);
        };
        let needed = match quoted.protocol {
            Protocol::TCP | Protocol::UDP | Protocol::ICMPV6 => 8,
            _ => 0,
        };
        if quoted.is_later_fragment || quoted.front.len() < needed {
            return self.drop_packet(DropReason::IcmpMalformed);
        }
        let mut ports = [0; 8];
        let known = quoted.front.len().min(8);
        ports[..known].copy_from_slice(&quoted.front[..known]);
        // What we did not send is nothing to us; nor is an error to many.
        let is_ours = cause.view.is_local_on(cause.on, IpAddr::V6(quoted.header.src));
        if meta.cast != Cast::Unicast || !is_ours {
            return self.drop_packet(DropReason::IcmpUnmatched);
        }
        // RFC 8201 §4: one that reports less than every link carries must be discarded.
        let too_big = header.ty == Icmp6Type::PACKET_TOO_BIG;
        if too_big && header.number() < MIN_MTU {
            return self.drop_packet(DropReason::IcmpIgnored);
        }
        let error = IcmpError {
            meaning: meaning_of(header),
            segment: segment_of(header),
            too_big: too_big.then(|| header.number()),
            iface: cause.on.iface.index,
            src: IpAddr::V6(quoted.header.src),
            dst: IpAddr::V6(quoted.header.dst),
            protocol: quoted.protocol,
            packet_bytes: IP_BYTES as u32 + u32::from(quoted.header.payload_bytes),
        };
        bump(&self.wide.counters.icmp6_errors_in);
        self.take_error(cause.now, &error, ports, &packet);
    }
}

/// What an error means to a socket, and how hard, with the errors that Linux gives; `None`:
/// nothing. Source: RFC 4443 §3.
fn meaning_of(header: Icmp6Header) -> Option<(SocketError, Severity)> {
    use Severity::{Hard, Soft};
    Some(match (header.ty, Unreachable6(header.code)) {
        (Icmp6Type::UNREACHABLE, Unreachable6::NO_ROUTE) => (SocketError::NetUnreachable, Soft),
        (
            Icmp6Type::UNREACHABLE,
            Unreachable6::PROHIBITED | Unreachable6::POLICY | Unreachable6::REJECTED,
        ) => (SocketError::Access, Hard),
        (Icmp6Type::UNREACHABLE, Unreachable6::PORT) => (SocketError::Refused, Hard),
        (Icmp6Type::UNREACHABLE, _) => (SocketError::HostUnreachable, Soft),
        (Icmp6Type::PACKET_TOO_BIG, _) => (SocketError::MessageTooLong, Hard),
        (Icmp6Type::TIME_EXCEEDED, _) => (SocketError::HostUnreachable, Soft),
        (Icmp6Type::PARAMETER_PROBLEM, _) => (SocketError::Protocol, Hard),
        // RFC 4443 §2.4(a): an error of unknown type must be passed on.
        _ => (SocketError::Protocol, Soft),
    })
}

/// What an error means to a connection; `None`: nothing.
fn segment_of(header: Icmp6Header) -> Option<IcmpErrorKind> {
    Some(match (header.ty, Unreachable6(header.code)) {
        (Icmp6Type::UNREACHABLE, Unreachable6::NO_ROUTE) => IcmpErrorKind::NetUnreachable,
        (Icmp6Type::UNREACHABLE, Unreachable6::PORT) => IcmpErrorKind::PortUnreachable,
        (Icmp6Type::UNREACHABLE, _) => IcmpErrorKind::HostUnreachable,
        (Icmp6Type::PACKET_TOO_BIG, _) => IcmpErrorKind::TooBig { mtu: header.number() },
        (Icmp6Type::PARAMETER_PROBLEM, _) if header.code == ParameterProblem::NEXT_HEADER => {
            IcmpErrorKind::ProtocolUnreachable
        }
        (Icmp6Type::PARAMETER_PROBLEM | Icmp6Type::TIME_EXCEEDED, _) => IcmpErrorKind::Transient,
        _ => return None,
    })
}
