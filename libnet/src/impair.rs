//! Harms frames on purpose: rate, delay, loss, duplication, reordering, flipped bits, seeded.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::gso;
use crate::link::{LinkInfo, Offload};
use crate::packet::{Checksum, Packet};
use crate::time::Instant;

mod config;
mod fault;

pub use config::{Fcs, Impairments, Loss, Overflow, QueueLimit};
use fault::Rule;
pub use fault::{Fault, FaultCount, Which};

/// What a direction did to frames so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ImpairStats {
    /// Frames that were to cross; a super-frame counts as its pieces.
    pub offered: u64,
    /// Frames that arrive, duplicates among them.
    pub delivered: u64,
    /// Lost at random.
    pub lost: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Held back for later ones to overtake.
    pub reordered: u64,
    /// Had a bit flipped.
    pub corrupted: u64,
    /// Of those, dropped because the check sequence was wrong.
    pub fcs_dropped: u64,
    /// Dropped because the queue in front of the wire was full.
    pub queue_dropped: u64,
    /// Delayed by jitter.
    pub jittered: u64,
    /// Harmed by a fault that a test asked for by predicate.
    pub injected: u64,
    /// Super-frames dropped because what was said of them could not be true.
    pub unfit: u64,
}

/// A frame, and when it arrives.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When.
    pub at: Instant,
    /// The frame.
    pub packet: Packet,
}

/// One direction of a link that harms frames. Pure: it is told the time and says when what
/// arrives; the caller keeps the events.
///
/// ```text
///            queue        wire                          in flight
///  offer ─>┌───────┐ ─> rate ─> loss, flipped bit ─> delay, jitter, reordering, twice ─> at
///          └───────┘
/// ```
///
/// Super-frames are cut and checksums completed before any harm is done, and what arrives is
/// [`Checksum::Unverified`]: a flipped bit is the stack's to find.
pub struct Impair {
    config: Impairments,
    wire: LinkInfo,
    rng: ChaCha8Rng,
    /// The state of [`Loss::GilbertElliott`].
    in_bad_state: bool,
    wire_free_at: Instant,
    /// Frames not yet wholly on the wire: when they are, and their bytes.
    queued: VecDeque<(Instant, usize)>,
    queued_bytes: u64,
    /// When the last frame arrives that kept its place.
    last_at: Instant,
    rules: Vec<Rule>,
    stats: ImpairStats,
    /// Faults that were ever asked for, by [`KNOBS`].
    asked: [bool; KNOBS.len()],
}

const KNOBS: [&str; 5] = ["loss", "duplicate", "reorder", "corrupt", "queue limit"];

impl Impair {
    /// A direction of a link like `link`; what it does is a function of `seed` and the frames.
    pub fn new(config: Impairments, link: &LinkInfo, seed: [u8; 32]) -> Self {
        let mut wire = link.clone();
        wire.offload = Offload::NONE;
        let mut impair = Impair {
            config: Impairments::none(),
            wire,
            rng: ChaCha8Rng::from_seed(seed),
            in_bad_state: false,
            wire_free_at: Instant::ZERO,
            queued: VecDeque::new(),
            queued_bytes: 0,
            last_at: Instant::ZERO,
            rules: Vec::new(),
            stats: ImpairStats::default(),
            asked: [false; KNOBS.len()],
        };
        impair.configure(config);
        impair
    }

    /// Changes what it does to the frames that come from now on.
    pub fn configure(&mut self, config: Impairments) {
        let asked = [
            config.loss != Loss::None,
            config.duplicate > 0.0,
            config.reorder > 0.0,
            config.corrupt > 0.0,
            config.queue.overflow == Overflow::Drops,
        ];
        for (ever, now) in self.asked.iter_mut().zip(asked) {
            *ever |= now;
        }
        self.config = config;
    }

