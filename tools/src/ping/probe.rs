//! Echo requests and what comes back, as bytes: ICMP (RFC 792) and ICMPv6 (RFC 4443).

use std::net::IpAddr;

use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, Ipv6HeaderSlice};
use libnet::checksum::checksum;

/// Bytes of an echo message's header.
pub(super) const HEADER_BYTES: usize = 8;

/// What a packet has to say about our requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// An answer to the request of this number, this long with its header.
    Reply { seq: u16, bytes: usize, is_intact: bool },
    /// The request of this number went no further.
    Error { seq: u16, text: String },
    /// A router has something to say of it, and has passed it on: its answer may still come.
    Notice { seq: u16, text: String },
}

/// An echo request. Its checksum is complete for ICMP; for ICMPv6 the stack sets it.
pub(super) fn request(is_v4: bool, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + payload.len());
    message.extend([if is_v4 { 8 } else { 128 }, 0, 0, 0]);
    message.extend(id.to_be_bytes());
    message.extend(seq.to_be_bytes());
    message.extend(payload);
    if is_v4 {
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// What a received ICMP message says about requests of ours: those with `id` to `destination`.
/// `None`: nothing.
pub(super) fn read(message: &[u8], id: u16, destination: IpAddr, payload: &[u8]) -> Option<Answer> {
    match destination {
        IpAddr::V4(destination) => {
            let icmp = Icmpv4Slice::from_slice(message).ok()?;
            match icmp.type_u8() {
                0 => reply(message, id, payload),
                kind @ (3 | 4 | 5 | 11 | 12) => {
                    let quoted = Ipv4HeaderSlice::from_slice(message.get(8..)?).ok()?;
                    let inner = message.get(8 + quoted.slice().len()..)?;
                    let ours = quoted.destination_addr() == destination
                        && quoted.protocol().0 == 1
                        && inner.first() == Some(&8);
                    let seq = quoted_seq(inner, id).filter(|_| ours)?;
                    let text = error4(kind, icmp.code_u8(), message);
                    // As `ping` of iputils has it: source quench and redirect end nothing.
                    Some(match kind {
                        4 | 5 => Answer::Notice { seq, text },
                        _ => Answer::Error { seq, text },
                    })
                }
                _ => None,
            }
        }
        IpAddr::V6(destination) => {
            let icmp = Icmpv6Slice::from_slice(message).ok()?;
            match icmp.type_u8() {
                129 => reply(message, id, payload),
                kind @ 1..=4 => {
                    let quoted = Ipv6HeaderSlice::from_slice(message.get(8..)?).ok()?;
                    let inner = message.get(8 + quoted.header_len()..)?;
                    let ours = quoted.destination_addr() == destination
                        && quoted.next_header().0 == 58
                        && inner.first() == Some(&128);
                    let seq = quoted_seq(inner, id).filter(|_| ours)?;
                    Some(Answer::Error { seq, text: error6(kind, icmp.code_u8(), message) })
                }
                _ => None,
            }
        }
    }
}

/// The ICMP message of a received packet: raw IPv4 sockets give the IP header too.
pub(super) fn strip_ip(packet: &[u8], destination: IpAddr) -> &[u8] {
    match Ipv4HeaderSlice::from_slice(packet) {
        Ok(ip) if destination.is_ipv4() => &packet[ip.slice().len()..],
        _ => packet,
    }
}

fn reply(message: &[u8], id: u16, payload: &[u8]) -> Option<Answer> {
    let &[_, _, _, _, a, b, c, d, ref echoed @ ..] = message else { return None };
    (u16::from_be_bytes([a, b]) == id).then(|| Answer::Reply {
        seq: u16::from_be_bytes([c, d]),
        bytes: message.len(),
        is_intact: echoed == payload,
    })
}

fn quoted_seq(inner: &[u8], id: u16) -> Option<u16> {
    let &[_, _, _, _, a, b, c, d, ..] = inner else { return None };
    (u16::from_be_bytes([a, b]) == id).then(|| u16::from_be_bytes([c, d]))
}

fn error4(kind: u8, code: u8, message: &[u8]) -> String {
    let text = match (kind, code) {
        (3, 0) => "Destination Net Unreachable",
        (3, 1) => "Destination Host Unreachable",
        (3, 2) => "Destination Protocol Unreachable",
        (3, 3) => "Destination Port Unreachable",
        (3, 4) => {
            let mtu = message.get(6..8).map_or(0, |mtu| u16::from_be_bytes([mtu[0], mtu[1]]));
            return format!("Frag needed and DF set (mtu = {mtu})");
        }
        (3, 5) => "Source Route Failed",
        (3, 6) => "Destination Net Unknown",
        (3, 7) => "Destination Host Unknown",
        (3, 9) => "Destination Net Prohibited",
        (3, 10) => "Destination Host Prohibited",
        (3, 13) => "Packet filtered",
        (3, _) => return format!("Dest Unreachable, Bad Code: {code}"),
        (4, _) => "Source Quench",
        (5, _) => "Redirect",
        (11, 0) => "Time to live exceeded",
        (11, 1) => "Frag reassembly time exceeded",
        (12, _) => "Parameter problem",
        _ => return format!("ICMP type {kind}, code {code}"),
    };
    text.to_owned()
}

fn error6(kind: u8, code: u8, message: &[u8]) -> String {
    let text = match (kind, code) {
        (1, 0) => "Destination unreachable: No route",
        (1, 1) => "Destination unreachable: Administratively prohibited",
        (1, 2) => "Destination unreachable: Beyond scope of source address",
        (1, 3) => "Destination unreachable: Address unreachable",
        (1, 4) => "Destination unreachable: Port unreachable",
        (1, _) => return format!("Destination unreachable: Unknown code {code}"),
        (2, _) => {
            let mtu = message.get(4..8).and_then(|mtu| mtu.try_into().ok()).unwrap_or_default();
            return format!("Packet too big: mtu={}", u32::from_be_bytes(mtu));
        }
        (3, 0) => "Time exceeded: Hop limit",
        (3, 1) => "Time exceeded: Defragmentation failure",
        (4, _) => "Parameter problem",
        _ => return format!("ICMPv6 type {kind}, code {code}"),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4() -> IpAddr {
        "10.0.0.1".parse().unwrap()
    }

    fn quoting(kind: u8, code: u8, request: &[u8], protocol: u8) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0, 0, 0, 5, 0x78];
        let len = (20 + request.len()) as u16;
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1];
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        message.extend(ip);
        message.extend(&request[..8]);
        message
    }

    #[test]
    fn a_request_turned_round_is_its_reply() {
        let mut message = request(true, 7, 3, b"payload");
        assert_eq!(checksum(&message), 0);
        message[0] = 0;
        let answer = read(&message, 7, v4(), b"payload");
        assert_eq!(answer, Some(Answer::Reply { seq: 3, bytes: 15, is_intact: true }));
        assert_eq!(read(&message, 8, v4(), b"payload"), None, "another's");
        let answer = read(&message, 7, v4(), b"pay1oad");
        assert_eq!(answer, Some(Answer::Reply { seq: 3, bytes: 15, is_intact: false }));
    }

    #[test]
    fn an_error_names_the_request_that_it_quotes() {
        let sent = request(true, 7, 9, b"");
        let answer = read(&quoting(3, 1, &sent, 1), 7, v4(), b"");
        let text = "Destination Host Unreachable".to_owned();
        assert_eq!(answer, Some(Answer::Error { seq: 9, text }));
        let answer = read(&quoting(3, 4, &sent, 1), 7, v4(), b"");
        let text = "Frag needed and DF set (mtu = 1400)".to_owned();
        assert_eq!(answer, Some(Answer::Error { seq: 9, text }));
        // A redirect is no end: the router has passed it on.
        let answer = read(&quoting(5, 1, &sent, 1), 7, v4(), b"");
        assert_eq!(answer, Some(Answer::Notice { seq: 9, text: "Redirect".to_owned() }));
        assert_eq!(read(&quoting(3, 3, &sent, 17), 7, v4(), b""), None, "not ICMP");
        assert_eq!(read(&quoting(3, 1, &request(true, 8, 9, b""), 1), 7, v4(), b""), None);
    }

    proptest! {
        #[test]
        fn any_message_is_survived(message in prop::collection::vec(any::<u8>(), 0..80)) {
            for destination in [v4(), "fd00::1".parse().unwrap()] {
                let _ = read(strip_ip(&message, destination), 0, destination, b"");
            }
        }
    }
}
