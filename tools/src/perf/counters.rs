//! What a stream's thread counts, and the reporter reads while it runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libnet::net::TcpStream;
use libnet::socket::SocketId;
use rumpnet::Stack;
use rumpnet::libnetinet::Inet;

use super::cpu::Load;
use super::histogram::Histogram;
use super::plan::{Mode, Plan};
use super::results::Results;

/// One stream's figures.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Payload bytes.
    pub(super) bytes: AtomicU64,
    /// Datagrams, or transactions.
    pub(super) packets: AtomicU64,
    /// Of UDP: datagrams that did not come.
    pub(super) lost: AtomicU64,
    /// Of UDP: datagrams that came after a later one.
    pub(super) out_of_order: AtomicU64,
    /// Of UDP: RFC 3550 §6.4.1 interarrival jitter, in nanoseconds.
    pub(super) jitter_ns: AtomicU64,
    /// When the last of it came, in nanoseconds since the start.
    pub(super) last_ns: AtomicU64,
    /// Of request/response: how long each took.
    pub(super) latency: Histogram,
    /// Of a TCP sender: its connection, where it is one of our own stack.
    pub(super) sender: OnceLock<Sender>,
}

/// A connection that is asked how it fares.
pub(super) struct Sender {
    inet: Arc<Inet>,
    id: SocketId,
}

/// How a sender's connection stands at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Standing {
    pub(super) cwnd_bytes: u32,
    pub(super) snd_wnd_bytes: u32,
    pub(super) rtt: Duration,
    pub(super) rttvar: Duration,
    pub(super) path_mtu_bytes: u32,
}

impl Sender {
    /// `None` for a connection of the host's own stack, which tells nobody else.
    pub(super) fn of(stack: &Stack, stream: &TcpStream) -> Option<Sender> {
        Some(Sender { inet: Arc::clone(stack.inet()?), id: stream.socket().id() })
    }

    /// Segments sent again since its beginning, and how it stands.
    fn look(&self) -> Option<(u64, Standing)> {
        let info = self.inet.tcp_info(self.id)?;
        let standing = Standing {
            cwnd_bytes: info.cwnd_bytes,
            snd_wnd_bytes: info.snd_wnd_bytes,
            rtt: info.srtt.unwrap_or_default(),
            rttvar: info.rttvar,
            path_mtu_bytes: info.path_mtu_bytes,
        };
        Some((info.retransmits, standing))
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sender").field(&self.id).finish()
    }
}

/// The figures at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Figures {
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) out_of_order: u64,
    pub(super) jitter_ns: u64,
    /// Of a TCP sender: segments sent again; `None`: nobody knows.
    pub(super) retransmits: Option<u64>,
    /// Of one of our own, how its connection stands.
    pub(super) standing: Option<Standing>,
}

impl Counters {
    /// Something came now.
    pub(super) fn note(&self, pace: &Pace) {
        let ns = u64::try_from(pace.started().elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_ns.store(ns, Relaxed);
    }

    pub(super) fn read(&self) -> Figures {
        let sender = self.sender.get().and_then(Sender::look);
        Figures {
            bytes: self.bytes.load(Relaxed),
            packets: self.packets.load(Relaxed),
            lost: self.lost.load(Relaxed),
            out_of_order: self.out_of_order.load(Relaxed),
            jitter_ns: self.jitter_ns.load(Relaxed),
            retransmits: sender.map(|(retransmits, _)| retransmits),
            standing: sender.map(|(_, standing)| standing),
        }
    }
}

impl Figures {
    /// What came since `earlier`; jitter and how a connection stands are as they are now.
    pub(super) fn since(self, earlier: Figures) -> Figures {
        Figures {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            packets: self.packets.saturating_sub(earlier.packets),
            lost: self.lost.saturating_sub(earlier.lost),
            out_of_order: self.out_of_order.saturating_sub(earlier.out_of_order),
            jitter_ns: self.jitter_ns,
            retransmits: self
                .retransmits
                .map(|now| now.saturating_sub(earlier.retransmits.unwrap_or(0))),
            standing: self.standing,
        }
    }

    /// Of several streams: sums, and the mean jitter.
    pub(super) fn sum(all: &[Figures]) -> Figures {
        let mut sum = Figures::default();
        for one in all {
            sum.bytes = sum.bytes.saturating_add(one.bytes);
            sum.packets = sum.packets.saturating_add(one.packets);
            sum.lost = sum.lost.saturating_add(one.lost);
            sum.out_of_order = sum.out_of_order.saturating_add(one.out_of_order);
            sum.jitter_ns = sum.jitter_ns.saturating_add(one.jitter_ns);
        }
        sum.jitter_ns /= (all.len() as u64).max(1);
        sum.retransmits = all.iter().map(|one| one.retransmits).sum();
        sum
    }
}

/// Asks the connections of a bulk transfer's sender from now on how they fare.
pub(super) fn watch<'a>(
    stack: &Stack,
    plan: &Plan,
    streams: impl Iterator<Item = Option<&'a TcpStream>>,
    counters: &[Arc<Counters>],
) {
    if plan.mode != Mode::Tcp {
        return;
    }
    for (stream, counters) in streams.zip(counters) {
        if let Some(sender) = stream.and_then(|stream| Sender::of(stack, stream)) {
            // Each has one stream for its life.
            let _ = counters.sender.set(sender);
        }
    }
}

/// What had been counted when counting began in earnest.
#[derive(Debug)]
pub(super) struct Baseline {
    at: Duration,
    figures: Vec<Figures>,
}

impl Baseline {
    /// Everything counts.
    pub(super) fn none(streams: usize) -> Self {
        Baseline { at: Duration::ZERO, figures: vec![Figures::default(); streams] }
    }

    pub(super) fn new(at: Duration, figures: Vec<Figures>) -> Self {
        Baseline { at, figures }
    }

    /// Bytes that count.
    pub(super) fn bytes(&self, now: &[Figures]) -> u64 {
        Figures::sum(&self.since(now)).bytes
    }

    fn since(&self, now: &[Figures]) -> Vec<Figures> {
        now.iter().zip(&self.figures).map(|(now, before)| now.since(*before)).collect()
    }

    /// What counts, of a measurement that was stopped `seconds` after its start, or when the last of it
    /// came in.
    pub(super) fn results(&self, counters: &[Arc<Counters>], seconds: f64, load: Load) -> Results {
        // How a connection stands then says nothing of the whole.
        let read = |one: &Arc<Counters>| Figures { standing: None, ..one.read() };
        let figures: Vec<Figures> = counters.iter().map(read).collect();
        let last_ns = counters.iter().map(|one| one.last_ns.load(Relaxed)).max().unwrap_or(0);
        let seconds = seconds.max(last_ns as f64 / 1e9) - self.at.as_secs_f64();
        Results { seconds, streams: self.since(&figures), load }
    }
}

/// When to go on and when to stop, for all threads of a measurement.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    stop: Arc<AtomicBool>,
    started: Instant,
}

impl Pace {
    /// Starts now.
    pub(super) fn start() -> Self {
        Pace { stop: Arc::new(AtomicBool::new(false)), started: Instant::now() }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }
}
