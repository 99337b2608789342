//! Links over the host's tap and tun devices: a stack and the host's kernel on one wire.
//!
//! ```no_run
//! use virtif::{HostSide, Virtif};
//!
//! // The host's side: 10.1.0.1/24; ours: 10.1.0.2/24.
//! let tap = Virtif::open("tap0")?;
//! HostSide::new(vec!["10.1.0.1/24".parse()?]).apply(tap.device())?;
//! let interface = tap.addr("10.1.0.2/24");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! Where the kernel has it, frames carry virtio-net's header: a super-segment of 64 KiB crosses
//! in one call, neither cut nor checksummed. Descriptors that a parent opened and passed work too,
//! taps and datagram socket pairs alike.

use std::ffi::c_int;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use libnet::link::{Link, LinkControl, LinkInfo, LinkQueue, MAX_FRAME_BYTES, Medium, Offload};
use libnet::{InterfaceSpec, MacAddr};

mod big;
mod device;
mod host;
mod local;
mod queue;
mod sys;
#[cfg(test)]
mod tests;
mod vnet;

pub use device::OpenError;
use device::{Opened, Passed, Recipe};
pub use host::{HostError, HostLink, HostSide, loopback_up, query};
use local::Local;
use queue::{Control, Counters, Endpoint, Receiver, Sender};
use vnet::{LONG_BYTES, SHORT_BYTES};

/// What a device has unless somebody says otherwise, bytes.
pub(crate) const DEFAULT_MTU: u32 = 1_500;
/// Queues of a device at most; `MAX_TAP_QUEUES` of `drivers/net/tap.c` and `tun.c`.
const MAX_QUEUES: usize = 256;

/// Whether whole super-segments cross a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Offloads {
    /// Where the kernel has them.
    #[default]
    Auto,
    /// Never: each frame is within the MTU and its checksums are complete.
    Off,
}

/// How a device is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VirtifConfig {
    /// Ethernet frames (tap) or bare IP packets (tun).
    pub medium: Medium,
    /// Whether whole super-segments cross it.
    pub offloads: Offloads,
    /// Queues, 1 to 256: as many as the stack has shards is best. More than one needs a device
    /// with `multi_queue`.
    pub queues: usize,
    /// Whether what goes to the host itself may be written in frames longer than 64 KiB.
    pub big_tcp: BigTcp,
}

/// Whether super-segments that follow each other are joined to frames of up to 192 KiB, which Linux
/// calls BIG TCP: only what goes to an address of the host's own, and where its kernel takes them
/// (IPv4 since Linux 6.3; IPv6 from 5.19 up to 6.x).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum BigTcp {
    /// Where the device has offloads and the kernel takes them.
    #[default]
    Auto,
    /// Never.
    Off,
}

impl Default for VirtifConfig {
    /// A tap with one queue, with offloads where the kernel has them.
    fn default() -> Self {
        VirtifConfig {
            medium: Medium::Ethernet,
            offloads: Offloads::Auto,
            queues: 1,
            big_tcp: BigTcp::Auto,
        }
    }
}

/// What stands in front of each frame of a descriptor that was passed to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum FrameHeader {
    /// Nothing.
    #[default]
    None,
    /// virtio-net's header of 10 bytes, in the machine's byte order, as a tap has it.
    Virtio10,
    /// virtio-net's header of 12 bytes, as one with merged buffers has it.
    Virtio12,
}

/// What a passed descriptor cannot tell of itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FdConfig {
    /// What travels on it; a tap or tun knows.
    pub medium: Medium,
    /// What stands in front of each frame; a tap or tun knows.
    pub header: FrameHeader,
    /// The largest IP packet, in bytes; `None`: 1,500. A device's own cannot be asked for: it may
    /// be in another namespace, where its name means another one here.
    pub mtu: Option<u32>,
    /// Whether the other end takes whole super-segments; it must have a header for that.
    pub offloads: Offloads,
}

impl Default for FdConfig {
    /// Ethernet without a header.
    fn default() -> Self {
        FdConfig {
            medium: Medium::Ethernet,
            header: FrameHeader::None,
            mtu: None,
            offloads: Offloads::Auto,
        }
    }
}

/// An open tap or tun device, or a passed descriptor, to be a stack's link.
pub struct Virtif {
    kind: &'static str,
    name: String,
    medium: Medium,
    mac: MacAddr,
    mtu: u32,
    offload: Offload,
    ends: Vec<(Arc<Endpoint>, Option<Local>)>,
    counters: Arc<Counters>,
}

