//! A cable between two links: what comes from one goes out on the other.
//!
//! One thread per link, asleep on that link's own kind of readiness. Where a link is full, the
//! thread that feeds it stops receiving until there is room: loss is left to who sends too much
//! for too long.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Signal;
use super::bell::Bell;
use super::threads::monotonic_now;
use crate::gso;
use crate::link::{Link, LinkControl, LinkInfo, LinkRx, LinkTx, RxFilter};
use crate::packet::Packet;

/// Frames taken from a link at a time.
const BATCH_FRAMES: usize = 64;
/// A sleep never lasts longer: a doorbell in a damaged bus must not be waited for forever.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Where both links are full, how long until a thread looks for room again.
const BOTH_FULL_SLEEP: Duration = Duration::from_millis(1);

/// Two links joined; dropping it ends its threads and gives the links back.
pub struct Patch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Kept, since a link may live as long as its control half.
    _controls: [Box<dyn LinkControl>; 2],
}

/// What has gone out on one link of a [`Patch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct PatchStats {
    /// Frames, super-segments counted once.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that this link cannot carry, or that it lost.
    pub dropped: u64,
    /// Times that it was full.
    pub waits: u64,
}

struct Shared {
    sides: [Side; 2],
    stop: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

/// One link, as the other's thread sends to it.
struct Side {
    info: LinkInfo,
    bell: Bell,
    out: Mutex<Out>,
    /// `out` holds frames that the link had no room for.
    is_full: AtomicBool,
    /// This link's thread waits on it while the other link is full.
    room: Arc<Signal>,
    frames: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    waits: AtomicU64,
}

struct Out {
    link: Box<dyn LinkTx>,
    pending: VecDeque<Packet>,
}

impl Patch {
    /// Joins two links, at the first queue of each; every group address passes.
    ///
    /// # Errors
    /// The links', and those of starting threads; `InvalidInput` for a link that cannot be waited
    /// for, or links of different media.
    pub fn join(a: impl Link + 'static, b: impl Link + 'static) -> io::Result<Patch> {
        let (a_side, a_rx, a_control) = open(Box::new(a))?;
        let (b_side, b_rx, b_control) = open(Box::new(b))?;
        if a_side.info.medium != b_side.info.medium {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let shared = Arc::new(Shared {
            sides: [a_side, b_side],
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        });
        let mut patch = Patch { shared, threads: Vec::new(), _controls: [a_control, b_control] };
        for (own, rx) in [a_rx, b_rx].into_iter().enumerate() {
            let shared = Arc::clone(&patch.shared);
            let name = format!("rump/{}", shared.sides[own].info.kind);
            let builder = std::thread::Builder::new().name(name);
            patch.threads.push(builder.spawn(move || shared.run(own, rx))?);
        }
        Ok(patch)
    }

    /// What has gone out on the first link and on the second.
    pub fn stats(&self) -> [PatchStats; 2] {
        [0, 1].map(|number| {
            let side = &self.shared.sides[number];
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            PatchStats {
                frames: read(&side.frames),
                bytes: read(&side.bytes),
                dropped: read(&side.dropped),
                waits: read(&side.waits),
            }
        })
    }

    /// Takes the error of the link that has failed for good, if one has; nothing passes any more.
    pub fn take_failure(&self) -> Option<io::Error> {
        lock(&self.shared.failure).take()
    }
}

impl std::fmt::Debug for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b] = &self.shared.sides;
        f.debug_struct("Patch").field("a", &a.info).field("b", &b.info).finish_non_exhaustive()
    }
}

impl Drop for Patch {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

type Opened = (Side, Box<dyn LinkRx>, Box<dyn LinkControl>);

fn open(link: Box<dyn Link>) -> io::Result<Opened> {
    let info = link.info();
    let (mut queues, mut control) = link.start()?;
    if queues.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let queue = queues.swap_remove(0);
    let bell = Bell::of(queue.rx.readiness())?.ok_or(io::ErrorKind::InvalidInput)?;
    control.set_filter(&RxFilter { all_multicast: true, ..RxFilter::default() })?;
    let side = Side {
        info,
        bell,
        out: Mutex::new(Out { link: queue.tx, pending: VecDeque::new() }),
        is_full: AtomicBool::new(false),
        room: Signal::new(),
        frames: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        waits: AtomicU64::new(0),
    };
    Ok((side, queue.rx, control))
}

impl Shared {
    fn run(&self, own: usize, mut rx: Box<dyn LinkRx>) {
        let (side, other) = (&self.sides[own], &self.sides[1 - own]);
        let mut frames = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            if side.is_full() && side.flush() {
                other.room.set();
            }
            if other.is_full() {
                // What comes stays where it is; this thread still looks for room in its own link.
                let longest = if side.is_full() { BOTH_FULL_SLEEP } else { LONGEST_SLEEP };
                side.room.sleep(Some(longest));
                continue;
            }
            match rx.recv(monotonic_now(), BATCH_FRAMES, &mut frames) {
                Ok(0) => self.sleep(side),
                Ok(_) => other.send(&mut frames),
                // Its readiness fires when the device may be back.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => self.sleep(side),
                Err(error) => {
                    tracing::warn!(link = %side.info.target, %error, "the link failed");
                    lock(&self.failure).get_or_insert(error);
                    self.stop();
                }
            }
        }
    }

    fn sleep(&self, side: &Side) {
        let Some(armed) = side.bell.arm() else { return };
        if !self.stop.load(Ordering::SeqCst) {
            side.bell.sleep(armed, LONGEST_SLEEP, side.is_full());
        }
        side.bell.disarm();
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for side in &self.sides {
            side.bell.ring();
            side.room.set();
        }
    }
}

