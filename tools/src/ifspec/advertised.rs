//! The keys of `--if` that say what an IPv6 router advertises.

use std::net::IpAddr;
use std::time::Duration;

use libnet::IpCidr;
use libnet::iface::{Advertise, AdvertisedPrefix, RouterPreference};

/// Name servers and domains at most: as many as one option has room for.
const MAX_NAMES: usize = 64;
/// Prefixes at most: as many as fit into a packet that every link carries.
const MAX_PREFIXES: usize = 32;

/// How many values a key takes at most, if it may be given several times.
pub(super) fn most_of(key: &str) -> Option<usize> {
    match key {
        "ra" => Some(MAX_PREFIXES),
        "ra-dns" | "ra-search" => Some(MAX_NAMES),
        _ => None,
    }
}

/// Has a key as many values as it takes?
pub(super) fn is_full(says: &Advertise, key: &str) -> bool {
    let count = match key {
        "ra" => says.prefixes.len(),
        "ra-dns" => says.dns_servers.len(),
        "ra-search" => says.dns_search.len(),
        _ => return false,
    };
    most_of(key).is_some_and(|most| count >= most)
}

/// Sets what a key says; `None` if the value is none of it.
pub(super) fn set(says: &mut Advertise, key: &str, value: &str) -> Option<()> {
    match key {
        "ra" => {
            // An address alone would be a prefix of one host.
            let prefix: IpCidr = value.contains('/').then(|| value.parse().ok())??;
            let is_six = prefix.addr().is_ipv6();
            says.prefixes.push(AdvertisedPrefix::new(is_six.then_some(prefix.network())?));
        }
        "ra-mtu" => {
            says.mtu = Some(value.parse().ok().filter(|mtu| (1_280..=65_535).contains(mtu))?)
        }
        "ra-lifetime" => says.lifetime = Some(seconds(value, 0, 65_535)?),
        "ra-interval" => says.interval = seconds(value, 4, 1_800)?,
        "ra-pref" => {
            says.preference = match value {
                "low" => RouterPreference::Low,
                "medium" => RouterPreference::Medium,
                "high" => RouterPreference::High,
                _ => return None,
            };
        }
        "ra-dns" => {
            let IpAddr::V6(server) = value.parse().ok()? else { return None };
            says.dns_servers.push(server);
        }
        "ra-search" => {
            says.dns_search.push(is_domain(value).then(|| value.to_owned())?);
        }
        _ => return None,
    }
    Some(())
}

fn seconds(value: &str, least: u64, most: u64) -> Option<Duration> {
    let seconds = value.parse().ok().filter(|seconds| (least..=most).contains(seconds))?;
    Some(Duration::from_secs(seconds))
}

/// RFC 1035 §2.3.1, with underscores.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::super::IfSpec;

    fn parse(text: &str) -> Result<IfSpec, String> {
        text.parse::<IfSpec>().map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_router_says_is_read() {
        let spec = parse(
            "shmif:b,addr=fd00:1::1/64,ra=fd00:1::5/64,ra=fd00:2::/64,ra-mtu=1400,ra-lifetime=0,\
             ra-interval=10,ra-pref=high,ra-dns=fd00:1::53,ra-search=lab.test",
        );
        let says = spec.unwrap().advertise.unwrap();
        let prefixes: Vec<String> = says.prefixes.iter().map(|p| p.prefix.to_string()).collect();
        assert_eq!(prefixes, ["fd00:1::/64", "fd00:2::/64"]);
        assert_eq!((says.mtu, says.lifetime.unwrap().as_secs()), (Some(1_400), 0));
        assert_eq!(says.interval.as_secs(), 10);
        assert_eq!(says.dns_search, ["lab.test"]);
        let alone = parse("tap:t0,addr=fd00:1::1/64,ra").unwrap().advertise.unwrap();
        assert!(alone.prefixes.is_empty(), "those of its own addresses");
    }

    #[test]
    fn addresses_are_looked_for_where_there_are_neighbours() {
        let spec = parse("shmif:b,addr=auto,addr=10.0.0.1/24").unwrap();
        assert!(spec.autoconf && spec.addrs.len() == 1);
        assert!(parse("tun:t0,addr=auto").unwrap_err().contains("no neighbours"));
        assert!(parse("tun:t0,ra").unwrap_err().contains("not of tun"));
    }

    #[test]
    fn more_than_a_router_can_say_is_refused_with_the_limit() {
        let text = |n: usize| {
            let servers: Vec<String> = (1..=n).map(|n| format!("ra-dns=fd00::{n:x}")).collect();
            format!("shmif:b,{}", servers.join(","))
        };
        assert_eq!(parse(&text(64)).unwrap().advertise.unwrap().dns_servers.len(), 64);
        let error = parse(&text(65)).unwrap_err();
        assert_eq!(error, "`ra-dns` is given more than 64 times: leave some out");
    }

    #[test]
    fn values_that_are_none_say_what_to_write() {
        for text in [
            "ra=10.0.0.0/24",
            "ra=fd00:1::1",
            "ra=fd00::/129",
            "ra-mtu=1279",
            "ra-lifetime=65536",
            "ra-interval=3",
            "ra-pref=best",
            "ra-dns=10.0.0.1",
            "ra-search=a..b",
        ] {
            let error = parse(&format!("shmif:b,{text}")).unwrap_err();
            assert!(error.contains("write"), "{text}: {error}");
        }
        assert!(parse("shmif:b,ra-mtu").unwrap_err().contains("1280"));
    }
}
