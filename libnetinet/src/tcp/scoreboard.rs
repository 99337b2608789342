//! The sender's scoreboard: what of the records is SACKed, lost, or sent again, and what is under way.
//!
//! ```text
//!  records   | sacked | lost | resent | sacked        | fresh | fresh |
//!            ^ SND.UNA                                ^ `fresh`       ^ SND.MAX
//!  `waiting`          ^ lost, to be sent again, in the order of their numbers
//!  `again`                   ^ sent again, in the order of their times
//! ```
//! Records that were sent once lie in the order of their times, too. So each list is walked from its
//! front and left at the first that does not belong: a record is passed once for each thing that
//! happens to it, and an acknowledgement in order costs what it acknowledges.

use std::collections::VecDeque;

use libnet::Instant;

use super::rate::Rate;
use super::records::{Marks, Record, Records};
use super::sack::SackBlock;
use super::seq::SeqNumber;

/// What was sent, from SND.UNA to SND.MAX.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scoreboard {
    records: Records,
    sacked_bytes: u32,
    lost_bytes: u32,
    resent_bytes: u32,
    /// All records before it were SACKed, lost or sent again.
    fresh: SeqNumber,
    waiting: VecDeque<SackBlock>,
    again: VecDeque<Again>,
}

/// Numbers that leave together, cut into segments of so many data bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) seq: SeqNumber,
    pub(crate) end: SeqNumber,
    pub(crate) segment_bytes: u16,
}

/// Numbers that were sent again together.
#[derive(Clone, Copy, Debug)]
struct Again {
    seq: SeqNumber,
    end: SeqNumber,
    sent_at: Instant,
}

/// The newest transmission known to have arrived, and what was sent too long before it.
/// Source: RFC 8985 §6.2, step 5.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossRule {
    /// RACK.xmit_ts.
    pub(crate) sent_at: Instant,
    /// RACK.end_seq.
    pub(crate) end: SeqNumber,
    /// What was sent at this time or before it, and before that transmission, is lost.
    pub(crate) cutoff: Instant,
}

/// What a search for losses has found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Losses {
    /// Bytes marked lost.
    pub(crate) bytes: u32,
    /// Bytes of these that had been sent again.
    pub(crate) resent_bytes: u32,
    /// Others may turn out lost when more time has passed.
    pub(crate) undecided: bool,
}

/// A search for losses, and who is told of each.
struct Search<'a> {
    rule: &'a LossRule,
    losses: Losses,
    lost: &'a mut dyn FnMut(&Record),
}

impl Scoreboard {
    /// Nothing is under way?
    pub(crate) fn is_empty(&self) -> bool {
        self.records.len() == 0
    }

    /// Nothing is under way, and nothing is kept of what was?
    pub(crate) fn is_done(&self) -> bool {
        self.is_empty() && self.waiting.capacity() == 0 && self.again.capacity() == 0
    }

    /// Records held.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes SACKed.
    pub(crate) fn sacked_bytes(&self) -> u32 {
        self.sacked_bytes
    }

    /// Bytes taken as lost, those sent again since among them.
    pub(crate) fn lost_bytes(&self) -> u32 {
        self.lost_bytes
    }

    /// Bytes sent again and neither acknowledged nor lost since.
    pub(crate) fn resent_bytes(&self) -> u32 {
        self.resent_bytes
    }

    /// The pipe: bytes that are likely to be in the network, of `outstanding` not acknowledged.
    /// Source: RFC 6675 §2 and §4, with losses as RACK finds them.
    pub(crate) fn pipe(&self, outstanding: u32) -> u32 {
        let gone = self.sacked_bytes.saturating_add(self.lost_bytes);
        outstanding.saturating_sub(gone).saturating_add(self.resent_bytes)
    }

    /// Does the peer say that it has what it asks for? It has thrown it away, then.
    /// Source: RFC 2018 §8.
    pub(crate) fn is_head_sacked(&self) -> bool {
        self.records.front().is_some_and(|record| record.marks.has(Marks::SACKED))
    }

    /// The last record.
    pub(crate) fn last(&self) -> Option<&Record> {
        self.records.back()
    }

    /// New numbers have left. Beyond `max_records` they count as sent together with those before.
    pub(crate) fn sent(&mut self, now: Instant, what: &Sent, rate: &mut Rate, max_records: usize) {
        let &Sent { seq, end, segment_bytes } = what;
        let idle = self.is_empty();
        let first = self.records.front().map_or(seq, |record| record.seq);
        let stamp = rate.on_sent(now, idle, self.pipe(end - first));
        let marks = if rate.is_app_limited() { Marks::APP_LIMITED } else { Marks::NONE };
        if idle {
            self.fresh = seq;
        }
        if self.records.len() >= max_records.max(1)
            && let Some(last) = self.records.back_mut()
            && last.marks.without(Marks::APP_LIMITED) == Marks::NONE
        {
            (last.end, last.sent_at, last.sacked_to) = (end, now, end);
            return;
        }
        let record = Record { seq, end, sent_at: now, stamp, sacked_to: end, marks, segment_bytes };
        self.records.push_back(record);
    }

