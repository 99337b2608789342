//! A cable between two links: what comes from one goes out on the other.
//!
//! One thread per link, asleep on that link's own kind of readiness. Where a link is full, the
//! thread that feeds it stops receiving until there is room: loss is left to who sends too much
//! for too long, or to who asked for it ([`PatchConfig::impair`]).
//!
//! The thread that receives from one link also gives the other what a bad cable has delayed.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Signal;
use super::bell::Bell;
use super::threads::monotonic_now;
use crate::gso;
use crate::impair::{ImpairConfig, ImpairStats, Impairer, Schedule, Way};
use crate::link::{Link, LinkControl, LinkInfo, LinkRx, LinkTx, RxFilter};
use crate::packet::Packet;
use crate::sync::lock;
use crate::time::Instant;

/// Frames taken from a link at a time.
const BATCH_FRAMES: usize = 64;
/// A sleep never lasts longer: a doorbell in a damaged bus must not be waited for forever.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Where both links are full, how long until a thread looks for room again.
const BOTH_FULL_SLEEP: Duration = Duration::from_millis(1);

/// What a cable is like.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PatchConfig {
    /// What is done to frames that go out on the first link, and on the second.
    pub impair: [Schedule; 2],
    /// What becomes of each frame is a function of this and of the frames.
    pub seed: [u8; 32],
    /// Frames that are delayed at a time, in one direction, at most; past it the cable is full.
    pub max_delayed_frames: usize,
    /// Their bytes at most.
    pub max_delayed_bytes: usize,
    /// What crosses beside frames to the links' own addresses and to all.
    pub filter: RxFilter,
}

