//! Worlds ready for use: two stacks on a segment, or one stack and a station that a test plays.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libnet::capture::{CaptureTap, Direction};
use libnet::impair::Impairments;
use libnet::socket::Family;
use libnet::world::{LinkConfig, PortId, Segment, World, WorldLink};
use libnet::{DropReason, EtherType, Instant, InterfaceSpec, MacAddr, Packet};
use rumpnet::{InetConfig, Stack};

use crate::frames::{Arp, Ip4, ethernet};

/// Frames that reached a segment, in order.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Vec<(Instant, Bytes)>>);

impl Seen {
    /// Takes what was seen so far.
    pub fn take(&self) -> Vec<(Instant, Bytes)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CaptureTap for Seen {
    fn frame(&self, at: Instant, _direction: Direction, packet: &Packet) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((at, packet.to_bytes()));
    }
}

/// How a [`Pair`] is made.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// The world's seed.
    pub seed: u64,
    /// Shards of each stack.
    pub shards: usize,
    /// The segment between them.
    pub link: LinkConfig,
    /// Of both stacks.
    pub inet: InetConfig,
    /// Of their addresses.
    pub family: Family,
}

impl PairConfig {
    /// One shard each, a good link.
    pub fn new(seed: u64) -> Self {
        let (link, inet) = (LinkConfig::default(), InetConfig::default());
        PairConfig { seed, shards: 1, link, inet, family: Family::Inet }
    }
}

/// Two stacks on one segment: a is 10.0.0.1 or fd00::1, b is 10.0.0.2 or fd00::2.
#[derive(Debug)]
pub struct Pair {
    /// Their world.
    pub world: World,
    /// The segment.
    pub segment: Segment,
    /// The first.
    pub a: Stack,
    /// The second.
    pub b: Stack,
    /// Their addresses.
    pub addrs: [IpAddr; 2],
    /// Their ports.
    pub ports: [PortId; 2],
}

impl Pair {
    /// Makes them.
    ///
    /// # Errors
    /// The stacks'.
    pub fn new(config: &PairConfig) -> io::Result<Pair> {
        let world = World::new(config.seed);
        let segment = world.segment(config.link.clone());
        let (link_a, link_b) = (segment.next_link(), segment.next_link());
        let ports = [link_a.port(), link_b.port()];
        let addrs = [1, 2].map(|last| match config.family {
            Family::Inet6 => IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)),
            _ => IpAddr::from(Ipv4Addr::new(10, 0, 0, last as u8)),
        });
        let start = |name: &str, link: WorldLink, addr: IpAddr| {
            let bits = if addr.is_ipv4() { 24 } else { 64 };
            Stack::builder()
                .interface(InterfaceSpec::new(link).addr(&format!("{addr}/{bits}")))
                .config(config.inet.clone())
                .shards(config.shards)
                .start_in(&world.host(name))
        };
        let a = start("a", link_a, addrs[0])?;
        let b = start("b", link_b, addrs[1])?;
        Ok(Pair { world, segment, a, b, addrs, ports })
    }

    /// Changes what happens to frames in both directions.
    pub fn impair(&self, impairments: &Impairments) {
        self.segment.impair_all(impairments);
    }
}

/// A stack at 10.0.0.1 and a station at 10.0.0.9 that a test plays, frame by frame.
#[derive(Debug)]
pub struct Lab {
    /// Their world.
    pub world: World,
    /// The segment.
    pub segment: Segment,
    /// The stack under test.
    pub stack: Stack,
    /// Its address on the segment.
    pub mac: MacAddr,
    seen: Arc<Seen>,
}

/// The stack under test.
pub const STACK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The station that the test plays.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
/// The station's address on the segment.
pub const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);

impl Lab {
    /// A stack with the default bounds. Its first announcements are over and forgotten.
    ///
    /// # Errors
    /// The stack's.
    pub fn new() -> io::Result<Lab> {
        Lab::with(InetConfig::default(), LinkConfig::default())
    }

    /// A stack with other bounds, or on another kind of segment.
    ///
    /// # Errors
    /// The stack's.
    pub fn with(inet: InetConfig, link: LinkConfig) -> io::Result<Lab> {
        let world = World::new(0x1ab);
        let segment = world.segment(link);
        let seen = Arc::new(Seen::default());
        segment.tap(Arc::clone(&seen) as Arc<dyn CaptureTap>);
        let link = segment.next_link();
        let mac = link.mac();
        let stack = Stack::builder()
            .interface(InterfaceSpec::new(link).addr("10.0.0.1/24"))
            .config(inet)
            .start_in(&world.host("stack"))?;
        world.run_for(Duration::from_secs(10));
        seen.take();
        Ok(Lab { world, segment, stack, mac, seen })
    }

    /// The station sends a frame to the stack; it is served at once.
    pub fn send(&self, ethertype: EtherType, payload: &[u8]) {
        self.send_frame(ethernet(self.mac, PEER_MAC, ethertype, payload));
    }

    /// The station sends an IPv4 packet.
    pub fn send_ip(&self, packet: &[u8]) {
        self.send(EtherType::IPV4, packet);
    }

    /// Somebody sends a frame.
    pub fn send_frame(&self, frame: Packet) {
        self.segment.send_raw(frame);
        self.world.run_for(Duration::from_millis(1));
    }

    /// The station makes itself known to the stack by a request for the stack's address.
    pub fn introduce(&self) {
        let request = Arp {
            operation: 1,
            sender_mac: PEER_MAC,
            sender: PEER,
            target_mac: MacAddr::ZERO,
            target: STACK,
        };
        self.send(EtherType::ARP, &request.build());
        self.seen.take();
    }

    /// An IPv4 header from the station to the stack.
    pub fn ip(&self, protocol: u8) -> Ip4 {
        Ip4::new(PEER, STACK, protocol)
    }

    /// The frames that the stack has sent since the last call.
    pub fn sent(&self) -> Vec<Bytes> {
        let seen = self.seen.take().into_iter().map(|(_, frame)| frame);
        seen.filter(|frame| frame.get(6..12) == Some(&self.mac.0[..])).collect()
    }

    /// The stack's counter for a reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.stack.inet().unwrap().engine().drops().get(reason)
    }
}
