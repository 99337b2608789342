//! Groups, and which of their sources a socket wants. Source: RFC 3678; `ip(7)`, `ipv6(7)`.

use std::net::{IpAddr, Ipv4Addr};

/// How an interface is meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum GroupInterface {
    /// The one that the routes lead to the group by.
    #[default]
    Any,
    /// By its index; never 0.
    Index(u32),
    /// By an IPv4 address that it has.
    Address(Ipv4Addr),
}

impl GroupInterface {
    /// An index as `ipv6_mreq` and `ip_mreqn` have it: 0 means any.
    pub const fn from_index(index: u32) -> Self {
        if index == 0 { GroupInterface::Any } else { GroupInterface::Index(index) }
    }

    /// An address as `ip_mreq` has it: the unspecified one means any.
    pub const fn from_address(addr: Ipv4Addr) -> Self {
        if addr.is_unspecified() { GroupInterface::Any } else { GroupInterface::Address(addr) }
    }
}

/// A group on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MulticastGroup {
    /// The group's address.
    pub group: IpAddr,
    /// Where it is wanted.
    pub interface: GroupInterface,
}

/// Whether sources that are listed are wanted, or all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FilterMode {
    /// The listed ones alone.
    Include,
    /// All but the listed ones.
    Exclude,
}

/// Which sources of a group a socket wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFilter {
    /// The group.
    pub group: MulticastGroup,
    /// What `sources` are.
    pub mode: FilterMode,
    /// Addresses of the group's family.
    pub sources: Vec<IpAddr>,
}
