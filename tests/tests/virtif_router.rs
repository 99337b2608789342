//! Two namespaces of the host's kernel, and a stack over two taps that routes between them, in both
//! families.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use rumpnet::virtif::{Offloads, VirtifConfig};
use rumpnet::{Forwarding, Stack};
use rumpnet_tests::linux::{Namespace, PATIENCE, carry, count};

/// The kernels' addresses; the router's end in 2.
const SIDES: [[&str; 2]; 2] = [["10.1.0.1", "fd01::1"], ["10.2.0.1", "fd02::1"]];
const FAMILIES: usize = 2;

fn at(addr: &str) -> SocketAddr {
    SocketAddr::new(addr.parse::<IpAddr>().unwrap(), 0)
}

/// Two namespaces and the router between them.
struct Bench {
    sides: [Namespace; 2],
    router: Stack,
}

impl Bench {
    /// The kernels' links have an MTU of 1,500 bytes; `narrow` is the router's to the second one.
    fn new(offloads: Offloads, narrow: u32) -> Option<Bench> {
        let sides: [Namespace; 2] = Namespace::some()?;
        let mut config = VirtifConfig::default();
        config.offloads = offloads;
        let mut builder = Stack::builder().forwarding(Forwarding::On);
        for (number, (side, mtu)) in sides.iter().zip([1_500, narrow]).enumerate() {
            let net = number + 1;
            let [four, six] = [format!("10.{net}.0.1/24"), format!("fd0{net}::1/64")];
            let interface = side.tap("wire0", &config, &[&four, &six])?;
            let interface = interface.addr(&format!("10.{net}.0.2/24")).mtu(mtu);
            // Less than 1,280 bytes is no link for IPv6 (RFC 8200 §5).
            builder = builder.interface(match narrow {
                ..1_280 => interface,
                _ => interface.addr(&format!("fd0{net}::2/64")),
            });
        }
        let router = builder.start().unwrap();
        for (number, side) in sides.iter().enumerate() {
            let net = number + 1;
            side.set_up(&[
                &format!("route add default via 10.{net}.0.2"),
                &format!("-6 route add default via fd0{net}::2"),
            ]);
        }
        Some(Bench { sides, router })
    }

    /// Bytes from one side to the other through a connection, which must be what was sent.
    fn transfer(&self, family: usize, from: usize, len: usize) {
        let to = 1 - from;
        let listener =
            self.sides[to].run(move || TcpListener::bind(at(SIDES[to][family])).unwrap());
        let addr = listener.local_addr().unwrap();
        let sender = self.sides[from].run(move || TcpStream::connect(addr).unwrap());
        let (receiver, _) = listener.accept().unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        sender.set_write_timeout(Some(PATIENCE)).unwrap();
        carry(sender, receiver, len);
    }

    /// Datagrams of these sizes from one side to the other.
    fn datagrams(&self, family: usize, sizes: &[usize]) {
        let [sender, receiver] = [0, 1]
            .map(|side| self.sides[side].run(move || UdpSocket::bind(at(SIDES[side][family]))))
            .map(|socket| socket.unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
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
        for family in 0..FAMILIES {
            let forwarded = ["ip_forwarded", "ip6_forwarded"][family];
            let before = count(&bench.router, forwarded);
            bench.transfer(family, 0, 16 << 20);
            bench.transfer(family, 1, 16 << 20);
            bench.datagrams(family, &[0, 1, 1_000, 9_000, 60_000, 65_507]);
            let packets = count(&bench.router, forwarded) - before;
            assert!(packets > 500, "{packets} packets: they went another way");
            if offloads == Offloads::Auto {
                // As segments of 1,448 bytes the data alone would be 23,000.
                assert!(packets < 15_000, "{packets} packets");
            }
        }
    }
}

#[test]
fn a_kernel_finds_the_narrow_hop_behind_us() {
    for (offloads, narrow) in
        [(Offloads::Auto, 1_280), (Offloads::Auto, 600), (Offloads::Off, 1_400)]
    {
        let Some(bench) = Bench::new(offloads, narrow) else { return };
        bench.transfer(0, 0, 4 << 20);
        assert!(count(&bench.router, "ip_fragment_fails") > 0, "it was told");
        assert_eq!(count(&bench.router, "fragments_out"), 0, "TCP forbids fragments");
        bench.datagrams(0, &[100, 9_000, 65_507]);
    }
}

/// A kernel may send by a link what is longer than our MTU of it: what counts is the next link's.
#[test]
fn super_segments_longer_than_our_mtu_of_the_link_that_they_came_by_are_passed_on() {
    let Some(bench) = Bench::new(Offloads::Auto, 1_400) else { return };
    for family in 0..FAMILIES {
        bench.transfer(family, 1, 4 << 20);
    }
    assert_eq!(bench.router.inet().unwrap().drops().get(libnet::DropReason::BadOffload), 0);
}

#[test]
fn traceroute_sees_us_and_ping_goes_through() {
    let Some(bench) = Bench::new(Offloads::Auto, 1_500) else { return };
    let side = &bench.sides[0];
    for (own, other) in [("10.1.0.2", "10.2.0.1"), ("fd01::2", "fd02::1")] {
        match side.command(&format!("ping -n -c 2 -i 0.2 -W 5 {other}")) {
            Some(said) => assert!(said.contains(" 0% packet loss"), "{said}"),
            None => eprintln!("skipped: no `ping` command"),
        }
        match side.command(&format!("ping -n -c 1 -t 1 -W 5 {other}")) {
            Some(said) => assert!(said.contains(&format!("From {own}")), "{said}"),
            None => eprintln!("skipped: no `ping` command"),
        }
        for command in
            [format!("traceroute -n -q 1 -w 5 {other}"), format!("mtr -n -r -c 1 {other}")]
        {
            match side.command(&command) {
                Some(said) => {
                    let at = |text| said.rfind(text).unwrap_or_else(|| panic!("{command}: {said}"));
                    assert!(at(own) < at(other), "{said}");
                }
                None => eprintln!("skipped: no such command: {command}"),
            }
        }
    }
}
