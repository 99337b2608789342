//! `loss=2%,delay=10ms…`: the one way to ask for a bad link.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use libnet::Instant;
use libnet::impair::{Discipline, Impairer, Impairments, Loss, Overflow, QueueLimit, Way};
use rumpnet::Inet;
use serde_json::{Value, json};

use crate::fail::Failure;
use crate::units::{parse_bit_rate, parse_bytes};

/// What a user wants done to frames, each way.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct ImpairSpec {
    /// To those that are sent.
    pub out: Impairments,
    /// To those that are received.
    pub received: Impairments,
    /// What becomes of each is a function of this, of the frames, and of when they come; `None`:
    /// different every time.
    pub seed: Option<u64>,
    /// The file that says how it changes as time goes on.
    pub schedule: Option<PathBuf>,
}

/// What is wrong with the text, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImpairSpecError {
    /// A key that nobody knows.
    #[error("unknown impairment `{0}`: there are {keys}", keys = KEYS.join(", "))]
    UnknownKey(String),
    /// Not `KEY=VALUE`.
    #[error("`{0}` is not KEY=VALUE: write loss=2%,delay=10ms, or down")]
    NoValue(String),
    /// A value that is not one of its key.
    #[error("`{value}` is no value for `{key}`: write {example}")]
    BadValue {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// One that would do.
        example: &'static str,
    },
}

/// The keys, as they are written. Each but the last two may have `out.` or `in.` in front.
pub const KEYS: [&str; 12] = [
    "loss", "delay", "jitter", "rate", "limit", "queue", "reorder", "dup", "corrupt", "state",
    "schedule", "seed",
];

/// What reordering is told by another key, and what the key for duplication was called first.
const OTHER_KEYS: [&str; 2] = ["reorder-by", "duplicate"];

/// Is it a key of impairments, whatever way it is for?
pub fn is_key(key: &str) -> bool {
    let (_, key) = way_of(key);
    KEYS.contains(&key) || OTHER_KEYS.contains(&key)
}

/// Is it `down` or `up`, which stand for `state=down` and `state=up`, whatever way it is for?
pub fn is_state(word: &str) -> bool {
    matches!(way_of(word).1, "down" | "up")
}

/// Splits `a=1,b=2` at its commas, but for those within `loss=ge:P,R,1-H,1-K`.
pub fn split_keys(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = Vec::new();
    let mut begin = 0;
    for part in text.split(',') {
        let end = begin + part.len();
        let is_number = part.trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '.');
        match parts.last_mut() {
            Some(last) if is_number && last.contains("loss=ge:") => {
                let from = begin - 1 - last.len();
                *last = &text[from..end];
            }
            _ => parts.push(part),
        }
        begin = end + 1;
    }
    parts
}

/// The way that a key is for, both if it does not say, and the key.
fn way_of(key: &str) -> (&'static [Way], &str) {
    match key.split_once('.') {
        Some(("out", key)) => (&[Way::Out], key),
        Some(("in", key)) => (&[Way::In], key),
        _ => (&Way::BOTH, key),
    }
}

impl ImpairSpec {
    /// What is done one way.
    pub const fn way(&self, way: Way) -> &Impairments {
        match way {
            Way::Out => &self.out,
            Way::In => &self.received,
        }
    }

    /// Is anything done at all?
    pub fn is_none(&self) -> bool {
        self.out.is_none() && self.received.is_none() && self.schedule.is_none()
    }

    /// The seed as links take it: the one asked for, or of the machine's entropy.
    ///
    /// # Errors
    /// The machine has none.
    pub fn full_seed(&self) -> Result<[u8; 32], Failure> {
        let mut seed = [0; 32];
        match self.seed {
            Some(asked) => seed[8..16].copy_from_slice(&asked.to_le_bytes()),
            None => getrandom::fill(&mut seed)
                .map_err(|error| Failure::doing("no random numbers", &error))?,
        }
        Ok(seed)
    }

