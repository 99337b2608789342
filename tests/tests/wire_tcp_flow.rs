//! TCP's windows, timers and acknowledgments as a station on the wire sees them (RFC 9293 §3.8,
//! RFC 6298, RFC 5681).

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use libnet::Instant;
use libnet::net::TcpStream;
use libnet::socket::SocketOption;
use rumpnet_tests::peer::{Peer, connecting, established, established_with, read_all};
use rumpnet_tests::station::Rig;
use rumpnet_tests::wire::Tcp;
use rumpnet_tests::wire::tcp::{ACK, FIN, PSH, RST, SYN, URG, mss_option};

const SECOND: Duration = Duration::from_secs(1);
const MSS: usize = 1_000;

fn moment(rig: &Rig) {
    rig.run(Duration::from_millis(1));
}

fn connected(rig: &Rig) -> (Peer<'_>, TcpStream) {
    established_with(rig, &mss_option(MSS as u16))
}

fn send_buffer(stream: &TcpStream, bytes: u32) {
    stream.socket().set_option(SocketOption::SendBufferBytes(bytes)).expect("it can be set");
}

/// The TCP segments that the stack sends in that time, with when.
fn watch(rig: &Rig, duration: Duration) -> Vec<(Instant, Tcp)> {
    rig.run(duration);
    rig.hear_timed().into_iter().filter_map(|(at, frame)| Some((at, frame.ip()?.tcp()?))).collect()
}

/// Milliseconds between one segment and the next.
fn gaps(segments: &[(Instant, Tcp)]) -> Vec<u64> {
    segments.windows(2).map(|pair| pair[1].0.since(pair[0].0).as_millis() as u64).collect()
}

#[test]
fn a_window_beyond_32767_is_no_negative_one() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    send_buffer(&stream, 1 << 20);
    stream.write_all(&vec![7; 300_000]).expect("it is taken");
    moment(&rig);
    let mut most = 0;
    for _ in 0..12 {
        let data = peer.receive();
        most = most.max(data.len());
        peer.acknowledge();
        rig.run(Duration::from_millis(5));
    }
    assert!(most > 32_767 && most <= 65_535, "{most} bytes under way at most");
}

#[test]
fn a_connection_begins_with_an_initial_window_and_grows_by_slow_start() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    send_buffer(&stream, 1 << 20);
    stream.write_all(&vec![7; 300_000]).expect("it is taken");
    rig.run(Duration::from_millis(50));
    let first = peer.receive().len();
    assert!(first <= 10 * MSS, "RFC 6928: {first} bytes");
    peer.acknowledge();
    rig.run(Duration::from_millis(50));
    let second = peer.receive().len();
    assert!(second > first && second <= 2 * first, "{first} and then {second} bytes");
}

#[test]
fn retransmissions_back_off_exponentially_and_no_earlier_than_the_time_out() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    // A round trip is measured first, so that the time-out is small.
    stream.write_all(b"x").expect("it is taken");
    moment(&rig);
    peer.receive();
    peer.acknowledge();
    rig.hear();
    stream.write_all(b"hello").expect("it is taken");
    let said = watch(&rig, 30 * SECOND);
    assert!(said.iter().all(|(_, segment)| segment.seq == said[0].1.seq));
    let gaps = gaps(&said);
    assert!(gaps.len() >= 5 && gaps[0] >= 200, "{gaps:?}");
    for pair in gaps.windows(2) {
        assert!(pair[1] >= 2 * pair[0] - 20 && pair[1] <= 2 * pair[0] + 20, "{gaps:?}");
    }
}

#[test]
fn everything_acknowledged_stops_the_timer_and_an_acknowledgment_restarts_it() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    stream.write_all(&[7; 2 * MSS]).expect("it is taken");
    moment(&rig);
    let said = peer.hear();
    assert_eq!(said.len(), 2);
    peer.take(&said[0]);
    rig.run(Duration::from_millis(150));
    assert_eq!(peer.hear(), [], "the time-out is 200 ms");
    peer.acknowledge();
    rig.run(Duration::from_millis(150));
    assert_eq!(peer.hear(), [], "the timer began anew");
    let again = watch(&rig, 2 * SECOND);
    assert_eq!(again.first().map(|(_, segment)| segment.seq), Some(said[1].seq), "the earliest");
    peer.take(&said[1]);
    peer.acknowledge();
    rig.hear();
    rig.run(Duration::from_secs(300));
    assert_eq!(rig.hear(), [], "all is acknowledged");
}

