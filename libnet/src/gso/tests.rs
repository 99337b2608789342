//! Pieces against an oracle: together they are the whole, and each stands a strict parse.

use std::num::NonZeroU16;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::ethernet::MacAddr;
use crate::link::Offload;
use crate::time::Instant;

#[derive(Clone, Debug)]
struct Shape {
    medium: Medium,
    v6: bool,
    udp: bool,
    tag: bool,
    options_words: u8,
    flags: u8,
    payload: Vec<u8>,
    segment_bytes: u16,
    chunk_bytes: usize,
    /// How many of the bytes sit in the head room.
    in_head: bool,
    /// Units of eight bytes of destination options, in IPv6.
    extension_units: u8,
}

const SEQ: u32 = 0xffff_ff00;
const ID: u16 = 0xfffe;

impl Shape {
    fn link(&self, offload: Offload) -> LinkInfo {
        let mut link = LinkInfo::ethernet("test", "", MacAddr::ZERO, 1_500);
        link.medium = self.medium;
        link.offload = offload;
        link
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes;
        if self.udp {
            bytes = vec![0x10, 0, 0x20, 0, 0, 0, 0, 0];
            put16(&mut bytes, 4, (8 + self.payload.len()) as u16);
        } else {
            bytes = vec![0; 20 + 4 * usize::from(self.options_words)];
            bytes[0] = 0x10;
            bytes[2] = 0x20;
            bytes[4..8].copy_from_slice(&SEQ.to_be_bytes());
            bytes[12] = (5 + self.options_words) << 4;
            bytes[13] = self.flags;
            bytes[20..].fill(1);
        }
        bytes
    }

    fn network(&self, transport_bytes: usize) -> Vec<u8> {
        let protocol = if self.udp { 17 } else { 6 };
        if self.v6 {
            let mut ip = vec![0; 40];
            ip[0] = 0x60;
            let units = usize::from(self.extension_units);
            put16(&mut ip, 4, (transport_bytes + 8 * units) as u16);
            ip[6] = if units > 0 { 60 } else { protocol };
            ip[7] = 64;
            ip[8..40].copy_from_slice(&[0xfd; 32]);
            if units > 0 {
                // One option that pads.
                ip.extend([protocol, self.extension_units - 1, 1, (8 * units - 4) as u8]);
                ip.resize(40 + 8 * units, 0);
            }
            ip
        } else {
            let mut ip = vec![0; 20];
            ip[0] = 0x45;
            put16(&mut ip, 2, (20 + transport_bytes) as u16);
            put16(&mut ip, 4, ID);
            ip[6] = 0x40;
            ip[8] = 64;
            ip[9] = protocol;
            ip[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = checksum::checksum(&ip);
            put16(&mut ip, 10, sum);
            ip
        }
    }

    fn kind(&self) -> GsoKind {
        match (self.udp, self.v6) {
            (true, _) => GsoKind::Udp,
            (false, false) => GsoKind::Tcp4,
            (false, true) => GsoKind::Tcp6,
        }
    }

    fn packet(&self) -> Packet {
        let mut headers = Vec::new();
        if self.medium == Medium::Ethernet {
            headers.extend([2; 12]);
            if self.tag {
                headers.extend([0x81, 0, 0, 7]);
            }
            headers.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
        }
        let transport = self.transport();
        headers.extend(self.network(transport.len() + self.payload.len()));
        let start = headers.len();
        headers.extend(transport);
        let field = if self.udp { 6 } else { 16 };

        let mut packet = Packet::new();
        if !self.in_head {
            packet.push_payload(Bytes::copy_from_slice(&headers));
        }
        for chunk in self.payload.chunks(self.chunk_bytes) {
            packet.push_payload(Bytes::copy_from_slice(chunk));
        }
        if self.in_head {
            packet.prepend(headers.len()).copy_from_slice(&headers);
        }
        let segment_bytes = NonZeroU16::new(self.segment_bytes).unwrap();
        let gso = Gso { kind: self.kind(), segment_bytes };
        packet.gso = Some(gso);
        let layout = Layout::of(&packet, gso, self.medium).unwrap();
        let seed = layout.pseudo_sum(packet.len() - start);
        packet.write_at(start + field, &seed.to_be_bytes());
        packet.checksum = Checksum::Partial { start: start as u16, field: field as u16 };
        packet.rx_at = Instant::from_millis(3);
        packet
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let payload = proptest::collection::vec(any::<u8>(), 0..20_000);
    (any::<[bool; 5]>(), 0u8..=10, any::<u8>(), payload, 8u16..1_400, 1usize..5_000).prop_map(
        |([ip, v6, udp, tag, in_head], options_words, flags, payload, segment_bytes, chunk)| {
            let flags = (flags & !(TCP_SYN | TCP_RST | TCP_URG)) | 0x10;
            let medium = if ip { Medium::Ip } else { Medium::Ethernet };
            let tag = tag && !ip;
            Shape {
                medium,
                v6,
                udp,
                tag,
                options_words,
                flags,
                payload,
                segment_bytes,
                chunk_bytes: chunk,
                in_head,
                extension_units: chunk as u8 % 2,
            }
        },
    )
}

fn parse<'a>(shape: &Shape, bytes: &'a [u8]) -> SlicedPacket<'a> {
    match shape.medium {
        Medium::Ip => SlicedPacket::from_ip(bytes).unwrap(),
        Medium::Ethernet => SlicedPacket::from_ethernet(bytes).unwrap(),
    }
}