impl Default for PatchConfig {
    /// A perfect cable; 65,536 frames and 64 MiB, once they are delayed. Frames to groups cross.
    fn default() -> Self {
        let impair = [Schedule::default(), Schedule::default()];
        PatchConfig {
            impair,
            seed: [0; 32],
            max_delayed_frames: 65_536,
            max_delayed_bytes: 64 << 20,
            filter: RxFilter { all_multicast: true, ..RxFilter::default() },
        }
    }
}

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
    /// Frames, super-segments counted once, before any harm.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that this link cannot carry, or that it lost.
    pub dropped: u64,
    /// Times that it was full.
    pub waits: u64,
    /// What was done to its frames, where that was asked for.
    pub impaired: ImpairStats,
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
    impairer: Impairer,
    out: Mutex<Out>,
    /// Frames wait for room in the link; its readiness will fire.
    is_full: AtomicBool,
    /// Frames wait in `out` until the cable takes more, which it does when `due`.
    is_paced: AtomicBool,
    /// When the link is to be sent to, with frames or without; `u64::MAX`: not on its own.
    due: AtomicU64,
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
    /// Joins two links, at the first queue of each.
    ///
    /// # Errors
    /// The links', and those of starting threads; `InvalidInput` for a link that cannot be waited
    /// for, or links of different media.
    pub fn join(a: impl Link + 'static, b: impl Link + 'static) -> io::Result<Patch> {
        Self::join_with(a, b, &PatchConfig::default())
    }

    /// The same by a cable that is like `config`.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_with(
        a: impl Link + 'static,
        b: impl Link + 'static,
        config: &PatchConfig,
    ) -> io::Result<Patch> {
        let (a_side, a_rx, a_control) = open(Box::new(a), config, 0)?;
        let (b_side, b_rx, b_control) = open(Box::new(b), config, 1)?;
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
                impaired: side.impairer.stats(Way::Out),
            }
        })
    }

    /// Changes what is done to frames that go out on the first link (0) or on the second (1).
    ///
    /// # Panics
    /// For any other number.
    pub fn impair(&self, to: usize, impairments: impl Into<Schedule>) {
        let side = &self.shared.sides[to];
        side.impairer.set(monotonic_now(), Way::Out, impairments);
        side.flush();
        // Whoever sleeps until what waits is due looks again.
        self.shared.sides[1 - to].wake();
    }

    /// Begins the chances of frames that go out on the first link (0) or on the second (1) again,
    /// from `seed`: who sends next meets with what others met before.
    ///
    /// # Panics
    /// For any other number.
    pub fn reseed(&self, to: usize, seed: [u8; 32]) {
        self.shared.sides[to].impairer.reseed(Way::Out, seed);
    }

    /// Names the faults that were asked for and never fired, of frames that go out on the first
    /// link and on the second.
    pub fn unfired_faults(&self) -> [Vec<String>; 2] {
        [0, 1].map(|number| {
            let all = self.shared.sides[number].impairer.unfired();
            all.iter().map(|name| name.trim_start_matches("out.").to_owned()).collect()
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

fn open(link: Box<dyn Link>, config: &PatchConfig, number: usize) -> io::Result<Opened> {
    let info = link.info();
    let (mut queues, mut control) = link.start()?;
    queues.truncate(1);
    let mut impair = ImpairConfig::default();
    impair.out = config.impair[number].clone();
    impair.max_delayed_frames = config.max_delayed_frames;
    impair.max_delayed_bytes = config.max_delayed_bytes;
    let mut seed = config.seed;
    seed[0] ^= number as u8;
    impair.seed = Some(seed);
    let (impairer, mut queues) = Impairer::wrap(monotonic_now(), &impair, &info, queues);
    if queues.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let queue = queues.swap_remove(0);
    let bell = Bell::of(queue.rx.readiness())?.ok_or(io::ErrorKind::InvalidInput)?;
    control.set_filter(&config.filter)?;
    let side = Side {
        info,
        bell,
        impairer,
        out: Mutex::new(Out { link: queue.tx, pending: VecDeque::new() }),
        is_full: AtomicBool::new(false),
        is_paced: AtomicBool::new(false),
        due: AtomicU64::new(u64::MAX),
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
            if other.due_in().is_zero() {
                other.flush();
            }
            if other.takes_no_more() {
                // What comes stays where it is; this thread still looks for room in its own link.
                let longest = if side.is_full() { BOTH_FULL_SLEEP } else { LONGEST_SLEEP };
                side.room.sleep(Some(longest.min(other.due_in())));
                continue;
            }
            let received = match rx.recv(monotonic_now(), BATCH_FRAMES, &mut frames, None) {
                Ok(received) => received,
                // Its readiness fires when the device may be back.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => 0,
                Err(error) => {
                    tracing::warn!(link = %side.info.target, %error, "the link failed");
                    lock(&self.failure).get_or_insert(error);
                    self.stop();
                    break;
                }
            };
            if received > 0 {
                other.send(&mut frames);
            } else {
                self.sleep(side, other.due_in());
            }
        }
    }

    fn sleep(&self, side: &Side, longest: Duration) {
        let Some(armed) = side.bell.arm() else { return };
        if !longest.is_zero() && !self.stop.load(Ordering::SeqCst) {
            side.bell.sleep(armed, longest.min(LONGEST_SLEEP), side.is_full());
        }
        side.bell.disarm();
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.sides.iter().for_each(Side::wake);
    }
}

impl Side {
    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }

    fn takes_no_more(&self) -> bool {
        self.is_full() || self.is_paced.load(Ordering::SeqCst)
    }

    /// How long until the link is to be sent to.
    fn due_in(&self) -> Duration {
        match self.due.load(Ordering::SeqCst) {
            u64::MAX => LONGEST_SLEEP,
            due => Instant::from_nanos(due).since(monotonic_now()),
        }
    }

    /// Wakes this link's thread, whatever it sleeps on.
    fn wake(&self) {
        self.bell.ring();
        self.room.set();
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
        // Its own thread may wait for room in the other link: it must look for room here too.
        self.room.set();
        // A descriptor's thread must be told to look for room; a doorbell rings for it by itself.
        if matches!(self.bell, Bell::Descriptor { .. }) {
            self.bell.ring();
        }
    }

    /// Sends what waits; whether none of it waits for room in the link.
    fn flush(&self) -> bool {
        self.flush_locked(&mut lock(&self.out))
    }

    fn flush_locked(&self, out: &mut Out) -> bool {
        // Twice: what makes room after the first refusal must find the link marked full.
        for _ in 0..2 {
            self.send_pending(out);
            let pace = out.link.pace();
            let due = pace.and_then(|pace| pace.due).map_or(u64::MAX, Instant::as_nanos);
            self.due.store(due, Ordering::SeqCst);
            let wants_room = pace.map_or(!out.pending.is_empty(), |pace| pace.wants_room);
            let is_paced = !wants_room && !out.pending.is_empty();
            self.is_paced.store(is_paced, Ordering::SeqCst);
            if !wants_room {
                self.is_full.store(false, Ordering::SeqCst);
                return true;
            }
            if !self.is_full.swap(true, Ordering::SeqCst) {
                self.waits.fetch_add(1, Ordering::Relaxed);
            }
        }
        false
    }

    fn send_pending(&self, out: &mut Out) {
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
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::impair::Impairments;
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
        let sender = std::thread::Builder::new().spawn(move || {
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
        let sender = sender.unwrap();
        let (mut got, mut batch) = (Vec::new(), Vec::new());
        while got.len() < count as usize {
            if to.rx.recv(monotonic_now(), 16, &mut batch, None).unwrap() == 0
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
        let config = PairConfig { queue_frames: 4, ..PairConfig::default() };
        let (a, near) = pair(&config);
        let (b, far) = pair(&config);
        let patch = Patch::join(near, far).unwrap();
        let got = cross(end(a), end(b), 20_000);
        assert!(got.into_iter().eq(0..20_000));
        // The last are counted after they were sent.
        let began = monotonic_now();
        while patch.stats()[1].frames < 20_000 {
            assert!(monotonic_now().since(began) < Duration::from_secs(60), "{patch:?}");
            std::thread::yield_now();
        }
        let [_, out] = patch.stats();
        assert_eq!((out.frames, out.bytes, out.dropped), (20_000, 20_000 * 600, 0));
        assert!(out.waits > 0, "four frames of room were never too few");
    }

    #[test]
    fn a_bad_cable_does_what_was_asked_and_says_so() {
        let (a, near) = pair(&PairConfig::default());
        let (b, far) = pair(&PairConfig::default());
        let mut config = PatchConfig::default();
        let delay = Duration::from_millis(2);
        config.impair[1] =
            Impairments::none().delay(delay).loss(0.1).duplicate(0.1).reorder(0.1).into();
        let patch = Patch::join_with(near, far, &config).unwrap();
        let ((mut a, _), (mut b, bell)) = (end(a), end(b));
        let began = monotonic_now();
        let mut out: VecDeque<Packet> = (0..200).map(numbered).collect();
        a.tx.send(began, &mut out).unwrap();
        assert!(out.is_empty());
        let (mut got, mut batch) = (Vec::new(), Vec::new());
        let expected = |patch: &Patch| {
            let done = patch.stats()[1].impaired;
            (done.offered == 200).then_some(done.delivered)
        };
        while expected(&patch).is_none_or(|all| (got.len() as u64) < all) {
            if b.rx.recv(monotonic_now(), 64, &mut batch, None).unwrap() == 0
                && let Some(armed) = bell.arm()
            {
                bell.sleep(armed, Duration::from_millis(10), false);
                bell.disarm();
            }
            got.extend(batch.drain(..).map(|packet| number(&packet)));
        }
        assert!(monotonic_now().since(began) >= delay);
        let done = patch.stats()[1].impaired;
        assert_eq!(done.delivered, 200 - done.lost + done.duplicated);
        assert!(done.lost > 0 && done.duplicated > 0 && done.reordered > 0, "{done:?}");
        assert!(!got.is_sorted(), "some were overtaken");
    }

    #[test]
    fn what_the_other_link_cannot_carry_is_counted() {
        let narrow = PairConfig { mtu: 500, offload: Offload::NONE, ..PairConfig::default() };
        let (a, near) = pair(&PairConfig::default());
        let (b, far) = pair(&narrow);
        let patch = Patch::join(near, far).unwrap();
        let ((mut a, _), (mut b, bell)) = (end(a), end(b));
        let mut small = numbered(7);
        small.truncate(100);
        a.tx.send(monotonic_now(), &mut VecDeque::from([numbered(6), small])).unwrap();
        let mut got = Vec::new();
        while b.rx.recv(monotonic_now(), 8, &mut got, None).unwrap() == 0 {
            if let Some(armed) = bell.arm() {
                bell.sleep(armed, LONGEST_SLEEP, false);
                bell.disarm();
            }
        }
        assert_eq!(number(&got[0]), 7);
        assert_eq!(patch.stats()[1].dropped, 1);
    }
}
