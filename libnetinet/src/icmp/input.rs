//! ICMP received: echoes answered, errors taken to the sockets that they are about.

use std::net::{IpAddr, SocketAddr};

use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::message::{HEADER_BYTES, IcmpHeader, IcmpType, Unreachable};
use crate::address::Cast;
use crate::counters::bump;
use crate::error::{Severity, SocketError};
use crate::ipv4::header::Ipv4Header;
use crate::ipv4::input::{Cause, IpMeta};
use crate::shard::Shard;

/// An ICMP error about something that we sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IcmpError {
    pub(crate) ty: IcmpType,
    pub(crate) code: u8,
    /// What it means to a socket, and how hard; `None`: nothing.
    pub(crate) meaning: Option<(SocketError, Severity)>,
    /// The next hop's MTU, for fragmentation needed.
    pub(crate) next_hop_mtu: u16,
    /// What we sent: our end and the other.
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: Protocol,
    /// Length of the packet that we sent, by its header.
    pub(crate) packet_bytes: u16,
}

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
            IcmpType::ECHO_REPLY => self.ping_input(&meta, header, packet),
            IcmpType::UNREACHABLE | IcmpType::TIME_EXCEEDED | IcmpType::PARAMETER_PROBLEM => {
                self.icmp_error(cause, &meta, header, packet);
            }
            // RFC 6633 §3: a host MUST ignore source quench.
            // DEVIATES RFC 1122 §3.2.2.2: redirects are ignored too: anybody on the link can forge
            // one, and a stack's routes are what its owner configured.
            IcmpType::SOURCE_QUENCH | IcmpType::REDIRECT => {
                self.drop_packet(DropReason::IcmpIgnored);
            }
            // RFC 1122 §3.2.2: unknown types MUST be silently discarded.
            _ => self.drop_packet(DropReason::IcmpIgnored),
        }
    }

    /// RFC 1122 §3.2.2.6: a host MUST answer echo requests, with all of their data.
    fn echo(&mut self, now: Instant, meta: &IpMeta, header: IcmpHeader, mut packet: Packet) {
        // RFC 1122 §3.2.2.6: requests to many MAY be discarded; answering them helps floods.
        if !self.wide.config.icmp.echo || meta.cast != Cast::Unicast {
            return self.drop_packet(DropReason::IcmpIgnored);
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
        self.icmp_output(now, Some(meta.dst), meta.src, meta.tos, reply);
    }

    fn icmp_error(
        &mut self,
        cause: &Cause<'_>,
        meta: &IpMeta,
        header: IcmpHeader,
        mut packet: Packet,
    ) {
        packet.advance(meta.header_bytes + HEADER_BYTES);
        let mut front = [0; 60 + 8];
        let n = packet.copy_to(0, &mut front);
        let quoted = Ipv4Header::read(&front[..n]);
        let Some(quoted) = quoted else { return self.drop_packet(DropReason::IcmpMalformed) };
        let rest = front[..n].get(usize::from(quoted.header_bytes)..).unwrap_or_default();
        // RFC 792: the header and eight bytes, of a packet that has as many.
        let needed = if has_ports(quoted.protocol) { 8 } else { 0 };
        if quoted.offset_bytes != 0 || rest.len() < needed {
            return self.drop_packet(DropReason::IcmpMalformed);
        }
        let mut ports = [0; 8];
        let known = rest.len().min(8);
        ports[..known].copy_from_slice(&rest[..known]);
        // What we did not send is nothing to us; nor is an error to many.
        if meta.cast != Cast::Unicast || !cause.view.is_local(IpAddr::V4(quoted.src)) {
            return self.drop_packet(DropReason::IcmpUnmatched);
        }
        let error = IcmpError {
            ty: header.ty,
            code: header.code,
            meaning: meaning_of(header),
            next_hop_mtu: header.next_hop_mtu(),
            src: IpAddr::V4(quoted.src),
            dst: IpAddr::V4(quoted.dst),
            protocol: quoted.protocol,
            packet_bytes: quoted.total_bytes,
        };
        bump(&self.wide.counters.icmp_errors_in);
        self.take_error(cause.now, &error, ports, &packet);
    }

    /// Brings an error to whoever sent what it is about.
    fn take_error(&mut self, now: Instant, error: &IcmpError, ports: [u8; 8], quoted: &Packet) {
        let source_port = u16::from_be_bytes([ports[0], ports[1]]);
        let target_port = u16::from_be_bytes([ports[2], ports[3]]);
        let local = SocketAddr::new(error.src, source_port);
        let remote = SocketAddr::new(error.dst, target_port);
        let raw = self.wide.raw.error(&mut self.wakes, error, quoted);
        let matched = match error.protocol {
            Protocol::TCP => self.tcp_error(now, error, ports),
            Protocol::UDP => self.wide.udp.error(&mut self.wakes, local, remote, error, quoted),
            Protocol::ICMP if IcmpType(ports[0]) == IcmpType::ECHO => {
                let ident = u16::from_be_bytes([ports[4], ports[5]]);
                let local = SocketAddr::new(error.src, ident);
                let remote = SocketAddr::new(error.dst, 0);
                self.wide.ping.error(&mut self.wakes, local, remote, error, quoted)
            }
            _ => false,
        };
        if !raw && !matched {
            return self.drop_packet(DropReason::IcmpUnmatched);
        }
        // A raw socket hears everything; only who sent the packet makes a claim about its path
        // credible (RFC 5927 §4.1).
        if matched {
            self.learn_path_mtu(now, error);
        }
    }

    /// RFC 1191 §3: a router says that our packet was too long for its next hop.
    fn learn_path_mtu(&mut self, now: Instant, error: &IcmpError) {
        if error.ty != IcmpType::UNREACHABLE
            || Unreachable(error.code) != Unreachable::FRAGMENTATION_NEEDED
        {
            return;
        }
        let (reported, sent) = (u32::from(error.next_hop_mtu), u32::from(error.packet_bytes));
        if self.wide.path_mtus.lower(now, error.dst, reported, sent).is_some() {
            bump(&self.wide.counters.path_mtu_lowered);
            self.wide.touch();
        }
    }
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
