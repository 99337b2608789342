//! The loopback link: what is sent is received at the same end, whole.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ethernet::MacAddr;
use crate::landing::Landing;
use crate::link::{
    Link, LinkControl, LinkInfo, LinkQueue, LinkRx, LinkStats, LinkTx, Medium, Offload, Readiness,
    RxFilter,
};
use crate::packet::{Checksum, Packet};
use crate::time::Instant;

/// The link under `lo0`. Carries bare IP packets; nothing is cut and no checksum is computed,
/// because a packet never leaves the process.
#[derive(Clone, Debug)]
pub struct Loopback {
    mtu: u32,
    queue_frames: usize,
}

impl Loopback {
    /// MTU of Linux's loopback, in bytes.
    pub const DEFAULT_MTU: u32 = 65_536;
    /// Frames that wait for delivery at most, by default; past it, senders wait.
    pub const DEFAULT_QUEUE_FRAMES: usize = 256;

    /// A loopback link with an MTU in bytes.
    pub const fn new(mtu: u32) -> Self {
        Loopback { mtu, queue_frames: Self::DEFAULT_QUEUE_FRAMES }
    }

    /// Bounds the frames that wait for delivery; at least one.
    #[must_use]
    pub const fn queue_frames(mut self, frames: usize) -> Self {
        self.queue_frames = if frames == 0 { 1 } else { frames };
        self
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Loopback::new(Self::DEFAULT_MTU)
    }
}

impl Link for Loopback {
    fn info(&self) -> LinkInfo {
        LinkInfo {
            kind: "lo",
            target: String::new(),
            medium: Medium::Ip,
            mac: MacAddr::ZERO,
            mtu: self.mtu,
            offload: Offload::FULL,
            loopback: true,
            quiet: true,
        }
    }

    fn start(self: Box<Self>) -> io::Result<(Vec<LinkQueue>, Box<dyn LinkControl>)> {
        let ring = Arc::new(Ring {
            frames: Mutex::new(State::default()),
            capacity_frames: self.queue_frames,
        });
        let rx = Box::new(End(Arc::clone(&ring)));
        let tx = Box::new(End(Arc::clone(&ring)));
        Ok((vec![LinkQueue { rx, tx }], Box::new(End(ring))))
    }
}

/// Guards the frames under way. Rank: a link's own lock, a leaf.
struct Ring {
    frames: Mutex<State>,
    capacity_frames: usize,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Packet>,
    stats: LinkStats,
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct End(Arc<Ring>);

impl LinkRx for End {
    fn recv(
        &mut self,
        now: Instant,
        budget: usize,
        sink: &mut Vec<Packet>,
        _: Option<&mut Landing<'_>>,
    ) -> io::Result<usize> {
        let mut state = self.0.lock();
        let n = budget.min(state.frames.len());
        sink.extend(state.frames.drain(..n).map(|mut packet| {
            packet.rx_at = now;
            packet
        }));
        Ok(n)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Never
    }
}

impl LinkTx for End {
    fn send(&mut self, _now: Instant, queue: &mut VecDeque<Packet>) -> io::Result<usize> {
        let mut state = self.0.lock();
        let n = queue.len().min(self.0.capacity_frames.saturating_sub(state.frames.len()));
        state.frames.extend(queue.drain(..n).map(|mut packet| {
            // The sum would be over memory that nobody else can write.
            if let Checksum::Partial { .. } = packet.checksum {
                packet.checksum = Checksum::Trusted;
            }
            packet
        }));
        if !queue.is_empty() {
            state.stats.tx_waits += 1;
        }
        Ok(n)
    }

    fn readiness(&self) -> Readiness {
        Readiness::Never
    }
}

impl LinkControl for End {
    fn set_filter(&mut self, _filter: &RxFilter) -> io::Result<()> {
        Ok(())
    }

    fn stats(&self) -> LinkStats {
        self.0.lock().stats
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn packets(n: u8) -> VecDeque<Packet> {
        (0..n).map(|i| Packet::from_payload(Bytes::copy_from_slice(&[i]))).collect()
    }

    #[test]
    fn what_is_sent_is_received_in_order_and_trusted() {
        let (mut queues, _) = Box::new(Loopback::default()).start().unwrap();
        let mut sent = packets(3);
        sent[1].checksum = Checksum::Partial { start: 0, field: 0 };
        assert_eq!(queues[0].tx.send(Instant::ZERO, &mut sent).unwrap(), 3);
        let mut got = Vec::new();
        let now = Instant::from_millis(5);
        assert_eq!(queues[0].rx.recv(now, 2, &mut got, None).unwrap(), 2);
        assert_eq!(queues[0].rx.recv(now, 2, &mut got, None).unwrap(), 1);
        assert_eq!(queues[0].rx.recv(now, 2, &mut got, None).unwrap(), 0);
        assert!(got.iter().zip(0u8..).all(|(packet, i)| packet.to_bytes()[..] == [i]));
        assert_eq!(got[1].checksum, Checksum::Trusted);
        assert_eq!(got[2].rx_at, now);
    }

    #[test]
    fn a_full_queue_leaves_the_rest_with_the_sender() {
        let (mut queues, control) = Box::new(Loopback::new(1500).queue_frames(2)).start().unwrap();
        let mut sent = packets(5);
        assert_eq!(queues[0].tx.send(Instant::ZERO, &mut sent).unwrap(), 2);
        assert_eq!(sent.len(), 3);
        assert_eq!(control.stats().tx_waits, 1);
        queues[0].rx.recv(Instant::ZERO, 1, &mut Vec::new(), None).unwrap();
        assert_eq!(queues[0].tx.send(Instant::ZERO, &mut sent).unwrap(), 1);
    }
}
