//! Builds frames by hand, right ones and wrong ones: every field can be overridden.

use std::net::Ipv4Addr;

use bytes::Bytes;
use libnet::checksum::{Sum, checksum};
use libnet::{EtherType, EthernetHeader, MacAddr, Packet};

/// TCP's control bits (RFC 9293 §3.1).
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Synchronize.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// An Ethernet II frame.
pub fn ethernet(dst: MacAddr, src: MacAddr, ethertype: EtherType, payload: &[u8]) -> Packet {
    let mut packet = Packet::from_payload(Bytes::copy_from_slice(payload));
    EthernetHeader { dst, src, ethertype }.prepend_to(&mut packet);
    // In one piece, as a wire delivers it.
    Packet::from_payload(packet.to_bytes())
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
#[derive(Clone, Debug)]
pub struct Arp {
    /// 1: request, 2: reply.
    pub operation: u16,
    /// Sender's hardware address.
    pub sender_mac: MacAddr,
    /// Sender's protocol address.
    pub sender: Ipv4Addr,
    /// Target's hardware address.
    pub target_mac: MacAddr,
    /// Target's protocol address.
    pub target: Ipv4Addr,
}

impl Arp {
    /// The 28 bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sender_mac.0);
        bytes.extend(self.sender.octets());
        bytes.extend(self.target_mac.0);
        bytes.extend(self.target.octets());
        bytes
    }
}

/// An IPv4 packet; lengths and checksum are right unless they are overridden.
#[derive(Clone, Debug)]
pub struct Ip4 {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset as they stand in the header: 0x4000 is DF, 0x2000 MF.
    pub fragment: u16,
    /// Option bytes, a multiple of 4.
    pub options: Vec<u8>,
    /// In place of version 4 and the right header length.
    pub version_ihl: Option<u8>,
    /// In place of the right total length.
    pub total_len: Option<u16>,
    /// Added to the right checksum, so that it is wrong.
    pub checksum_error: u16,
}

impl Ip4 {
    /// A packet from `src` to `dst`.
    pub const fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8) -> Self {
        Ip4 {
            src,
            dst,
            protocol,
            ttl: 64,
            id: 0x1234,
            fragment: 0,
            options: Vec::new(),
            version_ihl: None,
            total_len: None,
            checksum_error: 0,
        }
    }

    /// Header and payload.
    pub fn build(&self, payload: &[u8]) -> Vec<u8> {
        let header_bytes = 20 + self.options.len();
        let total = (header_bytes + payload.len()) as u16;
        let mut ip = vec![self.version_ihl.unwrap_or(0x40 | (header_bytes / 4) as u8), 0];
        ip.extend(self.total_len.unwrap_or(total).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol, 0, 0]);
        ip.extend(self.src.octets());
        ip.extend(self.dst.octets());
        ip.extend(&self.options);
        let sum = checksum(&ip).wrapping_add(self.checksum_error);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend(payload);
        ip
    }

    /// The transport checksum over `segment`, whose field is zero.
    pub fn transport_sum(&self, segment: &[u8]) -> u16 {
        let mut sum = Sum::new();
        sum.add(&self.src.octets());
        sum.add(&self.dst.octets());
        sum.add_u16(u16::from(self.protocol));
        sum.add_u16(segment.len() as u16);
        sum.add(segment);
        sum.finish()
    }
}

/// A UDP datagram.
#[derive(Clone, Debug)]
pub struct Udp {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// In place of the right length.
    pub len: Option<u16>,
    /// Added to the right checksum.
    pub checksum_error: u16,
}

impl Udp {
    /// A right datagram.
    pub const fn new(src: u16, dst: u16) -> Self {
        Udp { src, dst, len: None, checksum_error: 0 }
    }

    /// The whole IP packet.
    pub fn build(&self, ip: &Ip4, payload: &[u8]) -> Vec<u8> {
        let mut udp = Vec::new();
        udp.extend(self.src.to_be_bytes());
        udp.extend(self.dst.to_be_bytes());
        udp.extend(self.len.unwrap_or((8 + payload.len()) as u16).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(payload);
        let sum = ip.transport_sum(&udp).wrapping_add(self.checksum_error);
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        ip.build(&udp)
    }
}

/// An ICMP message (RFC 792).
#[derive(Clone, Debug)]
pub struct Icmp {
    /// Type.
    pub ty: u8,
    /// Code.
    pub code: u8,
    /// The four bytes after the checksum.
    pub rest: [u8; 4],
    /// Added to the right checksum.
    pub checksum_error: u16,
}

impl Icmp {
    /// A right message.
    pub const fn new(ty: u8, code: u8, rest: [u8; 4]) -> Self {
        Icmp { ty, code, rest, checksum_error: 0 }
    }

    /// The whole IP packet.
    pub fn build(&self, ip: &Ip4, payload: &[u8]) -> Vec<u8> {
        let mut icmp = vec![self.ty, self.code, 0, 0];
        icmp.extend(self.rest);
        icmp.extend(payload);
        let sum = checksum(&icmp).wrapping_add(self.checksum_error);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        ip.build(&icmp)
    }
}

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// Window field, unscaled.
    pub window: u16,
    /// Option bytes, a multiple of 4.
    pub options: Vec<u8>,
    /// In place of the right data offset, in words.
    pub data_offset: Option<u8>,
    /// Added to the right checksum.
    pub checksum_error: u16,
}

impl Tcp {
    /// A segment without options, with a window of 65,535.
    pub const fn new(src: u16, dst: u16, seq: u32, ack: u32, flags: u8) -> Self {
        Tcp {
            src,
            dst,
            seq,
            ack,
            flags,
            window: 65_535,
            options: Vec::new(),
            data_offset: None,
            checksum_error: 0,
        }
    }

    /// The whole IP packet.
    pub fn build(&self, ip: &Ip4, payload: &[u8]) -> Vec<u8> {
        let words = self.data_offset.unwrap_or(5 + (self.options.len() / 4) as u8);
        let mut tcp = Vec::new();
        tcp.extend(self.src.to_be_bytes());
        tcp.extend(self.dst.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([words << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(payload);
        let sum = ip.transport_sum(&tcp).wrapping_add(self.checksum_error);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        ip.build(&tcp)
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn what_is_built_parses() {
        let tcp = Tcp { options: vec![1; 8], ..Tcp::new(1, 2, 3, 4, flags::SYN) };
        let ip = Ip4 { options: vec![1; 4], ..Ip4::new(A, B, 6) };
        let bytes = tcp.build(&ip, b"data");
        let parsed = SlicedPacket::from_ip(&bytes).unwrap();
        let Some(TransportSlice::Tcp(slice)) = parsed.transport else { panic!("not TCP") };
        assert_eq!(
            (slice.sequence_number(), slice.syn(), slice.payload()),
            (3, true, &b"data"[..])
        );
        let right = slice.to_header().calc_checksum_ipv4_raw(A.octets(), B.octets(), b"data");
        assert_eq!(slice.checksum(), right.unwrap());

        let bytes = Udp::new(5, 6).build(&Ip4::new(A, B, 17), b"data");
        let parsed = SlicedPacket::from_ip(&bytes).unwrap();
        assert!(matches!(parsed.transport, Some(TransportSlice::Udp(_))));
        let bytes = Icmp::new(8, 0, [0, 1, 0, 2]).build(&Ip4::new(A, B, 1), b"data");
        assert_eq!(checksum(&bytes[20..]), 0);
    }
}
