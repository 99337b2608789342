//! IPv6 packets (RFC 8200), their extension headers, and what they carry.

use std::net::Ipv6Addr;

use super::{Icmp, TCP, Tcp, UDP, Udp, be16, be32, checksum, fill_in_sum};

/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// A routing header.
pub const ROUTING: u8 = 43;
/// A fragment header.
pub const FRAGMENT: u8 = 44;
/// Nothing follows.
pub const NO_NEXT_HEADER: u8 = 59;
/// Destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// An IPv6 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip6 {
    /// Traffic class.
    pub class: u8,
    /// Flow label, 20 bits.
    pub label: u32,
    /// Hop limit.
    pub hops: u8,
    /// What `data` begins with.
    pub next: u8,
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows the header: extension headers first.
    pub data: Vec<u8>,
}

impl Ip6 {
    /// A packet with the usual header.
    pub fn new(src: Ipv6Addr, dst: Ipv6Addr, next: u8, data: Vec<u8>) -> Ip6 {
        Ip6 { class: 0, label: 0, hops: 64, next, src, dst, data }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let front = 6 << 28 | u32::from(self.class) << 20 | self.label;
        let mut bytes = front.to_be_bytes().to_vec();
        bytes.extend((self.data.len() as u16).to_be_bytes());
        bytes.extend([self.next, self.hops]);
        bytes.extend(self.src.octets());
        bytes.extend(self.dst.octets());
        bytes.extend(&self.data);
        bytes
    }

    /// Reads a packet, and whatever its header says, a message of ours in it.
    ///
    /// # Panics
    /// When it is malformed.
    pub fn read(bytes: &[u8]) -> Ip6 {
        assert!(bytes.len() >= 40 && bytes[0] >> 4 == 6, "an IPv6 header");
        let end = 40 + usize::from(be16(bytes, 4));
        assert!(end <= bytes.len(), "a payload length that fits");
        let addr = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap());
        let front = be32(bytes, 0);
        let ip = Ip6 {
            class: (front >> 20) as u8,
            label: front & 0x000f_ffff,
            hops: bytes[7],
            next: bytes[6],
            src: addr(8),
            dst: addr(24),
            data: bytes[40..end].to_vec(),
        };
        assert_ne!(ip.hops, 0, "nothing is sent with a hop limit of zero");
        assert!(!ip.src.is_multicast(), "RFC 4291 §2.7: a group is no source");
        if ip.next != FRAGMENT {
            let _ = (ip.icmp(), ip.udp(), ip.tcp());
        }
        ip
    }

    /// Puts an extension header, whose first byte names what comes after it, in front of the data.
    #[must_use]
    pub fn behind(mut self, kind: u8, mut header: Vec<u8>) -> Ip6 {
        header[0] = self.next;
        header.extend(&self.data);
        (self.next, self.data) = (kind, header);
        self
    }

    /// Protocol and bytes of the transport, behind options and routing headers.
    ///
    /// # Panics
    /// When a header is cut short.
    pub fn transport(&self) -> (u8, &[u8]) {
        let (mut next, mut data) = (self.next, &self.data[..]);
        while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
            next = data[0];
            data = &data[8 + 8 * usize::from(data[1])..];
        }
        (next, data)
    }

    /// The ICMPv6 message in it.
    ///
    /// # Panics
    /// When it is malformed or its checksum is wrong.
    pub fn icmp(&self) -> Option<Icmp> {
        self.carries(ICMPV6).map(Icmp::read)
    }

    /// The UDP datagram in it.
    ///
    /// # Panics
    /// When it is malformed or its checksum is wrong.
    pub fn udp(&self) -> Option<Udp> {
        self.carries(UDP).map(Udp::read)
    }

    /// The TCP segment in it.
    ///
    /// # Panics
    /// When it is malformed or its checksum is wrong.
    pub fn tcp(&self) -> Option<Tcp> {
        self.carries(TCP).map(Tcp::read)
    }

    /// The bytes of a transport, if it is this one.
    fn carries(&self, protocol: u8) -> Option<&[u8]> {
        let (next, data) = self.transport();
        (next == protocol).then(|| {
            let sum = checksum(&[&pseudo_header(self.src, self.dst, protocol, data.len()), data]);
            assert_eq!(sum, 0, "the transport's checksum");
            data
        })
    }

    /// A packet with these bytes of a transport, the checksum filled in at `field`.
    pub fn summed(
        src: Ipv6Addr,
        dst: Ipv6Addr,
        protocol: u8,
        mut data: Vec<u8>,
        field: usize,
    ) -> Ip6 {
        let pseudo_header = pseudo_header(src, dst, protocol, data.len());
        fill_in_sum(&mut data, field, &pseudo_header, protocol);
        Ip6::new(src, dst, protocol, data)
    }
}

/// RFC 8200 §8.1.
fn pseudo_header(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: usize) -> Vec<u8> {
    let len = (len as u32).to_be_bytes();
    [&src.octets()[..], &dst.octets(), &len, &[0, 0, 0, protocol]].concat()
}

impl Icmp {
    /// An echo request of ICMPv6.
    pub fn echo6(ident: u16, sequence: u16, data: &[u8]) -> Icmp {
        Icmp { ty: 128, ..Icmp::echo(ident, sequence, data) }
    }

    /// An ICMPv6 error about a packet, of which it quotes what fits.
    pub fn error6(ty: u8, code: u8, number: u32, about: &Ip6) -> Icmp {
        let mut data = about.bytes();
        data.truncate(1232);
        Icmp { ty, code, rest: number.to_be_bytes(), data }
    }

    /// The message in a packet, as ICMPv6.
    pub fn packet6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Ip6 {
        Ip6::summed(src, dst, ICMPV6, self.bytes(), 2)
    }

    /// What stands behind type, code and checksum, as a number: a pointer, an MTU.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }
}

impl Udp {
    /// The datagram in an IPv6 packet, the checksum in place.
    pub fn packet6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Ip6 {
        Ip6::summed(src, dst, UDP, self.bytes(), 6)
    }
}

impl Tcp {
    /// The segment in an IPv6 packet, the checksum in place.
    ///
    /// # Panics
    /// When the options are not a multiple of four bytes.
    pub fn packet6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Ip6 {
        Ip6::summed(src, dst, TCP, self.bytes(), 16)
    }
}

/// A header of options, hop-by-hop or for the destination, padded to its length.
pub fn options(options: &[u8]) -> Vec<u8> {
    let units = (2 + options.len()).div_ceil(8);
    let mut header = vec![0, (units - 1) as u8];
    header.extend(options);
    match units * 8 - header.len() {
        0 => {}
        1 => header.push(0),
        n => {
            header.extend([1, (n - 2) as u8]);
            header.resize(units * 8, 0);
        }
    }
    header
}

/// A routing header without addresses.
pub fn routing(kind: u8, segments_left: u8) -> Vec<u8> {
    vec![0, 0, kind, segments_left, 0, 0, 0, 0]
}

/// A fragment header; `offset` in bytes.
pub fn fragment(offset: u16, more: bool, ident: u32) -> Vec<u8> {
    let mut header = vec![0, 0];
    header.extend((offset | u16::from(more)).to_be_bytes());
    header.extend(ident.to_be_bytes());
    header
}
