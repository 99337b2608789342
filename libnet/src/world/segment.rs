//! Ethernet segments and wires of a world, and the links that stacks have on them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::core::Shared;
use super::record::{Record, SeenFrame};
use crate::capture::CaptureTap;
use crate::ethernet::MacAddr;
use crate::iface::IfIndex;
use crate::impair::{Fault, FaultCount, Impair, ImpairStats, Impairments, Schedule, Way, Which};
use crate::landing::Landing;
use crate::link::{
    Doorbell, Link, LinkControl, LinkInfo, LinkQueue, LinkRx, LinkStats, LinkTx, Medium, Offload,
    Readiness, RxFilter,
};
use crate::packet::Packet;
use crate::time::Instant;

/// What a segment or a wire is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkConfig {
    /// For reports and captures.
    pub name: String,
    /// What travels on it.
    pub medium: Medium,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// What it carries whole. With none, every frame is as a wire would carry it.
    pub offload: Offload,
    /// What happens to frames from each port to the segment; a schedule begins when the port is made.
    pub impairments: Schedule,
    /// Frames that wait in a port for its stack at most; past it they are lost and counted.
    pub rx_queue_frames: usize,
}

impl LinkConfig {
    /// One-way delay by default.
    pub const DEFAULT_DELAY: Duration = Duration::from_micros(50);

    /// Names it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the largest IP packet, in bytes.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = bytes;
        self
    }

    /// Sets what it carries whole.
    #[must_use]
    pub fn offload(mut self, offload: Offload) -> Self {
        self.offload = offload;
        self
    }

    /// Sets what happens to frames from each port to the segment.
    #[must_use]
    pub fn impairments(mut self, impairments: impl Into<Schedule>) -> Self {
        self.impairments = impairments.into();
        self
    }

    /// Carries bare IP packets: whatever one port sends, all others receive.
    #[must_use]
    pub fn bare_ip(mut self) -> Self {
        self.medium = Medium::Ip;
        self
    }
}

impl Default for LinkConfig {
    /// Ethernet, an MTU of 1,500 bytes, no offloads, 50 µs of delay, no harm.
    fn default() -> Self {
        LinkConfig {
            name: String::new(),
            medium: Medium::Ethernet,
            mtu: 1_500,
            offload: Offload::NONE,
            impairments: Impairments::none().delay(Self::DEFAULT_DELAY).into(),
            rx_queue_frames: 4_096,
        }
    }
}

/// A port of a segment: where one link is plugged in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub(super) usize);

/// An Ethernet segment: many ports, frames go where their address says. A handle; clones are the
/// same segment, and it may be used while the world runs.
#[derive(Clone)]
pub struct Segment {
    pub(super) shared: Arc<Shared>,
    pub(super) number: usize,
}

impl Segment {
    /// A link for a stack, with an address of its own.
    pub fn link(&self, mac: MacAddr) -> WorldLink {
        let (port, info, bell) = self.shared.lock().add_port(self.number, mac);
        WorldLink { cable: Cable { shared: Arc::clone(&self.shared), port }, info, bell }
    }

    /// A link with the next free address 02:00:00:ss:pp:pp.
    pub fn next_link(&self) -> WorldLink {
        let port = self.shared.lock().segments[self.number].ports.len() as u16 + 1;
        let [high, low] = port.to_be_bytes();
        self.link(MacAddr([2, 0, 0, self.number as u8, high, low]))
    }

    /// Changes one direction of a port, for frames from now on; a schedule begins now.
    pub fn impair(&self, port: PortId, way: Way, impairments: impl Into<Schedule>) {
        let mut state = self.shared.lock();
        state.ports[port.0].way(way).configure(impairments);
        state.serve_wire(port.0, way);
    }

    /// Changes what happens to frames from every port to the segment, also of those that come; a
    /// schedule begins now, or when they come.
    pub fn impair_all(&self, impairments: impl Into<Schedule>) {
        let impairments = impairments.into();
        let mut state = self.shared.lock();
        state.segments[self.number].config.impairments = impairments.clone();
        let ports = state.segments[self.number].ports.clone();
        for port in ports {
            state.ports[port].egress.configure(impairments.clone());
            state.serve_wire(port, Way::Out);
        }
    }

