//! Sets of descriptors that are waited for, as epoll(7) has them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_int;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use libnet::driver::Signal;
use libnet::{Ready, Registration, WakeSet, errno as number};
use nix::libc;
use rustix::event::epoll;

use crate::api::poll::events_of;
use crate::descriptor::Descriptor;
use crate::error::errno;
use crate::machine::Machine;
use crate::raw;
use crate::table::{self, lock};

/// By number. A leaf.
static SETS: LazyLock<RwLock<HashMap<c_int, Arc<Set>>>> = LazyLock::new(RwLock::default);

/// A set, of one stack's descriptors or several's; it waits by the clock of the one that it was made in.
pub(crate) struct Set {
    machine: Arc<Machine>,
    /// The host's set under the same number: it is readable when one of ours is ready.
    host: OwnedFd,
    /// Rank: before the stacks' locks.
    members: Mutex<Members>,
    /// Threads that wait.
    waiters: WakeSet,
}

#[derive(Default)]
struct Members {
    by_fd: BTreeMap<c_int, Member>,
    /// Where the next look begins, so that everyone has a turn.
    next: c_int,
}

struct Member {
    descriptor: Weak<Descriptor>,
    events: u32,
    data: u64,
    /// `EPOLLONESHOT`: it has not been told of since it was set.
    is_armed: bool,
    news: Arc<News>,
    _registration: Registration,
}

/// Something may have changed since a member was looked at.
struct News {
    is_there: AtomicBool,
    set: Weak<Set>,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_there.store(true, Ordering::SeqCst);
        if let Some(set) = self.set.upgrade() {
            set.wake();
        }
    }
}

/// Makes a set in the calling thread's stack; its number.
pub(crate) fn create(flags: epoll::CreateFlags) -> io::Result<c_int> {
    let machine = Machine::current()?;
    let _call = machine.enter()?;
    let end = epoll::create(flags)?;
    let host = rustix::io::fcntl_dupfd_cloexec(&end, 0)?;
    let (members, waiters) = (Mutex::default(), WakeSet::new());
    let fd = end.into_raw_fd();
    let set = Arc::new(Set { machine: Arc::clone(&machine), host, members, waiters });
    let stray = SETS.write().unwrap_or_else(PoisonError::into_inner).insert(fd, set);
    drop(stray);
    Ok(fd)
}

/// The set of a number.
///
/// # Errors
/// `EINVAL` if it is a socket's, `EBADF` if it is none of ours.
pub(crate) fn get(fd: c_int) -> io::Result<Arc<Set>> {
    let found = SETS.read().unwrap_or_else(PoisonError::into_inner).get(&fd).cloned();
    match found {
        Some(set) => Ok(set),
        None => table::get(fd).and_then(|_| Err(number::invalid())),
    }
}

/// Gives a set up.
///
/// # Errors
/// `EBADF`.
pub(crate) fn close(fd: c_int) -> io::Result<()> {
    let mut sets = SETS.write().unwrap_or_else(PoisonError::into_inner);
    let set = sets.remove(&fd).ok_or_else(number::bad_descriptor)?;
    raw::close_number(fd);
    drop(sets);
    drop(set);
    Ok(())
}

impl Set {
    /// Adds a descriptor.
    ///
    /// # Errors
    /// `EBADF`, `EEXIST`.
    pub(crate) fn add(self: &Arc<Self>, fd: c_int, events: u32, data: u64) -> io::Result<()> {
        let descriptor = table::get(fd)?;
        let mut members = lock(&self.members);
        let is_there = |member: &Member| member.descriptor.strong_count() > 0;
        if members.by_fd.get(&fd).is_some_and(is_there) {
            return Err(number::exists());
        }
        let news = Arc::new(News { is_there: AtomicBool::new(true), set: Arc::downgrade(self) });
        let socket = &descriptor.socket;
        let interest = Ready::ALL | Ready::URGENT;
        let waker = Waker::from(Arc::clone(&news));
        let member = Member {
            descriptor: Arc::downgrade(&descriptor),
            events,
            data,
            is_armed: true,
            news,
            _registration: socket.domain().register(socket.id(), interest, &waker),
        };
        let before = members.by_fd.insert(fd, member);
        drop(members);
        drop(before);
        self.tell_host(fd, &descriptor, Some(events));
        self.wake();
        Ok(())
    }

