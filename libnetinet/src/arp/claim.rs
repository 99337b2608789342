//! Our claims to addresses: probed, announced and defended (RFC 5227), and chosen where they are
//! link-local (RFC 3927).

use std::net::Ipv4Addr;
use std::time::Duration;

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::time::Instant;

use super::link_local::Seeker;
use super::packet::ArpPacket;

/// What is to be done for a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Say {
    /// Ask whether anybody has this address.
    Probe,
    /// Say that it is ours.
    Announce,
    /// Nobody has it: the interface gets it.
    Take,
}

/// What to do about another station that uses our address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Keep the address, and quiet.
    Keep,
    /// Announce that it is ours.
    Defend,
    /// Take it from the interface.
    GiveUp,
}

/// The claims of a stack to its IPv4 addresses on Ethernet.
///
/// Lock rank: wide.
pub(crate) struct Claims {
    enabled: bool,
    claims: Vec<Claim>,
    /// Who looks for a link-local address, one of an interface at most.
    seekers: Vec<Seeker>,
}

struct Claim {
    iface: IfIndex,
    addr: Ipv4Addr,
    script: &'static [Line],
    /// Next line of the script.
    step: usize,
    due: Option<Instant>,
    defended_at: Option<Instant>,
    conflicts: u64,
}

/// What is said, and how long after the line before: at least, at most.
type Line = (Say, Duration, Duration);

/// What is said after an address that was given to us.
///
// DEVIATES RFC 5227 §2.1.1, §2.3: the address is used at once instead of after four to seven
// seconds, and announced as soon as a first probe had time to be answered; the other probes run
// beside its use. A node must be able to send its first packet within milliseconds.
const SCRIPT: [Line; 5] = [
    (Say::Probe, Duration::ZERO, Duration::ZERO),
    (Say::Announce, Duration::from_millis(200), Duration::from_millis(250)),
    (Say::Probe, Duration::from_secs(1), Duration::from_secs(2)),
    (Say::Probe, Duration::from_secs(1), Duration::from_secs(2)),
    // RFC 5227 §1.1: ANNOUNCE_WAIT, 2 s.
    (Say::Announce, Duration::from_secs(2), Duration::from_secs(2)),
];

/// What is said after an address that was chosen, and so probed before. RFC 3927 §2.4: two
/// announcements, ANNOUNCE_INTERVAL apart.
const CHOSEN: [Line; 2] = [
    (Say::Announce, Duration::ZERO, Duration::ZERO),
    (Say::Announce, Duration::from_secs(2), Duration::from_secs(2)),
];

