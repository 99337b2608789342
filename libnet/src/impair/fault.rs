//! Faults that a test asks for by predicate: this frame, the third of these.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is done to a frame that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It is lost.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// It arrives this much later; frames after it overtake it.
    Delay(Duration),
    /// This bit is flipped, counted from the frame's first byte's highest.
    FlipBit(u32),
}

/// Which of the frames that match are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Which {
    /// The n-th alone; the first is 1.
    Nth(u64),
    /// The first n.
    First(u64),
    /// The n-th and all after it.
    From(u64),
    /// All.
    Every,
}

impl Which {
    fn means(self, number: u64) -> bool {
        match self {
            Which::Nth(n) => number == n,
            Which::First(n) => number <= n,
            Which::From(n) => number >= n,
            Which::Every => true,
        }
    }
}

/// How often an injected fault has fired.
#[derive(Clone, Debug, Default)]
pub struct FaultCount(Arc<AtomicU64>);

impl FaultCount {
    /// Frames harmed so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the rules together want done to one frame.
#[derive(Clone, Copy, Default)]
pub(super) struct Verdict {
    pub(super) drop: bool,
    pub(super) duplicate: bool,
    pub(super) delay: Duration,
}

/// Is this frame, as it is on the wire, one of those meant?
pub(super) type Predicate = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// One fault with its predicate.
pub(super) struct Rule {
    name: String,
    which: Which,
    fault: Fault,
    matches: Predicate,
    seen: u64,
    fired: FaultCount,
}

impl Rule {
    pub(super) fn new(name: &str, which: Which, fault: Fault, matches: Predicate) -> Self {
        Rule { name: name.to_owned(), which, fault, matches, seen: 0, fired: FaultCount::default() }
    }

    /// Shows a frame; what is to be done to it.
    pub(super) fn hit(&mut self, frame: &[u8]) -> Option<Fault> {
        if !(self.matches)(frame) {
            return None;
        }
        self.seen += 1;
        if !self.which.means(self.seen) {
            return None;
        }
        self.fired.0.fetch_add(1, Ordering::Relaxed);
        Some(self.fault)
    }

    pub(super) fn count(&self) -> FaultCount {
        self.fired.clone()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has_fired(&self) -> bool {
        self.fired.get() > 0
    }

    /// For reports: what was asked for, and how many frames came near it.
    pub(super) fn describe(&self) -> String {
        format!("{self:?}")
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { name, which, fault, seen, fired, .. } = self;
        write!(f, "{name} ({fault:?}, {which:?}; {seen} frames matched, {} fired)", fired.get())
    }
}
