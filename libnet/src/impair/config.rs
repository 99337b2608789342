//! What harm a direction of a link does: the knobs.

use std::time::Duration;

/// Which frames a direction loses.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each with this probability, 0..=1, on its own.
    Random(f64),
    /// In bursts: a chain of two states, looked at once per frame (Gilbert 1960, Elliott 1963).
    GilbertElliott {
        /// Probability, 0..=1, of going from good to bad before a frame.
        enter: f64,
        /// Probability, 0..=1, of going from bad to good before a frame.
        leave: f64,
        /// Probability, 0..=1, of losing a frame in the good state.
        loss_good: f64,
        /// Probability, 0..=1, of losing a frame in the bad state.
        loss_bad: f64,
    },
}

impl Loss {
    /// Can it lose anything?
    pub(super) fn is_asked_for(&self) -> bool {
        match *self {
            Loss::None => false,
            Loss::Random(share) => share > 0.0,
            Loss::GilbertElliott { loss_good, loss_bad, .. } => loss_good > 0.0 || loss_bad > 0.0,
        }
    }
}

/// What becomes of a frame with a flipped bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fcs {
    /// It is delivered: it was harmed where no frame check sequence protects it, and the stack's
    /// own checksums must find it.
    #[default]
    Passes,
    /// The receiver's network card finds the check sequence wrong and drops it.
    Catches,
}

/// What happens to a frame when the queue in front of the wire is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overflow {
    /// The sender keeps it and waits for room.
    #[default]
    Waits,
    /// It is dropped, as a router does.
    Drops,
}

/// What the queue in front of the wire does to keep short, beside its limit. Frames of a
/// flow leave it in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Discipline {
    /// Nothing.
    #[default]
    Fifo,
    /// Drops frames while all have waited too long: CoDel (RFC 8289), with a target of 5 ms and an
    /// interval of 100 ms.
    CoDel,
    /// As CoDel, but marks a frame whose sender understands it (ECN, RFC 3168 §5) instead of
    /// dropping it.
    Ecn,
    /// Drops frames at random, the more the longer the queue is on the average: RED (Floyd and
    /// Jacobson 1993), gentle. With an average of a twelfth of the limit it begins, at a quarter the
    /// chance is a tenth, from half of it on all are dropped; a frame weighs 0.002 in the average.
    Red,
    /// As RED, but marks a frame whose sender understands it instead of dropping it, until the
    /// average is half of the limit.
    RedEcn,
    /// A queue for each flow of 1,024, in turn, each under CoDel, which marks those that understand
    /// it: FQ-CoDel (RFC 8290). Past the limit the flow with the most bytes loses, not who comes.
    FqCoDel,
}

/// What a limit is told in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Measure {
    /// Frames.
    Frames,
    /// Bytes.
    Bytes,
    /// How long a frame would have to wait.
    Time,
}

/// The queue in front of a wire that has a rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct QueueLimit {
    /// Frames at most, the one on the wire among them; at least one.
    pub frames: usize,
    /// Bytes at most; one frame is taken however long it is.
    pub bytes: u64,
    /// How long a frame would have to wait for the wire, at most; one frame is taken always.
    pub time: Duration,
    /// What happens past it.
    pub overflow: Overflow,
    /// What keeps it short.
    pub discipline: Discipline,
}

impl QueueLimit {
    /// A network card's ring: 256 frames, and senders wait.
    const RING: QueueLimit = QueueLimit {
        frames: 256,
        bytes: u64::MAX,
        time: Duration::MAX,
        overflow: Overflow::Waits,
        discipline: Discipline::Fifo,
    };

    /// A router's queue that nobody said anything about: drops past 1,000 frames.
    pub const ROUTER: QueueLimit = QueueLimit::drop_past_frames(1_000);

    /// A router's queue: drops past `frames` frames.
    pub const fn drop_past_frames(frames: usize) -> Self {
        QueueLimit { frames, ..QueueLimit::drop_past_bytes(u64::MAX) }
    }

    /// A router's queue: drops past `bytes` bytes.
    pub const fn drop_past_bytes(bytes: u64) -> Self {
        QueueLimit { frames: usize::MAX, bytes, overflow: Overflow::Drops, ..QueueLimit::RING }
    }

    /// A router's queue: drops what would wait longer than `time`.
    pub const fn drop_past_time(time: Duration) -> Self {
        QueueLimit { time, ..QueueLimit::drop_past_bytes(u64::MAX) }
    }

    /// Sets what keeps it short.
    #[must_use]
    pub const fn discipline(mut self, discipline: Discipline) -> Self {
        self.discipline = discipline;
        self
    }

    /// What it is told in.
    pub(super) fn measure(&self) -> Measure {
        match (self.bytes, self.time) {
            (u64::MAX, Duration::MAX) => Measure::Frames,
            (u64::MAX, _) => Measure::Time,
            _ => Measure::Bytes,
        }
    }

