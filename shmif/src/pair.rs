//! What one sender and one receiver tell each other: how far it has read, where to go on, and
//! "ring me when there is room".

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::pos::{Epoch, Pos, split};
use crate::ring::Window;
use crate::word::Word;

/// The words of a pair. All but the sender's need carry the receiver's epoch, so that nobody
/// takes what was meant for a predecessor.
pub(crate) struct Pair<'a, W> {
    /// Receiver's: before it, it has taken everything that is for it.
    pub(crate) cursor: &'a W,
    /// Sender's: the first frame that the receiver has not taken.
    pub(crate) first: &'a W,
    /// Sender's: how many frames it had for the receiver.
    pub(crate) addressed: &'a W,
    /// Sender's: ring me when the cursor is here. The receiver clears it.
    pub(crate) need: &'a W,
}

impl<W: Word<Value = u64>> Pair<'_, W> {
    /// The receiver's cursor.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor.load(Acquire)
    }

    /// To be called by the sender before it publishes a frame at `at`, its head: a receiver that
    /// took everything before, up to `last_end`, is told to go on there. Gives its cursor.
    pub(crate) fn announce(&self, epoch: Epoch, last_end: Option<Pos>, at: Pos) -> u64 {
        let cursor = self.cursor();
        if last_end.is_none_or(|end| has_reached(cursor, epoch, end, at)) {
            self.first.store(epoch.with(at), Relaxed);
        }
        cursor
    }

    /// To be called by the sender after it has published: this many frames were for the receiver.
    pub(crate) fn count(&self, epoch: Epoch, addressed: Pos) {
        self.addressed.store(epoch.with(addressed), Release);
    }

    /// What was counted for this epoch of the receiver; `None` if nothing ever was. What is
    /// counted is seen by who reads the head after this.
    pub(crate) fn counted(&self, epoch: Epoch) -> Option<Pos> {
        for_epoch(self.addressed.load(Acquire), epoch)
    }

    /// Where the sender says that the first frame for this epoch of the receiver is.
    pub(crate) fn first(&self, epoch: Epoch) -> Option<Pos> {
        for_epoch(self.first.load(Relaxed), epoch)
    }

    /// The receiver's: shows how far it is. `true`: the sender waits for this, ring it.
    pub(crate) fn show_cursor(&self, epoch: Epoch, at: Pos) -> bool {
        self.cursor.store(epoch.with(at), Release);
        // The sender stores what it needs, fences and reads our cursor; we do the reverse.
        W::fence(SeqCst);
        let need = self.need.load(Relaxed);
        let (for_epoch, until) = split(need);
        for_epoch != Epoch::NONE && !at.is_before(until) && self.need.exchange(need, 0)
    }

    /// The sender's: asks to be rung when the cursor is at `until`. The cursor is to be looked at
    /// again after this.
    pub(crate) fn ask(&self, until: u64) {
        self.need.store(until, Relaxed);
        W::fence(SeqCst);
    }
}

fn for_epoch(word: u64, epoch: Epoch) -> Option<Pos> {
    let (at_epoch, pos) = split(word);
    (at_epoch == epoch).then_some(pos)
}

/// Is the cursor, of this epoch, at `end` or beyond? A cursor ahead of the sender's own head
/// belongs to a broken member, and counts as being there: nobody waits for that one.
pub(crate) fn has_reached(cursor: u64, epoch: Epoch, end: Pos, head: Pos) -> bool {
    let (at_epoch, at) = split(cursor);
    at_epoch == epoch && (head.is_before(at) || !at.is_before(end))
}

