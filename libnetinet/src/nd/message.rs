//! Neighbour solicitations and advertisements (RFC 4861 §4.3, §4.4).

use std::net::Ipv6Addr;

use libnet::ethernet::MacAddr;
use libnet::packet::Packet;

use crate::icmp6::message::Icmp6Type;

/// Bytes of a message before its options.
pub(crate) const MESSAGE_BYTES: usize = 24;

/// A neighbour solicitation or advertisement.
///
/// ```text
///  0      1      2             4
/// +------+------+-------------+--------------------+
/// | type | 0    | checksum    | R S O, reserved    |
/// | target (16)                                    |
/// | options: type, length / 8, value               |
/// +------------------------------------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NeighbourMessage {
    pub(crate) ty: Icmp6Type,
    /// An advertisement that answers a solicitation.
    pub(crate) solicited: bool,
    pub(crate) target: Ipv6Addr,
    /// The link-layer address option: the source's in a solicitation, the target's in an
    /// advertisement.
    pub(crate) mac: Option<MacAddr>,
}

const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

impl NeighbourMessage {
    /// Reads the message from its type on; `None` if it breaks RFC 4861 §7.1.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; MESSAGE_BYTES] = bytes.first_chunk()?;
        let ty = Icmp6Type(fixed[0]);
        let target = Ipv6Addr::from(*fixed[8..].first_chunk::<16>()?);
        if fixed[1] != 0 || target.is_multicast() {
            return None;
        }
        let wanted =
            if ty == Icmp6Type::NEIGHBOUR_SOLICITATION { SOURCE_ADDRESS } else { TARGET_ADDRESS };
        let mut mac = None;
        let mut options = &bytes[MESSAGE_BYTES..];
        while let Some(&[kind, units]) = options.first_chunk() {
            // RFC 4861 §4.6: an option of no length makes the packet worthless.
            let length = usize::from(units) * 8;
            if length == 0 {
                return None;
            }
            let option = options.get(..length)?;
            if kind == wanted && length == 8 {
                mac = option[2..].first_chunk().map(|mac| MacAddr(*mac)).or(mac);
            }
            options = &options[length..];
        }
        Some(NeighbourMessage { ty, solicited: fixed[4] & SOLICITED != 0, target, mac })
    }

    /// The message, its checksum zero.
    pub(crate) fn to_packet(self) -> Packet {
        let mut packet = Packet::new();
        if let Some(mac) = self.mac {
            let option = packet.prepend(8);
            let solicitation = self.ty == Icmp6Type::NEIGHBOUR_SOLICITATION;
            option[0] = if solicitation { SOURCE_ADDRESS } else { TARGET_ADDRESS };
            option[1] = 1;
            option[2..].copy_from_slice(&mac.0);
        }
        let m = packet.prepend(MESSAGE_BYTES);
        m[0] = self.ty.0;
        if self.ty == Icmp6Type::NEIGHBOUR_ADVERTISEMENT {
            m[4] = OVERRIDE | if self.solicited { SOLICITED } else { 0 };
        }
        m[8..].copy_from_slice(&self.target.octets());
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_message_reads_back() {
        for ty in [Icmp6Type::NEIGHBOUR_SOLICITATION, Icmp6Type::NEIGHBOUR_ADVERTISEMENT] {
            for mac in [None, Some(MacAddr([2, 1, 2, 3, 4, 5]))] {
                let message = NeighbourMessage {
                    ty,
                    solicited: ty == Icmp6Type::NEIGHBOUR_ADVERTISEMENT,
                    target: Ipv6Addr::LOCALHOST,
                    mac,
                };
                let bytes = message.to_packet().to_bytes();
                assert_eq!(NeighbourMessage::parse(&bytes), Some(message));
                assert_eq!(NeighbourMessage::parse(&bytes[..bytes.len() - 1]), None);
            }
        }
    }
}
