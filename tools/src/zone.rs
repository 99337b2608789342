//! Addresses as users write and read them, with the link that a link-local one is of:
//! `fe80::1%shmif0` (RFC 4007 §11).

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use libnet::iface::IfIndex;
use libnet::link::Medium;
use rumpnet::{Inet, Stack};

use crate::fail::Failure;
use crate::host;
use crate::inside::{index_of, name_of};

/// An address, and where it is of one link alone perhaps the interface to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zoned {
    /// The address.
    pub ip: IpAddr,
    /// The interface's name, or its number.
    pub zone: Option<String>,
}

impl Zoned {
    /// The interface that it is reached by in a stack; `None` where any will do.
    ///
    /// # Errors
    /// One that is not there; none told where several would do.
    pub fn iface(&self, stack: &Stack) -> Result<Option<IfIndex>, Failure> {
        let Some(inet) = stack.inet() else { return self.host_iface() };
        match &self.zone {
            Some(zone) => self.named(inet, zone).map(Some),
            None if needs_zone(self.ip) => self.only_link(inet).map(Some),
            None => Ok(None),
        }
    }

    /// The address with a port, as a stack's sockets take it.
    ///
    /// # Errors
    /// As [`iface`](Self::iface).
    pub fn at(&self, stack: &Stack, port: u16) -> Result<SocketAddr, Failure> {
        let iface = self.iface(stack)?;
        Ok(match (self.ip, iface) {
            (IpAddr::V6(ip), Some(IfIndex(scope))) => SocketAddrV6::new(ip, port, 0, scope).into(),
            (ip, _) => SocketAddr::new(ip, port),
        })
    }

    fn named(&self, inet: &Inet, zone: &str) -> Result<IfIndex, Failure> {
        let number = || {
            let index = IfIndex(zone.parse().ok()?);
            inet.engine().interface(index).map(|iface| iface.index)
        };
        index_of(inet, zone).or_else(number).ok_or_else(|| {
            let names: Vec<&str> =
                inet.engine().interfaces().map(|iface| iface.name.as_str()).collect();
            Failure::usage(format!("{self}: there is no interface {zone}: {}", names.join(", ")))
        })
    }

    /// The link, if there is but one.
    fn only_link(&self, inet: &Inet) -> Result<IfIndex, Failure> {
        let ethernet = inet
            .engine()
            .interfaces()
            .filter(|iface| !iface.link.loopback && iface.link.medium == Medium::Ethernet);
        let links: Vec<_> = ethernet.collect();
        match &links[..] {
            [only] => Ok(only.index),
            [] => {
                Err(Failure::usage(format!("{self} is of one link, and there is none: add --if")))
            }
            [first, ..] => Err(Failure::usage(format!(
                "{self} is of one link: say which, as in {}%{}",
                self.ip, first.name
            ))),
        }
    }

    /// The host's own interface, for its own sockets.
    fn host_iface(&self) -> Result<Option<IfIndex>, Failure> {
        let Some(zone) = &self.zone else { return Ok(None) };
        let named = nix::net::if_::if_nametoindex(zone.as_str()).ok();
        let index = named.or_else(|| zone.parse().ok());
        let none = || Failure::usage(format!("{self}: the host has no interface {zone}"));
        index.map(|index| Some(IfIndex(index))).ok_or_else(none)
    }
}

impl FromStr for Zoned {
    type Err = String;

    /// An IP address, with `%` and an interface behind one that is of one link; brackets around it
    /// are taken off. `localhost` is an address, other names are not.
    fn from_str(text: &str) -> Result<Self, String> {
        let inner = text.trim_start_matches('[').trim_end_matches(']');
        let Some((addr, zone)) = inner.split_once('%') else {
            return Ok(Zoned { ip: host::parse_ip(text)?, zone: None });
        };
        let ip = host::parse_ip(addr)?;
        if zone.is_empty() {
            return Err(format!("`{text}` names no interface behind %: write {addr}%shmif0"));
        }
        if !has_zone(ip) {
            return Err(format!("{ip} is of no one link: leave %{zone} out"));
        }
        Ok(Zoned { ip, zone: Some(zone.to_owned()) })
    }
}

impl fmt::Display for Zoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        self.zone.as_ref().map_or(Ok(()), |zone| write!(f, "%{zone}"))
    }
}

impl From<IpAddr> for Zoned {
    fn from(ip: IpAddr) -> Self {
        Zoned { ip, zone: None }
    }
}

/// Is it a host's of one link alone?
fn needs_zone(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Does it mean something else on each link?
fn has_zone(ip: IpAddr) -> bool {
    let group = |ip: std::net::Ipv6Addr| ip.is_multicast() && matches!(ip.octets()[1] & 0xf, 1 | 2);
    needs_zone(ip) || matches!(ip, IpAddr::V6(ip) if group(ip))
}

/// The name of the link that an address is of.
pub fn zone_of(stack: &Stack, addr: SocketAddr) -> Option<String> {
    let SocketAddr::V6(six) = addr else { return None };
    let index = Some(six.scope_id()).filter(|scope| *scope > 0)?;
    match stack.inet() {
        Some(inet) => Some(name_of(inet, IfIndex(index))),
        None => {
            let name = nix::net::if_::if_indextoname(index).ok();
            Some(name.and_then(|name| name.into_string().ok()).unwrap_or_else(|| index.to_string()))
        }
    }
}

/// An address as people read it: `10.0.0.1:80`, `[fe80::1%shmif0]:80`; port 0 is left out, and with
/// it the brackets.
pub fn shown(stack: &Stack, addr: SocketAddr) -> String {
    let addr = host::plain_addr(addr);
    let zone = zone_of(stack, addr).map_or(String::new(), |zone| format!("%{zone}"));
    match (addr.ip(), addr.port()) {
        (ip, 0) => format!("{ip}{zone}"),
        (IpAddr::V4(ip), port) => format!("{ip}:{port}"),
        (IpAddr::V6(ip), port) => format!("[{ip}{zone}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        text.parse::<Zoned>().map(|zoned| zoned.to_string())
    }

    #[test]
    fn a_link_may_stand_behind_a_link_local_address_only() {
        for text in ["fe80::1%shmif0", "fe80::1", "ff02::1%2", "10.0.0.1", "fd00::1"] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        assert_eq!(read("[fe80::1%eth0]").as_deref(), Ok("fe80::1%eth0"));
        assert_eq!(read("localhost").as_deref(), Ok("127.0.0.1"));
        assert!(read("fd00::1%eth0").unwrap_err().contains("leave %eth0 out"));
        assert!(read("10.0.0.1%eth0").unwrap_err().contains("leave %eth0 out"));
        assert!(read("fe80::1%").unwrap_err().contains("fe80::1%shmif0"));
        assert!(read("alice%eth0").unwrap_err().contains("not an IP address"));
    }
}
