//! One queue of a device: reads and writes frames, and opens the device again when it was gone.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Buf as _;
use libnet::Instant;
use libnet::landing::{LEAST_BYTES, Landing};
use libnet::link::{
    LinkControl, LinkRx, LinkStats, LinkTx, MAX_FRAME_BYTES, Medium, Readiness, RxFilter,
};
use libnet::packet::{Checksum, Packet};
use libnet::pool::Pool;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::big::Joined;
use crate::device::Recipe;
use crate::local::Local;
use crate::sys;
use crate::vnet::{self, LONG_BYTES};

/// How often a device that is gone is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Frames up to this size leave the buffer that they were read into for one of their own size.
const COPIED_BYTES: usize = 32 * 1024;
/// What one call reads at most, but for its last frame: the next of its readers finds it in a cache.
const BATCH_BYTES: usize = 256 * 1024;
/// Buffers that were not needed for so long are freed.
const SHRINK_AFTER: Duration = Duration::from_secs(1);
/// The pieces of frames up to this size are copied together: cheaper than to have the kernel take pieces apart.
const FLAT_BYTES: usize = 256;
/// After so many frames in a row whose data would not land it is not tried.
const MAX_OTHERS: u8 = 4;
/// Pieces of a frame that one call takes; more are copied together first. `IOV_MAX` is 1,024.
const MAX_PIECES: usize = 64;

/// Figures of all queues of a device.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    rx_malformed: AtomicU64,
    tx_refused: AtomicU64,
    tx_waits: AtomicU64,
}

/// What the halves of a queue share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its number stays the same whatever it stands for: the device, or a timer while that is gone.
    fd: Arc<OwnedFd>,
    name: String,
    medium: Medium,
    header_bytes: usize,
    /// How to open it again; `None`: it was passed to us.
    recipe: Option<Recipe>,
    counters: Arc<Counters>,
    is_lost: AtomicBool,
    /// It was passed to us, and its other end is closed: nobody can open it again.
    has_ended: AtomicBool,
    /// Why it cannot be opened again was said.
    told_why: AtomicBool,
    /// Held while `fd` changes what it stands for.
    changing: Mutex<()>,
    /// The host's side is down, and that was said.
    is_down: AtomicBool,
}

impl Endpoint {
    pub(crate) fn new(
        fd: OwnedFd,
        name: String,
        medium: Medium,
        header_bytes: usize,
        recipe: Option<Recipe>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Endpoint {
            fd: Arc::new(fd),
            name,
            medium,
            header_bytes,
            recipe,
            counters,
            is_lost: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            told_why: AtomicBool::new(false),
            changing: Mutex::new(()),
            is_down: AtomicBool::new(false),
        })
    }

    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(&*self.fd, 0)?)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Descriptor(Arc::clone(&self.fd))
    }

    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// The device was taken away: from now on a timer wakes whoever sleeps on the descriptor.
    fn lose(&self, error: Errno) -> io::Error {
        if self.recipe.is_none() {
            self.has_ended.store(true, Ordering::Release);
            tracing::debug!(device = %self.name, error = %io::Error::from(error), "ended");
            return self.ended();
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_lost() {
            match timer().and_then(|timer| sys::replace(&self.fd, timer)) {
                Ok(()) => self.is_lost.store(true, Ordering::Release),
                Err(error) => return error,
            }
        }
        self.gone()
    }

    /// Did a passed descriptor end?
    fn check(&self) -> io::Result<()> {
        if self.has_ended.load(Ordering::Acquire) { Err(self.ended()) } else { Ok(()) }
    }

    fn ended(&self) -> io::Error {
        let text = format!("the other end of {} is closed", self.name);
        io::Error::new(io::ErrorKind::NotConnected, text)
    }

    fn gone(&self) -> io::Error {
        let text = format!("{} is gone; it is used again when it is back", self.name);
        io::Error::new(io::ErrorKind::NetworkDown, text)
    }

    /// Opens a lost device again if it is back, at most once a tick.
    fn look_again(&self) -> io::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_lost() {
            return Ok(());
        }
        let Some(recipe) = &self.recipe else { return Err(self.gone()) };
        if rustix::io::read(&*self.fd, &mut [0; 8]).is_err() {
            return Err(self.gone());
        }
        // Not made anew: whoever removed it may have had a reason.
        if nix::net::if_::if_nametoindex(recipe.name.as_str()).is_err() {
            return Err(self.gone());
        }
        let opened = recipe.open().map_err(|error| {
            if !self.told_why.swap(true, Ordering::Relaxed) {
                tracing::warn!(device = %self.name, %error, "it is back, but cannot be used");
            }
            self.gone()
        })?;
        if opened.header_bytes != self.header_bytes {
            return Err(self.gone());
        }
        sys::replace(&self.fd, opened.fd)?;
        self.told_why.store(false, Ordering::Relaxed);
        self.is_lost.store(false, Ordering::Release);
        Ok(())
    }

    /// Says once per outage that the host's side is down.
    fn note_down(&self) {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(device = %self.name, "the host's side is down: `ip link set {} up`", self.name);
        }
    }
}

