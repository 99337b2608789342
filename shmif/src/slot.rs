//! Slots: who is a member, and what it wants to receive.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use libnet::ethernet::MacAddr;
use libnet::link::RxFilter;

use crate::bus::Bus;
use crate::layout::slot;
use crate::pos::{Epoch, Pos, split};

/// What a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Never used, or left in order.
    Free,
    /// Its owner is not ready yet.
    Claiming,
    /// A member, as long as its lock is held.
    Live,
    /// A member that was found dead.
    Gone,
}

impl State {
    fn number(self) -> u64 {
        match self {
            State::Free => 0,
            State::Claiming => 1,
            State::Live => 2,
            State::Gone => 3,
        }
    }

    fn with(self, epoch: Epoch) -> u64 {
        epoch.with(Pos::START.plus(self.number()))
    }

    /// Anything unknown is taken for free: the lock says whether it really is.
    fn from_word(word: u64) -> (Epoch, State) {
        let (epoch, number) = split(word);
        let state = match number.since(Pos::START) {
            1 => State::Claiming,
            2 => State::Live,
            3 => State::Gone,
            _ => State::Free,
        };
        (epoch, state)
    }
}

/// Which frames a member wants beside those to its own address and to all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) promiscuous: bool,
    pub(crate) all_multicast: bool,
    pub(crate) unknown_unicast: bool,
    /// Bit [`group_bit`] of each group address that it listens to.
    pub(crate) groups: u64,
}

impl Filter {
    pub(crate) fn from_rx(rx: &RxFilter) -> Self {
        Filter {
            promiscuous: rx.promiscuous,
            all_multicast: rx.all_multicast,
            unknown_unicast: rx.unknown_unicast,
            groups: rx.groups.iter().fold(0, |bits, mac| bits | group_bit(*mac)),
        }
    }

    /// Wants frames to this group address. May say yes to one too many, never to one too few.
    pub(crate) fn wants_group(&self, group: MacAddr) -> bool {
        group.is_broadcast()
            || self.all_multicast
            || self.promiscuous
            || self.groups & group_bit(group) != 0
    }

    /// Wants frames to addresses that nobody owns.
    pub(crate) fn wants_unknown(&self) -> bool {
        self.unknown_unicast || self.promiscuous
    }

    pub(crate) fn flags(&self) -> u64 {
        u64::from(self.promiscuous)
            | u64::from(self.all_multicast) << 1
            | u64::from(self.unknown_unicast) << 2
    }

    pub(crate) fn from_words(flags: u64, groups: u64) -> Self {
        Filter {
            promiscuous: flags & 1 != 0,
            all_multicast: flags & 2 != 0,
            unknown_unicast: flags & 4 != 0,
            groups,
        }
    }
}

