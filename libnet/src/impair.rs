//! Harms frames on purpose: rate, delay, loss, duplication, reordering, flipped bits, seeded.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::ethernet::EthernetHeader;
use crate::gso;
use crate::link::{LinkInfo, Offload};
use crate::packet::{Checksum, Packet};
use crate::time::Instant;

mod admit;
mod asked;
mod codel;
mod config;
mod fault;
mod flows;
mod line;
mod link;
mod queue;
mod red;
mod schedule;

use asked::Asked;
use codel::Waiting;
pub use config::{Discipline, Fcs, Impairments, Loss, Overflow, QueueLimit};
use fault::Rule;
pub use fault::{Fault, FaultCount, Which};
pub use link::{ImpairConfig, Impairer};
use queue::Queue;
use red::Red;
use schedule::Running;
pub use schedule::{Schedule, Step};

/// Which direction of a stack's link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Way {
    /// From the stack to the link.
    Out,
    /// From the link to the stack.
    In,
}

impl Way {
    /// Both.
    pub const BOTH: [Way; 2] = [Way::Out, Way::In];

    /// As keys and reports have it: `out`, `in`.
    pub const fn name(self) -> &'static str {
        match self {
            Way::Out => "out",
            Way::In => "in",
        }
    }
}

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
    /// Lost because the link was down.
    pub lost_down: u64,
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
    /// Dropped by CoDel, with flows or without, because all had waited too long.
    pub codel_dropped: u64,
    /// Dropped by RED because the queue was long on the average.
    pub red_dropped: u64,
    /// Marked by one of them instead (ECN).
    pub ecn_marked: u64,
    /// Delayed by jitter.
    pub jittered: u64,
    /// Harmed by a fault that a test asked for by predicate.
    pub injected: u64,
    /// Super-frames dropped because what was said of them could not be true.
    pub unfit: u64,
    /// Dropped because too many were under way already ([`ImpairConfig::max_delayed_frames`]).
    pub too_many: u64,
}

/// A frame, and when it arrives.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When.
    pub at: Instant,
    /// The frame.
    pub packet: Packet,
}

/// A frame that was lost, and why.
pub(crate) struct Lost {
    pub(crate) why: Cow<'static, str>,
    pub(crate) frame: Packet,
}

/// One direction of a link that harms frames. Pure: it is told the time and says when what
/// arrives; the caller keeps the events, and calls [`advance`](Self::advance) at
/// [`next_at`](Self::next_at), when a frame has left the wire and the next may go onto it.
///
/// ```text
///            queue        wire                          in flight
///  offer ─>┌───────┐ ─> rate ─> loss, flipped bit ─> delay, jitter, reordering, twice ─> at
///          └───────┘
///            CoDel, RED, flows
/// ```
///
/// Super-frames are cut and checksums completed before any harm is done, and what arrives is
/// [`Checksum::Unverified`]: a flipped bit is the stack's to find.
pub struct Impair {
    config: Impairments,
    /// What is to change.
    schedule: Option<Box<Running>>,
    wire: LinkInfo,
    rng: ChaCha8Rng,
    /// The state of [`Loss::GilbertElliott`].
    in_bad_state: bool,
    queue: Queue,
    on_wire: Option<OnWire>,
    /// When the last frame left the wire.
    wire_free_at: Instant,
    /// The rate at which the frame on the wire was put there, if that has changed since.
    rate_was: Option<u64>,
    /// When the last frame arrives that kept its place.
    last_at: Instant,
    rules: Vec<Rule>,
    stats: ImpairStats,
    /// What was lost since somebody asked, for whoever wants to know.
    lost: Option<Vec<Lost>>,
    asked: Asked,
}

/// A frame on the wire, and when its last bit is.
struct OnWire {
    waiting: Waiting,
    ends: Instant,
}