    /// Harms frames that match, whoever sent them; see [`Impair::inject`].
    pub fn inject(
        &self,
        name: &str,
        which: Which,
        fault: Fault,
        matches: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> FaultCount {
        let mut state = self.shared.lock();
        state.segments[self.number].medium.inject(name, which, fault, matches)
    }

    /// Drops the n-th frame that matches; the first is 1.
    pub fn drop_nth(
        &self,
        n: u64,
        matches: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> FaultCount {
        self.inject("drop_nth", Which::Nth(n), Fault::Drop, matches)
    }

    /// Takes all injected faults out.
    pub fn clear_injected(&self) {
        self.shared.lock().segments[self.number].medium.clear_injected();
    }

    /// Pulls a port's plug, or puts it back: frames to and from an unplugged port are lost.
    pub fn plug(&self, port: PortId, plug: Plug) {
        self.shared.lock().ports[port.0].plug = plug;
    }

    /// Puts a frame on the segment as if some other station had sent it.
    pub fn send_raw(&self, frame: Packet) {
        self.shared.lock().enter_medium(self.number, None, frame);
    }

    /// What happened to the frames of one direction of a port.
    pub fn stats(&self, port: PortId, way: Way) -> ImpairStats {
        self.shared.lock().ports[port.0].way(way).stats()
    }

    /// Shows every frame that reaches the segment, harm done, as [`Direction::Out`] of whoever sent it.
    ///
    /// [`Direction::Out`]: crate::capture::Direction::Out
    pub fn tap(&self, tap: Arc<dyn CaptureTap>) {
        self.shared.lock().segments[self.number].taps.push(tap);
    }

    /// The last frames, as far as the world's [`Recording`] goes: what is written when a test fails.
    ///
    /// [`Recording`]: super::Recording
    pub fn last_frames(&self) -> Vec<SeenFrame> {
        self.shared.lock().remembered(self.number)
    }

    /// What a link on it would say of itself, with no address; for captures.
    pub fn info(&self) -> LinkInfo {
        self.shared.lock().segments[self.number].info(MacAddr::ZERO)
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Is the cable in?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Plug {
    /// Yes.
    #[default]
    In,
    /// No.
    Pulled,
}

/// A segment within the world.
pub(super) struct SegmentState {
    pub(super) config: LinkConfig,
    pub(super) ports: Vec<usize>,
    by_mac: BTreeMap<MacAddr, Vec<usize>>,
    pub(super) promiscuous_ports: usize,
    /// Faults by predicate, whoever sent the frame.
    pub(super) medium: Impair,
    pub(super) taps: Vec<Arc<dyn CaptureTap>>,
    /// The last frames.
    pub(super) record: Record,
}

impl SegmentState {
    pub(super) fn new(config: LinkConfig, seed: [u8; 32]) -> Self {
        let mut segment = SegmentState {
            medium: Impair::new(
                Impairments::none(),
                &LinkInfo::ethernet("world", "", MacAddr::ZERO, config.mtu),
                seed,
            ),
            config,
            ports: Vec::new(),
            by_mac: BTreeMap::new(),
            promiscuous_ports: 0,
            taps: Vec::new(),
            record: Record::default(),
        };
        segment.medium = Impair::new(Impairments::none(), &segment.info(MacAddr::ZERO), seed);
        segment.medium.keep_lost();
        segment
    }

    pub(super) fn info(&self, mac: MacAddr) -> LinkInfo {
        LinkInfo {
            kind: "world",
            target: self.config.name.clone(),
            medium: self.config.medium,
            mac,
            mtu: self.config.mtu,
            offload: self.config.offload,
            loopback: false,
            quiet: false,
        }
    }

    pub(super) fn add_port(&mut self, port: usize, mac: MacAddr) {
        self.ports.push(port);
        self.by_mac.entry(mac).or_default().push(port);
    }

    pub(super) fn remove_port(&mut self, port: usize) {
        self.ports.retain(|&other| other != port);
        for ports in self.by_mac.values_mut() {
            ports.retain(|&other| other != port);
        }
    }

    /// Does a station own the address?
    pub(super) fn owns(&self, mac: MacAddr) -> bool {
        !self.ports_of(mac).is_empty()
    }

    /// The ports with this address.
    pub(super) fn ports_of(&self, mac: MacAddr) -> &[usize] {
        self.by_mac.get(&mac).map_or(&[], Vec::as_slice)
    }
}

/// A port within the world.
pub(super) struct Port {
    pub(super) segment: usize,
    pub(super) mac: MacAddr,
    pub(super) egress: Impair,
    pub(super) ingress: Impair,
    pub(super) rx: VecDeque<Packet>,
    pub(super) filter: RxFilter,
    pub(super) plug: Plug,
    /// Whose interface it is, once the stack was attached.
    pub(super) owner: Option<(usize, IfIndex, usize)>,
    /// A request to receive is under way.
    pub(super) receive_queued: bool,
    /// The sender waits for room: it is told when a frame has left the wire.
    pub(super) wants_room: bool,
    /// When an event is due for the frame on the wire, by [`Way`].
    pub(super) wire_at: [Option<Instant>; 2],
    pub(super) stats: LinkStats,
    pub(super) bell: Arc<PortBell>,
}

impl Port {
    pub(super) fn way(&mut self, way: Way) -> &mut Impair {
        match way {
            Way::Out => &mut self.egress,
            Way::In => &mut self.ingress,
        }
    }

    /// What the network card lets through.
    pub(super) fn accepts(&self, dst: MacAddr, owned: bool) -> bool {
        if self.filter.promiscuous || dst == self.mac || dst.is_broadcast() {
            return true;
        }
        if dst.is_group() {
            return self.filter.all_multicast || self.filter.groups.contains(&dst);
        }
        self.filter.unknown_unicast && !owned
    }
}

/// Identifies a port's queue. Nobody sleeps on it: the world calls the stack.
#[derive(Default)]
pub(super) struct PortBell {
    word: AtomicU32,
}

impl PortBell {
    pub(super) const fn word_ref(&self) -> &AtomicU32 {
        &self.word
    }
}

impl Doorbell for PortBell {
    fn arm(&self) -> Option<u32> {
        Some(self.word.load(Ordering::Relaxed))
    }

    fn disarm(&self) {}

    fn word(&self) -> &AtomicU32 {
        &self.word
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn ring(&self) {}
}

/// A link on a segment, for a stack that the world drives. Dropping it unplugs it.
pub struct WorldLink {
    cable: Cable,
    info: LinkInfo,
    bell: Arc<PortBell>,
}

impl WorldLink {
    /// The port it is plugged into.
    pub fn port(&self) -> PortId {
        PortId(self.cable.port)
    }

    /// Its address.
    pub fn mac(&self) -> MacAddr {
        self.info.mac
    }
}

impl std::fmt::Debug for WorldLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorldLink").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Link for WorldLink {
    fn info(&self) -> LinkInfo {
        self.info.clone()
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let end = || End {
            shared: Arc::clone(&self.cable.shared),
            port: self.cable.port,
            bell: Arc::clone(&self.bell),
        };
        let (tx, control) = (end(), end());
        let rx = RxEnd { cable: self.cable, bell: self.bell };
        Ok((vec![LinkQueue { rx: Box::new(rx), tx: Box::new(tx) }], Box::new(control)))
    }
}

struct End {
    shared: Arc<Shared>,
    port: usize,
    bell: Arc<PortBell>,
}

struct RxEnd {
    cable: Cable,
    bell: Arc<PortBell>,
}

/// What keeps a port plugged in.
struct Cable {
    shared: Arc<Shared>,
    port: usize,
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.shared.lock().remove_port(self.port);
    }
}

impl LinkRx for RxEnd {
    fn recv(
        &mut self,
        _: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        _: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        let mut state = self.cable.shared.lock();
        let rx = &mut state.ports[self.cable.port].rx;
        let n = budget.min(rx.len());
        sink.extend(rx.drain(..n));
        Ok(n)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Doorbell(Arc::clone(&self.bell) as Arc<dyn Doorbell>)
    }
}

impl LinkTx for End {
    fn send(&mut self, _now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        Ok(self.shared.lock().send(self.port, queue))
    }

    fn readiness(&self) -> Readiness {
        Readiness::Doorbell(Arc::clone(&self.bell) as Arc<dyn Doorbell>)
    }
}

impl LinkControl for End {
    fn set_filter(&mut self, filter: &RxFilter) -> io::Result<()> {
        self.shared.lock().set_filter(self.port, filter.clone());
        Ok(())
    }

    fn stats(&self) -> LinkStats {
        self.shared.lock().ports[self.port].stats
    }
}
