//! How far a router lowers the segments of the connections that cross it.

use std::fmt;
use std::str::FromStr;

/// A bound on the MSS option of the SYNs that a router passes on from or to an interface.
///
/// As text: `off`, `mtu`, or a number of bytes.
///
/// ```
/// use libnet::iface::ClampMss;
/// assert_eq!("mtu".parse(), Ok(ClampMss::Mtu));
/// assert_eq!("1360".parse(), Ok(ClampMss::Bytes(1360)));
/// assert!("47".parse::<ClampMss>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum ClampMss {
    /// They pass as they are.
    #[default]
    Off,
    /// To what both ways, the packet's and the one back to its source, take in one packet, without
    /// the fixed headers of IP and TCP.
    Mtu,
    /// To so many bytes, in both families; fewer than [`ClampMss::LEAST_BYTES`] count as these.
    Bytes(u16),
}

/// Text that is no [`ClampMss`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("neither off, mtu nor a number of bytes from 48 to 65495")]
pub struct NoSuchClamp;

impl ClampMss {
    /// The smallest segments that TCPs are content with (Linux's `tcp_min_snd_mss`).
    pub const LEAST_BYTES: u16 = 48;
    /// The largest that IPv4 has room for.
    pub const MOST_BYTES: u16 = u16::MAX - 40;
}

impl FromStr for ClampMss {
    type Err = NoSuchClamp;

    fn from_str(text: &str) -> Result<Self, NoSuchClamp> {
        match text {
            "off" => return Ok(ClampMss::Off),
            "mtu" => return Ok(ClampMss::Mtu),
            _ => {}
        }
        let bytes = text.parse().map_err(|_| NoSuchClamp)?;
        let can_be = (Self::LEAST_BYTES..=Self::MOST_BYTES).contains(&bytes);
        can_be.then_some(ClampMss::Bytes(bytes)).ok_or(NoSuchClamp)
    }
}

impl fmt::Display for ClampMss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClampMss::Off => f.write_str("off"),
            ClampMss::Mtu => f.write_str("mtu"),
            ClampMss::Bytes(bytes) => bytes.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back_and_other_text_refused() {
        for clamp in ["off", "mtu", "48", "1360", "65495"] {
            assert_eq!(clamp.parse::<ClampMss>().unwrap().to_string(), clamp);
        }
        for text in ["", "47", "65496", "-1", "1e3", "Mtu", "1360 "] {
            assert_eq!(text.parse::<ClampMss>(), Err(NoSuchClamp), "{text}");
        }
    }
}
