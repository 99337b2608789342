//! `--if KIND:PATH,key=value…`: the one way to attach an interface.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use libnet::IpCidr;
use libnet::ethernet::MacAddr;
use libnet::iface::{Advertise, ClampMss};
use libnet::route::RouteSpec;

use crate::impair::{self, ImpairSpec};

mod advertised;
mod check;
mod error;

pub use error::IfSpecError;
use error::example;

/// What an interface is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum IfKind {
    /// A bus file that unprivileged processes share.
    Shmif,
    /// A tap device of the host: Ethernet frames.
    Tap,
    /// A tun device of the host: bare IP packets.
    Tun,
    /// An open descriptor that a parent passed.
    Fd,
}

impl IfKind {
    /// As it stands in front of the colon.
    pub const fn name(self) -> &'static str {
        match self {
            IfKind::Shmif => "shmif",
            IfKind::Tap => "tap",
            IfKind::Tun => "tun",
            IfKind::Fd => "fd",
        }
    }

    /// The keys that it takes.
    fn keys(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            IfKind::Shmif => &["mac", "name", "create"],
            IfKind::Tap => &["mac", "host", "offload", "big-tcp", "queues"],
            IfKind::Tun => &["host", "offload", "big-tcp", "queues"],
            IfKind::Fd => &["mac", "offload", "header", "medium"],
        };
        // Nobody hears an advertisement on a tun device.
        let router: &[&str] = if self == IfKind::Tun { &[] } else { ROUTER_KEYS };
        [COMMON_KEYS, own, router].concat()
    }

    const fn example(self) -> &'static str {
        match self {
            IfKind::Shmif => "shmif:my.bus",
            IfKind::Tap => "tap:tap0",
            IfKind::Tun => "tun:tun0",
            IfKind::Fd => "fd:3",
        }
    }
}

/// What stands in front of each frame of a passed descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Header {
    /// Nothing.
    #[default]
    None,
    /// virtio-net's header of 10 bytes.
    Virtio,
    /// virtio-net's header of 12 bytes.
    Virtio12,
}

/// Whether super-segments cross whole where they can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Switch {
    /// Where they can.
    #[default]
    On,
    /// Never.
    Off,
}

/// An interface as a user asks for it.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct IfSpec {
    /// What it is attached to.
    pub kind: IfKind,
    /// The bus's file, the device's name, or the descriptor's number.
    pub path: PathBuf,
    /// Addresses, each with its network.
    pub addrs: Vec<IpCidr>,
    /// `addr=auto`: IPv6 addresses of what routers advertise.
    pub autoconf: bool,
    /// `addr=link-local`: an IPv4 address that nobody on the link has.
    pub link_local: bool,
    /// `ra`: what is advertised as an IPv6 router.
    pub advertise: Option<Advertise>,
    /// Gateways of default routes.
    pub gateways: Vec<IpAddr>,
    /// Other routes by it.
    pub routes: Vec<RouteSpec>,
    /// A smaller MTU than the link's, in bytes; the device's own where `host` sets that up.
    pub mtu: Option<u32>,
    /// What the SYNs that it passes on announce at most.
    pub clamp_mss: Option<ClampMss>,
    /// Our address on the link; made up if not given.
    pub mac: Option<MacAddr>,
    /// Our name in the bus's list of members.
    pub name: Option<String>,
    /// Make the bus if there is none.
    pub create: bool,
    /// Addresses of a device's host side, each with its network.
    pub host: Vec<IpCidr>,
    /// Whether super-segments cross the device whole.
    pub offload: Option<Switch>,
    /// Whether frames to the host itself may be longer than 64 KiB.
    pub big_tcp: Option<Switch>,
    /// Queues of the device.
    pub queues: Option<u16>,
    /// What stands in front of a descriptor's frames.
    pub header: Option<Header>,
    /// Does the descriptor carry bare IP packets, [`IfKind::Tun`], or frames, [`IfKind::Tap`]?
    pub medium: Option<IfKind>,
    /// What its frames meet.
    pub impair: ImpairSpec,
}

