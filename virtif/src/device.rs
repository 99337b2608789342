//! Opens devices: names, flags, offloads, and what the kernel's refusals mean.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libnet::link::{MAX_FRAME_BYTES, Medium, Offload};
use nix::libc;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::vnet::SHORT_BYTES;
use crate::{host, sys};

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name is empty, too long, or holds a character that no interface may have.
    #[error("`{0}` cannot be an interface's name: 1 to 15 bytes, no slash, no colon, no space")]
    Name(String),
    /// `/dev/net/tun` is not there.
    #[error("no /dev/net/tun: an administrator loads it with `modprobe tun`")]
    NoDevice,
    /// `/dev/net/tun` may not be opened.
    #[error(
        "no permission to open /dev/net/tun: an administrator allows it with \
         `chmod 0666 /dev/net/tun`, as most distributions have it"
    )]
    Permission,
    /// The device is not ours, or not there and we may not make it.
    #[error(
        "no permission to use `{name}`: an administrator makes it with \
         `ip tuntap add dev {name} mode {mode} user $USER`"
    )]
    NotOurs {
        /// The device's name.
        name: String,
        /// `tap` or `tun`.
        mode: &'static str,
    },
    /// Another process has it open.
    #[error("`{0}` is in use by another process")]
    Busy(String),
    /// The name belongs to an interface that is not such a device.
    #[error("`{name}` is not a {mode} device: give it another name")]
    OtherKind {
        /// The interface's name.
        name: String,
        /// `tap` or `tun`.
        mode: &'static str,
    },
    /// More queues than the device was made with.
    #[error(
        "`{0}` has one queue only: use queues=1, or an administrator makes it anew with \
         `ip tuntap add dev {0} … multi_queue`"
    )]
    OneQueue(String),
    /// The descriptor is of a kind that keeps no frames apart.
    #[error("descriptor {number} is {what}: pass a tap, or one end of a datagram socket pair")]
    NotFrames {
        /// Its number.
        number: i32,
        /// What it is.
        what: &'static str,
    },
    /// Anything else that the kernel said.
    #[error("cannot open `{name}`: {source}")]
    Io {
        /// The device's name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> io::Error {
        let kind = match &error {
            OpenError::Name(_) | OpenError::OneQueue(_) => io::ErrorKind::InvalidInput,
            OpenError::NotFrames { .. } => io::ErrorKind::InvalidInput,
            OpenError::NoDevice => io::ErrorKind::NotFound,
            OpenError::Permission | OpenError::NotOurs { .. } => io::ErrorKind::PermissionDenied,
            OpenError::Busy(_) => io::ErrorKind::ResourceBusy,
            OpenError::OtherKind { .. } => io::ErrorKind::AlreadyExists,
            OpenError::Io { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// How a device is opened; kept, so that it can be opened again.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) medium: Medium,
    pub(crate) wants_offload: bool,
    pub(crate) wants_queues: bool,
}

/// One queue of an open device.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) fd: OwnedFd,
    pub(crate) name: String,
    /// Bytes of the virtio-net header in front of each frame; 0: none.
    pub(crate) header_bytes: usize,
    pub(crate) offload: Offload,
}

const TUN_F_CSUM: c_int = 0x01;
const TUN_F_TSO4: c_int = 0x02;
const TUN_F_TSO6: c_int = 0x04;
const TUN_F_TSO_ECN: c_int = 0x08;
const TUN_F_USO4: c_int = 0x20;
const TUN_F_USO6: c_int = 0x40;

const TSO: c_int = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
const USO: c_int = TUN_F_USO4 | TUN_F_USO6;

impl Recipe {
    /// Opens the device, making it if it is not there and we may.
    pub(crate) fn open(&self) -> Result<Opened, OpenError> {
        check_name(&self.name)?;
        let has_header = self.wants_offload && self.knows_header()?;
        if has_header || self.wants_queues {
            return self.open_queue(has_header);
        }
        match self.open_plain() {
            // One made with several queues must be asked for with them.
            Err(OpenError::OtherKind { .. }) => self.open_queue(false),
            opened => opened,
        }
    }

    /// `tap` or `tun`.
    pub(crate) fn mode(&self) -> &'static str {
        if self.medium == Medium::Ethernet { "tap" } else { "tun" }
    }

    /// One frame per call, and nothing in front of it.
    fn open_plain(&self) -> Result<Opened, OpenError> {
        let mode = match self.medium {
            Medium::Ethernet => tun_tap::Mode::Tap,
            _ => tun_tap::Mode::Tun,
        };
        let iface = tun_tap::Iface::without_packet_info(&self.name, mode)
            .map_err(|error| self.explain(error))?;
        let name = iface.name().to_owned();
        let fd = sys::take(iface);
        // What the last user of a persistent device agreed to would still be sent.
        let prepared = sys::set_offload(fd.as_fd(), 0)
            .and_then(|()| set_nonblocking(fd.as_fd()))
            .and_then(|()| Ok(rustix::io::fcntl_setfd(&fd, CLOEXEC)?));
        prepared.map_err(|source| OpenError::Io { name: name.clone(), source })?;
        Ok(Opened { fd, name, header_bytes: 0, offload: Offload::NONE })
    }

    /// Has this kernel virtio-net's header for taps?
    fn knows_header(&self) -> Result<bool, OpenError> {
        let fd = self.open_node()?;
        let known = sys::features(fd.as_fd()).unwrap_or(0) & libc::IFF_VNET_HDR as u32 != 0;
        if !known {
            tracing::warn!(device = %self.name, "this kernel has no offloads for taps: each frame goes by itself");
        }
        Ok(known)
    }

    fn open_node(&self) -> Result<OwnedFd, OpenError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::open("/dev/net/tun", flags, Mode::empty())
            .map_err(|error| self.explain(error.into()))
    }

    /// One queue of maybe several, with virtio-net's header in front of frames or without.
    fn open_queue(&self, has_header: bool) -> Result<Opened, OpenError> {
        let fd = self.open_node()?;
        let name = self.attach(fd.as_fd(), has_header)?;
        let failed = |source| OpenError::Io { name: name.clone(), source };
        let offload = if has_header {
            agree_on_offload(fd.as_fd()).map_err(failed)?
        } else {
            // What the last user of a persistent device agreed to would still be sent.
            sys::set_offload(fd.as_fd(), 0).map_err(failed)?;
            Offload::NONE
        };
        let header_bytes = if has_header { SHORT_BYTES } else { 0 };
        Ok(Opened { fd, name, header_bytes, offload })
    }

    /// Attaches a queue. A device that was made beforehand must be asked for with the queues that
    /// it has, so the other way is tried too.
    fn attach(&self, fd: BorrowedFd<'_>, has_header: bool) -> Result<String, OpenError> {
        let mode = if self.medium == Medium::Ethernet { libc::IFF_TAP } else { libc::IFF_TUN };
        let header = if has_header { libc::IFF_VNET_HDR } else { 0 };
        let flags = mode | libc::IFF_NO_PI | header;
        let (first, second) = match self.wants_queues {
            true => (flags | libc::IFF_MULTI_QUEUE, None),
            false => (flags, Some(flags | libc::IFF_MULTI_QUEUE)),
        };
        let mut attached = sys::set_iff(fd, &self.name, first);
        if let Err(error) = &attached
            && let Some(second) = second
            && error.raw_os_error() == Some(libc::EINVAL)
        {
            attached = sys::set_iff(fd, &self.name, second);
        }
        attached.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: io::Error) -> OpenError {
        let (name, mode) = (self.name.clone(), self.mode());
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => OpenError::NoDevice,
            Some(Errno::ACCESS) => OpenError::Permission,
            // The device node's own mode says so too, with EPERM on some systems.
            Some(Errno::PERM) if !may_open() => OpenError::Permission,
            Some(Errno::PERM) => OpenError::NotOurs { name, mode },
            Some(Errno::BUSY) => OpenError::Busy(name),
            Some(Errno::INVAL) if self.wants_queues && host::is_tap_or_tun(&name) => {
                OpenError::OneQueue(name)
            }
            Some(Errno::INVAL | Errno::EXIST) => OpenError::OtherKind { name, mode },
            _ => OpenError::Io { name, source: error },
        }
    }
}

