//! Builds the IP packets that a capture shows for calls; the host's real ones are not seen here.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use libnet::checksum::{Sum, checksum};
use libnet::packet::Packet;
use libnet::socket::Protocol;

/// The most data that a packet takes: an IPv4 packet of 65,535 bytes with the longest TCP header
/// that is built here.
pub(crate) const MAX_DATA_BYTES: usize = 65_535 - 20 - TCP_BYTES - SYN_OPTIONS.len();

const TCP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
/// RFC 7323 §2.2: a window scale of 14 bits, so that no window looks full; and padding.
const SYN_OPTIONS: [u8; 4] = [3, 3, 14, 1];
/// As the host sends by default.
const HOPS: u8 = 64;

/// Flags of a TCP header. Source: RFC 9293 §3.1.
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const RST: u8 = 4;
    pub(crate) const PSH: u8 = 8;
    pub(crate) const ACK: u8 = 16;
    pub(crate) const URG: u8 = 32;
}

/// A segment to be shown.
pub(crate) struct Segment<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) data: &'a [u8],
}

/// ```text
/// | IP | ports, seq, ack, flags, window, checksum, urgent pointer | options of a SYN | data
/// ```
pub(crate) fn tcp(segment: &Segment<'_>) -> Packet {
    let options: &[u8] = if segment.flags & flag::SYN != 0 { &SYN_OPTIONS } else { &[] };
    let mut out = Vec::with_capacity(TCP_BYTES + options.len() + segment.data.len());
    out.extend(segment.from.port().to_be_bytes());
    out.extend(segment.to.port().to_be_bytes());
    out.extend(segment.seq.to_be_bytes());
    out.extend(segment.ack.to_be_bytes());
    out.push((((TCP_BYTES + options.len()) / 4) << 4) as u8);
    out.push(segment.flags);
    out.extend(u16::MAX.to_be_bytes());
    out.extend([0; 2]);
    // RFC 6093 §3.1: the pointer is to the byte after the urgent one, the last here.
    let urgent = if segment.flags & flag::URG != 0 { segment.data.len() } else { 0 };
    out.extend((urgent as u16).to_be_bytes());
    out.extend(options);
    out.extend(segment.data);
    let (from, to) = (segment.from.ip(), segment.to.ip());
    let sum = transport_sum(from, to, Protocol::TCP, &out);
    out[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(from, to, Protocol::TCP, &out)
}

/// A datagram of at most [`MAX_DATA_BYTES`], or a little more.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Packet {
    let mut out = Vec::with_capacity(UDP_BYTES + data.len());
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(((UDP_BYTES + data.len()) as u16).to_be_bytes());
    out.extend([0; 2]);
    out.extend(data);
    // RFC 768: zero would mean "none".
    let sum = match transport_sum(from.ip(), to.ip(), Protocol::UDP, &out) {
        0 => u16::MAX,
        sum => sum,
    };
    out[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(from.ip(), to.ip(), Protocol::UDP, &out)
}

/// What a ping or raw socket carries; `ident` is what the host writes into the echoes of a ping
/// socket. Checksums that the host fills in are filled in.
pub(crate) fn raw(
    from: IpAddr,
    to: IpAddr,
    protocol: Protocol,
    data: &[u8],
    ident: Option<u16>,
) -> Packet {
    let mut out = data.to_vec();
    if let (Some(ident), Some(field)) = (ident, out.get_mut(4..6)) {
        field.copy_from_slice(&ident.to_be_bytes());
    }
    let is_v6 = protocol == Protocol::ICMPV6;
    if (is_v6 || ident.is_some())
        && let Some(field) = out.get_mut(2..4)
    {
        field.fill(0);
        let sum = if is_v6 { transport_sum(from, to, protocol, &out) } else { checksum(&out) };
        out[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    ip(from, to, protocol, &out)
}

/// A packet that came or went with its IPv4 header: of a cut one, what there is of it.
pub(crate) fn whole_v4(bytes: &[u8]) -> Option<Packet> {
    let header_bytes = usize::from(bytes.first()? & 0xf) * 4;
    let mut out = bytes.to_vec();
    let header = out.get_mut(..header_bytes).filter(|header| header.len() >= 20)?;
    header[2..4].copy_from_slice(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
    header[10..12].fill(0);
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(Packet::from_payload(out.into()))
}

fn ip(from: IpAddr, to: IpAddr, protocol: Protocol, data: &[u8]) -> Packet {
    let mut header = Vec::with_capacity(40);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x45, 0]);
            header.extend(((20 + data.len()) as u16).to_be_bytes());
            // RFC 6864 §4.1: what is not to be fragmented needs no identification.
            header.extend([0, 0, 0x40, 0, HOPS, protocol.0, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {
            header.extend([0x60, 0, 0, 0]);
            header.extend((data.len() as u16).to_be_bytes());
            header.extend([protocol.0, HOPS]);
            header.extend(v6_octets(from));
            header.extend(v6_octets(to));
        }
    }
    let mut packet = Packet::from_payload(Bytes::from(header));
    packet.push_payload(Bytes::copy_from_slice(data));
    packet
}

/// The checksum over the pseudo-header and `data`, whose own field is zero.
fn transport_sum(from: IpAddr, to: IpAddr, protocol: Protocol, data: &[u8]) -> u16 {
    let mut sum = Sum::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            sum.add(&from.octets());
            sum.add(&to.octets());
        }
        _ => {
            sum.add(&v6_octets(from));
            sum.add(&v6_octets(to));
        }
    }
    sum.add_u16(protocol.0.into());
    sum.add_u16(data.len() as u16);
    sum.add(data);
    sum.finish()
}

fn v6_octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums to zero over the pseudo-header, as a receiver checks it.
    fn verify(packet: &Packet, transport_at: usize) {
        let bytes = packet.to_bytes();
        let protocol = if transport_at == 20 { bytes[9] } else { bytes[6] };
        let addresses = if transport_at == 20 { 12..20 } else { 8..40 };
        let mut sum = Sum::new();
        sum.add(&bytes[addresses]);
        sum.add_u16(protocol.into());
        sum.add_u16((bytes.len() - transport_at) as u16);
        sum.add(&bytes[transport_at..]);
        assert_eq!(sum.finish(), 0);
        if transport_at == 20 {
            assert_eq!(checksum(&bytes[..20]), 0);
        }
    }

    #[test]
    fn every_checksum_is_right_whatever_the_family_and_length() {
        for (from, to, at) in [("10.0.0.1:1", "10.0.0.2:2", 20), ("[fd00::1]:1", "[fd00::2]:2", 40)]
        {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for length in [0, 1, 2, 1_499, MAX_DATA_BYTES] {
                let data = vec![0xa5; length];
                verify(&udp(from, to, &data), at);
                let flags = flag::PSH | flag::ACK;
                verify(&tcp(&Segment { from, to, seq: 7, ack: 9, flags, data: &data }), at);
            }
            verify(&tcp(&Segment { from, to, seq: 7, ack: 0, flags: flag::SYN, data: &[] }), at);
        }
    }

    #[test]
    fn the_hosts_part_of_an_echo_is_filled_in() {
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let echo = [8, 0, 0, 0, 0, 0, 0, 1, b'x'];
        let bytes = raw(from, to, Protocol::ICMP, &echo, Some(0x1234)).to_bytes();
        assert_eq!(bytes[24..26], [0x12, 0x34]);
        assert_eq!(checksum(&bytes[20..]), 0);
        let (from, to) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        verify(&raw(from, to, Protocol::ICMPV6, &[128, 0, 0, 0, 0, 1, 0, 1], None), 40);
        assert!(whole_v4(&[0x45; 19]).is_none(), "too short for a header");
        assert!(whole_v4(&[]).is_none());
    }
}
