//! What a link is: queues that take and give frames, and never block.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::ethernet::{EthernetHeader, MacAddr};
use crate::landing::Landing;
use crate::packet::Packet;
use crate::time::Instant;

/// The longest frame of any link, bytes: 64 KiB of IP and an Ethernet header.
pub const MAX_FRAME_BYTES: usize = 65_549;

/// What travels on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Medium {
    /// Ethernet II frames, without the frame check sequence.
    Ethernet,
    /// Bare IP packets (tun devices, loopback).
    Ip,
}

impl Medium {
    /// Bytes of its header in front of a packet's.
    pub const fn header_bytes(self) -> usize {
        match self {
            Medium::Ethernet => EthernetHeader::LEN,
            Medium::Ip => 0,
        }
    }
}

/// What a link can take whole, so that it need not be done before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Offload {
    /// Takes TCP super-segments ([`crate::packet::GsoKind::Tcp4`], `Tcp6`).
    pub tcp_segmentation: bool,
    /// Takes UDP super-datagrams ([`crate::packet::GsoKind::Udp`]).
    pub udp_segmentation: bool,
    /// Takes packets with [`crate::packet::Checksum::Partial`].
    pub partial_checksum: bool,
    /// The longest frame it takes, link header included, in bytes; 0: MTU and header.
    pub max_frame_bytes: u32,
}

impl Offload {
    /// Nothing: every frame is within the MTU and its checksums are complete.
    pub const NONE: Offload = Offload {
        tcp_segmentation: false,
        udp_segmentation: false,
        partial_checksum: false,
        max_frame_bytes: 0,
    };

    /// Everything, up to 64 KiB of IP and an Ethernet header.
    pub const FULL: Offload = Offload {
        tcp_segmentation: true,
        udp_segmentation: true,
        partial_checksum: true,
        max_frame_bytes: MAX_FRAME_BYTES as u32,
    };
}

/// What a link says of itself when it is attached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkInfo {
    /// Stem of the interface's name: `shmif`, `tap`, `lo`.
    pub kind: &'static str,
    /// What it was opened on, for people: a path, a device name.
    pub target: String,
    /// What travels on it.
    pub medium: Medium,
    /// Our address on it, for [`Medium::Ethernet`].
    pub mac: MacAddr,
    /// The largest IP packet, in bytes, that a frame on the wire may hold.
    pub mtu: u32,
    /// What it takes whole.
    pub offload: Offload,
    /// What is sent comes back at our own end.
    pub loopback: bool,
    /// Nobody on it is told of the groups that we are in.
    pub quiet: bool,
}

impl LinkInfo {
    /// An Ethernet link without offloads; the rest is set on the fields.
    pub fn ethernet(kind: &'static str, target: impl Into<String>, mac: MacAddr, mtu: u32) -> Self {
        LinkInfo {
            kind,
            target: target.into(),
            medium: Medium::Ethernet,
            mac,
            mtu,
            offload: Offload::NONE,
            loopback: false,
            quiet: false,
        }
    }
}

/// The word that a receiver sleeps on, and how to sleep on it without losing a wake-up.
///
/// ```text
/// driver                      whoever has something for it
///   arm() → Some(v)             publish
///   futex_wait(word, v)  <──    ring(): word += 1, wake if armed
///   disarm()
/// ```
pub trait Doorbell: Send + Sync {
    /// Announces a sleep. `None`: something is there already, do not sleep. `Some(v)`: sleep
    /// while [`word`](Self::word) holds `v`.
    fn arm(&self) -> Option<u32>;

    /// Ends the announcement; called after every `arm` that gave `Some`.
    fn disarm(&self);

    /// The word to sleep on.
    fn word(&self) -> &AtomicU32;

    /// May the word be in memory shared with other processes?
    fn is_shared(&self) -> bool;

    /// Wakes a sleeper of this process, as a driver's kick does.
    fn ring(&self);

    /// The longest to sleep after an [`arm`](Self::arm), however late the next deadline is: a
    /// link that waits for room does not wait for ever, and a word in shared memory is not to
    /// be relied on alone. After it, `recv` and, if frames are held back, `send` are due.
    fn longest_sleep(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// How to wait until a queue has something, or room. Owned, so that a thread can sleep on it
/// while others use the queue.
#[derive(Clone)]
#[non_exhaustive]
pub enum Readiness {
    /// Readable when there is something to receive, writable when there is room.
    Descriptor(Arc<OwnedFd>),
    /// A futex word; it rings for both, something to receive and room again after a refusal.
    Doorbell(Arc<dyn Doorbell>),
    /// Never on its own: whoever sends also delivers (loopback, simulated links).
    Never,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Readiness::Descriptor(fd) => f.debug_tuple("Descriptor").field(fd).finish(),
            Readiness::Doorbell(_) => f.write_str("Doorbell"),
            Readiness::Never => f.write_str("Never"),
        }
    }
}

