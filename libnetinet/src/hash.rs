//! Keyed hashing, so that nobody outside can choose what collides; the key comes with the seed.

use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// A hash map with a key of its own.
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, Key>;

/// Makes hashers with one secret key.
#[derive(Clone, Copy)]
pub(crate) struct Key(u64, u64);

impl Key {
    /// The key of these two numbers.
    pub(crate) const fn new(a: u64, b: u64) -> Self {
        Key(a, b)
    }

    /// One number for a value.
    pub(crate) fn hash(self, value: impl std::hash::Hash) -> u64 {
        self.hash_one(value)
    }
}

impl BuildHasher for Key {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}
