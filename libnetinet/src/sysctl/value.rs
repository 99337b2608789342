//! What a setting holds, and how it is written.

use std::fmt;

use libnet::socket::FastOpenKeys;

use super::SysctlError;
use crate::ports::PortSet;
use crate::tcp::MemoryLimits;

/// What values a setting takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// 0: no; 1: yes.
    Switch,
    /// A number from `least` to `most`.
    Number {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// One of these numbers.
    OneOf(&'static [u64]),
    /// So many numbers from `least` to `most`, none less than the one before it.
    Numbers {
        /// How many.
        count: usize,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// Words; these settings can only be read.
    Words,
    /// Keys of Fast Open: one or two, each four groups of hexadecimal digits. Zeros alone are none.
    Keys,
    /// A list of ports, which may be empty.
    Ports,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Switch => f.write_str("0 or 1"),
            Kind::Number { least, most } if least == most => write!(f, "{least} alone"),
            Kind::Number { least, most } => write!(f, "a number from {least} to {most}"),
            Kind::OneOf(all) => {
                let all: Vec<String> = all.iter().map(u64::to_string).collect();
                f.write_str(&listed(&all))
            }
            Kind::Numbers { count, least, most } => {
                write!(f, "{count} rising numbers from {least} to {most}")
            }
            Kind::Word(all) => f.write_str(&listed(all)),
            Kind::Words => f.write_str("nothing: it can only be read"),
            Kind::Keys => {
                f.write_str("one or two keys, x-x-x-x or x-x-x-x,x-x-x-x, in hexadecimal")
            }
            Kind::Ports => f.write_str("ports and ranges of ports, as in 8080,9148-9150"),
        }
    }
}

/// `a, b or c`.
fn listed<T: AsRef<str>>(all: &[T]) -> String {
    let all: Vec<&str> = all.iter().map(AsRef::as_ref).collect();
    match all.split_last() {
        Some((last, front)) if !front.is_empty() => format!("{} or {last}", front.join(", ")),
        _ => all.concat(),
    }
}

/// The value of a setting.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Value {
    /// Numbers, most often one.
    Numbers(Vec<u64>),
    /// Words, most often one.
    Words(Vec<&'static str>),
    /// Keys of Fast Open.
    Keys(FastOpenKeys),
    /// Ports.
    Ports(PortSet),
}

impl fmt::Display for Value {
    /// As Linux's files show it: numbers are parted by tabs, words by blanks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Numbers(all) => {
                let all: Vec<String> = all.iter().map(u64::to_string).collect();
                f.write_str(&all.join("\t"))
            }
            Value::Words(all) => f.write_str(&all.join(" ")),
            Value::Keys(keys) => f.write_str(&show_keys(keys)),
            Value::Ports(ports) => ports.fmt(f),
        }
    }
}

impl Value {
    /// A number.
    pub(super) fn number(number: impl TryInto<u64>) -> Value {
        // What does not fit is more than anybody sets.
        Value::Numbers(vec![number.try_into().unwrap_or(u64::MAX)])
    }

    /// 1 for yes.
    pub(super) fn switch(on: bool) -> Value {
        Value::Numbers(vec![u64::from(on)])
    }

    /// Bounds of memory, in pages.
    pub(super) fn of_memory(limits: &MemoryLimits) -> Value {
        let MemoryLimits { low_bytes, pressure_bytes, high_bytes } = *limits;
        Value::Numbers([low_bytes, pressure_bytes, high_bytes].map(|n| n / PAGE_BYTES).to_vec())
    }

    /// A word.
    pub(super) fn word(word: &'static str) -> Value {
        Value::Words(vec![word])
    }

    /// Its number at that place; 0 where there is none.
    pub(super) fn at(&self, place: usize) -> u64 {
        match self {
            Value::Numbers(all) => all.get(place).copied().unwrap_or_default(),
            _ => 0,
        }
    }

    /// Its first number as another type, whose bounds the setting's range keeps.
    pub(super) fn to<T: TryFrom<u64>>(&self) -> T
    where
        T::Error: fmt::Debug,
    {
        self.nth(0)
    }

    /// As [`to`](Self::to), of the number at that place.
    pub(super) fn nth<T: TryFrom<u64>>(&self, place: usize) -> T
    where
        T::Error: fmt::Debug,
    {
        T::try_from(self.at(place)).expect("the range of a setting is within its field's type")
    }

    /// Is it anything but 0?
    pub(super) fn is_on(&self) -> bool {
        self.at(0) != 0
    }

