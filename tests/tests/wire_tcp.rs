//! TCP's formats, handshakes and ends as a station on the wire sees them (RFC 9293, RFC 6691).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use libnet::MacAddr;
use libnet::socket::SocketOption;
use rumpnet_tests::peer::{
    ISS, PEER_PORT, PORT, Peer, accepted, connecting, established, established_with, listen,
    read_all,
};
use rumpnet_tests::station::{FAR, GATEWAY, PEER, PEER_MAC, Rig, US, US_MAC};
use rumpnet_tests::wire::tcp::{ACK, FIN, PSH, RST, SYN, URG, mss_option};
use rumpnet_tests::wire::{ICMP, IPV4, Icmp, Ip, Tcp, frame};

const SECOND: Duration = Duration::from_secs(1);

fn moment(rig: &Rig) {
    rig.run(Duration::from_millis(1));
}

/// A SYN to the listener.
fn syn() -> Tcp {
    Tcp { src: PEER_PORT, dst: PORT, seq: ISS, flags: SYN, window: 65_535, ..Tcp::default() }
}

#[test]
fn data_flows_and_both_sides_close() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = established(&rig);
    peer.say(PSH | ACK, b"hello");
    assert_eq!(read_all(&stream), Some(b"hello".to_vec()));
    stream.write_all(b"world").expect("it is taken");
    moment(&rig);
    assert_eq!(peer.receive_all(), b"world");
    peer.finish();
    assert_eq!(read_all(&stream), None, "the end");
    drop(stream);
    moment(&rig);
    assert!(peer.hear().iter().any(|segment| segment.has(FIN)));
}

#[test]
fn a_wrong_checksum_is_discarded_silently() {
    let rig = Rig::steady();
    let (peer, stream) = established(&rig);
    peer.hear();
    for at in [0, 3, 5, 13, 15, 20, 24] {
        let mut packet = peer.segment(PSH | ACK, b"hello").packet(PEER, US);
        packet.data[at] ^= 0x40;
        rig.say_ip(&packet);
        assert_eq!(read_all(&stream), Some(Vec::new()), "byte {at}");
    }
    rig.run(SECOND);
    assert_eq!(rig.hear(), []);
}

#[test]
fn malformed_headers_are_discarded_silently() {
    let rig = Rig::steady();
    let _listener = listen(&rig);
    let good = syn().packet(PEER, US);
    for offset in 0..16u8 {
        let mut packet = good.clone();
        packet.data[12] = offset << 4;
        if offset != 5 {
            rig.say_ip(&packet.summed(16));
            assert_eq!(rig.hear(), [], "data offset {offset}");
        }
    }
    for len in 0..20 {
        let mut packet = good.clone();
        packet.data.truncate(len);
        if len >= 18 {
            packet = packet.summed(16);
        }
        rig.say_ip(&packet);
        assert_eq!(rig.hear(), [], "cut to {len} bytes");
    }
}

#[test]
fn options_are_understood_wherever_they_begin_and_unknown_ones_skipped() {
    let rig = Rig::steady();
    let options = [&[253, 5, 1, 2, 3, 1][..], &mss_option(700), &[254, 2, 0, 0, 0, 0]].concat();
    let (mut peer, mut stream) = established_with(&rig, &options);
    stream.write_all(&[7; 2_000]).expect("it is taken");
    moment(&rig);
    let sizes: Vec<usize> = peer.hear().iter().map(|segment| segment.data.len()).collect();
    assert!(sizes.contains(&700) && sizes.iter().all(|&size| size <= 700), "{sizes:?}");
    peer.options = vec![1, 253, 3, 9];
    peer.say(PSH | ACK, b"hello");
    assert_eq!(read_all(&stream), Some(b"hello".to_vec()), "an unknown option on data");
}

#[test]
fn impossible_option_lengths_do_no_harm() {
    let rig = Rig::steady();
    let listener = listen(&rig);
    for (number, bad) in
        [[2, 0, 5, 0], [2, 1, 5, 0], [253, 0, 0, 0], [253, 200, 0, 0]].into_iter().enumerate()
    {
        let mut peer = Peer::connect_from(&rig, 6_000 + number as u16, &bad);
        let stream = accepted(&listener);
        peer.options = bad.to_vec();
        peer.say(PSH | ACK, b"hello");
        assert_eq!(read_all(&stream), Some(b"hello".to_vec()), "{bad:?}");
    }
}

