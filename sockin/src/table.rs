//! The table of sockets: bounded, and a stale id is an error.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use libnet::errno;
use libnet::socket::{Family, SockType, SocketId};
use libnet::wake::WakeSet;

/// What a [`Sockin`](crate::Sockin) opened and refused since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SockinCounters {
    /// Sockets opened, accepted ones among them.
    pub opened: u64,
    /// Sockets refused because the table was full.
    pub refused: u64,
}

/// A socket: its descriptor, and who waits for it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) fd: OwnedFd,
    pub(crate) family: Family,
    pub(crate) ty: SockType,
    pub(crate) wakers: WakeSet,
    /// Known to the epoll descriptor.
    pub(crate) watched: AtomicBool,
}

impl Entry {
    pub(crate) fn new(fd: OwnedFd, family: Family, ty: SockType) -> Self {
        Entry { fd, family, ty, wakers: WakeSet::new(), watched: AtomicBool::new(false) }
    }
}

/// All sockets of a `Sockin`. Its lock guards the slots, is a leaf, and is never held over a call
/// to the host.
#[derive(Debug)]
pub(crate) struct Table {
    slots: RwLock<Slots>,
    max_sockets: u32,
    opened: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Option<Arc<Entry>>,
}

impl Table {
    pub(crate) fn new(max_sockets: u32) -> Self {
        Table {
            slots: RwLock::default(),
            max_sockets,
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// `EMFILE` when no more fit, so that nothing is taken from the host in vain.
    pub(crate) fn check_room(&self) -> io::Result<()> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if slots.has_room(self.max_sockets) { Ok(()) } else { Err(self.refuse()) }
    }

    pub(crate) fn insert(&self, entry: Entry) -> io::Result<SocketId> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if !slots.has_room(self.max_sockets) {
            return Err(self.refuse());
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let entry = Some(Arc::new(entry));
        if let Some(index) = slots.free.pop() {
            let slot = &mut slots.slots[index as usize];
            slot.entry = entry;
            return Ok(SocketId { index, generation: slot.generation });
        }
        let index = u32::try_from(slots.slots.len()).map_err(|_| errno::too_many())?;
        slots.slots.push(Slot { generation: 0, entry });
        Ok(SocketId { index, generation: 0 })
    }

    pub(crate) fn get(&self, id: SocketId) -> io::Result<Arc<Entry>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.slots.get(id.index as usize);
        let current = slot.filter(|slot| slot.generation == id.generation);
        current.and_then(|slot| slot.entry.clone()).ok_or_else(errno::bad_descriptor)
    }

    pub(crate) fn remove(&self, id: SocketId) -> Option<Arc<Entry>> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slots.free.push(id.index);
        Some(entry)
    }

    pub(crate) fn counters(&self) -> SockinCounters {
        SockinCounters {
            opened: self.opened.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn refuse(&self) -> io::Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        errno::too_many()
    }
}

impl Slots {
    fn has_room(&self, max_sockets: u32) -> bool {
        !self.free.is_empty() || self.slots.len() < max_sockets as usize
    }
}
