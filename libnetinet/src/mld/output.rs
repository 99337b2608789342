//! MLD sent (RFC 3810 §5, RFC 2710 §3).

use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use libnet::iface::{IfIndex, IpCidr};
use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;

use super::message;
use crate::address::IfaceView;
use crate::counters::bump;
use crate::datagram::build::pseudo_header;
use crate::multicast::message::{Say, split};
use crate::nd::message::ALL_ROUTERS;
use crate::shard::Shard;

/// RFC 3810 §5.2.14: all MLDv2-capable routers.
const V2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// IPv6 header and the hop-by-hop options.
const HEADER_BYTES: usize = 40 + 8;

/// RFC 2711 §2.1: hop-by-hop options with router alert, value 0 for MLD, padded; ICMPv6 follows.
pub(crate) const ROUTER_ALERT: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];

impl Shard {
    /// Tells the routers on an interface.
    pub(crate) fn mld_output(&mut self, iface: IfIndex, say: Say) {
        let view = self.view();
        let Some(on) = view.iface(iface).filter(|on| on.usable) else { return };
        match say {
            Say::Report(records) => {
                let room = (on.mtu as usize).saturating_sub(HEADER_BYTES + message::REPORT_BYTES);
                for records in split(records, room, 16) {
                    self.mld_send(on, V2_ROUTERS, message::report(&records));
                }
            }
            Say::Member { group: IpAddr::V6(group), .. } => {
                self.mld_send(on, group, message::member(group));
            }
            Say::Leave { group: IpAddr::V6(group) } => {
                // RFC 2710 §5: to all routers of the link.
                self.mld_send(on, ALL_ROUTERS, message::done(group));
            }
            _ => {}
        }
    }

    fn mld_send(&mut self, on: &IfaceView, dst: Ipv6Addr, mut message: Vec<u8>) {
        // RFC 3810 §5.2.13: a link-local address, or none while it is not known to be ours alone.
        let src = link_local(&on.addrs).unwrap_or(Ipv6Addr::UNSPECIFIED);
        let mut sum = pseudo_header(src.into(), dst.into(), Protocol::ICMPV6, message.len());
        sum.add(&message);
        let sum = sum.finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let payload = (message.len() + ROUTER_ALERT.len()) as u16;
        let mut packet = Packet::from_payload(Bytes::from(message));
        let h = packet.prepend(HEADER_BYTES);
        h[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        h[4..6].copy_from_slice(&payload.to_be_bytes());
        // Hop-by-hop options next; RFC 3810 §5: a hop limit of 1.
        h[6..8].copy_from_slice(&[0, 1]);
        h[8..24].copy_from_slice(&src.octets());
        h[24..40].copy_from_slice(&dst.octets());
        h[40..].copy_from_slice(&ROUTER_ALERT);
        packet.checksum = Checksum::Trusted;
        bump(&self.wide.counters.mld_out);
        self.group_output(on, dst.into(), packet);
    }
}

/// The link-local one of an interface's addresses, if it is in use.
pub(crate) fn link_local(addrs: &[IpCidr]) -> Option<Ipv6Addr> {
    addrs.iter().find_map(|cidr| match cidr.addr() {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => Some(addr),
        _ => None,
    })
}
