//! Echo replies to ping sockets.

use std::net::SocketAddr;

use libnet::packet::Packet;
use libnet::stats::DropReason;

use super::{Datagram, Delivery, data_of};
use crate::ip::input::IpMeta;
use crate::shard::Shard;

impl Shard {
    /// Takes an echo reply to the socket whose identifier it carries.
    pub(crate) fn ping_input(&mut self, meta: &IpMeta, ident: u16, packet: Packet) {
        let local = SocketAddr::new(meta.dst, ident);
        let remote = SocketAddr::new(meta.src, 0);
        // RFC 1122 §3.2.2.6: replies MUST be passed to who asked; raw sockets have theirs.
        let Some(socket) = self.wide.ping.find(local, remote, meta.iface) else { return };
        let data = data_of(&packet, meta.header_bytes, usize::MAX);
        let datagram = Datagram::new(data, remote, meta, packet.rx_at);
        if socket.deliver(datagram, || self.wide.config(), &mut self.wakes) == Delivery::Full {
            self.drop_packet(DropReason::SocketBufferFull);
        }
    }
}