/// Sums the transport part with its pseudo-header; a right packet gives zero.
fn verify(parsed: &SlicedPacket<'_>) {
    let mut sum = Sum::new();
    let (slice, transport_bytes) = match parsed.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            assert_eq!(checksum::checksum(ip.header().slice()), 0);
            sum.add(&ip.header().slice()[12..20]);
            (ip.payload().payload, ip.payload().payload.len())
        }
        NetSlice::Ipv6(ip) => {
            sum.add(&ip.header().slice()[8..40]);
            (ip.payload().payload, ip.payload().payload.len())
        }
        NetSlice::Arp(_) => unreachable!("only IP is made here"),
    };
    let protocol = match parsed.transport.as_ref().unwrap() {
        TransportSlice::Udp(_) => 17,
        _ => 6,
    };
    sum.add_u16(protocol);
    sum.add(&(transport_bytes as u32).to_be_bytes());
    sum.add(slice);
    assert_eq!(sum.finish(), 0, "transport checksum");
}

fn check_piece(shape: &Shape, number: usize, last: bool, offset: usize, piece: &Packet) -> Vec<u8> {
    assert!(piece.gso.is_none());
    assert_eq!(piece.rx_at, Instant::from_millis(3));
    let bytes = piece.to_bytes();
    let parsed = parse(shape, &bytes);
    verify(&parsed);
    if let NetSlice::Ipv4(ip) = parsed.net.as_ref().unwrap() {
        assert_eq!(ip.header().identification(), ID.wrapping_add(number as u16));
        assert!(ip.header().dont_fragment());
    }
    match parsed.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => {
            assert_eq!(tcp.sequence_number(), SEQ.wrapping_add(offset as u32));
            assert_eq!(tcp.fin(), last && shape.flags & TCP_FIN != 0);
            assert_eq!(tcp.psh(), last && shape.flags & TCP_PSH != 0);
            assert_eq!(tcp.cwr(), number == 0 && shape.flags & TCP_CWR != 0);
            assert!(tcp.ack());
            tcp.payload().to_vec()
        }
        TransportSlice::Udp(udp) => {
            assert_eq!(usize::from(udp.length()), 8 + udp.payload().len());
            udp.payload().to_vec()
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pieces_are_the_whole_and_each_is_well_formed(shape in shapes()) {
        for partial_checksum in [false, true] {
            let offload = Offload { partial_checksum, ..Offload::NONE };
            let mut out = VecDeque::new();
            fit_to_link(shape.packet(), &shape.link(offload), &mut out).unwrap();
            let count = out.len();
            prop_assert_eq!(
                count,
                shape.payload.len().div_ceil(usize::from(shape.segment_bytes)).max(1)
            );
            let mut whole = Vec::new();
            for (number, mut piece) in out.into_iter().enumerate() {
                let partial = matches!(piece.checksum, Checksum::Partial { .. });
                prop_assert_eq!(partial, partial_checksum);
                prop_assert!(piece.complete_checksum());
                let offset = whole.len();
                whole.extend(check_piece(&shape, number, number + 1 == count, offset, &piece));
            }
            prop_assert_eq!(&whole, &shape.payload);
        }
    }

    #[test]
    fn a_link_with_offloads_takes_it_whole(shape in shapes()) {
        let mut out = VecDeque::new();
        fit_to_link(shape.packet(), &shape.link(Offload::FULL), &mut out).unwrap();
        prop_assert_eq!(out.len(), 1);
        prop_assert_eq!(out[0].to_bytes(), shape.packet().to_bytes());
        prop_assert_eq!(out[0].gso, shape.packet().gso);
    }

    #[test]
    fn no_packet_makes_it_panic(
        shape in shapes(),
        harm in proptest::collection::vec((0usize..80, any::<u8>()), 0..4),
        start in any::<u16>(),
        field in any::<u16>(),
        checksum in 0u8..4,
        keep in 0usize..20_000,
    ) {
        let mut packet = shape.packet();
        for (at, value) in harm {
            packet.write_at(at.min(packet.len() - 1), &[value]);
        }
        packet.checksum = match checksum {
            0 => Checksum::Unverified,
            1 => Checksum::Trusted,
            2 => Checksum::Partial { start, field },
            _ => packet.checksum,
        };
        packet.truncate(keep);
        for offload in [Offload::NONE, Offload::FULL] {
            let mut out = VecDeque::new();
            let fitted = fit_to_link(packet.clone(), &shape.link(offload), &mut out);
            prop_assert_eq!(fitted.is_err(), out.is_empty());
        }
    }
}

fn plain() -> Shape {
    Shape {
        medium: Medium::Ethernet,
        v6: false,
        udp: false,
        tag: false,
        options_words: 3,
        flags: 0x18,
        payload: (0..10_000).map(|i| i as u8).collect(),
        segment_bytes: 1_448,
        chunk_bytes: 10_000,
        in_head: true,
        extension_units: 0,
    }
}

/// A TCP super-segment over Ethernet and IPv4, for other modules' tests.
pub(crate) fn super_segment(payload_bytes: usize, segment_bytes: u16) -> Packet {
    Shape { payload: vec![7; payload_bytes], segment_bytes, ..plain() }.packet()
}

fn refused(packet: Packet) -> Unfit {
    let mut out = VecDeque::new();
    let error = fit_to_link(packet, &plain().link(Offload::NONE), &mut out).unwrap_err();
    assert!(out.is_empty());
    error
}

#[test]
fn payload_is_shared_and_not_copied() {
    let packet = plain().packet();
    let whole = packet.payload().next().unwrap().as_ptr_range();
    let mut out = VecDeque::new();
    fit_to_link(packet, &plain().link(Offload::NONE), &mut out).unwrap();
    assert_eq!(out.len(), 7);
    for piece in &out {
        let part = piece.payload().next().unwrap().as_ptr_range();
        assert!(whole.start <= part.start && part.end <= whole.end);
    }
}

#[test]
fn what_is_longer_than_the_link_takes_whole_is_cut_to_the_mtu() {
    let fits = |max_frame_bytes| {
        let offload = Offload { max_frame_bytes, ..Offload::FULL };
        let mut out = VecDeque::new();
        fit_to_link(plain().packet(), &plain().link(offload), &mut out).unwrap();
        out.len()
    };
    let whole = plain().packet().len() as u32;
    assert_eq!(fits(whole), 1);
    assert_eq!(fits(whole - 1), 7);
    assert_eq!(fits(0), 7, "0 means the MTU and the link header");
}

#[test]
fn segments_past_the_mtu_are_refused() {
    let shape = Shape { segment_bytes: 1_449, ..plain() };
    assert_eq!(refused(shape.packet()), Unfit::BadOffload);
}

#[test]
fn a_frame_past_the_mtu_without_instructions_is_too_long() {
    let mut packet = Shape { payload: vec![0; 1_449], ..plain() }.packet();
    packet.gso = None;
    assert_eq!(refused(packet), Unfit::TooLong);
}

#[test]
fn a_wrong_sum_of_the_whole_does_not_become_right_by_cutting() {
    let mut packet = plain().packet();
    assert!(packet.complete_checksum());
    packet.checksum = Checksum::Unverified;
    let mut out = VecDeque::new();
    fit_to_link(packet.clone(), &plain().link(Offload::NONE), &mut out).unwrap();
    packet.write_at(1_000, &[0xaa]);
    assert_eq!(refused(packet), Unfit::BadOffload);
}

#[test]
fn syn_and_rst_are_not_cut() {
    for flags in [TCP_SYN, TCP_RST] {
        assert_eq!(refused(Shape { flags, ..plain() }.packet()), Unfit::BadOffload);
    }
}

#[test]
fn the_urgent_pointer_moves_with_its_byte() {
    let mut packet = Shape { flags: TCP_URG | 0x10, ..plain() }.packet();
    packet.write_at(14 + 20 + 18, &2_000u16.to_be_bytes());
    let mut out = VecDeque::new();
    fit_to_link(packet, &plain().link(Offload::NONE), &mut out).unwrap();
    let urgent: Vec<_> = out
        .iter()
        .map(|piece| {
            let bytes = piece.to_bytes();
            let parsed = SlicedPacket::from_ethernet(&bytes).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = parsed.transport else { panic!("not TCP") };
            tcp.urg().then(|| tcp.urgent_pointer())
        })
        .collect();
    assert_eq!(urgent, [Some(2_000), Some(552), None, None, None, None, None]);
}

#[test]
fn one_byte_segments_of_a_large_packet_are_refused() {
    let shape = Shape { segment_bytes: 1, payload: vec![0; 60_000], ..plain() };
    assert_eq!(refused(shape.packet()), Unfit::BadOffload);
}

/// Data of each of [`received_segments`] but the last.
pub(crate) const SEGMENT_BYTES: u16 = 1_428;

/// The segments of a stream as a plain link brings them, each one buffer; for other modules' tests.
pub(crate) fn received_segments(medium: Medium, v6: bool, payload_bytes: usize) -> Vec<Packet> {
    let payload = (0..payload_bytes).map(|i| (i * 7) as u8).collect();
    let shape = Shape { medium, v6, payload, segment_bytes: SEGMENT_BYTES, ..plain() };
    cut_plainly(shape.packet(), medium)
}

/// What a packet is on a plain link, each one buffer; for other modules' tests.
pub(crate) fn cut_plainly(packet: Packet, medium: Medium) -> Vec<Packet> {
    let link = Shape { medium, ..plain() }.link(Offload::default());
    let mut pieces = VecDeque::new();
    fit_to_link(packet, &link, &mut pieces).unwrap();
    let received = |piece: Packet| Packet::received(piece.to_bytes(), Instant::from_millis(3));
    pieces.into_iter().map(received).collect()
}
