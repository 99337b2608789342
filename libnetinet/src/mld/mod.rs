//! Multicast listener discovery.

use libnet::packet::Packet;
use libnet::stats::DropReason;

use crate::ip::input::{Cause, IpMeta};
use crate::shard::Shard;

impl Shard {
    /// Takes a message of listener discovery, its checksum verified; `packet` begins with its IP
    /// header. Nobody here joins groups that a router would have to know of.
    pub(crate) fn mld_input(&mut self, cause: &Cause<'_>, meta: &IpMeta, packet: Packet) {
        let _ = (cause, meta, packet);
        self.drop_packet(DropReason::IcmpIgnored);
    }
}
