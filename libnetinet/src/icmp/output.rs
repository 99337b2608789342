//! ICMP errors that we send, and when we keep quiet.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use libnet::packet::{Checksum, Packet};
use libnet::socket::{Family, Protocol};
use libnet::stats::DropReason;
use libnet::time::Instant;

use super::message::{IcmpHeader, IcmpType, Unreachable};
use crate::address::Cast;
use crate::counters::bump;
use crate::ip::input::IpMeta;
use crate::ipv4::header::{HEADER_BYTES, Ipv4Header, MAX_HEADER_BYTES};
use crate::output::Account;
use crate::path::{Path, Wanted};
use crate::shard::{LinkCast, Shard};

/// What is wrong with a packet, as an ICMP error says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Complaint {
    /// It cannot be delivered.
    Unreachable(Unreachable),
    /// Too big for the next hop, which takes `mtu` bytes, and not to be cut (RFC 1191 §4).
    TooBig { mtu: u16 },
    /// Its time to live is used up (time exceeded, code 0).
    TimeToLive,
    /// A better first hop is on the sender's own network (redirect for a host, code 1).
    Redirect { to: Ipv4Addr },
    /// Its fragments did not come in time (time exceeded, code 1).
    ReassemblyTimeout,
    /// An octet of its header makes no sense.
    ParameterProblem { at: u8 },
}

impl Complaint {
    fn header(self) -> IcmpHeader {
        match self {
            Complaint::Unreachable(code) => {
                IcmpHeader { ty: IcmpType::UNREACHABLE, code: code.0, rest: [0; 4] }
            }
            Complaint::TooBig { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                let code = Unreachable::FRAGMENTATION_NEEDED.0;
                IcmpHeader { ty: IcmpType::UNREACHABLE, code, rest: [0, 0, high, low] }
            }
            Complaint::TimeToLive => {
                IcmpHeader { ty: IcmpType::TIME_EXCEEDED, code: 0, rest: [0; 4] }
            }
            Complaint::Redirect { to } => {
                IcmpHeader { ty: IcmpType::REDIRECT, code: 1, rest: to.octets() }
            }
            Complaint::ReassemblyTimeout => {
                IcmpHeader { ty: IcmpType::TIME_EXCEEDED, code: 1, rest: [0; 4] }
            }
            Complaint::ParameterProblem { at } => {
                IcmpHeader { ty: IcmpType::PARAMETER_PROBLEM, code: 0, rest: [at, 0, 0, 0] }
            }
        }
    }
}

/// RFC 1812 §4.3.2.3: as much of the packet as fits into 576 bytes.
const MAX_ERROR_BYTES: usize = 576;

impl Shard {
    /// Tells the sender of a received packet what is wrong with it, if that may be told.
    pub(crate) fn complain(
        &mut self,
        now: Instant,
        meta: &IpMeta,
        packet: &Packet,
        complaint: Complaint,
    ) {
        if !may_complain(meta, packet) {
            return;
        }
        self.send_error(now, meta.dst, meta.src, packet, complaint);
    }

    /// Tells whoever sent a packet that a neighbour did not answer. To our own socket that is an
    /// ICMP error to ourselves, so that it takes the way of any other (RFC 1122 §2.4: the link
    /// layer must pass it on); of a packet that was passed on it is one to its source.
    pub(crate) fn report_host_unreachable(&mut self, now: Instant, mut packet: Packet) {
        let Some(header) = packet.pull(HEADER_BYTES).and_then(Ipv4Header::read) else { return };
        let header_bytes = usize::from(header.header_bytes);
        let src = IpAddr::V4(header.src);
        if header.offset_bytes != 0
            || !is_one_host(src)
            || quotes_error(header.protocol, &packet, header_bytes)
        {
            return;
        }
        let complaint = Complaint::Unreachable(Unreachable::HOST);
        self.send_error(now, src, src, &packet, complaint);
    }

    /// Tells a neighbour, from `src`, that another one is the better first hop for its packet.
    pub(crate) fn redirect(
        &mut self,
        now: Instant,
        src: Ipv4Addr,
        meta: &IpMeta,
        packet: &Packet,
        to: Ipv4Addr,
    ) {
        if !may_complain(meta, packet) {
            return;
        }
        if !self.wide.allow_redirect(now, meta.src) {
            return self.drop_packet(DropReason::IcmpRateLimited);
        }
        bump(&self.wide.counters.redirects_out);
        self.error_output(now, Some(src.into()), meta.src, packet, Complaint::Redirect { to });
    }