    /// Numbers that were sent before have left again.
    pub(crate) fn sent_again(&mut self, now: Instant, what: &Sent, rate: &mut Rate) {
        let &Sent { seq, end, segment_bytes } = what;
        let outstanding = self.records.back().map_or(end, |record| record.end);
        let first = self.records.front().map_or(seq, |record| record.seq);
        let in_flight = self.pipe(outstanding - first).saturating_add(end - seq);
        let stamp = rate.on_sent(now, false, in_flight);
        self.split_at(seq);
        self.split_at(end);
        let mut at = self.records.find(seq);
        while let Some(record) = self.records.get_mut(at).filter(|record| record.seq.lt(end)) {
            if !record.marks.has(Marks::SACKED) {
                if !record.marks.has(Marks::RESENT) {
                    self.resent_bytes += record.len();
                }
                record.marks = record.marks.with(Marks::RESENT).with(Marks::EVER_RESENT);
                (record.sent_at, record.stamp) = (now, stamp);
                record.segment_bytes = segment_bytes;
            }
            at += 1;
        }
        self.again.push_back(Again { seq, end, sent_at: now });
        self.tidy();
    }

    /// All before `ack` is acknowledged; `delivered` is called with what the peer had not SACKed.
    pub(crate) fn acknowledge(&mut self, ack: SeqNumber, mut delivered: impl FnMut(&Record)) {
        while let Some(record) = self.records.front().copied().filter(|r| r.seq.lt(ack)) {
            let done = Record { end: record.end.min(ack), ..record };
            if !done.marks.has(Marks::SACKED) {
                delivered(&done);
            }
            self.forget_marks(&done);
            if done.end == record.end {
                self.records.pop_front();
            } else if let Some(rest) = self.records.front_mut() {
                rest.seq = ack;
            }
        }
        self.fresh = self.fresh.max(ack);
        while self.again.front().is_some_and(|sent| sent.end.le(ack)) {
            self.again.pop_front();
        }
        self.tidy();
    }

    /// The peer has `block`, which lies between SND.UNA and SND.MAX; only whole segments of a
    /// record count. `delivered` is called with what is new.
    pub(crate) fn sack(&mut self, block: &SackBlock, mut delivered: impl FnMut(&Record)) {
        let mut at = self.records.find(block.left);
        // Where the SACKed records began that the walk is in.
        let mut run: Option<usize> = None;
        while let Some(&record) = self.records.get(at).filter(|record| record.seq.lt(block.right)) {
            if record.marks.has(Marks::SACKED) {
                run.get_or_insert(at);
                at = self.skip_sacked(at, &record);
                continue;
            }
            let Some(part) = whole_segments(&record, block) else {
                self.end_run(run.take(), record.seq);
                at += 1;
                continue;
            };
            if part.left != record.seq {
                self.records.split(at, part.left - record.seq);
                self.end_run(run.take(), record.seq);
                at += 1;
            }
            self.split_at(part.right);
            if let Some(record) = self.records.get_mut(at) {
                let before = *record;
                record.marks = record.marks.without(Marks::LOST).without(Marks::RESENT);
                record.marks = record.marks.with(Marks::SACKED);
                record.sacked_to = record.end;
                self.forget_marks(&before);
                self.sacked_bytes += before.len();
                delivered(&before);
            }
            run.get_or_insert(at);
            at += 1;
        }
        let end = self.records.get(at).map_or(block.right, |record| record.seq);
        self.end_run(run, end);
        self.tidy();
    }

    /// Marks what is lost by `rule`, and calls `lost` with each record of it as it was. Source:
    /// RFC 8985 §6.2, step 5.
    pub(crate) fn detect(&mut self, rule: &LossRule, lost: &mut dyn FnMut(&Record)) -> Losses {
        let mut search = Search { rule, losses: Losses::default(), lost };
        self.detect_fresh(&mut search);
        self.detect_again(&mut search);
        let losses = search.losses;
        self.tidy();
        losses
    }

    /// A retransmission time-out: the first record is lost, and all that were sent at `cutoff` or
    /// before it. Source: RFC 8985 §6.3.
    pub(crate) fn mark_on_timeout(
        &mut self,
        cutoff: Instant,
        lost: &mut dyn FnMut(&Record),
    ) -> Losses {
        let mut losses = Losses::default();
        for at in 0..self.records.len() {
            if self.records.get(at).is_some_and(|record| at == 0 || record.sent_at <= cutoff) {
                self.mark_lost(at, &mut losses, lost);
            }
        }
        self.tidy();
        losses
    }