/// Keys of every kind.
const COMMON_KEYS: &[&str] = &["addr", "gw", "route", "mtu", "clamp-mss"];
/// What is advertised as an IPv6 router.
const ROUTER_KEYS: &[&str] =
    &["ra", "ra-mtu", "ra-lifetime", "ra-interval", "ra-pref", "ra-dns", "ra-search"];

const KINDS: [IfKind; 4] = [IfKind::Shmif, IfKind::Tap, IfKind::Tun, IfKind::Fd];

/// The smallest MTU that IPv4 allows (RFC 791 §3.2), and the largest packet.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Queues of a tap at most, `MAX_TAP_QUEUES` of the kernel.
const QUEUES: std::ops::RangeInclusive<u16> = 1..=256;
/// Bytes of a member's name at most.
pub(crate) const NAME_BYTES: usize = 32;

impl FromStr for IfSpec {
    type Err = IfSpecError;

    fn from_str(text: &str) -> Result<Self, IfSpecError> {
        let mut parts = impair::split_keys(text).into_iter();
        let target = parts.next().unwrap_or_default();
        let (kind, path) = target
            .split_once(':')
            .ok_or_else(|| IfSpecError::NoKind { text: target.to_owned() })?;
        let kind = KINDS
            .into_iter()
            .find(|known| known.name() == kind)
            .ok_or_else(|| IfSpecError::UnknownKind { kind: kind.to_owned() })?;
        if path.is_empty() {
            return Err(IfSpecError::NoPath { kind });
        }
        let digits = path.bytes().all(|byte| byte.is_ascii_digit());
        if kind == IfKind::Fd && (!digits || path.parse::<i32>().is_err()) {
            return Err(IfSpecError::BadNumber { text: path.to_owned() });
        }
        let mut spec = IfSpec::new(kind, path);
        for part in parts.filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) => spec.set(key.trim(), value.trim())?,
                None => spec.set_flag(part.trim())?,
            }
        }
        check::check(&spec)?;
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
            autoconf: false,
            link_local: false,
            advertise: None,
            gateways: Vec::new(),
            routes: Vec::new(),
            mtu: None,
            clamp_mss: None,
            mac: None,
            name: None,
            create: false,
            host: Vec::new(),
            offload: None,
            big_tcp: None,
            queues: None,
            header: None,
            medium: None,
            impair: ImpairSpec::default(),
        }
    }

    fn check_key(&self, key: &str) -> Result<(), IfSpecError> {
        if self.kind.keys().contains(&key) || impair::is_key(key) {
            return Ok(());
        }
        Err(IfSpecError::UnknownKey { key: key.to_owned(), kind: self.kind })
    }

    fn set_flag(&mut self, key: &str) -> Result<(), IfSpecError> {
        if impair::is_state(key) {
            return Ok(self.impair.read(key)?);
        }
        self.check_key(key)?;
        match key {
            "create" => self.create = true,
            "clamp-mss" => once(key, &mut self.clamp_mss, ClampMss::Mtu)?,
            "ra" => drop(self.advertise.get_or_insert_default()),
            _ => return Err(IfSpecError::NoValue { key: key.to_owned() }),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), IfSpecError> {
        self.check_key(key)?;
        let bad = || IfSpecError::BadValue { key: key.to_owned(), value: value.to_owned() };
        match key {
            "addr" if matches!(value, "auto" | "link-local") && self.kind == IfKind::Tun => {
                return Err(IfSpecError::NoNeighbours);
            }
            "addr" if value == "auto" => self.autoconf = true,
            "addr" if value == "link-local" => self.link_local = true,
            "addr" => self.addrs.push(host_addr(value.parse().map_err(|_| bad())?)?),
            // A link-local gateway's link is the interface's own, which may be told.
            "gw" if value.contains('%') => {
                self.routes.push(route(&format!("default@{value}")).ok_or_else(bad)?);
            }
            "gw" => self.gateways.push(value.parse().map_err(|_| bad())?),
            "route" => self.routes.push(route(value).ok_or_else(bad)?),
            "mtu" => once(key, &mut self.mtu, mtu(value).ok_or_else(bad)?)?,
            "clamp-mss" => once(key, &mut self.clamp_mss, value.parse().map_err(|_| bad())?)?,
            "mac" => once(key, &mut self.mac, station(value).ok_or_else(bad)?)?,
            "name" => {
                let fits = !value.is_empty() && value.len() <= NAME_BYTES;
                let name = fits.then(|| value.to_owned()).ok_or_else(bad)?;
                once(key, &mut self.name, name)?;
            }
            "host" => self.host.push(host_addr(value.parse().map_err(|_| bad())?)?),
            "offload" | "big-tcp" => {
                let known = [("on", Switch::On), ("off", Switch::Off)];
                let switch = if key == "offload" { &mut self.offload } else { &mut self.big_tcp };
                once(key, switch, one_of(&known, value).ok_or_else(bad)?)?;
            }
            "queues" => {
                let queues = value.parse().ok().filter(|queues| QUEUES.contains(queues));
                once(key, &mut self.queues, queues.ok_or_else(bad)?)?;
            }
            "header" => {
                let virtio = ("virtio", Header::Virtio);
                let known = [("none", Header::None), virtio, ("virtio12", Header::Virtio12)];
                once(key, &mut self.header, one_of(&known, value).ok_or_else(bad)?)?;
            }
            "medium" => {
                let known = [("tap", IfKind::Tap), ("tun", IfKind::Tun)];
                once(key, &mut self.medium, one_of(&known, value).ok_or_else(bad)?)?;
            }
            key if impair::is_key(key) => self.impair.set(key, value)?,
            key if key == "ra" || key.starts_with("ra-") => {
                let advertise = self.advertise.get_or_insert_default();
                if advertised::is_full(advertise, key) {
                    let most = advertised::most_of(key).unwrap_or_default();
                    return Err(IfSpecError::TooMany { key: key.to_owned(), most });
                }
                advertised::set(advertise, key, value).ok_or_else(bad)?;
            }
            // `create`: the only key without a value.
            _ => return Err(IfSpecError::CreateValue),
        }
        Ok(())
    }
}