    /// Changes what is wanted of a descriptor.
    ///
    /// # Errors
    /// `EBADF`, `ENOENT`.
    pub(crate) fn change(&self, fd: c_int, events: u32, data: u64) -> io::Result<()> {
        let descriptor = table::get(fd)?;
        let mut members = lock(&self.members);
        let member = members.by_fd.get_mut(&fd).ok_or_else(number::no_such_file)?;
        (member.events, member.data, member.is_armed) = (events, data, true);
        member.news.is_there.store(true, Ordering::SeqCst);
        drop(members);
        self.tell_host(fd, &descriptor, Some(events));
        self.wake();
        Ok(())
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// `EBADF`, `ENOENT`.
    pub(crate) fn remove(&self, fd: c_int) -> io::Result<()> {
        let descriptor = table::get(fd)?;
        let member = lock(&self.members).by_fd.remove(&fd);
        member.ok_or_else(number::no_such_file)?;
        self.tell_host(fd, &descriptor, None);
        Ok(())
    }

    /// Waits until some are ready; at most `most` of them, each with its data.
    ///
    /// # Errors
    /// `EDEADLK` out of a callback; `ENXIO` if its stack is gone.
    pub(crate) fn wait(
        &self,
        most: usize,
        timeout: Option<Duration>,
    ) -> io::Result<Vec<(u32, u64)>> {
        let _call = self.machine.enter()?;
        let stack = self.machine.stack()?;
        let driver = stack.sockets().driver();
        let deadline = timeout.map(|timeout| driver.now() + timeout);
        let signal = Signal::new();
        let _waiting = self.waiters.register(Ready::READABLE, &signal.waker());
        loop {
            let found = self.look(most);
            let is_over = deadline.is_some_and(|deadline| deadline <= driver.now());
            if !found.is_empty() || is_over {
                return Ok(found);
            }
            driver.wait(&signal, deadline)?;
        }
    }

    fn look(&self, most: usize) -> Vec<(u32, u64)> {
        let mut members = lock(&self.members);
        members.by_fd.retain(|_, member| member.descriptor.strong_count() > 0);
        let next = members.next;
        let (before, after): (Vec<_>, Vec<_>) =
            members.by_fd.iter_mut().partition(|(fd, _)| **fd < next);
        let mut found = Vec::new();
        let mut last = next;
        for (fd, member) in after.into_iter().chain(before) {
            if found.len() == most {
                break;
            }
            if let Some(events) = member.look() {
                found.push((events, member.data));
                last = fd.saturating_add(1);
            }
        }
        members.next = last;
        found
    }

    fn wake(&self) {
        let mut wakers = Vec::new();
        self.waiters.collect(Ready::READABLE, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Lets the host's set be ready for the same, as far as it can tell.
    fn tell_host(&self, fd: c_int, descriptor: &Descriptor, events: Option<u32>) {
        let Ok(end) = raw::end(fd, &descriptor.gate) else { return };
        // What it does not take only its own readiness suffers from.
        let _ = epoll::delete(&self.host, end);
        if let Some(events) = events {
            let flags = epoll::EventFlags::from_bits_truncate(events)
                & (epoll::EventFlags::IN | epoll::EventFlags::OUT);
            let _ = epoll::add(&self.host, end, epoll::EventData::new_u64(0), flags);
        }
    }
}

impl Member {
    /// What there is to tell of it.
    fn look(&mut self) -> Option<u32> {
        // Forgotten first: what changes from here on is news again.
        let is_news = self.news.is_there.swap(false, Ordering::SeqCst);
        let descriptor = self.descriptor.upgrade()?;
        let wanted = self.events | (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        // The bits are those of poll.
        let events = events_of(descriptor.ready()) as u32 & wanted;
        let is_edge = self.events & libc::EPOLLET as u32 != 0;
        if events == 0 || !self.is_armed || (is_edge && !is_news) {
            return None;
        }
        self.is_armed = self.events & libc::EPOLLONESHOT as u32 == 0;
        Some(events)
    }
}

/// The flags of `epoll_create1(2)`.
///
/// # Errors
/// `EINVAL` for others.
pub(crate) fn create_flags(flags: c_int) -> io::Result<epoll::CreateFlags> {
    match flags {
        0 => Ok(epoll::CreateFlags::empty()),
        libc::EPOLL_CLOEXEC => Ok(epoll::CreateFlags::CLOEXEC),
        _ => Err(errno(libc::EINVAL)),
    }
}
