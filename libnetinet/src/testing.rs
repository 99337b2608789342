//! Small nets in virtual time for this crate's tests.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use libnet::capture::{CaptureTap, Direction};
use libnet::ethernet::{EtherType, EthernetHeader, MacAddr};
use libnet::iface::{IfIndex, InterfaceSpec};
use libnet::impair::QueueLimit;
use libnet::packet::Packet;
use libnet::socket::{Domain, Family, Protocol, Received, RecvMsg, SendMsg, SockType, SocketId};
use libnet::stats::DropReason;
use libnet::time::Instant;
use libnet::world::{HostDriver, LinkConfig, Segment, World, WorldLink};

use crate::config::InetConfig;
use crate::inet::Inet;
use crate::ipv4::header::Ipv4Header;

/// One Ethernet segment and the stacks on it.
pub(crate) struct Net {
    pub(crate) world: World,
    pub(crate) segment: Segment,
    pub(crate) shards: usize,
    log: Arc<Log>,
}

/// A stack on the segment, with its interface 2 there.
pub(crate) struct Node {
    pub(crate) inet: Inet,
    pub(crate) driver: Arc<HostDriver>,
    pub(crate) mac: MacAddr,
}

/// What was seen on the segment.
#[derive(Default)]
struct Log(Mutex<Vec<(Instant, Bytes)>>);

impl CaptureTap for Log {
    fn frame(&self, at: Instant, _direction: Direction, packet: &Packet) {
        self.0.lock().unwrap().push((at, packet.to_bytes()));
    }
}

/// The MAC address of nobody's, for frames made by hand.
pub(crate) const STRANGER: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);

impl Net {
    pub(crate) fn new() -> Self {
        Net::with_shards(1)
    }

    pub(crate) fn with_shards(shards: usize) -> Self {
        Net::with_link(shards, LinkConfig::default())
    }

    pub(crate) fn with_link(shards: usize, link: LinkConfig) -> Self {
        let world = World::new(1);
        let segment = world.segment(link);
        let log = Arc::new(Log::default());
        segment.tap(log.clone());
        Net { world, segment, shards, log }
    }

    /// A node `10.0.0.n/24`.
    pub(crate) fn node(&self, n: u8) -> Node {
        self.node_with(n, |_| {})
    }

    /// A node `10.0.0.n/24` with its configuration changed.
    pub(crate) fn node_with(&self, n: u8, change: impl FnOnce(&mut InetConfig)) -> Node {
        let mut config = InetConfig::default();
        // Most tests look at other frames than these.
        config.arp.announce = false;
        change(&mut config);
        let driver = self.world.host(format!("node{n}"));
        let inet = Inet::new(config, driver.seed(), driver.clone(), self.shards).unwrap();
        let link: WorldLink = self.segment.link(mac(n));
        let spec = InterfaceSpec::new(link).addr(&format!("10.0.0.{n}/24"));
        assert_eq!(inet.add_interface(spec).unwrap(), IfIndex(2));
        driver.attach(inet.engine()).unwrap();
        Node { inet, driver, mac: mac(n) }
    }

    pub(crate) fn run_ms(&self, ms: u64) {
        self.world.run_for(Duration::from_millis(ms));
    }

    /// Takes the frames seen since the last call.
    pub(crate) fn frames(&self) -> Vec<Bytes> {
        self.take().into_iter().map(|(_, frame)| frame).collect()
    }

    /// The same, with when.
    pub(crate) fn take(&self) -> Vec<(Instant, Bytes)> {
        std::mem::take(&mut self.log.0.lock().unwrap())
    }

    /// Puts a frame on the segment.
    pub(crate) fn inject(&self, frame: Packet) {
        self.segment.send_raw(frame);
        self.run_ms(1);
    }

    /// The same for an IPv6 packet.
    pub(crate) fn inject_six(&self, to: &Node, mut packet: Packet) {
        EthernetHeader { dst: to.mac, src: STRANGER, ethertype: EtherType::IPV6 }
            .prepend_to(&mut packet);
        self.inject(packet);
    }

    /// Puts an IP packet made by hand on the segment, from a stranger to a node.
    pub(crate) fn inject_ip(&self, to: &Node, mut packet: Packet) {
        EthernetHeader { dst: to.mac, src: STRANGER, ethertype: EtherType::IPV4 }
            .prepend_to(&mut packet);
        self.inject(packet);
    }