#[test]
fn the_maximum_segment_size_is_announced_on_syns() {
    let rig = Rig::steady();
    let (peer, _stream) = established(&rig);
    assert_eq!(peer.syn.mss(), Some(1_460), "the MTU less two fixed headers");
    let _socket = connecting(&rig, &[]);
    let syn = rig.hear_tcp().remove(0);
    assert_eq!(syn.mss(), Some(1_460));
}

#[test]
fn without_the_option_segments_hold_536_bytes_at_most() {
    let rig = Rig::steady();
    let (peer, mut stream) = established(&rig);
    stream.write_all(&[7; 3_000]).expect("it is taken");
    moment(&rig);
    let sizes: Vec<usize> = peer.hear().iter().map(|segment| segment.data.len()).collect();
    assert!(sizes.contains(&536) && sizes.iter().all(|&size| size <= 536), "{sizes:?}");
}

#[test]
fn a_large_announced_size_does_not_exceed_the_path() {
    let rig = Rig::steady();
    let (peer, mut stream) = established_with(&rig, &mss_option(9_000));
    stream.write_all(&[7; 5_000]).expect("it is taken");
    moment(&rig);
    let said = rig.hear_ip();
    assert!(said.iter().all(|ip| ip.data.len() <= 1_480 && !ip.is_fragment()), "{said:?}");
    assert!(said.iter().filter_map(Ip::tcp).any(|segment| segment.data.len() == 1_460));
    assert_eq!(peer.port, PORT);
}

#[test]
fn initial_sequence_numbers_follow_a_clock() {
    let rig = Rig::steady();
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let socket = connecting(&rig, &[]);
        let syn = rig.hear_tcp().remove(0);
        numbers.push(syn.seq);
        drop(socket);
        rig.run(SECOND);
        rig.hear();
    }
    for pair in numbers.windows(2) {
        let advanced = pair[1].wrapping_sub(pair[0]);
        assert!((200_000..400_000).contains(&advanced), "{advanced}: one tick is 4 µs");
    }
}

#[test]
fn initial_sequence_numbers_of_other_connections_are_unrelated() {
    let rig = Rig::steady();
    let _listener = listen(&rig);
    let mut numbers: Vec<u32> = Vec::new();
    for port in 6_000..6_016 {
        numbers.push(Peer::connect_from(&rig, port, &[]).syn.seq);
    }
    let near = |a: u32, b: u32| a.wrapping_sub(b).min(b.wrapping_sub(a)) < 1 << 20;
    let related = numbers.windows(2).filter(|pair| near(pair[0], pair[1])).count();
    assert!(related <= 1, "{numbers:?}");
}

#[test]
fn simultaneous_opens_end_with_one_connection() {
    let rig = Rig::steady();
    let socket = connecting(&rig, &[]);
    let ours = rig.hear_tcp().remove(0);
    let theirs = Tcp { src: PEER_PORT, dst: ours.src, ..syn() };
    rig.say_tcp(&theirs);
    let answer = rig.hear_tcp();
    assert!(answer.iter().any(|segment| {
        segment.has(SYN | ACK) && segment.seq == ours.seq && segment.ack == ISS.wrapping_add(1)
    }));
    let established = Tcp { flags: SYN | ACK, ack: ours.seq.wrapping_add(1), ..theirs.clone() };
    rig.say_tcp(&established);
    rig.hear();
    let data = Tcp {
        flags: PSH | ACK,
        seq: ISS.wrapping_add(1),
        ack: ours.seq.wrapping_add(1),
        data: b"hello".to_vec(),
        ..theirs
    };
    rig.say_tcp(&data);
    let mut buffer = [0; 8];
    assert_eq!(socket.recv(&mut buffer).expect("a connection that works"), 5);
}