/// RFC 5227 §1.1, RFC 3927 §9: DEFEND_INTERVAL.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Claims {
    /// No claims; with `enabled` off, none to a given address are ever spoken of.
    pub(crate) const fn new(enabled: bool) -> Self {
        Claims { enabled, claims: Vec::new(), seekers: Vec::new() }
    }

    /// Claims a new address.
    pub(crate) fn add(&mut self, now: Instant, iface: IfIndex, addr: Ipv4Addr) {
        let due = self.enabled.then_some(now);
        self.push(iface, addr, &SCRIPT, due);
    }

    fn push(
        &mut self,
        iface: IfIndex,
        addr: Ipv4Addr,
        script: &'static [Line],
        due: Option<Instant>,
    ) {
        let claim = Claim { iface, addr, script, step: 0, due, defended_at: None, conflicts: 0 };
        self.claims.push(claim);
    }

    /// Gives an address up; no link-local one is chosen in the place of one that was.
    pub(crate) fn remove(&mut self, iface: IfIndex, addr: Ipv4Addr) {
        self.drop_claim(iface, addr);
        self.seekers.retain(|seeker| (seeker.iface, seeker.addr) != (iface, addr));
    }

    fn drop_claim(&mut self, iface: IfIndex, addr: Ipv4Addr) {
        self.claims.retain(|claim| (claim.iface, claim.addr) != (iface, addr));
    }

    /// Chooses a link-local address for an interface, unless it has one or looks for one.
    pub(crate) fn seek(&mut self, now: Instant, iface: IfIndex, mac: MacAddr) {
        if !self.seekers.iter().any(|seeker| seeker.iface == iface) {
            self.seekers.push(Seeker::new(now, iface, mac));
        }
    }

    /// An interface goes down: the link-local address that it is to lose.
    pub(crate) fn pause(&mut self, iface: IfIndex) -> Option<Ipv4Addr> {
        let seeker = self.seekers.iter_mut().find(|seeker| seeker.iface == iface)?;
        let ours = seeker.is_ours().then_some(seeker.addr);
        seeker.pause();
        if let Some(addr) = ours {
            self.drop_claim(iface, addr);
        }
        ours
    }

    /// An interface is up again.
    pub(crate) fn resume(&mut self, now: Instant, iface: IfIndex) {
        let seekers = self.seekers.iter_mut().filter(|seeker| seeker.iface == iface);
        seekers.for_each(|seeker| seeker.resume(now));
    }

    /// Another station spoke: an address that it shows to be taken is probed no further.
    pub(crate) fn hear(&mut self, now: Instant, iface: IfIndex, arp: &ArpPacket) {
        let mut seekers = self.seekers.iter_mut();
        let contested = |seeker: &&mut Seeker| seeker.iface == iface && seeker.is_contested_by(arp);
        if let Some(seeker) = seekers.find(contested) {
            seeker.next(now);
        }
    }

    /// An address that was to be taken is that of another interface of ours.
    pub(crate) fn refuse(&mut self, now: Instant, iface: IfIndex, addr: Ipv4Addr) {
        self.drop_claim(iface, addr);
        let seekers = self.seekers.iter_mut().filter(|seeker| seeker.iface == iface);
        seekers.for_each(|seeker| seeker.next(now));
    }

    /// Says what is due. `random` spreads probes, so that many who start together do not meet.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        random: u64,
        out: &mut Vec<(IfIndex, Ipv4Addr, Say)>,
    ) {
        let said = self
            .seekers
            .iter_mut()
            .filter_map(|seeker| seeker.expire(now).map(|say| (seeker.iface, seeker.addr, say)));
        let said: Vec<_> = said.collect();
        for &(iface, addr, say) in &said {
            if say == Say::Take {
                self.push(iface, addr, &CHOSEN, Some(now));
            }
        }
        out.extend(said);
        let mut random = random;
        for claim in &mut self.claims {
            if claim.due.is_none_or(|due| due > now) {
                continue;
            }
            let Some(&(say, _, _)) = claim.script.get(claim.step) else { continue };
            // Whoever lost the address to another stays quiet about it.
            if claim.conflicts == 0 {
                out.push((claim.iface, claim.addr, say));
            }
            claim.step += 1;
            claim.due = claim.script.get(claim.step).map(|&(_, least, most)| {
                random = random.rotate_left(13).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let spread = (most - least).as_nanos() as u64;
                now + least + Duration::from_nanos(random % (spread + 1))
            });
        }
    }

    /// Another station uses our address: what to do about it.
    ///
    /// Source: RFC 5227 §2.4(b): defend once, and not again within [`DEFEND_INTERVAL`]. An address
    /// that was given to us is kept (§2.4(c)), because a tester did that on purpose; one that we
    /// chose is given up when it cannot be defended (RFC 3927 §2.5), and another chosen.
    pub(crate) fn conflict(&mut self, now: Instant, iface: IfIndex, addr: Ipv4Addr) -> Verdict {
        let claim = self.claims.iter_mut().find(|claim| (claim.iface, claim.addr) == (iface, addr));
        let Some(claim) = claim else { return Verdict::Keep };
        claim.conflicts += 1;
        let lately = claim.defended_at.is_some_and(|at| now.since(at) < DEFEND_INTERVAL);
        if !lately {
            claim.defended_at = Some(now);
            return Verdict::Defend;
        }
        let chosen = |seeker: &&mut Seeker| (seeker.iface, seeker.addr) == (iface, addr);
        let Some(seeker) = self.seekers.iter_mut().find(chosen) else { return Verdict::Keep };
        seeker.next(now);
        self.drop_claim(iface, addr);
        Verdict::GiveUp
    }

    /// How often others were seen using an address of ours.
    pub(crate) fn conflicts(&self, iface: IfIndex, addr: Ipv4Addr) -> u64 {
        let mine = self.claims.iter().find(|claim| (claim.iface, claim.addr) == (iface, addr));
        mine.map_or(0, |claim| claim.conflicts)
    }

    /// Was an address of an interface chosen by us?
    pub(crate) fn is_chosen(&self, iface: IfIndex, addr: Ipv4Addr) -> bool {
        self.seekers.iter().any(|seeker| (seeker.iface, seeker.addr) == (iface, addr))
    }

    /// The link-local address that an interface probes at the moment.
    pub(crate) fn probed(&self, iface: IfIndex) -> Option<Ipv4Addr> {
        let seeker = self.seekers.iter().find(|seeker| seeker.iface == iface)?;
        seeker.is_probing().then_some(seeker.addr)
    }

    /// When [`expire`](Self::expire) has something to say.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let claims = self.claims.iter().filter_map(|claim| claim.due);
        claims.chain(self.seekers.iter().filter_map(Seeker::next_deadline)).min()
    }
}