/// May `/dev/net/tun` be opened?
fn may_open() -> bool {
    rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

fn check_name(name: &str) -> Result<(), OpenError> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let dots = name == "." || name == "..";
    if name.is_empty() || name.len() > sys::NAME_BYTES || name.contains(bad) || dots {
        return Err(OpenError::Name(name.to_owned()));
    }
    Ok(())
}

/// What a tap that has virtio-net's header takes whole both ways: all that this kernel knows.
pub(crate) fn agree_on_offload(fd: BorrowedFd<'_>) -> io::Result<Offload> {
    sys::set_vnet_header_bytes(fd, SHORT_BYTES as c_int)?;
    let mut offload = Offload::NONE;
    // A frame that its sender did not checksum is taken with the header alone.
    offload.partial_checksum = true;
    offload.tcp_segmentation = true;
    offload.max_frame_bytes = MAX_FRAME_BYTES as u32;
    for flags in [TSO | USO, TSO, TUN_F_CSUM, 0] {
        match sys::set_offload(fd, flags) {
            Ok(()) => {
                offload.udp_segmentation = flags & USO == USO;
                return Ok(offload);
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(offload)
}

/// Looks at a descriptor that somebody passed: is it a tap, of which mode and with which header?
pub(crate) fn inspect(fd: BorrowedFd<'_>) -> Result<Passed, OpenError> {
    let number = fd.as_raw_fd();
    let not_frames = |what| OpenError::NotFrames { number, what };
    if let Ok((name, flags)) = sys::get_iff(fd) {
        let medium = if flags & libc::IFF_TAP != 0 { Medium::Ethernet } else { Medium::Ip };
        if flags & libc::IFF_NO_PI == 0 {
            return Err(not_frames("a tap with a protocol word before each frame (no IFF_NO_PI)"));
        }
        return Ok(Passed::Device { name, medium, header: flags & libc::IFF_VNET_HDR != 0 });
    }
    match rustix::net::sockopt::socket_type(fd) {
        Ok(rustix::net::SocketType::DGRAM | rustix::net::SocketType::SEQPACKET) => {
            Ok(Passed::Datagrams)
        }
        Ok(_) => Err(not_frames("a stream, which keeps no frames apart")),
        Err(_) => Err(not_frames("neither a tap nor a socket")),
    }
}

/// What a descriptor turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Passed {
    Device { name: String, medium: Medium, header: bool },
    Datagrams,
}

const CLOEXEC: rustix::io::FdFlags = rustix::io::FdFlags::CLOEXEC;

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}
