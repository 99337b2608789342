//! Links over the host's tap and tun devices: a stack and the host's kernel on one wire.
//!
//! The plain device, one frame per system call, checksums complete. Offloads (`IFF_VNET_HDR`),
//! multi-queue and the set-up of the host's side are not there yet.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::BytesMut;
use libnet::link::{
    Link, LinkControl, LinkInfo, LinkQueue, LinkRx, LinkStats, LinkTx, Medium, Readiness, RxFilter,
};
use libnet::{Instant, InterfaceSpec, MacAddr, Packet};
use rustix::io::Errno;

mod fd;

/// Longest interface name, bytes: `IFNAMSIZ` less its terminator, `linux/if.h`.
const NAME_BYTES: usize = 15;
/// The largest frame that a device hands over: 64 KiB and a link header.
const FRAME_BYTES: usize = 65_549;

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name is empty, too long, or holds a character that no interface may have.
    #[error("`{0}` cannot be an interface's name: 1 to 15 bytes, no slash, no space")]
    Name(String),
    /// `/dev/net/tun` is not there.
    #[error("no /dev/net/tun: an administrator loads it with `modprobe tun`")]
    NoDevice,
    /// The device may not be opened, or made.
    #[error(
        "no permission to open `{0}`: an administrator makes it with \
         `ip tuntap add dev {0} mode tap user $USER` and allows /dev/net/tun to be opened"
    )]
    Permission(String),
    /// Another process has it open.
    #[error("`{0}` is in use by another process")]
    Busy(String),
    /// Anything else that the kernel said.
    #[error("cannot open `{name}`")]
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
            OpenError::Name(_) => io::ErrorKind::InvalidInput,
            OpenError::NoDevice => io::ErrorKind::NotFound,
            OpenError::Permission(_) => io::ErrorKind::PermissionDenied,
            OpenError::Busy(_) => io::ErrorKind::ResourceBusy,
            OpenError::Io { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// An open tap or tun device, to be a stack's link.
#[derive(Debug)]
pub struct Virtif {
    fd: Arc<OwnedFd>,
    name: String,
    medium: Medium,
    mac: MacAddr,
    mtu: u32,
}

impl Virtif {
    /// Opens the tap device `name`, making it if it is not there and we may. A `%d` in the name
    /// is replaced by the first free number.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_tap(name: &str) -> Result<Self, OpenError> {
        Self::open(name, tun_tap::Mode::Tap, Medium::Ethernet)
    }

    /// Opens the tun device `name`: bare IP packets, no Ethernet.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_tun(name: &str) -> Result<Self, OpenError> {
        Self::open(name, tun_tap::Mode::Tun, Medium::Ip)
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.name
    }

    /// Uses this address on the wire, not a random one.
    #[must_use]
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = mac;
        self
    }

    /// An interface over it with an address, as `10.0.0.1/24`.
    pub fn addr(self, cidr: &str) -> InterfaceSpec {
        InterfaceSpec::new(self).addr(cidr)
    }

    fn open(name: &str, mode: tun_tap::Mode, medium: Medium) -> Result<Self, OpenError> {
        let bad = |c: char| c == '/' || c.is_whitespace() || c == '\0';
        if name.is_empty() || name.len() > NAME_BYTES || name.contains(bad) {
            return Err(OpenError::Name(name.to_owned()));
        }
        let iface = tun_tap::Iface::without_packet_info(name, mode)
            .map_err(|error| explain(name, error))?;
        let failed = |source| OpenError::Io { name: name.to_owned(), source };
        iface.set_non_blocking().map_err(failed)?;
        let device = iface.name().to_owned();
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
        let mtu = std::fs::read_to_string(format!("/sys/class/net/{device}/mtu"));
        Ok(Virtif {
            fd: Arc::new(fd::take(iface)),
            name: device,
            medium,
            mac: MacAddr::local(random),
            // A device that was moved to another namespace is not listed in this one.
            mtu: mtu.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1_500),
        })
    }
}

