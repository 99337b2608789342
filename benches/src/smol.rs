//! smoltcp over a tap, plain or with virtio-net's header and TCP segmentation: a peer of ours.

use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant as StdInstant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken,
    SegmentationCapabilities, TxToken,
};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use virtif::{Offloads, Virtif, VirtifConfig};

const MTU: usize = 1_500;
const ETHERNET_BYTES: usize = 14;
const VNET_BYTES: usize = 10;
const FRAME_BYTES: usize = 65_549;
/// Of the sizes tried (64 KiB to 4 MiB) the fastest over a tap.
const BUFFER_BYTES: usize = 1 << 20;

/// A stack with one socket.
pub struct Smol {
    tap: Tap,
    iface: Interface,
    sockets: SocketSet<'static>,
    socket: smoltcp::iface::SocketHandle,
    started: StdInstant,
}

struct Tap {
    fd: OwnedFd,
    has_header: bool,
    buf: Vec<u8>,
}

impl Smol {
    /// Opens the tap `name` and takes `addr`/24.
    ///
    /// # Errors
    /// As opening the device gives them.
    pub fn open(name: &str, addr: Ipv4Addr, offloads: Offloads) -> io::Result<Self> {
        let mut config = VirtifConfig::default();
        config.offloads = offloads;
        let tap = Virtif::open_with(name, &config)?;
        let has_header = tap.offload().tcp_segmentation;
        let mut tap =
            Tap { fd: tap.into_fd()?, has_header, buf: vec![0; VNET_BYTES + FRAME_BYTES] };
        let mac = EthernetAddress([2, 0, 0, 0, 0, 0x51]);
        let mut config = Config::new(mac.into());
        config.random_seed = u64::from(std::process::id());
        let mut iface = Interface::new(config, &mut tap, Instant::ZERO);
        iface.update_ip_addrs(|addrs| {
            let cidr = IpCidr::new(IpAddress::from(std::net::IpAddr::V4(addr)), 24);
            addrs.push(cidr).expect("there is room for one");
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(vec![]);
        let socket = sockets.add(socket);
        Ok(Smol { tap, iface, sockets, socket, started: StdInstant::now() })
    }

    /// Takes a connection to `port` and reads it to its end; `look` sees every byte.
    ///
    /// # Errors
    /// As the device's calls give them.
    pub fn receive(
        &mut self,
        port: u16,
        mut on_first: impl FnMut(),
        mut look: impl FnMut(&[u8]),
    ) -> io::Result<u64> {
        self.socket().listen(port).map_err(|error| io::Error::other(error.to_string()))?;
        let (mut count, mut copy, mut begun) = (0, vec![0; 128 << 10], false);
        loop {
            self.poll();
            while self.socket().can_recv() {
                if !std::mem::replace(&mut begun, true) {
                    on_first();
                }
                let n = self.socket().recv_slice(&mut copy).unwrap_or(0);
                look(&copy[..n]);
                count += n as u64;
            }
            if begun && !self.socket().may_recv() {
                self.socket().close();
                self.poll();
                return Ok(count);
            }
            self.wait()?;
        }
    }

    /// Connects, and sends for as long as `duration` says; bytes taken.
    ///
    /// # Errors
    /// As the device's calls give them.
    pub fn send(
        &mut self,
        to: std::net::SocketAddrV4,
        data: &[u8],
        duration: Duration,
    ) -> io::Result<u64> {
        let remote = (IpAddress::from(std::net::IpAddr::V4(*to.ip())), to.port());
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        let local = 49_152 + (std::process::id() % 16_000) as u16;
        socket
            .connect(self.iface.context(), remote, local)
            .map_err(|error| io::Error::other(error.to_string()))?;
        while !self.socket().may_send() {
            self.poll();
            self.wait()?;
        }
        let (start, mut count) = (StdInstant::now(), 0);
        while start.elapsed() < duration {
            self.poll();
            if self.socket().can_send() {
                count += self.socket().send_slice(data).unwrap_or(0) as u64;
            } else {
                self.wait()?;
            }
        }
        self.socket().close();
        while self.socket().is_active() && start.elapsed() < duration + Duration::from_secs(10) {
            self.poll();
            self.wait()?;
        }
        Ok(count)
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    fn poll(&mut self) {
        let now = self.now();
        self.iface.poll(now, &mut self.tap, &mut self.sockets);
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = self.now();
        let delay = self.iface.poll_delay(now, &self.sockets);
        let micros = delay.map_or(100_000, |delay| delay.total_micros().min(100_000));
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::try_from(micros * 1_000).unwrap_or(0) };
        match poll(&mut [PollFd::new(&self.tap.fd, PollFlags::IN)], Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl std::fmt::Debug for Smol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smol").field("has_header", &self.tap.has_header).finish_non_exhaustive()
    }
}

impl Device for Tap {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let header = if self.has_header { VNET_BYTES } else { 0 };
        let n = rustix::io::read(&self.fd, &mut self.buf[..]).ok()?;
        let frame = self.buf.get(header..n)?;
        Some((Rx(frame), Tx { fd: &self.fd, has_header: self.has_header, segment_bytes: 0 }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx { fd: &self.fd, has_header: self.has_header, segment_bytes: 0 })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU + ETHERNET_BYTES;
        if self.has_header {
            let mut checksum = ChecksumCapabilities::default();
            checksum.tcp = Checksum::None;
            capabilities.checksum = checksum;
            let mut segmentation = SegmentationCapabilities::default();
            segmentation.tcpv4 = NonZeroUsize::new(FRAME_BYTES);
            capabilities.segmentation = segmentation;
        }
        capabilities
    }
}

struct Rx<'a>(&'a [u8]);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Tx<'a> {
    fd: &'a OwnedFd,
    has_header: bool,
    segment_bytes: u16,
}

impl TxToken for Tx<'_> {
    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment_bytes = meta.segmentation_offload_size.map_or(0, |size| size.get());
    }

    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let header = if self.has_header { VNET_BYTES } else { 0 };
        thread_local!(static BUF: std::cell::RefCell<Vec<u8>> =
            std::cell::RefCell::new(vec![0; VNET_BYTES + FRAME_BYTES]));
        BUF.with_borrow_mut(|buf| {
            let whole = &mut buf[..header + len];
            let done = f(&mut whole[header..]);
            if self.has_header {
                describe(whole, self.segment_bytes);
            }
            // A full device loses it, as smoltcp's own tap does.
            let _ = rustix::io::write(self.fd, whole);
            done
        })
    }
}