/// A route by the interface that it is given for, which it need not name but behind a gateway.
fn route(value: &str) -> Option<RouteSpec> {
    let own = |route: &RouteSpec| route.iface.is_none() || route.gateway.is_some();
    value.parse().ok().filter(own)
}

fn mtu(value: &str) -> Option<u32> {
    value.parse().ok().filter(|bytes| MTU_RANGE.contains(bytes))
}

/// A group address cannot be a station's (IEEE 802), nor can zero.
fn station(value: &str) -> Option<MacAddr> {
    value.parse().ok().filter(|mac: &MacAddr| mac.0[0] & 1 == 0 && mac.0 != [0; 6])
}

/// An MTU as an option of its own takes it.
///
/// # Errors
/// Anything but 68 to 65535.
pub fn parse_mtu(text: &str) -> Result<u32, String> {
    mtu(text).ok_or_else(|| format!("write {}", example("mtu")))
}

/// A station's address, as an option of its own takes it.
///
/// # Errors
/// Group addresses and what is no address.
pub fn parse_station(text: &str) -> Result<MacAddr, String> {
    station(text).ok_or_else(|| format!("write {}", example("mac")))
}

/// A host's address with its network, as an option of its own takes it.
///
/// # Errors
/// Text that is none, and addresses that no host can have.
pub fn parse_host_addr(text: &str) -> Result<IpCidr, String> {
    let cidr = text.parse().map_err(|_| format!("write {}", example("addr")))?;
    host_addr(cidr).map_err(|error| error.to_string())
}

fn one_of<T: Copy>(known: &[(&str, T)], value: &str) -> Option<T> {
    known.iter().find(|(name, _)| *name == value).map(|(_, value)| *value)
}

fn once<T>(key: &str, slot: &mut Option<T>, value: T) -> Result<(), IfSpecError> {
    if slot.is_some() {
        return Err(IfSpecError::Twice { key: key.to_owned() });
    }
    *slot = Some(value);
    Ok(())
}

