//! IGMP sent (RFC 3376 §4, RFC 2236 §9).

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use libnet::iface::IfIndex;
use libnet::packet::{Checksum, Packet};
use libnet::socket::Protocol;

use super::input::ROUTER_ALERT;
use super::message;
use crate::address::IfaceView;
use crate::counters::bump;
use crate::ipv4::header::{HEADER_BYTES, Ipv4Header};
use crate::multicast::message::{Say, split};
use crate::shard::Shard;

/// RFC 3376 §4.2.14: all IGMPv3-capable routers.
const V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// RFC 2236 §9: all routers.
const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// RFC 3376 §4: internetwork control.
const TOS: u8 = 0xc0;

impl Shard {
    /// Tells the routers on an interface.
    pub(crate) fn igmp_output(&mut self, iface: IfIndex, say: Say) {
        let view = self.view();
        let Some(on) = view.iface(iface).filter(|on| on.usable) else { return };
        match say {
            Say::Report(records) => {
                let headers = HEADER_BYTES + ROUTER_ALERT.len() + message::HEADER_BYTES;
                let room = (on.mtu as usize).saturating_sub(headers);
                for records in split(records, room, 4) {
                    self.igmp_send(on, V3_ROUTERS, message::report(&records));
                }
            }
            Say::Member { group: IpAddr::V4(group), version } => {
                self.igmp_send(on, group, message::member(group, version));
            }
            Say::Leave { group: IpAddr::V4(group) } => {
                self.igmp_send(on, ALL_ROUTERS, message::leave(group));
            }
            _ => {}
        }
    }

    fn igmp_send(&mut self, on: &IfaceView, dst: Ipv4Addr, message: Vec<u8>) {
        // RFC 3376 §4.2.13: who has no address yet says so.
        let addrs = on.addrs.iter().map(|cidr| cidr.addr());
        let src = addrs.filter_map(|addr| match addr {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        });
        let src = src.into_iter().next().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let mut packet = Packet::from_payload(Bytes::from(message));
        let total = packet.len() + HEADER_BYTES + ROUTER_ALERT.len();
        let mut header = Ipv4Header::new(src, dst, Protocol::IGMP);
        // RFC 3376 §4: it goes no further than the link.
        header.ttl = 1;
        header.tos = TOS;
        header.dont_fragment = true;
        let mut bytes = [0; HEADER_BYTES + ROUTER_ALERT.len()];
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes(total as u16));
        bytes[HEADER_BYTES..].copy_from_slice(&ROUTER_ALERT);
        bytes[0] = 0x46;
        bytes[10..12].fill(0);
        let sum = libnet::checksum::checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.prepend(bytes.len()).copy_from_slice(&bytes);
        packet.checksum = Checksum::Trusted;
        bump(&self.wide.counters.igmp_out);
        self.group_output(on, dst.into(), packet);
    }
}
