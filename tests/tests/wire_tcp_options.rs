//! Window scaling, timestamps and PAWS as a station on the wire sees them (RFC 7323).

use std::io::Write;
use std::time::Duration;

use libnet::net::TcpStream;
use libnet::socket::SocketOption;
use rumpnet_tests::peer::{Peer, connecting, established, established_with, read_all};
use rumpnet_tests::station::Rig;
use rumpnet_tests::wire::Tcp;
use rumpnet_tests::wire::tcp::{ACK, PSH, RST, SYN, mss_option, scale_option, timestamps_option};

const SECOND: Duration = Duration::from_secs(1);

fn moment(rig: &Rig) {
    rig.run(Duration::from_millis(1));
}

/// A connection with both options on both SYNs; the station's clock stands at 1,000.
fn connected(rig: &Rig) -> (Peer<'_>, TcpStream) {
    let options = [mss_option(1_000), scale_option(2), timestamps_option(1_000, 0)].concat();
    let (peer, stream) = established_with(rig, &options);
    peer.hear();
    (peer, stream)
}

/// The stack's timestamp on a segment.
fn ours(segment: &Tcp) -> u32 {
    segment.timestamps().expect("timestamps").0
}

/// What a segment echoes.
fn echo(segment: &Tcp) -> u32 {
    segment.timestamps().expect("timestamps").1
}

#[test]
fn both_options_are_offered_and_answered() {
    let rig = Rig::steady();
    let (peer, _stream) = connected(&rig);
    assert!(peer.syn.scale().is_some_and(|shift| shift <= 14));
    assert_eq!(echo(&peer.syn), 1_000);
    let _socket = connecting(&rig, &[]);
    let syn = rig.hear_tcp().remove(0);
    assert!(syn.scale().is_some_and(|shift| shift <= 14));
    assert_eq!(echo(&syn), 0, "without ACK there is nothing to echo");
}

#[test]
fn what_was_not_offered_is_not_answered() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = established(&rig);
    assert_eq!((peer.syn.scale(), peer.syn.timestamps()), (None, None));
    stream.write_all(b"hello").expect("it is taken");
    moment(&rig);
    assert!(peer.hear().iter().all(|segment| segment.timestamps().is_none()));
    peer.finish();
}

#[test]
fn windows_are_scaled_on_every_segment_but_syns() {
    let rig = Rig::steady();
    let options = [mss_option(1_000), scale_option(7)].concat();
    let (mut peer, mut stream) = established_with(&rig, &options);
    let shift = peer.syn.scale().expect("a shift");
    // 500 << 7 is 64,000; without the shift not even one segment would fit.
    peer.window = 500;
    peer.acknowledge();
    peer.hear();
    let room = SocketOption::SendBufferBytes(1 << 20);
    stream.socket().set_option(room).expect("it can be set");
    stream.write_all(&vec![7; 200_000]).expect("it is taken");
    moment(&rig);
    let mut most = 0;
    for _ in 0..12 {
        most = most.max(peer.receive().len());
        peer.acknowledge();
        rig.run(Duration::from_millis(5));
    }
    assert!(most > 32_000 && most <= 64_000, "{most} bytes under way at most");
    // Ours: unread data takes off as many steps of the shift.
    peer.receive();
    for _ in 0..60 {
        peer.say(ACK, &[1; 1_000]);
    }
    rig.run(SECOND);
    let said = peer.hear();
    let (first, last) = (&said[0], &said[said.len() - 1]);
    let edge = |segment: &Tcp| {
        u64::from(segment.ack.wrapping_sub(peer.syn.ack)) + (u64::from(segment.window) << shift)
    };
    // RFC 7323 §2.4: by less than a step of the shift it may.
    let granule = 1 << shift;
    assert!(edge(last) + granule > edge(first), "the right edge does not move back");
}

#[test]
fn a_scale_option_after_the_handshake_is_ignored() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = established_with(&rig, &mss_option(1_000));
    peer.options = scale_option(7);
    peer.window = 1_000;
    peer.acknowledge();
    peer.hear();
    stream.write_all(&[7; 10_000]).expect("it is taken");
    moment(&rig);
    assert_eq!(peer.receive().len(), 1_000, "the window as it stands");
}

