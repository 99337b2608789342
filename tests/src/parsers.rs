//! One function per parser of bytes from outside: it must return, whatever the bytes.
//!
//! The fuzz targets in `fuzz/` call these, and so do property tests over random bytes and over
//! damaged valid input. Where something can be said of the result, it is asserted here.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::str::FromStr;

use bytes::Bytes;
use libnet::capture::wire;
use libnet::link::{LinkInfo, Medium, Offload};
use libnet::{Checksum, EthernetHeader, Gso, GsoKind, IpCidr, MacAddr, Packet, gso};

/// A parser under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of the fuzz target.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Valid inputs, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every parser.
pub const TARGETS: &[Target] = &[
    Target { name: "ethernet", run: ethernet, seeds: frames },
    Target { name: "capture", run: capture::run, seeds: capture::seeds },
    Target { name: "bus", run: bus::run, seeds: bus::seeds },
    Target { name: "offload", run: offload, seeds: offloads },
    Target { name: "vnet", run: vnet::run, seeds: vnet::seeds },
    Target { name: "arp", run: stack::arp, seeds: stack::arp_seeds },
    Target { name: "claims", run: claims::run, seeds: claims::seeds },
    Target { name: "ipv4", run: stack::ipv4, seeds: stack::ipv4_seeds },
    Target { name: "icmp", run: stack::icmp, seeds: stack::icmp_seeds },
    Target { name: "ipv6", run: six::ipv6, seeds: six::ipv6_seeds },
    Target { name: "icmp6", run: six::icmp6, seeds: six::icmp6_seeds },
    Target { name: "nd", run: nd::run, seeds: nd::seeds },
    Target { name: "igmp", run: groups::igmp, seeds: groups::igmp_seeds },
    Target { name: "mld", run: groups::mld, seeds: groups::mld_seeds },
    Target { name: "udp", run: stack::udp, seeds: stack::udp_seeds },
    Target { name: "tcp", run: stack::tcp, seeds: stack::tcp_seeds },
    Target { name: "connections", run: connections::run, seeds: connections::seeds },
    Target { name: "forward", run: forward::run, seeds: forward::seeds },
    Target { name: "routes", run: forward::route_text, seeds: forward::route_texts },
    Target { name: "addresses", run: addresses, seeds: address_texts },
];

mod bus;
mod capture;
mod claims;
pub mod connections;
mod forward;
mod groups;
mod nd;
mod six;
mod stack;
mod vnet;

/// Runs the target of that name.
///
/// # Panics
/// When there is no such target, or the parser is wrong.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target's name");
    (target.run)(bytes);
}

/// Ethernet headers, and frames as a capture shows them.
fn ethernet(bytes: &[u8]) {
    let header = EthernetHeader::parse(bytes);
    assert_eq!(header.is_some(), bytes.len() >= EthernetHeader::LEN);
    if let Some(header) = header {
        let mut packet = Packet::new();
        header.prepend_to(&mut packet);
        assert_eq!(
            packet.head(),
            &bytes[..EthernetHeader::LEN],
            "what is written is what was read"
        );
    }
    let packet = Packet::from_payload(Bytes::copy_from_slice(bytes));
    for medium in [Medium::Ethernet, Medium::Ip] {
        assert_eq!(wire::whole_frame(&packet, medium).len(), bytes.len());
    }
}

/// Segmentation and checksum metadata that another process claims of a frame.
///
/// ```text
///  0       1       3       5       7         8
/// +-------+-------+-------+-------+---------+---------
/// | flags | segm. | start | field | MTU/64  | frame
/// +-------+-------+-------+-------+---------+---------
/// ```
fn offload(bytes: &[u8]) {
    let Some((head, frame)) = bytes.split_at_checked(8) else { return };
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let mut packet = Packet::from_payload(Bytes::copy_from_slice(frame));
    if head[0] & 1 != 0 {
        packet.checksum = Checksum::Partial { start: word(3), field: word(5) };
    }
    let kind = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp][usize::from(head[0] >> 1) % 3];
    packet.gso = NonZeroU16::new(word(1)).map(|segment_bytes| Gso { kind, segment_bytes });
    let mtu = 68 + u32::from(head[7]) * 64;
    let mut link = LinkInfo::ethernet("fuzz", "", MacAddr([2, 0, 0, 0, 0, 1]), mtu);
    if head[0] & 0x40 != 0 {
        link.medium = Medium::Ip;
    }
    if head[0] & 0x80 != 0 {
        link.offload = Offload::FULL;
    }
    // IEEE 802.3: a tag comes on top of the longest frame.
    let tag_bytes = if frame.get(12..14) == Some(&[0x81, 0x00]) { 4 } else { 0 };
    let wire_bytes = mtu as usize + EthernetHeader::LEN + tag_bytes;
    let longest = wire_bytes.max(link.offload.max_frame_bytes as usize);
    let mut pieces = VecDeque::new();
    if gso::fit_to_link(packet.clone(), &link, &mut pieces).is_ok() {
        assert!(pieces.iter().all(|piece| piece.len() <= longest), "a piece fits the link");
    } else {
        assert!(pieces.is_empty(), "nothing of what is refused is sent");
    }
    wire::whole_frame(&packet, link.medium);
}

/// Addresses as people type them.
fn addresses(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(mac) = MacAddr::from_str(text) {
        assert_eq!(MacAddr::from_str(&mac.to_string()), Ok(mac), "what is shown can be typed");
    }
    if let Ok(cidr) = IpCidr::from_str(text) {
        let shown = cidr.to_string();
        assert_eq!(IpCidr::from_str(&shown).map(|again| again.to_string()).ok(), Some(shown));
    }
}

fn frames() -> Vec<Vec<u8>> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x08, 0x00]);
    frame.extend(udp_packet(b"hello"));
    vec![frame]
}

fn offloads() -> Vec<Vec<u8>> {
    let mut input = vec![5, 0, 100, 0, 34, 0, 6, 23];
    input.extend(frames().remove(0));
    input.resize(600, 7);
    vec![input]
}

fn address_texts() -> Vec<Vec<u8>> {
    ["02:00:00:00:00:01", "10.0.0.1/24", "fe80::1/64", "2-0-0-0-0-1"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// An IPv4 packet with a UDP datagram in it, the checksums left at zero.
fn udp_packet(data: &[u8]) -> Vec<u8> {
    let total = 28 + data.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend([0x30, 0x39, 0, 7]);
    packet.extend((8 + data.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(data);
    packet
}