/// RFC 1122 §3.2.1.3: a host part of all zeros or all ones is not a host's; RFC 4291 §2.6.1: one of
/// all zeros is that of all routers there.
fn host_addr(addr: IpCidr) -> Result<IpCidr, IfSpecError> {
    let network = addr.network().addr();
    let is_network = match network {
        IpAddr::V4(_) => addr.broadcast().is_some(),
        IpAddr::V6(_) => addr.prefix_bits() < 127,
    };
    let which = if is_network && addr.addr() == network {
        "network"
    } else if addr.broadcast().is_some_and(|broadcast| addr.addr() == IpAddr::V4(broadcast)) {
        "broadcast"
    } else {
        return Ok(addr);
    };
    let first: IpAddr = match network {
        IpAddr::V4(network) => std::net::Ipv4Addr::from_bits(network.to_bits() | 1).into(),
        IpAddr::V6(network) => std::net::Ipv6Addr::from_bits(network.to_bits() | 1).into(),
    };
    let suggestion = IpCidr::new(first, addr.prefix_bits()).unwrap_or(addr);
    Err(IfSpecError::NotAHost { addr, which, suggestion })
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
             route=10.2.0.0/16@10.0.0.253,route=10.3.0.0/16@10.0.0.253@5,\
             mac=02:00:00:00:00:07,name=alice,create",
        )
        .unwrap();
        assert_eq!(spec.path, PathBuf::from("/tmp/my.bus"));
        assert_eq!(spec.addrs.len(), 2);
        assert_eq!(spec.gateways, ["10.0.0.254".parse::<IpAddr>().unwrap()]);
        let routes: Vec<String> = spec.routes.iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["10.2.0.0/16@10.0.0.253", "10.3.0.0/16@10.0.0.253@5"]);
        assert_eq!(spec.mtu, Some(1400));
        assert_eq!(spec.mac, Some(MacAddr([2, 0, 0, 0, 0, 7])));
        assert_eq!(spec.name.as_deref(), Some("alice"));
        assert!(spec.create);
    }

    #[test]
    fn a_clamp_is_a_key_alone_or_a_number() {
        let clamp = |keys: &str| parse(&format!("shmif:b,{keys}")).map(|spec| spec.clamp_mss);
        assert_eq!(clamp("mtu=1400"), Ok(None));
        assert_eq!(clamp("clamp-mss,mtu=1400"), Ok(Some(ClampMss::Mtu)));
        assert_eq!(clamp("clamp-mss=mtu"), Ok(Some(ClampMss::Mtu)));
        assert_eq!(clamp("clamp-mss=1360"), Ok(Some(ClampMss::Bytes(1_360))));
        for keys in ["clamp-mss=47", "clamp-mss=", "clamp-mss=65496"] {
            assert!(clamp(keys).unwrap_err().contains("clamp-mss=1360"), "{keys}");
        }
        assert!(clamp("clamp-mss,clamp-mss=1360").unwrap_err().contains("twice"));
    }

    #[test]
    fn the_link_of_a_gateway_may_be_told() {
        let spec = parse("shmif:b,gw=fe80::1%shmif0,route=fd00:9::/64@fe80::2%shmif0").unwrap();
        let routes: Vec<String> = spec.routes.iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["::/0@fe80::1%shmif0", "fd00:9::/64@fe80::2%shmif0"]);
        assert!(parse("shmif:b,gw=fe80::1%").unwrap_err().contains("gw=10.0.0.254"));
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
        let expected = "unknown key `colour`: there are addr, gw, route, mtu, clamp-mss, mac, name, \
                        create, ra, ra-mtu, ra-lifetime, ra-interval, ra-pref, ra-dns, ra-search; \
                        and for a bad link loss, delay, jitter, rate, limit, queue, reorder, dup, \
                        corrupt, state, schedule, seed";
        assert_eq!(error, expected);
        assert!(parse("shmif:b,los=2%").unwrap_err().contains("did you mean `loss`?"));
        let error = parse("shmif:b,creat").unwrap_err();
        assert_eq!(error, "unknown key `creat`: did you mean `create`?");
    }

    #[test]
    fn kinds_are_told_apart() {
        let error = parse("my.bus").unwrap_err();
        assert_eq!(error, "`my.bus` has no kind: write shmif:my.bus");
        let error = parse("shmfi:x").unwrap_err();
        assert_eq!(error, "there is no kind of interface `shmfi`: did you mean `shmif`?");
        let error = parse("shmif:").unwrap_err();
        assert_eq!(error, "`shmif:` needs a path: write shmif:my.bus");
        let error = parse("tap:").unwrap_err();
        assert_eq!(error, "`tap:` needs a device's name: write tap:tap0");
        let error = parse("fd:three").unwrap_err();
        assert_eq!(error, "`three` is no descriptor's number: write fd:3");
        assert!(parse("fd:99999999999").unwrap_err().contains("write fd:3"));
        assert!(parse("sockin:x").unwrap_err().contains("--sockin"));
        assert!(parse("quux:x").unwrap_err().contains("there are shmif, tap, tun and fd"));
    }

    #[test]
    fn a_device_has_keys_of_its_own() {
        let text =
            "tap:tap0,addr=10.1.0.2/24,host=10.1.0.1/24,offload=off,big-tcp=off,queues=2,mtu=9000";
        let spec = parse(text).unwrap();
        assert_eq!((spec.kind, spec.queues, spec.mtu), (IfKind::Tap, Some(2), Some(9_000)));
        assert_eq!((spec.offload, spec.host.len()), (Some(Switch::Off), 1));
        assert_eq!(spec.big_tcp, Some(Switch::Off));
        let spec = parse("fd:3,header=virtio,medium=tun").unwrap();
        assert_eq!((spec.header, spec.medium), (Some(Header::Virtio), Some(IfKind::Tun)));
        let error = parse("tap:tap0,create").unwrap_err();
        assert_eq!(error, "`create` is a key of shmif, not of tap");
        let error = parse("tun:tun0,mac=02:00:00:00:00:01").unwrap_err();
        assert_eq!(error, "`mac` is a key of shmif and tap and fd, not of tun");
        let error = parse("shmif:b,queues=2").unwrap_err();
        assert_eq!(error, "`queues` is a key of tap and tun, not of shmif");
        assert!(parse("tap:t,queues=0").unwrap_err().contains("1 to 256"));
        assert!(parse("tap:t,offload=maybe").unwrap_err().contains("on or off"));
        assert!(parse("tap:t,big-tcp=1").unwrap_err().contains("on or off"));
        assert!(parse("fd:3,header=x").unwrap_err().contains("virtio12"));
        assert!(parse("fd:3,medium=x").unwrap_err().contains("tun (IP packets)"));
    }

    #[test]
    fn a_bad_link_is_asked_for_by_the_same_keys_as_everywhere() {
        let spec = parse("shmif:b,addr=10.0.0.1/24,out.loss=ge:1%,25%,delay=10ms,create,seed=3");
        let spec = spec.unwrap();
        assert_eq!(spec.impair, "out.loss=ge:1%,25%,delay=10ms,seed=3".parse().unwrap());
        assert!(spec.create);
        assert_eq!(
            parse("shmif:b,loss=1%,in.down,out.up").unwrap().impair,
            "loss=1%,in.state=down".parse().unwrap()
        );
        assert!(parse("tun:t,loss=2").unwrap_err().contains("write loss=2%"));
        assert!(parse("tap:t,loss").unwrap_err().contains("`loss` needs a value"));
    }

    #[test]
    fn bad_values_say_what_a_good_one_looks_like() {
        for (text, needle) in [
            ("addr=10.0.0.1/33", "addr=10.0.0.1/24"),
            ("gw=gateway", "gw=10.0.0.254"),
            ("route=10.2.0.0/16@tap0", "route=10.2.0.0/16@10.0.0.1"),
            ("route=10.2.0.0/16@", "route=10.2.0.0/16@10.0.0.1"),
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
        let error = parse("shmif:b,addr=fd00::/64").unwrap_err();
        assert!(error.ends_with("not a host's: use fd00::1/64"), "{error}");
        assert!(parse("shmif:b,addr=fd00::/127").is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,60}") {
            let _ = text.parse::<IfSpec>();
        }
    }
}