#[test]
fn a_reset_of_a_passive_open_leaves_the_listener_and_tells_nobody() {
    let rig = Rig::steady();
    let listener = listen(&rig);
    rig.say_tcp(&syn());
    let answer = rig.hear_tcp().remove(0);
    rig.say_tcp(&Tcp { flags: RST, seq: ISS.wrapping_add(1), ..syn() });
    assert_eq!(listener.accept().expect_err("nobody").kind(), ErrorKind::WouldBlock);
    rig.say_tcp(&Tcp { flags: ACK, seq: ISS.wrapping_add(1), ack: answer.next_seq(), ..syn() });
    assert!(rig.hear_tcp().iter().any(|segment| segment.has(RST)), "it is gone");
    let _peer = Peer::connect(&rig, &[]);
    accepted(&listener);
}

#[test]
fn a_reset_of_an_active_open_is_refused() {
    let rig = Rig::steady();
    let socket = connecting(&rig, &[]);
    let ours = rig.hear_tcp().remove(0);
    let reset = Tcp {
        flags: RST | ACK,
        seq: 0,
        ack: ours.next_seq(),
        src: PEER_PORT,
        dst: 5_000,
        ..Tcp::default()
    };
    rig.say_tcp(&Tcp { ack: ours.seq, ..reset.clone() });
    assert!(socket.take_error().expect("a socket that lives").is_none(), "not for our SYN");
    rig.say_tcp(&reset);
    let error = socket.take_error().expect("a socket that lives").expect("an error");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn the_application_tells_an_abort_from_an_end() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = established(&rig);
    peer.say(RST, b"");
    let error = stream.read(&mut [0; 8]).expect_err("aborted");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn segments_to_nobody_are_reset_unless_they_are_resets() {
    let rig = Rig::steady();
    rig.say_tcp(&syn());
    let said = rig.hear_tcp();
    assert_eq!(said.len(), 1);
    assert!(said[0].has(RST | ACK));
    assert_eq!((said[0].seq, said[0].ack), (0, ISS.wrapping_add(1)));
    rig.say_tcp(&Tcp { flags: ACK, ack: 77, data: b"x".to_vec(), ..syn() });
    let said = rig.hear_tcp();
    assert_eq!(said.len(), 1);
    assert!(said[0].has(RST) && said[0].seq == 77);
    rig.say_tcp(&Tcp { flags: RST, ..syn() });
    assert_eq!(rig.hear(), []);
}

#[test]
fn the_side_that_closes_first_answers_a_repeated_fin_and_at_last_forgets() {
    let rig = Rig::steady();
    let (mut peer, stream) = established(&rig);
    drop(stream);
    moment(&rig);
    peer.receive();
    let fin = peer.segment(FIN | ACK, b"");
    peer.say_segment(&fin);
    assert!(
        peer.hear().iter().any(|segment| segment.flags == ACK && segment.ack == fin.next_seq())
    );
    rig.run(30 * SECOND);
    peer.say_segment(&fin);
    assert!(peer.hear().iter().any(|segment| segment.flags == ACK), "TIME-WAIT is still there");
    rig.run(59 * SECOND);
    peer.say_segment(&fin);
    assert!(peer.hear().iter().any(|segment| segment.flags == ACK), "the wait began anew");
    rig.run(130 * SECOND);
    peer.say_segment(&fin);
    assert!(peer.was_reset(), "and it is over");
}

#[test]
fn a_passive_open_disturbs_no_other() {
    let rig = Rig::steady();
    let (mut peer, stream) = established(&rig);
    let again = rig.stack.tcp_listen((US, PORT));
    drop(again);
    peer.say(PSH | ACK, b"hello");
    assert_eq!(read_all(&stream), Some(b"hello".to_vec()));
    let first = rig.stack.tcp_listen((US, 81)).expect("a free port");
    let second = rig.stack.tcp_listen((US, 81)).expect_err("taken");
    assert_eq!(second.kind(), ErrorKind::AddrInUse);
    drop(first);
}

#[test]
fn a_port_can_be_listened_on_while_connections_to_it_are_opened() {
    let rig = Rig::steady();
    let listener = listen(&rig);
    rig.say_tcp(&syn());
    rig.hear();
    let _peer = Peer::connect_from(&rig, PEER_PORT + 1, &[]);
    accepted(&listener);
}

#[test]
fn the_local_address_can_be_named_and_is_kept() {
    let rig = Rig::steady();
    let socket = connecting(&rig, &[]);
    let mut peer = Peer::accept(&rig, &[]);
    assert_eq!(socket.local_addr().expect("it has one"), SocketAddr::from((US, 5_000)));
    socket.send(b"hello").expect("it is taken");
    moment(&rig);
    let said = rig.hear_ip();
    assert!(!said.is_empty() && said.iter().all(|ip| ip.src == US));
    peer.finish();
    let elsewhere = rig.stack.tcp_listen("10.0.0.9:80").expect_err("not ours");
    assert_eq!(elsewhere.kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn opening_to_many_is_refused() {
    let rig = Rig::steady();
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255), Ipv4Addr::new(224, 0, 0, 1)] {
        let opened = rig.stack.tcp_connect_timeout(&SocketAddr::from((to, 80)), SECOND);
        assert!(opened.is_err(), "{to}");
        assert_eq!(rig.hear_tcp(), [], "{to}");
    }
}

#[test]
fn syns_to_many_are_discarded_silently() {
    let rig = Rig::steady();
    let _any = rig.stack.tcp_listen("0.0.0.0:80").expect("a free port");
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255), Ipv4Addr::new(224, 0, 0, 1)] {
        let bytes = syn().packet(PEER, dst).bytes();
        rig.say(&frame(MacAddr::BROADCAST, PEER_MAC, IPV4, &bytes));
        rig.say(&frame(US_MAC, PEER_MAC, IPV4, &bytes));
        assert_eq!(rig.hear(), [], "{dst}");
    }
}

