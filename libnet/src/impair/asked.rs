//! Which harm was asked for, and which of it never happened.

use super::Impair;
use super::config::{Discipline, Impairments};
use super::fault::Rule;

/// Harm that was ever asked for, by [`KNOBS`].
#[derive(Clone, Copy, Default)]
pub(super) struct Asked([bool; KNOBS.len()]);

/// As their keys are called.
const KNOBS: [&str; 8] = ["loss", "dup", "reorder", "corrupt", "limit", "queue", "jitter", "state"];

impl Asked {
    pub(super) fn note(&mut self, config: &Impairments) {
        let asked = [
            config.loss.is_asked_for(),
            config.duplicate > 0.0,
            config.reorder > 0.0,
            config.corrupt > 0.0,
            config.queue.is_asked_for(),
            config.queue.discipline != Discipline::Fifo,
            !config.jitter.is_zero(),
            config.is_down,
        ];
        for (ever, now) in self.0.iter_mut().zip(asked) {
            *ever |= now;
        }
    }
}

impl Impair {
    /// Names the faults that were asked for and never fired.
    pub fn unfired(&self) -> Vec<String> {
        let s = &self.stats;
        // With flows the limit is part of the discipline.
        let by_limit = if self.queue.sheds() { s.queue_dropped } else { 0 };
        let by_discipline = s.codel_dropped + s.red_dropped + s.ecn_marked + by_limit;
        let fired = [
            s.lost > 0,
            s.duplicated > 0,
            s.reordered > 0,
            s.corrupted > 0,
            s.queue_dropped > 0,
            by_discipline > 0 || self.queue.has_shared(),
            s.jittered > 0,
            s.lost_down > 0,
        ];
        let knobs = KNOBS.iter().zip(self.asked.0).zip(fired);
        let mut names: Vec<String> = knobs
            .filter(|&((_, asked), fired)| asked && !fired)
            .map(|((name, _), _)| (*name).to_owned())
            .collect();
        if let Some(since) = self.schedule.as_ref().and_then(|running| running.never_came()) {
            names.push(format!("schedule from {since:?} on (no frame came)"));
        }
        names.extend(self.rules.iter().filter(|rule| !rule.has_fired()).map(Rule::describe));
        names
    }
}
