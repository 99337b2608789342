//! The ARP packet for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::packet::Packet;

/// Bytes of the packet.
pub(crate) const ARP_BYTES: usize = 28;

/// What an ARP packet wants. Source: RFC 826.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Request,
    Reply,
}

/// An ARP packet.
///
/// ```text
///  0          2          4     5     6          8
/// +----------+----------+-----+-----+----------+
/// | 1        | 0x0800   | 6   | 4   | operation|
/// +----------+----------+-----+-----+----------+
/// | sender MAC (6)      | sender address (4)   |
/// | target MAC (6)      | target address (4)   |
/// +--------------------------------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ArpPacket {
    pub(crate) operation: Operation,
    pub(crate) sender_mac: MacAddr,
    pub(crate) sender: Ipv4Addr,
    pub(crate) target_mac: MacAddr,
    pub(crate) target: Ipv4Addr,
}

impl ArpPacket {
    /// Reads one; `None` if it is not of IPv4 over Ethernet, or neither request nor reply.
    pub(crate) fn parse(bytes: &[u8]) -> Option<ArpPacket> {
        let b: &[u8; ARP_BYTES] = bytes.first_chunk()?;
        if b[..6] != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let operation = match [b[6], b[7]] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        Some(ArpPacket {
            operation,
            sender_mac: MacAddr([b[8], b[9], b[10], b[11], b[12], b[13]]),
            sender: Ipv4Addr::new(b[14], b[15], b[16], b[17]),
            target_mac: MacAddr([b[18], b[19], b[20], b[21], b[22], b[23]]),
            target: Ipv4Addr::new(b[24], b[25], b[26], b[27]),
        })
    }

    /// A request for who has `target`.
    pub(crate) const fn request(mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        ArpPacket {
            operation: Operation::Request,
            sender_mac: mac,
            sender,
            target_mac: MacAddr::ZERO,
            target,
        }
    }

    /// A probe for whether anybody has `target`. RFC 5227 §2.1.1: its sender address is zero.
    pub(crate) const fn probe(mac: MacAddr, target: Ipv4Addr) -> Self {
        ArpPacket::request(mac, Ipv4Addr::UNSPECIFIED, target)
    }

    /// Announces that `addr` is ours. RFC 5227 §2.3: a request with both addresses the same.
    pub(crate) const fn announcement(mac: MacAddr, addr: Ipv4Addr) -> Self {
        ArpPacket::request(mac, addr, addr)
    }

    /// The frame that carries it.
    pub(crate) fn to_frame(self, dst: MacAddr) -> Packet {
        let mut packet = Packet::new();
        let b = packet.prepend(ARP_BYTES);
        b[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        b[7] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        b[8..14].copy_from_slice(&self.sender_mac.0);
        b[14..18].copy_from_slice(&self.sender.octets());
        b[18..24].copy_from_slice(&self.target_mac.0);
        b[24..28].copy_from_slice(&self.target.octets());
        EthernetHeader { dst, src: self.sender_mac, ethertype: EtherType::ARP }
            .prepend_to(&mut packet);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_packet_reads_back() {
        let arp = ArpPacket {
            operation: Operation::Reply,
            sender_mac: MacAddr([2, 1, 2, 3, 4, 5]),
            sender: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: MacAddr([2, 9, 9, 9, 9, 9]),
            target: Ipv4Addr::new(10, 0, 0, 2),
        };
        let frame = arp.to_frame(MacAddr::BROADCAST).to_bytes();
        assert_eq!(frame.len(), 42);
        assert_eq!(ArpPacket::parse(&frame[14..]), Some(arp));
    }

    #[test]
    fn other_hardware_protocols_and_operations_are_refused() {
        let good = ArpPacket::probe(MacAddr([2; 6]), Ipv4Addr::LOCALHOST)
            .to_frame(MacAddr::BROADCAST)
            .to_bytes();
        for at in 0..8 {
            let mut bad = good[14..].to_vec();
            bad[at] ^= 0x40;
            assert_eq!(ArpPacket::parse(&bad), None, "byte {at}");
        }
        assert_eq!(ArpPacket::parse(&good[14..41]), None);
    }
}
