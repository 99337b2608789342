//! Messages of neighbour discovery (RFC 4861 §4), written by hand and read back.

use std::net::Ipv6Addr;

use libnet::MacAddr;

use super::Icmp;
use super::six::Ip6;

/// Router solicitation.
pub const RS: u8 = 133;
/// Router advertisement.
pub const RA: u8 = 134;
/// Neighbour solicitation.
pub const NS: u8 = 135;
/// Neighbour advertisement.
pub const NA: u8 = 136;
/// Redirect.
pub const REDIRECT: u8 = 137;

/// The R, S and O flags of an advertisement.
pub const ROUTER: u8 = 0x80;
/// It answers a solicitation.
pub const SOLICITED: u8 = 0x40;
/// It overrides what is remembered.
pub const OVERRIDE: u8 = 0x20;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The group in which an address is asked for.
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The MAC address of a group.
pub fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// A source link-layer address option.
pub fn source_mac(mac: MacAddr) -> Vec<u8> {
    [&[1, 1][..], &mac.0].concat()
}

/// A target link-layer address option.
pub fn target_mac(mac: MacAddr) -> Vec<u8> {
    [&[2, 1][..], &mac.0].concat()
}

/// A prefix information option with L and A as told; lifetimes in seconds.
pub fn prefix(prefix: &str, flags: u8, valid: u32, preferred: u32) -> Vec<u8> {
    let (addr, bits) = prefix.split_once('/').expect("a prefix");
    let addr: Ipv6Addr = addr.parse().expect("an address");
    let mut option = vec![3, 4, bits.parse().expect("a length"), flags];
    option.extend(valid.to_be_bytes());
    option.extend(preferred.to_be_bytes());
    option.extend([0; 4]);
    option.extend(addr.octets());
    option
}

/// The prefix is on the link.
pub const ON_LINK: u8 = 0x80;
/// Addresses may be made of it.
pub const AUTONOMOUS: u8 = 0x40;

/// An MTU option.
pub fn mtu(bytes: u32) -> Vec<u8> {
    [&[5, 1, 0, 0][..], &bytes.to_be_bytes()].concat()
}

/// A message with its body and options, from `src` to `dst`, with the hop limit that it needs.
pub fn message(ty: u8, src: Ipv6Addr, dst: Ipv6Addr, body: &[u8], options: &[Vec<u8>]) -> Ip6 {
    let rest = body[..4].try_into().expect("four bytes");
    let data = [&body[4..], &options.concat()].concat();
    let mut ip = Icmp { ty, code: 0, rest, data }.packet6(src, dst);
    ip.hops = 255;
    ip
}

/// A neighbour solicitation.
pub fn solicit(src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr, options: &[Vec<u8>]) -> Ip6 {
    message(NS, src, dst, &[&[0; 4][..], &target.octets()].concat(), options)
}

/// A neighbour advertisement.
pub fn advertise(
    src: Ipv6Addr,
    dst: Ipv6Addr,
    target: Ipv6Addr,
    flags: u8,
    options: &[Vec<u8>],
) -> Ip6 {
    message(NA, src, dst, &[&[flags, 0, 0, 0][..], &target.octets()].concat(), options)
}

/// A router advertisement to all, of this lifetime in seconds.
pub fn router(src: Ipv6Addr, lifetime: u16, options: &[Vec<u8>]) -> Ip6 {
    let [a, b] = lifetime.to_be_bytes();
    message(RA, src, ALL_NODES, &[64, 0, a, b, 0, 0, 0, 0, 0, 0, 0, 0], options)
}

/// A redirect: packets to `destination` had better go to `target`.
pub fn redirect(
    src: Ipv6Addr,
    dst: Ipv6Addr,
    target: Ipv6Addr,
    destination: Ipv6Addr,
    options: &[Vec<u8>],
) -> Ip6 {
    let body = [&[0; 4][..], &target.octets(), &destination.octets()].concat();
    message(REDIRECT, src, dst, &body, options)
}

/// A message of neighbour discovery that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its type.
    pub ty: u8,
    /// From whom.
    pub src: Ipv6Addr,
    /// To whom.
    pub dst: Ipv6Addr,
    /// What follows type, code and checksum.
    pub body: Vec<u8>,
}

impl Heard {
    /// The message in a packet, if it is one.
    ///
    /// # Panics
    /// When it does not have what RFC 4861 §4 asks of all.
    pub fn of(ip: &Ip6) -> Option<Heard> {
        let icmp = ip.icmp().filter(|icmp| (RS..=REDIRECT).contains(&icmp.ty))?;
        assert_eq!((ip.hops, icmp.code), (255, 0), "RFC 4861 §4");
        let body = [&icmp.rest[..], &icmp.data].concat();
        let heard = Heard { ty: icmp.ty, src: ip.src, dst: ip.dst, body };
        let unknown = ip.src.is_unspecified() && heard.option(1).is_some();
        assert!(!unknown, "RFC 4861 §4.1, §4.3: nobody's link-layer address");
        Some(heard)
    }

    /// The target of a solicitation or an advertisement.
    pub fn target(&self) -> Ipv6Addr {
        Ipv6Addr::from(<[u8; 16]>::try_from(&self.body[4..20]).expect("sixteen bytes"))
    }

    /// The flags of an advertisement.
    pub fn flags(&self) -> u8 {
        self.body[0]
    }

    /// The bytes of the first option of a type, behind type and length.
    ///
    /// # Panics
    /// When the lengths of the options do not hold.
    pub fn option(&self, ty: u8) -> Option<Vec<u8>> {
        let fixed = match self.ty {
            RS => 4,
            RA => 12,
            NS | NA => 20,
            _ => 36,
        };
        let mut rest = &self.body[fixed..];
        let mut found = None;
        while !rest.is_empty() {
            let bytes = usize::from(rest[1]) * 8;
            assert!(bytes > 0 && bytes <= rest.len(), "RFC 4861 §4.6: lengths that hold");
            if rest[0] == ty && found.is_none() {
                found = Some(rest[2..bytes].to_vec());
            }
            rest = &rest[bytes..];
        }
        found
    }

    /// The source or target link-layer address in it.
    pub fn mac(&self) -> Option<MacAddr> {
        let ty = if self.ty == NA || self.ty == REDIRECT { 2 } else { 1 };
        self.option(ty).map(|mac| MacAddr(mac[..].try_into().expect("six bytes")))
    }
}
