//! A descriptor of the host that is ready when a socket of ours is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use libnet::Ready;
use nix::sys::stat::fstat;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair, sockopt,
};

use crate::table::lock;

/// A pair of connected sockets of the host, one of which is the program's:
///
/// ```text
///   the program's ──┬── writes here, our filler, make it unwritable ──► ours
///     `mirror` ─────┘ ◄── a byte here makes it readable ──────────────
/// ```
///
/// `mirror` is the same end once more: it can be drained and filled whatever the program has done with
/// its descriptor.
pub(crate) struct Gate {
    mirror: OwnedFd,
    ours: OwnedFd,
    /// Guards the order of changes; rank: before the stack's locks, which are taken under it.
    shown: Mutex<Shown>,
    /// How often readiness may have changed.
    changes: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown {
    readable: bool,
    writable: bool,
}

/// More than half of the smallest send buffer of the host: with it the end is no longer writable.
const FILLER: [u8; 2_048] = [0; 2_048];

impl Gate {
    /// A gate that is neither readable nor writable, and the program's end of it.
    pub(crate) fn new(flags: SocketFlags) -> io::Result<(Gate, OwnedFd)> {
        let (family, ty) = (AddressFamily::UNIX, SocketType::STREAM);
        // The program's is first made, and so has the lowest number that is free.
        let (end, ours) = socketpair(family, ty, SocketFlags::CLOEXEC, None)?;
        let mirror = rustix::io::fcntl_dupfd_cloexec(&end, 0)?;
        sockopt::set_socket_send_buffer_size(&mirror, 1)?;
        if !flags.contains(SocketFlags::CLOEXEC) {
            rustix::io::fcntl_setfd(&end, rustix::io::FdFlags::empty())?;
        }
        let shown = Mutex::new(Shown { readable: false, writable: true });
        let gate = Gate { mirror, ours, shown, changes: AtomicU64::new(0) };
        gate.show(|| Ready::NONE);
        Ok((gate, end))
    }

    /// Makes it ready for what `ready` says, by when this returns.
    pub(crate) fn show(&self, ready: impl Fn() -> Ready) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.catch_up(&ready, lock(&self.shown));
    }

    /// The same out of a waker, which may be fired in the middle of what asks for the readiness: whoever is
    /// at it looks again.
    pub(crate) fn show_soon(&self, ready: impl Fn() -> Ready) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        if let Ok(shown) = self.shown.try_lock() {
            self.catch_up(&ready, shown);
        }
    }

    fn catch_up<'a>(&'a self, ready: &impl Fn() -> Ready, mut shown: MutexGuard<'a, Shown>) {
        loop {
            let seen = self.changes.load(Ordering::SeqCst);
            self.set(&mut shown, ready());
            drop(shown);
            if self.changes.load(Ordering::SeqCst) == seen {
                return;
            }
            // Told of while we were at it.
            match self.shown.try_lock() {
                Ok(again) => shown = again,
                Err(_) => return,
            }
        }
    }

    fn set(&self, shown: &mut Shown, ready: Ready) {
        let either = Ready::ERROR | Ready::HANGUP;
        let wanted = Shown {
            readable: ready.intersects(Ready::READABLE | Ready::READ_CLOSED | either),
            writable: ready.intersects(Ready::WRITABLE | either),
        };
        // What fails here has failed because the program made something of its end that we did not;
        // the next change tries again.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match (shown.readable, wanted.readable) {
            (false, true) => drop(send(&self.ours, &[0], flags)),
            (true, false) => drain(&self.mirror),
            _ => {}
        }
        match (shown.writable, wanted.writable) {
            (true, false) => drop(send(&self.mirror, &FILLER, flags)),
            (false, true) => drain(&self.ours),
            _ => {}
        }
        *shown = wanted;
    }

    /// Is `fd` still the program's end, or one like it? It may have closed it, and opened another file.
    pub(crate) fn is_end(&self, fd: impl AsFd) -> bool {
        match (fstat(&self.mirror), fstat(fd)) {
            (Ok(own), Ok(other)) => (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino),
            _ => false,
        }
    }
}

fn drain(fd: &OwnedFd) {
    let mut buf = [0; FILLER.len()];
    while matches!(recv(fd, &mut buf, RecvFlags::DONTWAIT), Ok((n, _)) if n > 0) {}
}
