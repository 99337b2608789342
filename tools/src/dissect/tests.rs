use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::dissect::summary::Summary;

const US: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEM: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn show(frames: &[Vec<u8>], detail: Detail) -> Vec<String> {
    let mut dissector = Dissector::new(detail);
    let lines = frames.iter().map(|frame| {
        let mut line = String::new();
        dissector.line(Medium::Ethernet, frame, frame.len(), &mut line);
        line
    });
    lines.collect()
}

fn plain(frame: Vec<u8>) -> String {
    show(&[frame], Detail::default()).remove(0)
}

fn verbose(frame: Vec<u8>) -> String {
    show(&[frame], Detail { verbosity: 1, ..Detail::default() }).remove(0)
}

fn arp(operation: u8, ours: [u8; 4], their_mac: [u8; 6], theirs: [u8; 4]) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &US, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    frame.extend([&US[..], &ours, &their_mac, &theirs].concat());
    frame
}

fn tcp(flags: &str, seq: u32, ack: u32, payload: &[u8], reply: bool) -> Vec<u8> {
    let (src, dst, ports) = match reply {
        false => ([10, 0, 0, 1], [10, 0, 0, 2], (40_000, 80)),
        true => ([10, 0, 0, 2], [10, 0, 0, 1], (80, 40_000)),
    };
    let builder = PacketBuilder::ethernet2(US, THEM).ipv4(src, dst, 64);
    let mut builder = builder.tcp(ports.0, ports.1, seq, 1000);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'F' => builder.fin(),
            'R' => builder.rst(),
            'P' => builder.psh(),
            _ => builder.ack(ack),
        };
    }
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// A TCP segment with these option bytes, a multiple of 4 of them.
fn with_options(options: &[u8]) -> String {
    let mut frame = tcp(".", 1, 1, b"", false);
    frame[16..18].copy_from_slice(&((40 + options.len()) as u16).to_be_bytes());
    frame[14 + 20 + 12] = ((5 + options.len() / 4) as u8) << 4;
    frame.extend(options);
    let line = plain(frame);
    let from = line.find("options [").unwrap();
    line[from..line.rfind(", length").unwrap()].to_owned()
}

#[test]
fn arp_is_told_apart_by_its_use() {
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    assert_eq!(
        plain(arp(1, a, [0; 6], b)),
        "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28"
    );
    assert_eq!(plain(arp(2, a, THEM, b)), "ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:01, length 28");
    assert_eq!(plain(arp(1, [0; 4], [0; 6], b)), "ARP, Probe 10.0.0.2, length 28");
    assert_eq!(plain(arp(1, a, [0; 6], a)), "ARP, Announcement 10.0.0.1, length 28");
    assert_eq!(
        plain(arp(1, a, THEM, b)),
        "ARP, Request who-has 10.0.0.2 (02:00:00:00:00:02) tell 10.0.0.1, length 28"
    );
}

#[test]
fn the_link_header_comes_first_if_asked_for() {
    let detail = Detail { link_header: true, ..Detail::default() };
    let frame = arp(1, [10, 0, 0, 1], [0; 6], [10, 0, 0, 2]);
    assert_eq!(
        show(&[frame], detail)[0],
        "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: \
         Request who-has 10.0.0.2 tell 10.0.0.1, length 28"
    );
}

#[test]
fn sequence_numbers_are_relative_after_the_handshake() {
    let frames = [
        tcp("S", 1000, 0, b"", false),
        tcp("S.", 5000, 1001, b"", true),
        tcp(".", 1001, 5001, b"", false),
        tcp("P.", 1001, 5001, b"hello", false),
        tcp("F.", 5001, 1006, b"", true),
        tcp("R", 1006, 0, b"", false),
    ];
    let lines = show(&frames, Detail::default());
    let ends = ["IP 10.0.0.1.40000 > 10.0.0.2.80", "IP 10.0.0.2.80 > 10.0.0.1.40000"];
    assert_eq!(lines[0], format!("{}: Flags [S], seq 1000, win 1000, length 0", ends[0]));
    assert_eq!(
        lines[1],
        format!("{}: Flags [S.], seq 5000, ack 1001, win 1000, length 0", ends[1])
    );
    assert_eq!(lines[2], format!("{}: Flags [.], ack 1, win 1000, length 0", ends[0]));
    assert_eq!(lines[3], format!("{}: Flags [P.], seq 1:6, ack 1, win 1000, length 5", ends[0]));
    assert_eq!(lines[4], format!("{}: Flags [F.], seq 1, ack 6, win 1000, length 0", ends[1]));
    assert_eq!(lines[5], format!("{}: Flags [R], seq 6, win 1000, length 0", ends[0]));
    let absolute = Detail { absolute_seqs: true, ..Detail::default() };
    assert!(show(&frames, absolute)[3].contains("seq 1001:1006, ack 5001"));
}

#[test]
fn options_have_names_and_unknown_ones_are_skipped_by_their_length() {
    let syn = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 7];
    assert_eq!(with_options(&syn), "options [mss 1460,sackOK,TS val 7 ecr 9,nop,wscale 7]");
    assert_eq!(
        with_options(&[200, 4, 0xab, 0xcd, 1, 3, 3, 7]),
        "options [unknown-200 0xabcd,nop,wscale 7]"
    );
    assert_eq!(with_options(&[2, 0, 0, 0]), "options [[bad opt 2]]");
    assert_eq!(with_options(&[2, 9, 0, 0]), "options [[bad opt 2]]");
    assert_eq!(with_options(&[0, 0, 0, 0]), "options [eol]");
}