    /// The peer has thrown away what it had SACKed: nothing is believed any more.
    /// Source: RFC 2018 §5 and §8.
    pub(crate) fn forget_sacks(&mut self) {
        for at in 0..self.records.len() {
            if let Some(record) = self.records.get_mut(at) {
                record.marks = record.marks.without(Marks::SACKED);
            }
        }
        self.sacked_bytes = 0;
        self.fresh = self.records.front().map_or(self.fresh, |record| record.seq);
    }

    /// Nothing was lost after all: what was not sent again is under way. Source: RFC 5682 §3.
    pub(crate) fn forget_losses(&mut self) {
        for at in 0..self.records.len() {
            if let Some(record) = self.records.get_mut(at) {
                record.marks = record.marks.without(Marks::LOST);
            }
        }
        self.lost_bytes = 0;
        self.fresh = self.records.front().map_or(self.fresh, |record| record.seq);
        self.tidy();
    }

    /// Is anything lost that was not sent again?
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The first lost numbers to be sent again, at most `max_bytes`.
    pub(crate) fn next_lost(&self, max_bytes: u32) -> Option<(SeqNumber, u32)> {
        let front = self.waiting.front()?;
        let (seq, mut end) = (front.left, front.left);
        let mut at = self.records.find(seq);
        while let Some(record) = self.records.get(at)
            && record.seq.lt(front.right)
            && is_waiting(record)
            && end - seq < max_bytes
        {
            end = record.end.min(front.right);
            at += 1;
        }
        (end != seq).then_some((seq, (end - seq).min(max_bytes)))
    }

    /// Panics if the sums are not those of the records; for tests.
    pub(crate) fn check_invariants(&self, snd_una: SeqNumber, snd_max: SeqNumber) {
        let (mut at, mut sacked, mut lost, mut resent) = (snd_una, 0, 0, 0);
        let mut waits = 0;
        for record in self.records.iter() {
            assert_eq!(record.seq, at, "a gap or an overlap");
            assert!(record.end.gt(record.seq), "an empty record");
            at = record.end;
            let sum =
                |mark, sum: &mut u32| *sum += u32::from(record.marks.has(mark)) * record.len();
            sum(Marks::SACKED, &mut sacked);
            sum(Marks::LOST, &mut lost);
            sum(Marks::RESENT, &mut resent);
            waits += u32::from(is_waiting(record)) * record.len();
            let all = Marks::LOST.with(Marks::RESENT);
            assert!(!record.marks.has(Marks::SACKED) || !record.marks.has(all), "{record:?}");
            let candidate = !record.marks.has(all.with(Marks::SACKED).with(Marks::EVER_RESENT));
            assert!(!candidate || record.seq.ge(self.fresh), "{record:?} is never looked at");
        }
        assert!(self.is_empty() || at == snd_max, "{at:?} and not {snd_max:?} is the end");
        assert_eq!((sacked, lost, resent), (self.sacked_bytes, self.lost_bytes, self.resent_bytes));
        let queued: u32 = self.waiting.iter().map(|range| range.right - range.left).sum();
        assert!(waits <= queued, "lost, and nobody sends it again");
        assert_eq!(waits > 0, self.next_lost(1).is_some());
    }

    fn detect_fresh(&mut self, search: &mut Search<'_>) {
        let rule = search.rule;
        let mut at = self.records.find(self.fresh);
        while let Some(&record) = self.records.get(at) {
            let settled = Marks::SACKED.with(Marks::LOST).with(Marks::EVER_RESENT);
            if record.marks.has(Marks::SACKED) {
                at = self.skip_sacked(at, &record);
                continue;
            }
            if !record.marks.has(settled) {
                if !is_before(record.sent_at, record.end, rule) {
                    break;
                }
                if record.sent_at > rule.cutoff {
                    search.losses.undecided = true;
                    break;
                }
                self.mark_lost(at, &mut search.losses, search.lost);
            }
            at += 1;
        }
        let reached = self.records.get(at).map(|record| record.seq);
        self.fresh = reached.or(self.records.back().map(|last| last.end)).unwrap_or(self.fresh);
    }

