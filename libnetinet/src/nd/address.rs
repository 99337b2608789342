//! One IPv6 address of ours, from when it is wanted to when it is no longer valid (RFC 4862 §5.5.4).

use std::net::Ipv6Addr;
use std::time::Duration;

use libnet::time::Instant;

use super::dad::{Check, Progress};
use super::option::masked;
use crate::snapshot::{AddressOrigin, AddressState};

/// Until when an address is preferred, and until when it is valid; `None`: for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    pub(crate) preferred: Option<Instant>,
    pub(crate) valid: Option<Instant>,
}

impl Life {
    pub(crate) const FOREVER: Life = Life { preferred: None, valid: None };

    /// No longer than another.
    pub(crate) fn within(self, most: Life) -> Life {
        let earlier = |a: Option<Instant>, b: Option<Instant>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Life {
            preferred: earlier(self.preferred, most.preferred),
            valid: earlier(self.valid, most.valid),
        }
    }
}

/// An address that we have or want.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) addr: Ipv6Addr,
    pub(crate) prefix_bits: u8,
    pub(crate) origin: AddressOrigin,
    pub(crate) check: Check,
    /// It may be used, with care, while it is checked (RFC 4429).
    pub(crate) optimistic: bool,
    /// Addresses of this kind and prefix that others had before (the DAD counter of RFC 7217).
    pub(crate) attempt: u8,
    pub(crate) life: Life,
    /// A temporary address lives no longer, whatever routers say.
    pub(crate) most: Life,
    /// It was seen that it is no longer preferred.
    pub(crate) was_deprecated: bool,
    /// A temporary address that another was made for already.
    pub(crate) has_successor: bool,
    /// How often another station was seen using it.
    pub(crate) conflicts: u64,
}

impl Address {
    /// One that lives for ever.
    pub(crate) fn new(
        addr: Ipv6Addr,
        prefix_bits: u8,
        origin: AddressOrigin,
        check: Check,
    ) -> Self {
        Address {
            addr,
            prefix_bits,
            origin,
            check,
            optimistic: false,
            attempt: 0,
            life: Life::FOREVER,
            most: Life::FOREVER,
            was_deprecated: false,
            has_successor: false,
            conflicts: 0,
        }
    }

    /// What it is at a moment.
    pub(crate) fn state(&self, now: Instant) -> AddressState {
        match self.check.progress() {
            Progress::Failed => AddressState::Duplicate,
            Progress::Running if self.optimistic => AddressState::Optimistic,
            Progress::Running => AddressState::Tentative,
            Progress::Passed if self.is_deprecated(now) => AddressState::Deprecated,
            Progress::Passed => AddressState::Preferred,
        }
    }

    /// Is it ours to use?
    pub(crate) fn is_assigned(&self) -> bool {
        match self.check.progress() {
            Progress::Passed => true,
            Progress::Running => self.optimistic,
            Progress::Failed => false,
        }
    }

