//! An interface with the queues of its link.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::NEVER;
use crate::capture::{CaptureTaps, Direction};
use crate::iface::Interface;
use crate::impair::Impairer;
use crate::link::{LinkControl, LinkQueue, Readiness};
use crate::packet::Packet;
use crate::stats::IfaceCounters;
use crate::sync::lock;
use crate::time::Instant;

/// An interface with its queues.
pub(super) struct Port {
    pub(super) iface: Arc<Interface>,
    pub(super) taps: CaptureTaps,
    pub(super) queues: Box<[PortQueue]>,
    /// What the link's frames meet; a loopback has none.
    pub(super) impairer: Option<Impairer>,
    pub(super) control: Mutex<Box<dyn LinkControl>>,
    /// Of the change of the filter that stands; written under the lock of `control`.
    pub(super) filter_generation: AtomicU64,
    /// Queues whose device is gone for now; the interface runs while there are none. Rank: a leaf.
    pub(super) lost_queues: Mutex<usize>,
}

pub(super) struct PortQueue {
    /// Frames that shards have put out, in order. Rank: after shard and link.
    pub(super) out: Mutex<VecDeque<Packet>>,
    pub(super) tx: Mutex<TxSide>,
    pub(super) rx: Mutex<RxSide>,
    pub(super) readiness: Readiness,
    /// The link refused frames; its readiness will fire.
    pub(super) blocked: AtomicBool,
    /// When the link wants to be sent to, with frames or without; `u64::MAX`: not on its own.
    pub(super) send_due: AtomicU64,
    /// When it has something to receive although its readiness does not fire.
    pub(super) arrival_due: AtomicU64,
    /// A shard has more than the queue had room for.
    pub(super) starved: AtomicBool,
    /// Its device is gone for now; changed under `Port::lost_queues`.
    pub(super) is_lost: AtomicBool,
    /// The link failed for good.
    pub(super) is_broken: AtomicBool,
    /// Requests to deliver what was looped back; whoever raises it from zero serves all.
    pub(super) pump_requests: AtomicUsize,
}

pub(super) struct TxSide {
    pub(super) link: Box<dyn crate::link::LinkTx>,
    /// Taken from `out`, not yet accepted by the link.
    pub(super) pending: VecDeque<Packet>,
    /// Changes places with `out`, empty, so that neither is made anew for each batch.
    pub(super) spare: VecDeque<Packet>,
}

pub(super) struct RxSide {
    pub(super) link: Box<dyn crate::link::LinkRx>,
    /// The last batch's buffer, empty, to be filled again.
    pub(super) batch: Vec<Packet>,
}

impl Port {
    /// A queue cannot send or receive now: the interface stops.
    pub(super) fn lost_link(&self, queue: &PortQueue, error: &io::Error) {
        let mut lost = lock(&self.lost_queues);
        if queue.is_lost.swap(true, Ordering::AcqRel) {
            return;
        }
        *lost += 1;
        if *lost == 1 {
            tracing::warn!(iface = %self.iface.name, %error, "the link is down");
            self.iface.reconfigure(|config| config.running = false);
        }
    }

    /// A queue works: the interface goes on once all do.
    pub(super) fn found_link(&self, queue: &PortQueue) {
        if !queue.is_lost.load(Ordering::Relaxed) {
            return;
        }
        let mut lost = lock(&self.lost_queues);
        if !queue.is_lost.swap(false, Ordering::AcqRel) {
            return;
        }
        *lost -= 1;
        if *lost == 0 {
            tracing::warn!(iface = %self.iface.name, "the link is back");
            self.iface.reconfigure(|config| config.running = true);
        }
    }

    pub(super) fn queue_number(&self, shard: usize) -> usize {
        shard % self.queues.len()
    }

    pub(super) fn queue_of(&self, shard: usize) -> &PortQueue {
        &self.queues[self.queue_number(shard)]
    }

    pub(super) fn count_received(&self, now: Instant, frames: &[Packet]) {
        let bytes: usize = frames.iter().map(Packet::len).sum();
        IfaceCounters::bump(&self.iface.counters.rx_frames, frames.len() as u64);
        IfaceCounters::bump(&self.iface.counters.rx_bytes, bytes as u64);
        // A tap that was added just now sees whole frames alone.
        for packet in frames.iter().filter(|packet| packet.landed_range().is_none()) {
            self.taps.show(now, Direction::In, packet);
        }
    }
}

impl PortQueue {
    pub(super) fn new(queue: LinkQueue) -> Self {
        PortQueue {
            readiness: queue.rx.readiness(),
            out: Mutex::new(VecDeque::new()),
            tx: Mutex::new(TxSide {
                link: queue.tx,
                pending: VecDeque::new(),
                spare: VecDeque::new(),
            }),
            rx: Mutex::new(RxSide { link: queue.rx, batch: Vec::new() }),
            blocked: AtomicBool::new(false),
            send_due: AtomicU64::new(NEVER),
            arrival_due: AtomicU64::new(NEVER),
            starved: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            pump_requests: AtomicUsize::new(0),
        }
    }
}
