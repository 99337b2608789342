//! `--if KIND:PATH,key=value…`: the one way to attach an interface.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use libnet::IpCidr;
use libnet::ethernet::MacAddr;

/// What an interface is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum IfKind {
    /// A bus file that unprivileged processes share.
    Shmif,
}

/// An interface as a user asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct IfSpec {
    /// What it is attached to.
    pub kind: IfKind,
    /// The bus's file.
    pub path: PathBuf,
    /// Addresses, each with its network.
    pub addrs: Vec<IpCidr>,
    /// Gateways of default routes.
    pub gateways: Vec<IpAddr>,
    /// A smaller MTU than the bus's, in bytes.
    pub mtu: Option<u32>,
    /// Our address on the bus; made up if not given.
    pub mac: Option<MacAddr>,
    /// Our name in the bus's list of members.
    pub name: Option<String>,
    /// Make the bus if there is none.
    pub create: bool,
}

/// What is wrong with an interface's text, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IfSpecError {
    /// No kind in front.
    #[error("`{text}` has no kind: write shmif:{text}")]
    NoKind {
        /// What was given.
        text: String,
    },
    /// A kind that nobody knows.
    #[error("there is no kind of interface `{kind}`: {}", nearest(.kind, KINDS, "write shmif:PATH"))]
    UnknownKind {
        /// What was given.
        kind: String,
    },
    /// A kind that this version was built without.
    #[error("`{kind}:` is not built in this version: use shmif:PATH, a bus in a file")]
    NotBuilt {
        /// What was given.
        kind: String,
    },
    /// Nothing behind the kind.
    #[error("`{kind}:` needs a path: write {kind}:my.bus")]
    NoPath {
        /// The kind.
        kind: String,
    },
    /// A key that nobody knows.
    #[error("unknown key `{key}`: {}", nearest(.key, KEYS, "there are addr, gw, mtu, mac, name and create"))]
    UnknownKey {
        /// What was given.
        key: String,
    },
    /// A key that needs a value has none.
    #[error("`{key}` needs a value: write {key}={example}", example = example(.key))]
    NoValue {
        /// The key.
        key: String,
    },
    /// `create` has no value.
    #[error("`create` takes no value: write it alone")]
    CreateValue,
    /// A key that may be given once was given twice.
    #[error("`{key}` is given twice: an interface has one")]
    Twice {
        /// The key.
        key: String,
    },
    /// A value that is not one of its key.
    #[error("`{value}` is no value for `{key}`: write {key}={example}", example = example(.key))]
    BadValue {
        /// The key.
        key: String,
        /// What was given.
        value: String,
    },
    /// A prefix whose host part says that it is not a host's.
    #[error("{addr} is the {which} address of its network, not a host's: use {suggestion}")]
    NotAHost {
        /// What was given.
        addr: IpCidr,
        /// `network` or `broadcast`.
        which: &'static str,
        /// One that would do.
        suggestion: IpCidr,
    },
}

const KINDS: &[&str] = &["shmif"];
const LATER_KINDS: &[&str] = &["tap", "tun", "virtif", "sockin", "host"];
const KEYS: &[&str] = &["addr", "gw", "mtu", "mac", "name", "create"];

/// The smallest MTU that IPv4 allows (RFC 791 §3.2), and the largest packet.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Bytes of a member's name at most.
const NAME_BYTES: usize = 32;

impl FromStr for IfSpec {
    type Err = IfSpecError;

    fn from_str(text: &str) -> Result<Self, IfSpecError> {
        let mut parts = text.split(',');
        let target = parts.next().unwrap_or_default();
        let (kind, path) = target
            .split_once(':')
            .ok_or_else(|| IfSpecError::NoKind { text: target.to_owned() })?;
        let kind_text = kind.to_owned();
        let kind = match kind {
            "shmif" => IfKind::Shmif,
            kind if LATER_KINDS.contains(&kind) => {
                return Err(IfSpecError::NotBuilt { kind: kind_text });
            }
            _ => return Err(IfSpecError::UnknownKind { kind: kind_text }),
        };
        if path.is_empty() {
            return Err(IfSpecError::NoPath { kind: kind_text });
        }
        let mut spec = IfSpec::new(kind, path);
        for part in parts.filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) => spec.set(key.trim(), value.trim())?,
                None => spec.set_flag(part.trim())?,
            }
        }
        Ok(spec)
    }
}

