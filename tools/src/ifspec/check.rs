//! What each key alone cannot tell: whether addresses, gateways and routes go together.

use std::net::IpAddr;

use libnet::IpCidr;

use super::{IfSpec, IfSpecError};

/// RFC 8200 §5.
const MIN_MTU6: u32 = 1_280;

/// Refuses what a stack would refuse, with what to write instead.
pub(super) fn check(spec: &IfSpec) -> Result<(), IfSpecError> {
    let speaks_six = spec.addrs.iter().any(|cidr| cidr.addr().is_ipv6());
    if speaks_six || spec.autoconf || spec.advertise.is_some() {
        match spec.mtu {
            Some(mtu) if mtu < MIN_MTU6 => return Err(IfSpecError::SmallMtu { mtu }),
            _ => {}
        }
    }
    for (at, cidr) in spec.addrs.iter().enumerate() {
        if is_nobodys(cidr.addr()) {
            return Err(IfSpecError::NoHost { addr: cidr.addr() });
        }
        if spec.addrs[..at].iter().any(|other| other.addr() == cidr.addr()) {
            return Err(IfSpecError::SameAddress { addr: cidr.addr() });
        }
    }
    let of_routes = spec.routes.iter().filter_map(|route| Some(("route", route.gateway?)));
    let gateways = spec.gateways.iter().map(|gateway| ("gw", *gateway)).chain(of_routes);
    for (key, gateway) in gateways {
        if spec.addrs.iter().any(|cidr| cidr.addr() == gateway) {
            return Err(IfSpecError::OwnGateway { key, gateway });
        }
        if !is_link_local(gateway) && !spec.addrs.iter().any(|cidr| cidr.has_neighbour(gateway)) {
            let networks = networks_of(&spec.addrs, gateway);
            return Err(IfSpecError::FarGateway { key, gateway, networks });
        }
    }
    Ok(())
}

/// RFC 1122 §3.2.1.3, RFC 4291 §2.5.
fn is_nobodys(addr: IpAddr) -> bool {
    let is_mapped = matches!(addr, IpAddr::V6(six) if six.to_ipv4_mapped().is_some());
    addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() || is_mapped
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(six) if six.is_unicast_link_local())
}

/// The networks that a gateway could be of, as a user reads them.
fn networks_of(addrs: &[IpCidr], gateway: IpAddr) -> String {
    let of_family = addrs.iter().filter(|cidr| cidr.addr().is_ipv4() == gateway.is_ipv4());
    let networks: Vec<String> = of_family.map(|cidr| cidr.network().to_string()).collect();
    match (&networks[..], gateway) {
        ([], IpAddr::V4(_)) => "the interface has no IPv4 address: give it one, as in \
                                addr=10.0.0.1/24"
            .to_owned(),
        ([], IpAddr::V6(_)) => "the interface has no IPv6 address but auto: give it one, as in \
                                addr=fd00::1/64, or a link-local gateway, as in gw=fe80::1"
            .to_owned(),
        _ => format!("name a host of {}", networks.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(keys: &str) -> String {
        format!("shmif:b,{keys}").parse::<IfSpec>().unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_go_together_says_what_would() {
        for (keys, needle) in [
            ("addr=10.0.0.1/24,gw=10.1.0.1", "name a host of 10.0.0.0/24"),
            ("addr=10.0.0.1/24,gw=10.0.0.255", "name a host of 10.0.0.0/24"),
            ("addr=10.0.0.1/24,gw=10.0.0.1", "`gw=10.0.0.1` is the interface's own address"),
            ("addr=fe80::5/64,gw=fe80::5", "the interface's own address"),
            ("addr=10.0.0.1/24,gw=fd00::1", "addr=fd00::1/64"),
            ("addr=fd00::1/64,gw=10.0.0.1", "addr=10.0.0.1/24"),
            ("addr=auto,gw=fd00::1", "gw=fe80::1"),
            ("addr=10.0.0.1/24,route=10.2.0.0/16@10.9.0.1", "`route=…@10.9.0.1`"),
            ("addr=10.0.0.1/24,addr=10.0.0.1/16", "10.0.0.1 is given twice"),
            ("addr=fd00::1/64,mtu=1279", "mtu=1279 is less than the 1280 bytes that IPv6 needs"),
            ("addr=auto,mtu=600", "1280"),
            ("addr=10.0.0.1/24,ra,mtu=600", "1280"),
            ("addr=ff02::1/64", "ff02::1 is no host's address"),
            ("addr=::1/128", "::1 is no host's address"),
            ("addr=127.0.0.1/8", "127.0.0.1 is no host's address"),
        ] {
            let error = refused(keys);
            assert!(error.contains(needle), "{keys}: {error}");
        }
    }

    #[test]
    fn what_goes_together_is_taken() {
        for keys in [
            "addr=10.0.0.1/24,addr=fd00::1/64,gw=10.0.0.254,gw=fd00::ff",
            "addr=auto,gw=fe80::1",
            "addr=10.0.0.1/24,mtu=600",
            "addr=10.0.0.0/31,gw=10.0.0.1",
            "addr=10.0.0.1/24,route=10.2.0.0/16,route=10.3.0.0/16@blackhole",
        ] {
            assert!(format!("shmif:b,{keys}").parse::<IfSpec>().is_ok(), "{keys}");
        }
    }
}
