//! Frames of one's own on a stack's interface, and those that come there: what a packet socket is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use libnet::capture::wire::whole_frame;
use libnet::capture::{CaptureTap, Direction};
use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::{Instant, Packet};
use rumpnet::Inet;

use crate::fail::Failure;
use crate::host;

/// Frames that wait to be looked at, at most; what is more is lost.
const MAX_FRAMES: usize = 256;

/// An Ethernet interface whose received frames are looked at.
pub(crate) struct Watched {
    inet: Arc<Inet>,
    index: IfIndex,
    tap: Arc<dyn CaptureTap>,
    frames: Receiver<(Instant, Bytes)>,
}

struct Tap {
    frames: Sender<(Instant, Bytes)>,
    /// Is the frame worth a look?
    wanted: fn(&[u8]) -> bool,
}

impl CaptureTap for Tap {
    fn frame(&self, at: Instant, direction: Direction, packet: &Packet) {
        let mut head = [0; 64];
        let n = packet.copy_to(0, &mut head);
        if direction == Direction::In && (self.wanted)(&head[..n]) {
            // One that does not fit is lost, as it might have been on the way.
            let _ = self.frames.try_send((at, whole_frame(packet, Medium::Ethernet)));
        }
    }
}

impl Watched {
    /// Looks at the frames that `wanted` is true for, of which it sees the first 64 bytes.
    ///
    /// # Errors
    /// An interface without Ethernet.
    pub(crate) fn open(
        inet: &Arc<Inet>,
        index: IfIndex,
        wanted: fn(&[u8]) -> bool,
    ) -> Result<Self, Failure> {
        let iface = inet.engine().interface(index);
        let Some(iface) = iface.filter(|iface| iface.link.medium == Medium::Ethernet) else {
            let name = crate::inside::name_of(inet, index);
            return Err(Failure::usage(format!("interface {name} is not Ethernet: see -I")));
        };
        let (sender, frames) = bounded(MAX_FRAMES);
        let tap: Arc<dyn CaptureTap> = Arc::new(Tap { frames: sender, wanted });
        if let Some(taps) = inet.engine().taps(iface.index) {
            taps.add(Arc::clone(&tap));
        }
        Ok(Watched { inet: Arc::clone(inet), index, tap, frames })
    }

    /// Our address on the link.
    pub(crate) fn mac(&self) -> MacAddr {
        self.inet.engine().interface(self.index).map_or(MacAddr::ZERO, |iface| iface.mac())
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The interface is down.
    pub(crate) fn send(&self, frame: Vec<u8>) -> Result<(), Failure> {
        let sent = self.inet.transmit(self.index, Packet::from_payload(frame.into()));
        sent.map_err(|error| Failure::usage(format!("cannot send: {}", host::plain(&error))))
    }

    /// The next frame, waiting at most `patience`.
    pub(crate) fn receive(&self, patience: Duration) -> Option<(Instant, Bytes)> {
        self.frames.recv_timeout(patience).ok()
    }

    /// The time on the stack's clock.
    pub(crate) fn now(&self) -> Instant {
        self.inet.engine().driver().now()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(taps) = self.inet.engine().taps(self.index) {
            taps.remove(&self.tap);
        }
    }
}

/// The Ethernet interface that is meant by name, else the one that leads to `dst`.
///
/// # Errors
/// None such.
pub(crate) fn interface(inet: &Inet, name: Option<&str>, dst: IpAddr) -> Result<IfIndex, Failure> {
    if let Some(name) = name {
        let none = || Failure::usage(format!("Interface \"{name}\" is not known here"));
        return crate::inside::index_of(inet, name).ok_or_else(none);
    }
    if let Ok(path) = inet.path_to(dst, None, None)
        && path.iface != IfIndex::LOOPBACK
    {
        return Ok(path.iface);
    }
    let ethernet = |iface: &&Arc<libnet::Interface>| iface.link.medium == Medium::Ethernet;
    let first = inet.engine().interfaces().find(ethernet).map(|iface| iface.index);
    first.ok_or_else(|| {
        Failure::usage("there is no Ethernet interface: add --if shmif:BUS,addr=ADDRESS/BITS")
    })
}

/// The interface's address for sending to `dst`: of its network if there is one, else its first.
pub(crate) fn source(inet: &Inet, index: IfIndex, dst: IpAddr) -> Option<IpAddr> {
    let config = inet.engine().interface(index)?.config();
    let of_family = || config.addrs.iter().filter(|cidr| cidr.addr().is_ipv4() == dst.is_ipv4());
    let near = of_family().find(|cidr| cidr.contains(dst));
    near.or(of_family().next()).map(|cidr| cidr.addr())
}
