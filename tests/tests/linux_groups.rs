//! Groups on a link with the kernel: its snooping bridge and querier see what we join and with
//! which sources, its tables and its reports say the same, and datagrams to groups cross both ways,
//! in both families.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use libnet::IfIndex;
use libnet::capture::{CaptureTap, Direction};
use libnet::socket::{GroupInterface, MulticastGroup, SocketOption};
use libnet::{Instant, Packet};
use rumpnet::sockin::Sockin;
use rumpnet::virtif::VirtifConfig;
use rumpnet::{Stack, UdpSocket};
use rumpnet_tests::linux::{FAMILIES, Namespace, PATIENCE, at, inet_of, ip, until};

const KERNEL: [&str; FAMILIES] = ["10.7.0.1", "fd07::1"];
const US: [&str; FAMILIES] = ["10.7.0.2", "fd07::2"];
const ANY: [&str; FAMILIES] = ["0.0.0.0", "::"];
/// Who sends nothing.
const STRANGER: [&str; FAMILIES] = ["10.7.0.9", "fd07::9"];
/// The stack's interface beside `lo0`.
const TAP: IfIndex = IfIndex(2);

/// A group of a family, by number.
fn group(family: usize, number: u8) -> IpAddr {
    ip(&[format!("239.7.7.{number}"), format!("ff15::7:{number:x}")][family])
}

/// One end of the link: a stack, and the index that the link has there.
struct End {
    stack: Stack,
    interface: u32,
}

impl End {
    fn place(&self, group: IpAddr) -> MulticastGroup {
        MulticastGroup { group, interface: GroupInterface::Index(self.interface) }
    }

