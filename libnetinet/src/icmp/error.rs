//! ICMP errors of either version: what they mean, to whom they are brought, and the complaints
//! that transports have of what they received.

use std::net::{IpAddr, SocketAddr};

use libnet::iface::IfIndex;
use libnet::packet::Packet;
use libnet::socket::Protocol;
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::message::{IcmpType, Unreachable};
use super::output::Complaint;
use crate::counters::bump;
use crate::error::{Severity, SocketError};
use crate::icmp6::message::{Complaint as Complaint6, Icmp6Type, ParameterProblem, Unreachable6};
use crate::icmp6::output::Quoted;
use crate::ip::input::IpMeta;
use crate::shard::Shard;
use crate::tcp::IcmpErrorKind;

/// An ICMP error about something that we sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IcmpError {
    /// What it means to a socket, and how hard; `None`: nothing.
    pub(crate) meaning: Option<(SocketError, Severity)>,
    /// What it means to a connection; `None`: nothing.
    pub(crate) segment: Option<IcmpErrorKind>,
    /// The packet was too long for a link of this MTU; 0: of one that is not told.
    pub(crate) too_big: Option<u32>,
    /// The interface that it came by, or that the packet was to leave by.
    pub(crate) iface: IfIndex,
    /// What we sent: our end and the other.
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: Protocol,
    /// Length of the packet that we sent, by its header.
    pub(crate) packet_bytes: u32,
}

impl Shard {
    /// Brings an error to whoever sent what it is about. `ports` is what the quoted packet's
    /// transport begins with.
    pub(crate) fn take_error(
        &mut self,
        now: Instant,
        error: &IcmpError,
        ports: [u8; 8],
        quoted: &Packet,
    ) {
        let raw = self.wide.raw.error(&mut self.wakes, error, quoted);
        let matched = self.is_credible(error, ports) && self.tell_sender(now, error, ports, quoted);
        if !raw && !matched {
            return self.drop_packet(DropReason::IcmpUnmatched);
        }
        // A raw socket hears everything; only who sent the packet makes a claim about its path
        // credible (RFC 5927 §4.1).
        if matched {
            self.learn_path_mtu(now, error);
        }
    }

    /// May a router have got what it says was too long for its next hop? One without a peer sends
    /// to many, but not to everybody, and its port alone is soon guessed (RFC 5927 §4.1).
    fn is_credible(&self, error: &IcmpError, ports: [u8; 8]) -> bool {
        let wide = &self.wide;
        if error.too_big.is_none() || error.protocol == Protocol::TCP {
            return true;
        }
        let [a, b, c, d, ..] = ports;
        let local = SocketAddr::new(error.src, u16::from_be_bytes([a, b]));
        let remote = SocketAddr::new(error.dst, u16::from_be_bytes([c, d]));
        wide.sent_to.knows(error.dst) || wide.udp.sends_to(local, remote, error.iface)
    }

    /// Brings an error to the socket or connection that sent what it is about; whether there is
    /// one, whose segment is under way (RFC 5927 §4.1).
    pub(super) fn tell_sender(
        &mut self,
        now: Instant,
        error: &IcmpError,
        ports: [u8; 8],
        quoted: &Packet,
    ) -> bool {
        let source_port = u16::from_be_bytes([ports[0], ports[1]]);
        let target_port = u16::from_be_bytes([ports[2], ports[3]]);
        let local = SocketAddr::new(error.src, source_port);
        let remote = SocketAddr::new(error.dst, target_port);
        match error.protocol {
            Protocol::TCP => self.tcp_error(now, error, ports),
            Protocol::UDP => self.wide.udp.error(&mut self.wakes, local, remote, error, quoted),
            protocol if is_echo(protocol, ports[0]) => {
                let ident = u16::from_be_bytes([ports[4], ports[5]]);
                let local = SocketAddr::new(error.src, ident);
                let remote = SocketAddr::new(error.dst, 0);
                self.wide.ping.error(&mut self.wakes, local, remote, error, quoted)
            }
            _ => false,
        }
    }

    /// RFC 1191 §3, RFC 8201 §4: a router says that our packet was too long for its next hop.
    fn learn_path_mtu(&mut self, now: Instant, error: &IcmpError) {
        let Some(reported) = error.too_big else { return };
        if self.wide.path_mtus.lower(now, error.dst, reported, error.packet_bytes).is_some() {
            bump(&self.wide.counters.path_mtu_lowered);
            self.wide.touch();
        }
    }

    /// Tells the sender of a packet that nobody has its port (RFC 1122 §4.1.3.1, RFC 4443 §3.1).
    pub(crate) fn complain_of_port(&mut self, now: Instant, meta: &IpMeta, packet: &Packet) {
        match meta.src {
            IpAddr::V4(_) => {
                self.complain(now, meta, packet, Complaint::Unreachable(Unreachable::PORT));
            }
            IpAddr::V6(_) => {
                self.complain6(now, meta, packet, Complaint6::Unreachable(Unreachable6::PORT));
            }
        }
    }

    /// Tells the sender of a packet that its protocol is not served (RFC 1122 §3.2.2.1, RFC 8200
    /// §4).
    pub(crate) fn complain_of_protocol(&mut self, now: Instant, meta: &IpMeta, packet: &Packet) {
        match meta.src {
            IpAddr::V4(_) => {
                self.complain(now, meta, packet, Complaint::Unreachable(Unreachable::PROTOCOL));
            }
            IpAddr::V6(_) => {
                let Some(quoted) = Quoted::of(packet) else { return };
                let problem = ParameterProblem::next_header(quoted.named_at);
                self.complain6(now, meta, packet, Complaint6::ParameterProblem(problem));
            }
        }
    }

    /// Tells our own socket that a neighbour did not answer.
    pub(crate) fn report_unreachable(&mut self, now: Instant, mut packet: Packet) {
        match packet.pull(1).map(|first| first[0] >> 4) {
            Some(4) => self.report_host_unreachable(now, packet),
            _ => self.report_address_unreachable(now, &packet),
        }
    }
}

fn is_echo(protocol: Protocol, ty: u8) -> bool {
    (protocol == Protocol::ICMP && IcmpType(ty) == IcmpType::ECHO)
        || (protocol == Protocol::ICMPV6 && Icmp6Type(ty) == Icmp6Type::ECHO)
}
