//! How this crate takes its locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic while a lock is held is a bug that tests find; until then the others go on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
