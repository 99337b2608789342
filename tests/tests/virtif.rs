//! A stack over a tap or tun, and the host's kernel at the other side of it, each test in a
//! network namespace of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use libnet::link::Medium;
use rumpnet::Stack;
use rumpnet::virtif::{HostSide, Offloads, OpenError, Virtif, VirtifConfig};

const HOST: &str = "10.1.0.1";
const OURS: &str = "10.1.0.2";
/// Nothing here takes longer, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stack at 10.1.0.2 whose other side is this thread's kernel, at 10.1.0.1; `None`, and why on
/// stderr, where that is not allowed.
fn stack(config: &VirtifConfig, mtu: u32) -> Option<Stack> {
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: no network namespace of our own: {error}");
        return None;
    }
    let device = match Virtif::open_with("wire0", config) {
        Ok(device) => device.mtu(mtu),
        Err(error @ (OpenError::NoDevice | OpenError::Permission | OpenError::NotOurs { .. })) => {
            eprintln!("skipped: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let mut side = HostSide::new(vec![format!("{HOST}/24").parse().unwrap()]);
    side.mtu = Some(mtu);
    side.apply("wire0").unwrap();
    Some(Stack::builder().interface(device.addr(&format!("{OURS}/24"))).start().unwrap())
}

fn config(medium: Medium, offloads: Offloads) -> VirtifConfig {
    let mut config = VirtifConfig::default();
    (config.medium, config.offloads) = (medium, offloads);
    config
}

/// Bytes that differ wherever they are.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Sends bytes through a connection, both ways at once; each end must get what the other sent.
fn exchange<A, B>(a: A, b: B, close_a: impl Fn(&A), close_b: impl Fn(&B), len: usize)
where
    A: Sync,
    B: Sync,
    for<'s> &'s A: Read + Write + Send,
    for<'s> &'s B: Read + Write + Send,
{
    let (from_a, from_b) = (pattern(len, 1), pattern(len, 2));
    std::thread::scope(|scope| {
        let writes_a = scope.spawn(|| (&a).write_all(&from_a));
        let writes_b = scope.spawn(|| (&b).write_all(&from_b));
        let mut got = vec![0; len];
        let reads_b = scope.spawn(|| {
            let mut got = vec![0; len];
            (&b).read_exact(&mut got).map(|()| got)
        });
        (&a).read_exact(&mut got).unwrap();
        assert!(got == from_b, "what a received is not what b sent");
        assert!(reads_b.join().unwrap().unwrap() == from_a, "what b received is not what a sent");
        writes_a.join().unwrap().unwrap();
        writes_b.join().unwrap().unwrap();
    });
    close_a(&a);
    close_b(&b);
    assert_eq!((&a).read(&mut [0; 1]).unwrap(), 0);
    assert_eq!((&b).read(&mut [0; 1]).unwrap(), 0);
}

/// TCP from each side to the other, and datagrams longer than the MTU.
fn everything_crosses(medium: Medium, offloads: Offloads, mtu: u32, len: usize) {
    let Some(stack) = stack(&config(medium, offloads), mtu) else { return };
    let near = TcpListener::bind((HOST, 0)).unwrap();
    let ours = stack.tcp_connect(near.local_addr().unwrap()).unwrap();
    let (theirs, _) = near.accept().unwrap();
    meet(ours, theirs, len);

    let far = stack.tcp_listen((OURS, 0)).unwrap();
    let theirs = TcpStream::connect(far.local_addr().unwrap()).unwrap();
    let (ours, _) = far.accept().unwrap();
    meet(ours, theirs, len);

    let near = UdpSocket::bind((HOST, 0)).unwrap();
    let far = stack.udp_bind((OURS, 0)).unwrap();
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let to: SocketAddr = far.local_addr().unwrap();
    let mut buf = vec![0; 65_536];
    for size in [0, 1, 1_000, 9_000, 60_000, 65_507] {
        let sent = pattern(size, size as u64);
        near.send_to(&sent, to).unwrap();
        let (n, from) = far.recv_from(&mut buf).unwrap();
        assert!(buf[..n] == sent, "{size} bytes to us");
        far.send_to(&sent, from).unwrap();
        let (n, _) = near.recv_from(&mut buf).unwrap();
        assert!(buf[..n] == sent, "{size} bytes from us");
    }
}

fn meet(ours: rumpnet::TcpStream, theirs: TcpStream, len: usize) {
    for set in [rumpnet::TcpStream::set_read_timeout, rumpnet::TcpStream::set_write_timeout] {
        set(&ours, Some(PATIENCE)).unwrap();
    }
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    theirs.set_write_timeout(Some(PATIENCE)).unwrap();
    let close_ours = |stream: &rumpnet::TcpStream| stream.shutdown(Shutdown::Write).unwrap();
    let close_theirs = |stream: &TcpStream| stream.shutdown(Shutdown::Write).unwrap();
    exchange(ours, theirs, close_ours, close_theirs, len);
}

#[test]
fn a_tap_with_offloads_carries_everything_at_any_mtu() {
    for mtu in [576, 1_280, 1_500, 9_000, 65_521] {
        everything_crosses(Medium::Ethernet, Offloads::Auto, mtu, 8 << 20);
    }
}

#[test]
fn a_plain_tap_carries_everything_at_any_mtu() {
    for mtu in [576, 1_280, 1_500, 9_000, 65_521] {
        everything_crosses(Medium::Ethernet, Offloads::Off, mtu, 2 << 20);
    }
}

#[test]
fn a_tun_carries_everything_with_offloads_and_without() {
    everything_crosses(Medium::Ip, Offloads::Auto, 1_500, 8 << 20);
    everything_crosses(Medium::Ip, Offloads::Off, 1_500, 2 << 20);
}

#[test]
fn a_plain_tap_takes_over_a_device_that_had_offloads() {
    let Some(first) = stack(&config(Medium::Ethernet, Offloads::Auto), 1_500) else { return };
    // Kept by nobody else, the device would go with the stack.
    let made =
        std::process::Command::new("ip").args(["tuntap", "add", "kept", "mode", "tap"]).status();
    if !made.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no `ip` command");
    }
    drop(first);
    HostSide::new(vec!["10.2.0.1/24".parse().unwrap()]).apply("kept").unwrap();
    drop(Virtif::open("kept").unwrap());
    let plain = Virtif::open_with("kept", &config(Medium::Ethernet, Offloads::Off)).unwrap();
    let stack = Stack::builder().interface(plain.addr("10.2.0.2/24")).start().unwrap();
    let near = TcpListener::bind("10.2.0.1:0").unwrap();
    let ours = stack.tcp_connect(near.local_addr().unwrap()).unwrap();
    meet(ours, near.accept().unwrap().0, 1 << 20);
}

#[test]
fn the_host_hears_who_looks_for_its_addresses_once_its_side_is_set_up() {
    let Some(_stack) = stack(&config(Medium::Ethernet, Offloads::Auto), 1_500) else { return };
    let groups = || std::fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default();
    if groups().is_empty() {
        return eprintln!("skipped: the host has no IPv6");
    }
    for n in 1..=20_u32 {
        let addr = format!("fd00:5::{n:x}:5/64").parse().unwrap();
        HostSide::new(vec![addr]).apply("wire0").unwrap();
        let group = format!("ff0200000000000000000001ff{n:02x}0005");
        assert!(groups().contains(&group), "{group}: {}", groups());
    }
}

#[test]
fn a_stack_of_three_shards_has_three_queues() {
    let mut config = config(Medium::Ethernet, Offloads::Auto);
    config.queues = 3;
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        return eprintln!("skipped: no network namespace of our own: {error}");
    }
    let device = match Virtif::open_with("wide0", &config) {
        Ok(device) => device,
        Err(error @ (OpenError::NoDevice | OpenError::Permission | OpenError::NotOurs { .. })) => {
            return eprintln!("skipped: {error}");
        }
        Err(error) => panic!("{error}"),
    };
    HostSide::new(vec![format!("{HOST}/24").parse().unwrap()]).apply("wide0").unwrap();
    let interface = device.addr(&format!("{OURS}/24"));
    let stack = Stack::builder().interface(interface).shards(3).start().unwrap();
    let near = TcpListener::bind((HOST, 0)).unwrap();
    for _ in 0..12 {
        let ours = stack.tcp_connect(near.local_addr().unwrap()).unwrap();
        meet(ours, near.accept().unwrap().0, 256 << 10);
    }
}

