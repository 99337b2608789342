//! A hierarchical timing wheel: many deadlines, of which few are reached.
//!
//! ```text
//! level 0   64 slots of 1.05 ms   | the next  67 ms
//! level 1   64 slots of 67 ms     | the next 4.3 s
//! level 2   64 slots of 4.3 s     | the next 4.6 min
//!   …                             | level 7 ends after 9 years; later is clamped to that
//! ```
//! An entry lies on the level of the highest digit (base 64) in which its tick differs from the
//! wheel's, so a level's first occupied slot holds the level's earliest entries, and a lower
//! level comes before a higher one.

use crate::time::Instant;

/// Names an entry of a [`Wheel`]; stale once the entry has fired or was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerHandle {
    index: u32,
    generation: u32,
}

/// Deadlines with a key each: O(1) to insert, move and cancel.
///
/// Memory grows with the entries that wait at once; [`Wheel::len`] lets its owner bound them.
///
/// ```
/// use libnet::{Instant, wheel::Wheel};
/// let mut wheel = Wheel::new();
/// wheel.insert(Instant::from_millis(40), "delayed ack");
/// assert_eq!(wheel.next_deadline(), Some(Instant::from_millis(40)));
/// let mut fired = Vec::new();
/// wheel.expire(Instant::from_millis(41), &mut |key| fired.push(key));
/// assert_eq!(fired, ["delayed ack"]);
/// ```
#[derive(Debug)]
pub struct Wheel<K> {
    nodes: Vec<Node<K>>,
    free: u32,
    len: usize,
    /// Everything before this tick has fired or was moved.
    tick: u64,
    levels: [Level; LEVELS],
}

#[derive(Debug)]
struct Level {
    occupied: u64,
    heads: [u32; SLOTS],
    tails: [u32; SLOTS],
    /// No entry of the slot is earlier; cancelling may leave it too early, never too late.
    earliest: [Instant; SLOTS],
}

#[derive(Debug)]
struct Node<K> {
    key: Option<K>,
    at: Instant,
    generation: u32,
    level: u8,
    slot: u8,
    prev: u32,
    next: u32,
}

impl<K> Wheel<K> {
    /// An empty wheel, at the clock's origin.
    pub fn new() -> Self {
        let level = || Level {
            occupied: 0,
            heads: [NIL; SLOTS],
            tails: [NIL; SLOTS],
            earliest: [Instant::MAX; SLOTS],
        };
        Wheel {
            nodes: Vec::new(),
            free: NIL,
            len: 0,
            tick: 0,
            levels: std::array::from_fn(|_| level()),
        }
    }

    /// Adds a deadline. One that has passed already fires at the next [`Wheel::expire`].
    ///
    /// # Panics
    /// With 2^32 - 1 entries, which is beyond any bound its owners keep.
    pub fn insert(&mut self, at: Instant, key: K) -> TimerHandle {
        let index = self.allocate(at, key);
        self.len += 1;
        self.link(index);
        TimerHandle { index, generation: self.nodes[index as usize].generation }
    }

    /// Moves a deadline; `false` if the handle is stale.
    pub fn reschedule(&mut self, handle: TimerHandle, at: Instant) -> bool {
        if !self.is_live(handle) {
            return false;
        }
        self.unlink(handle.index);
        self.nodes[handle.index as usize].at = at;
        self.link(handle.index);
        true
    }

    /// Removes a deadline and gives its key back; `None` if the handle is stale.
    pub fn cancel(&mut self, handle: TimerHandle) -> Option<K> {
        if !self.is_live(handle) {
            return None;
        }
        self.unlink(handle.index);
        self.release(handle.index)
    }

    /// Fires all that is due at `now`, in the order of their ticks of about 1 ms.
    ///
    /// A clock that goes back fires nothing.
    pub fn expire(&mut self, now: Instant, fire: &mut dyn FnMut(K)) {
        let target = tick_of(now);
        while let Some((level, slot)) = self.first_slot() {
            let start = self.slot_start(level, slot);
            let due = if level == 0 {
                self.levels[0].earliest[slot] <= now
            } else {
                // Cascade on entry to the slot, so that the order of levels stays true.
                start <= target
            };
            if !due {
                break;
            }
            self.tick = self.tick.max(start);
            self.drain_slot(level, slot, now, fire);
        }
        let limit = self.first_slot().map(|(level, slot)| self.slot_start(level, slot));
        self.tick = self.tick.max(target.min(limit.unwrap_or(target)));
    }

