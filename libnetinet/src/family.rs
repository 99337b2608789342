//! Addresses of both families at one socket: as its program sees them, and as they are on the
//! wire.
//!
//! Inside, an address is what the packets carry. A socket of IPv6 that takes IPv4 as well shows
//! its program such addresses as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2, RFC 3493 §3.7).

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use libnet::errno;
use libnet::iface::IfIndex;
use libnet::socket::Family;

/// An address that a program gave, as the stack uses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    /// Without flow label and zone.
    pub(crate) addr: SocketAddr,
    /// The interface that a link-local address is of (RFC 4007 §6).
    pub(crate) zone: Option<IfIndex>,
}

/// Which families a socket takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Families {
    pub(crate) own: Family,
    /// `IPV6_V6ONLY`.
    pub(crate) v6_only: bool,
}

impl Families {
    /// Takes an IPv6 socket bound to the wildcard address IPv4 as well?
    pub(crate) fn both(self) -> bool {
        self.own == Family::Inet6 && !self.v6_only
    }

    /// What a program means by an address.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` at a socket of IPv4 for an address of IPv6, `EINVAL` for the reverse: a
    /// mapped address is to be given. `ENETUNREACH` for a mapped one where that is turned off.
    pub(crate) fn given(self, addr: SocketAddr) -> io::Result<Given> {
        match (self.own, addr) {
            (Family::Inet, SocketAddr::V4(_)) => Ok(Given { addr, zone: None }),
            (Family::Inet, SocketAddr::V6(_)) => Err(errno::family_not_supported()),
            (_, SocketAddr::V4(_)) => Err(errno::invalid()),
            (_, SocketAddr::V6(six)) => match six.ip().to_ipv4_mapped() {
                Some(_) if self.v6_only => Err(errno::net_unreachable()),
                Some(four) => {
                    Ok(Given { addr: SocketAddr::new(four.into(), six.port()), zone: None })
                }
                None => {
                    let addr = SocketAddr::new((*six.ip()).into(), six.port());
                    let zone = (six.scope_id() > 0 && has_zone(addr.ip()))
                        .then(|| IfIndex(six.scope_id()));
                    Ok(Given { addr, zone })
                }
            },
        }
    }

    /// The same for an address to bind to.
    ///
    /// # Errors
    /// As [`given`](Self::given), but `EINVAL` for a mapped address that is not taken.
    pub(crate) fn given_to_bind(self, addr: SocketAddr) -> io::Result<Given> {
        self.given(addr).map_err(|error| match error.kind() {
            io::ErrorKind::NetworkUnreachable => errno::invalid(),
            _ => error,
        })
    }

    /// The same for where datagrams go: as on Linux, IPv4 need not be mapped.
    ///
    /// # Errors
    /// As [`given`](Self::given), but `ENETUNREACH` for any of IPv4 that is not taken.
    pub(crate) fn given_to_send(self, addr: SocketAddr) -> io::Result<Given> {
        match addr {
            SocketAddr::V4(_) if self.both() => Ok(Given { addr, zone: None }),
            SocketAddr::V4(_) if self.own == Family::Inet6 => Err(errno::net_unreachable()),
            _ => self.given(addr),
        }
    }

    /// An address as the socket's program sees it; `iface` is whose link it is of.
    pub(crate) fn shown(self, addr: SocketAddr, iface: Option<IfIndex>) -> SocketAddr {
        match (self.own, addr) {
            (Family::Inet6, SocketAddr::V4(_)) => {
                SocketAddr::new(self.shown_ip(addr.ip()), addr.port())
            }
            (_, SocketAddr::V6(six)) if has_zone(addr.ip()) => {
                let zone = iface.map_or(0, |iface| iface.0);
                SocketAddr::V6(SocketAddrV6::new(*six.ip(), six.port(), 0, zone))
            }
            _ => addr,
        }
    }