#[test]
fn a_shift_above_fourteen_counts_as_fourteen() {
    let rig = Rig::steady();
    let options = [mss_option(1_000), scale_option(200)].concat();
    let (mut peer, mut stream) = established_with(&rig, &options);
    // 1 << 14 is 16,384.
    peer.window = 1;
    peer.acknowledge();
    peer.hear();
    let room = SocketOption::SendBufferBytes(1 << 20);
    stream.socket().set_option(room).expect("it can be set");
    stream.write_all(&vec![7; 200_000]).expect("it is taken");
    moment(&rig);
    let mut most = 0;
    for _ in 0..10 {
        most = most.max(peer.receive().len());
        peer.acknowledge();
        rig.run(Duration::from_millis(5));
    }
    assert!((10_000..=16_384).contains(&most), "{most} bytes under way at most");
}

#[test]
fn data_within_any_announced_window_is_taken() {
    let rig = Rig::steady();
    let (mut peer, stream) = established(&rig);
    let before = peer.syn.window;
    let last =
        Tcp { seq: peer.seq.wrapping_add(u32::from(before) - 1), ..peer.segment(PSH | ACK, b"x") };
    peer.say_segment(&last);
    let rest = vec![7; usize::from(before) - 1];
    for chunk in rest.chunks(500) {
        peer.say(ACK, chunk);
    }
    assert_eq!(read_all(&stream).map(|data| data.len()), Some(usize::from(before)));
}

#[test]
fn timestamps_are_on_every_segment_once_agreed_on() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    for _ in 0..5 {
        stream.write_all(b"hello").expect("it is taken");
        moment(&rig);
        peer.say(PSH | ACK, b"world");
        rig.run(SECOND / 10);
        let said = peer.hear();
        assert!(!said.is_empty() && said.iter().all(|segment| segment.timestamps().is_some()));
        said.iter().for_each(|segment| peer.take(segment));
    }
    drop(stream);
    moment(&rig);
    let said = peer.hear();
    assert!(said.iter().all(|segment| segment.has(RST) || segment.timestamps().is_some()));
}

#[test]
fn a_missing_timestamp_aborts_nothing() {
    let rig = Rig::steady();
    let (mut peer, stream) = connected(&rig);
    let options = std::mem::take(&mut peer.options);
    let bare = peer.segment(PSH | ACK, b"hello");
    peer.say_segment(&bare);
    assert!(!peer.was_reset());
    peer.options = options;
    peer.say(PSH | ACK, b"hello");
    assert!(read_all(&stream).is_some_and(|data| data.starts_with(b"hello")));
}

#[test]
fn a_timestamp_that_was_not_agreed_on_is_ignored() {
    let rig = Rig::steady();
    let (mut peer, stream) = established(&rig);
    peer.options = timestamps_option(5, 0);
    peer.say(PSH | ACK, b"hello");
    peer.options = timestamps_option(3, 0);
    peer.say(PSH | ACK, b"world");
    assert_eq!(read_all(&stream), Some(b"helloworld".to_vec()));
    assert!(peer.hear().iter().all(|segment| segment.timestamps().is_none()));
}

#[test]
fn the_echo_is_that_of_the_segment_at_the_left_edge() {
    let rig = Rig::steady();
    let (peer, _stream) = connected(&rig);
    let theirs = ours(&peer.syn);
    let first = peer.segment(ACK, &[1; 100]);
    let mut beyond = peer.segment(ACK, &[2; 100]);
    beyond.seq = first.next_seq();
    beyond.options = timestamps_option(1_050, theirs);
    peer.say_segment(&beyond);
    let said = peer.hear();
    assert_eq!(said.last().map(echo), Some(1_000), "a segment beyond a hole is not echoed");
    peer.say_segment(&Tcp { options: timestamps_option(1_060, theirs), ..first });
    rig.run(SECOND);
    let said = peer.hear();
    assert_eq!(said.last().map(echo), Some(1_060), "the one that filled it is");
}