    /// When to call [`Wheel::expire`] next: never after the earliest deadline, and before it only
    /// when an earlier one was cancelled or moved.
    pub fn next_deadline(&self) -> Option<Instant> {
        let (level, slot) = self.first_slot()?;
        Some(self.levels[level].earliest[slot])
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Does none wait?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn is_live(&self, handle: TimerHandle) -> bool {
        self.nodes
            .get(handle.index as usize)
            .is_some_and(|node| node.generation == handle.generation && node.key.is_some())
    }

    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        Some((level, self.levels[level].occupied.trailing_zeros() as usize))
    }

    /// The first tick of a slot, given the digits above it that the wheel's own tick has.
    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = BITS * level as u32;
        let above = self.tick >> shift >> BITS << BITS;
        (above | slot as u64) << shift
    }

    fn drain_slot(&mut self, level: usize, slot: usize, now: Instant, fire: &mut dyn FnMut(K)) {
        let lists = &mut self.levels[level];
        let mut index = std::mem::replace(&mut lists.heads[slot], NIL);
        lists.tails[slot] = NIL;
        lists.earliest[slot] = Instant::MAX;
        lists.occupied &= !(1 << slot);
        while index != NIL {
            let node = &self.nodes[index as usize];
            let next = node.next;
            if node.at <= now {
                if let Some(key) = self.release(index) {
                    fire(key);
                }
            } else {
                self.link(index);
            }
            index = next;
        }
    }

    fn link(&mut self, index: u32) {
        let at = self.nodes[index as usize].at;
        let tick = tick_of(at).clamp(self.tick, self.tick | MAX_SPAN);
        let differs = self.tick ^ tick;
        let level = (63 - (differs | 63).leading_zeros()) / BITS;
        let slot = (tick >> (BITS * level)) as usize % SLOTS;
        let lists = &mut self.levels[level as usize];
        let tail = std::mem::replace(&mut lists.tails[slot], index);
        if tail == NIL {
            lists.heads[slot] = index;
            lists.occupied |= 1 << slot;
            lists.earliest[slot] = at;
        } else {
            self.nodes[tail as usize].next = index;
            lists.earliest[slot] = lists.earliest[slot].min(at);
        }
        let node = &mut self.nodes[index as usize];
        (node.level, node.slot) = (level as u8, slot as u8);
        (node.prev, node.next) = (tail, NIL);
    }

    fn unlink(&mut self, index: u32) {
        let Node { level, slot, prev, next, .. } = self.nodes[index as usize];
        let (lists, slot) = (&mut self.levels[usize::from(level)], usize::from(slot));
        match prev {
            NIL => lists.heads[slot] = next,
            _ => self.nodes[prev as usize].next = next,
        }
        match next {
            NIL => lists.tails[slot] = prev,
            _ => self.nodes[next as usize].prev = prev,
        }
        if lists.heads[slot] == NIL {
            lists.occupied &= !(1 << slot);
            lists.earliest[slot] = Instant::MAX;
        }
    }

    fn allocate(&mut self, at: Instant, key: K) -> u32 {
        if self.free == NIL {
            let index = u32::try_from(self.nodes.len()).ok().filter(|&i| i != NIL);
            let node =
                Node { key: Some(key), at, generation: 0, level: 0, slot: 0, prev: NIL, next: NIL };
            self.nodes.push(node);
            return index.expect("owners bound their timers far below 2^32");
        }
        let index = self.free;
        let node = &mut self.nodes[index as usize];
        self.free = node.next;
        (node.key, node.at) = (Some(key), at);
        index
    }

    fn release(&mut self, index: u32) -> Option<K> {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.next = std::mem::replace(&mut self.free, index);
        self.len -= 1;
        node.key.take()
    }
}

impl<K> Default for Wheel<K> {
    fn default() -> Self {
        Wheel::new()
    }
}

fn tick_of(at: Instant) -> u64 {
    at.as_nanos() >> TICK_SHIFT
}

