//! The scoreboard against a table of numbers, and what its walks cost.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Send(u32),
    Sack(u32, u32),
    Acknowledge(u32),
    Detect(u32, u64),
    Resend(u32),
    Tail(u32),
    Timeout(u64),
    ForgetSacks,
    ForgetLosses,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u32..2000).prop_map(Step::Send),
        6 => (any::<u32>(), 1u32..1500).prop_map(|(at, len)| Step::Sack(at, len)),
        2 => any::<u32>().prop_map(Step::Acknowledge),
        4 => (any::<u32>(), 0u64..30).prop_map(|(at, age)| Step::Detect(at, age)),
        4 => (1u32..1000).prop_map(Step::Resend),
        1 => (1u32..200).prop_map(Step::Tail),
        1 => (0u64..30).prop_map(Step::Timeout),
        1 => Just(Step::ForgetSacks),
        1 => Just(Step::ForgetLosses),
    ]
}

/// What is known of one number.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Number {
    sent_at: Instant,
    sacked: bool,
    lost: bool,
    resent: bool,
    ever: bool,
}

/// The scoreboard and its oracle, of numbers from 0 on.
struct Model {
    board: Scoreboard,
    rate: Rate,
    base: SeqNumber,
    now: Instant,
    una: usize,
    numbers: Vec<Number>,
}

impl Model {
    fn new(base: u32) -> Self {
        let now = Instant::from_millis(1000);
        let (board, rate, base) = (Scoreboard::default(), Rate::new(now), SeqNumber::new(base));
        Model { board, rate, base, now, una: 0, numbers: Vec::new() }
    }

    fn seq(&self, n: usize) -> SeqNumber {
        self.base + n as u32
    }

    fn place(&self, pick: u32) -> usize {
        self.una + pick as usize % (self.numbers.len() - self.una + 1)
    }

    fn send(&mut self, len: u32) {
        let seq = self.seq(self.numbers.len());
        let what = Sent { seq, end: seq + len, segment_bytes: 1 };
        self.board.sent(self.now, &what, &mut self.rate, usize::MAX);
        let sent_at = self.now;
        let new = Number { sent_at, sacked: false, lost: false, resent: false, ever: false };
        self.numbers.extend((0..len).map(|_| new));
    }

    fn sack(&mut self, left: usize, len: u32) {
        let right = (left + len as usize).min(self.numbers.len());
        if left >= right {
            return;
        }
        let block = SackBlock { left: self.seq(left), right: self.seq(right) };
        let (base, mut news) = (self.base, Vec::new());
        self.board.sack(&block, |r| news.extend((r.seq - base) as usize..(r.end - base) as usize));
        let want: Vec<_> = (left..right).filter(|&n| !self.numbers[n].sacked).collect();
        assert_eq!(news, want, "what is new");
        for number in &mut self.numbers[left..right] {
            (number.sacked, number.lost, number.resent) = (true, false, false);
        }
    }

    fn acknowledge(&mut self, upto: usize) {
        let (base, mut news) = (self.base, 0);
        self.board.acknowledge(self.seq(upto), |record| {
            assert!((record.end - base) as usize <= upto);
            news += record.len();
        });
        let want = self.numbers[self.una..upto].iter().filter(|n| !n.sacked).count();
        assert_eq!(news as usize, want);
        self.una = upto;
    }

    fn detect(&mut self, at: usize, age: u64) {
        let Some(&newest) = self.numbers.get(at) else { return };
        let cutoff = self.now - Duration::from_millis(age);
        // Of what left at one time, the order is that of the ends.
        let ends: Vec<_> = (self.una..self.numbers.len()).map(|n| self.record_end(n)).collect();
        let end = self.record_end(at);
        let rule = LossRule { sent_at: newest.sent_at, end, cutoff };
        let losses = self.board.detect(&rule, &mut |_| {});
        let mut bytes = 0;
        for (number, own_end) in self.numbers[self.una..].iter_mut().zip(ends) {
            let waits = number.lost && !number.resent;
            // Sent again, taken as lost, and then not: only the time-out finds that one.
            let blind = number.ever && !number.resent;
            let before = number.sent_at < newest.sent_at
                || (number.sent_at == newest.sent_at && own_end.lt(end));
            if !number.sacked && !waits && !blind && before && number.sent_at <= cutoff {
                (number.lost, number.resent) = (true, false);
                bytes += 1;
            }
        }
        assert_eq!(losses.bytes, bytes);
    }

    fn resend(&mut self, seq: SeqNumber, len: u32) {
        let what = Sent { seq, end: seq + len, segment_bytes: 1 };
        self.board.sent_again(self.now, &what, &mut self.rate);
        let start = (seq - self.base) as usize;
        for number in &mut self.numbers[start..start + len as usize] {
            if !number.sacked {
                (number.resent, number.ever, number.sent_at) = (true, true, self.now);
            }
        }
    }

    fn record_end(&self, n: usize) -> SeqNumber {
        let at = self.board.records.find(self.seq(n));
        self.board.records.get(at).expect("it is under way").end
    }

