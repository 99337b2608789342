//! Below IP: links, Ethernet, ARP, neighbours.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use libnet::impair::{Impairments, Overflow, QueueLimit};
use libnet::landing::Landing;
use libnet::link::{
    Link, LinkControl, LinkInfo, LinkQueue, LinkRx, LinkStats, LinkTx, Offload, Readiness, RxFilter,
};
use libnet::world::{LinkConfig, World};
use libnet::{
    Checksum, DropReason, EtherType, Gso, GsoKind, IfIndex, Instant, InterfaceSpec, MacAddr, Packet,
};
use rumpnet::{InetConfig, Stack};
use rumpnet_tests::frames::{Icmp, ethernet};
use rumpnet_tests::lab::{Lab, PEER_MAC};

/// The lab's interface; 1 is `lo0`.
pub(crate) const IFACE: IfIndex = IfIndex(2);

pub(crate) fn iface_down() -> u64 {
    let lab = Lab::new().unwrap();
    let iface = lab.stack.inet().unwrap().engine().interface(IFACE).unwrap();
    iface.reconfigure(|config| config.up = false);
    lab.send(EtherType::IPV4, &[0; 20]);
    lab.drops(DropReason::IfaceDown)
}

pub(crate) fn link_malformed() -> u64 {
    let lab = Lab::new().unwrap();
    lab.send_frame(Packet::from_payload(Bytes::copy_from_slice(&lab.mac.0)));
    lab.drops(DropReason::LinkMalformed)
}

pub(crate) fn not_for_us() -> u64 {
    let lab = Lab::new().unwrap();
    let mut filter = RxFilter::default();
    filter.promiscuous = true;
    lab.stack.inet().unwrap().engine().set_filter(IFACE, &filter).unwrap();
    let other = MacAddr([2, 0, 0, 0, 7, 7]);
    lab.send_frame(ethernet(other, PEER_MAC, EtherType::IPV4, &[0; 40]));
    lab.drops(DropReason::NotForUs)
}

pub(crate) fn unknown_ethertype() -> u64 {
    let lab = Lab::new().unwrap();
    lab.send(EtherType(0x1234), &[0; 40]);
    lab.drops(DropReason::UnknownEtherType)
}

pub(crate) fn vlan_tagged() -> u64 {
    let lab = Lab::new().unwrap();
    lab.send(EtherType::VLAN, &[0; 40]);
    lab.drops(DropReason::VlanTagged)
}

pub(crate) fn frame_too_long() -> u64 {
    let lab = Lab::new().unwrap();
    lab.introduce();
    // Somebody gives the interface a larger MTU than its link has.
    let iface = lab.stack.inet().unwrap().engine().interface(IFACE).unwrap();
    iface.reconfigure(|config| config.mtu = 3_000);
    refresh(&lab);
    let socket = lab.stack.udp_bind("10.0.0.1:1000").unwrap();
    socket.send_to(&[0; 2_000], "10.0.0.9:1000").unwrap();
    lab.world.run_for(Duration::from_secs(1));
    lab.drops(DropReason::FrameTooLong)
}

/// A new address makes the stack look at its interfaces again.
pub(crate) fn refresh(lab: &Lab) {
    lab.stack.inet().unwrap().add_address(IFACE, "10.9.9.9/24".parse().unwrap()).unwrap();
}

pub(crate) fn reply_queue_full() -> u64 {
    let mut config = InetConfig::default();
    config.reply_queue_packets = 1;
    config.output_queue_packets = 1;
    config.engine.queue_frames = 1;
    let lab = Lab::with(config, LinkConfig::default()).unwrap();
    lab.introduce();
    let mut limit = QueueLimit::default();
    (limit.frames, limit.overflow) = (1, Overflow::Waits);
    lab.segment.impair_all(Impairments::none().rate(1_000).queue(limit));
    let ping = Icmp::new(8, 0, [0; 4]).build(&lab.ip(1), &[0; 1_000]);
    (0..50).for_each(|_| lab.send_ip(&ping));
    lab.drops(DropReason::ReplyQueueFull)
}

