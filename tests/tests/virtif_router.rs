//! Two namespaces of the host's kernel, and a stack over two taps that routes between them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rumpnet::virtif::{HostSide, Offloads, OpenError, Virtif, VirtifConfig};
use rumpnet::{Forwarding, Stack};

/// Nothing here takes longer, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SIDES: [&str; 2] = ["10.1.0.1", "10.2.0.1"];

/// A thread in a network namespace of its own.
struct Namespace(Sender<Box<dyn FnOnce() + Send>>);

impl Namespace {
    /// `None`, and why on stderr, where that is not allowed.
    fn new() -> Option<Namespace> {
        let (jobs, inbox) = channel::<Box<dyn FnOnce() + Send>>();
        let (tell, made) = channel();
        std::thread::spawn(move || {
            let made = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
            tell.send(made).expect("somebody waits");
            if made.is_ok() {
                inbox.into_iter().for_each(|job| job());
            }
        });
        match made.recv().expect("the thread tells") {
            Ok(()) => Some(Namespace(jobs)),
            Err(error) => {
                eprintln!("skipped: no network namespace of our own: {error}");
                None
            }
        }
    }

    /// Does something there.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, done) = channel();
        let job = move || {
            // Nobody waits any more when the test has failed.
            let _ = tell.send(job());
        };
        self.0.send(Box::new(job)).expect("the thread lives");
        done.recv().expect("the job did not panic")
    }

    /// Runs a command there; what it wrote, or `None` if there is no such command.
    fn command(&self, line: &str) -> Option<String> {
        let line = line.to_owned();
        let output = self.run(move || {
            let mut words = line.split(' ');
            Command::new(words.next().unwrap_or_default()).args(words).output()
        });
        let output = output.ok()?;
        Some(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// Two namespaces and the router between them.
struct Bench {
    sides: [Namespace; 2],
    router: Stack,
}

impl Bench {
    /// The kernels' links have an MTU of 1,500 bytes; `narrow` is the router's to the second one.
    fn new(offloads: Offloads, narrow: u32) -> Option<Bench> {
        let sides = [Namespace::new()?, Namespace::new()?];
        let mut builder = Stack::builder().forwarding(Forwarding::On);
        for (number, side) in sides.iter().enumerate() {
            let device = side.run(move || {
                let mut config = VirtifConfig::default();
                config.offloads = offloads;
                let device = Virtif::open_with("wire0", &config)?;
                let host = HostSide::new(vec![format!("{}/24", SIDES[number]).parse().unwrap()]);
                host.apply("wire0").unwrap();
                Ok(device)
            });
            let device = match device {
                Ok(device) => device,
                Err(
                    error @ (OpenError::NoDevice
                    | OpenError::Permission
                    | OpenError::NotOurs { .. }),
                ) => {
                    eprintln!("skipped: {error}");
                    return None;
                }
                Err(error) => panic!("{error}"),
            };
            let interface = device.addr(&format!("10.{}.0.2/24", number + 1));
            builder = builder.interface(interface.mtu([1_500, narrow][number]));
        }
        let router = builder.start().unwrap();
        for (number, side) in sides.iter().enumerate() {
            let add = format!("ip route add default via 10.{}.0.2", number + 1);
            match side.command(&add) {
                Some(said) => assert_eq!(said, "", "{add}"),
                None => {
                    eprintln!("skipped: no `ip` command");
                    return None;
                }
            }
        }
        Some(Bench { sides, router })
    }

    fn count(&self, name: &str) -> u64 {
        let all = self.router.inet().expect("a stack of its own").counters().all();
        all.into_iter().find(|(other, _)| *other == name).expect("a counter").1
    }

    /// Bytes from one side to the other through a connection, which must be what was sent.
    fn transfer(&self, from: usize, len: usize) {
        let to = 1 - from;
        let listener = self.sides[to].run(move || TcpListener::bind((SIDES[to], 0)).unwrap());
        let addr = listener.local_addr().unwrap();
        let mut sender = self.sides[from].run(move || TcpStream::connect(addr).unwrap());
        let (mut receiver, _) = listener.accept().unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        sender.set_write_timeout(Some(PATIENCE)).unwrap();
        let sent: Vec<u8> = (0..len).map(|i| (i * 7 + (i >> 8)) as u8).collect();
        let copy = sent.clone();
        let writer = std::thread::spawn(move || {
            sender.write_all(&copy).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
            sender
        });
        let mut got = Vec::new();
        receiver.read_to_end(&mut got).unwrap();
        assert!(got == sent, "{} of {len} bytes from side {from}", got.len());
        writer.join().unwrap();
    }

    /// Datagrams of these sizes from one side to the other.
    fn datagrams(&self, sizes: &[usize]) {
        let receiver = self.sides[1].run(|| UdpSocket::bind((SIDES[1], 0)).unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = self.sides[0].run(|| UdpSocket::bind((SIDES[0], 0)).unwrap());
        let mut buf = vec![0; 65_536];
        for &size in sizes {
            let sent: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
            sender.send_to(&sent, receiver.local_addr().unwrap()).unwrap();
            let (n, from) = receiver.recv_from(&mut buf).unwrap();
            assert!(buf[..n] == sent, "{size} bytes");
            assert_eq!(from, sender.local_addr().unwrap());
        }
    }
}

#[test]
fn two_kernels_talk_through_us_and_super_segments_stay_whole() {
    for offloads in [Offloads::Auto, Offloads::Off] {
        let Some(bench) = Bench::new(offloads, 1_500) else { return };
        bench.transfer(0, 16 << 20);
        bench.transfer(1, 16 << 20);
        bench.datagrams(&[0, 1, 1_000, 9_000, 60_000, 65_507]);
        let packets = bench.count("ip_forwarded");
        if offloads == Offloads::Auto {
            // As segments of 1,448 bytes the data alone would be 23,000.
            assert!(packets < 15_000, "{packets} packets");
        }
    }
}

#[test]
fn a_kernel_finds_the_narrow_hop_behind_us() {
    for (offloads, narrow) in
        [(Offloads::Auto, 1_280), (Offloads::Auto, 600), (Offloads::Off, 1_400)]
    {
        let Some(bench) = Bench::new(offloads, narrow) else { return };
        bench.transfer(0, 4 << 20);
        assert!(bench.count("ip_fragment_fails") > 0, "it was told");
        assert_eq!(bench.count("fragments_out"), 0, "TCP forbids fragments");
        bench.datagrams(&[100, 9_000, 65_507]);
    }
}

#[test]
fn traceroute_sees_us_and_ping_goes_through() {
    let Some(bench) = Bench::new(Offloads::Auto, 1_500) else { return };
    let side = &bench.sides[0];
    match side.command("ping -n -c 2 -i 0.2 -W 5 10.2.0.1") {
        Some(said) => assert!(said.contains(" 0% packet loss"), "{said}"),
        None => eprintln!("skipped: no `ping` command"),
    }
    match side.command("ping -n -c 1 -t 1 -W 5 10.2.0.1") {
        Some(said) => assert!(said.contains("From 10.1.0.2"), "{said}"),
        None => eprintln!("skipped: no `ping` command"),
    }
    for command in ["traceroute -n -q 1 -w 5 10.2.0.1", "mtr -n -r -c 1 10.2.0.1"] {
        match side.command(command) {
            Some(said) => {
                let at = |text| said.rfind(text).unwrap_or_else(|| panic!("{command}: {said}"));
                assert!(at("10.1.0.2") < at("10.2.0.1"), "{said}");
            }
            None => eprintln!("skipped: no such command: {command}"),
        }
    }
}
