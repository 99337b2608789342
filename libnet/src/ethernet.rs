//! Ethernet II: addresses and the 14-byte header.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::packet::Packet;

/// A 48-bit IEEE 802 MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff, all stations of the segment.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// 00:00:00:00:00:00, no address.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// The group bit is set: broadcast or multicast. Source: IEEE 802-2014 §8.2.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Is it the broadcast address?
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// May a station own it: not a group address and not zero.
    pub fn is_unicast(self) -> bool {
        !self.is_group() && self != Self::ZERO
    }

    /// A locally administered unicast address made of random bytes.
    pub const fn local(random: [u8; 6]) -> Self {
        let mut bytes = random;
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        MacAddr(bytes)
    }

    /// Where frames to a group of IP go: RFC 1112 §6.4, the group's low 23 bits; RFC 2464 §7, its low
    /// 32.
    ///
    /// ```
    /// use libnet::MacAddr;
    /// let mdns = MacAddr::of_group("224.0.0.251".parse()?);
    /// assert_eq!(mdns.to_string(), "01:00:5e:00:00:fb");
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub const fn of_group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(group) => {
                let [_, b, c, d] = group.octets();
                MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
            }
            IpAddr::V6(group) => {
                let [.., a, b, c, d] = group.octets();
                MacAddr([0x33, 0x33, a, b, c, d])
            }
        }
    }

    /// The address as a number below 2^48.
    pub const fn to_u64(self) -> u64 {
        let b = self.0;
        u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }

    /// The address whose number is `value`; bits above 48 are ignored.
    pub const fn from_u64(value: u64) -> Self {
        let b = value.to_be_bytes();
        MacAddr([b[2], b[3], b[4], b[5], b[6], b[7]])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six hexadecimal octets between colons or hyphens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: write six hexadecimal octets, as in 02:00:00:00:00:01")]
pub struct ParseMacError;

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            // `from_str_radix` alone would take a sign.
            let is_octet =
                |p: &&str| (1..=2).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(is_octet).ok_or(ParseMacError)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() {
            return Err(ParseMacError);
        }
        Ok(MacAddr(bytes))
    }
}

/// The EtherType field. Source: IEEE 802 numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4, RFC 894.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP, RFC 826.
    pub const ARP: EtherType = EtherType(0x0806);
    /// IEEE 802.1Q tag.
    pub const VLAN: EtherType = EtherType(0x8100);
    /// IPv6, RFC 2464.
    pub const IPV6: EtherType = EtherType(0x86dd);
}

/// The Ethernet II header.
///
/// ```text
///  0           6           12    14
/// +-----------+-----------+-----+---------
/// | to        | from      | type| payload
/// +-----------+-----------+-----+---------
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EthernetHeader {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// What the payload is.
    pub ethertype: EtherType,
}

impl EthernetHeader {
    /// Bytes of the header.
    pub const LEN: usize = 14;

    /// Reads the header at the front of a frame; `None` if the frame is shorter.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let h: &[u8; 14] = frame.first_chunk()?;
        Some(EthernetHeader {
            dst: MacAddr([h[0], h[1], h[2], h[3], h[4], h[5]]),
            src: MacAddr([h[6], h[7], h[8], h[9], h[10], h[11]]),
            ethertype: EtherType(u16::from_be_bytes([h[12], h[13]])),
        })
    }

    /// Writes the header in front of a packet.
    pub fn prepend_to(self, packet: &mut Packet) {
        let h = packet.prepend(Self::LEN);
        h[..6].copy_from_slice(&self.dst.0);
        h[6..12].copy_from_slice(&self.src.0);
        h[12..].copy_from_slice(&self.ethertype.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let mac = MacAddr([2, 0, 0xab, 0, 0, 0xff]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("2-0-ab-0-0-FF".parse(), Ok(mac));
        assert_eq!(MacAddr::from_u64(mac.to_u64()), mac);
    }

    #[test]
    fn bad_text_is_an_error() {
        for text in
            ["", "1:2:3:4:5", "1:2:3:4:5:6:7", "g0:0:0:0:0:0", "+1:0:0:0:0:0", "001:0:0:0:0:0"]
        {
            assert_eq!(text.parse::<MacAddr>(), Err(ParseMacError), "{text:?}");
        }
    }

    #[test]
    fn header_round_trips() {
        let header = EthernetHeader {
            dst: MacAddr::BROADCAST,
            src: MacAddr([2, 0, 0, 0, 0, 1]),
            ethertype: EtherType::ARP,
        };
        let mut packet = Packet::new();
        header.prepend_to(&mut packet);
        assert_eq!(EthernetHeader::parse(&packet.to_bytes()), Some(header));
        assert_eq!(EthernetHeader::parse(&[0; 13]), None);
    }
}
