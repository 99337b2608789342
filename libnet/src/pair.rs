//! A wire within the process: two ends, each a link for one stack, under threads or in a world.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::thread::futex;

use crate::ethernet::MacAddr;
use crate::landing::Landing;
use crate::link::{
    Doorbell, Link, LinkControl, LinkInfo, LinkQueue, LinkRx, LinkStats, LinkTx, Medium, Offload,
    Readiness, RxFilter,
};
use crate::packet::Packet;
use crate::time::Instant;

/// What a pair is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PairConfig {
    /// What travels on it.
    pub medium: Medium,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// What it carries whole.
    pub offload: Offload,
    /// Frames under way in one direction at most; past it, senders wait. At least one.
    pub queue_frames: usize,
    /// The ends' addresses, for [`Medium::Ethernet`].
    pub macs: [MacAddr; 2],
}

impl Default for PairConfig {
    /// Ethernet with an MTU of 1,500 bytes, all offloads, 256 frames, addresses 02:…:01 and :02.
    fn default() -> Self {
        PairConfig {
            medium: Medium::Ethernet,
            mtu: 1_500,
            offload: Offload::FULL,
            queue_frames: 256,
            macs: [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])],
        }
    }
}

/// Makes both ends of a wire. When one end is dropped, what the other sends is lost and counted.
///
/// ```
/// use libnet::link::Link;
/// use libnet::pair::{PairConfig, pair};
/// let (a, b) = pair(&PairConfig::default());
/// assert_ne!(a.info().mac, b.info().mac);
/// ```
pub fn pair(config: &PairConfig) -> (PairLink, PairLink) {
    let rings = [(); 2].map(|()| Arc::new(Ring::default()));
    let bells = [(); 2].map(|()| Arc::new(Bell::default()));
    let end = |number: usize| PairLink {
        config: config.clone(),
        number,
        inlet: Inlet { ring: Arc::clone(&rings[1 - number]), peer: Arc::clone(&bells[1 - number]) },
        tx: Arc::clone(&rings[number]),
        bell: Arc::clone(&bells[number]),
    };
    (end(0), end(1))
}

/// One end of a [`pair`].
pub struct PairLink {
    config: PairConfig,
    number: usize,
    inlet: Inlet,
    tx: Arc<Ring>,
    bell: Arc<Bell>,
}

impl std::fmt::Debug for PairLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairLink").field("info", &self.info()).finish_non_exhaustive()
    }
}

impl Link for PairLink {
    fn info(&self) -> LinkInfo {
        LinkInfo {
            kind: "pair",
            target: format!("end {}", self.number),
            medium: self.config.medium,
            mac: self.config.macs[self.number],
            mtu: self.config.mtu,
            offload: self.config.offload,
            loopback: false,
            quiet: false,
        }
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let (queue, control) = self.open();
        Ok((vec![queue], control))
    }
}

impl PairLink {
    /// Its only queue.
    pub(crate) fn open(self) -> (LinkQueue, Box<dyn LinkControl>) {
        let bell = Arc::new(EndBell {
            bell: self.bell,
            rx: Arc::clone(&self.inlet.ring),
            tx: Arc::clone(&self.tx),
            queue_frames: self.config.queue_frames.max(1),
        });
        let peer = Arc::clone(&self.inlet.peer);
        let rx = PairRx { inlet: self.inlet, bell: Arc::clone(&bell) };
        let tx = PairTx { ring: Arc::clone(&self.tx), bell, peer };
        let control = PairControl { ring: self.tx };
        (LinkQueue { rx: Box::new(rx), tx: Box::new(tx) }, Box::new(control))
    }
}

/// Frames of one direction. The lock guards them all; rank: a link's own lock, a leaf.
#[derive(Default)]
struct Ring(Mutex<Frames>);

#[derive(Default)]
struct Frames {
    queue: VecDeque<Packet>,
    /// The sender was refused and waits for room. Only its next send clears it: until then the
    /// sender, who may not sleep yet, finds room by it when it arms its bell.
    wants_room: bool,
    /// The sender was told of room since it was refused: once is enough.
    told: bool,
    /// The receiver is gone.
    closed: bool,
    stats: LinkStats,
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread of one end sleeps on.
#[derive(Default)]
struct Bell {
    word: AtomicU32,
    armed: AtomicBool,
}

impl Bell {
    /// Wakes the sleeper, if there is one. Both sides store before they load, all in one order.
    fn notify(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        if self.armed.load(Ordering::SeqCst) {
            // It fails if nobody sleeps any more; then nobody needs waking.
            let _ = futex::wake(&self.word, futex::Flags::PRIVATE, u32::MAX);
        }
    }
}

/// The receiving side of a direction; its drop closes it.
struct Inlet {
    ring: Arc<Ring>,
    peer: Arc<Bell>,
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut frames = self.ring.lock();
        frames.closed = true;
        frames.queue.clear();
        drop(frames);
        self.peer.notify();
    }
}