impl Virtif {
    /// Opens the tap device `name`, making it if it is not there and we may. A `%d` in the name
    /// is replaced by the first free number.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::open_with(name, &VirtifConfig::default())
    }

    /// Opens the tun device `name`: bare IP packets, no Ethernet.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_tun(name: &str) -> Result<Self, OpenError> {
        Self::open_with(name, &VirtifConfig { medium: Medium::Ip, ..VirtifConfig::default() })
    }

    /// Opens a device as `config` says.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_with(name: &str, config: &VirtifConfig) -> Result<Self, OpenError> {
        let queues = config.queues.clamp(1, MAX_QUEUES);
        let mut recipe = Recipe {
            name: name.to_owned(),
            medium: config.medium,
            wants_offload: config.offloads == Offloads::Auto,
            wants_queues: queues > 1,
        };
        let mut opened = vec![recipe.open()?];
        recipe.name.clone_from(&opened[0].name);
        for _ in 1..queues {
            opened.push(recipe.open()?);
        }
        let mut offload = opened[0].offload;
        for other in &opened {
            offload.udp_segmentation &= other.offload.udp_segmentation;
        }
        let joins = config.big_tcp == BigTcp::Auto && offload.tcp_segmentation;
        let kind = recipe.mode();
        let mtu = query(&recipe.name).map_or(DEFAULT_MTU, |link| link.mtu);
        let counters = Arc::new(Counters::default());
        let ends = opened.into_iter().map(|Opened { fd, name, header_bytes, .. }| {
            let (recipe, counters) = (Some(recipe.clone()), Arc::clone(&counters));
            let local = if joins { Local::open() } else { None };
            (Endpoint::new(fd, name, config.medium, header_bytes, recipe, counters), local)
        });
        let ends = ends.collect();
        let mac = random_mac(&recipe.name)?;
        let name = recipe.name;
        Ok(Virtif { kind, name, medium: config.medium, mac, mtu, offload, ends, counters })
    }

    /// Takes the descriptor with this number, which a parent passed by leaving it open: nobody
    /// else in this process may own it.
    ///
    /// # Errors
    /// As [`from_fd`](Self::from_fd); `EBADF` if nothing is open there.
    pub fn from_inherited(number: c_int, config: &FdConfig) -> Result<Self, OpenError> {
        let name = format!("fd {number}");
        let fd = inherited(number).map_err(|source| OpenError::Io { name, source })?;
        Self::from_fd(fd, config)
    }

    /// Takes an open descriptor: a tap or tun, or an end of a datagram or packet socket pair. It
    /// is made non-blocking, for all who share its open file description.
    ///
    /// # Errors
    /// [`OpenError::NotFrames`] for streams and files.
    pub fn from_fd(fd: OwnedFd, config: &FdConfig) -> Result<Self, OpenError> {
        let number = std::os::fd::AsRawFd::as_raw_fd(&fd);
        let passed = device::inspect(fd.as_fd())?;
        let mut name = format!("fd {number}");
        let failed = |source| OpenError::Io { name: format!("fd {number}"), source };
        device::set_nonblocking(fd.as_fd()).map_err(failed)?;
        let (mut medium, mut offload) = (config.medium, Offload::NONE);
        let header_bytes = match passed {
            Passed::Device { name: device, medium: own, header } => {
                (name, medium) = (device, own);
                if header && config.offloads == Offloads::Auto {
                    offload = device::agree_on_offload(fd.as_fd()).map_err(failed)?;
                } else {
                    sys::set_offload(fd.as_fd(), 0).map_err(failed)?;
                }
                if header {
                    let bytes = SHORT_BYTES as c_int;
                    sys::set_vnet_header_bytes(fd.as_fd(), bytes).map_err(failed)?;
                    SHORT_BYTES
                } else {
                    0
                }
            }
            Passed::Datagrams => {
                if config.header != FrameHeader::None && config.offloads == Offloads::Auto {
                    offload = Offload::FULL;
                }
                match config.header {
                    FrameHeader::None => 0,
                    FrameHeader::Virtio10 => SHORT_BYTES,
                    FrameHeader::Virtio12 => LONG_BYTES,
                }
            }
        };
        let mtu = config.mtu.unwrap_or(DEFAULT_MTU).min(MAX_FRAME_BYTES as u32);
        let counters = Arc::new(Counters::default());
        let end =
            Endpoint::new(fd, name.clone(), medium, header_bytes, None, Arc::clone(&counters));
        let mac = random_mac(&name)?;
        Ok(Virtif {
            kind: "fd",
            name,
            medium,
            mac,
            mtu,
            offload,
            ends: vec![(end, None)],
            counters,
        })
    }

    /// Gives up a device's first queue as a descriptor, for another process to be passed.
    ///
    /// # Errors
    /// Those of `dup(2)`.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        self.ends[0].0.duplicate()
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.name
    }

    /// What the device takes whole.
    pub const fn offload(&self) -> Offload {
        self.offload
    }

    /// Uses this address on the wire, not a random one.
    #[must_use]
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = mac;
        self
    }

    /// Takes the largest IP packet, in bytes, for this, not what the host's side had when the
    /// device was opened.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = bytes;
        self
    }

    /// An interface over it with an address, as `10.0.0.1/24`.
    pub fn addr(self, cidr: &str) -> InterfaceSpec {
        InterfaceSpec::new(self).addr(cidr)
    }
}

impl fmt::Debug for Virtif {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Virtif")
            .field("info", &self.info())
            .field("queues", &self.ends.len())
            .finish_non_exhaustive()
    }
}

impl Link for Virtif {
    fn info(&self) -> LinkInfo {
        let mut info = LinkInfo::ethernet(self.kind, self.name.clone(), self.mac, self.mtu);
        info.medium = self.medium;
        info.offload = self.offload;
        info
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let queue = |(end, local): (Arc<Endpoint>, _)| LinkQueue {
            rx: Box::new(Receiver::new(Arc::clone(&end))),
            tx: Box::new(Sender::new(end, local)),
        };
        Ok((self.ends.into_iter().map(queue).collect(), Box::new(Control(self.counters))))
    }
}

/// Owns a descriptor that a parent passed by its number; nobody else in this process may.
///
/// # Errors
/// `EBADF` if none is open there.
pub fn inherited(number: c_int) -> io::Result<OwnedFd> {
    sys::inherited(number)
}

fn random_mac(name: &str) -> Result<MacAddr, OpenError> {
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|error| OpenError::Io {
        name: name.to_owned(),
        source: io::Error::other(error),
    })?;
    Ok(MacAddr::local(random))
}