    /// Did somebody ask for frames to be dropped past this very limit?
    pub(super) fn is_asked_for(&self) -> bool {
        let without = QueueLimit { discipline: Discipline::Fifo, ..*self };
        self.overflow == Overflow::Drops && without != QueueLimit::ROUTER
    }
}

impl Default for QueueLimit {
    /// 256 frames, as a network card's ring, and senders wait.
    fn default() -> Self {
        QueueLimit::RING
    }
}

/// The impairments of one direction. By default it does no harm at all.
///
/// ```
/// use std::time::Duration;
/// use libnet::impair::Impairments;
/// let lossy = Impairments::none().delay(Duration::from_millis(10)).loss(0.05).reorder(0.05);
/// assert!(!lossy.is_none());
/// ```
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Impairments {
    /// Every frame is lost that has not left the wire.
    pub is_down: bool,
    /// Bits per second of frames, link header included; 0: no limit.
    pub rate_bits_per_second: u64,
    /// Time from the last bit sent to the last bit received.
    pub delay: Duration,
    /// Adds a uniformly random time below this to each delay; order is kept.
    pub jitter: Duration,
    /// Which frames are lost.
    pub loss: Loss,
    /// Probability, 0..=1, that a frame arrives twice.
    pub duplicate: f64,
    /// Probability, 0..=1, that a frame is held back, so that later ones overtake it.
    pub reorder: f64,
    /// How long a frame is held back at most; the time is uniformly random.
    pub reorder_by: Duration,
    /// Probability, 0..=1, that one bit of a frame is flipped.
    pub corrupt: f64,
    /// What becomes of a flipped one.
    pub fcs: Fcs,
    /// The queue in front of the wire; it fills only if there is a rate.
    pub queue: QueueLimit,
}

impl Impairments {
    /// A perfect wire.
    pub const fn none() -> Self {
        Impairments {
            is_down: false,
            rate_bits_per_second: 0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(1),
            corrupt: 0.0,
            fcs: Fcs::Passes,
            queue: QueueLimit::RING,
        }
    }

    /// Loses every frame, as a pulled cable does.
    #[must_use]
    pub const fn down(mut self) -> Self {
        self.is_down = true;
        self
    }

    /// Takes [`down`](Self::down) back.
    #[must_use]
    pub const fn up(mut self) -> Self {
        self.is_down = false;
        self
    }

    /// Sets the rate in bits per second; 0: no limit.
    #[must_use]
    pub const fn rate(mut self, bits_per_second: u64) -> Self {
        self.rate_bits_per_second = bits_per_second;
        self
    }

    /// Sets the delay.
    #[must_use]
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the jitter.
    #[must_use]
    pub const fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Loses each frame with this probability, 0..=1.
    #[must_use]
    pub const fn loss(mut self, probability: f64) -> Self {
        self.loss = Loss::Random(probability);
        self
    }

    /// Loses frames as `loss` says.
    #[must_use]
    pub const fn loss_model(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// Loses frames in bursts: see [`Loss::GilbertElliott`]. In the bad state all are lost.
    #[must_use]
    pub const fn burst_loss(mut self, enter: f64, leave: f64) -> Self {
        self.loss = Loss::GilbertElliott { enter, leave, loss_good: 0.0, loss_bad: 1.0 };
        self
    }

    /// Duplicates each frame with this probability, 0..=1.
    #[must_use]
    pub const fn duplicate(mut self, probability: f64) -> Self {
        self.duplicate = probability;
        self
    }

    /// Holds each frame back with this probability, 0..=1.
    #[must_use]
    pub const fn reorder(mut self, probability: f64) -> Self {
        self.reorder = probability;
        self
    }

    /// Holds frames back by at most this.
    #[must_use]
    pub const fn reorder_by(mut self, longest: Duration) -> Self {
        self.reorder_by = longest;
        self
    }

    /// Flips a bit of each frame with this probability, 0..=1.
    #[must_use]
    pub const fn corrupt(mut self, probability: f64) -> Self {
        self.corrupt = probability;
        self
    }

    /// Says what becomes of a flipped frame.
    #[must_use]
    pub const fn fcs(mut self, fcs: Fcs) -> Self {
        self.fcs = fcs;
        self
    }

    /// Bounds the queue in front of the wire.
    #[must_use]
    pub const fn queue(mut self, limit: QueueLimit) -> Self {
        self.queue = limit;
        self
    }

    /// Does it do nothing to any frame?
    pub fn is_none(&self) -> bool {
        self.delay.is_zero() && !self.harms()
    }

    /// Does it do anything to frames but delay them all by the same time?
    pub(super) fn harms(&self) -> bool {
        self.is_down
            || self.rate_bits_per_second > 0
            || !self.jitter.is_zero()
            || self.loss != Loss::None
            || self.duplicate > 0.0
            || self.reorder > 0.0
            || self.corrupt > 0.0
    }
}

impl Default for Impairments {
    fn default() -> Self {
        Impairments::none()
    }
}
