//! What programs and tools ask of the choice of link-local IPv4 addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use libnet::errno;
use libnet::iface::IfIndex;
use libnet::link::Medium;
use libnet::time::Instant;

use super::claim::Claims;
use super::link_local::cidr_of;
use crate::inet::Inet;
use crate::snapshot::{AddressEntry, AddressOrigin, AddressState};
use crate::steer::COMMON;

impl Inet {
    /// Chooses a link-local IPv4 address for an interface, as `addr=link-local` does (RFC 3927):
    /// one of 169.254.1.0 to 169.254.254.255 that nobody on the link has. It is there after four to
    /// seven seconds, and gives way to another if it cannot be defended. One interface has one at
    /// most; taking it away ([`remove_address`](Self::remove_address)) ends it.
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface, `EOPNOTSUPP` for one that is no Ethernet.
    pub fn seek_link_local(&self, index: IfIndex) -> io::Result<()> {
        let iface = self.engine().interface(index).ok_or_else(errno::no_device)?;
        if iface.link.medium != Medium::Ethernet || iface.link.loopback {
            return Err(errno::not_supported());
        }
        let mac = iface.mac();
        self.with_claims(|claims, now| claims.seek(now, index, mac));
        Ok(())
    }

    /// An interface is about to go down: RFC 3927 §2.2 has it choose anew when it is back.
    pub(crate) fn pause_link_local(&self, index: IfIndex) {
        let Some(iface) = self.engine().interface(index) else { return };
        let ours = self.wide().with_claims(|claims| claims.pause(index));
        if let Some(addr) = ours {
            self.wide().withdraw(iface, cidr_of(addr));
        }
    }

    /// An interface is up again.
    pub(crate) fn resume_link_local(&self, index: IfIndex) {
        self.with_claims(|claims, now| claims.resume(now, index));
    }

    /// Adds what is known of link-local addresses to what tools show.
    pub(crate) fn tell_link_local(&self, index: IfIndex, all: &mut Vec<AddressEntry>) {
        let is_chosen = |addr: Ipv4Addr| self.wide().with_claims(|c| c.is_chosen(index, addr));
        for entry in &mut *all {
            if let IpAddr::V4(addr) = entry.cidr.addr()
                && addr.is_link_local()
                && is_chosen(addr)
            {
                entry.origin = AddressOrigin::LinkLocal;
            }
        }
        let probed = self.wide().with_claims(|claims| claims.probed(index));
        all.extend(probed.map(|addr| AddressEntry {
            cidr: cidr_of(addr),
            state: AddressState::Tentative,
            origin: AddressOrigin::LinkLocal,
            valid_for: None,
            preferred_for: None,
            conflicts: 0,
            looped: 0,
        }));
    }

    /// Works on our claims, and carries out what is due.
    fn with_claims(&self, call: impl FnOnce(&mut Claims, Instant)) {
        self.engine().with_shard(COMMON as usize, |shard, now| {
            shard.wide.with_claims(|claims| call(claims, now));
            shard.expire_claims(now);
        });
    }
}