/// Fires every [`LOOK_AGAIN`].
fn timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_AGAIN.subsec_nanos()) };
    let every = Itimerspec { it_interval: tick, it_value: tick };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
    Ok(timer)
}

/// Does the error say that the device is not there any more?
fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::BADFD | Errno::NODEV | Errno::NXIO)
}

/// Is the other end of a socket pair closed?
fn has_hung_up(fd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(fd, PollFlags::RDHUP)];
    let gone = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(gone)
}

/// The receiving half.
pub(crate) struct Receiver {
    end: Arc<Endpoint>,
    pool: Pool,
    /// The buffer for the next frame, empty.
    buf: Vec<u8>,
    /// Frames that the next call asks for. A call that finds none costs as much as one that does,
    /// so that after a batch of one only one is asked for.
    expected: usize,
    /// When buffers that nobody needed are given back.
    next_shrink: Instant,
    /// The front of a frame whose data go elsewhere.
    front: Vec<u8>,
    /// What of a frame is longer than the place that its data went to.
    excess: Vec<u8>,
    /// Bytes of the last frame that would have been worth it to let its data land.
    last_large: usize,
    /// Frames since then that would not.
    others: u8,
}

impl Receiver {
    pub(crate) fn new(end: Arc<Endpoint>) -> Self {
        Receiver {
            end,
            pool: Pool::default(),
            buf: Vec::new(),
            expected: 1,
            next_shrink: Instant::ZERO,
            front: Vec::new(),
            excess: Vec::new(),
            last_large: 0,
            others: 0,
        }
    }

    /// Makes `buf` ready for the next frame.
    fn empty_buf(&mut self) {
        if self.buf.capacity() == 0 {
            self.buf = self.pool.take(MAX_FRAME_BYTES + LONG_BYTES);
        }
        self.buf.clear();
    }

    /// Reads a frame into `buf`.
    fn read(&mut self) -> Result<usize, Errno> {
        self.empty_buf();
        rustix::io::read(&*self.end.fd, rustix::buffer::spare_capacity(&mut self.buf))
    }

    /// Reads a frame, its data where a caller wants them if it is the one that is expected, else into
    /// `buf` whole.
    fn read_landing(
        &mut self,
        now: Instant,
        landing: &mut Landing<'_>,
    ) -> Result<(usize, Option<Packet>), Errno> {
        let medium = self.end.medium;
        let front_bytes = self.end.header_bytes + landing.header_bytes(medium);
        self.front.resize(front_bytes, 0);
        self.excess.resize(MAX_FRAME_BYTES, 0);
        let room = landing.room();
        let room_bytes = room.len();
        let mut places = [&mut self.front[..], room, &mut self.excess[..]].map(IoSliceMut::new);
        let bytes = rustix::io::readv(&*self.end.fd, &mut places)?;
        let data = bytes.saturating_sub(front_bytes);
        let headers = &self.front[self.end.header_bytes..];
        if data <= room_bytes
            && landing.wants(data)
            && let Ok(meta) = vnet::decode(&self.front, bytes - self.end.header_bytes)
            && landing.expects(headers, medium, meta.checksum)
        {
            let mut packet = landing.land(headers, data, now);
            (packet.checksum, packet.gso) = (meta.checksum, meta.gso);
            return Ok((bytes, Some(packet)));
        }
        self.empty_buf();
        let mut left = bytes;
        for place in [&self.front[..], landing.room(), &self.excess[..]] {
            let here = &place[..left.min(place.len())];
            self.buf.extend_from_slice(here);
            left -= here.len();
        }
        Ok((bytes, None))
    }

