//! IPv4 received: checked, put together, and given to its protocol.

use std::net::{IpAddr, Ipv4Addr};

use libnet::ethernet::EtherType;
use libnet::packet::Packet;
use libnet::socket::{Family, Protocol};
use libnet::stats::DropReason;

use super::header::{HEADER_BYTES, Ipv4Header};
use super::options::{self, Verdict};
use crate::address::Cast;
use crate::counters::bump;
use crate::family::Zone;
use crate::icmp::output::Complaint;
use crate::ip::input::{Cause, IpMeta, check_offload};
use crate::ip::reassembly::{DatagramKey, Fragment};
use crate::shard::{LinkCast, Shard};

impl Shard {
    /// Takes a packet that begins with an IPv4 header.
    pub(crate) fn ipv4_input(
        &mut self,
        cause: &Cause<'_>,
        mut packet: Packet,
        link_cast: LinkCast,
    ) {
        let header = match Ipv4Header::parse(&mut packet) {
            Ok(header) => header,
            Err(reason) => return self.drop_packet(reason),
        };
        let cast = match admit(cause, &header, link_cast) {
            Ok(cast) => cast,
            // RFC 1812 §5.2.3: what is not for us goes to the forwarder; groups have none.
            Err(DropReason::IpNotOurs)
                if cause.on.is_router(Family::Inet) && !header.dst.is_multicast() =>
            {
                return self.forward_v4(cause, &header, packet, link_cast);
            }
            Err(reason) => return self.drop_packet(reason),
        };
        if !self.reverse_path_passes(cause, header.src.into()) {
            return self.drop_packet(DropReason::ReversePath);
        }
        let meta = meta_of(cause, &header, cast, link_cast);
        if cast == Cast::Multicast && !self.is_wanted(&meta) {
            return self.drop_packet(DropReason::GroupNotJoined);
        }
        if header.header_bytes as usize > HEADER_BYTES
            && !self.options_pass(cause, &mut packet, &meta)
        {
            return;
        }
        if let Err(reason) = check_offload(&meta, header.is_fragment(), &packet) {
            return self.drop_packet(reason);
        }
        bump(&self.wide.counters.ip_in);
        if header.is_fragment() {
            return self.fragment_input(cause, &header, &packet, meta);
        }
        self.transport_input(cause, meta, packet);
    }

    /// Takes a packet of our own that was sent to a group, as one of its members.
    pub(crate) fn ipv4_looped_back(&mut self, cause: &Cause<'_>, mut packet: Packet) {
        let Ok(header) = Ipv4Header::parse(&mut packet) else { return };
        let meta = meta_of(cause, &header, Cast::Multicast, LinkCast::Group);
        if self.is_wanted(&meta) {
            self.transport_input(cause, meta, packet);
        }
    }

    /// Looks at the options; whether the packet may go on.
    pub(crate) fn options_pass(
        &mut self,
        cause: &Cause<'_>,
        packet: &mut Packet,
        meta: &IpMeta,
    ) -> bool {
        let verdict = match packet.pull(meta.header_bytes) {
            Some(header) => options::inspect(&header[HEADER_BYTES..]),
            None => Verdict::Malformed { at: HEADER_BYTES as u8 },
        };
        match verdict {
            Verdict::Skip => true,
            Verdict::SourceRoute => {
                // DEVIATES RFC 1122 §3.2.1.8(c), RFC 1812 §5.3.13.4: dropped instead of received or
                // passed on, as Linux does by default: a source route serves nobody but whoever
                // forges addresses.
                self.drop_packet(DropReason::IpSourceRoute);
                false
            }
            Verdict::Malformed { at } => {
                self.drop_packet(DropReason::IpBadOptions);
                let complaint = Complaint::ParameterProblem { at };
                self.complain(cause.now, meta, packet, complaint);
                false
            }
        }
    }