struct EndBell {
    bell: Arc<Bell>,
    rx: Arc<Ring>,
    tx: Arc<Ring>,
    queue_frames: usize,
}

impl Doorbell for EndBell {
    fn arm(&self) -> Option<u32> {
        self.bell.armed.store(true, Ordering::SeqCst);
        let seen = self.bell.word.load(Ordering::SeqCst);
        let tx = self.tx.lock();
        let room = tx.wants_room && (tx.closed || tx.queue.len() < self.queue_frames);
        drop(tx);
        if room || !self.rx.lock().queue.is_empty() {
            self.disarm();
            return None;
        }
        Some(seen)
    }

    fn disarm(&self) {
        self.bell.armed.store(false, Ordering::SeqCst);
    }

    fn word(&self) -> &AtomicU32 {
        &self.bell.word
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn ring(&self) {
        self.bell.notify();
    }
}

struct PairRx {
    inlet: Inlet,
    bell: Arc<EndBell>,
}

impl LinkRx for PairRx {
    fn recv(
        &mut self,
        now: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        _: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        let mut frames = self.inlet.ring.lock();
        let n = budget.min(frames.queue.len());
        sink.extend(frames.queue.drain(..n).map(|mut packet| {
            packet.rx_at = now;
            packet
        }));
        // Half empty before the sender is woken, so that it sends a batch.
        let half_empty = frames.queue.len() <= self.bell.queue_frames / 2;
        let room = frames.wants_room && !frames.told && half_empty;
        frames.told |= room;
        drop(frames);
        if room {
            self.inlet.peer.notify();
        }
        Ok(n)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Doorbell(Arc::clone(&self.bell) as Arc<dyn Doorbell>)
    }
}

struct PairTx {
    ring: Arc<Ring>,
    bell: Arc<EndBell>,
    peer: Arc<Bell>,
}

impl LinkTx for PairTx {
    fn send(&mut self, _now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        let mut frames = self.ring.lock();
        if frames.closed {
            frames.stats.tx_refused += queue.len() as u64;
            queue.clear();
            frames.wants_room = false;
            return Ok(0);
        }
        let n = queue.len().min(self.bell.queue_frames.saturating_sub(frames.queue.len()));
        frames.queue.extend(queue.drain(..n));
        frames.wants_room = !queue.is_empty();
        frames.told = false;
        if frames.wants_room {
            frames.stats.tx_waits += 1;
        }
        drop(frames);
        if n > 0 {
            self.peer.notify();
        }
        Ok(n)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Doorbell(Arc::clone(&self.bell) as Arc<dyn Doorbell>)
    }
}

struct PairControl {
    ring: Arc<Ring>,
}

impl LinkControl for PairControl {
    fn set_filter(&mut self, _filter: &RxFilter) -> io::Result<()> {
        Ok(())
    }