/// Where a receiver begins: at its cursor, or at the first frame for it if that is further on.
///
/// `cursor` is `None` on the first visit, `counted` whether the sender ever had anything for it.
pub(crate) fn entry(
    cursor: Option<Pos>,
    first: Option<Pos>,
    counted: bool,
    window: Window,
    units: u64,
) -> Pos {
    let stands = window.head.since(window.reclaim) <= units;
    let oldest = if stands { window.reclaim } else { window.head };
    let named = first.filter(|first| window.holds(*first));
    let Some(cursor) = cursor else {
        // Nothing is for it from before it came; what was counted and is not named is overwritten.
        return named.unwrap_or(if counted { oldest } else { window.head });
    };
    let behind = window.head.since(cursor);
    if let Some(first) = named
        && window.head.since(first) < behind
    {
        return first;
    }
    if window.head.is_before(cursor) {
        // The head went back: somebody scribbled over it, then or now.
        return window.head;
    }
    if behind > units { oldest } else { cursor }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;

    use super::*;

    fn epoch() -> Epoch {
        Epoch::from_number(3)
    }

    fn pos(units: u64) -> Pos {
        Pos::START.plus(units)
    }

    fn window(reclaim: u64, head: u64) -> Window {
        Window { reclaim: pos(reclaim), head: pos(head), epoch: epoch() }
    }

    #[test]
    fn a_receiver_begins_where_it_should() {
        let at = |cursor: Option<u64>, first: Option<u64>, counted, window| {
            entry(cursor.map(pos), first.map(pos), counted, window, 64).since(Pos::START)
        };
        // The first visit.
        assert_eq!(at(None, Some(70), true, window(50, 100)), 70);
        assert_eq!(at(None, None, false, window(50, 100)), 100);
        assert_eq!(at(None, Some(20), true, window(50, 100)), 50);
        // Later ones: nothing new, a jump, nothing to jump over, overtaken.
        assert_eq!(at(Some(100), Some(70), true, window(50, 100)), 100);
        assert_eq!(at(Some(60), Some(90), true, window(50, 100)), 90);
        assert_eq!(at(Some(60), Some(55), true, window(50, 100)), 60);
        assert_eq!(at(Some(10), Some(5), true, window(50, 100)), 50);
        // Idle for long, and then named.
        assert_eq!(at(Some(10), Some(90), true, window(50, 100)), 90);
        // Marks that cannot be true.
        assert_eq!(at(Some(200), Some(500), true, window(50, 100)), 100);
        assert_eq!(at(Some(10), None, true, window(500, 100)), 100);
    }

    /// A sender's and a receiver's words, and a ring of places that says whom each is for.
    struct Model {
        cursor: AtomicU64,
        first: AtomicU64,
        addressed: AtomicU64,
        need: AtomicU64,
        head: AtomicU64,
    }

    impl Model {
        fn new() -> Arc<Self> {
            let zero = || AtomicU64::new(0);
            Arc::new(Model {
                cursor: zero(),
                first: zero(),
                addressed: zero(),
                need: zero(),
                head: zero(),
            })
        }

        fn pair(&self) -> Pair<'_, AtomicU64> {
            Pair {
                cursor: &self.cursor,
                first: &self.first,
                addressed: &self.addressed,
                need: &self.need,
            }
        }

        /// Looks once; frames at even places are for us, one unit each. Gives the new ones.
        fn visit(&self, cursor: &mut Option<Pos>) -> VecDeque<u64> {
            let counted = self.pair().counted(epoch());
            let (_, head) = split(self.head.load(Relaxed));
            AtomicU64::fence(Acquire);
            let window = Window { reclaim: Pos::START, head, epoch: epoch() };
            let first = self.pair().first(epoch());
            let mut at = entry(*cursor, first, counted.is_some(), window, 64);
            let mut got = VecDeque::new();
            while at != head {
                let place = at.since(Pos::START);
                if place.is_multiple_of(2) {
                    got.push_back(place);
                }
                at = at.plus(1);
            }
            *cursor = Some(at);
            self.pair().show_cursor(epoch(), at);
            got
        }
    }

    #[test]
    fn model_jumps_skip_nothing_and_repeat_nothing() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = model.preemption_bound.or(Some(3));
        model.check(|| {
            let model = Model::new();
            let theirs = model.clone();
            let sender = loom::thread::spawn(move || {
                let (mut last_end, mut addressed) = (None, Pos::START);
                for place in 0..4 {
                    let at = pos(place);
                    let ours = place.is_multiple_of(2);
                    if ours {
                        theirs.pair().announce(epoch(), last_end, at);
                    }
                    theirs.head.store(epoch().with(at.plus(1)), Release);
                    if ours {
                        last_end = Some(at.plus(1));
                        addressed = addressed.plus(1);
                        theirs.pair().count(epoch(), addressed);
                    }
                }
            });
            let mut cursor = None;
            let mut got = model.visit(&mut cursor);
            got.extend(model.visit(&mut cursor));
            sender.join().unwrap();
            got.extend(model.visit(&mut cursor));
            assert_eq!(got, [0, 2]);
        });
    }

    #[test]
    fn model_a_sender_that_waits_for_room_is_always_rung() {
        loom::model(|| {
            let model = Model::new();
            let theirs = model.clone();
            let receiver = loom::thread::spawn(move || {
                (1..=2).filter(|at| theirs.pair().show_cursor(epoch(), pos(*at))).count()
            });
            model.pair().ask(epoch().with(pos(2)));
            let sleeps = !has_reached(model.pair().cursor(), epoch(), pos(2), pos(2));
            let rung = receiver.join().unwrap();
            assert!(!sleeps || rung == 1, "asleep for ever");
        });
    }
}