    /// A router tells a node that the last UDP packet on the segment was longer than `mtu`.
    pub(crate) fn say_too_big(&self, to: &Node, mtu: u16) {
        self.say_too_big_of(Protocol::UDP, to, mtu);
    }

    /// The same of one of another protocol.
    pub(crate) fn say_too_big_of(&self, protocol: Protocol, to: &Node, mtu: u16) {
        let frames = self.frames();
        let sent = frames.iter().rfind(|frame| is_ip(frame, protocol)).unwrap();
        let mut icmp = vec![3, 4, 0, 0, 0, 0];
        icmp.extend_from_slice(&mtu.to_be_bytes());
        icmp.extend_from_slice(&sent[14..14 + 28]);
        let sum = libnet::checksum::checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        self.inject_ip(to, ip_packet(ip(77), ip(1), Protocol::ICMP, &icmp));
    }
}

/// The MAC address of node n.
pub(crate) fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// 10.0.0.n
pub(crate) fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

/// 10.0.0.n:port
pub(crate) fn at(n: u8, port: u16) -> SocketAddr {
    SocketAddr::new(ip(n).into(), port)
}

/// An IP packet around a payload.
pub(crate) fn ip_packet(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, data: &[u8]) -> Packet {
    let mut packet = Packet::from_payload(Bytes::copy_from_slice(data));
    Ipv4Header::new(src, dst, protocol).prepend_to(&mut packet);
    packet
}

/// Is it an IPv4 frame of this protocol?
pub(crate) fn is_ip(frame: &Bytes, protocol: Protocol) -> bool {
    frame[12..14] == [8, 0] && frame[23] == protocol.0
}

/// Is it ARP?
pub(crate) fn is_arp(frame: &Bytes) -> bool {
    frame[12..14] == [8, 6]
}

/// A queue for so many frames, whose senders wait for room.
pub(crate) fn room_for(frames: usize) -> QueueLimit {
    let mut limit = QueueLimit::default();
    limit.frames = frames;
    limit
}

/// The errno of a failed call.
#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.expect_err("the call fails").raw_os_error().expect("it has a number")
}

impl Node {
    pub(crate) fn udp(&self) -> SocketId {
        self.inet.socket(Family::Inet, SockType::Datagram, Protocol::DEFAULT).unwrap()
    }

    pub(crate) fn udp_at(&self, addr: SocketAddr) -> SocketId {
        let socket = self.udp();
        self.inet.bind(socket, addr).unwrap();
        socket
    }

    pub(crate) fn ping(&self) -> SocketId {
        self.inet.socket(Family::Inet, SockType::Datagram, Protocol::ICMP).unwrap()
    }

    pub(crate) fn tcp(&self) -> SocketId {
        self.inet.socket(Family::Inet, SockType::Stream, Protocol::DEFAULT).unwrap()
    }

    /// A socket that listens on a port, at all addresses.
    pub(crate) fn listener(&self, port: u16) -> SocketId {
        let socket = self.tcp();
        self.inet.bind(socket, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).unwrap();
        self.inet.listen(socket, 16).unwrap();
        socket
    }

    pub(crate) fn raw(&self, protocol: Protocol) -> SocketId {
        self.inet.socket(Family::Inet, SockType::Raw, protocol).unwrap()
    }

    pub(crate) fn send_to(&self, id: SocketId, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.inet.send(id, SendMsg::CopyTo(&[IoSlice::new(data)], to))
    }

    pub(crate) fn send(&self, id: SocketId, data: &[u8]) -> io::Result<usize> {
        self.inet.send(id, SendMsg::Copy(&[IoSlice::new(data)]))
    }

    pub(crate) fn recv(&self, id: SocketId) -> io::Result<(Vec<u8>, Received)> {
        let mut buf = vec![0; 70_000];
        let received = self.inet.recv(id, RecvMsg::Copy(&mut [IoSliceMut::new(&mut buf)]))?;
        buf.truncate(received.bytes);
        Ok((buf, received))
    }

    /// Receives, and gives the data alone.
    #[track_caller]
    pub(crate) fn got(&self, id: SocketId) -> Vec<u8> {
        self.recv(id).expect("something was received").0
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.inet.drops().get(reason)
    }
}
