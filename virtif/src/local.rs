//! Which addresses are the host's own, asked where a device was opened.

use std::net::IpAddr;
use std::time::Duration;

use libnet::Instant;
use rustix::system::uname;

use crate::host::Netlink;

/// How long an answer is believed. One that is old costs time and nothing else.
const BELIEVED: Duration = Duration::from_secs(1);
/// Answers that are kept; the oldest gives way.
const KEPT: usize = 16;
/// The kernels that take frames of more than 64 KiB. Source: `iph_totlen` in `linux/ip.h`,
/// `ipv6_hop_jumbo` in `net/ipv6/exthdrs.c`.
const FIRST_WITH_V4: (u32, u32) = (6, 3);
const FIRST_WITH_V6: (u32, u32) = (5, 19);
/// Later ones are not known to look for a jumbo payload option.
const FIRST_WITHOUT_JUMBO: (u32, u32) = (7, 0);

/// Asks the host, in the network namespace of the thread that opened it.
pub(crate) struct Local {
    netlink: Netlink,
    takes: (bool, bool),
    known: Vec<Known>,
}

struct Known {
    addr: IpAddr,
    is_local: bool,
    asked_at: Instant,
}

impl Local {
    /// `None` where no frame could be longer than 64 KiB anyway, or the host cannot be asked.
    pub(crate) fn open() -> Option<Local> {
        let takes = takes(uname().release().to_str().ok()?);
        let netlink = Netlink::open().ok().filter(|_| takes.0 || takes.1)?;
        Some(Local { netlink, takes, known: Vec::new() })
    }

    /// Is it an address of the host itself, which takes longer frames?
    pub(crate) fn takes_long(&mut self, addr: IpAddr, now: Instant) -> bool {
        if !(if addr.is_ipv4() { self.takes.0 } else { self.takes.1 }) {
            return false;
        }
        if let Some(known) = self.known.iter().find(|known| known.addr == addr)
            && now.since(known.asked_at) < BELIEVED
        {
            return known.is_local;
        }
        self.known.retain(|known| known.addr != addr);
        if self.known.len() == KEPT {
            self.known.remove(0);
        }
        let is_local = self.netlink.is_local(addr).unwrap_or(false);
        self.known.push(Known { addr, is_local, asked_at: now });
        is_local
    }
}

/// Whether a kernel of this release takes longer frames, of IPv4 and of IPv6.
fn takes(release: &str) -> (bool, bool) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => {
            let version = (major, minor);
            let takes_v6 = (FIRST_WITH_V6..FIRST_WITHOUT_JUMBO).contains(&version);
            (version >= FIRST_WITH_V4, takes_v6)
        }
        _ => (false, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_release_says_what_it_takes() {
        let cases = [
            ("6.18.44-fc-v657", (true, true)),
            ("6.3.0", (true, true)),
            ("6.1.0-28-amd64", (false, true)),
            ("5.19-rc1", (false, true)),
            ("5.15.0", (false, false)),
            ("7.0.1", (true, false)),
            ("linux", (false, false)),
            ("", (false, false)),
        ];
        for (release, want) in cases {
            assert_eq!(takes(release), want, "{release}");
        }
    }

    #[test]
    fn the_hosts_own_addresses_are_told_from_others() {
        let mut local = Local { takes: (true, false), ..Local::open().unwrap() };
        let now = Instant::ZERO;
        assert!(local.takes_long("127.0.0.1".parse().unwrap(), now));
        assert!(!local.takes_long("192.0.2.1".parse().unwrap(), now));
        assert!(!local.takes_long("::1".parse().unwrap(), now), "it takes none of IPv6");
        for i in 0..100 {
            local.takes_long(IpAddr::from([192, 0, 2, i]), now);
        }
        assert_eq!(local.known.len(), KEPT);
    }
}