impl Impair {
    /// A direction of a link like `link`; what it does is a function of `seed` and the frames.
    pub fn new(config: impl Into<Schedule>, link: &LinkInfo, seed: [u8; 32]) -> Self {
        let mut wire = link.clone();
        wire.offload = Offload::NONE;
        let longest_frame = wire.mtu as usize + EthernetHeader::LEN;
        let mut impair = Impair {
            queue: Queue::new(seed, wire.medium, longest_frame),
            config: Impairments::none(),
            schedule: None,
            wire,
            rng: ChaCha8Rng::from_seed(seed),
            in_bad_state: false,
            on_wire: None,
            wire_free_at: Instant::ZERO,
            rate_was: None,
            last_at: Instant::ZERO,
            rules: Vec::new(),
            stats: ImpairStats::default(),
            lost: None,
            asked: Asked::default(),
        };
        impair.configure(config);
        impair
    }

    /// Does from now on what it would have done from the start with this seed.
    pub fn reseed(&mut self, seed: [u8; 32]) {
        self.rng = ChaCha8Rng::from_seed(seed);
        self.in_bad_state = false;
        self.queue.reseed(seed);
    }

    /// Keeps what it loses from now on, for [`take_lost`](Self::take_lost).
    pub(crate) fn keep_lost(&mut self) {
        self.lost = Some(Vec::new());
    }

