//! UDP received (RFC 768, RFC 1122 §4.1, RFC 8200 §8.1).

use std::net::SocketAddr;

use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;
use libnet::stats::DropReason;

use super::build::{UDP_BYTES, pseudo_header};
use super::{Datagram, Delivery, Shared, data_of};
use crate::address::Cast;
use crate::counters::bump;
use crate::ip::input::{Cause, IpMeta};
use crate::shard::Shard;

impl Shard {
    /// Takes a UDP datagram in its IP packet.
    pub(crate) fn udp_input(&mut self, cause: &Cause<'_>, meta: IpMeta, mut packet: Packet) {
        let header = match check(&meta, &mut packet) {
            Ok(header) => header,
            Err(reason) => return self.drop_packet(reason),
        };
        let from = SocketAddr::new(meta.src, header.source);
        let to = SocketAddr::new(meta.dst, header.target);
        if meta.cast != Cast::Unicast {
            return self.udp_to_many(&meta, from, to, &packet, header.len);
        }
        match self.wide.udp.find(to, from, meta.iface) {
            Some(socket) => self.udp_deliver(&socket, &meta, from, &packet, header.len),
            None => {
                self.drop_packet(DropReason::UdpNoPort);
                self.complain_of_port(cause.now, &meta, &packet);
            }
        }
    }

    /// RFC 1122 §4.1.3.5, RFC 919: each socket on the port gets one; nobody is told if there is
    /// none.
    fn udp_to_many(
        &mut self,
        meta: &IpMeta,
        from: SocketAddr,
        to: SocketAddr,
        packet: &Packet,
        len: usize,
    ) {
        let mut sockets = Vec::new();
        self.wide.udp.find_all(to, from, meta.iface, &mut sockets);
        sockets.retain(|socket| socket.takes(meta));
        if sockets.is_empty() {
            return self.drop_packet(DropReason::UdpNoPort);
        }
        for socket in sockets {
            self.udp_deliver(&socket, meta, from, packet, len);
        }
    }

    fn udp_deliver(
        &mut self,
        socket: &Shared,
        meta: &IpMeta,
        from: SocketAddr,
        packet: &Packet,
        len: usize,
    ) {
        let mut data = data_of(packet, meta.header_bytes + UDP_BYTES, len - UDP_BYTES);
        // A super-datagram stands for several.
        let step = packet.gso.map_or(usize::MAX, |gso| usize::from(gso.segment_bytes.get()));
        loop {
            let piece = data.split_to(data.len().min(step));
            let datagram = Datagram::new(piece, from, meta, packet.rx_at);
            match socket.deliver(datagram, || self.wide.config(), &mut self.wakes) {
                Delivery::Queued => bump(&self.wide.counters.udp_in),
                Delivery::Full => self.drop_packet(DropReason::SocketBufferFull),
                Delivery::NoMemory => self.drop_packet(DropReason::UdpMemory),
            }
            if data.is_empty() {
                return;
            }
        }
    }
}

struct UdpHeader {
    source: u16,
    target: u16,
    /// Header and data, at least 8.
    len: usize,
}

fn check(meta: &IpMeta, packet: &mut Packet) -> Result<UdpHeader, DropReason> {
    let at = meta.header_bytes;
    let there = packet.len() - at;
    let bytes = packet.pull(at + UDP_BYTES).ok_or(DropReason::UdpMalformed)?;
    let word = |i: usize| u16::from_be_bytes([bytes[at + i], bytes[at + i + 1]]);
    let (source, target, len, sum) = (word(0), word(2), usize::from(word(4)), word(6));
    if len < UDP_BYTES || len > there {
        return Err(DropReason::UdpMalformed);
    }
    // RFC 768: a sum of zero means that the sender made none; RFC 8200 §8.1: which it may not in
    // IPv6. RFC 1122 §4.1.3.4: one that is there MUST be checked.
    if sum == 0 && packet.checksum == Checksum::Unverified && meta.src.is_ipv6() {
        return Err(DropReason::UdpChecksum);
    }
    if sum != 0 && packet.checksum == Checksum::Unverified {
        let mut whole = packet.clone();
        whole.truncate(at + len);
        let mut sum = pseudo_header(meta.src, meta.dst, Protocol::UDP, len);
        whole.advance(at);
        for piece in whole.pieces() {
            sum.add(piece);
        }
        if sum.finish() != 0 {
            return Err(DropReason::UdpChecksum);
        }
    }
    Ok(UdpHeader { source, target, len })
}
