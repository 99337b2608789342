//! A stack that forwards between two segments, and a station on each that a test plays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libnet::iface::IfIndex;
use libnet::net::SocketLayer;
use libnet::world::{LinkConfig, Segment, World};
use libnet::{DropReason, InterfaceSpec, MacAddr, Packet};
use libnetinet::{Inet, InetConfig};

use crate::station::{Heard, start};
use crate::wire::six::{IPV6, Ip6};
use crate::wire::{Frame, IPV4, Icmp, Ip, frame};

/// The router's interface to the left.
pub const LEFT: IfIndex = IfIndex(2);
/// The router's interface to the right.
pub const RIGHT: IfIndex = IfIndex(3);
/// The router's address on the left.
pub const ROUTER_LEFT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The router's address on the right.
pub const ROUTER_RIGHT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// The station on the left.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// Another host on the left, which the station is too.
pub const HERE_TOO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
/// The station on the right.
pub const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
/// The router's IPv6 address on the left.
pub const ROUTER_LEFT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1);
/// The router's IPv6 address on the right.
pub const ROUTER_RIGHT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 2, 0, 0, 0, 1);
/// The station on the left, by IPv6.
pub const HERE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 2);
/// The station on the right, by IPv6.
pub const THERE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 2, 0, 0, 0, 2);
/// Stations' MAC addresses: left, right.
pub const STATIONS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([2, 0, 0, 0, 1, 2])];
/// The router's MAC addresses: left, right.
pub const ROUTERS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 1, 1])];

/// Longer than a frame takes, shorter than any timer.
const MOMENT: Duration = Duration::from_millis(1);

/// One of the two segments.
pub struct Side {
    /// It.
    pub segment: Segment,
    heard: Arc<Heard>,
    number: usize,
}

/// A router and two stations.
pub struct RouterRig {
    /// Where they live.
    pub world: World,
    /// 10.0.0.0/24.
    pub left: Side,
    /// 10.0.1.0/24.
    pub right: Side,
    /// The router's own sockets.
    pub stack: SocketLayer,
    /// The router.
    pub inet: Arc<Inet>,
}

impl RouterRig {
    /// A router that knows both stations.
    ///
    /// # Panics
    /// When it does not start.
    pub fn new() -> RouterRig {
        RouterRig::with(|_| {}, LinkConfig::default())
    }

