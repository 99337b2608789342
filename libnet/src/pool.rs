//! Buffers for large frames and stretches of a stream, used again as soon as the last reference to one is dropped.
//!
//! Without it each super-frame is 64 KiB of fresh heap: an allocator that gives the top of its
//! heap back to the kernel, as glibc's does, then pays 17 page faults per frame, ten times the
//! cost of the copy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::link::MAX_FRAME_BYTES;
use crate::sync::lock;

/// What a link may have in front of a frame in its buffer, bytes: virtio-net's header takes 12.
const LINK_HEADER_BYTES: usize = 16;

/// Frames up to this size get a buffer of their own, to the byte.
const SMALL_BYTES: usize = 16 * 1024;
/// Capacity of the pooled buffers: none is more than half empty.
const CLASSES: [usize; 2] = [32 * 1024, MAX_FRAME_BYTES + LINK_HEADER_BYTES];
/// Free buffers kept per class: 6 MiB in all, what a fast stream has under way.
const KEPT: usize = 64;

/// Lends buffers. The last used is lent first, because it is still in the cache.
#[derive(Debug, Default)]
pub struct Pool {
    shelf: Arc<Shelf>,
    used: AtomicBool,
}

/// A buffer that is being filled; it goes back to its pool when it is dropped.
#[derive(Debug, Default)]
pub struct Lease {
    bytes: Vec<u8>,
    /// Bytes that it was asked for.
    limit: usize,
    shelf: Option<Arc<Shelf>>,
}

/// Free buffers by class. Rank: taken alone; a buffer may come back on any thread.
#[derive(Debug, Default)]
struct Shelf {
    free: Mutex<[Vec<Vec<u8>>; CLASSES.len()]>,
}

impl Shelf {
    fn put(&self, mut bytes: Vec<u8>) {
        let Some(class) = CLASSES.iter().position(|c| *c == bytes.capacity()) else { return };
        bytes.clear();
        let mut free = lock(&self.free);
        if free[class].len() < KEPT {
            free[class].push(bytes);
        }
    }
}

impl Pool {
    /// An empty buffer with room for `len` bytes.
    pub fn take(&self, len: usize) -> Vec<u8> {
        let Some(class) = class_of(len) else { return Vec::with_capacity(len) };
        self.used.store(true, Ordering::Relaxed);
        let free = lock(&self.shelf.free)[class].pop();
        free.unwrap_or_else(|| Vec::with_capacity(CLASSES[class]))
    }

    /// The same, to be filled bit by bit.
    pub fn lend(&self, len: usize) -> Lease {
        Lease { bytes: self.take(len), limit: len, shelf: Some(Arc::clone(&self.shelf)) }
    }

    /// Takes back a buffer that was not needed after all.
    pub fn give_back(&self, bytes: Vec<u8>) {
        self.shelf.put(bytes);
    }

    /// Shares what was written into a buffer; it comes back when nobody needs it any more.
    pub fn share(&self, bytes: Vec<u8>) -> Bytes {
        share(bytes, &self.shelf)
    }

    /// Frees all that nobody uses, if none was needed since the last call.
    pub fn shrink(&self) {
        if !self.used.swap(false, Ordering::Relaxed) {
            *lock(&self.shelf.free) = Default::default();
        }
    }
}

impl Lease {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What it holds.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that it has.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Holds nothing from now on, and can be filled again.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Holds none?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.limit - self.bytes.len()
    }

    /// Appends the front of `bytes`, as much as fits; how much.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..n]);
        n
    }

    /// Takes what it holds, to be shared. One that is less than half full is copied, and can be
    /// filled again: what is shared keeps no more than twice its size.
    pub fn share(&mut self) -> Bytes {
        let full = self.len() * 2 >= self.bytes.capacity();
        let Some(shelf) = self.shelf.as_ref().filter(|_| full) else {
            let copy = Bytes::copy_from_slice(&self.bytes);
            self.bytes.clear();
            return copy;
        };
        let bytes = share(std::mem::take(&mut self.bytes), shelf);
        *self = Lease::default();
        bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(shelf) = &self.shelf {
            shelf.put(std::mem::take(&mut self.bytes));
        }
    }
}

fn share(bytes: Vec<u8>, shelf: &Arc<Shelf>) -> Bytes {
    match CLASSES.iter().position(|capacity| *capacity == bytes.capacity()) {
        None => Bytes::from(bytes),
        Some(_) => Bytes::from_owner(Lent { bytes, shelf: Arc::clone(shelf) }),
    }
}

/// What [`Pool::take`] gives for a buffer of `len` bytes, bytes.
pub fn capacity_for(len: usize) -> usize {
    class_of(len).map_or(len, |class| CLASSES[class])
}

fn class_of(len: usize) -> Option<usize> {
    if len <= SMALL_BYTES { None } else { CLASSES.iter().position(|capacity| len <= *capacity) }
}

struct Lent {
    bytes: Vec<u8>,
    shelf: Arc<Shelf>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.shelf.put(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pool: &Pool) -> Vec<usize> {
        lock(&pool.shelf.free).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_large_buffer_comes_back_when_its_last_part_is_dropped() {
        let pool = Pool::default();
        let mut buffer = pool.take(40_000);
        buffer.extend_from_slice(&[7; 40_000]);
        let place = buffer.as_ptr();
        let shared = pool.share(buffer);
        let part = shared.slice(100..200);
        drop(shared);
        assert_eq!((&part[..], kept(&pool)), (&[7; 100][..], vec![0, 0]));
        drop(part);
        assert_eq!(kept(&pool), [0, 1]);
        let again = pool.take(65_549);
        assert_eq!(again.as_ptr(), place);
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_when_it_is_not_used() {
        let pool = Pool::default();
        let lent: Vec<_> = (0..100).map(|_| pool.take(20_000)).collect();
        let lent: Vec<_> = lent.into_iter().map(|buffer| pool.share(buffer)).collect();
        drop(lent);
        assert_eq!(kept(&pool), [KEPT, 0]);
        pool.shrink();
        assert_eq!(kept(&pool), [KEPT, 0], "it was used");
        pool.shrink();
        assert_eq!(kept(&pool), [0, 0]);
    }

    #[test]
    fn a_lease_goes_back_however_it_ends() {
        let pool = Pool::default();
        let mut lease = pool.lend(40_000);
        assert_eq!(lease.fill(&[1; 50_000]), 40_000);
        assert_eq!(lease.room(), 0);
        let whole = lease.share();
        assert_eq!((whole.len(), kept(&pool)), (40_000, vec![0, 0]));
        drop(whole);
        assert_eq!(kept(&pool), [0, 1]);
        let mut lease = pool.lend(40_000);
        lease.fill(&[2; 100]);
        let little = lease.share();
        assert_eq!((&little[..], lease.room()), (&[2; 100][..], 40_000), "it was copied");
        drop(lease);
        assert_eq!(kept(&pool), [0, 1]);
        assert_eq!(Lease::default().room(), 0);
    }

    #[test]
    fn a_small_frame_gets_what_it_needs() {
        let pool = Pool::default();
        assert_eq!(pool.take(1514).capacity(), 1514);
        drop(pool.share(vec![0; 60]));
        assert_eq!(kept(&pool), [0, 0]);
    }
}