    /// Is the next frame to be read into a caller's memory? If it is another than was expected that costs a
    /// copy more.
    fn may_land(&self, landing: &Landing<'_>) -> bool {
        let is_likely = self.others < MAX_OTHERS && self.last_large > 0;
        is_likely && self.end.header_bytes > 0 && landing.room_bytes() >= self.last_large
    }

    /// Notes what frames look like.
    fn note(&mut self, packet: &Packet) {
        if packet.len() >= LEAST_BYTES && packet.checksum != Checksum::Unverified {
            (self.last_large, self.others) = (packet.len(), 0);
        } else if packet.len() > FLAT_BYTES {
            self.others = self.others.saturating_add(1);
        }
    }

    /// What was read becomes a packet, if its header can be true.
    fn accept(&mut self, now: Instant) -> Option<Packet> {
        let header_bytes = self.end.header_bytes;
        let frame_bytes = self.buf.len().checked_sub(header_bytes).filter(|bytes| *bytes > 0)?;
        let meta = match header_bytes {
            0 => None,
            _ => Some(vnet::decode(&self.buf, frame_bytes).ok()?),
        };
        let small = Packet::received_small(&self.buf[header_bytes..], now);
        let mut packet = small.unwrap_or_else(|| self.received(header_bytes, now));
        if let Some(meta) = meta {
            packet.checksum = meta.checksum;
            packet.gso = meta.gso;
        }
        Some(packet)
    }

    /// The frame behind the header in a buffer of its own.
    fn received(&mut self, header_bytes: usize, now: Instant) -> Packet {
        let frame = if self.buf.len() > COPIED_BYTES {
            let mut whole = self.pool.share(std::mem::take(&mut self.buf));
            whole.advance(header_bytes);
            whole
        } else {
            // A small frame must not keep a buffer of 64 KiB.
            let mut own = self.pool.take(self.buf.len() - header_bytes);
            own.extend_from_slice(&self.buf[header_bytes..]);
            self.buf.clear();
            self.pool.share(own)
        };
        Packet::received(frame, now)
    }
}

