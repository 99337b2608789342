//! What the neighbour table makes of IPv6 messages: RFC 4861 §7.2.3, §7.2.5 and the table of
//! Appendix C.

use std::net::Ipv6Addr;
use std::sync::Arc;

use libnet::ethernet::MacAddr;
use libnet::iface::IfIndex;
use libnet::time::Instant;

use super::{Action, Entry, NeighbourKey, NeighbourState, NeighbourTable, source_of};

/// What a message of neighbour discovery said of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// It was a message's source, or a redirect's target.
    Source {
        mac: Option<MacAddr>,
        /// Whether it is a router, where the message tells.
        router: Option<bool>,
    },
    /// It was advertised.
    Advertised { mac: Option<MacAddr>, router: bool, solicited: bool, overrides: bool },
}

/// Neighbours that are asked again at once when an address becomes sure.
const MAX_ASKED_AGAIN: usize = 32;

impl NeighbourTable {
    /// Takes in what was heard of an IPv6 neighbour.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        iface: IfIndex,
        addr: Ipv6Addr,
        heard: Heard,
        actions: &mut Vec<Action>,
    ) {
        match heard {
            Heard::Source { mac, router } => {
                self.hear_source(now, iface, addr, mac, router, actions);
            }
            Heard::Advertised { .. } => self.hear_advertised(now, iface, addr, heard, actions),
        }
    }

    /// An address of the interface became sure: who is asked for is asked from it.
    ///
    /// DEVIATES RFC 4861 §7.2.2: that is one question more than one in `RetransTimer`. Those
    /// before did not tell our link-layer address (RFC 4429 §3.2), and Linux answers no such
    /// question from a stranger.
    pub(crate) fn ask_again(&mut self, now: Instant, iface: IfIndex, actions: &mut Vec<Action>) {
        let is_asked_for = |(key, entry): &(&NeighbourKey, &Entry)| {
            let is_six = key.0 == iface && key.1.is_ipv6();
            is_six && entry.shared.state() == NeighbourState::Incomplete
        };
        let asked = self.entries.iter().filter(is_asked_for);
        let mut asked: Vec<_> =
            asked.map(|(key, entry)| (*key, entry.waiting.first().and_then(source_of))).collect();
        asked.sort_unstable();
        // The others are asked again when it is their turn: not a thousand questions at once.
        for (key, src) in asked.into_iter().take(MAX_ASKED_AGAIN) {
            actions.push(Action::Ask { iface, addr: key.1, to: None, src });
            let again = now + self.times_of(key).retransmit;
            self.set_timer(key, Some(again));
        }
    }

    /// Appendix C: a solicitation, router advertisement or redirect with a link-layer address.
    fn hear_source(
        &mut self,
        now: Instant,
        iface: IfIndex,
        addr: Ipv6Addr,
        mac: Option<MacAddr>,
        router: Option<bool>,
        actions: &mut Vec<Action>,
    ) {
        let key = (iface, addr.into());
        let is_new = !self.entries.contains_key(&key);
        // RFC 4861 §7.2.3: without a link-layer address there is nothing to make an entry of.
        if is_new && (mac.is_none() || !self.make_unasked(key)) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.shared.state() == NeighbourState::Permanent {
            return;
        }
        if let Some(router) = router {
            set_router(entry, router, actions);
        }
        match mac {
            Some(mac) if !entry.is_known() || entry.shared.mac() != mac => {
                self.record(now, iface, addr, mac, Confirmed::No, actions);
            }
            _ => {}
        }
    }

    /// RFC 4861 §7.2.5: an advertisement.
    fn hear_advertised(
        &mut self,
        now: Instant,
        iface: IfIndex,
        addr: Ipv6Addr,
        heard: Heard,
        actions: &mut Vec<Action>,
    ) {
        let Heard::Advertised { mac, router, solicited, overrides } = heard else { return };
        // Nobody can fill the table by answering what was not asked.
        let Some(entry) = self.entries.get_mut(&(iface, addr.into())) else { return };
        let shared = Arc::clone(&entry.shared);
        let confirmed = if solicited { Confirmed::Yes } else { Confirmed::No };
        match (shared.state(), mac) {
            (NeighbourState::Permanent | NeighbourState::Gone | NeighbourState::Failed, _) => {}
            // "The receiving node SHOULD silently discard the received advertisement."
            (NeighbourState::Incomplete, None) => {}
            (NeighbourState::Incomplete, Some(mac)) => {
                entry.is_router = router;
                self.record(now, iface, addr, mac, confirmed, actions);
            }
            (state, Some(mac)) if !overrides && mac != shared.mac() => {
                // I.a and I.b: doubt what was sure, and otherwise do not listen.
                if state == NeighbourState::Reachable {
                    shared.suspect();
                }
            }
            (_, mac) => {
                set_router(entry, router, actions);
                let moved = mac.filter(|mac| *mac != shared.mac());
                if solicited || moved.is_some() {
                    let mac = mac.unwrap_or_else(|| shared.mac());
                    self.record(now, iface, addr, mac, confirmed, actions);
                }
            }
        }
    }

    /// Enters a link-layer address: reachable if that was confirmed, else stale.
    fn record(
        &mut self,
        now: Instant,
        iface: IfIndex,
        addr: Ipv6Addr,
        mac: MacAddr,
        confirmed: Confirmed,
        actions: &mut Vec<Action>,
    ) {
        let key = (iface, addr.into());
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.gateways_changed |= entry.is_gateway && !entry.is_known();
        match confirmed {
            Confirmed::Yes => entry.shared.set_confirmed(now),
            Confirmed::No => entry.shared.suspect(),
        }
        entry.shared.set(mac, NeighbourState::Reachable);
        entry.changed_at = now;
        entry.probes_sent = 0;
        entry.release(mac, &mut self.waiting, actions);
        self.set_timer(key, Some(now + self.config.expire));
    }
}

/// Was a neighbour shown to be reachable?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Confirmed {
    Yes,
    No,
}

impl Entry {
    fn is_known(&self) -> bool {
        !matches!(self.shared.state(), NeighbourState::Incomplete | NeighbourState::Failed)
    }
}

/// RFC 4861 §7.2.5: who was a router and is none any more is no default router either.
fn set_router(entry: &mut Entry, router: bool, actions: &mut Vec<Action>) {
    if entry.is_router
        && !router
        && let std::net::IpAddr::V6(addr) = entry.shared.addr
    {
        actions.push(Action::NoRouter { iface: entry.shared.iface, addr });
    }
    entry.is_router = router;
}

#[cfg(test)]
mod tests;