    /// The same without port and zone.
    pub(crate) fn shown_ip(self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(four) if self.own == Family::Inet6 => four.to_ipv6_mapped().into(),
            ip => ip,
        }
    }
}

/// The link that an address is of: link-local ones mean another host on each (RFC 4007 §4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Zone(u32);

impl Zone {
    /// Of no one link.
    pub const NONE: Zone = Zone(0);

    /// That of two ends whose packets pass `iface`; none unless one of them is link-local.
    pub const fn of(local: IpAddr, remote: IpAddr, iface: IfIndex) -> Zone {
        if has_zone(local) || has_zone(remote) { Zone(iface.0) } else { Zone::NONE }
    }

    /// The interface of the link.
    pub const fn iface(self) -> Option<IfIndex> {
        if self.0 == 0 { None } else { Some(IfIndex(self.0)) }
    }

    /// Its number; 0 for none.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// What [`bits`](Self::bits) gave.
    pub(crate) const fn from_bits(bits: u32) -> Zone {
        Zone(bits)
    }
}

/// Is it of one link, so that it means nothing without an interface (RFC 4007 §4)?
pub(crate) const fn has_zone(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local()
                || (ip.is_multicast() && matches!(ip.octets()[1] & 0xf, 1 | 2))
        }
    }
}

/// Is it one of 169.254/16, which means a host of one link alone (RFC 3927)?
pub(crate) const fn is_link_local4(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_link_local())
}

/// Are both ends of one family? A socket bound to an address of one cannot send to the other.
///
/// # Errors
/// As Linux: `ENETUNREACH` from IPv6 to IPv4, `EAFNOSUPPORT` the other way.
pub(crate) fn check_ends(local: IpAddr, remote: IpAddr) -> io::Result<()> {
    match (local, remote) {
        (IpAddr::V6(local), IpAddr::V4(_)) if !local.is_unspecified() => {
            Err(errno::net_unreachable())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => Err(errno::family_not_supported()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUAL: Families = Families { own: Family::Inet6, v6_only: false };

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_mapped_address_is_ipv4_inside_and_mapped_again_outside() {
        let given = DUAL.given(addr("[::ffff:10.0.0.1]:80")).unwrap();
        assert_eq!(given.addr, addr("10.0.0.1:80"));
        assert_eq!(DUAL.shown(given.addr, None), addr("[::ffff:10.0.0.1]:80"));
        let only = Families { v6_only: true, ..DUAL };
        assert!(only.given(addr("[::ffff:10.0.0.1]:80")).is_err());
        assert!(only.given(addr("[::1]:80")).is_ok());
    }

    #[test]
    fn a_zone_is_kept_where_it_means_something() {
        let local = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 5, 3).into();
        let given = DUAL.given(local).unwrap();
        assert_eq!((given.addr, given.zone), (addr("[fe80::1]:7"), Some(IfIndex(3))));
        let shown = DUAL.shown(given.addr, Some(IfIndex(3)));
        assert_eq!(shown, SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3).into());
        let global = SocketAddrV6::new("fd00::1".parse().unwrap(), 7, 5, 3).into();
        assert_eq!(DUAL.given(global).unwrap(), Given { addr: addr("[fd00::1]:7"), zone: None });
    }

    #[test]
    fn families_do_not_mix() {
        let four = Families { own: Family::Inet, v6_only: false };
        assert_eq!(four.given(addr("[::1]:1")).unwrap_err().raw_os_error(), Some(97));
        assert_eq!(DUAL.given(addr("1.2.3.4:1")).unwrap_err().raw_os_error(), Some(22));
        let ends = |a: &str, b: &str| check_ends(a.parse().unwrap(), b.parse().unwrap());
        assert!(ends("::", "10.0.0.1").is_ok());
        assert!(ends("fd00::1", "10.0.0.1").is_err());
        assert!(ends("10.0.0.1", "fd00::1").is_err());
    }
}
