//! Headers are put on and taken off however the bytes lie.

use super::*;

fn built() -> Packet {
    let mut packet = Packet::from_payload(Bytes::from_static(b"hello "));
    packet.push_payload(Bytes::from_static(b"world"));
    packet.prepend(4).copy_from_slice(b"tcp:");
    packet.prepend(3).copy_from_slice(b"ip:");
    packet
}

#[test]
fn headers_go_in_front() {
    assert_eq!(built().to_bytes(), "ip:tcp:hello world");
    assert_eq!(built().len(), 18);
}

#[test]
fn a_small_frame_lies_in_the_head_and_takes_any_header() {
    let bytes: Vec<u8> = (0..SMALL_FRAME_BYTES as u8).collect();
    assert!(Packet::received_small(&[0; SMALL_FRAME_BYTES + 1], Instant::ZERO).is_none());
    let mut packet = Packet::received_small(&bytes, Instant::from_millis(5)).unwrap();
    assert_eq!((packet.head(), packet.payload().count()), (&bytes[..], 0));
    assert_eq!(packet.rx_at, Instant::from_millis(5));
    packet.push_payload(Bytes::from_static(b"more"));
    packet.checksum = Checksum::Partial { start: 20, field: 16 };
    packet.prepend(40).fill(0xee);
    assert_eq!(packet.checksum, Checksum::Partial { start: 60, field: 16 });
    let whole = [&[0xee; 40], &bytes[..], b"more"].concat();
    assert_eq!((&packet.to_bytes()[..], packet.len()), (&whole[..], whole.len()));
    packet.push_front(&[7; 89]);
    assert_eq!(packet.to_bytes()[..89], [7; 89]);
    assert_eq!(packet.to_bytes()[89..], whole[..]);
}

#[test]
fn pull_makes_the_front_contiguous_and_changes_nothing_else() {
    for n in 0..=18 {
        let mut packet = built();
        assert_eq!(packet.pull(n), Some(&b"ip:tcp:hello world"[..n]));
        assert_eq!(packet.to_bytes(), "ip:tcp:hello world");
    }
    assert_eq!(built().pull(19), None);
}

#[test]
fn much_padding_is_not_kept_and_a_little_costs_no_copy() {
    let frame = Bytes::from(vec![7; 60_000]);
    for (len, is_copied) in [(40, true), (29_999, true), (30_000, false), (60_000, false)] {
        let mut packet = Packet::received(frame.clone(), Instant::from_millis(5));
        packet.checksum = Checksum::Partial { start: 20, field: 6 };
        packet.trim_padding(len);
        assert_eq!(packet.to_bytes(), frame[..len]);
        assert_eq!(packet.to_bytes().as_ptr() != frame.as_ptr(), is_copied, "{len}");
        assert_eq!(packet.rx_at, Instant::from_millis(5));
        assert_eq!(packet.checksum, Checksum::Partial { start: 20, field: 6 });
    }
    let mut short = Packet::received(frame.slice(..60), Instant::ZERO);
    short.trim_padding(28);
    assert_eq!(short.to_bytes().as_ptr(), frame.as_ptr(), "what Ethernet itself pads");
}

#[test]
fn owned_bytes_change_in_this_packet_only() {
    for n in 1..=18 {
        let mut packet = built();
        let other = packet.clone();
        packet.own(n).unwrap()[n - 1] = b'#';
        let mut want = other.to_bytes().to_vec();
        want[n - 1] = b'#';
        assert_eq!(packet.to_bytes(), want);
        assert_eq!(other.to_bytes(), "ip:tcp:hello world");
    }
    assert!(built().own(19).is_none());
    let mut long = Packet::from_payload(Bytes::from_static(&[0; 200]));
    assert!(long.own(HEAD_ROOM + 1).is_none());
    assert_eq!(long.own(HEAD_ROOM).map(|bytes| bytes.len()), Some(HEAD_ROOM));
}

#[test]
fn advance_and_truncate_meet_in_the_middle() {
    for cut in 0..=18 {
        for keep in 0..=18 {
            let mut packet = built();
            packet.truncate(keep);
            packet.advance(cut);
            let want = &b"ip:tcp:hello world"[cut.min(keep)..keep];
            assert_eq!(&packet.to_bytes()[..], want, "keep {keep} cut {cut}");
            assert_eq!(packet.len(), want.len());
        }
    }
}

#[test]
fn copy_to_starts_anywhere() {
    let mut buf = [0; 5];
    assert_eq!(built().copy_to(5, &mut buf), 5);
    assert_eq!(&buf, b"p:hel");
    assert_eq!(built().copy_to(16, &mut buf), 2);
    assert_eq!(built().copy_to(40, &mut buf), 0);
}

#[test]
fn partial_checksum_is_completed_where_it_says() {
    let mut packet = Packet::from_payload(Bytes::from_static(&[1, 2, 3, 4]));
    packet.prepend(4).copy_from_slice(&[9, 9, 0, 0]);
    packet.checksum = Checksum::Partial { start: 0, field: 2 };
    packet.prepend(14);
    assert!(packet.complete_checksum());
    assert_eq!(packet.sum_from(14).finish(), 0);
    assert_eq!(packet.checksum, Checksum::Trusted);
}

#[test]
fn a_sum_of_zero_is_written_as_all_ones_in_udp_only() {
    for (field, written) in [(6, [0xff, 0xff]), (16, [0, 0])] {
        let mut bytes = vec![0; 20];
        bytes[..2].copy_from_slice(&[0xff, 0xff]);
        let mut packet = Packet::from_payload(bytes.into());
        packet.checksum = Checksum::Partial { start: 0, field };
        assert!(packet.complete_checksum());
        let at = usize::from(field);
        assert_eq!(packet.to_bytes()[at..at + 2], written);
    }
}

#[test]
fn hostile_checksum_offsets_are_refused() {
    let mut packet = Packet::from_payload(Bytes::from_static(&[0; 20]));
    packet.checksum = Checksum::Partial { start: 65_535, field: 65_535 };
    assert!(!packet.complete_checksum());
    packet.checksum = Checksum::Partial { start: 10, field: 9 };
    assert!(!packet.complete_checksum());
}

#[test]
fn what_landed_is_counted_but_not_held() {
    let mut packet = Packet::landed(b"headers", 10, 20, Instant::ZERO);
    assert_eq!((packet.len(), packet.landed_range()), (27, Some(10..30)));
    assert_eq!(packet.pull(3), Some(&b"hea"[..]));
    packet.advance(4);
    assert_eq!((packet.len(), packet.head()), (23, &b"ers"[..]));
    packet.advance(8);
    assert_eq!((packet.len(), packet.landed_range()), (15, Some(15..30)));
    packet.truncate(5);
    assert_eq!((packet.len(), packet.landed_range()), (5, Some(15..20)));
    packet.trim_padding(1);
    assert_eq!((packet.len(), packet.landed_range()), (1, Some(15..16)));
    packet.put_back(b"x");
    assert_eq!((packet.landed_range(), &packet.to_bytes()[..]), (None, &b"x"[..]));
}
