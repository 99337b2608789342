//! What programs and tools ask of neighbour discovery.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use libnet::errno;
use libnet::iface::{Advertise, IfIndex, Interface, IpCidr};
use libnet::link::Medium;
use libnet::time::Instant;

use super::{MIN_MTU, Nd, Outcome};
use crate::inet::Inet;
use crate::snapshot::{AddressEntry, AddressOrigin, AddressState, DnsEntry, RouterEntry};
use crate::steer::COMMON;

impl Inet {
    /// Makes IPv6 addresses of what the routers of an interface's link advertise, as `addr=auto`
    /// does: asks for them, and listens from now on (RFC 4862).
    ///
    /// # Errors
    /// `ENODEV` for an unknown interface, `EOPNOTSUPP` for one that is no Ethernet, `EINVAL` for
    /// an MTU below the 1280 bytes that IPv6 needs.
    pub fn autoconfigure(&self, index: IfIndex) -> io::Result<()> {
        let iface = self.ethernet(index)?;
        self.join_nd(iface, |nd, now, out| nd.start_autoconf(now, index, out));
        Ok(())
    }

    /// Listens to routers no more. What they said is believed for as long as they said.
    ///
    /// # Errors
    /// As [`autoconfigure`](Self::autoconfigure).
    pub fn stop_autoconfigure(&self, index: IfIndex) -> io::Result<()> {
        self.ethernet(index)?;
        self.with_nd(|nd, now, out| nd.on(now, index, out, |link, _| link.stop_autoconf()));
        Ok(())
    }

    /// Does an interface listen to routers? `None` where it could not.
    pub(crate) fn listens_to_routers(&self, index: IfIndex) -> Option<bool> {
        self.ethernet(index).ok()?;
        let mut listens = false;
        self.with_nd(|nd, now, out| {
            nd.on(now, index, out, |link, _| listens = link.is_autoconf());
        });
        Some(listens)
    }

    /// Speaks as an IPv6 router on an interface, or no more; the last word is that we are none
    /// (RFC 4861 §6.2.5). While the interface does not forward IPv6, hosts are told of prefixes and
    /// the like, but not of a default router.
    ///
    /// # Errors
    /// As [`autoconfigure`](Self::autoconfigure).
    pub fn advertise(&self, index: IfIndex, says: Option<Advertise>) -> io::Result<()> {
        let iface = self.ethernet(index)?;
        self.join_nd(iface, |nd, now, out| nd.set_advertise(now, index, says, out));
        Ok(())
    }

    /// The IPv6 routers that were learned of, by interface.
    pub fn routers(&self) -> Vec<RouterEntry> {
        let now = self.engine().driver().now();
        self.wide().with_nd(|nd| nd.routers(now))
    }

    /// Name servers that routers advertise (RFC 8106).
    pub fn dns_servers(&self) -> Vec<DnsEntry<Ipv6Addr>> {
        let now = self.engine().driver().now();
        self.wide().with_nd(|nd| nd.dns_servers(now))
    }

    /// Domains to search that routers advertise (RFC 8106).
    pub fn dns_search(&self) -> Vec<DnsEntry<String>> {
        let now = self.engine().driver().now();
        self.wide().with_nd(|nd| nd.dns_search(now))
    }

    /// Puts the addresses of one name into the order in which to try them (RFC 6724 §6), by the
    /// addresses that we would send from.
    pub fn sort_destinations(&self, destinations: &mut [IpAddr]) {
        let now = self.engine().driver().now();
        let view = self.wide().current_view();
        crate::select::sort_destinations(destinations, |dst| {
            let wanted = crate::path::Wanted { dst, src: None, iface: None };
            let path = crate::path::Path::find(self.wide(), now, wanted).ok()?;
            view.candidate(path.src)
        });
    }

    /// Says goodbye as a router on every interface that we were one on.
    pub fn stop_advertising(&self) {
        let all: Vec<IfIndex> = self.engine().interfaces().map(|iface| iface.index).collect();
        self.with_nd(|nd, now, out| {
            for index in all {
                nd.set_advertise(now, index, None, out);
            }
        });
    }