/// A link whose every send fails.
struct Broken;

impl Link for Broken {
    fn info(&self) -> LinkInfo {
        LinkInfo::ethernet("broken", "", MacAddr([2, 0, 0, 0, 0, 1]), 1_500)
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let queue = LinkQueue { rx: Box::new(Broken), tx: Box::new(Broken) };
        Ok((vec![queue], Box::new(Broken)))
    }
}

impl LinkRx for Broken {
    fn recv(
        &mut self,
        _: Instant,
        _: usize,
        _: &mut Vec<Packet>,
        _: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        Ok(0)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Never
    }
}

impl LinkTx for Broken {
    fn send(&mut self, _: Instant, _: &mut VecDeque<Packet>) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn readiness(&self) -> Readiness {
        Readiness::Never
    }
}

impl LinkControl for Broken {
    fn set_filter(&mut self, _: &RxFilter) -> io::Result<()> {
        Ok(())
    }

    fn stats(&self) -> LinkStats {
        LinkStats::default()
    }
}

pub(crate) fn link_failed() -> u64 {
    let world = World::new(1);
    let interface = InterfaceSpec::new(Broken).addr("10.0.0.1/24");
    let stack = Stack::builder().interface(interface).start_in(&world.host("a")).unwrap();
    let socket = stack.udp_bind("10.0.0.1:0").unwrap();
    let _ = socket.send_to(b"x", "10.0.0.2:1");
    world.run_for(Duration::from_secs(10));
    stack.inet().unwrap().engine().drops().get(DropReason::LinkFailed)
}

pub(crate) fn bad_offload() -> u64 {
    let lab = Lab::with(InetConfig::default(), LinkConfig::default().offload(Offload::FULL));
    let lab = lab.unwrap();
    let mut frame = ethernet(lab.mac, PEER_MAC, EtherType::IPV4, &lab.ip(6).build(&[0; 400]));
    frame.checksum = Checksum::Partial { start: 60_000, field: 16 };
    let segment_bytes = NonZeroU16::new(100).unwrap();
    frame.gso = Some(Gso { kind: GsoKind::Tcp4, segment_bytes });
    lab.send_frame(frame);
    lab.drops(DropReason::BadOffload)
}

pub(crate) fn arp_malformed() -> u64 {
    let lab = Lab::new().unwrap();
    lab.send(EtherType::ARP, &[0; 20]);
    lab.drops(DropReason::ArpMalformed)
}

pub(crate) fn neighbour_table_full() -> u64 {
    let mut config = InetConfig::default();
    config.arp.max_entries = 0;
    let lab = Lab::with(config, LinkConfig::default()).unwrap();
    let socket = lab.stack.udp_bind("10.0.0.1:0").unwrap();
    let _ = socket.send_to(b"x", "10.0.0.20:1");
    lab.world.run_for(Duration::from_millis(1));
    lab.drops(DropReason::NeighbourTableFull)
}

pub(crate) fn neighbour_queue_full() -> u64 {
    let mut config = InetConfig::default();
    config.arp.queue_packets = 1;
    let lab = Lab::with(config, LinkConfig::default()).unwrap();
    let socket = lab.stack.udp_bind("10.0.0.1:0").unwrap();
    for _ in 0..3 {
        let _ = socket.send_to(b"x", "10.0.0.20:1");
    }
    lab.drops(DropReason::NeighbourQueueFull)
}

pub(crate) fn neighbour_unreachable() -> u64 {
    let lab = Lab::new().unwrap();
    let socket = lab.stack.udp_bind("10.0.0.1:0").unwrap();
    socket.send_to(b"x", "10.0.0.20:1").unwrap();
    lab.world.run_for(Duration::from_secs(10));
    lab.drops(DropReason::NeighbourUnreachable)
}
