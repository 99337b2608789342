//! IPv6 received: checked, its extension headers walked, put together, and given to its protocol.

use std::net::{IpAddr, Ipv6Addr};

use libnet::ethernet::EtherType;
use libnet::packet::{HEAD_ROOM, Packet};
use libnet::socket::{Family, Protocol};
use libnet::stats::DropReason;

use super::extension::{self, Chain, FRAGMENT, NO_NEXT_HEADER, Refused};
use super::fragment::{FragmentHeader, headers_of_whole};
use super::header::{FRAGMENT_BYTES, HEADER_BYTES, Ipv6Header, PAYLOAD_LENGTH_AT};
use crate::address::Cast;
use crate::counters::bump;
use crate::family::Zone;
use crate::icmp6::message::{Complaint, ParameterProblem};
use crate::ip::input::{Cause, IpMeta, check_offload};
use crate::ip::reassembly::{DatagramKey, Fragment};
use crate::shard::{LinkCast, Shard};

/// May a fragment header still come?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fragments {
    /// None was met.
    Allowed,
    /// The packet was one, or made of some.
    Done,
}

impl Shard {
    /// Takes a packet that begins with an IPv6 header.
    pub(crate) fn ipv6_input(
        &mut self,
        cause: &Cause<'_>,
        mut packet: Packet,
        link_cast: LinkCast,
    ) {
        self.looked_at.set(Family::Inet6);
        let header = match Ipv6Header::parse(&mut packet) {
            Ok(header) => header,
            Err(reason) => return self.drop_packet(reason),
        };
        let cast = match admit(cause, &header, link_cast) {
            Ok(cast) => cast,
            // What is not for us goes to the forwarder; groups have none.
            Err(DropReason::IpNotOurs)
                if cause.on.is_router(Family::Inet6) && !header.dst.is_multicast() =>
            {
                return self.forward_v6(cause, &header, packet, link_cast);
            }
            Err(reason) => return self.drop_packet(reason),
        };
        bump(&self.wide.counters.ip6_in);
        let meta = meta_of(cause, &header, &packet, cast, link_cast);
        if cast == Cast::Multicast && !self.is_wanted(&meta) {
            return self.drop_packet(DropReason::GroupNotJoined);
        }
        match header.next_header {
            Protocol::TCP | Protocol::UDP | Protocol::ICMPV6 => {
                self.upper_input(cause, meta, packet);
            }
            _ => self.extended_input(cause, meta, packet, Fragments::Allowed),
        }
    }

    /// Takes a packet of our own that was sent to a group, as one of its members.
    pub(crate) fn ipv6_looped_back(&mut self, cause: &Cause<'_>, mut packet: Packet) {
        let Ok(header) = Ipv6Header::parse(&mut packet) else { return };
        let meta = meta_of(cause, &header, &packet, Cast::Multicast, LinkCast::Group);
        if self.is_wanted(&meta) {
            self.transport_input(cause, meta, packet);
        }
    }

    /// Gives a packet whose extension headers were walked to its protocol.
    fn upper_input(&mut self, cause: &Cause<'_>, meta: IpMeta, packet: Packet) {
        if let Err(reason) = check_offload(&meta, false, &packet) {
            return self.drop_packet(reason);
        }
        self.transport_input(cause, meta, packet);
    }

    /// Walks the extension headers.
    fn extended_input(
        &mut self,
        cause: &Cause<'_>,
        mut meta: IpMeta,
        packet: Packet,
        fragments: Fragments,
    ) {
        let config = &self.config.ipv6;
        let front = front_of(&packet, HEADER_BYTES + config.extension_bytes);
        let chain = match extension::walk(&front, meta.cast, config) {
            Ok(chain) => chain,
            Err(refused) => return self.refuse(cause, &meta, &packet, refused),
        };
        meta.protocol = chain.protocol;
        meta.header_bytes = chain.at;
        meta.was_fragmented = fragments == Fragments::Done;
        match chain.protocol {
            FRAGMENT if fragments == Fragments::Allowed => {
                self.fragment6_input(cause, meta, chain, &packet);
            }
            FRAGMENT => self.drop_packet(DropReason::IpExtensionLimit),
            // RFC 8200 §4.7: what follows is ignored.
            NO_NEXT_HEADER => self.drop_packet(DropReason::IpNoNextHeader),
            _ => self.upper_input(cause, meta, in_reach(packet, chain.at)),
        }
    }