    /// Sends an ICMP message, header and body, from `src` if that is an address of ours.
    pub(crate) fn icmp_output(
        &mut self,
        now: Instant,
        src: Option<IpAddr>,
        dst: IpAddr,
        tos: u8,
        message: Packet,
    ) {
        // Also where time, not a packet, has us say something.
        self.looked_at.set(Family::Inet);
        let mut message = message;
        let sum = message.sum_from(0).finish();
        message.write_at(2, &sum.to_be_bytes());
        message.checksum = Checksum::Trusted;
        let wanted = Wanted { dst, src, iface: None };
        let Ok(mut path) = Path::find(&self.wide, now, wanted) else {
            return self.drop_packet(DropReason::NoRoute);
        };
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (path.src, dst) else { return };
        let mut header = Ipv4Header::new(src, dst, Protocol::ICMP);
        header.ttl = self.config.ip.ttl;
        header.tos = tos;
        header.ident = self.wide.identifiers.next(src, dst, Protocol::ICMP);
        header.prepend_to(&mut message);
        bump(&self.wide.counters.icmp_out);
        self.send_ip(now, &mut path, message, Account::Reply);
    }

    fn send_error(
        &mut self,
        now: Instant,
        src: IpAddr,
        dst: IpAddr,
        about: &Packet,
        complaint: Complaint,
    ) {
        self.looked_at.set(Family::Inet);
        // As on Linux, path MTU discovery is not held up: one that is not told of it goes on at once.
        let is_limited = !matches!(complaint, Complaint::TooBig { .. });
        if is_limited && !self.may_say(now, complaint.header().ty, dst) {
            return self.drop_packet(DropReason::IcmpRateLimited);
        }
        // RFC 1122 §3.2.2: from the address that the packet was sent to. Of one that was not for
        // us, RFC 1812 §4.3.2.4: from one of the interface that the error leaves by.
        let src = self.view().is_local(src).then_some(src);
        self.error_output(now, src, dst, about, complaint);
    }

    /// May a message of this type be sent to `dst` now?
    pub(crate) fn may_say(&mut self, now: Instant, ty: IcmpType, dst: IpAddr) -> bool {
        let bounded = self.config.icmp.limited_types >> ty.0.min(31) & 1 == 1;
        // What is said to ourselves costs nobody anything.
        !bounded || self.view().is_local(dst) || self.wide.allow_error(now, dst)
    }

    fn error_output(
        &mut self,
        now: Instant,
        src: Option<IpAddr>,
        dst: IpAddr,
        about: &Packet,
        complaint: Complaint,
    ) {
        let mut message = Packet::from_payload(quote(about));
        message.prepend(8).copy_from_slice(&complaint.header().to_bytes());
        bump(&self.wide.counters.icmp_errors_out);
        // RFC 1812 §4.3.2.5: errors travel with precedence 6.
        self.icmp_output(now, src, dst, INTERNETWORK_CONTROL, message);
    }
}

const INTERNETWORK_CONTROL: u8 = 0xc0;

/// The packet that an error is about: its header and at least eight bytes (RFC 1122 §3.2.2), its
/// transport checksum completed if all of it is there.
fn quote(about: &Packet) -> Bytes {
    let room = MAX_ERROR_BYTES - HEADER_BYTES - 8;
    let mut quoted = about.clone();
    // What is quoted must look as it would have on the wire.
    let _ = quoted.complete_checksum();
    quoted.truncate(room);
    quoted.to_bytes()
}

/// RFC 1122 §3.2.2: never about an ICMP error, a packet to many (by IP or by link), a fragment
/// other than the first, or from an address that is not one host's.
fn may_complain(meta: &IpMeta, packet: &Packet) -> bool {
    let mut fragment = [0; 2];
    packet.copy_to(6, &mut fragment);
    let is_first = u16::from_be_bytes(fragment) & 0x1fff == 0;
    is_first
        && meta.cast == Cast::Unicast
        && meta.link_cast == LinkCast::Unicast
        && is_one_host(meta.src)
        && !quotes_error(meta.protocol, packet, meta.header_bytes)
}

fn is_one_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            addr != Ipv4Addr::UNSPECIFIED && !addr.is_broadcast() && !addr.is_multicast()
        }
        IpAddr::V6(addr) => !addr.is_unspecified() && !addr.is_multicast(),
    }
}

/// Is it an ICMP message that is not known to be a query?
fn quotes_error(protocol: Protocol, packet: &Packet, header_bytes: usize) -> bool {
    debug_assert!(header_bytes <= MAX_HEADER_BYTES);
    let mut ty = [0];
    protocol == Protocol::ICMP
        && (packet.copy_to(header_bytes, &mut ty) == 0 || !IcmpType(ty[0]).is_query())
}
