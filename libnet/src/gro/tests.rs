//! Joined and cut again, everything is as it came.

use proptest::prelude::*;

use super::*;
use crate::gso::tests::{SEGMENT_BYTES, cut_plainly, received_segments};
use crate::time::Instant;

const DATA: usize = SEGMENT_BYTES as usize;
const MEDIA: [Medium; 2] = [Medium::Ethernet, Medium::Ip];

fn joined(mut frames: Vec<Packet>, medium: Medium) -> Vec<Packet> {
    join(&mut frames, medium);
    frames
}

fn bytes_of(frames: &[Packet]) -> Vec<Bytes> {
    frames.iter().map(Packet::to_bytes).collect()
}

/// The frames that the packets stand for.
fn cut_all(frames: &[Packet], medium: Medium) -> Vec<Bytes> {
    let cut = |frame: &Packet| match frame.gso {
        Some(_) => bytes_of(&cut_plainly(frame.clone(), medium)),
        None => vec![frame.to_bytes()],
    };
    frames.iter().flat_map(cut).collect()
}

/// Changes bytes of a frame and sets its checksums right.
fn changed(frame: &Packet, ip: usize, change: impl FnOnce(&mut [u8])) -> Packet {
    let mut bytes = frame.to_bytes().to_vec();
    change(&mut bytes);
    let is_v6 = bytes[ip] >> 4 == 6;
    let tcp = ip + if is_v6 { IPV6_BYTES } else { IPV4_BYTES };
    if !is_v6 {
        bytes[ip + 10..ip + 12].fill(0);
        let sum = checksum(&bytes[ip..tcp]);
        bytes[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes[tcp + 16..tcp + 18].fill(0);
    let mut sum = pseudo_header(&bytes[ip..], is_v6, bytes.len() - tcp);
    sum.add(&bytes[tcp..]);
    bytes[tcp + 16..tcp + 18].copy_from_slice(&sum.finish().to_be_bytes());
    Packet::received(bytes.into(), frame.rx_at)
}

#[test]
fn a_train_becomes_one_and_cut_again_the_same() {
    for medium in MEDIA {
        for v6 in [false, true] {
            let frames = received_segments(medium, v6, 6 * DATA + 9 * 128);
            let before = bytes_of(&frames);
            assert_eq!(before.len(), 7);
            let after = joined(frames, medium);
            assert_eq!(after.len(), 1, "{medium:?}, v6 {v6}");
            let kind = if v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
            let gso = after[0].gso.unwrap();
            assert_eq!((gso.kind, gso.segment_bytes.get()), (kind, SEGMENT_BYTES));
            assert_eq!(after[0].payload().count(), 7, "shared, not copied");
            assert_eq!(after[0].rx_at, Instant::from_millis(3), "of the first");
            assert_eq!(cut_all(&after, medium), before);
        }
    }
}

#[test]
fn an_ip_packet_ends_where_its_length_field_does() {
    for v6 in [false, true] {
        let mut frames = Vec::new();
        for part in 0..2u32 {
            let more = received_segments(Medium::Ip, v6, 45 * DATA - 1);
            let tcp = if v6 { IPV6_BYTES } else { IPV4_BYTES };
            frames.extend(more.iter().map(|frame| {
                changed(frame, 0, |bytes| {
                    let seq = u32::from_be_bytes(bytes[tcp + 4..tcp + 8].try_into().unwrap());
                    let seq = seq.wrapping_add(part * (45 * DATA as u32 - 1));
                    bytes[tcp + 4..tcp + 8].copy_from_slice(&seq.to_be_bytes());
                    // The end of the first half looks like any other.
                    bytes[tcp + 13] &= !TCP_PSH;
                })
            }));
        }
        let before = bytes_of(&frames);
        let after = joined(frames, Medium::Ip);
        assert!(after.len() >= 2);
        assert!(after.iter().all(|packet| packet.len() <= MAX_IP_BYTES));
        assert_eq!(cut_all(&after, Medium::Ip), before);
    }
}

#[test]
fn the_push_and_a_shorter_one_end_it() {
    let frames = received_segments(Medium::Ip, false, 4 * DATA);
    let pushed = changed(&frames[1], 0, |bytes| bytes[33] |= TCP_PSH);
    let with_push = vec![frames[0].clone(), pushed, frames[2].clone(), frames[3].clone()];
    let before = bytes_of(&with_push);
    let after = joined(with_push, Medium::Ip);
    assert_eq!(after.len(), 2);
    assert_eq!(cut_all(&after, Medium::Ip), before);
}

/// Whatever differs keeps a segment apart, and what differs is still there after.
#[test]
fn only_what_can_be_cut_again_is_joined() {
    type Change = (&'static str, fn(&mut [u8]));
    let changes: [Change; 13] = [
        ("class, as one that met congestion", |b| b[1] = 3),
        ("TTL", |b| b[8] = 63),
        ("may be fragmented", |b| b[6] = 0),
        ("a fragment", |b| b[6] = 0x20),
        ("source", |b| b[15] = 9),
        ("port", |b| b[21] = 9),
        ("sequence", |b| b[27] ^= 1),
        ("acknowledgement", |b| b[31] ^= 1),
        ("FIN", |b| b[33] |= 1),
        ("CWR", |b| b[33] |= 0x80),
        ("ECE", |b| b[33] |= TCP_ECE),
        ("window", |b| b[35] ^= 1),
        ("options", |b| b[40] ^= 8),
    ];
    for (what, change) in changes {
        let frames = received_segments(Medium::Ip, false, 3 * DATA);
        let frames = vec![frames[0].clone(), changed(&frames[1], 0, change), frames[2].clone()];
        let before = bytes_of(&frames);
        let after = joined(frames, Medium::Ip);
        assert_eq!(bytes_of(&after).len(), 3, "{what}");
        assert_eq!(bytes_of(&after), before, "{what}");
    }
}

#[test]
fn a_train_that_says_of_congestion_the_same_throughout_is_joined_and_one_that_tells_of_a_reduction_is_not()
 {
    // RFC 3168 §6.1.2, §6.1.3: ECE in each, CWR in one.
    for v6 in [false, true] {
        let flags = if v6 { IPV6_BYTES } else { IPV4_BYTES } + 13;
        let train = |change: fn(&mut [u8], usize)| -> Vec<Packet> {
            let frames = received_segments(Medium::Ip, v6, 4 * DATA);
            frames.iter().map(|frame| changed(frame, 0, |bytes| change(bytes, flags))).collect()
        };
        let marked: fn(&mut [u8], usize) = |bytes, _| match bytes[0] >> 4 {
            6 => bytes[1] |= 0x30,
            _ => bytes[1] |= 3,
        };
        for (frames, count) in [
            (train(|bytes, flags| bytes[flags] |= TCP_ECE), 1),
            (train(marked), 1),
            (train(|bytes, flags| bytes[flags] |= 0x80), 4),
        ] {
            let before = bytes_of(&frames);
            let after = joined(frames, Medium::Ip);
            assert_eq!(after.len(), count, "v6 {v6}");
            assert_eq!(cut_all(&after, Medium::Ip), before);
        }
        let mut frames = received_segments(Medium::Ip, v6, 4 * DATA);
        frames[2] = changed(&frames[2], 0, |bytes| marked(bytes, flags));
        let before = bytes_of(&frames);
        let after = joined(frames, Medium::Ip);
        assert_eq!((after.len(), cut_all(&after, Medium::Ip)), (3, before), "v6 {v6}");
    }
}

#[test]
fn a_wrong_checksum_is_left_to_be_seen() {
    for at in [0, 1] {
        let mut frames = received_segments(Medium::Ip, false, 3 * DATA);
        let mut bytes = frames[at].to_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        frames[at] = Packet::received(bytes.into(), Instant::ZERO);
        let before = bytes_of(&frames);
        let after = joined(frames, Medium::Ip);
        assert_eq!(cut_all(&after, Medium::Ip), before);
        assert!(after.len() > 1);
        assert!(
            after
                .iter()
                .any(|packet| packet.gso.is_none() && packet.checksum == Checksum::Unverified)
        );
    }
}

#[test]
fn flows_that_alternate_are_joined_apart_and_other_frames_are_not_overtaken() {
    let one = received_segments(Medium::Ip, false, 3 * DATA);
    let other: Vec<_> = one.iter().map(|frame| changed(frame, 0, |bytes| bytes[21] ^= 1)).collect();
    let mut mixed: Vec<_> =
        one.iter().zip(&other).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    assert_eq!(joined(mixed.clone(), Medium::Ip).len(), 2);
    let arp = Packet::received(Bytes::from_static(&[0; 60]), Instant::ZERO);
    mixed.insert(2, arp.clone());
    let after = joined(mixed, Medium::Ip);
    assert_eq!(after.len(), 5);
    assert_eq!(after[2].to_bytes(), arp.to_bytes());
}

#[test]
fn padding_is_none_of_the_data() {
    let frames = received_segments(Medium::Ip, false, DATA + 200);
    let padded = |frame: &Packet| {
        let bytes = [&frame.to_bytes()[..], &[0xee; 7]].concat();
        Packet::received(bytes.into(), Instant::ZERO)
    };
    let before = bytes_of(&frames);
    let after = joined(frames.iter().map(padded).collect(), Medium::Ip);
    assert_eq!(after.len(), 1);
    assert_eq!(cut_all(&after, Medium::Ip), before);
}

proptest! {
    /// However segments are mixed and damaged: joined and cut again, each flow's are as they came.
    #[test]
    fn nothing_is_lost_or_changed(
        v6 in any::<bool>(),
        picks in prop::collection::vec((0usize..12, 0u8..3, 0usize..200, 0u8..12), 2..40),
    ) {
        let stream = received_segments(Medium::Ip, v6, 12 * DATA);
        let port = if v6 { IPV6_BYTES } else { IPV4_BYTES } + 1;
        let frames: Vec<_> = picks.iter().map(|&(number, flow, at, damage)| {
            let frame = changed(&stream[number], 0, |bytes| bytes[port] ^= flow);
            let mut bytes = frame.to_bytes().to_vec();
            if damage == 0 {
                let at = at % bytes.len();
                bytes[at] ^= 0x55;
            }
            if damage == 1 {
                bytes.truncate(at);
            }
            Packet::received(bytes.into(), Instant::ZERO)
        }).filter(|packet| !packet.is_empty()).collect();
        let ends = if v6 { 8 } else { 12 }..port + 3;
        let flow_of = |bytes: &Bytes| bytes.get(ends.clone()).map(<[u8]>::to_vec);
        let sorted = |mut frames: Vec<Bytes>| { frames.sort_by_key(flow_of); frames };
        let before = sorted(bytes_of(&frames));
        let after = joined(frames, Medium::Ip);
        let mut again = sorted(cut_all(&after, Medium::Ip));
        // The identification counts up from the first's, whatever the others had.
        for (a, b) in again.iter_mut().zip(&before) {
            if !v6 && a.len() == b.len() && a.len() > 12 && a != b {
                let mut bytes = a.to_vec();
                for at in [4, 5, 10, 11] {
                    bytes[at] = b[at];
                }
                *a = bytes.into();
            }
        }
        prop_assert!(again == before, "{} frames", before.len());
    }

    #[test]
    fn no_frames_make_it_panic(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..120), 0..12),
        first in prop::sample::select(vec![0x45u8, 0x60, 0]),
    ) {
        let packets = frames.iter().map(|bytes| {
            let mut bytes = bytes.clone();
            bytes[0] = first;
            Packet::received(bytes.into(), Instant::ZERO)
        });
        let packets: Vec<_> = packets.collect();
        let count = packets.len();
        for medium in MEDIA {
            prop_assert!(joined(packets.clone(), medium).len() <= count);
        }
    }
}