    /// Takes in `a=1,b=2`; `down`, `up` and `none` stand alone.
    ///
    /// # Errors
    /// [`ImpairSpecError`].
    pub fn read(&mut self, text: &str) -> Result<(), ImpairSpecError> {
        let parts = split_keys(text).into_iter().map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            match (part.split_once('='), way_of(part).1) {
                (Some((key, value)), _) => self.set(key.trim(), value.trim())?,
                (None, "none") => {
                    for way in way_of(part).0 {
                        *self.way_mut(*way) = Impairments::none();
                    }
                }
                (None, state @ ("down" | "up")) => {
                    self.set(&part.replace(state, "state"), state)?;
                }
                (None, _) => return Err(ImpairSpecError::NoValue(part.to_owned())),
            }
        }
        Ok(())
    }

    fn way_mut(&mut self, way: Way) -> &mut Impairments {
        match way {
            Way::Out => &mut self.out,
            Way::In => &mut self.received,
        }
    }

    /// Sets what a key says.
    ///
    /// # Errors
    /// [`ImpairSpecError`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ImpairSpecError> {
        let bad = |example| ImpairSpecError::BadValue {
            key: key.to_owned(),
            value: value.to_owned(),
            example,
        };
        if key == "seed" {
            self.seed = Some(value.parse().map_err(|_| bad("seed=7"))?);
            return Ok(());
        }
        if key == "schedule" {
            let path = Some(value).filter(|value| !value.is_empty());
            self.schedule = Some(path.ok_or_else(|| bad("schedule=FILE"))?.into());
            return Ok(());
        }
        let (ways, bare) = way_of(key);
        for way in ways {
            let impairments = self.way_mut(*way);
            let changed = change(impairments.clone(), bare, value);
            *impairments = changed.map_err(|wrong| match wrong {
                Wrong::Key => ImpairSpecError::UnknownKey(key.to_owned()),
                Wrong::Value(example) => bad(example),
            })?;
        }
        Ok(())
    }
}

