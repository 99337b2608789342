//! Finds a setting by its name.

use super::{LINUX_NAMES, Sysctl, SysctlError, all};

/// A name as it was meant, its parts joined by dots: as sysctl(8) has it, what parts them is the
/// first `.` or `/` in it. With slashes a part may have dots, as an interface's name does:
/// `net/ipv4/conf/eth0.100/forwarding` is `net.ipv4.conf.eth0.100.forwarding`, and so is
/// `net.ipv4.conf.eth0/100.forwarding`.
pub fn dotted(name: &str) -> String {
    name.trim().trim_start_matches('/').replace('/', ".")
}

/// A setting, and the interface that it is of, if it is of one.
///
/// # Errors
/// `Unknown`, `NotHere`.
pub(super) fn find(name: &str) -> Result<(&'static Sysctl, Option<String>), SysctlError> {
    let name = dotted(name);
    let plain = |sysctl: &&Sysctl| !sysctl.is_of_interface() && sysctl.name() == name;
    if let Some(sysctl) = all().find(plain) {
        return Ok((sysctl, None));
    }
    for sysctl in all().filter(|sysctl| sysctl.is_of_interface()) {
        if let Some(iface) = interface_in(&name, sysctl.name()) {
            return Ok((sysctl, Some(iface.to_owned())));
        }
    }
    Err(missing(&name))
}

/// The interface's name that stands in `name` where `template` has `IF`.
fn interface_in<'a>(name: &'a str, template: &str) -> Option<&'a str> {
    let (front, back) = template.split_once("IF")?;
    let iface = name.strip_prefix(front)?.strip_suffix(back)?;
    // These two are nobody's name.
    (!iface.is_empty() && iface != "all" && iface != "default").then_some(iface)
}

fn missing(name: &str) -> SysctlError {
    let general = generalized(name);
    if LINUX_NAMES.contains(&general.as_str()) {
        let others = [general.replace(".IF.", ".all."), general.replace(".IF.", ".default.")];
        let by_name = |other: &String| all().find(|sysctl| sysctl.name() == other);
        let instead = others.iter().find_map(by_name).map(Sysctl::name);
        return SysctlError::NotHere { instead: instead.or_else(|| under_another_name(&general)) };
    }
    SysctlError::Unknown { near: near(name) }
}

/// Some of what Linux has apart is one here.
fn under_another_name(name: &str) -> Option<&'static str> {
    match name {
        "net.ipv6.icmp.ratelimit" => Some("net.ipv4.icmp_ratelimit"),
        "net.ipv4.neigh.IF.retrans_time" => Some("net.ipv4.neigh.default.retrans_time_ms"),
        "net.ipv6.neigh.IF.retrans_time" => Some("net.ipv6.neigh.default.retrans_time_ms"),
        "net.ipv4.neigh.IF.base_reachable_time" => {
            Some("net.ipv4.neigh.default.base_reachable_time_ms")
        }
        "net.ipv6.neigh.IF.base_reachable_time" => {
            Some("net.ipv6.neigh.default.base_reachable_time_ms")
        }
        _ => None,
    }
}

/// The name with `IF` for an interface's, and for `all` and `default`.
fn generalized(name: &str) -> String {
    for front in ["net.ipv4.conf.", "net.ipv6.conf.", "net.ipv4.neigh.", "net.ipv6.neigh."] {
        if let Some((_, last)) = name.strip_prefix(front).and_then(|rest| rest.rsplit_once('.')) {
            return format!("{front}IF.{last}");
        }
    }
    name.to_owned()
}

/// Names longer than this are no slip of the pen.
const LONGEST: usize = 100;
/// Slips of the pen in one name.
const MOST_SLIPS: usize = 3;

/// The setting whose name is most like it; one with the same last part before others.
fn near(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST {
        return None;
    }
    let last = name.rsplit('.').next().filter(|last| last.len() > 2)?;
    let of_part = all().find(|sysctl| sysctl.name().rsplit('.').next() == Some(last));
    let slips = |sysctl: &&Sysctl| strsim::damerau_levenshtein(sysctl.name(), name);
    let by_slips = || all().min_by_key(slips).filter(|sysctl| slips(sysctl) <= MOST_SLIPS);
    of_part.or_else(by_slips).map(Sysctl::name)
}
