//! UDP (RFC 768).

use std::fmt::{self, Write as _};

use etherparse::UdpHeaderSlice;

use super::ip::Transport;
use super::tcp::endpoint;
use super::{Context, be16};

pub(super) fn line(context: &Context<'_>, packet: &Transport<'_>, out: &mut String) -> fmt::Result {
    let Ok(header) = UdpHeaderSlice::from_slice(packet.bytes) else {
        let (Some(src), Some(dst)) = (be16(packet.bytes, 0), be16(packet.bytes, 2)) else {
            return write!(out, "{} > {}: [|udp]", packet.src, packet.dst);
        };
        let (src, dst) = (endpoint(packet.src, src), endpoint(packet.dst, dst));
        return write!(out, "{src} > {dst}: truncated-udp {}", packet.bytes.len());
    };
    let src = endpoint(packet.src, header.source_port());
    let dst = endpoint(packet.dst, header.destination_port());
    write!(out, "{src} > {dst}: ")?;
    let len = usize::from(header.length());
    if len < 8 && len != 0 {
        return write!(out, "truncated-udplength {len}");
    }
    if context.detail.verbosity > 1 {
        match header.checksum() {
            0 => out.write_str("[no cksum] ")?,
            _ if !packet.is_whole() => {}
            _ if packet.verify() == 0 => out.write_str("[udp sum ok] ")?,
            found => {
                write!(out, "[bad udp cksum 0x{found:04x} -> 0x{:04x}!] ", packet.expected(6))?
            }
        }
    }
    // A length of zero stands for a jumbogram or a super-datagram: what IP says counts.
    let payload = if len == 0 { packet.len } else { len }.saturating_sub(8);
    write!(out, "UDP, length {payload}")?;
    if len > packet.len && !packet.is_fragment {
        write!(out, " [|udp, {} bytes past the packet]", len - packet.len)?;
    }
    Ok(())
}
