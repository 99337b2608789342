//! Which form of ECN connections ask for and agree to.

use std::fmt;
use std::str::FromStr;

use super::EcnUse;

/// Which form of ECN a stack's connections ask for, and which they agree to when asked
/// (`net.ipv4.tcp_ecn`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum EcnPolicy {
    /// 0: none.
    Off,
    /// 1: asks for it, and agrees.
    On,
    /// 2: does not ask, and agrees.
    #[default]
    IfAsked,
    /// 3: asks for accurate feedback (RFC 9768), and agrees to it.
    Accurate,
    /// 4: asks for the classic form, and agrees to accurate feedback.
    AccurateIn,
    /// 5: does not ask, and agrees to accurate feedback.
    AccurateIfAsked,
}

impl EcnPolicy {
    /// All there are, by their numbers.
    pub const ALL: [EcnPolicy; 6] = [
        EcnPolicy::Off,
        EcnPolicy::On,
        EcnPolicy::IfAsked,
        EcnPolicy::Accurate,
        EcnPolicy::AccurateIn,
        EcnPolicy::AccurateIfAsked,
    ];

    /// Linux's number for it.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What a connect asks for.
    pub const fn asks_for(self) -> EcnUse {
        match self {
            EcnPolicy::Off | EcnPolicy::IfAsked | EcnPolicy::AccurateIfAsked => EcnUse::Off,
            EcnPolicy::On | EcnPolicy::AccurateIn => EcnUse::Classic,
            EcnPolicy::Accurate => EcnUse::Accurate,
        }
    }

    /// The most that a listener agrees to.
    pub const fn accepts(self) -> EcnUse {
        match self {
            EcnPolicy::Off => EcnUse::Off,
            EcnPolicy::On | EcnPolicy::IfAsked => EcnUse::Classic,
            EcnPolicy::Accurate | EcnPolicy::AccurateIn | EcnPolicy::AccurateIfAsked => {
                EcnUse::Accurate
            }
        }
    }
}

impl fmt::Display for EcnPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// When a connection in AccECN mode tells of bytes in an option (`net.ipv4.tcp_ecn_option`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum EcnOption {
    /// 0: never.
    Off,
    /// 1: where something was marked.
    Sparing,
    /// 2: where anything has changed and there is room.
    #[default]
    Full,
}

impl EcnOption {
    /// All there are, by their numbers.
    pub const ALL: [EcnOption; 3] = [EcnOption::Off, EcnOption::Sparing, EcnOption::Full];

    /// Linux's number for it.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// No policy has that number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such ECN policy: 0 never, 1 always, 2 if asked; 3, 4 and 5 with accurate feedback")]
pub struct NoSuchPolicy;

impl FromStr for EcnPolicy {
    type Err = NoSuchPolicy;

    fn from_str(number: &str) -> Result<Self, NoSuchPolicy> {
        let number: u8 = number.trim().parse().map_err(|_| NoSuchPolicy)?;
        Self::ALL.into_iter().find(|one| one.number() == number).ok_or(NoSuchPolicy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_linux() {
        for (number, policy) in EcnPolicy::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(policy.number()), number);
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("9".parse::<EcnPolicy>(), Err(NoSuchPolicy));
        assert_eq!(EcnPolicy::default().number(), 2);
    }
}
