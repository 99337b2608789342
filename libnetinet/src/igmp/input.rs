//! IGMP received (RFC 3376 §5.2, §7.2).

use libnet::packet::{Checksum, Packet};
use libnet::socket::Family;
use libnet::stats::DropReason;

use super::message;
use crate::counters::bump;
use crate::ip::input::{Cause, IpMeta};
use crate::ipv4::header::HEADER_BYTES;
use crate::multicast::message::{Message, Version};
use crate::shard::Shard;

/// RFC 2113 §2.1: the option by which routers look at a packet that is not for them.
pub(crate) const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];

impl Shard {
    /// Takes an IGMP message in its IP packet.
    pub(crate) fn igmp_input(&mut self, cause: &Cause<'_>, meta: &IpMeta, packet: &Packet) {
        let bytes = packet.to_bytes();
        let (header, bytes) = bytes.split_at(meta.header_bytes.min(bytes.len()));
        // RFC 3376 §4.1.2: the checksum MUST be verified.
        let is_right =
            packet.checksum != Checksum::Unverified || libnet::checksum::checksum(bytes) == 0;
        if !is_right {
            return self.drop_packet(DropReason::IgmpChecksum);
        }
        let Some(message) = message::parse(bytes) else {
            return self.drop_packet(DropReason::IgmpMalformed);
        };
        bump(&self.wide.counters.igmp_in);
        let (now, iface) = (cause.now, cause.on.iface.index);
        match message {
            // RFC 3376 §9.1: without the option it did not come from a router of ours.
            Message::Query(query) if query.version > Version::One && !has_alert(header) => {
                self.drop_packet(DropReason::IgmpMalformed);
            }
            Message::Query(query) => {
                self.wide.with_groups(|all| all.query(now, iface, Family::Inet, &query));
            }
            Message::Report(group) => {
                self.wide.with_groups(|all| all.heard_report(now, iface, group));
            }
            Message::ForRouters => {}
        }
    }
}

/// Does the header have the router alert option?
fn has_alert(header: &[u8]) -> bool {
    let mut options = header.get(HEADER_BYTES..).unwrap_or_default();
    loop {
        match *options {
            // RFC 791 §3.1: end of list, no operation.
            [] | [0, ..] => return false,
            [1, ref rest @ ..] => options = rest,
            [kind, len, ..] if len >= 2 && usize::from(len) <= options.len() => {
                if kind == ROUTER_ALERT[0] {
                    return true;
                }
                options = &options[usize::from(len)..];
            }
            _ => return false,
        }
    }
}