#[test]
fn a_retransmitted_segment_gives_no_measurement() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    stream.write_all(b"hello").expect("it is taken");
    // Several transmissions; then the acknowledgment, soon after the last.
    let said = watch(&rig, 4 * SECOND);
    assert!(said.len() >= 2);
    peer.take(&said[0].1);
    peer.acknowledge();
    stream.write_all(b"again").expect("it is taken");
    let gaps = gaps(&watch(&rig, 30 * SECOND));
    assert!(gaps[0] >= 900, "the backed-off time-out stays until new data is measured: {gaps:?}");
}

#[test]
fn a_lost_syn_makes_the_first_time_out_three_seconds() {
    let rig = Rig::steady();
    let socket = connecting(&rig, &[]);
    rig.hear();
    rig.run(Duration::from_millis(1_100));
    let mut peer = Peer::accept(&rig, &mss_option(MSS as u16));
    peer.hear();
    socket.send(b"hello").expect("it is taken");
    let gaps = gaps(&watch(&rig, 20 * SECOND));
    assert!(gaps[0] >= 2_900, "{gaps:?}");
    peer.finish();
}

#[test]
fn syns_are_sent_again_and_the_application_is_told_when_it_ends() {
    let rig = Rig::steady();
    let socket = connecting(&rig, &[]);
    let said = watch(&rig, Duration::from_secs(600));
    assert!(said.iter().all(|(_, segment)| segment.flags == SYN), "{said:?}");
    let gaps = gaps(&said);
    // As on Linux, four come at the first time-out.
    let (linear, doubled) = gaps.split_at(4.min(gaps.len()));
    assert!(linear.iter().all(|gap| *gap == doubled[0]), "{gaps:?}");
    assert!(doubled.len() >= 4 && doubled.windows(2).all(|pair| pair[1] > pair[0]), "{gaps:?}");
    let error = socket.take_error().expect("a socket that lives").expect("an error");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn data_that_nobody_acknowledges_ends_the_connection_at_last() {
    let rig = Rig::steady();
    let (_peer, mut stream) = connected(&rig);
    stream.write_all(b"hello").expect("it is taken");
    rig.run(100 * SECOND);
    assert_eq!(read_all(&stream), Some(Vec::new()), "not within 100 seconds");
    rig.run(Duration::from_secs(3_600));
    let error = stream.read(&mut [0; 8]).expect_err("nobody answered");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn the_application_sets_how_long_data_may_stay_unacknowledged() {
    let rig = Rig::steady();
    let (_peer, mut stream) = connected(&rig);
    let timeout = SocketOption::UserTimeout(5 * SECOND);
    stream.socket().set_option(timeout).expect("an option of TCP");
    stream.write_all(b"hello").expect("it is taken");
    rig.run(20 * SECOND);
    let error = stream.read(&mut [0; 8]).expect_err("nobody answered");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn small_writes_wait_for_company_unless_the_application_says_no() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    let write = |stream: &mut TcpStream| {
        for _ in 0..5 {
            stream.write_all(b"ten bytes.").expect("it is taken");
        }
        moment(&rig);
    };
    write(&mut stream);
    let held = peer.hear();
    assert!(held.len() < 5, "{held:?}");
    held.iter().for_each(|segment| peer.take(segment));
    peer.acknowledge();
    peer.receive_all();
    stream.set_nodelay(true).expect("a socket that lives");
    write(&mut stream);
    let said = peer.hear();
    assert_eq!(said.len(), 5, "each at once: {said:?}");
}

#[test]
fn keep_alives_are_off_by_default() {
    let rig = Rig::steady();
    let (_peer, _stream) = connected(&rig);
    rig.hear();
    rig.run(Duration::from_secs(10 * 3_600));
    assert_eq!(rig.hear(), []);
}

#[test]
fn keep_alives_begin_after_two_idle_hours_and_one_lost_answer_is_no_death() {
    let rig = Rig::steady();
    let (mut peer, stream) = connected(&rig);
    stream.socket().set_option(SocketOption::KeepAlive(true)).expect("an option of TCP");
    rig.hear();
    let early = watch(&rig, Duration::from_secs(7_190));
    assert!(early.is_empty(), "less than two hours: {early:?}");
    let said = watch(&rig, Duration::from_secs(200));
    assert!(said.len() >= 2, "one goes unanswered, the next comes");
    for (_, probe) in &said {
        assert_eq!(probe.seq, peer.ack.wrapping_sub(1));
        assert!(probe.data.is_empty() && probe.flags == ACK);
    }
    peer.acknowledge();
    rig.hear();
    rig.run(Duration::from_secs(7_100));
    assert_eq!(rig.hear_tcp(), [], "an answer starts the wait anew");
    assert_eq!(read_all(&stream), Some(Vec::new()), "the connection lives");
}

#[test]
fn the_keep_alive_interval_is_the_applications_and_silence_ends_the_connection() {
    let rig = Rig::steady();
    let (_peer, mut stream) = connected(&rig);
    for option in [
        SocketOption::KeepIdle(60 * SECOND),
        SocketOption::KeepInterval(5 * SECOND),
        SocketOption::KeepCount(3),
        SocketOption::KeepAlive(true),
    ] {
        stream.socket().set_option(option).expect("an option of TCP");
    }
    rig.hear();
    let said = watch(&rig, 120 * SECOND);
    let probes = said.iter().filter(|(_, segment)| !segment.has(RST)).count();
    assert_eq!(probes, 3, "{said:?}");
    let error = stream.read(&mut [0; 8]).expect_err("nobody answered");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn keep_alives_wait_while_data_is_outstanding() {
    let rig = Rig::steady();
    let (peer, mut stream) = connected(&rig);
    for option in [SocketOption::KeepIdle(SECOND), SocketOption::KeepAlive(true)] {
        stream.socket().set_option(option).expect("an option of TCP");
    }
    rig.hear();
    stream.write_all(b"hello").expect("it is taken");
    let said = watch(&rig, 20 * SECOND);
    assert!(said.iter().all(|(_, segment)| segment.seq == peer.ack), "{said:?}");
}

#[test]
fn a_peer_that_shrinks_its_window_does_no_harm() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    stream.write_all(&[7; 8 * MSS]).expect("it is taken");
    moment(&rig);
    let said = peer.hear();
    assert_eq!(said.len(), 8);
    peer.take(&said[0]);
    peer.window = MSS as u16;
    peer.acknowledge();
    stream.write_all(&[8; 8 * MSS]).expect("it is taken");
    moment(&rig);
    assert_eq!(peer.hear(), [], "seven are under way, the window is for one");
    rig.run(10 * SECOND);
    peer.hear();
    peer.window = 65_535;
    peer.acknowledge();
    let mut data = Vec::new();
    for _ in 0..40 {
        data.extend(peer.receive());
        peer.acknowledge();
        rig.run(SECOND);
    }
    assert_eq!(data.len(), 15 * MSS);
}

#[test]
fn a_zero_window_is_probed_ever_more_seldom_and_may_last_for_ever() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    peer.window = 0;
    peer.acknowledge();
    stream.write_all(&[7; 5 * MSS]).expect("it is taken");
    let mut times = Vec::new();
    for _ in 0..12 * 3_600 {
        for (at, segment) in watch(&rig, SECOND) {
            assert!(segment.data.len() <= 1, "a probe, not data: {segment:?}");
            times.push(at);
            peer.acknowledge();
        }
    }
    assert!(times.len() > 100, "{} probes in twelve hours", times.len());
    let early = times[1].since(times[0]);
    let late = times[times.len() - 1].since(times[times.len() - 2]);
    assert!(late > early, "{early:?} and then {late:?}");
    rig.hear();
    peer.window = 65_535;
    peer.acknowledge();
    let mut data = Vec::new();
    for _ in 0..10 {
        data.extend(peer.receive());
        peer.acknowledge();
        rig.run(SECOND);
    }
    assert_eq!(data.len(), 5 * MSS, "{}", data.len());
}

#[test]
fn a_window_that_opens_by_small_steps_is_not_filled_by_small_segments() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    peer.window = 0;
    peer.acknowledge();
    stream.write_all(&[7; 5 * MSS]).expect("it is taken");
    moment(&rig);
    rig.hear();
    for window in [10, 50, 100, 300] {
        peer.window = window;
        peer.acknowledge();
        let said = peer.hear();
        assert!(said.iter().all(|segment| segment.data.len() <= 1), "{window}: {said:?}");
    }
    peer.window = MSS as u16;
    peer.acknowledge();
    let said = peer.hear();
    assert!(said.iter().any(|segment| segment.data.len() == MSS), "a whole segment: {said:?}");
}

