//! A station that shares a segment with a stack, in virtual time: it says what a test tells it to,
//! and hears what the stack sends, every frame checked against the RFCs' formats.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libnet::capture::{CaptureTap, Direction, wire};
use libnet::link::Medium;
use libnet::net::SocketLayer;
use libnet::world::{LinkConfig, Segment, World};
use libnet::{Instant, InterfaceSpec, MacAddr, Packet};
use libnetinet::{Inet, InetConfig};

use crate::wire::six::IPV6;
use crate::wire::{ARP, Arp, Frame, IPV4, Icmp, Ip, Ip6, Tcp, Udp, frame};

/// The stack's address.
pub const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The station's.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// A station that nobody is.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
/// The gateway's address: the station is it, too.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
/// A host behind the gateway.
pub const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// The stack's IPv6 address.
pub const US6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// The station's.
pub const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
/// The gateway's: the station is it, too.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe);
/// A host behind the gateway.
pub const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
/// The stack's MAC address.
pub const US_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The station's.
pub const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// Another one that the station may speak as.
pub const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

/// Longer than a frame takes there and back, shorter than any timer.
const MOMENT: Duration = Duration::from_millis(1);

/// A stack and a station on one segment.
pub struct Rig {
    /// Where they live.
    pub world: World,
    /// What is between them.
    pub segment: Segment,
    /// The sockets of the stack at [`US`].
    pub stack: SocketLayer,
    /// Its protocols.
    pub inet: Arc<Inet>,
    heard: Arc<Heard>,
}

/// What was heard and not asked for yet.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<(Instant, Vec<u8>)>>);

impl CaptureTap for Heard {
    fn frame(&self, at: Instant, _: Direction, packet: &Packet) {
        let bytes = wire::whole_frame(packet, Medium::Ethernet).to_vec();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, bytes));
    }
}

impl Heard {
    /// Takes the frames of one sender, with when; those of others are forgotten.
    pub(crate) fn take(&self, sender: MacAddr) -> Vec<(Instant, Frame)> {
        let heard = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        heard
            .into_iter()
            .map(|(at, bytes)| (at, Frame::read_if(&bytes, |src| src == sender)))
            .filter_map(|(at, frame)| Some((at, frame?)))
            .collect()
    }
}

impl Rig {
    /// A stack whose address is probed and announced already, and that knows the station.
    ///
    /// # Panics
    /// When the stack does not start.
    pub fn new() -> Rig {
        let rig = Rig::with(InetConfig::default());
        rig.settle();
        rig.introduce();
        rig
    }

    /// As [`new`](Self::new), and no ARP is spoken any more: who the station is was set by hand.
    ///
    /// # Panics
    /// When the stack does not start.
    pub fn steady() -> Rig {
        let rig = Rig::new();
        let index = rig.inet.interfaces()[1].index;
        for addr in [PEER, GATEWAY] {
            rig.inet.add_neighbour(index, addr.into(), PEER_MAC).expect("a neighbour fits");
        }
        rig
    }

    /// A stack with IPv6 as well, that knows the station for good.
    ///
    /// # Panics
    /// When the stack does not start.
    pub fn six() -> Rig {
        Rig::six_with(InetConfig::default())
    }

    /// The same with a configuration.
    ///
    /// # Panics
    /// When the stack does not start.
    pub fn six_with(config: InetConfig) -> Rig {
        let rig = Rig::configured(config, |interface| {
            let interface = interface.addr(&format!("{US}/24")).gateway(&GATEWAY.to_string());
            interface.addr(&format!("{US6}/64")).gateway(&GATEWAY6.to_string())
        });
        rig.settle();
        let index = rig.inet.interfaces()[1].index;
        for addr in [PEER.into(), GATEWAY.into(), PEER6.into(), GATEWAY6.into()] {
            rig.inet.add_neighbour(index, addr, PEER_MAC).expect("a neighbour fits");
        }
        rig
    }

    /// A stack that just started.
    ///
    /// # Panics
    /// When the stack does not start.
    pub fn with(config: InetConfig) -> Rig {
        let usual = |interface: InterfaceSpec| {
            interface.addr(&format!("{US}/24")).gateway(&GATEWAY.to_string())
        };
        Rig::configured(config, usual)
    }

    /// A stack that just started, its interface as `configure` makes it.
    ///
    /// # Panics
    /// When the stack does not start.
    pub fn configured(
        config: InetConfig,
        configure: impl FnOnce(InterfaceSpec) -> InterfaceSpec,
    ) -> Rig {
        let world = World::new(1);
        let segment = world.segment(LinkConfig::default());
        let heard = Arc::new(Heard::default());
        segment.tap(heard.clone());
        let interface = configure(InterfaceSpec::new(segment.link(US_MAC)));
        let (stack, inet) = start(&world, config, [interface]);
        Rig { world, segment, stack, inet, heard }
    }

    /// Waits until the stack has said all about its address, and forgets it.
    pub fn settle(&self) {
        self.run(Duration::from_secs(30));
        self.hear();
    }

