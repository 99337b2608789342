//! What `rumpnet dump -n` sees: the frames that pass a node's interfaces, and why some are dropped.

use std::collections::VecDeque;
use std::collections::hash_map::{DefaultHasher, Entry, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use libnet::capture::wire::whole_frame;
use libnet::capture::{CaptureTap, ClockAnchor, Direction};
use libnet::driver::Driver;
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::stats::{DropTap, Dropped};
use libnet::{DropReason, Instant, Packet};
use rumpnet::Inet;

use super::{Inside, name_of};
use crate::control::protocol::{Frame, Reply, to_line};
use crate::dissect::summary::Summary;
use crate::fail::{Failure, Outcome, Status};
use crate::filter::Filter;
use crate::signals::Asked;

/// Frames that wait for the client at most.
const MAX_FRAMES: usize = 8192;
/// Their bytes at most.
const MAX_BYTES: usize = 16 << 20;
/// How long a frame is held, so that it can be told with it why it was dropped.
const HOLD: Duration = Duration::from_millis(20);

/// Sends frames to the client until it has seen enough.
///
/// # Errors
/// No such interface; a filter that makes no sense.
pub(crate) fn run(
    inside: &Inside,
    stream: &UnixStream,
    interface: Option<&str>,
    filter: &[String],
) -> Outcome {
    let filter = Filter::from_words(filter).map_err(|error| Failure::usage(error.to_string()))?;
    let inet = inside.inet()?;
    let queue = Arc::new(Queue::new(Arc::clone(inet.engine().driver())));
    let mut taps = Taps { inet: Arc::clone(&inet), taps: Vec::new(), drops: None };
    for iface in inet.engine().interfaces() {
        if interface.is_none_or(|name| iface.name == name) {
            let (index, medium) = (iface.index, iface.link.medium);
            let tap = Arc::new(Tap { queue: Arc::clone(&queue), index, medium });
            taps.add(index, tap);
        }
    }
    if taps.taps.is_empty() {
        let names: Vec<&str> = inet.engine().interfaces().map(|iface| &*iface.name).collect();
        let name = interface.unwrap_or_default();
        let names = names.join(", ");
        return Err(Failure::usage(format!("there is no interface `{name}`: there are {names}")));
    }
    let seen: Vec<IfIndex> = taps.taps.iter().map(|(index, _)| *index).collect();
    taps.watch(Arc::new(Drops { queue: Arc::clone(&queue), seen }));
    let anchor = ClockAnchor {
        driver: inet.engine().driver().now(),
        unix: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    };
    let mut sender = Sender { stream, inet: &inet, filter, anchor };
    loop {
        let over = inside.interrupts.sleep(HOLD) == Some(Asked::Stop);
        if over {
            drop(taps);
            // Who has gone needs not be told what is left.
            let _ = sender.send(queue.take(Instant::MAX));
            return Ok(Status::DONE);
        }
        let ripe = Instant::from_nanos(queue.driver.now().as_nanos().saturating_sub(HOLD_NS));
        if sender.send(queue.take(ripe)).is_err() {
            return Ok(Status::DONE);
        }
    }
}

const HOLD_NS: u64 = HOLD.as_nanos() as u64;

/// The taps of one client; taken out again on drop.
struct Taps {
    inet: Arc<Inet>,
    taps: Vec<(IfIndex, Arc<dyn CaptureTap>)>,
    drops: Option<Arc<dyn DropTap>>,
}

impl Taps {
    fn add(&mut self, index: IfIndex, tap: Arc<dyn CaptureTap>) {
        if let Some(taps) = self.inet.engine().taps(index) {
            taps.add(Arc::clone(&tap));
            self.taps.push((index, tap));
        }
    }

    fn watch(&mut self, tap: Arc<dyn DropTap>) {
        self.inet.drops().watch(Arc::clone(&tap));
        self.drops = Some(tap);
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        for (index, tap) in &self.taps {
            if let Some(taps) = self.inet.engine().taps(*index) {
                taps.remove(tap);
            }
        }
        if let Some(tap) = &self.drops {
            self.inet.drops().unwatch(tap);
        }
    }
}

/// A frame that waits to be sent.
struct Held {
    at: Instant,
    index: IfIndex,
    medium: Medium,
    direction: Option<Direction>,
    segment_bytes: Option<std::num::NonZeroU16>,
    bytes: Bytes,
    dropped: Vec<DropReason>,
    key: Key,
}

/// What mostly tells a frame from others: of its interface and how it begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key(u64);

impl Key {
    fn of(index: IfIndex, bytes: &Bytes) -> Key {
        let mut hasher = DefaultHasher::new();
        (index.0, bytes.len(), &bytes[..bytes.len().min(KEY_BYTES)]).hash(&mut hasher);
        Key(hasher.finish())
    }
}

/// All headers of ours, and some data.
const KEY_BYTES: usize = 256;
/// Frames with one key that are compared at most, the newest first.
const MAX_COMPARED: usize = 8;

/// What waits between the data path and the client, bounded; what does not fit is counted.
struct Queue {
    driver: Arc<dyn Driver>,
    /// A leaf.
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Held>,
    /// The number of the first of them, counted from the beginning.
    first: u64,
    /// The numbers of those that were received and not dropped so far, in order, by their keys.
    received: HashMap<Key, VecDeque<u64>>,
    bytes: usize,
    missed: u64,
}

impl Queue {
    fn new(driver: Arc<dyn Driver>) -> Self {
        Queue { driver, state: Mutex::default() }
    }

    fn with<R>(&self, call: impl FnOnce(&mut Waiting) -> R) -> R {
        call(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, held: Held) {
        self.with(|waiting| {
            if waiting.frames.len() >= MAX_FRAMES || waiting.bytes + held.bytes.len() > MAX_BYTES {
                waiting.missed += 1;
                return;
            }
            waiting.bytes += held.bytes.len();
            if held.direction == Some(Direction::In) {
                let number = waiting.first + waiting.frames.len() as u64;
                waiting.received.entry(held.key).or_default().push_back(number);
            }
            waiting.frames.push_back(held);
        });
    }

    /// Tells why a packet was dropped with its frame, if that still waits, else by itself.
    fn push_dropped(&self, held: Held) {
        let late = self.with(|waiting| match waiting.take_received(&held) {
            Some(frame) => {
                frame.dropped.clone_from(&held.dropped);
                None
            }
            None => Some(held),
        });
        if let Some(held) = late {
            self.push(held);
        }
    }

    /// Takes what is not younger than `ripe`, and how many were missed since the last time.
    fn take(&self, ripe: Instant) -> (Vec<Held>, u64) {
        self.with(|waiting| {
            let ready = waiting.frames.iter().take_while(|held| held.at <= ripe).count();
            let frames: Vec<Held> = waiting.frames.drain(..ready).collect();
            for held in &frames {
                waiting.forget_first(held.key);
            }
            waiting.bytes -= frames.iter().map(|held| held.bytes.len()).sum::<usize>();
            (frames, std::mem::take(&mut waiting.missed))
        })
    }
}

impl Waiting {
    /// The newest frame that was received as `held` was, not known to be dropped so far.
    fn take_received(&mut self, held: &Held) -> Option<&mut Held> {
        let Entry::Occupied(mut entry) = self.received.entry(held.key) else { return None };
        let (first, frames) = (self.first, &self.frames);
        let is_it = |number: &u64| {
            let other = frames.get((number - first) as usize);
            other.is_some_and(|other| {
                (other.index, other.medium) == (held.index, held.medium)
                    && other.bytes == held.bytes
            })
        };
        let numbers = entry.get_mut();
        let back = numbers.iter().rev().take(MAX_COMPARED).position(is_it)?;
        let number = numbers.remove(numbers.len() - 1 - back)?;
        if numbers.is_empty() {
            entry.remove();
        }
        self.frames.get_mut((number - self.first) as usize)
    }

    /// The first frame was taken.
    fn forget_first(&mut self, key: Key) {
        if let Entry::Occupied(mut entry) = self.received.entry(key) {
            if entry.get().front() == Some(&self.first) {
                entry.get_mut().pop_front();
            }
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        self.first += 1;
    }
}

struct Tap {
    queue: Arc<Queue>,
    index: IfIndex,
    medium: Medium,
}

impl CaptureTap for Tap {
    fn frame(&self, at: Instant, direction: Direction, packet: &Packet) {
        let bytes = whole_frame(packet, self.medium);
        self.queue.push(Held {
            at,
            index: self.index,
            medium: self.medium,
            direction: Some(direction),
            segment_bytes: packet.gso.map(|gso| gso.segment_bytes),
            key: Key::of(self.index, &bytes),
            bytes,
            dropped: Vec::new(),
        });
    }
}

struct Drops {
    queue: Arc<Queue>,
    /// The interfaces that are looked at.
    seen: Vec<IfIndex>,
}

impl DropTap for Drops {
    fn dropped(&self, reasons: &[DropReason], dropped: Dropped<'_>) {
        if !self.seen.contains(&dropped.iface) {
            return;
        }
        let bytes = whole_frame(dropped.packet, dropped.medium);
        self.queue.push_dropped(Held {
            at: self.queue.driver.now(),
            index: dropped.iface,
            medium: dropped.medium,
            direction: None,
            segment_bytes: dropped.packet.gso.map(|gso| gso.segment_bytes),
            key: Key::of(dropped.iface, &bytes),
            bytes,
            dropped: reasons.to_vec(),
        });
    }
}

struct Sender<'a> {
    stream: &'a UnixStream,
    inet: &'a Inet,
    filter: Option<Filter>,
    anchor: ClockAnchor,
}

impl Sender<'_> {
    fn send(&mut self, (frames, missed): (Vec<Held>, u64)) -> io::Result<()> {
        for held in frames {
            let summary = Summary::of(held.medium, &held.bytes);
            if self.filter.as_ref().is_some_and(|filter| !filter.matches(&summary)) {
                continue;
            }
            let frame = Frame {
                at_ns: u64::try_from(self.anchor.to_unix(held.at).as_nanos()).unwrap_or(u64::MAX),
                interface: name_of(self.inet, held.index),
                ethernet: held.medium == Medium::Ethernet,
                direction: held.direction.map(Into::into),
                segment_bytes: held.segment_bytes,
                dropped: held.dropped.iter().map(|reason| reason.name().to_owned()).collect(),
                bytes: Frame::encode(&held.bytes),
            };
            self.stream.write_all(&to_line(&Reply::Frame(Box::new(frame))))?;
        }
        if missed > 0 {
            self.stream.write_all(&to_line(&Reply::Missed(missed)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use libnet::world::World;

    use super::*;

    fn held(direction: Option<Direction>, bytes: Vec<u8>) -> Held {
        let (index, bytes) = (IfIndex(2), Bytes::from(bytes));
        Held {
            at: Instant::from_millis(1),
            index,
            medium: Medium::Ethernet,
            direction,
            segment_bytes: None,
            key: Key::of(index, &bytes),
            bytes,
            dropped: Vec::new(),
        }
    }

    fn dropped(bytes: Vec<u8>) -> Held {
        Held { dropped: vec![DropReason::NotForUs], ..held(None, bytes) }
    }

    /// Which of the frames were dropped, by their numbers.
    fn marked(queue: &Queue) -> Vec<usize> {
        let (frames, missed) = queue.take(Instant::MAX);
        assert_eq!(missed, 0);
        assert!(queue.with(|waiting| waiting.received.is_empty() && waiting.bytes == 0));
        let marked = frames.iter().enumerate().filter(|(_, held)| !held.dropped.is_empty());
        marked.map(|(number, _)| number).collect()
    }

    #[test]
    fn a_dropped_frame_is_told_apart_from_all_that_wait() {
        let queue = Queue::new(World::new(1).host("node"));
        let frame = |n: usize| n.to_be_bytes().to_vec();
        for round in 0..2 {
            for n in 0..MAX_FRAMES - 1 {
                queue.push(held(Some(Direction::In), frame(n)));
            }
            for n in [0, 4_000, 8_000] {
                queue.push_dropped(dropped(frame(n)));
            }
            // What nobody saw come is told by itself.
            queue.push_dropped(dropped(frame(9_999)));
            assert_eq!(marked(&queue), [0, 4_000, 8_000, MAX_FRAMES - 1], "round {round}");
        }
    }

    #[test]
    fn of_frames_that_are_the_same_the_newest_is_told_first_and_each_once() {
        let queue = Queue::new(World::new(1).host("node"));
        queue.push(held(Some(Direction::Out), vec![7]));
        for _ in 0..3 {
            queue.push(held(Some(Direction::In), vec![7]));
        }
        queue.push_dropped(dropped(vec![7]));
        queue.push_dropped(dropped(vec![7]));
        assert_eq!(marked(&queue), [2, 3]);
    }

    #[test]
    fn few_frames_are_compared_however_many_begin_the_same() {
        let queue = Queue::new(World::new(1).host("node"));
        let frame = |n: u8| [vec![0; KEY_BYTES], vec![n]].concat();
        for n in 0..20 {
            queue.push(held(Some(Direction::In), frame(n)));
        }
        queue.push_dropped(dropped(frame(19)));
        queue.push_dropped(dropped(frame(0)));
        assert_eq!(marked(&queue), [19, 20], "the second is told by itself");
    }
}
