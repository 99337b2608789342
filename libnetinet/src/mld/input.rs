//! MLD received (RFC 3810 §6.2, §8.2; RFC 2710 §4).

use std::net::IpAddr;

use libnet::packet::Packet;
use libnet::socket::Family;
use libnet::stats::DropReason;

use super::message;
use super::output::ROUTER_ALERT;
use crate::counters::bump;
use crate::ip::input::{Cause, IpMeta};
use crate::ipv6::header::HEADER_BYTES;
use crate::multicast::message::Message;
use crate::shard::Shard;

impl Shard {
    /// Takes a message of listener discovery, its checksum verified; `packet` begins with its IP
    /// header.
    pub(crate) fn mld_input(&mut self, cause: &Cause<'_>, meta: &IpMeta, packet: Packet) {
        let bytes = packet.to_bytes();
        let (headers, bytes) = bytes.split_at(meta.header_bytes.min(bytes.len()));
        let Some(message) = message::parse(bytes).filter(|_| is_of_link(meta)) else {
            return self.drop_packet(DropReason::MldMalformed);
        };
        bump(&self.wide.counters.mld_in);
        let (now, iface) = (cause.now, cause.on.iface.index);
        match message {
            Message::Query(query) if may_ask(meta, headers) => {
                self.wide.with_groups(|all| all.query(now, iface, Family::Inet6, &query));
            }
            Message::Query(_) => self.drop_packet(DropReason::MldMalformed),
            Message::Report(group) => {
                self.wide.with_groups(|all| all.heard_report(now, iface, group));
            }
            Message::ForRouters => {}
        }
    }
}

/// RFC 3810 §5: it never leaves the link.
fn is_of_link(meta: &IpMeta) -> bool {
    meta.ttl == 1
}

/// RFC 3810 §5.1.14, §6.2: a query comes from a link-local address, with the router alert option,
/// or is silently discarded.
fn may_ask(meta: &IpMeta, headers: &[u8]) -> bool {
    let is_local = match meta.src {
        IpAddr::V6(src) => src.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    };
    is_local && has_alert(headers)
}

/// Do the headers begin with hop-by-hop options that hold router alert, of value 0?
fn has_alert(headers: &[u8]) -> bool {
    // RFC 8200 §4.3: right behind the IPv6 header, or not at all.
    let Some(&[0, ..]) = headers.get(6..HEADER_BYTES) else { return false };
    let Some(&[_, len, ref rest @ ..]) = headers.get(HEADER_BYTES..) else { return false };
    let Some(mut options) = rest.get(..6 + 8 * usize::from(len)) else { return false };
    let alert = &ROUTER_ALERT[2..6];
    loop {
        match *options {
            // RFC 8200 §4.2: Pad1.
            [0, ref rest @ ..] => options = rest,
            [_, len, ref rest @ ..] => {
                if options.starts_with(alert) {
                    return true;
                }
                let Some(after) = rest.get(usize::from(len)..) else { return false };
                options = after;
            }
            _ => return false,
        }
    }
}
