//! Who is on a bus, for people.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use libnet::ethernet::MacAddr;
use libnet::time::Instant;

use crate::bus::Bus;
use crate::error::AttachError;
use crate::file::{Access, BusFile};
use crate::layout::{control, slot};
use crate::lock::is_held;
use crate::slot::{SlotView, State};

/// How a member does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MemberState {
    /// It runs.
    Alive,
    /// It lives, but somebody gave up waiting for it and it has not moved since.
    Stalled,
    /// It died without leaving; its slot will be used again.
    Gone,
}

/// A member of a bus, as it was at one moment. Everything here is what the file says: another
/// member may have written anything.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Its slot, from 0.
    pub slot: u16,
    /// Its name, without control characters.
    pub name: String,
    /// Its address.
    pub mac: MacAddr,
    /// Its process, in its own pid namespace.
    pub pid: u32,
    /// How it does.
    pub state: MemberState,
    /// The largest IP packet that it takes, in bytes.
    pub mtu: u32,
    /// When it joined, on CLOCK_MONOTONIC of the boot it joined in.
    pub since: Instant,
    /// Sees frames to others.
    pub promiscuous: bool,
    /// Frames that it sent.
    pub tx_frames: u64,
    /// Bytes of them, Ethernet headers included.
    pub tx_bytes: u64,
    /// Times that it had to wait for room.
    pub tx_waits: u64,
    /// Frames that it was asked to send and never could.
    pub tx_refused: u64,
    /// Frames that it received.
    pub rx_frames: u64,
    /// Bytes of them, Ethernet headers included.
    pub rx_bytes: u64,
    /// Frames that were overwritten before it took them.
    pub rx_missed: u64,
    /// Frames and places in rings that could not be what they said.
    pub rx_malformed: u64,
}

/// The members of the bus at `path`, by slot: those that live, and those that died without
/// leaving and whose slots nobody has taken since. Needs to read the file only.
///
/// # Errors
/// As [`Shmif::attach`](crate::Shmif::attach) gives them.
pub fn members(path: impl AsRef<Path>) -> Result<Vec<MemberInfo>, AttachError> {
    let file = BusFile::open(path.as_ref(), Access::Observer)?;
    let bus = Bus::map(file, Access::Observer)?;
    let mut found = Vec::new();
    for slot in 0..bus.used_slots() {
        if let Some(member) = member(&bus, slot)? {
            found.push(member);
        }
    }
    Ok(found)
}

fn member(bus: &Bus, at: u16) -> Result<Option<MemberInfo>, AttachError> {
    let view = SlotView::read(bus, at);
    if !matches!(view.state, State::Live | State::Gone) {
        return Ok(None);
    }
    let held = is_held(&bus.file.file, bus.geometry().slot(at) + slot::STATE)
        .map_err(|error| AttachError::from_io(&bus.file.path, error))?;
    let word = |offset| bus.control(at, offset).load(Relaxed);
    let state = match (held, word(control::STALLED_NS)) {
        (false, _) => MemberState::Gone,
        (true, 0) => MemberState::Alive,
        (true, _) => MemberState::Stalled,
    };
    Ok(Some(MemberInfo {
        slot: at,
        name: view.identity.name.to_text(),
        mac: view.identity.mac,
        pid: view.identity.pid,
        state,
        mtu: view.identity.mtu,
        since: Instant::from_nanos(view.identity.since_ns),
        promiscuous: view.identity.filter.promiscuous,
        tx_frames: word(control::TX_FRAMES),
        tx_bytes: word(control::TX_BYTES),
        tx_waits: word(control::TX_WAITS),
        tx_refused: word(control::TX_REFUSED),
        rx_frames: word(control::RX_FRAMES),
        rx_bytes: word(control::RX_BYTES),
        rx_missed: word(control::RX_MISSED),
        rx_malformed: word(control::RX_MALFORMED),
    }))
}