/// The receiving half of one queue of a link. Never blocks, never calls back.
pub trait LinkRx: Send {
    /// Appends up to `budget` received frames to `sink`; how many.
    ///
    /// With a `landing`, somebody waits for a stream: the data of frames that it
    /// [expects](Landing::expects) may go into its memory at once, one behind the other, and the packet says
    /// [where they are](Landing::land). A link that has nothing to gain by that ignores it, and every frame
    /// comes whole, as it does without.
    ///
    /// # Errors
    /// [`NetworkDown`](io::ErrorKind::NetworkDown): the device is gone for now; the interface is
    /// down until a later call succeeds, and the [`Readiness`] fires when one may. Anything else:
    /// the link is broken for good; it is not asked again.
    fn recv(
        &mut self,
        now: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        landing: Option<&mut Landing<'_>>,
    ) -> io::Result<usize>;

    /// How to wait for the next frame.
    fn readiness(&self) -> Readiness;

    /// When [`recv`](Self::recv) has something although the readiness does not fire: a link that
    /// delays what it receives. Asked after each `recv`.
    fn due(&self) -> Option<Instant> {
        None
    }
}

/// What a link that takes its time with frames waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// When [`LinkTx::send`] is to be called, with frames or without: some are due then, or there
    /// is room for more.
    pub due: Option<Instant>,
    /// Frames that were taken before, and are due, wait for room: the readiness fires.
    pub wants_room: bool,
}

/// The sending half of one queue of a link. Never blocks, never calls back.
pub trait LinkTx: Send {
    /// Sends from the front of `queue` what the link has room for; how many frames. What stays
    /// in `queue` is back-pressure: the link asks for room and its [`Readiness`] fires.
    ///
    /// A frame that the link can never take (too long, malformed) is removed and counted.
    ///
    /// # Errors
    /// As [`LinkRx::recv`]; what is in `queue` is lost.
    fn send(&mut self, now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize>;

    /// How to wait for room.
    fn readiness(&self) -> Readiness;

    /// What it waits for, if it is a link that takes its time; what stays in the queue then waits
    /// for that. Asked after each [`send`](Self::send). `None`: it holds nothing back, and what
    /// stays in the queue waits for room.
    fn pace(&self) -> Option<Pace> {
        None
    }
}

/// One queue of a link, in two halves, so that a thread asleep on one does not stop the other.
pub struct LinkQueue {
    /// Frames in.
    pub rx: Box<dyn LinkRx>,
    /// Frames out.
    pub tx: Box<dyn LinkTx>,
}

impl fmt::Debug for LinkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkQueue")
    }
}

/// Which frames a link should deliver beside those to its own address and to all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct RxFilter {
    /// Everything on the segment, whoever it is for.
    pub promiscuous: bool,
    /// Every group address.
    pub all_multicast: bool,
    /// Frames to unicast addresses that no member owns (bridges).
    pub unknown_unicast: bool,
    /// These group addresses.
    pub groups: Vec<MacAddr>,
}

/// Figures that a link keeps about itself, beside the interface's own counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LinkStats {
    /// Frames that were lost before we could take them (a reader lapped, a ring overrun).
    pub rx_missed: u64,
    /// Frames refused because what the link said of them could not be true.
    pub rx_malformed: u64,
    /// Frames that the link could never take.
    pub tx_refused: u64,
    /// Times that sending had to wait for room.
    pub tx_waits: u64,
}

/// The control half of a link.
pub trait LinkControl: Send {
    /// Sets what is delivered.
    ///
    /// # Errors
    /// As the link's system calls give them.
    fn set_filter(&mut self, filter: &RxFilter) -> io::Result<()>;

    /// The link's own figures.
    fn stats(&self) -> LinkStats;
}

/// A link that a stack can be built on: a bus member, a tap device, one end of a simulated wire.
pub trait Link: Send {
    /// What it is.
    fn info(&self) -> LinkInfo;

    /// Opens it: at least one queue, and the control half.
    ///
    /// # Errors
    /// As the link's system calls give them.
    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)>;
}

impl Link for Box<dyn Link> {
    fn info(&self) -> LinkInfo {
        (**self).info()
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        (*self).start()
    }
}