    fn detect_again(&mut self, search: &mut Search<'_>) {
        let rule = search.rule;
        while let Some(&sent) = self.again.front() {
            let mut at = self.records.find(sent.seq);
            let mut under_way = false;
            while let Some(&record) = self.records.get(at).filter(|r| r.seq.lt(sent.end)) {
                let same = record.marks.has(Marks::RESENT) && record.sent_at == sent.sent_at;
                if same && is_before(record.sent_at, record.end, rule) {
                    if record.sent_at > rule.cutoff {
                        search.losses.undecided = true;
                        return;
                    }
                    self.mark_lost(at, &mut search.losses, search.lost);
                } else if same {
                    under_way = true;
                }
                at += 1;
            }
            if under_way {
                return;
            }
            self.again.pop_front();
        }
        self.again = VecDeque::new();
    }

    fn mark_lost(&mut self, at: usize, losses: &mut Losses, lost: &mut dyn FnMut(&Record)) {
        let Some(record) = self.records.get_mut(at) else { return };
        let (seq, end, len) = (record.seq, record.end, record.len());
        if record.marks.has(Marks::SACKED) || is_waiting(record) {
            return;
        }
        lost(record);
        losses.bytes += len;
        if record.marks.has(Marks::RESENT) {
            losses.resent_bytes += len;
            self.resent_bytes -= len;
        }
        if !record.marks.has(Marks::LOST) {
            self.lost_bytes += len;
        }
        record.marks = record.marks.without(Marks::RESENT).with(Marks::LOST);
        self.wait(SackBlock { left: seq, right: end });
    }

    /// `range` is to be sent again.
    fn wait(&mut self, range: SackBlock) {
        match self.waiting.back_mut() {
            Some(last) if last.right == range.left => last.right = range.right,
            Some(last) if last.right.gt(range.left) => {
                let at = self.waiting.partition_point(|other| other.left.lt(range.left));
                let before = at.checked_sub(1).and_then(|before| self.waiting.get(before));
                if !before.is_some_and(|before| range.right.le(before.right)) {
                    self.waiting.insert(at, range);
                }
            }
            _ => self.waiting.push_back(range),
        }
    }

    /// Keeps the first of `waiting` one that really waits.
    fn tidy(&mut self) {
        while let Some(front) = self.waiting.front_mut() {
            let at = self.records.find(front.left);
            match self.records.get(at).filter(|record| record.seq.lt(front.right)) {
                Some(record) if is_waiting(record) => {
                    front.left = front.left.max(record.seq);
                    return;
                }
                Some(record) if record.end.lt(front.right) => front.left = record.end,
                _ => {
                    self.waiting.pop_front();
                }
            }
        }
        if self.waiting.capacity() > 0 {
            self.waiting = VecDeque::new();
        }
        if self.is_empty() && self.again.capacity() > 0 {
            self.again = VecDeque::new();
        }
    }

    /// A record that is over leaves the sums.
    fn forget_marks(&mut self, record: &Record) {
        for (mark, sum) in [
            (Marks::SACKED, &mut self.sacked_bytes),
            (Marks::LOST, &mut self.lost_bytes),
            (Marks::RESENT, &mut self.resent_bytes),
        ] {
            if record.marks.has(mark) {
                *sum -= record.len();
            }
        }
    }

    fn split_at(&mut self, seq: SeqNumber) {
        let at = self.records.find(seq);
        if let Some(record) = self.records.get(at).filter(|record| record.seq.lt(seq)) {
            let len = seq - record.seq;
            self.records.split(at, len);
        }
    }

    /// The place behind the SACKed records that this one is known to begin.
    fn skip_sacked(&self, at: usize, record: &Record) -> usize {
        if record.sacked_to.gt(record.end) { self.records.find(record.sacked_to) } else { at + 1 }
    }

    /// The SACKed records from place `run` on reach to `end`: the next walk jumps over them.
    fn end_run(&mut self, run: Option<usize>, end: SeqNumber) {
        if let Some(record) = run.and_then(|run| self.records.get_mut(run)) {
            record.sacked_to = record.sacked_to.max(end);
        }
    }
}

/// Lost and not sent again since.
fn is_waiting(record: &Record) -> bool {
    record.marks.has(Marks::LOST) && !record.marks.has(Marks::RESENT)
}

/// RACK_sent_after: was it sent before the newest transmission that has arrived?
fn is_before(sent_at: Instant, end: SeqNumber, rule: &LossRule) -> bool {
    sent_at < rule.sent_at || (sent_at == rule.sent_at && end.lt(rule.end))
}

/// What of `block` covers whole segments of a record.
fn whole_segments(record: &Record, block: &SackBlock) -> Option<SackBlock> {
    let size = u32::from(record.segment_bytes.max(1));
    let before = block.left.saturating_since(record.seq);
    let left = record.seq + before.div_ceil(size).saturating_mul(size).min(record.len());
    let right = match block.right.ge(record.end) {
        true => record.end,
        false => record.seq + (block.right - record.seq) / size * size,
    };
    left.lt(right).then_some(SackBlock { left, right })
}

#[cfg(test)]
mod tests;