    pub(crate) fn is_deprecated(&self, now: Instant) -> bool {
        self.life.preferred.is_some_and(|until| until <= now)
    }

    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.life.valid.is_none_or(|until| until > now)
    }

    /// Was it made of that prefix of 64 bits?
    pub(crate) fn is_of(&self, prefix: Ipv6Addr) -> bool {
        let made = matches!(self.origin, AddressOrigin::Autonomous | AddressOrigin::Temporary);
        made && masked(self.addr, 64) == prefix
    }

    /// A router says how long the prefix is good for: RFC 4862 §5.5.3(e).
    pub(crate) fn extend(&mut self, now: Instant, life: Life) {
        let valid = match (life.valid, self.life.valid) {
            // 1: more than two hours, or more than is left.
            (None, _) => None,
            (Some(new), _) if new.since(now) > TWO_HOURS => Some(new),
            (Some(new), Some(old)) if new > old => Some(new),
            // 2: nobody who forges an advertisement can end it within two hours.
            (Some(_), Some(old)) if old.since(now) <= TWO_HOURS => Some(old),
            // 3.
            (Some(_), _) => Some(now + TWO_HOURS),
        };
        self.life = Life { preferred: life.preferred, valid }.within(self.most);
        self.was_deprecated &= self.is_deprecated(now);
        // One that is preferred again wants a successor when its time comes.
        self.has_successor &= self.renew_by().is_some_and(|due| due <= now);
    }

    /// When it changes of itself.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deprecated = self.life.preferred.filter(|_| !self.was_deprecated);
        let renewed = self.renew_at();
        let all = [self.check.next_deadline(), deprecated, renewed, self.life.valid];
        all.into_iter().flatten().min()
    }

    /// When a temporary address wants a successor that it has not yet: RFC 8981 §3.5.
    pub(crate) fn renew_at(&self) -> Option<Instant> {
        self.renew_by().filter(|_| !self.has_successor)
    }

    fn renew_by(&self) -> Option<Instant> {
        let is_temporary = self.origin == AddressOrigin::Temporary;
        self.life.preferred.filter(|_| is_temporary).map(|until| until - REGEN_ADVANCE)
    }
}

/// RFC 4862 §5.5.3(e).
const TWO_HOURS: Duration = Duration::from_secs(7_200);

/// RFC 8981 §3.8: 2 + (TEMP_IDGEN_RETRIES × DupAddrDetectTransmits × RetransTimer).
pub(crate) const REGEN_ADVANCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn life(now: Instant, preferred: Duration, valid: Duration) -> Life {
        Life { preferred: Some(now + preferred), valid: Some(now + valid) }
    }

    fn address(life: Life) -> Address {
        let origin = AddressOrigin::Autonomous;
        let passed = Check::start(Instant::ZERO, 0, Duration::ZERO);
        let mut address = Address::new(Ipv6Addr::LOCALHOST, 64, origin, passed);
        address.life = life;
        address
    }

    /// What is left of an address valid for `left` when `said` is advertised, in minutes.
    fn valid_after(left: Duration, said: Duration) -> u64 {
        let now = Instant::from_millis(5);
        let mut address = address(life(now, left, left));
        address.extend(now, life(now, Duration::ZERO, said));
        address.life.valid.unwrap().since(now).as_secs() / 60
    }

    #[test]
    fn nobody_can_end_an_address_within_two_hours() {
        assert_eq!(valid_after(24 * HOUR, 5 * HOUR), 300, "more than two hours: as said");
        assert_eq!(valid_after(24 * HOUR, Duration::ZERO), 120, "cut to two hours");
        assert_eq!(valid_after(24 * HOUR, HOUR), 120);
        assert_eq!(valid_after(HOUR, Duration::ZERO), 60, "less than that is left alone");
        assert_eq!(valid_after(HOUR, 2 * HOUR), 120, "more than is left: as said");
        assert_eq!(valid_after(3 * HOUR, 2 * HOUR), 120);
    }

    #[test]
    fn preference_ends_when_a_router_says_so() {
        let now = Instant::from_millis(5);
        let mut address = address(Life::FOREVER);
        assert_eq!(address.state(now), AddressState::Preferred);
        address.extend(now, life(now, Duration::ZERO, 9 * HOUR));
        assert_eq!(address.state(now), AddressState::Deprecated);
        assert!(address.is_valid(now + 8 * HOUR) && !address.is_valid(now + 9 * HOUR));
        address.extend(now, life(now, HOUR, 9 * HOUR));
        assert_eq!(address.state(now), AddressState::Preferred);
    }

    #[test]
    fn a_temporary_address_lives_no_longer_than_it_may() {
        let now = Instant::from_millis(5);
        let mut address = address(life(now, HOUR, 2 * HOUR));
        address.most = address.life;
        address.extend(now, life(now, 90 * HOUR, 90 * HOUR));
        assert_eq!(address.life, life(now, HOUR, 2 * HOUR));
        address.extend(now, Life::FOREVER);
        assert_eq!(address.life, life(now, HOUR, 2 * HOUR));
    }
}
