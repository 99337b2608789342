//! What the halves of a member share: its slot, its bell, and the chores that keep it alive.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libnet::link::{Doorbell, LinkStats};
use libnet::time::Instant;

use crate::bus::Bus;
use crate::claim::{Claim, claim};
use crate::error::AttachError;
use crate::file::u64_at;
use crate::layout::{MAX_MEMBERS, control, header};
use crate::lock::SlotLock;
use crate::pos::{Epoch, split};
use crate::slot::{Filter, Identity, State, set_state, state};

/// A member without movement for this long is not waited for.
pub(crate) const STALL: Duration = Duration::from_millis(20);
/// How often the chores are done, at most.
pub(crate) const CHORES: Duration = Duration::from_millis(250);
/// The longest sleep: covers what a scribbler may have done to the bell.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A member of a bus, shared by its halves, its control and its doorbell.
pub(crate) struct Member {
    pub(crate) bus: Bus,
    pub(crate) slot: u16,
    pub(crate) epoch: Epoch,
    /// What our slot should say. Rank: taken alone.
    identity: Mutex<Identity>,
    /// Held while we live; given up when both halves are gone. Rank: taken alone.
    lock: Mutex<Option<SlotLock>>,
    halves: AtomicU8,
    /// The ticket of the last sleep.
    ticket: AtomicU32,
    /// The receiving half has frames that it did not deliver for want of budget.
    pub(crate) backlog: AtomicBool,
    /// Slot + 1 of the member that the sending half waits for; 0: it does not wait.
    waiting_for: AtomicU32,
    /// Where that member's cursor must be.
    waiting_until: AtomicU64,
    /// Our own filter, for the receiving half.
    filter: (AtomicU64, AtomicU64),
    /// Sleepers that still have to be woken for a frame to many: a bit per slot. Rank: taken alone.
    to_wake: Mutex<[u64; MAX_MEMBERS as usize / 64]>,
    has_to_wake: AtomicBool,
    next_chores_ns: AtomicU64,
    pub(crate) figures: Figures,
    unlinked: AtomicBool,
}

/// Figures of one member; each is written by one half only.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) rx_missed: AtomicU64,
    pub(crate) rx_malformed: AtomicU64,
    pub(crate) tx_refused: AtomicU64,
    pub(crate) tx_waits: AtomicU64,
}

impl Member {
    /// Joins; live on return.
    pub(crate) fn join(bus: Bus, identity: Identity) -> Result<Arc<Self>, AttachError> {
        let Claim { slot, epoch, lock } = claim(&bus, &identity)?;
        let filter = identity.filter;
        let member = Member {
            bus,
            slot,
            epoch,
            identity: Mutex::new(identity),
            lock: Mutex::new(Some(lock)),
            halves: AtomicU8::new(2),
            ticket: AtomicU32::new(0),
            backlog: AtomicBool::new(false),
            waiting_for: AtomicU32::new(0),
            waiting_until: AtomicU64::new(0),
            filter: (AtomicU64::new(filter.flags()), AtomicU64::new(filter.groups)),
            to_wake: Mutex::new([0; MAX_MEMBERS as usize / 64]),
            has_to_wake: AtomicBool::new(false),
            next_chores_ns: AtomicU64::new(0),
            figures: Figures::default(),
            unlinked: AtomicBool::new(false),
        };
        Ok(Arc::new(member))
    }

    /// Lets others see us. The ring is taken over before.
    pub(crate) fn go_live(&self) {
        set_state(&self.bus, self.slot, self.epoch, State::Live);
    }

    /// Sets what we want to receive.
    pub(crate) fn set_filter(&self, filter: Filter) {
        self.filter.0.store(filter.flags(), Relaxed);
        self.filter.1.store(filter.groups, Relaxed);
        let mut identity = locked(&self.identity);
        identity.filter = filter;
        if identity.write(&self.bus, self.slot) {
            self.bus.next_generation();
        }
    }

    /// What we want to receive.
    pub(crate) fn filter(&self) -> Filter {
        Filter::from_words(self.filter.0.load(Relaxed), self.filter.1.load(Relaxed))
    }

    /// The sending half waits until the cursor of `receiver` is at `until`.
    pub(crate) fn wait_for(&self, receiver: u16, until: u64) {
        self.waiting_until.store(until, Relaxed);
        let was = self.waiting_for.swap(u32::from(receiver) + 1, Release);
        if was != u32::from(receiver) + 1 {
            // The driver may be asleep for longer than we want to wait: it must look again.
            self.ring();
        }
    }

    /// The sending half waits for nobody.
    pub(crate) fn wait_for_nobody(&self) {
        if self.waiting_for.load(Relaxed) != 0 {
            self.waiting_for.store(0, Relaxed);
        }
    }

    /// The sending half waits, and what it waits for has come.
    fn has_room_again(&self) -> bool {
        let Some(receiver) = self.waiting_for.load(Acquire).checked_sub(1) else { return false };
        let receiver = receiver as u16;
        let (epoch, until) = split(self.waiting_until.load(Relaxed));
        let (at_epoch, at) = split(self.bus.pair(receiver, self.slot).cursor());
        at_epoch == epoch && !at.is_before(until)
    }