/// One of 64 bits for a group address: the top bits of a multiplicative hash.
pub(crate) fn group_bit(group: MacAddr) -> u64 {
    1 << (group.to_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// What a member says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) mac: MacAddr,
    pub(crate) filter: Filter,
    pub(crate) pid: u32,
    pub(crate) mtu: u32,
    pub(crate) since_ns: u64,
    pub(crate) name: Name,
}

impl Identity {
    fn words(&self) -> [(usize, u64); 11] {
        let n = self.name.words();
        [
            (slot::MAC, self.mac.to_u64()),
            (slot::FILTER, self.filter.flags()),
            (slot::GROUPS, self.filter.groups),
            (slot::PID_MTU, u64::from(self.pid) | u64::from(self.mtu) << 32),
            (slot::SINCE_NS, self.since_ns),
            (slot::NAME, n[0]),
            (slot::NAME + 8, n[1]),
            (slot::NAME + 16, n[2]),
            (slot::NAME + 24, n[3]),
            (slot::NAME + 32, n[4]),
            (slot::NAME + 40, n[5]),
        ]
    }

    /// Writes what differs; was there anything?
    pub(crate) fn write(&self, bus: &Bus, slot: u16) -> bool {
        let mut changed = false;
        for (offset, value) in self.words() {
            let word = bus.slot_word(slot, offset);
            if word.load(Relaxed) != value {
                word.store(value, Relaxed);
                changed = true;
            }
        }
        changed
    }

    fn read(bus: &Bus, at: u16) -> Self {
        let word = |offset| bus.slot_word(at, offset).load(Relaxed);
        let pid_mtu = word(slot::PID_MTU);
        Identity {
            mac: MacAddr::from_u64(word(slot::MAC)),
            filter: Filter::from_words(word(slot::FILTER), word(slot::GROUPS)),
            pid: pid_mtu as u32,
            mtu: (pid_mtu >> 32) as u32,
            since_ns: word(slot::SINCE_NS),
            name: Name::from_words(std::array::from_fn(|i| word(slot::NAME + 8 * i))),
        }
    }
}

/// A member's name: up to 48 bytes of UTF-8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name([u8; slot::NAME_BYTES]);

impl Name {
    /// As much of `text` as fits.
    pub(crate) fn new(text: &str) -> Self {
        let mut end = text.len().min(slot::NAME_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; slot::NAME_BYTES];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Name(bytes)
    }

    fn words(&self) -> [u64; 6] {
        std::array::from_fn(|i| crate::file::u64_at(&self.0, 8 * i))
    }

    fn from_words(words: [u64; 6]) -> Self {
        let mut bytes = [0; slot::NAME_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        Name(bytes)
    }

    /// For people: without control characters, whatever is in the file.
    pub(crate) fn to_text(self) -> String {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..end]);
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

/// A slot as it was at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SlotView {
    pub(crate) state: State,
    pub(crate) epoch: Epoch,
    pub(crate) identity: Identity,
}

impl SlotView {
    /// Reads a slot; if its owner changes all the while, as somebody claiming it.
    pub(crate) fn read(bus: &Bus, slot: u16) -> Self {
        for _ in 0..8 {
            let before = bus.slot_word(slot, slot::STATE).load(Relaxed);
            fence(Acquire);
            let identity = Identity::read(bus, slot);
            fence(Acquire);
            if bus.slot_word(slot, slot::STATE).load(Relaxed) == before {
                let (epoch, state) = State::from_word(before);
                return SlotView { state, epoch, identity };
            }
        }
        let identity = Identity::read(bus, slot);
        SlotView { state: State::Claiming, epoch: Epoch::NONE, identity }
    }
}

/// The state word alone.
pub(crate) fn state(bus: &Bus, slot: u16) -> (Epoch, State) {
    State::from_word(bus.slot_word(slot, slot::STATE).load(Acquire))
}

/// Sets the state of a slot whose lock we hold, and tells everyone.
pub(crate) fn set_state(bus: &Bus, slot: u16, epoch: Epoch, state: State) {
    bus.slot_word(slot, slot::STATE).store(state.with(epoch), Release);
    fence(SeqCst);
    bus.next_generation();
}

/// Marks a member as gone that was found dead, unless somebody has claimed the slot since.
pub(crate) fn mark_gone(bus: &Bus, slot: u16, epoch: Epoch, state: State) {
    let word = bus.slot_word(slot, slot::STATE);
    let (from, to) = (state.with(epoch), State::Gone.with(epoch));
    if word.compare_exchange(from, to, AcqRel, Relaxed).is_ok() {
        bus.next_generation();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        let name = Name::new(&"ä".repeat(40));
        assert_eq!(name.to_text(), "ä".repeat(24));
        assert_eq!(Name::from_words(name.words()), name);
        assert_eq!(Name::new(&format!("x{}", "ä".repeat(40))).to_text().len(), 47);
        assert_eq!(Name::new("a\u{1b}[31m").to_text(), "a\u{fffd}[31m");
    }

    #[test]
    fn a_filter_lets_its_groups_pass_and_all_see_broadcast() {
        let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
        let mut rx = RxFilter::default();
        assert!(!Filter::from_rx(&rx).wants_group(group));
        assert!(Filter::from_rx(&rx).wants_group(MacAddr::BROADCAST));
        rx.groups.push(group);
        let filter = Filter::from_rx(&rx);
        assert!(filter.wants_group(group));
        assert_eq!(Filter::from_words(filter.flags(), filter.groups), filter);
    }
}
