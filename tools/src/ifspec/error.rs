//! What can be wrong with an interface's text, told with what to write instead.

use std::net::IpAddr;

use libnet::IpCidr;

use super::{IfKind, KINDS};
use crate::impair::{self, ImpairSpecError};

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
    #[error("there is no kind of interface `{kind}`: {}", kind_hint(.kind))]
    UnknownKind {
        /// What was given.
        kind: String,
    },
    /// Nothing behind the kind.
    #[error("`{}:` needs {}: write {}", .kind.name(), what_follows(*.kind), .kind.example())]
    NoPath {
        /// The kind.
        kind: IfKind,
    },
    /// `fd:` with anything but a number.
    #[error("`{text}` is no descriptor's number: write fd:3")]
    BadNumber {
        /// What was given.
        text: String,
    },
    /// A key that this kind does not have.
    #[error("{}", key_hint(.key, *.kind))]
    UnknownKey {
        /// What was given.
        key: String,
        /// The kind.
        kind: IfKind,
    },
    /// A key that needs a value has none.
    #[error("`{key}` needs a value: write {key}={example}", example = example(.key))]
    NoValue {
        /// The key.
        key: String,
    },
    /// An impairment that cannot be understood.
    #[error(transparent)]
    Impairment(#[from] ImpairSpecError),
    /// `create` has no value.
    #[error("`create` takes no value: write it alone")]
    CreateValue,
    /// A key that may be given once was given twice.
    #[error("`{key}` is given twice: an interface has one")]
    Twice {
        /// The key.
        key: String,
    },
    /// A key that may be given several times was given too often.
    #[error("`{key}` is given more than {most} times: leave some out")]
    TooMany {
        /// The key.
        key: String,
        /// How often it may be given.
        most: usize,
    },
    /// A value that is not one of its key.
    #[error("`{value}` is no value for `{key}`: write {key}={example}", example = example(.key))]
    BadValue {
        /// The key.
        key: String,
        /// What was given.
        value: String,
    },
    /// Addresses are to be found where there are no routers.
    #[error(
        "a tun device has no neighbours to learn an address from: give it one, as in {}",
        example("addr")
    )]
    NoNeighbours,
    /// An address that no host has.
    #[error("{addr} is no host's address: write addr={}", example("addr"))]
    NoHost {
        /// What was given.
        addr: IpAddr,
    },
    /// The same address twice.
    #[error("the address {addr} is given twice: once is enough")]
    SameAddress {
        /// What was given.
        addr: IpAddr,
    },
    /// Less than IPv6 takes.
    #[error("mtu={mtu} is less than the 1280 bytes that IPv6 needs: leave it out, or IPv6")]
    SmallMtu {
        /// What was given.
        mtu: u32,
    },
    /// A gateway that is the interface itself.
    #[error("`{}{gateway}` is the interface's own address: name the router's", shown(.key))]
    OwnGateway {
        /// `gw` or `route`.
        key: &'static str,
        /// What was given.
        gateway: IpAddr,
    },
    /// A gateway that is no neighbour.
    #[error("`{}{gateway}` is on no network of the interface: {networks}", shown(.key))]
    FarGateway {
        /// `gw` or `route`.
        key: &'static str,
        /// What was given.
        gateway: IpAddr,
        /// What to do.
        networks: String,
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

/// A key as it stands in front of a gateway.
fn shown(key: &str) -> &'static str {
    if key == "route" { "route=…@" } else { "gw=" }
}

pub(super) fn example(key: &str) -> &'static str {
    match key {
        "addr" => "ADDRESS/BITS, as in addr=10.0.0.1/24, addr=auto or addr=link-local",
        "ra" => "PREFIX/BITS, as in ra=fd00:1::/64, or `ra` alone for the interface's own networks",
        "ra-mtu" => "BYTES, 1280 to 65535, as in ra-mtu=1400",
        "ra-lifetime" => "SECONDS as a default router, 0 to 65535, as in ra-lifetime=1800",
        "ra-interval" => "SECONDS between advertisements, 4 to 1800, as in ra-interval=600",
        "ra-pref" => "low, medium or high",
        "ra-dns" => "the IPv6 address of a name server, as in ra-dns=fd00:1::53",
        "ra-search" => "a domain to search, as in ra-search=example.org",
        "gw" => "ADDRESS, as in gw=10.0.0.254",
        "route" => {
            "NETWORK/BITS@GATEWAY, as in route=10.2.0.0/16@10.0.0.1, or NETWORK/BITS for neighbours"
        }
        "mtu" => "BYTES, 68 to 65535, as in mtu=1500",
        "clamp-mss" => {
            "mtu, off or BYTES, 48 to 65495, as in clamp-mss=1360, or clamp-mss alone for mtu"
        }
        "mac" => "six octets of a station's address, as in mac=02:00:00:00:00:01",
        "name" => "TEXT of at most 32 bytes, as in name=alice",
        "host" => "ADDRESS/BITS of the host's side, as in host=10.1.0.1/24",
        "offload" | "big-tcp" => "on or off",
        "queues" => "NUMBER, 1 to 256, as in queues=2",
        "header" => "none, virtio (10 bytes) or virtio12",
        "medium" => "tap (frames) or tun (IP packets)",
        key if impair::is_key(key) => "VALUE, as in loss=2%, delay=10ms, rate=10mbit",
        _ => "VALUE",
    }
}

const fn what_follows(kind: IfKind) -> &'static str {
    match kind {
        IfKind::Shmif => "a path",
        IfKind::Tap | IfKind::Tun => "a device's name",
        IfKind::Fd => "a descriptor's number",
    }
}

fn kind_hint(kind: &str) -> String {
    match kind {
        "sockin" | "host" => "the host's own sockets are --sockin, instead of --if".to_owned(),
        "virtif" => "write tap:NAME or tun:NAME".to_owned(),
        kind => nearest(kind, &KINDS.map(IfKind::name), "there are shmif, tap, tun and fd"),
    }
}

fn key_hint(key: &str, kind: IfKind) -> String {
    let others: Vec<&str> =
        KINDS.iter().filter(|other| other.keys().contains(&key)).map(|kind| kind.name()).collect();
    if !others.is_empty() {
        return format!("`{key}` is a key of {}, not of {}", others.join(" and "), kind.name());
    }
    let (own, bad_links) = (kind.keys(), impair::KEYS.join(", "));
    let all = format!("there are {}; and for a bad link {bad_links}", own.join(", "));
    format!("unknown key `{key}`: {}", nearest(key, &[&own[..], &impair::KEYS].concat(), &all))
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