impl IfSpec {
    /// An interface without addresses.
    pub fn new(kind: IfKind, path: impl Into<PathBuf>) -> Self {
        IfSpec {
            kind,
            path: path.into(),
            addrs: Vec::new(),
            gateways: Vec::new(),
            mtu: None,
            mac: None,
            name: None,
            create: false,
        }
    }

    fn set_flag(&mut self, key: &str) -> Result<(), IfSpecError> {
        match key {
            "create" => self.create = true,
            key if KEYS.contains(&key) => {
                return Err(IfSpecError::NoValue { key: key.to_owned() });
            }
            key => return Err(IfSpecError::UnknownKey { key: key.to_owned() }),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), IfSpecError> {
        let bad = || IfSpecError::BadValue { key: key.to_owned(), value: value.to_owned() };
        match key {
            "addr" => self.addrs.push(host_addr(value.parse().map_err(|_| bad())?)?),
            "gw" => self.gateways.push(value.parse().map_err(|_| bad())?),
            "mtu" => {
                let bytes = value.parse().ok().filter(|bytes| MTU_RANGE.contains(bytes));
                once(key, &mut self.mtu, bytes.ok_or_else(bad)?)?;
            }
            "mac" => {
                let mac: Option<MacAddr> = value.parse().ok();
                // A group address cannot be a station's (IEEE 802), nor can zero.
                let mac = mac.filter(|mac| mac.0[0] & 1 == 0 && mac.0 != [0; 6]);
                once(key, &mut self.mac, mac.ok_or_else(bad)?)?;
            }
            "name" => {
                let fits = !value.is_empty() && value.len() <= NAME_BYTES;
                let name = fits.then(|| value.to_owned()).ok_or_else(bad)?;
                once(key, &mut self.name, name)?;
            }
            "create" => return Err(IfSpecError::CreateValue),
            key => return Err(IfSpecError::UnknownKey { key: key.to_owned() }),
        }
        Ok(())
    }
}

fn once<T>(key: &str, slot: &mut Option<T>, value: T) -> Result<(), IfSpecError> {
    if slot.is_some() {
        return Err(IfSpecError::Twice { key: key.to_owned() });
    }
    *slot = Some(value);
    Ok(())
}

/// RFC 1122 §3.2.1.3: a host part of all zeros or all ones is not a host's.
fn host_addr(addr: IpCidr) -> Result<IpCidr, IfSpecError> {
    let Some(broadcast) = addr.broadcast() else { return Ok(addr) };
    let which = if addr.addr() == addr.network().addr() {
        "network"
    } else if addr.addr() == IpAddr::V4(broadcast) {
        "broadcast"
    } else {
        return Ok(addr);
    };
    let IpAddr::V4(network) = addr.network().addr() else { return Ok(addr) };
    let first = IpAddr::from(std::net::Ipv4Addr::from_bits(network.to_bits() | 1));
    let suggestion = IpCidr::new(first, addr.prefix_bits()).unwrap_or(addr);
    Err(IfSpecError::NotAHost { addr, which, suggestion })
}

fn example(key: &str) -> &'static str {
    match key {
        "addr" => "ADDRESS/BITS, as in addr=10.0.0.1/24",
        "gw" => "ADDRESS, as in gw=10.0.0.254",
        "mtu" => "BYTES, 68 to 65535, as in mtu=1500",
        "mac" => "six octets of a station's address, as in mac=02:00:00:00:00:01",
        "name" => "TEXT of at most 32 bytes, as in name=alice",
        _ => "VALUE",
    }
}

