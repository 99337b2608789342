//! Addresses made of prefixes that routers advertise: RFC 4862 §5.5, RFC 7217, RFC 8981.

use std::net::Ipv6Addr;
use std::time::Duration;

use rand_core::Rng;

use super::address::{Address, Life, REGEN_ADVANCE};
use super::ident::{join, random_ident};
use super::link::{Context, Link};
use super::option::PrefixInfo;
use super::solicit::{MAX_DELAY, part_of};
use crate::config::InterfaceIds;
use crate::snapshot::AddressOrigin;

const SECOND: Duration = Duration::from_secs(1);

impl Link {
    /// RFC 4862 §5.5.3: a prefix that addresses may be made of.
    pub(super) fn take_prefix(&mut self, ctx: &mut Context<'_>, info: &PrefixInfo) {
        // a) to c).
        if !info.autonomous
            || info.prefix.is_unicast_link_local()
            || info.prefix.is_multicast()
            || info.preferred > info.valid
        {
            return;
        }
        let until = |lifetime: super::option::Lifetime| lifetime.duration().map(|t| ctx.now + t);
        let life = Life { preferred: until(info.preferred), valid: until(info.valid) };
        let mut known = false;
        for address in self.addresses.iter_mut().filter(|address| address.is_of(info.prefix)) {
            known |= address.origin == AddressOrigin::Autonomous;
            address.extend(ctx.now, life);
        }
        // d) RFC 4862 §5.5.3: the prefix and our identifiers, of 64 bits, must make 128.
        if info.valid.is_zero() || info.bits != 64 {
            return;
        }
        if known {
            // RFC 8981 §3.5: while the prefix was deprecated nobody made one after the last.
            return self.renew_lapsed(ctx, info.prefix, life);
        }
        if self.addresses.len() >= ctx.config.max_addresses {
            self.refused += 1;
            return;
        }
        let ident = match ctx.config.interface_ids {
            InterfaceIds::Stable => self.identity.stable(info.prefix, 0),
            InterfaceIds::Hardware => self.identity.hardware(),
        };
        // RFC 4862 §5.4.2: all on the link heard the same advertisement at the same moment.
        let delay = part_of(MAX_DELAY, ctx.random.next_u64());
        let addr = join(info.prefix, ident);
        self.want(ctx, addr, 64, AddressOrigin::Autonomous, delay).set_life(life);
        self.make_temporary(ctx, info.prefix, life);
    }

    /// RFC 8981 §3.4: an address for a while, if they are wanted.
    fn make_temporary(&mut self, ctx: &mut Context<'_>, prefix: Ipv6Addr, life: Life) {
        let config = &ctx.config.temporary;
        if !config.enabled || self.temporary_failed {
            return;
        }
        if self.addresses.len() >= ctx.config.max_addresses {
            self.refused += 1;
            return;
        }
        // RFC 8981 §3.8: preferred for less long than valid; less DESYNC_FACTOR, drawn for each, up
        // to 0.4 × TEMP_PREFERRED_LIFETIME, and so that it need not be replaced at once.
        let preferred = config.preferred.min(config.valid.saturating_sub(SECOND));
        let longest = preferred.saturating_sub(REGEN_ADVANCE + SECOND);
        let desync = part_of((preferred / 5 * 2).min(longest), ctx.random.next_u64());
        let most = Life {
            preferred: Some(ctx.now + preferred.saturating_sub(desync)),
            valid: Some(ctx.now + config.valid),
        };
        let life = life.within(most);
        // RFC 8981 §3.4(5): not one that would have to be replaced at once.
        if life.preferred.is_some_and(|until| until.since(ctx.now) <= REGEN_ADVANCE) {
            return;
        }
        let ident = random_ident(|| ctx.random.next_u64());
        let addr = join(prefix, ident);
        let address = self.want(ctx, addr, 64, AddressOrigin::Temporary, Duration::ZERO);
        address.most = most;
        address.set_life(life);
    }

    /// Makes a temporary address of a prefix that is preferred again, if the last is used no more.
    fn renew_lapsed(&mut self, ctx: &mut Context<'_>, prefix: Ipv6Addr, life: Life) {
        let of_prefix = |address: &&Address| {
            address.origin == AddressOrigin::Temporary && address.is_of(prefix)
        };
        let mut known = self.addresses.iter().filter(of_prefix);
        let lapsed = known.all(|address| address.has_successor && address.is_deprecated(ctx.now));
        if lapsed {
            self.make_temporary(ctx, prefix, life);
        }
    }

    /// RFC 8981 §3.5: a new one before the old one is deprecated.
    pub(super) fn renew_temporary(&mut self, ctx: &mut Context<'_>) {
        for at in 0..self.addresses.len() {
            if self.addresses[at].renew_at().is_none_or(|due| due > ctx.now) {
                continue;
            }
            self.addresses[at].has_successor = true;
            let prefix = super::option::masked(self.addresses[at].addr, 64);
            let stable = self.addresses.iter().find(|address| {
                address.origin == AddressOrigin::Autonomous && address.is_of(prefix)
            });
            // As long as the prefix itself is preferred.
            let life = stable.filter(|stable| !stable.is_deprecated(ctx.now)).map(|s| s.life);
            if let Some(life) = life {
                self.make_temporary(ctx, prefix, life);
            }
        }
    }
}