/// Fills in virtio-net's header, and TCP's sum of the pseudo header, which the kernel goes on from.
fn describe(whole: &mut [u8], segment_bytes: u16) {
    let (header, frame) = whole.split_at_mut(VNET_BYTES);
    header.fill(0);
    let ip = ETHERNET_BYTES;
    if frame.len() < ip + 40 || frame[12..14] != [8, 0] || frame[ip + 9] != 6 {
        return;
    }
    let transport = ip + usize::from(frame[ip] & 15) * 4;
    let tcp_bytes = frame.len() - transport;
    let mut sum = 6 + tcp_bytes as u32;
    for word in frame[ip + 12..ip + 20].chunks_exact(2) {
        sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[transport + 16..transport + 18].copy_from_slice(&(sum as u16).to_be_bytes());
    let headers = transport + usize::from(frame[transport + 12] >> 4) * 4;
    header[0] = 1;
    header[6..8].copy_from_slice(&(transport as u16).to_ne_bytes());
    header[8..10].copy_from_slice(&16_u16.to_ne_bytes());
    if segment_bytes > 0 && frame.len() - headers > usize::from(segment_bytes) {
        header[1] = 1;
        header[2..4].copy_from_slice(&(headers as u16).to_ne_bytes());
        header[4..6].copy_from_slice(&segment_bytes.to_ne_bytes());
    }
}
