//! From a segment's four-tuple to its connection, in one probe.

use hashbrown::HashTable;

/// Where a four-tuple leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// A slot of the table.
    Slot(u32),
    /// An entry of the TIME-WAITs.
    TimeWait(u32),
    /// A SYN that was answered.
    Request(u32),
}

/// A hash table of places; who owns the tuples compares them.
#[derive(Debug, Default)]
pub(super) struct Index {
    table: HashTable<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    place: u32,
}

impl Index {
    /// The place with this hash for which `is` holds.
    pub(super) fn find(&self, hash: u64, is: impl Fn(Place) -> bool) -> Option<Place> {
        let short = shorten(hash);
        self.table
            .find(spread(short), |entry| entry.hash == short && is(entry.place()))
            .map(|entry| entry.place())
    }

    /// Adds a place, which is not there yet.
    pub(super) fn insert(&mut self, hash: u64, place: Place) {
        let entry = Entry { hash: shorten(hash), place: encode(place) };
        self.table.insert_unique(spread(entry.hash), entry, |entry| spread(entry.hash));
    }

    /// Removes a place.
    pub(super) fn remove(&mut self, hash: u64, place: Place) {
        let (short, code) = (shorten(hash), encode(place));
        let same = |entry: &Entry| entry.hash == short && entry.place == code;
        if let Ok(found) = self.table.find_entry(spread(short), same) {
            found.remove();
        }
    }

    /// Places held.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

impl Entry {
    fn place(self) -> Place {
        let index = self.place & !KIND_BITS;
        match self.place & KIND_BITS {
            TIME_WAIT => Place::TimeWait(index),
            REQUEST => Place::Request(index),
            _ => Place::Slot(index),
        }
    }
}

fn encode(place: Place) -> u32 {
    match place {
        Place::Slot(index) => index,
        Place::TimeWait(index) => index | TIME_WAIT,
        Place::Request(index) => index | REQUEST,
    }
}

/// The upper half: the lower one has chosen the shard.
fn shorten(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The table takes its buckets from the low bits and its tags from the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

const KIND_BITS: u32 = 3 << 30;
const TIME_WAIT: u32 = 1 << 31;
const REQUEST: u32 = 1 << 30;
