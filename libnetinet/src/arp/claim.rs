//! Our claims to addresses: probed, announced and defended (RFC 5227).

use std::net::Ipv4Addr;
use std::time::Duration;

use libnet::iface::IfIndex;
use libnet::time::Instant;

/// What is to be sent for a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Say {
    /// Does anybody have this address?
    Probe,
    /// It is ours.
    Announce,
}

/// The claims of a stack to its IPv4 addresses on Ethernet.
///
/// Lock rank: wide.
pub(crate) struct Claims {
    enabled: bool,
    claims: Vec<Claim>,
}

struct Claim {
    iface: IfIndex,
    addr: Ipv4Addr,
    /// Next line of [`SCRIPT`].
    step: usize,
    due: Option<Instant>,
    defended_at: Option<Instant>,
    conflicts: u64,
}

/// What is said after a new address, and how long after the line before: at least, at most.
///
// DEVIATES RFC 5227 §2.1.1, §2.3: the address is used at once instead of after four to seven
// seconds, and announced as soon as a first probe had time to be answered; the other probes run
// beside its use. A node must be able to send its first packet within milliseconds.
const SCRIPT: [(Say, Duration, Duration); 5] = [
    (Say::Probe, Duration::ZERO, Duration::ZERO),
    (Say::Announce, Duration::from_millis(200), Duration::from_millis(250)),
    (Say::Probe, Duration::from_secs(1), Duration::from_secs(2)),
    (Say::Probe, Duration::from_secs(1), Duration::from_secs(2)),
    // RFC 5227 §1.1: ANNOUNCE_WAIT, 2 s.
    (Say::Announce, Duration::from_secs(2), Duration::from_secs(2)),
];

/// RFC 5227 §1.1: DEFEND_INTERVAL.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Claims {
    /// No claims; with `enabled` off, none are ever spoken of.
    pub(crate) const fn new(enabled: bool) -> Self {
        Claims { enabled, claims: Vec::new() }
    }

    /// Claims a new address.
    pub(crate) fn add(&mut self, now: Instant, iface: IfIndex, addr: Ipv4Addr) {
        let due = self.enabled.then_some(now);
        let claim = Claim { iface, addr, step: 0, due, defended_at: None, conflicts: 0 };
        self.claims.push(claim);
    }

    /// Gives an address up.
    pub(crate) fn remove(&mut self, iface: IfIndex, addr: Ipv4Addr) {
        self.claims.retain(|claim| (claim.iface, claim.addr) != (iface, addr));
    }

    /// Says what is due. `random` spreads probes, so that many who start together do not meet.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        random: u64,
        out: &mut Vec<(IfIndex, Ipv4Addr, Say)>,
    ) {
        let mut random = random;
        for claim in &mut self.claims {
            if claim.due.is_none_or(|due| due > now) {
                continue;
            }
            let Some(&(say, _, _)) = SCRIPT.get(claim.step) else { continue };
            // Whoever lost the address to another stays quiet about it.
            if claim.conflicts == 0 {
                out.push((claim.iface, claim.addr, say));
            }
            claim.step += 1;
            claim.due = SCRIPT.get(claim.step).map(|&(_, least, most)| {
                random = random.rotate_left(13).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let spread = (most - least).as_nanos() as u64;
                now + least + Duration::from_nanos(random % (spread + 1))
            });
        }
    }

    /// Another station uses our address: whether to announce that it is ours.
    ///
    /// Source: RFC 5227 §2.4(b): defend once, and not again within [`DEFEND_INTERVAL`]. The
    /// address is kept (§2.4(c)) because a tester gave it to us on purpose.
    pub(crate) fn conflict(&mut self, now: Instant, iface: IfIndex, addr: Ipv4Addr) -> bool {
        let claim = self.claims.iter_mut().find(|claim| (claim.iface, claim.addr) == (iface, addr));
        let Some(claim) = claim else { return false };
        claim.conflicts += 1;
        let lately = claim.defended_at.is_some_and(|at| now.since(at) < DEFEND_INTERVAL);
        if lately {
            return false;
        }
        claim.defended_at = Some(now);
        true
    }

    /// How often others were seen using an address of ours.
    pub(crate) fn conflicts(&self, iface: IfIndex, addr: Ipv4Addr) -> u64 {
        let mine = self.claims.iter().find(|claim| (claim.iface, claim.addr) == (iface, addr));
        mine.map_or(0, |claim| claim.conflicts)
    }

    /// When [`expire`](Self::expire) has something to say.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.claims.iter().filter_map(|claim| claim.due).min()
    }
}