    /// An interface forwards from now on, or no more: hosts are to hear of it.
    pub(crate) fn speak_again(&self, index: IfIndex) {
        self.with_nd(|nd, now, out| nd.on(now, index, out, |link, ctx| link.speak_again(ctx)));
    }

    /// Gives an address to an Ethernet interface: it is checked before it is sure.
    pub(crate) fn give_six(
        &self,
        iface: &Arc<Interface>,
        addr: Ipv6Addr,
        prefix_bits: u8,
    ) -> io::Result<()> {
        let index = iface.index;
        let known = self.wide().with_nd(|nd| nd.knows(index, addr));
        if known {
            return Err(errno::exists());
        }
        self.join_nd(iface, |nd, now, out| nd.add(now, index, addr, prefix_bits, out));
        Ok(())
    }

    /// Takes an address from an Ethernet interface; whether it was there.
    pub(crate) fn take_six(&self, index: IfIndex, addr: Ipv6Addr) -> bool {
        self.with_nd(|nd, now, out| {
            let mut was_there = false;
            nd.on(now, index, out, |link, ctx| was_there = link.remove(ctx, addr));
            was_there
        })
    }

    /// An interface carries packets of another size from now on.
    pub(crate) fn set_nd_mtu(&self, index: IfIndex, mtu: u32) {
        self.with_nd(|nd, now, out| nd.on(now, index, out, |link, ctx| link.set_mtu(ctx, mtu)));
    }

    /// An interface is up again: RFC 4862 §5.3.
    pub(crate) fn restart_nd(&self, index: IfIndex) {
        self.with_nd(|nd, now, out| nd.on(now, index, out, |link, ctx| link.restart(ctx)));
    }

    /// An interface is about to go down: RFC 4861 §6.2.5.
    pub(crate) fn pause_nd(&self, index: IfIndex) {
        self.with_nd(|nd, now, out| nd.on(now, index, out, |link, ctx| link.say_goodbye(ctx)));
    }

    /// Addresses of an interface as tools show them; `conflicts` are counted elsewhere for IPv4.
    pub(crate) fn addresses_of(
        &self,
        iface: &Interface,
        conflicts: impl Fn(&IpCidr) -> u64,
    ) -> Vec<AddressEntry> {
        let now = self.engine().driver().now();
        let six = self.wide().with_nd(|nd| nd.addresses(now, iface.index));
        let config = iface.config();
        let plain =
            config.addrs.iter().filter(|cidr| !six.iter().any(|entry| entry.cidr == **cidr));
        let plain = plain.map(|cidr| AddressEntry {
            cidr: *cidr,
            state: AddressState::Preferred,
            origin: AddressOrigin::Static,
            valid_for: None,
            preferred_for: None,
            conflicts: conflicts(cidr),
            looped: 0,
        });
        let mut all: Vec<AddressEntry> = plain.collect();
        self.tell_link_local(iface.index, &mut all);
        all.extend(six);
        all
    }

    fn ethernet(&self, index: IfIndex) -> io::Result<&Arc<Interface>> {
        let iface = self.engine().interface(index).ok_or_else(errno::no_device)?;
        if !takes_part(iface) {
            return Err(errno::not_supported());
        }
        if iface.config().mtu < MIN_MTU {
            return Err(errno::invalid());
        }
        Ok(iface)
    }

    fn join_nd(&self, iface: &Interface, call: impl FnOnce(&mut Nd, Instant, &mut Outcome)) {
        let mtu = iface.config().mtu;
        self.with_nd(|nd, now, out| {
            nd.join(now, iface.index, iface.mac(), mtu, out);
            call(nd, now, out);
            // Nobody waits for a clock: what is due at once is said at once.
            nd.expire(now, out);
        });
    }

    fn with_nd<R>(&self, call: impl FnOnce(&mut Nd, Instant, &mut Outcome) -> R) -> R {
        self.engine().with_shard(COMMON as usize, |shard, now| {
            shard.with_nd(now, |nd, out| call(nd, now, out))
        })
    }
}

/// Does neighbour discovery have a part to play on an interface?
pub(crate) fn takes_part(iface: &Interface) -> bool {
    iface.link.medium == Medium::Ethernet && !iface.link.loopback
}
