//! The doorbell protocol: post, and wake only a sleeper.
//!
//! ```text
//!   poster                          sleeper
//!   publish, set pending bits       armed = ticket
//!   ---- full fence ----            ---- full fence ----
//!   armed? word += 1, futex wake    pending bits? do not sleep
//!   armed: ticket → 0               futex wait while word is as it was
//! ```
//! Either the poster sees the ticket or the sleeper sees the bits. The poster takes the ticket
//! away only after its wake: one that is killed or stopped before leaves the bell armed for all
//! others, and a ticket is never used twice, so that a late one takes nothing from a later sleep.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use crate::word::Word;

/// The words of a member's bell.
pub(crate) struct Bell<'a, W32, W64> {
    /// Where it sleeps; changes with every ring.
    pub(crate) word: &'a W32,
    /// The ticket of the sleep that is announced; 0: awake.
    pub(crate) armed: &'a W32,
    /// Bit `i`: word `i` of the pending bits is not zero.
    pub(crate) summary: &'a W64,
}

impl<W32: Word<Value = u32>, W64: Word<Value = u64>> Bell<'_, W32, W64> {
    /// Notes that the sender of slot `sender` has published something; `bits` is the word of the
    /// pending bits that holds its bit.
    pub(crate) fn post(&self, bits: &W64, sender: u16) {
        bits.fetch_or(1 << (sender % 64), AcqRel);
        self.summary.fetch_or(1 << (sender / 64), AcqRel);
    }

    /// Rings if the owner sleeps; `wake` does the futex call.
    pub(crate) fn wake_sleeper(&self, wake: impl FnOnce()) -> bool {
        W32::fence(SeqCst);
        let ticket = self.armed.load(Relaxed);
        if ticket == 0 {
            return false;
        }
        self.word.fetch_add(1, AcqRel);
        wake();
        self.armed.exchange(ticket, 0);
        true
    }

    /// Changes the word, so that whoever is about to sleep does not, and wakes who sleeps.
    pub(crate) fn ring(&self, wake: impl FnOnce()) {
        self.word.fetch_add(1, AcqRel);
        self.wake_sleeper(wake);
    }

    /// Announces a sleep under `ticket` (not 0); the word's value, to sleep on it.
    pub(crate) fn arm(&self, ticket: u32) -> u32 {
        // Read before announcing: a ring after the announcement must change what is slept on.
        let value = self.word.load(Acquire);
        self.armed.swap(ticket, AcqRel);
        W32::fence(SeqCst);
        value
    }

    /// Something was posted and not collected?
    pub(crate) fn is_pending(&self) -> bool {
        self.summary.load(Acquire) != 0
    }

    /// Ends the announcement.
    pub(crate) fn disarm(&self) {
        // As in `arm`, a swap: against a late poster's exchange, its place is then certain.
        self.armed.swap(0, AcqRel);
    }

    /// Takes the summary: which words of the pending bits to look into.
    pub(crate) fn take_summary(&self) -> u64 {
        if self.summary.load(Relaxed) == 0 { 0 } else { self.summary.swap(0, AcqRel) }
    }
}

/// Takes a word of pending bits; what was published before a bit was set is seen after this.
pub(crate) fn take_bits<W: Word<Value = u64>>(bits: &W) -> u64 {
    if bits.load(Relaxed) == 0 { 0 } else { bits.swap(0, AcqRel) }
}

#[cfg(test)]
mod tests;