enum Wrong {
    Key,
    /// A value that would do, with its key.
    Value(&'static str),
}

fn change(to: Impairments, key: &str, value: &str) -> Result<Impairments, Wrong> {
    let percent = |example| share(value).ok_or(Wrong::Value(example));
    let time = |example| duration(value).ok_or(Wrong::Value(example));
    Ok(match key {
        "loss" => to.loss_model(loss(value).ok_or(Wrong::Value("loss=2% or loss=ge:1%,25%"))?),
        "dup" | "duplicate" => to.duplicate(percent("dup=1%")?),
        "reorder" => to.reorder(percent("reorder=5%")?),
        "reorder-by" => to.reorder_by(time("reorder-by=5ms")?),
        "corrupt" => to.corrupt(percent("corrupt=0.1%")?),
        "delay" => to.delay(time("delay=10ms")?),
        "jitter" => to.jitter(time("jitter=2ms")?),
        "state" => match value {
            "down" => to.down(),
            "up" => to.up(),
            _ => return Err(Wrong::Value("state=down or state=up")),
        },
        "rate" => {
            let rate = bit_rate(value).ok_or(Wrong::Value("rate=100mbit"))?;
            let queue = router_queue(to.queue);
            to.rate(rate).queue(queue)
        }
        "limit" => {
            let asked = limit(value).ok_or(Wrong::Value("limit=100, limit=64k or limit=20ms"))?;
            let queue = asked.discipline(to.queue.discipline);
            to.queue(queue)
        }
        "queue" => {
            let discipline = match value {
                "fifo" => Discipline::Fifo,
                "codel" => Discipline::CoDel,
                "ecn" => Discipline::Ecn,
                "red" => Discipline::Red,
                "red-ecn" => Discipline::RedEcn,
                "fq-codel" | "fq_codel" => Discipline::FqCoDel,
                _ => return Err(Wrong::Value("queue=fifo, codel, ecn, red, red-ecn or fq-codel")),
            };
            let queue = router_queue(to.queue).discipline(discipline);
            to.queue(queue)
        }
        _ => return Err(Wrong::Key),
    })
}

/// Frames past 1,000 are dropped in front of a link with a rate, as in a router, unless a limit
/// says when.
fn router_queue(queue: QueueLimit) -> QueueLimit {
    match queue.overflow {
        Overflow::Drops => queue,
        Overflow::Waits => QueueLimit::ROUTER.discipline(queue.discipline),
    }
}

/// `2%`, or `ge:P,R,1-H,1-K` as netem has them: the chances of going from good to bad and back, of
/// losing a frame in the bad state, and of losing one in the good.
fn loss(text: &str) -> Option<Loss> {
    let Some(chain) = text.strip_prefix("ge:") else {
        return share(text).map(|share| if share > 0.0 { Loss::Random(share) } else { Loss::None });
    };
    let shares: Option<Vec<f64>> = chain.split(',').map(|part| share(part.trim())).collect();
    let &[enter, leave, ref rest @ ..] = &shares?[..] else { return None };
    if rest.len() > 2 {
        return None;
    }
    let loss_bad = rest.first().copied().unwrap_or(1.0);
    let loss_good = rest.get(1).copied().unwrap_or(0.0);
    Some(Loss::GilbertElliott { enter, leave, loss_good, loss_bad })
}

/// Frames (`100`), bytes (`64k`) or a time (`20ms`).
fn limit(text: &str) -> Option<QueueLimit> {
    // The largest number stands for no limit of that kind.
    if let Ok(frames) = text.parse::<usize>() {
        let is_limit = frames > 0 && frames < usize::MAX;
        return is_limit.then(|| QueueLimit::drop_past_frames(frames));
    }
    if let Some(time) = duration(text) {
        return (!time.is_zero()).then(|| QueueLimit::drop_past_time(time));
    }
    let bytes = parse_bytes(text).ok().filter(|bytes| (1..u64::MAX).contains(bytes));
    bytes.map(QueueLimit::drop_past_bytes)
}

/// `100mbit`, or `100M`; 0: no limit.
fn bit_rate(text: &str) -> Option<u64> {
    parse_bit_rate(text.strip_suffix("bit").unwrap_or(text)).ok()
}

/// `2%` or `0.02`.
fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// `10ms`, `250us`, `1.5s`; at most an hour.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let seconds = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        _ => return None,
    };
    let number: f64 = text[..text.len() - unit.len()].parse().ok()?;
    Some(number * seconds).filter(|s| *s <= 3_600.0).map(Duration::from_secs_f64)
}

impl FromStr for ImpairSpec {
    type Err = ImpairSpecError;

    fn from_str(text: &str) -> Result<Self, ImpairSpecError> {
        let mut spec = ImpairSpec::default();
        spec.read(text)?;
        Ok(spec)
    }
}

impl fmt::Display for ImpairSpec {
    /// As it can be read again; `none` if nothing is done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.out == self.received {
            parts.extend(describe(&self.out));
        } else {
            for way in Way::BOTH {
                let of = describe(self.way(way)).into_iter();
                parts.extend(of.map(|part| format!("{}.{part}", way.name())));
            }
        }
        parts.extend(self.schedule.as_ref().map(|path| format!("schedule={}", path.display())));
        parts.extend(self.seed.map(|seed| format!("seed={seed}")));
        f.write_str(if parts.is_empty() { "none".to_owned() } else { parts.join(",") }.as_str())
    }
}