    /// What was lost since the last time.
    pub(crate) fn take_lost(&mut self) -> Vec<Lost> {
        self.lost.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Changes what it does to the frames that come from now on, and to those that wait for the
    /// wire. [`next_at`](Self::next_at) holds only after [`advance`](Self::advance), with which a
    /// schedule begins.
    pub fn configure(&mut self, config: impl Into<Schedule>) {
        let schedule = config.into();
        self.change(schedule.start().clone());
        self.schedule = Running::new(schedule);
    }

    /// Begins a schedule that has not begun.
    pub(crate) fn begin(&mut self, now: Instant) {
        if let Some(running) = &mut self.schedule {
            running.begin(now);
        }
    }

    fn change(&mut self, config: Impairments) {
        self.asked.note(&config);
        if config.rate_bits_per_second != self.config.rate_bits_per_second {
            self.rate_was.get_or_insert(self.config.rate_bits_per_second);
        }
        self.queue.set_discipline(config.queue.discipline);
        if config.queue.measure() != self.config.queue.measure() {
            // Its average is in what the limit was told in.
            self.queue.red = Red::default();
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
        self.advance(now, out);
        if !self.config.harms() && self.rules.is_empty() && self.on_wire.is_none() {
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

    /// Takes from the wire what has left it by now, and puts the next onto it; appends what
    /// arrives, and when.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<Delivery>) {
        while let Some(running) = &mut self.schedule {
            let Some((at, mut config)) = running.due(now) else { break };
            // Of changes at one time the last alone holds for any: a rate that is taken back and given
            // again, or a schedule that begins again, lets no frame leave in between.
            while running.next_at() == Some(at)
                && let Some((_, last)) = running.due(now)
            {
                config = last;
            }
            self.serve_wire(at, out);
            self.change(config);
            self.keep_to_rate(at);
        }
        self.serve_wire(now, out);
    }

    fn serve_wire(&mut self, now: Instant, out: &mut Vec<Delivery>) {
        self.keep_to_rate(now);
        loop {
            if let Some(OnWire { waiting, ends }) = self.on_wire.take_if(|wire| wire.ends <= now) {
                self.wire_free_at = ends;
                self.cross(ends, waiting, out);
            }
            if self.on_wire.is_some() {
                return;
            }
            let Some(since) = self.queue.first_since() else {
                return self.queue.red.is_empty(self.wire_free_at);
            };
            let begins = self.wire_free_at.max(since);
            let Some(waiting) = self.dequeue(begins) else { return };
            let ends = begins + self.time_on_wire(waiting.frame.len() as u64);
            self.on_wire = Some(OnWire { waiting, ends });
        }
    }

    /// When [`advance`](Self::advance) is to be called next.
    pub fn next_at(&self) -> Option<Instant> {
        let ends = self.on_wire.as_ref()?.ends;
        // A step may change when the frame will have left; without one it waits for the next look.
        let step = self.schedule.as_ref().and_then(|running| running.next_at());
        Some(step.map_or(ends, |step| step.min(ends)))
    }

    /// Will it do to frames for ever what it does now?
    pub(crate) fn is_settled(&self) -> bool {
        self.schedule.as_ref().is_none_or(|running| running.is_over())
    }

    /// When the queue has room for a sender that waits; `now` if it has.
    pub fn room_at(&self, now: Instant) -> Instant {
        let waits = self.config.queue.overflow == Overflow::Waits && self.is_full(now, 1, 0);
        let ends = self.on_wire.as_ref().map(|wire| wire.ends);
        ends.filter(|_| waits).map_or(now, |ends| ends.max(now))
    }

    /// Frames that wait for the wire or are on it.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len() + usize::from(self.on_wire.is_some())
    }

    /// Their bytes.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let on_wire = self.on_wire.as_ref().map_or(0, |wire| wire.waiting.frame.len() as u64);
        self.queue.bytes() + on_wire
    }

    /// What it does to a frame that comes `now`, whether or not one has come lately.
    pub fn config_at(&self, now: Instant) -> &Impairments {
        self.schedule.as_ref().and_then(|running| running.at(now)).unwrap_or(&self.config)
    }

    /// What it did when it was last told the time.
    pub fn config(&self) -> &Impairments {
        &self.config
    }

    /// What it did so far.
    pub fn stats(&self) -> ImpairStats {
        self.stats
    }

    fn offer_frame(&mut self, now: Instant, mut frame: Packet, out: &mut Vec<Delivery>) {
        self.stats.offered += 1;
        let verdict = self.apply_rules(&mut frame);
        if verdict.drop {
            return;
        }
        let Some(frame) = self.admit(now, frame) else { return };
        self.queue.push(Waiting { since: now, frame, verdict });
        self.keep_to_limit(now);
        self.advance(now, out);
    }

    /// What the wire does to a frame that has left it.
    fn cross(&mut self, sent_at: Instant, waiting: Waiting, out: &mut Vec<Delivery>) {
        let Waiting { mut frame, verdict, .. } = waiting;
        if self.config.is_down {
            self.stats.lost_down += 1;
            return self.lose("the link was down", frame);
        }
        if self.is_lost() {
            self.stats.lost += 1;
            return self.lose("at random", frame);
        }
        if self.chance(self.config.corrupt) {
            let bit = self.below(frame.len() as u64 * 8);
            flip(&mut frame, bit);
            self.stats.corrupted += 1;
            if self.config.fcs == Fcs::Catches {
                self.stats.fcs_dropped += 1;
                return self.lose("its check sequence was wrong", frame);
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

    fn lose(&mut self, why: impl Into<Cow<'static, str>>, frame: Packet) {
        if let Some(lost) = &mut self.lost {
            lost.push(Lost { why: why.into(), frame });
        }
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
                Fault::Drop if verdict.drop => {}
                Fault::Drop => {
                    verdict.drop = true;
                    if let Some(lost) = &mut self.lost {
                        let why = format!("by `{}`", rule.name()).into();
                        lost.push(Lost { why, frame: frame.clone() });
                    }
                }
                Fault::Duplicate => verdict.duplicate = true,
                Fault::Delay(by) => verdict.delay += by,
                Fault::FlipBit(bit) => flip(frame, u64::from(bit)),
            }
        }
        verdict
    }

    fn time_on_wire(&self, bytes: u64) -> Duration {
        let rate = self.config.rate_bits_per_second;
        if rate == 0 {
            return Duration::ZERO;
        }
        let nanos = (u128::from(bytes) * 8 * 1_000_000_000).div_ceil(u128::from(rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// What is left of the frame on the wire goes at the rate that holds now.
    fn keep_to_rate(&mut self, now: Instant) {
        let Some(was) = self.rate_was.take() else { return };
        let rate = self.config.rate_bits_per_second;
        let Some(wire) = self.on_wire.as_mut().filter(|wire| wire.ends > now) else { return };
        let left = wire.ends.since(now).as_nanos() * u128::from(was);
        let left = left.checked_div(u128::from(rate)).unwrap_or(0);
        wire.ends = now + Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX));
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