    fn fragment_input(
        &mut self,
        cause: &Cause<'_>,
        header: &Ipv4Header,
        packet: &Packet,
        meta: IpMeta,
    ) {
        let all = packet.to_bytes();
        let fragment = Fragment {
            offset: usize::from(header.offset_bytes),
            data: all.slice(meta.header_bytes..),
            more: header.more_fragments,
            header: all.slice(..meta.header_bytes),
        };
        let key = DatagramKey {
            src: meta.src,
            dst: meta.dst,
            zone: Zone::NONE,
            protocol: meta.protocol.0,
            ident: u32::from(header.ident),
        };
        let whole = self.reassemble(cause.now, meta.iface, key, fragment);
        let Some((first_header, mut whole)) = whole else { return };
        whole.rx_at = packet.rx_at;
        prepend_whole_header(&first_header, &mut whole);
        if let Some(whole) = self.hand_over(cause, whole, EtherType::IPV4) {
            let meta = IpMeta { header_bytes: HEADER_BYTES, tos: first_header[1], ..meta };
            self.transport_input(cause, meta, whole);
        }
    }

    /// Tells the sender of a first fragment that the others did not come in time.
    pub(crate) fn ipv4_expired(&mut self, cause: &Cause<'_>, mut first: Packet) {
        let header = first.pull(HEADER_BYTES).and_then(Ipv4Header::read);
        let Some(header) = header else { return };
        let Some(cast) = cause.view.cast_of(cause.on, header.dst) else { return };
        let meta = meta_of(cause, &header, cast, LinkCast::Unicast);
        self.complain(cause.now, &meta, &first, Complaint::ReassemblyTimeout);
    }
}

/// What is known of a packet by its header and its frame.
pub(crate) fn meta_of(
    cause: &Cause<'_>,
    header: &Ipv4Header,
    cast: Cast,
    link_cast: LinkCast,
) -> IpMeta {
    IpMeta {
        src: IpAddr::V4(header.src),
        dst: IpAddr::V4(header.dst),
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        header_bytes: usize::from(header.header_bytes),
        cast,
        link_cast,
        iface: cause.on.iface.index,
        was_fragmented: false,
    }
}

/// Is it from somebody who may send, and to us?
fn admit(cause: &Cause<'_>, header: &Ipv4Header, link_cast: LinkCast) -> Result<Cast, DropReason> {
    let cast = cause.view.cast_of(cause.on, header.dst).ok_or(DropReason::IpNotOurs)?;
    // RFC 1122 §3.3.6: a packet to one host has no business in a frame to all.
    if link_cast == LinkCast::Group && cast == Cast::Unicast {
        return Err(DropReason::IpLinkBroadcast);
    }
    if !may_send(cause, header.src, cast) && !is_igmp_of_nobody(header, cast) {
        return Err(DropReason::IpBadSource);
    }
    Ok(cast)
}

/// RFC 3376 §4.2.13, RFC 4541 §2.1.1: switches that ask about groups, and hosts that answer, may have
/// no address.
fn is_igmp_of_nobody(header: &Ipv4Header, cast: Cast) -> bool {
    header.src.is_unspecified() && cast == Cast::Multicast && header.protocol == Protocol::IGMP
}

/// RFC 1122 §3.2.1.3: source addresses that no other host may use.
pub(crate) fn may_send(cause: &Cause<'_>, src: Ipv4Addr, cast: Cast) -> bool {
    if src.is_unspecified() {
        // (a): only from who does not know its address yet, to all.
        return cast == Cast::Broadcast;
    }
    if cause.on.loopback {
        return !src.is_multicast() && !cause.view.is_broadcast(IpAddr::V4(src));
    }
    let reserved = src.octets()[0] == 0 || src.octets()[0] >= 240;
    !reserved
        && !src.is_multicast()
        && !src.is_loopback()
        && !cause.view.is_broadcast(IpAddr::V4(src))
        // Our own address from outside is forged, or somebody else's by mistake.
        && !cause.view.is_local(IpAddr::V4(src))
}

/// Puts a header in front of a datagram that was put together: no longer a fragment, and without
/// the options, which were looked at on the fragment that brought them.
fn prepend_whole_header(first: &[u8], whole: &mut Packet) {
    let Some(mut header) = Ipv4Header::read(first) else { return };
    header.more_fragments = false;
    header.offset_bytes = 0;
    header.prepend_to(whole);
}
