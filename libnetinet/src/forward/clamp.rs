//! Clamping: a router lowers the MSS that others' SYNs announce, so that their segments fit links
//! that they will not hear of. For paths on which "too big" gets lost.

use libnet::iface::ClampMss;
use libnet::packet::Packet;
use libnet::socket::Protocol;

use crate::counters::bump;
use crate::ip::input::{Cause, IpMeta};
use crate::ipv6::extension::{self, Chain, FRAGMENT, is_walked_over};
use crate::ipv6::fragment::FragmentHeader;
use crate::ipv6::header::{FRAGMENT_BYTES, HEADER_BYTES};
use crate::ipv6::input::front_of;
use crate::path::Path;
use crate::shard::Shard;
use crate::tcp::{Clamped, MAX_HEADER_BYTES, MIN_HEADER_BYTES, lower_mss};

impl Shard {
    /// Lowers the MSS of a SYN, if one of the interfaces that it crosses asks for that. It is no
    /// fragment but the first, which holds the transport's header.
    pub(super) fn clamp_mss(
        &mut self,
        cause: &Cause<'_>,
        path: &Path,
        meta: &IpMeta,
        packet: &mut Packet,
    ) {
        if meta.protocol != Protocol::TCP || !is_asked(cause, path) {
            return;
        }
        let at = meta.header_bytes;
        let mut header = [0; MAX_HEADER_BYTES];
        let n = packet.copy_to(at, &mut header);
        // Most segments are no SYNs, and cost no more than this.
        if n < MIN_HEADER_BYTES || header[13] & SYN == 0 {
            return;
        }
        let Some(most) = self.largest_mss(cause, path, meta) else { return };
        match lower_mss(&mut header[..n], most, packet.checksum) {
            Clamped::No => {}
            Clamped::Signed => bump(&self.wide.counters.mss_clamp_signed),
            Clamped::Lowered => {
                // In the head room, if it has room for so much.
                packet.own(at + n);
                packet.write_at(at, &header[..n]);
                bump(&self.wide.counters.mss_clamped);
            }
        }
    }

    /// The same behind IPv6's extension headers. What an authentication header covers is not found,
    /// and so left alone.
    pub(super) fn clamp_mss_v6(
        &mut self,
        cause: &Cause<'_>,
        path: &Path,
        meta: &IpMeta,
        packet: &mut Packet,
    ) {
        if !is_asked(cause, path) {
            return;
        }
        let mut meta = *meta;
        if is_walked_over(meta.protocol) || meta.protocol == FRAGMENT {
            let Some(chain) = self.transport_of(&meta, packet) else { return };
            (meta.protocol, meta.header_bytes) = (chain.protocol, chain.at);
        }
        self.clamp_mss(cause, path, &meta, packet);
    }

    /// Where the transport's header is, unless it is in an earlier fragment.
    fn transport_of(&self, meta: &IpMeta, packet: &Packet) -> Option<Chain> {
        let config = &self.config.ipv6;
        let front = front_of(packet, HEADER_BYTES + config.extension_bytes);
        let mut chain = Chain::start(meta.protocol);
        chain = extension::skip(&front, chain, config.extension_headers)?;
        if chain.protocol != FRAGMENT {
            return Some(chain);
        }
        let fragment = FragmentHeader::parse(&front[chain.at..])?;
        if fragment.offset_bytes > 0 {
            return None;
        }
        (chain.protocol, chain.at) = (fragment.next_header, chain.at + FRAGMENT_BYTES);
        extension::skip(&front, chain, config.extension_headers)
    }

    /// What its SYN may announce, in bytes.
    fn largest_mss(&self, cause: &Cause<'_>, path: &Path, meta: &IpMeta) -> Option<u16> {
        let bound = |clamp: ClampMss| match clamp {
            ClampMss::Bytes(bytes) => Some(bytes.max(ClampMss::LEAST_BYTES)),
            ClampMss::Mtu => self.mss_of_ways(cause, path, meta),
            _ => None,
        };
        let leaves_by = cause.view.iface(path.iface.index).map(|iface| iface.clamp_mss);
        [Some(cause.on.clamp_mss), leaves_by].into_iter().flatten().filter_map(bound).min()
    }

    /// RFC 9293 §3.7.1: an MSS counts the fixed headers, whatever options there will be.
    fn mss_of_ways(&self, cause: &Cause<'_>, path: &Path, meta: &IpMeta) -> Option<u16> {
        let there = cause.view.iface(path.iface.index).map(|iface| iface.mtu_for(meta.dst));
        let back = Path::transit(&self.wide, meta.src).map(|back| back.mtu);
        let here = cause.on.mtu_for(meta.src);
        let mtu = path.mtu.min(here).min(there.unwrap_or(u32::MAX)).min(back.unwrap_or(u32::MAX));
        let headers = if meta.dst.is_ipv4() { 40 } else { 60 };
        let mss = mtu.checked_sub(headers).filter(|mss| *mss > 0)?;
        Some(u16::try_from(mss).unwrap_or(u16::MAX))
    }
}

/// Does an interface that it comes or leaves by clamp?
fn is_asked(cause: &Cause<'_>, path: &Path) -> bool {
    let clamps = |clamp: ClampMss| clamp != ClampMss::Off;
    let leaves_by = cause.view.iface(path.iface.index);
    clamps(cause.on.clamp_mss) || leaves_by.is_some_and(|iface| clamps(iface.clamp_mss))
}

/// The control bit in its octet. Source: RFC 9293 §3.1.
const SYN: u8 = 0x02;
