//! Connections by number, with a generation so that a stale id finds nothing.

use crate::tcp::tcb::Connection;

/// Names a connection of a [`Table`](super::Table); stale once it is gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId {
    /// Its slot.
    pub index: u32,
    /// Which use of the slot.
    pub generation: u32,
}

impl ConnId {
    /// Both in one number.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The id of which [`to_bits`](Self::to_bits) made the number.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        ConnId { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    max: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    conn: Option<Box<Connection>>,
}

impl Slots {
    /// Room for `max` connections, taken as they come.
    pub(super) fn new(max: usize) -> Self {
        Slots { slots: Vec::new(), free: Vec::new(), max: max.min(1 << 30) }
    }

    /// Places that were ever used.
    pub(super) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, conn: Connection) -> ConnId {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot { generation: 0, conn: None });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.conn = Some(Box::new(conn));
        ConnId { index, generation: slot.generation }
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(index as usize)?;
        let conn = slot.conn.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(conn)
    }

    pub(super) fn at(&self, index: u32) -> Option<&Connection> {
        self.slots.get(index as usize)?.conn.as_deref()
    }

    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut Connection> {
        self.slots.get_mut(index as usize)?.conn.as_deref_mut()
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        let slot = self.slots.get(id.index as usize)?;
        slot.conn.as_deref().filter(|_| slot.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.index as usize)?;
        slot.conn.as_deref_mut().filter(|_| slot.generation == id.generation)
    }

    /// The id of who is in a slot now.
    pub(super) fn id(&self, index: u32) -> ConnId {
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        ConnId { index, generation }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = ConnId { index: index as u32, generation: slot.generation };
            Some((id, slot.conn.as_deref()?))
        })
    }
}
