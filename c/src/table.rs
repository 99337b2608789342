//! The descriptors of the process.

use std::collections::HashMap;
use std::ffi::c_int;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use nix::libc;

use crate::descriptor::Descriptor;
use crate::error::errno;
use crate::machine::Machine;
use crate::raw;

/// By number, as the program knows them. A leaf: sockets are dropped outside of it.
static TABLE: LazyLock<RwLock<HashMap<c_int, Arc<Descriptor>>>> = LazyLock::new(RwLock::default);

/// A panic while a lock is held ends the process: it cannot pass through C.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The socket of a descriptor.
///
/// # Errors
/// `EBADF`.
pub(crate) fn get(fd: c_int) -> io::Result<Arc<Descriptor>> {
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    table.get(&fd).cloned().ok_or_else(|| errno(libc::EBADF))
}

/// Calls on a descriptor's socket; afterwards its descriptor shows what that is ready for.
///
/// # Errors
/// `EBADF`; `EDEADLK` out of a callback; those of the call.
pub(crate) fn with<T>(fd: c_int, call: impl FnOnce(&Descriptor) -> io::Result<T>) -> io::Result<T> {
    let descriptor = get(fd)?;
    let _call = descriptor.machine.enter()?;
    let done = call(&descriptor);
    descriptor.refresh();
    done
}

/// Takes a socket in under the number that the host gave. If there is another one, the program has
/// closed it behind our back.
pub(crate) fn insert(fd: c_int, descriptor: Arc<Descriptor>) {
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    let stray = table.insert(fd, descriptor);
    drop(table);
    drop(stray);
}

/// Closes a descriptor.
///
/// # Errors
/// `EBADF`; `EDEADLK` out of a callback.
pub(crate) fn close(fd: c_int) -> io::Result<()> {
    let machine = Arc::clone(&get(fd)?.machine);
    let _call = machine.enter()?;
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    let descriptor = table.remove(&fd).ok_or_else(|| errno(libc::EBADF))?;
    // Under the lock: the host may give the number to another thread as soon as it is free.
    raw::close_end(fd, &descriptor.gate);
    drop(table);
    drop(descriptor);
    Ok(())
}

/// Closes every descriptor of a stack.
pub(crate) fn close_all_of(machine: &Arc<Machine>) {
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    let gone: Vec<_> =
        table.extract_if(|_, descriptor| Arc::ptr_eq(&descriptor.machine, machine)).collect();
    for (fd, descriptor) in &gone {
        raw::close_end(*fd, &descriptor.gate);
    }
    drop(table);
    drop(gone);
}
