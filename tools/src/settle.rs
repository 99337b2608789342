//! Waits for the addresses that are to be found (`addr=auto`), so that a command that runs once does
//! not begin without.

use std::time::{Duration, Instant};

use libnet::iface::IfIndex;
use rumpnet::Inet;
use rumpnet::libnetinet::snapshot::{AddressOrigin, AddressState, InterfaceEntry};

use crate::fail::Failure;
use crate::ifspec::IfSpec;

/// How long. A host waits up to 1 s before it asks, a router up to 3.5 s before it answers (RFC 4861
/// §6.3.7, §6.2.6), and the address's own check begins within 1 s more (RFC 4862 §5.4.2).
const LONGEST: Duration = Duration::from_secs(6);
/// Events that wait to be looked at.
const MAX_EVENTS: usize = 64;

/// Waits until each interface that looks for addresses has one that a router's prefix made, or for
/// six seconds; those that have none then are told of on stderr.
///
/// # Errors
/// Too many look at the stack already.
pub fn settle(inet: &Inet, specs: &[IfSpec]) -> Result<(), Failure> {
    let indices = inet.engine().interfaces().filter(|iface| !iface.link.loopback);
    let wanted: Vec<IfIndex> = indices
        .zip(specs)
        .filter(|(_, spec)| spec.autoconf)
        .map(|(iface, _)| iface.index)
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let events = inet.subscribe(MAX_EVENTS);
    let events = events.map_err(|error| Failure::doing("cannot wait for addresses", &error))?;
    let deadline = Instant::now() + LONGEST;
    loop {
        let all = inet.interfaces();
        let without: Vec<&InterfaceEntry> =
            all.iter().filter(|entry| wanted.contains(&entry.index) && !has_found(entry)).collect();
        if without.is_empty() {
            // The routes that came with the address are set under the same lock.
            inet.engine().with_shard(0, |_, _| ());
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || events.next_within(left).is_none() {
            for entry in without {
                let why = format!(
                    "no router told {} of a prefix: it has no address but its link-local one",
                    entry.name
                );
                Failure::new(why).report();
            }
            return Ok(());
        }
    }
}

/// Has it an address of a router's prefix, which may be used?
fn has_found(entry: &InterfaceEntry) -> bool {
    entry.addresses.iter().any(|address| {
        matches!(address.origin, AddressOrigin::Autonomous | AddressOrigin::Temporary)
            && !matches!(address.state, AddressState::Tentative | AddressState::Duplicate)
    })
}