#[test]
fn syns_from_invalid_sources_are_ignored() {
    let rig = Rig::steady();
    let _listener = listen(&rig);
    for src in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.255", "10.0.0.1"] {
        let src: Ipv4Addr = src.parse().expect("an address");
        rig.say_ip(&syn().packet(src, US));
        assert_eq!(rig.hear(), [], "{src}");
    }
}

#[test]
fn ip_options_that_tcp_does_not_know_are_ignored() {
    let rig = Rig::steady();
    let _listener = listen(&rig);
    rig.say_ip(&Ip { options: vec![200, 4, 1, 2], ..syn().packet(PEER, US) });
    assert!(rig.hear_tcp().iter().any(|segment| segment.has(SYN | ACK)));
}

#[test]
fn type_of_service_and_time_to_live_are_the_applications() {
    let rig = Rig::steady();
    let _socket = connecting(&rig, &[SocketOption::Tos(0xb8), SocketOption::Ttl(9)]);
    let said = rig.hear_ip();
    assert!(!said.is_empty() && said.iter().all(|ip| (ip.tos, ip.ttl) == (0xb8, 9)), "{said:?}");
}

#[test]
fn push_is_set_on_the_last_segment_of_what_was_written() {
    let rig = Rig::steady();
    let (peer, mut stream) = established_with(&rig, &mss_option(1_000));
    stream.write_all(&[7; 2_500]).expect("it is taken");
    rig.run(SECOND / 10);
    let said = peer.hear();
    let last = said.last().expect("segments");
    assert!(last.has(PSH), "{last:?}");
    assert_eq!(said.iter().map(|segment| segment.data.len()).sum::<usize>(), 2_500);
}

#[test]
fn urgent_data_of_any_length_is_delivered_in_line() {
    let rig = Rig::steady();
    let (mut peer, stream) = established(&rig);
    stream.socket().set_option(SocketOption::UrgentInline(true)).expect("an option");
    let urgent = Tcp { urgent: 2_000, ..peer.segment(URG | ACK, &[1; 500]) };
    peer.seq = urgent.next_seq();
    peer.say_segment(&urgent);
    for _ in 0..3 {
        peer.say(ACK, &[2; 500]);
    }
    peer.say(PSH | ACK, b"after");
    let data = read_all(&stream).expect("not the end");
    assert_eq!(data.len(), 2_005);
    assert!(data.ends_with(b"after"));
}

