//! Looking on: reads every ring without anybody noticing.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use libnet::ethernet::MacAddr;
use libnet::packet::Packet;
use libnet::time::Instant;

use crate::bus::Bus;
use crate::error::AttachError;
use crate::file::{Access, BusFile, boot_id, monotonic_ns, u64_at};
use crate::frame::FrameHeader;
use crate::layout::header;
use crate::pos::{Epoch, Pos};
use crate::ring::{Seen, Window, look, take};
use crate::slot::SlotView;

/// A frame that an observer saw.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Captured {
    /// When it was sent, on CLOCK_MONOTONIC of the boot it was sent in.
    pub at: Instant,
    /// The same on CLOCK_REALTIME, as far as the clock was not set since the bus was made.
    pub wall: SystemTime,
    /// The slot of its sender.
    pub slot: u16,
    /// The name of its sender, or of who has the slot now if the sender is gone.
    pub sender: String,
    /// The address of that member; a bridge sends under others too.
    pub mac: MacAddr,
    /// The frame, with checksum and segment metadata as its sender gave them. They are hints,
    /// whose bounds were checked.
    pub packet: Packet,
}

/// Reads all frames of a bus, without joining it: needs to read the file only, costs nobody a
/// wake-up, and never holds anybody up. What is overwritten before it looks is missed and counted.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut observer = shmif::Observer::open("my.bus")?;
/// let mut frames = Vec::new();
/// while observer.poll(&mut frames)? > 0 {}   // what the file still holds
/// loop {
///     observer.wait(&mut frames, std::time::Duration::from_secs(1))?;
///     for frame in frames.drain(..) {
///         println!("{:?} {} {} bytes", frame.at, frame.sender, frame.packet.len());
///     }
/// }
/// # }
/// ```
pub struct Observer {
    bus: Bus,
    /// By slot.
    places: Vec<Place>,
    missed: u64,
    malformed: u64,
    /// Nanoseconds to add to a monotonic time to have a real one.
    wall_offset_ns: i128,
    /// The last sleep between two looks.
    pause: Duration,
}

/// Where we are in one ring.
#[derive(Clone, Default)]
struct Place {
    /// `None`: not looked at yet, all that stands is new.
    next: Option<Pos>,
    /// The number that the next frame of this epoch should have.
    expected: Option<(Epoch, u64)>,
    /// Whose name the following two are.
    epoch: Option<Epoch>,
    name: String,
    mac: MacAddr,
}

/// Sleeps between two looks at a bus where nothing happens grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));
/// Frames taken from one ring in one look.
const FRAMES_PER_RING: usize = 4096;