    fn stats(&self) -> LinkStats {
        self.ring.lock().stats
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::driver::Signal;
    use crate::driver::threads::{ThreadDriver, Threads};

    fn frames(numbers: std::ops::Range<u32>) -> VecDeque<Packet> {
        numbers.map(|i| Packet::from_payload(Bytes::copy_from_slice(&i.to_ne_bytes()))).collect()
    }

    fn started(queue_frames: usize) -> (LinkQueue, LinkQueue) {
        let (a, b) = pair(&PairConfig { queue_frames, ..PairConfig::default() });
        let start = |end: PairLink| Box::new(end).start().unwrap().0.remove(0);
        (start(a), start(b))
    }

    fn bell(rx: &dyn LinkRx) -> Arc<dyn Doorbell> {
        match rx.readiness() {
            Readiness::Doorbell(bell) => bell,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_frame_rings_the_other_end_and_room_rings_back() {
        let (mut a, mut b) = started(2);
        let (bell_a, bell_b) = (bell(&*a.rx), bell(&*b.rx));
        assert!(bell_b.arm().is_some());
        bell_b.disarm();
        let mut out = frames(0..3);
        assert_eq!(a.tx.send(Instant::ZERO, &mut out).unwrap(), 2);
        assert_eq!(out.len(), 1, "the third waits with the sender");
        assert!(bell_b.arm().is_none(), "something is there");
        let before = bell_a.arm().expect("no room yet");
        let mut got = Vec::new();
        assert_eq!(b.rx.recv(Instant::ZERO, 64, &mut got, None).unwrap(), 2);
        assert_ne!(bell_a.word().load(Ordering::SeqCst), before, "room was made known");
        assert_eq!(a.tx.send(Instant::ZERO, &mut out).unwrap(), 1);
    }

    #[test]
    fn room_made_before_the_sender_arms_keeps_it_awake() {
        let (mut a, mut b) = started(2);
        let bell_a = bell(&*a.rx);
        let mut out = frames(0..3);
        assert_eq!(a.tx.send(Instant::ZERO, &mut out).unwrap(), 2);
        let before = bell_a.word().load(Ordering::SeqCst);
        let mut got = Vec::new();
        for _ in 0..2 {
            assert_eq!(b.rx.recv(Instant::ZERO, 1, &mut got, None).unwrap(), 1);
        }
        let told = bell_a.word().load(Ordering::SeqCst).wrapping_sub(before);
        assert_eq!(told, 1, "a refusal is answered once");
        assert!(bell_a.arm().is_none(), "there is room for what was refused");
        assert_eq!(a.tx.send(Instant::ZERO, &mut out).unwrap(), 1);
        assert!(bell_a.arm().is_some(), "nothing waits any more");
    }

    #[test]
    fn a_dropped_end_swallows_and_counts() {
        let (a, b) = pair(&PairConfig::default());
        let (mut queues, control) = Box::new(a).start().unwrap();
        drop(b);
        let mut out = frames(0..3);
        assert_eq!(queues[0].tx.send(Instant::ZERO, &mut out).unwrap(), 0);
        assert!(out.is_empty());
        assert_eq!(control.stats().tx_refused, 3);
    }

    #[test]
    fn who_was_refused_by_an_end_that_closed_sleeps_after_its_next_send() {
        let (mut a, b) = started(2);
        let bell_a = bell(&*a.rx);
        let mut out = frames(0..3);
        assert_eq!(a.tx.send(Instant::ZERO, &mut out).unwrap(), 2);
        drop(b);
        assert!(bell_a.arm().is_none(), "what waits can go, and be counted");
        assert_eq!(a.tx.send(Instant::ZERO, &mut out).unwrap(), 0);
        assert!(bell_a.arm().is_some(), "nothing waits any more");
    }

    /// Sleeps as a driver does. A lost wake-up would hang the test.
    fn sleep(bell: &dyn Doorbell) {
        if let Some(seen) = bell.arm() {
            let _ = futex::wait(bell.word(), futex::Flags::PRIVATE, seen, None);
            bell.disarm();
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test plays the drivers")]
    fn no_wake_up_is_lost_between_threads() {
        const COUNT: u32 = 50_000;
        let (mut a, mut b) = started(4);
        let (bell_a, bell_b) = (bell(&*a.rx), bell(&*b.rx));
        let receiver = std::thread::spawn(move || {
            let mut got = Vec::new();
            while got.len() < COUNT as usize {
                if b.rx.recv(Instant::ZERO, 3, &mut got, None).unwrap() == 0 {
                    sleep(&*bell_b);
                }
            }
            got
        });
        let mut out = frames(0..COUNT);
        while !out.is_empty() {
            if a.tx.send(Instant::ZERO, &mut out).unwrap() == 0 {
                sleep(&*bell_a);
            }
        }
        let got = receiver.join().unwrap();
        let in_order = got.iter().zip(0u32..).all(|(p, i)| p.to_bytes()[..] == i.to_ne_bytes());
        assert!(in_order);
    }

    #[test]
    fn stacks_on_threads_talk_over_a_pair_and_none_is_lost() {
        let (a, b) = pair(&PairConfig { queue_frames: 4, ..PairConfig::default() });
        let to = b.info().mac;
        let start = |link: PairLink| {
            let driver = ThreadDriver::new();
            let engine = crate::world::tests::engine(driver.clone(), link);
            let threads = Threads::start(driver, &engine).unwrap();
            (engine, threads)
        };
        let ((a, _threads_a), (_b, _threads_b)) = (start(a), start(b));
        const COUNT: usize = 5_000;
        a.with_shard(0, |node, _| node.ping(to, COUNT));
        let signal = Signal::new();
        while !a.with_shard(0, |node, _| node.has_got(COUNT, signal.waker())) {
            a.driver().wait(&signal, None).unwrap();
        }
    }
}