/// The keys of one way with their values.
fn describe(impairments: &Impairments) -> Vec<String> {
    let default = Impairments::none();
    let mut parts = Vec::new();
    let mut add = |key: &str, is_set: bool, value: String| {
        if is_set {
            parts.push(format!("{key}={value}"));
        }
    };
    let percent = |share: f64| format!("{}%", share * 100.0);
    let micros = |time: Duration| format!("{}us", time.as_nanos() as f64 / 1e3);
    let loss = match impairments.loss {
        Loss::Random(share) => percent(share),
        Loss::GilbertElliott { enter, leave, loss_good, loss_bad } => {
            let all = [enter, leave, loss_bad, loss_good].map(percent);
            format!("ge:{}", all.join(","))
        }
        _ => String::new(),
    };
    add("loss", impairments.loss != Loss::None, loss);
    let i = impairments;
    add("delay", !i.delay.is_zero(), micros(i.delay));
    add("jitter", !i.jitter.is_zero(), micros(i.jitter));
    add("rate", i.rate_bits_per_second > 0, format!("{}bit", i.rate_bits_per_second));
    let queue = i.queue;
    if queue.overflow == Overflow::Drops && queue.discipline(Discipline::Fifo) != QueueLimit::ROUTER
    {
        let limit = match (queue.frames, queue.bytes, queue.time) {
            (usize::MAX, u64::MAX, time) => micros(time),
            (usize::MAX, bytes, _) => format!("{bytes}b"),
            (frames, ..) => frames.to_string(),
        };
        add("limit", true, limit);
    }
    let discipline = match queue.discipline {
        Discipline::CoDel => "codel",
        Discipline::Ecn => "ecn",
        Discipline::Red => "red",
        Discipline::RedEcn => "red-ecn",
        Discipline::FqCoDel => "fq-codel",
        _ => "",
    };
    add("queue", !discipline.is_empty(), discipline.to_owned());
    add("reorder", i.reorder > 0.0, percent(i.reorder));
    add("reorder-by", i.reorder_by != default.reorder_by, micros(i.reorder_by));
    add("dup", i.duplicate > 0.0, percent(i.duplicate));
    add("corrupt", i.corrupt > 0.0, percent(i.corrupt));
    add("state", i.is_down, "down".to_owned());
    parts
}

/// Says at its end, on stderr, which faults were asked for and never happened: a test that passed
/// without them has shown nothing.
#[derive(Debug)]
pub struct Faults(Vec<(String, Impairer)>);

impl Faults {
    /// Watches the interfaces of a stack. The links are not kept by it.
    pub fn of(inet: &Inet) -> Self {
        let engine = inet.engine();
        let of = |iface: &std::sync::Arc<libnet::Interface>| {
            let impairer = engine.impairer(iface.index).ok()?.clone();
            Some((iface.name.clone(), impairer))
        };
        Faults(engine.interfaces().filter_map(of).collect())
    }

    /// Those that have not happened so far, as `shmif0 out.loss`.
    pub fn unfired(&self) -> Vec<String> {
        let of = |(name, impairer): &(String, Impairer)| {
            let unfired = impairer.unfired().into_iter();
            unfired.map(|what| format!("{name} {what}")).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// What is done `now` to the frames of each interface that has anything done to it, and was.
    pub fn to_json(&self, now: Instant) -> Value {
        let stats = |(name, impairer): &(String, Impairer)| {
            let of = |way| stats_json(&impairer.stats(way));
            let mut spec = ImpairSpec::default();
            let [out, received] = Way::BOTH.map(|way| impairer.get(now, way));
            (spec.out, spec.received) = (out, received);
            let is_asked = !spec.is_none() || impairer.stats(Way::Out).offered > 0;
            is_asked.then(|| {
                json!({
                    "name": name, "impairments": spec.to_string(),
                    "out": of(Way::Out), "in": of(Way::In),
                })
            })
        };
        self.0.iter().filter_map(stats).collect()
    }
}

/// The counters of one way.
pub fn stats_json(stats: &libnet::impair::ImpairStats) -> Value {
    json!({
        "offered": stats.offered, "delivered": stats.delivered, "lost": stats.lost,
        "lost_down": stats.lost_down,
        "duplicated": stats.duplicated, "reordered": stats.reordered,
        "corrupted": stats.corrupted, "jittered": stats.jittered,
        "queue_dropped": stats.queue_dropped, "codel_dropped": stats.codel_dropped,
        "red_dropped": stats.red_dropped,
        "ecn_marked": stats.ecn_marked, "unfit": stats.unfit, "too_many": stats.too_many,
    })
}

/// Says on stderr what was asked for and never happened.
pub fn report_unfired(unfired: &[String]) {
    for what in unfired {
        Failure::new(format!("{what} was asked for and never happened")).report();
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        report_unfired(&self.unfired());
    }
}

#[cfg(test)]
mod tests;