    /// The same with another configuration, or another link on the right.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with(change: impl FnOnce(&mut InetConfig), right: LinkConfig) -> RouterRig {
        RouterRig::made(change, right, &[])
    }

    /// A router with IPv6 as well, that knows both stations.
    ///
    /// # Panics
    /// When it does not start.
    pub fn six() -> RouterRig {
        RouterRig::six_with(|_| {}, LinkConfig::default())
    }

    /// The same with another configuration, or another link on the right. What the router says
    /// about its addresses is over and forgotten.
    ///
    /// # Panics
    /// When it does not start.
    pub fn six_with(change: impl FnOnce(&mut InetConfig), right: LinkConfig) -> RouterRig {
        let rig = RouterRig::made(change, right, &[ROUTER_LEFT6, ROUTER_RIGHT6]);
        for (iface, addr, station) in [(LEFT, HERE6, 0), (RIGHT, THERE6, 1)] {
            rig.inet.add_neighbour(iface, addr.into(), STATIONS[station]).expect("it fits");
        }
        rig.run(Duration::from_secs(30));
        let _ = (rig.left.hear(), rig.right.hear());
        rig
    }

    fn made(
        change: impl FnOnce(&mut InetConfig),
        right: LinkConfig,
        six: &[Ipv6Addr],
    ) -> RouterRig {
        let mut config = InetConfig::default();
        config.arp.announce = false;
        config.forwarding.ipv4 = true;
        config.forwarding.ipv6 = true;
        change(&mut config);
        let world = World::new(1);
        let side = |number: usize, link: LinkConfig| {
            let segment = world.segment(link);
            let heard = Arc::new(Heard::default());
            segment.tap(heard.clone());
            Side { segment, heard, number }
        };
        let (left, right) = (side(0, LinkConfig::default()), side(1, right));
        let interface = |side: &Side, addr: Ipv4Addr| {
            let link = side.segment.link(ROUTERS[side.number]);
            let interface = InterfaceSpec::new(link).addr(&format!("{addr}/24"));
            six.get(side.number)
                .into_iter()
                .fold(interface, |interface, addr| interface.addr(&format!("{addr}/64")))
        };
        let interfaces = [interface(&left, ROUTER_LEFT), interface(&right, ROUTER_RIGHT)];
        let (stack, inet) = start(&world, config, interfaces);
        let known = [(LEFT, HERE, 0), (LEFT, HERE_TOO, 0), (RIGHT, THERE, 1)];
        for (iface, addr, station) in known {
            inet.add_neighbour(iface, addr.into(), STATIONS[station]).expect("a neighbour fits");
        }
        RouterRig { world, left, right, stack, inet }
    }

    /// Lets time pass.
    pub fn run(&self, duration: Duration) {
        self.world.run_for(duration);
    }

    /// The station on the left gives the router bytes of an IP packet.
    pub fn say_bytes(&self, ip: &[u8]) {
        self.say_frame(&frame(ROUTERS[0], STATIONS[0], IPV4, ip));
    }

    /// The station on the left gives the router a packet.
    pub fn say(&self, ip: &Ip) {
        self.say_bytes(&ip.bytes());
    }

    /// The station on the left gives the router an IPv6 packet.
    pub fn say6(&self, ip: &Ip6) {
        self.say_frame(&frame(ROUTERS[0], STATIONS[0], IPV6, &ip.bytes()));
    }

    /// Bytes of a whole frame on the left.
    pub fn say_frame(&self, bytes: &[u8]) {
        self.left.segment.send_raw(Packet::from_payload(Bytes::copy_from_slice(bytes)));
        self.run(MOMENT);
    }

    /// The station on the right gives the router a packet.
    pub fn answer(&self, ip: &Ip) {
        let bytes = frame(ROUTERS[1], STATIONS[1], IPV4, &ip.bytes());
        self.right.segment.send_raw(Packet::from_payload(bytes.into()));
        self.run(MOMENT);
    }

    /// The packets that the router has put on the right since it was asked.
    pub fn passed(&self) -> Vec<Ip> {
        self.right.hear_ip()
    }

    /// The IPv6 packets of others that the router has put on the right since.
    pub fn passed6(&self) -> Vec<Ip6> {
        let said = self.right.hear_ip6();
        said.into_iter().filter(|ip| !self.is_own(ip.src.into())).collect()
    }

    /// The ICMPv6 messages that the router has sent to the left since, those of neighbour and
    /// listener discovery left out.
    pub fn errors6(&self) -> Vec<Icmp> {
        let said = self.left.hear_ip6();
        let icmp = said.iter().filter_map(Ip6::icmp);
        icmp.filter(|icmp| !matches!(icmp.ty, 130..=136 | 143)).collect()
    }

    fn is_own(&self, addr: IpAddr) -> bool {
        let interfaces = self.inet.interfaces();
        interfaces.iter().any(|iface| iface.addrs.iter().any(|(cidr, _)| cidr.addr() == addr))
    }

    /// The ICMP messages that the router has sent to the left since.
    pub fn errors(&self) -> Vec<Icmp> {
        self.left.hear_ip().iter().filter_map(Ip::icmp).collect()
    }

    /// The router's counter for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.inet.drops().get(reason)
    }
}

impl Default for RouterRig {
    fn default() -> Self {
        RouterRig::new()
    }
}

impl Side {
    /// The frames that the router has sent here since it was last asked.
    pub fn hear(&self) -> Vec<Frame> {
        self.heard.take(ROUTERS[self.number]).into_iter().map(|(_, frame)| frame).collect()
    }

    /// The IPv6 packets among them.
    pub fn hear_ip6(&self) -> Vec<Ip6> {
        self.hear().iter().filter_map(|frame| frame.ip6().cloned()).collect()
    }

    /// The IPv4 packets among them.
    pub fn hear_ip(&self) -> Vec<Ip> {
        self.hear().iter().filter_map(|frame| frame.ip().cloned()).collect()
    }
}