#[test]
fn the_announced_window_moves_by_worthwhile_steps() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    for _ in 0..200 {
        peer.say(ACK, &[7; MSS]);
    }
    rig.run(SECOND);
    let told = peer.hear().last().expect("acknowledgments").clone();
    let edge = told.ack.wrapping_add(u32::from(told.window));
    let mut small = 0;
    for _ in 0..40 {
        stream.read_exact(&mut [0; 10]).expect("there is data");
        moment(&rig);
        for segment in peer.hear() {
            let new_edge = segment.ack.wrapping_add(u32::from(segment.window));
            let step = new_edge.wrapping_sub(edge);
            small += usize::from(step > 0 && step < MSS as u32 / 2);
        }
    }
    assert_eq!(small, 0, "ten bytes read are no reason to move the edge");
}

#[test]
fn an_acknowledgment_is_delayed_by_less_than_half_a_second() {
    let rig = Rig::steady();
    let (mut peer, _stream) = connected(&rig);
    let mut at_once = 0;
    for _ in 0..40 {
        peer.say(PSH | ACK, b"x");
        rig.run(Duration::from_millis(30));
        let mut said = peer.hear();
        at_once += usize::from(!said.is_empty());
        // Less than a time-out, after which acknowledgements are hurried again.
        rig.run(Duration::from_millis(150));
        said.extend(peer.hear());
        assert!(said.iter().any(|segment| segment.ack == peer.seq), "{said:?}");
    }
    assert_eq!(at_once, 16, "quick at the start, delayed from then on");
}