#[test]
fn udp_and_checksums() {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(US, THEM).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.udp(1000, 2000).write(&mut frame, b"hello").unwrap();
    assert_eq!(plain(frame.clone()), "IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 5");
    let twice = Detail { verbosity: 2, ..Detail::default() };
    assert!(show(std::slice::from_ref(&frame), twice)[0].contains("[udp sum ok]"));
    *frame.last_mut().unwrap() ^= 1;
    assert!(show(&[frame], twice)[0].contains("[bad udp cksum"));
    let mut frame = tcp("P.", 1, 1, b"hello", false);
    assert!(verbose(frame.clone()).contains("(correct)"));
    frame[14 + 10] ^= 1;
    let line = verbose(frame);
    assert!(
        line.contains("bad cksum") && line.contains("flags [DF], proto TCP (6), length 45"),
        "{line}"
    );
}

#[test]
fn icmp_errors_name_what_they_are_about() {
    let mut quoted = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.udp(1000, 2000).write(&mut quoted, b"hello").unwrap();
    let error = |kind: u8, code: u8, rest: [u8; 4]| {
        let mut frame = Vec::new();
        let message = [&[kind, code, 0, 0][..], &rest, &quoted[..28]].concat();
        let ip = PacketBuilder::ethernet2(US, THEM).ipv4([10, 0, 0, 9], [10, 0, 0, 1], 64);
        ip.write(&mut frame, etherparse::ip_number::ICMP, &message).unwrap();
        plain(frame).replace("IP 10.0.0.9 > 10.0.0.1: ICMP ", "")
    };
    assert_eq!(error(3, 3, [0; 4]), "10.0.0.2 udp port 2000 unreachable, length 36");
    assert_eq!(error(3, 1, [0; 4]), "host 10.0.0.2 unreachable, length 36");
    assert_eq!(
        error(3, 4, [0, 0, 5, 0x78]),
        "10.0.0.2 unreachable - need to frag (mtu 1400), length 36"
    );
    assert_eq!(error(11, 0, [0; 4]), "time exceeded in-transit, length 36");
    assert_eq!(error(5, 1, [10, 0, 0, 7]), "redirect 10.0.0.2 to host 10.0.0.7, length 36");
}

#[test]
fn version_6_has_its_own_names() {
    let addr = |last: u8| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(US, THEM).ipv6(addr(1), addr(2), 64);
    builder.icmpv6_echo_request(7, 3).write(&mut frame, &[0; 56]).unwrap();
    assert_eq!(plain(frame), "IP6 fe80::1 > fe80::2: ICMP6, echo request, id 7, seq 3, length 64");
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(US, THEM).ipv6(addr(1), addr(2), 64);
    builder.tcp(1000, 2000, 5, 100).syn().write(&mut frame, b"").unwrap();
    assert_eq!(
        plain(frame),
        "IP6 fe80::1.1000 > fe80::2.2000: Flags [S], seq 5, win 100, length 0"
    );
}

#[test]
fn what_ends_early_says_so() {
    let whole = tcp("S", 1, 0, b"", false);
    assert_eq!(plain(whole[..10].to_vec()), "[|ether]");
    assert_eq!(plain(whole[..20].to_vec()), "IP [|ip]");
    assert_eq!(
        plain(whole[..44].to_vec()),
        "IP truncated-ip - 10 bytes missing! 10.0.0.1.40000 > 10.0.0.2.80: [|tcp, seq 1]"
    );
}

#[test]
fn the_table_of_connections_is_bounded() {
    let mut dissector = Dissector::new(Detail::default());
    for n in 0..20_000u32 {
        let mut frame = tcp("S", n, 0, b"", false);
        frame[14 + 12..14 + 16].copy_from_slice(&n.to_be_bytes());
        dissector.line(Medium::Ethernet, &frame, frame.len(), &mut String::new());
    }
    assert!(dissector.flows.len() <= 8_192);
}

proptest! {
    #[test]
    fn garbage_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        verbosity in 0..3u8,
        link_header: bool,
    ) {
        survive(&bytes, verbosity, link_header);
    }

    #[test]
    fn garbage_behind_plausible_headers_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![0x0800u16, 0x0806, 0x86dd, 0x8100]),
        first in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x00]),
        protocol in prop::sample::select(vec![1u8, 2, 6, 17, 58, 0, 43, 44, 60]),
        len in any::<u8>(),
        verbosity in 0..3u8,
    ) {
        let mut frame = vec![2; 12];
        frame.extend(kind.to_be_bytes());
        frame.extend(bytes);
        for (at, value) in [(14, first), (16, 0), (17, len), (20, 0), (21, 0), (23, protocol)] {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        if first == 0x60 && frame.len() > 20 {
            frame[18..20].copy_from_slice(&[0, len]);
            frame[20] = protocol;
        }
        survive(&frame, verbosity, false);
    }
}

fn survive(frame: &[u8], verbosity: u8, link_header: bool) {
    let detail = Detail { verbosity, link_header, absolute_seqs: false };
    let mut dissector = Dissector::new(detail);
    for medium in [Medium::Ethernet, Medium::Ip] {
        let mut line = String::new();
        dissector.line(medium, frame, frame.len(), &mut line);
        assert!(!line.is_empty());
        let _ = Summary::of(medium, frame);
    }
}