fn explain(name: &str, error: io::Error) -> OpenError {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => OpenError::NoDevice,
        Some(Errno::PERM | Errno::ACCESS) => OpenError::Permission(name.to_owned()),
        Some(Errno::BUSY) => OpenError::Busy(name.to_owned()),
        _ => OpenError::Io { name: name.to_owned(), source: error },
    }
}

impl Link for Virtif {
    fn info(&self) -> LinkInfo {
        let kind = if self.medium == Medium::Ethernet { "tap" } else { "tun" };
        let mut info = LinkInfo::ethernet(kind, self.name.clone(), self.mac, self.mtu);
        info.medium = self.medium;
        info
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let rx = Receiver { fd: Arc::clone(&self.fd), buf: BytesMut::new() };
        let tx = Sender { fd: self.fd, flat: Vec::new() };
        Ok((vec![LinkQueue { rx: Box::new(rx), tx: Box::new(tx) }], Box::new(Control)))
    }
}

struct Receiver {
    fd: Arc<OwnedFd>,
    buf: BytesMut,
}

impl LinkRx for Receiver {
    fn recv(&mut self, now: Instant, budget: usize, sink: &mut Vec<Packet>) -> io::Result<usize> {
        for n in 0..budget {
            self.buf.resize(FRAME_BYTES, 0);
            match rustix::io::read(&self.fd, &mut self.buf[..]) {
                Ok(len) => {
                    // A frame keeps a buffer of its own size, not one of 64 KiB.
                    let frame = bytes::Bytes::copy_from_slice(&self.buf[..len]);
                    sink.push(Packet::received(frame, now));
                }
                Err(Errno::AGAIN) => return Ok(n),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(budget)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Descriptor(Arc::clone(&self.fd))
    }
}

struct Sender {
    fd: Arc<OwnedFd>,
    flat: Vec<u8>,
}

impl LinkTx for Sender {
    fn send(&mut self, _: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(packet) = queue.front() {
            self.flat.clear();
            packet.pieces().for_each(|piece| self.flat.extend_from_slice(piece));
            match rustix::io::write(&self.fd, &self.flat) {
                Ok(_) => sent += 1,
                Err(Errno::AGAIN | Errno::NOBUFS) => break,
                Err(Errno::INTR) => continue,
                // The device is down: frames are lost on it, as on a cable that is not plugged in.
                Err(Errno::IO | Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
            queue.pop_front();
        }
        Ok(sent)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Descriptor(Arc::clone(&self.fd))
    }
}

/// The kernel delivers every frame of the wire; there is nothing to filter.
struct Control;

impl LinkControl for Control {
    fn set_filter(&mut self, _: &RxFilter) -> io::Result<()> {
        Ok(())
    }

    fn stats(&self) -> LinkStats {
        LinkStats::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_told_from_missing_rights() {
        for name in ["", "a-name-of-16-byte", "a/b", "a b"] {
            assert!(matches!(Virtif::open_tap(name), Err(OpenError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn a_device_opens_and_does_not_block_where_we_may() {
        let tap = match Virtif::open_tap("rumptest%d") {
            Ok(tap) => tap,
            Err(error @ (OpenError::NoDevice | OpenError::Permission(_))) => {
                eprintln!("skipped: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        assert!(tap.device().starts_with("rumptest"));
        assert_eq!(tap.info().mtu, 1_500);
        let (mut queues, _) = Box::new(tap).start().unwrap();
        assert_eq!(queues[0].rx.recv(Instant::ZERO, 8, &mut Vec::new()).unwrap(), 0);
        let frame = Packet::from_payload(bytes::Bytes::from_static(&[0xff; 60]));
        // The host's side is down: the frame is taken and lost.
        assert_eq!(queues[0].tx.send(Instant::ZERO, &mut VecDeque::from([frame])).unwrap(), 0);
    }
}
