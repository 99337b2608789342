//! Waiting for several descriptors.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use libnet::Ready;
use libnet::driver::Signal;
use libnet::errno as number;
use nix::libc::{self, c_short, fd_set, nfds_t, pollfd, timeval};

use crate::descriptor::Descriptor;
use crate::error::value;
use crate::machine::Machine;
use crate::raw;
use crate::table;

/// poll(2), of descriptors made here alone: others get POLLNVAL. The host's own poll takes both, and
/// tells POLLIN and POLLOUT; this one tells POLLHUP, POLLRDHUP, POLLERR and POLLPRI, too, and waits by the
/// clock of the stack of the first descriptor, without any by that of the calling thread's.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_poll(
    fds: *mut pollfd,
    number_of: nfds_t,
    timeout_ms: c_int,
) -> c_int {
    let done = || {
        let number_of = usize::try_from(number_of).map_err(|_| number::invalid())?;
        if number_of > MOST_FDS {
            return Err(number::invalid());
        }
        // SAFETY: the caller's promise.
        let fds = unsafe { raw::array_mut(fds, number_of) }?;
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        poll(fds, timeout)
    };
    value(done())
}

/// select(2), of descriptors made here alone; as rump_sys_poll. What is left of the time-out is not written.
///
/// Errors: EBADF for a descriptor that was not made here, EINVAL for a negative or too large number, and for a
/// time-out that is none.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_sys_select(
    number_of: c_int,
    readable: *mut fd_set,
    writable: *mut fd_set,
    urgent: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let done = || {
        let number_of = usize::try_from(number_of).map_err(|_| number::invalid())?;
        if number_of > libc::FD_SETSIZE {
            return Err(number::invalid());
        }
        let timeout = match timeout.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => Some(duration_of(unsafe { raw::at(timeout) }?)?),
        };
        let [readable, writable, urgent] = [readable, writable, urgent].map(|set| {
            // SAFETY: the caller's promise. A set is bits in words, whatever it is called.
            unsafe { raw::array_mut(set.cast::<u64>(), if set.is_null() { 0 } else { SET_WORDS }) }
        });
        select(number_of, [readable?, writable?, urgent?], timeout)
    };
    value(done())
}

/// Words of an `fd_set`.
const SET_WORDS: usize = size_of::<fd_set>() / size_of::<u64>();

fn duration_of(time: &timeval) -> io::Result<Duration> {
    let seconds = u64::try_from(time.tv_sec).map_err(|_| number::invalid())?;
    let micros = u64::try_from(time.tv_usec).map_err(|_| number::invalid())?;
    Ok(Duration::from_secs(seconds) + Duration::from_micros(micros))
}

/// Waits as [`poll`] does; the sets hold what was found then, each in its own way.
fn select(number_of: usize, sets: [&mut [u64]; 3], timeout: Option<Duration>) -> io::Result<c_int> {
    let mut entries = Vec::new();
    for fd in 0..number_of {
        let asked = sets.iter().zip(SELECTED).filter(|(set, _)| has(set, fd));
        let events = asked.fold(0, |events, (_, (ask, _))| events | ask);
        if events != 0 {
            table::get(fd as c_int)?;
            entries.push(pollfd { fd: fd as c_int, events, revents: 0 });
        }
    }
    poll(&mut entries, timeout)?;
    let mut found = 0;
    for (set, (ask, answers)) in sets.into_iter().zip(SELECTED) {
        set.iter_mut().for_each(|word| *word = 0);
        for entry in entries.iter().filter(|entry| entry.events & ask != 0) {
            if entry.revents & answers != 0 {
                set[entry.fd as usize / 64] |= 1 << (entry.fd % 64);
                found += 1;
            }
        }
    }
    Ok(found)
}

/// What the three sets ask for, and what answers that. Source: `select(2)`, POLLIN_SET and its like.
const SELECTED: [(c_short, c_short); 3] = [
    (libc::POLLRDNORM, libc::POLLRDNORM | libc::POLLIN | libc::POLLHUP | libc::POLLERR),
    (libc::POLLWRNORM, libc::POLLWRNORM | libc::POLLOUT | libc::POLLERR),
    (libc::POLLPRI, libc::POLLPRI),
];

fn has(set: &[u64], fd: usize) -> bool {
    set.get(fd / 64).is_some_and(|word| word >> (fd % 64) & 1 != 0)
}

/// More are not waited for in one call.
const MOST_FDS: usize = 1 << 20;

fn poll(fds: &mut [pollfd], timeout: Option<Duration>) -> io::Result<c_int> {
    let known: Vec<_> = fds.iter().map(|entry| table::get(entry.fd).ok()).collect();
    let machine = match known.iter().flatten().next() {
        Some(first) => Arc::clone(&first.machine),
        None => Machine::current()?,
    };
    let _call = machine.enter()?;
    let stack = machine.stack()?;
    let driver = stack.sockets().driver();
    let deadline = timeout.map(|timeout| driver.now() + timeout);
    let signal = Signal::new();
    let waker = signal.waker();
    let mut registrations = Vec::new();
    if timeout.is_none_or(|timeout| !timeout.is_zero()) {
        for (entry, descriptor) in fds.iter().zip(&known) {
            let Some(Descriptor { socket, .. }) = descriptor.as_deref() else { continue };
            let interest = interest_of(entry.events);
            registrations.push(socket.domain().register(socket.id(), interest, &waker));
        }
    }
    loop {
        let found = look(fds, &known);
        let is_over = deadline.is_some_and(|deadline| deadline <= driver.now());
        if found > 0 || is_over {
            return Ok(found);
        }
        driver.wait(&signal, deadline)?;
    }
}

/// Writes what each is ready for; of how many there is something to tell.
fn look(fds: &mut [pollfd], known: &[Option<Arc<Descriptor>>]) -> c_int {
    let mut found = 0;
    for (entry, descriptor) in fds.iter_mut().zip(known) {
        let always = libc::POLLERR | libc::POLLHUP;
        entry.revents = match descriptor {
            _ if entry.fd < 0 => 0,
            None => libc::POLLNVAL,
            Some(descriptor) => events_of(descriptor.ready()) & (entry.events | always),
        };
        found += c_int::from(entry.revents != 0);
    }
    found
}

fn interest_of(events: c_short) -> Ready {
    let mut interest = Ready::ERROR | Ready::HANGUP;
    let pairs = [
        (libc::POLLIN | libc::POLLRDNORM, Ready::READABLE | Ready::READ_CLOSED),
        (libc::POLLOUT | libc::POLLWRNORM, Ready::WRITABLE),
        (libc::POLLRDHUP, Ready::READ_CLOSED),
        (libc::POLLPRI, Ready::URGENT),
    ];
    for (event, ready) in pairs {
        if events & event != 0 {
            interest |= ready;
        }
    }
    interest
}

/// What poll(2) tells of a readiness; epoll(7) has the same bits.
pub(crate) fn events_of(ready: Ready) -> c_short {
    let pairs = [
        (Ready::READABLE | Ready::READ_CLOSED, libc::POLLIN | libc::POLLRDNORM),
        (Ready::WRITABLE, libc::POLLOUT | libc::POLLWRNORM),
        (Ready::READ_CLOSED, libc::POLLRDHUP),
        (Ready::ERROR, libc::POLLERR),
        (Ready::HANGUP, libc::POLLHUP),
        (Ready::URGENT, libc::POLLPRI),
    ];
    let set = pairs.iter().filter(|(of, _)| ready.intersects(*of));
    set.fold(0, |events, (_, event)| events | event)
}
