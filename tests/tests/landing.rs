//! Data that land in the memory of callers that wait, on real threads: whatever the sizes of writes and reads,
//! a stream is what was sent. A lost wake-up shows as a timed-out read.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rumpnet::virtif::{FdConfig, FrameHeader, Virtif};
use rumpnet::{BusConfig, InterfaceSpec, Shmif, Stack, TcpStream};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// Far longer than anything here takes.
const STUCK: Duration = Duration::from_secs(20);
/// Bytes of each stream.
const BYTES: usize = 24 << 20;

fn stack(link: impl libnet::link::Link + 'static, number: u8) -> Stack {
    let spec = InterfaceSpec::new(link)
        .addr(&format!("10.0.0.{number}/24"))
        .addr(&format!("fd00::{number}/64"));
    Stack::builder().interface(spec).start().unwrap()
}

/// Two stacks on a bus, and the folder that it is in.
fn on_a_bus() -> (Stack, Stack, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let join = |number| {
        let link = Shmif::create_or_attach(folder.path().join("bus"), &BusConfig::default());
        stack(link.unwrap(), number)
    };
    (join(1), join(2), folder)
}

/// Two stacks on a pair of descriptors, with virtio-net's header.
fn on_a_pair() -> (Stack, Stack) {
    let flags = SocketFlags::CLOEXEC;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let mut config = FdConfig::default();
    (config.header, config.mtu) = (FrameHeader::Virtio12, Some(1_500));
    let open = |fd: OwnedFd, number| stack(Virtif::from_fd(fd, &config).unwrap(), number);
    (open(a, 1), open(b, 2))
}

fn bytes_landed(stack: &Stack) -> u64 {
    stack.inet().unwrap().tcp_counters().iter().map(|tcp| tcp.bytes_landed).sum()
}

/// Byte `i` of a stream.
fn byte(i: usize) -> u8 {
    (i ^ (i >> 8) ^ (i >> 16)) as u8
}

/// Sizes that differ from one to the next, up to `most`.
fn sizes(mut seed: u64, most: usize) -> impl FnMut() -> usize {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (seed >> 33) as usize % most
    }
}

fn send(mut stream: &TcpStream, mut size: impl FnMut() -> usize) {
    let mut sent = 0;
    while sent < BYTES {
        let chunk: Vec<u8> = (sent..BYTES.min(sent + size())).map(byte).collect();
        stream.write_all(&chunk).unwrap();
        sent += chunk.len();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn receive(mut stream: &TcpStream, mut size: impl FnMut() -> usize) {
    let (mut got, mut buf) = (0, vec![0; 300_000]);
    loop {
        let place = &mut buf[..size()];
        let n = stream.read(place).unwrap();
        if n == 0 {
            return assert_eq!(got, BYTES);
        }
        let wrong = place[..n].iter().zip(got..).find(|(value, i)| **value != byte(*i));
        assert_eq!(wrong, None, "a byte and its place");
        got += n;
    }
}

fn connected(a: &Stack, b: &Stack, addr: IpAddr) -> (TcpStream, TcpStream) {
    let listener = b.tcp_listen((addr, 0)).unwrap();
    let out = a.tcp_connect(listener.local_addr().unwrap()).unwrap();
    let (inward, _) = listener.accept().unwrap();
    for stream in [&out, &inward] {
        stream.set_read_timeout(Some(STUCK)).unwrap();
        stream.set_write_timeout(Some(STUCK)).unwrap();
    }
    (out, inward)
}

/// Both families, both ways, at once.
fn streams_are_what_was_sent(a: &Stack, b: &Stack) {
    let addrs: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
    let ends: Vec<_> = addrs.iter().map(|addr| connected(a, b, *addr)).collect();
    std::thread::scope(|scope| {
        for (seed, (out, inward)) in ends.iter().enumerate() {
            let seed = seed as u64;
            scope.spawn(move || send(out, sizes(seed, 200_000)));
            scope.spawn(move || receive(inward, sizes(seed + 10, 300_000)));
            scope.spawn(move || send(inward, sizes(seed + 20, 100_000)));
            scope.spawn(move || receive(out, sizes(seed + 30, 150_000)));
        }
    });
}

/// Whoever waits for what is only sent once it waits has it in its memory sooner or later.
fn data_land_where_they_are_waited_for(a: &Stack, b: &Stack) {
    let (mut out, mut inward) = connected(a, b, "10.0.0.2".parse().unwrap());
    let begun = std::time::Instant::now();
    let mut buf = vec![0; 128 << 10];
    while bytes_landed(b) == 0 {
        assert!(begun.elapsed() < STUCK, "nothing has landed");
        std::thread::scope(|scope| {
            scope.spawn(|| out.write_all(&[7; 60_000]).unwrap());
            let mut got = 0;
            while got < 60_000 {
                got += inward.read(&mut buf).unwrap();
            }
        });
    }
}

#[test]
fn over_a_bus() {
    let (a, b, _folder) = on_a_bus();
    streams_are_what_was_sent(&a, &b);
    data_land_where_they_are_waited_for(&a, &b);
}

#[test]
fn over_a_passed_descriptor_with_a_header() {
    let (a, b) = on_a_pair();
    streams_are_what_was_sent(&a, &b);
    data_land_where_they_are_waited_for(&a, &b);
}