#[test]
fn acknowledgments_are_aggregated() {
    let rig = Rig::steady();
    let (mut peer, _stream) = connected(&rig);
    for _ in 0..60 {
        peer.say(ACK, &[7; MSS]);
    }
    rig.run(SECOND);
    peer.hear();
    for _ in 0..40 {
        peer.say(ACK, &[7; MSS]);
    }
    let said = peer.hear();
    assert!((10..=30).contains(&said.len()), "{} for 40 segments", said.len());
}

#[test]
fn a_segment_that_fills_a_hole_acknowledges_all_at_once() {
    let rig = Rig::steady();
    let (peer, stream) = connected(&rig);
    let first = peer.segment(ACK, &[1; 100]);
    let mut later = peer.segment(ACK, &[2; 100]);
    later.seq = first.next_seq();
    let mut last = peer.segment(PSH | ACK, &[3; 100]);
    last.seq = later.next_seq();
    peer.hear();
    peer.say_segment(&last);
    peer.say_segment(&later);
    let said = peer.hear();
    assert!(said.len() == 2 && said.iter().all(|segment| segment.ack == first.seq), "{said:?}");
    peer.say_segment(&first);
    let said = peer.hear();
    assert_eq!(said.len(), 1, "one for all that was queued: {said:?}");
    assert_eq!(said[0].ack, last.next_seq());
    assert_eq!(read_all(&stream).map(|data| data.len()), Some(300));
}

#[test]
fn three_duplicate_acknowledgments_bring_the_segment_back_before_the_time_out() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    stream.write_all(&[7; 8 * MSS]).expect("it is taken");
    moment(&rig);
    let said = peer.hear();
    for _ in 0..3 {
        peer.acknowledge();
    }
    let again = peer.hear();
    assert!(again.iter().any(|segment| segment.seq == said[0].seq), "{again:?}");
}

#[test]
fn resets_and_urgent_pointers_count_even_while_the_window_is_zero() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = connected(&rig);
    // Nobody reads: the window closes.
    for _ in 0..4_000 {
        peer.say(ACK, &[7; MSS]);
        let closed = peer.hear().last().is_some_and(|segment| segment.window == 0);
        if closed {
            break;
        }
    }
    let last = {
        rig.run(SECOND);
        peer.acknowledge();
        peer.segment(ACK, b"x")
    };
    peer.say_segment(&last);
    let said = peer.hear();
    let said = said.last().expect("a probe is answered");
    assert_eq!(said.window, 0, "the window is closed");
    peer.seq = said.ack;
    peer.say_segment(&Tcp { urgent: 1, ..peer.segment(URG | ACK, b"") });
    peer.say(RST, b"");
    let mut buffer = vec![0; 1 << 20];
    let error = loop {
        match stream.read(&mut buffer) {
            Ok(n) => assert_ne!(n, 0, "an abort is no end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn resets_and_syns_that_do_not_fit_exactly_are_challenged() {
    let rig = Rig::steady();
    let (peer, stream) = established(&rig);
    peer.hear();
    let off = |by: u32| Tcp { seq: peer.seq.wrapping_add(by), ..peer.segment(RST, b"") };
    peer.say_segment(&off(1));
    peer.say_segment(&off(1_000));
    let said = peer.hear();
    assert!(!said.is_empty() && said.iter().all(|segment| segment.flags == ACK), "{said:?}");
    peer.say_segment(&off(0x4000_0000));
    assert_eq!(peer.hear(), [], "outside the window nothing is said");
    peer.say_segment(&peer.segment(SYN, b""));
    let said = peer.hear();
    assert!(said.iter().all(|segment| segment.flags == ACK), "{said:?}");
    assert_eq!(read_all(&stream), Some(Vec::new()), "the connection lives");
}

#[test]
fn a_half_closed_connection_still_receives() {
    let rig = Rig::steady();
    let (mut peer, stream) = connected(&rig);
    stream.shutdown(std::net::Shutdown::Write).expect("it is connected");
    moment(&rig);
    let said = peer.hear();
    let fin = said.iter().find(|segment| segment.has(FIN)).expect("a FIN").clone();
    peer.ack = fin.next_seq();
    peer.acknowledge();
    peer.say(PSH | ACK, b"still here");
    assert_eq!(read_all(&stream), Some(b"still here".to_vec()));
}
