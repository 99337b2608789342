//! Frames written and read by the RFCs' diagrams, without a line of the stack's own code: what
//! tests put on a wire, and what they hold the stack's frames against.

use std::net::Ipv4Addr;

use libnet::MacAddr;

pub mod nd;
pub mod six;
pub mod tcp;

pub use six::Ip6;
pub use tcp::Tcp;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// The flag that forbids fragments.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// The flag on every fragment but the last.
pub const MORE_FRAGMENTS: u16 = 0x2000;

/// A frame as it stood on the wire, every checksum in it verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// What it carries.
    pub body: Body,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// ARP for IPv4 over Ethernet.
    Arp(Arp),
    /// An IPv4 packet.
    Ip(Ip),
    /// An IPv6 packet.
    Ip6(Ip6),
    /// Something else.
    Other(u16, Vec<u8>),
}

/// An ARP packet (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1: request, 2: reply.
    pub operation: u16,
    /// Sender hardware address.
    pub sha: MacAddr,
    /// Sender protocol address.
    pub spa: Ipv4Addr,
    /// Target hardware address.
    pub tha: MacAddr,
    /// Target protocol address.
    pub tpa: Ipv4Addr,
}

/// An IPv4 packet (RFC 791).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub ident: u16,
    /// Flags and offset, as they stand.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub protocol: u8,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// What follows the header.
    pub data: Vec<u8>,
}

/// An ICMP message (RFC 792).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub ty: u8,
    /// Code.
    pub code: u8,
    /// Identifier and sequence, or what the type puts there.
    pub rest: [u8; 4],
    /// What follows.
    pub data: Vec<u8>,
}

/// A UDP datagram (RFC 768).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// What follows the header.
    pub data: Vec<u8>,
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Panics
    /// When it is malformed or a checksum in it is wrong: no stack may send that.
    pub fn read(bytes: &[u8]) -> Frame {
        let (dst, rest) = bytes.split_first_chunk::<6>().expect("a frame has a destination");
        let (src, rest) = rest.split_first_chunk::<6>().expect("and a source");
        let (ty, rest) = rest.split_first_chunk::<2>().expect("and a type");
        let body = match u16::from_be_bytes(*ty) {
            ARP => Body::Arp(Arp::read(rest)),
            IPV4 => Body::Ip(Ip::read(rest)),
            six::IPV6 => Body::Ip6(Ip6::read(rest)),
            other => Body::Other(other, rest.to_vec()),
        };
        Frame { dst: MacAddr(*dst), src: MacAddr(*src), body }
    }

    /// Reads a frame if its source is one that matters; others may be malformed on purpose.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn read_if(bytes: &[u8], matters: impl Fn(MacAddr) -> bool) -> Option<Frame> {
        let src = MacAddr(bytes.get(6..12)?.try_into().ok()?);
        matters(src).then(|| Frame::read(bytes))
    }

    /// The ARP packet in it.
    pub fn arp(&self) -> Option<Arp> {
        if let Body::Arp(arp) = &self.body { Some(*arp) } else { None }
    }

    /// The IPv4 packet in it.
    pub fn ip(&self) -> Option<&Ip> {
        if let Body::Ip(ip) = &self.body { Some(ip) } else { None }
    }

    /// The IPv6 packet in it.
    pub fn ip6(&self) -> Option<&Ip6> {
        if let Body::Ip6(ip) = &self.body { Some(ip) } else { None }
    }
}

/// Bytes of a frame.
pub fn frame(dst: MacAddr, src: MacAddr, ethertype: u16, data: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0, &ethertype.to_be_bytes(), data].concat()
}

impl Arp {
    /// Asks who has `tpa`.
    pub fn request(sha: MacAddr, spa: Ipv4Addr, tpa: Ipv4Addr) -> Arp {
        Arp { operation: 1, sha, spa, tha: MacAddr([0; 6]), tpa }
    }

    /// Answers whom `tpa` asked.
    pub fn reply(sha: MacAddr, spa: Ipv4Addr, tha: MacAddr, tpa: Ipv4Addr) -> Arp {
        Arp { operation: 2, sha, spa, tha, tpa }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sha.0);
        bytes.extend(self.spa.octets());
        bytes.extend(self.tha.0);
        bytes.extend(self.tpa.octets());
        bytes
    }

    fn read(bytes: &[u8]) -> Arp {
        assert!(bytes.len() >= 28, "an ARP packet has 28 bytes");
        assert_eq!(bytes[..6], [0, 1, 8, 0, 6, 4], "IPv4 over Ethernet");
        let mac = |at: usize| MacAddr(bytes[at..at + 6].try_into().expect("six bytes"));
        Arp {
            operation: be16(bytes, 6),
            sha: mac(8),
            spa: addr(bytes, 14),
            tha: mac(18),
            tpa: addr(bytes, 24),
        }
    }
}