    fn refuse(&mut self, cause: &Cause<'_>, meta: &IpMeta, packet: &Packet, refused: Refused) {
        self.drop_packet(refused.reason);
        if let Some(problem) = refused.problem {
            self.complain6(cause.now, meta, packet, Complaint::ParameterProblem(problem));
        }
    }

    fn fragment6_input(
        &mut self,
        cause: &Cause<'_>,
        mut meta: IpMeta,
        chain: Chain,
        packet: &Packet,
    ) {
        // A checksum that somebody else is to complete covers no part alone.
        if check_offload(&meta, true, packet).is_err() {
            return self.drop_packet(DropReason::BadOffload);
        }
        let all = packet.to_bytes();
        let Some(header) = FragmentHeader::parse(&all[chain.at..]) else {
            return self.drop_packet(DropReason::IpMalformed);
        };
        let end = chain.at + FRAGMENT_BYTES;
        let fragment = Fragment {
            offset: usize::from(header.offset_bytes),
            data: all.slice(end..),
            more: header.more,
            header: all.slice(..end),
        };
        let zone = Zone::of(meta.dst, meta.src, meta.iface);
        let (src, dst, ident) = (meta.src, meta.dst, header.ident);
        let key = DatagramKey { src, dst, zone, protocol: 0, ident };
        if let Err(refused) = self.check_fragment(&key, chain, &fragment, &all) {
            return self.refuse(cause, &meta, packet, refused);
        }
        // RFC 6946 §4: whole already, whatever waits under the same identification.
        let (first, mut data) = if header.is_atomic() {
            (fragment.header, Packet::from_payload(fragment.data))
        } else {
            let whole = self.reassemble(cause.now, meta.iface, key, fragment);
            let Some(whole) = whole else { return };
            whole
        };
        let Some(headers) = headers_of_whole(&first, data.len()) else {
            return self.drop_packet(DropReason::FragmentMalformed);
        };
        data = with_headers(&headers, data);
        (data.rx_at, data.mark) = (packet.rx_at, packet.mark);
        meta.tos = first[0] << 4 | first[1] >> 4;
        if let Some(whole) = self.hand_over(cause, data, EtherType::IPV6) {
            self.extended_input(cause, meta, whole, Fragments::Done);
        }
    }

    /// RFC 8200 §4.5: what is wrong with a fragment, and what its sender is told.
    fn check_fragment(
        &self,
        key: &DatagramKey,
        chain: Chain,
        fragment: &Fragment,
        all: &[u8],
    ) -> Result<(), Refused> {
        let malformed = |problem| Refused {
            reason: DropReason::FragmentMalformed,
            problem: Some(ParameterProblem::erroneous(problem)),
        };
        if fragment.more && !fragment.data.len().is_multiple_of(8) {
            return Err(malformed(PAYLOAD_LENGTH_AT as usize));
        }
        if fragment.is_too_long(key) {
            return Err(malformed(chain.at + 2));
        }
        let most = self.config.ipv6.extension_headers;
        let end = chain.at + FRAGMENT_BYTES;
        let inner = Chain { protocol: Protocol(all[chain.at]), at: end, named_at: chain.at };
        if fragment.offset == 0 && fragment.more && !extension::is_chain_whole(all, inner, most) {
            // RFC 7112 §5, RFC 8200 §4.5.
            let problem = Some(ParameterProblem::INCOMPLETE_CHAIN);
            return Err(Refused { reason: DropReason::FragmentMalformed, problem });
        }
        Ok(())
    }

