//! What the connections of a stack hold together, and how much of it a shard may take without asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::config::MemoryLimits;

/// The memory of a stack's connections. Its shards share it, and each has a part that it has been
/// granted: one asks here only when its part is used up, or much too large.
///
/// ```text
///  0 ............ low ........ pressure ............ high
///                  | it ends   | it begins: nobody    | nothing more is taken
///                  |           | grows, and each has  |
///                  |           | its share at most    |
/// ```
/// Relaxed: the numbers order nothing.
#[derive(Debug, Default)]
pub struct Budget {
    /// Bytes granted to shards.
    granted: AtomicU64,
    pressed: AtomicBool,
    /// Times that it began to be pressed.
    pressures: AtomicU64,
    /// Connections, to each of which belongs a share.
    sockets: AtomicU64,
    /// Those that their applications have closed.
    orphans: AtomicU64,
}

impl Budget {
    /// Bytes granted to shards; what they use of it is never more.
    pub fn granted_bytes(&self) -> u64 {
        self.granted.load(Relaxed)
    }

    /// Has more than [`MemoryLimits::pressure_bytes`] been granted, and not fewer than
    /// [`MemoryLimits::low_bytes`] since?
    pub fn is_pressed(&self) -> bool {
        self.pressed.load(Relaxed)
    }

    /// How often that began (`TCPMemoryPressures`).
    pub fn pressures(&self) -> u64 {
        self.pressures.load(Relaxed)
    }

    /// Connections that their applications have closed and that are not over.
    pub fn orphans(&self) -> u64 {
        self.orphans.load(Relaxed)
    }

    fn grant(&self, limits: &MemoryLimits, bytes: u64) -> bool {
        let total = self.granted.fetch_add(bytes, Relaxed) + bytes;
        if total > limits.pressure_bytes.min(limits.high_bytes) {
            self.press();
        }
        if total > limits.high_bytes {
            self.granted.fetch_sub(bytes, Relaxed);
            return false;
        }
        true
    }

    fn take_back(&self, limits: &MemoryLimits, bytes: u64) {
        let total = self.granted.fetch_sub(bytes, Relaxed) - bytes;
        if total < limits.low_bytes && self.is_pressed() {
            self.pressed.store(false, Relaxed);
        }
    }

    /// Is memory short by these limits, whatever it was by others?
    fn judge(&self, limits: &MemoryLimits) {
        let total = self.granted_bytes();
        if total > limits.pressure_bytes.min(limits.high_bytes) {
            self.press();
        } else if total < limits.low_bytes {
            self.pressed.store(false, Relaxed);
        }
    }

    fn press(&self) {
        if !self.is_pressed() && !self.pressed.swap(true, Relaxed) {
            self.pressures.fetch_add(1, Relaxed);
        }
    }
}

/// A shard's part of the budget.
#[derive(Debug)]
pub(super) struct Quota {
    budget: Arc<Budget>,
    granted: u64,
    used: u64,
    /// More than this is not kept unused.
    spare: u64,
}

impl Quota {
    /// Nothing granted yet.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Quota { budget, granted: 0, used: 0, spare: 0 }
    }

    /// The stack's.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Bytes used.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Is memory short?
    pub(super) fn is_pressed(&self) -> bool {
        self.budget.is_pressed()
    }

    /// May so many bytes more be taken, without more words?
    pub(super) fn is_easy(&self, bytes: u64) -> bool {
        self.used + bytes <= self.granted && !self.is_pressed()
    }

    /// May one that holds `held` take so many bytes more? While memory is short, up to its share
    /// of it, or `least`.
    pub(super) fn admits(
        &mut self,
        limits: &MemoryLimits,
        held: u64,
        bytes: u64,
        least: u64,
    ) -> bool {
        let wanted = held + bytes;
        if self.is_pressed() && wanted > least && wanted > self.share(limits) {
            return false;
        }
        self.has_room(limits, bytes)
    }

    /// What belongs to each connection while memory is short, bytes.
    pub(super) fn share(&self, limits: &MemoryLimits) -> u64 {
        limits.high_bytes / self.budget.sockets.load(Relaxed).max(1)
    }

    /// Is there memory for so many bytes more?
    pub(super) fn has_room(&mut self, limits: &MemoryLimits, bytes: u64) -> bool {
        self.used + bytes <= self.granted || self.ask(limits, bytes)
    }

    /// A connection holds other than before.
    pub(super) fn change(&mut self, limits: &MemoryLimits, before: u32, after: u32) {
        self.used = self.used + u64::from(after) - u64::from(before);
        if self.used > self.granted {
            self.overdraw(limits);
        } else if self.granted - self.used > self.spare
            || (self.granted > self.used && self.is_pressed())
        {
            self.give_back(limits);
        }
    }

    /// The limits are others from now on. What is held stays, and nothing is kept beside it: a batch
    /// of a large limit may be more than all of a small one.
    pub(super) fn limits_changed(&mut self, limits: &MemoryLimits) {
        self.spare = 2 * batch_bytes(limits);
        self.budget.take_back(limits, self.granted - self.used);
        self.granted = self.used;
        self.budget.judge(limits);
    }

    /// A connection begins.
    pub(super) fn add_socket(&self) {
        self.budget.sockets.fetch_add(1, Relaxed);
    }

    /// One is over.
    pub(super) fn remove_socket(&self) {
        self.budget.sockets.fetch_sub(1, Relaxed);
    }

    /// One has lost its application.
    pub(super) fn add_orphan(&self) {
        self.budget.orphans.fetch_add(1, Relaxed);
    }

    /// One of these is over.
    pub(super) fn remove_orphan(&self) {
        self.budget.orphans.fetch_sub(1, Relaxed);
    }

    /// In batches, so that shards seldom meet; towards the end, to the byte.
    #[cold]
    fn ask(&mut self, limits: &MemoryLimits, bytes: u64) -> bool {
        let needed = self.used + bytes - self.granted;
        let batch = batch_bytes(limits);
        self.spare = 2 * batch;
        for wanted in [needed.max(batch), needed] {
            if self.budget.grant(limits, wanted) {
                self.granted += wanted;
                return true;
            }
        }
        false
    }

    /// What was taken turned out to be a little more than was foreseen.
    #[cold]
    fn overdraw(&mut self, limits: &MemoryLimits) {
        if !self.ask(limits, 0) {
            let over = self.used - self.granted;
            self.budget.granted.fetch_add(over, Relaxed);
            self.granted += over;
        }
    }

    #[cold]
    fn give_back(&mut self, limits: &MemoryLimits) {
        let batch = batch_bytes(limits);
        self.spare = 2 * batch;
        // While memory is short nothing is kept that another shard could use.
        let kept = if self.is_pressed() { self.used } else { self.used + batch };
        if let Some(left) = self.granted.checked_sub(kept).filter(|left| *left > 0) {
            self.budget.take_back(limits, left);
            self.granted -= left;
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.budget.granted.fetch_sub(self.granted, Relaxed);
    }
}

