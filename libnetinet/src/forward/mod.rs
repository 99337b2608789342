//! Forwarding: packets for others, passed on between interfaces (RFC 1812 §5, RFC 8200).
//!
//! ```text
//!  ipv4_input, ipv6_input ── not ours ──► v4, v6: checks, options, hops ──► paths: route, neighbour
//!                                                                            │
//!              link ◄── poll_transmit ◄── queue, apart from our own ◄────────┘ cut if it must be
//! ```
//! No socket sees these packets. A super-segment stays whole: what its segments are is compared
//! with the next hop's MTU, and the link cuts it if it cannot take it.

mod clamp;
mod control;
pub(crate) mod paths;
pub(crate) mod queue;
mod redirect6;
mod reverse_path;
mod v4;
mod v6;

pub use control::Forwarding;

use libnet::packet::{GsoKind, Packet};

/// Bytes of the longest packet that a link would have to carry for it: of a super-segment, one
/// segment. Its transport's header begins at `transport`.
fn longest(packet: &Packet, transport: usize) -> usize {
    let Some(gso) = packet.gso else { return packet.len() };
    let transport_bytes = match gso.kind {
        GsoKind::Udp => 8,
        _ => {
            let mut offset = [0];
            packet.copy_to(transport + 12, &mut offset);
            usize::from(offset[0] >> 4) * 4
        }
    };
    packet.len().min(transport + transport_bytes + usize::from(gso.segment_bytes.get()))
}
