//! Joining: finding a slot, and making sure that nobody else has our address.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::fence;
use std::time::Duration;

use crate::bus::Bus;
use crate::error::AttachError;
use crate::layout::control;
use crate::lock::{SlotLock, is_held};
use crate::pos::Epoch;
use crate::slot::{Identity, SlotView, State, mark_gone, set_state, state};

/// A slot of our own.
pub(crate) struct Claim {
    pub(crate) slot: u16,
    pub(crate) epoch: Epoch,
    pub(crate) lock: SlotLock,
}

/// Claims a slot for `identity`; it is not live yet.
///
/// Two who claim at the same time with one address both see each other and both step back; each
/// tries again after a different time, so that one of them gets it.
pub(crate) fn claim(bus: &Bus, identity: &Identity) -> Result<Claim, AttachError> {
    let mut attempt = 0;
    loop {
        let claim = take_slot(bus, identity)?;
        let rival = match prepare(bus, &claim, identity) {
            Ok(None) => return Ok(claim),
            Ok(Some(rival)) => rival,
            Err(error) => {
                set_state(bus, claim.slot, claim.epoch, State::Free);
                return Err(error);
            }
        };
        set_state(bus, claim.slot, claim.epoch, State::Free);
        if rival.state == State::Live || attempt == MAX_RETRIES {
            return Err(AttachError::MacInUse {
                path: bus.file.path.clone(),
                mac: identity.mac,
                name: rival.identity.name.to_text(),
                pid: rival.identity.pid,
            });
        }
        drop(claim);
        attempt += 1;
        std::thread::sleep(Duration::from_micros(500 + u64::from(random_u16()) / 16));
    }
}

const MAX_RETRIES: u32 = 16;
/// How many slots that look alive are probed before a fresh one is taken.
const PROBES: u16 = 8;

/// Locks a slot that has no living owner.
fn take_slot(bus: &Bus, identity: &Identity) -> Result<Claim, AttachError> {
    let failed = |error| AttachError::from_io(&bus.file.path, error);
    let lock = SlotLock::open_again(&bus.file).map_err(failed)?;
    let (used, all) = (bus.used_slots(), bus.geometry().max_members);
    let ours = |slot: &u16| SlotView::read(bus, *slot).identity.mac == identity.mac;
    let idle = |slot: &u16| matches!(state(bus, *slot).1, State::Free | State::Gone);
    let start = if used == 0 { 0 } else { random_u16() % used };
    let around = (0..used).map(|step| (start + step) % used);
    let order = (0..used)
        // Our own from before we were restarted, then what is known to be free, then a few that
        // may have died unseen, then a fresh one, then anything.
        .filter(ours)
        .chain((0..used).filter(idle))
        .chain(around.clone().take(usize::from(PROBES)))
        .chain(used..all)
        .chain(around);
    for slot in order {
        if lock.try_take(bus.geometry().slot(slot)).map_err(failed)? {
            let (before, _) = state(bus, slot);
            return Ok(Claim { slot, epoch: before.next(), lock });
        }
    }
    Err(AttachError::Full { path: bus.file.path.clone(), max_members: all })
}

/// Sets a locked slot up, and looks for another owner of the address.
fn prepare(bus: &Bus, claim: &Claim, identity: &Identity) -> Result<Option<SlotView>, AttachError> {
    let geometry = bus.geometry();
    bus.file.reserve(geometry.row(claim.slot))?;
    bus.file.reserve(geometry.ring(claim.slot))?;
    bus.note_used(claim.slot);
    set_state(bus, claim.slot, claim.epoch, State::Claiming);
    identity.write(bus, claim.slot);
    reset_control(bus, claim.slot);
    // Whoever claims the address too either sees us, or is seen by us.
    fence(SeqCst);
    for slot in (0..bus.used_slots()).filter(|slot| *slot != claim.slot) {
        let other = SlotView::read(bus, slot);
        let active = matches!(other.state, State::Live | State::Claiming);
        if !active || other.identity.mac != identity.mac {
            continue;
        }
        let held = is_held(&bus.file.file, geometry.slot(slot))
            .map_err(|error| AttachError::from_io(&bus.file.path, error))?;
        if held {
            return Ok(Some(other));
        }
        mark_gone(bus, slot, other.epoch, other.state);
    }
    Ok(None)
}

/// Bell and control block as a newcomer has them; the ring's marks stay, its head never goes back.
fn reset_control(bus: &Bus, slot: u16) {
    bus.bell(slot).disarm();
    for offset in [
        control::TX_FRAMES,
        control::TX_BYTES,
        control::TX_WAITS,
        control::TX_REFUSED,
        control::RX_FRAMES,
        control::RX_BYTES,
        control::RX_MISSED,
        control::RX_MALFORMED,
        control::STALLED_NS,
    ] {
        bus.control(slot, offset).store(0, Relaxed);
    }
    for index in 0..bus.geometry().pending_words() {
        bus.pending(slot, index).store(0, Relaxed);
    }
    bus.bell(slot).take_summary();
}

fn random_u16() -> u16 {
    let mut bytes = [0; 2];
    // Without entropy everyone backs off alike and gives up after a few tries: no harm done.
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}