    /// Hears whatever comes to a port of its own.
    fn hearer(&self, family: usize) -> io::Result<UdpSocket> {
        let socket = self.stack.udp_bind(at(ANY[family], 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    /// Sends to groups by the link.
    fn talker(&self, addr: &str) -> io::Result<UdpSocket> {
        let socket = self.stack.udp_bind(at(addr, 0))?;
        let leaves_by = GroupInterface::Index(self.interface);
        socket.socket().set_option(SocketOption::MulticastInterface(leaves_by))?;
        Ok(socket)
    }

    /// A socket that is in a group, but for `source` if that is given.
    fn member(&self, group: IpAddr, but: Option<IpAddr>) -> io::Result<UdpSocket> {
        let socket = self.hearer(usize::from(group.is_ipv6()))?;
        socket.socket().set_option(SocketOption::JoinGroup(self.place(group)))?;
        if let Some(source) = but {
            let block = SocketOption::BlockSource(self.place(group), source);
            socket.socket().set_option(block)?;
        }
        Ok(socket)
    }

    /// A socket that hears one source of a group.
    fn listener(&self, group: IpAddr, source: IpAddr) -> io::Result<UdpSocket> {
        let socket = self.hearer(usize::from(group.is_ipv6()))?;
        socket.socket().set_option(SocketOption::JoinSource(self.place(group), source))?;
        Ok(socket)
    }
}

/// The kernel on a bridge, with a querier of the newest versions, and us on a port of it.
fn bridged() -> Option<(Namespace, End, Arc<Heard>)> {
    let [kernel] = Namespace::some()?;
    kernel.set_up(&[
        "link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_igmp_version 3 \
         mcast_mld_version 2 mcast_query_use_ifaddr 1 mcast_startup_query_interval 50 \
         mcast_query_interval 100 mcast_query_response_interval 30",
    ]);
    for addr in ["10.7.0.1/24", "fd07::1/64", "fe80::1/64"] {
        kernel.address("br0", addr);
    }
    let device = kernel.tap("wire0", &VirtifConfig::default(), &[])?;
    kernel.set_up(&["link set wire0 master br0", "link set br0 up"]);
    let us = device.addr("10.7.0.2/24").addr("fd07::2/64");
    let stack = Stack::builder().interface(us).start().expect("it starts");
    let heard = Arc::new(Heard::default());
    let taps = inet_of(&stack).engine().taps(TAP).expect("the interface is there");
    taps.add(Arc::clone(&heard) as Arc<dyn CaptureTap>);
    Some((kernel, End { stack, interface: TAP.0 }, heard))
}

/// The kernel's own sockets, made in its namespace.
fn kernel_end(kernel: &Namespace) -> Arc<End> {
    let made = kernel.run(|| {
        let stack = Stack::builder().domain(Sockin::new()?).start()?;
        let interface = nix::net::if_::if_nametoindex("br0").map_err(io::Error::from)?;
        Ok::<_, io::Error>(End { stack, interface })
    });
    Arc::new(made.expect("the kernel's sockets can be had"))
}

/// The bridge has a group of ours with all of these words in a line.
fn bridge_has(kernel: &Namespace, group: IpAddr, words: &[&str]) {
    until("the bridge's groups", || {
        let said = kernel.command("bridge -d mdb show dev br0").expect("iproute2 has it");
        let group = format!("port wire0 grp {group} ");
        let is_there = said
            .lines()
            .any(|line| line.contains(&group) && words.iter().all(|word| line.contains(word)));
        if is_there { Ok(()) } else { Err(said) }
    });
}

fn bridge_has_not(kernel: &Namespace, group: IpAddr) {
    until("the bridge's groups", || {
        let said = kernel.command("bridge -d mdb show dev br0").expect("iproute2 has it");
        if said.contains(&format!("grp {group} ")) { Err(said) } else { Ok(()) }
    });
}

#[test]
fn the_bridge_s_querier_sees_what_we_join_and_with_which_sources() {
    let Some((kernel, us, _)) = bridged() else { return };
    for (family, source) in STRANGER.into_iter().enumerate() {
        let (all, one, but) = (group(family, 1), group(family, 2), group(family, 3));
        let stranger = ip(source);
        let sockets = [
            us.member(all, None).expect("it joins"),
            us.listener(one, stranger).expect("it joins"),
            us.member(but, Some(stranger)).expect("it joins"),
        ];
        bridge_has(&kernel, all, &["filter_mode exclude"]);
        bridge_has(&kernel, one, &["filter_mode include", source]);
        bridge_has(&kernel, but, &["filter_mode exclude", source]);
        drop(sockets);
        for group in [all, one, but] {
            bridge_has_not(&kernel, group);
        }
    }
}

#[test]
fn we_fall_back_to_the_version_of_the_bridge_s_querier() {
    let Some((kernel, us, heard)) = bridged() else { return };
    kernel.set_up(&["link set br0 type bridge mcast_igmp_version 2 mcast_mld_version 1"]);
    for (family, version) in [2, 1].into_iter().enumerate() {
        let joined = group(family, 1);
        let socket = us.member(joined, None).expect("it joins");
        until("our version", || {
            let groups = inet_of(&us.stack).groups();
            let entry = groups.iter().find(|entry| entry.group == joined);
            let spoken = entry.map(|entry| entry.protocol_version);
            if spoken == Some(version) { Ok(()) } else { Err(format!("{spoken:?}")) }
        });
        heard.forget();
        let later = group(family, 2);
        let second = us.member(later, None).expect("it joins");
        bridge_has(&kernel, later, &[]);
        let old = heard.reports(Direction::Out, later);
        assert!(old.contains(&Report::Old), "{old:?}");
        drop((socket, second));
        // Leaves of the older versions are heard, too.
        bridge_has_not(&kernel, later);
    }
}

#[test]
fn the_kernel_s_tables_say_what_its_reports_tell_us() {
    let Some((kernel, _us, heard)) = bridged() else { return };
    // Reports go to routers alone where they are known.
    kernel.set_up(&["link set wire0 type bridge_slave mcast_router 2"]);
    let end = kernel_end(&kernel);
    for family in 0..FAMILIES {
        let (all, one, but) = (group(family, 4), group(family, 5), group(family, 6));
        let stranger = ip(STRANGER[family]);
        let sockets = kernel.run({
            let end = Arc::clone(&end);
            move || {
                [
                    end.member(all, None),
                    end.listener(one, stranger),
                    end.member(but, Some(stranger)),
                ]
            }
        });
        assert!(sockets.iter().all(Result::is_ok), "{sockets:?}");
        let (members, filters) = [("igmp", "mcfilter"), ("igmp6", "mcfilter6")][family];
        let (members, filters) = (kernel.proc_net(members), kernel.proc_net(filters));
        for group in [all, one, but] {
            assert!(members.contains(&hex_of_member(group)), "{group}: {members}");
        }
        for (group, counts) in [(one, ["1", "0"]), (but, ["0", "1"])] {
            let [group, source] = [group, stranger].map(hex_of_filter);
            let line = filters.lines().find(|line| line.contains(&group) && line.contains(&source));
            let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
            assert!(words.ends_with(&counts), "{group} {source} {counts:?}: {filters}");
        }
        // Unasked for, or in answer to the querier.
        for (group, wanted) in [
            (all, Report::Exclude(BTreeSet::new())),
            (one, Report::Include(BTreeSet::from([stranger]))),
            (but, Report::Exclude(BTreeSet::from([stranger]))),
        ] {
            until("the kernel's reports", || {
                let seen = heard.reports(Direction::In, group);
                if seen.contains(&wanted) { Ok(()) } else { Err(format!("{group}: {seen:?}")) }
            });
        }
    }
}

#[test]
fn datagrams_to_groups_cross_both_ways_and_sources_are_told_apart() {
    let Some((kernel, us, _)) = bridged() else { return };
    let end = kernel_end(&kernel);
    for family in 0..FAMILIES {
        let (kernels, ours, stranger) = (ip(KERNEL[family]), ip(US[family]), ip(STRANGER[family]));
        for (number, from_us) in [(7, true), (8, false)] {
            let (group, source) = (group(family, number), if from_us { ours } else { kernels });
            let makes = move |end: &End| -> io::Result<_> {
                let hear = [end.member(group, None)?, end.listener(group, source)?];
                let deaf = [end.member(group, Some(source))?, end.listener(group, stranger)?];
                Ok((hear, deaf))
            };
            let talks = move |end: &End| end.talker([KERNEL, US][usize::from(from_us)][family]);
            let there = Arc::clone(&end);
            let (members, talker) = if from_us {
                (kernel.run(move || makes(&there)), talks(&us))
            } else {
                (makes(&us), kernel.run(move || talks(&there)))
            };
            let ((hear, deaf), talker) = (members.expect("they join"), talker.expect("a socket"));
            let say = |socket: &UdpSocket, text: &[u8], to: IpAddr| {
                let port = socket.local_addr().expect("an address").port();
                talker.send_to(text, SocketAddr::new(to, port)).expect("it is sent");
            };
            for socket in &hear {
                socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
                // Until the bridge knows of the member.
                until("a datagram to a group", || {
                    say(socket, b"to many", group);
                    let got = socket.recv_from(&mut [0; 16]).map_err(|error| error.to_string())?;
                    assert_eq!((got.0, got.1.ip()), (7, source));
                    Ok(())
                });
            }
            for socket in &deaf {
                say(socket, b"to many", group);
                say(socket, b"to one alone", if from_us { kernels } else { ours });
                let (bytes, _) = socket.recv_from(&mut [0; 16]).expect("the second comes");
                assert_eq!(bytes, 12, "{group} from {source}");
            }
        }
    }
}

/// What a report says of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Report {
    /// In a version that knows no sources.
    Old,
    /// These are wanted, as a state or as a change.
    Include(BTreeSet<IpAddr>),
    /// All but these.
    Exclude(BTreeSet<IpAddr>),
    /// Something else.
    Other(u8),
}

/// The reports that passed our interface.
#[derive(Default)]
struct Heard(Mutex<Vec<(Direction, IpAddr, Report)>>);

impl CaptureTap for Heard {
    fn frame(&self, _: Instant, direction: Direction, packet: &Packet) {
        let bytes = packet.to_bytes();
        let reports = match bytes.get(12..14) {
            Some([0x08, 0x00]) => igmp_reports(&bytes.slice(14..)),
            Some([0x86, 0xdd]) => mld_reports(&bytes.slice(14..)),
            _ => None,
        };
        let mut all = self.0.lock().expect("nobody panicked");
        let reports = reports.unwrap_or_default().into_iter();
        all.extend(reports.map(|(group, report)| (direction, group, report)));
    }
}

impl Heard {
    fn forget(&self) {
        self.0.lock().expect("nobody panicked").clear();
    }

    fn reports(&self, way: Direction, about: IpAddr) -> Vec<Report> {
        let all = self.0.lock().expect("nobody panicked");
        let wanted =
            all.iter().filter(|(direction, group, _)| (*direction, *group) == (way, about));
        wanted.map(|(_, _, report)| report.clone()).collect()
    }
}

/// RFC 3376 §4.2, RFC 2236 §2.
fn igmp_reports(ip: &Bytes) -> Option<Vec<(IpAddr, Report)>> {
    let header = usize::from(ip.first()? & 15) * 4;
    let message = ip.get(header..).filter(|_| ip[9] == 2)?;
    match *message.first()? {
        0x12 | 0x16 => Some(vec![(addr_at(message, 4, 4)?, Report::Old)]),
        0x22 => records(message, 4),
        _ => None,
    }
}

/// RFC 3810 §5.2, RFC 2710 §3, behind the router alert.
fn mld_reports(ip: &Bytes) -> Option<Vec<(IpAddr, Report)>> {
    let message = ip.get(48..).filter(|_| ip[6] == 0 && ip[40] == 58)?;
    match *message.first()? {
        131 => Some(vec![(addr_at(message, 8, 16)?, Report::Old)]),
        143 => records(message, 16),
        _ => None,
    }
}

fn records(message: &[u8], addr_bytes: usize) -> Option<Vec<(IpAddr, Report)>> {
    let count = u16::from_be_bytes(message.get(6..8)?.try_into().ok()?);
    let (mut at, mut all) = (8, Vec::new());
    for _ in 0..count {
        let (ty, aux) = (*message.get(at)?, usize::from(*message.get(at + 1)?));
        let sources = u16::from_be_bytes(message.get(at + 2..at + 4)?.try_into().ok()?);
        let group = addr_at(message, at + 4, addr_bytes)?;
        at += 4 + addr_bytes;
        let listed =
            (0..usize::from(sources)).map(|n| addr_at(message, at + n * addr_bytes, addr_bytes));
        let listed: Option<BTreeSet<IpAddr>> = listed.collect();
        at += usize::from(sources) * addr_bytes + aux * 4;
        all.push((
            group,
            match ty {
                1 | 3 => Report::Include(listed?),
                2 | 4 => Report::Exclude(listed?),
                // To allow what was not wanted before is to include it.
                5 => Report::Include(listed?),
                other => Report::Other(other),
            },
        ));
    }
    Some(all)
}

fn addr_at(bytes: &[u8], at: usize, len: usize) -> Option<IpAddr> {
    let octets = bytes.get(at..at + len)?;
    match len {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}

/// As `/proc/net/igmp` and `igmp6` have it: of IPv4 in the machine's byte order.
fn hex_of_member(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => format!("{:08X}", u32::from_ne_bytes(addr.octets())),
        IpAddr::V6(addr) => format!("{:032x}", addr.to_bits()),
    }
}

/// As `/proc/net/mcfilter` and `mcfilter6` have it.
fn hex_of_filter(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => format!("0x{:08x}", addr.to_bits()),
        IpAddr::V6(addr) => format!("{:032x}", addr.to_bits()),
    }
}