    /// As [`of_memory`](Self::of_memory) has them.
    pub(super) fn to_memory(&self) -> MemoryLimits {
        let [low_bytes, pressure_bytes, high_bytes] = [0, 1, 2].map(|n| self.at(n) * PAGE_BYTES);
        MemoryLimits { low_bytes, pressure_bytes, high_bytes }
    }

    /// Its keys; none where it has none.
    pub(super) fn keys(&self) -> FastOpenKeys {
        match self {
            Value::Keys(keys) => *keys,
            _ => FastOpenKeys::NONE,
        }
    }

    /// Its ports; none where it has none.
    pub(super) fn ports(&self) -> PortSet {
        match self {
            Value::Ports(ports) => ports.clone(),
            _ => PortSet::default(),
        }
    }

    /// Its first word.
    pub(super) fn first_word(&self) -> &'static str {
        match self {
            Value::Words(all) => all.first().copied().unwrap_or_default(),
            _ => "",
        }
    }
}

impl Kind {
    /// Three bounds of memory, in pages.
    pub(super) const MEMORY: Kind = Kind::Numbers { count: 3, least: 1, most: i32::MAX as u64 };

    /// Reads a value as a user writes it; numbers are decimal, or hexadecimal behind `0x`.
    ///
    /// # Errors
    /// `Invalid`, or `ReadOnly` for what takes none.
    pub fn parse(self, text: &str) -> Result<Value, SysctlError> {
        let wrong = || SysctlError::Invalid { takes: self };
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (count, fits): (usize, &dyn Fn(u64) -> bool) = match self {
            Kind::Switch => (1, &|n| n <= 1),
            Kind::Number { least, most } => (1, &move |n| (least..=most).contains(&n)),
            Kind::OneOf(all) => (1, &|n| all.contains(&n)),
            Kind::Numbers { count, least, most } => (count, &move |n| (least..=most).contains(&n)),
            Kind::Word(all) => {
                let [word] = words[..] else { return Err(wrong()) };
                let known = all.iter().find(|known| **known == word);
                return known.map(|word| Value::word(word)).ok_or_else(wrong);
            }
            Kind::Words => return Err(SysctlError::ReadOnly),
            Kind::Keys => {
                let [keys] = words[..] else { return Err(wrong()) };
                return parse_keys(keys).map(Value::Keys).ok_or_else(wrong);
            }
            Kind::Ports => return text.parse().map(Value::Ports).map_err(|_| wrong()),
        };
        let numbers: Option<Vec<u64>> = words.iter().map(|word| parse_number(word)).collect();
        let numbers = numbers.filter(|all| all.len() == count).ok_or_else(wrong)?;
        if numbers.iter().all(|n| fits(*n)) && numbers.is_sorted() {
            Ok(Value::Numbers(numbers))
        } else {
            Err(wrong())
        }
    }
}

/// `parse` alone would take a sign.
fn parse_number(word: &str) -> Option<u64> {
    let (digits, radix) = word.strip_prefix("0x").map_or((word, 10), |digits| (digits, 16));
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, radix).ok().filter(|_| is_plain)
}

/// Groups are numbers of 32 bits, whose lowest byte stands first in a key, as on Linux.
fn parse_keys(text: &str) -> Option<FastOpenKeys> {
    let key = |text: &str| -> Option<[u8; 16]> {
        let groups: Option<Vec<[u8; 4]>> = text.split('-').map(parse_group).collect();
        groups?.as_flattened().try_into().ok()
    };
    match text.split_once(',') {
        None if key(text)? == NO_KEY => Some(FastOpenKeys::NONE),
        None => Some(FastOpenKeys::new(key(text)?, None)),
        Some((primary, backup)) => Some(FastOpenKeys::new(key(primary)?, Some(key(backup)?))),
    }
}

fn parse_group(digits: &str) -> Option<[u8; 4]> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| is_plain).map(u32::to_le_bytes)
}

fn show_keys(keys: &FastOpenKeys) -> String {
    let key = |key: &[u8; 16]| {
        let groups = key.as_chunks().0.iter().map(|group| u32::from_le_bytes(*group));
        groups.map(|group| format!("{group:08x}")).collect::<Vec<_>>().join("-")
    };
    let all = [Some(keys.primary().unwrap_or(&NO_KEY)), keys.backup()];
    all.into_iter().flatten().map(key).collect::<Vec<_>>().join(",")
}

/// Linux counts memory in pages.
const PAGE_BYTES: u64 = 4096;
/// What is shown for no key, as on Linux; none is set by it.
const NO_KEY: [u8; 16] = [0; 16];
