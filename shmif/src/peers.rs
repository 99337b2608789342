//! What a sender knows of the other members: who has which address, and who wants what.

use std::collections::HashMap;

use libnet::ethernet::MacAddr;

use crate::bus::Bus;
use crate::pos::Epoch;
use crate::slot::{Filter, SlotView, State};

/// The live members, as of one generation of the bus.
#[derive(Default)]
pub(crate) struct Peers {
    generation: Option<u64>,
    by_mac: HashMap<MacAddr, u16>,
    /// The last address that was looked up; most frames go where the last one went.
    last: Option<(MacAddr, Option<u16>)>,
    /// By slot; [`Epoch::NONE`] for those that are not live.
    epochs: Vec<Epoch>,
    /// Everyone but us, with what they want.
    pub(crate) live: Vec<(u16, Filter)>,
    /// Those who want unicast frames to others.
    pub(crate) promiscuous: Vec<u16>,
}

impl Peers {
    /// Reads the slots again if any has changed; `own` is left out.
    pub(crate) fn refresh(&mut self, bus: &Bus, own: u16) {
        let generation = bus.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        self.by_mac.clear();
        self.last = None;
        self.live.clear();
        self.promiscuous.clear();
        let used = bus.used_slots();
        self.epochs.clear();
        self.epochs.resize(usize::from(used), Epoch::NONE);
        for slot in (0..used).filter(|slot| *slot != own) {
            let view = SlotView::read(bus, slot);
            if view.state == State::Live && view.epoch != Epoch::NONE {
                self.add(slot, &view);
            }
        }
    }

    fn add(&mut self, slot: u16, view: &SlotView) {
        self.epochs[usize::from(slot)] = view.epoch;
        self.by_mac.insert(view.identity.mac, slot);
        self.live.push((slot, view.identity.filter));
        if view.identity.filter.promiscuous {
            self.promiscuous.push(slot);
        }
    }

    /// Whose address it is.
    pub(crate) fn owner(&mut self, mac: MacAddr) -> Option<u16> {
        if let Some((last, owner)) = self.last
            && last == mac
        {
            return owner;
        }
        let owner = self.by_mac.get(&mac).copied();
        self.last = Some((mac, owner));
        owner
    }

    /// The epoch of a live member.
    pub(crate) fn epoch(&self, slot: u16) -> Option<Epoch> {
        self.epochs.get(usize::from(slot)).copied().filter(|epoch| *epoch != Epoch::NONE)
    }
}