/// What a shard takes at once.
fn batch_bytes(limits: &MemoryLimits) -> u64 {
    (limits.high_bytes / 64).clamp(1, MAX_BATCH_BYTES)
}

const MAX_BATCH_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(low_bytes: u64, pressure_bytes: u64, high_bytes: u64) -> MemoryLimits {
        MemoryLimits { low_bytes, pressure_bytes, high_bytes }
    }

    #[test]
    fn pressure_begins_above_one_limit_and_ends_below_another() {
        let (budget, limits) = (Arc::new(Budget::default()), limits(1_000, 2_000, 64_000));
        let mut quota = Quota::new(Arc::clone(&budget));
        assert!(quota.admits(&limits, 0, 1_500, 0));
        quota.change(&limits, 0, 1_500);
        assert!(!budget.is_pressed());
        assert!(quota.admits(&limits, 0, 1_500, 0));
        quota.change(&limits, 0, 1_500);
        assert!(budget.is_pressed());
        quota.change(&limits, 1_500, 0);
        assert!(budget.is_pressed(), "1,500 are still held");
        quota.change(&limits, 1_500, 0);
        assert!(!budget.is_pressed());
        assert_eq!(budget.pressures(), 1);
        drop(quota);
        assert_eq!(budget.granted_bytes(), 0);
    }

    #[test]
    fn each_has_its_share_while_memory_is_short() {
        let (budget, limits) = (Arc::new(Budget::default()), limits(1_000, 2_000, 10_000));
        let mut quota = Quota::new(Arc::clone(&budget));
        (0..10).for_each(|_| quota.add_socket());
        assert!(quota.admits(&limits, 0, 3_000, 0), "nothing is short yet");
        quota.change(&limits, 0, 3_000);
        assert!(!quota.admits(&limits, 3_000, 1, 0));
        assert!(quota.admits(&limits, 900, 100, 0));
        assert!(!quota.admits(&limits, 900, 101, 0));
        assert!(quota.admits(&limits, 900, 200, 1_100));
        quota.change(&limits, 0, 7_000);
        assert!(!quota.admits(&limits, 0, 1, 1_100), "there is none");
    }

    #[test]
    fn limits_that_change_count_at_once() {
        let budget = Arc::new(Budget::default());
        let (wide, narrow) = (limits(32_000, 48_000, 64_000), limits(1_000, 2_000, 3_000));
        let mut quota = Quota::new(Arc::clone(&budget));
        assert!(quota.has_room(&wide, 2_500));
        quota.change(&wide, 0, 2_500);
        assert!(quota.has_room(&wide, 800) && budget.granted_bytes() > 3_000);
        quota.limits_changed(&narrow);
        assert_eq!((budget.granted_bytes(), budget.is_pressed()), (2_500, true));
        assert!(!quota.is_easy(1) && !quota.has_room(&narrow, 800));
        quota.limits_changed(&wide);
        assert!(!budget.is_pressed() && quota.has_room(&wide, 800));
    }

    proptest! {
        #[test]
        fn shards_together_never_take_more_than_there_is(
            steps in prop::collection::vec((0usize..3, 0usize..8, 0u32..3_000), 1..300),
        ) {
            let (budget, limits) = (Arc::new(Budget::default()), limits(3_000, 5_000, 10_000));
            let mut quotas = [(); 3].map(|()| Quota::new(Arc::clone(&budget)));
            let mut held = [[0u32; 8]; 3];
            for (shard, conn, wanted) in steps {
                let now = &mut held[shard][conn];
                let more = u64::from(wanted.saturating_sub(*now));
                if quotas[shard].has_room(&limits, more) {
                    quotas[shard].change(&limits, *now, wanted);
                    *now = wanted;
                }
                let used: u64 = held.iter().flatten().map(|n| u64::from(*n)).sum();
                let granted: u64 = quotas.iter().map(|quota| quota.granted).sum();
                prop_assert_eq!(granted, budget.granted_bytes());
                prop_assert!(used <= granted && granted <= limits.high_bytes);
            }
            drop(quotas);
            prop_assert_eq!(budget.granted_bytes(), 0);
        }
    }
}