/// A tick is 2^20 ns.
const TICK_SHIFT: u32 = 20;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 8;
/// Ticks that eight levels can tell apart; `Instant::MAX` is 2^44 ticks and so within it.
const MAX_SPAN: u64 = (1 << (BITS as usize * LEVELS)) - 1;
const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Reschedule(usize, u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Spans from a microsecond to a month, so that every level is met.
        let span = (0u32..52).prop_flat_map(|bits| 0..=1u64 << bits);
        prop_oneof![
            4 => span.clone().prop_map(Step::Insert),
            2 => (any::<usize>(), span.clone()).prop_map(|(i, s)| Step::Reschedule(i, s)),
            1 => any::<usize>().prop_map(Step::Cancel),
            3 => span.prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn fires_exactly_what_a_sorted_list_would(steps in prop::collection::vec(step(), 1..120)) {
            let mut wheel = Wheel::new();
            let mut oracle: Vec<(Instant, u32)> = Vec::new();
            let mut handles = Vec::new();
            let mut now = Instant::ZERO;
            for (key, step) in (0u32..).zip(steps) {
                match step {
                    Step::Insert(span) => {
                        let at = now + Duration::from_nanos(span);
                        handles.push((key, wheel.insert(at, key)));
                        oracle.push((at, key));
                    }
                    Step::Reschedule(i, span) if !handles.is_empty() => {
                        let (key, handle) = handles[i % handles.len()];
                        let at = now + Duration::from_nanos(span);
                        let entry = oracle.iter_mut().find(|e| e.1 == key);
                        prop_assert_eq!(wheel.reschedule(handle, at), entry.is_some());
                        if let Some(entry) = entry { entry.0 = at }
                    }
                    Step::Cancel(i) if !handles.is_empty() => {
                        let (key, handle) = handles[i % handles.len()];
                        let had = oracle.iter().position(|e| e.1 == key).map(|i| oracle.swap_remove(i).1);
                        prop_assert_eq!(wheel.cancel(handle), had);
                    }
                    Step::Advance(span) => {
                        now += Duration::from_nanos(span);
                        let mut fired = Vec::new();
                        wheel.expire(now, &mut |key| fired.push(key));
                        let mut due: Vec<u32> = oracle.iter().filter(|e| e.0 <= now).map(|e| e.1).collect();
                        oracle.retain(|e| e.0 > now);
                        fired.sort_unstable();
                        due.sort_unstable();
                        prop_assert_eq!(fired, due);
                    }
                    _ => {}
                }
                prop_assert_eq!(wheel.len(), oracle.len());
                let earliest = oracle.iter().map(|e| e.0).min();
                prop_assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
                prop_assert!(wheel.next_deadline() <= earliest);
            }
        }

        #[test]
        fn sleeping_until_the_next_deadline_comes_to_an_end(spans in prop::collection::vec(0u64..1 << 50, 1..50)) {
            let mut wheel = Wheel::new();
            let handles: Vec<_> =
                spans.iter().map(|&s| wheel.insert(Instant::from_nanos(s), s)).collect();
            for handle in handles.iter().step_by(2) {
                wheel.cancel(*handle);
            }
            let (mut order, mut sleeps) = (Vec::new(), 0);
            while let Some(now) = wheel.next_deadline() {
                wheel.expire(now, &mut |span| order.push(span));
                sleeps += 1;
                prop_assert!(sleeps <= spans.len() * (LEVELS + 1));
            }
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(order, sorted);
        }
    }

    #[test]
    fn stale_handles_do_nothing() {
        let mut wheel = Wheel::new();
        let first = wheel.insert(Instant::from_millis(1), 'a');
        assert_eq!(wheel.cancel(first), Some('a'));
        let second = wheel.insert(Instant::from_millis(2), 'b');
        assert_eq!(wheel.cancel(first), None);
        assert!(!wheel.reschedule(first, Instant::ZERO));
        assert_eq!(wheel.cancel(second), Some('b'));
        assert!(wheel.is_empty());
    }

    #[test]
    fn the_end_of_time_never_fires_and_does_not_overflow() {
        let mut wheel = Wheel::new();
        wheel.insert(Instant::MAX, ());
        wheel.expire(Instant::MAX - Duration::from_secs(1), &mut |()| panic!("too early"));
        assert_eq!(wheel.next_deadline(), Some(Instant::MAX));
    }
}