    /// Leaves the waking of these members to the driver.
    pub(crate) fn wake_later(&self, members: impl Iterator<Item = u16>) {
        let mut to_wake = locked(&self.to_wake);
        for member in members {
            to_wake[usize::from(member / 64)] |= 1 << (member % 64);
        }
        drop(to_wake);
        self.has_to_wake.store(true, Release);
        self.ring();
    }

    /// Wakes up to 64 of those whose waking was left to the driver; `true` if more are left.
    pub(crate) fn wake_some(&self) -> bool {
        if !self.has_to_wake.load(Acquire) {
            return false;
        }
        let mut left = locked(&self.to_wake);
        let first = left.iter().position(|bits| *bits != 0);
        let (first, mut batch) = first.map_or((0, 0), |at| (at, std::mem::take(&mut left[at])));
        let more = left.iter().any(|bits| *bits != 0);
        self.has_to_wake.store(more, Release);
        drop(left);
        while batch != 0 {
            self.bus.wake_sleeper((first * 64) as u16 + batch.trailing_zeros() as u16);
            batch &= batch - 1;
        }
        more
    }

    /// Checks the file, and restores what scribblers did to the header and to our slot.
    ///
    /// # Errors
    /// `InvalidData` if the file was truncated.
    pub(crate) fn do_chores(&self, now: Instant) -> io::Result<()> {
        if now.as_nanos() < self.next_chores_ns.load(Relaxed) {
            return Ok(());
        }
        self.next_chores_ns.store((now + CHORES).as_nanos(), Relaxed);
        let links = self.bus.check_size()?;
        if links == 0 && !self.unlinked.swap(true, Relaxed) {
            let path = self.bus.file.path.display();
            tracing::warn!(%path, "the bus file was removed: new nodes will not find this bus");
        }
        self.restore_header();
        self.restore_slot();
        Ok(())
    }

    fn restore_header(&self) {
        for at in (0..header::FIXED_BYTES).step_by(8) {
            let (word, right) = (self.bus.header_word(at), u64_at(&self.bus.file.fixed, at));
            if word.load(Relaxed) != right {
                word.store(right, Relaxed);
            }
        }
        if self.bus.note_used(self.slot) {
            self.bus.next_generation();
        }
    }

    fn restore_slot(&self) {
        let identity = locked(&self.identity);
        if locked(&self.lock).is_none() {
            return;
        }
        let lost_state = state(&self.bus, self.slot) != (self.epoch, State::Live);
        let lost_identity = identity.write(&self.bus, self.slot);
        if lost_state || lost_identity {
            tracing::warn!(slot = self.slot, "somebody wrote over our slot; restored");
            set_state(&self.bus, self.slot, self.epoch, State::Live);
        }
    }

    /// One half less; the last one frees the slot.
    pub(crate) fn drop_half(&self) {
        if self.halves.fetch_sub(1, SeqCst) == 1 {
            self.leave();
        }
    }

    fn leave(&self) {
        let Some(lock) = locked(&self.lock).take() else { return };
        if self.bus.check_size().is_ok() {
            set_state(&self.bus, self.slot, self.epoch, State::Free);
            self.bus.wake_sleeper(self.slot);
        }
        drop(lock);
    }

    /// The figures so far.
    pub(crate) fn stats(&self) -> LinkStats {
        let mut stats = LinkStats::default();
        stats.rx_missed = self.figures.rx_missed.load(Relaxed);
        stats.rx_malformed = self.figures.rx_malformed.load(Relaxed);
        stats.tx_refused = self.figures.tx_refused.load(Relaxed);
        stats.tx_waits = self.figures.tx_waits.load(Relaxed);
        stats
    }

    /// Nobody need think that we are stalled.
    pub(crate) fn show_movement(&self) {
        let stalled = self.bus.control(self.slot, control::STALLED_NS);
        if stalled.load(Relaxed) != 0 {
            stalled.store(0, Relaxed);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Doorbell for Member {
    fn arm(&self) -> Option<u32> {
        if self.wake_some() || self.backlog.load(Relaxed) {
            return None;
        }
        // 0 means awake, so it is never a ticket.
        let ticket = self.ticket.fetch_add(1, Relaxed).wrapping_add(1).max(1);
        let bell = self.bus.bell(self.slot);
        let value = bell.arm(ticket);
        if bell.is_pending() || self.has_room_again() || self.has_to_wake.load(Acquire) {
            bell.disarm();
            return None;
        }
        Some(value)
    }

    fn disarm(&self) {
        self.bus.bell(self.slot).disarm();
    }

    fn word(&self) -> &AtomicU32 {
        self.bus.bell_word(self.slot)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn ring(&self) {
        self.bus.bell(self.slot).ring(|| self.bus.futex_wake(self.slot));
    }

    fn longest_sleep(&self) -> Duration {
        if self.waiting_for.load(Relaxed) == 0 { LONGEST_SLEEP } else { STALL }
    }
}

/// The value behind a lock, whether or not somebody panicked with it: it is whole at any time.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
