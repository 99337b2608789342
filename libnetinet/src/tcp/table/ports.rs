//! The local ports that connections hold, those in TIME-WAIT among them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use libnet::IfIndex;

use super::Table;
use crate::tcp::segment::FourTuple;

/// With whom a socket shares its port: who says the same. Source: `socket(7)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortSharing {
    /// `SO_REUSEADDR`: while nobody listens.
    pub reuse_addr: bool,
    /// `SO_REUSEPORT`: always.
    pub reuse_port: bool,
    /// The interface that it is bound to (`SO_BINDTODEVICE`): who is bound to another is not in
    /// the way.
    pub iface: Option<IfIndex>,
    /// At the wildcard address of IPv6 it takes IPv4 as well (`IPV6_V6ONLY` is off).
    pub both_families: bool,
}

impl PortSharing {
    /// May two have one port, where neither listens?
    pub fn agrees(self, other: Self) -> bool {
        let reuse = (self.reuse_addr && other.reuse_addr) || (self.reuse_port && other.reuse_port);
        reuse || self.is_apart(other)
    }

    /// Are they bound to different interfaces?
    pub fn is_apart(self, other: Self) -> bool {
        self.iface.is_some() && other.iface.is_some() && self.iface != other.iface
    }

    /// Do sockets at `own` also take what is sent to `addr`, which may be the wildcard too?
    pub fn covers(self, own: IpAddr, addr: IpAddr) -> bool {
        let any_of_family =
            own.is_ipv4() == addr.is_ipv4() || (own.is_ipv6() && self.both_families);
        own == addr || (own.is_unspecified() && any_of_family)
    }

    /// Does a packet that came by `iface` concern it?
    pub fn takes_from(self, iface: IfIndex) -> bool {
        self.iface.is_none_or(|own| own == iface)
    }
}

/// How many four-tuples of the index each port is of.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<u16, u32>);

impl Ports {
    pub(super) fn add(&mut self, tuple: &FourTuple) {
        *self.0.entry(tuple.local_port).or_default() += 1;
    }

    pub(super) fn remove(&mut self, tuple: &FourTuple) {
        let Some(count) = self.0.get_mut(&tuple.local_port) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&tuple.local_port);
        }
    }
}

impl Table {
    /// Does a connection stand in the way of a socket that is to be bound to `addr`, whose address
    /// may be the wildcard? As on Linux, one in TIME-WAIT does too.
    ///
    /// Looks at every connection if any has the port, and at none otherwise.
    pub fn holds_port(&self, addr: SocketAddr, sharing: PortSharing) -> bool {
        if !self.ports.0.contains_key(&addr.port()) {
            return false;
        }
        let in_the_way = |tuple: &FourTuple, other: PortSharing| {
            let overlap = sharing.covers(addr.ip(), tuple.local);
            let iface = tuple.zone.iface().or(other.iface);
            let other = PortSharing { iface, ..other };
            tuple.local_port == addr.port() && overlap && !sharing.agrees(other)
        };
        let by_conn = self.slots.iter().any(|(_, conn)| {
            conn.mode.indexed && in_the_way(&conn.tuple, conn.cold.options.sharing)
        });
        by_conn || self.waits.iter().any(|(_, wait)| in_the_way(&wait.tuple, wait.sharing))
    }
}