impl LinkRx for Receiver {
    fn recv(
        &mut self,
        now: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        mut landing: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        self.end.check()?;
        if self.end.is_lost() {
            self.end.look_again()?;
        }
        let (mut taken, mut bytes) = (0, 0);
        let asked = budget.min(self.expected);
        let mut is_drained = false;
        for _ in 0..budget {
            if taken == asked || bytes >= BATCH_BYTES {
                break;
            }
            let read = match &mut landing {
                Some(landing) if self.may_land(landing) => self.read_landing(now, landing),
                // The caller has what it has room for, and takes it first.
                Some(landing) if landing.has_landed() => break,
                _ => self.read().map(|bytes| (bytes, None)),
            };
            match read {
                // A pair whose other end was closed; without that it is a frame of no bytes.
                Ok((0, _)) if has_hung_up(&self.end.fd) => return Err(self.end.lose(Errno::PIPE)),
                Ok((_, packet)) => match packet.or_else(|| self.accept(now)) {
                    Some(packet) => {
                        self.note(&packet);
                        bytes += packet.len();
                        sink.push(packet);
                        taken += 1;
                    }
                    None => drop(self.end.counters.rx_malformed.fetch_add(1, Ordering::Relaxed)),
                },
                Err(Errno::AGAIN) => {
                    is_drained = true;
                    break;
                }
                Err(Errno::INTR) => {}
                Err(error) if is_gone(error) && taken == 0 => return Err(self.end.lose(error)),
                // What came before is delivered first; the next call meets the error again. Others
                // pass: a frame that the kernel could not give us.
                Err(error) if is_gone(error) => break,
                Err(_) => {
                    self.end.counters.rx_malformed.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
        self.expected = if is_drained { taken.max(1) } else { asked.saturating_mul(2) };
        if taken == 0 && now >= self.next_shrink {
            self.pool.shrink();
            self.next_shrink = now + SHRINK_AFTER;
        }
        Ok(taken)
    }

    fn readiness(&self) -> Readiness {
        self.end.readiness()
    }
}

/// The sending half.
pub(crate) struct Sender {
    end: Arc<Endpoint>,
    /// Who takes frames longer than 64 KiB; `None`: nobody.
    local: Option<Local>,
    /// The pieces of a small frame, one behind the other.
    flat: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(end: Arc<Endpoint>, local: Option<Local>) -> Self {
        Sender { end, local, flat: Vec::new() }
    }

    fn write(&mut self, packet: &Packet) -> Result<(), Errno> {
        let header = vnet::encode(packet, self.end.medium);
        if packet.len() <= FLAT_BYTES {
            return self.write_flat(&header, packet);
        }
        let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
        pieces[0] = IoSlice::new(&header[..self.end.header_bytes]);
        let mut count = 1;
        for piece in packet.pieces() {
            if count == MAX_PIECES {
                return self.write_flat(&header, packet);
            }
            pieces[count] = IoSlice::new(piece);
            count += 1;
        }
        let from = usize::from(self.end.header_bytes == 0);
        rustix::io::writev(&*self.end.fd, &pieces[from..count]).map(drop)
    }

    /// What of the queue's front the host takes as one frame.
    fn join(&mut self, queue: &VecDeque<Packet>, now: Instant) -> Option<Joined> {
        let local = self.local.as_mut()?;
        let joined = Joined::of(queue, self.end.medium, |dst| local.takes_long(dst, now))?;
        // Of many small writes, packet by packet: more pieces than a call takes.
        Some(joined).filter(|joined| 2 + joined.data(queue).count() <= MAX_PIECES)
    }

    /// Several packets as one frame.
    fn write_big(&self, joined: &Joined, queue: &VecDeque<Packet>) -> Result<(), Errno> {
        let header = vnet::encode_joined(joined);
        let mut pieces = Vec::with_capacity(2 + 2 * joined.count());
        pieces.push(IoSlice::new(&header[..self.end.header_bytes]));
        pieces.push(IoSlice::new(joined.headers()));
        pieces.extend(joined.data(queue).map(IoSlice::new));
        rustix::io::writev(&*self.end.fd, &pieces).map(drop)
    }

    fn write_flat(&mut self, header: &[u8], packet: &Packet) -> Result<(), Errno> {
        self.flat.clear();
        self.flat.extend_from_slice(&header[..self.end.header_bytes]);
        packet.pieces().for_each(|piece| self.flat.extend_from_slice(piece));
        rustix::io::write(&*self.end.fd, &self.flat).map(drop)
    }
}

impl LinkTx for Sender {
    fn send(&mut self, now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        self.end.check()?;
        if self.end.is_lost() {
            return Err(self.end.gone());
        }
        let mut sent = 0;
        while let Some(packet) = queue.front() {
            let joined = self.join(queue, now);
            let count = joined.as_ref().map_or(1, Joined::count);
            let written = match joined {
                None => self.write(packet),
                Some(joined) => self.write_big(&joined, queue),
            };
            match written {
                Ok(()) => {
                    sent += count;
                    if self.end.is_down.load(Ordering::Relaxed) {
                        self.end.is_down.store(false, Ordering::Relaxed);
                    }
                }
                Err(Errno::AGAIN) => {
                    self.end.counters.tx_waits.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(Errno::INTR) => continue,
                Err(error) if is_gone(error) => return Err(self.end.lose(error)),
                Err(
                    error @ (Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN),
                ) => return Err(self.end.lose(error)),
                // Lost on the device, as on a cable that is not plugged in.
                Err(error) => {
                    self.end.counters.tx_refused.fetch_add(1, Ordering::Relaxed);
                    if error == Errno::IO {
                        self.end.note_down();
                    }
                }
            }
            queue.drain(..count);
        }
        Ok(sent)
    }

    fn readiness(&self) -> Readiness {
        self.end.readiness()
    }
}

/// The kernel delivers every frame of the wire; there is nothing to filter.
pub(crate) struct Control(pub(crate) Arc<Counters>);

impl LinkControl for Control {
    fn set_filter(&mut self, _: &RxFilter) -> io::Result<()> {
        Ok(())
    }

    fn stats(&self) -> LinkStats {
        let mut stats = LinkStats::default();
        stats.rx_malformed = self.0.rx_malformed.load(Ordering::Relaxed);
        stats.tx_refused = self.0.tx_refused.load(Ordering::Relaxed);
        stats.tx_waits = self.0.tx_waits.load(Ordering::Relaxed);
        stats
    }
}
