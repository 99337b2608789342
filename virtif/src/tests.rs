use std::collections::VecDeque;
use std::os::fd::AsRawFd;

use bytes::Bytes;
use libnet::Instant;
use libnet::landing::{Forecast, Landing};
use libnet::link::{LinkRx, LinkTx as _, Readiness};
use libnet::packet::Packet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;

/// Moves this thread into a network namespace of its own, where any name is free.
fn alone() -> bool {
    let moved = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
    if let Err(error) = moved {
        eprintln!("skipped: no network namespace of our own: {error}");
    }
    moved.is_ok()
}

/// Opens a device in a namespace of its own, or says why the test is skipped.
fn open_alone(name: &str, config: &VirtifConfig) -> Option<Virtif> {
    if !alone() {
        return None;
    }
    match Virtif::open_with(name, config) {
        Ok(device) => Some(device),
        Err(error @ (OpenError::NoDevice | OpenError::Permission | OpenError::NotOurs { .. })) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn plain() -> VirtifConfig {
    VirtifConfig { offloads: Offloads::Off, ..VirtifConfig::default() }
}

fn start(device: Virtif) -> (LinkQueue, Box<dyn LinkControl>) {
    let (mut queues, control) = Box::new(device).start().unwrap();
    (queues.remove(0), control)
}

fn frame(bytes: &'static [u8]) -> VecDeque<Packet> {
    VecDeque::from([Packet::from_payload(Bytes::from_static(bytes))])
}

/// Waits until a descriptor is readable; that it takes ten seconds is a failure.
fn await_readable(readiness: Readiness) {
    let Readiness::Descriptor(fd) = readiness else { panic!("a device has a descriptor") };
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ready, 1, "nothing happened for ten seconds");
}

/// The frames of the next batch that has any.
fn next_frames(rx: &mut dyn LinkRx) -> Vec<Packet> {
    let mut sink = Vec::new();
    while sink.is_empty() {
        await_readable(rx.readiness());
        rx.recv(Instant::ZERO, 64, &mut sink, None).unwrap();
    }
    sink
}

#[test]
fn bad_names_are_told_from_missing_rights() {
    for name in ["", "a-name-of-16-byte", "a/b", "a b", "a:b", "..", "a\nb"] {
        assert!(matches!(Virtif::open(name), Err(OpenError::Name(_))), "{name:?}");
    }
}

#[test]
fn a_device_does_not_block_and_counts_what_a_dark_wire_loses() {
    let Some(tap) = open_alone("t%d", &plain()) else { return };
    assert_eq!((tap.device(), tap.info().mtu, tap.offload()), ("t0", 1_500, Offload::NONE));
    let (mut queue, control) = start(tap);
    assert_eq!(queue.rx.recv(Instant::ZERO, 8, &mut Vec::new(), None).unwrap(), 0);
    // The host's side is down: the frame is taken and lost.
    let mut frames = frame(&[0xff; 60]);
    assert_eq!(queue.tx.send(Instant::ZERO, &mut frames).unwrap(), 0);
    assert!(frames.is_empty());
    assert_eq!(control.stats().tx_refused, 1);
    HostSide::default().apply("t0").unwrap();
    assert_eq!(queue.tx.send(Instant::ZERO, &mut frame(&[0xff; 60])).unwrap(), 1);
}

#[test]
fn the_hosts_side_is_what_it_was_told_to_be() {
    let Some(tap) = open_alone("wire", &VirtifConfig::default()) else { return };
    let mac = MacAddr([2, 0, 0, 0, 0, 7]);
    let side = HostSide {
        addrs: vec!["10.1.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()],
        gateways: vec!["10.1.0.9".parse().unwrap()],
        mtu: Some(9_000),
        mac: Some(mac),
    };
    side.apply(tap.device()).unwrap();
    side.apply(tap.device()).expect("the same again changes nothing");
    let link = query("wire").unwrap();
    assert!(link.is_up);
    assert_eq!(link.mtu, 9_000);
    std::net::UdpSocket::bind("10.1.0.1:0").unwrap();
    std::net::UdpSocket::bind("[fd00::1]:0").unwrap();
    // The default route leads to the gateway, which the host then asks for by ARP.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.send_to(b"x", "192.0.2.1:9").unwrap();
    let (mut queue, _) = start(tap);
    let frames: Vec<Vec<u8>> = std::iter::repeat_with(|| next_frames(&mut *queue.rx))
        .take(20)
        .flatten()
        .map(|packet| packet.to_bytes().to_vec())
        .take_while(|bytes| bytes[12..14] != [8, 6])
        .collect();
    assert!(frames.len() < 20, "no ARP request: {frames:02x?}");
    let error = HostSide::default().apply("other").unwrap_err().to_string();
    assert!(error.contains("no interface `other`"), "{error}");
    assert!(error.contains("`ip link show other`"), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    let Some(tap) = open_alone("one", &plain()) else { return };
    let two = VirtifConfig { queues: 2, ..VirtifConfig::default() };
    for (name, config, text) in [
        ("one", plain(), "in use by another process"),
        ("lo", plain(), "`lo` is not a tap device"),
        ("lo", VirtifConfig::default(), "`lo` is not a tap device"),
    ] {
        let error = Virtif::open_with(name, &config).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    drop(tap);
    let both = Virtif::open_with("two", &two).unwrap();
    assert_eq!(both.ends.len(), 2);
    drop(both);
}

#[test]
fn a_device_that_comes_back_is_used_again() {
    let Some(tap) = open_alone("gone", &VirtifConfig::default()) else { return };
    let (mut queue, _) = start(tap);
    let netlink = |args: &[&str]| {
        std::process::Command::new("ip").args(args).status().is_ok_and(|status| status.success())
    };
    if !netlink(&["link", "del", "gone"]) {
        return eprintln!("skipped: no `ip` command");
    }
    await_readable(queue.rx.readiness());
    let lost = |queue: &mut LinkQueue| {
        let error = queue.rx.recv(Instant::ZERO, 8, &mut Vec::new(), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NetworkDown);
        assert!(error.to_string().contains("gone is gone"), "{error}");
    };
    lost(&mut queue);
    let error = queue.tx.send(Instant::ZERO, &mut frame(&[0xff; 60])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NetworkDown);
    // Looked for, and not made.
    await_readable(queue.rx.readiness());
    lost(&mut queue);
    assert!(query("gone").is_err());
    assert!(netlink(&["tuntap", "add", "gone", "mode", "tap"]));
    HostSide::default().apply("gone").unwrap();
    let mut looks = 0;
    while queue.rx.recv(Instant::ZERO, 8, &mut Vec::new(), None).is_err() {
        looks += 1;
        assert!(looks < 20, "it is not found");
        await_readable(queue.rx.readiness());
    }
    assert_eq!(queue.tx.send(Instant::ZERO, &mut frame(&[0xff; 60])).unwrap(), 1);
}

#[test]
fn a_passed_tap_tells_what_it_is() {
    let Some(tap) = open_alone("tun7", &VirtifConfig { medium: Medium::Ip, ..Default::default() })
    else {
        return;
    };
    let number = match start(tap).0.rx.readiness() {
        Readiness::Descriptor(fd) => rustix::io::dup(&*fd).unwrap(),
        other => panic!("{other:?}"),
    };
    let passed = Virtif::from_fd(number, &FdConfig::default()).unwrap();
    assert_eq!((passed.device(), passed.info().medium), ("tun7", Medium::Ip));
    assert!(passed.offload().tcp_segmentation);
}

#[test]
fn frames_cross_a_passed_socket_pair_with_and_without_a_header() {
    for header in [FrameHeader::None, FrameHeader::Virtio10, FrameHeader::Virtio12] {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let config = FdConfig { header, mtu: Some(9_000), ..FdConfig::default() };
        let ends = [a, b].map(|fd| Virtif::from_fd(fd, &config).unwrap());
        assert_eq!(ends[0].info().mtu, 9_000);
        assert_eq!(ends[0].offload().partial_checksum, header != FrameHeader::None);
        let [(mut a, _), (mut b, _)] = ends.map(start);
        let mut out = frame(&[7; 100]);
        out[0].checksum = libnet::Checksum::Partial { start: 34, field: 16 };
        assert_eq!(a.tx.send(Instant::ZERO, &mut out).unwrap(), 1);
        let got = next_frames(&mut *b.rx);
        assert_eq!(got[0].to_bytes(), &[7; 100][..]);
        if header != FrameHeader::None {
            assert_eq!(got[0].checksum, libnet::Checksum::Partial { start: 34, field: 16 });
        }
        drop(a);
        let error = b.rx.recv(Instant::ZERO, 8, &mut Vec::new(), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }
}

/// What a frame of TCP over IPv4 looks like, of which only the number is told.
fn forecast(number: u32) -> Box<Forecast> {
    let mut forecast = Forecast::new(0, 0);
    forecast.any(24).number(number).any(12);
    Box::new(forecast)
}

/// A frame of so many bytes of data, the first with this number.
fn numbered(number: u32, data: usize) -> VecDeque<Packet> {
    let mut bytes = vec![0; 54 + data];
    bytes[38..42].copy_from_slice(&number.to_be_bytes());
    bytes[54..].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i + number as usize) as u8);
    let mut packet = Packet::from_payload(Bytes::from(bytes));
    packet.checksum = libnet::Checksum::Partial { start: 34, field: 16 };
    VecDeque::from([packet])
}

#[test]
fn the_data_of_expected_frames_land_and_others_come_whole() {
    let flags = SocketFlags::CLOEXEC;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let config = FdConfig { header: FrameHeader::Virtio12, ..FdConfig::default() };
    let [(mut a, _), (mut b, _)] = [a, b].map(|fd| start(Virtif::from_fd(fd, &config).unwrap()));
    let mut send = |number, data| {
        let sent = numbered(number, data);
        assert_eq!(a.tx.send(Instant::ZERO, &mut sent.clone()).unwrap(), 1);
        sent[0].to_bytes()
    };
    let mut memory = vec![0; 30_000];
    let mut landing = Landing::new(forecast(0), &mut memory);
    let whole = [
        // Nobody knows yet how large they are.
        (send(0, 10_000), false),
        // Another number; no data; more than there is room for, so that the next is not tried; the ones
        // that are next.
        (send(7, 10_000), false),
        (send(0, 0), false),
        (send(0, 30_001), false),
        (send(0, 10_000), false),
        (send(0, 10_000), true),
        (send(10_000, 19_000), true),
    ];
    let mut got = Vec::new();
    while got.len() < whole.len() {
        await_readable(b.rx.readiness());
        b.rx.recv(Instant::ZERO, 64, &mut got, Some(&mut landing)).unwrap();
    }
    for (mut packet, (whole, lands)) in got.into_iter().zip(whole) {
        assert_eq!((packet.len(), packet.landed_range().is_some()), (whole.len(), lands));
        landing.take_back(&mut packet);
        assert_eq!(packet.to_bytes(), whole);
    }
    // Full: whoever waits takes it first.
    send(29_000, 1_000);
    assert_eq!(b.rx.recv(Instant::ZERO, 64, &mut Vec::new(), Some(&mut landing)).unwrap(), 0);
    assert_eq!(next_frames(&mut *b.rx)[0].len(), 1_054);
}

#[test]
fn a_full_pair_pushes_back_and_loses_nothing() {
    let flags = SocketFlags::CLOEXEC;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let [(mut a, control), (mut b, _)] =
        [a, b].map(|fd| start(Virtif::from_fd(fd, &FdConfig::default()).unwrap()));
    let mut queue: VecDeque<Packet> = (0..2_000)
        .map(|n: u16| {
            Packet::from_payload(Bytes::copy_from_slice(
                &[&n.to_be_bytes()[..], &[0; 1_000]].concat(),
            ))
        })
        .collect();
    let mut got = Vec::new();
    while got.len() < 2_000 {
        a.tx.send(Instant::ZERO, &mut queue).unwrap();
        got.append(&mut next_frames(&mut *b.rx));
    }
    let numbers =
        got.iter().map(|packet| packet.to_bytes()).map(|b| u16::from_be_bytes([b[0], b[1]]));
    assert!(numbers.eq(0..2_000));
    assert!(control.stats().tx_waits > 0);
}

#[test]
fn what_goes_to_the_host_itself_leaves_as_one_frame() {
    for (dst, frames) in [([127, 0, 0, 1], 1), ([192, 0, 2, 1], 3)] {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&a, 1 << 20).unwrap();
        let counters = Arc::new(Counters::default());
        let end = Endpoint::new(a, "a".into(), Medium::Ethernet, SHORT_BYTES, None, counters);
        let mut tx = Sender::new(end, Local::open());
        let mut queue = big::tests::write(true);
        queue.iter_mut().for_each(|packet| packet.write_at(30, &dst));
        assert_eq!(tx.send(Instant::ZERO, &mut queue).unwrap(), 3);
        drop(tx);
        let mut buf = vec![0; 256 << 10];
        let (mut count, mut bytes) = (0, 0);
        loop {
            let n = rustix::io::read(&b, &mut buf).unwrap();
            if n == 0 {
                break;
            }
            count += 1;
            bytes += n - SHORT_BYTES - 66;
        }
        assert_eq!((count, bytes), (frames, 128 << 10), "{dst:?}");
    }
}

#[test]
fn packets_of_many_pieces_leave_one_by_one() {
    let flags = SocketFlags::CLOEXEC;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&a, 1 << 20).unwrap();
    let counters = Arc::new(Counters::default());
    let end = Endpoint::new(a, "a".into(), Medium::Ethernet, SHORT_BYTES, None, counters.clone());
    let mut tx = Sender::new(end, Local::open());
    let mut queue: VecDeque<Packet> = big::tests::write(true)
        .into_iter()
        .map(|mut whole| {
            whole.write_at(30, &[127, 0, 0, 1]);
            let bytes = whole.to_bytes();
            let mut packet = Packet::from_payload(bytes.slice(..66));
            let mut rest = bytes.slice(66..);
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(100));
                packet.push_payload(Bytes::copy_from_slice(&piece));
            }
            (packet.checksum, packet.gso) = (whole.checksum, whole.gso);
            packet
        })
        .collect();
    assert_eq!(tx.send(Instant::ZERO, &mut queue).unwrap(), 3);
    assert_eq!(Control(counters).stats().tx_refused, 0);
    drop(tx);
    let mut buf = vec![0; 256 << 10];
    let sizes = [(); 3].map(|()| rustix::io::read(&b, &mut buf).unwrap());
    assert_eq!(sizes, [65_160, 65_160, 752].map(|data| SHORT_BYTES + 66 + data));
}