    /// Harms the frames that `matches`, as [`Which`] of them are meant. The frame is shown as it
    /// is on the wire, link header first, before any other harm. The name is for reports.
    pub fn inject(
        &mut self,
        name: &str,
        which: Which,
        fault: Fault,
        matches: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> FaultCount {
        let rule = Rule::new(name, which, fault, Box::new(matches));
        let count = rule.count();
        self.rules.push(rule);
        count
    }

    /// Takes all injected faults out.
    pub fn clear_injected(&mut self) {
        self.rules.clear();
    }

    /// Sends a frame on its way; appends what arrives, and when. It is taken even when
    /// [`room_at`](Self::room_at) says that there is no room: a sender that may wait asks first.
    pub fn offer(&mut self, now: Instant, packet: Packet, out: &mut Vec<Delivery>) {
        if !self.config.harms() && self.rules.is_empty() {
            self.stats.offered += 1;
            return self.arrive_in_order(now + self.config.delay, packet, out);
        }
        let mut pieces = VecDeque::new();
        if gso::fit_to_link(packet, &self.wire, &mut pieces).is_err() {
            self.stats.unfit += 1;
        }
        for mut piece in pieces {
            piece.checksum = Checksum::Unverified;
            self.offer_frame(now, piece, out);
        }
    }

    /// When the queue has room for a sender that waits; `now` if it has.
    pub fn room_at(&mut self, now: Instant) -> Instant {
        self.forget_sent(now);
        let limit = self.config.queue;
        if limit.overflow == Overflow::Drops || !self.is_full(0) {
            return now;
        }
        self.queued.front().map_or(now, |&(at, _)| at)
    }

    /// What it does now.
    pub fn config(&self) -> &Impairments {
        &self.config
    }

    /// What it did so far.
    pub fn stats(&self) -> ImpairStats {
        self.stats
    }

    /// Names the faults that were asked for and never fired.
    pub fn unfired(&self) -> Vec<String> {
        let s = &self.stats;
        let fired = [s.lost, s.duplicated, s.reordered, s.corrupted, s.queue_dropped];
        let knobs = KNOBS.iter().zip(self.asked).zip(fired);
        let mut names: Vec<String> = knobs
            .filter(|&((_, asked), fired)| asked && fired == 0)
            .map(|((name, _), _)| (*name).to_owned())
            .collect();
        names.extend(self.rules.iter().filter(|rule| !rule.has_fired()).map(Rule::describe));
        names
    }

    fn offer_frame(&mut self, now: Instant, mut frame: Packet, out: &mut Vec<Delivery>) {
        self.stats.offered += 1;
        let verdict = self.apply_rules(&mut frame);
        if verdict.drop {
            return;
        }
        self.forget_sent(now);
        if self.config.queue.overflow == Overflow::Drops && self.is_full(frame.len()) {
            self.stats.queue_dropped += 1;
            return;
        }
        let sent_at = self.serialize(now, frame.len());
        if self.is_lost() {
            self.stats.lost += 1;
            return;
        }
        if self.chance(self.config.corrupt) {
            let bit = self.below(frame.len() as u64 * 8);
            flip(&mut frame, bit);
            self.stats.corrupted += 1;
            if self.config.fcs == Fcs::Catches {
                self.stats.fcs_dropped += 1;
                return;
            }
        }
        self.fly(sent_at, frame, verdict, out);
    }

    /// From the end of serialization to arrival.
    fn fly(
        &mut self,
        sent_at: Instant,
        frame: Packet,
        verdict: fault::Verdict,
        out: &mut Vec<Delivery>,
    ) {
        let mut at = sent_at + self.config.delay;
        if !self.config.jitter.is_zero() {
            at += self.below_duration(self.config.jitter);
            self.stats.jittered += 1;
        }
        let twice = self.chance(self.config.duplicate);
        let held_back = self.chance(self.config.reorder);
        if twice {
            self.stats.duplicated += 1;
        }
        if twice || verdict.duplicate {
            self.arrive_in_order(at, frame.clone(), out);
        }
        let mut late = verdict.delay;
        if held_back {
            self.stats.reordered += 1;
            late += Duration::from_nanos(1) + self.below_duration(self.config.reorder_by);
        }
        if late.is_zero() {
            return self.arrive_in_order(at, frame, out);
        }
        self.stats.delivered += 1;
        out.push(Delivery { at: at.max(self.last_at) + late, packet: frame });
    }

    fn arrive_in_order(&mut self, at: Instant, packet: Packet, out: &mut Vec<Delivery>) {
        self.last_at = self.last_at.max(at);
        self.stats.delivered += 1;
        out.push(Delivery { at: self.last_at, packet });
    }

    fn apply_rules(&mut self, frame: &mut Packet) -> fault::Verdict {
        let mut verdict = fault::Verdict::default();
        if self.rules.is_empty() {
            return verdict;
        }
        let bytes = frame.to_bytes();
        for rule in &mut self.rules {
            let Some(fault) = rule.hit(&bytes) else { continue };
            self.stats.injected += 1;
            match fault {
                Fault::Drop => verdict.drop = true,
                Fault::Duplicate => verdict.duplicate = true,
                Fault::Delay(by) => verdict.delay += by,
                Fault::FlipBit(bit) => flip(frame, u64::from(bit)),
            }
        }
        verdict
    }

    /// Puts a frame on the wire; when its last bit is on it.
    fn serialize(&mut self, now: Instant, bytes: usize) -> Instant {
        let rate = self.config.rate_bits_per_second;
        if rate == 0 {
            return now.max(self.wire_free_at);
        }
        let nanos = (bytes as u128 * 8 * 1_000_000_000).div_ceil(u128::from(rate));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.wire_free_at = now.max(self.wire_free_at) + takes;
        self.queued.push_back((self.wire_free_at, bytes));
        self.queued_bytes += bytes as u64;
        self.wire_free_at
    }

    fn forget_sent(&mut self, now: Instant) {
        while let Some(&(at, bytes)) = self.queued.front()
            && at <= now
        {
            self.queued.pop_front();
            self.queued_bytes -= bytes as u64;
        }
    }

    fn is_full(&self, more_bytes: usize) -> bool {
        let limit = self.config.queue;
        let bytes = self.queued_bytes + more_bytes as u64;
        self.queued.len() >= limit.frames.max(1) || (!self.queued.is_empty() && bytes > limit.bytes)
    }

    fn is_lost(&mut self) -> bool {
        match self.config.loss {
            Loss::None => false,
            Loss::Random(probability) => self.chance(probability),
            Loss::GilbertElliott { enter, leave, loss_good, loss_bad } => {
                let turn = if self.in_bad_state { leave } else { enter };
                self.in_bad_state ^= self.chance(turn);
                self.chance(if self.in_bad_state { loss_bad } else { loss_good })
            }
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        // 53 bits: what a double holds exactly.
        ((self.rng.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// Uniform in 0..bound; 0 if the bound is 0.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.rng.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    fn below_duration(&mut self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos))
    }
}

impl fmt::Debug for Impair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impair")
            .field("config", &self.config)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// Flips a bit, counted from the first byte's highest; past the end nothing happens.
fn flip(frame: &mut Packet, bit: u64) {
    let mut bytes = BytesMut::from(&frame.to_bytes()[..]);
    if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
        *byte ^= 0x80 >> (bit % 8);
    }
    *frame = Packet::received(bytes.freeze(), frame.rx_at);
}

#[cfg(test)]
mod tests;