/// `did you mean …`, or what else to do if nothing is near.
fn nearest(text: &str, known: &[&str], otherwise: &str) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(text, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len());
    let starts = known.iter().copied().find(|name| !text.is_empty() && text.starts_with(name));
    match (near, starts) {
        (Some((_, name)), _) | (None, Some(name)) => format!("did you mean `{name}`?"),
        (None, None) => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<IfSpec, String> {
        text.parse().map_err(|error: IfSpecError| error.to_string())
    }

    #[test]
    fn everything_at_once() {
        let spec = parse(
            "shmif:/tmp/my.bus,addr=10.0.0.1/24,addr=fd00::1/64,gw=10.0.0.254,mtu=1400,\
             mac=02:00:00:00:00:07,name=alice,create",
        )
        .unwrap();
        assert_eq!(spec.path, PathBuf::from("/tmp/my.bus"));
        assert_eq!(spec.addrs.len(), 2);
        assert_eq!(spec.gateways, ["10.0.0.254".parse::<IpAddr>().unwrap()]);
        assert_eq!(spec.mtu, Some(1400));
        assert_eq!(spec.mac, Some(MacAddr([2, 0, 0, 0, 0, 7])));
        assert_eq!(spec.name.as_deref(), Some("alice"));
        assert!(spec.create);
    }

    #[test]
    fn a_path_alone_is_enough() {
        assert_eq!(parse("shmif:my.bus"), Ok(IfSpec::new(IfKind::Shmif, "my.bus")));
    }

    #[test]
    fn a_misspelt_key_names_the_nearest() {
        let error = parse("shmif:b,adr=10.0.0.1/24").unwrap_err();
        assert_eq!(error, "unknown key `adr`: did you mean `addr`?");
        let error = parse("shmif:b,address=10.0.0.1/24").unwrap_err();
        assert_eq!(error, "unknown key `address`: did you mean `addr`?");
        let error = parse("shmif:b,colour=red").unwrap_err();
        assert_eq!(error, "unknown key `colour`: there are addr, gw, mtu, mac, name and create");
        let error = parse("shmif:b,creat").unwrap_err();
        assert_eq!(error, "unknown key `creat`: did you mean `create`?");
    }

    #[test]
    fn kinds_are_told_apart() {
        let error = parse("my.bus").unwrap_err();
        assert_eq!(error, "`my.bus` has no kind: write shmif:my.bus");
        let error = parse("tap:tap0").unwrap_err();
        assert_eq!(error, "`tap:` is not built in this version: use shmif:PATH, a bus in a file");
        let error = parse("shmfi:x").unwrap_err();
        assert_eq!(error, "there is no kind of interface `shmfi`: did you mean `shmif`?");
        let error = parse("shmif:").unwrap_err();
        assert_eq!(error, "`shmif:` needs a path: write shmif:my.bus");
    }

    #[test]
    fn bad_values_say_what_a_good_one_looks_like() {
        for (text, needle) in [
            ("addr=10.0.0.1/33", "addr=10.0.0.1/24"),
            ("gw=gateway", "gw=10.0.0.254"),
            ("mtu=67", "68 to 65535"),
            ("mac=01:00:5e:00:00:01", "mac=02:00:00:00:00:01"),
            ("mac=00:00:00:00:00:00", "mac=02:00:00:00:00:01"),
            ("name=", "name=alice"),
            ("addr", "addr=10.0.0.1/24"),
        ] {
            let error = parse(&format!("shmif:b,{text}")).unwrap_err();
            assert!(error.contains(needle), "{text}: {error}");
        }
        assert_eq!(
            parse("shmif:b,create=yes").unwrap_err(),
            "`create` takes no value: write it alone"
        );
        assert!(parse("shmif:b,mtu=1,mtu=2").unwrap_err().contains("68 to"));
        assert_eq!(
            parse("shmif:b,mtu=1400,mtu=1500").unwrap_err(),
            "`mtu` is given twice: an interface has one"
        );
    }

    #[test]
    fn network_and_broadcast_addresses_are_no_hosts() {
        let error = parse("shmif:b,addr=10.0.0.0/24").unwrap_err();
        assert_eq!(
            error,
            "10.0.0.0/24 is the network address of its network, not a host's: use 10.0.0.1/24"
        );
        assert!(parse("shmif:b,addr=10.0.0.255/24").unwrap_err().contains("broadcast"));
        assert!(parse("shmif:b,addr=10.0.0.0/31").is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,60}") {
            let _ = text.parse::<IfSpec>();
        }
    }
}