    /// Makes the stack and the station known to each other, and forgets how.
    ///
    /// # Panics
    /// When the stack does not answer.
    pub fn introduce(&self) {
        for sender in [PEER, GATEWAY] {
            self.say_arp(MacAddr::BROADCAST, Arp::request(PEER_MAC, sender, US));
            assert!(self.hear().iter().any(|frame| frame.arp().is_some()), "an answer");
        }
    }

    /// Lets time pass.
    pub fn run(&self, duration: Duration) {
        self.world.run_for(duration);
    }

    /// Puts bytes on the segment and gives the stack a moment.
    pub fn say(&self, bytes: &[u8]) {
        self.segment.send_raw(Packet::from_payload(Bytes::copy_from_slice(bytes)));
        self.run(MOMENT);
    }

    /// Says an ARP packet.
    pub fn say_arp(&self, to: MacAddr, arp: Arp) {
        self.say(&frame(to, arp.sha, ARP, &arp.bytes()));
    }

    /// Says an IPv4 packet to the stack.
    pub fn say_ip(&self, ip: &Ip) {
        self.say(&frame(US_MAC, PEER_MAC, IPV4, &ip.bytes()));
    }

    /// Says an IPv6 packet to the stack.
    pub fn say_ip6(&self, ip: &Ip6) {
        self.say(&frame(US_MAC, PEER_MAC, IPV6, &ip.bytes()));
    }

    /// Says an ICMP message from the station to the stack.
    pub fn say_icmp(&self, icmp: &Icmp) {
        self.say_ip(&Ip::new(PEER, US, crate::wire::ICMP, icmp.bytes()));
    }

    /// Says a UDP datagram from the station to the stack.
    pub fn say_udp(&self, udp: &Udp) {
        self.say_ip(&udp.packet(PEER, US));
    }

    /// Says a TCP segment from the station to the stack.
    pub fn say_tcp(&self, tcp: &Tcp) {
        self.say_ip(&tcp.packet(PEER, US));
    }

    /// What the stack has sent since it was last asked, with when.
    pub fn hear_timed(&self) -> Vec<(Instant, Frame)> {
        self.heard.take(US_MAC)
    }

    /// What the stack has sent since it was last asked.
    pub fn hear(&self) -> Vec<Frame> {
        self.hear_timed().into_iter().map(|(_, frame)| frame).collect()
    }

    /// The IPv4 packets among what the stack has sent since.
    pub fn hear_ip(&self) -> Vec<Ip> {
        self.hear().iter().filter_map(|frame| frame.ip().cloned()).collect()
    }

    /// The IPv6 packets among what the stack has sent since.
    pub fn hear_ip6(&self) -> Vec<Ip6> {
        self.hear().iter().filter_map(|frame| frame.ip6().cloned()).collect()
    }

    /// The ICMPv6 messages among what the stack has sent since, those of neighbour and listener
    /// discovery left out.
    pub fn hear_icmp6(&self) -> Vec<Icmp> {
        let heard = self.hear_ip6();
        let said = heard.iter().filter_map(Ip6::icmp);
        said.filter(|icmp| !matches!(icmp.ty, 130..=137 | 143)).collect()
    }

    /// Is an echo request in this packet answered?
    pub fn answers6(&self, ip: &Ip6) -> bool {
        self.say_ip6(ip);
        self.hear_icmp6().iter().any(|icmp| icmp.ty == 129)
    }

    /// The ICMP messages among what the stack has sent since.
    pub fn hear_icmp(&self) -> Vec<Icmp> {
        self.hear_ip().iter().filter_map(Ip::icmp).collect()
    }

    /// The TCP segments among what the stack has sent since.
    pub fn hear_tcp(&self) -> Vec<Tcp> {
        self.hear_ip().iter().filter_map(Ip::tcp).collect()
    }

    /// Is an echo request in this packet answered?
    pub fn answers(&self, ip: &Ip) -> bool {
        self.say_ip(ip);
        self.hear_icmp().iter().any(|icmp| icmp.ty == 0)
    }
}

impl Default for Rig {
    fn default() -> Self {
        Rig::new()
    }
}

/// A stack with these interfaces, as a host of a world: its sockets and its protocols.
///
/// # Panics
/// When it does not start.
pub fn start(
    world: &World,
    config: InetConfig,
    interfaces: impl IntoIterator<Item = InterfaceSpec>,
) -> (SocketLayer, Arc<Inet>) {
    let host = world.host("us");
    let inet = Inet::new(config, host.seed(), host.clone(), 1).expect("a stack starts");
    for interface in interfaces {
        inet.add_interface(interface).expect("an interface starts");
    }
    let inet = Arc::new(inet);
    host.attach(inet.engine()).expect("a world drives it");
    let layer = SocketLayer::new(vec![inet.clone()], host, Box::new(())).expect("one domain");
    (layer, inet)
}

/// An echo request from the station.
pub fn echo_packet() -> Ip {
    Ip::new(PEER, US, crate::wire::ICMP, Icmp::echo(7, 1, b"are you there?").bytes())
}

/// An echo request of ICMPv6 from the station.
pub fn echo6_packet() -> Ip6 {
    Icmp::echo6(7, 1, b"are you there?").packet6(PEER6, US6)
}