#[test]
fn what_keeps_no_frames_apart_is_refused() {
    let flags = SocketFlags::CLOEXEC;
    let (a, _b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let error = Virtif::from_fd(a, &FdConfig::default()).unwrap_err().to_string();
    assert!(error.contains("is a stream, which keeps no frames apart"), "{error}");
    let null = std::fs::File::open("/dev/null").unwrap();
    let error = Virtif::from_fd(null.into(), &FdConfig::default()).unwrap_err().to_string();
    assert!(error.contains("neither a tap nor a socket"), "{error}");
    let error = Virtif::from_inherited(-1, &FdConfig::default()).unwrap_err();
    assert!(error.to_string().contains("Bad file descriptor"), "{error}");
    let closed = std::fs::File::open("/dev/null").unwrap().as_raw_fd() + 4_000;
    assert!(Virtif::from_inherited(closed, &FdConfig::default()).is_err());
}

#[test]
fn a_lying_header_is_counted_and_its_frame_dropped() {
    let flags = SocketFlags::CLOEXEC;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let config = FdConfig { header: FrameHeader::Virtio10, ..FdConfig::default() };
    let (mut queue, control) = start(Virtif::from_fd(a, &config).unwrap());
    for bytes in [&[1, 2, 3][..], &[1, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 7, 7, 7]] {
        rustix::io::write(&b, bytes).unwrap();
    }
    assert_eq!(queue.rx.recv(Instant::ZERO, 8, &mut Vec::new(), None).unwrap(), 0);
    assert_eq!(control.stats().rx_malformed, 2);
}

#[test]
fn an_empty_datagram_is_no_end_and_a_closed_end_stays_closed() {
    let flags = SocketFlags::CLOEXEC;
    for kind in [SocketType::DGRAM, SocketType::SEQPACKET] {
        let (a, b) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        let (mut queue, control) = start(Virtif::from_fd(a, &FdConfig::default()).unwrap());
        rustix::net::send(&b, &[], rustix::net::SendFlags::empty()).unwrap();
        rustix::net::send(&b, &[9; 60], rustix::net::SendFlags::empty()).unwrap();
        let mut got = Vec::new();
        while got.is_empty() {
            queue.rx.recv(Instant::ZERO, 8, &mut got, None).unwrap();
        }
        assert_eq!(got[0].len(), 60);
        assert_eq!(control.stats().rx_malformed, 1, "{kind:?}");
        drop(b);
        let error = queue.tx.send(Instant::ZERO, &mut frame(&[0xff; 60])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        for _ in 0..2 {
            let error = queue.rx.recv(Instant::ZERO, 8, &mut Vec::new(), None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        }
    }
}

#[test]
fn what_this_process_opened_itself_is_not_inherited() {
    let own = std::fs::File::open("/dev/null").unwrap();
    let error = inherited(own.as_raw_fd()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EBADF));
    let passed = rustix::io::dup(&own).unwrap();
    let number = std::os::fd::IntoRawFd::into_raw_fd(passed);
    let first = inherited(number).unwrap();
    assert!(inherited(number).is_err(), "it is owned now");
    drop(first);
}

#[test]
fn a_device_with_several_queues_is_opened_with_one_and_without_offloads() {
    let Some(tap) = open_alone("first", &plain()) else { return };
    drop(tap);
    let ip = |args: &str| {
        let status = std::process::Command::new("ip").args(args.split(' ')).status();
        status.is_ok_and(|status| status.success())
    };
    if !ip("tuntap add wide mode tap multi_queue") {
        return eprintln!("skipped: no `ip` command");
    }
    for offloads in [Offloads::Off, Offloads::Auto] {
        let one = VirtifConfig { offloads, ..VirtifConfig::default() };
        drop(Virtif::open_with("wide", &one).unwrap());
        let three = VirtifConfig { queues: 3, ..one };
        drop(Virtif::open_with("wide", &three).unwrap());
    }
    assert!(ip("tuntap add narrow mode tap"));
    let two = VirtifConfig { queues: 2, ..VirtifConfig::default() };
    let error = Virtif::open_with("narrow", &two).unwrap_err().to_string();
    assert!(
        error.contains("`narrow` is not a tap device") || error.contains("one queue only"),
        "{error}"
    );
}
