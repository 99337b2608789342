//! What an ICMP or ICMPv6 message says of a packet that it quotes.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

/// A message about a packet of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Quoted<'a> {
    pub(crate) kind: Kind,
    /// The packet's protocol.
    pub(crate) protocol: u8,
    /// Where the packet went.
    pub(crate) dst: IpAddr,
    /// What of it is quoted behind its IP header.
    inner: &'a [u8],
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    TimeExceeded,
    /// The next link's MTU, bytes; 0: it was not told.
    TooBig(u32),
    /// In traceroute's letters.
    Unreachable {
        letters: String,
        is_port: bool,
    },
    EchoReply {
        id: u16,
        seq: u16,
    },
}

impl<'a> Quoted<'a> {
    /// Reads what a raw socket of the destination's family received.
    pub(crate) fn read(packet: &'a [u8], destination: IpAddr) -> Option<Self> {
        let message = without_ip(packet, destination);
        let (&ty, &code) = (message.first()?, message.get(1)?);
        let word = |at: usize| message.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
        let reply_type = if destination.is_ipv4() { 0 } else { 129 };
        if ty == reply_type {
            let kind = Kind::EchoReply { id: word(4)?, seq: word(6)? };
            return Some(Quoted { kind, protocol: 0, dst: destination, inner: &[] });
        }
        let quoted = message.get(8..)?;
        match destination {
            IpAddr::V4(_) => {
                let kind = kind4(ty, code, word(6)?)?;
                let ip = Ipv4HeaderSlice::from_slice(quoted).ok()?;
                let inner = quoted.get(ip.slice().len()..)?;
                let dst = IpAddr::V4(ip.destination_addr());
                Some(Quoted { kind, protocol: ip.protocol().0, dst, inner })
            }
            IpAddr::V6(_) => {
                let mtu = message.get(4..8)?.try_into().map(u32::from_be_bytes).ok()?;
                let kind = kind6(ty, code, mtu)?;
                let ip = Ipv6HeaderSlice::from_slice(quoted).ok()?;
                let inner = quoted.get(ip.header_len()..)?;
                let dst = IpAddr::V6(ip.destination_addr());
                Some(Quoted { kind, protocol: ip.next_header().0, dst, inner })
            }
        }
    }

    /// Two bytes of the quoted packet behind its IP header.
    pub(crate) fn inner_u16(&self, at: usize) -> Option<u16> {
        self.inner.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

/// What stands behind the IP header: raw sockets of IPv4 give that too.
pub(crate) fn without_ip(packet: &[u8], destination: IpAddr) -> &[u8] {
    match Ipv4HeaderSlice::from_slice(packet) {
        Ok(ip) if destination.is_ipv4() => &packet[ip.slice().len()..],
        _ => packet,
    }
}

/// RFC 792, RFC 1122 §3.2.2.1, RFC 1191 §4, RFC 1812 §5.2.7.1.
fn kind4(ty: u8, code: u8, mtu: u16) -> Option<Kind> {
    let letters = match (ty, code) {
        (11, 0) => return Some(Kind::TimeExceeded),
        (3, 4) => return Some(Kind::TooBig(u32::from(mtu))),
        (3, 0 | 6 | 8 | 11) => "!N".to_owned(),
        (3, 1 | 7 | 12) => "!H".to_owned(),
        (3, 2) => "!P".to_owned(),
        (3, 3) => String::new(),
        (3, 5) => "!S".to_owned(),
        (3, 9 | 10 | 13) => "!X".to_owned(),
        (3, 14) => "!V".to_owned(),
        (3, 15) => "!C".to_owned(),
        (3, code) => format!("!<{code}>"),
        _ => return None,
    };
    Some(Kind::Unreachable { letters, is_port: code == 3 })
}

/// RFC 4443 §3.
fn kind6(ty: u8, code: u8, mtu: u32) -> Option<Kind> {
    let letters = match (ty, code) {
        (3, 0) => return Some(Kind::TimeExceeded),
        (2, _) => return Some(Kind::TooBig(mtu)),
        (1, 0) => "!N".to_owned(),
        (1, 1) => "!X".to_owned(),
        (1, 2 | 3) => "!H".to_owned(),
        (1, 4) => String::new(),
        (1, code) => format!("!<{code}>"),
        _ => return None,
    };
    Some(Kind::Unreachable { letters, is_port: code == 4 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_names_the_packet_that_it_quotes() {
        let dst: IpAddr = "10.2.0.1".parse().unwrap();
        let mut message = vec![11, 0, 0, 0, 0, 0, 0, 0];
        message.extend([0x45, 0, 0, 60, 0, 0, 0, 0, 1, 17, 0, 0, 10, 0, 0, 9, 10, 2, 0, 1]);
        message.extend([0x80, 0x01, 0x82, 0x9b, 0, 40, 0, 0]);
        let quoted = Quoted::read(&message, dst).unwrap();
        assert_eq!(
            (quoted.kind.clone(), quoted.protocol, quoted.dst),
            (Kind::TimeExceeded, 17, dst)
        );
        assert_eq!((quoted.inner_u16(0), quoted.inner_u16(2)), (Some(0x8001), Some(33435)));
        assert_eq!(quoted.inner_u16(8), None);
        message[..8].copy_from_slice(&[3, 4, 0, 0, 0, 0, 5, 0x78]);
        assert_eq!(Quoted::read(&message, dst).unwrap().kind, Kind::TooBig(1400));
        message[..2].copy_from_slice(&[3, 13]);
        let kind = Kind::Unreachable { letters: "!X".into(), is_port: false };
        assert_eq!(Quoted::read(&message, dst).unwrap().kind, kind);
    }

    proptest! {
        #[test]
        fn any_message_is_survived(message in prop::collection::vec(any::<u8>(), 0..100)) {
            for dst in ["10.0.0.1", "fd00::1"] {
                if let Some(quoted) = Quoted::read(&message, dst.parse().unwrap()) {
                    let _ = quoted.inner_u16(6);
                }
            }
        }
    }
}