    /// Tells the sender of a first fragment that the others did not come in time.
    pub(crate) fn ipv6_expired(&mut self, cause: &Cause<'_>, mut first: Packet) {
        let header = first.pull(HEADER_BYTES).and_then(Ipv6Header::read);
        let Some(header) = header else { return };
        let Some(cast) = cause.view.cast_of6(cause.on, header.dst) else { return };
        let meta = meta_of(cause, &header, &first, cast, LinkCast::Unicast);
        self.complain6(cause.now, &meta, &first, Complaint::ReassemblyTimeout);
    }
}

/// What is known of a packet by its header and its frame.
pub(crate) fn meta_of(
    cause: &Cause<'_>,
    header: &Ipv6Header,
    packet: &Packet,
    cast: Cast,
    link_cast: LinkCast,
) -> IpMeta {
    IpMeta {
        src: IpAddr::V6(header.src),
        dst: IpAddr::V6(header.dst),
        protocol: header.next_header,
        ttl: header.hop_limit,
        tos: header.traffic_class,
        header_bytes: HEADER_BYTES,
        cast,
        link_cast,
        iface: cause.view.arrival(cause.on, header.dst, packet),
        was_fragmented: false,
    }
}

/// Is it from somebody who may send, and to us?
fn admit(cause: &Cause<'_>, header: &Ipv6Header, link_cast: LinkCast) -> Result<Cast, DropReason> {
    let cast = cause.view.cast_of6(cause.on, header.dst).ok_or(DropReason::IpNotOurs)?;
    // As for IPv4: a packet to one host has no business in a frame to a group. The reverse is
    // allowed (RFC 6085 §3).
    if link_cast == LinkCast::Group && cast == Cast::Unicast {
        return Err(DropReason::IpLinkBroadcast);
    }
    if !may_send(cause, header, cast) {
        return Err(DropReason::IpBadSource);
    }
    Ok(cast)
}

/// RFC 4291 §2.5.2, §2.5.3, §2.7: source addresses that no other host may use.
fn may_send(cause: &Cause<'_>, header: &Ipv6Header, cast: Cast) -> bool {
    let src = header.src;
    if src.is_unspecified() {
        // Only from who does not know its address yet, to a group.
        return cast == Cast::Multicast;
    }
    if cause.on.loopback {
        return !src.is_multicast();
    }
    // Our own address from outside is forged, but for who claims it of its neighbours.
    let claims = cast == Cast::Multicast
        && header.next_header == Protocol::ICMPV6
        && header.hop_limit == 255;
    !src.is_multicast()
        && !src.is_loopback()
        && !is_mapped(src)
        && (claims || !cause.view.is_local_on(cause.on, IpAddr::V6(src)))
}

/// `::ffff:0:0/96` stands for IPv4 in programs and is never sent (RFC 4291 §2.5.5.2).
pub(crate) const fn is_mapped(addr: Ipv6Addr) -> bool {
    addr.to_ipv4_mapped().is_some()
}

/// The first bytes of a packet, at most so many.
pub(crate) fn front_of(packet: &Packet, most: usize) -> Vec<u8> {
    let mut front = vec![0; packet.len().min(most)];
    let n = packet.copy_to(0, &mut front);
    front.truncate(n);
    front
}

/// A packet whose transport's header can be pulled from behind `header_bytes`.
fn in_reach(packet: Packet, header_bytes: usize) -> Packet {
    if header_bytes + MAX_TRANSPORT_BYTES <= HEAD_ROOM {
        return packet;
    }
    let mut flat = Packet::from_payload(packet.to_bytes());
    (flat.checksum, flat.gso) = (packet.checksum, packet.gso);
    (flat.rx_at, flat.mark) = (packet.rx_at, packet.mark);
    flat
}

/// Bytes of a transport's header that are looked at in one piece with those before it.
const MAX_TRANSPORT_BYTES: usize = 8;

fn with_headers(headers: &bytes::Bytes, mut data: Packet) -> Packet {
    if headers.len() <= HEAD_ROOM - libnet::ethernet::EthernetHeader::LEN {
        data.prepend(headers.len()).copy_from_slice(headers);
        return data;
    }
    let mut whole = Packet::from_payload(headers.clone());
    data.into_payload().into_iter().for_each(|piece| whole.push_payload(piece));
    whole
}
