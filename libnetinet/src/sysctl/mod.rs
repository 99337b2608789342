//! The settings of a stack under the names that Linux gives them: `net.ipv4.tcp_sack` and the like.
//!
//! There is one table ([`all`]), with the type, the unit, the range and the meaning of each. It is
//! read and written through an [`InetConfig`](crate::InetConfig) before a stack is made of it
//! ([`InetConfig::set_sysctl`](crate::InetConfig::set_sysctl)), and through an
//! [`Inet`](crate::Inet) while it runs ([`Inet::set_sysctl`](crate::Inet::set_sysctl)). `IF` in a
//! name stands for an interface's name: those are of a running stack alone.
//!
//! ```
//! use libnetinet::InetConfig;
//!
//! let mut config = InetConfig::default();
//! config.set_sysctl("net.ipv4.tcp_sack", "0")?;
//! assert!(!config.tcp.sack);
//! let error = config.set_sysctl("net.ipv4.tcp_sak", "0").unwrap_err();
//! assert_eq!(error.to_string(), "there is no such setting: is it net.ipv4.tcp_sack?");
//! # Ok::<(), libnetinet::sysctl::SysctlError>(())
//! ```

mod conf;
mod core;
#[cfg(test)]
mod effects;
mod entry;
mod file;
mod find;
mod ip;
mod linux;
mod live;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod value;

pub use entry::{Applies, Sysctl};
pub use file::{Assignment, FileError, parse_file, resolve};
pub use find::dotted;
pub use linux::NAMES as LINUX_NAMES;
pub use live::SysctlEntry;
pub use value::{Kind, Value};

/// Why a setting cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SysctlError {
    /// Neither here nor on Linux; perhaps this one was meant.
    #[error("there is no such setting{}", meant(*.near))]
    Unknown {
        /// A setting of a name much like it.
        near: Option<&'static str>,
    },
    /// Linux has it, and we do not; perhaps another one serves.
    #[error("Linux has this setting, and this stack does not{}", served_by(*.instead))]
    NotHere {
        /// What is set in its place.
        instead: Option<&'static str>,
    },
    /// It is of an interface that is not there.
    #[error("there is no interface of that name: see `ip link`")]
    NoInterface,
    /// It is of an interface, and there is no stack yet.
    #[error("it is of an interface, which is set once the stack runs")]
    OfInterface,
    /// It tells, and cannot be set.
    #[error("it can only be read")]
    ReadOnly,
    /// No value that it takes.
    #[error("it takes {takes}")]
    Invalid {
        /// What it takes.
        takes: Kind,
    },
    /// The interface cannot have it: it is `lo0`, or no Ethernet.
    #[error("this interface cannot have it")]
    NotOfThisInterface,
}

impl SysctlError {
    /// The error as Linux gives it for its files under `/proc/sys`: `ENOENT`, `EACCES`, `EINVAL`.
    pub fn to_io(&self) -> std::io::Error {
        use libnet::errno;
        match self {
            SysctlError::Unknown { .. }
            | SysctlError::NotHere { .. }
            | SysctlError::NoInterface
            | SysctlError::OfInterface => errno::no_such_file(),
            SysctlError::ReadOnly => errno::access(),
            SysctlError::Invalid { .. } | SysctlError::NotOfThisInterface => errno::invalid(),
        }
    }
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |name| format!(": is it {name}?"))
}

fn served_by(instead: Option<&str>) -> String {
    instead.map_or_else(String::new, |name| format!(": see {name}"))
}

/// Every setting; `IF` in a name stands for an interface's name.
pub fn all() -> impl Iterator<Item = &'static Sysctl> {
    TABLES.into_iter().flatten()
}

const TABLES: [&[Sysctl]; 8] = [
    core::TABLE,
    ip::TABLE,
    tcp::TABLE,
    udp::TABLE,
    conf::FOUR,
    conf::SIX,
    conf::NEIGHBOURS4,
    conf::NEIGHBOURS6,
];