impl Observer {
    /// Opens the bus at `path`. The first look gives what it still holds, oldest first.
    ///
    /// # Errors
    /// As [`Shmif::attach`](crate::Shmif::attach) gives them; writing need not be permitted.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AttachError> {
        let file = BusFile::open(path.as_ref(), Access::Observer)?;
        let (monotonic, real) =
            (u64_at(&file.fixed, header::MONOTONIC_NS), u64_at(&file.fixed, header::REALTIME_NS));
        let bus = Bus::map(file, Access::Observer)?;
        Ok(Observer {
            bus,
            places: Vec::new(),
            missed: 0,
            malformed: 0,
            wall_offset_ns: i128::from(real) - i128::from(monotonic),
            pause: PAUSES.0,
        })
    }

    /// Skips what the bus holds now: the next look gives only what is sent from here on.
    pub fn skip_to_now(&mut self) {
        for slot in 0..self.used() {
            if let Some(window) = Window::read(&self.bus.ring(slot)) {
                self.places[usize::from(slot)].next = Some(window.head);
            }
        }
    }

    /// Appends the frames that are new since the last look, ordered by when they were sent; how
    /// many. Order holds within one look.
    ///
    /// # Errors
    /// `InvalidData` if the file was truncated; else as fstat(2) gives them.
    pub fn poll(&mut self, sink: &mut Vec<Captured>) -> io::Result<usize> {
        self.bus.check_size()?;
        let before = sink.len();
        for slot in 0..self.used() {
            self.look_at(slot, sink);
        }
        // Stable: frames of one sender stay in their order even if its clock did not move.
        sink[before..].sort_by_key(|frame| frame.at);
        Ok(sink.len() - before)
    }

    /// As [`poll`](Self::poll), but sleeps until there is something or `limit` has passed. It
    /// looks again and again, more seldom the longer nothing happens.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn wait(&mut self, sink: &mut Vec<Captured>, limit: Duration) -> io::Result<usize> {
        let end = Instant::from_nanos(monotonic_ns()) + limit;
        loop {
            let got = self.poll(sink)?;
            if got > 0 {
                self.pause = PAUSES.0;
                return Ok(got);
            }
            let left = end.since(Instant::from_nanos(monotonic_ns()));
            if left.is_zero() {
                return Ok(0);
            }
            std::thread::sleep(self.pause.min(left));
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }

    /// Frames that were overwritten before we looked.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Frames, and places in rings, that could not be what they said.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The largest IP packet on the segment, in bytes.
    pub fn mtu(&self) -> u32 {
        self.bus.geometry().mtu
    }

    /// Was the bus made in this boot of this machine? If not, monotonic times are of another.
    pub fn is_of_this_boot(&self) -> bool {
        self.bus.file.fixed[header::BOOT_ID..header::CHECK] == boot_id()
    }

    /// How many slots there are to look at.
    fn used(&mut self) -> u16 {
        let used = self.bus.used_slots();
        if self.places.len() < usize::from(used) {
            self.places.resize(usize::from(used), Place::default());
        }
        used
    }

    fn look_at(&mut self, slot: u16, sink: &mut Vec<Captured>) {
        let place = &mut self.places[usize::from(slot)];
        let ring = self.bus.ring(slot);
        let Some(window) = Window::read(&ring) else { return };
        if window.epoch == Epoch::NONE || place.next == Some(window.head) {
            return;
        }
        let oldest = if window.holds(window.reclaim) { window.reclaim } else { window.head };
        let mut at = place.next.filter(|next| window.holds(*next)).unwrap_or(oldest);
        for _ in 0..FRAMES_PER_RING {
            if at == window.head {
                break;
            }
            match look(&ring, at, window.head) {
                Seen::Frame { epoch, header, next, .. } => {
                    let mut bytes = Vec::with_capacity(header.frame_bytes as usize);
                    if !take(&ring, at, header.frame_bytes as usize, &mut bytes) {
                        break;
                    }
                    self.missed += place.count_missed(epoch, header.number);
                    place.learn_name(&self.bus, slot, epoch);
                    if header.is_plausible(self.bus.geometry().mtu) {
                        sink.push(place.captured(slot, self.wall_offset_ns, &header, bytes));
                    } else {
                        self.malformed += 1;
                    }
                    at = next;
                }
                // What stands now is for the next look.
                Seen::Lapped => break,
                Seen::Broken => {
                    self.malformed += 1;
                    at = window.head;
                }
            }
        }
        place.next = Some(at);
    }
}

impl Place {
    /// How many frames lie between the last one and this one.
    fn count_missed(&mut self, epoch: Epoch, number: u64) -> u64 {
        let expected = match self.expected {
            Some((of, expected)) if of == epoch => expected,
            // The sender is new, and so is all that it sent.
            Some(_) => 0,
            // The first look: what was overwritten before is nobody's loss.
            None => number,
        };
        self.expected = Some((epoch, number.wrapping_add(1)));
        number.saturating_sub(expected)
    }

    fn learn_name(&mut self, bus: &Bus, slot: u16, epoch: Epoch) {
        if self.epoch == Some(epoch) {
            return;
        }
        let identity = SlotView::read(bus, slot).identity;
        self.epoch = Some(epoch);
        self.name = identity.name.to_text();
        self.mac = identity.mac;
    }

    fn captured(
        &self,
        slot: u16,
        wall_offset_ns: i128,
        header: &FrameHeader,
        bytes: Vec<u8>,
    ) -> Captured {
        let at = Instant::from_nanos(header.sent_ns);
        let mut packet = Packet::received(Bytes::from(bytes), at);
        packet.checksum = header.checksum;
        packet.gso = header.gso;
        let wall_ns = i128::from(header.sent_ns) + wall_offset_ns;
        let wall_ns = u64::try_from(wall_ns.max(0)).unwrap_or(u64::MAX);
        let wall = UNIX_EPOCH + Duration::from_nanos(wall_ns);
        Captured { at, wall, slot, sender: self.name.clone(), mac: self.mac, packet }
    }
}