#[test]
fn an_interface_is_down_while_its_device_is_gone() {
    goes_and_comes_back(1, "tuntap add wire0 mode tap");
}

#[test]
fn an_interface_of_several_queues_is_down_until_all_are_back() {
    goes_and_comes_back(3, "tuntap add wire0 mode tap multi_queue");
}

fn goes_and_comes_back(queues: usize, made_by: &str) {
    let mut config = config(Medium::Ethernet, Offloads::Auto);
    config.queues = queues;
    let Some(stack) = stack(&config, 1_500) else { return };
    let ip = |args: &str| {
        let status = std::process::Command::new("ip").args(args.split(' ')).status();
        status.is_ok_and(|status| status.success())
    };
    if !ip("link del wire0") {
        return eprintln!("skipped: no `ip` command");
    }
    let engine = stack.inet().unwrap().engine();
    let iface = engine.interfaces().find(|iface| iface.link.kind == "tap").unwrap();
    let became = |running: bool| {
        let began = std::time::Instant::now();
        while iface.config().running != running {
            assert!(began.elapsed() < PATIENCE, "it does not become {running}");
            std::thread::yield_now();
        }
    };
    became(false);
    let refused = stack.tcp_connect((HOST, 9)).unwrap_err();
    assert!(
        matches!(
            refused.kind(),
            std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::NetworkDown
        ),
        "{refused:?}"
    );
    let changes = iface.generation();
    assert!(ip(made_by));
    HostSide::new(vec![format!("{HOST}/24").parse().unwrap()]).apply("wire0").unwrap();
    became(true);
    assert_eq!(iface.generation(), changes + 1, "it came back once");
    let near = TcpListener::bind((HOST, 0)).unwrap();
    let ours = stack.tcp_connect(near.local_addr().unwrap()).unwrap();
    meet(ours, near.accept().unwrap().0, 64 << 10);
}
