use std::num::NonZeroU16;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const MSS: usize = 1_448;
const FULL: usize = 45 * MSS;

fn headers(is_v4: bool, seq: u32, flags: u8, data_bytes: usize) -> Vec<u8> {
    let mut h = vec![2; 12];
    if is_v4 {
        h.extend([0x08, 0x00, 0x45, 0]);
        h.extend(((52 + data_bytes) as u16).to_be_bytes());
        h.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    } else {
        h.extend([0x86, 0xdd, 0x60, 0, 0, 7]);
        h.extend(((32 + data_bytes) as u16).to_be_bytes());
        h.extend([6, 64]);
        h.extend([0xfd; 32]);
    }
    h.extend([0x10, 0x00, 0x20, 0x00]);
    h.extend(seq.to_be_bytes());
    h.extend([0, 0, 0, 9, 0x80, flags, 1, 0, 0, 0, 0, 0]);
    h.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    h
}

fn segment(is_v4: bool, seq: u32, flags: u8, data_bytes: usize) -> Packet {
    let mut packet = Packet::from_payload(Bytes::from(headers(is_v4, seq, flags, data_bytes)));
    packet.push_payload(Bytes::from(vec![seq as u8; data_bytes]));
    let start = if is_v4 { 34 } else { 54 };
    packet.checksum = Checksum::Partial { start, field: 16 };
    if data_bytes > MSS {
        let kind = if is_v4 { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
        packet.gso = Some(Gso { kind, segment_bytes: NonZeroU16::new(MSS as u16).unwrap() });
    }
    packet
}

/// What a write of 128 KiB is put out as.
pub(crate) fn write(is_v4: bool) -> VecDeque<Packet> {
    [(0, TCP_ACK, FULL), (FULL, TCP_ACK, FULL), (2 * FULL, TCP_ACK | TCP_PSH, 752)]
        .map(|(seq, flags, bytes)| segment(is_v4, seq as u32, flags, bytes))
        .into()
}

fn join(queue: &VecDeque<Packet>) -> Option<Joined> {
    Joined::of(queue, Medium::Ethernet, |_| true)
}

fn frame_of(queue: &VecDeque<Packet>) -> Vec<u8> {
    let joined = join(queue).unwrap();
    let data: Vec<&[u8]> = joined.data(queue).collect();
    [joined.headers(), &data.concat()].concat()
}

#[test]
fn a_write_is_one_frame_of_ipv4() {
    let queue = write(true);
    let joined = join(&queue).unwrap();
    assert_eq!((joined.count(), joined.tcp(), joined.headers().len()), (3, 34, 66));
    let frame = frame_of(&queue);
    assert_eq!(frame.len(), 66 + (128 << 10));
    assert_eq!(frame[16..18], [0, 0], "its length is the frame's");
    assert_eq!(checksum(&frame[14..34]), 0);
    assert_eq!(frame[47], TCP_ACK | TCP_PSH, "the last was pushed");
    let mut data = vec![0; FULL];
    data.extend(vec![FULL as u8; FULL]);
    data.extend(vec![(2 * FULL) as u8; 752]);
    assert!(frame[66..] == data);
    // Linux's `tcp_v4_check` of 32 bits of length, not complemented.
    let tcp_bytes = 32 + (128 << 10) as u32;
    let mut sum = 0x0a00 + 2 + 0x0a00 + 1 + 6 + (tcp_bytes >> 16) + (tcp_bytes & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    assert_eq!(frame[50..52], (sum as u16).to_be_bytes());
}

#[test]
fn of_ipv6_it_is_a_jumbogram() {
    let queue = write(false);
    let joined = join(&queue).unwrap();
    assert_eq!((joined.count(), joined.tcp(), joined.headers().len()), (3, 62, 94));
    let frame = frame_of(&queue);
    assert_eq!(frame[18..21], [0, 0, HOP_BY_HOP]);
    let payload_bytes = (8 + 32 + (128 << 10)) as u32;
    assert_eq!(frame[54..58], [PROTOCOL_TCP, 0, 0xc2, 4]);
    assert_eq!(frame[58..62], payload_bytes.to_be_bytes());
    assert_eq!(frame.len(), 54 + payload_bytes as usize);
    assert_eq!(frame[62..66], [0x10, 0x00, 0x20, 0x00]);
}

#[test]
fn what_follows_a_short_or_a_pushed_one_begins_anew() {
    let mut queue = write(true);
    queue.extend(write(true));
    assert_eq!(join(&queue).unwrap().count(), 3);
    queue.remove(1);
    assert!(join(&queue).is_none(), "a gap");
}

#[test]
fn a_frame_has_an_end() {
    let queue: VecDeque<_> =
        (0..9).map(|i| segment(true, (i * FULL) as u32, TCP_ACK, FULL)).collect();
    let joined = join(&queue).unwrap();
    assert_eq!(joined.count(), MAX_BYTES / FULL);
}

#[test]
fn only_what_is_alike_is_joined() {
    type Change = fn(&mut Packet);
    let changes: [(&str, Change); 11] = [
        ("another class", |p| p.write_at(15, &[1])),
        ("another TTL", |p| p.write_at(22, &[63])),
        ("it may be fragmented", |p| p.write_at(20, &[0, 0])),
        ("another port", |p| p.write_at(35, &[1])),
        ("another acknowledgement", |p| p.write_at(45, &[1])),
        ("FIN", |p| p.write_at(47, &[TCP_ACK | 1])),
        ("CWR", |p| p.write_at(47, &[TCP_ACK | 0x80])),
        ("another window", |p| p.write_at(48, &[7])),
        ("another timestamp", |p| p.write_at(60, &[7])),
        ("nobody knows whether it is right", |p| p.checksum = Checksum::Unverified),
        ("padding", |p| p.push_payload(Bytes::from_static(&[0]))),
    ];
    for (what, change) in changes {
        let mut queue = write(true);
        change(&mut queue[1]);
        assert!(join(&queue).is_none(), "{what}");
    }
    let mut queue = write(true);
    queue[1].gso.as_mut().unwrap().segment_bytes = NonZeroU16::new(1_400).unwrap();
    assert!(join(&queue).is_none(), "it is cut otherwise");
    queue[1].gso = None;
    assert!(join(&queue).is_none(), "it is not cut");
    let mut queue = write(true);
    queue[0].gso.as_mut().unwrap().kind = GsoKind::Udp;
    assert!(join(&queue).is_none(), "datagrams");
}

#[test]
fn what_16_bits_can_tell_and_what_goes_elsewhere_stays_as_it_is() {
    let queue: VecDeque<_> =
        (0..4).map(|i| segment(true, (i * 10 * MSS) as u32, TCP_ACK, 10 * MSS)).collect();
    assert!(join(&queue).is_none());
    let queue = write(true);
    let mut asked = None;
    assert!(
        Joined::of(&queue, Medium::Ethernet, |dst| {
            asked = Some(dst);
            false
        })
        .is_none()
    );
    assert_eq!(asked, Some("10.0.0.1".parse().unwrap()));
}

#[test]
fn a_tun_has_no_ethernet() {
    let mut queue = write(false);
    queue.iter_mut().for_each(|packet| packet.advance(14));
    let joined = Joined::of(&queue, Medium::Ip, |dst| dst.is_ipv6()).unwrap();
    assert_eq!((joined.count(), joined.tcp()), (3, 48));
    let data_bytes: usize = joined.data(&queue).map(<[u8]>::len).sum();
    assert_eq!(data_bytes, 128 << 10);
}

proptest! {
    #[test]
    fn whatever_is_joined_keeps_its_data(
        sizes in prop::collection::vec(1_usize..=FULL, 1..12),
        scribbles in prop::collection::vec((0_usize..12, 0_usize..70, any::<u8>()), 0..3),
        is_v4: bool,
    ) {
        let mut seq = 0_u32;
        let mut queue = VecDeque::new();
        for bytes in sizes {
            // Mostly full ones, which can be followed.
            let bytes = if bytes % 3 == 0 { bytes } else { bytes.next_multiple_of(MSS).min(FULL) };
            queue.push_back(segment(is_v4, seq, TCP_ACK, bytes));
            seq = seq.wrapping_add(bytes as u32);
        }
        for (packet, at, value) in scribbles {
            if let Some(packet) = queue.get_mut(packet) {
                packet.write_at(at, &[value]);
            }
        }
        if let Some(joined) = join(&queue) {
            prop_assert!(joined.count() > 1 && joined.count() <= queue.len());
            let data: Vec<u8> = joined.data(&queue).collect::<Vec<_>>().concat();
            let skip = if is_v4 { 66 } else { 86 };
            let want: Vec<u8> = queue
                .iter()
                .take(joined.count())
                .flat_map(|packet| packet.to_bytes()[skip..].to_vec())
                .collect();
            prop_assert!(data == want);
            prop_assert!(joined.headers().len() + data.len() <= MAX_BYTES + JUMBO_BYTES);
        }
    }
}