#[test]
fn an_urgent_send_points_past_its_last_byte_until_that_is_acknowledged() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = established(&rig);
    assert_eq!(stream.socket().send_urgent(b"ab!").expect("it is taken"), 3);
    moment(&rig);
    let sent = peer.hear();
    let segment = sent.last().expect("a segment");
    assert_eq!((segment.flags & URG, segment.urgent), (URG, 3));
    peer.take(segment);
    peer.say(ACK, b"");
    stream.write_all(b"calm").expect("it is taken");
    moment(&rig);
    let sent = peer.hear();
    let segment = sent.last().expect("a segment");
    assert_eq!((segment.flags & URG, segment.urgent), (0, 0));
}

#[test]
fn an_icmp_error_reaches_its_connection_and_no_other() {
    let rig = Rig::steady();
    let socket = connecting(&rig, &[]);
    let sent = rig.hear_ip().remove(0);
    let mut other = sent.clone();
    other.data[0] ^= 1;
    rig.say_icmp(&Icmp::error(3, 3, [0; 4], &other));
    assert!(socket.take_error().expect("a socket that lives").is_none());
    let mut old = sent.clone();
    old.data[4] ^= 0x80;
    rig.say_icmp(&Icmp::error(3, 3, [0; 4], &old));
    assert!(socket.take_error().expect("a socket that lives").is_none(), "a forged number");
    rig.say_icmp(&Icmp::error(3, 3, [0; 4], &sent));
    let error = socket.take_error().expect("a socket that lives").expect("an error");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn soft_errors_and_source_quench_abort_no_connection() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = established(&rig);
    stream.write_all(b"hello").expect("it is taken");
    moment(&rig);
    let sent = rig.hear_ip().remove(0);
    for (ty, code) in [(3, 0), (3, 1), (3, 5), (3, 11), (3, 12), (11, 0), (11, 1), (12, 0), (4, 0)]
    {
        rig.say_icmp(&Icmp::error(ty, code, [0; 4], &sent));
    }
    peer.take(&sent.tcp().expect("a segment"));
    peer.say(PSH | ACK, b"world");
    assert_eq!(read_all(&stream), Some(b"world".to_vec()));
}

#[test]
fn soft_errors_are_what_a_connection_that_times_out_reports() {
    let rig = Rig::steady();
    let (peer, mut stream) = established(&rig);
    stream.write_all(b"hello").expect("it is taken");
    moment(&rig);
    let sent = rig.hear_ip().remove(0);
    rig.say_icmp(&Icmp::error(3, 1, [0; 4], &sent));
    rig.run(Duration::from_secs(3_600));
    let error = stream.read(&mut [0; 8]).expect_err("nobody answered for an hour");
    assert!(matches!(error.kind(), ErrorKind::HostUnreachable | ErrorKind::TimedOut), "{error:?}");
    assert_eq!(peer.port, PORT);
}

#[test]
fn segments_shrink_on_a_routers_word() {
    let rig = Rig::steady();
    let (mut peer, mut stream) = established_with(&rig, &mss_option(1_460));
    stream.write_all(&[7; 1_460]).expect("it is taken");
    moment(&rig);
    let sent = rig.hear_ip().remove(0);
    assert_eq!(sent.fragment, 0x4000, "not to be fragmented");
    let too_big = Icmp::error(3, 4, [0, 0, 3, 0xe8], &sent);
    rig.say_ip(&Ip::new(GATEWAY, US, ICMP, too_big.bytes()));
    let data = peer.receive_all();
    assert_eq!(data.len(), 1_460);
    stream.write_all(&[8; 4_000]).expect("it is taken");
    moment(&rig);
    assert!(rig.hear_ip().iter().all(|ip| 20 + ip.data.len() <= 1_000));
}

#[test]
fn a_source_route_is_not_followed() {
    let rig = Rig::steady();
    let _listener = listen(&rig);
    rig.say_ip(&Ip { options: vec![131, 7, 8, 10, 0, 0, 9, 0], ..syn().packet(FAR, US) });
    assert_eq!(rig.hear(), []);
}