impl Side {
    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }

    /// Sends frames of the other link, made what this one carries.
    fn send(&self, frames: &mut Vec<Packet>) {
        let mut out = lock(&self.out);
        for packet in frames.drain(..) {
            if gso::fit_to_link(packet, &self.info, &mut out.pending).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.flush_locked(&mut out) {
            return;
        }
        drop(out);
        // A descriptor's thread must be told to look for room; a doorbell rings for it by itself.
        if matches!(self.bell, Bell::Descriptor { .. }) {
            self.bell.ring();
        }
    }

    /// Sends what waits; whether all of it is gone.
    fn flush(&self) -> bool {
        self.flush_locked(&mut lock(&self.out))
    }

    fn flush_locked(&self, out: &mut Out) -> bool {
        // Twice: what makes room after the first refusal must find the link marked full.
        for _ in 0..2 {
            let before: usize = out.pending.iter().map(Packet::len).sum();
            match out.link.send(monotonic_now(), &mut out.pending) {
                Ok(sent) => {
                    let after: usize = out.pending.iter().map(Packet::len).sum();
                    self.frames.fetch_add(sent as u64, Ordering::Relaxed);
                    self.bytes.fetch_add((before - after) as u64, Ordering::Relaxed);
                }
                // The thread that receives from this link meets the error, and reports it.
                Err(_) => {
                    self.dropped.fetch_add(out.pending.len() as u64, Ordering::Relaxed);
                    out.pending.clear();
                }
            }
            if out.pending.is_empty() {
                self.is_full.store(false, Ordering::SeqCst);
                return true;
            }
            if !self.is_full.swap(true, Ordering::SeqCst) {
                self.waits.fetch_add(1, Ordering::Relaxed);
            }
        }
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::link::{LinkQueue, Offload};
    use crate::pair::{PairConfig, PairLink, pair};

    /// A queue of a pair's end, and what to sleep on until it has something.
    fn end(link: PairLink) -> (LinkQueue, Bell) {
        let (mut queues, _) = Box::new(link).start().unwrap();
        let queue = queues.remove(0);
        let bell = Bell::of(queue.rx.readiness()).unwrap().unwrap();
        (queue, bell)
    }

    fn numbered(n: u32) -> Packet {
        let mut bytes = vec![0; 600];
        bytes[14..18].copy_from_slice(&n.to_be_bytes());
        Packet::from_payload(Bytes::from(bytes))
    }

    fn number(packet: &Packet) -> u32 {
        let mut bytes = [0; 4];
        packet.copy_to(14, &mut bytes);
        u32::from_be_bytes(bytes)
    }

    /// Sends `count` frames from one end while the other is read.
    fn cross(from: (LinkQueue, Bell), to: (LinkQueue, Bell), count: u32) -> Vec<u32> {
        let ((mut from, from_bell), (mut to, to_bell)) = (from, to);
        let sender = std::thread::spawn(move || {
            let mut queue: VecDeque<Packet> = (0..count).map(numbered).collect();
            while !queue.is_empty() {
                from.tx.send(monotonic_now(), &mut queue).unwrap();
                if queue.is_empty() {
                    break;
                }
                if let Some(armed) = from_bell.arm() {
                    from_bell.sleep(armed, LONGEST_SLEEP, true);
                    from_bell.disarm();
                }
            }
            from
        });
        let (mut got, mut batch) = (Vec::new(), Vec::new());
        while got.len() < count as usize {
            if to.rx.recv(monotonic_now(), 16, &mut batch).unwrap() == 0
                && let Some(armed) = to_bell.arm()
            {
                to_bell.sleep(armed, LONGEST_SLEEP, false);
                to_bell.disarm();
            }
            got.extend(batch.drain(..).map(|packet| number(&packet)));
        }
        sender.join().unwrap();
        got
    }

    #[test]
    fn every_frame_crosses_in_order_however_small_the_queues_are() {
        let mut config = PairConfig::default();
        config.queue_frames = 4;
        let (a, near) = pair(&config);
        let (b, far) = pair(&config);
        let patch = Patch::join(near, far).unwrap();
        let got = cross(end(a), end(b), 20_000);
        assert!(got.into_iter().eq(0..20_000));
        let [_, out] = patch.stats();
        assert_eq!((out.frames, out.bytes, out.dropped), (20_000, 20_000 * 600, 0));
        assert!(out.waits > 0, "four frames of room were never too few");
    }

    #[test]
    fn what_the_other_link_cannot_carry_is_counted() {
        let mut narrow = PairConfig::default();
        narrow.mtu = 500;
        narrow.offload = Offload::NONE;
        let (a, near) = pair(&PairConfig::default());
        let (b, far) = pair(&narrow);
        let patch = Patch::join(near, far).unwrap();
        let ((mut a, _), (mut b, bell)) = (end(a), end(b));
        let mut small = numbered(7);
        small.truncate(100);
        a.tx.send(monotonic_now(), &mut VecDeque::from([numbered(6), small])).unwrap();
        let mut got = Vec::new();
        while b.rx.recv(monotonic_now(), 8, &mut got).unwrap() == 0 {
            if let Some(armed) = bell.arm() {
                bell.sleep(armed, LONGEST_SLEEP, false);
                bell.disarm();
            }
        }
        assert_eq!(number(&got[0]), 7);
        assert_eq!(patch.stats()[1].dropped, 1);
    }
}