impl Ip {
    /// A packet with the usual header.
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, data: Vec<u8>) -> Ip {
        Ip { tos: 0, ident: 1, fragment: 0, ttl: 64, protocol, src, dst, options: Vec::new(), data }
    }

    /// Its bytes, the header checksum in place.
    pub fn bytes(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut bytes = vec![0x40 | (header / 4) as u8, self.tos];
        bytes.extend(((header + self.data.len()) as u16).to_be_bytes());
        bytes.extend(self.ident.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.src.octets());
        bytes.extend(self.dst.octets());
        bytes.extend(&self.options);
        let sum = checksum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(&self.data);
        bytes
    }

    /// Reads a packet, and whatever its header says, a message of ours in it.
    ///
    /// # Panics
    /// When it is malformed or its header's checksum is wrong.
    pub fn read(bytes: &[u8]) -> Ip {
        assert!(bytes.len() >= 20 && bytes[0] >> 4 == 4, "an IPv4 header");
        let header = usize::from(bytes[0] & 15) * 4;
        let total = usize::from(be16(bytes, 2));
        assert!((20..=total).contains(&header) && total <= bytes.len(), "lengths that fit");
        assert_eq!(checksum(&[&bytes[..header]]), 0, "the header's checksum");
        let ip = Ip {
            tos: bytes[1],
            ident: be16(bytes, 4),
            fragment: be16(bytes, 6),
            ttl: bytes[8],
            protocol: bytes[9],
            src: addr(bytes, 12),
            dst: addr(bytes, 16),
            options: bytes[20..header].to_vec(),
            data: bytes[header..total].to_vec(),
        };
        assert_ne!(ip.ttl, 0, "RFC 1122 §3.2.1.7: nothing is sent with a time to live of zero");
        assert_eq!(ip.fragment & 0x8000, 0, "RFC 791 §3.1: the reserved flag is zero");
        if !ip.is_fragment() {
            let _ = (ip.icmp(), ip.udp(), ip.tcp());
        }
        ip
    }

    /// Is it a piece of a datagram?
    pub fn is_fragment(&self) -> bool {
        self.fragment & 0x3fff != 0
    }

    /// Where its data belongs, in bytes.
    pub fn offset(&self) -> usize {
        usize::from(self.fragment & 0x1fff) * 8
    }

    /// The ICMP message in it.
    pub fn icmp(&self) -> Option<Icmp> {
        if self.protocol != ICMP {
            return None;
        }
        assert_eq!(checksum(&[&self.data]), 0, "the ICMP checksum");
        Some(Icmp::read(&self.data))
    }

    /// The UDP datagram in it.
    pub fn udp(&self) -> Option<Udp> {
        if self.protocol != UDP {
            return None;
        }
        assert_eq!(checksum(&[&self.pseudo_header(), &self.data]), 0, "the UDP checksum");
        Some(Udp::read(&self.data))
    }

    /// The TCP segment in it.
    pub fn tcp(&self) -> Option<Tcp> {
        if self.protocol != TCP {
            return None;
        }
        assert_eq!(checksum(&[&self.pseudo_header(), &self.data]), 0, "the TCP checksum");
        Some(Tcp::read(&self.data))
    }

    fn pseudo_header(&self) -> Vec<u8> {
        let len = (self.data.len() as u16).to_be_bytes();
        [&self.src.octets()[..], &self.dst.octets(), &[0, self.protocol], &len].concat()
    }

    /// The packet with a transport checksum filled in at `field`.
    #[must_use]
    pub fn summed(mut self, field: usize) -> Ip {
        let pseudo_header = self.pseudo_header();
        fill_in_sum(&mut self.data, field, &pseudo_header, self.protocol);
        self
    }
}

impl Icmp {
    /// An echo request.
    pub fn echo(ident: u16, sequence: u16, data: &[u8]) -> Icmp {
        let [a, b] = ident.to_be_bytes();
        let [c, d] = sequence.to_be_bytes();
        Icmp { ty: 8, code: 0, rest: [a, b, c, d], data: data.to_vec() }
    }

    /// An error about a packet, of which it quotes the header and eight bytes.
    pub fn error(ty: u8, code: u8, rest: [u8; 4], about: &Ip) -> Icmp {
        let mut data = about.bytes();
        data.truncate(20 + about.options.len() + 8);
        Icmp { ty, code, rest, data }
    }

    /// Its bytes, the checksum in place.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.ty, self.code, 0, 0];
        bytes.extend(self.rest);
        bytes.extend(&self.data);
        let sum = checksum(&[&bytes]);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// Reads a message, of either family.
    fn read(bytes: &[u8]) -> Icmp {
        assert!(bytes.len() >= 8, "a message has eight bytes");
        let rest = bytes[4..8].try_into().expect("four bytes");
        Icmp { ty: bytes[0], code: bytes[1], rest, data: bytes[8..].to_vec() }
    }
}

impl Udp {
    /// A datagram.
    pub fn new(src: u16, dst: u16, data: &[u8]) -> Udp {
        Udp { src, dst, data: data.to_vec() }
    }

    /// The datagram in a packet, the checksum in place.
    pub fn packet(&self, src: Ipv4Addr, dst: Ipv4Addr) -> Ip {
        Ip::new(src, dst, UDP, self.bytes()).summed(6)
    }

    /// Its bytes, the checksum left at zero.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.src.to_be_bytes());
        bytes.extend(self.dst.to_be_bytes());
        bytes.extend((8 + self.data.len() as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(&self.data);
        bytes
    }

    fn read(bytes: &[u8]) -> Udp {
        assert!(bytes.len() >= 8, "a UDP header has eight bytes");
        assert_eq!(usize::from(be16(bytes, 4)), bytes.len(), "the UDP length");
        assert_ne!(be16(bytes, 6), 0, "RFC 1122 §4.1.3.4, RFC 8200 §8.1: there is a checksum");
        Udp { src: be16(bytes, 0), dst: be16(bytes, 2), data: bytes[8..].to_vec() }
    }
}

/// Fills in the checksum of a transport.
fn fill_in_sum(data: &mut [u8], field: usize, pseudo_header: &[u8], protocol: u8) {
    data[field..field + 2].fill(0);
    let sum = match checksum(&[pseudo_header, data]) {
        0 if protocol == UDP => 0xffff,
        sum => sum,
    };
    data[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The Internet checksum over several pieces, all of even length but the last (RFC 1071).
pub fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
        }
        sum = (sum & 0xffff) + (sum >> 16);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn addr(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(be32(bytes, at))
}