#[test]
fn a_segment_with_an_old_timestamp_is_acknowledged_and_dropped() {
    let rig = Rig::steady();
    let (mut peer, stream) = connected(&rig);
    peer.options = timestamps_option(999, 0);
    let old = peer.segment(PSH | ACK, b"old");
    peer.say_segment(&old);
    let said = peer.hear();
    assert!(said.iter().any(|segment| segment.flags == ACK && segment.ack == old.seq), "{said:?}");
    assert_eq!(read_all(&stream), Some(Vec::new()));
    peer.options = timestamps_option(1_000, 0);
    peer.say(PSH | ACK, b"new");
    assert_eq!(read_all(&stream), Some(b"new".to_vec()));
}

#[test]
fn a_reset_is_believed_whatever_its_timestamp() {
    let rig = Rig::steady();
    let (mut peer, stream) = connected(&rig);
    peer.options = timestamps_option(1, 0);
    peer.say(RST, b"");
    assert!(stream.take_error().expect("a socket that lives").is_some());
}

#[test]
fn an_inexact_reset_does_not_move_the_echo() {
    let rig = Rig::steady();
    let (mut peer, _stream) = connected(&rig);
    let reset = Tcp {
        seq: peer.seq.wrapping_add(10),
        options: timestamps_option(2_000, 0),
        ..peer.segment(RST, b"")
    };
    peer.say_segment(&reset);
    peer.hear();
    peer.say(PSH | ACK, b"hello");
    rig.run(SECOND);
    assert_eq!(peer.hear().last().map(echo), Some(1_000));
}

#[test]
fn after_24_idle_days_an_old_timestamp_is_taken_again() {
    let rig = Rig::steady();
    let (mut peer, stream) = connected(&rig);
    rig.run(Duration::from_secs(25 * 24 * 3_600));
    peer.options = timestamps_option(1_000u32.wrapping_sub(1 << 30), 0);
    peer.say(PSH | ACK, b"hello");
    assert_eq!(read_all(&stream), Some(b"hello".to_vec()));
}

#[test]
fn the_timestamp_clock_ticks_in_milliseconds() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    let mut seen = Vec::new();
    for _ in 0..3 {
        stream.write_all(b"x").expect("it is taken");
        moment(&rig);
        let said = peer.hear();
        seen.push(ours(&said[0]));
        said.iter().for_each(|segment| peer.take(segment));
        peer.acknowledge();
        rig.run(10 * SECOND);
        peer.hear();
    }
    for pair in seen.windows(2) {
        let ticks = pair[1].wrapping_sub(pair[0]);
        assert!((9_990..=10_020).contains(&ticks), "{ticks} ticks in ten seconds");
    }
}

#[test]
fn only_an_echo_that_acknowledges_new_data_measures() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    // A duplicate acknowledgment with an echo an hour old must not become a round trip.
    stream.write_all(b"hello").expect("it is taken");
    moment(&rig);
    let said = peer.hear();
    peer.options = timestamps_option(1_001, ours(&said[0]).wrapping_sub(3_600_000));
    peer.acknowledge();
    said.iter().for_each(|segment| peer.take(segment));
    peer.options = timestamps_option(1_002, ours(&said[0]));
    peer.acknowledge();
    stream.write_all(b"again").expect("it is taken");
    rig.run(2 * SECOND);
    let again = peer.hear().iter().filter(|segment| segment.data == b"again").count();
    assert!(again >= 2, "the time-out is still short");
}

#[test]
fn the_echo_of_a_segment_without_ack_is_ignored() {
    let rig = Rig::steady();
    let _socket = connecting(&rig, &[]);
    let ours = rig.hear_tcp().remove(0);
    let crossing = Tcp {
        src: ours.dst,
        dst: ours.src,
        seq: 7,
        flags: SYN,
        window: 65_535,
        options: [mss_option(1_000), timestamps_option(1_000, 0x1234_5678)].concat(),
        ..Tcp::default()
    };
    rig.say_tcp(&crossing);
    assert_eq!(rig.hear_tcp().len(), 1, "the SYN-ACK");
    rig.run(Duration::from_millis(900));
    assert_eq!(rig.hear_tcp(), [], "the time-out is the initial one: nothing was measured");
    rig.run(Duration::from_millis(1_200));
    assert!(!rig.hear_tcp().is_empty());
}
