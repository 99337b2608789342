//! Wakers on their way from a shard to whoever fires them.

use std::task::Waker;

use smallvec::SmallVec;

/// Wakers on their way from a shard to whoever fires them: mostly one or two, for which nothing is
/// allocated.
#[derive(Default)]
pub struct Wakes(SmallVec<[Waker; 4]>);

impl Wakes {
    /// Is nobody to be woken?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fires all of them.
    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl Extend<Waker> for Wakes {
    fn extend<I: IntoIterator<Item = Waker>>(&mut self, wakers: I) {
        self.0.extend(wakers);
    }
}
