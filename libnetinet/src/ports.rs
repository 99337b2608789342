//! Ports that nobody gets unasked, and those that are left.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Some ports, as Linux writes them: `8080,9148-9150`.
///
/// ```
/// let ports: libnetinet::PortSet = "9150,8080,9148-9149".parse()?;
/// assert!(ports.contains(9149) && !ports.contains(9151));
/// assert_eq!(ports.to_string(), "8080,9148-9150");
/// # Ok::<(), libnetinet::NoPorts>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortSet(
    /// Rising, with a port between each and the next.
    Vec<RangeInclusive<u16>>,
);

/// What was written is no list of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("ports are written as in 8080,9148-9150")]
pub struct NoPorts;

impl PortSet {
    /// Is this port one of them?
    pub fn contains(&self, port: u16) -> bool {
        let next = self.0.partition_point(|range| *range.end() < port);
        self.0.get(next).is_some_and(|range| range.contains(&port))
    }
}

impl FromStr for PortSet {
    type Err = NoPorts;

    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let mut ranges = parts.map(parse_range).collect::<Result<Vec<_>, _>>()?;
        ranges.sort_unstable_by_key(|range| *range.start());
        let mut joined: Vec<RangeInclusive<u16>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*range.end().max(last.end());
                }
                _ => joined.push(range),
            }
        }
        Ok(PortSet(joined))
    }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u16>, NoPorts> {
    let port = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_plain).ok_or(NoPorts)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err(NoPorts) } else { Ok(first..=last) }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (port, last) if port == last => write!(f, "{comma}{port}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// What a socket may get that asks for no port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unasked<'a> {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) reserved: &'a PortSet,
}

impl Unasked<'_> {
    /// All of them, starting anywhere. Source: RFC 6056 §3.3.1, algorithm 1.
    pub(crate) fn starting(&self, random: u64) -> impl Iterator<Item = u16> {
        let (first, reserved) = (self.first, self.reserved);
        let count = u64::from(self.last.saturating_sub(first)) + u64::from(first <= self.last);
        (0..count)
            .map(move |step| first + (random.wrapping_add(step) % count) as u16)
            .filter(move |port| !reserved.contains(*port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_shown_as_linux_does() {
        for (text, shown) in [
            ("", ""),
            ("80", "80"),
            ("1-3,4", "1-4"),
            ("9150,8080,9148-9149,", "8080,9148-9150"),
            ("0-65535,7", "0-65535"),
            ("65535,65534", "65534-65535"),
        ] {
            let set: PortSet = text.parse().unwrap();
            assert_eq!(set.to_string(), shown);
            assert_eq!(shown.parse(), Ok(set));
        }
        for text in ["x", "65536", "5-4", "-5", "5-", "+5", "1-2-3", "80;81"] {
            assert_eq!(text.parse::<PortSet>(), Err(NoPorts), "{text}");
        }
    }

    #[test]
    fn what_is_reserved_is_left_out_and_the_rest_comes_once_each() {
        let reserved: PortSet = "10-12,14,20-30".parse().unwrap();
        for random in [0, 5, u64::MAX] {
            let unasked = Unasked { first: 9, last: 21, reserved: &reserved };
            let mut ports: Vec<u16> = unasked.starting(random).collect();
            ports.sort_unstable();
            assert_eq!(ports, [9, 13, 15, 16, 17, 18, 19]);
        }
        let none = Unasked { first: 9, last: 8, reserved: &reserved };
        assert_eq!(none.starting(7).count(), 0);
    }
}