    fn apply(&mut self, step: &Step) {
        self.now += Duration::from_millis(3);
        match *step {
            Step::Send(len) => self.send(len),
            Step::Sack(at, len) => self.sack(self.place(at), len),
            Step::Acknowledge(at) => self.acknowledge(self.place(at)),
            Step::Detect(at, age) => self.detect(self.place(at), age),
            Step::Resend(most) => {
                let first = self.numbers[self.una..].iter().position(|n| n.lost && !n.resent);
                let next = self.board.next_lost(most);
                assert_eq!(next.map(|(seq, _)| seq), first.map(|n| self.seq(self.una + n)));
                if let Some((seq, len)) = next {
                    assert!((1..=most).contains(&len));
                    self.resend(seq, len);
                }
            }
            Step::Tail(most) => {
                let Some(last) = self.board.last() else { return };
                let len = most.min(last.len());
                self.resend(last.end - len, len);
            }
            Step::Timeout(age) => self.timeout(self.now - Duration::from_millis(age)),
            Step::ForgetSacks => {
                self.board.forget_sacks();
                self.numbers[self.una..].iter_mut().for_each(|n| n.sacked = false);
            }
            Step::ForgetLosses => {
                self.board.forget_losses();
                self.numbers[self.una..].iter_mut().for_each(|n| n.lost = false);
            }
        }
    }

    fn timeout(&mut self, cutoff: Instant) {
        let head = self.board.records.front().map_or(0, |r| (r.end - self.base) as usize);
        self.board.mark_on_timeout(cutoff, &mut |_| {});
        for n in self.una..self.numbers.len() {
            let number = &mut self.numbers[n];
            if !number.sacked && (n < head || number.sent_at <= cutoff) {
                (number.lost, number.resent) = (true, false);
            }
        }
    }

    fn check(&self) {
        self.board.check_invariants(self.seq(self.una), self.seq(self.numbers.len()));
        let count = |is: fn(&Number) -> bool| {
            self.numbers[self.una..].iter().filter(|n| is(n)).count() as u32
        };
        assert_eq!(self.board.sacked_bytes(), count(|n| n.sacked));
        assert_eq!(self.board.lost_bytes(), count(|n| n.lost));
        assert_eq!(self.board.resent_bytes(), count(|n| n.resent));
    }
}

proptest! {
    #[test]
    fn it_agrees_with_a_table_of_numbers(
        base: u32, steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut model = Model::new(base);
        for step in &steps {
            model.apply(step);
            model.check();
        }
        model.acknowledge(model.numbers.len());
        model.check();
        prop_assert!(model.board.is_empty());
        prop_assert_eq!(model.board.waiting.capacity() + model.board.again.capacity(), 0);
    }
}

/// Looks at records while `what` is done.
fn looks(model: &mut Model, what: impl FnOnce(&mut Model)) -> u64 {
    let before = model.board.records.looks.get();
    what(model);
    model.board.records.looks.get() - before
}

const MANY: u32 = 11_000;

fn many() -> Model {
    let mut model = Model::new(u32::MAX - 5_000);
    for _ in 0..MANY {
        model.now += Duration::from_micros(1);
        let seq = model.seq(model.numbers.len());
        let what = Sent { seq, end: seq + 1, segment_bytes: 1 };
        model.board.sent(model.now, &what, &mut model.rate, usize::MAX);
        let sent_at = model.now;
        model.numbers.push(Number {
            sent_at,
            sacked: false,
            lost: false,
            resent: false,
            ever: false,
        });
    }
    model
}

#[test]
fn a_block_that_grows_costs_the_same_however_long_it_is() {
    let mut model = many();
    let mut most = 0;
    for right in 2..MANY {
        let block = SackBlock { left: model.seq(1), right: model.seq(right as usize) };
        let cutoff = model.now - Duration::from_secs(1);
        let rule = LossRule { sent_at: model.now, end: block.right, cutoff };
        most = most.max(looks(&mut model, |model| {
            model.board.sack(&block, |_| {});
            model.board.detect(&rule, &mut |_| {});
        }));
    }
    assert!(most <= 16, "{most} looks for one acknowledgement");
}

#[test]
fn an_acknowledgement_in_order_costs_what_it_acknowledges() {
    let mut model = many();
    let ten = looks(&mut model, |model| model.board.acknowledge(model.seq(10), |_| {}));
    assert!(ten <= 12, "{ten} looks for ten records");
    let cutoff = model.now - Duration::from_secs(1);
    let rule =
        LossRule { sent_at: model.now - Duration::from_millis(10), end: model.seq(10), cutoff };
    let none = looks(&mut model, |model| {
        let _ = model.board.detect(&rule, &mut |_| {});
    });
    assert!(none <= 4, "{none} looks where nothing is lost");
}

#[test]
fn losses_all_over_are_found_and_sent_again_at_a_constant_cost_each() {
    let mut model = many();
    // Every second one is missing.
    for n in (1..MANY).step_by(2) {
        let block = SackBlock { left: model.seq(n as usize), right: model.seq(n as usize + 1) };
        model.board.sack(&block, |_| {});
    }
    let end = model.seq(MANY as usize);
    let rule = LossRule { sent_at: model.now + Duration::from_secs(1), end, cutoff: model.now };
    let found = looks(&mut model, |model| {
        let _ = model.board.detect(&rule, &mut |_| {});
    });
    assert!(found <= 10 * u64::from(MANY), "{found}");
    let again = looks(&mut model, |model| {
        while let Some((seq, len)) = model.board.next_lost(100) {
            let what = Sent { seq, end: seq + len, segment_bytes: 1 };
            model.board.sent_again(model.now, &what, &mut model.rate);
        }
    });
    assert!(again <= 20 * u64::from(MANY), "{again}");
    assert_eq!(model.board.resent_bytes(), MANY.div_ceil(2));
}
